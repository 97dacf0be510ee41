/* Purpose: what makes descriptors from paths: open and its relatives, temporary files, umask. */
#include "hook.h"

#include <pthread.h>
#include <stdarg.h>

#include "raw.h"
#include "shared_map.h"

int open_install(uint64_t ino, uint64_t generation, struct ff3fs_file *file, int flags)
{
	struct placeholder p = { ino, generation, flags };
	struct ofd *o;
	int fd = placeholder_new(&p);

	if (fd < 0) {
		if (file)
			CALL(close, file);
		return fd;
	}
	o = ofd_new(&p, file, fork_self());
	if (!o) {
		raw_close(fd);
		if (file)
			CALL(close, file);
		return -ENOMEM;
	}
	fdtab_set(fd, o);
	ofd_unref(o);
	return fd;
}

static bool is_owner(struct ff3fs_file *file)
{
	struct ff3fs_attr a;
	uid_t uid = (uid_t)RAW(geteuid);

	return uid == 0 || CALL(fstat, file, &a) < 0 || a.uid == uid;
}

/* One try; -FF3FS_REDIRECT is possible. */
static int open_once(struct where *w, int flags, mode_t mode)
{
	struct ff3fs_file *file;
	int r;

	r = CALL(open, w->fs, w->dir, w->path, flags & ~(O_CLOEXEC | O_NONBLOCK),
		 mode & 07777 & ~init_umask(), &file);
	if (r < 0)
		return r;
	if (flags & O_PATH) /* nothing is opened, only named */
		return open_install(CALL(file_ino, file), 0, file, flags);
	if (UNLIKELY(flags & O_NOATIME) && !is_owner(file)) {
		CALL(close, file);
		return -EPERM;
	}
	if (UNLIKELY(S_ISFIFO(CALL(file_mode, file)))) {
		uint64_t ino = CALL(file_ino, file);

		CALL(close, file);
		return fifo_open(w->fs, ino, flags);
	}
	shared_map_opened(CALL(file_ino, file), flags);
	return open_install(CALL(file_ino, file), 0, file, flags);
}

/* Which flags exclude each other differs from kernel to kernel: it looks at them first, and then finds no directory. */
static bool is_refused(int flags)
{
	bool unnamed = (flags & O_TMPFILE) == O_TMPFILE && (flags & O_ACCMODE) == O_RDONLY;

	return !(flags & O_PATH) && (unnamed || ((flags & O_CREAT) && (flags & O_DIRECTORY))) &&
	       RAW(openat, -1, "x", flags, 0) == -EINVAL;
}

static int refused_or(int r, int flags)
{
	return is_refused(flags) ? -EINVAL : r;
}

int open_ours(struct where *w, int flags, mode_t mode)
{
	int r, again;

	if (UNLIKELY(is_refused(flags)))
		return -EINVAL;

	do {
		r = open_once(w, flags, mode);
		if (r >= 0)
			return r;
		again = where_next(w, r);
	} while (again > 0);
	if (!w->native)
		return again;
	r = (int)RAW(openat, AT_FDCWD, w->native, flags, mode);
	fdtab_set_native(r);
	return r;
}

static int native_opened(int fd)
{
	if (fd >= 0 && init_active())
		fdtab_set_native(fd);
	return fd;
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static unsigned open_where_flags(int flags)
{
	return (flags & O_NOFOLLOW) || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) ?
		       WHERE_NOFOLLOW :
		       0;
}

#define TAKE_MODE(mode, flags)                                                                     \
	mode_t mode = 0;                                                                           \
	if (has_mode(flags)) {                                                                     \
		va_list ap;                                                                        \
		va_start(ap, flags);                                                               \
		mode = va_arg(ap, mode_t);                                                         \
		va_end(ap);                                                                        \
	}

/* A cancellation point, as libc's are: nothing is held yet. */
static int open_cancellable(struct where *w, int flags, mode_t mode)
{
	pthread_testcancel();
	return open_ours(w, flags, mode);
}

int hook_open(const char *path, int flags, ...)
{
	struct where w;
	unsigned wf = open_where_flags(flags);
	int r = where_init(&w, AT_FDCWD, path, wf);
	TAKE_MODE(mode, flags)

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(native_opened(REAL(open)(path, flags, mode)), &w, AT_FDCWD,
					 path, wf);
	return (int)hook_result(r < 0 ? refused_or(r, flags) : open_cancellable(&w, flags, mode));
}

int hook_openat(int dirfd, const char *path, int flags, ...)
{
	struct where w;
	unsigned wf = open_where_flags(flags);
	int r = where_init(&w, dirfd, path, wf);
	TAKE_MODE(mode, flags)

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(native_opened(REAL(openat)(dirfd, path, flags, mode)), &w,
					 dirfd, path, wf);
	return (int)hook_result(r < 0 ? refused_or(r, flags) : open_cancellable(&w, flags, mode));
}

/* The fortified ones are called without a mode; asking for one is the caller's error, which the
 * real function punishes. */
int hook___open_2(const char *path, int flags)
{
	struct where w;
	unsigned wf = open_where_flags(flags);
	int r = has_mode(flags) ? 0 : where_init(&w, AT_FDCWD, path, wf);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(native_opened(REAL(__open_2)(path, flags)), &w, AT_FDCWD,
					 path, wf);
	return (int)hook_result(r < 0 ? r : open_ours(&w, flags, 0));
}

int hook___openat_2(int dirfd, const char *path, int flags)
{
	struct where w;
	unsigned wf = open_where_flags(flags);
	int r = has_mode(flags) ? 0 : where_init(&w, dirfd, path, wf);

	if (LIKELY(r == 0))
		r = NATIVE_UNLESS_LINKED(native_opened(REAL(__openat_2)(dirfd, path, flags)), &w,
					 dirfd, path, wf);
	return (int)hook_result(r < 0 ? r : open_ours(&w, flags, 0));
}

int hook_creat(const char *path, mode_t mode)
{
	return hook_open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

mode_t hook_umask(mode_t mask)
{
	mode_t old = REAL(umask)(mask);

	if (init_active())
		init_set_umask(mask);
	return old;
}

/* --- Temporary files ----------------------------------------------------------------------- */

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* Where the six X of a template begin, or NULL. */
static char *find_x(char *template, int suffix)
{
	size_t len = strlen(template);
	char *x;

	if (suffix < 0 || len < 6 + (size_t)suffix)
		return NULL;
	x = template + len - 6 - (size_t)suffix;
	return strncmp(x, "XXXXXX", 6) == 0 ? x : NULL;
}

static void fill_x(char *x)
{
	uint64_t v = 0;

	if (RAW(getrandom, &v, sizeof v, 0) != sizeof v)
		v = ff3_now_ns(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 6; i++, v /= 62)
		x[i] = letters[v % 62];
}

/* Tries names until one is free. flags < 0: a directory. */
static int make_temporary(char *template, int suffix, int flags)
{
	char *x = find_x(template, suffix);
	int r = -EEXIST;

	if (!x)
		return -EINVAL;
	for (int i = 0; i < 1000 && r == -EEXIST; i++) {
		struct where w;

		fill_x(x);
		r = where_init(&w, AT_FDCWD, template, WHERE_NOFOLLOW);
		if (r <= 0) {
			r = r < 0 ? r : -ENOENT;
		} else if (flags >= 0) {
			r = open_ours(&w, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
		} else {
			while (r > 0)
				r = where_next(&w, CALL(mkdir, w.fs, w.dir, w.path,
							0700 & ~init_umask()));
			if (r == 0 && w.native)
				r = (int)RAW(mkdirat, AT_FDCWD, w.native, 0700);
		}
	}
	if (r < 0)
		memcpy(x, "XXXXXX", 6);
	return r;
}

int hook_mkostemps(char *template, int suffix, int flags)
{
	if (LIKELY(!where_is_ours(AT_FDCWD, template)))
		return native_opened(REAL(mkostemps)(template, suffix, flags));
	return (int)hook_result(make_temporary(template, suffix, flags));
}

int hook_mkstemp(char *template)
{
	return hook_mkostemps(template, 0, 0);
}

int hook_mkostemp(char *template, int flags)
{
	return hook_mkostemps(template, 0, flags);
}

int hook_mkstemps(char *template, int suffix)
{
	return hook_mkostemps(template, suffix, 0);
}

char *hook_mkdtemp(char *template)
{
	if (LIKELY(!where_is_ours(AT_FDCWD, template)))
		return REAL(mkdtemp)(template);
	return hook_result(make_temporary(template, 0, -1)) < 0 ? NULL : template;
}

DEFINE_ALIASES(open)
