/* Purpose: sets of cells that entries of one cell or a few neighbouring ones are kept in. A set that is full
 * replaces its entries in turn. The memory is taken from the kernel as it is touched.
 *
 * Format: a set begins with a tag of 16 bits of the hash for each cell, so that one cache line tells nearly
 * always which entry is meant, or that it is not there.
 *
 * Threads: the owner of the table. */
#include "cache_set.h"

#include <sys/mman.h>

#define HUGE_PAGE FF3_MIB(2)

int cache_table_init(struct cache_table *table, uint64_t bytes)
{
	void *p;

	table->n = MAX(bytes / sizeof *table->sets, 16u);
	p = mmap(NULL, table->n * sizeof *table->sets, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	table->sets = p;
	return 0;
}

void cache_table_done(struct cache_table *table)
{
	if (table->sets)
		munmap(table->sets, table->n * sizeof *table->sets);
}

/* What is looked for is anywhere: with small pages, where a page is has to be read from memory, too. */
void cache_table_expect(struct cache_table *table)
{
	size_t size = table->n * sizeof *table->sets;

	if (size >= HUGE_PAGE)
		(void)madvise(table->sets, size, MADV_HUGEPAGE);
}

void cache_set_clear(struct cache_set *set, unsigned at)
{
	for (unsigned n = cache_set_size(set, at); n > 0; n--)
		set->tag[at++] = 0;
}

static unsigned find_free(const struct cache_set *set, unsigned n_cells)
{
	unsigned run = 0;

	for (unsigned i = 0; i < CACHE_CELLS; i++) {
		run = set->tag[i] == 0 ? run + 1 : 0;
		if (run == n_cells)
			return i + 1 - n_cells;
	}
	return CACHE_CELLS;
}

static bool is_free(const struct cache_set *set, unsigned at, unsigned n_cells)
{
	for (unsigned i = at; i < at + n_cells; i++)
		if (i >= CACHE_CELLS || set->tag[i] != 0)
			return false;
	return true;
}

unsigned cache_set_find_room(const struct cache_set *set, unsigned n_cells, unsigned home)
{
	return is_free(set, home, n_cells) ? home : find_free(set, n_cells);
}

unsigned cache_set_evict(struct cache_set *set, unsigned n_cells)
{
	unsigned at = set->turn + n_cells <= CACHE_CELLS ? set->turn : 0;

	while (set->tag[at] == 1) /* whose first cell is before the turn */
		at--;
	for (unsigned i = at; i < at + n_cells; i++)
		if (set->tag[i] > 1)
			cache_set_clear(set, i);
	set->turn = (uint8_t)((at + n_cells) % CACHE_CELLS);
	return at;
}

void cache_set_fill(struct cache_set *set, unsigned at, uint16_t tag, const void *entry, unsigned n_cells)
{
	memcpy(set->cell[at], entry, (size_t)n_cells * CACHE_CELL);
	for (unsigned i = 1; i < n_cells; i++)
		set->tag[at + i] = 1;
	set->tag[at] = tag;
}
