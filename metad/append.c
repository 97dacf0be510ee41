/* Purpose: appending. Who has the right to (file_wait.c) writes at the end of the file, and `append` moves the end and
 * lets the next one in.
 *
 * An append counts once, as a mutation does: its answer goes into the log with it. Where nobody else has the file
 * open, the end is held in memory, as other ends are, and so is the answer: until the size is logged, or cut, or somebody
 * else may append, before which both go into the log together (append_held). So whoever got no answer asks again,
 * whichever metad serves by then. A request whose right is gone, and that has no answer, never counted, and
 * never will: that is in the log too, so that the first one of its kind, if it comes late, is answered alike.
 *
 * Threads: the loop's. */
#include "file.h"

#define GRACE_NS (5 * FF3_NSEC_PER_SEC)

static void on_settled(struct metad *m, struct metad_mutation *mutation)
{
	struct metad_append_held h;

	memcpy(&h, mutation->rec->payload.p, sizeof h);
	metad_file_logged(m, &h.update);
}

static int settle(struct metad *m, struct metad_file *f)
{
	struct metad_session *s = metad_session_find(m, f->held.session);
	struct metad_append_held h = { .seq = f->held.seq };
	struct metad_record rec = { .op = METAD_OP_append_held,
				    .session = f->held.session,
				    .payload = { &h, sizeof h } };
	struct metad_mutation mutation = { .applied = on_settled };
	struct metad_inode inode;
	int r = s ? metad_db_get_inode(m->db, f->ino, &inode) : 0;

	if (r > 0) {
		if (!metad_file_update(m, &inode, 0, &h.update))
			h.update = (struct metad_size_update){ .ino = f->ino, .truncs = inode.truncs };
		r = metad_pipeline_add(m, &rec, &mutation);
		if (r == 0)
			metad_session_note_logged(s, h.seq);
	}
	if (r == 0)
		f->held.session = 0;
	return r;
}

int metad_append_settle(struct metad *m, uint64_t ino, uint64_t session, uint64_t acked)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (!f || f->held.session == 0)
		return 0;
	if (f->held.session == session && f->held.seq < acked)
		f->held.session = 0;
	return f->held.session != 0 ? settle(m, f) : 0;
}

static void reply(struct metad *m, struct ff3_request *r, struct metad_inode *inode)
{
	struct ff3_rep_append p;

	metad_file_overlay(m, inode);
	p.size = inode->size;
	p.cuts = inode->truncs;
	FF3_REQUEST_REPLY(r, append, &p);
}

/* It has no right to append: has it come before? */
static void answer_again(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			 const struct ff3_req_append *q)
{
	const struct metad_file *f = metad_file_find(m, q->ino);
	struct metad_record rec = { 0 };
	struct metad_inode inode;

	if (f && f->held.session == conn->session_id && f->held.seq == q->tag.seq &&
	    metad_db_get_inode(m->db, q->ino, &inode) > 0)
		reply(m, r, &inode);
	else
		metad_log_request(m, conn, r, &q->tag, &rec);
}

/* Whether an end must be in the log before it is answered: in memory it goes with us, and the next one to append would
 * write over it. So it may be there only if nobody else has the file open, and if the log knows that the session has
 * to be waited for; after a start, who else will append is not known for a lease. */
static bool must_log(struct metad *m, const struct metad_conn *conn, uint64_t ino)
{
	if (!metad_session_is_locker(conn->session)) {
		metad_session_note(m, conn->session);
		return true;
	}
	return metad_file_is_shared(m, ino) || metad_is_young(m);
}

/* Others may come back with ends that are not known here yet. Those who live do so soon. */
static bool in_grace(struct metad *m)
{
	return metad_is_young(m) && ff3_boottime_ns() - m->started_ns < GRACE_NS && metad_sessions_missing(m);
}

/* 0: it counts, and r is or will be answered. -EINPROGRESS: r is taken care of, and the right stays: it comes again.
 * Else r is to be answered so. */
static int count(struct metad *m, struct metad_conn *conn, struct ff3_request *r, const struct ff3_req_append *q,
		 struct metad_inode *inode)
{
	struct metad_file *f = metad_file_find(m, q->ino);
	struct metad_size_update u;
	struct metad_record rec = { .assigned = { &u, sizeof u } };
	int e = metad_lease_before_inode(m, conn, r, inode);

	if (e != 0)
		return e < 0 ? e : -EINPROGRESS;
	metad_file_extend(m, f, q->end,
			  (conn->cred.uid ? metad_mode_kills(&conn->cred, inode) : 0) |
				  (q->sparse ? METAD_UPDATE_SPARSE : 0));
	if (!must_log(m, conn, q->ino) || !metad_file_update(m, inode, 0, &u)) {
		f->held.session = conn->session_id;
		f->held.seq = q->tag.seq;
		reply(m, r, inode);
		return 0;
	}
	e = metad_log_request(m, conn, r, &q->tag, &rec);
	return e < 0 ? -EINPROGRESS : 0;
}

void serve_append(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_append *q)
{
	struct metad_inode inode;
	int e;

	if (q->end == 0) {
		metad_file_append_unlock(m, q->ino, conn->session_id, q->grant);
		FF3_REQUEST_REPLY(r, append, &(struct ff3_rep_append){ 0 });
		return;
	}
	if (!metad_file_may_append(m, q->ino, conn->session_id, q->grant)) {
		answer_again(m, conn, r, q);
		return;
	}
	e = metad_serve_open_file(m, conn, q->ino, &inode);
	if (e >= 0 && metad_file_is_truncating(m, q->ino)) {
		e = metad_file_park_request(m, q->ino, r);
		if (e >= 0)
			return;
	}
	if (e >= 0)
		e = q->end > FF3_FILE_SIZE_MAX ? -EFBIG : count(m, conn, r, q, &inode);
	if (e == -EINPROGRESS)
		return;
	metad_file_append_unlock(m, q->ino, conn->session_id, q->grant);
	if (e < 0)
		metad_reply_status(m, r, e);
}

void serve_append_lock(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		       const struct ff3_req_append_lock *q)
{
	struct metad_inode inode;
	int e = metad_serve_open_file(m, conn, q->ino, &inode);

	if (e >= 0)
		e = in_grace(m) ? -EAGAIN : metad_file_append_lock(m, r, conn, q->ino);
	if (e < 0)
		metad_reply_status(m, r, e);
}
