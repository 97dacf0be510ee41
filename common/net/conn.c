/* Purpose: the receiving side of a connection: frames out of a byte stream, the hello, payloads
 * received straight to where the daemon wants them, and the conditions under which a connection
 * is not received from.
 *
 * buf[buf_start, buf_end) holds what was received and not consumed. A request's body stays where
 * it arrived in buf; so while a payload is being received (incoming), buf does not move.
 *
 * Threads: the connection's loop only. Fork/signal: not for forked children nor handlers. */
#include <poll.h>

#include "../base/crc32c.h"
#include "../base/log.h"
#include "server_priv.h"
#include "shm.h"

#define VERSION_SAY_NS (60 * FF3_NSEC_PER_SEC)

static size_t available(const struct ff3_conn *conn)
{
	return conn->buf_end - conn->buf_start;
}

/* Makes room for a frame of size bytes that begins at buf_start. */
static int reserve(struct ff3_conn *conn, size_t size)
{
	uint8_t *p;

	size = MAX(size, (size_t)FF3_CONN_BUFFER);
	if (conn->buf_start > 0) {
		if (available(conn) > 0)
			memmove(conn->buf, conn->buf + conn->buf_start, available(conn));
		conn->buf_end -= conn->buf_start;
		conn->buf_start = 0;
	}
	/* Back to the usual size after a large body. */
	if (size == conn->buf_size || (size < conn->buf_size && available(conn) > 0))
		return 0;
	p = realloc(conn->buf, size);
	if (!p)
		return -ENOMEM;
	conn->buf = p;
	conn->buf_size = size;
	return 0;
}

bool ff3_conn_is_full(const struct ff3_conn *conn)
{
	return conn->out_bytes > FF3_CONN_UNSENT_MAX || conn->held > FF3_CONN_HELD_MAX ||
	       conn->n_requests >= FF3_CONN_REQUESTS_MAX;
}

static void deliver(struct ff3_conn *conn, struct ff3_frame *f)
{
	ff3_server_count(&conn->server->counters.requests[conn->role][ff3_conn_kind(conn)]);
	conn->server->ops->request(conn->server, &f->request);
}

/* A connection that was brought to its server before the hello: the one that brought it must have
 * meant the same server by it. */
static int ask_bringer(struct ff3_conn *conn, const struct ff3_req_hello *hello)
{
	struct ff3_rep_hello reply = { 0 };
	struct ff3_server *to = NULL;
	void *user = NULL;
	int r = conn->by->ops->hello(conn->by, hello, &reply, &user, &to);

	return r < 0 ? r : to == conn->server ? 0 : FF3_E_NO_TARGET;
}

static void refuse_hello(struct ff3_request *r, struct ff3_conn *conn, int status)
{
	const struct ff3_server_ops *ops = conn->server->ops;
	uint8_t body[512];

	ff3_request_reply(r, status, body,
			  ops->refusal ? ops->refusal(conn->server, status, body, sizeof body) : 0);
	ff3_conn_close(conn);
}

/* Says once in a while who cannot be served. */
static void say_version(struct ff3_conn *conn, unsigned version)
{
	uint64_t now = ff3_boottime_ns();

	ff3_server_count(&conn->server->counters.versions);
	if (conn->server->version_said_ns && now - conn->server->version_said_ns < VERSION_SAY_NS)
		return;
	conn->server->version_said_ns = now;
	if (version == FF3_PROTOCOL_VERSION)
		ff3_warning("%s is refused: its protocol version %u is another build's, this is ff3fs " PACKAGE_VERSION,
			    conn->peer, version);
	else
		ff3_warning("%s is refused: it speaks protocol version %u, this daemon %u", conn->peer,
			    version, FF3_PROTOCOL_VERSION);
}

/* Accepted: which way it came, and which ones it would rather have come. */
static void count_hello(struct ff3_conn *conn, const struct ff3_req_hello *hello)
{
	struct ff3_server_counters *c = &conn->server->counters;
	struct ff3_dec d = ff3_dec_blob(hello->tried);
	uint8_t link, why;

	conn->role = hello->role < FF3_SERVER_ROLES ? (uint8_t)hello->role : 0;
	ff3_server_count(&c->accepted[ff3_conn_kind(conn)]);
	while (hello->link < FF3_LINK_N && ff3_dec_more(&d)) {
		ff3_get_u8(&d, &link);
		ff3_get_u8(&d, &why);
		if (!d.bad && link < FF3_LINK_N && why < FF3_REASON_N)
			ff3_server_count(&c->fallbacks[link][hello->link][why]);
	}
}

static void reply_hello(struct ff3_request *r, struct ff3_conn *conn)
{
	struct ff3_req_hello hello;
	struct ff3_rep_hello reply = { 0 };
	struct ff3_server *move_to = NULL;
	uint8_t groups[FF3_CONN_GROUPS];
	void *user = NULL;
	/* Its checksum was right: so it is a hello of others. */
	int result = ff3_decode_req_hello(r->body, r->header.body_len, &hello) < 0 ? FF3_E_VERSION : 0;

	if (result == FF3_E_VERSION)
		say_version(conn, FF3_PROTOCOL_VERSION);
	if (result == 0)
		result = ff3_conn_identify(conn, &hello, groups);
	if (result == 0 && conn->carrier && conn->by != conn->server)
		result = ask_bringer(conn, &hello);
	if (result == 0)
		result = conn->server->ops->hello(conn->server, &hello, &reply, &user, &move_to);
	if (result == 0 && move_to && move_to != conn->server && conn->carrier)
		result = FF3_E_NO_TARGET;
	if (result < 0) {
		refuse_hello(r, conn, result);
	} else if (move_to && move_to != conn->server) {
		conn->move_to = move_to;
		ff3_frame_free(conn, CONTAINER_OF(r, struct ff3_frame, request));
		ff3_conn_queue_end(conn);
	} else {
		conn->user = user;
		conn->greeted = true;
		ff3_conn_claim_free(conn);
		count_hello(conn, &hello);
		ff3_loop_timer_cancel(conn->loop, &conn->hello_timer);
		reply.transports |= conn->by->transports;
		FF3_REQUEST_REPLY(r, hello, &reply);
	}
}

void ff3_conn_deliver(struct ff3_conn *conn, struct ff3_frame *f)
{
	if (f->request.header.op == FF3_OP_hello)
		reply_hello(&f->request, conn);
	else
		deliver(conn, f);
}

/* Asks the daemon where the payload goes and takes what is here of it. False: no room, or the
 * rest is to be received. frame: bytes of header and body. placed: the payload is not behind them, but in
 * r->place. */
static bool begin_payload(struct ff3_conn *conn, struct ff3_frame *f, size_t frame, bool placed)
{
	size_t len = f->request.header.payload_len, have;
	int r = -EOPNOTSUPP;

	if (conn->server->ops->payload)
		r = conn->server->ops->payload(conn->server, &f->request);
	if (r < 0) {
		conn->no_room_ns = 0;
		conn->buf_start += frame;
		conn->skip = placed ? 0 : len;
		ff3_request_fail(&f->request, r);
		return true;
	}
	if (!f->request.payload) {
		conn->no_room = true;
		if (conn->no_room_ns == 0)
			conn->no_room_ns = ff3_loop_now_ns(conn->loop);
		ff3_frame_free(conn, f);
		return false;
	}
	conn->no_room_ns = 0;
	conn->buf_start += frame;
	have = placed ? len : MIN(len, available(conn));
	memcpy(f->request.payload, placed ? f->request.place : conn->buf + conn->buf_start, have);
	conn->buf_start += placed ? 0 : have;
	if (have == len) {
		deliver(conn, f);
		return true;
	}
	conn->incoming = f;
	conn->payload_have = have;
	return false;
}

/* The body begins with where the answer may be put (shm.h). */
static bool take_place(struct ff3_conn *conn, struct ff3_request *r)
{
	struct ff3_dec d = ff3_dec_init(r->body, r->header.body_len);
	uint32_t page, n;

	ff3_get_u32(&d, &page);
	ff3_get_u32(&d, &n);
	r->place = d.bad ? NULL : ff3_conn_place(conn, page, n);
	if (!r->place)
		return false;
	r->place_len = n * FF3_SHM_PAGE;
	r->body = d.p;
	r->header.body_len -= FF3_SHM_PLACE;
	return (r->header.flags & FF3_FRAME_PLACE) &&
	       (!(r->header.flags & FF3_FRAME_PLACED) || r->header.payload_len <= r->place_len);
}

struct ff3_frame *ff3_conn_begin(struct ff3_conn *conn, const struct ff3_header *h,
				 const uint8_t *body)
{
	struct ff3_frame *f;

	if (ff3_crc32c(0, body, h->body_len) != h->body_crc || (h->flags & FF3_FRAME_REPLY) ||
	    h->status != 0 || (h->op == FF3_OP_hello) == conn->greeted ||
	    (h->op == FF3_OP_hello && h->payload_len > 0)) {
		ff3_conn_kill(conn);
		return NULL;
	}
	f = ff3_frame_new(conn);
	if (!f) {
		ff3_conn_kill(conn);
		return NULL;
	}
	f->request.header = *h;
	f->request.body = body;
	f->request.received_ns = conn->received_ns;
	return f;
}

/* The complete header and body h at buf_start. */
static bool take_frame(struct ff3_conn *conn, const struct ff3_header *h)
{
	const uint8_t *body = conn->buf + conn->buf_start + FF3_HEADER_SIZE;
	struct ff3_frame *f = ff3_conn_begin(conn, h, body);

	if (!f)
		return false;
	if ((h->flags & (FF3_FRAME_PLACE | FF3_FRAME_PLACED)) && !take_place(conn, &f->request)) {
		ff3_frame_free(conn, f);
		ff3_conn_kill(conn);
		return false;
	}
	if (h->op == FF3_OP_attach) {
		conn->buf_start += FF3_HEADER_SIZE + h->body_len;
		ff3_conn_attach(conn, &f->request);
		return true;
	}
	if (h->op == FF3_OP_hello) {
		reply_hello(&f->request, conn);
		if (!conn->move_to)
			conn->buf_start += FF3_HEADER_SIZE + h->body_len;
		return true;
	}
	if (h->payload_len > 0)
		return begin_payload(conn, f, FF3_HEADER_SIZE + h->body_len,
				     h->flags & FF3_FRAME_PLACED);
	conn->buf_start += FF3_HEADER_SIZE + h->body_len;
	deliver(conn, f);
	return true;
}

/* A peer of another version learns ours from this header, and that it is the version. */
void ff3_conn_answer_version(struct ff3_conn *conn, unsigned version)
{
	struct ff3_frame *f = ff3_frame_new(conn);

	say_version(conn, version);
	if (!f) {
		ff3_conn_kill(conn);
		return;
	}
	ff3_request_fail(&f->request, FF3_E_VERSION);
	ff3_conn_close(conn);
}

/* Takes one thing out of the buffer. False: that is all for now. */
static bool parse_one(struct ff3_conn *conn)
{
	struct ff3_header h;
	size_t n;
	int r;

	if (conn->dead || conn->closing || conn->move_to || conn->no_room || conn->incoming)
		return false;
	if (conn->skip > 0) {
		n = (size_t)MIN(conn->skip, (uint64_t)available(conn));
		conn->skip -= n;
		conn->buf_start += n;
		return n > 0;
	}
	conn->full = ff3_conn_is_full(conn);
	if (conn->full || available(conn) < FF3_HEADER_SIZE)
		return false;
	r = ff3_header_decode(conn->buf + conn->buf_start, &h);
	if (r == FF3_E_VERSION) {
		ff3_conn_answer_version(conn, ff3_header_version(conn->buf + conn->buf_start));
		return false;
	}
	n = FF3_HEADER_SIZE + (r < 0 ? 0 : (size_t)h.body_len);
	if (r < 0 || (n > available(conn) && reserve(conn, n) < 0)) {
		ff3_conn_kill(conn);
		return false;
	}
	return n <= available(conn) && take_frame(conn, &h);
}

void ff3_conn_parse(struct ff3_conn *conn)
{
	if (conn->parsing)
		return;
	conn->parsing = true;
	conn->n_pinned++;
	if (conn->carrier)
		conn->carrier->receive(conn);
	while (!conn->carrier && parse_one(conn))
		;
	conn->parsing = false;
	ff3_conn_send(conn);
	ff3_conn_receive(conn);
	ff3_conn_unpin(conn);
}

static void on_parse(struct ff3_work *w)
{
	struct ff3_conn *conn = CONTAINER_OF(w, struct ff3_conn, parse_work);

	conn->parse_queued = false;
	ff3_conn_parse(conn);
	ff3_conn_unpin(conn);
}

void ff3_conn_queue_parse(struct ff3_conn *conn)
{
	if (conn->parse_queued || conn->dead)
		return;
	conn->parse_queued = true;
	conn->n_pinned++;
	conn->parse_work.fn = on_parse;
	ff3_loop_defer(conn->loop, &conn->parse_work);
}

void ff3_conn_receive(struct ff3_conn *conn)
{
	if (conn->receiving || conn->dead || conn->closing || conn->move_to || conn->carrier)
		return;
	if (!conn->incoming && (conn->full || conn->no_room))
		return;
	if (!conn->incoming && (conn->buf_start > 0 || !conn->buf) && reserve(conn, 0) < 0) {
		ff3_conn_kill(conn);
		return;
	}
	conn->ops->receive(conn);
}

static void receive_stream(struct ff3_conn *conn)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(conn->loop);

	/* A ring's own recvmsg that has to wait loses what is said with the bytes. */
	if (conn->claim)
		io_uring_prep_poll_add(sqe, conn->fd, POLLIN);
	else if (conn->incoming)
		io_uring_prep_recv(sqe, conn->fd,
				   (char *)conn->incoming->request.payload + conn->payload_have,
				   conn->incoming->request.header.payload_len - conn->payload_have,
				   MSG_WAITALL);
	else
		io_uring_prep_recv(sqe, conn->fd, conn->buf + conn->buf_end,
				   conn->buf_size - conn->buf_end, 0);
	if (conn->drained && !conn->claim)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	ff3_loop_sqe_done(sqe, &conn->recv_io);
	conn->receiving = true;
	conn->n_pinned++;
}

static void payload_arrived(struct ff3_conn *conn, size_t n)
{
	struct ff3_frame *f = conn->incoming;

	conn->payload_have += n;
	if (conn->payload_have < f->request.header.payload_len)
		return;
	conn->incoming = NULL;
	conn->parsing = true;
	deliver(conn, f);
	conn->parsing = false;
}

void ff3_conn_arrived(struct ff3_conn *conn, size_t n)
{
	conn->received_ns = ff3_loop_now_ns(conn->loop);
	if (conn->incoming)
		payload_arrived(conn, n);
	else
		conn->buf_end += n;
	ff3_conn_parse(conn);
}

void ff3_conn_on_recv(struct ff3_io *io, int res)
{
	struct ff3_conn *conn = CONTAINER_OF(io, struct ff3_conn, recv_io);
	bool again;

	if (conn->claim && res > 0 && !conn->dead)
		res = ff3_conn_claim_receive(conn, conn->buf + conn->buf_end, conn->buf_size - conn->buf_end);
	again = res == -EINTR || res == -EAGAIN || res == -ENOBUFS || res == -ENOMEM;
	conn->receiving = false;
	conn->drained = !(io->cqe_flags & IORING_CQE_F_SOCK_NONEMPTY);
	if (res > 0 && !conn->dead) {
		if (conn->near)
			ff3_loop_near(conn->loop, conn->fd);
		ff3_conn_arrived(conn, (size_t)res);
	} else if (again) {
		ff3_conn_receive(conn);
	} else {
		ff3_conn_kill(conn);
	}
	ff3_conn_unpin(conn);
}

const struct ff3_conn_ops ff3_conn_stream = {
	.name = "tcp",
	.gather = FF3_CONN_GATHER,
	.receive = receive_stream,
	.send = ff3_conn_send_stream,
	.moved = ff3_conn_moved_stream,
};
