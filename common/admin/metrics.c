/* Purpose: latency histograms and the Prometheus text form.
 * Threads: see metrics.h; ff3_metrics_process reads /proc/self of the whole process.
 * Fork/signal: none here. */
#include "metrics.h"

#include <dirent.h>
#include <sys/resource.h>

/* The lower bound of bucket b; of the number of buckets: "infinite". */
static uint64_t bucket_lower(unsigned b)
{
	unsigned octave, sub;

	if (b == 0)
		return 0;
	octave = (b - 1) / FF3_HISTOGRAM_SUB + FF3_HISTOGRAM_MIN_BITS;
	sub = (b - 1) % FF3_HISTOGRAM_SUB;
	return (1ull << octave) + ((uint64_t)sub << (octave - FF3_HISTOGRAM_SUB_BITS));
}

uint64_t ff3_histogram_count(const struct ff3_histogram *h)
{
	uint64_t n = 0;

	for (unsigned b = 0; b < FF3_HISTOGRAM_BUCKETS; b++)
		n += ff3_counter_get(&h->buckets[b]);
	return n;
}

void ff3_histogram_merge(struct ff3_histogram *into, const struct ff3_histogram *from)
{
	for (unsigned b = 0; b < FF3_HISTOGRAM_BUCKETS; b++)
		ff3_counter_add(&into->buckets[b], ff3_counter_get(&from->buckets[b]));
	ff3_counter_add(&into->sum_ns, ff3_counter_get(&from->sum_ns));
}

uint64_t ff3_histogram_quantile_ns(const struct ff3_histogram *h, double q)
{
	uint64_t counts[FF3_HISTOGRAM_BUCKETS];
	uint64_t total = 0;
	double rank, before = 0;

	for (unsigned b = 0; b < FF3_HISTOGRAM_BUCKETS; b++)
		total += counts[b] = ff3_counter_get(&h->buckets[b]);
	rank = q * (double)total;
	for (unsigned b = 0; b < FF3_HISTOGRAM_BUCKETS; b++) {
		uint64_t lower = bucket_lower(b);
		double share;

		if (counts[b] == 0 || before + (double)counts[b] < rank) {
			before += (double)counts[b];
			continue;
		}
		if (b == FF3_HISTOGRAM_BUCKETS - 1)
			return lower;
		share = (rank - before) / (double)counts[b];
		return lower + (uint64_t)(share * (double)(bucket_lower(b + 1) - lower));
	}
	return 0;
}

/* --- Text form ------------------------------------------------------------------------------ */

void ff3_metrics_family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_name(FILE *out, const char *name, const char *suffix, const char *labels)
{
	if (labels && *labels)
		fprintf(out, "%s%s{%s} ", name, suffix, labels);
	else
		fprintf(out, "%s%s ", name, suffix);
}

void ff3_metrics_sample(FILE *out, const char *name, const char *labels, uint64_t value)
{
	put_name(out, name, "", labels);
	fprintf(out, "%" PRIu64 "\n", value);
}

void ff3_metrics_sample_double(FILE *out, const char *name, const char *labels, double value)
{
	put_name(out, name, "", labels);
	fprintf(out, "%.9g\n", value);
}

void ff3_metrics_histogram(FILE *out, const char *name, const char *labels,
			   const struct ff3_histogram *h)
{
	const char *comma = labels && *labels ? "," : "";
	uint64_t total = ff3_counter_get(&h->buckets[0]);

	if (!labels)
		labels = "";
	/* Cumulative: the counts are read once each, so that the last bucket equals the count. */
	for (unsigned b = 1; b < FF3_HISTOGRAM_BUCKETS; b++) {
		if ((b - 1) % FF3_HISTOGRAM_SUB == 0)
			fprintf(out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", name, labels, comma,
				(double)bucket_lower(b) / 1e9, total);
		total += ff3_counter_get(&h->buckets[b]);
	}
	fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, total);
	put_name(out, name, "_sum", labels);
	fprintf(out, "%.9f\n", (double)ff3_counter_get(&h->sum_ns) / 1e9);
	put_name(out, name, "_count", labels);
	fprintf(out, "%" PRIu64 "\n", total);
}

/* --- The process ---------------------------------------------------------------------------- */

static uint64_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n ? n - 1 : 0; /* without the one that lists */
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size = 0, resident = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t start_time(void)
{
	static uint64_t started;
	unsigned long long ticks = 0;
	FILE *f;

	if (started)
		return started;
	f = fopen("/proc/self/stat", "re");
	if (!f)
		return 0;
	/* The second field may hold anything but ends with the last ')'. */
	if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
		      "%*d %*d %*d %llu", &ticks) == 1)
		started = ff3_realtime_ns() / FF3_NSEC_PER_SEC -
			  ff3_boottime_ns() / FF3_NSEC_PER_SEC +
			  ticks / (unsigned long long)sysconf(_SC_CLK_TCK);
	fclose(f);
	return started;
}

void ff3_metrics_process(FILE *out, const char *daemon)
{
	struct rusage usage;
	char labels[128];
	double cpu;

	snprintf(labels, sizeof labels, "daemon=\"%s\",version=\"%s\"", daemon, PACKAGE_VERSION);
	ff3_metrics_family(out, "ff3fs_build_info", "gauge", "Always 1; the labels tell the build.");
	ff3_metrics_sample(out, "ff3fs_build_info", labels, 1);

	getrusage(RUSAGE_SELF, &usage);
	cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	ff3_metrics_family(out, "process_cpu_seconds_total", "counter",
			   "User and system CPU time spent in seconds.");
	ff3_metrics_sample_double(out, "process_cpu_seconds_total", NULL, cpu);
	ff3_metrics_family(out, "process_resident_memory_bytes", "gauge",
			   "Resident memory size in bytes.");
	ff3_metrics_sample(out, "process_resident_memory_bytes", NULL, resident_bytes());
	ff3_metrics_family(out, "process_open_fds", "gauge", "Number of open file descriptors.");
	ff3_metrics_sample(out, "process_open_fds", NULL, count_fds());
	ff3_metrics_family(out, "process_start_time_seconds", "gauge",
			   "Start time of the process since the epoch in seconds.");
	ff3_metrics_sample(out, "process_start_time_seconds", NULL, start_time());
}
