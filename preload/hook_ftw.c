/* Purpose: ftw and nftw on our paths, on the hooks, since libc's call themselves. Each entry is reached
 * from its directory's descriptor, as there: a tree may be deeper than a path may be long.
 *
 * Threads: a walk is its caller's; FTW_CHDIR changes the process's directory, as libc's does.
 * Fork/signal: as the hooks it is made of. */
#include "hook.h"

#define FTW_KNOWN (FTW_PHYS | FTW_MOUNT | FTW_CHDIR | FTW_DEPTH | FTW_ACTIONRETVAL)

struct walk {
	__nftw_func_t nftw;
	__ftw_func_t ftw; /* if nftw is NULL */
	int flags;
	dev_t dev;
	char *path; /* grows */
	size_t room;
	struct {
		dev_t dev;
		ino_t ino;
	} above[256]; /* the directories on the way, against loops through links */
};

static int report(struct walk *w, const struct stat *st, int type, int base, int level)
{
	struct FTW info = { base, level };

	if (w->nftw)
		return w->nftw(w->path, st, type, &info);
	if (type == FTW_SLN || type == FTW_SL)
		type = FTW_NS;
	return w->ftw(w->path, st, type == FTW_DP ? FTW_D : type);
}

/* The entry's name in its directory; the walk's beginning may be given by a path. */
static const char *from_dir(const struct walk *w, int base, int level)
{
	if (level > 0)
		return w->path + base;
	return w->flags & FTW_CHDIR ? (w->path[base] ? w->path + base : "/") : w->path;
}

static bool make_room(struct walk *w, size_t n)
{
	char *path;

	if (n <= w->room)
		return true;
	path = reallocarray(w->path, 2, n);
	if (!path)
		return false;
	w->path = path;
	w->room = n * 2;
	return true;
}

static int visit(struct walk *w, int dirfd, size_t len, int base, int level);

static int visit_entries(struct walk *w, DIR *dir, size_t len, int level)
{
	struct dirent *e;
	int r = 0;

	while (r == 0 && (e = hook_readdir(dir))) {
		size_t n = strlen(e->d_name), at = len;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (!make_room(w, len + n + 2))
			return -1;
		if (w->path[at - 1] != '/')
			w->path[at++] = '/';
		memcpy(w->path + at, e->d_name, n + 1);
		r = visit(w, hook_dirfd(dir), at + n, (int)at, level + 1);
		w->path[len] = '\0';
		if (w->flags & FTW_ACTIONRETVAL) {
			if (r == FTW_SKIP_SIBLINGS)
				return 0;
			r = r == FTW_SKIP_SUBTREE ? 0 : r;
		}
	}
	return r;
}

/* Inside the directory, and back to its parent, whose entries go on. */
static int visit_inside(struct walk *w, DIR *dir, const struct stat *st, size_t len, int base,
			int level)
{
	int parent = -1, r;

	if (w->flags & FTW_CHDIR) {
		parent = level > 0 ? hook_open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		if ((level > 0 && parent < 0) || hook_fchdir(hook_dirfd(dir)) < 0) {
			if (parent >= 0)
				hook_close(parent);
			return -1;
		}
	}
	r = visit_entries(w, dir, len, level);
	if (r == 0 && (w->flags & FTW_DEPTH))
		r = report(w, st, FTW_DP, base, level);
	if (parent >= 0) {
		if (hook_fchdir(parent) < 0)
			r = -1;
		hook_close(parent);
	}
	return r;
}

static DIR *open_entry(int dirfd, const char *name)
{
	int fd = hook_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : hook_fdopendir(fd);

	if (fd >= 0 && !dir)
		hook_close(fd);
	return dir;
}

static int visit_directory(struct walk *w, int dirfd, const struct stat *st, size_t len, int base,
			   int level)
{
	DIR *dir;
	int r = 0;

	for (int i = 0; i < level && i < (int)ARRAY_SIZE(w->above); i++)
		if (w->above[i].dev == st->st_dev && w->above[i].ino == st->st_ino)
			return 0;
	if (level >= (int)ARRAY_SIZE(w->above)) {
		errno = ELOOP;
		return -1;
	}
	w->above[level].dev = st->st_dev;
	w->above[level].ino = st->st_ino;
	dir = open_entry(dirfd, from_dir(w, base, level));
	if (!dir)
		return errno == EACCES ? report(w, st, FTW_DNR, base, level) : -1;
	if (!(w->flags & FTW_DEPTH))
		r = report(w, st, FTW_D, base, level);
	if (r == 0)
		r = visit_inside(w, dir, st, len, base, level);
	hook_closedir(dir);
	return r;
}

/* What cannot be followed. */
static int visit_unknown(struct walk *w, int dirfd, int base, int level)
{
	bool physical = w->flags & FTW_PHYS;
	int error = errno;
	struct stat st;
	bool link = !physical &&
		    hook_fstatat(dirfd, from_dir(w, base, level), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISLNK(st.st_mode);

	errno = error;
	if ((error != EACCES && error != ENOENT) || (level == 0 && !(link && error == ENOENT)))
		return -1;
	if (!link)
		memset(&st, 0, sizeof st);
	return report(w, &st, link ? FTW_SLN : FTW_NS, base, level);
}

/* w->path, of length len, whose last component begins at base. */
static int visit(struct walk *w, int dirfd, size_t len, int base, int level)
{
	struct stat st;

	if (hook_fstatat(dirfd, from_dir(w, base, level), &st,
			 w->flags & FTW_PHYS ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return visit_unknown(w, dirfd, base, level);
	if (level == 0)
		w->dev = st.st_dev;
	if ((w->flags & FTW_MOUNT) && st.st_dev != w->dev)
		return 0;
	if (S_ISDIR(st.st_mode))
		return visit_directory(w, dirfd, &st, len, base, level);
	return report(w, &st, S_ISLNK(st.st_mode) ? FTW_SL : FTW_F, base, level);
}

/* Stands in the directory that holds the path while it is walked. */
static int walk_from_parent(struct walk *w, size_t len, int base)
{
	int here = hook_open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0, error;
	char parent[PATH_MAX];

	if (here < 0)
		return -1;
	memcpy(parent, w->path, (size_t)base);
	parent[base] = '\0';
	if (base > 0)
		r = hook_chdir(parent);
	if (r == 0)
		r = visit(w, AT_FDCWD, len, base, 0);
	error = errno;
	hook_fchdir(here);
	hook_close(here);
	errno = error;
	return r;
}

static int walk(const char *path, __nftw_func_t nftw_fn, __ftw_func_t ftw_fn, int flags)
{
	_cleanup_free_ struct walk *w = calloc(1, sizeof *w);
	size_t len = strlen(path);
	const char *slash;
	int base, r;

	if (!w)
		return -1;
	if (len == 0 || len >= PATH_MAX) {
		errno = len ? ENAMETOOLONG : ENOENT;
		return -1;
	}
	if (!make_room(w, PATH_MAX))
		return -1;
	w->nftw = nftw_fn;
	w->ftw = ftw_fn;
	w->flags = flags;
	memcpy(w->path, path, len + 1);
	while (len > 1 && w->path[len - 1] == '/')
		w->path[--len] = '\0';
	slash = strrchr(w->path, '/');
	base = slash ? (int)(slash - w->path) + 1 : 0;
	r = flags & FTW_CHDIR ? walk_from_parent(w, len, base) : visit(w, AT_FDCWD, len, base, 0);
	free(w->path);
	if ((flags & FTW_ACTIONRETVAL) && (r == FTW_SKIP_SUBTREE || r == FTW_SKIP_SIBLINGS))
		r = 0;
	return r;
}

int hook_nftw(const char *path, __nftw_func_t fn, int n_fds, int flags)
{
	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(nftw)(path, fn, n_fds, flags);
	if (flags & ~FTW_KNOWN) {
		errno = EINVAL;
		return -1;
	}
	return walk(path, fn, NULL, flags);
}

int hook_ftw(const char *path, __ftw_func_t fn, int n_fds)
{
	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(ftw)(path, fn, n_fds);
	return walk(path, NULL, fn, 0);
}

DEFINE_ALIASES(ftw)
