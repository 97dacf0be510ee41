/* A frame of wire.h over a verbs link. It is sent as one message, or cut into several where it is longer
 * than a receive slot; the first one begins with
 *
 *   offset size
 *        0    4  bytes of the frame that follow the pieces
 *        4    1  number of pieces for the reply's payload: the daemon writes it there
 *        5    1  number of pieces of the request's payload: the daemon reads it from there
 *        6    2  0
 *        8       pieces: address (8), remote key (4), length (4)
 *
 * and then come header, body, and the payload if it is short and no pieces name it. A reply has no
 * pieces; its payload was written before it, on the same queue pair, and so is there when it is. */
#pragma once

#include <endian.h>

#include "../wire/wire.h"
#include "verbs.h"

#define FF3_VERBS_PIECES 4u
#define FF3_VERBS_PREFIX 8u
#define FF3_VERBS_PREFIX_MAX (FF3_VERBS_PREFIX + 2 * FF3_VERBS_PIECES * 16)
/* What a client may name instead of room for a payload when it asks for a window: a word that the daemon
 * makes 0 when the window is over. */
#define FF3_VERBS_WORD 8u
/* A payload up to this length travels in the message. */
#define FF3_VERBS_INLINE_PAYLOAD 1024u
#define FF3_VERBS_FRAME_MAX (FF3_HEADER_SIZE + FF3_BODY_MAX + FF3_VERBS_INLINE_PAYLOAD)
/* Requests that a client has under way on a connection have bodies of so many bytes at most. Messages of requests
 * that it does not wait for come on top: a daemon that has to keep messages keeps twice as much. */
#define FF3_VERBS_BODIES (8u * FF3_BODY_MAX)
#define FF3_VERBS_BACKLOG (2u * FF3_VERBS_BODIES)
/* What a client says in the connection request. */
#define FF3_VERBS_TERMS_MAGIC 0x33766646u
#define FF3_VERBS_TERMS_SIZE 16u

struct ff3_verbs_prefix {
	uint32_t frame_len;
	uint8_t n_sink, n_source;
	struct ff3_verbs_piece sink[FF3_VERBS_PIECES], source[FF3_VERBS_PIECES];
};

static inline uint8_t *ff3_verbs_put_pieces(uint8_t *at, const struct ff3_verbs_piece *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++, at += 16) {
		uint64_t addr = htole64(p[i].addr);
		uint32_t rkey = htole32(p[i].rkey), len = htole32(p[i].len);

		memcpy(at, &addr, 8);
		memcpy(at + 8, &rkey, 4);
		memcpy(at + 12, &len, 4);
	}
	return at;
}

/* Returns its length. */
static inline size_t ff3_verbs_prefix_encode(uint8_t buf[FF3_VERBS_PREFIX_MAX],
					     const struct ff3_verbs_prefix *p)
{
	uint32_t len = htole32(p->frame_len);
	uint8_t *at = buf + FF3_VERBS_PREFIX;

	memcpy(buf, &len, 4);
	buf[4] = p->n_sink;
	buf[5] = p->n_source;
	buf[6] = buf[7] = 0;
	at = ff3_verbs_put_pieces(at, p->sink, p->n_sink);
	at = ff3_verbs_put_pieces(at, p->source, p->n_source);
	return (size_t)(at - buf);
}

static inline const uint8_t *ff3_verbs_get_pieces(const uint8_t *at, struct ff3_verbs_piece *p,
						  unsigned n)
{
	for (unsigned i = 0; i < n; i++, at += 16) {
		memcpy(&p[i].addr, at, 8);
		memcpy(&p[i].rkey, at + 8, 4);
		memcpy(&p[i].len, at + 12, 4);
		p[i].addr = le64toh(p[i].addr);
		p[i].rkey = le32toh(p[i].rkey);
		p[i].len = le32toh(p[i].len);
	}
	return at;
}

/* Returns its length, or -EBADMSG. */
static inline int ff3_verbs_prefix_decode(const uint8_t *buf, size_t len, struct ff3_verbs_prefix *p)
{
	size_t size;

	if (len < FF3_VERBS_PREFIX)
		return -EBADMSG;
	memcpy(&p->frame_len, buf, 4);
	p->frame_len = le32toh(p->frame_len);
	p->n_sink = buf[4];
	p->n_source = buf[5];
	size = FF3_VERBS_PREFIX + ((size_t)p->n_sink + p->n_source) * 16;
	if (p->n_sink > FF3_VERBS_PIECES || p->n_source > FF3_VERBS_PIECES || len < size ||
	    p->frame_len < FF3_HEADER_SIZE || p->frame_len > FF3_VERBS_FRAME_MAX)
		return -EBADMSG;
	ff3_verbs_get_pieces(ff3_verbs_get_pieces(buf + FF3_VERBS_PREFIX, p->sink, p->n_sink),
			     p->source, p->n_source);
	return (int)size;
}

static inline uint64_t ff3_verbs_pieces_len(const struct ff3_verbs_piece *p, unsigned n)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += p[i].len;
	return len;
}

/* A frame that comes in several messages. Zero-initialise. */
struct ff3_verbs_assembly {
	uint8_t *buf;
	size_t have, want; /* have < want: more messages follow */
};
