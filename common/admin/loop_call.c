/* Purpose: a bounded, blocking call into a loop.
 *
 * Threads: the caller and the loop share one struct call. Under its lock the state goes from
 * WAITING either to RUNNING (the loop took it; the caller then waits for DONE, however long) or to
 * CANCELLED (the caller gave up; the loop then only drops it). The last of the two frees it; if a
 * stopped loop never comes to it, it stays with the loop's other unrun work. */
#include "loop_call.h"

#include <pthread.h>

enum state { WAITING, RUNNING, DONE, CANCELLED };

struct call {
	struct ff3_work work;
	void (*fn)(void *arg);
	void *arg;
	enum state state;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void free_call(struct call *c)
{
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c);
}

static void on_loop(struct ff3_work *w)
{
	struct call *c = CONTAINER_OF(w, struct call, work);
	bool cancelled;

	pthread_mutex_lock(&c->lock);
	cancelled = c->state == CANCELLED;
	if (!cancelled)
		c->state = RUNNING;
	pthread_mutex_unlock(&c->lock);
	if (cancelled) {
		free_call(c);
		return;
	}
	c->fn(c->arg);
	/* The caller frees c once it has seen DONE and has the lock. */
	pthread_mutex_lock(&c->lock);
	c->state = DONE;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static struct call *new_call(void (*fn)(void *arg), void *arg)
{
	struct call *c = calloc(1, sizeof *c);
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	c->work.fn = on_loop;
	c->fn = fn;
	c->arg = arg;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	return c;
}

int ff3_loop_call(struct ff3_loop *loop, void (*fn)(void *arg), void *arg, unsigned timeout_ms)
{
	struct call *c = new_call(fn, arg);
	struct timespec until;
	uint64_t due;
	int r = 0;

	if (!c)
		return -ENOMEM;
	due = ff3_now_ns(CLOCK_MONOTONIC) + timeout_ms * FF3_NSEC_PER_MSEC;
	until.tv_sec = (time_t)(due / FF3_NSEC_PER_SEC);
	until.tv_nsec = (long)(due % FF3_NSEC_PER_SEC);
	ff3_loop_post(loop, &c->work);
	pthread_mutex_lock(&c->lock);
	while (c->state == WAITING && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	if (c->state == WAITING) {
		c->state = CANCELLED;
		pthread_mutex_unlock(&c->lock);
		return -ETIMEDOUT;
	}
	while (c->state != DONE)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	free_call(c);
	return 0;
}
