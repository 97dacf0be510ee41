/* Purpose: reads and writes of the data file. Every read is checked against the pattern; writes put
 * the same pattern there again, so that reads stay checkable.
 * Threads: each has its bench_run. */
#include "../common/base/pattern.h"
#include "bench.h"

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Where operation n goes. With options->once: a walk that visits every block of the thread's part
 * once; else any block. UINT64_MAX: there is none left. */
static uint64_t place(const struct bench_run *run, uint64_t n, uint64_t *random)
{
	uint64_t n_blocks = run->options->size / run->block, mine = n_blocks / run->n_threads;

	if (!run->options->once)
		return next_random(random) % n_blocks * run->block;
	if (n >= mine)
		return UINT64_MAX;
	/* An odd step walks a number of places that is a power of two; others are cut to one. */
	while (mine & (mine - 1))
		mine &= mine - 1;
	if (n >= mine)
		return UINT64_MAX;
	return (run->thread * mine + (n * 0x9e3779b1u + 12345) % mine) * run->block;
}

static int check_read(const struct bench_run *run, const void *buf, ssize_t n, uint64_t offset)
{
	if (n < 0)
		return (int)n;
	return n == (ssize_t)run->block && ff3_pattern_check(buf, run->block, 1, offset) ? 0 : -EBADMSG;
}

static int one_at_a_time(struct bench_run *run, bool write)
{
	_cleanup_free_ void *buf = aligned_alloc(4096, run->block);
	uint64_t random = 88172645463325252ull + run->thread * 7919, offset;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	memset(buf, 0, run->block);
	for (; r == 0; run->n_ops++) {
		uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC);
		ssize_t n;

		offset = place(run, run->n_ops, &random);
		if (begin >= run->until_ns || offset == UINT64_MAX)
			break;
		if (write) {
			ff3_pattern_fill(buf, run->block, 1, offset);
			n = ff3fs_pwrite(run->file, buf, run->block, (off_t)offset);
			r = n < 0 ? (int)n : 0;
		} else {
			n = ff3fs_pread(run->file, buf, run->block, (off_t)offset);
			r = check_read(run, buf, n, offset);
		}
		bench_latency(run, begin);
	}
	return r;
}

struct slot {
	void *buf;
	uint64_t offset;
};

static int queue_one(struct bench_run *run, struct ff3fs_batch *batch, struct slot *s, bool write,
		     uint64_t *n, uint64_t *random)
{
	s->offset = place(run, *n, random);
	if (s->offset == UINT64_MAX)
		return 0;
	++*n;
	if (write)
		ff3_pattern_fill(s->buf, run->block, 1, s->offset);
	return write ? ff3fs_batch_write(batch, run->file, s->buf, run->block, (off_t)s->offset, s) :
		       ff3fs_batch_read(batch, run->file, s->buf, run->block, (off_t)s->offset, s);
}

static int reap_some(struct bench_run *run, struct ff3fs_batch *batch, struct slot *slots,
		     bool write, uint64_t *n_asked)
{
	uint64_t random = 88172645463325252ull + run->thread * 7919;
	struct ff3fs_completion done[BENCH_DEPTH_MAX];
	int outstanding = 0, r = 0, n;

	for (unsigned i = 0; i < run->depth && r == 0; i++)
		r = queue_one(run, batch, &slots[i], write, n_asked, &random);
	while (r == 0 && (outstanding = ff3fs_batch_submit(batch)) > 0) {
		bool stop = bench_time_is_up(run);

		n = ff3fs_batch_reap(batch, done, 1, BENCH_DEPTH_MAX, NULL);
		for (int i = 0; i < n && r == 0; i++) {
			struct slot *s = done[i].user;

			if (write)
				r = done[i].result < 0 ? (int)done[i].result : 0;
			else
				r = check_read(run, s->buf, done[i].result, s->offset);
			run->n_ops++;
			if (r == 0 && !stop)
				r = queue_one(run, batch, s, write, n_asked, &random);
		}
		r = n < 0 ? n : r;
	}
	return outstanding < 0 ? outstanding : r;
}

static int many_at_once(struct bench_run *run, bool write)
{
	struct slot slots[BENCH_DEPTH_MAX] = { { NULL, 0 } };
	struct ff3fs_batch *batch = NULL;
	uint64_t n_asked = 0;
	int r = ff3fs_batch_new(run->fs, run->depth, &batch);

	for (unsigned i = 0; i < run->depth && r == 0; i++) {
		slots[i].buf = aligned_alloc(4096, run->block);
		if (!slots[i].buf)
			r = -ENOMEM;
		else
			memset(slots[i].buf, 0, run->block);
	}
	if (r == 0)
		r = reap_some(run, batch, slots, write, &n_asked);
	ff3fs_batch_free(batch);
	for (unsigned i = 0; i < run->depth; i++)
		free(slots[i].buf);
	return r;
}

int bench_read_random(struct bench_run *run)
{
	return run->depth == 1 ? one_at_a_time(run, false) : many_at_once(run, false);
}

int bench_write_random(struct bench_run *run)
{
	int r = run->depth == 1 ? one_at_a_time(run, true) : many_at_once(run, true);

	return r < 0 ? r : ff3fs_fsync(run->file);
}

/* The whole file from its beginning, once, and durable at the end. */
int bench_write_sequential(struct bench_run *run)
{
	_cleanup_free_ void *buf = aligned_alloc(4096, run->block);
	uint64_t share = run->options->size / run->n_threads, from = run->thread * share;

	if (!buf)
		return -ENOMEM;
	for (uint64_t at = from; at < from + share; at += run->block, run->n_ops++) {
		ssize_t n;

		ff3_pattern_fill(buf, run->block, 1, at);
		n = ff3fs_pwrite(run->file, buf, run->block, (off_t)at);
		if (n < 0)
			return (int)n;
	}
	return ff3fs_fsync(run->file);
}

int bench_read_sequential(struct bench_run *run)
{
	_cleanup_free_ void *buf = aligned_alloc(4096, run->block);
	uint64_t share = run->options->size / run->n_threads / run->block * run->block;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t at = 0; r == 0 && !bench_time_is_up(run); run->n_ops++) {
		uint64_t offset = run->thread * share + at;

		r = check_read(run, buf, ff3fs_pread(run->file, buf, run->block, (off_t)offset), offset);
		at = (at + run->block) % share;
		if (at == 0 && run->options->once)
			break;
	}
	return r;
}
