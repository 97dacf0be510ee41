/* A chunk store and the model it is compared with, for unit-chunkd-*.c.
 *
 * Single operations run through the synchronous io of chunkd_io_sync.h, or on the daemon's ring, on
 * a directory in memory if there is one. The model keeps, for each chunk, every state since the
 * last one that the store called durable: after a power cut the chunk must be in one of them. */
#pragma once

#include <check.h>

#include "../chunkd/store.h"
#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "chunkd_io_sync.h"

#define N_INOS 4
#define N_CHUNKS 3
#define CHUNK_MAX (160 * 1024u)
#define FLUSH_NS FF3_NSEC_PER_SEC
#define N_STATES 256

struct state {
	uint32_t len; /* 0: no chunk */
	uint8_t *data;
};

struct model_chunk {
	struct state states[N_STATES]; /* the last one is the current one */
	size_t n;
};

struct world {
	char dir[64];
	struct chunkd_sync sync;
	bool on_ring; /* the daemon's io instead of sync */
	bool prewrite;
	struct ff3_loop *loop;
	struct chunkd_io *ring;
	const bool *awaited; /* what the loop runs for; NULL: that nothing is left to do */
	struct chunkd_store *store;
	struct model_chunk chunks[N_INOS][N_CHUNKS];
	uint64_t now, seq, capacity;
	unsigned seed;
	bool broken; /* the planted bug was found */
};

unsigned rnd(struct world *w, unsigned n);
void world_new(struct world *w, unsigned seed);
void world_open(struct world *w);
void world_close(struct world *w);
void world_free(struct world *w);
/* Runs everything that is due; later: after so many ns. */
void drive(struct world *w, uint64_t later);
/* Everything durable, nothing under way; then a new start, as after an orderly end. */
void restart(struct world *w);
/* Drives until done; false: the power is gone. */
bool finish(struct world *w, const bool *done);
void op_done(struct chunkd_op *op);
uint32_t make_crcs(uint32_t *crcs, const uint8_t *data, uint32_t offset, uint32_t len);

/* Operations on store and model. Status; -ECONNRESET: the power is gone. */
int write_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len, bool sync);
int cut_chunks(struct world *w, int ino, int last, uint32_t len);
int remove_ino(struct world *w, int ino);
/* The same, without waiting for its end. */
void begin_remove(struct world *w, int ino, struct chunkd_op *op, bool *done);
int sync_ino(struct world *w, int ino);
/* Reads and hands the result back; its checksums are checked. The block is the caller's. */
int read_chunk(struct world *w, int ino, int index, uint32_t offset, uint32_t len,
	       struct chunkd_read *rd);
void check_read(struct world *w, int ino, int index, uint32_t offset, uint32_t len);
/* One random operation. Its status. */
int random_op(struct world *w);
/* The model's current states are durable, and the only ones allowed. */
void all_durable(struct world *w);
/* Every chunk is in one of the states that the model allows, which becomes the only one. */
bool verify_all(struct world *w);
