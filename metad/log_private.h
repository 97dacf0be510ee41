/* Shared by log*.c only. */
#pragma once

#include "log.h"

#define MAX_SEGMENTS 64u

/* Where a batch lies. */
struct place {
	uint64_t first_seq;
	uint32_t n;	 /* records that still count */
	uint32_t offset; /* in blocks */
};

struct segment {
	int fd;          /* -1: no file */
	int read_fd;     /* -1: not open */
	uint64_t number; /* 0: free */
	uint64_t last_seq; /* of what was written; the current one's grows */
	struct place *places; /* batches with records, in order */
	uint32_t n_places, room_places;
};

struct batch {
	uint8_t *room; /* a block for a segment header, then METAD_BATCH_MAX */
	size_t len;    /* with the batch header */
	uint32_t n;
	uint64_t first_seq;
	uint64_t last_seq; /* of it, unless it was cut off meanwhile */
};

/* The newest records, as they were encoded, one behind the other in a ring of bytes. */
struct recent {
	uint8_t *bytes;
	struct recent_slot {
		uint64_t seq;
		uint64_t at; /* counts all bytes ever */
		uint32_t size;
	} *slots; /* by sequence number */
	uint64_t head; /* where the next goes */
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
	uint64_t first_seq;
	uint64_t last_seq;
	uint64_t last_hash;
	uint64_t durable_seq;
	uint64_t first_hash; /* of the record before the batch in the making */
	struct batch making, cut; /* being filled; being written */
	struct recent recent;
	uint8_t *reading; /* METAD_BATCH_MAX: the batch that was read last, */
	uint64_t reading_number, reading_offset; /* of this segment; 0: none */
	size_t reading_len, reading_at;
	uint64_t reading_seq; /* of the record at reading_at */
	bool making_segment; /* wants_segment was answered with true */
};

/* log.c */
int log_open_segment(const char *dir, unsigned slot, bool create, int *ret_fd);
static inline uint8_t *batch_start(const struct batch *b)
{
	return b->room + METAD_LOG_BLOCK;
}

static inline void log_close(int *fd)
{
	if (*fd >= 0)
		close(TAKE_FD(*fd));
}

/* log_read.c */
int log_read_init(struct metad_log *log);
void log_read_done(struct metad_log *log);
void log_recent_add(struct metad_log *log, uint64_t seq, const void *record, size_t size);
/* -ENOMEM */
int log_place_add(struct segment *s, uint64_t first_seq, uint32_t n, uint64_t offset);
/* Nothing behind seq counts any more. */
void log_places_cut(struct metad_log *log, uint64_t seq);
/* The segment is free. */
void log_segment_free(struct metad_log *log, struct segment *s);
/* The first record that can be read is seq. */
void log_first_update(struct metad_log *log);
int log_read_fd(struct metad_log *log, struct segment *s);
/* The whole batch at offset into buf of METAD_BATCH_MAX. 0, -EBADMSG if there is none, -errno. */
int log_read_batch(struct metad_log *log, struct segment *s, uint64_t offset, uint8_t *buf,
		   struct metad_batch_header *h);
int log_pread(int fd, void *buf, size_t len, uint64_t offset);
