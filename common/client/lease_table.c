/* Purpose: the memory in which processes of one user on one host keep answers of metad, and where they note
 * which files they have open without metad's knowing.
 *
 * Format: /dev/shm/ff3fs-leases.1-<uid>.<0 to 3>, mode 0600, each of one cluster: that of metad's address, of
 * which the header has a hash; where there is none, a new one, or one that nobody keeps. As large as
 * client.cache was when it was made. All of it is allocated then, as a page that the system
 * has no room for would kill who touches it. Behind the header: versions of directories by hash, files
 * that are open, and sets of four answers, each under a sequence lock.
 *
 * Order: who uses an answer reads when everything expires, then its life, then the versions of its
 * directories, then the clock. Who revokes raises `revocations`, then the version, and only then tells metad.
 * Who begins another life ends the old one's time first. Who keeps an answer has read `revocations` before
 * it asked, and reads it again after the versions: so nothing is kept that was revoked meanwhile.
 *
 * The keeper holds a robust lock as long as its thread lives, so that there is one. A process that is
 * killed while it writes an answer leaves a place that nobody uses again.
 *
 * Threads: any; atomic words only. Fork: parent and child share it. Signals: nothing is held. */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "replay.h"

#define N_FILES 4u
#define WAYS 4u
#define WORDS 64u
#define SIZE_MIN (1u << 20)
#define TRIES 16u /* places looked at for one file */
#define MAGIC 0x3273657361656c66ull

struct answer {
	_Atomic uint64_t seq; /* odd: being written */
	_Atomic uint64_t hash;
	_Atomic uint64_t words[WORDS - 2];
};
_Static_assert(sizeof(struct ff3_lease_entry) <= sizeof(uint64_t) * (WORDS - 2), "an answer fits");

struct place {
	_Atomic uint64_t owner; /* pid; 0: free */
	_Atomic uint64_t started;
	_Atomic uint64_t salt;
	_Atomic uint64_t ino; /* 0: not yet, or no more */
	_Atomic uint64_t since_ns;
	_Atomic uint32_t slot;
};

struct ff3_lease_shared {
	uint64_t magic;
	uint64_t holder;
	uint64_t n_sets;
	pthread_mutex_t owner;
	_Atomic uint64_t term; /* counts owners */
	_Atomic uint64_t salt; /* of the cluster; 0: not yet. Changed by the owner */
	_Atomic uint64_t life;
	_Atomic uint64_t acked;
	_Atomic uint64_t expires_ns;
	_Atomic uint64_t revocations;
	_Atomic uint64_t used_ns;
	_Atomic uint32_t turn;
	_Atomic uint32_t calls; /* of those who could be its owner */
	_Atomic uint32_t versions[FF3_LEASE_SLOTS];
	struct place places[FF3_LEASE_PLACES];
	struct answer answers[] __attribute__((aligned(64)));
};

/* --- Making it --------------------------------------------------------------------------------- */

static int init_owner(pthread_mutex_t *owner)
{
	pthread_mutexattr_t attr;
	int r = pthread_mutexattr_init(&attr);

	if (r != 0)
		return -r;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	r = pthread_mutex_init(owner, &attr);
	pthread_mutexattr_destroy(&attr);
	return -r;
}

static uint64_t room_for(int fd, uint64_t size)
{
	struct statvfs st;

	/* What is there is for others, mostly. */
	if (fstatvfs(fd, &st) == 0)
		size = MIN(size, (uint64_t)st.f_bavail * st.f_frsize / 8);
	return size < SIZE_MIN ? 0 : size;
}

/* Whole, or not at all: it gets its name last. */
static void make(const char *path, uint64_t size)
{
	struct ff3_lease_shared *s = MAP_FAILED;
	char fresh[96];
	int fd;

	snprintf(fresh, sizeof fresh, "%s.%016" PRIx64, path, ff3_random_u64());
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	size = room_for(fd, size);
	if (size > 0 && posix_fallocate(fd, 0, (off_t)size) == 0)
		s = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s != MAP_FAILED) {
		s->magic = MAGIC;
		s->holder = ff3_random_u64() | 1;
		s->n_sets = (size - sizeof *s) / (WAYS * sizeof s->answers[0]);
		if (init_owner(&s->owner) == 0)
			link(fresh, path);
		munmap(s, size);
	}
	unlink(fresh);
}

static bool adopt(struct ff3_lease_shared *s, uint64_t salt);

/* That of salt, or, if take, what is nobody's. */
static struct ff3_lease_shared *map(const char *path, uint64_t salt, bool take)
{
	struct ff3_lease_shared *s = MAP_FAILED;
	struct stat st;
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size >= SIZE_MIN)
		s = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s == MAP_FAILED)
		return NULL;
	if (s->magic == MAGIC && s->n_sets > 0 &&
	    s->n_sets <= ((uint64_t)st.st_size - sizeof *s) / (WAYS * sizeof s->answers[0]) &&
	    (atomic_load(&s->salt) == salt || (take && adopt(s, salt))))
		return s;
	munmap(s, (size_t)st.st_size);
	return NULL;
}

enum how { OURS, FRESH, ANY };

struct ff3_lease_shared *ff3_lease_map(uint64_t salt, uint64_t size)
{
	struct ff3_lease_shared *s = NULL;
	char path[64];

	for (enum how how = OURS; how <= ANY; how++)
		for (uint64_t i = 0; i < N_FILES && !s; i++) {
			snprintf(path, sizeof path, "/dev/shm/ff3fs-leases.1-%u.%u", (unsigned)geteuid(),
				 (unsigned)((salt + i) % N_FILES));
			if (how == FRESH && access(path, F_OK) == 0)
				continue;
			if (how == FRESH)
				make(path, size);
			s = map(path, salt, how != OURS);
		}
	return s;
}

bool ff3_lease_is_of(const struct ff3_lease_shared *s, uint64_t salt)
{
	return atomic_load_explicit(&s->salt, memory_order_relaxed) == salt;
}

/* --- Looking ----------------------------------------------------------------------------------- */

uint64_t ff3_lease_holder(const struct ff3_lease_shared *s)
{
	return s->holder;
}

uint64_t ff3_lease_expires(const struct ff3_lease_shared *s)
{
	return atomic_load(&s->expires_ns);
}

uint64_t ff3_lease_life(const struct ff3_lease_shared *s)
{
	return atomic_load(&s->life);
}

uint64_t ff3_lease_acked(const struct ff3_lease_shared *s)
{
	return atomic_load(&s->acked);
}

uint64_t ff3_lease_revocations(const struct ff3_lease_shared *s)
{
	return atomic_load(&s->revocations);
}

void ff3_lease_touch(struct ff3_lease_shared *s)
{
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE);

	if (now - atomic_load_explicit(&s->used_ns, memory_order_relaxed) > FF3_NSEC_PER_SEC)
		atomic_store_explicit(&s->used_ns, now, memory_order_relaxed);
}

uint64_t ff3_lease_used_ns(const struct ff3_lease_shared *s)
{
	return atomic_load_explicit(&s->used_ns, memory_order_relaxed);
}

uint32_t ff3_lease_slot(uint64_t dir)
{
	return (uint32_t)(dir * 0x9e3779b97f4a7c15ull >> 40) % FF3_LEASE_SLOTS;
}

uint32_t ff3_lease_version(const struct ff3_lease_shared *s, uint32_t slot)
{
	return atomic_load(&s->versions[slot]);
}

bool ff3_lease_holds(const struct ff3_lease_shared *s, uint64_t life, const struct ff3_lease_dep *deps,
		     unsigned n)
{
	uint64_t expires = atomic_load(&s->expires_ns);

	if (atomic_load(&s->life) != life)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (atomic_load(&s->versions[deps[i].slot]) != deps[i].version)
			return false;
	return ff3_boottime_ns() < expires;
}

/* --- Answers ----------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct ff3_lease_entry *e, const char *path)
{
	uint64_t h = e->salt ^ (e->cred * 0x9e3779b97f4a7c15ull) ^ (e->dir * 0xd1b54a32d192ed03ull) ^
		     e->flags;
	uint32_t a = ff3_crc32c((uint32_t)h, path, e->path_len);
	uint32_t b = ff3_crc32c((uint32_t)(h >> 32) ^ 0x5bd1e995u, path, e->path_len);

	h = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15ull;
	return (h ^ h >> 29) | 1;
}

static bool copy_out(const struct answer *a, struct ff3_lease_entry *ret)
{
	uint64_t words[WORDS - 2], seq = atomic_load_explicit(&a->seq, memory_order_acquire);

	if (seq & 1)
		return false;
	for (unsigned i = 0; i < WORDS - 2; i++)
		words[i] = atomic_load_explicit(&a->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&a->seq, memory_order_relaxed) != seq)
		return false;
	memcpy(ret, words, sizeof *ret);
	return true;
}

bool ff3_lease_get(const struct ff3_lease_shared *s, struct ff3_lease_entry *e, const char *path)
{
	uint64_t hash = hash_of(e, path);
	const struct answer *set = &s->answers[(hash % s->n_sets) * WAYS];
	struct ff3_lease_entry found;

	for (unsigned i = 0; i < WAYS; i++) {
		if (atomic_load_explicit(&set[i].hash, memory_order_relaxed) != hash ||
		    !copy_out(&set[i], &found))
			continue;
		if (found.salt == e->salt && found.cred == e->cred && found.dir == e->dir &&
		    found.flags == e->flags && found.path_len == e->path_len &&
		    memcmp(found.path, path, e->path_len) == 0 && found.n_deps > 0 &&
		    found.n_deps <= FF3_LEASE_DEPS && found.n_stripe <= FF3_LEASE_STRIPE) {
			*e = found;
			return true;
		}
	}
	return false;
}

static struct answer *choose(struct ff3_lease_shared *s, uint64_t hash)
{
	struct answer *set = &s->answers[(hash % s->n_sets) * WAYS];

	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&set[i].hash, memory_order_relaxed) == hash)
			return &set[i];
	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&set[i].hash, memory_order_relaxed) == 0)
			return &set[i];
	return &set[atomic_fetch_add_explicit(&s->turn, 1, memory_order_relaxed) % WAYS];
}

void ff3_lease_put(struct ff3_lease_shared *s, const struct ff3_lease_entry *e)
{
	uint64_t hash = hash_of(e, e->path), words[WORDS - 2] = { 0 };
	struct answer *a = choose(s, hash);
	uint64_t seq = atomic_load(&a->seq);

	if ((seq & 1) || !atomic_compare_exchange_strong(&a->seq, &seq, seq + 1))
		return;
	memcpy(words, e, sizeof *e);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&a->hash, hash, memory_order_relaxed);
	for (unsigned i = 0; i < WORDS - 2; i++)
		atomic_store_explicit(&a->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&a->seq, seq + 2, memory_order_release);
}

/* --- Files that are open ----------------------------------------------------------------------- */

static uint64_t started(void)
{
	static _Atomic uint64_t when;
	static _Atomic int32_t whose;

	if (atomic_load(&whose) != getpid()) {
		atomic_store(&when, ff3_board_start_time());
		atomic_store(&whose, getpid());
	}
	return atomic_load(&when);
}

uint32_t ff3_lease_place_take(struct ff3_lease_shared *s, uint64_t salt, uint64_t ino, uint32_t slot)
{
	uint32_t first = (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 32);

	for (uint32_t i = 0; i < TRIES; i++) {
		uint32_t n = (first + i) % FF3_LEASE_PLACES;
		struct place *p = &s->places[n];
		uint64_t none = 0;

		if (!atomic_compare_exchange_strong(&p->owner, &none, (uint64_t)getpid()))
			continue;
		atomic_store(&p->started, started());
		atomic_store(&p->salt, salt);
		atomic_store(&p->slot, slot);
		atomic_store(&p->since_ns, ff3_now_ns(CLOCK_MONOTONIC_COARSE));
		atomic_store(&p->ino, ino);
		return n;
	}
	return UINT32_MAX;
}

void ff3_lease_place_drop(struct ff3_lease_shared *s, uint32_t place)
{
	struct place *p = &s->places[place];

	atomic_store(&p->ino, 0);
	atomic_store(&p->owner, 0);
}

static bool is_meant(const struct place *p, const struct ff3_lease_which *which, uint64_t owner, uint64_t now)
{
	return atomic_load(&p->salt) == which->salt &&
	       (which->slot == UINT32_MAX || atomic_load(&p->slot) == which->slot) &&
	       (which->pid == 0 || (owner == (uint64_t)which->pid) != which->others) &&
	       atomic_load(&p->since_ns) + which->age_ns <= now;
}

void ff3_lease_place_each(struct ff3_lease_shared *s, const struct ff3_lease_which *which,
			  void (*fn)(void *arg, uint64_t ino), void *arg)
{
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE);

	for (uint32_t i = 0; i < FF3_LEASE_PLACES; i++) {
		struct place *p = &s->places[i];
		uint64_t owner = atomic_load(&p->owner), ino = atomic_load(&p->ino);

		if (owner == 0 || ino == 0 || !is_meant(p, which, owner, now))
			continue;
		if (ff3_board_is_alive((int32_t)owner, atomic_load(&p->started))) {
			fn(arg, ino);
			continue;
		}
		/* Of a process that was killed. */
		if (atomic_compare_exchange_strong(&p->ino, &ino, 0))
			atomic_compare_exchange_strong(&p->owner, &owner, 0);
	}
}

/* --- Standing by ------------------------------------------------------------------------------- */

uint32_t ff3_lease_calls(const struct ff3_lease_shared *s)
{
	return atomic_load(&s->calls);
}

void ff3_lease_sleep(struct ff3_lease_shared *s, uint32_t calls, uint64_t ms)
{
	struct timespec ts = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

	syscall(SYS_futex, &s->calls, FUTEX_WAIT, calls, &ts, NULL, 0);
}

void ff3_lease_call(struct ff3_lease_shared *s)
{
	atomic_fetch_add(&s->calls, 1);
	syscall(SYS_futex, &s->calls, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* --- The keeper's ------------------------------------------------------------------------------ */

static bool own(struct ff3_lease_shared *s)
{
	int r = pthread_mutex_trylock(&s->owner);

	if (r == EOWNERDEAD)
		r = pthread_mutex_consistent(&s->owner);
	return r == 0;
}

static bool adopt(struct ff3_lease_shared *s, uint64_t salt)
{
	if (!own(s))
		return false;
	ff3_lease_begin_life(s, 0);
	atomic_store(&s->salt, salt);
	pthread_mutex_unlock(&s->owner);
	return true;
}

uint64_t ff3_lease_own(struct ff3_lease_shared *s, uint64_t salt)
{
	if (!own(s))
		return 0;
	if (ff3_lease_is_of(s, salt))
		return atomic_fetch_add(&s->term, 1) + 1;
	pthread_mutex_unlock(&s->owner);
	return 0;
}

void ff3_lease_disown(struct ff3_lease_shared *s)
{
	pthread_mutex_unlock(&s->owner);
}

void ff3_lease_revoke(struct ff3_lease_shared *s, uint64_t dir)
{
	atomic_fetch_add(&s->revocations, 1);
	atomic_fetch_add(&s->versions[ff3_lease_slot(dir)], 1);
}

void ff3_lease_begin_life(struct ff3_lease_shared *s, uint64_t life)
{
	atomic_fetch_add(&s->revocations, 1);
	atomic_store(&s->expires_ns, 0);
	atomic_store(&s->acked, 0);
	atomic_store(&s->life, life);
}

void ff3_lease_extend(struct ff3_lease_shared *s, uint64_t acked, uint64_t expires)
{
	atomic_store(&s->acked, acked);
	atomic_store(&s->expires_ns, expires);
}
