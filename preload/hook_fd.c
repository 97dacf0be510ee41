/* Purpose: descriptors as such: closing, copying, flags, ioctl. The kernel does the work on the
 * placeholder; this keeps the table in step. */
#include "hook.h"

#include <linux/close_range.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "raw.h"

static _Atomic unsigned children;

unsigned fd_children(void)
{
	return children;
}

void flush_everything(void)
{
	struct ff3fs *fs = core_loaded();

	children++;
	if (fs && !init_is_vfork_child())
		CALL(flush_all, fs);
}

void sync_everything(void)
{
	struct ff3fs *fs = core_loaded();

	if (fs && !init_is_vfork_child())
		CALL(sync_all, fs);
}

/* --- close --------------------------------------------------------------------------------- */

static int close_taken(int fd, struct ofd *o)
{
	int r, closed;

	lock_fd_closed(o);
	r = ofd_close(o); /* before the kernel's: the number must not be taken again meanwhile */
	closed = (int)RAW(close, fd);
	fdtab_closed(fd);
	if ((unsigned)fd <= 2)
		stdio_refresh(fd);
	return r < 0 ? r : closed;
}

int fd_close(int fd)
{
	struct ofd *o;
	int closed, taken = fdtab_take(fd, &o);

	if (taken > 0)
		return close_taken(fd, o);
	closed = (int)RAW(close, fd);
	if (taken < 0)
		fdtab_closed(fd);
	return closed;
}

int hook_close(int fd)
{
	struct ofd *o;
	int taken, closed;

	if (!init_active())
		return REAL(close)(fd);
	if (UNLIKELY(fdtab_is_internal(fd)) && !init_is_vfork_child()) {
		if (!core_closes_from(__builtin_return_address(0)))
			return (int)hook_result(-EBADF);
		fdtab_forget(fd);
		return REAL(close)(fd);
	}
	fdtab_cancel_point(fd);
	taken = fdtab_take(fd, &o);
	if (UNLIKELY(taken > 0))
		return (int)hook_result(close_taken(fd, o));
	closed = REAL(close)(fd);
	if (UNLIKELY(taken < 0))
		fdtab_closed(fd);
	return closed;
}

/* Closes our own in [first, last], and the others in pieces between the core's. */
static int close_range_ours(unsigned first, unsigned last)
{
	int limit = (int)MIN(last, (unsigned)INT32_MAX), fd, r = 0;
	struct ofd *o;

	for (fd = (int)first; (fd = fdtab_next_ours(fd, limit)) >= 0; fd++)
		fd_close(fd);
	while (r >= 0 && first <= last) {
		int internal = fdtab_next_internal((int)first, limit);
		unsigned end = internal < 0 ? last : (unsigned)internal - 1;

		if (internal < 0 || (unsigned)internal > first)
			r = (int)RAW(close_range, first, end, 0);
		for (fd = (int)first; fd <= (int)MIN(end, 1u << 16); fd++)
			if (fdtab_take(fd, &o) > 0) /* it has just become ours */
				close_taken(fd, o);
			else
				fdtab_closed(fd);
		if (internal < 0)
			break;
		first = (unsigned)internal + 1;
	}
	return r < 0 ? r : 0;
}

int hook_close_range(unsigned first, unsigned last, int flags)
{
	if (init_active() && flags == CLOSE_RANGE_UNSHARE && first <= last &&
	    !init_is_vfork_child()) { /* a table of our own, and then as without the flag */
		int r = (int)RAW(unshare, CLONE_FILES);

		if (r < 0)
			return (int)hook_result(r);
		flags = 0;
	}
	if (!init_active() || flags != 0 || first > last || first > INT32_MAX ||
	    init_is_vfork_child())
		return REAL(close_range) ? REAL(close_range)(first, last, flags) :
					   (int)hook_raw(RAW(close_range, first, last, flags));
	return (int)hook_result(close_range_ours(first, last));
}

void hook_closefrom(int first)
{
	if (!init_active() || init_is_vfork_child())
		REAL(closefrom)(first);
	else
		close_range_ours((unsigned)MAX(first, 0), ~0u);
}

/* --- dup ----------------------------------------------------------------------------------- */

/* fd now names what o does, or something native. */
static int copied(int fd, int ours, struct ofd *o)
{
	if (fd < 0 || !init_active())
		return fd;
	if (ours > 0)
		fdtab_set(fd, o);
	else if (ours == 0)
		fdtab_set_native(fd);
	else
		fdtab_forget(fd); /* it may be taken up later */
	return fd;
}

int hook_dup(int fd)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);

	return copied(REAL(dup)(fd), ours, o);
}

static int replace_fd(int fd, int to, int flags, bool dup2)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours, r;

	if (init_is_vfork_child())
		return dup2 ? REAL(dup2)(fd, to) : REAL(dup3)(fd, to, flags);
	if (fdtab_is_internal(to) || fdtab_is_internal(fd))
		return (int)hook_result(-EBADF);
	ours = fdtab_get(fd, &o);
	r = dup2 ? REAL(dup2)(fd, to) : REAL(dup3)(fd, to, flags);
	if (r < 0 || (dup2 && fd == to))
		return r;
	return copied(r, ours, o);
}

int hook_dup2(int fd, int to)
{
	return init_active() ? replace_fd(fd, to, 0, true) : REAL(dup2)(fd, to);
}

int hook_dup3(int fd, int to, int flags)
{
	return init_active() ? replace_fd(fd, to, flags, false) : REAL(dup3)(fd, to, flags);
}

/* --- fcntl --------------------------------------------------------------------------------- */

#define KERNEL_FLAGS (O_APPEND | O_NONBLOCK | O_ASYNC)
#define CORE_FLAGS (O_APPEND | O_DIRECT)

static int get_flags(int fd, struct ofd *o)
{
	long k = RAW(fcntl, fd, F_GETFL);

	if (k < 0)
		return (int)k;
	if (o->flags & O_PATH)
		return o->flags;
	return (o->flags & ~(KERNEL_FLAGS & ~O_ASYNC)) | (int)(k & KERNEL_FLAGS) |
	       0100000 /* O_LARGEFILE */;
}

static int set_flags(int fd, struct ofd *o, int flags)
{
	int now = (o->flags & ~(KERNEL_FLAGS | CORE_FLAGS | O_NOATIME)) |
		  (flags & (KERNEL_FLAGS | CORE_FLAGS | O_NOATIME));
	long r = RAW(fcntl, fd, F_SETFL, flags & KERNEL_FLAGS);

	if (r < 0)
		return (int)r;
	o->flags = now;
	if (o->file)
		CALL_VOID(file_set_flags, o->file, now);
	return 0;
}

/* A lease would have to break when somebody elsewhere opens the file: none is given. */
static int set_lease(struct ofd *o, int type)
{
	struct ff3fs_attr a;
	int r = type == F_RDLCK || type == F_WRLCK || type == F_UNLCK ? stat_ofd(o, &a) : -EINVAL;

	if (r < 0)
		return r;
	if (!S_ISREG(a.mode))
		return -EINVAL;
	return a.uid != (uid_t)RAW(geteuid) && RAW(geteuid) != 0 ? -EACCES : -EAGAIN;
}

static int notify_directory(struct ofd *o, uintptr_t events)
{
	struct ff3fs_attr a;
	int r;

	if ((events & ~(uintptr_t)DN_MULTISHOT) == 0)
		return 0; /* of nothing */
	r = stat_ofd(o, &a);
	return r < 0 ? r : S_ISDIR(a.mode) ? -EINVAL : -ENOTDIR;
}

/* What a descriptor that only names a file can do. */
static bool fcntl_of_path(int cmd)
{
	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC || cmd == F_GETFD || cmd == F_SETFD ||
	       cmd == F_GETFL;
}

#define RW_HINT_(n) (1024 + (n)) /* F_GET_RW_HINT is 11, F_SET_RW_HINT 12 */

static int rw_hint(int cmd, uint64_t *user)
{
	uint64_t hint = 0;

	if (cmd == RW_HINT_(11))
		return memory_copy_out(user, &hint, sizeof hint) ? 0 : -EFAULT;
	if (!memory_copy_in(&hint, user, sizeof hint))
		return -EFAULT;
	return hint <= 5 ? 0 : -EINVAL; /* advice is taken and not followed */
}

static int fcntl_ours(int fd, struct ofd *o, int cmd, void *arg)
{
	long r;

	if (UNLIKELY(o->flags & O_PATH) && !fcntl_of_path(cmd))
		return -EBADF;
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		r = RAW(fcntl, fd, cmd, arg);
		return copied((int)r, 1, o);
	case F_GETFL:
		return get_flags(fd, o);
	case F_SETFL:
		return set_flags(fd, o, (int)(intptr_t)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return o->file ? lock_fcntl(fd, o, cmd, arg) : -EBADF;
	case F_GETFD:
	case F_SETFD:
	case F_GETOWN:
	case F_SETOWN:
	case F_GETSIG:
	case F_SETSIG:
	case F_GETOWN_EX:
	case F_SETOWN_EX:
		return (int)RAW(fcntl, fd, cmd, arg);
	case F_GETLEASE:
		return F_UNLCK;
	case F_SETLEASE:
		return set_lease(o, (int)(intptr_t)arg);
	case F_NOTIFY:
		return notify_directory(o, (uintptr_t)arg);
	case F_GETPIPE_SZ:
	case F_SETPIPE_SZ:
		return -EBADF;
	case F_ADD_SEALS:
		return ofd_writes(o) ? -EINVAL : -EPERM;
	case RW_HINT_(11):
	case RW_HINT_(12):
		return rw_hint(cmd, arg);
	default:
		return -EINVAL;
	}
}

int hook_fcntl(int fd, int cmd, ...)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o), r;
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (UNLIKELY(ours != 0))
		return (int)hook_result(ours < 0 ? ours : fcntl_ours(fd, o, cmd, arg));
	/* It wants a number out of the way, wherever that is. */
	if (cmd == F_DUPFD_CLOEXEC && init_active() && UNLIKELY(core_called_from(__builtin_return_address(0))))
		return (int)hook_result(fd_copy_hidden(fd));
	r = REAL(fcntl)(fd, cmd, arg);
	if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && init_active())
		fdtab_set_native(r);
	return r;
}

/* --- ioctl --------------------------------------------------------------------------------- */

#define FFRECORD_DIRECT_IO 0x80046664ul /* "does this file take direct I/O of any alignment?" */

static int readable_bytes(int fd, struct ofd *o, void *arg)
{
	struct ff3fs_attr a;
	off_t at = (off_t)RAW(lseek, fd, 0, SEEK_CUR);
	int r = stat_ofd(o, &a), n;

	if (r < 0)
		return r;
	if (!S_ISREG(a.mode))
		return -ENOTTY;
	n = (int)((off_t)a.size - at); /* an int, negative behind the end: as the kernel's */
	return memory_copy_out(arg, &n, sizeof n) ? 0 : -EFAULT;
}

static int ioctl_ours(int fd, struct ofd *o, unsigned long request, void *arg)
{
	int one = 1, block = 4096;

	if (!o->file)
		return -EBADF;
	switch (request) {
	case 2: /* FIGETBSZ */
		return memory_copy_out(arg, &block, sizeof block) ? 0 : -EFAULT;
	case FIOCLEX:
	case FIONCLEX:
	case FIONBIO:
	case FIOASYNC:
		return (int)RAW(ioctl, fd, request, arg);
	case FIONREAD:
		return readable_bytes(fd, o, arg);
	case FFRECORD_DIRECT_IO:
		return memory_copy_out(arg, &one, sizeof one) ? 0 : -EFAULT;
	case 0x40049409ul: /* FICLONE */
		return RAW(fcntl, (int)(intptr_t)arg, F_GETFD) < 0 ? -EBADF : -EOPNOTSUPP;
	case 0x4020940dul: /* FICLONERANGE */
	case 0xc0189436ul: /* FIDEDUPERANGE */
		return -EOPNOTSUPP;
	default:
		return -ENOTTY;
	}
}

int hook_ioctl(int fd, unsigned long request, ...)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (UNLIKELY(ours != 0))
		return (int)hook_result(ours < 0 ? ours : ioctl_ours(fd, o, request, arg));
	/* cloning from one of ours into a native file */
	if (UNLIKELY(request == 0x40049409ul) && fdtab_is_ours((int)(intptr_t)arg))
		return (int)hook_result(-EXDEV);
	return REAL(ioctl)(fd, request, arg);
}

int hook_isatty(int fd)
{
	if (LIKELY(!fdtab_is_ours(fd)))
		return REAL(isatty)(fd);
	errno = ENOTTY;
	return 0;
}

/* --- Others that change descriptors -------------------------------------------------------- */

int hook_daemon(int nochdir, int noclose)
{
	int r = REAL(daemon)(nochdir, noclose);

	for (int fd = 0; init_active() && r == 0 && !noclose && fd <= 2; fd++)
		fdtab_set_native(fd);
	return r;
}

/* The core's own descriptors go high, so that programs find the numbers they expect, and are
 * marked, so that programs that close what they do not know leave them alone. */
static int copy_high(int fd)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -EINVAL;
	return (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC,
			(int)MIN(limit.rlim_cur, (rlim_t)65536) / 4 * 3);
}

int fd_hide(int fd)
{
	int high = fd < 0 ? fd : copy_high(fd);

	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	if (fd >= 0)
		fdtab_set_internal(fd);
	return fd;
}

static int copy_low(const void *arg)
{
	return (int)RAW(fcntl, *(const int *)arg, F_DUPFD_CLOEXEC, 0);
}

int fd_copy_hidden(int fd)
{
	int high = copy_high(fd);

	if (high == -EMFILE || high == -EINVAL)
		return fd_beyond(copy_low, &fd);
	if (high >= 0)
		fdtab_set_internal(high);
	return high;
}

void fd_unhide(int fd)
{
	fdtab_forget(fd);
	raw_close(fd);
}

/* The program may use every number below its limit for itself, or have lowered the limit below the
 * ones it uses. Then the core's descriptor goes above the limit, which is raised for the moment. */
static _Atomic int beyond_busy;
static struct rlimit64 limit;

void fd_after_fork(void)
{
	if (beyond_busy)
		RAW(prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	beyond_busy = 0;
}

int fd_beyond(int (*make)(const void *arg), const void *arg)
{
	struct rlimit64 more;
	int fd, high, idle = 0;

	if (!atomic_compare_exchange_strong(&beyond_busy, &idle, 1))
		return -EMFILE;
	RAW(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	more = limit;
	more.rlim_cur = MIN(limit.rlim_max, limit.rlim_cur + 256);
	fd = (int)RAW(prlimit64, 0, RLIMIT_NOFILE, &more, NULL);
	if (fd == 0) {
		fd = make(arg);
		high = fd < 0 ? fd : (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, (int)limit.rlim_cur);
		if (high >= 0) {
			raw_close(fd);
			fd = high;
		}
		if (fd >= 0)
			fdtab_set_internal(fd);
		RAW(prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	}
	atomic_store(&beyond_busy, 0);
	return fd;
}

static int make_eventfd(const void *arg)
{
	return (int)RAW(eventfd2, 0, *(const int *)arg);
}

int hook_eventfd(unsigned initial, int flags)
{
	int fd = REAL(eventfd)(initial, flags);

	if (LIKELY(!core_called_from(__builtin_return_address(0))))
		return fd;
	if (fd < 0 && errno == EMFILE)
		return (int)hook_result(fd_beyond(make_eventfd, &flags));
	return fd_hide(fd);
}

DEFINE_ALIASES(fd)
