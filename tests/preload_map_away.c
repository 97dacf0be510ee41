/* A mapping while the cluster may be away (e2e-preload-map-away.sh):
 *
 *   preload-map-away make FILE
 *   preload-map-away shared|private FILE
 *
 * The second says "ready", and then what came of each line of its input: "next" touches a page further on, by itself and
 * by a system call, "same" the same one again, "fork" makes a child, "once" has that touch the page and end, or "until" it
 * has the data, "store" stores into a page beside it, "sweep N" into the first N pages of the last 512 KiB, one after the
 * other, and "all" looks at every byte. Pages that were there before come first: the first 512 KiB. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "preload_show.h"

#define SIZE (4ul << 20)
#define STEP (512ul << 10)
#define STORED 4096ul /* where a byte was stored at the start */
#define SWEPT (SIZE - STEP)

static char *map;
static size_t at_page = STEP;
static int to_child = -1;
static pid_t child;
static size_t beside; /* where "store" has stored; 0: nowhere */
static size_t swept;  /* pages */
static bool is_private;

static char byte_at(size_t k)
{
	return (char)((k * 2654435761u) >> 13);
}

static sigjmp_buf back;
static volatile int caught;

static void on_fault(int sig)
{
	caught = sig;
	siglongjmp(back, 1);
}

static const char *touch(size_t offset)
{
	caught = 0;
	if (sigsetjmp(back, 1) == 0)
		return *(volatile char *)(map + offset) == byte_at(offset) ? "data" : "wrong";
	return caught == SIGBUS ? "SIGBUS" : "SIGSEGV";
}

static const char *by_call(size_t offset)
{
	static int fds[2] = { -1, -1 };
	char got;

	if (fds[0] < 0)
		CHECK(pipe(fds) == 0);
	if (write(fds[1], map + offset, 1) != 1)
		return strerrorname_np(errno);
	return read(fds[0], &got, 1) == 1 && got == byte_at(offset) ? "data" : "wrong";
}

static const char *store(void)
{
	beside = at_page + 4096;
	caught = 0;
	if (sigsetjmp(back, 1) == 0)
		return *(volatile char *)(map + beside) = 'b', "stored";
	beside = 0;
	return caught == SIGBUS ? "SIGBUS" : "SIGSEGV";
}

static const char *sweep(size_t pages)
{
	static char done[32];
	volatile size_t at_now = swept;

	caught = 0;
	if (sigsetjmp(back, 1) == 0)
		for (; at_now < pages; swept = ++at_now)
			*(volatile char *)(map + SWEPT + at_now * 4096) = 'w';
	snprintf(done, sizeof done, "%zu", swept);
	return caught == 0 ? done : caught == SIGBUS ? "SIGBUS" : "SIGSEGV";
}

static char want_at(size_t k)
{
	if (is_private && k == STORED)
		return 's';
	if (k == beside && beside)
		return 'b';
	return k >= SWEPT && k % 4096 == 0 && (k - SWEPT) / 4096 < swept ? 'w' : byte_at(k);
}

static const char *all(void)
{
	caught = 0;
	if (sigsetjmp(back, 1) != 0)
		return caught == SIGBUS ? "SIGBUS" : "SIGSEGV";
	for (size_t k = 0; k < SIZE; k++)
		if (map[k] != want_at(k))
			return "wrong";
	return "whole";
}

static const char *make_child(void)
{
	int fds[2];
	char c;

	CHECK(pipe(fds) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[1]);
		CHECK(read(fds[0], &c, 1) == 1);
		CHECK(!is_private || map[STORED] == 's');
		while (c == 'u' && strcmp(touch(at_page), "data"))
			usleep(100000);
		printf("%s %s\n", touch(at_page), by_call(at_page));
		fflush(stdout);
		_exit(0);
	}
	close(fds[0]);
	to_child = fds[1];
	return "forked";
}

static void let_child_look(const char *how)
{
	int status;

	CHECK(write(to_child, how, 1) == 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	close(to_child);
}

static int make(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	char *buf = malloc(SIZE);

	CHECK(fd >= 0 && buf);
	for (size_t k = 0; k < SIZE; k++)
		buf[k] = byte_at(k);
	CHECK(write(fd, buf, SIZE) == (ssize_t)SIZE && close(fd) == 0);
	return 0;
}

int main(int argc, char **argv)
{
	const struct sigaction sa = { .sa_handler = on_fault };
	char line[16];
	int fd;

	CHECK(argc == 3);
	if (!strcmp(argv[1], "make"))
		return make(argv[2]);
	is_private = !strcmp(argv[1], "private");
	fd = open(argv[2], O_RDWR);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, is_private ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (is_private && strcmp(touch(STORED), "data"))
		usleep(100000);
	if (is_private)
		map[STORED] = 's';
	for (size_t k = 0; k < STEP; k += 4096)
		while (k != STORED && strcmp(touch(k), "data"))
			usleep(100000);
	printf("ready\n");
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "next"))
			at_page += STEP;
		if (!strcmp(line, "next") || !strcmp(line, "same"))
			printf("%s %s\n", touch(at_page), by_call(at_page));
		else if (!strcmp(line, "fork"))
			printf("%s\n", make_child());
		else if (!strcmp(line, "once") || !strcmp(line, "until"))
			let_child_look(line);
		else if (!strcmp(line, "store"))
			printf("%s\n", store());
		else if (!strncmp(line, "sweep ", 6))
			printf("%s\n", sweep((size_t)atoi(line + 6)));
		else
			printf("%s\n", all());
	}
	return 0;
}
