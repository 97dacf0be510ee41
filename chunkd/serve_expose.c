/* Purpose: the requests for exposures: who may have them, and the answers.
 * Threads: the target's. */
#include "daemon.h"
#include "expose.h"

void chunkd_serve_exposures(const struct chunkd_daemon *d, struct chunkd_store *store, uint64_t hot)
{
	struct chunkd_grant_maker *maker;

	if (chunkd_exposer_new(store, hot) < 0)
		return;
	if (chunkd_segments_new(d->instance, chunkd_store_super(store)->target, &maker) == 0)
		chunkd_exposer_add(store, maker);
	if (chunkd_windows_new(&maker) == 0)
		chunkd_exposer_add(store, maker);
}

struct served_expose {
	struct ff3_request *r;
	struct chunkd_expose x;
};

static void expose_done(struct chunkd_expose *x)
{
	struct served_expose *s = CONTAINER_OF(x, struct served_expose, x);
	struct ff3_rep_chunk_expose reply = { .chunk_size = x->chunk_size, .version = x->version };

	if (x->status < 0)
		ff3_request_fail(s->r, x->status);
	else
		x->grant->maker->ops->answer(x->grant, s->r, &reply);
	free(s);
}

void handle_chunk_expose(struct chunkd_target *t, struct ff3_request *r)
{
	const struct chunkd_conn *conn = ff3_conn_user(r->conn);
	struct ff3_req_chunk_expose req;
	const struct chunkd_bearer bearer = { conn->session, ff3_conn_cred(r->conn) != NULL, conn->user,
					      conn->groups, conn->n_groups };
	struct served_expose *s = NULL;
	uint32_t rights = 0;
	int e = ff3_decode_req_chunk_expose(r->body, r->header.body_len, &req);

	if (e == 0 && req.flags != 0)
		e = -EINVAL;
	if (e == 0) {
		e = chunkd_caps_check(conn->daemon->caps, req.cap, req.ino, &bearer, FF3_CAP_READ,
				      ff3_realtime_ns() / FF3_NSEC_PER_MSEC, &rights);
		if (e < 0)
			chunkd_store_expose_denied(chunkd_target_store(t));
	}
	if (e == 0 && !(s = calloc(1, sizeof *s)))
		e = -ENOMEM;
	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	s->r = r;
	s->x = (struct chunkd_expose){ .done = expose_done,
				       .conn = r->conn,
				       .ino = req.ino,
				       .index = req.index,
				       .pin = rights & FF3_CAP_PIN };
	chunkd_store_expose(chunkd_target_store(t), &s->x);
}

void handle_chunk_revoke(struct chunkd_target *t, struct ff3_request *r)
{
	const struct chunkd_conn *conn = ff3_conn_user(r->conn);
	struct ff3_req_chunk_revoke req;
	int e = ff3_decode_req_chunk_revoke(r->body, r->header.body_len, &req);

	if (e == 0 && conn->role != FF3_ROLE_METAD)
		e = -EPERM;
	if (e == 0) {
		chunkd_caps_revoke(conn->daemon->caps, req.ino, req.generation,
				   ff3_realtime_ns() / FF3_NSEC_PER_MSEC);
		chunkd_store_unexpose(chunkd_target_store(t), req.ino);
	}
	ff3_request_reply(r, e, NULL, 0);
}
