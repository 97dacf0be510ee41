/* common/net: which link is taken and why, and descriptors over local sockets. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "net_daemon.h"

static const struct ff3_links only_unix = { 1, { FF3_LINK_UNIX } };
static const struct ff3_links tcp_first = { 2, { FF3_LINK_TCP, FF3_LINK_UNIX } };
static const struct ff3_links unix_first = { 2, { FF3_LINK_UNIX, FF3_LINK_TCP } };

static struct ff3_rpc_transport described(struct ff3_rpc_peer *peer, const char *name)
{
	struct ff3_rpc_description d;

	ff3_rpc_peer_describe(peer, &d);
	for (unsigned i = 0; i < d.n; i++)
		if (strcmp(d.transport[i].name, name) == 0)
			return d.transport[i];
	ck_abort_msg("%s is not described", name);
}

/* --- Descriptors --------------------------------------------------------------------------- */

static int fds_call(struct ff3_rpc_peer *peer, uint64_t cookie, int *fds, unsigned max, unsigned *ret_n)
{
	uint64_t reply = 0;
	struct op op;

	ping_init(&op, cookie);
	op.call.op = OP_FDS;
	op.call.reply = &reply;
	op.call.reply_size = sizeof reply;
	op.call.fds = fds;
	op.call.max_fds = max;
	ff3_rpc_call(peer, &op.call, in_ms(10000));
	*ret_n = op.call.n_fds;
	if (op.call.status == 0)
		ck_assert_uint_eq(reply, cookie);
	return op.call.status;
}

static void check_fds(const int *fds, unsigned n, uint64_t cookie)
{
	ck_assert_uint_eq(n, cookie % (FDS_PER_REPLY + 1));
	for (unsigned i = 0; i < n; i++) {
		uint64_t content[2];

		ck_assert_int_eq(pread(fds[i], content, sizeof content, 0), sizeof content);
		ck_assert_uint_eq(content[0], cookie);
		ck_assert_uint_eq(content[1], i);
		ck_assert_int_ge(fds[i], 500);
		ck_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		close(fds[i]);
	}
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(descriptors)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct ff3_rpc_peer *peer;
	int fds[FDS_PER_REPLY];
	unsigned n, before;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	before = open_fds();
	for (uint64_t cookie = 1; cookie < 200; cookie++) {
		int r = fds_call(peer, cookie, fds, FDS_PER_REPLY, &n);

		if (cookie % (FDS_PER_REPLY + 1) == 0)
			ck_assert_int_eq(r, -EOPNOTSUPP);
		else
			ck_assert_int_eq(r, cookie % 7 == 0 ? -ENOLCK : 0);
		check_fds(fds, n, cookie);
	}
	/* Who asked for none, or for too few, gets none. */
	ck_assert_int_eq(fds_call(peer, 4, NULL, 0, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(fds_call(peer, 4, fds, 3, &n), -E2BIG);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(ping(peer, 2), 0);
	ck_assert_uint_eq(open_fds(), before);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* Among payloads and plain replies, many under way. */
static void *mixed(void *arg)
{
	enum { DEPTH = 8 };
	struct worker *w = arg;
	uint8_t *buf = malloc(DEPTH * 100000);

	for (unsigned round = 0; round < 120; round++) {
		struct op ops[DEPTH];
		struct ff3_rpc_call *calls[DEPTH];
		int fds[DEPTH][FDS_PER_REPLY];

		for (unsigned i = 0; i < DEPTH; i++) {
			uint32_t len = (uint32_t)rand_r(&w->seed) % 100000 + 1;

			if (rand_r(&w->seed) % 2) {
				read_init(&ops[i], round, i, buf + i * 100000, len, 0);
			} else {
				ping_init(&ops[i], len);
				ops[i].call.op = OP_FDS;
				ops[i].call.fds = fds[i];
				ops[i].call.max_fds = FDS_PER_REPLY;
			}
			calls[i] = &ops[i].call;
			ck_assert_int_eq(ff3_rpc_start(w->peer, calls[i]), 0);
		}
		ck_assert_int_eq(ff3_rpc_wait(calls, DEPTH, in_ms(20000)), 0);
		for (unsigned i = 0; i < DEPTH; i++) {
			struct ff3_req_ping m;

			if (calls[i]->op == FF3_OP_chunk_read) {
				read_check(&ops[i], round, i);
				continue;
			}
			ck_assert_int_eq(ff3_decode_req_ping(ops[i].body, calls[i]->body_len, &m), 0);
			check_fds(fds[i], calls[i]->n_fds, m.cookie);
		}
	}
	free(buf);
	return NULL;
}

START_TEST(descriptors_mixed)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct worker w[3];
	struct ff3_rpc_peer *peer;

	daemon_start(&d);
	peer = peer_for(&d, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct worker){ .d = &d, .peer = peer, .seed = i };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, mixed, &w[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		pthread_join(w[i].thread, NULL);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* A process that may have no more descriptors is told so, and goes on. */
static int exhausted_child(struct ff3_rpc_peer *peer)
{
	struct rlimit limit = { 64, 64 };
	int fds[FDS_PER_REPLY], fd, last = -1;
	unsigned n;

	ff3_rpc_after_fork(peer, 10);
	if (ping(peer, 1) != 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	while ((fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
		last = fd;
	if (fds_call(peer, 4, fds, FDS_PER_REPLY, &n) != -EMFILE || n != 0)
		return 2;
	/* Room for one is not enough for four. */
	close(last);
	if (fds_call(peer, 4, fds, FDS_PER_REPLY, &n) != -EMFILE || n != 0)
		return 3;
	if (ping(peer, 2) != 0)
		return 4;
	if (fds_call(peer, 1, fds, FDS_PER_REPLY, &n) != 0 || n != 1)
		return 5;
	return 0;
}

START_TEST(descriptors_exhausted)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct ff3_rpc_peer *peer;
	int status;
	pid_t pid;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	pid = fork();
	if (pid == 0)
		_exit(exhausted_child(peer));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* --- Which link, and why ------------------------------------------------------------------- */

START_TEST(by_preference)
{
	struct daemon d = { .abstract = true, .links = tcp_first };
	struct ff3_rpc_peer *tcp, *local;
	struct ff3_rpc_transport t;

	daemon_start(&d);
	tcp = peer_for(&d, 1);
	d.links = unix_first;
	local = peer_for(&d, 1);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(ping(tcp, 1), 0);
	ck_assert_uint_eq(d.n_local, 0);
	t = described(tcp, "tcp");
	ck_assert_uint_eq(t.connections, 1);
	ck_assert_uint_eq(t.requests, 5);
	ck_assert_uint_eq(described(tcp, "unix").connections, 0);
	ck_assert_int_eq(ping(local, 1), 0);
	ck_assert_uint_eq(d.n_local, 1);
	/* What a closed connection has carried stays counted. */
	ff3_rpc_close_idle(local, 0);
	t = described(local, "unix");
	ck_assert_uint_eq(t.connections, 0);
	ck_assert_uint_eq(t.requests, 1);
	ck_assert_int_eq(t.error, 0);
	ff3_rpc_peer_free(tcp);
	ff3_rpc_peer_free(local);
	daemon_stop(&d);
}
END_TEST

START_TEST(fallback_with_reason)
{
	struct daemon d = { .links = unix_first };
	struct ff3_rpc_peer *peer;
	struct ff3_rpc_transport t;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	t = described(peer, "unix");
	ck_assert_int_eq(t.error, -ECONNREFUSED);
	ck_assert_str_eq(t.why, "no daemon of this host has its address");
	ck_assert_uint_eq(described(peer, "tcp").connections, 1);
	ff3_rpc_peer_free(peer);
	/* Nothing else may be used. */
	d.links = only_unix;
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* A daemon that listens on all addresses is found under each of this host's. */
START_TEST(any_address)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct ff3_rpc_peer *peer;

	daemon_listen(&d, "0.0.0.0:0");
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_uint_eq(d.n_local, 1);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

#define STRANGER 65533u

/* The name of another daemon, taken by somebody who may not listen at its address. */
static int squat(const struct daemon *d, int ready)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int n = snprintf(un.sun_path + 1, sizeof un.sun_path - 1, "ff3fs/%s", d->address);

	if (setgid(STRANGER) < 0 || setuid(STRANGER) < 0 ||
	    bind(fd, (struct sockaddr *)&un,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0 ||
	    listen(fd, 8) < 0 || write(ready, "x", 1) != 1)
		return 1;
	pause();
	return 0;
}

START_TEST(squatter)
{
	struct daemon d = { .links = unix_first };
	struct ff3_rpc_peer *peer;
	int ready[2], status;
	pid_t pid;
	char c;

	if (geteuid() != 0)
		return;
	daemon_start(&d);
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
		_exit(squat(&d, ready[1]));
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_int_eq(described(peer, "unix").error, -EPERM);
	ck_assert_uint_eq(described(peer, "tcp").connections, 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* A service of its own user is trusted by root and by others: it listens at the TCP address. */
START_TEST(service_user)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct ff3_rpc_peer *peer;
	int ready[2], status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(STRANGER) < 0 || setuid(STRANGER) < 0)
			_exit(1);
		daemon_start(&d);
		if (write(ready[1], d.address, sizeof d.address) != sizeof d.address)
			_exit(1);
		pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], d.address, sizeof d.address), sizeof d.address);
	peer = peer_for(&d, 1);
	ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_uint_eq(described(peer, "unix").connections, 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	ff3_rpc_peer_free(peer);
}
END_TEST

/* --- Who comes with a ticket ----------------------------------------------------------------- */

static int ticket(const void *arg, char text[FF3_TICKET_MAX + 1])
{
	const int *ret = arg;

	strcpy(text, "x");
	return *ret;
}

/* The daemon refuses whoever shows one. */
static int ping_with(enum ff3_link_kind link, int fresh, const char *last)
{
	struct daemon d = { .abstract = true, .links = { 1, { (uint8_t)link } } };
	struct ff3_rpc_options o = { .links = d.links };
	struct ff3_rpc_identity id = { .session = 9, .ticket = ticket, .ticket_arg = &fresh,
				       .credential = { last, (uint32_t)strlen(last) } };
	struct ff3_rpc_peer *peer;
	int r;

	daemon_start(&d);
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, &o, &peer), 0);
	r = ping(peer, 1);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
	return r;
}

START_TEST(tickets)
{
	ck_assert_int_eq(ping_with(FF3_LINK_TCP, -ENOENT, ""), 0);
	ck_assert_int_eq(ping_with(FF3_LINK_TCP, 1, ""), FF3_E_CREDENTIAL);
	ck_assert_int_eq(ping_with(FF3_LINK_TCP, -ENOENT, "y"), FF3_E_CREDENTIAL);
	ck_assert_int_eq(ping_with(FF3_LINK_UNIX, 1, "y"), 0);
	ck_assert_int_eq(ping_with(FF3_LINK_SHM, 1, "y"), 0);
}
END_TEST

TCase *net_links_case(void)
{
	TCase *t = tcase_create("links");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, descriptors);
	tcase_add_test(t, descriptors_mixed);
	tcase_add_test(t, descriptors_exhausted);
	tcase_add_test(t, by_preference);
	tcase_add_test(t, fallback_with_reason);
	tcase_add_test(t, any_address);
	tcase_add_test(t, squatter);
	tcase_add_test(t, service_user);
	tcase_add_test(t, tickets);
	return t;
}
