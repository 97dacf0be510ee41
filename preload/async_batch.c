/* Purpose: the engine's way for plain reads and writes: one batch of the client (ff3fs.h) with room for
 * thousands. The submitting thread sends; one thread, the reaper, waits for all of them.
 *
 * Threads: submitters queue up for `submit_lock`, which is held while one sends; `lock` guards the
 * rest, for moments. The reaper is started when it is needed and ends when it has been idle.
 * Fork: a child forgets the batch and what it held: the operations are its parent's.
 * Signals: see async.c. */
#include "async_batch.h"

#include "hook.h"
#include "shared_map.h"

#define ROOM 65536u
#define CHUNK 32u /* operations that are sent before the reaper is told */
#define IDLE_S 2

static struct {
	pthread_mutex_t submit_lock, lock;
	pthread_cond_t wake;
	struct ff3fs_batch *batch;
	long n_out; /* sent and not reaped; for a moment negative */
	struct async_op *failed; /* for the reaper to end */
	bool running;
} q = {
	.submit_lock = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

bool async_batch_takes(const struct async_op *op)
{
	int flags;

	if ((op->kind != ASYNC_READ && op->kind != ASYNC_WRITE) || op->n_iov != 1 || op->rwf != 0 ||
	    op->offset < 0 || !op->ofd->file || init_exiting)
		return false;
	if (op->iov[0].iov_len > (size_t)(INT64_MAX - op->offset))
		return false;
	/* Appending and synchronous writes wait for answers one after the other. */
	flags = op->ofd->flags;
	if (op->kind == ASYNC_WRITE && (flags & (O_APPEND | O_DSYNC)))
		return false;
	/* Mappings of the file have to be kept in step, and buffers that are loaded when touched must
	 * not be while the client holds its locks. */
	return !shared_map_is_mapped(op->ofd->ino) && !map_n_lazy;
}

/* --- The reaper ---------------------------------------------------------------------------- */

/* lock is held. False: idle for too long. */
static bool wait_for_work(void)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_S;
	while (q.n_out <= 0 && !q.failed && r == 0)
		r = pthread_cond_timedwait(&q.wake, &q.lock, &until);
	return q.n_out > 0 || q.failed;
}

static long stored_result(struct async_op *op)
{
	return op->result;
}

static void end(struct async_op *op, long result)
{
	if (async_ends_slowly(op)) {
		op->result = result;
		op->kind = ASYNC_CALL;
		op->call = stored_result;
		if (async_work(op) == 0)
			return;
	}
	async_end(op, result);
}

static void end_failed(struct async_op *op)
{
	while (op) {
		struct async_op *next = op->next;

		end(op, -EAGAIN);
		op = next;
	}
}

static void *reaper(void *arg)
{
	struct ff3fs_completion c[64];
	int n;

	pthread_mutex_lock(&q.lock);
	while (wait_for_work()) {
		struct async_op *failed = TAKE_PTR(q.failed);
		bool out = q.n_out > 0;

		pthread_mutex_unlock(&q.lock);
		end_failed(failed);
		n = out ? CALL(batch_reap, q.batch, c, 1, ARRAY_SIZE(c), NULL) : 0;
		pthread_mutex_lock(&q.lock);
		q.n_out -= MAX(n, 0);
		pthread_mutex_unlock(&q.lock);
		for (int i = 0; i < n; i++)
			end(c[i].user, c[i].result);
		pthread_mutex_lock(&q.lock);
	}
	q.running = false;
	pthread_mutex_unlock(&q.lock);
	return arg;
}

int async_batch_prepare(void)
{
	struct ff3fs *fs = core_loaded();
	int r = fs ? 0 : -EAGAIN;

	pthread_mutex_lock(&q.lock);
	if (r == 0 && !q.batch)
		r = CALL(batch_new, fs, ROOM, &q.batch);
	if (r == 0 && !q.running) {
		r = async_thread(reaper);
		q.running = r == 0;
	}
	pthread_mutex_unlock(&q.lock);
	return r;
}

/* --- Submitting ---------------------------------------------------------------------------- */

/* Those it can only refuse, and those that find no room, are for the workers. */
static void work_instead(struct async_op *op)
{
	if (async_work(op) == 0)
		return;
	pthread_mutex_lock(&q.lock);
	op->next = q.failed;
	q.failed = op;
	pthread_cond_signal(&q.wake);
	pthread_mutex_unlock(&q.lock);
}

static bool queue(struct async_op *op)
{
	const struct iovec *v = op->iov;
	struct ff3fs_file *file = op->ofd->file;

	return (op->kind == ASYNC_READ ?
			CALL(batch_read, q.batch, file, v->iov_base, v->iov_len, op->offset, op) :
			CALL(batch_write, q.batch, file, v->iov_base, v->iov_len, op->offset, op)) == 0;
}

static void send_queued(unsigned n)
{
	bool idle;

	if (n == 0)
		return;
	CALL(batch_submit, q.batch);
	pthread_mutex_lock(&q.lock);
	idle = q.n_out <= 0;
	q.n_out += n;
	pthread_mutex_unlock(&q.lock);
	/* Afterwards: the reaper wants the lock. */
	if (idle)
		pthread_cond_signal(&q.wake);
}

void async_batch_submit(struct async_op *const *ops, unsigned n)
{
	unsigned queued = 0;

	pthread_mutex_lock(&q.submit_lock);
	for (unsigned i = 0; i < n; i++) {
		if (!ops[i]->plain)
			continue;
		if (!queue(ops[i]))
			work_instead(ops[i]);
		else if (++queued == CHUNK)
			send_queued(queued), queued = 0;
	}
	send_queued(queued);
	pthread_mutex_unlock(&q.submit_lock);
}

void async_batch_after_fork(void)
{
	pthread_mutex_init(&q.submit_lock, NULL);
	pthread_mutex_init(&q.lock, NULL);
	pthread_cond_init(&q.wake, NULL);
	q.batch = NULL;
	q.failed = NULL;
	q.n_out = 0;
	q.running = false;
}
