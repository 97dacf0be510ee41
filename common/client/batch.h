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
	unsigned n_active;
	bool write, sync, is_short;
	bool settled; /* result is final */
};

struct ff3_batch_piece {
	struct ff3_piece piece; /* first: found by the address */
	struct ff3_batch_piece *next; /* in arrived or spare */
	struct ff3_batch_op *op;
	size_t slot; /* in batch->calls */
};

struct ff3_op_list {
	struct ff3_batch_op *first, **last;
};

struct ff3fs_batch {
	struct ff3fs *fs;
	unsigned room;
	unsigned n_outstanding; /* queued, under way or not reaped */
	uint64_t fork_epoch;
	struct ff3_batch_op *ops, *free;
	struct ff3_op_list queued, done;
	struct ff3_rpc_call **calls; /* under way */
	size_t n_calls, size_calls;
	struct ff3_batch_piece *spare;
	_Atomic(struct ff3_batch_piece *) arrived;
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
/* Starts pieces of op while there is room; without any under way, op is done. */
void ff3_batch_continue(struct ff3fs_batch *b, struct ff3_batch_op *op);
/* No more of op; its result is r unless an earlier piece failed. */
void ff3_op_fail(struct ff3_batch_op *op, int r);
void ff3_batch_piece_put(struct ff3fs_batch *b, struct ff3_batch_piece *p);
