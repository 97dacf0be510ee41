#include "metad_client.h"

int mc_new(const char *address, uint64_t session, uint32_t uid, uint32_t gid, enum ff3_role role,
	   struct mc **ret)
{
	struct mc *c = calloc(1, sizeof *c);
	struct ff3_rpc_identity identity;
	struct ff3_rpc_options options = { .max_connections = 1 };
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
	r = ff3_rpc_peer_new(address, &identity, &options, &c->peer);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void mc_free(struct mc *c)
{
	if (!c)
		return;
	ff3_rpc_peer_free(c->peer);
	free(c);
}

struct ff3_tag mc_tag(struct mc *c)
{
	c->seq++;
	return (struct ff3_tag){ c->seq, c->seq };
}

int mc_call(struct mc *c, uint16_t op, size_t body_len)
{
	struct ff3_rpc_call call = {
		.op = op,
		.body = c->body,
		.body_len = body_len,
		.reply = c->reply,
		.reply_size = sizeof c->reply,
	};
	int r = ff3_rpc_call(c->peer, &call, ff3_boottime_ns() + 20 * FF3_NSEC_PER_SEC);

	c->reply_len = call.reply_len;
	return r;
}
