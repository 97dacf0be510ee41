/* What a program that has nothing to do with us pays:
 *	cost read N		N reads of one byte of /dev/zero
 *	cost reads		nanoseconds of one, the best of many rounds
 *	cost spawn ENV…	microseconds more that a process takes with the environment ENV than with all of
 *				it but the first, the best of a hundred rounds in turns */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double reads(int fd, long n)
{
	double begin = now_ns();
	char c;

	for (long i = 0; i < n; i++)
		if (read(fd, &c, 1) != 1)
			exit(1);
	return (now_ns() - begin) / (double)n;
}

static double spawn_us(char **env)
{
	char *argv[] = { "true", NULL };
	double begin = now_ns();
	pid_t pid;

	for (int i = 0; i < 25; i++) {
		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env))
			exit(1);
		waitpid(pid, NULL, 0);
	}
	return (now_ns() - begin) / 25e3;
}

int main(int argc, char **argv)
{
	int fd = open("/dev/zero", O_RDONLY);
	double with = 1e9, without = 1e9, t;

	if (argc > 2 && strcmp(argv[1], "read") == 0) {
		reads(fd, atol(argv[2]));
	} else if (argc > 1 && strcmp(argv[1], "reads") == 0) {
		for (int i = 0; i < 300; i++)
			with = (t = reads(fd, 2000)) < with ? t : with;
		printf("%.1f\n", with);
	} else if (argc > 2) {
		for (int i = 0; i < 100; i++) {
			without = (t = spawn_us(argv + 3)) < without ? t : without;
			with = (t = spawn_us(argv + 2)) < with ? t : with;
		}
		printf("%.0f %.0f\n", without, with);
	}
	return 0;
}
