/* The daemon and the client of unit-verbs: see verbs_daemon.h. The daemon's thread has none of Check's assertions: they have
 * a mutex, for which a child waits for ever that was forked while the thread held it. */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "verbs_daemon.h"
#include "../common/base/crc32c.h"
#include "sure.h"

const char *verbs_address;
struct verbs_daemon served;

struct addrinfo *resolve(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *ai;

	ck_assert_int_eq(getaddrinfo(host, port, &hints, &ai), 0);
	return ai;
}

/* --- The daemon ---------------------------------------------------------------------------------- */

void send_to(struct ff3_verbs_link *link, const void *p, size_t len)
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
		memset(served.block, (int)o.fill, o.piece.len);
		SURE(v->write(link, &served.arena, served.block, &o.piece, o.piece.len, 0) == 0);
		send_to(link, "written", 7);
		break;
	case READ_FROM:
		served.pending = o.piece.len;
		SURE(v->read(link, &served.arena, served.block, &o.piece, o.piece.len, 77) == 0);
		break;
	case HANG_UP:
		v->cut(link);
		break;
	case VANISH:
		v->quiet(link);
		served.vanished = link;
		served.n_links--;
		break;
	case EXPOSE:
		memset(served.block, (int)o.fill, 1 << 20);
		if (!served.window)
			SURE(v->window_new(v->link_device(link), &served.window) == 0);
		SURE(v->bind(link, served.window, &served.arena, served.block + 8192, 8192, 78, &served.exposed) == 0);
		break;
	case REVOKE:
		SURE(v->unbind(link, served.window, 79) == 0);
		break;
	case SHOW_OWN:
		if (!served.own.region)
			SURE(v->own_get(v->link_device(link), OWN, &served.own) == 0);
		memset(served.own.p, (int)o.fill, OWN);
		send_to(link, &(struct ff3_verbs_piece){ (uintptr_t)served.own.p, served.own.rkey, OWN },
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
		v->give_back(served.queue, e);
		break;
	case FF3_VERBS_SENT:
		SURE(e->id >= 77);
		if (e->status == 0 && e->id == 78) {
			send_to(e->link, &served.exposed, sizeof served.exposed);
		} else if (e->status == 0 && e->id == 79) {
			send_to(e->link, "revoked", 7);
		} else if (e->status == 0) {
			crc = ff3_crc32c(0, served.block, served.pending);
			send_to(e->link, &crc, sizeof crc);
		}
		break;
	case FF3_VERBS_DEAD:
		v->close(e->link);
		served.n_links--;
		served.n_dead++;
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

	while (v->request(served.listener, &link, terms, &n) > 0) {
		SURE(n >= 5);
		SURE(memcmp(terms, "terms", 5) == 0);
		if (!served.queue) {
			served.block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			served.device = v->link_device(link);
			SURE(v->queue_new(served.device, 64, &served.queue) == 0);
			SURE(v->region_new(served.device, served.block, 1 << 20, &served.arena) == 0);
		}
		r = v->accept(link, served.queue);
		SURE(r == 0);
		served.n_links++;
		served.n_accepted++;
	}
}

static void *daemon_main(void *arg)
{
	struct ff3_verbs_event events[16];

	for (;;) {
		struct pollfd p[3] = { { .fd = served.stop_fd, .events = POLLIN },
				       { .fd = v->listener_fd(served.listener), .events = POLLIN },
				       { .fd = -1, .events = POLLIN } };
		int n = 0;

		daemon_requests();
		if (served.queue) {
			p[2].fd = v->queue_fd(served.queue);
			SURE(v->arm(served.queue) == 0);
			while ((n = v->poll(served.queue, events, 16)) > 0)
				for (int i = 0; i < n; i++)
					daemon_event(&events[i]);
		}
		SURE(n >= 0);
		SURE(poll(p, 3, 20000) >= 0);
		if (p[0].revents)
			return NULL;
	}
}

void daemon_start(void)
{
	struct addrinfo *ai = resolve(verbs_address, PORT);
	char why[FF3_VERBS_WHY];
	int r;

	memset(&served, 0, sizeof served);
	served.stop_fd = eventfd(0, EFD_CLOEXEC);
	r = v->listen(ai->ai_addr, &served.listener, why);
	ck_assert_msg(r == 0, "listen: %s", why);
	freeaddrinfo(ai);
	ck_assert_int_eq(pthread_create(&served.thread, NULL, daemon_main, NULL), 0);
}

void daemon_stop(void)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write(served.stop_fd, &one, sizeof one), sizeof one);
	pthread_join(served.thread, NULL);
	ck_assert_int_eq(served.n_links, 0);
	if (served.vanished)
		v->close(served.vanished);
	v->window_free(served.window);
	v->region_free(&served.arena);
	if (served.queue)
		v->release(served.device, &served.own);
	v->queue_free(served.queue);
	v->unlisten(served.listener);
	close(served.stop_fd);
}

/* --- The client ------------------------------------------------------------------------------------ */

struct ff3_verbs_link *connect_to(const char *port)
{
	struct addrinfo *ai = resolve(verbs_address, port);
	struct ff3_verbs_link *link = NULL;
	char why[FF3_VERBS_WHY];
	int r = v->connect(ai->ai_addr, "terms", 5, ff3_boottime_ns() + LIMIT_NS, &link, why);

	ck_assert_msg(r == 0, "connect: %s (%s)", why, strerror(-r));
	freeaddrinfo(ai);
	return link;
}

/* One, or two that came together. */
int next_events(struct ff3_verbs_link *link, struct ff3_verbs_event e[2])
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

struct ff3_verbs_event next_event(struct ff3_verbs_link *link)
{
	struct ff3_verbs_event e[2];

	ck_assert_int_eq(next_events(link, e), 1);
	return e[0];
}

void expect(struct ff3_verbs_link *link, const void *want, uint32_t len)
{
	struct ff3_verbs_event e = next_event(link);

	ck_assert_int_eq(e.kind, FF3_VERBS_RECV);
	ck_assert_uint_eq(e.len, len);
	ck_assert_mem_eq(e.data, want, len);
	v->give_back(v->link_queue(link), &e);
}

void expect_dead(struct ff3_verbs_link *link)
{
	ck_assert_int_eq(next_event(link).kind, FF3_VERBS_DEAD);
}

void ask(struct ff3_verbs_link *link, int what, uint32_t fill, const void *p, uint32_t len,
		uint32_t rkey)
{
	struct order o = { .what = what, .fill = fill,
			   .piece = { (uintptr_t)p, rkey, len } };

	send_to(link, &o, sizeof o);
}

bool all_bytes(const uint8_t *p, uint8_t byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte)
			return false;
	return true;
}

void *pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}
