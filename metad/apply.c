/* Purpose: applies log records, exactly once each.
 *
 * A request's answer is stored with its effects, in the same transaction, keyed by session and
 * sequence number; the same request again is answered from there. A session's answers below the
 * number that it acknowledged are removed when it has 64, 128, … of them, so that the pruning, too, is
 * a function of the log. Answers that ask for another try (EAGAIN) are not stored.
 *
 * The tables are generated from FF3_OPS and METAD_LOG_OPS: an operation without a handler does not
 * link.
 *
 * Threads: the owner of the database. */
#include "apply.h"

#include <uthash.h>

#include "../common/base/log.h"

struct metad_result_session {
	uint64_t session;
	uint64_t max_seq;
	uint64_t acked;
	uint64_t n;
	bool locks; /* it may hold some */
	UT_hash_handle hh;
};

static int note_session(void *arg, uint64_t session, uint64_t max_seq, uint64_t acked, uint64_t n,
			bool locks)
{
	struct metad_apply *a = arg;
	struct metad_result_session *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->session = session;
	s->max_seq = max_seq;
	s->acked = acked;
	s->n = n;
	s->locks = locks;
	HASH_ADD(hh, a->sessions, session, sizeof session, s);
	return 0;
}

int metad_apply_new(struct metad_db *db, struct metad_apply **ret)
{
	struct metad_apply *a = calloc(1, sizeof *a);
	int r;

	if (!a)
		return -ENOMEM;
	a->db = db;
	r = metad_db_each_session(db, note_session, a);
	if (r < 0) {
		metad_apply_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

void metad_apply_free(struct metad_apply *a)
{
	struct metad_result_session *s, *next;

	if (!a)
		return;
	HASH_ITER (hh, a->sessions, s, next) {
		HASH_DEL(a->sessions, s);
		free(s);
	}
	free(a);
}

void metad_apply_each_session(const struct metad_apply *a, bool lockers,
			      void (*fn)(void *arg, uint64_t session), void *arg)
{
	for (struct metad_result_session *s = a->sessions; s; s = s->hh.next)
		if (s->locks || !lockers)
			fn(arg, s->session);
}

static struct metad_result_session *find_session(const struct metad_apply *a, uint64_t session)
{
	struct metad_result_session *s;

	HASH_FIND(hh, a->sessions, &session, sizeof session, s);
	return s;
}

uint64_t metad_apply_max_seq(const struct metad_apply *a, uint64_t session)
{
	const struct metad_result_session *s = find_session(a, session);

	return s ? s->max_seq : 0;
}

bool metad_apply_has_session(const struct metad_apply *a, uint64_t session)
{
	return find_session(a, session) != NULL;
}

bool metad_apply_is_locker(const struct metad_apply *a, uint64_t session)
{
	const struct metad_result_session *s = find_session(a, session);

	return s && s->locks;
}

/* Tells which inode a repeated answer was about, so that it waits for what the first waited for. */
static void repeated_ino(struct metad_apply *a)
{
	struct ff3_rep_open open;
	struct ff3_rep_truncate truncate;

	if (a->status < 0)
		return;
	if (a->rec->op == FF3_OP_open && ff3_decode_rep_open(a->reply, a->reply_len, &open) == 0) {
		a->effects.ino = open.attr.ino;
		a->effects.created = open.created;
	}
	if (a->rec->op == FF3_OP_truncate &&
	    ff3_decode_rep_truncate(a->reply, a->reply_len, &truncate) == 0)
		a->effects.ino = truncate.attr.ino;
}

/* 1: the request was seen before, and status and reply are set. */
static int answer_again(struct metad_apply *a, const struct ff3_tag *tag)
{
	struct metad_result_session *s = find_session(a, a->rec->session);
	struct metad_stored_result stored;
	int r;

	if (!s || tag->seq == 0)
		return 0;
	r = metad_db_get_result(a->db, a->rec->session, tag->seq, &stored);
	if (r < 0)
		return r;
	if (r == 0 && tag->seq >= s->acked)
		return 0;
	a->effects.repeated = true;
	a->status = -ECANCELED; /* its answer was received long ago: a late duplicate */
	if (r > 0) {
		a->status = stored.status;
		a->reply_len = MIN(stored.reply.len, sizeof a->reply);
		if (a->reply_len > 0)
			memcpy(a->reply, stored.reply.p, a->reply_len);
		repeated_ino(a);
	}
	return 1;
}

static int store_answer(struct metad_apply *a, const struct ff3_tag *tag)
{
	struct metad_result_session *s = find_session(a, a->rec->session);
	int r;

	if (a->rec->session == 0 || tag->seq == 0 ||
	    (a->status < 0 && ff3_err_class(a->status) == FF3_CLASS_RETRY_SAME))
		return 0;
	if (!s) {
		r = note_session(a, a->rec->session, 0, 0, 0, false);
		if (r < 0)
			return r;
		s = find_session(a, a->rec->session);
	}
	r = metad_db_add_result(a->db, s->session, tag->seq, tag->acked, a->status,
				(struct ff3_blob){ a->reply, (uint32_t)a->reply_len });
	if (r < 0)
		return r;
	s->n++;
	s->max_seq = MAX(s->max_seq, tag->seq);
	s->acked = MAX(s->acked, tag->acked);
	if (s->n < 64 || (s->n & (s->n - 1)) != 0)
		return 0;
	r = metad_db_prune_results(a->db, s->session, 1, s->acked - 1);
	if (r < 0)
		return r;
	s->n -= MIN((uint64_t)r, s->n);
	return 0;
}

/* An answer to the request number 0, which nobody asks for again, and which stays until
 * drop_lockers or the session's end: after a restart, it may be one that held locks. */
int apply_log_note_sessions(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);
	int r = 0;

	while (r >= 0 && ff3_dec_more(&d)) {
		struct metad_result_session *s;
		uint64_t session;

		ff3_get_u64(&d, &session);
		s = find_session(a, session);
		if (s && s->locks)
			continue;
		r = metad_db_add_result(a->db, session, 0, 0, 0, (struct ff3_blob){ "", 0 });
		if (r >= 0 && !s) {
			r = note_session(a, session, 0, 0, 1, true);
		} else if (r >= 0) {
			s->n++;
			s->locks = true;
		}
	}
	return r;
}

static void forget_session(struct metad_apply *a, struct metad_result_session *s)
{
	HASH_DEL(a->sessions, s);
	free(s);
}

int apply_log_drop_lockers(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		struct metad_result_session *s;
		uint64_t session;

		ff3_get_u64(&d, &session);
		s = find_session(a, session);
		if (!s || !s->locks)
			continue;
		if (metad_db_prune_results(a->db, session, 0, 0) < 0)
			return metad_db_error(a->db);
		s->locks = false;
		if (--s->n == 0)
			forget_session(a, s);
	}
	return 0;
}

int apply_log_expire_sessions(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		struct metad_result_session *s;
		uint64_t session;

		ff3_get_u64(&d, &session);
		s = find_session(a, session);
		if (!s)
			continue;
		if (metad_db_prune_results(a->db, session, 0, INT64_MAX) < 0)
			return metad_db_error(a->db);
		forget_session(a, s);
	}
	return 0;
}

/* Between decoding and encoding, the same for all. */
static int begin_request(struct metad_apply *a, const struct ff3_tag *tag)
{
	return answer_again(a, tag);
}

static int end_request(struct metad_apply *a, const struct ff3_tag *tag, int status, size_t reply_len)
{
	a->status = status;
	if (status >= 0)
		a->reply_len = MIN(reply_len, sizeof a->reply);
	if (metad_db_error(a->db) < 0)
		return metad_db_error(a->db);
	return store_answer(a, tag);
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

static int run(struct metad_apply *a)
{
	uint16_t op = a->rec->op;

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
