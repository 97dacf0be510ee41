/* Walking a path from a directory inode, as Linux does it. */
#pragma once

#include "db.h"

/* Room for a path whose symbolic links were replaced by their targets. */
#define METAD_WALK_ROOM 16384u

/* So many directories on the way are noted. */
#define METAD_WALK_DIRS 16u

enum metad_last { METAD_LAST_NAME, METAD_LAST_DOT, METAD_LAST_DOTDOT, METAD_LAST_ROOT };

enum {
	METAD_WALK_FOLLOW = 1, /* a symbolic link at the end is followed */
	METAD_WALK_PARENT = 2, /* for making or removing a name: never followed, may be absent */
	METAD_WALK_ABSENT = 4, /* for opening with O_CREAT: the object may be absent */
	METAD_WALK_LATE = 8,   /* a last name that is too long is told by late */
};

/* Where a walk ended. Too large for a stack: part of the caller's context. */
struct metad_walk {
	struct metad_inode dir;   /* holds name; valid for METAD_LAST_NAME */
	struct metad_inode inode; /* the object; ino 0: absent */
	struct ff3_str name;      /* after METAD_DB_ELSEWHERE: what could not be looked up in dir; p NULL: nothing */
	enum metad_last last;
	bool slash; /* slashes follow the name */
	int late;   /* what looking up the name answers */
	struct ff3_str redirect; /* after FF3_E_REDIRECT */
	uint64_t dirs[METAD_WALK_DIRS]; /* that were looked into, in order */
	uint32_t n_dirs; /* more than METAD_WALK_DIRS: not all are there */
	char scratch[2][METAD_WALK_ROOM];
	char target[FF3_PATH_MAX];
};

/* 0, or what the path deserves: -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -ENAMETOOLONG, -EINVAL,
 * -ESTALE (at->dir is gone), FF3_E_REDIRECT. name and redirect point into at->path or w. */
int metad_walk(struct metad_db *db, const struct metad_cred *cred, const struct ff3_path *at,
	       unsigned flags, struct metad_walk *w);
/* Where a walk is going to look, a step after the other; each step looks at what the one before it has named.
 * Nothing is read but what is in memory, and no permission is looked at. n_near 0: it was the last. */
struct metad_walk_ahead {
	uint64_t dir;
	struct ff3_str rest; /* of the path */
	uint32_t n_near;
	struct cache_near near[2];
};
void metad_walk_ahead_begin(struct metad_db *db, const struct ff3_path *at, struct metad_walk_ahead *ret);
void metad_walk_ahead_step(struct metad_db *db, struct metad_walk_ahead *a);
/* For operations on an existing object: flags of at decide about following. */
int metad_walk_object(struct metad_db *db, const struct metad_cred *cred,
		      const struct ff3_path *at, struct metad_walk *w);
/* The path from the root, into the end of buf of FF3_PATH_MAX * 4 bytes. -ENOENT where it has no
 * name (any more), -ENAMETOOLONG. */
int metad_path_of(struct metad_db *db, uint64_t ino, char *buf, size_t size, struct ff3_str *ret);
