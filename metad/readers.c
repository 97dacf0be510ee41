/* Purpose: threads with database connections of their own, to which the loop gives what would hold everybody
 * else up: pages of directories, and names and inodes that are not in memory while there is much to do or a
 * commit is under way. And requests that wait for that commit.
 *
 * A reader sees what is committed, and the loop may have applied, and answered, more. So what it finds is
 * compared with the numbers of the last records that changed it (db_reader.c), here, when it comes back: rows
 * that are as they were go into memory, and the request that needed them runs from its start, in the loop, as
 * if it had come now. A page is given to readers only if all changes of its directory are committed; what is
 * changed after that is changed by somebody who was not answered when the page was asked for. Nothing else of
 * a reader's is ever answered: so a read sees every change that was acknowledged before it, and the lease is
 * looked at after it, as for all answers.
 *
 * Where nothing else is to be done, the loop reads by itself: to go to another thread and back takes longer.
 * While a checkpoint needs that nobody reads (checkpointer.c), it does so, too.
 *
 * Threads: work() in each reader's; lock guards queue, done, posted and stop. The rest is the loop's. No other
 * lock is taken while it is held. Signals: readers have all of them blocked. */
#include "readers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <utlist.h>

#include "../common/base/log.h"
#include "readdir.h"

#define READERS_MAX 64u
/* Lookups that the loop does itself in one turn. */
#define ASKED_MAX 8u
/* Lookups that are done on one state. */
#define BATCH 32u

enum kind { WAIT, LOOKUP, LIST };

struct job {
	struct job *prev, *next; /* of all */
	struct job *after;	 /* in queue or done */
	struct ff3_request *r;
	struct metad_conn *conn; /* NULL: it was lost */
	enum kind kind;
	int result;
	union {
		struct {
			struct ff3_path at;
			unsigned flags;
			struct metad_inode known; /* at.dir, or ino 0 */
			struct metad_db_rows rows;
		};
		struct {
			struct ff3_req_readdir q;
			uint64_t parent, seq, changed;
			struct metad_page page; /* behind this struct */
		};
	};
};

struct reader {
	struct metad_readers *all;
	pthread_t thread;
	bool runs;
	struct metad_db *db;
	struct metad_walk walk;
};

struct metad_readers {
	struct metad *m;
	uint32_t n, room;
	struct reader *reader;
	struct job *jobs, *waiting; /* waiting: for a commit */
	struct job *fresh, **last_fresh; /* of this turn */
	uint32_t n_fresh;
	uint64_t asked; /* when the turn began */
	bool again;	/* a request runs once more */
	struct ff3_work work, resume;
	bool resume_posted;
	struct metad_readers_stats stats;

	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *queue, **last_queued;
	struct job *done, **last_done;
	uint64_t n_batches;
	bool posted, stop;
};

/* --- In a reader's thread -------------------------------------------------------------------- */

static void look_up(struct reader *t, struct job *job)
{
	/* On behalf of nobody: who may know what is found is asked when the request runs again. */
	static const struct metad_cred root = { 0 };

	job->rows.n_inodes = job->rows.n_names = 0;
	metad_db_reader_note(t->db, &job->rows, &job->known);
	(void)metad_walk(t->db, &root, &job->at, job->flags, &t->walk);
	metad_db_reader_note(t->db, NULL, NULL);
	job->result = metad_db_error(t->db);
}

static void run_batch(struct reader *t, struct job *batch)
{
	uint64_t seq;
	int r = metad_db_reader_begin(t->db, &seq);

	for (struct job *job = batch; job; job = job->after) {
		job->result = r;
		if (r < 0)
			continue;
		if (job->kind == LOOKUP) {
			job->rows.seq = seq;
			look_up(t, job);
		} else {
			job->seq = seq;
			job->page.db = t->db;
			job->result = metad_page_fill(&job->page, &job->q);
		}
	}
	metad_db_read_end(t->db);
}

/* Under the lock: some lookups, or one page. */
static struct job *take(struct metad_readers *all)
{
	struct job *first = all->queue, *last = first;
	uint32_t n = 1;

	while (last->kind == LOOKUP && last->after && last->after->kind == LOOKUP && n++ < BATCH)
		last = last->after;
	all->queue = last->after;
	if (!all->queue)
		all->last_queued = &all->queue;
	last->after = NULL;
	return first;
}

static void give_back(struct metad_readers *all, struct job *batch)
{
	*all->last_done = batch;
	while (*all->last_done)
		all->last_done = &(*all->last_done)->after;
	all->n_batches++;
	if (!all->posted)
		ff3_loop_post(all->m->loop, &all->work);
	all->posted = true;
}

static void *work(void *arg)
{
	struct reader *t = arg;
	struct metad_readers *all = t->all;

	pthread_mutex_lock(&all->lock);
	while (!all->stop) {
		struct job *batch;

		if (!all->queue) {
			pthread_cond_wait(&all->more, &all->lock);
			continue;
		}
		batch = take(all);
		pthread_mutex_unlock(&all->lock);
		run_batch(t, batch);
		pthread_mutex_lock(&all->lock);
		give_back(all, batch);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

/* --- The loop's side ------------------------------------------------------------------------- */

static void run_again(struct metad_readers *all, struct ff3_request *r)
{
	all->again = true;
	metad_serve_request(all->m, r);
	all->again = false;
}

/* false: as if it had not been read. */
static bool answer_page(struct metad_readers *all, struct job *job)
{
	struct metad *m = all->m;
	int r;

	if (job->result < 0 || job->seq < job->changed)
		return false;
	r = metad_page_refresh(m, &job->page, job->seq);
	if (r < 0)
		return false;
	all->stats.n_changed += (unsigned)r;
	ff3_histogram_observe_own(&m->latency[FF3_OP_readdir], ff3_boottime_ns() - job->r->received_ns);
	metad_page_reply(job->r, &job->page, job->parent);
	return true;
}

static void finish(struct metad_readers *all, struct job *job)
{
	DL_DELETE(all->jobs, job);
	if (!job->conn) {
		ff3_request_fail(job->r, -ENOTCONN);
	} else if (job->kind == LOOKUP) {
		if (job->result >= 0)
			all->stats.n_changed += metad_db_believe(all->m->db, &job->rows);
		run_again(all, job->r);
	} else if (!answer_page(all, job)) {
		run_again(all, job->r);
	}
	free(job);
}

static void on_done(struct ff3_work *w)
{
	struct metad_readers *all = CONTAINER_OF(w, struct metad_readers, work);
	struct job *done, *next;

	pthread_mutex_lock(&all->lock);
	done = all->done;
	all->done = NULL;
	all->last_done = &all->done;
	all->posted = false;
	all->stats.n_batches = all->n_batches;
	pthread_mutex_unlock(&all->lock);
	for (; done; done = next) {
		next = done->after;
		all->stats.n_lookups += done->kind == LOOKUP;
		all->stats.n_listings += done->kind == LIST;
		finish(all, done);
	}
}

static struct job *new_job(struct metad_readers *all, struct metad_conn *conn, struct ff3_request *r,
			   enum kind kind, size_t more)
{
	struct job *job = ff3_request_keep_body(r) < 0 ? NULL : malloc(sizeof *job + more);

	if (!job)
		return NULL;
	job->after = NULL;
	job->r = r;
	job->conn = conn;
	job->kind = kind;
	DL_APPEND(all->jobs, job);
	all->m->deferred = true;
	return job;
}

static void submit(struct metad_readers *all, struct job *job)
{
	*all->last_fresh = job;
	all->last_fresh = &job->after;
	all->n_fresh++;
}

static bool may_use_readers(const struct metad_readers *all)
{
	return all->n > 0 && !all->again && !metad_checkpointer_wants_no_readers(all->m);
}

static void wait_for_commit(struct metad_readers *all, struct job *job)
{
	job->kind = WAIT;
	LL_APPEND2(all->waiting, job, after);
	all->stats.n_waited++;
}

/* Takes r, whose walk needs what is not in memory. */
static int park(struct metad *m, struct metad_conn *conn, struct ff3_request *r, const struct ff3_path *at,
		unsigned flags)
{
	struct metad_readers *all = m->readers;
	const struct metad_walk *w = &m->walk;
	const char *body = r->body, *end = at->path.p + at->path.len;
	/* It goes on where the loop came to, unless that is in a symbolic link. */
	bool known = w->name.p && w->name.p >= at->path.p && w->name.p < end;
	const char *rest = known ? w->name.p : at->path.p;
	struct job *job = new_job(all, conn, r, LOOKUP, 0);

	if (!job)
		return -ENOMEM;
	job->at = *at;
	job->at.path.len = (uint32_t)(end - rest);
	job->at.path.p = (const char *)r->body + (at->path.len > 0 ? rest - body : 0);
	job->known.ino = 0;
	if (known) {
		job->known = w->dir;
		job->at.dir = w->dir.ino;
	}
	job->flags = flags;
	if (may_use_readers(all))
		submit(all, job);
	else
		wait_for_commit(all, job);
	return 0;
}

int metad_serve_walk(struct metad *m, struct metad_conn *conn, struct ff3_request *r, const struct ff3_path *at,
		     unsigned flags)
{
	struct metad_readers *all = m->readers;
	bool committing = metad_pipeline_is_committing(m);
	int e;

	if (!committing && (!may_use_readers(all) || metad_db_n_asked(m->db) - all->asked < ASKED_MAX))
		return metad_walk(m->db, &conn->cred, at, flags, &m->walk);
	metad_db_only_memory(m->db, true);
	e = metad_walk(m->db, &conn->cred, at, flags, &m->walk);
	metad_db_only_memory(m->db, false);
	if (e == METAD_DB_ELSEWHERE && park(m, conn, r, at, flags) < 0)
		e = metad_walk(m->db, &conn->cred, at, flags, &m->walk);
	return e;
}

int metad_serve_walk_object(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			    const struct ff3_path *at)
{
	int e = metad_serve_walk(m, conn, r, at, (at->flags & FF3_PATH_NOFOLLOW) ? 0 : METAD_WALK_FOLLOW);

	if (e < 0)
		return e;
	return (at->flags & FF3_PATH_DIRECTORY) && !S_ISDIR(m->walk.inode.mode) ? -ENOTDIR : 0;
}

bool metad_readers_list(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			const struct ff3_req_readdir *q, uint64_t parent)
{
	struct metad_readers *all = m->readers;
	struct metad_page page;
	struct job *job;

	if (!may_use_readers(all) || metad_db_entries_changed(m->db, q->ino) > metad_db_committed_seq(m->db) ||
	    (!all->jobs && !metad_is_busy(m)))
		return false;
	page = metad_page(q, NULL, 0);
	page.room = page.max + METAD_PAGE_MORE;
	job = new_job(all, conn, r, LIST, page.room);
	if (!job)
		return false;
	job->q = *q;
	job->parent = parent;
	job->changed = metad_db_entries_changed(m->db, q->ino);
	job->page = page;
	job->page.p = (uint8_t *)(job + 1);
	submit(all, job);
	return true;
}

void metad_readers_turn(struct metad *m)
{
	struct metad_readers *all = m->readers;

	all->asked = metad_db_n_asked(m->db);
	if (!all->fresh)
		return;
	pthread_mutex_lock(&all->lock);
	*all->last_queued = all->fresh;
	all->last_queued = all->last_fresh;
	if (all->n_fresh > 1)
		pthread_cond_broadcast(&all->more);
	else
		pthread_cond_signal(&all->more);
	pthread_mutex_unlock(&all->lock);
	all->fresh = NULL;
	all->last_fresh = &all->fresh;
	all->n_fresh = 0;
}

static void on_resume(struct ff3_work *w)
{
	struct metad_readers *all = CONTAINER_OF(w, struct metad_readers, resume);
	struct job *job = all->waiting, *next;

	all->resume_posted = false;
	all->waiting = NULL;
	for (; job; job = next) {
		next = job->after;
		DL_DELETE(all->jobs, job);
		if (job->conn)
			run_again(all, job->r);
		else
			ff3_request_fail(job->r, -ENOTCONN);
		free(job);
	}
}

void metad_readers_committed(struct metad *m)
{
	struct metad_readers *all = m->readers;

	if (!all || !all->waiting || all->resume_posted)
		return;
	all->resume_posted = true;
	ff3_loop_post(m->loop, &all->resume);
}

void metad_readers_conn_closed(struct metad *m, struct metad_conn *conn)
{
	struct job *job;

	if (!m->readers)
		return;
	DL_FOREACH (m->readers->jobs, job)
		if (job->conn == conn)
			job->conn = NULL;
}

const struct metad_readers_stats *metad_readers_stats(const struct metad *m)
{
	return &m->readers->stats;
}

/* --- Life ------------------------------------------------------------------------------------ */

/* One for each core besides the loop's at most. */
static uint32_t n_wanted(const struct metad *m)
{
	cpu_set_t set;
	uint64_t n_cores = sched_getaffinity(0, sizeof set, &set) < 0 ? 2 : (uint64_t)CPU_COUNT(&set);

	return (uint32_t)MIN(MIN(m->conf->metad.readers, MAX(n_cores, (uint64_t)2) - 1), (uint64_t)READERS_MAX);
}

static int start(struct metad_readers *all, struct reader *t)
{
	const struct metad *m = all->m;
	int r = metad_db_open_reader(metad_db_path(m->db), MAX(m->conf->metad.memory / 32, FF3_MIB(1)), &t->db);

	if (r < 0)
		return ff3_log_errno(r, "cannot open the database for another reader");
	t->all = all;
	r = ff3_thread_new(&t->thread, work, t);
	if (r < 0)
		return ff3_log_errno(r, "cannot make a thread");
	pthread_setname_np(t->thread, "reader");
	t->runs = true;
	return 0;
}

int metad_readers_new(struct metad *m)
{
	struct metad_readers *all = calloc(1, sizeof *all);
	uint32_t n = n_wanted(m);
	int r;

	if (!all)
		return -ENOMEM;
	m->readers = all;
	all->m = m;
	all->work.fn = on_done;
	all->resume.fn = on_resume;
	all->room = n;
	all->last_fresh = &all->fresh;
	all->last_queued = &all->queue;
	all->last_done = &all->done;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->more, NULL);
	all->reader = calloc(MAX(n, 1u), sizeof *all->reader);
	r = all->reader ? metad_db_track_changes(m->db) : -ENOMEM;
	for (; r >= 0 && all->n < n; all->n += r >= 0)
		r = start(all, &all->reader[all->n]);
	all->stats.n_threads = all->n;
	return r;
}

/* What was posted may still come, and finds nothing. */
void metad_readers_stop(struct metad *m)
{
	struct metad_readers *all = m->readers;
	struct job *job, *next;

	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	all->stop = true;
	pthread_cond_broadcast(&all->more);
	pthread_mutex_unlock(&all->lock);
	for (uint32_t i = 0; all->reader && i < all->room; i++) {
		if (all->reader[i].runs)
			pthread_join(all->reader[i].thread, NULL);
		metad_db_close(all->reader[i].db);
	}
	all->n = all->room = 0;
	DL_FOREACH_SAFE (all->jobs, job, next) {
		ff3_request_fail(job->r, -ECONNRESET);
		free(job);
	}
	all->jobs = all->waiting = all->fresh = all->queue = all->done = NULL;
	all->last_fresh = &all->fresh;
	all->last_queued = &all->queue;
	all->last_done = &all->done;
}

void metad_readers_free(struct metad *m)
{
	struct metad_readers *all = m->readers;

	if (!all)
		return;
	metad_readers_stop(m);
	pthread_mutex_destroy(&all->lock);
	pthread_cond_destroy(&all->more);
	free(all->reader);
	free(all);
	m->readers = NULL;
}
