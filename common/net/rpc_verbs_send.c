/* Purpose: sending requests over a client's verbs link.
 *
 * A request names the memory that its reply's payload goes to, and the memory that its own payload
 * lies in: the caller's own where it can be registered, else a buffer of the pool and a copy. So the daemon
 * writes and reads there by itself, and a read costs the client one send and one receive.
 *
 * Threads: one sends at a time (conn->send_lock); see rpc_verbs.h. Fork/signals: rpc_priv.h. */
#include <poll.h>
#include <sys/uio.h>

#include "../base/crc32c.h"
#include "rpc_verbs.h"

/* --- Sending --------------------------------------------------------------------------------- */

void ff3_verbs_slot_free(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot)
{
	for (unsigned i = 0; i < slot->n_memory; i++)
		s->v->release(s->device, &slot->memory[i]);
	s->n_slots--;
	s->n_replies -= slot->n_replies;
	s->bodies -= slot->body_len;
	*slot = (struct ff3_verbs_slot){ 0 };
}

static size_t iov_total(const struct iovec *iov, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

/* How many messages the longest expected reply has. Longer ones are waited for by the daemon. */
static unsigned reply_messages(const struct ff3_rpc_call *call)
{
	size_t len = FF3_VERBS_PREFIX + FF3_HEADER_SIZE +
		     (call->reply_expected ? call->reply_expected : call->reply_size);

	return (unsigned)MIN((len + FF3_VERBS_SLOT - 1) / FF3_VERBS_SLOT, (size_t)4);
}

/* Messages that its reply is taken to have. */
static unsigned expected(const struct ff3_rpc_call *call)
{
	return call->one_way || call->window ? 0 : reply_messages(call);
}

/* For n more calls, with so many messages for replies and bytes of bodies. */
static bool has_room(const struct ff3_verbs_state *s, size_t n, size_t n_replies, size_t bodies)
{
	return s->n_slots + n <= FF3_VERBS_CALLS && s->n_replies + n_replies <= FF3_VERBS_REPLY_SLOTS &&
	       s->bodies + bodies <= FF3_VERBS_BODIES;
}

/* conn->lock held. NULL: too much is under way. */
static struct ff3_verbs_slot *slot_get(struct ff3_verbs_state *s, struct ff3_rpc_call *call)
{
	unsigned n = expected(call), i = 0;

	if (!has_room(s, 1, n, call->body_len))
		return NULL;
	while (s->slots[i].request_id)
		i++;
	s->n_slots++;
	s->n_replies += n;
	s->bodies += call->body_len;
	s->slots[i].request_id = call->request_id;
	s->slots[i].call = call;
	s->slots[i].n_replies = n;
	s->slots[i].body_len = (uint32_t)call->body_len;
	return &s->slots[i];
}

/* Of the request's messages; what may be less is taken for the most. */
static size_t request_len(const struct ff3_rpc_call *call)
{
	size_t pieces = (size_t)MAX(call->n_into, call->asks ? 1 : 0) + (size_t)call->n_payload;

	return FF3_VERBS_PREFIX + 16 * MIN(pieces, 2 * (size_t)FF3_VERBS_PIECES) + FF3_HEADER_SIZE +
	       call->body_len;
}

int ff3_rpc_verbs_set_aside(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	struct ff3_verbs_state *s = conn->link_state;
	size_t n_messages = 0, longest = 0, n_replies = 0, bodies = 0;

	for (size_t i = 0; i < n; i++) {
		size_t payload = iov_total(calls[i]->payload, calls[i]->n_payload);
		size_t len = request_len(calls[i]);

		/* It travels in the message, which the device does not copy then. */
		if (payload > 0 && payload <= FF3_VERBS_INLINE_PAYLOAD)
			len = MAX(len + payload, (size_t)FF3_VERBS_SLOT);
		n_replies += expected(calls[i]);
		bodies += calls[i]->body_len;
		n_messages += (len + FF3_VERBS_SLOT - 1) / FF3_VERBS_SLOT;
		longest = MAX(longest, len);
	}
	if (!has_room(s, n, n_replies, bodies))
		return -EAGAIN;
	return n_messages <= s->v->send_room(s->link, longest) ? 0 : -EAGAIN;
}

int ff3_verbs_hold_own(struct ff3_verbs_state *s, const void *p, size_t len, struct ff3_verbs_memory *ret)
{
	if (!atomic_load_explicit(&ff3_rpc_memory_promised, memory_order_relaxed))
		return -EOPNOTSUPP;
	return s->v->hold(s->device, p, len, ret);
}

/* Names the caller's own memory. False: some of it cannot be. */
static bool name_own(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot, const struct iovec *iov,
		     int n, struct ff3_verbs_piece *pieces, uint8_t *ret_n)
{
	unsigned before = slot->n_memory;

	if (n > (int)FF3_VERBS_PIECES)
		return false;
	for (int i = 0; i < n; i++) {
		struct ff3_verbs_memory *m = &slot->memory[slot->n_memory];

		if (ff3_verbs_hold_own(s, iov[i].iov_base, iov[i].iov_len, m) < 0) {
			while (slot->n_memory > before)
				s->v->release(s->device, &slot->memory[--slot->n_memory]);
			return false;
		}
		slot->n_memory++;
		pieces[i] = (struct ff3_verbs_piece){ (uintptr_t)iov[i].iov_base, m->rkey,
						      (uint32_t)iov[i].iov_len };
	}
	*ret_n = (uint8_t)n;
	return true;
}

static int take_pool(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot, size_t len, uint8_t **ret)
{
	struct ff3_verbs_memory *m = &slot->memory[slot->n_memory];
	int r = s->v->pool_get(s->device, len, m);

	if (r < 0)
		return r;
	slot->n_memory++;
	*ret = m->p;
	atomic_fetch_add_explicit(&s->v->counters->bounces, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->v->counters->bounced_bytes, len, memory_order_relaxed);
	return 0;
}

int ff3_verbs_bounce(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot, size_t len)
{
	return take_pool(s, slot, len, &slot->bounce);
}

/* Names a buffer of the pool. */
static int name_pool(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot, size_t len,
		     struct ff3_verbs_piece *piece, uint8_t *ret_n, uint8_t **ret)
{
	const struct ff3_verbs_memory *m = &slot->memory[slot->n_memory];
	int r = take_pool(s, slot, len, ret);

	if (r < 0)
		return r;
	*piece = (struct ff3_verbs_piece){ (uintptr_t)m->p, m->rkey, (uint32_t)len };
	*ret_n = 1;
	return 0;
}

/* Where the reply's payload goes. */
static int name_sink(struct ff3_rpc_conn *conn, struct ff3_verbs_slot *slot,
		     struct ff3_rpc_call *call, struct ff3_verbs_prefix *p)
{
	struct ff3_verbs_state *s = conn->link_state;
	size_t len = iov_total(call->into, call->n_into);

	if (call->asks) {
		p->n_sink = 1;
		return ff3_verbs_name_word(conn, call, &p->sink[0]);
	}
	if (len == 0)
		return 0;
	if (!call->careful && name_own(s, slot, call->into, call->n_into, p->sink, &p->n_sink))
		return 0;
	return name_pool(s, slot, len, &p->sink[0], &p->n_sink, &slot->bounce);
}

/* The payload out of the caller's memory, which may be bad: by the kernel, where it allows that. */
static int copy_in(const struct ff3_rpc_conn *conn, const struct ff3_rpc_call *call, uint8_t *to, size_t len)
{
	struct iovec one = { to, len };
	ssize_t n = process_vm_readv(conn->pid, &one, 1, call->payload, (unsigned long)call->n_payload, 0);

	if (n == (ssize_t)len)
		return 0;
	if (n >= 0 || errno == EFAULT)
		return -EFAULT;
	for (int i = 0; i < call->n_payload; i++) {
		memcpy(to, call->payload[i].iov_base, call->payload[i].iov_len);
		to += call->payload[i].iov_len;
	}
	return 0;
}

/* Where the request's payload is. */
static int name_source(struct ff3_rpc_conn *conn, struct ff3_verbs_slot *slot, struct ff3_rpc_call *call,
		       size_t len, struct ff3_verbs_prefix *p)
{
	struct ff3_verbs_state *s = conn->link_state;
	uint8_t *copy;
	int r;

	if (!call->careful &&
	    name_own(s, slot, call->payload, call->n_payload, p->source, &p->n_source))
		return 0;
	r = name_pool(s, slot, len, &p->source[0], &p->n_source, &copy);
	return r < 0 ? r : copy_in(conn, call, copy, len);
}

static void sleep_until_room(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine,
			     uint64_t timeout_ns)
{
	struct pollfd p = { .fd = mine ? conn->fd : w->event_fd, .events = POLLIN };
	uint64_t n;

	if (mine && ff3_rpc_verbs_about_to_sleep(conn))
		return;
	/* A tick: completions alone wake nobody. */
	timeout_ns = MIN(timeout_ns, FF3_RPC_RECV_TICK_NS);
	if (poll(&p, 1, (int)(timeout_ns / FF3_NSEC_PER_MSEC) + 1) > 0 && !mine)
		(void)!read(w->event_fd, &n, sizeof n);
}

int ff3_verbs_wait_room(struct ff3_rpc_conn *conn, uint64_t until_ns)
{
	struct ff3_rpc_stuck stuck = { .w = NULL };
	int r = ff3_rpc_wait_to_send(conn, &stuck, until_ns, sleep_until_room);

	ff3_rpc_stuck_done(&stuck);
	return r;
}

/* Sends n pieces of memory, in as many messages as they take. */
static int send_messages(struct ff3_rpc_conn *conn, struct iovec *iov, int n, uint64_t until,
			 bool *ret_begun)
{
	struct ff3_verbs_state *s = conn->link_state;
	int r = 0;

	while (n > 0 && r == 0) {
		struct iovec part[3];
		size_t room = FF3_VERBS_SLOT;
		int k = 0;

		for (; k < n && room > 0; k++) {
			part[k] = (struct iovec){ iov[k].iov_base, MIN(iov[k].iov_len, room) };
			room -= part[k].iov_len;
		}
		r = s->v->send(s->link, part, k, 0);
		if (r == -EAGAIN) {
			r = ff3_verbs_wait_room(conn, until);
			continue;
		}
		if (r < 0)
			break;
		*ret_begun = true;
		for (int i = 0; i < k; i++) {
			iov[i].iov_base = (char *)iov[i].iov_base + part[i].iov_len;
			iov[i].iov_len -= part[i].iov_len;
		}
		while (n > 0 && iov->iov_len == 0)
			iov++, n--;
	}
	return r;
}

static int send_named(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call,
		      struct ff3_verbs_slot *slot, uint64_t until, bool *ret_begun)
{
	uint8_t head[FF3_VERBS_PREFIX_MAX + FF3_HEADER_SIZE], data[FF3_VERBS_INLINE_PAYLOAD];
	size_t payload_len = iov_total(call->payload, call->n_payload), len, n;
	bool inside = payload_len <= FF3_VERBS_INLINE_PAYLOAD;
	struct ff3_verbs_prefix p = { 0 };
	struct iovec iov[3];
	int r = name_sink(conn, slot, call, &p), n_iov;

	len = inside ? payload_len : 0;
	if (r == 0 && len > 0)
		r = copy_in(conn, call, data, len);
	if (r == 0 && !inside)
		r = name_source(conn, slot, call, payload_len, &p);
	if (r < 0)
		return r;
	p.frame_len = (uint32_t)(FF3_HEADER_SIZE + call->body_len + len);
	n = ff3_verbs_prefix_encode(head, &p);
	ff3_header_encode(head + n, &(struct ff3_header){
					    .op = call->op,
					    .flags = call->one_way ? FF3_FRAME_ONE_WAY : 0,
					    .request_id = call->request_id,
					    .body_len = (uint32_t)call->body_len,
					    .payload_len = (uint32_t)payload_len,
					    .body_crc = ff3_crc32c(0, call->body, call->body_len),
				    });
	iov[0] = (struct iovec){ head, n + FF3_HEADER_SIZE };
	iov[1] = (struct iovec){ (void *)call->body, call->body_len };
	iov[2] = (struct iovec){ data, len };
	n_iov = len > 0 ? 3 : call->body_len > 0 ? 2 : 1;
	return send_messages(conn, iov, n_iov, until, ret_begun);
}

int ff3_rpc_verbs_send(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun)
{
	struct ff3_verbs_state *s = conn->link_state;
	uint64_t until = ff3_boottime_ns() + FF3_RPC_SEND_STALL_NS;
	struct ff3_verbs_slot *slot;
	int r = 0;

	if (call->body_len > FF3_BODY_MAX ||
	    iov_total(call->payload, call->n_payload) > FF3_PAYLOAD_MAX)
		return -E2BIG;
	if (call->deadline_ns)
		until = MIN(until, call->deadline_ns);
	for (;;) {
		pthread_mutex_lock(&conn->lock);
		slot = slot_get(s, call);
		if (slot && s->n_slots == 1)
			s->heard_ns = 0;
		pthread_mutex_unlock(&conn->lock);
		if (slot)
			break;
		r = ff3_verbs_wait_room(conn, until);
		if (r < 0)
			return r;
	}
	r = call->window ? ff3_verbs_read_window(conn, call, slot, until) :
			   send_named(conn, call, slot, until, ret_begun);
	/* No reply will give it back. */
	if (call->one_way || (r < 0 && !*ret_begun)) {
		pthread_mutex_lock(&conn->lock);
		if (slot->request_id == call->request_id)
			ff3_verbs_slot_free(s, slot);
		pthread_mutex_unlock(&conn->lock);
	}
	if (r == -ENOMEM && call->insists) {
		ff3_rpc_note_link(conn->peer, FF3_LINK_VERBS, r, FF3_VERBS_NO_MEMORY);
		*ret_begun = true; /* breaks it */
	}
	/* The kernel takes a device from a process that has changed its user since it opened it. That is the connection's
	 * end, and not the request's: another one may do. */
	if (r == -EACCES) {
		ff3_rpc_note_link(conn->peer, FF3_LINK_VERBS, r, FF3_VERBS_CHANGED);
		r = -ECONNRESET;
	}
	return r;
}
