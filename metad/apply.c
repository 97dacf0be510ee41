/* Purpose: applies log records, exactly once each (apply_results.c has who was answered what).
 *
 * The tables are generated from FF3_OPS and METAD_LOG_OPS: an operation without a handler does not
 * link.
 *
 * Threads: the owner of the database. */
#include "apply.h"

#include "../common/base/log.h"

/* tag, ino, end, sparse; and what came with version 3. */
#define COMMIT_SIZE_2 (16u + 8u + 8u + 1u)
#define COMMIT_ADDED (1u + 4u)

/* Between decoding and encoding, the same for all. */
static int begin_request(struct metad_apply *a, const struct ff3_tag *tag)
{
	return apply_answer_again(a, tag);
}

static int end_request(struct metad_apply *a, const struct ff3_tag *tag, int status, size_t reply_len)
{
	a->status = status;
	if (status >= 0)
		a->reply_len = MIN(reply_len, sizeof a->reply);
	if (metad_db_error(a->db) < 0)
		return metad_db_error(a->db);
	return apply_store_answer(a, tag);
}

#define RUN_MUTATE(op)                                                                             \
	static int run_##op(struct metad_apply *a)                                                 \
	{                                                                                          \
		const struct ff3_blob *body = &a->rec->payload;                                    \
		struct ff3_req_##op q;                                                             \
		struct ff3_rep_##op p;                                                             \
		size_t len = 0;                                                                    \
		int r = ff3_decode_req_##op(body->p, body->len, &q);                               \
		if (r < 0) {                                                                       \
			a->status = r;                                                             \
			return 0;                                                                  \
		}                                                                                  \
		r = begin_request(a, &q.tag);                                                      \
		if (r != 0)                                                                        \
			return r < 0 ? r : 0;                                                      \
		memset(&p, 0, sizeof p);                                                           \
		r = apply_##op(a, &q, &p);                                                         \
		if (r >= 0)                                                                        \
			len = ff3_encode_rep_##op(a->reply, sizeof a->reply, &p);                  \
		return end_request(a, &q.tag, r, len);                                             \
	}                                                                                          \
	static int check_##op(const void *body, size_t len, struct ff3_tag *ret_tag)               \
	{                                                                                          \
		struct ff3_req_##op q;                                                             \
		int r = ff3_decode_req_##op(body, len, &q);                                        \
		if (r < 0)                                                                         \
			return r;                                                                  \
		*ret_tag = q.tag;                                                                  \
		return 0;                                                                          \
	}
#define RUN_READ(op)
#define RUN_SESSION(op)
#define RUN_DATA(op)
#define DEFINE_RUN(number, op, daemon, traits) RUN_##traits(op)
FF3_OPS(DEFINE_RUN)

#define ROW_MUTATE(number, op) [number] = { run_##op, check_##op },
#define ROW_READ(number, op)
#define ROW_SESSION(number, op)
#define ROW_DATA(number, op)
#define DEFINE_ROW(number, op, daemon, traits) ROW_##traits(number, op)
static const struct {
	int (*run)(struct metad_apply *a);
	int (*check)(const void *body, size_t len, struct ff3_tag *ret_tag);
} wire_ops[FF3_OP_MAX] = { FF3_OPS(DEFINE_ROW) };

#define LOG_ROW(number, name) [number - METAD_OP_start] = apply_log_##name,
static int (*const log_ops[])(struct metad_apply *a) = { METAD_LOG_OPS(LOG_ROW) };

int metad_apply_check(uint16_t op, const void *body, size_t len, struct ff3_tag *ret_tag)
{
	if (op >= FF3_OP_MAX || !wire_ops[op].check)
		return -EOPNOTSUPP;
	return wire_ops[op].check(body, len, ret_tag);
}

/* A commit of protocol version 2: the fields that it lacks are for who decides, which was done. */
static int run_old_commit(struct metad_apply *a)
{
	struct metad_record rec = *a->rec;
	const struct metad_record *old = a->rec;
	uint8_t body[COMMIT_SIZE_2 + COMMIT_ADDED] = { 0 };
	int r;

	memcpy(body, old->payload.p, COMMIT_SIZE_2);
	rec.payload = (struct ff3_blob){ body, sizeof body };
	a->rec = &rec;
	r = wire_ops[FF3_OP_commit].run(a);
	a->rec = old;
	return r;
}

static int run(struct metad_apply *a)
{
	uint16_t op = a->rec->op;

	if (op == FF3_OP_commit && a->rec->payload.len == COMMIT_SIZE_2)
		return run_old_commit(a);

	if (op < FF3_OP_MAX && wire_ops[op].run)
		return wire_ops[op].run(a);
	if (op >= METAD_OP_start && op < METAD_OP_END && log_ops[op - METAD_OP_start])
		return log_ops[op - METAD_OP_start](a);
	ff3_error("log record %" PRIu64 " has the unknown operation %u: it was written by a newer "
		  "version",
		  a->rec->seq, op);
	return -EPROTO;
}

int metad_apply(struct metad_apply *a, const struct metad_record *rec, uint64_t hash)
{
	struct metad_meta *meta = metad_db_meta(a->db);
	int r;

	a->rec = rec;
	a->now = rec->time;
	a->status = 0;
	a->reply_len = 0;
	a->effects = (struct metad_effects){ 0 };
	a->n_dropped = 0;
	meta->next_ino = MAX(meta->next_ino, rec->ino + 1);
	r = run(a);
	if (r < 0)
		return r;
	meta->applied_seq = rec->seq;
	meta->applied_hash = hash;
	meta->digest = metad_hash(meta->digest ^ hash, a->reply, a->reply_len) + (uint64_t)a->status;
	meta->epoch = rec->epoch;
	meta->time = MAX(meta->time, (uint64_t)rec->time);
	return metad_db_error(a->db);
}
