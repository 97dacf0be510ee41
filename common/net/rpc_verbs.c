/* Purpose: a client's verbs link: whether and how it connects, how it ends.
 *
 * Is it worth trying at all? Only if this machine has a device and the daemon says, by another link,
 * that it listens: a vain attempt takes as long as its time-out.
 *
 * Threads, locks: rpc_verbs.h, rpc_priv.h. Fork: drop in a child only closes descriptors; the module
 * is told before and after by ff3_rpc_before_fork and its two sisters. Signals: none. */
#include <netinet/in.h>
#include <stdio.h>

#include "addr.h"
#include "rpc_verbs.h"

static const struct ff3_verbs_api *_Atomic loaded;
_Atomic int ff3_rpc_memory_watched;
_Atomic bool ff3_rpc_memory_promised;

/* --- Whether and where ----------------------------------------------------------------------- */

static const struct ff3_verbs_api *module(const char **ret_why)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	if (v)
		return v;
	v = ff3_verbs(ret_why);
	atomic_store(&loaded, v);
	return v;
}

/* Asks the daemon by TCP what it has. */
static int ask_transports(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
			  uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	struct ff3_rpc_up other = { .fd = -1, .link = &ff3_link_tcp };
	int r = ff3_link_tcp.connect(peer, user, deadline_ns, &other);

	if (other.fd >= 0)
		close(other.fd);
	if (r < 0) {
		up->why = other.why;
		up->reached = other.reached;
		up->greeting = other.greeting;
		memcpy(up->primary, other.primary, sizeof up->primary);
		return r;
	}
	return 0;
}

void ff3_rpc_before_fork(void)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	if (v)
		v->before_fork();
}

void ff3_rpc_fork_parent(void)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	if (v)
		v->after_fork_parent();
}

void ff3_rpc_fork_child(bool prepared)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	if (v)
		v->after_fork_child(prepared);
}

bool ff3_rpc_lost_reach(const struct ff3_links *links)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	return v && !v->may_connect() && ff3_links_have(links, FF3_LINK_VERBS) &&
	       !ff3_links_have(links, FF3_LINK_TCP);
}

void ff3_rpc_memory_gone(const void *p, size_t len)
{
	const struct ff3_verbs_api *v = atomic_load_explicit(&loaded, memory_order_relaxed);

	if (v)
		v->memory_gone(p, len);
}

const struct ff3_verbs_counters *ff3_rpc_verbs_counters(void)
{
	const struct ff3_verbs_api *v = atomic_load(&loaded);

	return v ? v->counters : NULL;
}

int ff3_rpc_verbs_describe(char *text, size_t size)
{
	const char *why = "";
	const struct ff3_verbs_api *v = module(&why);

	if (v)
		return v->describe(text, size);
	snprintf(text, size, "%s\n", why);
	return -ENODEV;
}

/* --- Connecting ------------------------------------------------------------------------------ */

static void make_terms(uint8_t terms[FF3_VERBS_TERMS_SIZE], uint64_t target)
{
	uint32_t magic = htole32(FF3_VERBS_TERMS_MAGIC), version = htole32(FF3_PROTOCOL_VERSION);

	target = htole64(target);
	memcpy(terms, &magic, 4);
	memcpy(terms + 4, &version, 4);
	memcpy(terms + 8, &target, 8);
}

/* A constant for what connect said: descriptions keep the pointer. */
static const char *reason(const char *why, int r)
{
	static const char *const known[] = {
		"nobody listens for RDMA there",
		"no RDMA device reaches the address",
		"no answer in time",
		"this machine has no RDMA device",
		FF3_VERBS_FORKED,
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strncmp(why, known[i], strlen(known[i])) == 0)
			return known[i];
	return r == -ENOMEM ? FF3_VERBS_NO_MEMORY : "the RDMA connection failed";
}

static int greet(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t until,
		 struct ff3_verbs_state *s, struct ff3_rpc_up *up)
{
	_cleanup_free_ uint8_t *hello = NULL;
	uint8_t reply[FF3_HEADER_SIZE + FF3_RPC_HELLO_MAX], prefix[FF3_VERBS_PREFIX_MAX];
	struct ff3_verbs_prefix p = { 0 };
	size_t len, n_prefix, at = 0;
	int r = ff3_rpc_hello(peer, user, FF3_LINK_VERBS, &hello, &len);

	if (r < 0)
		return r;
	p.frame_len = (uint32_t)len;
	n_prefix = ff3_verbs_prefix_encode(prefix, &p);
	while (r == 0 && at < len) {
		size_t part = MIN(len - at, (size_t)FF3_VERBS_SLOT - n_prefix);
		struct iovec iov[2] = { { prefix, n_prefix }, { hello + at, part } };

		/* The first messages of an empty queue find room. */
		r = s->v->send(s->link, n_prefix ? iov : iov + 1, n_prefix ? 2 : 1, 0);
		at += part;
		n_prefix = 0;
	}
	if (r == 0)
		r = ff3_rpc_verbs_first_frame(s, until, reply, sizeof reply, &len);
	if (r == 0)
		r = ff3_rpc_hello_reply(peer, reply, len, up);
	if (r < 0)
		up->why = "the daemon does not greet";
	return r;
}

static void state_free(struct ff3_verbs_state *s)
{
	if (!s)
		return;
	if (s->link) {
		/* From then on nobody writes into what the slots name. */
		struct ff3_verbs_device *device = s->device;

		s->v->quiet(s->link);
		for (unsigned i = 0; i < FF3_VERBS_CALLS; i++)
			for (unsigned k = 0; k < s->slots[i].n_memory; k++)
				s->v->release(device, &s->slots[i].memory[k]);
		s->v->release(device, &s->words);
		s->v->close(s->link);
	}
	free(s->in.buf);
	free(s);
}

static int connect_one(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		       const struct sockaddr *to, uint64_t until, struct ff3_rpc_up *up)
{
	struct ff3_verbs_state *s = calloc(1, sizeof *s);
	uint8_t terms[FF3_VERBS_TERMS_SIZE];
	char why[FF3_VERBS_WHY];
	int r;

	if (!s)
		return -ENOMEM;
	s->v = module(&up->why);
	make_terms(terms, peer->options.target);
	r = s->v->connect(to, terms, sizeof terms, until, &s->link, why);
	if (r < 0) {
		up->why = reason(why, r);
		free(s);
		return r;
	}
	s->queue = s->v->link_queue(s->link);
	s->device = s->v->link_device(s->link);
	s->heard_ns = ff3_boottime_ns();
	r = greet(peer, user, until, s, up);
	if (r < 0) {
		state_free(s);
		return r;
	}
	up->fd = s->v->link_fd(s->link);
	up->state = s;
	atomic_store(&ff3_rpc_memory_watched, 1);
	return 0;
}

static int connect_verbs(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
			 uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	const struct ff3_verbs_api *v = module(&up->why);
	struct addrinfo *list = peer->numeric;
	int r = 0;

	if (!v)
		return -ENODEV;
	if (!v->may_connect()) {
		up->why = FF3_VERBS_FORKED;
		return -ENODEV;
	}
	if (!atomic_load(&peer->instance))
		r = ask_transports(peer, user, deadline_ns, up);
	if (r < 0)
		return r;
	if (!(atomic_load(&peer->transports) & FF3_TRANSPORT_VERBS)) {
		up->why = "the daemon does not listen for RDMA";
		return -EPROTONOSUPPORT;
	}
	r = list ? 0 : ff3_addr_resolve(peer->address, 0, &list);
	if (r < 0) {
		up->why = "its name has no address";
		return r;
	}
	r = -EHOSTUNREACH;
	for (const struct addrinfo *ai = list; ai && r < 0; ai = ai->ai_next)
		r = connect_one(peer, user, ai->ai_addr, ff3_rpc_connect_until(peer, deadline_ns), up);
	if (!peer->numeric)
		freeaddrinfo(list);
	return r;
}

static void cut(struct ff3_rpc_conn *conn)
{
	struct ff3_verbs_state *s = conn->link_state;

	s->v->cut(s->link);
}

static void drop(struct ff3_rpc_conn *conn, bool forked)
{
	struct ff3_verbs_state *s = conn->link_state;

	/* The rest of it is the parent's; a child keeps these pages for nothing. */
	if (forked)
		s->v->forget(s->link);
	else
		state_free(s);
}

/* The daemon may still write where the call was told it would: not after this. */
static void forget(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	struct ff3_verbs_state *s = conn->link_state;

	for (unsigned i = 0; i < FF3_VERBS_CALLS; i++) {
		struct ff3_verbs_slot *slot = &s->slots[i];

		if (slot->request_id == 0 || slot->call != call)
			continue;
		slot->call = NULL;
		if (!slot->bounce && slot->n_memory > 0)
			s->v->cut(s->link);
	}
}

const struct ff3_link_ops ff3_link_verbs = {
	.name = "verbs",
	.kind = FF3_LINK_VERBS,
	.max_calls = FF3_VERBS_CALLS,
	.connect = connect_verbs,
	.set_aside = ff3_rpc_verbs_set_aside,
	.send = ff3_rpc_verbs_send,
	.receive = ff3_rpc_verbs_receive,
	.about_to_sleep = ff3_rpc_verbs_about_to_sleep,
	.cut = cut,
	.drop = drop,
	.forget = forget,
};
