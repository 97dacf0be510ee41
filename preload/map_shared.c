/* Purpose: shared mappings: making them, and what becomes of their stores when a process maps less,
 * executes, or ends.
 *
 * What is stored is in the object at once, for every process of the node. It is sent to the cluster at
 * msync and fsync, when the range is unmapped, before a call reads it, before exec, and when the last
 * process leaves. A process that leaves while others stay, or is killed, leaves it to them.
 *
 * Up to map_eager_max a mapping is loaded when it is made, and its object pinned: it is ordinary memory
 * then. Larger ones are loaded when touched.
 *
 * Threads: inside map_enter. */
#include <stdio.h>

#include "hook.h"
#include "map.h"
#include "raw.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

_Atomic int map_n_writers;

int map_shared_allow_stores(struct map_object *o)
{
	int r = map_object_make_writable(o);

	if (r == 0 && !o->writer) {
		o->header->writers++;
		o->writer = true;
		map_n_writers++;
	}
	return r;
}

static int prepare(struct map_object *o, const struct ff3fs_attr *a, bool lazy, bool stores,
		   off_t from, off_t to)
{
	int r = map_object_refresh(o, a);

	if (r == 0 && stores)
		r = map_shared_allow_stores(o);
	return r < 0 || lazy ? r : map_object_pin(o, from, to);
}

/* Whoever may not write must not get to by mprotect. */
static long map_whole(struct map_region *r, void *addr, int flags)
{
	int fd = r->object->data;
	char path[32];
	long m, e;

	if (!r->may_write) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		fd = raw_open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fd;
	}
	m = RAW(mmap, addr, r->len, r->prot, flags, fd, r->offset);
	if (!r->may_write)
		raw_close(fd);
	if (m < 0 && m > -4096)
		return m;
	r->addr = (uintptr_t)m;
	e = map_region_add(r);
	if (e < 0)
		RAW(munmap, m, r->len);
	return e < 0 ? e : m;
}

long map_shared_new(struct ofd *f, void *addr, size_t len, int prot, int flags, off_t offset,
		    const struct ff3fs_attr *a)
{
	size_t data = (uint64_t)offset >= a->size ? 0 : MIN(len, a->size - (size_t)offset);
	struct map_region region = { .len = len, .offset = offset, .prot = prot };
	bool lazy = len > map_eager_max(), stores = prot & PROT_WRITE;
	struct map_object *o;
	long r;

	if (!map_enter())
		return -EDEADLK;
	region.may_write = (f->flags & O_ACCMODE) == O_RDWR;
	r = lazy ? map_fault_start() : 0;
	if (r < 0 && data <= map_eager_most()) { /* perhaps a large window on a small file */
		lazy = false;
		r = 0;
	}
	if (r == 0)
		r = map_object_join(f, a, lazy ? 0 : data, region.may_write, &o);
	if (r < 0) {
		map_leave();
		return r;
	}
	region.object = o;
	r = prepare(o, a, lazy, stores, offset, offset + (off_t)len);
	map_object_share(o);
	if (r == 0)
		r = lazy ? map_lazily(&region, addr, flags, o->data, offset) :
			   map_whole(&region, addr, flags);
	if (o->n_regions == 0)
		map_object_leave(o);
	map_object_unref(o);
	map_leave();
	return r;
}

void map_shared_send_regions(const struct map_region *r)
{
	for (; r; r = r->next)
		if (r->object && r->object->writer)
			map_object_send(r->object, r->offset, r->offset + (off_t)r->len);
}

/* --- Calls of all sorts -------------------------------------------------------------------- */

/* Objects of this process, one after another, each with a reference. */
static struct map_object *next_object(struct map_object *o)
{
	struct map_object *next;

	map_lock();
	next = o ? o->next : map_objects();
	if (next)
		atomic_fetch_add(&next->refs, 1);
	map_unlock();
	if (o)
		map_object_unref(o);
	return next;
}

void shared_map_send_all(void)
{
	if (!map_n_regions || !map_enter())
		return;
	for (struct map_object *o = next_object(NULL); o; o = next_object(o))
		if (o->writer)
			map_object_send(o, 0, INT64_MAX);
	map_leave();
}

void shared_map_exit(void)
{
	if (!map_n_regions || !map_enter())
		return;
	for (struct map_object *o = map_objects(), *next; o; o = next) {
		next = o->next;
		if (o->n_regions > 0)
			map_object_leave(o);
	}
	map_leave();
}

void shared_map_touch_slow(const struct iovec *iov, int n, bool write)
{
	for (int i = 0; i < n; i++) {
		uintptr_t from = ROUND_DOWN((uintptr_t)iov[i].iov_base, MAP_PAGE);
		uintptr_t to = (uintptr_t)iov[i].iov_base + iov[i].iov_len;

		if (iov[i].iov_len > 0 && map_region_meets(from, to - from))
			RAW(madvise, from, ROUND_UP(to, MAP_PAGE) - from,
			    write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	}
}

void shared_map_opened_slow(uint64_t ino, int flags)
{
	static bool swept;
	struct map_object *o;

	if (!map_enter())
		return;
	if (!swept) {
		swept = true;
		map_node_sweep();
	}
	o = shared_map_is_mapped(ino) ? map_object_look(ino) : NULL;
	if (o && (flags & O_TRUNC))
		map_object_resize(o, 0);
	if (o)
		map_object_looked(o);
	map_leave();
}

static struct map_object *held; /* by the thread inside */

static void let_go(void)
{
	if (!held)
		return;
	map_object_let_go(held);
	map_object_looked(held);
	held = NULL;
}

bool shared_map_hold_slow(uint64_t ino)
{
	if (!map_enter())
		return false;
	while ((held = map_object_look(ino))) {
		map_object_hold(held);
		if (!held->header->dead || held->n_regions > 0)
			break;
		let_go(); /* its last user was just going: there may be another object by now */
	}
	if (held)
		return true;
	map_leave();
	return false;
}

int shared_map_send_held(off_t at, size_t n)
{
	int r = held ? map_object_send_held(held, at, n ? at + (off_t)n : INT64_MAX) : 0;

	return MIN(r, 0);
}

void shared_map_ahead(const struct iovec *iov, int n, off_t at, size_t sum)
{
	if (held)
		map_object_ahead(held, iov, n, at, sum);
}

void shared_map_release(off_t size)
{
	if (held && size >= 0)
		map_object_resize(held, size);
	if (held)
		map_object_arrived(held, size);
	let_go();
	map_leave();
}

void shared_map_release_written(const struct iovec *iov, int n, off_t at, size_t done)
{
	if (held && done > 0)
		map_object_written(held, iov, n, at, done);
	if (held)
		map_object_arrived(held, at + (off_t)done);
	let_go();
	map_leave();
}
