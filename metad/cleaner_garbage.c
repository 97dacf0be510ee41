/* Purpose: removing the chunks of inodes that are gone, from every target that may hold some; then
 * the row goes too. A page of inodes at a time; a target that is away keeps its inodes' rows for
 * the next round and holds nothing else up.
 *
 * Threads: the loop's, and run() on the worker. */
#include "cleaner.h"

#define RETRY_NS (2 * FF3_NSEC_PER_SEC)

static int on_row(void *arg, uint64_t ino, uint64_t stripe, uint64_t b)
{
	struct garbage_job *job = arg;

	job->inos[job->n] = ino;
	job->stripes[job->n] = (uint32_t)stripe;
	job->failed[job->n] = false;
	return ++job->n == GARBAGE_PAGE;
}

static void free_calls(struct garbage_job *job)
{
	for (size_t i = 0; i < job->n_calls; i++)
		free(job->infos[i]);
	free(job->infos);
	free(job->calls);
	job->infos = NULL;
	job->calls = NULL;
	job->n_calls = 0;
}

static struct garbage_call *call_of(struct garbage_job *job, uint64_t target, const char *address)
{
	struct garbage_call **infos;
	struct garbage_call *info;

	for (size_t i = 0; i < job->n_calls; i++)
		if (job->infos[i]->target == target)
			return job->infos[i];
	infos = realloc(job->infos, (job->n_calls + 1) * sizeof *infos);
	if (!infos)
		return NULL;
	job->infos = infos;
	info = malloc(sizeof *info);
	if (!info)
		return NULL;
	info->target = target;
	info->n = 0;
	snprintf(info->address, sizeof info->address, "%s", address);
	job->infos[job->n_calls++] = info;
	return info;
}

static bool add_inode(struct metad *m, uint32_t i)
{
	struct garbage_job *job = &m->cleaner->garbage;
	struct ff3_blob chains;

	if (metad_db_get_stripe(m->db, job->stripes[i], &chains) <= 0)
		return false;
	for (uint32_t k = 0; k < chains.len / 4; k++) {
		struct garbage_call *info;
		const char *address;
		uint64_t target;
		uint32_t chain;

		memcpy(&chain, (const uint8_t *)chains.p + 4 * k, 4);
		if (metad_routes_find(m, chain, &target, &address) < 0)
			return false;
		info = call_of(job, target, address);
		if (!info)
			return false;
		info->inos[info->n++] = job->inos[i];
	}
	return true;
}

static int make_calls(struct metad *m)
{
	struct garbage_job *job = &m->cleaner->garbage;

	for (uint32_t i = 0; i < job->n; i++)
		job->failed[i] = !add_inode(m, i);
	job->calls = calloc(MAX(job->n_calls, (size_t)1), sizeof *job->calls);
	if (!job->calls)
		return -ENOMEM;
	for (size_t i = 0; i < job->n_calls; i++) {
		struct garbage_call *info = job->infos[i];
		struct ff3_req_chunk_remove q = { .inos = { info->inos, info->n * 8 } };

		job->calls[i] = (struct metad_chunk_call){
			.target = info->target,
			.address = info->address,
			.op = FF3_OP_chunk_remove,
			.body = info->body,
			.body_len = ff3_encode_req_chunk_remove(info->body, sizeof info->body, &q),
		};
	}
	return 0;
}

static void run(struct metad_job *j)
{
	struct garbage_job *job = CONTAINER_OF(j, struct garbage_job, job);

	metad_chunk_calls_run(job->m->cleaner->garbage_calls, job->calls, job->n_calls,
			      CALL_TIMEOUT_MS);
}

static void mark_failed(struct garbage_job *job, const struct garbage_call *info)
{
	uint32_t i = 0;

	/* Both lists are in ascending order. */
	for (uint32_t k = 0; k < info->n; k++) {
		while (job->inos[i] != info->inos[k])
			i++;
		job->failed[i] = true;
	}
}

static void done(struct metad_job *j)
{
	struct garbage_job *job = CONTAINER_OF(j, struct garbage_job, job);
	struct metad *m = job->m;
	uint64_t gone[GARBAGE_PAGE];
	uint32_t n = 0;

	job->running = false;
	for (size_t i = 0; i < job->n_calls; i++)
		if (job->calls[i].result < 0) {
			m->cleaner->stats.n_failed_calls++;
			mark_failed(job, job->infos[i]);
		}
	for (uint32_t i = 0; i < job->n; i++)
		if (job->failed[i])
			job->again = true;
		else
			gone[n++] = job->inos[i];
	free_calls(job);
	for (uint32_t i = 0; i < n; i += GARBAGE_RECORD)
		if (metad_pipeline_add_own(m, METAD_OP_garbage_done, gone + i,
					   MIN(n - i, GARBAGE_RECORD) * sizeof *gone, NULL) < 0)
			job->again = true;
	m->cleaner->stats.n_removed += n;
	job->cursor = job->inos[job->n - 1];
	cleaner_garbage_poll(m);
}

void cleaner_garbage_init(struct metad *m)
{
	m->cleaner->garbage.m = m;
	m->cleaner->garbage.job = (struct metad_job){ .run = run, .done = done };
}

void cleaner_garbage_done(struct metad *m)
{
	free_calls(&m->cleaner->garbage);
}

void cleaner_garbage_poll(struct metad *m)
{
	struct metad_cleaner *c = m->cleaner;
	struct garbage_job *job = &c->garbage;
	int r;

	if (job->running || !c->garbage_exists || metad_pipeline_is_committing(m) || ff3_boottime_ns() < job->not_before_ns)
		return;
	job->n = 0;
	r = metad_db_each_garbage(m->db, job->cursor, on_row, job);
	if (r < 0)
		metad_die(r, "cannot read the database");
	if (job->n == 0) { /* the end of a round */
		c->garbage_exists = job->again || job->cursor != 0;
		job->not_before_ns = job->again ? ff3_boottime_ns() + RETRY_NS : 0;
		job->again = false;
		job->cursor = 0;
		return;
	}
	if (make_calls(m) < 0) {
		free_calls(job);
		return;
	}
	job->running = true;
	metad_worker_submit(c->garbage_worker, &job->job);
}
