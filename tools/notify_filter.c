/* Purpose: which system calls are handed to the supervisor: those that name a file by a path, and
 * the few on descriptors that would answer wrongly for our stand-ins. All others, reads and writes
 * among them, pass the filter at once (the kernel keeps a bitmap of such calls).
 *
 * The filter is a list of comparisons, so it is written here; libseccomp 2.5 cannot ask for
 * SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, without which a signal would make an open happen twice.
 *
 * Calls of another architecture (32-bit programs) pass. */
#include "notify.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define PATH_AT(nr, kind, dirfd, path, flags) { nr, kind, dirfd, path, -1, -1, flags, 0 }
#define REFUSE(nr, dirfd, path, error) { nr, NOTIFY_REFUSE, dirfd, path, -1, -1, -1, error }
#define REFUSE_TWO(nr, dirfd, path, dirfd2, path2)                                                 \
	{ nr, NOTIFY_REFUSE, dirfd, path, dirfd2, path2, -1, EROFS }

static const struct notify_row rows[] = {
	PATH_AT(SYS_openat, NOTIFY_OPEN, 0, 1, 2),
	PATH_AT(SYS_openat2, NOTIFY_OPEN, 0, 1, -1),
	PATH_AT(SYS_newfstatat, NOTIFY_STAT, 0, 1, 3),
	PATH_AT(SYS_fstat, NOTIFY_FSTAT, 0, -1, -1),
	PATH_AT(SYS_statx, NOTIFY_STATX, 0, 1, 2),
	PATH_AT(SYS_faccessat, NOTIFY_ACCESS, 0, 1, -1),
	PATH_AT(SYS_faccessat2, NOTIFY_ACCESS, 0, 1, 3),
	PATH_AT(SYS_readlinkat, NOTIFY_READLINK, 0, 1, -1),
	PATH_AT(SYS_getdents64, NOTIFY_GETDENTS, 0, -1, -1),
	PATH_AT(SYS_chdir, NOTIFY_CHDIR, -1, 0, -1),
	PATH_AT(SYS_fchdir, NOTIFY_FCHDIR, 0, -1, -1),
	PATH_AT(SYS_getcwd, NOTIFY_GETCWD, -1, -1, -1),
	PATH_AT(SYS_statfs, NOTIFY_STATFS, -1, 0, -1),
	/* The view is read-only. */
	REFUSE(SYS_mkdirat, 0, 1, EROFS),
	REFUSE(SYS_mknodat, 0, 1, EROFS),
	REFUSE(SYS_unlinkat, 0, 1, EROFS),
	REFUSE(SYS_symlinkat, 1, 2, EROFS),
	REFUSE(SYS_truncate, -1, 0, EROFS),
	REFUSE(SYS_fchmodat, 0, 1, EROFS),
	REFUSE(SYS_fchownat, 0, 1, EROFS),
	REFUSE(SYS_utimensat, 0, 1, EROFS),
	REFUSE(SYS_setxattr, -1, 0, EROFS),
	REFUSE(SYS_lsetxattr, -1, 0, EROFS),
	REFUSE(SYS_removexattr, -1, 0, EROFS),
	REFUSE(SYS_lremovexattr, -1, 0, EROFS),
	REFUSE_TWO(SYS_renameat2, 0, 1, 2, 3),
	REFUSE_TWO(SYS_linkat, 0, 1, 2, 3),
	/* Not served, and not to be taken for something else in a working directory of ours. */
	REFUSE(SYS_execve, -1, 0, EACCES),
	REFUSE(SYS_execveat, 0, 1, EACCES),
	REFUSE(SYS_getxattr, -1, 0, EOPNOTSUPP),
	REFUSE(SYS_lgetxattr, -1, 0, EOPNOTSUPP),
	REFUSE(SYS_listxattr, -1, 0, EOPNOTSUPP),
	REFUSE(SYS_llistxattr, -1, 0, EOPNOTSUPP),
	REFUSE(SYS_inotify_add_watch, -1, 1, EOPNOTSUPP),
	REFUSE(SYS_name_to_handle_at, 0, 1, EOPNOTSUPP),
#ifdef SYS_fchmodat2
	REFUSE(SYS_fchmodat2, 0, 1, EROFS),
#endif
#ifdef SYS_open /* the older names, which newer architectures do not have */
	PATH_AT(SYS_open, NOTIFY_OPEN, -1, 0, 1),
	PATH_AT(SYS_stat, NOTIFY_STAT, -1, 0, -1),
	PATH_AT(SYS_lstat, NOTIFY_STAT, -1, 0, -1),
	PATH_AT(SYS_access, NOTIFY_ACCESS, -1, 0, -1),
	PATH_AT(SYS_readlink, NOTIFY_READLINK, -1, 0, -1),
	PATH_AT(SYS_getdents, NOTIFY_GETDENTS, 0, -1, -1),
	REFUSE(SYS_creat, -1, 0, EROFS),
	REFUSE(SYS_mkdir, -1, 0, EROFS),
	REFUSE(SYS_mknod, -1, 0, EROFS),
	REFUSE(SYS_rmdir, -1, 0, EROFS),
	REFUSE(SYS_unlink, -1, 0, EROFS),
	REFUSE(SYS_symlink, -1, 1, EROFS),
	REFUSE(SYS_chmod, -1, 0, EROFS),
	REFUSE(SYS_chown, -1, 0, EROFS),
	REFUSE(SYS_lchown, -1, 0, EROFS),
	REFUSE(SYS_utime, -1, 0, EROFS),
	REFUSE(SYS_utimes, -1, 0, EROFS),
	REFUSE(SYS_futimesat, 0, 1, EROFS),
	REFUSE_TWO(SYS_rename, -1, 0, -1, 1),
	REFUSE_TWO(SYS_link, -1, 0, -1, 1),
#endif
	REFUSE_TWO(SYS_renameat, 0, 1, 2, 3),
};

const struct notify_row *notify_row(int nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].nr == nr)
			return &rows[i];
	return NULL;
}

static int install(const struct sock_fprog *program)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			  flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program);

	if (fd < 0 && errno == EINVAL) /* before Linux 5.19 */
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
	return fd < 0 ? -errno : (int)fd;
}

int notify_filter_install(void)
{
#ifndef ARCH
	return -EOPNOTSUPP;
#else
	struct sock_filter code[8 + ARRAY_SIZE(rows)];
	struct sock_fprog program = { .filter = code };
	unsigned short n = 0;
	int fd;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0,
						 ARRAY_SIZE(rows) + 1);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		code[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rows[i].nr,
			(unsigned char)(ARRAY_SIZE(rows) - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	program.len = n;
	/* Root may filter without it, and so start set-user-ID programs of others. */
	fd = install(&program);
	if (fd == -EACCES) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			return -errno;
		fd = install(&program);
	}
	return fd;
#endif
}
