/* Purpose: path resolution with permissions, symbolic links, ".." and trailing slashes.
 *
 * A symbolic link is resolved by writing its target and what remains of the path into a scratch
 * buffer and going on from there. A link to an absolute path, or ".." in the root, leaves the file
 * system: the walk ends with FF3_E_REDIRECT and the path that remains, and the caller's own file
 * system decides what that means.
 *
 * Threads: the owner of the database. */
#include "path.h"

#define MAX_LINKS 40

struct cursor {
	const char *p;
	const char *end;
	unsigned n_links;
	unsigned buffer; /* which scratch buffer the path is not in */
};

static int redirect(struct metad_walk *w, const struct cursor *c, struct ff3_str head)
{
	char *buf = w->scratch[c->buffer];
	size_t rest = (size_t)(c->end - c->p), n = head.len;

	if (head.len + 1 + rest >= METAD_WALK_ROOM)
		return -ENAMETOOLONG;
	if (head.len > 0)
		memcpy(buf, head.p, head.len);
	if (rest > 0 && n > 0 && buf[n - 1] != '/')
		buf[n++] = '/';
	memcpy(buf + n, c->p, rest);
	n += rest;
	if (n == 0)
		buf[n++] = '.';
	w->redirect = (struct ff3_str){ buf, (uint32_t)n };
	return FF3_E_REDIRECT;
}

/* Puts the link's target before what remains. */
static int follow(struct metad_db *db, struct metad_walk *w, struct cursor *c, bool slash,
		  uint64_t ino)
{
	size_t rest = (size_t)(c->end - c->p), n;
	char *buf = w->scratch[c->buffer];
	uint32_t len;
	int r;

	if (++c->n_links > MAX_LINKS)
		return -ELOOP;
	r = metad_db_get_symlink(db, ino, w->target, &len);
	if (r <= 0)
		return r < 0 ? r : -EIO;
	if (w->target[0] == '/') {
		if (slash && rest == 0 && len < sizeof w->target)
			w->target[len++] = '/';
		return redirect(w, c, (struct ff3_str){ w->target, len });
	}
	if (len + 1 + rest >= METAD_WALK_ROOM)
		return -ENAMETOOLONG;
	memcpy(buf, w->target, len);
	n = len;
	if (slash)
		buf[n++] = '/';
	memcpy(buf + n, c->p, rest);
	c->p = buf;
	c->end = buf + n + rest;
	c->buffer ^= 1;
	return 0;
}

static void skip_slashes(struct cursor *c)
{
	while (c->p < c->end && *c->p == '/')
		c->p++;
}

static struct ff3_str next_name(struct cursor *c, bool *ret_slash)
{
	const char *start = c->p;
	struct ff3_str name;

	while (c->p < c->end && *c->p != '/')
		c->p++;
	name = (struct ff3_str){ start, (uint32_t)(c->p - start) };
	*ret_slash = c->p < c->end;
	skip_slashes(c);
	return name;
}

static bool is(struct ff3_str name, const char *what)
{
	return name.len == strlen(what) && memcmp(name.p, what, name.len) == 0;
}

/* "." and "..": moves cur. 1: done with it. */
static int special_name(struct metad_db *db, struct metad_walk *w, struct cursor *c,
			struct ff3_str name, struct metad_inode *cur)
{
	int r;

	if (is(name, ".")) {
		w->last = METAD_LAST_DOT;
		return 1;
	}
	if (!is(name, ".."))
		return 0;
	if (cur->ino == FF3_ROOT_INO)
		return redirect(w, c, (struct ff3_str){ 0 });
	r = metad_db_get_inode(db, cur->parent, cur);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	w->last = METAD_LAST_DOTDOT;
	return 1;
}

/* One component that is a name. 1: the walk ends here; 0: go on in cur. */
static int step(struct metad_db *db, struct metad_walk *w, struct cursor *c, unsigned flags,
		struct ff3_str name, bool slash, struct metad_inode *cur)
{
	bool last = c->p == c->end;
	struct metad_inode next = { 0 };
	uint64_t ino = 0;
	uint32_t type;
	int r;

	if (last && slash && (flags & METAD_WALK_ABSENT))
		return -EISDIR;
	if (name.len > FF3_NAME_MAX && last && (flags & METAD_WALK_LATE)) {
		w->last = METAD_LAST_NAME;
		w->late = -ENAMETOOLONG;
		return 1;
	}
	if (name.len > FF3_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name.p, 0, name.len))
		return -EINVAL;
	r = metad_db_get_dentry(db, cur->ino, name, &ino, &type);
	if (r > 0)
		r = metad_db_get_inode(db, ino, &next);
	if (r == METAD_DB_ELSEWHERE) { /* that far it came */
		w->dir = *cur;
		w->name = name;
	}
	if (r < 0)
		return r;
	if (ino != 0 && r == 0)
		return -EIO;
	if (S_ISLNK(next.mode) && !(last && (flags & METAD_WALK_PARENT)) &&
	    (!last || slash || (flags & METAD_WALK_FOLLOW)))
		return follow(db, w, c, slash, ino);
	if (!last) {
		if (ino == 0)
			return -ENOENT;
		*cur = next;
		return 0;
	}
	w->last = METAD_LAST_NAME;
	w->dir = *cur;
	w->inode = next;
	w->name = name;
	w->slash = slash;
	if (flags & METAD_WALK_PARENT)
		return 1;
	if (ino == 0)
		return (flags & METAD_WALK_ABSENT) ? 1 : -ENOENT;
	return slash && !S_ISDIR(next.mode) ? -ENOTDIR : 1;
}

static void note_dir(struct metad_walk *w, uint64_t ino)
{
	if (w->n_dirs < METAD_WALK_DIRS)
		w->dirs[w->n_dirs] = ino;
	w->n_dirs += w->n_dirs <= METAD_WALK_DIRS;
}

int metad_walk(struct metad_db *db, const struct metad_cred *cred, const struct ff3_path *at,
	       unsigned flags, struct metad_walk *w)
{
	struct cursor c = { .p = at->path.p, .end = at->path.p + at->path.len };
	struct metad_inode cur;
	bool slash = false;
	int r;

	if (at->path.len >= FF3_PATH_MAX)
		return -ENAMETOOLONG;
	w->name.p = NULL;
	r = metad_db_get_inode(db, at->dir, &cur);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	w->last = METAD_LAST_ROOT;
	w->late = 0;
	w->n_dirs = 0;
	w->slash = at->path.len > 0;
	skip_slashes(&c);
	while (c.p < c.end) {
		struct ff3_str name;

		if (!S_ISDIR(cur.mode))
			return -ENOTDIR;
		r = metad_permission(cred, &cur, METAD_MAY_EXEC);
		if (r < 0)
			return r;
		note_dir(w, cur.ino);
		name = next_name(&c, &slash);
		r = special_name(db, w, &c, name, &cur);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		r = step(db, w, &c, flags, name, slash, &cur);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	w->inode = cur;
	return w->slash && !S_ISDIR(cur.mode) ? -ENOTDIR : 0;
}

/* Takes a name out of what remains. */
static bool next_ahead(struct ff3_str *rest, struct ff3_str *ret)
{
	struct cursor c = { .p = rest->p, .end = rest->p + rest->len };
	bool slash;

	skip_slashes(&c);
	*ret = next_name(&c, &slash);
	*rest = (struct ff3_str){ c.p, (uint32_t)(c.end - c.p) };
	return ret->len > 0 && ret->len <= FF3_NAME_MAX && !is(*ret, ".") && !is(*ret, "..");
}

/* The directory that was reached, and what the path says of it. */
static void look_ahead(struct metad_db *db, struct metad_walk_ahead *a)
{
	struct ff3_str rest = a->rest, name;

	a->near[a->n_near++] = metad_db_near_inode(db, a->dir);
	if (next_ahead(&rest, &name))
		a->near[a->n_near++] = metad_db_near_dentry(db, a->dir, name);
}

void metad_walk_ahead_begin(struct metad_db *db, const struct ff3_path *at, struct metad_walk_ahead *ret)
{
	*ret = (struct metad_walk_ahead){ .dir = at->dir, .rest = at->path };
	look_ahead(db, ret);
}

void metad_walk_ahead_step(struct metad_db *db, struct metad_walk_ahead *a)
{
	struct ff3_str name;

	a->n_near = 0;
	if (next_ahead(&a->rest, &name) && metad_db_peek_dentry(db, a->dir, name, &a->dir))
		look_ahead(db, a);
	else
		a->rest.len = 0;
}

int metad_walk_object(struct metad_db *db, const struct metad_cred *cred,
		      const struct ff3_path *at, struct metad_walk *w)
{
	int r = metad_walk(db, cred, at, (at->flags & FF3_PATH_NOFOLLOW) ? 0 : METAD_WALK_FOLLOW, w);

	if (r < 0)
		return r;
	return (at->flags & FF3_PATH_DIRECTORY) && !S_ISDIR(w->inode.mode) ? -ENOTDIR : 0;
}

int metad_path_of(struct metad_db *db, uint64_t ino, char *buf, size_t size, struct ff3_str *ret)
{
	char name[FF3_NAME_MAX];
	size_t at = size;

	while (ino != FF3_ROOT_INO) {
		struct metad_inode inode;
		uint32_t len;
		int r = metad_db_get_inode(db, ino, &inode);

		if (r > 0)
			r = metad_db_find_name(db, inode.parent, inode.name_hash, ino, name, &len);
		if (r <= 0)
			return r < 0 ? r : -ENOENT;
		if (len + 1 > at)
			return -ENAMETOOLONG;
		at -= len;
		memcpy(buf + at, name, len);
		buf[--at] = '/';
		ino = inode.parent;
	}
	if (at == size)
		buf[--at] = '/';
	*ret = (struct ff3_str){ buf + at, (uint32_t)(size - at) };
	return 0;
}
