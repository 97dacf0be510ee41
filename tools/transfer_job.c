/* Purpose: what the walk of ff3fs-put and ff3fs-get hands on: files to the workers, directories to the end.
 * Threads: the main thread's, but for transfer_job_free. */
#include "transfer.h"

void transfer_job_free(struct transfer_job *job)
{
	if (job) {
		free(job->from);
		free(job->to);
	}
	free(job);
}

int transfer_queue(const char *from, const char *to, const struct stat *st)
{
	struct transfer_job *job = calloc(1, sizeof *job);

	if (job) {
		job->from = strdup(from);
		job->to = strdup(to);
		job->st = *st;
	}
	if (!job || !job->from || !job->to) {
		transfer_job_free(job);
		return -ENOMEM;
	}
	transfer.progress.total_files++;
	transfer.progress.total_bytes += (uint64_t)st->st_size;
	pool_add(transfer.pool, job);
	return 0;
}

/* A directory whose mode and times are still to be set. */
struct made_dir {
	struct made_dir *next;
	struct stat st;
	char to[];
};
static struct made_dir *made_dirs;

void transfer_made_dir(const char *to, const struct stat *st)
{
	struct made_dir *d = malloc(sizeof *d + strlen(to) + 1);

	if (!d)
		return;
	strcpy(d->to, to);
	d->st = *st;
	d->next = made_dirs;
	made_dirs = d;
}

void transfer_finish_dirs(void (*finish)(const char *to, const struct stat *st))
{
	struct made_dir *d;

	while ((d = made_dirs)) {
		finish(d->to, &d->st);
		made_dirs = d->next;
		free(d);
	}
}
