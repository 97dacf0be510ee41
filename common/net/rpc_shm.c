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
#include "spin.h"

#define SPIN_FOR_ROOM_NS 20000u

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
	void *map;

	/* What could shrink would kill us. */
	if (fstat(fd, &st) < 0 || st.st_size != FF3_SHM_SIZE ||
	    (fcntl(fd, F_GET_SEALS) & seals) != seals)
		return -EBADMSG;
	map = mmap(NULL, FF3_SHM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*ret = map;
	return 0;
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
	struct timeval tick = { .tv_usec = FF3_RPC_RECV_TICK_NS / 1000 };
	int r = ff3_rpc_connect_local(peer, up);

	if (r < 0)
		return r;
	if (setsockopt(up->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) < 0 ||
	    fcntl(up->fd, F_SETFL, 0) < 0)
		return -errno;
	r = ff3_rpc_greet(peer, user, deadline_ns, up);
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

static void cut(struct ff3_rpc_conn *conn)
{
	shutdown(conn->fd, SHUT_RDWR);
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

void ff3_rpc_shm_bell(const struct ff3_rpc_conn *conn)
{
	/* A full socket has bytes that were not read: it wakes as well. */
	(void)!send(conn->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool spin_for_room(const struct ff3_rpc_shm *s)
{
	uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC), now = begin;

	while (ff3_spin_allowed(now) && now - begin < SPIN_FOR_ROOM_NS) {
		for (int i = 0; i < 64; i++) {
			if (ff3_shm_room(&s->up) != 0)
				return true;
			ff3_spin_pause();
		}
		now = ff3_now_ns(CLOCK_MONOTONIC);
	}
	return false;
}

/* Another thread reads, and wakes us when it is told of room; or we read. */
static int sleep_for_room(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct pollfd p[2] = { { .fd = w->event_fd, .events = POLLIN },
			       { .fd = conn->fd, .events = POLLIN } };
	uint64_t n;

	ff3_shm_ask(&s->up.ctl->producer_waits);
	if (ff3_shm_room(&s->up) != 0 || (mine && ff3_rpc_shm_about_to_sleep(conn)))
		return 0;
	if (poll(p, mine ? 2 : 1, (int)(FF3_RPC_RECV_TICK_NS / FF3_NSEC_PER_MSEC)) > 0 &&
	    (p[0].revents & POLLIN))
		(void)!read(w->event_fd, &n, sizeof n);
	return 0;
}

static int wait_room(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, uint64_t until_ns)
{
	struct ff3_rpc_shm *s = conn->link_state;
	bool mine;
	int r;

	if (spin_for_room(s))
		return 0;
	if (ff3_boottime_ns() >= until_ns)
		return -ETIMEDOUT;
	pthread_mutex_lock(&conn->lock);
	mine = !conn->reader;
	if (mine)
		conn->reader = true;
	else
		conn->sender = w;
	r = conn->state == FF3_CONN_UP ? 0 : conn->cause;
	pthread_mutex_unlock(&conn->lock);
	if (mine && r == 0)
		r = ff3_rpc_receive(conn, false);
	if (r == 0)
		r = sleep_for_room(conn, w, mine);
	pthread_mutex_lock(&conn->lock);
	conn->sender = NULL;
	if (mine)
		ff3_rpc_reader_leave(conn);
	pthread_mutex_unlock(&conn->lock);
	return MIN(r, 0);
}

/* What one frame needs of its sender while it is being sent. */
struct sending {
	struct ff3_rpc_conn *conn;
	struct ff3_rpc_waiter *w;
	uint64_t until_ns, deadline_ns;
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
	if (ff3_shm_produced(&s->up))
		ff3_rpc_shm_bell(x->conn);
}

static int need_room(struct sending *x)
{
	if (!x->w && !(x->w = ff3_rpc_waiter_get()))
		return -ENOMEM;
	if (x->w->event_fd < 0) {
		int r = ff3_rpc_waiter_pollable(x->w);

		if (r < 0)
			return r;
	}
	if (x->until_ns == 0)
		x->until_ns = ff3_boottime_ns() + FF3_RPC_SEND_STALL_NS;
	if (x->deadline_ns)
		x->until_ns = MIN(x->until_ns, x->deadline_ns);
	return wait_room(x->conn, x->w, x->until_ns);
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
		x->until_ns = 0;
		x->unseen += n;
		if (x->unseen >= FF3_SHM_PIECE)
			show(x);
		p += n;
		len -= n;
	}
	return 0;
}

/* Where the reply's payload may be put: in front of the body. */
static void take_place(struct ff3_rpc_shm *s, struct ff3_rpc_call *call)
{
	uint32_t n = (uint32_t)((call->place_len + FF3_SHM_PAGE - 1) / FF3_SHM_PAGE);

	call->place_pages = ff3_slots_take(&s->slots, n, &call->place_page) ? n : 0;
}

static int send_shm(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun)
{
	struct ff3_rpc_shm *s = conn->link_state;
	struct sending x = { .conn = conn, .deadline_ns = call->deadline_ns, .begun = ret_begun };
	uint8_t head[FF3_HEADER_SIZE + FF3_SHM_PLACE];
	uint32_t cpu = (uint32_t)sched_getcpu() + 1;
	size_t prefix, payload_len = 0, len;
	uint32_t crc = 0;
	int r;

	for (int i = 0; i < call->n_payload; i++) {
		payload_len += call->payload[i].iov_len;
		if (ff3_user_readable(call->payload[i].iov_base, call->payload[i].iov_len) < 0)
			return -EFAULT;
	}
	if (call->body_len > FF3_BODY_MAX || payload_len > FF3_PAYLOAD_MAX)
		return -E2BIG;
	if (call->place_len > 0 && call->body_len <= FF3_BODY_MAX - FF3_SHM_PLACE)
		take_place(s, call);
	prefix = call->place_pages > 0 ? FF3_SHM_PLACE : 0;
	if (prefix) {
		struct ff3_enc e = ff3_enc_init(head + FF3_HEADER_SIZE, FF3_SHM_PLACE);

		ff3_put_u32(&e, &call->place_page);
		ff3_put_u32(&e, &call->place_pages);
		crc = ff3_crc32c(0, head + FF3_HEADER_SIZE, FF3_SHM_PLACE);
	}
	ff3_header_encode(head, &(struct ff3_header){
					.op = call->op,
					.flags = (call->one_way ? FF3_FRAME_ONE_WAY : 0) |
						 (prefix ? FF3_FRAME_PLACE : 0),
					.request_id = call->request_id,
					.body_len = (uint32_t)(prefix + call->body_len),
					.payload_len = (uint32_t)payload_len,
					.body_crc = ff3_crc32c(crc, call->body, call->body_len),
				});
	if (atomic_load_explicit(&s->page->client_cpu, memory_order_relaxed) != cpu)
		atomic_store_explicit(&s->page->client_cpu, cpu, memory_order_relaxed);
	len = FF3_HEADER_SIZE + prefix;
	r = put(&x, head, len);
	if (r == 0)
		r = put(&x, call->body, call->body_len);
	for (int i = 0; i < call->n_payload && r == 0; i++)
		r = put(&x, call->payload[i].iov_base, call->payload[i].iov_len);
	/* A frame that was begun and not shown cannot be taken back either. */
	if (r < 0)
		*ret_begun = true;
	else
		show(&x);
	if (x.w)
		ff3_rpc_waiter_put(x.w);
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
	.send = send_shm,
	.receive = ff3_rpc_receive_shm,
	.about_to_sleep = ff3_rpc_shm_about_to_sleep,
	.cut = cut,
	.drop = drop,
	.forget = forget,
};
