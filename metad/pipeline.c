/* Purpose: the way of a mutation: encoded into the batch that is being filled; the batch written to
 * the log, durably; applied to the database; answered.
 *
 * The database's transaction stays open for a few batches: what was applied is durable in the log, reads
 * use the same connection, and a commit costs as much as ten operations.
 *
 * Group commit: while one batch is being written, everything that arrives fills the next, which is
 * cut when the write has returned, before the first is applied: so the disk is busy while the
 * database works, and reads are served all the time. Nothing that is not durable reaches the
 * database, and nothing is answered before it was applied.
 *
 * Failure: an error of the log's write or of the database ends the daemon at once. What was not
 * answered will be asked again; what was durable is replayed.
 *
 * Threads: the loop's. */
#include "../common/base/log.h"
#include "metad.h"

/* When nothing was logged for so long, an empty batch tells that the last one is durable. */
#define MARK_DELAY_NS (200 * FF3_NSEC_PER_MSEC)

#define COMMIT_DELAY_NS (20 * FF3_NSEC_PER_MSEC)
#define COMMIT_RECORDS 2000u

struct waiting {
	struct metad_mutation *list;
	uint32_t n, room;
};

struct metad_pipeline {
	struct metad *m;
	struct waiting making, cut, done; /* beside the log's batches of the same names */
	struct ff3_io io;
	size_t write_len;
	int write_result;
	bool writing;  /* submitted */
	bool written;  /* returned, but done is not empty yet */
	bool applying; /* done has to be applied */
	bool paused;
	uint64_t marked_seq; /* a batch on disk tells that everything up to this is durable */
	uint64_t submitted_ns;
	int64_t last_time;
	struct ff3_timer mark;
	struct ff3_timer commit;
	bool in_transaction;
	uint32_t n_uncommitted;
	struct metad_pipeline_stats stats;
};

_Noreturn void metad_die(int r, const char *what)
{
	ff3_log_errno(r, "%s; ending, since going on could lose data", what);
	_exit(1);
}

static void on_mark(struct ff3_timer *t);
static void on_commit(struct ff3_timer *t);

int metad_pipeline_new(struct metad *m)
{
	struct metad_pipeline *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->m = m;
	p->mark.fn = on_mark;
	p->commit.fn = on_commit;
	p->last_time = (int64_t)metad_db_meta(m->db)->time;
	p->marked_seq = metad_log_last_seq(m->log);
	m->pipeline = p;
	return 0;
}

void metad_pipeline_free(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;

	if (!p)
		return;
	free(p->making.list);
	free(p->cut.list);
	free(p->done.list);
	free(p);
	m->pipeline = NULL;
}

const struct metad_pipeline_stats *metad_pipeline_stats(const struct metad *m)
{
	return &m->pipeline->stats;
}

static struct metad_mutation *wait_slot(struct waiting *w)
{
	if (w->n == w->room) {
		uint32_t room = MAX(w->room * 2, 256u);
		struct metad_mutation *grown = realloc(w->list, room * sizeof *grown);

		if (!grown)
			return NULL;
		w->list = grown;
		w->room = room;
	}
	return &w->list[w->n];
}

int metad_pipeline_add(struct metad *m, struct metad_record *rec,
		       const struct metad_mutation *mutation)
{
	struct metad_pipeline *p = m->pipeline;
	struct metad_mutation *slot = wait_slot(&p->making);
	int r;

	if (!slot)
		return -ENOMEM;
	p->last_time = MAX(p->last_time, (int64_t)ff3_realtime_ns());
	rec->time = p->last_time;
	r = metad_log_append(m->log, rec);
	if (r < 0)
		return r;
	*slot = *mutation;
	p->making.n++;
	return 0;
}

int metad_pipeline_add_own(struct metad *m, enum metad_log_op op, const void *payload, size_t len,
			   metad_applied_fn *applied)
{
	struct metad_record rec = { .op = (uint16_t)op, .payload = { payload, (uint32_t)len } };
	struct metad_mutation mutation = { .applied = applied };

	return metad_pipeline_add(m, &rec, &mutation);
}

bool metad_pipeline_idle(const struct metad *m)
{
	const struct metad_pipeline *p = m->pipeline;

	return !p->writing && !p->applying && p->making.n == 0;
}

static void begin(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	int r;

	if (p->in_transaction)
		return;
	r = metad_db_begin(m->db);
	if (r < 0)
		metad_die(r, "cannot begin a transaction");
	p->in_transaction = true;
	ff3_loop_timer_arm(m->loop, &p->commit, COMMIT_DELAY_NS);
}

void metad_pipeline_commit(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	int r;

	if (!p->in_transaction)
		return;
	r = metad_db_commit(m->db);
	if (r < 0)
		metad_die(r, "cannot commit to the database");
	p->in_transaction = false;
	p->n_uncommitted = 0;
	ff3_loop_timer_cancel(m->loop, &p->commit);
	metad_checkpointer_poll(m);
}

static void on_commit(struct ff3_timer *t)
{
	metad_pipeline_commit(CONTAINER_OF(t, struct metad_pipeline, commit)->m);
}

static void apply_done(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	struct metad_record rec;
	uint64_t hash;
	size_t pos = 0;
	int r;

	begin(m);
	for (uint32_t i = 0; i < p->done.n; i++) {
		struct metad_mutation *mutation = &p->done.list[i];

		r = metad_log_next(m->log, &pos, &rec, &hash);
		if (r <= 0)
			metad_die(-EBADMSG, "a batch changed in memory");
		r = metad_apply(m->apply, &rec, hash);
		if (r < 0)
			metad_die(r, "cannot apply an operation");
		mutation->rec = &rec;
		if (mutation->applied)
			mutation->applied(m, mutation);
		else if (mutation->r)
			ff3_request_reply(mutation->r, m->apply->status, m->apply->reply,
					  m->apply->reply_len);
	}
	p->n_uncommitted += p->done.n;
	p->done.n = 0;
	p->applying = false;
	if (p->n_uncommitted >= COMMIT_RECORDS)
		metad_pipeline_commit(m);
}

static void on_written(struct ff3_io *io, int res);

static void cut(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	struct metad_log_write write;
	struct waiting spare;
	uint64_t durable = metad_log_durable_seq(m->log);
	int r = metad_log_cut(m->log, &write);

	if (r == -EAGAIN) {
		metad_checkpointer_poll(m); /* which makes a segment, and kicks again */
		return;
	}
	if (r < 0)
		metad_die(r, "cannot write the log");
	spare = p->cut;
	p->cut = p->making;
	p->making = spare;
	p->making.n = 0;
	p->marked_seq = durable;
	p->writing = true;
	p->write_len = write.len;
	p->submitted_ns = ff3_boottime_ns();
	p->io.fn = on_written;
	ff3_loop_write(m->loop, write.fd, write.buf, write.len, write.offset, &p->io);
}

/* The written batch becomes the one to apply, the next one is written, then it is applied. */
static void advance(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	struct waiting spare = p->done;

	p->written = false;
	p->writing = false;
	metad_log_written(m->log);
	p->done = p->cut;
	p->cut = spare;
	p->cut.n = 0;
	p->applying = p->done.n > 0;
	if (p->making.n > 0)
		cut(m);
	if (p->applying && !p->paused)
		apply_done(m);
	if (!p->writing && p->making.n == 0 && p->marked_seq < metad_log_durable_seq(m->log))
		ff3_loop_timer_arm(m->loop, &p->mark, MARK_DELAY_NS);
}

static void on_written(struct ff3_io *io, int res)
{
	struct metad_pipeline *p = CONTAINER_OF(io, struct metad_pipeline, io);
	struct metad *m = p->m;

	if (res < 0 || (size_t)res != p->write_len)
		metad_die(res < 0 ? res : -EIO, "cannot write the log");
	p->stats.n_batches++;
	p->stats.n_records += p->cut.n;
	p->stats.n_bytes += p->write_len;
	p->stats.fsync_ns += ff3_boottime_ns() - p->submitted_ns;
	if (p->applying) /* paused for a checkpoint */
		p->written = true;
	else
		advance(m);
}

void metad_pipeline_kick(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;

	if (!p->writing && p->making.n > 0)
		cut(m);
}

void metad_pipeline_pause(struct metad *m, bool pause)
{
	struct metad_pipeline *p = m->pipeline;

	p->paused = pause;
	if (pause)
		return;
	if (p->applying)
		apply_done(m);
	if (p->written)
		advance(m);
}

static void on_mark(struct ff3_timer *t)
{
	struct metad_pipeline *p = CONTAINER_OF(t, struct metad_pipeline, mark);

	if (!p->writing && p->making.n == 0 && p->marked_seq < metad_log_durable_seq(p->m->log))
		cut(p->m);
}
