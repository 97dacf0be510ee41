/* Purpose: opening with making, cutting, or without a name; truncate; commit of sizes.
 * Threads: the owner of the database. */
#include "apply.h"

/* Cuts inode to size (or lets it grow) and notes that the chunk daemons have to follow. */
static int cut(struct metad_apply *a, struct metad_inode *inode, uint64_t size)
{
	bool no_cut = (a->rec->flags & METAD_RECORD_NO_CUT) && size >= inode->size;
	uint64_t cut_size = size, old_size = inode->size, pending_size, pending_old;
	int r;

	inode->sparse |= size > inode->size;
	inode->size = size;
	inode->mtime = inode->ctime = a->now;
	if (a->rec->cred.uid != 0)
		inode->mode &= ~metad_mode_kills(&a->rec->cred, inode);
	if (!no_cut) {
		inode->generation++;
		inode->truncs++;
	}
	r = metad_db_put_inode(a->db, inode);
	if (r < 0 || no_cut)
		return r;
	r = metad_db_get_truncation(a->db, inode->ino, &pending_size, &pending_old);
	if (r < 0)
		return r;
	if (r > 0) {
		cut_size = MIN(cut_size, pending_size);
		old_size = MAX(old_size, pending_old);
	}
	a->effects.truncated = true;
	return metad_db_put_truncation(a->db, inode->ino, cut_size, old_size);
}

static int give_layout(struct metad_apply *a, const struct metad_inode *dir,
		       struct metad_inode *inode)
{
	struct ff3_blob chains = a->rec->assigned;
	uint32_t width;
	int r = apply_effective_layout(a->db, dir, &inode->chunk_size, &width, &inode->pin);

	if (r < 0)
		return r;
	if (chains.len == 0)
		return -EAGAIN;
	chains.len = MIN(chains.len, 4 * width);
	inode->seed = a->rec->seed;
	return metad_db_intern_stripe(a->db, chains, &inode->stripe);
}

static int reply_open(struct metad_apply *a, const struct metad_inode *inode, bool created,
		      struct ff3_rep_open *p)
{
	metad_inode_attr(inode, &p->attr);
	p->created = created;
	a->effects.ino = inode->ino;
	a->effects.created = created;
	return metad_file_layout(a->db, inode, &p->layout);
}

static int make_file(struct metad_apply *a, struct metad_inode *dir, struct ff3_str name,
		     const struct ff3_req_open *q, struct ff3_rep_open *p)
{
	struct metad_inode inode = apply_new_inode(a, dir, S_IFREG | (q->mode & 07777));
	int r = apply_may_create(a, dir);

	if (r >= 0)
		r = give_layout(a, dir, &inode);
	if (r >= 0)
		r = apply_add_name(a, dir, name, &inode);
	if (r >= 0)
		r = metad_db_add_inode(a->db, &inode);
	return r < 0 ? r : reply_open(a, &inode, true, p);
}

/* name_hash 0 tells that it may still be given a name, 1 that it may not. */
static int make_nameless(struct metad_apply *a, const struct ff3_req_open *q,
			 struct ff3_rep_open *p)
{
	struct metad_inode inode, *dir = &a->walk[0].inode;
	int r = apply_walk_object(a, 0, &q->at);

	if (r < 0)
		return r;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	r = apply_may_create(a, dir);
	if (r < 0)
		return r;
	inode = apply_new_inode(a, dir, S_IFREG | (q->mode & 07777));
	inode.nlink = 0;
	inode.name_hash = (q->flags & FF3_OPEN_EXCLUSIVE) ? 1 : 0;
	r = give_layout(a, dir, &inode);
	if (r >= 0)
		r = metad_db_add_inode(a->db, &inode);
	if (r >= 0)
		r = metad_db_add_orphan(a->db, inode.ino, 0);
	if (r < 0)
		return r;
	a->effects.orphans[a->effects.n_orphans++] = inode.ino;
	return reply_open(a, &inode, true, p);
}

int apply_open(struct metad_apply *a, const struct ff3_req_open *q, struct ff3_rep_open *p)
{
	bool create = q->flags & FF3_OPEN_CREATE, exclusive = q->flags & FF3_OPEN_EXCLUSIVE;
	unsigned flags = create ? METAD_WALK_ABSENT : 0;
	struct metad_walk *w = &a->walk[0];
	int r;

	if (q->flags & FF3_OPEN_TMPFILE)
		return make_nameless(a, q, p);
	if (create && exclusive)
		flags |= METAD_WALK_PARENT;
	else if (!(q->at.flags & FF3_PATH_NOFOLLOW))
		flags |= METAD_WALK_FOLLOW;
	r = apply_walk(a, 0, &q->at, flags);
	if (r < 0)
		return r;
	if (w->inode.ino == 0)
		return make_file(a, &w->dir, w->name, q, p);
	if (create && exclusive)
		return -EEXIST;
	if ((q->at.flags & FF3_PATH_DIRECTORY) && !S_ISDIR(w->inode.mode))
		return -ENOTDIR;
	r = metad_may_open(&a->rec->cred, &w->inode, q->flags);
	if (r >= 0 && (q->flags & FF3_OPEN_TRUNCATE) && S_ISREG(w->inode.mode))
		r = cut(a, &w->inode, 0);
	return r < 0 ? r : reply_open(a, &w->inode, false, p);
}

int apply_truncate(struct metad_apply *a, const struct ff3_req_truncate *q,
		   struct ff3_rep_truncate *p)
{
	struct metad_inode *inode = &a->walk[0].inode;
	int r = apply_walk_object(a, 0, &q->at);

	if (r < 0)
		return r;
	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (!S_ISREG(inode->mode))
		return -EINVAL;
	if (!q->by_open) {
		r = metad_permission(&a->rec->cred, inode, METAD_MAY_WRITE);
		if (r < 0)
			return r;
	}
	if (q->size > FF3_FILE_SIZE_MAX)
		return -EFBIG;
	r = cut(a, inode, q->size);
	if (r < 0)
		return r;
	a->effects.ino = inode->ino;
	metad_inode_attr(inode, &p->attr);
	return 0;
}

/* writer: who has written, or NULL if u says all there is to say. */
static int update_size(struct metad_apply *a, const struct metad_size_update *u,
		       const struct metad_cred *writer, struct metad_inode *inode)
{
	int r = metad_db_get_inode(a->db, u->ino, inode);

	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	if (writer && writer->uid != 0 && S_ISREG(inode->mode) && metad_mode_kills(writer, inode)) {
		inode->mode &= ~metad_mode_kills(writer, inode);
		inode->ctime = a->now;
		r = metad_db_put_inode(a->db, inode);
		if (r < 0)
			return r;
	}
	if (!S_ISREG(inode->mode) || u->truncs != inode->truncs)
		return 0;
	inode->size = MAX(inode->size, MIN(u->size, FF3_FILE_SIZE_MAX));
	if (u->mtime != 0) {
		inode->mtime = u->mtime;
		inode->ctime = MAX(inode->ctime, u->mtime);
	}
	inode->mode &= ~(u->kill_mode & (S_ISUID | S_ISGID));
	inode->sparse |= (u->kill_mode & METAD_UPDATE_SPARSE) != 0;
	return metad_db_put_inode(a->db, inode);
}

int apply_commit(struct metad_apply *a, const struct ff3_req_commit *q, struct ff3_rep_commit *p)
{
	struct metad_size_update u = { .ino = q->ino, .truncs = UINT32_MAX };
	struct metad_inode inode;
	int r;

	if (a->rec->assigned.len == sizeof u)
		memcpy(&u, a->rec->assigned.p, sizeof u);
	r = update_size(a, &u, &a->rec->cred, &inode);
	if (r < 0)
		return r;
	a->effects.ino = inode.ino;
	metad_inode_attr(&inode, &p->attr);
	return 0;
}

int apply_append(struct metad_apply *a, const struct ff3_req_append *q, struct ff3_rep_append *p)
{
	struct metad_size_update u;
	struct metad_inode inode;
	int r;

	if (a->rec->assigned.len != sizeof u)
		return -ECANCELED;
	memcpy(&u, a->rec->assigned.p, sizeof u);
	r = update_size(a, &u, NULL, &inode);
	if (r < 0)
		return r;
	a->effects.ino = q->ino;
	p->size = inode.size;
	p->cuts = inode.truncs;
	return 0;
}

int apply_log_append_held(struct metad_apply *a)
{
	struct metad_append_held h;
	struct metad_inode inode;
	struct ff3_rep_append p;

	if (a->rec->payload.len != sizeof h)
		return -EPROTO;
	memcpy(&h, a->rec->payload.p, sizeof h);
	a->status = update_size(a, &h.update, NULL, &inode);
	if (a->status >= 0) {
		p = (struct ff3_rep_append){ .size = inode.size, .cuts = inode.truncs };
		a->reply_len = ff3_encode_rep_append(a->reply, sizeof a->reply, &p);
	}
	if (metad_db_error(a->db) < 0)
		return metad_db_error(a->db);
	return apply_store_answer(a, &(struct ff3_tag){ .seq = h.seq });
}

int apply_log_set_sizes(struct metad_apply *a)
{
	const struct ff3_blob *all = &a->rec->payload;

	for (uint32_t at = 0; at + sizeof(struct metad_size_update) <= all->len;
	     at += sizeof(struct metad_size_update)) {
		struct metad_size_update u;
		struct metad_inode inode;

		memcpy(&u, (const uint8_t *)all->p + at, sizeof u);
		if (update_size(a, &u, NULL, &inode) < 0 && metad_db_error(a->db) < 0)
			return metad_db_error(a->db);
	}
	return 0;
}
