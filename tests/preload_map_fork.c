/* Mappings that forked children leave while their parent writes by call: preload-map-fork DIR SECONDS. Each
 * thread has a file of its own, and a model of it in memory: it stores through a mapping, unmaps, writes
 * by call, and compares. Another thread forks children all the time, which inherit what is mapped just
 * then and end as its last users: what they still send must not undo what was written meanwhile. Before, a child of
 * a parent without mappings makes one. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "preload_show.h"

enum { THREADS = 6, SIZE = 150001, PIECE = 6000 };

static atomic_bool stop;
static struct worker {
	unsigned number;
	uint64_t random;
	unsigned long rounds;
	int fd;
	uint8_t model[SIZE], buf[SIZE];
} workers[THREADS];

static size_t some(struct worker *w, size_t n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (size_t)(w->random >> 33) % n;
}

/* Some new bytes of the model; their number and place. */
static size_t change(struct worker *w, size_t *at)
{
	size_t n = 1 + some(w, PIECE);

	*at = some(w, SIZE - n);
	memset(w->model + *at, (int)some(w, 256), n);
	return n;
}

static void compare(struct worker *w)
{
	CHECK(pread(w->fd, w->buf, SIZE, 0) == SIZE);
	for (size_t i = 0; i < SIZE; i++)
		if (w->buf[i] != w->model[i]) {
			printf("file %u, round %lu, byte %zu: %d, not %d\n", w->number, w->rounds, i, w->buf[i],
			       w->model[i]);
			fflush(stdout);
			_exit(1);
		}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	size_t at, n;

	for (; !stop; w->rounds++) {
		uint8_t *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);

		CHECK(m != MAP_FAILED);
		n = change(w, &at);
		memcpy(m + at, w->model + at, n);
		n = change(w, &at);
		CHECK(pwrite(w->fd, w->model + at, n, (off_t)at) == (ssize_t)n);
		CHECK(memcmp(m, w->model, SIZE) == 0);
		CHECK(munmap(m, SIZE) == 0);
		for (int i = 0; i < 8; i++) {
			n = change(w, &at);
			CHECK(pwrite(w->fd, w->model + at, n, (off_t)at) == (ssize_t)n);
		}
		compare(w);
	}
	return NULL;
}

static void *forks(void *arg)
{
	while (!stop) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(0);
		CHECK(child > 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return arg;
}

/* The parent has had mappings, and has none: its child makes its own. */
static void child_maps(struct worker *w, bool bare)
{
	uint8_t *m = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, w->fd, 0);
	pid_t child;
	int status;

	CHECK(m != MAP_FAILED && memcmp(m, w->model, SIZE) == 0);
	CHECK(munmap(m, SIZE) == 0);
	child = bare ? _Fork() : fork();
	if (child == 0) {
		m = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, w->fd, 0);
		if (m == MAP_FAILED) /* the client is not for children past fork's handlers */
			_exit(bare ? 0 : 1);
		_exit(memcmp(m, w->model, SIZE) == 0 ? 0 : 2);
	}
	CHECK(child > 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS + 1];
	unsigned long rounds = 0;
	char name[16];

	if (argc != 3)
		return 2;
	dir = argv[1];
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		w->number = i;
		w->random = i;
		snprintf(name, sizeof name, "fork-%u", i);
		w->fd = open(at(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		CHECK(w->fd >= 0);
		memset(w->model, 'm', SIZE);
		CHECK(pwrite(w->fd, w->model, SIZE, 0) == SIZE);
	}
	child_maps(&workers[0], false);
	child_maps(&workers[0], true);
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		CHECK(pthread_create(&threads[i], NULL, work, w) == 0);
	}
	CHECK(pthread_create(&threads[THREADS], NULL, forks, NULL) == 0);
	for (struct timespec left = { atoi(argv[2]), 0 }; nanosleep(&left, &left) < 0;)
		;
	stop = true;
	for (unsigned i = 0; i <= THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (unsigned i = 0; i < THREADS; i++) {
		compare(&workers[i]);
		CHECK(workers[i].rounds > 0);
		rounds += workers[i].rounds;
	}
	printf("%lu rounds\n", rounds);
	return 0;
}
