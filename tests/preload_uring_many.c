/* Purpose: rings of all kinds under load: more in flight than the completion queue holds, SQPOLL, IOPOLL,
 * DEFER_TASKRUN, several threads, fork, an eventfd, rings closed in the middle. Prints what must be
 * the same everywhere. Threads: its own. */
#include "preload_uring.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BLOCK 512u
#define BLOCKS 2000u

static void fill(int fd)
{
	uint32_t block[BLOCK / 4];

	for (uint32_t i = 0; i < BLOCKS; i++) {
		for (uint32_t j = 0; j < BLOCK / 4; j++)
			block[j] = i;
		CHECK(pwrite(fd, block, sizeof block, i * BLOCK) == sizeof block);
	}
}

static void check(const uint32_t *blocks)
{
	for (uint32_t i = 0; i < BLOCKS; i++)
		CHECK(blocks[i * BLOCK / 4] == i && blocks[i * BLOCK / 4 + BLOCK / 4 - 1] == i);
}

/* Reads all blocks, each once, taking completions only when `late` are outstanding. */
static void read_all(struct io_uring *ring, int fd, char *to, unsigned late)
{
	static const unsigned batch = 8;
	unsigned sent = 0, reaped = 0, n_queued;
	char *seen = calloc(BLOCKS, 1);

	while (reaped < BLOCKS) {
		for (n_queued = 0; n_queued < batch && sent < BLOCKS; n_queued++, sent++)
			SQE(ring, sent, 0, read, fd, to + sent * BLOCK, BLOCK, sent * BLOCK);
		if (n_queued) {
			int r = ring_submit(ring, 0);

			CHECK(r == (int)n_queued);
		}
		while (reaped < sent && (sent == BLOCKS || sent - reaped >= late)) {
			struct io_uring_cqe *cqe;

			if (raw)
				CHECK(syscall(SYS_io_uring_enter, ring->ring_fd, 0, 1,
					      IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
			else
				CHECK(io_uring_wait_cqe(ring, &cqe) == 0);
			while (io_uring_peek_cqe(ring, &cqe) == 0) {
				CHECK(cqe->res == (int)BLOCK && cqe->user_data < BLOCKS &&
				      !seen[cqe->user_data]);
				seen[cqe->user_data] = 1;
				io_uring_cqe_seen(ring, cqe);
				reaped++;
			}
		}
	}
	free(seen);
}

static void kinds(const char *name, unsigned flags, unsigned late, int fd)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 1 };
	struct io_uring ring;
	char *to = aligned_alloc(4096, BLOCKS * BLOCK);

	memset(to, 0, BLOCKS * BLOCK);
	ring_open(&ring, 8, &p);
	CHECK((p.flags & IORING_SETUP_SQPOLL) == (flags & IORING_SETUP_SQPOLL));
	read_all(&ring, fd, to, late);
	check((uint32_t *)to);
	printf("%s: %u blocks\n", name, BLOCKS);
	ring_close(&ring);
	free(to);
}

static int shared_fd;

static void *in_thread(void *arg)
{
	struct io_uring ring;
	char *to = calloc(BLOCKS, BLOCK);

	ring_flags(&ring, 8, 0);
	for (int i = 0; i < 3; i++) {
		memset(to, 0, BLOCKS * BLOCK);
		read_all(&ring, shared_fd, to, 64);
		check((uint32_t *)to);
	}
	ring_close(&ring);
	free(to);
	return arg;
}

static void threads(int fd)
{
	pthread_t t[4];

	shared_fd = fd;
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, in_thread, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	printf("4 threads, a ring each\n");
}

static void event(int fd)
{
	struct io_uring ring;
	int e = eventfd(0, 0);
	struct pollfd p = { e, POLLIN, 0 }, q;
	uint64_t n;
	char c[4];

	ring_flags(&ring, 8, 0);
	CHECK(io_uring_register_eventfd(&ring, e) == 0);
	q = (struct pollfd){ ring.ring_fd, POLLIN, 0 };
	SQE(&ring, 1, 0, read, fd, c, 4, 0);
	CHECK(ring_submit(&ring, 0) == 1);
	CHECK(poll(&p, 1, 10000) == 1 && read(e, &n, 8) == 8 && n >= 1);
	CHECK(poll(&q, 1, 10000) == 1 && io_uring_cq_ready(&ring) == 1);
	results(&ring, "eventfd and poll", 1);
	ring_close(&ring);
	close(e);
}

/* A child goes on with the ring; so does the parent. */
static void forked(int fd)
{
	struct io_uring ring;
	char c[8] = "";
	int status;

	ring_flags(&ring, 8, 0);
	SQE(&ring, 1, 0, read, fd, c, 4, 512);
	CHECK(ring_submit(&ring, 1) == 1);
	results(&ring, "before", 1);
	if (fork() == 0) {
		SQE(&ring, 2, 0, read, fd, c + 4, 4, 1024);
		CHECK(ring_submit(&ring, 1) == 1);
		CHECK(result(&ring) == 4 && c[4] == 2);
		ring_close(&ring);
		ring_flags(&ring, 8, 0);
		SQE(&ring, 3, 0, read, fd, c + 4, 4, 1536);
		CHECK(ring_submit(&ring, 1) == 1);
		CHECK(result(&ring) == 4 && c[4] == 3);
		fflush(stdout);
		_exit(0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	ring_close(&ring);
	printf("fork\n");
}

/* Operations that outlive their ring, and rings that get its number. */
static void closed(int fd)
{
	static char sink[BLOCK];

	for (int i = 0; i < 100; i++) {
		struct io_uring ring, other;
		char c[8];
		int r;

		ring_flags(&ring, 8, 0);
		for (int j = 0; j < 8; j++)
			SQE(&ring, 1000 + j, 0, read, fd, sink, BLOCK, j * BLOCK);
		CHECK(ring_submit(&ring, 0) == 8);
		ring_close(&ring);
		ring_flags(&other, 8, 0);
		SQE(&other, 1, 0, read, fd, c, 4, 0);
		CHECK(ring_submit(&other, 1) == 1);
		r = result(&other);
		if (r != 4 || io_uring_cq_ready(&other))
			printf("round %d: %s, %u more\n", i, errno_name(r), io_uring_cq_ready(&other));
		ring_close(&other);
	}
	printf("closed in the middle\n");
}

static unsigned open_rings(void)
{
	unsigned n = 0;
	char path[300], link[64] = "";
	struct dirent *e;
	DIR *d = opendir("/proc/self/fd");

	while ((e = readdir(d))) {
		snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
		memset(link, 0, sizeof link);
		n += readlink(path, link, sizeof link - 1) > 0 && strstr(link, "io_uring");
	}
	closedir(d);
	return n;
}

/* What waits in a chain ends with its ring, and the ring with it. (Two are the library's.) */
static void closed_in_a_chain(int fd)
{
	static char sink[8];
	int p[2], tries = 0;

	CHECK(pipe(p) == 0);
	for (int i = 0; i < 10; i++) {
		struct io_uring ring;

		ring_flags(&ring, 8, 0);
		SQE(&ring, 1, IOSQE_IO_LINK, read, fd, sink, 4, 0);
		SQE(&ring, 2, IOSQE_IO_LINK, read, p[0], sink, 1, 0);
		SQE(&ring, 3, 0, write, fd, "x", 1, 0);
		CHECK(ring_submit(&ring, 1) == 3);
		ring_close(&ring);
	}
	while (open_rings() > 2 && tries++ < 1000)
		usleep(5000);
	CHECK(open_rings() <= 2);
	close(p[0]), close(p[1]);
	printf("closed in a chain\n");
}

static char one_buffer[BLOCK];

static void *into_one_buffer(void *arg)
{
	for (uint32_t i = 0; i < 500; i++)
		CHECK(pread(shared_fd, one_buffer, BLOCK, i % 8 * BLOCK) == BLOCK);
	return arg;
}

/* Who only wants to know that it can be read may read it all into the same place. */
static void shared_buffer(int fd)
{
	struct io_uring ring;
	pthread_t t[4];

	shared_fd = fd;
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, into_one_buffer, NULL) == 0);
	ring_flags(&ring, 64, 0);
	for (int round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 64; i++)
			SQE(&ring, i, 0, read, fd, one_buffer, BLOCK, i % 8 * BLOCK);
		CHECK(ring_submit(&ring, 0) == 64);
		for (unsigned i = 0; i < 64; i++)
			CHECK(result(&ring) == BLOCK);
	}
	ring_close(&ring);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	printf("one buffer for all\n");
}

/* Several threads on one ring, with a lock of their own for each side. */
static struct io_uring one_ring;
static pthread_mutex_t submit_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_ended;

static void *submits(void *arg)
{
	uintptr_t first = (uintptr_t)arg;

	for (uintptr_t i = first; i < BLOCKS; i += 4) {
		struct io_uring_sqe *s;

		pthread_mutex_lock(&submit_lock);
		s = sqe_get(&one_ring);
		io_uring_prep_read(s, shared_fd, NULL, BLOCK, i * BLOCK);
		s->addr = (uintptr_t)malloc(BLOCK);
		s->user_data = s->addr;
		CHECK(ring_submit(&one_ring, 0) == 1);
		pthread_mutex_unlock(&submit_lock);
	}
	/* The kernel cancels what a thread has under way that ends. */
	pthread_barrier_wait(&all_ended);
	return NULL;
}

static void one_ring_for_all(int fd)
{
	pthread_t t[4];
	char *seen = calloc(BLOCKS, 1);

	shared_fd = fd;
	ring_flags(&one_ring, 8, 0);
	CHECK(pthread_barrier_init(&all_ended, NULL, 5) == 0);
	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, submits, (void *)i) == 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct io_uring_cqe *cqe;
		uint32_t *block;

		CHECK(io_uring_wait_cqe(&one_ring, &cqe) == 0 && cqe->res == BLOCK);
		block = (uint32_t *)(uintptr_t)cqe->user_data;
		CHECK(block[0] < BLOCKS && !seen[block[0]] && block[BLOCK / 4 - 1] == block[0]);
		seen[block[0]] = 1;
		io_uring_cqe_seen(&one_ring, cqe);
		free(block);
	}
	pthread_barrier_wait(&all_ended);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	ring_close(&one_ring);
	free(seen);
	printf("one ring for 4 threads\n");
}

static void limits(int fd)
{
	struct io_uring ring;
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL | IORING_SETUP_COOP_TASKRUN };
	int n = 0, last;

	errno = 0;
	last = raw ? (int)syscall(SYS_io_uring_setup, 8, &p) : io_uring_queue_init_params(8, &ring, &p);
	printf("SQPOLL with COOP_TASKRUN: %s\n", errno_name(last < 0 && raw ? -errno : last));
	p.flags = 1u << 31;
	last = (int)syscall(SYS_io_uring_setup, 8, &p);
	printf("unknown: %s\n", errno_name(last < 0 ? -errno : last));
	last = (int)syscall(SYS_io_uring_setup, 8, NULL);
	printf("no parameters: %s\n", errno_name(last < 0 ? -errno : last));
	last = (int)syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0);
	printf("no ring: %s\n", errno_name(last < 0 ? -errno : last));
	/* The lowest free descriptor is still the program's. */
	last = dup(0);
	close(last);
	ring_flags(&ring, 8, 0);
	n = ring.ring_fd;
	CHECK(n == last);
	SQE(&ring, 1, 0, read, fd, &n, 4, 0);
	ring_submit(&ring, 1);
	CHECK(dup(0) == last + 1);
	close(last + 1);
	ring_close(&ring);
	n = dup(0);
	CHECK(n == last);
	close(n);
	printf("descriptors\n");
}

void many(void)
{
	int fd = open("m", O_RDWR | O_CREAT | O_TRUNC, 0644), direct;

	CHECK(fd >= 0);
	fill(fd);
	fsync(fd);
	direct = open("m", O_RDONLY | O_DIRECT);
	CHECK(direct >= 0);
	kinds("plain", 0, 1, fd);
	kinds("more than the completion queue holds", 0, BLOCKS, fd);
	kinds("SQPOLL", IORING_SETUP_SQPOLL, 8, fd);
	kinds("COOP_TASKRUN", IORING_SETUP_COOP_TASKRUN, 8, fd);
	kinds("SINGLE_ISSUER, DEFER_TASKRUN", IORING_SETUP_SINGLE_ISSUER | 1u << 13, 8, fd);
	kinds("SUBMIT_ALL", IORING_SETUP_SUBMIT_ALL, 100, fd);
	kinds("SQE128", IORING_SETUP_SQE128 * !raw, 8, fd);
	threads(fd);
	event(fd);
	forked(fd);
	closed(fd);
	closed_in_a_chain(fd);
	shared_buffer(fd);
	one_ring_for_all(fd);
	limits(fd);
}

/* Where IORING_SETUP_IOPOLL does more than the local disk's driver. */
void polled(void)
{
	struct io_uring ring;
	int fd = open("i", O_RDWR | O_CREAT | O_TRUNC, 0644);
	char c[8] = "";

	CHECK(fd >= 0);
	fill(fd);
	kinds("IOPOLL", IORING_SETUP_IOPOLL, 8, fd);
	kinds("IOPOLL, SQPOLL", IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL, 8, fd);
	ring_flags(&ring, 8, IORING_SETUP_IOPOLL);
	SQE(&ring, 1, 0, fsync, fd, 0);
	SQE(&ring, 2, 0, write, fd, "x", 1, 0);
	ring_submit(&ring, 2);
	results(&ring, "IOPOLL refuses fsync", 2);
	ring_close(&ring);
}
