/* ff3fs-put: how the walk hands a file to the workers. */
#pragma once

#include "transfer.h"

struct put_job {
	char *from; /* local path, "-" for stdin */
	char *to;   /* from the file system's root */
	struct stat st;
};

/* Takes job. */
struct put_job *put_job_new(const char *from, const char *to, const struct stat *st);
void put_job_free(struct put_job *job);

/* Copies one file (a worker's function): job is a struct put_job, which it frees. */
void put_file(void *job);
