/* Purpose: liburing's functions. They make their system calls by an instruction of their own, so it
 * is the functions that are caught: before one submits, the new entries are looked at; after one has
 * made or changed a ring, it is noted. The real functions do the work.
 *
 * struct io_uring here is liburing's, whose layout has not changed since 2.0; the functions that
 * its header expands in the program only touch the rings, and need nothing of ours.
 *
 * Threads, fork, signals: as uring_ring.c. */
#include "dispatch.h"
#include "hook.h"
#include "raw.h"
#include "uring.h"

struct io_uring {
	struct {
		_Atomic uint32_t *head, *tail;
		uint32_t *mask, *entries;
		_Atomic uint32_t *flags;
		uint32_t *dropped, *array;
		char *sqes;
		uint32_t sqe_head, sqe_tail;
		size_t ring_size;
		void *ring_ptr;
		uint32_t pad[4];
	} sq;
	struct {
		_Atomic uint32_t *head, *tail;
		uint32_t *mask, *entries;
		_Atomic uint32_t *flags;
		uint32_t *overflow;
		struct io_uring_cqe *cqes;
		size_t ring_size;
		void *ring_ptr;
		uint32_t pad[4];
	} cq;
	uint32_t flags;
	int ring_fd;
	uint32_t features;
	int enter_ring_fd;
	uint8_t int_flags, pad[3];
	uint32_t pad2;
};

/* A program may have loaded liburing out of the sight of RTLD_NEXT. */
static void *find(size_t offset, const char *name)
{
	static const char *const libraries[] = { "liburing.so.2", "liburing.so.1" };
	void *library, *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(libraries) && !found; i++) {
		library = REAL(dlopen)(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
		if (library)
			found = dlsym(library, name);
	}
	found = dispatch_real(offset, found);
	__atomic_store_n((void **)((char *)&real + offset), found, __ATOMIC_RELEASE);
	return found;
}

#define LIBURING(name)                                                                             \
	(LIKELY(REAL(name) != NULL) ? real.name :                                                  \
				      (__typeof__(real.name))find(offsetof(struct hook_real, name), #name))

/* --- Rings --------------------------------------------------------------------------------- */

/* Whose memory it has mapped itself. Locked; NULL: not one that we can serve. */
static struct uring *adopt(struct io_uring *ring)
{
	struct uring *r;

	if (ring->ring_fd < 0 || (ring->flags & ~URING_SETUP_KNOWN) ||
	    !(ring->features & URING_FEAT_LINKED_FILE))
		return NULL;
	r = uring_new(ring->ring_fd, ring->flags);
	if (!r)
		return NULL;
	r->sq_entries = *ring->sq.entries;
	r->sqe_size = ring->flags & IORING_SETUP_SQE128 ? 128 : 64;
	r->sq_head = ring->sq.head;
	r->sq_tail = ring->sq.tail;
	r->sq_flags = ring->sq.flags;
	r->cq_tail = ring->cq.tail;
	r->sqes = ring->sq.sqes;
	r->seen = *ring->sq.head;
	r->cq_base = *ring->cq.tail;
	return r;
}

/* Before the real function hands the new entries over. They may be handed over already when this
 * returns: how many. */
static int prepare(struct io_uring *ring)
{
	struct uop *after;
	struct uring *r;
	uint32_t head;
	int n;

	if (!init_active() || init_is_vfork_child())
		return 0;
	r = uring_find(ring->ring_fd);
	if (r && r->sq_head != ring->sq.head) { /* another that has got its number */
		uring_unlock(r);
		r = NULL;
	}
	if (!r)
		r = adopt(ring);
	if (!r)
		return 0;
	head = *ring->sq.head;
	if ((int32_t)(r->seen - head) < 0 || r->seen - head > r->sq_entries)
		r->seen = head;
	after = uring_prepare(r, ring->sq.sqe_tail);
	if (LIKELY(!after))
		return 0;
	n = LIBURING(io_uring_submit)(ring);
	uring_run(after);
	return MAX(n, 0);
}

int hook_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				    struct io_uring_params *p)
{
	uint32_t asked = p->flags;
	struct uring *r;
	long flags;
	int result;

	if (!init_active() || init_is_vfork_child())
		return LIBURING(io_uring_queue_init_params)(entries, ring, p);
	if (uring_is_off())
		return -ENOSYS;
	flags = uring_setup_flags(asked);
	if (flags < 0)
		return (int)flags;
	p->flags = (uint32_t)flags;
	result = LIBURING(io_uring_queue_init_params)(entries, ring, p);
	p->flags = asked;
	if (result < 0)
		return result;
	if (!(ring->features & URING_FEAT_LINKED_FILE)) {
		LIBURING(io_uring_queue_exit)(ring); /* a kernel that cannot post for us */
		return -ENOSYS;
	}
	fdtab_set_native(ring->ring_fd);
	r = adopt(ring);
	if (r)
		uring_unlock(r);
	return result;
}

int hook_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	struct io_uring_params p = { .flags = flags };

	return hook_io_uring_queue_init_params(entries, ring, &p);
}

void hook_io_uring_queue_exit(struct io_uring *ring)
{
	uring_fd_closed(ring->ring_fd);
	LIBURING(io_uring_queue_exit)(ring);
}

/* --- Submitting ---------------------------------------------------------------------------- */

int hook_io_uring_submit(struct io_uring *ring)
{
	int before = prepare(ring);
	int n = LIBURING(io_uring_submit)(ring);

	return n < 0 ? n : n + before;
}

int hook_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait)
{
	int before = prepare(ring);
	int n = LIBURING(io_uring_submit_and_wait)(ring, wait);

	return n < 0 ? n : n + before;
}

int hook_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret,
					  unsigned wait, struct __kernel_timespec *ts, sigset_t *mask)
{
	int before = prepare(ring);
	int n = LIBURING(io_uring_submit_and_wait_timeout)(ring, ret, wait, ts, mask);

	return n < 0 ? n : n + before;
}

int hook_io_uring_submit_and_get_events(struct io_uring *ring)
{
	int before = prepare(ring);
	int n = LIBURING(io_uring_submit_and_get_events)(ring);

	return n < 0 ? n : n + before;
}

/* On old kernels these two submit a timeout and whatever else is there. */
int hook_io_uring_wait_cqes(struct io_uring *ring, struct io_uring_cqe **ret, unsigned n,
			    struct __kernel_timespec *ts, sigset_t *mask)
{
	if (ts)
		prepare(ring);
	return LIBURING(io_uring_wait_cqes)(ring, ret, n, ts, mask);
}

int hook_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **ret,
				   struct __kernel_timespec *ts)
{
	if (ts)
		prepare(ring);
	return LIBURING(io_uring_wait_cqe_timeout)(ring, ret, ts);
}

int hook___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **ret, unsigned submit,
			    unsigned n, sigset_t *mask)
{
	if (submit)
		prepare(ring);
	return LIBURING(__io_uring_get_cqe)(ring, ret, submit, n, mask);
}

/* --- Registering --------------------------------------------------------------------------- */

struct rsrc {
	uint32_t n_or_offset, flags;
	uint64_t data, tags;
	uint32_t n, resv;
};

/* Notes what has succeeded. */
static int noted(struct io_uring *ring, int result, unsigned opcode, const void *arg, unsigned n)
{
	if (result >= 0)
		uring_registered(ring->ring_fd, opcode, arg, n, result);
	return result;
}

enum { FILES = 2, NO_FILES = 3, FILES_UPDATE = 6, FILES2 = 13, FILES_UPDATE2, BUFFERS2, BUFFERS_UPDATE };

int hook_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n)
{
	return noted(ring, LIBURING(io_uring_register_buffers)(ring, iov, n), 0, iov, n);
}

int hook_io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iov,
					const uint64_t *tags, unsigned n)
{
	return noted(ring, LIBURING(io_uring_register_buffers_tags)(ring, iov, tags, n), 0, iov, n);
}

int hook_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned n)
{
	struct rsrc reg = { n, 1, 0, 0, 0, 0 };

	return noted(ring, LIBURING(io_uring_register_buffers_sparse)(ring, n), BUFFERS2, &reg, 0);
}

int hook_io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned offset,
					      const struct iovec *iov, const uint64_t *tags, unsigned n)
{
	struct rsrc update = { offset, 0, (uintptr_t)iov, 0, n, 0 };

	return noted(ring, LIBURING(io_uring_register_buffers_update_tag)(ring, offset, iov, tags, n),
		     BUFFERS_UPDATE, &update, 0);
}

int hook_io_uring_unregister_buffers(struct io_uring *ring)
{
	return noted(ring, LIBURING(io_uring_unregister_buffers)(ring), 1, NULL, 0);
}

int hook_io_uring_register_files(struct io_uring *ring, const int *fds, unsigned n)
{
	return noted(ring, LIBURING(io_uring_register_files)(ring, fds, n), FILES, fds, n);
}

int hook_io_uring_register_files_tags(struct io_uring *ring, const int *fds, const uint64_t *tags,
				      unsigned n)
{
	return noted(ring, LIBURING(io_uring_register_files_tags)(ring, fds, tags, n), FILES, fds, n);
}

int hook_io_uring_register_files_sparse(struct io_uring *ring, unsigned n)
{
	struct rsrc reg = { n, 1, 0, 0, 0, 0 };

	return noted(ring, LIBURING(io_uring_register_files_sparse)(ring, n), FILES2, &reg, 0);
}

int hook_io_uring_register_files_update(struct io_uring *ring, unsigned offset, const int *fds,
					unsigned n)
{
	struct rsrc update = { offset, 0, (uintptr_t)fds, 0, n, 0 };

	return noted(ring, LIBURING(io_uring_register_files_update)(ring, offset, fds, n),
		     FILES_UPDATE, &update, 0);
}

int hook_io_uring_register_files_update_tag(struct io_uring *ring, unsigned offset, const int *fds,
					    const uint64_t *tags, unsigned n)
{
	struct rsrc update = { offset, 0, (uintptr_t)fds, 0, n, 0 };

	return noted(ring, LIBURING(io_uring_register_files_update_tag)(ring, offset, fds, tags, n),
		     FILES_UPDATE, &update, 0);
}

int hook_io_uring_unregister_files(struct io_uring *ring)
{
	return noted(ring, LIBURING(io_uring_unregister_files)(ring), NO_FILES, NULL, 0);
}

/* --- System calls by name ------------------------------------------------------------------ */

int hook_io_uring_setup(unsigned entries, struct io_uring_params *p)
{
	return (int)uring_setup(entries, p);
}

int hook_io_uring_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
			sigset_t *mask)
{
	return (int)uring_enter(fd, to_submit, min_complete, flags, mask, _NSIG / 8);
}

int hook_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
			 sigset_t *mask, size_t size)
{
	return (int)uring_enter(fd, to_submit, min_complete, flags, mask, size);
}

int hook_io_uring_register(unsigned fd, unsigned opcode, void *arg, unsigned n)
{
	return (int)uring_register(fd, opcode, arg, n);
}

DEFINE_ALIASES(uring)
