/* Purpose: what sending has in common, whatever carries it: who may send, and waiting for a peer that takes
 * no more at present.
 *
 * Who waits reads meanwhile if nobody else does, since the peer may be unable to go on because nobody
 * takes its replies.
 *
 * Threads: one at a time sends on a connection (send_lock). Those whose calls do not wait leave it to others
 * as soon as it waits. Fork/signal: see rpc_priv.h. */
#include "rpc_priv.h"

/* Calls of batches that share a connection although there are others, where it would take more. */
#define TOGETHER 64u
/* Another sender mostly is done sooner. */
#define LOCK_SLICE_NS FF3_NSEC_PER_MSEC

bool ff3_rpc_takes_more(const struct ff3_rpc_conn *conn, size_t n)
{
	unsigned max = conn->link->max_calls;

	return max ? conn->n_calls + n <= max : conn->n_calls < TOGETHER;
}

bool ff3_rpc_lock_to_send(struct ff3_rpc_conn *conn, bool no_wait)
{
	if (!no_wait) {
		pthread_mutex_lock(&conn->send_lock);
		return true;
	}
	while (pthread_mutex_trylock(&conn->send_lock) != 0) {
		uint64_t until = ff3_now_ns(CLOCK_REALTIME) + LOCK_SLICE_NS;
		struct timespec ts = { (time_t)(until / FF3_NSEC_PER_SEC),
				       (long)(until % FF3_NSEC_PER_SEC) };

		if (atomic_load(&conn->sender_waits))
			return false;
		if (pthread_mutex_timedlock(&conn->send_lock, &ts) == 0)
			break;
	}
	return true;
}

static int prepare(struct ff3_rpc_stuck *x, uint64_t deadline_ns)
{
	if (!x->w && !(x->w = ff3_rpc_waiter_get()))
		return -ENOMEM;
	if (x->w->event_fd < 0) {
		int r = ff3_rpc_waiter_pollable(x->w);

		if (r < 0)
			return r;
	}
	if (x->until_ns == 0)
		x->until_ns = ff3_boottime_ns() + FF3_RPC_SEND_STALL_NS;
	if (deadline_ns)
		x->until_ns = MIN(x->until_ns, deadline_ns);
	return 0;
}

int ff3_rpc_wait_to_send(struct ff3_rpc_conn *conn, struct ff3_rpc_stuck *x, uint64_t deadline_ns,
			 void (*sleep)(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine,
				       uint64_t timeout_ns))
{
	int r = prepare(x, deadline_ns);
	uint64_t now = ff3_boottime_ns();
	bool mine;

	if (r < 0)
		return r;
	if (now >= x->until_ns)
		return -ETIMEDOUT;
	atomic_store(&conn->sender_waits, true);
	pthread_mutex_lock(&conn->lock);
	mine = !conn->reader;
	if (mine)
		conn->reader = true;
	else
		conn->sender = x->w;
	r = conn->state == FF3_CONN_UP ? 0 : conn->cause;
	pthread_mutex_unlock(&conn->lock);
	if (mine && r == 0)
		r = ff3_rpc_receive(conn, false);
	/* Interrupted or woken: the caller tries again. */
	if (r == 0)
		sleep(conn, x->w, mine, x->until_ns - now);
	pthread_mutex_lock(&conn->lock);
	conn->sender = NULL;
	if (mine)
		ff3_rpc_reader_leave(conn);
	pthread_mutex_unlock(&conn->lock);
	atomic_store(&conn->sender_waits, false);
	return MIN(r, 0);
}

void ff3_rpc_stuck_done(struct ff3_rpc_stuck *x)
{
	if (x->w)
		ff3_rpc_waiter_put(x->w);
}
