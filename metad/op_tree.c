/* Purpose: removing whole trees: the name of the directory at the top goes at once (remove_tree);
 * what was below it goes in steps of a bounded size, each a record of its own (take_down), which
 * the primary logs one after the other, after a restart too.
 *
 * The caller must be allowed to do it one by one: for each directory that is not empty, to read it
 * and to change it, and not have to ask whose each entry is (a sticky directory of somebody else).
 * That is judged here, in the log's order, so there is no time between asking and doing.
 *
 * A directory that was reached has no links, so that nothing is made in it any more.
 *
 * Threads: the owner of the database. */
#include "apply.h"

/* Directories and entries that are looked at to judge a tree, at most: part of what the log means,
 * so never to be changed without a new record. */
#define JUDGE_MAX 65536u

/* --- May it be done ------------------------------------------------------------------------------ */

struct judge {
	uint64_t *dirs; /* to be looked at */
	size_t n, room;
	uint32_t n_seen;
	uint32_t n_subdirs; /* of the current one, still to be found */
};

static int on_entry(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
		    uint32_t name_len)
{
	struct judge *j = arg;

	if (++j->n_seen > JUDGE_MAX)
		return -E2BIG;
	if (type != metad_dirent_type(S_IFDIR))
		return 0;
	if (j->n == j->room) {
		size_t room = MAX(2 * j->room, (size_t)64);
		uint64_t *dirs = realloc(j->dirs, room * sizeof *dirs);

		if (!dirs)
			return -ENOMEM;
		j->dirs = dirs;
		j->room = room;
	}
	j->dirs[j->n++] = ino;
	return --j->n_subdirs == 0;
}

static int judge_directory(struct metad_apply *a, struct judge *j, uint64_t ino)
{
	const unsigned all = METAD_MAY_READ | METAD_MAY_WRITE | METAD_MAY_EXEC;
	struct metad_inode dir;
	int r = metad_db_get_inode(a->db, ino, &dir);

	if (r <= 0)
		return r;
	if (++j->n_seen > JUDGE_MAX)
		return -E2BIG;
	if (metad_permission(&a->rec->cred, &dir, all) < 0 ||
	    ((dir.mode & S_ISVTX) && !metad_is_owner(&a->rec->cred, &dir))) {
		r = metad_db_dir_is_empty(a->db, ino);
		return r < 0 ? r : r > 0 ? 0 : -EACCES;
	}
	if (dir.nlink <= 2)
		return 0;
	j->n_subdirs = dir.nlink - 2;
	r = metad_db_each_dentry(a->db, ino, 0, on_entry, j);
	return r < 0 ? r : 0;
}

static int may_remove(struct metad_apply *a, uint64_t top)
{
	struct judge j = { .n_subdirs = 1 };
	int r = 0;

	if (a->rec->cred.uid == 0)
		return 0;
	r = on_entry(&j, 0, top, metad_dirent_type(S_IFDIR), NULL, 0);
	while (r >= 0 && j.n > 0)
		r = judge_directory(a, &j, j.dirs[--j.n]);
	free(j.dirs);
	return r < 0 ? r : 0;
}

/* --- The name ------------------------------------------------------------------------------------ */

/* inode is a directory without a name from now on. */
static int unlink_directory(struct metad_apply *a, struct metad_inode *inode)
{
	inode->nlink = 0;
	inode->ctime = a->now;
	return metad_db_put_inode(a->db, inode);
}

int apply_remove_tree(struct metad_apply *a, const struct ff3_req_remove_tree *q,
		      struct ff3_rep_remove_tree *p)
{
	struct metad_walk *w = &a->walk[0];
	int r = apply_walk_directory(a, &q->at);

	if (r >= 0)
		r = may_remove(a, w->inode.ino);
	if (r >= 0)
		r = metad_db_del_dentry(a->db, w->dir.ino, w->name);
	if (r < 0)
		return r;
	w->dir.mtime = w->dir.ctime = a->now;
	apply_count_subdir(&w->dir, -1);
	r = metad_db_put_inode(a->db, &w->dir);
	if (r >= 0)
		r = unlink_directory(a, &w->inode);
	if (r >= 0)
		r = metad_db_add_removal(a->db, w->inode.ino, a->rec->cred.uid, a->now);
	if (r < 0)
		return r;
	a->effects.trees = true;
	p->removal = w->inode.ino;
	return 0;
}

/* --- What was below it --------------------------------------------------------------------------- */

struct entry {
	uint64_t ino;
	uint32_t len;
	char name[FF3_NAME_MAX];
};

struct step {
	uint32_t max, n;
	struct entry entries[METAD_TREE_STEP];
};

static int gather(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
		  uint32_t name_len)
{
	struct step *s = arg;
	struct entry *e = &s->entries[s->n];

	e->ino = ino;
	e->len = MIN(name_len, FF3_NAME_MAX);
	memcpy(e->name, name, e->len);
	return ++s->n >= s->max;
}

static int drop(struct metad_apply *a, uint64_t ino, uint64_t root, struct metad_removal_change *c)
{
	a->dropped[a->n_dropped++] = ino;
	c->waiting++;
	return metad_db_add_orphan(a->db, ino, root);
}

static int take_entry(struct metad_apply *a, uint64_t dir, uint64_t root, const struct entry *e,
		      struct metad_removal_change *c)
{
	struct metad_inode inode;
	int r = metad_db_del_dentry(a->db, dir, (struct ff3_str){ e->name, e->len });

	if (r >= 0)
		r = metad_db_get_inode(a->db, e->ino, &inode);
	if (r <= 0) /* a name of nothing: fsck's business, and gone with the rest */
		return r;
	if (S_ISDIR(inode.mode)) {
		c->pending++;
		r = unlink_directory(a, &inode);
		return r < 0 ? r : metad_db_add_tree(a->db, inode.ino, root);
	}
	c->names++;
	inode.ctime = a->now;
	inode.nlink -= inode.nlink > 0;
	if (inode.nlink == 0 && S_ISLNK(inode.mode))
		return metad_db_del_inode(a->db, &inode);
	r = metad_db_put_inode(a->db, &inode);
	return r < 0 || inode.nlink > 0 ? r : drop(a, inode.ino, root, c);
}

/* Some names of one directory, or the directory itself. Returns how much of max was used; 0: there is
 * none. */
static int take_some(struct metad_apply *a, struct step *s)
{
	struct metad_removal_change change = { 0 };
	uint64_t ino, root;
	int r = metad_db_last_tree(a->db, &ino, &root);

	if (r <= 0)
		return r;
	s->n = 0;
	r = metad_db_each_dentry(a->db, ino, 0, gather, s);
	for (uint32_t i = 0; r >= 0 && i < s->n; i++)
		r = take_entry(a, ino, root, &s->entries[i], &change);
	if (r >= 0 && s->n < s->max) {
		s->n++;
		change.pending--;
		change.dirs++;
		r = metad_db_del_tree(a->db, ino);
		if (r >= 0)
			r = drop(a, ino, root, &change);
	}
	if (r >= 0)
		r = metad_db_note_removal(a->db, root, &change, a->now);
	return r < 0 ? r : (int)s->n;
}

int apply_log_take_down(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);
	struct step s;
	uint64_t left;
	int r;

	ff3_get_u64(&d, &left);
	left = d.bad ? METAD_TREE_STEP : MIN(left, (uint64_t)METAD_TREE_STEP);
	while (left > 0) {
		s.max = (uint32_t)left;
		r = take_some(a, &s);
		if (r <= 0)
			return r;
		left -= (uint64_t)r;
	}
	a->effects.trees = true;
	return 0;
}

int apply_removal_ended(struct metad_apply *a, uint64_t root, int64_t n)
{
	return metad_db_note_removal(a->db, root, &(struct metad_removal_change){ .waiting = -n },
				     a->now);
}
