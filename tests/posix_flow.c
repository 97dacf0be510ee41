/* Bytes between files and pipes or sockets that are full, closed, or take only some; counts that are larger than what
 * one call moves; and programs executed with wild arguments. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <signal.h>
#include <sys/socket.h>

static char block[70000];

static int large(const char *name)
{
	int fd = make(name, "");

	for (size_t i = 0; i < sizeof block; i++)
		block[i] = (char)('a' + i % 23);
	for (int i = 0; i < 4; i++)
		(write)(fd, block, sizeof block);
	(lseek)(fd, 0, SEEK_SET);
	return fd;
}

static long drain(int fd)
{
	long sum = 0, n;

	while ((n = (read)(fd, block, sizeof block)) > 0)
		sum += n;
	return sum;
}

CASE(flow_full)
{
	int fd = large("f"), p[2], s[2];
	loff_t at = 100000;
	off_t pos = 5;
	long n;

	R(pipe2(p, O_NONBLOCK));
	R(fcntl(p[1], F_SETPIPE_SZ, 65536));
	n = sendfile(p[1], fd, NULL, sizeof block * 4);
	say("%s, offset %d", n > 0 && n <= 65536 ? "some" : "?", (lseek)(fd, 0, SEEK_CUR) == n);
	while (sendfile(p[1], fd, NULL, 4096) > 0)
		;
	say("%s", strerrorname_np(errno));
	n = (lseek)(fd, 0, SEEK_CUR);
	R(sendfile(p[1], fd, NULL, 10));
	say("offset %d", (lseek)(fd, 0, SEEK_CUR) == n); /* nothing is lost */
	R(sendfile(p[1], fd, &pos, 10));
	say("%ld", (long)pos);
	R(splice(fd, &at, p[1], NULL, 10, SPLICE_F_NONBLOCK));
	say("%ld", (long)at);
	say("drained %d", drain(p[0]) == n);
	R(splice(fd, &at, p[1], NULL, 10, SPLICE_F_NONBLOCK));
	say("%ld", (long)at);
	R(splice(fd, NULL, p[1], NULL, 10, SPLICE_F_MOVE | SPLICE_F_MORE));
	R(drain(p[0]));
	R(splice(p[0], NULL, fd, NULL, 10, SPLICE_F_NONBLOCK)); /* an empty pipe */
	R(splice(p[0], NULL, fd, NULL, 0, 0));
	R(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	(lseek)(fd, 0, SEEK_SET);
	n = 0;
	for (long r; (r = sendfile(s[0], fd, NULL, 100000)) > 0;)
		n += r;
	say("a socket: %d, offset %d", n > 0, (lseek)(fd, 0, SEEK_CUR) == n);
	R(drain(s[1]) == n);
}

CASE(flow_closed)
{
	int fd = large("f"), p[2], s[2];

	signal(SIGPIPE, SIG_IGN);
	R(pipe(p));
	R(close(p[0]));
	R(sendfile(p[1], fd, NULL, 100));
	R((lseek)(fd, 0, SEEK_CUR));
	R(splice(fd, NULL, p[1], NULL, 100, 0));
	R((lseek)(fd, 0, SEEK_CUR));
	R(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	R(close(s[0]));
	R(sendfile(s[1], fd, NULL, 100));
	R(pipe(p));
	R(close(p[1]));
	R(splice(p[0], NULL, fd, NULL, 100, 0));
	R(sendfile(p[0], fd, NULL, 100));
}

static void with_signal(void)
{
	int fd = (open)(P("f"), O_RDONLY), p[2];

	(pipe)(p);
	(close)(p[0]);
	signal(SIGPIPE, SIG_DFL);
	sendfile(p[1], fd, NULL, 100);
	say("went on");
}

CASE(flow_signal)
{
	(close)(large("f"));
	in_child(with_signal);
}

CASE(flow_counts)
{
	int fd = make("f", "0123456789"), to = make("g", ""), p[2];
	loff_t a = 0, b = 0;
	off_t pos;

	R(sendfile(to, fd, NULL, (size_t)-1));
	R(sendfile(to, fd, NULL, 1ul << 40));
	pos = INT64_MAX;
	R(sendfile(to, fd, &pos, 10));
	pos = INT64_MAX - 5;
	R(sendfile(to, fd, &pos, 10));
	R(copy_file_range(fd, &a, to, &b, (size_t)-1, 0));
	a = 0, b = 3;
	R(copy_file_range(fd, &a, to, &b, 1ul << 40, 0));
	R(a * 100 + b);
	a = 20, b = 0;
	R(copy_file_range(fd, &a, to, &b, 10, 0));
	a = 0, b = 1;
	R(copy_file_range(fd, &a, fd, &b, 5, 0));
	a = 0, b = 10;
	R(copy_file_range(fd, &a, fd, &b, 10, 0)); /* onto its own end */
	contents("f");
	a = 0, b = 100;
	R(copy_file_range(fd, &a, to, &b, 4, 0)); /* behind the end: a hole */
	contents("g");
	R(copy_file_range(fd, NULL, fd, NULL, 5, 0));
	R(copy_file_range(fd, NULL, to, NULL, 0, 0));
	R(copy_file_range(99, NULL, 99, NULL, 0, 0));
	R(pipe(p));
	a = 0;
	if (kernel_since(6, 8)) /* earlier ones cut the length to the room in the pipe before they look at it */
		R(splice(fd, &a, p[1], NULL, (size_t)-1, 0));
	R(splice(fd, &a, p[1], NULL, 1ul << 40, 0));
	a = -1;
	R(splice(fd, &a, p[1], NULL, 5, 0));
	a = INT64_MAX;
	R(splice(fd, &a, p[1], NULL, 5, 0));
	R(splice(p[0], &a, fd, NULL, 5, 0));
	R(splice(p[0], NULL, p[1], NULL, 5, 0));
	R(splice(fd, NULL, fd, NULL, 5, 0));
	R(splice(fd, (void *)1, p[1], NULL, 5, 0));
	R(splice(p[0], NULL, fd, (void *)1, 5, 0));
	R(vmsplice(fd, &(struct iovec){ (void *)"x", 1 }, 1, 0));
}

static char *wild[] = { (char *)1, NULL }, *plain[] = { (char *)"x", NULL };

static void execute(int k)
{
	const char *path = P("prog");

	switch (k) {
	case 0: syscall(SYS_execve, path, (void *)1, environ); break;
	case 1: syscall(SYS_execve, path, wild, environ); break;
	case 2: syscall(SYS_execve, path, plain, (void *)1); break;
	case 3: syscall(SYS_execve, path, plain, wild); break;
	case 4: syscall(SYS_execve, (void *)1, plain, environ); break;
	case 5: syscall(SYS_execve, "", plain, environ); break;
	case 6: syscall(SYS_execveat, AT_FDCWD, path, wild, environ, 0); break;
	case 7: syscall(SYS_execveat, AT_FDCWD, path, plain, environ, 0x10); break;
	case 8: syscall(SYS_execveat, 9999, "prog", plain, environ, 0); break;
	case 9: syscall(SYS_execveat, (open)(path, O_RDONLY), "", plain, environ, 0); break;
	case 10: syscall(SYS_execveat, (open)(P(""), O_RDONLY), "none", plain, environ, 0); break;
	case 11: syscall(SYS_execveat, AT_FDCWD, P("link"), plain, environ, AT_SYMLINK_NOFOLLOW); break;
	case 12: syscall(SYS_execveat, (open)(path, O_PATH), "", (void *)1, environ, AT_EMPTY_PATH); break;
	case 13: syscall(SYS_execve, P("dir"), plain, environ); break;
	case 14: syscall(SYS_execve, P("prog/x"), plain, environ); break;
	case 15: syscall(SYS_execve, P("empty"), plain, environ); break;
	}
	say("%d: %s", k, strerrorname_np(errno));
}

static int which;

static void execute_one(void)
{
	execute(which);
}

CASE(flow_wild_programs)
{
	put("prog", "#!/bin/sh\nexit 0\n");
	(chmod)(P("prog"), 0755);
	(close)(make("empty", ""));
	(chmod)(P("empty"), 0755);
	(mkdir)(P("dir"), 0755);
	(symlink)("prog", P("link"));
	for (which = 0; which < 16; which++)
		in_child(execute_one);
}
