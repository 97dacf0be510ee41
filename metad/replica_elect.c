/* Purpose: elections. Who was without a primary for long enough first asks all whether they would
 * vote for it (pre-vote: nobody's epoch changes by that), then takes a new epoch and asks for votes.
 * A vote goes to a log that is at least as new as what the voter has durably.
 *
 * Threads, fork, signals: see replica.h. */
#include "replica_internal.h"

static bool has_voted(const struct replica *r, const struct replica_peer *p)
{
	return p->voted;
}

static void count(struct replica *r)
{
	if (!replica_majority(r, true, has_voted))
		return;
	if (r->role == REPLICA_PRE_CANDIDATE)
		replica_campaign(r, false);
	else
		replica_lead(r);
}

/* Whoever has not granted its vote. A request may be lost: who has just lost the role starts anew, and its
 * links with it, which a transfer's election would otherwise wait a whole election for. */
static void ask(struct replica *r)
{
	const struct replica_config *config = replica_config_now(r);
	const bool pre = r->role == REPLICA_PRE_CANDIDATE;

	r->ask_due = r->now + r->options.heartbeat_ns;
	for (uint32_t i = 0; i < r->n_peers; i++) {
		const struct replica_member *to = replica_member_find(config, r->peers[i].id);
		struct replica_message *m;

		if (!to || !to->voter || r->peers[i].voted)
			continue;
		m = replica_say(r, REPLICA_VOTE, to->id);
		m->epoch = pre ? r->epoch + 1 : r->epoch;
		m->pre = pre;
		m->transfer = r->transfer;
		m->last_seq = r->durable_seq;
		m->last_epoch = replica_epoch_at(r, r->durable_seq);
	}
}

void replica_campaign(struct replica *r, bool pre)
{
	r->role = pre ? REPLICA_PRE_CANDIDATE : REPLICA_CANDIDATE;
	r->primary = 0;
	replica_election_later(r);
	replica_peers_update(r);
	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i].voted = false;
	if (!pre) {
		r->epoch++;
		r->vote = r->id;
		replica_save(r);
	}
	ask(r);
	count(r);
}

void replica_campaign_tick(struct replica *r)
{
	if (r->now >= r->ask_due)
		ask(r);
}

/* Whether m's sender has at least what we have promised to keep. */
static bool is_new_enough(const struct replica *r, const struct replica_message *m)
{
	uint64_t epoch = replica_epoch_at(r, r->durable_seq);

	return m->last_epoch > epoch || (m->last_epoch == epoch && m->last_seq >= r->durable_seq);
}

void replica_on_vote(struct replica *r, const struct replica_message *m)
{
	/* Who wins by which votes, its own membership decides, which may be newer than ours; here only:
	 * no log votes or is voted for that has taken another one's place. */
	const struct replica_member *them = replica_member_find(replica_config_now(r), m->from);
	const struct replica_member *us = replica_member_find(replica_config_now(r), r->id);
	bool stranger = (them && them->log_id != m->log_id) || (us && us->log_id != r->log_id);
	bool free_to = m->pre ? m->epoch > r->epoch :
				m->epoch == r->epoch && (r->vote == 0 || r->vote == m->from);
	bool granted = free_to && is_new_enough(r, m) && !stranger && !r->damaged;
	struct replica_message *reply;

	if (granted && !m->pre && r->vote != m->from) {
		r->vote = m->from;
		replica_save(r);
		replica_election_later(r);
	}
	reply = replica_say(r, REPLICA_VOTE_REPLY, m->from);
	reply->pre = m->pre;
	reply->granted = granted;
	if (granted)
		reply->epoch = m->epoch;
}

void replica_on_vote_reply(struct replica *r, const struct replica_message *m)
{
	bool pre = r->role == REPLICA_PRE_CANDIDATE;

	if (!m->granted || m->pre != pre || (!pre && r->role != REPLICA_CANDIDATE) ||
	    m->epoch != (pre ? r->epoch + 1 : r->epoch))
		return;
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].id == m->from && r->peers[i].log_id == m->log_id)
			r->peers[i].voted = true;
	count(r);
}
