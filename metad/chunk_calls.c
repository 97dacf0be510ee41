/* Purpose: metad's side as a client of chunk daemons.
 * Threads: each struct belongs to one worker thread. */
#include "chunk_calls.h"

#include <stdio.h>

#include "../common/base/hash.h"
#include "../common/net/ticket.h"

struct peer {
	char *key; /* "target@address" */
	struct ff3_rpc_peer *rpc;
	UT_hash_handle hh;
};

struct metad_chunk_calls {
	struct ff3_rpc_identity identity;
	struct peer *peers;
};

int metad_chunk_calls_new(const struct metad *m, struct metad_chunk_calls **ret)
{
	struct metad_chunk_calls *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->identity = (struct ff3_rpc_identity){
		.cluster = metad_db_meta(m->db)->cluster,
		.session = ff3_random_u64(),
		.role = FF3_ROLE_METAD,
		.epoch = m->epoch,
		.ticket = ff3_tickets_own,
		.ticket_arg = m->tickets,
	};
	*ret = c;
	return 0;
}

void metad_chunk_calls_free(struct metad_chunk_calls *c)
{
	struct peer *p, *next;

	if (!c)
		return;
	HASH_ITER (hh, c->peers, p, next) {
		HASH_DEL(c->peers, p);
		ff3_rpc_peer_free(p->rpc);
		free(p->key);
		free(p);
	}
	free(c);
}

static int find_peer(struct metad_chunk_calls *c, const struct metad_chunk_call *call,
		     struct ff3_rpc_peer **ret)
{
	struct ff3_rpc_options options = { .max_connections = 1, .target = call->target };
	_cleanup_free_ char *key = NULL;
	struct peer *p;
	int r;

	if (asprintf(&key, "%" PRIx64 "@%s", call->target, call->address) < 0)
		return -ENOMEM;
	HASH_FIND_STR(c->peers, key, p);
	if (!p) {
		p = calloc(1, sizeof *p);
		if (!p)
			return -ENOMEM;
		r = ff3_rpc_peer_new(call->address, &c->identity, &options, &p->rpc);
		if (r < 0) {
			free(p);
			return r;
		}
		p->key = TAKE_PTR(key);
		HASH_ADD_KEYPTR(hh, c->peers, p->key, strlen(p->key), p);
	}
	*ret = p->rpc;
	return 0;
}

void metad_chunk_calls_run(struct metad_chunk_calls *c, struct metad_chunk_call *calls, size_t n,
			   unsigned timeout_ms)
{
	_cleanup_free_ struct ff3_rpc_call *rpc = calloc(n, sizeof *rpc);
	_cleanup_free_ struct ff3_rpc_call **started = calloc(n, sizeof *started);
	_cleanup_free_ uint8_t *replies = calloc(n, 64);
	uint64_t deadline = ff3_boottime_ns() + timeout_ms * FF3_NSEC_PER_MSEC;
	size_t n_started = 0;

	for (size_t i = 0; i < n; i++) {
		struct ff3_rpc_peer *peer;

		calls[i].result = -ENOMEM;
		if (!rpc || !started || !replies)
			continue;
		rpc[i] = (struct ff3_rpc_call){
			.op = calls[i].op,
			.body = calls[i].body,
			.body_len = calls[i].body_len,
			.reply = calls[i].reply ? calls[i].reply : replies + 64 * i,
			.reply_size = calls[i].reply ? calls[i].reply_size : 64,
			.user = &calls[i],
		};
		calls[i].result = find_peer(c, &calls[i], &peer);
		if (calls[i].result >= 0)
			calls[i].result = ff3_rpc_start(peer, &rpc[i]);
		if (calls[i].result >= 0)
			started[n_started++] = &rpc[i];
	}
	if (n_started > 0)
		ff3_rpc_wait(started, n_started, deadline);
	for (size_t i = 0; i < n_started; i++) {
		struct metad_chunk_call *call = started[i]->user;

		call->result = started[i]->status;
		call->reply_len = started[i]->reply_len;
	}
}
