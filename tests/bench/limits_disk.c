/* Purpose: what the disk gives to O_DIRECT and io_uring: random reads at several depths, and
 * sequential writes with an fdatasync at the end. */
#include <fcntl.h>
#include <liburing.h>

#include "limits.h"

#define DEPTH_MAX 64u

static void die_ring(int r)
{
	errno = -r;
	limits_die("io_uring");
}

static void ask(struct io_uring *ring, int fd, void *buf, size_t block, uint64_t slot,
		uint64_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, fd, buf, (unsigned)block, offset);
	io_uring_sqe_set_data64(sqe, slot);
}

static void measure_read(struct io_uring *ring, int fd, size_t block, unsigned depth)
{
	char *buf = aligned_alloc(4096, block * depth);
	uint64_t random = 88172645463325252ull, n = 0, offsets[DEPTH_MAX];
	struct limits_meter begin;
	bool stop = false;

	if (!buf)
		limits_die("memory");
	begin = limits_start();
	for (unsigned i = 0; i < depth; i++) {
		offsets[i] = limits_random(&random) % (options.size / block) * block;
		ask(ring, fd, buf + i * block, block, i, offsets[i]);
	}
	for (unsigned left = depth; left > 0;) {
		struct io_uring_cqe *cqe;
		int r = io_uring_submit_and_wait(ring, 1);

		if (r < 0)
			die_ring(r);
		while (left > 0 && io_uring_peek_cqe(ring, &cqe) == 0) {
			uint64_t i = io_uring_cqe_get_data64(cqe);

			if (cqe->res != (int)block)
				die_ring(cqe->res < 0 ? cqe->res : -EIO);
			io_uring_cqe_seen(ring, cqe);
			if (!ff3_pattern_check(buf + i * block, block, 1, offsets[i]))
				limits_die("wrong bytes");
			stop = stop || (++n % 8 == 0 && limits_time_is_up(begin));
			if (stop) {
				left--;
				continue;
			}
			offsets[i] = limits_random(&random) % (options.size / block) * block;
			ask(ring, fd, buf + i * block, block, i, offsets[i]);
		}
	}
	limits_report(begin, "disk_read", block, depth, n, NULL);
	free(buf);
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

static bool is_wanted(size_t block, unsigned depth)
{
	return (options.block == 0 || options.block == block) && (options.depth == 0 || options.depth == depth);
}

void limits_disk(void)
{
	static const size_t blocks[] = { FF3_KIB(4), FF3_KIB(64), FF3_MIB(1) };
	static const unsigned depths[] = { 1, 8, 32 };
	struct io_uring ring;
	int fd, r;

	if (!limits_wanted("disk_read") && !limits_wanted("disk_write"))
		return;
	r = io_uring_queue_init(DEPTH_MAX, &ring, 0);
	if (r < 0)
		die_ring(r);
	fd = limits_file(O_RDWR | O_DIRECT);
	for (size_t i = 0; limits_wanted("disk_read") && i < ARRAY_SIZE(blocks); i++)
		for (size_t k = 0; k < ARRAY_SIZE(depths); k++)
			if (is_wanted(blocks[i], depths[k]))
				measure_read(&ring, fd, blocks[i], depths[k]);
	if (limits_wanted("disk_write")) {
		measure_write(&ring, fd, FF3_MIB(1), 1);
		measure_write(&ring, fd, FF3_MIB(1), 8);
	}
	close(fd);
	io_uring_queue_exit(&ring);
}
