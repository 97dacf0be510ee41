/* Reading chunks: from memory if they are there, else just the 4 KiB blocks in question from disk.
 *
 * Disk reads lock nothing. A slot may be freed and given to another chunk while it is read: when
 * the bytes are here, the chunk must still have the version and place that it had, or the read
 * begins again. So writers never wait for readers, and slots are free at once.
 *
 * What comes into memory: a chunk that was read whole twice, a chunk that is read sequentially
 * in small pieces, and one whose disk reads have cost as much as loading it would have (ski
 * rental: one small read costs about as much as 16 KiB of a large one). A plain "second touch"
 * rule would make random small readers load 256 times what they ask for. The counters are of an
 * epoch, which lasts as many bytes of disk reads as the memory tier has.
 *
 * Checksums: a client that says that it compares what it gets does so instead of us, which spares a pass over
 * bytes that no cache has yet. If they are wrong it asks again without saying so; then, as for everybody else, they
 * are compared here, and damage is found, counted and answered.
 *
 * Hot path: a read from memory allocates nothing, logs nothing and takes no lock.
 * Threads: the store's. */
#include "expose.h"
#include "store_impl.h"

/* Sequential pieces larger than this gain nothing from loading the chunk. */
#define SMALL_READ FF3_KIB(64)
#define RENTAL_SHIFT 14
/* A dying disk must not fill the log. */
#define BAD_LOGGED 20
/* So many pieces in sequence are no chance: one of 256 random reads follows its predecessor. */
#define SEQUENTIAL_RUN 2

struct chunkd_load {
	struct chunkd_store *store;
	struct chunkd_chunk *chunk; /* referenced */
	struct chunkd_block *block;
	uint64_t place, version;
	uint32_t got, to;
	struct ff3_io io;
	struct chunkd_read_list reads; /* to go on afterwards */
	TAILQ_HEAD(, chunkd_expose) exposes;
};

static void read_start(struct chunkd_store *s, struct chunkd_read *rd);

static void read_finish(struct chunkd_store *s, struct chunkd_read *rd, int status)
{
	rd->status = status;
	CHUNKD_COUNT(s, reads, 1);
	CHUNKD_COUNT(s, read_bytes, rd->length);
	rd->done(rd);
}

static void read_fail(struct chunkd_store *s, struct chunkd_read *rd, int status)
{
	rd->block = NULL;
	rd->length = 0;
	rd->n_crcs = 0;
	read_finish(s, rd, status);
}

void chunkd_chunk_damaged(struct chunkd_store *s, struct chunkd_chunk *c, int r)
{
	if (r == FF3_E_CHECKSUM)
		CHUNKD_COUNT(s, checksum_errors, 1);
	else
		CHUNKD_COUNT(s, read_errors, 1);
	if (c->bad)
		return;
	c->bad = true;
	CHUNKD_COUNT(s, bad_chunks, 1);
	if (s->stats.bad_chunks <= BAD_LOGGED)
		ff3_log_errno(r, "chunk %" PRIu64 ".%u of %s is damaged%s", c->inode->ino, c->index,
			      s->dir,
			      s->stats.bad_chunks == BAD_LOGGED ? " (more are only counted)" : "");
}

/* Fills the results from bytes that are the chunk's, data being those at rd->offset. */
static void read_deliver(struct chunkd_store *s, struct chunkd_read *rd, struct chunkd_chunk *c,
			 const uint8_t *data)
{
	uint32_t pos = rd->offset, end = rd->offset + rd->length, n = 0;

	while (pos < end) {
		uint32_t block = pos / FF3_BLOCK, from = block * FF3_BLOCK;
		uint32_t to = MIN(from + FF3_BLOCK, end);

		if (pos == from && (to == from + FF3_BLOCK || to == c->len))
			rd->crcs[n++] = c->crcs[block];
		else
			rd->crcs[n++] = ff3_crc32c(0, data + (pos - rd->offset), to - pos);
		pos = to;
	}
	rd->n_crcs = n;
	rd->data = data;
	rd->chunk_size = c->len;
	rd->version = c->version;
	read_finish(s, rd, 0);
}

/* Whether the blocks of [from, to), at data, are as they were written. from is of the grid. */
static bool blocks_intact(const struct chunkd_chunk *c, const uint8_t *data, uint32_t from,
			  uint32_t to)
{
	for (uint32_t pos = from; pos < to && pos < c->len; pos += FF3_BLOCK)
		if (ff3_crc32c(0, data + (pos - from), MIN(FF3_BLOCK, c->len - pos)) !=
		    c->crcs[pos / FF3_BLOCK])
			return false;
	return true;
}

/* Whether it stays in memory. */
static bool is_kept(const struct chunkd_chunk *c, const struct chunkd_read *rd)
{
	return rd->block && rd->from == 0 && rd->to >= c->len && rd->again && !c->mem;
}

/* Of what was read. Blocks of which a part is delivered nobody else can compare, nor what is delivered later, from
 * memory. */
static bool read_intact(const struct chunkd_chunk *c, const struct chunkd_read *rd)
{
	uint32_t end = rd->offset + rd->length, first = ROUND_UP(rd->offset, FF3_BLOCK);
	uint32_t last = end == c->len ? rd->to : ROUND_DOWN(end, FF3_BLOCK);

	if (!rd->compares || is_kept(c, rd) || first >= last)
		return blocks_intact(c, rd->raw, rd->from, rd->to);
	return blocks_intact(c, rd->raw, rd->from, first) &&
	       blocks_intact(c, rd->raw + (last - rd->from), last, rd->to);
}

static bool same_bytes(const struct chunkd_chunk *c, uint64_t version, uint64_t place)
{
	return c->inode && c->version == version && c->place == place;
}

/* --- Loading whole chunks ---------------------------------------------------------------------- */

static void load_continue(struct chunkd_load *l)
{
	struct chunkd_store *s = l->store;

	s->io->ops->read(s->io, chunkd_slabs_fd(s->slabs, l->place), l->block->p + l->got,
			 l->to - l->got, chunkd_slabs_offset(l->place) + l->got, &l->io);
}

static int load_check(struct chunkd_load *l, int res)
{
	struct chunkd_chunk *c = l->chunk;

	if (!same_bytes(c, l->version, l->place))
		return -EAGAIN;
	if (res <= 0)
		return res < 0 ? res : -EIO;
	return blocks_intact(c, l->block->p, 0, c->len) ? 0 : FF3_E_CHECKSUM;
}

static void load_done(struct ff3_io *io, int res)
{
	struct chunkd_load *l = CONTAINER_OF(io, struct chunkd_load, io);
	struct chunkd_store *s = l->store;
	struct chunkd_chunk *c = l->chunk;
	struct chunkd_expose *x;
	struct chunkd_read *rd;
	int r;

	if (res > 0) {
		l->got += ROUND_DOWN((uint32_t)res, FF3_BLOCK);
		if (l->got < l->to && res >= (int)FF3_BLOCK &&
		    same_bytes(c, l->version, l->place)) {
			load_continue(l);
			return;
		}
	}
	r = load_check(l, l->got < l->to ? MIN(res, 0) : 1);
	s->n_io--;
	c->active->load = NULL;
	CHUNKD_COUNT(s, read_disk_bytes, l->got);
	if (r == 0 && !c->mem) {
		c->mem = l->block;
		chunkd_block_own(l->block, c);
		chunkd_block_set_clean(l->block, true);
		CHUNKD_COUNT(s, loads, 1);
	} else if (r != 0 && r != -EAGAIN) {
		chunkd_chunk_damaged(s, c, r);
		if (!STAILQ_EMPTY(&c->active->queue))
			c->active->load_error = r;
	}
	chunkd_block_unref(l->block);
	while ((rd = TAILQ_FIRST(&l->reads))) {
		TAILQ_REMOVE(&l->reads, rd, link);
		/* The blocks it wants may be good although another one is not. */
		rd->direct = r != 0;
		read_start(s, rd);
	}
	while ((x = TAILQ_FIRST(&l->exposes))) {
		TAILQ_REMOVE(&l->exposes, x, link);
		if (r == 0 || r == -EAGAIN)
			chunkd_expose_start(s, x);
		else
			chunkd_expose_fail(x, r);
	}
	free(l);
	chunkd_chunk_run(s, c);
	chunkd_chunk_unref(s, c);
}

int chunkd_load_start(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_load *l;

	if (chunkd_chunk_activate(c) < 0)
		return -ENOMEM;
	if (c->active->load)
		return 0;
	l = calloc(1, sizeof *l);
	if (!l) {
		chunkd_chunk_settle(s, c);
		return -ENOMEM;
	}
	l->block = chunkd_arena_alloc(s->arena, c->len);
	if (!l->block) {
		free(l);
		chunkd_chunk_settle(s, c);
		return -EAGAIN;
	}
	l->store = s;
	l->chunk = c;
	l->place = c->place;
	l->version = c->version;
	l->to = ROUND_UP(c->len, FF3_BLOCK);
	l->io.fn = load_done;
	TAILQ_INIT(&l->reads);
	TAILQ_INIT(&l->exposes);
	c->active->load = l;
	c->refs++;
	s->n_io++;
	load_continue(l);
	return 0;
}

void chunkd_load_then_expose(struct chunkd_chunk *c, struct chunkd_expose *x)
{
	TAILQ_INSERT_TAIL(&c->active->load->exposes, x, link);
}

/* --- Reading pieces ---------------------------------------------------------------------------- */

/* Counts this read and tells whether it should wait for the whole chunk instead. */
static bool worth_loading(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_read *rd)
{
	bool sequential = rd->offset && rd->offset == c->last_end && rd->length <= SMALL_READ;
	bool whole = rd->offset == 0 && rd->length == c->len;
	uint32_t cost = MAX(rd->length >> RENTAL_SHIFT, 1u), spent;

	if (s->cold_bytes > chunkd_arena_size(s->arena)) {
		s->cold_bytes = 0;
		s->epoch++;
	}
	if (c->heat_epoch != s->epoch) {
		c->heat_epoch = s->epoch;
		c->heat = 0;
	}
	spent = c->heat;
	rd->again = spent > 0;
	c->heat = (uint16_t)MIN(spent + cost, (uint32_t)UINT16_MAX);
	c->last_end = rd->offset + rd->length;
	c->run = sequential ? MIN(c->run + 1, SEQUENTIAL_RUN) : 0;
	s->cold_bytes += (uint64_t)cost << RENTAL_SHIFT;
	if (whole || rd->direct)
		return false;
	/* One pass in large pieces does not reach this. */
	return c->run >= SEQUENTIAL_RUN || spent >= MAX(c->len >> RENTAL_SHIFT, 1u);
}

static void disk_continue(struct chunkd_read *rd)
{
	struct chunkd_store *s = rd->store;

	s->io->ops->read(s->io, chunkd_slabs_fd(s->slabs, rd->place), rd->raw + rd->got,
			 rd->to - rd->from - rd->got,
			 chunkd_slabs_offset(rd->place) + rd->from + rd->got, &rd->io);
}

static void disk_done(struct ff3_io *io, int res)
{
	struct chunkd_read *rd = CONTAINER_OF(io, struct chunkd_read, io);
	struct chunkd_store *s = rd->store;
	struct chunkd_chunk *c = rd->chunk;
	uint32_t n = rd->to - rd->from;
	bool same = same_bytes(c, rd->seen_version, rd->place);
	int r = 0;

	if (res > 0)
		rd->got += ROUND_DOWN((uint32_t)res, FF3_BLOCK);
	if (same && rd->got < n && res >= (int)FF3_BLOCK) {
		disk_continue(rd);
		return;
	}
	s->n_io--;
	CHUNKD_COUNT(s, read_disk_bytes, rd->got);
	if (same && rd->got == n && !read_intact(c, rd))
		r = FF3_E_CHECKSUM;
	/* Memory that the client can write to proves nothing about the disk. */
	if (!same || (r < 0 && !rd->block)) {
		if (rd->block)
			chunkd_block_unref(rd->block);
		rd->dest = same ? NULL : rd->dest;
		rd->block = NULL;
		chunkd_chunk_unref(s, c);
		read_start(s, rd);
		return;
	}
	if (rd->got < n)
		r = res < 0 ? res : -EIO;
	if (r < 0) {
		chunkd_chunk_damaged(s, c, r);
		if (rd->block)
			chunkd_block_unref(rd->block);
		read_fail(s, rd, r);
	} else {
		if (is_kept(c, rd)) {
			c->mem = rd->block;
			chunkd_block_own(rd->block, c);
			chunkd_block_set_clean(rd->block, true);
		}
		read_deliver(s, rd, c, rd->raw + (rd->offset - rd->from));
	}
	chunkd_chunk_unref(s, c);
}

static void disk_start(struct chunkd_store *s, struct chunkd_read *rd, struct chunkd_chunk *c)
{
	bool whole;

	rd->from = ROUND_DOWN(rd->offset, FF3_BLOCK);
	rd->to = ROUND_UP(rd->offset + rd->length, FF3_BLOCK);
	if (worth_loading(s, c, rd) && chunkd_load_start(s, c) == 0) {
		TAILQ_INSERT_TAIL(&c->active->load->reads, rd, link);
		return;
	}
	/* What will stay in memory is read there at once. */
	whole = rd->from == 0 && rd->to >= c->len && rd->again;
	rd->block = NULL;
	rd->raw = rd->dest;
	if (!rd->dest || rd->to - rd->from > rd->dest_len || whole)
		rd->block = chunkd_arena_alloc(s->arena, rd->to - rd->from);
	if (rd->block)
		rd->raw = rd->block->p;
	if (!rd->block && (!rd->dest || rd->to - rd->from > rd->dest_len)) {
		TAILQ_INSERT_TAIL(&s->read_waiters, rd, link);
		return;
	}
	rd->chunk = c;
	rd->place = c->place;
	rd->seen_version = c->version;
	rd->got = 0;
	rd->io.fn = disk_done;
	c->refs++;
	s->n_io++;
	disk_continue(rd);
}

/* Also after a wait, in which the chunk may have changed: all is decided anew. */
static void read_start(struct chunkd_store *s, struct chunkd_read *rd)
{
	struct chunkd_chunk *c = s->offline ? NULL : chunkd_chunk_find(s, rd->ino, rd->index);

	if (s->offline) {
		read_fail(s, rd, s->offline);
		return;
	}
	if (!c || rd->offset >= c->len || rd->want == 0) {
		rd->chunk_size = c ? c->len : 0;
		rd->version = c ? c->version : 0;
		read_fail(s, rd, 0);
		return;
	}
	rd->length = MIN(rd->want, c->len - rd->offset);
	if (c->mem) {
		rd->block = chunkd_block_ref(c->mem);
		CHUNKD_COUNT(s, read_memory, 1);
		read_deliver(s, rd, c, c->mem->p + rd->offset);
	} else {
		disk_start(s, rd, c);
	}
}

void chunkd_read_retry(struct chunkd_store *s)
{
	struct chunkd_read *rd;
	size_t n = 0;

	TAILQ_FOREACH(rd, &s->read_waiters, link)
		n++;
	while (n-- > 0 && (rd = TAILQ_FIRST(&s->read_waiters))) {
		TAILQ_REMOVE(&s->read_waiters, rd, link);
		read_start(s, rd);
	}
}

void chunkd_store_read(struct chunkd_store *s, struct chunkd_read *rd)
{
	rd->store = s;
	rd->direct = false;
	rd->waits_ns = 0;
	rd->block = NULL;
	rd->want = rd->length;
	read_start(s, rd);
}
