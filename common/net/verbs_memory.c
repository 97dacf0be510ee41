/* Purpose: registered memory: the pool that is ours, and the cache of registrations of buffers that
 * belong to somebody else.
 *
 * A cached registration says "these pages were at this address". The owner may unmap them and map
 * others. Where that is seen (the shim sees it, but not what libc does inside free), ff3_verbs_memory_gone
 * is called before. Where it is not, the device still moves the old pages, which stay pinned. Nothing is
 * right then, and it shows by the checksums that every transfer has: whoever sees a
 * mismatch calls ff3_verbs_memory_gone and goes through the pool.
 *
 * That harms nobody only if the old pages are nobody's any more. So shared ones are never registered
 * (verbs_pin.c); and pages that move to another address (mremap, realloc), or lose their owner's leave to
 * write, must be told of: nobody's memory is registered who has not promised that (rpc.h).
 *
 * A small buffer is registered when its pages come the second time: copying 4 KiB costs less than
 * pinning a page.
 *
 * Threads: any; a device's memory is under its lock. Fork: the pool's pages do not exist in a child
 * (MADV_DONTFORK). The application's pages are copied for it by the kernel, because they are pinned; on
 * kernels that do not do that, only the pool is used. Signals: none. */
#include <sys/mman.h>

#include "../base/probe.h"
#include "verbs_priv.h"

#define PAGE VERBS_PAGE
#define POOL_SHIFT 12u
/* From this size on a buffer is registered at once. */
#define EAGER 16384u

/* Somebody unmapped while the list of devices was being changed. */
static _Atomic bool all_gone;

#define ACCESS_OTHERS                                                                              \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

void *ff3_verbs_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, size, MADV_DONTFORK);
	return p;
}

static void fill(struct ff3_verbs_memory *ret, struct ff3_verbs_region *g, void *p)
{
	ret->region = g;
	ret->p = p;
	ret->lkey = g->mr->lkey;
	ret->rkey = g->mr->rkey;
}

static int region_make(struct ibv_pd *pd, void *p, size_t len, int access,
		       struct ff3_verbs_region **ret)
{
	struct ff3_verbs_region *g = calloc(1, sizeof *g);

	if (!g)
		return -ENOMEM;
	g->mr = ff3_verbs_pin(pd, p, len, access);
	if (!g->mr) {
		int r = errno ? -errno : -EIO;

		free(g);
		return r;
	}
	g->from = (uintptr_t)p;
	g->to = g->from + len;
	COUNT(registrations, 1);
	*ret = g;
	return 0;
}

static void region_drop(struct ff3_verbs_region *g)
{
	ibv_dereg_mr(g->mr);
	free(g);
}

int ff3_verbs_region_new(struct ff3_verbs_device *d, void *p, size_t len,
			 struct ff3_verbs_memory *ret)
{
	struct ff3_verbs_region *g;
	int access = IBV_ACCESS_LOCAL_WRITE, r;

	if (d->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B)
		access |= IBV_ACCESS_MW_BIND;
	r = region_make(d->own_pd, p, len, access, &g);
	if (r == 0)
		fill(ret, g, p);
	return r;
}

void ff3_verbs_region_free(struct ff3_verbs_memory *m)
{
	if (m->region)
		region_drop(TAKE_PTR(m->region));
}

/* --- The pool ------------------------------------------------------------------------------ */

static void pool_drop(struct ff3_verbs_region *g)
{
	void *p = (void *)g->from;
	size_t size = g->to - g->from;

	region_drop(g);
	munmap(p, size);
}

static int pool_get(struct ff3_verbs_device *d, struct ff3_verbs_region **pool, size_t len,
		    struct ff3_verbs_memory *ret)
{
	bool own = pool == d->own_pool;
	struct ff3_verbs_region *g;
	unsigned size_class = 0;
	size_t size;
	void *p;
	int r;

	while (len > (size_t)1 << (POOL_SHIFT + size_class))
		size_class++;
	if (size_class >= POOL_CLASSES)
		return -E2BIG;
	size = (size_t)1 << (POOL_SHIFT + size_class);
	pthread_mutex_lock(&d->lock);
	g = pool[size_class];
	if (g) {
		pool[size_class] = g->next;
		d->pool_bytes -= size;
	}
	pthread_mutex_unlock(&d->lock);
	if (!g) {
		p = ff3_verbs_pages(size);
		if (!p)
			return -ENOMEM;
		r = own ? region_make(d->own_pd, p, size, IBV_ACCESS_LOCAL_WRITE, &g) :
			  region_make(d->pd, p, size, ACCESS_OTHERS, &g);
		if (r < 0) {
			munmap(p, size);
			return r;
		}
		g->pooled = true;
		g->own = own;
		g->size_class = (uint8_t)size_class;
	}
	fill(ret, g, (void *)g->from);
	return 0;
}

int ff3_verbs_pool_get(struct ff3_verbs_device *d, size_t len, struct ff3_verbs_memory *ret)
{
	return pool_get(d, d->pool, len, ret);
}

int ff3_verbs_own_get(struct ff3_verbs_device *d, size_t len, struct ff3_verbs_memory *ret)
{
	return pool_get(d, d->own_pool, len, ret);
}

/* The device's lock is held. False: there is enough of it. */
static bool pool_put(struct ff3_verbs_device *d, struct ff3_verbs_region *g)
{
	struct ff3_verbs_region **pool = g->own ? d->own_pool : d->pool;
	size_t size = g->to - g->from;

	if (d->pool_bytes + size > d->pool_max)
		return false;
	g->next = pool[g->size_class];
	pool[g->size_class] = g;
	d->pool_bytes += size;
	return true;
}

/* --- The cache; the device's lock is held --------------------------------------------------------- */

/* The first whose beginning is not below at. */
static unsigned cache_place(const struct ff3_verbs_device *d, uintptr_t at)
{
	unsigned low = 0, high = d->n_cached;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (d->cache[mid]->from < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* They may overlap; a covering one that lies further back than this is not found, and made anew. */
#define LOOK_BACK 16u

static struct ff3_verbs_region *cache_find(const struct ff3_verbs_device *d, uintptr_t from,
					   uintptr_t to)
{
	unsigned i = cache_place(d, from + 1), seen = 0;

	while (i-- > 0 && seen++ < LOOK_BACK)
		if (d->cache[i]->to >= to)
			return d->cache[i];
	return NULL;
}

/* Out of the table; and gone, unless it is in use. Returns what is to be dropped without the lock. */
static struct ff3_verbs_region *cache_take(struct ff3_verbs_device *d, unsigned i)
{
	struct ff3_verbs_region *g = d->cache[i];

	memmove(&d->cache[i], &d->cache[i + 1], (--d->n_cached - i) * sizeof d->cache[0]);
	d->cached_bytes -= g->to - g->from;
	g->cached = false;
	g->next = NULL;
	return g->refs == 0 ? g : NULL;
}

static bool cache_is_full(const struct ff3_verbs_device *d, size_t len)
{
	return d->n_cached >= CACHE_REGIONS || d->cached_bytes + len > d->cached_max;
}

/* Puts the one that was used least lately into *dead. False: everything is in use. */
static bool cache_evict(struct ff3_verbs_device *d, struct ff3_verbs_region **dead)
{
	struct ff3_verbs_region *g;
	unsigned oldest = UINT32_MAX;

	for (unsigned i = 0; i < d->n_cached; i++)
		if (d->cache[i]->refs == 0 &&
		    (oldest == UINT32_MAX || d->cache[i]->used < d->cache[oldest]->used))
			oldest = i;
	if (oldest == UINT32_MAX)
		return false;
	g = cache_take(d, oldest);
	g->next = *dead;
	*dead = g;
	return true;
}

static void cache_add(struct ff3_verbs_device *d, struct ff3_verbs_region *g)
{
	unsigned i = cache_place(d, g->from);

	memmove(&d->cache[i + 1], &d->cache[i], (d->n_cached++ - i) * sizeof d->cache[0]);
	d->cache[i] = g;
	d->cached_bytes += g->to - g->from;
	d->longest = MAX(d->longest, g->to - g->from);
	g->cached = true;
}

/* The device's lock is held. */
static void take_all(struct ff3_verbs_device *d, uintptr_t from, uintptr_t to)
{
	/* Few: realloc asks for each block that is not small. */
	for (unsigned i = cache_place(d, to); i-- > 0 && d->cache[i]->from + d->longest > from;)
		if (d->cache[i]->to > from) {
			struct ff3_verbs_region *g = cache_take(d, i);

			COUNT(cache_drops, 1);
			if (g) {
				g->next = d->dead;
				d->dead = g;
			}
		}
}

static void device_memory_gone(struct ff3_verbs_device *d, uintptr_t from, uintptr_t to)
{
	/* On demand it is always the memory that is there. */
	if (d->odp)
		return;
	if (pthread_mutex_trylock(&d->lock) != 0) {
		atomic_store(&d->all_gone, true);
		return;
	}
	take_all(d, from, to);
	pthread_mutex_unlock(&d->lock);
}

/* Whoever unmaps may be an allocator, amid its own locks, or a handler that interrupted us. So nothing is
 * waited for, and nothing freed: that is done by whoever registers next. */
void ff3_verbs_memory_gone(const void *p, size_t len)
{
	if (pthread_mutex_trylock(&ff3_verbs_list) != 0) {
		atomic_store(&all_gone, true);
		return;
	}
	for (struct ff3_verbs_device *d = ff3_verbs_devices; d; d = d->next)
		device_memory_gone(d, (uintptr_t)p, (uintptr_t)p + len);
	pthread_mutex_unlock(&ff3_verbs_list);
}

/* The device's lock is held. Returns what is to be dropped without it. */
static struct ff3_verbs_region *take_dead(struct ff3_verbs_device *d)
{
	if (UNLIKELY(atomic_load_explicit(&all_gone, memory_order_relaxed))) {
		pthread_mutex_unlock(&d->lock);
		pthread_mutex_lock(&ff3_verbs_list);
		atomic_store(&all_gone, false);
		for (struct ff3_verbs_device *o = ff3_verbs_devices; o; o = o->next)
			atomic_store(&o->all_gone, true);
		pthread_mutex_unlock(&ff3_verbs_list);
		pthread_mutex_lock(&d->lock);
	}
	if (UNLIKELY(atomic_exchange(&d->all_gone, false)))
		take_all(d, 0, UINTPTR_MAX);
	return TAKE_PTR(d->dead);
}

static void drop(struct ff3_verbs_region *g)
{
	if (g->pooled)
		pool_drop(g);
	else
		region_drop(g);
}

static void drop_dead(struct ff3_verbs_region *dead)
{
	struct ff3_verbs_region *g;

	while ((g = dead)) {
		dead = g->next;
		drop(g);
	}
}

/* The device's lock is held. The largest unused buffer of the pool. */
static bool pool_evict(struct ff3_verbs_device *d, struct ff3_verbs_region **dead)
{
	for (unsigned i = POOL_CLASSES; i-- > 0;) {
		struct ff3_verbs_region **pool = d->pool[i] ? d->pool : d->own_pool, *g = pool[i];

		if (!g)
			continue;
		pool[i] = g->next;
		d->pool_bytes -= g->to - g->from;
		g->next = *dead;
		*dead = g;
		return true;
	}
	return false;
}

/* All devices share the process's limit. */
bool ff3_verbs_let_go(size_t len)
{
	struct ff3_verbs_region *dead = NULL;
	size_t got = 0;

	pthread_mutex_lock(&ff3_verbs_list);
	for (struct ff3_verbs_device *d = ff3_verbs_devices; d && got < len; d = d->next) {
		pthread_mutex_lock(&d->lock);
		while (got < len && (cache_evict(d, &dead) || pool_evict(d, &dead)))
			got += dead->to - dead->from;
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_unlock(&ff3_verbs_list);
	drop_dead(dead);
	return got > 0;
}

static uintptr_t *seen_at(struct ff3_verbs_device *d, uintptr_t from)
{
	return &d->seen[(from / PAGE * 2654435761u) % SEEN];
}

/* -EAGAIN: it is small, and comes the first time. -EOPNOTSUPP: it was shared memory lately. */
static int is_worth_it(struct ff3_verbs_device *d, uintptr_t from, size_t len)
{
	uintptr_t *seen = seen_at(d, from);

	if (ROUND_DOWN(*seen, PAGE) != from) {
		if (len >= EAGER)
			return 0;
		*seen = from;
		return -EAGAIN;
	}
	if (*seen == from)
		return 0;
	--*seen;
	return -EOPNOTSUPP;
}

static void note_shared(struct ff3_verbs_device *d, uintptr_t from)
{
	pthread_mutex_lock(&d->lock);
	*seen_at(d, from) = from + PAGE - 1;
	pthread_mutex_unlock(&d->lock);
}

/* Registers the application's pages, if it has them for itself. */
static int region_make_own(struct ff3_verbs_device *d, uintptr_t from, uintptr_t to,
			   struct ff3_verbs_region **ret)
{
	/* On demand it is always the memory that is there, whosever. */
	enum ff3_verbs_owner owner = d->odp ? FF3_VERBS_OURS : ff3_verbs_owner_of(from, to);
	int r = owner == FF3_VERBS_SHARED ? -EOPNOTSUPP : 0;

	if (r == 0)
		r = region_make(d->pd, (void *)from, to - from,
				ACCESS_OTHERS | (d->odp ? IBV_ACCESS_ON_DEMAND : 0), ret);
	/* Now they are there. */
	if (r == 0 && owner == FF3_VERBS_UNKNOWN && ff3_verbs_owner_of(from, to) != FF3_VERBS_OURS) {
		region_drop(*ret);
		r = -EOPNOTSUPP;
	}
	if (r == -EOPNOTSUPP)
		note_shared(d, from);
	return r;
}

int ff3_verbs_hold(struct ff3_verbs_device *d, const void *p, size_t len,
		   struct ff3_verbs_memory *ret)
{
	uintptr_t from = ROUND_DOWN((uintptr_t)p, PAGE);
	uintptr_t to = ROUND_UP((uintptr_t)p + len, PAGE);
	struct ff3_verbs_region *g, *dead;
	int r;

	if (!d->user_ok || to < from || to - from > d->cached_max / 4)
		return -EOPNOTSUPP;
	/* Nothing is pinned, and so nothing checked by the kernel before the device meets the pages. */
	if (d->odp && ff3_user_writable((void *)p, len) < 0)
		return -EFAULT;
	pthread_mutex_lock(&d->lock);
	dead = take_dead(d);
	g = cache_find(d, from, to);
	if (g) {
		g->refs++;
		g->used = ++d->uses;
		pthread_mutex_unlock(&d->lock);
		drop_dead(dead);
		COUNT(cache_hits, 1);
		fill(ret, g, NULL);
		return 0;
	}
	r = is_worth_it(d, from, len);
	while (r == 0 && cache_is_full(d, to - from))
		if (!cache_evict(d, &dead))
			r = -ENOMEM;
	pthread_mutex_unlock(&d->lock);
	drop_dead(dead);
	if (r == 0)
		r = region_make_own(d, from, to, &g);
	if (r < 0)
		return r;
	g->refs = 1;
	pthread_mutex_lock(&d->lock);
	g->used = ++d->uses;
	if (!cache_is_full(d, to - from)) /* by others, meanwhile */
		cache_add(d, g);
	pthread_mutex_unlock(&d->lock);
	fill(ret, g, NULL);
	return 0;
}

void ff3_verbs_release(struct ff3_verbs_device *d, struct ff3_verbs_memory *m)
{
	struct ff3_verbs_region *g = TAKE_PTR(m->region), *unused = NULL;

	if (!g)
		return;
	pthread_mutex_lock(&d->lock);
	if (g->pooled)
		unused = pool_put(d, g) ? NULL : g;
	else if (--g->refs == 0 && !g->cached)
		unused = g;
	pthread_mutex_unlock(&d->lock);
	if (unused)
		drop(unused);
}

static void pool_empty(struct ff3_verbs_region **pool)
{
	struct ff3_verbs_region *g;

	for (unsigned i = 0; i < POOL_CLASSES; i++)
		while ((g = pool[i])) {
			pool[i] = g->next;
			pool_drop(g);
		}
}

void ff3_verbs_memory_done(struct ff3_verbs_device *d)
{
	struct ff3_verbs_region *g;

	drop_dead(TAKE_PTR(d->dead));
	pool_empty(d->pool);
	pool_empty(d->own_pool);
	while (d->n_cached > 0) {
		g = cache_take(d, d->n_cached - 1);
		if (g)
			region_drop(g);
	}
}
