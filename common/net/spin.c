#include "spin.h"

#include <stdatomic.h>

#define PENALTY_MAX 128u

/* 0: there is no core for it. */
static int most_at_once(void)
{
	static atomic_int known; /* plus 1 */
	int n = atomic_load_explicit(&known, memory_order_relaxed);

	if (n == 0) {
		n = (int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
		atomic_store_explicit(&known, n, memory_order_relaxed);
	}
	return n - 1;
}

bool ff3_spin_begin(void)
{
	return most_at_once() > 0;
}

void ff3_spin_end(struct ff3_spinner *s, bool came)
{
	s->penalty = came ? s->penalty / 2 : MIN(2 * s->penalty + 1, PENALTY_MAX);
	s->skip = came ? 0 : s->penalty;
}
