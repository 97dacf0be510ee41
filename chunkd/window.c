/* Purpose: chunks that clients read over RDMA by themselves: memory windows (window.h of common/net) over
 * their blocks where they lie, each for one connection.
 *
 * The bytes under a window do not change, so version and checksums go with the answer: a client compares
 * what it has read with them, and has nothing else to look at here.
 *
 * Threads: the store's. Fork/signal: neither. */
#include "../common/net/window.h"

#include "grant.h"

struct windows {
	struct chunkd_grant_maker maker;
};

struct letting {
	struct chunkd_grant grant;
	struct ff3_window window;
	struct chunkd_making *m; /* until it is made */
	void (*revoked)(struct chunkd_grant *grant);
	uint32_t n_crcs;
	uint32_t crcs[];
};

static void on_revoked(struct ff3_window *w, int status)
{
	struct letting *l = CONTAINER_OF(w, struct letting, window);

	l->revoked(&l->grant);
	free(l);
}

static void on_made(struct ff3_window *w, int status)
{
	struct letting *l = CONTAINER_OF(w, struct letting, window);
	struct chunkd_making *m = TAKE_PTR(l->m);

	if (status < 0) {
		free(l);
		m->done(m, status, NULL);
		return;
	}
	w->done = on_revoked;
	m->done(m, 0, &l->grant);
}

static void make(struct chunkd_grant_maker *maker, struct chunkd_making *m)
{
	const struct chunkd_view *v = &m->view;
	struct letting *l = calloc(1, sizeof *l + v->n_crcs * sizeof l->crcs[0]);

	if (!l) {
		m->done(m, -ENOMEM, NULL);
		return;
	}
	l->grant.maker = maker;
	l->m = m;
	l->n_crcs = v->n_crcs;
	for (uint32_t i = 0; i < v->n_crcs; i++)
		l->crcs[i] = htole32(v->crcs[i]);
	l->window.done = on_made;
	ff3_window_bind(&l->window, m->conn, v->block->p, v->len);
}

static bool possible(struct chunkd_grant_maker *maker, struct ff3_conn *conn)
{
	return ff3_conn_has_windows(conn);
}

/* The block, which stays where it is meanwhile. */
static uint64_t size_of(struct chunkd_grant_maker *maker, uint32_t len)
{
	return (uint64_t)1 << chunkd_shift_for(len);
}

static void answer(struct chunkd_grant *grant, struct ff3_request *r,
		   struct ff3_rep_chunk_expose *reply)
{
	struct letting *l = CONTAINER_OF(grant, struct letting, grant);

	ff3_window_tell(&l->window, r);
	reply->kind = FF3_EXPOSED_WINDOW;
	reply->addr = l->window.addr;
	reply->rkey = l->window.rkey;
	reply->crcs = (struct ff3_blob){ (const uint8_t *)l->crcs, l->n_crcs * (uint32_t)sizeof l->crcs[0] };
	FF3_REQUEST_REPLY(r, chunk_expose, reply);
}

static void take_back(struct chunkd_grant *grant, void (*done)(struct chunkd_grant *grant))
{
	struct letting *l = CONTAINER_OF(grant, struct letting, grant);

	l->revoked = done;
	ff3_window_unbind(&l->window);
}

static void windows_free(struct chunkd_grant_maker *maker)
{
	free(CONTAINER_OF(maker, struct windows, maker));
}

static const struct chunkd_grant_ops ops = {
	.kind = FF3_EXPOSED_WINDOW,
	.per_conn = true,
	.keeps_block = true,
	.possible = possible,
	.size_of = size_of,
	.make = make,
	.answer = answer,
	.revoke = take_back,
	.free = windows_free,
};

int chunkd_windows_new(struct chunkd_grant_maker **ret)
{
	struct windows *w = calloc(1, sizeof *w);

	if (!w)
		return -ENOMEM;
	w->maker.ops = &ops;
	*ret = &w->maker;
	return 0;
}
