/* The state machine: what each operation does to the database. Everything here is a function of
 * the database and the record; time, ids and choices come with the record. */
#pragma once

#include "path.h"
#include "record.h"

#define METAD_REPLY_ROOM 16384u

/* What the serving side has to know of an operation, beyond its reply. */
struct metad_effects {
	bool repeated;       /* answered from the result table; ino is then what the reply tells */
	uint64_t ino;        /* the object of open, truncate, setattr, commit */
	bool created;
	bool truncated;      /* a pending truncation of ino was noted */
	bool owner_set;      /* mode or owner of ino was */
	bool times_set;      /* mtime of ino was set by the user */
	uint64_t orphans[2]; /* lost their last name */
	uint32_t n_orphans;
	bool routing; /* nodes, targets or chains changed */
	uint64_t repaired; /* a bit for each that repair did */
	bool trees;   /* a tree waits to be taken down */
};

/* Names that one record takes out of a tree that is being removed, at most. */
#define METAD_TREE_STEP 128u

/* The payload of METAD_OP_members. */
#define METAD_MEMBERS_WORDS (3u * REPLICA_MEMBERS_MAX)
void metad_members_encode(const struct replica_config *config, uint64_t ret[METAD_MEMBERS_WORDS]);
int metad_members_decode(struct ff3_blob payload, struct replica_config *ret);

struct metad_result_session; /* apply_results.c's */

struct metad_apply {
	struct metad_db *db;
	struct metad_result_session *sessions, *fresh;
	struct metad_walk walk[2];

	/* Of the record being applied. */
	const struct metad_record *rec;
	int64_t now;
	int status;
	uint8_t reply[METAD_REPLY_ROOM];
	size_t reply_len;
	struct metad_effects effects;
	/* What take_down left without a name. */
	uint64_t dropped[METAD_TREE_STEP];
	uint32_t n_dropped;
};

int metad_apply_new(struct metad_db *db, struct metad_apply **ret);
void metad_apply_free(struct metad_apply *a);
/* Within metad_db_begin and metad_db_commit. Leaves status, reply and effects. Negative: the
 * database failed, nothing may go on. */
int metad_apply(struct metad_apply *a, const struct metad_record *rec, uint64_t hash);
/* Whether the body of a request decodes; its tag. -EBADMSG, -EOPNOTSUPP: no mutation. */
int metad_apply_check(uint16_t op, const void *body, size_t len, struct ff3_tag *ret_tag);
/* The highest number of a request of session whose result is stored; 0: none. */
uint64_t metad_apply_max_seq(const struct metad_apply *a, uint64_t session);
bool metad_apply_has_session(const struct metad_apply *a, uint64_t session);
/* It was noted before its first lock. */
bool metad_apply_is_locker(const struct metad_apply *a, uint64_t session);
/* Sessions that have results stored; lockers: only those that were noted. */
void metad_apply_each_session(const struct metad_apply *a, bool lockers,
			      void (*fn)(void *arg, uint64_t session), void *arg);

/* Handlers. 0 with *p filled, or a negative code. They check everything before changing anything. */
#define METAD_APPLY_MUTATE(op)                                                                     \
	int apply_##op(struct metad_apply *a, const struct ff3_req_##op *q, struct ff3_rep_##op *p);
#define METAD_APPLY_READ(op)
#define METAD_APPLY_SESSION(op)
#define METAD_APPLY_DATA(op)
#define METAD_APPLY_DECLARE(number, op, daemon, traits) METAD_APPLY_##traits(op)
FF3_OPS(METAD_APPLY_DECLARE)
#define METAD_LOG_APPLY_DECLARE(number, name) int apply_log_##name(struct metad_apply *a);
METAD_LOG_OPS(METAD_LOG_APPLY_DECLARE)

/* apply_results.c. 1: the request was seen before, and status and reply are set. */
int apply_answer_again(struct metad_apply *a, const struct ff3_tag *tag);
int apply_store_answer(struct metad_apply *a, const struct ff3_tag *tag);

/* --- For handlers (apply_common.c) --------------------------------------------------------- */

/* metad_walk, and the redirect as the reply's body. which: a->walk[which]. */
int apply_walk(struct metad_apply *a, unsigned which, const struct ff3_path *at, unsigned flags);
int apply_walk_object(struct metad_apply *a, unsigned which, const struct ff3_path *at);
/* A directory that is to be removed, in walk[0], as rmdir says. */
int apply_walk_directory(struct metad_apply *a, const struct ff3_path *at);
/* n inodes of a removal are gone for good. */
int apply_removal_ended(struct metad_apply *a, uint64_t root, int64_t n);
/* May a name be made in dir? -ENOENT (dir was removed), -EACCES. */
int apply_may_create(struct metad_apply *a, const struct metad_inode *dir);
/* May victim's name be removed from dir? -EACCES, -EPERM (sticky), -ENOTDIR, -EISDIR. */
int apply_may_delete(struct metad_apply *a, const struct metad_inode *dir,
		     const struct metad_inode *victim, bool as_dir);
/* A new object for dir: type and permission bits in mode; owner and group as POSIX says. Not yet
 * stored. */
struct metad_inode apply_new_inode(struct metad_apply *a, const struct metad_inode *dir,
				   uint32_t mode);
/* Stores inode under name in dir and marks dir changed. */
int apply_add_name(struct metad_apply *a, struct metad_inode *dir, struct ff3_str name,
		   struct metad_inode *inode);
/* A directory that is being removed with all that is in it has no links, and stays so. */
static inline void apply_count_subdir(struct metad_inode *dir, int n)
{
	if (dir->nlink > 0)
		dir->nlink += (uint32_t)n;
}
/* inode lost a name (a directory: all). Stores it, or ends it when none is left. */
int apply_drop_link(struct metad_apply *a, struct metad_inode *inode);
/* The layout that files made in dir get; width: chains in the stripe. */
int apply_effective_layout(struct metad_db *db, const struct metad_inode *dir,
			   uint32_t *ret_chunk_size, uint32_t *ret_width, uint8_t *ret_pin);
/* The permissions that open asks for on an existing object; flags: FF3_OPEN_*. */
int metad_may_open(const struct metad_cred *cred, const struct metad_inode *inode, uint32_t flags);
/* A file's layout as stored. -EIO if its stripe does not exist. */
int metad_file_layout(struct metad_db *db, const struct metad_inode *inode, struct ff3_layout *ret);
