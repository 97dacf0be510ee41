/* The driver of one member: carries out what metad/replica*.c asks for, on a simulated disk.
 *
 * The log is written one operation at a time, in order, as metad/log.c does; a batch is durable when
 * its write has returned. A checkpoint for another member is a copy of the database.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

uint64_t sim_member_clock(const struct sim *s, const struct sim_member *m)
{
	return m->offset + (uint64_t)((double)s->now * m->rate);
}

static void *grown(void *p, uint32_t *room, uint32_t n, size_t size)
{
	if (n < *room)
		return p;
	*room = MAX(2 * *room, 64u);
	p = realloc(p, *room * size);
	if (!p)
		abort();
	return p;
}

void sim_member_arm(struct sim *s, struct sim_member *m)
{
	uint64_t due = replica_deadline(m->core), now = sim_member_clock(s, m), wait;
	struct sim_event *e;

	wait = due > now ? (uint64_t)((double)(due - now) / m->rate) + 1 : 1;
	if (m->timer_at > s->now && m->timer_at <= s->now + wait)
		return;
	m->timer_at = s->now + wait;
	e = sim_at(s, wait, SIM_TIMER);
	e->member = (uint32_t)m->id;
	e->life = m->life;
}

/* --- Actions --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0xff51afd7ed558ccdu;
	return h ^ (h >> 32);
}

static void answer(struct sim *s, const struct sim_member *m, uint32_t client, uint32_t request,
		   bool ok, uint64_t value)
{
	struct sim_event *e;

	if (sim_chance(s, s->quiet ? 0 : s->o.drop))
		return;
	e = sim_at(s, sim_random(s, s->o.delay_ns) + 1, SIM_ANSWER);
	e->client = client;
	e->request = request;
	e->ok = ok;
	e->value = value;
	e->member = 0;
	e->seq = m->id;
}

static void apply(struct sim *s, struct sim_member *m, uint64_t seq)
{
	const struct sim_entry *e = &m->log[seq];
	struct sim_state *db = &m->db;
	bool news = e->kind == SIM_WRITE && e->request > db->done[e->client];

	db->seq = seq;
	db->epoch = e->epoch;
	if (news) {
		db->value[e->key] = e->value;
		db->done[e->client] = e->request;
	}
	if (e->kind == SIM_CONFIG)
		db->config = e->config;
	if (e->time != 0 && e->time < db->time)
		sim_fail(s, "the time of operation %u went back", (unsigned)seq);
	db->time = MAX(db->time, e->time);
	db->hash = mix(mix(mix(db->hash, e->epoch), e->value), news);
	if (s->o.diverge && s->n_diverged == 0 && m->id == 2 && sim_chance(s, 0.005)) {
		sim_say(s, "the database of member 2 goes wrong");
		s->n_diverged = seq;
		db->hash++;
	}
	m->history = grown(m->history, &m->room_history, m->n_history, sizeof *m->history);
	m->history[m->n_history++] = *db;
	sim_check_applied(s, m);
	for (uint32_t i = 0; i < m->n_pending; i++) {
		struct sim_pending p = m->pending[i];

		if (p.seq != seq)
			continue;
		m->pending[i] = m->pending[--m->n_pending];
		if (e->kind == SIM_WRITE && e->client == p.client && e->request == p.request)
			answer(s, m, p.client, p.request, true, 0);
		break;
	}
}

static void on_commit(struct sim *s, struct sim_member *m, uint64_t seq)
{
	sim_check_commit(s, m, seq);
	while (m->db.seq < seq && !s->failure[0])
		apply(s, m, m->db.seq + 1);
}

static void disk_next(struct sim *s, struct sim_member *m)
{
	bool slow = (s->o.slow && m->id == s->o.members) || sim_chance(s, 0.02);
	struct sim_event *e = sim_at(s, 50000 + sim_random(s, slow ? 80 * SIM_MSEC : SIM_MSEC),
				     SIM_DISK);

	e->member = (uint32_t)m->id;
	e->life = m->life;
}

static void write_add(struct sim *s, struct sim_member *m, struct sim_write *w)
{
	bool first = !m->writes;

	*m->writes_end = w;
	m->writes_end = &w->next;
	if (first)
		disk_next(s, m);
}

/* proposed: what an event PROPOSE is about. */
static void on_write(struct sim *s, struct sim_member *m, const struct replica_action *a,
		     const struct sim_entry *entries)
{
	struct sim_write *w = calloc(1, sizeof *w);

	if (!w || !(w->entries = calloc(a->n, sizeof *w->entries)))
		abort();
	if (a->seq + a->n >= SIM_LOG) {
		sim_fail(s, "the run is too long for SIM_LOG");
		free(w->entries);
		free(w);
		return;
	}
	w->seq = a->seq;
	w->n = a->n;
	w->generation = a->generation;
	for (uint32_t i = 0; i < a->n; i++) {
		struct sim_entry *e = &w->entries[i];

		if (!a->own) {
			*e = entries[a->index + i];
		} else if (a->config) {
			e->kind = SIM_CONFIG;
			e->config = *a->config;
		}
		if (a->epoch)
			e->epoch = a->epoch;
		m->log[a->seq + i] = *e;
	}
	m->last_seq = a->seq + a->n - 1;
	write_add(s, m, w);
}

static void on_reset(struct sim *s, struct sim_member *m, uint64_t seq)
{
	struct sim_write *w = calloc(1, sizeof *w);

	if (!w)
		abort();
	w->reset = true;
	w->seq = seq;
	w->epoch = m->db.epoch;
	w->config = m->db.config;
	m->last_seq = seq;
	write_add(s, m, w);
}

static void on_send(struct sim *s, struct sim_member *m, const struct replica_message *message)
{
	int copies = sim_chance(s, s->quiet ? 0 : s->o.twice) ? 2 : 1;

	if (message->to > SIM_MEMBERS)
		return;
	for (int i = 0; i < copies; i++) {
		uint64_t delay = sim_random(s, s->o.delay_ns);
		struct sim_event *e;

		if (s->cut[m->id][message->to] || sim_chance(s, s->quiet ? 0 : s->o.drop))
			continue;
		if (sim_chance(s, 0.01) || (s->o.slow && message->to == s->o.members))
			delay *= 50;
		e = sim_at(s, delay + 1000, SIM_DELIVER);
		e->member = (uint32_t)message->to;
		e->message = *message;
		if (message->n_entries > 0) {
			e->entries = calloc(message->n_entries, sizeof *e->entries);
			if (!e->entries)
				abort();
			memcpy(e->entries, &m->log[message->prev_seq + 1],
			       message->n_entries * sizeof *e->entries);
		}
	}
}

static void on_offer(struct sim *s, struct sim_member *m, uint64_t id)
{
	uint64_t delay = sim_random(s, SIM_SEC);
	struct sim_event *e;

	if (id <= SIM_MEMBERS && !s->cut[m->id][id] && m->db.seq > 0) {
		e = sim_at(s, delay, SIM_INSTALL);
		e->member = (uint32_t)id;
		e->state = malloc(sizeof *e->state);
		if (!e->state)
			abort();
		/* As of its last transaction: it may lack what was just applied. */
		*e->state = sim_chance(s, 0.5) ? m->db :
			    m->n_history > 1   ? m->history[m->n_history - 2] :
						 m->disk.db;
	}
	e = sim_at(s, delay + SIM_MSEC, SIM_OFFER_END);
	e->member = (uint32_t)m->id;
	e->life = m->life;
	e->value = id;
}

static void act(struct sim *s, struct sim_member *m, const struct replica_action *a,
		const struct sim_entry *entries)
{
	switch (a->kind) {
	case REPLICA_SAVE:
		m->disk.epoch = a->epoch;
		m->disk.vote = a->vote;
		break;
	case REPLICA_TRUNCATE:
		m->last_seq = a->seq;
		break;
	case REPLICA_WRITE:
		on_write(s, m, a, entries);
		break;
	case REPLICA_RESET:
		on_reset(s, m, a->seq);
		break;
	case REPLICA_SEND:
		sim_check_vote(s, m, &a->message);
		on_send(s, m, &a->message);
		break;
	case REPLICA_OFFER:
		on_offer(s, m, a->id);
		break;
	case REPLICA_COMMIT:
		on_commit(s, m, a->seq);
		break;
	case REPLICA_PRIMARY_NOW:
		sim_say(s, "member %u is the primary of epoch %u", (unsigned)m->id,
			(unsigned)a->epoch);
		sim_check_primary(s, m, a->epoch);
		if (!s->quiet && sim_chance(s, s->o.hunt)) {
			/* Mostly before anybody else has its first entry. */
			uint64_t life = sim_random(s, sim_random(s, 12 * SIM_MSEC) + 1);
			struct sim_event *e = sim_at(s, life, SIM_CRASH);

			e->member = (uint32_t)m->id;
			e->life = m->life;
		}
		break;
	case REPLICA_PRIMARY_NO_MORE:
		sim_say(s, "member %u is the primary no more", (unsigned)m->id);
		m->n_pending = 0;
		m->again = s->o.again;
		break;
	case REPLICA_HALT:
		sim_say(s, "member %u halts: %s", (unsigned)m->id, a->reason);
		s->n_halted++;
		/* Which of two databases is the right one, the primary decides. */
		if (!m->failing && s->n_diverged == 0)
			sim_fail(s, "member %u halts: %s", (unsigned)m->id, a->reason);
		break;
	}
}

/* The log up to seq, which is in the database, is no longer there. */
static void forget_log(struct sim_disk *d, uint64_t seq)
{
	if (seq <= d->base_seq || seq > d->last_seq || d->flipped > 0)
		return;
	for (uint64_t i = d->base_seq + 1; i <= seq; i++)
		if (d->log[i].kind == SIM_CONFIG)
			d->base_config = d->log[i].config;
	d->base_epoch = d->log[seq].epoch;
	d->base_seq = seq;
}

static void start_anew(struct sim *s, struct sim_member *m)
{
	m->again = false;
	sim_member_crash(s, m);
	/* It may be one that keeps little; of a log that the copy does not continue, nothing is kept anyway. */
	if (sim_chance(s, 0.5) && m->disk.log[m->disk.db.seq].epoch == m->disk.db.epoch)
		forget_log(&m->disk, m->disk.db.seq);
	sim_at(s, sim_random(s, 20 * SIM_MSEC), SIM_RESTART)->member = (uint32_t)m->id;
}

int sim_member_step(struct sim *s, struct sim_member *m, struct replica_event *e,
		    const struct sim_entry *entries)
{
	double crash = s->quiet ? 0 : s->o.crash / 4000;
	uint64_t applied = m->db.seq;
	int r;

	e->now = sim_member_clock(s, m);
	r = replica_step(m->core, e, &m->actions);
	for (uint32_t i = 0; i < m->actions.n && !s->failure[0]; i++) {
		if (sim_chance(s, crash)) {
			s->n_faults++;
			sim_member_crash(s, m);
			sim_at(s, sim_random(s, 2 * SIM_SEC), SIM_RESTART)->member = (uint32_t)m->id;
			return r;
		}
		act(s, m, &m->actions.v[i], entries);
	}
	if (s->failure[0])
		return r;
	if (m->db.seq > applied && e->kind != REPLICA_INSTALLED) {
		struct replica_event told = { .kind = REPLICA_APPLIED, .seq = m->db.seq,
					      .hash = m->db.hash };

		sim_member_step(s, m, &told, NULL);
	}
	if (m->up) {
		struct replica_view view;

		replica_view(m->core, &view);
		if (!view.damaged)
			m->disk.damaged = 0;
		if (view.role == REPLICA_HALTED)
			sim_member_crash(s, m);
		else if (m->again)
			start_anew(s, m);
		else
			sim_member_arm(s, m);
	}
	return r;
}

void sim_member_deliver(struct sim *s, struct sim_member *m, const struct sim_event *e)
{
	struct replica_entry entries[REPLICA_ENTRIES_MAX];
	struct replica_message message = e->message;
	struct replica_event event = { .kind = REPLICA_MESSAGE, .message = &message };

	for (uint32_t i = 0; i < message.n_entries; i++)
		entries[i] = (struct replica_entry){
			.epoch = e->entries[i].epoch,
			.config = e->entries[i].kind == SIM_CONFIG ? &e->entries[i].config : NULL,
		};
	message.entries = entries;
	sim_member_step(s, m, &event, e->entries);
}

void sim_member_timer(struct sim *s, struct sim_member *m)
{
	struct replica_event e = { .kind = REPLICA_TICK };

	m->timer_at = 0;
	sim_member_step(s, m, &e, NULL);
}

/* The first of the writes has returned. */
void sim_member_disk(struct sim *s, struct sim_member *m)
{
	struct sim_write *w = m->writes;
	struct replica_event e = { .kind = REPLICA_DURABLE };

	if (m->failing) {
		e.kind = REPLICA_FAILED;
		sim_member_step(s, m, &e, NULL);
		sim_at(s, sim_random(s, 3 * SIM_SEC), SIM_RESTART)->member = (uint32_t)m->id;
		return;
	}
	sim_disk_write(&m->disk, w, w->n);
	e.seq = w->reset ? w->seq : w->seq + w->n - 1;
	e.generation = w->generation;
	m->writes = w->next;
	if (!m->writes)
		m->writes_end = &m->writes;
	else
		disk_next(s, m);
	if (!w->reset)
		sim_member_step(s, m, &e, NULL);
	free(w->entries);
	free(w);
}

/* --- Requests -------------------------------------------------------------------------------- */

static void take_write(struct sim *s, struct sim_member *m, const struct sim_event *e)
{
	struct sim_entry entry = { .kind = SIM_WRITE, .client = e->client, .request = e->request,
				   .key = e->key, .value = e->value };
	struct replica_event event = { .kind = REPLICA_PROPOSE, .n = 1 };
	uint64_t seq = m->last_seq + 1;

	if (m->db.done[e->client] >= e->request) {
		/* Applied before. That is only worth telling while we are the primary. */
		answer(s, m, e->client, e->request,
		       replica_may_answer(m->core, replica_read_begin(m->core),
					  sim_member_clock(s, m)), 0);
		return;
	}
	entry.time = (int64_t)s->now + m->wall_jump;
	for (uint64_t i = m->last_seq; i > m->db.seq; i--)
		entry.time = MAX(entry.time, m->log[i].time);
	entry.time = MAX(entry.time, m->db.time);
	m->pending = grown(m->pending, &m->room_pending, m->n_pending, sizeof *m->pending);
	m->pending[m->n_pending++] = (struct sim_pending){ seq, e->client, e->request };
	if (sim_member_step(s, m, &event, &entry) < 0) {
		if (m->up && m->n_pending > 0)
			m->n_pending--;
		answer(s, m, e->client, e->request, false, 0);
	}
}

void sim_member_request(struct sim *s, struct sim_member *m, const struct sim_event *e)
{
	struct sim_event *later;

	if (!e->is_read) {
		take_write(s, m, e);
		return;
	}
	/* The database is read now; the lease is looked at when that is done. */
	later = sim_at(s, sim_random(s, SIM_MSEC / 2), SIM_READ_ANSWER);
	later->member = (uint32_t)m->id;
	later->life = m->life;
	later->client = e->client;
	later->request = e->request;
	later->value = m->db.value[e->key];
	later->seq = replica_read_begin(m->core);
}

void sim_member_read_answer(struct sim *s, struct sim_member *m, const struct sim_event *e)
{
	answer(s, m, e->client, e->request,
	       replica_may_answer(m->core, e->seq, sim_member_clock(s, m)), e->value);
}

/* --- Checkpoints ----------------------------------------------------------------------------- */

void sim_member_checkpoint(struct sim *s, struct sim_member *m)
{
	struct replica_event e = { .kind = REPLICA_COMPACTED };
	struct sim_disk *d = &m->disk;
	uint64_t keep = sim_random(s, 40);

	/* What is in the database was durable in the log first. */
	d->db = m->db;
	m->n_history = 0;
	e.seq = d->db.seq > keep ? MIN(d->db.seq - keep, d->last_seq) : 0;
	if (e.seq <= d->base_seq || d->flipped > 0)
		return;
	forget_log(d, e.seq);
	sim_member_step(s, m, &e, NULL);
}

void sim_member_install(struct sim *s, struct sim_member *m, const struct sim_state *state)
{
	struct replica_event e = { .kind = REPLICA_INSTALLED, .seq = state->seq,
				   .epoch = state->epoch, .hash = state->hash,
				   .config = &state->config };

	if (state->seq <= m->db.seq)
		return;
	sim_say(s, "member %u gets a checkpoint of %u", (unsigned)m->id, (unsigned)state->seq);
	m->db = m->disk.db = *state;
	m->n_history = 0;
	if (s->o.again)
		start_anew(s, m);
	else
		sim_member_step(s, m, &e, NULL);
}
