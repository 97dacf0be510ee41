/* Purpose: the receiving side of a client's verbs link: replies, sleeping, and noticing that the other
 * side is gone.
 *
 * The payload of a reply is in the caller's memory when the reply is here. Sleeping is by the
 * completion channel's descriptor: armed, looked at once more, then polled. Before that the queue is
 * polled for a moment, as long as that has paid off lately, and never by more than it did.
 *
 * A dead machine sends nothing, also no end. So while replies are outstanding and nothing has been heard for a
 * second, an empty write is posted: the device says within about two seconds whether the other
 * side took it.
 *
 * Threads: the connection's reader only, conn->lock held except while it sleeps.
 * Fork/signal: see rpc_priv.h. */
#include <poll.h>
#include <sys/uio.h>

#include "../base/crc32c.h"
#include "rpc_verbs.h"

#define PROBE_ID 1u
#define PROBE_AFTER_NS FF3_NSEC_PER_SEC
#define SPIN_MAX_NS 20000u
#define SPIN_MIN_NS 500u

/* --- Frames ---------------------------------------------------------------------------------- */

/* A message's data: a whole frame, or a part of one. 1: *ret has a frame of *ret_len bytes; 0: more
 * follows. */
static int assemble(struct ff3_verbs_assembly *in, const uint8_t *data, size_t len,
		    const uint8_t **ret, size_t *ret_len)
{
	struct ff3_verbs_prefix p;
	int n;

	if (in->have == in->want) {
		n = ff3_verbs_prefix_decode(data, len, &p);
		if (n < 0)
			return n;
		data += n;
		len -= (size_t)n;
		if (len == p.frame_len) {
			*ret = data;
			*ret_len = len;
			return 1;
		}
		free(in->buf);
		in->have = 0;
		in->want = p.frame_len;
		in->buf = malloc(in->want);
		if (!in->buf)
			return -ENOMEM;
	}
	if (len > in->want - in->have)
		return -EBADMSG;
	memcpy(in->buf + in->have, data, len);
	in->have += len;
	*ret = in->buf;
	*ret_len = in->want;
	return in->have == in->want;
}

static size_t iov_total(const struct ff3_rpc_call *call)
{
	size_t len = 0;

	for (int i = 0; i < call->n_into; i++)
		len += call->into[i].iov_len;
	return len;
}

/* From the pool into the caller's memory, which may be bad: by the kernel, where it allows that. */
static int copy_out(struct ff3_rpc_conn *conn, const struct ff3_rpc_call *call, const uint8_t *from,
		    size_t len)
{
	struct iovec one = { (void *)from, len };
	ssize_t n = process_vm_writev(conn->pid, &one, 1, call->into, (unsigned long)call->n_into, 0);

	if (n == (ssize_t)len)
		return 0;
	if (n >= 0 || errno == EFAULT)
		return -EFAULT;
	for (int i = 0; i < call->n_into && len > 0; i++) {
		size_t part = MIN(call->into[i].iov_len, len);

		memcpy(call->into[i].iov_base, from, part);
		from += part;
		len -= part;
	}
	return 0;
}

/* The reply of slot's call. */
static int take_reply(struct ff3_rpc_conn *conn, struct ff3_verbs_slot *slot,
		      const struct ff3_header *h, const uint8_t *body)
{
	struct ff3_rpc_call *call = slot->call;
	int status = ff3_err_from_wire(h->status);

	if (h->body_len > call->reply_size ||
	    (h->payload_len > 0 && h->payload_len > iov_total(call)))
		return status < 0 ? status : -E2BIG;
	if (h->body_len > 0)
		memcpy(call->reply, body, h->body_len);
	call->reply_len = h->body_len;
	if (status == 0 && slot->bounce && h->payload_len > 0)
		status = copy_out(conn, call, slot->bounce, h->payload_len);
	call->payload_len = status == 0 ? h->payload_len : 0;
	return status;
}

static int take_frame(struct ff3_rpc_conn *conn, const uint8_t *frame, size_t len,
		      struct ff3_rpc_call **done)
{
	struct ff3_verbs_state *s = conn->link_state;
	struct ff3_header h;
	int r = len >= FF3_HEADER_SIZE ? ff3_header_decode(frame, &h) : -EBADMSG;

	if (r < 0)
		return r;
	if (!(h.flags & FF3_FRAME_REPLY) || len != FF3_HEADER_SIZE + (size_t)h.body_len ||
	    ff3_crc32c(0, frame + FF3_HEADER_SIZE, h.body_len) != h.body_crc)
		return -EBADMSG;
	for (unsigned i = 0; i < FF3_VERBS_CALLS; i++) {
		struct ff3_verbs_slot *slot = &s->slots[i];

		if (slot->request_id != h.request_id)
			continue;
		if (slot->call) {
			r = take_reply(conn, slot, &h, frame + FF3_HEADER_SIZE);
			ff3_rpc_end_call(conn, slot->call, r, done);
		}
		ff3_verbs_slot_free(s, slot);
		if (conn->sender)
			ff3_rpc_wake(conn->sender);
		break;
	}
	return 0;
}

/* --- Events ---------------------------------------------------------------------------------- */

/* Negative: the connection cannot go on. */
static int take_event(struct ff3_rpc_conn *conn, const struct ff3_verbs_event *e,
		      struct ff3_rpc_call **done)
{
	struct ff3_verbs_state *s = conn->link_state;
	const uint8_t *frame;
	size_t len;
	int r = 0;

	switch (e->kind) {
	case FF3_VERBS_RECV:
		r = assemble(&s->in, e->data, e->len, &frame, &len);
		if (r > 0)
			r = take_frame(conn, frame, len, done);
		s->v->give_back(s->queue, e);
		break;
	case FF3_VERBS_SENT:
		/* After an error DEAD follows. */
		if (e->id == PROBE_ID)
			s->probing = false;
		else if (e->status == 0)
			ff3_verbs_landed(conn, e->id, done);
		break;
	case FF3_VERBS_DEAD:
		r = -ECONNRESET;
		break;
	case FF3_VERBS_NONE:
		break;
	}
	if (r < 0)
		return r;
	s->heard_ns = 0;
	return 0;
}

/* Fills s->events if it is empty. */
static bool look(struct ff3_verbs_state *s)
{
	if (s->next_event < s->n_events)
		return true;
	s->next_event = 0;
	s->n_events = s->v->poll(s->queue, s->events, ARRAY_SIZE(s->events));
	if (s->n_events < 0) {
		s->events[0] = (struct ff3_verbs_event){ .kind = FF3_VERBS_DEAD };
		s->n_events = 1;
	}
	return s->n_events > 0;
}

static int take_all(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_verbs_state *s = conn->link_state;
	int r = 0;

	while (r == 0 && s->next_event < s->n_events)
		r = take_event(conn, &s->events[s->next_event++], done);
	if (r < 0)
		ff3_rpc_break(conn, r == -EBADMSG ? r : -ECONNRESET, done);
	return r < 0 ? r : 1;
}

/* Nothing has come. */
static void look_after(struct ff3_rpc_conn *conn)
{
	struct ff3_verbs_state *s = conn->link_state;
	uint64_t now = ff3_boottime_ns();

	if (s->heard_ns == 0 || s->n_slots == 0)
		s->heard_ns = now;
	if (s->probing || now - s->heard_ns < PROBE_AFTER_NS)
		return;
	/* The sender posts as well; if one is at it, that will do. */
	if (pthread_mutex_trylock(&conn->send_lock) != 0)
		return;
	s->probing = s->v->probe(s->link, PROBE_ID) == 0;
	s->heard_ns = now;
	pthread_mutex_unlock(&conn->send_lock);
}

/* --- Sleeping -------------------------------------------------------------------------------- */

bool ff3_rpc_verbs_about_to_sleep(struct ff3_rpc_conn *conn)
{
	struct ff3_verbs_state *s = conn->link_state;

	if (s->next_event < s->n_events)
		return true;
	s->v->arm(s->queue);
	return look(s);
}

/* The lock is not held. Polls as long as that is likely to pay. */
static bool spin(struct ff3_verbs_state *s)
{
	uint64_t until;

	if (s->spin_ns < SPIN_MIN_NS) {
		s->spin_ns += SPIN_MIN_NS / 16; /* tried again now and then */
		return look(s);
	}
	until = ff3_now_ns(CLOCK_MONOTONIC) + s->spin_ns;
	do {
		if (look(s)) {
			s->spin_ns = MIN(2 * s->spin_ns, SPIN_MAX_NS);
			return true;
		}
	} while (ff3_now_ns(CLOCK_MONOTONIC) < until);
	s->spin_ns /= 2;
	return false;
}

int ff3_rpc_verbs_receive(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done)
{
	struct ff3_verbs_state *s = conn->link_state;
	struct pollfd p = { .fd = conn->fd, .events = POLLIN };

	if (conn->state != FF3_CONN_UP) {
		ff3_rpc_break(conn, conn->cause, done);
		return conn->cause;
	}
	if (!look(s) && wait) {
		pthread_mutex_unlock(&conn->lock);
		if (!spin(s) && !ff3_rpc_verbs_about_to_sleep(conn) &&
		    poll(&p, 1, (int)(FF3_RPC_RECV_TICK_NS / FF3_NSEC_PER_MSEC)) > 0 && !look(s))
			/* Not a completion: the connection's own news, that arming takes in. */
			(void)ff3_rpc_verbs_about_to_sleep(conn);
		pthread_mutex_lock(&conn->lock);
		if (conn->state != FF3_CONN_UP) {
			ff3_rpc_break(conn, conn->cause, done);
			return conn->cause;
		}
	}
	if (s->next_event < s->n_events)
		return take_all(conn, done);
	look_after(conn);
	return 0;
}

int ff3_rpc_verbs_first_frame(struct ff3_verbs_state *s, uint64_t deadline_ns, uint8_t *frame,
			      size_t size, size_t *ret_len)
{
	struct pollfd p = { .fd = s->v->link_fd(s->link), .events = POLLIN };
	const uint8_t *data;
	size_t len;
	int r = 0;

	while (r == 0) {
		uint64_t now = ff3_boottime_ns();
		struct ff3_verbs_event *e;

		if (!look(s)) {
			s->v->arm(s->queue);
			if (!look(s) && now >= deadline_ns)
				return -ETIMEDOUT;
			if (s->n_events == 0)
				poll(&p, 1, (int)((deadline_ns - now) / FF3_NSEC_PER_MSEC) + 1);
			continue;
		}
		e = &s->events[s->next_event++];
		if (e->kind == FF3_VERBS_DEAD)
			return -ECONNRESET;
		if (e->kind != FF3_VERBS_RECV)
			continue;
		r = assemble(&s->in, e->data, e->len, &data, &len);
		if (r > 0 && len > size)
			r = -E2BIG;
		if (r > 0) {
			memcpy(frame, data, len);
			*ret_len = len;
		}
		s->v->give_back(s->queue, e);
	}
	return MIN(r, 0);
}
