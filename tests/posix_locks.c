/* Locks: ranges that split and join, whose they are after fork, dup and close, waiting that a signal or a
 * deadlock ends, and the two kinds beside each other. What others see is asked in a child. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <signal.h>

static const char *kind_of(int type)
{
	return type == F_RDLCK ? "read" : type == F_WRLCK ? "write" : type == F_UNLCK ? "free" : "?";
}

static long lock(int fd, int cmd, int type, off_t start, off_t len)
{
	struct flock l = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &l);
}
#define LOCK(fd, cmd, type, start, len) R(lock(fd, cmd, type, start, len))

/* What another process would meet in each of the first bytes. */
static void map_of_locks(void)
{
	char line[40] = "";
	int fd = (open)(P("f"), O_RDWR);

	for (int i = 0; i < 30; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1 };

		line[i] = fcntl(fd, F_GETLK, &l) < 0 ? '!' :
			  l.l_type == F_UNLCK	     ? '.' :
			  l.l_type == F_RDLCK	     ? 'r' :
						       'w';
	}
	say("  %s", line);
}

static void show_locks(void)
{
	in_child(map_of_locks);
}

CASE(locks_ranges)
{
	static const struct {
		int type;
		off_t start, len;
	} steps[] = {
		{ F_WRLCK, 0, 10 }, { F_UNLCK, 3, 4 },	{ F_RDLCK, 8, 8 },  { F_WRLCK, 12, 2 }, { F_RDLCK, 0, 0 },
		{ F_WRLCK, 5, 20 }, { F_UNLCK, 0, 5 },	{ F_UNLCK, 10, 1 }, { F_RDLCK, 9, 3 },	{ F_UNLCK, 24, 0 },
		{ F_WRLCK, 20, 0 }, { F_UNLCK, 25, 1 }, { F_RDLCK, 26, 1 }, { F_UNLCK, 0, 0 },
	};
	int fd = make("f", "0123456789");

	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		LOCK(fd, F_SETLK, steps[i].type, steps[i].start, steps[i].len);
		show_locks();
	}
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		LOCK(fd, F_OFD_SETLK, steps[i].type, steps[i].start, steps[i].len);
		show_locks();
	}
}

static void who(int fd, int cmd, off_t at)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
	long r = fcntl(fd, cmd, &l);

	say("  %ld %s from %ld for %ld, %s", r, kind_of(l.l_type), (long)l.l_start, (long)l.l_len,
	    l.l_pid == -1	 ? "of a description" :
	    l.l_pid == getppid() ? "of the parent" :
	    l.l_pid == 0	 ? "of nobody" :
				   "of another");
}

static void ask_who(void)
{
	int fd = (open)(P("f"), O_RDWR);

	for (off_t at = 0; at < 12; at += 3) {
		who(fd, F_GETLK, at);
		who(fd, F_OFD_GETLK, at);
	}
}

CASE(locks_told)
{
	int fd = make("f", "0123456789"), other = (open)(P("f"), O_RDWR);

	LOCK(fd, F_SETLK, F_WRLCK, 3, 2);
	LOCK(fd, F_OFD_SETLK, F_RDLCK, 9, 0);
	LOCK(fd, F_OFD_SETLK, F_RDLCK, 3, 2); /* one does not care for the other's owner */
	LOCK(other, F_OFD_SETLK, F_WRLCK, 9, 1);
	LOCK(other, F_OFD_SETLK, F_RDLCK, 9, 1);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 0, 1);
	who(fd, F_GETLK, 3);
	who(fd, F_OFD_GETLK, 3);
	who(other, F_OFD_GETLK, 9);
	in_child(ask_who);
	R(close(other));
	in_child(ask_who);
}

static int inherited, inherited_copy;

static void use_inherited(void)
{
	/* record locks are the process's, the others the description's */
	LOCK(inherited, F_SETLK, F_WRLCK, 0, 2);
	LOCK(inherited, F_OFD_SETLK, F_WRLCK, 4, 2);
	R(flock_(inherited, LOCK_SH | LOCK_NB));
	R(close(inherited)); /* one of several descriptors of it */
}

CASE(locks_inherited)
{
	int fd = inherited = make("f", "0123456789"), other;

	inherited_copy = (dup)(fd);
	LOCK(fd, F_SETLK, F_WRLCK, 0, 2);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, 4, 2);
	R(flock_(fd, LOCK_EX));
	in_child(use_inherited);
	show_locks();
	other = (open)(P("f"), O_RDWR);
	R(flock_(other, LOCK_SH | LOCK_NB)); /* the child made it shared */
	R(flock_(other, LOCK_EX | LOCK_NB));
	R(flock_(fd, LOCK_UN));
	R(flock_(other, LOCK_EX | LOCK_NB));
	R(flock_(inherited_copy, LOCK_EX | LOCK_NB));
	R(close(other)); /* the record locks go with it */
	show_locks();
	R(flock_(inherited_copy, LOCK_EX | LOCK_NB));
	R(close(fd));
	show_locks();
	other = (open)(P("f"), O_RDWR);
	R(flock_(other, LOCK_SH | LOCK_NB)); /* a copy has it still */
	R(close(inherited_copy));
	R(flock_(other, LOCK_SH | LOCK_NB));
	show_locks();
}

static void take_range(void)
{
	LOCK(inherited, F_OFD_SETLK, F_WRLCK, 3, 4);
}

static void give_some(void)
{
	LOCK(inherited, F_OFD_SETLK, F_UNLCK, 0, 4);
	LOCK(inherited, F_OFD_SETLK, F_RDLCK, 6, 1);
}

/* The description's locks, whoever of those who have it took them, and also when he has ended. */
CASE(locks_of_a_child)
{
	int fd = inherited = make("f", "0123456789"), other;

	in_child(take_range);
	other = (open)(P("f"), O_RDWR);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 3, 1);
	who(other, F_OFD_GETLK, 3);
	LOCK(other, F_SETLK, F_RDLCK, 6, 1);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, 0, 8);
	LOCK(other, F_OFD_SETLK, F_RDLCK, 0, 1);
	in_child(give_some);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 0, 4);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 4, 1);
	LOCK(other, F_OFD_SETLK, F_RDLCK, 6, 1);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, 3, 1);
	LOCK(fd, F_OFD_SETLK, F_UNLCK, 4, 2);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 4, 2);
	in_child(take_range);
	R((close)(fd));
	LOCK(other, F_OFD_SETLK, F_WRLCK, 0, 0);
	show_locks();
}

/* The first lock of the two is the child's; and a program that took the place of who had it has it still. */
CASE(locks_of_a_program)
{
	int out[2], in[2], status, other;
	char c;
	pid_t pid;

	put("f", "0123456789");
	if (pipe(out) < 0 || pipe(in) < 0)
		abort();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		inherited = (open)(P("f"), O_RDWR);
		LOCK(inherited, F_OFD_SETLK, F_WRLCK, 2, 3);
		(dup2)(in[0], 0);
		(dup2)(out[1], 1);
		(close)(in[1]);
		execl("/bin/sh", "sh", "-c", "echo ready; read x", NULL);
		_exit(9);
	}
	(close)(out[1]);
	(read)(out[0], &c, 1);
	other = (open)(P("f"), O_RDWR);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 4, 1);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 5, 1);
	(close)(in[1]);
	(waitpid)(pid, &status, 0);
	LOCK(other, F_OFD_SETLK, F_WRLCK, 0, 0);
}

static void nothing(int number)
{
	(void)number;
}

static int ready[2];

static pid_t holder(void (*fn)(void))
{
	char c;
	pid_t pid;

	(pipe)(ready);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn();
		(write)(ready[1], "r", 1);
		for (;;)
			pause();
	}
	(read)(ready[0], &c, 1);
	return pid;
}

static void hold_all(void)
{
	int fd = (open)(P("f"), O_RDWR);

	(lock)(fd, F_SETLK, F_WRLCK, 0, 0);
	(flock)((open)(P("f"), O_RDWR), LOCK_EX);
}

/* Waiting ends by a signal, and without SA_RESTART is not begun again. */
CASE(locks_interrupted)
{
	struct sigaction a = { .sa_handler = nothing };
	int fd = make("f", "0123456789");
	pid_t pid = holder(hold_all);

	sigaction(SIGALRM, &a, NULL);
	signals_come(true);
	LOCK(fd, F_SETLKW, F_RDLCK, 0, 1);
	LOCK(fd, F_OFD_SETLKW, F_RDLCK, 0, 1);
	R(flock_(fd, LOCK_SH));
	signals_come(false);
	LOCK(fd, F_SETLK, F_RDLCK, 0, 1);
	R(flock_(fd, LOCK_SH | LOCK_NB));
	(kill)(pid, SIGKILL);
	(waitpid)(pid, NULL, 0);
	LOCK(fd, F_SETLKW, F_RDLCK, 0, 1);
	R(flock_(fd, LOCK_SH));
}

static void hold_second_and_want_first(void)
{
	int fd = (open)(P("f"), O_RDWR);

	(lock)(fd, F_SETLK, F_WRLCK, 1, 1);
	(write)(ready[1], "r", 1);
	(lock)(fd, F_SETLKW, F_WRLCK, 0, 1);
}

/* Of two that wait for each other one is told; either may be. */
CASE(locks_deadlock)
{
	int fd = make("f", "0123456789");
	struct timespec t = { 0, 200000000 };
	pid_t pid;
	long r;

	LOCK(fd, F_SETLK, F_WRLCK, 0, 1);
	pid = holder(hold_second_and_want_first);
	nanosleep(&t, NULL); /* until it waits; if it does not yet, it is the one that is told */
	alarm(20);
	r = lock(fd, F_SETLKW, F_WRLCK, 1, 1);
	say("%s", r == 0 || errno == EDEADLK ? "one is told" : strerrorname_np(errno));
	(kill)(pid, SIGKILL);
	(waitpid)(pid, NULL, 0);
}

/* A waiter gets it when it is free, by whichever way. */
static void free_it_soon(void)
{
	struct timespec t = { 0, 50000000 };
	int fd = (open)(P("f"), O_RDWR);

	(lock)(fd, F_SETLK, F_WRLCK, 0, 10);
	(flock)(fd, LOCK_EX);
	(write)(ready[1], "r", 1);
	nanosleep(&t, NULL);
	(lock)(fd, F_SETLK, F_UNLCK, 2, 3);
	nanosleep(&t, NULL);
	(flock)(fd, LOCK_UN);
	nanosleep(&t, NULL);
	_exit(0);
}

CASE(locks_waited_for)
{
	int fd = make("f", "0123456789");
	pid_t pid = holder(free_it_soon);

	LOCK(fd, F_SETLKW, F_WRLCK, 2, 2);
	LOCK(fd, F_SETLK, F_WRLCK, 4, 2);
	R(flock_(fd, LOCK_EX));
	LOCK(fd, F_SETLKW, F_WRLCK, 0, 0);
	(waitpid)(pid, NULL, 0);
	show_locks();
}

CASE(locks_wrong)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = make("f", "0123456789"), rd = (open)(P("f"), O_RDONLY), wr = (open)(P("f"), O_WRONLY);

	LOCK(rd, F_OFD_SETLK, F_WRLCK, 0, 1);
	LOCK(wr, F_OFD_SETLK, F_RDLCK, 0, 1);
	LOCK(rd, F_OFD_SETLKW, F_RDLCK, 0, 1);
	LOCK(fd, F_OFD_SETLK, 7, 0, 1);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, -1, 1);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, 5, -6);
	LOCK(fd, F_OFD_SETLK, F_WRLCK, INT64_MAX, 2);
	LOCK(fd, F_SETLK, F_WRLCK, INT64_MAX, 1);
	LOCK(fd, F_SETLK, F_UNLCK, 0, 0);
	LOCK(99, F_OFD_SETLK, F_WRLCK, 0, 1);
	LOCK(fd, F_GETLK, 7, 0, 1);
	LOCK(fd, F_GETLK, F_RDLCK | 8, 0, 1);
	l.l_pid = 1;
	R(fcntl(fd, F_OFD_GETLK, &l));
	R(fcntl(fd, F_OFD_SETLKW, &l));
	l.l_pid = 0, l.l_whence = SEEK_END, l.l_start = INT64_MAX;
	R(fcntl(fd, F_SETLK, &l));
	l.l_whence = SEEK_END, l.l_start = -3, l.l_len = 2;
	R(fcntl(fd, F_SETLK, &l));
	(lseek)(fd, 5, SEEK_SET);
	l.l_whence = SEEK_CUR, l.l_start = -6, l.l_len = 2;
	R(fcntl(fd, F_SETLK, &l));
	l.l_start = 1;
	R(fcntl(fd, F_SETLK, &l));
	show_locks();
	R(flock_(fd, LOCK_SH | LOCK_EX));
	R(flock_(fd, LOCK_MAND | LOCK_READ));
	R(flock_(rd, LOCK_EX | LOCK_NB));
	R(flock_(rd, LOCK_UN | LOCK_NB));
	R(flock_((open)(P("f"), O_PATH), LOCK_SH));
	R(flock_((open)(P(""), O_RDONLY | O_DIRECTORY), LOCK_EX | LOCK_NB));
}
