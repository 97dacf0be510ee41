#include "shm_slots.h"

void ff3_slots_init(struct ff3_slots *s)
{
	*s = (struct ff3_slots){ .first = 0 };
	pthread_mutex_init(&s->lock, NULL);
}

static bool is_busy(const struct ff3_slots *s, uint32_t page)
{
	return s->busy[page / 64] >> (page % 64) & 1;
}

static void mark(struct ff3_slots *s, uint32_t page, uint32_t n, bool busy)
{
	for (; n > 0; page++, n--)
		if (busy)
			s->busy[page / 64] |= (uint64_t)1 << (page % 64);
		else
			s->busy[page / 64] &= ~((uint64_t)1 << (page % 64));
}

/* The first of n free pages in a row, not before from, or FF3_SLOT_PAGES. */
static uint32_t find(const struct ff3_slots *s, uint32_t n, uint32_t from)
{
	uint32_t page = MAX(s->first, from), run = 0;

	while (page < FF3_SLOT_PAGES && run < n) {
		if (page % 64 == 0 && s->busy[page / 64] == UINT64_MAX) {
			run = 0;
			page += 64;
			continue;
		}
		run = is_busy(s, page) ? 0 : run + 1;
		page++;
	}
	return run == n ? page - n : FF3_SLOT_PAGES;
}

bool ff3_slots_take(struct ff3_slots *s, uint32_t n, uint32_t from, uint32_t *ret_page)
{
	uint32_t page = FF3_SLOT_PAGES;

	if (n == 0 || n > FF3_SLOT_PAGES)
		return false;
	pthread_mutex_lock(&s->lock);
	page = find(s, n, from);
	if (page == FF3_SLOT_PAGES && from > 0)
		page = find(s, n, 0);
	if (page < FF3_SLOT_PAGES) {
		mark(s, page, n, true);
		while (s->first < FF3_SLOT_PAGES && is_busy(s, s->first))
			s->first++;
	}
	pthread_mutex_unlock(&s->lock);
	*ret_page = page;
	return page < FF3_SLOT_PAGES;
}

void ff3_slots_give(struct ff3_slots *s, uint32_t page, uint32_t n)
{
	pthread_mutex_lock(&s->lock);
	mark(s, page, n, false);
	s->first = MIN(s->first, page);
	pthread_mutex_unlock(&s->lock);
}

void ff3_slots_orphan(struct ff3_slots *s, uint64_t request_id, uint32_t page, uint32_t n)
{
	pthread_mutex_lock(&s->lock);
	if (s->n_orphans < FF3_SLOT_ORPHANS)
		s->orphans[s->n_orphans++] = (struct ff3_slot_orphan){ request_id, page, n };
	pthread_mutex_unlock(&s->lock);
}

void ff3_slots_reclaim(struct ff3_slots *s, uint64_t request_id)
{
	struct ff3_slot_orphan o = { .n = 0 };

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n_orphans; i++)
		if (s->orphans[i].request_id == request_id) {
			o = s->orphans[i];
			s->orphans[i] = s->orphans[--s->n_orphans];
			break;
		}
	pthread_mutex_unlock(&s->lock);
	if (o.n > 0)
		ff3_slots_give(s, o.page, o.n);
}
