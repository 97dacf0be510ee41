/* Purpose: what an application has registered with its rings (io_uring_register(2)): files, of which
 * we keep those that are ours; buffers; ring descriptors, which belong to a thread.
 *
 * The kernel registers the placeholder, so that its table has the same entries as ours.
 * Threads: tables are under their ring's lock. Fork: a child shares the ring, and keeps the tables. */
#include <sys/mman.h>

#include "hook.h"
#include "raw.h"
#include "uring.h"

/* --- Ring descriptors ---------------------------------------------------------------------- */

#define N_RING_FDS 16 /* the kernel has no more for a thread */

static __thread int ring_fds[N_RING_FDS] __attribute__((tls_model("initial-exec"))); /* fd + 1 */

void uring_ring_fds_set(unsigned index, int fd)
{
	if (index < N_RING_FDS)
		ring_fds[index] = fd + 1;
}

int uring_ring_fd(unsigned index)
{
	return index < N_RING_FDS ? ring_fds[index] - 1 : -1;
}

/* --- Tables -------------------------------------------------------------------------------- */

static int resize(void **table, uint32_t *n, unsigned want, size_t size)
{
	char *p;

	if (want <= *n)
		return 0;
	p = reallocarray(*table, want, size);
	if (!p)
		return -ENOMEM;
	memset(p + *n * size, 0, (want - *n) * size);
	*table = p;
	*n = want;
	return 0;
}

/* The lock is let go meanwhile: closing may write. */
static void drop(struct uring *r, unsigned index)
{
	struct uring_file f = r->files[index];
	struct ofd *o = NULL;

	if (!f.ofd)
		return;
	r->files[index] = (struct uring_file){ NULL, -1 };
	uring_unlock(r);
	/* Somebody may have closed it, with all others. */
	if (fdtab_get(f.fd, &o) > 0 && o == f.ofd)
		fd_close(f.fd);
	if (o)
		ofd_unref(o);
	ofd_unref(f.ofd);
	pthread_mutex_lock(&r->lock);
}

void uring_file_put(struct uring *r, unsigned index, int fd, struct ofd *o)
{
	if (index < r->n_files)
		drop(r, index);
	if (index < r->n_files)
		r->files[index] = (struct uring_file){ o, fd };
}

void uring_file_drop(struct uring *r, unsigned index)
{
	if (index < r->n_files)
		drop(r, index);
}

int uring_files_table(struct uring *r, unsigned n)
{
	return resize((void **)&r->files, &r->n_files, n, sizeof *r->files);
}

int uring_files_set(struct uring *r, unsigned offset, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n && offset + i < r->n_files; i++) {
		struct ofd *o = NULL;
		int mine;

		if (fds[i] == -2) /* IORING_REGISTER_FILES_SKIP */
			continue;
		drop(r, offset + i);
		if (fds[i] < 0 || fdtab_get(fds[i], &o) <= 0)
			continue;
		mine = fd_copy_hidden(fds[i]);
		if (mine < 0) {
			ofd_unref(o);
			return mine;
		}
		fdtab_set(mine, o);
		r->files[offset + i] = (struct uring_file){ o, mine };
	}
	return 0;
}

int uring_buffers_table(struct uring *r, unsigned n)
{
	return resize((void **)&r->buffers, &r->n_buffers, n, sizeof *r->buffers);
}

int uring_buffers_set(struct uring *r, unsigned offset, const struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n && offset + i < r->n_buffers; i++)
		r->buffers[offset + i] = iov[i];
	return 0;
}

static void files_free(struct uring *r)
{
	for (unsigned i = 0; i < r->n_files; i++)
		drop(r, i);
	free(r->files);
	r->files = NULL;
	r->n_files = 0;
}

static void buffers_free(struct uring *r)
{
	free(r->buffers);
	r->buffers = NULL;
	r->n_buffers = 0;
}

void uring_tables_free(struct uring *r)
{
	files_free(r);
	buffers_free(r);
}

/* --- io_uring_register(2) ------------------------------------------------------------------ */

/* Those that this file understands; numbers of the kernel's interface. */
enum {
	BUFFERS = 0,
	NO_BUFFERS = 1,
	FILES = 2,
	NO_FILES = 3,
	FILES_UPDATE = 6,
	RESTRICTIONS = 11,
	FILES2 = 13,
	FILES_UPDATE2 = 14,
	BUFFERS2 = 15,
	BUFFERS_UPDATE = 16,
	RING_FDS = 20,
	NO_RING_FDS = 21,
	CLONE_BUFFERS = 30,
	RESIZE_RINGS = 33,
	USE_REGISTERED_RING = 1u << 31,
};

struct rsrc_register {
	uint32_t n, flags;
	uint64_t resv, data, tags;
};

struct rsrc_update {
	uint32_t offset, resv;
	uint64_t data, tags;
	uint32_t n, resv2;
};

struct clone_buffers {
	uint32_t src_fd, flags, src_off, dst_off, n, pad[3];
};

#define RSRC_SPARSE 1u
#define CLONE_SRC_REGISTERED 1u
#define CLONE_REPLACE 2u

/* A copy of what the kernel was given; it has just read it, so it is readable. Zeros if sparse. */
static void *copied(uint64_t from, unsigned n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (p && from)
		memory_copy_in(p, (const void *)(uintptr_t)from, n * size);
	return p;
}

static void set_files(struct uring *r, unsigned offset, uint64_t data, unsigned n)
{
	_cleanup_free_ int *fds = data ? copied(data, n, sizeof *fds) : NULL;

	if (fds)
		uring_files_set(r, offset, fds, n);
}

static void set_buffers(struct uring *r, unsigned offset, uint64_t data, unsigned n)
{
	_cleanup_free_ struct iovec *iov = copied(data, n, sizeof *iov);

	if (iov)
		uring_buffers_set(r, offset, iov, n);
}

static void note_ring_fds(const struct rsrc_update *user, unsigned n, bool add)
{
	for (unsigned i = 0; i < n; i++)
		uring_ring_fds_set(user[i].offset, add ? (int)user[i].data : -1);
}

static void clone_from(struct uring *r, const struct clone_buffers *c)
{
	int from_fd = c->flags & CLONE_SRC_REGISTERED ? uring_ring_fd(c->src_fd) : (int)c->src_fd;
	_cleanup_free_ struct iovec *iov = NULL;
	struct uring *from;
	unsigned n;

	uring_unlock(r); /* one at a time */
	from = uring_find(from_fd);
	n = from && c->src_off < from->n_buffers ? from->n_buffers - c->src_off : 0;
	n = c->n ? MIN(n, c->n) : n;
	if (n > 0)
		iov = copied((uintptr_t)(from->buffers + c->src_off), n, sizeof *iov);
	if (from)
		uring_unlock(from);
	pthread_mutex_lock(&r->lock);
	if (iov && uring_buffers_table(r, c->dst_off + n) == 0)
		uring_buffers_set(r, c->dst_off, iov, n);
}

/* The kernel has accepted it. */
static void note(struct uring *r, unsigned opcode, const void *arg, unsigned n, long result)
{
	union {
		struct rsrc_register reg;
		struct rsrc_update update;
		struct clone_buffers clone;
	} u = { { 0 } };

	switch (opcode) {
	case FILES2:
	case BUFFERS2:
		memory_copy_in(&u.reg, arg, sizeof u.reg);
		break;
	case FILES_UPDATE:
		memory_copy_in(&u.update, arg, 16);
		break;
	case FILES_UPDATE2:
	case BUFFERS_UPDATE:
		memory_copy_in(&u.update, arg, sizeof u.update);
		break;
	case CLONE_BUFFERS:
		memory_copy_in(&u.clone, arg, sizeof u.clone);
	}
	switch (opcode) {
	case FILES:
		if (uring_files_table(r, n) == 0)
			set_files(r, 0, (uintptr_t)arg, n);
		break;
	case FILES2:
		if (uring_files_table(r, u.reg.n) == 0)
			set_files(r, 0, u.reg.data, u.reg.n);
		break;
	case FILES_UPDATE:
	case FILES_UPDATE2: /* the result says how many */
		set_files(r, u.update.offset, u.update.data, (unsigned)result);
		break;
	case NO_FILES:
		files_free(r);
		break;
	case BUFFERS:
		if (uring_buffers_table(r, n) == 0)
			set_buffers(r, 0, (uintptr_t)arg, n);
		break;
	case BUFFERS2:
		if (uring_buffers_table(r, u.reg.n) == 0)
			set_buffers(r, 0, u.reg.flags & RSRC_SPARSE ? 0 : u.reg.data, u.reg.n);
		break;
	case BUFFERS_UPDATE:
		set_buffers(r, u.update.offset, u.update.data, (unsigned)result);
		break;
	case NO_BUFFERS:
		buffers_free(r);
		break;
	case CLONE_BUFFERS:
		clone_from(r, &u.clone);
	}
}

void uring_registered(int fd, unsigned opcode, const void *arg, unsigned n, long result)
{
	struct uring *r = uring_find(fd);

	if (!r)
		return;
	note(r, opcode, arg, n, result);
	uring_unlock(r);
}

long uring_register(unsigned fd, unsigned opcode, void *arg, unsigned n)
{
	unsigned what = opcode & ~USE_REGISTERED_RING;
	int ring_fd = opcode & USE_REGISTERED_RING ? uring_ring_fd(fd) : (int)fd;
	struct uring *r = uring_find(ring_fd);
	long result;

	if (!r)
		return RAW(io_uring_register, fd, opcode, arg, n);
	uring_unlock(r);
	if (what == RESIZE_RINGS)
		return -EINVAL; /* as kernels before 6.13: the rings stay where they are */
	result = RAW(io_uring_register, fd, opcode, arg, n);
	if (result < 0)
		return result;
	if (what == RING_FDS || what == NO_RING_FDS)
		note_ring_fds(arg, (unsigned)result, what == RING_FDS);
	else if (what == RESTRICTIONS)
		uring_fd_closed(ring_fd); /* our NOP may be among what is forbidden: it fails closed */
	else
		uring_registered(ring_fd, what, arg, n, result);
	return result;
}
