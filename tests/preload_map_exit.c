/* Processes that end while other threads of theirs store into a shared mapping and load from it:
 * preload-map-exit DIR ROUNDS OTHER. Each must end as it chose to, and what was stored before it began to end
 * must be in the file: seen from here if this process maps it too, else by one of another node, which
 * has its node-wide files in the directory OTHER.
 *
 *	leave DIR SLOT ROUND HOW    the process that ends, with status 40 + SLOT
 *	verify DIR SLOT ROUND       what it left
 *	status N                    what it executed */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "preload_show.h"

enum { PAGE = 4096, PAGES = 256, SIZE = PAGES * PAGE - 77, THREADS = 3, SLOTS = 2 };
enum how { RETURN, EXIT, QUICK_EXIT, UNDERSCORE_EXIT, BY_NUMBER, EXEC, OTHER_THREAD, HOWS };

/* One for each thread and one for all, in pages of their own. */
struct page {
	_Atomic uint64_t count;
	uint64_t seen[THREADS], round;
	char rest[PAGE - 8 * (THREADS + 2)];
};
struct slot {
	struct page thread[THREADS], main;
};

static struct slot *mapped;
static const char *self;
static int slot, status;

static struct slot *map(void)
{
	int fd = open(at("exit"), O_RDWR);
	void *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(fd >= 0 && m != MAP_FAILED);
	return m;
}

/* --- The process that ends ----------------------------------------------------------------- */

static void *work(void *arg)
{
	struct page *own = arg, *all = (struct page *)mapped;
	uint64_t x = (uintptr_t)arg, sum = 0;

	for (;; own->count++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		sum += all[(x >> 33) % PAGES].count;
		own->seen[0] = sum;
		sched_yield();
	}
	return NULL;
}

static void *leave_by_exit(void *arg)
{
	(void)arg;
	exit(status);
}

/* Returns if main is to. */
static void leave(enum how how)
{
	char text[16];
	pthread_t t;

	snprintf(text, sizeof text, "%d", status);
	switch (how) {
	case EXIT:
		exit(status);
	case QUICK_EXIT:
		quick_exit(status);
	case UNDERSCORE_EXIT:
		_exit(status);
	case BY_NUMBER:
		syscall(SYS_exit_group, status);
		break;
	case EXEC:
		execl(self, self, "status", text, NULL);
		_exit(127);
	case OTHER_THREAD:
		CHECK(pthread_create(&t, NULL, leave_by_exit, NULL) == 0);
		pthread_join(t, NULL);
		break;
	default:
		break;
	}
}

static void run_and_leave(uint64_t round, enum how how)
{
	struct slot *own;
	pthread_t t;

	mapped = map();
	own = &mapped[slot];
	for (int i = 0; i < THREADS; i++) {
		uint64_t before = own->thread[i].count;

		CHECK(pthread_create(&t, NULL, work, &own->thread[i]) == 0);
		while (own->thread[i].count < before + 50)
			sched_yield();
	}
	for (int i = 0; i < THREADS; i++)
		own->main.seen[i] = own->thread[i].count;
	own->main.round = round;
	leave(how);
}

/* --- What it left -------------------------------------------------------------------------- */

static void verify(uint64_t round)
{
	static struct slot got;
	int fd = open(at("exit"), O_RDONLY);

	CHECK(fd >= 0);
	CHECK(pread(fd, &got, sizeof got, slot * (off_t)sizeof got) == sizeof got);
	CHECK(got.main.round == round);
	for (int i = 0; i < THREADS; i++)
		CHECK(got.main.seen[i] > 0 && got.thread[i].count >= got.main.seen[i]);
	close(fd);
}

static pid_t start(const char *what, int k, uint64_t round, enum how how, const char *node)
{
	pid_t child = fork();
	char text[3][16];

	CHECK(child >= 0);
	if (child > 0)
		return child;
	snprintf(text[0], 16, "%d", k);
	snprintf(text[1], 16, "%d", (int)round);
	snprintf(text[2], 16, "%d", how);
	if (node)
		setenv("FF3FS_MMAP_DIR", node, 1);
	execl(self, self, what, dir, text[0], text[1], text[2], NULL);
	_exit(127);
}

static void ends(pid_t child, int want, const char *what, uint64_t round, enum how how)
{
	int got;

	CHECK(waitpid(child, &got, 0) == child);
	if (WIFEXITED(got) && WEXITSTATUS(got) == want)
		return;
	printf("round %d, way %d: %s ended with %s %d, not %d\n", (int)round, how, what,
	       WIFEXITED(got) ? "status" : "signal", WIFEXITED(got) ? WEXITSTATUS(got) : WTERMSIG(got), want);
	exit(1);
}

/* Whether it is alone, one of two that go at once, or leaves others behind. */
static void one_round(uint64_t round, const char *node)
{
	enum how how = (enum how)(round / 4 % HOWS);
	int shape = round % 4, n = shape == 1 ? 2 : 1;
	struct slot *stays = shape == 2 ? map() : NULL;
	pid_t child[2], looker = -1;

	if (shape == 3) { /* somebody reads by call, and so has looked at the object */
		looker = fork();
		prctl(PR_SET_PDEATHSIG, looker == 0 ? SIGKILL : 0);
		for (int fd = looker == 0 ? open(at("exit"), O_RDONLY) : -1; looker == 0;)
			CHECK(pread(fd, &(char){ 0 }, 1, PAGE + 5) == 1);
	}
	for (int k = 0; k < n; k++)
		child[k] = start("leave", k, round, how, NULL);
	for (int k = 0; k < n; k++)
		ends(child[k], 40 + k, "a leaving process", round, how);
	for (slot = 0; slot < n; slot++) {
		if (stays) {
			CHECK(stays[slot].main.round == round);
			verify(round);
		} else {
			ends(start("verify", slot, round, how, node), 0, "a reader", round, how);
		}
	}
	if (stays) {
		CHECK(munmap(stays, SIZE) == 0);
		ends(start("verify", 0, round, how, node), 0, "a reader", round, how);
	}
	if (looker > 0) {
		kill(looker, SIGKILL);
		waitpid(looker, NULL, 0);
	}
}

static int rounds(int n, const char *node)
{
	int fd = open(at("exit"), O_RDWR | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
	close(fd);
	for (int round = 1; round <= n; round++)
		one_round((uint64_t)round, node);
	printf("%d rounds\n", n);
	return 0;
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc == 3)
		return atoi(argv[2]);
	if (argc == 4) {
		dir = argv[1];
		return rounds(atoi(argv[2]), argv[3]);
	}
	if (argc != 6)
		return 2;
	dir = argv[2];
	slot = atoi(argv[3]);
	status = 40 + slot;
	if (strcmp(argv[1], "verify") == 0) {
		verify(strtoull(argv[4], NULL, 0));
		return 0;
	}
	run_and_leave(strtoull(argv[4], NULL, 0), (enum how)atoi(argv[5]));
	return status;
}
