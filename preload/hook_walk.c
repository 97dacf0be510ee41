/* Purpose: what libc builds on directories inside itself, where it calls itself: scandir, glob and
 * realpath. For our paths these are done here, on the hooks. */
#include "hook.h"

#include <stdio.h>

#include "raw.h"

/* --- scandir ------------------------------------------------------------------------------- */

typedef int (*filter_fn)(const struct dirent *);
typedef int (*compare_fn)(const struct dirent **, const struct dirent **);

static int collect(DIR *dir, struct dirent ***ret, filter_fn filter)
{
	struct dirent **list = NULL, *e, *copy;
	size_t n = 0, room = 0;
	int saved = errno;

	errno = 0;
	while ((e = hook_readdir(dir))) {
		if (filter && !filter(e))
			continue;
		if (n == room) {
			struct dirent **more = reallocarray(list, room = room * 2 + 16, sizeof *list);

			if (!more)
				break;
			list = more;
		}
		copy = malloc(e->d_reclen);
		if (!copy)
			break;
		list[n++] = memcpy(copy, e, e->d_reclen);
		errno = 0;
	}
	if (e || errno) {
		saved = errno ? errno : ENOMEM;
		while (n > 0)
			free(list[--n]);
		free(list);
		errno = saved;
		return -1;
	}
	errno = saved;
	*ret = list;
	return (int)n;
}

int hook_scandirat(int dirfd, const char *path, struct dirent ***ret, filter_fn filter,
		   compare_fn compare)
{
	struct dirent **list;
	DIR *dir;
	int fd, n;

	if (LIKELY(!where_is_ours(dirfd, path)))
		return REAL(scandirat)(dirfd, path, ret, filter, compare);
	fd = hook_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : hook_fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			fd_close(fd);
		return -1;
	}
	n = collect(dir, &list, filter);
	hook_closedir(dir);
	if (n < 0)
		return -1;
	if (compare && n > 1)
		qsort(list, (size_t)n, sizeof *list,
		      (int (*)(const void *, const void *))(void *)compare);
	*ret = list;
	return n;
}

int hook_scandir(const char *path, struct dirent ***ret, filter_fn filter, compare_fn compare)
{
	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(scandir)(path, ret, filter, compare);
	return hook_scandirat(AT_FDCWD, path, ret, filter, compare);
}

/* --- glob ---------------------------------------------------------------------------------- */

static void glob_closedir(void *dir)
{
	hook_closedir(dir);
}

static struct dirent *glob_readdir(void *dir)
{
	return hook_readdir(dir);
}

static void *glob_opendir(const char *path)
{
	return hook_opendir(path);
}

int hook_glob(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *g)
{
	glob_t saved;
	int r;

	if (LIKELY(!init_active()) || (flags & GLOB_ALTDIRFUNC))
		return REAL(glob)(pattern, flags, on_error, g);
	saved = *g;
	g->gl_closedir = glob_closedir;
	g->gl_readdir = glob_readdir;
	g->gl_opendir = glob_opendir;
	g->gl_lstat = hook_lstat;
	g->gl_stat = hook_stat;
	r = REAL(glob)(pattern, flags | GLOB_ALTDIRFUNC, on_error, g);
	g->gl_flags &= ~GLOB_ALTDIRFUNC;
	g->gl_closedir = saved.gl_closedir;
	g->gl_readdir = saved.gl_readdir;
	g->gl_opendir = saved.gl_opendir;
	g->gl_lstat = saved.gl_lstat;
	g->gl_stat = saved.gl_stat;
	return r;
}

/* --- realpath ------------------------------------------------------------------------------ */

/* Splits (dir, path) of w into its directory and last name; the directory's inode goes to w->dir.
 * The name may be "" (the directory itself is meant). */
static int split_last(struct where *w, char name[NAME_MAX + 1])
{
	char parent[PATH_MAX];
	struct ff3fs_attr a;
	size_t n = strlen(w->path), begin;
	int r;

	while (n > 0 && w->path[n - 1] == '/')
		n--;
	for (begin = n; begin > 0 && w->path[begin - 1] != '/';)
		begin--;
	if (n - begin > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->path + begin, n - begin);
	name[n - begin] = '\0';
	memcpy(parent, w->path, begin);
	parent[begin] = '\0';
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		memcpy(parent, w->path, n);
		parent[n] = '\0';
		name[0] = '\0';
	}
	r = CALL(stat, w->fs, w->dir, parent, 0, &a);
	if (r < 0)
		return r;
	if (!S_ISDIR(a.mode))
		return -ENOTDIR;
	w->dir = a.ino;
	return 0;
}

/* One step: resolves the directory part; then the last name, if it is a link, is where to go on
 * (1), else *out is the answer (0). */
static int realpath_step(struct where *w, char out[PATH_MAX])
{
	char name[NAME_MAX + 1];
	struct ff3fs_attr a;
	ssize_t n;
	int r = split_last(w, name);
	size_t len;

	if (r < 0)
		return r;
	r = CALL(stat, w->fs, w->dir, name, FF3FS_NOFOLLOW, &a);
	if (r < 0)
		return r;
	if (S_ISLNK(a.mode)) {
		n = CALL(readlink, w->fs, w->dir, name, w->buf, sizeof w->buf - 1);
		if (n < 0)
			return (int)n;
		w->buf[n] = '\0';
		if (w->buf[0] != '/') {
			w->path = w->buf;
			return 1;
		}
		strcpy(out, w->buf);
		return 2; /* absolute: from the beginning */
	}
	if (S_ISDIR(a.mode))
		return cwd_path_of(w->fs, a.ino, out, PATH_MAX);
	r = cwd_path_of(w->fs, w->dir, out, PATH_MAX);
	if (r < 0)
		return r;
	len = strlen(out);
	if (len + 1 + strlen(name) + 1 > PATH_MAX)
		return -ENAMETOOLONG;
	out[len] = '/';
	strcpy(out + len + 1, name);
	return 0;
}

/* 0 and the answer in out, or 1 and a native path in out that is to be resolved by libc. */
static int realpath_ours(const char *path, char out[PATH_MAX])
{
	char next[PATH_MAX];
	struct where w;
	int r;

	for (int hops = 0; hops < 40; hops++) {
		r = where_init(&w, AT_FDCWD, path, 0);
		if (r < 0)
			return r;
		if (r == 0)
			return strcpy(out, path), 1;
		if (!*w.path) /* a descriptor's file, or the root */
			return cwd_path_of(w.fs, w.dir, out, PATH_MAX);
		for (; r == 1 && hops < 40; hops++) {
			r = realpath_step(&w, out);
			if (r == -FF3FS_REDIRECT)
				r = where_next(&w, r);
			if (r == 0 && w.native)
				return strcpy(out, w.native), 1;
		}
		if (r <= 0)
			return r;
		strcpy(next, out);
		path = next;
	}
	return -ELOOP;
}

char *hook_realpath(const char *path, char *resolved)
{
	char out[PATH_MAX], *native;
	struct where w;
	struct stat st;
	int r;

	if (LIKELY(!path || !where_is_ours(AT_FDCWD, path))) {
		native = REAL(realpath)(path, resolved);
		if (LIKELY(native || !path || where_through_links(&w, AT_FDCWD, path, 0) <= 0))
			return native;
		snprintf(out, sizeof out, "%s%s", prefix_text(w.index), w.path);
		return hook_realpath(out, resolved);
	}
	r = *path ? realpath_ours(path, out) : -ENOENT;
	/* A slash at the end asks for a directory. */
	if (r == 0 && path[strlen(path) - 1] == '/' && (hook_stat(out, &st) < 0 || !S_ISDIR(st.st_mode)))
		r = -ENOTDIR;
	if (r > 0)
		return REAL(realpath)(out, resolved);
	if (hook_result(r) < 0)
		return NULL;
	if (!resolved)
		return strdup(out);
	return strcpy(resolved, out);
}

char *hook___realpath_chk(const char *path, char *resolved, size_t size)
{
	if (size < PATH_MAX)
		return REAL(__realpath_chk)(path, resolved, size); /* aborts */
	return hook_realpath(path, resolved);
}

char *hook_canonicalize_file_name(const char *path)
{
	return hook_realpath(path, NULL);
}

DEFINE_ALIASES(walk)
