/* Taking chunks away: truncation and removal. Both are durable before they are answered.
 *
 * A removed chunk leaves the table at once, with its unsynced bytes, and its row is deleted by the
 * next batch; only then is its slot free. A chunk of the same name made meanwhile is another
 * struct, and its row is inserted by that batch or a later one, deletions first: so the old one
 * cannot come back after a crash. A removed chunk that is being written out just now gets its
 * row from an earlier batch.
 *
 * Nothing here needs space in a slab: deletes work on a full disk (see index.c for its ballast).
 *
 * Threads: the store's. */
#include "store_impl.h"

/* Removes c. Writes that wait in its queue go to again, to be done after the removal, or fail with
 * fail. */
static void kill_chunk(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op,
		       struct chunkd_op_queue *again)
{
	struct chunkd_active *a = c->active;
	struct chunkd_op *waiting;

	CHUNKD_COUNT(s, removes, 1);
	op->n_removed++;
	chunkd_chunk_unexpose(s, c, op);
	if (a) {
		chunkd_chunk_unwait(s, c);
		while ((waiting = STAILQ_FIRST(&a->queue))) {
			STAILQ_REMOVE_HEAD(&a->queue, link);
			STAILQ_INSERT_TAIL(again, waiting, link);
		}
		chunkd_chunk_undirty(s, c);
	}
	chunkd_chunk_detach(s, c);
	chunkd_block_disown(TAKE_PTR(c->mem));
	if (c->place || (a && a->item)) {
		op->remaining++;
		c->remove_op = op;
		c->refs++;
		STAILQ_INSERT_TAIL(&s->removed, c, removed);
	}
	chunkd_chunk_settle(s, c);
}

/* Operations that had waited for a chunk which is gone. A write that raced with a truncation comes
 * after it; one that raced with the removal of the inode has nowhere to go. */
static void dispatch_again(struct chunkd_store *s, struct chunkd_op_queue *again, bool removed)
{
	struct chunkd_op *op;

	while ((op = STAILQ_FIRST(again))) {
		STAILQ_REMOVE_HEAD(again, link);
		if (removed)
			chunkd_op_finish(op, -ESTALE);
		else if (op->kind == CHUNKD_OP_CUT)
			chunkd_op_finish(op, -EAGAIN);
		else
			chunkd_op_dispatch(s, op);
	}
}

static void remove_above(struct chunkd_store *s, struct chunkd_inode *inode, int64_t last,
			 struct chunkd_op *op, struct chunkd_op_queue *again)
{
	struct chunkd_chunk *c, *next;

	for (c = LIST_FIRST(&inode->chunks); c; c = next) {
		next = LIST_NEXT(c, sibling);
		if ((int64_t)c->index > last)
			kill_chunk(s, c, op, again);
	}
}

static bool cut_begin(struct chunkd_store *s, struct chunkd_op *op)
{
	op->kind = CHUNKD_OP_CUT;
	op->sync = true;
	op->status = 0;
	op->n_removed = 0;
	op->remaining = 1;
	if (s->offline)
		chunkd_op_finish(op, s->offline);
	return s->offline == 0;
}

void chunkd_store_cut(struct chunkd_store *s, struct chunkd_op *op)
{
	struct chunkd_op_queue again = STAILQ_HEAD_INITIALIZER(again);
	struct chunkd_inode *inode = chunkd_inode_find(s, op->ino);
	struct chunkd_chunk *last;

	if (!cut_begin(s, op))
		return;
	if (!inode) {
		chunkd_op_finish(op, 0);
		return;
	}
	remove_above(s, inode, op->length ? (int64_t)op->index : (int64_t)op->index - 1, op, &again);
	last = op->length ? chunkd_chunk_find(s, op->ino, op->index) : NULL;
	chunkd_inode_mark(s, inode);
	if (last)
		chunkd_chunk_enqueue(s, last, op);
	else
		chunkd_op_finish(op, 0);
	dispatch_again(s, &again, false);
}

void chunkd_store_remove(struct chunkd_store *s, struct chunkd_op *op)
{
	struct chunkd_op_queue again = STAILQ_HEAD_INITIALIZER(again);
	struct chunkd_inode *inode = chunkd_inode_find(s, op->ino);

	if (!cut_begin(s, op))
		return;
	if (inode) {
		remove_above(s, inode, -1, op, &again);
		chunkd_inode_mark(s, inode);
	}
	chunkd_op_finish(op, 0);
	dispatch_again(s, &again, true);
}

/* Shortens c, as its queue's first. The bytes stay where they are; what changes is the row, with
 * the checksum of the block that is now the last. */
int chunkd_cut_try(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op)
{
	uint32_t tail = op->length % FF3_BLOCK, last = op->length / FF3_BLOCK;
	int r;

	if (op->length >= c->len)
		return 0;
	if (!chunkd_chunk_end_exposure(c))
		return -EINPROGRESS;
	if (tail && !c->mem && !c->active->load_error) {
		r = chunkd_load_start(s, c);
		if (r == -EAGAIN)
			return chunkd_chunk_wait_memory(s, c);
		return r < 0 ? r : -EINPROGRESS;
	}
	/* A damaged chunk can be cut too. Nobody knows the last block's right checksum then, so it
	 * gets one that its bytes will not have. */
	if (tail)
		c->crcs[last] = c->mem ? ff3_crc32c(0, c->mem->p + op->length - tail, tail) :
					 ~c->crcs[last];
	c->len = op->length;
	c->version++;
	op->chunk_size = c->len;
	op->version = c->version;
	chunkd_chunk_dirty(s, c, CHUNKD_NOT_DIRTY);
	return 0;
}
