/* Purpose: links that are stream sockets: TCP, and the daemon's local socket without more. Connecting
 * and sending; what they receive is in rpc_recv.c.
 *
 * The socket stays blocking and has a receive timeout: the reader of rpc_recv.c relies on both.
 * Its descriptor is moved high, because programs expect that low numbers stay theirs.
 *
 * Threads: connecting shares nothing; sending is under conn->send_lock.
 * Fork: close-on-exec from birth. Signals: EINTR is handled. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "../base/crc32c.h"
#include "addr.h"
#include "rpc_priv.h"

#define SEND_IOV 64

/* --- Connecting ---------------------------------------------------------------------------- */

/* Where nobody listens, a connection from a port to itself succeeds now and then. */
static bool connected_to_itself(int fd)
{
	struct sockaddr_storage ours, theirs;
	socklen_t n_ours = sizeof ours, n_theirs = sizeof theirs;

	return getsockname(fd, (struct sockaddr *)&ours, &n_ours) == 0 &&
	       getpeername(fd, (struct sockaddr *)&theirs, &n_theirs) == 0 && n_ours == n_theirs &&
	       memcmp(&ours, &theirs, n_ours) == 0;
}

static int connect_one(const struct addrinfo *ai, uint64_t deadline_ns, bool *ret_near)
{
	_cleanup_close_ int fd = socket(ai->ai_family,
					SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct timeval tick = { .tv_usec = FF3_RPC_RECV_TICK_NS / 1000 };
	int r, one = 1, error = 0;
	socklen_t len = sizeof error;

	if (fd < 0)
		return -errno;
	ff3_fd_move_high(&fd);
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = ff3_rpc_wait_fd(fd, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			return -errno;
		if (error)
			return -error;
	}
	if (connected_to_itself(fd))
		return -ECONNREFUSED;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) < 0 ||
	    fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	*ret_near = ff3_addr_tune_local(fd);
	return TAKE_FD(fd);
}

static int connect_tcp(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		       uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	struct addrinfo *list = peer->numeric;
	int r = list ? 0 : ff3_addr_resolve(peer->address, 0, &list), fd = -1;

	if (r < 0) {
		up->why = "its name has no address";
		return r;
	}
	r = -EHOSTUNREACH;
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		r = fd = connect_one(ai, ff3_rpc_connect_until(peer, deadline_ns), &up->near);
	if (!peer->numeric)
		freeaddrinfo(list);
	if (fd < 0) {
		up->why = "nobody answers at its address";
		return r;
	}
	up->fd = fd;
	return ff3_rpc_greet(peer, user, deadline_ns, up);
}

static void drop(struct ff3_rpc_conn *conn, bool forked)
{
	close(conn->fd);
}

/* --- Sending ------------------------------------------------------------------------------- */

/* The socket takes no more. */
static void sleep_until_writable(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine,
				 uint64_t timeout_ns)
{
	struct pollfd p[2] = { { .fd = conn->fd, .events = (short)(POLLOUT | (mine ? POLLIN : 0)) },
			       { .fd = w->event_fd, .events = POLLIN } };
	uint64_t n;

	if (poll(p, 2, (int)(timeout_ns / FF3_NSEC_PER_MSEC) + 1) > 0 && (p[1].revents & POLLIN))
		(void)!read(w->event_fd, &n, sizeof n);
}

/* Sends it all. *ret_begun: the peer has a part of the frame. */
static int send_all(struct ff3_rpc_conn *conn, struct msghdr *msg, size_t len,
		    uint64_t deadline_ns, bool *ret_begun)
{
	struct ff3_rpc_stuck stuck = { .w = NULL };
	int r = 0;

	while (len > 0 && r == 0) {
		ssize_t n = msg->msg_iovlen == 1 ?
				    send(conn->fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len,
					 MSG_DONTWAIT | MSG_NOSIGNAL) :
				    sendmsg(conn->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			r = ff3_rpc_wait_to_send(conn, &stuck, deadline_ns, sleep_until_writable);
			continue;
		}
		if (n < 0) {
			r = errno == EINTR ? 0 : ff3_rpc_send_error(errno);
			continue;
		}
		*ret_begun = true;
		stuck.until_ns = 0;
		len -= (size_t)n;
		while (n > 0 && (size_t)n >= msg->msg_iov->iov_len) {
			n -= (ssize_t)msg->msg_iov->iov_len;
			msg->msg_iov++;
			msg->msg_iovlen--;
		}
		if (n > 0) {
			msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
			msg->msg_iov->iov_len -= (size_t)n;
		}
	}
	ff3_rpc_stuck_done(&stuck);
	return r;
}

/* Header and body in frame, if there is no payload and the body is small: one piece costs the
 * kernel less than two. */
static bool is_one_piece(const struct ff3_rpc_call *call)
{
	return call->n_payload == 0 && call->body_len <= FF3_RPC_SMALL_BODY;
}

static void encode_header(uint8_t *to, const struct ff3_rpc_call *call, size_t payload_len)
{
	ff3_header_encode(to, &(struct ff3_header){
				      .op = call->op,
				      .flags = call->one_way ? FF3_FRAME_ONE_WAY : 0,
				      .request_id = call->request_id,
				      .body_len = (uint32_t)call->body_len,
				      .payload_len = (uint32_t)payload_len,
				      .body_crc = ff3_crc32c(0, call->body, call->body_len),
			      });
}

static int send_call(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun)
{
	struct iovec few[SEND_IOV], *iov = few;
	_cleanup_free_ struct iovec *many = NULL;
	uint8_t frame[FF3_HEADER_SIZE + FF3_RPC_SMALL_BODY];
	size_t payload_len = 0;
	struct msghdr msg;

	if (call->n_payload + 2 > SEND_IOV) {
		iov = many = malloc((size_t)(call->n_payload + 2) * sizeof *many);
		if (!many)
			return -ENOMEM;
	}
	for (int i = 0; i < call->n_payload; i++) {
		iov[i + 2] = call->payload[i];
		payload_len += call->payload[i].iov_len;
	}
	if (call->body_len > FF3_BODY_MAX || payload_len > FF3_PAYLOAD_MAX)
		return -E2BIG;
	encode_header(frame, call, payload_len);
	iov[0] = (struct iovec){ frame, FF3_HEADER_SIZE };
	iov[1] = (struct iovec){ (void *)call->body, call->body_len };
	msg = (struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)call->n_payload + 2 };
	if (is_one_piece(call)) {
		if (call->body_len > 0)
			memcpy(frame + FF3_HEADER_SIZE, call->body, call->body_len);
		iov[0].iov_len += call->body_len;
		msg.msg_iovlen = 1;
	}
	return send_all(conn, &msg, FF3_HEADER_SIZE + call->body_len + payload_len,
			call->deadline_ns, ret_begun);
}

static int send_calls(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	uint8_t frames[FF3_RPC_MANY * (FF3_HEADER_SIZE + FF3_RPC_SMALL_BODY)], *p = frames;
	bool begun = false;
	struct iovec iov;

	for (size_t i = 0; i < n; i++) {
		encode_header(p, calls[i], 0);
		memcpy(p + FF3_HEADER_SIZE, calls[i]->body, calls[i]->body_len);
		p += FF3_HEADER_SIZE + calls[i]->body_len;
	}
	iov = (struct iovec){ frames, (size_t)(p - frames) };
	return send_all(conn, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 }, iov.iov_len, 0,
			&begun);
}

/* A local socket's buffer does not grow as TCP's does: a few writes to a daemon that is stopped fill it. What the
 * kernel counts of a message is up to twice its length. */
static int set_aside_local(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	socklen_t len = sizeof(int);
	int queued = 0, room = 0;
	size_t need = 0;

	if (ioctl(conn->fd, SIOCOUTQ, &queued) < 0 || queued == 0 ||
	    getsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &room, &len) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		need += 1024 + 2 * calls[i]->body_len;
		for (int k = 0; k < calls[i]->n_payload; k++)
			need += 2 * calls[i]->payload[k].iov_len;
	}
	return queued >= room || need > (size_t)(room - queued) ? -EAGAIN : 0;
}

/* --- Looking --------------------------------------------------------------------------------- */

static int look(struct ff3_rpc_conn *conn)
{
	char byte;

	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN ? 0 : 1;
}

static bool is_apart(struct ff3_rpc_conn *conn)
{
	return conn->near && ff3_addr_is_apart(conn->fd);
}

const struct ff3_link_ops ff3_link_tcp = {
	.name = "tcp",
	.kind = FF3_LINK_TCP,
	.connect = connect_tcp,
	.send = send_call,
	.send_many = send_calls,
	.receive = ff3_rpc_receive_stream,
	.look = look,
	.is_apart = is_apart,
	.cut = ff3_rpc_cut_socket,
	.drop = drop,
};

const struct ff3_link_ops ff3_link_unix = {
	.name = "unix",
	.kind = FF3_LINK_UNIX,
	.local = true,
	.connect = ff3_rpc_connect_local,
	.set_aside = set_aside_local,
	.send = send_call,
	.send_many = send_calls,
	.receive = ff3_rpc_receive_stream,
	.cut = ff3_rpc_cut_socket,
	.drop = drop,
};
