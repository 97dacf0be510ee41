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
#define BATCH 64

struct loaded {
	uint64_t id;
	off_t offset;
	size_t n;
};

static struct loaded *queue; /* a ring, made at the first load */
static unsigned first, n_queued;
static size_t sum;
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

void map_private_may_store(struct map_private *p, int prot)
{
	if ((prot & PROT_WRITE) && !p->stored && !map_fault_protects())
		map_private_inherit(p);
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
	if (!map_fault_protects() && ((r->prot & PROT_WRITE) || r->private->stored))
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

/* What is dropped at once: of one object or private mapping. */
struct batch {
	struct loaded e[BATCH];
	int n;
};

static struct batch under_way; /* out of a writable object */

static void protect_regions(const struct batch *b, bool protect)
{
	off_t from, to;

	map_lock();
	under_way = protect ? *b : (struct batch){ 0 };
	for (struct map_region *r = map_regions; r; r = r->next)
		for (int i = 0; r->lazy && r->object && r->object->id == b->e[0].id && i < b->n; i++)
			if (part_of(r, &b->e[i], &from, &to))
				map_fault_protect(r->addr + (uintptr_t)(from - r->offset),
						  (size_t)(to - from), protect);
	map_unlock();
}

bool map_evict_is_under_way(uint64_t id, off_t at)
{
	for (int i = 0; i < under_way.n; i++)
		if (under_way.e[i].id == id && at >= under_way.e[i].offset &&
		    at < under_way.e[i].offset + (off_t)under_way.e[i].n)
			return true;
	return false;
}

/* Stores wait while the pages are sent; what a call writes meanwhile keeps them. */
static void send_and_punch(struct map_object *o, const struct batch *b)
{
	uint64_t saved, before[BATCH];
	int sent = 0, r = 0;

	for (int i = 0; i < b->n && r >= 0; i++) {
		before[i] = map_object_sequence(o, b->e[i].offset, b->e[i].n);
		r = map_object_send_unsynced(o, b->e[i].offset, b->e[i].offset + (off_t)b->e[i].n);
		sent |= r > 0;
	}
	if (r >= 0 && sent)
		r = CALL(fsync, o->file);
	if (r < 0)
		return;
	map_object_lock(o, &saved);
	for (int i = 0; i < b->n && !o->header->pinned && o->header->writers == 1; i++)
		if (map_object_sequence(o, b->e[i].offset, b->e[i].n) == before[i])
			punch(o, &b->e[i]);
	for (int i = 0; i < b->n; i++)
		map_object_next_sequence(o, b->e[i].offset, b->e[i].offset + (off_t)b->e[i].n);
	map_object_unlock(o, &saved);
}

static void drop_writable(struct map_object *o, const struct batch *b)
{
	if (!map_fault_protects() || !o->writer || o->header->writers != 1)
		return;
	if (!map_enter_soon()) /* a slow operation may itself wait for a fault to be served */
		return;
	protect_regions(b, true);
	send_and_punch(o, b);
	protect_regions(b, false);
	map_leave();
}

static void drop(const struct batch *b)
{
	struct map_object *o = NULL;
	off_t from, to;

	map_lock();
	for (struct map_region *r = map_regions; r; r = r->next) {
		for (int i = 0; r->private && r->private->id == b->e[0].id && i < b->n; i++)
			if (part_of(r, &b->e[i], &from, &to))
				drop_private(r, from, to);
		if (r->object && r->object->id == b->e[0].id)
			o = r->object;
	}
	if (o)
		atomic_fetch_add(&o->refs, 1);
	map_unlock();
	if (!o)
		return;
	if (o->header->writable)
		drop_writable(o, b);
	else
		for (int i = 0; i < b->n; i++)
			drop_read_only(o, &b->e[i]);
	map_object_unref(o);
}

/* --- The queue ----------------------------------------------------------------------------- */

/* The oldest, and those after it that are of the same: so that sending them is made durable once. */
static bool take_oldest(size_t room, struct batch *ret)
{
	size_t limit = map_memory();

	ret->n = 0;
	map_lock();
	while (n_queued > 0 && ret->n < BATCH && (sum + room > limit || n_queued == QUEUE)) {
		struct loaded *e = &queue[first % QUEUE];

		if (ret->n > 0 && e->id != ret->e[0].id)
			break;
		ret->e[ret->n++] = *e;
		first++;
		n_queued--;
		sum -= e->n;
		limit = map_memory() - map_memory() / 8;
	}
	map_unlock();
	return ret->n > 0;
}

void map_evict_make_room(size_t n)
{
	struct batch b;

	pthread_mutex_lock(&evicting);
	while (take_oldest(n, &b))
		drop(&b);
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
	under_way = (struct batch){ 0 };
}
