/* One state of the database, held while the loop goes on: for backups and checks, on a connection
 * and a thread of its own. SQLite's write-ahead log cannot begin anew meanwhile
 * (metad_checkpointer_hold). */
#pragma once

#include "db.h"

struct metad_db_snapshot;

int metad_db_snapshot_open(const char *path, struct metad_db_snapshot **ret);
void metad_db_snapshot_close(struct metad_db_snapshot *s);
const struct metad_meta *metad_db_snapshot_meta(const struct metad_db_snapshot *s);

/* Writes the state as a database of its own into the file at path, which must be empty, and syncs it.
 * step is told how far that is, in bytes; other than 0 ends the copy and is returned. */
int metad_db_snapshot_copy(struct metad_db_snapshot *s, const char *path,
			   int (*step)(void *arg, uint64_t done, uint64_t total), void *arg);
