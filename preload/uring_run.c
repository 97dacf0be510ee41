/* Purpose: executes what was taken from the applications' rings, in the order that links and IO_DRAIN
 * ask for.
 *
 * A unit (a chain, or one) starts when nothing is held before it, when no unit with IO_DRAIN is
 * running, and, if it has IO_DRAIN itself, when all before it is over; then its entries follow each
 * other. What the kernel has of the same ring counts too: how many entries it got less how many of the
 * ring's completions were its own. (Long because starting, ending and cancelling are one state machine.)
 *
 * Threads: those that submit, the engine's and the side ring's; everything about order is under the
 * ring's lock. Nothing is posted and nothing started with it held. Fork, signals: uring_ring.c. */
#include "hook.h"
#include "raw.h"
#include "syscalls.h"
#include "uring.h"

/* --- Starting one -------------------------------------------------------------------------- */

#define NOT_OURS 1
#define PENDING 2

static int file_of(struct uop *op, int fd, bool fixed, struct ofd **ret, int *ret_fd)
{
	struct uring *r = op->ring;
	int is = 0;

	if (!fixed) {
		*ret_fd = fd;
		return fdtab_get(fd, ret);
	}
	pthread_mutex_lock(&r->lock);
	if ((unsigned)fd < r->n_files && r->files[fd].ofd) {
		*ret = ofd_ref(r->files[fd].ofd);
		*ret_fd = r->files[fd].fd;
		is = 1;
	}
	pthread_mutex_unlock(&r->lock);
	return is;
}

/* A descriptor that stays what it is until op is over. */
static int pin_fd(struct uop *op, int fd, struct ofd *o)
{
	int mine = fd_copy_hidden(fd);

	if (mine < 0)
		return mine;
	fdtab_set(mine, o);
	op->own_fd = mine;
	return 0;
}

/* Lies [addr, addr + len) in a registered buffer? */
static int check_buffer(struct uop *op, uint64_t addr, size_t len)
{
	struct uring *r = op->ring;
	struct iovec b = { NULL, 0 };

	pthread_mutex_lock(&r->lock);
	if (op->sqe.buf_index < r->n_buffers)
		b = r->buffers[op->sqe.buf_index];
	pthread_mutex_unlock(&r->lock);
	if (!b.iov_base || addr < (uintptr_t)b.iov_base || len > b.iov_len ||
	    addr - (uintptr_t)b.iov_base > b.iov_len - len)
		return -EFAULT;
	return 0;
}

static int set_buffers(struct uop *op)
{
	const struct io_uring_sqe *s = &op->sqe;
	struct async_op *a = &op->async;
	bool fixed = s->opcode >= URING_OP_READV_FIXED;
	int r = 0;

	switch (s->opcode) {
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case URING_OP_READV_FIXED:
	case URING_OP_WRITEV_FIXED:
		a->iov = (const struct iovec *)(uintptr_t)s->addr;
		a->n_iov = (int)s->len;
		for (int i = 0; i < a->n_iov && fixed && r == 0; i++)
			r = check_buffer(op, (uintptr_t)a->iov[i].iov_base, a->iov[i].iov_len);
		return r;
	}
	a->one = (struct iovec){ (void *)(uintptr_t)s->addr, s->len };
	a->iov = &a->one;
	a->n_iov = 1;
	return s->opcode == IORING_OP_READ_FIXED || s->opcode == IORING_OP_WRITE_FIXED ?
		       check_buffer(op, s->addr, s->len) :
		       0;
}

static size_t asked(const struct uop *op)
{
	size_t sum = 0;

	for (int i = 0; i < op->async.n_iov; i++)
		sum += op->async.iov[i].iov_len;
	return MIN(sum, (size_t)0x7ffff000);
}

static int start_transfer(struct uop *op, enum async_kind kind)
{
	const struct io_uring_sqe *s = &op->sqe;
	struct async_op *a = &op->async;
	int fd, r = file_of(op, s->fd, s->flags & IOSQE_FIXED_FILE, &a->ofd, &fd);

	if (r <= 0)
		return r < 0 ? r : NOT_OURS;
	a->kind = kind;
	a->fd = fd;
	if (kind == ASYNC_FSYNC || kind == ASYNC_FDATASYNC)
		return PENDING;
	if (s->flags & IOSQE_BUFFER_SELECT)
		return -EOPNOTSUPP;
	a->offset = (off_t)s->off;
	a->rwf = (int)s->rw_flags;
	r = set_buffers(op);
	if (r == 0 && a->offset < -1)
		return -EINVAL;
	if (r == 0 && a->offset == -1) {
		r = pin_fd(op, fd, a->ofd);
		a->fd = op->own_fd;
	}
	return r < 0 ? r : PENDING;
}

static long as_result(long r)
{
	return r < 0 ? -errno : r;
}

static long call_by_number(struct async_op *async)
{
	struct uop *op = (struct uop *)async;
	long a[6], number = uring_as_syscall(&op->sqe, op->own_fd >= 0 ? op->own_fd : op->sqe.fd, a);

	return as_result(syscall_serve(number, a));
}

static long call_close(struct async_op *async)
{
	struct uop *op = (struct uop *)async;
	struct uring *r = op->ring;

	if (!op->sqe.file_index)
		return fd_close(op->sqe.fd);
	pthread_mutex_lock(&r->lock);
	uring_file_drop(r, op->sqe.file_index - 1);
	pthread_mutex_unlock(&r->lock);
	return 0;
}

static long call_splice(struct async_op *async)
{
	struct uop *op = (struct uop *)async;
	const struct io_uring_sqe *s = &op->sqe;
	off64_t in = (off64_t)s->splice_off_in, out = (off64_t)s->off;

	return as_result(hook_splice(s->splice_fd_in, in == -1 ? NULL : &in, s->fd,
				     out == -1 ? NULL : &out, s->len, s->splice_flags));
}

/* Into the ring's table of files, without a descriptor. */
static long call_open_direct(struct async_op *async)
{
	struct uop *op = (struct uop *)async;
	struct uring *r = op->ring;
	long fd = call_by_number(async), index;
	struct ofd *o = NULL;
	int mine;

	if (fd < 0)
		return fd;
	index = uring_send_file(op, (int)fd);
	mine = index < 0 || fdtab_get((int)fd, &o) <= 0 ? -1 : fd_copy_hidden((int)fd);
	if (mine >= 0) {
		fdtab_set(mine, o);
		pthread_mutex_lock(&r->lock);
		uring_file_put(r, op->sqe.file_index == UINT32_MAX ? (unsigned)index :
								     op->sqe.file_index - 1,
			       mine, o);
		pthread_mutex_unlock(&r->lock);
	} else if (o) {
		ofd_unref(o);
		index = mine;
	}
	fd_close((int)fd);
	return index;
}

static int start_call(struct uop *op, long (*call)(struct async_op *))
{
	op->async.kind = ASYNC_CALL;
	op->async.call = call;
	return PENDING;
}

/* A call on a descriptor. */
static int start_on_file(struct uop *op)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int fd, r = file_of(op, op->sqe.fd, op->sqe.flags & IOSQE_FIXED_FILE, &o, &fd);

	if (r <= 0)
		return r < 0 ? r : NOT_OURS;
	r = pin_fd(op, fd, o);
	return r < 0 ? r : start_call(op, call_by_number);
}

static int start_open(struct uop *op)
{
	uint64_t flags = op->sqe.opcode == IORING_OP_OPENAT2 ? op->how[0] : op->sqe.open_flags;

	if (!op->sqe.file_index)
		return start_call(op, call_by_number);
	return flags & O_CLOEXEC ? -EINVAL : start_call(op, call_open_direct);
}

/* Is the number one of a registered file, of whomever? */
static bool is_registered(struct uring *r, int fd)
{
	bool is;

	pthread_mutex_lock(&r->lock);
	is = (unsigned)fd < r->n_files;
	pthread_mutex_unlock(&r->lock);
	return is;
}

static int check_splice(struct uop *op)
{
	const struct io_uring_sqe *s = &op->sqe;
	bool in = s->splice_flags & URING_SPLICE_IN_FIXED, out = s->flags & IOSQE_FIXED_FILE;

	if ((in && !is_registered(op->ring, s->splice_fd_in)) || (out && !is_registered(op->ring, s->fd)))
		return -EBADF;
	return in || out ? -EOPNOTSUPP : 0; /* they have no descriptor that splice could take */
}

static int start_splice(struct uop *op)
{
	int r = check_splice(op);

	return r < 0 ? r : start_call(op, call_splice);
}

/* It is between pipes. */
static int start_tee(struct uop *op)
{
	int r = check_splice(op), flags = (int)RAW(fcntl, op->sqe.fd, F_GETFL);

	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	if (r == 0 && (flags < 0 || (flags & O_ACCMODE) == O_RDONLY))
		return -EBADF;
	return op->sqe.len == 0 ? 0 : -EINVAL;
}

/* PENDING: the engine is to have it. NOT_OURS. Else its error, or 0: it is over. */
static int start_ours(struct uop *op)
{
	const struct io_uring_sqe *s = &op->sqe;

	if (s->personality)
		return -EOPNOTSUPP; /* the client acts for the process's user */
	switch (s->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
	case URING_OP_READV_FIXED:
		return start_transfer(op, ASYNC_READ);
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
	case URING_OP_WRITEV_FIXED:
		return start_transfer(op, ASYNC_WRITE);
	case IORING_OP_FSYNC:
		return start_transfer(op, s->fsync_flags & IORING_FSYNC_DATASYNC ? ASYNC_FDATASYNC :
										   ASYNC_FSYNC);
	case IORING_OP_CLOSE:
		if (fdtab_is_internal(s->fd) && !s->file_index)
			return -EBADF;
		return start_call(op, call_close);
	case IORING_OP_SPLICE:
		return start_splice(op);
	case IORING_OP_TEE:
		return start_tee(op);
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		return start_open(op);
	case IORING_OP_STATX:
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_SYMLINKAT:
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
	case IORING_OP_SETXATTR:
	case IORING_OP_GETXATTR:
		return start_call(op, call_by_number);
	default:
		return start_on_file(op);
	}
}

static bool has_failed(const struct uop *op, long result)
{
	switch (op->sqe.opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
	case URING_OP_READV_FIXED:
	case URING_OP_WRITEV_FIXED:
		return result < 0 || (size_t)result != asked(op);
	case IORING_OP_SPLICE:
		return result != (long)op->sqe.len;
	default:
		return result < 0;
	}
}

static void done(struct async_op *async, long result)
{
	struct uop *op = (struct uop *)async;

	uring_run(uring_ended(op, result, has_failed(op, result)));
}

/* --- Order --------------------------------------------------------------------------------- */

static uint32_t natives_under_way(struct uring *r)
{
	uint32_t theirs = atomic_load_explicit(r->cq_tail, memory_order_acquire) - r->cq_base - r->n_posted;
	int32_t n = (int32_t)(r->n_native - theirs);

	return n > 0 ? (uint32_t)n : 0;
}

struct uop *uring_advance(struct uring *r)
{
	struct uop *first = NULL, **end = &first, *unit;

	while ((unit = r->held) && !r->barrier && !(unit->drain && r->n_units > 0)) {
		if (unit->natives_max != UINT32_MAX && natives_under_way(r) > unit->natives_max) {
			uring_side_watch(r);
			break;
		}
		r->held = unit->unit;
		if (!r->held)
			r->held_end = &r->held;
		r->n_units++;
		r->barrier = unit->drain;
		unit->head = true;
		*end = unit;
		end = &unit->work;
	}
	*end = NULL;
	return first;
}

/* What the end of op puts into the ring: itself, the timeout that watched it, and those that are
 * cancelled with it. */
struct posts {
	struct uop *first, **end;
};

static void add_post(struct posts *p, struct uop *op, bool silent)
{
	if (silent) {
		op->post_next = NULL;
		op->res = INT32_MIN;
	} else {
		op->ring->n_posted++;
	}
	op->post_next = NULL;
	*p->end = op;
	p->end = &op->post_next;
}

/* Those with nothing to tell are ended, the others posted. */
static void post(struct uop *list)
{
	struct uop *told = NULL, **end = &told;

	while (list) {
		struct uop *op = list;

		list = op->post_next;
		op->post_next = NULL;
		if (op->res == INT32_MIN) {
			uop_unpin(op);
		} else {
			*end = op;
			end = &op->post_next;
		}
	}
	uring_post_all(told);
}

static void cancel_links(struct posts *p, struct uop *op, bool quiet)
{
	for (struct uop *next; op; op = next) {
		next = op->link;
		op->res = -ECANCELED;
		add_post(p, op, quiet);
	}
}

/* The timer goes, too: it has a pin of its own. */
static void disarm(struct posts *p, struct uop *op)
{
	struct uop *timeout = TAKE_PTR(op->timeout);

	if (!timeout)
		return;
	timeout->watches = NULL;
	timeout->res = -ECANCELED;
	uring_side_remove(timeout);
	add_post(p, timeout, false);
}

struct uop *uring_ended(struct uop *op, long result, bool failed)
{
	struct uring *r = op->ring;
	struct posts p = { NULL, &p.first };
	struct uop *next = TAKE_PTR(op->link), *work = NULL;
	bool skip = op->sqe.flags & IOSQE_CQE_SKIP_SUCCESS;

	pthread_mutex_lock(&r->lock);
	uop_land(op);
	op->res = (int32_t)result;
	add_post(&p, op, skip && !failed);
	disarm(&p, op);
	if (next && failed && !(op->sqe.flags & IOSQE_IO_HARDLINK)) {
		cancel_links(&p, next, skip);
		next = NULL;
	}
	if (next) {
		next->work = NULL;
		work = next;
	} else {
		if (--r->n_units == 0)
			r->barrier = false;
		work = uring_advance(r);
	}
	pthread_mutex_unlock(&r->lock);
	post(p.first);
	return work;
}

void uring_timed_out(struct uop *timeout)
{
	struct uring *r = timeout->ring;
	bool in_time;

	pthread_mutex_lock(&r->lock);
	in_time = timeout->watches != NULL;
	if (in_time) {
		timeout->watches->timeout = NULL;
		timeout->watches = NULL;
		timeout->res = -EALREADY; /* a file's I/O is not interrupted */
		r->n_posted++;
	}
	pthread_mutex_unlock(&r->lock);
	if (in_time)
		uring_post(timeout);
}

/* An argument of one was wrong: the kernel starts none of a chain. */
static struct uop *refuse_chain(struct uop *head)
{
	struct uring *r = head->ring;
	struct posts p = { NULL, &p.first };
	struct uop *work, *next;

	pthread_mutex_lock(&r->lock);
	for (struct uop *op = head; op; op = next) {
		next = op->link;
		op->res = op->bad ? op->bad : -ECANCELED;
		add_post(&p, op, false);
	}
	if (--r->n_units == 0)
		r->barrier = false;
	work = uring_advance(r);
	pthread_mutex_unlock(&r->lock);
	post(p.first);
	return work;
}

/* --- Starting many ------------------------------------------------------------------------- */

#define BATCH 64

struct batch {
	struct async_op *ops[BATCH];
	unsigned n;
};

/* Returns what follows from those that the engine would not have. */
static struct uop *flush(struct batch *b)
{
	struct uop *work = NULL, **end = &work;
	int r = async_submit(b->ops, b->n);

	for (unsigned i = 0; i < b->n && r < 0; i++) {
		if (b->ops[i]->ofd)
			ofd_unref(TAKE_PTR(b->ops[i]->ofd));
		*end = uring_ended((struct uop *)b->ops[i], r, true);
		while (*end)
			end = &(*end)->work;
	}
	b->n = 0;
	return work;
}

static bool chain_is_bad(struct uop *op)
{
	for (; op; op = op->link)
		if (op->bad)
			return true;
	return false;
}

/* The entry after this one watches it. */
static void take_timeout(struct uop *op)
{
	struct uop *timeout = op->link;

	if (!timeout || timeout->sqe.opcode != IORING_OP_LINK_TIMEOUT)
		return;
	op->link = timeout->link;
	timeout->link = NULL;
	op->timeout = timeout;
	timeout->watches = op;
}

/* Under the lock, so that a ring that is being closed finds it there. */
static struct uop *run_natively(struct uop *op)
{
	struct uring *ring = op->ring;
	int r = -ECANCELED;

	pthread_mutex_lock(&ring->lock);
	if (ring->fd >= 0) {
		op->side = true;
		r = uring_side_run(op);
	}
	pthread_mutex_unlock(&ring->lock);
	return r < 0 ? uring_ended(op, r, true) : NULL;
}

static bool is_cancel(const struct uop *op)
{
	return op->sqe.opcode == IORING_OP_ASYNC_CANCEL || op->sqe.opcode == IORING_OP_POLL_REMOVE ||
	       op->sqe.opcode == IORING_OP_TIMEOUT_REMOVE;
}

/* What it names may be over, or in the kernel's hands: then it is not ours any more. */
static bool cancel(struct uop *op, struct uop **ret_next)
{
	struct uring *r = op->ring;
	struct uop *posts;
	long result;
	bool done;

	pthread_mutex_lock(&r->lock);
	done = uring_cancel(r, op, &result, &posts);
	pthread_mutex_unlock(&r->lock);
	post(posts);
	if (done)
		*ret_next = uring_ended(op, result, result < 0);
	return done;
}

/* Returns what is to start next because of its immediate result. */
static struct uop *start(struct uop *op, struct batch *b)
{
	struct uring *r = op->ring;
	struct uop *next;
	int result = NOT_OURS;
	bool ours, closed;

	op->work = NULL;
	if (op->head && chain_is_bad(op))
		return refuse_chain(op);
	pthread_mutex_lock(&r->lock);
	take_timeout(op);
	ours = uring_is_ours(r, &op->sqe);
	closed = r->fd < 0;
	uop_fly(op);
	pthread_mutex_unlock(&r->lock);
	/* The kernel starts nothing for a ring that is gone. */
	if (closed)
		return uring_ended(op, -ECANCELED, true);
	if (ours && is_cancel(op) && cancel(op, &next))
		return next;
	if (ours && !is_cancel(op))
		result = start_ours(op);
	if (result == NOT_OURS)
		return run_natively(op);
	if (result != PENDING) {
		if (op->async.ofd)
			ofd_unref(TAKE_PTR(op->async.ofd));
		return uring_ended(op, result, result < 0);
	}
	if (op->timeout && uring_side_timer(op->timeout) < 0)
		uring_timed_out(op->timeout);
	op->async.done = done;
	b->ops[b->n++] = &op->async;
	return b->n == BATCH ? flush(b) : NULL;
}

void uring_run(struct uop *work)
{
	struct uop **end = &work;
	struct batch b;

	b.n = 0;
	while (*end)
		end = &(*end)->work;
	while (work || b.n > 0) {
		struct uop *op = work;

		if (op) {
			work = op->work;
			if (!work)
				end = &work;
			*end = start(op, &b);
		} else {
			*end = flush(&b);
		}
		while (*end)
			end = &(*end)->work;
	}
}
