/* Memory of the module for RDMA: registrations, what an unprivileged process may lock, whose keys open what, windows. */
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "verbs_daemon.h"

START_TEST(registrations)
{
	struct ff3_verbs_link *link;
	struct ff3_verbs_memory a, b;
	struct ff3_verbs_device *device;
	uint8_t *p = pages(1 << 20), *small = p + 600000;
	uint64_t made, hits;

	daemon_start();
	link = connect_to(PORT);
	device = v->link_device(link);
	made = v->counters->registrations;
	hits = v->counters->cache_hits;
	ck_assert_int_eq(v->hold(device, p, 1 << 18, &a), 0);
	ck_assert_int_eq(v->hold(device, p + 4096, 100000, &b), 0);
	ck_assert_uint_eq(a.rkey, b.rkey);
	ck_assert_uint_eq(v->counters->registrations, made + 1);
	ck_assert_uint_eq(v->counters->cache_hits, hits + 1);
	v->release(device, &b);
	/* Small ones from the second time on. */
	ck_assert_int_eq(v->hold(device, small, 100, &b), -EAGAIN);
	ck_assert_int_eq(v->hold(device, small, 100, &b), 0);
	v->release(device, &b);
	ck_assert_int_eq(v->hold(device, small, 100, &b), 0);
	v->release(device, &b);
	ck_assert_uint_eq(v->counters->registrations, made + 2);
	/* What cannot be registered. */
	ck_assert_int_eq(mprotect(p + (1 << 19), 65536, PROT_READ), 0);
	ck_assert_int_lt(v->hold(device, p + (1 << 19), 65536, &b), 0);
	ck_assert_int_lt(v->hold(device, (void *)(uintptr_t)4096, 65536, &b), 0);

	/* The pages are others now, and the registration does not know. */
	ask(link, WRITE_TO, 0x11, p, 20000, a.rkey);
	expect(link, "written", 7);
	v->release(device, &a);
	ck_assert_ptr_eq(mmap(p, 1 << 18, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), p);
	ck_assert_int_eq(v->hold(device, p, 20000, &a), 0);
	ask(link, WRITE_TO, 0x22, p, 20000, a.rkey);
	expect(link, "written", 7);
	ck_assert(all_bytes(p, 0, 20000));
	/* Told so, it makes a new one, also while the old one is in use. */
	v->memory_gone(p + 8192, 1);
	ck_assert_int_eq(v->hold(device, p, 20000, &b), 0);
	ck_assert_uint_ne(a.rkey, b.rkey);
	ask(link, WRITE_TO, 0x22, p, 20000, b.rkey);
	expect(link, "written", 7);
	ck_assert(all_bytes(p, 0x22, 20000));
	v->release(device, &a);
	v->release(device, &b);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	munmap(p, 1 << 20);
	for (int i = 0; i < 2000 && served.n_dead == 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

/* Bytes that this process has pinned. */
static size_t pinned(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[256];

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof line, f))
		sscanf(line, "VmPin: %lu", &kib);
	fclose(f);
	return kib * 1024;
}

static int hold_and_release(struct ff3_verbs_device *device, const uint8_t *p, size_t len)
{
	struct ff3_verbs_memory m;
	int r = v->hold(device, p, len, &m);

	if (r == -EAGAIN)
		r = v->hold(device, p, len, &m);
	if (r == 0)
		v->release(device, &m);
	return r;
}

/* Of one who may not lock all memory: what stays registered, and what can be at the same time. */
START_TEST(limits)
{
	const size_t limit = 16 << 20, mib = 1 << 20;
	const struct rlimit l = { limit, limit };
	struct ff3_verbs_memory m[32], pool;
	struct ff3_verbs_device *device;
	struct ff3_verbs_link *link;
	uint8_t *p = pages(64 * mib);
	size_t before, n = 0;

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &l), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* its /proc is its own again */
	daemon_start();
	link = connect_to(PORT);
	device = v->link_device(link);
	ask(link, ECHO, 0, NULL, 0, 0);
	ck_assert_int_eq(next_event(link).kind, FF3_VERBS_RECV);
	before = pinned();
	ck_assert_uint_gt(before, 0);
	/* Many small ones, and then large ones in their place. */
	for (size_t i = 0; i < 1000; i++)
		ck_assert_int_eq(hold_and_release(device, p + 3 * 4096 * i, 4096), 0);
	ck_assert_uint_gt(pinned(), before + 2 * mib);
	for (size_t i = 0; i < 40; i++) {
		ck_assert_int_eq(hold_and_release(device, p + i * mib, mib), 0);
		ck_assert_uint_le(pinned(), before + limit / 2);
	}
	ck_assert_uint_gt(pinned(), before + limit / 4);
	/* At the same time; the pool lives on, as it has what the cache lets go. */
	while (n < ARRAY_SIZE(m) && v->hold(device, p + n * mib, mib, &m[n]) == 0)
		n++;
	ck_assert_uint_ge(n, 6);
	ck_assert_uint_lt(n, ARRAY_SIZE(m));
	ck_assert_int_eq(v->pool_get(device, mib, &pool), 0);
	v->release(device, &pool);
	while (n > 0)
		v->release(device, &m[--n]);
	for (n = 0; n < ARRAY_SIZE(m) && v->pool_get(device, mib, &m[n]) == 0; n++)
		;
	ck_assert_uint_gt(n, 8); /* all that was cached has made room */
	ck_assert_uint_lt(n, ARRAY_SIZE(m));
	ck_assert_int_eq(v->hold(device, p, mib, &m[n]), -ENOMEM);
	v->release(device, &m[0]);
	ck_assert_int_eq(v->hold(device, p, mib, &m[0]), 0);
	while (n > 0)
		v->release(device, &m[--n]);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	munmap(p, 64 * mib);
	for (int i = 0; i < 2000 && served.n_dead == 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

static struct ff3_verbs_piece expect_piece(struct ff3_verbs_link *link)
{
	struct ff3_verbs_event e = next_event(link);
	struct ff3_verbs_piece piece;

	ck_assert_int_eq(e.kind, FF3_VERBS_RECV);
	ck_assert_uint_eq(e.len, sizeof piece);
	memcpy(&piece, e.data, sizeof piece);
	v->give_back(v->link_queue(link), &e);
	return piece;
}

/* Waits for the end of a transfer of the client's own; its status. */
static int transferred(struct ff3_verbs_link *link)
{
	struct ff3_verbs_queue *q = v->link_queue(link);
	struct ff3_verbs_event e[2];
	int n = 0;

	for (int i = 0; i < 4000 && n == 0; i++) {
		n = v->poll(q, e, 2);
		if (n == 0)
			poll(NULL, 0, 5);
	}
	ck_assert_int_ge(n, 1);
	ck_assert_int_eq(e[0].kind, FF3_VERBS_SENT);
	ck_assert_uint_eq(e[0].id, 9);
	/* An error is the link's end. */
	ck_assert_int_eq(n, e[0].status < 0 ? 2 : 1);
	if (n == 2)
		ck_assert_int_eq(e[1].kind, FF3_VERBS_DEAD);
	return e[0].status;
}

/* Reads by itself; the status. */
static int read_window(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, void *p,
		       struct ff3_verbs_piece piece, uint32_t len)
{
	ck_assert_int_eq(v->read(link, m, p, &piece, len, 9), 0);
	return transferred(link);
}

/* Nobody gets at the daemon's memory, also who knows its key; nor at what the same process has registered as
 * somebody's client. */
START_TEST(keys_of_others)
{
	struct ff3_verbs_memory m, client = { 0 };

	daemon_start();
	for (int i = 0; i < 6; i++) {
		struct ff3_verbs_link *link = connect_to(PORT);
		struct ff3_verbs_device *device = v->link_device(link);
		struct ff3_verbs_piece piece;

		if (!client.region)
			ck_assert_int_eq(v->pool_get(device, OWN, &client), 0);
		memset(client.p, 0x21, OWN);
		ck_assert_int_eq(v->pool_get(device, OWN, &m), 0);
		memset(m.p, 0x43, OWN);
		ask(link, SHOW_OWN, 0x21, NULL, 0, 0);
		piece = expect_piece(link);
		if (i / 2 == 1)
			piece = (struct ff3_verbs_piece){ (uintptr_t)client.p, client.rkey, OWN };
		if (i / 2 == 2)
			piece = (struct ff3_verbs_piece){ (uintptr_t)served.block, served.arena.rkey, OWN };
		ck_assert_int_eq(i % 2 ? v->read(link, &m, m.p, &piece, 100, 9) :
					 v->write(link, &m, m.p, &piece, 100, 9), 0);
		ck_assert_int_lt(transferred(link), 0);
		ck_assert(all_bytes(m.p, 0x43, OWN));
		ck_assert(all_bytes(client.p, 0x21, OWN) && all_bytes(served.own.p, 0x21, OWN));
		ck_assert(all_bytes(served.block, 0, OWN));
		v->release(device, &m);
		if (i == 5)
			v->release(device, &client);
		v->close(link);
	}
	for (int i = 0; i < 2000 && served.n_links > 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

START_TEST(windows)
{
	struct ff3_verbs_link *link, *other;
	struct ff3_verbs_piece piece, old;
	struct ff3_verbs_memory m;
	uint8_t *p = pages(65536);

	daemon_start();
	link = connect_to(PORT);
	ck_assert_int_eq(v->hold(v->link_device(link), p, 65536, &m), 0);
	ask(link, EXPOSE, 0x21, NULL, 0, 0);
	piece = expect_piece(link);
	ck_assert_int_eq(read_window(link, &m, p, piece, 8192), 0);
	ck_assert(all_bytes(p, 0x21, 8192) && p[8192] == 0);
	/* Taken back, and given again with another key. */
	ask(link, REVOKE, 0, NULL, 0, 0);
	expect(link, "revoked", 7);
	ask(link, EXPOSE, 0x22, NULL, 0, 0);
	old = piece;
	piece = expect_piece(link);
	ck_assert_uint_ne(old.rkey, piece.rkey);
	ck_assert_int_eq(read_window(link, &m, p, piece, 8192), 0);
	ck_assert(all_bytes(p, 0x22, 8192));

	/* It is this link's alone. */
	memset(p, 0, 65536);
	other = connect_to(PORT);
	ck_assert_int_lt(read_window(other, &m, p, piece, 100), 0);
	v->close(other);
	/* The first link is unharmed, until it uses a key that was taken back. */
	ck_assert_int_eq(read_window(link, &m, p + 32768, piece, 10), 0);
	ask(link, REVOKE, 0, NULL, 0, 0);
	expect(link, "revoked", 7);
	ck_assert_int_eq(read_window(link, &m, p, piece, 100), -EACCES);
	v->release(v->link_device(link), &m);
	v->close(link);
	ck_assert(all_bytes(p, 0, 32768));
	munmap(p, 65536);
	for (int i = 0; i < 2000 && served.n_links > 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

void verbs_memory_tests(TCase *links, TCase *windows_too)
{
	tcase_add_test(links, registrations);
	tcase_add_test(links, limits);
	tcase_add_test(links, keys_of_others);
	tcase_add_test(windows_too, windows);
}
