/* Purpose: the sending side of a connection: replies are queued, gathered, and leave by one
 * sendmsg that does not wait; only what the socket did not take goes through the ring.
 *
 * When they leave: replies made while a received buffer is parsed, at the end of that; others at
 * the end of the loop's turn; but at once where so many bytes came together as the connection's kind gathers.
 *
 * Threads: the connection's loop only. Fork/signal: not for forked children nor handlers. */
#include <fcntl.h>

#include "../base/crc32c.h"
#include "server_priv.h"
#include "shm.h"

#define FREE_FRAMES_MAX 64u

/* --- Frames -------------------------------------------------------------------------------- */

struct ff3_frame *ff3_frame_new(struct ff3_conn *conn)
{
	struct ff3_frame *f = conn->free_frames;

	if (f) {
		conn->free_frames = f->next;
		conn->n_free_frames--;
	} else {
		f = malloc(sizeof *f);
		if (!f)
			return NULL;
	}
	memset(f, 0, offsetof(struct ff3_frame, inline_head));
	f->request.conn = conn;
	conn->n_requests++;
	return f;
}

static void release_payload(struct ff3_frame *f)
{
	void (*release)(void *arg) = TAKE_PTR(f->release);

	if (release)
		release(f->release_arg);
}

void ff3_frame_free(struct ff3_conn *conn, struct ff3_frame *f)
{
	release_payload(f);
	conn->held -= f->held;
	if (f->fds) {
		ff3_fds_close(f->fds);
		free(f->fds);
	}
	if (f->kept_body != f->inline_body)
		free(f->kept_body);
	if (f->head != f->inline_head)
		free(f->head);
	if (conn->n_free_frames < FREE_FRAMES_MAX && conn->server) {
		f->next = conn->free_frames;
		conn->free_frames = f;
		conn->n_free_frames++;
	} else {
		free(f);
	}
	conn->n_requests--;
	if (conn->full && conn->out_bytes <= FF3_CONN_UNSENT_MAX / 2 &&
	    conn->held <= FF3_CONN_HELD_MAX / 2 &&
	    conn->n_requests <= FF3_CONN_REQUESTS_MAX / 2) {
		conn->full = false;
		ff3_conn_queue_parse(conn);
	}
	ff3_conn_free_if_unused(conn);
}

int ff3_request_keep_body(struct ff3_request *r)
{
	struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);

	if (f->kept_body || r->header.body_len == 0)
		return 0;
	f->kept_body = r->header.body_len <= sizeof f->inline_body ? f->inline_body : malloc(r->header.body_len);
	if (!f->kept_body)
		return -ENOMEM;
	memcpy(f->kept_body, r->body, r->header.body_len);
	r->body = f->kept_body;
	return 0;
}

/* --- Sending ------------------------------------------------------------------------------- */

void ff3_conn_sent(struct ff3_conn *conn, size_t n)
{
	conn->out_bytes -= n;
	conn->out_sent += n;
	while (conn->out_first) {
		struct ff3_frame *f = conn->out_first;
		size_t size = (size_t)f->head_len + f->payload_len;

		if (conn->out_sent < size)
			break;
		conn->out_sent -= size;
		conn->out_first = f->next;
		if (!conn->out_first)
			conn->out_last = &conn->out_first;
		ff3_frame_free(conn, f);
	}
}

/* Fills conn->msg with the front of the queue. Returns its bytes. */
static size_t fill_msg(struct ff3_conn *conn)
{
	size_t skip = conn->out_sent, total = 0;
	int n = 0;

	conn->msg = (struct msghdr){ .msg_iov = conn->iov };
	for (struct ff3_frame *f = conn->out_first; f && n + 2 <= FF3_SEND_IOV; f = f->next) {
		/* Descriptors go with the first byte of a call's first frame. */
		if (UNLIKELY(f->fds != NULL) && n > 0)
			break;
		if (UNLIKELY(f->fds != NULL) && skip == 0)
			ff3_fds_attach(&conn->msg, &conn->control, f->fds->fd, f->fds->n);
		if (skip < f->head_len)
			conn->iov[n++] = (struct iovec){ f->head + skip, f->head_len - skip };
		skip -= MIN(skip, (size_t)f->head_len);
		if (f->payload_len > skip)
			conn->iov[n++] = (struct iovec){ (char *)f->payload + skip,
							 f->payload_len - skip };
		skip = 0;
	}
	for (int i = 0; i < n; i++)
		total += conn->iov[i].iov_len;
	conn->msg.msg_iovlen = (size_t)n;
	return total;
}

static void send_by_ring(struct ff3_conn *conn)
{
	struct io_uring_sqe *sqe;

	fill_msg(conn);
	sqe = ff3_loop_sqe(conn->loop);
	io_uring_prep_sendmsg(sqe, conn->fd, &conn->msg, MSG_NOSIGNAL | MSG_WAITALL);
	sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	ff3_loop_sqe_done(sqe, &conn->send_io);
	conn->sending = true;
	conn->n_pinned++;
}

void ff3_conn_send_stream(struct ff3_conn *conn)
{
	while (conn->out_first && !conn->sending && !conn->dead) {
		size_t total = fill_msg(conn);
		/* One piece costs the kernel less than a list of one. */
		ssize_t n = conn->msg.msg_iovlen == 1 && conn->msg.msg_controllen == 0 ?
				    send(conn->fd, conn->iov->iov_base, conn->iov->iov_len,
					 MSG_DONTWAIT | MSG_NOSIGNAL) :
				    sendmsg(conn->fd, &conn->msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
			ff3_conn_kill(conn);
			return;
		}
		if (n > 0 && conn->near)
			ff3_loop_near(conn->loop, conn->fd);
		if (n > 0)
			ff3_conn_sent(conn, (size_t)n);
		if (n != (ssize_t)total && conn->out_first)
			send_by_ring(conn);
	}
}

/* A greeted connection's; a hello is answered by anybody. */
static bool is_withheld(const struct ff3_conn *conn)
{
	const struct ff3_server *server = conn->server;

	return conn->out_first && conn->greeted && server && server->ops->may_reply &&
	       !server->ops->may_reply(conn->server);
}

void ff3_server_reply_withheld(struct ff3_server *server)
{
	for (struct ff3_conn *conn = server->conns; conn; conn = conn->next)
		if (conn->out_first)
			ff3_conn_queue_end(conn);
}

void ff3_conn_send(struct ff3_conn *conn)
{
	if (is_withheld(conn))
		return;
	if (conn->carrier) {
		conn->carrier->send(conn);
		return;
	}
	if (conn->out_first && !conn->sending && !conn->dead)
		conn->ops->send(conn);
	if (conn->closing && !conn->out_first && !conn->dead)
		ff3_conn_kill(conn);
}

void ff3_conn_on_send(struct ff3_io *io, int res)
{
	struct ff3_conn *conn = CONTAINER_OF(io, struct ff3_conn, send_io);

	conn->sending = false;
	if (res > 0)
		ff3_conn_sent(conn, (size_t)res);
	else if (res != -EINTR && res != -EAGAIN && res != -ENOBUFS && res != -ENOMEM)
		ff3_conn_kill(conn);
	ff3_conn_send(conn);
	ff3_conn_unpin(conn);
}

void ff3_conn_end(struct ff3_work *w)
{
	struct ff3_conn *conn = CONTAINER_OF(w, struct ff3_conn, end_work);

	conn->end_queued = false;
	ff3_conn_send(conn);
	/* A connection moves before it has sent or received anything but its hello. */
	if (conn->move_to && !conn->dead && conn->n_pinned == 1) {
		conn->n_pinned = 0;
		ff3_conn_move(conn, conn->move_to);
		return;
	}
	ff3_conn_unpin(conn);
}

void ff3_conn_queue_end(struct ff3_conn *conn)
{
	if (conn->end_queued || conn->dead)
		return;
	conn->end_queued = true;
	conn->n_pinned++;
	conn->end_work.fn = ff3_conn_end;
	ff3_loop_defer_end(conn->loop, &conn->end_work);
}

void ff3_conn_drop_replies(struct ff3_conn *conn)
{
	while (conn->out_first) {
		struct ff3_frame *f = conn->out_first;

		conn->out_first = f->next;
		ff3_frame_free(conn, f);
	}
	conn->out_last = &conn->out_first;
	conn->out_bytes = conn->out_sent = 0;
}

/* --- Replies ------------------------------------------------------------------------------- */

/* Nobody will read it. */
static bool is_moot(const struct ff3_frame *f)
{
	const struct ff3_conn *conn = f->request.conn;

	return !conn->server || conn->dead || (f->request.header.flags & FF3_FRAME_ONE_WAY);
}

/* f->head has room for the header, and the body behind it. */
static void enqueue(struct ff3_frame *f, int status, size_t body_len)
{
	struct ff3_conn *conn = f->request.conn;
	struct ff3_header h = {
		.op = f->request.header.op,
		.flags = FF3_FRAME_REPLY | (f->fds ? FF3_FRAME_FDS : 0) |
			 (f->placed ? FF3_FRAME_PLACE : 0),
		.status = ff3_err_to_wire(status),
		.request_id = f->request.header.request_id,
		.body_len = (uint32_t)body_len,
		.payload_len = f->payload_len,
		.body_crc = ff3_crc32c(0, f->head + FF3_HEADER_SIZE, body_len),
	};

	ff3_header_encode(f->head, &h);
	f->head_len = (uint32_t)(FF3_HEADER_SIZE + body_len);
	if (f->placed)
		f->payload_len = 0; /* does not travel */
	f->next = NULL;
	*conn->out_last = f;
	conn->out_last = &f->next;
	conn->out_bytes += (size_t)f->head_len + f->payload_len;
	if (conn->out_bytes >= conn->ops->gather)
		ff3_conn_send(conn);
	else if (!conn->parsing)
		ff3_conn_queue_end(conn);
}

/* Room for header and body. False: the connection cannot be answered and dies. */
static bool make_head(struct ff3_frame *f, size_t body_len)
{
	f->head = f->inline_head;
	if (FF3_HEADER_SIZE + body_len <= sizeof f->inline_head)
		return true;
	f->head = malloc(FF3_HEADER_SIZE + body_len);
	if (f->head)
		return true;
	ff3_conn_kill(f->request.conn);
	return false;
}

static void reply(struct ff3_frame *f, int status, const void *body, size_t body_len)
{
	struct ff3_conn *conn = f->request.conn;
	size_t prefix;

	if (body_len > FF3_BODY_MAX) {
		status = -E2BIG;
		body_len = 0;
		f->payload_len = 0;
	}
	if (body_len > FF3_BODY_MAX - FF3_SHM_PLACE || status < 0)
		f->placed = false;
	prefix = f->placed ? FF3_SHM_PLACE : 0;
	if (is_moot(f) || !make_head(f, prefix + body_len)) {
		ff3_frame_free(conn, f);
		return;
	}
	if (f->placed) {
		struct ff3_enc e = ff3_enc_init(f->head + FF3_HEADER_SIZE, FF3_SHM_PLACE);

		ff3_put_u32(&e, &f->place_offset);
		ff3_put_u32(&e, &(uint32_t){ 0 });
	}
	if (body_len > 0)
		memcpy(f->head + FF3_HEADER_SIZE + prefix, body, body_len);
	enqueue(f, status, prefix + body_len);
}

void ff3_request_reply(struct ff3_request *r, int status, const void *body, size_t body_len)
{
	reply(CONTAINER_OF(r, struct ff3_frame, request), status, body, body_len);
}

/* The daemon's memory is free at once. */
static void move_to_place(struct ff3_frame *f)
{
	struct ff3_conn *conn = f->request.conn;

	memcpy(f->request.place, f->payload, f->payload_len);
	f->payload = f->request.place;
	f->placed = true;
	release_payload(f);
	conn->held -= f->held;
	f->held = 0;
}

void ff3_request_reply_payload(struct ff3_request *r, const void *body, size_t body_len,
			       const void *payload, size_t payload_len,
			       void (*release)(void *arg), void *arg)
{
	struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);

	f->payload = payload;
	f->payload_len = (uint32_t)payload_len;
	f->release = release;
	f->release_arg = arg;
	f->placed = r->place && (uint8_t *)payload >= r->place &&
		    (uint8_t *)payload + payload_len <= r->place + r->place_len;
	f->place_offset = f->placed ? (uint32_t)((uint8_t *)payload - r->place) : 0;
	if (!f->placed && r->place && ff3_conn_prefers_place(r, payload_len))
		move_to_place(f);
	reply(f, 0, body, body_len);
}

/* The caller may close its own as soon as this returns. */
static int keep_fds(struct ff3_frame *f, const int *fds, unsigned n)
{
	if (!f->request.conn->local || n == 0 || n > FF3_FDS_MAX)
		return -EOPNOTSUPP;
	f->fds = calloc(1, sizeof *f->fds);
	if (!f->fds)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int r = -errno;

			ff3_fds_close(f->fds);
			free(TAKE_PTR(f->fds));
			return r;
		}
		f->fds->fd[f->fds->n++] = fd;
	}
	return 0;
}

void ff3_request_reply_fds(struct ff3_request *r, int status, const void *body, size_t body_len,
			   const int *fds, unsigned n)
{
	struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);
	int e = keep_fds(f, fds, n);

	if (e < 0)
		ff3_request_fail(r, e);
	else
		reply(f, status, body, body_len);
}

void ff3_request_reply_encoded(struct ff3_request *r,
			       size_t (*encode)(void *buf, size_t size, const void *m),
			       const void *m)
{
	struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);
	struct ff3_conn *conn = r->conn;
	size_t room = sizeof f->inline_head - FF3_HEADER_SIZE;
	size_t n = encode(f->inline_head + FF3_HEADER_SIZE, room, m);

	if (n > FF3_BODY_MAX) {
		ff3_request_fail(r, -E2BIG);
		return;
	}
	if (is_moot(f) || !make_head(f, n)) {
		ff3_frame_free(conn, f);
		return;
	}
	if (n > room)
		encode(f->head + FF3_HEADER_SIZE, n, m);
	enqueue(f, 0, n);
}
