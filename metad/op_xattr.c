/* Purpose: setxattr and removexattr, and the rules for all four. user.* is for everybody on files
 * and directories, trusted.* for root; other namespaces (system.*, security.*: access control
 * lists, labels, capabilities) mean something to a kernel that is not asked here, so they are not kept.
 * Threads: the owner of the database. */
#include "xattr.h"

#include "apply.h"

#define MAX_XATTRS 1024 /* of one inode, so that their names fit a reply */

enum { XATTR_CREATE = 1, XATTR_REPLACE = 2 };

static bool begins(struct ff3_str name, const char *prefix)
{
	size_t n = strlen(prefix);

	return name.len >= n && memcmp(name.p, prefix, n) == 0;
}

int metad_may_xattr(const struct metad_cred *cred, const struct metad_inode *inode,
		    struct ff3_str name, bool write)
{
	bool user = begins(name, "user."), trusted = begins(name, "trusted.");

	if (name.len == 0 || name.len > FF3_XATTR_NAME_MAX || memchr(name.p, 0, name.len))
		return -ERANGE;
	if (trusted && cred->uid != 0)
		return write ? -EPERM : -ENODATA;
	if (user && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
		return write ? -EPERM : -ENODATA;
	if (user && write && S_ISDIR(inode->mode) && (inode->mode & S_ISVTX) &&
	    !metad_is_owner(cred, inode))
		return -EPERM;
	if (begins(name, "security."))
		return !write ? -ENODATA : cred->uid != 0 ? -EPERM : -EOPNOTSUPP;
	if (begins(name, "system."))
		return -EOPNOTSUPP;
	if (!trusted && metad_permission(cred, inode, write ? METAD_MAY_WRITE : METAD_MAY_READ) < 0)
		return -EACCES;
	if (!user && !trusted)
		return -EOPNOTSUPP;
	return name.len == (user ? 5 : 8) ? -EINVAL : 0;
}

static int count(void *arg, const void *name, uint32_t name_len)
{
	(*(unsigned *)arg)++;
	return 0;
}

int apply_setxattr(struct metad_apply *a, const struct ff3_req_setxattr *q,
		   struct ff3_rep_setxattr *p)
{
	struct metad_inode *inode = &a->walk[0].inode;
	struct ff3_blob old;
	unsigned n = 0;
	int r, exists;

	if ((q->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	if (q->value.len > FF3_XATTR_SIZE_MAX)
		return -E2BIG;
	r = apply_walk_object(a, 0, &q->at);
	if (r >= 0)
		r = metad_may_xattr(&a->rec->cred, inode, q->name, true);
	if (r < 0)
		return r;
	exists = metad_db_get_xattr(a->db, inode->ino, q->name, &old);
	if (exists < 0)
		return exists;
	if (exists && (q->flags & XATTR_CREATE))
		return -EEXIST;
	if (!exists && (q->flags & XATTR_REPLACE))
		return -ENODATA;
	r = exists ? 0 : metad_db_each_xattr(a->db, inode->ino, count, &n);
	if (r < 0)
		return r;
	if (n >= MAX_XATTRS)
		return -ENOSPC;
	inode->ctime = a->now;
	r = metad_db_set_xattr(a->db, inode->ino, q->name, q->value);
	return r < 0 ? r : metad_db_put_inode(a->db, inode);
}

int apply_removexattr(struct metad_apply *a, const struct ff3_req_removexattr *q,
		      struct ff3_rep_removexattr *p)
{
	struct metad_inode *inode = &a->walk[0].inode;
	struct ff3_blob old;
	int r = apply_walk_object(a, 0, &q->at);

	if (r >= 0)
		r = metad_may_xattr(&a->rec->cred, inode, q->name, true);
	if (r < 0)
		return r;
	r = metad_db_get_xattr(a->db, inode->ino, q->name, &old);
	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	inode->ctime = a->now;
	r = metad_db_del_xattr(a->db, inode->ino, q->name);
	return r < 0 ? r : metad_db_put_inode(a->db, inode);
}
