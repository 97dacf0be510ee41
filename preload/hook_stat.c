/* Purpose: attributes, and who may do what. */
#include "hook.h"

#include "raw.h"

int stat_ofd(struct ofd *o, struct ff3fs_attr *ret)
{
	struct ff3fs *fs;
	int r;

	if (o->file)
		return CALL(fstat, o->file, ret);
	r = core_fs(&fs);
	return r < 0 ? r : CALL(stat, fs, o->ino, "", FF3FS_NOFOLLOW, ret);
}

void stat_fill(const struct ff3fs_attr *a, struct stat *st)
{
	ff3_attr_to_stat(a, CALL(device, core_loaded()), st);
}

static int give_stat(struct stat *user, const struct ff3fs_attr *a)
{
	struct stat st;

	stat_fill(a, &st);
	return memory_copy_out(user, &st, sizeof st) ? 0 : -EFAULT;
}

/* Attributes of a path, or of dirfd itself. w->native is set if it led outside. */
static int stat_where(struct where *w, int r, bool nofollow, struct ff3fs_attr *ret)
{
	while (r > 0)
		r = where_next(w, CALL(stat, w->fs, w->dir, w->path, nofollow ? FF3FS_NOFOLLOW : 0,
				       ret));
	return r;
}

/* An open file's own attributes: it may have no name any more, and writes may be under way. */
static int stat_fd(int fd, struct ff3fs_attr *ret)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	return r > 0 ? (r = stat_ofd(o, ret), r < 0 ? r : 1) : r;
}

#define STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)

int hook_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	struct where w;
	struct ff3fs_attr a;
	bool nofollow = flags & AT_SYMLINK_NOFOLLOW;
	bool empty = (flags & AT_EMPTY_PATH) != 0;
	unsigned wf = (nofollow ? WHERE_NOFOLLOW : 0) | (empty ? WHERE_EMPTY : 0);
	int r = where_init(&w, dirfd, path, wf);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(fstatat)(dirfd, path, st, flags), &w, dirfd, path, wf);
	/* AT_STATX_* are let through, as the kernel does. */
	if (flags & ~(STAT_FLAGS | AT_STATX_SYNC_TYPE))
		r = -EINVAL;
	if (r > 0 && empty && !*w.path && dirfd >= 0)
		r = stat_fd(dirfd, &a) < 0 ? -EBADF : 0;
	else
		r = stat_where(&w, r, nofollow, &a);
	if (r == 0 && w.native)
		return REAL(fstatat)(AT_FDCWD, w.native, st, flags);
	return (int)hook_result(r < 0 ? r : give_stat(st, &a));
}

int hook_stat(const char *path, struct stat *st)
{
	return hook_fstatat(AT_FDCWD, path, st, 0);
}

int hook_lstat(const char *path, struct stat *st)
{
	return hook_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int hook_fstat(int fd, struct stat *st)
{
	struct ff3fs_attr a;
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fstat)(fd, st);
	if (r > 0)
		r = stat_ofd(o, &a);
	return (int)hook_result(r < 0 ? r : give_stat(st, &a));
}

/* Binaries from before glibc 2.33. The version is that of struct stat: 1 (and 0 on arm64). */
int hook___xstat(int version, const char *path, struct stat *st)
{
	return version > 1 ? (int)hook_result(-EINVAL) : hook_stat(path, st);
}

int hook___lxstat(int version, const char *path, struct stat *st)
{
	return version > 1 ? (int)hook_result(-EINVAL) : hook_lstat(path, st);
}

int hook___fxstat(int version, int fd, struct stat *st)
{
	return version > 1 ? (int)hook_result(-EINVAL) : hook_fstat(fd, st);
}

int hook___fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags)
{
	return version > 1 ? (int)hook_result(-EINVAL) : hook_fstatat(dirfd, path, st, flags);
}

static int give_statx(struct statx *user, const struct ff3fs_attr *a)
{
	struct statx stx;

	ff3_attr_to_statx(a, CALL(device, core_loaded()), &stx);
	return memory_copy_out(user, &stx, sizeof stx) ? 0 : -EFAULT;
}

int hook_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *st)
{
	struct where w;
	struct ff3fs_attr a;
	bool nofollow = flags & AT_SYMLINK_NOFOLLOW;
	bool empty = (flags & AT_EMPTY_PATH) != 0;
	unsigned wf = (nofollow ? WHERE_NOFOLLOW : 0) | (empty ? WHERE_EMPTY : 0);
	int r;

	/* Some ask for a descriptor by a null path. */
	if (UNLIKELY(!path && empty && dirfd >= 0))
		path = "";
	r = where_init(&w, dirfd, path, wf);
	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(statx)(dirfd, path, flags, mask, st), &w, dirfd, path,
					 wf);
	if (r > 0 && ((mask & 0x80000000u) || (flags & ~(STAT_FLAGS | AT_STATX_SYNC_TYPE)) ||
		      (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE))
		r = -EINVAL;
	if (r > 0 && empty && !*w.path && dirfd >= 0)
		r = stat_fd(dirfd, &a) < 0 ? -EBADF : 0;
	else
		r = stat_where(&w, r, nofollow, &a);
	if (r == 0 && w.native)
		return REAL(statx)(AT_FDCWD, w.native, flags, mask, st);
	return (int)hook_result(r < 0 ? r : give_statx(st, &a));
}

int hook_faccessat(int dirfd, const char *path, int mode, int flags)
{
	struct where w;
	bool nofollow = flags & AT_SYMLINK_NOFOLLOW;
	unsigned wf = (nofollow ? WHERE_NOFOLLOW : 0) | (flags & AT_EMPTY_PATH ? WHERE_EMPTY : 0);
	int r = where_init(&w, dirfd, path, wf);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(faccessat)(dirfd, path, mode, flags), &w, dirfd, path, wf);
	if (r > 0 && ((mode & ~(R_OK | W_OK | X_OK)) ||
		      (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))))
		r = -EINVAL;
	while (r > 0)
		r = where_next(&w, CALL(access, w.fs, w.dir, w.path, mode,
					(nofollow ? FF3FS_NOFOLLOW : 0) |
						(flags & AT_EACCESS ? 0 : FF3FS_REAL_USER)));
	if (r == 0 && w.native)
		return REAL(faccessat)(AT_FDCWD, w.native, mode, flags);
	return (int)hook_result(r);
}

int hook_access(const char *path, int mode)
{
	struct where w;

	if (LIKELY(where_init(&w, AT_FDCWD, path, 0) == 0))
		NATIVE_UNLESS_LINKED(REAL(access)(path, mode), &w, AT_FDCWD, path, 0);
	return hook_faccessat(AT_FDCWD, path, mode, 0);
}

int hook_euidaccess(const char *path, int mode)
{
	struct where w;

	if (LIKELY(where_init(&w, AT_FDCWD, path, 0) == 0))
		NATIVE_UNLESS_LINKED(REAL(euidaccess)(path, mode), &w, AT_FDCWD, path, 0);
	return hook_faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

DEFINE_ALIASES(stat)
