/* SQLite behind a small interface, so that a log of our own can replace it.
 *
 *   chunk(place INTEGER PRIMARY KEY, ino, idx, len, version, chain_version, session, seq, crc)
 *
 * The row's key is the slot, so that no two chunks can have one slot, finding a row needs no
 * second tree, and neighbours on disk are neighbours here; (ino, idx) being unique is checked
 * when the rows are loaded. Numbers are the two's complement of unsigned ones; crc is packed
 * little-endian u32. user_version is the format's version.
 *
 * Journal mode WAL with synchronous FULL: a commit is durable when it returns, whatever happens
 * to the power. The file "ballast" beside the database occupies space that a transaction which
 * found none may have.
 *
 * Threads: as in index.h; the connection is not shared. Fork/signal: neither. */
#include "index.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>

#include "../common/base/log.h"

#define FORMAT 1
/* So many commits after the ballast was given up, it is tried to make it again. */
#define REFILL 64

struct chunkd_index {
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *rollback, *insert, *update, *delete;
	char *ballast_path;
	uint64_t ballast;
	bool given;	   /* the ballast was given up */
	uint32_t n_commits; /* since then */
};

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS chunk ("
	" place INTEGER PRIMARY KEY, ino INTEGER NOT NULL, idx INTEGER NOT NULL,"
	" len INTEGER NOT NULL, version INTEGER NOT NULL, chain_version INTEGER NOT NULL,"
	" session INTEGER NOT NULL, seq INTEGER NOT NULL, crc BLOB NOT NULL);"
	"PRAGMA user_version = " STRINGIFY(FORMAT);

static int from_sqlite(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CONSTRAINT:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

/* Fills the ballast file up to its size; that there is no room for it now is no failure. */
static bool ballast_fill(struct chunkd_index *x)
{
	_cleanup_close_ int fd = -1;

	fd = open(x->ballast_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && posix_fallocate(fd, 0, (off_t)x->ballast) == 0)
		return true;
	(void)unlink(x->ballast_path);
	return false;
}

static int format_version(sqlite3 *db, int *ret)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return from_sqlite(rc);
}

static int prepare_all(struct chunkd_index *x)
{
	const struct {
		sqlite3_stmt **st;
		const char *sql;
	} all[] = {
		{ &x->begin, "BEGIN IMMEDIATE" },
		{ &x->commit, "COMMIT" },
		{ &x->rollback, "ROLLBACK" },
		{ &x->insert, "INSERT INTO chunk VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)" },
		{ &x->update, "UPDATE chunk SET len=?4, version=?5, chain_version=?6, session=?7,"
			      " seq=?8, crc=?9 WHERE place=?1 AND ino=?2 AND idx=?3" },
		{ &x->delete, "DELETE FROM chunk WHERE place=?1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int rc = sqlite3_prepare_v3(x->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
					    all[i].st, NULL);
		if (rc != SQLITE_OK)
			return from_sqlite(rc);
	}
	return 0;
}

static int index_init(struct chunkd_index *x, const char *path)
{
	int rc, r, version = 0;

	rc = sqlite3_open_v2(path, &x->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK)
		return from_sqlite(rc);
	sqlite3_extended_result_codes(x->db, 1);
	/* The exclusive lock comes before WAL mode, so that no shared-memory file is needed. */
	rc = sqlite3_exec(x->db,
			  "PRAGMA page_size = 4096; PRAGMA locking_mode = EXCLUSIVE;"
			  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			  "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 1000",
			  NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return from_sqlite(rc);
	r = format_version(x->db, &version);
	if (r < 0)
		return r;
	if (version != 0 && version != FORMAT)
		return -EUCLEAN;
	rc = sqlite3_exec(x->db, schema, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return from_sqlite(rc);
	return prepare_all(x);
}

int chunkd_index_open(const char *dir, uint64_t ballast, struct chunkd_index **ret)
{
	_cleanup_free_ char *path = NULL;
	struct chunkd_index *x = calloc(1, sizeof *x);
	int r;

	if (!x)
		return -ENOMEM;
	x->ballast = ballast;
	if (asprintf(&path, "%s/index.db", dir) < 0) {
		path = NULL;
		r = -ENOMEM;
	} else if (asprintf(&x->ballast_path, "%s/ballast", dir) < 0) {
		x->ballast_path = NULL;
		r = -ENOMEM;
	} else {
		r = index_init(x, path);
	}
	if (r < 0) {
		chunkd_index_close(x);
		return r;
	}
	x->given = !ballast_fill(x);
	*ret = x;
	return 0;
}

void chunkd_index_close(struct chunkd_index *x)
{
	if (!x)
		return;
	sqlite3_finalize(x->begin);
	sqlite3_finalize(x->commit);
	sqlite3_finalize(x->rollback);
	sqlite3_finalize(x->insert);
	sqlite3_finalize(x->update);
	sqlite3_finalize(x->delete);
	sqlite3_close(x->db);
	free(x->ballast_path);
	free(x);
}

static int load_row(sqlite3_stmt *st, int (*fn)(void *arg, const struct chunkd_row *row), void *arg)
{
	struct chunkd_row row = {
		.place = (uint64_t)sqlite3_column_int64(st, 0),
		.ino = (uint64_t)sqlite3_column_int64(st, 1),
		.index = (uint32_t)sqlite3_column_int64(st, 2),
		.len = (uint32_t)sqlite3_column_int64(st, 3),
		.version = (uint64_t)sqlite3_column_int64(st, 4),
		.chain_version = (uint64_t)sqlite3_column_int64(st, 5),
		.session = (uint64_t)sqlite3_column_int64(st, 6),
		.seq = (uint64_t)sqlite3_column_int64(st, 7),
		.crcs = sqlite3_column_blob(st, 8),
	};

	if ((uint64_t)sqlite3_column_bytes(st, 8) != ROUND_UP((uint64_t)row.len, FF3_BLOCK) / 1024)
		return -EUCLEAN;
	return fn(arg, &row);
}

int chunkd_index_load(struct chunkd_index *x, int (*fn)(void *arg, const struct chunkd_row *row),
		      void *arg)
{
	sqlite3_stmt *st;
	int rc, r = 0;

	rc = sqlite3_prepare_v2(x->db,
				"SELECT place, ino, idx, len, version, chain_version, session, seq,"
				" crc FROM chunk ORDER BY place",
				-1, &st, NULL);
	if (rc != SQLITE_OK)
		return from_sqlite(rc);
	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW)
		r = load_row(st, fn, arg);
	sqlite3_finalize(st);
	return r ? r : from_sqlite(rc);
}

/* Runs a statement that yields no row. */
static int run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return from_sqlite(rc);
}

static int apply(struct chunkd_index *x, const struct chunkd_change *c)
{
	const struct chunkd_row *row = &c->row;
	sqlite3_stmt *st = row->place == c->old_place ? x->update : x->insert;
	uint64_t crc_bytes = ROUND_UP((uint64_t)row->len, FF3_BLOCK) / 1024;
	int r;

	if (c->old_place && c->old_place != row->place) {
		sqlite3_bind_int64(x->delete, 1, (int64_t)c->old_place);
		r = run(x->delete);
		if (r < 0)
			return r;
		if (sqlite3_changes(x->db) != 1)
			return -EUCLEAN;
	}
	if (!row->place)
		return 0;
	sqlite3_bind_int64(st, 1, (int64_t)row->place);
	sqlite3_bind_int64(st, 2, (int64_t)row->ino);
	sqlite3_bind_int64(st, 3, row->index);
	sqlite3_bind_int64(st, 4, row->len);
	sqlite3_bind_int64(st, 5, (int64_t)row->version);
	sqlite3_bind_int64(st, 6, (int64_t)row->chain_version);
	sqlite3_bind_int64(st, 7, (int64_t)row->session);
	sqlite3_bind_int64(st, 8, (int64_t)row->seq);
	sqlite3_bind_blob64(st, 9, row->crcs, crc_bytes, SQLITE_STATIC);
	r = run(st);
	if (r == 0 && sqlite3_changes(x->db) != 1)
		r = -EUCLEAN;
	return r;
}

static int transaction(struct chunkd_index *x, const struct chunkd_change *changes, size_t n)
{
	int r = run(x->begin);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = apply(x, &changes[i]);
	if (r == 0)
		r = run(x->commit);
	if (r < 0 && !sqlite3_get_autocommit(x->db))
		(void)run(x->rollback);
	return r;
}

int chunkd_index_commit(struct chunkd_index *x, const struct chunkd_change *changes, size_t n)
{
	int r = transaction(x, changes, n);

	if (r == -ENOSPC && x->ballast && !x->given && truncate(x->ballast_path, 0) == 0) {
		ff3_warning("no space for the index: giving up %s", x->ballast_path);
		x->given = true;
		r = transaction(x, changes, n);
	} else if (r == 0 && x->given && ++x->n_commits % REFILL == 0) {
		x->given = !ballast_fill(x);
	}
	return r;
}
