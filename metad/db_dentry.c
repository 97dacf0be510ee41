/* Purpose: rows of dentries. The key is (parent, hash of the name, name), so that a listing is
 * one scan in the order of its cookies.
 * Threads: the owner of the database. */
#include "db_private.h"

static sqlite3_stmt *dentry_stmt(struct metad_db *db, enum stmt which, uint64_t parent, uint64_t hash,
				 struct ff3_str name)
{
	sqlite3_stmt *s = db_stmt(db, which);

	if (!s)
		return NULL;
	bind_u64(s, 1, parent);
	bind_u64(s, 2, hash);
	bind_bytes(s, 3, name.p, name.len);
	return s;
}

int metad_db_get_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t *ret_ino,
			uint32_t *ret_type)
{
	uint64_t hash = metad_name_hash(parent, name), ino;
	uint32_t type;
	sqlite3_stmt *s;
	int r;

	if (!db->cache || !metad_cache_get_name(db->cache, parent, hash, name, &ino, &type)) {
		if (db_knows_absent(db, hash))
			return 0;
		if (db->only_memory)
			return METAD_DB_ELSEWHERE;
		db->n_asked++;
		s = dentry_stmt(db, STMT_get_dentry, parent, hash, name);
		r = db_step(db, s);
		if (r < 0)
			return r;
		ino = r > 0 ? column_u64(s, 0) : 0;
		type = r > 0 ? (uint32_t)column_u64(s, 1) : 0;
		sqlite3_reset(s);
		if (db->cache)
			metad_cache_put_name(db->cache, parent, hash, name, ino, type);
		else
			db_note_name(db, parent, hash, name, ino, type);
	}
	if (ino == 0)
		return 0;
	*ret_ino = ino;
	*ret_type = type;
	return 1;
}

struct cache_near metad_db_near_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name)
{
	return metad_cache_near_name(db->cache, metad_name_hash(parent, name));
}

bool metad_db_peek_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t *ret_ino)
{
	uint64_t ino;
	uint32_t type;

	if (!metad_cache_get_name(db->cache, parent, metad_name_hash(parent, name), name, &ino, &type) || ino == 0)
		return false;
	*ret_ino = ino;
	return true;
}

/* Where all names are in memory, one that does not exist needs no room. */
static void remember(struct metad_db *db, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
		     uint32_t type)
{
	if (ino == 0 && db_knows_absent(db, hash))
		metad_cache_del_name(db->cache, parent, hash, name);
	else
		metad_cache_put_name(db->cache, parent, hash, name, ino, type);
}

static int write_dentry(struct metad_db *db, enum stmt which, uint64_t parent, struct ff3_str name,
			uint64_t ino, uint32_t type)
{
	uint64_t hash = metad_name_hash(parent, name);
	sqlite3_stmt *s = dentry_stmt(db, which, parent, hash, name);

	if (!s)
		return db->error;
	if (ino != 0) {
		bind_u64(s, 4, ino);
		bind_u64(s, 5, type);
	}
	remember(db, parent, hash, name, ino, type);
	db_name_changes(db, parent, hash);
	return db_run(db, s);
}

int metad_db_add_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t ino,
			uint32_t type)
{
	return write_dentry(db, STMT_add_dentry, parent, name, ino, type);
}

int metad_db_set_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t ino,
			uint32_t type)
{
	return write_dentry(db, STMT_set_dentry, parent, name, ino, type);
}

int metad_db_del_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name)
{
	return write_dentry(db, STMT_del_dentry, parent, name, 0, 0);
}

int metad_db_del_dentry_at(struct metad_db *db, uint64_t parent, uint64_t hash, struct ff3_str name)
{
	sqlite3_stmt *s = dentry_stmt(db, STMT_del_dentry, parent, hash, name);

	if (!s)
		return db->error;
	remember(db, parent, metad_name_hash(parent, name), name, 0, 0);
	db_name_changes(db, parent, metad_name_hash(parent, name));
	return db_run(db, s);
}

int metad_db_dir_is_empty(struct metad_db *db, uint64_t parent)
{
	sqlite3_stmt *s = db_stmt(db, STMT_any_dentry);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, parent);
	r = db_step(db, s);
	sqlite3_reset(s);
	return r < 0 ? r : !r;
}

int metad_db_find_name(struct metad_db *db, uint64_t parent, uint64_t hash, uint64_t ino, char *buf,
		       uint32_t *ret_len)
{
	sqlite3_stmt *s = db_stmt(db, STMT_find_name);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, parent);
	bind_u64(s, 2, hash);
	while ((r = db_step(db, s)) > 0) {
		struct ff3_blob name = column_blob(s, 0);

		if (column_u64(s, 1) != ino)
			continue;
		*ret_len = MIN(name.len, FF3_NAME_MAX);
		memcpy(buf, name.p, *ret_len);
		sqlite3_reset(s);
		return 1;
	}
	return r;
}

int metad_db_each_dentry(struct metad_db *db, uint64_t parent, uint64_t cookie, metad_dentry_fn *fn,
			 void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_dentry);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, parent);
	bind_u64(s, 2, cookie);
	while ((r = db_step(db, s)) > 0) {
		struct ff3_blob name = column_blob(s, 3);

		r = fn(arg, column_u64(s, 0), column_u64(s, 1), (uint32_t)sqlite3_column_int(s, 2),
		       name.p, name.len);
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}
