/* Purpose: a working directory below a prefix, which the kernel cannot have.
 *
 * `cwd` is its inode; relative paths start there (where.c). The kernel's own working directory is
 * meanwhile an empty directory that has been removed already, so that a relative path in a call we
 * do not see finds nothing; and its name, "ff3fs-cwd:<inode>:<unique>", is how programs started
 * from here know where they are: exec and fork keep it, whatever the environment. Where the file system is
 * mounted at the prefix, the kernel can have it, and so do programs that are not preloaded.
 *
 * It is held open, so that it stays, and ".." of it, when it is removed; after exec by what loads the client. A
 * program that does so later than metad waits for the one it replaced finds a removed one gone: ENOENT.
 *
 * Threads: `cwd` is one word; `busy` guards it together with `held`, no handler runs meanwhile. Fork: inherited.
 * vfork: the child's kernel directory is its own, `cwd` is the parent's and stays; the child's is noted in the
 * thread they share. */
#include "hook.h"

#include <stdatomic.h>
#include <stdio.h>

#include "mount.h"
#include "raw.h"

static _Atomic uint64_t cwd;
static struct ff3fs_file *held;
static _Atomic int busy;

/* A vfork child has changed its directory; it runs on this thread, with this thread's memory. */
static __thread struct {
	pid_t pid;
	uint64_t ino;
} child_cwd __attribute__((tls_model("initial-exec")));

uint64_t cwd_inode(void)
{
	if (UNLIKELY(child_cwd.pid)) {
		if (child_cwd.pid == (pid_t)RAW(getpid))
			return child_cwd.ino;
		child_cwd.pid = 0; /* that child is gone */
	}
	return atomic_load_explicit(&cwd, memory_order_relaxed);
}

/* Sets both, and lets go of what was held. */
static void set_cwd(uint64_t ino, struct ff3fs_file *file)
{
	struct ff3fs_file *old;
	uint64_t saved;

	raw_block_signals(&saved);
	while (atomic_exchange_explicit(&busy, 1, memory_order_acquire))
		RAW(sched_yield);
	atomic_store_explicit(&cwd, ino, memory_order_relaxed);
	old = held;
	held = file;
	atomic_store_explicit(&busy, 0, memory_order_release);
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, 0, 8);
	if (old)
		CALL(close, old);
}

/* NULL: it is gone. */
static struct ff3fs_file *hold(uint64_t ino)
{
	struct ff3fs_file *file;
	struct ff3fs *fs;

	return core_fs(&fs) >= 0 && CALL(open_inode, fs, ino, O_PATH, &file) >= 0 ? file : NULL;
}

void cwd_core_loaded(void)
{
	uint64_t ino = atomic_load(&cwd);

	if (ino)
		set_cwd(ino, hold(ino));
}

/* Forked by a vfork child (fork_run): its directory is ours. */
void cwd_after_fork(void)
{
	busy = 0;
	if (child_cwd.pid && child_cwd.pid == (pid_t)RAW(getppid))
		cwd = child_cwd.ino;
	child_cwd.pid = 0;
}

void cwd_init(void)
{
	char buf[PATH_MAX];
	const char *rest;
	uint64_t ino;
	int index;
	long n, r;

	/* Removed directories have no path; the supervisor of ff3fs run --notify gives one of ours. */
	r = RAW(getcwd, buf, sizeof buf);
	if (r != -ENOENT &&
	    (r < 0 || prefix_classify_normal(buf, &rest, &index) != PREFIX_INSIDE))
		return;
	n = RAW(readlinkat, AT_FDCWD, "/proc/self/cwd", buf, sizeof buf - 1);
	if (n <= 0)
		return;
	buf[n] = '\0';
	if (placeholder_cwd_parse(buf, &ino))
		cwd = ino;
	else if (r != -ENOENT)
		cwd = mount_cwd();
}

int cwd_path_of(struct ff3fs *fs, uint64_t ino, char *buf, size_t size)
{
	char path[PATH_MAX];
	int r = CALL(get_path, fs, ino, path, sizeof path), n;

	if (r < 0)
		return r;
	n = snprintf(buf, size, "%s%s", prefix_text(0), strcmp(path, "/") == 0 ? "" : path);
	return n < 0 || (size_t)n >= size ? -ERANGE : 0;
}

/* --- chdir --------------------------------------------------------------------------------- */

/* A directory for the kernel to be in, which is to be removed as soon as it is used. */
static int make_parking(uint64_t ino, char path[128])
{
	static const char *const bases[] = { "/dev/shm", "/tmp", "/var/tmp", "/run" };
	static _Atomic unsigned counter;
	char name[64];
	int r = -EACCES;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++)
		for (int tries = 0; tries < 16; tries++) {
			unsigned unique = (unsigned)RAW(getpid) << 10 ^ counter++;

			placeholder_cwd_name(ino, unique, name);
			snprintf(path, 128, "%s/%s", bases[i], name);
			r = (int)RAW(mkdirat, AT_FDCWD, path, 0700);
			if (r == -EEXIST)
				continue;
			if (r < 0)
				break;
			return r;
		}
	return r;
}

/* Moves the kernel's working directory out of the way. */
static int park(uint64_t ino)
{
	char path[128];
	int r = make_parking(ino, path);

	if (r < 0)
		return r;
	r = (int)RAW(chdir, path);
	RAW(unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	return r;
}

static int open_parking(uint64_t ino)
{
	char path[128];
	int r = make_parking(ino, path);

	if (r < 0)
		return r;
	r = raw_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	RAW(unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	return r;
}

struct target {
	uint64_t ino;
	char native[PATH_MAX];
};

/* The directory that path names: an inode of ours, or a native path. */
static int find_target(void *arg, void *out)
{
	const char *path = arg;
	struct target *t = out;
	struct ff3fs_attr a;
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0);

	if (r == 0) { /* through links of the machine */
		errno = ENOENT;
		r = where_through_links(&w, AT_FDCWD, path, 0);
		r = r == 0 ? -ENOENT : r;
	}
	while (r > 0)
		r = where_next(&w, CALL(stat, w.fs, w.dir, w.path, 0, &a));
	if (r < 0)
		return r;
	if (w.native) {
		t->ino = 0;
		strcpy(t->native, w.native);
		return 0;
	}
	if (!S_ISDIR(a.mode))
		return -ENOTDIR;
	t->ino = a.ino;
	if (!mount_over_prefix(w.fs, a.ino, t->native))
		t->native[0] = '\0';
	return CALL(access, w.fs, a.ino, "", X_OK, 0);
}

static void now_at(uint64_t ino, struct ff3fs_file *file)
{
	if (init_is_vfork_child()) {
		child_cwd.pid = (pid_t)RAW(getpid);
		child_cwd.ino = ino;
	} else {
		set_cwd(ino, file);
	}
}

/* To where the kernel knows the directory, if it does. */
static int enter(const struct target *t)
{
	struct ff3fs_file *file = t->ino && !init_is_vfork_child() ? hold(t->ino) : NULL;
	int r = t->native[0] ? (int)RAW(chdir, t->native) : -ENOENT;

	if (r < 0 && t->ino)
		r = park(t->ino);
	if (r == 0)
		now_at(t->ino, file);
	else if (file)
		CALL(close, file);
	return r;
}

int hook_chdir(const char *path)
{
	struct target t;
	struct where w;
	int r;

	if (LIKELY(!where_is_ours(AT_FDCWD, path))) {
		r = REAL(chdir)(path);
		if (r == 0 && init_active() && cwd_inode())
			now_at(0, NULL);
		if (LIKELY(r == 0) || init_is_vfork_child() ||
		    where_through_links(&w, AT_FDCWD, path, 0) <= 0)
			return r;
	}
	/* A vfork child (Python's subprocess with cwd=) must not speak on the parent's
	 * connections: another process asks for it. */
	if (init_is_vfork_child())
		r = fork_run(find_target, (void *)(uintptr_t)path, &t, sizeof t);
	else
		r = find_target((void *)(uintptr_t)path, &t);
	return (int)hook_result(r < 0 ? r : enter(&t));
}

/* 0: fd is not ours; 1; negative errno. */
static int target_of(int fd, struct target *t)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	struct ff3fs_attr a;
	struct ff3fs *fs;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0))
		return 0;
	if (r > 0)
		r = stat_ofd(o, &a);
	if (r >= 0)
		r = !S_ISDIR(a.mode) ? -ENOTDIR : core_fs(&fs);
	if (r >= 0)
		r = CALL(access, fs, o->ino, "", X_OK, 0);
	if (r < 0)
		return r;
	t->ino = o->ino;
	if (!mount_over_prefix(fs, o->ino, t->native))
		t->native[0] = '\0';
	return 1;
}

int hook_fchdir(int fd)
{
	struct target t;
	int r = target_of(fd, &t);

	if (LIKELY(r == 0)) {
		r = REAL(fchdir)(fd);
		if (r == 0 && init_active() && cwd_inode())
			now_at(0, NULL);
		return r;
	}
	return (int)hook_result(r < 0 ? r : enter(&t));
}

int cwd_for_child(const char *path, int fd, uint64_t *ret_ino)
{
	struct target t;
	int r = path ? find_target((void *)(uintptr_t)path, &t) : target_of(fd, &t);

	if (r < 0 || (!path && r == 0))
		return r < 0 ? r : -EBADF;
	*ret_ino = t.ino;
	r = t.native[0] ? raw_open(t.native, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -ENOENT;
	return r < 0 && t.ino ? open_parking(t.ino) : r;
}

/* --- getcwd -------------------------------------------------------------------------------- */

static int current(char out[PATH_MAX])
{
	struct ff3fs *fs;
	int r = core_fs(&fs);

	return r < 0 ? r : cwd_path_of(fs, cwd_inode(), out, PATH_MAX);
}

char *hook_getcwd(char *buf, size_t size)
{
	char path[PATH_MAX];
	size_t len;
	int r;

	if (LIKELY(!init_active() || !cwd_inode()))
		return REAL(getcwd)(buf, size);
	if (buf && size == 0)
		return hook_result(-EINVAL), NULL;
	r = current(path);
	len = strlen(r < 0 ? "" : path) + 1;
	if (r == 0 && size > 0 && len > size)
		r = -ERANGE;
	if (r < 0)
		return hook_result(r), NULL;
	if (!buf) {
		buf = malloc(MAX(size, len));
		if (!buf)
			return NULL;
	} else if (!memory_copy_out(buf, path, len)) {
		return hook_result(-EFAULT), NULL;
	}
	return memcpy(buf, path, len);
}

char *hook___getcwd_chk(char *buf, size_t n, size_t size)
{
	return n > size ? REAL(__getcwd_chk)(buf, n, size) /* aborts */ : hook_getcwd(buf, n);
}

char *hook_getwd(char *buf)
{
	if (LIKELY(!init_active() || !cwd_inode()))
		return REAL(getwd)(buf);
	return buf ? hook_getcwd(buf, PATH_MAX) : (hook_result(-EINVAL), NULL);
}

char *hook_get_current_dir_name(void)
{
	const char *pwd = getenv("PWD");
	struct stat here, there;

	if (LIKELY(!init_active() || !cwd_inode()))
		return REAL(get_current_dir_name)();
	if (pwd && hook_stat(".", &here) == 0 && hook_stat(pwd, &there) == 0 &&
	    here.st_dev == there.st_dev && here.st_ino == there.st_ino)
		return strdup(pwd);
	return hook_getcwd(NULL, 0);
}

/* The kernel has no such directory. What is wrong with the path comes first. */
int hook_chroot(const char *path)
{
	struct stat st;

	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(chroot)(path);
	if (hook_stat(path, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return (int)hook_result(-ENOTDIR);
	return hook_access(path, X_OK) < 0 ? -1 : (int)hook_result(-EPERM);
}

DEFINE_ALIASES(cwd)
