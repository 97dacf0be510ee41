/* Several unrelated processes work on one mapped file at once, each on bytes of its own, which lie in the same
 * pages as the others': preload-map-many DIR PROCESSES ROUNDS. Each stores through mappings and writes by
 * call, reads either way, syncs, maps anew, forks readers, and knows what its bytes must be. One is
 * killed again and again, and goes on with what it finds, which must be what it had stored. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (4 << 20)

static char path[PATH_MAX], model_path[PATH_MAX];
static unsigned self, n_processes;
static uint64_t state;
static uint8_t *model; /* in a local file: it survives being killed */
static volatile uint32_t *doing;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("process %u, line %d: not so: %s (errno %s)\n", self, __LINE__,     \
			       #condition, strerrorname_np(errno));                                \
			fflush(stdout);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static uint64_t some(uint64_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 24) % n;
}

/* An offset of mine. */
static uint32_t mine(void)
{
	return (uint32_t)(some(SIZE / n_processes) * n_processes + self);
}

/* The byte at k is being changed: a killed process does not know which of the two it is. */
static void store(char *m, int fd, bool by_call)
{
	uint32_t k = mine();
	uint8_t v = (uint8_t)some(256);

	*doing = k + 1;
	if (by_call)
		CHECK(pwrite(fd, &v, 1, k) == 1);
	else
		m[k] = (char)v;
	model[k] = v;
	*doing = 0;
}

static void look(const char *m, int fd)
{
	uint32_t k = mine();
	uint8_t v;

	CHECK((uint8_t)m[k] == model[k]);
	k = mine();
	CHECK(pread(fd, &v, 1, k) == 1);
	CHECK(v == model[k]);
}

static void fork_reader(const char *m, int fd)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		for (int i = 0; i < 20; i++)
			look(m, fd);
		_exit(0);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static char *map(int fd)
{
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(m != MAP_FAILED);
	return m;
}

static int work(unsigned rounds)
{
	int fd = open(path, O_RDWR), model_fd = open(model_path, O_RDWR);
	char *m;

	CHECK(fd >= 0 && model_fd >= 0);
	model = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, model_fd, 0);
	CHECK(model != MAP_FAILED);
	doing = (uint32_t *)(model + SIZE);
	m = map(fd);
	if (*doing) {
		model[*doing - 1] = (uint8_t)m[*doing - 1];
		*doing = 0;
	}
	for (uint32_t k = self; k < SIZE; k += n_processes)
		CHECK((uint8_t)m[k] == model[k]);
	for (unsigned i = 0; i < rounds; i++) {
		for (int k = 0; k < 20; k++)
			store(m, fd, false);
		if (some(4) == 0)
			store(m, fd, true);
		look(m, fd);
		switch (some(40)) {
		case 0:
			CHECK(msync(m + 4096 * some(512), 1 << 20, MS_SYNC) == 0);
			break;
		case 1:
			munmap(m, SIZE);
			m = map(fd);
			break;
		case 2:
			fork_reader(m, fd);
			break;
		case 3:
			CHECK(madvise(m, SIZE, MADV_DONTNEED) == 0);
		}
		if (self == 0 && some(rounds) < 3)
			kill(getpid(), SIGKILL);
	}
	return 0;
}

static pid_t start(char **argv, unsigned k)
{
	static unsigned seed;
	char number[16], seed_text[16];
	pid_t child = fork();

	seed++;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(number, sizeof number, "%u", k);
		snprintf(seed_text, sizeof seed_text, "%u", seed);
		execl(argv[0], argv[0], argv[1], argv[2], argv[3], argv[4], number, seed_text, NULL);
		_exit(127);
	}
	return child;
}

int main(int argc, char **argv)
{
	uint8_t *now = malloc(SIZE);
	pid_t first = 0, pid;
	int fd, status, left;

	if (argc < 5)
		return 2;
	n_processes = (unsigned)atoi(argv[2]);
	snprintf(path, sizeof path, "%s/many", argv[1]);
	if (argc > 6) {
		self = (unsigned)atoi(argv[5]);
		state = strtoull(argv[6], NULL, 0);
		snprintf(model_path, sizeof model_path, "%s.%u", argv[4], self);
		return work((unsigned)atoi(argv[3]));
	}
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
	for (unsigned k = 0; k < n_processes; k++) {
		snprintf(model_path, sizeof model_path, "%s.%u", argv[4], k);
		CHECK(ftruncate(open(model_path, O_RDWR | O_CREAT | O_TRUNC, 0644), SIZE + 4096) == 0);
		pid = start(argv, k);
		first = k ? first : pid;
	}
	for (left = (int)n_processes; left > 0; left--) {
		pid = wait(&status);
		if (pid == first && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			first = start(argv, 0);
			left++;
		} else {
			CHECK(status == 0);
		}
	}
	CHECK(pread(fd, now, SIZE, 0) == SIZE);
	for (unsigned k = 0; k < n_processes; k++) {
		snprintf(model_path, sizeof model_path, "%s.%u", argv[4], k);
		model = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, open(model_path, O_RDONLY), 0);
		for (uint32_t i = k; i < SIZE; i += n_processes)
			CHECK(now[i] == model[i]);
	}
	return 0;
}
