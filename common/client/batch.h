/* The inside of batches: batch.c queues and sends, batch_reap.c reaps, batch_slow.c sends what would
 * make others wait. */
#pragma once

#include <sys/queue.h>

#include "internal.h"

struct ff3_batch_op {
	struct ff3_batch_op *next;
	struct ff3fs_file *file;
	void *user;
	struct iovec iov;
	uint64_t offset, end, at; /* at: behind what was started */
	uint64_t size, generation; /* of the file when it was started */
	uint64_t tell;             /* an end that metad must hear of */
	ssize_t result;
	unsigned n_active; /* pieces under way, and one while they are being started */
	bool write, sync, is_short;
	bool starting; /* by one thread or the other */
	bool settled; /* result is final */
};

struct ff3_batch_piece {
	struct ff3_piece piece; /* first: found by the address */
	struct ff3_batch_piece *next; /* in arrived, spare or a peer's slow */
	struct ff3_batch_op *op;
	size_t slot; /* in batch->calls */
	_Atomic bool linked; /* it is there */
	_Atomic bool came; /* or failed: it is or was in arrived */
	struct ff3_slow *out; /* whose n_out counts it, or NULL */
	uint64_t since_ns; /* when it was first sent */
	struct ff3_retry retry;
	int cause; /* in slow: of sending it again; 0: it was never sent */
	int failed; /* for good */
	TAILQ_ENTRY(ff3_batch_piece) slow_link;
};

struct ff3_op_list {
	struct ff3_batch_op *first, **last;
};

struct ff3fs_batch {
	struct ff3fs *fs;
	unsigned room;
	uint64_t fork_epoch;

	/* The lock is held for moments, never over a request. An operation's progress (at, n_active,
	 * settled) is under it too, as long as pieces of it are under way. */
	pthread_mutex_t lock;
	unsigned n_outstanding; /* queued, under way or not reaped */
	unsigned n_made;        /* of ops: the others were never used */
	struct ff3_batch_op *ops, *free;
	struct ff3_op_list queued, done;
	struct ff3_rpc_call **calls; /* under way */
	size_t n_calls, size_calls;
	TAILQ_HEAD(, ff3_batch_piece) slow; /* in the hands of batch_slow.c */
	size_t n_pieces; /* all that are not over */
	struct ff3_batch_piece *spare;

	/* The reaping thread's. */
	struct ff3_op_list settled;
	size_t looked_at; /* where in calls it looks next */
	uint64_t aged_ns; /* when it last looked for calls that are too old */

	_Atomic(struct ff3_batch_piece *) arrived;
	struct ff3_rpc_interrupt interrupt; /* by a piece that arrived or was sent */
	_Atomic unsigned n_telling; /* threads that are about to: the batch outlives them */
};

static inline void ff3_ops_add(struct ff3_op_list *l, struct ff3_batch_op *op)
{
	op->next = NULL;
	*l->last = op;
	l->last = &op->next;
}

static inline struct ff3_batch_op *ff3_ops_take(struct ff3_op_list *l)
{
	struct ff3_batch_op *op = l->first;

	if (op) {
		l->first = op->next;
		if (!l->first)
			l->last = &l->first;
	}
	return op;
}

static inline struct ff3_batch_piece *ff3_batch_piece_of(struct ff3_rpc_call *call)
{
	return call->user;
}

/* Up to so many pieces of one peer leave together. */
struct ff3_gathered {
	struct ff3_peer *peer; /* NULL: unused */
	unsigned n;
	struct ff3_batch_piece *pieces[FF3_RPC_MANY];
};
#define FF3_GATHERED_PEERS 4
struct ff3_gathering {
	struct ff3_gathered at[FF3_GATHERED_PEERS];
};

/* batch.c */
void ff3_batch_submit(struct ff3fs_batch *b);
/* A piece of op is over: r < 0, it failed. Starts more while there is room; without any under way, op is
 * done. */
void ff3_batch_piece_over(struct ff3fs_batch *b, struct ff3_batch_op *op,
			  struct ff3_batch_piece *p, int r);
/* It came back or failed: the reaping thread takes it. */
void ff3_batch_piece_came(struct ff3_batch_piece *p);
/* The reaping thread looks at p's call from now on. Its place is kept. */
void ff3_batch_calls_add(struct ff3fs_batch *b, struct ff3_batch_piece *p);
void ff3_batch_calls_remove(struct ff3fs_batch *b, struct ff3_batch_piece *p);
static inline void ff3_batch_lock(struct ff3fs_batch *b)
{
	pthread_mutex_lock(&b->lock);
}
static inline void ff3_batch_unlock(struct ff3fs_batch *b)
{
	pthread_mutex_unlock(&b->lock);
}

/* batch_slow.c */
/* p is about to be sent to its route's peer: it counts there, until it came. */
void ff3_slow_sent(struct ff3_batch_piece *p);
void ff3_slow_came(struct ff3_batch_piece *p);
/* Sending to peer now might wait for it. */
bool ff3_slow_is_due(struct ff3_peer *peer);
/* p is sent by another thread, which waits where there is something to wait for. cause: what became of
 * sending it; 0: it was not sent. */
void ff3_slow_put(struct ff3_batch_piece *p, int cause);
