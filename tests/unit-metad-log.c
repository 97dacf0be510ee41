/* The log: what recovery keeps, drops, and refuses. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>

#include "../common/base/log.h"
#include "metad_direct.h"

#define KEY 0x1234567890abcdefull
#define SEGMENT (METAD_BATCH_MAX + 4 * METAD_LOG_BLOCK)

static char dir[64];
static struct metad_log *log_;

static void setup(void)
{
	snprintf(dir, sizeof dir, "/tmp/ff3fs-unit-log.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(metad_log_open(dir, KEY, SEGMENT, &log_), 0);
	ck_assert_int_eq(metad_log_begin(log_, 0, 0), 0);
	metad_log_set_epoch(log_, 1);
}

static void teardown(void)
{
	char path[128];

	metad_log_close(log_);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(path, sizeof path, "%s/log-%03u", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

static void append(unsigned n, size_t payload)
{
	static uint8_t bytes[65536];

	for (unsigned i = 0; i < n; i++) {
		struct metad_record r = { .op = METAD_OP_collect,
					  .time = 1,
					  .payload = { bytes, (uint32_t)payload } };

		memset(bytes, (int)i, payload);
		ck_assert_int_eq(metad_log_append(log_, &r), 0);
	}
}

static struct metad_log_write cut(void)
{
	struct metad_log_write w;

	ck_assert_int_eq(metad_log_cut(log_, &w), 0);
	return w;
}

static void write_out(void)
{
	struct metad_log_write w = cut();

	ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
	metad_log_written(log_);
}

static int look(void *arg, const struct metad_record *r, uint64_t hash)
{
	uint64_t *n = arg;

	ck_assert_uint_gt(r->seq, 0);
	*n = r->seq;
	return 0;
}

/* Reads it all again as a new daemon would: how many records, or the error. */
static int64_t recover_after(uint64_t seq, uint64_t hash)
{
	struct metad_log *again;
	struct metad_log_found found;
	uint64_t n = 0;
	int r;

	ck_assert_int_eq(metad_log_open(dir, KEY, SEGMENT, &again), 0);
	r = metad_log_recover(again, seq, hash, look, &n, &found);
	for (uint64_t i = found.first_seq; r == 0 && i <= found.last_seq; i++) {
		struct metad_record rec;
		uint64_t h;

		ck_assert_int_eq(metad_log_get_record(again, i, &rec, &h), 0);
		ck_assert_uint_eq(rec.seq, i);
	}
	metad_log_close(again);
	if (r == 0 && found.absent && seq > 0)
		return -ENODATA;
	return r < 0 ? r : found.foreign ? -ESTALE : found.lost_seq ? -EBADMSG : (int64_t)found.last_seq;
}

static int64_t recover(void)
{
	return recover_after(0, 0);
}

static int segment_fd(unsigned slot)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/log-%03u", dir, slot);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void flip(unsigned slot, off_t at)
{
	int fd = segment_fd(slot);
	uint8_t b;

	ck_assert_int_eq(pread(fd, &b, 1, at), 1);
	b ^= 4;
	ck_assert_int_eq(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

START_TEST(everything_written_comes_back)
{
	ck_assert_int_eq(recover(), 0);
	for (unsigned i = 0; i < 20; i++) {
		append(1 + i % 3, 100 * i);
		write_out();
	}
	ck_assert_int_eq(recover(), 39);
}
END_TEST

/* The last batch cut off after any number of bytes was never acknowledged: all before it is there. */
START_TEST(torn_tail_at_every_length)
{
	struct metad_log_write w;

	append(3, 50);
	write_out();
	append(40, 300);
	w = cut();
	ck_assert_uint_gt(w.len, 3 * METAD_LOG_BLOCK);
	for (size_t n = 0; n < w.len; n += n < 200 ? 1 : 97) {
		static uint8_t zeros[64 * 1024];
		_cleanup_free_ uint8_t *part = aligned_alloc(4096, w.len);

		memcpy(part, w.buf, w.len);
		memcpy(part + n, zeros, MIN(w.len - n, sizeof zeros));
		ck_assert_int_eq(pwrite(w.fd, part, w.len, (off_t)w.offset), (ssize_t)w.len);
		ck_assert_int_eq(recover(), n < 40 * (88 + 304) + 64 ? 3 : 43);
	}
	/* Blocks in any order: the first missing, the rest there. */
	ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
	ck_assert_int_eq(recover(), 43);
	flip(0, (off_t)w.offset);
	ck_assert_int_eq(recover(), 3);
}
END_TEST

/* A damaged bit anywhere in a batch that a later one knows to be durable: refused. */
START_TEST(damage_in_the_middle_is_refused)
{
	unsigned refused = 0;

	append(3, 50);
	write_out();
	append(5, 1000);
	write_out();
	append(2, 10);
	write_out();
	/* Header block 0, first batch 4096, second batch 8192 … 8192 + 64 + 5 * 1088, third batch. */
	for (off_t at = 8192; at < 8192 + 64 + 5 * 1088; at += 61) {
		flip(0, at);
		refused += recover() == -EBADMSG;
		ck_assert_int_eq(recover(), -EBADMSG);
		/* The database has it: nothing is lost. */
		flip(0, at);
	}
	ck_assert_uint_gt(refused, 80);
	ck_assert_int_eq(recover(), 10);
}
END_TEST

/* The marker that follows the last batch makes damage of the last batch known, too. */
START_TEST(marked_tail_is_not_taken_for_torn)
{
	append(5, 100);
	write_out();
	flip(0, 4096 + 100);
	ck_assert_int_eq(recover(), 0); /* nobody can know */
	flip(0, 4096 + 100);
	ck_assert_uint_eq(metad_log_durable_seq(log_), 5);
	write_out(); /* empty: only tells that 5 are durable */
	ck_assert_int_eq(recover(), 5);
	flip(0, 4096 + 100);
	ck_assert_int_eq(recover(), -EBADMSG);
	flip(0, 4096 + 100);
	flip(0, 8192 + 20); /* the marker itself */
	ck_assert_int_eq(recover(), 5);
}
END_TEST

START_TEST(damage_below_what_the_database_has)
{
	uint64_t hash;

	append(3, 50);
	write_out();
	append(4, 50);
	write_out();
	hash = metad_log_last_hash(log_);
	append(2, 50);
	write_out();
	flip(0, 4096 + 80);
	ck_assert_int_eq(recover(), -EBADMSG);
	ck_assert_int_eq(recover_after(7, hash), 9);
	ck_assert_int_eq(recover_after(7, hash + 1), -ESTALE); /* another database's log */
}
END_TEST

/* Segments are used again; what they held before is not taken for what they hold now. */
START_TEST(recycled_segments)
{
	uint64_t n = 0, hash = 0, released_hash = 0;

	for (unsigned round = 0; round < 40; round++) {
		unsigned slot;

		append(30, 20000);
		n += 30;
		if (metad_log_wants_segment(log_, &slot)) {
			int fd;

			ck_assert_int_eq(metad_log_make_segment(dir, slot, SEGMENT, &fd), 0);
			metad_log_add_segment(log_, slot, fd);
		}
		write_out();
		hash = metad_log_last_hash(log_);
		if (round % 8 == 7) {
			metad_log_release(log_, n, 0);
			released_hash = hash;
			ck_assert_int_eq(recover_after(n, released_hash), (int64_t)n);
		}
	}
	ck_assert_int_eq(recover_after(n, hash), (int64_t)n);
	/* Torn in a segment that was used before: the header of its new use, or only that, is on disk. */
	append(1, 10);
	write_out();
	ck_assert_int_eq(recover_after(n, hash), (int64_t)n + 1);
}
END_TEST

/* The first batch of a segment and the segment's header are one write; either half may be missing. */
START_TEST(torn_first_batch_of_a_segment)
{
	_cleanup_free_ uint8_t *old = NULL;
	struct metad_log_write w;

	append(10, 60000);
	write_out();
	do { /* until the next batch begins the other segment */
		append(50, 60000);
		w = cut();
		ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
		if (w.offset == 0)
			break;
		metad_log_written(log_);
	} while (true);
	ck_assert_int_eq(recover(), 110);
	old = aligned_alloc(4096, w.len);
	memcpy(old, w.buf, w.len);
	memset(old, 0, METAD_LOG_BLOCK); /* the header is missing, the batch is whole */
	ck_assert_int_eq(pwrite(w.fd, old, w.len, 0), (ssize_t)w.len);
	ck_assert_int_eq(recover(), 110);
	memcpy(old, w.buf, w.len);
	memset(old + w.len / 2, 0, METAD_LOG_BLOCK); /* the batch is torn */
	ck_assert_int_eq(pwrite(w.fd, old, w.len, 0), (ssize_t)w.len);
	ck_assert_int_eq(recover(), 60);
}
END_TEST

START_TEST(no_free_segment)
{
	struct metad_log_write w;
	unsigned slot;
	int fd, r = 0;

	for (unsigned i = 0; i < 4 && r == 0; i++) {
		append(60, 60000);
		r = metad_log_cut(log_, &w);
		if (r == 0) {
			ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
			metad_log_written(log_);
		}
	}
	ck_assert_int_eq(r, -EAGAIN);
	ck_assert(metad_log_wants_segment(log_, &slot));
	ck_assert_int_eq(metad_log_make_segment(dir, slot, SEGMENT, &fd), 0);
	metad_log_add_segment(log_, slot, fd);
	write_out();
	ck_assert_int_eq(recover(), 180);
}
END_TEST

START_TEST(missing_log_is_refused)
{
	char path[128];

	append(3, 50);
	write_out();
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/log-%03u", dir, i);
		unlink(path);
	}
	ck_assert_int_eq(recover_after(3, 1), -ENODATA);
	ck_assert_int_eq(recover(), 0);
}
END_TEST

/* What was cut off does not come back, whether it had been written or not; what replaced it does. */
START_TEST(cut_off_and_replaced)
{
	struct metad_record rec;
	uint64_t hash, kept;

	append(5, 50);
	write_out();
	append(5, 5000);
	write_out();
	write_out();
	append(3, 10);
	ck_assert_int_eq(metad_log_get_record(log_, 7, &rec, &kept), 0);
	metad_log_truncate(log_, 7, kept);
	ck_assert_uint_eq(metad_log_last_seq(log_), 7);
	ck_assert_uint_eq(metad_log_n_pending(log_), 0);
	ck_assert_uint_eq(metad_log_durable_seq(log_), 7);
	ck_assert_int_eq(metad_log_get_record(log_, 8, &rec, &hash), -ENOENT);
	ck_assert_int_eq(recover(), 10); /* nothing was written since */
	metad_log_set_epoch(log_, 2);
	append(2, 99);
	write_out();
	ck_assert_int_eq(recover(), 9);
	ck_assert_int_eq(metad_log_get_record(log_, 8, &rec, &hash), 0);
	ck_assert_uint_eq(rec.epoch, 2);
	ck_assert_uint_eq(rec.prev_hash, kept);
	/* Of the batch in the making only. */
	append(4, 20);
	ck_assert_int_eq(metad_log_get_record(log_, 11, &rec, &hash), 0);
	metad_log_truncate(log_, 11, hash);
	ck_assert_uint_eq(metad_log_n_pending(log_), 2);
	append(1, 20);
	write_out();
	write_out();
	ck_assert_int_eq(recover(), 12);
	/* The first batch of the new segment goes bad: that is not the old records' return. */
	flip(1, 4096 + 70);
	ck_assert_int_eq(recover(), -EBADMSG);
	flip(1, 4096 + 70);
	flip(1, 20); /* only its header */
	ck_assert_int_eq(recover(), 12);
}
END_TEST

/* Who found damage notes it by beginning a segment behind what is left: from then on what came behind is
 * void, be it in front of what the database has or not. */
START_TEST(damage_is_noted)
{
	struct metad_log *again;
	struct metad_log_found found;
	struct metad_log_write w;
	uint64_t n, hash;

	for (unsigned i = 0; i < 4; i++) {
		append(3, 50);
		write_out();
	}
	flip(0, 8192 + 100);
	ck_assert_int_eq(recover(), -EBADMSG);
	ck_assert_int_eq(metad_log_open(dir, KEY, SEGMENT, &again), 0);
	ck_assert_int_eq(metad_log_recover(again, 0, 0, look, &n, &found), 0);
	ck_assert_uint_eq(found.last_seq, 3);
	hash = found.last_hash;
	ck_assert_int_eq(metad_log_begin(again, 3, hash), 0);
	ck_assert_int_eq(metad_log_cut(again, &w), 0);
	ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
	metad_log_close(again);
	ck_assert_int_eq(recover(), 3);
	ck_assert_int_eq(recover_after(3, hash), 3);
	/* The segment that says so goes bad: then it is not known again. */
	flip(1, 20);
	flip(1, 4096 + 20);
	ck_assert_int_eq(recover(), -EBADMSG);
}
END_TEST

/* The cut comes while a batch is on its way to the disk. */
START_TEST(cut_off_under_way)
{
	struct metad_log_write w;
	struct metad_record rec;
	uint64_t hash;

	append(3, 50);
	write_out();
	append(6, 50);
	w = cut();
	ck_assert_int_eq(metad_log_get_record(log_, 5, &rec, &hash), 0);
	metad_log_truncate(log_, 5, hash);
	append(1, 50);
	ck_assert_int_eq(pwrite(w.fd, w.buf, w.len, (off_t)w.offset), (ssize_t)w.len);
	metad_log_written(log_);
	ck_assert_uint_eq(metad_log_durable_seq(log_), 5);
	write_out();
	ck_assert_uint_eq(metad_log_durable_seq(log_), 6);
	ck_assert_int_eq(recover(), 6);
}
END_TEST

/* Older records are read from the files, newer ones from memory; released ones are not there. */
START_TEST(read_back)
{
	struct metad_record rec;
	uint64_t hash, n = 0;

	for (unsigned i = 0; i < 9; i++) {
		unsigned slot;
		int fd;

		append(50, 60000);
		n += 50;
		if (metad_log_wants_segment(log_, &slot)) {
			ck_assert_int_eq(metad_log_make_segment(dir, slot, SEGMENT, &fd), 0);
			metad_log_add_segment(log_, slot, fd);
		}
		write_out();
	}
	for (uint64_t seq = n; seq > 0; seq -= 7) {
		ck_assert_int_eq(metad_log_get_record(log_, seq, &rec, &hash), 0);
		ck_assert_uint_eq(rec.seq, seq);
		if (seq < 7)
			break;
	}
	ck_assert_uint_eq(metad_log_first_seq(log_), 1);
	metad_log_release(log_, 200, 0);
	ck_assert_uint_gt(metad_log_first_seq(log_), 100);
	ck_assert_int_eq(metad_log_get_record(log_, 1, &rec, &hash), -ENOENT);
	ck_assert_int_eq(metad_log_get_record(log_, 201, &rec, &hash), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metad-log");
	TCase *tc = tcase_create("log");
	SRunner *runner = srunner_create(suite);
	int failed;

	ff3_log_open("unit", (enum ff3_log_level)0); /* refusals are told hundreds of times */
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everything_written_comes_back);
	tcase_add_test(tc, torn_tail_at_every_length);
	tcase_add_test(tc, damage_in_the_middle_is_refused);
	tcase_add_test(tc, marked_tail_is_not_taken_for_torn);
	tcase_add_test(tc, damage_below_what_the_database_has);
	tcase_add_test(tc, recycled_segments);
	tcase_add_test(tc, torn_first_batch_of_a_segment);
	tcase_add_test(tc, no_free_segment);
	tcase_add_test(tc, missing_log_is_refused);
	tcase_add_test(tc, cut_off_and_replaced);
	tcase_add_test(tc, damage_is_noted);
	tcase_add_test(tc, cut_off_under_way);
	tcase_add_test(tc, read_back);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
