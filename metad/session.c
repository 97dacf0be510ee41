/* Purpose: client processes and what they have open.
 *
 * A session lives as long as a connection of it, and for one lease after the last was lost. Its
 * opens keep files without a name from being collected, and its stored results are removed with
 * it. After a restart the opens are unknown until clients open again what they have open; the
 * cleaner collects nothing before one lease has passed.
 *
 * Threads: the loop's. */
#include "../common/base/hash.h"
#include "group.h"
#include "metad.h"

/* An open of a file that nobody else has open costs 400 bytes; a quarter of metad.memory is for
 * them. */
#define OPEN_SHARE 1600u
#define FORGET_MAX 1024u /* sessions told to the log at a time */

struct open {
	uint64_t ino;
	uint32_t n;
	bool write;
	bool granted; /* for reading, to reader */
	struct metad_reader reader;
	UT_hash_handle hh;
};

struct answered {
	uint64_t seq;
	uint64_t ino;
};

struct metad_session {
	uint64_t id;
	uint32_t n_conns;
	uint64_t lost_ns; /* when the last connection went */
	uint64_t logged;
	bool locker;   /* the log knows that it may hold locks, or ends */
	bool returned; /* what it had before we started, it has told us */
	struct open *opens;
	struct open *last; /* opened last, and still open: asked for again at once; or NULL */
	/* Opens answered and not yet acknowledged: a repetition is not another open. */
	struct answered *answered;
	uint32_t n_answered, room_answered;
	UT_hash_handle hh;
};

struct metad_sessions {
	struct metad_session *all;
	uint64_t n_opens;
	uint64_t max_opens;
	bool forgot_unknown;
};

int metad_sessions_new(struct metad *m)
{
	m->sessions = calloc(1, sizeof *m->sessions);
	if (!m->sessions)
		return -ENOMEM;
	m->sessions->max_opens = MAX(m->conf->metad.memory / OPEN_SHARE, 4096u);
	return 0;
}

static void forget(struct metad *m, struct metad_session *s)
{
	struct open *o, *next;

	HASH_ITER (hh, s->opens, o, next) {
		uint64_t ino = o->ino;

		metad_session_release(m, s, ino, o->n);
	}
	HASH_DEL(m->sessions->all, s);
	free(s->answered);
	free(s);
}

void metad_sessions_free(struct metad *m)
{
	struct metad_session *s, *next;

	if (!m->sessions)
		return;
	HASH_ITER (hh, m->sessions->all, s, next)
		forget(m, s);
	free(m->sessions);
	m->sessions = NULL;
}

struct metad_session *metad_session_find(struct metad *m, uint64_t id)
{
	struct metad_session *s;

	HASH_FIND(hh, m->sessions->all, &id, sizeof id, s);
	return s;
}

int metad_session_join(struct metad *m, uint64_t id, struct metad_session **ret)
{
	struct metad_session *s = metad_session_find(m, id);

	if (!s) {
		s = calloc(1, sizeof *s);
		if (!s)
			return -ENOMEM;
		s->id = id;
		s->logged = metad_apply_max_seq(m->apply, id);
		s->locker = metad_apply_is_locker(m->apply, id);
		s->returned = !s->locker;
		HASH_ADD(hh, m->sessions->all, id, sizeof id, s);
	}
	s->n_conns++;
	*ret = s;
	return 0;
}

static bool holds_anything(struct metad *m, const struct metad_session *s)
{
	for (struct open *o = s->opens; o; o = o->hh.next)
		if (metad_file_has_locks_of(m, o->ino, s->id) || (o->write && metad_file_is_dirty(m, o->ino)))
			return true;
	return false;
}

/* Who goes and holds nothing need not be waited for after a restart. Comes it back, its next lock or append puts
 * it into the log again, behind this. */
void metad_session_leave(struct metad *m, struct metad_session *s)
{
	if (--s->n_conns > 0)
		return;
	s->lost_ns = ff3_boottime_ns();
	if (s->locker && metad_group_leads(m) && !holds_anything(m, s) &&
	    metad_pipeline_add_own(m, METAD_OP_drop_lockers, &s->id, sizeof s->id, NULL) >= 0)
		s->locker = false;
}

uint64_t metad_session_logged(const struct metad_session *s)
{
	return s->logged;
}

void metad_session_note_logged(struct metad_session *s, uint64_t seq)
{
	s->logged = MAX(s->logged, seq);
}

uint64_t metad_session_id(const struct metad_session *s)
{
	return s->id;
}

bool metad_session_is_locker(const struct metad_session *s)
{
	return s->locker;
}

void metad_session_set_locker(struct metad_session *s)
{
	s->locker = true;
}

static void on_noted(struct metad *m, struct metad_mutation *mutation)
{
	struct metad_session *s;
	uint64_t id;

	memcpy(&id, mutation->rec->payload.p, sizeof id);
	s = metad_session_find(m, id);
	if (s)
		s->locker = true;
}

int metad_session_note(struct metad *m, const struct metad_session *s)
{
	return metad_pipeline_add_own(m, METAD_OP_note_sessions, &s->id, sizeof s->id, on_noted);
}

void metad_session_set_returned(struct metad_session *s)
{
	s->returned = true;
}

/* true: seq was answered before, for this inode. Forgets what the client has acknowledged. */
static bool was_answered(struct metad_session *s, const struct ff3_tag *tag)
{
	uint32_t kept = 0;
	bool found = false;

	for (uint32_t i = 0; i < s->n_answered; i++) {
		found |= s->answered[i].seq == tag->seq;
		if (s->answered[i].seq >= tag->acked)
			s->answered[kept++] = s->answered[i];
	}
	s->n_answered = kept;
	return found;
}

static int note_answered(struct metad_session *s, const struct ff3_tag *tag, uint64_t ino)
{
	if (s->n_answered == s->room_answered) {
		uint32_t room = MAX(s->room_answered * 2, 16u);
		struct answered *grown = realloc(s->answered, room * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		s->answered = grown;
		s->room_answered = room;
	}
	s->answered[s->n_answered++] = (struct answered){ tag->seq, ino };
	return 0;
}

static struct open *find_open(const struct metad_session *s, uint64_t ino)
{
	struct open *o = s->last;

	if (o && o->ino == ino)
		return o;
	HASH_FIND(hh, s->opens, &ino, sizeof ino, o);
	return o;
}

int metad_session_open(struct metad *m, struct metad_session *s, uint64_t ino, bool write,
		       const struct ff3_tag *tag)
{
	struct metad_file *f;
	struct open *o;
	int r;

	if (tag && tag->seq != 0) {
		if (was_answered(s, tag))
			return 0;
		r = note_answered(s, tag, ino);
		if (r < 0)
			return r;
	}
	o = find_open(s, ino);
	if (!o) {
		if (m->sessions->n_opens >= m->sessions->max_opens)
			return -EMFILE;
		f = metad_file_get(m, ino);
		o = f ? ff3_zalloc(sizeof *o) : NULL;
		if (!o) {
			if (f)
				metad_file_put(m, f);
			return -ENOMEM;
		}
		o->ino = ino;
		HASH_ADD(hh, s->opens, ino, sizeof ino, o);
		m->sessions->n_opens++;
		metad_file_add_open(f, 1);
	}
	o->n++;
	o->write |= write;
	s->last = o;
	return 0;
}

void metad_session_release(struct metad *m, struct metad_session *s, uint64_t ino, uint32_t n)
{
	struct open *o = find_open(s, ino);
	struct metad_file *f;

	if (!o)
		return;
	o->n -= MIN(o->n, n);
	if (o->n > 0)
		return;
	HASH_DEL(s->opens, o);
	if (s->last == o)
		s->last = NULL;
	free(o);
	m->sessions->n_opens--;
	f = metad_file_find(m, ino);
	if (f) {
		metad_file_drop_locks(m, f, s->id);
		metad_file_add_open(f, -1);
		metad_file_closed(m, f);
	}
}

bool metad_session_has_open(struct metad *m, const struct metad_session *s, uint64_t ino, bool write)
{
	const struct open *o = find_open(s, ino);

	return o && (!write || o->write);
}

void metad_session_set_granted(struct metad_session *s, uint64_t ino, struct metad_reader reader)
{
	struct open *o = find_open(s, ino);

	if (!o)
		return;
	o->granted = true;
	o->reader = reader;
}

bool metad_session_is_granted(const struct metad_session *s, uint64_t ino, struct metad_reader *ret)
{
	const struct open *o = find_open(s, ino);

	if (!o || !o->granted)
		return false;
	*ret = o->reader;
	return true;
}

struct id_list {
	struct metad *m;
	uint32_t n;
	uint64_t ids[FORGET_MAX];
};

static void note_unknown(void *arg, uint64_t session)
{
	struct id_list *list = arg;

	if (list->n < FORGET_MAX && session != METAD_LEASE_MARK && !metad_session_find(list->m, session))
		list->ids[list->n++] = session;
}

static void note_missing(void *arg, uint64_t session)
{
	struct id_list *list = arg;
	const struct metad_session *s = metad_session_find(list->m, session);

	list->n += session != METAD_LEASE_MARK && (!s || !s->returned);
}

bool metad_sessions_missing(struct metad *m)
{
	struct id_list list = { .m = m };

	metad_apply_each_session(m->apply, true, note_missing, &list);
	return list.n > 0;
}

/* Those that had results stored before the last restart and never came back. */
static void forget_unknown(struct metad *m)
{
	struct id_list list = { .m = m };

	metad_apply_each_session(m->apply, false, note_unknown, &list);
	if (list.n > 0)
		metad_pipeline_add_own(m, METAD_OP_expire_sessions, list.ids,
				       list.n * sizeof *list.ids, NULL);
	m->sessions->forgot_unknown = list.n < FORGET_MAX;
}

void metad_sessions_tick(struct metad *m)
{
	uint64_t now = ff3_boottime_ns(), lease = m->conf->metad.lease * FF3_NSEC_PER_MSEC;
	uint64_t ids[FORGET_MAX];
	struct metad_session *s, *next;
	uint32_t n = 0;

	HASH_ITER (hh, m->sessions->all, s, next) {
		if (s->n_conns > 0 || now - s->lost_ns < lease || n == FORGET_MAX)
			continue;
		ids[n++] = s->id;
		forget(m, s);
	}
	if (n > 0)
		metad_pipeline_add_own(m, METAD_OP_expire_sessions, ids, n * sizeof *ids, NULL);
	if (!m->sessions->forgot_unknown && now - m->started_ns >= lease)
		forget_unknown(m);
}

bool metad_is_young(const struct metad *m)
{
	return !m->fresh && ff3_boottime_ns() - m->started_ns < m->conf->metad.lease * FF3_NSEC_PER_MSEC;
}

void metad_sessions_count(const struct metad *m, uint64_t *ret_sessions, uint64_t *ret_opens)
{
	*ret_sessions = HASH_COUNT(m->sessions->all);
	*ret_opens = m->sessions->n_opens;
}
