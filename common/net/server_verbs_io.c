/* Purpose: requests out of messages, and replies into them, of a daemon's verbs connections: see
 * server_verbs.c.
 *
 * Transfers complete in the order in which they are posted. So requests whose payload is on its way stand
 * in a queue, replies that are not known to be there in another, and a completion is always about the
 * first one.
 *
 * Threads: the connection's loop. Fork/signal: not for forked children nor handlers. */
#include "../base/crc32c.h"
#include "server_verbs.h"

/* --- Requests -------------------------------------------------------------------------------- */

static void deliver(struct ff3_conn *conn, struct ff3_frame *f)
{
	conn->n_pinned++;
	conn->parsing = true;
	ff3_conn_deliver(conn, f);
	conn->parsing = false;
	ff3_conn_send(conn);
	ff3_conn_unpin(conn);
}

/* Registered memory that holds [p, p + len), or a buffer of the pool: *ret_bounce. */
static int memory_for(struct ff3_verbs_carried *c, const void *p, size_t len,
		      struct ff3_verbs_memory *ret, bool *ret_bounce)
{
	const struct ff3_verbs_port *port = c->port;

	for (unsigned i = 0; i < port->n_memory; i++) {
		const struct ff3_server_memory *m = &port->server->memory[i];

		if ((const uint8_t *)p >= m->base && (const uint8_t *)p + len <= m->base + m->size) {
			*ret = port->memory[i];
			*ret_bounce = false;
			return 0;
		}
	}
	*ret_bounce = true;
	return port->v->own_get(port->device, len, ret);
}

/* Posts the transfer of f's payload. -EAGAIN: later, and nothing is posted. After another error, as after those of
 * push, f keeps its buffer until the queue pair is gone. */
static int begin_read(struct ff3_verbs_carried *c, struct ff3_frame *f)
{
	const struct ff3_verbs_api *v = c->port->v;
	uint32_t left = f->request.header.payload_len;
	uint8_t *to;
	bool bounce;
	int r;

	if (v->link_room(c->link) < f->n_pieces)
		return -EAGAIN;
	r = memory_for(c, f->request.payload, left, &f->memory, &bounce);
	if (r < 0)
		return r;
	f->bounced = bounce;
	to = bounce ? f->memory.p : f->request.payload;
	for (unsigned i = 0; i < f->n_pieces && left > 0 && r == 0; i++) {
		uint32_t part = MIN(f->pieces[i].len, left);

		left -= part;
		r = v->read(c->link, &f->memory, to, &f->pieces[i], part,
			    left == 0 ? (uintptr_t)f | FF3_VERBS_READ_MARK : 0);
		to += part;
	}
	return r;
}

static void queue_read(struct ff3_verbs_carried *c, struct ff3_frame *f)
{
	f->next = NULL;
	*c->reads_last = f;
	c->reads_last = &f->next;
	if (!c->read_next)
		c->read_next = f;
}

/* Those that wait for room in the send queue. */
void ff3_verbs_continue_reads(struct ff3_conn *conn)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);

	while (c->read_next && !conn->dead) {
		int r = begin_read(c, c->read_next);

		if (r == -EAGAIN) {
			c->port->starved = true;
			return;
		}
		if (r < 0) {
			ff3_conn_kill(conn);
			return;
		}
		c->read_next = c->read_next->next;
	}
}

void ff3_verbs_release_bounce(struct ff3_verbs_carried *c, struct ff3_frame *f)
{
	if (f->bounced)
		c->port->v->release(c->port->device, &f->memory);
	f->bounced = false;
}

/* Transfers complete in order. */
void ff3_verbs_read_done(struct ff3_conn *conn, struct ff3_frame *f)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);

	c->reads = f->next;
	if (!c->reads)
		c->reads_last = &c->reads;
	if (f->bounced)
		memcpy(f->request.payload, f->memory.p, f->request.header.payload_len);
	ff3_verbs_release_bounce(c, f);
	f->n_pieces = 0;
	deliver(conn, f);
}

enum taken { TAKEN, NO_ROOM };

/* f has a payload; inside: where it is in the message, or NULL. */
static enum taken take_payload(struct ff3_conn *conn, struct ff3_frame *f, const uint8_t *inside)
{
	int r = -EOPNOTSUPP;

	if (conn->server->ops->payload)
		r = conn->server->ops->payload(conn->server, &f->request);
	if (r == 0 && !f->request.payload) {
		conn->no_room = true;
		if (conn->no_room_ns == 0)
			conn->no_room_ns = ff3_loop_now_ns(conn->loop);
		ff3_frame_free(conn, f);
		return NO_ROOM;
	}
	conn->no_room_ns = 0;
	if (r == 0 && !inside)
		r = ff3_request_keep_body(&f->request);
	if (r < 0) {
		ff3_request_fail(&f->request, r);
		ff3_conn_send(conn);
	} else if (inside) {
		memcpy(f->request.payload, inside, f->request.header.payload_len);
		deliver(conn, f);
	} else {
		queue_read(ff3_verbs_carried(conn), f);
		ff3_verbs_continue_reads(conn);
	}
	return TAKEN;
}

static enum taken take_frame(struct ff3_conn *conn, const uint8_t *frame,
			     const struct ff3_verbs_prefix *p)
{
	const uint8_t *body = frame + FF3_HEADER_SIZE;
	struct ff3_frame *f;
	struct ff3_header h;
	bool inside = p->n_source == 0;
	int r = ff3_header_decode(frame, &h);
	uint64_t len = FF3_HEADER_SIZE + (r < 0 ? 0 : (uint64_t)h.body_len +
						      (inside ? h.payload_len : 0));

	if (r == FF3_E_VERSION) {
		ff3_conn_answer_version(conn, ff3_header_version(frame));
		return TAKEN;
	}
	if (r < 0 || p->frame_len != len ||
	    (!inside && ff3_verbs_pieces_len(p->source, p->n_source) < h.payload_len)) {
		ff3_conn_kill(conn);
		return TAKEN;
	}
	f = ff3_conn_begin(conn, &h, body);
	if (!f)
		return TAKEN;
	if (h.payload_len > 0) {
		memcpy(f->pieces, p->source, sizeof p->source);
		f->n_pieces = p->n_source;
		return take_payload(conn, f, inside ? body + h.body_len : NULL);
	}
	memcpy(f->pieces, p->sink, sizeof p->sink);
	f->n_pieces = p->n_sink;
	deliver(conn, f);
	return TAKEN;
}

/* A message. NO_ROOM: it has to come again. */
static enum taken take_message(struct ff3_conn *conn, const uint8_t *data, size_t len)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);
	int n;

	if (!c->in.buf) {
		n = ff3_verbs_prefix_decode(data, len, &c->prefix);
		if (n < 0) {
			ff3_conn_kill(conn);
			return TAKEN;
		}
		data += n;
		len -= (size_t)n;
		if (len == c->prefix.frame_len)
			return take_frame(conn, data, &c->prefix);
		c->in.have = 0;
		c->in.want = c->prefix.frame_len;
		c->in.buf = malloc(c->in.want);
	}
	/* It was whole before, and had no room. */
	if (c->in.have < c->in.want) {
		if (!c->in.buf || len > c->in.want - c->in.have) {
			ff3_conn_kill(conn);
			return TAKEN;
		}
		memcpy(c->in.buf + c->in.have, data, len);
		c->in.have += len;
	}
	if (c->in.have < c->in.want)
		return TAKEN;
	if (take_frame(conn, c->in.buf, &c->prefix) == NO_ROOM)
		return NO_ROOM;
	free(TAKE_PTR(c->in.buf));
	return TAKEN;
}

static bool may_take(struct ff3_conn *conn)
{
	conn->full = ff3_conn_is_full(conn);
	return !conn->dead && !conn->closing && !conn->full && !conn->no_room;
}

static void keep(struct ff3_conn *conn, const uint8_t *data, size_t len)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);
	struct ff3_verbs_message *m = NULL;

	/* A client of ours does not go beyond that. */
	if (c->backlog_bytes + sizeof *m + len <= FF3_VERBS_BACKLOG)
		m = malloc(sizeof *m + len);
	if (!m) {
		ff3_conn_kill(conn);
		return;
	}
	m->next = NULL;
	m->len = len;
	memcpy(m->data, data, len);
	*c->backlog_last = m;
	c->backlog_last = &m->next;
	c->backlog_bytes += sizeof *m + len;
}

void ff3_verbs_on_message(struct ff3_conn *conn, const uint8_t *data, size_t len)
{
	if (conn->dead || conn->closing)
		return;
	conn->received_ns = ff3_loop_now_ns(conn->loop);
	ff3_verbs_carried(conn)->heard_ns = conn->received_ns;
	if (ff3_verbs_carried(conn)->backlog || !may_take(conn) || take_message(conn, data, len) == NO_ROOM)
		keep(conn, data, len);
}

/* There is room again. */
void ff3_verbs_receive(struct ff3_conn *conn)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);

	while (c->backlog && may_take(conn)) {
		struct ff3_verbs_message *m = c->backlog;

		if (take_message(conn, m->data, m->len) == NO_ROOM)
			return;
		c->backlog = m->next;
		if (!c->backlog)
			c->backlog_last = &c->backlog;
		c->backlog_bytes -= sizeof *m + m->len;
		free(m);
	}
}

/* --- Replies --------------------------------------------------------------------------------- */

/* Writes the payload of f; there is room for all of its pieces. */
static int push(struct ff3_verbs_carried *c, struct ff3_frame *f)
{
	const struct ff3_verbs_api *v = c->port->v;
	uint32_t left = f->payload_len;
	const uint8_t *from = f->payload;
	bool bounce;
	int r;

	r = memory_for(c, from, left, &f->memory, &bounce);
	if (r < 0)
		return r;
	f->bounced = bounce;
	if (bounce) {
		memcpy(f->memory.p, from, left);
		from = f->memory.p;
	}
	for (unsigned i = 0; i < f->n_pieces && left > 0 && r == 0; i++) {
		uint32_t part = MIN(f->pieces[i].len, left);

		r = v->write(c->link, &f->memory, from, &f->pieces[i], part, 0);
		from += part;
		left -= part;
	}
	f->pushed = r == 0;
	return r;
}

static int send_head(struct ff3_verbs_carried *c, struct ff3_frame *f, size_t *sent, uint64_t id)
{
	int r = 0;

	while (*sent < f->head_len && r == 0) {
		uint8_t prefix[FF3_VERBS_PREFIX_MAX];
		const struct ff3_verbs_prefix p = { .frame_len = f->head_len };
		size_t n = *sent == 0 ? ff3_verbs_prefix_encode(prefix, &p) : 0;
		size_t part = MIN(f->head_len - *sent, (size_t)FF3_VERBS_SLOT - n);
		struct iovec iov[2] = { { prefix, n }, { f->head + *sent, part } };

		r = c->port->v->send(c->link, n ? iov : iov + 1, n ? 2 : 1,
				     *sent + part == f->head_len ? id : 0);
		if (r == 0)
			*sent += part;
	}
	return r;
}

/* The client named less memory than the answer has: it gets an error instead. */
static void shrink(struct ff3_frame *f)
{
	struct ff3_conn *conn = f->request.conn;

	conn->out_bytes -= f->head_len + (size_t)f->payload_len - FF3_HEADER_SIZE;
	f->head_len = FF3_HEADER_SIZE;
	f->payload_len = 0;
	ff3_header_encode(f->head, &(struct ff3_header){
					   .op = f->request.header.op,
					   .flags = FF3_FRAME_REPLY,
					   .status = ff3_err_to_wire(-E2BIG),
					   .request_id = f->request.header.request_id,
					   .body_crc = ff3_crc32c(0, NULL, 0),
				   });
}

static int send_frame(struct ff3_conn *conn, struct ff3_frame *f)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);
	/* The last ones of a closing connection must arrive before it ends. */
	bool tell = f->payload_len > 0 || conn->closing;
	int r = 0;

	if (f->payload_len > ff3_verbs_pieces_len(f->pieces, f->n_pieces))
		shrink(f);
	if (c->port->v->link_room(c->link) < f->n_pieces + 1u)
		return -EAGAIN;
	if (f->payload_len > 0 && !f->pushed)
		r = push(c, f);
	if (r == 0)
		r = send_head(c, f, &conn->out_sent, tell ? (uintptr_t)f : 0);
	if (r < 0)
		return r;
	conn->out_sent = 0;
	conn->out_first = f->next;
	if (!conn->out_first)
		conn->out_last = &conn->out_first;
	if (tell) {
		f->next = NULL;
		*c->under_way_last = f;
		c->under_way_last = &f->next;
	} else {
		conn->out_bytes -= f->head_len;
		ff3_frame_free(conn, f);
	}
	return 0;
}

void ff3_verbs_send_queue(struct ff3_conn *conn)
{
	int r = 0;

	while (conn->out_first && !conn->dead && r == 0)
		r = send_frame(conn, conn->out_first);
	if (r == -EAGAIN)
		ff3_verbs_carried(conn)->port->starved = true;
	else if (r < 0)
		ff3_conn_kill(conn);
	if (conn->closing && !conn->out_first && !ff3_verbs_carried(conn)->under_way && !conn->dead)
		ff3_conn_kill(conn);
}

void ff3_verbs_sent(struct ff3_conn *conn, struct ff3_frame *f)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);

	c->under_way = f->next;
	if (!c->under_way)
		c->under_way_last = &c->under_way;
	ff3_verbs_release_bounce(c, f);
	conn->out_bytes -= (size_t)f->head_len + f->payload_len;
	ff3_frame_free(conn, f);
}
