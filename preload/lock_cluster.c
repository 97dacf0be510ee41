/* Purpose: locks between hosts, on top of those between the processes of this one (hook_lock.c).
 *
 * A lock is taken here first, by the kernel, and then at metad; it is given back in the same order.
 * Processes that share a directory of lock files are one domain, in which the kernel decides:
 * metad only tells domains from each other (common/base/locks.h).
 *
 * Who waits for another host asks again, at most every 100 ms, and sleeps on a timer descriptor
 * meanwhile: a signal then does to the waiting what it does to flock(2) and fcntl(2).
 *
 * Threads: any. Fork: what is remembered holds for a child too. */
#include "hook.h"

#include <stdio.h>
#include <sys/file.h>
#include <sys/timerfd.h>

#include "raw.h"

#define WAIT_FIRST_NS 2000000L
#define WAIT_MAX_NS 100000000L

/* The domain's number, from a file that every process of it finds. 0: there is none. */
static uint64_t domain(void)
{
	static _Atomic uint64_t known;
	uint64_t id = known;
	int fd;

	if (id)
		return id;
	fd = lock_file_open(0, "domain");
	if (fd < 0)
		return 0;
	while (RAW(flock, fd, LOCK_EX) == -EINTR)
		;
	if (RAW(pread64, fd, &id, sizeof id, 0) != sizeof id &&
	    (RAW(getrandom, &id, sizeof id, 0) != sizeof id ||
	     RAW(pwrite64, fd, &id, sizeof id, 0) != sizeof id))
		id = 0;
	lock_file_close(fd);
	known = id;
	return id;
}

static int ask(struct ofd *o, struct ff3fs_lock *lock, bool test, struct ff3fs_lock *ret)
{
	int r;

	lock->domain = domain();
	if (lock->domain == 0)
		return -ENOLCK;
	/* Ranges of a description that several processes have. */
	bool shared = UNLIKELY(o->share_id != 0) && lock->owner == (uintptr_t)o;

	if (shared)
		r = lock_shared_ask(o, lock, test, ret);
	/* What is given back may be of before it was shared, too. */
	if (!shared || (!test && lock->type == FF3FS_LOCK_NONE))
		r = CALL(lock, o->file, lock, test, ret);
	return r < 0 && r != -EAGAIN && r != -EDEADLK ? -ENOLCK : r;
}

/* Sleeps for ns. -EINTR: a signal was caught that does not restart system calls. */
static int pause_for(long ns)
{
	struct itimerspec at = { .it_value.tv_nsec = ns };
	uint64_t expirations;
	int fd = (int)RAW(timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC), r = 0;

	if (fd < 0)
		return -ENOLCK;
	RAW(timerfd_settime, fd, 0, &at, NULL);
	if (REAL(read)(fd, &expirations, sizeof expirations) < 0)
		r = -errno;
	raw_close(fd);
	return r;
}

int lock_cluster_set(struct ofd *o, const struct ff3fs_lock *want, bool wait, uint8_t *ret_held)
{
	struct ff3fs_lock lock = *want, other = { 0 };
	long ns = WAIT_FIRST_NS;
	int r;

	for (;;) {
		r = ask(o, &lock, false, &other);
		if (r == -EAGAIN && wait) {
			r = pause_for(ns);
			ns = MIN(ns * 2, WAIT_MAX_NS);
			if (r == 0)
				continue;
		}
		if (r < 0)
			*ret_held = (uint8_t)other.owner;
		return r;
	}
}

int lock_cluster_test(struct ofd *o, struct ff3fs_lock *lock)
{
	struct ff3fs_lock other = { 0 };
	int r = ask(o, lock, true, &other);

	if (r == -EAGAIN)
		*lock = other;
	return r == -EAGAIN ? 1 : r;
}

void lock_cluster_clear(struct ofd *o)
{
	struct ff3fs_lock none = { .kind = FF3FS_LOCK_FLOCK, .type = FF3FS_LOCK_NONE,
				   .last = UINT64_MAX };
	struct flock passing = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int fd = lock_file_open(o->ino, FLOCK_SUFFIX);

	if (fd < 0)
		return;
	RAW(fcntl, fd, F_OFD_SETLK, &passing); /* see flock_here */
	/* While we have it, nobody of the domain gets it, and metad hears of him after us. */
	if (RAW(flock, fd, LOCK_EX | LOCK_NB) == 0)
		ask(o, &none, false, NULL);
	lock_file_close(fd);
}
