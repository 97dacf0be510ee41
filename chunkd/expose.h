/* Exposed chunks: which of them clients may read without asking, in what memory, and until when.
 *
 * Threads: the store's. */
#pragma once

#include "grant.h"
#include "store.h"

/* A client's request. Its struct lives until done was called, at once or later. */
struct chunkd_expose {
	void (*done)(struct chunkd_expose *x);
	struct ff3_conn *conn;
	uint64_t ino;
	uint32_t index;
	bool pin; /* it is not to make room for what is not pinned */

	/* Results. The grant is there until the next turn of the loop. */
	int status; /* -ENOENT, -EDQUOT, -EAGAIN, -EOPNOTSUPP, or what reading gave */
	struct chunkd_grant *grant;
	uint32_t chunk_size;
	uint64_t version;

	/* The exposures' own. */
	struct chunkd_store *store;
	unsigned tries;
	TAILQ_ENTRY(chunkd_expose) link;
};

/* limit: bytes that exposures may take; 0: none are made. */
int chunkd_exposer_new(struct chunkd_store *store, uint64_t limit);
/* Before the store goes, whatever is under way being over. */
void chunkd_exposer_free(struct chunkd_store *store);
/* The exposer's from now on. Makers are asked in the order in which they were added. */
void chunkd_exposer_add(struct chunkd_store *store, struct chunkd_grant_maker *maker);

void chunkd_store_expose(struct chunkd_store *store, struct chunkd_expose *x);
/* Ends the exposures of an inode; of all; what a connection was granted for itself. */
void chunkd_store_unexpose(struct chunkd_store *store, uint64_t ino);
void chunkd_store_unexpose_all(struct chunkd_store *store);
void chunkd_store_unexpose_conn(struct chunkd_store *store, struct ff3_conn *conn);
/* Somebody had no capability: counted. */
void chunkd_store_expose_denied(struct chunkd_store *store);
/* Now and then: brings the gauges up to date. */
void chunkd_exposer_measure(struct chunkd_store *store);
