/* libff3fs: files on an ff3fs cluster, without a mount.
 *
 * Conventions. Functions return 0 or a count on success and a negative errno on failure, and then
 * leave their outputs untouched; errno itself is not set. Sizes and offsets are bytes, times are
 * struct timespec of the wall clock. Objects are named by (dir, path): path is resolved from the
 * directory inode dir, FF3FS_ROOT for the file system's root; leading slashes are ignored; an
 * empty path is dir itself. Final symbolic links are followed unless FF3FS_NOFOLLOW is given.
 *
 * -FF3FS_REDIRECT is returned where a symbolic link or ".." leads out of the file system;
 * ff3fs_redirect() then tells where to, for the calling thread.
 *
 * Threads: every call is thread-safe. Calls on one file may run in parallel; of a batch, one
 * thread at a time submits and one reaps. The library starts one thread of its own, at the first
 * buffered write.
 * Fork: a child may use everything it inherited; it speaks on connections of its own. Buffered
 * writes are flushed before the fork. Between vfork and exec nothing may be called.
 * Signals: not async-signal-safe. A call from a handler that interrupted another call returns
 * -EDEADLK where it would hang.
 *
 * Failure: while a daemon is away, calls retry until client.timeout (default 30 s) has passed and
 * then return why: -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, … (programs under the shim get EIO or
 * ETIMEDOUT). A completed write is seen by every later read of this user on this host, and anywhere
 * else except for small sequential writes that are still gathering (at most 100 ms) and for what
 * was read ahead (at most 1 s). ff3fs_fsync and ff3fs_close of a written file return 0 only if
 * every byte is durable.
 *
 * Compiles as C90 and C++. A compiler in a strict mode (-std=c90) needs -D_POSIX_C_SOURCE=200809L
 * for struct timespec. */
#ifndef FF3FS_H
#define FF3FS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FF3FS_API_VERSION 1

#define FF3FS_ROOT ((uint64_t)1)
#define FF3FS_REDIRECT 4103

/* Flags of calls that take (dir, path). */
#define FF3FS_NOFOLLOW 1u
/* Of ff3fs_access: what the real user and group may, as access(2) asks, not the effective ones. */
#define FF3FS_REAL_USER 2u

struct ff3fs;       /* a client of one cluster */
struct ff3fs_file;  /* an open file */
struct ff3fs_dir;   /* an open directory listing */
struct ff3fs_batch; /* many reads and writes at once */

struct ff3fs_attr {
	uint64_t ino;
	uint64_t generation;
	uint64_t size;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	struct timespec atime, mtime, ctime, btime;
};

struct ff3fs_dirent {
	uint64_t ino;
	uint64_t cookie; /* continues after this entry */
	uint32_t type;   /* DT_* */
	char name[256];
	struct ff3fs_attr attr; /* zeros unless the listing was opened with attributes */
};

struct ff3fs_statfs {
	uint64_t capacity, used, free; /* bytes */
	uint64_t inodes;
	uint64_t fsid;
};

struct ff3fs_layout {
	uint32_t chunk_size;
	uint32_t n_stripe;
	uint32_t seed;
	int own;               /* a directory's: set on itself, not inherited */
	int pinned;            /* its chunks are to stay in the daemons' memory */
	uint32_t chains[1024]; /* the first n_stripe are valid */
};

/* FF3FS_API_VERSION of the library. */
int ff3fs_api_version(void);
/* Is the thread inside a call, so that this is a handler which interrupted it, and calls get -EDEADLK? */
int ff3fs_inside(void);

/* conf: a configuration file, or NULL for the usual ones (ff3fs.conf(5)); the environment
 * (FF3FS_CLIENT_*) overrides it. Connects on first use, so success does not mean that the cluster
 * answers. -EINVAL: the configuration is wrong; ff3fs_conf_error() has the line. */
int ff3fs_new(const char *conf, struct ff3fs **ret);
/* The same for another user, as a server does that acts for many: files that it makes are his, and
 * permissions are his. */
int ff3fs_new_as(const char *conf, uid_t uid, gid_t gid, const gid_t *groups, int n_groups,
		 struct ff3fs **ret);
/* Why the calling thread's last ff3fs_new failed. Never NULL. */
const char *ff3fs_conf_error(void);
/* No file may be open. Accepts NULL. */
void ff3fs_free(struct ff3fs *fs);
/* The process's user or groups have changed (seteuid, setgroups, setfsuid, …): calls that start from
 * now on are judged by what they are now. */
int ff3fs_user_changed(struct ff3fs *fs);
/* In a child with memory of its own that was made past pthread_atfork's handlers (_Fork, clone): to be
 * called there before anything else. */
int ff3fs_forked(void);
/* Colon-separated absolute path prefixes from the configuration. */
const char *ff3fs_prefix(const struct ff3fs *fs);
/* What stat says the files are on: another number for another cluster. Known when metad has answered. */
dev_t ff3fs_device(struct ff3fs *fs);
/* Where the configuration says that the file system is mounted, or "". */
const char *ff3fs_mount_dir(const struct ff3fs *fs);
/* Where the calling thread's last -FF3FS_REDIRECT led: absolute, or relative to the directory
 * that holds the prefix. */
const char *ff3fs_redirect(void);
/* "stale"-style text for a negative result, including ff3fs's own causes. */
const char *ff3fs_strerror(int r);
/* Why the calling thread's last call failed, in one line for a person ("cannot reach metad at
 * 127.0.0.1:9734: Connection refused"), or "" if there is no more to say than the errno. */
const char *ff3fs_last_error(void);

/* --- Files --------------------------------------------------------------------------------- */

/* flags and mode as open(2): O_RDONLY … O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW,
 * O_DIRECTORY, O_TMPFILE, O_SYNC, O_DSYNC, O_DIRECT; the umask must have been applied. Unknown
 * flags are ignored. Directories open read-only. O_PATH asks for no permission and gives none: the
 * object, of any kind, lives as long as it is so held, and a directory keeps the ones above it. */
int ff3fs_open(struct ff3fs *fs, uint64_t dir, const char *path, int flags, mode_t mode,
	       struct ff3fs_file **ret);
/* An inode that an ancestor process had open: after exec. flags as it was opened with; O_PATH: one whose
 * number is known. */
int ff3fs_open_inode(struct ff3fs *fs, uint64_t ino, int flags, struct ff3fs_file **ret);
/* Flushes, makes durable if it was written, and frees file in any case. The result is that of the
 * flush: -EIO, -ENOSPC, … */
int ff3fs_close(struct ff3fs_file *file);
/* Takes another reference; ff3fs_close drops one and does its flushing each time. */
struct ff3fs_file *ff3fs_file_ref(struct ff3fs_file *file);
/* The type bits. What passes through a named pipe is not libff3fs's business: it opens as a file that
 * can be neither read nor written. */
mode_t ff3fs_file_mode(const struct ff3fs_file *file);
uint64_t ff3fs_file_ino(const struct ff3fs_file *file);
int ff3fs_file_flags(const struct ff3fs_file *file);
/* O_APPEND, O_DIRECT, O_SYNC can be changed, as by fcntl(F_SETFL). */
void ff3fs_file_set_flags(struct ff3fs_file *file, int flags);

/* Count read; 0 at the end of the file; short only there. -EFAULT for bad buffers. */
ssize_t ff3fs_pread(struct ff3fs_file *file, void *buf, size_t len, off_t offset);
ssize_t ff3fs_preadv(struct ff3fs_file *file, const struct iovec *iov, int n, off_t offset);
/* Count written, which is all of it, or an error with an unknown part written. */
ssize_t ff3fs_pwrite(struct ff3fs_file *file, const void *buf, size_t len, off_t offset);
ssize_t ff3fs_pwritev(struct ff3fs_file *file, const struct iovec *iov, int n, off_t offset);
/* At the end of the file, atomically among all clients. ret_offset (may be NULL): where. */
ssize_t ff3fs_append(struct ff3fs_file *file, const struct iovec *iov, int n, off_t *ret_offset);
/* Sends what write-behind still gathers, so that everybody sees it. Not durable yet. */
int ff3fs_flush(struct ff3fs_file *file);
/* ff3fs_flush of every open file: before exec and exit. */
int ff3fs_flush_all(struct ff3fs *fs);
/* Before a process ends with files open, or becomes another program: what it wrote is durable, as if they were
 * closed, and nobody waits for what it may have cached. */
int ff3fs_sync_all(struct ff3fs *fs);
/* Durable: data, size and times. */
int ff3fs_fsync(struct ff3fs_file *file);
int ff3fs_ftruncate(struct ff3fs_file *file, off_t size);
/* The file is end bytes long, or stays longer than that; what comes to it reads as zeros. */
int ff3fs_grow(struct ff3fs_file *file, off_t end);
/* What a path-based stat would say now, write-behind included. */
int ff3fs_fstat(struct ff3fs_file *file, struct ff3fs_attr *ret);

/* --- Locks between hosts ------------------------------------------------------------------- */

enum { FF3FS_LOCK_FLOCK, FF3FS_LOCK_RECORD };
enum { FF3FS_LOCK_NONE, FF3FS_LOCK_SHARED, FF3FS_LOCK_EXCLUSIVE };

/* Processes that already exclude each other by other means (the kernel's locks on files that they
 * share) name the same domain: their locks do not conflict here. */
struct ff3fs_lock {
	uint64_t domain;
	uint64_t owner;       /* within the process */
	uint64_t first, last; /* bytes, inclusive; flock: 0 and UINT64_MAX */
	uint8_t kind;         /* FF3FS_LOCK_FLOCK: the domain's; FF3FS_LOCK_RECORD: the owner's ranges */
	uint8_t type;         /* FF3FS_LOCK_NONE releases */
};

/* Takes, converts or releases at once, if lock does not conflict with another domain's. Buffered
 * writes are sent before a release. test: changes nothing. -EAGAIN: *ret is what is in the way, and
 * ret->owner what type the owner holds where lock begins. ret may be NULL. Locks end with the
 * process's last open of the file; a forked child holds none. */
int ff3fs_lock(struct ff3fs_file *file, const struct ff3fs_lock *lock, int test,
	       struct ff3fs_lock *ret);

/* --- Batches ------------------------------------------------------------------------------- */

struct ff3fs_completion {
	void *user;
	ssize_t result; /* as ff3fs_pread or ff3fs_pwrite */
};

/* room: how many operations may be outstanding. */
int ff3fs_batch_new(struct ff3fs *fs, unsigned room, struct ff3fs_batch **ret);
/* Outstanding operations are waited for. Accepts NULL. */
void ff3fs_batch_free(struct ff3fs_batch *batch);
/* Queues one operation; buf must live until it is reaped. -EAGAIN: no room, reap first. */
int ff3fs_batch_read(struct ff3fs_batch *batch, struct ff3fs_file *file, void *buf, size_t len,
		     off_t offset, void *user);
int ff3fs_batch_write(struct ff3fs_batch *batch, struct ff3fs_file *file, const void *buf,
		      size_t len, off_t offset, void *user);
/* Sends what was queued. Returns how many operations are outstanding. One thread may queue and submit
 * while another reaps: a sleeping reaper takes notice of what is submitted. */
int ff3fs_batch_submit(struct ff3fs_batch *batch);
/* Submits, then reaps between min and max completions, in order of completion; waits at most
 * timeout (NULL: for ever). Returns how many, perhaps fewer than min on timeout or when no more
 * operations are under way. */
int ff3fs_batch_reap(struct ff3fs_batch *batch, struct ff3fs_completion *ret, unsigned min,
		     unsigned max, const struct timespec *timeout);

/* --- Names --------------------------------------------------------------------------------- */

int ff3fs_stat(struct ff3fs *fs, uint64_t dir, const char *path, unsigned flags,
	       struct ff3fs_attr *ret);
/* mask: R_OK | W_OK | X_OK, or F_OK. */
int ff3fs_access(struct ff3fs *fs, uint64_t dir, const char *path, int mask, unsigned flags);
int ff3fs_mkdir(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode);
/* S_IFSOCK or S_IFIFO with permission bits: a name only. Others: -EPERM. ret may be NULL. */
int ff3fs_mknod(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode,
		struct ff3fs_attr *ret);
int ff3fs_rmdir(struct ff3fs *fs, uint64_t dir, const char *path);
int ff3fs_unlink(struct ff3fs *fs, uint64_t dir, const char *path);
/* A directory with all that is below it leaves the name space, at once; what was in it is removed by
 * the cluster afterwards, whatever becomes of this process. Files of it that are open stay readable until
 * they are closed. ret_removal (may be NULL): for ff3fs_removal. -EACCES: a directory of it is not the
 * caller's to empty. -E2BIG: too many directories to judge that in one go. Nothing was removed then. */
int ff3fs_remove_tree(struct ff3fs *fs, uint64_t dir, const char *path, uint64_t *ret_removal);

struct ff3fs_removal {
	int running;	  /* 0: all is gone, the space too */
	uint64_t names;	  /* that are gone, without directories */
	uint64_t dirs;	  /* that are gone */
	uint64_t waiting; /* files and directories whose space is not back yet */
	uint64_t open;	  /* of them: which somebody has open, told at the end */
};
/* How far it is. Zeros, if it was over long ago. */
int ff3fs_removal(struct ff3fs *fs, uint64_t removal, struct ff3fs_removal *ret);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
int ff3fs_rename(struct ff3fs *fs, uint64_t from_dir, const char *from, uint64_t to_dir,
		 const char *to, unsigned flags);
/* flags: FF3FS_NOFOLLOW links a symbolic link itself. */
int ff3fs_link(struct ff3fs *fs, uint64_t from_dir, const char *from, uint64_t to_dir,
	       const char *to, unsigned flags);
int ff3fs_symlink(struct ff3fs *fs, const char *target, uint64_t dir, const char *path);
/* Bytes stored, not NUL-terminated, cut to size, as readlink(2). */
ssize_t ff3fs_readlink(struct ff3fs *fs, uint64_t dir, const char *path, char *buf, size_t size);
int ff3fs_truncate(struct ff3fs *fs, uint64_t dir, const char *path, off_t size);
int ff3fs_chmod(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode, unsigned flags);
/* (uid_t)-1 or (gid_t)-1: unchanged. */
int ff3fs_chown(struct ff3fs *fs, uint64_t dir, const char *path, uid_t uid, gid_t gid,
		unsigned flags);
/* times as utimensat(2), UTIME_NOW and UTIME_OMIT included; NULL: both now. */
int ff3fs_utimens(struct ff3fs *fs, uint64_t dir, const char *path, const struct timespec times[2],
		  unsigned flags);
int ff3fs_statfs(struct ff3fs *fs, struct ff3fs_statfs *ret);
/* The absolute path of an inode from the root ("/a/b"), for getcwd. -ERANGE if size is short. */
int ff3fs_get_path(struct ff3fs *fs, uint64_t ino, char *buf, size_t size);

ssize_t ff3fs_getxattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
		       void *value, size_t size, unsigned flags);
int ff3fs_setxattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
		   const void *value, size_t size, int xattr_flags, unsigned flags);
ssize_t ff3fs_listxattr(struct ff3fs *fs, uint64_t dir, const char *path, char *list, size_t size,
			unsigned flags);
int ff3fs_removexattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
		      unsigned flags);

/* of a file: its own; of a directory: what files made in it get. */
int ff3fs_get_layout(struct ff3fs *fs, uint64_t dir, const char *path, struct ff3fs_layout *ret);
/* Of a directory, for files made from now on. 0 and 0: inherit again. */
int ff3fs_set_layout(struct ff3fs *fs, uint64_t dir, const char *path, uint32_t chunk_size,
		     uint32_t n_stripe);
/* Of a file; of a directory, for files made from now on. pinned: chunks stay in the daemons' memory,
 * from where clients read them directly, on the same host or over RDMA. */
int ff3fs_set_pin(struct ff3fs *fs, uint64_t dir, const char *path, int pinned);

/* --- Reads without requests ------------------------------------------------------------------ */

/* Chunks that a daemon exposes are read from its memory, on this host or by RDMA READ. What was read so since fs was
 * made, what is mapped, and why chunks of such files were read by request. */
struct ff3fs_hot_stats {
	uint64_t reads, bytes;
	uint64_t mapped;	 /* chunks, now */
	uint64_t asked, refused; /* exposures */
	uint64_t absent;	 /* not exposed to us */
	uint64_t gone;		 /* exposed no more */
	uint64_t dead;		 /* the daemon is gone */
	uint64_t beyond;	 /* the end of the chunk */
	uint64_t unsynced;	 /* we have written to the file */
	uint64_t checksum;	 /* wrong */
};
void ff3fs_hot_stats(const struct ff3fs *fs, struct ff3fs_hot_stats *ret);

/* --- How daemons are reached ---------------------------------------------------------------- */

/* One way to a daemon, in the order of client.transports. */
struct ff3fs_link {
	const char *name;	     /* "shm", "verbs", "tcp", "unix" */
	unsigned connections;	     /* now */
	uint64_t requests;	     /* sent by it */
	uint64_t connects, failures; /* attempts that worked, and that did not */
	int error;		     /* of the last attempt: a negative errno; 0: none, or it worked */
	const char *why;	     /* the error in words, or NULL */
};

struct ff3fs_daemon {
	const char *kind;    /* "metad", "chunkd" */
	const char *address; /* lives as long as fs */
	uint64_t target;     /* of a chunkd: the directory that it serves */
	unsigned n_links;
	struct ff3fs_link links[8];
};

/* The daemons that fs has to do with: metad, then what serves chunks as far as metad has told. Fills
 * ret with at most max; returns how many there are. */
size_t ff3fs_daemons(struct ff3fs *fs, struct ff3fs_daemon *ret, size_t max);
/* Asks member number i of metad's group, those of client.metad first: 0: it is the primary, FF3FS_FOLLOWS: it is not,
 * -ENOENT: there is no such member, and ret_address is untouched. The address lives as long as fs. Other failures are
 * explained by ff3fs_last_error. */
#define FF3FS_FOLLOWS 1
int ff3fs_ask_metad(struct ff3fs *fs, unsigned i, unsigned timeout_ms, const char **ret_address);
/* Asks metad, once, who serves chunks. */
int ff3fs_find_daemons(struct ff3fs *fs);
/* Asks daemon number i n times, and fills in the shortest time that it took to answer. link: by that and
 * nothing else, on a connection made for it; NULL: as any call would. Nothing is repeated; an answer is
 * waited for for timeout_ms at most. A failure is explained by ff3fs_last_error. */
int ff3fs_ping(struct ff3fs *fs, size_t i, const char *link, unsigned n, unsigned timeout_ms,
	       uint64_t *ret_ns);

/* The RDMA devices of this machine, a line for each port: state, addresses, what is wrong with it. Returns how
 * many are usable; negative: there is none, and text says why. */
int ff3fs_describe_rdma(char *text, size_t size);

/* --- RDMA ------------------------------------------------------------------------------------ */

/* Of this process, since it began. Returns 0, or -ENODEV: it has no connection by RDMA. */
struct ff3fs_rdma_stats {
	uint64_t sends, recvs;	 /* work requests: messages, and room for them */
	uint64_t fetched;	 /* RDMA READs of exposed chunks */
	uint64_t copies, copied; /* transfers that went through a buffer, and their bytes */
	uint64_t registered;	 /* buffers made known to a device */
	uint64_t known;		 /* times that one was known already */
	uint64_t dropped;	 /* forgotten, as they were unmapped */
};
int ff3fs_rdma_stats(struct ff3fs_rdma_stats *ret);
/* [p, p + len) is about to be unmapped, moved, emptied or made read-only: it may be a buffer that a device
 * knows. Of use while *ff3fs_memory_watched() is not 0. Async-signal-safe. */
void ff3fs_memory_gone(const void *p, size_t len);
/* Who calls this promises to call the above for each buffer whose pages move to another address (mremap, also inside
 * realloc) or are made read-only: otherwise a later read would write into them there. For those that are only
 * unmapped (free) it is courtesy: one read is made twice. Without the promise no buffer is made known to
 * a device, and transfers over RDMA go through a copy. */
const volatile int *ff3fs_memory_watched(void);

/* --- Directories --------------------------------------------------------------------------- */

/* with_attr: entries carry attributes, in the same round trips. */
int ff3fs_opendir(struct ff3fs *fs, uint64_t dir, const char *path, int with_attr,
		  struct ff3fs_dir **ret);
/* The directory inode of an open listing. */
uint64_t ff3fs_dir_ino(const struct ff3fs_dir *d);
/* 1 and the next entry, "." and ".." first; 0 at the end; negative errno. The entry stays valid
 * until the next call on d. */
int ff3fs_readdir(struct ff3fs_dir *d, const struct ff3fs_dirent **ret);
/* Continues after the entry with this cookie; 0: from the beginning, with fresh contents. */
void ff3fs_seekdir(struct ff3fs_dir *d, uint64_t cookie);
void ff3fs_closedir(struct ff3fs_dir *d);

#ifdef __cplusplus
}
#endif
#endif
