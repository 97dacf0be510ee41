/* Purpose: ff3fs run --notify: the system calls by which a program names files are handed to a
 * supervisor, which answers those on ff3fs. So programs are served that the shim does not reach.
 *
 *	ff3fs run        the process that was started: passes signals on, and the command's status
 *	└ supervisor     threads that answer; outlives the command if children of it go on
 *	  └ command      with the filter, which its children inherit
 *
 * The supervisor is the ancestor of all whom it serves, also of daemons (it is a subreaper), as some
 * machines want it of who reads another process's memory. Should it be killed, the kernel answers
 * the calls with ENOSYS.
 *
 * Threads: only in the supervisor; one at a time waits for a call, answers it itself, and another
 * waits meanwhile. Signals: all blocked in the supervisor and in ff3fs run, which takes them from a
 * descriptor. */
#include "notify.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../common/base/app_errno.h"
#include "cli.h"

#define WORKERS 8

struct notify notify;

static struct seccomp_notif_sizes sizes;
static pid_t command;       /* the supervisor's child */
static int to_starter = -1; /* the supervisor's end: the command's id, then each status */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* --- Answering ----------------------------------------------------------------------------- */

static void give_fd(const struct notify_call *c)
{
	struct seccomp_notif_addfd add = {
		.id = c->n->id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)c->fd,
		.newfd_flags = c->fd_cloexec ? O_CLOEXEC : 0,
	};
	struct seccomp_notif_resp refuse = { .id = c->n->id };
	int r = ioctl(notify.listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	if (r < 0 && errno != ENOENT) {
		refuse.error = -errno; /* EMFILE, for instance */
		ioctl(notify.listener, SECCOMP_IOCTL_NOTIF_SEND, &refuse);
	}
	close(c->fd);
}

static void answer(const struct seccomp_notif *n, struct seccomp_notif_resp *resp)
{
	const struct notify_row *row = notify_row(n->data.nr);
	struct notify_call c = { .n = n, .fd = -1 };
	long r = row ? notify_answer(&c, row) : NOTIFY_CONTINUE;

	if (r == 0 && c.fd >= 0) {
		give_fd(&c);
		return;
	}
	memset(resp, 0, sizes.seccomp_notif_resp);
	resp->id = n->id;
	if (r == NOTIFY_CONTINUE)
		resp->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	else if (r < 0)
		resp->error = -ff3_app_errno(r);
	else
		resp->val = r;
	/* ENOENT: the caller has been killed */
	ioctl(notify.listener, SECCOMP_IOCTL_NOTIF_SEND, resp);
}

/* Waits for the next call. False: nobody is left who could make one. */
static bool receive(struct seccomp_notif *n)
{
	struct pollfd p = { .fd = notify.listener, .events = POLLIN };
	bool got = false;

	pthread_mutex_lock(&turn);
	while (!got) {
		if (poll(&p, 1, -1) < 0)
			continue;
		if (!(p.revents & POLLIN))
			break;
		memset(n, 0, sizes.seccomp_notif);
		got = ioctl(notify.listener, SECCOMP_IOCTL_NOTIF_RECV, n) == 0;
	}
	pthread_mutex_unlock(&turn);
	return got;
}

static void *work(void *arg)
{
	struct seccomp_notif *n = calloc(1, sizes.seccomp_notif);
	struct seccomp_notif_resp *resp = calloc(1, sizes.seccomp_notif_resp);

	while (n && resp && receive(n))
		answer(n, resp);
	free(n);
	free(resp);
	return NULL;
}

/* --- The supervisor's other business -------------------------------------------------------- */

/* Tells the starter what became of the command, and buries orphans. */
static void *watch_children(void *arg)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WUNTRACED)) > 0 || errno == EINTR)
		if (pid == command && write(to_starter, &status, sizeof status) < 0)
			break; /* it is gone, which watch_starter knows */
	return NULL;
}

/* Who kills ff3fs run means the command. */
static void *watch_starter(void *arg)
{
	char byte;

	while (read(to_starter, &byte, 1) < 0 && errno == EINTR)
		;
	kill(command, SIGKILL);
	return NULL;
}

static uint64_t max_file(void)
{
	static const char units[] = "KMGT";
	uint64_t v = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
	const char *s = getenv("FF3FS_NOTIFY_MAX"), *unit;
	double given;
	char *end;

	if (!s || !*s)
		return v;
	given = strtod(s, &end);
	unit = *end ? strchr(units, *end & ~32) : NULL;
	if (end == s || given < 0 || (*end && (!unit || end[1]))) {
		cli_message("FF3FS_NOTIFY_MAX=%s: expected a size", s);
		return v;
	}
	return (uint64_t)(given * (unit ? (double)(1ull << (10 * (unit - units + 1))) : 1));
}

static int start_thread(void *(*fn)(void *), pthread_t *ret)
{
	return -pthread_create(ret, NULL, fn, NULL);
}

static int receive_listener(int from, int *ret)
{
	char control[CMSG_SPACE(sizeof(int))];
	int r = 0;
	struct iovec iov = { &r, sizeof r };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) != sizeof r)
		return -EIO;
	if (r < 0)
		return r;
	if (!CMSG_FIRSTHDR(&m))
		return -EIO;
	memcpy(ret, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof *ret);
	return 0;
}

static void send_listener(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	int r = fd < 0 ? fd : 0;
	struct iovec iov = { &r, sizeof r };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	if (sendmsg(to, &m, 0) < 0)
		_exit(CLI_FAILURE);
}

/* The command's process. Its execve is the first call that the supervisor sees. */
static void become_command(int to, char **argv, const sigset_t *mask)
{
	int fd = notify_filter_install(), r;

	send_listener(to, fd);
	if (fd < 0)
		_exit(CLI_FAILURE);
	close(fd);
	close(to);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	r = errno;
	cli_message("%s: %s", argv[0], strerror(r));
	_exit(r == ENOENT ? 127 : 126);
}

static int start_command(char **argv, const sigset_t *mask)
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	command = fork();
	if (command < 0)
		return -errno;
	if (command == 0) {
		close(to_starter);
		become_command(fds[1], argv, mask);
	}
	close(fds[1]);
	r = receive_listener(fds[0], &notify.listener);
	close(fds[0]);
	return r;
}

static int supervise(char **argv, const sigset_t *mask)
{
	pthread_t children, other;
	int null, r;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return cli_local_error("seccomp user notification", -errno);
	sizes.seccomp_notif = MAX(sizes.seccomp_notif, (uint16_t)sizeof(struct seccomp_notif));
	sizes.seccomp_notif_resp =
		MAX(sizes.seccomp_notif_resp, (uint16_t)sizeof(struct seccomp_notif_resp));
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	r = start_command(argv, mask);
	if (r < 0)
		return cli_local_error("seccomp filter", r);
	/* The command's input and output are its own: who reads them waits for its end only. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1)
		close(null);
	if (write(to_starter, &command, sizeof command) < 0)
		return CLI_FAILURE;
	r = start_thread(watch_children, &children);
	if (r == 0)
		r = start_thread(watch_starter, &other);
	for (int i = 1; r == 0 && i < WORKERS; i++)
		r = start_thread(work, &other);
	if (r < 0) {
		kill(command, SIGKILL);
		return cli_local_error("threads", r);
	}
	work(NULL);
	/* All have ended, but the command's status may be on its way. */
	pthread_join(children, NULL);
	return CLI_OK;
}

/* --- The process that was started ----------------------------------------------------------- */

/* As it ended, so does this process. */
static int end_as(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t all;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&all);
	sigaddset(&all, WTERMSIG(status));
	kill(getpid(), WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	return 128 + WTERMSIG(status);
}

/* What the terminal sends has reached the command as well. */
static void pass_signal(int signals, pid_t pid)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof info) == sizeof info && info.ssi_code != SI_KERNEL)
		kill(pid, (int)info.ssi_signo);
}

static int relay(int signals, int from)
{
	struct pollfd p[2] = { { .fd = from, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	pid_t pid = 0;
	int status;

	/* No id: it could not be started, and the supervisor has said why. */
	if (read(from, &pid, sizeof pid) != sizeof pid)
		return CLI_FAILURE;
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			pass_signal(signals, pid);
		if (!p[0].revents)
			continue;
		if (read(from, &status, sizeof status) != sizeof status) {
			cli_message("the supervisor is gone; the command gets ENOSYS for its files");
			return CLI_FAILURE;
		}
		if (WIFSTOPPED(status))
			kill(getpid(), SIGSTOP);
		else
			return end_as(status);
	}
}

int notify_run(char **argv)
{
	static const int passed[] = { SIGHUP,  SIGINT,	SIGQUIT, SIGTERM,  SIGUSR1,
				      SIGUSR2, SIGALRM, SIGTSTP, SIGWINCH, SIGCONT };
	sigset_t signals, mask;
	int fds[2], fd;
	pid_t pid;

	sigemptyset(&signals);
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		sigaddset(&signals, passed[i]);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
	    sigprocmask(SIG_BLOCK, &signals, &mask) < 0)
		return cli_local_error("supervisor", -errno);
	/* Before anything is started: a wrong configuration is said now. */
	notify.fs = cli_connect();
	notify.prefix = getenv("FF3FS_PREFIX");
	if (!notify.prefix || !*notify.prefix)
		notify.prefix = ff3fs_prefix(notify.fs);
	snprintf(notify.first, sizeof notify.first, "%.*s", (int)strcspn(notify.prefix, ":"),
		 notify.prefix);
	notify.max_file = max_file();
	pid = fork();
	if (pid < 0)
		return cli_local_error("supervisor", -errno);
	if (pid == 0) {
		close(fds[0]);
		to_starter = fds[1];
		_exit(supervise(argv, &mask));
	}
	close(fds[1]);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		return cli_local_error("signals", -errno);
	return relay(fd, fds[0]);
}
