/* What every hook_*.c begins with: the real functions, path resolution, results.
 *
 * The shape of a hook that takes a path:
 *
 *	struct where w;
 *	int r = where_init(&w, dirfd, path, 0);
 *
 *	if (LIKELY(r == 0))
 *		r = NATIVE_UNLESS_LINKED(REAL(mkdirat)(dirfd, path, mode), &w, dirfd, path, 0);
 *	while (r > 0)
 *		r = where_next(&w, CALL(mkdir, w.fs, w.dir, w.path, mode));
 *	return w.native ? REAL(mkdir)(w.native, mode) : hook_result(r);
 *
 * and of one that takes a descriptor:
 *
 *	_cleanup_ofd_ struct ofd *o = NULL;
 *	int r = fdtab_get(fd, &o);
 *
 *	if (LIKELY(r == 0))
 *		return REAL(fsync)(fd);
 *	return hook_result(r < 0 ? r : CALL(fsync, o->file)); */
#pragma once

#include <limits.h>

#include "../common/base/app_errno.h"
#include "../common/client/attr_stat.h"
#include "core.h"
#include "fdtab.h"
#include "hooks.h"
#include "init.h"
#include "prefix.h"

/* --- The functions behind ours ------------------------------------------------------------- */

#define HOOK_POINTER(when, ret, name, params) __typeof__(ret) (*name) params;
#define HOOK_NOTHING(...)
extern struct hook_real {
	HOOKS_ALL(HOOK_POINTER, HOOK_NOTHING)
} real;

void *real_resolve(size_t offset);

/* REAL(read)(fd, buf, n): the next definition after ours in the search order. */
#define REAL(name)                                                                                 \
	({                                                                                         \
		__typeof__(real.name) _real = __atomic_load_n(&real.name, __ATOMIC_RELAXED);       \
		LIKELY(_real != NULL)                                                              \
			? _real                                                                    \
			: (__typeof__(_real))real_resolve(offsetof(struct hook_real, name));       \
	})

#define HOOK_DECLARE(when, ret, name, params) EXPORT ret hook_##name params __asm__(#name);
#define HOOK_DECLARE_ALIAS(other, name)                                                            \
	EXPORT __typeof__(hook_##name) hook_alias_##other __asm__(#other);
HOOKS_ALL(HOOK_DECLARE, HOOK_DECLARE_ALIAS)

/* At the end of each hook_<family>.c: DEFINE_ALIASES(family) */
#define HOOK_DEFINE_ALIAS(other, name)                                                             \
	EXPORT __typeof__(hook_##name) hook_alias_##other __attribute__((alias(#name)));
#define DEFINE_ALIASES(family) HOOKS_##family(HOOK_NOTHING, HOOK_DEFINE_ALIAS)

/* --- Results ------------------------------------------------------------------------------- */

/* The application's view of a result: errno is set on failure and untouched on success. */
static inline long hook_result(long r)
{
	if (LIKELY(r >= 0))
		return r;
	errno = ff3_app_errno(r);
	return -1;
}

/* The result of RAW(). */
static inline long hook_raw(long r)
{
	if (LIKELY(r >= 0))
		return r;
	errno = (int)-r;
	return -1;
}

/* --- Paths --------------------------------------------------------------------------------- */

struct where {
	struct ff3fs *fs;
	uint64_t dir;
	const char *path;   /* from dir; "" is dir itself */
	const char *native; /* set when a symbolic link led out of the prefix */
	int index;          /* of the prefix */
	int hops;
	char buf[PATH_MAX];
};

#define WHERE_EMPTY 1u    /* an empty path names dirfd itself (AT_EMPTY_PATH) */
#define WHERE_NOFOLLOW 2u /* a final symbolic link is meant itself */

int where_init_slow(struct where *w, int dirfd, const char *path, unsigned flags);

/* 0: not ours, call the real function with what was given; 1: ours; negative errno.
 * dirfd may be AT_FDCWD. */
static inline int where_init(struct where *w, int dirfd, const char *path, unsigned flags)
{
	if (!init_active())
		return 0;
	return where_init_slow(w, dirfd, path, flags);
}

/* A native call has failed with ENOENT: does the path lead into a prefix through symbolic links of
 * the machine? 1 as where_init; 0: no (errno is kept); negative errno. */
int where_through_links(struct where *w, int dirfd, const char *path, unsigned flags);

/* Returns the native call's result from the hook, unless that is the case. */
#define NATIVE_UNLESS_LINKED(call, w, dirfd, path, flags)                                          \
	({                                                                                         \
		__typeof__(call) _native = (call);                                                 \
		int _linked = UNLIKELY(_native < 0) ?                                              \
				      where_through_links(w, dirfd, path, flags) :                 \
				      0;                                                           \
		if (LIKELY(_linked == 0))                                                          \
			return _native;                                                            \
		_linked;                                                                           \
	})

/* Looks at the core's answer r: 1 if it was a redirect to somewhere inside again (call once more);
 * 0 with w->native set if it led outside; else r, which is final. Positive results come back as 0:
 * keep them apart. */
int where_next(struct where *w, long r);
/* Would this path be ours? Loads nothing. */
bool where_is_ours(int dirfd, const char *path);
/* The descriptor of ours that path, in /proc or /dev/fd, is the link of; or -1. */
int where_names_fd(const char *path);

/* hook_cwd.c: the virtual working directory's inode, or 0. */
uint64_t cwd_inode(void);
void cwd_init(void);
/* A descriptor of what the kernel is to have for a directory of ours, by its path or, without one, descriptor:
 * for a child that posix_spawn makes. */
int cwd_for_child(const char *path, int fd, uint64_t *ret_ino);
/* The program that a child executes after the actions (hook_spawn.c); buf is PATH_MAX. NULL: as it is, and
 * none of ours. */
const char *spawn_path(const posix_spawn_file_actions_t *actions, const char *path, char *buf);
void cwd_after_fork(void);
/* The client can hold it now. */
void cwd_core_loaded(void);
/* The absolute path, as users see it, of a directory inode. */
int cwd_path_of(struct ff3fs *fs, uint64_t ino, char *buf, size_t size);

/* --- Shared among hook files --------------------------------------------------------------- */

/* hook_open.c. As openat; returns a descriptor or a negative errno. */
int open_ours(struct where *w, int flags, mode_t mode);
/* A new description and descriptor for an open file, which it takes over in any case. */
int open_install(uint64_t ino, uint64_t generation, struct ff3fs_file *file, int flags);

/* hook_space.c: RLIMIT_FSIZE. How many of n bytes may be written at `at`; -EFBIG, and SIGXFSZ is sent,
 * if none. */
bool space_limited(void);
ssize_t space_within_limit(off_t at, ssize_t n);
/* On a memory file of the shim's own: the raw system calls, past the limit. */
long space_pwrite(int fd, const void *buf, size_t n, off_t at);
long space_ftruncate(int fd, off_t size);
void space_after_fork(void);

/* hook_rw.c: at an explicit offset, or -1: the descriptor's. Negative errno. */
ssize_t rw_read(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset);
ssize_t rw_write(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset);
/* The same with RWF_* flags. */
ssize_t rw_read_with(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset, int rwf);
ssize_t rw_write_with(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset, int rwf);
/* 0, or what flags (RWF_*) that cannot be had come to. */
int rw_check_flags(const struct ofd *o, int rwf);
int rw_sync(struct ofd *o);
off_t rw_seek(int fd, struct ofd *o, off_t offset, int whence);

/* hook_stat.c */
int stat_ofd(struct ofd *o, struct ff3fs_attr *ret);
void stat_fill(const struct ff3fs_attr *a, struct stat *st);

/* hook_stdio.c: what fd, 0 to 2, is has changed: stdin, stdout or stderr may have to be another
 * stream. */
void stdio_refresh(int fd);
void stdio_init(void);
void stdio_flush(void);

/* hook_stdio.c: what hook_wide.c keeps of a stream of ours; NULL: the stream is libc's. Used under the
 * stream's lock; lives as long as the stream. */
struct stdio_wide {
	bool oriented; /* to wide characters; to bytes is in the stream itself */
	mbstate_t in, out;
};
bool stdio_any(void); /* is there a stream of ours at all? One load. */
struct stdio_wide *stdio_find_wide(const FILE *f);

/* fifo.c: opens what the named pipe stands for. A descriptor or negative errno. */
int fifo_open(struct ff3fs *fs, uint64_t ino, int flags);
/* The file system's number, asked once. */
int special_fsid(struct ff3fs *fs, uint64_t *ret);

/* hook_lock.c. The last descriptor of the description is closed: */
void lock_release(struct ofd *o);
/* One of them is: */
void lock_fd_closed(struct ofd *o);
/* Every lock of this process goes, or stays with a program that takes its place. */
void lock_exit(void);
void lock_exec(void);
/* A new descriptor of the inode's lock file, out of the way of the application's. */
int lock_file_open(uint64_t ino, const char *suffix);
#define FLOCK_SUFFIX "f"
void lock_file_close(int fd);
int lock_fcntl(int fd, struct ofd *o, int cmd, struct flock *user);

/* lock_cluster.c. As ff3fs_lock, perhaps waiting. Negative: -EAGAIN, -EINTR, -ENOLCK, and what type
 * the owner holds meanwhile, as far as is known. */
int lock_cluster_set(struct ofd *o, const struct ff3fs_lock *want, bool wait, uint8_t *ret_held);
/* 1 and the lock in the way, 0, or negative errno. */
int lock_cluster_test(struct ofd *o, struct ff3fs_lock *lock);
/* After a flock was given back on this host: at metad too, unless another process has it. */
void lock_cluster_clear(struct ofd *o);

/* lock_shared.c: a descriptor of the lock file that all who have o's description use. -ECONNREFUSED: nobody has
 * locked ranges of it. Then who binds the socket (-EADDRINUSE: another one has) makes his descriptor that, which
 * closes the socket. */
int lock_shared_join(int fd, struct ofd *o);
int lock_shared_bind(int fd);
int lock_shared_start(int fd, struct ofd *o, int lock_fd, int s);
/* Is there a keeper of ranges of the file? Perhaps of a description that has just gone. */
bool lock_shared_passing(struct ofd *o);
/* As ff3fs_lock, in its session. */
int lock_shared_ask(struct ofd *o, const struct ff3fs_lock *lock, bool test, struct ff3fs_lock *ret);

/* lock_keeper.c: a flock that must outlive this process. fd is o's; lock_fd has the lock, of type
 * LOCK_SH or LOCK_EX. */
int keeper_start(int fd, struct ofd *o, int lock_fd, int type);
void keeper_release(int fd);
/* Is the lock that lock_fd was refused marked as one that ends by itself? */
bool lock_is_passing(int lock_fd);

/* hook_fd.c: for close from inside. Negative errno. */
int fd_close(int fd);
/* A descriptor of ours (or its error): moves it out of the application's way and marks it. */
int fd_hide(int fd);
/* … and closes it. */
void fd_unhide(int fd);
/* A copy of any descriptor, hidden. Negative errno. */
int fd_copy_hidden(int fd);
/* Where no number is free any more: make's descriptor, above RLIMIT_NOFILE. Negative errno. */
int fd_beyond(int (*make)(const void *arg), const void *arg);
/* What flush every open file's gathered writes: before exec and exit. */
void flush_everything(void);
/* How many children this process has started, or was about to. */
unsigned fd_children(void);
/* … and what makes durable what this process wrote: the end of a process closes its files. */
void sync_everything(void);

/* exec_args.c: a list of n arguments, for the calling thread to fill; NULL: no memory. */
char **exec_args_new(size_t n);
void exec_args_free(char **args);

/* hook_dir.c: getdents64(2) */
long dir_getdents64(int fd, struct ofd *o, void *buf, size_t size);
