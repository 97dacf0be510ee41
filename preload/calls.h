/* What becomes of each call of the C library that has to do with files. From this table comes the
 * one in ff3fs-preload(7).
 *
 *   T("title")               what follows belongs together
 *   C(symbol, STATE, text)   a hook of hooks.h; its aliases follow by themselves
 *   N(symbol, STATE, text)   no hook, and why none is needed, or what happens
 *   O("name", STATE, text)   not a symbol: an operation, a request, a flag
 *
 * STATE is SERVED (as on a local file system), EMULATED (by other means, with the difference that the
 * text names), REFUSED (the text begins with the errno), PASSED (to libc or the kernel, unseen). The
 * text is for users, in one line of the manual page; rows that follow each other and say the same
 * become one.
 *
 * A hook without a row here, a row C without a hook and a row N with one do not compile (see the
 * end). A new hook is then: its row in hooks.h, its function, its row here, and a call in one of the
 * programs tests/preload-*. */
#pragma once

#include "hooks.h"

#define CALLS(T, C, N, O)                                                                          \
	T("Opening and closing")                                                                   \
	C(open, SERVED, "")                                                                        \
	C(openat, SERVED, "")                                                                      \
	C(__open_2, SERVED, "")                                                                    \
	C(__openat_2, SERVED, "")                                                                  \
	C(creat, SERVED, "")                                                                       \
	N(openat2, SERVED, "By syscall(2).")                                                        \
	C(close, SERVED, "")                                                                       \
	C(close_range, SERVED, "")                                                                 \
	C(closefrom, SERVED, "")                                                                   \
	C(umask, SERVED, "")                                                                       \
	C(mkstemp, SERVED, "")                                                                     \
	C(mkostemp, SERVED, "")                                                                    \
	C(mkstemps, SERVED, "")                                                                    \
	C(mkostemps, SERVED, "")                                                                   \
	C(mkdtemp, SERVED, "")                                                                     \
	N(tmpfile, PASSED, "A file in the machine's /tmp.")                                         \
	T("Reading and writing")                                                                   \
	C(read, SERVED, "")                                                                        \
	C(__read_chk, SERVED, "")                                                                  \
	C(pread, SERVED, "")                                                                       \
	C(__pread_chk, SERVED, "")                                                                 \
	C(readv, SERVED, "")                                                                       \
	C(preadv, SERVED, "")                                                                      \
	C(preadv2, EMULATED, "RWF_NOWAIT and other flags that need the kernel: EOPNOTSUPP.")         \
	C(write, SERVED, "")                                                                       \
	C(pwrite, SERVED, "")                                                                      \
	C(writev, SERVED, "")                                                                      \
	C(pwritev, SERVED, "")                                                                     \
	C(pwritev2, EMULATED, "RWF_NOWAIT and other flags that need the kernel: EOPNOTSUPP.")        \
	C(lseek, EMULATED, "SEEK_DATA and SEEK_HOLE: all is data up to the end.")                   \
	C(truncate, SERVED, "")                                                                    \
	C(ftruncate, SERVED, "")                                                                   \
	C(fallocate, EMULATED, "Mode 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; space is not promised, holes "\
			       "are zeros written; another mode: EOPNOTSUPP.")                     \
	C(posix_fallocate, EMULATED, "The size grows; space is not promised.")                      \
	C(setrlimit, SERVED, "")                                                                   \
	C(prlimit, SERVED, "")                                                                     \
	C(posix_fadvise, EMULATED, "Advice is taken and not followed.")                             \
	C(readahead, EMULATED, "Advice is taken and not followed.")                                 \
	C(fsync, SERVED, "")                                                                       \
	C(fdatasync, SERVED, "")                                                                   \
	C(sync_file_range, SERVED, "")                                                             \
	C(sync, SERVED, "")                                                                        \
	C(syncfs, SERVED, "")                                                                      \
	T("Attributes and permission")                                                             \
	C(stat, SERVED, "")                                                                        \
	C(lstat, SERVED, "")                                                                       \
	C(fstat, SERVED, "")                                                                       \
	C(fstatat, SERVED, "")                                                                     \
	N(newfstatat, SERVED, "By syscall(2).")                                                     \
	C(__xstat, SERVED, "")                                                                     \
	C(__lxstat, SERVED, "")                                                                    \
	C(__fxstat, SERVED, "")                                                                    \
	C(__fxstatat, SERVED, "")                                                                  \
	C(statx, SERVED, "")                                                                       \
	C(access, SERVED, "")                                                                      \
	C(faccessat, SERVED, "")                                                                   \
	N(faccessat2, SERVED, "By syscall(2).")                                                     \
	C(euidaccess, SERVED, "")                                                                  \
	C(chmod, SERVED, "")                                                                       \
	C(fchmod, SERVED, "")                                                                      \
	C(fchmodat, SERVED, "")                                                                    \
	C(lchmod, SERVED, "")                                                                      \
	C(chown, SERVED, "")                                                                       \
	C(fchown, SERVED, "")                                                                      \
	C(lchown, SERVED, "")                                                                      \
	C(fchownat, SERVED, "")                                                                    \
	C(utime, SERVED, "")                                                                       \
	C(utimes, SERVED, "")                                                                      \
	C(lutimes, SERVED, "")                                                                     \
	C(futimes, SERVED, "")                                                                     \
	C(futimesat, SERVED, "")                                                                   \
	C(utimensat, SERVED, "")                                                                   \
	C(futimens, SERVED, "")                                                                    \
	C(getxattr, SERVED, "")                                                                    \
	C(lgetxattr, SERVED, "")                                                                   \
	C(fgetxattr, SERVED, "")                                                                   \
	C(setxattr, SERVED, "")                                                                    \
	C(lsetxattr, SERVED, "")                                                                   \
	C(fsetxattr, SERVED, "")                                                                   \
	C(listxattr, SERVED, "")                                                                   \
	C(llistxattr, SERVED, "")                                                                  \
	C(flistxattr, SERVED, "")                                                                  \
	C(removexattr, SERVED, "")                                                                 \
	C(lremovexattr, SERVED, "")                                                                \
	C(fremovexattr, SERVED, "")                                                                \
	C(statfs, SERVED, "")                                                                      \
	C(fstatfs, SERVED, "")                                                                     \
	C(statvfs, SERVED, "")                                                                     \
	C(fstatvfs, SERVED, "")                                                                    \
	C(pathconf, SERVED, "")                                                                    \
	C(fpathconf, SERVED, "")                                                                   \
	T("Directories")                                                                           \
	C(opendir, SERVED, "")                                                                     \
	C(fdopendir, SERVED, "")                                                                   \
	C(readdir, SERVED, "")                                                                     \
	C(readdir_r, SERVED, "")                                                                   \
	C(closedir, SERVED, "")                                                                    \
	C(rewinddir, SERVED, "")                                                                   \
	C(telldir, SERVED, "")                                                                     \
	C(seekdir, SERVED, "")                                                                     \
	C(dirfd, SERVED, "")                                                                       \
	C(getdents64, SERVED, "")                                                                  \
	C(scandir, SERVED, "")                                                                     \
	C(scandirat, SERVED, "")                                                                   \
	C(glob, SERVED, "")                                                                        \
	C(nftw, SERVED, "")                                                                        \
	C(ftw, SERVED, "")                                                                         \
	C(fts_open, SERVED, "")                                                                    \
	C(fts_read, SERVED, "")                                                                    \
	C(fts_children, SERVED, "")                                                                \
	C(fts_set, SERVED, "")                                                                     \
	C(fts_close, SERVED, "")                                                                   \
	C(realpath, SERVED, "")                                                                    \
	C(__realpath_chk, SERVED, "")                                                              \
	C(canonicalize_file_name, SERVED, "")                                                      \
	C(mkdir, SERVED, "")                                                                       \
	C(mkdirat, SERVED, "")                                                                     \
	C(rmdir, SERVED, "")                                                                       \
	C(chdir, SERVED, "")                                                                       \
	C(fchdir, SERVED, "")                                                                      \
	C(getcwd, SERVED, "")                                                                      \
	C(__getcwd_chk, SERVED, "")                                                                \
	C(getwd, SERVED, "")                                                                       \
	C(get_current_dir_name, SERVED, "")                                                        \
	C(chroot, REFUSED, "EPERM for a directory below a prefix.")                                 \
	T("Names")                                                                                 \
	C(rename, SERVED, "")                                                                      \
	C(renameat, SERVED, "")                                                                    \
	C(renameat2, EMULATED, "RENAME_WHITEOUT: EINVAL.")                                          \
	C(link, SERVED, "")                                                                        \
	C(linkat, SERVED, "")                                                                      \
	C(symlink, SERVED, "")                                                                     \
	C(symlinkat, SERVED, "")                                                                   \
	C(readlink, SERVED, "")                                                                    \
	C(readlinkat, SERVED, "")                                                                  \
	C(__readlink_chk, SERVED, "")                                                              \
	C(__readlinkat_chk, SERVED, "")                                                            \
	C(unlink, SERVED, "")                                                                      \
	C(unlinkat, SERVED, "")                                                                    \
	C(remove, SERVED, "")                                                                      \
	C(mknod, EMULATED, "Regular files, sockets, named pipes; devices: EPERM.")                 \
	C(mknodat, EMULATED, "Regular files, sockets, named pipes; devices: EPERM.")               \
	C(__xmknod, EMULATED, "Regular files, sockets, named pipes; devices: EPERM.")              \
	C(__xmknodat, EMULATED, "Regular files, sockets, named pipes; devices: EPERM.")            \
	C(mkfifo, EMULATED, "A pipe between the processes of one user on one host.")               \
	C(mkfifoat, EMULATED, "A pipe between the processes of one user on one host.")             \
	T("Streams")                                                                               \
	C(fopen, EMULATED, "An encoding in the mode (\",ccs=\") that is not the locale's: EINVAL.")  \
	C(freopen, EMULATED, "Of a stream on a file outside: EOPNOTSUPP, but for stdin, stdout and " \
			     "stderr.")                                                            \
	C(fdopen, SERVED, "")                                                                      \
	CALLS_OF_STREAMS(N)                                                                        \
	C(fgetwc, SERVED, "")                                                                      \
	C(fgetwc_unlocked, SERVED, "")                                                             \
	C(getwchar, SERVED, "")                                                                    \
	C(getwchar_unlocked, SERVED, "")                                                           \
	C(fgetws, SERVED, "")                                                                      \
	C(fgetws_unlocked, SERVED, "")                                                             \
	C(__fgetws_chk, SERVED, "")                                                                \
	C(__fgetws_unlocked_chk, SERVED, "")                                                       \
	C(ungetwc, SERVED, "")                                                                     \
	C(fputwc, SERVED, "")                                                                      \
	C(fputwc_unlocked, SERVED, "")                                                             \
	C(putwchar, SERVED, "")                                                                    \
	C(putwchar_unlocked, SERVED, "")                                                           \
	C(fputws, SERVED, "")                                                                      \
	C(fputws_unlocked, SERVED, "")                                                             \
	C(fwide, SERVED, "")                                                                       \
	C(vfwprintf, SERVED, "")                                                                   \
	C(fwprintf, SERVED, "")                                                                    \
	C(vwprintf, SERVED, "")                                                                    \
	C(wprintf, SERVED, "")                                                                     \
	C(__vfwprintf_chk, SERVED, "")                                                             \
	C(__fwprintf_chk, SERVED, "")                                                              \
	C(__vwprintf_chk, SERVED, "")                                                              \
	C(__wprintf_chk, SERVED, "")                                                               \
	C(vfwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                                    \
	C(fwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                                     \
	C(vwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                                     \
	C(wscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                                      \
	C(__isoc99_vfwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                           \
	C(__isoc99_fwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                            \
	C(__isoc99_vwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                            \
	C(__isoc99_wscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                             \
	C(__isoc23_vfwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                           \
	C(__isoc23_fwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                            \
	C(__isoc23_vwscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                            \
	C(__isoc23_wscanf, REFUSED, "EOPNOTSUPP on a stream of ours.")                             \
	T("Descriptors")                                                                           \
	C(dup, SERVED, "")                                                                         \
	C(dup2, SERVED, "")                                                                        \
	C(dup3, SERVED, "")                                                                        \
	C(fcntl, EMULATED, "F_SETLEASE, F_NOTIFY, seals, pipe sizes: EINVAL.")                      \
	C(ioctl, EMULATED, "FIONREAD, FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC; cloning: EOPNOTSUPP; "  \
			   "another request: ENOTTY.")                                              \
	C(isatty, SERVED, "")                                                                      \
	C(flock, SERVED, "Between hosts too: see \"Locks\".")                                      \
	C(lockf, SERVED, "Between hosts too: see \"Locks\".")                                      \
	CALLS_OF_POLLING(N)                                                                        \
	C(inotify_add_watch, REFUSED, "EOPNOTSUPP: changes made elsewhere cannot be told of.")      \
	N(inotify_rm_watch, PASSED, "No watch is on a path of a prefix.")                           \
	T("Mappings")                                                                              \
	C(mmap, EMULATED, "See \"Mappings\".")                                                      \
	C(munmap, SERVED, "")                                                                      \
	C(mprotect, SERVED, "")                                                                    \
	C(pkey_mprotect, SERVED, "")                                                               \
	C(msync, SERVED, "")                                                                       \
	C(mremap, SERVED, "")                                                                      \
	C(madvise, EMULATED, "MADV_REMOVE: EOPNOTSUPP.")                                            \
	C(remap_file_pages, REFUSED, "EINVAL")                                                     \
	C(realloc, SERVED, "By the program's allocator.")                                          \
	C(dlopen, EMULATED, "From a copy in memory.")                                               \
	T("Copying between descriptors")                                                           \
	C(sendfile, EMULATED, "Through a buffer.")                                                  \
	C(copy_file_range, EMULATED, "Through a buffer.")                                           \
	C(splice, EMULATED, "Through a buffer, at most 64 KiB a call.")                             \
	N(tee, PASSED, "Between pipes only.")                                                       \
	N(vmsplice, PASSED, "Between pipes and memory only.")                                       \
	T("Asynchronous input and output")                                                         \
	CALLS_ASYNCHRONOUS(C, N)                                                                   \
	CALLS_URING(C)                                                                             \
	T("Local sockets")                                                                         \
	C(socket, PASSED, "")                                                                      \
	C(bind, EMULATED, "A name below a prefix: reached within one network namespace.")          \
	C(connect, EMULATED, "A name below a prefix: reached within one network namespace.")       \
	C(sendto, EMULATED, "A name below a prefix: reached within one network namespace.")        \
	C(sendmsg, EMULATED, "A name below a prefix: reached within one network namespace.")       \
	C(accept, SERVED, "")                                                                      \
	C(accept4, SERVED, "")                                                                     \
	C(getsockname, SERVED, "")                                                                 \
	C(getpeername, SERVED, "")                                                                 \
	C(recvfrom, SERVED, "")                                                                    \
	C(recvmsg, SERVED, "")                                                                     \
	N(sendmmsg, PASSED, "ENOENT for a name below a prefix.")                                   \
	T("Processes")                                                                             \
	C(execve, EMULATED, "A program below a prefix is executed from memory.")                    \
	C(execv, EMULATED, "A program below a prefix is executed from memory.")                     \
	C(execvp, EMULATED, "A program below a prefix is executed from memory.")                    \
	C(execvpe, EMULATED, "A program below a prefix is executed from memory.")                   \
	C(execl, EMULATED, "A program below a prefix is executed from memory.")                     \
	C(execlp, EMULATED, "A program below a prefix is executed from memory.")                    \
	C(execle, EMULATED, "A program below a prefix is executed from memory.")                    \
	C(fexecve, EMULATED, "A program below a prefix is executed from memory.")                   \
	C(execveat, EMULATED, "A program below a prefix is executed from memory.")                  \
	C(posix_spawn, EMULATED, "A program below a prefix is executed from memory.")               \
	C(posix_spawnp, EMULATED, "A program below a prefix is executed from memory.")              \
	C(posix_spawn_file_actions_addopen, SERVED, "")                                            \
	C(posix_spawn_file_actions_addchdir_np, SERVED, "The directory is looked up now.")         \
	C(posix_spawn_file_actions_addfchdir_np, SERVED, "")                                       \
	C(posix_spawn_file_actions_destroy, SERVED, "")                                            \
	C(system, SERVED, "")                                                                      \
	C(popen, SERVED, "")                                                                       \
	C(daemon, SERVED, "")                                                                      \
	C(setuid, SERVED, "")                                                                      \
	C(seteuid, SERVED, "")                                                                     \
	C(setreuid, SERVED, "")                                                                    \
	C(setresuid, SERVED, "")                                                                   \
	C(setfsuid, EMULATED, "For the whole process, not the calling thread.")                     \
	C(setgid, SERVED, "")                                                                      \
	C(setegid, SERVED, "")                                                                     \
	C(setregid, SERVED, "")                                                                    \
	C(setresgid, SERVED, "")                                                                   \
	C(setfsgid, EMULATED, "For the whole process, not the calling thread.")                     \
	C(setgroups, SERVED, "")                                                                   \
	C(initgroups, SERVED, "")                                                                  \
	C(vfork, SERVED, "")                                                                       \
	C(fork, SERVED, "")                                                                        \
	C(_Fork, SERVED, "")                                                                        \
	N(clone, PASSED, "")                                                                       \
	N(clone3, PASSED, "")                                                                      \
	N(sigaction, PASSED, "")                                                                   \
	N(signal, PASSED, "")                                                                      \
	N(exit, SERVED, "")                                                                        \
	N(quick_exit, SERVED, "")                                                                  \
	C(_exit, SERVED, "")                                                                       \
	C(_Exit, SERVED, "")                                                                       \
	C(syscall, SERVED, "")                                                                     \
	C(eventfd, PASSED, "")

/* A stream that one of the three hooks made calls the hooks back. */
#define CALLS_OF_STREAMS(N)                                                                        \
	N(fclose, SERVED, "")                                                                      \
	N(fread, SERVED, "")                                                                       \
	N(fwrite, SERVED, "")                                                                      \
	N(fgets, SERVED, "")                                                                       \
	N(fgetc, SERVED, "")                                                                       \
	N(getc, SERVED, "")                                                                        \
	N(fputs, SERVED, "")                                                                       \
	N(fputc, SERVED, "")                                                                       \
	N(fprintf, SERVED, "")                                                                     \
	N(vfprintf, SERVED, "")                                                                    \
	N(fscanf, SERVED, "")                                                                      \
	N(fseek, SERVED, "")                                                                       \
	N(fseeko, SERVED, "")                                                                      \
	N(fseeko64, SERVED, "")                                                                    \
	N(ftell, SERVED, "")                                                                       \
	N(ftello, SERVED, "")                                                                      \
	N(ftello64, SERVED, "")                                                                    \
	N(rewind, SERVED, "")                                                                      \
	N(fflush, SERVED, "")                                                                      \
	N(feof, SERVED, "")                                                                        \
	N(ferror, SERVED, "")                                                                      \
	N(clearerr, SERVED, "")                                                                    \
	N(fileno, SERVED, "")                                                                      \
	N(ungetc, SERVED, "")                                                                      \
	N(setvbuf, SERVED, "")                                                                     \
	N(__uflow, SERVED, "")                                                                     \
	N(__overflow, SERVED, "")

/* The descriptor that stands for a file is one of a regular file, to the kernel too. */
#define CALLS_OF_POLLING(N)                                                                        \
	N(poll, SERVED, "")                                                                        \
	N(ppoll, SERVED, "")                                                                       \
	N(__poll_chk, SERVED, "")                                                                  \
	N(select, SERVED, "")                                                                      \
	N(pselect, SERVED, "")                                                                     \
	N(epoll_create, PASSED, "")                                                                \
	N(epoll_create1, PASSED, "")                                                               \
	N(epoll_ctl, REFUSED, "EPERM, as for every regular file.")                                  \
	N(epoll_wait, PASSED, "")                                                                  \
	N(epoll_pwait, PASSED, "")

#define CALLS_ASYNCHRONOUS(C, N)                                                                   \
	C(io_setup, SERVED, "")                                                                    \
	C(io_destroy, SERVED, "")                                                                  \
	C(io_submit, SERVED, "")                                                                   \
	C(io_getevents, SERVED, "")                                                                \
	C(io_pgetevents, SERVED, "")                                                               \
	C(io_queue_init, SERVED, "")                                                               \
	C(io_queue_release, SERVED, "")                                                            \
	C(io_queue_run, SERVED, "")                                                                \
	C(io_queue_wait, SERVED, "")                                                               \
	N(io_cancel, PASSED, "EINVAL: reads and writes cannot be cancelled.")                       \
	C(aio_read, SERVED, "")                                                                    \
	C(aio_write, SERVED, "")                                                                   \
	C(aio_fsync, SERVED, "")                                                                   \
	C(aio_suspend, SERVED, "")                                                                 \
	C(aio_cancel, SERVED, "")                                                                  \
	C(lio_listio, SERVED, "")                                                                  \
	N(aio_error, PASSED, "libc's own; it looks into the aiocb.")                                \
	N(aio_return, PASSED, "libc's own; it looks into the aiocb.")

#define CALLS_URING(C)                                                                             \
	C(io_uring_setup, EMULATED, "IORING_SETUP_SQPOLL is taken and not followed.")               \
	C(io_uring_queue_init, EMULATED, "IORING_SETUP_SQPOLL is taken and not followed.")          \
	C(io_uring_queue_init_params, EMULATED, "IORING_SETUP_SQPOLL is taken and not followed.")   \
	C(io_uring_queue_exit, SERVED, "")                                                          \
	C(io_uring_enter, SERVED, "")                                                               \
	C(io_uring_enter2, SERVED, "")                                                              \
	C(io_uring_submit, SERVED, "")                                                              \
	C(io_uring_submit_and_wait, SERVED, "")                                                     \
	C(io_uring_submit_and_wait_timeout, SERVED, "")                                             \
	C(io_uring_submit_and_get_events, SERVED, "")                                               \
	C(io_uring_wait_cqes, SERVED, "")                                                           \
	C(io_uring_wait_cqe_timeout, SERVED, "")                                                    \
	C(__io_uring_get_cqe, SERVED, "")                                                           \
	C(io_uring_register, EMULATED, "IORING_REGISTER_RESIZE_RINGS: EINVAL.")                     \
	C(io_uring_register_buffers, SERVED, "")                                                    \
	C(io_uring_register_buffers_tags, SERVED, "")                                               \
	C(io_uring_register_buffers_sparse, SERVED, "")                                             \
	C(io_uring_register_buffers_update_tag, SERVED, "")                                         \
	C(io_uring_unregister_buffers, SERVED, "")                                                  \
	C(io_uring_register_files, SERVED, "")                                                      \
	C(io_uring_register_files_tags, SERVED, "")                                                 \
	C(io_uring_register_files_sparse, SERVED, "")                                               \
	C(io_uring_register_files_update, SERVED, "")                                               \
	C(io_uring_register_files_update_tag, SERVED, "")                                           \
	C(io_uring_unregister_files, SERVED, "")

/* --- The two lists say the same ------------------------------------------------------------- */

#define CALL_NONE(...)
#define CALL_OF_ROW(name, state, text) call_##name,
#define CALL_OF_HOOK(when, ret, name, params) call_hook_##name,
/* The same name for a row N and for a hook would be a conflict. */
#define CALL_NO_HOOK(name, state, text) call_hook_##name,
enum {
	CALLS(CALL_NONE, CALL_OF_ROW, CALL_OF_ROW, CALL_NONE)
};
enum {
	CALLS(CALL_NONE, CALL_NONE, CALL_NO_HOOK, CALL_NONE)
	HOOKS_ALL(CALL_OF_HOOK, CALL_NONE)
};
#define CALL_HAS_ROW(when, ret, name, params) _Static_assert(call_##name >= 0, "no row");
#define CALL_HAS_HOOK(name, state, text) _Static_assert(call_hook_##name >= 0, "no hook");
HOOKS_ALL(CALL_HAS_ROW, CALL_NONE)
CALLS(CALL_NONE, CALL_HAS_HOOK, CALL_NONE, CALL_NONE)
