/* Purpose: the database's connection, transactions, prepared statements and the meta row.
 *
 * Format: schema.sql, in <metad.dir>/metad.db. SQLite runs in WAL mode with synchronous=NORMAL: a
 * power cut leaves a consistent earlier state, and the log (log.h) brings the rest back. Automatic
 * checkpoints are off; checkpoint.c makes them on a thread of its own. The file is mapped: where
 * there are more names than memory is for, each of them is two pages to be looked at, and to copy a page
 * costs as much as to search it. So little memory is for pages, which are those that change.
 *
 * Threads: the thread that owns the struct. Fork: the daemon does not fork. */
#include "db_private.h"

#include <stdio.h>
#include <sys/stat.h>

#include "../common/base/log.h"
#include "schema_sql.h"

static const char *const statement_sql[] = {
#define STATEMENT_SQL(name, sql) [STMT_##name] = sql,
	METAD_STATEMENTS(STATEMENT_SQL)
};

static int code_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	}
	return -EIO;
}

int db_fail(struct metad_db *db, int code, const char *what)
{
	if (db->error == 0) {
		db->error = code_errno(code);
		ff3_error("database %s: %s: %s", db->path, what,
			  db->sql ? sqlite3_errmsg(db->sql) : sqlite3_errstr(code));
	}
	return db->error;
}

int metad_db_error(const struct metad_db *db)
{
	return atomic_load_explicit(&db->error, memory_order_relaxed);
}

struct metad_meta *metad_db_meta(struct metad_db *db)
{
	return &db->meta;
}

void metad_db_only_memory(struct metad_db *db, bool only)
{
	db->only_memory = only;
}

uint64_t metad_db_n_asked(const struct metad_db *db)
{
	return db->n_asked;
}

const char *metad_db_path(const struct metad_db *db)
{
	return db->path;
}

uint64_t metad_db_committed_seq(const struct metad_db *db)
{
	return db->committed_seq;
}

uint64_t metad_db_wal_pages(const struct metad_db *db)
{
	return db->wal_pages;
}

int db_step(struct metad_db *db, sqlite3_stmt *stmt)
{
	int code;

	if (!stmt)
		return db->error;
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		return 1;
	sqlite3_reset(stmt);
	return code == SQLITE_DONE ? 0 : db_fail(db, code, sqlite3_sql(stmt));
}

int db_run(struct metad_db *db, sqlite3_stmt *stmt)
{
	int r = db_step(db, stmt);

	if (r > 0) {
		sqlite3_reset(stmt);
		r = 0;
	}
	return r;
}

sqlite3_stmt *db_stmt(struct metad_db *db, enum stmt which)
{
	db_settle(db);
	if (db->error)
		return NULL;
	if (db->tx == TX_NONE) {
		if (db_run(db, db->stmt[STMT_begin_read]) < 0)
			return NULL;
		db->tx = TX_READ;
	}
	sqlite3_reset(db->stmt[which]);
	return db->stmt[which];
}

static int on_wal_commit(void *arg, sqlite3 *sql, const char *name, int n_pages)
{
	struct metad_db *db = arg;

	db->wal_pages = (uint64_t)n_pages;
	return SQLITE_OK;
}

void db_read_meta(sqlite3_stmt *s, struct metad_meta *ret)
{
	*ret = (struct metad_meta){
		.cluster = column_u64(s, 1),
		.log_key = column_u64(s, 2),
		.epoch = column_u64(s, 3),
		.applied_seq = column_u64(s, 4),
		.applied_hash = column_u64(s, 5),
		.time = column_u64(s, 6),
		.next_ino = column_u64(s, 7),
		.n_inodes = column_u64(s, 8),
		.next_chain = column_u64(s, 9),
		.routing_version = column_u64(s, 10),
	};
}

int db_get_meta(struct metad_db *db)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_meta);
	int r = db_step(db, s);

	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	db_read_meta(s, &db->meta);
	db->committed_seq = db->meta.applied_seq;
	sqlite3_reset(s);
	return 0;
}

static int execute(struct metad_db *db, const char *sql)
{
	int code = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : db_fail(db, code, sql);
}

/* The first rows: what every cluster begins with. All in one transaction with the tables. */
static int create(struct metad_db *db, uint32_t chunk_size, uint32_t stripe)
{
	int64_t now = (int64_t)ff3_realtime_ns();
	char sql[1024];
	int r;

	snprintf(sql, sizeof sql,
		 "INSERT INTO meta VALUES (1, %d, %lld, %lld, 0, 0, 0, %lld, %llu, 1, 1, 1);"
		 "INSERT INTO inodes VALUES (%llu, %u, %u, %u, 2, 0, 1, %lld, %lld, %lld, %lld, %llu, "
		 "0, %u, %u, 0, 0);",
		 METAD_DB_FORMAT, (long long)(ff3_random_u64() >> 1),
		 (long long)(ff3_random_u64() >> 1), (long long)now, FF3_ROOT_INO + 1, FF3_ROOT_INO,
		 (unsigned)(S_IFDIR | 01777), (unsigned)getuid(), (unsigned)getgid(), (long long)now,
		 (long long)now, (long long)now, (long long)now, FF3_ROOT_INO, (unsigned)chunk_size,
		 (unsigned)stripe);
	r = execute(db, "BEGIN IMMEDIATE");
	if (r >= 0)
		r = execute(db, metad_schema_sql);
	if (r >= 0)
		r = execute(db, sql);
	if (r >= 0)
		r = execute(db, "COMMIT");
	return r;
}

static int has_schema(struct metad_db *db)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(db->sql, "SELECT 1 FROM sqlite_schema WHERE name = 'meta'", -1,
				      &s, NULL);
	int found;

	if (code != SQLITE_OK)
		return db_fail(db, code, "cannot read it");
	code = sqlite3_step(s);
	found = code == SQLITE_ROW;
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		found = db_fail(db, code, "cannot read it");
	sqlite3_finalize(s);
	return found;
}

/* What a database of an earlier version lacks. */
static int upgrade(struct metad_db *db)
{
	static const char to_2[] =
		"ALTER TABLE orphans ADD COLUMN root INTEGER NOT NULL DEFAULT 0;"
		"ALTER TABLE garbage ADD COLUMN root INTEGER NOT NULL DEFAULT 0;"
		"CREATE TABLE trees (ino INTEGER PRIMARY KEY, root INTEGER NOT NULL);"
		"CREATE TABLE removals (root INTEGER PRIMARY KEY, uid INTEGER NOT NULL, "
		"began INTEGER NOT NULL, ended INTEGER NOT NULL, names INTEGER NOT NULL, "
		"dirs INTEGER NOT NULL, pending INTEGER NOT NULL, waiting INTEGER NOT NULL);"
		"UPDATE inodes SET chunk_size = chunk_size | 128 WHERE mode >> 12 = 8;"
		"UPDATE meta SET format = 2;";
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(db->sql, "SELECT format FROM meta", -1, &s, NULL), r;
	int format;

	if (code != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW) {
		sqlite3_finalize(s);
		return db_fail(db, code ? code : SQLITE_CORRUPT, "cannot read its format");
	}
	format = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	if (format > METAD_DB_FORMAT) {
		ff3_error("database %s has format %d; this program knows format %d", db->path, format,
			  METAD_DB_FORMAT);
		return -EPROTO;
	}
	if (format != 1)
		return 0;
	r = execute(db, "BEGIN IMMEDIATE");
	if (r >= 0)
		r = execute(db, to_2);
	if (r >= 0)
		r = execute(db, "COMMIT");
	return r;
}

int db_open_connection(struct metad_db *db, uint64_t memory)
{
	char pragma[128];
	int code, r;

	code = sqlite3_open_v2(db->path, &db->sql,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return db_fail(db, code, "cannot open it");
	sqlite3_extended_result_codes(db->sql, 1);
	snprintf(pragma, sizeof pragma, "PRAGMA cache_size = -%llu",
		 (unsigned long long)MAX(memory / 1024, 1024u));
	r = execute(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
			"PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; "
			"PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 10000; "
			"PRAGMA mmap_size = 2147418112;" /* as much as there may be */);
	if (r >= 0)
		r = execute(db, pragma);
	sqlite3_wal_hook(db->sql, on_wal_commit, db);
	return r;
}

int db_prepare_all(struct metad_db *db)
{
	for (size_t i = 0; i < N_STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(db->sql, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					      &db->stmt[i], NULL);

		if (code != SQLITE_OK)
			return db_fail(db, code, statement_sql[i]);
	}
	return 0;
}

static int open_database(struct metad_db *db, uint64_t memory, uint32_t chunk_size, uint32_t stripe)
{
	int r;

	r = db_open_connection(db, memory);
	if (r >= 0)
		r = has_schema(db);
	if (r == 0)
		r = create(db, chunk_size, stripe);
	else if (r > 0)
		r = upgrade(db);
	if (r >= 0)
		r = execute(db, db_member_sql);
	if (r >= 0)
		r = db_prepare_all(db);
	if (r >= 0)
		r = db_get_meta(db);
	if (r < 0)
		return r;
	r = db_load_digest(db);
	if (r >= 0)
		r = db_load_stripes(db);
	metad_db_read_end(db);
	return r;
}

int metad_db_open(const char *dir, uint64_t memory, uint32_t chunk_size, uint32_t stripe,
		  struct metad_db **ret)
{
	uint64_t pages = MIN(memory / 4, METAD_DB_PAGES);
	struct metad_db *db;
	int r;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	db = calloc(1, sizeof *db);
	if (!db)
		return -ENOMEM;
	db_commit_init(db);
	db->dirty = calloc(DIRTY_SLOTS, sizeof *db->dirty);
	r = metad_cache_new(memory / 4 * 3 - pages, &db->cache);
	if (!db->dirty || r < 0 || asprintf(&db->path, "%s/metad.db", dir) < 0)
		r = -ENOMEM;
	if (r >= 0)
		r = open_database(db, pages, chunk_size, stripe);
	if (r < 0) {
		metad_db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

void metad_db_close(struct metad_db *db)
{
	if (!db)
		return;
	db_commit_done(db);
	for (size_t i = 0; i < N_STATEMENTS; i++)
		sqlite3_finalize(db->stmt[i]);
	sqlite3_close(db->sql);
	metad_cache_free(db->cache);
	for (uint32_t i = 0; i < db->n_stripes; i++)
		free((void *)db->stripes[i].p);
	free(db->stripes);
	free(db->stripe_index);
	free(db->dirty);
	free(db->changed);
	free(db->xattr_value);
	free(db->path);
	free(db);
}

int db_keep(struct metad_db *db, const void *p, size_t len, struct ff3_blob *ret)
{
	if (len > db->xattr_room) {
		void *grown = realloc(db->xattr_value, len);

		if (!grown)
			return db_fail(db, SQLITE_NOMEM, "no memory");
		db->xattr_value = grown;
		db->xattr_room = len;
	}
	if (len > 0)
		memcpy(db->xattr_value, p, len);
	*ret = (struct ff3_blob){ db->xattr_value, (uint32_t)len };
	return 0;
}
