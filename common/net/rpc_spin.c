/* Purpose: looking at connections for a while before sleeping (spin.h), where that takes no system calls.
 *
 * Threads: the reader of all the connections. */
#include "rpc_priv.h"

bool ff3_rpc_spin(struct ff3_rpc_conn **conns, unsigned n, bool (*stop)(const void *arg), const void *arg)
{
	struct ff3_spinner *spinner = &conns[0]->spinner;
	bool came = false, worth = true;
	uint64_t begin;

	for (unsigned i = 0; i < n; i++) {
		int r = conns[i]->link->look ? conns[i]->link->look(conns[i]) : -1;

		came |= r > 0;
		worth &= r == 0;
	}
	if (came || !worth || !ff3_spin_worth(spinner) || !ff3_spin_begin())
		return came;
	begin = ff3_now_ns(CLOCK_MONOTONIC);
	while (!came && ff3_now_ns(CLOCK_MONOTONIC) - begin < FF3_SPIN_NS)
		for (int k = 0; k < FF3_SPIN_LOOKS && !came; k++) {
			ff3_spin_pause();
			came = stop && stop(arg);
			for (unsigned i = 0; i < n && !came; i++)
				came = conns[i]->link->look(conns[i]) > 0;
		}
	ff3_spin_end(spinner, came);
	return came;
}
