/* Signals, threads and processes of a program whose system calls are dispatched; on the directory of
 * argument 1. Every part checks by the system call instruction that files of that directory are
 * still served. Without the shim, on a local directory, it is a control: the same must hold. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static const char *dir;
static char file[4096], program[4096];
extern char **environ;

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			dprintf(2, "%s:%d: %s: errno %d\n", __FILE__, __LINE__, #what, errno);     \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static long inline_call(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#define CALL_(n, a, b, c, d, e, f, ...)                                                            \
	inline_call(SYS_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(n, ...) CALL_(n, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* 0: the file's bytes have come; else the error. */
static long served(void)
{
	char buf[8] = "";
	long fd = CALL(open, file, O_RDONLY), r;

	if (fd < 0)
		return fd;
	r = CALL(read, fd, buf, 8);
	CALL(close, fd);
	return r == 7 && memcmp(buf, "content", 7) == 0 ? 0 : r < 0 ? r : -EBADMSG;
}

/* --- Signals ------------------------------------------------------------------------------- */

static volatile sig_atomic_t n_handled, n_refused;
static volatile long handler_saw;

static void handler(int sig)
{
	long r = served();

	n_handled++;
	if (r == -EDEADLK) /* it has interrupted the client itself */
		n_refused++;
	else
		handler_saw = r;
}

static void set(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags }, now;

	sigfillset(&sa.sa_mask);
	CHECK(sigaction(sig, &sa, NULL) == 0);
	CHECK(sigaction(sig, NULL, &now) == 0);
	CHECK(now.sa_handler == fn && (now.sa_flags & ~0x04000000) == flags);
	CHECK(sigismember(&now.sa_mask, SIGUSR2) == 1);
}

static void with_info(int sig, siginfo_t *info, void *context)
{
	n_handled += info->si_value.sival_int;
	CHECK(context && served() == 0);
}

static void handlers(void)
{
	struct sigaction sa = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_RESETHAND }, now;

	n_handled = 0;
	set(SIGUSR1, handler, 0);
	raise(SIGUSR1);
	CHECK(n_handled == 1 && handler_saw == 0);
	CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
	CHECK(sigqueue(getpid(), SIGUSR2, (union sigval){ 41 }) == 0);
	CHECK(n_handled == 42);
	CHECK(sigaction(SIGUSR2, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
	CHECK(signal(SIGUSR1, SIG_IGN) == handler);
	raise(SIGUSR1);
	CHECK(n_handled == 42 && served() == 0);
	CHECK(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
	errno = 0;
	CHECK(CALL(rt_sigaction, SIGKILL, &(char[32]){ 0 }, 0, 8) == -EINVAL);
	CHECK(CALL(rt_sigaction, SIGUSR1, 1, 0, 8) == -EFAULT);
	CHECK(CALL(rt_sigaction, SIGUSR1, 0, 0, 4) == -EINVAL);
	CHECK(errno == 0);
}

static void sigsys_of_the_program(void)
{
	int status;
	pid_t pid;

	n_handled = 0;
	set(SIGSYS, handler, 0);
	raise(SIGSYS);
	CHECK(n_handled == 1 && handler_saw == 0 && served() == 0);
	CHECK(signal(SIGSYS, SIG_IGN) == handler);
	raise(SIGSYS);
	CHECK(n_handled == 1 && served() == 0);
	CHECK(signal(SIGSYS, SIG_DFL) == SIG_IGN);
	pid = fork();
	if (pid == 0) {
		raise(SIGSYS);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void masks(void)
{
	sigset_t all, old, now;
	struct timespec ten_ms = { 0, 10000000 };

	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
	CHECK(served() == 0);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
	CHECK(sigismember(&now, SIGSYS) == 1 && sigismember(&now, SIGUSR1) == 1 &&
	      sigismember(&now, SIGKILL) == 0);
	CHECK(CALL(rt_sigprocmask, 99, &all, 0, 8) == -EINVAL);
	CHECK(CALL(rt_sigprocmask, SIG_BLOCK, 1, 0, 8) == -EFAULT);
	CHECK(CALL(rt_sigprocmask, SIG_BLOCK, &all, 0, 4) == -EINVAL);
	CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
	CHECK(sigismember(&now, SIGSYS) == 0 && sigismember(&now, SIGUSR1) == 0);

	/* Calls that wait with all signals blocked but one: its handler is served. */
	set(SIGALRM, handler, 0);
	sigdelset(&all, SIGALRM);
	sigaddset(&old, SIGALRM);
	CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	for (int i = 0; i < 4; i++) {
		n_handled = 0;
		handler_saw = 1;
		raise(SIGALRM);
		CHECK(n_handled == 0);
		errno = 0;
		switch (i) {
		case 0:
			CHECK(sigsuspend(&all) == -1);
			break;
		case 1:
			CHECK(ppoll(NULL, 0, &ten_ms, &all) == -1);
			break;
		case 2:
			CHECK(pselect(0, NULL, NULL, NULL, &ten_ms, &all) == -1);
			break;
		case 3:
			CHECK(CALL(rt_sigsuspend, &all, 8) == -EINTR);
			errno = EINTR;
		}
		CHECK(errno == EINTR && n_handled == 1 && handler_saw == 0 && served() == 0);
	}
	sigdelset(&old, SIGALRM);
	CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}

static char *alternate;
static void on_alternate(int sig)
{
	char here;

	CHECK(&here >= alternate && &here < alternate + 65536);
	handler(sig);
}

static void alternate_stack(void)
{
	stack_t st = { .ss_size = 65536 }, now;

	st.ss_sp = alternate = malloc(65536);
	CHECK(sigaltstack(&st, NULL) == 0);
	CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == alternate && now.ss_flags == 0);
	set(SIGUSR1, on_alternate, SA_ONSTACK);
	n_handled = 0;
	raise(SIGUSR1);
	CHECK(n_handled == 1 && handler_saw == 0);
	CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == alternate);
	st.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&st, NULL) == 0);
	CHECK(sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE));
}

static sigjmp_buf jump;
static void jumper(int sig)
{
	siglongjmp(jump, 1);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	CHECK(served() == 0);
	CHECK(CALL(mprotect, (uintptr_t)info->si_addr & ~4095ul, 4096, PROT_READ | PROT_WRITE) == 0);
}

static void leaving_handlers(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	volatile char *p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set(SIGUSR1, jumper, 0);
	for (volatile int i = 0; i < 50; i++)
		if (sigsetjmp(jump, 1) == 0) {
			raise(SIGUSR1);
			CHECK(!"reached");
		}
	CHECK(served() == 0);
	CHECK(sigaction(SIGSEGV, &sa, NULL) == 0);
	p[5] = 1;
	CHECK(p[5] == 1 && served() == 0);
	signal(SIGSEGV, SIG_DFL);
}

static void interrupted(void)
{
	/* Again and again: the first may come just before the waiting. */
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } }, often = { { 0, 20000 }, { 0, 20000 } },
			 never = { { 0, 0 }, { 0, 0 } };
	struct timespec t = { 0, 100000000 }, left = { 60, 0 };
	int fds[2];
	char c;

	CHECK(pipe(fds) == 0);
	set(SIGALRM, handler, 0);
	setitimer(ITIMER_REAL, &often, NULL);
	CHECK(CALL(read, fds[0], &c, 1) == -EINTR && handler_saw == 0);
	CHECK(nanosleep(&left, &left) == -1 && errno == EINTR && left.tv_sec > 0);
	/* Restarted, until the other process writes. */
	set(SIGALRM, handler, SA_RESTART);
	setitimer(ITIMER_REAL, &never, NULL);
	n_handled = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	if (fork() == 0) {
		nanosleep(&t, NULL);
		CHECK(write(fds[1], "x", 1) == 1);
		_exit(0);
	}
	CHECK(CALL(read, fds[0], &c, 1) == 1 && c == 'x' && n_handled == 1);
	wait(NULL);
}

/* The turn of the storm that the program is in; -1: it is over. */
static volatile sig_atomic_t storm_turn;

/* Comes again 0.3 ms after it has ended; later and later as long as the program gets no further. A fork that takes
 * longer, which the kernel begins again after each signal, would else never end. */
static void in_storm(int sig)
{
	static sig_atomic_t turn;
	static suseconds_t after = 300;
	struct itimerval next = { { 0, 0 }, { 0, 0 } };

	handler(sig);
	after = turn == storm_turn && after < 100000 ? after * 2 : 300;
	turn = storm_turn;
	next.it_value.tv_usec = after;
	if (turn >= 0)
		setitimer(ITIMER_REAL, &next, NULL);
}

/* Signals into everything but malloc, which neither the handler's files nor POSIX can do without. */
static void storm(void)
{
	struct itimerval soon = { { 0, 0 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
	char *const args[] = { "program", NULL };

	set(SIGALRM, in_storm, SA_RESTART);
	n_handled = n_refused = 0;
	handler_saw = 0;
	storm_turn = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	for (int i = 0; i < 600; i++) {
		char here[4096];
		int status;
		pid_t pid;

		storm_turn = i;
		CHECK(served() == 0);
		CHECK(getcwd(here, sizeof here) && access(file, R_OK) == 0);
		if (i % 30 == 0) {
			pid = fork();
			if (pid == 0)
				_exit(served() != 0);
			CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		}
		if (i % 30 == 15) {
			pid = vfork();
			if (pid == 0) {
				execve(program, args, environ);
				_exit(9);
			}
			CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
		}
	}
	storm_turn = -1;
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(handler_saw == 0 && n_handled > 0);
}

/* --- Registers and stack -------------------------------------------------------------------- */

__attribute__((noinline)) static void registers(void)
{
	long r, sum;
	double d = 1.5, e;

	__asm__ volatile("movq $0x1234567, -8(%%rsp)\n" /* the red zone */
			 "movq $0x89abcde, -128(%%rsp)\n"
			 "movq %3, %%xmm7\n"
			 "movq $11, %%rbx\n movq $12, %%r12\n movq $13, %%r13\n movq $14, %%r14\n movq $15, %%r15\n"
			 "movq $21, %%r9\n movq $22, %%r8\n movq $23, %%r10\n"
			 "movq $39, %%rax\n" /* getpid */
			 "syscall\n"
			 "movq %%rax, %0\n"
			 "movq %%rbx, %1\n addq %%r12, %1\n addq %%r13, %1\n addq %%r14, %1\n addq %%r15, %1\n"
			 "addq %%r9, %1\n addq %%r8, %1\n addq %%r10, %1\n"
			 "addq -8(%%rsp), %1\n addq -128(%%rsp), %1\n"
			 "movq %%xmm7, %2\n"
			 : "=&m"(r), "=&a"(sum), "=&r"(e)
			 : "r"(d)
			 : "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm7", "memory");
	CHECK(r == getpid());
	CHECK(sum == 11 + 12 + 13 + 14 + 15 + 21 + 22 + 23 + 0x1234567 + 0x89abcde);
	CHECK(e == 1.5);
}

static ucontext_t here, there;
static void elsewhere(void)
{
	CHECK(served() == 0);
	swapcontext(&there, &here);
}

static void contexts(void)
{
	CHECK(getcontext(&there) == 0);
	there.uc_stack.ss_sp = malloc(65536);
	there.uc_stack.ss_size = 65536;
	there.uc_link = &here;
	makecontext(&there, elsewhere, 0);
	CHECK(swapcontext(&here, &there) == 0);
	CHECK(served() == 0);
}

/* --- Threads ------------------------------------------------------------------------------- */

static void *thread(void *arg)
{
	sigset_t all;

	CHECK(served() == 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < 20; i++)
		CHECK(served() == 0);
	return arg;
}

static volatile long cleaned;
static void clean(void *arg)
{
	cleaned = served();
}

static void *waits(void *arg)
{
	char c;

	pthread_cleanup_push(clean, NULL);
	CHECK(read(*(int *)arg, &c, 1) == 99);
	pthread_cleanup_pop(1);
	return NULL;
}

static void threads(void)
{
	pthread_t t[40];
	void *ret;
	int fds[2];

	for (int round = 0; round < 3; round++) {
		for (intptr_t i = 0; i < 40; i++)
			CHECK(pthread_create(&t[i], NULL, thread, (void *)i) == 0);
		for (intptr_t i = 0; i < 40; i++)
			CHECK(pthread_join(t[i], &ret) == 0 && ret == (void *)i);
	}
	CHECK(pipe(fds) == 0);
	for (int i = 0; i < 20; i++) {
		cleaned = 1;
		CHECK(pthread_create(&t[0], NULL, waits, &fds[0]) == 0);
		if (i % 2)
			usleep(2000); /* both: cancelled before the read, and in it */
		CHECK(pthread_cancel(t[0]) == 0);
		CHECK(pthread_join(t[0], &ret) == 0 && ret == PTHREAD_CANCELED && cleaned <= 0);
	}
}

/* --- Processes ----------------------------------------------------------------------------- */

static int ended(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, __WALL) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static char *const sh[] = { "sh", "-c", "exit 3", NULL };

static void vforks(void)
{
	char *const args[] = { "prog", "exit 5", NULL };
	volatile int shared = 0;
	pid_t pid;

	for (int i = 0; i < 20; i++) {
		pid = vfork();
		if (pid == 0) {
			shared++;
			close(77);
			dup2(2, 77);
			execve("/bin/sh", sh, environ);
			_exit(9);
		}
		CHECK(ended(pid) == 3 && served() == 0);
	}
	CHECK(shared == 20 && fcntl(77, F_GETFD) == -1);
	pid = vfork();
	if (pid == 0) { /* a program of the directory, by the instruction */
		CALL(execve, program, args, environ);
		_exit(9);
	}
	CHECK(ended(pid) == 5 && served() == 0);
	pid = vfork();
	if (pid == 0) {
		pid_t grandchild = vfork();

		if (grandchild == 0) {
			execve("/nonexistent", sh, environ);
			_exit(6);
		}
		_exit(ended(grandchild) + 1);
	}
	CHECK(ended(pid) == 7 && served() == 0);
}

static bool only_rdma;

/* The client does not know a process that was not made by fork(3), and RDMA serves none such (ENODEV, where nothing
 * else is allowed). */
static int child_of_clone(void *arg)
{
	long r = served();

	return r == 0 || r == -EDEADLK || (r == -ENODEV && only_rdma) ? 4 : 1;
}

static void clones(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	char *stack = malloc(1 << 20), *end = stack + (1 << 20);
	const char *transports = getenv("FF3FS_CLIENT_TRANSPORTS");
	pid_t pid;

	only_rdma = transports && strcmp(transports, "verbs") == 0;
	CHECK(ended(clone(child_of_clone, end, SIGCHLD, NULL)) == 4);
	CHECK(served() == 0);
	CHECK(ended(clone(child_of_clone, end, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL)) == 4);
	CHECK(served() == 0);
	pid = (pid_t)CALL(clone3, &args, sizeof args);
	if (pid == 0)
		CALL(exit_group, 8);
	CHECK(ended(pid) == 8 && served() == 0);
	pid = (pid_t)CALL(fork);
	if (pid == 0)
		CALL(exit_group, 8);
	CHECK(ended(pid) == 8);
	CHECK(CALL(clone3, 1, sizeof args) == -EFAULT);
	CHECK(CALL(clone3, &args, 3) == -EINVAL);
	CHECK(CALL(clone, CLONE_SIGHAND, 0) == -EINVAL);
	CHECK(CALL(clone, CLONE_VM | CLONE_VFORK | CLONE_THREAD, end) == -EINVAL); /* no SIGHAND */
	free(stack);
	CHECK(served() == 0);
}

static void spawned(void)
{
	posix_spawn_file_actions_t actions;
	char *const none[] = { "none", NULL };
	char *const cat[] = { "cat", NULL };
	char line[sizeof file + 8] = "";
	pid_t pid;
	FILE *p;
	int fds[2];

	CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, sh, environ) == 0 && ended(pid) == 3);
	CHECK(posix_spawn(&pid, "/nonexistent", NULL, NULL, none, environ) == ENOENT);
	CHECK(posix_spawnp(&pid, "sh", NULL, NULL, sh, environ) == 0 && ended(pid) == 3);
	CHECK(pipe(fds) == 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, file, O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	CHECK(posix_spawnp(&pid, "cat", &actions, NULL, cat, environ) == 0 && ended(pid) == 0);
	posix_spawn_file_actions_destroy(&actions);
	CHECK(read(fds[0], line, sizeof line) == 7 && memcmp(line, "content", 7) == 0);
	CHECK(WEXITSTATUS(system("exit 2")) == 2);
	snprintf(line, sizeof line, "cat %s", file);
	p = popen(line, "r");
	CHECK(p && fgets(line, sizeof line, p) && strcmp(line, "content") == 0 && pclose(p) == 0);
	CHECK(served() == 0);
}

int main(int argc, char **argv)
{
	int fd;

	dir = argv[1];
	snprintf(file, sizeof file, "%s/served", dir);
	snprintf(program, sizeof program, "%s/program", dir);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK(write(fd, "content", 7) == 7 && close(fd) == 0);
	fd = open(program, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	CHECK(write(fd, "#!/bin/sh\neval exit 5\n", 22) == 22 && close(fd) == 0);
	CHECK(served() == 0);

#define PART(name)                                                                                 \
	do {                                                                                       \
		name();                                                                            \
		printf("ok: %s\n", #name);                                                         \
		fflush(stdout);                                                                    \
	} while (0)
	PART(registers);
	PART(handlers);
	PART(sigsys_of_the_program);
	PART(masks);
	PART(alternate_stack);
	PART(leaving_handlers);
	PART(interrupted);
	PART(contexts);
	PART(threads);
	PART(vforks);
	PART(clones);
	PART(spawned);
	PART(storm);
	return 0;
}
