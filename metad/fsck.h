/* fsck: looks for what is wrong with the names and with the chunks, on a thread of its own while metad
 * serves, and repairs it if asked to. Whatever is found between names and chunks is looked at again,
 * on the loop and at the chunk daemon, before it counts: files that are open or change meanwhile are left
 * out. */
#pragma once

#include <pthread.h>

#include "chunk_calls.h"
#include "db_fsck.h"
#include "metad.h"

#define FSCK_FINDINGS_MAX 50000u
#define FSCK_CANDIDATES 512u

enum fsck_state { FSCK_IDLE, FSCK_RUNNING, FSCK_DONE, FSCK_FAILED };

struct fsck_item {
	struct metad_finding f;
	char path[256]; /* of the inode, "" if it has none or is too deep */
	bool repaired;
};

struct fsck_target {
	uint64_t id;
	char address[256]; /* "" : nobody knows */
	bool complete;
	int error;
};

struct metad_fsck {
	struct metad *m;
	pthread_t thread;
	bool thread_exists;
	struct metad_chunk_calls *calls;

	/* Guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t applied;
	enum fsck_state state;
	bool repair, cancel;
	int error;
	const char *phase;
	uint64_t done, total;
	struct fsck_item *items;
	uint64_t n_items, room;
	uint64_t n_found, n_repaired; /* items that did not fit, too */
	struct fsck_target *targets;
	size_t n_targets;
	bool is_applied;
	uint64_t repaired_mask;

	/* The thread's own. */
	struct metad_db_snapshot *snap;
	struct metad_finding *candidates; /* to be confirmed; names: of this pass */
	bool *sure;
	size_t n_candidates;
	uint64_t n_pass_repaired;
	bool more; /* than fit into candidates */
	uint8_t *reply;
};

int metad_fsck_new(struct metad *m, struct metad_fsck **ret);
void metad_fsck_free(struct metad_fsck *f);
/* -EBUSY: one is under way. */
int metad_fsck_begin(struct metad_fsck *f, bool repair);
void metad_fsck_cancel(struct metad_fsck *f);
const char *metad_finding_word(uint32_t kind);
/* What was done about it, or NULL: nothing can be. */
const char *metad_finding_fate(uint32_t kind);

/* --- Between fsck*.c only ------------------------------------------------------------------- */

int fsck_step(void *arg, uint64_t done, uint64_t total);
void fsck_phase(struct metad_fsck *f, const char *phase);
int fsck_record(struct metad_fsck *f, const struct metad_finding *finding, bool repaired);
/* Repairs n of list through the log; mask of those that were done. */
int fsck_submit(struct metad_fsck *f, const struct metad_finding *list, size_t n, uint64_t *ret_mask);
int fsck_open_snapshot(struct metad_fsck *f);
void fsck_close_snapshot(struct metad_fsck *f);
int fsck_chunks(struct metad_fsck *f);
