/* Children that no handler was told of: _Fork, and fork and clone by their numbers. They have memory and
 * connections of their own; what either side writes the other one reads. And programs by descriptor. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <sched.h>
#include <signal.h>

/* libc's is newer than some libcs. */
extern pid_t _Fork(void);

static pid_t by_Fork(void)
{
	return _Fork();
}

static pid_t by_number(void)
{
	return (pid_t)(syscall)(SYS_fork);
}

static pid_t by_clone(void)
{
	return (pid_t)(syscall)(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void child(int fd)
{
	char buf[32] = "";
	int other;

	R((lseek)(fd, 0, SEEK_CUR));
	R((pread)(fd, buf, 24, 0));
	say("the child reads %s", buf);
	R((pwrite)(fd, "CHILD", 5, 3));
	other = (open)(P("new"), O_RDWR | O_CREAT | O_EXCL, 0644);
	R((write)(other, "by the child", 12));
	R((mkdir)(P("made"), 0755));
	R((unlink)(P("gone")));
	R((lseek)(fd, 7, SEEK_SET));
}

static void family(pid_t (*make_child)(void))
{
	char buf[32] = "";
	int fd = make("f", "abcdefghijklmnopqrstuvwx"), status = -1;
	pid_t pid;

	put("gone", "");
	/* Perhaps still with this process. */
	R((pwrite)(fd, "0123", 4, 0));
	fflush(stdout);
	pid = make_child();
	if (pid == 0) {
		child(fd);
		fflush(stdout);
		_exit(3);
	}
	R((waitpid)(pid, &status, 0) == pid);
	R(WEXITSTATUS(status));
	R((lseek)(fd, 0, SEEK_CUR));
	R((pread)(fd, buf, 24, 0));
	say("the parent reads %s", buf);
	R((pwrite)(fd, "PARENT", 6, 10));
	R((close)(fd));
	contents("f");
	contents("new");
	facts("made");
	facts("gone");
}

CASE(fork_without_handlers)
{
	family(by_Fork);
}

CASE(fork_by_number)
{
	family(by_number);
}

CASE(fork_by_clone)
{
	family(by_clone);
}

/* A child of such a child; and one that only ends. */
CASE(fork_twice)
{
	int fd = make("f", ""), status;

	fflush(stdout);
	if (by_number() == 0) {
		pid_t pid;

		(write)(fd, "one", 3);
		pid = by_clone();
		if (pid == 0) {
			(write)(fd, "two", 3);
			pid = fork();
			if (pid == 0) {
				(write)(fd, "three", 5);
				_exit(0);
			}
		}
		(waitpid)(pid, &status, 0);
		_exit(0);
	}
	(wait)(&status);
	if (by_Fork() == 0)
		_exit(0);
	R((wait)(&status) > 0);
	R((lseek)(fd, 0, SEEK_CUR));
	R((write)(fd, "four", 4));
	(close)(fd);
	contents("f");
}

static void program(const char *name, const char *text, mode_t mode)
{
	put(name, text);
	(chmod)(P(name), mode);
}

static void run_at(int dirfd, const char *name, int flags)
{
	char *args[] = { "given", "one", "two", NULL };
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(execveat)(dirfd, name, args, environ, flags);
		say("execveat: %s", strerrorname_np(errno));
		fflush(stdout);
		_exit(9);
	}
	(waitpid)(pid, &status, 0);
	say("status %d", WEXITSTATUS(status));
}

CASE(fork_execveat)
{
	int dir, fd;

	program("script", "#!/bin/sh\necho $# $1\nexit 4\n", 0755);
	program("plain", "no program\n", 0755);
	program("closed", "#!/bin/sh\nexit 5\n", 0644);
	(symlink)("script", P("link"));
	dir = (open)(P(""), O_RDONLY | O_DIRECTORY);
	fd = (open)(P("script"), O_RDONLY);
	run_at(dir, "script", 0);
	run_at(AT_FDCWD, P("script"), 0);
	run_at(9999, P("script"), 0);
	run_at(fd, "", AT_EMPTY_PATH);
	run_at(fd, "", 0);
	run_at(fd, "x", 0);
	run_at(dir, "link", 0);
	run_at(dir, "link", AT_SYMLINK_NOFOLLOW);
	run_at(dir, "plain", 0);
	run_at(dir, "closed", 0);
	run_at(dir, "none", 0);
	run_at(dir, "script", 1);
	run_at(9999, "script", 0);
	run_at(dir, (char *)1, 0);
}
