/* Purpose: puts completions into the application's rings, by IORING_OP_MSG_RING from a private ring:
 * the kernel does the rest, overflow of the completion queue and eventfds included.
 *
 * Threads: completions go to a queue in their order. Whoever finds nobody posting posts what is
 * there, several at a time, until the queue is empty. `q.lock` guards the queue; the ring and its
 * fixed file belong to who posts (`q.busy`).
 * Fork: a child makes its own ring. */
#include <sys/mman.h>

#include "hook.h"
#include "raw.h"
#include "uring.h"

#define ENTRIES 32u
#define MSG_FLAGS_PASS (1u << 1)
#define MSG_CQE_SKIP (1u << 0)
#define MSG_SEND_FD 1u

static struct {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	bool busy;
	struct uop *first, *last;
} q = { .lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER };

/* The private ring. */
static struct {
	_Atomic int fd; /* 0: none */
	bool has_files;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	_Atomic uint32_t *sq_tail, *cq_head, *cq_tail;
	uint32_t sq_mask, cq_mask;
	void *map;
	size_t map_len;
} ring;

void uring_post_after_fork(void)
{
	pthread_mutex_init(&q.lock, NULL);
	pthread_cond_init(&q.idle, NULL);
	q.busy = false;
	q.first = NULL;
	if (ring.fd > 0) {
		RAW(munmap, ring.map, ring.map_len);
		RAW(munmap, ring.sqes, ENTRIES * sizeof *ring.sqes);
		fd_unhide(ring.fd);
	}
	ring.fd = 0;
}

/* --- The private ring ---------------------------------------------------------------------- */

static int make_ring(void)
{
	struct io_uring_params p = { 0 };
	long fd = RAW(io_uring_setup, ENTRIES, &p), map, sqes;
	uint32_t *array;
	char *at;

	if (fd < 0)
		return (int)fd;
	fd = fd_hide((int)fd);
	ring.map_len = MAX(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
			   p.sq_off.array + p.sq_entries * sizeof(uint32_t));
	map = RAW(mmap, 0, ring.map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	sqes = RAW(mmap, 0, ENTRIES * sizeof *ring.sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   IORING_OFF_SQES);
	if ((map < 0 && map > -4096) || (sqes < 0 && sqes > -4096)) {
		fd_unhide((int)fd);
		return -ENOMEM;
	}
	at = ring.map = (void *)map;
	ring.sqes = (struct io_uring_sqe *)sqes;
	ring.cqes = (struct io_uring_cqe *)(at + p.cq_off.cqes);
	ring.sq_tail = (_Atomic uint32_t *)(at + p.sq_off.tail);
	ring.cq_head = (_Atomic uint32_t *)(at + p.cq_off.head);
	ring.cq_tail = (_Atomic uint32_t *)(at + p.cq_off.tail);
	ring.sq_mask = p.sq_entries - 1;
	ring.cq_mask = p.cq_entries - 1;
	array = (uint32_t *)(at + p.sq_off.array);
	for (uint32_t i = 0; i < p.sq_entries; i++)
		array[i] = i;
	ring.has_files = false;
	ring.fd = (int)fd;
	return 0;
}

static struct io_uring_sqe *entry(uint32_t i)
{
	struct io_uring_sqe *sqe =
		&ring.sqes[(atomic_load_explicit(ring.sq_tail, memory_order_relaxed) + i) & ring.sq_mask];

	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = IORING_OP_MSG_RING;
	sqe->user_data = i;
	return sqe;
}

/* Sends n entries and waits until each has its result. */
static void send_entries(uint32_t n, int results[ENTRIES])
{
	uint32_t head = atomic_load_explicit(ring.cq_head, memory_order_relaxed), tail, left = n;

	atomic_fetch_add_explicit(ring.sq_tail, n, memory_order_release);
	do {
		long r = RAW(io_uring_enter, ring.fd, left,
			     n - (atomic_load_explicit(ring.cq_tail, memory_order_acquire) - head),
			     IORING_ENTER_GETEVENTS, 0, 0);

		left -= r > 0 ? (uint32_t)r : 0;
		tail = atomic_load_explicit(ring.cq_tail, memory_order_acquire);
	} while (left > 0 || tail - head < n);
	for (; head != tail; head++)
		results[ring.cqes[head & ring.cq_mask].user_data] = ring.cqes[head & ring.cq_mask].res;
	atomic_store_explicit(ring.cq_head, head, memory_order_release);
}

int uring_post_ready(struct uring *r)
{
	int fd, made = 0;

	if (LIKELY(r->post_fd >= 0 && ring.fd > 0))
		return 0;
	pthread_mutex_lock(&q.lock);
	if (ring.fd <= 0)
		made = make_ring(); /* nobody posts before there is one */
	pthread_mutex_unlock(&q.lock);
	if (made < 0 || r->post_fd >= 0)
		return made;
	fd = fd_copy_hidden(r->fd);
	if (fd < 0)
		return fd;
	r->post_fd = fd; /* for good: it is read without the lock by those who hold a uop */
	return 0;
}

/* --- Completions --------------------------------------------------------------------------- */

static bool try_again(int r)
{
	return r == -EOVERFLOW || r == -EAGAIN || r == -ENOMEM || r == -EINTR;
}

/* Takes up to ENTRIES from the list; those that must be tried again come back. */
static struct uop *post_some(struct uop **list)
{
	struct uop *ops[ENTRIES], *again = NULL, **again_end = &again;
	int results[ENTRIES];
	uint32_t n = 0;

	for (; *list && n < ENTRIES; n++, *list = (*list)->post_next) {
		struct io_uring_sqe *sqe = entry(n);
		struct uop *op = ops[n] = *list;

		sqe->fd = op->ring->post_fd;
		sqe->off = op->sqe.user_data;
		sqe->len = (uint32_t)op->res;
		if (op->cqe_flags) {
			sqe->msg_ring_flags = MSG_FLAGS_PASS;
			sqe->file_index = op->cqe_flags;
		}
	}
	send_entries(n, results);
	for (uint32_t i = 0; i < n; i++) {
		if (try_again(results[i])) {
			ops[i]->post_next = NULL;
			*again_end = ops[i];
			again_end = &ops[i]->post_next;
		} else {
			uop_unpin(ops[i]); /* or its ring is gone, with whoever would look */
		}
	}
	return again;
}

static void post_list(struct uop *list)
{
	struct timespec pause = { 0, 1000000 };

	while (list) {
		struct uop *again = post_some(&list), **end = &again;

		if (!again)
			continue;
		/* An old kernel whose completion queue is full: the application has to look first. */
		RAW(nanosleep, &pause, 0);
		while (*end)
			end = &(*end)->post_next;
		*end = list;
		list = again;
	}
}

void uring_post_all(struct uop *list)
{
	struct uop *last = list;

	if (!list)
		return;
	while (last->post_next)
		last = last->post_next;
	pthread_mutex_lock(&q.lock);
	if (q.first)
		q.last->post_next = list;
	else
		q.first = list;
	q.last = last;
	while (!q.busy && q.first) {
		list = TAKE_PTR(q.first);
		q.busy = true;
		pthread_mutex_unlock(&q.lock);
		post_list(list);
		pthread_mutex_lock(&q.lock);
		q.busy = false;
		pthread_cond_signal(&q.idle);
	}
	pthread_mutex_unlock(&q.lock);
}

void uring_post(struct uop *op)
{
	op->post_next = NULL;
	uring_post_all(op);
}

/* --- Files --------------------------------------------------------------------------------- */

/* With the ring ours: fd becomes its fixed file 0, which then goes over. */
static long send_file(struct uop *op, int fd)
{
	struct io_uring_files_update update = { .fds = (uintptr_t)&fd };
	struct io_uring_sqe *sqe;
	int results[ENTRIES], none = -1;
	long r;

	if (!ring.has_files) {
		r = RAW(io_uring_register, ring.fd, IORING_REGISTER_FILES, &none, 1);
		if (r < 0)
			return r;
		ring.has_files = true;
	}
	r = RAW(io_uring_register, ring.fd, IORING_REGISTER_FILES_UPDATE, &update, 1);
	if (r < 0)
		return r;
	sqe = entry(0);
	sqe->fd = op->ring->post_fd;
	sqe->addr = MSG_SEND_FD;
	sqe->addr3 = 0;
	sqe->file_index = op->sqe.file_index;
	sqe->msg_ring_flags = MSG_CQE_SKIP;
	send_entries(1, results);
	update.fds = (uintptr_t)&none;
	RAW(io_uring_register, ring.fd, IORING_REGISTER_FILES_UPDATE, &update, 1);
	return results[0];
}

long uring_send_file(struct uop *op, int fd)
{
	struct uop *list;
	long r;

	pthread_mutex_lock(&q.lock);
	while (q.busy)
		pthread_cond_wait(&q.idle, &q.lock);
	q.busy = true;
	pthread_mutex_unlock(&q.lock);
	r = send_file(op, fd);
	pthread_mutex_lock(&q.lock);
	q.busy = false;
	list = TAKE_PTR(q.first);
	pthread_cond_signal(&q.idle);
	pthread_mutex_unlock(&q.lock);
	uring_post_all(list);
	return r;
}
