/* Purpose: MAP_SHARED of our files. The range is read into a memfd, and the memfd is mapped: so forked
 * processes share it, and it can be given to system calls.
 *
 * Coherence. Writes by call in this process and its forks go into the memfd as well. Stores into
 * a writable mapping reach the file at msync, munmap, fsync, exit and exec, and before a call
 * reads or writes the range they lie in. Which pages were stored to is found by comparing a hash of
 * each with the one it had when it was last in step; the hashes are in memory that forks share.
 * Nobody else sees any of it earlier. That is too little for programs that use a mapping to
 * talk to each other, so a file can be mapped writable only by one process and its forks on a host:
 * a flock on <locks>/<inode>.map; others get ENODEV, as they would where mappings cannot be shared.
 *
 * A killed process loses stores it had not sent; a kernel would have kept them.
 *
 * Threads: `mutex` guards the list and is held while stores are sent. A signal handler that
 * interrupted its holder sends nothing. Fork: the mutex starts anew; entries are inherited, and only
 * the process that made a mapping sends it at exit, unless that is gone. */
#include "shared_map.h"

#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>

#include "hook.h"
#include "raw.h"

#define PAGE 4096ul
#define RUN (1ul << 20) /* sent or loaded at once */

struct shared_map {
	struct shared_map *next;
	uint64_t ino;
	struct ff3fs_file *file; /* a reference */
	off_t offset;		 /* in the file, of the memfd's first byte */
	uintptr_t addr;
	size_t skipped; /* bytes of the memfd before addr: the front was unmapped */
	size_t len;
	bool writable;
	bool to_end; /* reached the file's end when it was made: grows with the file */
	pid_t maker;
	int memfd;
	int lock_fd;	  /* writable only; else -1 */
	uint64_t *hashes; /* of every page of the memfd up to room; writable only */
	size_t room;
};

_Atomic int shared_maps, shared_maps_writable;

static struct shared_map *maps;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static __thread bool inside __attribute__((tls_model("initial-exec")));

void shared_map_after_fork(void)
{
	pthread_mutex_init(&mutex, NULL);
	inside = false;
}

static bool enter(void)
{
	if (inside || init_is_vfork_child())
		return false;
	inside = true;
	pthread_mutex_lock(&mutex);
	return true;
}

static void leave(void)
{
	pthread_mutex_unlock(&mutex);
	inside = false;
}

/* --- Hashes -------------------------------------------------------------------------------- */

static uint64_t hash_page(const char *page)
{
	uint64_t h[4] = { 1, 2, 3, 4 }, w[4];

	for (size_t i = 0; i < PAGE; i += sizeof w) {
		memcpy(w, page + i, sizeof w);
		for (int k = 0; k < 4; k++) {
			h[k] = (h[k] ^ w[k]) * 0x9e3779b97f4a7c15ull;
			h[k] ^= h[k] >> 29;
		}
	}
	return ((h[0] * 31 + h[1]) * 31 + h[2]) * 31 + h[3];
}

static uint64_t hash_zero(void)
{
	static const char zeros[PAGE];
	static _Atomic uint64_t known;

	if (!known)
		known = hash_page(zeros);
	return known;
}

static size_t memfd_size(const struct shared_map *m)
{
	off_t end = (off_t)RAW(lseek, m->memfd, 0, SEEK_END);

	return end < 0 ? 0 : (size_t)end;
}

/* Reads pages [at, at + n) of the memfd; what lies behind its end is zeros. */
static bool read_pages(const struct shared_map *m, char *buf, size_t at, size_t n)
{
	long got = RAW(pread64, m->memfd, buf, n, at);

	if (got < 0)
		return false;
	memset(buf + got, 0, n - (size_t)got);
	return true;
}

/* The pages of [at, at + n) are in step. */
static void settle(struct shared_map *m, size_t at, size_t n)
{
	char page[PAGE];

	if (!m->writable)
		return;
	for (size_t p = ROUND_DOWN(at, PAGE); p < at + n && p / PAGE < m->room; p += PAGE)
		if (read_pages(m, page, p, PAGE))
			m->hashes[p / PAGE] = hash_page(page);
}

/* --- Sending stores ------------------------------------------------------------------------ */

/* Sends the pages of [at, at + n), which buf holds, that were stored to. */
static int send_run(struct shared_map *m, const char *buf, size_t at, size_t n, size_t size)
{
	for (size_t p = 0; p < n;) {
		size_t begin = p, len;
		ssize_t r;

		for (; p < n && hash_page(buf + p) != m->hashes[(at + p) / PAGE]; p += PAGE)
			;
		if (p == begin) {
			p += PAGE;
			continue;
		}
		len = MIN(p - begin, size - at - begin);
		r = CALL(pwrite, m->file, buf + begin, len, m->offset + (off_t)(at + begin));
		if (r < 0)
			return (int)r;
		for (size_t k = begin; k < p; k += PAGE)
			m->hashes[(at + k) / PAGE] = hash_page(buf + k);
	}
	return 0;
}

/* Sends what was stored in [from, to) of the memfd. */
static int send_range(struct shared_map *m, size_t from, size_t to)
{
	size_t size = MIN(memfd_size(m), m->room * PAGE), at;
	_cleanup_free_ char *buf = NULL;
	int r = 0;

	if (!m->writable)
		return 0;
	to = MIN(to, size);
	from = ROUND_DOWN(from, PAGE);
	if (from >= to)
		return 0;
	buf = malloc(MIN(RUN, ROUND_UP(to - from, PAGE)));
	if (!buf)
		return -ENOMEM;
	for (at = from; at < to && r >= 0;) {
		off_t data = (off_t)RAW(lseek, m->memfd, at, SEEK_DATA); /* nobody stored in a hole */
		size_t n;

		if (data < 0)
			break;
		at = MAX(at, ROUND_DOWN((size_t)data, PAGE));
		if (at >= to)
			break;
		n = MIN(RUN, ROUND_UP(to - at, PAGE));
		r = read_pages(m, buf, at, n) ? send_run(m, buf, at, n, size) : -EIO;
		at += n;
	}
	return r;
}

/* The memfd's part of [at, at + n) of the file. False if there is none. */
static bool overlap(const struct shared_map *m, off_t at, size_t n, size_t *ret_from, size_t *ret_to)
{
	off_t end = n ? at + (off_t)n : INT64_MAX, limit = m->offset + (off_t)(m->skipped + m->len);

	if (at >= limit || end <= m->offset)
		return false;
	*ret_from = (size_t)(MAX(at, m->offset) - m->offset);
	*ret_to = (size_t)(MIN(end, limit) - m->offset);
	return true;
}

int shared_map_send_slow(uint64_t ino, off_t at, size_t n)
{
	size_t from, to;
	int r = 0;

	if (!enter())
		return 0;
	for (struct shared_map *m = maps; m && r >= 0; m = m->next)
		if (m->ino == ino && overlap(m, at, n, &from, &to))
			r = send_range(m, from, to);
	leave();
	return r;
}

static bool is_gone(pid_t pid)
{
	return RAW(kill, pid, 0) == -ESRCH;
}

void shared_map_send_all(void)
{
	pid_t self = (pid_t)RAW(getpid);

	if (!shared_maps_writable || !enter())
		return;
	for (struct shared_map *m = maps; m; m = m->next)
		if (m->maker == self || is_gone(m->maker))
			send_range(m, 0, SIZE_MAX);
	leave();
}

int shared_map_sync_slow(void *addr, size_t len, bool durable)
{
	uintptr_t a = (uintptr_t)addr;
	int r = 0;

	if (!enter())
		return 0;
	for (struct shared_map *m = maps; m && r >= 0; m = m->next) {
		uintptr_t from = MAX(a, m->addr), to = MIN(a + len, m->addr + m->len);

		if (from >= to || !m->writable)
			continue;
		r = send_range(m, from - m->addr + m->skipped, to - m->addr + m->skipped);
		if (r >= 0 && durable)
			r = CALL(fsync, m->file);
	}
	leave();
	return r < 0 ? r : 0;
}

/* --- Writes by call ------------------------------------------------------------------------ */

void shared_map_written_slow(uint64_t ino, const struct iovec *iov, int n, off_t at, size_t done)
{
	size_t from, to;

	if (!enter())
		return;
	for (struct shared_map *m = maps; m; m = m->next) {
		off_t p = at;
		size_t left = done;

		if (m->ino != ino || !overlap(m, at, done, &from, &to))
			continue;
		for (int i = 0; i < n && left > 0; i++) {
			size_t len = MIN(iov[i].iov_len, left), skip, take;

			left -= len;
			if (overlap(m, p, len, &skip, &take)) {
				off_t begin = m->offset + (off_t)skip;

				RAW(pwrite64, m->memfd, (char *)iov[i].iov_base + (begin - p),
				    take - skip, skip);
			}
			p += (off_t)len;
		}
		settle(m, from, to - from);
	}
	leave();
}

void shared_map_resized_slow(uint64_t ino, off_t size)
{
	if (!enter())
		return;
	for (struct shared_map *m = maps; m; m = m->next) {
		size_t now = memfd_size(m), want;

		if (m->ino != ino)
			continue;
		want = size > m->offset ? (size_t)(size - m->offset) : 0;
		if (want > now)
			want = m->to_end ? MIN(want, m->skipped + m->len) : now;
		if (want == now)
			continue;
		RAW(ftruncate, m->memfd, want);
		settle(m, MIN(want, now), ROUND_UP(MAX(want, now), PAGE) - MIN(want, now));
	}
	leave();
}

/* --- Making, moving, removing -------------------------------------------------------------- */

/* Reads [from, to) into the memfd, leaving holes where there are only zeros. */
static int load(struct shared_map *m, size_t from, size_t to)
{
	_cleanup_free_ char *buf = malloc(RUN);
	static const char zeros[PAGE];

	if (!buf)
		return -ENOMEM;
	if (RAW(ftruncate, m->memfd, to) < 0)
		return -ENOMEM;
	for (size_t at = from; at < to;) {
		ssize_t n = CALL(pread, m->file, buf, MIN(RUN, to - at), m->offset + (off_t)at);

		if (n < 0)
			return (int)n;
		if (n == 0) /* it shrank meanwhile: behind this is a fault, not zeros */
			return RAW(ftruncate, m->memfd, at) < 0 ? -EIO : 0;
		for (size_t p = 0; p < (size_t)n; p += PAGE) {
			size_t len = MIN(PAGE, (size_t)n - p);

			if (memcmp(buf + p, zeros, len) != 0 &&
			    RAW(pwrite64, m->memfd, buf + p, len, at + p) != (long)len)
				return -ENOMEM;
		}
		at += (size_t)n;
	}
	return 0;
}

/* Room for the hashes of n bytes, in memory that forks share; those that are new are of zeros. */
static int grow_hashes(struct shared_map *m, size_t n)
{
	size_t pages = ROUND_UP(n, PAGE) / PAGE;
	long p;

	if (!m->writable || pages <= m->room)
		return 0;
	p = RAW(mmap, 0, pages * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return -ENOMEM;
	for (size_t i = 0; i < pages; i++)
		((uint64_t *)p)[i] = i < m->room ? m->hashes[i] : hash_zero();
	if (m->room)
		RAW(munmap, m->hashes, m->room * 8);
	m->hashes = (uint64_t *)p;
	m->room = pages;
	return 0;
}

/* One process and its forks may map a file writable. */
static int lock_for_writing(struct shared_map *m)
{
	for (struct shared_map *other = maps; other; other = other->next)
		if (other->ino == m->ino && other->lock_fd >= 0)
			return (int)RAW(fcntl, other->lock_fd, F_DUPFD_CLOEXEC, 512);
	m->lock_fd = lock_file_open(m->ino, ".map");
	if (m->lock_fd >= 0 && RAW(flock, m->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return -ENODEV;
	return m->lock_fd;
}

static void map_free(struct shared_map *m)
{
	if (m->file)
		CALL(close, m->file);
	if (m->memfd >= 0) {
		fdtab_forget(m->memfd);
		raw_close(m->memfd);
	}
	if (m->lock_fd >= 0) {
		fdtab_forget(m->lock_fd);
		raw_close(m->lock_fd);
	}
	if (m->room)
		RAW(munmap, m->hashes, m->room * 8);
	free(m);
}

static int hide(int fd)
{
	int high = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 512);

	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	fdtab_set_internal(fd);
	return fd;
}

static int prepare(struct shared_map *m, size_t data)
{
	int r = m->writable ? lock_for_writing(m) : 0;

	if (r < 0)
		return r;
	if (m->writable)
		fdtab_set_internal(m->lock_fd = r);
	r = (int)RAW(memfd_create, "ff3fs-map", MFD_CLOEXEC);
	if (r < 0)
		return r;
	m->memfd = hide(r);
	r = grow_hashes(m, m->len);
	if (r == 0)
		r = load(m, 0, data);
	if (r == 0)
		settle(m, 0, data);
	return r;
}

static long map_memfd(struct shared_map *m, void *addr, int prot, int flags)
{
	char path[32];
	int fd = m->memfd;
	long r;

	if (!m->writable) { /* so that mprotect cannot make it writable */
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		fd = raw_open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fd;
	}
	r = RAW(mmap, addr, m->len, prot, flags, fd, 0);
	if (!m->writable)
		raw_close(fd);
	return r;
}

long shared_map_new(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		    size_t data)
{
	struct shared_map *m;
	long r;

	if (!enter())
		return -EDEADLK;
	m = malloc(sizeof *m);
	if (m)
		*m = (struct shared_map){ .ino = o->ino, .offset = offset, .len = len, .memfd = -1,
					  .lock_fd = -1, .writable = prot & PROT_WRITE,
					  .to_end = ROUND_UP(data, PAGE) < len || data % PAGE,
					  .maker = (pid_t)RAW(getpid),
					  .file = CALL(file_ref, o->file) };
	r = m ? prepare(m, data) : -ENOMEM;
	if (r >= 0)
		r = map_memfd(m, addr, prot, flags);
	if (r < 0 && r > -4096) {
		if (m)
			map_free(m);
		leave();
		return r;
	}
	m->addr = (uintptr_t)r;
	m->next = maps;
	maps = m;
	shared_maps++;
	shared_maps_writable += m->writable;
	leave();
	return r;
}

/* What of m lies in [a, end) is unmapped. True if that was all of it. */
static bool cut(struct shared_map *m, uintptr_t a, uintptr_t end)
{
	uintptr_t from = MAX(a, m->addr), to = MIN(end, m->addr + m->len);

	if (from >= to)
		return false;
	if (to - from == m->len)
		return true;
	if (from == m->addr) {
		m->skipped += to - from;
		m->len -= to - from;
		m->addr = to;
	} else if (to == m->addr + m->len) {
		m->len = from - m->addr;
	} /* a hole in the middle: the entry stays whole, nothing is looked up by address but this */
	return false;
}

/* Before the unmapping (done: false) stores are sent; after it the entries go. */
void shared_map_unmap_slow(void *addr, size_t len, bool done)
{
	uintptr_t a = (uintptr_t)addr, end = a + ROUND_UP(len, PAGE);
	struct shared_map **p = &maps, *m, *gone = NULL;

	if (!enter())
		return;
	while ((m = *p)) {
		uintptr_t from = MAX(a, m->addr), to = MIN(end, m->addr + m->len);

		if (!done && from < to)
			send_range(m, from - m->addr + m->skipped, to - m->addr + m->skipped);
		if (done && cut(m, a, end)) {
			*p = m->next;
			m->next = gone;
			gone = m;
			shared_maps--;
			shared_maps_writable -= m->writable;
		} else {
			p = &m->next;
		}
	}
	while ((m = gone)) {
		gone = m->next;
		map_free(m);
	}
	leave();
}

/* mremap(2) has moved or resized a mapping. What it grew by is read now. */
void shared_map_moved_slow(void *from, void *to, size_t len)
{
	struct ff3fs_attr a;

	if (!enter())
		return;
	for (struct shared_map *m = maps; m; m = m->next) {
		size_t now, want;

		if (m->addr != (uintptr_t)from)
			continue;
		m->addr = (uintptr_t)to;
		m->len = ROUND_UP(len, PAGE);
		now = memfd_size(m);
		send_range(m, ROUND_DOWN(now, PAGE), SIZE_MAX);
		if (grow_hashes(m, m->skipped + m->len) < 0 || CALL(fstat, m->file, &a) < 0)
			break; /* a fault, not zeros, behind what there was */
		want = (off_t)a.size <= m->offset ? 0 : (size_t)((off_t)a.size - m->offset);
		want = MIN(want, m->skipped + m->len);
		if (want > now && load(m, ROUND_DOWN(now, PAGE), want) == 0)
			settle(m, now, want - now);
		m->to_end = true;
		break;
	}
	leave();
}
