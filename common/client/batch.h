/* The inside of batches: batch.c queues and sends, batch_reap.c reaps. */
#pragma once

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
	struct ff3_batch_piece *next; /* in arrived or spare */
	struct ff3_batch_op *op;
	size_t slot; /* in batch->calls */
	_Atomic bool linked; /* it is there */
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
	struct ff3_batch_piece *spare;

	/* The reaping thread's. */
	struct ff3_op_list settled;
	size_t looked_at; /* where in calls it looks next */

	_Atomic(struct ff3_batch_piece *) arrived;
	struct ff3_rpc_interrupt interrupt; /* by a piece that arrived or was sent */
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

/* batch.c */
void ff3_batch_submit(struct ff3fs_batch *b);
/* A piece of op is over: r < 0, it failed. Starts more while there is room; without any under way, op is
 * done. */
void ff3_batch_piece_over(struct ff3fs_batch *b, struct ff3_batch_op *op,
			  struct ff3_batch_piece *p, int r);
static inline void ff3_batch_lock(struct ff3fs_batch *b)
{
	pthread_mutex_lock(&b->lock);
}
static inline void ff3_batch_unlock(struct ff3fs_batch *b)
{
	pthread_mutex_unlock(&b->lock);
}
