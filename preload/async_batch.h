/* The engine's parts: worker threads (async.c) and the batch (async_batch.c). */
#pragma once

#include "async.h"

/* Is this a plain read or write, that a batch can carry? */
bool async_batch_takes(const struct async_op *op);
/* The threads that it needs are there: 0, or an error, and then the workers can do it. */
int async_batch_prepare(void);
/* Sends those of ops that are marked plain. They are taken in any case. */
void async_batch_submit(struct async_op *const *ops, unsigned n);
void async_batch_after_fork(void);

/* async.c: gives op to a worker thread. 0 or -EAGAIN. */
int async_work(struct async_op *op);
/* In a thread of the engine: op is over. */
void async_end(struct async_op *op, long result);
/* May dropping its reference take long? Then it should be a worker's. */
bool async_ends_slowly(const struct async_op *op);
