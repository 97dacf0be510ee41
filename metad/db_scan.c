/* Purpose: reading all of dentries and inodes, a few rows at a time, so that they are in memory before anybody
 * asks for them. What a reader finds is believed as in db_reader.c; what was changed since, or is in memory,
 * is left out: whoever changed it has put it there. When all names were read that were committed when it began,
 * or later, then one that is not in memory does not exist, and nobody needs to ask; but where the cache has lost
 * names (cache.h).
 *
 * Threads: read is a reader's, take and begin the owner's of the database; who holds the scan, one at a time. */
#include "db_private.h"

/* Rows of one scan that are asked for. */
#define ASKED_MAX 16u

static int scan_names(struct metad_db *db, struct metad_db_scan *scan)
{
	sqlite3_stmt *s = db_stmt(db, STMT_scan_dentries);
	int r = 0;

	if (!s)
		return db->error;
	bind_u64(s, 1, scan->last_name.parent);
	bind_u64(s, 2, scan->last_name.hash);
	bind_bytes(s, 3, scan->last_name.name, scan->last_name.len);
	while (scan->n_names < METAD_DB_SCAN_ROWS && (r = db_step(db, s)) > 0) {
		struct metad_scanned_name *e = &scan->name[scan->n_names++];
		struct ff3_blob name = column_blob(s, 2);

		e->parent = column_u64(s, 0);
		e->hash = column_u64(s, 1);
		e->ino = column_u64(s, 3);
		e->type = (uint32_t)column_u64(s, 4);
		e->len = MIN(name.len, FF3_NAME_MAX);
		memcpy(e->name, name.p, e->len);
	}
	sqlite3_reset(s);
	return r;
}

static int scan_inodes(struct metad_db *db, struct metad_db_scan *scan)
{
	sqlite3_stmt *s = db_stmt(db, STMT_scan_inodes);
	int r = 0;

	if (!s)
		return db->error;
	bind_u64(s, 1, scan->last_ino);
	while (scan->n_inodes < METAD_DB_SCAN_ROWS && (r = db_step(db, s)) > 0)
		db_read_inode(s, &scan->inode[scan->n_inodes++]);
	sqlite3_reset(s);
	return r;
}

int metad_db_scan_read(struct metad_db *db, struct metad_db_scan *scan)
{
	int r;

	scan->n_names = scan->n_inodes = 0;
	r = metad_db_reader_begin(db, &scan->seq);
	if (r >= 0)
		r = scan->names_done ? scan_inodes(db, scan) : scan_names(db, scan);
	metad_db_read_end(db);
	return MIN(r, 0);
}

void metad_db_scan_begin(struct metad_db *db)
{
	db->scan_from = db->meta.applied_seq;
	metad_cache_expect(db->cache, db->meta.n_inodes);
}

/* A name whose hash is wrong (fsck tells of it) is not found by it, and must not be here. */
static bool offer_name(struct metad_db *db, const struct metad_scanned_name *e)
{
	struct ff3_str name = { e->name, e->len };

	return e->hash != metad_name_hash(e->parent, name) ||
	       metad_cache_offer_name(db->cache, e->parent, e->hash, name, e->ino, e->type);
}

void metad_db_scan_has_all_names(struct metad_db *db)
{
	db->has_all_names = true;
}

bool metad_db_has_all_names(const struct metad_db *db)
{
	return db->has_all_names;
}

bool db_knows_absent(const struct metad_db *db, uint64_t hash)
{
	return db->has_all_names && metad_cache_keeps_name(db->cache, hash);
}

static void count(struct metad_db_scan_result *ret, bool is_changed, bool has_room)
{
	ret->n_changed += is_changed;
	ret->n_taken += !is_changed && has_room;
	ret->n_no_room += !is_changed && !has_room;
}

/* Of some that seem to have changed it is asked what has become of them. */
static void ask_changed(struct metad_db *db, const struct metad_scanned_name *e, struct metad_db_scan_result *ret)
{
	struct ff3_str name = { e->name, e->len };
	uint64_t ino;
	uint32_t type;

	if (metad_cache_get_name(db->cache, e->parent, metad_name_hash(e->parent, name), name, &ino, &type))
		return;
	if (db->committing || ret->n_asked++ >= ASKED_MAX ||
	    metad_db_get_dentry(db, e->parent, name, &ino, &type) < 0)
		metad_cache_lose_name(db->cache, metad_name_hash(e->parent, name));
}

void metad_db_scan_take(struct metad_db *db, const struct metad_db_scan *scan, struct metad_db_scan_result *ret)
{
	*ret = (struct metad_db_scan_result){ .is_early = scan->seq < db->scan_from };
	if (ret->is_early)
		return;
	for (uint32_t i = 0; i < scan->n_names; i++) {
		const struct metad_scanned_name *e = &scan->name[i];
		bool is_changed = metad_db_name_changed(db, e->hash) > scan->seq;

		count(ret, is_changed, !is_changed && offer_name(db, e));
		if (is_changed)
			ask_changed(db, e, ret);
	}
	for (uint32_t i = 0; i < scan->n_inodes; i++) {
		bool is_changed = metad_db_inode_changed(db, scan->inode[i].ino) > scan->seq;

		count(ret, is_changed, !is_changed && metad_cache_offer_inode(db->cache, &scan->inode[i]));
	}
}

void metad_db_scan_next(struct metad_db_scan *scan, bool skip)
{
	bool over = skip || scan->n_names + scan->n_inodes < METAD_DB_SCAN_ROWS;

	if (scan->n_names > 0)
		scan->last_name = scan->name[scan->n_names - 1];
	if (scan->n_inodes > 0)
		scan->last_ino = scan->inode[scan->n_inodes - 1].ino;
	scan->done = over && scan->names_done;
	scan->names_done |= over;
}
