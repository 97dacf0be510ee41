/* Purpose: links over shared memory with a daemon on this host (shm.h): connecting and sending; what
 * comes back is taken by rpc_shm_recv.c.
 *
 * The connection begins on the daemon's local socket, and goes on in the memory whose descriptor the
 * daemon sends. The socket stays: it tells of the daemon's end, carries bytes that wake and
 * descriptors, and is what waiting threads poll.
 *
 * Who sends waits for room while the ring is full. If nobody reads, it reads itself meanwhile, since
 * the daemon may be unable to go on because nobody takes its replies.
 *
 * Threads: sending is under conn->send_lock, which alone touches `up`.
 * Fork: the child unmaps and closes; it writes nothing. Signals: EINTR is handled. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "../base/crc32c.h"
#include "../base/probe.h"
#include "rpc_shm.h"

/* A place of so many pages lies in large ones if places of that size have had so many altogether: to make one takes as
 * long as to read a megabyte. They are made behind what has been in use until then. */
#define HUGE_MIN (65536u / FF3_SHM_PAGE)
#define HUGE_AFTER (8u * 1024u * 1024u / FF3_SHM_PAGE)
#define HUGE_BEGIN HUGE_AFTER

/* --- Connecting ---------------------------------------------------------------------------- */

static int recv_exactly(int fd, uint8_t *p, size_t len, struct ff3_fds_queue *fds, uint64_t until)
{
	while (len > 0) {
		struct iovec iov = { p, len };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		union ff3_fds_control control;
		ssize_t n;
		int r;

		ff3_fds_expect(&msg, &control);
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		r = n < 0 ? ff3_rpc_wait_fd(fd, POLLIN, until) : ff3_fds_collect(fds, &msg);
		if (r < 0)
			return r;
		p += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return 0;
}

/* Asks for the memory. Returns its descriptor. */
static int ask_memory(int fd, uint64_t until)
{
	uint8_t frame[FF3_HEADER_SIZE], body[64];
	struct ff3_fds_queue queue = { .n = 0 };
	struct ff3_rep_attach reply;
	struct ff3_header h = { .op = FF3_OP_attach, .request_id = 1 };
	struct ff3_fds fds;
	int r;

	ff3_header_encode(frame, &h);
	if (send(fd, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof frame)
		return -ECONNRESET;
	r = recv_exactly(fd, frame, sizeof frame, &queue, until);
	if (r == 0)
		r = ff3_header_decode(frame, &h);
	if (r == 0 && h.status != 0)
		r = ff3_err_from_wire(h.status);
	if (r == 0 && (h.op != FF3_OP_attach || h.body_len > sizeof body || h.payload_len > 0))
		r = -EBADMSG;
	if (r == 0)
		r = recv_exactly(fd, body, h.body_len, &queue, until);
	if (r == 0 && (ff3_decode_rep_attach(body, h.body_len, &reply) < 0 ||
		       reply.ring != FF3_SHM_RING || reply.data != FF3_SHM_DATA))
		r = -EPROTONOSUPPORT;
	fds = ff3_fds_next(&queue);
	if (r == 0 && fds.n == 1)
		return fds.fd[0];
	ff3_fds_close(&fds);
	ff3_fds_clear(&queue);
	return r < 0 ? r : -EMFILE;
}

static int map_memory(int fd, void **ret)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	struct stat st;

	/* What could shrink would kill us. */
	if (fstat(fd, &st) < 0 || st.st_size != FF3_SHM_SIZE ||
	    (fcntl(fd, F_GET_SEALS) & seals) != seals)
		return -EBADMSG;
	return ff3_shm_map(fd, ret);
}

static int attach(struct ff3_rpc_up *up, uint64_t until)
{
	_cleanup_close_ int fd = ask_memory(up->fd, until);
	struct ff3_rpc_shm *s;
	void *map = NULL;
	int r = fd < 0 ? fd : map_memory(fd, &map);

	if (r < 0)
		return r;
	s = calloc(1, sizeof *s);
	if (!s) {
		munmap(map, FF3_SHM_SIZE);
		return -ENOMEM;
	}
	s->map = map;
	s->page = map;
	s->data = ff3_shm_data(map);
	s->up = (struct ff3_shm_end){ &s->page->up, ff3_shm_ring_up(map), 0 };
	s->down = (struct ff3_shm_end){ &s->page->down, ff3_shm_ring_down(map), 0 };
	ff3_slots_init(&s->slots);
	up->state = s;
	return 0;
}

static int connect_shm(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		       uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	int r = ff3_rpc_connect_local(peer, user, deadline_ns, up);

	if (r < 0)
		return r;
	/* From here on another link may do better. */
	up->reached = false;
	if (!(up->transports & FF3_TRANSPORT_SHM)) {
		up->why = "the daemon does not offer it";
		return -EOPNOTSUPP;
	}
	r = attach(up, ff3_rpc_connect_until(peer, deadline_ns));
	if (r < 0)
		up->why = "the memory cannot be shared";
	return r;
}

static void drop(struct ff3_rpc_conn *conn, bool forked)
{
	struct ff3_rpc_shm *s = conn->link_state;

	close(conn->fd);
	munmap(s->map, FF3_SHM_SIZE);
	pthread_mutex_destroy(&s->slots.lock);
	free(s);
}

/* --- Sending ------------------------------------------------------------------------------- */

void ff3_rpc_shm_bell(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_shm *s = conn->link_state;

	/* A full socket has bytes that were not read: it wakes as well. */
	if (send(conn->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		atomic_store(&s->is_told, true); /* of its end */
}

/* Whether the daemon last ran on another core than this thread runs. */
bool ff3_rpc_shm_is_apart(const struct ff3_rpc_shm *s)
{
	uint32_t cpu = (uint32_t)sched_getcpu() + 1;

	return atomic_load_explicit(&s->page->daemon_cpu, memory_order_relaxed) != cpu;
}

static bool spin_for_room(struct ff3_rpc_shm *s)
{
	uint64_t begin;
	bool came = false;

	if (!ff3_rpc_shm_is_apart(s) || !ff3_spin_worth(&s->room_spinner) || !ff3_spin_begin())
		return false;
	begin = ff3_now_ns(CLOCK_MONOTONIC);
	while (!came && ff3_now_ns(CLOCK_MONOTONIC) - begin < FF3_SPIN_NS)
		for (int i = 0; i < FF3_SPIN_LOOKS && !came; i++) {
			came = ff3_shm_room(&s->up) != 0;
			ff3_spin_pause();
		}
	ff3_spin_end(&s->room_spinner, came);
	return came;
}

/* Another thread reads, and wakes us when it is told of room; or we read. */
static void sleep_for_room(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine,
			   uint64_t timeout_ns)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct pollfd p[2] = { { .fd = w->event_fd, .events = POLLIN },
			       { .fd = conn->fd, .events = POLLIN } };
	uint64_t n;

	atomic_store(&s->is_told, true);
	ff3_shm_ask(&s->up.ctl->producer_waits);
	if (ff3_shm_room(&s->up) != 0 || (mine && ff3_rpc_shm_about_to_sleep(conn)))
		return;
	timeout_ns = MIN(timeout_ns, FF3_RPC_RECV_TICK_NS);
	if (poll(p, mine ? 2 : 1, (int)(timeout_ns / FF3_NSEC_PER_MSEC) + 1) > 0 &&
	    (p[0].revents & POLLIN))
		(void)!read(w->event_fd, &n, sizeof n);
}

/* What one frame needs of its sender while it is being sent. */
struct sending {
	struct ff3_rpc_conn *conn;
	struct ff3_rpc_stuck stuck;
	uint64_t deadline_ns;
	size_t unseen; /* put, and not shown to the daemon */
	bool *begun;
};

static void show(struct sending *x)
{
	struct ff3_rpc_shm *s = x->conn->link_state;

	if (x->unseen == 0)
		return;
	x->unseen = 0;
	*x->begun = true;
	AnnotateHappensBefore(__FILE__, __LINE__, s);
	if (ff3_shm_produced(&s->up))
		ff3_rpc_shm_bell(x->conn);
}

static int need_room(struct sending *x)
{
	return spin_for_room(x->conn->link_state) ?
		       0 :
		       ff3_rpc_wait_to_send(x->conn, &x->stuck, x->deadline_ns, sleep_for_room);
}

static int put(struct sending *x, const void *from, size_t len)
{
	struct ff3_rpc_shm *s = x->conn->link_state;
	const uint8_t *p = from;

	while (len > 0) {
		ssize_t room = ff3_shm_room(&s->up);
		size_t n;
		int r;

		if (room < 0)
			return (int)room;
		if (room == 0) {
			show(x);
			r = need_room(x);
			if (r < 0)
				return r;
			continue;
		}
		n = MIN(MIN(len, (size_t)room), (size_t)FF3_SHM_PIECE);
		ff3_shm_put(&s->up, p, n);
		x->stuck.until_ns = 0;
		x->unseen += n;
		if (x->unseen >= FF3_SHM_PIECE)
			show(x);
		p += n;
		len -= n;
	}
	return 0;
}

static size_t payload_size(const struct ff3_rpc_call *call)
{
	size_t len = 0;

	for (int i = 0; i < call->n_payload; i++)
		len += call->payload[i].iov_len;
	return len;
}

static bool goes_by_place(size_t payload_len)
{
	return payload_len >= FF3_SHM_BY_PLACE && payload_len <= FF3_PAYLOAD_MAX;
}

static bool is_worth_huge(struct ff3_rpc_shm *s, uint32_t n)
{
	return n >= HUGE_MIN && (atomic_load_explicit(&s->n_large, memory_order_relaxed) >= HUGE_AFTER ||
				 atomic_fetch_add_explicit(&s->n_large, n, memory_order_relaxed) >= HUGE_AFTER);
}

/* A place for the payload, or the reply's. */
static bool take_place(struct ff3_rpc_shm *s, struct ff3_rpc_call *call, size_t payload_len)
{
	size_t len = goes_by_place(payload_len) ? MAX(payload_len, call->place_len) : call->place_len;
	uint32_t n = (uint32_t)((len + FF3_SHM_PAGE - 1) / FF3_SHM_PAGE);

	if (call->place_pages == 0 && n > 0 && call->body_len <= FF3_BODY_MAX - FF3_SHM_PLACE) {
		bool huge = is_worth_huge(s, n);

		if (!ff3_slots_take(&s->slots, n, huge ? HUGE_BEGIN : 0, &call->place_page))
			return false;
		call->place_pages = n;
		if (huge)
			ff3_shm_make_huge(s->map, s->huge_tried, call->place_page, n);
	}
	return call->place_pages > 0;
}

static void give_place(struct ff3_rpc_shm *s, struct ff3_rpc_call *call)
{
	if (call->place_pages > 0)
		ff3_slots_give(&s->slots, call->place_page, call->place_pages);
	call->place_pages = 0;
}

static int set_aside(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	struct ff3_rpc_shm *s = conn->link_state;
	ssize_t room = ff3_shm_room(&s->up);
	size_t need = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = payload_size(calls[i]);
		bool placed = take_place(s, calls[i], len) && goes_by_place(len);

		need += FF3_HEADER_SIZE + FF3_SHM_PLACE + calls[i]->body_len + (placed ? 0 : len);
	}
	/* A ring that makes no sense shows when something is put into it. */
	if (room < 0 || need <= (size_t)room)
		return 0;
	for (size_t i = 0; i < n; i++)
		give_place(s, calls[i]);
	return -EAGAIN;
}

/* The payload, to its place. */
static void place_payload(struct ff3_rpc_shm *s, const struct ff3_rpc_call *call)
{
	uint8_t *to = s->data + (size_t)call->place_page * FF3_SHM_PAGE;

	for (int i = 0; i < call->n_payload; i++) {
		memcpy(to, call->payload[i].iov_base, call->payload[i].iov_len);
		to += call->payload[i].iov_len;
	}
}

/* Header, and what is in front of the body. Returns their size. */
static size_t encode_head(uint8_t *to, const struct ff3_rpc_call *call, size_t payload_len, bool placed)
{
	size_t prefix = call->place_pages > 0 ? FF3_SHM_PLACE : 0;
	uint32_t crc = 0;

	if (prefix) {
		struct ff3_enc e = ff3_enc_init(to + FF3_HEADER_SIZE, FF3_SHM_PLACE);

		ff3_put_u32(&e, &call->place_page);
		ff3_put_u32(&e, &call->place_pages);
		crc = ff3_crc32c(0, to + FF3_HEADER_SIZE, FF3_SHM_PLACE);
	}
	ff3_header_encode(to, &(struct ff3_header){
				      .op = call->op,
				      .flags = (call->one_way ? FF3_FRAME_ONE_WAY : 0) |
					       (prefix ? FF3_FRAME_PLACE : 0) |
					       (placed ? FF3_FRAME_PLACED : 0),
				      .request_id = call->request_id,
				      .body_len = (uint32_t)(prefix + call->body_len),
				      .payload_len = (uint32_t)payload_len,
				      .body_crc = ff3_crc32c(crc, call->body, call->body_len),
			      });
	return FF3_HEADER_SIZE + prefix;
}

/* The daemon sees the end of it when it is shown. */
static int put_call(struct sending *x, struct ff3_rpc_call *call)
{
	struct ff3_rpc_shm *s = x->conn->link_state;
	uint8_t head[FF3_HEADER_SIZE + FF3_SHM_PLACE];
	uint32_t cpu = (uint32_t)sched_getcpu() + 1;
	size_t payload_len = payload_size(call);
	bool placed;
	int r;

	r = call->body_len > FF3_BODY_MAX || payload_len > FF3_PAYLOAD_MAX ? -E2BIG : 0;
	for (int i = 0; i < call->n_payload && r == 0; i++)
		r = ff3_user_readable(call->payload[i].iov_base, call->payload[i].iov_len);
	if (r < 0) {
		give_place(s, call);
		return r;
	}
	placed = !call->one_way && take_place(s, call, payload_len) && goes_by_place(payload_len);
	if (placed)
		place_payload(s, call);
	if (atomic_load_explicit(&s->page->client_cpu, memory_order_relaxed) != cpu)
		atomic_store_explicit(&s->page->client_cpu, cpu, memory_order_relaxed);
	r = put(x, head, encode_head(head, call, payload_len, placed));
	if (r == 0)
		r = put(x, call->body, call->body_len);
	for (int i = 0; i < call->n_payload && r == 0 && !placed; i++)
		r = put(x, call->payload[i].iov_base, call->payload[i].iov_len);
	/* A frame that was begun and not shown cannot be taken back either. */
	if (r < 0)
		*x->begun = true;
	return r;
}

static int send_shm(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun)
{
	struct sending x = { .conn = conn, .deadline_ns = call->deadline_ns, .begun = ret_begun };
	int r = put_call(&x, call);

	if (r == 0)
		show(&x);
	ff3_rpc_stuck_done(&x.stuck);
	return r;
}

/* Shown together: what they need of a disk is asked of it together. */
static int send_many(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	bool begun = false;
	struct sending x = { .conn = conn, .begun = &begun };
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		x.deadline_ns = calls[i]->deadline_ns;
		r = put_call(&x, calls[i]);
	}
	show(&x);
	ff3_rpc_stuck_done(&x.stuck);
	return r;
}

/* conn->lock held. */
static void forget(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	struct ff3_rpc_shm *s = conn->link_state;

	if (call->place_pages > 0)
		ff3_slots_orphan(&s->slots, call->request_id, call->place_page, call->place_pages);
	call->place_pages = 0;
}

const struct ff3_link_ops ff3_link_shm = {
	.name = "shm",
	.kind = FF3_LINK_SHM,
	.local = true,
	.connect = connect_shm,
	.set_aside = set_aside,
	.send = send_shm,
	.send_many = send_many,
	.receive = ff3_rpc_receive_shm,
	.look = ff3_rpc_shm_look,
	.about_to_sleep = ff3_rpc_shm_about_to_sleep,
	.cut = ff3_rpc_cut_socket,
	.drop = drop,
	.forget = forget,
};
