/* Purpose: connections over shared memory, the daemon's side (shm.h): attaching, taking requests out of
 * rings, putting replies into them, and looking at the rings that were active lately in each turn of
 * the loop instead of being told.
 *
 * A ring is a byte stream, so what conn.c and reply.c do stays the same: requests are copied from the
 * ring into conn->buf, payloads to where the daemon wants them. The socket stays for descriptors, for
 * the end of the other side, and for the bytes that wake.
 *
 * The client is not trusted: its positions are checked, and nothing is parsed in shared memory. The
 * memory cannot be shrunk by it (seals), so touching it is safe.
 *
 * active: rings with something in the last ACTIVE_NS, in either direction; the others have consumer_sleeps set
 * and are not looked at. The mapping lives until the last request was replied to: the disk may still write to it.
 *
 * Threads: the connection's loop only. Fork/signal: not for forked children nor handlers. */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/queue.h>

#include "server_priv.h"
#include "shm.h"
#include "spin.h"

#define ACTIVE_NS FF3_NSEC_PER_MSEC
/* Taken from one ring before the next one's turn. */
#define TURN_BYTES (4u * FF3_SHM_RING)
/* Of a reply: who waits for it does not wait for others', too. */
#define BELL_NOW 4096u
/* A few small replies: a client that is awake takes them, and asks again, while the next ones are made. */
#define SHM_GATHER 1u

struct ff3_conn_shm {
	struct ff3_conn *conn;
	uint8_t *map;
	struct ff3_shm_page *page;
	struct ff3_shm_end up, down; /* consumer, producer */
	bool active, asked;
	bool blocked; /* no room in the ring down */
	bool bell_armed;
	uint64_t active_ns; /* of the loop's clock */
	TAILQ_ENTRY(ff3_conn_shm) link;
	struct ff3_lent lent; /* the data pages */
	char bell[64];
};

/* Of one loop. */
struct shm_loop {
	struct ff3_poller poller;
	struct ff3_loop *loop;
	TAILQ_HEAD(, ff3_conn_shm) active;
	struct ff3_spinner spinner;
	uint32_t cpu; /* where this runs, plus 1 */
};

/* --- Which rings are looked at ------------------------------------------------------------- */

static void activate(struct shm_loop *l, struct ff3_conn_shm *s)
{
	s->active_ns = ff3_loop_now_ns(l->loop);
	if (s->active)
		return;
	s->active = l->poller.active = true;
	TAILQ_INSERT_TAIL(&l->active, s, link);
}

static void deactivate(struct shm_loop *l, struct ff3_conn_shm *s)
{
	if (!s->active)
		return;
	s->active = false;
	TAILQ_REMOVE(&l->active, s, link);
	l->poller.active = !TAILQ_EMPTY(&l->active);
}

static struct shm_loop *loop_of(const struct ff3_conn *conn)
{
	return CONTAINER_OF(ff3_loop_poller(conn->loop), struct shm_loop, poller);
}

static void ring_bell(const struct ff3_conn *conn)
{
	/* A full socket has bytes that were not read: it wakes as well. */
	(void)!send(conn->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Who is answered mostly asks for something else: its ring is looked at, so that it need not ring the bell. */
static void expect_more(struct ff3_conn *conn)
{
	struct ff3_conn_shm *s = conn->shm;

	if (!s->active)
		ff3_shm_unask(&s->up.ctl->consumer_sleeps);
	activate(loop_of(conn), s);
}

static bool has_work(const struct ff3_conn_shm *s)
{
	const struct ff3_conn *conn = s->conn;

	return !conn->dead && ((conn->receiving && ff3_shm_filled(&s->up) != 0) ||
			       (s->blocked && ff3_shm_room(&s->down) != 0));
}

/* --- Receiving ----------------------------------------------------------------------------- */

static void arm_bell(struct ff3_conn *conn)
{
	struct ff3_conn_shm *s = conn->shm;
	struct io_uring_sqe *sqe = ff3_loop_sqe(conn->loop);

	io_uring_prep_recv(sqe, conn->fd, s->bell, sizeof s->bell, 0);
	sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	ff3_loop_sqe_done(sqe, &conn->recv_io);
	s->bell_armed = true;
	conn->n_pinned++;
}

static void on_bell(struct ff3_io *io, int res)
{
	struct ff3_conn *conn = CONTAINER_OF(io, struct ff3_conn, recv_io);
	bool again = res == -EINTR || res == -EAGAIN || res == -ENOBUFS || res == -ENOMEM;

	conn->shm->bell_armed = false;
	if (!conn->dead && (res > 0 || again)) {
		activate(loop_of(conn), conn->shm);
		arm_bell(conn);
	} else {
		ff3_conn_kill(conn);
	}
	ff3_conn_unpin(conn);
}

/* From now on what is in the ring is taken. */
static void shm_receive(struct ff3_conn *conn)
{
	conn->receiving = true;
	if (ff3_shm_filled(&conn->shm->up) != 0)
		activate(loop_of(conn), conn->shm);
}

/* Takes a piece, as a receive would. Returns its bytes, or 0. */
static size_t take_piece(struct ff3_conn *conn)
{
	struct ff3_conn_shm *s = conn->shm;
	ssize_t filled = ff3_shm_filled(&s->up);
	uint8_t *to = conn->buf + conn->buf_end;
	size_t len = conn->buf_size - conn->buf_end;

	if (filled < 0) {
		ff3_conn_kill(conn);
		return 0;
	}
	if (conn->incoming) {
		to = (uint8_t *)conn->incoming->request.payload + conn->payload_have;
		len = conn->incoming->request.header.payload_len - conn->payload_have;
		len = MIN(len, (size_t)FF3_SHM_PIECE);
	}
	len = MIN(len, (size_t)filled);
	if (len == 0)
		return 0;
	ff3_shm_get(&s->up, to, len);
	if (ff3_shm_consumed(&s->up))
		ring_bell(conn);
	conn->receiving = false;
	ff3_conn_arrived(conn, len);
	return len;
}

static bool take_all(struct ff3_conn *conn)
{
	size_t taken = 0, n = 1;

	while (n > 0 && taken < TURN_BYTES && !conn->dead && conn->receiving) {
		n = take_piece(conn);
		taken += n;
	}
	return taken > 0;
}

/* --- Sending ------------------------------------------------------------------------------- */

/* Descriptors go by the socket, before the frame that is marked with them is seen. */
static bool send_fds(struct ff3_conn *conn, const struct ff3_frame *f)
{
	struct iovec one = { "", 1 };
	struct msghdr msg = { .msg_iov = &one, .msg_iovlen = 1 };

	ff3_fds_attach(&msg, &conn->control, f->fds->fd, f->fds->n);
	return sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

/* Puts what there is room for of the queue's first frame. Returns the bytes; -errno. */
static ssize_t put_some(struct ff3_conn *conn)
{
	struct ff3_frame *f = conn->out_first;
	struct ff3_shm_end *e = &conn->shm->down;
	ssize_t room = ff3_shm_room(e);
	size_t skip = conn->out_sent, head, body;

	if (room <= 0)
		return room;
	if (UNLIKELY(f->fds != NULL) && skip == 0 && !send_fds(conn, f))
		return -ECONNRESET;
	head = skip < f->head_len ? MIN(f->head_len - skip, (size_t)room) : 0;
	ff3_shm_put(e, f->head + skip, head);
	skip += head;
	if (skip < f->head_len)
		return (ssize_t)head;
	skip -= f->head_len;
	body = MIN(MIN(f->payload_len - skip, (size_t)room - head), (size_t)FF3_SHM_PIECE);
	if (body > 0)
		ff3_shm_put(e, (const uint8_t *)f->payload + skip, body);
	return (ssize_t)(head + body);
}

static void shm_send(struct ff3_conn *conn)
{
	struct ff3_conn_shm *s = conn->shm;
	bool some = conn->out_first;
	size_t unseen = 0;
	ssize_t n = 1;

	s->blocked = false;
	while (conn->out_first && n > 0) {
		n = put_some(conn);
		if (n < 0) {
			ff3_conn_kill(conn);
			return;
		}
		unseen += (size_t)n;
		/* Many small replies become visible at once; large ones piece by piece. */
		if ((unseen >= FF3_SHM_PIECE || n == 0) && unseen > 0) {
			unseen = 0;
			if (ff3_shm_produced(&s->down))
				ring_bell(conn);
		}
		if (n == 0 && !s->blocked) {
			s->blocked = true;
			ff3_shm_ask(&s->down.ctl->producer_waits);
			n = 1; /* looks once more */
		} else if (n > 0) {
			ff3_conn_sent(conn, (size_t)n);
		}
	}
	if (some)
		expect_more(conn);
	if (unseen > 0 && ff3_shm_produced(&s->down) &&
	    (unseen >= BELL_NOW || !ff3_loop_ring_bell(conn->loop, conn->fd)))
		ring_bell(conn);
	if (!conn->out_first && s->blocked) {
		s->blocked = false;
		ff3_shm_unask(&s->down.ctl->producer_waits);
	}
	if (s->blocked)
		activate(loop_of(conn), s);
}

/* --- The loop's turns ---------------------------------------------------------------------- */

static bool poll_one(struct shm_loop *l, struct ff3_conn_shm *s)
{
	struct ff3_conn *conn = s->conn;
	bool some = false;

	if (atomic_load_explicit(&s->page->daemon_cpu, memory_order_relaxed) != l->cpu)
		atomic_store_explicit(&s->page->daemon_cpu, l->cpu, memory_order_relaxed);
	if (s->asked) {
		s->asked = false;
		ff3_shm_unask(&s->up.ctl->consumer_sleeps);
	}
	if (conn->dead) {
		deactivate(l, s);
		return false;
	}
	conn->n_pinned++;
	if (s->blocked && ff3_shm_room(&s->down) != 0) {
		ff3_conn_send(conn);
		some = true;
	}
	if (conn->receiving)
		some |= take_all(conn);
	if (some) {
		s->active_ns = ff3_loop_now_ns(l->loop);
	} else if (ff3_loop_now_ns(l->loop) - s->active_ns > ACTIVE_NS) {
		if (s->blocked)
			ff3_shm_ask(&s->down.ctl->producer_waits);
		ff3_shm_ask(&s->up.ctl->consumer_sleeps);
		if (!has_work(s))
			deactivate(l, s);
	}
	ff3_conn_unpin(conn);
	return some;
}

static bool shm_poll(struct ff3_poller *p)
{
	struct shm_loop *l = CONTAINER_OF(p, struct shm_loop, poller);
	bool some = false;

	l->cpu = (uint32_t)sched_getcpu() + 1;
	for (struct ff3_conn_shm *s = TAILQ_FIRST(&l->active), *next; s; s = next) {
		next = TAILQ_NEXT(s, link);
		some |= poll_one(l, s);
	}
	return some;
}

static bool shm_ready(struct ff3_poller *p)
{
	struct shm_loop *l = CONTAINER_OF(p, struct shm_loop, poller);
	struct ff3_conn_shm *s;

	TAILQ_FOREACH(s, &l->active, link)
		if (has_work(s))
			return true;
	return false;
}

static bool shm_worth(struct ff3_poller *p)
{
	struct shm_loop *l = CONTAINER_OF(p, struct shm_loop, poller);
	struct ff3_conn_shm *s;

	TAILQ_FOREACH(s, &l->active, link)
		if (atomic_load_explicit(&s->page->client_cpu, memory_order_relaxed) == l->cpu)
			return false;
	return ff3_spin_worth(&l->spinner);
}

static bool shm_spin(struct ff3_poller *p)
{
	struct shm_loop *l = CONTAINER_OF(p, struct shm_loop, poller);
	uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC);
	bool came = false;

	if (!ff3_spin_begin())
		return false;
	while (!came && ff3_now_ns(CLOCK_MONOTONIC) - begin < FF3_SPIN_NS)
		for (int i = 0; i < FF3_SPIN_LOOKS && !came; i++) {
			came = shm_ready(p) || ff3_loop_has_completions(l->loop);
			ff3_spin_pause();
		}
	ff3_spin_end(&l->spinner, came);
	return came;
}

static bool shm_arm(struct ff3_poller *p)
{
	struct shm_loop *l = CONTAINER_OF(p, struct shm_loop, poller);
	struct ff3_conn_shm *s;

	TAILQ_FOREACH(s, &l->active, link) {
		s->asked = true;
		atomic_store_explicit(&s->up.ctl->consumer_sleeps, 1, memory_order_relaxed);
		if (s->blocked)
			atomic_store_explicit(&s->down.ctl->producer_waits, 1, memory_order_relaxed);
	}
	atomic_thread_fence(memory_order_seq_cst);
	return shm_ready(p);
}

static void shm_free_poller(struct ff3_poller *p)
{
	free(CONTAINER_OF(p, struct shm_loop, poller));
}

static int need_poller(struct ff3_loop *loop)
{
	struct shm_loop *l;

	if (ff3_loop_poller(loop))
		return 0;
	l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->loop = loop;
	l->poller = (struct ff3_poller){ shm_poll, shm_ready, shm_worth, shm_spin, shm_arm, shm_free_poller, false };
	TAILQ_INIT(&l->active);
	ff3_loop_set_poller(loop, &l->poller);
	return 0;
}

/* --- Attaching and the end ------------------------------------------------------------------ */

static uint64_t shm_moved(const struct ff3_conn *conn, uint64_t *ret_enough)
{
	const struct ff3_conn_shm *s = conn->shm;

	*ret_enough = 1;
	return s->up.pos + atomic_load(&s->down.ctl->tail);
}

/* Nothing of it is in the ring any more. */
static void shm_finish(struct ff3_conn *conn)
{
	deactivate(loop_of(conn), conn->shm);
	ff3_loop_bells_out(conn->loop);
}

static void shm_free(struct ff3_conn *conn)
{
	ff3_loop_take_back(&conn->shm->lent);
	munmap(conn->shm->map, FF3_SHM_SIZE);
	free(conn->shm);
}

static const struct ff3_conn_ops shm_ops = {
	.name = "shm",
	.gather = SHM_GATHER,
	.receive = shm_receive,
	.send = shm_send,
	.moved = shm_moved,
	.finish = shm_finish,
	.free = shm_free,
};

static int make_memory(void **ret_map, int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create("ff3fs-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0 || ftruncate(fd, FF3_SHM_SIZE) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	r = ff3_shm_map(fd, ret_map);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int new_shm(struct ff3_conn *conn, int *ret_fd)
{
	struct ff3_conn_shm *s;
	void *map;
	int r;

	if (!conn->local || !conn->may_shm || conn->shm || conn->out_first)
		return -EOPNOTSUPP;
	r = need_poller(conn->loop);
	if (r < 0)
		return r;
	s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	r = make_memory(&map, ret_fd);
	if (r < 0) {
		free(s);
		return r;
	}
	s->conn = conn;
	s->map = map;
	s->page = map;
	s->up = (struct ff3_shm_end){ &s->page->up, ff3_shm_ring_up(map), 0 };
	s->down = (struct ff3_shm_end){ &s->page->down, ff3_shm_ring_down(map), 0 };
	atomic_store(&s->page->up.consumer_sleeps, 1);
	ff3_loop_lend(conn->loop, &s->lent, ff3_shm_data(s->map), FF3_SHM_DATA);
	conn->shm = s;
	return 0;
}

void ff3_conn_attach(struct ff3_conn *conn, struct ff3_request *r)
{
	static const struct ff3_rep_attach reply = { .ring = FF3_SHM_RING, .data = FF3_SHM_DATA };
	uint8_t body[16];
	_cleanup_close_ int fd = -1;
	int e = new_shm(conn, &fd);

	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	ff3_request_reply_fds(r, 0, body, ff3_encode_rep_attach(body, sizeof body, &reply), &fd, 1);
	ff3_conn_send(conn);
	/* The socket was empty: it takes this much at once. */
	if (conn->out_first || conn->sending) {
		ff3_conn_kill(conn);
		return;
	}
	/* It was one more by the local socket until now. */
	ff3_server_count(&conn->server->counters.closed[FF3_LINK_UNIX]);
	ff3_server_count(&conn->server->counters.accepted[FF3_LINK_SHM]);
	conn->ops = &shm_ops;
	conn->recv_io.fn = on_bell;
	arm_bell(conn);
}

uint8_t *ff3_conn_place(const struct ff3_conn *conn, uint32_t page, uint32_t n_pages)
{
	const uint32_t all = FF3_SHM_DATA / FF3_SHM_PAGE;

	if (!conn->shm || n_pages == 0 || page >= all || n_pages > all - page)
		return NULL;
	return ff3_shm_data(conn->shm->map) + (size_t)page * FF3_SHM_PAGE;
}

/* By the ring, the client can take the first bytes while the last ones are put; but it must run meanwhile, and
 * every ring-full that it does not is another change between the two. */
bool ff3_conn_prefers_place(const struct ff3_request *r, size_t len)
{
	const struct ff3_conn *conn = r->conn;
	uint32_t cpu = loop_of(conn)->cpu;

	return len >= FF3_SHM_PIECE / 4 && len <= r->place_len &&
	       (conn->n_requests > 1 ||
		atomic_load_explicit(&conn->shm->page->client_cpu, memory_order_relaxed) == cpu ||
		ff3_shm_room(&conn->shm->down) < (ssize_t)MIN(len, FF3_SHM_RING / 2));
}
