/* A hash table of entries of a few cells each, of a fixed size (cache.c). */
#pragma once

#include "../common/base/base.h"

#define CACHE_CELL 32u
#define CACHE_CELLS 15u /* of a set */

/* Odd cells are where cache lines begin. Tags 0 and 1 are a free cell, and one that belongs to the entry before it. */
struct cache_set {
	uint16_t tag[CACHE_CELLS];
	uint8_t turn;
	bool lost; /* something that belongs here is not */
	uint8_t cell[CACHE_CELLS][CACHE_CELL];
};
_Static_assert(sizeof(struct cache_set) == 512, "eight cache lines");

struct cache_table {
	struct cache_set *sets; /* n of them */
	uint64_t n;
};

int cache_table_init(struct cache_table *table, uint64_t bytes);
void cache_table_done(struct cache_table *table);
/* Much of it is going to be used. */
void cache_table_expect(struct cache_table *table);

/* Where to look for what is most probably in this cell. Reading both takes as long as one of them. */
struct cache_near {
	const void *tags, *cell;
};
static inline void cache_prefetch(const struct cache_near *near)
{
	__builtin_prefetch(near->tags);
	__builtin_prefetch(near->cell);
}

static inline uint16_t cache_tag(uint64_t hash)
{
	return (uint16_t)(hash | 2);
}

/* The cells of the entry there. */
static inline unsigned cache_set_size(const struct cache_set *set, unsigned at)
{
	unsigned end = at + 1;

	while (end < CACHE_CELLS && set->tag[end] == 1)
		end++;
	return end - at;
}

/* Where there is room for so many: at home, if there is. CACHE_CELLS: nowhere. */
unsigned cache_set_find_room(const struct cache_set *set, unsigned n_cells, unsigned home);
/* Where others had to go for it. */
unsigned cache_set_evict(struct cache_set *set, unsigned n_cells);
void cache_set_fill(struct cache_set *set, unsigned at, uint16_t tag, const void *entry, unsigned n_cells);
void cache_set_clear(struct cache_set *set, unsigned at);
