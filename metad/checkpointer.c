/* Purpose: keeps SQLite's write-ahead log and metad's log short, without stalling the loop.
 *
 * A checkpoint runs on a worker thread beside the serving loop. While the loop goes on committing,
 * the checkpoint never catches up and SQLite's file would only grow; so a second one follows, for
 * the little that was added, during which nothing is applied (reads go on, and one batch may be
 * written to the log). After it the next commit begins SQLite's file from its start.
 *
 * What was applied before a checkpoint began is safe on disk when it has ended: segments of metad's
 * log up to there are free. Segments are made here too: writing 16 MiB of zeros takes its time.
 *
 * Threads: run() on the worker, the rest on the loop's. */
#include <stdatomic.h>

#include "../common/base/log.h"
#include "db_checkpoint.h"
#include "group.h"
#include "metad.h"

#define WAL_PAGES_MAX 8192u /* 32 MiB begin a checkpoint */
#define LOG_SEGMENTS_MAX 4u /* not in the database yet, begin one too */
#define DIRTY_MAX_NS (30 * FF3_NSEC_PER_SEC)
#define SEGMENT_RETRY_NS (5 * FF3_NSEC_PER_SEC)

struct metad_checkpointer {
	struct metad *m;
	struct metad_worker *worker;
	struct metad_db_checkpoint *connection;
	struct metad_job job;
	bool running;
	bool second;       /* the catching up, with applying paused */
	bool begins_anew;  /* SQLite's log, with the commit after that */
	uint64_t seq;      /* applied when the running one began */
	uint64_t safe_seq; /* applied and synced */
	uint64_t last_ns;
	bool checkpoint_wanted;
	uint64_t left;
	uint64_t base; /* pages that are in the database's file, but stay in SQLite's log */
	atomic_uint held;
	int result;
	uint64_t count;

	struct metad_job segment_job;
	unsigned slot;
	int fd;
	int segment_result;
	uint64_t no_segment_until_ns;
};

static void run(struct metad_job *job)
{
	struct metad_checkpointer *c = CONTAINER_OF(job, struct metad_checkpointer, job);

	c->result = metad_db_checkpoint_run(c->connection, &c->left);
}

/* While somebody holds a state, SQLite's log cannot begin anew: then only what was added counts. */
static bool is_long(const struct metad_checkpointer *c)
{
	uint64_t pages = metad_db_wal_pages(c->m->db);

	return pages - (pages >= c->base ? c->base : 0) >= WAL_PAGES_MAX;
}

void metad_checkpointer_hold(struct metad *m, int n)
{
	atomic_fetch_add(&m->checkpointer->held, (unsigned)n);
}

static void start(struct metad_checkpointer *c)
{
	c->base = atomic_load(&c->held) ? metad_db_wal_pages(c->m->db) : 0;
	c->running = true;
	c->checkpoint_wanted = false;
	c->seq = metad_db_committed_seq(c->m->db);
	metad_worker_submit(c->worker, &c->job);
}

static void done(struct metad_job *job)
{
	struct metad_checkpointer *c = CONTAINER_OF(job, struct metad_checkpointer, job);
	struct metad *m = c->m;

	if (c->result < 0)
		metad_die(c->result, "cannot checkpoint the database");
	c->safe_seq = c->seq;
	c->last_ns = ff3_boottime_ns();
	metad_group_safe(m, c->safe_seq, ff3_boottime_ns() < c->no_segment_until_ns);
	if (!c->second && c->base == 0 && is_long(c)) {
		c->second = c->begins_anew = true;
		/* Still running: the commit asks whether a checkpoint is due, and must be told no. */
		metad_pipeline_commit(m);
		metad_db_read_end(m->db);
		metad_pipeline_pause(m, true);
		start(c);
		return;
	}
	c->count++;
	c->running = false;
	if (c->second) {
		c->second = false;
		metad_pipeline_pause(m, false);
	}
	metad_pipeline_kick(m);
}

static void make_segment(struct metad_job *job)
{
	struct metad_checkpointer *c = CONTAINER_OF(job, struct metad_checkpointer, segment_job);

	c->segment_result =
		metad_log_make_segment(c->m->conf->metad.dir, c->slot, METAD_SEGMENT_SIZE, &c->fd);
}

static void segment_made(struct metad_job *job)
{
	struct metad_checkpointer *c = CONTAINER_OF(job, struct metad_checkpointer, segment_job);

	if (c->segment_result < 0) {
		/* The ones that exist may do: a checkpoint frees them. Tried again later. */
		ff3_log_errno(c->segment_result, "cannot make another log segment");
		c->no_segment_until_ns = ff3_boottime_ns() + SEGMENT_RETRY_NS;
		c->checkpoint_wanted = true;
		c->fd = -1;
	}
	metad_log_add_segment(c->m->log, c->slot, c->fd);
	metad_pipeline_kick(c->m);
}

int metad_checkpointer_new(struct metad *m)
{
	struct metad_checkpointer *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	m->checkpointer = c;
	c->m = m;
	c->job = (struct metad_job){ .run = run, .done = done };
	c->segment_job = (struct metad_job){ .run = make_segment, .done = segment_made };
	c->last_ns = ff3_boottime_ns();
	c->safe_seq = metad_db_meta(m->db)->applied_seq;
	r = metad_db_checkpoint_open(metad_db_path(m->db), &c->connection);
	if (r >= 0)
		r = metad_worker_new(m->loop, "checkpoint", &c->worker);
	if (r < 0)
		metad_checkpointer_free(m);
	return r;
}

void metad_checkpointer_free(struct metad *m)
{
	struct metad_checkpointer *c = m->checkpointer;

	if (!c)
		return;
	metad_worker_free(c->worker);
	metad_db_checkpoint_close(c->connection);
	free(c);
	m->checkpointer = NULL;
}

void metad_checkpointer_poll(struct metad *m)
{
	struct metad_checkpointer *c = m->checkpointer;
	uint64_t applied = metad_db_committed_seq(m->db);
	bool full;

	c->begins_anew &= c->running;
	full = metad_log_n_above(m->log, c->safe_seq) >= LOG_SEGMENTS_MAX;
	if (!c->running && applied > c->safe_seq &&
	    (full || c->checkpoint_wanted || is_long(c) ||
	     ff3_boottime_ns() - c->last_ns >= DIRTY_MAX_NS))
		start(c);
	if (ff3_boottime_ns() >= c->no_segment_until_ns &&
	    metad_log_wants_segment(m->log, &c->slot))
		metad_worker_submit(c->worker, &c->segment_job);
}

bool metad_checkpointer_wants_no_readers(const struct metad *m)
{
	return m->checkpointer->begins_anew;
}

int metad_checkpointer_run_now(struct metad *m)
{
	struct metad_checkpointer *c = m->checkpointer;
	uint64_t applied = metad_db_committed_seq(m->db), left;
	int r;

	metad_db_read_end(m->db);
	r = metad_db_checkpoint_run(c->connection, &left);
	if (r < 0)
		return r;
	c->safe_seq = applied;
	c->last_ns = ff3_boottime_ns();
	return 0;
}

uint64_t metad_checkpointer_count(const struct metad *m)
{
	return m->checkpointer->count;
}
