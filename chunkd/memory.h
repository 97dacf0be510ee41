/* A target's memory tier: one arena, cut into power-of-two blocks by a buddy allocator. Blocks
 * hold payloads being received, read buffers, and the contents of chunks (memory.c tells how
 * they are evicted).
 *
 * Threads: the target's serving thread only. */
#pragma once

#include <sys/queue.h>

#include "../common/base/base.h"

#define CHUNKD_BLOCK_SHIFT_MIN 12u
#define CHUNKD_BLOCK_SHIFT_MAX 24u

struct chunkd_arena;

/* A block lives while somebody refers to it (refs) or a chunk owns it. */
struct chunkd_block {
	uint8_t *p;
	uint8_t shift;	 /* its size is 1 << shift */
	bool clean;	 /* owned, and equal to what the disk has: may be evicted when refs is 0 */
	bool hot;	 /* used since the clock's hand passed */
	uint32_t refs;
	void *owner;
	struct chunkd_arena *arena;
	TAILQ_ENTRY(chunkd_block) link; /* in the clean list, or the list of spare structs */
};

/* size is rounded down to whole 16 MiB and up to 48 MiB, the least that can make progress with
 * the largest chunks. evict(owner, block) tells an owner that its clean block goes away. */
int chunkd_arena_new(uint64_t size, void (*evict)(void *owner, struct chunkd_block *b),
		     struct chunkd_arena **ret);
void chunkd_arena_free(struct chunkd_arena *arena);
void *chunkd_arena_base(const struct chunkd_arena *arena);
uint64_t chunkd_arena_size(const struct chunkd_arena *arena);
/* Bytes of all blocks handed out, and of those that are clean. */
uint64_t chunkd_arena_used(const struct chunkd_arena *arena);
uint64_t chunkd_arena_clean(const struct chunkd_arena *arena);

/* A block of at least size bytes (at most 16 MiB) with one reference and no owner, evicting clean
 * blocks if it must; NULL if there is no room now. Contents are undefined. */
struct chunkd_block *chunkd_arena_alloc(struct chunkd_arena *arena, uint32_t size);

static inline uint32_t chunkd_block_size(const struct chunkd_block *b)
{
	return 1u << b->shift;
}

static inline struct chunkd_block *chunkd_block_ref(struct chunkd_block *b)
{
	b->refs++;
	b->hot = true;
	return b;
}
/* Fits as a release callback. */
void chunkd_block_unref(void *block);

/* A block becomes the contents of its owner's chunk, not clean. */
void chunkd_block_own(struct chunkd_block *b, void *owner);
/* The owner lets go; the block is freed once unreferenced. Accepts NULL. */
void chunkd_block_disown(struct chunkd_block *b);
/* Whether an owned block may be evicted. */
void chunkd_block_set_clean(struct chunkd_block *b, bool clean);

static inline uint8_t chunkd_shift_for(uint32_t size)
{
	uint8_t shift = CHUNKD_BLOCK_SHIFT_MIN;

	while (((uint64_t)1 << shift) < size)
		shift++;
	return shift;
}
