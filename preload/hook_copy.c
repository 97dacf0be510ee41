/* Purpose: copying between descriptors where one of them is ours: through a buffer, since the
 * kernel cannot. */
#include "hook.h"

#include <sys/mman.h>

#include "raw.h"

#define BUFFER (1ul << 20)
#define COPY_MAX (256ul << 20) /* of one copy_file_range: callers go on from a short count */

/* One side of a copy: a descriptor, at its own offset or at one given. */
struct side {
	int fd;
	struct ofd *o; /* NULL: native */
	off_t *at;     /* of ours; NULL: the descriptor's offset */
};

static ssize_t side_read(const struct side *s, void *buf, size_t n)
{
	struct iovec iov = { buf, n };

	if (s->o)
		return rw_read(s->fd, s->o, &iov, 1, s->at ? *s->at : -1);
	return s->at ? RAW(pread64, s->fd, buf, n, *s->at) : RAW(read, s->fd, buf, n);
}

static ssize_t side_write(const struct side *s, const void *buf, size_t n, off_t at)
{
	struct iovec iov = { (void *)(uintptr_t)buf, n };

	if (s->o)
		return rw_write(s->fd, s->o, &iov, 1, s->at ? at : -1);
	return s->at ? RAW(pwrite64, s->fd, buf, n, at) : RAW(write, s->fd, buf, n);
}

/* What was read but not taken goes back. */
static void unread(const struct side *s, size_t n)
{
	if (!s->at && n > 0) /* (a pipe cannot: what it gave is written to a file, wholly) */
		RAW(lseek, s->fd, -(off_t)n, SEEK_CUR);
}

static ssize_t copy_piece(const struct side *in, const struct side *out, char *buf, size_t n)
{
	ssize_t got = side_read(in, buf, n), put = 0;

	while (put < got) {
		ssize_t r = side_write(out, buf + put, (size_t)(got - put),
				       out->at ? *out->at + put : 0);

		if (r <= 0) {
			if (put > 0)
				break;
			unread(in, (size_t)got);
			return r < 0 ? r : -EIO;
		}
		put += r;
	}
	if (got < 0)
		return got;
	unread(in, (size_t)(got - put));
	if (in->at)
		*in->at += put;
	if (out->at)
		*out->at += put;
	return put;
}

static ssize_t copy(const struct side *in, const struct side *out, size_t n)
{
	size_t done = 0, size = MIN(MAX(n, 1ul), BUFFER);
	long buf = RAW(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t r = 0;

	if (buf < 0 && buf > -4096)
		return buf;
	while (done < n) {
		size_t piece = MIN(n - done, size);

		r = copy_piece(in, out, (char *)buf, piece);
		if (r <= 0)
			break;
		done += (size_t)r;
		if ((size_t)r < piece)
			break;
	}
	RAW(munmap, buf, size);
	return done > 0 ? (ssize_t)done : r;
}

/* Once, whatever there is: a pipe may give less than was asked for. */
static ssize_t copy_piece_of(const struct side *in, const struct side *out, size_t n)
{
	_cleanup_free_ char *buf = malloc(MAX(n, 1ul));

	return buf ? copy_piece(in, out, buf, n) : -ENOMEM;
}

static int take_offset(off_t *user, off_t *ours)
{
	if (!user)
		return 0;
	if (!memory_copy_in(ours, user, sizeof *ours))
		return -EFAULT;
	return *ours < 0 ? -EINVAL : 0;
}

static ssize_t give_offset(off_t *user, const off_t *ours, ssize_t r)
{
	if (r > 0 && user && !memory_copy_out(user, ours, sizeof *ours))
		return -EFAULT;
	return r;
}

/* A pipe or socket that nobody reads is none of the client's. */
static ssize_t told(const struct side *to, ssize_t r)
{
	return r == -EPIPE && !to->o ? hook_raw(r) : hook_result(r);
}

/* 0, or what the kernel would say to a descriptor: side by side, reading first. */
static int open_for(const struct side *s, bool write)
{
	struct ff3fs_attr a;
	long flags;
	int r;

	if (!s->o) {
		flags = RAW(fcntl, s->fd, F_GETFL);
		if (flags < 0)
			return (int)flags;
		return (flags & O_PATH) || (flags & O_ACCMODE) == (write ? O_RDONLY : O_WRONLY) ? -EBADF :
												  0;
	}
	if (!(write ? ofd_writes(s->o) : ofd_reads(s->o)))
		return -EBADF;
	r = write ? 0 : stat_ofd(s->o, &a);
	return r < 0 ? r : !write && S_ISDIR(a.mode) ? -EISDIR : 0;
}

static bool appends(const struct side *s)
{
	return s->o ? s->o->flags & O_APPEND : RAW(fcntl, s->fd, F_GETFL) & O_APPEND;
}

static mode_t type_of(const struct side *s)
{
	struct stat st;

	if (s->o)
		return S_IFREG; /* or a directory, of which open_for has told */
	return REAL(fstat)(s->fd, &st) < 0 ? 0 : st.st_mode & S_IFMT;
}

/* From a regular file, or something that a position can be given for; not to the end of one. */
static int sendfile_allowed(const struct side *from, const struct side *to, size_t n)
{
	int r = open_for(from, false), r_to;
	mode_t type;

	if (r < 0 && r != -EISDIR)
		return r;
	if (from->at && !from->o && RAW(lseek, from->fd, 0, SEEK_CUR) == -ESPIPE)
		return -ESPIPE;
	r_to = open_for(to, true);
	if (r_to < 0)
		return r_to;
	if (appends(to))
		return -EINVAL;
	if (n == 0 && from->o) /* whatever it is */
		return 0;
	if (r < 0)
		return -EINVAL;
	type = type_of(from);
	return type != S_IFREG && type != S_IFBLK ? -EINVAL : 0;
}

ssize_t hook_sendfile(int out, int in, off_t *offset, size_t n)
{
	_cleanup_ofd_ struct ofd *o_in = NULL, *o_out = NULL;
	int r_in = fdtab_get(in, &o_in), r_out = fdtab_get(out, &o_out), r;
	off_t at;
	struct side from = { in, o_in, offset ? &at : NULL }, to = { out, o_out, NULL };

	if (LIKELY(r_in == 0 && r_out == 0))
		return REAL(sendfile)(out, in, offset, n);
	r = r_in < 0 ? r_in : r_out < 0 ? r_out : take_offset(offset, &at);
	if (r == 0)
		r = sendfile_allowed(&from, &to, n);
	if (r == 0 && (ssize_t)n < 0)
		r = -EINVAL;
	if (r < 0)
		return hook_result(r);
	return told(&to, give_offset(offset, &at, copy(&from, &to, MIN(n, COPY_MAX))));
}

static off_t where_is(const struct side *s)
{
	return s->at ? *s->at : (off_t)RAW(lseek, s->fd, 0, SEEK_CUR);
}

/* What O_PATH gives is no descriptor for most calls. */
static bool is_path(const struct side *s)
{
	return s->o ? !s->o->file : RAW(fcntl, s->fd, F_GETFL) & O_PATH;
}

/* Regular files both, in ranges that exist and do not overlap. Cuts *n at the end of the first. */
static int copy_allowed(const struct side *from, const struct side *to, size_t *n)
{
	mode_t in_type = type_of(from), out_type = type_of(to);
	off_t in_at = where_is(from), out_at = where_is(to);
	struct ff3fs_attr a;
	struct stat st = { 0 };
	int r = open_for(from, false);

	if (is_path(from) || is_path(to))
		return -EBADF;
	if (r == -EISDIR || in_type == S_IFDIR || out_type == S_IFDIR ||
	    (to->o && stat_ofd(to->o, &a) == 0 && S_ISDIR(a.mode)))
		return -EISDIR;
	if (in_type != S_IFREG || out_type != S_IFREG)
		return -EINVAL;
	if (r == 0)
		r = open_for(to, true);
	if (r == 0 && appends(to))
		r = -EBADF;
	if (r < 0)
		return r;
	if ((uint64_t)in_at + *n < *n || (uint64_t)out_at + *n < *n)
		return -EOVERFLOW;
	if (hook_fstat(from->fd, &st) < 0)
		return -errno;
	*n = in_at >= st.st_size ? 0 : MIN(*n, (size_t)(st.st_size - in_at));
	if (!from->o || !to->o || from->o->ino != to->o->ino)
		return 0;
	return out_at < in_at + (off_t)*n && in_at < out_at + (off_t)*n ? -EINVAL : 0;
}

ssize_t hook_copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
			     unsigned flags)
{
	_cleanup_ofd_ struct ofd *o_in = NULL, *o_out = NULL;
	int r_in = fdtab_get(in, &o_in), r_out = fdtab_get(out, &o_out), r;
	off_t from_at, to_at;
	struct side from = { in, o_in, in_offset ? &from_at : NULL };
	struct side to = { out, o_out, out_offset ? &to_at : NULL };
	ssize_t done;

	if (LIKELY(r_in == 0 && r_out == 0))
		return REAL(copy_file_range)(in, in_offset, out, out_offset, n, flags);
	r = r_in < 0 ? r_in : r_out < 0 ? r_out : 0;
	if (r == 0)
		r = RAW(fcntl, in, F_GETFD) < 0 || RAW(fcntl, out, F_GETFD) < 0 ? -EBADF : 0;
	if (r == 0 && ((in_offset && !memory_copy_in(&from_at, in_offset, sizeof from_at)) ||
		       (out_offset && !memory_copy_in(&to_at, out_offset, sizeof to_at))))
		r = -EFAULT;
	if (r == 0)
		r = flags ? -EINVAL : copy_allowed(&from, &to, &n);
	if (r < 0)
		return hook_result(r);
	done = copy(&from, &to, MIN(n, COPY_MAX));
	done = give_offset(in_offset, &from_at, done);
	return hook_result(give_offset(out_offset, &to_at, done));
}

static bool is_pipe(int fd)
{
	struct stat st;

	return REAL(fstat)(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* At most what a pipe holds, so that the writing side does not block in the middle. */
#define SPLICE_MAX (64ul << 10)

ssize_t hook_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
		    unsigned flags)
{
	_cleanup_ofd_ struct ofd *o_in = NULL, *o_out = NULL;
	int r_in = fdtab_get(in, &o_in), r_out = fdtab_get(out, &o_out), r;
	off_t from_at, to_at;
	struct side from = { in, o_in, in_offset ? &from_at : NULL };
	struct side to = { out, o_out, out_offset ? &to_at : NULL };
	ssize_t done;

	if (LIKELY(r_in == 0 && r_out == 0))
		return REAL(splice)(in, in_offset, out, out_offset, n, flags);
	r = r_in < 0 ? r_in : r_out < 0 ? r_out : 0;
	if (n == 0)
		return 0;
	if (r == 0 && ((flags & ~0xfu) || (ssize_t)n < 0))
		r = -EINVAL;
	if (r == 0)
		r = open_for(&from, false);
	if (r == 0)
		r = open_for(&to, true);
	if (r == 0 && ((o_in && o_out) || !is_pipe(o_in ? out : in) || appends(&to)))
		r = -EINVAL;
	if (r == 0 && ((in_offset && !o_in) || (out_offset && !o_out)))
		r = -ESPIPE; /* a pipe has none */
	if (r == 0)
		r = take_offset(in_offset, &from_at);
	if (r == 0)
		r = take_offset(out_offset, &to_at);
	if (r < 0)
		return hook_result(r);
	done = copy_piece_of(&from, &to, MIN(n, SPLICE_MAX));
	done = give_offset(in_offset, &from_at, done);
	return told(&to, give_offset(out_offset, &to_at, done));
}

DEFINE_ALIASES(copy)
