/* Purpose: life of the state machine, and which of its parts an event is for.
 *
 * What makes elections safe although nothing is remembered in between: epoch and vote are SAVEd
 * before they are told. What makes leases safe: a member that has heard of a primary, or that has
 * just started and cannot know, ignores every vote for election_ns, even one of a higher epoch,
 * unless the primary itself handed its role over.
 *
 * Threads, fork, signals: see replica.h. */
#include "replica_internal.h"

int replica_new(uint64_t id, uint64_t log_id, const struct replica_disk *disk,
		const struct replica_options *options, uint64_t now, uint64_t seed,
		struct replica **ret)
{
	struct replica *r = calloc(1, sizeof *r);
	int e;

	if (!r)
		return -ENOMEM;
	r->id = id;
	r->log_id = log_id;
	r->options = *options;
	r->now = now;
	r->seed = seed ^ (id * 0x9e3779b97f4a7c15u);
	r->epoch = disk->epoch;
	r->vote = disk->vote;
	r->heard_ns = now;
	r->generation = 1;
	r->damaged = disk->damaged > 0;
	if (r->epoch < disk->damaged) {
		r->epoch = disk->damaged;
		r->vote = 0;
		r->save_due = true;
	}
	r->applied_seq = r->commit_seq = r->told_commit = MAX(disk->applied_seq, disk->base_seq);
	e = replica_log_init(r, disk);
	if (e < 0) {
		replica_free(r);
		return e;
	}
	r->durable_seq = r->last_seq;
	r->matched_seq = r->base_seq;
	replica_peers_update(r);
	replica_election_later(r);
	*ret = r;
	return 0;
}

void replica_free(struct replica *r)
{
	if (!r)
		return;
	free(r->runs);
	free(r->changes);
	free(r);
}

void replica_actions_done(struct replica_actions *out)
{
	free(out->v);
	*out = (struct replica_actions){ 0 };
}

/* --- Actions --------------------------------------------------------------------------------- */

struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind)
{
	static _Thread_local struct replica_action lost;
	struct replica_actions *out = r->out;

	if (out->n == out->room) {
		uint32_t room = MAX(2 * out->room, 16u);
		void *grown = realloc(out->v, room * sizeof *out->v);

		if (!grown) {
			r->no_memory = true;
			return &lost;
		}
		out->v = grown;
		out->room = room;
	}
	out->v[out->n] = (struct replica_action){ .kind = kind };
	return &out->v[out->n++];
}

void replica_halt(struct replica *r, const char *reason)
{
	if (r->role == REPLICA_HALTED)
		return;
	r->role = REPLICA_HALTED;
	replica_act(r, REPLICA_HALT)->reason = reason;
}

void replica_save(struct replica *r)
{
	struct replica_action *a = replica_act(r, REPLICA_SAVE);

	a->epoch = r->epoch;
	a->vote = r->vote;
}

struct replica_message *replica_say(struct replica *r, enum replica_message_kind kind, uint64_t id)
{
	struct replica_message *m = &replica_act(r, REPLICA_SEND)->message;

	*m = (struct replica_message){ .kind = kind, .from = r->id, .to = id,
				       .log_id = r->log_id, .epoch = r->epoch };
	return m;
}

void replica_tell_commit(struct replica *r)
{
	uint64_t seq = MIN(r->commit_seq, r->durable_seq);

	if (seq <= r->told_commit)
		return;
	r->told_commit = seq;
	replica_act(r, REPLICA_COMMIT)->seq = seq;
}

/* --- Roles ----------------------------------------------------------------------------------- */

static uint64_t random_below(struct replica *r, uint64_t n)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return n > 0 ? r->seed % n : 0;
}

/* A witness lets those win that can serve. */
void replica_election_later(struct replica *r)
{
	const struct replica_member *self = replica_self(r);
	uint64_t wait = self && self->witness ? 4 * r->options.election_ns : r->options.election_ns;

	if (r->seed == 0)
		r->seed = 1;
	r->election_due = r->now + wait + random_below(r, r->options.election_ns);
}

void replica_follow(struct replica *r, uint64_t epoch, uint64_t primary)
{
	if (r->role == REPLICA_PRIMARY)
		replica_act(r, REPLICA_PRIMARY_NO_MORE)->epoch = r->epoch;
	r->role = REPLICA_FOLLOWER;
	r->transfer = false;
	/* Even if it is the same primary: in between, another one may have changed its log. */
	if (epoch > r->epoch || r->primary != primary)
		r->matched_seq = r->base_seq;
	if (epoch > r->epoch) {
		r->epoch = epoch;
		r->vote = 0;
		replica_save(r);
	}
	r->primary = primary;
	r->check_seq = 0;
	replica_election_later(r);
}

/* --- Events ---------------------------------------------------------------------------------- */

/* A vote for somebody else while the primary may still hold a lease. */
static bool disturbs(const struct replica *r, const struct replica_message *m)
{
	return m->kind == REPLICA_VOTE && !m->transfer &&
	       (r->role == REPLICA_PRIMARY ? r->now < r->lease_until :
					     r->now < r->heard_ns + r->options.election_ns);
}

static void on_message(struct replica *r, const struct replica_message *m)
{
	bool asks_only = m->kind == REPLICA_VOTE && m->pre;
	bool would = m->kind == REPLICA_VOTE_REPLY && m->pre && m->granted;

	if (m->to != r->id || m->from == r->id || disturbs(r, m))
		return;
	if (m->epoch > r->epoch && !asks_only && !would)
		replica_follow(r, m->epoch, m->kind == REPLICA_APPEND ? m->from : 0);
	switch (m->kind) {
	case REPLICA_VOTE:
		replica_on_vote(r, m);
		break;
	case REPLICA_VOTE_REPLY:
		replica_on_vote_reply(r, m);
		break;
	case REPLICA_APPEND:
		replica_on_append(r, m);
		break;
	case REPLICA_APPEND_REPLY:
		if (m->epoch == r->epoch && r->role == REPLICA_PRIMARY)
			replica_on_append_reply(r, m);
		break;
	case REPLICA_TRANSFER:
		if (m->epoch == r->epoch && r->role == REPLICA_FOLLOWER && m->from == r->primary) {
			r->transfer = true;
			/* It has committed in its own epoch, and all of its log is here: as in heal(). */
			r->damaged = false;
			replica_campaign(r, false);
		}
		break;
	}
}

static bool is_candidate(const struct replica *r)
{
	return r->role == REPLICA_PRE_CANDIDATE || r->role == REPLICA_CANDIDATE;
}

static void on_tick(struct replica *r)
{
	if (r->role == REPLICA_PRIMARY) {
		replica_lead_tick(r);
	} else if (r->now >= r->election_due) {
		r->transfer = false;
		if (replica_may_campaign(r))
			replica_campaign(r, true);
		else
			replica_election_later(r);
	} else if (is_candidate(r)) {
		replica_campaign_tick(r);
	}
}

static void on_durable(struct replica *r, const struct replica_event *e)
{
	if (e->generation != r->generation || e->seq <= r->durable_seq)
		return;
	r->durable_seq = MIN(e->seq, r->last_seq);
	if (r->role == REPLICA_PRIMARY)
		replica_lead_advance(r);
	else if (r->primary != 0)
		replica_reply_append(r, 0);
	replica_tell_commit(r);
}

static void on_applied(struct replica *r, const struct replica_event *e)
{
	if (e->seq <= r->applied_seq)
		return;
	r->applied_seq = e->seq;
	r->checks[e->seq % REPLICA_CHECKS].seq = e->seq;
	r->checks[e->seq % REPLICA_CHECKS].hash = e->hash;
	replica_compare(r);
}

int replica_step(struct replica *r, const struct replica_event *e, struct replica_actions *out)
{
	int status = 0;

	out->n = 0;
	r->out = out;
	r->event = e;
	r->now = MAX(r->now, e->now);
	if (r->role == REPLICA_HALTED)
		return -EPERM;
	if (r->save_due)
		replica_save(r);
	r->save_due = false;
	switch (e->kind) {
	case REPLICA_TICK:
		on_tick(r);
		break;
	case REPLICA_MESSAGE:
		on_message(r, e->message);
		break;
	case REPLICA_DURABLE:
		on_durable(r, e);
		break;
	case REPLICA_APPLIED:
		on_applied(r, e);
		break;
	case REPLICA_PROPOSE:
		status = replica_propose(r, e->n);
		break;
	case REPLICA_CONFIGURE:
		status = replica_configure(r, e->config);
		break;
	case REPLICA_INSTALLED:
		replica_on_installed(r, e);
		break;
	case REPLICA_COMPACTED:
		replica_log_compact(r, e->seq);
		break;
	case REPLICA_HAND_OVER:
		status = replica_hand_over(r, e->id);
		break;
	case REPLICA_OFFERED:
		replica_on_offered(r, e->id);
		break;
	case REPLICA_FAILED:
		replica_halt(r, "the log or the database had an error");
		break;
	}
	if (r->no_memory) {
		replica_halt(r, "no memory");
		return -ENOMEM;
	}
	return status;
}

/* --- Looking --------------------------------------------------------------------------------- */

uint64_t replica_deadline(const struct replica *r)
{
	if (r->role == REPLICA_PRIMARY)
		return r->heartbeat_due;
	return is_candidate(r) ? MIN(r->ask_due, r->election_due) : r->election_due;
}

bool replica_is_serving(const struct replica *r)
{
	const struct replica_member *self = replica_self(r);

	return r->role == REPLICA_PRIMARY && r->commit_seq >= r->first_own && self &&
	       !self->witness && r->hand_over == 0;
}

uint64_t replica_read_begin(const struct replica *r)
{
	return replica_is_serving(r) && r->applied_seq >= r->first_own ? r->epoch : 0;
}

bool replica_may_answer(const struct replica *r, uint64_t begun, uint64_t now)
{
	return begun != 0 && r->role == REPLICA_PRIMARY && r->epoch == begun && r->hand_over == 0 &&
	       now < r->lease_until;
}

void replica_view(const struct replica *r, struct replica_view *ret)
{
	*ret = (struct replica_view){
		.id = r->id, .log_id = r->log_id, .epoch = r->epoch, .vote = r->vote,
		.primary = r->role == REPLICA_PRIMARY ? r->id : r->primary,
		.role = r->role, .damaged = r->damaged, .base_seq = r->base_seq,
		.last_seq = r->last_seq, .durable_seq = r->durable_seq,
		.commit_seq = r->commit_seq, .applied_seq = r->applied_seq,
		.config = *replica_config_now(r),
	};
	for (uint32_t i = 0; i < ret->config.n; i++)
		for (uint32_t k = 0; k < r->n_peers; k++)
			if (r->peers[k].id == ret->config.member[i].id) {
				ret->match_seq[i] = r->peers[k].match_seq;
				ret->heard_ns[i] = r->peers[k].heard_ns;
			}
}

const char *replica_role_name(enum replica_role role)
{
	static const char *const names[] = { "follower", "pre-candidate", "candidate", "primary",
					     "halted" };

	return names[role];
}
