/* Exposed chunks, with a maker of grants that takes its time: what is granted is what the chunk holds,
 * its bytes stay where they are, and no change is answered before the grants are over. */
#include "../chunkd/expose.h"
#include "chunkd_world.h"

#define LIMIT FF3_KIB(512)
#define N_GRANTS 64

/* Windows as verbs has them: each connection's own, over the chunk's block, revoked when the test says. */
struct window {
	struct chunkd_grant grant;
	struct fake *fake;
	struct chunkd_view view;
	uint32_t crcs[CHUNK_MAX / FF3_BLOCK];
	void (*done)(struct chunkd_grant *grant); /* being revoked */
	bool live;
};

struct fake {
	struct chunkd_grant_maker maker;
	struct chunkd_making *held_making;
	struct window windows[N_GRANTS];
	bool hold_makings, hold_revokes;
	unsigned n_live;
};

static bool possible(struct chunkd_grant_maker *maker, struct ff3_conn *conn)
{
	return conn != NULL;
}

static uint64_t size_of(struct chunkd_grant_maker *maker, uint32_t len)
{
	return ROUND_UP(len, FF3_BLOCK);
}

static void make_now(struct fake *f, struct chunkd_making *m)
{
	struct window *w = f->windows;

	while (w->live)
		w++;
	ck_assert(w < f->windows + N_GRANTS);
	*w = (struct window){ .grant.maker = &f->maker, .fake = f, .view = m->view, .live = true };
	memcpy(w->crcs, m->view.crcs, m->view.n_crcs * 4);
	f->n_live++;
	m->done(m, 0, &w->grant);
}

static void make(struct chunkd_grant_maker *maker, struct chunkd_making *m)
{
	struct fake *f = CONTAINER_OF(maker, struct fake, maker);

	if (f->hold_makings)
		f->held_making = m;
	else
		make_now(f, m);
}

static void is_over(struct window *w, void (*done)(struct chunkd_grant *grant))
{
	w->live = false;
	w->fake->n_live--;
	done(&w->grant);
}

static void fake_revoke(struct chunkd_grant *grant, void (*done)(struct chunkd_grant *grant))
{
	struct window *w = CONTAINER_OF(grant, struct window, grant);

	ck_assert(w->live && !w->done);
	w->done = done;
	if (!w->fake->hold_revokes)
		is_over(w, done);
}

static void let_go(struct fake *f)
{
	for (struct window *w = f->windows; w < f->windows + N_GRANTS; w++)
		if (w->live && w->done)
			is_over(w, w->done);
}

static void no_free(struct chunkd_grant_maker *maker)
{
	ck_assert_uint_eq(CONTAINER_OF(maker, struct fake, maker)->n_live, 0);
}

static const struct chunkd_grant_ops ops = {
	.kind = FF3_EXPOSED_WINDOW,
	.per_conn = true,
	.keeps_block = true,
	.possible = possible,
	.size_of = size_of,
	.make = make,
	.revoke = fake_revoke,
	.free = no_free,
};

static struct fake fake;
static struct ff3_conn *const conns[] = { (void *)1, (void *)2, (void *)3 };

static void begin(struct world *w, unsigned seed)
{
	memset(&fake, 0, sizeof fake);
	fake.maker.ops = &ops;
	world_new(w, seed);
	ck_assert_int_eq(chunkd_exposer_new(w->store, LIMIT), 0);
	chunkd_exposer_add(w->store, &fake.maker);
}

/* Every window shows the bytes with which it was made. */
static void check_windows(void)
{
	for (struct window *w = fake.windows; w < fake.windows + N_GRANTS; w++)
		for (uint32_t pos = 0; w->live && pos < w->view.len; pos += FF3_BLOCK)
			ck_assert_uint_eq(ff3_crc32c(0, w->view.block->p + pos,
						     MIN(FF3_BLOCK, w->view.len - pos)),
					  w->crcs[pos / FF3_BLOCK]);
}

static void expose_done(struct chunkd_expose *x)
{
	x->pin = true; /* the answer is here */
}

static void expose(struct world *w, int ino, int index, struct ff3_conn *conn, struct chunkd_expose *x)
{
	*x = (struct chunkd_expose){ .done = expose_done,
				     .conn = conn,
				     .ino = (uint64_t)ino + 1,
				     .index = (uint32_t)index };
	chunkd_store_expose(w->store, x);
	for (int i = 0; !x->pin && i < 100 && !fake.hold_makings; i++)
		drive(w, 0);
}

/* What is granted to somebody is what a read gives. */
static void check_granted(struct world *w, const struct chunkd_expose *x)
{
	const struct window *win = CONTAINER_OF(x->grant, struct window, grant);
	struct chunkd_read rd;

	ck_assert(win->live && !win->done);
	ck_assert_int_eq(read_chunk(w, (int)x->ino - 1, (int)x->index, 0, CHUNK_MAX, &rd), 0);
	ck_assert_uint_eq(rd.version, x->version);
	ck_assert_uint_eq(rd.length, win->view.len);
	ck_assert_mem_eq(rd.data, win->view.block->p, rd.length);
	chunkd_block_unref(rd.block);
}

START_TEST(model)
{
	struct world w;
	unsigned n = 0;

	begin(&w, (unsigned)_i + 100);
	for (int i = 0; i < 3000; i++) {
		struct chunkd_expose x;

		if (rnd(&w, 2)) {
			ck_assert_int_eq(random_op(&w), 0);
		} else {
			drive(&w, rnd(&w, 3) * 60 * FF3_NSEC_PER_MSEC);
			expose(&w, (int)rnd(&w, N_INOS), (int)rnd(&w, N_CHUNKS), conns[rnd(&w, 3)], &x);
			ck_assert(x.pin);
			if (x.status == 0) {
				check_granted(&w, &x);
				n++;
			} else {
				ck_assert(x.status == -ENOENT || x.status == -EDQUOT);
			}
		}
		if (rnd(&w, 50) == 0)
			chunkd_store_unexpose_conn(w.store, conns[rnd(&w, 3)]);
		check_windows();
		ck_assert_uint_le(chunkd_store_stats(w.store)->exposed, fake.n_live);
		chunkd_exposer_measure(w.store);
		ck_assert_uint_le(chunkd_store_stats(w.store)->exposed_bytes, LIMIT);
	}
	ck_assert_uint_gt(n, 100);
	chunkd_store_unexpose_all(w.store);
	ck_assert_uint_eq(fake.n_live, 0);
	chunkd_exposer_measure(w.store);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->exposed_bytes, 0);
	world_free(&w);
}
END_TEST

static void start_write(struct world *w, struct chunkd_op *op, uint64_t seq, bool *done, uint32_t *crcs)
{
	struct chunkd_block *b = chunkd_store_payload(w->store, FF3_BLOCK);

	memset(b->p, 0x55, FF3_BLOCK);
	*done = false;
	*op = (struct chunkd_op){ .done = op_done, .user = done, .ino = 1, .length = FF3_BLOCK,
				  .payload = b, .crcs = crcs, .session = 5, .seq = seq };
	crcs[0] = ff3_crc32c(0, b->p, FF3_BLOCK);
	chunkd_store_write(w->store, op);
}

static int first_byte(struct world *w)
{
	struct chunkd_read rd;
	int byte;

	ck_assert_int_eq(read_chunk(w, 0, 0, 0, FF3_BLOCK, &rd), 0);
	byte = rd.data[0];
	chunkd_block_unref(rd.block);
	return byte;
}

/* A write, a cut, a removal: all of them wait. */
START_TEST(changes_wait)
{
	struct chunkd_expose x, y;
	struct chunkd_op op, second;
	bool done, second_done;
	uint32_t crcs[1], second_crcs[1];
	int before;
	struct world w;

	begin(&w, 7);
	for (int change = 0; change < 3; change++) {
		ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 3 * FF3_BLOCK + 100, false), 0);
		fake.hold_revokes = true;
		expose(&w, 0, 0, conns[0], &x);
		expose(&w, 0, 0, conns[1], &y);
		ck_assert_int_eq(x.status, 0);
		ck_assert_int_eq(y.status, 0);
		ck_assert_ptr_ne(x.grant, y.grant);
		done = second_done = false;
		before = first_byte(&w);
		if (change == 0) {
			/* And the same again: its client has lost patience. */
			start_write(&w, &op, 1, &done, crcs);
			start_write(&w, &second, 1, &second_done, second_crcs);
		} else {
			op = (struct chunkd_op){ .done = op_done, .user = &done, .ino = 1,
						 .length = change == 1 ? 100 : 0 };
			if (change == 1)
				chunkd_store_cut(w.store, &op);
			else
				chunkd_store_remove(w.store, &op);
			second_done = true;
		}
		for (int i = 0; i < 10; i++)
			drive(&w, FLUSH_NS);
		ck_assert(!done);
		ck_assert(change != 0 || !second_done);
		check_windows();
		/* Nor does anybody see the change before. */
		ck_assert(change == 2 || first_byte(&w) == before);
		/* Nobody gets another one meanwhile. */
		expose(&w, 0, 0, conns[2], &x);
		ck_assert(x.status == -EAGAIN || x.status == -ENOENT);
		let_go(&fake);
		drive(&w, 0);
		ck_assert(done && second_done);
		ck_assert(change != 0 || first_byte(&w) == 0x55);
		ck_assert_int_eq(op.status, 0);
		ck_assert_uint_eq(fake.n_live, 0);
		fake.hold_revokes = false;
		chunkd_store_unexpose(w.store, 1);
	}
	world_free(&w);
}
END_TEST

/* A chunk that changes while its grant is made: the grant is never given out. */
START_TEST(changed_meanwhile)
{
	struct chunkd_expose x;
	struct chunkd_op op;
	uint32_t crcs[1];
	struct world w;
	bool done;

	begin(&w, 8);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, FF3_BLOCK, false), 0);
	fake.hold_makings = true;
	expose(&w, 0, 0, conns[0], &x);
	ck_assert(!x.pin);
	start_write(&w, &op, 2, &done, crcs);
	ck_assert(done);
	make_now(&fake, fake.held_making);
	ck_assert(x.pin);
	ck_assert_int_eq(x.status, -EAGAIN);
	ck_assert_uint_eq(fake.n_live, 0);
	fake.hold_makings = false;
	expose(&w, 0, 0, conns[0], &x);
	ck_assert_int_eq(x.status, 0);
	chunkd_store_unexpose_all(w.store);
	world_free(&w);
}
END_TEST

/* What is pinned makes room for nobody. */
START_TEST(room)
{
	struct chunkd_expose x;
	struct world w;

	begin(&w, 9);
	for (int ino = 0; ino < N_INOS; ino++)
		ck_assert_int_eq(write_chunk(&w, ino, 0, 0, CHUNK_MAX, false), 0);
	for (int ino = 0; ino < 3; ino++) {
		x = (struct chunkd_expose){ .done = expose_done, .conn = conns[0],
					    .ino = (uint64_t)ino + 1, .pin = ino == 0 };
		chunkd_store_expose(w.store, &x);
		ck_assert_int_eq(x.status, 0);
	}
	/* All of them young: none goes. */
	expose(&w, 3, 0, conns[0], &x);
	ck_assert_int_eq(x.status, -EDQUOT);
	drive(&w, FF3_NSEC_PER_SEC);
	expose(&w, 3, 0, conns[0], &x);
	ck_assert_int_eq(x.status, 0);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->expose_evictions, 1);
	/* The pinned one, the oldest, is still there, and was not made again. */
	expose(&w, 0, 0, conns[0], &x);
	ck_assert_int_eq(x.status, 0);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->exposures, 4);
	chunkd_store_unexpose_all(w.store);
	world_free(&w);
}
END_TEST

/* Without a connection that can, nothing is let. */
START_TEST(impossible)
{
	struct chunkd_expose x;
	struct world w;

	begin(&w, 10);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 10, false), 0);
	expose(&w, 0, 0, NULL, &x);
	ck_assert_int_eq(x.status, -EOPNOTSUPP);
	expose(&w, 0, 1, conns[0], &x);
	ck_assert_int_eq(x.status, -ENOENT);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chunkd-expose");
	TCase *tc = tcase_create("expose");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, model, 0, 4);
	tcase_add_test(tc, changes_wait);
	tcase_add_test(tc, changed_meanwhile);
	tcase_add_test(tc, room);
	tcase_add_test(tc, impossible);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
