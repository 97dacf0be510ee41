/* Who lives beside the members: clients, faults, an administrator.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

/* --- Clients --------------------------------------------------------------------------------- */

static void ask(struct sim *s, struct sim_client *c)
{
	struct sim_event *e;

	c->attempt++;
	e = sim_at(s, 300 * SIM_MSEC + sim_random(s, 200 * SIM_MSEC), SIM_CLIENT_TIMEOUT);
	e->client = c->id;
	e->request = c->request;
	e->attempt = c->attempt;
	if (sim_chance(s, s->quiet ? 0 : s->o.drop))
		return;
	for (int copies = sim_chance(s, s->quiet ? 0 : s->o.twice) ? 2 : 1; copies > 0; copies--) {
		e = sim_at(s, sim_random(s, s->o.delay_ns) + 1, SIM_REQUEST);
		e->member = c->member;
		e->client = c->id;
		e->request = c->request;
		e->key = c->key;
		e->value = c->value;
		e->is_read = c->is_read;
	}
}

void sim_client_next(struct sim *s, struct sim_client *c)
{
	struct sim_seen *seen;

	if (c->busy || c->stopped)
		return;
	c->busy = true;
	c->request++;
	c->key = (uint32_t)sim_random(s, SIM_KEYS);
	c->is_read = sim_chance(s, 0.5);
	c->value = c->is_read ? 0 : s->next_value++;
	c->began = s->now;
	seen = sim_saw(s, c);
	*seen = (struct sim_seen){ .client = c->id, .request = c->request, .key = c->key,
				   .is_read = c->is_read, .value = c->value, .began = s->now };
	ask(s, c);
}

static struct sim_seen *seen_of(struct sim *s, uint32_t client, uint32_t request)
{
	for (uint32_t i = s->n_seen; i-- > 0;)
		if (s->seen[i].client == client && s->seen[i].request == request)
			return &s->seen[i];
	abort();
}

static void another_member(struct sim *s, struct sim_client *c)
{
	c->member = 1 + (uint32_t)sim_random(s, SIM_MEMBERS);
}

void sim_client_timeout(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->client];

	if (!c->busy || c->request != e->request || c->attempt != e->attempt)
		return;
	another_member(s, c);
	ask(s, c);
}

void sim_client_answer(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->client];
	struct sim_seen *seen;
	struct sim_event *next;

	if (!c->busy || c->request != e->request)
		return;
	if (!e->ok) {
		/* The timeout asks again; a refusal only tells whom not to ask. */
		if (e->seq == c->member)
			another_member(s, c);
		return;
	}
	seen = seen_of(s, c->id, c->request);
	seen->done = true;
	seen->ended = s->now;
	if (seen->is_read)
		seen->value = e->value;
	c->busy = false;
	next = sim_at(s, sim_random(s, s->o.rest_ns ? s->o.rest_ns : 40 * SIM_MSEC), SIM_CLIENT_NEXT);
	next->client = c->id;
}

/* --- Faults ---------------------------------------------------------------------------------- */

static struct sim_member *anyone(struct sim *s)
{
	return &s->members[1 + sim_random(s, SIM_MEMBERS)];
}

/* The membership as far as anybody has applied it. */
static const struct replica_config *config_of_all(const struct sim *s)
{
	const struct sim_member *newest = &s->members[1];

	for (uint32_t i = 2; i <= SIM_MEMBERS; i++)
		if (s->members[i].db.seq > newest->db.seq)
			newest = &s->members[i];
	return newest->db.config.n > 0 ? &newest->db.config : &newest->disk.base_config;
}

static uint32_t n_voters(const struct replica_config *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += c->member[i].voter;
	return n;
}

static bool is_voter(const struct sim *s, const struct sim_member *m)
{
	const struct replica_config *c = config_of_all(s);

	for (uint32_t i = 0; i < c->n; i++)
		if (c->member[i].id == m->id)
			return c->member[i].voter && c->member[i].log_id == m->disk.log_id;
	return false;
}

/* One voter's disk at a time is damaged or new; the next only when that one has everything again. */
static bool may_lame(struct sim *s)
{
	struct replica_view v;
	struct sim_member *m = &s->members[s->lame];

	if (n_voters(config_of_all(s)) < 3)
		return false;
	if (s->lame == 0)
		return true;
	if (!m->up)
		return false;
	replica_view(m->core, &v);
	return !v.damaged && m->db.seq + 5 >= s->n_committed && is_voter(s, m);
}

void sim_crash(struct sim *s, struct sim_member *m)
{
	if (m->up)
		sim_member_crash(s, m);
	sim_at(s, sim_random(s, s->o.hunt > 0 ? SIM_SEC / 2 : 3 * SIM_SEC), SIM_RESTART)->member = (uint32_t)m->id;
}

static void flip(struct sim *s, struct sim_member *m)
{
	struct sim_disk *d = &m->disk;

	/* Where damage can be told from a write that was under way. */
	if (!may_lame(s) || d->damaged || d->safe_seq <= d->base_seq || !is_voter(s, m))
		return;
	sim_crash(s, m);
	if (d->safe_seq <= d->base_seq)
		return;
	s->lame = (uint32_t)m->id;
	d->flipped = d->base_seq + 1 + sim_random(s, d->safe_seq - d->base_seq);
	sim_say(s, "entry %u of member %u is damaged", (unsigned)d->flipped, (unsigned)m->id);
}

static void replace(struct sim *s, struct sim_member *m)
{
	if (!may_lame(s) || m->disk.last_seq == 0 || !is_voter(s, m))
		return;
	sim_crash(s, m);
	s->lame = (uint32_t)m->id;
	m->disk.log_id = ++s->next_log_id + 100;
	sim_member_format(s, m, NULL);
	memset(&m->db, 0, sizeof m->db);
	sim_say(s, "member %u has a new disk", (unsigned)m->id);
}

static void cut_any(struct sim *s)
{
	uint32_t a = 1 + (uint32_t)sim_random(s, SIM_MEMBERS);
	uint32_t b = 1 + (uint32_t)sim_random(s, SIM_MEMBERS);

	switch (sim_random(s, 4)) {
	case 0: /* one way */
		s->cut[a][b] = true;
		break;
	case 1: /* a is alone */
		for (uint32_t i = 1; i <= SIM_MEMBERS; i++)
			s->cut[a][i] = s->cut[i][a] = true;
		break;
	default:
		memset(s->cut, 0, sizeof s->cut);
		break;
	}
}

static void cut(struct sim *s)
{
	s->n_cuts++;
	if (s->o.one_way > 0) {
		memset(s->cut, 0, sizeof s->cut);
		if (s->n_cuts % 2)
			s->cut[1 + sim_random(s, s->o.members)][1 + sim_random(s, s->o.members)] = true;
		return;
	}
	cut_any(s);
}

static void stop_for_a_while(struct sim *s, struct sim_member *m)
{
	m->paused_until = s->now + sim_random(s, sim_chance(s, 0.2) ? 10 * SIM_SEC : SIM_SEC);
}

void sim_fault(struct sim *s)
{
	const struct sim_options *o = &s->o;
	double each = 0.1; /* seconds between two looks, on average */

	if (s->quiet)
		return;
	s->n_faults++;
	if (sim_chance(s, o->crash * each * 0.5))
		sim_crash(s, anyone(s));
	if (sim_chance(s, (o->cut + o->one_way) * each))
		cut(s);
	if (sim_chance(s, o->power * each))
		for (uint32_t i = 1; i <= SIM_MEMBERS; i++)
			sim_crash(s, &s->members[i]);
	if (sim_chance(s, o->pause * each))
		stop_for_a_while(s, anyone(s));
	if (sim_chance(s, o->flip * each))
		flip(s, anyone(s));
	if (sim_chance(s, o->replace * each))
		replace(s, anyone(s));
	if (sim_chance(s, o->fail * each))
		anyone(s)->failing = true;
	if (sim_chance(s, 0.05))
		anyone(s)->wall_jump = (int64_t)sim_random(s, 7200 * SIM_SEC) -
				       (int64_t)(3600 * SIM_SEC);
	if (sim_chance(s, o->checkpoint * each))
		sim_at(s, 1, SIM_CHECKPOINT)->member = (uint32_t)anyone(s)->id;
	sim_at(s, sim_random(s, 200 * SIM_MSEC), SIM_FAULT);
}

/* Every fault is over: all are there and reach each other. */
void sim_calm(struct sim *s)
{
	s->quiet = true;
	s->o.delay_ns = MIN(s->o.delay_ns, 4 * SIM_MSEC);
	memset(s->cut, 0, sizeof s->cut);
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		struct sim_member *m = &s->members[i];

		m->paused_until = 0;
		m->failing = false;
		if (!m->up)
			sim_at(s, sim_random(s, SIM_SEC), SIM_RESTART)->member = i;
	}
	for (uint32_t i = 0; i < SIM_CLIENTS; i++)
		s->clients[i].stopped = true;
}

/* Everybody was answered, and no voter lacks anything or has no vote. */
bool sim_settled(const struct sim *s)
{
	for (uint32_t i = 0; i < SIM_CLIENTS; i++)
		if (s->clients[i].busy)
			return false;
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		const struct sim_member *m = &s->members[i];
		struct replica_view v;

		if (!is_voter(s, m))
			continue;
		if (!m->up)
			return false;
		replica_view(m->core, &v);
		if (v.damaged || v.applied_seq < s->n_committed)
			return false;
	}
	return true;
}

/* --- Administration -------------------------------------------------------------------------- */

static void change(struct sim *s, struct replica_config *c)
{
	uint64_t id = 1 + sim_random(s, SIM_MEMBERS);
	const struct sim_member *m = &s->members[id];

	for (uint32_t i = 0; i < c->n; i++) {
		struct replica_member *it = &c->member[i];

		if (it->id != id)
			continue;
		if (it->log_id != m->disk.log_id) { /* a new disk: at first it only receives */
			it->log_id = m->disk.log_id;
			it->voter = false;
		} else if (!it->voter) {
			it->voter = true;
		} else if (n_voters(c) > 3) {
			*it = c->member[--c->n];
		}
		return;
	}
	if (c->n < SIM_MEMBERS)
		c->member[c->n++] = (struct replica_member){ .id = id, .log_id = m->disk.log_id };
}

void sim_admin(struct sim *s)
{
	struct sim_member *m = anyone(s);
	struct replica_view v;

	if (m->up && s->now >= m->paused_until && !s->failure[0]) {
		struct replica_event e = { .kind = REPLICA_CONFIGURE, .config = &v.config };

		replica_view(m->core, &v);
		if (sim_chance(s, 0.2))
			e.kind = REPLICA_HAND_OVER;
		else
			change(s, &v.config);
		if (v.role == REPLICA_PRIMARY)
			sim_member_step(s, m, &e, NULL);
	}
	if (!s->quiet)
		sim_at(s, (uint64_t)((double)sim_random(s, 2 * SIM_SEC) / s->o.admin), SIM_ADMIN);
}

/* For --trace: how it stands. */
void sim_show(struct sim *s)
{
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		struct sim_member *m = &s->members[i];
		struct replica_view v;

		if (!m->up)
			continue;
		replica_view(m->core, &v);
		sim_say(s, "member %u: %s of epoch %u, vote %u, log %u-%u (%u durable), committed %u, "
			   "applied %u%s, %u members by entry", i, replica_role_name(v.role),
			(unsigned)v.epoch, (unsigned)v.vote, (unsigned)v.base_seq,
			(unsigned)v.last_seq, (unsigned)v.durable_seq, (unsigned)v.commit_seq,
			(unsigned)v.applied_seq, v.damaged ? ", damaged" : "", v.config.n);
		for (uint32_t k = 0; k < v.config.n; k++)
			sim_say(s, "   %u log %u (really %u)%s%s", (unsigned)v.config.member[k].id,
				(unsigned)v.config.member[k].log_id,
				(unsigned)s->members[v.config.member[k].id].disk.log_id,
				v.config.member[k].voter ? " voter" : "",
				v.config.member[k].witness ? " witness" : "");
	}
}
