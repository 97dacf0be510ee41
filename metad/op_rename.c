/* Purpose: rename, with NOREPLACE and EXCHANGE. Checks are in the order of Linux' do_renameat2
 * and vfs_rename.
 * Threads: the owner of the database. */
#include "apply.h"

enum { NOREPLACE = 1, EXCHANGE = 2 };

/* Is ino dir or one of the directories above it? */
static int is_above(struct metad_apply *a, uint64_t ino, const struct metad_inode *dir)
{
	struct metad_inode at = *dir;

	while (at.ino != ino) {
		int r;

		if (at.ino == FF3_ROOT_INO)
			return 0;
		r = metad_db_get_inode(a->db, at.parent, &at);
		if (r <= 0)
			return r;
	}
	return 1;
}

/* Everything that needs no permission: what is where. 1: nothing to do. */
static int check_shape(struct metad_apply *a, const struct metad_walk *from,
		       const struct metad_walk *to, uint32_t flags)
{
	int r;

	if (from->last != METAD_LAST_NAME)
		return -EBUSY;
	if (to->last != METAD_LAST_NAME)
		return (flags & NOREPLACE) ? -EEXIST : -EBUSY;
	if (from->late < 0 || from->inode.ino == 0)
		return from->late < 0 ? from->late : -ENOENT;
	if (to->late < 0)
		return to->late;
	if ((flags & NOREPLACE) && to->inode.ino != 0)
		return -EEXIST;
	if ((flags & EXCHANGE) && to->inode.ino == 0)
		return -ENOENT;
	if ((flags & EXCHANGE) && !S_ISDIR(to->inode.mode) && to->slash)
		return -ENOTDIR;
	if (!S_ISDIR(from->inode.mode) && (from->slash || (!(flags & EXCHANGE) && to->slash)))
		return -ENOTDIR;
	r = S_ISDIR(from->inode.mode) ? is_above(a, from->inode.ino, &to->dir) : 0;
	if (r != 0)
		return r < 0 ? r : -EINVAL;
	r = S_ISDIR(to->inode.mode) ? is_above(a, to->inode.ino, &from->dir) : 0;
	if (r != 0)
		return r < 0 ? r : (flags & EXCHANGE) ? -EINVAL : -ENOTEMPTY;
	return from->inode.ino == to->inode.ino;
}

static int check_permission(struct metad_apply *a, const struct metad_walk *from,
			    const struct metad_walk *to, uint32_t flags)
{
	const struct metad_cred *cred = &a->rec->cred;
	bool from_is_dir = S_ISDIR(from->inode.mode), to_is_dir = S_ISDIR(to->inode.mode);
	int r = apply_may_delete(a, &from->dir, &from->inode, from_is_dir);

	if (r < 0)
		return r;
	if (to->dir.nlink == 0 || ((flags & EXCHANGE) && from->dir.nlink == 0))
		return -ENOENT; /* being removed */
	if (to->inode.ino == 0)
		r = apply_may_create(a, &to->dir);
	else
		r = apply_may_delete(a, &to->dir, &to->inode,
				     (flags & EXCHANGE) ? to_is_dir : from_is_dir);
	/* A directory that moves gets another "..": that is a change of itself. */
	if (r >= 0 && from->dir.ino != to->dir.ino && from_is_dir)
		r = metad_permission(cred, &from->inode, METAD_MAY_WRITE);
	if (r >= 0 && from->dir.ino != to->dir.ino && to_is_dir && (flags & EXCHANGE))
		r = metad_permission(cred, &to->inode, METAD_MAY_WRITE);
	if (r >= 0 && to_is_dir && !(flags & EXCHANGE)) {
		r = metad_db_dir_is_empty(a->db, to->inode.ino);
		if (r == 0)
			r = -ENOTEMPTY;
	}
	return r < 0 ? r : 0;
}

/* inode is now what name in dir names. */
static int moved(struct metad_apply *a, struct metad_inode *inode, const struct metad_inode *dir,
		 struct ff3_str name)
{
	inode->parent = dir->ino;
	inode->name_hash = metad_name_hash(dir->ino, name);
	inode->ctime = a->now;
	return metad_db_put_inode(a->db, inode);
}

static int put_dirs(struct metad_apply *a, struct metad_walk *from, struct metad_walk *to,
		    int from_links, int to_links)
{
	struct metad_inode *to_dir = from->dir.ino == to->dir.ino ? &from->dir : &to->dir;
	int r;

	apply_count_subdir(&from->dir, from_links);
	apply_count_subdir(to_dir, to_links);
	from->dir.mtime = from->dir.ctime = a->now;
	to_dir->mtime = to_dir->ctime = a->now;
	r = metad_db_put_inode(a->db, &from->dir);
	if (r >= 0 && to_dir != &from->dir)
		r = metad_db_put_inode(a->db, to_dir);
	return r;
}

static int exchange(struct metad_apply *a, struct metad_walk *from, struct metad_walk *to)
{
	int change = (S_ISDIR(to->inode.mode) ? 1 : 0) - (S_ISDIR(from->inode.mode) ? 1 : 0);
	int r = metad_db_set_dentry(a->db, to->dir.ino, to->name, from->inode.ino,
				    metad_dirent_type(from->inode.mode));

	if (r >= 0)
		r = metad_db_set_dentry(a->db, from->dir.ino, from->name, to->inode.ino,
					metad_dirent_type(to->inode.mode));
	if (r >= 0)
		r = put_dirs(a, from, to, change, -change);
	if (r >= 0)
		r = moved(a, &from->inode, &to->dir, to->name);
	if (r >= 0)
		r = moved(a, &to->inode, &from->dir, from->name);
	return r;
}

static int move(struct metad_apply *a, struct metad_walk *from, struct metad_walk *to)
{
	bool replace = to->inode.ino != 0;
	int is_dir = S_ISDIR(from->inode.mode) ? 1 : 0;
	int r = metad_db_del_dentry(a->db, from->dir.ino, from->name);

	if (r >= 0 && replace)
		r = metad_db_set_dentry(a->db, to->dir.ino, to->name, from->inode.ino,
					metad_dirent_type(from->inode.mode));
	else if (r >= 0)
		r = metad_db_add_dentry(a->db, to->dir.ino, to->name, from->inode.ino,
					metad_dirent_type(from->inode.mode));
	if (r >= 0)
		r = put_dirs(a, from, to, -is_dir, replace ? 0 : is_dir);
	if (r >= 0)
		r = moved(a, &from->inode, &to->dir, to->name);
	if (r >= 0 && replace)
		r = apply_drop_link(a, &to->inode);
	return r;
}

int apply_rename(struct metad_apply *a, const struct ff3_req_rename *q, struct ff3_rep_rename *p)
{
	struct metad_walk *from = &a->walk[0], *to = &a->walk[1];
	int r;

	if ((q->flags & ~(uint32_t)(NOREPLACE | EXCHANGE)) ||
	    (q->flags & (NOREPLACE | EXCHANGE)) == (NOREPLACE | EXCHANGE))
		return -EINVAL;
	r = apply_walk(a, 0, &q->from, METAD_WALK_PARENT | METAD_WALK_LATE);
	if (r >= 0)
		r = apply_walk(a, 1, &q->to, METAD_WALK_PARENT | METAD_WALK_LATE);
	if (r >= 0)
		r = check_shape(a, from, to, q->flags);
	if (r != 0)
		return r < 0 ? r : 0;
	r = check_permission(a, from, to, q->flags);
	if (r < 0)
		return r;
	return (q->flags & EXCHANGE) ? exchange(a, from, to) : move(a, from, to);
}
