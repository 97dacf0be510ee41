/* Shared by log.c and log_recover.c only. */
#pragma once

#include "log.h"

#define MAX_SEGMENTS 64u

struct segment {
	int fd;          /* -1: no file */
	int read_fd;     /* during recovery */
	uint64_t number; /* 0: free */
	uint64_t last_seq; /* of what was written; the current one's grows */
};

struct batch {
	uint8_t *room; /* a block for a segment header, then METAD_BATCH_MAX */
	size_t len;    /* with the batch header */
	uint32_t n;
	uint64_t first_seq;
};

struct metad_log {
	char *dir;
	uint64_t key;
	uint64_t segment_size;
	struct segment segments[MAX_SEGMENTS];
	struct segment *current; /* NULL: the next batch begins a segment */
	uint64_t offset;         /* where in it the next batch goes */
	uint64_t next_number;
	uint64_t epoch;
	uint64_t last_seq;
	uint64_t last_hash;
	uint64_t durable_seq;
	uint64_t first_hash; /* of the record before the batch in the making */
	struct batch making, cut, done; /* being filled; being written; durable */
	bool making_segment; /* wants_segment was answered with true */
	bool may_be_absent; /* the database comes from a backup */
};

int log_open_segment(const char *dir, unsigned slot, bool create, int *ret_fd);
