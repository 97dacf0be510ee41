/* metad's log: segments on disk, batches in the making, recovery, reading back, recycling.
 *
 * Use: open, recover, begin; then for ever: append records to the batch in the making, cut it, and
 * write what cut answered to the file at that offset. At most one batch is being written at a time,
 * while the next one is filled. Any record can be read back as long as its segment was not released;
 * the newest ones are in memory. What was appended may be cut off again (truncate): where that is on
 * disk already, a new segment begins, which overrides at recovery what came behind.
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

/* What recovery found: the log is whole from first_seq to last_seq. */
struct metad_log_found {
	uint64_t first_seq; /* above last_seq: the log is empty */
	uint64_t last_seq, last_hash;
	uint64_t lost_seq;  /* records up to here were durable once and are not there; 0: none */
	bool foreign;	    /* there was a log that the database does not belong to; it was left out */
	bool absent;	    /* there was none at all */
};
/* Reads what is there behind the base that is safe elsewhere: in the database, where everything up to
 * base_seq was applied. Calls fn for every record, in order; one with a number that was told before
 * replaces what was told from there on. fn's negative result ends the recovery. A tail
 * that was never acknowledged is left out. The files are not changed. */
int metad_log_recover(struct metad_log *log, uint64_t base_seq, uint64_t base_hash,
		      int (*fn)(void *arg, const struct metad_record *r, uint64_t hash), void *arg,
		      struct metad_log_found *ret);
/* After recover: the next record gets last_seq + 1; segments without anything up to there are free. */
int metad_log_begin(struct metad_log *log, uint64_t last_seq, uint64_t last_hash);

/* What records made here bear. */
void metad_log_set_epoch(struct metad_log *log, uint64_t epoch);
/* Adds a record to the batch in the making; fills in r's seq, epoch, prev_hash. -EAGAIN: the batch is
 * full. */
int metad_log_append(struct metad_log *log, struct metad_record *r);
/* Adds a record that another member made. -EBADMSG: it is not the one that follows. */
int metad_log_append_encoded(struct metad_log *log, const void *buf, size_t size);
/* Bytes that the batch in the making can take. */
size_t metad_log_room(const struct metad_log *log);
/* Records in the batch in the making. */
uint32_t metad_log_n_pending(const struct metad_log *log);
/* The last sequence number given out and its record's hash; the last known durable; the first that can
 * be read. */
uint64_t metad_log_last_seq(const struct metad_log *log);
uint64_t metad_log_last_hash(const struct metad_log *log);
uint64_t metad_log_durable_seq(const struct metad_log *log);
uint64_t metad_log_first_seq(const struct metad_log *log);
/* The record seq becomes the last one. hash: its hash. */
void metad_log_truncate(struct metad_log *log, uint64_t seq, uint64_t hash);

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

/* The bytes of record seq, valid until the next call of anything here. -ENOENT: it is not in the log;
 * -EBADMSG: it cannot be read. */
int metad_log_get(struct metad_log *log, uint64_t seq, const void **ret, size_t *ret_size);
/* The same, decoded. */
int metad_log_get_record(struct metad_log *log, uint64_t seq, struct metad_record *ret,
			 uint64_t *ret_hash);
/* What is in memory is not wanted any more. */
void metad_log_forget(struct metad_log *log);

/* Segments that hold only records up to seq become free, the oldest first, until those in use are not
 * more than keep bytes. */
void metad_log_release(struct metad_log *log, uint64_t seq, uint64_t keep);
/* Whether a segment should be made, to be ready when the current one is full; *ret_slot names it. */
bool metad_log_wants_segment(struct metad_log *log, unsigned *ret_slot);
/* Any thread; takes as long as writing segment_size bytes. */
int metad_log_make_segment(const char *dir, unsigned slot, uint64_t segment_size, int *ret_fd);
/* fd -1: it could not be made. */
void metad_log_add_segment(struct metad_log *log, unsigned slot, int fd);
/* Bytes of segments in use, and segments in all. */
uint64_t metad_log_used(const struct metad_log *log, unsigned *ret_n_segments);
/* Segments in use with records above seq. */
unsigned metad_log_n_above(const struct metad_log *log, uint64_t seq);
