/* One operation in metad's log, and the two envelopes it is written in. */
#pragma once

#include "inode.h"

#define METAD_LOG_BLOCK 4096u
#define METAD_BATCH_HEADER 64u
#define METAD_RECORD_HEADER 88u

/* Operations that only metad itself logs, above every wire operation.
 *
 *   L(number, name)   payload */
#define METAD_LOG_OPS(L)                                                                           \
	L(1024, start)           /* nothing: a new epoch began */                                  \
	L(1025, set_sizes)       /* struct metad_size_update each */                               \
	L(1026, collect)         /* u64 inode ids: orphans that nobody has open */                 \
	L(1027, garbage_done)    /* u64 inode ids: chunks are removed */                           \
	L(1028, truncation_done) /* u64 inode, u64 truncs pairs: cut */                              \
	L(1029, expire_sessions) /* u64 session ids: stored results go */                      \
	L(1030, target_state)    /* u64 target, u64 state pairs */                            \
	L(1031, note_sessions)   /* u64 session ids: they may hold locks */ \
	L(1032, take_down)       /* u64: so many names at most leave removed trees */ \
	L(1033, repair)          /* struct metad_repair each: what fsck found */ \
	L(1034, drop_lockers)    /* u64 session ids: they hold no locks */ \
	L(1035, append_held)     /* struct metad_append_held */ \
	L(1040, members)         /* the metadata group's, each u64 id, log, bits: 1 voter, 2 witness */

#define METAD_LOG_OP_ENUM(number, name) METAD_OP_##name = number,
enum metad_log_op { METAD_LOG_OPS(METAD_LOG_OP_ENUM) METAD_OP_END };

#define METAD_UPDATE_SPARSE 0x80000000u

/* A file's size and time, which were held in memory, for commit and set_sizes. */
struct metad_size_update {
	uint64_t ino;
	uint64_t size;      /* at least */
	int64_t mtime;      /* 0: not written to */
	uint32_t truncs;    /* of the inode when that was noted */
	uint32_t kill_mode; /* S_ISUID, S_ISGID: bits that the writers took away; METAD_UPDATE_SPARSE */
};

/* An append that was answered, or may have been, from memory; the record's session asked for it. */
struct metad_append_held {
	uint64_t seq; /* of its tag */
	struct metad_size_update update;
};

/* At most 64 in one record; only one of kind no-name, which may make /lost+found, or beyond-end. */
#define METAD_REPAIRS_MAX 64u
struct metad_repair {
	uint32_t kind; /* enum metad_finding_kind */
	uint32_t name_len;
	uint64_t ino;
	uint64_t parent;
	uint64_t have, want;
	char name[256];
};

/* "mkdir", "collect". */
const char *metad_op_name(unsigned op);

struct metad_record {
	uint64_t seq;
	uint64_t epoch;
	uint64_t prev_hash; /* of the record before */
	int64_t time;       /* ns since 1970; never goes back */
	uint64_t session;
	uint64_t ino;  /* what an object made by this operation gets */
	uint32_t seed; /* and its layout's seed */
	uint16_t op;   /* enum ff3_op or enum metad_log_op */
	uint16_t flags; /* METAD_RECORD_* */
	struct metad_cred cred;
	/* What else the primary decided. Operations that make a file: u32 ids of chains to take for
	 * its stripe, best first. commit, append: a struct metad_size_update; an append without one has lost its right. A multiple of 8 bytes or a list of
	 * u32. */
	struct ff3_blob assigned;
	struct ff3_blob payload; /* wire operations: the request's body */
};

enum {
	/* truncate, open: nothing beyond the new size was known when this was logged, so that no chunk
	 * has to be cut unless the file turns out to be longer. */
	METAD_RECORD_NO_CUT = 1,
};

/* Bytes that r takes, a multiple of 8. */
size_t metad_record_size(const struct metad_record *r);
/* buf has that room, 8-aligned. */
void metad_record_encode(void *buf, const struct metad_record *r);
/* 0 with *ret pointing into buf and *ret_size; -EBADMSG. */
int metad_record_decode(const void *buf, size_t len, struct metad_record *ret, size_t *ret_size);
uint64_t metad_record_hash(const void *buf, size_t size);

struct metad_batch_header {
	uint32_t length; /* with this header, without padding */
	uint32_t crc;    /* of the records */
	uint64_t key;
	uint64_t segment;
	uint64_t epoch;
	uint64_t first_seq;
	uint32_t n_records;
	uint64_t durable_seq;
};

void metad_batch_encode(void *buf, const struct metad_batch_header *h);
/* -EBADMSG unless it is a header with this key. */
int metad_batch_decode(const void *buf, uint64_t key, struct metad_batch_header *ret);

struct metad_segment_header {
	uint64_t key;
	uint64_t number;
	uint64_t first_seq;
	uint64_t prev_hash;
};

/* buf: METAD_LOG_BLOCK bytes. */
void metad_segment_encode(void *buf, const struct metad_segment_header *h);
int metad_segment_decode(const void *buf, uint64_t key, struct metad_segment_header *ret);
