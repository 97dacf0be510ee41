/* Purpose: receiving replies: one system call per reply or for several, straight into the
 * callers' memory wherever possible.
 *
 * Replies mostly come in the order of the requests, and a caller often knows the length of the
 * reply's body (ff3_rpc_call.reply_expected). So the reader guesses what comes and gives the
 * kernel, for each of the next calls, a piece of rx.buf for header and body followed by the
 * caller's own buffers. Where the guess was right, nothing is copied; where it was wrong, the
 * bytes are gathered into rx.buf again and parsed from there, and for some receives nothing is
 * guessed. Payloads that are known to come are received in full by one call.
 *
 * A caller's bad buffer shows as EFAULT, and only for that call: recvmsg leaves the bytes in
 * the socket then, and copies from rx.buf are made by the kernel too (process_vm_writev), where it
 * allows that.
 *
 * Threads: the connection's reader only; conn->lock is held except in the kernel.
 * Fork/signal: see rpc_priv.h. */
#include <poll.h>
#include <sys/mman.h>

#include "../base/crc32c.h"
#include "rpc_priv.h"

/* Receives without guessing after a wrong guess. */
#define PLAIN_ROUNDS 16u
/* A payload remainder from this size on is awaited in full, without reading further. */
#define REMAINDER_ALONE (32u * 1024u)
/* A payload from this size on is not read into rx.buf on purpose. */
#define LARGE_PAYLOAD (16u * 1024u)

struct ahead {
	struct ff3_rpc_call *call;
	size_t head; /* header and expected body, in rx.buf */
	size_t payload;
};

struct plan {
	struct iovec iov[FF3_RPC_IOV];
	int n;
	size_t remainder; /* of the payload that is arriving */
	struct ahead ahead[FF3_RPC_AHEAD];
	unsigned n_ahead;
	bool whole; /* return only with everything */
};

static size_t iov_total(const struct iovec *iov, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

/* Appends bytes [skip, skip + len) of iov to out, which has room for max pieces. Returns how many
 * bytes that covered. */
static size_t iov_slice(const struct iovec *iov, int n, size_t skip, size_t len,
			struct iovec *out, int max, int *n_out)
{
	size_t covered = 0;

	for (int i = 0; i < n && covered < len && *n_out < max; i++) {
		size_t part;

		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - skip, len - covered);
		out[(*n_out)++] = (struct iovec){ (char *)iov[i].iov_base + skip, part };
		covered += part;
		skip = 0;
	}
	return covered;
}

void ff3_rpc_rx_reset(struct ff3_rpc_rx *rx)
{
	ff3_fds_clear(&rx->fds);
	*rx = (struct ff3_rpc_rx){ .buf = rx->buf,
				   .size = rx->size,
				   .spare = rx->spare,
				   .spare_size = rx->spare_size };
}

/* Receive buffers come from the kernel: a signal handler that reads may have interrupted malloc. */
static uint8_t *buf_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void buf_free(uint8_t *p, size_t size)
{
	if (p)
		munmap(p, size);
}

void ff3_rpc_rx_done(struct ff3_rpc_rx *rx)
{
	ff3_fds_clear(&rx->fds);
	buf_free(rx->buf, rx->size);
	buf_free(rx->spare, rx->spare_size);
	*rx = (struct ff3_rpc_rx){ 0 };
}

static int rx_reserve(struct ff3_rpc_rx *rx, size_t size)
{
	uint8_t *p;

	size = MAX(size, (size_t)FF3_RPC_STAGING);
	if (rx->start > 0) {
		memmove(rx->buf, rx->buf + rx->start, rx->end - rx->start);
		rx->end -= rx->start;
		rx->start = 0;
	}
	if (rx->size == size || (rx->size > size && rx->end > 0))
		return 0;
	p = buf_new(size);
	if (!p)
		return -ENOMEM;
	if (rx->end > 0)
		memcpy(p, rx->buf, rx->end);
	buf_free(rx->buf, rx->size);
	rx->buf = p;
	rx->size = size;
	return 0;
}

/* --- What to receive ----------------------------------------------------------------------- */

static void plan_remainder(struct ff3_rpc_rx *rx, struct plan *plan)
{
	size_t left = rx->payload_len - rx->payload_have;

	if (rx->call && rx->status == 0) {
		plan->remainder = iov_slice(rx->call->into, rx->call->n_into, rx->payload_have,
					    left, plan->iov, FF3_RPC_IOV, &plan->n);
		rx->call->exposed = true;
	} else {
		plan->remainder = MIN(left, rx->size);
		plan->iov[plan->n++] = (struct iovec){ rx->buf, plan->remainder };
	}
}

static bool is_large(const struct ff3_rpc_call *call)
{
	return call->n_into > 0 && iov_total(call->into, call->n_into) >= LARGE_PAYLOAD;
}

/* Guesses the replies of the next calls. */
static void plan_ahead(struct ff3_rpc_conn *conn, struct plan *plan)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	struct ff3_rpc_call *call = conn->first;
	size_t used = 0;

	for (; call && plan->n_ahead < FF3_RPC_AHEAD; call = call->next) {
		struct ahead *a = &plan->ahead[plan->n_ahead];
		int n = plan->n;

		if (call == rx->call)
			continue;
		a->call = call;
		a->head = FF3_HEADER_SIZE + call->reply_expected;
		if (call->reply_expected == 0 || rx->plain > 0 || used + a->head > rx->size)
			break;
		a->payload = iov_total(call->into, call->n_into);
		n++;
		if (n < FF3_RPC_IOV &&
		    iov_slice(call->into, call->n_into, 0, a->payload, plan->iov, FF3_RPC_IOV,
			      &n) != a->payload)
			break;
		if (n >= FF3_RPC_IOV)
			break;
		plan->iov[plan->n] = (struct iovec){ rx->buf + used, a->head };
		plan->n = n;
		plan->n_ahead++;
		used += a->head;
		call->exposed = true;
	}
	/* What cannot be guessed comes into the buffer; of large payloads only what precedes. */
	if (call && plan->n < FF3_RPC_IOV && plan->n_ahead < FF3_RPC_AHEAD && used < rx->size) {
		size_t room = rx->size - used;

		if (is_large(call))
			room = MIN(room, FF3_HEADER_SIZE + call->reply_expected);
		plan->iov[plan->n++] = (struct iovec){ rx->buf + used, room };
	}
}

/* The beginning of a frame is in rx.buf already. */
static void plan_rest_of_head(struct ff3_rpc_conn *conn, struct plan *plan)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	size_t len = rx->size - rx->end, head;
	struct ff3_header h;

	if (conn->first && is_large(conn->first)) {
		head = FF3_HEADER_SIZE + conn->first->reply_expected;
		if (rx->end >= FF3_HEADER_SIZE && ff3_header_decode(rx->buf, &h) == 0)
			head = FF3_HEADER_SIZE + h.body_len;
		if (head > rx->end)
			len = MIN(len, head - rx->end);
	}
	plan->iov[plan->n++] = (struct iovec){ rx->buf + rx->end, len };
}

/* conn->lock held. */
static int make_plan(struct ff3_rpc_conn *conn, struct plan *plan)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	int r;

	plan->n = 0;
	plan->n_ahead = 0;
	plan->remainder = 0;
	plan->whole = false;
	if (rx->start > 0 || !rx->buf) {
		r = rx_reserve(rx, 0);
		if (r < 0)
			return r;
	}
	if (rx->end > 0) {
		plan_rest_of_head(conn, plan);
		return 0;
	}
	if (rx->payload_have < rx->payload_len) {
		plan_remainder(rx, plan);
		plan->whole = plan->remainder >= REMAINDER_ALONE || !rx->call || rx->status < 0 ||
			      plan->remainder < rx->payload_len - rx->payload_have;
	}
	if (!plan->whole)
		plan_ahead(conn, plan);
	if (plan->n == 0)
		/* No call is outstanding: only the end of the connection can come. */
		plan->iov[plan->n++] = (struct iovec){ rx->buf, rx->size };
	/* A short remainder with nothing behind it. */
	if (plan->remainder > 0 && plan->n_ahead == 0 && plan->n > 0 &&
	    iov_total(plan->iov, plan->n) == plan->remainder)
		plan->whole = true;
	return 0;
}

/* --- What came ----------------------------------------------------------------------------- */

/* Copies from rx.buf into a caller's memory, which may be bad. */
static int copy_out(struct ff3_rpc_conn *conn, const uint8_t *src, size_t len)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	size_t done = 0;

	while (done < len) {
		struct iovec to[FF3_RPC_IOV], from = { (void *)(src + done), 0 };
		int n = 0;
		size_t part = iov_slice(rx->call->into, rx->call->n_into, rx->payload_have + done,
					len - done, to, FF3_RPC_IOV, &n);
		ssize_t r;

		from.iov_len = part;
		r = process_vm_writev(conn->pid, &from, 1, to, (unsigned long)n, 0);
		if (r < 0 && errno != EFAULT) {
			/* Not allowed here. */
			const uint8_t *p = from.iov_base;

			for (int i = 0; i < n; i++) {
				memcpy(to[i].iov_base, p, to[i].iov_len);
				p += to[i].iov_len;
			}
		} else if (r != (ssize_t)part) {
			return -EFAULT;
		}
		done += part;
	}
	return 0;
}

static void payload_done(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_rpc_rx *rx = &conn->rx;

	if (rx->call) {
		rx->call->payload_len = rx->status == 0 ? rx->payload_len : 0;
		ff3_rpc_end_call(conn, TAKE_PTR(rx->call), rx->status, done);
	}
	rx->payload_len = rx->payload_have = 0;
}

struct ff3_rpc_call *ff3_rpc_find_call(struct ff3_rpc_conn *conn, uint64_t id)
{
	struct ff3_rpc_call *call = conn->first;

	while (call && call->request_id != id)
		call = call->next;
	return call;
}

int ff3_rpc_give_fds(struct ff3_rpc_rx *rx, struct ff3_rpc_call *call)
{
	struct ff3_fds fds = ff3_fds_next(&rx->fds);
	bool cut = fds.cut || fds.n == 0;

	if (call && !cut && fds.n <= call->max_fds) {
		memcpy(call->fds, fds.fd, fds.n * sizeof *call->fds);
		call->n_fds = fds.n;
		return 0;
	}
	ff3_fds_close(&fds);
	return call && call->max_fds > 0 ? (cut ? -EMFILE : -E2BIG) : 0;
}

/* Gives the reply's body to its call, and begins its payload. */
static void begin_reply(struct ff3_rpc_conn *conn, const struct ff3_header *h,
			const uint8_t *body, struct ff3_rpc_call **done)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	struct ff3_rpc_call *call = ff3_rpc_find_call(conn, h->request_id);

	rx->call = call;
	rx->status = ff3_err_from_wire(h->status);
	if (UNLIKELY(h->flags & FF3_FRAME_FDS)) {
		int r = ff3_rpc_give_fds(rx, call);

		rx->status = rx->status < 0 ? rx->status : r;
	}
	rx->payload_len = h->payload_len;
	rx->payload_have = 0;
	if (call && (h->body_len > call->reply_size ||
		     (h->payload_len > 0 && h->payload_len > iov_total(call->into, call->n_into)))) {
		rx->status = rx->status < 0 ? rx->status : -E2BIG;
	} else if (call) {
		if (h->body_len > 0)
			memcpy(call->reply, body, h->body_len);
		call->reply_len = h->body_len;
	}
	if (h->payload_len == 0)
		payload_done(conn, done);
}

/* Parses rx.buf[start, end). */
static int parse_frames(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	struct ff3_header h;
	int r;

	for (;;) {
		size_t have = rx->end - rx->start, n;
		const uint8_t *p = rx->buf + rx->start;

		if (rx->payload_have < rx->payload_len) {
			n = MIN(have, rx->payload_len - rx->payload_have);
			if (n > 0 && rx->call && rx->status == 0)
				rx->status = copy_out(conn, p, n);
			rx->payload_have += n;
			rx->start += n;
			if (rx->payload_have < rx->payload_len)
				break;
			payload_done(conn, done);
			continue;
		}
		if (have < FF3_HEADER_SIZE)
			break;
		r = ff3_header_decode(p, &h);
		if (r < 0)
			return r;
		n = FF3_HEADER_SIZE + h.body_len;
		if (have < n) {
			if (n > rx->size)
				return rx_reserve(rx, n);
			break;
		}
		if (!(h.flags & FF3_FRAME_REPLY) ||
		    ff3_crc32c(0, p + FF3_HEADER_SIZE, h.body_len) != h.body_crc)
			return -EBADMSG;
		rx->start += n;
		begin_reply(conn, &h, p + FF3_HEADER_SIZE, done);
	}
	if (rx->start == rx->end)
		rx->start = rx->end = 0;
	return 0;
}

/* What makes no sense because the application has changed it under our hands (buffers that several
 * reads share) is no fault of the peer's: it is asked again. */
static int parse(struct ff3_rpc_conn *conn, struct ff3_rpc_call **done)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	int r = parse_frames(conn, done);

	if (r < 0 && rx->exposed)
		return -ECONNRESET;
	if (rx->start == rx->end)
		rx->exposed = false;
	return r;
}

/* The guess from ahead[i] on was wrong: puts the n bytes that came there into rx.buf, in the order
 * in which they came. pos: where ahead[i]'s head is in rx.buf. */
static int gather(struct ff3_rpc_conn *conn, const struct plan *plan, unsigned i, size_t pos,
		  size_t n)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	size_t size = MAX(n, (size_t)FF3_RPC_STAGING), have = 0;
	uint8_t *p = rx->spare;

	if (rx->spare_size >= size) {
		size = rx->spare_size;
	} else {
		p = buf_new(size);
		if (!p)
			return -ENOMEM;
		buf_free(rx->spare, rx->spare_size);
	}
	for (; i < plan->n_ahead && have < n; i++) {
		const struct ahead *a = &plan->ahead[i];
		size_t part = MIN(a->head, n - have), left;

		memcpy(p + have, rx->buf + pos, part);
		have += part;
		pos += part;
		left = MIN(a->payload, n - have);
		for (int k = 0; k < a->call->n_into && left > 0; k++) {
			part = MIN(a->call->into[k].iov_len, left);
			memcpy(p + have, a->call->into[k].iov_base, part);
			have += part;
			left -= part;
		}
	}
	memcpy(p + have, rx->buf + pos, n - have);
	rx->spare = rx->buf;
	rx->spare_size = rx->size;
	rx->buf = p;
	rx->size = size;
	rx->start = 0;
	rx->end = n;
	rx->exposed = true;
	rx->plain = PLAIN_ROUNDS;
	return 0;
}

/* Whether the complete head at p is what a expects, given that n bytes came behind it. */
static bool as_guessed(const struct ahead *a, const uint8_t *p, size_t n, struct ff3_header *h)
{
	return ff3_header_decode(p, h) == 0 && (h->flags & FF3_FRAME_REPLY) && h->status == 0 &&
	       h->request_id == a->call->request_id &&
	       FF3_HEADER_SIZE + (size_t)h->body_len == a->head &&
	       h->body_len <= a->call->reply_size &&
	       (h->payload_len == a->payload || (h->payload_len <= a->payload && n <= h->payload_len));
}

/* n bytes came as planned. */
static int take(struct ff3_rpc_conn *conn, const struct plan *plan, size_t n,
		struct ff3_rpc_call **done)
{
	struct ff3_rpc_rx *rx = &conn->rx;
	size_t part = MIN(n, plan->remainder), pos = 0;
	struct ff3_header h;

	if (part > 0) {
		rx->payload_have += part;
		n -= part;
		if (rx->payload_have == rx->payload_len)
			payload_done(conn, done);
	}
	for (unsigned i = 0; i < plan->n_ahead && n > 0; i++) {
		const struct ahead *a = &plan->ahead[i];
		const uint8_t *p = rx->buf + pos;

		if (n < a->head)
			break;
		if (!as_guessed(a, p, n - a->head, &h)) {
			int r = gather(conn, plan, i, pos, n);

			return r < 0 ? r : parse(conn, done);
		}
		if (ff3_crc32c(0, p + FF3_HEADER_SIZE, h.body_len) != h.body_crc)
			return -EBADMSG;
		begin_reply(conn, &h, p + FF3_HEADER_SIZE, done);
		pos += a->head;
		n -= a->head;
		if (h.payload_len == 0)
			continue;
		part = MIN(n, (size_t)h.payload_len);
		rx->payload_have = part;
		n -= part;
		if (part == h.payload_len)
			payload_done(conn, done);
	}
	/* The rest lies in rx.buf in one piece, behind the heads that were taken. */
	if (plan->n_ahead > 0 || plan->remainder > 0)
		rx->start = pos, rx->end = pos;
	rx->end += n;
	return parse(conn, done);
}

/* recvmsg said error. Returns what ff3_rpc_receive shall, or negative to break. */
static int receive_failed(struct ff3_rpc_rx *rx, const struct plan *plan, int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
		return 0;
	case ENOMEM:
	case ENOBUFS:
		return 0;
	case EFAULT:
		/* Somebody's buffer: whose, shows when only one is offered. */
		if (plan->n_ahead > 0)
			rx->plain = 2;
		else
			rx->status = -EFAULT;
		return 1;
	default:
		return -error;
	}
}

static void conceal(struct ff3_rpc_conn *conn, const struct plan *plan)
{
	if (conn->rx.call)
		conn->rx.call->exposed = false;
	for (unsigned i = 0; i < plan->n_ahead; i++)
		plan->ahead[i].call->exposed = false;
}

bool ff3_rpc_sleep_local(const struct ff3_rpc_conn *conn)
{
	struct pollfd p = { .fd = conn->fd, .events = POLLIN };

	return poll(&p, 1, (int)(FF3_RPC_RECV_TICK_NS / FF3_NSEC_PER_MSEC)) > 0;
}

int ff3_rpc_receive_stream(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done)
{
	struct plan plan;
	struct msghdr msg = { .msg_iov = plan.iov };
	union ff3_fds_control control;
	int flags = wait ? 0 : MSG_DONTWAIT;
	ssize_t n = -1;
	int r = conn->state == FF3_CONN_UP ? make_plan(conn, &plan) : conn->cause;

	if (r == 0) {
		pthread_mutex_unlock(&conn->lock);
		msg.msg_iovlen = (size_t)plan.n;
		if (wait && plan.whole)
			flags |= MSG_WAITALL;
		if (conn->link->local) {
			ff3_fds_expect(&msg, &control);
			flags |= MSG_CMSG_CLOEXEC;
		}
		/* One piece costs the kernel less than a list of one. */
		n = plan.n == 1 && !conn->link->local ? recv(conn->fd, plan.iov->iov_base, plan.iov->iov_len, flags) :
							recvmsg(conn->fd, &msg, flags);
		if (n < 0)
			r = -errno;
		else if (n == 0)
			r = -ECONNRESET;
		pthread_mutex_lock(&conn->lock);
		conceal(conn, &plan);
		if (n > 0 && conn->link->local)
			r = ff3_fds_collect(&conn->rx.fds, &msg);
		if (conn->rx.plain > 0 && n > 0)
			conn->rx.plain--;
		if (conn->state != FF3_CONN_UP)
			r = conn->cause;
		else if (n > 0 && r == 0)
			r = take(conn, &plan, (size_t)n, done);
		else if (n < 0)
			r = receive_failed(&conn->rx, &plan, -r);
	}
	if (r < 0)
		ff3_rpc_break(conn, r, done);
	return r < 0 ? r : n > 0 ? 1 : r;
}

int ff3_rpc_receive(struct ff3_rpc_conn *conn, bool wait)
{
	struct ff3_rpc_call *done = NULL;
	int r;

	pthread_mutex_lock(&conn->lock);
	r = conn->link->receive(conn, wait, &done);
	pthread_mutex_unlock(&conn->lock);
	ff3_rpc_finish_calls(done);
	return r;
}
