/* Purpose: the operations that only read.
 * Threads: the loop's. */
#include <sys/stat.h>

#include "metad.h"
#include "readers.h"
#include "xattr.h"

#define OPENS_MAX 4096u /* inodes of a removal that are looked at for being open */

/* The object in m->walk.inode, as everybody sees it now. false: r was answered. */
static bool find(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_path *at)
{
	int e = metad_serve_walk_object(m, conn, r, at);

	if (e < 0) {
		metad_reply_status(m, r, e);
		return false;
	}
	metad_file_overlay(m, &m->walk.inode);
	return true;
}

void serve_hello(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		 const struct ff3_req_hello *q)
{
	ff3_request_fail(r, -EPROTO); /* the server handles the first; a second one is a mistake */
}

void serve_attach(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_attach *q)
{
	ff3_request_fail(r, -EPROTO); /* the server's as well */
}

/* Members' connections are not served as clients' are (serve.c). */
#define SERVE_MEMBERS_ONLY(op)                                                                     \
	void serve_##op(struct metad *m, struct metad_conn *conn, struct ff3_request *r,           \
			const struct ff3_req_##op *q)                                              \
	{                                                                                          \
		metad_reply_status(m, r, -EPERM);                                                  \
	}
SERVE_MEMBERS_ONLY(member)
SERVE_MEMBERS_ONLY(member_copy)
SERVE_MEMBERS_ONLY(member_copied)

void serve_ping(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		const struct ff3_req_ping *q)
{
	FF3_REQUEST_REPLY(r, ping, (&(struct ff3_rep_ping){ q->cookie }));
}

void serve_lookup(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_lookup *q)
{
	struct ff3_rep_lookup p;

	if (!find(m, conn, r, &q->at))
		return;
	metad_inode_attr(&m->walk.inode, &p.attr);
	FF3_REQUEST_REPLY(r, lookup, &p);
}

void serve_access(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_access *q)
{
	if (q->mask & ~7u) {
		metad_reply_status(m, r, -EINVAL);
		return;
	}
	if (find(m, conn, r, &q->at))
		metad_reply_status(m, r, metad_permission(&conn->cred, &m->walk.inode, q->mask));
}

void serve_readlink(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_req_readlink *q)
{
	struct ff3_path at = q->at;
	struct ff3_rep_readlink p;
	int e;

	at.flags |= FF3_PATH_NOFOLLOW;
	if (!find(m, conn, r, &at))
		return;
	if (!S_ISLNK(m->walk.inode.mode)) {
		metad_reply_status(m, r, -EINVAL);
		return;
	}
	e = metad_db_get_symlink(m->db, m->walk.inode.ino, m->walk.target, &p.target.len);
	if (e <= 0) {
		metad_reply_status(m, r, e < 0 ? e : -EIO);
		return;
	}
	p.target.p = m->walk.target;
	FF3_REQUEST_REPLY(r, readlink, &p);
}

void serve_statfs(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_statfs *q)
{
	const struct metad_meta *meta = metad_db_meta(m->db);
	struct ff3_rep_statfs p = { .inodes = meta->n_inodes, .fsid = meta->cluster };

	metad_routes_space(m, &p.capacity, &p.used);
	p.free = p.capacity - MIN(p.capacity, p.used);
	FF3_REQUEST_REPLY(r, statfs, &p);
}

void serve_getxattr(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_req_getxattr *q)
{
	struct ff3_rep_getxattr p;
	int e;

	if (!find(m, conn, r, &q->at))
		return;
	e = metad_may_xattr(&conn->cred, &m->walk.inode, q->name, false);
	if (e >= 0)
		e = metad_db_get_xattr(m->db, m->walk.inode.ino, q->name, &p.value);
	if (e <= 0)
		metad_reply_status(m, r, e < 0 ? e : -ENODATA);
	else
		FF3_REQUEST_REPLY(r, getxattr, &p);
}

struct names {
	uint8_t *p;
	uint32_t len;
	bool root;
};

static int add_name(void *arg, const void *name, uint32_t len)
{
	struct names *names = arg;

	if (!names->root && len >= 8 && memcmp(name, "trusted.", 8) == 0)
		return 0;
	if (names->len + len + 1 > FF3_BODY_MAX - 64)
		return -E2BIG;
	memcpy(names->p + names->len, name, len);
	names->p[names->len + len] = 0;
	names->len += len + 1;
	return 0;
}

void serve_listxattr(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		     const struct ff3_req_listxattr *q)
{
	struct names names = { .p = m->scratch, .root = conn->cred.uid == 0 };
	struct ff3_rep_listxattr p;
	int e;

	if (!find(m, conn, r, &q->at))
		return;
	e = metad_db_each_xattr(m->db, m->walk.inode.ino, add_name, &names);
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	p.names = (struct ff3_blob){ names.p, names.len };
	FF3_REQUEST_REPLY(r, listxattr, &p);
}

/* What a file made in a directory now would get. */
static int directory_layout(struct metad *m, const struct metad_inode *dir, struct ff3_layout *ret)
{
	uint32_t width, *chains = (uint32_t *)m->scratch;
	int r = apply_effective_layout(m->db, dir, &ret->chunk_size, &width, &ret->pin);

	if (r < 0)
		return r;
	width = metad_routes_pick(m, chains, MIN(width, 1024u));
	ret->seed = 0;
	ret->stripe = (struct ff3_blob){ chains, 4 * width };
	return 0;
}

void serve_get_layout(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		      const struct ff3_req_get_layout *q)
{
	struct metad_inode *inode = &m->walk.inode;
	struct ff3_rep_get_layout p = { 0 };
	int e;

	if (!find(m, conn, r, &q->at))
		return;
	e = S_ISDIR(inode->mode) ? directory_layout(m, inode, &p.layout) :
	    S_ISREG(inode->mode) ? metad_file_layout(m->db, inode, &p.layout) :
				   -EINVAL;
	if (e < 0) {
		metad_reply_status(m, r, e);
		return;
	}
	p.own = S_ISREG(inode->mode) || inode->chunk_size != 0;
	metad_inode_attr(inode, &p.attr);
	FF3_REQUEST_REPLY(r, get_layout, &p);
}

void serve_routes(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		  const struct ff3_req_routes *q)
{
	struct ff3_rep_routes p = { .version = metad_db_meta(m->db)->routing_version };

	if (q->version != p.version)
		metad_routes_encode(m, &p, m->scratch, FF3_BODY_MAX - 64);
	FF3_REQUEST_REPLY(r, routes, &p);
}

struct removal_opens {
	struct metad *m;
	uint64_t root, n;
};

static int count_open(void *arg, uint64_t ino, uint64_t root, uint64_t b)
{
	struct removal_opens *o = arg;

	o->n += root == o->root && metad_is_open(o->m, ino);
	return 0;
}

/* What is open is looked for at the end only, when few are left. */
void serve_removal(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_removal *q)
{
	struct removal_opens opens = { .m = m, .root = q->removal };
	struct ff3_rep_removal p = { .state = FF3_REMOVAL_UNKNOWN };
	struct metad_removal removal;
	int e = metad_db_get_removal(m->db, q->removal, &removal);

	if (e > 0) {
		p = (struct ff3_rep_removal){
			.state = removal.ended ? FF3_REMOVAL_DONE : FF3_REMOVAL_RUNNING,
			.names = removal.names,
			.dirs = removal.dirs,
			.waiting = removal.waiting,
		};
		if (!removal.ended && removal.pending == 0 && removal.waiting <= OPENS_MAX)
			e = metad_db_each_orphan(m->db, 0, count_open, &opens);
		p.open = opens.n;
	}
	if (e < 0)
		metad_reply_status(m, r, e);
	else
		FF3_REQUEST_REPLY(r, removal, &p);
}

void serve_get_path(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		    const struct ff3_req_get_path *q)
{
	struct ff3_rep_get_path p;
	int e = metad_path_of(m->db, q->ino, m->walk.scratch[0], sizeof m->walk.scratch[0], &p.path);

	if (e < 0)
		metad_reply_status(m, r, e);
	else
		FF3_REQUEST_REPLY(r, get_path, &p);
}
