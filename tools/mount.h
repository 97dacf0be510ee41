/* ff3fs-mount: what its files share. */
#pragma once

#define FUSE_USE_VERSION 312

#include <fuse_lowlevel.h>

#include "../common/base/app_errno.h"
#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

/* What is read or written by one request at most, as much as kernels take. */
#define MOUNT_IO_MAX (1u << 20)

struct mount {
	struct ff3fs *fs;
	const char *conf;
	uint64_t root; /* inode that the mount point shows */
	uint64_t fsid;
	double attr_timeout, entry_timeout; /* seconds */
	uid_t uid;                          /* whose the client fs is */
	gid_t gid;
	void (*ready)(void); /* called once the kernel has spoken */
};
extern struct mount mount_state;

/* --- mount_names.c: the operations, and what they have in common --------------------------- */

extern const struct fuse_lowlevel_ops mount_ops;

/* The mount point's inode has the kernel's fixed number; all others have their own. So there is
 * no table of nodes, and nothing that the kernel could forget to give back. */
static inline uint64_t mount_ino(fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? mount_state.root : node;
}

static inline fuse_ino_t mount_node(uint64_t ino)
{
	return ino == mount_state.root ? FUSE_ROOT_ID : ino;
}

/* Answers a request that has nothing to give back. */
static inline void mount_reply(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? ff3_app_errno(r) : 0);
}

void mount_stat(const struct ff3fs_attr *a, struct stat *ret);
void mount_entry(const struct ff3fs_attr *a, struct fuse_entry_param *ret);

/* --- mount_file.c -------------------------------------------------------------------------- */

void mount_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void mount_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi);
void mount_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		struct fuse_file_info *fi);
void mount_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t offset,
		 struct fuse_file_info *fi);
void mount_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void mount_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);
void mount_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void mount_ioctl(fuse_req_t req, fuse_ino_t node, unsigned cmd, void *arg,
		 struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		 size_t out_size);
/* The file behind a handle; NULL for fi NULL. */
struct ff3fs_file *mount_file(const struct fuse_file_info *fi);
/* Has the kernel write what mappings of open files hold; dir is the mount point. Not from a worker. */
void mount_sync_mappings(const char *dir);
/* Closes what is still open when the mount ends. The first error. */
int mount_close_all(void);

/* --- mount_dir.c --------------------------------------------------------------------------- */

void mount_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void mount_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		   struct fuse_file_info *fi);
void mount_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		       struct fuse_file_info *fi);
void mount_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);

/* --- mount_lock.c -------------------------------------------------------------------------- */

void mount_getlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, struct flock *fl);
void mount_setlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, struct flock *fl,
		 int sleep);
void mount_flock(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, int op);
/* The owner has closed a descriptor (FF3FS_LOCK_RECORD), or the description (FF3FS_LOCK_FLOCK). */
void mount_lock_closed(struct ff3fs_file *file, uint64_t ino, uint64_t owner, int kind);

/* --- mount_users.c ------------------------------------------------------------------------- */

/* The client in whose name the caller of req makes new files. To be given back. */
int mount_user_get(fuse_req_t req, struct ff3fs **ret);
void mount_user_put(struct ff3fs *fs);
void mount_users_done(void);

/* --- mount_wire.c -------------------------------------------------------------------------- */

/* After fuse_session_mount: lets the session offer the kernel what this libfuse has no name for. */
int mount_wire_init(struct fuse_session *se);
/* The next reply of this thread opens a file. */
void mount_wire_opens(void);
