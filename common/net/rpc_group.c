/* Purpose: see rpc_group.h.
 *
 * Members are added, by the list and when another one names somebody new, and stay until the group is freed:
 * readers take no lock. Who has left a member moves `current`; several threads may do that at once and in
 * different directions, which costs them an attempt or two. The first call that succeeds after a move cuts
 * the connections to all others.
 *
 * A member whose attempt took long (no answer, or a resolver that has none) is tried last for a while.
 *
 * Threads: any. `lock` guards adding, `looking` is held by the thread that looks for another primary.
 * Fork: the child makes the locks anew; a member that was just being added is not there for it.
 * Signals: not async-signal-safe. */
#include "rpc_group.h"

#include <pthread.h>
#include <stdio.h>

#include "addr.h"

/* An attempt that took longer is not repeated for the second time, while others are there. */
#define SLOW_NS (300 * FF3_NSEC_PER_MSEC)
#define AVOID_NS (5 * FF3_NSEC_PER_SEC)
/* For connection and hello each, where others might answer. */
#define CONNECT_MS 1000u
/* A ping of the silent member, and one of each other. */
#define SELF_NS (200 * FF3_NSEC_PER_MSEC)
#define OTHER_NS (300 * FF3_NSEC_PER_MSEC)
/* Until a call that goes on unanswered asks again. */
#define AGAIN_NS (500 * FF3_NSEC_PER_MSEC)

struct member {
	unsigned index;
	struct ff3_rpc_peer *rpc;
	_Atomic int error;	   /* of the last attempt; 0: it worked, or there was none */
	_Atomic uint64_t avoid_ns; /* tried last until then (CLOCK_BOOTTIME) */
	char address[];
};

struct ff3_rpc_group {
	struct ff3_rpc_identity identity;
	struct ff3_rpc_options options;
	struct ff3_rpc_known own;
	const struct ff3_rpc_user *_Atomic user;
	_Atomic(struct member *) current;
	_Atomic bool moved; /* since the last call that succeeded */
	pthread_mutex_t lock, looking;
	_Atomic unsigned n;
	struct member *members[FF3_RPC_GROUP_MAX];
};

/* --- Members --------------------------------------------------------------------------------- */

static struct member *find(const struct ff3_rpc_group *g, const char *address)
{
	unsigned n = atomic_load(&g->n);

	for (unsigned i = 0; i < n; i++)
		if (strcmp(g->members[i]->address, address) == 0)
			return g->members[i];
	return NULL;
}

static int check_address(const char *address)
{
	struct addrinfo *list;
	int r = *address == ':' ? -EINVAL : ff3_addr_resolve(address, AI_NUMERICHOST, &list);

	if (r == 0)
		freeaddrinfo(list);
	return r == -EINVAL || r == -ENOMEM ? r : 0;
}

/* lock held. */
static int add(struct ff3_rpc_group *g, const char *address, struct member **ret)
{
	unsigned n = atomic_load(&g->n);
	struct member *m = find(g, address);
	int r = m ? 0 : n == FF3_RPC_GROUP_MAX ? -ENOSPC : check_address(address);

	if (!m && r == 0) {
		m = calloc(1, sizeof *m + strlen(address) + 1);
		r = m ? ff3_rpc_peer_new(address, &g->identity, &g->options, &m->rpc) : -ENOMEM;
		if (r < 0) {
			free(m);
			return r;
		}
		strcpy(m->address, address);
		m->index = n;
		ff3_rpc_peer_set_user(m->rpc, atomic_load(&g->user));
		g->members[n] = m;
		atomic_store(&g->n, n + 1);
	}
	*ret = m;
	return r;
}

/* The member of an address that another one named, or NULL. */
static struct member *find_or_add(struct ff3_rpc_group *g, const char *address)
{
	struct member *m = find(g, address);

	if (m || *address == '\0')
		return m;
	pthread_mutex_lock(&g->lock);
	if (add(g, address, &m) < 0)
		m = NULL;
	pthread_mutex_unlock(&g->lock);
	return m;
}

static int add_list(struct ff3_rpc_group *g, const char *list)
{
	_cleanup_free_ char *copy = strdup(list);
	char *state, *word;
	struct member *m;
	int r = copy ? 0 : -ENOMEM;

	if (r == 0 && strpbrk(list, ", "))
		g->options.connect_timeout_ms = MIN(g->options.connect_timeout_ms, CONNECT_MS);
	for (word = r == 0 ? strtok_r(copy, ", \t", &state) : NULL; word && r == 0;
	     word = strtok_r(NULL, ", \t", &state))
		r = add(g, word, &m);
	return r < 0 ? (r == -ENOSPC ? -EINVAL : r) : g->n == 0 ? -EINVAL : 0;
}

int ff3_rpc_group_new(const char *list, const struct ff3_rpc_identity *identity,
		      const struct ff3_rpc_options *options, struct ff3_rpc_group **ret)
{
	struct ff3_rpc_group *g = calloc(1, sizeof *g);
	int r;

	if (!g)
		return -ENOMEM;
	g->identity = *identity;
	g->options = *options;
	if (!g->options.known)
		g->options.known = &g->own;
	if (g->options.connect_timeout_ms == 0)
		g->options.connect_timeout_ms = 2000;
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->looking, NULL);
	r = add_list(g, list);
	if (r < 0) {
		ff3_rpc_group_free(g);
		return r;
	}
	atomic_store(&g->current, g->members[0]);
	*ret = g;
	return 0;
}

void ff3_rpc_group_free(struct ff3_rpc_group *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < g->n; i++) {
		ff3_rpc_peer_free(g->members[i]->rpc);
		free(g->members[i]);
	}
	pthread_mutex_destroy(&g->lock);
	pthread_mutex_destroy(&g->looking);
	free(g);
}

struct ff3_rpc_peer *ff3_rpc_group_peer(struct ff3_rpc_group *g)
{
	return atomic_load(&g->current)->rpc;
}

bool ff3_rpc_group_is_many(const struct ff3_rpc_group *g)
{
	return atomic_load_explicit(&g->n, memory_order_relaxed) > 1;
}

const struct ff3_rpc_known *ff3_rpc_group_known(const struct ff3_rpc_group *g)
{
	return g->options.known;
}

void ff3_rpc_group_explain(const struct ff3_rpc_group *g, char *text, size_t size)
{
	unsigned n = atomic_load(&g->n);
	size_t len = 0;

	*text = '\0';
	for (unsigned i = 0; i < n && len < size; i++) {
		int r = atomic_load(&g->members[i]->error);

		if (r != 0)
			len += (size_t)snprintf(text + len, size - len, "%s%s: %s", len ? "; " : "",
						g->members[i]->address, ff3_strerror(r));
	}
}

void ff3_rpc_group_after_fork(struct ff3_rpc_group *g, uint64_t session)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->looking, NULL);
	g->identity.session = session;
	for (unsigned i = 0; i < g->n; i++)
		ff3_rpc_after_fork(g->members[i]->rpc, session);
}

void ff3_rpc_group_set_user(struct ff3_rpc_group *g, const struct ff3_rpc_user *user)
{
	pthread_mutex_lock(&g->lock);
	atomic_store(&g->user, user);
	for (unsigned i = 0; i < g->n; i++)
		ff3_rpc_peer_set_user(g->members[i]->rpc, user);
	pthread_mutex_unlock(&g->lock);
}

/* --- Which one serves ------------------------------------------------------------------------ */

/* Attempts of one call. */
struct round {
	struct member *at;
	uint32_t tried; /* bits of members */
	int error;	/* the one that says most */
};

/* Waiting does not help. */
static bool is_final(int r)
{
	return r == FF3_E_CLUSTER || r == FF3_E_VERSION || r == FF3_E_CREDENTIAL;
}

/* The request was not sent, for a reason that another member may not have. */
static bool is_of_member(int r)
{
	switch (r) {
	case -ENOMEM:
	case -EFAULT:
	case -E2BIG:
	case -EMFILE:
	case -ENFILE:
		return false;
	default:
		return true;
	}
}

static bool is_avoided(const struct member *m)
{
	return atomic_load(&m->avoid_ns) > ff3_boottime_ns();
}

/* The next one behind m that was not tried; NULL: there is none. */
static struct member *next_of(const struct ff3_rpc_group *g, const struct member *m, uint32_t tried)
{
	unsigned n = atomic_load(&g->n);
	struct member *late = NULL;

	for (unsigned i = 1; i <= n; i++) {
		struct member *next = g->members[(m->index + i) % n];

		if (tried & 1u << next->index)
			continue;
		if (!is_avoided(next))
			return next;
		if (!late)
			late = next;
	}
	return late;
}

/* at has failed, or does not serve, with r. False: all have. */
static bool go_on(struct ff3_rpc_group *g, struct round *round, int r)
{
	struct member *from = round->at, *to = NULL;
	char primary[FF3_RPC_ADDRESS_MAX] = "";
	uint64_t epoch;
	bool all;

	atomic_store(&from->error, r);
	round->tried |= 1u << from->index;
	if (round->error == 0 || !is_final(r))
		round->error = r;
	if (r == FF3_E_NOT_PRIMARY)
		ff3_rpc_peer_primary(from->rpc, primary, &epoch);
	to = find_or_add(g, primary);
	if (!to || round->tried & 1u << to->index || is_avoided(to))
		to = next_of(g, from, round->tried);
	all = !to;
	if (all) /* the next round begins elsewhere */
		to = next_of(g, from, 0);
	round->at = to;
	if (to != from && atomic_compare_exchange_strong(&g->current, &from, to))
		atomic_store(&g->moved, true);
	return !all;
}

/* m serves: nobody else does. */
static void settle(struct ff3_rpc_group *g, struct member *m)
{
	unsigned n = atomic_load(&g->n);

	if (ff3_rpc_peer_greeting(m->rpc).epoch < atomic_load(&g->options.known->epoch))
		return;
	atomic_store(&g->moved, false);
	atomic_store(&g->current, m);
	atomic_store(&m->error, 0);
	atomic_store(&m->avoid_ns, 0);
	for (unsigned i = 0; i < n; i++)
		if (g->members[i] != m)
			ff3_rpc_cut(g->members[i]->rpc);
}

static int start(struct ff3_rpc_group *g, struct ff3_rpc_call *call, struct round *round)
{
	for (;;) {
		uint64_t begun = ff3_rpc_group_is_many(g) ? ff3_boottime_ns() : 0, now;
		int r = ff3_rpc_start(round->at->rpc, call);

		if (LIKELY(r == 0) || !is_of_member(r))
			return r;
		now = ff3_boottime_ns();
		if (begun && now - begun > SLOW_NS)
			atomic_store(&round->at->avoid_ns, now + AVOID_NS);
		if (!go_on(g, round, r))
			return call->status = round->error;
		if (call->deadline_ns && now >= call->deadline_ns)
			return r;
	}
}

int ff3_rpc_group_start(struct ff3_rpc_group *g, struct ff3_rpc_call *call)
{
	struct round round = { .at = atomic_load(&g->current) };

	return start(g, call, &round);
}

/* --- Silence --------------------------------------------------------------------------------- */

static int ask(struct member *m, uint64_t within_ns)
{
	uint8_t body[16], reply[64];
	struct ff3_rpc_call call = {
		.op = FF3_OP_ping,
		.body = body,
		.body_len = ff3_encode_req_ping(body, sizeof body, &(struct ff3_req_ping){ 1 }),
		.reply = reply,
		.reply_size = sizeof reply,
	};

	return ff3_rpc_call(m->rpc, &call, ff3_boottime_ns() + within_ns);
}

int ff3_rpc_group_ask(struct ff3_rpc_group *g, unsigned i, uint64_t within_ns, const char **ret_address)
{
	struct member *m;
	int r;

	if (i >= atomic_load(&g->n))
		return -ENOENT;
	m = g->members[i];
	*ret_address = m->address;
	r = ask(m, within_ns);
	atomic_store(&m->error, r);
	if (r == 0)
		settle(g, m);
	return r;
}

/* Whether m serves, or knows who does; NULL: neither. */
static struct member *ask_other(struct ff3_rpc_group *g, struct member *m, const struct member *silent)
{
	uint64_t known = atomic_load(&g->options.known->epoch), epoch;
	char primary[FF3_RPC_ADDRESS_MAX];
	int r = ask(m, OTHER_NS);

	if (r == 0)
		return m;
	atomic_store(&m->error, r);
	if (r != FF3_E_NOT_PRIMARY)
		return NULL;
	ff3_rpc_peer_primary(m->rpc, primary, &epoch);
	m = epoch > known ? find_or_add(g, primary) : NULL;
	return m && m != silent && ask(m, OTHER_NS) == 0 ? m : NULL;
}

/* silent has not answered for a while. */
static void look_for_another(struct ff3_rpc_group *g, struct member *silent)
{
	unsigned n = atomic_load(&g->n);
	struct member *found = NULL;

	if (pthread_mutex_trylock(&g->looking) != 0)
		return;
	if (atomic_load(&g->current) == silent && ask(silent, SELF_NS) != 0) {
		atomic_store(&silent->error, -ETIMEDOUT);
		for (unsigned i = 1; i < n && !found; i++)
			found = ask_other(g, g->members[(silent->index + i) % n], silent);
	}
	if (found)
		settle(g, found);
	pthread_mutex_unlock(&g->looking);
}

static struct member *member_of(const struct ff3_rpc_group *g, const struct ff3_rpc_call *call)
{
	unsigned n = atomic_load(&g->n);

	for (unsigned i = 0; i < n; i++)
		if (ff3_rpc_call_peer(call) == g->members[i]->rpc)
			return g->members[i];
	return atomic_load(&g->current);
}

int ff3_rpc_group_wait(struct ff3_rpc_group *g, struct ff3_rpc_call *call, uint64_t deadline_ns)
{
	uint64_t until;

	if (!ff3_rpc_group_is_many(g))
		return ff3_rpc_wait(&call, 1, deadline_ns);
	until = ff3_boottime_ns() + FF3_RPC_PATIENCE_NS;
	while (deadline_ns == 0 || until < deadline_ns) {
		if (LIKELY(ff3_rpc_wait_patiently(call, until) == 0))
			return 0;
		look_for_another(g, member_of(g, call));
		until = ff3_boottime_ns() + AGAIN_NS;
	}
	return ff3_rpc_wait(&call, 1, deadline_ns);
}

int ff3_rpc_group_call(struct ff3_rpc_group *g, struct ff3_rpc_call *call, uint64_t deadline_ns)
{
	struct round round = { .at = atomic_load(&g->current) };
	int r;

	call->deadline_ns = deadline_ns;
	for (;;) {
		r = start(g, call, &round);
		if (r < 0 || call->one_way)
			return r;
		ff3_rpc_group_wait(g, call, deadline_ns);
		if (LIKELY(call->status != FF3_E_NOT_PRIMARY)) {
			if (UNLIKELY(atomic_load_explicit(&g->moved, memory_order_relaxed)) &&
			    call->status == 0)
				settle(g, round.at);
			return call->status;
		}
		/* It has just lost the role; its next hello says who has it. */
		ff3_rpc_cut(round.at->rpc);
		if (!go_on(g, &round, FF3_E_NOT_PRIMARY))
			return call->status;
	}
}
