/* Shared by the cleaner*.c files only. */
#pragma once

#include "chunk_calls.h"
#include "metad.h"

#define CALL_TIMEOUT_MS 5000u
#define GARBAGE_PAGE 2048u
#define GARBAGE_RECORD 64u /* inodes in one: others wait for so long */

struct truncation {
	uint64_t ino;
	uint64_t upto;
	uint64_t retry_ns;  /* CLOCK_BOOTTIME: not before */
	uint32_t truncs;    /* of the inode when the job was made */
	uint32_t n_calls;   /* of the job */
	uint32_t n_failed;
	bool in_job;
	bool logging; /* cut everywhere; the record that says so is under way */
	struct truncation *prev, *next;
};

/* One call with what it is for. */
struct truncate_call {
	struct truncation *t;
	uint8_t body[32];
	char address[256];
};

struct truncate_job {
	struct metad_job job;
	struct metad *m;
	struct metad_chunk_call *calls;
	struct truncate_call *infos;
	size_t n, room;
	bool running;
};

struct garbage_call {
	uint64_t target;
	char address[256];
	uint32_t n;
	uint64_t inos[GARBAGE_PAGE];
	uint8_t body[GARBAGE_PAGE * 8 + 16];
};

struct garbage_job {
	struct metad_job job;
	struct metad *m;
	uint64_t inos[GARBAGE_PAGE];
	uint32_t stripes[GARBAGE_PAGE];
	bool failed[GARBAGE_PAGE];
	uint32_t n;
	struct garbage_call **infos;
	struct metad_chunk_call *calls;
	size_t n_calls;
	bool running;
	bool again; /* something failed */
	uint64_t cursor;
	uint64_t not_before_ns;
};

struct metad_cleaner {
	struct metad *m;
	struct metad_worker *truncate_worker, *garbage_worker;
	struct metad_chunk_calls *truncate_calls, *garbage_calls;
	struct truncation *truncations;
	struct truncate_job truncate;
	struct garbage_job garbage;
	bool garbage_exists; /* perhaps */
	bool scanned;        /* orphans of before the start were looked at */
	uint64_t *orphans;   /* to be collected */
	uint32_t n_orphans, room_orphans;
	bool trees_exist; /* perhaps */
	uint32_t n_taking_down; /* records under way */
	struct ff3_timer timer;
	struct metad_cleaner_stats stats;
};

void cleaner_truncate_poll(struct metad *m);
void cleaner_truncate_init(struct metad *m);
int cleaner_truncate_load(struct metad *m);
void cleaner_garbage_poll(struct metad *m);
void cleaner_garbage_init(struct metad *m);
void cleaner_garbage_done(struct metad *m);
void cleaner_trees_poll(struct metad *m);
