/* The chunk store against a model (chunkd_world.h): whatever happens, a chunk has the bytes it
 * should have. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "chunkd_world.h"

/* --- Tests ------------------------------------------------------------------------------------------ */

START_TEST(model)
{
	struct world w;

	world_new(&w, (unsigned)_i);
	w.sync.short_one_in = _i % 2 ? 5 : 0;
	if (_i % 3 == 0) {
		world_close(&w);
		w.prewrite = true;
		world_open(&w);
	}
	for (int i = 0; i < 2000; i++) {
		ck_assert_int_eq(random_op(&w), 0);
		if (i % 200 == 199) {
			restart(&w);
			all_durable(&w);
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
	w.prewrite = true;
	world_open(&w);
	for (int i = 0; i < 1500; i++) {
		ck_assert_int_eq(random_op(&w), 0);
		if (i % 300 == 299) {
			restart(&w);
			all_durable(&w);
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
	ff3_log_open("test", FF3_LOG_ERROR - 1); /* of what it finds damaged */
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
		w.sync.fail_error = at % 4 == 1 ? -EIO : -ENOSPC; /* of a thin disk */
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
			ck_assert(r == 0 || r == w.sync.fail_error); /* a load for a merge failed */
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

/* The index cannot be written: as after any failed write, nothing is called durable any more. */
START_TEST(index_error)
{
	const struct rlimit small = { FF3_KIB(128), RLIM_INFINITY };
	const struct rlimit large = { RLIM_INFINITY, RLIM_INFINITY };
	struct world w;
	int r = 0, n = 0;

	world_new(&w, 3);
	ck_assert_int_eq(write_chunk(&w, 1, 1, 0, 3000, true), 0);
	ff3_log_open("test", FF3_LOG_ERROR - 1);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (; r == 0 && n < 200; n++)
		r = write_chunk(&w, 0, 0, 0, 3000, true);
	ck_assert_int_eq(r, FF3_E_OFFLINE);
	ck_assert_int_eq(sync_ino(&w, 1), FF3_E_OFFLINE);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
	drive(&w, 0);
	ck_assert(chunkd_store_idle(w.store));
	world_close(&w);
	world_open(&w);
	ck_assert(verify_all(&w));
	world_free(&w);
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

static void compared_done(struct chunkd_read *rd)
{
	*(bool *)rd->user = true;
}

/* By somebody who compares. Status; ret: what of the result is as its checksums say. */
static int read_comparing(struct world *w, uint32_t offset, uint32_t len, bool *ret)
{
	static struct chunkd_read rd;
	uint32_t crcs[CHUNKD_READ_CRCS], n;
	bool done = false;

	rd = (struct chunkd_read){ .done = compared_done, .user = &done, .ino = 1, .offset = offset,
				   .length = len, .compares = true };
	chunkd_store_read(w->store, &rd);
	ck_assert(finish(w, &done));
	if (rd.status < 0)
		return rd.status;
	n = make_crcs(crcs, rd.data, offset, rd.length);
	ck_assert_uint_eq(n, rd.n_crcs);
	*ret = memcmp(crcs, rd.crcs, n * 4) == 0;
	chunkd_block_unref(rd.block);
	return 0;
}

/* Of a chunk of 100000 bytes whose block 5 is damaged. */
static void read_damaged_comparing(struct world *w)
{
	const uint32_t bad = 5 * FF3_BLOCK;
	uint64_t counted = chunkd_store_stats(w->store)->checksum_errors;
	bool same = true;

	/* Whole blocks come with the checksums that they were stored with: who compares sees it, and asks again. */
	ck_assert_int_eq(read_comparing(w, bad, FF3_BLOCK, &same), 0);
	ck_assert(!same);
	ck_assert_int_eq(read_comparing(w, bad - 10, FF3_BLOCK + 20, &same), 0);
	ck_assert(!same);
	ck_assert_uint_eq(chunkd_store_stats(w->store)->checksum_errors, counted);
	/* Of a part of a block nobody else can see it. */
	ck_assert_int_eq(read_comparing(w, bad + 1, 10, &same), FF3_E_CHECKSUM);
	ck_assert_int_eq(read_comparing(w, bad - FF3_BLOCK, FF3_BLOCK + 1, &same), FF3_E_CHECKSUM);
	ck_assert_int_eq(read_comparing(w, bad + 1, 3 * FF3_BLOCK, &same), FF3_E_CHECKSUM);
	ck_assert_uint_eq(chunkd_store_stats(w->store)->checksum_errors, counted + 3);
	/* It is not kept for those who do not compare. */
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(read_comparing(w, 0, 100000, &same), FF3_E_CHECKSUM);
	ck_assert_int_eq(read_comparing(w, bad + FF3_BLOCK, 100000, &same), 0);
	ck_assert(same);
}

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
	read_damaged_comparing(&w);
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

static uint64_t loads(struct world *w)
{
	return chunkd_store_stats(w->store)->loads;
}

static uint64_t from_memory(struct world *w, uint32_t offset, uint32_t len)
{
	uint64_t before = chunkd_store_stats(w->store)->read_memory;

	check_read(w, 0, 0, offset, len);
	return chunkd_store_stats(w->store)->read_memory - before;
}

/* What comes into memory: not what is read once, in large pieces or at random. */
START_TEST(admission)
{
	struct world w;
	uint64_t before;

	world_new(&w, 15);
	ck_assert_int_eq(write_chunk(&w, 0, 0, 0, 131072, true), 0);
	ck_assert_uint_eq(from_memory(&w, 0, 131072), 1); /* just written */
	restart(&w);
	ck_assert_uint_eq(from_memory(&w, 0, 131072), 0); /* whole, once */
	ck_assert_uint_eq(from_memory(&w, 0, 131072), 0); /* twice: it stays */
	ck_assert_uint_eq(from_memory(&w, 5000, 100), 1);
	restart(&w);
	for (uint32_t i = 0; i < 8; i++) /* random, less than a load would cost */
		ck_assert_uint_eq(from_memory(&w, (i * 5 % 8) * 16384, 4096), 0);
	ck_assert_uint_eq(loads(&w), 0);
	ck_assert_uint_eq(from_memory(&w, 3 * 16384, 4096), 1);
	ck_assert_uint_eq(loads(&w), 1);
	restart(&w);
	from_memory(&w, 40960, 4096);
	from_memory(&w, 45056, 4096);
	ck_assert_uint_eq(loads(&w), 0);
	ck_assert_uint_eq(from_memory(&w, 49152, 4096), 1); /* in sequence */
	ck_assert_uint_eq(loads(&w), 1);
	restart(&w);
	from_memory(&w, 0, 65536);
	before = chunkd_store_stats(w.store)->read_disk_bytes;
	from_memory(&w, 65536, 65536); /* a stream of large pieces reads each byte once */
	ck_assert_uint_le(chunkd_store_stats(w.store)->read_disk_bytes - before, 65536);
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
	tcase_add_test(tc, index_error);
	tcase_add_test(tc, no_space);
	tcase_add_test(tc, bit_flip);
	tcase_add_test(tc, admission);
	tcase_add_test(tc, refused_and_repeated);
	tcase_add_test(tc, lock);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
