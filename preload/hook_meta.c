/* Purpose: mode, owner, times; what the file system says about itself. */
#include "hook.h"

#include <stdio.h>
#include <sys/inotify.h>

#include "raw.h"

/* --- By path, by descriptor ---------------------------------------------------------------- */

struct change {
	enum { CHANGE_MODE, CHANGE_OWNER, CHANGE_TIMES } what;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	const struct timespec *times; /* of ours, or NULL */
};

static int apply(struct ff3fs *fs, uint64_t dir, const char *path, const struct change *c,
		 unsigned flags)
{
	switch (c->what) {
	case CHANGE_MODE:
		return CALL(chmod, fs, dir, path, c->mode & 07777, flags);
	case CHANGE_OWNER:
		return CALL(chown, fs, dir, path, c->uid, c->gid, flags);
	case CHANGE_TIMES:
		return CALL(utimens, fs, dir, path, c->times, flags);
	}
	return -EINVAL;
}

static int apply_native(const char *path, const struct change *c, int at_flags)
{
	switch (c->what) {
	case CHANGE_MODE:
		return (int)RAW(fchmodat, AT_FDCWD, path, c->mode);
	case CHANGE_OWNER:
		return (int)RAW(fchownat, AT_FDCWD, path, c->uid, c->gid, at_flags);
	case CHANGE_TIMES:
		return (int)RAW(utimensat, AT_FDCWD, path, c->times, at_flags);
	}
	return -EINVAL;
}

static int apply_where(struct where *w, int r, const struct change *c, int at_flags)
{
	bool nofollow = at_flags & AT_SYMLINK_NOFOLLOW;

	while (r > 0)
		r = where_next(w, apply(w->fs, w->dir, w->path, c, nofollow ? FF3FS_NOFOLLOW : 0));
	return r == 0 && w->native ? apply_native(w->native, c, at_flags) : r;
}

static int apply_ofd(int r, struct ofd *o, const struct change *c)
{
	struct ff3fs *fs;

	if (r < 0)
		return r;
	if (o->flags & O_PATH)
		return -EBADF;
	if (c->what == CHANGE_TIMES && o->file) { /* later flushes must not move them again */
		r = CALL(flush, o->file);
		if (r < 0)
			return r;
	}
	r = core_fs(&fs);
	return r < 0 ? r : apply(fs, o->ino, "", c, 0);
}

/* The flags that these calls know. */
static bool at_flags_known(int at_flags)
{
	return !(at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

static unsigned where_flags(int at_flags)
{
	return (at_flags & AT_SYMLINK_NOFOLLOW ? WHERE_NOFOLLOW : 0) |
	       (at_flags & AT_EMPTY_PATH ? WHERE_EMPTY : 0);
}

#define MODE_OF(m) { .what = CHANGE_MODE, .mode = m }
#define OWNER_OF(u, g) { .what = CHANGE_OWNER, .uid = u, .gid = g }
#define TIMES_OF(t) { .what = CHANGE_TIMES, .times = t }

int hook_chmod(const char *path, mode_t mode)
{
	struct where w;
	struct change c = MODE_OF(mode);
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(chmod)(path, mode), &w, AT_FDCWD, path, 0);
	return (int)hook_result(apply_where(&w, r, &c, 0));
}

int hook_fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
	struct where w;
	struct change c = MODE_OF(mode);
	int r = where_init(&w, dirfd, path, where_flags(flags));

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(fchmodat)(dirfd, path, mode, flags), &w, dirfd, path,
					 where_flags(flags));
	if (!at_flags_known(flags))
		r = -EINVAL;
	return (int)hook_result(apply_where(&w, r, &c, flags));
}

int hook_lchmod(const char *path, mode_t mode)
{
	return hook_fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW);
}

int hook_fchmod(int fd, mode_t mode)
{
	struct change c = MODE_OF(mode);
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fchmod)(fd, mode);
	return (int)hook_result(apply_ofd(r, o, &c));
}

int hook_fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
	struct where w;
	struct change c = OWNER_OF(uid, gid);
	int r = where_init(&w, dirfd, path, where_flags(flags));

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(fchownat)(dirfd, path, uid, gid, flags), &w, dirfd, path,
					 where_flags(flags));
	if (!at_flags_known(flags))
		r = -EINVAL;
	return (int)hook_result(apply_where(&w, r, &c, flags));
}

int hook_chown(const char *path, uid_t uid, gid_t gid)
{
	return hook_fchownat(AT_FDCWD, path, uid, gid, 0);
}

int hook_lchown(const char *path, uid_t uid, gid_t gid)
{
	return hook_fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int hook_fchown(int fd, uid_t uid, gid_t gid)
{
	struct change c = OWNER_OF(uid, gid);
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fchown)(fd, uid, gid);
	return (int)hook_result(apply_ofd(r, o, &c));
}

/* --- Times --------------------------------------------------------------------------------- */

/* The caller's times into memory of ours; -EFAULT, -EINVAL. */
static int take_times(const struct timespec *user, struct timespec ours[2])
{
	if (!memory_copy_in(ours, user, 2 * sizeof *ours))
		return -EFAULT;
	for (int i = 0; i < 2; i++)
		if (ours[i].tv_nsec != UTIME_NOW && ours[i].tv_nsec != UTIME_OMIT &&
		    (ours[i].tv_nsec < 0 || ours[i].tv_nsec >= (long)FF3_NSEC_PER_SEC))
			return -EINVAL;
	return 0;
}

static int take_timevals(const struct timeval *user, struct timespec ours[2])
{
	struct timeval tv[2];

	if (!memory_copy_in(tv, user, sizeof tv))
		return -EFAULT;
	for (int i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
			return -EINVAL;
		ours[i] = (struct timespec){ tv[i].tv_sec, tv[i].tv_usec * 1000 };
	}
	return 0;
}

int hook_futimens(int fd, const struct timespec times[2])
{
	struct timespec ts[2];
	struct change c = TIMES_OF(times ? ts : NULL);
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o), bad;

	if (LIKELY(r == 0))
		return REAL(futimens)(fd, times);
	bad = times ? take_times(times, ts) : 0;
	if (bad == 0 && r > 0 && times && ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
		return o->flags & O_PATH ? (int)hook_result(-EBADF) : 0;
	return (int)hook_result(bad < 0 ? bad : apply_ofd(r, o, &c));
}

int hook_utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
	struct timespec ts[2];
	struct change c = TIMES_OF(times ? ts : NULL);
	struct where w;
	int r, bad;

	if (!path) /* the call by number means the descriptor; that by name is refused */
		return REAL(utimensat)(dirfd, path, times, flags);
	r = where_init(&w, dirfd, path, where_flags(flags));
	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(utimensat)(dirfd, path, times, flags), &w, dirfd, path,
					 where_flags(flags));
	bad = times ? take_times(times, ts) : 0;
	if (bad == 0 && times && ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
		return 0; /* nothing to do: the path is not looked at */
	if (bad == 0 && !at_flags_known(flags))
		bad = -EINVAL;
	return (int)hook_result(bad < 0 ? bad : apply_where(&w, r, &c, flags));
}

int hook_futimesat(int dirfd, const char *path, const struct timeval times[2])
{
	struct timespec ts[2];
	struct change c = TIMES_OF(times ? ts : NULL);
	struct where w;
	int r = where_init(&w, dirfd, path, 0), bad;

	if (LIKELY(r == 0))
		return REAL(futimesat)(dirfd, path, times);
	bad = times ? take_timevals(times, ts) : 0;
	return (int)hook_result(bad < 0 ? bad : apply_where(&w, r, &c, 0));
}

int hook_utimes(const char *path, const struct timeval times[2])
{
	return where_is_ours(AT_FDCWD, path) ? hook_futimesat(AT_FDCWD, path, times) :
					       REAL(utimes)(path, times);
}

int hook_lutimes(const char *path, const struct timeval times[2])
{
	struct timespec ts[2];
	int bad;

	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(lutimes)(path, times);
	bad = times ? take_timevals(times, ts) : 0;
	if (bad < 0)
		return (int)hook_result(bad);
	return hook_utimensat(AT_FDCWD, path, times ? ts : NULL, AT_SYMLINK_NOFOLLOW);
}

int hook_futimes(int fd, const struct timeval times[2])
{
	struct timespec ts[2];
	int bad;

	if (LIKELY(!fdtab_is_ours(fd)))
		return REAL(futimes)(fd, times);
	bad = times ? take_timevals(times, ts) : 0;
	return bad < 0 ? (int)hook_result(bad) : hook_futimens(fd, times ? ts : NULL);
}

int hook_utime(const char *path, const struct utimbuf *times)
{
	struct utimbuf t;
	struct timespec ts[2];

	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(utime)(path, times);
	if (times && !memory_copy_in(&t, times, sizeof t))
		return (int)hook_result(-EFAULT);
	if (times) {
		ts[0] = (struct timespec){ t.actime, 0 };
		ts[1] = (struct timespec){ t.modtime, 0 };
	}
	return hook_utimensat(AT_FDCWD, path, times ? ts : NULL, 0);
}

/* --- The file system ----------------------------------------------------------------------- */

static int statfs_ours(int r, struct ff3fs *fs, struct statfs *ret)
{
	struct ff3fs_statfs s;

	if (r < 0)
		return r;
	r = CALL(statfs, fs, &s);
	if (r < 0)
		return r;
	ff3_statfs_fill(&s, ret);
	return 0;
}

static int give_statfs(int r, struct ff3fs *fs, struct statfs *user)
{
	struct statfs st;

	r = statfs_ours(r, fs, &st);
	if (r < 0)
		return r;
	return memory_copy_out(user, &st, sizeof st) ? 0 : -EFAULT;
}

static int give_statvfs(int r, struct ff3fs *fs, struct statvfs *user)
{
	struct statfs st;
	struct statvfs v;

	r = statfs_ours(r, fs, &st);
	if (r < 0)
		return r;
	v = (struct statvfs){
		.f_bsize = (unsigned long)st.f_bsize,
		.f_frsize = (unsigned long)st.f_frsize,
		.f_blocks = st.f_blocks,
		.f_bfree = st.f_bfree,
		.f_bavail = st.f_bavail,
		.f_files = st.f_files,
		.f_ffree = st.f_ffree,
		.f_favail = st.f_ffree,
		.f_namemax = (unsigned long)st.f_namelen,
	};
	memcpy(&v.f_fsid, &st.f_fsid, sizeof v.f_fsid);
	return memory_copy_out(user, &v, sizeof v) ? 0 : -EFAULT;
}

/* The path must exist. */
static int resolve(struct where *w, int r)
{
	struct ff3fs_attr a;

	while (r > 0)
		r = where_next(w, CALL(stat, w->fs, w->dir, w->path, 0, &a));
	return r;
}

int hook_statfs(const char *path, struct statfs *st)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(statfs)(path, st), &w, AT_FDCWD, path, 0);
	r = resolve(&w, r);
	if (r == 0 && w.native)
		return REAL(statfs)(w.native, st);
	return (int)hook_result(give_statfs(r, w.fs, st));
}

int hook_statvfs(const char *path, struct statvfs *st)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(REAL(statvfs)(path, st), &w, AT_FDCWD, path, 0);
	r = resolve(&w, r);
	if (r == 0 && w.native)
		return REAL(statvfs)(w.native, st);
	return (int)hook_result(give_statvfs(r, w.fs, st));
}

int hook_fstatfs(int fd, struct statfs *st)
{
	struct ff3fs *fs = NULL;
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fstatfs)(fd, st);
	if (r > 0)
		r = core_fs(&fs);
	return (int)hook_result(give_statfs(r, fs, st));
}

int hook_fstatvfs(int fd, struct statvfs *st)
{
	struct ff3fs *fs = NULL;
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return REAL(fstatvfs)(fd, st);
	if (r > 0)
		r = core_fs(&fs);
	return (int)hook_result(give_statvfs(r, fs, st));
}

static long limit_of(int name)
{
	switch (name) {
	case _PC_LINK_MAX:
		return 65000;
	case _PC_NAME_MAX:
		return 255;
	case _PC_PATH_MAX:
		return PATH_MAX;
	case _PC_PIPE_BUF:
		return 4096;
	case _PC_MAX_CANON:
	case _PC_MAX_INPUT:
		return 255;
	case _PC_VDISABLE:
		return 0;
	case _PC_CHOWN_RESTRICTED:
	case _PC_NO_TRUNC:
	case _PC_2_SYMLINKS:
	case _PC_ASYNC_IO:
		return 1;
	case _PC_FILESIZEBITS:
		return 64;
	case _PC_SYMLINK_MAX:
	case _PC_SYNC_IO:
	case _PC_PRIO_IO:
		return -1; /* no limit, or not offered: errno stays */
	case _PC_REC_XFER_ALIGN:
	case _PC_ALLOC_SIZE_MIN:
	case _PC_REC_MIN_XFER_SIZE:
		return FF3_FRAGMENT;
	default:
		return hook_result(-EINVAL);
	}
}

long hook_pathconf(const char *path, int name)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (LIKELY(r == 0))
		return REAL(pathconf)(path, name);
	r = resolve(&w, r);
	if (r == 0 && w.native)
		return REAL(pathconf)(w.native, name);
	return r < 0 ? hook_result(r) : limit_of(name);
}

static bool is_inotify(int fd)
{
	char path[40], link[32];
	long n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = RAW(readlinkat, AT_FDCWD, path, link, sizeof link - 1);
	link[n > 0 ? n : 0] = '\0';
	return strcmp(link, "anon_inode:inotify") == 0;
}

long hook_fpathconf(int fd, int name)
{
	if (LIKELY(!fdtab_is_ours(fd)))
		return REAL(fpathconf)(fd, name);
	return limit_of(name);
}

/* Changes made elsewhere cannot be told of; pretending to watch would be worse. First the errors that
 * every path may have. */
int hook_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	struct where w;
	struct ff3fs_attr a;
	bool nofollow = mask & IN_DONT_FOLLOW;
	int r;

	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(inotify_add_watch)(fd, path, mask);
	if (!(mask & (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED)))
		return (int)hook_result(-EINVAL);
	if (RAW(fcntl, fd, F_GETFD) < 0)
		return (int)hook_result(-EBADF);
	if (!is_inotify(fd))
		return (int)hook_result(-EINVAL);
	r = where_init(&w, AT_FDCWD, path, nofollow ? WHERE_NOFOLLOW : 0);
	while (r > 0)
		r = where_next(&w, CALL(stat, w.fs, w.dir, w.path, nofollow ? FF3FS_NOFOLLOW : 0, &a));
	if (r == 0 && w.native)
		return REAL(inotify_add_watch)(fd, w.native, mask);
	if (r == 0 && (mask & IN_ONLYDIR) && !S_ISDIR(a.mode))
		r = -ENOTDIR;
	return (int)hook_result(r < 0 ? r : -EOPNOTSUPP);
}

DEFINE_ALIASES(meta)
