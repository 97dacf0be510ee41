/* A file that something is held of in memory; file.c and file_wait.c only. */
#pragma once

#include "../common/base/hash.h"
#include "../common/base/locks.h"
#include "metad.h"

/* A request that waits for a truncation to be over. */
struct parked {
	struct parked *next;
	struct ff3_request *r;
	struct metad_conn *conn; /* of a request that is to be run again; else NULL */
	size_t len;
	uint8_t body[]; /* of a reply that was held back */
};

/* A request that waits for its turn to append. */
struct appender {
	struct appender *next;
	struct ff3_request *r;
	struct metad_conn *conn;
	uint64_t session;
};

struct metad_file {
	uint64_t ino;
	uint32_t n_sessions;    /* that have it open */
	uint32_t times_pending; /* requests under way that set its times */
	uint32_t n_below;       /* removed directories that have it for a parent and hold it */
	uint64_t holds;         /* the parent that this one, open and removed, holds; 0: none */
	bool dirty;          /* end and mtime are not in the log */
	uint32_t kill_mode;
	bool truncating;
	bool busy;     /* in the list of those with somebody waiting or a lock */
	uint64_t end;  /* 0: as in the database */
	int64_t mtime; /* 0: as in the database */
	uint64_t dirty_ns;
	struct metad_file *dirty_prev, *dirty_next;
	struct metad_file *busy_prev, *busy_next;
	struct parked *parked;
	struct appender *appenders;
	uint64_t holder_session; /* of the right to append; 0: free */
	uint64_t grant;          /* the number of the right that was given last */
	struct metad_conn *holder;
	/* The last append whose answer is not in the log; session 0: none. */
	struct {
		uint64_t session, seq;
	} held;
	struct ff3_locks locks;
	UT_hash_handle hh;
};

struct metad_files {
	struct metad_file *all;
	struct metad_file *dirty; /* oldest first */
	struct metad_file *busy;
	uint64_t n_locks, max_locks;
	uint64_t n_truncating;
	uint64_t last_grant;
};

/* Keeps f in the list of busy files or out of it, as it is. */
void file_update_busy(struct metad *m, struct metad_file *f);
