/* What of batches waits for one peer; see batch_slow.c. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "../base/base.h"

struct ff3_batch_piece;

/* Pieces that must wait for it, and how lively it is. */
struct ff3_slow {
	pthread_mutex_t lock;
	pthread_cond_t over; /* the thread has ended */
	struct ff3_batch_piece *first, *last;
	_Atomic bool running;
	_Atomic unsigned n_out;    /* pieces of batches under way */
	_Atomic uint64_t heard_ns; /* when the last one came back, or the first one was sent */
};

/* Also in a child, which has none of its parent's pieces. */
void ff3_slow_init(struct ff3_slow *slow);
void ff3_slow_done(struct ff3_slow *slow);
