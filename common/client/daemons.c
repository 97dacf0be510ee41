/* Purpose: what a client tells of the daemons that it has to do with, and of the ways to them.
 *
 * Threads: any. Peers are never freed before the client, so that their list is walked under its lock and
 * they are used without it. Fork/signal: as any call. */
#include "internal.h"

struct daemon {
	const char *kind, *address;
	uint64_t target;
	struct ff3_rpc_peer *rpc, *local;
};

/* Number i: the metad that serves, then the peers in the order in which they became known. */
static bool find(struct ff3fs *fs, size_t i, struct daemon *ret)
{
	const struct ff3_peer *p;
	size_t n = 0, at;

	if (i == 0) {
		struct ff3_rpc_peer *rpc = ff3_rpc_group_peer(fs->meta.group);
		struct ff3_rpc_description d;

		ff3_rpc_peer_describe(rpc, &d);
		*ret = (struct daemon){ "metad", d.address, 0, rpc, NULL };
		return true;
	}
	pthread_mutex_lock(&fs->peers_lock);
	for (p = fs->peers; p; p = p->next)
		n++;
	/* The list has the newest first. */
	for (p = fs->peers, at = n; p && at > i; p = p->next)
		at--;
	if (p && i <= n)
		*ret = (struct daemon){ "chunkd", p->address, p->target, p->rpc,
					atomic_load(&p->local) };
	pthread_mutex_unlock(&fs->peers_lock);
	return p && i <= n;
}

static void describe(const struct daemon *d, struct ff3fs_daemon *ret)
{
	struct ff3_rpc_description all, local = { .n = 0 };

	ff3_rpc_peer_describe(d->rpc, &all);
	if (d->local)
		ff3_rpc_peer_describe(d->local, &local);
	*ret = (struct ff3fs_daemon){ .kind = d->kind, .address = d->address, .target = d->target };
	for (unsigned i = 0; i < all.n && i < ARRAY_SIZE(ret->links); i++) {
		const struct ff3_rpc_transport *t = &all.transport[i];
		struct ff3fs_link *l = &ret->links[ret->n_links++];

		*l = (struct ff3fs_link){ t->name, t->connections, t->requests, t->connects,
					  t->failures, t->error, t->why };
		/* Descriptors come by a connection of their own. */
		for (unsigned k = 0; k < local.n; k++)
			if (strcmp(local.transport[k].name, t->name) == 0) {
				l->connections += local.transport[k].connections;
				l->requests += local.transport[k].requests;
				l->connects += local.transport[k].connects;
			}
	}
}

EXPORT size_t ff3fs_daemons(struct ff3fs *fs, struct ff3fs_daemon *ret, size_t max)
{
	struct daemon d;
	size_t n = 0;

	for (; find(fs, n, &d); n++)
		if (n < max)
			describe(&d, &ret[n]);
	return n;
}

EXPORT int ff3fs_find_daemons(struct ff3fs *fs)
{
	FF3_ENTER();

	return ff3_public(ff3_routes_refresh(fs, ff3_routes_version(fs), true));
}

static int ping(struct ff3_rpc_peer *rpc, unsigned n, uint64_t timeout_ns, uint64_t *ret_ns)
{
	struct ff3_req_ping req = { .cookie = 1 };
	uint8_t body[16], reply[16];
	uint64_t best = UINT64_MAX;

	/* The first one connects, and does not count. */
	for (unsigned i = 0; i <= n; i++) {
		struct ff3_rpc_call call = {
			.op = FF3_OP_ping,
			.body = body,
			.body_len = ff3_encode_req_ping(body, sizeof body, &req),
			.reply = reply,
			.reply_size = sizeof reply,
		};
		uint64_t began = ff3_boottime_ns();
		int r = ff3_rpc_call(rpc, &call, began + timeout_ns);

		/* A connection of before, whose daemon was started anew since, says nothing of this one; nor does
		 * the listening socket of one that was killed, which the kernel closes a moment later. And one
		 * attempt to connect may have less time than there is. */
		for (bool again = true; (r == -ECONNRESET && again) ||
					(r == -ETIMEDOUT && ff3_boottime_ns() < began + timeout_ns);
		     again = false)
			r = ff3_rpc_call(rpc, &call, began + timeout_ns);
		if (r < 0)
			return r;
		if (i > 0 || n == 0)
			best = MIN(best, ff3_boottime_ns() - began);
	}
	*ret_ns = best;
	return 0;
}

static const char *reason(struct ff3_rpc_peer *rpc, const char *link)
{
	struct ff3_rpc_description d;

	ff3_rpc_peer_describe(rpc, &d);
	for (unsigned i = 0; i < d.n; i++)
		if (!link || strcmp(d.transport[i].name, link) == 0)
			return d.transport[i].why;
	return NULL;
}

/* The same on a connection by link alone. */
static int ping_by(struct ff3fs *fs, const struct daemon *d, const char *link, unsigned n,
		   uint64_t timeout_ns, uint64_t *ret_ns)
{
	struct ff3_rpc_options options = { .max_connections = 1,
					   .connect_timeout_ms = (uint32_t)(timeout_ns / FF3_NSEC_PER_MSEC),
					   .target = d->target,
					   .sockets = fs->conf.client.sockets };
	struct ff3_rpc_identity identity = fs->identity;
	struct ff3_rpc_peer *rpc;
	const char *why;
	int r = ff3_links_parse(link, &options.links);

	identity.cluster = ff3_meta_cluster(fs);
	if (r == 0)
		r = ff3_rpc_peer_new(d->address, &identity, &options, &rpc);
	if (r < 0)
		return r;
	r = ping(rpc, n, timeout_ns, ret_ns);
	why = r < 0 ? reason(rpc, link) : NULL;
	if (r == FF3_E_VERSION || r == FF3_E_CREDENTIAL)
		ff3_explain_daemon(fs, rpc, d->kind, d->address, r);
	else if (why)
		ff3_explain("%s", why);
	ff3_rpc_peer_free(rpc);
	return r;
}

EXPORT int ff3fs_ping(struct ff3fs *fs, size_t i, const char *link, unsigned n, unsigned timeout_ms,
		      uint64_t *ret_ns)
{
	FF3_ENTER();
	uint64_t timeout_ns = timeout_ms * FF3_NSEC_PER_MSEC;
	struct daemon d;
	int r;

	if (!find(fs, i, &d))
		return -ENOENT;
	if (link) {
		r = ping_by(fs, &d, link, n, timeout_ns, ret_ns);
	} else {
		r = ping(d.rpc, n, timeout_ns, ret_ns);
		if (r == FF3_E_VERSION || r == FF3_E_CLUSTER || r == FF3_E_CREDENTIAL)
			ff3_explain_daemon(fs, d.rpc, d.kind, d.address, r);
	}
	return ff3_public(r);
}

EXPORT int ff3fs_ask_metad(struct ff3fs *fs, unsigned i, unsigned timeout_ms, const char **ret_address)
{
	FF3_ENTER();
	int r = ff3_rpc_group_ask(fs->meta.group, i, timeout_ms * FF3_NSEC_PER_MSEC, ret_address);

	if (r == FF3_E_NOT_PRIMARY)
		return FF3FS_FOLLOWS;
	return ff3_public(r);
}

EXPORT int ff3fs_describe_rdma(char *text, size_t size)
{
	return ff3_rpc_verbs_describe(text, size);
}
