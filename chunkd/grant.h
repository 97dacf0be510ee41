/* How a chunk is let to clients: a maker for each way, plugged into the exposures (expose.h). Mapped
 * grants are segment.c's: one of a chunk serves every client of the host that may read it. One over a
 * connection (a memory window: window.c) is made for that connection alone.
 *
 * What exposures promise to a maker: the block of a view is referenced until made; and if the maker
 * keeps_block, until the grant is over. Its bytes change no more then, and stay where they are: a write
 * gives the chunk another block.
 *
 * What a maker promises to exposures: when it calls the done of a revoke, nobody reads through the grant
 * any more. The change that asked for it is not answered before that.
 *
 * Threads: the store's. A make that takes long uses view->io's helper. */
#pragma once

#include "io.h"
#include "memory.h"

#include "../common/wire/wire.h"

struct ff3_conn;
struct ff3_request;
struct chunkd_grant_maker;

struct chunkd_view {
	uint64_t ino;
	uint32_t index;
	uint32_t len;
	uint64_t version;
	uint64_t word;		    /* unlike that of any other exposure, never 0 */
	struct chunkd_block *block; /* len bytes at block->p, in the store's arena */
	const uint32_t *crcs;	    /* one for each 4 KiB; valid like the block */
	uint32_t n_crcs;
	struct chunkd_io *io;
};

/* Embedded in a make's own struct, which it allocates. */
struct chunkd_grant {
	struct chunkd_grant_maker *maker;
	struct ff3_conn *conn; /* NULL: for all that maker->possible */

	/* The exposures' own. */
	uint64_t size;
	struct chunkd_exposure *exposure;
	bool revoking;
	TAILQ_ENTRY(chunkd_grant) link;
};

/* What is to be called when a grant is made: with NULL and a negative code if it could not be. */
struct chunkd_making {
	struct chunkd_view view;
	struct ff3_conn *conn; /* whose; NULL for a maker that is not per_conn */
	void (*done)(struct chunkd_making *m, int status, struct chunkd_grant *grant);
};

struct chunkd_grant_ops {
	uint32_t kind; /* FF3_EXPOSED_* */
	bool per_conn; /* each connection needs a grant of its own */
	bool keeps_block;
	/* Whether conn can use such grants. */
	bool (*possible)(struct chunkd_grant_maker *maker, struct ff3_conn *conn);
	/* What a grant of a chunk of len counts against [chunkd] hot. */
	uint64_t (*size_of)(struct chunkd_grant_maker *maker, uint32_t len);
	/* Calls m->done once, now or later. It may revoke the grant at once. */
	void (*make)(struct chunkd_grant_maker *maker, struct chunkd_making *m);
	/* Answers r, which asked for the grant's chunk. reply is filled but for what is of the kind. */
	void (*answer)(struct chunkd_grant *grant, struct ff3_request *r,
		       struct ff3_rep_chunk_expose *reply);
	/* Calls done once, now or later; the grant is the maker's to free after that. Where the
	 * connection is lost, done is called nonetheless. */
	void (*revoke)(struct chunkd_grant *grant, void (*done)(struct chunkd_grant *grant));
	/* Bytes of grants that are over and whose memory clients may still hold. Looks again. */
	uint64_t (*lingering)(struct chunkd_grant_maker *maker);
	/* No grant is left. */
	void (*free)(struct chunkd_grant_maker *maker);
};

struct chunkd_grant_maker {
	const struct chunkd_grant_ops *ops;
};

/* segment.c. instance, target: as clients know them. -EOPNOTSUPP: not on this system. */
int chunkd_segments_new(uint64_t instance, uint64_t target, struct chunkd_grant_maker **ret);
/* window.c */
int chunkd_windows_new(struct chunkd_grant_maker **ret);
