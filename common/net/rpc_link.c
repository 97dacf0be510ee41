/* Purpose: by which link a peer is reached: the first of the configured ones that works, and why the
 * others were not taken; and what else there is to say about a peer.
 *
 * A link that failed is left alone for a while, as long as another one works; so a remote daemon
 * costs its clients one vain attempt now and then. Where the daemon itself was reached and did not
 * greet, no other link is tried: it would fare no better, and take another time-out.
 *
 * Threads: any; what is remembered are atomics. Fork/signal: see rpc_priv.h. */
#include "rpc_priv.h"

#define RETRY_NS (10 * FF3_NSEC_PER_SEC)

static const struct ff3_link_ops *const link_ops[FF3_LINK_N] = {
	[FF3_LINK_SHM] = &ff3_link_shm,
	[FF3_LINK_TCP] = &ff3_link_tcp,
	[FF3_LINK_UNIX] = &ff3_link_unix,
	[FF3_LINK_VERBS] = &ff3_link_verbs,
};

void ff3_rpc_order_links(struct ff3_rpc_peer *peer)
{
	struct ff3_links links = peer->options.links;
	unsigned n = 0;

	if (links.n == 0)
		(void)ff3_links_parse(FF3_LINKS_ALL, &links);
	for (unsigned i = 0; i < links.n; i++)
		if (link_ops[links.kind[i]])
			peer->order[n++] = link_ops[links.kind[i]];
}

void ff3_rpc_note_link(struct ff3_rpc_peer *peer, enum ff3_link_kind kind, int r, const char *why)
{
	struct ff3_rpc_link *link = &peer->links[kind];

	atomic_fetch_add(r < 0 ? &link->failures : &link->connects, 1);
	atomic_store(&link->error, r);
	atomic_store(&link->why, r < 0 ? why : NULL);
	atomic_store(&link->retry_ns, r < 0 ? ff3_boottime_ns() + RETRY_NS : 0);
}

static int try_link(struct ff3_rpc_peer *peer, const struct ff3_link_ops *ops,
		    const struct ff3_rpc_user *user, uint64_t deadline_ns, struct ff3_rpc_up *up)
{
	int r;

	*up = (struct ff3_rpc_up){ .fd = -1, .link = ops };
	r = ops->connect(peer, user, deadline_ns, up);
	if (r < 0 && up->fd >= 0)
		close(TAKE_FD(up->fd));
	ff3_rpc_note_link(peer, ops->kind, r, up->why);
	return r;
}

int ff3_rpc_connect(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t deadline_ns,
		    struct ff3_rpc_up *up)
{
	uint64_t now = ff3_boottime_ns();
	int first = 0, r;

	/* Those that failed lately only after all others have failed, too. */
	for (int late = 0; late < 2; late++)
		for (unsigned i = 0; i < FF3_LINK_N && peer->order[i]; i++) {
			bool is_late = atomic_load(&peer->links[peer->order[i]->kind].retry_ns) > now;

			if (is_late != (late == 1))
				continue;
			r = try_link(peer, peer->order[i], user, deadline_ns, up);
			if (r == 0 || up->reached)
				return r;
			/* TCP's reason is the one that people know. */
			if (first == 0 || peer->order[i]->kind == FF3_LINK_TCP)
				first = r;
		}
	return first ? first : -EPROTONOSUPPORT;
}

void ff3_rpc_peer_set_user(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user)
{
	atomic_store(&peer->user, user);
}

/* --- What there is to say about a peer --------------------------------------------------------- */

bool ff3_rpc_peer_comes_by(struct ff3_rpc_peer *peer, enum ff3_link_kind kind)
{
	bool found = false;

	for (unsigned i = 0; i < peer->options.max_connections && !found; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];

		pthread_mutex_lock(&conn->lock);
		found = conn->state == FF3_CONN_UP && conn->link->kind == kind;
		pthread_mutex_unlock(&conn->lock);
	}
	return found;
}

void ff3_rpc_peer_describe(struct ff3_rpc_peer *peer, struct ff3_rpc_description *ret)
{
	*ret = (struct ff3_rpc_description){ .address = peer->address };
	for (unsigned i = 0; i < FF3_LINK_N && peer->order[i]; i++) {
		const struct ff3_rpc_link *link = &peer->links[peer->order[i]->kind];

		ret->transport[ret->n++] = (struct ff3_rpc_transport){
			.name = peer->order[i]->name,
			.requests = atomic_load(&link->requests),
			.connects = atomic_load(&link->connects),
			.failures = atomic_load(&link->failures),
			.reads = atomic_load(&link->reads),
			.error = atomic_load(&link->error),
			.why = atomic_load(&link->why),
		};
	}
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];

		pthread_mutex_lock(&conn->lock);
		for (unsigned k = 0; conn->fd >= 0 && k < ret->n; k++)
			if (peer->order[k] == conn->link) {
				ret->transport[k].connections++;
				ret->transport[k].requests +=
					conn->next_id - FF3_RPC_FIRST_ID - conn->n_reads;
				ret->transport[k].reads += conn->n_reads;
			}
		pthread_mutex_unlock(&conn->lock);
	}
}
