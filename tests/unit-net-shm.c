/* common/net over shared memory: clients that write nonsense into it, the end of either side, more
 * than fits, and that nobody is awake when nothing happens. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "../common/net/addr.h"
#include "../common/net/pass.h"
#include "../common/net/rpc_shm.h"
#include "net_daemon.h"

static const struct ff3_links only_shm = { 1, { FF3_LINK_SHM } };

/* --- A client without manners --------------------------------------------------------------- */

struct raw {
	int fd;
	uint8_t *map;
	struct ff3_shm_page *page;
	struct ff3_shm_end up;
};

static size_t make_frame(uint8_t *out, uint16_t op, uint32_t flags, uint64_t id, const void *body,
			 size_t body_len, uint32_t payload_len)
{
	struct ff3_header h = { .op = op, .flags = flags, .request_id = id,
				.body_len = (uint32_t)body_len, .payload_len = payload_len,
				.body_crc = ff3_crc32c(0, body, body_len) };

	ff3_header_encode(out, &h);
	if (body_len > 0)
		memcpy(out + FF3_HEADER_SIZE, body, body_len);
	return FF3_HEADER_SIZE + body_len;
}

static int raw_receive(int fd, struct ff3_fds_queue *fds)
{
	uint8_t buf[512];
	struct iovec iov = { buf, sizeof buf };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union ff3_fds_control control;
	struct ff3_header h;

	ff3_fds_expect(&msg, &control);
	ck_assert_int_ge(recvmsg(fd, &msg, 0), FF3_HEADER_SIZE);
	ck_assert_int_eq(ff3_header_decode(buf, &h), 0);
	ck_assert_int_eq(ff3_fds_collect(fds, &msg), 0);
	return ff3_err_from_wire(h.status);
}

static int raw_dial(const struct daemon *d)
{
	struct timeval tv = { .tv_sec = 10 };
	struct addrinfo *ai;
	struct sockaddr_un un;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(ff3_addr_resolve(d->address, 0, &ai), 0);
	len = ff3_addr_abstract(ai->ai_addr, ai->ai_addrlen, &un);
	freeaddrinfo(ai);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	return fd;
}

static void raw_greet(int fd, struct ff3_fds_queue *fds)
{
	uint8_t frame[256], body[128];
	size_t n = ff3_encode_req_hello(body, sizeof body,
					&(struct ff3_req_hello){ .session = 1, .role = 1 });

	n = make_frame(frame, FF3_OP_hello, 0, 1, body, n, 0);
	ck_assert_int_eq(send(fd, frame, n, 0), (ssize_t)n);
	ck_assert_int_eq(raw_receive(fd, fds), 0);
}

static struct raw raw_attach(const struct daemon *d)
{
	struct ff3_fds_queue queue = { .n = 0 };
	uint8_t frame[64];
	struct ff3_fds fds;
	struct raw c;
	size_t n;

	c.fd = raw_dial(d);
	raw_greet(c.fd, &queue);
	n = make_frame(frame, FF3_OP_attach, 0, 2, NULL, 0, 0);
	ck_assert_int_eq(send(c.fd, frame, n, 0), (ssize_t)n);
	ck_assert_int_eq(raw_receive(c.fd, &queue), 0);
	fds = ff3_fds_next(&queue);
	ck_assert_uint_eq(fds.n, 1);
	/* Nothing can be taken away under the daemon. */
	ck_assert_int_eq(ftruncate(fds.fd[0], 4096), -1);
	ck_assert_int_eq(ftruncate(fds.fd[0], 2 * FF3_SHM_SIZE), -1);
	c.map = mmap(NULL, FF3_SHM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds.fd[0], 0);
	ck_assert_ptr_ne(c.map, MAP_FAILED);
	ff3_fds_close(&fds);
	c.page = (struct ff3_shm_page *)c.map;
	c.up = (struct ff3_shm_end){ &c.page->up, ff3_shm_ring_up(c.map), 0 };
	return c;
}

static void raw_put(struct raw *c, const void *p, size_t n)
{
	ff3_shm_put(&c->up, p, n);
	if (ff3_shm_produced(&c->up))
		ck_assert_int_eq(send(c->fd, "", 1, MSG_NOSIGNAL), 1);
}

static void raw_done(struct raw *c)
{
	close(c->fd);
	munmap(c->map, FF3_SHM_SIZE);
}

/* The daemon closes the connection. */
static void raw_refused(struct raw *c)
{
	char byte;
	ssize_t n;

	do
		n = recv(c->fd, &byte, 1, 0);
	while (n == 1);
	ck_assert(n == 0 || errno == ECONNRESET);
	raw_done(c);
}

static void start(struct daemon *d, struct ff3_rpc_peer **peer)
{
	d->abstract = true;
	d->links = only_shm;
	daemon_start(d);
	*peer = peer_for(d, 1);
	ck_assert_int_eq(ping(*peer, 0), 0);
}

static void stop(struct daemon *d, struct ff3_rpc_peer *peer)
{
	ck_assert_int_eq(ping(peer, 0), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(d);
}

/* What cannot be is the end of the connection, and of no other. */
START_TEST(lies)
{
	enum { PAGES = FF3_SHM_DATA / FF3_SHM_PAGE };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t frame[512], body[64] = { 0 };
	uint32_t places[][2] = { { 0, 0 }, { PAGES, 1 }, { 0, PAGES + 1 }, { 1, PAGES },
				 { UINT32_MAX, 2 }, { 1, UINT32_MAX } };
	struct raw c;
	size_t n;

	start(&d, &peer);
	/* More was produced than a ring holds, or less than nothing. */
	for (int i = 0; i < 2; i++) {
		c = raw_attach(&d);
		c.up.pos = i ? FF3_SHM_RING + 1 : UINT64_MAX;
		raw_put(&c, frame, 0);
		raw_refused(&c);
	}
	/* Places that do not exist, or are not said completely. */
	for (size_t i = 0; i <= ARRAY_SIZE(places); i++) {
		struct ff3_enc e = ff3_enc_init(body, sizeof body);

		c = raw_attach(&d);
		if (i < ARRAY_SIZE(places)) {
			ff3_put_u32(&e, &places[i][0]);
			ff3_put_u32(&e, &places[i][1]);
		}
		n = make_frame(frame, FF3_OP_ping, FF3_FRAME_PLACE, 3, body, e.len ? 16 : 4, 0);
		raw_put(&c, frame, n);
		raw_refused(&c);
	}
	/* A payload in a place that is too small for it, or in none. */
	for (int i = 0; i < 2; i++) {
		struct ff3_enc e = ff3_enc_init(body, sizeof body);
		uint32_t place[2] = { 0, 1 };

		c = raw_attach(&d);
		ff3_put_u32(&e, &place[0]);
		ff3_put_u32(&e, &place[1]);
		n = make_frame(frame, FF3_OP_chunk_write, FF3_FRAME_PLACED | (i ? 0 : FF3_FRAME_PLACE), 3,
			       body, sizeof body, i ? 4096 : 4097);
		raw_put(&c, frame, n);
		raw_refused(&c);
	}
	/* A wrong body, and a second hello. */
	c = raw_attach(&d);
	n = make_frame(frame, FF3_OP_ping, 0, 3, body, 8, 0);
	frame[n - 1] ^= 1;
	raw_put(&c, frame, n);
	raw_refused(&c);
	c = raw_attach(&d);
	n = make_frame(frame, FF3_OP_hello, 0, 3, body, 8, 0);
	raw_put(&c, frame, n);
	raw_refused(&c);
	/* More was consumed than was produced: shows when the daemon wants to answer. */
	c = raw_attach(&d);
	atomic_store(&c.page->down.tail, 99);
	n = make_frame(frame, FF3_OP_ping, 0, 3, body, 8, 0);
	raw_put(&c, frame, n);
	raw_refused(&c);
	/* One memory for one connection: a second wish is refused, and the first goes on. */
	c = raw_attach(&d);
	n = make_frame(frame, FF3_OP_attach, 0, 3, NULL, 0, 0);
	raw_put(&c, frame, n);
	n = make_frame(frame, FF3_OP_ping, 0, 4, body, 8, 0);
	raw_put(&c, frame, n);
	while (atomic_load(&c.page->down.head) < 2 * FF3_HEADER_SIZE + 8)
		sched_yield();
	raw_done(&c);
	stop(&d, peer);
}
END_TEST

/* Without a local socket, or where it is not offered, there is no memory. */
START_TEST(not_offered)
{
	struct daemon d = { .abstract = true, .links = { 2, { FF3_LINK_SHM, FF3_LINK_UNIX } },
			    .no_shm = true };
	struct ff3_rpc_description what;
	struct ff3_rpc_peer *peer;
	uint8_t frame[64];
	struct ff3_fds_queue queue = { .n = 0 };
	int fd;
	size_t n;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	ff3_rpc_peer_describe(peer, &what);
	ck_assert_int_eq(what.transport[0].error, -EOPNOTSUPP);
	ck_assert_str_eq(what.transport[0].why, "the daemon does not offer it");
	ck_assert_uint_eq(what.transport[1].connections, 1);
	fd = raw_dial(&d);
	raw_greet(fd, &queue);
	n = make_frame(frame, FF3_OP_attach, 0, 2, NULL, 0, 0);
	ck_assert_int_eq(send(fd, frame, n, 0), (ssize_t)n);
	ck_assert_int_eq(raw_receive(fd, &queue), -EOPNOTSUPP);
	close(fd);
	stop(&d, peer);
}
END_TEST

/* Anything at all in the rings and their counters, while others are served. */
START_TEST(garbage)
{
	enum { ROUNDS = 150 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	unsigned seed = (unsigned)_i + 1;

	start(&d, &peer);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct raw c = raw_attach(&d);
		uint8_t frame[512], body[64];
		size_t n;

		for (unsigned i = 0; i < 64; i++)
			body[i] = (uint8_t)rand_r(&seed);
		for (unsigned step = 0; step < 6; step++) {
			uint16_t op = (uint16_t)(rand_r(&seed) % 3 ? FF3_OP_chunk_read : rand_r(&seed) % 80);

			/* The daemon of this test insists on its reads being well-formed. */
			if (op == FF3_OP_chunk_read)
				op = FF3_OP_chunk_write;
			n = make_frame(frame, op, (uint32_t)rand_r(&seed) & 0x1fu & ~1u, step, body,
				       (size_t)rand_r(&seed) % sizeof body,
				       rand_r(&seed) % 2 ? 0 : (uint32_t)rand_r(&seed) % 5000);
			if (rand_r(&seed) % 4 == 0)
				frame[(unsigned)rand_r(&seed) % n] ^= (uint8_t)rand_r(&seed);
			ff3_shm_put(&c.up, frame, n);
			if (rand_r(&seed) % 6 == 0)
				c.up.pos += (uint64_t)rand_r(&seed) % 100000;
			if (rand_r(&seed) % 6 == 0)
				atomic_store(&c.page->down.tail, (uint64_t)rand_r(&seed));
			if (rand_r(&seed) % 6 == 0)
				atomic_store(&c.page->down.head, (uint64_t)rand_r(&seed));
			if (rand_r(&seed) % 6 == 0)
				atomic_store(&c.page->up.tail, (uint64_t)rand_r(&seed));
			(void)ff3_shm_produced(&c.up);
			(void)!send(c.fd, "", 1, MSG_NOSIGNAL);
		}
		ck_assert_int_eq(ping(peer, round), 0);
		raw_done(&c);
	}
	stop(&d, peer);
}
END_TEST

/* --- The end of either side ------------------------------------------------------------------ */

/* A client that dies in the middle of a payload. */
START_TEST(killed_client)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t frame[512], body[128];
	struct raw c;
	size_t n;

	start(&d, &peer);
	c = raw_attach(&d);
	n = ff3_encode_req_chunk_write(body, sizeof body, &(struct ff3_req_chunk_write){ .ino = 1 });
	n = make_frame(frame, FF3_OP_chunk_write, 0, 3, body, n, 100000);
	raw_put(&c, frame, n);
	raw_put(&c, frame, 400);
	while (d.under_way == 0)
		sched_yield();
	raw_done(&c);
	while (d.n_aborted == 0 || d.n_closed == 0)
		sched_yield();
	stop(&d, peer);
}
END_TEST

START_TEST(killed_daemon)
{
	struct daemon d = { .hold = true, .links = only_shm, .abstract = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;
	pid_t pid = daemon_apart(&d, &peer);

	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(10000)), 0);
	ck_assert_int_eq(call->status, -ECONNRESET);
	waitpid(pid, NULL, 0);
	ck_assert_int_lt(ping(peer, 0), 0);
	ff3_rpc_peer_free(peer);
}
END_TEST

/* Who does not wait, but looks now and then. */
START_TEST(killed_and_looked_at)
{
	struct daemon d = { .hold = true, .links = only_shm, .abstract = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;
	pid_t pid = daemon_apart(&d, &peer);
	struct pollfd p = { .fd = peer->conns[0].fd, .events = POLLIN };

	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	ff3_rpc_poll(&call, 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	while (!(p.revents & POLLHUP))
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
	for (int i = 0; i < 2 && !ff3_rpc_is_done(call); i++) {
		poll(NULL, 0, 30);
		ff3_rpc_poll(&call, 1);
	}
	ck_assert(ff3_rpc_is_done(call));
	ck_assert_int_eq(call->status, -ECONNRESET);
	ff3_rpc_peer_free(peer);
}
END_TEST

/* --- More than fits -------------------------------------------------------------------------- */

/* Places for more than there is: what has none comes through the ring. */
START_TEST(thousands)
{
	enum { N = 3000, SIZE = 20000 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op *ops = calloc(N, sizeof *ops);
	struct ff3_rpc_call **calls = calloc(N, sizeof *calls);
	uint8_t *buf = malloc((size_t)N * SIZE);
	unsigned n_summed = 0;

	start(&d, &peer);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++) {
			read_init(&ops[i], i, 5, buf + (size_t)i * SIZE, SIZE, 0);
			calls[i] = &ops[i].call;
			ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
		}
		ck_assert_int_eq(ff3_rpc_wait(calls, N, in_ms(50000)), 0);
		for (unsigned i = 0; i < N; n_summed += ops[i++].call.n_sums > 0)
			read_check(&ops[i], i, 5);
	}
	ck_assert(d.n_places > N / 10 && n_summed > N / 20);
	free(buf);
	free(calls);
	free(ops);
	stop(&d, peer);
}
END_TEST

/* A place stays taken until the reply of a call that nobody waits for any more. */
START_TEST(abandoned_place)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	unsigned before;

	start(&d, &peer);
	ping_init(&op, 7);
	op.call.place_len = FF3_SHM_DATA;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(30)), -ETIMEDOUT);
	while (d.n_places == 0)
		sched_yield();
	ck_assert_uint_eq(d.n_places, 1);
	/* All of it is taken still; and cookie 0 lets the daemon answer. */
	ping_init(&op, 0);
	op.call.place_len = FF3_SHM_DATA;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(10000)), 0);
	ck_assert_uint_eq(d.n_places, 1);
	ck_assert_int_eq(ping(peer, 0), 0);
	before = d.n_places;
	ping_init(&op, 0);
	op.call.place_len = FF3_SHM_DATA;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(10000)), 0);
	ck_assert_uint_eq(d.n_places, before + 1);
	stop(&d, peer);
}
END_TEST

/* Bytes of the area's first pages that are in memory. */
static size_t present(const void *area, size_t size)
{
	unsigned char in_memory[FF3_SHM_DATA / FF3_SHM_PAGE];
	size_t n = 0;

	ck_assert_int_eq(mincore((void *)(uintptr_t)area, size, in_memory), 0);
	for (size_t i = 0; i < size / FF3_SHM_PAGE; i++)
		n += in_memory[i] & 1 ? FF3_SHM_PAGE : 0;
	return n;
}

/* Whether the kernel makes large pages of shared memory for whoever asks (since Linux 6.1, unless configured not to). */
static bool kernel_makes_huge(void)
{
	_cleanup_close_ int fd = memfd_create("probe", MFD_CLOEXEC);
	void *map;
	int r;

	ck_assert_int_eq(ftruncate(fd, FF3_SHM_SIZE), 0);
	ck_assert_int_eq(ff3_shm_map(fd, &map), 0);
	*(uint8_t *)map = 1;
	r = madvise(map, FF3_SHM_HUGE, 25 /* MADV_COLLAPSE */);
	munmap(map, FF3_SHM_SIZE);
	return r == 0;
}

START_TEST(large_pages)
{
	_cleanup_close_ int fd = memfd_create("large", MFD_CLOEXEC);
	atomic_bool tried[FF3_SHM_N_HUGE] = { false };
	const uint32_t each = FF3_SHM_HUGE / FF3_SHM_PAGE;
	uint8_t *data;
	void *map;

	ck_assert_int_eq(ftruncate(fd, FF3_SHM_SIZE), 0);
	ck_assert_int_eq(ff3_shm_map(fd, &map), 0);
	data = ff3_shm_data(map);
	ck_assert_uint_eq((uintptr_t)data % FF3_SHM_HUGE, 0);
	data[FF3_SHM_HUGE + 7] = 77;
	data[FF3_SHM_DATA - 1] = 78;
	ff3_shm_make_huge(map, tried, each - 1, 2);
	ck_assert(tried[0] && tried[1] && !tried[2]);
	ck_assert_uint_eq(data[FF3_SHM_HUGE + 7], 77);
	if (kernel_makes_huge())
		ck_assert_uint_eq(present(data, 3 * FF3_SHM_HUGE), 2 * FF3_SHM_HUGE);
	ff3_shm_make_huge(map, tried, FF3_SLOT_PAGES - 1, 1);
	ck_assert(tried[FF3_SHM_N_HUGE - 1]);
	ck_assert_uint_eq(data[FF3_SHM_DATA - 1], 78);
	munmap(map, FF3_SHM_SIZE);
}
END_TEST

static void call_with_place(struct ff3_rpc_peer *peer, size_t len)
{
	struct op op;

	ping_init(&op, 0);
	op.call.place_len = len;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(10000)), 0);
}

/* Large places lie in large pages when there have been some. */
START_TEST(large_places)
{
	const struct ff3_rpc_shm *s;
	struct ff3_rpc_peer *peer;
	struct daemon d = { 0 };

	start(&d, &peer);
	for (int i = 0; i < 128; i++)
		call_with_place(peer, 65536);
	s = peer->conns[0].link_state;
	ck_assert_uint_lt(present(s->data, FF3_SHM_DATA), FF3_SHM_HUGE);
	call_with_place(peer, 65535 - FF3_SHM_PAGE);
	ck_assert_uint_lt(present(s->data, FF3_SHM_DATA), FF3_SHM_HUGE);
	for (int i = 0; i < 10; i++)
		call_with_place(peer, 65536);
	if (kernel_makes_huge())
		ck_assert_uint_eq(present(s->data + FF3_MIB(8), FF3_MIB(24)), FF3_SHM_HUGE);
	call_with_place(peer, FF3_SHM_DATA); /* what is larger than that part of it */
	stop(&d, peer);
}
END_TEST

START_TEST(slots)
{
	struct ff3_slots *s = calloc(1, sizeof *s);
	uint32_t page, other;

	ff3_slots_init(s);
	ck_assert(!ff3_slots_take(s, 0, 0, &page));
	ck_assert(!ff3_slots_take(s, FF3_SLOT_PAGES + 1, 0, &page));
	ck_assert(ff3_slots_take(s, 3, 0, &page));
	ck_assert_uint_eq(page, 0);
	ck_assert(ff3_slots_take(s, 200, 0, &other));
	ck_assert_uint_eq(other, 3);
	ff3_slots_give(s, page, 3);
	/* The lowest that is large enough. */
	ck_assert(ff3_slots_take(s, 4, 0, &page));
	ck_assert_uint_eq(page, 203);
	ck_assert(ff3_slots_take(s, 2, 0, &page));
	ck_assert_uint_eq(page, 0);
	ck_assert(ff3_slots_take(s, FF3_SLOT_PAGES - 207, 0, &page));
	ck_assert(ff3_slots_take(s, 1, 0, &page));
	ck_assert_uint_eq(page, 2);
	ck_assert(!ff3_slots_take(s, 1, 0, &page));
	ck_assert(!ff3_slots_take(s, 1, 100, &page));
	ff3_slots_orphan(s, 77, other, 200);
	ff3_slots_reclaim(s, 78);
	ck_assert(!ff3_slots_take(s, 1, 0, &page));
	ff3_slots_reclaim(s, 77);
	ff3_slots_reclaim(s, 77);
	ck_assert(ff3_slots_take(s, 200, 0, &page));
	ck_assert_uint_eq(page, other);
	ff3_slots_give(s, 100, 100);
	/* Behind a page, or else before it. */
	ck_assert(ff3_slots_take(s, 40, 150, &page));
	ck_assert_uint_eq(page, 150);
	ck_assert(ff3_slots_take(s, 40, 150, &page));
	ck_assert_uint_eq(page, 100);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
END_TEST

TCase *net_shm_case(void)
{
	TCase *t = tcase_create("shm");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, lies);
	tcase_add_test(t, not_offered);
	tcase_add_loop_test(t, garbage, 0, 4);
	tcase_add_test(t, killed_client);
	tcase_add_test(t, killed_daemon);
	tcase_add_test(t, killed_and_looked_at);
	tcase_add_test(t, thousands);
	tcase_add_test(t, abandoned_place);
	tcase_add_test(t, large_pages);
	tcase_add_test(t, large_places);
	tcase_add_test(t, slots);
	return t;
}
