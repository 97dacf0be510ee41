/* Purpose: pages that are loaded when they are touched (userfaultfd).
 *
 * A fault stops the thread that made it, and comes here as a message. One of a few threads of ours reads
 * the file around it and puts the pages in. 64 KiB at first; who goes on where the last load ended gets
 * twice as much each time, up to a few MiB, which the client reads in parallel.
 *
 * What cannot be read is refused (map_refuse.c).
 *
 * Pages of one process beyond map_memory() are dropped, oldest first (map_evict.c).
 *
 * Which kernel allows it: CAP_SYS_PTRACE, vm.unprivileged_userfaultfd or /dev/userfaultfd. Else,
 * with FF3FS_MMAP=useronly, one that cannot serve system calls: they get EFAULT for pages that
 * are not there. FF3FS_MMAP=basic: no more than the oldest kernel has.
 *
 * Threads: fault threads have all signals blocked, and take map_lock and object->state only.
 * Fork: a child gets a userfaultfd and threads of its own. Its first thread is started when fork's handlers
 * have all run (the allocator's among them), before user code goes on. */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "dispatch.h"
#include "hook.h"
#include "map.h"
#include "map_fault.h"
#include "raw.h"

#define GRANULE (64ul << 10)
#define WINDOW_MAX (4ul << 20)
#define THREADS_MAX 4
#define USER_MODE_ONLY 1

/* Newer than the headers we build with may be. */
#define FEATURE_WP_SHMEM (1 << 12)
#define FEATURE_POISON (1 << 14)
#define IOCTL_NEW _IO(0xAA, 0x00)

static int uffd = -1;
static uint64_t features;
static _Atomic int n_threads, n_idle;

/* --- The descriptor ------------------------------------------------------------------------ */

static bool is_mode(const char *mode)
{
	const char *is = getenv("FF3FS_MMAP");

	return is && strcmp(is, mode) == 0;
}

static int new_descriptor(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK, fd = (int)RAW(userfaultfd, flags), dev;

	if (fd >= 0)
		return fd;
	dev = raw_open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = (int)RAW(ioctl, dev, IOCTL_NEW, flags);
		raw_close(dev);
	}
	if (fd < 0 && is_mode("useronly"))
		fd = (int)RAW(userfaultfd, flags | USER_MODE_ONLY);
	return fd;
}

static int open_uffd(void)
{
	static const uint64_t wanted[] = {
		UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM | FEATURE_POISON,
		UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM,
		UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID,
	};
	int fd = new_descriptor();

	if (fd < 0)
		return -ENODEV;
	for (size_t i = is_mode("basic") ? ARRAY_SIZE(wanted) - 1 : 0; i < ARRAY_SIZE(wanted); i++) {
		struct uffdio_api api = { .api = UFFD_API, .features = wanted[i] };

		if (RAW(ioctl, fd, UFFDIO_API, &api) < 0)
			continue;
		features = wanted[i];
		uffd = map_hide(fd);
		map_refuse_start();
		return 0;
	}
	raw_close(fd);
	return -ENODEV;
}

bool map_fault_protects(void)
{
	return features & FEATURE_WP_SHMEM;
}

bool map_fault_has_poison(void)
{
	return features & FEATURE_POISON;
}

int map_fault_register(const struct map_region *r)
{
	struct uffdio_register reg = { .range = { r->addr, r->len },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (map_fault_protects())
		reg.mode |= UFFDIO_REGISTER_MODE_WP;
	return (int)RAW(ioctl, uffd, UFFDIO_REGISTER, &reg);
}

/* A refused page may cut a mapping into pieces, of which the kernel takes one at a time. */
void map_fault_protect(uintptr_t addr, size_t len, bool protect)
{
	struct uffdio_writeprotect wp = { .range = { addr, len },
					  .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };
	size_t half = ROUND_UP(len / 2, MAP_PAGE);

	if (!map_fault_protects() || RAW(ioctl, uffd, UFFDIO_WRITEPROTECT, &wp) >= 0 || len <= MAP_PAGE)
		return;
	map_fault_protect(addr, half, protect);
	map_fault_protect(addr + half, len - half, protect);
}

static void wake(uintptr_t addr, size_t len)
{
	struct uffdio_range range = { addr, len };

	RAW(ioctl, uffd, UFFDIO_WAKE, &range);
}

/* --- Putting pages in ---------------------------------------------------------------------- */

/* 0, or an error that the first page met. Pages that are there already stay. */
static int put_pages(uintptr_t addr, const char *buf, size_t n, bool protect)
{
	size_t step = n; /* see map_fault_protect */
	int r, first = 0;

	for (size_t done = 0; done < n;) {
		struct uffdio_copy c = { .dst = addr + done, .src = (uintptr_t)buf + done,
					 .len = MIN(step, n - done), .mode = UFFDIO_COPY_MODE_DONTWAKE };

		if (protect)
			c.mode |= UFFDIO_COPY_MODE_WP;
		r = (int)RAW(ioctl, uffd, UFFDIO_COPY, &c);
		if (c.copy > 0) {
			done += (size_t)c.copy;
		} else if (r == -ENOENT && c.len > MAP_PAGE) {
			step = MAP_PAGE;
		} else if (r == -EEXIST || r == -ENOENT) {
			first = r == -ENOENT && done == 0 ? r : first;
			done += MAP_PAGE;
		} else if (r != -EAGAIN) {
			first = done == 0 ? r : 0;
			break;
		}
	}
	return first;
}

/* --- One fault ----------------------------------------------------------------------------- */

struct fault {
	uintptr_t page, addr; /* addr: where the load begins */
	size_t n, wanted; /* bytes to load, at first */
	off_t offset; /* in the file, of addr */
	struct map_object *object;
	struct map_private *private;
	struct ff3fs_file *file;
	uint64_t id;
	int tid;
};

/* What to load: from the page on if it is where the last load ended, else the granule around it. */
static void choose(struct map_region *r, struct fault *f)
{
	off_t at = r->offset + (off_t)(f->page - r->addr), from, to;
	size_t max = MAX(MIN(WINDOW_MAX, ROUND_DOWN(map_memory() / 8, GRANULE)), GRANULE);

	if (r->next_fault >= 0 && at >= r->next_fault && at < r->next_fault + (off_t)GRANULE) {
		r->window = MIN(r->window * 2, max);
		from = at;
	} else {
		r->window = GRANULE;
		from = MAX((off_t)ROUND_DOWN((uint64_t)at, GRANULE), r->offset);
	}
	to = MIN(from + (off_t)r->window, r->offset + (off_t)r->len);
	r->next_fault = to;
	f->offset = from;
	f->addr = r->addr + (uintptr_t)(from - r->offset);
	f->n = (size_t)(to - from);
}

static bool find(struct fault *f)
{
	struct map_region *r;

	map_lock();
	r = map_region_at(f->page);
	if (!r || !r->lazy) {
		map_unlock();
		return false;
	}
	choose(r, f);
	f->object = r->object;
	f->private = r->private;
	f->id = map_region_id(r);
	if (f->object)
		atomic_fetch_add(&f->object->refs, 1);
	else
		atomic_fetch_add(&f->private->refs, 1);
	f->file = CALL(file_ref, f->object ? f->object->file : f->private->file);
	map_unlock();
	return true;
}

/* Reads what f names. Sets the count to whole pages, zeros behind the end of the file. */
static int read_around(struct fault *f, char *buf)
{
	size_t done = 0;
	off_t end = f->object ? map_object_size(f->object) : f->private->base + (off_t)f->private->size;

	if (f->offset + (off_t)f->n > end)
		f->n = f->offset < end ? (size_t)(end - f->offset) : 0;
	while (done < f->n) {
		ssize_t r = CALL(pread, f->file, buf + done, f->n - done, f->offset + (off_t)done);

		if (r < 0)
			return (int)r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	f->n = ROUND_UP(done, MAP_PAGE);
	memset(buf + done, 0, f->n - done);
	return f->addr + f->n > f->page ? 0 : -ENXIO; /* it is behind the end */
}

/* Into an object: nothing that a call has overwritten meanwhile. */
static int load_shared(struct fault *f, char *buf)
{
	size_t wanted = f->n;
	uint64_t before, saved;

	for (int tries = 0;; tries++) {
		bool last = tries == 3, same;
		int r;

		f->n = wanted;
		if (last)
			map_object_lock(f->object, &saved);
		before = map_object_sequence(f->object, f->offset, wanted);
		r = read_around(f, buf);
		if (!last)
			map_object_lock(f->object, &saved);
		same = last || map_object_sequence(f->object, f->offset, wanted) == before;
		if (r == 0 && same) {
			map_object_settle(f->object, buf, f->offset, f->n);
			r = put_pages(f->addr, buf, f->n, false);
		}
		map_object_unlock(f->object, &saved);
		if (r < 0 || same)
			return r;
	}
}

static int load_private(struct fault *f, char *buf)
{
	int r = read_around(f, buf);

	map_refuse_hold();
	if (r == 0)
		r = put_pages(f->addr, buf, f->n, map_fault_protects());
	map_refuse_let_go();
	return r;
}

static void narrow(struct fault *f)
{
	size_t skipped = ROUND_DOWN(f->page - f->addr, GRANULE);

	f->addr += skipped;
	f->offset += (off_t)skipped;
	f->n = MIN(GRANULE, f->wanted - skipped);
}

static void serve_missing(struct fault *f, char *buf)
{
	size_t room;
	int r;

	if (!find(f)) {
		wake(f->page, MAP_PAGE);
		return;
	}
	room = f->wanted = f->n;
	map_evict_make_room(room);
	r = f->object ? load_shared(f, buf) : load_private(f, buf);
	/* What cannot be read may be of another chunk than the page. */
	if (r < 0 && r != -ENOENT && room > GRANULE) {
		narrow(f);
		r = f->object ? load_shared(f, buf) : load_private(f, buf);
	}
	if (r < 0) {
		if (r != -ENOENT) /* else it was unmapped meanwhile */
			map_refuse(uffd, f->page, f->id, f->tid);
		wake(f->page, MAP_PAGE);
	} else {
		wake(f->addr, f->n);
	}
	map_evict_loaded(f->id, f->offset, r < 0 ? 0 : f->n, room);
	CALL(close, f->file);
	if (f->object)
		map_object_unref(f->object);
	else
		map_private_unref(f->private);
}

/* A store into a page that was loaded: from now on it cannot be dropped. */
static void serve_store(struct fault *f)
{
	uintptr_t from = f->page, to = f->page + MAP_PAGE;
	struct map_region *r;

	map_lock();
	r = map_region_at(f->page);
	if (r && r->lazy && r->private) {
		off_t at = r->offset + (off_t)(f->page - r->addr);

		/* who stores one page after the other needs not come for each */
		if (f->page > r->addr && map_private_is_dirty(r->private, at - (off_t)MAP_PAGE))
			to = MIN(r->addr + r->len, ROUND_DOWN(f->page, GRANULE) + GRANULE);
		if (!r->private->stored) /* children must inherit it now */
			map_private_inherit(r->private);
		map_private_set_dirty(r->private, at, to - from, true);
	} else if (r && r->object && map_evict_is_under_way(r->object->id, r->offset +
							   (off_t)(f->page - r->addr))) {
		to = from; /* let go when the page is gone */
	}
	if (to > from)
		map_fault_protect(from, to - from, false);
	map_unlock();
}

/* --- Threads ------------------------------------------------------------------------------- */

static void *fault_main(void *arg);

static int start_thread(void)
{
	uint64_t all = RAW_ALL_SIGNALS, saved;
	char before;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	n_threads++;
	RAW(rt_sigprocmask, SIG_BLOCK, &all, &saved, 8);
	before = dispatch_enter(); /* the thread is ours */
	r = pthread_create(&thread, &attr, fault_main, NULL);
	dispatch_leave(before);
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, 0, 8);
	pthread_attr_destroy(&attr);
	if (r != 0)
		n_threads--;
	return r == 0 ? 0 : -ENODEV;
}

static bool next_fault(struct fault *f, bool *ret_store)
{
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	int clear_ms = map_refuse_clear();
	struct timespec limit = { .tv_nsec = clear_ms * 1000000l };
	struct uffd_msg msg;
	long n;

	RAW(ppoll, &p, 1, clear_ms >= 0 ? &limit : NULL, NULL, 8);
	map_refuse_clear();
	n = RAW(read, uffd, &msg, sizeof msg);
	if (n != sizeof msg || msg.event != UFFD_EVENT_PAGEFAULT)
		return false;
	*f = (struct fault){ .page = ROUND_DOWN((uintptr_t)msg.arg.pagefault.address, MAP_PAGE),
			     .tid = (int)msg.arg.pagefault.feat.ptid };
	*ret_store = msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP;
	return true;
}

static void *fault_main(void *arg)
{
	size_t size = MAX(MIN(WINDOW_MAX, ROUND_DOWN(map_memory() / 8, GRANULE)), GRANULE);
	long buf = RAW(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fault f;
	bool store;

	if (buf < 0 && buf > -4096)
		return arg;
	for (;;) {
		bool got;

		n_idle++;
		got = next_fault(&f, &store);
		n_idle--;
		if (!got)
			continue;
		if (!n_idle && n_threads < THREADS_MAX)
			start_thread();
		if (store)
			serve_store(&f);
		else
			serve_missing(&f, (char *)buf);
	}
	return arg;
}

int map_fault_start(void)
{
	int r = uffd < 0 ? open_uffd() : 0;

	return r < 0 || n_threads > 0 ? r : start_thread();
}

void map_fault_resume(void)
{
	if (map_n_lazy && uffd >= 0 && n_threads == 0)
		start_thread();
}

/* --- Fork ---------------------------------------------------------------------------------- */

bool map_fault_map_anew(const struct map_region *r)
{
	long m = r->object ? RAW(mmap, r->addr, r->len, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
				 r->object->data, r->offset) :
			     RAW(mmap, r->addr, r->len, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
				 r->private->memfd, r->offset - r->private->base);

	if ((m < 0 && m > -4096) || map_fault_register(r) < 0)
		return false;
	if (r->object || !r->private->stored)
		RAW(madvise, r->addr, r->len, MADV_DONTFORK);
	return RAW(mprotect, r->addr, r->len, r->prot) == 0;
}

/* What was not inherited is mapped again; what was is registered. Either must not be touched if that
 * fails. */
static void restore(struct map_region *r)
{
	bool inherited = r->private && r->private->stored;

	if (uffd < 0 || !(inherited ? map_fault_register(r) >= 0 : map_fault_map_anew(r)))
		RAW(munmap, r->addr, r->len);
	else if (inherited)
		map_fault_protect(r->addr, r->len, true);
}

bool shared_map_has_faults(void)
{
	return uffd >= 0;
}

/* Also of a parent that has no such mapping any more: the next would be registered in its memory. */
void map_fault_after_fork(void)
{
	if (uffd < 0)
		return;
	fdtab_forget(uffd); /* it was the parent's memory's */
	raw_close(uffd);
	uffd = -1;
	n_threads = n_idle = 0;
	map_evict_forget();
	if (map_n_lazy)
		open_uffd();
	map_refuse_after_fork();
	for (struct map_region *r = map_regions; r; r = r->next)
		if (r->lazy)
			restore(r);
	if (!map_n_lazy)
		return;
	if (!fork_is_hooked())
		map_fault_resume();
}
