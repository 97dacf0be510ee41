/* io_uring in torture: rings of one's own, by system calls: batches of reads of files of both kinds, chains
 * that write, sync and read again, operations that are cancelled on their way. */
#include "torture.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES 16u
#define ROOM (PIECE / ENTRIES)
#define CHAIN 5000u

struct ring {
	int fd; /* -1: there is no io_uring here */
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	void *rings;
	size_t rings_size;
	struct io_uring_sqe *sqes;
	const struct io_uring_cqe *cqes;
	unsigned n_queued;
	int results[2 * ENTRIES]; /* by user_data */
	/* What is read: by user_data. */
	struct wanted {
		const struct shared *s;
		size_t at, n;
	} wanted[ENTRIES];
	int file, native;
	unsigned n_chains, n_cancelled;
	uint32_t generation;
};

static void ring_open(struct ring *r)
{
	struct io_uring_params p = { 0 };

	r->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
	if (r->fd < 0 && (errno == ENOSYS || errno == EPERM))
		return;
	MUST(r->fd);
	r->rings_size = p.cq_off.cqes + p.cq_entries * sizeof *r->cqes;
	r->rings = mmap(NULL, r->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
			IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, ENTRIES * sizeof *r->sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       r->fd, IORING_OFF_SQES);
	if (r->rings == MAP_FAILED || (void *)r->sqes == MAP_FAILED)
		FAIL("mmap of a ring: %s", strerror(errno));
	r->sq_tail = (unsigned *)((char *)r->rings + p.sq_off.tail);
	r->sq_mask = (unsigned *)((char *)r->rings + p.sq_off.ring_mask);
	r->sq_array = (unsigned *)((char *)r->rings + p.sq_off.array);
	r->cq_head = (unsigned *)((char *)r->rings + p.cq_off.head);
	r->cq_tail = (unsigned *)((char *)r->rings + p.cq_off.tail);
	r->cq_mask = (unsigned *)((char *)r->rings + p.cq_off.ring_mask);
	r->cqes = (const struct io_uring_cqe *)((char *)r->rings + p.cq_off.cqes);
}

static void ring_close(struct ring *r)
{
	if (r->fd < 0)
		return;
	MUST(munmap(r->rings, r->rings_size));
	MUST(munmap(r->sqes, ENTRIES * sizeof *r->sqes));
	MUST(close(r->fd));
}

static void ring_add(struct ring *r, struct io_uring_sqe sqe)
{
	unsigned tail = *r->sq_tail, i = tail & *r->sq_mask;

	r->sqes[i] = sqe;
	r->sq_array[i] = i;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	r->n_queued++;
}

static struct io_uring_sqe entry(uint8_t opcode, int fd, const void *p, size_t n, size_t at, unsigned id)
{
	return (struct io_uring_sqe){ .opcode = opcode,
				      .fd = fd,
				      .addr = (uintptr_t)p,
				      .len = (uint32_t)n,
				      .off = at,
				      .user_data = id };
}

/* Submits what was added and waits for it all. Meanwhile it does something else. */
static void ring_go(struct ring *r, struct me *m, bool busy)
{
	unsigned n = r->n_queued, head = *r->cq_head;

	r->n_queued = 0;
	if (MUST(syscall(SYS_io_uring_enter, r->fd, n, 0, 0, NULL, 0)) != n)
		FAIL("io_uring_enter took fewer");
	if (busy)
		MUST(lseek(r->file, (off_t)some(&m->rnd, 100), SEEK_SET));
	while (n > 0) {
		AGAIN(syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
		while (n > 0 && head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
			const struct io_uring_cqe *c = &r->cqes[head & *r->cq_mask];

			if (c->user_data >= 2 * ENTRIES)
				FAIL("io_uring: a completion of nothing");
			r->results[c->user_data] = c->res;
			__atomic_store_n(r->cq_head, ++head, __ATOMIC_RELEASE);
			n--;
		}
	}
	if (head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
		FAIL("io_uring: more completions than entries");
}

/* --- What is done -------------------------------------------------------------------------- */

static void add_read(struct ring *r, struct me *m, unsigned i)
{
	const struct shared *s = &shared[some(&m->rnd, N_SHARED)];
	struct wanted *w = &r->wanted[i];

	*w = (struct wanted){ s, some(&m->rnd, s->size), some(&m->rnd, ROOM) };
	ring_add(r, entry(IORING_OP_READ, s->fd, m->buf + i * ROOM, w->n, w->at, i));
}

static void check_read(const struct ring *r, const struct me *m, unsigned i)
{
	const struct wanted *w = &r->wanted[i];

	errno = r->results[i] < 0 ? -r->results[i] : 0;
	check_count("io_uring", r->results[i], w->n, w->s->size, w->at);
	check_bytes("io_uring", m->buf + i * ROOM, (size_t)r->results[i], w->s->seed, w->at);
}

static void ring_reads(struct ring *r, struct me *m)
{
	unsigned n = 1 + (unsigned)some(&m->rnd, ENTRIES - 1);
	uint8_t magic[4] = "";

	for (unsigned i = 0; i < n; i++)
		add_read(r, m, i);
	ring_add(r, entry(IORING_OP_READ, r->native, magic, sizeof magic, 0, n));
	ring_go(r, m, true);
	for (unsigned i = 0; i < n; i++)
		check_read(r, m, i);
	if (r->results[n] != 4 || memcmp(magic, "\177ELF", 4) != 0)
		FAIL("io_uring: a native file: %d", r->results[n]);
}

/* Writes, syncs, reads again, in one chain. */
static void ring_chain(struct ring *r, struct me *m)
{
	struct io_uring_sqe e;
	uint8_t *to = m->buf + CHAIN;

	r->generation++;
	for (unsigned i = 0; i < CHAIN; i++)
		m->buf[i] = byte_at(r->generation, i);
	memset(to, 0, CHAIN);
	e = entry(IORING_OP_WRITE, r->file, m->buf, CHAIN, 0, 0);
	e.flags = IOSQE_IO_LINK;
	ring_add(r, e);
	e = entry(IORING_OP_FSYNC, r->file, NULL, 0, 0, 1);
	e.flags = IOSQE_IO_LINK;
	ring_add(r, e);
	ring_add(r, entry(IORING_OP_READ, r->file, to, CHAIN, 0, 2));
	ring_go(r, m, false);
	r->n_chains++;
	/* The kernel cancels what it can make no thread for, which is rare. */
	if (r->results[0] == -ECANCELED && ++r->n_cancelled < 3 + r->n_chains / 10)
		return;
	if (r->results[0] != (int)CHAIN || r->results[1] != 0 || r->results[2] != (int)CHAIN)
		FAIL("io_uring: a chain: %d, %d, %d", r->results[0], r->results[1], r->results[2]);
	check_bytes("a chain", to, CHAIN, r->generation, 0);
}

static void ring_cancel(struct ring *r, struct me *m)
{
	unsigned n = ENTRIES / 2;

	for (unsigned i = 0; i < n; i++)
		add_read(r, m, i);
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe e = entry(IORING_OP_ASYNC_CANCEL, -1, NULL, 0, 0, ENTRIES + i);

		e.addr = i;
		ring_add(r, e);
	}
	ring_go(r, m, false);
	for (unsigned i = 0; i < n; i++) {
		int c = r->results[ENTRIES + i];

		if (c != 0 && c != -ENOENT && c != -EALREADY)
			FAIL("io_uring: a cancel: %d", c);
		if (r->results[i] == -ECANCELED && c != -ENOENT)
			continue;
		check_read(r, m, i);
	}
}

static void ringer_begin(struct me *m)
{
	struct ring *r = calloc(1, sizeof *r);
	char path[PATH_SIZE];

	if (!r)
		FAIL("no memory");
	r->file = MUST(open(path_of(path, "ringed", m->number), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	r->native = MUST(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	ring_open(r);
	m->own = r;
}

static void ringer_step(struct me *m)
{
	struct ring *r = m->own;

	if (r->fd < 0)
		return (void)usleep(100000);
	switch (some(&m->rnd, 8)) {
	case 0:
		ring_chain(r, m);
		break;
	case 1:
		ring_cancel(r, m);
		break;
	case 2:
		if (some(&m->rnd, 8) == 0) {
			ring_close(r);
			ring_open(r);
		}
		break;
	default:
		ring_reads(r, m);
	}
}

static void ringer_end(struct me *m)
{
	struct ring *r = m->own;

	ring_close(r);
	MUST(close(r->file));
	MUST(close(r->native));
	free(r);
}

const struct role role_ringer = {
	.name = "ringer", .threads = 2, .begin = ringer_begin, .step = ringer_step, .end = ringer_end
};
