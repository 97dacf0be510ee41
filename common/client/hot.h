/* Reading exposed chunks: hot.c reads what is mapped, hot_window.c what is reached over RDMA; hot_ask.c asks
 * for them, hot_map.c keeps them.
 *
 * A slot is a range of addresses of a power-of-two size. Once made it is never unmapped: what is mapped
 * there is replaced, by another chunk's memory or by nothing (zeros). So a thread that reads there while
 * another one replaces it reads something, finds that the word is not what it was, and does not use it. No
 * lock is needed for reading, and nobody waits for readers. */
#pragma once

#include "internal.h"

#include "../wire/hot.h"

struct ff3_hot_slot {
	struct ff3_hot_slot *next; /* in a list of hot_map.c's */
	uint8_t *base;		   /* of the range */
	_Atomic uint64_t word;	   /* while live: the header's; 0: nothing is here */
	_Atomic bool window;	   /* what is here is a struct ff3_hot_window */
	_Atomic(const _Atomic uint32_t *) life; /* the daemon lives while it has owner */
	_Atomic uint32_t owner, len, data;
	_Atomic bool used;	   /* since the clock's hand passed */
	uint8_t shift;		   /* the range's size is 1 << shift */
	/* Under the lock. */
	struct ff3_hot_entry *entry; /* where it is published; NULL: it is free */
};

/* What a slot of a window has in its range. */
struct ff3_hot_window {
	struct ff3_rpc_window rpc;
	uint64_t ino;
	uint32_t index, len;
	uint32_t crcs[]; /* one for each 4 KiB */
};

/* A chunk of a file as this process reads it. Entries are chosen by the index's low bits. */
struct ff3_hot_entry {
	_Atomic(struct ff3_hot_slot *) slot;
	_Atomic uint32_t key;  /* index + 1; 0: none yet */
	_Atomic uint32_t heat; /* of requests since it was asked for last; see hot_map.c */
};

struct ff3_hot_table {
	uint32_t mask;
	_Atomic uint64_t retry_ns; /* not asked for before */
	struct ff3_hot_entry entries[];
};

/* Why a read of a file with exposed chunks took a request after all. */
enum ff3_hot_miss {
	FF3_HOT_ABSENT,	  /* not exposed to us */
	FF3_HOT_GONE,	  /* exposed no more */
	FF3_HOT_DEAD,	  /* the daemon is gone */
	FF3_HOT_SHORT,	  /* beyond the end of the chunk */
	FF3_HOT_UNSYNCED, /* we have written what a daemon may lose */
	FF3_HOT_CHECKSUM,
	FF3_HOT_N_MISSES,
};

/* hot_window.c */
/* As hot.c's copy_chunk: 1: read; 0: not, and why; -EFAULT. */
int ff3_hot_window_read(struct ff3_hot_slot *slot, uint64_t word, uint64_t ino, uint32_t index,
			uint32_t from, size_t len, struct ff3_cursor *c, enum ff3_hot_miss *why);
/* The answer to chunk_expose is one for a window. Fills the range of a slot, which is ours to write. */
int ff3_hot_window_check(const struct ff3_rep_chunk_expose *rep);
size_t ff3_hot_window_size(const struct ff3_rep_chunk_expose *rep);
void ff3_hot_window_fill(struct ff3_hot_window *h, const struct ff3_rpc_window *w, uint64_t ino,
			 uint32_t index, const struct ff3_rep_chunk_expose *rep);

/* hot_map.c */
/* A chunk was exposed to us. */
int ff3_hot_publish(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index, uint64_t target,
		    uint64_t instance, const struct ff3_rep_chunk_expose *rep, const int fds[2]);
int ff3_hot_publish_window(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
			   const struct ff3_rpc_window *w, const struct ff3_rep_chunk_expose *rep);
/* Gives back what is exposed no more. */
void ff3_hot_sweep(struct ff3fs *fs);
/* slot is of no use any more. */
void ff3_hot_drop(struct ff3fs *fs, struct ff3_hot_slot *slot, uint64_t word);
struct ff3_hot_shard *ff3_hot_shard(struct ff3fs *fs);
