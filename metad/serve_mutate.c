/* Purpose: the operations that go through the log: what the primary decides before (ids, chains,
 * whether chunks have to be cut), and what follows when one was applied.
 *
 * Opens that change nothing are answered without the log, unless the request may be a repetition of
 * one that was logged.
 *
 * Threads: the loop's. */
#include "metad.h"
#include "readers.h"

#define WIDTH_MAX 1024u

/* Replies that begin with the object's attributes show the size as it is now. */
static void overlay_reply(struct metad *m)
{
	struct metad_apply *a = m->apply;
	struct ff3_dec d = ff3_dec_init(a->reply, a->reply_len);
	struct ff3_enc e = ff3_enc_init(a->reply, sizeof a->reply);
	struct ff3_attr attr;

	ff3_get_attr(&d, &attr);
	if (d.bad)
		return;
	metad_file_overlay_attr(m, &attr);
	ff3_put_attr(&e, &attr);
}

/* Puts b where the reply ends with an empty blob. */
static void end_reply(struct metad_apply *a, struct ff3_blob b)
{
	struct ff3_enc e;

	if (a->reply_len < 4 || a->reply_len + b.len > sizeof a->reply)
		return;
	e = ff3_enc_init(a->reply + a->reply_len - 4, sizeof a->reply - (a->reply_len - 4));
	ff3_put_blob(&e, &b);
	a->reply_len += b.len;
}

/* What only this metad can say, and only now; answers that are stored are without it. */
static void add_cap(struct metad *m, const struct metad_mutation *mutation)
{
	struct metad_session *s = metad_session_find(m, mutation->session);
	const struct metad_cred *cred = &mutation->rec->cred;
	uint8_t buf[FF3_CAP_MAX];
	struct metad_reader reader;
	struct metad_inode inode;

	if (!s || metad_db_get_inode(m->db, m->apply->effects.ino, &inode) <= 0)
		return;
	/* It was perhaps another user's answer. */
	if (m->apply->effects.repeated && metad_permission(cred, &inode, METAD_MAY_READ) < 0)
		return;
	reader = metad_reader_of(cred, &inode);
	if (mutation->open_flags & FF3_OPEN_READ)
		metad_session_set_granted(s, inode.ino, reader);
	end_reply(m->apply, metad_caps_at_open(m, &inode, mutation->session, reader, mutation->open_flags, buf));
}

static void add_keys(struct metad *m)
{
	end_reply(m->apply, metad_caps_keys(m));
}

static void follow_up(struct metad *m, const struct metad_effects *effects)
{
	if (effects->truncated) {
		uint64_t end = metad_file_cut(m, effects->ino);

		/* Who wrote beyond what is logged has perhaps not said so yet. */
		metad_cleaner_truncate(m, effects->ino, metad_is_young(m) ? UINT64_MAX : end);
	}
	if (effects->trees)
		metad_cleaner_tree(m);
	if (effects->routing) {
		int r = metad_routes_reload(m);

		if (r < 0)
			metad_die(r, "cannot read the routes");
	}
}

static void collect_orphans(struct metad *m, const struct metad_effects *effects)
{
	struct metad_inode inode;

	for (uint32_t i = 0; i < effects->n_orphans; i++)
		if (!metad_is_open(m, effects->orphans[i]))
			metad_cleaner_orphan(m, effects->orphans[i]);
		else if (metad_db_get_inode(m->db, effects->orphans[i], &inode) > 0)
			metad_file_hold_parent(m, &inode);
}

static void register_open(struct metad *m, const struct metad_mutation *mutation)
{
	struct metad_session *s = metad_session_find(m, mutation->session);
	bool write = mutation->open_flags & (FF3_OPEN_WRITE | FF3_OPEN_APPEND);
	int r;

	if (!s)
		return;
	r = metad_session_open(m, s, m->apply->effects.ino, write, &mutation->tag);
	if (r < 0)
		m->apply->status = r;
}

static void on_applied(struct metad *m, struct metad_mutation *mutation)
{
	struct metad_apply *a = m->apply;
	unsigned op = mutation->rec->op;
	bool ok = a->status >= 0;
	struct metad_size_update u;
	int r;

	metad_lease_unpin(m, &mutation->lease_pins);
	ff3_counter_add_own(&m->n_failed, !ok);
	ff3_histogram_observe_own(&m->latency[op], ff3_boottime_ns() - mutation->received_ns);
	if (mutation->times_ino != 0)
		metad_file_times_end(m, mutation->times_ino, ok && a->effects.times_set);
	if (ok && op == FF3_OP_truncate && !a->effects.truncated)
		metad_file_retimed(m, a->effects.ino);
	if (ok)
		follow_up(m, &a->effects);
	if (ok && op == FF3_OP_open)
		register_open(m, mutation);
	if (ok && mutation->rec->assigned.len == sizeof u && (op == FF3_OP_commit || op == FF3_OP_append)) {
		memcpy(&u, mutation->rec->assigned.p, sizeof u);
		metad_file_logged(m, &u);
	}
	if (ok && (op == FF3_OP_open || op == FF3_OP_commit || op == FF3_OP_setattr ||
		   op == FF3_OP_truncate || op == FF3_OP_link))
		overlay_reply(m);
	if (ok && a->status >= 0 && op == FF3_OP_open)
		add_cap(m, mutation);
	if (ok && op == FF3_OP_register_node)
		add_keys(m);
	if (ok && op == FF3_OP_setattr && a->effects.owner_set)
		metad_caps_revoke(m, a->effects.ino);
	collect_orphans(m, &a->effects);
	if (a->status >= 0 && (op == FF3_OP_open || op == FF3_OP_truncate) &&
	    metad_file_is_truncating(m, a->effects.ino)) {
		r = metad_file_park_reply(m, a->effects.ino, mutation->r, a->reply, a->reply_len);
		if (r >= 0)
			return;
		a->status = r;
	}
	ff3_request_reply(mutation->r, a->status, a->reply,
			  a->status >= 0 || a->status == FF3_E_REDIRECT ? a->reply_len : 0);
}

/* Logs r's body; rec has what was decided. */
static int log_mutation(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			const struct ff3_tag *tag, struct metad_record *rec, uint32_t open_flags,
			uint64_t times_ino)
{
	struct metad_mutation mutation = {
		.received_ns = r->received_ns,
		.times_ino = times_ino,
		.r = r,
		.applied = on_applied,
		.session = conn->session_id,
		.tag = *tag,
		.open_flags = open_flags,
	};
	int e;

	rec->op = r->header.op;
	rec->session = conn->session_id;
	rec->cred = conn->cred;
	e = m->stopping ? -ECONNRESET : metad_lease_before(m, conn, r);
	if (e > 0)
		return -EINPROGRESS; /* it comes again */
	rec->payload = (struct ff3_blob){ r->body, r->header.body_len };
	if (e >= 0) {
		metad_lease_pin(m, &mutation.lease_pins);
		e = metad_pipeline_add(m, rec, &mutation);
		if (e < 0)
			metad_lease_unpin(m, &mutation.lease_pins);
	}
	if (e < 0)
		metad_reply_status(m, r, e);
	else
		metad_session_note_logged(conn->session, tag->seq);
	m->deferred = e >= 0;
	return e;
}

static void log_request(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			const struct ff3_tag *tag, struct metad_record *rec, uint32_t open_flags)
{
	log_mutation(m, conn, r, tag, rec, open_flags, 0);
}

int metad_log_request(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		      const struct ff3_tag *tag, struct metad_record *rec)
{
	return log_mutation(m, conn, r, tag, rec, 0, 0);
}

static void log_times(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		      const struct ff3_tag *tag, struct metad_record *rec, uint64_t ino)
{
	if (log_mutation(m, conn, r, tag, rec, 0, ino) >= 0)
		metad_file_times_begin(m, ino);
}

static void log_plain(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		      const struct ff3_tag *tag)
{
	struct metad_record rec = { 0 };

	log_request(m, conn, r, tag, &rec, 0);
}

#define SERVE_PLAIN(op)                                                                            \
	void serve_##op(struct metad *m, struct metad_conn *conn, struct ff3_request *r,           \
			const struct ff3_req_##op *q)                                              \
	{                                                                                          \
		log_plain(m, conn, r, &q->tag);                                                    \
	}
SERVE_PLAIN(rename)
SERVE_PLAIN(link)
SERVE_PLAIN(setxattr)
SERVE_PLAIN(removexattr)
SERVE_PLAIN(set_layout)

static void log_with_ino(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			 const struct ff3_tag *tag)
{
	struct metad_record rec = { .ino = m->next_ino++ };

	log_request(m, conn, r, tag, &rec, 0);
}

static bool may_be_repeated(const struct metad_conn *conn, const struct ff3_tag *tag)
{
	return tag->seq <= metad_session_logged(conn->session);
}

/* Making what exists and removing what does not change nothing, so they need not wait for the disk.
 * Whatever else is wrong is found when the operation is applied. true: r was answered. */
static bool refused(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_tag *tag, const struct ff3_path *at, bool make)
{
	int e;

	if (may_be_repeated(conn, tag))
		return false;
	e = metad_serve_walk(m, conn, r, at, METAD_WALK_PARENT);
	if (e >= 0 && make && (m->walk.last != METAD_LAST_NAME || m->walk.inode.ino != 0))
		e = -EEXIST;
	if (e >= 0 && !make && m->walk.last == METAD_LAST_NAME && m->walk.inode.ino == 0)
		e = -ENOENT;
	if (e >= 0)
		return false;
	metad_reply_status(m, r, e);
	return true;
}

void serve_mkdir(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_req_mkdir *q)
{
	if (!refused(m, conn, r, &q->tag, &q->at, true))
		log_with_ino(m, conn, r, &q->tag);
}

void serve_rmdir(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_req_rmdir *q)
{
	if (!refused(m, conn, r, &q->tag, &q->at, false))
		log_plain(m, conn, r, &q->tag);
}

void serve_remove_tree(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		       const struct ff3_req_remove_tree *q)
{
	if (!refused(m, conn, r, &q->tag, &q->at, false))
		log_plain(m, conn, r, &q->tag);
}

void serve_unlink(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_unlink *q)
{
	if (!refused(m, conn, r, &q->tag, &q->at, false))
		log_plain(m, conn, r, &q->tag);
}

void serve_symlink(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_symlink *q)
{
	log_with_ino(m, conn, r, &q->tag);
}

void serve_mknod(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_req_mknod *q)
{
	if (!refused(m, conn, r, &q->tag, &q->at, true))
		log_with_ino(m, conn, r, &q->tag);
}

void serve_register_node(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			 const struct ff3_req_register_node *q)
{
	if (conn->role != FF3_ROLE_CHUNKD)
		metad_reply_status(m, r, -EPERM);
	else
		log_plain(m, conn, r, &q->tag);
}

void serve_setattr(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_setattr *q)
{
	struct metad_record rec = { 0 };
	int e = -ENOENT;

	/* What is resolved here may be another object by then: that only delays logging a time. */
	if ((q->valid & (FF3_SET_MTIME | FF3_SET_MTIME_NOW)) && metad_files_dirty(m))
		e = metad_serve_walk_object(m, conn, r, &q->at);
	if (e == METAD_DB_ELSEWHERE)
		return;
	if (e >= 0 && metad_file_find(m, m->walk.inode.ino))
		log_times(m, conn, r, &q->tag, &rec, m->walk.inode.ino);
	else
		log_request(m, conn, r, &q->tag, &rec, 0);
}

/* Whether cutting inode to size leaves no chunk to be cut, and no end that was told before. */
static uint16_t cut_flags(struct metad *m, const struct metad_inode *inode, uint64_t size)
{
	struct metad_inode now = *inode;

	metad_file_overlay(m, &now);
	return now.size <= size && !metad_file_is_truncating(m, now.ino) && !metad_is_young(m) ?
		       METAD_RECORD_NO_CUT :
		       0;
}

/* Logs an open that may make a file in dir. */
static void log_create(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		       const struct ff3_req_open *q, const struct metad_inode *dir)
{
	uint32_t chains[WIDTH_MAX], chunk_size, width;
	uint8_t pin;
	struct metad_record rec = { .ino = m->next_ino };
	int e = apply_effective_layout(m->db, dir, &chunk_size, &width, &pin);

	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	rec.assigned.p = chains;
	rec.assigned.len = 4 * metad_routes_pick(m, chains, MIN(width, WIDTH_MAX));
	rec.seed = (uint32_t)metad_hash(m->instance, &rec.ino, sizeof rec.ino);
	if (rec.assigned.len == 0) {
		/* No chunk daemon has ever come: one may be about to. */
		metad_reply_status(m, r, -EAGAIN);
		return;
	}
	m->next_ino++;
	log_request(m, conn, r, &q->tag, &rec, q->flags);
}

static void open_existing(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			  const struct ff3_req_open *q, struct metad_inode *inode)
{
	bool write = q->flags & (FF3_OPEN_WRITE | FF3_OPEN_APPEND);
	struct ff3_rep_open p = { 0 };
	struct metad_reader reader;
	uint8_t cap[FF3_CAP_MAX];
	int e;

	if (metad_file_is_truncating(m, inode->ino)) {
		e = metad_file_park_request(m, inode->ino, r);
		if (e < 0)
			metad_reply_status(m, r, e);
		return;
	}
	e = metad_file_layout(m->db, inode, &p.layout);
	if (e >= 0)
		e = metad_session_open(m, conn->session, inode->ino, write, &q->tag);
	if (e >= 0)
		e = metad_file_hold_parent(m, inode);
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	reader = metad_reader_of(&conn->cred, inode);
	if (q->flags & FF3_OPEN_READ)
		metad_session_set_granted(conn->session, inode->ino, reader);
	p.cap = metad_caps_at_open(m, inode, conn->session_id, reader, q->flags, cap);
	metad_file_overlay(m, inode);
	metad_inode_attr(inode, &p.attr);
	FF3_REQUEST_REPLY(r, open, &p);
}

void serve_open(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		const struct ff3_req_open *q)
{
	bool create = q->flags & FF3_OPEN_CREATE, exclusive = q->flags & FF3_OPEN_EXCLUSIVE;
	bool changes = q->flags & (FF3_OPEN_CREATE | FF3_OPEN_TRUNCATE | FF3_OPEN_TMPFILE);
	struct metad_walk *w = &m->walk;
	struct metad_record rec = { 0 };
	unsigned flags = create ? METAD_WALK_ABSENT : 0;
	int e;

	if (create && exclusive)
		flags |= METAD_WALK_PARENT;
	else if (!(q->at.flags & FF3_PATH_NOFOLLOW))
		flags |= METAD_WALK_FOLLOW;
	e = metad_serve_walk(m, conn, r, &q->at, flags);
	if (e == METAD_DB_ELSEWHERE)
		return;
	if (e >= 0 && (q->flags & FF3_OPEN_TMPFILE)) {
		log_create(m, conn, r, q, &w->inode);
		return;
	}
	if (e >= 0 && w->inode.ino == 0) {
		log_create(m, conn, r, q, &w->dir);
		return;
	}
	if (changes && may_be_repeated(conn, &q->tag)) {
		log_plain(m, conn, r, &q->tag);
		return;
	}
	if (e >= 0 && (q->at.flags & FF3_PATH_DIRECTORY) && !S_ISDIR(w->inode.mode) && !create)
		e = -ENOTDIR;
	if (e >= 0)
		e = metad_may_open(&conn->cred, &w->inode, q->flags);
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	if ((q->flags & FF3_OPEN_TRUNCATE) && S_ISREG(w->inode.mode)) {
		e = metad_append_settle(m, w->inode.ino, conn->session_id, q->tag.acked);
		if (e < 0) {
			metad_reply_status(m, r, e);
			return;
		}
		rec.flags = cut_flags(m, &w->inode, 0);
		log_request(m, conn, r, &q->tag, &rec, q->flags);
		return;
	}
	open_existing(m, conn, r, q, &w->inode);
}

void serve_truncate(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_req_truncate *q)
{
	struct metad_record rec = { 0 };
	int e;

	if (q->by_open && (q->at.path.len > 0 ||
			   !metad_session_has_open(m, conn->session, q->at.dir, true))) {
		metad_reply_status(m, r, -EBADF);
		return;
	}
	e = metad_serve_walk_object(m, conn, r, &q->at);
	if (e == METAD_DB_ELSEWHERE)
		return;
	if (e < 0 && !may_be_repeated(conn, &q->tag)) {
		metad_reply_status(m, r, e);
		return;
	}
	if (e >= 0)
		e = metad_append_settle(m, m->walk.inode.ino, conn->session_id, q->tag.acked);
	if (e == -EAGAIN) {
		metad_reply_status(m, r, e);
		return;
	}
	if (e >= 0)
		rec.flags = cut_flags(m, &m->walk.inode, q->size);
	log_request(m, conn, r, &q->tag, &rec, 0);
}

void serve_commit(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_commit *q)
{
	struct metad_size_update u;
	struct metad_record rec = { .assigned = { &u, sizeof u } };
	struct metad_inode inode;
	struct ff3_rep_commit p;
	int e = metad_session_has_open(m, conn->session, q->ino, false) ? 0 : -EBADF;

	if (e >= 0 && metad_file_is_truncating(m, q->ino)) {
		e = metad_file_park_request(m, q->ino, r);
		if (e >= 0)
			return;
	}
	if (e >= 0)
		e = metad_append_settle(m, q->ino, conn->session_id, q->tag.acked);
	if (e >= 0)
		e = metad_db_get_inode(m->db, q->ino, &inode);
	e = e < 0 ? e : e == 0 ? -ESTALE : q->end > FF3_FILE_SIZE_MAX ? -EFBIG : 0;
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	if (metad_file_update(m, &inode, q->again && q->cuts != inode.truncs ? 0 : q->end, &u)) {
		u.kill_mode |= q->sparse ? METAD_UPDATE_SPARSE : 0;
		log_request(m, conn, r, &q->tag, &rec, 0);
		return;
	}
	/* Nothing was written since it was logged last. */
	metad_inode_attr(&inode, &p.attr);
	FF3_REQUEST_REPLY(r, commit, &p);
}
