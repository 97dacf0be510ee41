/* common/wire: every message of wire_ops.h there and back, every truncation of it refused, and the
 * frame's header. The lists themselves generate the tests: a new message is covered by being there. */
#include <check.h>

#include "../common/base/crc32c.h"
#include "../common/wire/wire.h"

/* Fills a message with values that are all different. */
static uint64_t next;
static char bytes[64];

#define FILL_SCALAR(type)                                                                          \
	UNUSED static void fill_##type(ff3_wire_##type *v)                                                \
	{                                                                                          \
		*v = (ff3_wire_##type)(++next * 0x9e3779b97f4a7c15u);                              \
	}
FILL_SCALAR(u8)
FILL_SCALAR(u16)
FILL_SCALAR(u32)
FILL_SCALAR(u64)

static void fill_blob(struct ff3_blob *v)
{
	next++;
	*v = (struct ff3_blob){ bytes + next % 8, (uint32_t)(next % 48 + 1) };
}

static void fill_str(struct ff3_str *v)
{
	next++;
	*v = (struct ff3_str){ bytes + next % 8, (uint32_t)(next % 48 + 1) };
}

#define SAME_SCALAR(type)                                                                          \
	UNUSED static bool same_##type(const ff3_wire_##type *a, const ff3_wire_##type *b)                \
	{                                                                                          \
		return *a == *b;                                                                   \
	}
SAME_SCALAR(u8)
SAME_SCALAR(u16)
SAME_SCALAR(u32)
SAME_SCALAR(u64)

static bool same_blob(const struct ff3_blob *a, const struct ff3_blob *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

static bool same_str(const struct ff3_str *a, const struct ff3_str *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

#define FILL_FIELD(type, name) fill_##type(&m->name);
#define SAME_FIELD(type, name) same = same && same_##type(&a->name, &b->name);
#define STRUCT_HELPERS(s)                                                                          \
	UNUSED static void fill_##s(struct ff3_##s *m)                                             \
	{                                                                                          \
		FF3_STRUCT_##s(FILL_FIELD)                                                         \
	}                                                                                          \
	UNUSED static bool same_##s(const struct ff3_##s *a, const struct ff3_##s *b)              \
	{                                                                                          \
		bool same = true;                                                                  \
		FF3_STRUCT_##s(SAME_FIELD) return same;                                            \
	}
FF3_STRUCTS(STRUCT_HELPERS)

/* One message: encode, decode, compare; then every shorter and one longer length must fail, and a
 * buffer that is too small must be told by the length. Decoding works on exact copies on the heap,
 * so that a sanitizer sees a byte read too far. */
static unsigned n_messages;

#define CHECK_MESSAGE(kind, op, FIELDS)                                                            \
	static void check_##kind##_##op(void)                                                      \
	{                                                                                          \
		struct ff3_##kind##_##op in, out, UNUSED *m = &in, UNUSED *a = &in,                \
						  UNUSED *b = &out;                                \
		bool same = true;                                                                  \
		uint8_t buf[4096];                                                                 \
		size_t len;                                                                        \
                                                                                                   \
		memset(&in, 0, sizeof in);                                                         \
		memset(&out, 0, sizeof out);                                                       \
		FIELDS(FILL_FIELD)                                                                 \
		len = ff3_encode_##kind##_##op(buf, sizeof buf, &in);                              \
		ck_assert_uint_le(len, sizeof buf);                                                \
		for (size_t cut = 0; cut <= len; cut++) {                                          \
			uint8_t *copy = malloc(cut + 1);                                           \
                                                                                                   \
			memcpy(copy, buf, cut);                                                    \
			ck_assert_msg(ff3_decode_##kind##_##op(copy, cut, &out) ==                 \
					      (cut == len ? 0 : -EBADMSG),                         \
				      #kind " " #op ": %zu of %zu bytes", cut, len);               \
			free(copy);                                                                \
			ck_assert_uint_eq(ff3_encode_##kind##_##op(buf, cut, &in), len);           \
		}                                                                                  \
		ck_assert_int_eq(ff3_decode_##kind##_##op(buf, len + 1, &out), -EBADMSG);          \
		ck_assert_int_eq(ff3_decode_##kind##_##op(buf, len, &out), 0);                     \
		FIELDS(SAME_FIELD)                                                                 \
		ck_assert_msg(same, #kind " " #op " came back different");                         \
		n_messages++;                                                                      \
	}
#define CHECK_OP(number, op, daemon, traits)                                                       \
	CHECK_MESSAGE(req, op, FF3_REQ_##op)                                                       \
	CHECK_MESSAGE(rep, op, FF3_REP_##op)
FF3_OPS(CHECK_OP)

START_TEST(round_trip)
{
#define RUN_OP(number, op, daemon, traits)                                                         \
	check_req_##op();                                                                          \
	check_rep_##op();
	FF3_OPS(RUN_OP)
	ck_assert_uint_gt(n_messages, 60);
}
END_TEST

START_TEST(names_and_numbers)
{
	bool seen[FF3_OP_MAX] = { false };

#define CHECK_NUMBER(number, op, daemon, traits)                                                   \
	ck_assert_uint_lt(number, FF3_OP_MAX);                                                     \
	ck_assert_msg(!seen[number], "number %d is used twice", number);                           \
	seen[number] = true;                                                                       \
	ck_assert_str_eq(ff3_op_name(FF3_OP_##op), #op);
	FF3_OPS(CHECK_NUMBER)
	ck_assert_str_eq(ff3_op_name(0), "unknown");
	ck_assert_str_eq(ff3_op_name(FF3_OP_MAX), "unknown");
}
END_TEST

START_TEST(lengths_that_lie)
{
	/* A blob that claims more than there is, up to the largest number. */
	static const uint32_t claims[] = { 5, 0x7fffffff, 0xfffffffe, 0xffffffff };
	struct ff3_req_chunk_remove m;
	uint8_t buf[8] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		for (int k = 0; k < 4; k++)
			buf[k] = (uint8_t)(claims[i] >> (8 * k));
		ck_assert_int_eq(ff3_decode_req_chunk_remove(buf, sizeof buf, &m), -EBADMSG);
	}
}
END_TEST

START_TEST(header)
{
	struct ff3_header in = { .op = 64, .flags = FF3_FRAME_REPLY, .status = 4098,
				 .request_id = 0x1122334455667788, .body_len = FF3_BODY_MAX,
				 .payload_len = FF3_PAYLOAD_MAX, .body_crc = 0xcafe },
			  out;
	uint8_t buf[FF3_HEADER_SIZE];

	ff3_header_encode(buf, &in);
	ck_assert_mem_eq(buf, "FF3\x01\x04\x00\x40\x00", 8);
	ck_assert_int_eq(ff3_header_decode(buf, &out), 0);
	ck_assert_uint_eq(out.op, in.op);
	ck_assert_uint_eq(out.flags, in.flags);
	ck_assert_uint_eq(out.status, in.status);
	ck_assert_uint_eq(out.request_id, in.request_id);
	ck_assert_uint_eq(out.body_len, in.body_len);
	ck_assert_uint_eq(out.payload_len, in.payload_len);
	ck_assert_uint_eq(out.body_crc, in.body_crc);
	for (size_t bit = 0; bit < 8 * sizeof buf; bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(ff3_header_decode(buf, &out),
				 bit / 16 == 2 ? (int)FF3_E_VERSION : -EBADMSG);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	in.body_len++;
	ff3_header_encode(buf, &in);
	ck_assert_int_eq(ff3_header_decode(buf, &out), -E2BIG);
	in.body_len = 0;
	in.payload_len++;
	ff3_header_encode(buf, &in);
	ck_assert_int_eq(ff3_header_decode(buf, &out), -E2BIG);
}
END_TEST

START_TEST(layout)
{
	static const uint8_t stripe[] = { 7, 0, 0, 0, 8, 0, 0, 0, 9, 1, 0, 0 };
	struct ff3_layout l = { .chunk_size = 1 << 20, .seed = 2, .stripe = { stripe, sizeof stripe } };

	ck_assert_uint_eq(ff3_layout_n_stripe(&l), 3);
	ck_assert_uint_eq(ff3_layout_chain(&l, 0), 0x109);
	ck_assert_uint_eq(ff3_layout_chain(&l, 1), 7);
	ck_assert_uint_eq(ff3_layout_chain(&l, 2), 8);
	l.seed = UINT32_MAX - 1; /* index + seed does not wrap */
	ck_assert_uint_eq((2 * (uint64_t)UINT32_MAX - 1) % 3, 2);
	ck_assert_uint_eq(ff3_layout_chain(&l, UINT32_MAX), 0x109);
}
END_TEST

START_TEST(noise)
{
	/* Decoding noise neither crashes nor reads too far (under a sanitizer). */
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		size_t len = (size_t)(random() % 200);
		uint8_t *buf = malloc(len + 1);

		for (size_t k = 0; k < len; k++)
			buf[k] = (uint8_t)(random() % 4 ? random() % 8 : random());
#define DECODE_OP(number, op, daemon, traits)                                                      \
	{                                                                                          \
		struct ff3_req_##op req;                                                           \
		struct ff3_rep_##op rep;                                                           \
		ff3_decode_req_##op(buf, len, &req);                                               \
		ff3_decode_rep_##op(buf, len, &rep);                                               \
	}
		FF3_OPS(DECODE_OP)
		free(buf);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wire");
	TCase *c = tcase_create("wire");
	SRunner *r = srunner_create(s);
	int failed;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)(i * 37 + 1);
	tcase_add_test(c, round_trip);
	tcase_add_test(c, names_and_numbers);
	tcase_add_test(c, lengths_that_lie);
	tcase_add_test(c, header);
	tcase_add_test(c, layout);
	tcase_add_test(c, noise);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
