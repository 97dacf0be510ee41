/* Memory that a chunk daemon lets clients of its host map, to read chunks without asking it
 * (chunk_expose). Written by the daemon, sealed against everybody else's writing and resizing.
 *
 * A chunk's memory never changes while it is exposed: a change of the chunk ends the exposure before
 * anybody is told that the change is done. So a client that finds the word in place when it begins has
 * bytes that were the chunk's at that moment; it looks again afterwards, in case its own process has put
 * another mapping there meanwhile.
 *
 * A daemon that is killed can end nothing. The kernel does it: the owner word is that of a robust mutex
 * which the serving thread holds, and is changed when that thread dies, in whatever way; before the
 * daemon's lock on the target is free for the next one.
 *
 * Native byte order: it is one host. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define FF3_HOT_MAGIC 0x746f68336666ull

struct ff3_hot_header {
	uint64_t magic;
	_Atomic uint64_t word; /* the one of the reply; 0: exposed no more */
	uint64_t ino;
	uint32_t index;
	uint32_t len;	 /* of the chunk */
	uint64_t version;
	uint32_t data;	 /* where its bytes begin, a multiple of 4096 */
	uint32_t n_crcs; /* one for each 4 KiB of them */
	uint32_t crcs[];
};

struct ff3_hot_life {
	uint64_t magic;
	uint64_t instance; /* of the daemon */
	uint64_t target;
	uint32_t offset;   /* where the owner word is in this page */
	uint32_t owner;	   /* what it is while the daemon lives */
};

#define FF3_HOT_LIFE_SIZE 4096u
/* Sizes of a chunk's memory, len bytes long. */
static inline uint32_t ff3_hot_data_offset(uint32_t len)
{
	uint32_t n = len / 4096 + (len % 4096 != 0);

	return ((uint32_t)sizeof(struct ff3_hot_header) + 4 * n + 4095) & ~4095u;
}
static inline uint32_t ff3_hot_size(uint32_t len)
{
	return ff3_hot_data_offset(len) + ((len + 4095) & ~4095u);
}
