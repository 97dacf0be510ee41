/* Purpose: preload_uring.h. Threads, fork, signals: the caller's ring, the caller's thread. */
#include "preload_uring.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

int raw;

const char *errno_name(int r)
{
	static char text[32];

	if (r == -EINTR) /* what a worker of the kernel says instead of ECANCELED */
		r = -ECANCELED;
#define NAME(e)                                                                                    \
	if (r == -e)                                                                               \
		return "-" #e;
	NAME(EBADF) NAME(EFAULT) NAME(EINVAL) NAME(ENOENT) NAME(ECANCELED) NAME(EALREADY)
	NAME(EEXIST) NAME(ENOTDIR) NAME(EISDIR) NAME(ETIME) NAME(EOPNOTSUPP) NAME(ENOSYS)
	NAME(ENAMETOOLONG) NAME(ENXIO) NAME(ENODATA) NAME(EAGAIN) NAME(ESPIPE) NAME(ENOTEMPTY)
	NAME(EBADFD) NAME(ENOTSOCK) NAME(EPERM) NAME(ENOTTY) NAME(E2BIG) NAME(ERANGE) NAME(EXDEV)
#undef NAME
	snprintf(text, sizeof text, "%d", r);
	return text;
}

int ring_errno(void)
{
	struct io_uring_params p = { 0 };
	struct io_uring ring;
	int r = raw ? (int)syscall(SYS_io_uring_setup, 4, &p) :
		      io_uring_queue_init_params(4, &ring, &p);

	return r >= 0 ? 0 : raw ? errno : -r;
}

void ring_open(struct io_uring *ring, unsigned entries, struct io_uring_params *p)
{
	int r;

	if (!raw) {
		r = io_uring_queue_init_params(entries, ring, p);
		errno = -r;
		CHECK(r == 0);
		return;
	}
	r = (int)syscall(SYS_io_uring_setup, entries, p);
	CHECK(r >= 0);
	CHECK(io_uring_queue_mmap(r, p, ring) == 0);
	ring->features = p->features;
}

void ring_flags(struct io_uring *ring, unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags };

	ring_open(ring, entries, &p);
}

void ring_close(struct io_uring *ring)
{
	if (!raw) {
		io_uring_queue_exit(ring);
		return;
	}
	munmap(ring->sq.sqes, *ring->sq.kring_entries * sizeof *ring->sq.sqes);
	munmap(ring->sq.ring_ptr, ring->sq.ring_sz);
	close(ring->ring_fd);
}

/* As liburing's, through libc. */
static int submit_raw(struct io_uring *ring, unsigned n)
{
	struct io_uring_sq *sq = &ring->sq;
	unsigned mask = *sq->kring_mask, tail = *sq->ktail, count = 0, flags = 0;

	while (sq->sqe_head != sq->sqe_tail) {
		sq->array[tail++ & mask] = sq->sqe_head++ & mask;
		count++;
	}
	io_uring_smp_store_release(sq->ktail, tail);
	if (n > 0 || (ring->flags & IORING_SETUP_IOPOLL))
		flags |= IORING_ENTER_GETEVENTS;
	if (ring->flags & IORING_SETUP_SQPOLL) {
		io_uring_smp_mb();
		if (*sq->kflags & IORING_SQ_NEED_WAKEUP)
			flags |= IORING_ENTER_SQ_WAKEUP;
		else if (n == 0)
			return (int)count;
	}
	return (int)syscall(SYS_io_uring_enter, ring->ring_fd, count, n, flags, NULL, 0);
}

int ring_submit(struct io_uring *ring, unsigned n)
{
	if (raw)
		return submit_raw(ring, n);
	return n > 0 ? io_uring_submit_and_wait(ring, n) : io_uring_submit(ring);
}

struct io_uring_sqe *sqe_get(struct io_uring *ring)
{
	struct io_uring_sqe *s = io_uring_get_sqe(ring);

	while (!s && (ring->flags & IORING_SETUP_SQPOLL)) { /* its thread makes room */
		sched_yield();
		s = io_uring_get_sqe(ring);
	}
	CHECK(s);
	memset(s, 0, sizeof *s);
	return s;
}

static int wait_one(struct io_uring *ring, struct io_uring_cqe *ret)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(ring, &cqe) != 0) {
		int r = raw ? (int)syscall(SYS_io_uring_enter, ring->ring_fd, 0, 1,
					   IORING_ENTER_GETEVENTS, NULL, 0) :
			      io_uring_wait_cqe(ring, &cqe);

		CHECK(r >= 0 || errno == EINTR);
	}
	*ret = *cqe;
	io_uring_cqe_seen(ring, cqe);
	return ret->res;
}

int result(struct io_uring *ring)
{
	struct io_uring_cqe cqe;

	return wait_one(ring, &cqe);
}

static int by_user_data(const void *a, const void *b)
{
	const struct io_uring_cqe *x = a, *y = b;

	return x->user_data < y->user_data ? -1 : x->user_data > y->user_data;
}

void results(struct io_uring *ring, const char *what, unsigned n)
{
	struct io_uring_cqe cqes[64];

	for (unsigned i = 0; i < n; i++)
		wait_one(ring, &cqes[i]);
	qsort(cqes, n, sizeof *cqes, by_user_data);
	printf("%s:", what);
	for (unsigned i = 0; i < n; i++)
		if (cqes[i].res < 0)
			printf(" %u=%s", (unsigned)cqes[i].user_data, errno_name(cqes[i].res));
		else
			printf(" %u=%d", (unsigned)cqes[i].user_data, cqes[i].res);
	if (io_uring_cq_ready(ring))
		printf(" and more");
	printf("\n");
}
