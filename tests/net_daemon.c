#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "net_daemon.h"
#include "sure.h"

uint8_t pattern_byte(uint64_t ino, uint64_t offset)
{
	uint64_t x = (ino * 0x9e3779b97f4a7c15u) ^ (offset >> 3) * 0xbf58476d1ce4e5b9u;

	x ^= x >> 29;
	return (uint8_t)(x >> (8 * (offset & 7)));
}

void fill(uint8_t *p, size_t len, uint64_t ino, uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern_byte(ino, offset + i);
}

bool is_pattern(const uint8_t *p, size_t len, uint64_t ino, uint64_t offset)
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
	uint64_t cluster = d->cluster ? d->cluster : CLUSTER;
	struct ff3_dec groups = ff3_dec_blob(hello->groups);

	d->hello.session = hello->session;
	d->hello.log_id = hello->log_id;
	d->hello.epoch = hello->epoch;
	d->hello.member = hello->member;
	d->hello.uid = hello->uid;
	d->hello.gid = hello->gid;
	d->n_groups = hello->groups.len / 4;
	for (uint32_t i = 0; i < d->n_groups && i < ARRAY_SIZE(d->groups); i++) {
		uint32_t group;

		ff3_get_u32(&groups, &group);
		d->groups[i] = group;
	}
	if (d->primary)
		return FF3_E_NOT_PRIMARY;
	if (hello->cluster && hello->cluster != cluster)
		return FF3_E_CLUSTER;
	if (hello->credential.len > 0 && !d->tickets)
		return FF3_E_CREDENTIAL;
	if (d->move && server == d->server)
		*move_to = d->second;
	*reply = (struct ff3_rep_hello){ .cluster = cluster, .instance = 5, .lease_ms = 1234,
					 .software = FF3_STR("unit"), .epoch = d->epoch,
					 .member = hello->member, .log_id = hello->log_id };
	*conn_user = d;
	return 0;
}

static size_t on_refusal(struct ff3_server *server, int status, void *body, size_t size)
{
	struct daemon *d = ff3_server_user(server);
	struct ff3_enc e = ff3_enc_init(body, size);

	if (status == FF3_E_NOT_PRIMARY)
		ff3_put_not_primary(&e, &(struct ff3_not_primary){ ff3_str_from(d->primary), d->epoch });
	return e.len;
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
		SURE(d->n_held < ARRAY_SIZE(d->held));
		SURE(ff3_request_keep_body(r) == 0);
		d->held[d->n_held++] = r;
		return;
	}
	/* The held ones in reverse order. */
	while (d->n_held > 0) {
		struct ff3_request *held = d->held[--d->n_held];
		struct ff3_req_ping old;

		SURE(ff3_decode_req_ping(held->body, held->header.body_len, &old) == 0);
		FF3_REQUEST_REPLY(held, ping, &((struct ff3_rep_ping){ old.cookie }));
	}
	FF3_REQUEST_REPLY(r, ping, &((struct ff3_rep_ping){ m.cookie }));
}

static void serve_read(struct ff3_request *r)
{
	struct ff3_req_chunk_read m;
	uint8_t body[64], *p;
	size_t len, n;

	SURE(ff3_decode_req_chunk_read(r->body, r->header.body_len, &m) == 0);
	if (m.flags == 1) {
		ff3_request_fail(r, FF3_E_CHECKSUM);
		return;
	}
	/* flags 2: the chunk ends early. */
	len = m.flags == 2 ? m.length / 3 : m.length;
	p = malloc(len ? len : 1);
	SURE(p != NULL);
	fill(p, len, m.ino, m.offset);
	ff3_request_hold(r, (uint32_t)len);
	n = ff3_encode_rep_chunk_read(body, sizeof body,
				      &(struct ff3_rep_chunk_read){
					      .chunk_size = m.length,
					      .version = ff3_crc32c(0, p, len),
					      .crcs = { "abcd", m.flags == 2 ? 0 : 4 } });
	SURE(n <= sizeof body);
	/* Some are put where the client has room for them. */
	if (r->place && m.ino % 2 && r->place_len >= len + m.offset % 97) {
		memcpy(r->place + m.offset % 97, p, len);
		free(p);
		ff3_request_reply_payload(r, body, n, r->place + m.offset % 97, len, NULL, NULL);
		return;
	}
	ff3_request_reply_payload(r, body, n, p, len, free, p);
}

/* As many descriptors as the body says, with the cookie in them; then a payload-less reply. */
static void serve_fds(struct ff3_request *r)
{
	struct ff3_req_ping m;
	int fds[FDS_PER_REPLY];
	uint64_t n;

	SURE(ff3_decode_req_ping(r->body, r->header.body_len, &m) == 0);
	n = m.cookie % (FDS_PER_REPLY + 1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t content[2] = { m.cookie, i };

		fds[i] = memfd_create("unit-net", MFD_CLOEXEC);
		SURE(fds[i] >= 0);
		SURE(pwrite(fds[i], content, sizeof content, 0) == (ssize_t)sizeof content);
	}
	ff3_request_reply_fds(r, m.cookie % 7 == 0 ? -ENOLCK : 0, &m.cookie, sizeof m.cookie, fds,
			      (unsigned)n);
	for (uint64_t i = 0; i < n; i++)
		close(fds[i]);
}

static void on_request(struct ff3_server *server, struct ff3_request *r)
{
	struct daemon *d = ff3_server_user(server);
	uint32_t crc;

	d->n_requests++;
	d->second_requests += server == d->second;
	d->n_places += r->place != NULL;
	if (ff3_conn_cred(r->conn)) {
		SURE(strcmp(ff3_conn_link(r->conn), "tcp") != 0);
		d->n_local++;
	}
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
	case OP_FDS:
		serve_fds(r);
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

	SURE(d == ff3_server_user(server));
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

static struct ff3_server *on_route(struct ff3_server *server, uint64_t target)
{
	struct daemon *d = ff3_server_user(server);

	return d->move ? d->second : server;
}

static const struct ff3_server_ops ops = {
	.hello = on_hello,
	.route = on_route,
	.refusal = on_refusal,
	.payload = on_payload,
	.payload_abort = on_payload_abort,
	.request = on_request,
	.closed = on_closed,
};

void *run_loop(void *loop)
{
	SURE(ff3_loop_run(loop) == 0);
	return NULL;
}

bool net_over_verbs(void)
{
	return getenv("FF3FS_TEST_RDMA");
}

static const char *net_host(void)
{
	return net_over_verbs() ? getenv("FF3FS_TEST_RDMA") : "127.0.0.1";
}

/* What it offers besides TCP. */
static const struct ff3_links *offered(const struct daemon *d)
{
	static const struct ff3_links verbs = { 1, { FF3_LINK_VERBS } }, local = { 1, { FF3_LINK_UNIX } },
				      shm = { 1, { FF3_LINK_SHM } };

	return net_over_verbs() ? &verbs : d->no_shm ? &local : &shm;
}

static void default_links(struct daemon *d)
{
	if (d->links.n == 0) {
		ck_assert_int_eq(ff3_links_parse(getenv("FF3FS_CLIENT_TRANSPORTS"), &d->links), 0);
		d->abstract = true;
	}
}

void daemon_listen(struct daemon *d, const char *address)
{
	default_links(d);
	ck_assert_int_eq(ff3_loop_new(0, &d->loop), 0);
	ck_assert_int_eq(ff3_server_new(d->loop, &ops, d, &d->server), 0);
	ff3_server_ask_tickets(d->server, d->tickets);
	ck_assert_int_eq(ff3_server_listen(d->server, address, &d->port), 0);
	snprintf(d->address, sizeof d->address, "%s:%u", net_host(), d->port);
	if (d->abstract)
		ff3_server_offer(d->server, offered(d));
	if (d->sockets)
		ck_assert_int_eq(ff3_server_listen_local(d->server, d->sockets, d->address), 0);
	if (d->move) {
		ck_assert_int_eq(ff3_loop_new(8, &d->second_loop), 0);
		ck_assert_int_eq(ff3_server_new(d->second_loop, &ops, d, &d->second), 0);
		ck_assert_int_eq(pthread_create(&d->second_thread, NULL, run_loop, d->second_loop), 0);
	}
	ck_assert_int_eq(pthread_create(&d->thread, NULL, run_loop, d->loop), 0);
}

void daemon_start(struct daemon *d)
{
	char address[64];

	snprintf(address, sizeof address, "%s:0", net_host());
	daemon_listen(d, address);
}

void daemon_stop(struct daemon *d)
{
	ff3_loop_stop(d->loop);
	pthread_join(d->thread, NULL);
	if (d->move) {
		ff3_loop_stop(d->second_loop);
		pthread_join(d->second_thread, NULL);
		ff3_server_free(d->second);
		ff3_loop_free(d->second_loop);
	}
	ff3_server_free(d->server); /* whose connections ask it, wherever they are served */
	ff3_loop_free(d->loop);
	ck_assert_uint_eq(d->under_way, 0);
	d->loop = NULL;
}

/* --- The client ---------------------------------------------------------------------------- */

struct ff3_rpc_peer *peer_for(const struct daemon *d, unsigned connections)
{
	struct ff3_rpc_identity id = { .session = 9, .role = FF3_ROLE_CLIENT };
	struct ff3_rpc_options o = { .max_connections = connections,
				     .sockets = d->sockets,
				     .links = d->links };
	struct ff3_rpc_peer *peer;

	ck_assert_int_eq(ff3_rpc_peer_new(d->address, &id, &o, &peer), 0);
	return peer;
}

pid_t daemon_apart(struct daemon *d, struct ff3_rpc_peer **peer)
{
	int ready[2];
	pid_t pid;

	default_links(d);
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		daemon_start(d);
		if (write(ready[1], d->address, sizeof d->address) != sizeof d->address)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(ready[0], d->address, sizeof d->address), sizeof d->address);
	close(ready[0]);
	close(ready[1]);
	*peer = peer_for(d, 1);
	ck_assert_int_eq(ping(*peer, 0), 0);
	return pid;
}

void daemon_end_apart(pid_t pid, struct ff3_rpc_peer *peer)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ff3_rpc_peer_free(peer);
}

uint64_t in_ms(uint64_t ms)
{
	return ff3_boottime_ns() + ms * FF3_NSEC_PER_MSEC;
}

void ping_init(struct op *op, uint64_t cookie)
{
	*op = (struct op){ .call = { .op = FF3_OP_ping, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply } };
	op->call.body_len = ff3_encode_req_ping(op->body, sizeof op->body,
						&(struct ff3_req_ping){ cookie });
}

int ping_result(struct op *op, uint64_t cookie)
{
	struct ff3_rep_ping m;

	if (op->call.status < 0)
		return op->call.status;
	ck_assert_int_eq(ff3_decode_rep_ping(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(m.cookie, cookie);
	return 0;
}

int ping(struct ff3_rpc_peer *peer, uint64_t cookie)
{
	struct op op;

	ping_init(&op, cookie);
	ff3_rpc_call(peer, &op.call, in_ms(10000));
	return ping_result(&op, cookie);
}

void read_init(struct op *op, uint64_t ino, uint32_t offset, void *buf, uint32_t len,
		      uint32_t flags)
{
	*op = (struct op){ .call = { .op = FF3_OP_chunk_read, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply, .into = &op->iov, .n_into = 1,
				     .reply_expected = 20, .place_len = len + 100 },
			   .iov = { buf, len } };
	op->call.sums = op->sums;
	op->call.sums_max = ARRAY_SIZE(op->sums);
	op->call.sums_offset = offset % FF3_BLOCK;
	op->call.body_len = ff3_encode_req_chunk_read(
		op->body, sizeof op->body,
		&(struct ff3_req_chunk_read){ .ino = ino, .offset = offset, .length = len,
					      .flags = flags });
}

void read_check(struct op *op, uint64_t ino, uint32_t offset)
{
	struct ff3_rep_chunk_read m;

	ck_assert_int_eq(op->call.status, 0);
	ck_assert_uint_eq(op->call.instance, 5);
	ck_assert_int_eq(ff3_decode_rep_chunk_read(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(op->call.payload_len, m.crcs.len ? m.chunk_size : m.chunk_size / 3);
	ck_assert_uint_eq(ff3_crc32c(0, op->iov.iov_base, op->call.payload_len), m.version);
	ck_assert(is_pattern(op->iov.iov_base, op->call.payload_len, ino, offset));
	for (size_t i = 0, at = 0; i < op->call.n_sums; i++) {
		size_t part = MIN(op->call.payload_len - at, FF3_BLOCK - (offset + at) % FF3_BLOCK);

		ck_assert_uint_eq(op->sums[i], ff3_crc32c(0, (char *)op->iov.iov_base + at, part));
		at += part;
		ck_assert((i + 1 == op->call.n_sums) == (at == op->call.payload_len));
	}
}

void write_init(struct op *op, const void *buf, size_t len)
{
	*op = (struct op){ .call = { .op = FF3_OP_chunk_write, .body = op->body, .reply = op->reply,
				     .reply_size = sizeof op->reply, .payload = &op->iov,
				     .n_payload = 1, .reply_expected = 20 },
			   .iov = { (void *)buf, len } };
	op->call.body_len = ff3_encode_req_chunk_write(op->body, sizeof op->body,
						       &(struct ff3_req_chunk_write){ .ino = 1 });
}

void write_check(struct op *op)
{
	struct ff3_rep_chunk_write m;

	ck_assert_int_eq(op->call.status, 0);
	ck_assert_int_eq(ff3_decode_rep_chunk_write(op->reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(m.version, ff3_crc32c(0, op->iov.iov_base, op->iov.iov_len));
}

void *work(void *arg)
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
