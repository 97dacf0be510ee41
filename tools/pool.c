/* Purpose: worker threads with a bounded queue.
 * Threads: lock guards everything below it. Signals are blocked in the workers, so that the main
 * thread gets them. Fork/signal: none here. */
#include "pool.h"

#include <pthread.h>

struct pool {
	void (*fn)(void *job);
	pthread_mutex_t lock;
	pthread_cond_t changed; /* any of the below */
	void **ring;
	unsigned room, first, waiting, running;
	bool ending;
	unsigned n_threads;
	pthread_t threads[];
};

static void *work(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		void *job;

		while (p->waiting == 0 && !p->ending)
			pthread_cond_wait(&p->changed, &p->lock);
		if (p->waiting == 0)
			break;
		job = p->ring[p->first];
		p->first = (p->first + 1) % p->room;
		p->waiting--;
		p->running++;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
		p->fn(job);
		pthread_mutex_lock(&p->lock);
		p->running--;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int start_threads(struct pool *p, unsigned n)
{
	int r = 0;

	while (p->n_threads < n && r == 0) {
		r = ff3_thread_new(&p->threads[p->n_threads], work, p);
		p->n_threads += r == 0;
	}
	/* Fewer threads than wanted are slower, not wrong. */
	return p->n_threads ? 0 : r;
}

int pool_new(unsigned n_threads, unsigned room, void (*fn)(void *job), struct pool **ret)
{
	struct pool *p = calloc(1, sizeof *p + n_threads * sizeof p->threads[0]);
	int r;

	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->room = room;
	p->ring = calloc(room, sizeof *p->ring);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	r = p->ring ? start_threads(p, n_threads) : -ENOMEM;
	if (r < 0) {
		pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void pool_add(struct pool *p, void *job)
{
	pthread_mutex_lock(&p->lock);
	while (p->waiting == p->room)
		pthread_cond_wait(&p->changed, &p->lock);
	p->ring[(p->first + p->waiting++) % p->room] = job;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void pool_drain(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->waiting || p->running)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p->ring);
	free(p);
}
