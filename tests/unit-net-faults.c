/* common/net: peers that misbehave, on either side. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "net_daemon.h"

static void raw_send(int fd, const void *p, size_t len)
{
	ck_assert_int_eq(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static size_t make_frame(uint8_t *out, uint16_t op, uint32_t flags, uint64_t id, const void *body,
			 size_t body_len, uint32_t payload_len)
{
	struct ff3_header h = { .op = op, .flags = flags, .request_id = id,
				.body_len = (uint32_t)body_len, .payload_len = payload_len,
				.body_crc = ff3_crc32c(0, body, body_len) };

	ff3_header_encode(out, &h);
	if (body_len)
		memcpy(out + FF3_HEADER_SIZE, body, body_len);
	return FF3_HEADER_SIZE + body_len;
}

static size_t make_hello(uint8_t *out)
{
	uint8_t body[128];
	size_t n = ff3_encode_req_hello(body, sizeof body,
					&(struct ff3_req_hello){ .session = 1, .role = 1 });

	return make_frame(out, FF3_OP_hello, 0, 1, body, n, 0);
}

static int dial(const struct daemon *d)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(d->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval tv = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	return fd;
}

static void greet(int fd)
{
	uint8_t frame[256], reply[FF3_HEADER_SIZE];
	struct ff3_header h;
	size_t n = make_hello(frame);

	raw_send(fd, frame, n);
	ck_assert_int_eq(recv(fd, reply, sizeof reply, MSG_WAITALL), sizeof reply);
	ck_assert_int_eq(ff3_header_decode(reply, &h), 0);
	ck_assert_uint_eq(h.status, 0);
	ck_assert_int_eq(recv(fd, frame, h.body_len, MSG_WAITALL), h.body_len);
}

/* The server closes without a word. */
static void expect_close(int fd)
{
	uint8_t c[64];

	ck_assert_int_le(recv(fd, c, sizeof c, 0), 0);
	close(fd);
}

START_TEST(malformed_frames)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t frame[256];
	unsigned seed = 1;
	size_t n;
	int fd;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	/* Each byte of the header damaged, before and after the hello. */
	for (unsigned i = 0; i < FF3_HEADER_SIZE; i++) {
		if (i == 4 || i == 5)
			continue; /* the version */
		fd = dial(&d);
		make_hello(frame);
		frame[i] ^= 0x10;
		raw_send(fd, frame, FF3_HEADER_SIZE);
		expect_close(fd);
		fd = dial(&d);
		greet(fd);
		make_frame(frame, FF3_OP_ping, 0, 3, "12345678", 8, 0);
		frame[i] ^= 0x10;
		raw_send(fd, frame, FF3_HEADER_SIZE + 8);
		expect_close(fd);
	}
	/* A damaged body, a reply, a second hello, a request before the hello, a hello that does
	 * not decode. */
	for (unsigned kind = 0; kind < 5; kind++) {
		fd = dial(&d);
		if (kind < 3)
			greet(fd);
		n = make_frame(frame, FF3_OP_ping, kind == 1 ? FF3_FRAME_REPLY : 0, 3, "12345678", 8,
			       0);
		if (kind == 0)
			frame[n - 1] ^= 1;
		if (kind == 2)
			n = make_hello(frame);
		if (kind == 4)
			n = make_frame(frame, FF3_OP_hello, 0, 3, "12345678", 8, 0);
		raw_send(fd, frame, n);
		if (kind == 4)
			recv(fd, frame, FF3_HEADER_SIZE, MSG_WAITALL);
		expect_close(fd);
	}
	for (unsigned i = 0; i < 50; i++) {
		fd = dial(&d);
		if (i % 2)
			greet(fd);
		for (size_t k = 0; k < sizeof frame; k++)
			frame[k] = (uint8_t)rand_r(&seed);
		raw_send(fd, frame, sizeof frame);
		expect_close(fd);
	}
	ck_assert_int_eq(ping(peer, 2), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* Frames that arrive byte by byte are frames all the same. */
START_TEST(byte_by_byte)
{
	struct daemon d = { 0 };
	uint8_t frame[256], reply[256];
	size_t n = make_hello(frame);
	int fd;

	daemon_start(&d);
	fd = dial(&d);
	for (size_t i = 0; i < n; i++)
		raw_send(fd, frame + i, 1);
	ck_assert_int_gt(recv(fd, reply, sizeof reply, 0), (int)FF3_HEADER_SIZE);
	for (unsigned k = 0; k < 3; k++) {
		n = make_frame(frame, FF3_OP_ping, 0, 3, "12345678", 8, 0);
		for (size_t i = 0; i < n; i++)
			raw_send(fd, frame + i, 1);
		ck_assert_int_eq(recv(fd, reply, FF3_HEADER_SIZE + 8, MSG_WAITALL),
				 FF3_HEADER_SIZE + 8);
		ck_assert_mem_eq(reply + FF3_HEADER_SIZE, "12345678", 8);
	}
	close(fd);
	daemon_stop(&d);
}
END_TEST

START_TEST(version_mismatch)
{
	struct daemon d = { 0 };
	uint8_t frame[256];
	struct ff3_header h;
	int fd;

	daemon_start(&d);
	fd = dial(&d);
	make_hello(frame);
	frame[4]++;
	raw_send(fd, frame, FF3_HEADER_SIZE);
	ck_assert_int_eq(recv(fd, frame, FF3_HEADER_SIZE, MSG_WAITALL), FF3_HEADER_SIZE);
	ck_assert_int_eq(ff3_header_decode(frame, &h), 0);
	ck_assert_int_eq(ff3_err_from_wire(h.status), FF3_E_VERSION);
	expect_close(fd);
	daemon_stop(&d);
}
END_TEST

/* The client dies in the middle of a payload. */
START_TEST(client_drops_mid_payload)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t frame[256], body[128], *part = calloc(1, 100000);
	size_t n;
	int fd;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (unsigned i = 0; i < 10; i++) {
		fd = dial(&d);
		greet(fd);
		n = ff3_encode_req_chunk_write(body, sizeof body,
					       &(struct ff3_req_chunk_write){ .ino = 1 });
		n = make_frame(frame, FF3_OP_chunk_write, 0, 5, body, n, 200000);
		raw_send(fd, frame, n);
		raw_send(fd, part, 10000 * i);
		close(fd);
		ck_assert_int_eq(ping(peer, i), 0);
	}
	while (d.n_closed < 10)
		ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_uint_eq(d.n_aborted, 10);
	ck_assert_uint_eq(d.under_way, 0);
	free(part);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

struct stalled {
	struct ff3_work work;
	struct daemon *d;
	unsigned n;
	atomic_bool ran;
};

static void reset_stalled(struct ff3_work *w)
{
	struct stalled *s = CONTAINER_OF(w, struct stalled, work);

	s->n += ff3_server_reset_stalled(s->d->server, 20 * FF3_NSEC_PER_MSEC);
	s->ran = true;
}

/* Looks at the connections once, on the loop. */
static void look(struct stalled *s)
{
	s->ran = false;
	s->work.fn = reset_stalled;
	ff3_loop_post(s->d->loop, &s->work);
	while (!s->ran)
		sched_yield();
}

/* One connection begins a payload and does not go on, another one takes no replies; a third waits for
 * the room. Those that hold nothing stay. */
START_TEST(connections_that_stand_still)
{
	enum { BIG = 4 << 20, SMALL = 50000, READS = 8 };
	struct daemon d = { .room = 1 };
	struct stalled s = { .d = &d };
	struct ff3_rpc_peer *idle, *writer;
	uint8_t frame[256], body[128], *buf = calloc(1, BIG);
	struct op op;
	size_t n;
	int begun, deaf;

	daemon_start(&d);
	idle = peer_for(&d, 1);
	writer = peer_for(&d, 1);
	ck_assert_int_eq(ping(idle, 1), 0);
	ck_assert_int_eq(ping(writer, 1), 0);
	begun = dial(&d);
	greet(begun);
	n = ff3_encode_req_chunk_write(body, sizeof body, &(struct ff3_req_chunk_write){ .ino = 1 });
	raw_send(begun, frame, make_frame(frame, FF3_OP_chunk_write, 0, 5, body, n, BIG));
	raw_send(begun, buf, 1000);
	while (d.under_way < 1)
		sched_yield();
	deaf = dial(&d);
	greet(deaf);
	n = ff3_encode_req_chunk_read(body, sizeof body,
				      &(struct ff3_req_chunk_read){ .ino = 1, .length = BIG });
	for (unsigned i = 0; i < READS; i++)
		raw_send(deaf, frame, make_frame(frame, FF3_OP_chunk_read, 0, 5 + i, body, n, 0));
	write_init(&op, buf, SMALL);
	ck_assert_int_eq(ff3_rpc_start(writer, &op.call), 0);
	while (s.n < 2)
		look(&s);
	ck_assert_int_eq(ff3_rpc_wait(&(struct ff3_rpc_call *){ &op.call }, 1, in_ms(20000)), 0);
	write_check(&op);
	ck_assert_uint_eq(d.n_aborted, 1);
	look(&s);
	ck_assert_uint_eq(s.n, 2);
	ck_assert_int_eq(ping(idle, 2), 0);
	ck_assert_uint_eq(d.n_closed, 2);
	expect_close(begun);
	close(deaf);
	free(buf);
	ff3_rpc_peer_free(idle);
	ff3_rpc_peer_free(writer);
	daemon_stop(&d);
}
END_TEST

/* A listener for a fake server, so that the client can be shown what no daemon of ours does. */
static int fake_listen(struct daemon *d)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	d->port = ntohs(a.sin_port);
	snprintf(d->address, sizeof d->address, "127.0.0.1:%u", d->port);
	return fd;
}

/* false: the client has given up, as it may when its time is short. */
static bool recv_frame(int fd, struct ff3_header *h, uint8_t *body, size_t size)
{
	uint8_t buf[FF3_HEADER_SIZE];

	if (recv(fd, buf, sizeof buf, MSG_WAITALL) != sizeof buf)
		return false;
	ck_assert_int_eq(ff3_header_decode(buf, h), 0);
	ck_assert_uint_le(h->body_len, size);
	return recv(fd, body, h->body_len, MSG_WAITALL) == h->body_len;
}

static int fake_accept(int listener)
{
	uint8_t body[1024], frame[256];
	struct ff3_header h;
	size_t n;
	int fd;

	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return -1;
		if (recv_frame(fd, &h, body, sizeof body))
			break;
		close(fd);
	}
	n = ff3_encode_rep_hello(body, sizeof body,
				 &(struct ff3_rep_hello){ .cluster = CLUSTER, .instance = 6 });
	n = make_frame(frame, FF3_OP_hello, FF3_FRAME_REPLY, h.request_id, body, n, 0);
	raw_send(fd, frame, n);
	return fd;
}

struct fake {
	int listener;
	int kind;
	pthread_t thread;
	atomic_bool go_on;
};

enum { HALF_PAYLOAD, HALF_HEADER, BAD_CRC, CLOSES, SILENT, HALF_THEN_SILENT };

/* Answers the first read on each connection badly: on three, or on as many as give up. */
static void *fake_run(void *arg)
{
	struct fake *f = arg;
	uint8_t body[256], frame[256], *payload = calloc(1, 100000);
	struct ff3_header h;

	for (int i = 0; f->kind >= SILENT || i < 3; i++) {
		int fd = fake_accept(f->listener);
		size_t n;

		if (fd < 0)
			break;
		if (!recv_frame(fd, &h, body, sizeof body)) {
			close(fd);
			continue;
		}
		n = ff3_encode_rep_chunk_read(body, sizeof body,
					      &(struct ff3_rep_chunk_read){ .crcs = { "abcd", 4 } });
		n = make_frame(frame, FF3_OP_chunk_read, FF3_FRAME_REPLY, h.request_id, body, n,
			       100000);
		switch (f->kind) {
		case HALF_HEADER:
			raw_send(fd, frame, FF3_HEADER_SIZE / 2);
			break;
		case BAD_CRC:
			frame[n - 1] ^= 1;
			raw_send(fd, frame, n);
			break;
		case HALF_PAYLOAD:
		case HALF_THEN_SILENT:
			raw_send(fd, frame, n);
			raw_send(fd, payload, 50000);
			break;
		default:
			break;
		}
		if (f->kind >= SILENT)
			/* Until the client gives up. */
			while (recv(fd, frame, sizeof frame, 0) > 0)
				;
		close(fd);
	}
	free(payload);
	return NULL;
}

START_TEST(server_drops)
{
	struct daemon d = { 0 };
	struct fake f = { .listener = fake_listen(&d), .kind = _i };
	struct ff3_rpc_peer *peer = peer_for(&d, 1);
	uint8_t *buf = calloc(1, 100000);
	struct op op;

	ck_assert_int_eq(pthread_create(&f.thread, NULL, fake_run, &f), 0);
	for (int i = 0; i < 3; i++) {
		int r;

		read_init(&op, 1, 0, buf, 100000, 0);
		op.call.reply_expected = i * 10;
		r = ff3_rpc_call(peer, &op.call, in_ms(10000));
		/* After a wrong guess the reply has lain in buf, which its owner might have changed. */
		if (_i == BAD_CRC && i == 0)
			ck_assert_int_eq(r, -EBADMSG);
		else if (_i != BAD_CRC || r != -EBADMSG)
			ck_assert_int_eq(r, -ECONNRESET);
	}
	pthread_join(f.thread, NULL);
	close(f.listener);
	/* Nobody there. */
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	ff3_rpc_peer_free(peer);
	free(buf);
}
END_TEST

struct victim {
	struct ff3_rpc_peer *peer;
	pthread_t thread;
	uint8_t *buf;
	uint64_t ms;
	int result;
};

static void *victim_run(void *arg)
{
	struct victim *v = arg;
	struct op op;

	read_init(&op, 1, 0, v->buf, 100000, 0);
	v->result = ff3_rpc_call(v->peer, &op.call, in_ms(v->ms));
	/* Nothing may be written there any more. */
	memset(v->buf, 0x55, 100000);
	return NULL;
}

/* Calls that time out, alone and while another thread reads for them. */
START_TEST(timeouts)
{
	struct daemon d = { 0 };
	struct fake f = { .listener = fake_listen(&d), .kind = _i };
	struct ff3_rpc_peer *peer = peer_for(&d, 1);
	struct victim v[6];
	uint64_t begin = ff3_boottime_ns();

	ck_assert_int_eq(pthread_create(&f.thread, NULL, fake_run, &f), 0);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
			v[i] = (struct victim){ .peer = peer, .buf = calloc(1, 100000),
						.ms = 30 * (i + 1) };
			ck_assert_int_eq(pthread_create(&v[i].thread, NULL, victim_run, &v[i]), 0);
		}
		for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
			pthread_join(v[i].thread, NULL);
			ck_assert(v[i].result == -ETIMEDOUT || v[i].result == -ECONNRESET);
			for (unsigned k = 0; k < 100000; k++)
				if (v[i].buf[k] != 0x55)
					ck_abort_msg("byte %u was written", k);
			free(v[i].buf);
		}
		/* What a broken connection leaves must not stop the next round. */
		ff3_rpc_close_idle(peer, 0);
	}
	ck_assert_uint_lt(ff3_boottime_ns() - begin, 8 * FF3_NSEC_PER_SEC);
	shutdown(f.listener, SHUT_RDWR);
	ff3_rpc_peer_free(peer);
	pthread_join(f.thread, NULL);
	close(f.listener);
}
END_TEST

/* A daemon that hangs is given up when its call's time is over, also while connecting. */
START_TEST(hello_timeout)
{
	struct daemon d = { 0 };
	int listener = fake_listen(&d);
	struct ff3_rpc_peer *peer = peer_for(&d, 1);
	struct op op;

	ping_init(&op, 1);
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(50)), -ETIMEDOUT);
	ck_assert(ff3_rpc_is_done(&op.call));
	close(listener);
	ff3_rpc_peer_free(peer);
}
END_TEST

START_TEST(hello_refused)
{
	struct daemon d = { 0 };
	struct ff3_rpc_identity id = { .cluster = CLUSTER + 1, .session = 1 };
	struct ff3_rpc_peer *peer;

	daemon_start(&d);
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, NULL, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), FF3_E_CLUSTER);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 0);
}
END_TEST

/* Who does not serve says who does; the answer of a former primary counts for nothing. */
START_TEST(not_primary)
{
	struct ff3_rpc_known known = { 0 };
	struct ff3_rpc_identity id = { .session = 1, .role = FF3_ROLE_MEMBER, .epoch = 3, .member = 2,
				       .log_id = 0x1234567890abcdef };
	struct ff3_rpc_options options = { .known = &known };
	struct daemon d = { .epoch = 4, .primary = "host-of-the-primary:9734" };
	char primary[FF3_RPC_ADDRESS_MAX];
	struct ff3_rpc_greeting greeting;
	struct ff3_rpc_peer *peer;
	uint64_t epoch;

	daemon_start(&d);
	options.links = d.links;
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, &options, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), FF3_E_NOT_PRIMARY);
	ff3_rpc_peer_primary(peer, primary, &epoch);
	ck_assert_str_eq(primary, "host-of-the-primary:9734");
	ck_assert_uint_eq(epoch, 4);
	ck_assert_uint_eq(d.hello.member, 2);
	ck_assert_uint_eq(d.hello.log_id, 0x1234567890abcdef);
	ck_assert_uint_eq(d.hello.epoch, 3);
	ck_assert_uint_eq(known.epoch, 0);

	d.primary = "";
	ck_assert_int_eq(ping(peer, 1), FF3_E_NOT_PRIMARY);
	ff3_rpc_peer_primary(peer, primary, &epoch);
	ck_assert_str_eq(primary, "");

	d.primary = NULL;
	d.epoch = 7;
	ck_assert_int_eq(ping(peer, 1), 0);
	greeting = ff3_rpc_peer_greeting(peer);
	ck_assert_uint_eq(greeting.epoch, 7);
	ck_assert_uint_eq(greeting.member, 2);
	ck_assert_uint_eq(greeting.log_id, 0x1234567890abcdef);
	ck_assert_uint_eq(known.epoch, 7);
	ff3_rpc_peer_free(peer);

	d.epoch = 6;
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, &options, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), FF3_E_NOT_PRIMARY);
	ck_assert_uint_eq(known.epoch, 7);
	d.epoch = 7;
	ck_assert_int_eq(ping(peer, 1), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

TCase *net_faults_case(void)
{
	TCase *t = tcase_create("faults");

	tcase_set_timeout(t, 60);
	/* The bytes of a stream. */
	if (!net_over_verbs()) {
		tcase_add_test(t, malformed_frames);
		tcase_add_test(t, byte_by_byte);
		tcase_add_test(t, version_mismatch);
		tcase_add_test(t, client_drops_mid_payload);
		tcase_add_test(t, connections_that_stand_still);
		tcase_add_loop_test(t, server_drops, HALF_PAYLOAD, CLOSES + 1);
		tcase_add_loop_test(t, timeouts, SILENT, HALF_THEN_SILENT + 1);
		tcase_add_test(t, hello_timeout);
	}
	tcase_add_test(t, hello_refused);
	tcase_add_test(t, not_primary);
	return t;
}
