/* Purpose: O_APPEND. Metad grants the end of a file to one client at a time; the holder writes its
 * chunks there, and `extend` moves the end and lets the next one in.
 *
 * The grant is gone with the connection to metad, and then another client may write to the same
 * place. So chunk writes are not repeated over lost connections: the lock is taken again first. If
 * the extend was not answered, nobody tells whether it counted: an end that still is where we began
 * means that our bytes are in place and only need the extend; an end beyond means that either we
 * or another got there, which reading the bytes back tells apart.
 *
 * What remains: metad restarts and grants the end to another client while a chunk daemon sits on
 * our write for all that time; and another client that has appended the very same bytes there is taken
 * for us.
 *
 * Threads: one append of a file at a time, under inode->gather.lock, because metad's lock belongs
 * to the whole process. */
#include "internal.h"

#include <fcntl.h>

static int lock(struct ff3_inode *inode, uint64_t *ret_size)
{
	struct ff3_req_append_lock req = { .ino = inode->ino };
	struct ff3_rep_append_lock rep;
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(append_lock, false, &req, &rep, buf, sizeof buf);
	int r = ff3_inode_call(inode, &call);

	if (r == 0)
		*ret_size = rep.size;
	return r;
}

/* end 0: nothing was written. once: without repeating over lost connections. */
static int unlock(struct ff3_inode *inode, uint64_t end, bool once)
{
	struct ff3_req_extend req = { .ino = inode->ino,
				      .end = end,
				      .unlock = 1,
				      .sparse = atomic_load(&inode->sparse) };
	struct ff3_rep_extend rep;
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(extend, false, &req, &rep, buf, sizeof buf);
	int r;

	call.once = once;
	r = ff3_meta_call(inode->fs, &call);
	if (r == 0 && end == 0)
		ff3_inode_grow(inode, rep.size);
	if (r < 0 || end == 0)
		return r;
	/* As if it had not been answered. */
	return ff3_inode_told(inode, end, &rep, call.instance) ? 0 : -ECONNRESET;
}

/* Whether the file has our bytes at offset. */
static int is_ours(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset)
{
	_cleanup_free_ uint8_t *ours = malloc(len), *theirs = malloc(len);
	struct iovec iov = { theirs, len };
	ssize_t n;
	int r;

	if (!ours || !theirs)
		return -ENOMEM;
	r = ff3_cursor_read(&c, ours, len);
	if (r < 0)
		return r;
	n = ff3_read(inode, (struct ff3_cursor){ &iov, 1, 0 }, len, offset);
	if (n < 0)
		return (int)n;
	return (size_t)n == len && memcmp(ours, theirs, len) == 0;
}

/* The extend was not answered. 1: it counted; 0: it never will; negative errno. */
static int settle(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset)
{
	uint64_t size;
	int r = lock(inode, &size);

	if (r < 0)
		return r;
	if (size == offset) {
		r = unlock(inode, offset + len, true);
		return r < 0 ? r : 1;
	}
	r = size >= offset + len ? is_ours(inode, c, len, offset) : 0;
	unlock(inode, 0, true);
	return r;
}

struct append {
	struct ff3_inode *inode;
	struct ff3_cursor c;
	size_t len;
	bool sync;
	uint64_t offset;
	bool unsure; /* an extend was not answered */
	int cause;   /* of -EAGAIN */
};

/* One attempt. 0; -EAGAIN: the session's connection, a chunk daemon or metad went: again. */
static int append_once(struct append *a)
{
	struct ff3_inode *inode = a->inode;
	int r = lock(inode, &a->offset);

	if (r < 0) {
		/* Should it be granted to nobody later. */
		unlock(inode, 0, true);
		return r;
	}
	if (a->offset + a->len > FF3_FILE_SIZE_MAX)
		r = -EFBIG;
	else
		r = ff3_write_once(inode, a->c, a->len, a->offset, a->sync);
	if (r < 0) {
		a->cause = r;
		unlock(inode, 0, true);
		ff3_hold_forget(inode, a->offset, a->len);
		return r == -ERESTART || ff3_chunk_retriable(r) ? -EAGAIN : r;
	}
	r = unlock(inode, a->offset + a->len, true);
	a->cause = r;
	a->unsure = ff3_retriable(r) || r == -EBADF || r == -ESTALE;
	return a->unsure ? -EAGAIN : r;
}

/* As append_once, of one that is unsure. If this is not answered either, it is asked once more, and nothing else: what
 * counted must not be appended twice. */
static int settle_once(struct append *a)
{
	int r = settle(a->inode, a->c, a->len, a->offset);

	if (r > 0)
		return 0;
	a->cause = r ? r : -ECONNRESET;
	a->unsure = r < 0;
	if (r == 0)
		ff3_hold_forget(a->inode, a->offset, a->len);
	return r == 0 || ff3_retriable(r) || r == -EBADF ? -EAGAIN : r;
}

static int append_locked(struct append *a)
{
	struct ff3_retry retry = ff3_retry_begin(a->inode->fs);
	int r;

	do {
		r = a->unsure ? settle_once(a) : append_once(a);
		if (r != -EAGAIN)
			return r;
		/* A restarted daemon has all again that it had lost; that may have taken long. */
		if (a->cause == -ERESTART)
			retry = ff3_retry_begin(a->inode->fs);
		r = a->cause == -ERESTART ? 0 : ff3_retry_pause(&retry, a->cause);
	} while (r == 0);
	ff3_explain("appending to inode %" PRIu64 ": %s%s", a->inode->ino, ff3_strerror(r),
		    ff3_retry_tried(a->inode->fs, &retry).text);
	return r;
}

ssize_t ff3_append(struct ff3fs_file *file, struct ff3_cursor c, size_t len, uint64_t *ret_offset)
{
	struct append a = {
		.inode = file->inode,
		.c = c,
		.len = len,
		.sync = atomic_load(&file->flags) & O_DSYNC,
	};
	int r;

	pthread_mutex_lock(&a.inode->gather.lock);
	r = append_locked(&a);
	pthread_mutex_unlock(&a.inode->gather.lock);
	*ret_offset = a.offset;
	if (r == 0 && a.sync)
		r = ff3_sync_meta(a.inode, 0);
	return r < 0 ? r : (ssize_t)len;
}
