/* Purpose: the daemons of a local cluster as processes: started in the background, found again by
 * their pid files, signalled and awaited through pidfds.
 *
 * A pid file holds the process id and the time the process started (field 22 of /proc/PID/stat):
 * both must agree, and a zombie counts as ended, so that nobody else's process is ever taken for
 * a daemon. Fork: between fork and exec only what is needed is called; one thread. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "cli.h"
#include "dev.h"
#include "where.h"

/* Sets ret_start to when the process started. -ESRCH if there is none, or a zombie. */
static int process_start(pid_t pid, unsigned long long *ret_start)
{
	char path[64], text[1024], state;
	const char *p;
	ssize_t n;
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	n = read(fd, text, sizeof text - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			        "%*d %*d %*d %llu", &state, ret_start) != 2)
		return -EPROTO;
	return state == 'Z' || state == 'X' ? -ESRCH : 0;
}

void dev_find(struct dev_daemon *d)
{
	unsigned long long written = 0, start = 0;
	FILE *f = fopen(d->pid_file, "re");
	int pid = 0;

	d->pid = 0;
	if (!f)
		return;
	if (fscanf(f, "%d %llu", &pid, &written) == 2 && pid > 0 && process_start(pid, &start) == 0 &&
	    start == written)
		d->pid = pid;
	fclose(f);
}

static int write_pid_file(const struct dev_daemon *d)
{
	char temporary[PATH_MAX + 80];
	unsigned long long start;
	FILE *f;
	int r = process_start(d->pid, &start);

	if (r < 0)
		return r;
	snprintf(temporary, sizeof temporary, "%s.new", d->pid_file);
	f = fopen(temporary, "we");
	if (!f)
		return -errno;
	fprintf(f, "%d\n%llu\n", d->pid, start);
	if (fclose(f) != 0 || rename(temporary, d->pid_file) < 0)
		return -errno;
	return 0;
}

/* --- Starting --------------------------------------------------------------------------------- */

/* What the caller's environment says about another cluster must not reach this one's daemons;
 * other keys (FF3FS_CHUNKD_FLUSH …) may be set for them on purpose. */
static void clean_environment(void)
{
	static const char *const names[] = {
		"FF3FS_CONF", "FF3FS_PREFIX", "FF3FS_CLIENT_METAD", "FF3FS_CLIENT_PREFIX",
		"FF3FS_METAD_DIR", "FF3FS_METAD_LISTEN", "FF3FS_METAD_ADMIN", "FF3FS_METAD_GROUP",
		"FF3FS_METAD_MEMBER",
		"FF3FS_CHUNKD_TARGETS", "FF3FS_CHUNKD_LISTEN", "FF3FS_CHUNKD_ADMIN",
		"FF3FS_CHUNKD_ADVERTISE", "FF3FS_CHUNKD_METAD", "JOURNAL_STREAM", "NOTIFY_SOCKET",
	};
	const char *preload = getenv("LD_PRELOAD");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	if (preload && strstr(preload, "libff3fs_preload"))
		unsetenv("LD_PRELOAD");
}

_Noreturn static void run_child(const struct dev_daemon *d, char *program, int log, int ready)
{
	char conf[PATH_MAX + 80];
	char *argv[] = { program, conf, (char *)"--ready-fd=3", d->form ? (char *)"--form" : NULL, NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	snprintf(conf, sizeof conf, "--conf=%s", d->conf);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	clean_environment();
	/* log and ready are above 3 (dev_spawn sees to it), so these targets hold nothing we need. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
	    dup2(ready, 3) < 0)
		_exit(126);
	if (chdir("/") == 0)
		execv(program, argv);
	dprintf(2, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

/* fd as a descriptor above those that run_child gives the daemon. */
static int lift(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	close(fd);
	return high;
}

int dev_spawn(struct dev_daemon *d)
{
	_cleanup_close_ int log = -1, ready = -1, end = -1;
	_cleanup_free_ char *program = NULL;
	int fds[2], r = where_program(d->program, &program);
	pid_t pid;

	if (r < 0) {
		cli_message("cannot find %s beside this program", d->program);
		return r;
	}
	log = lift(open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
	if (log < 0)
		return cli_local_error(d->log, -errno), -errno;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return cli_local_error("pipe", -errno), -errno;
	end = fds[0];
	ready = lift(fds[1]);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return cli_local_error("fork", -errno), -errno;
	if (pid == 0)
		run_child(d, program, log, ready);
	d->pid = pid;
	/* A daemon that has died already is reported by dev_wait_ready. */
	r = write_pid_file(d);
	if (r < 0 && r != -ESRCH)
		cli_local_error(d->pid_file, r);
	d->ready_fd = TAKE_FD(end);
	cli_verbose("%s: started, process %d", d->name, d->pid);
	return 0;
}

/* The last lines of a log that could not become a running daemon. */
static void show_log(const struct dev_daemon *d)
{
	char text[1024 + 1], *p = text;
	_cleanup_close_ int fd = open(d->log, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, MAX(size - 1024, (off_t)0));
	int lines = 0;

	text[MAX(n, (ssize_t)0)] = '\0';
	for (ssize_t i = n - 2; i >= 0; i--)
		if (text[i] == '\n' && ++lines == 3) {
			p = text + i + 1;
			break;
		}
	cli_message("%s did not start; %s ends with:\n%s", d->name, d->log, p);
}

/* Reads "READY listen=… admin=…". 1 when ready, 0 when it is not complete yet. */
static int read_ready(struct dev_daemon *d)
{
	char text[512];
	ssize_t n = read(d->ready_fd, text, sizeof text - 1);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	close(d->ready_fd);
	d->ready_fd = -1;
	if (n <= 0)
		return -ECHILD;
	text[n] = '\0';
	/* One short line, written at once: a pipe does not split it. */
	return sscanf(text, "READY listen=%79s admin=%79s", d->listen, d->admin) == 2 ? 1 : -EPROTO;
}

static void report(const struct dev_daemon *d, int r)
{
	if (r == -ECHILD)
		show_log(d);
	else
		cli_local_error(d->name, r);
}

int dev_wait_ready(struct dev_cluster *c, unsigned timeout_ms)
{
	uint64_t deadline = ff3_boottime_ns() + timeout_ms * FF3_NSEC_PER_MSEC;
	int result = 0;

	for (;;) {
		struct pollfd fds[ARRAY_SIZE(c->daemons)];
		struct dev_daemon *who[ARRAY_SIZE(c->daemons)];
		uint64_t now = ff3_boottime_ns();
		nfds_t n = 0;

		for (unsigned i = 0; i < c->n; i++)
			if (c->daemons[i].ready_fd >= 0) {
				who[n] = &c->daemons[i];
				fds[n++] = (struct pollfd){ c->daemons[i].ready_fd, POLLIN, 0 };
			}
		if (n == 0)
			return result;
		if (now >= deadline) {
			cli_message("%s does not serve after %u s; see %s", who[0]->name,
				    timeout_ms / 1000, who[0]->log);
			return -ETIMEDOUT;
		}
		poll(fds, n, (int)((deadline - now) / FF3_NSEC_PER_MSEC) + 1);
		for (nfds_t i = 0; i < n; i++) {
			int r = fds[i].revents ? read_ready(who[i]) : 0;

			if (r < 0) {
				report(who[i], r);
				result = r;
			}
		}
	}
}

/* --- Ending ----------------------------------------------------------------------------------- */

/* A pidfd that certainly is d's: looked up after it was opened. */
static int open_pidfd(const struct dev_daemon *d)
{
	struct dev_daemon now = *d;
	_cleanup_close_ int fd = -1;

	if (d->pid <= 0)
		return -ESRCH;
	fd = pidfd_open(d->pid, 0);
	if (fd < 0)
		return -errno;
	dev_find(&now);
	return now.pid == d->pid ? TAKE_FD(fd) : -ESRCH;
}

int dev_signal(const struct dev_daemon *d, int signo)
{
	_cleanup_close_ int fd = open_pidfd(d);

	if (fd < 0)
		return fd;
	return pidfd_send_signal(fd, signo, NULL, 0) < 0 ? -errno : 0;
}

bool dev_is_killed(const struct dev_daemon *d)
{
	char path[64], line[128];
	unsigned long long pending = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", d->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	/* The signal stays in the set that the threads share until the last of them is gone. */
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "ShdPnd: %llx", &pending) == 1)
			break;
	fclose(f);
	return pending >> (SIGKILL - 1) & 1;
}

int dev_wait_end(struct dev_daemon *d, unsigned timeout_ms)
{
	uint64_t deadline = ff3_boottime_ns() + timeout_ms * FF3_NSEC_PER_MSEC, now;
	_cleanup_close_ int fd = open_pidfd(d);

	/* A pidfd becomes readable when the process ends. */
	while (fd >= 0 && (now = ff3_boottime_ns()) < deadline) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (poll(&p, 1, (int)((deadline - now) / FF3_NSEC_PER_MSEC) + 1) > 0)
			break;
	}
	dev_find(d);
	if (d->pid)
		return -ETIMEDOUT;
	unlink(d->pid_file);
	return 0;
}
