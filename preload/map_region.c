/* Purpose: which addresses are mappings of ours, piece by piece: one region for each stretch that was
 * mapped, moved, cut or protected as one.
 *
 * Threads: `lock` guards the list, with signals blocked, because a handler may touch a page that a
 * fault thread must find the region of. map_enter is the longer lock.
 * Fork: before it, every object gets a description of its file for the child, with the lock that
 * says that the child lives with it; so there is no moment at which the object could be taken
 * for abandoned. Regions whose pages are loaded when touched are not inherited (MADV_DONTFORK): the
 * kernel would let a child that does not handle its faults read zeros. The child maps them anew,
 * before any code of the program runs. Private ones with stores in them must be inherited, and are
 * registered in the child. */
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "hook.h"
#include "map.h"
#include "raw.h"

struct map_region *map_regions;
_Atomic int map_n_regions, map_n_lazy;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t slow = PTHREAD_MUTEX_INITIALIZER;
static uint64_t lock_saved;
static __thread bool inside __attribute__((tls_model("initial-exec")));

/* ThreadSanitizer maps memory through our hooks while it makes a report, without noticing locks then: what these
 * functions touch would be its next report, inside the first. */
#define IN_ITS_REPORTS __attribute__((no_sanitize("thread")))

/* Across fork too, where the C library's calls come as SIGSYS in full mode. */
IN_ITS_REPORTS void map_lock(void)
{
	uint64_t saved;

	raw_block_signals(&saved);
	pthread_mutex_lock(&lock);
	lock_saved = saved;
}

IN_ITS_REPORTS void map_unlock(void)
{
	uint64_t saved = lock_saved;

	pthread_mutex_unlock(&lock);
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, 0, 8);
}

bool map_enter(void)
{
	if (inside || init_is_vfork_child())
		return false;
	inside = true;
	pthread_mutex_lock(&slow);
	return true;
}

bool map_enter_soon(void)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 2;
	if (inside || pthread_mutex_timedlock(&slow, &limit) != 0)
		return false;
	inside = true;
	return true;
}

void map_leave(void)
{
	pthread_mutex_unlock(&slow);
	inside = false;
}

/* --- The list ------------------------------------------------------------------------------ */

struct map_region *map_region_at(uintptr_t addr)
{
	for (struct map_region *r = map_regions; r; r = r->next)
		if (addr - r->addr < r->len)
			return r;
	return NULL;
}

/* All regions lie within. Memory allocators ask often. Under map_lock, but to be read. */
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest;

void map_region_reach(uintptr_t addr, size_t len)
{
	lowest = MIN(lowest, addr);
	highest = MAX(highest, addr + len);
}

IN_ITS_REPORTS bool map_region_meets(uintptr_t addr, size_t len)
{
	bool found = false;

	if (LIKELY(addr >= highest || addr + len <= lowest))
		return false;
	map_lock();
	for (struct map_region *r = map_regions; r && !found; r = r->next)
		found = r->addr < addr + len && addr < r->addr + r->len;
	map_unlock();
	return found;
}

static void count(const struct map_region *r, int by)
{
	map_n_regions += by;
	map_n_lazy += r->lazy ? by : 0;
	if (r->object)
		r->object->n_regions += (unsigned)by;
}

int map_region_add(const struct map_region *r)
{
	struct map_region *copy = malloc(sizeof *copy);

	if (!copy)
		return -ENOMEM;
	*copy = *r;
	if (r->object)
		atomic_fetch_add(&r->object->refs, 1);
	else
		atomic_fetch_add(&r->private->refs, 1);
	map_lock();
	copy->next = map_regions;
	map_regions = copy;
	count(copy, 1);
	map_region_reach(copy->addr, copy->len);
	map_unlock();
	return 0;
}

/* The region that addr is inside of, but not at the beginning of, becomes two. */
static int split_at(uintptr_t addr)
{
	struct map_region *r, part;

	map_lock();
	r = map_region_at(addr);
	if (!r || r->addr == addr) {
		map_unlock();
		return 0;
	}
	part = *r;
	part.len = r->addr + r->len - addr;
	part.offset += (off_t)(addr - r->addr);
	part.addr = addr;
	r->len = addr - r->addr;
	map_unlock();
	if (map_region_add(&part) == 0)
		return 0;
	map_lock();
	r->len += part.len;
	map_unlock();
	return -ENOMEM;
}

int map_region_split(uintptr_t addr, size_t len)
{
	int r = split_at(addr);

	return r < 0 ? r : split_at(addr + len);
}

struct map_region *map_region_take(uintptr_t addr, size_t len)
{
	struct map_region **p, *r, *taken = NULL;

	map_lock();
	for (p = &map_regions; (r = *p);) {
		if (r->addr < addr || r->addr + r->len > addr + len) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		r->next = taken;
		taken = r;
	}
	map_unlock();
	return taken;
}

void map_region_put_back(struct map_region *taken)
{
	struct map_region *r;

	map_lock();
	while ((r = taken)) {
		taken = r->next;
		r->next = map_regions;
		map_regions = r;
	}
	map_unlock();
}

void map_region_drop(struct map_region *taken)
{
	struct map_region *r;

	while ((r = taken)) {
		taken = r->next;
		map_lock();
		count(r, -1);
		if (!map_n_regions) {
			lowest = UINTPTR_MAX;
			highest = 0;
		}
		map_unlock();
		if (r->object) {
			if (r->object->n_regions == 0)
				map_object_leave(r->object);
			map_object_unref(r->object);
		} else {
			map_private_unref(r->private);
		}
		free(r);
	}
}

/* --- Fork ---------------------------------------------------------------------------------- */

/* A description of its own for a child, with the lock that says that it lives. */
static int reopen(const struct map_object *o)
{
	char path[32];
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", o->data);
	fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && o->named)
		RAW(flock, fd, LOCK_SH | LOCK_NB);
	return fd;
}

void shared_map_before_fork(void)
{
	if (!map_registry || init_is_vfork_child())
		return;
	map_lock();
	for (struct map_object *o = map_objects(); o; o = o->next)
		if (o->n_regions > 0)
			o->for_child = reopen(o);
}

void shared_map_after_fork_in_parent(void)
{
	if (!map_registry || init_is_vfork_child())
		return;
	for (struct map_object *o = map_objects(); o; o = o->next) {
		if (o->for_child >= 0)
			raw_close(o->for_child);
		o->for_child = -1;
	}
	map_unlock();
}

/* The child's own description takes the place of its parent's, under the same number. */
static void take_over(struct map_object *o)
{
	pthread_mutex_init(&o->state, NULL);
	o->alone = false;
	if (o->n_regions == 0) { /* another thread was looking at it, or about to map it */
		map_object_close_data(o);
		return;
	}
	if (o->for_child < 0) /* its parent's handlers did not run */
		o->for_child = reopen(o);
	o->borrowed = o->for_child < 0;
	if (o->for_child >= 0) {
		RAW(dup3, o->for_child, o->data, O_CLOEXEC);
		raw_close(o->for_child);
	}
	o->for_child = -1;
	if (o->writer)
		o->header->writers++;
}

void shared_map_resume(void)
{
	if (map_n_lazy)
		map_fault_resume();
}

void shared_map_after_fork(bool locked)
{
	uint64_t saved = lock_saved;

	if (!map_registry)
		return;
	if (locked) /* by this thread, as ThreadSanitizer has seen; else by one that is not here */
		pthread_mutex_unlock(&lock);
	pthread_mutex_init(&lock, NULL);
	pthread_mutex_init(&slow, NULL);
	inside = false;
	for (struct map_object *o = map_objects(); o; o = o->next)
		take_over(o);
	map_fault_after_fork();
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, 0, 8);
}
