/* liburing's functions, each by its name: what submits and waits, what registers, and the system calls'
 * wrappers. The tests of operations use a few of them only. One ring; results are printed. */
#include "preload_uring.h"

#include <sys/syscall.h>

static char buf[4][4096];

static void value(const char *what, int r)
{
	printf("%s = %s\n", what, errno_name(r));
}
#define V(call) value(#call, (int)(call))

static void seen(struct io_uring *ring, struct io_uring_cqe *cqe)
{
	printf("  %u: %s\n", (unsigned)cqe->user_data, errno_name(cqe->res));
	io_uring_cqe_seen(ring, cqe);
}

static void waits(int fd)
{
	struct __kernel_timespec second = { 5, 0 }, short_time = { 0, 1000000 };
	struct io_uring_cqe *cqe = NULL;
	struct io_uring ring;

	V(io_uring_queue_init(8, &ring, 0));
	SQE(&ring, 1, 0, read, fd, buf[0], 5, 0);
	/* liburing says 0 where the completion is there before it looks. */
	V(io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &second, NULL) >= 0);
	seen(&ring, cqe);
	printf("  %.5s\n", buf[0]);
	V(io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &short_time, NULL) == -ETIME);
	SQE(&ring, 2, 0, write, fd, "XY", 2, 8);
	V(io_uring_submit(&ring));
	V(io_uring_wait_cqes(&ring, &cqe, 1, &second, NULL));
	seen(&ring, cqe);
	V(io_uring_wait_cqes(&ring, &cqe, 1, &short_time, NULL));
	SQE(&ring, 3, 0, read, 9999, buf[0], 5, 0);
	V(io_uring_submit_and_wait(&ring, 1));
	V(io_uring_wait_cqe_timeout(&ring, &cqe, &second));
	seen(&ring, cqe);
	V(io_uring_wait_cqe_timeout(&ring, &cqe, &short_time));
	SQE(&ring, 4, 0, read, fd, (char *)1, 5, 0);
	V(io_uring_submit_and_get_events(&ring));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	io_uring_queue_exit(&ring);
	V(io_uring_queue_init(0, &ring, 0));
	V(io_uring_queue_init(8, &ring, 1u << 31));
}

static void buffers(int fd)
{
	struct iovec iov[2] = { { buf[0], 4096 }, { buf[1], 4096 } };
	__u64 tags[2] = { 0, 0 };
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	V(io_uring_queue_init(8, &ring, 0));
	V(io_uring_unregister_buffers(&ring));
	V(io_uring_register_buffers_tags(&ring, iov, tags, 2));
	V(io_uring_register_buffers_tags(&ring, iov, tags, 2) < 0);
	SQE(&ring, 1, 0, read_fixed, fd, buf[1], 4, 2, 1);
	V(io_uring_submit_and_wait(&ring, 1));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	printf("  %.4s\n", buf[1]);
	V(io_uring_unregister_buffers(&ring));
	V(io_uring_register_buffers_sparse(&ring, 4));
	SQE(&ring, 2, 0, read_fixed, fd, buf[1], 4, 2, 1);
	V(io_uring_submit_and_wait(&ring, 1));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	V(io_uring_register_buffers_update_tag(&ring, 1, iov, tags, 2));
	V(io_uring_register_buffers_update_tag(&ring, 9, iov, tags, 2));
	SQE(&ring, 3, 0, write_fixed, fd, buf[0], 4, 0, 1);
	V(io_uring_submit_and_wait(&ring, 1));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	V(io_uring_unregister_buffers(&ring));
	V(io_uring_register_buffers(&ring, iov, 0));
	io_uring_queue_exit(&ring);
}

static void files(int fd)
{
	int fds[2] = { -1, fd }, bad[1] = { 9999 };
	__u64 tags[2] = { 0, 0 };
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	V(io_uring_queue_init(8, &ring, 0));
	V(io_uring_unregister_files(&ring));
	V(io_uring_register_files_tags(&ring, fds, tags, 2));
	V(io_uring_register_files_tags(&ring, fds, tags, 2));
	SQE(&ring, 1, IOSQE_FIXED_FILE, read, 1, buf[2], 6, 1);
	SQE(&ring, 2, IOSQE_FIXED_FILE, read, 0, buf[3], 6, 1);
	V(io_uring_submit_and_wait(&ring, 2));
	results(&ring, "registered and not", 2);
	printf("  %.6s\n", buf[2]);
	V(io_uring_unregister_files(&ring));
	V(io_uring_register_files_sparse(&ring, 4));
	V(io_uring_register_files_update_tag(&ring, 2, fds, tags, 2));
	V(io_uring_register_files_update_tag(&ring, 9, fds, tags, 2));
	V(io_uring_register_files_update(&ring, 0, bad, 1));
	SQE(&ring, 3, IOSQE_FIXED_FILE, read, 3, buf[2], 6, 1);
	SQE(&ring, 4, IOSQE_FIXED_FILE, read, 77, buf[2], 6, 1);
	V(io_uring_submit_and_wait(&ring, 2));
	results(&ring, "updated and beyond", 2);
	V(io_uring_register_files_update(&ring, 3, fds, 1));
	SQE(&ring, 5, IOSQE_FIXED_FILE, read, 3, buf[2], 6, 1);
	V(io_uring_submit_and_wait(&ring, 1));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	V(io_uring_unregister_files(&ring));
	io_uring_queue_exit(&ring);
}

static void wrappers(int fd)
{
	struct io_uring_params p = { 0 }, odd = { .flags = 1u << 31 };
	struct io_uring_params affine = { .flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF,
					  .sq_thread_cpu = 100000 };
	struct iovec iov = { buf[0], 4096 };
	struct io_uring_cqe *cqe;
	struct io_uring ring = { 0 };
	int r = io_uring_setup(8, &p), fds[1] = { fd };

	V(r >= 0);
	V(io_uring_setup(8, &odd));
	V(io_uring_setup(8, &affine));
	V(io_uring_setup(8, NULL));
	V(io_uring_queue_mmap(r, &p, &ring));
	V(io_uring_register(r, IORING_REGISTER_BUFFERS, &iov, 1));
	V(io_uring_register(r, IORING_REGISTER_FILES, fds, 1));
	V(io_uring_register(r, 999, NULL, 0));
	V(io_uring_register(9999, IORING_REGISTER_FILES, fds, 1));
	SQE(&ring, 1, IOSQE_FIXED_FILE, read_fixed, 0, buf[0], 3, 4, 0);
	/* The tail is the program's to move. */
	*ring.sq.array = 0;
	io_uring_smp_store_release(ring.sq.ktail, 1);
	V(io_uring_enter(r, 1, 1, IORING_ENTER_GETEVENTS, NULL));
	V(io_uring_wait_cqe(&ring, &cqe));
	seen(&ring, cqe);
	V(io_uring_enter2(r, 0, 0, 0, NULL, 8));
	V(io_uring_enter(r, 0, 0, 1u << 30, NULL));
	V(io_uring_enter(9999, 0, 0, 0, NULL));
	V(io_uring_enter(fd, 0, 0, 0, NULL));
	close(r);
}

void by_name(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	CHECK(write(fd, "0123456789abcdef", 16) == 16);
	waits(fd);
	buffers(fd);
	files(fd);
	wrappers(fd);
	CHECK(pread(fd, buf[0], 16, 0) == 16);
	printf("%u %.10s\n", (unsigned)(unsigned char)buf[0][0], buf[0] + 4);
}
