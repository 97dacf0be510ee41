/* Purpose: the requests of those who keep names and attributes: resolve, which grants leases, and lease,
 * which holds them. lease.c has what they are.
 *
 * Threads: the loop's. */
#include "cleaner.h"
#include "lease.h"
#include "readers.h"

/* holder, on behalf of conn's user, may keep what m->walk found. */
static bool grant(struct metad *m, const struct metad_conn *conn, uint64_t holder, uint64_t *ret_life)
{
	struct metad_leases *l = m->leases;
	const struct metad_walk *w = &m->walk;
	uint64_t now = ff3_boottime_ns();
	struct lease_holder *h = l->lease_ns > 0 ? lease_find_holder(l, holder) : NULL;

	if (!h || h->uid != conn->cred.uid || lease_has_lapsed(l, h, now) || !lease_is_marked(l) ||
	    m->stopping || l->apply_waits || l->n_pinned_all > 0)
		return false;
	if (w->n_dirs == 0 || w->n_dirs > METAD_WALK_DIRS ||
	    (w->dirs[0] != FF3_ROOT_INO && m->cleaner->trees_exist))
		return false;
	for (uint32_t i = 0; i < w->n_dirs; i++)
		if (lease_is_changing(l, w->dirs[i], now) || lease_is_revoked(l, w->dirs[i]))
			return false;
	for (uint32_t i = 0; i < w->n_dirs; i++)
		if (!lease_add_grant(l, h, w->dirs[i]))
			return false;
	*ret_life = h->life;
	return true;
}

/* Where the object's attributes are leased. false: nowhere that can be told. */
static bool note_own_dir(struct metad_walk *w)
{
	if (S_ISDIR(w->inode.mode)) {
		if (w->n_dirs >= METAD_WALK_DIRS)
			return false;
		if (w->n_dirs == 0 || w->dirs[w->n_dirs - 1] != w->inode.ino)
			w->dirs[w->n_dirs++] = w->inode.ino;
		return true;
	}
	/* A file of several names changes in places that are not known here. */
	return w->last == METAD_LAST_NAME && w->inode.nlink == 1 && w->inode.parent == w->dir.ino;
}

static int open_it(struct metad *m, struct metad_conn *conn, struct ff3_rep_resolve *p,
		   uint8_t cap[FF3_CAP_MAX])
{
	struct metad_inode *inode = &m->walk.inode;
	struct metad_reader reader;
	int e = metad_session_open(m, conn->session, inode->ino, false, NULL);

	if (e < 0)
		return e;
	reader = metad_reader_of(&conn->cred, inode);
	metad_session_set_granted(conn->session, inode->ino, reader);
	p->cap = metad_caps_at_open(m, inode, conn->session_id, reader, FF3_OPEN_READ, cap);
	return 0;
}

void serve_resolve(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_resolve *q)
{
	struct metad_walk *w = &m->walk;
	struct ff3_rep_resolve p = { 0 };
	uint8_t cap[FF3_CAP_MAX];
	bool open = q->flags != 0;
	int e = q->flags & ~(uint32_t)FF3_OPEN_READ ? -EINVAL :
						      metad_serve_walk_object(m, conn, r, &q->at);

	if (e >= 0 && open)
		e = metad_may_open(&conn->cred, &w->inode, q->flags);
	if (e >= 0 && open && metad_file_is_truncating(m, w->inode.ino)) {
		e = metad_file_park_request(m, w->inode.ino, r);
		if (e >= 0)
			return;
	}
	if (e >= 0 && S_ISREG(w->inode.mode))
		e = metad_file_layout(m->db, &w->inode, &p.layout);
	if (e >= 0) {
		p.may_read = metad_permission(&conn->cred, &w->inode, METAD_MAY_READ) >= 0;
		p.leased = (!open || S_ISREG(w->inode.mode)) && !metad_file_is_dirty(m, w->inode.ino) &&
			   !metad_file_is_truncating(m, w->inode.ino) && note_own_dir(w) &&
			   grant(m, conn, q->holder, &p.life);
		if (open && !p.leased)
			e = open_it(m, conn, &p, cap);
	}
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	if (p.leased) {
		for (uint32_t i = 0; i < w->n_dirs; i++)
			w->dirs[i] = htole64(w->dirs[i]);
		p.dirs = (struct ff3_blob){ w->dirs, w->n_dirs * 8 };
	}
	metad_file_overlay(m, &w->inode);
	metad_inode_attr(&w->inode, &p.attr);
	FF3_REQUEST_REPLY(r, resolve, &p);
}

void serve_lease(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_req_lease *q)
{
	struct metad_leases *l = m->leases;
	struct lease_holder *h = lease_find_holder(l, q->holder);

	if (l->lease_ns == 0 || q->holder == 0 || (h && h->uid != conn->cred.uid)) {
		metad_reply_status(m, r, h ? -EPERM : -EOPNOTSUPP);
		return;
	}
	if (!h && !q->leave)
		h = lease_new_holder(l, q->holder, conn->cred.uid);
	if (!h) {
		metad_reply_status(m, r, q->leave ? -ENOENT : -ENOMEM);
		return;
	}
	if (q->term < h->term || (q->term == h->term && h->left)) {
		metad_reply_status(m, r, -ESTALE);
		return;
	}
	if (h->parked) /* by somebody who is gone, or has lost patience, or leaves */
		lease_answer(l, h);
	h->term = q->term;
	h->left = h->clean = false;
	if (q->leave)
		lease_leave(l, h, q->leave == FF3_LEAVE_CLEAN);
	else
		h->heard_ns = r->received_ns;
	h->parked = r;
	h->parked_ns = r->received_ns;
	h->conn = conn;
	if (q->life == h->life)
		lease_heed(l, h, q->acked);
	lease_is_marked(l);
	if (q->life != h->life || h->queue || q->leave)
		lease_answer(l, h);
	lease_wake(l);
	lease_arm(l);
	m->deferred = true;
}
