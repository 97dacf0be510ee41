/* common/net: calls between a server and its clients, many at once. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "net_daemon.h"

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
	ck_assert_uint_eq(d.n_closed, 1 + net_over_verbs());
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
	enum { N = 40 };
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
	ck_assert_uint_eq(d.n_closed, 1 + net_over_verbs());
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
	ck_assert_uint_eq(d.n_closed, 1 + net_over_verbs());
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
	/* Others are served meanwhile; by then the server has taken what it would take: 8 MiB, and over shared
	 * memory what it could put into the client's own 32. */
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(ping(other, i), 0);
	before = d.n_requests - 200;
	if (!net_over_verbs()) /* there the daemon writes into the reader's own memory */
		ck_assert_uint_lt(before, 48);
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

TCase *net_calls_case(void)
{
	TCase *t = tcase_create("calls");

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
	return t;
}
