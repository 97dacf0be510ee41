/* The client core, libff3fs, as the shim sees it: one list of the functions it calls, turned into
 * a table of pointers that dlsym fills when the first path under a prefix is met.
 *
 * Threads: core_fs may be called by any; the first caller loads, the others wait.
 * Fork/signal: see init.c. */
#pragma once

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

/* C(return type, name without ff3fs_, parameters) */
#define CORE_FUNCTIONS(C)                                                                          \
	C(int, api_version, (void))                                                                \
	C(int, inside, (void))                                                                     \
	C(int, new, (const char *, struct ff3fs **))                                               \
	C(const char *, mount_dir, (const struct ff3fs *))                                         \
	C(const char *, conf_error, (void))                                                        \
	C(int, user_changed, (struct ff3fs *))                                                     \
	C(int, forked, (void))                                                                     \
	C(const char *, redirect, (void))                                                          \
	C(void, memory_gone, (const void *, size_t))                                               \
	C(const volatile int *, memory_watched, (void))                                            \
	C(const char *, last_error, (void))                                                        \
	C(int, open, (struct ff3fs *, uint64_t, const char *, int, mode_t, struct ff3fs_file **))  \
	C(int, open_inode, (struct ff3fs *, uint64_t, int, struct ff3fs_file **))                  \
	C(int, close, (struct ff3fs_file *))                                                       \
	C(struct ff3fs_file *, file_ref, (struct ff3fs_file *))                                    \
	C(uint64_t, file_ino, (const struct ff3fs_file *))                                         \
	C(mode_t, file_mode, (const struct ff3fs_file *))                                          \
	C(void, file_set_flags, (struct ff3fs_file *, int))                                        \
	C(ssize_t, pread, (struct ff3fs_file *, void *, size_t, off_t))                            \
	C(ssize_t, preadv, (struct ff3fs_file *, const struct iovec *, int, off_t))                \
	C(ssize_t, pwrite, (struct ff3fs_file *, const void *, size_t, off_t))                     \
	C(ssize_t, pwritev, (struct ff3fs_file *, const struct iovec *, int, off_t))               \
	C(ssize_t, append, (struct ff3fs_file *, const struct iovec *, int, off_t *))              \
	C(int, flush, (struct ff3fs_file *))                                                       \
	C(int, flush_all, (struct ff3fs *))                                                        \
	C(int, sync_all, (struct ff3fs *))                                                         \
	C(int, fsync, (struct ff3fs_file *))                                                       \
	C(int, lock,                                                                               \
	  (struct ff3fs_file *, const struct ff3fs_lock *, int, struct ff3fs_lock *))              \
	C(int, grow, (struct ff3fs_file *, off_t))                                                 \
	C(int, ftruncate, (struct ff3fs_file *, off_t))                                            \
	C(int, fstat, (struct ff3fs_file *, struct ff3fs_attr *))                                  \
	C(dev_t, device, (struct ff3fs *))                                                         \
	C(int, batch_new, (struct ff3fs *, unsigned, struct ff3fs_batch **))                       \
	C(int, batch_read,                                                                         \
	  (struct ff3fs_batch *, struct ff3fs_file *, void *, size_t, off_t, void *))              \
	C(int, batch_write,                                                                        \
	  (struct ff3fs_batch *, struct ff3fs_file *, const void *, size_t, off_t, void *))        \
	C(int, batch_submit, (struct ff3fs_batch *))                                               \
	C(int, batch_reap,                                                                         \
	  (struct ff3fs_batch *, struct ff3fs_completion *, unsigned, unsigned,                    \
	   const struct timespec *))                                                               \
	C(int, stat, (struct ff3fs *, uint64_t, const char *, unsigned, struct ff3fs_attr *))      \
	C(int, access, (struct ff3fs *, uint64_t, const char *, int, unsigned))                    \
	C(int, mkdir, (struct ff3fs *, uint64_t, const char *, mode_t))                            \
	C(int, mknod, (struct ff3fs *, uint64_t, const char *, mode_t, struct ff3fs_attr *))       \
	C(int, rmdir, (struct ff3fs *, uint64_t, const char *))                                    \
	C(int, unlink, (struct ff3fs *, uint64_t, const char *))                                   \
	C(int, rename,                                                                             \
	  (struct ff3fs *, uint64_t, const char *, uint64_t, const char *, unsigned))              \
	C(int, link, (struct ff3fs *, uint64_t, const char *, uint64_t, const char *, unsigned))   \
	C(int, symlink, (struct ff3fs *, const char *, uint64_t, const char *))                    \
	C(ssize_t, readlink, (struct ff3fs *, uint64_t, const char *, char *, size_t))             \
	C(int, truncate, (struct ff3fs *, uint64_t, const char *, off_t))                          \
	C(int, chmod, (struct ff3fs *, uint64_t, const char *, mode_t, unsigned))                  \
	C(int, chown, (struct ff3fs *, uint64_t, const char *, uid_t, gid_t, unsigned))            \
	C(int, utimens,                                                                            \
	  (struct ff3fs *, uint64_t, const char *, const struct timespec[2], unsigned))            \
	C(int, statfs, (struct ff3fs *, struct ff3fs_statfs *))                                    \
	C(int, get_path, (struct ff3fs *, uint64_t, char *, size_t))                               \
	C(ssize_t, getxattr,                                                                       \
	  (struct ff3fs *, uint64_t, const char *, const char *, void *, size_t, unsigned))        \
	C(int, setxattr,                                                                           \
	  (struct ff3fs *, uint64_t, const char *, const char *, const void *, size_t, int,        \
	   unsigned))                                                                              \
	C(ssize_t, listxattr, (struct ff3fs *, uint64_t, const char *, char *, size_t, unsigned))  \
	C(int, removexattr, (struct ff3fs *, uint64_t, const char *, const char *, unsigned))      \
	C(int, opendir, (struct ff3fs *, uint64_t, const char *, int, struct ff3fs_dir **))        \
	C(uint64_t, dir_ino, (const struct ff3fs_dir *))                                           \
	C(int, readdir, (struct ff3fs_dir *, const struct ff3fs_dirent **))                        \
	C(void, seekdir, (struct ff3fs_dir *, uint64_t))                                           \
	C(void, closedir, (struct ff3fs_dir *))

#define CORE_POINTER(ret, name, params) ret(*name) params;
struct core_functions {
	CORE_FUNCTIONS(CORE_POINTER)
};

/* Valid once core_fs has succeeded. */
extern struct core_functions core;

/* Loads the core if need be. 0 and the client, or -EIO (not loadable, wrong configuration), or
 * -EDEADLK (called from inside its own loading). */
int core_fs(struct ff3fs **ret);
/* Not 0: memory that is unmapped or emptied is to be told to core.memory_gone before. */
extern const volatile int *core_memory_watched;
/* The client if it is loaded, else NULL. */
struct ff3fs *core_loaded(void);
/* Is this return address inside the core's text, or that of the module that it has loaded? Or, for what is open on
 * their behalf, of a library that the module calls? */
bool core_called_from(const void *return_address);
bool core_closes_from(const void *return_address);
/* For dlopen by the core. */
void *core_open_module(const char *path, int mode);

/* Calls the core and keeps errno. */
#define CALL(name, ...)                                                                            \
	({                                                                                         \
		int _call_errno = errno;                                                           \
		__typeof__(core.name(__VA_ARGS__)) _call_r = core.name(__VA_ARGS__);               \
		errno = _call_errno;                                                               \
		_call_r;                                                                           \
	})
#define CALL_VOID(name, ...)                                                                       \
	do {                                                                                       \
		int _call_errno = errno;                                                           \
		core.name(__VA_ARGS__);                                                            \
		errno = _call_errno;                                                               \
	} while (0)
