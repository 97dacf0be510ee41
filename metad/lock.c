/* Purpose: flock(2) and fcntl(2) locks between hosts: common/base/locks.h, one list per file.
 *
 * They are held in memory: a lock that waited for the log would cost as much as a durable write. So
 * metad forgets them when it restarts, and clients take theirs again (FF3_LOCK_RECLAIM). Until a
 * lease has passed, or every client that took one so far has taken its own again (returned), nobody else is granted any; but
 * a server that was told to end, and held none, leaves the file "no-locks", which says so to the next. That a
 * client takes locks is in the log before its first is granted (note_sessions).
 *
 * Locks go with the session's open of the file, so at the latest one lease after their process.
 *
 * Threads: the loop's. */
#include "file.h"

static bool is_sane(const struct ff3_req_lock *q)
{
	return q->kind < FF3_LOCK_KINDS && q->type < FF3_LOCK_TYPES && q->first <= q->last &&
	       (q->kind != FF3_LOCK_FLOCK || (q->first == 0 && q->last == UINT64_MAX));
}

/* Clients may come back that hold locks which are not known here yet. */
static bool in_grace(struct metad *m)
{
	return metad_is_young(m) && !m->no_locks && metad_sessions_missing(m);
}

bool metad_locks_none(struct metad *m)
{
	return m->files->n_locks == 0 && !in_grace(m);
}

static int set(struct metad *m, const struct ff3_lock *want, uint64_t ino)
{
	struct metad_file *f = metad_file_get(m, ino);
	uint32_t before;
	int r;

	if (!f)
		return -ENOMEM;
	before = f->locks.n;
	r = want->type != FF3_LOCK_NONE && m->files->n_locks >= m->files->max_locks ?
		    -ENOLCK :
		    ff3_locks_set(&f->locks, want);
	m->files->n_locks = m->files->n_locks - before + f->locks.n;
	metad_file_put(m, f);
	return r;
}

static void serve(struct metad *m, struct metad_session *s, struct ff3_request *r,
		  const struct ff3_req_lock *q)
{
	struct ff3_lock want = { q->domain, metad_session_id(s), q->owner, q->first,
				 q->last,   q->kind,		 q->type };
	const struct metad_file *f = metad_file_find(m, q->ino);
	const struct ff3_lock *other = f ? ff3_locks_conflict(&f->locks, &want) : NULL;
	struct ff3_rep_lock p = { .held = f ? ff3_locks_held(&f->locks, &want) : FF3_LOCK_NONE };
	int e = 0;

	if (q->type == FF3_LOCK_NONE)
		other = NULL;
	if (other) {
		p.type = other->type;
		p.first = other->first;
		p.last = other->last;
	} else if (q->type != FF3_LOCK_NONE && !(q->flags & FF3_LOCK_RECLAIM) && in_grace(m)) {
		e = -EAGAIN;
	} else {
		p.granted = 1;
		if (!(q->flags & FF3_LOCK_TEST))
			e = set(m, &want, q->ino);
	}
	if (e < 0)
		metad_reply_status(m, r, e);
	else
		FF3_REQUEST_REPLY(r, lock, &p);
}

/* The log knows of the session now. */
static void on_noted(struct metad *m, struct metad_mutation *mutation)
{
	struct metad_session *s = metad_session_find(m, mutation->session);
	struct ff3_request *r = mutation->r;
	struct ff3_req_lock q;

	if (s)
		metad_session_set_locker(s);
	if (!s || ff3_decode_req_lock(r->body, r->header.body_len, &q) < 0)
		ff3_request_fail(r, -ENOTCONN);
	else
		serve(m, s, r, &q);
}

static int note_first(struct metad *m, uint64_t session, struct ff3_request *r)
{
	struct metad_record rec = { .op = METAD_OP_note_sessions,
				    .payload = { &session, sizeof session } };
	struct metad_mutation mutation = { .r = r, .applied = on_noted, .session = session };
	int e = ff3_request_keep_body(r);

	if (e < 0)
		return e;
	e = metad_pipeline_add(m, &rec, &mutation);
	if (e == 0)
		m->deferred = true;
	return e;
}

void serve_lock(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		const struct ff3_req_lock *q)
{
	int e = 0;

	if (!is_sane(q))
		e = -EINVAL;
	else if (!metad_session_has_open(m, conn->session, q->ino, false))
		e = -EBADF;
	else if (q->type != FF3_LOCK_NONE && !(q->flags & FF3_LOCK_TEST) &&
		 !metad_session_is_locker(conn->session))
		e = note_first(m, conn->session_id, r);
	else
		serve(m, conn->session, r, q);
	if (e < 0)
		metad_reply_status(m, r, e);
}

bool metad_file_has_locks_of(struct metad *m, uint64_t ino, uint64_t session)
{
	const struct metad_file *f = metad_file_find(m, ino);

	for (uint32_t i = 0; f && i < f->locks.n; i++)
		if (f->locks.all[i].session == session)
			return true;
	return false;
}

void metad_file_drop_locks(struct metad *m, struct metad_file *f, uint64_t session)
{
	m->files->n_locks -= ff3_locks_drop_session(&f->locks, session);
}
