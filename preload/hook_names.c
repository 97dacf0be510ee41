/* Purpose: making, removing, renaming and linking names. */
#include "hook.h"

#include <sys/un.h>

#include "raw.h"

/* One call of the core on one path; native: what to do where a link led outside. */
#define PATH_HOOK(dirfd, path, wflags, real_call, core_call, native_call)                           \
	struct where w;                                                                            \
	int r = where_init(&w, dirfd, path, wflags);                                               \
	if (LIKELY(r == 0))                                                                        \
		r = NATIVE_UNLESS_LINKED(real_call, &w, dirfd, path, wflags);                      \
	while (r > 0)                                                                              \
		r = where_next(&w, core_call);                                                     \
	if (r == 0 && w.native)                                                                    \
		r = (int)(native_call);                                                            \
	return (int)hook_result(r)

int hook_mkdir(const char *path, mode_t mode)
{
	PATH_HOOK(AT_FDCWD, path, 0, REAL(mkdir)(path, mode),
		  CALL(mkdir, w.fs, w.dir, w.path, mode & 07777 & ~init_umask()),
		  RAW(mkdirat, AT_FDCWD, w.native, mode));
}

int hook_mkdirat(int dirfd, const char *path, mode_t mode)
{
	PATH_HOOK(dirfd, path, 0, REAL(mkdirat)(dirfd, path, mode),
		  CALL(mkdir, w.fs, w.dir, w.path, mode & 07777 & ~init_umask()),
		  RAW(mkdirat, AT_FDCWD, w.native, mode));
}

int hook_rmdir(const char *path)
{
	PATH_HOOK(AT_FDCWD, path, 0, REAL(rmdir)(path), CALL(rmdir, w.fs, w.dir, w.path),
		  RAW(unlinkat, AT_FDCWD, w.native, AT_REMOVEDIR));
}

int hook_unlink(const char *path)
{
	PATH_HOOK(AT_FDCWD, path, WHERE_NOFOLLOW, REAL(unlink)(path),
		  CALL(unlink, w.fs, w.dir, w.path), RAW(unlinkat, AT_FDCWD, w.native, 0));
}

int hook_unlinkat(int dirfd, const char *path, int flags)
{
	PATH_HOOK(dirfd, path, WHERE_NOFOLLOW, REAL(unlinkat)(dirfd, path, flags),
		  flags & ~AT_REMOVEDIR	 ? -EINVAL :
		  flags & AT_REMOVEDIR ? CALL(rmdir, w.fs, w.dir, w.path) :
					 CALL(unlink, w.fs, w.dir, w.path),
		  RAW(unlinkat, AT_FDCWD, w.native, flags));
}

int hook_remove(const char *path)
{
	int saved = errno, r;

	if (LIKELY(!init_active()))
		return REAL(remove)(path);
	r = hook_unlink(path);
	if (r < 0 && errno == EISDIR) {
		errno = saved;
		r = hook_rmdir(path);
	}
	return r;
}

/* --- Two paths ----------------------------------------------------------------------------- */

/* Both sides of a rename or link are resolved to one that the core can take. A redirect cannot be
 * told to one side, so both are asked on their own: the parent's attributes show which leads out.
 * Then the kernel's answer for names on two file systems is EXDEV. */
struct pair {
	struct where from, to;
	int from_r, to_r; /* as where_init */
};

/* The native call failed with ENOENT: does one side lead into a prefix through links? As pair_init. */
static int pair_through_links(struct pair *p, int from_dir, const char *from, int to_dir,
			      const char *to, unsigned from_flags)
{
	p->from_r = where_through_links(&p->from, from_dir, from, from_flags);
	p->to_r = where_through_links(&p->to, to_dir, to, WHERE_NOFOLLOW);
	if (p->from_r < 0 || p->to_r < 0)
		return MIN(p->from_r, p->to_r);
	return p->from_r && p->to_r ? 1 : p->from_r || p->to_r ? -EXDEV : 0;
}

#define PAIR_UNLESS_LINKED(call, p, ...)                                                           \
	({                                                                                         \
		int _native = (call);                                                              \
		int _linked = UNLIKELY(_native < 0) ? pair_through_links(p, __VA_ARGS__) : 0;      \
		if (LIKELY(_linked == 0))                                                          \
			return _native;                                                            \
		_linked;                                                                           \
	})

/* Is there a directory for a native name? What the kernel would say of it comes before EXDEV. */
static int native_parent(int dirfd, const char *path)
{
	char parent[PATH_MAX];
	size_t n;
	long fd;

	if (!string_readable(path))
		return -EFAULT;
	n = strlen(path);
	if (n == 0 || n >= sizeof parent)
		return n ? -ENAMETOOLONG : -ENOENT;
	memcpy(parent, path, n + 1);
	while (n > 0 && parent[n - 1] == '/')
		n--;
	while (n > 0 && parent[n - 1] != '/')
		n--;
	strcpy(parent + n, ".");
	fd = RAW(openat, dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		raw_close((int)fd);
	return fd < 0 ? (int)fd : 0;
}

static int pair_init(struct pair *p, int from_dir, const char *from, int to_dir, const char *to,
		     unsigned from_flags)
{
	p->from_r = where_init(&p->from, from_dir, from, from_flags);
	p->to_r = where_init(&p->to, to_dir, to, WHERE_NOFOLLOW);
	if (p->from_r == 0 && p->to_r == 0)
		return 0;
	if (p->from_r < 0)
		return p->from_r;
	if (p->to_r < 0)
		return p->to_r;
	if (p->from_r && p->to_r)
		return 1;
	return -EXDEV;
}

/* What is before the last name of path. */
static void directory_part(const char *path, char parent[PATH_MAX])
{
	const char *slash;
	size_t n = strlen(path);

	while (n > 0 && path[n - 1] == '/')
		n--;
	slash = memrchr(path, '/', n);
	n = slash ? (size_t)(slash - path) : 0;
	memcpy(parent, path, n);
	parent[n] = '\0';
}

/* Follows one side's directory part until it stays inside; -EXDEV if it ends outside. */
static int settle(struct where *w)
{
	struct ff3fs_attr a;
	char parent[PATH_MAX];
	int r = 1;

	while (r > 0) {
		directory_part(w->path, parent);
		r = CALL(stat, w->fs, w->dir, parent, 0, &a);
		if (r == -FF3FS_REDIRECT)
			return -EXDEV;
		r = r < 0 && r != -ENOENT && r != -ENOTDIR ? r : 0;
	}
	return r;
}

/* Is there a directory for a name of ours? */
static int parent_of(const struct where *w)
{
	struct ff3fs_attr a;
	char parent[PATH_MAX];
	int r;

	if (!string_readable(w->path) || strlen(w->path) >= sizeof parent)
		return 0;
	directory_part(w->path, parent);
	r = CALL(stat, w->fs, w->dir, parent, 0, &a);
	return r == -FF3FS_REDIRECT ? 0 : r == -ESTALE ? -ENOENT : r < 0 ? r : S_ISDIR(a.mode) ? 0 : -ENOTDIR;
}

/* One of the two cannot be had, or they are on two systems: what the kernel would say of the first comes before what
 * it would say of the other. */
static int rename_across(const struct pair *p, int r, int from_dir, const char *from, int to_dir, const char *to)
{
	int e = p->from_r > 0 ? parent_of(&p->from) : p->from_r < 0 ? p->from_r : native_parent(from_dir, from);

	if (e == 0)
		e = p->to_r > 0 ? parent_of(&p->to) : p->to_r < 0 ? p->to_r : native_parent(to_dir, to);
	return e < 0 ? e : r;
}

static int rename_ours(struct pair *p, unsigned flags)
{
	int r = CALL(rename, p->from.fs, p->from.dir, p->from.path, p->to.dir, p->to.path, flags);

	if (r != -FF3FS_REDIRECT)
		return r;
	r = settle(&p->from);
	return r < 0 ? r : settle(&p->to) < 0 ? -EXDEV : -ELOOP;
}

int hook_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	struct pair p;
	int r = pair_init(&p, from_dir, from, to_dir, to, WHERE_NOFOLLOW);

	bool wrong = (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
		     ((flags & RENAME_EXCHANGE) && (flags & ~RENAME_EXCHANGE));

	if (LIKELY(r == 0))
		r = PAIR_UNLESS_LINKED(REAL(renameat2)(from_dir, from, to_dir, to, flags), &p, from_dir,
				       from, to_dir, to, WHERE_NOFOLLOW);
	if (r < 0 && wrong)
		r = -EINVAL;
	else if (r > 0 && (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		r = -EINVAL;
	else if (r < 0)
		r = rename_across(&p, r, from_dir, from, to_dir, to);
	return (int)hook_result(r < 0 ? r : rename_ours(&p, flags));
}

int hook_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	struct pair p;
	int r = pair_init(&p, from_dir, from, to_dir, to, WHERE_NOFOLLOW);

	if (LIKELY(r == 0))
		r = PAIR_UNLESS_LINKED(REAL(renameat)(from_dir, from, to_dir, to), &p, from_dir, from,
				       to_dir, to, WHERE_NOFOLLOW);
	if (r < 0)
		r = rename_across(&p, r, from_dir, from, to_dir, to);
	return (int)hook_result(r < 0 ? r : rename_ours(&p, 0));
}

int hook_rename(const char *from, const char *to)
{
	struct pair p;
	int r = pair_init(&p, AT_FDCWD, from, AT_FDCWD, to, WHERE_NOFOLLOW);

	if (LIKELY(r == 0))
		r = PAIR_UNLESS_LINKED(REAL(rename)(from, to), &p, AT_FDCWD, from, AT_FDCWD, to,
				       WHERE_NOFOLLOW);
	if (r < 0)
		r = rename_across(&p, r, AT_FDCWD, from, AT_FDCWD, to);
	return (int)hook_result(r < 0 ? r : rename_ours(&p, 0));
}

/* 0, or why what is to be linked cannot be had. */
static int link_source(int from_dir, const char *from, int flags)
{
	struct stat st;
	int saved = errno, r;

	r = hook_fstatat(from_dir, from, &st,
			 (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) | (flags & AT_EMPTY_PATH)) < 0 ?
		    -errno :
		    0;
	errno = saved;
	return r;
}

/* Of two systems: what has no other cause is EXDEV. */
static int link_across(const struct pair *p, int from_dir, const char *from, int to_dir, const char *to,
		       int flags)
{
	struct stat st;
	int saved = errno, r = link_source(from_dir, from, flags);

	if (r < 0)
		return r;
	if (hook_fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = -EEXIST;
	else
		r = p->to_r ? -EXDEV : native_parent(to_dir, to);
	errno = saved;
	return r < 0 ? r : -EXDEV;
}

int hook_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	struct pair p;
	bool follow = flags & AT_SYMLINK_FOLLOW;
	int r = pair_init(&p, from_dir, from, to_dir, to,
			  (follow ? 0 : WHERE_NOFOLLOW) | (flags & AT_EMPTY_PATH ? WHERE_EMPTY : 0));

	if (LIKELY(r == 0))
		return REAL(linkat)(from_dir, from, to_dir, to, flags);
	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		r = -EINVAL;
	if (r > 0) {
		r = CALL(link, p.from.fs, p.from.dir, p.from.path, p.to.dir, p.to.path,
			 follow ? 0 : FF3FS_NOFOLLOW);
		r = r == -FF3FS_REDIRECT ? -EXDEV : r;
	}
	if (r < 0 && p.from_r >= 0 && p.to_r < 0) { /* the first path comes first */
		int e = link_source(from_dir, from, flags);

		r = e < 0 ? e : r;
	}
	return (int)hook_result(r == -EXDEV ? link_across(&p, from_dir, from, to_dir, to, flags) : r);
}

int hook_link(const char *from, const char *to)
{
	struct pair p;

	if (LIKELY(pair_init(&p, AT_FDCWD, from, AT_FDCWD, to, WHERE_NOFOLLOW) == 0))
		return REAL(link)(from, to);
	return hook_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* --- Symbolic links ------------------------------------------------------------------------ */

int hook_symlinkat(const char *target, int dirfd, const char *path)
{
	struct where w;
	int r = where_init(&w, dirfd, path, WHERE_NOFOLLOW);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(symlinkat)(target, dirfd, path), &w, dirfd, path,
					 WHERE_NOFOLLOW);
	if (r > 0 && !string_readable(target))
		r = -EFAULT;
	else if (r > 0 && !*target)
		r = -ENOENT;
	while (r > 0)
		r = where_next(&w, CALL(symlink, w.fs, target, w.dir, w.path));
	if (r == 0 && w.native)
		r = (int)RAW(symlinkat, target, AT_FDCWD, w.native);
	return (int)hook_result(r);
}

int hook_symlink(const char *target, const char *path)
{
	return hook_symlinkat(target, AT_FDCWD, path);
}

static ssize_t readlink_ours(struct where *w, int r, char *buf, size_t size)
{
	char text[PATH_MAX];
	ssize_t n = -ELOOP;

	if (size == 0 || size > SSIZE_MAX) /* before anything else */
		r = -EINVAL;
	while (r > 0) {
		n = CALL(readlink, w->fs, w->dir, w->path, text, MIN(size, sizeof text));
		r = where_next(w, n);
	}
	if (r < 0)
		return r;
	if (w->native)
		return RAW(readlinkat, AT_FDCWD, w->native, buf, size);
	return memory_copy_out(buf, text, (size_t)n) ? n : -EFAULT;
}

/* Where a descriptor of ours leads, told from its number in /proc. 0: as the kernel has it. */
static ssize_t readlink_fd(const char *path, char *buf, size_t size)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int fd = where_names_fd(path);
	char text[PATH_MAX];
	size_t n;

	if (LIKELY(fd < 0) || size == 0 || size > SSIZE_MAX || fdtab_get(fd, &o) <= 0 ||
	    cwd_path_of(core_loaded(), o->ino, text, sizeof text) < 0)
		return 0; /* it has no name any more */
	n = MIN(strlen(text), size);
	return memory_copy_out(buf, text, n) ? (ssize_t)n : -EFAULT;
}

ssize_t hook_readlink(const char *path, char *buf, size_t size)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, WHERE_NOFOLLOW);
	ssize_t n = r == 0 ? readlink_fd(path, buf, size) : 0;

	if (UNLIKELY(n != 0))
		return hook_result(n);
	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED((int)REAL(readlink)(path, buf, size), &w, AT_FDCWD, path,
					 WHERE_NOFOLLOW);
	return hook_result(readlink_ours(&w, r, buf, size));
}

/* An empty path means a descriptor that names a link. */
static bool names_link(int fd)
{
	struct stat st;

	return hook_fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

ssize_t hook_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	struct where w;
	int r = where_init(&w, dirfd, path, WHERE_NOFOLLOW | WHERE_EMPTY);
	ssize_t n;

	n = r == 0 ? readlink_fd(path, buf, size) : 0;
	if (UNLIKELY(n != 0))
		return hook_result(n);
	if (r > 0 && !*w.path && path && !*path && (dirfd < 0 || !names_link(dirfd)))
		r = -ENOENT;
	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED((int)REAL(readlinkat)(dirfd, path, buf, size), &w, dirfd, path,
					 WHERE_NOFOLLOW);
	return hook_result(readlink_ours(&w, r, buf, size));
}

ssize_t hook___readlink_chk(const char *path, char *buf, size_t n, size_t size)
{
	if (n > size)
		return REAL(__readlink_chk)(path, buf, n, size); /* aborts */
	return hook_readlink(path, buf, n);
}

ssize_t hook___readlinkat_chk(int dirfd, const char *path, char *buf, size_t n, size_t size)
{
	if (n > size)
		return REAL(__readlinkat_chk)(dirfd, path, buf, n, size);
	return hook_readlinkat(dirfd, path, buf, n);
}

/* --- Special files ------------------------------------------------------------------------- */

/* 0 if something could be made at this path, or why not: as the kernel says it, which does not care
 * for a slash at the end of a name that exists. */
static int may_make(struct where *w)
{
	char path[PATH_MAX];
	struct ff3fs_attr a;
	size_t n = strlen(w->path);
	bool slash = n > 0 && w->path[n - 1] == '/';
	int r;

	if (n >= sizeof path)
		return -ENAMETOOLONG;
	memcpy(path, w->path, n + 1);
	while (n > 0 && path[n - 1] == '/')
		path[--n] = '\0';
	r = CALL(stat, w->fs, w->dir, path, FF3FS_NOFOLLOW, &a);
	if (r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	while (n > 0 && path[n - 1] != '/')
		path[--n] = '\0';
	r = CALL(stat, w->fs, w->dir, path, 0, &a);
	if (r == 0)
		r = slash ? -ENOENT : CALL(access, w->fs, w->dir, path, W_OK | X_OK, 0);
	return r;
}

static int mknod_ours(struct where *w, mode_t mode)
{
	size_t n = strlen(w->path);
	bool slash = n > 0 && w->path[n - 1] == '/';
	int fd, r = 1;

	if (S_ISDIR(mode))
		return -EPERM;
	if ((mode & S_IFMT) != 0 && !S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode) &&
	    !S_ISCHR(mode) && !S_ISBLK(mode))
		return -EINVAL;
	if (S_ISFIFO(mode) || S_ISSOCK(mode)) {
		while (r > 0)
			r = where_next(w, CALL(mknod, w->fs, w->dir, w->path, mode & ~init_umask(),
					       NULL));
		return r == 0 && w->native ? -EXDEV : r;
	}
	if (S_ISCHR(mode) || S_ISBLK(mode) || slash) {
		do
			r = may_make(w);
		while (r < 0 && (r = where_next(w, r)) > 0);
		if (r < 0 || w->native)
			return w->native ? -EXDEV : r;
		return -EPERM;
	}
	fd = open_ours(w, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 07777);
	return fd < 0 ? fd : fd_close(fd);
}

int hook_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
	struct where w;
	int r = where_init(&w, dirfd, path, WHERE_NOFOLLOW);

	if (LIKELY(r == 0))
		return REAL(mknodat)(dirfd, path, mode, dev);
	return (int)hook_result(r < 0 ? r : mknod_ours(&w, mode));
}

int hook_mknod(const char *path, mode_t mode, dev_t dev)
{
	return hook_mknodat(AT_FDCWD, path, mode, dev);
}

int hook___xmknod(int version, const char *path, mode_t mode, dev_t *dev)
{
	return version != 0 ? (int)hook_result(-EINVAL) : hook_mknodat(AT_FDCWD, path, mode, *dev);
}

int hook___xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *dev)
{
	return version != 0 ? (int)hook_result(-EINVAL) : hook_mknodat(dirfd, path, mode, *dev);
}

int hook_mkfifoat(int dirfd, const char *path, mode_t mode)
{
	return hook_mknodat(dirfd, path, mode | S_IFIFO, 0);
}

int hook_mkfifo(const char *path, mode_t mode)
{
	return hook_mknodat(AT_FDCWD, path, mode | S_IFIFO, 0);
}

DEFINE_ALIASES(names)
