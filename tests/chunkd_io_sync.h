/* A store's disk access for tests: synchronous, in order, with faults.
 *
 * Every operation is numbered from 1. Operation fail_at fails with fail_error (a read, write,
 * fdatasync or job; a job fails by not running, see chunkd_sync_run). Operation crash_at and all
 * after it never happen: the power is gone. chunkd_sync_power_cut then takes back a random subset
 * of the sectors that were written and not yet fdatasynced, as a disk's cache would.
 * Short transfers happen at random with short_one_in. */
#pragma once

#include "../chunkd/io.h"

struct chunkd_sync_undo;
struct chunkd_sync_due;

struct chunkd_sync {
	struct chunkd_io io;
	struct chunkd_sync_due *first, **last; /* callbacks due */
	struct chunkd_job *jobs, **last_job;
	struct chunkd_sync_undo *undo;
	uint64_t n_ops, fail_at, crash_at;
	int fail_error;
	unsigned short_one_in, seed;
	bool skip_fdatasync; /* the planted bug: answered without being done */
	bool crashed;
};

void chunkd_sync_init(struct chunkd_sync *sync, unsigned seed);
void chunkd_sync_done(struct chunkd_sync *sync);
/* Runs one callback or job. False: there is none. */
bool chunkd_sync_step(struct chunkd_sync *sync);
/* dir: of the store; its slabs get unsynced sectors taken back. */
void chunkd_sync_power_cut(struct chunkd_sync *sync);
