/* Purpose: a flock that must outlive this process: on a descriptor that it inherited, and on any when
 * it executes another program.
 *
 * In `exec 9>file; flock 9` it is the shell that holds the
 * description, and flock(1) only a passer-by. Our lock descriptor would go with the passer-by. So a
 * keeper process holds it, and notices when the description is gone or unlocked: the locker has
 * put a real flock on the placeholder's description, and the keeper waits for the same lock through
 * a description of its own. Nobody but them uses the placeholder's private inode, so the keeper gets
 * it exactly when the last copy of the descriptor is closed, or somebody unlocks.
 *
 * Between hosts a lock goes with the session of the process that took it. So the keeper takes it too,
 * in a session of its own.
 *
 * While a keeper lives it also holds a record lock on the placeholder's first byte, which makes
 * its end something to wait for: unlocking returns when the lock is really free.
 *
 * It notices the end of a description a moment late. So it marks the lock file by a record lock, and who
 * would be refused because of a keeper gives it that moment (hook_lock.c).
 *
 * Threads, fork: the keeper is the child of a forked child, so that it has all of libc and the client
 * core, and belongs to init. SIGCHLD of the child between is taken away before a handler sees it.
 * No handlers run in the keeper. */
#include "keeper.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "raw.h"

/* Its session has the lock as well. Nothing follows from failure: the locker has it. */
static void keep_in_cluster(struct ofd *o, int type)
{
	struct ff3fs_lock lock = { .kind = FF3FS_LOCK_FLOCK, .last = UINT64_MAX,
				   .type = type == LOCK_EX ? FF3FS_LOCK_EXCLUSIVE :
							     FF3FS_LOCK_SHARED };
	uint8_t held;

	fork_in_child();
	lock_cluster_set(o, &lock, false, &held);
}

int keeper_own(int fd)
{
	char path[32];
	int own;

	/* The placeholder's mode lets nobody open it: its owner may change that for a moment. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	RAW(fchmod, fd, 0200);
	own = raw_open(path, O_WRONLY | O_CLOEXEC);
	RAW(fchmod, fd, 0);
	return own;
}

void keeper_arrange(const int *fds, int n, int extra)
{
	int all = n + (extra >= 0), high[8];

	for (int i = 0; i < all; i++)
		high[i] = (int)RAW(fcntl, i < n ? fds[i] : extra, F_DUPFD, 16);
	for (int i = 0; i < all; i++)
		RAW(dup3, high[i], i, O_CLOEXEC);
	RAW(close_range, all, ~0u, 0);
}

struct keeping {
	struct ofd *o;
	int lock_fd, fd, ready, type;
};

static void keep(void *arg)
{
	struct flock alive = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	const struct keeping *k = arg;
	int own = keeper_own(k->fd);

	if (own < 0)
		return;
	keeper_arrange((int[]){ k->lock_fd, own, k->ready }, 3, -1);
	if (RAW(fcntl, 1, F_OFD_SETLK, &alive) < 0 || RAW(fcntl, 0, F_OFD_SETLK, &alive) < 0)
		return;
	keep_in_cluster(k->o, k->type);
	RAW(write, 2, "", 1);
	RAW(close, 2);
	while (RAW(flock, 1, LOCK_EX) == -EINTR)
		;
	RAW(close, 0); /* the lock, before the sign of life */
	lock_cluster_clear(k->o);
}

/* Forks, runs fn in a child of the child, and waits for the child's end. */
static void start(void (*fn)(void *arg), void *arg)
{
	uint64_t chld = 1ull << (SIGCHLD - 1), all = RAW_ALL_SIGNALS, before, pending;
	struct timespec now = { 0 };
	int status;
	pid_t child;

	RAW(rt_sigprocmask, SIG_BLOCK, &chld, &before, 8);
	RAW(rt_sigpending, &pending, 8);
	child = fork();
	if (child == 0) {
		if (RAW(clone, 0, 0, 0, 0, 0) == 0) {
			RAW(rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
			RAW(setsid);
			RAW(prctl, PR_SET_NAME, "ff3fs-lock");
			RAW(chdir, "/");
			fn(arg);
		}
		RAW(exit_group, 0);
	}
	while (child > 0 && RAW(wait4, child, &status, __WALL, 0) == -EINTR)
		;
	if (!(pending & chld))
		RAW(rt_sigtimedwait, &chld, NULL, &now, 8);
	RAW(rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
}

int keeper_run(void (*fn)(void *arg), void *arg, int *ret_ready)
{
	int pipe_fd[2];
	char byte;
	long n;

	if (RAW(pipe2, pipe_fd, O_CLOEXEC) < 0)
		return -ENOLCK;
	*ret_ready = pipe_fd[1];
	start(fn, arg);
	raw_close(pipe_fd[1]);
	while ((n = RAW(read, pipe_fd[0], &byte, 1)) == -EINTR)
		;
	raw_close(pipe_fd[0]);
	return n == 1 ? 0 : -ENOLCK;
}

int keeper_start(int fd, struct ofd *o, int lock_fd, int type)
{
	struct keeping k = { .o = o, .lock_fd = lock_fd, .fd = fd, .type = type };
	int r;

	RAW(flock, fd, LOCK_EX); /* of the placeholder: the keeper waits for it */
	r = keeper_run(keep, &k, &k.ready);
	if (r < 0)
		RAW(flock, fd, LOCK_UN);
	return r;
}

bool lock_is_passing(int lock_fd)
{
	struct flock alive = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };

	return RAW(fcntl, lock_fd, F_OFD_GETLK, &alive) == 0 && alive.l_type != F_UNLCK;
}

/* Ends the keeper of this description, if there is one, and waits for its end. */
void keeper_release(int fd)
{
	struct flock end = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };

	RAW(flock, fd, LOCK_UN);
	while (RAW(fcntl, fd, F_OFD_SETLKW, &end) == -EINTR)
		;
	end.l_type = F_UNLCK;
	RAW(fcntl, fd, F_OFD_SETLK, &end);
}
