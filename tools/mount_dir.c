/* Purpose: ff3fs-mount's directories. The kernel's offset of an entry is the cookie that the
 * metadata server continues after, so a listing goes on from any place, also a remembered one.
 *
 * Threads: the kernel reads one open directory from several threads at once if a program does: each
 * listing has a lock. */
#include "mount.h"

#include <pthread.h>

struct listing {
	pthread_mutex_t lock;
	struct ff3fs_dir *d;
	uint64_t at;                      /* the cookie that d stands behind */
	const struct ff3fs_dirent *ahead; /* read from d, and not given yet */
};

static struct listing *listing_of(const struct fuse_file_info *fi)
{
	return (struct listing *)(uintptr_t)fi->fh;
}

void mount_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct listing *l = calloc(1, sizeof *l);
	int r = l ? ff3fs_opendir(mount_state.fs, mount_ino(node), "", 1, &l->d) : -ENOMEM;

	if (r < 0) {
		free(l);
		mount_reply(req, r);
		return;
	}
	pthread_mutex_init(&l->lock, NULL);
	fi->fh = (uintptr_t)l;
	if (fuse_reply_open(req, fi) == -ENOENT) { /* the caller has been killed meanwhile */
		ff3fs_closedir(l->d);
		free(l);
	}
}

void mount_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct listing *l = listing_of(fi);

	ff3fs_closedir(l->d);
	pthread_mutex_destroy(&l->lock);
	free(l);
	mount_reply(req, 0);
}

/* 1: there is an entry in l->ahead. */
static int look_ahead(struct listing *l)
{
	return l->ahead ? 1 : ff3fs_readdir(l->d, &l->ahead);
}

static size_t add(fuse_req_t req, char *buf, size_t room, const struct ff3fs_dirent *e, bool plus)
{
	struct fuse_entry_param entry;

	mount_entry(&e->attr, &entry);
	entry.attr.st_ino = e->ino;
	entry.attr.st_mode = e->attr.mode ? e->attr.mode : (mode_t)e->type << 12;
	if (!plus)
		return fuse_add_direntry(req, buf, room, e->name, &entry.attr, (off_t)e->cookie);
	/* Without attributes, or one of the two that the kernel makes no node of: its name alone. */
	if (!e->attr.mode || strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		entry.ino = 0;
	return fuse_add_direntry_plus(req, buf, room, e->name, &entry, (off_t)e->cookie);
}

static int fill(fuse_req_t req, struct listing *l, char *buf, size_t size, size_t *ret_n, bool plus)
{
	size_t n = 0, len;
	int r;

	while ((r = look_ahead(l)) > 0) {
		len = add(req, buf + n, size - n, l->ahead, plus);
		if (len > size - n)
			break;
		n += len;
		l->at = l->ahead->cookie;
		l->ahead = NULL;
	}
	*ret_n = n;
	/* What was found before an error is given first; the next call meets it again. */
	return r < 0 && n == 0 ? r : 0;
}

static void list(fuse_req_t req, struct fuse_file_info *fi, size_t size, off_t offset, bool plus)
{
	struct listing *l = listing_of(fi);
	_cleanup_free_ char *buf = malloc(size);
	size_t n = 0;
	int r;

	if (!buf) {
		mount_reply(req, -ENOMEM);
		return;
	}
	pthread_mutex_lock(&l->lock);
	if ((uint64_t)offset != l->at || offset == 0) {
		l->ahead = NULL;
		ff3fs_seekdir(l->d, (uint64_t)offset);
		l->at = (uint64_t)offset;
	}
	r = fill(req, l, buf, size, &n, plus);
	pthread_mutex_unlock(&l->lock);
	if (r < 0)
		mount_reply(req, r);
	else
		fuse_reply_buf(req, buf, n);
}

void mount_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		   struct fuse_file_info *fi)
{
	list(req, fi, size, offset, false);
}

void mount_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	list(req, fi, size, offset, true);
}
