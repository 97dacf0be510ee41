/* Purpose: async.h. Plain reads and writes go out in a batch (async_batch.c). The others are taken from a
 * queue by a few worker threads, which make the ordinary, waiting calls.
 *
 * The threads are the application's in nothing but memory: all signals are blocked in them, and
 * they end when they have been idle for a while, so that a process whose last thread exits is over.
 *
 * Threads: any may submit; `pool.lock` guards the queue and the counts and is held for moments.
 * Fork: a child has no threads and none of its parent's operations: it starts with an empty queue.
 * Exit and exec do not wait for operations.
 * Signals: a handler that interrupts its own thread within the engine is told -EAGAIN. */
#include "async_batch.h"

#include <signal.h>

#include "dispatch.h"
#include "hook.h"
#include "raw.h"
#include "shared_map.h"

#define WORKERS_MAX 16u
#define IDLE_S 2
#define STACK_SIZE (512u << 10)

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct async_op *first, *last;
	unsigned n_queued, n_threads, n_idle;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static __thread bool inside __attribute__((tls_model("initial-exec")));

/* --- Performing ---------------------------------------------------------------------------- */

static long perform(struct async_op *op)
{
	switch (op->kind) {
	case ASYNC_READ:
		return rw_read_with(op->fd, op->ofd, op->iov, op->n_iov, op->offset, op->rwf);
	case ASYNC_WRITE:
		return rw_write_with(op->fd, op->ofd, op->iov, op->n_iov, op->offset, op->rwf);
	case ASYNC_FSYNC:
	case ASYNC_FDATASYNC:
		return rw_sync(op->ofd);
	case ASYNC_CALL:
		return op->call(op);
	}
	return -EINVAL;
}

/* What hook_result would make of it. */
static long as_seen(long r)
{
	return r >= 0 || hook_result(r) >= 0 ? r : -errno;
}

void async_end(struct async_op *op, long result)
{
	if (op->ofd)
		ofd_unref(op->ofd);
	op->done(op, as_seen(result));
}

bool async_ends_slowly(const struct async_op *op)
{
	return op->ofd && atomic_load_explicit(&op->ofd->refs, memory_order_relaxed) == 1;
}

/* --- Workers ------------------------------------------------------------------------------- */

/* pool.lock is held. False: idle for too long. */
static bool wait_for_work(void)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_S;
	pool.n_idle++;
	while (!pool.first && r == 0)
		r = pthread_cond_timedwait(&pool.wake, &pool.lock, &until);
	pool.n_idle--;
	return pool.first != NULL;
}

static void *worker(void *arg)
{
	struct async_op *op;

	pthread_mutex_lock(&pool.lock);
	while (wait_for_work()) {
		op = pool.first;
		pool.first = op->next;
		pool.n_queued--;
		pthread_mutex_unlock(&pool.lock);
		async_end(op, perform(op));
		pthread_mutex_lock(&pool.lock);
	}
	pool.n_threads--;
	pthread_mutex_unlock(&pool.lock);
	return arg;
}

int async_thread(void *(*fn)(void *))
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int r = pthread_attr_init(&attr);
	char entered;

	if (r != 0)
		return -r;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	entered = dispatch_enter(); /* the thread is ours */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attr, fn, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	dispatch_leave(entered);
	pthread_attr_destroy(&attr);
	return r ? -EAGAIN : 0;
}

/* pool.lock is held, more operations are about to be queued. At least one thread must be there. */
static int want_threads(unsigned n)
{
	unsigned want = pool.n_queued + n;

	while (pool.n_idle < want && pool.n_threads < WORKERS_MAX) {
		if (async_thread(worker) < 0)
			break;
		pool.n_threads++;
		want--;
	}
	return pool.n_threads > 0 ? 0 : -EAGAIN;
}

/* Those of ops that are not plain. All or none. */
static int queue(struct async_op *const *ops, unsigned n, unsigned n_plain)
{
	int r;

	if (n == n_plain)
		return 0;
	pthread_mutex_lock(&pool.lock);
	r = want_threads(n - n_plain);
	for (unsigned i = 0; i < n && r == 0; i++) {
		if (ops[i]->plain)
			continue;
		ops[i]->next = NULL;
		if (pool.first)
			pool.last->next = ops[i];
		else
			pool.first = ops[i];
		pool.last = ops[i];
		pool.n_queued++;
	}
	for (unsigned i = 0; r == 0 && i < MIN(n - n_plain, pool.n_idle); i++)
		pthread_cond_signal(&pool.wake);
	pthread_mutex_unlock(&pool.lock);
	return r;
}

int async_work(struct async_op *op)
{
	op->plain = false;
	return queue(&op, 1, 0);
}

void async_after_fork(void)
{
	pthread_mutex_init(&pool.lock, NULL);
	pthread_cond_init(&pool.wake, NULL);
	pool.first = NULL;
	pool.n_queued = pool.n_threads = pool.n_idle = 0;
	inside = false;
	async_batch_after_fork();
}

/* --- Submitting ---------------------------------------------------------------------------- */

/* How many of ops are plain; they are marked. */
static unsigned mark_plain(struct async_op *const *ops, unsigned n)
{
	unsigned n_plain = 0;

	for (unsigned i = 0; i < n; i++) {
		ops[i]->plain = async_batch_takes(ops[i]);
		n_plain += ops[i]->plain;
	}
	if (n_plain > 0 && async_batch_prepare() < 0) {
		for (unsigned i = 0; i < n; i++)
			ops[i]->plain = false;
		n_plain = 0;
	}
	return n_plain;
}

int async_submit(struct async_op *const *ops, unsigned n)
{
	unsigned n_plain;
	int r;

	if (n == 0)
		return 0;
	if (inside || init_is_vfork_child())
		return -EAGAIN;
	inside = true;
	n_plain = mark_plain(ops, n);
	r = queue(ops, n, n_plain);
	if (r == 0 && n_plain > 0)
		async_batch_submit(ops, n);
	inside = false;
	return r;
}
