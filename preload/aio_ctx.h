/* Contexts of Linux AIO that our files take part in. See aio_ctx.c. */
#pragma once

#include <linux/aio_abi.h>

#include "async.h"

/* A context of the kernel's, and beside it what became of requests on our files. */
struct aio_ctx {
	struct aio_ctx *next;         /* of the same bucket; never changes */
	_Atomic aio_context_t id;     /* 0: unused */
	_Atomic unsigned refs;        /* calls under way */
	_Atomic bool ours;            /* it has had requests of ours */
	_Atomic long n_native;        /* the kernel's requests that were not reaped, or more */
	_Atomic uint32_t turn;        /* a futex: moves when there is something new to look at */
	_Atomic long n_waited_for;    /* events that calls wait for in the kernel that know nothing of us */
	_Atomic unsigned n_in_flight; /* ours that did not end; a futex for io_destroy */
	_Atomic unsigned n_buffered;  /* of them, those that the kernel would have ended in io_submit; a futex */

	pthread_mutex_t lock; /* of the rest */
	struct aio_request *first, **last; /* ended, not reaped */
	unsigned n_ours;      /* submitted and not reaped */
	unsigned room;        /* that the kernel's ring has */
	unsigned n_asleep;    /* on turn */
	unsigned n_in_kernel; /* in io_getevents */
	bool dead;            /* destroyed */
	int bell;             /* an eventfd that wakes those in the kernel; -1: none yet */
	bool armed, rung;     /* a poll of it is in the kernel's ring; it was written to */
	struct iocb bell_poll, call_poll; /* their addresses are in the events */
};

/* An eventfd that completions are told to: the application may close its descriptor meanwhile. */
struct aio_notify;

struct aio_request {
	struct async_op op; /* first: found by its address */
	struct aio_request *next;
	struct aio_ctx *ctx;
	struct aio_notify *notify; /* or NULL */
	bool buffered;             /* counted in ctx->n_buffered */
	struct io_event event;
	struct iovec iov[];
};

/* The context, referenced, or NULL: one that the kernel has to judge. */
struct aio_ctx *aio_ctx_get(aio_context_t id);
void aio_ctx_put(struct aio_ctx *ctx);
static inline void aio_ctx_putp(struct aio_ctx **ctx)
{
	if (*ctx)
		aio_ctx_put(*ctx);
}
#define _cleanup_ctx_ _cleanup_(aio_ctx_putp)
/* A context that the kernel has made. 0 or -ENOMEM. */
int aio_ctx_add(aio_context_t id);
/* Waits for what is in flight; nobody finds it any more. False if that was done already. */
bool aio_ctx_remove(struct aio_ctx *ctx);

/* Room for n requests that will be submitted: how many there are, up to n. */
unsigned aio_ctx_reserve(struct aio_ctx *ctx, unsigned n);
void aio_ctx_unreserve(struct aio_ctx *ctx, unsigned n);
/* A request that will be submitted, on a file without O_DIRECT. */
void aio_request_buffered(struct aio_request *request);
/* async_op.done of a request. */
void aio_request_done(struct async_op *op, long result);
void aio_request_free(struct aio_request *request);

/* io_submit of the kernel's. */
long aio_ctx_submit_native(struct aio_ctx *ctx, long n, struct iocb *const *iocbs);

struct aio_sigset {
	const void *mask;
	size_t size;
};
/* The call by the kernel alone, if the context has no requests of ours and gets none meanwhile: true.
 * Otherwise *r is the number of events that are there. */
bool aio_ctx_native(struct aio_ctx *ctx, long min, long max, struct io_event *events,
		    const struct timespec *timeout, const struct aio_sigset *sigset, long *r);
/* io_pgetevents(2) on a context with requests of ours, n events being there already. until_ns: by
 * CLOCK_MONOTONIC; AIO_FOREVER. Negative errno. */
long aio_ctx_getevents(struct aio_ctx *ctx, long n, long min, long max, struct io_event *events,
		       int64_t until_ns, const struct aio_sigset *sigset);
#define AIO_FOREVER INT64_MAX
/* The time when a timeout is over. */
int64_t aio_until(const struct timespec *timeout);
/* Would io_getevents find nothing in the kernel's ring? False if that cannot be seen. */
bool aio_ring_is_empty(aio_context_t id);

/* aio_notify.c: 0, -EBADF, -EINVAL (no eventfd), … */
int aio_notify_new(int fd, struct aio_notify **ret);
struct aio_notify *aio_notify_ref(struct aio_notify *n);
void aio_notify_unref(struct aio_notify *n);
void aio_notify_tell(struct aio_notify *n);
void aio_notify_after_fork(void);
