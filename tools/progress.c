/* Purpose: the progress bar of ff3fs-put and ff3fs-get.
 * Threads: see progress.h; ending and its condition are guarded by lock.
 * Fork/signal: none here. */
#include "progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "cli.h"

#define TICK_NS (100 * FF3_NSEC_PER_MSEC)
#define CLEAR "\r\033[K"
#define BAR_MIN 6
#define BAR_MAX 30

static struct {
	struct progress *shown;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ending;
} bar = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* --- The line --------------------------------------------------------------------------------- */

/* "1.4/2.0 GiB", or "512 KiB/2.0 GiB" where the units differ. */
static void put_amount(char *buf, size_t size, uint64_t done, uint64_t total)
{
	char a[32], b[32], *space;

	cli_iec(a, (double)done);
	cli_iec(b, (double)total);
	space = strchr(a, ' ');
	if (space && strchr(b, ' ') && strcmp(space, strchr(b, ' ')) == 0)
		*space = '\0';
	snprintf(buf, size, "%s/%s", a, b);
}

static void put_bar(char *buf, int width, double share)
{
	int full = (int)(share * width);

	buf[0] = '[';
	for (int i = 0; i < width; i++)
		buf[1 + i] = i < full ? '=' : i == full ? '>' : ' ';
	strcpy(buf + 1 + width, "]");
}

static double share_of(const struct progress_view *v)
{
	double share = 1;

	if (v->total_bytes)
		share = (double)v->bytes / (double)v->total_bytes;
	else if (v->total_files)
		share = (double)v->files / (double)v->total_files;
	return MIN(share, 1.0);
}

static void put_rest(char *buf, size_t size, const struct progress_view *v)
{
	char rate[32], eta[32];

	if (v->rate <= 0)
		snprintf(buf, size, "%s", v->scanning ? "scanning" : "");
	else if (v->scanning)
		snprintf(buf, size, "%s/s  scanning", cli_iec(rate, v->rate));
	else
		snprintf(buf, size, "%s/s  ETA %s", cli_iec(rate, v->rate),
			 cli_duration(eta, (uint64_t)((double)(v->total_bytes -
							       MIN(v->bytes, v->total_bytes)) /
						      v->rate + 0.5)));
}

char *progress_line(char *buf, size_t size, unsigned columns, const struct progress_view *v)
{
	char counts[80], files[32], total[32], amount[80], rest[80], drawn[BAR_MAX + 3] = "";
	int used, width, label = (int)strlen(v->label);

	counts[0] = '\0';
	if (v->total_files > 1)
		snprintf(counts, sizeof counts, "%s/%s files  ", cli_count(files, v->files),
			 cli_count(total, v->total_files));
	put_amount(amount, sizeof amount, v->bytes, v->total_bytes);
	put_rest(rest, sizeof rest, v);
	used = (int)(strlen(counts) + strlen(amount) + strlen(rest)) + 2;
	/* First the label gives way, then the bar, then the end of the line. */
	label = MAX(MIN(label, (int)columns - 1 - used - BAR_MIN - 4), 0);
	used += label ? label + 1 : 0;
	width = MIN((int)columns - 1 - used - 3, BAR_MAX);
	if (width >= BAR_MIN)
		put_bar(drawn, width, share_of(v));
	snprintf(buf, MIN(size, (size_t)MAX(columns, 1u)), "%.*s%s%s%s %s%s%s", label, v->label,
		 label ? " " : "", counts, amount, drawn, *drawn ? " " : "", rest);
	return buf;
}

/* --- The thread ------------------------------------------------------------------------------- */

static unsigned terminal_columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

/* The rate over about the last five seconds. */
static double smooth(double rate, uint64_t bytes, uint64_t ns, uint64_t age_ns)
{
	double now = (double)bytes / ((double)ns / 1e9);
	double weight = (double)ns / (double)MIN(MAX(age_ns, ns), 5 * FF3_NSEC_PER_SEC);

	return rate + (now - rate) * MIN(weight, 1.0);
}

static void print(const struct progress *p, double rate)
{
	struct progress_view v = {
		.label = p->label,
		.files = p->files,
		.total_files = p->total_files,
		.bytes = p->bytes,
		.total_bytes = p->total_bytes,
		.scanning = p->scanning,
		.rate = rate,
	};
	char line[512], out[560];
	int n = snprintf(out, sizeof out, "\r%s\033[K",
			 progress_line(line, sizeof line, terminal_columns(), &v));

	fwrite(out, 1, (size_t)n, stderr);
}

static void *run(void *arg)
{
	struct progress *p = arg;
	uint64_t began = ff3_now_ns(CLOCK_MONOTONIC), last = began, last_bytes = p->bytes;
	double rate = 0;

	pthread_mutex_lock(&bar.lock);
	while (!bar.ending) {
		uint64_t due = last + TICK_NS, now, bytes;
		struct timespec until = { (time_t)(due / FF3_NSEC_PER_SEC),
					  (long)(due % FF3_NSEC_PER_SEC) };

		if (pthread_cond_timedwait(&bar.changed, &bar.lock, &until) != ETIMEDOUT)
			continue;
		now = ff3_now_ns(CLOCK_MONOTONIC);
		bytes = p->bytes;
		/* A file that is copied again takes its bytes back. */
		if (bytes >= last_bytes)
			rate = smooth(rate, bytes - last_bytes, now - last, now - began);
		last = now;
		last_bytes = bytes;
		print(p, rate);
	}
	pthread_mutex_unlock(&bar.lock);
	return NULL;
}

void progress_start(struct progress *p, bool wanted)
{
	const char *term = getenv("TERM");
	pthread_condattr_t attr;

	if (!wanted || !isatty(STDERR_FILENO) || !term || strcmp(term, "dumb") == 0)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&bar.changed, &attr);
	pthread_condattr_destroy(&attr);
	bar.ending = false;
	if (ff3_thread_new(&bar.thread, run, p) == 0) {
		bar.shown = p;
		cli_line_clear = CLEAR;
	}
}

void progress_stop(void)
{
	if (!bar.shown)
		return;
	pthread_mutex_lock(&bar.lock);
	bar.ending = true;
	pthread_cond_signal(&bar.changed);
	pthread_mutex_unlock(&bar.lock);
	pthread_join(bar.thread, NULL);
	pthread_cond_destroy(&bar.changed);
	bar.shown = NULL;
	cli_line_clear = "";
	fputs(CLEAR, stderr);
}
