/* preload-aio: thousands of requests, several threads, the end of contexts. */
#include "preload_aio.h"

#define MANY 4096
#define BLOCK 4096

/* Thousands in flight, of reads and writes at once; the bytes are compared. */
void many(void)
{
	struct iocb *all = calloc(MANY, sizeof *all), **p = calloc(MANY, sizeof *p);
	struct io_event *e = calloc(MANY, sizeof *e);
	char *buf = malloc((size_t)MANY * BLOCK), *back = malloc((size_t)MANY * BLOCK);
	int fd = file("many", O_RDWR), e_fd = eventfd(0, 0);
	aio_context_t ctx = 0;
	uint64_t told = 0, value;

	CHECK(all && p && e && buf && back && setup(MANY, &ctx) == 0);
	for (size_t i = 0; i < (size_t)MANY * BLOCK; i++)
		buf[i] = (char)(i * 2654435761u >> 13);
	for (int pass = 0; pass < 2; pass++) {
		long sent = 0, got = 0;

		for (long i = 0; i < MANY; i++) {
			long at = (i * 1031) % MANY;

			all[i] = (struct iocb){
				.aio_data = (uint64_t)at,
				.aio_lio_opcode = pass ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
				.aio_fildes = (uint32_t)fd,
				.aio_buf = (uint64_t)(uintptr_t)((pass ? back : buf) + at * BLOCK),
				.aio_nbytes = BLOCK,
				.aio_offset = at * BLOCK,
				.aio_flags = IOCB_FLAG_RESFD,
				.aio_resfd = (uint32_t)e_fd
			};
			p[i] = &all[i];
		}
		while (sent < MANY) {
			long r = submit(ctx, MANY - sent, p + sent);

			CHECK(r > 0);
			sent += r;
		}
		while (got < MANY) {
			long r = getevents(ctx, 1, MANY, e, NULL);

			CHECK(r > 0);
			for (long i = 0; i < r; i++)
				CHECK(e[i].res == BLOCK);
			got += r;
		}
		while (told < MANY * (pass + 1ull)) {
			CHECK(read(e_fd, &value, 8) == 8);
			told += value;
		}
	}
	CHECK(memcmp(buf, back, (size_t)MANY * BLOCK) == 0);
	CHECK(destroy(ctx) == 0);
}

static aio_context_t shared_ctx;
static _Atomic int n_seen;

static void *waits(void *arg)
{
	struct io_event e[4];
	long r;

	while ((r = getevents(shared_ctx, 1, 4, e, NULL)) > 0)
		n_seen += (int)r;
	return (void *)r;
}

/* Several wait on one context; io_destroy wakes them. */
void threads(void)
{
	int fd = file("threads", O_RDWR), p[2];
	pthread_t t[4];
	char b[N][512];
	long r;

	CHECK(pipe(p) == 0);
	for (int native = 0; native < 2; native++) {
		shared_ctx = 0;
		n_seen = 0;
		CHECK(setup(256, &shared_ctx) == 0);
		request(N - 1, IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
		if (native)
			CHECK(submit(shared_ctx, 1, list + N - 1) == 1);
		for (int i = 0; i < 4; i++)
			CHECK(pthread_create(&t[i], NULL, waits, NULL) == 0);
		for (int round = 0; round < 100; round++) {
			int n = 1 + round % 40;

			for (int i = 0; i < n; i++)
				request(i, round % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE, fd, b[i],
					sizeof b[i], i * 512);
			for (int i = 0, from = n_seen; i < n;) {
				r = submit(shared_ctx, n - i, list + i);
				CHECK(r > 0 || r == -EAGAIN);
				i += r > 0 ? (int)r : 0;
				if (i == n)
					while (n_seen < from + n)
						usleep(100);
			}
		}
		CHECK(destroy(shared_ctx) == 0);
		for (int i = 0; i < 4; i++) {
			void *last;

			CHECK(pthread_join(t[i], &last) == 0);
			CHECK((long)last == -EINVAL);
		}
	}
}

/* io_destroy waits for what is in flight, although the descriptor is closed. */
void ends(void)
{
	static char blocks[N][65536];
	int fd = file("ends", O_RDWR);
	struct stat st;
	char *back = malloc(sizeof blocks);

	for (int round = 0; round < 5; round++) {
		aio_context_t ctx = 0;

		CHECK(setup(N, &ctx) == 0);
		for (int i = 0; i < N; i++) {
			memset(blocks[i], 'a' + (i + round) % 26, sizeof blocks[i]);
			request(i, IOCB_CMD_PWRITE, fd, blocks[i], sizeof blocks[i],
				i * (off_t)sizeof blocks[i]);
		}
		CHECK(submit(ctx, N, list) == N);
		CHECK(close(fd) == 0);
		CHECK(destroy(ctx) == 0);
		fd = file("ends", O_RDWR);
		CHECK(fstat(fd, &st) == 0 && st.st_size == sizeof blocks);
		CHECK(pread(fd, back, sizeof blocks, 0) == sizeof blocks);
		CHECK(memcmp(back, blocks, sizeof blocks) == 0);
	}
	/* A full context takes no more until events were taken. */
	aio_context_t ctx = 0;
	long n = 0, r;

	CHECK(setup(1, &ctx) == 0);
	while (request(0, IOCB_CMD_PREAD, fd, back + n, 1, 0), (r = submit(ctx, 1, list)) == 1 && n < 1 << 20)
		n++;
	CHECK(r == -EAGAIN && n >= 1);
	CHECK(getevents(ctx, n, N, events, NULL) == (n < N ? n : -EINVAL) || n > N);
	while (n > N)
		n -= getevents(ctx, 1, N, events, NULL);
	CHECK(destroy(ctx) == 0);
	/* Unaligned, although O_DIRECT. */
	int direct = open(path_of("ends"), O_RDWR | O_DIRECT);

	ctx = 0;
	CHECK(direct >= 0 && setup(4, &ctx) == 0);
	request(0, IOCB_CMD_PREAD, direct, back + 1, 1001, 65535);
	if (getenv("UNALIGNED")) {
		CHECK(submit(ctx, 1, list) == 1 && getevents(ctx, 1, 1, events, NULL) == 1);
		CHECK(events[0].res == 1001 && back[1] == blocks[0][0] && back[2] == blocks[1][0]);
	}
	CHECK(destroy(ctx) == 0);
}

