/* Calls of chunk daemons, many in parallel, from a worker thread. */
#pragma once

#include "metad.h"

#include "../common/net/rpc.h"

struct metad_chunk_calls; /* connections; used by one worker */

struct metad_chunk_call {
	uint64_t target;
	const char *address;
	uint16_t op;
	const void *body;
	size_t body_len;
	void *reply; /* room for it, or NULL */
	size_t reply_size;
	size_t reply_len;
	int result;
};

/* In the epoch in which m serves. */
int metad_chunk_calls_new(const struct metad *m, struct metad_chunk_calls **ret);
void metad_chunk_calls_free(struct metad_chunk_calls *c);
/* Blocks until every call has its result; -ETIMEDOUT after timeout_ms. */
void metad_chunk_calls_run(struct metad_chunk_calls *c, struct metad_chunk_call *calls, size_t n,
			   unsigned timeout_ms);
