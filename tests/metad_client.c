#include <stdio.h>

#include "metad_client.h"
#include "test_links.h"

static int add_peers(struct mc *c, const char *addresses, const struct ff3_rpc_identity *identity,
		     const struct ff3_rpc_options *options)
{
	_cleanup_free_ char *list = strdup(addresses);
	char *rest = list, *address;

	if (!list)
		return -ENOMEM;
	while ((address = strsep(&rest, ","))) {
		int r = c->n_peers == MC_PEERS ? -E2BIG :
						 ff3_rpc_peer_new(address, identity, options,
								  &c->peers[c->n_peers]);

		if (r < 0)
			return r;
		c->n_peers++;
	}
	c->peer = c->peers[0];
	return 0;
}

int mc_new(const char *address, uint64_t session, uint32_t uid, uint32_t gid, enum ff3_role role,
	   struct mc **ret)
{
	struct mc *c = calloc(1, sizeof *c);
	struct ff3_rpc_identity identity;
	struct ff3_rpc_options options = { .max_connections = 1, .links = test_links() };
	int r;

	if (!c)
		return -ENOMEM;
	c->session = session ? session : ff3_random_u64();
	identity = (struct ff3_rpc_identity){
		.session = c->session,
		.role = role,
		.uid = uid,
		.gid = gid,
		.groups = c->groups,
		.n_groups = uid ? 1 : 0,
	};
	r = add_peers(c, address, &identity, &options);
	if (r < 0) {
		mc_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void mc_must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, ff3_strerror(r));
	exit(2);
}

struct mc *mc_connect(const char *address)
{
	struct mc *ret;

	mc_must(mc_new(address, 0, 0, 0, FF3_ROLE_CLIENT, &ret), "connect");
	return ret;
}

uint64_t mc_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

void mc_free(struct mc *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->n_peers; i++)
		ff3_rpc_peer_free(c->peers[i]);
	free(c);
}

struct ff3_tag mc_tag(struct mc *c)
{
	c->seq++;
	return (struct ff3_tag){ c->seq, c->seq - MIN(c->n_outstanding, c->seq - 1) };
}

static int call_one(struct mc *c, uint16_t op, size_t body_len, uint64_t limit_ns)
{
	struct ff3_rpc_call call = {
		.op = op,
		.body = c->body,
		.body_len = body_len,
		.reply = c->reply,
		.reply_size = sizeof c->reply,
	};
	int r = ff3_rpc_call(c->peer, &call, ff3_boottime_ns() + limit_ns);

	c->reply_len = call.reply_len;
	return r;
}

/* Another member may answer. */
static bool is_elsewhere(int r)
{
	return r == FF3_E_NOT_PRIMARY || (r < 0 && r != -EAGAIN && r != -ENOMEM &&
					  ff3_err_class(r) == FF3_CLASS_RETRY_SAME);
}

int mc_call(struct mc *c, uint16_t op, size_t body_len)
{
	const uint64_t until = ff3_boottime_ns() + 30 * FF3_NSEC_PER_SEC;
	const struct timespec pause = { 0, 5 * 1000 * 1000 };
	int r;

	if (c->n_peers == 1)
		return call_one(c, op, body_len, 20 * FF3_NSEC_PER_SEC);
	while (is_elsewhere(r = call_one(c, op, body_len, FF3_NSEC_PER_SEC)) &&
	       ff3_boottime_ns() < until) {
		c->current = (c->current + 1) % c->n_peers;
		c->peer = c->peers[c->current];
		nanosleep(&pause, NULL);
	}
	return r;
}

int mc_release(struct mc *c, const uint8_t *reply, size_t len)
{
	struct ff3_rpc_call call = { .op = FF3_OP_release, .one_way = true, .body = c->body };
	struct ff3_rep_open p;
	int r = ff3_decode_rep_open(reply, len, &p);

	if (r < 0)
		return r;
	call.body_len = ff3_encode_req_release(c->body, sizeof c->body,
					       &(struct ff3_req_release){ p.attr.ino, 1 });
	return ff3_rpc_start(c->peer, &call);
}
