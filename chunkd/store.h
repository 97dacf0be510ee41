/* A target's chunk store: chunks by {inode, index} in a directory, with a memory tier before it.
 *
 * Everything is asynchronous: an operation's done() is called once, possibly before the starting
 * call returns, and its struct must live until then. Nothing moves without chunkd_store_pump,
 * which the owner calls after each turn of its loop.
 *
 * What is durable when: a write with sync, and a sync, when they are done; cut and remove always;
 * a write without sync within flush_ns, unless the daemon dies before. chunks are written out in
 * batches: slots first, then fdatasync of their slabs, then one index transaction.
 *
 * Threads: the serving thread, except chunkd_store_stats' fields, which are read with relaxed
 * loads from anywhere. */
#pragma once

#include "index.h"
#include "io.h"
#include "memory.h"
#include "slab.h"
#include "super.h"

struct chunkd_store;
struct chunkd_chunk;

struct chunkd_store_options {
	const char *dir;
	uint64_t node;	   /* id of a daemon that has no target yet; one with targets keeps theirs */
	uint64_t capacity; /* bytes; 0: what the file system has */
	uint64_t memory;   /* bytes for the memory tier; a sixteenth is left to the chunk table */
	uint64_t flush_ns; /* unsynced bytes are written out after this */
	bool prewrite;	   /* idle times are used to prepare free slots */
};

/* Takes the directory, makes or reads superblock. Separate from starting, since the daemon must
 * know its targets before it can make their threads. */
int chunkd_store_new(const struct chunkd_store_options *options, struct chunkd_store **ret);
/* Loads everything. io must outlive the store. */
int chunkd_store_start(struct chunkd_store *store, struct chunkd_io *io);
/* Loses what is unsynced; nothing may be under way in io. Accepts NULL. */
void chunkd_store_free(struct chunkd_store *store);

const struct chunkd_super *chunkd_store_super(const struct chunkd_store *store);
/* Durably notes the cluster, if none is noted yet. FF3_E_CLUSTER: it belongs to another. Any
 * thread, before serving. */
int chunkd_store_set_cluster(struct chunkd_store *store, uint64_t cluster);
const char *chunkd_store_dir(const struct chunkd_store *store);
struct chunkd_arena *chunkd_store_arena(const struct chunkd_store *store);

/* --- Writing ----------------------------------------------------------------------------------- */

/* Memory for a payload, with one reference that goes to the write; NULL: wait until
 * chunkd_store_has_room. */
struct chunkd_block *chunkd_store_payload(struct chunkd_store *store, uint32_t size);
bool chunkd_store_has_room(const struct chunkd_store *store);

struct chunkd_op {
	void (*done)(struct chunkd_op *op);
	void *user;
	uint64_t ino;
	uint32_t index;
	uint32_t offset; /* write */
	uint32_t length; /* write: bytes at payload->p; cut: the new length */
	bool sync;
	uint64_t chain_version;
	uint64_t session, seq;	      /* tag; seq 0: none */
	struct chunkd_block *payload; /* consumed */
	const void *crcs;	      /* packed little-endian u32, one for each piece; stays valid */

	/* Results. */
	int status;
	uint32_t chunk_size;
	uint64_t version;
	uint64_t n_removed;

	/* The store's own. */
	uint8_t kind;
	uint64_t wait_seq;
	uint64_t waits_ns; /* as chunkd_read's */
	uint64_t remaining;
	struct chunkd_chunk *chunk;
	STAILQ_ENTRY(chunkd_op) link;
};

/* Checks the payload against crcs (-EBADMSG) and applies it. */
void chunkd_store_write(struct chunkd_store *store, struct chunkd_op *op);
/* Everything accepted of op->ino until now. */
void chunkd_store_sync(struct chunkd_store *store, struct chunkd_op *op);
/* Chunks of op->ino above op->index go, that one is cut to op->length. */
void chunkd_store_cut(struct chunkd_store *store, struct chunkd_op *op);
void chunkd_store_remove(struct chunkd_store *store, struct chunkd_op *op);

/* --- Reading ----------------------------------------------------------------------------------- */

#define CHUNKD_READ_MAX FF3_MIB(4)
#define CHUNKD_READ_CRCS (CHUNKD_READ_MAX / FF3_BLOCK + 1)

struct chunkd_read {
	void (*done)(struct chunkd_read *read);
	void *user;
	uint64_t ino;
	uint32_t index;
	uint32_t offset;
	uint32_t length; /* at most CHUNKD_READ_MAX */
	/* Memory, aligned to FF3_BLOCK, that whole blocks may be read from the disk to; NULL: none. The
	 * client may write there, too, and so spoil its own data. */
	uint8_t *dest;
	uint32_t dest_len;
	bool compares; /* whoever gets it compares whole blocks with crcs, and asks again if they differ */

	/* Results. block holds a reference for the receiver to drop, if length is not 0; NULL: data is in
	 * dest. */
	int status;
	uint32_t chunk_size;
	uint64_t version;
	struct chunkd_block *block;
	const uint8_t *data;
	uint32_t n_crcs;
	uint32_t crcs[CHUNKD_READ_CRCS];

	/* The store's own. */
	struct chunkd_store *store;
	struct chunkd_chunk *chunk;
	uint64_t place, seen_version;
	uint32_t want, from, to, got;
	uint8_t *raw; /* where the blocks from from on go: in dest or block */
	bool direct; /* not by loading the chunk: that failed */
	bool again;  /* the chunk was read before in this epoch */
	uint64_t waits_ns; /* since when it has been the first that waits for memory; 0: is not */
	struct ff3_io io;
	TAILQ_ENTRY(chunkd_read) link;
};

void chunkd_store_read(struct chunkd_store *store, struct chunkd_read *read);

/* --- Driving ----------------------------------------------------------------------------------- */

/* Retries what waited, cuts batches. Returns ns until it wants to be called again at the latest,
 * UINT64_MAX: no need. */
uint64_t chunkd_store_pump(struct chunkd_store *store, uint64_t now_ns);
/* Since when the first of those that wait for memory has been that; UINT64_MAX: none waits. */
uint64_t chunkd_store_waits_since(const struct chunkd_store *store);
/* n connections were reset, for the metrics. */
void chunkd_store_note_resets(struct chunkd_store *store, unsigned n);
/* From now on everything is written out at once; for the end. */
void chunkd_store_drain(struct chunkd_store *store);
/* Nothing unsynced and nothing under way. */
bool chunkd_store_idle(const struct chunkd_store *store);

/* --- Looking ----------------------------------------------------------------------------------- */

struct chunkd_listed {
	uint64_t ino, version;
	uint32_t index, len;
};
/* Fills list with some of the chunks that there are, after cursor; 0 is the beginning, and is returned
 * after the last. Whatever exists from the first call to the last comes exactly once. */
uint64_t chunkd_store_list(const struct chunkd_store *store, uint64_t cursor,
			   struct chunkd_listed *list, size_t room, size_t *ret_n);

#define CHUNKD_STATS(X)                                                                            \
	X(reads, "chunk reads answered")                                                           \
	X(read_bytes, "bytes sent to readers")                                                     \
	X(read_memory, "chunk reads answered from the memory tier")                                \
	X(read_disk_bytes, "bytes read from the disk")                                             \
	X(loads, "chunks loaded into the memory tier")                                             \
	X(writes, "chunk writes applied")                                                          \
	X(write_bytes, "bytes received from writers")                                              \
	X(write_repeats, "chunk writes recognised as repeated")                                    \
	X(write_disk_bytes, "bytes written to the disk")                                           \
	X(commits, "index transactions")                                                           \
	X(commit_rows, "rows changed by index transactions")                                       \
	X(removes, "chunks removed")                                                               \
	X(no_space, "writes refused for lack of space")                                            \
	X(read_errors, "reads failed by the disk")                                                 \
	X(checksum_errors, "reads failed by a checksum")                                           \
	X(payload_errors, "payloads refused for their checksum")                                   \
	X(resets, "connections reset as they held memory and stood still while others waited")     \
	X(exposures, "grants made to read chunks directly")                                        \
	X(revocations, "exposures of chunks ended")                                                \
	X(expose_evictions, "of those, to make room")                                              \
	X(expose_refused, "exposures refused for lack of room")                                    \
	X(expose_denied, "exposures refused for want of a capability")

/* The same, as they stand. */
#define CHUNKD_GAUGES(X)                                                                           \
	X(chunks, "chunks held")                                                                   \
	X(inodes, "inodes with chunks here")                                                       \
	X(bad_chunks, "chunks found damaged since start")                                          \
	X(dirty_bytes, "memory of chunks not yet on disk")                                         \
	X(memory_bytes, "memory tier in use")                                                      \
	X(memory_size, "memory tier")                                                              \
	X(index_bytes, "memory of the chunk table")                                                \
	X(capacity, "bytes the target may hold")                                                   \
	X(used, "bytes of slots taken or promised")                                                \
	X(exposed, "chunks exposed")                                                               \
	X(exposed_bytes, "memory of exposed chunks")                                               \
	X(lingering_bytes, "memory exposed no more that clients have not let go")                  \
	X(hot_size, "memory that exposed chunks may take")                                         \
	X(offline, "1 after a disk error")

struct chunkd_store_stats {
#define CHUNKD_STAT_FIELD(name, help) uint64_t name;
	CHUNKD_STATS(CHUNKD_STAT_FIELD)
	CHUNKD_GAUGES(CHUNKD_STAT_FIELD)
};
const struct chunkd_store_stats *chunkd_store_stats(const struct chunkd_store *store);
/* Refreshes the gauges that are not kept up to date by themselves. Serving thread. */
void chunkd_store_measure(struct chunkd_store *store);
struct chunkd_slabs *chunkd_store_slabs(const struct chunkd_store *store);
