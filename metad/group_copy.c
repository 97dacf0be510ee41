/* Purpose: a copy of the database for a member that lacks more than the log has: made on a thread of its
 * own, in copy.out, and sent in pieces while a few are on their way. A witness gets no bytes, only
 * what its log begins behind.
 *
 * One at a time. What the log has from there on is kept until the member could go on by it. Begun
 * anew when the connection breaks.
 *
 * Threads: run() on the worker, the rest on the loop's. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "db_snapshot.h"
#include "group_priv.h"

#define PIECE (512u * 1024)
#define WINDOW (8u * PIECE)
#define STALLED_NS (20 * FF3_NSEC_PER_SEC)

struct group_copy {
	struct metad_group *g;
	uint64_t id, number;
	struct metad_worker *worker;
	struct metad_job job;
	int result;
	char path[4096];
	struct metad_meta made; /* by the worker */
	struct metad_meta meta;
	bool making, sent_all, lost;
	int fd;
	uint64_t size, sent, acked, progress_ns;
	unsigned percent;
	uint64_t words[METAD_MEMBERS_WORDS];
	uint32_t n_words;
	uint8_t piece[PIECE];
};

static void end(struct metad_group *g)
{
	struct group_copy *c = TAKE_PTR(g->copy);

	metad_worker_free(c->worker);
	if (c->fd >= 0)
		close(c->fd);
	if (*c->path)
		unlink(c->path);
	if (!c->sent_all)
		g->offer_failed = c->id;
	free(c);
}

static bool send_piece(struct group_copy *c, size_t len)
{
	struct group_peer *p = group_peer(c->g, c->id);
	struct ff3_req_member_copy q = {
		.copy = c->number,
		.size = c->size,
		.offset = c->sent,
		.crc = ff3_crc32c(0, c->piece, len),
		.cluster = c->meta.cluster,
		.log_key = c->meta.log_key,
		.seq = c->meta.applied_seq,
		.epoch = c->meta.epoch,
		.hash = c->meta.applied_hash,
		.members = { c->words, c->n_words * 8 },
	};
	uint8_t body[512], *to;
	size_t n = ff3_encode_req_member_copy(body, sizeof body, &q);

	to = ff3_out_frame(p->out, FF3_OP_member_copy, body, n, len);
	if (!to)
		return false;
	memcpy(to, c->piece, len);
	ff3_out_flush(p->out);
	return true;
}

static void show_progress(struct group_copy *c)
{
	unsigned percent = c->size > 0 ? (unsigned)(100 * c->acked / c->size) : 100;

	if (percent / 10 == c->percent / 10)
		return;
	c->percent = percent;
	ff3_info("copy for member %" PRIu64 ": %u %% of %" PRIu64 " bytes", c->id, percent, c->size);
}

static void go_on(struct group_copy *c)
{
	while (c->sent < c->size && c->sent < c->acked + WINDOW) {
		size_t len = (size_t)MIN((uint64_t)PIECE, c->size - c->sent);

		if (pread(c->fd, c->piece, len, (off_t)c->sent) != (ssize_t)len || !send_piece(c, len)) {
			end(c->g);
			return;
		}
		c->sent += len;
	}
}

static int on_step(void *arg, uint64_t done, uint64_t total)
{
	return 0;
}

static int make(struct group_copy *c)
{
	struct metad_db_snapshot *snapshot;
	int r;

	if (unlink(c->path) < 0 && errno != ENOENT)
		return -errno;
	r = metad_db_snapshot_open(metad_db_path(c->g->m->db), &snapshot);
	if (r < 0)
		return r;
	c->made = *metad_db_snapshot_meta(snapshot);
	r = metad_db_snapshot_copy(snapshot, c->path, on_step, NULL);
	metad_db_snapshot_close(snapshot);
	return r;
}

static void run(struct metad_job *job)
{
	struct group_copy *c = CONTAINER_OF(job, struct group_copy, job);

	metad_checkpointer_hold(c->g->m, 1);
	c->result = make(c);
	metad_checkpointer_hold(c->g->m, -1);
}

static void on_made(struct metad_job *job)
{
	struct group_copy *c = CONTAINER_OF(job, struct group_copy, job);
	struct stat st;

	c->making = false;
	c->progress_ns = ff3_boottime_ns();
	c->fd = c->result < 0 ? -1 : open(c->path, O_RDONLY | O_CLOEXEC);
	if (c->lost || c->fd < 0 || fstat(c->fd, &st) < 0) {
		end(c->g);
		return;
	}
	c->meta = c->made;
	c->size = (uint64_t)st.st_size;
	ff3_info("member %" PRIu64 " gets a copy of the database, %" PRIu64 " bytes, up to operation %" PRIu64,
		 c->id, c->size, c->meta.applied_seq);
	go_on(c);
}

/* What its log begins behind is what is applied here. */
static int tell_witness(struct group_copy *c)
{
	struct replica_config config;
	uint32_t former;
	int r = metad_db_get_members(c->g->m->db, &config, &former);

	if (r < 0)
		return r;
	c->meta = *metad_db_meta(c->g->m->db);
	metad_members_encode(&config, c->words);
	c->n_words = 3 * config.n;
	c->progress_ns = ff3_boottime_ns();
	ff3_info("witness %" PRIu64 " begins behind operation %" PRIu64, c->id, c->meta.applied_seq);
	return send_piece(c, 0) ? 0 : -ENOTCONN;
}

int group_copy_new(struct metad_group *g, uint64_t id)
{
	struct group_peer *p = group_peer(g, id);
	struct group_copy *c;
	int r;

	if (g->copy)
		return -EBUSY;
	if (!g->m->db || !p || !p->out || !ff3_out_is_up(p->out))
		return -ENOTCONN;
	c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->g = g;
	c->id = id;
	c->number = ff3_random_u64();
	c->fd = -1;
	c->progress_ns = ff3_boottime_ns();
	c->meta.applied_seq = metad_db_committed_seq(g->m->db);
	g->copy = c;
	if (p->witness) {
		r = tell_witness(c);
	} else {
		c->making = true;
		c->job = (struct metad_job){ .run = run, .done = on_made };
		snprintf(c->path, sizeof c->path, "%s/copy.out", g->m->conf->metad.dir);
		r = metad_worker_new(g->m->loop, "copy", &c->worker);
		if (r >= 0)
			metad_worker_submit(c->worker, &c->job);
	}
	if (r < 0)
		end(g);
	return 0;
}

void group_copied(struct metad_group *g, uint64_t id, const struct ff3_req_member_copied *q)
{
	struct group_copy *c = g->copy;

	if (!c || c->making || c->id != id || c->number != q->copy || q->offset > c->sent ||
	    q->offset < c->acked)
		return;
	c->acked = q->offset;
	c->progress_ns = ff3_boottime_ns();
	show_progress(c);
	if (c->acked < c->size) {
		go_on(c);
		return;
	}
	c->sent_all = true;
	g->offer_failed = id; /* it may need another one some day */
}

void group_copy_lost(struct metad_group *g, uint64_t id)
{
	struct group_copy *c = g->copy;

	if (!c || c->id != id || c->sent_all)
		return;
	c->lost = true;
	if (!c->making)
		end(g);
}


uint64_t group_copy_seq(const struct metad_group *g, uint64_t *ret_id, uint64_t *ret_done,
			uint64_t *ret_size)
{
	const struct group_copy *c = g->copy;

	*ret_id = c && !c->sent_all ? c->id : 0;
	*ret_done = c ? c->acked : 0;
	*ret_size = c ? c->size : 0;
	return c ? c->meta.applied_seq : UINT64_MAX;
}

void group_copy_check(struct metad_group *g)
{
	struct group_copy *c = g->copy;
	struct replica_view view;
	bool over = false;

	if (!c || c->making)
		return;
	replica_view(g->core, &view);
	for (uint32_t i = 0; i < view.config.n; i++)
		over |= c->sent_all && view.config.member[i].id == c->id &&
			view.match_seq[i] >= c->meta.applied_seq;
	if (over || ff3_boottime_ns() > c->progress_ns + STALLED_NS)
		end(g);
}
