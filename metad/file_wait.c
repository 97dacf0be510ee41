/* Purpose: requests that wait for a file: for a truncation to be over, and for their turn to append.
 *
 * The right to append belongs to the connection that asked for it: it is given back by extend with
 * unlock, from any connection of the session, or when that connection is lost.
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
		int r = metad_db_get_inode(m->db, f->ino, &inode);

		LL_DELETE(f->appenders, w);
		if (r <= 0) {
			ff3_request_fail(w->r, r < 0 ? r : -ESTALE);
		} else {
			metad_file_overlay(m, &inode);
			p.size = inode.size;
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
	grant(m, f);
	return 0;
}

void metad_file_append_unlock(struct metad *m, uint64_t ino, uint64_t session)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (!f || f->holder_session != session)
		return;
	f->holder_session = 0;
	f->holder = NULL;
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
	const struct metad_file *f = metad_file_find(m, ino);

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
	struct appender *w, *next_w;

	LL_FOREACH_SAFE(f->parked, p, next_p)
	{
		if (p->conn != conn)
			continue;
		LL_DELETE(f->parked, p);
		ff3_request_fail(p->r, -ENOTCONN);
		free(p);
	}
	LL_FOREACH_SAFE(f->appenders, w, next_w)
	{
		if (w->conn != conn)
			continue;
		LL_DELETE(f->appenders, w);
		ff3_request_fail(w->r, -ENOTCONN);
		free(w);
	}
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
