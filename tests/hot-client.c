#include "hot-client.h"

void fail_at(const char *file, int line, const char *what, long long got, long long want)
{
	fflush(stdout); /* how far it was */
	fprintf(stderr, "%s:%d: %s: got %lld, want %lld (%s)\n", file, line, what, got, want,
		ff3fs_last_error());
	_exit(1);
}

struct ff3fs *new_client(void)
{
	struct ff3fs *c;

	OK(ff3fs_new(NULL, &c));
	ff3fs_memory_watched();
	return c;
}

struct ff3fs_file *must_open(struct ff3fs *c, const char *name, int flags)
{
	struct ff3fs_file *f;

	OK(ff3fs_open(c, FF3FS_ROOT, name, flags, 0600, &f));
	return f;
}

int expose(struct ff3_rpc_peer *rpc, uint64_t ino, const uint8_t *cap, uint32_t len, struct exposed *ret)
{
	struct ff3_req_chunk_expose req = { .ino = ino, .cap = { cap, len } };
	uint8_t body[256];
	struct ff3_rpc_call call = { .op = FF3_OP_chunk_expose, .body = body,
				     .body_len = ff3_encode_req_chunk_expose(body, sizeof body, &req),
				     .reply = ret->reply, .reply_size = sizeof ret->reply,
				     .fds = ret->fds, .max_fds = 2 };
	int r = ff3_rpc_call(rpc, &call, ff3_boottime_ns() + 20 * FF3_NSEC_PER_SEC);

	ret->n = call.n_fds;
	if (r == 0)
		OK(ff3_decode_rep_chunk_expose(ret->reply, call.reply_len, &ret->rep));
	return r;
}

void refused(struct ff3_rpc_peer *rpc, uint64_t ino, const uint8_t *cap, uint32_t len)
{
	struct exposed x;

	EQ(expose(rpc, ino, cap, len, &x), -EACCES);
	EQ(x.n, 0);
}

struct ff3_rpc_peer *peer_as(struct ff3fs *c, const struct ff3_route *route, uint64_t session)
{
	struct ff3_rpc_identity identity = c->identity;
	struct ff3_rpc_options options = { .target = route->peer->target,
					   .links = { 1, { FF3_LINK_UNIX } } };
	struct ff3_rpc_peer *rpc;

	identity.session = session;
	OK(ff3_rpc_peer_new(route->peer->address, &identity, &options, &rpc));
	return rpc;
}
