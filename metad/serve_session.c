/* Purpose: the operations that change only what is held in memory for connected clients.
 * Threads: the loop's. */
#include "metad.h"

int metad_serve_open_file(struct metad *m, const struct metad_conn *conn, uint64_t ino, struct metad_inode *ret)
{
	int r;

	if (!metad_session_has_open(m, conn->session, ino, true))
		return -EBADF;
	r = metad_db_get_inode(m->db, ino, ret);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	return S_ISREG(ret->mode) ? 0 : -EINVAL;
}

void serve_release(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_release *q)
{
	metad_session_release(m, conn->session, q->ino, q->n);
	ff3_request_reply(r, 0, NULL, 0);
}

/* What was granted stays so, as an open descriptor does; a child may be somebody else by now. But it is the right of whom
 * it was granted to: this connection's user may be true, and that one not. */
static bool may_read(const struct metad_conn *conn, const struct metad_inode *inode, struct metad_reader *ret)
{
	if (!S_ISDIR(inode->mode) && metad_permission(&conn->cred, inode, METAD_MAY_READ) < 0)
		return metad_session_is_granted(conn->session, inode->ino, ret);
	*ret = metad_reader_of(&conn->cred, inode);
	metad_session_set_granted(conn->session, inode->ino, *ret);
	return true;
}

void serve_reopen(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_reopen *q)
{
	bool write = q->flags & (FF3_OPEN_WRITE | FF3_OPEN_APPEND);
	struct ff3_rep_reopen p = { 0 };
	struct metad_inode inode;
	uint8_t cap[FF3_CAP_MAX];
	struct metad_reader reader;
	int e = metad_db_get_inode(m->db, q->ino, &inode);

	if (e > 0 && metad_file_is_truncating(m, q->ino)) {
		e = metad_file_park_request(m, q->ino, r);
		if (e < 0)
			metad_reply_status(m, r, e);
		return;
	}
	e = e < 0 ? e : e == 0 ? -ESTALE : metad_file_layout(m->db, &inode, &p.layout);
	if (e >= 0)
		e = metad_session_open(m, conn->session, q->ino, write, NULL);
	if (e >= 0)
		e = metad_file_hold_parent(m, &inode);
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	if ((q->flags & FF3_OPEN_READ) && may_read(conn, &inode, &reader))
		p.cap = metad_caps_make(m, &inode, conn->session_id, reader, q->flags, cap);
	metad_file_overlay(m, &inode);
	metad_inode_attr(&inode, &p.attr);
	FF3_REQUEST_REPLY(r, reopen, &p);
}

void serve_extend(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_extend *q)
{
	struct ff3_rep_extend p;
	struct metad_inode inode;
	struct metad_file *f;
	int e = metad_serve_open_file(m, conn, q->ino, &inode);

	if (e >= 0 && metad_file_is_truncating(m, q->ino)) {
		e = metad_file_park_request(m, q->ino, r);
		if (e < 0)
			metad_reply_status(m, r, e);
		return;
	}
	if (e >= 0 && q->end > FF3_FILE_SIZE_MAX)
		e = -EFBIG;
	if (e >= 0 && q->end > 0) {
		e = metad_lease_before_inode(m, conn, r, &inode);
		if (e > 0)
			return;
	}
	f = e >= 0 ? metad_file_get(m, q->ino) : NULL;
	if (e >= 0 && !f)
		e = -ENOMEM;
	if (e >= 0) {
		if (q->end > 0 && (!q->again || q->cuts == inode.truncs))
			metad_file_extend(m, f, q->end,
					  (conn->cred.uid ? metad_mode_kills(&conn->cred, &inode) : 0) |
						  (q->sparse ? METAD_UPDATE_SPARSE : 0));
		metad_file_overlay(m, &inode);
		p.size = inode.size;
		p.cuts = inode.truncs;
	}
	if (e < 0)
		metad_reply_status(m, r, e);
	else
		FF3_REQUEST_REPLY(r, extend, &p);
}

void serve_returned(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_req_returned *q)
{
	metad_session_set_returned(conn->session);
	ff3_request_reply(r, 0, NULL, 0);
}

void serve_heartbeat(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		     const struct ff3_req_heartbeat *q)
{
	struct ff3_rep_heartbeat p = { metad_db_meta(m->db)->routing_version, metad_caps_keys(m) };

	if (conn->role != FF3_ROLE_CHUNKD) {
		metad_reply_status(m, r, -EPERM);
		return;
	}
	metad_routes_heartbeat(m, q);
	FF3_REQUEST_REPLY(r, heartbeat, &p);
}
