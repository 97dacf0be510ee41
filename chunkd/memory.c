/* The arena: a buddy allocator over one anonymous mapping, and the clean list.
 *
 * The map has a byte per 4 KiB page: the shift of the block that begins there, with PAGE_FREE set
 * if it is free, or 0 inside a block. Free blocks of one size are chained through next/prev.
 *
 * Clean blocks form a clock: the hand takes from the list's tail, gives a block used meanwhile a
 * second chance at the head, and otherwise empties the whole aligned region of the wanted size
 * around the victim, so that a cache full of small blocks yields a large one by evicting
 * neighbours instead of everything that is older.
 *
 * Threads: the target's serving thread. Fork/signal: neither. */
#include "memory.h"

#include <sys/mman.h>

#define PAGE_FREE 0x80u
#define NONE UINT32_MAX
#define N_SHIFTS (CHUNKD_BLOCK_SHIFT_MAX + 1)
/* How far the hand looks in one allocation. */
#define CLOCK_STEPS 1024

TAILQ_HEAD(block_list, chunkd_block);

struct chunkd_arena {
	uint8_t *base;
	uint64_t size, used, clean_bytes;
	uint32_t n_pages;
	uint8_t *map;
	uint32_t *next, *prev;
	uint32_t free_head[N_SHIFTS];
	struct chunkd_block **blocks; /* of the used block that begins at a page */
	struct block_list clean, spare;
	void (*evict)(void *owner, struct chunkd_block *b);
};

static uint32_t pages_of(uint8_t shift)
{
	return 1u << (shift - CHUNKD_BLOCK_SHIFT_MIN);
}

static void free_push(struct chunkd_arena *a, uint32_t page, uint8_t shift)
{
	uint32_t head = a->free_head[shift];

	a->map[page] = shift | PAGE_FREE;
	a->next[page] = head;
	a->prev[page] = NONE;
	if (head != NONE)
		a->prev[head] = page;
	a->free_head[shift] = page;
}

static void free_unlink(struct chunkd_arena *a, uint32_t page)
{
	uint8_t shift = a->map[page] & (uint8_t)~PAGE_FREE;

	if (a->prev[page] != NONE)
		a->next[a->prev[page]] = a->next[page];
	else
		a->free_head[shift] = a->next[page];
	if (a->next[page] != NONE)
		a->prev[a->next[page]] = a->prev[page];
	a->map[page] = 0;
}

static uint32_t buddy_take(struct chunkd_arena *a, uint8_t shift)
{
	uint8_t s = shift;
	uint32_t page;

	while (s <= CHUNKD_BLOCK_SHIFT_MAX && a->free_head[s] == NONE)
		s++;
	if (s > CHUNKD_BLOCK_SHIFT_MAX)
		return NONE;
	page = a->free_head[s];
	free_unlink(a, page);
	while (s > shift) {
		s--;
		free_push(a, page + pages_of(s), s);
	}
	a->map[page] = shift;
	return page;
}

static void buddy_give(struct chunkd_arena *a, uint32_t page, uint8_t shift)
{
	a->map[page] = 0;
	while (shift < CHUNKD_BLOCK_SHIFT_MAX) {
		uint32_t buddy = page ^ pages_of(shift);

		if (a->map[buddy] != (shift | PAGE_FREE))
			break;
		free_unlink(a, buddy);
		page &= ~pages_of(shift);
		shift++;
	}
	free_push(a, page, shift);
}

static uint32_t page_of(const struct chunkd_block *b)
{
	return (uint32_t)((uint64_t)(b->p - b->arena->base) >> CHUNKD_BLOCK_SHIFT_MIN);
}

int chunkd_arena_new(uint64_t size, void (*evict)(void *owner, struct chunkd_block *b),
		     struct chunkd_arena **ret)
{
	struct chunkd_arena *a = calloc(1, sizeof *a);
	uint64_t unit = (uint64_t)1 << CHUNKD_BLOCK_SHIFT_MAX;

	if (!a)
		return -ENOMEM;
	a->evict = evict;
	a->size = MAX(ROUND_DOWN(size, unit), 3 * unit);
	a->n_pages = (uint32_t)(a->size >> CHUNKD_BLOCK_SHIFT_MIN);
	TAILQ_INIT(&a->clean);
	TAILQ_INIT(&a->spare);
	a->map = calloc(a->n_pages, sizeof *a->map);
	a->next = calloc(a->n_pages, sizeof *a->next);
	a->prev = calloc(a->n_pages, sizeof *a->prev);
	a->blocks = calloc(a->n_pages, sizeof *a->blocks);
	a->base = mmap(NULL, a->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->base == MAP_FAILED)
		a->base = NULL;
	if (!a->map || !a->next || !a->prev || !a->blocks || !a->base) {
		chunkd_arena_free(a);
		return -ENOMEM;
	}
	/* Fewer TLB misses, and registering the arena with the ring is faster. */
	(void)madvise(a->base, a->size, MADV_HUGEPAGE);
	for (unsigned i = 0; i < N_SHIFTS; i++)
		a->free_head[i] = NONE;
	for (uint32_t page = a->n_pages; page > 0; page -= pages_of(CHUNKD_BLOCK_SHIFT_MAX))
		free_push(a, page - pages_of(CHUNKD_BLOCK_SHIFT_MAX), CHUNKD_BLOCK_SHIFT_MAX);
	*ret = a;
	return 0;
}

void chunkd_arena_free(struct chunkd_arena *a)
{
	struct chunkd_block *b;

	if (!a)
		return;
	for (uint32_t i = 0; a->blocks && i < a->n_pages; i++)
		free(a->blocks[i]);
	while ((b = TAILQ_FIRST(&a->spare))) {
		TAILQ_REMOVE(&a->spare, b, link);
		free(b);
	}
	if (a->base)
		munmap(a->base, a->size);
	free(a->blocks);
	free(a->prev);
	free(a->next);
	free(a->map);
	free(a);
}

void *chunkd_arena_base(const struct chunkd_arena *a)
{
	return a->base;
}

uint64_t chunkd_arena_size(const struct chunkd_arena *a)
{
	return a->size;
}

uint64_t chunkd_arena_used(const struct chunkd_arena *a)
{
	return a->used;
}

uint64_t chunkd_arena_clean(const struct chunkd_arena *a)
{
	return a->clean_bytes;
}

static void block_free(struct chunkd_block *b)
{
	struct chunkd_arena *a = b->arena;
	uint32_t page = page_of(b);

	a->blocks[page] = NULL;
	a->used -= chunkd_block_size(b);
	buddy_give(a, page, b->shift);
	TAILQ_INSERT_HEAD(&a->spare, b, link);
}

void chunkd_block_unref(void *block)
{
	struct chunkd_block *b = block;

	if (--b->refs == 0 && !b->owner)
		block_free(b);
}

void chunkd_block_own(struct chunkd_block *b, void *owner)
{
	b->owner = owner;
	b->hot = false;
}

void chunkd_block_set_clean(struct chunkd_block *b, bool clean)
{
	struct chunkd_arena *a = b->arena;

	if (b->clean == clean)
		return;
	b->clean = clean;
	if (clean) {
		TAILQ_INSERT_HEAD(&a->clean, b, link);
		a->clean_bytes += chunkd_block_size(b);
	} else {
		TAILQ_REMOVE(&a->clean, b, link);
		a->clean_bytes -= chunkd_block_size(b);
	}
}

void chunkd_block_disown(struct chunkd_block *b)
{
	if (!b)
		return;
	chunkd_block_set_clean(b, false);
	b->owner = NULL;
	if (b->refs == 0)
		block_free(b);
}

static void evict(struct chunkd_block *b)
{
	b->arena->evict(b->owner, b);
	chunkd_block_disown(b);
}

/* Empties the aligned region of 1 << shift bytes around b, if nothing in it is in use. */
static bool evict_region(struct chunkd_arena *a, struct chunkd_block *b, uint8_t shift)
{
	uint32_t first, end, n;

	if (b->shift >= shift) {
		evict(b);
		return true;
	}
	first = page_of(b) & ~(pages_of(shift) - 1);
	end = first + pages_of(shift);
	for (uint32_t page = first; page < end; page += n) {
		struct chunkd_block *o = a->blocks[page];

		n = pages_of(a->map[page] & (uint8_t)~PAGE_FREE);
		if (o && (!o->clean || o->refs))
			return false;
	}
	for (uint32_t page = first; page < end; page++)
		if (a->blocks[page])
			evict(a->blocks[page]);
	return true;
}

static bool evict_for(struct chunkd_arena *a, uint8_t shift, bool second_chance)
{
	struct chunkd_block *b = TAILQ_LAST(&a->clean, block_list), *prev;

	for (int i = 0; b && i < CLOCK_STEPS; i++, b = prev) {
		prev = TAILQ_PREV(b, block_list, link);
		if (second_chance && (b->hot || b->refs)) {
			b->hot = false;
			TAILQ_REMOVE(&a->clean, b, link);
			TAILQ_INSERT_HEAD(&a->clean, b, link);
			continue;
		}
		if (b->refs == 0 && evict_region(a, b, shift))
			return true;
	}
	return false;
}

struct chunkd_block *chunkd_arena_alloc(struct chunkd_arena *a, uint32_t size)
{
	uint8_t shift = chunkd_shift_for(size);
	uint32_t page = buddy_take(a, shift);
	struct chunkd_block *b;

	if (page == NONE && (evict_for(a, shift, true) || evict_for(a, shift, false)))
		page = buddy_take(a, shift);
	if (page == NONE)
		return NULL;
	b = TAILQ_FIRST(&a->spare);
	if (b) {
		TAILQ_REMOVE(&a->spare, b, link);
	} else {
		b = malloc(sizeof *b);
		if (!b) {
			buddy_give(a, page, shift);
			return NULL;
		}
	}
	*b = (struct chunkd_block){ .p = a->base + ((uint64_t)page << CHUNKD_BLOCK_SHIFT_MIN),
				    .shift = shift,
				    .refs = 1,
				    .arena = a };
	a->blocks[page] = b;
	a->used += chunkd_block_size(b);
	return b;
}
