/* Purpose: the side ring, a private one with a thread of its own: the kernel executes there what was
 * taken from an application's ring and is not on our files, because it is linked with something that is.
 * Its completions are posted to the application's ring. Also the timers of LINK_TIMEOUT, and the look,
 * every millisecond, whether the kernel is through with what IO_DRAIN waits for.
 *
 * An entry with others linked to it is followed here by a NOP, which the kernel cancels if it finds
 * that the entry failed: that is how we know.
 *
 * The kernel ends what a thread has submitted when the thread ends: so only the side thread submits.
 * Threads: `side.lock` guards the queues and the thread's existence; the ring is the thread's. It ends
 * after some idle time. Fork: a child makes its own. Signals: blocked in the thread. */
#include <poll.h>
#include <sys/mman.h>

#include "hook.h"
#include "raw.h"
#include "uring.h"

#define ENTRIES 256u
#define ENTER_EXT_ARG (1u << 3)
#define IDLE_NS (2 * FF3_NSEC_PER_SEC)
#define WATCH_NS FF3_NSEC_PER_MSEC

/* The low bits of user_data in this ring, beside the uop. */
enum { RUN = 0, MARKER = 1, TIMER = 2, TAG_MASK = 3 };
/* Those without a uop. */
#define WAKE 4ull
#define REMOVAL 8ull

static struct {
	pthread_mutex_t lock;
	bool running;
	struct uop *queue, **queue_end;
	struct uop *removals;
	struct uring *watched;
	int fd, event; /* while it is running */
} side = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct {
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	_Atomic uint32_t *sq_tail, *sq_head, *cq_head, *cq_tail;
	uint32_t sq_mask, cq_mask, n_queued;
	unsigned long n_flying;
	void *map;
	size_t map_len;
	uint64_t event_value;
	bool listening;
} ring;

/* --- The ring ------------------------------------------------------------------------------ */

static void close_ring(void)
{
	RAW(munmap, ring.map, ring.map_len);
	RAW(munmap, ring.sqes, ENTRIES * sizeof *ring.sqes);
	fd_unhide(side.fd);
	fd_unhide(side.event);
}

void uring_side_after_fork(void)
{
	if (side.running)
		close_ring();
	pthread_mutex_init(&side.lock, NULL);
	side.running = false;
	side.queue = NULL;
	side.removals = NULL;
	side.watched = NULL;
}

static int map_ring(int fd, const struct io_uring_params *p)
{
	long map, sqes;
	uint32_t *array;
	char *at;

	ring.map_len = MAX(p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe),
			   p->sq_off.array + p->sq_entries * sizeof(uint32_t));
	map = RAW(mmap, 0, ring.map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	sqes = RAW(mmap, 0, ENTRIES * sizeof *ring.sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   IORING_OFF_SQES);
	if ((map < 0 && map > -4096) || (sqes < 0 && sqes > -4096))
		return -ENOMEM;
	at = ring.map = (void *)map;
	ring.sqes = (struct io_uring_sqe *)sqes;
	ring.cqes = (struct io_uring_cqe *)(at + p->cq_off.cqes);
	ring.sq_tail = (_Atomic uint32_t *)(at + p->sq_off.tail);
	ring.sq_head = (_Atomic uint32_t *)(at + p->sq_off.head);
	ring.cq_head = (_Atomic uint32_t *)(at + p->cq_off.head);
	ring.cq_tail = (_Atomic uint32_t *)(at + p->cq_off.tail);
	ring.sq_mask = p->sq_entries - 1;
	ring.cq_mask = p->cq_entries - 1;
	array = (uint32_t *)(at + p->sq_off.array);
	for (uint32_t i = 0; i < p->sq_entries; i++)
		array[i] = i;
	ring.n_queued = 0;
	ring.n_flying = 0;
	ring.listening = false;
	return 0;
}

static int make_ring(void)
{
	struct io_uring_params p = { .flags = 1u << 7 /* SUBMIT_ALL */ };
	int fd = (int)RAW(io_uring_setup, ENTRIES, &p), event, r;

	if (fd < 0)
		return fd;
	event = (int)RAW(eventfd2, 0, O_CLOEXEC);
	r = event < 0 ? event : map_ring(fd, &p);
	if (r < 0) {
		raw_close(fd);
		if (event >= 0)
			raw_close(event);
		return r;
	}
	side.fd = fd_hide(fd);
	side.event = fd_hide(event);
	return 0;
}

static bool has_room(uint32_t n)
{
	return ring.n_queued + n <= ENTRIES;
}

static struct io_uring_sqe *push(uint64_t user_data)
{
	uint32_t tail = atomic_load_explicit(ring.sq_tail, memory_order_relaxed);
	struct io_uring_sqe *s = &ring.sqes[tail & ring.sq_mask];

	memset(s, 0, sizeof *s);
	s->user_data = user_data;
	atomic_store_explicit(ring.sq_tail, tail + 1, memory_order_release);
	ring.n_queued++;
	ring.n_flying += user_data > REMOVAL;
	return s;
}

/* --- What it gets -------------------------------------------------------------------------- */

#define OWN_FLAGS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS)

static struct io_uring_sqe *push_copy(struct uop *op)
{
	uint64_t user_data = (uintptr_t)op | RUN;
	struct io_uring_sqe *s = push(user_data);

	*s = op->sqe;
	s->flags &= (uint8_t)~OWN_FLAGS;
	s->user_data = user_data;
	if (op->sqe.opcode == IORING_OP_READ_FIXED || op->sqe.opcode == IORING_OP_WRITE_FIXED) {
		/* the same without the registration */
		s->opcode = op->sqe.opcode == IORING_OP_READ_FIXED ? IORING_OP_READ : IORING_OP_WRITE;
		s->buf_index = 0;
	}
	return s;
}

static void push_run(struct uop *op)
{
	struct io_uring_sqe *s = push_copy(op);
	struct uop *timeout = TAKE_PTR(op->timeout);

	if (timeout) {
		timeout->watches = NULL;
		s->flags |= IOSQE_IO_LINK;
		s = push_copy(timeout);
	}
	if (op->marked) {
		s->flags |= IOSQE_IO_LINK;
		push((uintptr_t)op | MARKER)->opcode = IORING_OP_NOP;
	}
}

static void push_timer(struct uop *timeout)
{
	struct io_uring_sqe *s = push((uintptr_t)timeout | TIMER);

	s->opcode = IORING_OP_TIMEOUT;
	s->addr = timeout->sqe.addr;
	s->len = 1;
	s->timeout_flags = timeout->sqe.timeout_flags;
}

static void push_removal(struct uop *op)
{
	struct io_uring_sqe *s = push(REMOVAL);

	s->opcode = op->side ? IORING_OP_ASYNC_CANCEL : IORING_OP_TIMEOUT_REMOVE;
	s->addr = (uintptr_t)op | (op->side ? RUN : TIMER);
}

static void push_listener(void)
{
	struct io_uring_sqe *s;

	if (ring.listening)
		return;
	s = push(WAKE);
	s->opcode = IORING_OP_READ;
	s->fd = side.event;
	s->addr = (uintptr_t)&ring.event_value;
	s->len = sizeof ring.event_value;
	ring.listening = true;
}

/* side.lock is held. Returns timeouts whose removal does not need them any more. */
static struct uop *fill(void)
{
	struct uop *op, *removed = NULL;

	push_listener();
	while ((op = side.queue) && has_room(3)) {
		side.queue = op->side_next;
		if (op->sqe.opcode == IORING_OP_LINK_TIMEOUT && !op->side)
			push_timer(op);
		else
			push_run(op);
	}
	while (!side.queue && (op = side.removals) && has_room(1)) {
		side.removals = op->remove_next;
		push_removal(op);
		op->remove_next = removed;
		removed = op;
	}
	return removed;
}

/* --- What comes back ----------------------------------------------------------------------- */

/* One more completion of an entry that goes on. */
static void post_another(struct uop *op, const struct io_uring_cqe *cqe)
{
	struct uring *r = op->ring;
	struct uop *more;

	pthread_mutex_lock(&r->lock);
	more = uop_new(r);
	r->n_posted += more != NULL;
	pthread_mutex_unlock(&r->lock);
	if (!more)
		return;
	more->sqe.user_data = op->sqe.user_data;
	more->res = cqe->res;
	more->cqe_flags = cqe->flags;
	uring_post(more);
}

static void completed(const struct io_uring_cqe *cqe)
{
	struct uop *op = (struct uop *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);

	if (cqe->user_data == WAKE)
		ring.listening = false;
	if (cqe->user_data <= REMOVAL)
		return;
	if ((cqe->flags & IORING_CQE_F_MORE) && (cqe->user_data & TAG_MASK) == RUN) {
		post_another(op, cqe);
		return;
	}
	ring.n_flying--;
	switch (cqe->user_data & TAG_MASK) {
	case TIMER:
		if (cqe->res == -ETIME)
			uring_timed_out(op);
		uop_unpin(op);
		break;
	case MARKER:
		uring_run(uring_ended(op, op->res, cqe->res == -ECANCELED));
		break;
	case RUN:
		op->res = cqe->res;
		op->cqe_flags = cqe->flags;
		if (op->sqe.opcode == IORING_OP_LINK_TIMEOUT) {
			__atomic_fetch_add(&op->ring->n_posted, 1, __ATOMIC_RELAXED);
			uring_post(op);
		} else if (!op->marked) {
			uring_run(uring_ended(op, cqe->res, cqe->res < 0));
		}
	}
}

static void reap(void)
{
	uint32_t head = atomic_load_explicit(ring.cq_head, memory_order_relaxed);

	while (head != atomic_load_explicit(ring.cq_tail, memory_order_acquire)) {
		struct io_uring_cqe cqe = ring.cqes[head & ring.cq_mask];

		atomic_store_explicit(ring.cq_head, ++head, memory_order_release);
		completed(&cqe);
	}
}

/* Those that IO_DRAIN holds: may they start? */
static void look(void)
{
	struct uring *list, *r;

	pthread_mutex_lock(&side.lock);
	list = TAKE_PTR(side.watched);
	pthread_mutex_unlock(&side.lock);
	while ((r = list)) {
		struct uop *work;

		list = r->watch_next;
		pthread_mutex_lock(&r->lock);
		r->watched = false;
		work = uring_advance(r); /* which puts it back if need be */
		uring_unref_locked(r);
		uring_run(work);
	}
}

/* --- The thread ---------------------------------------------------------------------------- */

struct ext_arg {
	uint64_t sigmask;
	uint32_t sigmask_size, pad;
	uint64_t ts;
};

static void wait_for_something(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / FF3_NSEC_PER_SEC), (long)(ns % FF3_NSEC_PER_SEC) };
	struct ext_arg arg = { .ts = (uintptr_t)&ts };
	long r = RAW(io_uring_enter, side.fd, ring.n_queued, 1, IORING_ENTER_GETEVENTS | ENTER_EXT_ARG,
		     &arg, sizeof arg);

	(void)r; /* what was not taken is still in the queue */
	ring.n_queued = atomic_load_explicit(ring.sq_tail, memory_order_relaxed) -
			atomic_load_explicit(ring.sq_head, memory_order_acquire);
}

static void *serve(void *arg)
{
	bool idle = false, watching;
	struct uop *removed, *op;

	for (;;) {
		pthread_mutex_lock(&side.lock);
		if (idle && !side.queue && !side.removals && !side.watched && ring.n_flying == 0) {
			close_ring();
			side.running = false;
			pthread_mutex_unlock(&side.lock);
			return arg;
		}
		removed = fill();
		watching = side.watched;
		pthread_mutex_unlock(&side.lock);
		while ((op = removed)) {
			removed = op->remove_next;
			uop_unpin(op);
		}
		wait_for_something(watching ? WATCH_NS : IDLE_NS);
		idle = atomic_load_explicit(ring.cq_head, memory_order_relaxed) ==
		       atomic_load_explicit(ring.cq_tail, memory_order_acquire);
		reap();
		look();
	}
}

/* side.lock is held. */
static int wake(void)
{
	uint64_t one = 1;
	int r;

	if (!side.running) {
		r = make_ring();
		if (r < 0)
			return r;
		r = async_thread(serve);
		if (r < 0) {
			close_ring();
			return r;
		}
		side.running = true;
		return 0;
	}
	RAW(write, side.event, &one, sizeof one);
	return 0;
}

static int enqueue(struct uop *op)
{
	struct uop **end = &side.queue;
	int r;

	pthread_mutex_lock(&side.lock);
	r = wake();
	if (r == 0) {
		while (*end)
			end = &(*end)->side_next;
		op->side_next = NULL;
		*end = op;
	}
	pthread_mutex_unlock(&side.lock);
	return r;
}

int uring_side_run(struct uop *op)
{
	const struct io_uring_sqe *s = &op->sqe;

	/* These mean the application's ring: its files, buffers, and completions. */
	if ((s->flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT)) ||
	    (s->opcode == IORING_OP_TIMEOUT && s->off) || s->opcode == IORING_OP_FILES_UPDATE ||
	    s->opcode == IORING_OP_PROVIDE_BUFFERS || s->opcode == IORING_OP_REMOVE_BUFFERS)
		return -EOPNOTSUPP;
	op->marked = op->link && !(s->flags & IOSQE_IO_HARDLINK);
	return enqueue(op);
}

int uring_side_timer(struct uop *timeout)
{
	int r;

	pthread_mutex_lock(&timeout->ring->lock);
	timeout->pins++;
	pthread_mutex_unlock(&timeout->ring->lock);
	r = enqueue(timeout);
	if (r < 0)
		uop_unpin(timeout);
	return r;
}

void uring_side_remove(struct uop *op)
{
	op->pins++;
	pthread_mutex_lock(&side.lock);
	op->remove_next = side.removals;
	side.removals = op;
	wake();
	pthread_mutex_unlock(&side.lock);
}

void uring_side_watch(struct uring *r)
{
	if (r->watched)
		return;
	pthread_mutex_lock(&side.lock);
	if (wake() == 0) {
		r->watched = true;
		r->refs++;
		r->watch_next = side.watched;
		side.watched = r;
	}
	pthread_mutex_unlock(&side.lock);
}
