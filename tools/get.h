/* ff3fs-get: how the walk hands a file to the workers. */
#pragma once

#include "transfer.h"

struct get_job {
	char *from; /* from the file system's root */
	char *to;   /* local path, "-" for stdout */
	struct ff3fs_attr attr;
};

struct get_job *get_job_new(const char *from, const char *to, const struct ff3fs_attr *attr);
void get_job_free(struct get_job *job);

/* Copies one file (a worker's function): job is a struct get_job, which it frees. */
void get_file(void *job);
