/* Purpose: which leases an operation touches: those of the directories that it changes, or that hold a
 * file whose attributes it changes. Nothing but what a look at the names says: an operation that will
 * fail has none.
 *
 * The removal of a whole tree touches all of them. Then none is granted where it may still be found, which is
 * below an open directory of it; so that taking it down touches none.
 *
 * An operation that is not in the list touches all of them, so that one that is added and forgotten
 * here is slow, and not wrong.
 *
 * Threads: the loop's. */
#include "lease.h"

static void add(struct metad_lease_set *set, uint64_t dir)
{
	for (uint32_t i = 0; i < set->n; i++)
		if (set->dirs[i] == dir)
			return;
	if (set->n == METAD_LEASE_SET)
		set->all = true;
	else
		set->dirs[set->n++] = dir;
}

/* A directory's attributes go with its own lease, another object's with that of its directory. */
static void add_object(struct metad_lease_set *set, const struct metad_inode *inode)
{
	add(set, S_ISDIR(inode->mode) ? inode->ino : inode->parent);
}

void metad_lease_set_of_inode(const struct metad_inode *inode, struct metad_lease_set *ret)
{
	*ret = (struct metad_lease_set){ 0 };
	add_object(ret, inode);
}

struct question {
	struct metad *m;
	struct metad_walk *w;
	const struct metad_cred *cred;
	struct metad_lease_set *set;
};

static void object(const struct question *k, const struct ff3_path *at)
{
	if (metad_walk_object(k->m->db, k->cred, at, k->w) >= 0)
		add_object(k->set, &k->w->inode);
}

static bool place(const struct question *k, const struct ff3_path *at)
{
	return metad_walk(k->m->db, k->cred, at, METAD_WALK_PARENT | METAD_WALK_LATE, k->w) >= 0 &&
	       k->w->last == METAD_LAST_NAME;
}

static void make(const struct question *k, const struct ff3_path *at)
{
	if (place(k, at) && k->w->inode.ino == 0)
		add(k->set, k->w->dir.ino);
}

/* What is there, if anything, and the directory that it is in. */
static void change_name(const struct question *k, const struct ff3_path *at)
{
	if (!place(k, at))
		return;
	add(k->set, k->w->dir.ino);
	if (k->w->inode.ino != 0)
		add_object(k->set, &k->w->inode);
}

static void of_open(const struct question *k, const struct ff3_req_open *q)
{
	bool create = q->flags & FF3_OPEN_CREATE, exclusive = q->flags & FF3_OPEN_EXCLUSIVE;
	unsigned flags = create ? METAD_WALK_ABSENT : 0;

	if (q->flags & FF3_OPEN_TMPFILE)
		return;
	if (create && exclusive)
		flags |= METAD_WALK_PARENT;
	else if (!(q->at.flags & FF3_PATH_NOFOLLOW))
		flags |= METAD_WALK_FOLLOW;
	if (metad_walk(k->m->db, k->cred, &q->at, flags, k->w) < 0)
		return;
	if (k->w->inode.ino == 0)
		add(k->set, k->w->dir.ino);
	else if (q->flags & FF3_OPEN_TRUNCATE)
		add_object(k->set, &k->w->inode);
}

/* What is noted of a file in memory is seen already, and nobody keeps such a file's attributes. */
static void of_size(const struct question *k, uint64_t ino)
{
	struct metad_inode inode;

	if (!metad_file_is_dirty(k->m, ino) && metad_db_get_inode(k->m->db, ino, &inode) > 0)
		add_object(k->set, &inode);
}

static void of_sizes(const struct question *k, struct ff3_blob all)
{
	for (uint32_t at = 0; at + sizeof(struct metad_size_update) <= all.len;
	     at += sizeof(struct metad_size_update)) {
		struct metad_size_update u;

		memcpy(&u, (const uint8_t *)all.p + at, sizeof u);
		of_size(k, u.ino);
	}
}

static void of_held(const struct question *k, struct ff3_blob payload)
{
	struct metad_append_held h;

	if (payload.len != sizeof h)
		return;
	memcpy(&h, payload.p, sizeof h);
	of_size(k, h.update.ino);
}

/* Runs `what` on the decoded request; one that does not decode fails. */
#define CASE(op, what)                                                                             \
	case FF3_OP_##op: {                                                                        \
		struct ff3_req_##op q;                                                             \
		if (ff3_decode_req_##op(payload.p, payload.len, &q) >= 0) {                        \
			what;                                                                      \
		}                                                                                  \
		return;                                                                            \
	}

void metad_lease_set_of(struct metad *m, struct metad_walk *walk, uint16_t op,
			const struct metad_cred *cred, struct ff3_blob payload,
			struct metad_lease_set *ret)
{
	const struct question k = { m, walk, cred, ret };

	*ret = (struct metad_lease_set){ 0 };
	switch (op) {
	CASE(open, of_open(&k, &q))
	CASE(mkdir, make(&k, &q.at))
	CASE(mknod, make(&k, &q.at))
	CASE(symlink, make(&k, &q.at))
	CASE(unlink, change_name(&k, &q.at))
	CASE(rmdir, change_name(&k, &q.at))
	CASE(rename, change_name(&k, &q.from); change_name(&k, &q.to))
	CASE(link, object(&k, &q.from); make(&k, &q.to))
	CASE(setattr, object(&k, &q.at))
	CASE(setxattr, object(&k, &q.at))
	CASE(removexattr, object(&k, &q.at))
	CASE(set_layout, object(&k, &q.at))
	CASE(truncate, object(&k, &q.at))
	CASE(commit, of_size(&k, q.ino))
	CASE(append, of_size(&k, q.ino))
	case METAD_OP_append_held:
		of_held(&k, payload);
		return;
	case METAD_OP_set_sizes:
		of_sizes(&k, payload);
		return;
	case METAD_OP_take_down: /* where no lease is: serve_lease.c sees to that */
	case FF3_OP_register_node:
	case METAD_OP_start:
	case METAD_OP_collect:
	case METAD_OP_garbage_done:
	case METAD_OP_truncation_done:
	case METAD_OP_expire_sessions:
	case METAD_OP_target_state:
	case METAD_OP_note_sessions:
	case METAD_OP_drop_lockers:
		return;
	default:
		ret->all = true;
	}
}
