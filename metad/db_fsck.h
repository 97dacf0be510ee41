/* What is wrong in a state of the database, and between it and the chunks that the targets hold. Memory
 * does not grow with the number of inodes: everything is one pass over rows in the order of inode
 * numbers, sorted by SQLite in temporary files where they are stored otherwise. */
#pragma once

#include "db_snapshot.h"

/*   K(kind, word, fate): by which it is known to the user; what can be done about it */
#define METAD_FINDINGS(K)                                                                          \
	K(DANGLING, "dangling-name", "name removed")                                               \
	K(TYPE, "wrong-type", "type of the name set")                                              \
	K(LINKS, "wrong-links", "count set")                                                       \
	K(PARENT, "wrong-parent", "parent set")                                                    \
	K(NO_NAME, "no-name", "given a name in /lost+found")                                       \
	K(NO_DIRECTORY, "no-directory", "names removed")                                           \
	K(UNREACHABLE, "unreachable", NULL)                                                        \
	K(NAMES, "several-names", NULL)                                                            \
	K(ORPHAN_ROW, "stale-orphan", "row removed")                                               \
	K(GARBAGE_ROW, "stale-garbage", "row removed")                                             \
	K(TREE_ROW, "stale-tree", "row removed")                                                   \
	K(TRUNCATION_ROW, "stale-truncation", "row removed")                                       \
	K(STRAY, "stray-row", "rows removed")                                                      \
	K(NO_TARGET, "no-link-target", NULL)                                                       \
	K(STRIPE, "no-stripe", NULL)                                                               \
	K(INODES, "wrong-count", "count set")                                                      \
	K(NEXT_INO, "wrong-next", "number set")                                                    \
	K(ORPHAN_CHUNKS, "orphan-chunks", "chunks removed")                                        \
	K(BEYOND_END, "beyond-end", "chunks cut")                                                  \
	K(MISPLACED, "misplaced-chunk", NULL)                                                      \
	K(BAD_LENGTH, "bad-length", NULL)                                                          \
	K(MISSING, "missing-chunks", NULL)

#define METAD_FINDING_ENUM(kind, word, fate) METAD_F_##kind,
enum metad_finding_kind { METAD_FINDINGS(METAD_FINDING_ENUM) METAD_F_END };

struct metad_finding {
	uint32_t kind;
	uint32_t name_len;
	uint64_t ino;
	uint64_t parent; /* names */
	uint64_t have, want;
	uint64_t target; /* chunks */
	uint64_t n;      /* chunks, rows */
	uint64_t size, truncs; /* of the inode, as it was then */
	uint32_t first, last;  /* chunks: indexes */
	char name[FF3_NAME_MAX + 1];
};

/* Other than 0 ends the pass and is returned. */
typedef int metad_finding_fn(void *arg, const struct metad_finding *f);
/* done of total inodes were looked at. */
typedef int metad_fsck_step_fn(void *arg, uint64_t done, uint64_t total);

int metad_db_fsck_names(struct metad_db_snapshot *s, metad_fsck_step_fn *step,
			metad_finding_fn *found, void *arg);

/* Chunks that targets hold, listed after the state was taken. */
int metad_db_fsck_chunks_begin(struct metad_db_snapshot *s);
int metad_db_fsck_chunks_add(struct metad_db_snapshot *s, uint64_t target,
			     const struct ff3_chunk *chunk);
/* is_complete: whether target's list is known; chunks of others are not missed. */
int metad_db_fsck_chunks(struct metad_db_snapshot *s, metad_fsck_step_fn *step,
			 metad_finding_fn *found, bool (*is_complete)(void *arg, uint64_t target),
			 void *arg);
/* Targets of the state: fn(target). */
int metad_db_fsck_targets(struct metad_db_snapshot *s, int (*fn)(void *arg, uint64_t target),
			  void *arg);
