/* Writing out, and who waits for it.
 *
 * A batch takes a snapshot of each of its chunks and goes through four stages: write the slots;
 * fdatasync each slab that was written to; one index transaction, which begins only when every
 * older batch is through; then the chunks' state moves on. The order of the second and the third
 * stage is what makes "durable" true: without it, every acknowledged chunk was lost in a power
 * cut, since an index row may become durable before the slab's extents do.
 *
 * How a snapshot is written:
 *   only its row          nothing but length or versions changed
 *   in place              all changed bytes lie behind what the index says is there: an append
 *                         rewrites at most one block of it, with the bytes it has. The checksum
 *                         in the index covers valid bytes only, so that an append which was
 *                         interrupted harms nothing.
 *   into another slot     else: bytes that the index vouches for are never changed
 *
 * While a snapshot is on its way its memory does not change (write.c takes a copy), and changes
 * made meanwhile go with a later batch.
 *
 * Any error here takes the target offline: after a failed write or fdatasync nobody knows what is
 * on the disk, and trying again may succeed without having written anything.
 *
 * Threads: the store's; commit_run on the io's helper touches only the batch's changes. */
#include "store_impl.h"

struct batch_sync {
	struct ff3_io io;
	struct chunkd_batch *batch;
	int fd;
};

struct chunkd_batch {
	STAILQ_ENTRY(chunkd_batch) link;
	struct chunkd_store *store;
	struct chunkd_item *items;
	struct chunkd_chunk_queue removed;
	uint32_t n_items, n_removed;
	uint64_t n_bytes;
	unsigned n_pending; /* operations of the stage under way */
	bool synced;	    /* ready to be committed */
	int status;
	struct batch_sync *syncs;
	unsigned n_syncs;
	struct chunkd_change *changes;
	size_t n_changes;
	struct chunkd_job job;
};

static void batch_synced(struct chunkd_batch *b);

/* --- Dirty chunks ------------------------------------------------------------------------------ */

static void list_dirty(struct chunkd_store *s, struct chunkd_active *a)
{
	if (a->urgent)
		TAILQ_INSERT_TAIL(&s->urgent, a, dirty_link);
	else
		TAILQ_INSERT_TAIL(&s->dirty, a, dirty_link);
	a->listed = true;
}

static void unlist_dirty(struct chunkd_store *s, struct chunkd_active *a)
{
	if (!a->listed)
		return;
	if (a->urgent)
		TAILQ_REMOVE(&s->urgent, a, dirty_link);
	else
		TAILQ_REMOVE(&s->dirty, a, dirty_link);
	a->listed = false;
}

/* The chunk is neither dirty nor being written out any more. */
static void leave_inode(struct chunkd_store *s, struct chunkd_inode *inode, struct chunkd_active *a)
{
	TAILQ_REMOVE(&inode->dirty, a, inode_link);
	a->in_inode = false;
	s->n_dirty--;
	chunkd_inode_mark(s, inode);
}

void chunkd_chunk_dirty(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t lo)
{
	struct chunkd_active *a = c->active;

	s->seq++;
	if (!a->dirty) {
		a->dirty = true;
		a->first_seq = s->seq;
		a->dirtied_ns = s->now_ns;
		if (!a->item)
			list_dirty(s, a);
	}
	if (!a->in_inode) {
		TAILQ_INSERT_TAIL(&c->inode->dirty, a, inode_link);
		a->in_inode = true;
		s->n_dirty++;
	}
	a->dirty_lo = MIN(a->dirty_lo, lo);
}

void chunkd_chunk_urgent(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_active *a = c->active;
	bool listed;

	if (!a || !a->dirty || a->urgent)
		return;
	listed = a->listed;
	unlist_dirty(s, a);
	a->urgent = true;
	if (listed)
		list_dirty(s, a);
}

void chunkd_chunk_undirty(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_active *a = c->active;

	unlist_dirty(s, a);
	a->dirty = a->urgent = false;
	a->dirty_lo = CHUNKD_NOT_DIRTY;
	if (a->in_inode)
		leave_inode(s, c->inode, a);
}

/* --- Waiting for durability -------------------------------------------------------------------- */

static bool pending(const struct chunkd_active *a, uint64_t seq)
{
	return (a->dirty && a->first_seq <= seq) || (a->item && a->item->first_seq <= seq);
}

static bool op_pending(const struct chunkd_inode *inode, const struct chunkd_op *op)
{
	struct chunkd_active *a;

	if (op->chunk)
		return op->chunk->inode && op->chunk->active &&
		       pending(op->chunk->active, op->wait_seq);
	TAILQ_FOREACH(a, &inode->dirty, inode_link)
		if (pending(a, op->wait_seq))
			return true;
	return false;
}

void chunkd_wait_durable(struct chunkd_store *s, struct chunkd_inode *inode, struct chunkd_chunk *c,
			 struct chunkd_op *op)
{
	struct chunkd_active *a;

	op->wait_seq = s->seq;
	op->chunk = c;
	if (!op_pending(inode, op)) {
		chunkd_op_finish(op, 0);
		return;
	}
	if (c) {
		c->refs++;
		chunkd_chunk_urgent(s, c);
	} else {
		TAILQ_FOREACH(a, &inode->dirty, inode_link)
			chunkd_chunk_urgent(s, a->chunk);
	}
	STAILQ_INSERT_TAIL(&inode->waiting, op, link);
}

void chunkd_store_sync(struct chunkd_store *s, struct chunkd_op *op)
{
	struct chunkd_inode *inode = chunkd_inode_find(s, op->ino);

	op->kind = CHUNKD_OP_SYNC;
	op->status = 0;
	op->remaining = 1;
	if (s->offline || !inode)
		chunkd_op_finish(op, s->offline);
	else
		chunkd_wait_durable(s, inode, NULL, op);
}

void chunkd_inode_mark(struct chunkd_store *s, struct chunkd_inode *inode)
{
	if (inode->marked)
		return;
	inode->marked = true;
	STAILQ_INSERT_TAIL(&s->marked, inode, mark);
}

static void answer_inode(struct chunkd_store *s, struct chunkd_inode *inode)
{
	struct chunkd_op_queue done = STAILQ_HEAD_INITIALIZER(done), still;
	struct chunkd_op *op;

	STAILQ_INIT(&still);
	while ((op = STAILQ_FIRST(&inode->waiting))) {
		STAILQ_REMOVE_HEAD(&inode->waiting, link);
		if (!s->offline && op_pending(inode, op))
			STAILQ_INSERT_TAIL(&still, op, link);
		else
			STAILQ_INSERT_TAIL(&done, op, link);
	}
	STAILQ_CONCAT(&inode->waiting, &still);
	chunkd_inode_settle(s, inode);
	while ((op = STAILQ_FIRST(&done))) {
		struct chunkd_chunk *c = op->chunk;

		STAILQ_REMOVE_HEAD(&done, link);
		chunkd_op_finish(op, s->offline);
		if (c)
			chunkd_chunk_unref(s, c);
	}
}

void chunkd_answer_durable(struct chunkd_store *s)
{
	struct chunkd_inode *inode;

	while ((inode = STAILQ_FIRST(&s->marked))) {
		STAILQ_REMOVE_HEAD(&s->marked, mark);
		inode->marked = false;
		answer_inode(s, inode);
	}
}

/* --- The last stage ---------------------------------------------------------------------------- */

static void item_done(struct chunkd_store *s, struct chunkd_item *item)
{
	struct chunkd_chunk *c = item->chunk;
	struct chunkd_active *a = c->active;
	struct chunkd_inode *inode = c->inode;

	if (item->change.old_place && item->change.old_place != item->change.row.place)
		chunkd_slabs_release(s->slabs, item->change.old_place);
	c->place = item->change.row.place;
	a->disk_len = item->change.row.len;
	a->item = NULL;
	if (inode) {
		chunkd_inode_mark(s, inode);
		if (a->dirty)
			list_dirty(s, a);
		else
			leave_inode(s, inode, a);
		if (c->mem && a->dirty_lo == CHUNKD_NOT_DIRTY)
			chunkd_block_set_clean(c->mem, true);
	}
	if (item->mem)
		chunkd_block_unref(item->mem);
	free(item);
	chunkd_chunk_unref(s, c);
}

static void batch_finish(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;
	struct chunkd_item *item;
	struct chunkd_chunk *c;

	CHUNKD_COUNT(s, commits, 1);
	CHUNKD_COUNT(s, commit_rows, b->n_changes);
	while ((item = b->items)) {
		b->items = item->next;
		item_done(s, item);
	}
	while ((c = STAILQ_FIRST(&b->removed))) {
		STAILQ_REMOVE_HEAD(&b->removed, removed);
		chunkd_slabs_release(s->slabs, c->place);
		c->place = 0;
		chunkd_op_finish(c->remove_op, 0);
		chunkd_chunk_unref(s, c);
	}
}

static void batch_free(struct chunkd_batch *b)
{
	free(b->syncs);
	free(b->changes);
	free(b);
}

/* After an error nothing moves on: the target is offline, and its chunks stay as they are. */
static void batch_abandon(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;
	struct chunkd_item *item;
	struct chunkd_chunk *c;

	while ((item = b->items)) {
		b->items = item->next;
		if (item->mem)
			chunkd_block_unref(item->mem);
		item->chunk->active->item = NULL;
		if (item->chunk->inode)
			leave_inode(s, item->chunk->inode, item->chunk->active);
		chunkd_chunk_unref(s, item->chunk);
		free(item);
	}
	while ((c = STAILQ_FIRST(&b->removed))) {
		STAILQ_REMOVE_HEAD(&b->removed, removed);
		chunkd_op_finish(c->remove_op, s->offline);
		chunkd_chunk_unref(s, c);
	}
}

static void batch_end(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;

	STAILQ_REMOVE(&s->batches, b, chunkd_batch, link);
	s->n_batches--;
	if (b->status < 0)
		chunkd_store_fail(s, b->status, "cannot write out");
	if (s->offline)
		batch_abandon(b);
	else
		batch_finish(b);
	batch_free(b);
	b = STAILQ_FIRST(&s->batches);
	if (b && b->synced)
		batch_synced(b);
}

static void commit_run(struct chunkd_job *job)
{
	struct chunkd_batch *b = CONTAINER_OF(job, struct chunkd_batch, job);

	b->status = chunkd_index_commit(b->store->index, b->changes, b->n_changes);
}

static void commit_done(struct chunkd_job *job)
{
	batch_end(CONTAINER_OF(job, struct chunkd_batch, job));
}

/* The slots are safe: the rows may follow, if it is this batch's turn. */
static void batch_synced(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;
	struct chunkd_chunk *c;
	size_t n = 0;

	b->synced = true;
	if (STAILQ_FIRST(&s->batches) != b)
		return;
	if (b->status < 0 || s->offline) {
		batch_end(b);
		return;
	}
	b->changes = calloc(b->n_items + b->n_removed, sizeof *b->changes);
	if (!b->changes) {
		b->status = -ENOMEM;
		batch_end(b);
		return;
	}
	STAILQ_FOREACH(c, &b->removed, removed)
		b->changes[n++].old_place = c->place;
	for (struct chunkd_item *item = b->items; item; item = item->next)
		b->changes[n++] = item->change;
	b->n_changes = n;
	b->job = (struct chunkd_job){ .run = commit_run, .done = commit_done };
	s->io->ops->job(s->io, &b->job);
}

/* --- Writing and syncing slots ----------------------------------------------------------------- */

static void sync_done(struct ff3_io *io, int res)
{
	struct batch_sync *sync = CONTAINER_OF(io, struct batch_sync, io);
	struct chunkd_batch *b = sync->batch;

	if (res < 0 && b->status == 0)
		b->status = res;
	if (--b->n_pending == 0)
		batch_synced(b);
}

static int collect_syncs(struct chunkd_batch *b)
{
	unsigned n = 0;

	b->syncs = calloc(b->n_items, sizeof *b->syncs);
	if (!b->syncs)
		return -ENOMEM;
	for (struct chunkd_item *item = b->items; item; item = item->next) {
		int fd = chunkd_slabs_fd(b->store->slabs, item->change.row.place);
		unsigned i = 0;

		if (!item->mem)
			continue;
		while (i < n && b->syncs[i].fd != fd)
			i++;
		if (i == n)
			b->syncs[n++] = (struct batch_sync){ .io.fn = sync_done, .batch = b, .fd = fd };
	}
	b->n_syncs = n;
	return 0;
}

static void batch_written(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;

	if (b->status == 0 && b->n_items)
		b->status = collect_syncs(b);
	if (b->status < 0 || b->n_syncs == 0) {
		batch_synced(b);
		return;
	}
	b->n_pending = b->n_syncs;
	for (unsigned i = 0; i < b->n_syncs; i++)
		s->io->ops->fdatasync(s->io, b->syncs[i].fd, &b->syncs[i].io);
}

static void item_write(struct chunkd_item *item)
{
	struct chunkd_store *s = item->store;
	uint64_t place = item->change.row.place;

	s->io->ops->write(s->io, chunkd_slabs_fd(s->slabs, place), item->mem->p + item->from,
			  item->to - item->from, chunkd_slabs_offset(place) + item->from,
			  &item->io);
}

static void item_written(struct ff3_io *io, int res)
{
	struct chunkd_item *item = CONTAINER_OF(io, struct chunkd_item, io);
	struct chunkd_batch *b = item->batch;

	/* Direct I/O goes on at a block's beginning. */
	if (res > 0)
		item->from += ROUND_DOWN((uint32_t)res, FF3_BLOCK);
	if (res >= (int)FF3_BLOCK && item->from < item->to) {
		item_write(item);
		return;
	}
	if (item->from < item->to && b->status == 0)
		b->status = res < 0 ? res : -EIO;
	if (--b->n_pending == 0)
		batch_written(b);
}

/* --- Cutting batches --------------------------------------------------------------------------- */

/* Decides how the chunk is written out and takes the slot for it. */
static void item_place(struct chunkd_store *s, struct chunkd_item *item, struct chunkd_active *a)
{
	struct chunkd_chunk *c = item->chunk;
	bool fits = c->place && chunkd_place_class(c->place) >= chunkd_shift_for(c->len);

	item->change.old_place = item->change.row.place = c->place;
	item->to = ROUND_UP(c->len, FF3_BLOCK);
	if (fits && a->dirty_lo >= c->len) {
		item->from = item->to;
	} else if (fits && a->dirty_lo >= a->disk_len) {
		item->from = ROUND_DOWN(a->disk_len, FF3_BLOCK);
	} else {
		item->from = 0;
		item->change.row.place = chunkd_slabs_take(s->slabs, a->reserved);
		a->reserved = 0;
	}
	if (a->reserved)
		chunkd_slabs_unreserve(s->slabs, a->reserved);
	a->reserved = 0;
}

static int item_new(struct chunkd_batch *b, struct chunkd_active *a)
{
	struct chunkd_store *s = b->store;
	struct chunkd_chunk *c = a->chunk;
	uint32_t n = chunkd_n_blocks(c->len);
	struct chunkd_item *item = malloc(sizeof *item + n * sizeof *item->crcs);

	if (!item)
		return -ENOMEM;
	*item = (struct chunkd_item){ .next = b->items,
				      .store = s,
				      .batch = b,
				      .chunk = c,
				      .first_seq = a->first_seq,
				      .io.fn = item_written };
	memcpy(item->crcs, c->crcs, n * sizeof *item->crcs);
	item->change.row = (struct chunkd_row){ .ino = c->inode->ino,
						.index = c->index,
						.len = c->len,
						.version = c->version,
						.chain_version = c->chain_version,
						.session = c->session,
						.seq = c->seq,
						.crcs = item->crcs };
	item_place(s, item, a);
	if (item->from < item->to) {
		item->mem = c->mem;
		item->mem->refs++;
		b->n_pending++;
		b->n_bytes += item->to - item->from;
	}
	unlist_dirty(s, a);
	a->dirty = a->urgent = false;
	a->dirty_lo = CHUNKD_NOT_DIRTY;
	a->item = item;
	c->refs++;
	b->items = item;
	b->n_items++;
	return 0;
}

static struct chunkd_active *next_due(struct chunkd_store *s)
{
	struct chunkd_active *a = TAILQ_FIRST(&s->urgent);

	if (a)
		return a;
	a = TAILQ_FIRST(&s->dirty);
	if (a && (s->drain || s->pressure || s->now_ns >= a->dirtied_ns + s->o.flush_ns))
		return a;
	return NULL;
}

static void batch_fill(struct chunkd_batch *b)
{
	struct chunkd_store *s = b->store;
	struct chunkd_active *a;
	struct chunkd_chunk *c;

	while (b->n_removed < CHUNKD_BATCH_CHUNKS * 4 && (c = STAILQ_FIRST(&s->removed))) {
		STAILQ_REMOVE_HEAD(&s->removed, removed);
		STAILQ_INSERT_TAIL(&b->removed, c, removed);
		b->n_removed++;
	}
	while (b->n_items < CHUNKD_BATCH_CHUNKS && b->n_bytes < CHUNKD_BATCH_BYTES &&
	       STAILQ_EMPTY(&s->removed) && (a = next_due(s)))
		if (item_new(b, a) < 0)
			break;
}

static bool batch_start(struct chunkd_store *s)
{
	struct chunkd_batch *b = calloc(1, sizeof *b);
	struct chunkd_item *next;

	if (!b)
		return false;
	b->store = s;
	STAILQ_INIT(&b->removed);
	batch_fill(b);
	if (b->n_items + b->n_removed == 0) {
		free(b);
		return false;
	}
	STAILQ_INSERT_TAIL(&s->batches, b, link);
	s->n_batches++;
	CHUNKD_COUNT(s, write_disk_bytes, b->n_bytes);
	if (b->n_pending == 0) {
		batch_written(b);
		return true;
	}
	for (struct chunkd_item *item = b->items; item; item = next) {
		next = item->next;
		if (item->mem)
			item_write(item);
	}
	return true;
}

void chunkd_flush_pump(struct chunkd_store *s)
{
	uint64_t unclean = chunkd_arena_used(s->arena) - chunkd_arena_clean(s->arena);

	if (s->offline)
		return;
	s->pressure = unclean > chunkd_arena_size(s->arena) / 4 ||
		      !TAILQ_EMPTY(&s->memory_waiters) || !TAILQ_EMPTY(&s->read_waiters);
	while (s->n_batches < CHUNKD_MAX_BATCHES &&
	       (!STAILQ_EMPTY(&s->removed) || next_due(s)) && batch_start(s))
		;
}
