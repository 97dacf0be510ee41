/* For test programs that make their calls themselves: by what FF3FS_CLIENT_TRANSPORTS says, as clients do. */
#pragma once

#include <err.h>
#include <stdlib.h>

#include "../common/net/rpc.h"

static inline struct ff3_links test_links(void)
{
	const char *words = getenv("FF3FS_CLIENT_TRANSPORTS");
	struct ff3_links links = { 0 }; /* the default */

	if (words && ff3_links_parse(words, &links) < 0)
		errx(2, "FF3FS_CLIENT_TRANSPORTS=%s", words);
	return links;
}

/* A daemon, target is 0 for metad. */
static inline struct ff3_rpc_peer *test_peer(const char *address, const struct ff3_rpc_identity *identity, uint64_t target,
					     unsigned connections)
{
	struct ff3_rpc_options options = { .max_connections = connections, .target = target, .links = test_links() };
	struct ff3_rpc_peer *peer;
	int r = ff3_rpc_peer_new(address, identity, &options, &peer);

	if (r < 0)
		errx(1, "%s: %s", address, ff3_strerror(r));
	return peer;
}
