/* Purpose: what makes batches wait. A batch sends to many daemons, and one that is away must not keep
 * the others' operations: pieces for which a connection has to be made, that came back for want of
 * one, that it would not take at once, or whose daemon has not answered anything lately are sent by a
 * thread of that peer, which
 * connects, pauses and tries again until the client's time-out. Whoever submits and whoever reaps
 * never does that.
 *
 * Threads: one for each peer that has such pieces, with all signals blocked; it ends with the last of
 * them. slow->lock guards the queue, for moments; a batch's lock is taken inside or alone.
 * Fork: a child has no such threads; its batches send again what was under way (batch.c). */
#include "batch.h"

/* An answer may take so long before the peer is taken for one to wait for. */
#define LIVELY_NS (200 * FF3_NSEC_PER_MSEC)

void ff3_slow_init(struct ff3_slow *slow)
{
	pthread_mutex_init(&slow->lock, NULL);
	pthread_cond_init(&slow->over, NULL);
	slow->first = slow->last = NULL;
	atomic_store(&slow->running, false);
	atomic_store(&slow->n_out, 0);
}

void ff3_slow_done(struct ff3_slow *slow)
{
	pthread_mutex_lock(&slow->lock);
	while (slow->running)
		pthread_cond_wait(&slow->over, &slow->lock);
	pthread_mutex_unlock(&slow->lock);
	pthread_cond_destroy(&slow->over);
	pthread_mutex_destroy(&slow->lock);
}

static uint64_t coarse_ns(void)
{
	return ff3_now_ns(CLOCK_MONOTONIC_COARSE);
}

void ff3_slow_sent(struct ff3_batch_piece *p)
{
	p->out = &p->piece.route.peer->slow;
	if (atomic_fetch_add(&p->out->n_out, 1) == 0)
		atomic_store(&p->out->heard_ns, coarse_ns());
}

void ff3_slow_came(struct ff3_batch_piece *p)
{
	struct ff3_slow *slow = TAKE_PTR(p->out);

	if (!slow)
		return;
	atomic_store(&slow->heard_ns, coarse_ns());
	atomic_fetch_sub(&slow->n_out, 1);
}

bool ff3_slow_is_due(struct ff3_peer *peer)
{
	struct ff3_slow *slow = &peer->slow;

	return atomic_load(&slow->running) ||
	       (atomic_load(&slow->n_out) > 0 &&
		coarse_ns() - atomic_load(&slow->heard_ns) > LIVELY_NS);
}

/* The piece's call is under way, or it failed for good. */
static void hand_back(struct ff3_batch_piece *p)
{
	struct ff3fs_batch *b = p->piece.owner;
	bool failed = p->failed < 0; /* who reaps may be done with p as soon as it is in calls */

	atomic_fetch_add(&b->n_telling, 1);
	ff3_batch_lock(b);
	TAILQ_REMOVE(&b->slow, p, slow_link);
	ff3_batch_calls_add(b, p);
	ff3_batch_unlock(b);
	if (failed)
		ff3_batch_piece_came(p);
	else
		ff3_rpc_interrupt(&b->interrupt);
	atomic_fetch_sub(&b->n_telling, 1);
}

static void send_piece(struct ff3_batch_piece *p)
{
	int r = p->cause;

	p->piece.no_wait = false;
	if (r == 0) {
		ff3_piece_start(&p->piece);
		r = p->piece.start_error;
	}
	while (r < 0) {
		r = ff3_piece_again(&p->piece, &p->retry, r);
		if (r < 0)
			p->failed = r;
		else if ((r = p->piece.start_error) == 0)
			break;
		if (p->failed)
			break;
	}
	hand_back(p);
}

static void *slow_main(void *arg)
{
	struct ff3_slow *slow = arg;
	struct ff3_batch_piece *p;

	/* As in flusher.c. */
	ff3_enter();
	pthread_mutex_lock(&slow->lock);
	while ((p = slow->first)) {
		slow->first = p->next;
		pthread_mutex_unlock(&slow->lock);
		send_piece(p);
		pthread_mutex_lock(&slow->lock);
	}
	slow->running = false;
	pthread_cond_signal(&slow->over);
	pthread_mutex_unlock(&slow->lock);
	return NULL;
}

static int start_thread(struct ff3_slow *slow)
{
	pthread_t thread;
	int r = ff3_thread_start(&thread, slow_main, slow);

	if (r == 0)
		pthread_detach(thread);
	return r;
}

/* False: there is no thread, and none can be had. */
static bool queue(struct ff3_slow *slow, struct ff3_batch_piece *p)
{
	bool ok;

	pthread_mutex_lock(&slow->lock);
	if (!slow->running)
		slow->running = start_thread(slow) == 0;
	ok = slow->running;
	if (ok) {
		p->next = NULL;
		if (slow->first)
			slow->last->next = p;
		else
			slow->first = p;
		slow->last = p;
	}
	pthread_mutex_unlock(&slow->lock);
	return ok;
}

void ff3_slow_put(struct ff3_batch_piece *p, int cause)
{
	struct ff3fs_batch *b = p->piece.owner;
	struct ff3_peer *peer = p->piece.route.peer;

	p->cause = cause == -ENOTCONN ? 0 : cause;
	if (p->retry.deadline_ns == 0) {
		p->retry = ff3_retry_begin(b->fs);
		p->retry.deadline_ns = p->since_ns + b->fs->timeout_ns;
	}
	atomic_store(&p->came, false);
	atomic_store(&p->linked, false);
	ff3_batch_lock(b);
	TAILQ_INSERT_TAIL(&b->slow, p, slow_link);
	ff3_batch_unlock(b);
	if (!peer || !queue(&peer->slow, p))
		send_piece(p);
}
