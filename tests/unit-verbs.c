/* The module for RDMA against a real device: links both ways, memory, forks, ends. A thread is the
 * daemon: it does what each message asks for and says when it is done (long because both are here).
 * Skipped where there is no device; tests/vm brings one. FF3FS_TEST_RDMA: the address to listen on. */
#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../common/net/verbs.h"
#include "../common/base/crc32c.h"
#include "sure.h"

#define PORT "7471"
#define LIMIT_NS (20 * FF3_NSEC_PER_SEC)
#define OWN 8192u

extern const struct ff3_verbs_api ff3_verbs_api;
static const struct ff3_verbs_api *const v = &ff3_verbs_api;
static const char *address;

/* What a client asks for: as its message says. */
struct order {
	enum { ECHO, WRITE_TO, READ_FROM, HANG_UP, VANISH, EXPOSE, REVOKE, SHOW_OWN } what;
	uint32_t fill; /* WRITE_TO: the bytes; the answer to READ_FROM is their CRC */
	struct ff3_verbs_piece piece;
};

static struct addrinfo *resolve(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *ai;

	ck_assert_int_eq(getaddrinfo(host, port, &hints, &ai), 0);
	return ai;
}

/* --- The daemon ---------------------------------------------------------------------------------- */

static struct {
	pthread_t thread;
	struct ff3_verbs_listener *listener;
	struct ff3_verbs_queue *queue;
	struct ff3_verbs_device *device;
	struct ff3_verbs_memory arena, own;
	uint8_t *block; /* of the arena */
	int stop_fd;
	_Atomic int n_links, n_accepted, n_dead;
	uint32_t pending; /* READ_FROM under way: its length */
	struct ff3_verbs_window *window;
	struct ff3_verbs_piece exposed;
	struct ff3_verbs_link *vanished;
} d;

static void send_to(struct ff3_verbs_link *link, const void *p, size_t len)
{
	struct iovec iov = { (void *)p, len };

	SURE(v->send(link, &iov, 1, 0) == 0);
}

static void obey(struct ff3_verbs_link *link, const void *data, uint32_t len)
{
	struct order o = { .what = ECHO };

	if (len == sizeof o)
		memcpy(&o, data, sizeof o);
	switch (o.what) {
	case ECHO:
		send_to(link, data, len);
		break;
	case WRITE_TO:
		memset(d.block, (int)o.fill, o.piece.len);
		SURE(v->write(link, &d.arena, d.block, &o.piece, o.piece.len, 0) == 0);
		send_to(link, "written", 7);
		break;
	case READ_FROM:
		d.pending = o.piece.len;
		SURE(v->read(link, &d.arena, d.block, &o.piece, o.piece.len, 77) == 0);
		break;
	case HANG_UP:
		v->cut(link);
		break;
	case VANISH:
		v->quiet(link);
		d.vanished = link;
		d.n_links--;
		break;
	case EXPOSE:
		memset(d.block, (int)o.fill, 1 << 20);
		if (!d.window)
			SURE(v->window_new(v->link_device(link), &d.window) == 0);
		SURE(v->bind(link, d.window, &d.arena, d.block + 8192, 8192, 78, &d.exposed) == 0);
		break;
	case REVOKE:
		SURE(v->unbind(link, d.window, 79) == 0);
		break;
	case SHOW_OWN:
		if (!d.own.region)
			SURE(v->own_get(v->link_device(link), OWN, &d.own) == 0);
		memset(d.own.p, (int)o.fill, OWN);
		send_to(link, &(struct ff3_verbs_piece){ (uintptr_t)d.own.p, d.own.rkey, OWN },
			sizeof(struct ff3_verbs_piece));
		break;
	}
}

static void daemon_event(const struct ff3_verbs_event *e)
{
	uint32_t crc;

	switch (e->kind) {
	case FF3_VERBS_RECV:
		obey(e->link, e->data, e->len);
		v->give_back(d.queue, e);
		break;
	case FF3_VERBS_SENT:
		SURE(e->id >= 77);
		if (e->status == 0 && e->id == 78) {
			send_to(e->link, &d.exposed, sizeof d.exposed);
		} else if (e->status == 0 && e->id == 79) {
			send_to(e->link, "revoked", 7);
		} else if (e->status == 0) {
			crc = ff3_crc32c(0, d.block, d.pending);
			send_to(e->link, &crc, sizeof crc);
		}
		break;
	case FF3_VERBS_DEAD:
		v->close(e->link);
		d.n_links--;
		d.n_dead++;
		break;
	default:
		break;
	}
}

static void daemon_requests(void)
{
	struct ff3_verbs_link *link;
	uint8_t terms[FF3_VERBS_TERMS_MAX];
	size_t n;
	int r;

	while (v->request(d.listener, &link, terms, &n) > 0) {
		SURE(n >= 5);
		SURE(memcmp(terms, "terms", 5) == 0);
		if (!d.queue) {
			d.block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			d.device = v->link_device(link);
			SURE(v->queue_new(d.device, 64, &d.queue) == 0);
			SURE(v->region_new(d.device, d.block, 1 << 20, &d.arena) == 0);
		}
		r = v->accept(link, d.queue);
		SURE(r == 0);
		d.n_links++;
		d.n_accepted++;
	}
}

static void *daemon_main(void *arg)
{
	struct ff3_verbs_event events[16];

	for (;;) {
		struct pollfd p[3] = { { .fd = d.stop_fd, .events = POLLIN },
				       { .fd = v->listener_fd(d.listener), .events = POLLIN },
				       { .fd = -1, .events = POLLIN } };
		int n = 0;

		daemon_requests();
		if (d.queue) {
			p[2].fd = v->queue_fd(d.queue);
			SURE(v->arm(d.queue) == 0);
			while ((n = v->poll(d.queue, events, 16)) > 0)
				for (int i = 0; i < n; i++)
					daemon_event(&events[i]);
		}
		SURE(n >= 0);
		SURE(poll(p, 3, 20000) >= 0);
		if (p[0].revents)
			return NULL;
	}
}

static void daemon_start(void)
{
	struct addrinfo *ai = resolve(address, PORT);
	char why[FF3_VERBS_WHY];
	int r;

	memset(&d, 0, sizeof d);
	d.stop_fd = eventfd(0, EFD_CLOEXEC);
	r = v->listen(ai->ai_addr, &d.listener, why);
	ck_assert_msg(r == 0, "listen: %s", why);
	freeaddrinfo(ai);
	ck_assert_int_eq(pthread_create(&d.thread, NULL, daemon_main, NULL), 0);
}

static void daemon_stop(void)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write(d.stop_fd, &one, sizeof one), sizeof one);
	pthread_join(d.thread, NULL);
	ck_assert_int_eq(d.n_links, 0);
	if (d.vanished)
		v->close(d.vanished);
	v->window_free(d.window);
	v->region_free(&d.arena);
	if (d.queue)
		v->release(d.device, &d.own);
	v->queue_free(d.queue);
	v->unlisten(d.listener);
	close(d.stop_fd);
}

/* --- The client ------------------------------------------------------------------------------------ */

static struct ff3_verbs_link *connect_to(const char *port)
{
	struct addrinfo *ai = resolve(address, port);
	struct ff3_verbs_link *link = NULL;
	char why[FF3_VERBS_WHY];
	int r = v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &link, why);

	ck_assert_msg(r == 0, "connect: %s (%s)", why, strerror(-r));
	freeaddrinfo(ai);
	return link;
}

/* Sleeps until an event that is not NONE. */
/* One, or two that came together. */
static int next_events(struct ff3_verbs_link *link, struct ff3_verbs_event e[2])
{
	struct ff3_verbs_queue *q = v->link_queue(link);
	struct pollfd p = { .fd = v->link_fd(link), .events = POLLIN };
	int n;

	for (;;) {
		n = v->poll(q, e, 2);
		if (n == 0) {
			ck_assert_int_eq(v->arm(q), 0);
			n = v->poll(q, e, 2);
		}
		ck_assert_int_ge(n, 0);
		if (n > 0 && e[0].kind != FF3_VERBS_NONE)
			return n;
		if (n == 0)
			ck_assert_int_eq(poll(&p, 1, LIMIT_NS / FF3_NSEC_PER_MSEC), 1);
	}
}

static struct ff3_verbs_event next_event(struct ff3_verbs_link *link)
{
	struct ff3_verbs_event e[2];

	ck_assert_int_eq(next_events(link, e), 1);
	return e[0];
}

static void expect(struct ff3_verbs_link *link, const void *want, uint32_t len)
{
	struct ff3_verbs_event e = next_event(link);

	ck_assert_int_eq(e.kind, FF3_VERBS_RECV);
	ck_assert_uint_eq(e.len, len);
	ck_assert_mem_eq(e.data, want, len);
	v->give_back(v->link_queue(link), &e);
}

static void expect_dead(struct ff3_verbs_link *link)
{
	ck_assert_int_eq(next_event(link).kind, FF3_VERBS_DEAD);
}

static void ask(struct ff3_verbs_link *link, int what, uint32_t fill, const void *p, uint32_t len,
		uint32_t rkey)
{
	struct order o = { .what = what, .fill = fill,
			   .piece = { (uintptr_t)p, rkey, len } };

	send_to(link, &o, sizeof o);
}

static bool all_bytes(const uint8_t *p, uint8_t byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte)
			return false;
	return true;
}

static void *pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

/* --- Tests -------------------------------------------------------------------------------------------- */

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
	for (int i = 0; i < 2000 && d.n_dead == 0; i++)
		poll(NULL, 0, 5);
	ck_assert_int_eq(d.n_dead, 1);
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
	for (int i = 0; i < 2000 && d.n_dead == 0; i++)
		poll(NULL, 0, 5);
	daemon_stop();
}
END_TEST

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
	for (int i = 0; i < 2000 && d.n_dead == 0; i++)
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
	for (int i = 0; i < 2000 && d.n_dead == 0; i++)
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
			piece = (struct ff3_verbs_piece){ (uintptr_t)d.block, d.arena.rkey, OWN };
		ck_assert_int_eq(i % 2 ? v->read(link, &m, m.p, &piece, 100, 9) :
					 v->write(link, &m, m.p, &piece, 100, 9), 0);
		ck_assert_int_lt(transferred(link), 0);
		ck_assert(all_bytes(m.p, 0x43, OWN));
		ck_assert(all_bytes(client.p, 0x21, OWN) && all_bytes(d.own.p, 0x21, OWN));
		ck_assert(all_bytes(d.block, 0, OWN));
		v->release(device, &m);
		if (i == 5)
			v->release(device, &client);
		v->close(link);
	}
	for (int i = 0; i < 2000 && d.n_links > 0; i++)
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
	for (int i = 0; i < 2000 && d.n_links > 0; i++)
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
		struct addrinfo *ai = resolve(address, PORT);
		struct ff3_verbs_link *none;
		char why[FF3_VERBS_WHY];

		v->after_fork_child(false);
		_exit(v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &none,
				 why) == -ENODEV ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	send_to(link, "still", 5);
	expect(link, "still", 5);
	v->release(v->link_device(link), &m);
	v->cut(link);
	expect_dead(link);
	v->close(link);
	for (int i = 0; i < 2000 && d.n_links > 0; i++)
		poll(NULL, 0, 5);
	ck_assert_int_eq(d.n_accepted, 4);
	daemon_stop();
}
END_TEST

START_TEST(ends)
{
	struct ff3_verbs_link *link = NULL;
	struct addrinfo *ai = resolve(address, "7499");
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
	for (int i = 0; i < 2000 && d.n_dead == 0; i++)
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
	ck_assert_ptr_nonnull(strstr(text, address));
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

	address = getenv("FF3FS_TEST_RDMA");
	n = v->describe(text, sizeof text);
	if (!address || n <= 0) {
		printf("unit-verbs: skipped: %s\n",
		       n <= 0 ? "no usable RDMA device" : "no address in FF3FS_TEST_RDMA");
		return 77;
	}
	/* Below the limit of what runs this: so the one that hangs is named. */
	tcase_set_timeout(tcase, 45);
	tcase_set_timeout(last, 45);
	tcase_add_test(tcase, messages);
	tcase_add_test(tcase, transfers);
	tcase_add_test(tcase, registrations);
	tcase_add_test(tcase, limits);
	tcase_add_test(tcase, keys_of_others);
	tcase_add_test(tcase, forks);
	tcase_add_test(tcase, ends);
	tcase_add_test(tcase, description);
	suite_add_tcase(suite, tcase);
	tcase_add_test(last, windows);
	tcase_add_test(last, silence);
	suite_add_tcase(suite, last);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n == 0 ? 0 : 1;
}
