/* Purpose: data and offsets of our files. The offset is the placeholder's own, in the kernel, so
 * that dup, fork and exec share it for nothing: a read or write first reserves its range by one
 * lseek and gives back what it did not use. (Long because the forms of read and write have their core in
 * common.) */
#include "hook.h"

#include <sys/mman.h>

#include "raw.h"
#include "shared_map.h"

#define RW_MAX 0x7ffff000ul /* as the kernel's: one call moves no more */

/* --- One read or write --------------------------------------------------------------------- */

/* Sum of the lengths, or -EINVAL. */
static ssize_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > SSIZE_MAX - sum)
			return -EINVAL;
		sum += iov[i].iov_len;
	}
	return (ssize_t)sum;
}

/* Advances the shared offset by n and returns where it was. */
static off_t reserve(int fd, size_t n)
{
	off_t end = (off_t)RAW(lseek, fd, n, SEEK_CUR);

	return end < 0 ? end : end - (off_t)n;
}

static void give_back(int fd, size_t n)
{
	if (n > 0)
		RAW(lseek, fd, -(off_t)n, SEEK_CUR);
}

#define BOUNCE_MAX (64ul << 20)

/* Into memory of ours first: the caller's turned out to be bad in part, which the kernel fills as far as
 * it is good; or to change under the checksums, as when several buffers of a vector, or those of
 * several threads, are one. */
static ssize_t read_bounced(struct ofd *o, const struct iovec *iov, int n, size_t sum, off_t at)
{
	_cleanup_free_ char *buf = malloc(MIN(sum, BOUNCE_MAX));
	ssize_t got, done = 0;

	if (!buf)
		return -ENOMEM;
	got = CALL(pread, o->file, buf, MIN(sum, BOUNCE_MAX), at);
	memory_forget();
	for (int i = 0; i < n && done < got; i++)
		for (size_t k = 0; k < iov[i].iov_len && done < got;) {
			char *to = (char *)iov[i].iov_base + k;
			size_t page = 4096 - ((uintptr_t)to & 4095);
			size_t part = MIN(MIN(page, iov[i].iov_len - k), (size_t)(got - done));

			if (!memory_copy_out(to, buf + done, part))
				return done > 0 ? done : -EFAULT;
			k += part;
			done += (ssize_t)part;
		}
	return got < 0 ? got : done;
}

ssize_t rw_read(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset)
{
	struct iovec one;
	ssize_t sum = total(iov, n), r;
	off_t at = offset;

	if (!ofd_reads(o))
		return -EBADF;
	if (sum < 0)
		return sum;
	if (offset > INT64_MAX - sum)
		return -EINVAL;
	if ((size_t)sum > RW_MAX) { /* rare: the first piece that fits */
		one = (struct iovec){ iov[0].iov_base, MIN(iov[0].iov_len, RW_MAX) };
		iov = &one;
		n = 1;
		sum = (ssize_t)one.iov_len;
	}
	if (offset < 0) {
		at = reserve(fd, (size_t)sum);
		if (at < 0)
			return at;
	}
	shared_map_touch(iov, n, true);
	r = shared_map_send(o->ino, at, (size_t)sum);
	if (r == 0)
		r = n == 1 ? CALL(pread, o->file, iov[0].iov_base, (size_t)sum, at) :
			     CALL(preadv, o->file, iov, n, at);
	if (UNLIKELY(r == -EFAULT) || UNLIKELY(r == -EIO && (size_t)sum <= BOUNCE_MAX))
		r = read_bounced(o, iov, n, (size_t)sum, at);
	if (offset < 0)
		give_back(fd, (size_t)(r < 0 ? sum : sum - r));
	return r;
}

/* Into the cluster, then into mappings: who loads must find it. held, mark: as before the write. A process that
 * stores into shared memory may tell others of a write, and be killed: it keeps none back. */
static ssize_t written(struct ofd *o, const struct iovec *iov, int n, off_t at, ssize_t r, bool held,
		       uint32_t mark)
{
	bool met = held || shared_map_is_mapped(o->ino) || shared_map_mark(o->ino) != mark;
	int e;

	if (!held && (r <= 0 || LIKELY(!map_n_writers && !met)))
		return r;
	e = r > 0 ? CALL(flush, o->file) : 0;
	if (held)
		shared_map_release_written(iov, n, at, e < 0 || r < 0 ? 0 : (size_t)r);
	else if (e == 0 && met)
		e = shared_map_written_slow(o->ino, mark, iov, n, at, (size_t)r);
	return e < 0 ? e : r;
}

static ssize_t append(int fd, struct ofd *o, const struct iovec *iov, int n, bool move)
{
	uint32_t mark = shared_map_mark(o->ino);
	bool held = shared_map_hold(o->ino);
	ssize_t r = held ? shared_map_send_held(0, 0) : 0;
	off_t at = 0;

	if (r == 0)
		r = CALL(append, o->file, iov, n, &at);
	if (r >= 0 && move)
		RAW(lseek, fd, at + r, SEEK_SET);
	return written(o, iov, n, at, r, held, mark);
}

static ssize_t write_at(struct ofd *o, const struct iovec *iov, int n, size_t sum, off_t at)
{
	uint32_t mark = shared_map_mark(o->ino);
	bool held = shared_map_hold(o->ino);
	ssize_t r = held ? shared_map_send_held(at, sum) : 0;

	if (r == 0 && held)
		shared_map_ahead(iov, n, at, sum);
	if (r == 0)
		r = n == 1 ? CALL(pwrite, o->file, iov[0].iov_base, sum, at) :
			     CALL(pwritev, o->file, iov, n, at);
	return written(o, iov, n, at, r, held, mark);
}

/* Under RLIMIT_FSIZE: the vector is cut to what may be written, of one buffer at most if all of it may
 * not. Returns its length. offset: -1: the descriptor's, -2: the end. */
static ssize_t limited(int fd, struct ofd *o, const struct iovec **iov, int *n, struct iovec *one,
		       off_t offset, ssize_t sum)
{
	struct ff3fs_attr a;
	ssize_t r;

	if (offset == -2) {
		r = stat_ofd(o, &a);
		if (r < 0)
			return r;
		offset = (off_t)a.size;
	} else if (offset == -1) {
		offset = (off_t)RAW(lseek, fd, 0, SEEK_CUR);
	}
	r = space_within_limit(offset, sum);
	if (r < 0 || r == sum)
		return r;
	while ((*iov)->iov_len == 0) {
		++*iov;
		--*n;
	}
	*one = (struct iovec){ (*iov)->iov_base, MIN((*iov)->iov_len, (size_t)r) };
	*iov = one;
	*n = 1;
	return (ssize_t)one->iov_len;
}

static ssize_t write_to(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset,
			bool at_end)
{
	struct iovec one;
	ssize_t sum = total(iov, n), r;
	off_t at = offset;

	if (!ofd_writes(o))
		return -EBADF;
	if (sum < 0)
		return sum;
	if (offset > INT64_MAX - sum)
		return -EINVAL;
	if ((size_t)sum > RW_MAX) {
		one = (struct iovec){ iov[0].iov_base, MIN(iov[0].iov_len, RW_MAX) };
		iov = &one;
		n = 1;
		sum = (ssize_t)one.iov_len;
	}
	if (sum == 0)
		return 0;
	if (UNLIKELY(space_limited())) {
		r = limited(fd, o, &iov, &n, &one, at_end ? -2 : offset, sum);
		if (r < 0)
			return r;
		sum = r;
	}
	shared_map_touch(iov, n, false);
	if (at_end) {
		r = append(fd, o, iov, n, offset < 0);
	} else {
		if (offset < 0) {
			at = reserve(fd, (size_t)sum);
			if (at < 0)
				return at;
		}
		r = write_at(o, iov, n, (size_t)sum, at);
		if (offset < 0)
			give_back(fd, (size_t)(r < 0 ? sum : sum - r));
	}
	if (UNLIKELY(init_exiting) && r > 0) {
		int flushed = CALL(flush, o->file);

		r = flushed < 0 ? flushed : r;
	}
	return r;
}

/* How much of the vector can be read, from its beginning. */
static size_t readable_part(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		uintptr_t p = (uintptr_t)iov[i].iov_base;
		size_t left = iov[i].iov_len, here;

		for (; left > 0 && memory_readable((const char *)p); p += here, left -= here) {
			here = MIN(left, 4096 - p % 4096);
			sum += here;
		}
		if (left > 0)
			break;
	}
	return sum;
}

/* A buffer turned out to be bad: as the kernel does, what comes before the bad part is written. */
static ssize_t write_good_part(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset,
			       bool at_end)
{
	size_t good, len;
	struct iovec *part;
	ssize_t r;

	memory_forget();
	good = readable_part(iov, n);
	part = good ? malloc((size_t)n * sizeof *part) : NULL;
	if (!part)
		return -EFAULT;
	memcpy(part, iov, (size_t)n * sizeof *part);
	n = 0;
	for (len = good; len > 0; len -= part[n++].iov_len)
		part[n].iov_len = MIN(part[n].iov_len, len);
	r = write_to(fd, o, part, n, offset, at_end);
	free(part);
	return r;
}

static ssize_t write_or_part(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset,
			     bool at_end)
{
	ssize_t r = write_to(fd, o, iov, n, offset, at_end);

	return UNLIKELY(r == -EFAULT) ? write_good_part(fd, o, iov, n, offset, at_end) : r;
}

ssize_t rw_write(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset)
{
	return write_or_part(fd, o, iov, n, offset, o->flags & O_APPEND);
}

/* RWF_*: hints, durability and the end of the file can be had. */
#define RWF_HIPRI_ 1
#define RWF_DSYNC_ 2
#define RWF_SYNC_ 4
#define RWF_APPEND_ 16
#define RWF_NOAPPEND_ 32

int rw_check_flags(const struct ofd *o, int rwf)
{
	if (rwf & ~(RWF_HIPRI_ | RWF_DSYNC_ | RWF_SYNC_ | RWF_APPEND_ | RWF_NOAPPEND_))
		return -EOPNOTSUPP;
	if (!(rwf & RWF_NOAPPEND_))
		return 0;
	return rwf & RWF_APPEND_ ? -EINVAL : o->flags & O_APPEND ? -EOPNOTSUPP : 0;
}

ssize_t rw_read_with(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset, int rwf)
{
	int r = rw_check_flags(o, rwf); /* and none but the first means anything */

	/* Of a directory, too, as long as nothing is asked for. */
	return r < 0 || n == 0 || (ofd_reads(o) && total(iov, n) == 0) ? r : rw_read(fd, o, iov, n, offset);
}

ssize_t rw_write_with(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset, int rwf)
{
	bool at_end = (o->flags & O_APPEND) || (rwf & RWF_APPEND_);
	ssize_t r = rw_check_flags(o, rwf);
	int synced;

	if (r < 0 || n == 0)
		return r;
	r = write_or_part(fd, o, iov, n, offset, at_end);
	if (r > 0 && (rwf & (RWF_DSYNC_ | RWF_SYNC_))) {
		synced = CALL(fsync, o->file);
		r = synced < 0 ? synced : r;
	}
	return r;
}

/* --- read(2) and its family ---------------------------------------------------------------- */

/* The caller's vector, in memory of ours. */
struct vector {
	struct iovec *iov, some[16];
};

static int vector_take(struct vector *v, const struct iovec *iov, int n)
{
	v->iov = v->some;
	if (n < 0 || n > IOV_MAX)
		return -EINVAL;
	if (n > (int)ARRAY_SIZE(v->some)) {
		v->iov = malloc((size_t)n * sizeof *iov);
		if (!v->iov)
			return -ENOMEM;
	}
	if (!memory_copy_in(v->iov, iov, (size_t)n * sizeof *iov))
		return -EFAULT;
	return 0;
}

static void vector_done(struct vector *v)
{
	if (v->iov != v->some)
		free(v->iov);
}

#define IS_OURS(o, fd)                                                                             \
	_cleanup_ofd_ struct ofd *o = NULL;                                                        \
	int ours = fdtab_get_for_io(fd, &o)

static ssize_t one_read(int fd, struct ofd *o, void *buf, size_t n, off_t offset)
{
	struct iovec iov = { buf, n };

	return rw_read(fd, o, &iov, 1, offset);
}

static ssize_t one_write(int fd, struct ofd *o, const void *buf, size_t n, off_t offset)
{
	struct iovec iov = { (void *)(uintptr_t)buf, n };

	return rw_write(fd, o, &iov, 1, offset);
}

static ssize_t many(int fd, struct ofd *o, const struct iovec *iov, int n, off_t offset, bool write,
		    int rwf)
{
	struct vector v;
	ssize_t r;

	if (!(write ? ofd_writes(o) : ofd_reads(o)))
		return -EBADF;
	r = vector_take(&v, iov, n);

	if (r >= 0)
		r = write ? rw_write_with(fd, o, v.iov, n, offset, rwf) :
			    rw_read_with(fd, o, v.iov, n, offset, rwf);
	vector_done(&v);
	return r;
}

/* Those that are called most do nothing for a native descriptor but look, not even make a frame; what
 * follows is for the others. */
#define NATIVE_FIRST(ret, name, params, args)                                                      \
	static NOINLINE ret looked_up_##name params;                                               \
	ret hook_##name params                                                                     \
	{                                                                                          \
		return fdtab_is_native(fd) ? REAL(name) args : looked_up_##name args;              \
	}                                                                                          \
	static NOINLINE ret looked_up_##name params

NATIVE_FIRST(ssize_t, read, (int fd, void *buf, size_t n), (fd, buf, n))
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(read)(fd, buf, n);
	return hook_result(ours < 0 ? ours : one_read(fd, o, buf, n, -1));
}

ssize_t hook___read_chk(int fd, void *buf, size_t n, size_t size)
{
	if (n > size)
		return REAL(__read_chk)(fd, buf, n, size); /* aborts */
	return hook_read(fd, buf, n);
}

NATIVE_FIRST(ssize_t, pread, (int fd, void *buf, size_t n, off_t offset), (fd, buf, n, offset))
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(pread)(fd, buf, n, offset);
	if (offset < 0)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : one_read(fd, o, buf, n, offset));
}

ssize_t hook___pread_chk(int fd, void *buf, size_t n, off_t offset, size_t size)
{
	if (n > size)
		return REAL(__pread_chk)(fd, buf, n, offset, size);
	return hook_pread(fd, buf, n, offset);
}

ssize_t hook_readv(int fd, const struct iovec *iov, int n)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(readv)(fd, iov, n);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, -1, false, 0));
}

ssize_t hook_preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(preadv)(fd, iov, n, offset);
	if (offset < 0)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, offset, false, 0));
}

ssize_t hook_preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(preadv2)(fd, iov, n, offset, flags);
	if (offset < -1)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, offset, false, flags));
}

NATIVE_FIRST(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n))
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(write)(fd, buf, n);
	return hook_result(ours < 0 ? ours : one_write(fd, o, buf, n, -1));
}

NATIVE_FIRST(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t offset), (fd, buf, n, offset))
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(pwrite)(fd, buf, n, offset);
	if (offset < 0)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : one_write(fd, o, buf, n, offset));
}

ssize_t hook_writev(int fd, const struct iovec *iov, int n)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(writev)(fd, iov, n);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, -1, true, 0));
}

ssize_t hook_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(pwritev)(fd, iov, n, offset);
	if (offset < 0)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, offset, true, 0));
}

ssize_t hook_pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(pwritev2)(fd, iov, n, offset, flags);
	if (offset < -1)
		return hook_result(-EINVAL);
	return hook_result(ours < 0 ? ours : many(fd, o, iov, n, offset, true, flags));
}

/* --- Offset, size, durability -------------------------------------------------------------- */

off_t rw_seek(int fd, struct ofd *o, off_t offset, int whence)
{
	struct ff3fs_attr a;
	off_t size;
	int r;

	/* Whoever seeks is going to read, or lets another process do it. */
	if (o->file && (o->flags & O_ACCMODE) != O_RDONLY && (offset || whence != SEEK_CUR)) {
		r = CALL(flush, o->file);
		if (r < 0)
			return r;
	}
	if (o->flags & O_PATH)
		return -EBADF;
	if (whence == SEEK_SET || whence == SEEK_CUR)
		return (off_t)RAW(lseek, fd, offset, whence);
	r = stat_ofd(o, &a);
	if (r < 0)
		return r;
	size = (off_t)a.size;
	switch (whence) {
	case SEEK_END:
		if ((offset > 0 && size > INT64_MAX - offset) || size + offset < 0)
			return -EINVAL;
		return (off_t)RAW(lseek, fd, size + offset, SEEK_SET);
	case SEEK_DATA: /* holes are not told from data: all of it is data, up to the end */
	case SEEK_HOLE:
		if (offset < 0 || offset >= size)
			return -ENXIO;
		return (off_t)RAW(lseek, fd, whence == SEEK_DATA ? offset : size, SEEK_SET);
	}
	return -EINVAL;
}

NATIVE_FIRST(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(lseek)(fd, offset, whence);
	return hook_result(ours < 0 ? ours : rw_seek(fd, o, offset, whence));
}

static int truncate_ours(struct where *w, off_t size)
{
	struct ff3fs_attr a;
	bool held = shared_map_any() && CALL(stat, w->fs, w->dir, w->path, 0, &a) == 0 &&
		    shared_map_hold(a.ino);
	int r;

	if (held)
		shared_map_ahead(NULL, 0, 0, (size_t)size);
	r = CALL(truncate, w->fs, w->dir, w->path, size);
	if (held)
		shared_map_release(r == 0 ? size : -1);
	return r;
}

int hook_truncate(const char *path, off_t size)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(truncate)(path, size), &w, AT_FDCWD, path, 0);
	if (size < 0)
		r = -EINVAL;
	if (r > 0 && space_limited() && size > 0 && space_within_limit(size - 1, 1) < 0)
		r = -EFBIG;
	while (r > 0)
		r = where_next(&w, truncate_ours(&w, size));
	return r == 0 && w.native ? REAL(truncate)(w.native, size) : (int)hook_result(r);
}

static int writable(struct ofd *o)
{
	if (!o->file)
		return -EBADF;
	return ofd_writes(o) ? 0 : -EINVAL;
}

int hook_ftruncate(int fd, off_t size)
{
	IS_OURS(o, fd);

	if (LIKELY(ours == 0))
		return REAL(ftruncate)(fd, size);
	if (ours > 0)
		ours = size < 0 ? -EINVAL : writable(o);
	if (ours == 0 && space_limited() && size > 0)
		ours = MIN((int)space_within_limit(size - 1, 1), 0);
	if (ours == 0) {
		bool held = shared_map_hold(o->ino);

		if (held)
			shared_map_ahead(NULL, 0, 0, (size_t)size);
		ours = CALL(ftruncate, o->file, size);
		if (held)
			shared_map_release(ours == 0 ? size : -1);
	}
	return (int)hook_result(ours);
}

DEFINE_ALIASES(rw)
