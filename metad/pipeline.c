/* Purpose: the way of a mutation: encoded into the batch that is being filled; proposed to the group
 * (group.c), which sends it to the other members while it is written to our own log; committed when
 * a majority has it durably, we among them; applied to the database; answered. A follower's log takes
 * the same way, without anybody to be answered.
 *
 * The database's transaction stays open for a few batches: what was applied is durable in the log, reads
 * use the same connection, and a commit costs as much as ten operations. It is ended on a thread of its own,
 * while nothing is applied, and requests are served from what is in memory.
 *
 * Group commit: while one batch is being written, everything that arrives fills the next, which is
 * cut when the write has returned, before the first is applied: so the disk is busy while the
 * database works, and reads are served all the time. Nothing that is not committed reaches the
 * database, and nothing is answered before it was applied.
 *
 * Failure: an error of the log's write or of the database ends the daemon at once. What was not
 * answered will be asked again; what was durable is in the log.
 *
 * Threads: the loop's; run_commit on the worker. */
#include "../common/base/log.h"
#include "group.h"
#include "metad.h"
#include "readers.h"

/* When nothing was logged for so long, an empty batch tells that the last one is durable. */
#define MARK_DELAY_NS (200 * FF3_NSEC_PER_MSEC)

#define COMMIT_DELAY_NS (100 * FF3_NSEC_PER_MSEC)
#define COMMIT_RECORDS 4096u
/* Applied in one go, for so long at most; then others have their turn. */
#define APPLY_RECORDS 4096u
#define APPLY_NS (FF3_NSEC_PER_MSEC / 4)
/* Logged and not applied at most. */
#define WAITING_MAX (1u << 18)
/* Of the batch in the making, kept for records of the group's own. */
#define OWN_ROOM 4096u

struct waiting {
	uint64_t seq;
	struct metad_mutation mutation;
};

struct metad_pipeline {
	struct metad *m;
	struct waiting *waiting; /* a ring of room entries, in the order of seq */
	uint32_t first_waiting, n_waiting, room;
	struct ff3_io io;
	struct ff3_work again;
	size_t write_len;
	uint32_t n_writing;
	bool writing;  /* submitted */
	bool paused;
	bool again_posted;
	uint64_t proposed_seq;
	uint64_t commit_seq; /* may be applied */
	uint64_t marked_seq; /* a batch on disk tells that everything up to this is durable */
	uint64_t submitted_ns;
	int64_t last_time;
	struct ff3_timer mark;
	struct ff3_timer commit;
	bool in_transaction;
	bool committing; /* by the worker: nothing is applied */
	uint32_t n_uncommitted;
	struct metad_worker *worker;
	struct metad_job job;
	bool job_is_out;
	struct metad_pipeline_stats stats;
};

_Noreturn void metad_die(int r, const char *what)
{
	ff3_log_errno(r, "%s; ending, since going on could lose data", what);
	_exit(1);
}

static void on_mark(struct ff3_timer *t);
static void on_commit(struct ff3_timer *t);
static void on_again(struct ff3_work *w);
static void run_commit(struct metad_job *job);
static void commit_ran(struct metad_job *job);

int metad_pipeline_new(struct metad *m)
{
	struct metad_pipeline *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->m = m;
	p->mark.fn = on_mark;
	p->commit.fn = on_commit;
	p->again.fn = on_again;
	p->job = (struct metad_job){ .run = run_commit, .done = commit_ran };
	p->proposed_seq = p->marked_seq = metad_log_last_seq(m->log);
	m->pipeline = p;
	return m->db ? metad_worker_new(m->loop, "commit", &p->worker) : 0;
}

void metad_pipeline_free(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;

	if (!p)
		return;
	ff3_loop_timer_cancel(m->loop, &p->mark);
	ff3_loop_timer_cancel(m->loop, &p->commit);
	metad_worker_free(p->worker);
	free(p->waiting);
	free(p);
	m->pipeline = NULL;
}

const struct metad_pipeline_stats *metad_pipeline_stats(const struct metad *m)
{
	return &m->pipeline->stats;
}

/* --- In -------------------------------------------------------------------------------------- */

static bool grow(struct metad_pipeline *p)
{
	uint32_t room = MAX(p->room * 2, 256u);
	struct waiting *grown = malloc(room * sizeof *grown);

	if (!grown)
		return false;
	for (uint32_t i = 0; i < p->n_waiting; i++)
		grown[i] = p->waiting[(p->first_waiting + i) & (p->room - 1)];
	free(p->waiting);
	p->waiting = grown;
	p->first_waiting = 0;
	p->room = room;
	return true;
}

/* Of the log's records, never going back. */
static int64_t now(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	int64_t applied = m->db ? (int64_t)metad_db_meta(m->db)->time : 0;

	p->last_time = MAX(MAX(p->last_time, applied), (int64_t)ff3_realtime_ns());
	return p->last_time;
}

int metad_pipeline_add(struct metad *m, struct metad_record *rec,
		       const struct metad_mutation *mutation)
{
	struct metad_pipeline *p = m->pipeline;
	int r;

	if (p->n_waiting == p->room && !grow(p))
		return -ENOMEM;
	if (p->n_waiting >= WAITING_MAX ||
	    metad_log_room(m->log) < metad_record_size(rec) + OWN_ROOM)
		return -EAGAIN;
	rec->time = now(m);
	r = metad_log_append(m->log, rec);
	if (r < 0)
		return r;
	p->waiting[(p->first_waiting + p->n_waiting++) & (p->room - 1)] =
		(struct waiting){ rec->seq, *mutation };
	return 0;
}

int metad_pipeline_add_own(struct metad *m, enum metad_log_op op, const void *payload, size_t len,
			   metad_applied_fn *applied)
{
	struct metad_record rec = { .op = (uint16_t)op, .payload = { payload, (uint32_t)len } };
	struct metad_mutation mutation = { .applied = applied };

	return metad_pipeline_add(m, &rec, &mutation);
}

int metad_pipeline_append(struct metad *m, struct metad_record *rec)
{
	int r;

	rec->time = now(m);
	r = metad_log_append(m->log, rec);
	if (r >= 0)
		m->pipeline->proposed_seq = rec->seq;
	return r;
}

bool metad_pipeline_idle(const struct metad *m)
{
	return !m->pipeline->writing && !m->pipeline->job_is_out && metad_log_n_pending(m->log) == 0 &&
	       m->pipeline->n_waiting == 0;
}

bool metad_pipeline_all_proposed(const struct metad *m)
{
	return m->pipeline->proposed_seq == metad_log_last_seq(m->log);
}

bool metad_pipeline_is_committing(const struct metad *m)
{
	return m->pipeline->committing;
}

bool metad_pipeline_is_changing(const struct metad *m)
{
	return m->pipeline->in_transaction;
}

bool metad_pipeline_is_paused(const struct metad *m)
{
	return m->pipeline->paused;
}

/* --- The database's transaction -------------------------------------------------------------- */

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

static void committed(struct metad *m, int r)
{
	struct metad_pipeline *p = m->pipeline;

	if (r < 0)
		metad_die(r, "cannot commit to the database");
	p->in_transaction = false;
	p->committing = false;
	p->n_uncommitted = 0;
	ff3_loop_timer_cancel(m->loop, &p->commit);
	metad_checkpointer_poll(m);
	metad_readers_committed(m);
	metad_cleaner_committed(m);
}

void metad_pipeline_commit(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;

	if (p->in_transaction)
		committed(m, p->committing ? metad_db_commit_end(m->db) : metad_db_commit(m->db));
}

static void run_commit(struct metad_job *job)
{
	metad_db_commit_run(CONTAINER_OF(job, struct metad_pipeline, job)->m->db);
}

static void commit_ran(struct metad_job *job)
{
	struct metad_pipeline *p = CONTAINER_OF(job, struct metad_pipeline, job);

	p->job_is_out = false;
	if (!p->committing) /* somebody has waited for it */
		return;
	committed(p->m, metad_db_commit_end(p->m->db));
	metad_group_turn(p->m);
}

/* Without waiting for it. */
static void begin_commit(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;

	if (p->committing)
		return;
	if (p->job_is_out) {
		metad_pipeline_commit(m);
		return;
	}
	p->committing = p->job_is_out = true;
	metad_db_commit_begin(m->db);
	metad_worker_submit(p->worker, &p->job);
}

static void on_commit(struct ff3_timer *t)
{
	begin_commit(CONTAINER_OF(t, struct metad_pipeline, commit)->m);
}

/* --- Applying -------------------------------------------------------------------------------- */

static void tell(struct metad *m, const struct metad_record *rec)
{
	struct metad_pipeline *p = m->pipeline;
	struct waiting *w = p->n_waiting > 0 ? &p->waiting[p->first_waiting] : NULL;
	struct metad_mutation mutation;

	if (!w || w->seq != rec->seq)
		return;
	mutation = w->mutation;
	p->first_waiting = (p->first_waiting + 1) & (p->room - 1);
	p->n_waiting--;
	mutation.rec = rec;
	if (mutation.applied)
		mutation.applied(m, &mutation);
	else if (mutation.r)
		ff3_request_reply(mutation.r, m->apply->status, m->apply->reply, m->apply->reply_len);
}

/* false: somebody may still be shown what it changes. */
static bool apply_one(struct metad *m, uint64_t seq)
{
	struct metad_record rec;
	uint64_t hash;
	int r = metad_log_get_record(m->log, seq, &rec, &hash);

	if (r < 0)
		metad_die(r, "cannot read the log back");
	if (m->leases && !metad_lease_may_apply(m, &rec))
		return false;
	r = metad_apply(m->apply, &rec, hash);
	if (r < 0)
		metad_die(r, "cannot apply an operation");
	tell(m, &rec);
	return true;
}

void metad_pipeline_set_commit(struct metad *m, uint64_t seq)
{
	m->pipeline->commit_seq = MAX(m->pipeline->commit_seq, seq);
}

uint64_t metad_pipeline_commit_seq(const struct metad *m)
{
	return m->pipeline->commit_seq;
}

void metad_pipeline_apply(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	uint64_t seq = metad_db_meta(m->db)->applied_seq;
	uint64_t end = MIN(p->commit_seq, seq + APPLY_RECORDS), began;
	bool held = false; /* by who may still be shown what it changes */

	if (p->paused || p->committing || seq >= end)
		return;
	begin(m);
	began = ff3_boottime_ns();
	/* One at least, however late it is: a start counts on it. */
	do {
		held = !apply_one(m, seq + 1);
		if (!held) {
			metad_group_applied(m, ++seq);
			p->n_uncommitted++;
		}
	} while (seq < end && !held && ff3_boottime_ns() - began < APPLY_NS);
	if (p->n_uncommitted >= COMMIT_RECORDS)
		begin_commit(m);
	if (!held && !p->committing && p->commit_seq > seq && !p->again_posted) {
		p->again_posted = true;
		ff3_loop_post(m->loop, &p->again);
	}
	if (metad_group_is_alone(m) && seq == metad_log_last_seq(m->log))
		metad_log_forget(m->log);
}

static void on_again(struct ff3_work *w)
{
	struct metad_pipeline *p = CONTAINER_OF(w, struct metad_pipeline, again);

	p->again_posted = false;
	metad_group_turn(p->m);
}

void metad_pipeline_pause(struct metad *m, bool pause)
{
	m->pipeline->paused = pause;
	if (!pause)
		metad_group_turn(m);
}

void metad_pipeline_resume(struct metad *m)
{
	if (!m->pipeline->paused)
		metad_group_turn(m);
}

/* --- Writing --------------------------------------------------------------------------------- */

static void on_written(struct ff3_io *io, int res);

static int cut(struct metad *m, struct metad_log_write *write)
{
	struct metad_pipeline *p = m->pipeline;
	uint64_t durable = metad_log_durable_seq(m->log);
	uint32_t n = metad_log_n_pending(m->log);
	int r = metad_log_cut(m->log, write);

	if (r == -EAGAIN) {
		metad_checkpointer_poll(m); /* which makes a segment, and kicks again */
		return r;
	}
	if (r < 0)
		metad_die(r, "cannot write the log");
	metad_group_cut(m);
	p->n_writing = n;
	p->marked_seq = durable;
	p->writing = true;
	p->write_len = write->len;
	p->submitted_ns = ff3_boottime_ns();
	return 0;
}

static void submit(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	struct metad_log_write write;

	if (cut(m, &write) < 0)
		return;
	p->io.fn = on_written;
	ff3_loop_write(m->loop, write.fd, write.buf, write.len, write.offset, &p->io);
}

/* The next batch is on its way before what became committed by this one is applied. */
static void written(struct metad_pipeline *p)
{
	struct metad *m = p->m;

	p->stats.n_batches++;
	p->stats.n_records += p->n_writing;
	p->stats.n_bytes += p->write_len;
	p->stats.fsync_ns += ff3_boottime_ns() - p->submitted_ns;
	p->writing = false;
	metad_log_written(m->log);
	metad_group_durable(m, metad_log_durable_seq(m->log));
}

static void on_written(struct ff3_io *io, int res)
{
	struct metad_pipeline *p = CONTAINER_OF(io, struct metad_pipeline, io);
	struct metad *m = p->m;

	if (res < 0 || (size_t)res != p->write_len)
		metad_die(res < 0 ? res : -EIO, "cannot write the log");
	written(p);
	metad_group_turn(m);
	if (!p->writing && metad_log_n_pending(m->log) == 0 &&
	    p->marked_seq < metad_log_durable_seq(m->log))
		ff3_loop_timer_arm(m->loop, &p->mark, MARK_DELAY_NS);
}

int metad_pipeline_write_now(struct metad *m)
{
	struct metad_log_write write;
	ssize_t n;
	int r;

	if (metad_log_n_pending(m->log) == 0)
		return 0;
	r = cut(m, &write);
	if (r < 0)
		return r;
	n = pwrite(write.fd, write.buf, write.len, (off_t)write.offset);
	if (n != (ssize_t)write.len)
		return n < 0 ? -errno : -EIO;
	written(m->pipeline);
	return 0;
}

void metad_pipeline_advance(struct metad *m)
{
	struct metad_pipeline *p = m->pipeline;
	uint64_t last = metad_log_last_seq(m->log);

	/* Alone, what arrives while a batch is written is proposed with the next: nobody waits for it. */
	if (metad_group_leads(m) && p->proposed_seq < last && !(p->writing && metad_group_is_alone(m)) &&
	    metad_group_propose(m, (uint32_t)(last - p->proposed_seq)) >= 0)
		p->proposed_seq = last;
	if (!p->writing && metad_log_n_pending(m->log) > 0 &&
	    (p->proposed_seq == last || !metad_group_leads(m)))
		submit(m);
}

void metad_pipeline_kick(struct metad *m)
{
	if (metad_log_n_pending(m->log) > 0)
		metad_group_turn(m);
}

static void on_mark(struct ff3_timer *t)
{
	struct metad_pipeline *p = CONTAINER_OF(t, struct metad_pipeline, mark);

	if (!p->writing && metad_log_n_pending(p->m->log) == 0 &&
	    p->marked_seq < metad_log_durable_seq(p->m->log))
		submit(p->m);
}
