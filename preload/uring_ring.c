/* Purpose: io_uring on our files, for programs whose rings are their own. The rings of the process,
 * from their making to their end.
 *
 * How it works. Every call that submits comes by here first: liburing's functions (hook_uring.c),
 * syscall(2), and with FF3FS_INTERCEPT=full the instruction itself. The new entries of the
 * submission queue are looked at (uring_sqe.c). One on a file of ours is copied, and becomes a NOP that
 * leaves no completion; the kernel then gets the queue. The copy goes to the engine (uring_run.c,
 * async.h), and when it is done, a private ring posts its completion into the application's by
 * IORING_OP_MSG_RING (uring_post.c), which wakes whoever waits there. Entries that are linked with ours,
 * or wait for ours by IO_DRAIN, are taken too and run on another private ring, one after the other
 * (uring_side.c). An entry that got by unseen meets the placeholder and completes with EBADF.
 *
 * IORING_SETUP_SQPOLL is not passed on: nothing tells us of entries that a kernel thread takes. Such
 * a ring says for ever that its thread must be woken (IORING_SQ_NEED_WAKEUP), so that the
 * application calls.
 *
 * Threads: any may use any ring. A struct uring is never given back, so it may be locked by who
 * finds it; then its fd says whether it is still the one. `table_lock` guards table and free list.
 * Fork: the rings are shared with the child, the operations under way stay the parent's.
 * Signals: a handler must not submit to the ring that it has interrupted, as with liburing. */
#include "uring.h"

#include <sys/mman.h>

#include "hook.h"
#include "raw.h"

#define N_TABLE 4096 /* those with a higher descriptor are in a list */

_Atomic unsigned uring_n_rings;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct uring *_Atomic table[N_TABLE];
static struct uring *high, *free_rings, *all_rings;

/* --- Finding ------------------------------------------------------------------------------- */

static struct uring *lookup(int fd)
{
	struct uring *r;

	if (fd < 0 || atomic_load_explicit(&uring_n_rings, memory_order_relaxed) == 0)
		return NULL;
	if (fd < N_TABLE)
		return atomic_load_explicit(&table[fd], memory_order_acquire);
	pthread_mutex_lock(&table_lock);
	for (r = high; r && r->fd != fd; r = r->next)
		;
	pthread_mutex_unlock(&table_lock);
	return r;
}

struct uring *uring_find(int fd)
{
	struct uring *r = lookup(fd);

	if (!r)
		return NULL;
	pthread_mutex_lock(&r->lock);
	if (r->fd == fd)
		return r;
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

void uring_unlock(struct uring *r)
{
	pthread_mutex_unlock(&r->lock);
}

/* --- Beginning and end --------------------------------------------------------------------- */

/* A struct uring with a list of all that there ever were behind it: for fork. */
struct made {
	struct uring ring;
	struct made *before;
};

static struct uring *ring_alloc(void)
{
	struct uring *r = free_rings;
	struct made *m;

	if (r) {
		free_rings = r->next;
		return r;
	}
	m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	pthread_mutex_init(&m->ring.lock, NULL);
	m->before = (struct made *)all_rings;
	all_rings = &m->ring;
	return &m->ring;
}

struct uring *uring_new(int fd, uint32_t setup)
{
	struct uring *r;
	struct uop *free;

	uring_fd_closed(fd);
	pthread_mutex_lock(&table_lock);
	r = ring_alloc();
	if (r) {
		pthread_mutex_lock(&r->lock);
		free = r->free;
		memset((char *)r + sizeof r->lock, 0, sizeof *r - sizeof r->lock);
		r->free = free;
		r->fd = fd;
		r->post_fd = -1;
		r->refs = 1;
		r->setup = setup;
		r->held_end = &r->held;
		if (fd < N_TABLE) {
			atomic_store_explicit(&table[fd], r, memory_order_release);
		} else {
			r->next = high;
			high = r;
		}
		atomic_fetch_add(&uring_n_rings, 1);
	}
	pthread_mutex_unlock(&table_lock);
	return r;
}

void uring_unref_locked(struct uring *r)
{
	int post_fd = r->post_fd;
	bool last = --r->refs == 0;

	if (last) {
		for (int i = 0; i < 2; i++)
			if (r->maps[i].addr)
				RAW(munmap, r->maps[i].addr, r->maps[i].len);
		r->post_fd = -1;
	}
	pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	if (post_fd >= 0)
		fd_unhide(post_fd);
	pthread_mutex_lock(&table_lock);
	r->next = free_rings;
	free_rings = r;
	pthread_mutex_unlock(&table_lock);
}

static void remove_from_table(struct uring *r, int fd)
{
	struct uring **p = &high;

	pthread_mutex_lock(&table_lock);
	if (fd < N_TABLE) {
		atomic_store_explicit(&table[fd], NULL, memory_order_release);
	} else {
		while (*p && *p != r)
			p = &(*p)->next;
		if (*p)
			*p = r->next;
	}
	atomic_fetch_sub(&uring_n_rings, 1);
	pthread_mutex_unlock(&table_lock);
}

void uring_forget(int fd)
{
	struct uring *r;

	if (!lookup(fd) || init_is_vfork_child())
		return;
	r = uring_find(fd);
	if (!r)
		return;
	r->fd = -1;
	for (struct uop *op = r->flying; op; op = op->next)
		if (op->side)
			uring_side_remove(op); /* the kernel would end it with the ring */
	pthread_mutex_unlock(&r->lock);
	remove_from_table(r, fd);
	pthread_mutex_lock(&r->lock);
	uring_tables_free(r);
	while (r->held) { /* nobody would see it */
		struct uop *unit = r->held;

		r->held = unit->unit;
		uop_discard(unit);
	}
	r->held_end = &r->held;
	uring_unref_locked(r);
}

void uring_after_fork(void)
{
	struct made *m = (struct made *)all_rings;

	pthread_mutex_init(&table_lock, NULL);
	uring_post_after_fork();
	uring_side_after_fork();
	for (; m; m = m->before) {
		struct uring *r = &m->ring;

		pthread_mutex_init(&r->lock, NULL);
		if (r->refs == 0)
			continue;
		if (r->fd < 0) { /* the last operations of a closed ring: not here */
			if (r->post_fd >= 0)
				fd_unhide(r->post_fd);
			r->refs = 0;
			continue;
		}
		/* What flies and what is held is the parent's; here its memory is left alone. */
		r->refs = 1;
		r->flying = NULL;
		r->free = NULL;
		r->n_units = 0;
		r->held = NULL;
		r->held_end = &r->held;
		r->barrier = r->watched = false;
	}
}

/* --- Operations ---------------------------------------------------------------------------- */

#define SLAB 32

struct uop *uop_new(struct uring *r)
{
	struct uop *op = r->free;

	if (!op) {
		op = calloc(SLAB, sizeof *op);
		if (!op)
			return NULL;
		for (int i = 0; i < SLAB - 1; i++)
			op[i].next = &op[i + 1];
	}
	r->free = op->next;
	memset(op, 0, sizeof *op);
	op->ring = r;
	op->own_fd = -1;
	op->pins = 1;
	op->natives_max = UINT32_MAX;
	r->refs++;
	return op;
}

static void release(struct uop *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(op->memory); i++)
		free(op->memory[i]);
	op->next = op->ring->free;
	op->ring->free = op;
}

void uop_discard(struct uop *first)
{
	for (struct uop *op = first; op; op = first) {
		first = op->link;
		op->ring->refs--; /* not the last: the table's is there */
		release(op);
	}
}

void uop_unpin(struct uop *op)
{
	struct uring *r = op->ring;
	int own_fd = -1;

	pthread_mutex_lock(&r->lock);
	if (--op->pins > 0) {
		pthread_mutex_unlock(&r->lock);
		return;
	}
	own_fd = op->own_fd;
	release(op);
	uring_unref_locked(r);
	if (own_fd >= 0)
		fd_close(own_fd);
}

void uop_fly(struct uop *op)
{
	struct uring *r = op->ring;

	op->next = r->flying;
	if (op->next)
		op->next->back = &op->next;
	op->back = &r->flying;
	r->flying = op;
}

void uop_land(struct uop *op)
{
	if (!op->back)
		return;
	*op->back = op->next;
	if (op->next)
		op->next->back = op->back;
	op->next = NULL;
	op->back = NULL;
}

/* --- io_uring_setup(2) --------------------------------------------------------------------- */

bool uring_is_off(void)
{
	static _Atomic int known;
	const char *s;

	if (known == 0) {
		s = getenv("FF3FS_URING");
		known = s && strcmp(s, "off") == 0 ? 2 : 1;
	}
	return known == 2;
}

long uring_setup_flags(uint32_t asked)
{
	if (!(asked & IORING_SETUP_SQPOLL))
		return asked;
	/* what the kernel would not have either */
	if (asked & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | (1u << 13)))
		return -EINVAL;
	return asked & ~(uint32_t)(IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF);
}

static void *map_ring(struct uring *r, int i, size_t len, off_t what)
{
	long p = RAW(mmap, 0, len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, what);

	if (p < 0 && p > -4096)
		return NULL;
	r->maps[i].addr = (void *)p;
	r->maps[i].len = len;
	return (void *)p;
}

/* A ring that was made by the system call: we map it, too. */
static int look_at(struct uring *r, const struct io_uring_params *p)
{
	size_t sqe_size = p->flags & IORING_SETUP_SQE128 ? 128 : 64;
	size_t cq_len = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe) *
						 (p->flags & IORING_SETUP_CQE32 ? 2 : 1);
	size_t sq_len = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	char *ring;

	if (p->flags & URING_SETUP_NO_MMAP) { /* in the application's own memory */
		memcpy(&ring, &p->cq_off.resv2, sizeof ring);
		memcpy(&r->sqes, &p->sq_off.resv2, sizeof r->sqes);
	} else {
		ring = map_ring(r, 0, MAX(cq_len, sq_len), IORING_OFF_SQ_RING);
		r->sqes = ring ? map_ring(r, 1, p->sq_entries * sqe_size, IORING_OFF_SQES) : NULL;
	}
	if (!ring || !r->sqes)
		return -ENOMEM;
	r->sq_entries = p->sq_entries;
	r->sqe_size = sqe_size;
	r->sq_head = (_Atomic uint32_t *)(ring + p->sq_off.head);
	r->sq_tail = (_Atomic uint32_t *)(ring + p->sq_off.tail);
	r->sq_flags = (_Atomic uint32_t *)(ring + p->sq_off.flags);
	r->cq_tail = (_Atomic uint32_t *)(ring + p->cq_off.tail);
	if (!(p->flags & URING_SETUP_NO_SQARRAY))
		r->array = (uint32_t *)(ring + p->sq_off.array);
	return 0;
}

static long setup_seen(unsigned entries, struct io_uring_params *p, uint32_t asked)
{
	long fd = RAW(io_uring_setup, entries, p);
	struct uring *r;
	int bad;

	if (fd < 0)
		return fd;
	if (!(p->features & URING_FEAT_LINKED_FILE)) {
		raw_close((int)fd); /* a kernel that cannot post for us: as one without io_uring */
		return -ENOSYS;
	}
	fdtab_set_native((int)fd);
	r = uring_new((int)fd, p->flags);
	bad = r ? look_at(r, p) : -ENOMEM;
	if (bad == 0 && asked != p->flags) {
		r->sqpoll = true;
		atomic_fetch_or(r->sq_flags, IORING_SQ_NEED_WAKEUP);
	}
	if (r)
		uring_unlock(r);
	if (bad < 0) {
		uring_fd_closed((int)fd);
		raw_close((int)fd);
		return bad;
	}
	return fd;
}

long uring_setup(unsigned entries, struct io_uring_params *user)
{
	struct io_uring_params p;
	uint32_t asked;
	long flags, fd;

	if (!init_active() || init_is_vfork_child())
		return RAW(io_uring_setup, entries, user);
	if (uring_is_off())
		return -ENOSYS;
	if (!memory_copy_in(&p, user, sizeof p))
		return -EFAULT;
	asked = p.flags;
	if (asked & ~URING_SETUP_KNOWN) /* whatever it does: what we do not see fails closed */
		return RAW(io_uring_setup, entries, user);
	if (asked & URING_SETUP_REGISTERED_FD_ONLY)
		return -EINVAL; /* a ring without a descriptor cannot be posted to */
	flags = uring_setup_flags(asked);
	if (flags < 0)
		return flags;
	if ((asked & IORING_SETUP_SQ_AFF) && (long)p.sq_thread_cpu >= sysconf(_SC_NPROCESSORS_CONF))
		return -EINVAL; /* the thread would have no processor */
	p.flags = (uint32_t)flags;
	fd = setup_seen(entries, &p, asked);
	p.flags = asked;
	if (fd >= 0 && !memory_copy_out(user, &p, sizeof p)) {
		uring_fd_closed((int)fd);
		raw_close((int)fd);
		return -EFAULT;
	}
	return fd;
}

/* --- io_uring_enter(2) --------------------------------------------------------------------- */

#define ENTER_REGISTERED_RING (1u << 4)
#define ENTER_SQ_FLAGS (IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT)

long uring_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
		 const void *arg, size_t size)
{
	int ring_fd = flags & ENTER_REGISTERED_RING ? uring_ring_fd(fd) : (int)fd;
	struct uring *r = uring_find(ring_fd);
	uint32_t head, tail, submit = to_submit;
	struct uop *after;
	bool polled;
	long result, first = 0;

	if (!r)
		return RAW(io_uring_enter, fd, to_submit, min_complete, flags, arg, size);
	polled = r->sqpoll;
	tail = atomic_load_explicit(r->sq_tail, memory_order_acquire);
	head = atomic_load_explicit(r->sq_head, memory_order_acquire);
	if (polled) { /* the kernel's thread would have taken all of them */
		submit = tail - head;
		flags &= ~ENTER_SQ_FLAGS;
	}
	if ((int32_t)(r->seen - head) < 0 || r->seen - head > r->sq_entries)
		r->seen = head;
	after = uring_prepare(r, tail - r->seen > submit ? r->seen + submit : tail);
	if (UNLIKELY(after != NULL)) {
		first = RAW(io_uring_enter, fd, submit, 0, flags & ENTER_REGISTERED_RING, 0, 0);
		uring_run(after);
		if (first < 0)
			return first;
		submit = 0;
	}
	result = RAW(io_uring_enter, fd, submit, min_complete, flags, arg, size);
	if (first > 0)
		return first; /* the wait's failure does not count, as in the kernel */
	return polled && result >= 0 ? (long)to_submit : result;
}
