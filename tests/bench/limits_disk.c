/* Purpose: what the disk gives to O_DIRECT and io_uring: sequential writes with an fdatasync at the
 * end. Reads are in cold.c, beside ours. */
#include <fcntl.h>
#include <liburing.h>

#include "limits.h"

#define DEPTH_MAX 64u

static void die_ring(int r)
{
	errno = -r;
	limits_die("io_uring");
}

/* depth writes are outstanding; each slot's buffer is filled anew, as a writer's would be. */
static void measure_write(struct io_uring *ring, int fd, size_t block, unsigned depth)
{
	char *buf = aligned_alloc(4096, block * depth);
	uint64_t at = 0, n = 0, free_slots[DEPTH_MAX];
	unsigned n_free = 0;
	struct limits_meter begin;

	if (!buf)
		limits_die("memory");
	begin = limits_start();
	for (unsigned i = 0; i < depth; i++)
		free_slots[n_free++] = i;
	while (at < options.size || n_free < depth) {
		struct io_uring_cqe *cqe;
		int r;

		while (n_free > 0 && at < options.size) {
			uint64_t i = free_slots[--n_free];
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			ff3_pattern_fill(buf + i * block, block, 1, at);
			io_uring_prep_write(sqe, fd, buf + i * block, (unsigned)block, at);
			io_uring_sqe_set_data64(sqe, i);
			at += block;
		}
		r = io_uring_submit_and_wait(ring, 1);
		if (r < 0)
			die_ring(r);
		while (io_uring_peek_cqe(ring, &cqe) == 0) {
			if (cqe->res != (int)block)
				die_ring(cqe->res < 0 ? cqe->res : -EIO);
			free_slots[n_free++] = io_uring_cqe_get_data64(cqe);
			io_uring_cqe_seen(ring, cqe);
			n++;
		}
	}
	if (fdatasync(fd) < 0)
		limits_die("fdatasync");
	limits_report(begin, "disk_write", block, depth, n, NULL);
	free(buf);
}

void limits_disk(void)
{
	struct io_uring ring;
	int fd, r;

	if (!limits_wanted("disk_write"))
		return;
	r = io_uring_queue_init(DEPTH_MAX, &ring, 0);
	if (r < 0)
		die_ring(r);
	fd = limits_file(O_RDWR | O_DIRECT);
	measure_write(&ring, fd, FF3_MIB(1), 1);
	measure_write(&ring, fd, FF3_MIB(1), 8);
	close(fd);
	io_uring_queue_exit(&ring);
}
