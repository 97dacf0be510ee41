/* Purpose: the codec of the log's records and envelopes. log.c tells how they lie in the files.
 *
 * Format, all little-endian; CRCs are CRC32C.
 *
 *   segment header, one 4 KiB block     batch header, 64 bytes at a 4 KiB boundary
 *    0 4 magic "FF3L"                    0 4 magic "FF3B"
 *    4 4 CRC of bytes 8..63              4 4 CRC of bytes 8..63
 *    8 4 format version, 1               8 4 length with this header, without padding
 *   12 4 0                              12 4 CRC of bytes 64..length
 *   16 8 log key                        16 8 log key
 *   24 8 segment number                 24 8 segment number
 *   32 8 sequence number of its first   32 8 epoch
 *        record                         40 8 sequence number of its first record
 *   40 8 hash of the record before      48 4 number of records, perhaps 0
 *   48   zeros                          52 4 0
 *                                       56 8 last sequence number known to be durable
 *
 *   record, at a multiple of 8
 *    0 4 length, a multiple of 8        40 8 session
 *    4 4 CRC of bytes 8..length         48 8 inode id for an object made by it
 *    8 8 sequence number                56 4 seed of its layout
 *   16 8 epoch                          60 2 operation    62 2 flags
 *   24 8 hash of the record before      64 4 uid          68 4 gid
 *   32 8 time, ns since 1970            72 4 groups       76 4 assigned bytes
 *                                       80 4 payload      84 4 0
 *   88   groups (u32 each), assigned, payload, zeros
 *
 * Threads: no state. */
#include "record.h"

#include "../common/base/crc32c.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lists are read in place");

#define SEGMENT_MAGIC 0x4c334646u
#define BATCH_MAGIC 0x42334646u
#define SEGMENT_FORMAT 1u

struct record_head {
	uint32_t length, crc;
	uint64_t seq, epoch, prev_hash;
	int64_t time;
	uint64_t session, ino;
	uint32_t seed;
	uint16_t op, flags;
	uint32_t uid, gid, n_groups, assigned_len, payload_len, zero2;
};
_Static_assert(sizeof(struct record_head) == METAD_RECORD_HEADER, "no padding");

struct batch_head {
	uint32_t magic, head_crc, length, crc;
	uint64_t key, segment, epoch, first_seq;
	uint32_t n_records, zero;
	uint64_t durable_seq;
};
_Static_assert(sizeof(struct batch_head) == METAD_BATCH_HEADER, "no padding");

struct segment_head {
	uint32_t magic, head_crc, format, zero;
	uint64_t key, number, first_seq, prev_hash;
	uint64_t zeros[2];
};
_Static_assert(sizeof(struct segment_head) == 64, "no padding");

static const char *const log_op_names[] = {
#define LOG_OP_NAME(number, name) [number - METAD_OP_start] = #name,
	METAD_LOG_OPS(LOG_OP_NAME)
};

const char *metad_op_name(unsigned op)
{
	if (op >= METAD_OP_start && op < METAD_OP_END)
		return log_op_names[op - METAD_OP_start];
	return ff3_op_name(op);
}

size_t metad_record_size(const struct metad_record *r)
{
	return ROUND_UP(METAD_RECORD_HEADER + 4 * (size_t)r->cred.n_groups + r->assigned.len +
				r->payload.len,
			8u);
}

static uint8_t *append(uint8_t *p, const void *data, size_t len)
{
	if (len > 0)
		memcpy(p, data, len);
	return p + len;
}

void metad_record_encode(void *buf, const struct metad_record *r)
{
	size_t size = metad_record_size(r);
	uint8_t *start = buf, *p = start + METAD_RECORD_HEADER;
	struct record_head h = {
		.length = (uint32_t)size,
		.seq = r->seq,
		.epoch = r->epoch,
		.prev_hash = r->prev_hash,
		.time = r->time,
		.session = r->session,
		.ino = r->ino,
		.seed = r->seed,
		.op = r->op,
		.flags = r->flags,
		.uid = r->cred.uid,
		.gid = r->cred.gid,
		.n_groups = r->cred.n_groups,
		.assigned_len = r->assigned.len,
		.payload_len = r->payload.len,
	};

	p = append(p, r->cred.groups, 4 * (size_t)r->cred.n_groups);
	p = append(p, r->assigned.p, r->assigned.len);
	p = append(p, r->payload.p, r->payload.len);
	memset(p, 0, (size_t)(start + size - p));
	memcpy(buf, &h, sizeof h);
	h.crc = ff3_crc32c(0, start + 8, size - 8);
	memcpy(start + 4, &h.crc, 4);
}

int metad_record_decode(const void *buf, size_t len, struct metad_record *ret, size_t *ret_size)
{
	const uint8_t *p = buf, *lists;
	struct record_head h;

	if (len < sizeof h)
		return -EBADMSG;
	memcpy(&h, p, sizeof h);
	if (h.length > len || h.length < sizeof h || h.length % 8 != 0 ||
	    ff3_crc32c(0, p + 8, h.length - 8) != h.crc ||
	    ROUND_UP(sizeof h + 4 * (uint64_t)h.n_groups + h.assigned_len + h.payload_len, 8u) !=
		    h.length)
		return -EBADMSG;
	lists = p + sizeof h;
	*ret = (struct metad_record){
		.seq = h.seq,
		.epoch = h.epoch,
		.prev_hash = h.prev_hash,
		.time = h.time,
		.session = h.session,
		.ino = h.ino,
		.seed = h.seed,
		.op = h.op,
		.flags = h.flags,
		.cred = { h.uid, h.gid, (const uint32_t *)lists, h.n_groups },
		.assigned = { lists + 4 * (size_t)h.n_groups, h.assigned_len },
		.payload = { lists + 4 * (size_t)h.n_groups + h.assigned_len, h.payload_len },
	};
	*ret_size = h.length;
	return 0;
}

uint64_t metad_record_hash(const void *buf, size_t size)
{
	return metad_hash(0, buf, size);
}

static uint32_t head_crc(const void *head)
{
	return ff3_crc32c(0, (const uint8_t *)head + 8, 64 - 8);
}

void metad_batch_encode(void *buf, const struct metad_batch_header *h)
{
	struct batch_head b = {
		.magic = BATCH_MAGIC,
		.length = h->length,
		.crc = h->crc,
		.key = h->key,
		.segment = h->segment,
		.epoch = h->epoch,
		.first_seq = h->first_seq,
		.n_records = h->n_records,
		.durable_seq = h->durable_seq,
	};

	b.head_crc = head_crc(&b);
	memcpy(buf, &b, sizeof b);
}

int metad_batch_decode(const void *buf, uint64_t key, struct metad_batch_header *ret)
{
	struct batch_head b;

	memcpy(&b, buf, sizeof b);
	if (b.magic != BATCH_MAGIC || b.key != key || b.length < sizeof b || head_crc(&b) != b.head_crc)
		return -EBADMSG;
	*ret = (struct metad_batch_header){ b.length, b.crc,	  b.key,	b.segment,
					    b.epoch,  b.first_seq, b.n_records, b.durable_seq };
	return 0;
}

void metad_segment_encode(void *buf, const struct metad_segment_header *h)
{
	struct segment_head s = {
		.magic = SEGMENT_MAGIC,
		.format = SEGMENT_FORMAT,
		.key = h->key,
		.number = h->number,
		.first_seq = h->first_seq,
		.prev_hash = h->prev_hash,
	};

	s.head_crc = head_crc(&s);
	memset(buf, 0, METAD_LOG_BLOCK);
	memcpy(buf, &s, sizeof s);
}

int metad_segment_decode(const void *buf, uint64_t key, struct metad_segment_header *ret)
{
	struct segment_head s;

	memcpy(&s, buf, sizeof s);
	if (s.magic != SEGMENT_MAGIC || s.format != SEGMENT_FORMAT || s.key != key ||
	    head_crc(&s) != s.head_crc)
		return -EBADMSG;
	*ret = (struct metad_segment_header){ s.key, s.number, s.first_seq, s.prev_hash };
	return 0;
}
