/* Purpose: rows of orphans, garbage, trees, removals, truncations and results. Threads: the owner of the database. */
#include "db_private.h"

static int run_with(struct metad_db *db, enum stmt which, int n, const uint64_t *v)
{
	sqlite3_stmt *s = db_stmt(db, which);

	if (!s)
		return db->error;
	for (int i = 0; i < n; i++)
		bind_u64(s, i + 1, v[i]);
	return db_run(db, s);
}
#define RUN(db, which, ...)                                                                        \
	run_with((db), STMT_##which, (int)(sizeof((uint64_t[]){ __VA_ARGS__ }) / 8),               \
		 (uint64_t[]){ __VA_ARGS__ })

/* Of a statement with one number in and one out: 1 and that, 0 without a row. */
static int ask(struct metad_db *db, enum stmt which, uint64_t v, uint64_t *ret)
{
	sqlite3_stmt *s = db_stmt(db, which);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, v);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	*ret = column_u64(s, 0);
	/* RETURNING: all is changed before the first row comes. */
	sqlite3_reset(s);
	return 1;
}

int metad_db_add_orphan(struct metad_db *db, uint64_t ino, uint64_t root)
{
	return RUN(db, add_orphan, ino, root);
}

int metad_db_del_orphan(struct metad_db *db, uint64_t ino, uint64_t *ret_root)
{
	return ask(db, STMT_del_orphan, ino, ret_root);
}

int metad_db_add_garbage(struct metad_db *db, uint64_t ino, uint32_t stripe, uint64_t root)
{
	return RUN(db, add_garbage, ino, stripe, root);
}

int metad_db_del_garbage(struct metad_db *db, uint64_t ino, uint64_t *ret_root)
{
	return ask(db, STMT_del_garbage, ino, ret_root);
}

int metad_db_add_tree(struct metad_db *db, uint64_t ino, uint64_t root)
{
	return RUN(db, add_tree, ino, root);
}

int metad_db_del_tree(struct metad_db *db, uint64_t ino)
{
	return RUN(db, del_tree, ino);
}

int metad_db_last_tree(struct metad_db *db, uint64_t *ret_ino, uint64_t *ret_root)
{
	sqlite3_stmt *s = db_stmt(db, STMT_last_tree);
	int r;

	if (!s)
		return db->error;
	r = db_step(db, s);
	if (r <= 0)
		return r;
	*ret_ino = column_u64(s, 0);
	*ret_root = column_u64(s, 1);
	sqlite3_reset(s);
	return 1;
}

int metad_db_add_removal(struct metad_db *db, uint64_t root, uint32_t uid, int64_t now)
{
	int r = RUN(db, add_removal, root, uid, (uint64_t)now);

	return r < 0 ? r : metad_db_add_tree(db, root, root);
}

int metad_db_note_removal(struct metad_db *db, uint64_t root, const struct metad_removal_change *c,
			  int64_t now)
{
	sqlite3_stmt *s = db_stmt(db, STMT_note_removal);
	bool over;
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, root);
	bind_u64(s, 2, c->names);
	bind_u64(s, 3, c->dirs);
	bind_u64(s, 4, (uint64_t)c->pending);
	bind_u64(s, 5, (uint64_t)c->waiting);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	over = column_u64(s, 0);
	sqlite3_reset(s);
	if (!over)
		return 0;
	r = RUN(db, end_removal, root, (uint64_t)now);
	return r < 0 ? r : db_run(db, db_stmt(db, STMT_prune_removals));
}

static void read_removal(sqlite3_stmt *s, struct metad_removal *ret)
{
	*ret = (struct metad_removal){
		.root = column_u64(s, 0),
		.uid = (uint32_t)column_u64(s, 1),
		.began = sqlite3_column_int64(s, 2),
		.ended = sqlite3_column_int64(s, 3),
		.names = column_u64(s, 4),
		.dirs = column_u64(s, 5),
		.pending = column_u64(s, 6),
		.waiting = column_u64(s, 7),
	};
}

int metad_db_get_removal(struct metad_db *db, uint64_t root, struct metad_removal *ret)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_removal);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, root);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	read_removal(s, ret);
	sqlite3_reset(s);
	return 1;
}

int metad_db_each_removal(struct metad_db *db, uint64_t after,
			  int (*fn)(void *arg, const struct metad_removal *removal), void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_removal);
	struct metad_removal removal;
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, after);
	while ((r = db_step(db, s)) > 0) {
		read_removal(s, &removal);
		r = fn(arg, &removal);
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}

int metad_db_put_truncation(struct metad_db *db, uint64_t ino, uint64_t size, uint64_t old_size)
{
	return RUN(db, put_truncation, ino, size, old_size);
}

int metad_db_get_truncation(struct metad_db *db, uint64_t ino, uint64_t *ret_size,
			    uint64_t *ret_old_size)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_truncation);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	*ret_size = column_u64(s, 0);
	*ret_old_size = column_u64(s, 1);
	sqlite3_reset(s);
	return 1;
}

int metad_db_del_truncation(struct metad_db *db, uint64_t ino)
{
	return RUN(db, del_truncation, ino);
}

static int each(struct metad_db *db, enum stmt which, uint64_t after, metad_queue_fn *fn, void *arg)
{
	sqlite3_stmt *s = db_stmt(db, which);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, after);
	while ((r = db_step(db, s)) > 0) {
		r = fn(arg, column_u64(s, 0), column_u64(s, 1), column_u64(s, 2));
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}

int metad_db_each_orphan(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg)
{
	return each(db, STMT_each_orphan, after, fn, arg);
}

int metad_db_each_garbage(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg)
{
	return each(db, STMT_each_garbage, after, fn, arg);
}

int metad_db_each_truncation(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg)
{
	return each(db, STMT_each_truncation, after, fn, arg);
}

int metad_db_get_result(struct metad_db *db, uint64_t session, uint64_t seq,
			struct metad_stored_result *ret)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_result);
	struct ff3_blob reply;
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, session);
	bind_u64(s, 2, seq);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	ret->status = ff3_err_from_wire((uint32_t)column_u64(s, 0));
	reply = column_blob(s, 1);
	r = db_keep(db, reply.p, reply.len, &ret->reply);
	sqlite3_reset(s);
	return r < 0 ? r : 1;
}

int metad_db_add_result(struct metad_db *db, uint64_t session, uint64_t seq, uint64_t acked,
			int status, struct ff3_blob reply)
{
	sqlite3_stmt *s = db_stmt(db, STMT_add_result);

	if (!s)
		return db->error;
	bind_u64(s, 1, session);
	bind_u64(s, 2, seq);
	bind_u64(s, 3, acked);
	bind_u64(s, 4, ff3_err_to_wire(status));
	bind_bytes(s, 5, reply.p, reply.len);
	return db_run(db, s);
}

int metad_db_prune_results(struct metad_db *db, uint64_t session, uint64_t first, uint64_t last)
{
	int r = RUN(db, prune_results, session, first, last);

	return r < 0 ? r : sqlite3_changes(db->sql);
}

int metad_db_each_session(struct metad_db *db,
			  int (*fn)(void *arg, uint64_t session, uint64_t max_seq, uint64_t acked,
				    uint64_t n, bool locks),
			  void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_session);
	int r;

	while ((r = db_step(db, s)) > 0) {
		r = fn(arg, column_u64(s, 0), column_u64(s, 1), column_u64(s, 2), column_u64(s, 3),
		       sqlite3_column_int(s, 4) != 0);
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}
