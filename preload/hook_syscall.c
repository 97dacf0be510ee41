/* Purpose: libc's syscall(), through which node, libaio, io_uring set-up and others make calls that
 * have a function as well. Those that concern files go to the hooks; the rest passes.
 *
 * io_uring and libaio calls pass: they do not see our files, whose placeholders answer EBADF. */
#include "hook.h"

#include <stdarg.h>

#include "raw.h"

struct open_how_ {
	uint64_t flags, mode, resolve;
};

/* openat2(2). The resolve flags restrict the walk; what we cannot keep is refused. */
static long openat2_ours(int dirfd, const char *path, const struct open_how_ *user, size_t size)
{
	struct open_how_ how = { 0 };

	if (size < sizeof how)
		return hook_result(-EINVAL);
	if (!memory_copy_in(&how, user, sizeof how))
		return hook_result(-EFAULT);
	if (how.resolve & ~0x21ull) /* NO_XDEV (there are no mounts) and CACHED are true enough */
		return hook_result(how.resolve & ~0x3full ? -EINVAL : -EXDEV);
	if (how.resolve & 0x20)
		return hook_result(-EAGAIN);
	return hook_openat(dirfd, path, (int)how.flags, (mode_t)how.mode);
}

/* Calls on paths. *done is cleared if number is none. */
static long on_path(long number, const long *a, bool *done)
{
#define P(i) ((const char *)a[i])
	switch (number) {
#ifdef SYS_open
	case SYS_open:
		return hook_open(P(0), (int)a[1], (mode_t)a[2]);
	case SYS_stat:
		return hook_stat(P(0), (struct stat *)a[1]);
	case SYS_lstat:
		return hook_lstat(P(0), (struct stat *)a[1]);
	case SYS_access:
		return hook_access(P(0), (int)a[1]);
	case SYS_mkdir:
		return hook_mkdir(P(0), (mode_t)a[1]);
	case SYS_rmdir:
		return hook_rmdir(P(0));
	case SYS_unlink:
		return hook_unlink(P(0));
	case SYS_rename:
		return hook_rename(P(0), P(1));
	case SYS_readlink:
		return hook_readlink(P(0), (char *)a[1], (size_t)a[2]);
#endif
	case SYS_openat:
		return hook_openat((int)a[0], P(1), (int)a[2], (mode_t)a[3]);
	case SYS_openat2:
		if (where_is_ours((int)a[0], P(1)))
			return openat2_ours((int)a[0], P(1), (const struct open_how_ *)a[2],
					    (size_t)a[3]);
		break;
	case SYS_newfstatat:
		return hook_fstatat((int)a[0], P(1), (struct stat *)a[2], (int)a[3]);
	case SYS_statx:
		return hook_statx((int)a[0], P(1), (int)a[2], (unsigned)a[3], (struct statx *)a[4]);
	case SYS_faccessat:
		return hook_faccessat((int)a[0], P(1), (int)a[2], 0);
	case SYS_faccessat2:
		return hook_faccessat((int)a[0], P(1), (int)a[2], (int)a[3]);
	case SYS_mkdirat:
		return hook_mkdirat((int)a[0], P(1), (mode_t)a[2]);
	case SYS_unlinkat:
		return hook_unlinkat((int)a[0], P(1), (int)a[2]);
	case SYS_renameat2:
		return hook_renameat2((int)a[0], P(1), (int)a[2], P(3), (unsigned)a[4]);
	case SYS_linkat:
		return hook_linkat((int)a[0], P(1), (int)a[2], P(3), (int)a[4]);
	case SYS_symlinkat:
		return hook_symlinkat(P(0), (int)a[1], P(2));
	case SYS_readlinkat:
		return hook_readlinkat((int)a[0], P(1), (char *)a[2], (size_t)a[3]);
	case SYS_fchmodat:
		return hook_fchmodat((int)a[0], P(1), (mode_t)a[2], 0);
	case SYS_fchownat:
		return hook_fchownat((int)a[0], P(1), (uid_t)a[2], (gid_t)a[3], (int)a[4]);
	case SYS_utimensat:
		return hook_utimensat((int)a[0], P(1), (const struct timespec *)a[2], (int)a[3]);
	case SYS_truncate:
		return hook_truncate(P(0), a[1]);
	case SYS_chdir:
		return hook_chdir(P(0));
	case SYS_execve:
		return hook_execve(P(0), (char *const *)a[1], (char *const *)a[2]);
	}
#undef P
	*done = false;
	return 0;
}

static long on_fd(long number, const long *a, bool *done)
{
	int fd = (int)a[0];

	switch (number) {
	case SYS_read:
		return hook_read(fd, (void *)a[1], (size_t)a[2]);
	case SYS_write:
		return hook_write(fd, (const void *)a[1], (size_t)a[2]);
	case SYS_pread64:
		return hook_pread(fd, (void *)a[1], (size_t)a[2], a[3]);
	case SYS_pwrite64:
		return hook_pwrite(fd, (const void *)a[1], (size_t)a[2], a[3]);
	case SYS_readv:
		return hook_readv(fd, (const struct iovec *)a[1], (int)a[2]);
	case SYS_writev:
		return hook_writev(fd, (const struct iovec *)a[1], (int)a[2]);
	case SYS_preadv:
		return hook_preadv(fd, (const struct iovec *)a[1], (int)a[2], a[3]);
	case SYS_pwritev:
		return hook_pwritev(fd, (const struct iovec *)a[1], (int)a[2], a[3]);
	case SYS_preadv2:
		return hook_preadv2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_pwritev2:
		return hook_pwritev2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_lseek:
		return hook_lseek(fd, a[1], (int)a[2]);
	case SYS_close:
		return hook_close(fd);
	case SYS_close_range:
		return hook_close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_dup:
		return hook_dup(fd);
#ifdef SYS_dup2
	case SYS_dup2:
		return hook_dup2(fd, (int)a[1]);
#endif
	case SYS_dup3:
		return hook_dup3(fd, (int)a[1], (int)a[2]);
	case SYS_fcntl:
		return hook_fcntl(fd, (int)a[1], a[2]);
	case SYS_ioctl:
		return hook_ioctl(fd, (unsigned long)a[1], a[2]);
	case SYS_fstat:
		return hook_fstat(fd, (struct stat *)a[1]);
	case SYS_ftruncate:
		return hook_ftruncate(fd, a[1]);
	case SYS_fallocate:
		return hook_fallocate(fd, (int)a[1], a[2], a[3]);
	case SYS_fsync:
		return hook_fsync(fd);
	case SYS_fdatasync:
		return hook_fdatasync(fd);
	case SYS_fchdir:
		return hook_fchdir(fd);
	case SYS_fchmod:
		return hook_fchmod(fd, (mode_t)a[1]);
	case SYS_fchown:
		return hook_fchown(fd, (uid_t)a[1], (gid_t)a[2]);
	case SYS_flock:
		return hook_flock(fd, (int)a[1]);
	case SYS_getdents64:
		return hook_getdents64(fd, (void *)a[1], (size_t)a[2]);
	case SYS_sendfile:
		return hook_sendfile(fd, (int)a[1], (off_t *)a[2], (size_t)a[3]);
	case SYS_copy_file_range:
		return hook_copy_file_range(fd, (off64_t *)a[1], (int)a[2], (off64_t *)a[3],
					    (size_t)a[4], (unsigned)a[5]);
	case SYS_splice:
		return hook_splice(fd, (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4],
				   (unsigned)a[5]);
	case SYS_exit_group:
		flush_everything();
		break;
	case SYS_mmap: {
		void *m = hook_mmap((void *)a[0], (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);

		return (long)m;
	}
	}
	*done = false;
	return 0;
}

long hook_syscall(long number, ...)
{
	bool done = true;
	long a[6], r;
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (LIKELY(init_active())) {
		r = on_fd(number, a, &done);
		if (done)
			return r;
		done = true;
		r = on_path(number, a, &done);
		if (done)
			return r;
	}
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

DEFINE_ALIASES(syscall)
