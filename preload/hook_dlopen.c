/* Purpose: loading shared objects from our files. The linker opens files itself, by name: it gets the
 * name of a memfd with the object's contents. The same object again must be the same handle, so the
 * memfds stay open. Where there is a mount, the object is loaded from there.
 *
 * Threads: `mutex` guards the list of loaded objects. */
#include "hook.h"

#include <stdio.h>

#include "map.h"
#include "mount.h"
#include "raw.h"

struct object {
	struct object *next;
	uint64_t ino, generation, size;
	struct timespec mtime;
	int fd;
};

static struct object *objects;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int object_fd(struct ff3fs_file *file, const struct ff3fs_attr *a)
{
	struct object *o;
	int fd, high;

	for (o = objects; o; o = o->next)
		if (o->ino == a->ino && o->generation == a->generation && o->size == a->size &&
		    o->mtime.tv_sec == a->mtime.tv_sec && o->mtime.tv_nsec == a->mtime.tv_nsec)
			return o->fd;
	fd = map_fill_memfd(file, 0, a->size);
	if (fd < 0)
		return fd;
	high = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 512);
	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	fdtab_set_internal(fd);
	o = malloc(sizeof *o);
	if (o) {
		*o = (struct object){ objects, a->ino, a->generation, a->size, a->mtime, fd };
		objects = o;
	}
	return fd;
}

/* A native name for a shared object of ours. */
static int object_path(const char *path, char out[PATH_MAX])
{
	int fd = hook_open(path, O_RDONLY | O_CLOEXEC), r;
	_cleanup_ofd_ struct ofd *o = NULL;
	struct ff3fs_attr a;

	if (fd < 0)
		return -errno;
	r = fdtab_get(fd, &o);
	if (r == 0) { /* a link led out */
		fd_close(fd);
		return -ENOENT;
	}
	if (r > 0)
		r = CALL(fstat, o->file, &a);
	if (r >= 0 && mount_for_exec(core_loaded(), a.ino, out)) {
		fd_close(fd);
		return 0;
	}
	if (r >= 0) {
		pthread_mutex_lock(&mutex);
		r = object_fd(o->file, &a);
		pthread_mutex_unlock(&mutex);
	}
	fd_close(fd);
	if (r >= 0)
		snprintf(out, PATH_MAX, "/proc/self/fd/%d", r);
	return r;
}

/* Kept apart so that hook_dlopen's last call stays a jump: the linker looks at who called it. */
static __attribute__((noinline)) void *load_object(const char *path, int mode)
{
	char native[PATH_MAX];

	return REAL(dlopen)(object_path(path, native) < 0 ? path : native, mode);
}

void *hook_dlopen(const char *path, int mode)
{
	if (UNLIKELY(path && strchr(path, '/') && where_is_ours(AT_FDCWD, path)))
		return load_object(path, mode);
	if (UNLIKELY(core_called_from(__builtin_return_address(0))))
		return core_open_module(path, mode);
	return REAL(dlopen)(path, mode);
}

DEFINE_ALIASES(dlopen)
