/* The parts of `ff3fs bench`. A measurement is a function that does operations until its time is
 * over or its work is done; bench.c times it, counts CPU time and prints. */
#pragma once

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

#define BENCH_THREADS_MAX 64u
#define BENCH_DEPTH_MAX 256u
#define BENCH_PIDS_MAX 64u

struct bench_options {
	const char *dir; /* remote; a directory of our own is made in it */
	uint64_t time_ns;
	uint64_t size; /* of the data file */
	uint64_t n_files;
	const char *only;
	bool once; /* each block is read at most once in a measurement */
	uint64_t blocks[8];
	unsigned n_blocks;
	unsigned depths[8];
	unsigned n_depths;
	unsigned threads[8];
	unsigned n_threads;
	pid_t pids[BENCH_PIDS_MAX];
	unsigned n_pids;
};

/* One thread's part of a measurement. */
struct bench_run {
	struct ff3fs *fs;
	const struct bench_options *options;
	const char *dir;         /* ours, relative to the root */
	struct ff3fs_file *file; /* the data file */
	uint64_t block;
	unsigned depth;
	unsigned thread, n_threads;
	uint64_t until_ns; /* CLOCK_MONOTONIC */
	/* Results. */
	uint64_t n_ops;
	int error;
	uint32_t *latencies; /* nanoseconds of the first operations; for one at a time */
	size_t n_latencies;
};
#define BENCH_LATENCIES 200000u

typedef int bench_fn(struct bench_run *run);

struct bench_row {
	const char *name;
	uint64_t block;
	unsigned depth, threads;
	uint64_t n_ops;
	double seconds, client_cpu_us, daemon_cpu_us; /* CPU of all operations */
	double p50_us, p99_us;                        /* 0: not measured */
};

/* Runs fn on n threads and fills row. Returns the first error. */
int bench_measure(const struct bench_run *model, bench_fn *fn, unsigned n_threads,
		  struct bench_row *row);
static inline bool bench_time_is_up(const struct bench_run *run)
{
	return ff3_now_ns(CLOCK_MONOTONIC) >= run->until_ns;
}
/* Remembers how long one operation took that began at begin_ns. */
void bench_latency(struct bench_run *run, uint64_t begin_ns);

/* bench_io.c: on run->file, of the bytes of pattern 1. */
bench_fn bench_write_sequential, bench_read_sequential, bench_read_random, bench_write_random;
/* bench_files.c: on options->n_files files of 4 KiB. */
bench_fn bench_create, bench_stat, bench_open_read_close, bench_readdir, bench_unlink;
