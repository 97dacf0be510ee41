/* Purpose: the thread of fsck: passes over the names, with repairs between them, then the chunks
 * (fsck_chunks.c); and what is known of it.
 *
 * Threads: begin, cancel and free are the HTTP server's; work() is its own; on_applied the loop's. lock
 * guards what fsck.h says; no other lock is taken while it is held. */
#include "fsck.h"

#include <signal.h>
#include <sys/resource.h>

#include "../common/admin/loop_call.h"
#include "../common/base/log.h"

#define LOOP_MS 5000u
#define PASSES_MAX 8u

static const char *const words[] = {
#define WORD(kind, word, fate) word,
	METAD_FINDINGS(WORD)
};
static const char *const fates[] = {
#define FATE(kind, word, fate) fate,
	METAD_FINDINGS(FATE)
};

const char *metad_finding_word(uint32_t kind)
{
	return kind < ARRAY_SIZE(words) ? words[kind] : "unknown";
}

const char *metad_finding_fate(uint32_t kind)
{
	return kind < ARRAY_SIZE(fates) ? fates[kind] : NULL;
}

int fsck_step(void *arg, uint64_t done, uint64_t total)
{
	struct metad_fsck *f = arg;
	bool cancel;

	pthread_mutex_lock(&f->lock);
	f->done = done;
	f->total = total;
	cancel = f->cancel;
	pthread_mutex_unlock(&f->lock);
	return cancel ? -ECANCELED : 0;
}

void fsck_phase(struct metad_fsck *f, const char *phase)
{
	pthread_mutex_lock(&f->lock);
	f->phase = phase;
	f->done = f->total = 0;
	pthread_mutex_unlock(&f->lock);
}

struct path_call {
	struct metad *m;
	uint64_t ino;
	char *buf;
	size_t size;
};

static void take_path(void *arg)
{
	struct path_call *c = arg;
	struct ff3_str path;

	if (metad_path_of(c->m->db, c->ino, c->m->walk.scratch[0], sizeof c->m->walk.scratch[0], &path) >= 0 &&
	    path.len < c->size)
		memcpy(c->buf, path.p, path.len);
}

int fsck_record(struct metad_fsck *f, const struct metad_finding *finding, bool repaired)
{
	struct fsck_item item = { .f = *finding, .repaired = repaired };
	struct path_call call = { f->m, finding->ino, item.path, sizeof item.path };
	int r = 0;

	if (f->n_items < FSCK_FINDINGS_MAX)
		r = ff3_loop_call(f->m->loop, take_path, &call, LOOP_MS);
	pthread_mutex_lock(&f->lock);
	f->n_found++;
	f->n_repaired += repaired;
	if (f->n_items == f->room && f->room < FSCK_FINDINGS_MAX) {
		uint64_t room = MIN(MAX(f->room * 2, (uint64_t)64), (uint64_t)FSCK_FINDINGS_MAX);
		struct fsck_item *items = realloc(f->items, room * sizeof *items);

		if (items) {
			f->items = items;
			f->room = room;
		}
	}
	if (f->n_items < f->room)
		f->items[f->n_items++] = item;
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* --- Repairs through the log --------------------------------------------------------------------------- */

struct submission {
	struct metad_fsck *f;
	struct metad_repair list[METAD_REPAIRS_MAX];
	size_t n;
	int result;
};

static void on_applied(struct metad *m, struct metad_mutation *mutation)
{
	const struct metad_effects *effects = &m->apply->effects;
	struct metad_fsck *f = m->fsck;
	struct metad_repair first;

	memcpy(&first, mutation->rec->payload.p, sizeof first);
	if (effects->truncated)
		metad_cleaner_truncate(m, effects->ino, UINT64_MAX);
	else if (first.kind == METAD_F_BEYOND_END)
		metad_file_set_truncating(m, first.ino, false);
	pthread_mutex_lock(&f->lock);
	f->is_applied = true;
	f->repaired_mask = effects->repaired;
	pthread_cond_signal(&f->applied);
	pthread_mutex_unlock(&f->lock);
}

static void submit(void *arg)
{
	struct submission *s = arg;
	struct metad *m = s->f->m;
	struct metad_record rec = { .op = METAD_OP_repair,
				    .ino = m->next_ino,
				    .payload = { s->list, (uint32_t)(s->n * sizeof *s->list) } };
	struct metad_mutation mutation = { .applied = on_applied };
	bool cuts = s->list[0].kind == METAD_F_BEYOND_END;

	/* Nobody opens a file that is about to be cut: it is as good as truncated already. */
	if (cuts && (metad_is_open(m, s->list[0].ino) || metad_file_is_truncating(m, s->list[0].ino))) {
		s->result = -EBUSY;
		return;
	}
	s->result = metad_pipeline_add(m, &rec, &mutation);
	if (s->result >= 0) {
		m->next_ino++;
		if (cuts)
			metad_file_set_truncating(m, s->list[0].ino, true);
	}
}

static int await_applied(struct metad_fsck *f, uint64_t *ret_mask)
{
	struct timespec deadline;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 60;
	pthread_mutex_lock(&f->lock);
	while (!f->is_applied && !f->cancel && r == 0)
		r = -pthread_cond_timedwait(&f->applied, &f->lock, &deadline);
	if (f->is_applied)
		*ret_mask = f->repaired_mask;
	else
		r = f->cancel ? -ECANCELED : r;
	pthread_mutex_unlock(&f->lock);
	return r;
}

int fsck_submit(struct metad_fsck *f, const struct metad_finding *list, size_t n, uint64_t *ret_mask)
{
	struct submission *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->f = f;
	s->n = n;
	for (size_t i = 0; i < n; i++) {
		s->list[i] = (struct metad_repair){
			.kind = list[i].kind,
			.name_len = list[i].name_len,
			.ino = list[i].ino,
			.parent = list[i].parent,
			.have = list[i].have,
			.want = list[i].want,
		};
		memcpy(s->list[i].name, list[i].name, list[i].name_len);
	}
	pthread_mutex_lock(&f->lock);
	f->is_applied = false;
	pthread_mutex_unlock(&f->lock);
	*ret_mask = 0;
	r = ff3_loop_call(f->m->loop, submit, s, LOOP_MS);
	if (r >= 0)
		r = s->result == -EBUSY ? 1 : s->result;
	free(s);
	return r == 0 ? await_applied(f, ret_mask) : MIN(r, 0);
}

/* --- Names ----------------------------------------------------------------------------------------------- */

static int keep(void *arg, const struct metad_finding *finding)
{
	struct metad_fsck *f = arg;

	if (f->n_candidates == FSCK_CANDIDATES) {
		f->more = true;
		return f->repair ? 1 : fsck_record(f, finding, false);
	}
	f->candidates[f->n_candidates++] = *finding;
	return 0;
}

/* How many from i on go into one record. */
static size_t group(const struct metad_fsck *f, size_t i)
{
	size_t n = 1;

	if (f->candidates[i].kind == METAD_F_NO_NAME)
		return 1;
	while (i + n < f->n_candidates && n < METAD_REPAIRS_MAX &&
	       f->candidates[i + n].kind != METAD_F_NO_NAME)
		n++;
	return n;
}

/* Those that were repaired are told; the others the last pass tells. */
static int repair_names(struct metad_fsck *f)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < f->n_candidates; i += n) {
		uint64_t mask;

		n = group(f, i);
		r = fsck_submit(f, &f->candidates[i], n, &mask);
		for (size_t k = 0; r == 0 && k < n; k++)
			if (mask & 1ull << k) {
				f->n_pass_repaired++;
				r = fsck_record(f, &f->candidates[i + k], true);
			}
	}
	return r;
}

static void commit_now(void *arg)
{
	metad_pipeline_commit(arg);
}

int fsck_open_snapshot(struct metad_fsck *f)
{
	int r = ff3_loop_call(f->m->loop, commit_now, f->m, LOOP_MS);

	if (r < 0)
		return r;
	metad_checkpointer_hold(f->m, 1);
	r = metad_db_snapshot_open(metad_db_path(f->m->db), &f->snap);
	if (r < 0)
		metad_checkpointer_hold(f->m, -1);
	return r;
}

void fsck_close_snapshot(struct metad_fsck *f)
{
	if (!f->snap)
		return;
	metad_db_snapshot_close(TAKE_PTR(f->snap));
	metad_checkpointer_hold(f->m, -1);
}

static int check_names(struct metad_fsck *f)
{
	int r = 0;

	for (unsigned pass = 0; r == 0; pass++) {
		fsck_phase(f, "names");
		f->n_candidates = 0;
		f->n_pass_repaired = 0;
		f->more = false;
		r = fsck_open_snapshot(f);
		if (r == 0)
			r = metad_db_fsck_names(f->snap, fsck_step, keep, f);
		fsck_close_snapshot(f);
		r = MIN(r, 0);
		if (r == 0 && f->repair && pass < PASSES_MAX)
			r = repair_names(f);
		if (r < 0 || f->n_pass_repaired > 0)
			continue;
		for (size_t i = 0; r == 0 && i < f->n_candidates; i++)
			r = fsck_record(f, &f->candidates[i], false);
		return r;
	}
	return r;
}

/* --- The thread ------------------------------------------------------------------------------------------ */

/* After a start clients have one lease to tell what they have open. */
static int await_clients(struct metad_fsck *f)
{
	uint64_t until = f->m->started_ns + f->m->conf->metad.lease * FF3_NSEC_PER_MSEC;
	int r = 0;

	fsck_phase(f, "clients");
	while (r == 0 && ff3_boottime_ns() < until) {
		nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
		r = fsck_step(f, 0, 0);
	}
	return r;
}

static void *work(void *arg)
{
	struct metad_fsck *f = arg;
	int r;

	setpriority(PRIO_PROCESS, 0, 10); /* of this thread */
	r = check_names(f);
	if (r == 0)
		r = await_clients(f);
	if (r == 0)
		r = fsck_chunks(f);
	fsck_close_snapshot(f);
	if (r < 0 && r != -ECANCELED)
		ff3_log_errno(r, "fsck");
	pthread_mutex_lock(&f->lock);
	f->state = r < 0 ? FSCK_FAILED : FSCK_DONE;
	f->error = r;
	f->phase = "";
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int metad_fsck_begin(struct metad_fsck *f, bool repair)
{
	int r;

	pthread_mutex_lock(&f->lock);
	r = f->state == FSCK_RUNNING ? -EBUSY : 0;
	pthread_mutex_unlock(&f->lock);
	if (r < 0)
		return r;
	if (f->thread_exists)
		pthread_join(f->thread, NULL);
	free(TAKE_PTR(f->items));
	f->thread_exists = f->cancel = false;
	f->n_items = f->room = f->n_found = f->n_repaired = 0;
	f->repair = repair;
	f->phase = "";
	f->done = f->total = 0;
	f->state = FSCK_RUNNING;
	r = ff3_thread_new(&f->thread, work, f);
	f->thread_exists = r == 0;
	if (r < 0)
		f->state = FSCK_IDLE;
	return r;
}

void metad_fsck_cancel(struct metad_fsck *f)
{
	pthread_mutex_lock(&f->lock);
	f->cancel = true;
	pthread_cond_signal(&f->applied);
	pthread_mutex_unlock(&f->lock);
}

int metad_fsck_new(struct metad *m, struct metad_fsck **ret)
{
	struct metad_fsck *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	f->m = m;
	f->phase = "";
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->applied, NULL);
	f->candidates = calloc(FSCK_CANDIDATES, sizeof *f->candidates);
	f->sure = calloc(FSCK_CANDIDATES, sizeof *f->sure);
	f->reply = malloc(FF3_BODY_MAX);
	if (!f->candidates || !f->sure || !f->reply) {
		metad_fsck_free(f);
		return -ENOMEM;
	}
	m->fsck = f;
	*ret = f;
	return 0;
}

void metad_fsck_free(struct metad_fsck *f)
{
	if (!f)
		return;
	metad_fsck_cancel(f);
	if (f->thread_exists)
		pthread_join(f->thread, NULL);
	f->m->fsck = NULL;
	metad_chunk_calls_free(f->calls);
	pthread_cond_destroy(&f->applied);
	pthread_mutex_destroy(&f->lock);
	free(f->candidates);
	free(f->sure);
	free(f->reply);
	free(f->items);
	free(f->targets);
	free(f);
}
