/* What the store's own files share: the chunk table and the state of chunks that something is
 * happening to. Not for others. */
#pragma once

#include "store.h"

#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "../common/wire/wire.h"

#define CHUNKD_NOT_DIRTY UINT32_MAX
/* Batches under way at once: one writes its slots while another one's transaction runs. */
#define CHUNKD_MAX_BATCHES 2
#define CHUNKD_BATCH_CHUNKS 1024u
#define CHUNKD_BATCH_BYTES FF3_MIB(32)

enum chunkd_op_kind { CHUNKD_OP_WRITE, CHUNKD_OP_CUT, CHUNKD_OP_SYNC, CHUNKD_OP_REMOVE };

struct chunkd_expose;
STAILQ_HEAD(chunkd_op_queue, chunkd_op);
TAILQ_HEAD(chunkd_read_list, chunkd_read);

/* A chunk as it stands, with everything accepted. While it is neither dirty nor being written
 * out, the slot at place holds exactly len bytes of it with these checksums. */
struct chunkd_chunk {
	struct chunkd_chunk *hash_next;
	struct chunkd_inode *inode; /* NULL once removed */
	LIST_ENTRY(chunkd_chunk) sibling;
	struct chunkd_active *active;
	struct chunkd_block *mem; /* all of it, or NULL */
	uint32_t *crcs;		  /* one for each 4 KiB block; of a single one &crc */
	uint32_t crc;
	uint64_t place;		  /* as the index has it */
	uint64_t version, chain_version, session, seq;
	uint32_t index;
	uint32_t len;
	uint32_t n_crcs; /* room in crcs */
	uint32_t refs;	 /* reads, loads and waiters that will look at it again */
	uint32_t last_end; /* of the last piece read from disk */
	uint8_t run;	   /* pieces in sequence before it */
	uint16_t heat, heat_epoch;
	bool bad; /* counted as damaged */
	struct chunkd_exposure *exposure; /* or NULL */
	struct chunkd_op *remove_op;
	STAILQ_ENTRY(chunkd_chunk) removed;
};

struct chunkd_inode {
	struct chunkd_inode *hash_next;
	uint64_t ino;
	LIST_HEAD(, chunkd_chunk) chunks;
	TAILQ_HEAD(, chunkd_active) dirty; /* dirty or being written out */
	struct chunkd_op_queue waiting;	   /* for durability: syncs, synced writes, cuts */
	bool marked;			   /* to be looked at by the next pump */
	STAILQ_ENTRY(chunkd_inode) mark;
};

/* The extra state of a chunk with operations queued, unsynced changes, or a load or write-out under
 * way. */
struct chunkd_active {
	struct chunkd_chunk *chunk;
	struct chunkd_op_queue queue; /* writes and cuts, in order; the first is being tried */
	bool running, waiting;	      /* the first is being tried; waits */
	bool wants_memory, wants_space;
	TAILQ_ENTRY(chunkd_active) wait_link;

	struct chunkd_load *load; /* under way */
	int load_error;		  /* of the last one, for the queue's first */

	bool dirty; /* changed since the last snapshot */
	bool urgent, listed, in_inode;
	uint8_t reserved;	       /* class of a promised slot, or 0 */
	uint32_t dirty_lo;	       /* data changed from here on; CHUNKD_NOT_DIRTY: no data */
	uint32_t disk_len;	       /* as the index has it */
	uint64_t first_seq, dirtied_ns; /* of the first change since the last snapshot */
	TAILQ_ENTRY(chunkd_active) dirty_link, inode_link;

	struct chunkd_item *item; /* its snapshot being written out */
};

/* A snapshot of a chunk on its way to the disk. */
struct chunkd_item {
	struct chunkd_item *next;
	struct chunkd_store *store;
	struct chunkd_batch *batch;
	struct chunkd_chunk *chunk; /* referenced */
	struct chunkd_block *mem;   /* referenced; NULL: only the row changes */
	struct chunkd_change change;
	uint64_t first_seq;
	uint32_t from, to; /* bytes of mem still to be written */
	struct ff3_io io;
	uint32_t crcs[];
};

TAILQ_HEAD(chunkd_active_list, chunkd_active);
STAILQ_HEAD(chunkd_chunk_queue, chunkd_chunk);
STAILQ_HEAD(chunkd_batch_queue, chunkd_batch);

struct chunkd_store {
	struct chunkd_store_options o;
	char *dir;
	int dir_fd, lock_fd;
	struct chunkd_super super;
	struct chunkd_io *io;
	struct chunkd_index *index;
	struct chunkd_slabs *slabs;
	struct chunkd_arena *arena;
	struct chunkd_store_stats stats;
	int offline; /* 0, or what every operation answers */
	bool failing; /* waiters are still to be told */

	struct chunkd_chunk **chunks;
	uint64_t n_chunks, chunks_mask;
	struct chunkd_inode **inodes;
	uint64_t n_inodes, inodes_mask;

	uint64_t now_ns;
	uint64_t idle_ns; /* when the store was last seen at work */
	uint64_t seq; /* counts changes */
	bool drain, pressure;

	struct chunkd_active_list urgent, dirty; /* oldest first */
	struct chunkd_chunk_queue removed;	 /* rows to delete */
	STAILQ_HEAD(, chunkd_inode) marked;
	struct chunkd_batch_queue batches;	 /* under way, oldest first */
	unsigned n_batches;
	uint64_t n_dirty; /* chunks dirty or being written out */
	uint64_t n_io;	  /* reads, loads under way */

	struct chunkd_active_list memory_waiters, space_waiters;
	struct chunkd_read_list read_waiters; /* for memory */
	bool space_changed;

	struct chunkd_exposer *exposer; /* NULL: nothing is exposed */

	uint64_t cold_bytes; /* read from disk in this epoch of the heat counters */
	uint16_t epoch;
};

#define CHUNKD_COUNT(store, field, n)                                                              \
	__atomic_store_n(&(store)->stats.field, (store)->stats.field + (uint64_t)(n),              \
			 __ATOMIC_RELAXED)
#define CHUNKD_SET(store, field, v)                                                                \
	__atomic_store_n(&(store)->stats.field, (uint64_t)(v), __ATOMIC_RELAXED)

static inline uint32_t chunkd_n_blocks(uint32_t len)
{
	return len / FF3_BLOCK + (len % FF3_BLOCK != 0);
}

/* table.c */
int chunkd_table_init(struct chunkd_store *s);
void chunkd_table_done(struct chunkd_store *s);
struct chunkd_chunk *chunkd_chunk_find(const struct chunkd_store *s, uint64_t ino, uint32_t index);
struct chunkd_inode *chunkd_inode_find(const struct chunkd_store *s, uint64_t ino);
/* A new chunk without content, or -ENOMEM. */
int chunkd_chunk_add(struct chunkd_store *s, uint64_t ino, uint32_t index,
		     struct chunkd_chunk **ret);
int chunkd_chunk_set_crcs(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t n);
/* Out of the table; the struct lives on while something refers to it. */
void chunkd_chunk_detach(struct chunkd_store *s, struct chunkd_chunk *c);
/* Frees what nothing needs any more: active state, an empty or removed chunk. c may be gone. */
void chunkd_chunk_settle(struct chunkd_store *s, struct chunkd_chunk *c);
void chunkd_chunk_unref(struct chunkd_store *s, struct chunkd_chunk *c);
int chunkd_chunk_activate(struct chunkd_chunk *c);
void chunkd_inode_settle(struct chunkd_store *s, struct chunkd_inode *inode);

/* store.c */
void chunkd_store_fail(struct chunkd_store *s, int r, const char *what);
/* recover.c */
int chunkd_store_recover(struct chunkd_store *s);

/* write.c */
/* Puts op into the queue of its chunk, which is made if absent. */
void chunkd_op_dispatch(struct chunkd_store *s, struct chunkd_op *op);
void chunkd_chunk_enqueue(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op);
/* Tries the queued operations of c until one must wait. c may be gone afterwards. */
void chunkd_chunk_run(struct chunkd_store *s, struct chunkd_chunk *c);
int chunkd_write_try(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op);
/* The queue's first goes on when memory, or a slot, may have become free. Returns -EINPROGRESS. */
int chunkd_chunk_wait_memory(struct chunkd_store *s, struct chunkd_chunk *c);
int chunkd_chunk_wait_space(struct chunkd_store *s, struct chunkd_chunk *c);
void chunkd_chunk_unwait(struct chunkd_store *s, struct chunkd_chunk *c);
void chunkd_retry_waiters(struct chunkd_store *s);
/* Ends op, or one of its remaining parts, dropping its payload. */
void chunkd_op_finish(struct chunkd_op *op, int status);

/* cut.c */
int chunkd_cut_try(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op);

/* read.c */
/* Starts loading all of c (unless that is under way), to run its queue afterwards. 0; -EAGAIN: no
 * memory now; -ENOMEM. */
int chunkd_load_start(struct chunkd_store *s, struct chunkd_chunk *c);
void chunkd_read_retry(struct chunkd_store *s);
/* Counts damage, once for each chunk. */
void chunkd_chunk_damaged(struct chunkd_store *s, struct chunkd_chunk *c, int r);

/* r goes on (chunkd_expose_start) when c, which is being loaded, is in memory. */
void chunkd_load_then_expose(struct chunkd_chunk *c, struct chunkd_expose *r);

/* expose.c */
void chunkd_expose_start(struct chunkd_store *s, struct chunkd_expose *r);
void chunkd_expose_fail(struct chunkd_expose *r, int status);
/* c is about to change. False: somebody may read what it is, for a moment; then its queue goes on. */
bool chunkd_chunk_end_exposure(struct chunkd_chunk *c);
/* c is removed by op, which is not answered before nobody reads what it was. */
void chunkd_chunk_unexpose(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op);

/* flush.c */
/* c changed: bytes from lo on (CHUNKD_NOT_DIRTY: only its row). */
void chunkd_chunk_dirty(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t lo);
void chunkd_chunk_urgent(struct chunkd_store *s, struct chunkd_chunk *c);
/* Forgets unsynced changes of a chunk that is being removed. */
void chunkd_chunk_undirty(struct chunkd_store *s, struct chunkd_chunk *c);
/* op ends when what was accepted of c (NULL: of inode) until now is durable. */
void chunkd_wait_durable(struct chunkd_store *s, struct chunkd_inode *inode, struct chunkd_chunk *c,
			 struct chunkd_op *op);
/* Something of inode became durable or went away: the next pump answers who waited for it. Done
 * there, so that no answer runs amid a change of the table. */
void chunkd_inode_mark(struct chunkd_store *s, struct chunkd_inode *inode);
void chunkd_answer_durable(struct chunkd_store *s);
void chunkd_flush_pump(struct chunkd_store *s);
