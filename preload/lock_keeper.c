/* Purpose: flock on a descriptor that this process did not open, but inherited.
 *
 * Such a lock must outlive this process: in `exec 9>file; flock 9` it is the shell that holds the
 * description, and flock(1) only a passer-by. Our lock descriptor would go with the passer-by. So a
 * keeper process holds it, and notices when the description is gone or unlocked: the locker has
 * put a real flock on the placeholder's description, and the keeper waits for the same lock through
 * a description of its own. Nobody but them uses the placeholder's private inode, so the keeper gets
 * it exactly when the last copy of the descriptor is closed, or somebody unlocks.
 *
 * While a keeper lives it also holds a record lock on the placeholder's first byte, which makes
 * its end something to wait for: unlocking returns when the lock is really free.
 *
 * Threads, fork: the keeper is made by clone without signal, runs no libc code and no handlers, and
 * belongs to init. */
#include "hook.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "raw.h"

static void keep(int lock_fd, int fd, int ready) __attribute__((noreturn));
static void keep(int lock_fd, int fd, int ready)
{
	struct flock alive = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	uint64_t all = ~0ull;
	char path[32];
	int own;

	RAW(rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
	RAW(setsid);
	RAW(prctl, PR_SET_NAME, "ff3fs-lock");
	RAW(chdir, "/");
	/* The placeholder's mode lets nobody open it: its owner may change that for a moment. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	RAW(fchmod, fd, 0200);
	own = raw_open(path, O_WRONLY | O_CLOEXEC);
	RAW(fchmod, fd, 0);
	if (own >= 0) {
		lock_fd = (int)RAW(fcntl, lock_fd, F_DUPFD, 16);
		own = (int)RAW(fcntl, own, F_DUPFD, 16);
		ready = (int)RAW(fcntl, ready, F_DUPFD, 16);
		RAW(dup3, lock_fd, 0, O_CLOEXEC);
		RAW(dup3, own, 1, O_CLOEXEC);
		RAW(dup3, ready, 2, O_CLOEXEC);
		RAW(close_range, 3, ~0u, 0);
		if (RAW(fcntl, 1, F_OFD_SETLK, &alive) == 0) {
			RAW(write, 2, "", 1);
			RAW(close, 2);
			while (RAW(flock, 1, LOCK_EX) == -EINTR)
				;
			RAW(close, 0); /* the lock, before the sign of life */
		}
	}
	RAW(exit_group, 0);
	__builtin_unreachable();
}

/* Without an exit signal, so that no handler of the program hears of it. */
static long fork_quietly(void)
{
	return RAW(clone, 0, 0, 0, 0, 0);
}

static int start_keeper(int lock_fd, int fd)
{
	int pipe_fd[2], status;
	long child;
	char byte;
	long n;

	if (RAW(pipe2, pipe_fd, O_CLOEXEC) < 0)
		return -ENOLCK;
	child = fork_quietly();
	if (child == 0) {
		if (fork_quietly() == 0)
			keep(lock_fd, fd, pipe_fd[1]);
		RAW(exit_group, 0);
	}
	raw_close(pipe_fd[1]);
	while (child > 0 && RAW(wait4, child, &status, __WALL, 0) == -EINTR)
		;
	while ((n = RAW(read, pipe_fd[0], &byte, 1)) == -EINTR)
		;
	raw_close(pipe_fd[0]);
	return n == 1 ? 0 : -ENOLCK;
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

int keeper_lock(int fd, int lock_fd, int operation)
{
	int r;

	/* As flock(2): converting is unlocking, then locking. */
	keeper_release(fd);
	r = REAL(flock)(lock_fd, operation) < 0 ? -errno : 0;
	if (r == 0) {
		RAW(flock, fd, LOCK_EX);
		r = start_keeper(lock_fd, fd);
		if (r < 0)
			RAW(flock, fd, LOCK_UN);
	}
	return r;
}
