/* Purpose: copies one local file to ff3fs: into a temporary name beside the new one, durable,
 * compared with what was sent, with its mode and time, and then renamed.
 *
 * The comparison reads the file back from the daemons and compares one CRC32C a piece with what
 * was computed from the bytes as they were read from the local file. A daemon that goes away in
 * the middle costs another try of the whole file, because what it had not made durable is gone.
 * Threads: any number, each with a job of its own. */
#include <fcntl.h>
#include <sys/stat.h>

#include "../common/base/crc32c.h"
#include "../common/base/err.h"
#include "pieces.h"
#include "put.h"

/* The checksums of a file's pieces, in order. */
struct sums {
	uint32_t *crcs;
	size_t n, room;
};

static int keep_sum(struct sums *s, uint32_t crc)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 16;
		uint32_t *crcs = reallocarray(s->crcs, room, sizeof *crcs);

		if (!crcs)
			return -ENOMEM;
		s->crcs = crcs;
		s->room = room;
	}
	s->crcs[s->n++] = crc;
	return 0;
}

/* One file on its way. */
struct put {
	const struct transfer_job *job;
	int fd;
	bool is_stdin;
	char *temporary;
	struct sums sums;
	uint64_t size;    /* copied so far */
	uint64_t counted; /* of it, in the progress bar */
	struct pieces pieces;
	char why[256]; /* the library's words about the failure */
};

/* Which side failed: a local error is told with errno's words, a remote one with the library's. */
enum side { LOCAL, REMOTE };

struct result {
	int r;
	enum side side;
};

static struct result local(int r)
{
	return (struct result){ r, LOCAL };
}

static struct result remote(int r)
{
	return (struct result){ r, REMOTE };
}

/* Reads until the piece is full or the file ends. */
static ssize_t fill(int fd, char *buf, size_t room)
{
	size_t n = 0;

	while (n < room && !transfer_stop) {
		ssize_t r = read(fd, buf + n, room - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return transfer_stop ? -ECANCELED : (ssize_t)n;
}

/* A byte that is to be read back is half done when it is written. */
static void count(struct put *p, size_t len)
{
	p->counted += len;
	transfer.progress.bytes += len;
}

static int take_written(struct put *p)
{
	struct piece *piece;
	int r = pieces_take(&p->pieces, &piece);

	if (r < 0)
		return r;
	if (piece->result < 0)
		return (int)piece->result;
	if ((size_t)piece->result != piece->len)
		return -EIO;
	count(p, transfer.verify ? piece->len / 2 : piece->len);
	return 0;
}

static struct result send_data(struct put *p, struct ff3fs_file *file)
{
	for (;;) {
		struct piece *piece;
		ssize_t n;
		int r = 0;

		if (pieces_full(&p->pieces) && (r = take_written(p)) < 0)
			return remote(r);
		piece = pieces_next(&p->pieces);
		n = fill(p->fd, piece->buf, p->pieces.room);
		if (n < 0)
			return local((int)n);
		if (n == 0)
			break;
		piece->len = (size_t)n;
		piece->offset = p->size;
		r = keep_sum(&p->sums, ff3_crc32c(0, piece->buf, piece->len));
		if (r < 0)
			return local(r);
		r = pieces_write(&p->pieces, file);
		if (r < 0)
			return remote(r);
		p->size += piece->len;
		if ((size_t)n < p->pieces.room)
			break;
	}
	while (p->pieces.n > 0) {
		int r = take_written(p);

		if (r < 0)
			return remote(r);
	}
	return local(0);
}

static int compare_piece(struct put *p, const struct piece *piece)
{
	size_t i = (size_t)(piece->offset / p->pieces.room);

	count(p, piece->len - piece->len / 2);

	if (piece->result < 0)
		return (int)piece->result;
	if ((size_t)piece->result != piece->len ||
	    ff3_crc32c(0, piece->buf, piece->len) != p->sums.crcs[i])
		return FF3_E_CHECKSUM;
	return 0;
}

/* Reads back what is stored. */
static int verify_data(struct put *p, struct ff3fs_file *file)
{
	uint64_t asked = 0;

	while (asked < p->size || p->pieces.n > 0) {
		struct piece *piece;
		int r;

		if (transfer_stop)
			return -ECANCELED;
		if (asked < p->size && !pieces_full(&p->pieces)) {
			piece = pieces_next(&p->pieces);
			piece->offset = asked;
			piece->len = (size_t)MIN((uint64_t)p->pieces.room, p->size - asked);
			asked += piece->len;
			r = pieces_read(&p->pieces, file);
		} else {
			r = pieces_take(&p->pieces, &piece);
			r = r < 0 ? r : compare_piece(p, piece);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int verify(struct put *p)
{
	struct ff3fs_file *file;
	struct ff3fs_attr attr;
	int r = ff3fs_open(transfer.fs, FF3FS_ROOT, p->temporary, O_RDONLY, 0, &file), closed;

	if (r < 0)
		return r;
	r = ff3fs_fstat(file, &attr);
	if (r >= 0 && attr.size != p->size)
		r = FF3_E_CHECKSUM;
	if (r >= 0)
		r = verify_data(p, file);
	closed = ff3fs_close(file);
	return r < 0 ? r : closed;
}

/* The permission bits that the copy is made with. Its owner must be able to read it back. */
static mode_t first_mode(const struct put *p)
{
	return p->is_stdin ? p->job->st.st_mode & 0777 : (p->job->st.st_mode & 0777) | S_IRUSR;
}

static struct result write_temporary(struct put *p)
{
	struct ff3fs_file *file;
	struct result result;
	int r = ff3fs_open(transfer.fs, FF3FS_ROOT, p->temporary, O_WRONLY | O_CREAT | O_EXCL,
			   first_mode(p), &file);

	if (r < 0)
		return remote(r);
	result = send_data(p, file);
	/* Nothing of the batch may be under way when the file closes. */
	while (p->pieces.n > 0) {
		struct piece *piece;

		if (pieces_take(&p->pieces, &piece) < 0)
			break;
	}
	r = ff3fs_close(file);
	return result.r < 0 ? result : remote(r);
}

/* Mode and time, then the name. */
static int finish(struct put *p)
{
	const struct stat *st = &p->job->st;
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r = 0;

	if (!p->is_stdin && (st->st_mode & 07777) != first_mode(p))
		r = ff3fs_chmod(transfer.fs, FF3FS_ROOT, p->temporary, st->st_mode & 07777, 0);
	if (r >= 0 && !p->is_stdin)
		r = ff3fs_utimens(transfer.fs, FF3FS_ROOT, p->temporary, times, 0);
	if (r >= 0 && transfer_stop)
		r = -ECANCELED;
	if (r >= 0)
		r = ff3fs_rename(transfer.fs, FF3FS_ROOT, p->temporary, FF3FS_ROOT, p->job->to, 0);
	return r;
}

static struct result put_once(struct put *p)
{
	uint64_t hint = p->is_stdin ? UINT64_MAX - 1 : (uint64_t)p->job->st.st_size;
	struct result result;
	int r;

	p->size = p->counted = p->sums.n = 0;
	p->temporary = transfer_temporary(p->job->to);
	if (!p->temporary)
		return local(-ENOMEM);
	r = pieces_init(&p->pieces, transfer.fs, hint);
	result = r < 0 ? remote(r) : write_temporary(p);
	if (result.r >= 0 && transfer.verify)
		result = remote(verify(p));
	if (result.r >= 0)
		result = remote(finish(p));
	if (result.r < 0) {
		snprintf(p->why, sizeof p->why, "%s", ff3fs_last_error());
		ff3fs_unlink(transfer.fs, FF3FS_ROOT, p->temporary);
		transfer.progress.bytes -= p->counted;
	}
	pieces_done(&p->pieces);
	free(TAKE_PTR(p->temporary));
	return result;
}

static int open_source(struct put *p)
{
	if (p->is_stdin)
		return 0;
	p->fd = open(p->job->from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (p->fd < 0)
		return -errno;
	posix_fadvise(p->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

/* A file that was written to while it was read may be half old and half new. */
static void check_unchanged(const struct put *p)
{
	const struct stat *before = &p->job->st;
	struct stat now;

	if (p->is_stdin || fstat(p->fd, &now) < 0)
		return;
	if (now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
		return;
	cli_message("%s: changed while it was copied; copy it again", p->job->from);
	transfer.skipped++;
}

static void put_with_retries(struct put *p)
{
	struct result result = { 0 };
	int r = open_source(p);

	if (r < 0) {
		transfer_failed(cli_local_error(p->job->from, r));
		return;
	}
	for (int tries = 1;; tries++) {
		result = put_once(p);
		if (result.r >= 0 || result.side == LOCAL || tries == TRANSFER_TRIES ||
		    !transfer_may_retry(result.r) || p->is_stdin || lseek(p->fd, 0, SEEK_SET) < 0)
			break;
		cli_note("%s: %s; copying it again", p->job->from,
			 *p->why ? p->why : ff3fs_strerror(result.r));
	}
	if (result.r >= 0) {
		transfer.files++;
		transfer.bytes += p->size;
		cli_verbose("%s -> %s", p->job->from, cli_shown(p->job->to));
		check_unchanged(p);
		return;
	}
	if (transfer_stop)
		return;
	transfer_failed(result.side == LOCAL ? cli_local_error(p->job->from, result.r) :
					       cli_error_why(p->job->to, result.r, p->why));
}

static bool is_there(const struct transfer_job *job)
{
	struct ff3fs_attr attr;

	return ff3fs_stat(transfer.fs, FF3FS_ROOT, job->to, FF3FS_NOFOLLOW, &attr) >= 0 &&
	       S_ISREG(attr.mode) && attr.size == (uint64_t)job->st.st_size &&
	       attr.mtime.tv_sec == job->st.st_mtim.tv_sec &&
	       attr.mtime.tv_nsec == job->st.st_mtim.tv_nsec;
}

void put_file(void *arg)
{
	struct transfer_job *job = arg;
	struct put p = { .job = job, .fd = 0, .is_stdin = strcmp(job->from, "-") == 0 };

	if (transfer_stop) {
		transfer_job_free(job);
		return;
	}
	if (!p.is_stdin && transfer.resume && is_there(job)) {
		transfer.unchanged++;
		transfer.progress.bytes += (uint64_t)job->st.st_size;
	} else if (cli.dry_run) {
		cli_note("would copy %s to %s", job->from, cli_shown(job->to));
		transfer.files++;
		transfer.bytes += p.is_stdin ? 0 : (uint64_t)job->st.st_size;
	} else {
		put_with_retries(&p);
	}
	transfer.progress.files++;
	if (!p.is_stdin && p.fd > 0)
		close(p.fd);
	free(p.sums.crcs);
	transfer_job_free(job);
}
