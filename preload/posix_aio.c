/* Purpose: requests of POSIX aio on our files that are under way on the engine (async.c). Their state is
 * where libc keeps it, in the aiocb, so that its aio_error and aio_return tell it.
 *
 * Requests on one file run beside each other, except that an aio_fsync waits for all before it, and
 * a write that appends for other such writes.
 *
 * Threads: any. `lock` guards the list; it is held while an aiocb is written to, so that one found in
 * the list is not the application's yet. `turn` is a futex that moves when a request ends.
 * Fork: a child has no requests. Signals: a handler that interrupts its own thread under the lock is
 * told -EAGAIN. */
#include "posix_aio.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "dispatch.h"
#include "hook.h"
#include "raw.h"

#define NSEC_PER_SEC 1000000000ll

struct request {
	struct async_op op; /* first: found by its address */
	struct request *prev, *next;
	struct aiocb *cb;
	struct sigevent sig;
	struct lio_group *group;
	int fd;
	const struct ofd *ofd; /* to compare with only */
	bool waits; /* for others: not given to the engine yet */
	bool appends;
};

static pthread_mutex_t lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
static struct request *first, *last; /* in the order of the calls */
static _Atomic unsigned n_requests, n_waiting;
static _Atomic uint32_t turn, n_asleep;
static struct posix_aio_bell *bells;

/* --- Telling ------------------------------------------------------------------------------- */

struct thread_call {
	void (*function)(union sigval);
	union sigval value;
};

static void *run_function(void *arg)
{
	struct thread_call call = *(struct thread_call *)arg;
	sigset_t none;

	free(arg);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	dispatch_join();
	call.function(call.value);
	return NULL;
}

static void start_function(const struct sigevent *sig)
{
	struct thread_call *call = malloc(sizeof *call);
	pthread_attr_t own, *attr = sig->sigev_notify_attributes;
	pthread_t thread;

	if (!call)
		return;
	*call = (struct thread_call){ sig->sigev_notify_function, sig->sigev_value };
	if (!attr) {
		pthread_attr_init(&own);
		pthread_attr_setdetachstate(&own, PTHREAD_CREATE_DETACHED);
	}
	if (pthread_create(&thread, attr ? attr : &own, run_function, call) != 0)
		free(call);
	if (!attr)
		pthread_attr_destroy(&own);
}

void posix_aio_notify(const struct sigevent *sig)
{
	siginfo_t info = { .si_signo = sig->sigev_signo, .si_code = SI_ASYNCIO };

	if (sig->sigev_notify == SIGEV_THREAD) {
		start_function(sig);
	} else if (sig->sigev_notify == SIGEV_SIGNAL) {
		info.si_pid = (pid_t)RAW(getpid);
		info.si_uid = (uid_t)RAW(getuid);
		info.si_value = sig->sigev_value;
		RAW(rt_sigqueueinfo, info.si_pid, sig->sigev_signo, &info);
	}
}

void posix_aio_group_less(struct lio_group *group)
{
	if (group && atomic_fetch_sub(&group->left, 1) == 1) {
		posix_aio_notify(&group->sig);
		free(group);
	}
}

static void wake(void)
{
	static const uint64_t one = 1;

	atomic_fetch_add(&turn, 1);
	if (atomic_load(&n_asleep) > 0)
		RAW(futex, &turn, FUTEX_WAKE_PRIVATE, INT32_MAX);
	for (struct posix_aio_bell *b = bells; b; b = b->next)
		RAW(write, b->fd, &one, sizeof one);
}

/* --- The list ------------------------------------------------------------------------------ */

static void add(struct request *q)
{
	q->prev = last;
	q->next = NULL;
	if (last)
		last->next = q;
	else
		first = q;
	last = q;
	n_requests++;
	n_waiting += q->waits;
}

/* lock is held: its end is told to whoever looks. */
static void finish(struct request *q, long result)
{
	if (q->prev)
		q->prev->next = q->next;
	else
		first = q->next;
	if (q->next)
		q->next->prev = q->prev;
	else
		last = q->prev;
	n_requests--;
	n_waiting -= q->waits;
	q->cb->__return_value = result < 0 ? -1 : result;
	__atomic_store_n(&q->cb->__error_code, result < 0 ? (int)-result : 0, __ATOMIC_RELEASE);
	wake();
}

static void finished(struct request *q)
{
	posix_aio_notify(&q->sig);
	posix_aio_group_less(q->group);
	free(q);
}

/* Is there an earlier one that q has to wait for? */
static bool must_wait(const struct request *q)
{
	for (const struct request *before = q->prev; before; before = before->prev)
		if (before->ofd == q->ofd &&
		    (q->op.kind == ASYNC_FSYNC || (q->appends && before->appends)))
			return true;
	return false;
}

/* Gives the engine what need not wait any more. */
static void start_waiting(void)
{
	for (;;) {
		struct async_op *op = NULL;
		struct request *q;

		pthread_mutex_lock(&lock);
		for (q = first; q; q = q->next)
			if (q->waits && !must_wait(q))
				break;
		if (q) {
			q->waits = false;
			n_waiting--;
			op = &q->op;
		}
		pthread_mutex_unlock(&lock);
		if (!q)
			return;
		/* From a thread of the engine: there is one. */
		async_submit(&op, 1);
	}
}

static void request_done(struct async_op *op, long result)
{
	struct request *q = (struct request *)op;
	bool more;

	pthread_mutex_lock(&lock);
	finish(q, result);
	more = n_waiting > 0;
	pthread_mutex_unlock(&lock);
	finished(q);
	if (more)
		start_waiting();
}

/* --- Calls --------------------------------------------------------------------------------- */

static long bad_offset(struct async_op *op)
{
	return -EINVAL;
}

static struct request *request_new(struct aiocb *cb, enum async_kind kind, struct ofd *o,
				   struct lio_group *group)
{
	struct request *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->op.kind = kind;
	q->op.ofd = o;
	q->op.fd = cb->aio_fildes;
	q->op.one = (struct iovec){ (void *)cb->aio_buf, cb->aio_nbytes };
	q->op.iov = &q->op.one;
	q->op.n_iov = 1;
	q->op.offset = cb->aio_offset;
	q->op.done = request_done;
	q->cb = cb;
	q->sig = cb->aio_sigevent;
	q->group = group;
	q->fd = cb->aio_fildes;
	q->ofd = o;
	q->appends = kind == ASYNC_WRITE && (o->flags & O_APPEND);
	if (kind != ASYNC_FSYNC && cb->aio_offset < 0) { /* which would be the descriptor's to the engine */
		q->op.kind = ASYNC_CALL;
		q->op.call = bad_offset;
		q->appends = false;
	}
	return q;
}

int posix_aio_start(struct aiocb *cb, enum async_kind kind, struct ofd *o, struct lio_group *group)
{
	struct request *q = request_new(cb, kind, o, group);
	struct async_op *op = q ? &q->op : NULL;
	int r = q ? 0 : -EAGAIN;

	if (r == 0 && pthread_mutex_lock(&lock) != 0)
		r = -EAGAIN;
	if (r == 0) {
		cb->__error_code = EINPROGRESS;
		cb->__return_value = 0;
		add(q);
		q->waits = must_wait(q);
		n_waiting += q->waits;
		/* With the lock: an end, and what may follow it, waits until this is settled. */
		if (!q->waits)
			r = async_submit(&op, 1);
		if (r < 0)
			finish(q, r);
		pthread_mutex_unlock(&lock);
	}
	if (r < 0) {
		cb->__error_code = -r;
		cb->__return_value = -1;
		ofd_unref(o);
		free(q);
	}
	return r;
}

bool posix_aio_any(void)
{
	return atomic_load(&n_requests) > 0;
}

bool posix_aio_knows(const struct aiocb *cb)
{
	struct request *q;

	if (pthread_mutex_lock(&lock) != 0)
		return false;
	for (q = first; q && q->cb != cb; q = q->next)
		;
	pthread_mutex_unlock(&lock);
	return q != NULL;
}

int posix_aio_cancel(int fd, const struct aiocb *cb)
{
	struct request *q, *next, *cancelled = NULL;
	int r = AIO_ALLDONE;

	if (pthread_mutex_lock(&lock) != 0)
		return AIO_NOTCANCELED;
	for (q = first; q; q = next) {
		next = q->next;
		if (cb ? q->cb != cb : q->fd != fd)
			continue;
		if (!q->waits) {
			r = AIO_NOTCANCELED;
			continue;
		}
		finish(q, -ECANCELED);
		q->next = cancelled;
		cancelled = q;
	}
	pthread_mutex_unlock(&lock);
	if (cancelled && r == AIO_ALLDONE)
		r = AIO_CANCELED;
	while ((q = cancelled)) {
		cancelled = q->next;
		ofd_unref(q->op.ofd);
		finished(q);
	}
	if (atomic_load(&n_waiting) > 0)
		start_waiting();
	return r;
}

/* --- Waiting ------------------------------------------------------------------------------- */

uint32_t posix_aio_turn(void)
{
	return atomic_load(&turn);
}

int posix_aio_wait(uint32_t seen, int64_t until_ns)
{
	struct timespec now, ts = { .tv_sec = 1 << 30 };
	int64_t left;
	long r;

	if (until_ns != INT64_MAX) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = until_ns - (now.tv_sec * NSEC_PER_SEC + now.tv_nsec);
		if (left <= 0)
			return -ETIMEDOUT;
		ts = (struct timespec){ .tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC };
	}
	/* With a timeout in any case: without, a handler with SA_RESTART would not end it. */
	atomic_fetch_add(&n_asleep, 1);
	r = RAW(futex, &turn, FUTEX_WAIT_PRIVATE, seen, &ts);
	atomic_fetch_sub(&n_asleep, 1);
	return r == -EINTR || r == -ETIMEDOUT ? (int)r : 0;
}

int posix_aio_bell_add(struct posix_aio_bell *b)
{
	b->fd = fd_hide((int)RAW(eventfd2, 0, EFD_CLOEXEC));
	if (b->fd < 0)
		return -EAGAIN;
	if (pthread_mutex_lock(&lock) != 0) {
		fd_unhide(b->fd);
		return -EAGAIN;
	}
	b->prev = NULL;
	b->next = bells;
	if (bells)
		bells->prev = b;
	bells = b;
	pthread_mutex_unlock(&lock);
	return 0;
}

void posix_aio_bell_remove(struct posix_aio_bell *b)
{
	pthread_mutex_lock(&lock);
	if (b->prev)
		b->prev->next = b->next;
	else
		bells = b->next;
	if (b->next)
		b->next->prev = b->prev;
	pthread_mutex_unlock(&lock);
	fd_unhide(b->fd);
}

void posix_aio_after_fork(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&lock, &attr);
	for (; bells; bells = bells->next)
		fd_unhide(bells->fd);
	first = last = NULL;
	n_requests = n_waiting = n_asleep = 0;
}
