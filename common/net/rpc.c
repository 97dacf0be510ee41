/* Purpose: peers, the choice of a connection, starting calls, and what becomes of calls when a connection
 * breaks. The structure and its locks are described in rpc_priv.h.
 *
 * Fork: ff3_rpc_after_fork rebuilds the locks, which another thread of the parent may have held.
 * Signals: not async-signal-safe. */
#include <netinet/in.h>

#include "addr.h"
#include "rpc_priv.h"

/* --- Peers --------------------------------------------------------------------------------- */

static void init_locks(struct ff3_rpc_peer *peer)
{
	pthread_mutex_init(&peer->lock, NULL);
	pthread_cond_init(&peer->changed, NULL);
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		pthread_mutex_init(&peer->conns[i].send_lock, NULL);
		pthread_mutex_init(&peer->conns[i].lock, NULL);
	}
}

int ff3_rpc_peer_new(const char *address, const struct ff3_rpc_identity *identity,
		     const struct ff3_rpc_options *options, struct ff3_rpc_peer **ret)
{
	unsigned n = options && options->max_connections ? options->max_connections : 4;
	struct ff3_rpc_peer *peer;

	n = MIN(n, FF3_RPC_CONNECTIONS_MAX);
	peer = calloc(1, sizeof *peer + n * sizeof peer->conns[0]);
	if (!peer)
		return -ENOMEM;
	peer->address = strdup(address);
	if (!peer->address) {
		free(peer);
		return -ENOMEM;
	}
	if (ff3_addr_resolve(address, AI_NUMERICHOST, &peer->numeric) < 0)
		peer->numeric = NULL;
	peer->identity = *identity;
	if (options)
		peer->options = *options;
	peer->options.max_connections = n;
	ff3_rpc_order_links(peer);
	if (peer->options.connect_timeout_ms == 0)
		peer->options.connect_timeout_ms = 2000;
	for (unsigned i = 0; i < n; i++) {
		peer->conns[i].peer = peer;
		peer->conns[i].fd = -1;
	}
	init_locks(peer);
	*ret = peer;
	return 0;
}

void ff3_rpc_peer_free(struct ff3_rpc_peer *peer)
{
	if (!peer)
		return;
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];

		if (conn->fd >= 0)
			ff3_rpc_drop(conn, false);
		ff3_rpc_rx_done(&conn->rx);
		pthread_mutex_destroy(&conn->send_lock);
		pthread_mutex_destroy(&conn->lock);
	}
	pthread_cond_destroy(&peer->changed);
	pthread_mutex_destroy(&peer->lock);
	free(peer->address);
	if (peer->numeric)
		freeaddrinfo(peer->numeric);
	free(peer);
}

THREAD_LOCAL const struct ff3_rpc_user *ff3_rpc_as;

void ff3_rpc_after_fork(struct ff3_rpc_peer *peer, uint64_t session)
{
	peer->identity.session = session;
	init_locks(peer);
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];

		if (conn->fd >= 0)
			ff3_rpc_drop(conn, true);
		/* Calls that were under way notice by their epoch. */
		conn->epoch++;
		atomic_store(&conn->state, FF3_CONN_EMPTY);
		conn->reader = false;
		atomic_store(&conn->receiver, NULL);
		conn->n_users = 0;
		atomic_store(&conn->n_calls, 0);
		conn->first = conn->last = NULL;
		conn->sender = NULL;
		atomic_store(&conn->sender_waits, false);
	}
	ff3_rpc_waiters_after_fork();
}

/* peer->lock held. */
static void close_unused(struct ff3_rpc_conn *conn, uint64_t now, uint64_t idle_ns)
{
	pthread_mutex_lock(&conn->lock);
	if (conn->state == FF3_CONN_UP && conn->n_calls == 0 && conn->n_users == 0 &&
	    now - conn->used_ns >= idle_ns) {
		conn->state = FF3_CONN_EMPTY;
		conn->epoch++;
		ff3_rpc_drop(conn, false);
	}
	pthread_mutex_unlock(&conn->lock);
}

void ff3_rpc_close_idle(struct ff3_rpc_peer *peer, uint64_t idle_ns)
{
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE);

	pthread_mutex_lock(&peer->lock);
	for (unsigned i = 0; i < peer->options.max_connections; i++)
		close_unused(&peer->conns[i], now, idle_ns);
	pthread_mutex_unlock(&peer->lock);
}

/* --- The end of calls and connections ------------------------------------------------------ */

void ff3_rpc_end_call(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, int status,
		      struct ff3_rpc_call **done)
{
	if (call->prev)
		call->prev->next = call->next;
	else
		conn->first = call->next;
	if (call->next)
		call->next->prev = call->prev;
	else
		conn->last = call->prev;
	if (!conn->first)
		conn->used_ns = ff3_now_ns(CLOCK_MONOTONIC_COARSE);
	atomic_fetch_sub(&conn->n_calls, 1);
	call->status = status;
	call->exposed = false;
	call->instance = conn->instance;
	__atomic_store_n(&call->state, FF3_CALL_ENDING, __ATOMIC_RELAXED);
	call->prev = NULL;
	call->next = *done;
	*done = call;
}

void ff3_rpc_finish_calls(struct ff3_rpc_call *done)
{
	struct ff3_rpc_call *next;

	for (; done; done = next) {
		struct ff3_rpc_waiter *w;

		next = done->next;
		if (done->done)
			done->done(done);
		/* Who comes later to wait for it sees that nobody will be woken any more. */
		w = __atomic_exchange_n(&done->waiter, FF3_WAITER_GONE, __ATOMIC_ACQ_REL);
		/* From here on the call is its owner's again. */
		__atomic_store_n(&done->state, FF3_CALL_DONE, __ATOMIC_RELEASE);
		if (w)
			ff3_rpc_wake(w);
	}
}

void ff3_rpc_break(struct ff3_rpc_conn *conn, int cause, struct ff3_rpc_call **done)
{
	if (conn->state == FF3_CONN_UP) {
		conn->state = FF3_CONN_BROKEN;
		conn->cause = cause;
		conn->link->cut(conn);
	}
	for (struct ff3_rpc_call *call = conn->first, *next; call; call = next) {
		next = call->next;
		if (!call->exposed)
			ff3_rpc_end_call(conn, call, conn->cause, done);
	}
	if (conn->sender)
		ff3_rpc_wake(conn->sender);
}

void ff3_rpc_drop(struct ff3_rpc_conn *conn, bool forked)
{
	atomic_fetch_add(&conn->peer->links[conn->link->kind].requests,
			 conn->next_id - FF3_RPC_FIRST_ID - conn->n_reads);
	atomic_fetch_add(&conn->peer->links[conn->link->kind].reads, conn->n_reads);
	conn->link->drop(conn, forked);
	conn->fd = -1;
	conn->link_state = NULL;
	ff3_rpc_rx_reset(&conn->rx);
}

void ff3_rpc_forget(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	if (conn->rx.call == call)
		conn->rx.call = NULL;
	if (conn->link->forget)
		conn->link->forget(conn, call);
}

void ff3_rpc_cut(struct ff3_rpc_peer *peer)
{
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];
		struct ff3_rpc_call *done = NULL;

		pthread_mutex_lock(&conn->lock);
		if (conn->state != FF3_CONN_UP) {
			pthread_mutex_unlock(&conn->lock);
			continue;
		}
		conn->n_users++;
		ff3_rpc_break(conn, -ECONNRESET, &done);
		ff3_rpc_leave_unlock(conn);
		ff3_rpc_finish_calls(done);
	}
}

void ff3_rpc_leave_unlock(struct ff3_rpc_conn *conn)
{
	bool emptied = --conn->n_users == 0 && conn->state == FF3_CONN_BROKEN;

	if (emptied) {
		ff3_rpc_drop(conn, false);
		conn->epoch++;
		conn->state = FF3_CONN_EMPTY;
	}
	pthread_mutex_unlock(&conn->lock);
	if (emptied) {
		pthread_mutex_lock(&conn->peer->lock);
		pthread_cond_broadcast(&conn->peer->changed);
		pthread_mutex_unlock(&conn->peer->lock);
	}
}

/* --- The choice of a connection ------------------------------------------------------------ */

struct choice {
	struct ff3_rpc_conn *idle, *empty, *loaded;
	struct ff3_rpc_conn *foreign; /* another user's, idle */
};

static struct choice look(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user)
{
	struct choice c = { NULL, NULL, NULL, NULL };
	unsigned least = UINT32_MAX;

	for (unsigned i = 0; i < peer->options.max_connections && !c.idle; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];
		enum ff3_rpc_conn_state state = conn->state;
		unsigned n = conn->n_calls;

		switch (state) {
		case FF3_CONN_UP:
			if (UNLIKELY(conn->user != user)) {
				if (n == 0)
					c.foreign = conn;
				break;
			}
			if (n == 0)
				c.idle = conn;
			if (n < least) {
				least = n;
				c.loaded = conn;
			}
			break;
		case FF3_CONN_EMPTY:
			if (!c.empty)
				c.empty = conn;
			break;
		default:
			break;
		}
	}
	return c;
}

/* peer->lock held, and released meanwhile. */
static int open_slot(struct ff3_rpc_peer *peer, struct ff3_rpc_conn *conn,
		     const struct ff3_rpc_user *user, uint64_t deadline_ns)
{
	struct ff3_rpc_up up = { .fd = -1 };
	int r;

	conn->state = FF3_CONN_CONNECTING;
	pthread_mutex_unlock(&peer->lock);
	r = ff3_rpc_connect(peer, user, deadline_ns, &up);
	pthread_mutex_lock(&peer->lock);
	pthread_mutex_lock(&conn->lock);
	if (r == 0) {
		conn->link = up.link;
		conn->link_state = up.state;
		conn->near = up.near;
		/* A child of another thread's fork goes by this one. */
		__atomic_store_n(&conn->fd, up.fd, __ATOMIC_RELEASE);
		conn->pid = getpid();
		conn->instance = up.instance;
		conn->user = user;
		conn->next_id = FF3_RPC_FIRST_ID;
		conn->n_reads = 0;
		conn->used_ns = ff3_now_ns(CLOCK_MONOTONIC_COARSE);
	}
	if (r == 0) {
		peer->greeting = up.greeting;
	} else if (r == FF3_E_NOT_PRIMARY) {
		memcpy(peer->primary, up.primary, sizeof peer->primary);
		peer->primary_epoch = up.greeting.epoch;
	}
	conn->state = r == 0 ? FF3_CONN_UP : FF3_CONN_EMPTY;
	pthread_mutex_unlock(&conn->lock);
	pthread_cond_broadcast(&peer->changed);
	return r;
}

/* peer->lock held, and released meanwhile. That another user's connection has no calls any more is
 * told to nobody, so it is looked at again after a while. */
static void wait_for_slot(struct ff3_rpc_peer *peer)
{
	uint64_t until = ff3_now_ns(CLOCK_REALTIME) + 5 * FF3_NSEC_PER_MSEC;
	struct timespec ts = { (time_t)(until / FF3_NSEC_PER_SEC), (long)(until % FF3_NSEC_PER_SEC) };

	pthread_cond_timedwait(&peer->changed, &peer->lock, &ts);
}

/* For calls that are many together: one connection, while it has not too many, so that few have to be
 * looked at for the replies. */
static struct ff3_rpc_conn *common_one(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
				       const struct choice *c, size_t n)
{
	for (unsigned i = 0; i < peer->options.max_connections; i++) {
		struct ff3_rpc_conn *conn = &peer->conns[i];

		if (conn->state == FF3_CONN_UP && conn->user == user && ff3_rpc_takes_more(conn, n))
			return conn;
	}
	return c->idle ? c->idle : c->loaded;
}

/* A connection for n calls like this one, that was up a moment ago, with n_calls raised for one of them. */
static int choose(struct ff3_rpc_peer *peer, const struct ff3_rpc_call *call, size_t n,
		  struct ff3_rpc_conn **ret)
{
	const struct ff3_rpc_user *user = ff3_rpc_as ? ff3_rpc_as : atomic_load(&peer->user);
	struct ff3_rpc_conn *conn = NULL;
	int r = 0;

	pthread_mutex_lock(&peer->lock);
	while (!conn && r == 0) {
		struct choice c = look(peer, user);

		conn = call->no_wait ? common_one(peer, user, &c, n) : c.idle;
		if (call->no_wait) {
			r = conn ? 0 : -ENOTCONN;
		} else if (!conn && c.empty) {
			r = open_slot(peer, c.empty, user, call->deadline_ns);
			/* What cannot have one more connection shares those that are. */
			if (r < 0 && (conn = look(peer, user).loaded))
				r = 0;
		} else if (!conn && c.loaded) {
			conn = c.loaded;
		} else if (!conn && c.foreign) {
			close_unused(c.foreign, 0, 0);
		} else if (!conn) {
			wait_for_slot(peer);
		}
	}
	if (conn) {
		atomic_fetch_add(&conn->n_calls, 1);
		*ret = conn;
	}
	pthread_mutex_unlock(&peer->lock);
	return r;
}

/* --- Starting ------------------------------------------------------------------------------ */

static void append_call(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	call->prev = conn->last;
	call->next = NULL;
	if (conn->last)
		conn->last->next = call;
	else
		conn->first = call;
	conn->last = call;
	__atomic_store_n(&call->state, FF3_CALL_PENDING, __ATOMIC_RELAXED);
}

static void number_call(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	call->conn = conn;
	call->epoch = conn->epoch;
	call->request_id = ++conn->next_id;
	conn->n_reads += call->window != NULL;
}

/* Sending call failed with r. True if the call is over; false if somebody else ends it. */
static bool retract(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, int r, bool begun,
		    struct ff3_rpc_call **done)
{
	bool ours;

	if (call->one_way) {
		atomic_fetch_sub(&conn->n_calls, 1);
		ours = true;
	} else {
		ours = ff3_rpc_is_pending(call) && !call->exposed;
		if (ours) {
			struct ff3_rpc_call *alone = NULL;

			ff3_rpc_forget(conn, call);
			ff3_rpc_end_call(conn, call, r, &alone);
			__atomic_store_n(&call->state, FF3_CALL_DONE, __ATOMIC_RELEASE);
		}
	}
	if (begun || !ours || (r != -EFAULT && r != -E2BIG && r != -ENOMEM && r != -ESTALE))
		ff3_rpc_break(conn, r == -EFAULT || r == -ENOMEM ? -ECONNRESET : r, done);
	return ours;
}

/* Takes conn->send_lock and conn->lock for sending calls. 1: the connection broke before; -EAGAIN: they do
 * not wait, and would have to. n_calls was raised for one of them. */
static int begin_sending(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	bool no_wait = calls[0]->no_wait;
	int r = 0;

	if (!ff3_rpc_lock_to_send(conn, no_wait)) {
		atomic_fetch_sub(&conn->n_calls, 1);
		return -EAGAIN;
	}
	pthread_mutex_lock(&conn->lock);
	if (conn->state != FF3_CONN_UP || (calls[0]->window && calls[0]->window->epoch != conn->epoch))
		r = 1;
	else if (no_wait && conn->link->set_aside)
		r = conn->link->set_aside(conn, calls, n);
	if (r == 0)
		return 0;
	atomic_fetch_sub(&conn->n_calls, 1);
	pthread_mutex_unlock(&conn->lock);
	pthread_mutex_unlock(&conn->send_lock);
	return r;
}

/* 1: the connection broke before call was sent. */
static int start_on(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call)
{
	struct ff3_rpc_call *done = NULL;
	bool begun = false;
	int r = begin_sending(conn, &call, 1);

	if (r != 0)
		return r;
	number_call(conn, call);
	conn->n_users++;
	if (!call->one_way)
		append_call(conn, call);
	pthread_mutex_unlock(&conn->lock);

	r = conn->link->send(conn, call, &begun);

	pthread_mutex_lock(&conn->lock);
	if (r < 0)
		r = retract(conn, call, r, begun, &done) ? r : 0;
	else if (call->one_way)
		atomic_fetch_sub(&conn->n_calls, 1);
	ff3_rpc_leave_unlock(conn);
	pthread_mutex_unlock(&conn->send_lock);
	ff3_rpc_finish_calls(done);
	return r;
}

static int send_many(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	bool begun = false;
	int r = 0;

	if (conn->link->send_many)
		return conn->link->send_many(conn, calls, n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = conn->link->send(conn, calls[i], &begun);
	return r;
}

/* 1: the connection broke before. n_calls was raised for one of them. */
static int start_many_on(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n)
{
	struct ff3_rpc_call *done = NULL;
	int r = begin_sending(conn, calls, n);

	if (r != 0)
		return r;
	atomic_fetch_add(&conn->n_calls, (unsigned)n - 1);
	conn->n_users++;
	for (size_t i = 0; i < n; i++) {
		number_call(conn, calls[i]);
		append_call(conn, calls[i]);
	}
	pthread_mutex_unlock(&conn->lock);

	r = send_many(conn, calls, n);

	pthread_mutex_lock(&conn->lock);
	/* They end with the connection, as those do that were sent before. */
	if (r < 0)
		ff3_rpc_break(conn, r == -ENOMEM ? -ECONNRESET : r, &done);
	ff3_rpc_leave_unlock(conn);
	pthread_mutex_unlock(&conn->send_lock);
	ff3_rpc_finish_calls(done);
	return 0;
}

static void prepare_call(struct ff3_rpc_call *call)
{
	call->reply_len = call->payload_len = 0;
	call->n_fds = 0;
	call->place_pages = 0;
	call->n_sums = 0;
	call->waiter = NULL;
	call->exposed = false;
	call->state = FF3_CALL_NEW;
}

int ff3_rpc_start_many(struct ff3_rpc_peer *peer, struct ff3_rpc_call **calls, size_t n)
{
	struct ff3_rpc_conn *conn = NULL;
	int r;

	for (size_t i = 0; i < n; i++) {
		calls[i]->no_wait = true;
		prepare_call(calls[i]);
	}
	do {
		r = choose(peer, calls[0], n, &conn);
		if (r == 0)
			r = start_many_on(conn, calls, n);
	} while (r == 1);
	for (size_t i = 0; i < n && r < 0; i++) {
		calls[i]->status = r;
		calls[i]->state = FF3_CALL_DONE;
	}
	return r;
}

int ff3_rpc_start(struct ff3_rpc_peer *peer, struct ff3_rpc_call *call)
{
	struct ff3_rpc_conn *conn = NULL;
	int r;

	prepare_call(call);
	do {
		r = choose(peer, call, 1, &conn);
		if (r == 0)
			r = start_on(conn, call);
	} while (r == 1);
	if (r < 0 || call->one_way) {
		call->status = r;
		call->state = FF3_CALL_DONE;
	}
	return r;
}

struct ff3_rpc_peer *ff3_rpc_call_peer(const struct ff3_rpc_call *call)
{
	return call->conn->peer;
}

int ff3_rpc_start_read(struct ff3_rpc_call *call)
{
	struct ff3_rpc_conn *conn = call->window->conn;
	int r;

	prepare_call(call);
	atomic_fetch_add(&conn->n_calls, 1);
	r = start_on(conn, call);
	if (r != 0) {
		call->status = r = r < 0 ? r : -ESTALE;
		call->state = FF3_CALL_DONE;
	}
	return r;
}

int ff3_rpc_call(struct ff3_rpc_peer *peer, struct ff3_rpc_call *call, uint64_t deadline_ns)
{
	int r;

	call->deadline_ns = deadline_ns;
	r = ff3_rpc_start(peer, call);
	if (r < 0 || call->one_way)
		return r;
	ff3_rpc_wait(&call, 1, deadline_ns);
	return call->status;
}
