/* e2e-client: batches, threads, signals. */
#include <sched.h>

#include "e2e-client.h"

void test_batch(void)
{
	enum { FILES = 50, LEN = 200000, ROOM = 4000, SMALL = 4096 };
	struct ff3fs_completion *c = malloc(ROOM * sizeof *c);
	struct ff3fs_file *files[FILES];
	uint8_t *buf = malloc(FILES * LEN), *got = malloc((size_t)ROOM * SMALL);
	static uint64_t offsets[ROOM], which[ROOM];
	struct timespec none = { 0, 0 };
	struct ff3fs_batch *b;
	uint64_t s = 1;
	int n = 0;

	OK(ff3fs_batch_new(fs, ROOM, &b));
	for (int i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%d", i);
		files[i] = open_file(fs, in_dir(name), O_CREAT | O_RDWR);
		fill(buf + i * LEN, LEN, 0, (uint64_t)i);
		/* In two parts, the later first. */
		OK(ff3fs_batch_write(b, files[i], buf + i * LEN + LEN / 2, LEN / 2, LEN / 2, &files[i]));
		OK(ff3fs_batch_write(b, files[i], buf + i * LEN, LEN / 2, 0, &files[i]));
	}
	EQ(ff3fs_batch_submit(b), 2 * FILES);
	while (n < 2 * FILES) {
		int m = ff3fs_batch_reap(b, c, 1, 7, NULL);

		CHECK(m >= 1 && m <= 7);
		for (int i = 0; i < m; i++)
			EQ(c[i].result, LEN / 2);
		n += m;
	}
	EQ(ff3fs_batch_reap(b, c, 1, 1, NULL), 0);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ROOM; i++) {
			which[i] = random_u64(&s) % FILES;
			offsets[i] = random_u64(&s) % (LEN - 1);
			OK(ff3fs_batch_read(b, files[which[i]], got + i * SMALL, SMALL,
					    (off_t)offsets[i], &offsets[i]));
		}
		EQ(ff3fs_batch_read(b, files[0], got, 1, 0, NULL), -EAGAIN);
		EQ(ff3fs_batch_submit(b), ROOM);
		for (n = 0; n < ROOM;) {
			int m = ff3fs_batch_reap(b, c, 1, ROOM, round == 1 ? &none : NULL);

			for (int k = 0; k < m; k++) {
				size_t i = (size_t)((uint64_t *)c[k].user - offsets);
				uint64_t len = LEN - offsets[i] < SMALL ? LEN - offsets[i] : SMALL;

				EQ(c[k].result, (long long)len);
				EQ(differs(got + i * SMALL, len, offsets[i], which[i]), -1);
				memset(got + i * SMALL, 0, SMALL);
			}
			n += m;
		}
		EQ(n, ROOM);
	}
	/* Errors are results of their own operation. */
	OK(ff3fs_batch_read(b, files[0], NULL, 10, 0, NULL));
	OK(ff3fs_batch_read(b, files[0], got, 10, LEN + 10, NULL));
	OK(ff3fs_batch_write(b, files[0], NULL, 10, 0, NULL));
	OK(ff3fs_batch_read(b, files[0], got, 0, 0, NULL));
	EQ(ff3fs_batch_read(b, files[0], got, 1, -1, NULL), -EINVAL);
	EQ(ff3fs_batch_reap(b, c, 4, 10, NULL), 4);
	n = 0;
	for (int i = 0; i < 4; i++)
		n += c[i].result == -EFAULT;
	EQ(n, 2);
	/* Outstanding when it is freed. */
	for (size_t i = 0; i < 100; i++)
		OK(ff3fs_batch_read(b, files[1], got + i * SMALL, SMALL, 0, NULL));
	ff3fs_batch_submit(b);
	ff3fs_batch_free(b);
	for (int i = 0; i < FILES; i++)
		OK(ff3fs_close(files[i]));
	free(buf);
	free(got);
	free(c);
}

/* --- One thread submits, another reaps ----------------------------------------------------- */

enum { PAIR_OPS = 6000, PAIR_ROOM = 512, PAIR_LEN = 3000, PAIR_BIG = 40 << 20 };

struct pair {
	struct ff3fs_batch *b;
	_Atomic unsigned n_sent, n_reaped;
	uint8_t seen[PAIR_OPS];
	int64_t wrong;
};

static void *pair_reaper(void *arg)
{
	struct ff3fs_completion c[64];
	struct pair *p = arg;

	while (p->n_reaped < PAIR_OPS) {
		int n;

		if (p->n_sent == p->n_reaped) {
			sched_yield();
			continue;
		}
		n = ff3fs_batch_reap(p->b, c, 1, 64, NULL);
		CHECK(n >= 0);
		for (int i = 0; i < n; i++) {
			size_t k = (size_t)(uintptr_t)c[i].user;

			p->seen[k]++;
			p->wrong += c[i].result != PAIR_LEN;
		}
		p->n_reaped += (unsigned)n;
	}
	return NULL;
}

void test_batch_pair(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("pair"), O_CREAT | O_RDWR);
	uint8_t *buf = malloc((size_t)PAIR_LEN * PAIR_ROOM), *big = malloc(PAIR_BIG);
	struct pair *p = calloc(1, sizeof *p);
	struct ff3fs_completion c;
	pthread_t reaper;
	uint64_t s = 9;

	fill(buf, (size_t)PAIR_LEN * PAIR_ROOM, 0, 1);
	OK(ff3fs_batch_new(fs, PAIR_ROOM, &p->b));
	EQ(ff3fs_pwrite(f, buf, (size_t)PAIR_LEN * PAIR_ROOM, 0), (long long)PAIR_LEN * PAIR_ROOM);
	EQ(pthread_create(&reaper, NULL, pair_reaper, p), 0);
	for (size_t i = 0; i < PAIR_OPS;) {
		off_t at = (off_t)(random_u64(&s) % PAIR_ROOM) * PAIR_LEN;
		int r = i % 3 ? ff3fs_batch_read(p->b, f, big + i * PAIR_LEN % (PAIR_BIG - PAIR_LEN),
						 PAIR_LEN, at, (void *)(uintptr_t)i) :
				ff3fs_batch_write(p->b, f, buf + at, PAIR_LEN, at, (void *)(uintptr_t)i);

		CHECK(r == 0 || r == -EAGAIN);
		i += r == 0;
		/* Alone, or a few, and then a pause that lets the other thread fall asleep. */
		if (r < 0 || random_u64(&s) % 8 == 0 || i == PAIR_OPS) {
			CHECK(ff3fs_batch_submit(p->b) >= 0);
			p->n_sent = (unsigned)i;
			while (random_u64(&s) % 4 == 0 && p->n_reaped < i)
				;
		}
	}
	EQ(pthread_join(reaper, NULL), 0);
	for (size_t i = 0; i < PAIR_OPS; i++)
		EQ(p->seen[i], 1);
	EQ(p->wrong, 0);
	/* More pieces than go out at once. */
	fill(big, PAIR_BIG, 0, 7);
	OK(ff3fs_batch_write(p->b, f, big, PAIR_BIG, 0, NULL));
	EQ(ff3fs_batch_reap(p->b, &c, 1, 1, NULL), 1);
	EQ(c.result, PAIR_BIG);
	memset(big, 0, PAIR_BIG);
	OK(ff3fs_batch_read(p->b, f, big, PAIR_BIG, 0, NULL));
	EQ(ff3fs_batch_reap(p->b, &c, 1, 1, NULL), 1);
	EQ(c.result, PAIR_BIG);
	EQ(differs(big, PAIR_BIG, 0, 7), -1);
	ff3fs_batch_free(p->b);
	OK(ff3fs_close(f));
	free(big);
	free(buf);
	free(p);
}

struct thread_arg {
	struct ff3fs_file *file;
	uint64_t who;
};

static void *thread_main(void *arg)
{
	struct thread_arg *t = arg;
	uint64_t s = t->who, base = t->who * 500000;
	uint8_t buf[20000];

	for (int i = 0; i < 150; i++) {
		uint64_t at = base + random_u64(&s) % 480000, len = random_u64(&s) % sizeof buf;

		fill(buf, len, at, t->who);
		EQ(ff3fs_pwrite(t->file, buf, len, (off_t)at), (long long)len);
		memset(buf, 0, sizeof buf);
		EQ(ff3fs_pread(t->file, buf, len, (off_t)at), (long long)len);
		EQ(differs(buf, len, at, t->who), -1);
		if (i % 40 == 0)
			OK(ff3fs_fsync(t->file));
	}
	return NULL;
}

void test_threads(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct thread_arg args[8];
	pthread_t threads[8];

	for (uint64_t i = 0; i < 8; i++) {
		args[i] = (struct thread_arg){ f, i };
		OK(pthread_create(&threads[i], NULL, thread_main, &args[i]));
	}
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	OK(ff3fs_close(f));
}

static volatile sig_atomic_t n_busy, n_fine;

static void on_signal(int sig)
{
	struct ff3fs_attr a;
	int r = ff3fs_stat(fs, FF3FS_ROOT, "", 0, &a);

	(void)sig;
	if (r == -EDEADLK)
		n_busy++;
	else if (r == 0)
		n_fine++;
	else
		abort();
}

void test_signals(void)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct sigaction sa = { .sa_handler = on_signal };
	uint8_t buf[10000];

	fill(buf, sizeof buf, 0, 1);
	EQ(ff3fs_pwrite(f, buf, sizeof buf, 0), (long long)sizeof buf);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; n_busy < 50; i++) {
		EQ(ff3fs_pread(f, buf, sizeof buf, 0), (long long)sizeof buf);
		EQ(differs(buf, sizeof buf, 0, 1), -1);
		CHECK(i < 1000000);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	OK(ff3fs_close(f));
}
