/* Purpose: backups through the HTTP endpoint. POST begins one: a state of the database is copied into
 * a file of metad's directory that has no name any more, and its checksum is taken, by a thread of its
 * own at a low priority; GET tells how far that is; GET …/data sends the file, once it is ready, and
 * lets it go; so does DELETE, which ends one under way, too. At most one at a time.
 *
 * Threads: handlers are the HTTP server's; work() is the backup's. lock guards everything; no other
 * lock is taken while it is held. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>

#include "../common/admin/backup_file.h"
#include "../common/admin/loop_call.h"
#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "admin.h"
#include "db_snapshot.h"
#include "group.h"

enum state { IDLE, RUNNING, READY, FAILED };

struct metad_backup {
	struct metad *m;
	pthread_t thread;
	pthread_mutex_t lock;
	enum state state;
	bool thread_exists;
	bool cancel;
	uint64_t done, total;
	int error;
	int fd; /* when it is ready */
	struct ff3_backup about;
};

static int on_step(void *arg, uint64_t done, uint64_t total)
{
	struct metad_backup *b = arg;
	bool cancel;

	pthread_mutex_lock(&b->lock);
	b->done = done;
	b->total = total * 2; /* it is read again for the checksum */
	cancel = b->cancel;
	pthread_mutex_unlock(&b->lock);
	return cancel ? -ECANCELED : 0;
}

static int take_checksum(struct metad_backup *b, int fd, struct ff3_backup *about)
{
	_cleanup_free_ uint8_t *buf = malloc(FF3_MIB(1));
	uint64_t offset = 0;
	ssize_t len;
	int r;

	if (!buf)
		return -ENOMEM;
	while ((len = pread(fd, buf, FF3_MIB(1), (off_t)offset)) > 0) {
		about->crc = ff3_crc32c(about->crc, buf, (size_t)len);
		offset += (uint64_t)len;
		r = on_step(b, b->total / 2 + offset, b->total / 2);
		if (r < 0)
			return r;
	}
	about->size = offset;
	return len < 0 ? -errno : 0;
}

static int add_trailer(int fd, const struct ff3_backup *about)
{
	char trailer[FF3_BACKUP_TRAILER];

	ff3_backup_encode(about, trailer);
	if (pwrite(fd, trailer, sizeof trailer, (off_t)about->size) != (ssize_t)sizeof trailer)
		return errno ? -errno : -EIO;
	return fsync(fd) < 0 ? -errno : 0;
}

static int copy(struct metad_backup *b, const char *path, struct ff3_backup *about)
{
	struct metad_db_snapshot *snapshot;
	const struct metad_meta *meta;
	int r = metad_db_snapshot_open(metad_db_path(b->m->db), &snapshot);

	if (r < 0)
		return r;
	meta = metad_db_snapshot_meta(snapshot);
	*about = (struct ff3_backup){
		.cluster = meta->cluster,
		.epoch = meta->epoch,
		.seq = meta->applied_seq,
		.time = meta->time,
		.inodes = meta->n_inodes,
	};
	r = metad_db_snapshot_copy(snapshot, path, on_step, b);
	metad_db_snapshot_close(snapshot);
	return r;
}

static int make(struct metad_backup *b, int *ret_fd, struct ff3_backup *about)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (asprintf(&path, "%s/backup.tmp", b->m->conf->metad.dir) < 0)
		return -ENOMEM;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	metad_checkpointer_hold(b->m, 1);
	r = copy(b, path, about);
	metad_checkpointer_hold(b->m, -1);
	(void)unlink(path);
	if (r >= 0)
		r = take_checksum(b, fd, about);
	if (r >= 0)
		r = add_trailer(fd, about);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void *work(void *arg)
{
	struct metad_backup *b = arg;
	struct ff3_backup about;
	int fd = -1, r;

	setpriority(PRIO_PROCESS, 0, 10); /* of this thread */
	r = make(b, &fd, &about);
	if (r < 0 && r != -ECANCELED)
		ff3_log_errno(r, "backup");
	else if (r == 0)
		ff3_info("backup at operation %" PRIu64 " made, %" PRIu64 " MiB", about.seq,
			 about.size >> 20);
	pthread_mutex_lock(&b->lock);
	b->state = r < 0 ? FAILED : READY;
	b->error = r;
	b->fd = fd;
	if (r == 0)
		b->about = about;
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

static void commit_now(void *arg)
{
	metad_pipeline_commit(arg);
}

static int begin(struct metad_backup *b)
{
	int r;

	/* What was answered before it was asked for is in it. */
	r = ff3_loop_call(b->m->loop, commit_now, b->m, ADMIN_TIMEOUT_MS);
	if (r < 0)
		return r;
	if (b->thread_exists)
		pthread_join(b->thread, NULL);
	b->cancel = b->thread_exists = false;
	b->done = b->total = 0;
	b->state = RUNNING;
	r = ff3_thread_new(&b->thread, work, b);
	b->thread_exists = r == 0;
	if (r != 0)
		b->state = IDLE;
	return r;
}

static json_t *about_json(const struct ff3_backup *a)
{
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "cluster", metad_admin_hex(a->cluster), "epoch",
			 (json_int_t)a->epoch, "seq", (json_int_t)a->seq, "time",
			 (json_int_t)(a->time / FF3_NSEC_PER_SEC), "inodes", (json_int_t)a->inodes,
			 "size", (json_int_t)(a->size + FF3_BACKUP_TRAILER));
}

int metad_admin_backup_status(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	static const char *const names[] = { "idle", "running", "ready", "failed" };
	struct metad_backup *b = ((struct metad_admin *)ctx)->backup;

	pthread_mutex_lock(&b->lock);
	*ret = json_pack("{s:s, s:I, s:I}", "state", names[b->state], "done", (json_int_t)b->done,
			 "total", (json_int_t)b->total);
	if (b->state == READY)
		json_object_set_new(*ret, "backup", about_json(&b->about));
	if (b->state == FAILED)
		json_object_set_new(*ret, "error", json_string(strerror(-b->error)));
	pthread_mutex_unlock(&b->lock);
	return 200;
}

int metad_admin_backup_begin(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_backup *b = ((struct metad_admin *)ctx)->backup;
	bool busy;
	int r;

	if (!metad_group_serves(b->m))
		return ff3_http_problem(ret, 409, "NOT_PRIMARY", "ask the primary: GET /v1/metad/members",
					"this member does not serve");
	pthread_mutex_lock(&b->lock);
	busy = b->state == RUNNING || b->state == READY;
	pthread_mutex_unlock(&b->lock);
	if (busy)
		return ff3_http_problem(ret, 409, "EBUSY",
					"DELETE /v1/metad/backup drops it, if nobody waits for it",
					"a backup is being made or fetched already");
	r = begin(b);
	if (r < 0)
		return ff3_http_problem_errno(ret, r, "backup");
	metad_admin_backup_status(ctx, request, ret);
	return 202;
}

int metad_admin_backup_drop(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_backup *b = ((struct metad_admin *)ctx)->backup;

	pthread_mutex_lock(&b->lock);
	b->cancel = true;
	if (b->state == READY || b->state == FAILED) {
		ff3_closep(&b->fd);
		b->fd = -1;
		b->state = IDLE;
	}
	pthread_mutex_unlock(&b->lock);
	return metad_admin_backup_status(ctx, request, ret);
}

int metad_admin_backup_data(void *ctx, const struct ff3_http_request *request, int *ret_fd,
			    uint64_t *ret_size, json_t **ret)
{
	struct metad_backup *b = ((struct metad_admin *)ctx)->backup;
	bool ready;

	pthread_mutex_lock(&b->lock);
	ready = b->state == READY;
	if (ready) {
		*ret_fd = TAKE_FD(b->fd);
		*ret_size = b->about.size + FF3_BACKUP_TRAILER;
		b->state = IDLE;
	}
	pthread_mutex_unlock(&b->lock);
	if (ready)
		return 200;
	return ff3_http_problem(ret, 409, "EAGAIN", "POST /v1/metad/backup makes one",
				"there is no backup to be fetched");
}

int metad_backup_new(struct metad *m, struct metad_backup **ret)
{
	struct metad_backup *b = calloc(1, sizeof *b);

	if (!b)
		return -ENOMEM;
	b->m = m;
	b->fd = -1;
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;
}

void metad_backup_free(struct metad_backup *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->cancel = true;
	pthread_mutex_unlock(&b->lock);
	if (b->thread_exists)
		pthread_join(b->thread, NULL);
	ff3_closep(&b->fd);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
