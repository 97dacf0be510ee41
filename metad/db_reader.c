/* Purpose: reading by other threads, and what of it may be believed.
 *
 * A reader is a connection of its own, which sees what was committed. What it finds is older than what was
 * applied by up to 100 ms, so it comes with the number of the last record that it contains; and the database that
 * is written knows, for a hash of each row's key, the last record that changed a row of that hash. What is
 * found and was not changed by a later record is as it is now. Rows of the same hash share a number: then
 * something is not believed that could be, and no more.
 *
 * Threads: a reader belongs to one thread; the numbers to the owner of the database. */
#include "db_private.h"

#include "../common/base/log.h"

#define CHANGED_SLOTS (1u << 16)

/* --- What was changed ------------------------------------------------------------------------ */

static uint32_t slot(uint64_t key, uint64_t salt)
{
	return (uint32_t)(((key ^ salt) * 0x9e3779b97f4a7c15ull) >> 40) % CHANGED_SLOTS;
}

static uint32_t inode_slot(uint64_t ino)
{
	return slot(ino, 0);
}

static uint32_t name_slot(uint64_t hash)
{
	return slot(hash, 0x5bf03635ull);
}

static uint32_t dir_slot(uint64_t ino)
{
	return slot(ino, 0xa0761d6478bd642full);
}

/* What is not committed yet may have been changed by any record. */
int metad_db_track_changes(struct metad_db *db)
{
	if (db->changed)
		return 0;
	db->changed = malloc(CHANGED_SLOTS * sizeof *db->changed);
	if (!db->changed)
		return -ENOMEM;
	for (uint32_t i = 0; i < CHANGED_SLOTS; i++)
		db->changed[i] = db->meta.applied_seq;
	return 0;
}

/* By the record that is being applied. */
void db_inode_changes(struct metad_db *db, uint64_t ino)
{
	if (db->changed)
		db->changed[inode_slot(ino)] = db->meta.applied_seq + 1;
}

void db_name_changes(struct metad_db *db, uint64_t parent, uint64_t hash)
{
	if (!db->changed)
		return;
	db->changed[name_slot(hash)] = db->meta.applied_seq + 1;
	db->changed[dir_slot(parent)] = db->meta.applied_seq + 1;
}

uint64_t metad_db_inode_changed(const struct metad_db *db, uint64_t ino)
{
	return db->changed[inode_slot(ino)];
}

uint64_t metad_db_name_changed(const struct metad_db *db, uint64_t hash)
{
	return db->changed[name_slot(hash)];
}

uint64_t metad_db_entries_changed(const struct metad_db *db, uint64_t dir)
{
	return db->changed[dir_slot(dir)];
}

unsigned metad_db_believe(struct metad_db *db, const struct metad_db_rows *rows)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < rows->n_inodes; i++) {
		if (db->changed[inode_slot(rows->inode[i].ino)] <= rows->seq)
			metad_cache_put_inode(db->cache, &rows->inode[i]);
		else
			n++;
	}
	for (uint32_t i = 0; i < rows->n_names; i++) {
		const struct metad_db_name *e = &rows->name[i];

		if (db->changed[name_slot(e->hash)] <= rows->seq)
			metad_cache_put_name(db->cache, e->parent, e->hash, (struct ff3_str){ e->name, e->len },
					     e->ino, e->type);
		else
			n++;
	}
	return n;
}

/* --- Reading --------------------------------------------------------------------------------- */

void db_note_inode(struct metad_db *db, const struct metad_inode *inode)
{
	struct metad_db_rows *rows = db->rows;

	if (rows && rows->n_inodes < METAD_DB_ROWS)
		rows->inode[rows->n_inodes++] = *inode;
}

void db_note_name(struct metad_db *db, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
		  uint32_t type)
{
	struct metad_db_rows *rows = db->rows;
	struct metad_db_name *e;

	if (!rows || rows->n_names == METAD_DB_ROWS || name.len > sizeof e->name)
		return;
	e = &rows->name[rows->n_names++];
	*e = (struct metad_db_name){ .parent = parent, .hash = hash, .ino = ino, .type = type,
				     .len = (uint8_t)name.len };
	memcpy(e->name, name.p, name.len);
}

int metad_db_open_reader(const char *path, uint64_t memory, struct metad_db **ret)
{
	struct metad_db *db = calloc(1, sizeof *db);
	int r;

	if (!db)
		return -ENOMEM;
	db_commit_init(db);
	db->path = strdup(path);
	r = db->path ? db_open_connection(db, memory) : -ENOMEM;
	if (r >= 0 && sqlite3_exec(db->sql, "PRAGMA query_only = 1", NULL, NULL, NULL) != SQLITE_OK)
		r = db_fail(db, SQLITE_ERROR, "cannot read it only");
	if (r >= 0)
		r = db_prepare_all(db);
	if (r < 0) {
		metad_db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

int metad_db_reader_begin(struct metad_db *db, uint64_t *ret_seq)
{
	int r;

	/* A failure before this was that time's. */
	db->error = 0;
	if (!sqlite3_get_autocommit(db->sql))
		sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
	db->tx = TX_NONE;
	r = db_get_meta(db);
	*ret_seq = db->meta.applied_seq;
	return r;
}

void metad_db_reader_note(struct metad_db *db, struct metad_db_rows *rows, const struct metad_inode *known)
{
	db->rows = rows;
	db->known = known;
}
