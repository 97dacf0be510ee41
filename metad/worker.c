/* Purpose: a queue and a thread, and a queue back.
 * Threads: submit and free belong to the loop's thread; lock guards the queue. No other lock is
 * taken while it is held.
 * Signals: the thread has all of them blocked; they are the main thread's. */
#include "worker.h"

#include <pthread.h>
#include <signal.h>

struct metad_worker {
	struct ff3_loop *loop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct metad_job *first, *last;
	struct metad_job *done, *last_done;
	struct ff3_work work; /* posted while there are some in done */
	bool stop;
};

static void add(struct metad_job *job, struct metad_job **first, struct metad_job **last)
{
	job->next = NULL;
	if (*first)
		(*last)->next = job;
	else
		*first = job;
	*last = job;
}

/* One at a time: its done may free the worker. */
static void on_done(struct ff3_work *w)
{
	struct metad_worker *worker = CONTAINER_OF(w, struct metad_worker, work);
	struct metad_job *job;

	pthread_mutex_lock(&worker->lock);
	job = worker->done;
	worker->done = job->next;
	if (worker->done)
		ff3_loop_post(worker->loop, &worker->work);
	pthread_mutex_unlock(&worker->lock);
	job->done(job);
}

static void *work(void *arg)
{
	struct metad_worker *worker = arg;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		struct metad_job *job = worker->first;

		if (worker->stop)
			break;
		if (!job) {
			pthread_cond_wait(&worker->more, &worker->lock);
			continue;
		}
		worker->first = job->next;
		pthread_mutex_unlock(&worker->lock);
		job->run(job);
		pthread_mutex_lock(&worker->lock);
		if (!worker->done)
			ff3_loop_post(worker->loop, &worker->work);
		add(job, &worker->done, &worker->last_done);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

int metad_worker_new(struct ff3_loop *loop, const char *name, struct metad_worker **ret)
{
	struct metad_worker *worker = calloc(1, sizeof *worker);
	int r;

	if (!worker)
		return -ENOMEM;
	worker->loop = loop;
	worker->work.fn = on_done;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->more, NULL);
	r = ff3_thread_new(&worker->thread, work, worker);
	if (r != 0) {
		free(worker);
		return r;
	}
	pthread_setname_np(worker->thread, name);
	*ret = worker;
	return 0;
}

void metad_worker_free(struct metad_worker *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->stop = true;
	pthread_cond_signal(&worker->more);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	ff3_loop_unpost(worker->loop, &worker->work);
	pthread_mutex_destroy(&worker->lock);
	pthread_cond_destroy(&worker->more);
	free(worker);
}

void metad_worker_submit(struct metad_worker *worker, struct metad_job *job)
{
	pthread_mutex_lock(&worker->lock);
	add(job, &worker->first, &worker->last);
	pthread_cond_signal(&worker->more);
	pthread_mutex_unlock(&worker->lock);
}
