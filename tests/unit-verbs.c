/* The module for RDMA against a real device: links both ways, forks, ends; unit-verbs-memory.c has what is about memory,
 * verbs_daemon.c both sides.
 * Skipped where there is no device; tests/vm brings one. FF3FS_TEST_RDMA: the address to listen on. */
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "verbs_daemon.h"
#include "../common/base/crc32c.h"

START_TEST(messages)
{
	struct ff3_verbs_link *link;
	uint8_t data[FF3_VERBS_SLOT + 1];
	uint64_t sends = v->counters->sends;
	struct iovec iov = { data, sizeof data };

	daemon_start();
	link = connect_to(PORT);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7);
	for (unsigned len = 0; len <= FF3_VERBS_SLOT; len += len < 300 ? 60 : 437) {
		send_to(link, data, len);
		expect(link, data, len);
	}
	ck_assert_int_eq(v->send(link, &iov, 1, 0), -E2BIG);
	/* More than the send queue and the slots have places. */
	for (uint32_t i = 0; i < 400; i++) {
		send_to(link, &i, sizeof i);
		if (i % 16 == 15)
			for (uint32_t k = i - 15; k <= i; k++)
				expect(link, &k, sizeof k);
	}
	ck_assert_uint_gt(v->counters->sends, sends + 400);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	/* The daemon hears of it. */
	for (int i = 0; i < 2000 && served.n_dead == 0; i++)
		poll(NULL, 0, 5);
	ck_assert_int_eq(served.n_dead, 1);
	daemon_stop();
}
END_TEST

START_TEST(transfers)
{
	struct ff3_verbs_memory m, pool;
	struct ff3_verbs_link *link;
	const size_t len = 300000;
	uint8_t *p = pages(len);
	uint32_t crc;

	daemon_start();
	link = connect_to(PORT);
	ck_assert_int_eq(v->hold(v->link_device(link), p, len, &m), 0);
	ask(link, WRITE_TO, 0x5a, p + 5, 200001, m.rkey);
	expect(link, "written", 7);
	ck_assert(p[4] == 0 && all_bytes(p + 5, 0x5a, 200001) && p[200006] == 0);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i ^ i >> 8);
	crc = ff3_crc32c(0, p + 1, len - 1);
	ask(link, READ_FROM, 0, p + 1, (uint32_t)len - 1, m.rkey);
	expect(link, &crc, sizeof crc);
	v->release(v->link_device(link), &m);

	ck_assert_int_eq(v->pool_get(v->link_device(link), 5000, &pool), 0);
	ask(link, WRITE_TO, 0x33, pool.p, 5000, pool.rkey);
	expect(link, "written", 7);
	ck_assert(all_bytes(pool.p, 0x33, 5000));
	v->release(v->link_device(link), &pool);

	/* Beyond what was registered: the link breaks, and nothing was written. */
	ck_assert_int_eq(v->hold(v->link_device(link), p, 4096, &m), 0);
	ask(link, WRITE_TO, 0x44, (void *)((uintptr_t)p + 400000), 4096, m.rkey);
	expect_dead(link);
	v->release(v->link_device(link), &m);
	v->close(link);
	munmap(p, len);
	for (int i = 0; i < 2000 && served.n_dead == 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

/* What a child does with a link of its own, and what its parent's looks like meanwhile. */
static void in_child(struct ff3_verbs_link *inherited)
{
	struct ff3_verbs_link *link;

	v->after_fork_child(true);
	v->forget(inherited);
	link = connect_to(PORT);
	send_to(link, "child", 5);
	expect(link, "child", 5);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	_exit(0);
}

START_TEST(forks)
{
	struct ff3_verbs_memory m;
	struct ff3_verbs_link *link;
	uint8_t *p = pages(65536);
	int status;
	pid_t pid;

	daemon_start();
	link = connect_to(PORT);
	ck_assert_int_eq(v->hold(v->link_device(link), p, 65536, &m), 0);
	for (int i = 0; i < 3; i++) {
		v->before_fork();
		pid = fork();
		if (pid == 0)
			in_child(link);
		v->after_fork_parent();
		ck_assert_int_gt(pid, 0);
		send_to(link, "parent", 6);
		expect(link, "parent", 6);
		/* Registered pages stay the parent's. */
		memset(p, 1, 65536);
		ask(link, WRITE_TO, 0x70u + (uint32_t)i, p, 65536, m.rkey);
		expect(link, "written", 7);
		ck_assert(all_bytes(p, (uint8_t)(0x70 + i), 65536));
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	/* A child that was not announced has none, but says so. */
	pid = fork();
	if (pid == 0) {
		struct addrinfo *ai = resolve(verbs_address, PORT);
		struct ff3_verbs_link *none;
		char why[FF3_VERBS_WHY];

		v->after_fork_child(false);
		_exit(v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &none, why) != -ENODEV ||
		      strcmp(why, FF3_VERBS_FORKED) != 0 || v->may_connect());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	send_to(link, "still", 5);
	expect(link, "still", 5);
	v->release(v->link_device(link), &m);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	for (int i = 0; i < 2000 && served.n_links > 0; i++)
		poll(NULL, 0, 5);
	ck_assert_int_eq(served.n_accepted, 4);
	daemon_stop();
}
END_TEST

START_TEST(ends)
{
	struct ff3_verbs_link *link = NULL;
	struct addrinfo *ai = resolve(verbs_address, "7499");
	char why[FF3_VERBS_WHY] = "";
	struct ff3_verbs_event e;
	int r;

	/* Nobody there. */
	r = v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &link, why);
	ck_assert_msg(r == -ECONNREFUSED, "%d, %s", r, why);
	ck_assert_str_eq(why, "nobody listens for RDMA there");
	freeaddrinfo(ai);
	/* An address behind no device. */
	ai = resolve("192.0.2.1", PORT);
	r = v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &link, why);
	ck_assert_int_lt(r, 0);
	ck_assert_ptr_nonnull(strstr(why, "reaches the address"));
	freeaddrinfo(ai);

	daemon_start();
	link = connect_to(PORT);
	/* A sign of life, and then none. */
	ck_assert_int_eq(v->probe(link, 5), 0);
	e = next_event(link);
	ck_assert_int_eq(e.kind, FF3_VERBS_SENT);
	ck_assert_int_eq(e.status, 0);
	ask(link, HANG_UP, 0, NULL, 0, 0);
	expect_dead(link);
	ck_assert_int_lt(v->probe(link, 6), 0);
	v->close(link);
	for (int i = 0; i < 2000 && served.n_dead == 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

/* The other side is silent, as a machine without power: what is sent is repeated, but not for ever. */
START_TEST(silence)
{
	struct ff3_verbs_link *link;
	struct ff3_verbs_event e[2];
	int n;

	daemon_start();
	link = connect_to(PORT);
	ask(link, VANISH, 0, NULL, 0, 0);
	do { /* the first ones may still be taken */
		ck_assert_int_eq(v->probe(link, 5), 0);
		n = next_events(link, e);
	} while (e[0].status == 0);
	ck_assert_int_eq(n, 2);
	ck_assert_int_eq(e[0].status, -ETIMEDOUT);
	ck_assert_int_eq(e[1].kind, FF3_VERBS_DEAD);
	v->close(link);
	daemon_stop();
}
END_TEST

START_TEST(description)
{
	char text[4096];
	int n = v->describe(text, sizeof text);

	ck_assert_int_gt(n, 0);
	ck_assert_ptr_nonnull(strstr(text, "active,"));
	ck_assert_ptr_nonnull(strstr(text, verbs_address));
	printf("%s", text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verbs");
	TCase *tcase = tcase_create("links"), *last = tcase_create("windows");
	SRunner *runner;
	char text[4096];
	int n;

	verbs_address = getenv("FF3FS_TEST_RDMA");
	n = v->describe(text, sizeof text);
	if (!verbs_address || n <= 0) {
		printf("unit-verbs: skipped: %s\n",
		       n <= 0 ? "no usable RDMA device" : "no address in FF3FS_TEST_RDMA");
		return 77;
	}
	/* Below the limit of what runs this: so the one that hangs is named. */
	tcase_set_timeout(tcase, 45);
	tcase_set_timeout(last, 45);
	tcase_add_test(tcase, messages);
	tcase_add_test(tcase, transfers);
	verbs_memory_tests(tcase, last);
	tcase_add_test(tcase, forks);
	tcase_add_test(tcase, ends);
	tcase_add_test(tcase, description);
	suite_add_tcase(suite, tcase);
	tcase_add_test(last, silence);
	/* Whatever a process leaves behind that had windows, or whose peer was silent: the next one can fork. */
	tcase_add_test(last, forks);
	suite_add_tcase(suite, last);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n == 0 ? 0 : 1;
}
