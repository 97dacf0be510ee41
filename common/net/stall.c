/* Purpose: connections that hold the daemon's memory and stand still: replies that the peer does not
 * take, a payload that does not arrive. As long as nobody else wants the memory that is the peer's
 * own affair; when somebody waits for it, such a connection is reset, and its peer begins anew.
 *
 * How far a connection has moved is asked of the kernel: the ring reports what it sends and
 * receives only when all of it has passed. That costs a system call for each of them, and is done
 * only while somebody waits.
 *
 * Threads: the connections' loop only. Fork/signal: not for forked children nor handlers. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "server_priv.h"

/* A peer that takes less than this in the time is as good as one that takes nothing. */
#define PROGRESS (16u * 1024u)

void ff3_request_hold(struct ff3_request *r, uint32_t bytes)
{
	struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);

	f->held += bytes;
	r->conn->held += bytes;
}

uint64_t ff3_server_no_room_since(const struct ff3_server *server)
{
	uint64_t since = UINT64_MAX;

	for (const struct ff3_conn *conn = server->conns; conn; conn = conn->next)
		if (conn->no_room_ns)
			since = MIN(since, conn->no_room_ns);
	return since;
}

uint64_t ff3_conn_moved_stream(const struct ff3_conn *conn, uint64_t *ret_enough)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	int unread = 0;

	*ret_enough = PROGRESS;
	if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
		return info.tcpi_bytes_acked + info.tcpi_bytes_received;
	/* A local socket: what the peer has not read yet. */
	*ret_enough = 1;
	(void)ioctl(conn->fd, SIOCOUTQ, &unread);
	return (uint64_t)unread;
}

static bool stands_still(struct ff3_conn *conn, uint64_t now, uint64_t stall_ns)
{
	uint64_t enough, at = conn->ops->moved(conn, &enough);
	uint64_t by = at > conn->seen_at ? at - conn->seen_at : conn->seen_at - at;

	/* What was seen long ago was another time of want. */
	if (by >= enough || now - conn->seen_ns > 4 * stall_ns) {
		conn->seen_at = at;
		conn->seen_ns = now;
		return false;
	}
	return now - conn->seen_ns >= stall_ns;
}

unsigned ff3_server_reset_stalled(struct ff3_server *server, uint64_t stall_ns)
{
	uint64_t now = ff3_loop_now_ns(server->loop);
	unsigned n = 0;

	for (struct ff3_conn *conn = server->conns, *next; conn; conn = next) {
		next = conn->next;
		/* Others look after themselves. */
		if (conn->dead || conn->carrier)
			continue;
		if (!conn->incoming && !(conn->out_first && conn->held > 0)) {
			conn->seen_ns = 0;
		} else if (stands_still(conn, now, stall_ns)) {
			ff3_conn_kill(conn);
			n++;
		}
	}
	return n;
}
