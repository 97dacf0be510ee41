/* common/net: several daemons of which one serves (rpc_group.h). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../common/net/rpc_group.h"
#include "net_daemon.h"

/* Nobody listens there. */
#define DEAD "127.0.0.1:1"

static struct ff3_rpc_group *group_as(const struct daemon *d, uint64_t cluster, const char *list)
{
	struct ff3_rpc_identity id = { .cluster = cluster, .session = 9, .role = FF3_ROLE_CLIENT };
	struct ff3_rpc_options o = { .max_connections = 2, .links = d->links };
	struct ff3_rpc_group *g;

	ck_assert_int_eq(ff3_rpc_group_new(list, &id, &o, &g), 0);
	return g;
}

static struct ff3_rpc_group *group_for(const struct daemon *d, const char *format, ...) PRINTF_LIKE(2, 3);
static struct ff3_rpc_group *group_for(const struct daemon *d, const char *format, ...)
{
	char list[500];
	va_list ap;

	va_start(ap, format);
	vsnprintf(list, sizeof list, format, ap);
	va_end(ap);
	return group_as(d, 0, list);
}

static int group_ping(struct ff3_rpc_group *g, uint64_t cookie)
{
	struct op op;

	ping_init(&op, cookie);
	ff3_rpc_group_call(g, &op.call, in_ms(10000));
	return ping_result(&op, cookie);
}

/* What becomes of a call whose connection ends. */
static bool is_broken(int r)
{
	return r == -ECONNRESET || r == -EPIPE;
}

static uint64_t ms_since(uint64_t begun)
{
	return (ff3_boottime_ns() - begun) / FF3_NSEC_PER_MSEC;
}

static unsigned count_requests(struct ff3_rpc_group *g)
{
	struct ff3_rpc_description d;
	unsigned n = 0;

	ff3_rpc_peer_describe(ff3_rpc_group_peer(g), &d);
	for (unsigned i = 0; i < d.n; i++)
		n += (unsigned)d.transport[i].requests;
	return n;
}

START_TEST(list_forms)
{
	static const char *const bad[] = { "", " , ", "a", "a:1,b", "a:1 :2", "a:99999", "a:1,[::1:2" };
	struct ff3_rpc_identity id = { .session = 1 };
	struct ff3_rpc_options o = { 0 };
	struct ff3_rpc_group *g;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(ff3_rpc_group_new(bad[i], &id, &o, &g), -EINVAL);
	ck_assert_int_eq(ff3_rpc_group_new("a:1, b:2 c:3,[::1]:4", &id, &o, &g), 0);
	ck_assert(ff3_rpc_group_is_many(g));
	ff3_rpc_group_free(g);
	ck_assert_int_eq(ff3_rpc_group_new("a:1", &id, &o, &g), 0);
	ck_assert(!ff3_rpc_group_is_many(g));
	ff3_rpc_group_free(g);
}
END_TEST

/* Dead addresses and names nobody knows cost the first call a moment, and later ones nothing. */
START_TEST(dead_ones_first)
{
	struct daemon d = { 0 };
	struct ff3_rpc_group *g;
	char why[400];

	daemon_start(&d);
	g = group_for(&d, DEAD ", no-such-host.invalid:5, %s", d.address);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_int_eq(group_ping(g, i), 0);
	ck_assert_uint_eq(count_requests(g), 100);
	ck_assert_uint_eq(ff3_rpc_group_known(g)->cluster, CLUSTER);
	ck_assert_uint_eq(ff3_rpc_group_known(g)->lease_ms, 1234);
	ff3_rpc_group_explain(g, why, sizeof why);
	ck_assert_ptr_nonnull(strstr(why, DEAD ": Connection refused"));
	ck_assert_ptr_nonnull(strstr(why, "no-such-host.invalid:5: "));
	ck_assert_ptr_null(strstr(why, d.address));
	ff3_rpc_group_free(g);

	g = group_for(&d, DEAD ", 127.0.0.1:2");
	ck_assert_int_eq(group_ping(g, 1), -ECONNREFUSED);
	ff3_rpc_group_free(g);
	daemon_stop(&d);
}
END_TEST

/* The primary that a member names need not be in the list. */
START_TEST(named_primary)
{
	struct daemon a = { .epoch = 3, .primary = "" }, b = { .epoch = 3 }, c = { .epoch = 3 };
	struct ff3_rpc_group *g;

	daemon_start(&a);
	daemon_start(&b);
	daemon_start(&c);
	a.primary = b.address;
	g = group_for(&a, "%s", a.address);
	ck_assert(!ff3_rpc_group_is_many(g));
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_eq(b.n_requests, 1);
	ck_assert_uint_eq(ff3_rpc_group_known(g)->epoch, 3);
	ff3_rpc_group_free(g);

	/* Two that name a dead one, or each other, hide the third from nobody. */
	a.primary = DEAD;
	b.primary = a.address;
	g = group_for(&a, "%s,%s,%s", a.address, b.address, c.address);
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_eq(c.n_requests, 1);
	ff3_rpc_group_free(g);

	/* Nobody serves. */
	c.primary = "";
	g = group_for(&a, "%s,%s,%s", a.address, b.address, c.address);
	ck_assert_int_eq(group_ping(g, 1), FF3_E_NOT_PRIMARY);
	b.primary = NULL;
	ck_assert_int_eq(group_ping(g, 1), 0);
	ff3_rpc_group_free(g);
	daemon_stop(&a);
	daemon_stop(&b);
	daemon_stop(&c);
}
END_TEST

START_TEST(wrong_cluster)
{
	struct daemon wrong = { .cluster = CLUSTER + 1 }, right = { 0 };
	struct ff3_rpc_group *g;
	char list[200], why[400];

	daemon_start(&wrong);
	daemon_start(&right);
	snprintf(list, sizeof list, "%s,%s", wrong.address, right.address);
	g = group_as(&right, CLUSTER, list);
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_eq(wrong.n_requests, 0);
	ff3_rpc_group_explain(g, why, sizeof why);
	ck_assert_ptr_nonnull(strstr(why, "another cluster"));
	ff3_rpc_group_free(g);

	/* The one that answered first decides; nobody changes the cluster under a client. */
	snprintf(list, sizeof list, "%s,%s", right.address, wrong.address);
	g = group_as(&right, 0, list);
	ck_assert_int_eq(group_ping(g, 1), 0);
	daemon_stop(&right);
	ck_assert(is_broken(group_ping(g, 1)));
	ck_assert_int_eq(group_ping(g, 1), -ECONNREFUSED);
	ck_assert_uint_eq(wrong.n_requests, 0);
	ff3_rpc_group_free(g);

	g = group_as(&wrong, CLUSTER, wrong.address);
	ck_assert_int_eq(group_ping(g, 1), FF3_E_CLUSTER);
	ff3_rpc_group_free(g);
	daemon_stop(&wrong);
}
END_TEST

/* One that answers nothing any more, and whose connections stay. */
START_TEST(silent_primary)
{
	struct daemon a = { .epoch = 1 }, b = { .epoch = 1, .primary = "" };
	struct ff3_rpc_group *g;
	struct op op, other;
	uint64_t begun, ms;

	daemon_start(&a);
	daemon_start(&b);
	b.primary = a.address;
	g = group_for(&a, "%s,%s", a.address, b.address);
	ck_assert_int_eq(group_ping(g, 1), 0);

	/* The other one knows of nobody else: the answer is waited for. */
	a.hold = true;
	ping_init(&op, 7);
	ck_assert_int_eq(ff3_rpc_group_start(g, &op.call), 0);
	ck_assert_int_eq(ff3_rpc_group_wait(g, &op.call, in_ms(1500)), -ETIMEDOUT);
	ck_assert_int_eq(op.call.status, -ETIMEDOUT);
	ck_assert_uint_eq(b.n_requests, 0);

	/* It has become the primary. */
	b.epoch = 2;
	b.primary = NULL;
	ping_init(&op, 8);
	ping_init(&other, 9);
	begun = ff3_boottime_ns();
	ck_assert_int_eq(ff3_rpc_group_start(g, &op.call), 0);
	ck_assert_int_eq(ff3_rpc_group_start(g, &other.call), 0);
	ck_assert_int_eq(ff3_rpc_group_wait(g, &op.call, in_ms(10000)), 0);
	ck_assert_int_eq(op.call.status, -ECONNRESET);
	ms = ms_since(begun);
	ck_assert_uint_ge(ms, 600);
	ck_assert_uint_le(ms, 2000);
	ck_assert_int_eq(ff3_rpc_group_wait(g, &other.call, in_ms(100)), 0);
	ck_assert_int_eq(other.call.status, -ECONNRESET);
	begun = ff3_boottime_ns();
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_le(ms_since(begun), 500);
	ck_assert_uint_eq(ff3_rpc_group_known(g)->epoch, 2);

	/* The former one does not know yet, and is not believed. */
	a.hold = false;
	b.primary = a.address;
	ff3_rpc_cut(ff3_rpc_group_peer(g));
	ck_assert_int_eq(group_ping(g, 1), FF3_E_NOT_PRIMARY);
	a.epoch = 3;
	ck_assert_int_eq(group_ping(g, 1), 0);
	ff3_rpc_group_free(g);
	daemon_stop(&a);
	daemon_stop(&b);
}
END_TEST

/* A third one says who it is. */
START_TEST(silent_primary_told_by_another)
{
	struct daemon a = { .epoch = 1 }, b = { .epoch = 1, .primary = "" }, c = { .epoch = 2 };
	struct ff3_rpc_group *g;
	struct op op;

	daemon_start(&a);
	daemon_start(&b);
	daemon_start(&c);
	b.primary = c.address;
	b.epoch = 2;
	g = group_for(&a, "%s,%s", a.address, b.address);
	ck_assert_int_eq(group_ping(g, 1), 0);
	a.hold = true;
	ping_init(&op, 7);
	ck_assert_int_eq(ff3_rpc_group_call(g, &op.call, in_ms(10000)), -ECONNRESET);
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_ge(c.n_requests, 1);
	ff3_rpc_group_free(g);
	daemon_stop(&a);
	daemon_stop(&b);
	daemon_stop(&c);
}
END_TEST

/* It takes connections and does not greet, as one that was stopped: one attempt has to wait, the next do not. */
START_TEST(stopped_before)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof at;
	struct daemon d = { 0 };
	struct ff3_rpc_group *g;
	uint64_t begun;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	ck_assert_int_eq(listen(fd, 10), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	daemon_start(&d);
	g = group_for(&d, "127.0.0.1:%u,%s", ntohs(at.sin_port), d.address);
	begun = ff3_boottime_ns();
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_le(ms_since(begun), 1800);
	/* Not even after the one that serves was away. */
	ff3_rpc_cut(ff3_rpc_group_peer(g));
	begun = ff3_boottime_ns();
	ck_assert_int_eq(group_ping(g, 1), 0);
	ck_assert_uint_le(ms_since(begun), 500);
	ff3_rpc_group_free(g);
	daemon_stop(&d);
	close(fd);
}
END_TEST

static void *ping_many(void *arg)
{
	struct ff3_rpc_group *g = arg;

	for (uint64_t i = 1; i <= 3000; i++) {
		uint64_t begun = ff3_boottime_ns();
		int r;

		/* Who gives the role away may have to wait for a processor in between. */
		while ((r = group_ping(g, i)) < 0) {
			ck_assert(r == FF3_E_NOT_PRIMARY || is_broken(r));
			ck_assert_uint_le(ms_since(begun), 10000);
			sched_yield();
		}
	}
	return NULL;
}

/* The role goes around, and threads follow. */
START_TEST(role_goes_around)
{
	struct daemon d[3] = { { .epoch = 1 }, { .epoch = 1, .primary = "" }, { .epoch = 1, .primary = "" } };
	struct ff3_rpc_group *g;
	pthread_t threads[4];
	uint64_t epoch = 1;

	for (unsigned i = 0; i < 3; i++)
		daemon_start(&d[i]);
	g = group_for(&d[0], "%s %s %s", d[0].address, d[1].address, d[2].address);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_many, g), 0);
	for (unsigned i = 1; i <= 60; i++) {
		unsigned now = i % 3, before = (i - 1) % 3;
		const struct timespec pause = { .tv_nsec = 1000000 };

		d[before].primary = d[now].address;
		ff3_rpc_cut(ff3_rpc_group_peer(g)); /* as the former one does */
		nanosleep(&pause, NULL);
		d[3 - now - before].primary = d[now].address;
		d[now].epoch = ++epoch;
		d[now].primary = NULL;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(group_ping(g, 1), 0);
	ff3_rpc_group_free(g);
	for (unsigned i = 0; i < 3; i++)
		daemon_stop(&d[i]);
}
END_TEST

START_TEST(group_fork)
{
	struct daemon d = { 0 };
	struct ff3_rpc_group *g;
	int status;
	pid_t pid;

	daemon_start(&d);
	g = group_for(&d, DEAD ",%s", d.address);
	ck_assert_int_eq(group_ping(g, 1), 0);
	pid = fork();
	if (pid == 0) {
		ff3_rpc_group_after_fork(g, 10);
		_exit(group_ping(g, 2) == 0 && d.hello.session != 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(d.hello.session, 10);
	ck_assert_int_eq(group_ping(g, 3), 0);
	ff3_rpc_group_free(g);
	daemon_stop(&d);
}
END_TEST

TCase *net_group_case(void)
{
	TCase *t = tcase_create("group");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, list_forms);
	tcase_add_test(t, dead_ones_first);
	tcase_add_test(t, named_primary);
	tcase_add_test(t, wrong_cluster);
	tcase_add_test(t, silent_primary);
	tcase_add_test(t, silent_primary_told_by_another);
	tcase_add_test(t, stopped_before);
	tcase_add_test(t, role_goes_around);
	tcase_add_test(t, group_fork);
	return t;
}
