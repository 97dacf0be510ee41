/* Purpose: mapping our files, and loading shared objects from them.
 *
 * A mapping is a snapshot: the range is read at once, in parallel over the cluster, and what is
 * mapped is ordinary memory. That survives fork, can be given to system calls, and is what users of
 * large tensors ask for. A private mapping becomes anonymous memory, or a memfd if it reaches beyond
 * the end of the file, where access must fault. Shared ones are shared_map.c's. One larger than
 * FF3FS_MMAP_EAGER_MAX (default: half of the memory) is refused: ENODEV.
 *
 * Threads: `mutex` guards the list of loaded objects. */
#include "hook.h"

#include <linux/memfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "raw.h"
#include "shared_map.h"

#define PAGE 4096ul
#define PIECE (64ul << 20)

static size_t eager_max(void)
{
	static _Atomic size_t known;
	const char *s = getenv("FF3FS_MMAP_EAGER_MAX");
	char *end;
	double v;

	if (known)
		return known;
	v = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 2;
	if (s && *s) {
		static const char units[] = "KMGT";
		double given = strtod(s, &end);
		const char *unit = *end ? strchr(units, *end & ~32) : NULL;

		if (end != s && (!*end || unit))
			v = given * (unit ? (double)(1ull << (10 * (unit - units + 1))) : 1);
	}
	known = MAX((size_t)v, PAGE);
	return known;
}

/* Reads up to n bytes at offset to memory of ours. Count, or negative errno. */
static ssize_t load(struct ff3fs_file *file, char *to, size_t n, off_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = CALL(pread, file, to + done, MIN(n - done, PIECE), offset + (off_t)done);

		if (r < 0)
			return r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static bool is_error(long r)
{
	return r < 0 && r > -4096;
}

/* Private, wholly inside the file: anonymous memory. */
static long map_anonymous(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
			  size_t data)
{
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	int keep = flags & (MAP_NORESERVE | MAP_LOCKED | MAP_STACK | MAP_32BIT);
	long m = RAW(mmap, fixed ? NULL : addr, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | keep, -1, 0);
	long target;
	ssize_t r;

	if (is_error(m))
		return m;
	r = load(o->file, (char *)m, data, offset);
	if (r >= 0 && (size_t)r < data)
		r = -EAGAIN; /* it shrank meanwhile: what is missing must not be zeros */
	if (r >= 0 && prot != (PROT_READ | PROT_WRITE))
		r = RAW(mprotect, m, len, prot);
	if (r >= 0 && fixed) {
		/* Put in place only now that nothing can fail any more. */
		target = flags & MAP_FIXED_NOREPLACE ?
				 RAW(mmap, addr, len, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) :
				 (long)(uintptr_t)addr;
		r = is_error(target) ? target :
				       RAW(mremap, m, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, addr);
		if (!is_error(r))
			return r;
	}
	if (r < 0) {
		RAW(munmap, m, len);
		return r;
	}
	return m;
}

/* A memfd that holds the file's bytes [offset, offset + data). */
static int fill_memfd(struct ff3fs_file *file, off_t offset, size_t data)
{
	int fd = (int)RAW(memfd_create, "ff3fs-map", MFD_CLOEXEC);
	ssize_t r;
	long m;

	if (fd < 0)
		return fd;
	r = RAW(ftruncate, fd, data);
	m = r < 0 || data == 0 ? r : RAW(mmap, 0, data, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (is_error(m)) {
		raw_close(fd);
		return (int)m;
	}
	if (data > 0) {
		r = load(file, (char *)m, data, offset);
		RAW(munmap, m, data);
	}
	if (r >= 0 && (size_t)r < data)
		r = RAW(ftruncate, fd, r);
	if (r < 0) {
		raw_close(fd);
		return (int)r;
	}
	return fd;
}

static long map_memfd(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		      size_t data)
{
	char path[32];
	int fd = fill_memfd(o->file, offset, data), reader;
	long m;

	if (fd < 0)
		return fd;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	reader = raw_open(path, O_RDONLY | O_CLOEXEC);
	raw_close(fd);
	if (reader < 0)
		return reader;
	m = RAW(mmap, addr, len, prot, flags, reader, 0);
	raw_close(reader);
	return m;
}

static long map_ours(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset)
{
	int type = flags & MAP_TYPE, mode = o->flags & O_ACCMODE;
	struct ff3fs_attr a;
	size_t data;
	int r;

	if (!o->file)
		return -EBADF;
	if (mode == O_WRONLY)
		return -EACCES;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (type != MAP_PRIVATE && (prot & PROT_WRITE) && mode != O_RDWR)
		return -EACCES;
	if (len == 0 || (offset & (off_t)(PAGE - 1)) || offset < 0)
		return -EINVAL;
	len = ROUND_UP(len, PAGE);
	r = CALL(fstat, o->file, &a);
	if (r < 0)
		return r;
	if (!S_ISREG(a.mode))
		return -ENODEV;
	data = (uint64_t)offset >= a.size ? 0 : MIN(len, a.size - (size_t)offset);
	if (data > eager_max())
		return -ENODEV;
	r = shared_map_send(o->ino, offset, len);
	if (r < 0)
		return r;
	if (type != MAP_PRIVATE)
		return shared_map_new(o, addr, len, prot, flags, offset, data);
	if (ROUND_UP(data, PAGE) == len)
		return map_anonymous(o, addr, len, prot, flags, offset, data);
	return map_memfd(o, addr, len, prot, flags, offset, data);
}

void *hook_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	long r;
	int ours = flags & MAP_ANONYMOUS ? 0 : fdtab_get(fd, &o);

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
		memory_forget();
	if (UNLIKELY(shared_maps) && (flags & MAP_FIXED)) { /* in place of one of ours */
		shared_map_unmap_slow(addr, len, false);
		shared_map_unmap_slow(addr, len, true);
	}
	if (LIKELY(ours == 0))
		return REAL(mmap)(addr, len, prot, flags, fd, offset);
	r = ours < 0 ? ours : map_ours(o, addr, len, prot, flags, offset);
	return is_error(r) ? (hook_result(r), MAP_FAILED) : (void *)r;
}

int hook_munmap(void *addr, size_t len)
{
	int r;

	if (UNLIKELY(shared_maps))
		shared_map_unmap_slow(addr, len, false);
	r = REAL(munmap)(addr, len);
	memory_forget();
	if (UNLIKELY(shared_maps) && r == 0)
		shared_map_unmap_slow(addr, len, true);
	return r;
}

int hook_msync(void *addr, size_t len, int flags)
{
	int r = REAL(msync)(addr, len, flags);

	if (UNLIKELY(shared_maps_writable) && r == 0)
		r = (int)hook_result(shared_map_sync_slow(addr, len, flags & MS_SYNC));
	return r;
}

void *hook_mremap(void *addr, size_t old_len, size_t len, int flags, ...)
{
	va_list ap;
	void *to, *m;

	va_start(ap, flags);
	to = va_arg(ap, void *);
	va_end(ap);
	m = REAL(mremap)(addr, old_len, len, flags, to);
	memory_forget();
	if (UNLIKELY(shared_maps) && m != MAP_FAILED)
		shared_map_moved_slow(addr, m, len);
	return m;
}

int hook_mprotect(void *addr, size_t len, int prot)
{
	int r = REAL(mprotect)(addr, len, prot);

	if (!(prot & PROT_READ))
		memory_forget();
	return r;
}

/* --- Shared objects ------------------------------------------------------------------------ */

/* The linker opens files itself, by name: it gets the name of a memfd. The same object again must
 * be the same handle, so the memfds stay open. */
struct object {
	struct object *next;
	uint64_t ino, generation, size;
	struct timespec mtime;
	int fd;
};

static struct object *objects;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int object_fd(struct ff3fs_file *file, const struct ff3fs_attr *a)
{
	struct object *o;
	int fd, high;

	for (o = objects; o; o = o->next)
		if (o->ino == a->ino && o->generation == a->generation && o->size == a->size &&
		    o->mtime.tv_sec == a->mtime.tv_sec && o->mtime.tv_nsec == a->mtime.tv_nsec)
			return o->fd;
	fd = fill_memfd(file, 0, a->size);
	if (fd < 0)
		return fd;
	high = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 512);
	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	fdtab_set_internal(fd);
	o = malloc(sizeof *o);
	if (o) {
		*o = (struct object){ objects, a->ino, a->generation, a->size, a->mtime, fd };
		objects = o;
	}
	return fd;
}

/* A native name for a shared object of ours. */
static int object_path(const char *path, char out[PATH_MAX])
{
	int fd = hook_open(path, O_RDONLY | O_CLOEXEC), r;
	_cleanup_ofd_ struct ofd *o = NULL;
	struct ff3fs_attr a;

	if (fd < 0)
		return -errno;
	r = fdtab_get(fd, &o);
	if (r == 0) { /* a link led out */
		fd_close(fd);
		return -ENOENT;
	}
	if (r > 0)
		r = CALL(fstat, o->file, &a);
	if (r >= 0) {
		pthread_mutex_lock(&mutex);
		r = object_fd(o->file, &a);
		pthread_mutex_unlock(&mutex);
	}
	fd_close(fd);
	if (r >= 0)
		snprintf(out, PATH_MAX, "/proc/self/fd/%d", r);
	return r;
}

/* Kept apart so that hook_dlopen's last call stays a jump: the linker looks at who called it. */
static __attribute__((noinline)) void *load_object(const char *path, int mode)
{
	char native[PATH_MAX];

	return REAL(dlopen)(object_path(path, native) < 0 ? path : native, mode);
}

void *hook_dlopen(const char *path, int mode)
{
	if (UNLIKELY(path && strchr(path, '/') && where_is_ours(AT_FDCWD, path)))
		return load_object(path, mode);
	return REAL(dlopen)(path, mode);
}

DEFINE_ALIASES(map)
