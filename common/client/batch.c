/* Purpose: batches: many reads and writes of any files under way at once, from one thread or two.
 *
 * Every operation is split into pieces as in chunk_read.c and chunk_write.c, with up to WINDOW of
 * them under way. A piece whose reply was read, by whichever thread, is pushed on a list by the
 * rpc callback; reaping takes it from there. Pieces that would make others wait (a connection is to
 * be made, or was lost) are sent by batch_slow.c. A hole and the end of the file are finished by
 * the reaping thread in the ordinary, waiting way. Small reads that are submitted together leave
 * together, one system call for each daemon.
 *
 * The ends of files that writes of one reaping moved are told to metad once per file.
 *
 * Threads: one thread submits and one reaps at a time; what they share is under batch->lock, or
 * (arrived) a list without one. A piece that was sent or arrived while the reaping thread sleeps wakes it.
 * Fork: what was under way is the parent's; the child sends its operations again. */
#include "batch.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Reads of at most this much that are queued together leave together. */
#define GATHER_MAX (64u * 1024u)

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
	TAILQ_INIT(&b->slow);
	b->queued.last = &b->queued.first;
	b->done.last = &b->done.first;
	b->settled.last = &b->settled.first;
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;
}

/* --- Pieces ---------------------------------------------------------------------------------- */

void ff3_batch_piece_came(struct ff3_batch_piece *p)
{
	struct ff3fs_batch *b = p->piece.owner;

	atomic_fetch_add(&b->n_telling, 1); /* who reaps may be done with all when p is in arrived */
	ff3_slow_came(p);
	atomic_store(&p->came, true);
	p->next = atomic_load(&b->arrived);
	while (!atomic_compare_exchange_weak(&b->arrived, &p->next, p))
		;
	ff3_rpc_interrupt(&b->interrupt);
	atomic_fetch_sub(&b->n_telling, 1);
}

/* Run by the thread that read the reply. */
static void piece_arrived(struct ff3_rpc_call *call)
{
	ff3_batch_piece_came(ff3_batch_piece_of(call));
}

/* The lock is held. */
static struct ff3_batch_piece *piece_get(struct ff3fs_batch *b)
{
	struct ff3_batch_piece *p = b->spare;

	if (p)
		b->spare = p->next;
	return p ? p : malloc(sizeof *p);
}

/* The lock is held. */
static void piece_put(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	p->next = b->spare;
	b->spare = p;
}

/* A place in calls for one more piece. The lock is held. */
static int calls_make_room(struct ff3fs_batch *b)
{
	size_t size = MAX(b->size_calls * 2, (size_t)64);
	struct ff3_rpc_call **calls;

	if (b->n_pieces < b->size_calls)
		return 0;
	calls = realloc(b->calls, size * sizeof(*calls));
	if (!calls)
		return -ENOMEM;
	b->calls = calls;
	b->size_calls = size;
	return 0;
}

/* The lock is held. */
void ff3_batch_calls_add(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	p->slot = b->n_calls;
	b->calls[b->n_calls++] = &p->piece.call;
	atomic_store(&p->linked, true);
}

void ff3_batch_calls_remove(struct ff3fs_batch *b, struct ff3_batch_piece *p)
{
	struct ff3_rpc_call *last = b->calls[--b->n_calls];

	b->calls[p->slot] = last;
	ff3_batch_piece_of(last)->slot = p->slot;
}

/* --- Sending; without the lock ------------------------------------------------------------- */

/* r: of starting it. Who reaps is woken unless it receives there. */
static void started(struct ff3fs_batch *b, struct ff3_batch_piece *p, int r)
{
	const struct ff3_rpc_conn *conn = p->piece.call.conn;

	p->piece.started = r == 0;
	p->piece.start_error = r;
	if (r < 0) {
		ff3_slow_came(p);
		/* Not sent, and nothing went wrong. */
		ff3_slow_put(p, r == -EAGAIN ? -ENOTCONN : r);
		return;
	}
	ff3_batch_lock(b);
	ff3_batch_calls_add(b, p);
	ff3_batch_unlock(b);
	if (!ff3_rpc_is_received(conn, &b->interrupt))
		ff3_rpc_interrupt(&b->interrupt);
}

/* Sends what gathered for one peer. */
static void send_gathered(struct ff3fs_batch *b, struct ff3_gathered *g)
{
	struct ff3_rpc_call *calls[FF3_RPC_MANY];
	int r;

	for (unsigned i = 0; i < g->n; i++) {
		calls[i] = &g->pieces[i]->piece.call;
		ff3_slow_sent(g->pieces[i]);
	}
	r = g->n == 1 ? ff3_rpc_start(g->peer->rpc, calls[0]) :
			ff3_rpc_start_many(g->peer->rpc, calls, g->n);
	for (unsigned i = 0; i < g->n; i++)
		started(b, g->pieces[i], r);
	g->n = 0;
	g->peer = NULL;
}

static void send_all_gathered(struct ff3fs_batch *b, struct ff3_gathering *gathering)
{
	for (unsigned i = 0; i < FF3_GATHERED_PEERS; i++)
		if (gathering->at[i].n > 0)
			send_gathered(b, &gathering->at[i]);
}

static void gather(struct ff3fs_batch *b, struct ff3_gathering *gathering,
		   struct ff3_batch_piece *p)
{
	struct ff3_peer *peer = p->piece.route.peer;
	struct ff3_gathered *g = NULL;

	for (unsigned i = 0; i < FF3_GATHERED_PEERS && !(g && g->peer == peer); i++)
		if (gathering->at[i].peer == peer || (!g && !gathering->at[i].peer))
			g = &gathering->at[i];
	if (!g) {
		g = &gathering->at[(uintptr_t)peer / sizeof *peer % FF3_GATHERED_PEERS];
		send_gathered(b, g);
	}
	g->peer = peer;
	g->pieces[g->n++] = p;
	if (g->n == FF3_RPC_MANY)
		send_gathered(b, g);
}

/* gathering: small reads may wait there; or NULL. */
static void send_piece(struct ff3fs_batch *b, struct ff3_batch_piece *p,
		       struct ff3_gathering *gathering)
{
	int r = ff3_piece_prepare(&p->piece);

	if (r == 0 && ff3_slow_is_due(p->piece.route.peer))
		r = -ENOTCONN;
	if (r == 0 && gathering && !p->op->write && p->piece.length <= GATHER_MAX) {
		gather(b, gathering, p);
		return;
	}
	if (r == 0) {
		ff3_slow_sent(p);
		r = ff3_rpc_start(p->piece.route.peer->rpc, &p->piece.call);
	}
	started(b, p, r);
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
	r = ff3_piece_take(p, &c);
	if (r < 0)
		ff3_pool_put(fs, TAKE_PTR(p->data), p->length);
	return r;
}

/* Makes p the piece of op at `at` and sends it. Negative: it is none. */
static int start_piece(struct ff3fs_batch *b, struct ff3_batch_op *op, struct ff3_batch_piece *p,
		       uint64_t at, uint32_t len, struct ff3_gathering *gathering)
{
	int r = 0;

	p->op = op;
	p->out = NULL;
	p->since_ns = ff3_boottime_ns();
	p->retry = (struct ff3_retry){ 0 };
	p->cause = p->failed = 0;
	atomic_store(&p->linked, false);
	atomic_store(&p->came, false);
	ff3_piece_init(&p->piece, op->file->inode,
		       op->write ? FF3_OP_chunk_write : FF3_OP_chunk_read, at, len);
	p->piece.owner = b;
	p->piece.no_wait = true;
	p->piece.call.done = piece_arrived;
	p->piece.call.user = &p->piece;
	if (op->write)
		r = fill_write(op, &p->piece, at);
	else
		p->piece.one = (struct iovec){ (char *)op->iov.iov_base + (at - op->offset), len };
	if (r == 0)
		send_piece(b, p, gathering);
	return r;
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
static bool start_pieces(struct ff3fs_batch *b, struct ff3_batch_op *op,
			 struct ff3_gathering *gathering)
{
	struct ff3_batch_piece *p;
	bool some = false;

	if (op->starting)
		return false;
	op->starting = true;
	op->n_active++;
	while (op->at < op->end && op->n_active <= WINDOW) {
		uint64_t at = op->at;
		uint32_t len = ff3_piece_span(op->file->inode, at, op->end - at);
		int r = calls_make_room(b);

		p = r == 0 ? piece_get(b) : NULL;
		if (p) {
			op->at += len;
			op->n_active++;
			b->n_pieces++;
			ff3_batch_unlock(b);
			r = start_piece(b, op, p, at, len, gathering);
			ff3_batch_lock(b);
			if (r < 0) {
				piece_put(b, p);
				b->n_pieces--;
				op->n_active--;
			}
			some = true;
		} else if (r == 0) {
			r = -ENOMEM;
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
	ff3_batch_calls_remove(b, p);
	b->n_pieces--;
	piece_put(b, p);
	if (r < 0)
		op_fail(op, r);
	if (op->at < op->end)
		start_pieces(b, op, NULL); /* it is not done yet: this piece is still counted */
	op_less(b, op);
	ff3_batch_unlock(b);
}

static void start_read(struct ff3_batch_op *op)
{
	struct ff3_cursor c = { &op->iov, 1, 0 };
	struct ff3_inode *inode = op->file->inode;
	ssize_t hot;

	if (ff3_gathering(inode))
		ff3_gather_flush_ino(op->file->fs, inode->ino);
	ff3_board_settle(op->file->fs, inode->ino);
	ff3_inode_register_soon(inode);
	op->generation = atomic_load(&inode->generation);
	op->size = atomic_load(&inode->size);
	hot = ff3_hot_read(inode, &c, op->iov.iov_len, op->offset, false);
	if (hot < 0 || (size_t)hot == op->iov.iov_len) {
		op->result = hot;
		op->settled = true;
		op->at = op->end;
		return;
	}
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
			.write = write && len > 0, /* of nothing: the file does not grow either */
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
	struct ff3_batch_piece *p;

	if (b->fork_epoch == b->fs->fork_epoch)
		return;
	b->fork_epoch = b->fs->fork_epoch;
	atomic_store(&b->n_telling, 0); /* those threads are the parent's */
	pthread_mutex_init(&b->lock, NULL);
	memset(&b->interrupt, 0, sizeof b->interrupt);
	atomic_store(&b->arrived, NULL);
	while ((p = TAILQ_FIRST(&b->slow))) {
		TAILQ_REMOVE(&b->slow, p, slow_link);
		ff3_batch_calls_add(b, p);
	}
	for (size_t i = 0; i < b->n_calls; i++) {
		p = ff3_batch_piece_of(b->calls[i]);
		p->piece.started = false;
		p->piece.start_error = -ECONNRESET;
		p->piece.seq = 0;
		p->piece.call.user = &p->piece;
		p->failed = 0;
		p->out = NULL;
		ff3_batch_piece_came(p);
	}
}

void ff3_batch_submit(struct ff3fs_batch *b)
{
	struct ff3_gathering gathering;
	struct ff3_batch_op *op;
	bool some = false;

	for (unsigned i = 0; i < FF3_GATHERED_PEERS; i++)
		gathering.at[i].n = 0, gathering.at[i].peer = NULL;
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
		start_pieces(b, op, &gathering);
		some |= op->n_active == 0;
	}
	ff3_batch_unlock(b);
	send_all_gathered(b, &gathering);
	/* Those that are done already. */
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
