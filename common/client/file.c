/* Purpose: open files: the calls of ff3fs.h on descriptors.
 *
 * A file is a counted reference to an inode (inode.c) plus its own flags and read-ahead. Before a
 * call that could see the file's bytes, what is gathered for it is sent.
 *
 * Threads: any. Fork: see fork.c. */
#include "internal.h"

#include <fcntl.h>
#include <sys/stat.h>

bool ff3_file_writable(const struct ff3fs_file *file)
{
	return (atomic_load_explicit(&file->flags, memory_order_relaxed) & O_ACCMODE) != O_RDONLY;
}

bool ff3_file_readable(const struct ff3fs_file *file)
{
	int flags = atomic_load_explicit(&file->flags, memory_order_relaxed);

	return (flags & O_ACCMODE) != O_WRONLY && !(flags & O_PATH);
}

/* None: it is only held, for O_PATH. */
static uint32_t access_flags(int flags)
{
	if (flags & O_PATH)
		return 0;
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return FF3_OPEN_READ;
	case O_WRONLY:
		return FF3_OPEN_WRITE;
	default:
		return FF3_OPEN_READ | FF3_OPEN_WRITE;
	}
}

static uint32_t open_flags(int flags)
{
	uint32_t f = access_flags(flags);

	if (flags & O_PATH)
		return f;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		return f | FF3_OPEN_TMPFILE | (flags & O_EXCL ? FF3_OPEN_EXCLUSIVE : 0);
	return f | (flags & O_CREAT ? FF3_OPEN_CREATE : 0) |
	       (flags & O_EXCL ? FF3_OPEN_EXCLUSIVE : 0) |
	       (flags & O_TRUNC ? FF3_OPEN_TRUNCATE : 0) |
	       (flags & O_APPEND ? FF3_OPEN_APPEND : 0);
}

/* Takes over the reference to inode. */
static struct ff3fs_file *file_of(struct ff3_inode *inode, int flags)
{
	struct ff3fs_file *file = ff3_zalloc(sizeof *file);

	if (!file)
		return NULL;
	file->fs = inode->fs;
	file->inode = inode;
	file->refs = 1;
	file->flags = flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
	return file;
}

/* Takes over the open that metad has registered. */
static int file_new(struct ff3fs *fs, const struct ff3_attr *attr, const struct ff3_layout *layout,
		    int flags, struct ff3fs_file **ret)
{
	struct ff3_inode *inode;
	struct ff3fs_file *file;
	int r = ff3_inode_get(fs, attr, layout, access_flags(flags), true, &inode);

	if (r < 0) {
		ff3_meta_release(fs, attr->ino, 1);
		return r;
	}
	file = file_of(inode, flags);
	if (!file) {
		ff3_inode_unref(inode);
		return -ENOMEM;
	}
	file->kills = S_ISREG(attr->mode) && (attr->mode & (S_ISUID | S_ISGID)) &&
		      ff3_file_writable(file) && geteuid() != 0;
	*ret = file;
	return 0;
}

/* Of those that a lease may answer. 0: it does not. */
static int open_leased(struct ff3fs *fs, const struct ff3_path *at, int flags, struct ff3fs_file **ret)
{
	struct ff3_inode *inode;
	struct ff3fs_file *file;
	int r;

	if ((flags & O_ACCMODE) != O_RDONLY ||
	    (flags & (O_CREAT | O_TRUNC | O_EXCL | O_DIRECTORY | O_APPEND | O_PATH)))
		return 0;
	r = ff3_lease_open(fs, at, &inode);
	if (r <= 0)
		return r;
	file = S_ISSOCK(inode->mode) ? NULL : file_of(inode, flags);
	if (!file) {
		r = S_ISSOCK(inode->mode) ? -ENXIO : -ENOMEM;
		ff3_inode_unref(inode);
		return r;
	}
	*ret = file;
	return 1;
}

static int open_path(struct ff3fs *fs, uint64_t dir, const char *path, int flags, mode_t mode,
		     struct ff3fs_file **ret)
{
	bool tmpfile = (flags & O_TMPFILE) == O_TMPFILE;
	struct ff3_req_open req = {
		.at = ff3_path_of(dir, path, flags & O_NOFOLLOW ? FF3FS_NOFOLLOW : 0),
		.flags = open_flags(flags),
		.mode = mode & 07777,
	};
	struct ff3_rep_open rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(open, true, &req, &rep, buf, sizeof buf);
	struct ff3fs_file *file;
	int r;

	if (flags & O_DIRECTORY && !tmpfile)
		req.at.flags |= FF3_PATH_DIRECTORY;
	if (tmpfile && (flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	r = open_leased(fs, &req.at, flags, ret);
	if (r != 0)
		return MIN(r, 0);
	r = ff3_meta_call(fs, &call);
	if (r < 0)
		return r;
	r = file_new(fs, &rep.attr, &rep.layout, flags, &file);
	if (r < 0)
		return r;
	ff3_hot_learn(file->inode, S_ISREG(rep.attr.mode) && (req.flags & FF3_OPEN_READ), rep.cap, rep.layout.pin);
	if (S_ISLNK(rep.attr.mode) && !(flags & O_PATH))
		r = -ELOOP;
	if (S_ISSOCK(rep.attr.mode) && !(flags & O_PATH))
		r = -ENXIO;
	if (flags & O_TRUNC && r == 0)
		ff3_inode_cut(file->inode, &rep.attr);
	if (r < 0) {
		ff3_inode_unref(file->inode);
		free(file);
		return r;
	}
	*ret = file;
	return 0;
}

EXPORT int ff3fs_open(struct ff3fs *fs, uint64_t dir, const char *path, int flags, mode_t mode,
		      struct ff3fs_file **ret)
{
	FF3_ENTER();
	struct ff3fs_file *file;
	int r;

	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	/* A truncation must not overtake bytes that another descriptor here gathers. */
	if (flags & O_TRUNC) {
		ff3_flush_to_cut(fs);
		ff3_board_settle_all(fs);
	}
	r = open_path(fs, dir, path, flags, mode, &file);
	if (r < 0)
		return ff3_public(r);
	/* Gathered bytes of another descriptor: this one sees them too. */
	if (ff3_gathering(file->inode))
		ff3_gather_flush_ino(fs, file->inode->ino);
	if (ff3_board_settle(fs, file->inode->ino))
		ff3_inode_refresh(file->inode, NULL);
	*ret = file;
	return 0;
}

EXPORT int ff3fs_open_inode(struct ff3fs *fs, uint64_t ino, int flags, struct ff3fs_file **ret)
{
	FF3_ENTER();
	struct ff3_req_reopen req = { .ino = ino, .flags = access_flags(flags) };
	struct ff3_rep_reopen rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(reopen, false, &req, &rep, buf, sizeof buf);
	int r = ff3_meta_call(fs, &call);

	if (r == 0)
		r = file_new(fs, &rep.attr, &rep.layout, flags, ret);
	if (r == 0)
		ff3_hot_learn((*ret)->inode, rep.cap.len > 0, rep.cap, rep.layout.pin);
	return ff3_public(r);
}

/* --- Durability ------------------------------------------------------------------------------ */

static int file_fsync(struct ff3fs_file *file, bool whole)
{
	struct ff3_inode *inode = file->inode;
	uint64_t end = 0;
	int r, r2;

	if (!S_ISREG(inode->mode))
		return 0;
	atomic_store(&file->wrote, false);
	r = ff3_gather_flush_end(inode, &end);
	/* What can be made durable is, even if something else is lost. */
	r2 = ff3_sync(inode, end, whole);
	if (end > 0)
		ff3_gather_told(inode);
	return r < 0 ? r : r2;
}

EXPORT int ff3fs_fsync(struct ff3fs_file *file)
{
	FF3_ENTER();

	/* Bytes of other processes count as well; see sync.c. */
	ff3_board_settle(file->fs, file->inode->ino);
	return ff3_public(file_fsync(file, true));
}

EXPORT int ff3fs_flush(struct ff3fs_file *file)
{
	FF3_ENTER();

	return ff3_gathering(file->inode) ? ff3_public(ff3_gather_flush(file->inode)) : 0;
}

EXPORT int ff3fs_flush_all(struct ff3fs *fs)
{
	FF3_ENTER();

	return ff3_public(ff3_flush_all(fs));
}

EXPORT int ff3fs_sync_all(struct ff3fs *fs)
{
	FF3_ENTER();
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	int r = ff3_flush_all(fs), e;
	size_t n = 0;

	e = ff3_inodes_all(fs, &inodes, &n);
	r = r < 0 ? r : e;
	for (size_t i = 0; i < n; i++) {
		e = atomic_load(&inodes[i]->hold.n_unsynced) > 0 ? ff3_sync_background(inodes[i]) : 0;
		r = r < 0 ? r : e;
		ff3_inode_unref(inodes[i]);
	}
	ff3_leases_leave(fs);
	return ff3_public(r);
}

EXPORT int ff3fs_close(struct ff3fs_file *file)
{
	FF3_ENTER();
	int r = 0;

	if (atomic_load(&file->wrote))
		r = file_fsync(file, false);
	if (atomic_fetch_sub(&file->refs, 1) == 1) {
		ff3_ahead_free(file);
		ff3_inode_unref(file->inode);
		free(file);
	}
	return ff3_public(r);
}

/* --- Reading and writing --------------------------------------------------------------------- */

static ssize_t file_read(struct ff3fs_file *file, const struct iovec *iov, int n, size_t len,
			 off_t offset)
{
	struct ff3_inode *inode = file->inode;
	struct ff3_cursor c = { iov, n, 0 };
	ssize_t got, hot;

	if (UNLIKELY(!ff3_file_readable(file)))
		return -EBADF;
	if (UNLIKELY(!S_ISREG(inode->mode)))
		return S_ISDIR(inode->mode) ? -EISDIR : -EINVAL;
	if (UNLIKELY(offset < 0))
		return -EINVAL;
	if (UNLIKELY(len == 0))
		return 0;
	if (UNLIKELY(ff3_gathering(inode)))
		ff3_gather_flush_ino(file->fs, inode->ino);
	ff3_board_settle(file->fs, inode->ino);
	ff3_inode_register_soon(inode);
	hot = ff3_hot_read(inode, &c, len, (uint64_t)offset, true);
	if (hot < 0 || (size_t)hot == len)
		return hot;
	got = hot ? -EAGAIN : ff3_ahead_read(file, c, len, (uint64_t)offset);
	if (got == -EAGAIN) {
		got = ff3_read(inode, c, len - (size_t)hot, (uint64_t)(offset + hot));
		if (got > 0)
			ff3_hot_heat(inode, (size_t)got, (uint64_t)(offset + hot));
	}
	return got < 0 ? got : hot + got;
}

EXPORT ssize_t ff3fs_pread(struct ff3fs_file *file, void *buf, size_t len, off_t offset)
{
	FF3_ENTER();
	struct iovec iov = { buf, MIN(len, (size_t)RW_COUNT_MAX) };
	ssize_t got = file_read(file, &iov, 1, iov.iov_len, offset);

	return got >= 0 ? got : ff3_public((int)got);
}

EXPORT ssize_t ff3fs_preadv(struct ff3fs_file *file, const struct iovec *iov, int n, off_t offset)
{
	FF3_ENTER();
	ssize_t got = ff3_iov_len(iov, n);

	if (got >= 0)
		got = file_read(file, iov, n, (size_t)got, offset);
	return got >= 0 ? got : ff3_public((int)got);
}

static int check_write(const struct ff3fs_file *file)
{
	if (UNLIKELY(!ff3_file_writable(file)))
		return -EBADF;
	if (UNLIKELY(!S_ISREG(file->inode->mode)))
		return -EINVAL;
	return 0;
}

/* After the first write to a file with such bits by somebody who is not root: metad takes them away when
 * it hears of a write, and others must not find them meanwhile. */
static void kill_bits(struct ff3fs_file *file)
{
	if (!atomic_exchange(&file->kills, false))
		return;
	if (ff3_gathering(file->inode))
		ff3_gather_flush(file->inode);
	atomic_store(&file->inode->uncommitted, true);
	ff3_sync_meta(file->inode, 0);
}

static ssize_t file_append(struct ff3fs_file *file, struct ff3_cursor c, size_t len,
			   off_t *ret_offset)
{
	uint64_t offset;
	ssize_t n;
	int r = ff3_gathering(file->inode) ? ff3_gather_flush(file->inode) : 0;

	ff3_board_settle(file->fs, file->inode->ino);

	if (r < 0)
		return r;
	if (len == 0)
		return 0;
	atomic_store(&file->wrote, true);
	n = ff3_append(file, c, len, &offset);
	if (n >= 0 && ret_offset)
		*ret_offset = (off_t)offset;
	if (UNLIKELY(atomic_load_explicit(&file->kills, memory_order_relaxed)) && n > 0)
		kill_bits(file);
	return n;
}

static ssize_t file_write(struct ff3fs_file *file, const struct iovec *iov, int n, size_t len,
			  off_t offset)
{
	int flags = atomic_load_explicit(&file->flags, memory_order_relaxed);
	struct ff3_inode *inode = file->inode;
	struct ff3_cursor c = { iov, n, 0 };
	bool sync = flags & O_DSYNC; /* O_SYNC contains it */
	int r = check_write(file);

	if (r < 0)
		return r;
	if (flags & O_APPEND)
		return file_append(file, c, len, NULL);
	if (offset < 0)
		return -EINVAL;
	if (len == 0)
		return 0;
	if ((uint64_t)offset + len > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	ff3_board_settle(file->fs, inode->ino);
	atomic_store_explicit(&file->wrote, true, memory_order_release);
	if (!(flags & (O_DSYNC | O_DIRECT))) {
		r = ff3_gather_write(inode, c, len, (uint64_t)offset);
	} else {
		r = ff3_gathering(inode) ? ff3_gather_flush(inode) : 0;
	}
	if (r == 0)
		r = ff3_write(inode, c, len, (uint64_t)offset, sync);
	if (r < 0)
		return r;
	atomic_store_explicit(&inode->next_write, (uint64_t)offset + len, memory_order_relaxed);
	if (UNLIKELY(atomic_load_explicit(&file->kills, memory_order_relaxed)))
		kill_bits(file);
	if (sync) {
		r = ff3_sync_meta(inode, 0);
		if (r < 0)
			return r;
	}
	return (ssize_t)len;
}

EXPORT ssize_t ff3fs_pwrite(struct ff3fs_file *file, const void *buf, size_t len, off_t offset)
{
	FF3_ENTER();
	struct iovec iov = { (void *)buf, MIN(len, (size_t)RW_COUNT_MAX) };
	ssize_t n = file_write(file, &iov, 1, iov.iov_len, offset);

	return n >= 0 ? n : ff3_public((int)n);
}

EXPORT ssize_t ff3fs_pwritev(struct ff3fs_file *file, const struct iovec *iov, int n, off_t offset)
{
	FF3_ENTER();
	ssize_t len = ff3_iov_len(iov, n);

	if (len >= 0)
		len = file_write(file, iov, n, (size_t)len, offset);
	return len >= 0 ? len : ff3_public((int)len);
}

EXPORT ssize_t ff3fs_append(struct ff3fs_file *file, const struct iovec *iov, int n,
			    off_t *ret_offset)
{
	FF3_ENTER();
	ssize_t len = ff3_iov_len(iov, n);
	int r = check_write(file);

	if (r < 0)
		return ff3_public(r);
	if (len >= 0)
		len = file_append(file, (struct ff3_cursor){ iov, n, 0 }, (size_t)len, ret_offset);
	return len >= 0 ? len : ff3_public((int)len);
}

/* --- Attributes ------------------------------------------------------------------------------ */

EXPORT int ff3fs_ftruncate(struct ff3fs_file *file, off_t size)
{
	FF3_ENTER();
	struct ff3_inode *inode = file->inode;
	struct ff3_req_truncate req = { .at = { .dir = inode->ino }, .by_open = 1 };
	struct ff3_rep_truncate rep;
	uint8_t buf[512];
	struct ff3_meta_call call = FF3_META_CALL(truncate, true, &req, &rep, buf, sizeof buf);
	int r;

	if (size < 0 || !S_ISREG(inode->mode) || !ff3_file_writable(file))
		return -EINVAL;
	if ((uint64_t)size > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	ff3_board_settle(file->fs, inode->ino);
	r = ff3_gathering(inode) ? ff3_gather_flush(inode) : 0;
	if (r >= 0)
		r = ff3_gather_tell(inode);
	if (r < 0)
		return ff3_public(r);
	req.size = (uint64_t)size;
	ff3_inode_touch(inode);
	/* Before it, lest a repetition brings back what the truncation has removed. */
	ff3_hold_truncate(inode, req.size);
	r = ff3_inode_call(inode, &call);
	if (r == 0)
		ff3_inode_cut(inode, &rep.attr);
	return ff3_public(r);
}

EXPORT int ff3fs_grow(struct ff3fs_file *file, off_t end)
{
	FF3_ENTER();
	struct ff3_inode *inode = file->inode;
	int r;

	if (end < 0 || !S_ISREG(inode->mode) || !ff3_file_writable(file))
		return -EINVAL;
	if ((uint64_t)end > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	r = ff3_gathering(inode) ? ff3_gather_flush(inode) : 0;
	if (r < 0)
		return ff3_public(r);
	ff3_inode_touch(inode);
	atomic_store(&file->wrote, true);
	atomic_store(&inode->sparse, true);
	r = ff3_inode_extend(inode, (uint64_t)end);
	if (r == 0)
		atomic_store(&inode->uncommitted, true);
	return ff3_public(r);
}

EXPORT int ff3fs_fstat(struct ff3fs_file *file, struct ff3fs_attr *ret)
{
	FF3_ENTER();
	struct ff3_inode *inode = file->inode;
	struct ff3_attr attr;
	int r;

	ff3_gather_flush_ino(file->fs, inode->ino);
	ff3_board_settle(file->fs, inode->ino);
	ff3_inode_register_soon(inode);
	r = ff3_inode_refresh(inode, &attr);
	if (r < 0)
		return ff3_public(r);
	ff3_attr_to_public(&attr, ret);
	return 0;
}

EXPORT struct ff3fs_file *ff3fs_file_ref(struct ff3fs_file *file)
{
	atomic_fetch_add(&file->refs, 1);
	return file;
}

EXPORT mode_t ff3fs_file_mode(const struct ff3fs_file *file)
{
	return file->inode->mode & S_IFMT;
}

EXPORT uint64_t ff3fs_file_ino(const struct ff3fs_file *file)
{
	return file->inode->ino;
}

EXPORT int ff3fs_file_flags(const struct ff3fs_file *file)
{
	return atomic_load(&file->flags);
}

EXPORT void ff3fs_file_set_flags(struct ff3fs_file *file, int flags)
{
	const int settable = O_APPEND | O_DIRECT | O_SYNC;
	int old = atomic_load(&file->flags);

	while (!atomic_compare_exchange_weak(&file->flags, &old,
					     (old & ~settable) | (flags & settable)))
		;
}
