/* Purpose: fallocate, and the limit of a file's size (RLIMIT_FSIZE). Space cannot be promised ahead of the
 * data, which a program that asks for it does not see before a disk is full; sizes and zeros it does
 * see, and gets. The limit is for files of the application: the memory files that stand for pages of
 * mappings are no such files, and stores into mappings have none.
 *
 * Threads: other writers of the range are not held up: as on a local file system, who writes a hole
 * while it is being punched may find either. While the limit is lifted for a file of ours, which `lifting`
 * guards, other threads' native writes have none.
 * Fork/signal: as rw_write; a child that was forked while it was lifted puts it back. */
#include "hook.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "raw.h"
#include "shared_map.h"

#define RANGES                                                                                     \
	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_COLLAPSE_RANGE |                  \
	 FALLOC_FL_INSERT_RANGE)
#define KNOWN (FALLOC_FL_KEEP_SIZE | RANGES)

/* --- The limit of a file's size -------------------------------------------------------------- */

#define LIMIT_UNKNOWN 0 /* a limit of nothing is looked up every time */

/* RLIMIT_FSIZE, kept so that a write need not ask. Whoever changes it from outside (prlimit(1)) is not
 * noticed before the next exec. */
static _Atomic rlim_t limit_known;

static rlim_t size_limit(void)
{
	rlim_t limit = atomic_load_explicit(&limit_known, memory_order_relaxed);
	struct rlimit now;

	if (LIKELY(limit != LIMIT_UNKNOWN))
		return limit;
	if (getrlimit(RLIMIT_FSIZE, &now) < 0)
		return RLIM_INFINITY;
	atomic_store_explicit(&limit_known, now.rlim_cur, memory_order_relaxed);
	return now.rlim_cur;
}

bool space_limited(void)
{
	return UNLIKELY(size_limit() != RLIM_INFINITY);
}

ssize_t space_within_limit(off_t at, ssize_t n)
{
	rlim_t limit = size_limit();

	if (limit == RLIM_INFINITY || (rlim_t)at + (rlim_t)n <= limit)
		return n;
	if ((rlim_t)at < limit)
		return (ssize_t)(limit - (rlim_t)at);
	raise(SIGXFSZ);
	return -EFBIG;
}

int hook_setrlimit(int resource, const struct rlimit *limit)
{
	atomic_store_explicit(&limit_known, LIMIT_UNKNOWN, memory_order_relaxed);
	return REAL(setrlimit)(resource, limit);
}

int hook_prlimit(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old)
{
	atomic_store_explicit(&limit_known, LIMIT_UNKNOWN, memory_order_relaxed);
	return REAL(prlimit)(pid, resource, limit, old);
}

/* --- Files of our own, which no limit is meant for ------------------------------------------- */

static pthread_mutex_t lifting = PTHREAD_MUTEX_INITIALIZER;
static struct rlimit64 lifted_from;
static bool lifted;

void space_after_fork(void)
{
	pthread_mutex_init(&lifting, NULL);
	if (lifted)
		RAW(prlimit64, 0, RLIMIT_FSIZE, &lifted_from, NULL);
	lifted = false;
}

static long change(int fd, const void *buf, size_t n, off_t at)
{
	return buf ? RAW(pwrite64, fd, buf, n, at) : RAW(ftruncate, fd, at);
}

/* With the limit as high as this process may have it, for the moment. Where that is not enough there is no
 * signal, and -ENOMEM: the files are memory. */
static long change_beyond(int fd, const void *buf, size_t n, off_t at)
{
	struct rlimit64 none = { RLIM64_INFINITY, RLIM64_INFINITY }, most;
	uint64_t saved, xfsz = 1ull << (SIGXFSZ - 1);
	struct timespec now = { 0 };
	long r;

	raw_block_signals(&saved);
	pthread_mutex_lock(&lifting);
	RAW(prlimit64, 0, RLIMIT_FSIZE, NULL, &lifted_from);
	most = (struct rlimit64){ lifted_from.rlim_max, lifted_from.rlim_max };
	lifted = true;
	if (RAW(prlimit64, 0, RLIMIT_FSIZE, &none, NULL) < 0)
		RAW(prlimit64, 0, RLIMIT_FSIZE, &most, NULL);
	r = change(fd, buf, n, at);
	RAW(prlimit64, 0, RLIMIT_FSIZE, &lifted_from, NULL);
	lifted = false;
	pthread_mutex_unlock(&lifting);
	if (r == -EFBIG)
		RAW(rt_sigtimedwait, &xfsz, NULL, &now, sizeof xfsz);
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, NULL, sizeof saved);
	return r == -EFBIG ? -ENOMEM : r;
}

static long change_ours(int fd, const void *buf, size_t n, off_t at)
{
	return UNLIKELY(space_limited()) ? change_beyond(fd, buf, n, at) : change(fd, buf, n, at);
}

long space_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return change_ours(fd, buf, n, at);
}

long space_ftruncate(int fd, off_t size)
{
	return change_ours(fd, NULL, 0, size);
}

/* --- fallocate ------------------------------------------------------------------------------- */

/* One through which a write goes where it is meant to: a descriptor for appending writes at the end only. */
static int plain_of(struct ofd *o, struct ofd *ret)
{
	struct ff3fs *fs;
	int r = core_fs(&fs);

	*ret = (struct ofd){ .ino = o->ino, .flags = O_WRONLY, .lock_fd = -1, .range_fd = -1 };
	return r < 0 ? r : CALL(open_inode, fs, o->ino, O_WRONLY, &ret->file);
}

/* Through rw_write, so that mappings and gathered writes are kept in step. */
static int write_zeros(int fd, struct ofd *o, off_t at, off_t end)
{
	static const char zeros[256 << 10];
	struct ofd plain;
	ssize_t r = 0;
	int e;

	if (o->flags & O_APPEND) {
		r = plain_of(o, &plain);
		if (r < 0)
			return (int)r;
		r = write_zeros(fd, &plain, at, end);
		e = CALL(close, plain.file);
		return r < 0 ? (int)r : e;
	}
	while (at < end && r >= 0) {
		struct iovec iov = { (void *)(uintptr_t)zeros, MIN(sizeof zeros, (size_t)(end - at)) };

		r = rw_write(fd, o, &iov, 1, at);
		at += r > 0 ? r : 0;
		if (r == 0)
			return -EIO;
	}
	return r < 0 ? (int)r : 0;
}

static int grow(struct ofd *o, off_t size)
{
	bool held;
	int r;

	if (space_limited() && (rlim_t)size > size_limit()) {
		raise(SIGXFSZ);
		return -EFBIG;
	}
	held = shared_map_hold(o->ino);
	if (held)
		shared_map_ahead(NULL, 0, 0, (size_t)size);
	r = CALL(grow, o->file, size);
	if (held)
		shared_map_release(r == 0 ? size : -1);
	return r;
}

/* The modes that the kernel would take, in its order of looking. */
static int check(struct ofd *o, int mode, off_t offset, off_t len, struct ff3fs_attr *ret)
{
	int ranges = mode & RANGES, r;

	if (offset < 0 || len <= 0)
		return -EINVAL;
	if (mode & ~KNOWN)
		return -EOPNOTSUPP;
	if ((ranges & (ranges - 1)) ||
	    ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE)))
		return -EOPNOTSUPP;
	if (!ofd_writes(o))
		return -EBADF;
	if (offset > INT64_MAX - len)
		return -EFBIG;
	r = stat_ofd(o, ret);
	if (r < 0)
		return r;
	if (!S_ISREG(ret->mode))
		return S_ISDIR(ret->mode) ? -EISDIR : -ENODEV;
	return ranges & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) ? -EOPNOTSUPP : 0;
}

static int allocate(int fd, struct ofd *o, int mode, off_t offset, off_t len)
{
	struct ff3fs_attr a;
	int r = check(o, mode, offset, len, &a);
	off_t end = offset + len, size = (off_t)a.size;

	if (r < 0)
		return r;
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && offset < size)
		r = write_zeros(fd, o, offset, MIN(end, size));
	if (r == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		r = grow(o, end);
	return r;
}

int hook_fallocate(int fd, int mode, off_t offset, off_t len)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fallocate)(fd, mode, offset, len);
	if (r > 0)
		r = o->flags & O_PATH ? -EBADF : allocate(fd, o, mode, offset, len);
	return (int)hook_result(r);
}

int hook_posix_fallocate(int fd, off_t offset, off_t len)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(posix_fallocate)(fd, offset, len);
	if (r > 0)
		r = o->flags & O_PATH ? -EBADF : allocate(fd, o, 0, offset, len);
	return r < 0 ? -r : 0;
}

DEFINE_ALIASES(space)
