/* Purpose: among millions of names nearly everything that a path leads through is far away in memory, and waiting
 * for it, one after the other, takes longer than all else that a lookup does. Several such waits at a time take
 * hardly longer than one. So the lookups and opens that come in one turn of the loop are gathered; then all
 * of them take a step of their walk, which asks for what the next one needs; and then they are served.
 *
 * The order of requests stays: what is not gathered is served after what was.
 *
 * Threads: the loop's. */
#include "ahead.h"

#include "../common/base/log.h"

#define AHEAD_MAX 64u
/* Where there are fewer, they are near. */
#define AHEAD_INODES 1024u

struct metad_ahead {
	uint32_t n;
	struct ff3_request *r[AHEAD_MAX]; /* NULL: its connection was lost */
	struct metad_walk_ahead walk[AHEAD_MAX];
};

int metad_ahead_new(struct metad *m)
{
	m->ahead = calloc(1, sizeof *m->ahead);
	return m->ahead ? 0 : -ENOMEM;
}

void metad_ahead_free(struct metad *m)
{
	free(TAKE_PTR(m->ahead));
}

static bool get_path(const struct ff3_request *r, struct ff3_path *ret)
{
	struct ff3_req_lookup lookup;
	struct ff3_req_open open;

	switch (r->header.op) {
	case FF3_OP_lookup:
		if (ff3_decode_req_lookup(r->body, r->header.body_len, &lookup) < 0)
			return false;
		*ret = lookup.at;
		return true;
	case FF3_OP_open:
		if (ff3_decode_req_open(r->body, r->header.body_len, &open) < 0)
			return false;
		*ret = open.at;
		return true;
	}
	return false;
}

static bool is_ours(struct metad *m, const struct ff3_request *r)
{
	return (r->header.op == FF3_OP_lookup || r->header.op == FF3_OP_open) &&
	       metad_db_meta(m->db)->n_inodes >= AHEAD_INODES;
}

bool metad_ahead_take(struct metad *m, struct ff3_request *r)
{
	struct metad_ahead *a = m->ahead;

	if (!is_ours(m, r) || ff3_request_keep_body(r) < 0) {
		if (a->n > 0)
			metad_ahead_run(m);
		return false;
	}
	a->r[a->n++] = r;
	if (a->n == AHEAD_MAX)
		metad_ahead_run(m);
	return true;
}

static void begin(struct metad *m)
{
	struct metad_ahead *a = m->ahead;
	struct ff3_path at;

	for (uint32_t i = 0; i < a->n; i++) {
		a->walk[i].n_near = 0;
		if (a->r[i] && get_path(a->r[i], &at))
			metad_walk_ahead_begin(m->db, &at, &a->walk[i]);
	}
}

static void step(struct metad *m)
{
	struct metad_ahead *a = m->ahead;

	for (uint32_t i = 0; i < a->n; i++)
		if (a->walk[i].n_near > 0)
			metad_walk_ahead_step(m->db, &a->walk[i]);
}

/* In a loop of its own, which is short, so that the processor does as many as it can at a time: it stops at each
 * whose page it has to look up. */
static bool prefetch(const struct metad_ahead *a)
{
	bool more = false;

	for (uint32_t i = 0; i < a->n; i++) {
		const struct metad_walk_ahead *walk = &a->walk[i];

		for (uint32_t k = 0; k < walk->n_near; k++)
			cache_prefetch(&walk->near[k]);
		more |= walk->n_near > 0;
	}
	return more;
}

void metad_ahead_run(struct metad *m)
{
	struct metad_ahead *a = m->ahead;

	if (a->n == 0)
		return;
	if (a->n > 1)
		for (begin(m); prefetch(a);)
			step(m);
	for (uint32_t i = 0; i < a->n; i++)
		if (a->r[i])
			metad_serve_request(m, TAKE_PTR(a->r[i]));
	a->n = 0;
}

void metad_ahead_conn_closed(struct metad *m, const struct ff3_conn *conn)
{
	struct metad_ahead *a = m->ahead;

	for (uint32_t i = 0; a && i < a->n; i++)
		if (a->r[i] && a->r[i]->conn == conn)
			ff3_request_fail(TAKE_PTR(a->r[i]), -ENOTCONN);
}
