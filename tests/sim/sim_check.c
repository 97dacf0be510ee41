/* What must hold in every schedule.
 *
 * While it runs: one primary per epoch, and it has everything that was ever committed; what is
 * committed is the same everywhere, never changes, and is durable on a majority when it is told; then
 * nobody's lease of an earlier epoch holds; the state after each operation is the same everywhere.
 *
 * In the end: the order of the committed log explains what the clients saw (linearizability). Writes
 * have their place in it; a read lies between the write whose value it saw and the next one to that
 * key. Each read takes the earliest place it may: at or behind everything that ended before it began.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

static bool same(const struct sim_entry *a, const struct sim_entry *b)
{
	return a->epoch == b->epoch && a->kind == b->kind && a->client == b->client &&
	       a->request == b->request && a->value == b->value;
}

void sim_check_primary(struct sim *s, const struct sim_member *m, uint64_t epoch)
{
	if (epoch >= s->room_epochs) {
		uint32_t room = (uint32_t)epoch * 2 + 64;

		s->primary_of = realloc(s->primary_of, room * sizeof *s->primary_of);
		if (!s->primary_of)
			abort();
		memset(s->primary_of + s->room_epochs, 0,
		       (room - s->room_epochs) * sizeof *s->primary_of);
		s->room_epochs = room;
	}
	if (s->primary_of[epoch] != 0)
		sim_fail(s, "members %u and %u are both primary of epoch %u", s->primary_of[epoch],
			 (unsigned)m->id, (unsigned)epoch);
	s->primary_of[epoch] = (uint32_t)m->id;
	s->max_epoch = MAX(s->max_epoch, epoch);
	for (uint64_t seq = m->db.seq + 1; seq <= s->n_committed; seq++) {
		/* The news of an old election may come when a newer one is over. */
		if (s->told_in[seq] >= epoch)
			continue;
		if (seq > m->last_seq || !same(&m->log[seq], &s->committed[seq]))
			sim_fail(s, "the new primary %u lacks entry %u, which is committed",
				 (unsigned)m->id, (unsigned)seq);
	}
}

void sim_check_vote(struct sim *s, const struct sim_member *m, const struct replica_message *message)
{
	bool asks = message->kind == REPLICA_VOTE;
	bool gives = message->kind == REPLICA_VOTE_REPLY && message->granted;

	if (message->pre || (!asks && !gives))
		return;
	if (m->disk.epoch != message->epoch || m->disk.vote != (asks ? m->id : message->to))
		sim_fail(s, "member %u tells a vote that is not on its disk", (unsigned)m->id);
}

static bool has_durably(const struct sim_member *m, uint64_t seq, const struct sim_entry *e)
{
	return (m->disk.last_seq >= seq && seq > m->disk.base_seq && same(&m->disk.log[seq], e)) ||
	       m->disk.db.seq >= seq;
}

/* That seq is committed is told for the first time. The voters of then. */
static void check_majority(struct sim *s, const struct sim_member *teller, uint64_t seq)
{
	struct replica_view v;
	uint32_t n = 0, have = 0;

	/* Damage may have taken a copy that was there. */
	if (s->lame != 0)
		return;
	replica_view(teller->core, &v);
	for (uint32_t i = 0; i < v.config.n; i++) {
		const struct replica_member *member = &v.config.member[i];

		if (!member->voter)
			continue;
		n++;
		have += has_durably(&s->members[member->id], seq, &s->committed[seq]);
	}
	if (have <= n / 2)
		sim_fail(s, "entry %u is committed with %u of %u copies on disk", (unsigned)seq, have,
			 n);
}

/* teller has committed something in its epoch: who led an earlier one must be unable to answer reads, by
 * its own clock. */
static void check_leases(struct sim *s, const struct sim_member *teller, uint64_t epoch)
{
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		const struct sim_member *m = &s->members[i];

		if (m != teller && m->up &&
		    replica_may_answer(m->core, replica_read_begin(m->core), sim_member_clock(s, m)))
			sim_fail(s, "member %u may still answer reads, while %u commits in epoch %u",
				 (unsigned)m->id, (unsigned)teller->id, (unsigned)epoch);
	}
}

void sim_check_commit(struct sim *s, const struct sim_member *m, uint64_t seq)
{
	uint64_t news = s->n_committed;
	struct replica_view v;

	replica_view(m->core, &v);
	for (uint64_t i = m->db.seq + 1; i <= seq; i++) {
		if (i > m->last_seq) {
			sim_fail(s, "member %u shall apply what it has not", (unsigned)m->id);
			return;
		}
		if (i <= s->n_committed && !same(&m->log[i], &s->committed[i])) {
			sim_fail(s, "member %u has another entry %u committed", (unsigned)m->id,
				 (unsigned)i);
			return;
		}
		if (i > s->n_committed) {
			s->committed[i] = m->log[i];
			s->told_in[i] = v.epoch;
			s->n_committed = i;
		}
	}
	if (s->n_committed == news || v.role != REPLICA_PRIMARY)
		return;
	check_majority(s, m, s->n_committed);
	check_leases(s, m, v.epoch);
}

void sim_check_applied(struct sim *s, const struct sim_member *m)
{
	uint64_t seq = m->db.seq;

	if (s->n_diverged > 0)
		return;
	if (s->hashes[seq] != 0 && s->hashes[seq] != m->db.hash)
		sim_fail(s, "member %u's state after %u differs", (unsigned)m->id, (unsigned)seq);
	s->hashes[seq] = m->db.hash;
}

struct sim_seen *sim_saw(struct sim *s, const struct sim_client *c)
{
	(void)c;
	if (s->n_seen == s->room_seen) {
		s->room_seen = MAX(2 * s->room_seen, 1024u);
		s->seen = realloc(s->seen, s->room_seen * sizeof *s->seen);
		if (!s->seen)
			abort();
	}
	return &s->seen[s->n_seen++];
}

/* --- The history ----------------------------------------------------------------------------- */

/* Where the operation stands in the order: writes by the log, reads as found out. */
struct placed {
	struct sim_seen *seen;
	uint64_t at, next; /* a read: of its value's write, and of the next write to the key */
};

static int by_begin(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	return x->seen->began < y->seen->began ? -1 : x->seen->began > y->seen->began;
}

static uint64_t find_write(const struct sim *s, const struct sim_seen *w)
{
	for (uint64_t seq = 1; seq <= s->n_committed; seq++) {
		const struct sim_entry *e = &s->committed[seq];

		if (e->kind == SIM_WRITE && e->client == w->client && e->request == w->request)
			return seq;
	}
	return 0;
}

/* first: where a value was written for the first time. */
static void place_read(const struct sim *s, const uint64_t *first, struct placed *p)
{
	p->at = 0;
	p->next = UINT64_MAX;
	for (uint64_t seq = 1; seq <= s->n_committed; seq++) {
		const struct sim_entry *e = &s->committed[seq];

		/* A repetition changes nothing. */
		if (e->kind != SIM_WRITE || e->key != p->seen->key || first[e->value] != seq)
			continue;
		if (e->value == p->seen->value)
			p->at = seq;
		else if (p->at > 0 || p->seen->value == 0) {
			p->next = seq;
			return;
		}
	}
}

static void check_one(struct sim *s, struct placed *all, uint32_t n, struct placed *p)
{
	uint64_t least = p->at;
	const struct sim_seen *o = p->seen;

	for (uint32_t i = 0; i < n; i++) {
		const struct placed *q = &all[i];

		if (q == p || !q->seen->done || q->seen->ended >= o->began)
			continue;
		if (!o->is_read && q->at >= p->at)
			sim_fail(s, "write %u.%u stands before %u.%u, which had ended before it began",
				 o->client, o->request, q->seen->client, q->seen->request);
		least = MAX(least, q->at);
	}
	if (!o->is_read)
		return;
	if (least >= p->next)
		sim_fail(s, "read %u.%u saw a value that had been overwritten", o->client, o->request);
	p->at = least;
}

/* Places are given in the order in which operations began: whatever ended before was placed. */
void sim_check_history(struct sim *s)
{
	struct placed *all = calloc(s->n_seen + 1, sizeof *all);
	uint64_t *first = calloc(s->next_value, sizeof *first);
	uint32_t n = 0;

	if (!all || !first)
		abort();
	for (uint64_t seq = s->n_committed; seq > 0; seq--)
		first[s->committed[seq].value] = seq;
	for (uint32_t i = 0; i < s->n_seen && !s->failure[0]; i++) {
		struct placed *p = &all[n];

		p->seen = &s->seen[i];
		if (p->seen->is_read) {
			if (!p->seen->done)
				continue;
			place_read(s, first, p);
			if (p->seen->value != 0 && p->at == 0)
				sim_fail(s, "read %u.%u saw a value that nobody committed",
					 p->seen->client, p->seen->request);
		} else {
			p->at = find_write(s, p->seen);
			if (p->seen->done && p->at == 0)
				sim_fail(s, "acknowledged write %u.%u is lost", p->seen->client,
					 p->seen->request);
			if (p->at == 0)
				continue;
		}
		n++;
	}
	qsort(all, n, sizeof *all, by_begin);
	for (uint32_t i = 0; i < n && !s->failure[0]; i++)
		check_one(s, all, n, &all[i]);
	free(first);
	free(all);
}
