/* Random reads of one file, each checked, by plain calls: so the same program measures whatever is mounted or
 * preloaded.
 *
 *   hot make FILE BYTES           writes it: every 8 bytes tell where they are
 *   hot read FILE SIZE THREADS SECONDS
 *   hot copy SIZE SECONDS         what memcpy does, from memory of 64 MiB
 *
 * Prints operations per second, bytes per second, and microseconds of CPU for each operation. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../clocks.h"

#define MAX_THREADS 64
#define WARM_S 1.0

static void die(const char *what)
{
	fprintf(stderr, "hot: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void fill(uint64_t *p, size_t len, uint64_t offset)
{
	for (size_t i = 0; i < len / 8; i++)
		p[i] = offset + i * 8;
}

/* A word of every 512 bytes, and the last one. */
static int is_right(const uint64_t *p, size_t len, uint64_t offset)
{
	for (size_t i = 0; i < len / 8; i += 64)
		if (p[i] != offset + i * 8)
			return 0;
	return p[len / 8 - 1] == offset + len - 8;
}

struct shared {
	int fd;
	size_t size;
	uint64_t n_places;
	_Atomic int phase; /* 0: warming up; 1: counted; 2: over */
};

struct reader {
	struct shared *s;
	uint64_t n, seed;
	pthread_t thread;
};

static void *reading(void *arg)
{
	struct reader *r = arg;
	struct shared *s = r->s;
	uint64_t *buf = aligned_alloc(4096, s->size), x = r->seed;
	int phase;

	if (!buf)
		die("memory");
	while ((phase = atomic_load_explicit(&s->phase, memory_order_relaxed)) < 2) {
		uint64_t at;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		at = x % s->n_places * s->size;
		if (pread(s->fd, buf, s->size, (off_t)at) != (ssize_t)s->size)
			die("pread");
		if (!is_right(buf, s->size, at)) {
			fprintf(stderr, "hot: wrong bytes at %llu\n", (unsigned long long)at);
			exit(3);
		}
		r->n += phase == 1;
	}
	free(buf);
	return NULL;
}

static void wait_for(double seconds)
{
	double until = now_s() + seconds;
	struct timespec t = { (time_t)until, (long)((until - (double)(time_t)until) * 1e9) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void print(uint64_t n, size_t size, double seconds, double cpu_seconds)
{
	printf("%.0f %.0f %.3f\n", (double)n / seconds, (double)n * (double)size / seconds,
	       n ? cpu_seconds / (double)n * 1e6 : 0.0);
}

static void do_read(const char *path, size_t size, int n_threads, double seconds)
{
	static struct reader readers[MAX_THREADS];
	struct shared s = { .fd = open(path, O_RDONLY), .size = size };
	double from, cpu_from;
	uint64_t n = 0;
	/* Not every library that is preloaded here has fstat(). */
	off_t end = s.fd < 0 ? -1 : lseek(s.fd, 0, SEEK_END);

	if (end < (off_t)size)
		die(path);
	s.n_places = (uint64_t)end / size;
	for (int i = 0; i < n_threads; i++) {
		readers[i].s = &s;
		readers[i].seed = 88172645463325252ull + (uint64_t)i;
		if (pthread_create(&readers[i].thread, NULL, reading, &readers[i]))
			die("pthread_create");
	}
	wait_for(WARM_S);
	atomic_store(&s.phase, 1);
	from = now_s();
	cpu_from = cpu_s();
	wait_for(seconds);
	atomic_store(&s.phase, 2);
	from = now_s() - from;
	cpu_from = cpu_s() - cpu_from;
	for (int i = 0; i < n_threads; i++) {
		pthread_join(readers[i].thread, NULL);
		n += readers[i].n;
	}
	print(n, size, from, cpu_from);
}

static void do_copy(size_t size, double seconds)
{
	const size_t all = 64u << 20;
	uint64_t *from = aligned_alloc(4096, all), *to = aligned_alloc(4096, size), n = 0, x = 88172645463325252ull;
	double begin, until, cpu_from;

	if (!from || !to)
		die("memory");
	fill(from, all, 0);
	memset(to, 0, size);
	begin = now_s();
	until = begin + seconds;
	cpu_from = cpu_s();
	for (; now_s() < until; n++) {
		uint64_t at;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		at = x % (all / size) * size;
		memcpy(to, (char *)from + at, size);
		if (!is_right(to, size, at))
			die("memcpy");
	}
	print(n, size, now_s() - begin, cpu_s() - cpu_from);
}

static void do_make(const char *path, size_t size)
{
	const size_t piece = 1u << 20;
	uint64_t *buf = malloc(piece);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (!buf || fd < 0)
		die(path);
	for (size_t at = 0; at < size; at += piece) {
		fill(buf, piece, at);
		if (write(fd, buf, piece) != (ssize_t)piece)
			die("write");
	}
	if (close(fd) < 0)
		die("close");
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "make") == 0)
		do_make(argv[2], strtoul(argv[3], NULL, 0));
	else if (argc == 6 && strcmp(argv[1], "read") == 0 && atoi(argv[4]) <= MAX_THREADS)
		do_read(argv[2], strtoul(argv[3], NULL, 0), atoi(argv[4]), atof(argv[5]));
	else if (argc == 4 && strcmp(argv[1], "copy") == 0)
		do_copy(strtoul(argv[2], NULL, 0), atof(argv[3]));
	else
		return 2;
	return 0;
}
