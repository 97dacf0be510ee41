/* Purpose: who waits for leases: requests that were parked when they came, and the pipeline.
 *
 * Threads: the loop's. */
#include "lease.h"

#include <utlist.h>

static uint16_t slot_of(uint64_t dir)
{
	return (dir * 0x9e3779b97f4a7c15ull >> 40) % METAD_LEASE_CHANGED;
}

bool lease_is_changing(const struct metad_leases *l, uint64_t dir, uint64_t now)
{
	uint16_t i = slot_of(dir);

	return l->slots[i].pins > 0 || now - l->slots[i].changed_ns < l->lease_ns / 10;
}

static void pin(struct metad_leases *l, const struct metad_lease_set *set, struct metad_lease_pins *ret)
{
	ret->n = (uint16_t)set->n;
	ret->all = set->all;
	l->n_pinned_all += set->all;
	for (uint32_t i = 0; i < set->n; i++) {
		ret->slots[i] = slot_of(set->dirs[i]);
		l->slots[ret->slots[i]].pins++;
	}
}

void metad_lease_pin(struct metad *m, struct metad_lease_pins *ret)
{
	pin(m->leases, &m->leases->last_set, ret);
}

void metad_lease_unpin(struct metad *m, const struct metad_lease_pins *pins)
{
	uint64_t now = ff3_loop_now_ns(m->loop);

	m->leases->n_pinned_all -= pins->all;
	for (uint32_t i = 0; i < pins->n; i++) {
		m->leases->slots[pins->slots[i]].pins--;
		m->leases->slots[pins->slots[i]].changed_ns = now;
	}
}

static void note_changed(struct metad_leases *l, const struct metad_lease_set *set)
{
	uint64_t now = ff3_loop_now_ns(l->m->loop);

	for (uint32_t i = 0; i < set->n; i++)
		l->slots[slot_of(set->dirs[i])].changed_ns = now;
}

static bool is_quiet(const struct metad_leases *l)
{
	return !l->holders && l->wait_until_ns == 0;
}

/* 0 if nobody holds the set, else it is revoked and r parked. */
static int before(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct metad_lease_set *set)
{
	struct metad_leases *l = m->leases;
	struct lease_waiter *w;
	int k;

	note_changed(l, set);
	if (lease_is_free(l, set))
		return 0;
	k = ff3_request_keep_body(r);
	w = k >= 0 ? calloc(1, sizeof *w) : NULL;
	if (!w)
		return -ENOMEM;
	*w = (struct lease_waiter){ .r = r, .conn = conn, .set = *set };
	lease_revoke(l, set);
	/* Those who hold it may all have been away for too long. */
	if (lease_is_free(l, set)) {
		free(w);
		return 0;
	}
	l->stats.n_waited++;
	pin(l, set, &w->pins);
	LL_APPEND(l->waiters, w);
	lease_arm(l);
	m->deferred = true;
	return 1;
}

int metad_lease_before(struct metad *m, struct metad_conn *conn, struct ff3_request *r)
{
	struct ff3_blob body = { r->body, r->header.body_len };
	struct metad_lease_set *set = &m->leases->last_set;

	*set = (struct metad_lease_set){ 0 };
	if (is_quiet(m->leases))
		return 0;
	metad_lease_set_of(m, &m->leases->walk, r->header.op, &conn->cred, body, set);
	return before(m, conn, r, set);
}

int metad_lease_before_inode(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			     const struct metad_inode *inode)
{
	struct metad_lease_set set;

	if (is_quiet(m->leases))
		return 0;
	metad_lease_set_of_inode(inode, &set);
	return before(m, conn, r, &set);
}

bool metad_lease_may_apply(struct metad *m, const struct metad_record *rec)
{
	struct metad_leases *l = m->leases;

	if (!l || (!l->dirs && l->wait_until_ns == 0))
		return true;
	metad_lease_set_of(m, &l->walk, rec->op, &rec->cred, rec->payload, &l->apply_set);
	if (lease_is_free(l, &l->apply_set))
		return true;
	lease_revoke(l, &l->apply_set);
	if (lease_is_free(l, &l->apply_set))
		return true;
	l->apply_waits = true;
	lease_arm(l);
	return false;
}

/* What waited for leases that are over goes on. Nested calls of it are harmless: each waiter is taken out
 * before it runs. */
void lease_wake(struct metad_leases *l)
{
	struct lease_waiter *w, **at = &l->waiters;

	if (l->apply_waits && lease_is_free(l, &l->apply_set)) {
		l->apply_waits = false;
		metad_pipeline_resume(l->m);
	}
	while ((w = *at)) {
		if (!lease_is_free(l, &w->set)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		metad_lease_unpin(l->m, &w->pins);
		metad_serve_request(l->m, w->r);
		free(w);
		at = &l->waiters; /* which may be another list by now */
	}
}

void metad_lease_conn_closed(struct metad *m, struct metad_conn *conn)
{
	struct metad_leases *l = m->leases;
	struct lease_waiter *w, *next;

	LL_FOREACH_SAFE(l->waiters, w, next)
	{
		if (w->conn != conn)
			continue;
		LL_DELETE(l->waiters, w);
		metad_lease_unpin(m, &w->pins);
		ff3_request_fail(w->r, -ENOTCONN);
		free(w);
	}
	for (struct lease_holder *h = l->holders; h; h = h->hh.next)
		if (h->parked && h->conn == conn)
			ff3_request_fail(TAKE_PTR(h->parked), -ENOTCONN);
}

void lease_wait_done(struct metad_leases *l)
{
	struct lease_waiter *w, *next;

	LL_FOREACH_SAFE(l->waiters, w, next)
	{
		ff3_request_fail(w->r, -ENOTCONN);
		free(w);
	}
	l->waiters = NULL;
}
