/* Load for fault-client.sh, and figures.
 *
 *   load DIR SEED PROGRESS STOP MODEL   random operations on files of DIR, compared with memory all
 *       the time; one byte to the fifo PROGRESS for each; until the file STOP exists. Then
 *       everything is closed and the contents are stored under the local directory MODEL.
 *   compare DIR MODEL                   with a new client: all is there and equal
 *   linger NAME READY SECONDS           reads an unlinked file for SECONDS, and nothing else
 *   speed [SECONDS [WHAT…]]             rates of the usual operations, one thread */
#include "clocks.h"
#include "e2e-client.h"


enum { N_FILES = 6 };
#define FILE_MAX KIB(2500)

struct loaded {
	char path[128], name[16];
	struct ff3fs_file *file;
	uint8_t *want;
	size_t size;
	uint64_t next; /* of a sequential writer */
};

static void store(const struct loaded *l, const char *model)
{
	char path[256];
	FILE *out;

	snprintf(path, sizeof path, "%s/%s", model, l->name);
	out = fopen(path, "w");
	CHECK(out);
	EQ((long long)fwrite(l->want, 1, l->size, out), (long long)l->size);
	OK(fclose(out));
}

static void write_some(struct loaded *l, uint64_t at, size_t len, uint64_t *s)
{
	if (at + len > FILE_MAX)
		len = FILE_MAX - at;
	fill(l->want + at, len, at, random_u64(s));
	EQ(ff3fs_pwrite(l->file, l->want + at, len, (off_t)at), (long long)len);
	l->size = len > 0 && at + len > l->size ? at + len : l->size;
	l->next = at + len;
}

static void read_some(struct loaded *l, uint64_t at, size_t len)
{
	static uint8_t got[KIB(512)];
	size_t want = at >= l->size ? 0 : l->size - at;

	want = want < len ? want : len;
	memset(got, 0xee, len);
	EQ(ff3fs_pread(l->file, got, len, (off_t)at), (long long)want);
	for (size_t i = 0; i < want; i++)
		if (got[i] != l->want[at + i])
			fail_at(__FILE__, __LINE__, l->path, (long long)(at + i), got[i]);
}

/* A small file from birth to name, or to death. */
static void small_file(const char *base, uint64_t number, uint64_t *s)
{
	char temporary[160], final[160];
	uint8_t buf[9000], got[9000];
	size_t len = random_u64(s) % sizeof buf;
	struct ff3fs_file *f;

	snprintf(temporary, sizeof temporary, "%s/tmp", base);
	snprintf(final, sizeof final, "%s/small.%d", base, (int)(number % 20));
	fill(buf, len, 0, number);
	f = open_file(fs, temporary, O_CREAT | O_TRUNC | O_WRONLY);
	EQ(ff3fs_pwrite(f, buf, len, 0), (long long)len);
	OK(ff3fs_close(f));
	OK(ff3fs_rename(fs, FF3FS_ROOT, temporary, FF3FS_ROOT, final, 0));
	f = open_file(fs, final, O_RDONLY);
	EQ(ff3fs_pread(f, got, sizeof got, 0), (long long)len);
	EQ(differs(got, len, 0, number), -1);
	OK(ff3fs_close(f));
	if (number % 3 == 0)
		OK(ff3fs_unlink(fs, FF3FS_ROOT, final));
}

/* A log that all load programs append to; compare finds every record once and in order. */
struct record {
	uint64_t who, number;
	uint8_t data[200];
};
static struct ff3fs_file *shared_log;
static uint64_t n_records;

static void append_record(uint64_t who)
{
	struct record r = { who, n_records++, { 0 } };

	fill(r.data, sizeof r.data, r.number, who);
	EQ(ff3fs_pwrite(shared_log, &r, sizeof r, 0), (long long)sizeof r);
}

static void step(struct loaded *l, const char *base, uint64_t number, uint64_t *s)
{
	uint64_t what = random_u64(s) % 100, at = random_u64(s) % FILE_MAX;
	size_t len = random_u64(s) % 6 == 0 ? random_u64(s) % KIB(500) : random_u64(s) % 8000;

	if (what < 25) {
		write_some(l, at, len, s);
	} else if (what < 45) {
		write_some(l, l->next < FILE_MAX ? l->next : 0, len % 5000, s);
	} else if (what < 75) {
		read_some(l, at, len);
	} else if (what < 83) {
		OK(ff3fs_fsync(l->file));
	} else if (what < 88) {
		OK(ff3fs_close(l->file));
		l->file = open_file(fs, l->path, O_RDWR);
	} else if (what < 92) {
		at = random_u64(s) % (l->size + 10000);
		at = at < FILE_MAX ? at : FILE_MAX;
		OK(ff3fs_ftruncate(l->file, (off_t)at));
		if (at < l->size)
			memset(l->want + at, 0, l->size - at);
		l->size = at;
	} else if (what < 96) {
		append_record((uint64_t)(base[1] - '0'));
	} else {
		small_file(base, number, s);
	}
}

int load_main(int argc, char **argv)
{
	static struct loaded files[N_FILES];
	uint64_t s, number = 0;
	int progress;

	if (argc != 6)
		return 2;
	fs = client();
	s = strtoull(argv[2], NULL, 0);
	progress = open(argv[3], O_WRONLY | O_CLOEXEC);
	CHECK(progress >= 0);
	EQ(ff3fs_mkdir(fs, FF3FS_ROOT, argv[1], 0755), 0);
	for (int i = 0; i < N_FILES; i++) {
		struct loaded *l = &files[i];

		snprintf(l->name, sizeof l->name, "f%d", i);
		snprintf(l->path, sizeof l->path, "%s/%s", argv[1], l->name);
		l->want = calloc(1, FILE_MAX + KIB(512));
		l->file = open_file(fs, l->path, O_CREAT | O_RDWR);
	}
	shared_log = open_file(fs, "log", O_CREAT | O_WRONLY | O_APPEND);
	while (access(argv[4], F_OK) < 0) {
		step(&files[random_u64(&s) % N_FILES], argv[1], number++, &s);
		EQ(write(progress, ".", 1), 1);
	}
	for (int i = 0; i < N_FILES; i++) {
		read_some(&files[i], 0, KIB(512));
		OK(ff3fs_close(files[i].file));
		store(&files[i], argv[5]);
	}
	OK(ff3fs_close(shared_log));
	ff3fs_free(fs);
	printf("%llu operations, %llu records\n", (unsigned long long)number,
	       (unsigned long long)n_records);
	return 0;
}

static void compare_log(void)
{
	struct ff3fs_file *f = open_file(fs, "log", O_RDONLY);
	uint64_t next[10] = { 0 };
	struct record r;
	ssize_t n;

	for (off_t at = 0; (n = ff3fs_pread(f, &r, sizeof r, at)) != 0; at += n) {
		EQ(n, (long long)sizeof r);
		CHECK(r.who < 10);
		EQ((long long)r.number, (long long)next[r.who]++);
		EQ(differs(r.data, sizeof r.data, r.number, r.who), -1);
	}
	OK(ff3fs_close(f));
}

int compare_main(int argc, char **argv)
{
	uint8_t *want = malloc(FILE_MAX + 1), *got = malloc(FILE_MAX + 1);

	if (argc != 3)
		return 2;
	fs = client();
	compare_log();
	for (int i = 0; i < N_FILES; i++) {
		char path[256];
		struct ff3fs_file *f;
		size_t n;
		FILE *in;

		snprintf(path, sizeof path, "%s/f%d", argv[2], i);
		in = fopen(path, "r");
		CHECK(in);
		n = fread(want, 1, FILE_MAX + 1, in);
		fclose(in);
		snprintf(path, sizeof path, "%s/f%d", argv[1], i);
		f = open_file(fs, path, O_RDONLY);
		EQ(ff3fs_pread(f, got, FILE_MAX + 1, 0), (long long)n);
		for (size_t k = 0; k < n; k++)
			if (got[k] != want[k])
				fail_at(__FILE__, __LINE__, path, (long long)k, got[k]);
		OK(ff3fs_close(f));
	}
	ff3fs_free(fs);
	free(want);
	free(got);
	return 0;
}

int linger_main(int argc, char **argv)
{
	static uint8_t buf[KIB(300)];
	struct ff3fs_file *f;
	time_t end;
	int ready;

	if (argc != 4)
		return 2;
	fs = client();
	f = open_file(fs, argv[1], O_CREAT | O_RDWR);
	fill(buf, sizeof buf, 0, 3);
	EQ(ff3fs_pwrite(f, buf, sizeof buf, 0), (long long)sizeof buf);
	OK(ff3fs_fsync(f));
	OK(ff3fs_unlink(fs, FF3FS_ROOT, argv[1]));
	ready = open(argv[2], O_WRONLY | O_CLOEXEC);
	CHECK(ready >= 0);
	EQ(write(ready, ".", 1), 1);
	for (end = time(NULL) + atoi(argv[3]); time(NULL) <= end;) {
		EQ(ff3fs_pread(f, buf, sizeof buf, 0), (long long)sizeof buf);
		EQ(differs(buf, sizeof buf, 0, 3), -1);
	}
	OK(ff3fs_close(f));
	ff3fs_free(fs);
	return 0;
}

/* --- Figures --------------------------------------------------------------------------------- */

static struct ff3fs_file *speed_file;
static uint8_t *speed_buf;
static uint64_t speed_seed = 1, speed_number;
static size_t speed_len;

static void do_random_read(void)
{
	uint64_t at = random_u64(&speed_seed) % (MIB(64) / speed_len) * speed_len;

	EQ(ff3fs_pread(speed_file, speed_buf, speed_len, (off_t)at), (long long)speed_len);
}

static void do_sequential_read(void)
{
	uint64_t at = speed_number++ % (MIB(64) / speed_len) * speed_len;

	EQ(ff3fs_pread(speed_file, speed_buf, speed_len, (off_t)at), (long long)speed_len);
}

static void do_sequential_write(void)
{
	uint64_t at = speed_number++ % (MIB(64) / speed_len) * speed_len;

	EQ(ff3fs_pwrite(speed_file, speed_buf, speed_len, (off_t)at), (long long)speed_len);
}

static void do_stat(void)
{
	struct ff3fs_attr a;

	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("f"), 0, &a));
}

static void do_create(void)
{
	struct ff3fs_file *f;
	char name[32];

	snprintf(name, sizeof name, "s%llu", (unsigned long long)speed_number++);
	f = open_file(fs, in_dir(name), O_CREAT | O_WRONLY);
	EQ(ff3fs_pwrite(f, speed_buf, 4096, 0), 4096);
	OK(ff3fs_close(f));
}

static void do_open_read_close(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("s0"), O_RDONLY);

	EQ(ff3fs_pread(f, speed_buf, 4096, 0), 4096);
	OK(ff3fs_close(f));
}

static char **speed_choice;

static bool chosen(const char *what)
{
	for (char **c = speed_choice; *c; c++)
		if (strcmp(*c, what) == 0)
			return true;
	return !*speed_choice;
}

static void measure(const char *what, void (*fn)(void), size_t len, double limit)
{
	double begin, end, cpu;
	long n = 0;

	if (!chosen(what))
		return;
	speed_len = len;
	speed_number = 0;
	for (int i = 0; i < 20; i++)
		fn();
	begin = now_s();
	cpu = cpu_s();
	do {
		for (int i = 0; i < 16; i++)
			fn();
		n += 16;
		end = now_s();
	} while (end - begin < limit);
	cpu = cpu_s() - cpu;
	printf("%-24s %9.0f/s %8.2f us %8.2f us CPU", what, (double)n / (end - begin),
	       (end - begin) / (double)n * 1e6, cpu / (double)n * 1e6);
	if (len >= 65536)
		printf(" %8.0f MiB/s", (double)n * (double)len / (end - begin) / (double)MIB(1));
	printf("\n");
	fflush(stdout);
}

static void measure_batch(const char *what, size_t len, unsigned depth, double limit)
{
	struct ff3fs_completion *c;
	struct ff3fs_batch *b;
	double begin = now_s(), end, cpu = cpu_s();
	uint8_t *buf;
	long n = 0;

	if (!chosen(what))
		return;
	c = malloc(depth * sizeof *c);
	buf = malloc(depth * len);
	OK(ff3fs_batch_new(fs, depth, &b));
	for (unsigned i = 0; i < depth; i++)
		OK(ff3fs_batch_read(b, speed_file, buf + i * len, len, (off_t)(i * len), buf + i * len));
	do {
		int m = ff3fs_batch_reap(b, c, 1, depth, NULL);

		for (int i = 0; i < m; i++) {
			uint64_t at = random_u64(&speed_seed) % (MIB(64) / len) * len;

			EQ(c[i].result, (long long)len);
			OK(ff3fs_batch_read(b, speed_file, c[i].user, len, (off_t)at, c[i].user));
		}
		n += m;
		end = now_s();
	} while (end - begin < limit);
	cpu = cpu_s() - cpu;
	printf("%-24s %9.0f/s %8.2f us %8.2f us CPU %8.0f MiB/s\n", what, (double)n / (end - begin),
	       (end - begin) / (double)n * 1e6, cpu / (double)n * 1e6,
	       (double)n * (double)len / (end - begin) / (double)MIB(1));
	ff3fs_batch_free(b);
	free(buf);
	free(c);
}

int speed_main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : 1;
	double begin;

	speed_choice = argv + (argc > 1 ? 2 : 1);
	fs = client();
	snprintf(dir, sizeof dir, "speed.%d", (int)getpid());
	OK(ff3fs_mkdir(fs, FF3FS_ROOT, dir, 0755));
	speed_buf = malloc(MIB(8));
	fill(speed_buf, MIB(8), 0, 1);
	speed_file = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	begin = now_s();
	for (int i = 0; i < 8; i++)
		EQ(ff3fs_pwrite(speed_file, speed_buf, MIB(8), (off_t)MIB(8) * i), (long long)MIB(8));
	OK(ff3fs_fsync(speed_file));
	printf("write 64 MiB + fsync: %.0f MiB/s\n", 64 / (now_s() - begin));
	measure("read 4K random", do_random_read, 4096, limit);
	measure("read 64K random", do_random_read, 65536, limit);
	measure("read 1M random", do_random_read, MIB(1), limit);
	measure("read 8M sequential", do_sequential_read, MIB(8), limit);
	measure("read 4K sequential", do_sequential_read, 4096, limit);
	measure("read 128K sequential", do_sequential_read, 131072, limit);
	measure_batch("batch read 4K depth 32", 4096, 32, limit);
	measure_batch("batch read 4K depth 1000", 4096, 1000, limit);
	measure_batch("batch read 1M depth 8", MIB(1), 8, limit);
	measure("write 4K sequential", do_sequential_write, 4096, limit);
	measure("write 1M", do_sequential_write, MIB(1), limit);
	measure("write 8M", do_sequential_write, MIB(8), limit);
	OK(ff3fs_fsync(speed_file));
	measure("stat", do_stat, 1, limit);
	measure("create+write 4K+close", do_create, 1, limit);
	measure("open+read 4K+close", do_open_read_close, 1, limit);
	OK(ff3fs_close(speed_file));
	ff3fs_free(fs);
	return 0;
}
