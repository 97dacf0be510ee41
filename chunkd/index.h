/* The index: which chunk lies in which slot, its length, versions and checksums, durably.
 *
 * Threads: opening, loading and closing on the store's thread; commit on one thread at a time. */
#pragma once

#include "../common/base/base.h"

struct chunkd_index;

struct chunkd_row {
	uint64_t place;
	uint64_t ino;
	uint32_t index;
	uint32_t len;
	uint64_t version;
	uint64_t chain_version;
	uint64_t session, seq; /* tag of the last write */
	const uint32_t *crcs;  /* one for each 4 KiB of len */
};

/* One chunk's change. old_place is freed unless it equals row.place; row.place 0 removes. */
struct chunkd_change {
	uint64_t old_place;
	struct chunkd_row row;
};

/* Opens or makes index.db in dir. ballast: size of the file kept to be given up when even a
 * deletion finds no space. -EIO, -EUCLEAN: damaged or of another format. */
int chunkd_index_open(const char *dir, uint64_t ballast, struct chunkd_index **ret);
void chunkd_index_close(struct chunkd_index *index);
/* Calls fn for every row; its result other than 0 ends the scan and is returned. */
int chunkd_index_load(struct chunkd_index *index,
		      int (*fn)(void *arg, const struct chunkd_row *row), void *arg);
/* One transaction, durable on return. -ENOSPC, -EIO: nothing of it happened (or, after an error
 * of the final sync, perhaps: the caller must stop using the target). */
int chunkd_index_commit(struct chunkd_index *index, const struct chunkd_change *changes, size_t n);
