/* Purpose: ff3fs-mount's open files. Data pass through without a cache of the kernel's (direct
 * I/O), so what others write is seen by the next read. A shared mapping has pages of the kernel's,
 * which are read afresh when the file is opened or mapped, and written at msync, munmap and close.
 *
 * Writes that gather in the client are sent, and a written file is durable, when a descriptor is
 * closed, as with the shim: so close tells of errors.
 *
 * Threads: `lock` guards the list of open files, which mount_close_all needs. */
#include "mount.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>

struct handle {
	struct handle *next, **prev;
	struct ff3fs_file *file;
	bool writes;
};

static struct handle *handles;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Where reads go before they are sent to the kernel: one for each thread. */
static __thread char *read_buf;
static pthread_key_t read_buf_key;
static pthread_once_t read_buf_once = PTHREAD_ONCE_INIT;

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

struct ff3fs_file *mount_file(const struct fuse_file_info *fi)
{
	return fi ? handle_of(fi)->file : NULL;
}

/* --- Opening and closing ------------------------------------------------------------------- */

static void handle_free(struct handle *h)
{
	pthread_mutex_lock(&lock);
	*h->prev = h->next;
	if (h->next)
		h->next->prev = h->prev;
	pthread_mutex_unlock(&lock);
	free(h);
}

/* Takes the file over in any case. */
static int handle_new(struct ff3fs_file *file, struct fuse_file_info *fi)
{
	struct handle *h = malloc(sizeof *h);

	if (!h) {
		ff3fs_close(file);
		return -ENOMEM;
	}
	h->file = file;
	h->writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	pthread_mutex_lock(&lock);
	h->next = handles;
	h->prev = &handles;
	if (handles)
		handles->prev = &h->next;
	handles = h;
	pthread_mutex_unlock(&lock);
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	return 0;
}

/* The path below the mount point of an inode, or NULL: it has none any more. */
static const char *path_below(uint64_t ino, char buf[PATH_MAX])
{
	char root[PATH_MAX];
	size_t n;

	if (ff3fs_get_path(mount_state.fs, mount_state.root, root, sizeof root) < 0 ||
	    ff3fs_get_path(mount_state.fs, ino, buf, PATH_MAX) < 0)
		return NULL;
	n = strcmp(root, "/") == 0 ? 0 : strlen(root);
	return strncmp(buf, root, n) == 0 && buf[n] == '/' ? buf + n + 1 : NULL;
}

/* syncfs does not wait for FUSE's pages, fsync does. */
void mount_sync_mappings(const char *dir)
{
	_cleanup_(ff3_closep) int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ uint64_t *inos = NULL;
	char buf[PATH_MAX];
	size_t n = 0;

	pthread_mutex_lock(&lock);
	for (struct handle *h = handles; h; h = h->next)
		n++;
	inos = calloc(n + 1, sizeof *inos);
	n = 0;
	for (struct handle *h = handles; inos && h; h = h->next)
		if (h->writes)
			inos[n++] = ff3fs_file_ino(h->file);
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; top >= 0 && i < n; i++) {
		const char *path = path_below(inos[i], buf);
		int fd = path ? openat(top, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;

		if (fd >= 0) {
			fsync(fd);
			close(fd);
		}
	}
}

int mount_close_all(void)
{
	int first = 0;

	while (handles) {
		int r = ff3fs_close(handles->file);

		if (r < 0 && first == 0)
			first = r;
		handle_free(handles);
	}
	return first;
}

static void opened(fuse_req_t req, struct fuse_file_info *fi, const struct fuse_entry_param *entry)
{
	int r;

	mount_wire_opens();
	r = entry ? fuse_reply_create(req, entry, fi) : fuse_reply_open(req, fi);
	if (r == -ENOENT) { /* the caller has been killed meanwhile: nobody will release it */
		ff3fs_close(handle_of(fi)->file);
		handle_free(handle_of(fi));
	}
}

void mount_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct ff3fs_file *file;
	int flags = fi->flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK);
	int r = ff3fs_open(mount_state.fs, mount_ino(node), "", flags, 0, &file);

	if (r == 0)
		r = handle_new(file, fi);
	if (r < 0)
		mount_reply(req, r);
	else
		opened(req, fi, NULL);
}

/* By the user's own client; then it is the mount's, like all others. */
static int create_as(fuse_req_t req, uint64_t parent, const char *name, mode_t mode, int flags,
		     struct ff3fs_file **ret)
{
	struct ff3fs_file *theirs;
	struct ff3fs *user;
	int r = mount_user_get(req, &user);

	if (r < 0)
		return r;
	r = ff3fs_open(user, parent, name, (flags & ~O_NONBLOCK) | O_CREAT | O_NOFOLLOW, mode,
		       user == mount_state.fs ? ret : &theirs);
	if (r == 0 && user != mount_state.fs) {
		r = ff3fs_open_inode(mount_state.fs, ff3fs_file_ino(theirs),
				     flags & ~(O_CREAT | O_EXCL | O_TRUNC), ret);
		ff3fs_close(theirs);
	}
	mount_user_put(user);
	return r;
}

void mount_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct ff3fs_file *file;
	struct ff3fs_attr a;
	int r = create_as(req, mount_ino(parent), name, mode & 07777, fi->flags, &file);

	if (r == 0)
		r = handle_new(file, fi);
	if (r == 0) {
		r = ff3fs_fstat(file, &a);
		if (r < 0) {
			ff3fs_close(file);
			handle_free(handle_of(fi));
		}
	}
	if (r < 0) {
		mount_reply(req, r);
		return;
	}
	mount_entry(&a, &entry);
	opened(req, fi, &entry);
}

/* A descriptor is closed. The file is still open here, perhaps by others. */
void mount_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	mount_lock_closed(h->file, mount_ino(node), fi->lock_owner, FF3FS_LOCK_RECORD);
	mount_reply(req, h->writes ? ff3fs_close(ff3fs_file_ref(h->file)) : 0);
}

void mount_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	mount_reply(req, ff3fs_fsync(mount_file(fi)));
}

void mount_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	int r;

	if (fi->flock_release)
		mount_lock_closed(h->file, mount_ino(node), fi->lock_owner, FF3FS_LOCK_FLOCK);
	r = ff3fs_close(h->file);

	handle_free(h);
	mount_reply(req, r);
}

/* --- Data ---------------------------------------------------------------------------------- */

static void read_buf_key_new(void)
{
	pthread_key_create(&read_buf_key, free);
}

static char *read_buf_get(void)
{
	if (UNLIKELY(!read_buf)) {
		pthread_once(&read_buf_once, read_buf_key_new);
		read_buf = malloc(MOUNT_IO_MAX);
		pthread_setspecific(read_buf_key, read_buf);
	}
	return read_buf;
}

void mount_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	char *buf = read_buf_get();
	ssize_t n = buf ? ff3fs_pread(mount_file(fi), buf, MIN(size, MOUNT_IO_MAX), offset) :
			  -ENOMEM;

	if (n < 0)
		mount_reply(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

void mount_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t offset,
		 struct fuse_file_info *fi)
{
	struct ff3fs_file *file = mount_file(fi);
	struct iovec iov = { (void *)(uintptr_t)buf, size };
	ssize_t n;
	int r = 0;

	/* The kernel knows an end of the file, but not always the newest. What it writes back from a
	 * mapping stays where it is. */
	if ((fi->flags & O_APPEND) && !fi->writepage)
		n = ff3fs_append(file, &iov, 1, NULL);
	else
		n = ff3fs_pwrite(file, buf, size, offset);
	/* RWF_DSYNC; a file that was opened with it is synced by the write itself */
	if (n > 0 && (fi->flags & O_DSYNC) && !(ff3fs_file_flags(file) & O_DSYNC))
		r = ff3fs_fsync(file);
	if (n < 0 || r < 0)
		mount_reply(req, n < 0 ? (int)n : r);
	else
		fuse_reply_write(req, (size_t)n);
}

#define FFRECORD_DIRECT_IO 0x80046664u /* "does this file take direct I/O of any alignment?" */

void mount_ioctl(fuse_req_t req, fuse_ino_t node, unsigned cmd, void *arg,
		 struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		 size_t out_size)
{
	int one = 1;

	if (cmd == FFRECORD_DIRECT_IO && !(flags & FUSE_IOCTL_DIR) && out_size >= sizeof one)
		fuse_reply_ioctl(req, 0, &one, sizeof one);
	else if (cmd == FICLONE || cmd == FICLONERANGE || cmd == FIDEDUPERANGE)
		fuse_reply_err(req, EOPNOTSUPP);
	else
		fuse_reply_err(req, ENOTTY);
}
