/* Purpose: leases: what clients may keep of names and attributes, and how they are told before that
 * changes. A holder is what a host keeps for one of its users; a lease is a directory's: its entries, its
 * own attributes, and those of the files in it.
 *
 * A holder asks again and again (op lease): each time everything that it keeps is good for another
 * metad.cache_lease. Whoever is about to change a directory has it revoked first: the directory is put
 * into the queue of each holder that has it, and the request is parked until they have said that they
 * heeded that, or have not been heard of for as long. So a change is never applied while somebody uses
 * what was before, and reads are never in doubt, as nothing is seen before it is applied. A request is
 * looked at twice: when it comes, which is when holders are asked, without holding up anybody else; and
 * when it is applied, when the names may be others: then, rarely, all changes wait.
 *
 * A holder that was not heard of in time keeps what it has, and may not use it until it has heard what was
 * queued meanwhile; so does one that leaves in good order, only that nobody waits for it. When it was away for
 * metad.lease, it is forgotten: it begins anew with another life. One process after the other speaks for a
 * holder, each with a higher term, so that what an earlier one has sent changes nothing when it comes late.
 *
 * After a start, holders of the one before are not known. A mark in the log (METAD_LEASE_MARK) says that there
 * may have been some; then no change is made for a lease.
 *
 * A directory that is being changed is not leased: who changes it again soon need not wait.
 *
 * lease_wait.c has who waits, serve_lease.c the requests.
 *
 * Threads: the loop's. */
#include "lease.h"

#define TOLD_MAX (FF3_BODY_MAX / 16) /* directories in one answer */
#define GRANT_SHARE 256u /* of metad.memory, for one grant */

static void on_timer(struct ff3_timer *t);

int metad_leases_new(struct metad *m, bool restored)
{
	struct metad_leases *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	m->leases = l;
	l->m = m;
	l->lease_ns = MIN(m->conf->metad.cache_lease * FF3_NSEC_PER_MSEC, METAD_LEASE_MAX_NS);
	l->max_grants = MAX(m->conf->metad.memory / GRANT_SHARE, 1024u);
	l->timer.fn = on_timer;
	l->idle_ns = m->started_ns;
	/* The one before may have been configured otherwise. */
	if (metad_apply_has_session(m->apply, METAD_LEASE_MARK) || restored)
		l->wait_until_ns = m->started_ns + METAD_LEASE_MAX_NS * 11 / 10;
	return 0;
}

const struct metad_lease_stats *metad_lease_stats(const struct metad *m)
{
	return &m->leases->stats;
}

bool lease_has_lapsed(const struct metad_leases *l, const struct lease_holder *h, uint64_t now)
{
	return h->left || now - h->heard_ns >= l->lease_ns;
}

/* --- Directories ------------------------------------------------------------------------------- */

static struct lease_dir *lease_find_dir(struct metad_leases *l, uint64_t ino)
{
	struct lease_dir *d;

	HASH_FIND(hh, l->dirs, &ino, sizeof ino, d);
	return d;
}

static void drop_dir(struct metad_leases *l, struct lease_dir *d)
{
	HASH_DEL(l->dirs, d);
	l->stats.n_dirs--;
	free(d->grants);
	free(d);
}

static void lease_drop_grant(struct metad_leases *l, struct lease_dir *d, uint32_t i)
{
	d->grants[i] = d->grants[--d->n];
	l->stats.n_grants--;
	if (d->n == 0)
		drop_dir(l, d);
}

/* The grant that was revoked under seq, which may have been dropped before. */
static void lease_end_grant(struct metad_leases *l, const struct lease_holder *h, uint64_t ino, uint64_t seq)
{
	struct lease_dir *d = lease_find_dir(l, ino);

	for (uint32_t i = 0; d && i < d->n; i++)
		if (d->grants[i].h == h && d->grants[i].seq == seq) {
			lease_drop_grant(l, d, i);
			return;
		}
}

int lease_add_grant(struct metad_leases *l, struct lease_holder *h, uint64_t ino)
{
	struct lease_dir *d = lease_find_dir(l, ino);

	if (l->stats.n_grants >= l->max_grants)
		return 0;
	for (uint32_t i = 0; d && i < d->n; i++)
		if (d->grants[i].h == h)
			return d->grants[i].seq == 0;
	if (!d) {
		d = calloc(1, sizeof *d);
		if (!d)
			return 0;
		d->ino = ino;
		HASH_ADD(hh, l->dirs, ino, sizeof ino, d);
		l->stats.n_dirs++;
	}
	if (d->n == d->room) {
		uint32_t room = MAX(d->room * 2, 2u);
		struct lease_grant *grown = realloc(d->grants, room * sizeof *grown);

		if (!grown) {
			if (d->n == 0)
				drop_dir(l, d);
			return 0;
		}
		d->grants = grown;
		d->room = room;
	}
	d->grants[d->n++] = (struct lease_grant){ .h = h };
	l->stats.n_grants++;
	l->stats.n_granted++;
	return 1;
}

bool lease_is_revoked(struct metad_leases *l, uint64_t ino)
{
	const struct lease_dir *d = lease_find_dir(l, ino);

	for (uint32_t i = 0; d && i < d->n; i++)
		if (d->grants[i].seq != 0)
			return true;
	return false;
}

/* --- Holders ----------------------------------------------------------------------------------- */

void lease_arm(struct metad_leases *l)
{
	if (l->armed || (!l->holders && !l->waiters && !l->apply_waits))
		return;
	l->armed = true;
	ff3_loop_timer_arm(l->m->loop, &l->timer,
			   MAX(l->lease_ns / 16, 2 * FF3_NSEC_PER_MSEC));
}

struct lease_holder *lease_find_holder(struct metad_leases *l, uint64_t id)
{
	struct lease_holder *h;

	HASH_FIND(hh, l->holders, &id, sizeof id, h);
	return h;
}

struct lease_holder *lease_new_holder(struct metad_leases *l, uint64_t id, uint32_t uid)
{
	struct lease_holder *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->id = id;
	h->uid = uid;
	h->life = ff3_random_u64() | 1;
	h->last = &h->queue;
	HASH_ADD(hh, l->holders, id, sizeof id, h);
	l->stats.n_holders++;
	return h;
}

static void lease_unqueue(struct lease_holder *h)
{
	struct lease_revocation *v = h->queue;

	h->queue = v->next;
	if (!h->queue)
		h->last = &h->queue;
	free(v);
}

static void lease_forget(struct metad_leases *l, struct lease_holder *h)
{
	struct lease_dir *d, *next;

	HASH_ITER (hh, l->dirs, d, next)
		for (uint32_t i = 0; i < d->n; i++)
			if (d->grants[i].h == h) {
				lease_drop_grant(l, d, i);
				break;
			}
	while (h->queue)
		lease_unqueue(h);
	if (h->parked)
		ff3_request_fail(h->parked, -ENOTCONN);
	HASH_DEL(l->holders, h);
	l->stats.n_holders--;
	free(h);
}

void lease_answer(struct metad_leases *l, struct lease_holder *h)
{
	struct ff3_rep_lease p = { .life = h->life,
				   .seq = h->acked,
				   .lease_ms = (uint32_t)(l->lease_ns / FF3_NSEC_PER_MSEC) };
	uint64_t *dirs = (uint64_t *)l->m->scratch;
	struct ff3_request *r = TAKE_PTR(h->parked);
	uint32_t n = 0;

	const struct lease_revocation *v;

	for (v = h->queue; v && n < TOLD_MAX; v = v->next) {
		dirs[n++] = htole64(v->dir);
		p.seq = v->seq;
	}
	p.more = v != NULL;
	p.dirs = (struct ff3_blob){ dirs, n * 8 };
	FF3_REQUEST_REPLY(r, lease, &p);
}

static void lease_revoke_dir(struct metad_leases *l, struct lease_dir *d, uint64_t now)
{
	for (uint32_t i = d->n; i-- > 0;) {
		struct lease_grant *g = &d->grants[i];
		struct lease_holder *h = g->h;
		struct lease_revocation *v;
		bool last = d->n == 1;

		if (g->seq != 0)
			continue;
		v = calloc(1, sizeof *v);
		if (!v)
			metad_die(-ENOMEM, "cannot revoke a lease");
		v->dir = d->ino;
		v->seq = g->seq = ++h->seq;
		*h->last = v;
		h->last = &v->next;
		l->stats.n_revoked++;
		if (lease_has_lapsed(l, h, now)) {
			l->stats.n_lapsed++;
			lease_drop_grant(l, d, i);
			if (last)
				return;
		}
	}
}

static void lease_tell_all(struct metad_leases *l)
{
	for (struct lease_holder *h = l->holders; h; h = h->hh.next)
		if (h->parked && h->queue)
			lease_answer(l, h);
}

void lease_heed(struct metad_leases *l, struct lease_holder *h, uint64_t acked)
{
	while (h->queue && h->queue->seq <= acked) {
		lease_end_grant(l, h, h->queue->dir, h->queue->seq);
		lease_unqueue(h);
	}
	h->acked = MAX(h->acked, MIN(acked, h->seq));
}

/* --- Revoking ---------------------------------------------------------------------------------- */

bool lease_is_free(struct metad_leases *l, const struct metad_lease_set *set)
{
	if (set->n == 0 && !set->all)
		return true;
	if (l->wait_until_ns != 0 || (set->all && l->dirs))
		return false;
	for (uint32_t i = 0; i < set->n; i++)
		if (lease_find_dir(l, set->dirs[i]))
			return false;
	return true;
}

void lease_revoke(struct metad_leases *l, const struct metad_lease_set *set)
{
	uint64_t now = ff3_boottime_ns();
	struct lease_dir *d, *next;

	if (set->all) {
		HASH_ITER (hh, l->dirs, d, next)
			lease_revoke_dir(l, d, now);
	}
	for (uint32_t i = 0; i < set->n; i++) {
		d = lease_find_dir(l, set->dirs[i]);
		if (d)
			lease_revoke_dir(l, d, now);
	}
	lease_tell_all(l);
	lease_arm(l);
}

/* --- Time -------------------------------------------------------------------------------------- */

/* Of a holder that did not answer in time, what was revoked is over; the rest is not, as it may come
 * back. */
static void lapse(struct metad_leases *l, struct lease_holder *h)
{
	for (const struct lease_revocation *v = h->queue; v; v = v->next) {
		struct lease_dir *d = lease_find_dir(l, v->dir);

		for (uint32_t i = 0; d && i < d->n; i++)
			if (d->grants[i].h == h && d->grants[i].seq == v->seq) {
				l->stats.n_lapsed++;
				lease_drop_grant(l, d, i);
				break;
			}
	}
}

void lease_leave(struct metad_leases *l, struct lease_holder *h, bool clean)
{
	h->left = true;
	h->clean = clean;
	lapse(l, h);
}

static void on_timer(struct ff3_timer *t)
{
	struct metad_leases *l = CONTAINER_OF(t, struct metad_leases, timer);
	uint64_t now = ff3_boottime_ns(), gone = l->m->conf->metad.lease * FF3_NSEC_PER_MSEC;
	struct lease_holder *h, *next;

	l->armed = false;
	if (l->wait_until_ns != 0 && now >= l->wait_until_ns)
		l->wait_until_ns = 0;
	HASH_ITER (hh, l->holders, h, next) {
		if (lease_has_lapsed(l, h, now))
			lapse(l, h);
		if (h->parked && now - h->parked_ns >= l->lease_ns / 4)
			lease_answer(l, h);
		if (now - h->heard_ns >= MAX(gone, l->lease_ns))
			lease_forget(l, h);
	}
	if (l->holders)
		l->idle_ns = now;
	/* Of what was granted meanwhile, too. */
	for (const struct lease_waiter *w = l->waiters; w; w = w->next)
		lease_revoke(l, &w->set);
	if (l->apply_waits)
		lease_revoke(l, &l->apply_set);
	lease_wake(l);
	lease_arm(l);
}

bool metad_lease_keeps_orphans(struct metad *m)
{
	struct metad_leases *l = m->leases;
	uint64_t now = ff3_boottime_ns();

	for (const struct lease_holder *h = l->holders; h; h = h->hh.next)
		if (h->queue && !h->clean && lease_has_lapsed(l, h, now))
			return true;
	return false;
}

static void on_marked(struct metad *m, struct metad_mutation *mutation)
{
	m->leases->marking = false;
}

bool lease_is_marked(struct metad_leases *l)
{
	static const uint64_t mark = METAD_LEASE_MARK;

	if (l->marking)
		return false;
	if (metad_apply_has_session(l->m->apply, mark))
		return true;
	if (!l->m->stopping)
		l->marking = metad_pipeline_add_own(l->m, METAD_OP_note_sessions, &mark, sizeof mark,
						    on_marked) >= 0;
	return false;
}

void metad_lease_tick(struct metad *m)
{
	static const uint64_t mark = METAD_LEASE_MARK;
	struct metad_leases *l = m->leases;
	uint64_t now = ff3_boottime_ns();
	struct lease_dir *d, *next;
	unsigned n = 0;

	if (l->wait_until_ns != 0 && now >= l->wait_until_ns)
		l->wait_until_ns = 0;
	/* Nobody holds anything: the next start need not wait. */
	if (!l->holders && now - l->idle_ns >= 2 * METAD_LEASE_MAX_NS && !l->marking &&
	    metad_apply_has_session(m->apply, mark) && !m->stopping)
		l->marking = metad_pipeline_add_own(m, METAD_OP_expire_sessions, &mark, sizeof mark,
						    on_marked) >= 0;
	if (l->stats.n_grants < l->max_grants)
		return;
	/* Full: the oldest make room. */
	HASH_ITER (hh, l->dirs, d, next) {
		if (n++ >= MAX(l->stats.n_dirs / 16, 1u))
			break;
		lease_revoke_dir(l, d, now);
	}
	lease_tell_all(l);
}

void metad_leases_free(struct metad *m)
{
	struct metad_leases *l = m->leases;
	struct lease_holder *h, *next;

	if (!l)
		return;
	lease_wait_done(l);
	HASH_ITER (hh, l->holders, h, next)
		lease_forget(l, h);
	free(l);
	m->leases = NULL;
}
