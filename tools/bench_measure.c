/* Purpose: running one measurement on several threads and counting what it cost: wall time, CPU
 * time of this process and of the daemons, latencies.
 * Threads: made here, one bench_run each. */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

#include "bench.h"

struct thread {
	pthread_t id;
	struct bench_run run;
	bench_fn *fn;
	pthread_barrier_t *barrier;
};

static uint64_t own_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * FF3_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds that the threads of pid ran so far; those of threads that ended are not in it. */
static uint64_t daemon_cpu_ns(pid_t pid)
{
	char path[64 + 256];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((e = readdir(dir))) {
		uint64_t ns;
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%" SCNu64, &ns) == 1)
			sum += ns;
		fclose(f);
	}
	closedir(dir);
	return sum;
}

static uint64_t daemons_cpu_ns(const struct bench_options *o)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < o->n_pids; i++)
		sum += daemon_cpu_ns(o->pids[i]);
	return sum;
}

void bench_latency(struct bench_run *run, uint64_t begin_ns)
{
	uint64_t ns = ff3_now_ns(CLOCK_MONOTONIC) - begin_ns;

	if (run->latencies && run->n_latencies < BENCH_LATENCIES)
		run->latencies[run->n_latencies++] = (uint32_t)MIN(ns, (uint64_t)UINT32_MAX);
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;

	pthread_barrier_wait(t->barrier);
	t->run.until_ns = ff3_now_ns(CLOCK_MONOTONIC) + t->run.options->time_ns;
	t->run.error = t->fn(&t->run);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void set_percentiles(struct bench_run *run, struct bench_row *row)
{
	if (run->n_latencies == 0)
		return;
	qsort(run->latencies, run->n_latencies, sizeof *run->latencies, compare);
	row->p50_us = run->latencies[run->n_latencies / 2] / 1e3;
	row->p99_us = run->latencies[run->n_latencies * 99 / 100] / 1e3;
}

int bench_measure(const struct bench_run *model, bench_fn *fn, unsigned n_threads,
		  struct bench_row *row)
{
	_cleanup_free_ struct thread *threads = calloc(n_threads, sizeof *threads);
	_cleanup_free_ uint32_t *latencies = malloc(BENCH_LATENCIES * sizeof *latencies);
	uint64_t wall, own, daemons;
	pthread_barrier_t barrier;
	int r = 0;

	if (!threads || !latencies)
		return -ENOMEM;
	pthread_barrier_init(&barrier, NULL, n_threads + 1);
	for (unsigned i = 0; i < n_threads; i++) {
		threads[i] = (struct thread){ .run = *model, .fn = fn, .barrier = &barrier };
		threads[i].run.thread = i;
		threads[i].run.n_threads = n_threads;
		threads[i].run.latencies = i == 0 ? latencies : NULL;
		r = -pthread_create(&threads[i].id, NULL, run_thread, &threads[i]);
		if (r < 0)
			return r;
	}
	own = own_cpu_ns();
	daemons = daemons_cpu_ns(model->options);
	wall = ff3_now_ns(CLOCK_MONOTONIC);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < n_threads; i++) {
		pthread_join(threads[i].id, NULL);
		row->n_ops += threads[i].run.n_ops;
		if (r == 0)
			r = threads[i].run.error;
	}
	wall = ff3_now_ns(CLOCK_MONOTONIC) - wall;
	pthread_barrier_destroy(&barrier);
	row->seconds = (double)wall / 1e9;
	row->client_cpu_us = (double)(own_cpu_ns() - own) / 1e3;
	row->daemon_cpu_us = (double)(daemons_cpu_ns(model->options) - daemons) / 1e3;
	set_percentiles(&threads[0].run, row);
	return r;
}
