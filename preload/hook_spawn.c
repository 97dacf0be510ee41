/* Purpose: what posix_spawn does in the child before it executes the program, which is inside libc.
 *
 * What is to be opened there is opened here and now, and copied there. A directory below a prefix is looked up
 * here and now; the child gets the directory that the kernel has for it (hook_cwd.c), by a descriptor. So what
 * the path names is decided when the action is added, not when the child is made. These descriptors live as
 * long as the actions. Names that are relative to a directory of ours are made absolute here.
 *
 * Threads: `mutex`; fork is not waited for, as it is not for the actions themselves. */
#include "hook.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "raw.h"

struct action {
	struct action *next; /* newest first */
	const posix_spawn_file_actions_t *actions;
	int fd; /* or -1 */
	bool enters;
	uint64_t ino; /* which it enters; 0: a directory that is not ours */
};

static struct action *first;
static atomic_bool any; /* was ever kept */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int keep(struct action what)
{
	struct action *a = malloc(sizeof *a);

	if (!a)
		return -ENOMEM;
	*a = what;
	pthread_mutex_lock(&mutex);
	a->next = first;
	first = a;
	any = true;
	pthread_mutex_unlock(&mutex);
	return 0;
}

/* fd, or -errno, as a number that the child's own ones are not likely to be; it is closed with the actions. */
static int keep_high(const posix_spawn_file_actions_t *actions, int fd, bool enters, uint64_t ino)
{
	int high = fd < 0 ? fd : hook_fcntl(fd, F_DUPFD_CLOEXEC, 256), r;

	if (fd < 0)
		return fd;
	hook_close(fd);
	if (high < 0)
		return -ENOMEM;
	r = keep((struct action){ .actions = actions, .fd = high, .enters = enters, .ino = ino });
	if (r < 0)
		hook_close(high);
	return r < 0 ? r : high;
}

/* Do the actions enter a directory, and which one at last? */
static bool entered(const posix_spawn_file_actions_t *actions, uint64_t *ret_ino)
{
	struct action *a;

	if (LIKELY(!actions || !any))
		return false;
	pthread_mutex_lock(&mutex);
	for (a = first; a && (a->actions != actions || !a->enters); a = a->next)
		;
	*ret_ino = a ? a->ino : 0;
	pthread_mutex_unlock(&mutex);
	return a != NULL;
}

const char *spawn_path(const posix_spawn_file_actions_t *actions, const char *path, char *buf)
{
	struct ff3fs *fs;
	uint64_t ino;
	size_t len;

	if (LIKELY(!entered(actions, &ino)) || path[0] == '/')
		return path;
	if (ino == 0 || core_fs(&fs) < 0 || cwd_path_of(fs, ino, buf, PATH_MAX) < 0)
		return NULL;
	len = strlen(buf);
	return (size_t)snprintf(buf + len, PATH_MAX - len, "/%s", path) < PATH_MAX - len ? buf : NULL;
}

int hook_posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd,
					  const char *path, int flags, mode_t mode)
{
	char buf[PATH_MAX];
	const char *ours = spawn_path(actions, path, buf);
	int opened, high;

	if (LIKELY(!ours || !where_is_ours(AT_FDCWD, ours)))
		return REAL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);
	opened = hook_open(ours, flags | O_CLOEXEC, mode);
	if (opened < 0)
		return errno;
	high = keep_high(actions, opened, false, 0);
	return high < 0 ? -high : posix_spawn_file_actions_adddup2(actions, high, fd);
}

/* The child's directory is one that is not ours: names relative to it are not, although ours may be. */
static int left(const posix_spawn_file_actions_t *actions, int r)
{
	uint64_t ino;

	if (r == 0 && init_active() && (cwd_inode() || entered(actions, &ino)))
		r = -keep((struct action){ .actions = actions, .fd = -1, .enters = true });
	return r;
}

static int enter(posix_spawn_file_actions_t *actions, int fd, uint64_t ino)
{
	fd = keep_high(actions, fd, true, ino);
	return fd < 0 ? -fd : REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd);
}

int hook_posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path)
{
	char buf[PATH_MAX];
	const char *ours = spawn_path(actions, path, buf);
	uint64_t ino = 0;
	int fd;

	if (LIKELY(!ours || !where_is_ours(AT_FDCWD, ours)))
		return left(actions, REAL(posix_spawn_file_actions_addchdir_np)(actions, path));
	fd = cwd_for_child(ours, -1, &ino);
	/* What goes wrong there goes wrong in the child: it is posix_spawn that says so. */
	if (fd == -ENOENT || fd == -ENAMETOOLONG)
		return REAL(posix_spawn_file_actions_addchdir_np)(actions, path);
	if (fd == -ENOTDIR)
		fd = raw_open("/dev/null", O_RDONLY | O_CLOEXEC);
	return enter(actions, fd, ino);
}

int hook_posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t *actions, int fd)
{
	uint64_t ino = 0;
	int r;

	if (LIKELY(!fdtab_is_ours(fd)))
		return left(actions, REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd));
	r = cwd_for_child(NULL, fd, &ino);
	return r == -ENOTDIR ? REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd) : enter(actions, r, ino);
}

int hook_posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions)
{
	struct action *gone = NULL, *a;

	pthread_mutex_lock(&mutex);
	for (struct action **p = &first; (a = *p);) {
		if (a->actions != actions) {
			p = &a->next;
			continue;
		}
		*p = a->next;
		a->next = gone;
		gone = a;
	}
	pthread_mutex_unlock(&mutex);
	while ((a = gone)) {
		gone = a->next;
		if (a->fd >= 0)
			hook_close(a->fd);
		free(a);
	}
	return REAL(posix_spawn_file_actions_destroy)(actions);
}

DEFINE_ALIASES(spawn)
