/* Purpose: O_APPEND. Metad grants the end of a file to one client at a time; the holder writes its
 * chunks there, and `append` moves the end and lets the next one in.
 *
 * The grant is gone with the connection to metad, and then another client may write to the same
 * place. So chunk writes are not repeated over lost connections: the lock is taken again first. The
 * `append` is repeated, with its number: it counts once, and whether it did, the one that answers knows, whoever
 * answered before has gone. If it says that it never will, everything begins anew, at what is the end by then.
 *
 * What remains: metad restarts and grants the end to another client while a chunk daemon sits on
 * our write for all that time.
 *
 * Threads: one append of a file at a time, under inode->gather.lock, because metad's lock belongs
 * to the whole process. */
#include "internal.h"

#include <fcntl.h>

static int lock(struct ff3_inode *inode, struct ff3_rep_append_lock *ret)
{
	struct ff3_req_append_lock req = { .ino = inode->ino };
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(append_lock, false, &req, ret, buf, sizeof buf);

	return ff3_inode_call(inode, &call);
}

/* end 0: gives the right back, if anybody is there to take it. */
static int unlock(struct ff3_inode *inode, uint64_t end, uint64_t grant)
{
	struct ff3_req_append req = { .ino = inode->ino,
				      .end = end,
				      .grant = grant,
				      .sparse = atomic_load(&inode->sparse) };
	struct ff3_rep_append rep;
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(append, true, &req, &rep, buf, sizeof buf);
	int r;

	call.once = end == 0;
	r = ff3_meta_call(inode->fs, &call);
	if (r < 0 || end == 0)
		return r;
	if (!ff3_inode_told(inode, end, &(struct ff3_rep_extend){ rep.size, rep.cuts }, call.instance))
		r = ff3_inode_tell(inode, end, rep.cuts);
	return MIN(r, 0);
}

struct append {
	struct ff3_inode *inode;
	struct ff3_cursor c;
	size_t len;
	bool sync;
	uint64_t offset;
	int cause; /* of -EAGAIN */
};

/* One attempt. 0; -EAGAIN: the session's connection, a chunk daemon or metad went: again. */
static int append_once(struct append *a)
{
	struct ff3_inode *inode = a->inode;
	struct ff3_rep_append_lock right = { 0 };
	int r = lock(inode, &right);

	if (r < 0) {
		/* Should it be granted to nobody later. */
		unlock(inode, 0, 0);
		return r;
	}
	a->offset = right.size;
	if (a->offset + a->len > FF3_FILE_SIZE_MAX)
		r = -EFBIG;
	else
		r = ff3_write_once(inode, a->c, a->len, a->offset, a->sync);
	if (r < 0) {
		a->cause = r;
		unlock(inode, 0, right.grant);
		ff3_hold_forget(inode, a->offset, a->len);
		return r == -ERESTART || ff3_chunk_retriable(r) ? -EAGAIN : r;
	}
	r = unlock(inode, a->offset + a->len, right.grant);
	if (r == 0)
		return 0;
	ff3_hold_forget(inode, a->offset, a->len);
	/* Neither counted, and never will. */
	if (r != -ECANCELED && r != -EBADF)
		return r;
	a->cause = -ECONNRESET;
	return -EAGAIN;
}

static int append_locked(struct append *a)
{
	struct ff3_retry retry = ff3_retry_begin(a->inode->fs);
	int r;

	do {
		r = append_once(a);
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
