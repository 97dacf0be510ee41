/* Purpose: reaping batches; see batch.c.
 *
 * Threads and fork: as there. */
#include <sched.h>

#include "batch.h"

/* How many calls are waited for at a time; looking at all of thousands would cost more. */
#define WAIT_MAX 256u
#define WAIT_SLICE_NS (10 * FF3_NSEC_PER_MSEC)
/* How often, at least, calls that are too old are looked for, and how many are given up at a time. */
#define AGE_STEP_NS FF3_NSEC_PER_SEC
#define OLD_MAX 64u

static void piece_finish(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	struct ff3_rpc_call *call = &p->piece.call;
	struct ff3_batch_op *op = p->op;
	bool kept = false;
	int r;

	/* The thread that sent it is about to say so. */
	while (!atomic_load(&p->linked))
		sched_yield();
	/* The one that read its reply is about to let go of it. */
	if (p->piece.started && !ff3_rpc_is_done(call))
		ff3_rpc_wait(&call, 1, 0);
	r = p->failed ? p->failed : ff3_piece_check(&p->piece);
	if (r == 0 && op->write) {
		r = ff3_write_done(&p->piece, &op->tell);
		kept = r != -ERESTART;
	}
	if (r < 0 && !p->failed && !kept) {
		ff3_batch_lock(b);
		ff3_batch_calls_remove(b, p);
		ff3_batch_unlock(b);
		ff3_slow_put(p, r);
		return;
	}
	if (r < 0 && !kept) {
		/* The words of the thread that tried are not this thread's. */
		if (p->failed)
			ff3_piece_explain(&p->piece, &p->retry, r);
		if (op->write)
			atomic_store(&op->file->inode->sparse, true);
		ff3_piece_abandon(&p->piece);
		ff3_pool_put(b->fs, TAKE_PTR(p->piece.data), p->piece.length);
	} else if (!op->write && (p->piece.got < p->piece.length ||
				  ff3_hold_check_read(op->file->inode, &p->piece))) {
		op->is_short = true;
	}
	ff3_batch_piece_over(b, op, p, r);
}

static void take_arrived(struct ff3fs_batch *b)
{
	struct ff3_batch_piece *p = atomic_exchange(&b->arrived, NULL), *in_order = NULL;

	while (p) {
		struct ff3_batch_piece *next = p->next;

		p->next = in_order;
		in_order = p;
		p = next;
	}
	while (in_order) {
		p = in_order;
		in_order = p->next;
		piece_finish(b, p);
	}
}

/* The rest of a read that its pieces could not settle. */
static void settle_read(struct ff3_batch_op *op)
{
	uint64_t from = op->is_short ? op->offset : op->end;
	uint64_t end = op->offset + op->iov.iov_len;
	struct ff3_cursor c = { &op->iov, 1, (size_t)(from - op->offset) };
	ssize_t n = 0;

	if (from < end)
		n = ff3_read(op->file->inode, c, (size_t)(end - from), from);
	op->result = n < 0 ? n : (ssize_t)(from - op->offset) + n;
	if (op->result > 0)
		ff3_hot_heat(op->file->inode, (size_t)op->result, op->offset);
	op->settled = true;
}

/* Tells metad the furthest end that the writes of this file in the list reached. */
static void settle_writes(struct ff3_batch_op *first)
{
	struct ff3_inode *inode = first->file->inode;
	uint64_t tell = 0;
	bool sync = false;
	int r = 0;

	for (struct ff3_batch_op *op = first; op; op = op->next)
		if (op->write && !op->settled && op->file->inode == inode) {
			if (op->end > op->size || !atomic_load(&inode->told))
				op->tell = MAX(op->tell, op->end);
			tell = MAX(tell, op->tell);
			sync |= op->sync;
		}
	ff3_inode_touch(inode);
	if (tell > 0)
		r = ff3_inode_extend(inode, tell);
	if (r == 0 && sync)
		r = ff3_sync_meta(inode, 0);
	for (struct ff3_batch_op *op = first; op; op = op->next)
		if (op->write && !op->settled && op->file->inode == inode) {
			op->result = r < 0 ? r : (ssize_t)op->iov.iov_len;
			op->settled = true;
		}
}

static void settle(struct ff3_batch_op *first)
{
	for (struct ff3_batch_op *op = first; op; op = op->next) {
		if (op->settled)
			continue;
		if (op->write)
			settle_writes(op);
		else
			settle_read(op);
	}
}

static void file_unref(struct ff3fs_file *file)
{
	if (atomic_fetch_sub(&file->refs, 1) == 1) {
		ff3_ahead_free(file);
		ff3_inode_unref(file->inode);
		free(file);
	}
}

/* Settles what is done, and moves it behind what is settled already. */
static void settle_done(struct ff3fs_batch *b)
{
	struct ff3_op_list done = { NULL, NULL };

	ff3_batch_lock(b);
	if (b->done.first) {
		done = b->done;
		b->done.first = NULL;
		b->done.last = &b->done.first;
	}
	ff3_batch_unlock(b);
	if (!done.first)
		return;
	settle(done.first);
	*b->settled.last = done.first;
	b->settled.last = done.last;
}

static unsigned hand_out(struct ff3fs_batch *b, struct ff3fs_completion *ret, unsigned max)
{
	unsigned n = 0;

	settle_done(b);
	while (n < max && b->settled.first) {
		struct ff3_batch_op *op = ff3_ops_take(&b->settled);

		ret[n++] = (struct ff3fs_completion){
			.user = op->user,
			.result = op->result < 0 ? ff3_public((int)op->result) : op->result,
		};
		file_unref(op->file);
		ff3_batch_lock(b);
		op->next = b->free;
		b->free = op;
		b->n_outstanding--;
		ff3_batch_unlock(b);
	}
	return n;
}

/* Some of the calls under way; others the next time. */
static size_t some_calls(struct ff3fs_batch *b, struct ff3_rpc_call *ret[WAIT_MAX], size_t *ret_all)
{
	size_t n;

	ff3_batch_lock(b);
	n = MIN(b->n_calls, (size_t)WAIT_MAX);
	for (size_t i = 0; i < n; i++) {
		b->looked_at = b->looked_at + 1 < b->n_calls ? b->looked_at + 1 : 0;
		ret[i] = b->calls[b->looked_at];
	}
	*ret_all = b->n_calls;
	ff3_batch_unlock(b);
	return n;
}

/* Waits for any reply, or for more to wait for, at most until deadline_ns; not for long at a time if only
 * some of the calls are looked at. */
static void wait_some(struct ff3fs_batch *b, uint64_t deadline_ns)
{
	struct ff3_rpc_call *calls[WAIT_MAX];
	size_t all, n;

	/* Cleared before arrived and calls are looked at: what comes later raises it again. */
	atomic_store(&b->interrupt.raised, false);
	n = some_calls(b, calls, &all);
	if (n < all)
		deadline_ns = MIN(deadline_ns, ff3_boottime_ns() + WAIT_SLICE_NS);
	if (!atomic_load(&b->arrived))
		ff3_rpc_wait_interruptible(calls, n, deadline_ns, &b->interrupt);
}

static uint64_t age_step(const struct ff3fs_batch *b)
{
	return MIN(b->fs->timeout_ns / 4 + 1, AGE_STEP_NS);
}

/* Up to OLD_MAX of those that were sent so long ago that nobody would wait for them any more. */
static unsigned old_calls(struct ff3fs_batch *b, uint64_t now, struct ff3_rpc_call *ret[OLD_MAX])
{
	unsigned n = 0;

	ff3_batch_lock(b);
	for (size_t i = 0; i < b->n_calls && n < OLD_MAX; i++) {
		struct ff3_batch_piece *p = ff3_batch_piece_of(b->calls[i]);

		if (now - MIN(p->since_ns, now) >= b->fs->timeout_ns && !atomic_load(&p->came))
			ret[n++] = b->calls[i];
	}
	ff3_batch_unlock(b);
	return n;
}

/* A daemon that hangs: its calls fail, while those to others go on. */
static void give_up_old(struct ff3fs_batch *b, uint64_t now)
{
	struct ff3_rpc_call *calls[OLD_MAX];
	unsigned n;

	if (now - b->aged_ns < age_step(b))
		return;
	b->aged_ns = now;
	n = old_calls(b, now, calls);
	if (n > 0)
		ff3_rpc_wait(calls, n, FF3_RPC_NOW);
	for (unsigned i = 0; i < n; i++) {
		struct ff3_batch_piece *p = ff3_batch_piece_of(calls[i]);

		/* Unless another thread ended it just now. */
		if (!atomic_load(&p->came))
			ff3_batch_piece_came(p);
	}
}

static size_t n_under_way(struct ff3fs_batch *b)
{
	size_t n;

	ff3_batch_lock(b);
	n = b->n_pieces;
	ff3_batch_unlock(b);
	return n;
}

/* Takes what has arrived, without waiting for more. */
static void look(struct ff3fs_batch *b)
{
	struct ff3_rpc_call *calls[WAIT_MAX];
	size_t all, n = some_calls(b, calls, &all);

	ff3_rpc_poll(calls, n);
}

static uint64_t deadline_of(const struct ff3fs_batch *b, const struct timespec *timeout)
{
	uint64_t now = ff3_boottime_ns();

	/* Without one, the client's own timeout makes lost calls end. */
	if (!timeout)
		return UINT64_MAX;
	return now + (uint64_t)timeout->tv_sec * FF3_NSEC_PER_SEC + (uint64_t)timeout->tv_nsec;
}

EXPORT int ff3fs_batch_reap(struct ff3fs_batch *batch, struct ff3fs_completion *ret, unsigned min,
			    unsigned max, const struct timespec *timeout)
{
	FF3_ENTER();
	uint64_t deadline = deadline_of(batch, timeout);
	uint64_t now;
	bool polled = false;
	unsigned n = 0;

	if (min > max)
		return -EINVAL;
	ff3_batch_submit(batch);
	for (;;) {
		take_arrived(batch);
		n += hand_out(batch, ret + n, max - n);
		now = ff3_boottime_ns();
		if ((n >= min && (n > 0 || polled)) || n_under_way(batch) == 0 ||
		    (now >= deadline && polled))
			return (int)n;
		if (n >= min || now >= deadline) {
			/* Not to wait, but to see what is there. */
			look(batch);
			polled = true;
			continue;
		}
		give_up_old(batch, now);
		wait_some(batch, MIN(deadline, now + age_step(batch)));
	}
}

EXPORT void ff3fs_batch_free(struct ff3fs_batch *b)
{
	struct ff3fs_completion c[64];

	if (!b)
		return;
	while (b->n_outstanding > 0)
		if (ff3fs_batch_reap(b, c, 1, ARRAY_SIZE(c), NULL) < 0)
			return; /* inside another call of this thread: freed by nobody */
	while (b->fork_epoch == b->fs->fork_epoch && atomic_load(&b->n_telling) > 0)
		sched_yield();
	while (b->spare) {
		struct ff3_batch_piece *p = b->spare;

		b->spare = p->next;
		free(p);
	}
	pthread_mutex_destroy(&b->lock);
	free(b->calls);
	free(b->ops);
	free(b);
}
