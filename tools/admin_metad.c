/* Purpose: ff3fs-admin metad backup|restore: a copy of metad's database in one file, and a directory
 * for metad from it.
 *
 * The file gets its name when it is whole, checked and synced; a directory gets the database's name
 * then. Nothing that exists is overwritten.
 *
 * Threads: one. */
#include <fcntl.h>
#include <dirent.h>
#include <sys/stat.h>

#include "../common/admin/backup_file.h"
#include "../common/base/crc32c.h"
#include "admin.h"
#include "cli.h"
#include "progress.h"

#define BACKUP "/v1/metad/backup"

/* --- Writing a file whose last block is the trailer ------------------------------------------------- */

/* What comes in is checked and written on; the last block is kept back until it is known to be that. */
struct sink {
	int fd;
	uint64_t written;
	uint32_t crc;
	size_t n; /* in tail */
	char tail[2 * FF3_BACKUP_TRAILER];
	int error;
};

static int write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put(struct sink *s, const char *p, size_t len)
{
	if (len == 0)
		return 0;
	s->crc = ff3_crc32c(s->crc, p, len);
	s->written += len;
	return s->fd >= 0 ? write_all(s->fd, p, len) : 0;
}

static int sink_add(struct sink *s, const char *p, size_t len)
{
	const size_t keep = FF3_BACKUP_TRAILER;
	size_t from_tail;
	int r;

	if (s->n + len <= keep) {
		memcpy(s->tail + s->n, p, len);
		s->n += len;
		return 0;
	}
	from_tail = MIN(s->n, s->n + len - keep);
	r = put(s, s->tail, from_tail);
	memmove(s->tail, s->tail + from_tail, s->n - from_tail);
	s->n -= from_tail;
	if (r >= 0 && s->n + len > keep) {
		size_t direct = s->n + len - keep;

		r = put(s, p, direct);
		p += direct;
		len -= direct;
	}
	memcpy(s->tail + s->n, p, len);
	s->n += len;
	return r;
}

/* -EBADMSG unless what came was a whole backup. */
static int sink_end(const struct sink *s, struct ff3_backup *ret)
{
	struct ff3_backup b;

	if (s->n != FF3_BACKUP_TRAILER || ff3_backup_decode(s->tail, &b) < 0 || b.size != s->written ||
	    b.crc != s->crc)
		return -EBADMSG;
	*ret = b;
	return 0;
}

static int sync_directory(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* The directory that path is in; to be freed. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int print_about(const char *verb, const char *path, const struct ff3_backup *b)
{
	char time[64], size[32], count[32];
	time_t seconds = (time_t)(b->time / FF3_NSEC_PER_SEC);
	struct tm tm;

	if (cli.json) {
		char cluster[24];

		snprintf(cluster, sizeof cluster, "%016" PRIx64, b->cluster);
		cli_print_json(json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I}", "path", cli_json_name(path),
					 "cluster", cluster, "epoch", (json_int_t)b->epoch, "seq",
					 (json_int_t)b->seq, "time", (json_int_t)seconds, "inodes",
					 (json_int_t)b->inodes, "size",
					 (json_int_t)(b->size + FF3_BACKUP_TRAILER)));
		return CLI_OK;
	}
	strftime(time, sizeof time, "%F %T", localtime_r(&seconds, &tm));
	printf("%s %s: cluster %016" PRIx64 ", operation %" PRIu64 " of %s, %s inodes, %s\n", verb, path,
	       b->cluster, b->seq, time, cli_count(count, b->inodes),
	       cli_size(size, b->size + FF3_BACKUP_TRAILER));
	return CLI_OK;
}

/* --- backup ------------------------------------------------------------------------------------------ */

static int on_data(void *arg, const char *p, size_t len)
{
	struct sink *s = arg;

	s->error = sink_add(s, p, len);
	return s->error;
}

/* Waits until metad has made it. */
static int await_ready(const char *address)
{
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	struct progress bar = { .label = "backup" };
	json_t *doc;
	int r;

	progress_start(&bar, !cli.quiet);
	for (;;) {
		const char *state;
		bool running;

		r = admin_get(address, BACKUP, &doc);
		if (r)
			break;
		state = json_string_value(json_object_get(doc, "state"));
		running = state && strcmp(state, "running") == 0;
		bar.bytes = (uint64_t)json_integer_value(json_object_get(doc, "done"));
		bar.total_bytes = (uint64_t)json_integer_value(json_object_get(doc, "total"));
		if (!running && (!state || strcmp(state, "ready") != 0)) {
			const char *error = json_string_value(json_object_get(doc, "error"));

			progress_stop();
			cli_message("metad cannot make the backup: %s", error ? error : "it was dropped");
			r = CLI_FAILURE;
		}
		json_decref(doc);
		if (r || !running)
			break;
		nanosleep(&pause, NULL);
	}
	progress_stop();
	return r;
}

static int fetch(const char *address, const char *part, struct ff3_backup *ret)
{
	_cleanup_close_ int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct sink s = { .fd = fd };
	int r;

	if (fd < 0)
		return cli_local_error(part, -errno);
	r = admin_fetch(address, BACKUP "/data", on_data, &s);
	if (s.error < 0)
		return cli_local_error(part, s.error);
	if (r)
		return r;
	if (sink_end(&s, ret) < 0) {
		cli_message("%s: what came is not a whole backup", part);
		return CLI_INTEGRITY;
	}
	r = write_all(fd, s.tail, s.n);
	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? cli_local_error(part, r) : CLI_OK;
}

int admin_backup(const char *address, const char *path)
{
	_cleanup_free_ char *part = NULL, *dir = directory_of(path);
	struct ff3_backup about;
	json_t *doc;
	int r;

	if (!dir || asprintf(&part, "%s.part", path) < 0)
		return cli_local_error(path, -ENOMEM);
	if (access(path, F_OK) == 0)
		return cli_local_error(path, -EEXIST);
	if (access(dir, W_OK) < 0)
		return cli_local_error(dir, -errno);
	r = admin_post(address, BACKUP, NULL, &doc);
	if (r)
		return r;
	json_decref(doc);
	r = await_ready(address);
	(void)unlink(part); /* of one that was interrupted */
	if (r == CLI_OK)
		r = fetch(address, part, &about);
	if (r == CLI_OK && link(part, path) < 0)
		r = cli_local_error(path, -errno);
	(void)unlink(part);
	if (r)
		return r;
	r = sync_directory(dir);
	return r < 0 ? cli_local_error(dir, r) : print_about("wrote", path, &about);
}

/* --- restore ----------------------------------------------------------------------------------------- */

static int is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 1;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = -ENOTEMPTY;
	closedir(d);
	return r;
}

/* Copies file to fd (-1: only looks at it). */
static int copy_backup(const char *file, int fd, struct sink *s, struct ff3_backup *ret)
{
	_cleanup_close_ int from = open(file, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *buf = malloc(FF3_MIB(1));
	ssize_t n = 0;
	int r = 0;

	*s = (struct sink){ .fd = fd };
	if (from < 0 || !buf)
		return cli_local_error(file, from < 0 ? -errno : -ENOMEM);
	while (r >= 0 && (n = read(from, buf, FF3_MIB(1))) > 0)
		r = sink_add(s, buf, (size_t)n);
	if (r < 0 || n < 0)
		return cli_local_error(file, r < 0 ? r : -errno);
	if (sink_end(s, ret) < 0) {
		cli_message("%s: not a backup of metad, or damaged", file);
		return CLI_INTEGRITY;
	}
	return CLI_OK;
}

static int write_file(int dir, const char *name, const char *p, size_t len)
{
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : write_all(fd, p, len);

	return r < 0 ? r : fsync(fd) < 0 ? -errno : 0;
}

/* The database's name comes last: without it the directory is that of no cluster. */
static int fill(const char *path, const char *file, struct ff3_backup *about)
{
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	struct sink s;
	int r;

	if (dir >= 0)
		fd = openat(dir, "metad.db.part", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return cli_local_error(path, -errno);
	r = copy_backup(file, fd, &s, about);
	if (r)
		return r;
	r = fsync(fd) < 0 ? -errno : write_file(dir, FF3_RESTORED_NAME, s.tail, strlen(s.tail));
	if (r >= 0 && (fsync(dir) < 0 || renameat(dir, "metad.db.part", dir, "metad.db") < 0 ||
		       fsync(dir) < 0))
		r = -errno;
	return r < 0 ? cli_local_error(path, r) : CLI_OK;
}

int admin_restore(const char *file, const char *path)
{
	_cleanup_free_ char *above = directory_of(path);
	struct ff3_backup about;
	struct sink s;
	int r = copy_backup(file, -1, &s, &about);

	if (r)
		return r;
	r = above ? 0 : -ENOMEM;
	if (r >= 0 && mkdir(path, 0700) < 0)
		r = errno == EEXIST ? is_empty(path) : -errno;
	else if (r >= 0)
		r = sync_directory(above);
	if (r < 0)
		return cli_local_error(path, r);
	r = fill(path, file, &about);
	if (r)
		return r;
	r = print_about("restored", path, &about);
	cli_note("start ff3fs-metad with metad.dir = %s, then run ff3fs-admin fsck", path);
	return r;
}
