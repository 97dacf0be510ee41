/* The chunk store against a model: whatever happens, a chunk has the bytes it should have.
 *
 * Single operations run through the synchronous io of chunkd_io_sync.h, on a directory in memory
 * if there is one. The model keeps, for each chunk, every state since the last one that the store
 * called durable: after a power cut the chunk must be in one of them.
 *
 * Long because the harness and all its tests share the model.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../chunkd/store.h"
#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "chunkd_io_sync.h"

#define N_INOS 4
#define N_CHUNKS 3
#define CHUNK_MAX (160 * 1024u)
#define FLUSH_NS FF3_NSEC_PER_SEC
#define N_STATES 256

/* A crash leaves operations behind that nobody will free. */
EXPORT const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

struct state {
	uint32_t len; /* 0: no chunk */
	uint8_t *data;
};

struct model_chunk {
	struct state states[N_STATES]; /* the last one is the current one */
	size_t n;
};

struct world {
	char dir[64];
	struct chunkd_sync sync;
	bool on_ring; /* the daemon's io instead of sync */
	struct ff3_loop *loop;
	struct chunkd_io *ring;
	const bool *awaited; /* what the loop runs for; NULL: that nothing is left to do */
	struct chunkd_store *store;
	struct model_chunk chunks[N_INOS][N_CHUNKS];
	uint64_t now, seq, capacity;
	unsigned seed;
	bool broken; /* the planted bug was found */
};

static unsigned rnd(struct world *w, unsigned n)
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

static void world_open(struct world *w)
{
	const struct chunkd_store_options o = { .dir = w->dir,
						.node = 1,
						.capacity = w->capacity,
						.memory = FF3_MIB(64),
						.flush_ns = FLUSH_NS };
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

static void world_close(struct world *w)
{
	chunkd_store_free(w->store);
	chunkd_io_uring_free(TAKE_PTR(w->ring));
	ff3_loop_free(TAKE_PTR(w->loop));
}

static void world_new(struct world *w, unsigned seed)
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

static void world_free(struct world *w)
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

/* Runs everything that is due; later: after so many ns. */
static void drive(struct world *w, uint64_t later)
{
	w->now += later;
	do
		chunkd_store_pump(w->store, w->now);
	while (chunkd_sync_step(&w->sync));
}

/* Everything durable, nothing under way; then a new start, as after an orderly end. */
static void restart(struct world *w)
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

static void op_done(struct chunkd_op *op)
{
	ck_assert_ptr_null(op->payload);
	*(bool *)op->user = true;
}

/* Drives until done; false: the power is gone. */
static bool finish(struct world *w, const bool *done)
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

static uint32_t make_crcs(uint32_t *crcs, const uint8_t *data, uint32_t offset, uint32_t len)
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

static int write_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len, bool sync)
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

static int cut_chunks(struct world *w, int ino, int last, uint32_t len)
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

static int remove_ino(struct world *w, int ino)
{
	bool done = false;
	struct chunkd_op op = { .done = op_done, .user = &done, .ino = (uint64_t)ino + 1 };

	for (int k = 0; k < N_CHUNKS; k++)
		model_cut(&w->chunks[ino][k], 0);
	chunkd_store_remove(w->store, &op);
	if (!finish(w, &done))
		return -ECONNRESET;
	if (op.status == 0)
		for (int k = 0; k < N_CHUNKS; k++)
			model_durable(&w->chunks[ino][k]);
	return op.status;
}

static int sync_ino(struct world *w, int ino)
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

/* Reads and hands the result back; its checksums are checked. The block is the caller's. */
static int read_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len,
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

static void check_read(struct world *w, int ino, int index, uint32_t offset, uint32_t len)
{
	static struct chunkd_read rd;

	if (read_chunk(w, ino, index, offset, len, &rd) == -ECONNRESET)
		return;
	ck_assert_int_eq(rd.status, 0);
	ck_assert(state_matches(current(&w->chunks[ino][index]), &rd, offset, len));
	if (rd.length)
		chunkd_block_unref(rd.block);
}

/* Every chunk is in one of the states that the model allows, which becomes the only one. */
static bool verify_all(struct world *w)
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

/* One random operation. Its status. */
static int random_op(struct world *w)
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

/* --- Tests ------------------------------------------------------------------------------------------ */

START_TEST(model)
{
	struct world w;

	world_new(&w, (unsigned)_i);
	w.sync.short_one_in = _i % 2 ? 5 : 0;
	for (int i = 0; i < 2000; i++) {
		ck_assert_int_eq(random_op(&w), 0);
		if (i % 200 == 199) {
			restart(&w);
			for (int k = 0; k < N_INOS * N_CHUNKS; k++)
				model_durable(&w.chunks[k / N_CHUNKS][k % N_CHUNKS]);
			ck_assert(verify_all(&w));
		}
	}
	world_free(&w);
}
END_TEST

/* The daemon's io: everything under way at once, in another order, on threads. */
START_TEST(model_on_ring)
{
	struct world w;

	world_new(&w, (unsigned)_i + 50);
	world_close(&w);
	w.on_ring = true;
	world_open(&w);
	for (int i = 0; i < 1500; i++) {
		ck_assert_int_eq(random_op(&w), 0);
		if (i % 300 == 299) {
			restart(&w);
			for (int k = 0; k < N_INOS * N_CHUNKS; k++)
				model_durable(&w.chunks[k / N_CHUNKS][k % N_CHUNKS]);
			ck_assert(verify_all(&w));
		}
	}
	restart(&w);
	world_free(&w);
}
END_TEST

/* The same workload, with the power going at each of its disk operations in turn. Returns how many
 * cuts broke a promise. */
static unsigned cut_everywhere(unsigned seed, bool plant, unsigned step)
{
	unsigned n_broken = 0;
	uint64_t n_ops = UINT64_MAX;

	for (uint64_t at = 1 + seed % step; at < n_ops; at += step) {
		struct world w;
		int i;

		world_new(&w, seed);
		w.sync.crash_at = at;
		w.sync.skip_fdatasync = plant;
		for (i = 0; i < 60 && !w.sync.crashed; i++)
			if (random_op(&w) == -ECONNRESET)
				break;
		if (!w.sync.crashed)
			n_ops = w.sync.n_ops;
		chunkd_store_free(w.store);
		chunkd_sync_power_cut(&w.sync);
		chunkd_sync_init(&w.sync, seed);
		world_open(&w);
		if (!verify_all(&w)) {
			n_broken++;
		} else {
			/* And it goes on as if nothing had been. */
			for (i = 0; i < 10; i++)
				ck_assert_int_eq(random_op(&w), 0);
			restart(&w);
			ck_assert(verify_all(&w));
		}
		world_free(&w);
	}
	return n_broken;
}

START_TEST(power_cut)
{
	ck_assert_uint_eq(cut_everywhere((unsigned)_i + 100, false, 1), 0);
}
END_TEST

/* Without fdatasync before the index, the same test must find lost chunks. */
START_TEST(power_cut_planted)
{
	ck_assert_uint_gt(cut_everywhere((unsigned)_i + 100, true, 3), 0);
}
END_TEST

/* An error of the disk at each operation in turn: whatever was called durable stays so, and after
 * a failed write or sync nothing is called durable any more. */
START_TEST(disk_error)
{
	uint64_t n_ops = UINT64_MAX;

	for (uint64_t at = 1; at < n_ops; at += 2) {
		struct world w;
		int r;

		world_new(&w, 5);
		ff3_log_open("test", FF3_LOG_ERROR - 1);
		w.sync.fail_at = at;
		w.sync.fail_error = -EIO;
		for (int i = 0; i < 60; i++) {
			r = rnd(&w, 3) ? write_chunk(&w, (int)rnd(&w, N_INOS),
						     (int)rnd(&w, N_CHUNKS), rnd(&w, 60000),
						     1 + rnd(&w, 60000), rnd(&w, 3) == 0) :
					 sync_ino(&w, (int)rnd(&w, N_INOS));
			if (r == FF3_E_OFFLINE) {
				/* Every operation says so. */
				ck_assert_int_eq(sync_ino(&w, 0), FF3_E_OFFLINE);
				ck_assert_int_eq(remove_ino(&w, 0), FF3_E_OFFLINE);
				break;
			}
			ck_assert(r == 0 || r == -EIO); /* a load for a merge failed */
		}
		if (w.sync.n_ops < at)
			n_ops = w.sync.n_ops;
		drive(&w, 0);
		ck_assert(chunkd_store_idle(w.store) || !chunkd_store_stats(w.store)->offline);
		chunkd_store_free(w.store);
		chunkd_sync_done(&w.sync);
		chunkd_sync_init(&w.sync, 1);
		world_open(&w);
		ck_assert(verify_all(&w));
		world_free(&w);
	}
}
END_TEST

/* Until the target is full; then existing chunks can still be changed, and deleting helps. */
START_TEST(no_space)
{
	static struct chunkd_read rd;
	struct chunkd_op op;
	struct world w;
	bool done;
	int n = 0, r;

	world_new(&w, 7);
	chunkd_store_free(w.store);
	w.capacity = FF3_MIB(16);
	world_open(&w);
	for (;; n++) {
		struct chunkd_block *b = chunkd_store_payload(w.store, FF3_KIB(256));
		uint32_t crcs[64];

		memset(b->p, n, FF3_KIB(256));
		make_crcs(crcs, b->p, 0, FF3_KIB(256));
		done = false;
		op = (struct chunkd_op){ .done = op_done, .user = &done, .ino = 1000 + (uint64_t)n,
					 .length = FF3_KIB(256), .sync = n % 3 == 0, .payload = b,
					 .crcs = crcs };
		chunkd_store_write(w.store, &op);
		finish(&w, &done);
		if (op.status < 0)
			break;
	}
	ck_assert_int_eq(op.status, -ENOSPC);
	ck_assert_int_ge(n, 16 * 4 * 85 / 100);
	drive(&w, FLUSH_NS * 2);
	ck_assert(chunkd_store_idle(w.store)); /* all that was accepted is on disk */
	ck_assert_uint_eq(chunkd_store_stats(w.store)->offline, 0);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 150000, true), -ENOSPC);
	/* An overwrite takes of the reserve. */
	for (int i = 0; i < 5; i++) {
		struct chunkd_block *b = chunkd_store_payload(w.store, 10);
		uint32_t crc;

		memset(b->p, 0xaa, 10);
		crc = ff3_crc32c(0, b->p, 10);
		done = false;
		op = (struct chunkd_op){ .done = op_done, .user = &done, .ino = 1000 + (uint64_t)i,
					 .offset = 50, .length = 10, .sync = true, .payload = b,
					 .crcs = &crc };
		chunkd_store_write(w.store, &op);
		finish(&w, &done);
		ck_assert_int_eq(op.status, 0);
	}
	/* Room for another size: slots of the old one are given back. */
	for (int i = n / 2; i < n; i++) {
		done = false;
		op = (struct chunkd_op){ .done = op_done, .user = &done, .ino = 1000 + (uint64_t)i };
		chunkd_store_remove(w.store, &op);
		finish(&w, &done);
		ck_assert_int_eq(op.status, 0);
		ck_assert_uint_eq(op.n_removed, 1);
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(write_chunk(&w, i, 0, 0, 150000, true), 0);
	chunkd_store_free(w.store);
	world_open(&w);
	for (int i = 0; i < 3; i++)
		check_read(&w, i, 0, 0, CHUNK_MAX);
	r = read_chunk(&w, 1003 - 1, 0, 0, 200, &rd);
	ck_assert_int_eq(r, 0);
	for (int i = 0; i < 200; i++)
		ck_assert_uint_eq(rd.data[i], i >= 50 && i < 60 ? 0xaa : 3);
	chunkd_block_unref(rd.block);
	world_free(&w);
}
END_TEST

/* Flips one bit in a slab: the block it is in answers CHECKSUM, all others are good. */
START_TEST(bit_flip)
{
	static struct chunkd_read rd;
	struct world w;
	char path[128];
	uint8_t byte;
	int fd;

	world_new(&w, 9);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 100000, true), 0);
	restart(&w);
	snprintf(path, sizeof path, "%s/slab-17-0", w.dir);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, 5 * FF3_BLOCK + 77), 1);
	byte ^= 4;
	ck_assert_int_eq(pwrite(fd, &byte, 1, 5 * FF3_BLOCK + 77), 1);
	close(fd);
	ff3_log_open("test", FF3_LOG_ERROR - 1);
	for (uint32_t b = 0; b < 24; b++) {
		int r = read_chunk(&w, 0, 0, b * FF3_BLOCK, FF3_BLOCK, &rd);

		ck_assert_int_eq(r, b == 5 ? FF3_E_CHECKSUM : 0);
		if (r == 0)
			chunkd_block_unref(rd.block);
	}
	ck_assert_uint_eq(chunkd_store_stats(w.store)->bad_chunks, 1);
	/* A part of it cannot be changed, all of it can. */
	ck_assert_int_eq(write_chunk(&w, 0, 0, 10, 10, true), FF3_E_CHECKSUM);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 100001, true), 0);
	check_read(&w, 0, 0, 0, CHUNK_MAX);
	world_free(&w);
}
END_TEST

/* A payload that does not match its checksums changes nothing; a repeated tag neither. */
START_TEST(refused_and_repeated)
{
	struct world w;
	bool done = false;
	uint32_t crc = 1;
	struct chunkd_op op = { .done = op_done, .user = &done, .ino = 1, .length = 10, .crcs = &crc };
	struct chunkd_op again = { .done = op_done, .user = &done, .ino = 1, .length = 10, .crcs = &crc,
				   .session = 77 };

	world_new(&w, 11);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 5000, false), 0);
	op.payload = chunkd_store_payload(w.store, 10);
	memset(op.payload->p, 1, 10);
	chunkd_store_write(w.store, &op);
	finish(&w, &done);
	ck_assert_int_eq(op.status, -EBADMSG);
	again.payload = chunkd_store_payload(w.store, 10);
	memset(again.payload->p, 1, 10);
	crc = ff3_crc32c(0, again.payload->p, 10);
	again.seq = w.seq;
	again.sync = true;
	done = false;
	chunkd_store_write(w.store, &again);
	finish(&w, &done);
	ck_assert_int_eq(again.status, 0);
	ck_assert_uint_eq(again.chunk_size, 5000);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->write_repeats, 1);
	check_read(&w, 0, 0, 0, CHUNK_MAX);
	/* The tag is durable with the chunk. */
	chunkd_store_free(w.store);
	world_open(&w);
	again.payload = chunkd_store_payload(w.store, 10);
	memset(again.payload->p, 1, 10);
	done = false;
	chunkd_store_write(w.store, &again);
	finish(&w, &done);
	ck_assert_uint_eq(chunkd_store_stats(w.store)->write_repeats, 1);
	check_read(&w, 0, 0, 0, CHUNK_MAX);
	world_free(&w);
}
END_TEST

/* A directory is served by one store only. */
START_TEST(lock)
{
	struct world w;
	struct chunkd_store *other;
	struct chunkd_store_options o = { .node = 1, .memory = FF3_MIB(64) };

	world_new(&w, 13);
	ff3_log_open("test", FF3_LOG_ERROR - 1);
	o.dir = w.dir;
	ck_assert_int_eq(chunkd_store_new(&o, &other), -EBUSY);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chunkd-store");
	TCase *tc = tcase_create("store");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, model, 0, 6);
	tcase_add_loop_test(tc, model_on_ring, 0, 2);
	tcase_add_loop_test(tc, power_cut, 0, 3);
	tcase_add_loop_test(tc, power_cut_planted, 0, 1);
	tcase_add_test(tc, disk_error);
	tcase_add_test(tc, no_space);
	tcase_add_test(tc, bit_flip);
	tcase_add_test(tc, refused_and_repeated);
	tcase_add_test(tc, lock);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
