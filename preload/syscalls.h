/* The one table of system calls that can name a file of ours, by number: for libc's syscall()
 * (hook_syscall.c) and for what Syscall User Dispatch catches (dispatch.c).
 *
 *   S(number, which arguments name a file, what serves it)   a[] are the arguments
 *   N(number)   a call that has a hook by name, and needs none by number
 *
 * FD(i): argument i is a descriptor. AT(i): i is a directory's descriptor and i + 1 a path. PATH(i):
 * a path from the working directory. ALWAYS: the call goes to the hook whatever it names, because
 * that keeps the shim's tables in step. A call that names nothing of ours goes to the kernel as it
 * is. Every hook of hooks.h whose name is a system call's has a row: tests/lint-syscalls.sh. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "new_calls.h"

#define FD(i) (1u << (i))
#define AT(i) (1u << (8 + (i)))
#define PATH(i) (1u << (16 + (i)))
#define ALWAYS (1u << 24)

/* Does this call go to a hook? Yes, if it names something of ours. */
bool syscall_is_ours(long number, const long a[6]);
/* It has failed with ENOENT in the kernel: does a path lead to us through links of the machine? */
bool syscall_is_linked(long number, const long a[6]);
/* Serves it: the system call's result, or -1 and errno. */
long syscall_serve(long number, const long a[6]);
/* The row: which arguments name a file (0: no row), and the name. */
unsigned syscall_arguments(long number);
const char *syscall_name(long number);

/* hook_xattr.c */
long xattr_get_at(const long a[6]);
long xattr_set_at(const long a[6]);
long xattr_list_at(const long a[6]);
long xattr_remove_at(const long a[6]);
/* openat2.c */
long openat2_ours(int dirfd, const char *path, const void *how, size_t size);

#define PTR(i) ((void *)a[i])
#define STR(i) ((const char *)a[i])
#define INT(i) ((int)a[i])
#define SIZE(i) ((size_t)a[i])
#define REFUSE(error) hook_result(-(error))

/* clang-format off */
#define SYSCALLS_FD(S, N)                                                                          \
	S(read, FD(0), hook_read(INT(0), PTR(1), SIZE(2)))                                         \
	S(write, FD(0), hook_write(INT(0), PTR(1), SIZE(2)))                                       \
	S(pread64, FD(0), hook_pread(INT(0), PTR(1), SIZE(2), a[3]))                               \
	S(pwrite64, FD(0), hook_pwrite(INT(0), PTR(1), SIZE(2), a[3]))                             \
	S(readv, FD(0), hook_readv(INT(0), PTR(1), INT(2)))                                        \
	S(writev, FD(0), hook_writev(INT(0), PTR(1), INT(2)))                                      \
	S(preadv, FD(0), hook_preadv(INT(0), PTR(1), INT(2), a[3]))                                \
	S(pwritev, FD(0), hook_pwritev(INT(0), PTR(1), INT(2), a[3]))                              \
	S(preadv2, FD(0), hook_preadv2(INT(0), PTR(1), INT(2), a[3], INT(5)))                      \
	S(pwritev2, FD(0), hook_pwritev2(INT(0), PTR(1), INT(2), a[3], INT(5)))                    \
	S(lseek, FD(0), hook_lseek(INT(0), a[1], INT(2)))                                          \
	S(ftruncate, FD(0), hook_ftruncate(INT(0), a[1]))                                          \
	S(fallocate, FD(0), hook_fallocate(INT(0), INT(1), a[2], a[3]))                            \
	S(fadvise64, FD(0), serve_fadvise(a))                                                      \
	S(readahead, FD(0), hook_readahead(INT(0), a[1], SIZE(2)))                                 \
	S(fsync, FD(0), hook_fsync(INT(0)))                                                        \
	S(fdatasync, FD(0), hook_fdatasync(INT(0)))                                                \
	S(sync_file_range, FD(0), hook_sync_file_range(INT(0), a[1], a[2], (unsigned)a[3]))        \
	S(sync, ALWAYS, (hook_sync(), 0))                                                          \
	S(syncfs, FD(0), hook_syncfs(INT(0)))                                                      \
	S(fstat, FD(0), hook_fstat(INT(0), PTR(1)))                                                \
	S(fstatfs, FD(0), hook_fstatfs(INT(0), PTR(1)))                                            \
	S(getdents64, FD(0), hook_getdents64(INT(0), PTR(1), (unsigned)a[2]))                      \
	S(fchmod, FD(0), hook_fchmod(INT(0), (mode_t)a[1]))                                        \
	S(fchown, FD(0), hook_fchown(INT(0), (uid_t)a[1], (gid_t)a[2]))                            \
	S(fgetxattr, FD(0), hook_fgetxattr(INT(0), STR(1), PTR(2), SIZE(3)))                       \
	S(fsetxattr, FD(0), hook_fsetxattr(INT(0), STR(1), PTR(2), SIZE(3), INT(4)))               \
	S(flistxattr, FD(0), hook_flistxattr(INT(0), PTR(1), SIZE(2)))                             \
	S(fremovexattr, FD(0), hook_fremovexattr(INT(0), STR(1)))                                  \
	S(flock, FD(0), hook_flock(INT(0), INT(1)))                                                \
	S(close, ALWAYS | FD(0), hook_close(INT(0)))                                               \
	S(close_range, ALWAYS, hook_close_range((unsigned)a[0], (unsigned)a[1], INT(2)))           \
	S(dup, ALWAYS | FD(0), hook_dup(INT(0)))                                                   \
	S(dup3, ALWAYS | FD(0) | FD(1), hook_dup3(INT(0), INT(1), INT(2)))                         \
	S(fcntl, ALWAYS | FD(0), hook_fcntl(INT(0), INT(1), a[2]))                                 \
	S(ioctl, ALWAYS | FD(0), hook_ioctl(INT(0), (unsigned long)a[1], a[2]))                    \
	S(fchdir, ALWAYS | FD(0), hook_fchdir(INT(0)))                                             \
	S(sendfile, FD(0) | FD(1), hook_sendfile(INT(0), INT(1), PTR(2), SIZE(3)))                 \
	S(copy_file_range, FD(0) | FD(2),                                                          \
	  hook_copy_file_range(INT(0), PTR(1), INT(2), PTR(3), SIZE(4), (unsigned)a[5]))           \
	S(splice, FD(0) | FD(2),                                                                   \
	  hook_splice(INT(0), PTR(1), INT(2), PTR(3), SIZE(4), (unsigned)a[5]))                    \
	S(io_setup, ALWAYS, hook_raw(aio_setup((unsigned)a[0], PTR(1))))                           \
	S(io_destroy, ALWAYS, hook_raw(aio_destroy((aio_context_t)a[0])))                          \
	S(io_submit, ALWAYS, hook_raw(aio_submit((aio_context_t)a[0], a[1], PTR(2))))              \
	S(io_getevents, ALWAYS,                                                                    \
	  hook_raw(aio_getevents((aio_context_t)a[0], a[1], a[2], PTR(3), PTR(4))))                \
	S(io_pgetevents, ALWAYS,                                                                   \
	  hook_raw(aio_pgetevents((aio_context_t)a[0], a[1], a[2], PTR(3), PTR(4), PTR(5))))       \
	S(mmap, ALWAYS | FD(4), (long)hook_mmap(PTR(0), SIZE(1), INT(2), INT(3), INT(4), a[5]))    \
	S(munmap, ALWAYS, hook_munmap(PTR(0), SIZE(1)))                                            \
	S(mremap, ALWAYS, (long)hook_mremap(PTR(0), SIZE(1), SIZE(2), INT(3), PTR(4)))             \
	S(mprotect, ALWAYS, hook_mprotect(PTR(0), SIZE(1), INT(2)))                                \
	S(pkey_mprotect, ALWAYS, hook_pkey_mprotect(PTR(0), SIZE(1), INT(2), INT(3)))              \
	S(madvise, ALWAYS, hook_madvise(PTR(0), SIZE(1), INT(2)))                                  \
	S(remap_file_pages, ALWAYS,                                                                \
	  hook_remap_file_pages(PTR(0), SIZE(1), INT(2), SIZE(3), INT(4)))                         \
	S(msync, ALWAYS, hook_msync(PTR(0), SIZE(1), INT(2)))                                      \
	S(io_uring_setup, ALWAYS, hook_raw(uring_setup((unsigned)a[0], PTR(1))))                   \
	S(io_uring_enter, ALWAYS,                                                                  \
	  hook_raw(uring_enter((unsigned)a[0], (unsigned)a[1], (unsigned)a[2], (unsigned)a[3],     \
			       PTR(4), SIZE(5))))                                                  \
	S(io_uring_register, ALWAYS,                                                               \
	  hook_raw(uring_register((unsigned)a[0], (unsigned)a[1], PTR(2), (unsigned)a[3])))        \
	S(umask, ALWAYS, (long)hook_umask((mode_t)a[0]))                                           \
	S(exit_group, ALWAYS, (hook__exit(INT(0)), 0))                                             \
	S(cachestat, FD(0), REFUSE(EOPNOTSUPP))                                                    \
	N(setuid) /* of one thread, where the name means the process */                            \
	N(setreuid)                                                                                \
	N(setresuid)                                                                               \
	N(setfsuid)                                                                                \
	N(setgid)                                                                                  \
	N(setregid)                                                                                \
	N(setresgid)                                                                               \
	N(setfsgid)                                                                                \
	N(setgroups)                                                                               \
	S(setrlimit, ALWAYS, hook_setrlimit(INT(0), PTR(1)))                                       \
	S(prlimit64, ALWAYS, hook_prlimit((pid_t)a[0], INT(1), PTR(2), PTR(3)))                    \
	N(socket) /* the core's own descriptors, which come by name */                             \
	N(eventfd2)                                                                                \
	S(bind, ALWAYS, hook_bind(INT(0), PTR(1), (socklen_t)a[2]))                                \
	S(connect, ALWAYS, hook_connect(INT(0), PTR(1), (socklen_t)a[2]))                   \
	S(sendto, ALWAYS, hook_sendto(INT(0), PTR(1), SIZE(2), INT(3), PTR(4), (socklen_t)a[5]))\
	S(sendmsg, ALWAYS, hook_sendmsg(INT(0), PTR(1), INT(2)))                            \
	S(accept, ALWAYS, hook_accept(INT(0), PTR(1), PTR(2)))                              \
	S(accept4, ALWAYS, hook_accept4(INT(0), PTR(1), PTR(2), INT(3)))                    \
	S(getsockname, ALWAYS, hook_getsockname(INT(0), PTR(1), PTR(2)))                    \
	S(getpeername, ALWAYS, hook_getpeername(INT(0), PTR(1), PTR(2)))                    \
	S(recvfrom, ALWAYS, hook_recvfrom(INT(0), PTR(1), SIZE(2), INT(3), PTR(4), PTR(5))) \
	S(recvmsg, ALWAYS, hook_recvmsg(INT(0), PTR(1), INT(2)))

#define SYSCALLS_PATH(S, N)                                                                        \
	S(openat, ALWAYS | AT(0), hook_openat(INT(0), STR(1), INT(2), (mode_t)a[3]))               \
	S(openat2, FD(0) | AT(0), openat2_ours(INT(0), STR(1), PTR(2), SIZE(3)))                   \
	S(newfstatat, AT(0), hook_fstatat(INT(0), EMPTY(1, a[3]), PTR(2), INT(3)))                 \
	S(statx, AT(0), hook_statx(INT(0), EMPTY(1, a[2]), INT(2), (unsigned)a[3], PTR(4)))        \
	S(faccessat, AT(0), hook_faccessat(INT(0), STR(1), INT(2), 0))                             \
	S(faccessat2, AT(0), hook_faccessat(INT(0), STR(1), INT(2), INT(3)))                       \
	S(mkdirat, AT(0), hook_mkdirat(INT(0), STR(1), (mode_t)a[2]))                              \
	S(mknodat, AT(0), hook_mknodat(INT(0), STR(1), (mode_t)a[2], (unsigned)a[3]))              \
	S(unlinkat, AT(0), hook_unlinkat(INT(0), STR(1), INT(2)))                                  \
	S(renameat2, AT(0) | AT(2),                                                                \
	  hook_renameat2(INT(0), STR(1), INT(2), STR(3), (unsigned)a[4]))                          \
	S(linkat, AT(0) | AT(2), hook_linkat(INT(0), STR(1), INT(2), STR(3), INT(4)))              \
	S(symlinkat, AT(1), hook_symlinkat(STR(0), INT(1), STR(2)))                                \
	S(readlinkat, AT(0), hook_readlinkat(INT(0), STR(1), PTR(2), size_of_int(a[3])))           \
	S(fchmodat, AT(0), hook_fchmodat(INT(0), STR(1), (mode_t)a[2], 0))                         \
	S(fchmodat2, AT(0), hook_fchmodat(INT(0), STR(1), (mode_t)a[2], INT(3)))                   \
	S(fchownat, AT(0), hook_fchownat(INT(0), STR(1), (uid_t)a[2], (gid_t)a[3], INT(4)))        \
	S(utimensat, AT(0), serve_utimensat(a))                                                    \
	S(truncate, PATH(0), hook_truncate(STR(0), a[1]))                                          \
	S(statfs, PATH(0), hook_statfs(STR(0), PTR(1)))                                            \
	S(chdir, ALWAYS | PATH(0), hook_chdir(STR(0)))                                             \
	S(chroot, PATH(0), hook_chroot(STR(0)))                                                    \
	S(getcwd, ALWAYS, serve_getcwd(PTR(0), SIZE(1)))                                           \
	S(execve, ALWAYS | PATH(0), hook_execve(STR(0), PTR(1), PTR(2)))                           \
	S(execveat, AT(0), hook_execveat(INT(0), STR(1), PTR(2), PTR(3), INT(4)))                  \
	S(getxattr, PATH(0), hook_getxattr(STR(0), STR(1), PTR(2), SIZE(3)))                       \
	S(lgetxattr, PATH(0), hook_lgetxattr(STR(0), STR(1), PTR(2), SIZE(3)))                     \
	S(setxattr, PATH(0), hook_setxattr(STR(0), STR(1), PTR(2), SIZE(3), INT(4)))               \
	S(lsetxattr, PATH(0), hook_lsetxattr(STR(0), STR(1), PTR(2), SIZE(3), INT(4)))             \
	S(listxattr, PATH(0), hook_listxattr(STR(0), PTR(1), SIZE(2)))                             \
	S(llistxattr, PATH(0), hook_llistxattr(STR(0), PTR(1), SIZE(2)))                           \
	S(removexattr, PATH(0), hook_removexattr(STR(0), STR(1)))                                  \
	S(lremovexattr, PATH(0), hook_lremovexattr(STR(0), STR(1)))                                \
	S(inotify_add_watch, PATH(1), hook_inotify_add_watch(INT(0), STR(1), (uint32_t)a[2]))      \
	S(fanotify_mark, AT(3), REFUSE(EOPNOTSUPP))                                                \
	S(name_to_handle_at, AT(0), REFUSE(EOPNOTSUPP))                                            \
	S(setxattrat, AT(0), xattr_set_at(a))                                                      \
	S(getxattrat, AT(0), xattr_get_at(a))                                                      \
	S(listxattrat, AT(0), xattr_list_at(a))                                                    \
	S(removexattrat, AT(0), xattr_remove_at(a))                                                \
	S(file_getattr, AT(0), REFUSE(EOPNOTSUPP))                                                 \
	S(file_setattr, AT(0), REFUSE(EOPNOTSUPP))

/* Those that newer machines do not have any more. */
#ifdef SYS_open
#define SYSCALLS_OLD(S, N)                                                                         \
	S(open, ALWAYS | PATH(0), hook_open(STR(0), INT(1), (mode_t)a[2]))                         \
	S(creat, ALWAYS | PATH(0), hook_creat(STR(0), (mode_t)a[1]))                               \
	S(stat, PATH(0), hook_stat(STR(0), PTR(1)))                                                \
	S(lstat, PATH(0), hook_lstat(STR(0), PTR(1)))                                              \
	S(access, PATH(0), hook_access(STR(0), INT(1)))                                            \
	S(mkdir, PATH(0), hook_mkdir(STR(0), (mode_t)a[1]))                                        \
	S(mknod, PATH(0), hook_mknod(STR(0), (mode_t)a[1], (unsigned)a[2]))                        \
	S(rmdir, PATH(0), hook_rmdir(STR(0)))                                                      \
	S(unlink, PATH(0), hook_unlink(STR(0)))                                                    \
	S(rename, PATH(0) | PATH(1), hook_rename(STR(0), STR(1)))                                  \
	S(renameat, AT(0) | AT(2), hook_renameat(INT(0), STR(1), INT(2), STR(3)))                  \
	S(link, PATH(0) | PATH(1), hook_link(STR(0), STR(1)))                                      \
	S(symlink, PATH(1), hook_symlink(STR(0), STR(1)))                                          \
	S(readlink, PATH(0), hook_readlink(STR(0), PTR(1), size_of_int(a[2])))                     \
	S(chmod, PATH(0), hook_chmod(STR(0), (mode_t)a[1]))                                        \
	S(chown, PATH(0), hook_chown(STR(0), (uid_t)a[1], (gid_t)a[2]))                            \
	S(lchown, PATH(0), hook_lchown(STR(0), (uid_t)a[1], (gid_t)a[2]))                          \
	S(utime, PATH(0), hook_utime(STR(0), PTR(1)))                                              \
	S(utimes, PATH(0), hook_utimes(STR(0), PTR(1)))                                            \
	S(futimesat, AT(0), hook_futimesat(INT(0), STR(1), PTR(2)))                                \
	S(getdents, FD(0), serve_getdents(INT(0), PTR(1), (unsigned)a[2]))                         \
	S(dup2, ALWAYS | FD(0) | FD(1), hook_dup2(INT(0), INT(1)))                                 \
	N(fork)	 /* past all handlers, as was asked for */                                         \
	N(vfork) /* returns twice */                                                               \
	N(eventfd)
#else
#define SYSCALLS_OLD(S, N)
#endif
/* clang-format on */

#define SYSCALLS(S, N)                                                                             \
	SYSCALLS_FD(S, N)                                                                          \
	SYSCALLS_PATH(S, N)                                                                        \
	SYSCALLS_OLD(S, N)
