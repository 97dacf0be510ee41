/* Purpose: openat2(2) on our paths: its checks, and walks that must not leave a directory or follow
 * links, which are made here, name by name.
 *
 * Between two steps somebody else may rename what was passed; the walk then stands where the
 * directories are that it has seen, as the kernel's does.
 *
 * Threads, fork, signals: no state; as open_ours. */
#include "hook.h"
#include "syscalls.h"

#include "raw.h"

#define RESOLVE_NO_XDEV_ 0x01 /* there are no mounts below */
#define RESOLVE_NO_MAGIC_ 0x02 /* nor links of that kind */
#define RESOLVE_NO_SYMLINKS_ 0x04
#define RESOLVE_BENEATH_ 0x08
#define RESOLVE_IN_ROOT_ 0x10
#define RESOLVE_CACHED_ 0x20
#define RESOLVE_ALL_ 0x3f
#define RESOLVE_WALK_ (RESOLVE_NO_SYMLINKS_ | RESOLVE_BENEATH_ | RESOLVE_IN_ROOT_)

#define OPEN_FLAGS                                                                                 \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC |      \
	 O_ASYNC | O_DIRECT | O_LARGEFILE | 0100000 | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |       \
	 O_CLOEXEC | O_PATH | O_TMPFILE)
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define DEPTH 128

struct how {
	uint64_t flags, mode, resolve;
};

static int take_how(const char *user, size_t size, struct how *ret)
{
	if (size < sizeof *ret)
		return -EINVAL;
	if (size > 4096)
		return -E2BIG;
	if (!memory_copy_in(ret, user, sizeof *ret))
		return -EFAULT;
	for (size_t i = sizeof *ret; i < size; i++) {
		char c;

		if (!memory_copy_in(&c, user + i, 1))
			return -EFAULT;
		if (c) /* a wish that we do not know */
			return -E2BIG;
	}
	return 0;
}

static int check(const struct how *h)
{
	int flags = (int)h->flags;
	bool tmpfile = (flags & O_TMPFILE) == O_TMPFILE, makes = (flags & O_CREAT) || tmpfile;

	if ((h->flags & ~(uint64_t)OPEN_FLAGS) || (h->resolve & ~(uint64_t)RESOLVE_ALL_) ||
	    (h->resolve & (RESOLVE_BENEATH_ | RESOLVE_IN_ROOT_)) == (RESOLVE_BENEATH_ | RESOLVE_IN_ROOT_))
		return -EINVAL;
	if (h->mode & ~(uint64_t)(makes ? 07777 : 0))
		return -EINVAL;
	if ((flags & O_TMPFILE & ~O_DIRECTORY) && (!tmpfile || (flags & O_ACCMODE) == O_RDONLY))
		return -EINVAL;
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY) ||
	    ((flags & O_PATH) && (flags & ~PATH_FLAGS)))
		return -EINVAL;
	return h->resolve & RESOLVE_CACHED_ ? -EAGAIN : 0;
}

struct walk {
	struct ff3fs *fs;
	const struct how *how;
	uint64_t dirs[DEPTH]; /* from where it began to where it is */
	int depth;
	int links;
	char rest[PATH_MAX];
	char name[NAME_MAX + 2]; /* the last one, perhaps with a slash; "": the directory itself */
};

static int up(struct walk *w)
{
	struct ff3fs_attr a;
	int r;

	if (w->depth > 0) {
		w->depth--;
		return 0;
	}
	if (w->how->resolve & RESOLVE_BENEATH_)
		return -EXDEV;
	if (w->how->resolve & RESOLVE_IN_ROOT_)
		return 0;
	r = CALL(stat, w->fs, w->dirs[0], "..", 0, &a);
	if (r == -FF3FS_REDIRECT)
		return -EXDEV; /* above the prefix, where the machine's directories are */
	w->dirs[0] = r < 0 ? w->dirs[0] : a.ino;
	return r;
}

/* Puts a link's text before what is left to walk. */
static int follow(struct walk *w, const char *name, const char *after)
{
	char text[PATH_MAX], joined[PATH_MAX];
	ssize_t n;

	if ((w->how->resolve & RESOLVE_NO_SYMLINKS_) || ++w->links > 40)
		return -ELOOP;
	n = CALL(readlink, w->fs, w->dirs[w->depth], name, text, sizeof text - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	if (text[0] == '/') {
		if (w->how->resolve & RESOLVE_BENEATH_)
			return -EXDEV;
		w->depth = 0;
	}
	if ((size_t)n + strlen(after) + 1 > sizeof joined)
		return -ENAMETOOLONG;
	strcpy(stpcpy(joined, text), after);
	strcpy(w->rest, joined);
	return 0;
}

/* One name of the path, with what comes after it. 1: it is the last and stands in w->name. */
static int step(struct walk *w, const char *name, const char *after)
{
	bool last = !after[strspn(after, "/")], stays;
	struct ff3fs_attr a;
	int r = CALL(stat, w->fs, w->dirs[w->depth], name, FF3FS_NOFOLLOW, &a);

	stays = (w->how->flags & O_NOFOLLOW) || (w->how->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	if (r == 0 && S_ISLNK(a.mode) && !(last && stays && !*after))
		return follow(w, name, after);
	if (r < 0 && !(last && r == -ENOENT))
		return r;
	if (last) {
		strcpy(stpcpy(w->name, name), *after ? "/" : "");
		return 1;
	}
	if (w->depth + 1 == DEPTH)
		return -ENAMETOOLONG;
	w->dirs[++w->depth] = a.ino;
	memmove(w->rest, after, strlen(after) + 1);
	return 0;
}

static int walk(struct walk *w)
{
	for (;;) {
		size_t skip = strspn(w->rest, "/"), len = strcspn(w->rest + skip, "/");
		char name[NAME_MAX + 1];
		int r = 0;

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, w->rest + skip, len);
		name[len] = '\0';
		memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);
		if (len == 0)
			return 0; /* w->name is "" */
		if (strcmp(name, "..") == 0) {
			r = up(w);
		} else if (strcmp(name, ".") != 0) {
			char after[PATH_MAX];

			strcpy(after, w->rest);
			r = step(w, name, after);
		}
		if (r != 0)
			return MIN(r, 0);
	}
}

static int open_walked(int dirfd, const char *path, const struct how *h)
{
	struct where from;
	struct walk w = { .how = h };
	int r;

	if (!*path)
		return -ENOENT;
	if (path[0] == '/' && (h->resolve & RESOLVE_BENEATH_))
		return -EXDEV;
	r = path[0] == '/' && !(h->resolve & RESOLVE_IN_ROOT_) ?
		    where_init(&from, AT_FDCWD, path, WHERE_NOFOLLOW) :
		    where_init(&from, dirfd, "", WHERE_EMPTY);
	if (r <= 0)
		return r < 0 ? r : -EXDEV;
	w.fs = from.fs;
	w.dirs[0] = from.dir;
	path = path[0] == '/' && !(h->resolve & RESOLVE_IN_ROOT_) ? from.path : path;
	if (strlen(path) >= sizeof w.rest)
		return -ENAMETOOLONG;
	strcpy(w.rest, path);
	r = walk(&w);
	if (r < 0)
		return r;
	from.dir = w.dirs[w.depth];
	from.path = w.name;
	return open_ours(&from, (int)h->flags, (mode_t)h->mode);
}

long openat2_ours(int dirfd, const char *path, const void *user, size_t size)
{
	struct how h;
	int r = take_how(user, size, &h);

	if (r == 0 && !string_readable(path))
		r = -EFAULT;
	if (r == 0 && *path == '/' && !(h.resolve & RESOLVE_IN_ROOT_) && !where_is_ours(AT_FDCWD, path)) {
		r = (int)RAW(openat2, dirfd, path, user, size); /* only the directory is ours */
		fdtab_set_native(r);
		return hook_raw(r);
	}
	if (r == 0)
		r = check(&h);
	if (r < 0)
		return hook_result(r);
	if (!(h.resolve & RESOLVE_WALK_))
		return hook_openat(dirfd, path, (int)h.flags, (mode_t)h.mode);
	return hook_result(open_walked(dirfd, path, &h));
}
