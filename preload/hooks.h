/* The one table of what the shim interposes, by family; a family is a file hook_<family>.c.
 *
 *   H(when, return type, symbol, parameters)   the function hook_<symbol>, exported as <symbol>
 *   A(alias, symbol)                           another exported name of the same function
 *
 * when: E, the function behind ours is looked up in the constructor, because signal handlers and
 * memory allocators call it; L, at its first call. From this table come the declarations, the
 * exports, the pointers and the lookups (hook.h), and the list that tests/lint-needed.sh compares
 * the library with. A new hook is a row here, its function, a row in calls.h (what it does, for the
 * manual page: without it init.c does not compile), and a call in one of the programs tests/preload-*
 * (tests/lint-calls.sh).
 *
 * Deliberately not here: clone (a wrapper cannot return twice on one stack), exit, signal calls; the
 * stdio calls of bytes other than those that make a stream (a stream of ours calls back); poll, select and
 * epoll, which treat a placeholder as the regular file it stands for. calls.h names them all. */
#pragma once

#include <aio.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <utime.h>
#include <wchar.h>

struct io_uring;
struct io_uring_cqe;
struct io_uring_params;
struct __kernel_timespec;

#define HOOKS_open(H, A)                                                                           \
	H(E, int, open, (const char *path, int flags, ...))                                        \
	A(open64, open)                                                                            \
	A(__open, open)                                                                            \
	A(__open64, open)                                                                          \
	H(E, int, openat, (int dirfd, const char *path, int flags, ...))                           \
	A(openat64, openat)                                                                        \
	H(L, int, __open_2, (const char *path, int flags))                                         \
	A(__open64_2, __open_2)                                                                    \
	H(L, int, __openat_2, (int dirfd, const char *path, int flags))                            \
	A(__openat64_2, __openat_2)                                                                \
	H(L, int, creat, (const char *path, mode_t mode))                                          \
	A(creat64, creat)                                                                          \
	H(L, int, mkstemp, (char *template))                                                       \
	A(mkstemp64, mkstemp)                                                                      \
	H(L, int, mkostemp, (char *template, int flags))                                           \
	A(mkostemp64, mkostemp)                                                                    \
	H(L, int, mkstemps, (char *template, int suffix))                                          \
	A(mkstemps64, mkstemps)                                                                    \
	H(L, int, mkostemps, (char *template, int suffix, int flags))                              \
	A(mkostemps64, mkostemps)                                                                  \
	H(L, char *, mkdtemp, (char *template))                                                    \
	H(L, mode_t, umask, (mode_t mask))

#define HOOKS_rw(H, A)                                                                             \
	H(E, ssize_t, read, (int fd, void *buf, size_t n))                                         \
	A(__read, read)                                                                            \
	H(L, ssize_t, __read_chk, (int fd, void *buf, size_t n, size_t size))                      \
	H(E, ssize_t, pread, (int fd, void *buf, size_t n, off_t offset))                          \
	A(pread64, pread)                                                                          \
	A(__pread64, pread)                                                                        \
	H(L, ssize_t, __pread_chk, (int fd, void *buf, size_t n, off_t offset, size_t size))       \
	A(__pread64_chk, __pread_chk)                                                              \
	H(E, ssize_t, readv, (int fd, const struct iovec *iov, int n))                             \
	H(E, ssize_t, preadv, (int fd, const struct iovec *iov, int n, off_t offset))              \
	A(preadv64, preadv)                                                                        \
	H(L, ssize_t, preadv2, (int fd, const struct iovec *iov, int n, off_t offset, int flags))  \
	A(preadv64v2, preadv2)                                                                     \
	H(E, ssize_t, write, (int fd, const void *buf, size_t n))                                  \
	A(__write, write)                                                                          \
	H(E, ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t offset))                   \
	A(pwrite64, pwrite)                                                                        \
	A(__pwrite64, pwrite)                                                                      \
	H(E, ssize_t, writev, (int fd, const struct iovec *iov, int n))                            \
	H(E, ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t offset))             \
	A(pwritev64, pwritev)                                                                      \
	H(L, ssize_t, pwritev2, (int fd, const struct iovec *iov, int n, off_t offset, int flags)) \
	A(pwritev64v2, pwritev2)                                                                   \
	H(E, off_t, lseek, (int fd, off_t offset, int whence))                                     \
	A(lseek64, lseek)                                                                          \
	A(__lseek, lseek)                                                                          \
	A(llseek, lseek)                                                                           \
	H(L, int, truncate, (const char *path, off_t size))                                        \
	A(truncate64, truncate)                                                                    \
	H(E, int, ftruncate, (int fd, off_t size))                                                 \
	A(ftruncate64, ftruncate)

#define HOOKS_sync(H, A)                                                                           \
	H(L, int, posix_fadvise, (int fd, off_t offset, off_t len, int advice))                    \
	A(posix_fadvise64, posix_fadvise)                                                          \
	H(L, ssize_t, readahead, (int fd, off64_t offset, size_t n))                               \
	H(E, int, fsync, (int fd))                                                                 \
	H(E, int, fdatasync, (int fd))                                                             \
	H(L, int, sync_file_range, (int fd, off64_t offset, off64_t n, unsigned flags))            \
	H(L, void, sync, (void))                                                                   \
	H(L, int, syncfs, (int fd))

#define HOOKS_space(H, A)                                                                          \
	H(L, int, fallocate, (int fd, int mode, off_t offset, off_t len))                          \
	A(fallocate64, fallocate)                                                                  \
	H(L, int, posix_fallocate, (int fd, off_t offset, off_t len))                              \
	A(posix_fallocate64, posix_fallocate)                                                      \
	H(L, int, setrlimit, (int resource, const struct rlimit *limit))                           \
	A(setrlimit64, setrlimit)                                                                  \
	H(L, int, prlimit,                                                                         \
	  (pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old))               \
	A(prlimit64, prlimit)

#define HOOKS_stat(H, A)                                                                           \
	H(E, int, stat, (const char *path, struct stat *st))                                       \
	A(stat64, stat)                                                                            \
	H(E, int, lstat, (const char *path, struct stat *st))                                      \
	A(lstat64, lstat)                                                                          \
	H(E, int, fstat, (int fd, struct stat *st))                                                \
	A(fstat64, fstat)                                                                          \
	H(E, int, fstatat, (int dirfd, const char *path, struct stat *st, int flags))              \
	A(fstatat64, fstatat)                                                                      \
	H(L, int, __xstat, (int version, const char *path, struct stat *st))                       \
	A(__xstat64, __xstat)                                                                      \
	H(L, int, __lxstat, (int version, const char *path, struct stat *st))                      \
	A(__lxstat64, __lxstat)                                                                    \
	H(L, int, __fxstat, (int version, int fd, struct stat *st))                                \
	A(__fxstat64, __fxstat)                                                                    \
	H(L, int, __fxstatat,                                                                      \
	  (int version, int dirfd, const char *path, struct stat *st, int flags))                  \
	A(__fxstatat64, __fxstatat)                                                                \
	H(L, int, statx, (int dirfd, const char *path, int flags, unsigned mask, struct statx *st)) \
	H(E, int, access, (const char *path, int mode))                                            \
	H(L, int, faccessat, (int dirfd, const char *path, int mode, int flags))                   \
	H(L, int, euidaccess, (const char *path, int mode))                                        \
	A(eaccess, euidaccess)

#define HOOKS_dir(H, A)                                                                            \
	H(L, DIR *, opendir, (const char *path))                                                   \
	H(L, DIR *, fdopendir, (int fd))                                                           \
	H(L, struct dirent *, readdir, (DIR * dir))                                                \
	A(readdir64, readdir)                                                                      \
	H(L, int, readdir_r, (DIR * dir, struct dirent * entry, struct dirent * *ret))             \
	A(readdir64_r, readdir_r)                                                                  \
	H(L, int, closedir, (DIR * dir))                                                           \
	H(L, void, rewinddir, (DIR * dir))                                                         \
	H(L, long, telldir, (DIR * dir))                                                           \
	H(L, void, seekdir, (DIR * dir, long position))                                            \
	H(L, int, dirfd, (DIR * dir))                                                              \
	H(L, ssize_t, getdents64, (int fd, void *buf, size_t n))

#define HOOKS_walk(H, A)                                                                           \
	H(L, int, scandir,                                                                         \
	  (const char *path, struct dirent ***ret, int (*filter)(const struct dirent *),           \
	   int (*compare)(const struct dirent **, const struct dirent **)))                        \
	A(scandir64, scandir)                                                                      \
	H(L, int, scandirat,                                                                       \
	  (int dirfd, const char *path, struct dirent ***ret, int (*filter)(const struct dirent *), \
	   int (*compare)(const struct dirent **, const struct dirent **)))                        \
	A(scandirat64, scandirat)                                                                  \
	H(L, int, glob,                                                                            \
	  (const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *ret))       \
	A(glob64, glob)                                                                            \
	H(L, char *, realpath, (const char *path, char *resolved))                                 \
	H(L, char *, __realpath_chk, (const char *path, char *resolved, size_t size))              \
	H(L, char *, canonicalize_file_name, (const char *path))

#define HOOKS_ftw(H, A)                                                                            \
	H(L, int, nftw, (const char *path, __nftw_func_t fn, int n_fds, int flags))                \
	A(nftw64, nftw)                                                                            \
	H(L, int, ftw, (const char *path, __ftw_func_t fn, int n_fds))                             \
	A(ftw64, ftw)

#define HOOKS_fts(H, A)                                                                            \
	H(L, FTS *, fts_open,                                                                      \
	  (char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **)))     \
	A(fts64_open, fts_open)                                                                    \
	H(L, FTSENT *, fts_read, (FTS * stream))                                                   \
	A(fts64_read, fts_read)                                                                    \
	H(L, FTSENT *, fts_children, (FTS * stream, int instruction))                              \
	A(fts64_children, fts_children)                                                            \
	H(L, int, fts_set, (FTS * stream, FTSENT * entry, int instruction))                        \
	A(fts64_set, fts_set)                                                                      \
	H(L, int, fts_close, (FTS * stream))                                                       \
	A(fts64_close, fts_close)

#define HOOKS_names(H, A)                                                                          \
	H(E, int, mkdir, (const char *path, mode_t mode))                                          \
	H(L, int, mkdirat, (int dirfd, const char *path, mode_t mode))                             \
	H(E, int, rmdir, (const char *path))                                                       \
	H(E, int, unlink, (const char *path))                                                      \
	H(L, int, unlinkat, (int dirfd, const char *path, int flags))                              \
	H(L, int, remove, (const char *path))                                                      \
	H(E, int, rename, (const char *from, const char *to))                                      \
	H(L, int, renameat, (int from_dir, const char *from, int to_dir, const char *to))          \
	H(L, int, renameat2,                                                                       \
	  (int from_dir, const char *from, int to_dir, const char *to, unsigned flags))            \
	H(L, int, link, (const char *from, const char *to))                                        \
	H(L, int, linkat, (int from_dir, const char *from, int to_dir, const char *to, int flags)) \
	H(L, int, symlink, (const char *target, const char *path))                                 \
	H(L, int, symlinkat, (const char *target, int dirfd, const char *path))                    \
	H(E, ssize_t, readlink, (const char *path, char *buf, size_t size))                        \
	H(L, ssize_t, readlinkat, (int dirfd, const char *path, char *buf, size_t size))           \
	H(L, ssize_t, __readlink_chk, (const char *path, char *buf, size_t n, size_t size))        \
	H(L, ssize_t, __readlinkat_chk,                                                            \
	  (int dirfd, const char *path, char *buf, size_t n, size_t size))                         \
	H(L, int, mknod, (const char *path, mode_t mode, dev_t dev))                               \
	H(L, int, mknodat, (int dirfd, const char *path, mode_t mode, dev_t dev))                  \
	H(L, int, __xmknod, (int version, const char *path, mode_t mode, dev_t *dev))              \
	H(L, int, __xmknodat, (int version, int dirfd, const char *path, mode_t mode, dev_t *dev)) \
	H(L, int, mkfifo, (const char *path, mode_t mode))                                         \
	H(L, int, mkfifoat, (int dirfd, const char *path, mode_t mode))

#define HOOKS_meta(H, A)                                                                           \
	H(E, int, chmod, (const char *path, mode_t mode))                                          \
	H(E, int, fchmod, (int fd, mode_t mode))                                                   \
	H(L, int, fchmodat, (int dirfd, const char *path, mode_t mode, int flags))                 \
	H(L, int, lchmod, (const char *path, mode_t mode))                                         \
	H(E, int, chown, (const char *path, uid_t uid, gid_t gid))                                 \
	H(E, int, fchown, (int fd, uid_t uid, gid_t gid))                                          \
	H(E, int, lchown, (const char *path, uid_t uid, gid_t gid))                                \
	H(L, int, fchownat, (int dirfd, const char *path, uid_t uid, gid_t gid, int flags))        \
	H(E, int, utime, (const char *path, const struct utimbuf *times))                          \
	H(L, int, utimes, (const char *path, const struct timeval times[2]))                       \
	H(L, int, lutimes, (const char *path, const struct timeval times[2]))                      \
	H(L, int, futimes, (int fd, const struct timeval times[2]))                                \
	H(L, int, futimesat, (int dirfd, const char *path, const struct timeval times[2]))         \
	H(L, int, utimensat,                                                                       \
	  (int dirfd, const char *path, const struct timespec times[2], int flags))                \
	H(L, int, futimens, (int fd, const struct timespec times[2]))                              \
	H(L, int, statfs, (const char *path, struct statfs *st))                                   \
	A(statfs64, statfs)                                                                        \
	A(__statfs, statfs)                                                                        \
	H(L, int, fstatfs, (int fd, struct statfs *st))                                            \
	A(fstatfs64, fstatfs)                                                                      \
	H(L, int, statvfs, (const char *path, struct statvfs *st))                                 \
	A(statvfs64, statvfs)                                                                      \
	H(L, int, fstatvfs, (int fd, struct statvfs *st))                                          \
	A(fstatvfs64, fstatvfs)                                                                    \
	H(E, long, pathconf, (const char *path, int name))                                         \
	H(E, long, fpathconf, (int fd, int name))                                                  \
	H(L, int, inotify_add_watch, (int fd, const char *path, uint32_t mask))

#define HOOKS_xattr(H, A)                                                                          \
	H(L, ssize_t, getxattr, (const char *path, const char *name, void *value, size_t size))    \
	H(L, ssize_t, lgetxattr, (const char *path, const char *name, void *value, size_t size))   \
	H(L, ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t size))             \
	H(L, int, setxattr,                                                                        \
	  (const char *path, const char *name, const void *value, size_t size, int flags))         \
	H(L, int, lsetxattr,                                                                       \
	  (const char *path, const char *name, const void *value, size_t size, int flags))         \
	H(L, int, fsetxattr,                                                                       \
	  (int fd, const char *name, const void *value, size_t size, int flags))                   \
	H(L, ssize_t, listxattr, (const char *path, char *list, size_t size))                      \
	H(L, ssize_t, llistxattr, (const char *path, char *list, size_t size))                     \
	H(L, ssize_t, flistxattr, (int fd, char *list, size_t size))                               \
	H(L, int, removexattr, (const char *path, const char *name))                               \
	H(L, int, lremovexattr, (const char *path, const char *name))                              \
	H(L, int, fremovexattr, (int fd, const char *name))

#define HOOKS_fd(H, A)                                                                             \
	H(E, int, close, (int fd))                                                                 \
	A(__close, close)                                                                          \
	H(L, int, close_range, (unsigned first, unsigned last, int flags))                         \
	H(L, void, closefrom, (int first))                                                         \
	H(E, int, dup, (int fd))                                                                   \
	H(E, int, dup2, (int fd, int to))                                                          \
	A(__dup2, dup2)                                                                            \
	H(E, int, dup3, (int fd, int to, int flags))                                               \
	H(E, int, fcntl, (int fd, int cmd, ...))                                                   \
	A(fcntl64, fcntl)                                                                          \
	A(__fcntl, fcntl)                                                                          \
	H(L, int, ioctl, (int fd, unsigned long request, ...))                                     \
	H(L, int, isatty, (int fd))                                                                \
	H(L, int, daemon, (int nochdir, int noclose))                                              \
	H(L, int, eventfd, (unsigned initial, int flags))

#define HOOKS_lock(H, A)                                                                           \
	H(L, int, flock, (int fd, int operation))                                                  \
	H(L, int, lockf, (int fd, int command, off_t len))                                         \
	A(lockf64, lockf)

#define HOOKS_stdio(H, A)                                                                          \
	H(L, FILE *, fopen, (const char *path, const char *mode))                                  \
	A(fopen64, fopen)                                                                          \
	A(_IO_fopen, fopen)                                                                        \
	H(L, FILE *, freopen, (const char *path, const char *mode, FILE *stream))                  \
	A(freopen64, freopen)                                                                      \
	H(L, FILE *, fdopen, (int fd, const char *mode))                                           \
	A(_IO_fdopen, fdopen)

#define HOOKS_wide(H, A)                                                                           \
	H(L, wint_t, fgetwc, (FILE *f))                                                            \
	A(getwc, fgetwc)                                                                           \
	H(L, wint_t, fgetwc_unlocked, (FILE *f))                                                   \
	A(getwc_unlocked, fgetwc_unlocked)                                                         \
	H(L, wint_t, getwchar, (void))                                                             \
	H(L, wint_t, getwchar_unlocked, (void))                                                    \
	H(L, wchar_t *, fgetws, (wchar_t *s, int n, FILE *f))                                      \
	H(L, wchar_t *, fgetws_unlocked, (wchar_t *s, int n, FILE *f))                             \
	H(L, wchar_t *, __fgetws_chk, (wchar_t *s, size_t size, int n, FILE *f))                   \
	H(L, wchar_t *, __fgetws_unlocked_chk, (wchar_t *s, size_t size, int n, FILE *f))          \
	H(L, wint_t, ungetwc, (wint_t c, FILE *f))                                                 \
	H(L, wint_t, fputwc, (wchar_t c, FILE *f))                                                 \
	A(putwc, fputwc)                                                                           \
	H(L, wint_t, fputwc_unlocked, (wchar_t c, FILE *f))                                        \
	A(putwc_unlocked, fputwc_unlocked)                                                         \
	H(L, wint_t, putwchar, (wchar_t c))                                                        \
	H(L, wint_t, putwchar_unlocked, (wchar_t c))                                               \
	H(L, int, fputws, (const wchar_t *s, FILE *f))                                             \
	H(L, int, fputws_unlocked, (const wchar_t *s, FILE *f))                                    \
	H(L, int, fwide, (FILE *f, int mode))                                                      \
	H(L, int, vfwprintf, (FILE *f, const wchar_t *format, va_list ap))                         \
	H(L, int, fwprintf, (FILE *f, const wchar_t *format, ...))                                 \
	H(L, int, vwprintf, (const wchar_t *format, va_list ap))                                   \
	H(L, int, wprintf, (const wchar_t *format, ...))                                           \
	H(L, int, __vfwprintf_chk, (FILE *f, int flag, const wchar_t *format, va_list ap))         \
	H(L, int, __fwprintf_chk, (FILE *f, int flag, const wchar_t *format, ...))                 \
	H(L, int, __vwprintf_chk, (int flag, const wchar_t *format, va_list ap))                   \
	H(L, int, __wprintf_chk, (int flag, const wchar_t *format, ...))                           \
	H(L, int, vfwscanf, (FILE *f, const wchar_t *format, va_list ap))                          \
	H(L, int, fwscanf, (FILE *f, const wchar_t *format, ...))                                  \
	H(L, int, vwscanf, (const wchar_t *format, va_list ap))                                    \
	H(L, int, wscanf, (const wchar_t *format, ...))                                            \
	H(L, int, __isoc99_vfwscanf, (FILE *f, const wchar_t *format, va_list ap))                 \
	H(L, int, __isoc99_fwscanf, (FILE *f, const wchar_t *format, ...))                         \
	H(L, int, __isoc99_vwscanf, (const wchar_t *format, va_list ap))                           \
	H(L, int, __isoc99_wscanf, (const wchar_t *format, ...))                                   \
	H(L, int, __isoc23_vfwscanf, (FILE *f, const wchar_t *format, va_list ap))                 \
	H(L, int, __isoc23_fwscanf, (FILE *f, const wchar_t *format, ...))                         \
	H(L, int, __isoc23_vwscanf, (const wchar_t *format, va_list ap))                           \
	H(L, int, __isoc23_wscanf, (const wchar_t *format, ...))

#define HOOKS_map(H, A)                                                                            \
	H(E, void *, mmap, (void *addr, size_t len, int prot, int flags, int fd, off_t offset))    \
	A(mmap64, mmap)                                                                            \
	H(E, int, munmap, (void *addr, size_t len))                                                \
	H(E, int, mprotect, (void *addr, size_t len, int prot))                                    \
	H(L, int, pkey_mprotect, (void *addr, size_t len, int prot, int pkey))                     \
	H(L, int, msync, (void *addr, size_t len, int flags))                                      \
	H(E, void *, mremap, (void *addr, size_t old_len, size_t len, int flags, ...))             \
	H(E, int, madvise, (void *addr, size_t len, int advice))                                   \
	H(L, int, remap_file_pages,                                                                \
	  (void *addr, size_t size, int prot, size_t page, int flags))                             \
	H(E, void *, realloc, (void *p, size_t size))

#define HOOKS_dlopen(H, A) H(L, void *, dlopen, (const char *path, int mode))

#define HOOKS_copy(H, A)                                                                           \
	H(L, ssize_t, sendfile, (int out, int in, off_t *offset, size_t n))                        \
	A(sendfile64, sendfile)                                                                    \
	H(L, ssize_t, copy_file_range,                                                             \
	  (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n, unsigned flags))    \
	H(L, ssize_t, splice,                                                                      \
	  (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n, unsigned flags))

#define HOOKS_socket(H, A)                                                                         \
	H(L, int, socket, (int domain, int type, int protocol))                                    \
	H(L, int, bind, (int fd, const struct sockaddr *address, socklen_t len))                   \
	H(L, int, connect, (int fd, const struct sockaddr *address, socklen_t len))                \
	A(__connect, connect)                                                                      \
	H(L, ssize_t, sendto,                                                                      \
	  (int fd, const void *buf, size_t n, int flags, const struct sockaddr *address,           \
	   socklen_t len))                                                                         \
	H(L, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))                  \
	H(L, int, accept, (int fd, struct sockaddr *address, socklen_t *len))                      \
	H(L, int, accept4, (int fd, struct sockaddr *address, socklen_t *len, int flags))          \
	H(L, int, getsockname, (int fd, struct sockaddr *address, socklen_t *len))                 \
	H(L, int, getpeername, (int fd, struct sockaddr *address, socklen_t *len))                 \
	H(L, ssize_t, recvfrom,                                                                    \
	  (int fd, void *buf, size_t n, int flags, struct sockaddr *address, socklen_t *len))      \
	H(L, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))

#define HOOKS_cwd(H, A)                                                                            \
	H(E, int, chdir, (const char *path))                                                       \
	H(E, int, fchdir, (int fd))                                                                \
	H(E, char *, getcwd, (char *buf, size_t size))                                             \
	H(L, char *, __getcwd_chk, (char *buf, size_t n, size_t size))                             \
	H(L, int, chroot, (const char *path))                                                      \
	H(L, char *, getwd, (char *buf))                                                           \
	H(L, char *, get_current_dir_name, (void))

#define HOOKS_exec(H, A)                                                                           \
	H(E, int, execve, (const char *path, char *const argv[], char *const envp[]))              \
	H(L, int, execv, (const char *path, char *const argv[]))                                   \
	H(L, int, execvp, (const char *file, char *const argv[]))                                  \
	H(L, int, execvpe, (const char *file, char *const argv[], char *const envp[]))             \
	H(L, int, execl, (const char *path, const char *arg, ...))                                 \
	H(L, int, execlp, (const char *file, const char *arg, ...))                                \
	H(L, int, execle, (const char *path, const char *arg, ...))                                \
	H(L, int, fexecve, (int fd, char *const argv[], char *const envp[]))                       \
	H(L, int, execveat,                                                                        \
	  (int dirfd, const char *name, char *const argv[], char *const envp[], int flags))        \
	H(L, int, posix_spawn,                                                                     \
	  (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,               \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]))                 \
	H(L, int, posix_spawnp,                                                                    \
	  (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,               \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]))                 \
	H(L, int, system, (const char *command))                                                   \
	H(L, FILE *, popen, (const char *command, const char *mode))                               \
	H(E, void, _exit, (int status))                                                            \
	H(L, void, _Exit, (int status))

#define HOOKS_spawn(H, A)                                                                          \
	H(L, int, posix_spawn_file_actions_addopen,                                                \
	  (posix_spawn_file_actions_t * actions, int fd, const char *path, int flags, mode_t mode)) \
	H(L, int, posix_spawn_file_actions_addchdir_np,                                            \
	  (posix_spawn_file_actions_t * actions, const char *path))                                \
	A(posix_spawn_file_actions_addchdir, posix_spawn_file_actions_addchdir_np)                 \
	H(L, int, posix_spawn_file_actions_addfchdir_np,                                           \
	  (posix_spawn_file_actions_t * actions, int fd))                                          \
	A(posix_spawn_file_actions_addfchdir, posix_spawn_file_actions_addfchdir_np)               \
	H(L, int, posix_spawn_file_actions_destroy, (posix_spawn_file_actions_t * actions))

/* libaio's functions, which return negative errors and leave errno alone. io_cancel passes: reads and
 * writes cannot be cancelled, and the kernel says so. */
#define HOOKS_aio(H, A)                                                                            \
	H(L, int, io_setup, (int n, aio_context_t * ret))                                          \
	H(L, int, io_destroy, (aio_context_t id))                                                  \
	H(L, int, io_submit, (aio_context_t id, long n, struct iocb *iocbs[]))                     \
	H(L, int, io_getevents,                                                                    \
	  (aio_context_t id, long min, long max, struct io_event *events, struct timespec *timeout)) \
	H(L, int, io_pgetevents,                                                                   \
	  (aio_context_t id, long min, long max, struct io_event *events,                          \
	   struct timespec *timeout, sigset_t *mask))                                              \
	H(L, int, io_queue_init, (int n, aio_context_t * ret))                                     \
	H(L, int, io_queue_release, (aio_context_t id))                                            \
	H(L, int, io_queue_run, (aio_context_t id))                                                \
	H(L, int, io_queue_wait, (aio_context_t id, struct timespec *timeout))

/* In fork.c. */
#define HOOKS_fork(H, A)                                                                           \
	H(E, pid_t, fork, (void))                                                                  \
	A(__fork, fork)                                                                            \
	H(L, pid_t, _Fork, (void))

#define HOOKS_posix_aio(H, A)                                                                      \
	H(L, int, aio_read, (struct aiocb * cb))                                                   \
	A(aio_read64, aio_read)                                                                    \
	H(L, int, aio_write, (struct aiocb * cb))                                                  \
	A(aio_write64, aio_write)                                                                  \
	H(L, int, aio_fsync, (int how, struct aiocb *cb))                                          \
	A(aio_fsync64, aio_fsync)                                                                  \
	H(L, int, aio_cancel, (int fd, struct aiocb *cb))                                          \
	A(aio_cancel64, aio_cancel)                                                                \
	H(L, int, aio_suspend,                                                                     \
	  (const struct aiocb *const list[], int n, const struct timespec *timeout))               \
	A(aio_suspend64, aio_suspend)                                                              \
	H(L, int, lio_listio,                                                                      \
	  (int mode, struct aiocb *const list[], int n, struct sigevent *sig))                     \
	A(lio_listio64, lio_listio)

/* In assembly: hook_vfork.c. */
#define HOOKS_user(H, A)                                                                           \
	H(L, int, setuid, (uid_t uid))                                                             \
	H(L, int, seteuid, (uid_t uid))                                                            \
	H(L, int, setreuid, (uid_t real, uid_t effective))                                         \
	H(L, int, setresuid, (uid_t real, uid_t effective, uid_t saved))                           \
	H(L, int, setfsuid, (uid_t uid))                                                           \
	H(L, int, setgid, (gid_t gid))                                                             \
	H(L, int, setegid, (gid_t gid))                                                            \
	H(L, int, setregid, (gid_t real, gid_t effective))                                         \
	H(L, int, setresgid, (gid_t real, gid_t effective, gid_t saved))                           \
	H(L, int, setfsgid, (gid_t gid))                                                           \
	H(L, int, setgroups, (size_t n, const gid_t *groups))                                      \
	H(L, int, initgroups, (const char *user, gid_t group))

#define HOOKS_vfork(H, A)                                                                          \
	H(E, pid_t, vfork, (void))                                                                 \
	A(__vfork, vfork)

/* liburing's: found when a program that has it calls them. */
#define HOOKS_uring(H, A)                                                                          \
	H(L, int, io_uring_queue_init, (unsigned entries, struct io_uring *ring, unsigned flags))  \
	H(L, int, io_uring_queue_init_params,                                                      \
	  (unsigned entries, struct io_uring *ring, struct io_uring_params *p))                    \
	H(L, void, io_uring_queue_exit, (struct io_uring * ring))                                  \
	H(L, int, io_uring_submit, (struct io_uring * ring))                                       \
	H(L, int, io_uring_submit_and_wait, (struct io_uring * ring, unsigned n))                  \
	H(L, int, io_uring_submit_and_wait_timeout,                                                \
	  (struct io_uring * ring, struct io_uring_cqe * *ret, unsigned n,                         \
	   struct __kernel_timespec *ts, sigset_t *mask))                                          \
	H(L, int, io_uring_submit_and_get_events, (struct io_uring * ring))                        \
	H(L, int, io_uring_wait_cqes,                                                              \
	  (struct io_uring * ring, struct io_uring_cqe * *ret, unsigned n,                         \
	   struct __kernel_timespec *ts, sigset_t *mask))                                          \
	H(L, int, io_uring_wait_cqe_timeout,                                                       \
	  (struct io_uring * ring, struct io_uring_cqe * *ret, struct __kernel_timespec *ts))      \
	H(L, int, __io_uring_get_cqe,                                                              \
	  (struct io_uring * ring, struct io_uring_cqe * *ret, unsigned submit, unsigned n,        \
	   sigset_t *mask))                                                                        \
	H(L, int, io_uring_register_buffers,                                                       \
	  (struct io_uring * ring, const struct iovec *iov, unsigned n))                           \
	H(L, int, io_uring_register_buffers_tags,                                                  \
	  (struct io_uring * ring, const struct iovec *iov, const uint64_t *tags, unsigned n))     \
	H(L, int, io_uring_register_buffers_sparse, (struct io_uring * ring, unsigned n))          \
	H(L, int, io_uring_register_buffers_update_tag,                                            \
	  (struct io_uring * ring, unsigned offset, const struct iovec *iov, const uint64_t *tags, \
	   unsigned n))                                                                            \
	H(L, int, io_uring_unregister_buffers, (struct io_uring * ring))                           \
	H(L, int, io_uring_register_files, (struct io_uring * ring, const int *fds, unsigned n))   \
	H(L, int, io_uring_register_files_tags,                                                    \
	  (struct io_uring * ring, const int *fds, const uint64_t *tags, unsigned n))              \
	H(L, int, io_uring_register_files_sparse, (struct io_uring * ring, unsigned n))            \
	H(L, int, io_uring_register_files_update,                                                  \
	  (struct io_uring * ring, unsigned offset, const int *fds, unsigned n))                   \
	H(L, int, io_uring_register_files_update_tag,                                              \
	  (struct io_uring * ring, unsigned offset, const int *fds, const uint64_t *tags, unsigned n)) \
	H(L, int, io_uring_unregister_files, (struct io_uring * ring))                             \
	H(L, int, io_uring_setup, (unsigned entries, struct io_uring_params *p))                   \
	H(L, int, io_uring_enter,                                                                  \
	  (unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *mask)) \
	H(L, int, io_uring_enter2,                                                                 \
	  (unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *mask, \
	   size_t size))                                                                           \
	H(L, int, io_uring_register, (unsigned fd, unsigned opcode, void *arg, unsigned n))

#define HOOKS_syscall(H, A) H(E, long, syscall, (long number, ...))

#define HOOKS_ALL(H, A)                                                                            \
	HOOKS_open(H, A)                                                                           \
	HOOKS_rw(H, A)                                                                             \
	HOOKS_sync(H, A)                                                                           \
	HOOKS_space(H, A)                                                                          \
	HOOKS_stat(H, A)                                                                           \
	HOOKS_dir(H, A)                                                                            \
	HOOKS_walk(H, A)                                                                           \
	HOOKS_ftw(H, A)                                                                            \
	HOOKS_fts(H, A)                                                                            \
	HOOKS_names(H, A)                                                                          \
	HOOKS_meta(H, A)                                                                           \
	HOOKS_xattr(H, A)                                                                          \
	HOOKS_fd(H, A)                                                                             \
	HOOKS_lock(H, A)                                                                           \
	HOOKS_stdio(H, A)                                                                          \
	HOOKS_wide(H, A)                                                                           \
	HOOKS_map(H, A)                                                                            \
	HOOKS_dlopen(H, A)                                                                         \
	HOOKS_copy(H, A)                                                                           \
	HOOKS_socket(H, A)                                                                         \
	HOOKS_cwd(H, A)                                                                            \
	HOOKS_exec(H, A)                                                                           \
	HOOKS_spawn(H, A)                                                                          \
	HOOKS_user(H, A)                                                                           \
	HOOKS_aio(H, A)                                                                            \
	HOOKS_fork(H, A)                                                                           \
	HOOKS_posix_aio(H, A)                                                                      \
	HOOKS_vfork(H, A)                                                                          \
	HOOKS_uring(H, A)                                                                          \
	HOOKS_syscall(H, A)
