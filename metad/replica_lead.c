/* Purpose: the primary: its own entries, what each member gets next, what is committed, how long the
 * lease lasts, and giving the role away.
 *
 * Only an entry of the own epoch is committed by counting; everything before is committed with it. The
 * lease counts from when a heartbeat was sent whose answers make a majority, never from when they
 * came. Who has no majority's answers for election_ns is primary no more.
 *
 * Threads, fork, signals: see replica.h. */
#include "replica_internal.h"

/* Entries that may be under way to a member beyond what it has acknowledged. */
#define WINDOW 1024u

/* --- Members --------------------------------------------------------------------------------- */

void replica_peers_update(struct replica *r)
{
	const struct replica_config *config = replica_config_now(r);
	struct replica_peer old[REPLICA_MEMBERS_MAX];
	uint32_t n_old = r->n_peers;

	memcpy(old, r->peers, sizeof old);
	r->n_peers = 0;
	for (uint32_t i = 0; i < config->n; i++) {
		const struct replica_member *m = &config->member[i];
		struct replica_peer *p = &r->peers[r->n_peers];

		if (m->id == r->id)
			continue;
		r->n_peers++;
		*p = (struct replica_peer){ .id = m->id, .log_id = m->log_id, .probing = true,
					    .next_seq = r->last_seq + 1, .heard_ns = r->now };
		for (uint32_t k = 0; k < n_old; k++)
			if (old[k].id == m->id && old[k].log_id == m->log_id)
				*p = old[k];
	}
}

bool replica_majority(const struct replica *r, bool self,
		      bool (*fn)(const struct replica *r, const struct replica_peer *p))
{
	const struct replica_config *config = replica_config_now(r);
	const struct replica_member *us = replica_self(r);
	uint32_t n = us && us->voter && self;

	for (uint32_t i = 0; i < r->n_peers; i++) {
		const struct replica_member *m = replica_member_find(config, r->peers[i].id);

		n += m && m->voter && fn(r, &r->peers[i]);
	}
	return n > replica_n_voters(config) / 2;
}

static struct replica_peer *peer_find(struct replica *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].id == id)
			return &r->peers[i];
	return NULL;
}

/* --- Sending --------------------------------------------------------------------------------- */

static void send_append(struct replica *r, struct replica_peer *p, uint32_t n)
{
	struct replica_message *m = replica_say(r, REPLICA_APPEND, p->id);

	m->prev_seq = p->next_seq - 1;
	m->prev_epoch = replica_epoch_at(r, m->prev_seq);
	m->n_entries = n;
	m->commit_seq = r->commit_seq;
	m->round = r->round;
	replica_check_now(r, m);
	p->sent_ns = r->now;
	p->next_seq += p->probing ? 0 : n;
}

/* What p lacks, or at least a sign of life. */
static void feed(struct replica *r, struct replica_peer *p, bool heartbeat)
{
	if (p->next_seq <= r->base_seq) {
		if (!p->offered)
			replica_act(r, REPLICA_OFFER)->id = p->id;
		p->offered = true;
		p->next_seq = r->base_seq + 1;
		p->probing = true;
	}
	do {
		uint64_t n = MIN(r->last_seq + 1 - p->next_seq, (uint64_t)r->options.message_entries);

		if (p->probing)
			n = 0;
		else if (p->next_seq > p->match_seq + WINDOW)
			n = 0;
		if (n == 0 && !heartbeat)
			return;
		send_append(r, p, (uint32_t)n);
		heartbeat = false;
	} while (!p->probing && p->next_seq <= r->last_seq);
}

static void feed_all(struct replica *r, bool heartbeat)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		feed(r, &r->peers[i], heartbeat);
}

/* --- Lease ----------------------------------------------------------------------------------- */

static bool answered_lately(const struct replica *r, const struct replica_peer *p)
{
	return r->now < p->heard_ns + r->options.election_ns;
}

static void extend_lease(struct replica *r)
{
	const struct replica_config *config = replica_config_now(r);
	uint64_t best = 0, at = 0;

	/* The newest round that a majority has answered. */
	for (uint32_t i = 0; i < REPLICA_ROUNDS; i++) {
		const struct replica_member *us = replica_self(r);
		uint32_t n = us && us->voter;

		if (r->sent[i].round <= best)
			continue;
		for (uint32_t k = 0; k < r->n_peers; k++) {
			const struct replica_member *m = replica_member_find(config,
									     r->peers[k].id);

			n += m && m->voter && r->peers[k].round >= r->sent[i].round;
		}
		if (n > replica_n_voters(config) / 2) {
			best = r->sent[i].round;
			at = r->sent[i].at;
		}
	}
	if (best > 0)
		r->lease_until = MAX(r->lease_until, at + r->options.lease_ns);
}

static void heartbeat(struct replica *r)
{
	r->round++;
	r->sent[r->round % REPLICA_ROUNDS].round = r->round;
	r->sent[r->round % REPLICA_ROUNDS].at = r->now;
	r->heartbeat_due = r->now + r->options.heartbeat_ns;
	feed_all(r, true);
	extend_lease(r);
}

/* --- The role -------------------------------------------------------------------------------- */

static void write_own(struct replica *r, const struct replica_config *config)
{
	struct replica_action *a;

	if (replica_log_add(r, r->last_seq + 1, r->epoch, config) < 0) {
		r->no_memory = true;
		return;
	}
	a = replica_act(r, REPLICA_WRITE);
	a->seq = r->last_seq;
	a->epoch = r->epoch;
	a->n = 1;
	a->own = true;
	a->config = config ? replica_config_now(r) : NULL;
	a->generation = r->generation;
}

void replica_lead(struct replica *r)
{
	r->role = REPLICA_PRIMARY;
	r->primary = 0;
	r->transfer = false;
	r->hand_over = 0;
	r->lease_until = 0;
	r->check_seq = 0;
	memset(r->sent, 0, sizeof r->sent);
	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i] = (struct replica_peer){ .id = r->peers[i].id,
						     .log_id = r->peers[i].log_id,
						     .next_seq = r->last_seq + 1,
						     .heard_ns = r->now,
						     .progress_ns = r->now,
						     .probing = true };
	replica_act(r, REPLICA_PRIMARY_NOW)->epoch = r->epoch;
	write_own(r, NULL);
	r->first_own = r->last_seq;
	heartbeat(r);
}

static void step_down(struct replica *r)
{
	replica_follow(r, r->epoch, 0);
}

/* Entries that were lost on the way are sent again. Of whom it is not known how far it is, that is asked by each
 * heartbeat: nothing follows from its silence, least of all that it has nothing. */
static void look_for_losses(struct replica *r, struct replica_peer *p)
{
	if (!p->probing && p->match_seq + 1 < p->next_seq && r->now > p->progress_ns + r->options.election_ns / 2) {
		p->next_seq = p->match_seq + 1;
		p->probing = true;
		p->progress_ns = r->now;
	}
}

void replica_on_offered(struct replica *r, uint64_t id)
{
	struct replica_peer *p = peer_find(r, id);

	if (p)
		p->offered = false;
}

static void try_hand_over(struct replica *r);

void replica_lead_tick(struct replica *r)
{
	const struct replica_member *self = replica_self(r);

	if (!replica_majority(r, true, answered_lately)) {
		step_down(r);
		return;
	}
	if (r->now < r->heartbeat_due)
		return;
	for (uint32_t i = 0; i < r->n_peers; i++)
		look_for_losses(r, &r->peers[i]);
	heartbeat(r);
	if (r->hand_over != 0 && r->now > r->hand_over_until)
		r->hand_over = 0;
	if (self && self->witness && r->hand_over == 0 && r->commit_seq >= r->first_own)
		replica_hand_over(r, 0);
	try_hand_over(r);
}

/* --- Committing ------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

void replica_lead_advance(struct replica *r)
{
	const struct replica_config *config = replica_config_now(r);
	uint64_t seqs[REPLICA_MEMBERS_MAX], seq;
	uint32_t n = 0;

	for (uint32_t i = 0; i < config->n; i++) {
		const struct replica_member *m = &config->member[i];
		const struct replica_peer *p = peer_find(r, m->id);

		if (m->voter)
			seqs[n++] = m->id == r->id ? (m->log_id == r->log_id ? r->durable_seq : 0) :
						     p->match_seq;
	}
	if (n == 0)
		return;
	qsort(seqs, n, sizeof *seqs, by_size);
	seq = seqs[n / 2];
	if (seq > r->commit_seq && replica_epoch_at(r, seq) == r->epoch) {
		r->commit_seq = seq;
		feed_all(r, true);
	}
	replica_tell_commit(r);
	/* Out of the membership, and that is final. */
	if (r->commit_seq >= replica_config_seq(r) && r->commit_seq >= r->first_own &&
	    !replica_self(r))
		step_down(r);
}

void replica_on_append_reply(struct replica *r, const struct replica_message *m)
{
	struct replica_peer *p = peer_find(r, m->from);

	if (!p || p->log_id != m->log_id)
		return;
	p->heard_ns = r->now;
	p->round = MAX(p->round, m->round);
	extend_lease(r);
	if (m->granted) {
		if (m->match_seq > p->match_seq) {
			p->match_seq = MIN(m->match_seq, r->last_seq);
			p->progress_ns = r->now;
		}
		if (p->probing) {
			p->probing = false;
			p->progress_ns = r->now;
		}
		p->next_seq = MAX(p->next_seq, p->match_seq + 1);
	} else if (m->match_seq + 1 < p->next_seq) {
		p->next_seq = MAX(m->match_seq + 1, p->match_seq + 1);
		p->probing = true;
	}
	feed(r, p, !m->granted);
	replica_lead_advance(r);
	if (r->role == REPLICA_PRIMARY)
		try_hand_over(r);
}

int replica_propose(struct replica *r, uint32_t n)
{
	struct replica_action *a;

	if (!replica_is_serving(r))
		return -EPERM;
	if (n == 0)
		return -EINVAL;
	if (replica_log_add(r, r->last_seq + 1, r->epoch, NULL) < 0)
		return -ENOMEM;
	a = replica_act(r, REPLICA_WRITE);
	a->seq = r->last_seq;
	a->epoch = r->epoch;
	a->n = n;
	a->generation = r->generation;
	r->last_seq += n - 1;
	feed_all(r, false);
	return 0;
}

/* --- Membership, handing over ---------------------------------------------------------------- */

/* How many members are new, gone or changed; UINT32_MAX: a voter got another log, which would be two
 * changes of who can be counted. */
static uint32_t changes(const struct replica_config *from, const struct replica_config *to)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < to->n; i++) {
		const struct replica_member *b = &to->member[i];
		const struct replica_member *a = replica_member_find(from, b->id);

		if (a && a->log_id != b->log_id && b->voter)
			return UINT32_MAX;
		n += !a || a->log_id != b->log_id || a->voter != b->voter || a->witness != b->witness;
	}
	for (uint32_t i = 0; i < from->n; i++)
		n += !replica_member_find(to, from->member[i].id);
	return n;
}

/* A voter that still lacks much would only make majorities harder to find. */
static bool are_near(struct replica *r, const struct replica_config *config)
{
	for (uint32_t i = 0; i < config->n; i++) {
		const struct replica_member *m = &config->member[i];
		const struct replica_member *before = replica_member_find(replica_config_now(r), m->id);
		const struct replica_peer *p = peer_find(r, m->id);

		if (m->voter && m->id != r->id && !(before && before->voter) &&
		    (!p || p->log_id != m->log_id || p->match_seq + REPLICA_ENTRIES_MAX < r->last_seq))
			return false;
	}
	return true;
}

int replica_configure(struct replica *r, const struct replica_config *config)
{
	const struct replica_config *now = replica_config_now(r);

	if (r->role != REPLICA_PRIMARY)
		return -EPERM;
	if (r->commit_seq < r->first_own || r->commit_seq < replica_config_seq(r) || r->hand_over)
		return -EBUSY;
	if (config->n == 0 || config->n > REPLICA_MEMBERS_MAX || replica_n_voters(config) == 0 ||
	    changes(now, config) != 1)
		return -EINVAL;
	if (!are_near(r, config))
		return -EAGAIN;
	write_own(r, config);
	feed_all(r, false);
	return 0;
}

static void try_hand_over(struct replica *r)
{
	const struct replica_config *config = replica_config_now(r);

	if (r->hand_over == 0 || r->commit_seq < r->first_own)
		return;
	for (uint32_t i = 0; i < config->n; i++) {
		const struct replica_member *m = &config->member[i];
		const struct replica_peer *p = peer_find(r, m->id);

		if (!p || !m->voter || m->witness || p->match_seq < r->last_seq ||
		    (r->hand_over != UINT64_MAX && r->hand_over != m->id))
			continue;
		replica_say(r, REPLICA_TRANSFER, m->id);
		step_down(r);
		return;
	}
}

int replica_hand_over(struct replica *r, uint64_t id)
{
	const struct replica_member *m = replica_member_find(replica_config_now(r), id);

	if (r->role != REPLICA_PRIMARY)
		return -EPERM;
	if (id != 0 && (!m || !m->voter || m->witness || id == r->id))
		return -EINVAL;
	r->hand_over = id ? id : UINT64_MAX;
	r->hand_over_until = r->now + r->options.election_ns;
	try_hand_over(r);
	return 0;
}
