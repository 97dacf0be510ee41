/* Purpose: which process this is. A forked child goes on with what it inherited: the core opens
 * connections of its own, our locks start unlocked. Where no handler ran (_Fork, the system call), that
 * happens at the child's first use of ours, which fork_mark shows. A vfork child runs in its parent's memory, in
 * the middle of one of the parent's threads: it may do to descriptors what it likes (they are its
 * own), but must not touch the parent's tables, nor speak on the parent's connections.
 * Threads: `self` changes only in a forked child, while that has one thread. */
#include "init.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "hook.h"
#include "raw.h"
#include "shared_map.h"

static pid_t self;
static char never_emptied = 1;
const char *fork_mark = &never_emptied;
/* Our handlers run in this fork: the child's will. */
static __thread bool announced __attribute__((tls_model("initial-exec")));

bool init_is_vfork_child(void)
{
	fork_notice();
	return (pid_t)RAW(getpid) != self;
}

pid_t fork_self(void)
{
	fork_notice();
	return self;
}

static void before_fork(void)
{
	if (!init_is_vfork_child())
		flush_everything();
	shared_map_before_fork();
	announced = true;
}

static void in_parent(void)
{
	announced = false;
	shared_map_after_fork_in_parent();
}

static void make_mark(void)
{
	long p = RAW(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p < 0 && p > -4096)
		return;
	if (RAW(madvise, p, 4096, MADV_WIPEONFORK) == 0) {
		*(char *)p = 1;
		fork_mark = (const char *)p;
	}
}

void fork_in_child(void)
{
	self = (pid_t)RAW(getpid);
	*(char *)(uintptr_t)fork_mark = 1;
	announced = false;
	core_after_fork();
	fdtab_after_fork();
	async_after_fork();
	aio_ctx_after_fork();
	uring_after_fork();
	posix_aio_after_fork();
	stdio_after_fork();
	lock_after_fork();
	socket_after_fork();
	fd_after_fork();
	space_after_fork();
	cwd_after_fork();
}

static void in_child(void)
{
	fork_in_child();
	shared_map_after_fork(true);
}

void fork_unannounced(void)
{
	uint64_t mask;

	if (announced)
		return;
	RAW(rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof mask);
	fork_in_child();
	if (core_loaded())
		CALL(forked);
	shared_map_after_fork(false);
	shared_map_resume();
	RAW(rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

/* Handlers registered before ours may not have run when ours does: what needs all of them waits. */
static __thread bool in_fork __attribute__((tls_model("initial-exec")));

bool fork_is_hooked(void)
{
	return in_fork;
}

pid_t hook_fork(void)
{
	pid_t child;

	in_fork = true;
	child = REAL(fork)();
	in_fork = false;
	if (child == 0)
		shared_map_resume();
	return child;
}

/* fork without handlers. The child of a process that has loaded mappings when they were touched needs
 * them: they are the ones that make its faults its own. */
pid_t hook__Fork(void)
{
	return UNLIKELY(shared_map_has_faults()) ? hook_fork() : REAL(_Fork)();
}

/* pthread_atfork is this call. Weak, because another libc lacks it, and shall load the library all the
 * same: it is inert there, and LD_PRELOAD is often set for whole containers. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso)
	__attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

void fork_init(void)
{
	self = (pid_t)RAW(getpid);
	make_mark();
	__register_atfork(before_fork, in_parent, in_child, &__dso_handle);
}

int fork_run(int (*fn)(void *arg, void *out), void *arg, void *out, size_t n)
{
	int pipe_fd[2], r = (int)RAW(pipe2, pipe_fd, O_CLOEXEC), answer = -EIO;
	pid_t child;
	int status;

	if (r < 0)
		return r;
	child = fork();
	if (child == 0) {
		answer = fn(arg, out);
		RAW(write, pipe_fd[1], &answer, sizeof answer);
		RAW(write, pipe_fd[1], out, n);
		RAW(exit_group, 0);
	}
	raw_close(pipe_fd[1]);
	if (child > 0) {
		if (RAW(read, pipe_fd[0], &answer, sizeof answer) != sizeof answer)
			answer = -EIO;
		else if (RAW(read, pipe_fd[0], out, n) != (long)n)
			answer = -EIO;
		while (RAW(wait4, child, &status, __WALL, 0) == -EINTR)
			;
	}
	raw_close(pipe_fd[0]);
	return child < 0 ? -EAGAIN : answer;
}

DEFINE_ALIASES(fork)
