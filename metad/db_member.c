/* Purpose: the rows of the metadata group's members, present and former, and the digest of what was
 * applied. Both came after the first databases were made: the tables are added where they are missing.
 * Threads: the owner of the database. */
#include "db_private.h"

const char db_member_sql[] =
	"CREATE TABLE IF NOT EXISTS members ("
	"id INTEGER PRIMARY KEY, log_id INTEGER NOT NULL, voter INTEGER NOT NULL, "
	"witness INTEGER NOT NULL, gone INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS digest ("
	"id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL);"
	"INSERT OR IGNORE INTO digest VALUES (1, 0);";

int metad_db_get_members(struct metad_db *db, struct replica_config *ret, uint32_t *ret_former)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_member);
	int r;

	*ret = (struct replica_config){ 0 };
	*ret_former = 0;
	while ((r = db_step(db, s)) > 0) {
		if (sqlite3_column_int(s, 4)) {
			++*ret_former;
			continue;
		}
		if (ret->n == REPLICA_MEMBERS_MAX)
			return db_fail(db, SQLITE_CORRUPT, "too many members");
		ret->member[ret->n++] = (struct replica_member){
			column_u64(s, 0), column_u64(s, 1), sqlite3_column_int(s, 2) != 0,
			sqlite3_column_int(s, 3) != 0,
		};
	}
	return r;
}

int metad_db_was_member(struct metad_db *db, uint64_t id)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_member);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, id);
	r = db_step(db, s);
	sqlite3_reset(s);
	return r;
}

int metad_db_put_members(struct metad_db *db, const struct replica_config *config)
{
	sqlite3_stmt *s = db_stmt(db, STMT_members_gone);
	int r = s ? db_run(db, s) : db->error;

	for (uint32_t i = 0; i < config->n && r >= 0; i++) {
		const struct replica_member *m = &config->member[i];

		s = db_stmt(db, STMT_put_member);
		if (!s)
			return db->error;
		bind_u64(s, 1, m->id);
		bind_u64(s, 2, m->log_id);
		bind_u64(s, 3, m->voter);
		bind_u64(s, 4, m->witness);
		r = db_run(db, s);
	}
	return r;
}

int db_load_digest(struct metad_db *db)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_digest);
	int r = db_step(db, s);

	if (r <= 0)
		return r < 0 ? r : db_fail(db, SQLITE_CORRUPT, "no digest");
	db->meta.digest = column_u64(s, 0);
	sqlite3_reset(s);
	return 0;
}

int db_put_digest(struct metad_db *db)
{
	sqlite3_stmt *s = db_stmt(db, STMT_put_digest);

	if (!s)
		return db->error;
	bind_u64(s, 1, db->meta.digest);
	return db_run(db, s);
}
