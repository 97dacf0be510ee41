/* Purpose: rows of inodes and symlinks.
 *
 * Changes of inodes are gathered in a small table and written when the transaction ends (or the
 * table is full): a directory that gets 200 names in one batch is written once. Reads look into
 * the cache, which always holds what is gathered unless it was evicted, then into the table.
 *
 * Threads: the owner of the database. */
#include "db_private.h"

/* A chunk size is a power of two of at least 64 KiB: its column has room for more. */
#define LOW_MASK 0xffu
#define PIN_MASK 0x7fu

static struct metad_inode *dirty_slot(struct metad_db *db, uint64_t ino)
{
	uint32_t i = (uint32_t)((ino * 0x9e3779b97f4a7c15ull) >> 40) % DIRTY_SLOTS;

	while (db->dirty[i].ino != 0 && db->dirty[i].ino != ino)
		i = (i + 1) % DIRTY_SLOTS;
	return &db->dirty[i];
}

static int write_inode(struct metad_db *db, const struct metad_inode *n)
{
	sqlite3_stmt *s = db_stmt(db, STMT_put_inode);

	if (!s)
		return db->error;
	bind_u64(s, 1, n->ino);
	bind_u64(s, 2, n->mode);
	bind_u64(s, 3, n->uid);
	bind_u64(s, 4, n->gid);
	bind_u64(s, 5, n->nlink);
	bind_u64(s, 6, n->size);
	bind_u64(s, 7, n->generation);
	bind_u64(s, 8, (uint64_t)n->atime);
	bind_u64(s, 9, (uint64_t)n->mtime);
	bind_u64(s, 10, (uint64_t)n->ctime);
	bind_u64(s, 11, (uint64_t)n->btime);
	bind_u64(s, 12, n->parent);
	bind_u64(s, 13, n->name_hash);
	bind_u64(s, 14, n->chunk_size | n->pin | (n->sparse ? METAD_LAYOUT_SPARSE : 0));
	bind_u64(s, 15, n->stripe);
	bind_u64(s, 16, n->seed);
	bind_u64(s, 17, n->truncs);
	return db_run(db, s);
}

int db_flush_dirty(struct metad_db *db)
{
	if (db->n_dirty == 0)
		return 0;
	for (uint32_t i = 0; i < DIRTY_SLOTS; i++) {
		if (db->dirty[i].ino == 0)
			continue;
		if (write_inode(db, &db->dirty[i]) < 0)
			return db->error;
		db->dirty[i].ino = 0;
	}
	db->n_dirty = 0;
	return 0;
}

int metad_db_put_inode(struct metad_db *db, const struct metad_inode *inode)
{
	struct metad_inode *slot;

	if (db->n_dirty >= DIRTY_SLOTS / 2 && db_flush_dirty(db) < 0)
		return db->error;
	slot = dirty_slot(db, inode->ino);
	if (slot->ino == 0)
		db->n_dirty++;
	*slot = *inode;
	metad_cache_put_inode(db->cache, inode);
	db_inode_changes(db, inode->ino);
	return 0;
}

int metad_db_add_inode(struct metad_db *db, const struct metad_inode *inode)
{
	db->meta.n_inodes++;
	return metad_db_put_inode(db, inode);
}

void db_read_inode(sqlite3_stmt *s, struct metad_inode *ret)
{
	*ret = (struct metad_inode){
		.ino = column_u64(s, 0),
		.mode = (uint32_t)column_u64(s, 1),
		.uid = (uint32_t)column_u64(s, 2),
		.gid = (uint32_t)column_u64(s, 3),
		.nlink = (uint32_t)column_u64(s, 4),
		.size = column_u64(s, 5),
		.generation = column_u64(s, 6),
		.atime = sqlite3_column_int64(s, 7),
		.mtime = sqlite3_column_int64(s, 8),
		.ctime = sqlite3_column_int64(s, 9),
		.btime = sqlite3_column_int64(s, 10),
		.parent = column_u64(s, 11),
		.name_hash = column_u64(s, 12),
		.chunk_size = (uint32_t)column_u64(s, 13) & ~(uint32_t)LOW_MASK,
		.pin = column_u64(s, 13) & PIN_MASK,
		.sparse = column_u64(s, 13) & METAD_LAYOUT_SPARSE,
		.stripe = (uint32_t)column_u64(s, 14),
		.seed = (uint32_t)column_u64(s, 15),
		.truncs = (uint32_t)column_u64(s, 16),
	};}

struct cache_near metad_db_near_inode(struct metad_db *db, uint64_t ino)
{
	return metad_cache_near_inode(db->cache, ino);
}

int metad_db_get_inode(struct metad_db *db, uint64_t ino, struct metad_inode *ret)
{
	sqlite3_stmt *s;
	int r;

	if (db->cache && metad_cache_get_inode(db->cache, ino, ret))
		return 1;
	if (!db->cache && db->known && db->known->ino == ino) {
		*ret = *db->known;
		return 1;
	}
	if (db->only_memory && db->committing)
		return METAD_DB_ELSEWHERE;
	db_settle(db);
	if (db->n_dirty > 0 && dirty_slot(db, ino)->ino == ino) {
		*ret = *dirty_slot(db, ino);
		return 1;
	}
	if (db->only_memory)
		return METAD_DB_ELSEWHERE;
	db->n_asked++;
	s = db_stmt(db, STMT_get_inode);
	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	db_read_inode(s, ret);

	sqlite3_reset(s);
	if (db->cache)
		metad_cache_put_inode(db->cache, ret);
	else
		db_note_inode(db, ret);
	return 1;
}

static int delete_by_ino(struct metad_db *db, enum stmt which, uint64_t ino)
{
	sqlite3_stmt *s = db_stmt(db, which);

	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	return db_run(db, s);
}

int metad_db_del_inode(struct metad_db *db, const struct metad_inode *inode)
{
	bool dirty = db->n_dirty > 0 && dirty_slot(db, inode->ino)->ino == inode->ino;
	int r = dirty ? db_flush_dirty(db) : 0;

	metad_cache_del_inode(db->cache, inode->ino);
	db_inode_changes(db, inode->ino);
	db->meta.n_inodes--;
	if (r >= 0)
		r = delete_by_ino(db, STMT_del_inode, inode->ino);
	if (r >= 0 && S_ISLNK(inode->mode))
		r = delete_by_ino(db, STMT_del_symlink, inode->ino);
	if (r >= 0)
		r = delete_by_ino(db, STMT_del_xattrs, inode->ino);
	return r;
}

int metad_db_del_rows(struct metad_db *db, uint64_t ino)
{
	int r = delete_by_ino(db, STMT_del_symlink, ino);

	return r < 0 ? r : delete_by_ino(db, STMT_del_xattrs, ino);
}

int metad_db_get_symlink(struct metad_db *db, uint64_t ino, char *buf, uint32_t *ret_len)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_symlink);
	struct ff3_blob target;
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	target = column_blob(s, 0);
	*ret_len = MIN(target.len, FF3_PATH_MAX);
	if (*ret_len > 0)
		memcpy(buf, target.p, *ret_len);
	sqlite3_reset(s);
	return 1;
}

int metad_db_add_symlink(struct metad_db *db, uint64_t ino, struct ff3_str target)
{
	sqlite3_stmt *s = db_stmt(db, STMT_add_symlink);

	if (!s)
		return db->error;
	bind_u64(s, 1, ino);
	bind_bytes(s, 2, target.p, target.len);
	return db_run(db, s);
}
