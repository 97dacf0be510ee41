/* Purpose: random reads that go to the disk, ff3fs beside io_uring with direct I/O on a file of the same
 * disk, by turns so short that both see the same disk: how fast one is may change within seconds. They are
 * long enough that the beginning of one, when nothing is under way, and its end are a small part of it.
 *
 *   cold make BYTES                                             writes our file; then restart the daemons,
 *                                                               which have a part of it in memory
 *   cold read BYTES DIR SECONDS PID,... [BLOCK,... [DEPTH,...]]
 *
 * DIR is on the disk that the chunk daemon has its target on; PIDs are the daemons', whose CPU time counts as
 * ours. For each block size and depth, SECONDS for each side, turns in the order ours, disk, disk, ours.
 * Both walk their file in the same order and meet each block once in a walk; what they read is checked.
 *
 * Prints JSON like the limits', rows disk_read and read-rand; "ratio" of the latter is the median of the
 * ratios of neighbouring turns, "quartiles" are theirs. "disk_bytes_per_op" is what the block layer was asked for.
 * Threads: none of its own. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../../common/base/pattern.h"
#include "../../common/client/ff3fs.h"

#define DEPTH_MAX 64u
#define TURN_NS 200000000u
#define PIDS_MAX 16u
#define TURNS_MAX 4096u

struct slot {
	void *buf;
	uint64_t offset;
};

/* What a turn, or all of a side's, took. */
struct meter {
	uint64_t n, wall_ns, cpu_ns, disk_bytes;
};

static struct {
	uint64_t size;
	double seconds;
	pid_t pids[PIDS_MAX];
	unsigned n_pids, n_rows;
	size_t block;
	unsigned depth;
	struct slot slots[DEPTH_MAX];
} run;

static struct {
	struct io_uring ring;
	int fd;
	uint64_t walked;
} disk;

static struct {
	struct ff3fs *fs;
	struct ff3fs_file *file;
	struct ff3fs_batch *batch;
	uint64_t walked;
} ours;

static void die(const char *what, int r)
{
	fprintf(stderr, "cold: %s: %s\n", what, r < 0 ? ff3fs_strerror(r) : ff3fs_last_error());
	exit(EXIT_FAILURE);
}

static void check(const char *what, int r)
{
	if (r < 0)
		die(what, r);
}

/* An odd step walks a number of places that is a power of two. */
static uint64_t place(uint64_t *walked)
{
	uint64_t n = run.size / run.block;

	while (n & (n - 1))
		n &= n - 1;
	return (*walked += 0x9e3779b1u) % n * run.block;
}

static void check_read(const struct slot *s, ssize_t n)
{
	check("read", (int)MIN(n, 0));
	if (n != (ssize_t)run.block || !ff3_pattern_check(s->buf, run.block, 1, s->offset))
		die("wrong bytes", -EBADMSG);
}

/* In large pages: the disk is at its best then. */
static void make_buffers(void)
{
	uint8_t *all = aligned_alloc(FF3_MIB(2), DEPTH_MAX * FF3_MIB(1));

	if (!all)
		die("memory", -ENOMEM);
	(void)madvise(all, DEPTH_MAX * FF3_MIB(1), MADV_HUGEPAGE);
	memset(all, 0, DEPTH_MAX * FF3_MIB(1));
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		run.slots[i].buf = all + i * FF3_MIB(1);
}

/* --- The meter ---------------------------------------------------------------------------------- */

static uint64_t cpu_ns(pid_t pid)
{
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0)
		die("no such process", -ESRCH);
	return ff3_now_ns(clock);
}

static uint64_t disk_bytes(pid_t pid)
{
	char path[64], line[128];
	uint64_t n = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/io", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "read_bytes: %" SCNu64, &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static struct meter now(void)
{
	struct meter m = { .cpu_ns = cpu_ns(0), .disk_bytes = disk_bytes(getpid()) };

	for (unsigned i = 0; i < run.n_pids; i++) {
		m.cpu_ns += cpu_ns(run.pids[i]);
		m.disk_bytes += disk_bytes(run.pids[i]);
	}
	m.wall_ns = ff3_now_ns(CLOCK_MONOTONIC);
	return m;
}

static bool is_over(const struct meter *begin)
{
	return ff3_now_ns(CLOCK_MONOTONIC) - begin->wall_ns >= TURN_NS;
}

static double rate(const struct meter *m)
{
	return (double)m->n * 1e9 / (double)m->wall_ns;
}

/* --- The disk ----------------------------------------------------------------------------------- */

static void disk_ask(unsigned i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&disk.ring);

	run.slots[i].offset = place(&disk.walked);
	io_uring_prep_read(sqe, disk.fd, run.slots[i].buf, (unsigned)run.block, run.slots[i].offset);
	io_uring_sqe_set_data64(sqe, i);
}

static uint64_t disk_turn(const struct meter *begin)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < run.depth; i++)
		disk_ask(i);
	for (unsigned left = run.depth; left > 0;) {
		struct io_uring_cqe *cqe;
		bool stop;

		check("io_uring", io_uring_submit_and_wait(&disk.ring, 1));
		stop = is_over(begin);
		while (left > 0 && io_uring_peek_cqe(&disk.ring, &cqe) == 0) {
			unsigned i = (unsigned)io_uring_cqe_get_data64(cqe);
			int res = cqe->res;

			io_uring_cqe_seen(&disk.ring, cqe);
			check_read(&run.slots[i], res);
			n++;
			if (stop)
				left--;
			else
				disk_ask(i);
		}
	}
	return n;
}

static int disk_file(const char *dir)
{
	_cleanup_free_ char *path = NULL;
	void *buf = run.slots[0].buf;
	int fd;

	if (asprintf(&path, "%s/cold.XXXXXX", dir) < 0)
		die("memory", -ENOMEM);
	fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		die(path, -errno);
	unlink(path);
	for (uint64_t at = 0; at < run.size; at += FF3_MIB(1)) {
		ff3_pattern_fill(buf, FF3_MIB(1), 1, at);
		if (pwrite(fd, buf, FF3_MIB(1), (off_t)at) != (ssize_t)FF3_MIB(1))
			die(path, -errno);
	}
	if (fsync(fd) < 0)
		die(path, -errno);
	return fd;
}

/* --- Ours --------------------------------------------------------------------------------------- */

static uint64_t ours_one_at_a_time(const struct meter *begin)
{
	struct slot *s = &run.slots[0];
	uint64_t n = 0;

	do {
		s->offset = place(&ours.walked);
		check_read(s, ff3fs_pread(ours.file, s->buf, run.block, (off_t)s->offset));
		n++;
	} while (!is_over(begin));
	return n;
}

static void ours_ask(struct slot *s)
{
	s->offset = place(&ours.walked);
	check("read", ff3fs_batch_read(ours.batch, ours.file, s->buf, run.block, (off_t)s->offset, s));
}

static uint64_t ours_turn(const struct meter *begin)
{
	struct ff3fs_completion done[DEPTH_MAX];
	uint64_t n = 0;

	if (run.depth == 1)
		return ours_one_at_a_time(begin);
	for (unsigned i = 0; i < run.depth; i++)
		ours_ask(&run.slots[i]);
	for (unsigned left = run.depth; left > 0;) {
		int r = ff3fs_batch_reap(ours.batch, done, 1, DEPTH_MAX, NULL);
		bool stop = is_over(begin);

		check("batch", r);
		for (int i = 0; i < r; i++) {
			check_read(done[i].user, done[i].result);
			n++;
			if (stop)
				left--;
			else
				ours_ask(done[i].user);
		}
	}
	return n;
}

static void ours_open(void)
{
	check("ff3fs", ff3fs_new(NULL, &ours.fs));
	check("open", ff3fs_open(ours.fs, FF3FS_ROOT, "cold", O_RDWR | O_CREAT, 0600, &ours.file));
	check("batch", ff3fs_batch_new(ours.fs, DEPTH_MAX, &ours.batch));
}

static void ours_close(void)
{
	ff3fs_batch_free(ours.batch);
	check("close", ff3fs_close(ours.file));
	ff3fs_free(ours.fs);
}

static void ours_make(void)
{
	void *buf = run.slots[0].buf;

	for (uint64_t at = 0; at < run.size; at += FF3_MIB(1)) {
		ff3_pattern_fill(buf, FF3_MIB(1), 1, at);
		check("write", (int)MIN(ff3fs_pwrite(ours.file, buf, FF3_MIB(1), (off_t)at), 0));
	}
	check("fsync", ff3fs_fsync(ours.file));
}

/* --- One comparison ----------------------------------------------------------------------------- */

static double turn(uint64_t (*fn)(const struct meter *), struct meter *sum)
{
	struct meter begin = now(), end, m;

	m.n = fn(&begin);
	end = now();
	m.wall_ns = end.wall_ns - begin.wall_ns;
	sum->n += m.n;
	sum->wall_ns += m.wall_ns;
	sum->cpu_ns += end.cpu_ns - begin.cpu_ns;
	sum->disk_bytes += end.disk_bytes - begin.disk_bytes;
	return rate(&m);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void row(const char *name, const struct meter *m)
{
	printf("%s\n  {\"name\": \"%s\", \"block\": %zu, \"depth\": %u, \"ops_per_s\": %.1f, \"mib_per_s\": %.2f, "
	       "\"cpu_us_per_op\": %.3f, \"p50_us\": 0, \"disk_bytes_per_op\": %.0f",
	       run.n_rows++ ? "," : "[", name, run.block, run.depth, rate(m),
	       rate(m) * (double)run.block / (double)FF3_MIB(1), (double)m->cpu_ns / 1e3 / (double)m->n,
	       (double)m->disk_bytes / (double)m->n);
}

static void measure(void)
{
	unsigned n = MIN((unsigned)(run.seconds * 1e9 / TURN_NS) + 1, TURNS_MAX);
	struct meter sums[2] = { { 0 } };
	double ratios[TURNS_MAX];

	for (unsigned i = 0; i < n; i++) {
		double a, b;

		if (i % 2) {
			b = turn(disk_turn, &sums[1]);
			a = turn(ours_turn, &sums[0]);
		} else {
			a = turn(ours_turn, &sums[0]);
			b = turn(disk_turn, &sums[1]);
		}
		ratios[i] = a / b;
	}
	qsort(ratios, n, sizeof *ratios, compare);
	row("disk_read", &sums[1]);
	printf("}");
	row("read-rand", &sums[0]);
	printf(", \"ratio\": %.3f, \"quartiles\": [%.3f, %.3f]}", ratios[n / 2], ratios[n / 4], ratios[n * 3 / 4]);
	fflush(stdout);
}

/* Numbers between commas; list is cut. */
static unsigned numbers(char *list, unsigned long *ret, unsigned max)
{
	char *save = NULL;
	unsigned n = 0;

	for (char *p = strtok_r(list, ",", &save); p && n < max; p = strtok_r(NULL, ",", &save))
		ret[n++] = strtoul(p, NULL, 10);
	return n;
}

static int read_all(int argc, char **argv)
{
	unsigned long pids[PIDS_MAX], blocks[PIDS_MAX] = { FF3_KIB(4), FF3_KIB(64), FF3_MIB(1) };
	unsigned long depths[PIDS_MAX] = { 1, 8, 32 };
	unsigned n_blocks = 3, n_depths = 3;

	run.seconds = strtod(argv[4], NULL);
	run.n_pids = numbers(argv[5], pids, PIDS_MAX);
	for (unsigned i = 0; i < run.n_pids; i++)
		run.pids[i] = (pid_t)pids[i];
	if (argc > 6)
		n_blocks = numbers(argv[6], blocks, PIDS_MAX);
	if (argc > 7)
		n_depths = numbers(argv[7], depths, PIDS_MAX);
	check("io_uring", io_uring_queue_init(DEPTH_MAX, &disk.ring, 0));
	disk.fd = disk_file(argv[3]);
	for (unsigned i = 0; i < n_blocks; i++)
		for (unsigned k = 0; k < n_depths; k++) {
			run.block = MIN(MAX(blocks[i], 8ul), FF3_MIB(1));
			run.depth = (unsigned)MIN(MAX(depths[k], 1ul), (unsigned long)DEPTH_MAX);
			measure();
		}
	printf("\n]\n");
	io_uring_queue_exit(&disk.ring);
	return close(disk.fd);
}

int main(int argc, char **argv)
{
	bool make = argc == 3 && strcmp(argv[1], "make") == 0;

	if (!make && (argc < 6 || strcmp(argv[1], "read") != 0)) {
		fprintf(stderr, "usage: cold make BYTES, or cold read BYTES DIR SECONDS PID,... [BLOCK,... [DEPTH,...]]\n");
		return 2;
	}
	run.size = ROUND_UP(strtoull(argv[2], NULL, 0), FF3_MIB(1));
	make_buffers();
	ours_open();
	if (make)
		ours_make();
	else
		read_all(argc, argv);
	ours_close();
	return EXIT_SUCCESS;
}
