/* Purpose: what is wrong with names, links and queues. One pass over the inodes beside cursors over
 * the names by what they name, over the names by their directory, and over the queues, all in the order of
 * inode numbers.
 *
 * Threads: the one that has the snapshot. */
#include "db_fsck.h"

#include "../common/base/log.h"
#include "db_private.h"

#define STEP 4096u
#define KNOWN 65536u /* directories known to be below the root, remembered by hash */
#define DEPTH_MAX 100000u

/* A statement whose rows come in the order of column 0. */
struct cursor {
	sqlite3_stmt *s;
	uint64_t ino; /* of the row; UINT64_MAX: no more */
};

struct pass {
	struct metad_db_snapshot *snap;
	struct cursor names, dirs, orphans, trees, symlinks, xattrs, garbage, truncations;
	sqlite3_stmt *up;
	uint64_t *known;
	uint64_t n, max_ino;
	metad_finding_fn *found;
	void *arg;
	int error;
};

int db_fsck_prepare(struct metad_db_snapshot *snap, const char *sql, sqlite3_stmt **ret)
{
	if (sqlite3_prepare_v2(snap->sql, sql, -1, ret, NULL) == SQLITE_OK)
		return 0;
	return ff3_log_errno(-EIO, "fsck: %s: %s", sql, sqlite3_errmsg(snap->sql));
}

int db_fsck_step(struct metad_db_snapshot *snap, sqlite3_stmt *s)
{
	int code = sqlite3_step(s);

	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	return ff3_log_errno((code & 0xff) == SQLITE_FULL    ? -ENOSPC :
			     (code & 0xff) == SQLITE_CORRUPT ? -EBADMSG :
							       -EIO,
			     "fsck: %s", sqlite3_errmsg(snap->sql));
}

static int advance(struct pass *p, struct cursor *c)
{
	int r = db_fsck_step(p->snap, c->s);

	c->ino = r > 0 ? column_u64(c->s, 0) : UINT64_MAX;
	p->error = r < 0 ? r : p->error;
	return r < 0 ? r : 0;
}

static int begin(struct pass *p, struct cursor *c, const char *sql)
{
	int r = db_fsck_prepare(p->snap, sql, &c->s);

	return r < 0 ? r : advance(p, c);
}

static int tell(struct pass *p, const struct metad_finding *f)
{
	return p->found(p->arg, f);
}

static int tell_row(struct pass *p, enum metad_finding_kind kind, uint64_t ino)
{
	return tell(p, &(struct metad_finding){ .kind = kind, .ino = ino });
}

/* Rows of c up to ino (not with it) belong to inodes that do not exist. */
static int skip(struct pass *p, struct cursor *c, uint64_t ino, enum metad_finding_kind kind)
{
	int r = 0;

	while (r == 0 && c->ino < ino) {
		r = tell_row(p, kind, c->ino);
		if (r == 0)
			r = advance(p, c);
	}
	return r;
}

/* --- Names ------------------------------------------------------------------------------------- */

/* The names' row, as a finding. */
static struct metad_finding name_finding(const struct cursor *names, enum metad_finding_kind kind)
{
	struct metad_finding f = { .kind = kind, .ino = names->ino,
				   .parent = column_u64(names->s, 2) };
	struct ff3_blob name = column_blob(names->s, 4);

	f.name_len = MIN(name.len, FF3_NAME_MAX);
	memcpy(f.name, name.p, f.name_len);
	return f;
}

static int dangling(struct pass *p, uint64_t ino)
{
	int r = 0;

	while (r == 0 && p->names.ino < ino) {
		struct metad_finding f = name_finding(&p->names, METAD_F_DANGLING);

		r = tell(p, &f);
		if (r == 0)
			r = advance(p, &p->names);
	}
	return r;
}

static int no_directory(struct pass *p)
{
	struct metad_finding f = { .kind = METAD_F_NO_DIRECTORY, .ino = p->dirs.ino,
				   .n = column_u64(p->dirs.s, 2) };
	int r = tell(p, &f);

	return r != 0 ? r : advance(p, &p->dirs);
}

struct inode {
	uint64_t ino, mode, nlink, parent, name_hash;
	uint64_t n_names;
	uint64_t name_parent, hash; /* of the last of them */
	uint64_t n_subdirs;
	bool orphan, tree;
};

static int take_names(struct pass *p, struct inode *i)
{
	int r = 0;

	while (r == 0 && p->names.ino == i->ino) {
		uint64_t type = column_u64(p->names.s, 1);

		i->n_names++;
		i->name_parent = column_u64(p->names.s, 2);
		i->hash = column_u64(p->names.s, 3);
		if (type != (i->mode >> 12)) {
			struct metad_finding f = name_finding(&p->names, METAD_F_TYPE);

			f.have = type;
			f.want = i->mode >> 12;
			r = tell(p, &f);
		}
		if (r == 0)
			r = advance(p, &p->names);
	}
	return r;
}

/* Follows the parents up to the root, or to what is known to come there. */
static int reach(struct pass *p, uint64_t ino, bool *ret)
{
	uint64_t at = ino, depth = 0;
	int r = 1;

	while (at != FF3_ROOT_INO && p->known[at % KNOWN] != at && r > 0 && ++depth < DEPTH_MAX) {
		sqlite3_reset(p->up);
		bind_u64(p->up, 1, at);
		r = db_fsck_step(p->snap, p->up);
		if (r > 0 && column_u64(p->up, 1) == 0)
			break; /* in a tree that is being removed */
		at = r > 0 ? column_u64(p->up, 0) : at;
	}
	sqlite3_reset(p->up);
	*ret = r > 0 && depth < DEPTH_MAX;
	if (*ret)
		p->known[ino % KNOWN] = ino;
	return r < 0 ? r : 0;
}

static int check_links(struct pass *p, const struct inode *i, uint64_t want)
{
	struct metad_finding f = { .kind = METAD_F_LINKS, .ino = i->ino, .have = i->nlink,
				   .want = want };

	return i->nlink == want ? 0 : tell(p, &f);
}

static int check_directory(struct pass *p, const struct inode *i)
{
	struct metad_finding f = { .kind = METAD_F_PARENT, .ino = i->ino, .parent = i->name_parent,
				   .have = i->parent, .want = i->hash };
	bool reached = true;
	int r = 0;

	if (i->nlink == 0 && i->n_names == 0 && (i->orphan || i->tree))
		return 0;
	if (i->ino != FF3_ROOT_INO && i->n_names == 0)
		return tell_row(p, METAD_F_NO_NAME, i->ino);
	if (i->n_names > (i->ino != FF3_ROOT_INO))
		return tell_row(p, METAD_F_NAMES, i->ino);
	if (i->ino != FF3_ROOT_INO && (i->parent != i->name_parent || i->name_hash != i->hash))
		r = tell(p, &f);
	else if (i->ino != FF3_ROOT_INO)
		r = reach(p, i->ino, &reached);
	if (r == 0 && !reached)
		r = tell_row(p, METAD_F_UNREACHABLE, i->ino);
	return r == 0 ? check_links(p, i, 2 + i->n_subdirs) : r;
}

static int check_other(struct pass *p, const struct inode *i)
{
	if (i->n_names == 0 && !i->orphan)
		return tell_row(p, METAD_F_NO_NAME, i->ino);
	return check_links(p, i, i->n_names);
}

/* What comes before this inode in the others, then what they say of it. */
static int check_inode(struct pass *p, struct inode *i)
{
	bool link = (i->mode >> 12) == S_IFLNK >> 12, dir = (i->mode >> 12) == S_IFDIR >> 12;
	int r = dangling(p, i->ino);

	while (r == 0 && p->dirs.ino < i->ino)
		r = no_directory(p);
	if (r == 0)
		r = skip(p, &p->orphans, i->ino, METAD_F_ORPHAN_ROW);
	if (r == 0)
		r = skip(p, &p->trees, i->ino, METAD_F_TREE_ROW);
	if (r == 0)
		r = skip(p, &p->truncations, i->ino, METAD_F_TRUNCATION_ROW);
	if (r == 0)
		r = skip(p, &p->symlinks, i->ino + !link, METAD_F_STRAY);
	if (r == 0)
		r = skip(p, &p->xattrs, i->ino, METAD_F_STRAY);
	while (r == 0 && p->garbage.ino < i->ino)
		r = advance(p, &p->garbage); /* as it should be */
	if (r == 0 && p->garbage.ino == i->ino)
		r = tell_row(p, METAD_F_GARBAGE_ROW, i->ino);
	if (r == 0)
		r = take_names(p, i);
	i->orphan = p->orphans.ino == i->ino;
	i->tree = p->trees.ino == i->ino;
	if (r == 0 && p->dirs.ino == i->ino && dir) {
		i->n_subdirs = column_u64(p->dirs.s, 1);
		r = advance(p, &p->dirs);
	} else if (r == 0 && p->dirs.ino == i->ino) {
		r = no_directory(p);
	}
	if (r == 0 && link && p->symlinks.ino != i->ino)
		r = tell_row(p, METAD_F_NO_TARGET, i->ino);
	for (struct cursor *c = &p->orphans; r == 0 && c <= &p->truncations; c++)
		if (c->ino == i->ino)
			r = advance(p, c);
	if (r != 0)
		return r;
	return dir ? check_directory(p, i) : check_other(p, i);
}

static int finish(struct pass *p)
{
	const struct metad_meta *meta = &p->snap->meta;
	struct metad_finding f = { .kind = METAD_F_INODES, .have = meta->n_inodes, .want = p->n };
	int r = dangling(p, UINT64_MAX);

	while (r == 0 && p->dirs.ino != UINT64_MAX)
		r = no_directory(p);
	if (r == 0)
		r = skip(p, &p->orphans, UINT64_MAX, METAD_F_ORPHAN_ROW);
	if (r == 0)
		r = skip(p, &p->trees, UINT64_MAX, METAD_F_TREE_ROW);
	if (r == 0)
		r = skip(p, &p->truncations, UINT64_MAX, METAD_F_TRUNCATION_ROW);
	if (r == 0)
		r = skip(p, &p->symlinks, UINT64_MAX, METAD_F_STRAY);
	if (r == 0)
		r = skip(p, &p->xattrs, UINT64_MAX, METAD_F_STRAY);
	if (r == 0 && f.have != f.want)
		r = tell(p, &f);
	f = (struct metad_finding){ .kind = METAD_F_NEXT_INO, .have = meta->next_ino,
				    .want = p->max_ino + 1 };
	return r == 0 && f.have < f.want ? tell(p, &f) : r;
}

static int walk(struct pass *p, metad_fsck_step_fn *step)
{
	sqlite3_stmt *s = NULL;
	int r = db_fsck_prepare(p->snap,
				"SELECT ino, mode, nlink, parent, name_hash FROM inodes ORDER BY ino", &s);

	while (r == 0 && (r = db_fsck_step(p->snap, s)) > 0) {
		struct inode i = {
			.ino = column_u64(s, 0),
			.mode = column_u64(s, 1),
			.nlink = column_u64(s, 2),
			.parent = column_u64(s, 3),
			.name_hash = column_u64(s, 4),
		};

		p->max_ino = i.ino;
		r = check_inode(p, &i);
		if (r == 0 && ++p->n % STEP == 0)
			r = step(p->arg, p->n, p->snap->meta.n_inodes);
	}
	sqlite3_finalize(s);
	return r;
}

static int open_cursors(struct pass *p)
{
	int r = begin(p, &p->names, "SELECT ino, type, parent, hash, name FROM dentries ORDER BY ino");

	if (r >= 0)
		r = begin(p, &p->dirs, "SELECT parent, sum(type = 4), count(*) FROM dentries GROUP BY parent "
				       "ORDER BY parent");
	if (r >= 0)
		r = begin(p, &p->orphans, "SELECT ino FROM orphans ORDER BY ino");
	if (r >= 0)
		r = begin(p, &p->trees, "SELECT ino FROM trees ORDER BY ino");
	if (r >= 0)
		r = begin(p, &p->symlinks, "SELECT ino FROM symlinks ORDER BY ino");
	if (r >= 0)
		r = begin(p, &p->xattrs, "SELECT DISTINCT ino FROM xattrs ORDER BY ino");
	if (r >= 0)
		r = begin(p, &p->garbage, "SELECT ino FROM garbage ORDER BY ino");
	if (r >= 0)
		r = begin(p, &p->truncations, "SELECT ino FROM truncations ORDER BY ino");
	if (r >= 0)
		r = db_fsck_prepare(p->snap, "SELECT parent, nlink FROM inodes WHERE ino = ?", &p->up);
	return r;
}

int metad_db_fsck_names(struct metad_db_snapshot *snap, metad_fsck_step_fn *step,
			metad_finding_fn *found, void *arg)
{
	struct pass p = { .snap = snap, .found = found, .arg = arg };
	int r;

	p.known = calloc(KNOWN, sizeof *p.known);
	r = p.known ? open_cursors(&p) : -ENOMEM;
	if (r == 0)
		r = walk(&p, step);
	if (r == 0)
		r = finish(&p);
	for (struct cursor *c = &p.names; c <= &p.truncations; c++)
		sqlite3_finalize(c->s);
	sqlite3_finalize(p.up);
	free(p.known);
	return r;
}
