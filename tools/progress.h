/* A progress bar on a terminal's stderr, with rate and time left.
 *
 * Threads: the counters may be changed by any thread; a thread of the bar's own prints them ten
 * times a second. start and stop belong to one thread. */
#pragma once

#include <stdatomic.h>

#include "../common/base/base.h"

struct progress {
	const char *label;
	_Atomic uint64_t files, total_files;
	_Atomic uint64_t bytes, total_bytes;
	atomic_bool scanning; /* the totals still grow */
};

/* What a line shows. */
struct progress_view {
	const char *label;
	uint64_t files, total_files;
	uint64_t bytes, total_bytes;
	bool scanning;
	double rate; /* bytes in a second; 0: not known yet */
};

/* The line for a terminal of that many columns, without its end. Returns buf. */
char *progress_line(char *buf, size_t size, unsigned columns, const struct progress_view *v);

/* Shows p until progress_stop, if stderr is a terminal that can move its cursor, and wanted. */
void progress_start(struct progress *p, bool wanted);
/* Takes the bar away. Harmless if none was shown. */
void progress_stop(void);
