/* Purpose: carries out what the core (replica.h) asks for, in order, and tells it what happened.
 *
 * A step of the core is never begun inside another one. Whatever comes in (a message, a write that
 * returned, a timer, the end of a turn of the loop) is given to the core, and then metad_group_turn
 * proposes, writes, applies and sends until nothing is left to do.
 *
 * Who is the primary no more executes the program anew, at once: what was answered until then was
 * right, and nothing more is.
 *
 * Threads: the loop's. Failure: an error of the disk ends the daemon; the others go on. */
#include "../common/base/log.h"
#include "group_priv.h"

/* Alone: nobody to be heard from, nobody to be told. */
#define ALONE_NS (1ull << 60)
#define REPLICA_OPTIONS_ALONE                                                                      \
	((struct replica_options){ .heartbeat_ns = ALONE_NS,                                       \
				   .election_ns = 1,                                               \
				   .lease_ns = ALONE_NS,                                           \
				   .message_entries = REPLICA_ENTRIES_MAX })

/* Of the 1 GiB that the log may take. */
#define LOG_MAX (48ull * METAD_SEGMENT_SIZE)

static void on_timer(struct ff3_timer *t);

/* --- Actions --------------------------------------------------------------------------------- */

static void on_save(struct metad_group *g, const struct replica_action *a)
{
	int r;

	g->vote.epoch = a->epoch;
	g->vote.vote = a->vote;
	r = group_save_vote(g);
	if (r < 0)
		metad_die(r, "cannot write the vote");
}

static void on_truncate(struct metad_group *g, uint64_t seq)
{
	struct metad_log *log = g->m->log;
	struct metad_record rec;
	uint64_t hash;

	if (metad_log_get_record(log, seq, &rec, &hash) < 0) {
		if (g->m->db && metad_db_meta(g->m->db)->applied_seq == seq)
			hash = metad_db_meta(g->m->db)->applied_hash;
		else if (!g->m->db && g->vote.base_seq == seq)
			hash = g->vote.base_hash;
		else
			metad_die(-EBADMSG, "cannot read the log back");
	}
	ff3_info("records of the log behind %" PRIu64 " were never committed and go", seq);
	metad_log_truncate(log, seq, hash);
}

static void write_own(struct metad_group *g, const struct replica_config *config)
{
	uint64_t words[METAD_MEMBERS_WORDS];
	struct metad_record rec = { .op = METAD_OP_start };
	int r;

	if (!config)
		rec.ino = metad_restored_ino(g->m);
	if (config) {
		metad_members_encode(config, words);
		rec.op = METAD_OP_members;
		rec.payload = (struct ff3_blob){ words, config->n * 3 * 8 };
	}
	r = metad_pipeline_append(g->m, &rec);
	if (r < 0)
		metad_die(r, "cannot write the log");
}

static void on_write(struct metad_group *g, const struct replica_action *a,
		     const struct group_entries *in)
{
	g->generation = a->generation;
	if (a->own) {
		write_own(g, a->config);
		return;
	}
	if (!in) /* proposed: they are in the log's batch already */
		return;
	for (uint32_t i = a->index; i < a->index + a->n; i++) {
		int r = metad_log_append_encoded(g->m->log, in->record[i], in->size[i]);

		if (r < 0)
			metad_die(r, "the primary's records do not follow ours");
	}
}

static void on_primary(struct metad_group *g, uint64_t epoch)
{
	g->leads = true;
	g->m->epoch = epoch;
	metad_log_set_epoch(g->m->log, epoch);
	if (!g->alone)
		ff3_info("primary of epoch %" PRIu64, epoch);
}

static void act(struct metad_group *g, const struct replica_action *a,
		const struct group_entries *in)
{
	switch (a->kind) {
	case REPLICA_SAVE:
		on_save(g, a);
		break;
	case REPLICA_TRUNCATE:
		on_truncate(g, a->seq);
		break;
	case REPLICA_WRITE:
		on_write(g, a, in);
		break;
	case REPLICA_RESET: /* comes with INSTALLED only, which is told by starting anew */
		metad_die(-EPROTO, "the log is to be reset");
	case REPLICA_SEND:
		group_send(g, &a->message);
		break;
	case REPLICA_OFFER:
		if (group_copy_new(g, a->id) < 0)
			g->offer_failed = a->id;
		break;
	case REPLICA_COMMIT:
		metad_pipeline_set_commit(g->m, a->seq);
		break;
	case REPLICA_PRIMARY_NOW:
		on_primary(g, a->epoch);
		break;
	case REPLICA_PRIMARY_NO_MORE:
		g->again = true;
		g->leads = g->serves = false;
		break;
	case REPLICA_HALT:
		ff3_error("%s; ending", a->reason);
		_exit(1);
	}
}

int group_step(struct metad_group *g, struct replica_event *e, const struct group_entries *in)
{
	int r;

	if (g->promoted) /* the core does not know of it */
		return -EPERM;
	e->now = ff3_boottime_ns();
	r = replica_step(g->core, e, &g->actions);
	for (uint32_t i = 0; i < g->actions.n; i++)
		act(g, &g->actions.v[i], in);
	if (g->again) {
		group_links_flush(g);
		group_again(g);
	}
	return r;
}

/* --- Events ---------------------------------------------------------------------------------- */

int metad_group_propose(struct metad *m, uint32_t n)
{
	struct replica_event e = { .kind = REPLICA_PROPOSE, .n = n };

	return group_step(m->group, &e, NULL);
}

void metad_group_cut(struct metad *m)
{
	m->group->cut_generation = m->group->generation;
}

void metad_group_durable(struct metad *m, uint64_t seq)
{
	struct replica_event e = { .kind = REPLICA_DURABLE, .seq = seq,
				   .generation = m->group->cut_generation };

	group_step(m->group, &e, NULL);
}

void metad_group_applied(struct metad *m, uint64_t seq)
{
	struct replica_event e = { .kind = REPLICA_APPLIED, .seq = seq };

	/* Alone, there is nobody to compare with: the last of several is enough. */
	if (m->group->alone && seq < metad_pipeline_commit_seq(m))
		return;
	e.hash = m->db ? metad_db_meta(m->db)->digest : 0;
	group_step(m->group, &e, NULL);
}

void metad_group_safe(struct metad *m, uint64_t seq, bool full)
{
	struct metad_group *g = m->group;
	struct replica_event e = { .kind = REPLICA_COMPACTED };
	uint64_t id, done, size, hold = group_copy_seq(g, &id, &done, &size);

	/* Whoever is a little behind gets it from the log; but there must be room to write. */
	metad_log_release(m->log, MIN(seq, hold), g->alone || full ? 0 : m->conf->metad.log_keep);
	metad_log_release(m->log, seq, LOG_MAX);
	e.seq = metad_log_first_seq(m->log) - 1;
	if (e.seq <= g->compacted_seq || e.seq > seq)
		return;
	g->compacted_seq = e.seq;
	group_step(g, &e, NULL);
}

static void tick(struct metad_group *g)
{
	struct replica_event e = { .kind = REPLICA_TICK };

	group_step(g, &e, NULL);
}

static void on_timer(struct ff3_timer *t)
{
	struct metad_group *g = CONTAINER_OF(t, struct metad_group, timer);

	g->timer_ns = 0;
	if (ff3_boottime_ns() >= replica_deadline(g->core))
		tick(g);
	metad_group_turn(g->m);
}

/* --- The turn -------------------------------------------------------------------------------- */

static void note_damage(struct metad_group *g)
{
	struct replica_view view;
	int r;

	if (!g->vote.damaged)
		return;
	replica_view(g->core, &view);
	if (view.damaged)
		return;
	ff3_info("the log is whole again");
	g->vote.damaged = 0;
	r = group_save_vote(g);
	if (r < 0)
		metad_die(r, "cannot write the vote");
}

/* A witness has nothing to apply to. */
static void apply_nothing(struct metad_group *g)
{
	struct replica_event e = { .kind = REPLICA_APPLIED, .seq = metad_pipeline_commit_seq(g->m) };
	struct replica_view view;

	replica_view(g->core, &view);
	if (view.applied_seq < e.seq)
		group_step(g, &e, NULL);
}

static void take_role(struct metad_group *g)
{
	uint64_t begun;
	int r;

	if (!g->leads || g->serves || g->witness)
		return;
	begun = replica_read_begin(g->core);
	if (begun == 0)
		return;
	g->begun = begun;
	r = group_serve(g);
	if (r < 0)
		metad_die(r, "cannot serve");
	g->serves = true;
}

static void arm(struct metad_group *g)
{
	uint64_t due = replica_deadline(g->core), now = ff3_boottime_ns();

	if (g->alone || (g->timer_ns != 0 && g->timer_ns <= due))
		return;
	g->timer_ns = due;
	ff3_loop_timer_arm(g->m->loop, &g->timer, due > now ? due - now : 1);
}

static void tell_failed_offer(struct metad_group *g)
{
	struct replica_event e = { .kind = REPLICA_OFFERED, .id = g->offer_failed };

	if (e.id == 0)
		return;
	g->offer_failed = 0;
	group_step(g, &e, NULL);
}

void metad_group_turn(struct metad *m)
{
	struct metad_group *g = m->group;

	if (g->in_turn || !g->core)
		return;
	g->in_turn = true;
	if (m->log) {
		metad_pipeline_advance(m);
		group_links_flush(g);
		if (m->db)
			metad_pipeline_apply(m);
		else
			apply_nothing(g);
		take_role(g);
		metad_pipeline_advance(m);
	}
	g->in_turn = false;
	if (g->alone)
		return;
	tell_failed_offer(g);
	note_damage(g);
	group_links_flush(g);
	if (g->no_room) {
		g->no_room = false;
		ff3_server_resume(m->server);
	}
	if (g->withheld && g->serves && metad_group_may_answer(m)) {
		g->withheld = false;
		ff3_server_reply_withheld(m->server);
	}
	arm(g);
}

/* --- Life ------------------------------------------------------------------------------------ */

int metad_group_open(struct metad *m, char **argv, bool form)
{
	struct metad_group *g = calloc(1, sizeof *g);
	int r;

	if (!g)
		return -ENOMEM;
	m->group = g;
	g->m = m;
	g->argv = argv;
	g->timer.fn = on_timer;
	g->admit.fn = group_admit_tick;
	r = group_conf(g);
	return r < 0 ? r : group_disk_open(g, form);
}

/* Alone, a majority is found at once, and what the disk has is all there is. */
static int start_alone(struct metad_group *g)
{
	int r;

	tick(g);
	r = metad_pipeline_write_now(g->m);
	if (r < 0)
		return ff3_log_errno(r, "cannot write the log");
	metad_group_turn(g->m);
	return g->serves ? 0 : ff3_log_errno(-EIO, "cannot begin");
}

int metad_group_start(struct metad *m)
{
	struct metad_group *g = m->group;
	const struct replica_options options = g->alone ? REPLICA_OPTIONS_ALONE : group_options(g);
	int r = replica_new(g->vote.id, g->vote.log_id, &g->disk, &options,
			    ff3_boottime_ns() - (g->alone ? FF3_NSEC_PER_MSEC : 0), ff3_random_u64(),
			    &g->core);

	free(TAKE_PTR(g->runs));
	free(TAKE_PTR(g->changes));
	if (r < 0)
		return ff3_log_errno(r, "the log, the database and the vote in %s do not belong together",
				     m->conf->metad.dir);
	g->compacted_seq = g->disk.base_seq;
	g->generation = 1;
	if (g->alone)
		return start_alone(g);
	r = group_links_new(g);
	if (r < 0)
		return r;
	ff3_loop_timer_arm(m->loop, &g->admit, FF3_NSEC_PER_SEC / 4);
	metad_group_turn(m);
	return 0;
}

void metad_group_free(struct metad *m)
{
	struct metad_group *g = m->group;

	if (!g)
		return;
	ff3_loop_timer_cancel(m->loop, &g->timer);
	ff3_loop_timer_cancel(m->loop, &g->admit);
	group_links_free(g);
	replica_actions_done(&g->actions);
	replica_free(g->core);
	free(g->runs);
	free(g->changes);
	for (uint32_t i = 0; i < g->n_peers; i++)
		free(g->peers[i].address);
	free(g);
	m->group = NULL;
}

bool metad_group_is_alone(const struct metad *m)
{
	return m->group->alone;
}

bool metad_group_leads(const struct metad *m)
{
	return m->group->leads;
}

bool metad_group_serves(const struct metad *m)
{
	return m->group->serves;
}

bool metad_group_may_answer(struct metad *m)
{
	struct metad_group *g = m->group;
	/* Before it serves, there is only hello to be answered. */
	bool may = g->alone || !g->serves || replica_may_answer(g->core, g->begun, ff3_boottime_ns());

	if (!may)
		g->withheld = true;
	return may;
}
