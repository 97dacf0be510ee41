/* Purpose: the connections between members: each calls every other one and speaks on that connection
 * only; what the other one has to say comes on the connection that it made.
 *
 * Threads: the loop's. */
#include <stdio.h>

#include "../common/base/log.h"
#include "../common/net/ticket.h"
#include "group_priv.h"

#define SOFTWARE "ff3fs-metad " PACKAGE_VERSION

/* --- Calling --------------------------------------------------------------------------------- */

static size_t on_hello(void *user, void *body, size_t size)
{
	const struct group_peer *p = user;
	const struct metad_group *g = p->g;
	char ticket[FF3_TICKET_MAX + 1];
	int len = ff3_tickets_own(g->m->tickets, ticket);
	struct ff3_req_hello q = {
		.cluster = g->cluster,
		.session = g->m->conf->metad.election,
		.role = FF3_ROLE_MEMBER,
		.pid = (uint32_t)getpid(),
		.credential = { ticket, (uint32_t)len },
		.epoch = g->vote.epoch,
		.member = g->vote.id,
		.log_id = g->vote.log_id,
	};

	return ff3_encode_req_hello(body, size, &q);
}

/* Whose epoch is so far ahead, it and its group began anew from a backup. */
static void check_not_of_before(const struct metad_group *g, uint64_t id, uint64_t epoch)
{
	if (!g->m->log || g->vote.epoch == 0 || epoch < g->vote.epoch + METAD_RESTORED_EPOCHS / 2)
		return;
	ff3_error("%s is of before: the group of member %" PRIu64 " was restored from a backup since. Empty the "
		  "directory, and have this member admitted; ending",
		  g->m->conf->metad.dir, id);
	_exit(1);
}

static int on_up(void *user, const struct ff3_rep_hello *reply)
{
	struct group_peer *p = user;
	const struct metad_group *g = p->g;
	int r = 0;

	if (g->cluster != 0 && reply->cluster != 0 && reply->cluster != g->cluster)
		r = FF3_E_CLUSTER;
	else if (reply->member != p->id)
		r = -EPROTO;
	if (r < 0 && p->error != r)
		ff3_error("%s, which [metad] group has as member %" PRIu64 ", is member %" PRIu64
			  " of cluster %016" PRIx64,
			  p->address, p->id, reply->member, reply->cluster);
	if (r == 0) {
		check_not_of_before(g, p->id, reply->epoch);
		p->log_id = reply->log_id;
	}
	p->error = r;
	return r;
}

static void on_down(void *user, int error)
{
	struct group_peer *p = user;

	if (error == FF3_E_CREDENTIAL && p->error != error)
		ff3_error("member %" PRIu64 " at %s has another [metad] key, or its clock is 10 minutes off: "
			  "they do not talk", p->id, p->address);
	else if (p->error == 0)
		ff3_debug("member %" PRIu64 " at %s: %s", p->id, p->address, ff3_strerror(error));
	if (error == FF3_E_CREDENTIAL)
		p->error = error;
	group_copy_lost(p->g, p->id);
}

int group_links_new(struct metad_group *g)
{
	static const struct ff3_out_ops ops = { .hello = on_hello, .up = on_up, .down = on_down };

	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct group_peer *p = &g->peers[i];
		int r;

		if (p == g->self)
			continue;
		r = ff3_out_new(g->m->loop, p->address, &ops, p, &p->out);
		if (r < 0)
			return ff3_log_errno(r, "[metad] group: %s", p->address);
	}
	return 0;
}

void group_links_free(struct metad_group *g)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		ff3_out_free(g->peers[i].out);
}

void group_links_flush(struct metad_group *g)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		if (g->peers[i].out)
			ff3_out_flush(g->peers[i].out);
}

/* --- Called ---------------------------------------------------------------------------------- */

int metad_group_hello(struct metad *m, const struct ff3_req_hello *q, struct ff3_rep_hello *p,
		      void **conn_user)
{
	struct metad_group *g = m->group;
	struct group_peer *peer = g->alone ? NULL : group_peer(g, q->member);
	struct metad_conn *conn;

	if (!peer || peer == g->self || q->log_id == 0)
		return -EINVAL;
	/* Leases are safe where nobody votes earlier than they last. */
	if (q->session != m->conf->metad.election) {
		if (!peer->told_election)
			ff3_error("member %" PRIu64 " has [metad] election = %" PRIu64 "ms, this one %" PRIu64
				  "ms: they do not talk",
				  q->member, q->session, m->conf->metad.election);
		peer->told_election = true;
		return -EINVAL;
	}
	peer->told_election = false;
	if (q->cluster != 0 && g->cluster != 0 && q->cluster != g->cluster)
		return FF3_E_CLUSTER;
	check_not_of_before(g, q->member, q->epoch);
	conn = calloc(1, sizeof *conn);
	if (!conn)
		return -ENOMEM;
	conn->role = FF3_ROLE_MEMBER;
	conn->member = q->member;
	conn->log_id = q->log_id;
	*p = (struct ff3_rep_hello){
		.cluster = g->cluster,
		.instance = m->instance,
		.software = FF3_STR(SOFTWARE),
		.epoch = g->vote.epoch,
		.member = g->vote.id,
		.log_id = g->vote.log_id,
	};
	*conn_user = conn;
	return 0;
}

size_t metad_group_refusal(const struct metad *m, void *body, size_t size)
{
	const struct metad_group *g = m->group;
	struct ff3_enc e = ff3_enc_init(body, size);
	struct ff3_not_primary n = { .epoch = g->vote.epoch };
	const struct group_peer *p;
	struct replica_view view;

	replica_view(g->core, &view);
	p = group_peer(m->group, view.primary);
	if (p)
		n.primary = ff3_str_from(p->address);
	ff3_put_not_primary(&e, &n);
	return e.over ? 0 : e.len;
}

int metad_group_payload(struct metad *m, struct ff3_request *r)
{
	size_t room = m->log ? metad_log_room(m->log) : METAD_BATCH_MAX;

	if (r->header.op == FF3_OP_member && r->header.payload_len > METAD_BATCH_MAX / 2)
		return -EPROTO;
	/* When the batch has been written, there is room (metad_group_turn). */
	if (r->header.op == FF3_OP_member && r->header.payload_len > room) {
		m->group->no_room = true;
		return 0;
	}
	r->payload = malloc(r->header.payload_len);
	return r->payload ? 0 : -ENOMEM;
}

static int copy_piece(struct metad_group *g, uint64_t from, struct ff3_request *r)
{
	struct ff3_req_member_copy q;

	if (ff3_decode_req_member_copy(r->body, r->header.body_len, &q) < 0)
		return -EBADMSG;
	group_install(g, from, &q, r->payload, r->header.payload_len);
	return 0;
}

static int copied(struct metad_group *g, uint64_t from, struct ff3_request *r)
{
	struct ff3_req_member_copied q;

	if (ff3_decode_req_member_copied(r->body, r->header.body_len, &q) < 0)
		return -EBADMSG;
	group_copied(g, from, &q);
	return 0;
}

void metad_group_request(struct metad *m, struct ff3_request *r)
{
	const struct metad_conn *conn = ff3_conn_user(r->conn);
	struct metad_group *g = m->group;
	int e = -ENOSYS;

	if (r->header.op == FF3_OP_member)
		e = group_receive(g, conn, r);
	else if (r->header.op == FF3_OP_member_copy)
		e = copy_piece(g, conn->member, r);
	else if (r->header.op == FF3_OP_member_copied)
		e = copied(g, conn->member, r);
	if (e < 0) {
		ff3_warning("member %" PRIu64 " sends what cannot be understood", conn->member);
		ff3_conn_close(r->conn);
	}
	free(TAKE_PTR(r->payload));
	ff3_request_reply(r, 0, NULL, 0);
}
