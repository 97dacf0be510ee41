/* The chunk store with many operations at once and little memory: operations of one chunk are
 * applied in order, bytes that are being sent never change, nothing waits for ever, and a removed
 * chunk stays removed. On the daemon's ring. */
#include "chunkd_world.h"

#define DEPTH 48
#define MANY_INOS 6
#define MANY_CHUNKS 4

/* A chunk's content is known by the last write at each 4 KiB block: writes are whole blocks, filled
 * with their number. */
struct shadow {
	uint32_t block[16 * 1024 * 1024 / FF3_BLOCK];
	uint32_t len;
};

struct many {
	struct world w;
	struct shadow shadow[MANY_INOS][MANY_CHUNKS];
	struct slot {
		struct many *m;
		struct chunkd_op op;
		struct chunkd_read read;
		bool busy, reading;
		uint32_t *crcs;
		uint32_t held; /* steps that the sending of a read still takes */
	} slots[DEPTH];
	unsigned n_busy;
	bool any; /* something ended */
	uint32_t n_writes, biggest;
};

static void many_op_done(struct chunkd_op *op)
{
	struct slot *s = op->user;

	ck_assert_int_eq(op->status, 0);
	s->busy = false;
	s->m->n_busy--;
	s->m->any = true;
	free(s->crcs);
	s->crcs = NULL;
}

static void many_read_done(struct chunkd_read *rd)
{
	struct slot *s = rd->user;

	ck_assert_int_eq(rd->status, 0);
	s->reading = false;
	s->m->any = true;
	s->held = rd->length ? 1 + rnd(&s->m->w, 30) : 0;
	if (!rd->length) {
		s->busy = false;
		s->m->n_busy--;
	}
}

/* The end of a sending: the bytes are still those that the checksums were made of. */
static void release_read(struct slot *s)
{
	uint32_t n = make_crcs(s->crcs ? s->crcs : (s->crcs = malloc(sizeof s->read.crcs)),
			       s->read.data, s->read.offset, s->read.length);

	ck_assert_uint_eq(n, s->read.n_crcs);
	ck_assert_int_eq(memcmp(s->crcs, s->read.crcs, n * 4), 0);
	free(s->crcs);
	s->crcs = NULL;
	chunkd_block_unref(s->read.block);
	s->busy = false;
	s->m->n_busy--;
}

static void start_write(struct many *m, struct slot *s, int ino, int index)
{
	struct shadow *sh = &m->shadow[ino][index];
	uint32_t max = m->biggest / FF3_BLOCK, first, n;
	struct chunkd_block *b;

	first = rnd(&m->w, 3) ? rnd(&m->w, max) : 0;
	n = 1 + rnd(&m->w, rnd(&m->w, 4) ? 16 : 900);
	n = MIN(n, max - first);
	b = chunkd_store_payload(m->w.store, n * FF3_BLOCK);
	if (!b)
		return; /* as the server: later */
	m->n_writes++;
	for (uint32_t i = 0; i < n * FF3_BLOCK / 4; i++)
		((uint32_t *)b->p)[i] = m->n_writes;
	for (uint32_t i = sh->len; i < first; i++)
		sh->block[i] = 0;
	for (uint32_t i = 0; i < n; i++)
		sh->block[first + i] = m->n_writes;
	sh->len = MAX(sh->len, first + n);
	s->crcs = malloc(n * 4);
	make_crcs(s->crcs, b->p, 0, n * FF3_BLOCK);
	s->op = (struct chunkd_op){ .done = many_op_done, .user = s, .ino = (uint64_t)ino + 1,
				    .index = (uint32_t)index, .offset = first * FF3_BLOCK,
				    .length = n * FF3_BLOCK, .sync = rnd(&m->w, 3) == 0,
				    .payload = b, .crcs = s->crcs };
	s->busy = true;
	m->n_busy++;
	chunkd_store_write(m->w.store, &s->op);
}

static void start_read(struct many *m, struct slot *s, int ino, int index)
{
	memset(&s->read, 0, offsetof(struct chunkd_read, crcs));
	s->read.done = many_read_done;
	s->read.user = s;
	s->read.ino = (uint64_t)ino + 1;
	s->read.index = (uint32_t)index;
	s->read.offset = rnd(&m->w, m->biggest);
	s->read.length = 1 + rnd(&m->w, rnd(&m->w, 3) ? 10000 : FF3_MIB(2));
	s->busy = s->reading = true;
	m->n_busy++;
	chunkd_store_read(m->w.store, &s->read);
}

static void start_something(struct many *m, struct slot *s)
{
	int ino = (int)rnd(&m->w, MANY_INOS), index = (int)rnd(&m->w, MANY_CHUNKS);
	unsigned what = rnd(&m->w, 20);

	if (what < 10) {
		start_write(m, s, ino, index);
	} else if (what < 18) {
		start_read(m, s, ino, index);
	} else {
		s->op = (struct chunkd_op){ .done = many_op_done, .user = s, .ino = (uint64_t)ino + 1 };
		s->busy = true;
		m->n_busy++;
		chunkd_store_sync(m->w.store, &s->op);
	}
}

static void many_idle(void *arg)
{
	struct many *m = arg;

	m->w.now += FLUSH_NS / 50;
	chunkd_store_pump(m->w.store, m->w.now);
	if (m->w.awaited ? *m->w.awaited : m->any || chunkd_store_idle(m->w.store))
		ff3_loop_stop(m->w.loop);
}

/* Waits until something ends; sendings take some of these steps. */
static void step(struct many *m)
{
	bool sending = false;

	for (int i = 0; i < DEPTH; i++) {
		struct slot *s = &m->slots[i];

		if (!s->busy || !s->held)
			continue;
		sending = true;
		if (--s->held == 0) {
			release_read(s);
			m->any = true;
		}
	}
	if (!sending && !m->any && m->n_busy) {
		m->w.awaited = NULL;
		ff3_loop_set_idle(m->w.loop, many_idle, m);
		ck_assert_int_eq(ff3_loop_run(m->w.loop), 0);
	}
	m->any = false;
	m->w.now += FLUSH_NS / 50;
	chunkd_store_pump(m->w.store, m->w.now);
}

static void verify_shadow(struct many *m)
{
	static struct chunkd_read rd;

	for (int ino = 0; ino < MANY_INOS; ino++)
		for (int index = 0; index < MANY_CHUNKS; index++) {
			const struct shadow *sh = &m->shadow[ino][index];

			for (uint32_t b = 0; b < sh->len; b += 1024) {
				ck_assert_int_eq(read_chunk(&m->w, ino, index, b * FF3_BLOCK,
							    (uint32_t)FF3_MIB(4), &rd), 0);
				ck_assert_uint_eq(rd.chunk_size, sh->len * FF3_BLOCK);
				bool good = true;

				for (uint32_t i = 0; i < rd.length / 4; i++)
					good &= ((const uint32_t *)rd.data)[i] == sh->block[b + i / 1024];
				ck_assert(good);
				chunkd_block_unref(rd.block);
			}
		}
}

/* biggest: of a chunk. With 16 MiB, four of them fill the memory. */
static void run_many(unsigned seed, uint32_t biggest, unsigned n)
{
	static struct many m;

	memset(&m, 0, sizeof m);
	world_new(&m.w, seed);
	world_close(&m.w);
	m.w.on_ring = true;
	m.w.capacity = FF3_GIB(2);
	m.biggest = biggest;
	world_open(&m.w);
	for (int i = 0; i < DEPTH; i++)
		m.slots[i].m = &m;
	for (unsigned i = 0; i < n; i++) {
		struct slot *s = &m.slots[rnd(&m.w, DEPTH)];

		if (!s->busy)
			start_something(&m, s);
		if (s->busy)
			step(&m);
	}
	while (m.n_busy)
		step(&m);
	verify_shadow(&m);
	restart(&m.w);
	verify_shadow(&m);
	world_free(&m.w);
}

START_TEST(many_small)
{
	run_many((unsigned)_i, (uint32_t)FF3_MIB(1), 6000);
}
END_TEST

START_TEST(many_large)
{
	run_many((unsigned)_i + 10, (uint32_t)FF3_MIB(16), 1200);
}
END_TEST

/* Removals race with writes that are queued and written out: whatever the order was, what is there
 * after a restart is what was there before, and what was removed last is gone. */
START_TEST(removals)
{
	struct world w;
	struct chunkd_op removes[4];
	bool done[4];
	uint64_t before;

	world_new(&w, (unsigned)_i);
	world_close(&w);
	w.on_ring = true;
	world_open(&w);
	for (int i = 0; i < 150; i++) {
		for (int k = 0; k < 4; k++)
			ck_assert_int_eq(write_chunk(&w, (int)rnd(&w, N_INOS), (int)rnd(&w, N_CHUNKS), 0,
						     1 + rnd(&w, CHUNK_MAX), false), 0);
		chunkd_store_pump(w.store, w.now += FLUSH_NS); /* begins to write out */
		for (int k = 0; k < 4; k++)
			begin_remove(&w, (int)rnd(&w, N_INOS), &removes[k], &done[k]);
		/* Made anew while the removal is under way. */
		ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 1 + rnd(&w, CHUNK_MAX), rnd(&w, 2)), 0);
		for (int k = 0; k < 4; k++) {
			finish(&w, &done[k]);
			ck_assert_int_eq(removes[k].status, 0);
		}
	}
	for (int i = 1; i < N_INOS; i++)
		ck_assert_int_eq(remove_ino(&w, i), 0);
	ck_assert_int_eq(cut_chunks(&w, 0, 0, 100), 0);
	before = chunkd_store_stats(w.store)->chunks;
	ck_assert_uint_eq(before, 1);
	restart(&w);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->chunks, 1);
	chunkd_store_measure(w.store);
	/* No slot has leaked: only that chunk's is taken. */
	ck_assert_uint_le(chunkd_store_stats(w.store)->used, FF3_KIB(256));
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chunkd-many");
	TCase *tc = tcase_create("many");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, many_small, 0, 2);
	tcase_add_loop_test(tc, many_large, 0, 2);
	tcase_add_loop_test(tc, removals, 0, 2);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
