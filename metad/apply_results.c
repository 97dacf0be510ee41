/* Purpose: who was answered what, so that a request that comes again is answered again, and not applied.
 *
 * A request's answer is stored with its effects, keyed by session and sequence number. It is in memory until the
 * database's transaction ends, and most never get there: what its session has acknowledged meanwhile is not
 * written. So which rows there are below the acknowledged number depends on when transactions end, which
 * members of a group do not agree on; therefore a request below it is always answered alike, whether there is a
 * row or not. Rows below it are removed when a session has 64, 128, … of them. Answers that ask for another
 * try (EAGAIN) are not stored.
 *
 * Threads: the owner of the database. */
#include <utlist.h>

#include "../common/base/hash.h"
#include "../common/base/log.h"
#include "apply.h"

struct metad_result_session {
	uint64_t session;
	uint64_t max_seq;
	uint64_t acked;
	uint64_t n;
	bool locks; /* it may hold some */
	struct result *fresh; /* not in the database yet, in the order of the log */
	struct metad_result_session *prev, *next; /* of those that have such */
	UT_hash_handle hh;
};

struct result {
	struct result *next;
	uint64_t seq, acked;
	int status;
	uint32_t len;
	uint8_t reply[];
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

/* Those with a number below upto. */
static void drop_fresh(struct metad_apply *a, struct metad_result_session *s, uint64_t upto)
{
	struct result **at = &s->fresh, *result;

	if (!s->fresh)
		return;
	while ((result = *at))
		if (result->seq < upto) {
			*at = result->next;
			free(result);
			s->n--;
		} else {
			at = &result->next;
		}
	if (!s->fresh)
		DL_DELETE(a->fresh, s);
}

static void forget_session(struct metad_apply *a, struct metad_result_session *s)
{
	drop_fresh(a, s, UINT64_MAX);
	HASH_DEL(a->sessions, s);
	free(s);
}

/* The database's transaction ends. */
static int write_fresh(void *arg)
{
	struct metad_apply *a = arg;
	struct metad_result_session *s;

	while ((s = a->fresh)) {
		struct result *result = s->fresh;
		int r = metad_db_add_result(a->db, s->session, result->seq, result->acked, result->status,
					    (struct ff3_blob){ result->reply, result->len });

		if (r < 0)
			return r;
		s->fresh = result->next;
		free(result);
		if (!s->fresh)
			DL_DELETE(a->fresh, s);
	}
	return 0;
}

int metad_apply_new(struct metad_db *db, struct metad_apply **ret)
{
	struct metad_apply *a = calloc(1, sizeof *a);
	int r;

	if (!a)
		return -ENOMEM;
	a->db = db;
	metad_db_before_commit(db, write_fresh, a);
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
	metad_db_before_commit(a->db, NULL, NULL);
	HASH_ITER (hh, a->sessions, s, next)
		forget_session(a, s);
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

/* Of a record's list. NULL: it is not known here. */
static struct metad_result_session *next_session(const struct metad_apply *a, struct ff3_dec *d, uint64_t *ret_session)
{
	ff3_get_u64(d, ret_session);
	return find_session(a, *ret_session);
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

/* 1: *ret is what seq was answered. */
static int find_result(struct metad_apply *a, const struct metad_result_session *s, uint64_t seq,
		       struct metad_stored_result *ret)
{
	if (seq > s->max_seq)
		return 0;
	for (const struct result *result = s->fresh; result; result = result->next)
		if (result->seq == seq) {
			ret->status = result->status;
			ret->reply = (struct ff3_blob){ result->reply, result->len };
			return 1;
		}
	return metad_db_get_result(a->db, s->session, seq, ret);
}

int apply_answer_again(struct metad_apply *a, const struct ff3_tag *tag)
{
	struct metad_result_session *s = find_session(a, a->rec->session);
	struct metad_stored_result stored;
	int r;

	if (!s || tag->seq == 0)
		return 0;
	a->status = -ECANCELED; /* its answer was received long ago: a late duplicate */
	if (tag->seq >= s->acked) {
		r = find_result(a, s, tag->seq, &stored);
		if (r <= 0)
			return r;
		a->status = stored.status;
		a->reply_len = MIN(stored.reply.len, sizeof a->reply);
		if (a->reply_len > 0)
			memcpy(a->reply, stored.reply.p, a->reply_len);
		repeated_ino(a);
	}
	a->effects.repeated = true;
	return 1;
}

static int add_fresh(struct metad_apply *a, struct metad_result_session *s, const struct ff3_tag *tag)
{
	struct result *result = malloc(sizeof *result + a->reply_len), **last = &s->fresh;

	if (!result)
		return -ENOMEM;
	result->next = NULL;
	result->seq = tag->seq;
	result->acked = tag->acked;
	result->status = a->status;
	result->len = (uint32_t)a->reply_len;
	memcpy(result->reply, a->reply, a->reply_len);
	if (!s->fresh)
		DL_APPEND(a->fresh, s);
	while (*last)
		last = &(*last)->next;
	*last = result;
	return 0;
}

int apply_store_answer(struct metad_apply *a, const struct ff3_tag *tag)
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
	drop_fresh(a, s, MAX(s->acked, tag->acked));
	r = add_fresh(a, s, tag);
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
		uint64_t session;
		struct metad_result_session *s = next_session(a, &d, &session);

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

int apply_log_drop_lockers(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		uint64_t session;
		struct metad_result_session *s = next_session(a, &d, &session);

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
		uint64_t session;
		struct metad_result_session *s = next_session(a, &d, &session);

		if (!s)
			continue;
		if (metad_db_prune_results(a->db, session, 0, INT64_MAX) < 0)
			return metad_db_error(a->db);
		forget_session(a, s);
	}
	return 0;
}
