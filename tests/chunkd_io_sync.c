/* See chunkd_io_sync.h. Unsynced writes are kept with what was there before, newest first. */
#include "chunkd_io_sync.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define SECTOR 512u

struct chunkd_sync_undo {
	struct chunkd_sync_undo *next;
	char path[256];
	ino_t ino;
	uint64_t offset;
	size_t len;
	uint8_t old[];
};

struct chunkd_sync_due {
	struct chunkd_sync_due *next;
	struct ff3_io *op;
	int res;
};

static struct chunkd_sync *sync_of(struct chunkd_io *io)
{
	return CONTAINER_OF(io, struct chunkd_sync, io);
}

/* Counts an operation. 0: do it; 1: the power is gone; else its error. */
static int count(struct chunkd_sync *s)
{
	s->n_ops++;
	if (s->crash_at && s->n_ops >= s->crash_at)
		s->crashed = true;
	if (s->crashed)
		return 1;
	return s->n_ops == s->fail_at ? s->fail_error : 0;
}

static void finish(struct chunkd_sync *s, struct ff3_io *op, ssize_t res)
{
	struct chunkd_sync_due *due = calloc(1, sizeof *due);

	if (!due)
		abort();
	due->op = op;
	due->res = (int)res;
	*s->last = due;
	s->last = &due->next;
}

static size_t maybe_short(struct chunkd_sync *s, size_t len)
{
	if (s->short_one_in && len > FF3_BLOCK && (unsigned)rand_r(&s->seed) % s->short_one_in == 0)
		return FF3_BLOCK * (1 + (size_t)rand_r(&s->seed) % (len / FF3_BLOCK));
	return len;
}

static void sync_read(struct chunkd_io *io, int fd, void *buf, size_t len, uint64_t offset,
		      struct ff3_io *op)
{
	struct chunkd_sync *s = sync_of(io);
	int r = count(s);
	ssize_t n;

	if (r == 1)
		return;
	n = r ? r : pread(fd, buf, maybe_short(s, len), (off_t)offset);
	finish(s, op, n == -1 && !r ? -errno : n);
}

static void remember(struct chunkd_sync *s, int fd, size_t len, uint64_t offset)
{
	struct chunkd_sync_undo *u = calloc(1, sizeof *u + len);
	char link[64];
	struct stat st;
	void *aligned;

	if (!u || posix_memalign(&aligned, FF3_BLOCK, len) || fstat(fd, &st) < 0)
		abort();
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (readlink(link, u->path, sizeof u->path - 1) < 0)
		abort();
	if (pread(fd, aligned, len, (off_t)offset) != (ssize_t)len)
		abort();
	memcpy(u->old, aligned, len);
	free(aligned);
	u->ino = st.st_ino;
	u->offset = offset;
	u->len = len;
	u->next = s->undo;
	s->undo = u;
}

static void sync_write(struct chunkd_io *io, int fd, const void *buf, size_t len, uint64_t offset,
		       struct ff3_io *op)
{
	struct chunkd_sync *s = sync_of(io);
	int r = count(s);
	ssize_t n = r;

	if (r == 1 || r == 0) {
		/* A write that the power cut met may have reached the disk in part, too. */
		len = maybe_short(s, len);
		remember(s, fd, len, offset);
		n = pwrite(fd, buf, len, (off_t)offset);
		if (n < 0)
			n = -errno;
	}
	if (r != 1)
		finish(s, op, n);
}

static void sync_fdatasync(struct chunkd_io *io, int fd, struct ff3_io *op)
{
	struct chunkd_sync *s = sync_of(io);
	struct chunkd_sync_undo **p = &s->undo, *u;
	struct stat st;
	int r = count(s);

	if (r == 1)
		return;
	if (r == 0 && !s->skip_fdatasync) {
		if (fstat(fd, &st) < 0)
			abort();
		while ((u = *p)) {
			if (u->ino == st.st_ino) {
				*p = u->next;
				free(u);
			} else {
				p = &u->next;
			}
		}
	}
	finish(s, op, r);
}

static void sync_job(struct chunkd_io *io, struct chunkd_job *job)
{
	struct chunkd_sync *s = sync_of(io);

	job->io = io;
	job->next = NULL;
	*s->last_job = job;
	s->last_job = &job->next;
}

static void sync_fd(struct chunkd_io *io, int fd)
{
}

static const struct chunkd_io_ops ops = {
	.read = sync_read,
	.write = sync_write,
	.fdatasync = sync_fdatasync,
	.job = sync_job,
	.opened = sync_fd,
	.closing = sync_fd,
};

void chunkd_sync_init(struct chunkd_sync *s, unsigned seed)
{
	*s = (struct chunkd_sync){ .io.ops = &ops, .seed = seed };
	s->last = &s->first;
	s->last_job = &s->jobs;
}

void chunkd_sync_done(struct chunkd_sync *s)
{
	for (struct chunkd_sync_undo *u = s->undo, *next; u; u = next) {
		next = u->next;
		free(u);
	}
	s->undo = NULL;
}

bool chunkd_sync_step(struct chunkd_sync *s)
{
	struct chunkd_sync_due *due = s->first;
	struct chunkd_job *job = s->jobs;

	if (s->crashed)
		return false;
	if (due) {
		struct ff3_io *op = due->op;
		int res = due->res;

		s->first = due->next;
		if (!s->first)
			s->last = &s->first;
		free(due);
		op->fn(op, res);
		return true;
	}
	if (job) {
		if (count(s) == 1)
			return false;
		s->jobs = job->next;
		if (!s->jobs)
			s->last_job = &s->jobs;
		job->run(job);
		job->done(job);
		return true;
	}
	return false;
}

static void take_back(struct chunkd_sync *s, const struct chunkd_sync_undo *u)
{
	int fd = open(u->path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return; /* given back by its class */
	for (size_t o = 0; o < u->len; o += SECTOR)
		if (rand_r(&s->seed) % 2 &&
		    pwrite(fd, u->old + o, MIN(SECTOR, u->len - o), (off_t)(u->offset + o)) < 0)
			abort();
	close(fd);
}

void chunkd_sync_power_cut(struct chunkd_sync *s)
{
	for (const struct chunkd_sync_undo *u = s->undo; u; u = u->next)
		take_back(s, u);
	chunkd_sync_done(s);
}
