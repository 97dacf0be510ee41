/* Purpose: what has to follow later: inodes without a name that nobody has open any more become
 * garbage; garbage is removed from the chunk daemons (cleaner_garbage.c); files that were cut are
 * cut on the chunk daemons (cleaner_truncate.c); trees that were removed are taken down
 * (cleaner_trees.c).
 *
 * After a start nothing is collected for one lease: only then have all clients had the time to
 * tell what they have open.
 *
 * Threads: the loop's; calls run on two workers, so that a slow removal holds no truncation up. */
#include "cleaner.h"

#define COLLECT_MAX 256u
#define COLLECT_RECORD 64u /* inodes in one: others wait for so long */
#define COLLECT_DELAY_NS (50 * FF3_NSEC_PER_MSEC)
#define COLLECT_AGAIN_NS (1 * FF3_NSEC_PER_MSEC)

static void on_timer(struct ff3_timer *t);

int metad_cleaner_new(struct metad *m)
{
	struct metad_cleaner *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	m->cleaner = c;
	c->m = m;
	c->timer.fn = on_timer;
	c->garbage_exists = c->trees_exist = true;
	c->scanned = m->fresh;
	cleaner_truncate_init(m);
	cleaner_garbage_init(m);
	r = metad_chunk_calls_new(m, &c->truncate_calls);
	if (r >= 0)
		r = metad_chunk_calls_new(m, &c->garbage_calls);
	if (r >= 0)
		r = metad_worker_new(m->loop, "truncate", &c->truncate_worker);
	if (r >= 0)
		r = metad_worker_new(m->loop, "garbage", &c->garbage_worker);
	if (r >= 0)
		r = cleaner_truncate_load(m);
	if (r < 0)
		metad_cleaner_free(m);
	return r;
}

void metad_cleaner_free(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	struct truncation *next;

	if (!c)
		return;
	metad_worker_free(c->truncate_worker);
	metad_worker_free(c->garbage_worker);
	metad_chunk_calls_free(c->truncate_calls);
	metad_chunk_calls_free(c->garbage_calls);
	cleaner_garbage_done(m);
	for (struct truncation *t = c->truncations; t; t = next) {
		next = t->next;
		free(t);
	}
	free(c->truncate.calls);
	free(c->truncate.infos);
	free(c->orphans);
	free(c);
	m->cleaner = NULL;
}

void metad_cleaner_committed(struct metad *m)
{
	if (m->cleaner && m->cleaner->scanned)
		cleaner_garbage_poll(m);
}

const struct metad_cleaner_stats *metad_cleaner_stats(const struct metad *m)
{
	return &m->cleaner->stats;
}

void metad_cleaner_orphan(struct metad *m, uint64_t ino)
{
	struct metad_cleaner *c = m->cleaner;
	struct metad_inode inode;
	int r;

	if (!c->scanned) /* the scan will find it */
		return;
	r = metad_db_get_inode(m->db, ino, &inode);
	if (r < 0)
		metad_die(r, "cannot read the database");
	if (r == 0 || inode.nlink > 0)
		return;
	if (c->n_orphans == c->room_orphans) {
		uint32_t room = MAX(c->room_orphans * 2, 64u);
		uint64_t *grown = realloc(c->orphans, room * sizeof *grown);

		if (!grown) { /* found again by the next scan */
			c->scanned = false;
			return;
		}
		c->orphans = grown;
		c->room_orphans = room;
	}
	c->orphans[c->n_orphans++] = ino;
	if (c->n_orphans == 1)
		ff3_loop_timer_arm(m->loop, &c->timer, COLLECT_DELAY_NS);
}

static void on_collected(struct metad *m, struct metad_mutation *mutation)
{
	m->cleaner->garbage_exists = true;
	cleaner_garbage_poll(m);
}

static void collect(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	uint64_t inos[COLLECT_MAX];
	uint32_t n = 0, taken = 0;

	if (metad_lease_keeps_orphans(m)) {
		ff3_loop_timer_arm(m->loop, &c->timer, FF3_NSEC_PER_SEC);
		return;
	}
	while (taken < c->n_orphans && n < COLLECT_MAX) {
		uint64_t ino = c->orphans[taken++];

		if (!metad_is_open(m, ino))
			inos[n++] = ino;
	}
	memmove(c->orphans, c->orphans + taken, (c->n_orphans - taken) * sizeof *c->orphans);
	c->n_orphans -= taken;
	for (uint32_t i = 0; i < n; i += COLLECT_RECORD)
		if (metad_pipeline_add_own(m, METAD_OP_collect, inos + i,
					   MIN(n - i, COLLECT_RECORD) * sizeof *inos, on_collected) < 0)
			c->scanned = false;
	if (c->n_orphans > 0)
		ff3_loop_timer_arm(m->loop, &c->timer, COLLECT_AGAIN_NS);
	cleaner_trees_poll(m);
}

static void on_timer(struct ff3_timer *t)
{
	struct metad_cleaner *c = CONTAINER_OF(t, struct metad_cleaner, timer);

	collect(c->m);
}

static int on_orphan(void *arg, uint64_t ino, uint64_t a, uint64_t b)
{
	struct metad *m = arg;

	if (!metad_is_open(m, ino))
		metad_cleaner_orphan(m, ino);
	return 0;
}

void metad_cleaner_tick(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	uint64_t lease = m->conf->metad.lease * FF3_NSEC_PER_MSEC;

	if (!c->scanned && ff3_boottime_ns() - m->started_ns >= lease) {
		int r;

		c->scanned = true;
		r = metad_db_each_orphan(m->db, 0, on_orphan, m);
		if (r < 0)
			metad_die(r, "cannot read the database");
	}
	cleaner_truncate_poll(m);
	cleaner_garbage_poll(m);
	cleaner_trees_poll(m);
}
