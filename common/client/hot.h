/* Reading exposed chunks: hot.c reads, hot_map.c asks for them and maps.
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
	_Atomic(const _Atomic uint32_t *) life; /* the daemon lives while it has owner */
	_Atomic uint32_t owner, len, data;
	_Atomic bool used;	   /* since the clock's hand passed */
	uint8_t shift;		   /* the range's size is 1 << shift */
	/* Under the lock. */
	struct ff3_hot_entry *entry; /* where it is published; NULL: it is free */
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

/* hot_map.c: slot is of no use any more. */
void ff3_hot_drop(struct ff3fs *fs, struct ff3_hot_slot *slot, uint64_t word);
struct ff3_hot_shard *ff3_hot_shard(struct ff3fs *fs);
