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
	struct ff3_batch_piece *p = (struct ff3_batch_piece *)piece;

	p->next = atomic_load(&b->arrived);
	while (!atomic_compare_exchange_weak(&b->arrived, &p->next, p))
		;
}

static struct ff3_batch_piece *piece_get(struct ff3fs_batch *b)
{
	struct ff3_batch_piece *p = b->spare;

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

void ff3_batch_piece_put(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	p->next = b->spare;
	b->spare = p;
}

static void calls_add(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	p->slot = b->n_calls;
	b->calls[b->n_calls++] = &p->piece.call;
}

/* The data of a write piece: a copy, as in chunk_write.c. */
static int fill_write(struct ff3_batch_op *op, struct ff3_piece *p)
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
static int start_piece(struct ff3fs_batch *b, struct ff3_batch_op *op)
{
	struct ff3_inode *inode = op->file->inode;
	struct ff3_batch_piece *p = piece_get(b);
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
		ff3_batch_piece_put(b, p);
		return r;
	}
	op->at += p->piece.length;
	op->n_active++;
	p->piece.call.user = &p->piece; /* before the start: after it, its reply may have come */
	ff3_piece_start(&p->piece);
	calls_add(b, p);
	/* Never sent: it is finished like one that came back with an error. */
	if (p->piece.start_error < 0)
		piece_arrived(&p->piece.call);
	return 0;
}

/* --- Operations ------------------------------------------------------------------------------ */

void ff3_op_fail(struct ff3_batch_op *op, int r)
{
	if (!op->settled || op->result >= 0)
		op->result = r;
	op->settled = true;
	op->at = op->end; /* start no more of it */
}

void ff3_batch_continue(struct ff3fs_batch *b, struct ff3_batch_op *op)
{
	while (op->at < op->end && op->n_active < WINDOW) {
		int r = start_piece(b, op);

		if (r < 0)
			ff3_op_fail(op, r);
	}
	if (op->n_active == 0)
		ff3_ops_add(&b->done, op);
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
		ff3_op_fail(op, r);
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
	struct ff3_batch_op *op = b->free;
	int r;

	len = MIN(len, (size_t)RW_COUNT_MAX);
	r = check(file, write, len, offset);
	if (r < 0)
		return r;
	if (!op)
		return -EAGAIN;
	b->free = op->next;
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

	after_fork(b);
	while ((op = ff3_ops_take(&b->queued))) {
		if (op->iov.iov_len == 0)
			op->at = op->end;
		else if (op->write)
			start_write(op);
		else
			start_read(op);
		ff3_batch_continue(b, op);
	}
}

EXPORT int ff3fs_batch_submit(struct ff3fs_batch *batch)
{
	FF3_ENTER();

	ff3_batch_submit(batch);
	return (int)batch->n_outstanding;
}
