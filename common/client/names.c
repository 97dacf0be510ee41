/* Purpose: the calls of ff3fs.h that take names: each is one request to metad.
 *
 * Threads: any; no state. */
#include "internal.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Declares req, rep, buf and call, for a request of `op`. */
#define REQUEST(op, mutates, ...)                                                                  \
	struct ff3_req_##op req = { __VA_ARGS__ };                                                 \
	struct ff3_rep_##op rep;                                                                   \
	uint8_t buf[META_REPLY_SIZE];                                                              \
	struct ff3_meta_call call = FF3_META_CALL(op, mutates, &req, &rep, buf, sizeof buf)

EXPORT int ff3fs_stat(struct ff3fs *fs, uint64_t dir, const char *path, unsigned flags,
		      struct ff3fs_attr *ret)
{
	FF3_ENTER();
	REQUEST(lookup, false, .at = ff3_path_of(dir, path, flags));
	uint64_t told = ff3_board_told();
	int r = ff3_lease_stat(fs, &req.at, &rep.attr);

	if (r > 0)
		ff3_attr_to_public(&rep.attr, ret);
	if (r != 0)
		return r > 0 ? 0 : ff3_public(r);
	r = ff3_meta_call(fs, &call);
	/* Buffered bytes count, our own and those of other processes of this host. */
	if (r == 0 && ff3_gather_outdates(fs, rep.attr.ino, told))
		r = ff3_meta_call(fs, &call);
	if (r < 0)
		return ff3_public(r);
	ff3_attr_complete(fs, &rep.attr);
	ff3_attr_to_public(&rep.attr, ret);
	return 0;
}

EXPORT int ff3fs_access(struct ff3fs *fs, uint64_t dir, const char *path, int mask, unsigned flags)
{
	FF3_ENTER();
	REQUEST(access, false, .at = ff3_path_of(dir, path, flags), .mask = (uint32_t)mask);
	int r = flags & FF3FS_REAL_USER ? ff3_as_real_user() : 0;

	if (r == 0)
		r = ff3_meta_call(fs, &call);
	ff3_as_oneself();
	return ff3_public(r);
}

EXPORT int ff3fs_mkdir(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode)
{
	FF3_ENTER();
	REQUEST(mkdir, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW), .mode = mode & 07777);

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_mknod(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode,
		       struct ff3fs_attr *ret)
{
	FF3_ENTER();
	REQUEST(mknod, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW),
		.mode = mode & (S_IFMT | 07777));
	int r = ff3_meta_call(fs, &call);

	if (r == 0 && ret)
		ff3_attr_to_public(&rep.attr, ret);
	return ff3_public(r);
}

EXPORT int ff3fs_rmdir(struct ff3fs *fs, uint64_t dir, const char *path)
{
	FF3_ENTER();
	REQUEST(rmdir, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW));

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_unlink(struct ff3fs *fs, uint64_t dir, const char *path)
{
	FF3_ENTER();
	REQUEST(unlink, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW));

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_remove_tree(struct ff3fs *fs, uint64_t dir, const char *path,
			     uint64_t *ret_removal)
{
	FF3_ENTER();
	REQUEST(remove_tree, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW));
	int r = ff3_meta_call(fs, &call);

	if (r == 0 && ret_removal)
		*ret_removal = rep.removal;
	return ff3_public(r);
}

EXPORT int ff3fs_removal(struct ff3fs *fs, uint64_t removal, struct ff3fs_removal *ret)
{
	FF3_ENTER();
	REQUEST(removal, false, .removal = removal);
	int r = ff3_meta_call(fs, &call);

	if (r == 0)
		*ret = (struct ff3fs_removal){
			.running = rep.state == FF3_REMOVAL_RUNNING,
			.names = rep.names,
			.dirs = rep.dirs,
			.waiting = rep.waiting,
			.open = rep.open,
		};
	return ff3_public(r);
}

EXPORT int ff3fs_rename(struct ff3fs *fs, uint64_t from_dir, const char *from, uint64_t to_dir,
			const char *to, unsigned flags)
{
	FF3_ENTER();
	REQUEST(rename, true, .from = ff3_path_of(from_dir, from, FF3FS_NOFOLLOW),
		.to = ff3_path_of(to_dir, to, FF3FS_NOFOLLOW), .flags = flags);

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_link(struct ff3fs *fs, uint64_t from_dir, const char *from, uint64_t to_dir,
		      const char *to, unsigned flags)
{
	FF3_ENTER();
	REQUEST(link, true, .from = ff3_path_of(from_dir, from, flags),
		.to = ff3_path_of(to_dir, to, FF3FS_NOFOLLOW));

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_symlink(struct ff3fs *fs, const char *target, uint64_t dir, const char *path)
{
	FF3_ENTER();
	REQUEST(symlink, true, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW),
		.target = ff3_str_from(target));

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT ssize_t ff3fs_readlink(struct ff3fs *fs, uint64_t dir, const char *path, char *ret,
			      size_t size)
{
	FF3_ENTER();
	REQUEST(readlink, false, .at = ff3_path_of(dir, path, FF3FS_NOFOLLOW));
	int r = ff3_meta_call(fs, &call);

	if (r < 0)
		return ff3_public(r);
	size = MIN(size, (size_t)rep.target.len);
	if (ff3_user_writable(ret, size) < 0)
		return -EFAULT;
	memcpy(ret, rep.target.p, size);
	return (ssize_t)size;
}

/* What another descriptor here knows of the file is old. */
static void file_was_cut(struct ff3fs *fs, const struct ff3_attr *attr)
{
	struct ff3_inode *inode = ff3_inode_find(fs, attr->ino);

	ff3_board_changed(fs, attr->ino);
	if (!inode)
		return;
	ff3_inode_cut(inode, attr);
	ff3_inode_unref(inode);
}

EXPORT int ff3fs_truncate(struct ff3fs *fs, uint64_t dir, const char *path, off_t size)
{
	FF3_ENTER();
	REQUEST(truncate, true, .at = ff3_path_of(dir, path, 0), .size = (uint64_t)size);
	int r;

	if (size < 0)
		return -EINVAL;
	if ((uint64_t)size > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	/* Buffered bytes come before the truncation. */
	ff3_flush_to_cut(fs);
	ff3_board_settle_all(fs);
	r = ff3_meta_call(fs, &call);
	if (r == 0)
		file_was_cut(fs, &rep.attr);
	return ff3_public(r);
}

/* --- Attributes ------------------------------------------------------------------------------ */

EXPORT int ff3fs_chmod(struct ff3fs *fs, uint64_t dir, const char *path, mode_t mode, unsigned flags)
{
	FF3_ENTER();
	REQUEST(setattr, true, .at = ff3_path_of(dir, path, flags), .valid = FF3_SET_MODE,
		.mode = mode & 07777);

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_chown(struct ff3fs *fs, uint64_t dir, const char *path, uid_t uid, gid_t gid,
		       unsigned flags)
{
	FF3_ENTER();
	REQUEST(setattr, true, .at = ff3_path_of(dir, path, flags), .uid = uid, .gid = gid);

	if (uid != (uid_t)-1)
		req.valid |= FF3_SET_UID;
	if (gid != (gid_t)-1)
		req.valid |= FF3_SET_GID;
	return ff3_public(ff3_meta_call(fs, &call));
}

/* Adds one of the two times to the request. */
static int set_time(const struct timespec *t, uint32_t set, uint32_t now, uint32_t *valid,
		    struct ff3_time *ret)
{
	if (!t || t->tv_nsec == UTIME_NOW) {
		*valid |= now;
		return 0;
	}
	if (t->tv_nsec == UTIME_OMIT)
		return 0;
	if (t->tv_nsec < 0 || t->tv_nsec >= (long)FF3_NSEC_PER_SEC)
		return -EINVAL;
	*valid |= set;
	*ret = (struct ff3_time){ .sec = (uint64_t)t->tv_sec, .nsec = (uint32_t)t->tv_nsec };
	return 0;
}

EXPORT int ff3fs_utimens(struct ff3fs *fs, uint64_t dir, const char *path,
			 const struct timespec times[2], unsigned flags)
{
	FF3_ENTER();
	REQUEST(setattr, true, .at = ff3_path_of(dir, path, flags));
	int r = set_time(times ? &times[0] : NULL, FF3_SET_ATIME, FF3_SET_ATIME_NOW, &req.valid,
			 &req.atime);

	if (r == 0)
		r = set_time(times ? &times[1] : NULL, FF3_SET_MTIME, FF3_SET_MTIME_NOW, &req.valid,
			     &req.mtime);
	/* Bytes that were written before must not move the time afterwards. */
	if (r == 0)
		r = ff3_flush_all(fs);
	if (r == 0)
		r = ff3_meta_call(fs, &call);
	return ff3_public(r);
}

EXPORT int ff3fs_statfs(struct ff3fs *fs, struct ff3fs_statfs *ret)
{
	FF3_ENTER();
	struct ff3_req_statfs req;
	struct ff3_rep_statfs rep;
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(statfs, false, &req, &rep, buf, sizeof buf);
	int r = ff3_meta_call(fs, &call);

	if (r < 0)
		return ff3_public(r);
	*ret = (struct ff3fs_statfs){
		.capacity = rep.capacity,
		.used = rep.used,
		.free = rep.free,
		.inodes = rep.inodes,
		.fsid = rep.fsid,
	};
	return 0;
}

EXPORT int ff3fs_get_path(struct ff3fs *fs, uint64_t ino, char *ret, size_t size)
{
	FF3_ENTER();
	REQUEST(get_path, false, .ino = ino);
	int r = ff3_meta_call(fs, &call);

	if (r < 0)
		return ff3_public(r);
	if (rep.path.len >= size)
		return -ERANGE;
	memcpy(ret, rep.path.p, rep.path.len);
	ret[rep.path.len] = '\0';
	return 0;
}
