#include "wire.h"

#include <endian.h>

#include "../base/crc32c.h"

/* n is a constant where these are inlined: one store or load. */
static inline void put_le(struct ff3_enc *e, uint64_t v, size_t n)
{
	uint64_t le = htole64(v);

	if (e->len + n > e->size)
		e->over = true;
	else
		memcpy(e->p + e->len, &le, n);
	e->len += n;
}

static inline uint64_t get_le(struct ff3_dec *d, size_t n)
{
	uint64_t le = 0;

	if (d->bad || (size_t)(d->end - d->p) < n) {
		d->bad = true;
		return 0;
	}
	memcpy(&le, d->p, n);
	d->p += n;
	return le64toh(le);
}

#define SCALAR(type, ctype)                                                                        \
	void ff3_put_##type(struct ff3_enc *e, const ctype *v)                                     \
	{                                                                                          \
		put_le(e, *v, sizeof *v);                                                          \
	}                                                                                          \
	void ff3_get_##type(struct ff3_dec *d, ctype *v)                                           \
	{                                                                                          \
		*v = (ctype)get_le(d, sizeof *v);                                                  \
	}
SCALAR(u8, uint8_t)
SCALAR(u16, uint16_t)
SCALAR(u32, uint32_t)
SCALAR(u64, uint64_t)

void ff3_put_blob(struct ff3_enc *e, const struct ff3_blob *v)
{
	put_le(e, v->len, 4);
	if (v->len > 0 && e->len + v->len <= e->size)
		memcpy(e->p + e->len, v->p, v->len);
	else if (v->len > 0)
		e->over = true;
	e->len += v->len;
}

void ff3_get_blob(struct ff3_dec *d, struct ff3_blob *v)
{
	uint32_t len = (uint32_t)get_le(d, 4);

	if (d->bad || (size_t)(d->end - d->p) < len) {
		d->bad = true;
		*v = (struct ff3_blob){ 0 };
		return;
	}
	*v = (struct ff3_blob){ d->p, len };
	d->p += len;
}

void ff3_put_str(struct ff3_enc *e, const struct ff3_str *v)
{
	ff3_put_blob(e, &(struct ff3_blob){ v->p, v->len });
}

void ff3_get_str(struct ff3_dec *d, struct ff3_str *v)
{
	struct ff3_blob b;

	ff3_get_blob(d, &b);
	*v = (struct ff3_str){ b.p, b.len };
}

#define PUT_FIELD(type, name) ff3_put_##type(e, &m->name);
#define GET_FIELD(type, name) ff3_get_##type(d, &m->name);
#define STRUCT_CODEC(s)                                                                            \
	void ff3_put_##s(struct ff3_enc *e, const struct ff3_##s *m)                               \
	{                                                                                          \
		FF3_STRUCT_##s(PUT_FIELD)                                                          \
	}                                                                                          \
	void ff3_get_##s(struct ff3_dec *d, struct ff3_##s *m)                                     \
	{                                                                                          \
		FF3_STRUCT_##s(GET_FIELD)                                                          \
	}
FF3_STRUCTS(STRUCT_CODEC)

#define MESSAGE_CODEC(kind, op, FIELDS)                                                            \
	size_t ff3_encode_##kind##_##op(void *buf, size_t size,                                    \
					UNUSED const struct ff3_##kind##_##op *m)                  \
	{                                                                                          \
		struct ff3_enc enc = ff3_enc_init(buf, size), *e = &enc;                           \
		FIELDS(PUT_FIELD)                                                                  \
		return e->len;                                                                     \
	}                                                                                          \
	int ff3_decode_##kind##_##op(const void *buf, size_t len,                                  \
				     UNUSED struct ff3_##kind##_##op *m)                           \
	{                                                                                          \
		struct ff3_dec dec = ff3_dec_init(buf, len), *d = &dec;                            \
		FIELDS(GET_FIELD)                                                                  \
		return d->bad || d->p != d->end ? -EBADMSG : 0;                                    \
	}
#define OP_CODEC(number, op, daemon, traits)                                                       \
	MESSAGE_CODEC(req, op, FF3_REQ_##op)                                                       \
	MESSAGE_CODEC(rep, op, FF3_REP_##op)
FF3_OPS(OP_CODEC)

const char *ff3_op_name(unsigned op)
{
#define OP_NAME(number, op, daemon, traits) [number] = #op,
	static const char *const names[FF3_OP_MAX] = { FF3_OPS(OP_NAME) };

	return op < FF3_OP_MAX && names[op] ? names[op] : "unknown";
}

void ff3_header_encode(uint8_t buf[FF3_HEADER_SIZE], const struct ff3_header *h)
{
	struct ff3_enc e = ff3_enc_init(buf, FF3_HEADER_SIZE);

	put_le(&e, FF3_MAGIC, 4);
	put_le(&e, FF3_PROTOCOL_VERSION, 2);
	put_le(&e, h->op, 2);
	put_le(&e, h->flags, 4);
	put_le(&e, h->status, 4);
	put_le(&e, h->request_id, 8);
	put_le(&e, h->body_len, 4);
	put_le(&e, h->payload_len, 4);
	put_le(&e, h->body_crc, 4);
	put_le(&e, ff3_crc32c(0, buf, FF3_HEADER_SIZE - 4), 4);
}

int ff3_header_decode(const uint8_t buf[FF3_HEADER_SIZE], struct ff3_header *h)
{
	struct ff3_dec d = ff3_dec_init(buf, FF3_HEADER_SIZE);
	uint32_t magic = (uint32_t)get_le(&d, 4);
	uint16_t version = (uint16_t)get_le(&d, 2);
	struct ff3_header r;

	r.op = (uint16_t)get_le(&d, 2);
	r.flags = (uint32_t)get_le(&d, 4);
	r.status = (uint32_t)get_le(&d, 4);
	r.request_id = get_le(&d, 8);
	r.body_len = (uint32_t)get_le(&d, 4);
	r.payload_len = (uint32_t)get_le(&d, 4);
	r.body_crc = (uint32_t)get_le(&d, 4);
	if (magic != FF3_MAGIC)
		return -EBADMSG;
	/* Before the CRC: a later version may keep only magic and version in place. */
	if (version != FF3_PROTOCOL_VERSION)
		return FF3_E_VERSION;
	if (get_le(&d, 4) != ff3_crc32c(0, buf, FF3_HEADER_SIZE - 4))
		return -EBADMSG;
	if (r.body_len > FF3_BODY_MAX || r.payload_len > FF3_PAYLOAD_MAX)
		return -E2BIG;
	*h = r;
	return 0;
}

unsigned ff3_header_version(const uint8_t buf[FF3_HEADER_SIZE])
{
	struct ff3_dec d = ff3_dec_init(buf, 6);

	return get_le(&d, 4) == FF3_MAGIC ? (unsigned)get_le(&d, 2) : 0;
}

uint32_t ff3_layout_chain(const struct ff3_layout *l, uint32_t index)
{
	uint32_t n = ff3_layout_n_stripe(l), chain = 0;
	struct ff3_dec d = ff3_dec_init((const uint8_t *)l->stripe.p +
						4 * (((uint64_t)index + l->seed) % n), 4);

	ff3_get_u32(&d, &chain);
	return chain;
}
