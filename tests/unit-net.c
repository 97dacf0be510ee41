/* The two sides of common/net against each other over loopback: every case runs a real server on a
 * loop in its own thread. ping answers its cookie; chunk_read answers bytes that follow from
 * (ino, offset); chunk_write is answered with the CRC of what came (in version). */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "../common/net/rpc.h"
#include "../common/net/server.h"

#define CLUSTER 77
#define PAYLOAD_MAX FF3_PAYLOAD_MAX

struct daemon {
	struct ff3_loop *loop, *second_loop;
	struct ff3_server *server, *second;
	pthread_t thread, second_thread;
	char address[64];
	uint16_t port;
	bool move;                /* hellos move to the second server */
	unsigned room;            /* payloads that may be under way; 0: any number */
	atomic_uint under_way;    /* payload buffers */
	atomic_uint n_closed, n_aborted, n_requests, n_waited;
	atomic_uint second_requests;
	atomic_bool hold;         /* pings wait until a ping with cookie 0 */
	struct ff3_request *held[64];
	unsigned n_held;
	struct ff3_work work;
	void (*run)(struct daemon *d);
	atomic_bool ran;
};

static uint8_t pattern_byte(uint64_t ino, uint64_t offset)
{
	uint64_t x = (ino * 0x9e3779b97f4a7c15u) ^ (offset >> 3) * 0xbf58476d1ce4e5b9u;

	x ^= x >> 29;
	return (uint8_t)(x >> (8 * (offset & 7)));
}

static void fill(uint8_t *p, size_t len, uint64_t ino, uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern_byte(ino, offset + i);
}

static bool is_pattern(const uint8_t *p, size_t len, uint64_t ino, uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern_byte(ino, offset + i))
			return false;
	return true;
}

/* --- The server ---------------------------------------------------------------------------- */

static int on_hello(struct ff3_server *server, const struct ff3_req_hello *hello,
		    struct ff3_rep_hello *reply, void **conn_user, struct ff3_server **move_to)
{
	struct daemon *d = ff3_server_user(server);

	if (hello->cluster && hello->cluster != CLUSTER)
		return FF3_E_CLUSTER;
	if (hello->credential.len > 0)
		return FF3_E_CREDENTIAL;
	if (d->move && server == d->server)
		*move_to = d->second;
	*reply = (struct ff3_rep_hello){ .cluster = CLUSTER, .instance = 5, .lease_ms = 1234,
					 .software = FF3_STR("unit") };
	*conn_user = d;
	return 0;
}

static int on_payload(struct ff3_server *server, struct ff3_request *r)
{
	struct daemon *d = ff3_server_user(server);

	if (r->header.op != FF3_OP_chunk_write)
		return -EINVAL;
	if (d->room && d->under_way >= d->room) {
		d->n_waited++;
		return 0;
	}
	r->payload = malloc(r->header.payload_len);
	if (!r->payload)
		return -ENOMEM;
	d->under_way++;
	return 0;
}

static void drop_payload(struct ff3_server *server, struct ff3_request *r)
{
	struct daemon *d = ff3_server_user(server);

	free(r->payload);
	d->under_way--;
	ff3_server_resume(server);
}

static void on_payload_abort(struct ff3_server *server, struct ff3_request *r)
{
	struct daemon *d = ff3_server_user(server);

	d->n_aborted++;
	drop_payload(server, r);
}

static void serve_ping(struct daemon *d, struct ff3_request *r)
{
	struct ff3_req_ping m;

	if (ff3_decode_req_ping(r->body, r->header.body_len, &m) < 0) {
		ff3_request_fail(r, -EINVAL);
		return;
	}
	if (d->hold && m.cookie != 0) {
		ck_assert_uint_lt(d->n_held, ARRAY_SIZE(d->held));
		ck_assert_int_eq(ff3_request_keep_body(r), 0);
		d->held[d->n_held++] = r;
		return;
	}
	/* The held ones in reverse order. */
	while (d->n_held > 0) {
		struct ff3_request *held = d->held[--d->n_held];
		struct ff3_req_ping old;

		ck_assert_int_eq(ff3_decode_req_ping(held->body, held->header.body_len, &old), 0);
		FF3_REQUEST_REPLY(held, ping, &((struct ff3_rep_ping){ old.cookie }));
	}
	FF3_REQUEST_REPLY(r, ping, &((struct ff3_rep_ping){ m.cookie }));
}

static void serve_read(struct ff3_request *r)
{
	struct ff3_req_chunk_read m;
	uint8_t body[64], *p;
	size_t len, n;

	ck_assert_int_eq(ff3_decode_req_chunk_read(r->body, r->header.body_len, &m), 0);
	if (m.flags == 1) {
		ff3_request_fail(r, FF3_E_CHECKSUM);
		return;
	}
	/* flags 2: the chunk ends early. */
	len = m.flags == 2 ? m.length / 3 : m.length;
	p = malloc(len ? len : 1);
	ck_assert_ptr_nonnull(p);
	fill(p, len, m.ino, m.offset);
	n = ff3_encode_rep_chunk_read(body, sizeof body,
				      &(struct ff3_rep_chunk_read){
					      .chunk_size = m.length,
					      .version = ff3_crc32c(0, p, len),
					      .crcs = { "abcd", m.flags == 2 ? 0 : 4 } });
	ck_assert_uint_le(n, sizeof body);
	ff3_request_reply_payload(r, body, n, p, len, free, p);
}

static void on_request(struct ff3_server *server, struct ff3_request *r)
{
	struct daemon *d = ff3_server_user(server);
	uint32_t crc;

	d->n_requests++;
	d->second_requests += server == d->second;
	switch (r->header.op) {
	case FF3_OP_ping:
		serve_ping(d, r);
		break;
	case FF3_OP_chunk_read:
		serve_read(r);
		break;
	case FF3_OP_chunk_write:
		crc = r->payload ? ff3_crc32c(0, r->payload, r->header.payload_len) : 0;
		if (r->payload)
			drop_payload(server, r);
		FF3_REQUEST_REPLY(r, chunk_write, &((struct ff3_rep_chunk_write){ .version = crc }));
		break;
	case FF3_OP_readdir: {
		/* A body larger than any inline room. */
		static uint8_t big[300000];

		fill(big, sizeof big, 3, 0);
		FF3_REQUEST_REPLY(r, readdir,
				  &((struct ff3_rep_readdir){ .entries = { big, sizeof big } }));
		break;
	}
	default:
		ff3_request_fail(r, -EOPNOTSUPP);
	}
}

static void on_closed(struct ff3_server *server, struct ff3_conn *conn, void *conn_user)
{
	struct daemon *d = conn_user;

	ck_assert_ptr_eq(d, ff3_server_user(server));
	d->n_closed++;
	for (unsigned i = 0; i < d->n_held;) {
		if (d->held[i]->conn != conn) {
			i++;
			continue;
		}
		ff3_request_fail(d->held[i], -ECONNRESET);
		d->held[i] = d->held[--d->n_held];
	}
}

static const struct ff3_server_ops ops = {
	.hello = on_hello,
	.payload = on_payload,
	.payload_abort = on_payload_abort,
	.request = on_request,
	.closed = on_closed,
};

static void *run_loop(void *loop)
{
	ck_assert_int_eq(ff3_loop_run(loop), 0);
	return NULL;
}

static void daemon_listen(struct daemon *d, const char *address)
{
	ck_assert_int_eq(ff3_loop_new(0, &d->loop), 0);
	ck_assert_int_eq(ff3_server_new(d->loop, &ops, d, &d->server), 0);
	ck_assert_int_eq(ff3_server_listen(d->server, address, &d->port), 0);
	snprintf(d->address, sizeof d->address, "127.0.0.1:%u", d->port);
	if (d->move) {
		ck_assert_int_eq(ff3_loop_new(8, &d->second_loop), 0);
		ck_assert_int_eq(ff3_server_new(d->second_loop, &ops, d, &d->second), 0);
		ck_assert_int_eq(pthread_create(&d->second_thread, NULL, run_loop, d->second_loop), 0);
	}
	ck_assert_int_eq(pthread_create(&d->thread, NULL, run_loop, d->loop), 0);
}

static void daemon_start(struct daemon *d)
{
	daemon_listen(d, "127.0.0.1:0");
}

static void daemon_stop(struct daemon *d)
{
	ff3_loop_stop(d->loop);
	pthread_join(d->thread, NULL);
	ff3_server_free(d->server);
	ff3_loop_free(d->loop);
	if (d->move) {
		ff3_loop_stop(d->second_loop);
		pthread_join(d->second_thread, NULL);
		ff3_server_free(d->second);
		ff3_loop_free(d->second_loop);
	}
	ck_assert_uint_eq(d->under_way, 0);
	d->loop = NULL;
}

/* --- The client ---------------------------------------------------------------------------- */

static struct ff3_rpc_peer *peer_for(const struct daemon *d, unsigned connections)
{
	struct ff3_rpc_identity id = { .session = 9, .role = FF3_ROLE_CLIENT };
	struct ff3_rpc_options o = { .max_connections = connections };
	struct ff3_rpc_peer *peer;

	ck_assert_int_eq(ff3_rpc_peer_new(d->address, &id, &o, &peer), 0);
	return peer;
}

static uint64_t in_ms(uint64_t ms)
{
	return ff3_boottime_ns() + ms * FF3_NSEC_PER_MSEC;
}

struct op {
	struct ff3_rpc_call call;
	uint8_t body[128], reply[256];
	struct iovec iov;
};

static void ping_init(struct op *op, uint64_t cookie)
{
	*op = (struct op){ .call = { .op = FF3_OP_ping, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply } };
	op->call.body_len = ff3_encode_req_ping(op->body, sizeof op->body,
						&(struct ff3_req_ping){ cookie });
}

static int ping_result(struct op *op, uint64_t cookie)
{
	struct ff3_rep_ping m;

	if (op->call.status < 0)
		return op->call.status;
	ck_assert_int_eq(ff3_decode_rep_ping(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(m.cookie, cookie);
	return 0;
}

static int ping(struct ff3_rpc_peer *peer, uint64_t cookie)
{
	struct op op;

	ping_init(&op, cookie);
	ff3_rpc_call(peer, &op.call, in_ms(10000));
	return ping_result(&op, cookie);
}

static void read_init(struct op *op, uint64_t ino, uint32_t offset, void *buf, uint32_t len,
		      uint32_t flags)
{
	*op = (struct op){ .call = { .op = FF3_OP_chunk_read, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply, .into = &op->iov, .n_into = 1,
				     .reply_expected = 20 },
			   .iov = { buf, len } };
	op->call.body_len = ff3_encode_req_chunk_read(
		op->body, sizeof op->body,
		&(struct ff3_req_chunk_read){ .ino = ino, .offset = offset, .length = len,
					      .flags = flags });
}

static void read_check(struct op *op, uint64_t ino, uint32_t offset)
{
	struct ff3_rep_chunk_read m;

	ck_assert_int_eq(op->call.status, 0);
	ck_assert_uint_eq(op->call.instance, 5);
	ck_assert_int_eq(ff3_decode_rep_chunk_read(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(op->call.payload_len, m.crcs.len ? m.chunk_size : m.chunk_size / 3);
	ck_assert_uint_eq(ff3_crc32c(0, op->iov.iov_base, op->call.payload_len), m.version);
	ck_assert(is_pattern(op->iov.iov_base, op->call.payload_len, ino, offset));
}

static void write_init(struct op *op, const void *buf, size_t len)
{
	*op = (struct op){ .call = { .op = FF3_OP_chunk_write, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply, .payload = &op->iov,
				     .n_payload = 1, .reply_expected = 20 },
			   .iov = { (void *)buf, len } };
	op->call.body_len = ff3_encode_req_chunk_write(op->body, sizeof op->body,
						       &(struct ff3_req_chunk_write){ .ino = 1 });
}

static void write_check(struct op *op)
{
	struct ff3_rep_chunk_write m;

	ck_assert_int_eq(op->call.status, 0);
	ck_assert_int_eq(ff3_decode_rep_chunk_write(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(m.version, ff3_crc32c(0, op->iov.iov_base, op->iov.iov_len));
}

/* --- Cases --------------------------------------------------------------------------------- */

START_TEST(one_call)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;

	daemon_start(&d);
	peer = peer_for(&d, 0);
	ck_assert_uint_eq(ff3_rpc_peer_instance(peer), 0);
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_int_eq(ping(peer, i), 0);
	ck_assert_uint_eq(ff3_rpc_peer_instance(peer), 5);
	ck_assert_uint_eq(ff3_rpc_peer_cluster(peer), CLUSTER);
	ck_assert_uint_eq(ff3_rpc_peer_lease_ms(peer), 1234);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 1);
}
END_TEST

START_TEST(reads_of_all_sizes)
{
	static const uint32_t sizes[] = { 0, 1, 39, 40, 41, 4095, 4096, 65535, 65536, 65537,
					  1048576, PAYLOAD_MAX };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t *buf = malloc(PAYLOAD_MAX);
	struct op op;

	daemon_start(&d);
	peer = peer_for(&d, 0);
	for (int expected = 0; expected <= 40; expected += 20)
		for (uint32_t flags = 0; flags < 3; flags++)
			for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
				memset(buf, 0xee, sizes[i]);
				read_init(&op, i, 7, buf, sizes[i], flags);
				op.call.reply_expected = (size_t)expected;
				ff3_rpc_call(peer, &op.call, in_ms(10000));
				if (flags == 1)
					ck_assert_int_eq(op.call.status, FF3_E_CHECKSUM);
				else
					read_check(&op, i, 7);
			}
	free(buf);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(writes_of_all_sizes)
{
	static const uint32_t sizes[] = { 0, 1, 4096, 65400, 65536, 1048576, PAYLOAD_MAX };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t *buf = malloc(PAYLOAD_MAX);
	struct op op;

	fill(buf, PAYLOAD_MAX, 11, 0);
	daemon_start(&d);
	peer = peer_for(&d, 0);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			write_init(&op, buf, sizes[i]);
			ff3_rpc_call(peer, &op.call, in_ms(10000));
			write_check(&op);
		}
	free(buf);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(pipelining)
{
	enum { N = 300, SIZE = 5000 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op *ops_ = calloc(N, sizeof *ops_);
	struct ff3_rpc_call *calls[N];
	uint8_t *buf = malloc(N * SIZE);

	daemon_start(&d);
	for (unsigned connections = 1; connections <= 3; connections += 2) {
		peer = peer_for(&d, connections);
		for (unsigned i = 0; i < N; i++) {
			switch (i % 4) {
			case 0:
				ping_init(&ops_[i], i);
				break;
			case 1:
				fill(buf + i * SIZE, SIZE, i, 0);
				write_init(&ops_[i], buf + i * SIZE, i * 16);
				break;
			default:
				/* Some of these end early or have a wrong guess. */
				read_init(&ops_[i], i, i, buf + i * SIZE, SIZE, i % 7 == 0 ? 2 : 0);
				ops_[i].call.reply_expected = i % 5 == 0 ? 0 : i % 11 == 0 ? 33 : 20;
				break;
			}
			calls[i] = &ops_[i].call;
			ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
		}
		for (unsigned n = 0; n < N;) {
			unsigned n_done = 0;

			ck_assert_int_eq(ff3_rpc_wait_any(calls, N, in_ms(10000)), 0);
			for (unsigned i = 0; i < N; i++)
				n_done += ff3_rpc_is_done(calls[i]);
			ck_assert_uint_gt(n_done, n);
			n = n_done;
		}
		ck_assert_int_eq(ff3_rpc_wait(calls, N, 0), 0);
		for (unsigned i = 0; i < N; i++) {
			if (i % 4 == 0)
				ck_assert_int_eq(ping_result(&ops_[i], i), 0);
			else if (i % 4 == 1)
				write_check(&ops_[i]);
			else
				read_check(&ops_[i], i, i);
		}
		ff3_rpc_peer_free(peer);
	}
	free(buf);
	free(ops_);
	daemon_stop(&d);
}
END_TEST

/* Replies in another order than the requests. */
START_TEST(out_of_order)
{
	enum { N = 50 };
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op ops_[N + 1];
	struct ff3_rpc_call *calls[N + 1];

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (unsigned i = 0; i <= N; i++) {
		ping_init(&ops_[i], i < N ? i + 1 : 0);
		ops_[i].call.reply_expected = 8;
		calls[i] = &ops_[i].call;
		ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
	}
	ck_assert_int_eq(ff3_rpc_wait(calls, N + 1, in_ms(10000)), 0);
	for (unsigned i = 0; i <= N; i++)
		ck_assert_int_eq(ping_result(&ops_[i], i < N ? i + 1 : 0), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

struct worker {
	struct daemon *d;
	struct ff3_rpc_peer *peer;
	pthread_t thread;
	unsigned seed;
};

static void *work(void *arg)
{
	enum { LOOPS = 150, DEPTH = 6, SIZE = 100000 };
	struct worker *w = arg;
	uint8_t *buf = malloc(DEPTH * SIZE);
	struct op ops_[DEPTH];
	struct ff3_rpc_call *calls[DEPTH];

	for (unsigned i = 0; i < LOOPS; i++) {
		uint32_t len = rand_r(&w->seed) % SIZE + 1;
		unsigned depth = (unsigned)rand_r(&w->seed) % DEPTH + 1;

		for (unsigned k = 0; k < depth; k++) {
			uint8_t *p = buf + k * SIZE;

			switch (rand_r(&w->seed) % 3) {
			case 0:
				read_init(&ops_[k], i, k, p, len, 0);
				break;
			case 1:
				read_init(&ops_[k], i, k, p, len % 5000 + 1, 0);
				break;
			default:
				write_init(&ops_[k], p, len);
			}
			calls[k] = &ops_[k].call;
			ck_assert_int_eq(ff3_rpc_start(w->peer, calls[k]), 0);
		}
		ck_assert_int_eq(ff3_rpc_wait(calls, depth, in_ms(20000)), 0);
		for (unsigned k = 0; k < depth; k++)
			if (ops_[k].call.op == FF3_OP_chunk_read)
				read_check(&ops_[k], i, k);
			else
				write_check(&ops_[k]);
		ck_assert_int_eq(ping(w->peer, i), 0);
	}
	free(buf);
	return NULL;
}

START_TEST(eight_threads)
{
	struct daemon d = { .room = 3 };
	struct worker w[8];
	struct ff3_rpc_peer *peer;

	daemon_start(&d);
	for (unsigned connections = 1; connections <= 4; connections += 3) {
		peer = peer_for(&d, connections);
		for (unsigned i = 0; i < 8; i++) {
			w[i] = (struct worker){ .d = &d, .peer = peer, .seed = i };
			ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
		}
		for (unsigned i = 0; i < 8; i++)
			pthread_join(w[i].thread, NULL);
		ff3_rpc_peer_free(peer);
	}
	daemon_stop(&d);
}
END_TEST

/* One payload at a time may be under way, from two connections. */
START_TEST(payload_back_pressure)
{
	enum { N = 40, SIZE = 300000 };
	struct daemon d = { .room = 1 };
	struct ff3_rpc_peer *peers[2];
	struct op ops_[N];
	struct ff3_rpc_call *calls[N];
	uint8_t *buf = malloc(SIZE);

	fill(buf, SIZE, 1, 0);
	daemon_start(&d);
	peers[0] = peer_for(&d, 1);
	peers[1] = peer_for(&d, 1);
	for (unsigned i = 0; i < N; i++) {
		write_init(&ops_[i], buf, SIZE - i);
		calls[i] = &ops_[i].call;
		ck_assert_int_eq(ff3_rpc_start(peers[i % 2], calls[i]), 0);
	}
	ck_assert_int_eq(ff3_rpc_wait(calls, N, in_ms(20000)), 0);
	for (unsigned i = 0; i < N; i++)
		write_check(&ops_[i]);
	ff3_rpc_peer_free(peers[0]);
	ff3_rpc_peer_free(peers[1]);
	free(buf);
	daemon_stop(&d);
}
END_TEST

/* Refused payloads are thrown away and the connection lives. */
START_TEST(payload_refused)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t *buf = calloc(1, 1 << 20);
	struct op op;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (size_t len = 1; len <= 1 << 20; len *= 16) {
		write_init(&op, buf, len);
		op.call.op = FF3_OP_chunk_sync;
		ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(5000)), -EINVAL);
		ck_assert_int_eq(ping(peer, len), 0);
	}
	free(buf);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 1);
}
END_TEST

START_TEST(large_bodies)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op op;
	uint8_t *reply = malloc(FF3_BODY_MAX), *body = calloc(1, FF3_BODY_MAX + 1);
	struct ff3_rep_readdir m;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ping_init(&op, 1);
	op.call.op = FF3_OP_readdir;
	op.call.reply = reply;
	op.call.reply_size = FF3_BODY_MAX;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(5000)), 0);
	ck_assert_int_eq(ff3_decode_rep_readdir(reply, op.call.reply_len, &m), 0);
	ck_assert(is_pattern(m.entries.p, m.entries.len, 3, 0));
	/* Too large for the caller: an error, and the connection goes on. */
	op.call.reply_size = 1000;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(5000)), -E2BIG);
	/* A request body that needs a larger receive buffer. */
	ping_init(&op, 1);
	op.call.body = body;
	op.call.body_len = FF3_BODY_MAX;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(5000)), -EINVAL);
	op.call.body_len++;
	ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(5000)), -E2BIG);
	ck_assert_int_eq(ping(peer, 4), 0);
	free(reply);
	free(body);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 1);
}
END_TEST

/* Buffers that are no memory fail their own call only. */
START_TEST(bad_buffers)
{
	enum { SIZE = 70000 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	uint8_t *bad = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *good = malloc(SIZE);
	struct op ops_[9];
	struct ff3_rpc_call *calls[9];

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (uint32_t len = 1; len < SIZE; len = len * 7 + 1) {
		read_init(&ops_[0], 1, 2, bad, len, 0);
		ck_assert_int_eq(ff3_rpc_call(peer, &ops_[0].call, in_ms(5000)), -EFAULT);
		/* Among others. */
		for (unsigned guess = 0; guess <= 20; guess += 10) {
			for (unsigned i = 0; i < 9; i++) {
				read_init(&ops_[i], i, 2, i % 3 == 1 ? bad : good, len, 0);
				ops_[i].call.reply_expected = guess;
				calls[i] = &ops_[i].call;
				ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
			}
			ck_assert_int_eq(ff3_rpc_wait(calls, 9, in_ms(5000)), 0);
			for (unsigned i = 0; i < 9; i++)
				ck_assert_int_eq(ops_[i].call.status, i % 3 == 1 ? -EFAULT : 0);
		}
		ck_assert_int_eq(ping(peer, 4), 0);
		write_init(&ops_[0], bad, len);
		ck_assert_int_eq(ff3_rpc_call(peer, &ops_[0].call, in_ms(5000)), -EFAULT);
		ck_assert_int_eq(ping(peer, 4), 0);
	}
	free(good);
	munmap(bad, SIZE);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* A reader that does not read stops being read from: it cannot make the server hold its replies
 * without bound. */
START_TEST(slow_reader)
{
	enum { N = 64, SIZE = 1 << 20 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *slow, *other;
	struct op *ops_ = calloc(N, sizeof *ops_);
	struct ff3_rpc_call *calls[N];
	uint8_t *buf = malloc((size_t)N * SIZE);
	unsigned before;

	daemon_start(&d);
	slow = peer_for(&d, 1);
	other = peer_for(&d, 1);
	for (unsigned i = 0; i < N; i++) {
		read_init(&ops_[i], i, 0, buf + (size_t)i * SIZE, SIZE, 0);
		calls[i] = &ops_[i].call;
		ck_assert_int_eq(ff3_rpc_start(slow, calls[i]), 0);
	}
	/* Others are served meanwhile; by then the server has taken what it would take. */
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(ping(other, i), 0);
	before = d.n_requests - 200;
	ck_assert_uint_lt(before, 40);
	ck_assert_int_eq(ff3_rpc_wait(calls, N, in_ms(20000)), 0);
	for (unsigned i = 0; i < N; i++)
		read_check(&ops_[i], i, 0);
	ff3_rpc_peer_free(slow);
	ff3_rpc_peer_free(other);
	free(buf);
	free(ops_);
	daemon_stop(&d);
}
END_TEST

/* Large writes and large reads cross each other on one connection, more than sockets hold. */
START_TEST(both_directions)
{
	enum { N = 60, SIZE = 1 << 20 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op *ops_ = calloc(N, sizeof *ops_);
	struct ff3_rpc_call *calls[N];
	uint8_t *buf = calloc(N, SIZE);

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (unsigned i = 0; i < N; i++) {
		if (i < N / 2)
			read_init(&ops_[i], i, 0, buf + (size_t)i * SIZE, SIZE, 0);
		else
			write_init(&ops_[i], buf + (size_t)i * SIZE, SIZE);
		calls[i] = &ops_[i].call;
		ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
	}
	ck_assert_int_eq(ff3_rpc_wait(calls, N, in_ms(20000)), 0);
	for (unsigned i = 0; i < N; i++)
		if (i < N / 2)
			read_check(&ops_[i], i, 0);
		else
			write_check(&ops_[i]);
	ff3_rpc_peer_free(peer);
	free(buf);
	free(ops_);
	daemon_stop(&d);
}
END_TEST

/* --- A peer that misbehaves ---------------------------------------------------------------- */

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

static void recv_frame(int fd, struct ff3_header *h, uint8_t *body, size_t size)
{
	uint8_t buf[FF3_HEADER_SIZE];

	ck_assert_int_eq(recv(fd, buf, sizeof buf, MSG_WAITALL), sizeof buf);
	ck_assert_int_eq(ff3_header_decode(buf, h), 0);
	ck_assert_uint_le(h->body_len, size);
	ck_assert_int_eq(recv(fd, body, h->body_len, MSG_WAITALL), h->body_len);
}

static int fake_accept(int listener)
{
	uint8_t body[1024], frame[256];
	struct ff3_header h;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	size_t n;

	ck_assert_int_ge(fd, 0);
	recv_frame(fd, &h, body, sizeof body);
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

/* Answers the first read on each of three connections badly. */
static void *fake_run(void *arg)
{
	struct fake *f = arg;
	uint8_t body[256], frame[256], *payload = calloc(1, 100000);
	struct ff3_header h;

	for (int i = 0; i < 3; i++) {
		int fd = fake_accept(f->listener);
		size_t n;

		recv_frame(fd, &h, body, sizeof body);
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
		read_init(&op, 1, 0, buf, 100000, 0);
		op.call.reply_expected = i * 10;
		ck_assert_int_eq(ff3_rpc_call(peer, &op.call, in_ms(10000)),
				 _i == BAD_CRC ? -EBADMSG : -ECONNRESET);
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
	pthread_cancel(f.thread);
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
	id.cluster = 0;
	id.credential = (struct ff3_blob){ "x", 1 };
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, NULL, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), FF3_E_CREDENTIAL);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 0);
}
END_TEST

/* --- Life ---------------------------------------------------------------------------------- */

/* The child speaks on connections of its own, and what was under way is over for it. */
START_TEST(fork_child)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;
	pid_t pid;
	int status;

	daemon_start(&d);
	peer = peer_for(&d, 2);
	ck_assert_int_eq(ping(peer, 0), 0);
	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	pid = fork();
	if (pid == 0) {
		ff3_rpc_after_fork(peer, 10);
		if (ff3_rpc_wait(&call, 1, in_ms(5000)) != 0 || call->status != -ECONNRESET)
			_exit(1);
		for (int i = 0; i < 100; i++)
			if (ping(peer, 0) < 0)
				_exit(2);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* The child's pings let the parent's go. */
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(5000)), 0);
	ck_assert_int_eq(ping_result(&op, 3), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(hand_over)
{
	struct daemon d = { .move = true };
	struct worker w[4];

	daemon_start(&d);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct worker){ .d = &d, .peer = peer_for(&d, 2), .seed = i };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		pthread_join(w[i].thread, NULL);
		ff3_rpc_peer_free(w[i].peer);
	}
	daemon_stop(&d);
	ck_assert_uint_gt(d.n_requests, 0);
	ck_assert_uint_eq(d.n_requests, d.second_requests);
}
END_TEST

static void free_server(struct ff3_work *w)
{
	struct daemon *d = CONTAINER_OF(w, struct daemon, work);

	ff3_server_free(TAKE_PTR(d->server));
	d->ran = true;
}

/* Freeing a server whose loop runs, with connections and unanswered requests; then another one
 * on the same loop. */
START_TEST(server_free_while_running)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	while (d.n_requests == 0)
		sched_yield();
	d.work.fn = free_server;
	ff3_loop_post(d.loop, &d.work);
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(5000)), 0);
	ck_assert_int_eq(call->status, -ECONNRESET);
	while (!d.ran || d.n_closed == 0)
		sched_yield();
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(restart_and_idle)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	char address[64];

	daemon_start(&d);
	peer = peer_for(&d, 4);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ping(peer, 1), 0);
		ff3_rpc_close_idle(peer, FF3_NSEC_PER_SEC * 1000);
		ck_assert_int_eq(ping(peer, 2), 0);
		ff3_rpc_close_idle(peer, 0);
	}
	ck_assert_int_eq(ping(peer, 1), 0);
	snprintf(address, sizeof address, "%s", d.address);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 4);
	ck_assert_int_lt(ping(peer, 1), 0);
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	daemon_listen(&d, address);
	ck_assert_int_eq(ping(peer, 1), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* Requests that are never answered but one-way. */
START_TEST(one_way)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op op;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (unsigned i = 0; i < 100; i++) {
		ping_init(&op, i);
		op.call.one_way = true;
		ck_assert_int_eq(ff3_rpc_start(peer, &op.call), 0);
		ck_assert(ff3_rpc_is_done(&op.call));
	}
	ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_uint_eq(d.n_requests, 101);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* --- The loop ------------------------------------------------------------------------------ */

struct loop_case {
	struct ff3_loop *loop;
	struct ff3_timer timers[4];
	unsigned fired[4], n_fired;
	struct ff3_io io;
	int results[700];
	unsigned n_results;
	struct ff3_io many[600];
	char bytes[600];
	struct ff3_work works[100];
	unsigned n_works;
	pthread_t thread;
};

static struct loop_case *the_case;

static void on_timer(struct ff3_timer *t)
{
	struct loop_case *c = the_case;

	c->fired[c->n_fired++] = (unsigned)(t - c->timers);
	if (c->n_fired == 3)
		ff3_loop_stop(c->loop);
}

static void on_io(struct ff3_io *io, int res)
{
	the_case->results[the_case->n_results++] = res;
	if (the_case->n_results == 600)
		ff3_loop_stop(the_case->loop);
}

static void on_work(struct ff3_work *w)
{
	ck_assert_ptr_eq(w, &the_case->works[the_case->n_works++]);
	if (the_case->n_works == ARRAY_SIZE(the_case->works))
		ff3_loop_stop(the_case->loop);
}

static void *post_all(void *arg)
{
	struct loop_case *c = arg;

	for (unsigned i = 0; i < ARRAY_SIZE(c->works); i++)
		ff3_loop_post(c->loop, &c->works[i]);
	return NULL;
}

START_TEST(loop_alone)
{
	struct loop_case *c = the_case = calloc(1, sizeof *c);
	char name[] = "/tmp/unit-net-XXXXXX";
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	unlink(name);
	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	for (unsigned i = 0; i < 4; i++)
		c->timers[i].fn = on_timer;
	ff3_loop_timer_arm(c->loop, &c->timers[0], 30 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[1], 10 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[2], 20 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[3], 5 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_cancel(c->loop, &c->timers[3]);
	ff3_loop_timer_arm(c->loop, &c->timers[0], 1 * FF3_NSEC_PER_MSEC);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_uint_eq(c->n_fired, 3);
	ck_assert_uint_eq(c->fired[0], 0);
	ck_assert_uint_eq(c->fired[1], 1);
	ck_assert_uint_eq(c->fired[2], 2);
	ff3_loop_free(c->loop);

	/* Far more operations than the queue holds, armed before the loop ran at all. */
	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	ck_assert_int_eq(ff3_loop_register_memory(c->loop, c->bytes, sizeof c->bytes), 0);
	ck_assert_int_eq(ff3_loop_register_file(c->loop, fd), 0);
	for (unsigned i = 0; i < 600; i++) {
		c->many[i].fn = on_io;
		c->bytes[i] = (char)i;
		ff3_loop_write(c->loop, fd, &c->bytes[i], 1, i, &c->many[i]);
	}
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_uint_eq(c->n_results, 600);
	for (unsigned i = 0; i < 600; i++)
		ck_assert_int_eq(c->results[i], 1);
	ff3_loop_unregister_file(c->loop, fd);
	c->n_results = 599;
	c->io.fn = on_io;
	ff3_loop_fdatasync(c->loop, fd, &c->io);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_int_eq(c->results[599], 0);

	for (unsigned i = 0; i < ARRAY_SIZE(c->works); i++)
		c->works[i].fn = on_work;
	ck_assert_int_eq(pthread_create(&c->thread, NULL, post_all, c), 0);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	pthread_join(c->thread, NULL);
	ff3_loop_free(c->loop);
	close(fd);
	free(c);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("net");
	TCase *t = tcase_create("loopback");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, one_call);
	tcase_add_test(t, reads_of_all_sizes);
	tcase_add_test(t, writes_of_all_sizes);
	tcase_add_test(t, pipelining);
	tcase_add_test(t, out_of_order);
	tcase_add_test(t, eight_threads);
	tcase_add_test(t, payload_back_pressure);
	tcase_add_test(t, payload_refused);
	tcase_add_test(t, large_bodies);
	tcase_add_test(t, bad_buffers);
	tcase_add_test(t, slow_reader);
	tcase_add_test(t, both_directions);
	tcase_add_test(t, malformed_frames);
	tcase_add_test(t, byte_by_byte);
	tcase_add_test(t, version_mismatch);
	tcase_add_test(t, client_drops_mid_payload);
	tcase_add_loop_test(t, server_drops, HALF_PAYLOAD, CLOSES + 1);
	tcase_add_loop_test(t, timeouts, SILENT, HALF_THEN_SILENT + 1);
	tcase_add_test(t, hello_timeout);
	tcase_add_test(t, hello_refused);
	tcase_add_test(t, fork_child);
	tcase_add_test(t, hand_over);
	tcase_add_test(t, server_free_while_running);
	tcase_add_test(t, restart_and_idle);
	tcase_add_test(t, one_way);
	tcase_add_test(t, loop_alone);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
