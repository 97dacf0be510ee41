/* Purpose: looking at connections for a while before sleeping (spin.h).
 *
 * Threads: the reader of all the connections. */
#include "rpc_priv.h"

static bool all_apart(struct ff3_rpc_conn **conns, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (conns[i]->link->is_apart && !conns[i]->link->is_apart(conns[i]))
			return false;
	return true;
}

bool ff3_rpc_spin(struct ff3_rpc_conn **conns, unsigned n, bool (*stop)(const void *arg), const void *arg)
{
	struct ff3_spinner *spinner = &conns[0]->spinner;
	bool came = false, worth = true;
	uint64_t begin;

	for (unsigned i = 0; i < n; i++) {
		const struct ff3_link_ops *link = conns[i]->link;
		int r = !link->look ? -1 : link->is_apart ? 0 : link->look(conns[i]);

		came |= r > 0;
		worth &= r == 0;
	}
	if (came || !worth || !ff3_spin_worth(spinner) || !ff3_spin_begin())
		return came;
	if (!all_apart(conns, n)) {
		ff3_spin_end(spinner, false);
		return false;
	}
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
