/* Purpose: ff3fs-mount's operations on names and attributes: each is a call or two of libff3fs.
 *
 * A node is an inode and its number the inode's own, which the metadata server never gives again.
 * Symbolic links are followed by the kernel, so a path here is one name.
 *
 * Threads: any; no state. */
#include "mount.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "../common/client/attr_stat.h"
#include "../common/client/mount_mark.h"

void mount_stat(const struct ff3fs_attr *a, struct stat *ret)
{
	ff3_attr_to_stat(a, 0, ret);
}

void mount_entry(const struct ff3fs_attr *a, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = mount_node(a->ino),
		.attr_timeout = mount_state.attr_timeout,
		.entry_timeout = mount_state.entry_timeout,
	};
	mount_stat(a, &ret->attr);
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	const unsigned unwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE | FUSE_CAP_HANDLE_KILLPRIV;

	/* Data are wanted in memory, where they are checksummed and sent from. */
	conn->want &= ~unwanted;
	conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	fuse_set_feature_flag(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
#endif
	conn->max_write = MOUNT_IO_MAX;
	conn->max_read = MOUNT_IO_MAX;
	conn->max_background = 64;
	conn->time_gran = 1;
	mount_state.ready();
}

static void reply_entry(fuse_req_t req, int r, const struct ff3fs_attr *a)
{
	struct fuse_entry_param entry;

	if (r < 0) {
		mount_reply(req, r);
		return;
	}
	mount_entry(a, &entry);
	fuse_reply_entry(req, &entry);
}

/* What a name stands for now, after it was made. */
static void reply_name(fuse_req_t req, int r, fuse_ino_t parent, const char *name)
{
	struct ff3fs_attr a;

	if (r == 0)
		r = ff3fs_stat(mount_state.fs, mount_ino(parent), name, FF3FS_NOFOLLOW, &a);
	reply_entry(req, r, &a);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_name(req, 0, parent, name);
}

static int attr_of(fuse_ino_t node, struct fuse_file_info *fi, struct ff3fs_attr *ret)
{
	if (fi)
		return ff3fs_fstat(mount_file(fi), ret);
	return ff3fs_stat(mount_state.fs, mount_ino(node), "", FF3FS_NOFOLLOW, ret);
}

static void reply_attr(fuse_req_t req, int r, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct ff3fs_attr a;
	struct stat st;

	if (r == 0)
		r = attr_of(node, fi, &a);
	if (r < 0) {
		mount_reply(req, r);
		return;
	}
	mount_stat(&a, &st);
	fuse_reply_attr(req, &st, mount_state.attr_timeout);
}

static void on_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	reply_attr(req, 0, node, fi);
}

static int set_size(fuse_ino_t node, off_t size, struct fuse_file_info *fi)
{
	if (fi)
		return ff3fs_ftruncate(mount_file(fi), size);
	return ff3fs_truncate(mount_state.fs, mount_ino(node), "", size);
}

static int set_times(fuse_ino_t node, const struct stat *st, int what)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (!(what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)))
		return 0;
	if (!(what & FUSE_SET_ATTR_ATIME))
		times[0].tv_nsec = UTIME_OMIT;
	else if (what & FUSE_SET_ATTR_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	if (!(what & FUSE_SET_ATTR_MTIME))
		times[1].tv_nsec = UTIME_OMIT;
	else if (what & FUSE_SET_ATTR_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	return ff3fs_utimens(mount_state.fs, mount_ino(node), "", times, FF3FS_NOFOLLOW);
}

/* Owner before mode: a change of owner takes set-user-ID away. */
static void on_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int what,
		       struct fuse_file_info *fi)
{
	uint64_t ino = mount_ino(node);
	int r = 0;

	if (what & FUSE_SET_ATTR_SIZE)
		r = set_size(node, st->st_size, fi);
	if (r == 0 && (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		r = ff3fs_chown(mount_state.fs, ino, "",
				what & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1,
				what & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1, FF3FS_NOFOLLOW);
	if (r == 0 && (what & FUSE_SET_ATTR_MODE))
		r = ff3fs_chmod(mount_state.fs, ino, "", st->st_mode & 07777, FF3FS_NOFOLLOW);
	if (r == 0)
		r = set_times(node, st, what);
	reply_attr(req, r, node, fi);
}

static void on_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[PATH_MAX];
	ssize_t n = ff3fs_readlink(mount_state.fs, mount_ino(node), "", target, sizeof target - 1);

	if (n < 0) {
		mount_reply(req, (int)n);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

/* --- Making and removing ------------------------------------------------------------------- */

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct ff3fs_file *file;
	struct ff3fs *user;
	int r;

	r = mount_user_get(req, &user);
	if (r == 0 && S_ISREG(mode)) {
		r = ff3fs_open(user, mount_ino(parent), name, O_WRONLY | O_CREAT | O_EXCL,
			       mode & 07777, &file);
		if (r == 0)
			r = ff3fs_close(file);
		mount_user_put(user);
	} else if (r == 0) {
		r = ff3fs_mknod(user, mount_ino(parent), name, mode, NULL);
		mount_user_put(user);
	}
	reply_name(req, r, parent, name);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct ff3fs *user;
	int r = mount_user_get(req, &user);

	if (r == 0) {
		r = ff3fs_mkdir(user, mount_ino(parent), name, mode & 07777);
		mount_user_put(user);
	}
	reply_name(req, r, parent, name);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct ff3fs *user;
	int r = mount_user_get(req, &user);

	if (r == 0) {
		r = ff3fs_symlink(user, target, mount_ino(parent), name);
		mount_user_put(user);
	}
	reply_name(req, r, parent, name);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	mount_reply(req, ff3fs_unlink(mount_state.fs, mount_ino(parent), name));
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	mount_reply(req, ff3fs_rmdir(mount_state.fs, mount_ino(parent), name));
}

static void on_rename(fuse_req_t req, fuse_ino_t from_dir, const char *from, fuse_ino_t to_dir,
		      const char *to, unsigned flags)
{
	mount_reply(req, ff3fs_rename(mount_state.fs, mount_ino(from_dir), from, mount_ino(to_dir),
				      to, flags));
}

static void on_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	int r = ff3fs_link(mount_state.fs, mount_ino(node), "", mount_ino(parent), name,
			   FF3FS_NOFOLLOW);

	reply_name(req, r, parent, name);
}

/* --- The file system; extended attributes -------------------------------------------------- */

static void on_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct ff3fs_statfs s;
	int r = ff3fs_statfs(mount_state.fs, &s);
	struct statvfs st = { .f_bsize = FF3_FRAGMENT, .f_frsize = FF3_FRAGMENT, .f_namemax = 255 };

	if (r < 0) {
		mount_reply(req, r);
		return;
	}
	st.f_blocks = s.capacity / FF3_FRAGMENT;
	st.f_bfree = st.f_bavail = s.free / FF3_FRAGMENT;
	st.f_files = s.inodes + s.free / FF3_FRAGMENT;
	st.f_ffree = st.f_favail = s.free / FF3_FRAGMENT;
	fuse_reply_statfs(req, &st);
}

/* The metadata server has no other namespaces, and the kernel asks for one of them at each write. */
static bool has_namespace(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0;
}

static void reply_value(fuse_req_t req, ssize_t n, const void *value, size_t size)
{
	if (n < 0)
		mount_reply(req, (int)n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, value, (size_t)n);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	_cleanup_free_ char *value = malloc(MAX(size, 64u));
	ssize_t n = -EOPNOTSUPP;

	if (!value) {
		n = -ENOMEM;
	} else if (strcmp(name, FF3_MOUNT_XATTR) == 0) {
		n = snprintf(value, 64, "%" PRIx64 ".%" PRIx64, mount_state.fsid, mount_ino(node));
		if (size > 0 && size < (size_t)n)
			n = -ERANGE;
	} else if (has_namespace(name)) {
		n = ff3fs_getxattr(mount_state.fs, mount_ino(node), "", name, value, size,
				   FF3FS_NOFOLLOW);
	}
	reply_value(req, n, value, size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
			size_t size, int flags)
{
	mount_reply(req, !has_namespace(name) ?
				 -EOPNOTSUPP :
				 ff3fs_setxattr(mount_state.fs, mount_ino(node), "", name, value,
						size, flags, FF3FS_NOFOLLOW));
}

static void on_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	_cleanup_free_ char *list = malloc(MAX(size, 1u));
	ssize_t n = -ENOMEM;

	if (list)
		n = ff3fs_listxattr(mount_state.fs, mount_ino(node), "", list, size, FF3FS_NOFOLLOW);
	reply_value(req, n, list, size);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	mount_reply(req, !has_namespace(name) ? -EOPNOTSUPP :
						ff3fs_removexattr(mount_state.fs, mount_ino(node),
								  "", name, FF3FS_NOFOLLOW));
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.readlink = on_readlink,
	.mknod = on_mknod,
	.mkdir = on_mkdir,
	.unlink = on_unlink,
	.rmdir = on_rmdir,
	.symlink = on_symlink,
	.rename = on_rename,
	.link = on_link,
	.open = mount_open,
	.create = mount_create,
	.read = mount_read,
	.write = mount_write,
	.flush = mount_flush,
	.fsync = mount_fsync,
	.release = mount_release,
	.opendir = mount_opendir,
	.readdir = mount_readdir,
	.readdirplus = mount_readdirplus,
	.releasedir = mount_releasedir,
	.statfs = on_statfs,
	.getxattr = on_getxattr,
	.setxattr = on_setxattr,
	.listxattr = on_listxattr,
	.removexattr = on_removexattr,
	.ioctl = mount_ioctl,
	.getlk = mount_getlk,
	.setlk = mount_setlk,
	.flock = mount_flock,
};
