/* Purpose: what each kind of call is answered. A path that is not ours goes on in the kernel. Ours are
 * read-only here: what would change them gets EROFS.
 *
 * Threads: any; no state. */
#include "notify.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "../common/base/cwd_name.h"
#include "../common/client/attr_stat.h"

static uint64_t arg(const struct notify_call *c, int index)
{
	return index < 0 ? 0 : c->n->data.args[index];
}

static int dirfd_of(const struct notify_call *c, int index)
{
	return index < 0 ? AT_FDCWD : (int)arg(c, index);
}

/* Attributes of c's path; if it leads out, c->native is set. */
static int look(struct notify_call *c, bool nofollow, struct ff3fs_attr *ret)
{
	int r;

	do
		r = ff3fs_stat(notify.fs, c->dir, c->path, nofollow ? FF3FS_NOFOLLOW : 0, ret);
	while (notify_again(c, r));
	return c->native ? 0 : r;
}

/* --- open ---------------------------------------------------------------------------------- */

static int open_flags(struct notify_call *c, const struct notify_row *row, int *ret)
{
	struct open_how how = { 0 };

	if (c->n->data.nr != SYS_openat2) {
		*ret = (int)arg(c, row->flags);
		return 0;
	}
	if (notify_get(c->n, arg(c, 2), &how, MIN(sizeof how, (size_t)arg(c, 3))) < 0)
		return -EFAULT;
	*ret = (int)how.flags;
	return how.resolve ? -ENOSYS : 0; /* programs go on without */
}

static bool wants_to_write(int flags)
{
	return !(flags & O_PATH) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) ||
				     (flags & O_TMPFILE) == O_TMPFILE);
}

static int open_ours(const struct ff3fs_attr *a, int flags)
{
	int r;

	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		return -EROFS;
	if (S_ISDIR(a->mode)) {
		if (wants_to_write(flags) || (flags & O_CREAT))
			return -EISDIR;
		r = flags & O_PATH ? 0 : ff3fs_access(notify.fs, a->ino, "", R_OK, 0);
		return r < 0 ? r : notify_open_dir(a->ino, flags);
	}
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	if (S_ISLNK(a->mode) && !(flags & O_PATH))
		return -ELOOP;
	return wants_to_write(flags) ? -EROFS : notify_open_file(a, flags);
}

static long answer_open(struct notify_call *c, const struct notify_row *row)
{
	struct ff3fs_attr a;
	int flags = 0, r, bad = open_flags(c, row, &flags);

	r = notify_resolve(c, dirfd_of(c, row->dirfd), arg(c, row->path), false);
	if (r <= 0)
		return r == 0 ? NOTIFY_CONTINUE : r;
	if (bad < 0)
		return bad;
	r = look(c, (flags & O_NOFOLLOW) || (flags & O_EXCL), &a);
	if (r == -ENOENT && ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE))
		r = -EROFS;
	if (r < 0)
		return r;
	if (!c->native)
		c->fd = open_ours(&a, flags);
	else if ((c->fd = open(c->native, flags | O_CLOEXEC, 0600)) < 0)
		c->fd = -errno;
	c->fd_cloexec = flags & O_CLOEXEC;
	return c->fd < 0 ? c->fd : 0;
}

/* --- Attributes ---------------------------------------------------------------------------- */

static long give_stat(struct notify_call *c, const struct ff3fs_attr *a, int flags, uint64_t to)
{
	struct stat st;

	if (!c->native)
		ff3_attr_to_stat(a, ff3fs_device(notify.fs), &st);
	else if (fstatat(AT_FDCWD, c->native, &st, flags & AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return notify_put(c->n, to, &st, sizeof st);
}

static long give_statx(struct notify_call *c, const struct ff3fs_attr *a, int flags, uint64_t to)
{
	struct statx stx;

	if (!c->native)
		ff3_attr_to_statx(a, ff3fs_device(notify.fs), &stx);
	else if (statx(AT_FDCWD, c->native, flags & AT_SYMLINK_NOFOLLOW, (unsigned)arg(c, 3), &stx) < 0)
		return -errno;
	return notify_put(c->n, to, &stx, sizeof stx);
}

static long answer_stat(struct notify_call *c, const struct notify_row *row)
{
	int flags = row->flags >= 0 ? (int)arg(c, row->flags) : 0, r;
	struct ff3fs_attr a;

#ifdef SYS_lstat
	if (c->n->data.nr == SYS_lstat)
		flags |= AT_SYMLINK_NOFOLLOW;
#endif
	r = notify_resolve(c, dirfd_of(c, row->dirfd), arg(c, row->path), flags & AT_EMPTY_PATH);
	if (r <= 0)
		return r == 0 ? NOTIFY_CONTINUE : r;
	r = look(c, flags & AT_SYMLINK_NOFOLLOW, &a);
	if (r < 0)
		return r;
	if (row->kind == NOTIFY_STATX)
		return give_statx(c, &a, flags, arg(c, 4));
	return give_stat(c, &a, flags, arg(c, row->path + 1));
}

static long answer_fstat(struct notify_call *c)
{
	uint64_t ino = notify_fd_ino(c->n, (int)arg(c, 0), true);
	struct ff3fs_attr a;

	/* One that has been removed meanwhile looks as the memfd does. */
	if ((int)arg(c, 0) < 0 || !ino ||
	    ff3fs_stat(notify.fs, ino, "", FF3FS_NOFOLLOW, &a) < 0)
		return NOTIFY_CONTINUE;
	return give_stat(c, &a, 0, arg(c, 1));
}

static long answer_access(struct notify_call *c, const struct notify_row *row)
{
	int mode = (int)arg(c, row->path + 1), flags = row->flags >= 0 ? (int)arg(c, row->flags) : 0;
	int r = notify_resolve(c, dirfd_of(c, row->dirfd), arg(c, row->path), flags & AT_EMPTY_PATH);

	if (r <= 0)
		return r == 0 ? NOTIFY_CONTINUE : r;
	if (mode & ~(R_OK | W_OK | X_OK))
		return -EINVAL;
	do
		r = ff3fs_access(notify.fs, c->dir, c->path, mode,
				 flags & AT_SYMLINK_NOFOLLOW ? FF3FS_NOFOLLOW : 0);
	while (notify_again(c, r));
	if (c->native)
		return faccessat(AT_FDCWD, c->native, mode, flags & AT_EACCESS) < 0 ? -errno : 0;
	return r == 0 && (mode & W_OK) ? -EROFS : r;
}

/* --- Links, directories, the working directory --------------------------------------------- */

static long give_text(struct notify_call *c, const char *text, size_t len, const struct notify_row *row)
{
	int size = (int)arg(c, row->path + 2), r;

	if (size <= 0)
		return -EINVAL;
	len = MIN(len, (size_t)size);
	r = notify_put(c->n, arg(c, row->path + 1), text, len);
	return r < 0 ? r : (long)len;
}

/* A process whose working directory is ours looks for it here, if it has the shim. */
static bool asks_for_cwd(struct notify_call *c, const struct notify_row *row)
{
	char path[PATH_MAX];

	return notify_get_string(c->n, arg(c, row->path), path) == 0 &&
	       strcmp(path, "/proc/self/cwd") == 0;
}

static long answer_readlink(struct notify_call *c, const struct notify_row *row)
{
	uint64_t ino = notify_cwd_get(c->n);
	char text[PATH_MAX];
	ssize_t n;
	int r;

	if (ino && asks_for_cwd(c, row)) {
		n = snprintf(text, sizeof text, "/" FF3_CWD_NAME "%" PRIx64 ":0 (deleted)", ino);
		return give_text(c, text, (size_t)n, row);
	}
	r = notify_resolve(c, dirfd_of(c, row->dirfd), arg(c, row->path), false);
	if (r <= 0)
		return r == 0 ? NOTIFY_CONTINUE : r;
	do
		n = ff3fs_readlink(notify.fs, c->dir, c->path, text, sizeof text);
	while (notify_again(c, n));
	if (c->native) {
		n = readlink(c->native, text, sizeof text);
		n = n < 0 ? -errno : n;
	}
	return n < 0 ? n : give_text(c, text, (size_t)n, row);
}

static long answer_getdents(struct notify_call *c)
{
	uint64_t ino = notify_fd_ino(c->n, (int)arg(c, 0), false);

	if ((int)arg(c, 0) < 0 || !ino)
		return NOTIFY_CONTINUE;
	return c->n->data.nr == SYS_getdents64 ? notify_getdents(c->n, ino) : -ENOSYS;
}

static long answer_chdir(struct notify_call *c, const struct notify_row *row)
{
	int r = notify_resolve(c, AT_FDCWD, arg(c, row->path), false);
	struct ff3fs_attr a;
	char path[PATH_MAX];
	struct stat st;

	if (r < 0)
		return r;
	if (r == 0) {
		/* Where it will succeed, the process is back on the machine. */
		if (notify_cwd_get(c->n) && notify_get_string(c->n, arg(c, row->path), path) == 0 &&
		    stat(path, &st) == 0 && S_ISDIR(st.st_mode) && access(path, X_OK) == 0)
			notify_cwd_set(c->n, 0);
		return NOTIFY_CONTINUE;
	}
	r = look(c, false, &a);
	if (r < 0)
		return r;
	if (c->native) /* only the program itself could go there */
		return -EACCES;
	if (!S_ISDIR(a.mode))
		return -ENOTDIR;
	r = ff3fs_access(notify.fs, a.ino, "", X_OK, 0);
	return r < 0 ? r : notify_cwd_set(c->n, a.ino);
}

static long answer_fchdir(struct notify_call *c)
{
	char link[64];
	struct stat st;

	snprintf(link, sizeof link, "/proc/%u/fd/%d", c->n->pid, (int)arg(c, 0));
	if (stat(link, &st) == 0 && S_ISDIR(st.st_mode))
		notify_cwd_set(c->n, 0);
	return NOTIFY_CONTINUE;
}

static long answer_getcwd(struct notify_call *c)
{
	uint64_t ino = notify_fd_ino(c->n, AT_FDCWD, false);
	char path[PATH_MAX], full[2 * PATH_MAX];
	size_t len;
	int r;

	if (!ino)
		return NOTIFY_CONTINUE;
	r = ff3fs_get_path(notify.fs, ino, path, sizeof path);
	if (r < 0)
		return r;
	snprintf(full, sizeof full, "%s%s", notify.first, strcmp(path, "/") == 0 ? "" : path);
	len = strlen(full) + 1;
	if (len > arg(c, 1) || len > PATH_MAX)
		return -ERANGE;
	r = notify_put(c->n, arg(c, 0), full, len);
	return r < 0 ? r : (long)len;
}

static long answer_statfs(struct notify_call *c, const struct notify_row *row)
{
	int r = notify_resolve(c, AT_FDCWD, arg(c, row->path), false);
	struct ff3fs_statfs s;
	struct ff3fs_attr a;
	struct statfs st;

	if (r <= 0)
		return r == 0 ? NOTIFY_CONTINUE : r;
	r = look(c, false, &a);
	if (r == 0 && c->native)
		r = statfs(c->native, &st) < 0 ? -errno : 0;
	else if (r == 0 && (r = ff3fs_statfs(notify.fs, &s)) == 0)
		ff3_statfs_fill(&s, &st);
	return r < 0 ? r : notify_put(c->n, arg(c, 1), &st, sizeof st);
}

/* --- What is not served -------------------------------------------------------------------- */

static long answer_refuse(struct notify_call *c, const struct notify_row *row)
{
	int r = notify_resolve(c, dirfd_of(c, row->dirfd), arg(c, row->path), false);
	struct ff3fs_attr a;

	if (r == 0 && row->path2 >= 0)
		r = notify_resolve(c, dirfd_of(c, row->dirfd2), arg(c, row->path2), false);
	if (r == 0)
		return NOTIFY_CONTINUE;
	if (r > 0 && row->error != EROFS) /* a search goes on where there is nothing */
		r = look(c, false, &a);
	return r < 0 ? r : -row->error;
}

long notify_answer(struct notify_call *c, const struct notify_row *row)
{
	switch (row->kind) {
	case NOTIFY_OPEN:
		return answer_open(c, row);
	case NOTIFY_STAT:
	case NOTIFY_STATX:
		return answer_stat(c, row);
	case NOTIFY_FSTAT:
		return answer_fstat(c);
	case NOTIFY_ACCESS:
		return answer_access(c, row);
	case NOTIFY_READLINK:
		return answer_readlink(c, row);
	case NOTIFY_GETDENTS:
		return answer_getdents(c);
	case NOTIFY_CHDIR:
		return answer_chdir(c, row);
	case NOTIFY_FCHDIR:
		return answer_fchdir(c);
	case NOTIFY_GETCWD:
		return answer_getcwd(c);
	case NOTIFY_STATFS:
		return answer_statfs(c, row);
	case NOTIFY_REFUSE:
		return answer_refuse(c, row);
	}
	return NOTIFY_CONTINUE;
}
