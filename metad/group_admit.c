/* Purpose: who belongs to the group, one change at a time.
 *
 * The primary takes in by itself whom the configuration names and who never was a member: first to
 * receive the log only, then, when it has caught up, to vote. An id that was a member once, or whose
 * log is another one by now (a replaced disk), may have voted and acknowledged what it no longer
 * knows: somebody has to say that it is to be taken in.
 *
 * Threads: the loop's. */
#include "../common/base/log.h"
#include "group_priv.h"

#define TICK_NS (100 * FF3_NSEC_PER_MSEC)

static struct replica_member *find(struct replica_config *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->member[i].id == id)
			return &c->member[i];
	return NULL;
}

static int configure(struct metad_group *g, const struct replica_config *config)
{
	struct replica_event e = { .kind = REPLICA_CONFIGURE, .config = config };

	int r;

	/* The core's own records come behind what was appended. */
	metad_pipeline_advance(g->m);
	if (!metad_pipeline_all_proposed(g->m))
		return -EBUSY;
	r = group_step(g, &e, NULL);
	if (r >= 0)
		g->config_seq = metad_log_last_seq(g->m->log);
	return r;
}

/* Whoever has another log than before is told of once. */
static bool may_enter(struct metad_group *g, struct group_peer *p, const struct replica_member *m)
{
	int was = m ? 1 : metad_db_was_member(g->m->db, p->id);

	if (was == 0 || p->admit_log_id == p->log_id)
		return true;
	if (p->refused_log_id != p->log_id && !m)
		ff3_error("member %" PRIu64 " at %s was in the group once. It stays out until 'ff3fs-admin metad "
			  "admit %" PRIu64 "'",
			  p->id, p->address, p->id);
	else if (p->refused_log_id != p->log_id)
		ff3_error("member %" PRIu64 " at %s has another log than the member %" PRIu64
			  " that was: a replaced disk? It stays out until 'ff3fs-admin metad admit %" PRIu64 "'",
			  p->id, p->address, p->id, p->id);
	p->refused_log_id = p->log_id;
	return false;
}

/* The change of config that brings p nearer to voting, if one does and may be. */
static bool bring_in(struct metad_group *g, struct group_peer *p, const struct replica_view *view,
		     struct replica_config *config)
{
	struct replica_member *m = find(config, p->id);

	if (!p->out || !ff3_out_is_up(p->out) || p->log_id == 0)
		return false;
	if (m && m->log_id == p->log_id) {
		/* Nothing at all is too little, however short the log. */
		if (m->voter || view->match_seq[m - config->member] == 0)
			return false;
		m->voter = true;
		return true;
	}
	if ((!m && config->n == REPLICA_MEMBERS_MAX) || !may_enter(g, p, m))
		return false;
	if (!m)
		m = &config->member[config->n++];
	*m = (struct replica_member){ p->id, p->log_id, false, p->witness };
	return true;
}

static void admit(struct metad_group *g)
{
	struct replica_view view;

	replica_view(g->core, &view);
	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct replica_config config = view.config;
		struct group_peer *p = &g->peers[i];
		bool voter;

		if (!bring_in(g, p, &view, &config))
			continue;
		voter = find(&config, p->id)->voter;
		if (configure(g, &config) < 0)
			continue;
		ff3_info("member %" PRIu64 " at %s %s", p->id, p->address,
			 voter ? "has caught up and votes" : "is taken in and gets the log");
		return;
	}
}

static void hand_over(struct metad_group *g)
{
	struct replica_event e = { .kind = REPLICA_HAND_OVER,
				   .id = g->hand_over_to == UINT64_MAX ? 0 : g->hand_over_to };

	g->hand_over_to = 0;
	group_step(g, &e, NULL);
}

void group_admit_tick(struct ff3_timer *t)
{
	struct metad_group *g = CONTAINER_OF(t, struct metad_group, admit);

	group_copy_check(g);
	if (g->leads && g->m->db)
		admit(g);
	metad_group_turn(g->m);
	ff3_loop_timer_arm(g->m->loop, &g->admit, TICK_NS);
}

/* --- By hand --------------------------------------------------------------------------------- */

static int admit_by_hand(struct metad_group *g, uint64_t id)
{
	struct group_peer *p = group_peer(g, id);
	struct replica_member *m;
	struct replica_view view;

	if (!p)
		return -ENOENT;
	if (p == g->self)
		return -EINVAL;
	if (!ff3_out_is_up(p->out) || p->log_id == 0)
		return -ENOTCONN;
	replica_view(g->core, &view);
	m = find(&view.config, id);
	if (m && m->log_id == p->log_id)
		return -EALREADY;
	p->admit_log_id = p->log_id;
	admit(g);
	return 0;
}

static int remove_by_hand(struct metad_group *g, uint64_t id)
{
	struct replica_view view;
	struct replica_member *m;
	struct group_peer *p = group_peer(g, id);
	int r;

	replica_view(g->core, &view);
	m = find(&view.config, id);
	if (!m)
		return -ENOENT;
	*m = view.config.member[--view.config.n];
	r = configure(g, &view.config);
	if (r >= 0 && p)
		p->admit_log_id = 0;
	return r;
}

static int hand_over_by_hand(struct metad_group *g, uint64_t id)
{
	struct replica_view view;
	bool found = false;

	replica_view(g->core, &view);
	for (uint32_t i = 0; i < view.config.n; i++) {
		const struct replica_member *m = &view.config.member[i];

		found |= m->voter && !m->witness && m->id != g->vote.id && (id == 0 || id == m->id);
	}
	if (!found)
		return -ENOENT;
	g->hand_over_to = id ? id : UINT64_MAX;
	return 0;
}

/* This member alone is the group from now on. What others have acknowledged and it does not have is
 * lost; nobody can know whether there is any. */
static int promote(struct metad_group *g)
{
	struct metad *m = g->m;
	const struct replica_config config = { 1, { { g->vote.id, g->vote.log_id, true, false } } };
	struct replica_view view;
	int r;

	if (g->leads || g->witness || !m->db)
		return -EINVAL;
	replica_view(g->core, &view);
	if (view.primary != 0)
		return -EEXIST;
	if (metad_pipeline_is_paused(m) || g->promoted)
		return -EBUSY;
	ff3_warning("promoted by hand: this member alone is the group; operations behind %" PRIu64
		    " that others acknowledged are lost",
		    metad_log_durable_seq(m->log));
	g->promoted = true;
	metad_pipeline_set_commit(m, metad_log_durable_seq(m->log));
	do {
		metad_pipeline_commit(m); /* while there is one under way, nothing is applied */
		metad_pipeline_apply(m);
	} while (metad_db_meta(m->db)->applied_seq < metad_log_durable_seq(m->log));
	metad_pipeline_commit(m);
	g->vote.epoch++;
	g->vote.vote = 0;
	g->vote.damaged = 0;
	r = metad_db_begin(m->db);
	if (r >= 0)
		r = metad_db_put_members(m->db, &config);
	if (r >= 0)
		r = metad_db_commit(m->db);
	if (r >= 0)
		r = group_save_vote(g);
	if (r >= 0)
		r = metad_checkpointer_run_now(m);
	if (r < 0)
		metad_die(r, "cannot promote");
	return 0;
}

int metad_group_change(struct metad *m, enum metad_group_change change, uint64_t id)
{
	struct metad_group *g = m->group;
	int r = -EINVAL;

	if (g->alone)
		return -EOPNOTSUPP;
	if (change == METAD_GROUP_PROMOTE)
		return promote(g);
	if (!g->serves)
		return -EPERM;
	switch (change) {
	case METAD_GROUP_ADMIT:
		r = admit_by_hand(g, id);
		break;
	case METAD_GROUP_REMOVE:
		r = remove_by_hand(g, id);
		break;
	case METAD_GROUP_HAND_OVER:
		r = hand_over_by_hand(g, id);
		break;
	case METAD_GROUP_PROMOTE:
		break;
	}
	metad_group_turn(m);
	return r;
}

void metad_group_answered(struct metad *m)
{
	struct metad_group *g = m->group;

	if (g->promoted)
		group_again(g);
	if (g->hand_over_to != 0)
		hand_over(g);
	metad_group_turn(m);
}

bool metad_group_is_settled(const struct metad *m)
{
	return metad_pipeline_commit_seq(m) >= m->group->config_seq;
}
