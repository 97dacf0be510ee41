/* Purpose: finding a daemon's local socket, and only a socket of that daemon; and connecting by it.
 *
 * In the directory `sockets`, its name is the daemon's address; who may write there is trusted.
 * Without any configuration it is an abstract socket, "\0ff3fs/" and the address that the daemon's
 * TCP socket is bound to; it lives in the network namespace as TCP ports do. Anybody can take an
 * abstract name, also that of a daemon on another host; so its owner must be root, ourselves, or
 * the user whose TCP socket listens at that very address, which the kernel tells in /proc/net.
 *
 * Threads: any; nothing is shared. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/time.h>

#include "addr.h"
#include "rpc_priv.h"

/* Users that this namespace does not know all look like this one. */
#define UID_UNKNOWN 65534u
#define STATE_LISTEN 0x0Au

static int dial(const struct sockaddr_un *un, socklen_t len, int *ret)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	ff3_fd_move_high(&fd);
	if (connect(fd, (const struct sockaddr *)un, len) < 0)
		return -errno;
	*ret = TAKE_FD(fd);
	return 0;
}

/* One line of /proc/net/tcp or tcp6: whether a socket listens there, on ip (n bytes, network order, or
 * on all addresses) and port. */
static bool listens_here(const char *line, const uint8_t *ip, size_t n, uint16_t port,
			 unsigned *ret_uid, bool *ret_end)
{
	char hex[33];
	unsigned at_port, state, uid;
	bool any = true, same = true;

	if (sscanf(line, " %*u: %32[0-9A-F]:%4X %*[0-9A-F]:%*X %2X %*X:%*X %*X:%*X %*X %u", hex,
		   &at_port, &state, &uid) != 4)
		return false;
	/* Listening sockets come first. */
	*ret_end = state != STATE_LISTEN;
	if (state != STATE_LISTEN || at_port != port || strlen(hex) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i += 4) {
		uint32_t word, ours;

		if (sscanf(hex + 2 * i, "%8X", &word) != 1)
			return false;
		memcpy(&ours, ip + i, 4);
		any &= word == 0;
		same &= word == ours;
	}
	*ret_uid = uid;
	return any || same;
}

/* The user whose TCP socket listens at addr in this network namespace, or -ENOENT. */
static int listener_uid(const struct sockaddr *addr, unsigned *ret_uid)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	bool v6 = addr->sa_family == AF_INET6, end = false;
	FILE *f = fopen(v6 ? "/proc/net/tcp6" : "/proc/net/tcp", "re");
	char line[256];
	int r = -ENOENT;

	if (!f)
		return -errno;
	while (r < 0 && !end && fgets(line, sizeof line, f))
		if (listens_here(line, v6 ? in6->sin6_addr.s6_addr : (const uint8_t *)&in4->sin_addr,
				 v6 ? 16 : 4, ntohs(v6 ? in6->sin6_port : in4->sin_port), ret_uid,
				 &end))
			r = 0;
	fclose(f);
	return r;
}

static bool is_daemons(int fd, const struct sockaddr *addr)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	unsigned uid = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid == UID_UNKNOWN)
		return false;
	return cred.uid == 0 || cred.uid == geteuid() ||
	       (listener_uid(addr, &uid) == 0 && uid == cred.uid);
}

/* Whether addr is one of this host's. */
static bool is_ours(const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_storage at;
	_cleanup_close_ int fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(&at, addr, len);
	if (at.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&at)->sin6_port = 0;
	else
		((struct sockaddr_in *)&at)->sin_port = 0;
	return fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0;
}

/* The socket of a daemon that listens on all addresses. */
static int dial_any(const struct addrinfo *ai, int *ret)
{
	struct sockaddr_storage any = { .ss_family = (sa_family_t)ai->ai_family };
	struct sockaddr_un un;
	socklen_t len;

	if (!is_ours(ai->ai_addr, ai->ai_addrlen))
		return -ECONNREFUSED;
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&any)->sin6_port =
			((struct sockaddr_in6 *)ai->ai_addr)->sin6_port;
	else
		((struct sockaddr_in *)&any)->sin_port =
			((struct sockaddr_in *)ai->ai_addr)->sin_port;
	len = ff3_addr_abstract((struct sockaddr *)&any, ai->ai_addrlen, &un);
	return dial(&un, len, ret);
}

static int dial_abstract(const struct addrinfo *list, struct ff3_rpc_up *up)
{
	int r = -ECONNREFUSED;

	for (const struct addrinfo *ai = list; ai && r < 0; ai = ai->ai_next) {
		struct sockaddr_un un;
		socklen_t len = ff3_addr_abstract(ai->ai_addr, ai->ai_addrlen, &un);

		r = dial(&un, len, &up->fd);
		if (r < 0)
			r = dial_any(ai, &up->fd);
		if (r == 0 && !is_daemons(up->fd, ai->ai_addr)) {
			close(TAKE_FD(up->fd));
			up->why = "its local socket belongs to somebody else";
			return -EPERM;
		}
	}
	if (r < 0)
		up->why = "no daemon of this host has its address";
	return r;
}

/* up->fd becomes a connected, non-blocking local socket of the daemon's, or -ENOENT. */
static int find(const struct ff3_rpc_peer *peer, struct ff3_rpc_up *up)
{
	const char *dir = peer->options.sockets;
	struct addrinfo *list = peer->numeric;
	struct sockaddr_un un;
	int r;

	if (dir && *dir && ff3_addr_local(dir, peer->address, &un) == 0 &&
	    dial(&un, sizeof un, &up->fd) == 0)
		return 0;
	r = list ? 0 : ff3_addr_resolve(peer->address, 0, &list);
	if (r < 0) {
		up->why = "its name has no address";
		return r;
	}
	r = dial_abstract(list, up);
	if (!peer->numeric)
		freeaddrinfo(list);
	return r;
}

int ff3_rpc_connect_local(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
			  uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	struct timeval tick = { .tv_usec = FF3_RPC_RECV_TICK_NS / 1000 };
	int r = find(peer, up);

	if (r < 0)
		return r;
	if (setsockopt(up->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) < 0 ||
	    fcntl(up->fd, F_SETFL, 0) < 0)
		return -errno;
	r = ff3_rpc_greet(peer, user, deadline_ns, up);
	if (r == -EACCES) {
		up->why = "it takes a daemon from root and its own user alone";
		up->reached = false;
	}
	return r;
}
