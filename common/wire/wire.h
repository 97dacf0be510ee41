/* Structs, codec and names of the messages of wire_ops.h, and the frame they travel in.
 *
 * A frame is a header of FF3_HEADER_SIZE bytes, a body (the encoded message) and a payload
 * (raw chunk bytes):
 *
 *   offset size
 *        0    4  magic "FF3\x01"
 *        4    2  protocol version
 *        6    2  operation
 *        8    4  flags (FF3_FRAME_*)
 *       12    4  status: 0 or an error's wire number; requests: 0
 *       16    8  request id, chosen by the sender of the request
 *       24    4  body length
 *       28    4  payload length
 *       32    4  CRC32C of the body
 *       36    4  CRC32C of the 36 bytes before
 *
 * The payload is covered by the CRCs that the body carries. Everything is little-endian.
 *
 * Decoding copies nothing: `str` and `blob` fields point into the buffer that was decoded.
 * All functions here are pure and thread-safe. */
#pragma once

#include "../base/err.h"
#include "wire_ops.h"

/* Raised by whatever changes the header or a message that was there before; a new operation does not. What
 * differs without that is noticed by bodies that cannot be decoded. */
#define FF3_PROTOCOL_VERSION 4
#define FF3_MAGIC 0x01334646u
#define FF3_HEADER_SIZE 40u

#define FF3_ROOT_INO 1ull

enum {
	FF3_FRAME_REPLY = 1,
	FF3_FRAME_ONE_WAY = 2,
	FF3_FRAME_FDS = 4, /* a reply that descriptors came with; local sockets only */
	FF3_FRAME_PLACE = 8, /* a place is in front of the body; shared memory only */
	FF3_FRAME_PLACED = 16, /* a request's payload lies in that place */
};

enum ff3_role {
	FF3_ROLE_CLIENT = 1,
	FF3_ROLE_METAD = 2,
	FF3_ROLE_CHUNKD = 3,
	FF3_ROLE_MEMBER = 4, /* a metad that speaks to another one of its group */
};

enum ff3_target_state { FF3_TARGET_SERVING = 1, FF3_TARGET_OFFLINE = 2 };

enum {
	FF3_PATH_NOFOLLOW = 1, /* a symbolic link at the end of the path is the object */
	FF3_PATH_DIRECTORY = 2, /* ENOTDIR unless the object is a directory */
};

enum {
	FF3_OPEN_READ = 1,
	FF3_OPEN_WRITE = 2,
	FF3_OPEN_CREATE = 4,
	FF3_OPEN_EXCLUSIVE = 8,
	FF3_OPEN_TRUNCATE = 16,
	FF3_OPEN_APPEND = 32,
	FF3_OPEN_TMPFILE = 64, /* a nameless file in directory at, gone at its last close unless linked */
};

enum {
	FF3_SET_MODE = 1,
	FF3_SET_UID = 2,
	FF3_SET_GID = 4,
	FF3_SET_ATIME = 8,
	FF3_SET_MTIME = 16,
	FF3_SET_ATIME_NOW = 32,
	FF3_SET_MTIME_NOW = 64,
};

enum {
	FF3_TRANSPORT_SHM = 1,
	FF3_TRANSPORT_VERBS = 2,
};

enum {
	FF3_WRITE_SYNC = 1, /* answered when durable */
};

enum {
	FF3_READ_COMPARES = 1, /* the client compares whole blocks, and asks again without this if they are wrong */
};

enum {
	FF3_CAP_READ = 1,
	FF3_CAP_PIN = 2, /* its chunks stay exposed */
};
#define FF3_NO_GROUP UINT32_MAX

enum {
	FF3_PIN_NONE = 1,
	FF3_PIN_MEMORY = 2, /* chunks are to stay in the daemons' memory, exposed */
};

enum {
	FF3_REMOVAL_UNKNOWN = 0, /* never was, or was over long ago */
	FF3_REMOVAL_RUNNING = 1,
	FF3_REMOVAL_DONE = 2,
};

enum {
	FF3_LEAVE_OPEN = 1, /* the host may have files open that metad does not know of */
	FF3_LEAVE_CLEAN = 2,
};

enum {
	FF3_EXPOSED_MAPPED = 1,
	FF3_EXPOSED_WINDOW = 2,
};

enum {
	FF3_LOCK_TEST = 1,    /* only ask */
	FF3_LOCK_RECLAIM = 2, /* was granted before metad restarted */
};

enum {
	FF3_MEMBER_PRE = 1,
	FF3_MEMBER_TRANSFER = 2,
	FF3_MEMBER_GRANTED = 4,
};

struct ff3_str {
	const char *p; /* not NUL-terminated */
	uint32_t len;
};

struct ff3_blob {
	const void *p;
	uint32_t len;
};

#define FF3_STR(literal) ((struct ff3_str){ (literal), sizeof(literal) - 1 })
static inline struct ff3_str ff3_str_from(const char *s)
{
	return (struct ff3_str){ s, s ? (uint32_t)strlen(s) : 0 };
}

/* Encoder into a caller's buffer. Past its end, bytes are only counted and over is set. */
struct ff3_enc {
	uint8_t *p;
	size_t len;
	size_t size;
	bool over;
};

/* Decoder. A read past the end yields zeros and sets bad, for good. */
struct ff3_dec {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

static inline struct ff3_enc ff3_enc_init(void *buf, size_t size)
{
	return (struct ff3_enc){ .p = buf, .size = size };
}

static inline struct ff3_dec ff3_dec_init(const void *buf, size_t len)
{
	return (struct ff3_dec){ .p = buf, .end = (const uint8_t *)buf + len };
}

static inline struct ff3_dec ff3_dec_blob(struct ff3_blob b)
{
	return ff3_dec_init(b.p, b.len);
}

static inline bool ff3_dec_more(const struct ff3_dec *d)
{
	return !d->bad && d->p < d->end;
}

typedef uint8_t ff3_u8;
typedef uint16_t ff3_u16;
typedef uint32_t ff3_u32;
typedef uint64_t ff3_u64;

#define FF3_WIRE_CODEC(type, ctype)                                                                \
	void ff3_put_##type(struct ff3_enc *e, const ctype *v);                                    \
	void ff3_get_##type(struct ff3_dec *d, ctype *v);                                          \
	typedef ctype ff3_wire_##type;
FF3_WIRE_CODEC(u8, uint8_t)
FF3_WIRE_CODEC(u16, uint16_t)
FF3_WIRE_CODEC(u32, uint32_t)
FF3_WIRE_CODEC(u64, uint64_t)
FF3_WIRE_CODEC(str, struct ff3_str)
FF3_WIRE_CODEC(blob, struct ff3_blob)

/* struct ff3_<name> with ff3_put_<name> / ff3_get_<name> for each S(). */
#define FF3_FIELD(type, name) ff3_wire_##type name;
#define FF3_DEFINE_STRUCT(s)                                                                       \
	struct ff3_##s {                                                                           \
		FF3_STRUCT_##s(FF3_FIELD)                                                          \
	};                                                                                         \
	FF3_WIRE_CODEC(s, struct ff3_##s)
FF3_STRUCTS(FF3_DEFINE_STRUCT)

/* struct ff3_req_<op> and struct ff3_rep_<op> for each OP(), with
 *   size_t ff3_encode_req_<op>(buf, size, msg)   length needed; larger than size: nothing usable
 *   int    ff3_decode_req_<op>(buf, len, msg)    0, or -EBADMSG unless exactly len was consumed */
#define FF3_DEFINE_MESSAGE(kind, op, FIELDS)                                                       \
	struct ff3_##kind##_##op {                                                                 \
		FIELDS(FF3_FIELD)                                                                  \
	};                                                                                         \
	size_t ff3_encode_##kind##_##op(void *buf, size_t size,                                    \
					const struct ff3_##kind##_##op *m);                        \
	int ff3_decode_##kind##_##op(const void *buf, size_t len, struct ff3_##kind##_##op *m);
#define FF3_DEFINE_OP(number, op, daemon, traits)                                                  \
	FF3_DEFINE_MESSAGE(req, op, FF3_REQ_##op)                                                  \
	FF3_DEFINE_MESSAGE(rep, op, FF3_REP_##op)
FF3_OPS(FF3_DEFINE_OP)

#define FF3_OP_ENUM(number, op, daemon, traits) FF3_OP_##op = number,
enum ff3_op { FF3_OPS(FF3_OP_ENUM) FF3_OP_MAX = 128 };

/* "chunk_read"; "unknown" for a number that is no operation. */
const char *ff3_op_name(unsigned op);

struct ff3_header {
	uint16_t op;
	uint32_t flags;
	uint32_t status;
	uint64_t request_id;
	uint32_t body_len;
	uint32_t payload_len;
	uint32_t body_crc;
};

void ff3_header_encode(uint8_t buf[FF3_HEADER_SIZE], const struct ff3_header *h);
/* 0; -EBADMSG: not a frame or damaged; FF3_E_VERSION; -E2BIG: body or payload over its limit. */
int ff3_header_decode(const uint8_t buf[FF3_HEADER_SIZE], struct ff3_header *h);

/* The protocol version that a frame's header names, whatever else is in it; 0: it is no frame. */
unsigned ff3_header_version(const uint8_t buf[FF3_HEADER_SIZE]);

/* Layout arithmetic: computing a chunk's place needs no server. */
static inline uint32_t ff3_layout_n_stripe(const struct ff3_layout *l)
{
	return l->stripe.len / 4;
}

/* The chain of chunk index; l must have at least one stripe entry. */
uint32_t ff3_layout_chain(const struct ff3_layout *l, uint32_t index);
