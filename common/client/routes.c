/* Purpose: which target at which address serves a chain. The table comes whole from metad, at the
 * first use and whenever a chain is unknown, a connection is refused, or a daemon says that its
 * chain or target is another.
 *
 * Threads: readers take the current table from an atomic pointer without a lock. A table or peer
 * that was replaced stays until the client is freed: a few kilobytes per change of the cluster,
 * which buys a read path without counting. routes.lock lets one thread at a time ask metad.
 * Fork: the table stays valid; its peers get the child's session (fork.c). */
#include "replay.h"

static const struct ff3_route *table_find(const struct ff3_routes *t, uint32_t chain)
{
	uint32_t low = 0, high = t->n;

	/* Chain ids are handed out in order, so that the first guess is usually right. */
	if (t->n > 0 && chain - t->route[0].chain < t->n &&
	    t->route[chain - t->route[0].chain].chain == chain)
		return &t->route[chain - t->route[0].chain];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->route[middle].chain == chain)
			return &t->route[middle];
		if (t->route[middle].chain < chain)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

uint64_t ff3_routes_version(struct ff3fs *fs)
{
	const struct ff3_routes *t = atomic_load_explicit(&fs->routes.current,
							  memory_order_acquire);

	return t ? t->version : 0;
}

static int peer_get(struct ff3fs *fs, uint64_t target, struct ff3_str address,
		    struct ff3_peer **ret)
{
	struct ff3_rpc_options options = {
		.max_connections = (unsigned)fs->conf.client.connections,
		.target = target,
		.sockets = fs->conf.client.sockets,
		.links = fs->conf.client.transports,
	};
	struct ff3_rpc_identity identity = fs->identity;
	struct ff3_peer *p;
	int r;

	/* Addresses come from metad, and its chunk daemons are of its cluster. */
	identity.cluster = ff3_meta_cluster(fs);
	pthread_mutex_lock(&fs->peers_lock);
	for (p = fs->peers; p; p = p->next)
		if (p->target == target && strlen(p->address) == address.len &&
		    memcmp(p->address, address.p, address.len) == 0)
			break;
	if (p) {
		pthread_mutex_unlock(&fs->peers_lock);
		*ret = p;
		return 0;
	}
	p = calloc(1, sizeof *p + address.len + 1);
	r = p ? 0 : -ENOMEM;
	if (r == 0) {
		p->target = target;
		p->now_key = ff3_recover_key(fs, 0, target);
		ff3_slow_init(&p->slow);
		memcpy(p->address, address.p, address.len);
		r = ff3_rpc_peer_new(p->address, &identity, &options, &p->rpc);
	}
	if (r < 0) {
		free(p);
	} else {
		p->next = fs->peers;
		fs->peers = p;
		*ret = p;
	}
	pthread_mutex_unlock(&fs->peers_lock);
	return r;
}

int ff3_peer_local(struct ff3fs *fs, struct ff3_peer *peer, struct ff3_rpc_peer **ret)
{
	const struct ff3_links *conf = &fs->conf.client.transports;
	struct ff3_rpc_options options = { .max_connections = 1,
					   .target = peer->target,
					   .sockets = fs->conf.client.sockets };
	struct ff3_rpc_identity identity = fs->identity;
	struct ff3_rpc_peer *rpc = atomic_load(&peer->local);
	int r = 0;

	if (LIKELY(rpc != NULL)) {
		*ret = rpc;
		return 0;
	}
	for (unsigned i = 0; i < conf->n; i++)
		if (conf->kind[i] == FF3_LINK_UNIX || conf->kind[i] == FF3_LINK_SHM)
			options.links.kind[options.links.n++] = FF3_LINK_UNIX;
	if (options.links.n == 0)
		return -EOPNOTSUPP;
	options.links.n = 1;
	identity.cluster = ff3_meta_cluster(fs);
	pthread_mutex_lock(&fs->peers_lock);
	rpc = atomic_load(&peer->local);
	if (!rpc) {
		r = ff3_rpc_peer_new(peer->address, &identity, &options, &rpc);
		if (r == 0)
			atomic_store(&peer->local, rpc);
	}
	pthread_mutex_unlock(&fs->peers_lock);
	*ret = rpc;
	return r;
}

/* The peer of a target, by way of its node's address; NULL if one of them is not known. */
static struct ff3_peer *peer_of_target(struct ff3fs *fs, const struct ff3_rep_routes *rep,
				       uint64_t target)
{
	struct ff3_dec d = ff3_dec_blob(rep->targets);
	struct ff3_peer *peer = NULL;
	struct ff3_target t;
	struct ff3_node n;

	while (ff3_dec_more(&d)) {
		ff3_get_target(&d, &t);
		if (d.bad || t.target == target)
			break;
	}
	if (d.bad || t.target != target)
		return NULL;
	d = ff3_dec_blob(rep->nodes);
	while (ff3_dec_more(&d)) {
		ff3_get_node(&d, &n);
		if (!d.bad && n.node == t.node && n.address.len > 0) {
			if (peer_get(fs, target, n.address, &peer) < 0)
				return NULL;
			return peer;
		}
	}
	return NULL;
}

static int by_chain(const void *a, const void *b)
{
	const struct ff3_route *x = a, *y = b;

	return x->chain < y->chain ? -1 : x->chain > y->chain;
}

static int table_build(struct ff3fs *fs, const struct ff3_rep_routes *rep, struct ff3_routes **ret)
{
	struct ff3_dec d = ff3_dec_blob(rep->chains), members;
	struct ff3_routes *t;
	struct ff3_chain c;
	uint32_t n = 0;

	while (ff3_dec_more(&d)) {
		ff3_get_chain(&d, &c);
		n++;
	}
	if (d.bad)
		return -EBADMSG;
	t = calloc(1, sizeof *t + n * sizeof *t->route);
	if (!t)
		return -ENOMEM;
	d = ff3_dec_blob(rep->chains);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t head = 0;

		ff3_get_chain(&d, &c);
		members = ff3_dec_blob(c.members);
		ff3_get_u64(&members, &head);
		t->route[i] = (struct ff3_route){
			.chain = c.chain,
			.version = c.version,
			.peer = peer_of_target(fs, rep, head),
		};
	}
	t->n = n;
	t->version = rep->version;
	qsort(t->route, n, sizeof *t->route, by_chain);
	*ret = t;
	return 0;
}

static int fetch(struct ff3fs *fs, bool once)
{
	struct ff3_req_routes req = { .version = ff3_routes_version(fs) };
	_cleanup_free_ uint8_t *buf = malloc(FF3_BODY_MAX);
	struct ff3_rep_routes rep;
	struct ff3_meta_call call = FF3_META_CALL(routes, false, &req, &rep, buf, FF3_BODY_MAX);
	struct ff3_routes *table;
	int r;

	if (!buf)
		return -ENOMEM;
	call.once = once;
	r = ff3_meta_call(fs, &call);
	if (r < 0)
		return r;
	if (rep.version == req.version && req.version != 0)
		return 0;
	r = table_build(fs, &rep, &table);
	if (r < 0)
		return r;
	table->older = atomic_load(&fs->routes.current);
	atomic_store_explicit(&fs->routes.current, table, memory_order_release);
	return 0;
}

int ff3_routes_refresh(struct ff3fs *fs, uint64_t seen, bool once)
{
	int r = 0;

	pthread_mutex_lock(&fs->routes.lock);
	if (ff3_routes_version(fs) <= seen)
		r = fetch(fs, once);
	pthread_mutex_unlock(&fs->routes.lock);
	return r;
}

int ff3_route_find(struct ff3fs *fs, uint32_t chain, struct ff3_route *ret)
{
	const struct ff3_routes *t = atomic_load_explicit(&fs->routes.current,
							  memory_order_acquire);
	const struct ff3_route *route = t ? table_find(t, chain) : NULL;
	int r;

	if (UNLIKELY(!route || !route->peer)) {
		r = ff3_routes_refresh(fs, t ? t->version : 0, false);
		if (r < 0)
			return r;
		t = atomic_load_explicit(&fs->routes.current, memory_order_acquire);
		route = t ? table_find(t, chain) : NULL;
		if (!route || !route->peer) {
			ff3_explain("chain %u has no chunk daemon yet", chain);
			return FF3_E_NO_TARGET;
		}
	}
	*ret = *route;
	return 0;
}

void ff3_routes_done(struct ff3fs *fs)
{
	struct ff3_routes *t = atomic_load(&fs->routes.current);

	while (t) {
		struct ff3_routes *older = t->older;

		free(t);
		t = older;
	}
	while (fs->peers) {
		struct ff3_peer *p = fs->peers;

		fs->peers = p->next;
		ff3_slow_done(&p->slow);
		ff3_rpc_peer_free(p->rpc);
		ff3_rpc_peer_free(atomic_load(&p->local));
		free(p);
	}
}
