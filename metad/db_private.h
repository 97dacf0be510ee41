/* Shared by the db*.c files only: the connection, its prepared statements, its caches. */
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "cache.h"
#include "db.h"

#define INODE_COLUMNS                                                                              \
	"ino, mode, uid, gid, nlink, size, generation, atime, mtime, ctime, btime, parent, "       \
	"name_hash, chunk_size, stripe, seed, truncs"

#define METAD_GET_META                                                                             \
	"SELECT format, cluster, log_key, epoch, applied_seq, applied_hash, time, next_ino, "      \
	"n_inodes, next_chain, routing_version FROM meta"

#define REMOVAL_COLUMNS "root, uid, began, ended, names, dirs, pending, waiting"

#define METAD_STATEMENTS(S)                                                                        \
	S(begin_read, "BEGIN")                                                                     \
	S(begin_write, "BEGIN IMMEDIATE")                                                          \
	S(commit, "COMMIT")                                                                        \
	S(get_meta, METAD_GET_META)                                                                \
	S(put_meta, "UPDATE meta SET epoch = ?, applied_seq = ?, applied_hash = ?, time = ?, "     \
		    "next_ino = ?, n_inodes = ?, next_chain = ?, routing_version = ?")             \
	S(get_inode, "SELECT " INODE_COLUMNS " FROM inodes WHERE ino = ?")                         \
	S(put_inode, "INSERT OR REPLACE INTO inodes (" INODE_COLUMNS ") "                          \
		     "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")                                 \
	S(scan_inodes, "SELECT " INODE_COLUMNS " FROM inodes WHERE ino > ? ORDER BY ino")          \
	S(del_inode, "DELETE FROM inodes WHERE ino = ?")                                           \
	S(get_symlink, "SELECT target FROM symlinks WHERE ino = ?")                                \
	S(add_symlink, "INSERT INTO symlinks VALUES (?,?)")                                        \
	S(del_symlink, "DELETE FROM symlinks WHERE ino = ?")                                       \
	S(get_dentry, "SELECT ino, type FROM dentries WHERE parent = ? AND hash = ? AND name = ?") \
	S(add_dentry, "INSERT INTO dentries VALUES (?,?,?,?,?)")                                   \
	S(set_dentry, "UPDATE dentries SET ino = ?4, type = ?5 "                                   \
		      "WHERE parent = ?1 AND hash = ?2 AND name = ?3")                             \
	S(del_dentry, "DELETE FROM dentries WHERE parent = ? AND hash = ? AND name = ?")           \
	S(any_dentry, "SELECT 1 FROM dentries WHERE parent = ? LIMIT 1")                           \
	S(find_name, "SELECT name, ino FROM dentries WHERE parent = ? AND hash = ?")               \
	S(each_dentry, "SELECT hash, ino, type, name FROM dentries "                               \
		       "WHERE parent = ? AND hash > ? ORDER BY hash, name")                        \
	S(scan_dentries, "SELECT parent, hash, name, ino, type FROM dentries "                     \
			 "WHERE (parent, hash, name) > (?, ?, ?) ORDER BY parent, hash, name")     \
	S(get_xattr, "SELECT value FROM xattrs WHERE ino = ? AND name = ?")                        \
	S(set_xattr, "INSERT OR REPLACE INTO xattrs VALUES (?,?,?)")                               \
	S(del_xattr, "DELETE FROM xattrs WHERE ino = ? AND name = ?")                              \
	S(del_xattrs, "DELETE FROM xattrs WHERE ino = ?")                                          \
	S(each_xattr, "SELECT name FROM xattrs WHERE ino = ? ORDER BY name")                       \
	S(each_stripe, "SELECT id, chains FROM stripes ORDER BY id")                               \
	S(add_stripe, "INSERT INTO stripes VALUES (?,?)")                                          \
	S(put_node, "INSERT OR REPLACE INTO nodes VALUES (?,?,?)")                                 \
	S(get_node, "SELECT address, admin FROM nodes WHERE node = ?")                             \
	S(each_node, "SELECT node, address, admin FROM nodes ORDER BY node")                       \
	S(put_target, "INSERT OR REPLACE INTO targets VALUES (?,?,?)")                             \
	S(get_target, "SELECT node, state FROM targets WHERE target = ?")                          \
	S(each_target, "SELECT target, node, state FROM targets ORDER BY target")                  \
	S(add_chain, "INSERT INTO chains VALUES (?,?,?)")                                          \
	S(each_chain, "SELECT chain, version, members FROM chains ORDER BY chain")                 \
	S(add_orphan, "INSERT OR IGNORE INTO orphans VALUES (?,?)")                                \
	S(del_orphan, "DELETE FROM orphans WHERE ino = ? RETURNING root")                          \
	S(each_orphan, "SELECT ino, root, 0 FROM orphans WHERE ino > ? ORDER BY ino")              \
	S(add_garbage, "INSERT OR REPLACE INTO garbage VALUES (?,?,?)")                            \
	S(del_garbage, "DELETE FROM garbage WHERE ino = ? RETURNING root")                         \
	S(each_garbage, "SELECT ino, stripe, root FROM garbage WHERE ino > ? ORDER BY ino")        \
	S(add_tree, "INSERT OR IGNORE INTO trees VALUES (?,?)")                                    \
	S(del_tree, "DELETE FROM trees WHERE ino = ?")                                             \
	S(last_tree, "SELECT ino, root FROM trees ORDER BY ino DESC LIMIT 1")                      \
	S(add_removal, "INSERT INTO removals VALUES (?1, ?2, ?3, 0, 0, 0, 1, 0)")                  \
	S(note_removal, "UPDATE removals SET names = names + ?2, dirs = dirs + ?3, "               \
			"pending = pending + ?4, waiting = waiting + ?5 WHERE root = ?1 "          \
			"RETURNING pending = 0 AND waiting = 0")                                   \
	S(end_removal, "UPDATE removals SET ended = ?2 WHERE root = ?1")                           \
	S(prune_removals, "DELETE FROM removals WHERE ended != 0 AND root NOT IN (SELECT root "    \
			  "FROM removals WHERE ended != 0 ORDER BY ended DESC, root LIMIT 64)")    \
	S(get_removal, "SELECT " REMOVAL_COLUMNS " FROM removals WHERE root = ?")                  \
	S(each_removal, "SELECT " REMOVAL_COLUMNS " FROM removals WHERE root > ? ORDER BY root")   \
	S(put_truncation, "INSERT OR REPLACE INTO truncations VALUES (?,?,?)")                     \
	S(get_truncation, "SELECT size, old_size FROM truncations WHERE ino = ?")                  \
	S(del_truncation, "DELETE FROM truncations WHERE ino = ?")                                 \
	S(each_truncation, "SELECT ino, size, old_size FROM truncations WHERE ino > ? "            \
			   "ORDER BY ino")                                                         \
	S(each_member, "SELECT id, log_id, voter, witness, gone FROM members ORDER BY id")         \
	S(get_member, "SELECT gone FROM members WHERE id = ?")                                     \
	S(members_gone, "UPDATE members SET gone = 1")                                             \
	S(put_member, "INSERT OR REPLACE INTO members VALUES (?,?,?,?,0)")                         \
	S(get_digest, "SELECT value FROM digest")                                                  \
	S(put_digest, "UPDATE digest SET value = ?")                                               \
	S(get_result, "SELECT status, reply FROM results WHERE session = ? AND seq = ?")           \
	S(add_result, "INSERT INTO results VALUES (?,?,?,?,?)")                                    \
	S(prune_results, "DELETE FROM results WHERE session = ? AND seq BETWEEN ? AND ?")         \
	S(each_session, "SELECT session, max(seq), max(acked), count(*), min(seq) = 0 FROM results " \
			"GROUP BY session")

#define STATEMENT_ENUM(name, sql) STMT_##name,
enum stmt { METAD_STATEMENTS(STATEMENT_ENUM) N_STATEMENTS };

enum transaction { TX_NONE, TX_READ, TX_WRITE };

/* Inodes changed in this transaction; written when it ends, once each. */
#define DIRTY_SLOTS 1024u

struct metad_db {
	sqlite3 *sql;
	sqlite3_stmt *stmt[N_STATEMENTS];
	enum transaction tx;
	atomic_int error;
	_Atomic uint64_t wal_pages;
	bool committing;   /* by another thread */
	int commit_result; /* 1: not yet */
	pthread_mutex_t lock;
	pthread_cond_t commit_over;
	uint64_t committed_seq;
	char *path;
	struct metad_meta meta;
	int (*before_commit)(void *arg);
	void *before_commit_arg;
	struct metad_cache *cache; /* NULL: a reader */
	struct metad_inode *dirty; /* open addressing by inode id; ino 0 is a free slot */
	uint32_t n_dirty;
	bool only_memory;
	uint64_t n_asked;
	uint64_t *changed;	    /* db_reader.c; NULL: nobody asks */
	struct metad_db_rows *rows; /* of a reader, as known */
	const struct metad_inode *known;
	uint64_t scan_from; /* db_scan.c: applied_seq when it began */
	bool has_all_names; /* but those that the cache has lost */
	struct ff3_blob *stripes; /* by id */
	uint32_t n_stripes, room_stripes;
	uint32_t *stripe_index; /* open addressing by content: id + 1 */
	uint32_t stripe_slots;
	void *xattr_value; /* what metad_db_get_xattr answered last; also results' reply */
	size_t xattr_room;
};

/* Reset, ready for binding; opens a read transaction if none is open. NULL after a failure. */
sqlite3_stmt *db_stmt(struct metad_db *db, enum stmt which);
/* Steps to the next row: 1, 0 at the end (the statement is then reset), negative errno. */
int db_step(struct metad_db *db, sqlite3_stmt *stmt);
/* Runs a statement that returns no rows; ends with reset. */
int db_run(struct metad_db *db, sqlite3_stmt *stmt);
/* Keeps the first failure. Returns its negative errno. */
int db_fail(struct metad_db *db, int code, const char *what);
/* Copies a value into the buffer kept for that. */
int db_keep(struct metad_db *db, const void *p, size_t len, struct ff3_blob *ret);

/* db_commit.c. settle: nobody else uses the connection, or what was gathered, any more. */
void db_commit_init(struct metad_db *db);
void db_commit_done(struct metad_db *db);
void db_settle(struct metad_db *db);

int db_flush_dirty(struct metad_db *db);
/* A row of INODE_COLUMNS. */
void db_read_inode(sqlite3_stmt *s, struct metad_inode *ret);
/* db.c, for readers too. */
int db_open_connection(struct metad_db *db, uint64_t memory);
int db_prepare_all(struct metad_db *db);
int db_get_meta(struct metad_db *db);
/* db_reader.c: the record that is being applied changes a row; a reader has found one. */
void db_inode_changes(struct metad_db *db, uint64_t ino);
void db_name_changes(struct metad_db *db, uint64_t parent, uint64_t hash);
/* A name of this hash that is not in memory does not exist. */
bool db_knows_absent(const struct metad_db *db, uint64_t hash);
void db_note_inode(struct metad_db *db, const struct metad_inode *inode);
void db_note_name(struct metad_db *db, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
		  uint32_t type);
int db_load_stripes(struct metad_db *db);
/* db_member.c */
extern const char db_member_sql[];
int db_load_digest(struct metad_db *db);
int db_put_digest(struct metad_db *db);

/* A row of METAD_GET_META. */
void db_read_meta(sqlite3_stmt *s, struct metad_meta *ret);

struct metad_db_snapshot { /* db_snapshot.h */
	sqlite3 *sql;
	struct metad_meta meta;
	sqlite3_stmt *add; /* db_fsck_chunks.c */
};
/* db_fsck.c; step: 1 a row, 0 the end, negative errno (logged). */
int db_fsck_prepare(struct metad_db_snapshot *snap, const char *sql, sqlite3_stmt **ret);
int db_fsck_step(struct metad_db_snapshot *snap, sqlite3_stmt *s);

static inline void bind_u64(sqlite3_stmt *s, int i, uint64_t v)
{
	sqlite3_bind_int64(s, i, (sqlite3_int64)v);
}

static inline void bind_bytes(sqlite3_stmt *s, int i, const void *p, size_t len)
{
	sqlite3_bind_blob(s, i, len > 0 ? p : "", (int)len, SQLITE_STATIC);
}

static inline uint64_t column_u64(sqlite3_stmt *s, int i)
{
	return (uint64_t)sqlite3_column_int64(s, i);
}

static inline struct ff3_blob column_blob(sqlite3_stmt *s, int i)
{
	const void *p = sqlite3_column_blob(s, i);

	return (struct ff3_blob){ p, (uint32_t)sqlite3_column_bytes(s, i) };
}
