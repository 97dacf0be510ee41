/* Purpose: a connected, greeted socket to a peer, or the reason why not.
 *
 * The socket stays blocking and has a receive timeout: the reader of rpc_recv.c relies on both.
 * Its descriptor is moved high, because programs expect that low numbers stay theirs.
 *
 * Threads: any; nothing is shared. Fork: close-on-exec from birth. Signals: EINTR is handled. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "../base/crc32c.h"
#include "addr.h"
#include "rpc_priv.h"

#define HIGH_FD 500
#define REPLY_MAX 4096u

/* Moves *fd out of the way of the program's own numbers, where the limit allows it. */
static void move_high(int *fd)
{
	struct rlimit limit;
	int from = HIGH_FD, high;

	if (*fd >= HIGH_FD)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= HIGH_FD + 64)
		from = (int)(limit.rlim_cur * 3 / 4);
	high = fcntl(*fd, F_DUPFD_CLOEXEC, from);
	if (high < 0)
		return;
	close(*fd);
	*fd = high;
}

static int wait_fd(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = ff3_boottime_ns();
		int r;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)((deadline_ns - now) / FF3_NSEC_PER_MSEC) + 1);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

/* Where nobody listens, a connection from a port to itself succeeds now and then. */
static bool connected_to_itself(int fd)
{
	struct sockaddr_storage ours, theirs;
	socklen_t n_ours = sizeof ours, n_theirs = sizeof theirs;

	return getsockname(fd, (struct sockaddr *)&ours, &n_ours) == 0 &&
	       getpeername(fd, (struct sockaddr *)&theirs, &n_theirs) == 0 && n_ours == n_theirs &&
	       memcmp(&ours, &theirs, n_ours) == 0;
}

static int connect_one(const struct addrinfo *ai, uint64_t deadline_ns)
{
	_cleanup_close_ int fd = socket(ai->ai_family,
					SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct timeval tick = { .tv_usec = FF3_RPC_RECV_TICK_NS / 1000 };
	int r, one = 1, error = 0;
	socklen_t len = sizeof error;

	if (fd < 0)
		return -errno;
	move_high(&fd);
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = wait_fd(fd, POLLOUT, deadline_ns);
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
	ff3_addr_tune_local(fd);
	return TAKE_FD(fd);
}

/* A network namespace without a network, as containers have, and the daemons' sockets put into it.
 * Not tried first: TCP's buffers make it several times as fast. */
static int connect_local(const struct ff3_rpc_peer *peer)
{
	struct timeval tick = { .tv_sec = FF3_RPC_RECV_TICK_NS / FF3_NSEC_PER_SEC };
	const char *dir = peer->options.sockets;
	_cleanup_close_ int fd = -1;
	struct sockaddr_un un;

	if (!dir || !*dir || ff3_addr_local(dir, peer->address, &un) < 0 ||
	    access(un.sun_path, W_OK) < 0)
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	move_high(&fd);
	if (connect(fd, (struct sockaddr *)&un, sizeof un) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) < 0 ||
	    fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int send_all(int fd, const uint8_t *p, size_t len, uint64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r = 0;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			r = wait_fd(fd, POLLOUT, deadline_ns);
		} else if (errno != EINTR) {
			r = -errno;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int recv_all(int fd, uint8_t *p, size_t len, uint64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = recv(fd, p, len, MSG_DONTWAIT);
		int r = 0;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n == 0) {
			r = -ECONNRESET;
		} else if (errno == EAGAIN) {
			r = wait_fd(fd, POLLIN, deadline_ns);
		} else if (errno != EINTR) {
			r = -errno;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Whoever has the address next must be of the cluster that had it first. */
static uint64_t cluster_of(const struct ff3_rpc_peer *peer)
{
	return peer->identity.cluster ? peer->identity.cluster : atomic_load(&peer->cluster);
}

static int send_hello(const struct ff3_rpc_peer *peer, const struct ff3_rpc_user *other, int fd,
		      uint64_t deadline_ns)
{
	const struct ff3_rpc_identity *id = &peer->identity;
	const struct ff3_rpc_user own = { id->uid, id->gid, id->groups, id->n_groups };
	const struct ff3_rpc_user *user = other ? other : &own;
	uint32_t n_groups = MIN(user->n_groups, FF3_GROUPS_MAX);
	uint8_t groups[4 * FF3_GROUPS_MAX];
	struct ff3_enc e = ff3_enc_init(groups, sizeof groups);
	uint8_t small[2048], *frame = small;
	_cleanup_free_ uint8_t *large = NULL;
	char host[256] = "";
	struct ff3_req_hello hello = {
		.cluster = cluster_of(peer),
		.session = id->session,
		.role = id->role,
		.uid = user->uid,
		.gid = user->gid,
		.target = peer->options.target,
		.pid = (uint32_t)getpid(),
		.credential = id->credential,
	};
	struct ff3_header h = { .op = FF3_OP_hello, .request_id = 1 };
	size_t len;

	for (uint32_t i = 0; i < n_groups; i++)
		ff3_put_u32(&e, &user->groups[i]);
	hello.groups = (struct ff3_blob){ groups, (uint32_t)e.len };
	if (gethostname(host, sizeof host - 1) < 0)
		host[0] = '\0';
	hello.host = ff3_str_from(host);
	len = ff3_encode_req_hello(NULL, 0, &hello);
	if (len > FF3_BODY_MAX)
		return -E2BIG;
	if (FF3_HEADER_SIZE + len > sizeof small)
		frame = large = malloc(FF3_HEADER_SIZE + len);
	if (!frame)
		return -ENOMEM;
	ff3_encode_req_hello(frame + FF3_HEADER_SIZE, len, &hello);
	h.body_len = (uint32_t)len;
	h.body_crc = ff3_crc32c(0, frame + FF3_HEADER_SIZE, len);
	ff3_header_encode(frame, &h);
	return send_all(fd, frame, FF3_HEADER_SIZE + len, deadline_ns);
}

static int recv_hello(struct ff3_rpc_peer *peer, int fd, uint64_t deadline_ns,
		      uint64_t *ret_instance)
{
	uint8_t buf[FF3_HEADER_SIZE], body[REPLY_MAX];
	struct ff3_header h;
	struct ff3_rep_hello reply;
	int r = recv_all(fd, buf, sizeof buf, deadline_ns);

	if (r < 0)
		return r;
	r = ff3_header_decode(buf, &h);
	if (r < 0)
		return r;
	if (!(h.flags & FF3_FRAME_REPLY) || h.payload_len > 0 || h.body_len > sizeof body)
		return -EBADMSG;
	if (h.status != 0)
		return ff3_err_from_wire(h.status);
	r = recv_all(fd, body, h.body_len, deadline_ns);
	if (r < 0)
		return r;
	if (h.op != FF3_OP_hello || ff3_crc32c(0, body, h.body_len) != h.body_crc ||
	    ff3_decode_rep_hello(body, h.body_len, &reply) < 0)
		return -EBADMSG;
	if (cluster_of(peer) != 0 && reply.cluster != cluster_of(peer))
		return FF3_E_CLUSTER;
	atomic_store(&peer->instance, reply.instance);
	atomic_store(&peer->cluster, reply.cluster);
	atomic_store(&peer->lease_ms, reply.lease_ms);
	*ret_instance = reply.instance;
	return 0;
}

int ff3_rpc_connect(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t deadline_ns,
		    uint64_t *ret_instance)
{
	uint64_t timeout_ns = peer->options.connect_timeout_ms * FF3_NSEC_PER_MSEC, until;
	struct addrinfo *list = peer->numeric;
	_cleanup_close_ int fd = -1;
	int r = list ? 0 : ff3_addr_resolve(peer->address, 0, &list);

	if (r < 0)
		return r;
	r = -EHOSTUNREACH;
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
		until = ff3_boottime_ns() + timeout_ns;
		fd = connect_one(ai, deadline_ns ? MIN(until, deadline_ns) : until);
		r = fd;
	}
	if (!peer->numeric)
		freeaddrinfo(list);
	if (fd < 0)
		fd = connect_local(peer);
	if (fd < 0)
		return r;
	until = ff3_boottime_ns() + timeout_ns;
	if (deadline_ns)
		until = MIN(until, deadline_ns);
	r = send_hello(peer, user, fd, until);
	if (r == 0)
		r = recv_hello(peer, fd, until, ret_instance);
	return r < 0 ? r : TAKE_FD(fd);
}
