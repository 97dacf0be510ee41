/* Programs that lie in the directory, by each call that executes one; children that are made, and how they
 * end; whose a process is; sockets with a name there. */
#define _GNU_SOURCE
#include "posix_diff.h"

#ifndef VIA_SYSCALL
#include <dlfcn.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void program(const char *name, const char *text, mode_t mode)
{
	put(name, text);
	(chmod)(P(name), mode);
}

/* A directory with programs, which PATH names. */
static void programs(void)
{
	(mkdir)(P("bin"), 0755);
	program("bin/tool", "#!/bin/sh\necho tool $# \"$1\" \"$VALUE\"\nexit 4\n", 0755);
	program("bin/plain", "echo no first line $1\nexit 6\n", 0755);
	program("bin/closed", "#!/bin/sh\nexit 5\n", 0644);
	program("bin/lost", "#!/nonexistent/shell\n", 0755);
	(setenv)("PATH", P("bin"), 1);
	(setenv)("VALUE", "inherited", 1);
}

static void became(int status)
{
	if (WIFSIGNALED(status))
		say("signal %s", sigabbrev_np(WTERMSIG(status)));
	else
		say("status %d", WEXITSTATUS(status));
}

/* EXECUTES(call): in a child, which says so if there is an error. */
#define EXECUTES(call)                                                                             \
	do {                                                                                       \
		int status = -1;                                                                   \
		pid_t child;                                                                       \
		say("%s", #call);                                                                  \
		fflush(stdout);                                                                    \
		child = fork();                                                                    \
		if (child == 0) {                                                                  \
			call;                                                                      \
			say("not executed: %s", strerrorname_np(errno));                           \
			fflush(stdout);                                                            \
			_exit(9);                                                                  \
		}                                                                                  \
		(waitpid)(child, &status, 0);                                                      \
		became(status);                                                                    \
	} while (0)

static char *arguments[] = { "given", "one", NULL };

/* What a child has that is given another environment is this library too. */
static char **with_value(void)
{
	static char *list[64] = { "VALUE=mine" };
	int n = 1;

	for (char **e = environ; *e && n < 63; e++)
		if (strncmp(*e, "LD_", 3) == 0 || strncmp(*e, "FF3FS_", 6) == 0)
			list[n++] = *e;
	return list;
}

CASE(procs_execute)
{
	char **environment = with_value();
	int fd;

	programs();
	EXECUTES(execv(P("bin/tool"), arguments));
	EXECUTES(execve(P("bin/tool"), arguments, environment));
	EXECUTES(execl(P("bin/tool"), "given", "one", "two", NULL));
	EXECUTES(execle(P("bin/tool"), "given", "one", NULL, environment));
	EXECUTES(execlp("tool", "given", "one", NULL));
	EXECUTES(execlp("none", "given", NULL));
	EXECUTES(execvp("tool", arguments));
	EXECUTES(execvp("plain", arguments));
	EXECUTES(execvp("closed", arguments));
	EXECUTES(execvp("none", arguments));
	EXECUTES(execvp("", arguments));
	EXECUTES(execvpe("tool", arguments, environment));
	EXECUTES(execvpe("none", arguments, environment));
	EXECUTES(execv(P("bin/plain"), arguments));
	EXECUTES(execv(P("bin/closed"), arguments));
	EXECUTES(execv(P("bin/lost"), arguments));
	EXECUTES(execv(P("bin"), arguments));
	EXECUTES(execv(P("bin/none"), arguments));
	EXECUTES(execv(P("bin/tool/none"), arguments));
	EXECUTES(execv((char *)1, arguments));
	fd = (open)(P("bin/tool"), O_RDONLY);
	EXECUTES(fexecve(fd, arguments, environ));
	EXECUTES(fexecve(9999, arguments, environ));
	fd = (open)(P("bin/closed"), O_RDONLY);
	EXECUTES(fexecve(fd, arguments, environ));
}

/* More arguments than the thread that executes has memory for on its stack. */
#define MANY 100000
static char *many[MANY + 1];

static void *execute_by_thread(void *how)
{
	pid_t child;
	int status = -1;

	if (how) {
		if (posix_spawn(&child, P("bin/count"), NULL, NULL, many, environ) != 0)
			_exit(8);
		(waitpid)(child, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	execv(P("bin/count"), many);
	_exit(9);
}

static void execute_many(void *how)
{
	pthread_attr_t attr;
	pthread_t thread;

	fflush(stdout);
	if (fork() == 0) {
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 128 << 10);
		pthread_create(&thread, &attr, execute_by_thread, how);
		for (;;)
			pause();
	}
	int status = -1;
	wait(&status);
	became(status);
}

CASE(procs_many_arguments)
{
	programs();
	program("bin/count", "#!/bin/sh\necho $# \"$1\"\nexit 3\n", 0755);
	for (int i = 0; i < MANY; i++)
		many[i] = "x";
	execute_many(NULL);
	execute_many("spawn");
	for (int i = 0; i < 3; i++)
		if (vfork() == 0) {
			execv(P("bin/count"), many);
			_exit(7);
		} else {
			int status = -1;
			wait(&status);
			became(status);
		}
}

static pid_t pid;

static void spawned(int r)
{
	int status = -1;

	if (r == 0)
		(waitpid)(pid, &status, 0);
	say("%d", r);
	if (r == 0)
		became(status);
}

CASE(procs_spawn)
{
	posix_spawn_file_actions_t actions;
	int fd = make("in", "a line\n");

	programs();
	program("bin/copy", "#!/bin/sh\nread -r line\necho \"got $line\"\nread -r other <&7\necho \"and $other\"\n", 0755);
	fflush(stdout);
	spawned(posix_spawn(&pid, P("bin/tool"), NULL, NULL, arguments, environ));
	spawned(posix_spawnp(&pid, "tool", NULL, NULL, arguments, environ));
	spawned(posix_spawnp(&pid, "none", NULL, NULL, arguments, environ));
	spawned(posix_spawn(&pid, P("bin/none"), NULL, NULL, arguments, environ));
	spawned(posix_spawn(&pid, P("bin/closed"), NULL, NULL, arguments, environ));
	R(posix_spawn_file_actions_init(&actions));
	R(posix_spawn_file_actions_addopen(&actions, 1, P("out"), O_WRONLY | O_CREAT, 0640));
	R(posix_spawn_file_actions_addopen(&actions, 0, P("in"), O_RDONLY, 0));
	R(posix_spawn_file_actions_adddup2(&actions, fd, 7));
	R(posix_spawn_file_actions_addopen(&actions, -1, P("in"), O_RDONLY, 0));
	spawned(posix_spawn(&pid, P("bin/copy"), &actions, NULL, arguments, environ));
	contents("out");
	facts("out");
	R(posix_spawn_file_actions_destroy(&actions));
	R(posix_spawn_file_actions_init(&actions));
	posix_spawn_file_actions_addopen(&actions, 1, "/proc/none/x", O_WRONLY, 0);
	spawned(posix_spawn(&pid, P("bin/tool"), &actions, NULL, arguments, environ));
	R(posix_spawn_file_actions_destroy(&actions));
}

/* The child says where it is, and what it finds there. */
CASE(procs_spawn_in)
{
	char *const here[] = { "sh", "-c", "p=$(pwd); echo ${p##*_in}; cat f; echo new >made", NULL };
	posix_spawn_file_actions_t actions;
	int (*unsuffixed)(posix_spawn_file_actions_t *, const char *) =
		dlsym(RTLD_DEFAULT, "posix_spawn_file_actions_addchdir");
	int (*unsuffixed_fd)(posix_spawn_file_actions_t *, int) =
		dlsym(RTLD_DEFAULT, "posix_spawn_file_actions_addfchdir");
	int fd;

	make("file", "");
	R(mkdir(P("d"), 0755));
	R(mkdir(P("d/e"), 0755));
	make("d/f", "in d\n");
	make("d/e/f", "in e\n");
	R(symlink("d/e", P("link")));
	program("d/prog", "#!/bin/sh\np=$(pwd)\necho ${p##*_in}\ncat f\n", 0755);
	fflush(stdout);
	for (int way = 0; way < 9; way++) {
		say("way %d", way);
		R(posix_spawn_file_actions_init(&actions));
		fd = -1;
		if (way == 0)
			R(posix_spawn_file_actions_addchdir_np(&actions, P("d")));
		if (way == 1)
			R(posix_spawn_file_actions_addchdir_np(&actions, P("link")));
		if (way == 2 || way == 3) {
			R((fd = open(P("d"), O_RDONLY | O_DIRECTORY)) >= 0);
			R(posix_spawn_file_actions_addfchdir_np(&actions, fd));
		}
		if (way == 3) { /* from there, and a file of there */
			R(posix_spawn_file_actions_addopen(&actions, 9, "out", O_WRONLY | O_CREAT, 0644));
			R(posix_spawn_file_actions_addchdir_np(&actions, "e"));
		}
		if (way == 4)
			R(posix_spawn_file_actions_addchdir_np(&actions, P("none")));
		if (way == 5)
			R(posix_spawn_file_actions_addchdir_np(&actions, P("file")));
		if (way == 6) { /* and out again */
			R(posix_spawn_file_actions_addchdir_np(&actions, P("d")));
			R(posix_spawn_file_actions_addchdir_np(&actions, "/usr"));
		}
		if (way == 7) {
			R((unsuffixed ? unsuffixed : posix_spawn_file_actions_addchdir_np)(&actions, P("d")));
			spawned(posix_spawn(&pid, "./prog", &actions, NULL, here, environ));
			spawned(posix_spawnp(&pid, "./prog", &actions, NULL, here, environ));
			spawned(posix_spawn(&pid, "./none", &actions, NULL, here, environ));
		}
		if (way == 8) {
			R((fd = open("/usr", O_RDONLY | O_DIRECTORY)) >= 0);
			R((unsuffixed_fd ? unsuffixed_fd :
					   posix_spawn_file_actions_addfchdir_np)(&actions, fd));
		}
		spawned(posix_spawnp(&pid, "sh", &actions, NULL, here, environ));
		R(posix_spawn_file_actions_destroy(&actions));
		if (fd >= 0)
			R(close(fd));
	}
	facts("d/out");
	facts("d/made");
	facts("d/e/made");
}

CASE(procs_popen)
{
	char line[64] = "", command[PATH_MAX + 64];
	FILE *f;

	programs();
	(setenv)("PATH", "/usr/bin:/bin", 1);
	sprintf(command, "%s one", P("bin/tool"));
	f = popen(command, "r");
	PTR(f);
	PTR(fgets(line, sizeof line, f));
	say("%s", line);
	became(pclose(f));
	sprintf(command, "cat >%s", P("out"));
	f = popen(command, "w");
	R(fputs("into a command", f));
	became(pclose(f));
	contents("out");
	PTR(popen(command, "z"));
	became(system(P("bin/tool")));
	sprintf(command, "%s 2>/dev/null", P("bin/none"));
	became(system(command));
}

/* What a process still holds at its end is in the file. */
CASE(procs_ends)
{
	pid_t (*vfork_)(void) = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "__vfork");
	pid_t (*fork_)(void) = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "__fork");
	int fd = make("f", ""), status;

	(void)vfork_; /* by its pointer it cannot be called: it would return into a frame that is gone */
	pid = vfork();
	if (pid == 0) {
		(close)(fd);
		(execl)("/bin/sh", "sh", "-c", "exit 2", NULL);
		_exit(9);
	}
	(waitpid)(pid, &status, 0);
	became(status);
	R((write)(fd, "one ", 4));
	pid = fork_();
	if (pid == 0) {
		(write)(fd, "two ", 4);
		_Exit(3);
	}
	(waitpid)(pid, &status, 0);
	became(status);
	contents("f");
	pid = fork();
	if (pid == 0) {
		(write)(fd, "three", 5);
		(raise)(SIGKILL);
	}
	(waitpid)(pid, &status, 0);
	became(status);
	R((lseek)(fd, 0, SEEK_CUR));
}

IN_CHILD(procs_daemon)
{
	int pipe_fd[2], fd = make("f", ""), r;
	char answer = 0;

	(chdir)(P(""));
	R(pipe(pipe_fd));
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		r = daemon(1, 1);
		(write)(fd, "a daemon", 8);
		r |= (mkdir)("made", 0755);
		(fsync)(fd);
		answer = r == 0 ? 'y' : 'n';
		(write)(pipe_fd[1], &answer, 1);
		_exit(0);
	}
	(close)(pipe_fd[1]);
	R((read)(pipe_fd[0], &answer, 1));
	say("%c", answer);
	R((read)(pipe_fd[0], &answer, 1)); /* it is gone */
	contents("f");
	facts("made");
}

static void groups(void)
{
	R(initgroups("nobody", 4711));
	R(setgid(65534));
	R(setuid(65534));
	R((open)(P("secret"), O_RDONLY) >= 0);
	R((open)(P("other"), O_RDONLY));
	R(initgroups("nobody", 4712));
}

CASE(procs_groups)
{
	put("secret", "for a group");
	put("other", "for another");
	(chown)(P("secret"), 0, 4711), (chmod)(P("secret"), 0040);
	(chown)(P("other"), 0, 4712), (chmod)(P("other"), 0040);
	in_child(groups);
}

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof a.sun_path, "%s", P(name));
	return a;
}

static void from(const char *what, const struct sockaddr_un *a, socklen_t len, const char *name)
{
	say("%s: %s", what,
	    len <= offsetof(struct sockaddr_un, sun_path) ? "no name" :
	    strcmp(a->sun_path, P(name)) == 0		  ? "its name" :
							    "another name");
}

CASE(procs_sockets_stream)
{
	int (*connect_)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_DEFAULT, "__connect");
	struct sockaddr_un a = address("s"), none = address("none"), got;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client, server;
	socklen_t len;
	char buf[16] = "";

	if (strlen(P("s")) >= sizeof a.sun_path) { /* in a build directory with a long name */
		say("too long a name");
		return;
	}
	R(bind(listener, (struct sockaddr *)&a, sizeof a));
	R(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a));
	facts("s");
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	R(connect_(client, (struct sockaddr *)&a, sizeof a)); /* nobody listens */
	R(connect_(client, (struct sockaddr *)&none, sizeof none));
	R(connect_(9999, (struct sockaddr *)&a, sizeof a));
	R(listen(listener, 3));
	R(connect_(client, (struct sockaddr *)&a, sizeof a));
	len = sizeof got, memset(&got, 0, sizeof got);
	server = accept(listener, (struct sockaddr *)&got, &len);
	OK(server);
	from("who connected", &got, len, "s");
	len = sizeof got, memset(&got, 0, sizeof got);
	R(getpeername(client, (struct sockaddr *)&got, &len));
	from("to whom", &got, len, "s");
	len = sizeof got, memset(&got, 0, sizeof got);
	R(getsockname(server, (struct sockaddr *)&got, &len));
	from("where", &got, len, "s");
	R(getsockname(9999, (struct sockaddr *)&got, &len));
	R(getpeername(listener, (struct sockaddr *)&got, &len));
	R(send(client, "hello", 5, 0));
	R(recv(server, buf, sizeof buf, 0));
	say("%s", buf);
	(close)(client);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	R(connect_(client, (struct sockaddr *)&a, sizeof a));
	(close)(server);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	R((fcntl)(server, F_GETFD));
	R(accept4(listener, NULL, NULL, 1));
	R(accept(9999, NULL, NULL));
}

CASE(procs_sockets_datagram)
{
	struct sockaddr_un a = address("a"), b = address("b"), none = address("none"), got;
	struct iovec iov = { (void *)"message", 7 }, in;
	struct msghdr message = { &b, sizeof b, &iov, 1 }, incoming;
	int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM, 0);
	socklen_t len = sizeof got;
	char buf[16] = "";

	if (strlen(P("s")) >= sizeof a.sun_path) {
		say("too long a name");
		return;
	}
	R(bind(one, (struct sockaddr *)&a, sizeof a));
	R(bind(two, (struct sockaddr *)&b, sizeof b));
	R(sendto(one, "datagram", 8, 0, (struct sockaddr *)&b, sizeof b));
	memset(&got, 0, sizeof got);
	R(recvfrom(two, buf, sizeof buf, 0, (struct sockaddr *)&got, &len));
	say("%s", buf);
	from("sender", &got, len, "a");
	R(sendto(one, "x", 1, 0, (struct sockaddr *)&none, sizeof none));
	R(sendto(9999, "x", 1, 0, (struct sockaddr *)&b, sizeof b));
	R(recvfrom(two, buf, sizeof buf, MSG_DONTWAIT, NULL, NULL));
	R(sendmsg(one, &message, 0));
	in = (struct iovec){ buf, sizeof buf };
	memset(&got, 0, sizeof got);
	incoming = (struct msghdr){ &got, sizeof got, &in, 1 };
	R(recvmsg(two, &incoming, 0));
	say("%s", buf);
	from("sender", &got, incoming.msg_namelen, "a");
	message.msg_name = &none;
	R(sendmsg(one, &message, 0));
	R(recvmsg(two, &incoming, MSG_DONTWAIT));
	R((unlink)(P("b")));
	message.msg_name = &b;
	R(sendmsg(one, &message, 0));
}
#endif
