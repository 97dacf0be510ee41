/* Purpose: private mappings. Up to map_eager_max they are read whole, at once and in parallel, into a
 * memfd that is mapped: ordinary memory, whatever is done with it. Larger ones are loaded when
 * touched (map_fault.c): a private mapping of an empty memfd, so that the end of the file is where it
 * should be, and pages given back (MADV_DONTNEED) are loaded again.
 *
 * What was read whole has not what the mapping could grow by (mremap): it does not grow, unless it reaches the
 * end of the file. Its memfd's name tells, for these mappings are not noted here.
 *
 * Both are the file as it was read, page by page; nobody's later writes show.
 *
 * Threads: inside map_enter, but for the references. */
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>

#include "hook.h"
#include "map.h"
#include "raw.h"

#define PART "ff3fs-map-part"

static bool is_error(long r)
{
	return r < 0 && r > -4096;
}

/* Reads up to n bytes at offset to memory of ours. Count, or negative errno. */
static ssize_t load(struct ff3fs_file *file, char *to, size_t n, off_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = CALL(pread, file, to + done, n - done, offset + (off_t)done);

		if (r < 0)
			return r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static int fill_memfd(const char *name, struct ff3fs_file *file, off_t offset, size_t data)
{
	int fd = (int)RAW(memfd_create, name, MFD_CLOEXEC);
	ssize_t r;
	long m;

	if (fd < 0)
		return fd;
	r = space_ftruncate(fd, data);
	m = r < 0 || data == 0 ? r : RAW(mmap, 0, data, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (is_error(m)) {
		raw_close(fd);
		return (int)m;
	}
	if (data > 0) {
		r = load(file, (char *)m, data, offset);
		RAW(munmap, m, data);
	}
	if (r >= 0 && (size_t)r < data) /* it shrank meanwhile: what is missing must not be zeros */
		r = space_ftruncate(fd, r);
	if (r < 0) {
		raw_close(fd);
		return (int)r;
	}
	return fd;
}

int map_fill_memfd(struct ff3fs_file *file, off_t offset, size_t data)
{
	return fill_memfd("ff3fs-map", file, offset, data);
}

static atomic_bool any_part;

static long map_whole(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		      size_t data)
{
	struct ff3fs_attr a;
	bool part = CALL(fstat, o->file, &a) == 0 && a.size > (uint64_t)offset + data;
	int fd = fill_memfd(part ? PART : "ff3fs-map", o->file, offset, data);
	long m;

	if (part)
		any_part = true;

	if (fd < 0)
		return fd;
	m = RAW(mmap, addr, len, prot, flags, fd, 0);
	raw_close(fd);
	return m;
}

/* begin-end perms offset dev inode path */
static bool line_is_part(const char *line, uintptr_t addr, bool *ret)
{
	char *p;
	uintptr_t begin = strtoul(line, &p, 16), end = strtoul(p + 1, &p, 16);

	if (addr < begin || addr >= end)
		return false;
	*ret = strstr(p, "/memfd:" PART) != NULL;
	return true;
}

bool map_private_is_part(uintptr_t addr)
{
	char buf[4096], *line, *end;
	size_t have = 0;
	bool part = false, found = false;
	long n;
	int fd = any_part ? raw_open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1;

	while (fd >= 0 && !found && have < sizeof buf - 1 &&
	       (n = RAW(read, fd, buf + have, sizeof buf - 1 - have)) > 0) {
		have += (size_t)n;
		buf[have] = '\0';
		for (line = buf; !found && (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			found = line_is_part(line, addr, &part);
		}
		have = strlen(line);
		memmove(buf, line, have);
	}
	if (fd >= 0)
		raw_close(fd);
	return part;
}

/* --- Loaded when touched ------------------------------------------------------------------- */

void map_private_unref(struct map_private *p)
{
	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	if (p->memfd >= 0) {
		fdtab_forget(p->memfd);
		raw_close(p->memfd);
	}
	if (p->dirty)
		RAW(munmap, p->dirty, ROUND_UP(p->n_pages, 8) / 8);
	if (p->file)
		CALL(close, p->file);
	free(p);
}

/* The bits cost memory only where some are set. */
static int make_bits(struct map_private *p, size_t n_pages)
{
	size_t bytes = ROUND_UP(n_pages, 8) / 8, old = ROUND_UP(p->n_pages, 8) / 8;
	long m;

	if (n_pages <= p->n_pages)
		return 0;
	m = p->dirty ? RAW(mremap, p->dirty, old, bytes, MREMAP_MAYMOVE) :
		       RAW(mmap, 0, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (is_error(m))
		return -ENOMEM;
	p->dirty = (uint8_t *)m;
	p->n_pages = n_pages;
	return 0;
}

/* A mapping has grown up to this offset of the file. */
int map_private_grow(struct map_private *p, off_t end)
{
	struct ff3fs_attr a;
	int r = CALL(fstat, p->file, &a);
	size_t size;

	if (r < 0)
		return r;
	size = (size_t)(MIN(end, (off_t)a.size) - p->base);
	if ((off_t)a.size <= p->base || size <= p->size)
		return 0;
	map_lock();
	r = make_bits(p, ROUND_UP(size, MAP_PAGE) / MAP_PAGE);
	if (r == 0 && space_ftruncate(p->memfd, ROUND_UP(size, MAP_PAGE)) < 0)
		r = -ENOMEM;
	if (r == 0)
		p->size = size;
	map_unlock();
	return r;
}

/* Nothing may touch a page before its faults are ours, not even the kernel on behalf of mlockall: so
 * the mapping has no access at first. */
long map_lazily(struct map_region *r, void *addr, int flags, int fd, off_t offset)
{
	int kept = flags & ~(MAP_POPULATE | MAP_LOCKED);
	long m = RAW(mmap, addr, r->len, PROT_NONE, kept | MAP_NORESERVE, fd, offset), e;
	struct map_region *taken;

	if (is_error(m))
		return m;
	r->addr = (uintptr_t)m;
	r->lazy = true;
	r->next_fault = -1;
	e = map_fault_register(r);
	if (e == 0)
		e = RAW(madvise, m, r->len, MADV_DONTFORK);
	if (e == 0)
		e = map_region_add(r);
	if (e == 0 && r->prot != PROT_NONE)
		e = RAW(mprotect, m, r->len, r->prot);
	if (e < 0) {
		taken = map_region_take(r->addr, r->len);
		RAW(munmap, m, r->len);
		map_region_drop(taken);
		return e;
	}
	if (flags & MAP_LOCKED)
		RAW(mlock, m, r->len);
	return m;
}

static long map_touched(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
			size_t data)
{
	struct map_private *p = calloc(1, sizeof *p);
	static _Atomic uint64_t next_id = 1;
	struct map_region region = { .len = len, .offset = offset, .private = p, .prot = prot };
	long r;

	if (!p)
		return -ENOMEM;
	p->refs = 1;
	p->id = next_id++ << 1 | 1; /* odd: no object's */
	p->ino = o->ino;
	p->base = offset;
	p->size = data;
	p->file = CALL(file_ref, o->file);
	p->memfd = map_hide((int)RAW(memfd_create, "ff3fs-map", MFD_CLOEXEC));
	r = p->memfd < 0 ? p->memfd : make_bits(p, ROUND_UP(data, MAP_PAGE) / MAP_PAGE);
	if (r == 0)
		r = space_ftruncate(p->memfd, ROUND_UP(data, MAP_PAGE));
	if (r == 0)
		r = map_lazily(&region, addr, flags, p->memfd, 0);
	map_lock();
	map_private_may_store(p, prot);
	map_unlock();
	map_private_unref(p);
	return r;
}

long map_private_new(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		     size_t data)
{
	long r;

	if (data <= map_eager_max())
		return map_whole(o, addr, len, prot, flags, offset, data);
	if (!map_enter())
		return -EDEADLK;
	r = map_fault_start();
	if (r == 0)
		r = map_touched(o, addr, len, prot, flags, offset, data);
	map_leave();
	if (r == -ENODEV && data <= map_eager_most())
		r = map_whole(o, addr, len, prot, flags, offset, data);
	return r;
}
