/* Purpose: servers and the life of their connections: listening, accepting, handing over to
 * another loop, closing. Receiving is in conn.c, sending in reply.c; the states of a connection
 * are in server_priv.h.
 *
 * Threads: a server and its connections belong to their loop's thread. A connection that moves is
 * touched by the old loop until it posts move_work, and by the new loop from then on.
 * Fork/signal: not for forked children nor handlers. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../base/log.h"
#include "server_priv.h"

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64
/* Without any progress of what is being sent. */
#define STALL_TIMEOUT_MS 15000
#define HELLO_TIMEOUT_NS (10 * FF3_NSEC_PER_SEC)
/* Pause after running out of descriptors or memory. */
#define LISTEN_WAIT_NS (2 * FF3_NSEC_PER_SEC)
#define ACCEPT_PAUSE_NS (100 * FF3_NSEC_PER_MSEC)

static const struct timespec listen_pause = { .tv_nsec = 20 * 1000 * 1000 };

static void set_option(int fd, int level, int name, int value)
{
	/* Each of these only improves: a socket without it still serves. */
	(void)setsockopt(fd, level, name, &value, sizeof value);
}

static void link_conn(struct ff3_conn *conn, struct ff3_server *server)
{
	conn->server = server;
	conn->loop = server->loop;
	conn->prev = NULL;
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
}

static void unlink_conn(struct ff3_conn *conn)
{
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		conn->server->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	conn->prev = conn->next = NULL;
}

static bool is_listening(const struct ff3_server *server)
{
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++)
		if (server->listeners[i].listening)
			return true;
	return false;
}

static void free_server_if_unused(struct ff3_server *server)
{
	if (server->freed && !server->conns && !is_listening(server)) {
		ff3_server_verbs_free_ports(server);
		free(server->door);
		free(server);
	}
}

/* --- Connections --------------------------------------------------------------------------- */

static void arm_hello_timer(struct ff3_conn *conn)
{
	ff3_loop_timer_arm(conn->loop, &conn->hello_timer, HELLO_TIMEOUT_NS);
}

static int know_peer(struct ff3_conn *conn)
{
	socklen_t len = sizeof conn->cred;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &conn->cred, &len) < 0)
		return -errno;
	return ff3_conn_claim_new(conn);
}

int ff3_conn_new(struct ff3_server *server, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct ff3_conn *conn = calloc(1, sizeof *conn);
	char text[FF3_ADDR_TEXT];
	int r;

	if (!conn)
		return -ENOMEM;
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	conn->near = ff3_addr_tune_local(fd);
	/* A peer whose machine died must not hold its session for ever. */
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	/* One that lives but takes no replies (it is stopped) must not hold their memory for ever. */
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, STALL_TIMEOUT_MS);
	ff3_addr_print(addr, len, text);
	snprintf(conn->peer, sizeof conn->peer, "%.*s", (int)sizeof conn->peer - 1, text);
	conn->fd = fd;
	conn->by = server;
	conn->local = addr->sa_family == AF_UNIX;
	conn->may_shm = conn->local && (server->transports & FF3_TRANSPORT_SHM);
	conn->ops = &ff3_conn_stream;
	r = conn->local ? know_peer(conn) : 0;
	if (r < 0) {
		free(conn);
		return r;
	}
	conn->out_last = &conn->out_first;
	conn->recv_io.fn = ff3_conn_on_recv;
	conn->send_io.fn = ff3_conn_on_send;
	conn->hello_timer.fn = ff3_conn_hello_late;
	link_conn(conn, server);
	arm_hello_timer(conn);
	ff3_conn_receive(conn);
	return 0;
}

struct ff3_conn *ff3_conn_new_carried(struct ff3_server *server, struct ff3_server *by,
				      const struct ff3_carrier *carrier, void *carried,
				      const char *peer)
{
	struct ff3_conn *conn = calloc(1, sizeof *conn);

	if (!conn)
		return NULL;
	snprintf(conn->peer, sizeof conn->peer, "%s", peer);
	conn->carrier = carrier;
	conn->carried = carried;
	conn->ops = &ff3_conn_stream;
	conn->by = by;
	conn->fd = -1;
	conn->out_last = &conn->out_first;
	conn->hello_timer.fn = ff3_conn_hello_late;
	link_conn(conn, server);
	arm_hello_timer(conn);
	return conn;
}

void ff3_conn_free_if_unused(struct ff3_conn *conn)
{
	struct ff3_frame *f;

	if (conn->server || conn->move_to || conn->n_requests > 0)
		return;
	while ((f = conn->free_frames)) {
		conn->free_frames = f->next;
		free(f);
	}
	if (conn->ops->free)
		conn->ops->free(conn);
	ff3_conn_claim_free(conn);
	free(conn->buf);
	free(conn);
}

/* Nothing of conn is in the ring or on the stack any more. */
static void finish_conn(struct ff3_conn *conn)
{
	struct ff3_server *server = conn->server;

	/* Callbacks below may reply to its last request. */
	conn->n_requests++;
	ff3_loop_timer_cancel(conn->loop, &conn->hello_timer);
	if (conn->ops->finish)
		conn->ops->finish(conn);
	if (conn->carrier)
		conn->carrier->close(conn);
	else
		close(TAKE_FD(conn->fd));
	if (conn->incoming) {
		struct ff3_frame *f = TAKE_PTR(conn->incoming);

		if (server->ops->payload_abort)
			server->ops->payload_abort(server, &f->request);
		ff3_frame_free(conn, f);
	}
	ff3_conn_drop_replies(conn);
	unlink_conn(conn);
	if (conn->greeted)
		ff3_server_count(&server->counters.closed[ff3_conn_kind(conn)]);
	if (conn->greeted && server->ops->closed)
		server->ops->closed(server, conn, conn->user);
	conn->server = NULL;
	conn->n_requests--;
	ff3_conn_free_if_unused(conn);
	free_server_if_unused(server);
}

void ff3_conn_unpin(struct ff3_conn *conn)
{
	if (--conn->n_pinned == 0 && conn->dead)
		finish_conn(conn);
}

void ff3_conn_kill(struct ff3_conn *conn)
{
	if (conn->dead)
		return;
	conn->dead = true;
	/* Ends what the ring holds of it. */
	if (conn->carrier)
		conn->carrier->cut(conn);
	else
		shutdown(conn->fd, SHUT_RDWR);
	conn->n_pinned++;
	ff3_conn_unpin(conn);
}

void ff3_conn_close(struct ff3_conn *conn)
{
	if (!conn->server || conn->dead)
		return;
	conn->closing = true;
	if (!conn->out_first)
		ff3_conn_kill(conn);
}

void ff3_conn_hello_late(struct ff3_timer *t)
{
	ff3_conn_kill(CONTAINER_OF(t, struct ff3_conn, hello_timer));
}

void *ff3_conn_user(const struct ff3_conn *conn)
{
	return conn->user;
}

const char *ff3_conn_peer(const struct ff3_conn *conn)
{
	return conn->peer;
}

enum ff3_link_kind ff3_conn_kind(const struct ff3_conn *conn)
{
	if (conn->carrier)
		return FF3_LINK_VERBS;
	return conn->shm ? FF3_LINK_SHM : conn->local ? FF3_LINK_UNIX : FF3_LINK_TCP;
}

const char *ff3_conn_link(const struct ff3_conn *conn)
{
	return ff3_link_names[ff3_conn_kind(conn)];
}

const struct ucred *ff3_conn_cred(const struct ff3_conn *conn)
{
	return conn->local ? &conn->cred : NULL;
}

static void on_moved(struct ff3_work *w)
{
	struct ff3_conn *conn = CONTAINER_OF(w, struct ff3_conn, move_work);

	link_conn(conn, TAKE_PTR(conn->move_to));
	if (conn->server->freed) {
		ff3_conn_kill(conn);
		return;
	}
	arm_hello_timer(conn);
	/* Its hello is still in the buffer. */
	ff3_conn_parse(conn);
}

void ff3_conn_move(struct ff3_conn *conn, struct ff3_server *to)
{
	struct ff3_server *from = conn->server;

	ff3_loop_timer_cancel(conn->loop, &conn->hello_timer);
	unlink_conn(conn);
	conn->server = NULL;
	conn->move_work.fn = on_moved;
	ff3_loop_post(to->loop, &conn->move_work);
	free_server_if_unused(from);
}

/* --- Listening ----------------------------------------------------------------------------- */

static void arm_listen(struct ff3_listener *l)
{
	l->listening = true;
	ff3_loop_poll(l->server->loop, l->fd, &l->io);
}

static void on_listen_pause_over(struct ff3_timer *t)
{
	arm_listen(CONTAINER_OF(t, struct ff3_listener, timer));
}

static bool accept_one(struct ff3_listener *l)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;
	/* Blocking on purpose: the ring waits for such a socket by itself. */
	_cleanup_close_ int fd = accept4(l->fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC);

	if (fd < 0)
		return false;
	if (ff3_conn_new(l->server, fd, (struct sockaddr *)&addr, len) == 0)
		TAKE_FD(fd);
	return true;
}

static void on_listen(struct ff3_io *io, int res)
{
	struct ff3_listener *l = CONTAINER_OF(io, struct ff3_listener, io);
	int n = 0;

	l->listening = false;
	if (l->fd < 0) {
		free_server_if_unused(l->server);
		return;
	}
	while (n < ACCEPTS_PER_TURN && accept_one(l))
		n++;
	if (n < ACCEPTS_PER_TURN && (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
				     errno == ENOBUFS))
		ff3_loop_timer_arm(l->server->loop, &l->timer, ACCEPT_PAUSE_NS);
	else
		arm_listen(l);
}

static int listen_on(const struct addrinfo *ai, uint16_t *ret_port)
{
	_cleanup_close_ int fd = socket(ai->ai_family,
					SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;

	if (fd < 0)
		return -errno;
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	*ret_port = ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port :
						       ((struct sockaddr_in *)&addr)->sin_port);
	return TAKE_FD(fd);
}

int ff3_server_listen(struct ff3_server *server, const char *address, uint16_t *ret_port)
{
	/* The ring of a daemon that was killed keeps its socket a moment longer than the process. */
	uint64_t until = ff3_boottime_ns() + LISTEN_WAIT_NS;
	struct addrinfo *list;
	uint16_t port = 0;
	int r, fd = -EHOSTUNREACH;

	if (server->listeners[0].fd >= 0)
		return -EBUSY;
	r = ff3_addr_resolve(address, AI_PASSIVE, &list);
	if (r < 0)
		return r;
	do {
		for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
			fd = listen_on(ai, &port);
	} while (fd == -EADDRINUSE && ff3_boottime_ns() < until && nanosleep(&listen_pause, NULL) == 0);
	freeaddrinfo(list);
	if (fd < 0)
		return fd;
	server->listeners[0].fd = fd;
	arm_listen(&server->listeners[0]);
	if (ret_port)
		*ret_port = port;
	return 0;
}

int ff3_server_listen_local(struct ff3_server *server, const char *dir, const char *address)
{
	struct sockaddr_un un;
	_cleanup_close_ int fd = -1;
	int r = ff3_addr_local(dir, address, &un);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The address is ours, so what lies there is the socket of an earlier daemon. Whoever reaches
	 * the directory may connect, as everybody may who reaches the port. */
	(void)unlink(un.sun_path);
	if (bind(fd, (struct sockaddr *)&un, sizeof un) < 0 || chmod(un.sun_path, 0666) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	server->listeners[1].fd = TAKE_FD(fd);
	arm_listen(&server->listeners[1]);
	return 0;
}

int ff3_server_listen_abstract(struct ff3_server *server)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage addr;
	/* As for TCP: a killed daemon's ring keeps its name for a moment. */
	uint64_t until = ff3_boottime_ns() + LISTEN_WAIT_NS;
	socklen_t len = sizeof addr;
	struct sockaddr_un un;

	if (fd < 0 || getsockname(server->listeners[0].fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	len = ff3_addr_abstract((struct sockaddr *)&addr, len, &un);
	while (bind(fd, (struct sockaddr *)&un, len) < 0)
		if (errno != EADDRINUSE || ff3_boottime_ns() >= until)
			return -errno;
		else
			nanosleep(&listen_pause, NULL);
	if (listen(fd, BACKLOG) < 0)
		return -errno;
	server->listeners[2].fd = TAKE_FD(fd);
	arm_listen(&server->listeners[2]);
	return 0;
}

void ff3_server_offer(struct ff3_server *server, const struct ff3_links *links)
{
	int r;

	if (ff3_links_have(links, FF3_LINK_VERBS))
		ff3_server_offer_verbs(server);
	if (ff3_links_have(links, FF3_LINK_SHM))
		server->transports |= FF3_TRANSPORT_SHM;
	if (!ff3_links_have(links, FF3_LINK_SHM) && !ff3_links_have(links, FF3_LINK_UNIX))
		return;
	r = ff3_server_listen_abstract(server);
	if (r < 0)
		ff3_warning("clients on this host must come by TCP, there is no local socket: %s",
			    strerror(-r));
}

/* --- Servers ------------------------------------------------------------------------------- */

int ff3_server_new(struct ff3_loop *loop, const struct ff3_server_ops *ops, void *user,
		   struct ff3_server **ret)
{
	struct ff3_server *server = calloc(1, sizeof *server);

	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->ops = ops;
	server->user = user;
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++) {
		server->listeners[i].server = server;
		server->listeners[i].fd = -1;
		server->listeners[i].io.fn = on_listen;
		server->listeners[i].timer.fn = on_listen_pause_over;
	}
	*ret = server;
	return 0;
}

void ff3_server_ask_tickets(struct ff3_server *server, const struct ff3_tickets *tickets)
{
	server->tickets = tickets;
}

void ff3_server_free(struct ff3_server *server)
{
	struct ff3_loop *loop;

	if (!server)
		return;
	loop = server->loop;
	ff3_server_verbs_shut(server);
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++) {
		struct ff3_listener *l = &server->listeners[i];

		ff3_loop_timer_cancel(loop, &l->timer);
		if (l->fd < 0)
			continue;
		/* Ends the poll, which keeps the socket alive beyond close. */
		shutdown(l->fd, SHUT_RDWR);
		close(TAKE_FD(l->fd));
	}
	for (struct ff3_conn *conn = server->conns, *next; conn; conn = next) {
		next = conn->next;
		ff3_conn_kill(conn);
	}
	/* While the loop does not run, its turns are taken here. If this is not the loop's thread,
	 * that one is gone, and with it what it had in the ring. */
	while (!ff3_loop_is_running(loop) && (server->conns || is_listening(server)))
		if (ff3_loop_step(loop, true) < 0) {
			for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++)
				server->listeners[i].listening = false;
			while (server->conns)
				finish_conn(server->conns);
		}
	server->freed = true;
	free_server_if_unused(server);
}

void ff3_server_register_memory(struct ff3_server *server, void *base, size_t size)
{
	if (server->n_memory < FF3_SERVER_MEMORY)
		server->memory[server->n_memory++] = (struct ff3_server_memory){ base, size };
}

void *ff3_server_user(const struct ff3_server *server)
{
	return server->user;
}

const struct ff3_server_counters *ff3_server_counters(const struct ff3_server *server)
{
	return &server->counters;
}

struct ff3_loop *ff3_server_loop(const struct ff3_server *server)
{
	return server->loop;
}

void ff3_server_resume(struct ff3_server *server)
{
	for (struct ff3_conn *conn = server->conns; conn; conn = conn->next)
		if (conn->no_room) {
			conn->no_room = false;
			ff3_conn_queue_parse(conn);
		}
}
