/* Purpose: requests that wait for a file: for a truncation to be over, and for their turn to append.
 *
 * The right to append belongs to the connection that asked for it: it is given back by append, from any
 * connection of the session, when the session asks anew, or when that connection is lost.
 *
 * Threads: the loop's. */
#include <utlist.h>

#include "file.h"

void file_update_busy(struct metad *m, struct metad_file *f)
{
	bool busy = f->parked || f->appenders || f->holder_session != 0;

	if (busy && !f->busy)
		DL_APPEND2(m->files->busy, f, busy_prev, busy_next);
	if (!busy && f->busy)
		DL_DELETE2(m->files->busy, f, busy_prev, busy_next);
	f->busy = busy;
}

static void grant(struct metad *m, struct metad_file *f)
{
	while (f->appenders && f->holder_session == 0 && !f->truncating) {
		struct appender *w = f->appenders;
		struct metad_inode inode;
		struct ff3_rep_append_lock p;
		int r = metad_append_settle(m, f->ino, w->session, UINT64_MAX);

		if (r == 0)
			r = metad_db_get_inode(m->db, f->ino, &inode);
		LL_DELETE(f->appenders, w);
		if (r <= 0) {
			ff3_request_fail(w->r, r < 0 ? r : -ESTALE);
		} else {
			metad_file_overlay(m, &inode);
			p.size = inode.size;
			p.grant = f->grant = ++m->files->last_grant;
			f->holder_session = w->session;
			f->holder = w->conn;
			FF3_REQUEST_REPLY(w->r, append_lock, &p);
		}
		free(w);
	}
	file_update_busy(m, f);
}

int metad_file_append_lock(struct metad *m, struct ff3_request *r, struct metad_conn *conn,
			   uint64_t ino)
{
	struct metad_file *f = metad_file_get(m, ino);
	struct appender *w = f ? calloc(1, sizeof *w) : NULL;

	if (!w) {
		if (f)
			metad_file_put(m, f);
		return -ENOMEM;
	}
	*w = (struct appender){ .r = r, .conn = conn, .session = conn->session_id };
	m->deferred = true;
	LL_APPEND(f->appenders, w);
	/* One append of a file at a time, of a session: what it had before is given up. */
	if (f->holder_session == w->session)
		f->holder_session = 0;
	grant(m, f);
	return 0;
}

bool metad_file_may_append(struct metad *m, uint64_t ino, uint64_t session, uint64_t grant)
{
	const struct metad_file *f = metad_file_find(m, ino);

	return f && f->holder_session == session && f->grant == grant;
}

static void drop_appenders(struct metad_file *f, const struct metad_conn *conn, uint64_t session)
{
	struct appender *w, *next;

	LL_FOREACH_SAFE(f->appenders, w, next)
	{
		if (w->conn != conn && w->session != session)
			continue;
		LL_DELETE(f->appenders, w);
		ff3_request_fail(w->r, -ENOTCONN);
		free(w);
	}
}

void metad_file_append_unlock(struct metad *m, uint64_t ino, uint64_t session, uint64_t grant_number)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (!f)
		return;
	if (grant_number == 0)
		drop_appenders(f, NULL, session);
	if (f->holder_session == session && (grant_number == 0 || f->grant == grant_number)) {
		f->holder_session = 0;
		f->holder = NULL;
	}
	grant(m, f);
	metad_file_put(m, f);
}

static struct parked *park(struct metad *m, uint64_t ino, struct ff3_request *r, size_t len)
{
	struct metad_file *f = metad_file_find(m, ino);
	struct parked *p = f ? calloc(1, sizeof *p + len) : NULL;

	if (!p)
		return NULL;
	p->r = r;
	p->len = len;
	m->deferred = true;
	LL_APPEND(f->parked, p);
	file_update_busy(m, f);
	return p;
}

int metad_file_park_request(struct metad *m, uint64_t ino, struct ff3_request *r)
{
	struct parked *p;
	int k = ff3_request_keep_body(r);

	if (k < 0)
		return k;
	p = park(m, ino, r, 0);
	if (!p)
		return -ENOMEM;
	p->conn = ff3_conn_user(r->conn);
	return 0;
}

int metad_file_park_reply(struct metad *m, uint64_t ino, struct ff3_request *r, const void *body,
			  size_t len)
{
	struct parked *p = park(m, ino, r, len);

	if (!p)
		return -ENOMEM;
	memcpy(p->body, body, len);
	return 0;
}

bool metad_file_is_truncating(struct metad *m, uint64_t ino)
{
	/* Most of the time nothing is, and each open asks. */
	const struct metad_file *f = m->files->n_truncating > 0 ? metad_file_find(m, ino) : NULL;

	return f && f->truncating;
}

void metad_file_set_truncating(struct metad *m, uint64_t ino, bool truncating)
{
	struct metad_file *f = truncating ? metad_file_get(m, ino) : metad_file_find(m, ino);
	struct parked *all, *p, *next;

	if (!f) {
		if (truncating)
			metad_die(-ENOMEM, "cannot hold back a file's readers");
		return;
	}
	m->files->n_truncating += (uint64_t)truncating - f->truncating;
	f->truncating = truncating;
	if (truncating)
		return;
	all = f->parked;
	f->parked = NULL;
	grant(m, f);
	LL_FOREACH_SAFE(all, p, next)
	{
		if (p->conn)
			metad_serve_request(m, p->r);
		else
			ff3_request_reply(p->r, 0, p->body, p->len);
		free(p);
	}
	f = metad_file_find(m, ino);
	if (f)
		metad_file_put(m, f);
}

static void drop_waiters(struct metad_file *f, const struct metad_conn *conn)
{
	struct parked *p, *next_p;

	LL_FOREACH_SAFE(f->parked, p, next_p)
	{
		if (p->conn != conn)
			continue;
		LL_DELETE(f->parked, p);
		ff3_request_fail(p->r, -ENOTCONN);
		free(p);
	}
	drop_appenders(f, conn, 0);
}

void metad_files_conn_closed(struct metad *m, struct metad_conn *conn)
{
	struct metad_file *f, *next;

	DL_FOREACH_SAFE2(m->files->busy, f, next, busy_next)
	{
		drop_waiters(f, conn);
		if (f->holder == conn) {
			f->holder = NULL;
			f->holder_session = 0;
		}
		grant(m, f);
		metad_file_put(m, f);
	}
}
