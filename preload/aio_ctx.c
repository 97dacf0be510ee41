/* Purpose: contexts of Linux AIO. The kernel's context is always there, and native requests are its
 * own; requests on our files run on the engine (async.c), and their ends wait in a queue beside the
 * kernel's ring until io_getevents takes from both.
 *
 * Waiting: as long as only requests of ours are outstanding, on a futex. Otherwise in the kernel's
 * io_getevents, in whose ring a poll (IOCB_CMD_POLL) of an eventfd lies, the bell: the end of a request
 * of ours rings it. The bell's own events are taken out before the application sees them.
 *
 * Threads: any. Structs are never given back, so that a lookup needs no lock: it takes a reference
 * and looks again. ctx->lock guards the rest and is held for moments, never over the engine.
 * Fork: a child has no contexts, as in the kernel; what it knew of its parent's is dropped.
 * Signals: a handler that interrupts its own thread under ctx->lock is told -EAGAIN. */
#include "aio_ctx.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "hook.h"
#include "raw.h"

#define N_BUCKETS 64
#define RING_MAGIC 0xa10a10a1u
#define NSEC_PER_SEC 1000000000ll
#define FOREVER AIO_FOREVER

static struct aio_ctx *_Atomic buckets[N_BUCKETS];
static pthread_mutex_t add_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- Futexes ------------------------------------------------------------------------------- */

static void wake_all(_Atomic uint32_t *word)
{
	RAW(futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

/* With a timeout in any case: without one, the kernel goes on waiting after a handler with SA_RESTART,
 * which io_getevents never does. */
static long sleep_on(_Atomic uint32_t *word, uint32_t seen, int64_t left_ns)
{
	struct timespec ts = { .tv_sec = MIN(left_ns / NSEC_PER_SEC, 1ll << 30),
			       .tv_nsec = left_ns % NSEC_PER_SEC };

	return RAW(futex, word, FUTEX_WAIT_PRIVATE, seen, &ts);
}

/* --- The table ----------------------------------------------------------------------------- */

static struct aio_ctx *_Atomic *bucket_of(aio_context_t id)
{
	return &buckets[(id >> 12) % N_BUCKETS];
}

struct aio_ctx *aio_ctx_get(aio_context_t id)
{
	for (struct aio_ctx *c = *bucket_of(id); c && id; c = c->next) {
		if (atomic_load(&c->id) != id)
			continue;
		atomic_fetch_add(&c->refs, 1);
		if (atomic_load(&c->id) == id)
			return c;
		aio_ctx_put(c);
	}
	return NULL;
}

void aio_ctx_put(struct aio_ctx *ctx)
{
	atomic_fetch_sub(&ctx->refs, 1);
}

/* The kernel's ring is mapped at the context's address. One of its places is never used. */
static unsigned ring_room(aio_context_t id)
{
	const uint32_t *ring = (const uint32_t *)id; /* id, nr, head, tail, magic */

	return memory_readable(ring) && ring[4] == RING_MAGIC && ring[1] > 1 ? ring[1] - 1 : 1u << 20;
}

bool aio_ring_is_empty(aio_context_t id)
{
	const _Atomic uint32_t *ring = (const _Atomic uint32_t *)id;

	return memory_readable((const void *)id) && ring[4] == RING_MAGIC &&
	       atomic_load(&ring[2]) == atomic_load(&ring[3]);
}

static struct aio_ctx *unused_in(struct aio_ctx *_Atomic *bucket)
{
	pthread_mutexattr_t attr;
	struct aio_ctx *c;

	for (c = *bucket; c; c = c->next)
		if (c->id == 0 && c->refs == 0)
			return c;
	c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&c->lock, &attr);
	c->bell = -1;
	c->next = *bucket;
	atomic_store(bucket, c);
	return c;
}

int aio_ctx_add(aio_context_t id)
{
	struct aio_ctx *c;
	int r = 0;

	if (pthread_mutex_lock(&add_lock) != 0)
		return -EAGAIN;
	c = unused_in(bucket_of(id));
	if (c) {
		c->first = NULL;
		c->last = &c->first;
		c->n_native = c->n_waited_for = 0;
		c->ours = c->dead = c->armed = c->rung = false;
		c->n_ours = c->n_in_kernel = c->n_asleep = 0;
		c->room = ring_room(id);
		atomic_store(&c->id, id);
	} else {
		r = -ENOMEM;
	}
	pthread_mutex_unlock(&add_lock);
	return r;
}

bool aio_ctx_remove(struct aio_ctx *c)
{
	struct aio_request *q;
	bool first;
	unsigned n;

	if (pthread_mutex_lock(&c->lock) != 0)
		return false;
	first = !c->dead;
	c->dead = true;
	atomic_fetch_add(&c->turn, 1);
	pthread_mutex_unlock(&c->lock);
	if (!first)
		return false;
	wake_all(&c->turn);
	while ((n = atomic_load(&c->n_in_flight)) > 0)
		sleep_on(&c->n_in_flight, n, FOREVER);
	pthread_mutex_lock(&c->lock); /* the last of them has left it */
	while ((q = c->first)) {
		c->first = q->next;
		aio_request_free(q);
	}
	if (c->bell >= 0)
		fd_unhide(c->bell);
	c->bell = -1;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->id, 0);
	return true;
}

void aio_ctx_after_fork(void)
{
	pthread_mutex_init(&add_lock, NULL);
	for (int i = 0; i < N_BUCKETS; i++) {
		for (struct aio_ctx *c = buckets[i]; c; c = c->next)
			if (c->bell >= 0)
				fd_unhide(c->bell);
		buckets[i] = NULL; /* their locks may be held by threads that are not here */
	}
	aio_notify_after_fork();
}

/* --- The bell; lock is held ---------------------------------------------------------------- */

static bool poll_in_ring(struct aio_ctx *c, struct iocb *poll, int fd)
{
	struct iocb *list[1] = { poll };

	memset(poll, 0, sizeof *poll);
	poll->aio_lio_opcode = IOCB_CMD_POLL;
	poll->aio_fildes = (uint32_t)fd;
	poll->aio_buf = POLLIN;
	return RAW(io_submit, atomic_load(&c->id), 1, list) == 1;
}

/* False: there is no place or descriptor for it. */
static bool arm(struct aio_ctx *c)
{
	if (c->bell < 0)
		c->bell = fd_hide((int)RAW(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (!c->armed && c->bell >= 0)
		c->armed = poll_in_ring(c, &c->bell_poll, c->bell);
	return c->armed;
}

static void ring(struct aio_ctx *c)
{
	static const uint64_t one = 1;

	if (c->armed && !c->rung) {
		c->rung = true;
		RAW(write, c->bell, &one, sizeof one);
	}
}

/* Wakes the calls that wait in the kernel since before the context had requests of ours: they wait for
 * so many events, so many they get. Who has got too many calls again. */
static void call_natives(struct aio_ctx *c)
{
	long n = atomic_load(&c->n_waited_for);
	int fd = n > 0 ? (int)RAW(eventfd2, 1, EFD_CLOEXEC) : -1;

	/* It can be read: each poll ends at once. */
	while (fd >= 0 && n-- > 0 && poll_in_ring(c, &c->call_poll, fd))
		;
	if (fd >= 0)
		raw_close(fd);
}

/* --- Requests ------------------------------------------------------------------------------ */

unsigned aio_ctx_reserve(struct aio_ctx *c, unsigned n)
{
	long room;

	if (pthread_mutex_lock(&c->lock) != 0)
		return 0;
	room = (long)c->room - (long)c->n_ours - MAX(atomic_load(&c->n_native), 0l);
	n = room <= 0 || c->dead ? 0 : (unsigned)MIN((long)n, room);
	c->n_ours += n;
	atomic_fetch_add(&c->n_in_flight, n);
	if (!atomic_exchange(&c->ours, true))
		call_natives(c);
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* Only io_destroy waits for it. lock is held. */
static void in_flight_less(struct aio_ctx *c, unsigned n)
{
	if (n > 0 && atomic_fetch_sub(&c->n_in_flight, n) == n && c->dead)
		wake_all(&c->n_in_flight);
}

void aio_ctx_unreserve(struct aio_ctx *c, unsigned n)
{
	pthread_mutex_lock(&c->lock);
	c->n_ours -= n;
	in_flight_less(c, n);
	pthread_mutex_unlock(&c->lock);
}

void aio_request_buffered(struct aio_request *q)
{
	q->buffered = true;
	atomic_fetch_add(&q->ctx->n_buffered, 1);
}

static void buffered_less(struct aio_request *q)
{
	if (q->buffered && atomic_fetch_sub(&q->ctx->n_buffered, 1) == 1)
		wake_all(&q->ctx->n_buffered);
	q->buffered = false;
}

void aio_request_free(struct aio_request *q)
{
	buffered_less(q);
	if (q->notify)
		aio_notify_unref(q->notify);
	free(q);
}

void aio_request_done(struct async_op *op, long result)
{
	struct aio_request *q = (struct aio_request *)op;
	struct aio_notify *notify = q->notify;
	struct aio_ctx *c = q->ctx;
	bool wake;

	q->event.res = result;
	q->next = NULL;
	q->notify = NULL;
	pthread_mutex_lock(&c->lock);
	*c->last = q;
	c->last = &q->next;
	atomic_fetch_add(&c->turn, 1);
	wake = c->n_asleep > 0;
	if (c->n_in_kernel > 0)
		ring(c);
	/* Told before io_destroy can be over: afterwards the application may forget the eventfd. */
	if (notify) {
		aio_notify_tell(notify);
		aio_notify_unref(notify);
	}
	buffered_less(q);
	in_flight_less(c, 1);
	pthread_mutex_unlock(&c->lock);
	/* Afterwards: who wakes up wants the lock. The struct is never given back. */
	if (wake)
		wake_all(&c->turn);
}

#define SOME 32

/* Moves up to SOME ended requests into events: their number, or -EFAULT. lock is held. */
static long take_some(struct aio_ctx *c, struct io_event *events, long max)
{
	struct io_event copies[SOME] = { 0 };
	struct aio_request *q = c->first;
	long n = 0;

	for (; q && n < MIN(max, (long)SOME); q = q->next)
		copies[n++] = q->event;
	if (!memory_copy_out(events, copies, (size_t)n * sizeof copies[0]))
		return -EFAULT; /* they stay */
	for (long i = 0; i < n; i++) {
		q = c->first;
		c->first = q->next;
		aio_request_free(q);
	}
	if (!c->first)
		c->last = &c->first;
	c->n_ours -= (unsigned)n;
	return n;
}

/* Up to max of them. */
static long take(struct aio_ctx *c, struct io_event *events, long max)
{
	long n = 0, r = 0;

	if (pthread_mutex_lock(&c->lock) != 0)
		return -EAGAIN;
	while (n < max && c->first && r >= 0) {
		r = take_some(c, events + n, max - n);
		n += MAX(r, 0l);
	}
	pthread_mutex_unlock(&c->lock);
	return n > 0 ? n : r;
}

/* --- The kernel's side --------------------------------------------------------------------- */

long aio_ctx_submit_native(struct aio_ctx *c, long n, struct iocb *const *iocbs)
{
	long r;

	/* Before: whoever looks meanwhile must not sleep where these would not wake him. */
	atomic_fetch_add(&c->n_native, n);
	r = RAW(io_submit, atomic_load(&c->id), n, iocbs);
	if (r < n)
		atomic_fetch_sub(&c->n_native, n - MAX(r, 0l));
	if (r > 0 && atomic_load(&c->ours)) {
		atomic_fetch_add(&c->turn, 1);
		wake_all(&c->turn);
	}
	return r;
}

/* The bell's event was taken from the ring. lock is held. */
static void heard(struct aio_ctx *c)
{
	uint64_t value;

	c->armed = c->rung = false;
	RAW(read, c->bell, &value, sizeof value);
	/* Others still sleep there. */
	if (c->n_in_kernel > 0 && arm(c) && c->first)
		ring(c);
}

/* Takes the events that are not the application's out of n, and does what they are for. The number of
 * the others. */
static long only_real(struct aio_ctx *c, struct io_event *events, long n)
{
	bool bell = false, called = false;
	long kept = 0;

	for (long i = 0; i < n; i++) {
		if (events[i].obj == (uint64_t)(uintptr_t)&c->bell_poll)
			bell = true;
		else if (events[i].obj == (uint64_t)(uintptr_t)&c->call_poll)
			called = true;
		else if (kept++ != i)
			events[kept - 1] = events[i];
	}
	atomic_fetch_sub(&c->n_native, kept);
	if (bell || called) {
		pthread_mutex_lock(&c->lock);
		if (bell)
			heard(c);
		call_natives(c); /* those whose calls these were not */
		pthread_mutex_unlock(&c->lock);
	}
	return kept;
}

/* Either call, as it was made. */
static long raw_getevents(struct aio_ctx *c, long min, long max, struct io_event *events,
			  const struct timespec *timeout, const struct aio_sigset *sigset)
{
	aio_context_t id = atomic_load(&c->id);

	return sigset ? RAW(io_pgetevents, id, min, max, events, timeout, sigset) :
			RAW(io_getevents, id, min, max, events, timeout);
}

/* How many real ones, or -EINTR etc. */
static long kernel_events(struct aio_ctx *c, long min, long max, struct io_event *events,
			  int64_t left_ns, const struct aio_sigset *sigset)
{
	struct timespec ts = { .tv_sec = left_ns / NSEC_PER_SEC, .tv_nsec = left_ns % NSEC_PER_SEC };
	long r = raw_getevents(c, min, max, events, left_ns == FOREVER ? NULL : &ts, sigset);

	return r > 0 ? only_real(c, events, r) : r;
}

bool aio_ctx_native(struct aio_ctx *c, long min, long max, struct io_event *events,
		    const struct timespec *timeout, const struct aio_sigset *sigset, long *r)
{
	long n;

	if (min < 0 || atomic_load(&c->ours))
		return false;
	atomic_fetch_add(&c->n_waited_for, min);
	*r = n = atomic_load(&c->ours) ? 0 :
					 raw_getevents(c, min, max, events, timeout, sigset);
	atomic_fetch_sub(&c->n_waited_for, min);
	if (n > 0)
		*r = only_real(c, events, n);
	return !atomic_load(&c->ours) || *r < 0 || *r >= min;
}

/* --- Waiting ------------------------------------------------------------------------------- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t aio_until(const struct timespec *timeout)
{
	return timeout->tv_sec < FOREVER / NSEC_PER_SEC / 2 ?
		       now_ns() + timeout->tv_sec * NSEC_PER_SEC + timeout->tv_nsec :
		       FOREVER;
}

/* Where only requests of ours can end. 0, or -EINTR. */
static long wait_ours(struct aio_ctx *c, uint32_t seen, int64_t left_ns)
{
	long r = 0;

	if (pthread_mutex_lock(&c->lock) != 0)
		return -EAGAIN;
	c->n_asleep++;
	pthread_mutex_unlock(&c->lock);
	r = sleep_on(&c->turn, seen, left_ns);
	pthread_mutex_lock(&c->lock);
	c->n_asleep--;
	pthread_mutex_unlock(&c->lock);
	return r == -EINTR ? r : 0;
}

/* Where the kernel's may end as well, or signals shall be let in. The events that it gave. */
static long wait_both(struct aio_ctx *c, uint32_t seen, long max, struct io_event *events,
		      int64_t left_ns, const struct aio_sigset *sigset)
{
	bool armed;
	long r;

	if (pthread_mutex_lock(&c->lock) != 0)
		return -EAGAIN;
	armed = arm(c);
	if (atomic_load(&c->turn) != seen) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	c->n_in_kernel++;
	pthread_mutex_unlock(&c->lock);
	if (!armed) /* nobody will ring: look again soon */
		left_ns = MIN(left_ns, NSEC_PER_SEC / 1000);
	r = kernel_events(c, 1, max, events, left_ns, sigset);
	pthread_mutex_lock(&c->lock);
	c->n_in_kernel--;
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* What is there now, from both. */
static long gather(struct aio_ctx *c, struct io_event *events, long max)
{
	long n = take(c, events, max), r = 0;

	if (n >= 0 && n < max && (atomic_load(&c->n_native) > 0 || c->armed))
		r = kernel_events(c, 0, max - n, events + n, 0, NULL);
	return n > 0 ? n + MAX(r, 0l) : n < 0 ? n : r;
}

/* Buffered requests have ended when io_submit returns, in the kernel. Ours go on, beside each other and
 * the program; but who asks for what is there, and would not wait, gets them all. False: a signal. */
static bool await_buffered(struct aio_ctx *c)
{
	unsigned n;

	while ((n = atomic_load(&c->n_buffered)) > 0 && !c->dead)
		if (sleep_on(&c->n_buffered, n, FOREVER) == -EINTR)
			return false;
	return true;
}

long aio_ctx_getevents(struct aio_ctx *c, long n, long min, long max, struct io_event *events,
		       int64_t until_ns, const struct aio_sigset *sigset)
{
	int64_t left = FOREVER;
	long r;

	if (min < 0 || min > max)
		return -EINVAL;
	if (min == 0 && n < max && !await_buffered(c))
		return n > 0 ? n : -EINTR;
	for (;;) {
		uint32_t seen = atomic_load(&c->turn);

		if (c->dead)
			return n > 0 ? n : -EINVAL;
		r = gather(c, events + n, max - n);
		n += MAX(r, 0l);
		if (until_ns != FOREVER && n < min)
			left = until_ns - now_ns();
		if (n >= min || left <= 0 || r < 0)
			break;
		if (sigset || atomic_load(&c->n_native) > 0)
			r = wait_both(c, seen, max - n, events + n, left, sigset);
		else
			r = wait_ours(c, seen, left);
		n += MAX(r, 0l);
		if (r < 0)
			break;
	}
	return n > 0 || r >= 0 ? n : r;
}
