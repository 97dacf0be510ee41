/* Purpose: striped reads. A read is split at chunk borders; up to WINDOW pieces are under way over
 * all chains, each landing in the application's buffer; they are waited for in order.
 *
 * The end of the file: what lies inside the known size is read without asking metad. If the read
 * reaches beyond, metad is asked for the size while the data travel.
 *
 * A piece that comes short is a hole, or the file was cut. Both read as zeros at first; then metad
 * is asked: if the generation is still the one known before the read, nothing was cut and the
 * zeros are right. Otherwise the read is repeated from there with the new size.
 *
 * Threads: any; no lock is taken. */
#include "internal.h"

struct reader {
	struct ff3_inode *inode;
	struct ff3_cursor c;    /* next to be started */
	struct ff3_cursor done; /* behind the pieces that are complete */
	uint64_t offset, end;   /* to be started */
	uint64_t complete;      /* offset up to which pieces are complete */
	uint64_t first_short;   /* UINT64_MAX: none */
	struct ff3_retry retry;
};

/* A piece and, if its memory is scattered, its iovecs. */
struct slot {
	struct ff3_piece piece;
	struct iovec *iov;
};

static int start_next(struct reader *rd, struct slot *s)
{
	uint32_t len = ff3_piece_span(rd->inode, rd->offset, rd->end - rd->offset);
	struct iovec *iov = &s->piece.one;
	int max = 1, n;
	size_t taken;

	/* The usual case is one buffer. */
	if (rd->c.n > 1 && !s->iov) {
		s->iov = malloc(PIECE_IOV_MAX * sizeof *s->iov);
		if (!s->iov)
			return -ENOMEM;
	}
	ff3_piece_init(&s->piece, rd->inode, FF3_OP_chunk_read, rd->offset, len);
	if (s->iov) {
		iov = s->iov;
		max = PIECE_IOV_MAX;
	}
	taken = ff3_cursor_take(&rd->c, len, iov, max, &n);
	if (taken == 0)
		return -EINVAL;
	s->piece.length = (uint32_t)taken;
	s->piece.iov = iov;
	s->piece.n_iov = n;
	rd->offset += taken;
	ff3_piece_start(&s->piece);
	return 0;
}

static int finish(struct reader *rd, struct slot *s)
{
	struct ff3_piece *p = &s->piece;
	int r;

	do {
		r = ff3_piece_wait(p, &rd->retry);
		if (r < 0)
			return r;
		rd->retry = (struct ff3_retry){ 0 }; /* progress: the time-out begins anew */
		/* The daemon restarted without our unsynced bytes: they were sent again. */
		if (UNLIKELY(ff3_hold_check_read(rd->inode, p)))
			ff3_piece_start(p);
	} while (p->started || p->start_error < 0);

	ff3_cursor_skip(&rd->done, p->got);
	if (p->got < p->length) {
		if (rd->first_short == UINT64_MAX)
			rd->first_short = rd->complete;
		r = ff3_cursor_zero(&rd->done, p->length - p->got);
	}
	rd->complete += p->length;
	return r;
}

/* Several pieces, in a ring. */
static int read_many(struct reader *rd)
{
	struct slot *slots = calloc(WINDOW, sizeof *slots);
	uint64_t head = 0, tail = 0;
	int r = slots ? 0 : -ENOMEM;

	while (r == 0 && (rd->offset < rd->end || head < tail)) {
		/* After one that found no memory, those before it come first: they have it. */
		bool room = tail - head < WINDOW &&
			    (tail == head || slots[(tail - 1) % WINDOW].piece.start_error != -ENOMEM);

		if (rd->offset < rd->end && room) {
			r = start_next(rd, &slots[tail % WINDOW]);
			if (r == 0)
				tail++;
		} else {
			r = finish(rd, &slots[head % WINDOW]);
			head++;
		}
	}
	for (; head < tail; head++)
		ff3_piece_abandon(&slots[head % WINDOW].piece);
	for (unsigned i = 0; slots && i < WINDOW; i++)
		free(slots[i].iov);
	free(slots);
	return r;
}

static int read_one(struct reader *rd)
{
	struct slot slot;
	int r;

	slot.iov = NULL;
	r = start_next(rd, &slot);
	if (LIKELY(r == 0))
		r = finish(rd, &slot);
	if (r == 0 && rd->offset < rd->end)
		r = read_many(rd);
	free(slot.iov);
	return r;
}

/* The question for the size that travels beside the data. */
struct question {
	struct ff3_rpc_call call;
	uint8_t body[64], reply[512];
	bool asked;
};

static void ask_size(struct ff3_inode *inode, struct question *q)
{
	struct ff3_req_lookup req = { .at = { .dir = inode->ino } };

	memset(&q->call, 0, sizeof q->call);
	q->call.op = FF3_OP_lookup;
	q->call.body = q->body;
	q->call.body_len = ff3_encode_req_lookup(q->body, sizeof q->body, &req);
	q->call.reply = q->reply;
	q->call.reply_size = sizeof q->reply;
	q->asked = ff3_rpc_group_start(inode->fs->meta.group, &q->call) == 0;
}

static int hear_size(struct ff3_inode *inode, struct question *q)
{
	struct ff3_rpc_call *call = &q->call;
	struct ff3_rep_lookup rep;

	if (q->asked) {
		ff3_rpc_group_wait(inode->fs->meta.group, call,
				   ff3_boottime_ns() + inode->fs->timeout_ns);
		if (call->status == 0 &&
		    ff3_decode_rep_lookup(call->reply, call->reply_len, &rep) == 0 &&
		    call->instance == atomic_load(&inode->fs->meta.instance)) {
			ff3_inode_learn(inode, &rep.attr);
			return 0;
		}
	}
	/* The connection was lost, or metad is a new one: the slow way. */
	return ff3_inode_refresh(inode, NULL);
}

static void unask_size(struct question *q)
{
	struct ff3_rpc_call *call = &q->call;

	if (q->asked)
		ff3_rpc_wait(&call, 1, FF3_RPC_NOW);
}

/* Reads inside the known size. Returns where valid bytes end: end, or less after a cut. */
static int read_known(struct reader *rd, uint64_t generation, bool beyond)
{
	struct question q;
	/* Then it is looked at after the data, which costs nothing. */
	bool leased = beyond && ff3_lease_covers(rd->inode);
	int r;

	if (UNLIKELY(beyond && !leased))
		ask_size(rd->inode, &q);
	if (LIKELY(rd->end - rd->offset <= PIECE_MAX))
		r = read_one(rd);
	else
		r = read_many(rd);
	if (UNLIKELY(r < 0)) {
		if (beyond && !leased)
			unask_size(&q);
		return r;
	}
	if (UNLIKELY(beyond))
		r = leased ? ff3_inode_refresh(rd->inode, NULL) : hear_size(rd->inode, &q);
	if (LIKELY(rd->first_short == UINT64_MAX) || r < 0)
		return r;
	/* Asked after the data came, or the answer says nothing about them. */
	r = ff3_inode_refresh(rd->inode, NULL);
	if (r < 0)
		return r;
	if (atomic_load(&rd->inode->generation) == generation) {
		rd->complete = MIN(rd->complete, MAX(atomic_load(&rd->inode->size), rd->first_short));
		return 0;
	}
	rd->complete = rd->first_short;
	return 0;
}

ssize_t ff3_read(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset)
{
	uint64_t from = offset, wanted = MIN(offset + len, FF3_FILE_SIZE_MAX);
	int r;

	while (offset < wanted) {
		uint64_t generation = atomic_load_explicit(&inode->generation,
							   memory_order_acquire);
		uint64_t size = atomic_load_explicit(&inode->size, memory_order_acquire);
		struct reader rd = {
			.inode = inode,
			.c = c,
			.done = c,
			.offset = offset,
			.end = MIN(wanted, size),
			.complete = offset,
			.first_short = UINT64_MAX,
		};

		if (offset >= size) {
			r = ff3_inode_refresh(inode, NULL);
			if (r < 0)
				return offset > from ? (ssize_t)(offset - from) : r;
			if (offset >= atomic_load(&inode->size))
				break;
			continue;
		}
		r = read_known(&rd, generation, wanted > size);
		if (UNLIKELY(r < 0))
			return r;
		ff3_cursor_skip(&c, rd.complete - offset);
		offset = rd.complete;
		/* At the known end, and metad has just said that there is no more. */
		if (offset >= size && offset < wanted && atomic_load(&inode->size) <= offset)
			break;
	}
	return (ssize_t)(offset - from);
}
