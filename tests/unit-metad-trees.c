/* Removing whole trees, without a daemon: what a step does, that steps are bounded, that each stop in
 * between is a state to go on from, who may, and a database of the format before. */
#include <check.h>
#include <sqlite3.h>
#include <stdio.h>

#include "metad_direct.h"

#define N 300u

static struct md *d;

static void setup(void)
{
	d = md_new();
}

static void teardown(void)
{
	md_free(d);
}

static void make(const char *path)
{
	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = md_at(path), .mode = 0755), 0);
}

static uint64_t make_file(const char *path)
{
	struct ff3_rep_open p;

	ck_assert_int_eq(MD(d, open, &p, .tag = md_tag(d), .at = md_at(path), .mode = 0644,
			    .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE),
			 0);
	return p.attr.ino;
}

static int take_down(uint64_t max)
{
	max = htole64(max);
	memcpy(d->body, &max, 8);
	return md_apply(d, METAD_OP_take_down, 8);
}

static struct metad_removal removal(uint64_t root)
{
	struct metad_removal r;

	ck_assert_int_eq(metad_db_get_removal(d->db, root, &r), 1);
	return r;
}

static int note(void *arg, uint64_t ino, uint64_t a, uint64_t b)
{
	uint64_t *list = arg;

	list[++list[0]] = ino;
	return 0;
}

/* What the cleaner does after the steps: collects what is orphaned, and says that chunks are gone. */
static void clean_up(void)
{
	static uint64_t list[2 * N + 16];

	list[0] = 0;
	metad_db_each_orphan(d->db, 0, note, list);
	memcpy(d->body, list + 1, 8 * list[0]);
	ck_assert_int_eq(md_apply(d, METAD_OP_collect, 8 * list[0]), 0);
	list[0] = 0;
	metad_db_each_garbage(d->db, 0, note, list);
	memcpy(d->body, list + 1, 8 * list[0]);
	ck_assert_int_eq(md_apply(d, METAD_OP_garbage_done, 8 * list[0]), 0);
}

/* A tree of N files, some directories and a link; opened anew between the steps. */
START_TEST(in_steps)
{
	uint64_t inodes = metad_db_meta(d->db)->n_inodes;
	struct ff3_rep_remove_tree p;
	struct metad_removal r;
	struct metad_inode top;
	unsigned steps = 0;
	char name[32];
	bool more;

	make("t");
	make("t/a");
	make("t/a/b");
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, i % 2 ? "t/f%u" : "t/a/b/f%u", i);
		make_file(name);
	}
	ck_assert_int_eq(MD_NEXT(d, symlink, .at = md_at("t/a/l"), .target = FF3_STR("x")), 0);
	ck_assert_int_eq(MD_NEXT(d, link, .from = md_at("t/f1"), .to = md_at("kept")), 0);
	ck_assert_int_eq(MD(d, remove_tree, &p, .tag = md_tag(d), .at = md_at("t")), 0);
	ck_assert(d->apply->effects.trees);
	ck_assert_int_eq(metad_db_get_inode(d->db, p.removal, &top), 1);
	ck_assert_uint_eq(top.nlink, 0);
	ck_assert_int_eq(MD_NEXT(d, rmdir, .at = md_at("t")), -ENOENT);
	do {
		uint64_t before = metad_db_meta(d->db)->n_inodes;

		ck_assert_int_eq(take_down(50), 0);
		ck_assert_uint_le(d->apply->n_dropped, 50);
		ck_assert_uint_le(before - metad_db_meta(d->db)->n_inodes, 1); /* the link */
		steps++;
		more = d->apply->effects.trees;
		md_reopen(d);
	} while (more);
	ck_assert_uint_ge(steps, (N + 4) / 50);
	r = removal(p.removal);
	ck_assert_uint_eq(r.names, N + 1);
	ck_assert_uint_eq(r.dirs, 3);
	ck_assert_uint_eq(r.pending, 0);
	ck_assert_uint_eq(r.waiting, N - 1 + 3);
	ck_assert_int_eq(r.ended, 0);
	clean_up();
	r = removal(p.removal);
	ck_assert_uint_eq(r.waiting, 0);
	ck_assert_int_ne(r.ended, 0);
	ck_assert_uint_eq(metad_db_meta(d->db)->n_inodes, inodes + 1);
	ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("kept")), 0);
}
END_TEST

static struct ff3_path in(uint64_t dir, const char *name)
{
	return (struct ff3_path){ dir, 0, ff3_str_from(name) };
}

/* By a handle of it, things may still be done in a removed tree; where it was reached nothing new comes. */
START_TEST(inside)
{
	struct ff3_rep_remove_tree p;
	struct ff3_rep_mkdir made;
	struct metad_inode top;

	make("t");
	make("u");
	ck_assert_int_eq(MD(d, mkdir, &made, .tag = md_tag(d), .at = md_at("t/sub"), .mode = 0755), 0);
	make("t/sub/below");
	make("t/dir");
	ck_assert_int_eq(MD(d, remove_tree, &p, .tag = md_tag(d), .at = md_at("t")), 0);
	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = in(p.removal, "new"), .mode = 0755), -ENOENT);
	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = in(made.attr.ino, "new"), .mode = 0755), 0);
	ck_assert_int_eq(MD_NEXT(d, rename, .from = md_at("u"), .to = in(p.removal, "sub/below")), 0);
	make("v");
	ck_assert_int_eq(MD_NEXT(d, rename, .from = md_at("v"), .to = in(p.removal, "dir")), -ENOENT);
	ck_assert_int_eq(MD_NEXT(d, rename, .from = md_at("v"), .to = in(p.removal, "dir"), .flags = 2),
			 -ENOENT);
	ck_assert_int_eq(MD_NEXT(d, rmdir, .at = in(p.removal, "dir")), 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, p.removal, &top), 1);
	ck_assert_uint_eq(top.nlink, 0);
	/* Out of it again. */
	ck_assert_int_eq(MD_NEXT(d, rename, .from = in(made.attr.ino, "new"), .to = md_at("new")), 0);
	while (take_down(METAD_TREE_STEP) == 0 && d->apply->effects.trees)
		;
	clean_up();
	ck_assert_int_ne(removal(p.removal).ended, 0);
	ck_assert_uint_eq(metad_db_meta(d->db)->n_inodes, 3); /* root, v, new */
}
END_TEST

/* Too many to judge: nothing is done, whoever else may judges no more. */
START_TEST(too_many)
{
	static uint8_t buf[65536];
	struct metad_record rec = { .cred = { 0 } }, decoded;
	size_t size;
	char name[32];

	d->cred = (struct metad_cred){ .uid = 7, .gid = 7 };
	make("t");
	metad_db_begin(d->db);
	for (unsigned i = 0; i < 65536; i++) {
		snprintf(name, sizeof name, "t/%u", i);
		rec = (struct metad_record){
			.seq = ++d->seq, .epoch = 1, .prev_hash = d->hash, .time = 5, .cred = d->cred,
			.ino = d->next_ino++, .op = FF3_OP_mkdir,
			.payload = { d->body, (uint32_t)ff3_encode_req_mkdir(
						      d->body, sizeof d->body,
						      &(struct ff3_req_mkdir){ .at = md_at(name),
									       .mode = 0755 }) },
		};
		metad_record_encode(buf, &rec);
		ck_assert_int_eq(metad_record_decode(buf, sizeof buf, &decoded, &size), 0);
		d->hash = metad_record_hash(buf, size);
		ck_assert_int_eq(metad_apply(d->apply, &decoded, d->hash), 0);
		ck_assert_int_eq(d->apply->status, 0);
	}
	metad_db_commit(d->db);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t")), -E2BIG);
	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = md_at("t/0/x"), .mode = 0755), 0);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t/0")), 0);
	d->cred = (struct metad_cred){ 0 };
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t")), 0);
}
END_TEST

START_TEST(errors)
{
	make("t");
	make_file("t/f");
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("")), -EBUSY);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t/.")), -EINVAL);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t/..")), -ENOTEMPTY);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t/f")), -ENOTDIR);
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("none")), -ENOENT);
	d->cred = (struct metad_cred){ .uid = 7, .gid = 7 };
	ck_assert_int_eq(MD_NEXT(d, remove_tree, .at = md_at("t")), -EPERM); /* the root is sticky */
}
END_TEST

/* The last 64 that ended are known. */
START_TEST(remembered)
{
	struct ff3_rep_remove_tree p, first = { 0 };
	struct metad_removal r;

	for (unsigned i = 0; i < 66; i++) {
		make("t");
		ck_assert_int_eq(MD(d, remove_tree, &p, .tag = md_tag(d), .at = md_at("t")), 0);
		first = i == 0 ? p : first;
		take_down(METAD_TREE_STEP);
		clean_up();
	}
	ck_assert_int_ne(removal(p.removal).ended, 0);
	ck_assert_int_eq(metad_db_get_removal(d->db, first.removal, &r), 0);
}
END_TEST

/* A database as it was before there were trees. */
START_TEST(older_format)
{
	struct ff3_rep_remove_tree p;
	char path[128];
	uint64_t ino;
	sqlite3 *sql;

	make("t");
	ino = make_file("f");
	ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("f")), 0);
	snprintf(path, sizeof path, "%s/metad.db", d->dir);
	ck_assert_int_eq(sqlite3_open(path, &sql), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(sql,
				      "DROP TABLE trees; DROP TABLE removals;"
				      "ALTER TABLE orphans DROP COLUMN root;"
				      "ALTER TABLE garbage DROP COLUMN root;"
				      "UPDATE meta SET format = 1;",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(sql);
	md_reopen(d);
	ck_assert_int_eq(MD(d, remove_tree, &p, .tag = md_tag(d), .at = md_at("t")), 0);
	ck_assert_int_eq(take_down(METAD_TREE_STEP), 0);
	clean_up();
	ck_assert_int_ne(removal(p.removal).ended, 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, ino, &(struct metad_inode){ 0 }), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metad-trees");
	TCase *tc = tcase_create("trees");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, in_steps);
	tcase_add_test(tc, inside);
	tcase_add_test(tc, too_many);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, remembered);
	tcase_add_test(tc, older_format);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
