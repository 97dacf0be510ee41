/* What the programs that read exposed chunks share; a failed check ends them with status 1. */
#pragma once

#include "../common/client/hot.h"
#include "e2e-client.h"

struct ff3fs *new_client(void);
struct ff3fs_file *must_open(struct ff3fs *c, const char *name, int flags);

/* What a chunk daemon answered to a request to expose chunk 0 of a file. */
struct exposed {
	int fds[2];
	unsigned n;
	struct ff3_rep_chunk_expose rep;
	uint8_t reply[128];
};
int expose(struct ff3_rpc_peer *rpc, uint64_t ino, const uint8_t *cap, uint32_t len, struct exposed *ret);
void refused(struct ff3_rpc_peer *rpc, uint64_t ino, const uint8_t *cap, uint32_t len);
/* To the chunk daemon, over its local socket; the client is whose it is. */
struct ff3_rpc_peer *peer_as(struct ff3fs *c, const struct ff3_route *route, uint64_t session);
