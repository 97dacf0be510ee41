/* Purpose: chunks in memory that clients of this host map: a memfd for each, with a header (hot.h) and
 * a copy of the bytes, sealed so that nobody but us writes to its first page, and nobody resizes it. It
 * goes to clients as a descriptor that is open for reading.
 *
 * Sealed memory cannot be taken from those who map it. When a grant is over its word is 0, so that
 * nobody reads there any more, and it is free as soon as they have let go. Whether they have, the kernel
 * tells: a write lease is given only on a file that nobody else has open or mapped. Until then it counts.
 *
 * The page of hot.h's struct ff3_hot_life is made when the first grant is, on the store's thread.
 *
 * Threads: the store's; make_run on the io's helper, with what it made itself. Fork/signal: neither. */
#include "grant.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../common/base/log.h"
#include "../common/net/server.h"
#include "../common/wire/hot.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define PAGE 4096u
/* How many are looked at in one go. */
#define LOOK_MAX 256u
#define MUTEX_AT 256u

struct segment {
	struct chunkd_grant grant;
	struct ff3_hot_header *header; /* its first page */
	uint64_t size;
	int fd, ro_fd;
	TAILQ_ENTRY(segment) link; /* lingering */
};

struct segments {
	struct chunkd_grant_maker maker;
	uint64_t instance, target;
	struct ff3_hot_life *life;
	int life_fd; /* open for reading; -1: none yet */
	TAILQ_HEAD(, segment) lingering;
	uint64_t lingering_bytes;
};

struct make_job {
	struct chunkd_job job;
	struct segments *s;
	struct chunkd_making *m;
	struct segment *made;
	int status;
};

static struct segments *segments_of(struct chunkd_grant_maker *maker)
{
	return CONTAINER_OF(maker, struct segments, maker);
}

static int reopen(int fd, int flags)
{
	char path[32];
	int r;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = open(path, flags | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

static int write_all(int fd, const void *p, size_t len, off_t offset)
{
	const uint8_t *b = p;

	while (len > 0) {
		ssize_t n = pwrite(fd, b, len, offset);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		b += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

static int memory_new(const char *name, uint64_t size, int *ret)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret = fd;
	return 0;
}

/* Maps the first page for us, then seals, and opens it for them. */
static int seal(int fd, void **ret_page, int *ret_ro)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int ro;

	if (p == MAP_FAILED)
		return -errno;
	ro = fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : reopen(fd, O_RDONLY);
	if (ro < 0) {
		munmap(p, PAGE);
		return ro;
	}
	*ret_page = p;
	*ret_ro = ro;
	return 0;
}

/* --- Making ------------------------------------------------------------------------------------ */

static void segment_free(struct segment *g)
{
	if (!g)
		return;
	if (g->header)
		munmap(g->header, PAGE);
	if (g->ro_fd >= 0)
		close(g->ro_fd);
	if (g->fd >= 0)
		close(g->fd);
	free(g);
}

static int fill(struct segment *g, const struct chunkd_view *v)
{
	struct ff3_hot_header h = { .magic = FF3_HOT_MAGIC,
				    .word = v->word,
				    .ino = v->ino,
				    .index = v->index,
				    .len = v->len,
				    .version = v->version,
				    .data = ff3_hot_data_offset(v->len),
				    .n_crcs = v->n_crcs };
	void *page;
	int r = memory_new("ff3fs-hot", ff3_hot_size(v->len), &g->fd);

	if (r == 0)
		r = write_all(g->fd, v->block->p, v->len, h.data);
	if (r == 0)
		r = write_all(g->fd, v->crcs, v->n_crcs * sizeof *v->crcs, sizeof h);
	if (r == 0)
		r = write_all(g->fd, &h, sizeof h, 0);
	if (r == 0)
		r = seal(g->fd, &page, &g->ro_fd);
	if (r == 0)
		g->header = page;
	return r;
}

static void make_run(struct chunkd_job *job)
{
	struct make_job *j = CONTAINER_OF(job, struct make_job, job);
	struct segment *g = calloc(1, sizeof *g);

	j->status = -ENOMEM;
	if (!g)
		return;
	g->fd = g->ro_fd = -1;
	j->status = fill(g, &j->m->view);
	if (j->status < 0)
		segment_free(g);
	else
		j->made = g;
}

static void make_done(struct chunkd_job *job)
{
	struct make_job *j = CONTAINER_OF(job, struct make_job, job);
	struct chunkd_making *m = j->m;
	struct segment *g = j->made;
	int status = j->status;

	if (g) {
		g->grant.maker = &j->s->maker;
		g->size = ff3_hot_size(m->view.len);
	}
	free(j);
	m->done(m, status, g ? &g->grant : NULL);
}

/* The word of a mutex that has the owner's thread id. */
static int find_owner(struct ff3_hot_life *life)
{
	uint32_t tid = (uint32_t)gettid();

	for (uint32_t at = MUTEX_AT; at + 4 <= MUTEX_AT + sizeof(pthread_mutex_t); at += 4)
		if (*(uint32_t *)((uint8_t *)life + at) == tid) {
			life->offset = at;
			life->owner = tid;
			return 0;
		}
	return -EOPNOTSUPP;
}

static int lock_for_life(struct ff3_hot_life *life)
{
	pthread_mutex_t *mutex = (void *)((uint8_t *)life + MUTEX_AT);
	pthread_mutexattr_t attr;
	int r;

	pthread_mutexattr_init(&attr);
	r = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(mutex, &attr);
	if (r == 0)
		r = pthread_mutex_lock(mutex);
	pthread_mutexattr_destroy(&attr);
	return r ? -r : find_owner(life);
}

static int life_begin(struct segments *s)
{
	void *page;
	int fd, ro, r;

	if (s->life_fd >= 0)
		return 0;
	r = memory_new("ff3fs-life", FF3_HOT_LIFE_SIZE, &fd);
	if (r < 0)
		return r;
	r = seal(fd, &page, &ro);
	close(fd);
	if (r < 0)
		return r;
	s->life = page;
	s->life->magic = FF3_HOT_MAGIC;
	s->life->instance = s->instance;
	s->life->target = s->target;
	r = lock_for_life(s->life);
	if (r < 0) {
		munmap(TAKE_PTR(s->life), PAGE);
		close(ro);
		return r;
	}
	s->life_fd = ro;
	return 0;
}

static void make(struct chunkd_grant_maker *maker, struct chunkd_making *m)
{
	struct segments *s = segments_of(maker);
	struct make_job *j = calloc(1, sizeof *j);
	int r = j ? life_begin(s) : -ENOMEM;

	if (r < 0) {
		free(j);
		m->done(m, r, NULL);
		return;
	}
	*j = (struct make_job){ .job = { .run = make_run, .done = make_done }, .s = s, .m = m };
	m->view.io->ops->job(m->view.io, &j->job);
}

static bool possible(struct chunkd_grant_maker *maker, struct ff3_conn *conn)
{
	return ff3_conn_cred(conn) != NULL;
}

static uint64_t size_of(struct chunkd_grant_maker *maker, uint32_t len)
{
	return ff3_hot_size(len);
}

static void answer(struct chunkd_grant *grant, struct ff3_request *r,
		   struct ff3_rep_chunk_expose *reply)
{
	struct segment *g = CONTAINER_OF(grant, struct segment, grant);
	int fds[] = { g->ro_fd, segments_of(grant->maker)->life_fd };
	uint8_t body[128];
	size_t len;

	reply->kind = FF3_EXPOSED_MAPPED;
	reply->word = atomic_load_explicit(&g->header->word, memory_order_relaxed);
	reply->size = g->size;
	len = ff3_encode_rep_chunk_expose(body, sizeof body, reply);
	ff3_request_reply_fds(r, 0, body, len, fds, ARRAY_SIZE(fds));
}

/* --- The end ----------------------------------------------------------------------------------- */

/* Whether nobody but us has it open or mapped. */
static bool is_let_go(const struct segment *g)
{
	int fd = reopen(g->fd, O_RDONLY);
	bool free;

	if (fd < 0)
		return false;
	/* Where there are no leases, memory is only counted too low. */
	free = fcntl(fd, F_SETLEASE, F_WRLCK) == 0 || errno != EAGAIN;
	close(fd);
	return free;
}

static void segment_revoke(struct chunkd_grant *grant, void (*done)(struct chunkd_grant *grant))
{
	struct segment *g = CONTAINER_OF(grant, struct segment, grant);
	struct segments *s = segments_of(grant->maker);

	/* Before anything that is done and answered after it. */
	atomic_store(&g->header->word, 0);
	munmap(TAKE_PTR(g->header), PAGE);
	close(g->ro_fd);
	g->ro_fd = -1;
	TAILQ_INSERT_TAIL(&s->lingering, g, link);
	s->lingering_bytes += g->size;
	done(grant);
}

static uint64_t lingering(struct chunkd_grant_maker *maker)
{
	struct segments *s = segments_of(maker);
	struct segment *g;

	for (unsigned i = 0; i < LOOK_MAX && (g = TAILQ_FIRST(&s->lingering)); i++) {
		TAILQ_REMOVE(&s->lingering, g, link);
		if (!is_let_go(g)) {
			TAILQ_INSERT_TAIL(&s->lingering, g, link);
			continue;
		}
		s->lingering_bytes -= g->size;
		segment_free(g);
	}
	return s->lingering_bytes;
}

static void segments_free(struct chunkd_grant_maker *maker)
{
	struct segments *s = segments_of(maker);
	struct segment *g;

	while ((g = TAILQ_FIRST(&s->lingering))) {
		TAILQ_REMOVE(&s->lingering, g, link);
		segment_free(g);
	}
	/* Its owner is no more, so the kernel has changed its word; here it stays valid for nobody. */
	if (s->life)
		munmap(s->life, PAGE);
	if (s->life_fd >= 0)
		close(s->life_fd);
	free(s);
}

static const struct chunkd_grant_ops ops = {
	.kind = FF3_EXPOSED_MAPPED,
	.possible = possible,
	.size_of = size_of,
	.make = make,
	.answer = answer,
	.revoke = segment_revoke,
	.lingering = lingering,
	.free = segments_free,
};

int chunkd_segments_new(uint64_t instance, uint64_t target, struct chunkd_grant_maker **ret)
{
	struct segments *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->maker.ops = &ops;
	s->instance = instance;
	s->target = target;
	s->life_fd = -1;
	TAILQ_INIT(&s->lingering);
	*ret = &s->maker;
	return 0;
}
