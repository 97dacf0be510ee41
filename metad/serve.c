/* Purpose: the protocol's server: who connects, and which handler gets a request.
 *
 * Reads are answered from the database and the files in memory at once; mutations go to the
 * pipeline. The table of handlers is generated from FF3_OPS: one that is missing does not link.
 *
 * Threads: the loop's. */
#include "../common/base/log.h"
#include "ahead.h"
#include "group.h"
#include "metad.h"
#include "readers.h"

#define SOFTWARE "ff3fs-metad " PACKAGE_VERSION

#define DISPATCH_READ(op)                                                                          \
	static void dispatch_##op(struct metad *m, struct metad_conn *conn, struct ff3_request *r) \
	{                                                                                          \
		struct ff3_req_##op q;                                                             \
		int e = ff3_decode_req_##op(r->body, r->header.body_len, &q);                      \
		if (e < 0)                                                                         \
			ff3_request_fail(r, e);                                                    \
		else                                                                               \
			serve_##op(m, conn, r, &q);                                                \
	}
#define DISPATCH_SESSION(op) DISPATCH_READ(op)
#define DISPATCH_MUTATE(op) DISPATCH_READ(op)
#define DISPATCH_DATA(op)
#define DEFINE_DISPATCH(number, op, daemon, traits) DISPATCH_##traits(op)
FF3_OPS(DEFINE_DISPATCH)

#define ROW_READ(number, op) [number] = dispatch_##op,
#define ROW_SESSION(number, op) ROW_READ(number, op)
#define ROW_MUTATE(number, op) ROW_READ(number, op)
#define ROW_DATA(number, op)
#define DEFINE_ROW(number, op, daemon, traits) ROW_##traits(number, op)
static void (*const table[FF3_OP_MAX])(struct metad *m, struct metad_conn *conn,
				       struct ff3_request *r) = { FF3_OPS(DEFINE_ROW) };

static int on_hello(struct ff3_server *server, const struct ff3_req_hello *q,
		    struct ff3_rep_hello *p, void **conn_user, struct ff3_server **move_to)
{
	struct metad *m = ff3_server_user(server);
	uint32_t n_groups = q->groups.len / 4;
	struct metad_conn *conn;
	uint64_t cluster;
	int r;

	if (q->role == FF3_ROLE_MEMBER)
		return metad_group_hello(m, q, p, conn_user);
	if (!metad_group_serves(m))
		return FF3_E_NOT_PRIMARY;
	cluster = metad_db_meta(m->db)->cluster;
	if (q->cluster != 0 && q->cluster != cluster)
		return FF3_E_CLUSTER;
	if (q->session == 0 || n_groups > FF3_GROUPS_MAX)
		return -EINVAL;
	conn = calloc(1, sizeof *conn + 4 * (size_t)n_groups);
	if (!conn)
		return -ENOMEM;
	if (n_groups > 0)
		memcpy(conn->groups, q->groups.p, 4 * (size_t)n_groups);
	conn->cred = (struct metad_cred){ q->uid, q->gid, conn->groups, n_groups };
	conn->role = q->role;
	conn->session_id = q->session;
	r = metad_session_join(m, q->session, &conn->session);
	if (r < 0) {
		free(conn);
		return r;
	}
	*p = (struct ff3_rep_hello){
		.cluster = cluster,
		.instance = m->instance,
		.lease_ms = (uint32_t)m->conf->metad.lease,
		.software = FF3_STR(SOFTWARE),
		.epoch = m->epoch,
		.member = metad_group_is_alone(m) ? 0 : m->conf->metad.member,
	};
	*conn_user = conn;
	return 0;
}

static void on_closed(struct ff3_server *server, struct ff3_conn *c, void *conn_user)
{
	struct metad *m = ff3_server_user(server);
	struct metad_conn *conn = conn_user;

	if (conn->role != FF3_ROLE_MEMBER) {
		metad_ahead_conn_closed(m, c);
		metad_readers_conn_closed(m, conn);
		metad_files_conn_closed(m, conn);
		metad_lease_conn_closed(m, conn);
		metad_session_leave(m, conn->session);
	}
	free(conn);
}

static bool is_member(const struct ff3_request *r)
{
	const struct metad_conn *conn = ff3_conn_user(r->conn);

	return conn->role == FF3_ROLE_MEMBER;
}

/* Only members send payloads. */
static int on_payload(struct ff3_server *server, struct ff3_request *r)
{
	return is_member(r) ? metad_group_payload(ff3_server_user(server), r) : -EPROTO;
}

static void on_payload_abort(struct ff3_server *server, struct ff3_request *r)
{
	free(r->payload);
}

static size_t on_refusal(struct ff3_server *server, int status, void *body, size_t size)
{
	return status == FF3_E_NOT_PRIMARY ? metad_group_refusal(ff3_server_user(server), body, size) : 0;
}

static bool may_reply(struct ff3_server *server)
{
	return metad_group_may_answer(ff3_server_user(server));
}

void metad_serve_request(struct metad *m, struct ff3_request *r)
{
	uint64_t received_ns = r->received_ns;
	unsigned op = r->header.op;

	if (op >= FF3_OP_MAX || !table[op]) {
		ff3_request_fail(r, -ENOSYS);
		return;
	}
	m->deferred = false;
	m->n_turn++;
	table[op](m, ff3_conn_user(r->conn), r);
	if (!m->deferred)
		ff3_histogram_observe_own(&m->latency[op], ff3_boottime_ns() - received_ns);
	if (metad_db_error(m->db) < 0)
		metad_die(metad_db_error(m->db), "the database failed");
}

bool metad_is_busy(const struct metad *m)
{
	return m->n_turn > 1 || metad_pipeline_is_changing(m);
}

static void on_request(struct ff3_server *server, struct ff3_request *r)
{
	if (is_member(r))
		metad_group_request(ff3_server_user(server), r);
	else if (!metad_ahead_take(ff3_server_user(server), r))
		metad_serve_request(ff3_server_user(server), r);
}

static void on_idle(void *arg)
{
	struct metad *m = arg;

	if (m->ahead)
		metad_ahead_run(m);
	m->n_turn = 0;
	if (m->readers)
		metad_readers_turn(m);
	if (m->db)
		metad_db_read_end(m->db);
	if (m->log)
		metad_pipeline_kick(m);
}

static void on_tick(struct ff3_timer *t)
{
	struct metad *m = CONTAINER_OF(t, struct metad, tick);

	if (metad_group_serves(m)) {
		metad_sessions_tick(m);
		metad_files_flush(m, ff3_boottime_ns() - FF3_NSEC_PER_SEC);
		metad_cleaner_tick(m);
		metad_caps_tick(m);
		metad_lease_tick(m);
	}
	if (m->checkpointer)
		metad_checkpointer_poll(m);
	ff3_loop_timer_arm(m->loop, &m->tick, FF3_NSEC_PER_SEC);
}

int metad_serve_start(struct metad *m, uint16_t *ret_port)
{
	static const struct ff3_server_ops ops = {
		.hello = on_hello,
		.payload = on_payload,
		.payload_abort = on_payload_abort,
		.request = on_request,
		.refusal = on_refusal,
		.may_reply = may_reply,
		.closed = on_closed,
	};
	int r = ff3_server_new(m->loop, &ops, m, &m->server);

	if (r < 0)
		return ff3_log_errno(r, "cannot make the server");
	ff3_server_ask_tickets(m->server, m->tickets);
	r = ff3_server_listen(m->server, metad_group_listen(m), ret_port);
	if (r < 0)
		return ff3_log_errno(r, "cannot listen on %s", metad_group_listen(m));
	ff3_loop_set_idle(m->loop, on_idle, m);
	m->tick.fn = on_tick;
	ff3_loop_timer_arm(m->loop, &m->tick, FF3_NSEC_PER_SEC);
	return 0;
}

void metad_serve_stop(struct metad *m)
{
	ff3_server_free(m->server);
	m->server = NULL;
}

void metad_reply_status(struct metad *m, struct ff3_request *r, int status)
{
	struct ff3_redirect body = { .path = m->walk.redirect };
	struct ff3_enc e = ff3_enc_init(m->scratch, FF3_BODY_MAX);

	if (status == METAD_DB_ELSEWHERE)
		return;
	ff3_counter_add_own(&m->n_failed, status < 0);
	if (status != FF3_E_REDIRECT) {
		ff3_request_fail(r, status);
		return;
	}
	ff3_put_redirect(&e, &body);
	ff3_request_reply(r, status, m->scratch, e.len);
}
