/* Counters, gauges and latency histograms, and their Prometheus text form (0.0.4).
 *
 * Names are ff3fs_<daemon>_<what>_<unit>[_total] in base units (seconds, bytes); labels have few
 * values: an operation, a direction, never a path or a process.
 *
 * Threads: counters and histograms are relaxed atomics that any thread may change and read; a
 * reader may see one of two related counters changed and the other not yet. Printing is for one
 * thread at a time. */
#pragma once

#include <stdatomic.h>
#include <stdio.h>

#include "../base/base.h"

/* A counter only grows; a gauge goes up and down. Zero-initialised. */
typedef _Atomic uint64_t ff3_counter;
typedef _Atomic int64_t ff3_gauge;

static inline void ff3_counter_add(ff3_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* For a counter that only one thread changes: no locked instruction. */
static inline void ff3_counter_add_own(ff3_counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t ff3_counter_get(const ff3_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void ff3_gauge_add(ff3_gauge *g, int64_t n)
{
	atomic_fetch_add_explicit(g, n, memory_order_relaxed);
}

static inline void ff3_gauge_set(ff3_gauge *g, int64_t v)
{
	atomic_store_explicit(g, v, memory_order_relaxed);
}

static inline int64_t ff3_gauge_get(const ff3_gauge *g)
{
	return atomic_load_explicit(g, memory_order_relaxed);
}

/* A log-linear histogram of durations: FF3_HISTOGRAM_SUB buckets for every power of two from
 * 2^10 ns (1 µs) to 2^34 ns (17 s), one below and one above. A bucket is at most 1/4 wide. */
#define FF3_HISTOGRAM_SUB_BITS 2
#define FF3_HISTOGRAM_SUB (1u << FF3_HISTOGRAM_SUB_BITS)
#define FF3_HISTOGRAM_MIN_BITS 10u
#define FF3_HISTOGRAM_MAX_BITS 34u
#define FF3_HISTOGRAM_BUCKETS                                                                      \
	((FF3_HISTOGRAM_MAX_BITS - FF3_HISTOGRAM_MIN_BITS) * FF3_HISTOGRAM_SUB + 2)

struct ff3_histogram {
	ff3_counter buckets[FF3_HISTOGRAM_BUCKETS];
	ff3_counter sum_ns;
};

/* The bucket of a duration; bucket b holds [lower(b), lower(b + 1)). */
static inline unsigned ff3_histogram_bucket(uint64_t ns)
{
	unsigned bits;

	if (ns < 1ull << FF3_HISTOGRAM_MIN_BITS)
		return 0;
	if (ns >= 1ull << FF3_HISTOGRAM_MAX_BITS)
		return FF3_HISTOGRAM_BUCKETS - 1;
	bits = 63u - (unsigned)__builtin_clzll(ns);
	return 1 + (bits - FF3_HISTOGRAM_MIN_BITS) * FF3_HISTOGRAM_SUB +
	       ((unsigned)(ns >> (bits - FF3_HISTOGRAM_SUB_BITS)) & (FF3_HISTOGRAM_SUB - 1));
}

static inline void ff3_histogram_observe(struct ff3_histogram *h, uint64_t ns)
{
	ff3_counter_add(&h->buckets[ff3_histogram_bucket(ns)], 1);
	ff3_counter_add(&h->sum_ns, ns);
}

/* For a histogram that only one thread changes. */
static inline void ff3_histogram_observe_own(struct ff3_histogram *h, uint64_t ns)
{
	ff3_counter_add_own(&h->buckets[ff3_histogram_bucket(ns)], 1);
	ff3_counter_add_own(&h->sum_ns, ns);
}

uint64_t ff3_histogram_count(const struct ff3_histogram *h);
/* Adds from's observations to into. */
void ff3_histogram_merge(struct ff3_histogram *into, const struct ff3_histogram *from);
/* The duration below which the share q (0 … 1) of the observations lies, interpolated inside its
 * bucket; 0 without observations. */
uint64_t ff3_histogram_quantile_ns(const struct ff3_histogram *h, double q);

/* --- Text form ------------------------------------------------------------------------------ */

/* The two comment lines that open a family: type is "counter", "gauge" or "histogram". */
void ff3_metrics_family(FILE *out, const char *name, const char *type, const char *help);
/* One sample. labels: `op="lookup"` or NULL; values inside must hold no quote or backslash. */
void ff3_metrics_sample(FILE *out, const char *name, const char *labels, uint64_t value);
void ff3_metrics_sample_double(FILE *out, const char *name, const char *labels, double value);
/* A histogram's samples, in seconds, one bucket for each power of two. */
void ff3_metrics_histogram(FILE *out, const char *name, const char *labels,
			   const struct ff3_histogram *h);

/* What every daemon shows of itself: ff3fs_build_info, and its CPU time, memory, descriptors and
 * start as process_*, the names that dashboards know. daemon: "metad". */
void ff3_metrics_process(FILE *out, const char *daemon);
