/* Purpose: making and removing names: mkdir, rmdir, unlink, link, symlink, mknod.
 * Threads: the owner of the database. */
#include "apply.h"

/* The place for a new name in a->walk[which]. as_dir: a trailing slash is fine. */
static int new_name(struct metad_apply *a, unsigned which, const struct ff3_path *at, bool as_dir)
{
	struct metad_walk *w = &a->walk[which];
	int r = apply_walk(a, which, at, METAD_WALK_PARENT);

	if (r < 0)
		return r;
	if (w->last != METAD_LAST_NAME || w->inode.ino != 0)
		return -EEXIST;
	return w->slash && !as_dir ? -ENOENT : 0;
}

int apply_mkdir(struct metad_apply *a, const struct ff3_req_mkdir *q, struct ff3_rep_mkdir *p)
{
	struct metad_walk *w = &a->walk[0];
	struct metad_inode inode;
	int r = new_name(a, 0, &q->at, true);

	if (r >= 0)
		r = apply_may_create(a, &w->dir);
	if (r < 0)
		return r;
	inode = apply_new_inode(a, &w->dir, S_IFDIR | (q->mode & 01777));
	r = apply_add_name(a, &w->dir, w->name, &inode);
	if (r >= 0)
		r = metad_db_add_inode(a->db, &inode);
	if (r < 0)
		return r;
	metad_inode_attr(&inode, &p->attr);
	return 0;
}

int apply_mknod(struct metad_apply *a, const struct ff3_req_mknod *q, struct ff3_rep_mknod *p)
{
	struct metad_walk *w = &a->walk[0];
	struct metad_inode inode;
	int r;

	if (!S_ISSOCK(q->mode) && !S_ISFIFO(q->mode))
		return -EPERM;
	r = new_name(a, 0, &q->at, false);
	if (r >= 0)
		r = apply_may_create(a, &w->dir);
	if (r < 0)
		return r;
	inode = apply_new_inode(a, &w->dir, q->mode & (S_IFMT | 07777));
	r = apply_add_name(a, &w->dir, w->name, &inode);
	if (r >= 0)
		r = metad_db_add_inode(a->db, &inode);
	if (r < 0)
		return r;
	metad_inode_attr(&inode, &p->attr);
	return 0;
}

int apply_symlink(struct metad_apply *a, const struct ff3_req_symlink *q,
		  struct ff3_rep_symlink *p)
{
	struct metad_walk *w = &a->walk[0];
	struct metad_inode inode;
	int r;

	if (q->target.len == 0)
		return -ENOENT;
	if (q->target.len >= FF3_PATH_MAX)
		return -ENAMETOOLONG;
	if (memchr(q->target.p, 0, q->target.len))
		return -EINVAL;
	r = new_name(a, 0, &q->at, false);
	if (r >= 0)
		r = apply_may_create(a, &w->dir);
	if (r < 0)
		return r;
	inode = apply_new_inode(a, &w->dir, S_IFLNK | 0777);
	inode.size = q->target.len;
	r = apply_add_name(a, &w->dir, w->name, &inode);
	if (r >= 0)
		r = metad_db_add_inode(a->db, &inode);
	if (r >= 0)
		r = metad_db_add_symlink(a->db, inode.ino, q->target);
	if (r < 0)
		return r;
	metad_inode_attr(&inode, &p->attr);
	return 0;
}

/* As Linux with fs.protected_hardlinks, Debian's default: whoever may not write a file may not
 * keep it alive with a link. */
static int may_link(const struct metad_cred *cred, const struct metad_inode *inode)
{
	if (metad_is_owner(cred, inode))
		return 0;
	if (!S_ISREG(inode->mode) || (inode->mode & S_ISUID) ||
	    (inode->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
	    metad_permission(cred, inode, METAD_MAY_READ | METAD_MAY_WRITE) < 0)
		return -EPERM;
	return 0;
}

int apply_link(struct metad_apply *a, const struct ff3_req_link *q, struct ff3_rep_link *p)
{
	struct metad_walk *w = &a->walk[1];
	struct metad_inode *inode = &a->walk[0].inode;
	uint64_t root;
	int r = apply_walk_object(a, 0, &q->from);

	if (r >= 0)
		r = new_name(a, 1, &q->to, false);
	if (r >= 0)
		r = may_link(&a->rec->cred, inode);
	if (r >= 0)
		r = apply_may_create(a, &w->dir);
	if (r < 0)
		return r;
	if (S_ISDIR(inode->mode))
		return -EPERM;
	if (inode->nlink == 0 && inode->name_hash != 0)
		return -ENOENT;
	if (inode->nlink == 0 && metad_db_del_orphan(a->db, inode->ino, &root) < 0)
		return metad_db_error(a->db);
	inode->nlink++;
	inode->ctime = a->now;
	r = apply_add_name(a, &w->dir, w->name, inode);
	if (r >= 0)
		r = metad_db_put_inode(a->db, inode);
	if (r < 0)
		return r;
	a->effects.ino = inode->ino;
	metad_inode_attr(inode, &p->attr);
	return 0;
}

static int remove_name(struct metad_apply *a, struct metad_walk *w)
{
	int r = metad_db_del_dentry(a->db, w->dir.ino, w->name);

	if (r < 0)
		return r;
	w->dir.mtime = w->dir.ctime = a->now;
	if (S_ISDIR(w->inode.mode))
		apply_count_subdir(&w->dir, -1);
	r = metad_db_put_inode(a->db, &w->dir);
	return r < 0 ? r : apply_drop_link(a, &w->inode);
}

int apply_unlink(struct metad_apply *a, const struct ff3_req_unlink *q, struct ff3_rep_unlink *p)
{
	struct metad_walk *w = &a->walk[0];
	int r = apply_walk(a, 0, &q->at, METAD_WALK_PARENT);

	if (r < 0)
		return r;
	if (w->last != METAD_LAST_NAME)
		return -EISDIR;
	if (w->inode.ino == 0)
		return -ENOENT;
	if (w->slash)
		return S_ISDIR(w->inode.mode) ? -EISDIR : -ENOTDIR;
	r = apply_may_delete(a, &w->dir, &w->inode, false);
	return r < 0 ? r : remove_name(a, w);
}

int apply_walk_directory(struct metad_apply *a, const struct ff3_path *at)
{
	struct metad_walk *w = &a->walk[0];
	int r = apply_walk(a, 0, at, METAD_WALK_PARENT);

	if (r < 0)
		return r;
	if (w->last == METAD_LAST_DOT)
		return -EINVAL;
	if (w->last == METAD_LAST_DOTDOT)
		return -ENOTEMPTY;
	if (w->last == METAD_LAST_ROOT)
		return -EBUSY;
	if (w->inode.ino == 0)
		return -ENOENT;
	return apply_may_delete(a, &w->dir, &w->inode, true);
}

int apply_rmdir(struct metad_apply *a, const struct ff3_req_rmdir *q, struct ff3_rep_rmdir *p)
{
	struct metad_walk *w = &a->walk[0];
	int r = apply_walk_directory(a, &q->at);

	if (r < 0)
		return r;
	r = metad_db_dir_is_empty(a->db, w->inode.ino);
	if (r <= 0)
		return r < 0 ? r : -ENOTEMPTY;
	return remove_name(a, w);
}
