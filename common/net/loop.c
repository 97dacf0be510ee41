/* Purpose: the event loop of loop.h over one io_uring.
 *
 * A turn: completions, work posted by other threads, timers, deferred work, the idle hook, work for
 * the end of the turn; then one system call submits everything and waits. The ring is made
 * disabled, so that one thread can prepare a loop which another will run, and still be
 * SINGLE_ISSUER: the kernel takes the thread that enables it as the only issuer. Operations
 * prepared before that sit in the submission queue.
 *
 * Threads: see loop.h. `posted` and `stop` are the only members that other threads touch; posted
 * is a lock-free stack, emptied whole and reversed, and the eventfd is written only by the thread
 * that found it empty.
 * This file is long because everything in it works on the one struct that nobody else may see.
 * Fork/signal: not to be used in a forked child. ff3_loop_stop is async-signal-safe. */
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "addr.h"
#include "loop_priv.h"
#include "spin.h"

#define DEFAULT_ENTRIES 512u
#define CQ_FACTOR 4u
/* So many turns at most, while requests go on to come, before the kernel is told what they need: reads from disk that
 * are submitted together cost a disk, and a hypervisor, less. */
#define PUT_OFF_MAX 16u

struct work_list {
	struct ff3_work *first, **last;
};

struct ff3_loop {
	struct io_uring ring;
	bool disabled;
	bool running;
	uint64_t turns;
	uint64_t now_ns; /* when the turn began */

	/* Entries that found the submission queue full, oldest first. */
	struct io_uring_sqe *backlog;
	size_t n_backlog, backlog_size;

	int event_fd;
	uint64_t event_value;
	struct ff3_io event_io;
	_Atomic(struct ff3_work *) posted;
	struct work_list due; /* what was posted, as far as the loop has taken it */
	atomic_bool stop;

	struct ff3_timer timers; /* ring of armed timers, earliest first */
	struct ff3_io timeout_io;
	uint64_t timeout_ns; /* when the ring's timeout fires; 0: there is none */
	struct __kernel_timespec timeout;
	struct work_list deferred, at_end;
	bool bells; /* that are not submitted yet */
	void (*idle)(void *arg);
	void *idle_arg;
	struct ff3_poller *poller; /* NULL: none */
	int near_fd; /* of ff3_loop_near since the last wait; or -1 */
	struct ff3_spinner spinner; /* for that */
	unsigned n_put_off; /* turns since the kernel was last told */

	struct ff3_loop_files files;
};

static void work_list_init(struct work_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void work_list_add(struct work_list *l, struct ff3_work *w)
{
	w->next = NULL;
	*l->last = w;
	l->last = &w->next;
}

static void work_list_remove(struct work_list *l, struct ff3_work *w)
{
	struct ff3_work **at = &l->first;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = w->next;
	if (!*at)
		l->last = at;
}

/* Runs what is in the list now; what is added meanwhile stays. */
static void work_list_run(struct work_list *l)
{
	struct ff3_work *w = l->first, *next;

	work_list_init(l);
	for (; w; w = next) {
		next = w->next;
		w->fn(w);
	}
}

static int ring_init(struct ff3_loop *loop, unsigned entries)
{
	static const unsigned modes[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
			IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(modes) && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = modes[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = entries * CQ_FACTOR,
		};

		r = io_uring_queue_init_params(entries, &loop->ring, &p);
		loop->disabled = r == 0 && (modes[i] & IORING_SETUP_R_DISABLED);
	}
	if (r < 0)
		return r;
	if (!(loop->ring.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(&loop->ring);
		return -EOPNOTSUPP;
	}
	io_uring_ring_dontfork(&loop->ring);
	return 0;
}

static void arm_event(struct ff3_loop *loop)
{
	ff3_loop_read(loop, loop->event_fd, &loop->event_value, sizeof loop->event_value, 0,
		      &loop->event_io);
}

static void on_event(struct ff3_io *io, int res)
{
	/* What was posted is run by every turn; the event only ends the sleep. */
	arm_event(CONTAINER_OF(io, struct ff3_loop, event_io));
}

static void on_timeout(struct ff3_io *io, int res)
{
	/* Timers are looked at in every turn; this only ended the sleep. */
	CONTAINER_OF(io, struct ff3_loop, timeout_io)->timeout_ns = 0;
}

int ff3_loop_new(unsigned entries, struct ff3_loop **ret)
{
	_cleanup_close_ int event_fd = eventfd(0, EFD_CLOEXEC);
	_cleanup_free_ struct ff3_loop *loop = calloc(1, sizeof *loop);
	int r;

	if (event_fd < 0)
		return -errno;
	if (!loop)
		return -ENOMEM;
	r = ring_init(loop, entries ? entries : DEFAULT_ENTRIES);
	if (r < 0)
		return r;
	loop->event_fd = TAKE_FD(event_fd);
	loop->near_fd = -1;
	loop->event_io.fn = on_event;
	loop->timeout_io.fn = on_timeout;
	loop->timers.next = loop->timers.prev = &loop->timers;
	work_list_init(&loop->due);
	work_list_init(&loop->deferred);
	work_list_init(&loop->at_end);
	arm_event(loop);
	*ret = TAKE_PTR(loop);
	return 0;
}

void ff3_loop_free(struct ff3_loop *loop)
{
	if (!loop)
		return;
	if (loop->poller)
		loop->poller->free(loop->poller);
	ff3_loop_lent_forget(loop);
	io_uring_queue_exit(&loop->ring);
	close(loop->event_fd);
	free(loop->files.slot_of_fd);
	free(loop->backlog);
	free(loop);
}

uint64_t ff3_loop_turns(const struct ff3_loop *loop)
{
	return loop->turns;
}

uint64_t ff3_loop_now_ns(const struct ff3_loop *loop)
{
	return loop->now_ns;
}

bool ff3_loop_is_running(const struct ff3_loop *loop)
{
	return loop->running;
}

void ff3_loop_set_idle(struct ff3_loop *loop, void (*hook)(void *arg), void *arg)
{
	loop->idle = hook;
	loop->idle_arg = arg;
}

/* --- Work ---------------------------------------------------------------------------------- */

static void wake(struct ff3_loop *loop)
{
	static const uint64_t one = 1;
	int saved = errno;

	/* Fails only with EAGAIN, when the counter is full: then it is awake anyway. */
	(void)!write(loop->event_fd, &one, sizeof one);
	errno = saved;
}

void ff3_loop_stop(struct ff3_loop *loop)
{
	atomic_store(&loop->stop, true);
	wake(loop);
}

void ff3_loop_post(struct ff3_loop *loop, struct ff3_work *w)
{
	struct ff3_work *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);

	do
		w->next = head;
	while (!atomic_compare_exchange_weak(&loop->posted, &head, w));
	if (!head)
		wake(loop);
}

static void take_posted(struct ff3_loop *loop)
{
	struct ff3_work *stack, *fifo = NULL, *next;

	if (!atomic_load_explicit(&loop->posted, memory_order_relaxed))
		return;
	stack = atomic_exchange(&loop->posted, NULL);
	for (; stack; stack = next) {
		next = stack->next;
		stack->next = fifo;
		fifo = stack;
	}
	for (; fifo; fifo = next) {
		next = fifo->next;
		work_list_add(&loop->due, fifo);
	}
}

static void run_posted(struct ff3_loop *loop)
{
	struct ff3_work *w;

	take_posted(loop);
	while ((w = loop->due.first)) {
		work_list_remove(&loop->due, w);
		w->fn(w);
	}
}

void ff3_loop_unpost(struct ff3_loop *loop, struct ff3_work *w)
{
	take_posted(loop);
	work_list_remove(&loop->due, w);
}

void ff3_loop_defer(struct ff3_loop *loop, struct ff3_work *w)
{
	work_list_add(&loop->deferred, w);
}

void ff3_loop_defer_end(struct ff3_loop *loop, struct ff3_work *w)
{
	work_list_add(&loop->at_end, w);
}

/* --- Timers -------------------------------------------------------------------------------- */

void ff3_loop_timer_cancel(struct ff3_loop *loop, struct ff3_timer *t)
{
	if (t->due_ns == 0)
		return;
	t->prev->next = t->next;
	t->next->prev = t->prev;
	t->due_ns = 0;
}

void ff3_loop_timer_arm(struct ff3_loop *loop, struct ff3_timer *t, uint64_t delay_ns)
{
	struct ff3_timer *after;

	ff3_loop_timer_cancel(loop, t);
	after = loop->timers.prev;
	t->due_ns = ff3_boottime_ns() + delay_ns;
	/* Most timers are armed with similar delays: the place is near the end. */
	while (after != &loop->timers && after->due_ns > t->due_ns)
		after = after->prev;
	t->prev = after;
	t->next = after->next;
	after->next->prev = t;
	after->next = t;
}

static void run_timers(struct ff3_loop *loop)
{
	while (loop->timers.next != &loop->timers && loop->timers.next->due_ns <= loop->now_ns) {
		struct ff3_timer *t = loop->timers.next;

		ff3_loop_timer_cancel(loop, t);
		t->fn(t);
	}
}

/* Keeps one timeout in the ring, for the earliest timer. A timeout given to every wait would cost
 * each turn the kernel's setting and taking back of a timer. */
static void arm_timeout(struct ff3_loop *loop)
{
	const unsigned flags = IORING_TIMEOUT_ABS | IORING_TIMEOUT_BOOTTIME;
	uint64_t due = loop->timers.next->due_ns;
	struct io_uring_sqe *sqe;

	if (loop->timers.next == &loop->timers || (loop->timeout_ns && loop->timeout_ns <= due))
		return;
	sqe = ff3_loop_sqe(loop);
	loop->timeout = (struct __kernel_timespec){ .tv_sec = (int64_t)(due / FF3_NSEC_PER_SEC),
						    .tv_nsec = (long long)(due % FF3_NSEC_PER_SEC) };
	if (loop->timeout_ns) {
		/* If it just fired instead, its completion comes, and then the next turn arms. */
		io_uring_prep_timeout_update(sqe, &loop->timeout,
					     (uint64_t)(uintptr_t)&loop->timeout_io, flags);
		ff3_loop_sqe_done(sqe, NULL);
	} else {
		io_uring_prep_timeout(sqe, &loop->timeout, 0, flags);
		ff3_loop_sqe_done(sqe, &loop->timeout_io);
	}
	loop->timeout_ns = due;
}

/* --- Submitting and completing ------------------------------------------------------------- */

static void flush_backlog(struct ff3_loop *loop)
{
	size_t n = 0;
	struct io_uring_sqe *sqe;

	while (n < loop->n_backlog && (sqe = io_uring_get_sqe(&loop->ring)))
		*sqe = loop->backlog[n++];
	if (n == 0)
		return;
	loop->n_backlog -= n;
	memmove(loop->backlog, loop->backlog + n, loop->n_backlog * sizeof *loop->backlog);
}

struct io_uring_sqe *ff3_loop_sqe(struct ff3_loop *loop)
{
	struct io_uring_sqe *sqe = NULL;

	if (loop->n_backlog == 0) {
		sqe = io_uring_get_sqe(&loop->ring);
		if (!sqe && !loop->disabled && io_uring_submit(&loop->ring) > 0)
			sqe = io_uring_get_sqe(&loop->ring);
	}
	if (sqe)
		return sqe;
	if (loop->n_backlog == loop->backlog_size) {
		size_t size = MAX(loop->backlog_size * 2, (size_t)64);
		void *p = realloc(loop->backlog, size * sizeof *loop->backlog);

		/* An operation may not be lost, and there is nobody to tell: callers have no error. */
		if (!p)
			abort();
		loop->backlog = p;
		loop->backlog_size = size;
	}
	return &loop->backlog[loop->n_backlog++];
}

void ff3_loop_poll(struct ff3_loop *loop, int fd, struct ff3_io *io)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(loop);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	ff3_loop_sqe_done(sqe, io);
}

struct io_uring *ff3_loop_ring(struct ff3_loop *loop)
{
	return &loop->ring;
}

struct ff3_loop_files *ff3_loop_files(struct ff3_loop *loop)
{
	return &loop->files;
}

void ff3_loop_submit(struct ff3_loop *loop)
{
	if (!loop->disabled)
		io_uring_submit(&loop->ring);
}

bool ff3_loop_ring_bell(struct ff3_loop *loop, int fd)
{
	struct io_uring_sqe *sqe;

	if (!loop->running || !(loop->ring.features & IORING_FEAT_CQE_SKIP) || loop->n_backlog > 0)
		return false;
	sqe = io_uring_get_sqe(&loop->ring);
	if (!sqe)
		return false;
	/* A full socket has bytes that were not read: it wakes as well. */
	io_uring_prep_send(sqe, fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data(sqe, NULL);
	loop->bells = true;
	return true;
}

void ff3_loop_bells_out(struct ff3_loop *loop)
{
	if (loop->bells && io_uring_sq_ready(&loop->ring) > 0)
		(void)io_uring_submit(&loop->ring);
	loop->bells = false;
}

static void run_completions(struct ff3_loop *loop)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&loop->ring, head, cqe) {
		struct ff3_io *io = io_uring_cqe_get_data(cqe);

		n++;
		if (!io)
			continue;
		io->cqe_flags = cqe->flags;
		io->fn(io, cqe->res);
	}
	io_uring_cq_advance(&loop->ring, n);
}

/* The kernel has to do the last step of some operations, by this thread. */
static bool has_task_work(const struct ff3_loop *loop)
{
	return IO_URING_READ_ONCE(*loop->ring.sq.kflags) & IORING_SQ_TASKRUN;
}

static int submit(struct ff3_loop *loop, bool wait)
{
	struct io_uring_cqe *cqe;
	int r;

	arm_timeout(loop);
	flush_backlog(loop);
	if (loop->n_backlog > 0)
		wait = false;
	loop->turns++;
	if (wait)
		r = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, NULL, NULL);
	else
		r = io_uring_submit_and_get_events(&loop->ring);
	/* Who is woken gets one completion, of all that came together; what the others cause belongs to the same turn. */
	if (wait && has_task_work(loop))
		(void)io_uring_get_events(&loop->ring);
	loop->bells &= io_uring_sq_ready(&loop->ring) > 0;
	loop->now_ns = ff3_boottime_ns();
	/* EBUSY, EAGAIN: the kernel is short of memory or the completion queue overflowed; what
	 * was not taken stays in the queue and is submitted again by the next turn. */
	return r == -ETIME || r == -EINTR || r == -EBUSY || r == -EAGAIN ? 0 : MIN(r, 0);
}

static void turn(struct ff3_loop *loop, bool idle)
{
	run_completions(loop);
	if (loop->poller && loop->poller->active)
		(void)loop->poller->poll(loop->poller);
	run_posted(loop);
	run_timers(loop);
	work_list_run(&loop->deferred);
	if (idle && loop->idle)
		loop->idle(loop->idle_arg);
	work_list_run(&loop->at_end);
}

static bool may_sleep(struct ff3_loop *loop)
{
	return !loop->deferred.first && !loop->at_end.first && !loop->due.first && !atomic_load(&loop->posted) &&
	       !atomic_load(&loop->stop);
}

static int enable(struct ff3_loop *loop)
{
	if (!loop->disabled)
		return 0;
	/* liburing 2.3 declares io_uring_enable_rings but does not export it. */
	if (syscall(SYS_io_uring_register, loop->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
		    0) < 0)
		return -errno;
	loop->disabled = false;
	return 0;
}

void ff3_loop_set_poller(struct ff3_loop *loop, struct ff3_poller *p)
{
	loop->poller = p;
}

struct ff3_poller *ff3_loop_poller(const struct ff3_loop *loop)
{
	return loop->poller;
}

bool ff3_loop_has_completions(const struct ff3_loop *loop)
{
	return io_uring_cq_ready(&loop->ring) > 0 || has_task_work(loop) || loop->due.first ||
	       atomic_load_explicit(&loop->posted, memory_order_relaxed) ||
	       atomic_load_explicit(&loop->stop, memory_order_relaxed);
}

static bool needs_kernel(const struct ff3_loop *loop)
{
	return io_uring_sq_ready(&loop->ring) > 0 || loop->n_backlog > 0 || has_task_work(loop);
}

void ff3_loop_near(struct ff3_loop *loop, int fd)
{
	loop->near_fd = fd;
}

/* NULL: there is nothing to look at. */
static struct ff3_poller *active_poller(const struct ff3_loop *loop)
{
	return loop->poller && loop->poller->active ? loop->poller : NULL;
}

static bool is_ready(const struct ff3_loop *loop)
{
	return (active_poller(loop) && loop->poller->ready(loop->poller)) || ff3_loop_has_completions(loop);
}

/* Whether something came. fd may have been closed. */
static bool spin_for(struct ff3_loop *loop, int fd)
{
	bool came = false;
	uint64_t begin;

	if (!ff3_spin_begin())
		return false;
	begin = ff3_addr_is_apart(fd) ? ff3_now_ns(CLOCK_MONOTONIC) : 0;
	while (!came && begin && ff3_now_ns(CLOCK_MONOTONIC) - begin < FF3_SPIN_NS)
		for (int i = 0; i < FF3_SPIN_LOOKS && !came; i++) {
			came = is_ready(loop);
			ff3_spin_pause();
		}
	ff3_spin_end(&loop->spinner, came);
	return came;
}

/* Between two turns where something is looked at: no system call as long as there is nothing to tell
 * the kernel, and nothing that it has to tell. */
static int between_turns(struct ff3_loop *loop, int near_fd)
{
	struct ff3_poller *p = active_poller(loop);
	bool awake = is_ready(loop), polls, near;
	int r;

	if (!may_sleep(loop))
		return submit(loop, false);
	if (p && loop->n_put_off < PUT_OFF_MAX && p->ready(p)) {
		loop->n_put_off++;
		loop->now_ns = ff3_boottime_ns();
		return 0;
	}
	loop->n_put_off = 0;
	polls = !awake && p && p->worth(p);
	near = !awake && !polls && near_fd >= 0 && ff3_spin_worth(&loop->spinner);
	if (polls || near) {
		/* What was prepared does not wait for the end of it. */
		r = needs_kernel(loop) ? submit(loop, false) : 0;
		if (r < 0)
			return r;
		awake = ff3_loop_has_completions(loop) || (polls ? p->spin(p) : spin_for(loop, near_fd));
	}
	if (!awake && !(p && p->arm(p)))
		return submit(loop, true);
	if (needs_kernel(loop))
		return submit(loop, false);
	loop->now_ns = ff3_boottime_ns();
	return 0;
}

int ff3_loop_step(struct ff3_loop *loop, bool wait)
{
	int r = enable(loop);

	if (r < 0)
		return r;
	r = submit(loop, wait && may_sleep(loop));
	if (r < 0)
		return r;
	turn(loop, false);
	return 0;
}

int ff3_loop_run(struct ff3_loop *loop)
{
	int r = enable(loop);

	if (r < 0)
		return r;
	loop->running = true;
	loop->now_ns = ff3_boottime_ns();
	while (!atomic_load_explicit(&loop->stop, memory_order_relaxed) && r == 0) {
		int near_fd = -1;

		turn(loop, true);
		near_fd = loop->near_fd;
		loop->near_fd = -1;
		r = active_poller(loop) || near_fd >= 0 ? between_turns(loop, near_fd) :
							  submit(loop, may_sleep(loop));
	}
	loop->running = false;
	atomic_store(&loop->stop, false);
	return r;
}
