/* Purpose: copies one file of ff3fs to a local temporary name, then gives it its mode, time and
 * name. What arrives has been compared with the checksums stored with it by the library.
 * Threads: any number, each with a job of its own. */
#include <fcntl.h>
#include <sys/stat.h>

#include "../common/base/err.h"
#include "get.h"
#include "pieces.h"

struct get {
	const struct transfer_job *job;
	bool is_stdout;
	char *temporary;
	int fd;
	uint64_t size; /* written so far */
	char why[256]; /* the library's words about the failure */
	struct pieces pieces;
};

enum side { LOCAL, REMOTE };

struct result {
	int r;
	enum side side;
};

static struct result local(int r)
{
	return (struct result){ r, LOCAL };
}

/* Keeps the library's words, which the next call into it would forget. */
static struct result remote(struct get *g, int r)
{
	if (r < 0 && !*g->why)
		snprintf(g->why, sizeof g->why, "%s", ff3fs_last_error());
	return (struct result){ r, REMOTE };
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR && !transfer_stop)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Pieces are written in the file's order, so that stdout can be a pipe. A short one is the end. */
static struct result receive(struct get *g, struct ff3fs_file *file, uint64_t size)
{
	uint64_t asked = 0;
	bool ended = false;

	while ((asked < size && !ended) || g->pieces.n > 0) {
		struct piece *piece;
		int r;

		if (transfer_stop)
			return local(-ECANCELED);
		if (asked < size && !ended && !pieces_full(&g->pieces)) {
			piece = pieces_next(&g->pieces);
			piece->offset = asked;
			piece->len = (size_t)MIN((uint64_t)g->pieces.room, size - asked);
			asked += piece->len;
			r = pieces_read(&g->pieces, file);
			if (r < 0)
				return remote(g, r);
			continue;
		}
		r = pieces_take(&g->pieces, &piece);
		if (r >= 0 && piece->result < 0)
			r = (int)piece->result;
		if (r < 0)
			return remote(g, r);
		if (ended)
			continue;
		ended = (size_t)piece->result < piece->len;
		r = write_all(g->fd, piece->buf, (size_t)piece->result);
		if (r < 0)
			return local(r);
		g->size += (uint64_t)piece->result;
		transfer.progress.bytes += (uint64_t)piece->result;
	}
	return local(0);
}

static struct result receive_file(struct get *g)
{
	struct ff3fs_file *file;
	struct ff3fs_attr attr;
	struct result result;
	int r = ff3fs_open(transfer.fs, FF3FS_ROOT, g->job->from, O_RDONLY, 0, &file);

	if (r < 0)
		return remote(g, r);
	r = ff3fs_fstat(file, &attr);
	if (r >= 0)
		r = pieces_init(&g->pieces, transfer.fs, attr.size);
	if (r < 0) {
		ff3fs_close(file);
		return remote(g, r);
	}
	/* A full disk shows before the data have travelled. Not every file system can. */
	if (!g->is_stdout && attr.size > PIECE_SIZE && fallocate(g->fd, 0, 0, (off_t)attr.size) < 0 &&
	    errno == ENOSPC)
		result = local(-ENOSPC);
	else
		result = receive(g, file, attr.size);
	pieces_done(&g->pieces);
	r = ff3fs_close(file);
	return result.r < 0 ? result : remote(g, r);
}

/* Cuts what fallocate gave too much, and sets mode, time and name. */
static int finish(struct get *g)
{
	const struct stat *st = &g->job->st;
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (ftruncate(g->fd, (off_t)g->size) < 0 || fchmod(g->fd, st->st_mode & 07777) < 0 ||
	    futimens(g->fd, times) < 0)
		return -errno;
	/* Some file systems tell only now that they could not store it. */
	if (close(TAKE_FD(g->fd)) < 0)
		return -errno;
	return rename(g->temporary, g->job->to) < 0 ? -errno : 0;
}

static struct result get_once(struct get *g)
{
	struct result result;

	g->size = 0;
	*g->why = '\0';
	if (g->is_stdout) {
		g->fd = STDOUT_FILENO;
		return receive_file(g);
	}
	g->temporary = transfer_temporary(g->job->to);
	if (!g->temporary)
		return local(-ENOMEM);
	g->fd = open(g->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (g->fd < 0) {
		result = local(-errno);
		free(TAKE_PTR(g->temporary));
		return result;
	}
	result = receive_file(g);
	if (result.r >= 0 && transfer_stop)
		result = local(-ECANCELED);
	if (result.r >= 0)
		result = local(finish(g));
	if (result.r < 0) {
		unlink(g->temporary);
		transfer.progress.bytes -= g->size;
	}
	if (g->fd >= 0)
		close(TAKE_FD(g->fd));
	free(TAKE_PTR(g->temporary));
	return result;
}

static void get_with_retries(struct get *g)
{
	struct result result = { 0 };

	for (int tries = 1;; tries++) {
		result = get_once(g);
		if (result.r >= 0 || result.side == LOCAL || tries == TRANSFER_TRIES ||
		    !transfer_may_retry(result.r) || (g->is_stdout && g->size > 0))
			break;
		cli_note("%s: %s; copying it again", cli_shown(g->job->from),
			 *g->why ? g->why : ff3fs_strerror(result.r));
	}
	if (result.r >= 0) {
		transfer.files++;
		transfer.bytes += g->size;
		cli_verbose("%s -> %s", cli_shown(g->job->from), g->job->to);
		return;
	}
	if (transfer_stop)
		return;
	if (result.side == LOCAL)
		transfer_failed(cli_local_error(g->is_stdout ? "stdout" : g->job->to, result.r));
	else
		transfer_failed(cli_error_why(g->job->from, result.r, g->why));
}

static bool is_there(const struct transfer_job *job)
{
	struct stat st;

	return lstat(job->to, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size == job->st.st_size &&
	       st.st_mtim.tv_sec == job->st.st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == job->st.st_mtim.tv_nsec;
}

void get_file(void *arg)
{
	struct transfer_job *job = arg;
	struct get g = { .job = job, .fd = -1, .is_stdout = strcmp(job->to, "-") == 0 };

	if (transfer_stop) {
		transfer_job_free(job);
		return;
	}
	if (!g.is_stdout && transfer.resume && is_there(job)) {
		transfer.unchanged++;
		transfer.progress.bytes += (uint64_t)job->st.st_size;
	} else if (cli.dry_run) {
		cli_note("would copy %s to %s", cli_shown(job->from), job->to);
		transfer.files++;
		transfer.bytes += (uint64_t)job->st.st_size;
	} else {
		get_with_retries(&g);
	}
	transfer.progress.files++;
	transfer_job_free(job);
}
