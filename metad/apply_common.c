/* Purpose: what several operations share: who may do what, new objects, names, layouts.
 * Threads: the owner of the database. */
#include "apply.h"

static int reply_redirect(struct metad_apply *a, const struct metad_walk *w)
{
	struct ff3_redirect body = { .path = w->redirect };
	struct ff3_enc e = ff3_enc_init(a->reply, sizeof a->reply);

	ff3_put_redirect(&e, &body);
	if (e.over)
		return -ENAMETOOLONG;
	a->reply_len = e.len;
	return FF3_E_REDIRECT;
}

int apply_walk(struct metad_apply *a, unsigned which, const struct ff3_path *at, unsigned flags)
{
	struct metad_walk *w = &a->walk[which];
	int r = metad_walk(a->db, &a->rec->cred, at, flags, w);

	return r == FF3_E_REDIRECT ? reply_redirect(a, w) : r;
}

int apply_walk_object(struct metad_apply *a, unsigned which, const struct ff3_path *at)
{
	struct metad_walk *w = &a->walk[which];
	int r = metad_walk_object(a->db, &a->rec->cred, at, w);

	return r == FF3_E_REDIRECT ? reply_redirect(a, w) : r;
}

int apply_may_create(struct metad_apply *a, const struct metad_inode *dir)
{
	if (dir->nlink == 0)
		return -ENOENT;
	return metad_permission(&a->rec->cred, dir, METAD_MAY_WRITE | METAD_MAY_EXEC);
}

int apply_may_delete(struct metad_apply *a, const struct metad_inode *dir,
		     const struct metad_inode *victim, bool as_dir)
{
	const struct metad_cred *cred = &a->rec->cred;
	int r = metad_permission(cred, dir, METAD_MAY_WRITE | METAD_MAY_EXEC);

	if (r < 0)
		return r;
	if ((dir->mode & S_ISVTX) && !metad_is_owner(cred, victim) && !metad_is_owner(cred, dir))
		return -EPERM;
	if (as_dir)
		return S_ISDIR(victim->mode) ? 0 : -ENOTDIR;
	return S_ISDIR(victim->mode) ? -EISDIR : 0;
}

struct metad_inode apply_new_inode(struct metad_apply *a, const struct metad_inode *dir,
				   uint32_t mode)
{
	const struct metad_cred *cred = &a->rec->cred;
	struct metad_inode inode = {
		.ino = a->rec->ino,
		.generation = 1,
		.atime = a->now,
		.mtime = a->now,
		.ctime = a->now,
		.btime = a->now,
		.parent = dir->ino,
		.mode = mode,
		.uid = cred->uid,
		.gid = cred->gid,
		.nlink = S_ISDIR(mode) ? 2 : 1,
	};

	if (dir->mode & S_ISGID) {
		inode.gid = dir->gid;
		if (S_ISDIR(mode))
			inode.mode |= S_ISGID;
		else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && cred->uid != 0 &&
			 !metad_in_group(cred, dir->gid))
			inode.mode &= ~(uint32_t)S_ISGID;
	}
	return inode;
}

int apply_add_name(struct metad_apply *a, struct metad_inode *dir, struct ff3_str name,
		   struct metad_inode *inode)
{
	int r;

	inode->parent = dir->ino;
	inode->name_hash = metad_name_hash(dir->ino, name);
	r = metad_db_add_dentry(a->db, dir->ino, name, inode->ino, metad_dirent_type(inode->mode));
	if (r < 0)
		return r;
	dir->mtime = dir->ctime = a->now;
	if (S_ISDIR(inode->mode))
		dir->nlink++;
	return metad_db_put_inode(a->db, dir);
}

int apply_drop_link(struct metad_apply *a, struct metad_inode *inode)
{
	int r;

	inode->ctime = a->now;
	inode->nlink = S_ISDIR(inode->mode) ? 0 : inode->nlink - 1;
	if (inode->nlink == 0 && S_ISLNK(inode->mode))
		return metad_db_del_inode(a->db, inode);
	r = metad_db_put_inode(a->db, inode);
	if (r < 0 || inode->nlink > 0)
		return r;
	a->effects.orphans[a->effects.n_orphans++] = inode->ino;
	return metad_db_add_orphan(a->db, inode->ino, 0);
}

int apply_effective_layout(struct metad_db *db, const struct metad_inode *dir,
			   uint32_t *ret_chunk_size, uint32_t *ret_width, uint8_t *ret_pin)
{
	struct metad_inode at = *dir;

	while (at.chunk_size == 0) {
		int r = metad_db_get_inode(db, at.parent, &at);

		if (r == 0) /* of a directory that was removed, the one above too */
			r = metad_db_get_inode(db, FF3_ROOT_INO, &at);
		if (r < 0)
			return r;
		if (at.ino == FF3_ROOT_INO)
			break;
	}
	*ret_chunk_size = at.chunk_size ? at.chunk_size : FF3_CHUNK_SIZE_DEFAULT;
	*ret_width = at.stripe ? at.stripe : 1;
	*ret_pin = at.pin;
	return 0;
}

int metad_may_open(const struct metad_cred *cred, const struct metad_inode *inode, uint32_t flags)
{
	unsigned mask = 0;

	if (flags == 0) /* held only */
		return 0;
	if (flags & FF3_OPEN_READ)
		mask |= METAD_MAY_READ;
	if (flags & (FF3_OPEN_WRITE | FF3_OPEN_TRUNCATE))
		mask |= METAD_MAY_WRITE;
	if ((flags & FF3_OPEN_CREATE) && (flags & FF3_OPEN_EXCLUSIVE))
		return -EEXIST;
	if (S_ISDIR(inode->mode) && ((flags & FF3_OPEN_CREATE) || (mask & METAD_MAY_WRITE)))
		return -EISDIR;
	if (S_ISLNK(inode->mode))
		return -ELOOP;
	return metad_permission(cred, inode, mask);
}

int metad_file_layout(struct metad_db *db, const struct metad_inode *inode, struct ff3_layout *ret)
{
	struct ff3_layout layout = { .chunk_size = inode->chunk_size,
				     .seed = inode->seed,
				     .pin = inode->pin };

	if (S_ISREG(inode->mode) && metad_db_get_stripe(db, inode->stripe, &layout.stripe) <= 0)
		return -EIO;
	*ret = layout;
	return 0;
}
