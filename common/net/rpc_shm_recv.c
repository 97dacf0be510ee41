/* Purpose: replies out of the ring of a link over shared memory, straight into the callers' memory.
 *
 * A frame is taken in as far as it is there: header, body, then its payload, which follows in the
 * ring, or lies in the place that the request has named. conn->rx says whose payload arrives.
 *
 * Waiting: first awake (spin.h), if the daemon runs on another core; then asleep on the socket.
 *
 * Threads: the connection's reader only; conn->lock is held except while waiting and while large
 * payloads are copied, whose calls are `exposed` meanwhile. Fork/signal: see rpc_priv.h. */
#include <sched.h>

#include "../base/crc32c.h"
#include "../base/probe.h"
#include "rpc_shm.h"

/* Payloads from this size on are copied without the lock. */
#define COPY_UNLOCKED (32u * 1024u)
#define LOOK_EVERY 32u
#define LOOK_NS (20 * FF3_NSEC_PER_MSEC)

/* Copies len bytes to bytes [skip, skip + len) of the call's buffers: from `from`, or out of e. */
static void copy_out(const struct ff3_rpc_call *call, size_t skip, size_t len, const uint8_t *from,
		     struct ff3_shm_end *e)
{
	for (int i = 0; i < call->n_into && len > 0; i++) {
		size_t size = call->into[i].iov_len, part;
		uint8_t *to = (uint8_t *)call->into[i].iov_base + skip;

		if (skip >= size) {
			skip -= size;
			continue;
		}
		part = MIN(size - skip, len);
		if (from) {
			memcpy(to, from, part);
			from += part;
		} else {
			ff3_shm_get(e, to, part);
		}
		len -= part;
		skip = 0;
	}
}

/* As copy_out of all len bytes from `from`; with their sums, where they are wanted and one buffer takes them. */
static void copy_whole(struct ff3_rpc_call *call, size_t len, const uint8_t *from)
{
	uint64_t blocks = ((uint64_t)call->sums_offset + len + FF3_BLOCK - 1) / FF3_BLOCK;

	if (call->sums && blocks <= call->sums_max && call->into[0].iov_len >= len)
		call->n_sums = (uint32_t)ff3_crc32c_copy(call->into[0].iov_base, from, len,
							 call->sums_offset, call->sums);
	else
		copy_out(call, 0, len, from, NULL);
}

/* As copy_out or, if from is given, copy_whole; without the lock if it takes long. The cause if the connection
 * broke meanwhile. */
static int copy_exposed(struct ff3_rpc_conn *conn, size_t skip, size_t len, const uint8_t *from,
			struct ff3_shm_end *e)
{
	struct ff3_rpc_call *call = conn->rx.call;
	bool unlock = len >= COPY_UNLOCKED;

	if (unlock) {
		call->exposed = true;
		pthread_mutex_unlock(&conn->lock);
	}
	if (from)
		copy_whole(call, len, from);
	else
		copy_out(call, skip, len, NULL, e);
	if (!unlock)
		return 0;
	pthread_mutex_lock(&conn->lock);
	call->exposed = false;
	return conn->state == FF3_CONN_UP ? 0 : conn->cause;
}

/* Whether the payload fits, and may be written where it is to go. */
static int check_room(const struct ff3_rpc_call *call, size_t len)
{
	int r = 0;

	for (int i = 0; i < call->n_into && len > 0 && r == 0; i++) {
		size_t part = MIN(call->into[i].iov_len, len);

		r = ff3_user_writable(call->into[i].iov_base, part);
		len -= part;
	}
	return r < 0 ? r : len > 0 ? -E2BIG : 0;
}

static void freed_room(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;

	if (ff3_shm_consumed(&s->down))
		ff3_rpc_shm_bell(conn);
}

/* --- Parts of a frame ---------------------------------------------------------------------- */

static bool is_placed(const struct ff3_shm_frame *f)
{
	return f->h.flags & FF3_FRAME_PLACE;
}

static int begin_frame(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_shm_frame *f = &s->frame;
	struct ff3_rpc_rx *rx = &conn->rx;
	uint8_t head[FF3_HEADER_SIZE];
	size_t body;
	int r;

	AnnotateHappensAfter(__FILE__, __LINE__, s);
	ff3_shm_get(&s->down, head, sizeof head);
	*f = (struct ff3_shm_frame){ .begun = true };
	r = ff3_header_decode(head, &f->h);
	if (r < 0)
		return r;
	if (!(f->h.flags & FF3_FRAME_REPLY) || (is_placed(f) && f->h.body_len < FF3_SHM_PLACE))
		return -EBADMSG;
	rx->call = ff3_rpc_find_call(conn, f->h.request_id);
	rx->status = ff3_err_from_wire(f->h.status);
	rx->payload_len = f->h.payload_len;
	rx->payload_have = 0;
	body = f->h.body_len - (is_placed(f) ? FF3_SHM_PLACE : 0);
	if (rx->call && body > rx->call->reply_size && rx->status == 0)
		rx->status = -E2BIG;
	if (rx->call && rx->call->reply_size >= body)
		rx->call->reply_len = body;
	return 0;
}

/* Takes up to n bytes of the body. */
static void take_body(struct ff3_rpc_conn *conn, size_t n)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_shm_frame *f = &s->frame;
	const struct ff3_rpc_call *call = conn->rx.call;
	uint32_t prefix = is_placed(f) ? FF3_SHM_PLACE : 0;
	uint8_t waste[1024], *to = waste;

	n = MIN(n, (size_t)(f->h.body_len - f->body_have));
	if (f->body_have < prefix) {
		n = MIN(n, (size_t)(prefix - f->body_have));
		to = f->prefix + f->body_have;
	} else if (call && call->reply_len + prefix == f->h.body_len) {
		to = (uint8_t *)call->reply + (f->body_have - prefix);
	} else {
		n = MIN(n, sizeof waste);
	}
	ff3_shm_get(&s->down, to, n);
	f->crc = ff3_crc32c(f->crc, to, n);
	f->body_have += (uint32_t)n;
}

/* The payload lies where the request wanted it. */
static int take_placed(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_rpc_rx *rx = &conn->rx;
	struct ff3_dec d = ff3_dec_init(s->frame.prefix, sizeof s->frame.prefix);
	const struct ff3_rpc_call *call = rx->call;
	size_t len = rx->payload_len;
	uint32_t at;
	int r = 0;

	ff3_get_u32(&d, &at);
	if (call && at + (uint64_t)len > (uint64_t)call->place_pages * FF3_SHM_PAGE)
		return -EBADMSG;
	if (call && rx->status == 0)
		r = copy_exposed(conn, 0, len,
				 s->data + (size_t)call->place_page * FF3_SHM_PAGE + at, NULL);
	rx->payload_have = len;
	return r;
}

static int body_done(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_shm_frame *f = &s->frame;
	struct ff3_rpc_rx *rx = &conn->rx;
	int r = 0;

	if (f->crc != f->h.body_crc)
		return -EBADMSG;
	if (UNLIKELY(f->h.flags & FF3_FRAME_FDS)) {
		/* They were sent before the frame was shown. */
		while (r >= 0 && rx->fds.n == 0)
			r = ff3_rpc_shm_take_bytes(conn, MSG_DONTWAIT) ?: -EBADMSG;
		if (r < 0)
			return r;
		r = ff3_rpc_give_fds(rx, rx->call);
		rx->status = rx->status < 0 ? rx->status : r;
	}
	if (rx->call && rx->status == 0 && rx->payload_len > 0)
		rx->status = check_room(rx->call, rx->payload_len);
	return is_placed(f) ? take_placed(conn) : 0;
}

static int take_payload(struct ff3_rpc_conn *conn, size_t n)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_rpc_rx *rx = &conn->rx;
	int r = 0;

	n = MIN(n, rx->payload_len - rx->payload_have);
	n = MIN(n, (size_t)FF3_SHM_PIECE);
	if (rx->call && rx->status == 0)
		r = copy_exposed(conn, rx->payload_have, n, NULL, &s->down);
	else
		s->down.pos += n;
	rx->payload_have += n;
	if (n >= COPY_UNLOCKED)
		freed_room(conn);
	return r;
}

static void end_frame(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_rpc_rx *rx = &conn->rx;
	struct ff3_rpc_call *call = TAKE_PTR(rx->call);

	s->frame.begun = false;
	if (!call) {
		ff3_slots_reclaim(&s->slots, s->frame.h.request_id);
	} else {
		if (call->place_pages > 0)
			ff3_slots_give(&s->slots, call->place_page, call->place_pages);
		call->place_pages = 0;
		call->payload_len = rx->status == 0 ? rx->payload_len : 0;
		ff3_rpc_end_call(conn, call, rx->status, done);
	}
	rx->payload_len = rx->payload_have = 0;
}

/* Takes in what is there. 1: there was something; 0; negative: it makes no sense. */
static int take_all(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct ff3_shm_frame *f = &s->frame;
	uint64_t begin = s->down.pos;
	int r = 0;

	while (r == 0) {
		ssize_t n = ff3_shm_filled(&s->down);
		bool head = !f->begun;

		if (n < 0)
			return (int)n;
		if (n < (head ? (ssize_t)FF3_HEADER_SIZE : 1))
			break;
		if (head)
			r = begin_frame(conn);
		else if (f->body_have < f->h.body_len)
			take_body(conn, (size_t)n);
		else
			r = take_payload(conn, (size_t)n);
		while (r == 0 && f->body_have < f->h.body_len && ff3_shm_filled(&s->down) > 0)
			take_body(conn, (size_t)ff3_shm_filled(&s->down));
		if (r == 0 && f->body_have == f->h.body_len && !f->checked) {
			f->checked = true;
			r = body_done(conn);
		}
		if (r == 0 && f->checked && conn->rx.payload_have == conn->rx.payload_len)
			end_frame(conn, done);
	}
	if (s->down.pos != begin)
		freed_room(conn);
	return r < 0 ? r : s->down.pos != begin;
}

/* --- Waiting ------------------------------------------------------------------------------- */

static bool is_ready(const struct ff3_rpc_conn *conn)
{
	const struct ff3_rpc_shm *s = conn->link_state;
	size_t least = s->frame.begun ? 1 : FF3_HEADER_SIZE;
	ssize_t n = ff3_shm_filled(&s->down);

	return n < 0 || n >= (ssize_t)least;
}

int ff3_rpc_shm_take_bytes(struct ff3_rpc_conn *conn, int flags)
{
	struct ff3_rpc_shm *s = conn->link_state;
	char bytes[64];
	struct iovec iov = { bytes, sizeof bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union ff3_fds_control control;
	ssize_t n;
	int r;

	ff3_fds_expect(&msg, &control);
	atomic_store(&s->is_told, false);
	n = recvmsg(conn->fd, &msg, flags | MSG_CMSG_CLOEXEC);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS ?
			       0 :
			       -errno;
	r = ff3_fds_collect(&conn->rx.fds, &msg);
	return r < 0 ? r : 1;
}

bool ff3_rpc_shm_about_to_sleep(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;

	s->asked = true;
	ff3_shm_ask(&s->down.ctl->consumer_sleeps);
	return is_ready(conn);
}

/* Not asleep any more. */
static void awake(struct ff3_rpc_shm *s)
{
	if (!s->asked)
		return;
	s->asked = false;
	if (!atomic_exchange_explicit(&s->down.ctl->consumer_sleeps, 0, memory_order_relaxed))
		atomic_store_explicit(&s->is_told, true, memory_order_relaxed);
}

int ff3_rpc_shm_look(struct ff3_rpc_conn *conn)
{
	return is_ready(conn) ? 1 : ff3_rpc_shm_is_apart(conn->link_state) ? 0 : -1;
}

/* 0: nothing came. Without the lock. */
static int wait_more(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;
	int r = 1;

	if (!ff3_rpc_spin(&conn, 1, NULL, NULL) && !ff3_rpc_shm_about_to_sleep(conn))
		r = ff3_rpc_sleep_local(conn) ? ff3_rpc_shm_take_bytes(conn, MSG_DONTWAIT) : 0;
	awake(s);
	return r;
}

/* The ring is empty. The socket has something only if it was asked for, or because the daemon has gone: that
 * is seen in time if it is looked for now and then. */
static int look_at_socket(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE);

	/* Some ask often, some seldom. */
	if (!atomic_load_explicit(&s->is_told, memory_order_relaxed) && ++s->n_vain % LOOK_EVERY != 0 &&
	    now - s->looked_ns < LOOK_NS)
		return 0;
	s->looked_ns = now;
	return ff3_rpc_shm_take_bytes(conn, MSG_DONTWAIT);
}

int ff3_rpc_receive_shm(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done)
{
	int r;

	if (conn->state == FF3_CONN_UP)
		awake(conn->link_state);
	r = conn->state == FF3_CONN_UP ? take_all(conn, done) : conn->cause;
	if (r == 0) {
		int some;

		pthread_mutex_unlock(&conn->lock);
		r = wait ? wait_more(conn) : look_at_socket(conn);
		pthread_mutex_lock(&conn->lock);
		some = conn->state == FF3_CONN_UP ? take_all(conn, done) : conn->cause;
		r = r < 0 ? r : some ? some : r;
	}
	/* What was told may have been meant for it. */
	if (conn->sender)
		ff3_rpc_wake(conn->sender);
	if (r < 0)
		ff3_rpc_break(conn, r, done);
	return r;
}
