/* The state machine: the same log gives the same database wherever the daemon is killed; answers are
 * kept and pruned; what has to be cleaned up is noted. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>

#include "metad_direct.h"

#define N 400u

static struct md *d;

static void setup(void)
{
	d = md_new();
}

static void teardown(void)
{
	md_free(d);
}

static void copy_database(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof command, "cp %s/metad.db %s/metad.db", from, to);
	ck_assert_int_eq(system(command), 0);
}

/* Applies random record i; from the middle of the list on, those before come again as well. */
static void apply_random(struct md *m, unsigned i)
{
	static uint8_t body[65536], buf[65536];
	struct metad_record rec, decoded;
	size_t size;

	md_random_record(i, &rec, body, sizeof body);
	if (i % 7 == 6) /* a request that is sent again */
		md_random_record(i - 2, &rec, body, sizeof body);
	rec.seq = m->seq + 1;
	rec.prev_hash = m->hash;
	metad_record_encode(buf, &rec);
	ck_assert_int_eq(metad_record_decode(buf, sizeof buf, &decoded, &size), 0);
	m->seq++;
	m->hash = metad_record_hash(buf, size);
	ck_assert_int_eq(metad_db_begin(m->db), 0);
	ck_assert_int_eq(metad_apply(m->apply, &decoded, m->hash), 0);
	ck_assert_int_eq(metad_db_commit(m->db), 0);
}

/* One database lives through, the other is opened anew before every record. */
START_TEST(the_same_wherever_it_stops)
{
	struct md *other = md_new();
	uint64_t a, b;

	md_reopen(d); /* closing writes everything to the file */
	metad_apply_free(other->apply);
	metad_db_close(other->db);
	metad_apply_free(d->apply);
	metad_db_close(d->db);
	copy_database(d->dir, other->dir);
	for (struct md *m = d; m; m = m == d ? other : NULL) {
		ck_assert_int_eq(metad_db_open(m->dir, 4 << 20, 1 << 20, 4, &m->db), 0);
		ck_assert_int_eq(metad_apply_new(m->db, &m->apply), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		apply_random(d, i);
		md_reopen(other);
		apply_random(other, i);
		if (i % 10 != 9)
			continue;
		ck_assert_int_eq(metad_db_digest(d->db, &a), 0);
		ck_assert_int_eq(metad_db_digest(other->db, &b), 0);
		ck_assert_uint_eq(a, b);
	}
	md_free(other);
}
END_TEST

START_TEST(digest_sees_everything)
{
	uint64_t a, b;

	ck_assert_int_eq(MD_NEXT(d, mkdir, .at = md_at("d"), .mode = 0755), 0);
	ck_assert_int_eq(metad_db_digest(d->db, &a), 0);
	ck_assert_int_eq(metad_db_begin(d->db), 0);
	ck_assert_int_eq(metad_db_add_orphan(d->db, 12345, 0), 0);
	ck_assert_int_eq(metad_db_commit(d->db), 0);
	ck_assert_int_eq(metad_db_digest(d->db, &b), 0);
	ck_assert_uint_ne(a, b);
}
END_TEST

static int count_rows(void *arg, uint64_t session, uint64_t max_seq, uint64_t acked, uint64_t n,
		      bool locks)
{
	*(uint64_t *)arg += n;
	return 0;
}

static uint64_t n_results(void)
{
	uint64_t n = 0;

	ck_assert_int_eq(metad_db_each_session(d->db, count_rows, &n), 0);
	return n;
}

START_TEST(answers_are_kept_and_pruned)
{
	struct ff3_tag tag;
	struct ff3_rep_mkdir first, again;

	tag = md_tag(d);
	ck_assert_int_eq(MD(d, mkdir, &first, .tag = tag, .at = md_at("once"), .mode = 0755), 0);
	md_reopen(d);
	ck_assert_int_eq(MD(d, mkdir, &again, .tag = tag, .at = md_at("once"), .mode = 0755), 0);
	ck_assert(d->apply->effects.repeated);
	ck_assert_uint_eq(first.attr.ino, again.attr.ino);
	tag = md_tag(d);
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = tag, .at = md_at("once"), .mode = 0755), -EEXIST);
	ck_assert_int_eq(MD_DO(d, rmdir, .tag = { tag.seq + 1, tag.acked }, .at = md_at("once")), 0);
	d->client_seq++;
	/* An error is an answer, too. */
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = tag, .at = md_at("once"), .mode = 0755), -EEXIST);
	/* What is acknowledged is answered alike, be it in the database or not. */
	ck_assert_int_eq(MD_NEXT(d, setattr, .at = md_at(""), .valid = FF3_SET_MODE, .mode = 01777), 0);
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = tag, .at = md_at("once"), .mode = 0755), -ECANCELED);
	for (unsigned i = 0; i < 500; i++) {
		ck_assert_int_eq(MD_NEXT(d, setattr, .at = md_at(""), .valid = FF3_SET_MODE,
					 .mode = 01777),
				 0);
		ck_assert_uint_le(n_results(), 64);
	}
	/* Pruned, but not forgotten: a late duplicate is not done again. */
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = tag, .at = md_at("once"), .mode = 0755), -ECANCELED);
	md_reopen(d);
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = tag, .at = md_at("once"), .mode = 0755), -ECANCELED);
	memcpy(d->body, &d->session, 8);
	ck_assert_int_eq(md_apply(d, METAD_OP_expire_sessions, 8), 0);
	ck_assert_uint_eq(n_results(), 0);
}
END_TEST

/* In one transaction: what a session acknowledges before it ends is not written. */
START_TEST(most_answers_are_never_written)
{
	struct ff3_rep_mkdir first, again;
	struct ff3_tag tag = md_tag(d);
	const uint64_t last = tag.seq + 98, rows = n_results();

	md_hold(d);
	ck_assert_int_eq(MD(d, mkdir, &first, .tag = tag, .at = md_at("once"), .mode = 0755), 0);
	ck_assert_int_eq(MD(d, mkdir, &again, .tag = tag, .at = md_at("once"), .mode = 0755), 0);
	ck_assert(d->apply->effects.repeated);
	ck_assert_uint_eq(first.attr.ino, again.attr.ino);
	for (uint64_t i = tag.seq + 1; i <= last; i++)
		ck_assert_int_eq(MD_DO(d, setattr, .tag = { i, i - 1 }, .at = md_at(""), .valid = FF3_SET_MODE,
				       .mode = 01777),
				 0);
	ck_assert_uint_eq(n_results(), rows);
	md_let_go(d);
	ck_assert_uint_eq(n_results(), rows + 2);
	md_reopen(d);
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = { last - 2, last - 2 }, .at = md_at("x"), .mode = 0755), -ECANCELED);
	ck_assert_int_eq(MD_DO(d, mkdir, .tag = { last - 1, last - 1 }, .at = md_at("x"), .mode = 0755), 0);
	ck_assert(d->apply->effects.repeated);
}
END_TEST

static int note_locker(void *arg, uint64_t session, uint64_t max_seq, uint64_t acked, uint64_t n,
		       bool locks)
{
	*(uint64_t *)arg += locks;
	return 0;
}

/* That a session takes locks is known until it holds none, however much it does meanwhile. */
START_TEST(who_takes_locks)
{
	uint64_t ids[2] = { d->session, d->session + 1 }, lockers = 0;

	ck_assert_int_eq(MD_NEXT(d, setattr, .at = md_at(""), .valid = FF3_SET_MODE, .mode = 01777), 0);
	ck_assert(!metad_apply_is_locker(d->apply, ids[0]));
	memcpy(d->body, ids, 16);
	ck_assert_int_eq(md_apply(d, METAD_OP_note_sessions, 16), 0);
	memcpy(d->body, ids, 16);
	ck_assert_int_eq(md_apply(d, METAD_OP_note_sessions, 16), 0);
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(MD_NEXT(d, setattr, .at = md_at(""), .valid = FF3_SET_MODE,
					 .mode = 01777),
				 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(metad_apply_is_locker(d->apply, ids[0]));
		ck_assert(metad_apply_is_locker(d->apply, ids[1]));
		md_reopen(d);
	}
	memcpy(d->body, ids, 16);
	ck_assert_int_eq(md_apply(d, METAD_OP_drop_lockers, 16), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(!metad_apply_is_locker(d->apply, ids[0]));
		ck_assert_uint_gt(metad_apply_max_seq(d->apply, ids[0]), 0);
		ck_assert(!metad_apply_is_locker(d->apply, ids[1]));
		md_reopen(d);
	}
	ck_assert_int_eq(metad_db_each_session(d->db, note_locker, &lockers), 0);
	ck_assert_uint_eq(lockers, 0);
}
END_TEST

static int note_ino(void *arg, uint64_t ino, uint64_t a, uint64_t b)
{
	uint64_t *list = arg;

	list[++list[0]] = ino;
	return 0;
}

START_TEST(what_is_to_be_cleaned_up)
{
	struct ff3_rep_open p;
	struct metad_inode inode;
	uint64_t orphans[8] = { 0 }, garbage[8] = { 0 }, truncations[8] = { 0 }, pair[2];

	ck_assert_int_eq(MD(d, open, &p, .tag = md_tag(d), .at = md_at("f"), .mode = 0644,
			    .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE),
			 0);
	ck_assert_uint_eq(p.layout.stripe.len, 4);
	ck_assert_int_eq(MD_NEXT(d, truncate, .at = md_at("f"), .size = 5000), 0);
	ck_assert_int_eq(MD_NEXT(d, truncate, .at = md_at("f"), .size = 100), 0);
	ck_assert_int_eq(MD_NEXT(d, truncate, .at = md_at("f"), .size = 9000), 0);
	metad_db_each_truncation(d->db, 0, note_ino, truncations);
	ck_assert_uint_eq(truncations[0], 1);
	ck_assert_int_eq(metad_db_get_truncation(d->db, p.attr.ino, &pair[0], &pair[1]), 1);
	ck_assert_uint_eq(pair[0], 100); /* the smallest of those that are pending */
	ck_assert_uint_eq(pair[1], 5000);
	/* Done for an older cut: stays. */
	pair[0] = p.attr.ino;
	pair[1] = 1;
	memcpy(d->body, pair, 16);
	ck_assert_int_eq(md_apply(d, METAD_OP_truncation_done, 16), 0);
	ck_assert_int_eq(metad_db_get_truncation(d->db, p.attr.ino, &pair[0], &pair[1]), 1);
	ck_assert_int_eq(MD_NEXT(d, unlink, .at = md_at("f")), 0);
	ck_assert_uint_eq(d->apply->effects.n_orphans, 1);
	metad_db_each_orphan(d->db, 0, note_ino, orphans);
	ck_assert_uint_eq(orphans[1], p.attr.ino);
	memcpy(d->body, &p.attr.ino, 8);
	ck_assert_int_eq(md_apply(d, METAD_OP_collect, 8), 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, p.attr.ino, &inode), 0);
	metad_db_each_garbage(d->db, 0, note_ino, garbage);
	ck_assert_uint_eq(garbage[1], p.attr.ino);
	truncations[0] = 0;
	metad_db_each_truncation(d->db, 0, note_ino, truncations);
	ck_assert_uint_eq(truncations[0], 0);
	memcpy(d->body, &p.attr.ino, 8);
	ck_assert_int_eq(md_apply(d, METAD_OP_garbage_done, 8), 0);
	garbage[0] = 0;
	metad_db_each_garbage(d->db, 0, note_ino, garbage);
	ck_assert_uint_eq(garbage[0], 0);
}
END_TEST

/* Sizes noted before a cut are not applied after it. */
START_TEST(sizes_and_cuts)
{
	struct metad_size_update u = { .size = 7000, .mtime = 5 };
	struct metad_inode inode;
	struct ff3_rep_open p;

	ck_assert_int_eq(MD(d, open, &p, .tag = md_tag(d), .at = md_at("f"), .mode = 0644,
			    .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE),
			 0);
	u.ino = p.attr.ino;
	memcpy(d->body, &u, sizeof u);
	ck_assert_int_eq(md_apply(d, METAD_OP_set_sizes, sizeof u), 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, u.ino, &inode), 1);
	ck_assert_uint_eq(inode.size, 7000);
	ck_assert_int_eq(inode.mtime, 5);
	ck_assert_int_eq(MD_NEXT(d, truncate, .at = md_at("f"), .size = 10), 0);
	memcpy(d->body, &u, sizeof u);
	ck_assert_int_eq(md_apply(d, METAD_OP_set_sizes, sizeof u), 0);
	ck_assert_int_eq(metad_db_get_inode(d->db, u.ino, &inode), 1);
	ck_assert_uint_eq(inode.size, 10);
}
END_TEST

struct listing {
	uint64_t last;
	unsigned n;
};

static int in_order(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
		    uint32_t name_len)
{
	struct listing *l = arg;

	ck_assert_uint_ge(hash, l->last);
	ck_assert_uint_ge(hash, 16);
	ck_assert_uint_lt(hash, 1ull << 62);
	l->last = hash;
	l->n++;
	return 0;
}

START_TEST(directory_order)
{
	struct listing l = { 0 };
	char name[16];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n%u", i);
		ck_assert_int_eq(MD_NEXT(d, mkdir, .at = md_at(name), .mode = 0755), 0);
	}
	ck_assert_int_eq(metad_db_each_dentry(d->db, FF3_ROOT_INO, 0, in_order, &l), 0);
	ck_assert_uint_eq(l.n, 100);
	/* On disk for ever: the hash may not change. */
	ck_assert_uint_eq(metad_name_hash(1, FF3_STR("name")), 1523281053833927586ull);
	ck_assert_uint_eq(metad_name_hash(77, FF3_STR("a longer name, of 31 characters")),
			  1062056406259340002ull);
}
END_TEST

/* A log may have some that lack two fields at the end. */
START_TEST(commits_of_version_2)
{
	struct ff3_req_commit q = { .end = 5 };
	struct ff3_rep_open o;
	struct ff3_rep_commit c;
	size_t len;

	ck_assert_int_eq(MD(d, open, &o, .tag = md_tag(d), .at = md_at("f"),
			    .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE, .mode = 0644),
			 0);
	q.ino = o.attr.ino;
	q.tag = md_tag(d);
	len = ff3_encode_req_commit(d->body, sizeof d->body, &q);
	ck_assert_int_eq(md_apply(d, FF3_OP_commit, len - 5), 0);
	ck_assert_int_eq(ff3_decode_rep_commit(d->apply->reply, d->apply->reply_len, &c), 0);
	ck_assert_uint_eq(c.attr.ino, o.attr.ino);
	ck_assert_int_lt(md_apply(d, FF3_OP_commit, len - 4), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metad-apply");
	TCase *tc = tcase_create("apply");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_same_wherever_it_stops);
	tcase_add_test(tc, digest_sees_everything);
	tcase_add_test(tc, answers_are_kept_and_pruned);
	tcase_add_test(tc, most_answers_are_never_written);
	tcase_add_test(tc, who_takes_locks);
	tcase_add_test(tc, what_is_to_be_cleaned_up);
	tcase_add_test(tc, sizes_and_cuts);
	tcase_add_test(tc, directory_order);
	tcase_add_test(tc, commits_of_version_2);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
