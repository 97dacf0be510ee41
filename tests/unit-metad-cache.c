/* What metad has in memory: nothing but what was put there last, whatever has to go for it; and what is read from the
 * database beforehand is taken only where no later operation has changed it. */
#include <check.h>
#include <stdio.h>

#include "metad_direct.h"

#include "../metad/cache.h"

/* --- The cache alone --------------------------------------------------------------------------- */

#define N 3000u

static uint64_t seed = 88172645463325252ull;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Of all shapes: like most, with times of its own, and with numbers that only the widest form holds. */
static struct metad_inode random_inode(uint64_t ino)
{
	uint64_t kind = next_random() % 8;
	int64_t born = (int64_t)(next_random() >> 2), changed = born + (int64_t)(next_random() >> 20);
	struct metad_inode n = {
		.ino = ino,
		.generation = 1,
		.size = next_random() >> 20,
		.atime = kind == 1 ? changed : born,
		.mtime = changed,
		.ctime = changed,
		.btime = born,
		.parent = next_random() >> 30,
		.name_hash = next_random(),
		.mode = (next_random() % 4 ? S_IFREG : S_IFDIR) | (uint32_t)(next_random() & 07777),
		.uid = (uint32_t)next_random(),
		.gid = (uint32_t)next_random(),
		.nlink = 1,
		.chunk_size = kind == 2 ? 0 : 1u << (16 + next_random() % 9),
		.stripe = (uint32_t)next_random(),
		.seed = (uint32_t)next_random(),
		.truncs = (uint32_t)next_random() & 0xff,
		.pin = (uint8_t)(next_random() % 3),
		.sparse = next_random() & 1,
	};

	if (kind == 3)
		n.ctime += 5;
	if (kind == 4)
		n.btime = changed + 7;
	switch (kind == 5 ? next_random() % 7 : 7) {
	case 0: n.size = UINT64_MAX >> 1; break;
	case 1: n.nlink = 70000; break;
	case 2: n.generation = 256; break;
	case 3: n.truncs = 256; break;
	case 4: n.pin = 8; break;
	case 5: n.parent = UINT64_C(1) << 48; break;
	case 6: n.chunk_size = 3 << 16; break;
	}
	return n;
}

static void same_inode(const struct metad_inode *a, const struct metad_inode *b)
{
	ck_assert(a->ino == b->ino && a->generation == b->generation && a->size == b->size);
	ck_assert(a->atime == b->atime && a->mtime == b->mtime && a->ctime == b->ctime && a->btime == b->btime);
	ck_assert(a->parent == b->parent && a->name_hash == b->name_hash && a->mode == b->mode);
	ck_assert(a->uid == b->uid && a->gid == b->gid && a->nlink == b->nlink && a->truncs == b->truncs);
	ck_assert(a->chunk_size == b->chunk_size && a->stripe == b->stripe && a->seed == b->seed);
	ck_assert(a->pin == b->pin && a->sparse == b->sparse);
}

/* Changes and looks at inodes at random. Returns how many of those that are were found. */
static unsigned try_inodes(uint64_t bytes, uint64_t high)
{
	static struct metad_inode model[N];
	struct metad_inode found;
	struct metad_cache *c;
	unsigned n = 0;

	memset(model, 0, sizeof model);
	ck_assert_int_eq(metad_cache_new(bytes, &c), 0);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t k = next_random() % N;

		if (next_random() % 2 == 0) /* directories that were looked at are kept apart */
			metad_cache_get_inode(c, high + k, &found);
		if (next_random() % 8 == 0) {
			metad_cache_del_inode(c, high + k);
			model[k].ino = 0;
			ck_assert(!metad_cache_get_inode(c, high + k, &found));
		} else if (next_random() % 4 == 0) {
			model[k] = random_inode(high + k);
			metad_cache_put_inode(c, &model[k]);
			ck_assert(metad_cache_get_inode(c, high + k, &found));
			same_inode(&model[k], &found);
		} else if (model[k].ino != 0 && next_random() % 2 == 0) {
			metad_cache_offer_inode(c, &model[k]);
		}
		k = next_random() % N;
		if (!metad_cache_get_inode(c, high + k, &found))
			continue;
		ck_assert_uint_eq(model[k].ino, high + k);
		same_inode(&model[k], &found);
	}
	for (unsigned k = 0; k < N; k++)
		n += metad_cache_get_inode(c, high + k, &found);
	metad_cache_free(c);
	return n;
}

START_TEST(inodes_are_as_they_were_put)
{
	ck_assert_uint_ge(try_inodes(FF3_MIB(4), 1), N / 2);
	ck_assert_uint_ge(try_inodes(FF3_KIB(64), 1), 100); /* most have to go */
	ck_assert_uint_ge(try_inodes(FF3_KIB(64), UINT64_C(1) << 50), 100);
}
END_TEST

static struct ff3_str random_name(uint64_t k, char buf[FF3_NAME_MAX + 1])
{
	uint32_t len = k % 5 == 0 ? FF3_NAME_MAX : (uint32_t)(8 + k % 60);

	memset(buf, 'x', FF3_NAME_MAX);
	snprintf(buf, 9, "%08x", (unsigned)k);
	buf[8] = 'x';
	return (struct ff3_str){ buf, len };
}

static unsigned try_names(uint64_t bytes)
{
	static uint64_t model[N]; /* 0: absent */
	static bool known[N];
	struct metad_cache *c;
	unsigned n = 0;

	memset(known, 0, sizeof known);
	ck_assert_int_eq(metad_cache_new(bytes, &c), 0);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t k = next_random() % N, parent = 1 + k % 7, ino;
		char buf[FF3_NAME_MAX + 1];
		struct ff3_str name = random_name(k, buf);
		uint64_t hash = metad_name_hash(parent, name);
		uint32_t type;

		if (metad_cache_get_name(c, parent, hash, name, &ino, &type)) {
			ck_assert(known[k]);
			ck_assert_uint_eq(ino, model[k]);
			ck_assert_uint_eq(type, ino ? 8 : 0);
			n++;
		}
		if (next_random() % 4 == 0) {
			model[k] = next_random() % 3 == 0 ? 0 : next_random() >> (next_random() % 8 ? 20 : 8);
			known[k] = true;
			metad_cache_put_name(c, parent, hash, name, model[k], model[k] ? 8 : 0);
		} else if (known[k]) {
			metad_cache_offer_name(c, parent, hash, name, model[k], model[k] ? 8 : 0);
		}
	}
	metad_cache_free(c);
	return n;
}

START_TEST(names_are_as_they_were_put)
{
	ck_assert_uint_ge(try_names(FF3_MIB(4)), 100000);
	ck_assert_uint_ge(try_names(FF3_KIB(64)), 1000);
}
END_TEST

/* A thousand of most bytes' worth have room, and an offer takes nobody else's. */
START_TEST(offers_take_nobodys_room)
{
	struct metad_inode inode = { .generation = 1, .mode = S_IFREG | 0644, .nlink = 1 };
	struct metad_cache *c;
	unsigned n = 0, n_names = 0;
	uint64_t ino;
	uint32_t type;
	char buf[FF3_NAME_MAX + 1];

	ck_assert_int_eq(metad_cache_new(1000 * METAD_CACHE_BYTES, &c), 0);
	for (inode.ino = 1; inode.ino <= 4000; inode.ino++) {
		struct ff3_str name = { buf, (uint32_t)snprintf(buf, sizeof buf, "file%" PRIu64, inode.ino) };

		n += metad_cache_offer_inode(c, &inode);
		n_names += metad_cache_offer_name(c, 1, metad_name_hash(1, name), name, inode.ino, 8);
		if (inode.ino == 1000) {
			ck_assert_uint_eq(n, 1000);
			ck_assert_uint_ge(n_names, 950);
		}
	}
	ck_assert_uint_lt(n, 2000);
	ck_assert_uint_lt(n_names, 2000);
	for (uint64_t i = 1; i <= 4000; i++) {
		struct ff3_str name = { buf, (uint32_t)snprintf(buf, sizeof buf, "file%" PRIu64, i) };

		n -= metad_cache_get_inode(c, i, &inode);
		n_names -= metad_cache_get_name(c, 1, metad_name_hash(1, name), name, &ino, &type);
	}
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(n_names, 0);
	metad_cache_free(c);
}
END_TEST

/* --- Read beforehand --------------------------------------------------------------------------- */

#define FILES 600u

static struct md *d;
static struct metad_db *reader;
static struct metad_db_scan *scan;

static void make(const char *name)
{
	ck_assert_int_eq(MD_NEXT(d, open, .at = md_at(name), .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE, .mode = 0644),
			 0);
}

static void setup(void)
{
	char name[32];

	d = md_new();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file%u", i);
		make(name);
	}
	md_reopen(d);
	ck_assert_int_eq(metad_db_track_changes(d->db), 0);
	ck_assert_int_eq(metad_db_open_reader(metad_db_path(d->db), FF3_MIB(1), &reader), 0);
	scan = calloc(1, sizeof *scan);
}

static void teardown(void)
{
	free(scan);
	metad_db_close(reader);
	md_free(d);
}

static struct metad_db_scan_result scan_all(void)
{
	struct metad_db_scan_result sum = { 0 }, one;

	while (!scan->done) {
		ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
		metad_db_scan_take(d->db, scan, &one);
		sum.n_taken += one.n_taken;
		sum.n_changed += one.n_changed;
		sum.n_no_room += one.n_no_room;
		metad_db_scan_next(scan, false);
	}
	return sum;
}

static uint64_t ino_of(const char *name)
{
	struct ff3_str s = ff3_str_from(name);
	uint64_t ino = 0;
	uint32_t type;

	ck_assert_int_ge(metad_db_get_dentry(d->db, FF3_ROOT_INO, s, &ino, &type), 0);
	return ino;
}

START_TEST(all_are_found_without_asking)
{
	struct metad_db_scan_result sum = scan_all();
	struct metad_inode inode;
	uint64_t asked;
	char name[32];

	ck_assert_uint_eq(sum.n_taken, 2 * FILES + 1);
	ck_assert_uint_eq(sum.n_changed + sum.n_no_room, 0);
	asked = metad_db_n_asked(d->db);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file%u", i);
		ck_assert_int_eq(metad_db_get_inode(d->db, ino_of(name), &inode), 1);
		ck_assert_uint_eq(inode.mode, S_IFREG | 0644);
	}
	ck_assert_uint_eq(metad_db_n_asked(d->db), asked);
}
END_TEST

/* Read, then removed, and what is known of that pushed out of memory: it does not come back. */
START_TEST(what_was_changed_since_is_left_out)
{
	struct metad_db_scan_result one;
	struct metad_inode inode;
	uint64_t ino = ino_of("file7");
	unsigned n_changed = 0;
	char name[32];

	metad_db_read_end(d->db);
	md_hold(d);
	while (!scan->done) {
		ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
		if (scan->n_names > 0 && ino != 0) {
			ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("file7")), 0);
			ck_assert_int_eq(metad_db_get_inode(d->db, ino, &inode), 1);
			ck_assert_int_eq(metad_db_del_inode(d->db, &inode), 0);
			for (unsigned i = 0; i < 30000; i++) {
				snprintf(name, sizeof name, "none%u", i);
				ck_assert_uint_eq(ino_of(name), 0);
			}
			ino = 0;
			inode.mode = 0;
		}
		metad_db_scan_take(d->db, scan, &one);
		n_changed += one.n_changed;
		metad_db_scan_next(scan, false);
	}
	ck_assert_uint_ge(n_changed, 2); /* the name, and the inode */
	ck_assert_uint_eq(ino_of("file7"), 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, inode.ino, &inode), 0);
	ck_assert_uint_ne(ino_of("file8"), 0);
	md_let_go(d);
}
END_TEST

/* With all names in memory nobody asks for one that does not exist; and nobody believes so when one had to go. */
START_TEST(absent_names_are_known)
{
	char name[32];
	uint64_t asked;

	metad_db_scan_begin(d->db);
	scan_all();
	ck_assert(!metad_db_has_all_names(d->db));
	metad_db_scan_has_all_names(d->db);
	asked = metad_db_n_asked(d->db);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "none%u", i);
		ck_assert_uint_eq(ino_of(name), 0);
	}
	ck_assert_uint_eq(metad_db_n_asked(d->db), asked);
	ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("file7")), 0);
	ck_assert_uint_eq(ino_of("file7"), 0);
	make("file7");
	ck_assert_uint_ne(ino_of("file7"), 0);
	ck_assert_uint_eq(metad_db_n_asked(d->db), asked);
	md_hold(d);
	for (unsigned i = 0; i < 40000; i++) {
		snprintf(name, sizeof name, "another%u", i);
		make(name);
	}
	md_let_go(d);
	for (unsigned i = 0; i < 40000; i++) {
		snprintf(name, sizeof name, "another%u", i);
		ck_assert_uint_ne(ino_of(name), 0);
	}
	ck_assert_uint_gt(metad_db_n_asked(d->db), asked);
	ck_assert_uint_eq(ino_of("none1"), 0);
}
END_TEST

/* What was applied before, and is not committed, is not there to be read: so it begins later. */
START_TEST(a_state_of_before_is_not_taken)
{
	struct metad_db_scan_result one;

	md_hold(d);
	make("late");
	metad_db_scan_begin(d->db);
	ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
	metad_db_scan_take(d->db, scan, &one);
	ck_assert(one.is_early);
	ck_assert_uint_eq(one.n_taken, 0);
	md_let_go(d);
	ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
	metad_db_scan_take(d->db, scan, &one);
	ck_assert(!one.is_early);
	ck_assert_uint_gt(one.n_taken, 0);
}
END_TEST

/* Rows that seem to have changed, as others have whose keys have the same hash, are looked up. */
START_TEST(changed_names_are_asked_for)
{
	struct metad_db_scan_result one;
	char name[32];

	metad_db_scan_begin(d->db);
	ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
	md_hold(d);
	ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("file7")), 0);
	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = md_at("file7"), .mode = 0755), 0);
	for (unsigned i = 0; i < 30000; i++) {
		snprintf(name, sizeof name, "none%u", i);
		ck_assert_uint_eq(ino_of(name), 0);
	}
	for (unsigned i = 0; i < 2 && !scan->names_done; i++) {
		metad_db_scan_take(d->db, scan, &one);
		metad_db_scan_next(scan, false);
		ck_assert_int_eq(metad_db_scan_read(reader, scan), 0);
	}
	ck_assert_uint_ne(ino_of("file7"), 0);
	md_let_go(d);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("metad-cache");
	TCase *alone = tcase_create("alone"), *scans = tcase_create("scans");

	tcase_set_timeout(alone, 60);
	tcase_add_test(alone, inodes_are_as_they_were_put);
	tcase_add_test(alone, names_are_as_they_were_put);
	tcase_add_test(alone, offers_take_nobodys_room);
	suite_add_tcase(s, alone);
	tcase_set_timeout(scans, 60);
	tcase_add_checked_fixture(scans, setup, teardown);
	tcase_add_test(scans, all_are_found_without_asking);
	tcase_add_test(scans, what_was_changed_since_is_left_out);
	tcase_add_test(scans, absent_names_are_known);
	tcase_add_test(scans, a_state_of_before_is_not_taken);
	tcase_add_test(scans, changed_names_are_asked_for);
	suite_add_tcase(s, scans);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int n_failed;

	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
