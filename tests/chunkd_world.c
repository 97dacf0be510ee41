/* See chunkd_world.h. */
#include "chunkd_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

/* A crash leaves operations behind that nobody will free. */
EXPORT const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

unsigned rnd(struct world *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

/* --- World --------------------------------------------------------------------------------------- */

static void on_idle(void *arg)
{
	struct world *w = arg;

	chunkd_store_pump(w->store, w->now);
	if (w->awaited ? *w->awaited : chunkd_store_idle(w->store))
		ff3_loop_stop(w->loop);
}

void world_open(struct world *w)
{
	const struct chunkd_store_options o = { .dir = w->dir,
						.node = 1,
						.capacity = w->capacity,
						.memory = FF3_MIB(64),
						.flush_ns = FLUSH_NS,
						.prewrite = w->prewrite };
	struct chunkd_arena *arena;

	ck_assert_int_eq(chunkd_store_new(&o, &w->store), 0);
	if (w->on_ring) {
		arena = chunkd_store_arena(w->store);
		ck_assert_int_eq(ff3_loop_new(64, &w->loop), 0);
		ff3_loop_set_idle(w->loop, on_idle, w);
		ck_assert_int_eq(chunkd_io_uring_new(w->loop, &w->ring), 0);
		(void)ff3_loop_register_memory(w->loop, chunkd_arena_base(arena),
					       chunkd_arena_size(arena));
	}
	ck_assert_int_eq(chunkd_store_start(w->store, w->ring ? w->ring : &w->sync.io), 0);
}

void world_close(struct world *w)
{
	chunkd_store_free(w->store);
	chunkd_io_uring_free(TAKE_PTR(w->ring));
	ff3_loop_free(TAKE_PTR(w->loop));
}

void world_new(struct world *w, unsigned seed)
{
	memset(w, 0, sizeof *w);
	w->seed = seed;
	w->capacity = FF3_MIB(64);
	snprintf(w->dir, sizeof w->dir, "%s/ff3-store-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	chunkd_sync_init(&w->sync, seed);
	for (int i = 0; i < N_INOS; i++)
		for (int k = 0; k < N_CHUNKS; k++)
			w->chunks[i][k].n = 1;
	world_open(w);
}

static void drop_states(struct model_chunk *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(m->states[i].data);
	memmove(m->states, m->states + n, (m->n - n) * sizeof m->states[0]);
	m->n -= n;
}

void world_free(struct world *w)
{
	DIR *d = opendir(w->dir);

	world_close(w);
	for (struct dirent *e; (e = readdir(d));)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(w->dir);
	chunkd_sync_done(&w->sync);
	for (int i = 0; i < N_INOS; i++)
		for (int k = 0; k < N_CHUNKS; k++)
			drop_states(&w->chunks[i][k], w->chunks[i][k].n);
}

void drive(struct world *w, uint64_t later)
{
	w->now += later;
	do
		chunkd_store_pump(w->store, w->now);
	while (chunkd_sync_step(&w->sync));
}

void restart(struct world *w)
{
	chunkd_store_drain(w->store);
	w->awaited = NULL;
	if (w->loop)
		ck_assert_int_eq(ff3_loop_run(w->loop), 0);
	drive(w, 0);
	ck_assert(chunkd_store_idle(w->store));
	world_close(w);
	world_open(w);
}

/* --- Operations ----------------------------------------------------------------------------------- */

void op_done(struct chunkd_op *op)
{
	ck_assert_ptr_null(op->payload);
	*(bool *)op->user = true;
}

bool finish(struct world *w, const bool *done)
{
	w->awaited = done;
	if (w->loop && !*done)
		ck_assert_int_eq(ff3_loop_run(w->loop), 0);
	for (int i = 0; !*done && !w->sync.crashed && i < 100; i++)
		drive(w, 0);
	if (!w->sync.crashed)
		ck_assert(*done);
	return *done;
}

uint32_t make_crcs(uint32_t *crcs, const uint8_t *data, uint32_t offset, uint32_t len)
{
	uint32_t pos = offset, n = 0;

	while (pos < offset + len) {
		uint32_t to = MIN(offset + len, ROUND_DOWN(pos, FF3_BLOCK) + FF3_BLOCK);

		crcs[n++] = ff3_crc32c(0, data + (pos - offset), to - pos);
		pos = to;
	}
	return n;
}

static struct state *current(struct model_chunk *m)
{
	return &m->states[m->n - 1];
}

static void model_push(struct model_chunk *m, const struct state *s)
{
	if (m->n == N_STATES)
		drop_states(m, N_STATES / 2); /* so old that the timer has written them out */
	m->states[m->n++] = *s;
}

static void model_write(struct model_chunk *m, const uint8_t *data, uint32_t offset, uint32_t len)
{
	const struct state *old = current(m);
	struct state s = { MAX(old->len, offset + len), calloc(1, MAX(old->len, offset + len)) };

	if (old->len)
		memcpy(s.data, old->data, old->len);
	memcpy(s.data + offset, data, len);
	model_push(m, &s);
}

static void model_cut(struct model_chunk *m, uint32_t len)
{
	const struct state *old = current(m);
	struct state s = { MIN(old->len, len), NULL };

	if (s.len) {
		s.data = malloc(s.len);
		memcpy(s.data, old->data, s.len);
	}
	model_push(m, &s);
}

static void model_durable(struct model_chunk *m)
{
	drop_states(m, m->n - 1);
}

int write_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len, bool sync)
{
	struct chunkd_block *b = chunkd_store_payload(w->store, len);
	uint32_t crcs[CHUNK_MAX / FF3_BLOCK + 2];
	bool done = false;
	struct chunkd_op op = { .done = op_done,
				.user = &done,
				.ino = (uint64_t)ino + 1,
				.index = (uint32_t)index,
				.offset = offset,
				.length = len,
				.sync = sync,
				.session = 77,
				.seq = ++w->seq,
				.payload = b,
				.crcs = crcs };
	struct model_chunk *m = &w->chunks[ino][index];

	ck_assert_ptr_nonnull(b);
	for (uint32_t i = 0; i < len; i++)
		b->p[i] = (uint8_t)(w->seq * 31 + (offset + i) / 16 + (offset + i) % 7);
	make_crcs(crcs, b->p, offset, len);
	/* Not answered, it may have happened or not. */
	model_write(m, b->p, offset, len);
	chunkd_store_write(w->store, &op);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (op.status < 0) {
		free(current(m)->data);
		m->n--;
		return op.status;
	}
	ck_assert_uint_eq(op.chunk_size, current(m)->len);
	if (sync)
		model_durable(m);
	return 0;
}

int cut_chunks(struct world *w, int ino, int last, uint32_t len)
{
	bool done = false;
	struct chunkd_op op = { .done = op_done,
				.user = &done,
				.ino = (uint64_t)ino + 1,
				.index = (uint32_t)last,
				.length = len };

	for (int k = last; k < N_CHUNKS; k++)
		model_cut(&w->chunks[ino][k], k == last ? len : 0);
	chunkd_store_cut(w->store, &op);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (op.status == 0)
		for (int k = last; k < N_CHUNKS; k++)
			model_durable(&w->chunks[ino][k]);
	return op.status;
}

void begin_remove(struct world *w, int ino, struct chunkd_op *op, bool *done)
{
	*done = false;
	*op = (struct chunkd_op){ .done = op_done, .user = done, .ino = (uint64_t)ino + 1 };
	for (int k = 0; k < N_CHUNKS; k++)
		model_cut(&w->chunks[ino][k], 0);
	chunkd_store_remove(w->store, op);
}

int remove_ino(struct world *w, int ino)
{
	struct chunkd_op op;
	bool done;

	begin_remove(w, ino, &op, &done);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (op.status == 0)
		for (int k = 0; k < N_CHUNKS; k++)
			model_durable(&w->chunks[ino][k]);
	return op.status;
}

int sync_ino(struct world *w, int ino)
{
	bool done = false;
	struct chunkd_op op = { .done = op_done, .user = &done, .ino = (uint64_t)ino + 1 };

	chunkd_store_sync(w->store, &op);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (op.status == 0)
		for (int k = 0; k < N_CHUNKS; k++)
			model_durable(&w->chunks[ino][k]);
	return op.status;
}

static void read_done(struct chunkd_read *rd)
{
	*(bool *)rd->user = true;
}

int read_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len,
	       struct chunkd_read *rd)
{
	uint32_t crcs[CHUNKD_READ_CRCS], n;
	bool done = false;

	memset(rd, 0, offsetof(struct chunkd_read, crcs));
	rd->done = read_done;
	rd->user = &done;
	rd->ino = (uint64_t)ino + 1;
	rd->index = (uint32_t)index;
	rd->offset = offset;
	rd->length = len;
	chunkd_store_read(w->store, rd);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (rd->status < 0)
		return rd->status;
	n = rd->length ? make_crcs(crcs, rd->data, offset, rd->length) : 0;
	ck_assert_uint_eq(n, rd->n_crcs);
	if (n)
		ck_assert_int_eq(memcmp(crcs, rd->crcs, n * 4), 0);
	return 0;
}

static bool state_matches(const struct state *s, const struct chunkd_read *rd, uint32_t offset,
			  uint32_t len)
{
	uint32_t want = offset < s->len ? MIN(len, s->len - offset) : 0;

	return rd->chunk_size == s->len && rd->length == want &&
	       (want == 0 || memcmp(rd->data, s->data + offset, want) == 0);
}

void check_read(struct world *w, int ino, int index, uint32_t offset, uint32_t len)
{
	static struct chunkd_read rd;

	if (read_chunk(w, ino, index, offset, len, &rd) == -ECONNRESET)
		return;
	ck_assert_int_eq(rd.status, 0);
	ck_assert(state_matches(current(&w->chunks[ino][index]), &rd, offset, len));
	if (rd.length)
		chunkd_block_unref(rd.block);
}

bool verify_all(struct world *w)
{
	static struct chunkd_read rd;
	bool good = true;

	for (int i = 0; i < N_INOS; i++)
		for (int k = 0; k < N_CHUNKS; k++) {
			struct model_chunk *m = &w->chunks[i][k];
			size_t s = m->n;

			if (read_chunk(w, i, k, 0, CHUNK_MAX, &rd) == 0)
				for (s = 0; s < m->n; s++)
					if (state_matches(&m->states[s], &rd, 0, CHUNK_MAX))
						break;
			if (rd.length)
				chunkd_block_unref(rd.block);
			if (s == m->n) {
				good = false;
				continue;
			}
			while (m->n > s + 1)
				free(m->states[--m->n].data);
			drop_states(m, s);
		}
	return good;
}

int random_op(struct world *w)
{
	int ino = (int)rnd(w, N_INOS), index = (int)rnd(w, N_CHUNKS);
	struct model_chunk *m = &w->chunks[ino][index];
	uint32_t old = current(m)->len, offset, len;

	switch (rnd(w, 16)) {
	case 0:
		return remove_ino(w, ino);
	case 1:
		return cut_chunks(w, ino, index, rnd(w, 2) ? rnd(w, old + 1) : rnd(w, CHUNK_MAX));
	case 2:
	case 3:
		return sync_ino(w, ino);
	case 4: /* time for the flusher */
		drive(w, FLUSH_NS);
		return 0;
	case 5:
	case 6:
		check_read(w, ino, index, rnd(w, CHUNK_MAX), 1 + rnd(w, CHUNK_MAX));
		return 0;
	case 7: /* whole */
		offset = 0;
		len = MAX(old, 1 + rnd(w, CHUNK_MAX));
		break;
	case 8:
	case 9:
	case 10:
	case 11: /* append */
		offset = old;
		len = 1 + rnd(w, rnd(w, 2) ? 9000 : 60000);
		break;
	default:
		offset = rnd(w, CHUNK_MAX);
		len = 1 + rnd(w, rnd(w, 2) ? 5000 : 60000);
	}
	if (offset >= CHUNK_MAX)
		offset = CHUNK_MAX - 1;
	return write_chunk(w, ino, index, offset, MIN(len, CHUNK_MAX - offset), rnd(w, 4) == 0);
}

void all_durable(struct world *w)
{
	for (int k = 0; k < N_INOS * N_CHUNKS; k++)
		model_durable(&w->chunks[k / N_CHUNKS][k % N_CHUNKS]);
}
