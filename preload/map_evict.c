/* Purpose: dropping loaded pages, so that a file larger than memory can be read through a mapping.
 *
 * What fault threads of this process load is noted; before it would be more than map_memory()
 * the oldest goes.
 * - A private page that was not stored to is given back; stores are noticed because it was put in
 *   write-protected.
 * - Pages of an object that nobody can store to are punched out of it, for all processes: each has
 *   registered its mappings, or the object is pinned.
 * - Pages of one that this process alone can store to are first write-protected, and sent if they
 *   were stored to. With other writers on the node nothing goes.
 *
 * Threads: the queue is under map_lock. One thread at a time makes room, the others wait for it. Fork: a
 * child begins with an empty queue. */
#include <linux/falloc.h>
#include <sys/mman.h>

#include "hook.h"
#include "map.h"
#include "map_fault.h"
#include "raw.h"

#define QUEUE 65536

struct loaded {
	uint64_t id;
	off_t offset;
	size_t n;
};

static struct loaded *queue; /* a ring, made at the first load */
static unsigned first, n_queued;
static size_t sum;
static struct loaded under_way; /* out of a writable object */
static pthread_mutex_t evicting = PTHREAD_MUTEX_INITIALIZER;

/* --- Private pages ------------------------------------------------------------------------- */

static size_t page_of(const struct map_private *p, off_t at)
{
	return (size_t)(at - p->base) / MAP_PAGE;
}

bool map_private_is_dirty(const struct map_private *p, off_t at)
{
	size_t k = page_of(p, at);

	return k < p->n_pages && (p->dirty[k / 8] >> (k % 8) & 1);
}

void map_private_set_dirty(struct map_private *p, off_t at, size_t n, bool dirty)
{
	for (size_t k = page_of(p, at); n > 0 && k < p->n_pages; k++, n -= MIN(n, MAP_PAGE)) {
		if (dirty)
			p->dirty[k / 8] |= (uint8_t)(1 << (k % 8));
		else if (p->dirty[k / 8])
			p->dirty[k / 8] &= (uint8_t) ~(1 << (k % 8));
	}
}

void map_private_inherit(struct map_private *p)
{
	p->stored = true;
	for (struct map_region *r = map_regions; r; r = r->next)
		if (r->private == p)
			RAW(madvise, r->addr, r->len, MADV_DOFORK);
}

void map_private_forget(struct map_private *p, off_t at, size_t n)
{
	if (p->stored)
		map_private_set_dirty(p, at, n, false);
}

/* The part of a region that e is of. */
static bool part_of(const struct map_region *r, const struct loaded *e, off_t *from, off_t *to)
{
	*from = MAX(e->offset, r->offset);
	*to = MIN(e->offset + (off_t)e->n, r->offset + (off_t)r->len);
	return *from < *to;
}

static void drop_private(struct map_region *r, off_t from, off_t to)
{
	if (!map_fault_protects() && (r->prot & PROT_WRITE))
		return; /* who knows what is in them */
	while (from < to) {
		off_t begin = from;

		for (; from < to && !map_private_is_dirty(r->private, from); from += (off_t)MAP_PAGE)
			;
		if (from > begin)
			RAW(madvise, r->addr + (uintptr_t)(begin - r->offset), from - begin,
			    MADV_DONTNEED);
		for (; from < to && map_private_is_dirty(r->private, from); from += (off_t)MAP_PAGE)
			;
	}
}

/* --- Pages of objects ---------------------------------------------------------------------- */

static void punch(struct map_object *o, const struct loaded *e)
{
	RAW(fallocate, o->data, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, e->offset, e->n);
}

static void drop_read_only(struct map_object *o, const struct loaded *e)
{
	uint64_t saved;

	map_object_lock(o, &saved);
	if (!o->header->pinned && !o->header->writable)
		punch(o, e);
	map_object_unlock(o, &saved);
}

static void protect_regions(const struct loaded *e, bool protect)
{
	off_t from, to;

	map_lock();
	under_way = protect ? *e : (struct loaded){ 0 };
	for (struct map_region *r = map_regions; r; r = r->next)
		if (r->object && r->object->id == e->id && r->lazy && part_of(r, e, &from, &to))
			map_fault_protect(r->addr + (uintptr_t)(from - r->offset),
					  (size_t)(to - from), protect);
	map_unlock();
}

bool map_evict_is_under_way(uint64_t id, off_t at)
{
	return under_way.id == id && at >= under_way.offset &&
	       at < under_way.offset + (off_t)under_way.n;
}

/* Stores wait while the pages are sent; what a call writes meanwhile keeps them. */
static void drop_writable(struct map_object *o, const struct loaded *e)
{
	uint64_t saved, before = map_object_sequence(o, e->offset, e->n);

	if (!map_fault_protects() || !o->writer || o->header->writers != 1)
		return;
	if (!map_enter_soon()) /* a slow operation may itself wait for a fault to be served */
		return;
	protect_regions(e, true);
	if (map_object_send(o, e->offset, e->offset + (off_t)e->n) == 0) {
		map_object_lock(o, &saved);
		if (!o->header->pinned && o->header->writers == 1 &&
		    map_object_sequence(o, e->offset, e->n) == before) {
			map_object_next_sequence(o, e->offset, e->offset + (off_t)e->n);
			punch(o, e);
		}
		map_object_unlock(o, &saved);
	}
	protect_regions(e, false);
	map_leave();
}

static void drop(const struct loaded *e)
{
	struct map_object *o = NULL;
	off_t from, to;

	map_lock();
	for (struct map_region *r = map_regions; r; r = r->next) {
		if (r->private && r->private->id == e->id && part_of(r, e, &from, &to))
			drop_private(r, from, to);
		if (r->object && r->object->id == e->id)
			o = r->object;
	}
	if (o)
		atomic_fetch_add(&o->refs, 1);
	map_unlock();
	if (!o)
		return;
	if (!o->header->writable)
		drop_read_only(o, e);
	else
		drop_writable(o, e);
	map_object_unref(o);
}

/* --- The queue ----------------------------------------------------------------------------- */

static bool take_oldest(size_t room, struct loaded *ret)
{
	bool take;

	map_lock();
	take = n_queued > 0 && (sum + room > map_memory() || n_queued == QUEUE);
	if (take) {
		*ret = queue[first % QUEUE];
		first++;
		n_queued--;
		sum -= ret->n;
	}
	map_unlock();
	return take;
}

void map_evict_make_room(size_t n)
{
	struct loaded e;

	pthread_mutex_lock(&evicting);
	while (take_oldest(n, &e))
		drop(&e);
	pthread_mutex_unlock(&evicting);
	map_lock();
	sum += n;
	map_unlock();
}

void map_evict_loaded(uint64_t id, off_t offset, size_t n, size_t room)
{
	long m;

	map_lock();
	if (!queue) {
		m = RAW(mmap, 0, QUEUE * sizeof *queue, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		queue = m < 0 && m > -4096 ? NULL : (struct loaded *)m;
	}
	sum -= room;
	if (n > 0 && queue && n_queued < QUEUE) {
		queue[(first + n_queued++) % QUEUE] = (struct loaded){ id, offset, n };
		sum += n;
	}
	map_unlock();
}

void map_evict_forget(void)
{
	first = n_queued = 0;
	sum = 0;
	pthread_mutex_init(&evicting, NULL);
	under_way = (struct loaded){ 0 };
}
