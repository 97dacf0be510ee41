/* Threads that read the database for the loop's (readers.c), and requests that wait for its commit. */
#pragma once

#include "metad.h"

struct metad_readers;

/* With configured threads, or none. */
int metad_readers_new(struct metad *m);
/* Nothing is read any more; who waits hears of it. Then, when the loop runs no more, the rest. */
void metad_readers_stop(struct metad *m);
void metad_readers_free(struct metad *m);

/* As metad_walk and metad_walk_object, into m->walk, for r. METAD_DB_ELSEWHERE: what the path needs is not in
 * memory, and r was taken: it runs again when that is there, or when the commit that is in the way is over. */
int metad_serve_walk(struct metad *m, struct metad_conn *conn, struct ff3_request *r, const struct ff3_path *at,
		     unsigned flags);
int metad_serve_walk_object(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			    const struct ff3_path *at);
/* Whether a reader answers r, for which everything was checked that is. */
bool metad_readers_list(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			const struct ff3_req_readdir *q, uint64_t parent);

/* A turn of the loop is over; a commit is. */
void metad_readers_turn(struct metad *m);
void metad_readers_committed(struct metad *m);
void metad_readers_conn_closed(struct metad *m, struct metad_conn *conn);

struct metad_readers_stats {
	unsigned n_threads;
	uint64_t n_lookups, n_listings; /* done by readers */
	uint64_t n_batches;
	uint64_t n_changed; /* rows that were not believed, since a later record had changed them */
	uint64_t n_waited;  /* for a commit */
};
const struct metad_readers_stats *metad_readers_stats(const struct metad *m);
