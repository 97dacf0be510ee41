/* A small client of ff3fs-metad for its tests: one call, one round trip, nothing retried; with a list of
 * addresses, the same request to one after the other until one answers it. */
#pragma once

#include "../common/net/rpc.h"

#define MC_PEERS 8u

struct mc {
	struct ff3_rpc_peer *peer; /* who is asked at present */
	struct ff3_rpc_peer *peers[MC_PEERS];
	unsigned n_peers, current;
	uint64_t session;
	uint64_t seq;
	uint64_t n_outstanding; /* mutations at a time, less 1 */
	uint32_t groups[4];
	uint8_t body[FF3_BODY_MAX];
	uint8_t reply[FF3_BODY_MAX];
	size_t reply_len;
};

/* address: one, or several with commas between. */
int mc_new(const char *address, uint64_t session, uint32_t uid, uint32_t gid, enum ff3_role role,
	   struct mc **ret);
/* One of root's, or the end of the program. */
struct mc *mc_connect(const char *address);
/* r < 0: says so, and ends with 2. */
void mc_must(int r, const char *what);
/* *seed: not 0. */
uint64_t mc_random(uint64_t *seed);
void mc_free(struct mc *c);
/* Sends c->body and returns the status. */
int mc_call(struct mc *c, uint16_t op, size_t body_len);
/* Closes what an open's reply tells of: one-way, so it costs no round trip. */
int mc_release(struct mc *c, const uint8_t *reply, size_t len);
struct ff3_tag mc_tag(struct mc *c);
static inline struct ff3_path mc_at(uint64_t dir, const char *path, uint32_t flags)
{
	return (struct ff3_path){ dir, flags, ff3_str_from(path) };
}

/* MC(c, mkdir, p, .at = …): the request's fields; the reply goes to *p; the value is the status. */
#define MC(c, name, p, ...)                                                                        \
	({                                                                                         \
		struct ff3_req_##name _q = { __VA_ARGS__ };                                        \
		size_t _len = ff3_encode_req_##name((c)->body, sizeof(c)->body, &_q);              \
		int _r = mc_call((c), FF3_OP_##name, _len);                                        \
		if (_r == 0)                                                                       \
			_r = ff3_decode_rep_##name((c)->reply, (c)->reply_len, (p));               \
		_r;                                                                                \
	})
#define MC_DO(c, name, ...)                                                                        \
	({                                                                                         \
		struct ff3_rep_##name _p;                                                          \
		MC(c, name, &_p, __VA_ARGS__);                                                     \
	})
