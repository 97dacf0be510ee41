/* Purpose: Linux AIO by libaio's symbols and by syscall(). Requests of one io_submit may name our files
 * and native ones: runs of native ones go to the kernel as they are, ours to the engine, in the
 * order given; the first bad one ends the submission, as in the kernel, and each check is made in
 * the kernel's order. See aio_ctx.c for what becomes of them. */
#include "hook.h"

#include <linux/ioprio.h>

#include "aio.h"
#include "aio_ctx.h"
#include "raw.h"

#define N_IOV_MAX 1024
#define RW_MAX 0x7ffff000ul

/* --- One request --------------------------------------------------------------------------- */

/* Could [p, p + n) be the application's at all? What is not mapped is found out later. */
static bool is_user_range(uint64_t p, uint64_t n)
{
	return (int64_t)p >= 0 && n <= (uint64_t)INT64_MAX - p;
}

/* aio_reqprio, where it counts. */
static int check_priority(const struct iocb *i)
{
	unsigned class = IOPRIO_PRIO_CLASS((uint16_t)i->aio_reqprio);

	if (!(i->aio_flags & IOCB_FLAG_IOPRIO))
		return 0;
	if (class == IOPRIO_CLASS_NONE)
		return IOPRIO_PRIO_DATA((uint16_t)i->aio_reqprio) ? -EINVAL : 0;
	if (class == IOPRIO_CLASS_RT && RAW(geteuid) != 0)
		return -EPERM;
	return class > IOPRIO_CLASS_IDLE ? -EINVAL : 0;
}

/* May o be read or written this way at all? */
static int check_file(const struct ofd *o, bool write)
{
	int accmode = o->flags & O_ACCMODE;

	if (accmode == (write ? O_RDONLY : O_WRONLY))
		return -EBADF;
	if (!write && CALL(pread, o->file, NULL, 0, 0) == -EISDIR)
		return -EINVAL;
	return 0;
}

/* The application's vector, checked and cut to what one call moves. Its total, or -EINVAL, -EFAULT. */
static ssize_t take_vector(struct aio_request *q, const struct iocb *i)
{
	size_t n = (size_t)i->aio_nbytes, sum = 0;

	if (!memory_copy_in(q->iov, (const void *)(uintptr_t)i->aio_buf, n * sizeof q->iov[0]))
		return -EFAULT;
	for (size_t k = 0; k < n; k++) {
		struct iovec *v = &q->iov[k];

		if ((ssize_t)v->iov_len < 0)
			return -EINVAL;
		if (!is_user_range((uint64_t)(uintptr_t)v->iov_base, v->iov_len))
			return -EFAULT;
		v->iov_len = MIN(v->iov_len, RW_MAX - sum);
		sum += v->iov_len;
	}
	return (ssize_t)sum;
}

static int prepare_rw(struct aio_request *q, const struct iocb *i, bool write, bool vector)
{
	struct async_op *op = &q->op;
	ssize_t sum = (ssize_t)MIN(i->aio_nbytes, RW_MAX);
	int r = check_priority(i);

	if (r == 0)
		r = rw_check_flags(op->ofd, (int)i->aio_rw_flags);
	if (r == 0)
		r = check_file(op->ofd, write);
	if (r < 0)
		return r;
	if (vector)
		sum = take_vector(q, i);
	else if (!is_user_range(i->aio_buf, i->aio_nbytes))
		sum = -EFAULT;
	if (sum < 0)
		return (int)sum;
	if (i->aio_offset < 0 || sum > INT64_MAX - i->aio_offset)
		return -EINVAL;
	op->kind = write ? ASYNC_WRITE : ASYNC_READ;
	op->one = (struct iovec){ (void *)(uintptr_t)i->aio_buf, (size_t)sum };
	op->iov = vector ? q->iov : &op->one;
	op->n_iov = vector ? (int)i->aio_nbytes : 1;
	op->offset = i->aio_offset;
	op->rwf = (int)i->aio_rw_flags & (write ? ~0 : 1);
	return 0;
}

static int prepare_sync(struct aio_request *q, const struct iocb *i)
{
	if (i->aio_buf || i->aio_offset || i->aio_nbytes || i->aio_rw_flags)
		return -EINVAL;
	q->op.kind = ASYNC_FSYNC;
	return 0;
}

static int prepare_op(struct aio_request *q, const struct iocb *i)
{
	switch (i->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
		return prepare_rw(q, i, false, false);
	case IOCB_CMD_PWRITE:
		return prepare_rw(q, i, true, false);
	case IOCB_CMD_PREADV:
		return prepare_rw(q, i, false, true);
	case IOCB_CMD_PWRITEV:
		return prepare_rw(q, i, true, true);
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC:
		return prepare_sync(q, i);
	default:
		return -EINVAL;
	}
}

/* Submissions tell the same eventfd for all their requests, as a rule. */
struct last_notify {
	int fd;
	struct aio_notify *notify;
};

static int prepare_notify(struct aio_request *q, const struct iocb *i, struct last_notify *last)
{
	int fd = (int)i->aio_resfd, r = 0;

	if (!(i->aio_flags & IOCB_FLAG_RESFD))
		return 0;
	if (!last->notify || last->fd != fd) {
		struct aio_notify *n;

		r = aio_notify_new(fd, &n);
		if (r < 0)
			return r;
		if (last->notify)
			aio_notify_unref(last->notify);
		*last = (struct last_notify){ fd, n };
	}
	q->notify = aio_notify_ref(last->notify);
	return 0;
}

/* The kernel stores its key. */
static bool store_key(struct iocb *user)
{
	const uint32_t key = 0;

	return user->aio_key == 0 || memory_copy_out(&user->aio_key, &key, sizeof key);
}

/* Takes o over in any case. */
static int prepare(struct aio_ctx *c, struct iocb *user, struct ofd *o, struct last_notify *last,
		   struct aio_request **ret)
{
	bool vector = user->aio_lio_opcode == IOCB_CMD_PREADV ||
		      user->aio_lio_opcode == IOCB_CMD_PWRITEV;
	struct iocb i = *user;
	struct aio_request *q;
	int r = 0;

	if (i.aio_reserved2 || (int64_t)i.aio_nbytes < 0 || (vector && i.aio_nbytes > N_IOV_MAX))
		r = -EINVAL;
	else if (!o->file)
		r = -EBADF;
	q = r < 0 ? NULL : calloc(1, sizeof *q + (vector ? i.aio_nbytes : 0) * sizeof q->iov[0]);
	if (!q) {
		ofd_unref(o);
		return r < 0 ? r : -EAGAIN;
	}
	q->ctx = c;
	q->op.ofd = o;
	q->op.fd = (int)i.aio_fildes;
	q->op.done = aio_request_done;
	q->event = (struct io_event){ .data = i.aio_data, .obj = (uint64_t)(uintptr_t)user };
	r = prepare_notify(q, &i, last);
	if (r == 0 && !store_key(user))
		r = -EFAULT;
	if (r == 0)
		r = prepare_op(q, &i);
	if (r < 0) {
		ofd_unref(o);
		aio_request_free(q);
		return r;
	}
	if (!(o->flags & O_DIRECT) && (q->op.kind == ASYNC_READ || q->op.kind == ASYNC_WRITE))
		aio_request_buffered(q);
	*ret = q;
	return 0;
}

/* --- io_submit ----------------------------------------------------------------------------- */

static bool iocb_readable(const struct iocb *i)
{
	return memory_readable(i) && memory_readable((const char *)(i + 1) - 1);
}

/* 1: the next request is on a file of ours, referenced in *ret; 0: native, or the kernel has to say
 * what is wrong with it. */
static int is_ours(struct iocb *const *at, struct ofd **ret)
{
	if (!memory_readable(at) || !iocb_readable(*at))
		return 0;
	/* What a poll says of a placeholder holds for the file; the others the kernel refuses. */
	switch ((*at)->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
	case IOCB_CMD_PWRITE:
	case IOCB_CMD_PREADV:
	case IOCB_CMD_PWRITEV:
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC:
		return fdtab_get((int)(*at)->aio_fildes, ret);
	}
	return 0;
}

/* The context if the kernel knows it, made by a call that we did not see. */
static struct aio_ctx *find_or_add(aio_context_t id)
{
	struct aio_ctx *c = aio_ctx_get(id);

	if (!c && RAW(io_submit, id, 0, NULL) == 0 && aio_ctx_add(id) == 0)
		c = aio_ctx_get(id);
	return c;
}

#define SOME 64

struct submission {
	struct aio_ctx *ctx;
	struct iocb *const *iocbs;
	long n, i;
	int ours;      /* is_ours of iocbs[i] */
	struct ofd *o; /* … and the file */
	struct last_notify last;
	long error; /* why it ends before n */
};

static void look(struct submission *s)
{
	s->ours = s->i < s->n ? is_ours(&s->iocbs[s->i], &s->o) : 0;
	if (s->ours < 0)
		s->error = s->ours;
}

/* A run of requests on our files, at most SOME. */
static void submit_ours(struct submission *s)
{
	unsigned room = aio_ctx_reserve(s->ctx, (unsigned)MIN(s->n - s->i, (long)SOME)), k = 0;
	struct async_op *ops[SOME];
	struct aio_request *q;

	if (room == 0)
		s->error = s->ctx->dead ? -EINVAL : -EAGAIN;
	while (k < room && s->ours > 0 && s->error == 0) {
		s->error = prepare(s->ctx, s->iocbs[s->i], TAKE_PTR(s->o), &s->last, &q);
		if (s->error < 0)
			break;
		ops[k++] = &q->op;
		s->i++;
		look(s);
	}
	if (k < room)
		aio_ctx_unreserve(s->ctx, room - k);
	if (k > 0 && async_submit(ops, k) < 0) {
		s->error = -EAGAIN;
		s->i -= k;
		aio_ctx_unreserve(s->ctx, k);
		while (k > 0) {
			ofd_unref(ops[--k]->ofd);
			aio_request_free((struct aio_request *)ops[k]);
		}
	}
}

static void submit_native(struct submission *s)
{
	long from = s->i, r;

	do {
		s->i++;
		look(s);
	} while (s->i < s->n && s->ours == 0);
	r = aio_ctx_submit_native(s->ctx, s->i - from, s->iocbs + from);
	if (r < s->i - from) {
		s->error = r < 0 ? r : -EAGAIN;
		s->i = from + MAX(r, 0l);
	}
}

static long submit_mixed(struct aio_ctx *c, long n, struct iocb *const *iocbs)
{
	struct submission s = { .ctx = c, .iocbs = iocbs, .n = n };

	look(&s);
	while (s.i < s.n && s.error == 0)
		if (s.ours)
			submit_ours(&s);
		else
			submit_native(&s);
	if (s.o)
		ofd_unref(s.o);
	if (s.last.notify)
		aio_notify_unref(s.last.notify);
	return s.i > 0 ? s.i : s.error;
}

long aio_submit(aio_context_t id, long n, struct iocb *const *iocbs)
{
	_cleanup_ctx_ struct aio_ctx *c = NULL;
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = 0;

	for (long i = 0; init_active() && i < n && ours == 0; i++) {
		if (!memory_readable(&iocbs[i]))
			break;
		ours = is_ours(&iocbs[i], &o);
	}
	if (UNLIKELY(ours != 0) && !init_is_vfork_child()) {
		c = find_or_add(id);
		return c ? submit_mixed(c, MIN(n, (long)c->room + 1), iocbs) : -EINVAL;
	}
	c = aio_ctx_get(id);
	return c ? aio_ctx_submit_native(c, n, iocbs) : RAW(io_submit, id, n, iocbs);
}

/* --- The other calls ----------------------------------------------------------------------- */

long aio_setup(unsigned n, aio_context_t *ret)
{
	long r = RAW(io_setup, n, ret);

	/* Without memory for it now, it is added when it is needed. */
	if (r == 0 && init_active() && !init_is_vfork_child())
		aio_ctx_add(*ret);
	return r;
}

long aio_destroy(aio_context_t id)
{
	struct aio_ctx *c = init_is_vfork_child() ? NULL : aio_ctx_get(id);
	bool ours = c && aio_ctx_remove(c);

	if (c)
		aio_ctx_put(c);
	return c && !ours ? -EINVAL : RAW(io_destroy, id);
}

/* On a context that has or gets requests of ours; n events are there. */
static long events_of(struct aio_ctx *c, long n, long min, long max, struct io_event *events,
		      int64_t until, const struct aio_sigset *sigset)
{
	struct aio_sigset s;

	if (!sigset)
		return aio_ctx_getevents(c, n, min, max, events, until, NULL);
	if (!memory_copy_in(&s, sigset, sizeof s))
		return -EFAULT;
	if (!s.mask)
		return aio_ctx_getevents(c, n, min, max, events, until, NULL);
	if (s.size != 8)
		return -EINVAL;
	return memory_readable(s.mask) ? aio_ctx_getevents(c, n, min, max, events, until, &s) :
					 -EFAULT;
}

static bool readable_timeout(const struct timespec *t)
{
	return memory_readable(t) && memory_readable((const char *)(t + 1) - 1);
}

long aio_pgetevents(aio_context_t id, long min, long max, struct io_event *events,
		    const struct timespec *timeout, const struct aio_sigset *sigset)
{
	_cleanup_ctx_ struct aio_ctx *c = init_active() ? aio_ctx_get(id) : NULL;
	int64_t until = AIO_FOREVER;
	long r = 0;

	if (!c)
		return sigset ? RAW(io_pgetevents, id, min, max, events, timeout, sigset) :
				RAW(io_getevents, id, min, max, events, timeout);
	if (timeout && !readable_timeout(timeout))
		return -EFAULT;
	if (timeout)
		until = aio_until(timeout);
	if (aio_ctx_native(c, min, max, events, timeout, sigset, &r))
		return r;
	return events_of(c, r, min, max, events, until, sigset);
}

long aio_getevents(aio_context_t id, long min, long max, struct io_event *events,
		   const struct timespec *timeout)
{
	return aio_pgetevents(id, min, max, events, timeout, NULL);
}

/* --- libaio's names ------------------------------------------------------------------------ */

int hook_io_setup(int n, aio_context_t *ret)
{
	return (int)aio_setup((unsigned)n, ret);
}

int hook_io_destroy(aio_context_t id)
{
	return (int)aio_destroy(id);
}

int hook_io_submit(aio_context_t id, long n, struct iocb **iocbs)
{
	return (int)aio_submit(id, n, iocbs);
}

/* libaio looks into the kernel's ring before it makes the call: so do we, where nothing else can be. */
static bool is_idle(aio_context_t id, const struct timespec *timeout)
{
	_cleanup_ctx_ struct aio_ctx *c = NULL;

	if (!timeout || !readable_timeout(timeout) || timeout->tv_sec || timeout->tv_nsec)
		return false;
	c = aio_ctx_get(id);
	return (!c || !atomic_load(&c->ours)) && aio_ring_is_empty(id);
}

int hook_io_getevents(aio_context_t id, long min, long max, struct io_event *events,
		      struct timespec *timeout)
{
	return is_idle(id, timeout) ? 0 : (int)aio_getevents(id, min, max, events, timeout);
}

int hook_io_pgetevents(aio_context_t id, long min, long max, struct io_event *events,
		       struct timespec *timeout, sigset_t *mask)
{
	struct aio_sigset sigset = { mask, 8 };

	return (int)aio_pgetevents(id, min, max, events, timeout, &sigset);
}

int hook_io_queue_init(int n, aio_context_t *ret)
{
	if (n <= 0)
		return -EINVAL;
	*ret = 0;
	return (int)aio_setup((unsigned)n, ret);
}

int hook_io_queue_release(aio_context_t id)
{
	return (int)aio_destroy(id);
}

typedef void (*io_callback)(aio_context_t, struct iocb *, long, long);

int hook_io_queue_run(aio_context_t id)
{
	struct timespec now = { 0, 0 };
	struct io_event e;
	int r;

	while ((r = hook_io_getevents(id, 0, 1, &e, &now)) == 1)
		((io_callback)(uintptr_t)e.data)(id, (struct iocb *)(uintptr_t)e.obj, (long)e.res,
						 (long)e.res2);
	return r;
}

int hook_io_queue_wait(aio_context_t id, struct timespec *timeout)
{
	return hook_io_getevents(id, 0, 0, NULL, timeout);
}

DEFINE_ALIASES(aio)
