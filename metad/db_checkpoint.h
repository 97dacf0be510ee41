/* A second connection to the database, for checkpoints from another thread. */
#pragma once

#include "../common/base/base.h"

struct metad_db_checkpoint;

int metad_db_checkpoint_open(const char *path, struct metad_db_checkpoint **ret);
void metad_db_checkpoint_close(struct metad_db_checkpoint *c);
/* Copies what it can from SQLite's write-ahead log into the database without blocking anyone, and
 * syncs both files: everything committed before the call survives a power cut after it. *ret_left:
 * pages that could not be copied, because they were written meanwhile. */
int metad_db_checkpoint_run(struct metad_db_checkpoint *c, uint64_t *ret_left);
