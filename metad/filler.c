/* Purpose: after a start what is in the database is read once from its beginning to its end, as far as there is
 * memory for it: so names that nobody has asked for yet are found as fast as those that somebody has, and those
 * that do not exist, too. Requests are served meanwhile. All members do so: records are applied by all of them.
 *
 * A thread reads some rows with a connection of its own, the loop takes them (db_scan.c) and asks for more; so
 * neither is held up for longer than for some rows. Rows that have changed since they were read are left out:
 * whoever changed them has put them into memory. If these are most of them, the database has not committed for
 * a while, as after a log was replayed, and they are read again.
 *
 * Threads: run in the worker's, which has the connection and the scan until the job is done. The rest is the
 * loop's. */
#include "filler.h"

#include <sys/resource.h>

#include "../common/base/log.h"

#define NICE 10
/* For a commit, and while a checkpoint waits for readers to be gone. */
#define PAUSE_NS (50 * FF3_NSEC_PER_MSEC)

#define TRIES_MAX 20u

struct metad_filler {
	struct metad *m;
	struct metad_worker *worker; /* NULL: it is over */
	struct metad_job job;
	struct metad_db *db;
	struct metad_db_scan *scan;
	int result;
	struct ff3_timer again;
	unsigned n_tries; /* of these rows */
	struct metad_filler_stats stats;
};

static void run(struct metad_job *job)
{
	struct metad_filler *f = CONTAINER_OF(job, struct metad_filler, job);

	f->result = 0;
	if (!f->db) {
		(void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread */
		f->result = metad_db_open_reader(metad_db_path(f->m->db), FF3_MIB(1), &f->db);
	}
	if (f->result >= 0)
		f->result = metad_db_scan_read(f->db, f->scan);
}

static void end(struct metad_filler *f)
{
	f->stats.is_filling = false;
	metad_worker_free(TAKE_PTR(f->worker));
	metad_db_close(TAKE_PTR(f->db));
	free(TAKE_PTR(f->scan));
}

/* false: it is to be read again. */
static bool take(struct metad_filler *f)
{
	struct metad_db *db = f->m->db;
	struct metad_db_scan *scan = f->scan;
	uint32_t n = scan->n_names + scan->n_inodes;
	bool names_done = scan->names_done; /* before this */
	bool skip;
	struct metad_db_scan_result result;

	metad_db_scan_take(db, scan, &result);
	f->stats.n_taken += result.n_taken;
	if (result.is_early || (result.n_changed > n / 2 && ++f->n_tries < TRIES_MAX))
		return false;
	f->n_tries = 0;
	skip = result.n_no_room > n / 2;
	metad_db_scan_next(scan, skip);
	if (!names_done && scan->names_done && !skip)
		metad_db_scan_has_all_names(db);
	return true;
}

static void on_again(struct ff3_timer *t)
{
	struct metad_filler *f = CONTAINER_OF(t, struct metad_filler, again);

	metad_worker_submit(f->worker, &f->job);
}

static void on_read(struct metad_job *job)
{
	struct metad_filler *f = CONTAINER_OF(job, struct metad_filler, job);
	bool pause;

	if (f->result < 0) {
		ff3_log_errno(f->result, "cannot read the database into memory");
		end(f);
		return;
	}
	pause = !take(f) || metad_checkpointer_wants_no_readers(f->m);
	if (f->scan->done)
		end(f);
	else if (pause)
		ff3_loop_timer_arm(f->m->loop, &f->again, PAUSE_NS);
	else
		metad_worker_submit(f->worker, &f->job);
}

const struct metad_filler_stats *metad_filler_stats(const struct metad *m)
{
	return &m->filler->stats;
}

int metad_filler_new(struct metad *m)
{
	struct metad_filler *f = calloc(1, sizeof *f);
	int r;

	if (!f)
		return -ENOMEM;
	m->filler = f;
	f->m = m;
	f->job = (struct metad_job){ .run = run, .done = on_read };
	f->again.fn = on_again;
	f->scan = calloc(1, sizeof *f->scan);
	r = f->scan ? metad_db_track_changes(m->db) : -ENOMEM;
	if (r >= 0)
		r = metad_worker_new(m->loop, "filler", &f->worker);
	if (r < 0)
		return r;
	f->stats.is_filling = true;
	metad_db_scan_begin(m->db);
	metad_worker_submit(f->worker, &f->job);
	return 0;
}

void metad_filler_free(struct metad *m)
{
	if (!m->filler)
		return;
	ff3_loop_timer_cancel(m->loop, &m->filler->again);
	end(m->filler);
	free(TAKE_PTR(m->filler));
}
