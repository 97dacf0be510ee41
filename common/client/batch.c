/* Purpose: batches: many reads and writes of any files under way at once, from one thread or two.
 *
 * Every operation is split into pieces as in chunk_read.c and chunk_write.c, with up to WINDOW of
 * them under way. A piece whose reply was read, by whichever thread, is pushed on a list by the
 * rpc callback; reaping takes it from there. What does not go smoothly (a lost connection, a hole,
 * the end of the file) is finished by the reaping thread in the ordinary, waiting way.
 *
 * The ends of files that writes of one reaping moved are told to metad once per file.
 *
 * Threads: one thread submits and one reaps at a time; what they share is under batch->lock, or
 * (arrived) a list without one. A piece that was sent or arrived while the reaping thread sleeps wakes it.
 * Fork: what was under way is the parent's; the child sends its operations again. */
#include "batch.h"

#include <fcntl.h>
#include <sys/stat.h>

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
	b->settled.last = &b->settled.first;
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;
}

/* --- Pieces ---------------------------------------------------------------------------------- */

/* Run by the thread that read the reply. */
static void piece_arrived(struct ff3_rpc_call *call)
{
	struct ff3_piece *piece = call->user;
	struct ff3fs_batch *b = piece->owner;
	struct ff3_batch_piece *p = (struct ff3_batch_piece *)piece;

	p->next = atomic_load(&b->arrived);
	while (!atomic_compare_exchange_weak(&b->arrived, &p->next, p))
		;
	ff3_rpc_interrupt(&b->interrupt);
}

/* One that has its place in calls, as well. */
static struct ff3_batch_piece *piece_get(struct ff3fs_batch *b)
{
	struct ff3_batch_piece *p;

	ff3_batch_lock(b);
	p = b->spare;
	if (p)
		b->spare = p->next;
	ff3_batch_unlock(b);
	return p ? p : malloc(sizeof *p);
}

/* The lock is held. */
static void piece_put(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	p->next = b->spare;
	b->spare = p;
}

/* The lock is held. */
static int calls_make_room(struct ff3fs_batch *b)
{
	size_t size = MAX(b->size_calls * 2, (size_t)64);
	struct ff3_rpc_call **calls;

	/* Both threads may be starting a piece. */
	if (b->n_calls + 2 <= b->size_calls)
		return 0;
	calls = realloc(b->calls, size * sizeof(*calls));
	if (!calls)
		return -ENOMEM;
	b->calls = calls;
	b->size_calls = size;
	return 0;
}

/* After it was sent: the reaping thread looks at it from now on. */
static void calls_add(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	ff3_batch_lock(b);
	p->slot = b->n_calls;
	b->calls[b->n_calls++] = &p->piece.call;
	ff3_batch_unlock(b);
	atomic_store(&p->linked, true);
}

static void calls_remove(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	struct ff3_rpc_call *last = b->calls[--b->n_calls];

	b->calls[p->slot] = last;
	ff3_batch_piece_of(last)->slot = p->slot;
}

/* The data of a write piece: a copy, as in chunk_write.c. */
static int fill_write(struct ff3_batch_op *op, struct ff3_piece *p, uint64_t at)
{
	struct ff3fs *fs = op->file->fs;
	struct ff3_cursor c = { &op->iov, 1, (size_t)(at - op->offset) };
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

/* Starts the piece of op at `at`. */
static int start_piece(struct ff3fs_batch *b, struct ff3_batch_op *op, uint64_t at, uint32_t len)
{
	struct ff3_batch_piece *p = piece_get(b);
	int r = 0;

	if (!p)
		return -ENOMEM;
	ff3_piece_init(&p->piece, op->file->inode,
		       op->write ? FF3_OP_chunk_write : FF3_OP_chunk_read, at, len);
	p->op = op;
	atomic_store(&p->linked, false);
	p->piece.owner = b;
	p->piece.call.done = piece_arrived;
	if (op->write)
		r = fill_write(op, &p->piece, at);
	else
		p->piece.one = (struct iovec){ (char *)op->iov.iov_base + (at - op->offset), len };
	if (r < 0) {
		ff3_batch_lock(b);
		piece_put(b, p);
		ff3_batch_unlock(b);
		return r;
	}
	p->piece.call.user = &p->piece; /* before the start: after it, its reply may have come */
	ff3_piece_start(&p->piece);
	r = p->piece.start_error;
	calls_add(b, p);
	/* Never sent: it is finished like one that came back with an error. */
	if (r < 0)
		piece_arrived(&p->piece.call);
	return 0;
}

/* --- Operations; the lock is held where it is not said ------------------------------------- */

/* No more of op; its result is r unless an earlier piece failed. */
static void op_fail(struct ff3_batch_op *op, int r)
{
	if (!op->settled || op->result >= 0)
		op->result = r;
	op->settled = true;
	op->at = op->end; /* start no more of it */
}

static void op_less(struct ff3fs_batch *b, struct ff3_batch_op *op)
{
	if (--op->n_active == 0)
		ff3_ops_add(&b->done, op);
}

/* Starts pieces of op while there is room, unless the other thread is at it: that one sees then that
 * there is. The lock is released meanwhile. Returns whether any was started. */
static bool start_pieces(struct ff3fs_batch *b, struct ff3_batch_op *op)
{
	bool some = false;

	if (op->starting)
		return false;
	op->starting = true;
	op->n_active++;
	while (op->at < op->end && op->n_active <= WINDOW) {
		uint64_t at = op->at;
		uint32_t len = ff3_piece_span(op->file->inode, at, op->end - at);
		int r = calls_make_room(b);

		if (r == 0) {
			op->at += len;
			op->n_active++;
			ff3_batch_unlock(b);
			r = start_piece(b, op, at, len);
			ff3_batch_lock(b);
			op->n_active -= r < 0;
			some = true;
		}
		if (r < 0)
			op_fail(op, r);
	}
	op->starting = false;
	op_less(b, op);
	return some;
}

/* Without the lock. */
void ff3_batch_piece_over(struct ff3fs_batch *b, struct ff3_batch_op *op,
			  struct ff3_batch_piece *p, int r)
{
	ff3_batch_lock(b);
	calls_remove(b, p);
	piece_put(b, p);
	if (r < 0)
		op_fail(op, r);
	if (op->at < op->end)
		start_pieces(b, op); /* it is not done yet: this piece is still counted */
	op_less(b, op);
	ff3_batch_unlock(b);
}

static void start_read(struct ff3_batch_op *op)
{
	struct ff3_inode *inode = op->file->inode;

	if (ff3_gathering(inode))
		ff3_gather_flush_ino(op->file->fs, inode->ino);
	ff3_board_settle(op->file->fs, inode->ino);
	ff3_inode_register_soon(inode);
	op->generation = atomic_load(&inode->generation);
	op->size = atomic_load(&inode->size);
	/* What lies beyond the known size is read at the end, in the ordinary way. */
	op->end = MIN(op->offset + op->iov.iov_len, MAX(op->size, op->offset));
}

static void start_write(struct ff3_batch_op *op)
{
	struct ff3_inode *inode = op->file->inode;
	int flags = atomic_load(&op->file->flags), r = 0;
	uint64_t offset;

	op->sync = flags & O_DSYNC;
	if (ff3_gathering(inode))
		r = ff3_gather_flush(inode);
	ff3_board_settle(op->file->fs, inode->ino);
	atomic_store(&op->file->wrote, true);
	atomic_store(&inode->uncommitted, true);
	op->size = atomic_load(&inode->size);
	ff3_inode_touch(inode);
	if (r < 0) {
		op_fail(op, r);
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

/* Room for one, or NULL. The lock is held. */
static struct ff3_batch_op *op_get(struct ff3fs_batch *b)
{
	struct ff3_batch_op *op = b->free;

	if (op)
		b->free = op->next;
	else if (b->n_made < b->room)
		op = &b->ops[b->n_made++];
	return op;
}

static int queue(struct ff3fs_batch *b, struct ff3fs_file *file, void *buf, size_t len,
		 off_t offset, void *user, bool write)
{
	struct ff3_batch_op *op;
	int r;

	len = MIN(len, (size_t)RW_COUNT_MAX);
	r = check(file, write, len, offset);
	if (r < 0)
		return r;
	ff3_batch_lock(b);
	op = op_get(b);
	if (op) {
		*op = (struct ff3_batch_op){
			.file = file,
			.user = user,
			.iov = { buf, len },
			.offset = (uint64_t)offset,
			.at = (uint64_t)offset,
			.end = (uint64_t)offset + len,
			.write = write,
		};
		atomic_fetch_add(&file->refs, 1);
		ff3_ops_add(&b->queued, op);
		b->n_outstanding++;
	}
	ff3_batch_unlock(b);
	return op ? 0 : -EAGAIN;
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
	pthread_mutex_init(&b->lock, NULL);
	memset(&b->interrupt, 0, sizeof b->interrupt);
	atomic_store(&b->arrived, NULL);
	for (size_t i = 0; i < b->n_calls; i++) {
		struct ff3_batch_piece *p = ff3_batch_piece_of(b->calls[i]);

		p->piece.started = false;
		p->piece.start_error = -ECONNRESET;
		p->piece.seq = 0;
		p->piece.call.user = &p->piece;
		piece_arrived(&p->piece.call);
	}
}

void ff3_batch_submit(struct ff3fs_batch *b)
{
	struct ff3_batch_op *op;
	bool some = false;

	after_fork(b);
	ff3_batch_lock(b);
	while ((op = ff3_ops_take(&b->queued))) {
		ff3_batch_unlock(b);
		if (op->iov.iov_len == 0)
			op->at = op->end;
		else if (op->write)
			start_write(op);
		else
			start_read(op);
		ff3_batch_lock(b);
		some |= start_pieces(b, op) || op->n_active == 0;
	}
	ff3_batch_unlock(b);
	/* Whoever reaps shall look at their connections, too. */
	if (some)
		ff3_rpc_interrupt(&b->interrupt);
}

EXPORT int ff3fs_batch_submit(struct ff3fs_batch *batch)
{
	FF3_ENTER();
	unsigned n;

	ff3_batch_submit(batch);
	ff3_batch_lock(batch);
	n = batch->n_outstanding;
	ff3_batch_unlock(batch);
	return (int)n;
}
