/* Purpose: chmod, chown, utimens. The rules are those of Linux, in the order in which it checks.
 * Threads: the owner of the database. */
#include "apply.h"

#define TIMES (FF3_SET_ATIME | FF3_SET_MTIME | FF3_SET_ATIME_NOW | FF3_SET_MTIME_NOW)

static int may_chown(const struct metad_cred *cred, const struct metad_inode *inode,
		     const struct ff3_req_setattr *q)
{
	bool owner = cred->uid == inode->uid;

	if (cred->uid == 0)
		return 0;
	if ((q->valid & FF3_SET_UID) && !(owner && q->uid == inode->uid))
		return -EPERM;
	if ((q->valid & FF3_SET_GID) &&
	    !(owner && (q->gid == inode->gid || metad_in_group(cred, q->gid))))
		return -EPERM;
	return 0;
}

/* Setting both to now is what write permission allows; anything else is the owner's. */
static int may_set_times(const struct metad_cred *cred, const struct metad_inode *inode,
			 uint32_t valid)
{
	if (metad_is_owner(cred, inode))
		return 0;
	if ((valid & TIMES) == (FF3_SET_ATIME_NOW | FF3_SET_MTIME_NOW))
		return metad_permission(cred, inode, METAD_MAY_WRITE);
	return -EPERM;
}

static int check(const struct metad_cred *cred, const struct metad_inode *inode,
		 const struct ff3_req_setattr *q)
{
	int r = may_chown(cred, inode, q);

	if (r >= 0 && (q->valid & FF3_SET_MODE)) {
		if (S_ISLNK(inode->mode))
			return -EOPNOTSUPP;
		if (!metad_is_owner(cred, inode))
			return -EPERM;
	}
	if (r >= 0 && (q->valid & TIMES))
		r = may_set_times(cred, inode, q->valid);
	return r;
}

static void set_owner_and_mode(const struct metad_cred *cred, struct metad_inode *inode,
			       const struct ff3_req_setattr *q)
{
	/* chown of nobody and no group takes the bits as well. */
	if (q->valid == 0 || (q->valid & (FF3_SET_UID | FF3_SET_GID)))
		inode->mode &= ~metad_mode_kills(cred, inode);
	if (q->valid & FF3_SET_UID)
		inode->uid = q->uid;
	if (q->valid & FF3_SET_GID)
		inode->gid = q->gid;
	if (q->valid & FF3_SET_MODE) {
		inode->mode = (inode->mode & S_IFMT) | (q->mode & 07777);
		if (cred->uid != 0 && !metad_in_group(cred, inode->gid))
			inode->mode &= ~(uint32_t)S_ISGID;
	}
}

int apply_setattr(struct metad_apply *a, const struct ff3_req_setattr *q, struct ff3_rep_setattr *p)
{
	const struct metad_cred *cred = &a->rec->cred;
	struct metad_inode *inode = &a->walk[0].inode;
	int64_t atime = 0, mtime = 0;
	int r = apply_walk_object(a, 0, &q->at);

	if (r >= 0 && (q->valid & FF3_SET_ATIME))
		r = metad_time_from_wire(&q->atime, &atime);
	if (r >= 0 && (q->valid & FF3_SET_MTIME))
		r = metad_time_from_wire(&q->mtime, &mtime);
	if (r >= 0)
		r = check(cred, inode, q);
	if (r < 0)
		return r;
	set_owner_and_mode(cred, inode, q);
	a->effects.owner_set = q->valid == 0 ||
			       (q->valid & (FF3_SET_MODE | FF3_SET_UID | FF3_SET_GID));
	if (q->valid & FF3_SET_ATIME)
		inode->atime = atime;
	if (q->valid & FF3_SET_MTIME)
		inode->mtime = mtime;
	if (q->valid & FF3_SET_ATIME_NOW)
		inode->atime = a->now;
	if (q->valid & FF3_SET_MTIME_NOW)
		inode->mtime = a->now;
	if (a->effects.owner_set)
		inode->generation++;
	inode->ctime = a->now;
	r = metad_db_put_inode(a->db, inode);
	if (r < 0)
		return r;
	a->effects.ino = inode->ino;
	a->effects.times_set = q->valid & (FF3_SET_MTIME | FF3_SET_MTIME_NOW);
	metad_inode_attr(inode, &p->attr);
	return 0;
}
