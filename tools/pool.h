/* A fixed number of threads that work on jobs from a bounded queue.
 * Threads: one thread adds, drains and frees; fn runs on any of the pool's. */
#pragma once

#include "../common/base/base.h"

struct pool;

/* fn gets each job once. n_threads is at least 1; room: how many jobs may wait. */
int pool_new(unsigned n_threads, unsigned room, void (*fn)(void *job), struct pool **ret);
/* Queues job; waits while the queue is full. */
void pool_add(struct pool *pool, void *job);
/* Waits until every job that was added is done. */
void pool_drain(struct pool *pool);
/* Drains and ends. Accepts NULL. */
void pool_free(struct pool *pool);
