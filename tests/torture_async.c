/* I/O of torture that ends later: Linux AIO, with an eventfd too, and POSIX aio. What is in flight ends in
 * any order. A child of a fork has none of it. */
#include "torture.h"

#include <aio.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#define IN_FLIGHT 12
#define ROOM (PIECE / IN_FLIGHT)

/* --- Linux AIO ----------------------------------------------------------------------------- */

struct submitter {
	aio_context_t context;
	int event;
};

static void submitter_begin(struct me *m)
{
	struct submitter *s = calloc(1, sizeof *s);

	if (!s)
		FAIL("no memory");
	MUST(syscall(SYS_io_setup, IN_FLIGHT, &s->context));
	s->event = MUST(eventfd(0, EFD_CLOEXEC));
	m->own = s;
}

static void check_event(const struct io_event *e)
{
	const struct iocb *cb = (const struct iocb *)(uintptr_t)e->obj;
	const struct shared *s = &shared[e->data];

	check_count("AIO", e->res, cb->aio_nbytes, s->size, (size_t)cb->aio_offset);
	check_bytes("AIO", (const uint8_t *)(uintptr_t)cb->aio_buf, (size_t)e->res, s->seed,
		    (uint64_t)cb->aio_offset);
}

static void wait_for_event(int event, int n)
{
	uint64_t told;

	for (; n > 0; n -= (int)told)
		AGAIN(read(event, &told, sizeof told));
	if (n != 0)
		FAIL("an eventfd told of more than was submitted");
}

static void submitter_step(struct me *m)
{
	struct submitter *s = m->own;
	struct iocb cbs[IN_FLIGHT], *list[IN_FLIGHT];
	struct io_event events[IN_FLIGHT];
	int n = 1 + (int)some(&m->rnd, IN_FLIGHT), by_event = (int)some(&m->rnd, 2);

	for (int i = 0; i < n; i++) {
		int k = (int)some(&m->rnd, N_SHARED);

		cbs[i] = (struct iocb){ .aio_data = (uint64_t)k,
					.aio_lio_opcode = IOCB_CMD_PREAD,
					.aio_fildes = (uint32_t)shared[k].fd,
					.aio_buf = (uintptr_t)(m->buf + i * ROOM),
					.aio_nbytes = some(&m->rnd, ROOM),
					.aio_offset = (int64_t)some(&m->rnd, shared[k].size),
					.aio_flags = by_event ? IOCB_FLAG_RESFD : 0,
					.aio_resfd = by_event ? (uint32_t)s->event : 0 };
		list[i] = &cbs[i];
	}
	if (MUST(syscall(SYS_io_submit, s->context, n, list)) != n)
		FAIL("io_submit took fewer");
	if (by_event)
		wait_for_event(s->event, n);
	for (int have = 0; have < n;) {
		long got = AGAIN(syscall(SYS_io_getevents, s->context, 1, n - have, events, NULL));

		for (long i = 0; i < got; i++, have++)
			check_event(&events[i]);
	}
}

static void submitter_end(struct me *m)
{
	struct submitter *s = m->own;

	MUST(syscall(SYS_io_destroy, s->context));
	MUST(close(s->event));
	free(s);
}

const struct role role_submitter = { .name = "submitter",
				     .threads = 1,
				     .begin = submitter_begin,
				     .step = submitter_step,
				     .end = submitter_end };

/* --- POSIX aio ----------------------------------------------------------------------------- */

struct poster {
	int fd; /* to write */
	uint32_t generation;
	struct aiocb cb[IN_FLIGHT];
};

static void poster_begin(struct me *m)
{
	struct poster *p = calloc(1, sizeof *p);
	char path[PATH_SIZE];

	if (!p)
		FAIL("no memory");
	p->fd = MUST(open(path_of(path, "posted", m->number), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	m->own = p;
}

/* Its result, once it has one. */
static ssize_t posted(struct aiocb *cb)
{
	const struct aiocb *list[] = { cb };
	int e;

	while ((e = aio_error(cb)) == EINPROGRESS)
		if (aio_suspend(list, 1, NULL) < 0 && errno != EINTR)
			FAIL("aio_suspend: %s", strerror(errno));
	if (e != 0)
		FAIL("aio: %s", strerror(e));
	return aio_return(cb);
}

/* glibc's own LIO_WAIT leaves its waiters on a stack that is gone when a handler interrupts it. */
static void start_list(struct aiocb **list, int n, int mode)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	MUST(lio_listio(mode, list, n, NULL));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void post_reads(struct poster *p, struct me *m)
{
	int n = 1 + (int)some(&m->rnd, IN_FLIGHT), k[IN_FLIGHT];
	struct aiocb *list[IN_FLIGHT];

	for (int i = 0; i < n; i++) {
		k[i] = (int)some(&m->rnd, N_SHARED);
		p->cb[i] = (struct aiocb){ .aio_fildes = shared[k[i]].fd,
					   .aio_buf = m->buf + i * ROOM,
					   .aio_nbytes = some(&m->rnd, ROOM),
					   .aio_offset = (off_t)some(&m->rnd, shared[k[i]].size),
					   .aio_lio_opcode = LIO_READ };
		list[i] = &p->cb[i];
		p->cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
	}
	if (some(&m->rnd, 2)) {
		start_list(list, n, some(&m->rnd, 2) ? LIO_WAIT : LIO_NOWAIT);
	} else {
		for (int i = 0; i < n; i++)
			MUST(aio_read(&p->cb[i]));
	}
	for (int i = n - 1; i >= 0; i--) {
		const struct shared *s = &shared[k[i]];
		size_t at = (size_t)p->cb[i].aio_offset;
		ssize_t got = posted(&p->cb[i]);

		check_count("aio_read", got, p->cb[i].aio_nbytes, s->size, at);
		check_bytes("aio_read", m->buf + i * ROOM, (size_t)got, s->seed, at);
	}
}

static void post_writes(struct poster *p, struct me *m)
{
	int n = 1 + (int)some(&m->rnd, IN_FLIGHT - 1);

	p->generation++;
	for (size_t i = 0; i < (size_t)n * 5000; i++)
		m->buf[i] = byte_at(p->generation, i);
	for (int i = 0; i < n; i++) {
		p->cb[i] = (struct aiocb){ .aio_fildes = p->fd,
					   .aio_buf = m->buf + i * 5000,
					   .aio_nbytes = 5000,
					   .aio_offset = i * 5000 };
		p->cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
		MUST(aio_write(&p->cb[i]));
	}
	p->cb[n] = (struct aiocb){ .aio_fildes = p->fd };
	p->cb[n].aio_sigevent.sigev_notify = SIGEV_NONE;
	MUST(aio_fsync(O_SYNC, &p->cb[n]));
	if (posted(&p->cb[n]) != 0)
		FAIL("aio_fsync");
	for (int i = 0; i < n; i++)
		if (posted(&p->cb[i]) != 5000)
			FAIL("a short aio_write");
	memset(m->buf, 0, (size_t)n * 5000);
	if (AGAIN(pread(p->fd, m->buf, (size_t)n * 5000, 0)) != n * 5000)
		FAIL("a short read of what was written");
	check_bytes("after aio_write", m->buf, (size_t)n * 5000, p->generation, 0);
}

static void poster_step(struct me *m)
{
	if (some(&m->rnd, 4))
		post_reads(m->own, m);
	else
		post_writes(m->own, m);
}

static void poster_end(struct me *m)
{
	struct poster *p = m->own;

	MUST(close(p->fd));
	free(p);
}

const struct role role_poster = {
	.name = "poster", .threads = 1, .begin = poster_begin, .step = poster_step, .end = poster_end
};
