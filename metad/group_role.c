/* Purpose: serving: what is held in memory for clients is built from the database when the role was
 * won, as after a restart; and it ends with the process image when the role is lost.
 *
 * Executing anew keeps the pid, and so the service manager's view; descriptors are closed by that.
 *
 * Threads: the loop's. Signals: those that came are lost by it only where the daemon ends anyway. */
#include <stdio.h>

#include "../common/base/log.h"
#include "ahead.h"
#include "group_priv.h"
#include "readers.h"

int group_serve(struct metad_group *g)
{
	struct metad *m = g->m;
	bool is_restored;
	int r;

	is_restored = metad_is_restored(m);
	metad_restored_done(m);
	m->next_ino = metad_db_meta(m->db)->next_ino;
	m->started_ns = ff3_boottime_ns();
	r = metad_ahead_new(m);
	if (r >= 0)
		r = metad_readers_new(m);
	if (r >= 0)
		r = metad_sessions_new(m);
	if (r >= 0)
		r = metad_files_new(m);
	if (r >= 0)
		r = metad_routes_new(m);
	if (r >= 0)
		r = metad_cleaner_new(m);
	if (r >= 0)
		r = metad_caps_new(m);
	if (r >= 0)
		r = metad_leases_new(m, is_restored);
	metad_db_read_end(m->db);
	if (r < 0)
		return r;
	if (!g->alone)
		ff3_info("serving in epoch %" PRIu64, m->epoch);
	return 0;
}

/* Options that are for the first time only; *skip: the next word is one's value. */
static bool is_once(const char *word, bool *skip)
{
	*skip = strcmp(word, "--ready-fd") == 0;
	return *skip || strncmp(word, "--ready-fd=", 11) == 0 || strcmp(word, "--form") == 0;
}

void group_again(struct metad_group *g)
{
	unsigned n = 0;

	if (g->leaving) {
		ff3_info("the primary no more; ending");
		_exit(0);
	}
	if (g->again)
		ff3_info("the primary of epoch %" PRIu64 " no more; beginning anew as a follower",
			 g->m->epoch);
	for (unsigned i = 0; g->argv[i]; i++) {
		bool skip;

		if (i > 0 && is_once(g->argv[i], &skip)) {
			i += skip && g->argv[i + 1];
			continue;
		}
		g->argv[n++] = g->argv[i];
	}
	g->argv[n] = NULL;
	execv("/proc/self/exe", g->argv);
	metad_die(-errno, "cannot execute anew");
}

bool metad_group_leave(struct metad *m)
{
	struct metad_group *g = m->group;
	struct replica_event e = { .kind = REPLICA_HAND_OVER };
	struct replica_view view;
	uint32_t n = 0;

	if (g->alone || !g->leads)
		return false;
	replica_view(g->core, &view);
	for (uint32_t i = 0; i < view.config.n; i++)
		n += view.config.member[i].voter && !view.config.member[i].witness;
	if (n < 2 || view.role != REPLICA_PRIMARY)
		return false;
	if (g->leaving)
		return ff3_boottime_ns() < g->leave_ns + FF3_NSEC_PER_SEC;
	g->leaving = true;
	g->leave_ns = ff3_boottime_ns();
	if (group_step(g, &e, NULL) < 0)
		return false;
	metad_group_turn(m);
	return true;
}
