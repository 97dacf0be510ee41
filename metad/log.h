/* metad's log: segments on disk, batches in the making, recovery, recycling.
 *
 * Use: open, replay, begin; then for ever: append records to the batch in the making, cut it,
 * write what cut answered to the file at that offset, and when the write is durable, walk the
 * batch's records and apply them. At most one batch is being written at a time, while the one
 * before is applied and the next one filled.
 *
 * Threads: one owner, except metad_log_make_segment, which any thread may call. */
#pragma once

#include "record.h"

struct metad_log;

#define METAD_SEGMENT_SIZE (16u * 1024 * 1024)
#define METAD_BATCH_MAX (4u * 1024 * 1024)

/* dir exists. key: from the database. segment_size: a multiple of METAD_LOG_BLOCK, at least
 * METAD_BATCH_MAX + 2 blocks. */
int metad_log_open(const char *dir, uint64_t key, uint64_t segment_size, struct metad_log **ret);
void metad_log_close(struct metad_log *log);

/* Before the replay: the database comes from a backup, without its log. */
void metad_log_may_be_absent(struct metad_log *log);
/* Calls fn for every record after after_seq, in order; after_hash is that of record after_seq.
 * fn's negative result ends the replay. -EBADMSG: the log is damaged in its middle (explained in
 * the daemon's log): nothing may be started on it. A tail that was never acknowledged is left out.
 * The files are not changed. */
int metad_log_replay(struct metad_log *log, uint64_t after_seq, uint64_t after_hash,
		     int (*fn)(void *arg, const struct metad_record *r, uint64_t hash), void *arg);

/* The next record gets last_seq + 1. Everything up to last_seq must be safe in the database: older
 * segments become free. */
int metad_log_begin(struct metad_log *log, uint64_t epoch, uint64_t last_seq, uint64_t last_hash);

/* Adds a record to the batch in the making; fills in r's seq, epoch, prev_hash. -EAGAIN: the batch is
 * full. */
int metad_log_append(struct metad_log *log, struct metad_record *r);
/* Records in the batch in the making. */
uint32_t metad_log_n_pending(const struct metad_log *log);
/* The last sequence number given out, and the last known durable. */
uint64_t metad_log_last_seq(const struct metad_log *log);
uint64_t metad_log_durable_seq(const struct metad_log *log);

struct metad_log_write {
	int fd;
	const void *buf;
	size_t len;
	uint64_t offset;
};

/* Ends the batch in the making (which may be empty: then it only marks what is durable) and answers
 * what to write. The file is open with O_DSYNC: when the write has returned, it is durable. -EAGAIN:
 * no free segment; call again when one was added. */
int metad_log_cut(struct metad_log *log, struct metad_log_write *ret);
/* The write that cut answered is durable; the next batch may be cut. */
void metad_log_written(struct metad_log *log);
/* The records of the batch that was last written, until the next one is. *pos begins as 0. 1; 0 at
 * the end. */
int metad_log_next(struct metad_log *log, size_t *pos, struct metad_record *ret, uint64_t *ret_hash);

/* Segments that hold only records up to seq become free. */
void metad_log_release(struct metad_log *log, uint64_t seq);
/* Whether a segment should be made, to be ready when the current one is full; *ret_slot names it. */
bool metad_log_wants_segment(struct metad_log *log, unsigned *ret_slot);
/* Any thread; takes as long as writing segment_size bytes. */
int metad_log_make_segment(const char *dir, unsigned slot, uint64_t segment_size, int *ret_fd);
/* fd -1: it could not be made. */
void metad_log_add_segment(struct metad_log *log, unsigned slot, int fd);
/* Bytes of segments in use, and segments in all. */
uint64_t metad_log_used(const struct metad_log *log, unsigned *ret_n_segments);
