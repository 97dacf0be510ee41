/* Children that no handler was told of: _Fork, and fork and clone by their numbers. They have memory and
 * connections of their own; what either side writes the other one reads. Where they cannot have connections, since they
 * may use nothing but RDMA, they are told so, and no call says that it has done what is lost then. And programs by
 * descriptor. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <linux/aio_abi.h>
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

/* --- What a child is told, it finds --------------------------------------------------------------- */

enum { WRITE, NEXT, VECTOR, MAKE, INTO, CLOSE, MKDIR, READ, AIO, SYNC, STORE, N_SAID };
/* What calls of the child gave, in memory that it shares with its parent. */
static struct {
	long r;
	int error;
} *said;
#define TELL(k, call) (errno = 0, said[k].r = (long)(call), said[k].error = errno, said[k].r)

static long by_aio(int fd)
{
	aio_context_t context = 0;
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd, .aio_nbytes = 3,
			   .aio_buf = (uint64_t)(uintptr_t)"aio" }, *one = &cb;
	struct io_event event = { 0 };

	if (syscall(SYS_io_setup, 4, &context) < 0 || syscall(SYS_io_submit, context, 1l, &one) != 1 ||
	    syscall(SYS_io_getevents, context, 1l, 1l, &event, NULL) != 1)
		return -1;
	errno = event.res < 0 ? (int)-event.res : 0;
	return event.res < 0 ? -1 : (long)event.res;
}

static void child_acts(int fd, int other, char *map)
{
	struct iovec iov[2] = { { (void *)"th", 2 }, { (void *)"ree", 3 } };
	char text[4];
	int made;

	TELL(WRITE, (write)(fd, "one", 3));
	TELL(NEXT, (write)(fd, "two", 3));
	TELL(VECTOR, (writev)(fd, iov, 2));
	made = (int)TELL(MAKE, (open)(P("made"), O_WRONLY | O_CREAT | O_TRUNC, 0644));
	if (made >= 0)
		TELL(INTO, (write)(made, "made", 4));
	if (made >= 0)
		TELL(CLOSE, (close)(made));
	TELL(MKDIR, (mkdir)(P("dir"), 0755));
	TELL(READ, (pread)(other, text, sizeof text, 0));
	TELL(AIO, by_aio(other));
	TELL(SYNC, (fsync)(fd));
	if (map) {
		map[1] = 'S';
		TELL(STORE, msync(map, 4096, MS_SYNC));
	}
}

/* A file that is not there has "". */
static bool has(const char *name, const char *text)
{
	char buf[64];
	int fd = (open)(P(name), O_RDONLY);
	ssize_t n = fd < 0 ? 0 : (read)(fd, buf, sizeof buf);

	(close)(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static void compare_with_told(int fd)
{
	static const long whole[N_SAID] = { 3, 3, 5, -1, 4, 0, 0, 4, 3, 0, 0 }; /* -1: some descriptor */
	static const char *const texts[] = { "one", "two", "three" };
	char text[32] = "";

	for (int k = 0; k < N_SAID; k++)
		if ((k == INTO || k == CLOSE) && said[MAKE].r < 0)
			continue;
		else if (said[k].r == -1 ? said[k].error != ENODEV : whole[k] >= 0 && said[k].r != whole[k])
			say("call %d: %ld, %s", k, said[k].r, strerrorname_np(said[k].error));
	for (int k = WRITE; k <= VECTOR; k++)
		strcat(text, said[k].r > 0 ? texts[k] : "");
	say("what the child wrote is there: %d", has("f", text));
	say("the offset is behind it: %d", (lseek)(fd, 0, SEEK_CUR) == (off_t)strlen(text));
	say("so is what it wrote by AIO: %d", has("other", said[AIO].r > 0 ? "aio3" : "0123"));
	say("and into a file that it made: %d", has("made", said[INTO].r > 0 ? "made" : ""));
	say("and a directory: %d", ((rmdir)(P("dir")) == 0) == (said[MKDIR].r == 0));
}

static char *map_it(void)
{
	int fd = make("map", "0123456789");
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		abort();
	(close)(fd);
	map[0] = 'P';
	return map;
}

/* mapped: the child has its parent's mapping of a file, and is the last one that has. */
static void told(const char *how, pid_t (*make_child)(void), bool mapped)
{
	int fd = make("f", ""), other = make("other", "0123"), acted[2], go[2];
	char *map = mapped ? map_it() : NULL, c;
	pid_t pid;

	memset(said, 0, 4096);
	if ((pipe)(acted) < 0 || (pipe)(go) < 0)
		abort();
	say("by %s", how);
	pid = make_child();
	if (pid == 0) {
		child_acts(fd, other, map);
		(write)(acted[1], "", 1);
		(read)(go[0], &c, 1);
		_exit(0);
	}
	(close)(acted[1]);
	R((read)(acted[0], &c, 1));
	if (map)
		munmap(map, 4096);
	R((write)(go[1], "", 1));
	R((waitpid)(pid, NULL, 0) == pid);
	compare_with_told(fd);
	if (map)
		contents("map");
	(unlink)(P("made"));
	(close)(fd);
	(close)(other);
	(close)(acted[0]);
	(close)(go[0]);
	(close)(go[1]);
}

static pid_t by_fork(void)
{
	return fork();
}

/* fork(3) by one that was not made by it. */
static pid_t by_both(void)
{
	pid_t pid = by_number();
	int status = 0;

	if (pid != 0)
		return pid;
	pid = fork();
	if (pid == 0)
		return 0;
	(waitpid)(pid, &status, 0);
	_exit(WEXITSTATUS(status));
}

static void all_told(bool mapped)
{
	said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED)
		abort();
	told("fork", by_fork, mapped);
	told("_Fork", by_Fork, mapped);
	told("number", by_number, mapped);
	told("clone", by_clone, mapped);
	told("both", by_both, mapped);
}

CASE(fork_told)
{
	all_told(false);
}

CASE(fork_told_mapped)
{
	all_told(true);
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
