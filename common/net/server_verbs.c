/* Purpose: connections of a daemon that come by RDMA: requests out of messages, payloads read from and written
 * into the client's memory by this side, replies.
 *
 * A server has a port for each device that clients come through: a queue, whose completions its loop
 * takes, receive slots that all connections share, and registrations of the memory that payloads
 * live in. What lies elsewhere goes through a buffer and a copy.
 *
 *   request   message(s) -> frame -> [payload: RDMA READ -> its completion] -> ops->request
 *   reply     [payload: RDMA WRITE] -> message(s); what the payload needs is kept until the last
 *             message is known to be there
 *
 * server_verbs_io.c has these; here are ports, completions, and the life of a connection.
 *
 * Threads: a port and its connections belong to the server's loop. The listener's loop takes
 * connection requests and hands them to the loop that shall serve them (ops->route).
 * Fork/signal: not for forked children nor handlers. */
#include <stdio.h>

#include "../base/log.h"
#include "server_verbs.h"

#define SLOTS 512u
#define EVENTS 64
#define LOOK_NS (1 * FF3_NSEC_PER_SEC)
/* As TCP's user timeout, and its keep-alive. The first is counted in looks: this process may have stood still
 * itself. */
#define STALL_LOOKS 15u
#define IDLE_NS (30 * FF3_NSEC_PER_SEC)

#define PROBE_ID 2u

/* --- Completions ----------------------------------------------------------------------------- */

static void on_sent(struct ff3_conn *conn, const struct ff3_verbs_event *e)
{
	ff3_verbs_carried(conn)->heard_ns = ff3_loop_now_ns(conn->loop);
	if (e->id == PROBE_ID) {
		ff3_verbs_carried(conn)->probing = false;
		return;
	}
	conn->n_pinned++;
	if (e->id & FF3_VERBS_WINDOW_MARK)
		ff3_verbs_window_done((struct ff3_window *)(uintptr_t)(e->id & ~(uint64_t)FF3_VERBS_WINDOW_MARK));
	else if (e->id & FF3_VERBS_READ_MARK)
		ff3_verbs_read_done(conn, (struct ff3_frame *)(uintptr_t)(e->id & ~(uint64_t)FF3_VERBS_READ_MARK));
	else
		ff3_verbs_sent(conn, (struct ff3_frame *)(uintptr_t)e->id);
	ff3_verbs_continue_reads(conn);
	ff3_verbs_continue_windows(conn);
	ff3_conn_send(conn);
	ff3_conn_unpin(conn);
}

static void on_event(struct ff3_verbs_port *port, const struct ff3_verbs_event *e)
{
	struct ff3_conn *conn = e->link ? port->v->link_user(e->link) : NULL;

	if (e->kind == FF3_VERBS_RECV) {
		if (conn)
			ff3_verbs_on_message(conn, e->data, e->len);
		port->v->give_back(port->queue, e);
	} else if (conn && e->kind == FF3_VERBS_SENT && e->status == 0) {
		/* After an error DEAD follows. */
		on_sent(conn, e);
	} else if (conn && e->kind == FF3_VERBS_DEAD) {
		ff3_conn_kill(conn);
	}
}

/* Completions made room, perhaps for others than those they are of: send slots are shared. */
static void feed(struct ff3_verbs_port *port)
{
	port->starved = false;
	for (struct ff3_verbs_carried *c = port->carried; c; c = c->next) {
		if (c->read_next)
			ff3_verbs_continue_reads(c->conn);
		ff3_verbs_continue_windows(c->conn);
		if (c->conn->out_first && !c->conn->sending)
			ff3_conn_send(c->conn);
	}
}

/* Connections that died are closed when nobody looks at their events any more. */
static void bury(struct ff3_verbs_port *port)
{
	struct ff3_verbs_carried *c;
	bool any = port->dead;

	while ((c = port->dead)) {
		port->dead = c->next_dead;
		ff3_conn_unpin(c->conn);
	}
	/* What they held is free, and no completion may say so. */
	if (any && port->starved)
		feed(port);
}

static void on_bury(struct ff3_work *w)
{
	struct ff3_verbs_port *port = CONTAINER_OF(w, struct ff3_verbs_port, bury_work);

	port->bury_queued = false;
	bury(port);
}

static int take_events(struct ff3_verbs_port *port)
{
	struct ff3_verbs_event events[EVENTS];
	int n = port->v->poll(port->queue, events, EVENTS);

	port->busy = true;
	for (int i = 0; i < n; i++)
		on_event(port, &events[i]);
	if (n > 0 && port->starved)
		feed(port);
	port->busy = false;
	bury(port);
	return n;
}

static void on_queue(struct ff3_io *io, int res)
{
	struct ff3_verbs_port *port = CONTAINER_OF(io, struct ff3_verbs_port, io);
	struct ff3_loop *loop = port->server->loop;
	int n;

	if (port->closed) {
		free(port);
		return;
	}
	if (res < 0)
		return;
	do {
		while ((n = take_events(port)) > 0)
			;
		port->v->arm(port->queue);
		n = n == 0 ? take_events(port) : n;
	} while (n > 0);
	ff3_loop_poll(loop, port->v->queue_fd(port->queue), &port->io);
}

/* --- The life of a connection ------------------------------------------------------------------ */

static void cut(struct ff3_conn *conn)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);
	struct ff3_verbs_port *port = c->port;

	port->v->cut(c->link);
	c->next_dead = port->dead;
	port->dead = c;
	if (port->busy || port->bury_queued)
		return;
	port->bury_queued = true;
	port->bury_work.fn = on_bury;
	ff3_loop_defer(port->server->loop, &port->bury_work);
}

/* Nothing is transferred any more: what waits for it is given back. */
static void close_carried(struct ff3_conn *conn)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);
	const struct ff3_server_ops *ops = conn->server->ops;
	struct ff3_verbs_message *m;
	struct ff3_frame *f;

	ff3_verbs_free_windows(c);
	c->port->v->quiet(c->link);
	ff3_verbs_end_windows(c);
	while ((f = c->reads)) {
		c->reads = f->next;
		ff3_verbs_release_bounce(c, f);
		if (ops->payload_abort)
			ops->payload_abort(conn->server, &f->request);
		ff3_frame_free(conn, f);
	}
	while ((f = c->under_way)) {
		c->under_way = f->next;
		ff3_verbs_release_bounce(c, f);
		ff3_frame_free(conn, f);
	}
	for (f = conn->out_first; f; f = f->next)
		ff3_verbs_release_bounce(c, f);
	while ((m = c->backlog)) {
		c->backlog = m->next;
		free(m);
	}
	free(c->in.buf);
	for (struct ff3_verbs_carried **at = &c->port->carried; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	c->port->v->close(c->link);
	conn->carried = NULL;
	free(c);
}

const struct ff3_carrier ff3_verbs_carrier = {
	.name = "verbs",
	.receive = ff3_verbs_receive,
	.send = ff3_verbs_send_queue,
	.cut = cut,
	.close = close_carried,
};

static void free_memory(struct ff3_verbs_port *port)
{
	for (unsigned i = 0; i < port->n_memory; i++)
		port->v->region_free(&port->memory[i]);
	port->v->release(port->device, &port->zeros);
}

/* Its descriptor is polled still: that ends when the device is closed, and then port goes. */
static void port_close(struct ff3_verbs_port *port)
{
	ff3_loop_timer_cancel(port->server->loop, &port->timer);
	free_memory(port);
	port->closed = true;
	port->v->queue_free(TAKE_PTR(port->queue));
}

static void unlink_port(struct ff3_verbs_port *port)
{
	for (struct ff3_verbs_port **at = &port->server->ports; *at; at = &(*at)->next)
		if (*at == port) {
			*at = port->next;
			return;
		}
}

/* The peer's device has taken nothing of what was sent for too long. */
static bool stands_still(struct ff3_verbs_carried *c)
{
	uint32_t posted, done = c->port->v->progress(c->link, &posted);

	c->n_still = done == posted || done != c->seen_done ? 0 : c->n_still + 1;
	c->seen_done = done;
	return c->n_still > STALL_LOOKS;
}

/* Whether it is there shows by what it is sent: by this, if nothing else would say. */
static int probe(struct ff3_verbs_carried *c, uint64_t now)
{
	int r;

	if (c->probing || (c->n_still == 0 && now <= c->heard_ns + IDLE_NS))
		return 0;
	r = c->port->v->probe(c->link, PROBE_ID);
	c->probing = r == 0;
	return r == -EAGAIN ? 0 : r;
}

/* Somebody may be gone without a word, or take no answers; or the device. */
static void on_look(struct ff3_timer *t)
{
	struct ff3_verbs_port *port = CONTAINER_OF(t, struct ff3_verbs_port, timer);
	uint64_t now = ff3_boottime_ns();

	port->busy = true;
	for (struct ff3_verbs_carried *c = port->carried; c; c = c->next) {
		if (c->conn->dead)
			continue;
		if (stands_still(c) || ff3_verbs_windows_stuck(c, now) || probe(c, now) < 0)
			ff3_conn_kill(c->conn);
	}
	port->busy = false;
	bury(port);
	if (!port->carried && port->v->device_gone(port->device)) {
		unlink_port(port);
		port_close(port);
		return;
	}
	ff3_loop_timer_arm(port->server->loop, t, LOOK_NS);
}

static struct ff3_verbs_port *port_get(struct ff3_server *server, const struct ff3_verbs_api *v,
				       struct ff3_verbs_device *device)
{
	struct ff3_verbs_port *port = server->ports;
	int r;

	while (port && port->device != device)
		port = port->next;
	if (port)
		return port;
	port = calloc(1, sizeof *port);
	if (!port)
		return NULL;
	port->server = server;
	port->v = v;
	port->device = device;
	port->io.fn = on_queue;
	port->timer.fn = on_look;
	r = v->queue_new(device, SLOTS, &port->queue);
	for (unsigned i = 0; i < server->n_memory && r == 0; i++, port->n_memory++)
		r = v->region_new(device, server->memory[i].base, server->memory[i].size,
				  &port->memory[i]);
	if (r == 0 && v->own_get(device, FF3_VERBS_WORD, &port->zeros) == 0)
		memset(port->zeros.p, 0, FF3_VERBS_WORD);
	if (r < 0)
		ff3_log_errno(r, "memory for RDMA cannot be registered%s",
			      r == -ENOMEM ? " (is the limit of locked memory too low?)" : "");
	if (!port->queue || v->arm(port->queue) < 0) {
		free_memory(port);
		v->queue_free(port->queue);
		free(port);
		return NULL;
	}
	port->next = server->ports;
	server->ports = port;
	ff3_loop_poll(server->loop, v->queue_fd(port->queue), &port->io);
	ff3_loop_timer_arm(server->loop, &port->timer, LOOK_NS);
	return port;
}

/* On the server's loop. */
void ff3_server_verbs_adopt(struct ff3_server *server, struct ff3_server *by,
			    const struct ff3_verbs_api *v, struct ff3_verbs_link *link)
{
	struct ff3_verbs_port *port =
		server->freed ? NULL : port_get(server, v, v->link_device(link));
	struct ff3_verbs_carried *c = port ? calloc(1, sizeof *c) : NULL;
	struct ff3_conn *conn;
	char name[64];

	if (!c) {
		v->close(link);
		return;
	}
	v->peer_name(link, name, sizeof name);
	c->port = port;
	c->link = link;
	c->reads_last = &c->reads;
	c->under_way_last = &c->under_way;
	c->backlog_last = &c->backlog;
	c->heard_ns = ff3_boottime_ns();
	conn = ff3_conn_new_carried(server, by, &ff3_verbs_carrier, c, name);
	if (!conn) {
		v->close(link);
		free(c);
		return;
	}
	/* Until it is buried. */
	conn->n_pinned++;
	c->conn = conn;
	v->link_set_user(link, conn);
	c->next = port->carried;
	port->carried = c;
	if (v->accept(link, port->queue) < 0)
		ff3_conn_kill(conn);
}

void ff3_server_verbs_free_ports(struct ff3_server *server)
{
	struct ff3_verbs_port *port;

	while ((port = server->ports)) {
		server->ports = port->next;
		port_close(port);
	}
}
