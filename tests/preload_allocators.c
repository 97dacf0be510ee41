/* Under the shim and a memory allocator, whichever of them stands first: each block goes back to where it came from.
 *
 *   preload_allocators DIR OBJECTS [calm|alone|child]
 *
 * DIR/data is read into blocks of all kinds, of sizes about those that the shim's realloc looks at and those that libc
 * maps, which grow, shrink and are freed by other threads than took them; DIR/object.0 to OBJECTS - 1, shared
 * objects, have a thread-local variable each: the linker's table of them (the DTV) grows in threads that were there
 * before. What calls of the shim's and of libc's return is grown and freed here. Meanwhile it forks (calm: when
 * no thread of its own is left; alone: never), and what is forked does the same and executes this again. Prints what
 * it did. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sure.h"

#define DATA (2u << 20)
#define THREADS 4
#define SLOTS 12
#define STEPS 600
#define CHILDREN 12
#define TOUCHERS 3
#define OBJECTS_MAX 100

static const char *dir;
static unsigned n_objects;
static char *data;
static int fd;

/* --- Blocks ------------------------------------------------------------------------------------------ */

struct block {
	size_t size, from; /* holds this part of the file */
	char *p;
};

static _Atomic(struct block *) exchanged[THREADS * 4];

static unsigned next(unsigned *seed)
{
	return *seed = *seed * 1664525u + 1013904223u, *seed >> 8;
}

static size_t some_size(unsigned *seed)
{
	static const size_t sizes[] = { 1,    24,    1000,  2047,   2048,   2049,	4096,
					5000, 20000, 65536, 131056, 140000, 300000, 1u << 20 };

	return sizes[next(seed) % (sizeof sizes / sizeof sizes[0])] + next(seed) % 17;
}

static char *take(size_t size, unsigned *seed)
{
	void *p = NULL;

	switch (next(seed) % 7) {
	case 0:
		p = calloc(1, size);
		for (size_t i = 0; i < size; i++)
			SURE(((char *)p)[i] == 0);
		return p;
	case 1:
		p = memalign(64, size);
		SURE((uintptr_t)p % 64 == 0);
		return p;
	case 2:
		SURE(posix_memalign(&p, 4096, size) == 0 && (uintptr_t)p % 4096 == 0);
		return p;
	case 3:
		return aligned_alloc(256, (size + 255) & ~(size_t)255);
	case 4:
		return reallocarray(NULL, size, 1);
	case 5:
		return realloc(NULL, size);
	default:
		return malloc(size);
	}
}

static void fill(struct block *b, unsigned *seed)
{
	b->from = next(seed) % (DATA - b->size);
	SURE(pread(fd, b->p, b->size, (off_t)b->from) == (ssize_t)b->size);
	SURE(memcmp(b->p, data + b->from, b->size) == 0);
}

static void resize(struct block *b, unsigned *seed)
{
	size_t size = some_size(seed), both = size < b->size ? size : b->size;

	b->p = next(seed) % 2 ? realloc(b->p, size) : reallocarray(b->p, size, 1);
	SURE(b->p && memcmp(b->p, data + b->from, both) == 0);
	b->size = size;
}

static void drop(struct block *b)
{
	if (!b)
		return;
	SURE(memcmp(b->p, data + b->from, b->size) == 0);
	free(b->p);
	free(b);
}

static void *blocks(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 7919u + 1;
	struct block *own[SLOTS] = { NULL };

	for (int i = 0; i < STEPS; i++) {
		struct block **b = &own[next(&seed) % SLOTS];

		if (!*b) {
			SURE(*b = malloc(sizeof **b));
			(*b)->size = some_size(&seed);
			SURE((*b)->p = take((*b)->size, &seed));
			fill(*b, &seed);
		} else if (next(&seed) % 3) {
			resize(*b, &seed);
			fill(*b, &seed);
		} else {
			drop(*b);
			*b = NULL;
		}
		*b = atomic_exchange(&exchanged[next(&seed) % (THREADS * 4)], *b);
	}
	for (int i = 0; i < SLOTS; i++)
		drop(own[i]);
	return NULL;
}

/* --- What calls return --------------------------------------------------------------------------------- */

static void given_back(char *p)
{
	size_t n;

	SURE(p);
	n = strlen(p);
	SURE(p = realloc(p, n + 3000));
	memset(p + n, 'x', 3000);
	free(p);
}

static int n_visited;

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
	n_visited++;
	return 0;
}

static void walks(void)
{
	char path[4096], *roots[] = { (char *)dir, NULL };
	struct dirent **list = NULL;
	FTS *fts;
	glob_t found;
	int n = scandir(dir, &list, NULL, alphasort), seen = 0;

	SURE(n >= (int)n_objects + 3);
	for (int i = 0; i < n; i++)
		given_back((char *)memmove(list[i], list[i]->d_name, strlen(list[i]->d_name) + 1));
	given_back(strcpy((char *)list, "list"));
	n_visited = 0;
	SURE(nftw(dir, visit, 10, FTW_PHYS) == 0 && n_visited >= n - 1);
	SURE(fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL));
	while (fts_read(fts))
		seen++;
	SURE(fts_close(fts) == 0 && seen >= n - 1);
	snprintf(path, sizeof path, "%s/*", dir);
	SURE(glob(path, 0, NULL, &found) == 0 && (int)found.gl_pathc == n - 2);
	globfree(&found);
}

static void names(void)
{
	char path[4096], *line = NULL, *memory = NULL;
	size_t room = 0, size;
	FILE *f, *m;

	snprintf(path, sizeof path, "%s/data", dir);
	given_back(realpath(path, NULL));
	given_back(canonicalize_file_name(path));
	given_back(getcwd(NULL, 0));
	given_back(get_current_dir_name());
	SURE(asprintf(&line, "%s: %*d", dir, 5000, 1) > 5000);
	given_back(line);
	line = NULL;
	SURE(f = fopen(path, "r"));
	SURE(m = open_memstream(&memory, &size));
	for (int i = 0; i < 200; i++) {
		ssize_t n = getline(&line, &room, f);

		SURE(n > 0 && fwrite(line, 1, (size_t)n, m) == (size_t)n);
	}
	SURE(fclose(m) == 0 && fclose(f) == 0 && memcmp(memory, data, size) == 0);
	given_back(line);
	SURE(memory = realloc(memory, size + 100000));
	free(memory);
}

/* --- The linker's ---------------------------------------------------------------------------------------- */

static struct object {
	void *handle;
	char *(*variable)(void);
} objects[OBJECTS_MAX];

static unsigned n_open;
static pthread_barrier_t step;

static void touch_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char *p = objects[i].variable();

		SURE(*p == 0 || *p == (char)(i + 1));
		*p = (char)(i + 1);
	}
}

/* Lives while objects are loaded; its table is too small for each ten. */
static void *toucher(void *arg)
{
	for (unsigned n = 0; n < n_objects; n += 10) {
		pthread_barrier_wait(&step);
		touch_all(n_open);
		blocks((void *)((uintptr_t)arg + n));
		pthread_barrier_wait(&step);
	}
	return NULL;
}

static void *late(void *arg)
{
	touch_all(n_open);
	return arg;
}

static void open_object(unsigned i)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/object.%u", dir, i);
	objects[i].handle = dlopen(path, RTLD_NOW);
	if (!objects[i].handle)
		fprintf(stderr, "%s\n", dlerror());
	SURE(objects[i].handle);
	*(void **)&objects[i].variable = dlsym(objects[i].handle, "variable");
	SURE(objects[i].variable);
}

static void tables(void)
{
	pthread_t t[TOUCHERS], one;

	SURE(pthread_barrier_init(&step, NULL, TOUCHERS + 1) == 0);
	for (uintptr_t i = 0; i < TOUCHERS; i++)
		SURE(pthread_create(&t[i], NULL, toucher, (void *)(i + 100)) == 0);
	for (n_open = 0; n_open < n_objects;) {
		for (unsigned i = 0; i < 10; i++)
			open_object(n_open++);
		pthread_barrier_wait(&step);
		touch_all(n_open);
		pthread_barrier_wait(&step);
		SURE(pthread_create(&one, NULL, late, NULL) == 0 && pthread_join(one, NULL) == 0);
	}
	for (int i = 0; i < TOUCHERS; i++)
		SURE(pthread_join(t[i], NULL) == 0);
	while (n_open > 0)
		SURE(dlclose(objects[--n_open].handle) == 0);
}

/* --- Without any ---------------------------------------------------------------------------------------- */

/* Of preload_own_malloc.c, if that is linked. NULL: allowed again. */
void forbid_allocating(const char *what) __attribute__((weak));

#define QUIETLY(call) (forbid_allocating(#call), (call) ? forbid_allocating(NULL) : abort())

static char of_handlers[100000];

/* A handler of signals that interrupted malloc, in a thread that has not called anything of ours. */
static void *handler(void *arg)
{
	char *buf = of_handlers;
	struct stat st;

	switch ((uintptr_t)arg) {
	case 0:
		QUIETLY(open("/nonexistent/file", O_RDONLY) == -1);
		break;
	case 1:
		QUIETLY(stat("/nonexistent/file", &st) == -1);
		break;
	case 2:
		QUIETLY(fstat(fd, &st) == 0);
		break;
	case 3:
		QUIETLY(pread(fd, buf, 64, 4000) == 64);
		break;
	default:
		QUIETLY(pread(fd, buf, sizeof of_handlers, 5000) == sizeof of_handlers);
	}
	return NULL;
}

static void handlers(void)
{
	pthread_t t;

	if (getenv("REGISTER")) /* memory for RDMA, when it is used for the first time */
		SURE(pread(fd, of_handlers, 64, 4000) == 64 && pread(fd, of_handlers, sizeof of_handlers, 5000) > 0);
	for (uintptr_t i = 0; i < 5; i++)
		SURE(pthread_create(&t, NULL, handler, (void *)i) == 0 && pthread_join(t, NULL) == 0);
}

/* --- Processes --------------------------------------------------------------------------------------------- */

static void child(char **argv, uintptr_t i)
{
	blocks((void *)(i + 1000));
	names();
	if (i % 3 == 0)
		execl(argv[0], argv[0], argv[1], argv[2], "child", NULL);
	_exit(i % 3 == 0 ? 127 : 0);
}

static void children(char **argv)
{
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();
		int status;

		SURE(pid >= 0);
		if (pid == 0)
			child(argv, (uintptr_t)i);
		SURE(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 3 ? argv[3] : "";
	bool calm = strcmp(how, "calm") == 0, alone = strcmp(how, "alone") == 0, is_child = strcmp(how, "child") == 0;
	pthread_t t[THREADS];
	char path[4096];

	SURE(argc > 2);
	dir = argv[1];
	n_objects = (unsigned)atoi(argv[2]);
	SURE(n_objects % 10 == 0 && n_objects <= OBJECTS_MAX);
	snprintf(path, sizeof path, "%s/data", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	SURE(fd >= 0);
	SURE((data = malloc(DATA)) && pread(fd, data, DATA, 0) == DATA);
	if (forbid_allocating)
		handlers();
	for (uintptr_t i = 0; i < THREADS; i++)
		SURE(pthread_create(&t[i], NULL, blocks, (void *)i) == 0);
	if (!calm && !alone && !is_child)
		children(argv);
	names();
	walks();
	for (int i = 0; i < THREADS; i++)
		SURE(pthread_join(t[i], NULL) == 0);
	if (is_child)
		return 0;
	if (calm)
		children(argv);
	tables();
	for (int i = 0; i < THREADS * 4; i++)
		drop(exchanged[i]);
	printf("%u objects, %d children\n", n_objects, alone ? 0 : CHILDREN);
	return 0;
}
