/* Descriptors that go other ways than open and fork: sent over a socket, taken from another process, opened
 * again by their number in /proc and /dev; and what /proc says of them. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <signal.h>
#include <sys/socket.h>

static int pair[2];

static void send_fd(int fd)
{
	char c = 'x', control[CMSG_SPACE(sizeof fd)] = "";
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	R(sendmsg(pair[0], &m, 0));
}

static int receive_fd(int flags)
{
	char c, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	int fd = -1;

	R(recvmsg(pair[1], &m, flags));
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

static void use(int fd)
{
	char buf[8] = "";

	R(read(fd, buf, 3));
	say("  %s", buf);
	R(lseek(fd, 0, SEEK_CUR));
	R(write(fd, "W", 1));
	facts_fd(fd);
}

CASE(passed_by_socket)
{
	int fd = make("f", "0123456789"), got, status;
	char c = 0;
	pid_t pid;

	R(mkdir(P("d"), 0755));
	put("d/in", "inside");
	R(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	send_fd(fd);
	got = receive_fd(0);
	say("%d, %s", got != fd, (fcntl)(got, F_GETFD) ? "closed on exec" : "kept");
	use(got);
	R(lseek(fd, 0, SEEK_CUR)); /* one offset */
	R(close(fd));
	use(got);
	send_fd(got);
	R(close(got)); /* it is only under way */
	got = receive_fd(MSG_CMSG_CLOEXEC);
	say("%s", (fcntl)(got, F_GETFD) ? "closed on exec" : "kept");
	use(got);
	R(unlink(P("f")));
	send_fd(got);
	send_fd(R(open(P("d"), O_RDONLY | O_DIRECTORY)));
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int there = receive_fd(0), dir = receive_fd(0);

		use(there);
		R(read(openat(dir, "in", O_RDONLY), &c, 1));
		say("%c", c);
		fflush(stdout);
		_exit(0);
	}
	(waitpid)(pid, &status, 0);
	R(status);
	use(got);
	send_fd(open("/proc/self/stat", O_RDONLY)); /* and one of the machine's */
	got = receive_fd(0);
	R(read(got, &c, 1));
}

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

CASE(passed_by_taking)
{
	int fd = make("f", "0123456789"), ready[2], pidfd, got;
	char c;
	pid_t pid;

	R(pipe(ready));
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(dup2)(fd, 77);
		(write)(ready[1], "r", 1);
		for (;;)
			pause();
	}
	(read)(ready[0], &c, 1);
	R(close(fd));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	got = (int)syscall(SYS_pidfd_getfd, pidfd, 77, 0);
	say("%s", got >= 0 ? "taken" : strerrorname_np(errno));
	if (got >= 0)
		use(got);
	R(syscall(SYS_pidfd_getfd, pidfd, 78, 0));
	R(syscall(SYS_pidfd_getfd, pidfd, 77, 1));
	(kill)(pid, SIGKILL);
	(waitpid)(pid, NULL, 0);
}

static const char *numbered(const char *format, int fd)
{
	static char buf[4][64];
	static int k;
	char *p = buf[k++ % 4];

	sprintf(p, format, fd);
	return p;
}

/* A new open file description, with rights of its own. */
CASE(passed_by_number)
{
	static const char *const forms[] = { "/proc/self/fd/%d", "/dev/fd/%d", "/proc/thread-self/fd/%d" };
	int fd = make("f", "0123456789"), rd = R(open(P("f"), O_RDONLY)), again, path, dir;
	char target[PATH_MAX] = "", own[PATH_MAX] = "", buf[8] = "", line[64] = "";
	long n;

	R(lseek(fd, 4, SEEK_SET));
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		again = open(numbered(forms[i], fd), O_RDONLY);
		say("%s: %s", forms[i], again < 0 ? strerrorname_np(errno) : "opened");
		R(read(again, buf, 2));
		say("  %s", buf);
		R(close(again));
		n = (readlink)(numbered(forms[i], fd), target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		say("  %s", realpath(P("f"), own) && strcmp(own, target) == 0 ? "its path" : "another path");
	}
	again = R(open(numbered("/proc/self/fd/%d", rd), O_RDWR)) >= 0;
	R(again);
	R(open(numbered("/proc/self/fd/%d", rd), O_RDWR | O_CREAT | O_EXCL, 0600));
	R(open(numbered("/proc/self/fd/%d", rd), O_RDONLY | O_NOFOLLOW));
	R(open(numbered("/proc/self/fd/%d", rd), O_RDONLY | O_DIRECTORY));
	OK(open(numbered("/proc/self/fd/%d", rd), O_WRONLY | O_TRUNC));
	facts("f");
	R(write(fd, "new", 3));
	path = R(open(P("f"), O_PATH)) >= 0 ? open(P("f"), O_PATH) : -1;
	again = open(numbered("/proc/self/fd/%d", path), O_RDWR);
	R(read(again, buf, 8));
	R(mkdir(P("d"), 0755));
	put("d/in", "inside");
	dir = (open)(P("d"), O_RDONLY | O_DIRECTORY);
	sprintf(line, "/proc/self/fd/%d/in", dir);
	again = open(line, O_RDONLY);
	R(read(again, buf, 8));
	say("%.6s", buf);
	R(access(line, W_OK));
	sprintf(line, "/proc/self/fd/%d/new", dir);
	R(mkdir(line, 0700));
	facts("d/new");
	R(rename(P("f"), P("g")));
	R(readlink(numbered("/proc/self/fd/%d", fd), target, 3));
	R(readlink(numbered("/proc/self/fd/%d", fd), target, 0));
	R(readlink(numbered("/proc/self/fd/%d", fd), (char *)1, 30));
	say("%s", realpath(numbered("/proc/self/fd/%d", fd), target) && realpath(P("g"), own) && strcmp(own, target) == 0 ? "its new path" : "another path");
	n = (readlink)(numbered("/proc/self/fd/%d", fd), target, sizeof target - 1);
	target[n > 0 ? n : 0] = '\0';
	say("%s", realpath(P("g"), own) && strcmp(own, target) == 0 ? "its new path" : "another path");
	R(truncate(numbered("/proc/self/fd/%d", fd), 1));
	R(chmod(numbered("/proc/self/fd/%d", fd), 0600));
	R(utimensat(AT_FDCWD, numbered("/proc/self/fd/%d", fd), NULL, 0));
	R(setxattr(numbered("/proc/self/fd/%d", fd), "user.x", "y", 1, 0));
	R(link(numbered("/proc/self/fd/%d", fd), P("linked")));
	R(unlink(numbered("/proc/self/fd/%d", fd)));
	facts("g");
	R(unlink(P("g")));
	again = open(numbered("/proc/self/fd/%d", fd), O_RDONLY);
	say("unlinked: %s", again < 0 ? strerrorname_np(errno) : "opened");
	R(read(again, buf, 8));
	R(stat(numbered("/proc/self/fd/%d", fd), &(struct stat){ 0 }));
	R(open(numbered("/proc/self/fd/%d", 999), O_RDONLY));
	R(open("/proc/self/fd/-1", O_RDONLY));
	R(open("/proc/self/fd/3x", O_RDONLY));
}

static long info(int fd, const char *key, int base)
{
	FILE *f = fopen(numbered("/proc/self/fdinfo/%d", fd), "r");
	char line[256];
	long v = -1;

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			v = strtol(line + strlen(key), NULL, base);
	if (f)
		fclose(f);
	return v;
}

CASE(passed_position)
{
	int fd = make("f", "0123456789");

	R(lseek(fd, 7, SEEK_SET));
	R(info(fd, "pos:", 10));
}

static void standard(void)
{
	char line[32] = "";
	int in = (open)(P("in"), O_RDONLY), out = (open)(P("out"), O_WRONLY | O_CREAT, 0644);

	(dup2)(in, 0), (dup2)(out, 1);
	in = (open)("/dev/stdin", O_RDONLY);
	(read)(in, line, 8);
	out = (open)("/dev/stdout", O_WRONLY | O_APPEND);
	(write)(out, line, 8);
	(write)((open)("/proc/self/fd/1", O_WRONLY | O_APPEND), "more", 4);
	_exit(0);
}

CASE(passed_standard)
{
	put("in", "a line and another\n");
	in_child(standard);
	contents("out");
}
