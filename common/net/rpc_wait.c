/* Purpose: waiting for calls. A waiting thread becomes the reader of every connection that its calls
 * are on and that has none; where another thread reads, it sleeps until that one completes a call
 * of its own or leaves the reading to it.
 *
 * Waiting begins with looking for a while (rpc_spin.c). Sleeping: in recvmsg if there is one connection and we
 * read it; in poll if we read one of several, with an eventfd for what other readers have to tell; else on
 * a futex. The objects that others wake (struct ff3_rpc_waiter) are never freed: a wake-up may come late.
 *
 * Replies that nobody waits for yet (of reads ahead, and of calls that were abandoned) stay in their
 * connections, and the daemon's memory with them. It may need just that memory to answer what is
 * waited for: who has waited for a while takes in what has come on the peer's other connections.
 *
 * This file is long because nearly all of it works on one struct wait, which nobody else may see.
 * Threads: any. The list of waiters only grows; taking one is a compare-and-swap.
 * Fork: the child marks all waiters unused and closes their eventfds, which the parent shares. */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "rpc_priv.h"

#define WAIT_CONNS 64u

/* --- Waiters ------------------------------------------------------------------------------- */

static _Atomic(struct ff3_rpc_waiter *) all_waiters;

struct ff3_rpc_waiter *ff3_rpc_waiter_get(void)
{
	struct ff3_rpc_waiter *w;

	for (w = atomic_load(&all_waiters); w; w = w->next) {
		bool unused = false;

		if (atomic_compare_exchange_strong(&w->used, &unused, true))
			return w;
	}
	w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	atomic_init(&w->event_fd, -1);
	atomic_init(&w->used, true);
	w->next = atomic_load(&all_waiters);
	while (!atomic_compare_exchange_weak(&all_waiters, &w->next, w))
		;
	return w;
}

void ff3_rpc_waiter_put(struct ff3_rpc_waiter *w)
{
	/* The eventfd stays: somebody late may still write to its number. */
	atomic_store(&w->used, false);
}

int ff3_rpc_waiter_pollable(struct ff3_rpc_waiter *w)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), high;

	if (fd < 0)
		return -errno;
	high = fd >= 500 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 500);
	if (high >= 0) {
		close(fd);
		fd = high;
	}
	atomic_store(&w->event_fd, fd);
	return 0;
}

void ff3_rpc_waiters_after_fork(void)
{
	for (struct ff3_rpc_waiter *w = atomic_load(&all_waiters); w; w = w->next) {
		int fd = atomic_exchange(&w->event_fd, -1);

		if (fd >= 0)
			close(fd);
		atomic_store(&w->used, false);
	}
}

void ff3_rpc_wake(struct ff3_rpc_waiter *w)
{
	static const uint64_t one = 1;
	int fd;

	atomic_fetch_add(&w->word, 1);
	fd = atomic_load(&w->event_fd);
	if (fd >= 0)
		(void)!write(fd, &one, sizeof one);
	syscall(SYS_futex, &w->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void futex_wait(struct ff3_rpc_waiter *w, uint32_t seen, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / FF3_NSEC_PER_SEC),
			       .tv_nsec = (long)(timeout_ns % FF3_NSEC_PER_SEC) };

	syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, seen, timeout_ns ? &ts : NULL, NULL, 0);
}

/* --- One wait ------------------------------------------------------------------------------ */

struct wait {
	struct ff3_rpc_call **calls;
	size_t n;
	size_t goal; /* so many shall be done */
	uint64_t deadline_ns;
	struct ff3_rpc_waiter *w; /* once it is needed */
	struct ff3_rpc_interrupt *interrupt; /* or NULL */
	bool stay_awake; /* a call is ending and nobody will tell us */
	uint32_t seen; /* w->word at the beginning of the round */
	struct ff3_rpc_conn *conns[WAIT_CONNS]; /* of calls not done; the first n_mine we read */
	unsigned n_conns, n_mine;
};

bool ff3_rpc_is_done(const struct ff3_rpc_call *call)
{
	uint32_t state = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE);

	return state == FF3_CALL_DONE || state == FF3_CALL_NEW;
}

static bool reached(const struct wait *wait)
{
	size_t n = 0;

	if (wait->interrupt && atomic_load(&wait->interrupt->raised))
		return true;
	for (size_t i = 0; i < wait->n && n < wait->goal; i++)
		n += ff3_rpc_is_done(wait->calls[i]);
	return n >= wait->goal;
}

/* conn->lock held, no reader. */
static void pass_on(struct ff3_rpc_conn *conn)
{
	for (struct ff3_rpc_call *call = conn->first; call; call = call->next)
		if (call->waiter) {
			ff3_rpc_wake(call->waiter);
			return;
		}
	if (conn->sender)
		ff3_rpc_wake(conn->sender);
}

void ff3_rpc_reader_leave(struct ff3_rpc_conn *conn)
{
	conn->reader = false;
	pass_on(conn);
}

static bool knows(const struct wait *wait, const struct ff3_rpc_conn *conn)
{
	for (unsigned i = 0; i < wait->n_conns; i++)
		if (wait->conns[i] == conn)
			return true;
	return false;
}

/* conn->lock held: registers for the calls on conn, or ends those that a fork left behind. */
static void watch_calls(struct wait *wait, struct ff3_rpc_conn *conn)
{
	for (size_t i = 0; i < wait->n; i++) {
		struct ff3_rpc_call *call = wait->calls[i];

		if (ff3_rpc_is_done(call) || call->conn != conn)
			continue;
		if (ff3_rpc_is_pending(call) && call->epoch != conn->epoch) {
			call->status = -ECONNRESET;
			__atomic_store_n(&call->state, FF3_CALL_DONE, __ATOMIC_RELEASE);
		} else if (ff3_rpc_is_pending(call)) {
			__atomic_store_n(&call->waiter, wait->w, __ATOMIC_RELEASE);
		} else {
			struct ff3_rpc_waiter *none = NULL;

			/* Ending: it may be too late to be woken, and then it is done in no time. */
			if (!__atomic_compare_exchange_n(&call->waiter, &none, wait->w, false,
							 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
			    none != wait->w)
				wait->stay_awake = true;
		}
	}
}

/* Becomes the reader of conn, or registers with whoever is. */
static int join(struct wait *wait, struct ff3_rpc_conn *conn)
{
	unsigned i = wait->n_conns;
	int r = 0;

	pthread_mutex_lock(&conn->lock);
	if (!conn->reader && conn->state == FF3_CONN_UP && conn->first) {
		conn->reader = true;
		conn->n_users++;
		atomic_store(&conn->receiver, wait->interrupt);
		/* Ours stand in front. */
		wait->conns[i] = wait->conns[wait->n_mine];
		i = wait->n_mine++;
	} else {
		if (!wait->w) {
			wait->w = ff3_rpc_waiter_get();
			wait->seen = wait->w ? atomic_load(&wait->w->word) : 0;
		}
		if (wait->w)
			watch_calls(wait, conn);
		else
			r = -ENOMEM;
	}
	wait->conns[i] = conn;
	wait->n_conns++;
	pthread_mutex_unlock(&conn->lock);
	return r;
}

/* Calls on more connections than fit are seen to when the first ones are done. */
static int join_all(struct wait *wait)
{
	int r = 0;

	if (wait->w)
		wait->seen = atomic_load(&wait->w->word);
	for (size_t i = 0; i < wait->n && wait->n_conns < WAIT_CONNS && r == 0; i++) {
		struct ff3_rpc_call *call = wait->calls[i];

		if (!ff3_rpc_is_done(call) && !knows(wait, call->conn))
			r = join(wait, call->conn);
	}
	return r;
}

static void leave_mine(struct wait *wait, unsigned i)
{
	struct ff3_rpc_conn *conn = wait->conns[i];

	wait->conns[i] = wait->conns[--wait->n_mine];
	wait->conns[wait->n_mine] = wait->conns[--wait->n_conns];
	atomic_store(&conn->receiver, NULL);
	pthread_mutex_lock(&conn->lock);
	ff3_rpc_reader_leave(conn);
	ff3_rpc_leave_unlock(conn);
}

/* Forgets the connections that others read. */
static void leave_others(struct wait *wait)
{
	for (unsigned i = wait->n_mine; i < wait->n_conns; i++) {
		struct ff3_rpc_conn *conn = wait->conns[i];

		pthread_mutex_lock(&conn->lock);
		for (size_t k = 0; wait->w && k < wait->n; k++) {
			struct ff3_rpc_call *call = wait->calls[k];

			if (!ff3_rpc_is_done(call) && call->conn == conn &&
			    ff3_rpc_is_pending(call) && call->waiter == wait->w)
				call->waiter = NULL;
		}
		/* The reading may have been left to us just now. */
		if (!conn->reader)
			pass_on(conn);
		pthread_mutex_unlock(&conn->lock);
	}
	wait->n_conns = wait->n_mine;
}

/* Nanoseconds until the deadline, 0 when it passed; UINT64_MAX without one. */
static uint64_t time_left(const struct wait *wait)
{
	uint64_t now;

	if (wait->deadline_ns == 0)
		return UINT64_MAX;
	now = ff3_boottime_ns();
	return MAX(wait->deadline_ns, now) - now;
}

static int poll_ms(uint64_t left_ns)
{
	return left_ns == UINT64_MAX ? -1 : (int)MIN(left_ns / FF3_NSEC_PER_MSEC + 1, 1u << 30);
}

/* Sleeps until one of the connections we read has something, or another reader calls: positive; 0: not
 * for a tick. */
static int sleep_in_poll(struct wait *wait, uint64_t left_ns)
{
	bool others = wait->n_mine < wait->n_conns || wait->interrupt;
	struct pollfd p[WAIT_CONNS + 1];
	nfds_t n = 0;
	uint64_t value;
	int r;

	for (unsigned i = 0; i < wait->n_mine; i++) {
		struct ff3_rpc_conn *conn = wait->conns[i];

		if (conn->link->about_to_sleep && conn->link->about_to_sleep(conn))
			return 1;
	}
	for (unsigned i = 0; i < wait->n_mine; i++)
		p[n++] = (struct pollfd){ .fd = wait->conns[i]->fd, .events = POLLIN };
	if (others)
		p[n++] = (struct pollfd){ .fd = wait->w->event_fd, .events = POLLIN };
	r = poll(p, n, poll_ms(MIN(left_ns, FF3_RPC_RECV_TICK_NS)));
	if (r > 0 && others && p[n - 1].revents)
		(void)!read(wait->w->event_fd, &value, sizeof value);
	return r;
}

/* Reads what is there on our connections. Returns whether something came or a connection broke. */
static bool read_all(struct wait *wait)
{
	bool some = false;

	for (unsigned i = wait->n_mine; i-- > 0;) {
		int r = ff3_rpc_receive(wait->conns[i], false);

		some |= r != 0;
		if (r < 0)
			leave_mine(wait, i);
	}
	return some;
}

/* Takes in what has come on a connection that nobody reads. */
static void drain(struct ff3_rpc_conn *conn)
{
	struct ff3_rpc_call *done = NULL;

	pthread_mutex_lock(&conn->lock);
	if (conn->state != FF3_CONN_UP || conn->reader) {
		pthread_mutex_unlock(&conn->lock);
		return;
	}
	conn->reader = true;
	conn->n_users++;
	while (conn->link->receive(conn, false, &done) > 0)
		;
	ff3_rpc_reader_leave(conn);
	ff3_rpc_leave_unlock(conn);
	ff3_rpc_finish_calls(done);
}

/* A tick has passed without an answer. */
static void drain_peer(struct ff3_rpc_peer *peer)
{
	for (unsigned i = 0; i < peer->options.max_connections; i++)
		drain(&peer->conns[i]);
}

/* Of the daemons whose connections we read; other readers do it themselves. */
static void drain_mine(struct wait *wait)
{
	for (unsigned i = 0; i < wait->n_mine; i++)
		drain_peer(wait->conns[i]->peer);
}

/* From here on the thread can be woken by ff3_rpc_interrupt. False: it need not sleep any more. */
static bool fall_asleep(struct wait *wait)
{
	struct ff3_rpc_interrupt *i = wait->interrupt;

	if (!i)
		return true;
	atomic_store_explicit(&i->w, wait->w, memory_order_relaxed);
	atomic_store(&i->asleep, true);
	if (!atomic_load(&i->raised))
		return true;
	atomic_store(&i->asleep, false);
	return false;
}

static void awake(struct wait *wait)
{
	if (wait->interrupt)
		atomic_store(&wait->interrupt->asleep, false);
}

bool ff3_rpc_is_received(const struct ff3_rpc_conn *conn, const struct ff3_rpc_interrupt *interrupt)
{
	return atomic_load(&conn->receiver) == interrupt;
}

void ff3_rpc_interrupt(struct ff3_rpc_interrupt *i)
{
	atomic_store(&i->raised, true);
	if (atomic_exchange(&i->asleep, false))
		ff3_rpc_wake(atomic_load_explicit(&i->w, memory_order_relaxed));
}

/* By another reader, or to be interrupted. */
static bool is_called(const void *arg)
{
	const struct wait *wait = arg;

	return (wait->w && atomic_load_explicit(&wait->w->word, memory_order_relaxed) != wait->seen) ||
	       (wait->interrupt &&
		atomic_load_explicit(&wait->interrupt->raised, memory_order_relaxed));
}

/* Nothing can be read, or others read. */
static void sleep_round(struct wait *wait, uint64_t left_ns)
{
	bool drain = false;

	if (wait->n_mine > 0 && read_all(wait))
		return;
	if (wait->n_mine > 0 && left_ns > FF3_SPIN_NS &&
	    ff3_rpc_spin(wait->conns, wait->n_mine, is_called, wait))
		return;
	if (!fall_asleep(wait))
		return;
	if (wait->n_mine == 0)
		futex_wait(wait->w, wait->seen, left_ns == UINT64_MAX ? 0 : left_ns);
	else
		drain = sleep_in_poll(wait, left_ns) == 0;
	awake(wait);
	if (drain)
		drain_mine(wait);
}

/* Has what the thread can be woken by, if anybody else shall wake it. */
static bool wakeable(const struct wait *wait)
{
	return wait->n_mine == 0 || (wait->n_mine == wait->n_conns && !wait->interrupt) ||
	       wait->w->event_fd >= 0;
}

/* One round: joins connections, then reads or sleeps once. */
static int wait_round(struct wait *wait, uint64_t left_ns)
{
	int r;

	wait->stay_awake = false;
	if (wait->interrupt && !wait->w)
		wait->w = ff3_rpc_waiter_get();
	r = wait->interrupt && !wait->w ? -ENOMEM : join_all(wait);
	if (r < 0 || reached(wait))
		return r;
	if (wait->stay_awake) {
		sched_yield();
		leave_others(wait);
		return 0;
	}
	if (wait->n_conns == 1 && wait->n_mine == 1 && left_ns >= FF3_RPC_RECV_TICK_NS &&
	    !wait->interrupt) {
		r = ff3_rpc_receive(wait->conns[0], true);
		if (r < 0)
			leave_mine(wait, 0);
		else if (r == 0)
			drain_mine(wait);
		return 0;
	}
	if (wakeable(wait))
		sleep_round(wait, left_ns);
	else /* once more around */
		r = ff3_rpc_waiter_pollable(wait->w);
	leave_others(wait);
	return r;
}

/* call is to be forgotten. False: it is ending already, or its memory is in use by a reader that
 * was told to stop: wait for it to be done. */
static bool abandon(struct ff3_rpc_call *call)
{
	struct ff3_rpc_conn *conn = call->conn;
	struct ff3_rpc_call *done = NULL, *alone = NULL;
	bool ours;

	pthread_mutex_lock(&conn->lock);
	ours = ff3_rpc_is_pending(call) && !call->exposed;
	if (ours) {
		ff3_rpc_forget(conn, call);
		ff3_rpc_end_call(conn, call, -ETIMEDOUT, &alone);
		__atomic_store_n(&call->state, FF3_CALL_DONE, __ATOMIC_RELEASE);
	} else if (ff3_rpc_is_pending(call)) {
		ff3_rpc_break(conn, -ECONNRESET, &done);
	}
	pthread_mutex_unlock(&conn->lock);
	ff3_rpc_finish_calls(done);
	return ours;
}

static void abandon_all(struct wait *wait)
{
	for (size_t i = 0; i < wait->n; i++) {
		struct ff3_rpc_call *call = wait->calls[i];

		if (ff3_rpc_is_done(call) || abandon(call))
			continue;
		/* By another thread, which has nothing left to wait for. */
		while (!ff3_rpc_is_done(call))
			sched_yield();
		call->status = -ETIMEDOUT;
	}
}

/* The time has passed, perhaps with something else: what has come by now counts. */
static bool look_once(struct wait *wait)
{
	leave_others(wait);
	if (join_all(wait) == 0)
		read_all(wait);
	return reached(wait);
}

static int wait_for(struct wait *wait, bool give_up)
{
	int r = 0;

	while (!reached(wait)) {
		uint64_t left = time_left(wait);

		r = left > 0 ? wait_round(wait, left) : -ETIMEDOUT;
		if (r == -ETIMEDOUT)
			break;
		/* Short of memory or descriptors: others may read on; look again shortly. */
		if (r < 0)
			poll(NULL, 0, 1);
	}
	if (r == -ETIMEDOUT && give_up && wait->deadline_ns != FF3_RPC_NOW && look_once(wait))
		r = 0;
	if (r == -ETIMEDOUT && give_up)
		abandon_all(wait);
	leave_others(wait);
	while (wait->n_mine > 0)
		leave_mine(wait, 0);
	if (wait->w)
		ff3_rpc_waiter_put(wait->w);
	return r == -ETIMEDOUT ? r : 0;
}

/* The usual case, with as few locks as can be: one call, nobody else reads, and there is time to
 * sleep in the kernel. Otherwise the call may be not done yet on return. */
static void wait_alone(struct ff3_rpc_call *call, const struct wait *wait)
{
	struct ff3_rpc_conn *conn = call->conn;
	struct ff3_rpc_call *done = NULL;

	pthread_mutex_lock(&conn->lock);
	if (!ff3_rpc_is_pending(call) || call->epoch != conn->epoch || conn->reader ||
	    conn->state != FF3_CONN_UP) {
		pthread_mutex_unlock(&conn->lock);
		return;
	}
	conn->reader = true;
	conn->n_users++;
	while (ff3_rpc_is_pending(call) && time_left(wait) >= FF3_RPC_RECV_TICK_NS) {
		int r = conn->link->receive(conn, true, &done);

		if (!ff3_rpc_is_pending(call) || (r != 0 && !done))
			continue;
		pthread_mutex_unlock(&conn->lock);
		ff3_rpc_finish_calls(TAKE_PTR(done));
		if (r == 0)
			drain_peer(conn->peer);
		pthread_mutex_lock(&conn->lock);
	}
	ff3_rpc_reader_leave(conn);
	ff3_rpc_leave_unlock(conn);
	ff3_rpc_finish_calls(done);
}

int ff3_rpc_wait(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns)
{
	struct wait wait = { .calls = calls, .n = n, .goal = n, .deadline_ns = deadline_ns };

	if (n == 1 && !ff3_rpc_is_done(calls[0]))
		wait_alone(calls[0], &wait);
	return wait_for(&wait, true);
}

int ff3_rpc_wait_patiently(struct ff3_rpc_call *call, uint64_t deadline_ns)
{
	struct wait wait = { .calls = &call, .n = 1, .goal = 1, .deadline_ns = deadline_ns };

	if (!ff3_rpc_is_done(call))
		wait_alone(call, &wait);
	return wait_for(&wait, false);
}

int ff3_rpc_wait_one(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns)
{
	struct wait wait = { .calls = calls, .n = n, .goal = 1, .deadline_ns = deadline_ns };

	return n > 0 ? wait_for(&wait, false) : 0;
}

int ff3_rpc_wait_interruptible(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns,
			       struct ff3_rpc_interrupt *interrupt)
{
	struct wait wait = { .calls = calls, .n = n, .goal = 1, .deadline_ns = deadline_ns,
			     .interrupt = interrupt };

	return wait_for(&wait, false);
}

void ff3_rpc_poll(struct ff3_rpc_call **calls, size_t n)
{
	struct wait wait = { .calls = calls, .n = n, .goal = n };

	if (join_all(&wait) == 0)
		read_all(&wait);
	leave_others(&wait);
	while (wait.n_mine > 0)
		leave_mine(&wait, 0);
	if (wait.w)
		ff3_rpc_waiter_put(wait.w);
}

int ff3_rpc_wait_any(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns)
{
	struct wait wait = { .calls = calls, .n = n, .goal = 1, .deadline_ns = deadline_ns };

	for (size_t i = 0; i < n; i++)
		wait.goal += ff3_rpc_is_done(calls[i]);
	if (wait.goal > n)
		return 0;
	return wait_for(&wait, false);
}
