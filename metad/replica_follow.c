/* Purpose: the receiving end of the log: entries of the primary's replace what differs, are
 * acknowledged when they are durable, and are told to be applied when they are committed.
 *
 * A member whose log is damaged in its middle keeps what lies before and takes the rest from the
 * primary like anybody who is behind. It does not vote until it has again whatever its own
 * acknowledgements may have counted for: what a primary of an epoch that none of them belongs to has
 * committed. A primary that they do belong to may still count them, so there must be a new one: the
 * member begins an epoch of its own (replica_new), which ends the old primary's. Once for each damage:
 * it may start anew many times before its log is whole, and each such epoch ends a primary.
 *
 * Threads, fork, signals: see replica.h. */
#include "replica_internal.h"

void replica_reply_append(struct replica *r, uint64_t round)
{
	struct replica_message *m = replica_say(r, REPLICA_APPEND_REPLY, r->primary);

	m->granted = true;
	m->round = round;
	m->match_seq = MIN(r->matched_seq, r->durable_seq);
}

static void refuse(struct replica *r, const struct replica_message *m, uint64_t hint)
{
	struct replica_message *reply = replica_say(r, REPLICA_APPEND_REPLY, m->from);

	reply->round = m->round;
	reply->match_seq = hint;
}

void replica_check_now(const struct replica *r, struct replica_message *m)
{
	const uint64_t i = r->applied_seq % REPLICA_CHECKS;

	if (r->checks[i].seq != r->applied_seq)
		return;
	m->check_seq = r->applied_seq;
	m->check_hash = r->checks[i].hash;
}

/* The pair of the primary's that waits, if we have got there. */
void replica_compare(struct replica *r)
{
	const uint64_t seq = r->check_seq;

	if (seq == 0 || seq > r->applied_seq || r->checks[seq % REPLICA_CHECKS].seq != seq)
		return;
	if (r->checks[seq % REPLICA_CHECKS].hash != r->check_hash)
		replica_halt(r, "this member's database has become another one than the primary's");
	r->check_seq = 0;
}

/* Entries [skip, n) of m come behind what is there. */
static void write_entries(struct replica *r, const struct replica_message *m, uint32_t skip)
{
	uint32_t i = skip;

	while (i < m->n_entries && !r->no_memory) {
		uint64_t seq = m->prev_seq + 1 + i;

		if (replica_log_add(r, seq, m->entries[i].epoch, m->entries[i].config) < 0)
			r->no_memory = true;
		i++;
	}
	if (i > skip) {
		struct replica_action *a = replica_act(r, REPLICA_WRITE);

		a->seq = m->prev_seq + 1 + skip;
		a->n = i - skip;
		a->index = skip;
		a->generation = r->generation;
	}
}

/* Returns false when something committed would have to go. */
static bool take_entries(struct replica *r, const struct replica_message *m)
{
	uint32_t i = 0;

	while (i < m->n_entries && m->prev_seq + 1 + i <= r->last_seq) {
		uint64_t seq = m->prev_seq + 1 + i;

		if (seq > r->base_seq && replica_epoch_at(r, seq) != m->entries[i].epoch)
			break;
		i++;
	}
	if (i == m->n_entries)
		return true;
	if (m->prev_seq + 1 + i <= r->last_seq) {
		if (m->prev_seq + 1 + i <= r->commit_seq)
			return false;
		replica_act(r, REPLICA_TRUNCATE)->seq = m->prev_seq + i;
		replica_log_cut(r, m->prev_seq + i);
	}
	write_entries(r, m, i);
	return true;
}

static void heal(struct replica *r, const struct replica_message *m)
{
	/* What the primary has committed in its own epoch includes whatever was committed before. */
	if (r->damaged && replica_epoch_at(r, m->commit_seq) == m->epoch &&
	    MIN(r->matched_seq, r->durable_seq) >= m->commit_seq)
		r->damaged = false;
}

void replica_on_append(struct replica *r, const struct replica_message *m)
{
	uint64_t end = m->prev_seq + m->n_entries;

	if (m->epoch < r->epoch) {
		refuse(r, m, 0);
		return;
	}
	if (r->role == REPLICA_PRIMARY) {
		replica_halt(r, "there is another primary of the same epoch");
		return;
	}
	if (r->role != REPLICA_FOLLOWER || r->primary != m->from)
		replica_follow(r, m->epoch, m->from);
	r->heard_ns = r->now;
	replica_election_later(r);
	if (m->prev_seq > r->last_seq) {
		refuse(r, m, r->last_seq);
		return;
	}
	if (m->prev_seq >= r->base_seq && replica_epoch_at(r, m->prev_seq) != m->prev_epoch) {
		if (m->prev_seq <= r->commit_seq) {
			replica_halt(r, "the primary's log contradicts what was committed");
			return;
		}
		refuse(r, m, MAX(replica_log_run_start(r, m->prev_seq) - 1, r->commit_seq));
		return;
	}
	if (!take_entries(r, m)) {
		replica_halt(r, "the primary's log contradicts what was committed");
		return;
	}
	r->matched_seq = MAX(r->matched_seq, MIN(end, r->last_seq));
	r->commit_seq = MAX(r->commit_seq, MIN(m->commit_seq, r->matched_seq));
	heal(r, m);
	replica_reply_append(r, m->round);
	if (m->check_seq > 0) {
		r->check_seq = m->check_seq;
		r->check_hash = m->check_hash;
		replica_compare(r);
	}
	replica_tell_commit(r);
}

void replica_on_installed(struct replica *r, const struct replica_event *e)
{
	if (e->seq <= r->applied_seq)
		return;
	r->applied_seq = e->seq;
	if (replica_epoch_at(r, e->seq) == e->epoch && e->seq <= r->durable_seq) {
		/* What is behind it may have been counted on: it stays. */
		replica_log_compact(r, e->seq);
	} else {
		replica_act(r, REPLICA_RESET)->seq = e->seq;
		replica_log_reset(r, e->seq, e->epoch, e->config);
	}
	r->commit_seq = MAX(r->commit_seq, e->seq);
	r->told_commit = MAX(r->told_commit, e->seq);
	r->matched_seq = MAX(r->matched_seq, e->seq);
	r->checks[e->seq % REPLICA_CHECKS].seq = e->seq;
	r->checks[e->seq % REPLICA_CHECKS].hash = e->hash;
	if (r->primary != 0)
		replica_reply_append(r, 0);
}
