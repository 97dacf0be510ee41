/* Purpose: batches: many reads and writes of any files under way at once, from one thread.
 *
 * Every operation is split into pieces as in chunk_read.c and chunk_write.c, with up to WINDOW of
 * them under way. A piece whose reply was read, by whichever thread, is pushed on a list by the
 * rpc callback; reaping takes it from there. What does not go smoothly (a lost connection, a hole,
 * the end of the file) is finished by the reaping thread in the ordinary, waiting way.
 *
 * The ends of files that writes of one reaping moved are told to metad once per file.
 *
 * Threads: a batch belongs to one thread at a time; the list of arrived pieces is shared.
 * Fork: what was under way is the parent's; the child sends its operations again. */
#include "internal.h"

#include <fcntl.h>
#include <sys/stat.h>

struct op {
	struct op *next;
	struct ff3fs_file *file;
	void *user;
	struct iovec iov;
	uint64_t offset, end, at; /* at: behind what was started */
	uint64_t size, generation; /* of the file when it was started */
	uint64_t tell;             /* an end that metad must hear of */
	ssize_t result;
	unsigned n_active;
	bool write, sync, is_short;
	bool settled; /* result is final */
};

struct batch_piece {
	struct ff3_piece piece; /* first: found by the address */
	struct batch_piece *next; /* in arrived or spare */
	struct op *op;
	size_t slot; /* in batch->calls */
};

struct op_list {
	struct op *first, **last;
};

struct ff3fs_batch {
	struct ff3fs *fs;
	unsigned room;
	unsigned n_outstanding; /* queued, under way or not reaped */
	uint64_t fork_epoch;
	struct op *ops, *free;
	struct op_list queued, done;
	struct ff3_rpc_call **calls; /* under way */
	size_t n_calls, size_calls;
	struct batch_piece *spare;
	_Atomic(struct batch_piece *) arrived;
};

/* How many calls are waited for at a time; looking at all of thousands would cost more. */
#define WAIT_MAX 256u
#define WAIT_SLICE_NS (10 * FF3_NSEC_PER_MSEC)

static void list_add(struct op_list *l, struct op *op)
{
	op->next = NULL;
	*l->last = op;
	l->last = &op->next;
}

static struct op *list_take(struct op_list *l)
{
	struct op *op = l->first;

	if (op) {
		l->first = op->next;
		if (!l->first)
			l->last = &l->first;
	}
	return op;
}

EXPORT int ff3fs_batch_new(struct ff3fs *fs, unsigned room, struct ff3fs_batch **ret)
{
	FF3_ENTER();
	struct ff3fs_batch *b;

	if (room == 0 || room > 1u << 20)
		return -EINVAL;
	b = calloc(1, sizeof *b);
	if (b)
		b->ops = calloc(room, sizeof *b->ops);
	if (!b || !b->ops) {
		free(b);
		return -ENOMEM;
	}
	b->fs = fs;
	b->room = room;
	b->fork_epoch = fs->fork_epoch;
	b->queued.last = &b->queued.first;
	b->done.last = &b->done.first;
	for (unsigned i = 0; i < room; i++) {
		b->ops[i].next = b->free;
		b->free = &b->ops[i];
	}
	*ret = b;
	return 0;
}

/* --- Pieces ---------------------------------------------------------------------------------- */

/* Run by the thread that read the reply. */
static void piece_arrived(struct ff3_rpc_call *call)
{
	struct ff3_piece *piece = call->user;
	struct ff3fs_batch *b = piece->owner;
	struct batch_piece *p = (struct batch_piece *)piece;

	p->next = atomic_load(&b->arrived);
	while (!atomic_compare_exchange_weak(&b->arrived, &p->next, p))
		;
}

static struct batch_piece *piece_get(struct ff3fs_batch *b)
{
	struct batch_piece *p = b->spare;

	if (b->n_calls == b->size_calls) {
		size_t size = MAX(b->size_calls * 2, (size_t)64);
		struct ff3_rpc_call **calls = realloc(b->calls, size * sizeof(*calls));

		if (!calls)
			return NULL;
		b->calls = calls;
		b->size_calls = size;
	}
	if (p)
		b->spare = p->next;
	else
		p = malloc(sizeof *p);
	return p;
}

static void piece_put(struct ff3fs_batch *b, struct batch_piece *p)
{
	p->next = b->spare;
	b->spare = p;
}

static struct batch_piece *of_call(struct ff3_rpc_call *call)
{
	return call->user;
}

static void calls_add(struct ff3fs_batch *b, struct batch_piece *p)
{
	p->slot = b->n_calls;
	b->calls[b->n_calls++] = &p->piece.call;
}

static void calls_remove(struct ff3fs_batch *b, struct batch_piece *p)
{
	struct ff3_rpc_call *last = b->calls[--b->n_calls];

	b->calls[p->slot] = last;
	of_call(last)->slot = p->slot;
}

/* The data of a write piece: a copy, as in chunk_write.c. */
static int fill_write(struct op *op, struct ff3_piece *p)
{
	struct ff3fs *fs = op->file->fs;
	struct ff3_cursor c = { &op->iov, 1, (size_t)(op->at - op->offset) };
	int r = op->sync ? 0 : ff3_hold_room(fs, p->length);

	if (r < 0)
		return r;
	p->flags = op->sync ? FF3_WRITE_SYNC : 0;
	p->data = ff3_pool_get(fs, p->length);
	if (!p->data)
		return -ENOMEM;
	r = ff3_cursor_read(&c, p->data, p->length);
	if (r < 0)
		ff3_pool_put(fs, TAKE_PTR(p->data), p->length);
	return r;
}

/* Starts one more piece of op. */
static int start_piece(struct ff3fs_batch *b, struct op *op)
{
	struct ff3_inode *inode = op->file->inode;
	struct batch_piece *p = piece_get(b);
	int r = 0;

	if (!p)
		return -ENOMEM;
	ff3_piece_init(&p->piece, inode, op->write ? FF3_OP_chunk_write : FF3_OP_chunk_read, op->at,
		       ff3_piece_span(inode, op->at, op->end - op->at));
	p->op = op;
	p->piece.owner = b;
	p->piece.call.done = piece_arrived;
	if (op->write)
		r = fill_write(op, &p->piece);
	else
		p->piece.one = (struct iovec){ (char *)op->iov.iov_base + (op->at - op->offset),
					       p->piece.length };
	if (r < 0) {
		piece_put(b, p);
		return r;
	}
	op->at += p->piece.length;
	op->n_active++;
	ff3_piece_start(&p->piece);
	p->piece.call.user = p;
	calls_add(b, p);
	/* Never sent: it is finished like one that came back with an error. */
	if (p->piece.start_error < 0)
		piece_arrived(&p->piece.call);
	return 0;
}

/* --- Operations ------------------------------------------------------------------------------ */

static void fail(struct op *op, int r)
{
	if (!op->settled || op->result >= 0)
		op->result = r;
	op->settled = true;
	op->at = op->end; /* start no more of it */
}

static void start_more(struct ff3fs_batch *b, struct op *op)
{
	while (op->at < op->end && op->n_active < WINDOW) {
		int r = start_piece(b, op);

		if (r < 0)
			fail(op, r);
	}
	if (op->n_active == 0)
		list_add(&b->done, op);
}

static void start_read(struct op *op)
{
	struct ff3_inode *inode = op->file->inode;

	if (ff3_gathering(inode))
		ff3_gather_flush_ino(op->file->fs, inode->ino);
	ff3_inode_register_soon(inode);
	op->generation = atomic_load(&inode->generation);
	op->size = atomic_load(&inode->size);
	/* What lies beyond the known size is read at the end, in the ordinary way. */
	op->end = MIN(op->offset + op->iov.iov_len, MAX(op->size, op->offset));
}

static void start_write(struct op *op)
{
	struct ff3_inode *inode = op->file->inode;
	int flags = atomic_load(&op->file->flags), r = 0;
	uint64_t offset;

	op->sync = flags & O_DSYNC;
	if (ff3_gathering(inode))
		r = ff3_gather_flush(inode);
	atomic_store(&op->file->wrote, true);
	atomic_store(&inode->uncommitted, true);
	op->size = atomic_load(&inode->size);
	ff3_inode_touch(inode);
	if (r < 0) {
		fail(op, r);
	} else if (flags & O_APPEND) {
		/* One at a time by nature. */
		op->result = ff3_append(op->file, (struct ff3_cursor){ &op->iov, 1, 0 },
					op->iov.iov_len, &offset);
		op->settled = true;
		op->at = op->end;
	}
}

static int check(const struct ff3fs_file *file, bool write, size_t len, off_t offset)
{
	if (write ? !ff3_file_writable(file) : !ff3_file_readable(file))
		return -EBADF;
	if (!S_ISREG(file->inode->mode))
		return S_ISDIR(file->inode->mode) ? -EISDIR : -EINVAL;
	if (offset < 0)
		return -EINVAL;
	if (write && (uint64_t)offset + len > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	return 0;
}

static int queue(struct ff3fs_batch *b, struct ff3fs_file *file, void *buf, size_t len,
		 off_t offset, void *user, bool write)
{
	struct op *op = b->free;
	int r;

	len = MIN(len, (size_t)RW_COUNT_MAX);
	r = check(file, write, len, offset);
	if (r < 0)
		return r;
	if (!op)
		return -EAGAIN;
	b->free = op->next;
	*op = (struct op){
		.file = file,
		.user = user,
		.iov = { buf, len },
		.offset = (uint64_t)offset,
		.at = (uint64_t)offset,
		.end = (uint64_t)offset + len,
		.write = write,
	};
	atomic_fetch_add(&file->refs, 1);
	list_add(&b->queued, op);
	b->n_outstanding++;
	return 0;
}

EXPORT int ff3fs_batch_read(struct ff3fs_batch *batch, struct ff3fs_file *file, void *buf,
			    size_t len, off_t offset, void *user)
{
	FF3_ENTER();

	return queue(batch, file, buf, len, offset, user, false);
}

EXPORT int ff3fs_batch_write(struct ff3fs_batch *batch, struct ff3fs_file *file, const void *buf,
			     size_t len, off_t offset, void *user)
{
	FF3_ENTER();

	return queue(batch, file, (void *)buf, len, offset, user, true);
}

/* In a child: the pieces of the parent are sent anew when they are reaped. */
static void after_fork(struct ff3fs_batch *b)
{
	if (b->fork_epoch == b->fs->fork_epoch)
		return;
	b->fork_epoch = b->fs->fork_epoch;
	atomic_store(&b->arrived, NULL);
	for (size_t i = 0; i < b->n_calls; i++) {
		struct batch_piece *p = of_call(b->calls[i]);

		p->piece.started = false;
		p->piece.start_error = -ECONNRESET;
		p->piece.seq = 0;
		p->piece.call.user = &p->piece;
		piece_arrived(&p->piece.call);
	}
}

static void submit(struct ff3fs_batch *b)
{
	struct op *op;

	after_fork(b);
	while ((op = list_take(&b->queued))) {
		if (op->iov.iov_len == 0)
			op->at = op->end;
		else if (op->write)
			start_write(op);
		else
			start_read(op);
		start_more(b, op);
	}
}

EXPORT int ff3fs_batch_submit(struct ff3fs_batch *batch)
{
	FF3_ENTER();

	submit(batch);
	return (int)batch->n_outstanding;
}

/* --- Reaping --------------------------------------------------------------------------------- */

static void piece_finish(struct ff3fs_batch *b, struct batch_piece *p)
{
	struct ff3_retry retry = { 0 };
	struct op *op = p->op;
	int r;

	calls_remove(b, p);
	/* From here on it is an ordinary piece; usually there is nothing to wait for. */
	p->piece.call.done = NULL;
	r = ff3_piece_wait(&p->piece, &retry);
	if (r == 0 && op->write) {
		r = ff3_write_done(&p->piece, &op->tell);
	} else if (r < 0) {
		ff3_piece_abandon(&p->piece);
		ff3_pool_put(b->fs, TAKE_PTR(p->piece.data), p->piece.length);
	} else if (p->piece.got < p->piece.length ||
		   ff3_hold_check_read(op->file->inode, &p->piece)) {
		op->is_short = true;
	}
	if (r < 0)
		fail(op, r);
	op->n_active--;
	piece_put(b, p);
	start_more(b, op);
}

static void take_arrived(struct ff3fs_batch *b)
{
	struct batch_piece *p = atomic_exchange(&b->arrived, NULL), *in_order = NULL;

	while (p) {
		struct batch_piece *next = p->next;

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
static void settle_read(struct op *op)
{
	uint64_t from = op->is_short ? op->offset : op->end;
	uint64_t end = op->offset + op->iov.iov_len;
	struct ff3_cursor c = { &op->iov, 1, (size_t)(from - op->offset) };
	ssize_t n = 0;

	if (from < end)
		n = ff3_read(op->file->inode, c, (size_t)(end - from), from);
	op->result = n < 0 ? n : (ssize_t)(from - op->offset) + n;
	op->settled = true;
}

/* Tells metad the furthest end that the writes of this file in the list reached. */
static void settle_writes(struct op *first)
{
	struct ff3_inode *inode = first->file->inode;
	uint64_t tell = 0;
	bool sync = false;
	int r = 0;

	for (struct op *op = first; op; op = op->next)
		if (op->write && !op->settled && op->file->inode == inode) {
			if (op->end > op->size)
				op->tell = MAX(op->tell, op->end);
			tell = MAX(tell, op->tell);
			sync |= op->sync;
		}
	ff3_inode_touch(inode);
	if (tell > 0)
		r = ff3_inode_extend(inode, tell);
	if (r == 0 && sync)
		r = ff3_sync_meta(inode, 0);
	for (struct op *op = first; op; op = op->next)
		if (op->write && !op->settled && op->file->inode == inode) {
			op->result = r < 0 ? r : (ssize_t)op->iov.iov_len;
			op->settled = true;
		}
}

static void settle(struct ff3fs_batch *b)
{
	for (struct op *op = b->done.first; op; op = op->next) {
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

static unsigned hand_out(struct ff3fs_batch *b, struct ff3fs_completion *ret, unsigned max)
{
	unsigned n = 0;

	settle(b);
	while (n < max && b->done.first) {
		struct op *op = list_take(&b->done);

		ret[n++] = (struct ff3fs_completion){
			.user = op->user,
			.result = op->result < 0 ? ff3_public((int)op->result) : op->result,
		};
		file_unref(op->file);
		op->next = b->free;
		b->free = op;
		b->n_outstanding--;
	}
	return n;
}

/* Waits for any reply, at most until deadline_ns, and not for long at a time: only some of the calls
 * are looked at, and in another order the next time. */
static void wait_some(struct ff3fs_batch *b, uint64_t deadline_ns)
{
	size_t n = MIN(b->n_calls, (size_t)WAIT_MAX);
	uint64_t until = deadline_ns;

	if (n < b->n_calls)
		until = MIN(until, ff3_boottime_ns() + WAIT_SLICE_NS);
	ff3_rpc_wait_one(b->calls, n, until);
	if (n < b->n_calls && !atomic_load(&b->arrived)) {
		for (size_t i = 0; i < n; i++) {
			struct ff3_rpc_call *other = b->calls[b->n_calls - 1 - i];

			if (b->n_calls - 1 - i <= i)
				break;
			b->calls[b->n_calls - 1 - i] = b->calls[i];
			b->calls[i] = other;
			of_call(b->calls[i])->slot = i;
			of_call(b->calls[b->n_calls - 1 - i])->slot = b->n_calls - 1 - i;
		}
	}
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
	uint64_t progress = ff3_boottime_ns();
	unsigned n = 0;

	if (min > max)
		return -EINVAL;
	submit(batch);
	for (;;) {
		take_arrived(batch);
		if (batch->done.first) {
			n += hand_out(batch, ret + n, max - n);
			progress = ff3_boottime_ns();
		}
		if (n >= min || batch->n_calls == 0 || ff3_boottime_ns() >= deadline)
			return (int)n;
		wait_some(batch, MIN(deadline, progress + batch->fs->timeout_ns));
		/* A daemon that hangs: its calls are finished, and so fail, in the ordinary way. */
		if (!atomic_load(&batch->arrived) &&
		    ff3_boottime_ns() >= progress + batch->fs->timeout_ns)
			piece_finish(batch, of_call(batch->calls[0]));
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
	while (b->spare) {
		struct batch_piece *p = b->spare;

		b->spare = p->next;
		free(p);
	}
	free(b->calls);
	free(b->ops);
	free(b);
}
