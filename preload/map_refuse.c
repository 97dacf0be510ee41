/* Purpose: pages that cannot be read: whoever touches one gets SIGBUS, or EFAULT in a system call.
 *
 * Such a page is poisoned, or, where the kernel knows no poison (before Linux 6.6), a page behind the end of an
 * empty file lies in its place. Either is taken away a little later, so that whoever comes back after the
 * cluster has finds the data.
 *
 * Nothing that was stored may be lost in the place of a page: of a private mapping none is taken that was stored to,
 * and none can come meanwhile (map_refuse_hold).
 *
 * Threads: fault threads, with all signals blocked. `putting` comes before map_lock, which guards the list.
 * Fork: a child's list is its parent's; what of it was inherited is taken away there, too. */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "map.h"
#include "map_fault.h"
#include "raw.h"

#define CLEAR_AFTER_MS 200
#define PAGEMAP_THERE (3ull << 62) /* in memory, or swapped out */

/* Newer than the headers we build with may be. */
struct poison_ {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison_)

/* Under map_lock. */
static struct {
	uintptr_t addr;
	uint64_t id, when;
} refused[64];
static _Atomic int n_refused;
static pthread_rwlock_t putting = PTHREAD_RWLOCK_INITIALIZER;

void map_refuse_hold(void)
{
	pthread_rwlock_rdlock(&putting);
}

void map_refuse_let_go(void)
{
	pthread_rwlock_unlock(&putting);
}

static uint64_t now_ms(void)
{
	return ff3_boottime_ns() / FF3_NSEC_PER_MSEC;
}

/* The lazily loaded region of this file that page lies in. Under map_lock. */
static struct map_region *region_of(uintptr_t page, uint64_t id)
{
	struct map_region *r = map_region_at(page);

	return r && r->lazy && map_region_id(r) == id ? r : NULL;
}

static off_t offset_of(const struct map_region *r, uintptr_t page)
{
	return r->offset + (off_t)(page - r->addr);
}

/* Of a private mapping: pages of an object are there for all. Where stores are not noticed, whatever is there may be one. */
static bool may_have_stores(const struct map_region *r, uintptr_t page)
{
	uint64_t entry = PAGEMAP_THERE;
	unsigned char loaded;
	int fd;

	if (r->object)
		return false;
	if (map_fault_protects())
		return map_private_is_dirty(r->private, offset_of(r, page));
	fd = raw_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return RAW(mincore, page, MAP_PAGE, &loaded) < 0 || (loaded & 1);
	RAW(pread64, fd, &entry, sizeof entry, page / MAP_PAGE * sizeof entry);
	raw_close(fd);
	return entry & PAGEMAP_THERE;
}

/* A page that is there is not poisoned, nor one that is only to be protected, as those are that a child inherits: such
 * are let go first. */
static bool poison(const struct map_region *r, int uffd, uintptr_t page)
{
	struct poison_ p = { .range = { page, MAP_PAGE } };

	if (RAW(ioctl, uffd, IOCTL_POISON, &p) >= 0)
		return true;
	if (r->object || may_have_stores(r, page))
		return false;
	RAW(madvise, page, MAP_PAGE, MADV_DONTNEED);
	map_fault_protect(page, MAP_PAGE, false);
	p.updated = 0;
	return RAW(ioctl, uffd, IOCTL_POISON, &p) >= 0;
}

/* A page of an empty file: whoever is waiting for the one before is to be woken. */
static bool put_nothing(const struct map_region *r, uintptr_t page)
{
	int fd = (int)RAW(memfd_create, "ff3fs-nothing", MFD_CLOEXEC);
	long m;

	if (fd < 0)
		return false;
	m = RAW(mmap, page, MAP_PAGE, r->prot, MAP_SHARED | MAP_FIXED, fd, 0);
	raw_close(fd);
	return m == (long)page;
}

static void take_away(const struct map_region *r, uintptr_t page)
{
	struct map_region one = *r;

	one.addr = page;
	one.len = MAP_PAGE;
	one.offset = offset_of(r, page);
	if (map_fault_has_poison())
		RAW(madvise, page, MAP_PAGE, MADV_DONTNEED);
	else if (!map_fault_map_anew(&one) && !put_nothing(r, page))
		RAW(munmap, page, MAP_PAGE);
}

static void clear(int i)
{
	struct map_region *r = region_of(refused[i].addr, refused[i].id);

	if (r && (!map_fault_has_poison() || r->object ||
		  !map_private_is_dirty(r->private, offset_of(r, refused[i].addr))))
		take_away(r, refused[i].addr);
	refused[i] = refused[--n_refused];
}

static void note(uintptr_t page, uint64_t id)
{
	for (int i = 0; i < n_refused; i++)
		if (refused[i].addr == page)
			return;
	if (n_refused == (int)ARRAY_SIZE(refused))
		clear(0);
	refused[n_refused].addr = page;
	refused[n_refused].id = id;
	refused[n_refused].when = now_ms() + CLEAR_AFTER_MS;
	n_refused++;
}

void map_refuse(int uffd, uintptr_t page, uint64_t id)
{
	const struct map_region *r;

	pthread_rwlock_wrlock(&putting);
	map_lock();
	r = region_of(page, id);
	if (r && (map_fault_has_poison() ? poison(r, uffd, page) : !may_have_stores(r, page) && put_nothing(r, page)))
		note(page, id);
	map_unlock();
	pthread_rwlock_unlock(&putting);
}

int map_refuse_clear(void)
{
	uint64_t now;

	if (!n_refused)
		return -1;
	map_lock();
	now = now_ms();
	for (int i = 0; i < n_refused;) {
		if (refused[i].when > now)
			i++;
		else
			clear(i);
	}
	map_unlock();
	return n_refused ? CLEAR_AFTER_MS : -1;
}

void map_refuse_after_fork(void)
{
	pthread_rwlock_init(&putting, NULL);
	while (n_refused)
		clear(0);
}
