/* Purpose: windows (window.h) of a daemon's verbs connections.
 *
 *   bind -> BIND -> BOUND -> unbind -> TELL -> PAUSE -> UNBIND -> over
 *
 * Each step but BOUND and PAUSE is a work request, and ends with its completion. The pause is for reads that
 * were on their way when the client was told: they would be the end of the connection. How long it is
 * does not matter for anything else.
 *
 * Who is bound when the connection ends is freed before the queue pair is destroyed: that takes the key
 * from the device, and Soft-RoCE waits for the windows of a queue pair that goes before them.
 *
 * Threads: the connection's loop. Fork/signal: not for forked children nor handlers. */
#include "server_verbs.h"
#include "window.h"

#define PAUSE_NS (3 * FF3_NSEC_PER_MSEC / 10)
/* A client that has not taken what was sent to it for so long holds up a change of the chunk: it goes. */
#define PATIENCE_NS (5 * FF3_NSEC_PER_SEC)

enum { BIND, BOUND, TELL, PAUSE, UNBIND };

static struct ff3_verbs_carried *carried_of(const struct ff3_window *w)
{
	return ff3_verbs_carried(w->conn);
}

static void unlink_window(struct ff3_verbs_carried *c, struct ff3_window *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		c->windows = w->next;
	if (w->next)
		w->next->prev = w->prev;
}

/* Its key is void. w may be gone afterwards. */
static void over(struct ff3_window *w, int status)
{
	struct ff3_verbs_carried *c = carried_of(w);

	unlink_window(c, w);
	c->port->v->window_free(TAKE_PTR(w->window));
	w->conn = NULL;
	w->done(w, status);
}

/* The registered memory that holds [p, p + len). */
static const struct ff3_verbs_memory *region_of(const struct ff3_verbs_port *port, const void *p,
						uint32_t len)
{
	for (unsigned i = 0; i < port->n_memory; i++) {
		const struct ff3_server_memory *m = &port->server->memory[i];

		if ((const uint8_t *)p >= m->base && (const uint8_t *)p + len <= m->base + m->size)
			return &port->memory[i];
	}
	return NULL;
}

static int post(struct ff3_window *w)
{
	struct ff3_verbs_carried *c = carried_of(w);
	const struct ff3_verbs_port *port = c->port;
	const struct ff3_verbs_memory *region = region_of(port, w->p, w->len);
	uint64_t id = (uintptr_t)w | FF3_VERBS_WINDOW_MARK;
	struct ff3_verbs_piece piece = { w->told_addr, w->told_rkey, FF3_VERBS_WORD };
	int r;

	switch (w->step) {
	case BIND:
		r = port->v->bind(c->link, w->window, region, w->p, w->len, id, &piece);
		w->addr = piece.addr;
		w->rkey = piece.rkey;
		return r;
	case TELL:
		return port->v->write(c->link, &port->zeros, port->zeros.p, &piece, FF3_VERBS_WORD, id);
	default:
		return port->v->unbind(c->link, w->window, id);
	}
}

static void take_step(struct ff3_window *w, unsigned step)
{
	struct ff3_verbs_carried *c = carried_of(w);
	int r;

	w->step = (uint8_t)step;
	w->since_ns = ff3_loop_now_ns(w->conn->loop);
	/* Its end is near, and w's with it. */
	if (w->conn->dead)
		return;
	r = post(w);
	w->waits = r == -EAGAIN;
	if (w->waits) {
		c->port->starved = true;
		c->n_waiting_windows++;
	} else if (r < 0) {
		ff3_conn_kill(w->conn);
	}
}

static void on_pause_over(struct ff3_timer *t)
{
	take_step(CONTAINER_OF(t, struct ff3_window, timer), UNBIND);
}

void ff3_verbs_window_done(struct ff3_window *w)
{
	switch (w->step) {
	case BIND:
		w->step = BOUND;
		w->done(w, 0);
		break;
	case TELL:
		w->step = PAUSE;
		w->timer.fn = on_pause_over;
		ff3_loop_timer_arm(w->conn->loop, &w->timer, PAUSE_NS);
		break;
	default:
		over(w, 0);
		break;
	}
}

void ff3_verbs_continue_windows(struct ff3_conn *conn)
{
	struct ff3_verbs_carried *c = ff3_verbs_carried(conn);

	for (struct ff3_window *w = c->windows, *next; w && c->n_waiting_windows && !conn->dead; w = next) {
		next = w->next;
		if (!w->waits)
			continue;
		c->n_waiting_windows--;
		take_step(w, w->step);
		if (w->waits)
			return;
	}
}

bool ff3_verbs_windows_stuck(const struct ff3_verbs_carried *c, uint64_t now)
{
	for (const struct ff3_window *w = c->windows; w; w = w->next)
		if (w->step != BOUND && now > w->since_ns + PATIENCE_NS)
			return true;
	return false;
}

void ff3_verbs_free_windows(struct ff3_verbs_carried *c)
{
	for (struct ff3_window *w = c->windows; w; w = w->next) {
		c->port->v->window_free(TAKE_PTR(w->window));
		if (w->step == PAUSE)
			ff3_loop_timer_cancel(w->conn->loop, &w->timer);
	}
}

void ff3_verbs_end_windows(struct ff3_verbs_carried *c)
{
	struct ff3_window *w;

	while ((w = c->windows)) {
		unsigned step = w->step;

		c->windows = w->next;
		if (w->next)
			w->next->prev = NULL;
		w->conn = NULL;
		if (step != BOUND)
			w->done(w, step == BIND ? -ECONNRESET : 0);
	}
}

/* --- What the daemon calls ------------------------------------------------------------------- */

bool ff3_conn_has_windows(const struct ff3_conn *conn)
{
	const struct ff3_verbs_carried *c;

	if (!conn->carrier || conn->carrier != &ff3_verbs_carrier || !conn->carried || conn->dead)
		return false;
	c = conn->carried;
	return c->port->zeros.p && c->port->n_memory > 0;
}

void ff3_window_bind(struct ff3_window *w, struct ff3_conn *conn, const void *p, uint32_t len)
{
	struct ff3_verbs_carried *c;
	int r = -ENOTCONN;

	w->conn = NULL;
	w->told_rkey = 0;
	w->prev = NULL;
	w->p = p;
	w->len = len;
	if (ff3_conn_has_windows(conn)) {
		c = ff3_verbs_carried(conn);
		r = region_of(c->port, p, len) ? c->port->v->window_new(c->port->device, &w->window) :
						 -EINVAL;
	}
	if (r < 0) {
		w->done(w, r);
		return;
	}
	w->conn = conn;
	w->next = c->windows;
	if (w->next)
		w->next->prev = w;
	c->windows = w;
	take_step(w, BIND);
}

void ff3_window_tell(struct ff3_window *w, const struct ff3_request *r)
{
	const struct ff3_frame *f = CONTAINER_OF(r, struct ff3_frame, request);

	if (w->conn != r->conn || f->n_pieces != 1 || f->pieces[0].len < FF3_VERBS_WORD)
		return;
	w->told_addr = f->pieces[0].addr;
	w->told_rkey = f->pieces[0].rkey;
}

void ff3_window_unbind(struct ff3_window *w)
{
	if (!w->conn)
		w->done(w, 0);
	else
		take_step(w, w->told_rkey ? TELL : UNBIND);
}
