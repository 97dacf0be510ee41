/* Purpose: fts(3) on our paths. libc's calls itself, and changes directory as it walks; this one names
 * every entry by its whole path, which FTS_NOCHDIR allows programs to ask for and none can tell.
 *
 * A stream of ours has OURS in its options. Its entries hang together as libc's: fts_link is the next
 * in the same directory, fts_parent the directory; fts_path and fts_accpath of all are the stream's
 * one buffer, which holds the path of the entry that was returned last.
 *
 * Threads: a stream belongs to its user. Fork/signal: as the hooks it is made of. */
#include "hook.h"

#include <fts.h>

#define OURS 0x20000000
#define STOP 0x0200 /* as libc's, in the same place */
#define OPTIONS_MASK 0x00ff
#define INFO_INIT 9
#define ROOT_PARENT (-1)
#define PATH_ROOM (PATH_MAX + NAME_MAX + 2)

static bool is_ours(const FTS *sp)
{
	return init_active() && sp && (sp->fts_options & OURS);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static FTSENT *entry_new(FTS *sp, const char *name, size_t len)
{
	/* The status lies behind the name. */
	size_t size = ROUND_UP(sizeof(FTSENT) + len + 1, _Alignof(struct stat));
	FTSENT *e = calloc(1, size + sizeof(struct stat));

	if (!e)
		return NULL;
	memcpy(e->fts_name, name, len);
	e->fts_namelen = (unsigned short)len;
	e->fts_path = e->fts_accpath = sp->fts_path;
	e->fts_instr = FTS_NOINSTR;
	e->fts_statp = (struct stat *)(void *)((char *)e + size);
	return e;
}

static void free_list(FTSENT *e)
{
	for (FTSENT *next; e; e = next) {
		next = e->fts_link;
		free(e);
	}
}

/* What the entry is; its path stands in the buffer. */
static unsigned short look(FTS *sp, FTSENT *e, bool follow)
{
	struct stat *st = e->fts_statp;
	bool through = follow || (sp->fts_options & FTS_LOGICAL);

	if ((through ? hook_stat(sp->fts_path, st) : hook_lstat(sp->fts_path, st)) < 0) {
		int error = errno;

		if (through && hook_lstat(sp->fts_path, st) == 0) {
			errno = 0;
			return FTS_SLNONE;
		}
		e->fts_errno = error;
		memset(st, 0, sizeof *st);
		return FTS_NS;
	}
	if (S_ISLNK(st->st_mode))
		return FTS_SL;
	if (!S_ISDIR(st->st_mode))
		return S_ISREG(st->st_mode) ? FTS_F : FTS_DEFAULT;
	e->fts_dev = st->st_dev;
	e->fts_ino = st->st_ino;
	e->fts_nlink = st->st_nlink;
	if (is_dots(e->fts_name))
		return FTS_DOT;
	for (FTSENT *up = e->fts_parent; up->fts_level > ROOT_PARENT; up = up->fts_parent)
		if (up->fts_ino == e->fts_ino && up->fts_dev == e->fts_dev) {
			e->fts_cycle = up;
			return FTS_DC;
		}
	return FTS_D;
}

static FTSENT *sorted(FTS *sp, FTSENT *head, size_t n)
{
	FTSENT **array, *e;
	size_t i = 0;

	if (!sp->fts_compar || n < 2 || !(array = malloc(n * sizeof *array)))
		return head;
	for (e = head; e; e = e->fts_link)
		array[i++] = e;
	qsort(array, n, sizeof *array, (int (*)(const void *, const void *))(void *)sp->fts_compar);
	for (i = 0; i + 1 < n; i++)
		array[i]->fts_link = array[i + 1];
	array[n - 1]->fts_link = NULL;
	head = array[0];
	free(array);
	return head;
}

/* --- Opening and closing ------------------------------------------------------------------- */

/* The next of what the caller named. The last component becomes its name. */
static void load_root(FTS *sp, FTSENT *e)
{
	size_t len = e->fts_namelen;
	char *last;

	memcpy(sp->fts_path, e->fts_name, len + 1);
	e->fts_pathlen = (unsigned short)len;
	last = strrchr(e->fts_name, '/');
	if (last && (last != e->fts_name || last[1])) {
		len = strlen(last + 1);
		memmove(e->fts_name, last + 1, len + 1);
		e->fts_namelen = (unsigned short)len;
	}
	sp->fts_dev = e->fts_dev;
}

static FTSENT *roots(FTS *sp, char *const *paths, FTSENT *parent)
{
	FTSENT *head = NULL, **end = &head, *e;
	size_t n = 0, len;

	for (; *paths; paths++, n++) {
		len = strlen(*paths);
		e = len && len < PATH_MAX ? entry_new(sp, *paths, len) : NULL;
		if (!e) {
			errno = !len ? ENOENT : len >= PATH_MAX ? ENAMETOOLONG : ENOMEM;
			free_list(head);
			return NULL;
		}
		e->fts_parent = parent;
		memcpy(sp->fts_path, *paths, len + 1);
		e->fts_info = look(sp, e, sp->fts_options & FTS_COMFOLLOW);
		if (e->fts_info == FTS_DOT) /* here it is a directory */
			e->fts_info = FTS_D;
		*end = e;
		end = &e->fts_link;
	}
	return sorted(sp, head, n);
}

FTS *hook_fts_open(char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **))
{
	FTSENT *parent, *first;
	bool ours = false;
	FTS *sp;

	for (char *const *p = paths; init_active() && *p && !ours; p++)
		ours = where_is_ours(AT_FDCWD, *p);
	if (LIKELY(!ours))
		return REAL(fts_open)(paths, options, compare);
	if (options & ~OPTIONS_MASK) {
		errno = EINVAL;
		return NULL;
	}
	sp = calloc(1, sizeof *sp);
	if (!sp || !(sp->fts_path = malloc(PATH_ROOM))) {
		free(sp);
		return NULL;
	}
	sp->fts_compar = (int (*)(const void *, const void *))(void *)compare;
	sp->fts_options = options | OURS;
	sp->fts_pathlen = PATH_ROOM;
	parent = entry_new(sp, "", 0);
	sp->fts_cur = entry_new(sp, "", 0);
	if (parent && sp->fts_cur) {
		parent->fts_level = ROOT_PARENT;
		sp->fts_cur->fts_parent = parent;
		sp->fts_cur->fts_info = INFO_INIT;
		first = roots(sp, paths, parent);
		sp->fts_cur->fts_link = first;
		if (first || !*paths)
			return sp;
	}
	free(parent);
	free(sp->fts_cur);
	free(sp->fts_path);
	free(sp);
	return NULL;
}

int hook_fts_close(FTS *sp)
{
	FTSENT *e, *next;

	if (LIKELY(!is_ours(sp)))
		return REAL(fts_close)(sp);
	for (e = sp->fts_cur; e; e = next) {
		next = e->fts_link ? e->fts_link : e->fts_parent;
		free(e);
	}
	free_list(sp->fts_child);
	free(sp->fts_path);
	free(sp);
	return 0;
}

/* --- Reading ------------------------------------------------------------------------------- */

/* Where names are appended to a directory's path. */
static size_t joint(const FTS *sp, const FTSENT *dir)
{
	return sp->fts_path[dir->fts_pathlen - 1] == '/' ? dir->fts_pathlen - 1u : dir->fts_pathlen;
}

/* Puts e's path into the buffer. */
static FTSENT *enter(FTS *sp, FTSENT *e)
{
	size_t at = joint(sp, e->fts_parent);

	sp->fts_path[at] = '/';
	memcpy(sp->fts_path + at + 1, e->fts_name, e->fts_namelen + 1u);
	return sp->fts_cur = e;
}

static FTSENT *child_new(FTS *sp, FTSENT *dir, const struct dirent *d, bool names)
{
	bool skip = (sp->fts_options & FTS_NOSTAT) && (sp->fts_options & FTS_PHYSICAL) &&
		    d->d_type != DT_DIR && d->d_type != DT_UNKNOWN;
	size_t len = strlen(d->d_name), at = joint(sp, dir);
	FTSENT *e;

	if (at + 1 + len >= PATH_ROOM) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	e = entry_new(sp, d->d_name, len);
	if (!e)
		return NULL;
	e->fts_parent = dir;
	e->fts_level = (short)(dir->fts_level + 1);
	e->fts_pathlen = (unsigned short)(at + 1 + len);
	sp->fts_path[at] = '/';
	memcpy(sp->fts_path + at + 1, d->d_name, len + 1);
	e->fts_info = skip || names ? FTS_NSOK : look(sp, e, false);
	sp->fts_path[dir->fts_pathlen] = '\0';
	return e;
}

/* The entries of a directory whose path stands in the buffer. NULL: none, or it cannot be read: then
 * it is told in its fts_info if it is being read. */
static FTSENT *children(FTS *sp, FTSENT *dir, bool reading, bool names)
{
	FTSENT *head = NULL, **end = &head;
	struct dirent *d;
	size_t n = 0;
	DIR *stream = hook_opendir(sp->fts_path);

	if (!stream) {
		if (reading) {
			dir->fts_info = FTS_DNR;
			dir->fts_errno = errno;
		}
		return NULL;
	}
	for (errno = 0; (d = hook_readdir(stream)); errno = 0) {
		if (!(sp->fts_options & FTS_SEEDOT) && is_dots(d->d_name))
			continue;
		*end = child_new(sp, dir, d, names);
		if (!*end) {
			int error = errno;

			free_list(head);
			hook_closedir(stream);
			dir->fts_info = FTS_ERR;
			sp->fts_options |= STOP;
			errno = error;
			return NULL;
		}
		end = &(*end)->fts_link;
		n++;
	}
	if (errno && reading)
		dir->fts_errno = errno;
	hook_closedir(stream);
	if (n == 0 && reading)
		dir->fts_info = FTS_DP;
	return sorted(sp, head, n);
}

/* From a directory in: its first entry, or itself again. */
static FTSENT *descend(FTS *sp, FTSENT *e, int instruction)
{
	if (instruction == FTS_SKIP ||
	    ((sp->fts_options & FTS_XDEV) && e->fts_dev != sp->fts_dev)) {
		free_list(sp->fts_child);
		sp->fts_child = NULL;
		e->fts_info = FTS_DP;
		return e;
	}
	if (sp->fts_child && (sp->fts_options & FTS_NAMEONLY)) {
		sp->fts_options &= ~FTS_NAMEONLY;
		free_list(sp->fts_child);
		sp->fts_child = NULL;
	}
	if (!sp->fts_child)
		sp->fts_child = children(sp, e, true, false);
	if (!sp->fts_child)
		return sp->fts_options & STOP ? NULL : e;
	e = sp->fts_child;
	sp->fts_child = NULL;
	return enter(sp, e);
}

/* The next one beside e, or the directory that they are in. Frees e. */
static FTSENT *advance(FTS *sp, FTSENT *e)
{
	FTSENT *next = e->fts_link, *up = e->fts_parent;

	while (next) {
		free(e);
		e = next;
		if (e->fts_level == 0) {
			load_root(sp, e);
			return sp->fts_cur = e;
		}
		if (e->fts_instr != FTS_SKIP) {
			enter(sp, e);
			if (e->fts_instr == FTS_FOLLOW)
				e->fts_info = look(sp, e, true);
			e->fts_instr = FTS_NOINSTR;
			return e;
		}
		next = e->fts_link;
	}
	free(e);
	if (up->fts_level == ROOT_PARENT) {
		free(up);
		errno = 0;
		return sp->fts_cur = NULL;
	}
	sp->fts_path[up->fts_pathlen] = '\0';
	up->fts_info = up->fts_errno ? FTS_ERR : FTS_DP;
	return sp->fts_cur = up;
}

FTSENT *hook_fts_read(FTS *sp)
{
	FTSENT *e;
	int instruction;

	if (LIKELY(!is_ours(sp)))
		return REAL(fts_read)(sp);
	e = sp->fts_cur;
	if (!e || (sp->fts_options & STOP))
		return NULL;
	instruction = e->fts_instr;
	e->fts_instr = FTS_NOINSTR;
	if (instruction == FTS_AGAIN ||
	    (instruction == FTS_FOLLOW && (e->fts_info == FTS_SL || e->fts_info == FTS_SLNONE))) {
		e->fts_info = look(sp, e, instruction == FTS_FOLLOW);
		return e;
	}
	return e->fts_info == FTS_D ? descend(sp, e, instruction) : advance(sp, e);
}

FTSENT *hook_fts_children(FTS *sp, int instruction)
{
	FTSENT *e;

	if (LIKELY(!is_ours(sp)))
		return REAL(fts_children)(sp, instruction);
	if (instruction != 0 && instruction != FTS_NAMEONLY) {
		errno = EINVAL;
		return NULL;
	}
	e = sp->fts_cur;
	errno = 0;
	if (!e || (sp->fts_options & STOP))
		return NULL;
	if (e->fts_info == INFO_INIT)
		return e->fts_link;
	if (e->fts_info != FTS_D)
		return NULL;
	free_list(sp->fts_child);
	if (instruction == FTS_NAMEONLY)
		sp->fts_options |= FTS_NAMEONLY;
	return sp->fts_child = children(sp, e, false, instruction == FTS_NAMEONLY);
}

int hook_fts_set(FTS *sp, FTSENT *e, int instruction)
{
	if (LIKELY(!is_ours(sp)))
		return REAL(fts_set)(sp, e, instruction);
	if (instruction < 0 || instruction > FTS_SKIP) {
		errno = EINVAL;
		return 1;
	}
	e->fts_instr = (unsigned short)instruction;
	return 0;
}

DEFINE_ALIASES(fts)
