/* Purpose: transactions. A commit writes what was gathered, and the pages that have changed, which takes as
 * long as some thousand reads from memory: it may be done by another thread, and whoever needs the
 * connection meanwhile waits for it (db_settle). What is in memory is there all the time.
 *
 * Threads: the owner of the database, and between commit_begin and its end one more, for commit_run only; lock
 * guards committed. No other lock is taken while it is held. */
#include "db_private.h"

/* The thread that runs metad_db_commit_run. */
static _Thread_local bool is_committer;

void db_commit_init(struct metad_db *db)
{
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->commit_over, NULL);
}

void db_commit_done(struct metad_db *db)
{
	pthread_mutex_destroy(&db->lock);
	pthread_cond_destroy(&db->commit_over);
}

void metad_db_read_end(struct metad_db *db)
{
	if (db->tx != TX_READ)
		return;
	if (db_run(db, db->stmt[STMT_commit]) == 0)
		db->tx = TX_NONE;
}

int metad_db_begin(struct metad_db *db)
{
	int r;

	db_settle(db);
	metad_db_read_end(db);
	if (db->error)
		return db->error;
	r = db_run(db, db->stmt[STMT_begin_write]);
	if (r < 0)
		return r;
	db->tx = TX_WRITE;
	return 0;
}

static int put_meta(struct metad_db *db)
{
	sqlite3_stmt *s = db_stmt(db, STMT_put_meta);

	if (!s)
		return db->error;
	bind_u64(s, 1, db->meta.epoch);
	bind_u64(s, 2, db->meta.applied_seq);
	bind_u64(s, 3, db->meta.applied_hash);
	bind_u64(s, 4, db->meta.time);
	bind_u64(s, 5, db->meta.next_ino);
	bind_u64(s, 6, db->meta.n_inodes);
	bind_u64(s, 7, db->meta.next_chain);
	bind_u64(s, 8, db->meta.routing_version);
	return db_run(db, s);
}

void metad_db_before_commit(struct metad_db *db, int (*fn)(void *arg), void *arg)
{
	db->before_commit = fn;
	db->before_commit_arg = arg;
}

static int commit(struct metad_db *db)
{
	int r = db->before_commit ? db->before_commit(db->before_commit_arg) : 0;

	if (r >= 0)
		r = db_flush_dirty(db);
	if (r >= 0)
		r = put_meta(db);
	if (r >= 0)
		r = db_put_digest(db);
	if (r >= 0)
		r = db_run(db, db->stmt[STMT_commit]);
	return r;
}

static int committed(struct metad_db *db, int r)
{
	if (r < 0)
		return r;
	db->tx = TX_NONE;
	db->committed_seq = db->meta.applied_seq;
	return 0;
}

int metad_db_commit(struct metad_db *db)
{
	db_settle(db);
	return committed(db, commit(db));
}

void metad_db_commit_begin(struct metad_db *db)
{
	db_settle(db);
	db->commit_result = 1;
	db->committing = true;
}

void metad_db_commit_run(struct metad_db *db)
{
	int r;

	is_committer = true;
	r = commit(db);
	is_committer = false;
	pthread_mutex_lock(&db->lock);
	db->commit_result = MIN(r, 0);
	pthread_cond_signal(&db->commit_over);
	pthread_mutex_unlock(&db->lock);
}

void db_settle(struct metad_db *db)
{
	int r;

	if (is_committer || !db->committing)
		return;
	pthread_mutex_lock(&db->lock);
	while (db->commit_result > 0)
		pthread_cond_wait(&db->commit_over, &db->lock);
	r = db->commit_result;
	pthread_mutex_unlock(&db->lock);
	db->committing = false;
	committed(db, r);
}

int metad_db_commit_end(struct metad_db *db)
{
	db_settle(db);
	return db->commit_result;
}
