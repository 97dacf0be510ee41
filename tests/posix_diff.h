/* A differential suite: each CASE prints what calls gave in a fresh directory; the same lines must come
 * from a local file system and from below a prefix. See posix_diff.c.
 *
 * Compiled a second time with VIA_SYSCALL, where the calls that have a number are made by syscall(). */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

struct posix_case {
	const char *name;
	void (*run)(void);
	struct posix_case *next;
};
void posix_register(struct posix_case *c);

#define CASE(id)                                                                                   \
	static void case_##id(void);                                                               \
	static struct posix_case record_##id = { #id, case_##id, NULL };                            \
	__attribute__((constructor)) static void register_##id(void)                               \
	{                                                                                          \
		posix_register(&record_##id);                                                      \
	}                                                                                          \
	static void case_##id(void)

/* The path of a name in the case's directory. A dozen of them may be in use at once. */
const char *P(const char *name);
/* What a call gave: its value, or its error. The value comes back. */
long show(const char *what, long r, int error);
#define R(call) (errno = 0, show_errno(#call, (long)(call)))
static inline long show_errno(const char *what, long r)
{
	return show(what, r, errno);
}
/* For calls that return an error number, and those whose value is a pointer or differs by nature. */
#define E(call) show(#call, (long)(call), 0)
#define OK(call) (errno = 0, show_errno("ok: " #call, (long)(call) < 0 ? -1 : 0))
#define PTR(call) (errno = 0, show_errno(#call, (call) ? 0 : -1))
/* The local file system's answer is one of two that are right: print what is common. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Type, mode, links, owner, size of a path (not following) or descriptor; contents; a listing. */
void facts(const char *name);
void facts_fd(int fd);
void contents(const char *name);
void listing(const char *name);
/* A file with a text; a descriptor of it, O_RDWR. */
int make(const char *name, const char *text);
void put(const char *name, const char *text);
/* For what earlier kernels answer otherwise, who are not copied. */
bool kernel_since(unsigned major, unsigned minor);
/* Runs fn in a child as an unprivileged user, umask 022; shows how it ended. */
void as_user(uid_t uid, gid_t gid, void (*fn)(void));
/* In a child; for limits and signals. */
void in_child(void (*fn)(void));
/* SIGALRM again and again, so that one comes when a call waits; or the one that ends a hang. */
void signals_come(bool come);
#define IN_CHILD(id)                                                                               \
	static void child_##id(void);                                                              \
	CASE(id)                                                                                   \
	{                                                                                          \
		in_child(child_##id);                                                              \
	}                                                                                          \
	static void child_##id(void)
extern const char *posix_dir;

#ifdef VIA_SYSCALL
#define open(...) ((int)syscall(SYS_open, __VA_ARGS__))
#define openat(...) ((int)syscall(SYS_openat, __VA_ARGS__))
#define creat(...) ((int)syscall(SYS_creat, __VA_ARGS__))
#define close(...) ((int)syscall(SYS_close, __VA_ARGS__))
#define close_range(...) ((int)syscall(SYS_close_range, __VA_ARGS__))
#define read(...) syscall(SYS_read, __VA_ARGS__)
#define write(...) syscall(SYS_write, __VA_ARGS__)
#define pread(...) syscall(SYS_pread64, __VA_ARGS__)
#define pwrite(...) syscall(SYS_pwrite64, __VA_ARGS__)
#define readv(...) syscall(SYS_readv, __VA_ARGS__)
#define writev(...) syscall(SYS_writev, __VA_ARGS__)
#define preadv(fd, iov, n, at) syscall(SYS_preadv, fd, iov, n, (long)(at), 0l)
#define pwritev(fd, iov, n, at) syscall(SYS_pwritev, fd, iov, n, (long)(at), 0l)
#define preadv2(fd, iov, n, at, f) syscall(SYS_preadv2, fd, iov, n, (long)(at), 0l, f)
#define pwritev2(fd, iov, n, at, f) syscall(SYS_pwritev2, fd, iov, n, (long)(at), 0l, f)
#define lseek(fd, at, w) syscall(SYS_lseek, fd, (long)(at), w)
#define truncate(p, n) ((int)syscall(SYS_truncate, p, (long)(n)))
#define ftruncate(p, n) ((int)syscall(SYS_ftruncate, p, (long)(n)))
#define fallocate(fd, m, a, n) ((int)syscall(SYS_fallocate, fd, m, (long)(a), (long)(n)))
#define readahead(...) syscall(SYS_readahead, __VA_ARGS__)
#define fsync(...) ((int)syscall(SYS_fsync, __VA_ARGS__))
#define fdatasync(...) ((int)syscall(SYS_fdatasync, __VA_ARGS__))
#define syncfs(...) ((int)syscall(SYS_syncfs, __VA_ARGS__))
#define sync_file_range(...) ((int)syscall(SYS_sync_file_range, __VA_ARGS__))
#define stat(...) ((int)syscall(SYS_stat, __VA_ARGS__))
#define lstat(...) ((int)syscall(SYS_lstat, __VA_ARGS__))
#define fstat(...) ((int)syscall(SYS_fstat, __VA_ARGS__))
#define fstatat(...) ((int)syscall(SYS_newfstatat, __VA_ARGS__))
#define statx(...) ((int)syscall(SYS_statx, __VA_ARGS__))
#define access(...) ((int)syscall(SYS_access, __VA_ARGS__))
#define faccessat(...) ((int)syscall(SYS_faccessat2, __VA_ARGS__))
#define mkdir(...) ((int)syscall(SYS_mkdir, __VA_ARGS__))
#define mkdirat(...) ((int)syscall(SYS_mkdirat, __VA_ARGS__))
#define rmdir(...) ((int)syscall(SYS_rmdir, __VA_ARGS__))
#define unlink(...) ((int)syscall(SYS_unlink, __VA_ARGS__))
#define unlinkat(...) ((int)syscall(SYS_unlinkat, __VA_ARGS__))
#define rename(...) ((int)syscall(SYS_rename, __VA_ARGS__))
#define renameat(...) ((int)syscall(SYS_renameat, __VA_ARGS__))
#define renameat2(...) ((int)syscall(SYS_renameat2, __VA_ARGS__))
#define link(...) ((int)syscall(SYS_link, __VA_ARGS__))
#define linkat(...) ((int)syscall(SYS_linkat, __VA_ARGS__))
#define symlink(...) ((int)syscall(SYS_symlink, __VA_ARGS__))
#define symlinkat(...) ((int)syscall(SYS_symlinkat, __VA_ARGS__))
#define readlink(...) syscall(SYS_readlink, __VA_ARGS__)
#define readlinkat(...) syscall(SYS_readlinkat, __VA_ARGS__)
#define mknod(...) ((int)syscall(SYS_mknod, __VA_ARGS__))
#define mknodat(...) ((int)syscall(SYS_mknodat, __VA_ARGS__))
#define chmod(...) ((int)syscall(SYS_chmod, __VA_ARGS__))
#define fchmod(...) ((int)syscall(SYS_fchmod, __VA_ARGS__))
#define chown(...) ((int)syscall(SYS_chown, __VA_ARGS__))
#define fchown(...) ((int)syscall(SYS_fchown, __VA_ARGS__))
#define lchown(...) ((int)syscall(SYS_lchown, __VA_ARGS__))
#define fchownat(...) ((int)syscall(SYS_fchownat, __VA_ARGS__))
#define utimensat(...) ((int)syscall(SYS_utimensat, __VA_ARGS__))
#define getxattr(...) syscall(SYS_getxattr, __VA_ARGS__)
#define lgetxattr(...) syscall(SYS_lgetxattr, __VA_ARGS__)
#define fgetxattr(...) syscall(SYS_fgetxattr, __VA_ARGS__)
#define setxattr(...) ((int)syscall(SYS_setxattr, __VA_ARGS__))
#define lsetxattr(...) ((int)syscall(SYS_lsetxattr, __VA_ARGS__))
#define fsetxattr(...) ((int)syscall(SYS_fsetxattr, __VA_ARGS__))
#define listxattr(...) syscall(SYS_listxattr, __VA_ARGS__)
#define llistxattr(...) syscall(SYS_llistxattr, __VA_ARGS__)
#define flistxattr(...) syscall(SYS_flistxattr, __VA_ARGS__)
#define removexattr(...) ((int)syscall(SYS_removexattr, __VA_ARGS__))
#define lremovexattr(...) ((int)syscall(SYS_lremovexattr, __VA_ARGS__))
#define fremovexattr(...) ((int)syscall(SYS_fremovexattr, __VA_ARGS__))
#define statfs(...) ((int)syscall(SYS_statfs, __VA_ARGS__))
#define fstatfs(...) ((int)syscall(SYS_fstatfs, __VA_ARGS__))
#define dup(...) ((int)syscall(SYS_dup, __VA_ARGS__))
#define dup2(...) ((int)syscall(SYS_dup2, __VA_ARGS__))
#define dup3(...) ((int)syscall(SYS_dup3, __VA_ARGS__))
#define fcntl(...) ((int)syscall(SYS_fcntl, __VA_ARGS__))
#define flock_(...) ((int)syscall(SYS_flock, __VA_ARGS__))
#define ioctl(...) ((int)syscall(SYS_ioctl, __VA_ARGS__))
#define sendfile(...) syscall(SYS_sendfile, __VA_ARGS__)
#define copy_file_range(...) syscall(SYS_copy_file_range, __VA_ARGS__)
#define splice(...) syscall(SYS_splice, __VA_ARGS__)
#define chdir(...) ((int)syscall(SYS_chdir, __VA_ARGS__))
#define fchdir(...) ((int)syscall(SYS_fchdir, __VA_ARGS__))
#define umask(...) ((mode_t)syscall(SYS_umask, __VA_ARGS__))
#define getdents64(...) syscall(SYS_getdents64, __VA_ARGS__)
#else
#define flock_ flock
#endif
