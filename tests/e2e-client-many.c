/* e2e-client: several processes and clients at once. */
#include "e2e-client.h"

enum { N_RECORDS = 60 };
struct record {
	uint32_t who, number;
	uint8_t data[120];
};

static void append_records(uint64_t who)
{
	struct ff3fs_file *f = open_file(fs, in_dir("log"), O_WRONLY | O_APPEND);

	for (uint32_t i = 0; i < N_RECORDS; i++) {
		struct record r = { (uint32_t)who, i, { 0 } };

		fill(r.data, sizeof r.data, i, who);
		EQ(ff3fs_pwrite(f, &r, sizeof r, 0), (long long)sizeof r);
	}
	OK(ff3fs_close(f));
}

void test_append(void)
{
	uint32_t next[8] = { 0 };
	struct ff3fs_file *f = open_file(fs, in_dir("log"), O_CREAT | O_RDONLY);
	struct record r;

	forked(append_records, 8);
	for (int i = 0; i < 8 * N_RECORDS; i++) {
		EQ(ff3fs_pread(f, &r, sizeof r, (off_t)(i * sizeof r)), (long long)sizeof r);
		CHECK(r.who < 8);
		EQ(r.number, next[r.who]++);
		EQ(differs(r.data, sizeof r.data, r.number, r.who), -1);
	}
	EQ(ff3fs_pread(f, &r, sizeof r, (off_t)(8 * N_RECORDS * sizeof r)), 0);
	OK(ff3fs_close(f));
}

static struct ff3fs_file *inherited;

static void use_inherited(uint64_t who)
{
	uint8_t buf[8192];

	for (int i = 0; i < 20; i++) {
		EQ(ff3fs_pread(inherited, buf, sizeof buf, 8192 * (i % 4)), (long long)sizeof buf);
		EQ(differs(buf, sizeof buf, 8192 * (uint64_t)(i % 4), 1), -1);
	}
	fill(buf, sizeof buf, who * 8192, 50 + who);
	EQ(ff3fs_pwrite(inherited, buf, sizeof buf, 100000 + (off_t)who * 8192), (long long)sizeof buf);
	/* Small and sequential: the child has no flusher yet. */
	for (int i = 0; i < 100; i++)
		EQ(ff3fs_pwrite(inherited, buf, 10, 1000000 + (off_t)who * 1000 + i * 10), 10);
	OK(ff3fs_close(inherited));
}

static void *write_on(void *arg)
{
	atomic_bool *stop = arg;
	struct ff3fs_file *f = open_file(fs, in_dir("busy"), O_CREAT | O_RDWR);
	uint8_t buf[1000] = { 1 };
	off_t at = 0;

	while (!*stop) {
		EQ(ff3fs_pwrite(f, buf, sizeof buf, at), (long long)sizeof buf);
		EQ(ff3fs_pread(f, buf, sizeof buf, at), (long long)sizeof buf);
		at += (off_t)sizeof buf;
	}
	OK(ff3fs_close(f));
	return NULL;
}

void test_fork(void)
{
	uint8_t buf[32768];
	pthread_t thread;
	atomic_bool stop = false;

	inherited = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	fill(buf, sizeof buf, 0, 1);
	/* Gathered at the time of the fork. */
	for (int i = 0; i < 8; i++)
		EQ(ff3fs_pwrite(inherited, buf + i * 4096, 4096, i * 4096), 4096);
	pthread_create(&thread, NULL, write_on, &stop);
	for (int i = 0; i < 5; i++)
		forked(use_inherited, 6);
	stop = true;
	pthread_join(thread, NULL);
	for (uint64_t i = 0; i < 6; i++) {
		EQ(ff3fs_pread(inherited, buf, 8192, 100000 + (off_t)i * 8192), 8192);
		EQ(differs(buf, 8192, i * 8192, 50 + i), -1);
	}
	/* Unlinked while a child has it open; the child outlives our close. */
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
	forked(use_inherited, 2);
	EQ(ff3fs_pread(inherited, buf, sizeof buf, 0), (long long)sizeof buf);
	EQ(differs(buf, sizeof buf, 0, 1), -1);
	OK(ff3fs_close(inherited));
}

/* Things under way at the fork: a batch, a page of a directory, read-ahead. Parent and child go on. */
static struct ff3fs_batch *batch;
static struct ff3fs_dir *listing;
static struct ff3fs_file *ahead;
static uint8_t batch_buf[40][9000];
static off_t ahead_at;

static void go_on(uint64_t who)
{
	struct ff3fs_completion c[40];
	const struct ff3fs_dirent *e;
	uint8_t small[3000];
	int n = 0;

	while (n < 40) {
		int m = ff3fs_batch_reap(batch, c, 1, 40, NULL);

		CHECK(m > 0);
		for (int i = 0; i < m; i++)
			EQ(c[i].result, (long long)sizeof batch_buf[0]);
		n += m;
	}
	for (uint64_t i = 0; i < 40; i++)
		EQ(differs(batch_buf[i], sizeof batch_buf[0], i * 20000, 5), -1);
	while ((n = ff3fs_readdir(listing, &e)) == 1)
		;
	EQ(n, 0);
	for (off_t at = ahead_at; at < 900000; at += (off_t)sizeof small) {
		EQ(ff3fs_pread(ahead, small, sizeof small, at), (long long)sizeof small);
		EQ(differs(small, sizeof small, (uint64_t)at, 5), -1);
	}
	(void)who;
}

void test_fork_busy(void)
{
	uint8_t *buf = malloc(MIB(1)), small[3000];
	const struct ff3fs_dirent *e;

	ahead = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	fill(buf, MIB(1), 0, 5);
	EQ(ff3fs_pwrite(ahead, buf, MIB(1), 0), (long long)MIB(1));
	for (int i = 0; i < 1000; i++) {
		char name[64];

		snprintf(name, sizeof name, "entry-with-a-long-name-that-fills-pages-%d", i);
		OK(ff3fs_close(open_file(fs, in_dir(name), O_CREAT | O_WRONLY)));
	}
	for (int round = 0; round < 4; round++) {
		OK(ff3fs_batch_new(fs, 40, &batch));
		for (uint64_t i = 0; i < 40; i++)
			OK(ff3fs_batch_read(batch, ahead, batch_buf[i], sizeof batch_buf[0],
					    (off_t)i * 20000, NULL));
		ff3fs_batch_submit(batch);
		OK(ff3fs_opendir(fs, FF3FS_ROOT, dir, false, &listing));
		for (int i = 0; i < 5; i++)
			EQ(ff3fs_readdir(listing, &e), 1);
		for (ahead_at = 0; ahead_at < 30000; ahead_at += (off_t)sizeof small)
			EQ(ff3fs_pread(ahead, small, sizeof small, ahead_at), (long long)sizeof small);
		forked(go_on, 3);
		go_on(9);
		ff3fs_batch_free(batch);
		ff3fs_closedir(listing);
	}
	OK(ff3fs_close(ahead));
	free(buf);
}

void test_unlinked(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR), *g;
	uint8_t *buf = malloc(MIB(3));
	struct ff3fs_attr a;

	fill(buf, MIB(3), 0, 9);
	EQ(ff3fs_pwrite(f, buf, MIB(3), 0), (long long)MIB(3));
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir("f"), 0, &a), -ENOENT);
	OK(ff3fs_fstat(f, &a));
	EQ(a.nlink, 0);
	EQ(ff3fs_pread(f, buf, MIB(3), 0), (long long)MIB(3));
	EQ(differs(buf, MIB(3), 0, 9), -1);
	EQ(ff3fs_pwrite(f, buf, 100, (off_t)MIB(3)), 100);
	OK(ff3fs_fsync(f));
	OK(ff3fs_open_inode(fs, ff3fs_file_ino(f), O_RDONLY, &g));
	OK(ff3fs_close(f));
	EQ(ff3fs_pread(g, buf, MIB(3), 0), (long long)MIB(3));
	EQ(differs(buf, MIB(3), 0, 9), -1);
	OK(ff3fs_close(g));
	free(buf);
}

/* One process cuts and rewrites, one client reads: what is read was written, or is the end. */
void test_cut(void)
{
	enum { ROUNDS = 60, LEN = 300000 };
	pid_t pid = fork();
	static uint8_t buf[LEN];

	CHECK(pid >= 0);
	if (pid == 0) {
		struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);

		for (uint64_t i = 1; i <= ROUNDS; i++) {
			fill(buf, LEN, 0, 7);
			EQ(ff3fs_pwrite(f, buf, LEN, 0), LEN);
			OK(ff3fs_ftruncate(f, (off_t)(i * 4099 % LEN)));
		}
		OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
		OK(ff3fs_close(f));
		_exit(0);
	}
	int status;
	struct ff3fs_file *g = open_file(fs, in_dir("f"), O_CREAT | O_RDONLY);

	while (waitpid(pid, &status, WNOHANG) == 0) {
		ssize_t n = ff3fs_pread(g, buf, LEN, 0);

		CHECK(n >= 0);
		EQ(differs(buf, (size_t)n, 0, 7), -1);
	}
	EQ(status, 0);
	OK(ff3fs_close(g));
}

void test_coherence(void)
{
	struct ff3fs *other = client();
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct ff3fs_file *g = open_file(other, in_dir("f"), O_RDWR);
	struct timespec before, now;
	char buf[16];

	/* A direct write is seen at once, by size and by bytes. */
	ff3fs_file_set_flags(f, O_DIRECT);
	for (int i = 0; i < 100; i++) {
		char c = (char)('a' + i % 26);

		EQ(ff3fs_pwrite(f, &c, 1, i), 1);
		EQ(ff3fs_pread(g, buf, 2, i), 1);
		EQ(buf[0], c);
	}
	/* Cut by one; the other, whose size is old, writes inside it. */
	OK(ff3fs_ftruncate(f, 0));
	EQ(ff3fs_pwrite(g, "z", 1, 49), 1);
	OK(ff3fs_flush(g));
	EQ(ff3fs_pread(f, buf, 2, 49), 1);
	EQ(ff3fs_pread(f, buf, 2, 48), 2);
	CHECK(buf[0] == 0 && buf[1] == 'z');
	/* What gathers arrives by itself. */
	ff3fs_file_set_flags(f, 0);
	EQ(ff3fs_pwrite(f, "q", 1, 50), 1);
	clock_gettime(CLOCK_MONOTONIC, &before);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECK((now.tv_sec - before.tv_sec) * 1000 + (now.tv_nsec - before.tv_nsec) / 1000000 <
		      1000);
	} while (ff3fs_pread(g, buf, 1, 50) != 1);
	EQ(buf[0], 'q');
	OK(ff3fs_close(f));
	OK(ff3fs_close(g));
	ff3fs_free(other);
}

void test_read_ahead(void)
{
	enum { LEN = 5000000, STEP = 7001 };
	uint8_t *buf = malloc(LEN), small[STEP];
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR), *g;

	fill(buf, LEN, 0, 1);
	EQ(ff3fs_pwrite(f, buf, LEN, 0), LEN);
	g = open_file(fs, in_dir("f"), O_RDONLY);
	for (int round = 0; round < 3; round++) {
		off_t at = 0;
		ssize_t n;

		while ((n = ff3fs_pread(g, small, STEP, at)) > 0) {
			EQ(differs(small, (size_t)n, (uint64_t)at, 1), -1);
			at += n;
			/* A jump drops what was read ahead. */
			if (round == 1 && at % 5 == 0) {
				EQ(ff3fs_pread(g, small, 10, LEN - 10), 10);
				EQ(differs(small, 10, LEN - 10, 1), -1);
			}
		}
		EQ(n, 0);
		EQ(at, LEN);
	}
	/* An own write just before the next read is seen by it, through either descriptor. */
	for (off_t at = 0; at + STEP <= LEN; at += STEP) {
		if (at % 3 == 0) {
			fill(small, 100, (uint64_t)at, 2);
			EQ(ff3fs_pwrite(f, small, 100, at), 100);
		}
		EQ(ff3fs_pread(g, small, STEP, at), STEP);
		EQ(differs(small, 100, (uint64_t)at, at % 3 == 0 ? 2 : 1), -1);
		EQ(differs(small + 100, STEP - 100, (uint64_t)at + 100, 1), -1);
	}
	/* Cut while read. */
	for (off_t at = 0; at < LEN / 2; at += STEP)
		EQ(ff3fs_pread(g, small, STEP, at), STEP);
	OK(ff3fs_ftruncate(f, LEN / 2 + STEP));
	EQ(ff3fs_pread(g, small, STEP, LEN / 2 + STEP), 0);
	OK(ff3fs_close(f));
	OK(ff3fs_close(g));
	free(buf);
}
