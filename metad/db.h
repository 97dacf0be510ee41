/* The namespace database: rows as structs. The only users of SQLite are the db*.c files.
 *
 * Lookups return 1 (found), 0 (absent) or a negative errno; changes 0 or a negative errno. A
 * negative errno means that the database itself failed: it is kept (metad_db_error) and nothing
 * may be answered from the database any more.
 *
 * Reads open a read transaction by themselves, which metad_db_read_end closes; changes must be
 * between metad_db_begin and metad_db_commit. What a change wrote is seen by reads at once.
 *
 * Threads: one thread at a time, but for metad_db_commit_run. The checkpointer (checkpoint.h) has a connection of its own. */
#pragma once

#include "cache_set.h"
#include "inode.h"
#include "replica.h"

struct metad_db;

#define METAD_DB_FORMAT 2
#define METAD_DB_PAGES FF3_MIB(128)

/* In the low byte of an inode's chunk_size: the pin, and this (inode.h: sparse). */
#define METAD_LAYOUT_SPARSE 0x80u

struct metad_meta {
	uint64_t cluster;
	uint64_t log_key; /* what log segments are marked with; never leaves the daemon */
	uint64_t epoch;
	uint64_t applied_seq;
	uint64_t applied_hash;
	uint64_t time; /* of the last operation, ns since 1970 */
	uint64_t next_ino;
	uint64_t n_inodes;
	uint64_t next_chain;
	uint64_t routing_version;
	uint64_t digest; /* of all operations that were applied and of their results */
};

/* dir: made if it does not exist. memory: a quarter of it, METAD_DB_PAGES at most, is for pages; three quarters
 * without that are for inodes and names. A new database gets a
 * random cluster id and a root directory of mode 01777 with that layout. */
int metad_db_open(const char *dir, uint64_t memory, uint32_t chunk_size, uint32_t stripe,
		  struct metad_db **ret);
void metad_db_close(struct metad_db *db);
int metad_db_error(const struct metad_db *db);
/* To be changed only inside a transaction; written by the commit. */
struct metad_meta *metad_db_meta(struct metad_db *db);
/* The file's path, for the checkpointer and for tests. */
const char *metad_db_path(const struct metad_db *db);

int metad_db_begin(struct metad_db *db);
int metad_db_commit(struct metad_db *db);
/* The same in three steps, of which run may be another thread's. Until end, nothing may be changed; what is
 * read and is not in memory waits for run. */
void metad_db_commit_begin(struct metad_db *db);
void metad_db_commit_run(struct metad_db *db);
int metad_db_commit_end(struct metad_db *db);
/* fn writes what belongs to a transaction and was not written yet. NULL: there is nothing any more. */
void metad_db_before_commit(struct metad_db *db, int (*fn)(void *arg), void *arg);
void metad_db_read_end(struct metad_db *db);
/* applied_seq of the last commit. */
uint64_t metad_db_committed_seq(const struct metad_db *db);
/* Pages in the write-ahead log of SQLite after the last commit. */
uint64_t metad_db_wal_pages(const struct metad_db *db);
/* A hash of every row of every table, for tests and for comparing replicas. */
int metad_db_digest(struct metad_db *db, uint64_t *ret);

/* db_inode.c */
int metad_db_get_inode(struct metad_db *db, uint64_t ino, struct metad_inode *ret);
/* Where it is in memory, if it is. */
struct cache_near metad_db_near_inode(struct metad_db *db, uint64_t ino);
int metad_db_add_inode(struct metad_db *db, const struct metad_inode *inode);
int metad_db_put_inode(struct metad_db *db, const struct metad_inode *inode);
/* With its symlink target and xattrs. */
int metad_db_del_inode(struct metad_db *db, const struct metad_inode *inode);
/* Symlink targets and xattrs of an inode that does not exist. */
int metad_db_del_rows(struct metad_db *db, uint64_t ino);
/* buf must hold FF3_PATH_MAX bytes. */
int metad_db_get_symlink(struct metad_db *db, uint64_t ino, char *buf, uint32_t *ret_len);
int metad_db_add_symlink(struct metad_db *db, uint64_t ino, struct ff3_str target);

/* db_reader.c: a connection for reading what is committed, for another thread. Of the calls here only lookups,
 * listings, metad_db_read_end and metad_db_close are for it. */
int metad_db_open_reader(const char *path, uint64_t memory, struct metad_db **ret);
/* A state to read from, until metad_db_read_end: with the records up to *ret_seq. */
int metad_db_reader_begin(struct metad_db *db, uint64_t *ret_seq);

#define METAD_DB_ROWS 8u
struct metad_db_rows {
	uint64_t seq; /* the state that they are of */
	uint32_t n_inodes, n_names;
	struct metad_inode inode[METAD_DB_ROWS];
	struct metad_db_name {
		uint64_t parent, hash, ino; /* ino 0: there is none */
		uint32_t type;
		uint8_t len;
		char name[39];
	} name[METAD_DB_ROWS];
};
/* Looked up from now on, as far as there is room. NULL: no more. known: an inode that is not looked up, or NULL. */
void metad_db_reader_note(struct metad_db *db, struct metad_db_rows *rows, const struct metad_inode *known);

/* The database that is written notes what it changes, for the following. */
int metad_db_track_changes(struct metad_db *db);
/* No record after this changed the inode; the name of this hash; an entry of the directory. */
uint64_t metad_db_inode_changed(const struct metad_db *db, uint64_t ino);
uint64_t metad_db_name_changed(const struct metad_db *db, uint64_t hash);
uint64_t metad_db_entries_changed(const struct metad_db *db, uint64_t dir);
/* Takes what a reader found into memory if it is as it was. Returns how many rows are not. */
unsigned metad_db_believe(struct metad_db *db, const struct metad_db_rows *rows);

/* db_scan.c: all names and inodes in their order, so many rows at a time. */
#define METAD_DB_SCAN_ROWS 256u
struct metad_db_scan {
	uint64_t seq; /* the state that the rows are of */
	bool names_done, done;
	uint32_t n_names, n_inodes; /* one of them is 0 */
	struct metad_scanned_name {
		uint64_t parent, hash, ino;
		uint32_t type, len;
		char name[FF3_NAME_MAX];
	} name[METAD_DB_SCAN_ROWS], last_name; /* after which it goes on */
	struct metad_inode inode[METAD_DB_SCAN_ROWS];
	uint64_t last_ino;
};
/* A reader's. The next rows, after those that were taken. */
int metad_db_scan_read(struct metad_db *db, struct metad_db_scan *scan);
/* The owner's: takes into memory what is as it was, and was not there, as long as there is room. */
struct metad_db_scan_result {
	bool is_early; /* read from a state of before the scan began: nothing was taken */
	uint32_t n_taken, n_changed, n_no_room;
	uint32_t n_asked; /* of the names that have changed: looked up again */
};
void metad_db_scan_take(struct metad_db *db, const struct metad_db_scan *scan, struct metad_db_scan_result *ret);
/* They need not be read again. The rest of the names is left out, or of the inodes, if skip. */
void metad_db_scan_next(struct metad_db_scan *scan, bool skip);
/* Before the first; and after the last name, if none was skipped. */
void metad_db_scan_begin(struct metad_db *db);
void metad_db_scan_has_all_names(struct metad_db *db);
bool metad_db_has_all_names(const struct metad_db *db);

/* While only, lookups that would have to ask SQLite, or to wait for a commit, answer METAD_DB_ELSEWHERE. */
#define METAD_DB_ELSEWHERE (-EXFULL)
void metad_db_only_memory(struct metad_db *db, bool only);
/* Lookups that asked SQLite. */
uint64_t metad_db_n_asked(const struct metad_db *db);

/* db_dentry.c */
int metad_db_get_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t *ret_ino,
			uint32_t *ret_type);
/* Where it is in memory, if it is; and looked for only there. */
struct cache_near metad_db_near_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name);
bool metad_db_peek_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t *ret_ino);
int metad_db_add_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t ino,
			uint32_t type);
/* Gives an existing name to another inode. */
int metad_db_set_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name, uint64_t ino,
			uint32_t type);
int metad_db_del_dentry(struct metad_db *db, uint64_t parent, struct ff3_str name);
/* Whatever its hash is stored as. */
int metad_db_del_dentry_at(struct metad_db *db, uint64_t parent, uint64_t hash, struct ff3_str name);
/* 1: empty. */
int metad_db_dir_is_empty(struct metad_db *db, uint64_t parent);
/* buf must hold FF3_NAME_MAX bytes. The name of ino in parent among those of this hash. */
int metad_db_find_name(struct metad_db *db, uint64_t parent, uint64_t hash, uint64_t ino, char *buf,
		       uint32_t *ret_len);
/* Calls fn for the entries after cookie, in order, until it returns non-zero; returns that (or
 * 0 at the end). */
typedef int metad_dentry_fn(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
			    uint32_t name_len);
int metad_db_each_dentry(struct metad_db *db, uint64_t parent, uint64_t cookie, metad_dentry_fn *fn,
			 void *arg);

/* db_xattr.c. The value stays valid until the next call. */
int metad_db_get_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name,
		       struct ff3_blob *ret_value);
int metad_db_set_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name,
		       struct ff3_blob value);
int metad_db_del_xattr(struct metad_db *db, uint64_t ino, struct ff3_str name);
/* fn returning non-zero ends the listing with that. */
int metad_db_each_xattr(struct metad_db *db, uint64_t ino,
			int (*fn)(void *arg, const void *name, uint32_t name_len), void *arg);

/* db_cluster.c: stripes. The list stays valid as long as the database is open. */
int metad_db_get_stripe(struct metad_db *db, uint32_t id, struct ff3_blob *ret_chains);
/* The id of this list, which is made if it is new. */
int metad_db_intern_stripe(struct metad_db *db, struct ff3_blob chains, uint32_t *ret_id);

int metad_db_put_node(struct metad_db *db, uint64_t node, struct ff3_str address,
		      struct ff3_str admin);
/* state: enum ff3_target_state. */
int metad_db_put_target(struct metad_db *db, uint64_t target, uint64_t node, uint32_t state);
int metad_db_get_target(struct metad_db *db, uint64_t target, uint64_t *ret_node,
			uint32_t *ret_state);
int metad_db_add_chain(struct metad_db *db, uint32_t chain, uint64_t version,
		       struct ff3_blob members);
int metad_db_get_node(struct metad_db *db, uint64_t node, struct ff3_str *ret_address,
		      struct ff3_str *ret_admin);
int metad_db_each_node(struct metad_db *db,
		       int (*fn)(void *arg, uint64_t node, struct ff3_str address,
				 struct ff3_str admin),
		       void *arg);
int metad_db_each_target(struct metad_db *db,
			 int (*fn)(void *arg, uint64_t target, uint64_t node, uint32_t state),
			 void *arg);
int metad_db_each_chain(struct metad_db *db,
			int (*fn)(void *arg, uint32_t chain, uint64_t version,
				  struct ff3_blob members),
			void *arg);

/* db_queue.c: what remains to be done, and answers. */
int metad_db_add_orphan(struct metad_db *db, uint64_t ino, uint64_t root);
/* 1: it was one. */
int metad_db_del_orphan(struct metad_db *db, uint64_t ino, uint64_t *ret_root);
int metad_db_add_garbage(struct metad_db *db, uint64_t ino, uint32_t stripe, uint64_t root);
/* 1: it was there. */
int metad_db_del_garbage(struct metad_db *db, uint64_t ino, uint64_t *ret_root);
int metad_db_put_truncation(struct metad_db *db, uint64_t ino, uint64_t size, uint64_t old_size);
int metad_db_get_truncation(struct metad_db *db, uint64_t ino, uint64_t *ret_size,
			    uint64_t *ret_old_size);
int metad_db_del_truncation(struct metad_db *db, uint64_t ino);
typedef int metad_queue_fn(void *arg, uint64_t ino, uint64_t a, uint64_t b);
/* In ascending inode order, those above after. fn(ino, root, 0); (ino, stripe, root);
 * (ino, size, old_size). */
int metad_db_each_orphan(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg);
int metad_db_each_garbage(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg);
int metad_db_each_truncation(struct metad_db *db, uint64_t after, metad_queue_fn *fn, void *arg);

/* Removals of whole trees, and the directories that they have reached. */
struct metad_removal {
	uint64_t root; /* the directory at the top */
	uint32_t uid;
	int64_t began, ended; /* ns since 1970; ended 0: it goes on */
	uint64_t names, dirs; /* that are gone */
	uint64_t pending;     /* directories reached that are not empty yet */
	uint64_t waiting;     /* inodes that somebody may have open, or whose chunks are still there */
};
struct metad_removal_change {
	uint64_t names, dirs;
	int64_t pending, waiting;
};
int metad_db_add_tree(struct metad_db *db, uint64_t ino, uint64_t root);
int metad_db_del_tree(struct metad_db *db, uint64_t ino);
/* The one to be worked on: 1, or 0. */
int metad_db_last_tree(struct metad_db *db, uint64_t *ret_ino, uint64_t *ret_root);
/* With its top in trees. */
int metad_db_add_removal(struct metad_db *db, uint64_t root, uint32_t uid, int64_t now);
/* Ends it when nothing is left. */
int metad_db_note_removal(struct metad_db *db, uint64_t root, const struct metad_removal_change *c,
			  int64_t now);
int metad_db_get_removal(struct metad_db *db, uint64_t root, struct metad_removal *ret);
int metad_db_each_removal(struct metad_db *db, uint64_t after,
			  int (*fn)(void *arg, const struct metad_removal *removal), void *arg);

/* db_member.c: the members of the metadata group; *ret_former: how many are not any more. */
int metad_db_get_members(struct metad_db *db, struct replica_config *ret, uint32_t *ret_former);
/* 1: id is a member, or was. */
int metad_db_was_member(struct metad_db *db, uint64_t id);
int metad_db_put_members(struct metad_db *db, const struct replica_config *config);

struct metad_stored_result {
	int status;
	struct ff3_blob reply; /* valid until the next call */
};
int metad_db_get_result(struct metad_db *db, uint64_t session, uint64_t seq,
			struct metad_stored_result *ret);
int metad_db_add_result(struct metad_db *db, uint64_t session, uint64_t seq, uint64_t acked,
			int status, struct ff3_blob reply);
/* Those from first to last. Returns how many. */
int metad_db_prune_results(struct metad_db *db, uint64_t session, uint64_t first, uint64_t last);
/* Per session: highest seq, highest acked, number of rows; locks: it has one with number 0. */
int metad_db_each_session(struct metad_db *db,
			  int (*fn)(void *arg, uint64_t session, uint64_t max_seq, uint64_t acked,
				    uint64_t n, bool locks),
			  void *arg);
