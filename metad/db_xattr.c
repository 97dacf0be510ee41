/* Purpose: rows of xattrs. Threads: the owner of the database. */
#include "db_private.h"

static sqlite3_stmt *xattr_stmt(struct metad_db *db, enum stmt which, uint64_t ino,
				struct ff3_str name)
{
	sqlite3_stmt *s = db_stmt(db, which);

	if (!s)
		return NULL;
	bind_u64(s, 1, ino);
	bind_bytes(s, 2, name.p, name.len);
	return s;
}

int metad_db_get_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name,
		       struct ff3_blob *ret_value)
{
	sqlite3_stmt *s = xattr_stmt(db, STMT_get_xattr, ino, name);
	struct ff3_blob value;
	int r = db_step(db, s);

	if (r <= 0)
		return r;
	value = column_blob(s, 0);
	r = db_keep(db, value.p, value.len, ret_value);
	sqlite3_reset(s);
	return r < 0 ? r : 1;
}

int metad_db_set_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name,
		       struct ff3_blob value)
{
	sqlite3_stmt *s = xattr_stmt(db, STMT_set_xattr, ino, name);

	if (!s)
		return db->error;
	bind_bytes(s, 3, value.p, value.len);
	return db_run(db, s);
}

int metad_db_del_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name)
{
	return db_run(db, xattr_stmt(db, STMT_del_xattr, ino, name));
}

int metad_db_each_xattr(struct metad_db *db, uint64_t ino,
			int (*fn)(void *arg, const void *name, uint32_t name_len), void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_xattr);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	while ((r = db_step(db, s)) > 0) {
		struct ff3_blob name = column_blob(s, 0);

		r = fn(arg, name.p, name.len);
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}
