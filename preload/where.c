/* Purpose: from what an application wrote (dirfd, path) to (directory inode, path) of the file
 * system, and back to a native path when a symbolic link or ".." led out of it.
 * Threads: no state. Fork/signal: as core_fs. */
#include "hook.h"

#include <stdio.h>

#include "raw.h"

/* /dev/stdin, /dev/fd/N, /proc/self/fd/N and what follows it. The descriptor or -1. */
static int special_fd(const char *path, const char **ret_rest)
{
	static const char *const std[] = { "/dev/stdin", "/dev/stdout", "/dev/stderr" };
	static const char *const dirs[] = { "/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/" };
	const char *p = NULL;
	int fd = 0, n = 0;

	for (int i = 0; i < 3; i++) {
		size_t len = strlen(std[i]);

		if (strcmp(path, std[i]) == 0)
			return *ret_rest = path + len, i;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dirs) && !p; i++)
		if (strncmp(path, dirs[i], strlen(dirs[i])) == 0)
			p = path + strlen(dirs[i]);
	if (!p && strncmp(path, "/proc/", 6) == 0) {
		long pid = 0;

		for (p = path + 6; *p >= '0' && *p <= '9' && pid < 1 << 24; p++)
			pid = pid * 10 + (*p - '0');
		if (pid == 0 || pid != RAW(getpid) || strncmp(p, "/fd/", 4) != 0)
			return -1;
		p += 4;
	}
	for (; p && *p >= '0' && *p <= '9' && n < 8; p++, n++)
		fd = fd * 10 + (*p - '0');
	if (n == 0 || (*p && *p != '/'))
		return -1;
	*ret_rest = p;
	return fd;
}

static int start(struct where *w, uint64_t dir, const char *path)
{
	int r;

	if (!string_readable(path))
		return -EFAULT;
	r = core_fs(&w->fs);
	if (r < 0)
		return r;
	w->dir = dir;
	w->path = path;
	return 1;
}

static int from_fd(struct where *w, int fd, const char *rest)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (r <= 0)
		return r;
	return start(w, o->ino, rest);
}

/* A relative path that may lead into a prefix from a native directory. */
static int from_native_dir(struct where *w, int dirfd, const char *path)
{
	char link[40], base[PATH_MAX];
	const char *rest;
	long n;

	if (path[0] == '/') {
		base[0] = '\0';
	} else if (dirfd == AT_FDCWD) {
		n = RAW(getcwd, base, sizeof base);
		if (n < 0 || base[0] != '/')
			return 0;
	} else {
		snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
		n = RAW(readlinkat, AT_FDCWD, link, base, sizeof base - 1);
		if (n <= 0 || base[0] != '/')
			return 0;
		base[n] = '\0';
	}
	if (prefix_normalize(base, path, w->buf) < 0 ||
	    prefix_classify_normal(w->buf, &rest, &w->index) != PREFIX_INSIDE)
		return 0;
	return start(w, FF3FS_ROOT, rest);
}

int where_init_slow(struct where *w, int dirfd, const char *path, unsigned flags)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	enum prefix_kind kind;
	const char *rest;
	uint64_t cwd;
	int r, fd;

	w->native = NULL;
	w->hops = 0;
	w->index = 0;
	kind = prefix_classify(path, &rest, &w->index);
	switch (kind) {
	case PREFIX_FAULT:
		return 0; /* the kernel says EFAULT or ENAMETOOLONG */
	case PREFIX_INSIDE:
		r = start(w, FF3FS_ROOT, rest);
		/* The kernel's limit counts what the application wrote, prefix and all. */
		return r > 0 && strlen(path) >= PATH_MAX ? -ENAMETOOLONG : r;
	case PREFIX_SPECIAL:
		fd = special_fd(path, &rest);
		return fd < 0 || ((flags & WHERE_NOFOLLOW) && !*rest) ? 0 : from_fd(w, fd, rest);
	case PREFIX_RELATIVE:
	case PREFIX_OUTSIDE:
		break;
	}
	if (path[0] != '/') {
		if (dirfd == AT_FDCWD) {
			cwd = cwd_inode();
			if (cwd)
				return path[0] || (flags & WHERE_EMPTY) ? start(w, cwd, path) : -ENOENT;
		} else {
			r = fdtab_get(dirfd, &o);
			if (r < 0)
				return r;
			if (r > 0) {
				if (!path[0] && !(flags & WHERE_EMPTY))
					return -ENOENT;
				return start(w, o->ino, path);
			}
		}
	}
	return kind == PREFIX_RELATIVE ? from_native_dir(w, dirfd, path) : 0;
}

/* One component more: cur grows by name, or becomes what a link names. Returns 1 and the rest still
 * to walk in rest (which it may rewrite), or 0 if there is nothing there. */
static int step(char cur[PATH_MAX], const char *name, size_t len, char rest[PATH_MAX], bool follow)
{
	char link[PATH_MAX], joined[PATH_MAX];
	size_t n = strlen(cur);
	long got;

	if (len == 1 && name[0] == '.')
		return 1;
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		while (n > 0 && cur[n - 1] != '/')
			n--;
		cur[n > 0 ? n - 1 : 0] = '\0';
		return 1;
	}
	if (n + 1 + len >= PATH_MAX)
		return 0;
	cur[n] = '/';
	memcpy(cur + n + 1, name, len);
	cur[n + 1 + len] = '\0';
	got = follow ? RAW(readlinkat, AT_FDCWD, cur, link, sizeof link - 1) : -EINVAL;
	if (got < 0)
		return 1; /* no link; or not there: then a prefix may still begin here */
	link[got] = '\0';
	if ((size_t)got + strlen(rest) + 2 > sizeof joined)
		return 0;
	stpcpy(stpcpy(stpcpy(joined, link), "/"), rest);
	strcpy(rest, joined);
	cur[link[0] == '/' ? 0 : n] = '\0';
	return 2;
}

/* Walks a native path link by link until it is below a prefix: then 1, with the rest of it. */
static int walk_links(struct where *w, char cur[PATH_MAX], char rest[PATH_MAX], bool nofollow)
{
	const char *inside;
	int links = 0, r;

	for (char *p = rest; *p;) {
		char name[NAME_MAX + 1];
		size_t len = strcspn(p, "/");
		bool last = !p[len];

		if (len == 0) {
			p++;
			continue;
		}
		if (len > NAME_MAX)
			return 0;
		memcpy(name, p, len);
		memmove(rest, p + len, strlen(p + len) + 1);
		r = step(cur, name, len, rest, !(last && nofollow));
		if (r == 0 || (r == 2 && ++links > 40))
			return 0;
		p = rest;
		if (prefix_classify_normal(cur, &inside, &w->index) != PREFIX_INSIDE)
			continue;
		if (strlen(inside) + strlen(rest) + 2 > sizeof w->buf)
			return -ENAMETOOLONG;
		sprintf(w->buf, "%s/%s", inside, rest);
		return start(w, FF3FS_ROOT, w->buf);
	}
	return 0;
}

int where_through_links(struct where *w, int dirfd, const char *path, unsigned flags)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_PATH | O_CLOEXEC | (flags & WHERE_NOFOLLOW ? O_NOFOLLOW : 0), 0,
		  0x04 /* RESOLVE_NO_SYMLINKS */ };
	char cur[PATH_MAX] = "", rest[PATH_MAX], link[40];
	int saved = errno;
	long r;

	/* The library's own paths are no application's. */
	if (saved != ENOENT || !init_active() || !*path || (core_loaded() && core.inside()))
		return 0;
	/* Without links on the way there is nothing to find: one call says so. */
	r = RAW(openat2, dirfd, path, &how, sizeof how);
	if (r >= 0)
		raw_close((int)r);
	if (r != -ELOOP && r != -ENOSYS)
		return 0;
	strcpy(rest, path);
	if (path[0] != '/') {
		if (dirfd == AT_FDCWD) {
			r = RAW(getcwd, cur, sizeof cur);
		} else {
			snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
			r = RAW(readlinkat, AT_FDCWD, link, cur, sizeof cur - 1);
			cur[r > 0 ? r : 0] = '\0';
		}
		if (r <= 0 || cur[0] != '/')
			return 0;
		if (strcmp(cur, "/") == 0)
			cur[0] = '\0';
	}
	w->native = NULL;
	w->hops = 0;
	r = walk_links(w, cur, rest, flags & WHERE_NOFOLLOW);
	errno = saved;
	return (int)r;
}

int where_next(struct where *w, long r)
{
	char target[PATH_MAX], base[PATH_MAX];
	const char *rest, *to;
	char *slash;

	if (LIKELY(r != -FF3FS_REDIRECT)) /* stale: the directory where it begins is gone, and was not held */
		return r == -ESTALE ? -ENOENT : r < 0 ? (int)r : 0;
	if (++w->hops > 40)
		return -ELOOP;
	to = core.redirect();
	if (!to || strlen(to) >= sizeof target)
		return -ENAMETOOLONG;
	strcpy(target, to);
	strcpy(base, prefix_text(w->index));
	slash = strrchr(base, '/');
	slash[slash == base] = '\0';
	if (target[0] != '/') {
		/* From the directory that holds the prefix; what follows keeps its own "..". */
		if (strlen(base) + strlen(target) + 2 > sizeof w->buf)
			return -ENAMETOOLONG;
		sprintf(w->buf, "%s/%s", strcmp(base, "/") == 0 ? "" : base, target);
	} else {
		strcpy(w->buf, target);
	}
	switch (prefix_classify(w->buf, &rest, &w->index)) {
	case PREFIX_INSIDE:
		w->dir = FF3FS_ROOT;
		w->path = rest;
		return 1;
	case PREFIX_RELATIVE:
		if (prefix_normalize("/", w->buf, target) < 0)
			return -ENAMETOOLONG;
		strcpy(w->buf, target);
		if (prefix_classify_normal(w->buf, &rest, &w->index) == PREFIX_INSIDE) {
			w->dir = FF3FS_ROOT;
			w->path = rest;
			return 1;
		}
		break;
	default:
		break;
	}
	w->native = w->buf;
	return 0;
}

int where_names_fd(const char *path)
{
	const char *rest;
	int index, fd = -1;

	if (init_active() && prefix_classify(path, &rest, &index) == PREFIX_SPECIAL)
		fd = special_fd(path, &rest);
	/* /dev/stdin is a link to another one */
	return fd >= 0 && !*rest && strncmp(path, "/dev/std", 8) != 0 && fdtab_is_ours(fd) ? fd : -1;
}

bool where_is_ours(int dirfd, const char *path)
{
	struct where w;
	const char *rest;
	int index;

	if (!init_active())
		return false;
	switch (prefix_classify(path, &rest, &index)) {
	case PREFIX_INSIDE:
		return true;
	case PREFIX_SPECIAL:
		return special_fd(path, &rest) >= 0 && fdtab_is_ours(special_fd(path, &rest));
	case PREFIX_FAULT:
		return false;
	default:
		break;
	}
	if (path[0] != '/' && (dirfd == AT_FDCWD ? cwd_inode() != 0 : fdtab_is_ours(dirfd)))
		return true;
	return prefix_classify(path, &rest, &index) == PREFIX_RELATIVE &&
	       where_init_slow(&w, dirfd, path, 0) > 0;
}
