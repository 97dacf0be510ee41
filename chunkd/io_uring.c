/* Disk access on a loop's ring, and the helper thread that runs what blocks: index transactions
 * and the growing of slabs.
 *
 * Threads: the loop's, and the helper. They share the job queue under its mutex; a finished job
 * goes back by ff3_loop_post. Fork/signal: the helper blocks every signal. */
#include <pthread.h>
#include <signal.h>

#include "io.h"

struct uring_io {
	struct chunkd_io io;
	struct ff3_loop *loop;
	pthread_t helper;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct chunkd_job *first, **last;
	bool stop;
};

static struct uring_io *uring(struct chunkd_io *io)
{
	return CONTAINER_OF(io, struct uring_io, io);
}

static void uring_read(struct chunkd_io *io, int fd, void *buf, size_t len, uint64_t offset,
		       struct ff3_io *op)
{
	ff3_loop_read(uring(io)->loop, fd, buf, len, offset, op);
}

static void uring_write(struct chunkd_io *io, int fd, const void *buf, size_t len, uint64_t offset,
			struct ff3_io *op)
{
	ff3_loop_write(uring(io)->loop, fd, buf, len, offset, op);
}

static void uring_fdatasync(struct chunkd_io *io, int fd, struct ff3_io *op)
{
#ifdef CHUNKD_PLANT_NO_SLAB_SYNC
	/* The planted bug that the power-cut test must catch; only its own binary has it. */
	ff3_loop_read(uring(io)->loop, fd, NULL, 0, 0, op);
#else
	ff3_loop_fdatasync(uring(io)->loop, fd, op);
#endif
}

static void uring_opened(struct chunkd_io *io, int fd)
{
	/* Where the ring has no slot left, the plain descriptor works too. */
	(void)ff3_loop_register_file(uring(io)->loop, fd);
}

static void uring_closing(struct chunkd_io *io, int fd)
{
	ff3_loop_unregister_file(uring(io)->loop, fd);
}

static void job_back(struct ff3_work *w)
{
	struct chunkd_job *job = CONTAINER_OF(w, struct chunkd_job, work);

	job->done(job);
}

static void uring_job(struct chunkd_io *io, struct chunkd_job *job)
{
	struct uring_io *u = uring(io);

	job->io = io;
	job->next = NULL;
	job->work.fn = job_back;
	pthread_mutex_lock(&u->mutex);
	*u->last = job;
	u->last = &job->next;
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->mutex);
}

static void *helper_main(void *arg)
{
	struct uring_io *u = arg;
	struct chunkd_job *job;

	pthread_mutex_lock(&u->mutex);
	for (;;) {
		while (!u->first && !u->stop)
			pthread_cond_wait(&u->wake, &u->mutex);
		if (!u->first)
			break;
		job = u->first;
		u->first = job->next;
		if (!u->first)
			u->last = &u->first;
		pthread_mutex_unlock(&u->mutex);
		job->run(job);
		ff3_loop_post(u->loop, &job->work);
		pthread_mutex_lock(&u->mutex);
	}
	pthread_mutex_unlock(&u->mutex);
	return NULL;
}

static const struct chunkd_io_ops uring_ops = {
	.read = uring_read,
	.write = uring_write,
	.fdatasync = uring_fdatasync,
	.job = uring_job,
	.opened = uring_opened,
	.closing = uring_closing,
};

int chunkd_io_uring_new(struct ff3_loop *loop, struct chunkd_io **ret)
{
	struct uring_io *u = calloc(1, sizeof *u);
	int r;

	if (!u)
		return -ENOMEM;
	u->io.ops = &uring_ops;
	u->loop = loop;
	u->last = &u->first;
	pthread_mutex_init(&u->mutex, NULL);
	pthread_cond_init(&u->wake, NULL);
	r = ff3_thread_new(&u->helper, helper_main, u);
	if (r) {
		free(u);
		return r;
	}
	*ret = &u->io;
	return 0;
}

void chunkd_io_uring_free(struct chunkd_io *io)
{
	struct uring_io *u;

	if (!io)
		return;
	u = uring(io);
	pthread_mutex_lock(&u->mutex);
	u->stop = true;
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->mutex);
	pthread_join(u->helper, NULL);
	pthread_cond_destroy(&u->wake);
	pthread_mutex_destroy(&u->mutex);
	free(u);
}
