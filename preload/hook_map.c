/* Purpose: mmap(2) and what is done to mappings. What they are: map.h.
 *
 * Memory allocators call these before our constructor has run and at any time after: for anonymous
 * mappings there is one comparison before the real call, and munmap, mprotect and madvise look at a
 * counter.
 *
 * Threads: changes of mappings of ours are made one at a time (map_enter). A signal handler that
 * interrupted one gets EDEADLK for a new mapping, and the kernel's plain answer otherwise. */
#include "hook.h"

#include <stdarg.h>
#include <sys/mman.h>

#include "map.h"
#include "raw.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Of the application's: a device may know it (RDMA). Before it goes, as another thread may have it the
 * moment after. */
static inline void memory_gone(const void *addr, size_t len)
{
	if (UNLIKELY(*core_memory_watched))
		core.memory_gone(addr, len);
}

static bool is_error(long r)
{
	return r < 0 && r > -4096;
}

/* --- mmap ---------------------------------------------------------------------------------- */

static int check(struct ofd *o, size_t len, int prot, int flags, off_t offset)
{
	int type = flags & MAP_TYPE, mode = o->flags & O_ACCMODE;

	if (offset & (off_t)(MAP_PAGE - 1))
		return -EINVAL;
	if (!o->file)
		return -EBADF;
	if (len == 0)
		return -EINVAL;
	if (len > SIZE_MAX - MAP_PAGE)
		return -ENOMEM;
	if (offset < 0 || ROUND_UP(len, MAP_PAGE) > (uint64_t)INT64_MAX - (uint64_t)offset)
		return -EOVERFLOW;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (flags & MAP_SYNC)
		return -EOPNOTSUPP;
	if (type != MAP_PRIVATE && (prot & PROT_WRITE) && mode != O_RDWR)
		return -EACCES;
	return ofd_reads(o) ? 0 : -EACCES;
}

static long map_ours(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset)
{
	struct ff3fs_attr a;
	size_t data;
	int r = check(o, len, prot, flags, offset);

	if (r < 0)
		return r;
	r = CALL(fstat, o->file, &a);
	if (r < 0)
		return r;
	if (!S_ISREG(a.mode))
		return -ENODEV;
	len = ROUND_UP(len, MAP_PAGE);
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		return map_shared_new(o, addr, len, prot, flags, offset, &a);
	data = (uint64_t)offset >= a.size ? 0 : MIN(len, a.size - (size_t)offset);
	r = shared_map_send(o->ino, offset, len);
	return r < 0 ? r : map_private_new(o, addr, len, prot, flags, offset, data);
}

static void *map_any(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = flags & MAP_ANONYMOUS ? 0 : fdtab_get(fd, &o);
	long r;

	if (LIKELY(ours == 0))
		return REAL(mmap)(addr, len, prot, flags, fd, offset);
	r = ours < 0 ? ours : map_ours(o, addr, len, prot, flags, offset);
	return is_error(r) ? (hook_result(r), MAP_FAILED) : (void *)r;
}

/* Takes the regions in a range that is about to be unmapped, their stores sent. */
static struct map_region *take_range(uintptr_t addr, size_t len)
{
	struct map_region *taken;

	if (!map_region_meets(addr, len) || !map_enter())
		return NULL;
	map_region_split(addr, len);
	taken = map_region_take(addr, len);
	map_shared_send_regions(taken);
	map_leave();
	return taken;
}

/* The range has been unmapped, or not. */
static void drop_range(struct map_region *taken, bool unmapped)
{
	if (!taken)
		return;
	if (!unmapped) {
		map_region_put_back(taken);
	} else if (map_enter()) {
		map_region_drop(taken);
		map_leave();
	}
}

void *hook_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct map_region *taken = NULL;
	void *m;

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
		memory_forget();
	if (flags & MAP_FIXED)
		memory_gone(addr, len);
	if (UNLIKELY(map_n_regions) && (flags & MAP_FIXED))
		taken = take_range((uintptr_t)addr, ROUND_UP(len, MAP_PAGE));
	m = map_any(addr, len, prot, flags, fd, offset);
	drop_range(taken, m != MAP_FAILED);
	return m;
}

int hook_munmap(void *addr, size_t len)
{
	struct map_region *taken = NULL;
	int r;

	/* The core's own memory is none of ours, and it may hold locks that taking would wait for. */
	if (UNLIKELY(map_n_regions) && (uintptr_t)addr % MAP_PAGE == 0 && len > 0 &&
	    !core_called_from(__builtin_return_address(0)))
		taken = take_range((uintptr_t)addr, ROUND_UP(len, MAP_PAGE));
	memory_gone(addr, len);
	r = REAL(munmap)(addr, len);
	memory_forget();
	drop_range(taken, r == 0);
	return r;
}

/* --- msync --------------------------------------------------------------------------------- */

/* The next region of an object at or behind addr; a copy, with a reference to the object. */
static bool next_shared(uintptr_t addr, uintptr_t end, struct map_region *ret)
{
	struct map_region *found = NULL;

	map_lock();
	for (struct map_region *r = map_regions; r; r = r->next)
		if (r->object && r->addr < end && r->addr + r->len > addr &&
		    (!found || r->addr < found->addr))
			found = r;
	if (found) {
		*ret = *found;
		atomic_fetch_add(&ret->object->refs, 1);
	}
	map_unlock();
	return found;
}

static int sync_range(uintptr_t addr, uintptr_t end, bool durable)
{
	struct map_region part;
	int r = 0;

	if (!map_enter())
		return 0;
	while (r >= 0 && addr < end && next_shared(addr, end, &part)) {
		uintptr_t from = MAX(addr, part.addr), to = MIN(end, part.addr + part.len);
		off_t base = part.offset - (off_t)part.addr;

		r = map_object_send(part.object, base + (off_t)from, base + (off_t)to);
		if (r >= 0 && durable && part.may_write)
			r = CALL(fsync, part.object->file);
		map_object_unref(part.object);
		addr = part.addr + part.len;
	}
	map_leave();
	return r < 0 ? r : 0;
}

int hook_msync(void *addr, size_t len, int flags)
{
	int r = REAL(msync)(addr, len, flags);

	if (UNLIKELY(map_n_regions) && r == 0)
		r = (int)hook_result(sync_range((uintptr_t)addr, (uintptr_t)addr + len,
						flags & MS_SYNC));
	return r;
}

/* --- mprotect ------------------------------------------------------------------------------ */

static int protect_ours(uintptr_t addr, size_t len, int prot)
{
	bool refused = false;
	struct map_region part;
	uintptr_t at = addr;
	int r = map_region_split(addr, len);

	while (r == 0 && (prot & PROT_WRITE) && at < addr + len &&
	       next_shared(at, addr + len, &part)) {
		refused = !part.may_write;
		r = refused ? -EACCES : map_shared_allow_stores(part.object);
		map_object_unref(part.object);
		at = part.addr + part.len;
	}
	if (r == 0)
		r = REAL(mprotect)((void *)addr, len, prot) < 0 ? -errno : 0;
	if (r < 0)
		return r;
	map_lock();
	for (struct map_region *p = map_regions; p; p = p->next)
		if (p->addr >= addr && p->addr + p->len <= addr + len) {
			p->prot = prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
			if (p->lazy && p->private)
				map_private_may_store(p->private, prot);
		}
	map_unlock();
	map_refuse_clear_in(addr, len); /* those that have the right of before */
	return 0;
}

/* Before pages lose a right: a device would go past the page table. */
static void rights_gone(void *addr, size_t len, int prot)
{
	if (!(prot & PROT_READ))
		memory_forget();
	if (!(prot & PROT_WRITE))
		memory_gone(addr, len);
}

int hook_pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	if (pkey == -1)
		return hook_mprotect(addr, len, prot);
	/* What the key allows may change without a call. */
	rights_gone(addr, len, PROT_NONE);
	return REAL(pkey_mprotect)(addr, len, prot, pkey);
}

int hook_mprotect(void *addr, size_t len, int prot)
{
	uintptr_t a = (uintptr_t)addr;
	int r;

	rights_gone(addr, len, prot);
	if (LIKELY(!map_n_regions) || a % MAP_PAGE || len == 0 ||
	    !map_region_meets(a, ROUND_UP(len, MAP_PAGE)) || !map_enter())
		return REAL(mprotect)(addr, len, prot);
	r = protect_ours(a, ROUND_UP(len, MAP_PAGE), prot);
	map_leave();
	return (int)hook_result(r);
}

/* --- mremap -------------------------------------------------------------------------------- */

/* What a mapping will grow by must be there before it can be touched. */
static int prepare_growth(const struct map_region *r, size_t len)
{
	off_t end = r->offset + (off_t)len;
	struct ff3fs_attr a;
	int e;

	if (r->private)
		return map_private_grow(r->private, end);
	e = CALL(fstat, r->object->file, &a);
	if (e == 0)
		e = map_object_refresh(r->object, &a);
	if (e == 0 && !r->lazy)
		e = map_object_pin(r->object, r->offset, end);
	return e;
}

/* The region that begins at `from` is now [to, to + len); or, kept, there is one more. */
static void moved(uintptr_t from, uintptr_t to, size_t len, bool kept)
{
	struct map_region *r, copy;

	map_lock();
	for (r = map_regions; r && r->addr != from; r = r->next)
		;
	if (r && !kept) {
		r->addr = to;
		r->len = len;
		map_region_reach(to, len);
	}
	if (r)
		copy = *r;
	map_unlock();
	if (!r)
		return;
	copy.addr = to;
	copy.len = len;
	if (copy.lazy && map_fault_register(&copy) < 0)
		RAW(mprotect, to, len, PROT_NONE); /* neither zeros nor data */
	if (kept)
		map_region_add(&copy);
}

static void *remap_ours(uintptr_t addr, size_t old_len, size_t len, int flags, void *to)
{
	bool kept = old_len == 0 || (flags & MREMAP_DONTUNMAP);
	struct map_region *r, copy, *rest = NULL, *tail = NULL, *under = NULL;
	void *m = MAP_FAILED;
	int e = 0;

	if (old_len > 0)
		e = map_region_split(addr, old_len);
	map_lock();
	r = map_region_at(addr);
	if (r)
		copy = *r;
	map_unlock();
	if (e == 0 && r && copy.lazy && (flags & MREMAP_DONTUNMAP))
		e = -EINVAL;
	if (e == 0 && r && len > copy.len)
		e = prepare_growth(&copy, len);
	if (e == 0 && r && len < old_len) {
		map_region_split(addr, len);
		tail = map_region_take(addr + len, old_len - len);
		map_shared_send_regions(tail);
	}
	/* To the kernel they are one mapping, and so they are to us from now on. */
	if (e == 0 && r && !kept && MIN(old_len, len) > copy.len)
		rest = map_region_take(addr + copy.len, MIN(old_len, len) - copy.len);
	if (e == 0 && (flags & MREMAP_FIXED)) {
		map_region_split((uintptr_t)to, len);
		under = map_region_take((uintptr_t)to, len);
		map_shared_send_regions(under);
	}
	map_refuse_clear_in(addr, old_len);
	if (e == 0)
		m = REAL(mremap)((void *)addr, old_len, len, flags, to);
	else
		hook_result(e);
	if (m == MAP_FAILED) {
		map_region_put_back(rest);
		map_region_put_back(tail);
		map_region_put_back(under);
		return m;
	}
	if (r)
		moved(addr, (uintptr_t)m, len, kept);
	map_region_drop(rest);
	map_region_drop(tail);
	map_region_drop(under);
	return m;
}

void *hook_mremap(void *addr, size_t old_len, size_t len, int flags, ...)
{
	uintptr_t a = (uintptr_t)addr;
	va_list ap;
	void *to, *m;

	va_start(ap, flags);
	to = va_arg(ap, void *);
	va_end(ap);
	memory_gone(addr, old_len);
	if (flags & MREMAP_FIXED)
		memory_gone(to, len);
	if (LIKELY(!map_n_regions) || a % MAP_PAGE || len == 0 || len > SIZE_MAX / 2 ||
	    (!map_region_meets(a, MAX(ROUND_UP(old_len, MAP_PAGE), MAP_PAGE)) &&
	     !((flags & MREMAP_FIXED) && map_region_meets((uintptr_t)to, len))) ||
	    !map_enter()) {
		if (UNLIKELY(len > old_len && map_private_is_part(a)))
			return hook_result(-ENOMEM), memory_forget(), MAP_FAILED;
		m = REAL(mremap)(addr, old_len, len, flags, to);
	} else {
		m = remap_ours(a, ROUND_UP(old_len, MAP_PAGE), ROUND_UP(len, MAP_PAGE), flags, to);
		map_leave();
	}
	memory_forget();
	return m;
}

/* What is large is a mapping of its own, whose pages libc moves to another address when it grows. A read into
 * what is mapped at the old one would then change them there. It is not longer than it becomes.
 * In this library realloc is this function, and what comes behind it may be another allocator than the program's, which
 * may stand before us (sanitizers, jemalloc): use reallocarray here. */
#define MAY_MOVE 2048u

void *hook_realloc(void *p, size_t size)
{
	if (p && size >= MAY_MOVE)
		memory_gone(p, size);
	return REAL(realloc)(p, size);
}

/* Would leave faults in the moved pages to nobody. */
int hook_remap_file_pages(void *addr, size_t size, int prot, size_t page, int flags)
{
	if (UNLIKELY(map_n_regions) && map_region_meets((uintptr_t)addr, MAX(size, 1ul)))
		return (int)hook_result(-EINVAL);
	return REAL(remap_file_pages)(addr, size, prot, page, flags);
}

/* --- madvise ------------------------------------------------------------------------------- */

/* Gives private pages back: their stores are forgotten, as they should be. */
static int give_back(uintptr_t addr, size_t len)
{
	long r;

	map_lock();
	r = RAW(madvise, addr, len, MADV_DONTNEED);
	for (struct map_region *p = map_regions; p && r == 0; p = p->next) {
		uintptr_t from = MAX(addr, p->addr), to = MIN(addr + len, p->addr + p->len);

		if (p->private && from < to)
			map_private_forget(p->private, p->offset + (off_t)(from - p->addr), to - from);
	}
	map_unlock();
	return (int)hook_raw(r);
}

static bool meets(uintptr_t addr, size_t len, bool lazy)
{
	bool found = false;

	map_lock();
	for (struct map_region *r = map_regions; r && !found; r = r->next)
		found = (lazy ? r->lazy : r->object && (r->prot & PROT_WRITE)) &&
			r->addr < addr + len && addr < r->addr + r->len;
	map_unlock();
	return found;
}

int hook_madvise(void *addr, size_t len, int advice)
{
	uintptr_t a = (uintptr_t)addr;

	if (advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
	    advice == MADV_DONTNEED_LOCKED)
		memory_gone(addr, len);
	if (LIKELY(!map_n_regions) || a % MAP_PAGE || len == 0 ||
	    !map_region_meets(a, ROUND_UP(len, MAP_PAGE)))
		return REAL(madvise)(addr, len, advice);
	len = ROUND_UP(len, MAP_PAGE);
	switch (advice) {
	case MADV_REMOVE: /* would punch holes into our copy only */
		if (meets(a, len, false))
			return (int)hook_result(-EOPNOTSUPP);
		break;
	case MADV_DONTNEED:
		return give_back(a, len);
	case MADV_DOFORK: /* children map it anew (map_region.c) */
	case MADV_HUGEPAGE:
		if (meets(a, len, true))
			return 0;
	}
	return REAL(madvise)(addr, len, advice);
}

DEFINE_ALIASES(map)
