/* Purpose: directory streams on our directories: a DIR of our own, told from libc's by its first
 * word (libc's begins with a descriptor, which is never negative).
 *
 * Positions are the core's cookies, so telldir, seekdir and getdents64 after an lseek all work, and
 * a position stays valid while the directory changes. getdents64(2) keeps its position in the
 * placeholder's offset, shared like any other.
 *
 * Threads: a DIR has a lock, as libc's. */
#include "hook.h"

#include <pthread.h>

#include "raw.h"

#define MAGIC 0xff3f5d15ff3f5d15ull /* its low half is negative */

struct ff3_dir {
	uint64_t magic;
	pthread_mutex_t lock;
	struct ff3fs_dir *listing;
	int fd;
	uint64_t cookie; /* of the last entry given */
	struct dirent entry;
};

static bool is_ours(const DIR *dir)
{
	return init_active() && dir && *(const uint64_t *)(const void *)dir == MAGIC;
}

static struct ff3_dir *ours(DIR *dir)
{
	return (struct ff3_dir *)(void *)dir;
}

/* A stream can be made of a descriptor that only names a directory. It cannot be read. */
static int path_is_directory(struct ofd *o)
{
	struct ff3fs_attr a;
	int r = stat_ofd(o, &a);

	return r < 0 ? r : S_ISDIR(a.mode) ? 0 : -ENOTDIR;
}

/* fd is taken over on success. */
static int dir_new(int fd, struct ofd *o, DIR **ret)
{
	struct ff3_dir *d;
	struct ff3fs *fs;
	int r = core_fs(&fs);

	if (r < 0)
		return r;
	d = malloc(sizeof *d);
	if (!d)
		return -ENOMEM;
	d->listing = NULL;
	r = o->flags & O_PATH ? path_is_directory(o) : CALL(opendir, fs, o->ino, "", 0, &d->listing);
	if (r < 0) {
		free(d);
		return r;
	}
	d->magic = MAGIC;
	d->fd = fd;
	d->cookie = (uint64_t)RAW(lseek, fd, 0, SEEK_CUR);
	if (d->cookie && d->listing)
		CALL_VOID(seekdir, d->listing, d->cookie);
	pthread_mutex_init(&d->lock, NULL);
	*ret = (DIR *)(void *)d;
	return 0;
}

DIR *hook_opendir(const char *path)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	struct where w;
	DIR *dir = NULL;
	int r = where_init(&w, AT_FDCWD, path, 0), fd;

	if (LIKELY(r == 0)) {
		dir = REAL(opendir)(path);
		r = dir ? 0 : where_through_links(&w, AT_FDCWD, path, 0);
		if (LIKELY(r == 0))
			return dir;
	}
	fd = r < 0 ? r : open_ours(&w, O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC, 0);
	if (hook_result(fd) < 0)
		return NULL;
	r = fdtab_get(fd, &o);
	if (r == 0) /* a link led out */
		return REAL(fdopendir)(fd);
	if (r > 0)
		r = dir_new(fd, o, &dir);
	if (r < 0)
		fd_close(fd);
	return hook_result(r) < 0 ? NULL : dir;
}

DIR *hook_fdopendir(int fd)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	DIR *dir = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fdopendir)(fd);
	if (r > 0)
		r = (o->flags & O_ACCMODE) == O_WRONLY ? -EINVAL : dir_new(fd, o, &dir);
	if (r == 0)
		RAW(fcntl, fd, F_SETFD, FD_CLOEXEC);
	return hook_result(r) < 0 ? NULL : dir;
}

int hook_closedir(DIR *dir)
{
	struct ff3_dir *d = ours(dir);
	int fd;

	if (LIKELY(!is_ours(dir))) {
		if (dir && init_active())
			fdtab_forget(REAL(dirfd)(dir));
		return REAL(closedir)(dir);
	}
	fd = d->fd;
	if (d->listing)
		CALL_VOID(closedir, d->listing);
	d->magic = 0;
	free(d);
	return (int)hook_result(fd_close(fd));
}

/* 1 and the next entry, 0 at the end, which is where a removed directory begins. */
static int next_entry(struct ff3_dir *d, struct dirent *entry)
{
	const struct ff3fs_dirent *e;
	int r = d->listing ? CALL(readdir, d->listing, &e) : -EBADF;
	size_t len;

	if (r <= 0)
		return r == -ENOENT ? 0 : r;
	len = strlen(e->name);
	entry->d_ino = e->ino;
	entry->d_off = (off_t)e->cookie;
	entry->d_type = (unsigned char)e->type;
	entry->d_reclen = (unsigned short)ROUND_UP(offsetof(struct dirent, d_name) + len + 1, 8);
	memcpy(entry->d_name, e->name, len + 1);
	d->cookie = e->cookie;
	return 1;
}

struct dirent *hook_readdir(DIR *dir)
{
	struct ff3_dir *d = ours(dir);
	int r;

	if (LIKELY(!is_ours(dir)))
		return REAL(readdir)(dir);
	pthread_mutex_lock(&d->lock);
	r = next_entry(d, &d->entry);
	pthread_mutex_unlock(&d->lock);
	return hook_result(r) <= 0 ? NULL : &d->entry;
}

int hook_readdir_r(DIR *dir, struct dirent *entry, struct dirent **ret)
{
	struct ff3_dir *d = ours(dir);
	int r;

	if (LIKELY(!is_ours(dir))) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
		return REAL(readdir_r)(dir, entry, ret);
#pragma GCC diagnostic pop
	}
	pthread_mutex_lock(&d->lock);
	r = next_entry(d, entry);
	pthread_mutex_unlock(&d->lock);
	*ret = r > 0 ? entry : NULL;
	return r < 0 ? -r : 0;
}

void hook_seekdir(DIR *dir, long position)
{
	struct ff3_dir *d = ours(dir);

	if (LIKELY(!is_ours(dir))) {
		REAL(seekdir)(dir, position);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (d->listing)
		CALL_VOID(seekdir, d->listing, (uint64_t)position);
	d->cookie = (uint64_t)position;
	pthread_mutex_unlock(&d->lock);
}

void hook_rewinddir(DIR *dir)
{
	if (LIKELY(!is_ours(dir)))
		REAL(rewinddir)(dir);
	else
		hook_seekdir(dir, 0);
}

long hook_telldir(DIR *dir)
{
	return LIKELY(!is_ours(dir)) ? REAL(telldir)(dir) : (long)ours(dir)->cookie;
}

int hook_dirfd(DIR *dir)
{
	return LIKELY(!is_ours(dir)) ? REAL(dirfd)(dir) : ours(dir)->fd;
}

/* --- getdents64(2) ------------------------------------------------------------------------- */

struct linux_dirent64_ {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

/* Lays entries out in buf, which is ours. Bytes; -EINVAL if not even one fits. */
static long fill(struct ofd *o, char *buf, size_t size)
{
	const struct ff3fs_dirent *e;
	size_t n = 0;
	int r;

	while ((r = CALL(readdir, o->dir, &e)) > 0) {
		size_t len = strlen(e->name);
		size_t record = ROUND_UP(offsetof(struct linux_dirent64_, d_name) + len + 1, 8);
		struct linux_dirent64_ *d = (struct linux_dirent64_ *)(void *)(buf + n);

		if (n + record > size) {
			CALL_VOID(seekdir, o->dir, o->dir_cookie);
			return n > 0 ? (long)n : -EINVAL;
		}
		d->d_ino = e->ino;
		d->d_off = (int64_t)e->cookie;
		d->d_reclen = (unsigned short)record;
		d->d_type = (unsigned char)e->type;
		memset(d->d_name, 0, record - offsetof(struct linux_dirent64_, d_name));
		memcpy(d->d_name, e->name, len);
		o->dir_cookie = e->cookie;
		n += record;
	}
	return r < 0 && n == 0 ? r : (long)n;
}

static long getdents_locked(int fd, struct ofd *o, void *user, size_t size)
{
	uint64_t at = (uint64_t)RAW(lseek, fd, 0, SEEK_CUR);
	_cleanup_free_ char *buf = NULL;
	struct ff3fs *fs;
	long r = core_fs(&fs);

	if (r < 0)
		return r;
	if (!o->dir) {
		r = CALL(opendir, fs, o->ino, "", 0, &o->dir);
		if (r < 0)
			return r;
		o->dir_cookie = 0;
	}
	if (at != o->dir_cookie) {
		CALL_VOID(seekdir, o->dir, at);
		o->dir_cookie = at;
	}
	size = MIN(size, (size_t)64 << 10);
	buf = malloc(size);
	if (!buf)
		return -ENOMEM;
	r = fill(o, buf, size);
	if (r > 0 && !memory_copy_out(user, buf, (size_t)r))
		return -EFAULT;
	if (r > 0)
		RAW(lseek, fd, o->dir_cookie, SEEK_SET);
	return r;
}

long dir_getdents64(int fd, struct ofd *o, void *buf, size_t size)
{
	long r;

	if (!o->file)
		return -EBADF;
	pthread_mutex_lock(&o->dir_lock);
	r = getdents_locked(fd, o, buf, size);
	pthread_mutex_unlock(&o->dir_lock);
	return r;
}

ssize_t hook_getdents64(int fd, void *buf, size_t n)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(getdents64) ? REAL(getdents64)(fd, buf, n) :
					  hook_raw(RAW(getdents64, fd, buf, n));
	return hook_result(r < 0 ? r : dir_getdents64(fd, o, buf, n));
}

DEFINE_ALIASES(dir)
