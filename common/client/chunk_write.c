/* Purpose: striped writes. A write is split at chunk borders; up to WINDOW pieces are under way over
 * all chains. Every piece is copied first: the copy is what is checksummed and sent, and it is
 * kept until it is durable, so that a daemon's restart loses nothing (hold.c).
 *
 * The end of the file: data go to the chunk daemons first, then metad is told the new end, so that
 * nobody sees a size without its bytes. If the write did not reach beyond the known size, metad
 * need not hear of it; but that size may be old: somebody may have cut the file since. A chunk
 * that reaches beyond our bytes proves that it was not cut below them. A chunk that ends with
 * them proves nothing, and then metad is told.
 *
 * Threads: any; inode->hold.lock is taken when a piece is complete. */
#include "internal.h"

struct writer {
	struct ff3_inode *inode;
	struct ff3_cursor c;
	uint64_t offset, end;
	uint64_t tell; /* the end that metad must be told; 0: none */
	bool sync, once;
	struct ff3_retry retry;
};

int ff3_write_done(struct ff3_piece *p, uint64_t *end)
{
	struct ff3_inode *inode = p->inode;
	uint64_t piece_end = ((uint64_t)p->index << inode->chunk_shift) + p->offset + p->length;
	int r = 0;

	if (p->offset + p->length >= p->chunk_size)
		*end = MAX(*end, piece_end);
	if (p->flags & FF3_WRITE_SYNC) {
		ff3_pool_put(inode->fs, p->data, p->length);
	} else {
		r = ff3_hold_add(inode, p, p->data);
	}
	if (r != -ERESTART)
		p->data = NULL;
	return r;
}

static int start_next(struct writer *w, struct ff3_piece *p)
{
	struct ff3fs *fs = w->inode->fs;
	uint32_t len = ff3_piece_span(w->inode, w->offset, w->end - w->offset);
	int r;

	ff3_piece_init(p, w->inode, FF3_OP_chunk_write, w->offset, len);
	if (!w->sync) {
		r = ff3_hold_room(fs, len);
		if (r < 0)
			return r;
	}
	p->flags = w->sync ? FF3_WRITE_SYNC : 0;
	p->once = w->once;
	p->data = ff3_pool_get(fs, len);
	if (!p->data)
		return -ENOMEM;
	r = ff3_piece_take(p, &w->c);
	if (r < 0) {
		ff3_pool_put(fs, TAKE_PTR(p->data), len);
		return r;
	}
	w->offset += len;
	ff3_piece_start(p);
	return 0;
}

int ff3_write_wait(struct ff3_piece *p, struct ff3_retry *retry, uint64_t *end)
{
	int r;

	do {
		r = ff3_piece_wait(p, retry);
		if (r < 0)
			return r;
		*retry = (struct ff3_retry){ 0 };
		r = ff3_write_done(p, end);
	} while (UNLIKELY(r == -ERESTART) && (r = ff3_piece_again(p, retry, r)) == 0);
	return r;
}

static void give_up(struct writer *w, struct ff3_piece *p)
{
	ff3_piece_abandon(p);
	ff3_pool_put(w->inode->fs, TAKE_PTR(p->data), p->length);
}

static int write_one(struct writer *w)
{
	struct ff3_piece p;
	int r = start_next(w, &p);

	if (r < 0)
		return r;
	r = ff3_write_wait(&p, &w->retry, &w->tell);
	if (r < 0)
		give_up(w, &p);
	return r;
}

static int write_many(struct writer *w)
{
	struct ff3_piece *pieces = malloc(WINDOW * sizeof *pieces);
	uint64_t head = 0, tail = 0;
	int r = pieces ? 0 : -ENOMEM;

	while (r == 0 && (w->offset < w->end || head < tail)) {
		/* As in chunk_read.c. */
		bool room = tail - head < WINDOW &&
			    (tail == head || pieces[(tail - 1) % WINDOW].start_error != -ENOMEM);

		if (w->offset < w->end && room) {
			r = start_next(w, &pieces[tail % WINDOW]);
			if (r == 0)
				tail++;
		} else {
			r = ff3_write_wait(&pieces[head % WINDOW], &w->retry, &w->tell);
			if (r == 0)
				head++;
		}
	}
	for (; head < tail; head++)
		give_up(w, &pieces[head % WINDOW]);
	free(pieces);
	return r;
}

static int write_data(struct writer *w)
{
	struct ff3_inode *inode = w->inode;
	uint64_t len = w->end - w->offset;
	int r;

	ff3_inode_touch(inode);
	atomic_store_explicit(&inode->uncommitted, true, memory_order_release);
	if (ff3_piece_span(inode, w->offset, len) == len)
		r = write_one(w);
	else
		r = write_many(w);
	if (r < 0)
		atomic_store(&inode->sparse, true); /* nobody knows which part is there */
	ff3_inode_touch(inode);
	return r;
}

int ff3_write(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset, bool sync)
{
	struct writer w = {
		.inode = inode,
		.c = c,
		.offset = offset,
		.end = offset + len,
		.sync = sync,
	};
	uint64_t size = atomic_load_explicit(&inode->size, memory_order_acquire);
	int r = write_data(&w);

	if (r < 0)
		return r;
	if (w.end > size || !atomic_load_explicit(&inode->told, memory_order_relaxed))
		w.tell = w.end;
	return w.tell > 0 ? ff3_inode_extend(inode, w.tell) : 0;
}

int ff3_write_once(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset,
		   bool sync)
{
	struct writer w = {
		.inode = inode,
		.c = c,
		.offset = offset,
		.end = offset + len,
		.sync = sync,
		.once = true,
	};

	return write_data(&w);
}
