/* Purpose: pages that cannot be read: whoever touches one gets SIGBUS, or EFAULT in a system call.
 *
 * Such a page is poisoned, or, where the kernel knows no poison (before Linux 6.6), a page behind the end of an
 * empty file lies in its place. Either is taken away a little later, so that whoever comes back after the
 * cluster has finds the data. (The page that is mapped again then is for some instructions one that nobody may
 * touch: SIGSEGV.) If neither can be had, the toucher is sent a SIGBUS, which comes when its system call ends.
 *
 * Nothing that was stored may be lost in the place of a page: of a private mapping none is taken that is there,
 * and none can come meanwhile (map_refuse_hold).
 *
 * Threads: fault threads, with all signals blocked. `putting` comes before map_lock, which guards the list.
 * Fork: a child's list is its parent's; what of it was inherited is taken away there, too. */
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "map.h"
#include "map_fault.h"
#include "raw.h"

#define CLEAR_AFTER_MS 200
/* Of /proc/PID/pagemap. What is only marked to be protected looks swapped out, too. */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PROTECTED (1ull << 57)

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
static int nothing = -1; /* the empty file */

void map_refuse_start(void)
{
	if (!map_fault_has_poison() && nothing < 0)
		nothing = map_hide((int)RAW(memfd_create, "ff3fs-nothing", MFD_CLOEXEC));
}

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

/* Of a private mapping: pages of an object are there for all. What is protected was not stored to since it came. */
static bool may_have_stores(const struct map_region *r, uintptr_t page)
{
	uint64_t e = PAGEMAP_PRESENT;
	int fd;

	if (r->object)
		return false;
	fd = raw_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	RAW(pread64, fd, &e, sizeof e, page / MAP_PAGE * sizeof e);
	raw_close(fd);
	return (e & PAGEMAP_PRESENT) || (e & (PAGEMAP_SWAPPED | PAGEMAP_PROTECTED)) == PAGEMAP_SWAPPED;
}

/* Whoever is waiting for the page before is to be woken. */
static bool put_nothing(const struct map_region *r, uintptr_t page)
{
	return RAW(mmap, page, MAP_PAGE, r->prot, MAP_SHARED | MAP_FIXED, nothing, 0) == (long)page;
}

/* A page that is there is not poisoned, nor one that is only to be protected, as those are that a child inherits: such
 * a mark is let go first. */
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

/* Whether the page is back. */
static bool take_away(const struct map_region *r, uintptr_t page)
{
	struct map_region one = *r;

	if (map_fault_has_poison())
		return RAW(madvise, page, MAP_PAGE, MADV_DONTNEED) >= 0;
	one.addr = page;
	one.len = MAP_PAGE;
	one.offset = offset_of(r, page);
	return map_fault_map_anew(&one) || !put_nothing(r, page);
}

/* What was stored to since was given back meanwhile by the program itself. */
static void clear(int i)
{
	struct map_region *r = region_of(refused[i].addr, refused[i].id);
	uintptr_t page = refused[i].addr;

	if (r && (r->object || !map_private_is_dirty(r->private, offset_of(r, page))) && !take_away(r, page))
		refused[i].when = now_ms() + CLEAR_AFTER_MS;
	else
		refused[i] = refused[--n_refused];
}

static void note(uintptr_t page, uint64_t id)
{
	int i = 0;

	while (i < n_refused && refused[i].addr != page)
		i++;
	if (i == (int)ARRAY_SIZE(refused)) {
		clear(0);
		i = MIN(n_refused, i - 1); /* one that cannot be cleared stays as it is */
	}
	refused[i].addr = page;
	refused[i].id = id;
	refused[i].when = now_ms() + CLEAR_AFTER_MS;
	n_refused = MAX(n_refused, i + 1);
}

static bool refuse(const struct map_region *r, int uffd, uintptr_t page)
{
	if (map_fault_has_poison() ? !poison(r, uffd, page) : may_have_stores(r, page) || !put_nothing(r, page))
		return false;
	/* A store beside it may have counted for it. */
	if (r->private)
		map_private_forget(r->private, offset_of(r, page), MAP_PAGE);
	return true;
}

void map_refuse(int uffd, uintptr_t page, uint64_t id, int tid)
{
	const struct map_region *r;
	long pid = RAW(getpid);
	bool refused_it = true;

	pthread_rwlock_wrlock(&putting);
	map_lock();
	r = region_of(page, id);
	if (r)
		refused_it = refuse(r, uffd, page);
	if (r && refused_it)
		note(page, id);
	map_unlock();
	pthread_rwlock_unlock(&putting);
	if (!refused_it)
		RAW(tgkill, pid, tid, SIGBUS);
}

/* Those in [addr, addr + len), at once. Under map_lock. */
static void clear_in(uintptr_t addr, size_t len)
{
	for (int i = n_refused - 1; i >= 0; i--)
		if (refused[i].addr - addr < len)
			clear(i);
}

void map_refuse_clear_in(uintptr_t addr, size_t len)
{
	if (!n_refused)
		return;
	map_lock();
	clear_in(addr, len);
	map_unlock();
}

int map_refuse_clear(void)
{
	uint64_t now;

	if (!n_refused)
		return -1;
	map_lock();
	now = now_ms();
	for (int i = n_refused - 1; i >= 0; i--)
		if (refused[i].when <= now)
			clear(i);
	map_unlock();
	return n_refused ? CLEAR_AFTER_MS : -1;
}

void map_refuse_after_fork(void)
{
	pthread_rwlock_init(&putting, NULL);
	clear_in(0, UINTPTR_MAX);
	n_refused = 0;
}
