/* Writing into chunks, in memory. Write-out is flush.c's.
 *
 * Writes and cuts of one chunk are applied in the order they came; the queue's first may have to
 * wait: for the chunk's old bytes from disk, for memory, for a slab to grow. It is tried again
 * from its beginning then, so every step asks whether it is needed still. Nothing of a write is
 * visible before all of it is: the last step, which cannot wait, changes the chunk.
 *
 * A payload that replaces the whole chunk becomes the chunk's memory as it is. Another one is
 * merged; and memory that is being sent or written out is never changed: the chunk gets a copy.
 *
 * Space is promised before a write is accepted: a new chunk, a chunk that outgrows its slot and
 * one whose bytes on disk change will need a slot when they are written out.
 *
 * Threads: the store's. */
#include "store_impl.h"

#define PATIENCE_NS FF3_NSEC_PER_SEC

void chunkd_op_finish(struct chunkd_op *op, int status)
{
	if (status < 0 && op->status == 0)
		op->status = status;
	if (--op->remaining)
		return;
	if (op->payload)
		chunkd_block_unref(TAKE_PTR(op->payload));
	op->done(op);
}

/* --- Waiting ----------------------------------------------------------------------------------- */

int chunkd_chunk_wait_memory(struct chunkd_store *s, struct chunkd_chunk *c)
{
	c->active->wants_memory = true;
	TAILQ_INSERT_TAIL(&s->memory_waiters, c->active, wait_link);
	return -EINPROGRESS;
}

int chunkd_chunk_wait_space(struct chunkd_store *s, struct chunkd_chunk *c)
{
	c->active->wants_space = true;
	TAILQ_INSERT_TAIL(&s->space_waiters, c->active, wait_link);
	return -EINPROGRESS;
}

void chunkd_chunk_unwait(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_active *a = c->active;

	if (a->wants_memory)
		TAILQ_REMOVE(&s->memory_waiters, a, wait_link);
	if (a->wants_space)
		TAILQ_REMOVE(&s->space_waiters, a, wait_link);
	a->wants_memory = a->wants_space = false;
}

static void retry(struct chunkd_store *s, struct chunkd_active_list *list)
{
	struct chunkd_active *a;
	size_t n = 0;

	/* Those that must wait again go to the end, in order. */
	TAILQ_FOREACH(a, list, wait_link)
		n++;
	while (n-- > 0 && (a = TAILQ_FIRST(list))) {
		chunkd_chunk_run(s, a->chunk);
	}
}

/* Nothing is under way that could free memory for the first waiter, and has not been for a while:
 * what is left is pinned by receivers that are slow, but move. Its sender may try again. */
static void give_up_first(struct chunkd_store *s)
{
	struct chunkd_chunk *c = TAILQ_FIRST(&s->memory_waiters)->chunk;
	struct chunkd_op *op = STAILQ_FIRST(&c->active->queue);

	c->refs++;
	STAILQ_REMOVE_HEAD(&c->active->queue, link);
	chunkd_op_finish(op, -ENOMEM);
	chunkd_chunk_run(s, c);
	chunkd_chunk_unref(s, c);
}

void chunkd_retry_waiters(struct chunkd_store *s)
{
	if (s->space_changed) {
		s->space_changed = false;
		retry(s, &s->space_waiters);
	}
	if (TAILQ_EMPTY(&s->memory_waiters))
		return;
	retry(s, &s->memory_waiters);
	if (!TAILQ_EMPTY(&s->memory_waiters) && s->n_dirty == 0 && s->n_batches == 0 &&
	    s->n_io == 0 && s->now_ns - MIN(chunkd_store_waits_since(s), s->now_ns) >= PATIENCE_NS)
		give_up_first(s);
}

void chunkd_chunk_run(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_active *a = c->active;
	struct chunkd_op *op;

	if (!a || a->running)
		return;
	chunkd_chunk_unwait(s, c);
	a->running = true;
	a->waiting = false;
	while ((op = STAILQ_FIRST(&a->queue))) {
		int r = s->offline;

		if (r == 0)
			r = op->kind == CHUNKD_OP_CUT ? chunkd_cut_try(s, c, op) :
							chunkd_write_try(s, c, op);
		if (r == -EINPROGRESS) {
			a->waiting = true;
			break;
		}
		a->load_error = 0;
		STAILQ_REMOVE_HEAD(&a->queue, link);
		if (r == 0 && op->sync)
			chunkd_wait_durable(s, c->inode, c, op);
		else
			chunkd_op_finish(op, r);
	}
	a->running = false;
	chunkd_chunk_settle(s, c);
}

void chunkd_chunk_enqueue(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op)
{
	if (chunkd_chunk_activate(c) < 0) {
		chunkd_op_finish(op, -ENOMEM);
		chunkd_chunk_settle(s, c);
		return;
	}
	STAILQ_INSERT_TAIL(&c->active->queue, op, link);
	if (!c->active->waiting)
		chunkd_chunk_run(s, c);
}

void chunkd_op_dispatch(struct chunkd_store *s, struct chunkd_op *op)
{
	struct chunkd_chunk *c = chunkd_chunk_find(s, op->ino, op->index);

	if (!c && chunkd_chunk_add(s, op->ino, op->index, &c) < 0)
		chunkd_op_finish(op, -ENOMEM);
	else
		chunkd_chunk_enqueue(s, c, op);
}

/* --- The write --------------------------------------------------------------------------------- */

/* Has a slot promised if writing out bytes from lo on, the chunk then being len long, needs one. */
static int promise(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t lo, uint32_t len)
{
	struct chunkd_active *a = c->active;
	struct chunkd_row row = { .place = c->place, .len = a->disk_len };
	uint8_t class = chunkd_shift_for(len);
	bool exists = c->len > 0 || c->place;
	int r;

	if (a->item)
		row = a->item->change.row;
	if (row.place && chunkd_place_class(row.place) >= class && MIN(lo, a->dirty_lo) >= row.len)
		return 0; /* goes behind what is on disk, in the same slot */
	if (a->reserved >= class)
		return 0;
	r = chunkd_slabs_reserve(s->slabs, class, exists);
	if (r < 0)
		return r;
	if (a->reserved)
		chunkd_slabs_unreserve(s->slabs, a->reserved);
	a->reserved = class;
	return 0;
}

static void fill_zero(struct chunkd_block *b, uint32_t from, uint32_t to)
{
	if (from < to)
		memset(b->p + from, 0, to - from);
}

/* Gives c memory of its own for len bytes, with its old contents. */
static int memory_for_merge(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t len)
{
	struct chunkd_block *b;

	if (c->mem && c->mem->refs == 0 && chunkd_block_size(c->mem) >= len)
		return 0;
	/* The old contents must not be evicted for the new ones. */
	if (c->mem)
		c->mem->refs++;
	b = chunkd_arena_alloc(s->arena, len);
	if (c->mem)
		c->mem->refs--;
	if (!b)
		return -EAGAIN;
	if (c->mem)
		memcpy(b->p, c->mem->p, c->len);
	chunkd_block_own(b, c);
	chunkd_block_disown(c->mem);
	c->mem = b;
	b->refs--;
	return 0;
}

static uint32_t le32_at(const void *p, size_t i)
{
	const uint8_t *b = (const uint8_t *)p + 4 * i;

	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Checksums of the blocks that a change of [lo, len) touched; those that the payload covers come
 * with it. */
static void update_crcs(struct chunkd_chunk *c, const struct chunkd_op *op, uint32_t lo)
{
	uint32_t end = op->offset + op->length, last = MAX(end, lo);

	for (uint32_t block = lo / FF3_BLOCK; block * FF3_BLOCK < last; block++) {
		uint32_t from = block * FF3_BLOCK, to = MIN(from + FF3_BLOCK, c->len);

		if (from >= op->offset && to <= end)
			c->crcs[block] = le32_at(op->crcs, block - op->offset / FF3_BLOCK);
		else
			c->crcs[block] = ff3_crc32c(0, c->mem->p + from, to - from);
	}
}

static void apply(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op)
{
	uint32_t end = op->offset + op->length, old_len = c->len, len = MAX(old_len, end);
	uint32_t lo = MIN(op->offset, old_len);

	if (op->payload && op->offset == 0 && op->length >= old_len) {
		struct chunkd_block *b = op->payload;

		chunkd_block_disown(c->mem);
		c->mem = b;
		chunkd_block_own(b, c);
		b->refs--;
		op->payload = NULL;
	} else {
		chunkd_block_set_clean(c->mem, false);
		fill_zero(c->mem, old_len, op->offset);
		memcpy(c->mem->p + op->offset, op->payload->p, op->length);
	}
	if (end == len)
		fill_zero(c->mem, len, ROUND_UP(len, FF3_BLOCK));
	c->len = len;
	update_crcs(c, op, lo);
	c->version++;
	c->chain_version = op->chain_version;
	if (op->seq) {
		c->session = op->session;
		c->seq = op->seq;
	}
	CHUNKD_COUNT(s, writes, 1);
	CHUNKD_COUNT(s, write_bytes, op->length);
	chunkd_chunk_dirty(s, c, lo);
	/* A chunk that has just been filled will hardly change soon: begin to write it out. */
	if (len > old_len && len >= FF3_CHUNK_SIZE_MIN && (len & (len - 1)) == 0)
		chunkd_chunk_urgent(s, c);
}

int chunkd_write_try(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op)
{
	uint32_t len = MAX(c->len, op->offset + op->length);
	bool whole = op->offset == 0 && op->length >= c->len;
	int r;

	if (op->seq && c->session == op->session && c->seq == op->seq) {
		CHUNKD_COUNT(s, write_repeats, 1);
	} else if (op->length > 0) {
		if (op->chain_version < c->chain_version)
			return FF3_E_CHAIN_VERSION;
		if (!chunkd_chunk_end_exposure(c))
			return -EINPROGRESS;
		r = promise(s, c, MIN(op->offset, c->len), len);
		if (r == -EAGAIN)
			return chunkd_chunk_wait_space(s, c);
		if (r == -ENOSPC)
			CHUNKD_COUNT(s, no_space, 1);
		if (r < 0)
			return r;
		if (!whole && c->len && !c->mem) {
			r = c->active->load_error ? c->active->load_error : chunkd_load_start(s, c);
			if (r == -EAGAIN)
				return chunkd_chunk_wait_memory(s, c);
			return r < 0 ? r : -EINPROGRESS;
		}
		r = whole ? 0 : memory_for_merge(s, c, len);
		if (r == -EAGAIN)
			return chunkd_chunk_wait_memory(s, c);
		r = chunkd_chunk_set_crcs(s, c, chunkd_n_blocks(len));
		if (r < 0)
			return r;
		apply(s, c, op);
	}
	op->chunk_size = c->len;
	op->version = c->version;
	return 0;
}

/* Checks each piece that the 4 KiB grid cuts the payload into. */
static bool payload_intact(const struct chunkd_op *op)
{
	uint32_t pos = op->offset, end = op->offset + op->length;
	bool intact = true;

	for (size_t i = 0; pos < end; i++) {
		uint32_t to = MIN(end, ROUND_DOWN(pos, FF3_BLOCK) + FF3_BLOCK);

		intact &= ff3_crc32c(0, op->payload->p + (pos - op->offset), to - pos) ==
			  le32_at(op->crcs, i);
		pos = to;
	}
	return intact;
}

void chunkd_store_write(struct chunkd_store *s, struct chunkd_op *op)
{
	op->kind = CHUNKD_OP_WRITE;
	op->status = 0;
	op->remaining = 1;
	if (s->offline) {
		chunkd_op_finish(op, s->offline);
	} else if (!payload_intact(op)) {
		CHUNKD_COUNT(s, payload_errors, 1);
		chunkd_op_finish(op, -EBADMSG);
	} else {
		chunkd_op_dispatch(s, op);
	}
}
