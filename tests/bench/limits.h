/* The parts of limits, the program that measures what the machine can do at most. */
#pragma once

#include "../../common/base/pattern.h"

struct limits_options {
	const char *dir;
	double seconds;    /* of one measurement */
	uint64_t size;     /* working set */
	int cpu;           /* both sides on this one; -1: anywhere */
	const char *only;  /* a part of the names to measure; NULL: all */
};

struct limits_meter {
	uint64_t wall_ns, cpu_ns;
};

/* How long single operations took. */
struct limits_latencies {
	uint32_t *ns;
	size_t n;
};
#define LIMITS_LATENCIES 200000u

extern struct limits_options options;

/* Says what failed, and exits. */
void limits_die(const char *what) __attribute__((noreturn));
bool limits_wanted(const char *name);
/* CPU time counts this process and the children it has waited for. */
struct limits_meter limits_start(void);
/* latencies: NULL if they were not measured; it is sorted. */
void limits_report(struct limits_meter begin, const char *name, size_t block, unsigned depth,
		   uint64_t n_ops, struct limits_latencies *latencies);
bool limits_time_is_up(struct limits_meter begin);
uint64_t limits_random(uint64_t *state);
/* A file of options.size bytes full of pattern 1 in options.dir, unlinked; open with flags. */
int limits_file(int flags);

void limits_tcp(void);
void limits_disk(void);
