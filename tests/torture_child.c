/* Children of torture: by fork (they use what is open and mapped, and end by exit or _exit), by vfork
 * and exec (they take inherited descriptors up), by posix_spawn. */
#include "torture.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* What a child made by exec does with a descriptor that it inherited. */
int verify_inherited(char **argv)
{
	static uint8_t buf[PIECE];
	int fd = atoi(argv[0]);
	uint64_t seed = strtoull(argv[1], NULL, 10);
	size_t at = 0, size = strtoul(argv[2], NULL, 10);
	ssize_t n;

	while ((n = pread(fd, buf, sizeof buf, (off_t)at)) > 0) {
		check_bytes("an inherited descriptor", buf, (size_t)n, seed, at);
		at += (size_t)n;
	}
	return n < 0 || at != size ? 1 : 0;
}

static void exec_args(const struct shared *s, char text[3][32], char *argv[6])
{
	snprintf(text[0], 32, "%d", s->fd);
	snprintf(text[1], 32, "%llu", (unsigned long long)s->seed);
	snprintf(text[2], 32, "%zu", s->size);
	argv[0] = (char *)"torture";
	argv[1] = (char *)"--inherited";
	for (int i = 0; i < 3; i++)
		argv[2 + i] = text[i];
	argv[5] = NULL;
}

static void wait_for(pid_t child, const char *how)
{
	int status;

	AGAIN(waitpid(child, &status, 0));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		FAIL("a child by %s ended with status 0x%x", how, status);
}

/* --- By fork ------------------------------------------------------------------------------- */

struct forker {
	struct board *board;
	struct lazy *lazy;
};

static void forker_begin(struct me *m)
{
	struct forker *f = calloc(1, sizeof *f);

	if (!f)
		FAIL("no memory");
	f->board = board_new();
	f->lazy = lazy_new();
	m->own = f;
}

static void child_appends(uint32_t n)
{
	char path[PATH_SIZE];
	int fd;

	if (n == 0)
		return;
	fd = MUST(open(path_of(path, "log", 0), O_WRONLY | O_APPEND));
	for (uint32_t i = 0; i < n; i++)
		log_append(fd, 1000, i);
	MUST(close(fd));
}

static void in_child(struct forker *f, struct me *m, uint32_t mood)
{
	for (int i = 0; i < 4; i++)
		read_shared(&m->rnd, m->buf);
	read_by_dup(&m->rnd, m->buf);
	if (mood % 3 == 0)
		read_by_map(&m->rnd);
	lazy_check(f->lazy, &m->rnd);
}

/* The parent changes its model as the child does the file: both have the same random numbers. */
static void forker_step(struct me *m)
{
	struct forker *f = m->own;
	uint32_t n = (uint32_t)some(&m->rnd, 5), mood = (uint32_t)rand_r(&m->rnd);
	unsigned same = (unsigned)rand_r(&m->rnd);
	pid_t child = MUST(fork());

	if (child == 0) {
		in_child(f, m, mood);
		child_appends(n);
		if (mood % 4 == 1)
			count_in_child();
		board_store(f->board, &same);
		board_check(f->board);
		if (mood % 2)
			_exit(0);
		exit(0);
	}
	wait_for(child, "fork");
	log_count(n);
	if (mood % 4 == 1)
		count_told();
	board_store(f->board, &same);
	board_check(f->board);
	lazy_check(f->lazy, &m->rnd);
}

static void forker_end(struct me *m)
{
	struct forker *f = m->own;

	board_check(f->board);
	board_free(f->board);
	lazy_free(f->lazy);
	free(f);
}

const struct role role_forker = { .name = "forker",
				  .threads = 2,
				  .forks = true,
				  .begin = forker_begin,
				  .step = forker_step,
				  .end = forker_end };

/* --- By exec ------------------------------------------------------------------------------- */

static void executer_step(struct me *m)
{
	const struct shared *s = &shared[some(&m->rnd, N_SHARED)];
	char text[3][32], *argv[6];
	pid_t child;
	int r;

	exec_args(s, text, argv);
	if (some(&m->rnd, 2)) {
		r = posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ);
		if (r != 0)
			FAIL("posix_spawn: %s", strerror(r));
		wait_for(child, "posix_spawn");
		return;
	}
	child = vfork();
	if (child == 0) {
		execv("/proc/self/exe", argv);
		_exit(9);
	}
	MUST(child);
	wait_for(child, "vfork");
}

const struct role role_executer = { .name = "executer", .threads = 1, .forks = true, .step = executer_step };
