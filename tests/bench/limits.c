/* Purpose: the physical limits of this machine, to compare ff3fs with in the same run: TCP with the
 * simplest daemon possible, the disk by O_DIRECT and io_uring, and memcpy.
 *
 *   limits [--dir DIR] [--seconds S] [--size BYTES] [--cpu N] [--only PART]
 *
 * Prints one JSON document: an array of {name, block, depth, ops_per_s, mib_per_s, cpu_us_per_op,
 * p50_us}, where the CPU time is that of both sides together. What is read is checked, as ff3fs bench does,
 * so that both pay the same for it.
 * Threads: none; servers are forked processes, one per measurement. */
#include <argp.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

#include "limits.h"

struct limits_options options = { .dir = "/tmp", .seconds = 1, .size = 128 << 20, .cpu = -1 };

static unsigned n_reported;

void limits_die(const char *what)
{
	fprintf(stderr, "limits: %s: %m\n", what);
	exit(EXIT_FAILURE);
}

bool limits_wanted(const char *name)
{
	return !options.only || strstr(name, options.only);
}

static uint64_t cpu_ns(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * FF3_NSEC_PER_SEC +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

struct limits_meter limits_start(void)
{
	return (struct limits_meter){ .wall_ns = ff3_now_ns(CLOCK_MONOTONIC),
				      .cpu_ns = cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN) };
}

bool limits_time_is_up(struct limits_meter begin)
{
	return (double)(ff3_now_ns(CLOCK_MONOTONIC) - begin.wall_ns) >= options.seconds * 1e9;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

void limits_report(struct limits_meter begin, const char *name, size_t block, unsigned depth,
		   uint64_t n_ops, struct limits_latencies *l)
{
	struct limits_meter end = limits_start();
	double seconds = (double)(end.wall_ns - begin.wall_ns) / 1e9;
	double rate = (double)n_ops / seconds;

	if (l)
		qsort(l->ns, l->n, sizeof *l->ns, compare);
	printf("%s\n  {\"name\": \"%s\", \"block\": %zu, \"depth\": %u, \"ops_per_s\": %.1f, "
	       "\"mib_per_s\": %.2f, \"cpu_us_per_op\": %.3f, \"p50_us\": %.2f}",
	       n_reported++ ? "," : "[", name, block, depth, rate,
	       rate * (double)block / (double)FF3_MIB(1),
	       (double)(end.cpu_ns - begin.cpu_ns) / 1e3 / (double)n_ops,
	       l && l->n ? l->ns[l->n / 2] / 1e3 : 0);
	fflush(stdout);
}

uint64_t limits_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

int limits_file(int flags)
{
	size_t block = FF3_MIB(1);
	_cleanup_free_ char *path = NULL;
	void *buf = aligned_alloc(4096, block);
	int fd, made;

	if (asprintf(&path, "%s/limits.XXXXXX", options.dir) < 0 || !buf)
		limits_die("memory");
	made = mkstemp(path);
	if (made < 0)
		limits_die(path);
	for (uint64_t at = 0; at < options.size; at += block) {
		ff3_pattern_fill(buf, block, 1, at);
		if (pwrite(made, buf, block, (off_t)at) != (ssize_t)block)
			limits_die(path);
	}
	if (fsync(made) < 0)
		limits_die(path);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		limits_die(path);
	unlink(path);
	close(made);
	free(buf);
	return fd;
}

static void measure_memcpy(void)
{
	size_t size = FF3_MIB(64), block = FF3_MIB(1);
	char *from = aligned_alloc(4096, size), *to = aligned_alloc(4096, size);
	struct limits_meter begin;
	uint64_t n = 0;

	if (!limits_wanted("memcpy"))
		return;
	if (!from || !to)
		limits_die("memory");
	memset(from, 1, size);
	memset(to, 2, size);
	begin = limits_start();
	while (!limits_time_is_up(begin))
		for (size_t at = 0; at < size; at += block, n++) {
			memcpy(to + at, from + at, block);
			__asm__ volatile("" : : "r"(to) : "memory");
		}
	limits_report(begin, "memcpy", block, 1, n, NULL);
	free(from);
	free(to);
}

static const struct argp_option known[] = {
	{ "dir", 'd', "DIR", 0, "where the disk's files go (default: /tmp)", 0 },
	{ "seconds", 's', "S", 0, "length of one measurement (default: 1)", 0 },
	{ "size", 'z', "BYTES", 0, "working set (default: 128 MiB)", 0 },
	{ "cpu", 'c', "N", 0, "pin both sides to this CPU", 0 },
	{ "only", 'o', "PART", 0, "only measurements whose name has PART in it", 0 },
	{ 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'd':
		options.dir = arg;
		return 0;
	case 's':
		options.seconds = atof(arg);
		return 0;
	case 'z':
		options.size = ROUND_UP(strtoull(arg, NULL, 0), FF3_MIB(1));
		return 0;
	case 'c':
		options.cpu = atoi(arg);
		return 0;
	case 'o':
		options.only = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { known, on_option, NULL, "What this machine can do at most.",
					  NULL, NULL, NULL };
	cpu_set_t set;

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (options.cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(options.cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set) < 0)
			limits_die("--cpu");
	}
	limits_tcp();
	limits_disk();
	measure_memcpy();
	printf("%s\n", n_reported ? "\n]" : "[]");
	return EXIT_SUCCESS;
}
