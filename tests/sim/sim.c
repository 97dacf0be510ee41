/* The simulator's heart: the queue of events, the seed, one run.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

uint64_t sim_random(struct sim *s, uint64_t below)
{
	uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return below ? z % below : 0;
}

bool sim_chance(struct sim *s, double p)
{
	return (double)sim_random(s, 1u << 30) < p * (double)(1u << 30);
}

void sim_fail(struct sim *s, const char *format, ...)
{
	va_list args;

	if (s->failure[0])
		return;
	va_start(args, format);
	vsnprintf(s->failure, sizeof s->failure, format, args);
	va_end(args);
	sim_say(s, "VIOLATION: %s", s->failure);
}

void sim_say(struct sim *s, const char *format, ...)
{
	va_list args;

	if (!s->trace)
		return;
	printf("%10.3f ms  ", (double)s->now / 1e6);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* --- The queue ------------------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at < b->at || (a->at == b->at && a->tie < b->tie);
}

/* Valid until the next call. Its place in the heap is settled by when and tie, which do not change. */
struct sim_event *sim_at(struct sim *s, uint64_t delay_ns, enum sim_event_kind kind)
{
	uint32_t i = s->n_heap;
	uint64_t at = s->now + delay_ns, tie = ++s->ties;

	if (i == s->room_heap) {
		s->room_heap = MAX(2 * s->room_heap, 256u);
		s->heap = realloc(s->heap, s->room_heap * sizeof *s->heap);
		if (!s->heap)
			abort();
	}
	s->n_heap++;
	while (i > 0) {
		uint32_t up = (i - 1) / 2;

		if (s->heap[up].at < at || (s->heap[up].at == at && s->heap[up].tie < tie))
			break;
		s->heap[i] = s->heap[up];
		i = up;
	}
	s->heap[i] = (struct sim_event){ .at = at, .tie = tie, .kind = kind };
	return &s->heap[i];
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0], last = s->heap[--s->n_heap];
	uint32_t i = 0;

	for (;;) {
		uint32_t kid = 2 * i + 1;

		if (kid >= s->n_heap)
			break;
		if (kid + 1 < s->n_heap && before(&s->heap[kid + 1], &s->heap[kid]))
			kid++;
		if (before(&last, &s->heap[kid]))
			break;
		s->heap[i] = s->heap[kid];
		i = kid;
	}
	if (s->n_heap > 0)
		s->heap[i] = last;
	return top;
}

static void event_done(struct sim_event *e)
{
	free(e->entries);
	free(e->state);
}

/* --- One event ------------------------------------------------------------------------------- */

/* A stopped process gets everything when it goes on. */
static bool is_for_sleeper(struct sim *s, struct sim_event *e)
{
	struct sim_member *m = &s->members[e->member];
	struct sim_event *later;

	if (e->member == 0 || e->kind == SIM_RESTART || s->now >= m->paused_until)
		return false;
	later = sim_at(s, m->paused_until - s->now, e->kind);
	e->at = later->at;
	e->tie = later->tie;
	*later = *e;
	return true;
}

static void run_event(struct sim *s, struct sim_event *e)
{
	struct sim_member *m = &s->members[e->member];
	struct replica_event event = { 0 };

	switch (e->kind) {
	case SIM_DELIVER:
		if (m->up)
			sim_member_deliver(s, m, e);
		break;
	case SIM_TIMER:
		if (m->up && e->life == m->life)
			sim_member_timer(s, m);
		break;
	case SIM_DISK:
		if (m->up && e->life == m->life)
			sim_member_disk(s, m);
		break;
	case SIM_REQUEST:
		if (m->up)
			sim_member_request(s, m, e);
		break;
	case SIM_READ_ANSWER:
		if (m->up && e->life == m->life)
			sim_member_read_answer(s, m, e);
		break;
	case SIM_ANSWER:
		sim_client_answer(s, e);
		break;
	case SIM_CLIENT_NEXT:
		sim_client_next(s, &s->clients[e->client]);
		break;
	case SIM_CLIENT_TIMEOUT:
		sim_client_timeout(s, e);
		break;
	case SIM_INSTALL:
		if (m->up)
			sim_member_install(s, m, e->state);
		break;
	case SIM_OFFER_END:
		event.kind = REPLICA_OFFERED;
		event.id = e->value;
		if (m->up && e->life == m->life)
			sim_member_step(s, m, &event, NULL);
		break;
	case SIM_FAULT:
		sim_fault(s);
		break;
	case SIM_ADMIN:
		sim_admin(s);
		break;
	case SIM_RESTART:
		if (!m->up)
			sim_member_start(s, m);
		break;
	case SIM_CRASH:
		if (m->up && e->life == m->life && !s->quiet)
			sim_crash(s, m);
		break;
	case SIM_CHECKPOINT:
		if (m->up)
			sim_member_checkpoint(s, m);
		break;
	}
}

/* --- One run --------------------------------------------------------------------------------- */

static void first_events(struct sim *s)
{
	struct replica_config config = { .n = s->o.members >= 5 ? 5 : 3 };

	for (uint32_t i = 0; i < config.n; i++)
		config.member[i] = (struct replica_member){ .id = i + 1, .log_id = i + 1,
							    .voter = true };
	/* Now and then one of the three is a witness. */
	if (config.n == 3 && s->seed % 4 == 3)
		config.member[2].witness = true;
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		struct sim_member *m = &s->members[i];

		m->id = i;
		m->rate = 0.985 + (double)sim_random(s, 1000) * 0.00003;
		m->offset = sim_random(s, 1000 * SIM_SEC) + SIM_SEC;
		m->disk.log_id = s->next_log_id++;
		sim_member_format(s, m, i <= config.n ? &config : NULL);
		sim_member_start(s, m);
	}
	for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
		s->clients[i] = (struct sim_client){ .id = i, .member = 1 + i % config.n };
		sim_at(s, sim_random(s, SIM_SEC), SIM_CLIENT_NEXT)->client = i;
	}
	sim_at(s, sim_random(s, SIM_SEC), SIM_FAULT);
	if (s->o.admin > 0)
		sim_at(s, sim_random(s, 2 * SIM_SEC), SIM_ADMIN);
}

static void run_until(struct sim *s, uint64_t end)
{
	while (s->n_heap > 0 && s->heap[0].at <= end && !s->failure[0]) {
		struct sim_event e = pop(s);

		s->now = e.at;
		s->n_events++;
		if (is_for_sleeper(s, &e))
			continue;
		run_event(s, &e);
		event_done(&e);
	}
	s->now = MAX(s->now, end);
}

bool sim_run(struct sim *s, uint64_t seed, const struct sim_options *options)
{
	s->seed = s->random = seed;
	s->o = *options;
	s->next_value = 1;
	s->next_log_id = 1;
	s->committed = calloc(SIM_LOG, sizeof *s->committed);
	s->hashes = calloc(SIM_LOG, sizeof *s->hashes);
	s->told_in = calloc(SIM_LOG, sizeof *s->told_in);
	if (!s->committed || !s->hashes || !s->told_in)
		abort();
	first_events(s);
	run_until(s, s->o.duration_ns);
	if (!s->failure[0] && s->o.heal_at_end) {
		sim_calm(s);
		for (int i = 0; i < 30 && !sim_settled(s) && !s->failure[0]; i++)
			run_until(s, s->now + SIM_SEC);
		if (!s->failure[0] && !sim_settled(s))
			sim_fail(s, "with every fault over, the group does not serve again, or not all of it");
	}
	if (!s->failure[0])
		sim_check_history(s);
	if (!s->failure[0] && s->o.at_end)
		s->o.at_end(s);
	if (s->failure[0])
		sim_show(s);
	return !s->failure[0];
}

void sim_done(struct sim *s)
{
	for (uint32_t i = 0; i < s->n_heap; i++)
		event_done(&s->heap[i]);
	for (uint32_t i = 1; i <= SIM_MEMBERS; i++) {
		struct sim_member *m = &s->members[i];

		if (m->up)
			sim_member_crash(s, m);
		replica_actions_done(&m->actions);
		free(m->disk.log);
		free(m->log);
		free(m->history);
		free(m->pending);
	}
	free(s->heap);
	free(s->committed);
	free(s->hashes);
	free(s->told_in);
	free(s->primary_of);
	free(s->seen);
	memset(s, 0, sizeof *s);
}
