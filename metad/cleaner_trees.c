/* Purpose: takes down trees that were removed as a whole: logs bounded steps, as long as there is something
 * left. Some are under way at a time, as each waits until the log is durable; between two everybody else has
 * his turn; and none is taken while many inodes that earlier ones dropped still wait to be collected, so
 * that what is held in memory stays small.
 *
 * Threads: the loop's. */
#include "cleaner.h"

#define BACKLOG_MAX 8192u
#define STEPS_MAX 64u
/* Names in one: what is read or made meanwhile waits for so long. */
#define STEP_NAMES 32u

static void on_taken(struct metad *m, struct metad_mutation *mutation)
{
	struct metad_cleaner *c = m->cleaner;
	struct metad_apply *a = m->apply;

	c->n_taking_down--;
	c->trees_exist = a->effects.trees;
	c->stats.n_taken_down += a->n_dropped;
	for (uint32_t i = 0; i < a->n_dropped; i++)
		if (!metad_is_open(m, a->dropped[i]))
			metad_cleaner_orphan(m, a->dropped[i]);
	cleaner_trees_poll(m);
}

void cleaner_trees_poll(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	const uint64_t step = htole64(STEP_NAMES);

	/* Before the scan nobody knows what is dropped and not collected. */
	if (!c->trees_exist || !c->scanned || m->stopping)
		return;
	while (c->n_taking_down < STEPS_MAX &&
	       c->n_orphans + c->n_taking_down * STEP_NAMES < BACKLOG_MAX &&
	       metad_pipeline_add_own(m, METAD_OP_take_down, &step, sizeof step, on_taken) >= 0)
		c->n_taking_down++;
}

void metad_cleaner_tree(struct metad *m)
{
	m->cleaner->trees_exist = true;
	cleaner_trees_poll(m);
}
