/* Purpose: extended attributes. */
#include "hook.h"

#include "raw.h"
#include "syscalls.h"

#define XATTR_NAME_LEN 255
#define XATTR_VALUE_MAX 65536

/* A name in memory of ours: -EFAULT, -ERANGE as the kernel. */
static int take_name(const char *user, char name[XATTR_NAME_LEN + 1])
{
	size_t n;

	if (!string_readable(user))
		return -EFAULT;
	n = strnlen(user, XATTR_NAME_LEN + 1);
	if (n == 0 || n > XATTR_NAME_LEN)
		return -ERANGE;
	memcpy(name, user, n + 1);
	return 0;
}

/* One request, whichever of the twelve calls it came by. */
struct request {
	enum { GET, SET, LIST, REMOVE } what;
	const char *name;
	void *value;
	size_t size;
	int flags;
};

static ssize_t get(struct ff3fs *fs, uint64_t dir, const char *path, const struct request *q,
		   unsigned flags)
{
	char name[XATTR_NAME_LEN + 1];
	_cleanup_free_ void *copy = NULL;
	size_t size = MIN(q->size, (size_t)XATTR_VALUE_MAX);
	ssize_t r = q->what == GET ? take_name(q->name, name) : 0;

	if (r < 0)
		return r;
	if (size > 0 && !(copy = malloc(size)))
		return -ENOMEM;
	r = q->what == GET ? CALL(getxattr, fs, dir, path, name, copy, size, flags) :
			     CALL(listxattr, fs, dir, path, copy, size, flags);
	if (r > 0 && size > 0 && !memory_copy_out(q->value, copy, (size_t)r))
		return -EFAULT;
	return r;
}

static ssize_t set(struct ff3fs *fs, uint64_t dir, const char *path, const struct request *q,
		   unsigned flags)
{
	char name[XATTR_NAME_LEN + 1];
	_cleanup_free_ void *copy = NULL;
	int r = take_name(q->name, name);

	if (r < 0)
		return r;
	if (q->what == REMOVE)
		return CALL(removexattr, fs, dir, path, name, flags);
	if (q->size > XATTR_VALUE_MAX)
		return -E2BIG;
	copy = malloc(q->size + 1);
	if (!copy)
		return -ENOMEM;
	if (!memory_copy_in(copy, q->value, q->size))
		return -EFAULT;
	return CALL(setxattr, fs, dir, path, name, copy, q->size, q->flags, flags);
}

static ssize_t perform(struct ff3fs *fs, uint64_t dir, const char *path, const struct request *q,
		       unsigned flags)
{
	return q->what == GET || q->what == LIST ? get(fs, dir, path, q, flags) :
						   set(fs, dir, path, q, flags);
}

static ssize_t native(const char *path, const struct request *q, bool nofollow)
{
	switch (q->what) {
	case GET:
		return nofollow ? RAW(lgetxattr, path, q->name, q->value, q->size) :
				  RAW(getxattr, path, q->name, q->value, q->size);
	case SET:
		return nofollow ? RAW(lsetxattr, path, q->name, q->value, q->size, q->flags) :
				  RAW(setxattr, path, q->name, q->value, q->size, q->flags);
	case LIST:
		return nofollow ? RAW(llistxattr, path, q->value, q->size) :
				  RAW(listxattr, path, q->value, q->size);
	case REMOVE:
		return nofollow ? RAW(lremovexattr, path, q->name) : RAW(removexattr, path, q->name);
	}
	return -EINVAL;
}

static ssize_t by_path(struct where *w, int r, const struct request *q, bool nofollow)
{
	ssize_t n = -ELOOP;

	while (r > 0) {
		n = perform(w->fs, w->dir, w->path, q, nofollow ? FF3FS_NOFOLLOW : 0);
		r = where_next(w, n);
	}
	return hook_result(r < 0 ? r : w->native ? native(w->native, q, nofollow) : n);
}

static ssize_t by_fd(int r, struct ofd *o, const struct request *q)
{
	struct ff3fs *fs;

	if (r > 0)
		r = o->flags & O_PATH ? -EBADF : core_fs(&fs);
	return hook_result(r < 0 ? r : perform(fs, o->ino, "", q, 0));
}

#define BY_PATH(nofollow, real_call, ...)                                                          \
	struct where w;                                                                            \
	unsigned wf = nofollow ? WHERE_NOFOLLOW : 0;                                               \
	int r = where_init(&w, AT_FDCWD, path, wf);                                                \
	if (LIKELY(r == 0))                                                                        \
		r = NATIVE_UNLESS_LINKED(real_call, &w, AT_FDCWD, path, wf);                       \
	return by_path(&w, r, &(struct request){ __VA_ARGS__ }, nofollow)

#define BY_FD(real_call, ...)                                                                      \
	_cleanup_ofd_ struct ofd *o = NULL;                                                        \
	int r = fdtab_get(fd, &o);                                                                 \
	if (LIKELY(r == 0))                                                                        \
		return real_call;                                                                  \
	return by_fd(r, o, &(struct request){ __VA_ARGS__ })

ssize_t hook_getxattr(const char *path, const char *name, void *value, size_t size)
{
	BY_PATH(false, REAL(getxattr)(path, name, value, size), GET, name, value, size, 0);
}

ssize_t hook_lgetxattr(const char *path, const char *name, void *value, size_t size)
{
	BY_PATH(true, REAL(lgetxattr)(path, name, value, size), GET, name, value, size, 0);
}

ssize_t hook_fgetxattr(int fd, const char *name, void *value, size_t size)
{
	BY_FD(REAL(fgetxattr)(fd, name, value, size), GET, name, value, size, 0);
}

int hook_setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
	BY_PATH(false, REAL(setxattr)(path, name, value, size, flags), SET, name,
		(void *)(uintptr_t)value, size, flags);
}

int hook_lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
	BY_PATH(true, REAL(lsetxattr)(path, name, value, size, flags), SET, name,
		(void *)(uintptr_t)value, size, flags);
}

int hook_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
	BY_FD(REAL(fsetxattr)(fd, name, value, size, flags), SET, name, (void *)(uintptr_t)value,
	      size, flags);
}

ssize_t hook_listxattr(const char *path, char *list, size_t size)
{
	BY_PATH(false, REAL(listxattr)(path, list, size), LIST, NULL, list, size, 0);
}

ssize_t hook_llistxattr(const char *path, char *list, size_t size)
{
	BY_PATH(true, REAL(llistxattr)(path, list, size), LIST, NULL, list, size, 0);
}

ssize_t hook_flistxattr(int fd, char *list, size_t size)
{
	BY_FD(REAL(flistxattr)(fd, list, size), LIST, NULL, list, size, 0);
}

int hook_removexattr(const char *path, const char *name)
{
	BY_PATH(false, REAL(removexattr)(path, name), REMOVE, name, NULL, 0, 0);
}

int hook_lremovexattr(const char *path, const char *name)
{
	BY_PATH(true, REAL(lremovexattr)(path, name), REMOVE, name, NULL, 0, 0);
}

int hook_fremovexattr(int fd, const char *name)
{
	BY_FD(REAL(fremovexattr)(fd, name), REMOVE, name, NULL, 0, 0);
}

/* --- By a directory's descriptor: newer system calls ---------------------------------------- */

/* The kernel's struct xattr_args. */
struct arguments {
	uint64_t value;
	uint32_t size, flags;
};

static long at(int dirfd, const char *path, int flags, const struct request *q)
{
	bool nofollow = flags & AT_SYMLINK_NOFOLLOW, empty = !path || !*path;
	unsigned wf = nofollow ? WHERE_NOFOLLOW : 0;
	_cleanup_ofd_ struct ofd *o = NULL;
	struct where w;
	int r;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return hook_result(-EINVAL);
	if ((flags & AT_EMPTY_PATH) && empty && dirfd >= 0) {
		r = fdtab_get(dirfd, &o);
		return by_fd(r == 0 ? -EBADF : r, o, q);
	}
	if (flags & AT_EMPTY_PATH)
		wf |= WHERE_EMPTY;
	r = where_init(&w, dirfd, path, wf);
	if (r == 0) { /* only links may lead here */
		errno = ENOENT;
		r = where_through_links(&w, dirfd, path, wf);
	}
	return by_path(&w, r == 0 ? -ENOENT : r, q, nofollow);
}

/* getxattrat and setxattrat with their structure of arguments. */
static long at_with(int what, const long a[6])
{
	struct arguments args;

	if ((size_t)a[5] < sizeof args)
		return hook_result(-EINVAL);
	if (!memory_copy_in(&args, (const void *)a[4], sizeof args))
		return hook_result(-EFAULT);
	if (what == GET && args.flags)
		return hook_result(-EINVAL);
	return at((int)a[0], (const char *)a[1], (int)a[2],
		  &(struct request){ what, (const char *)a[3], (void *)(uintptr_t)args.value, args.size,
				     (int)args.flags });
}

long xattr_get_at(const long a[6])
{
	return at_with(GET, a);
}

long xattr_set_at(const long a[6])
{
	return at_with(SET, a);
}

long xattr_list_at(const long a[6])
{
	return at((int)a[0], (const char *)a[1], (int)a[2],
		  &(struct request){ LIST, NULL, (void *)a[3], (size_t)a[4], 0 });
}

long xattr_remove_at(const long a[6])
{
	return at((int)a[0], (const char *)a[1], (int)a[2],
		  &(struct request){ REMOVE, (const char *)a[3], NULL, 0, 0 });
}

DEFINE_ALIASES(xattr)
