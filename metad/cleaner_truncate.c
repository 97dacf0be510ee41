/* Purpose: cutting files on the chunk daemons, before anybody is told that they are cut.
 *
 * A truncation is a row of the database from the moment the file's size is changed until every
 * chain that may hold chunks beyond the new size has cut them. Meanwhile the file's openers and
 * extenders wait (file_wait.c). All truncations that are due go to the worker as one job of parallel
 * calls; those that fail are tried again.
 *
 * Threads: the loop's, and run() on the worker. */
#include <utlist.h>

#include "cleaner.h"

#define RETRY_NS (300 * FF3_NSEC_PER_MSEC)

static struct truncation *find(struct metad *m, uint64_t ino)
{
	struct truncation *t;

	DL_SEARCH_SCALAR(m->cleaner->truncations, t, ino, ino);
	return t;
}

static void forget(struct metad *m, struct truncation *t)
{
	uint64_t ino = t->ino;

	DL_DELETE(m->cleaner->truncations, t);
	free(t);
	m->cleaner->stats.n_truncations++;
	metad_file_set_truncating(m, ino, false);
}

static int reserve(struct truncate_job *job, size_t n)
{
	size_t room = MAX(job->room * 2, n);
	struct metad_chunk_call *calls;
	struct truncate_call *infos;

	if (n <= job->room)
		return 0;
	calls = realloc(job->calls, room * sizeof *calls);
	if (!calls)
		return -ENOMEM;
	job->calls = calls;
	infos = realloc(job->infos, room * sizeof *infos);
	if (!infos)
		return -ENOMEM;
	job->infos = infos;
	job->room = room;
	return 0;
}

static int add_call(struct metad *m, struct truncation *t, uint32_t chain, uint32_t last,
		    uint32_t last_size)
{
	struct truncate_job *job = &m->cleaner->truncate;
	struct ff3_req_chunk_truncate q = { .ino = t->ino, .last = last, .last_size = last_size };
	struct truncate_call *info;
	const char *address;
	uint64_t target;
	size_t len;
	int r = reserve(job, job->n + 1);

	if (r >= 0)
		r = metad_routes_find(m, chain, &target, &address);
	if (r < 0)
		return r;
	info = &job->infos[job->n];
	info->t = t;
	len = ff3_encode_req_chunk_truncate(info->body, sizeof info->body, &q);
	snprintf(info->address, sizeof info->address, "%s", address);
	job->calls[job->n++] = (struct metad_chunk_call){
		.target = target,
		.op = FF3_OP_chunk_truncate,
		.body_len = len,
	};
	t->n_calls++;
	return 0;
}

/* The calls for t. Chains that cannot hold a chunk beyond the new size are left out. */
static int add_calls(struct metad *m, struct truncation *t)
{
	uint64_t size, old_size, upto, first, end;
	struct metad_inode inode;
	struct ff3_layout layout;
	uint32_t n;
	int r = metad_db_get_truncation(m->db, t->ino, &size, &old_size);

	if (r > 0)
		r = metad_db_get_inode(m->db, t->ino, &inode);
	if (r > 0)
		r = metad_file_layout(m->db, &inode, &layout) < 0 ? 0 : 1;
	if (r <= 0)
		return r;
	upto = MAX(t->upto, old_size);
	first = size / layout.chunk_size;
	n = ff3_layout_n_stripe(&layout);
	end = upto == UINT64_MAX ? first + n : (upto + layout.chunk_size - 1) / layout.chunk_size;
	t->truncs = inode.truncs;
	for (uint64_t i = first; i < end && i < first + n; i++) {
		r = add_call(m, t, ff3_layout_chain(&layout, (uint32_t)i), (uint32_t)first,
			     (uint32_t)(size % layout.chunk_size));
		if (r < 0)
			return r;
	}
	return 1;
}

static void on_logged(struct metad *m, struct metad_mutation *mutation)
{
	struct ff3_dec d = ff3_dec_blob(mutation->rec->payload);

	while (ff3_dec_more(&d)) {
		struct metad_inode inode;
		struct truncation *t;
		uint64_t ino, truncs;
		int r;

		ff3_get_u64(&d, &ino);
		ff3_get_u64(&d, &truncs);
		t = find(m, ino);
		if (!t || !t->logging)
			continue;
		t->logging = false;
		r = metad_db_get_inode(m->db, ino, &inode);
		if (r == 0 || inode.truncs == truncs)
			forget(m, t); /* else it was cut again meanwhile */
	}
	cleaner_truncate_poll(m);
}

/* t was cut everywhere. */
static void finish(struct metad *m, struct truncation *t)
{
	uint64_t payload[2] = { t->ino, t->truncs };

	t->logging = metad_pipeline_add_own(m, METAD_OP_truncation_done, payload, sizeof payload,
					    on_logged) >= 0;
}

static void run(struct metad_job *j)
{
	struct truncate_job *job = CONTAINER_OF(j, struct truncate_job, job);

	metad_chunk_calls_run(job->m->cleaner->truncate_calls, job->calls, job->n, CALL_TIMEOUT_MS);
}

static void done(struct metad_job *j)
{
	struct truncate_job *job = CONTAINER_OF(j, struct truncate_job, job);
	struct metad *m = job->m;
	struct truncation *t, *next;

	job->running = false;
	for (size_t i = 0; i < job->n; i++)
		if (job->calls[i].result < 0) {
			job->infos[i].t->n_failed++;
			m->cleaner->stats.n_failed_calls++;
		}
	DL_FOREACH_SAFE(m->cleaner->truncations, t, next)
	{
		if (!t->in_job)
			continue;
		t->in_job = false;
		t->retry_ns = ff3_boottime_ns() + (t->n_failed > 0 ? RETRY_NS : 0);
		if (t->n_failed == 0)
			finish(m, t);
	}
	cleaner_truncate_poll(m);
}

void cleaner_truncate_init(struct metad *m)
{
	m->cleaner->truncate.m = m;
	m->cleaner->truncate.job = (struct metad_job){ .run = run, .done = done };
}

void cleaner_truncate_poll(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	struct truncate_job *job = &c->truncate;
	uint64_t now = ff3_boottime_ns();
	struct truncation *t, *next;

	if (job->running)
		return;
	job->n = 0;
	DL_FOREACH_SAFE(c->truncations, t, next)
	{
		int r;

		if (t->logging || t->retry_ns > now)
			continue;
		t->n_calls = t->n_failed = 0;
		r = add_calls(m, t);
		if (r == 0) { /* the file is gone */
			forget(m, t);
			continue;
		}
		t->in_job = true;
		t->n_failed = r < 0;
		if (r >= 0 && t->n_calls == 0) {
			t->in_job = false;
			finish(m, t);
		}
	}
	for (size_t i = 0; i < job->n; i++) {
		job->calls[i].address = job->infos[i].address;
		job->calls[i].body = job->infos[i].body;
	}
	if (job->n == 0)
		return;
	job->running = true;
	metad_worker_submit(c->truncate_worker, &job->job);
}

void metad_cleaner_truncate(struct metad *m, uint64_t ino, uint64_t upto)
{
	struct truncation *t = find(m, ino);

	if (!t) {
		t = calloc(1, sizeof *t);
		if (!t)
			metad_die(-ENOMEM, "cannot note a truncation");
		t->ino = ino;
		DL_APPEND(m->cleaner->truncations, t);
		metad_file_set_truncating(m, ino, true);
	}
	t->upto = MAX(t->upto, upto);
	t->logging = false; /* whatever was logged, it was another cut */
	cleaner_truncate_poll(m);
}

static int load_one(void *arg, uint64_t ino, uint64_t size, uint64_t old_size)
{
	struct metad *m = arg;
	struct truncation *t = calloc(1, sizeof *t);

	if (!t)
		return -ENOMEM;
	t->ino = ino;
	t->upto = UINT64_MAX;
	DL_APPEND(m->cleaner->truncations, t);
	metad_file_set_truncating(m, ino, true);
	return 0;
}

int cleaner_truncate_load(struct metad *m)
{
	return metad_db_each_truncation(m->db, 0, load_one, m);
}
