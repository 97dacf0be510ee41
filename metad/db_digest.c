/* Purpose: one number for the contents of the whole database, to compare a replay with the
 * original. Every column of every row in key order, table by table.
 * Threads: the owner of the database. */
#include "db_private.h"

static uint64_t digest_row(sqlite3_stmt *s, uint64_t h)
{
	for (int i = 0; i < sqlite3_column_count(s); i++) {
		if (sqlite3_column_type(s, i) == SQLITE_INTEGER) {
			uint64_t v = htole64(column_u64(s, i));

			h = metad_hash(h, &v, sizeof v);
		} else {
			struct ff3_blob b = column_blob(s, i);

			h = metad_hash(h, b.p, b.len);
		}
	}
	return h;
}

int metad_db_digest(struct metad_db *db, uint64_t *ret)
{
	static const char *const queries[] = {
		"SELECT * FROM meta",
		"SELECT * FROM inodes ORDER BY ino",
		"SELECT * FROM dentries ORDER BY parent, hash, name",
		"SELECT * FROM symlinks ORDER BY ino",
		"SELECT * FROM xattrs ORDER BY ino, name",
		"SELECT * FROM stripes ORDER BY id",
		"SELECT * FROM orphans ORDER BY ino",
		"SELECT * FROM garbage ORDER BY ino",
		"SELECT * FROM trees ORDER BY ino",
		"SELECT * FROM removals ORDER BY root",
		"SELECT * FROM truncations ORDER BY ino",
		"SELECT * FROM results ORDER BY session, seq",
		"SELECT * FROM nodes ORDER BY node",
		"SELECT * FROM targets ORDER BY target",
		"SELECT * FROM chains ORDER BY chain",
		"SELECT * FROM members ORDER BY id",
		"SELECT * FROM digest",
	};
	uint64_t h = 0;

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		sqlite3_stmt *s;
		int code = sqlite3_prepare_v2(db->sql, queries[i], -1, &s, NULL);

		if (code != SQLITE_OK)
			return db_fail(db, code, queries[i]);
		while ((code = sqlite3_step(s)) == SQLITE_ROW)
			h = digest_row(s, h + i + 1);
		sqlite3_finalize(s);
		if (code != SQLITE_DONE)
			return db_fail(db, code, queries[i]);
	}
	*ret = h;
	return 0;
}
