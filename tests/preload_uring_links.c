/* Purpose: order in a ring: links, timeouts, IO_DRAIN, cancellation; entries of the kernel's among
 * those on files. Threads, fork, signals: one thread. */
#include "preload_uring.h"

static char buf[4096];
#define LINK IOSQE_IO_LINK
#define HARD IOSQE_IO_HARDLINK
#define SKIP IOSQE_CQE_SKIP_SUCCESS

static void chains(struct io_uring *ring, int fd, int *p)
{
	SQE(ring, 1, LINK, write, fd, "abcdef", 6, 0);
	SQE(ring, 2, LINK, read, fd, buf, 6, 0);
	SQE(ring, 3, LINK, write, p[1], buf, 6, 0); /* what the one before has read */
	SQE(ring, 4, LINK, read, p[0], buf + 100, 6, 0);
	SQE(ring, 5, 0, write, fd, buf + 100, 6, 6);
	ring_submit(ring, 5);
	results(ring, "a chain through a pipe", 5);
	CHECK(pread(fd, buf, 12, 0) == 12);
	printf("%.12s\n", buf);

	SQE(ring, 1, LINK, read, fd, buf, 100, 0); /* short: what follows is cancelled */
	SQE(ring, 2, LINK, nop);
	SQE(ring, 3, 0, write, fd, "x", 1, 0);
	SQE(ring, 4, LINK, nop);
	SQE(ring, 5, 0, read, fd, buf, 3, 0);
	ring_submit(ring, 5);
	results(ring, "a short read breaks it", 5);
	SQE(ring, 1, HARD, read, fd, buf, 100, 0);
	SQE(ring, 2, HARD, read, 999, buf, 1, 0);
	SQE(ring, 3, 0, write, fd, "A", 1, 0);
	ring_submit(ring, 3);
	results(ring, "hard links hold", 3);
	SQE(ring, 1, LINK, read, p[0], (void *)8, 1, 0);
	SQE(ring, 2, LINK, write, fd, "x", 1, 0);
	SQE(ring, 3, 0, nop);
	CHECK(write(p[1], "y", 1) == 1);
	ring_submit(ring, 3);
	results(ring, "a native one breaks it", 3);
	CHECK(read(p[0], buf, 1) == 1);
	SQE(ring, 1, LINK, nop);
	SQE(ring, 2, LINK, read, fd, buf, 4, 0);
	SQE(ring, 3, LINK, read, fd, NULL, 4, 0);
	SQE(ring, 4, 0, nop);
	ring_submit(ring, 4);
	results(ring, "EFAULT breaks it", 4);
	SQE(ring, 1, LINK | SKIP, nop);
	SQE(ring, 2, LINK | SKIP, write, fd, "B", 1, 1);
	SQE(ring, 3, 0, read, fd, buf, 2, 0);
	SQE(ring, 4, SKIP, read, fd, buf + 8, 200, 0);
	SQE(ring, 5, LINK | SKIP, read, fd, buf + 8, 200, 0);
	SQE(ring, 6, 0, nop);
	ring_submit(ring, 3);
	results(ring, "success is not told", 3);
	printf("%.2s\n", buf);
	SQE(ring, 1, LINK, write, fd, "C", 1, 0);
	SQE(ring, 2, LINK, openat, AT_FDCWD, NULL, O_RDONLY, 0);
	SQE(ring, 3, 0, nop);
	ring_submit(ring, 0);
	results(ring, "a wrong argument", 3);
	ring_submit(ring, 0);
}

static void timeouts(struct io_uring *ring, int fd, int *p)
{
	struct __kernel_timespec long_time = { 30, 0 }, short_time = { 0, 1000000 };

	SQE(ring, 1, LINK, read, fd, buf, 4, 0);
	SQE(ring, 2, 0, link_timeout, &long_time, 0);
	ring_submit(ring, 2);
	results(ring, "in time", 2);
	SQE(ring, 1, LINK, read, fd, buf, 4, 0);
	SQE(ring, 2, LINK, link_timeout, &long_time, 0);
	SQE(ring, 3, LINK, write, fd, "D", 1, 0);
	SQE(ring, 4, 0, read, fd, buf, 1, 0);
	ring_submit(ring, 4);
	results(ring, "in time, and on", 4);
	SQE(ring, 1, LINK, read, fd, buf, 1, 0); /* (after a write the kernel forgets the timeout) */
	SQE(ring, 2, LINK, read, p[0], buf, 1, 0);
	SQE(ring, 3, LINK, link_timeout, &short_time, 0);
	SQE(ring, 4, 0, write, fd, "x", 1, 0);
	ring_submit(ring, 4);
	results(ring, "a pipe that stays empty", 4);
	SQE(ring, 1, LINK, timeout, &short_time, 0, 0);
	SQE(ring, 2, 0, write, fd, "F", 1, 0);
	ring_submit(ring, 2);
	results(ring, "after a timeout", 2);
	SQE(ring, 1, HARD, timeout, &short_time, 0, 0);
	SQE(ring, 2, 0, write, fd, "G", 1, 0);
	ring_submit(ring, 2);
	results(ring, "after a timeout, hard", 2);
	SQE(ring, 1, 0, timeout, &long_time, 3, 0);
	for (unsigned i = 2; i <= 4; i++)
		SQE(ring, i, 0, read, fd, buf, 1, 0);
	ring_submit(ring, 4);
	results(ring, "a timeout that counts", 4);
}

static void drains(struct io_uring *ring, int fd, int *p)
{
	/* On the kernel's side a read of a pipe, on ours writes: the fsync waits for both. */
	SQE(ring, 1, 0, read, p[0], buf, 1, 0);
	SQE(ring, 2, 0, write, fd, "1", 1, 0);
	SQE(ring, 3, IOSQE_IO_DRAIN, fsync, fd, 0);
	SQE(ring, 4, 0, read, fd, buf + 1, 1, 0);
	SQE(ring, 5, 0, nop);
	ring_submit(ring, 1);
	CHECK(result(ring) == 1);
	CHECK(!io_uring_cq_ready(ring));
	CHECK(write(p[1], "z", 1) == 1);
	results(ring, "drain", 4);
	printf("%.2s\n", buf);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 4; i++)
			SQE(ring, i + 1, 0, write, fd, "2222" + i, 1, i);
		SQE(ring, 5, IOSQE_IO_DRAIN, nop);
		SQE(ring, 6, LINK, read, fd, buf, 4, 0);
		SQE(ring, 7, 0, write, p[1], buf, 4, 0);
		SQE(ring, 8, IOSQE_IO_DRAIN, read, p[0], buf + 8, 4, 0);
		ring_submit(ring, 8);
		results(ring, "drains", 8);
	}
	printf("%.4s\n", buf + 8);
}

static void cancels(struct io_uring *ring, int fd, int *p)
{
	int r;

	SQE(ring, 1, 0, read, fd, buf, 1, 0);
	ring_submit(ring, 1);
	CHECK(result(ring) == 1);
	SQE(ring, 1, 0, read, p[0], buf, 1, 0);
	SQE(ring, 2, 0, cancel64, 1, 0);
	SQE(ring, 3, 0, cancel64, 77, 0);
	ring_submit(ring, 3);
	results(ring, "cancel of the kernel's", 3);
	SQE(ring, 1, LINK, write, fd, "H", 1, 0);
	SQE(ring, 2, LINK, read, p[0], buf, 1, 0);
	SQE(ring, 3, 0, write, fd, "x", 1, 0);
	ring_submit(ring, 1);
	CHECK(result(ring) == 1);
	do { /* until it is there to be cancelled */
		SQE(ring, 9, 0, cancel64, 2, 0);
		ring_submit(ring, 0);
		r = result(ring);
		if (r == -ECANCELED) /* first the others */
			break;
	} while (r == -ENOENT);
	results(ring, "cancel in a chain", 2);
	/* Whichever is first: nothing is lost, and the answers fit. */
	for (unsigned i = 0, n; i < 50; i++) {
		struct io_uring_cqe *cqe;
		int read_result = -1, cancel_result = -1;

		SQE(ring, 1, 0, read, fd, buf, 1, 0);
		SQE(ring, 2, 0, cancel64, 1, 0);
		ring_submit(ring, 0);
		for (n = 0; n < 2; n++) {
			CHECK(io_uring_wait_cqe(ring, &cqe) == 0);
			*(cqe->user_data == 1 ? &read_result : &cancel_result) = cqe->res;
			io_uring_cqe_seen(ring, cqe);
		}
		CHECK((read_result == 1 && (cancel_result == -ENOENT || cancel_result == -EALREADY)) ||
		      (read_result == -ECANCELED && cancel_result == 0));
	}
}

void links(void)
{
	struct io_uring ring;
	int fd = open("l", O_RDWR | O_CREAT | O_TRUNC, 0644), p[2];

	CHECK(fd >= 0 && pipe(p) == 0);
	ring_flags(&ring, 16, 0);
	chains(&ring, fd, p);
	timeouts(&ring, fd, p);
	ring_close(&ring);
	ring_flags(&ring, 16, 0); /* after CQE_SKIP_SUCCESS there is no IO_DRAIN any more */
	CHECK(pwrite(fd, "abcdefgh", 8, 0) == 8);
	drains(&ring, fd, p);
	cancels(&ring, fd, p);
	ring_close(&ring);
}
