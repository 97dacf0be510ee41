/* common/net: one side stands still, or has no room for more, and nobody else suffers from it. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "net_daemon.h"
#include "sure.h"

static bool comes_by(const char *link)
{
	return strcmp(getenv("FF3FS_CLIENT_TRANSPORTS"), link) == 0;
}

/* Starts calls that do not wait until one is refused. Returns how many were taken. */
static unsigned start_until_refused(struct ff3_rpc_peer *peer, struct op *ops, struct ff3_rpc_call **calls,
				    unsigned max, const void *data, size_t len)
{
	unsigned n = 0;
	int r = 0;

	while (n < max && r == 0) {
		if (len > 0)
			write_init(&ops[n], data, len);
		else
			ping_init(&ops[n], n);
		ops[n].call.no_wait = true;
		calls[n] = &ops[n].call;
		r = ff3_rpc_start(peer, calls[n]);
		n += r == 0;
	}
	ck_assert_int_eq(r, -EAGAIN);
	return n;
}

static void *start_patiently(void *arg)
{
	struct ff3_rpc_peer *peer = arg;
	struct op op;

	ping_init(&op, 77);
	SURE(ff3_rpc_call(peer, &op.call, in_ms(40000)) == 0);
	return NULL;
}

/* A stopped daemon takes no more: who does not wait learns it at once, alone, with many, and while another
 * one waits for room; what was sent is answered when it goes on. */
START_TEST(stopped_daemon)
{
	enum { N = 20000 };
	static const size_t sizes[] = { 0, 900, 3000, 100000, 1 << 20 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	pid_t pid = daemon_apart(&d, &peer);
	struct op *ops = calloc(N + FF3_RPC_MANY, sizeof *ops);
	struct ff3_rpc_call **calls = calloc(N + FF3_RPC_MANY, sizeof *calls);
	uint8_t *data = malloc(1 << 20);
	pthread_t patient;
	int status;

	fill(data, 1 << 20, 4, 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned n;

		kill(pid, SIGSTOP);
		/* All its threads have stopped. */
		ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
		n = start_until_refused(peer, ops, calls, N, data, sizes[i]);
		ck_assert_uint_gt(n, 20);
		for (unsigned k = 0; k < FF3_RPC_MANY; k++) {
			ping_init(&ops[n + k], k);
			calls[n + k] = &ops[n + k].call;
		}
		if (sizes[i] == 0) {
			ck_assert_int_eq(ff3_rpc_start_many(peer, calls + n, FF3_RPC_MANY), -EAGAIN);
			for (unsigned k = 0; k < FF3_RPC_MANY; k++)
				ck_assert_int_eq(ops[n + k].call.status, -EAGAIN);
		}
		ck_assert_int_eq(pthread_create(&patient, NULL, start_patiently, peer), 0);
		for (int k = 0; k < 50 && sizes[i] == 0; k++) {
			ck_assert_int_eq(ff3_rpc_start_many(peer, calls + n, FF3_RPC_MANY), -EAGAIN);
			poll(NULL, 0, 1);
		}
		kill(pid, SIGCONT);
		ck_assert_int_eq(ff3_rpc_wait(calls, n, in_ms(40000)), 0);
		for (unsigned k = 0; k < n; k++)
			if (sizes[i] > 0)
				write_check(&ops[k]);
			else
				ck_assert_int_eq(ping_result(&ops[k], k), 0);
		pthread_join(patient, NULL);
	}
	free(data);
	free(calls);
	free(ops);
	daemon_end_apart(pid, peer);
}
END_TEST

/* Who does not wait goes by a connection that takes all of its calls, as long as there is one. */
START_TEST(connection_with_room)
{
	enum { MANY = 24, N = 2 + 3 * MANY };
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op ops[N];
	struct ff3_rpc_call *calls[N];
	uint64_t before;

	daemon_start(&d);
	peer = peer_for(&d, 2);
	for (unsigned i = 0; i < N; i++) {
		ping_init(&ops[i], i + 1);
		calls[i] = &ops[i].call;
	}
	/* One on each. */
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(ff3_rpc_start(peer, calls[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(ff3_rpc_start_many(peer, calls + 2 + i * MANY, MANY), 0);
	/* 48 is what one takes. */
	before = ff3_boottime_ns();
	ck_assert_int_eq(ff3_rpc_start_many(peer, calls + 2 + 2 * MANY, MANY), -EAGAIN);
	ck_assert_uint_lt(ff3_boottime_ns() - before, 10 * FF3_NSEC_PER_SEC);
	ck_assert_int_eq(ping(peer, 0), 0);
	ck_assert_int_eq(ff3_rpc_wait(calls, 2 + 2 * MANY, in_ms(10000)), 0);
	for (unsigned i = 0; i < 2 + 2 * MANY; i++)
		ck_assert_int_eq(ping_result(&ops[i], i + 1), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

#define ENTRIES 300000u /* of OP readdir's answer, which is 147 messages */

static struct ff3_rpc_call *ask_long(struct ff3_rpc_peer *peer, struct op *op)
{
	ping_init(op, 1);
	op->call.op = FF3_OP_readdir;
	op->call.reply_size = FF3_BODY_MAX;
	op->call.reply = malloc(FF3_BODY_MAX);
	ck_assert_int_eq(ff3_rpc_start(peer, &op->call), 0);
	return &op->call;
}

static void check_long(struct op *op)
{
	struct ff3_rep_readdir m;

	ck_assert_int_eq(op->call.status, 0);
	ck_assert_int_eq(ff3_decode_rep_readdir(op->call.reply, op->call.reply_len, &m), 0);
	ck_assert_uint_eq(m.entries.len, ENTRIES);
	ck_assert(is_pattern(m.entries.p, ENTRIES, 3, 0));
}

/* Clients that ask for long answers and do not take them hold nobody up, and lose their connections. */
START_TEST(silent_clients)
{
	enum { N = 12, EACH = 2 };
	struct daemon d = { 0 };
	struct ff3_rpc_peer *silent[N], *other;
	struct op ops[N][EACH], op;
	struct ff3_rpc_call *call;
	uint64_t until;

	daemon_start(&d);
	other = peer_for(&d, 1);
	ck_assert_int_eq(ping(other, 1), 0);
	for (unsigned i = 0; i < N; i++) {
		silent[i] = peer_for(&d, 1);
		for (unsigned k = 0; k < EACH; k++)
			ask_long(silent[i], &ops[i][k]);
	}
	while (d.n_requests < 1 + N * EACH)
		sched_yield();
	for (unsigned i = 0; i < 5; i++) {
		call = ask_long(other, &op);
		ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(10000)), 0);
		check_long(&op);
		free(op.call.reply);
	}
	/* One connection more of each asked for the transports; the others' one is idle, and stays. */
	ck_assert_uint_eq(d.n_closed, N + 1);
	until = in_ms(60000);
	while (d.n_closed < 2 * N + 1 && ff3_boottime_ns() < until)
		poll(NULL, 0, 50);
	ck_assert_uint_eq(d.n_closed, 2 * N + 1);
	ck_assert_int_eq(ping(other, 1), 0);
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < EACH; k++) {
			call = &ops[i][k].call;
			ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(10000)), 0);
			if (call->status < 0)
				ck_assert_int_eq(call->status, -ECONNRESET);
			else
				check_long(&ops[i][k]);
			free(call->reply);
		}
	for (unsigned i = 0; i < N; i++)
		ff3_rpc_peer_free(silent[i]);
	ff3_rpc_peer_free(other);
	daemon_stop(&d);
}
END_TEST

static void make_room(struct ff3_work *w)
{
	struct daemon *d = CONTAINER_OF(w, struct daemon, work);

	d->under_way--;
	ff3_server_resume(d->server);
}

/* Requests that come while the daemon has no room for the first one's payload wait there, however long they are;
 * and what a connection takes is bounded by bytes, too. */
START_TEST(long_requests_wait)
{
	enum { N = 14, SHORT = 6, SIZE = 5000 };
	struct daemon d = { .room = 1 };
	struct ff3_rpc_peer *peer;
	struct op first, ops[N];
	struct ff3_rpc_call *call = &first.call, *calls[N];
	uint8_t *body = calloc(1, FF3_BODY_MAX), data[SIZE];
	unsigned n = 0;
	int r = 0;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	d.under_way = 1; /* somebody else's */
	fill(data, SIZE, 1, 0);
	write_init(&first, data, SIZE);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	while (d.n_waited == 0)
		sched_yield();
	/* Six of 64 KiB, and then of 1 MiB. */
	while (n < N && r == 0) {
		ping_init(&ops[n], 1);
		ops[n].call.body = body;
		ops[n].call.body_len = n < SHORT ? 65536 : FF3_BODY_MAX;
		ops[n].call.no_wait = n >= SHORT + 5;
		calls[n] = &ops[n].call;
		r = ff3_rpc_start(peer, calls[n]);
		n += r == 0;
	}
	ck_assert_int_eq(r, -EAGAIN);
	d.work.fn = make_room;
	ff3_loop_post(d.loop, &d.work);
	ck_assert_int_eq(ff3_rpc_wait(calls, n, in_ms(20000)), 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(ops[i].call.status, -EINVAL);
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(10000)), 0);
	write_check(&first);
	ck_assert_int_eq(ping(peer, 1), 0);
	ff3_rpc_peer_free(peer);
	free(body);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 2);
}
END_TEST

static void only_verbs(TCase *t)
{
	tcase_add_test(t, connection_with_room);
	tcase_add_test(t, silent_clients);
	tcase_add_test(t, long_requests_wait);
}

TCase *net_stuck_case(void)
{
	TCase *t = tcase_create("stuck");

	tcase_set_timeout(t, 60);
	/* A socket's buffer takes what it takes. */
	if (!comes_by("tcp") && !comes_by("unix"))
		tcase_add_test(t, stopped_daemon);
	if (net_over_verbs())
		only_verbs(t);
	return t;
}
