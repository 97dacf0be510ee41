/* A thread that does one slow thing after the other for a loop. */
#pragma once

#include "../common/net/loop.h"

struct metad_worker;

/* Embedded by its user, alive until done was called or the worker is freed. */
struct metad_job {
	void (*run)(struct metad_job *job);  /* on the worker's thread */
	void (*done)(struct metad_job *job); /* then on the loop's */
	struct metad_job *next;
};

/* name: of the thread, for top(1). */
int metad_worker_new(struct ff3_loop *loop, const char *name, struct metad_worker **ret);
/* Of the loop's thread. Waits for the job that is running and drops those that have not begun; done is called
 * for no job any more. Accepts NULL. */
void metad_worker_free(struct metad_worker *worker);
void metad_worker_submit(struct metad_worker *worker, struct metad_job *job);
