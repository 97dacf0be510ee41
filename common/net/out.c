/* Purpose: out.h. Frames are gathered in one buffer and leave by send(2) that does not wait; polls
 * on the loop tell when more fits, and when the other end has answered or is gone.
 *
 * A connection that is given up is shut down and stays until its polls have returned.
 *
 * Threads: the loop's. Fork/signal: not for forked children nor handlers. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "../base/crc32c.h"
#include "addr.h"
#include "loop_priv.h"
#include "out.h"

#define UNSENT_MAX (32u * 1024 * 1024)
#define CONNECT_TIMEOUT_NS (500 * FF3_NSEC_PER_MSEC)
#define USER_TIMEOUT_MS 2000
#define PAUSE_MIN_NS (10 * FF3_NSEC_PER_MSEC)
#define PAUSE_MAX_NS (200 * FF3_NSEC_PER_MSEC)
#define HELLO_MAX 4096u

enum state { CONNECTING, GREETING, UP, DEAD };

struct connection {
	struct ff3_out *out;
	int fd;
	enum state state;
	unsigned n_pending;
	struct ff3_io read_io, write_io;
	bool writing; /* write_io waits for room */
	uint8_t in[HELLO_MAX];
	size_t n_in;
};

struct ff3_out {
	struct ff3_loop *loop;
	const struct ff3_out_ops *ops;
	void *user;
	struct addrinfo *addr;
	struct connection *conn; /* NULL: pausing */
	struct ff3_timer timer;
	uint64_t pause_ns;
	uint64_t next_id;
	uint8_t *buf;
	size_t start, end, room;
};

static void on_timer(struct ff3_timer *t);

static void wait_for(struct connection *c, short events, struct ff3_io *io)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(c->out->loop);

	io_uring_prep_poll_add(sqe, c->fd, (unsigned)events);
	ff3_loop_sqe_done(sqe, io);
	c->n_pending++;
}

static void release(struct connection *c)
{
	if (c->n_pending > 0)
		return;
	close(c->fd);
	free(c);
}

static void pause_then_connect(struct ff3_out *out)
{
	ff3_loop_timer_arm(out->loop, &out->timer, out->pause_ns);
	out->pause_ns = MIN(2 * out->pause_ns, PAUSE_MAX_NS);
}

/* The caller may still use c until it returns to the loop only if it holds it by n_pending. */
static void give_up(struct connection *c, int error)
{
	struct ff3_out *out = c->out;

	if (c->state == DEAD)
		return;
	c->state = DEAD;
	shutdown(c->fd, SHUT_RDWR);
	out->conn = NULL;
	out->start = out->end = 0;
	pause_then_connect(out);
	out->ops->down(out->user, error);
}

/* --- Frames ---------------------------------------------------------------------------------- */

/* Room for n bytes at the end of the buffer. */
static uint8_t *reserve(struct ff3_out *out, size_t n)
{
	size_t have = out->end - out->start;

	if (have + n > UNSENT_MAX)
		return NULL;
	if (out->start > 0 && out->end + n > out->room) {
		memmove(out->buf, out->buf + out->start, have);
		out->start = 0;
		out->end = have;
	}
	if (out->end + n > out->room) {
		size_t room = MAX(2 * out->room, ROUND_UP(out->end + n, 65536u));
		uint8_t *grown = realloc(out->buf, room);

		if (!grown)
			return NULL;
		out->buf = grown;
		out->room = room;
	}
	return out->buf + out->end;
}

static uint8_t *frame(struct ff3_out *out, uint16_t op, uint32_t flags, const void *body,
		      size_t body_len, size_t payload_len)
{
	uint8_t *p = reserve(out, FF3_HEADER_SIZE + body_len + payload_len);
	struct ff3_header h = {
		.op = op,
		.flags = flags,
		.request_id = ++out->next_id,
		.body_len = (uint32_t)body_len,
		.payload_len = (uint32_t)payload_len,
		.body_crc = ff3_crc32c(0, body, body_len),
	};

	if (!p)
		return NULL;
	ff3_header_encode(p, &h);
	memcpy(p + FF3_HEADER_SIZE, body, body_len);
	out->end += FF3_HEADER_SIZE + body_len + payload_len;
	return p + FF3_HEADER_SIZE + body_len;
}

uint8_t *ff3_out_frame(struct ff3_out *out, uint16_t op, const void *body, size_t body_len,
		       size_t payload_len)
{
	if (!ff3_out_is_up(out))
		return NULL;
	return frame(out, op, FF3_FRAME_ONE_WAY, body, body_len, payload_len);
}

static void on_writable(struct ff3_io *io, int res);

void ff3_out_flush(struct ff3_out *out)
{
	struct connection *c = out->conn;

	if (!c || c->state == CONNECTING || c->writing)
		return;
	while (out->start < out->end) {
		ssize_t n = send(c->fd, out->buf + out->start, out->end - out->start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			c->writing = true;
			c->write_io.fn = on_writable;
			wait_for(c, POLLOUT, &c->write_io);
			return;
		}
		if (n < 0) {
			/* The poll for its end tells. */
			shutdown(c->fd, SHUT_RDWR);
			return;
		}
		out->start += (size_t)n;
	}
	out->start = out->end = 0;
}

static void on_writable(struct ff3_io *io, int res)
{
	struct connection *c = CONTAINER_OF(io, struct connection, write_io);

	c->n_pending--;
	c->writing = false;
	if (c->state == DEAD)
		release(c);
	else
		ff3_out_flush(c->out);
}

/* --- The other end --------------------------------------------------------------------------- */

/* 0: not all of it is here. */
static int take_hello(struct connection *c)
{
	struct ff3_out *out = c->out;
	struct ff3_rep_hello reply;
	struct ff3_header h;
	int r;

	if (c->n_in < FF3_HEADER_SIZE)
		return 0;
	r = ff3_header_decode(c->in, &h);
	if (r < 0)
		return r;
	if (h.body_len > sizeof c->in - FF3_HEADER_SIZE || h.payload_len > 0)
		return -EBADMSG;
	if (c->n_in < FF3_HEADER_SIZE + (size_t)h.body_len)
		return 0;
	if (h.status != 0)
		return ff3_err_from_wire(h.status);
	if (h.op != FF3_OP_hello || ff3_crc32c(0, c->in + FF3_HEADER_SIZE, h.body_len) != h.body_crc ||
	    ff3_decode_rep_hello(c->in + FF3_HEADER_SIZE, h.body_len, &reply) < 0)
		return -EBADMSG;
	c->state = UP;
	r = out->ops->up(out->user, &reply);
	if (r < 0)
		return r;
	out->pause_ns = PAUSE_MIN_NS;
	ff3_loop_timer_cancel(out->loop, &out->timer);
	return 0;
}

static int receive(struct connection *c)
{
	uint8_t *to = c->state == GREETING ? c->in + c->n_in : c->in;
	ssize_t n = recv(c->fd, to, sizeof c->in - (size_t)(to - c->in), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	if (c->state != GREETING)
		return -EPROTO; /* nothing is answered to one-way frames */
	c->n_in += (size_t)n;
	return take_hello(c);
}

static void on_readable(struct ff3_io *io, int res)
{
	struct connection *c = CONTAINER_OF(io, struct connection, read_io);
	int r = c->state == DEAD ? 0 : res < 0 ? res : receive(c);

	if (r < 0)
		give_up(c, r);
	else if (c->state != DEAD)
		wait_for(c, POLLIN, io);
	c->n_pending--;
	if (c->state == DEAD)
		release(c);
}

static void greet(struct connection *c)
{
	struct ff3_out *out = c->out;
	uint8_t body[1024];
	size_t len = out->ops->hello(out->user, body, sizeof body);

	c->state = GREETING;
	frame(out, FF3_OP_hello, 0, body, len, 0);
	c->read_io.fn = on_readable;
	wait_for(c, POLLIN, &c->read_io);
	ff3_out_flush(out);
}

static void on_connected(struct ff3_io *io, int res)
{
	struct connection *c = CONTAINER_OF(io, struct connection, read_io);
	int error = res < 0 ? -res : 0;
	socklen_t len = sizeof error;

	if (c->state != DEAD && res >= 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (c->state != DEAD && error)
		give_up(c, -error);
	else if (c->state != DEAD)
		greet(c);
	c->n_pending--;
	if (c->state == DEAD)
		release(c);
}

/* --- Life ------------------------------------------------------------------------------------ */

static int open_socket(const struct addrinfo *addr)
{
	int fd = socket(addr->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
	unsigned timeout = USER_TIMEOUT_MS;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout) < 0 ||
	    (connect(fd, addr->ai_addr, addr->ai_addrlen) < 0 && errno != EINPROGRESS)) {
		int r = -errno;

		close(fd);
		return r;
	}
	ff3_addr_tune_local(fd);
	return fd;
}

static void begin(struct ff3_out *out)
{
	int fd = open_socket(out->addr);
	struct connection *c = fd < 0 ? NULL : calloc(1, sizeof *c);

	if (!c) {
		if (fd >= 0)
			close(fd);
		pause_then_connect(out);
		out->ops->down(out->user, fd < 0 ? fd : -ENOMEM);
		return;
	}
	c->out = out;
	c->fd = fd;
	out->conn = c;
	out->start = out->end = 0;
	c->read_io.fn = on_connected;
	wait_for(c, POLLOUT, &c->read_io);
	ff3_loop_timer_arm(out->loop, &out->timer, CONNECT_TIMEOUT_NS);
}

/* The pause is over, or the connection did not come about in time. */
static void on_timer(struct ff3_timer *t)
{
	struct ff3_out *out = CONTAINER_OF(t, struct ff3_out, timer);

	if (out->conn)
		give_up(out->conn, -ETIMEDOUT);
	else
		begin(out);
}

int ff3_out_new(struct ff3_loop *loop, const char *address, const struct ff3_out_ops *ops, void *user,
		struct ff3_out **ret)
{
	struct ff3_out *out = calloc(1, sizeof *out);
	int r;

	if (!out)
		return -ENOMEM;
	r = ff3_addr_resolve(address, 0, &out->addr);
	if (r < 0) {
		free(out);
		return r;
	}
	out->loop = loop;
	out->ops = ops;
	out->user = user;
	out->pause_ns = PAUSE_MIN_NS;
	out->timer.fn = on_timer;
	ff3_loop_timer_arm(loop, &out->timer, 1);
	*ret = out;
	return 0;
}

void ff3_out_free(struct ff3_out *out)
{
	if (!out)
		return;
	ff3_loop_timer_cancel(out->loop, &out->timer);
	if (out->conn) {
		close(out->conn->fd);
		free(out->conn);
	}
	freeaddrinfo(out->addr);
	free(out->buf);
	free(out);
}

bool ff3_out_is_up(const struct ff3_out *out)
{
	return out->conn && out->conn->state == UP;
}
