/* Mappings, in the directory of argument 2. "calls" prints what it saw, and the same must come from a local
 * directory; the others check themselves: "forks", "threads", "talk" (two unrelated processes in a
 * shared mapping, one of them killed), "left FILE" (stores and is killed), "build MIB STRIDE" and "large TYPE STRIDE"
 * (a large file). */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "preload_show.h"

#define SIZE (3 * 1024 * 1024 + 1234)

static unsigned char byte_at(uint64_t k)
{
	return (unsigned char)((k * 2654435761u) >> 13 ^ k >> 20);
}

static bool is_file(const char *m, uint64_t from, uint64_t n)
{
	for (uint64_t k = 0; k < n; k++)
		if ((unsigned char)m[k] != byte_at(from + k))
			return false;
	return true;
}

static int make(const char *name, size_t size)
{
	int fd = open(at(name), O_RDWR | O_CREAT | O_TRUNC, 0644);
	char *buf = malloc(size);

	CHECK(fd >= 0 && buf);
	for (size_t k = 0; k < size; k++)
		buf[k] = (char)byte_at(k);
	CHECK(write(fd, buf, size) == (ssize_t)size);
	free(buf);
	return fd;
}

/* --- What touching a byte does ------------------------------------------------------------- */

static sigjmp_buf back;
static volatile int caught;

static void on_fault(int sig)
{
	caught = sig;
	siglongjmp(back, 1);
}

static const char *touch(volatile char *p, int store)
{
	static char text[32];
	struct sigaction sa = { .sa_handler = on_fault }, bus, segv;

	sigaction(SIGBUS, &sa, &bus);
	sigaction(SIGSEGV, &sa, &segv);
	caught = 0;
	if (sigsetjmp(back, 1) == 0) {
		if (store)
			*p = (char)store;
		snprintf(text, sizeof text, "%d", (unsigned char)*p);
	} else {
		snprintf(text, sizeof text, "%s", caught == SIGBUS ? "SIGBUS" : "SIGSEGV");
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return text;
}
#define TOUCH(p) printf("%s: %s\n", #p, touch(p, 0))
#define STORE(p, c) printf("%s = %d: %s\n", #p, c, touch(p, c))

/* --- calls --------------------------------------------------------------------------------- */

static void errors(void)
{
	int fd = make("e", 20000), ro = open(at("e"), O_RDONLY), wo = open(at("e"), O_WRONLY);
	int dirfd = open(dir, O_RDONLY), path = open(at("e"), O_PATH);

	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, wo, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, wo, 0));
	SHOW(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, wo, 0));
	SHOW(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0));
	SHOW(mmap(NULL, 0, PROT_READ, MAP_SHARED, ro, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 17));
	SHOW(mmap(NULL, 4096, PROT_READ, 0, ro, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, dirfd, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, path, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_SHARED, 999, 0));
	SHOW(mmap(NULL, SIZE_MAX - 10, PROT_READ, MAP_SHARED, ro, 0));
	SHOW(mmap(NULL, 8192, PROT_READ, MAP_SHARED, ro, -4096));
	SHOW(mmap(NULL, 1ul << 50, PROT_READ, MAP_SHARED, ro, 0));
	close(fd), close(ro), close(wo), close(dirfd), close(path);
}

static void shared(void)
{
	int fd = make("s", SIZE), ro = open(at("s"), O_RDONLY);
	char *m = mmap(NULL, SIZE + 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *r, *hole, buf[64];
	unsigned char core[1024];

	SHOW(is_file(m, 0, SIZE));
	SHOW(m[SIZE]);
	TOUCH(m + SIZE + 4096);
	r = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0);
	STORE(r + 5, 'x');
	SHOW(mprotect(r, 4096, PROT_READ | PROT_WRITE));
	m[5] = 'y';
	SHOW(r[5]);
	SHOW(pread(ro, buf, 10, 0));
	SHOW(buf[5]);
	SHOW(pwrite(fd, "written", 7, 8190));
	printf("%.7s %.7s\n", m + 8190, r + 8190);
	SHOW(write(open("/dev/null", O_WRONLY), r + 1000000, 1000000));
	SHOW(pread(ro, m + 2000000, 100, 0)); /* from the file into a mapping of it */
	SHOW(memcmp(m, m + 2000000, 100));
	SHOW(msync(m, SIZE, MS_SYNC));
	SHOW(msync(m, SIZE, MS_ASYNC));
	SHOW(msync(m, SIZE, MS_ASYNC | MS_SYNC));
	SHOW(msync(m + 1, SIZE, MS_SYNC));
	/* Nothing behind a page of it. (Farther away may be what answers in its own way: a device's memory.) */
	hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	munmap(hole + 4096, 4096);
	SHOW(msync(hole, 8192, MS_SYNC));
	munmap(hole, 4096);
	SHOW(mlock(m, 8192));
	SHOW(msync(m, 8192, MS_INVALIDATE));
	SHOW(munlock(m, 8192));
	SHOW(mincore(m, 4096, core));
	SHOW(core[0] & 1);
	SHOW(madvise(m, SIZE, MADV_WILLNEED));
	SHOW(madvise(m, 8192, MADV_DONTNEED));
	SHOW(m[5]);
	SHOW(madvise(m, 8192, MADV_FREE));
	SHOW(madvise(m + 1, 8192, MADV_DONTNEED));
	SHOW(posix_madvise(m, 8192, POSIX_MADV_DONTNEED));
	SHOW(m[5]);
	/* cut, and longer again */
	SHOW(ftruncate(fd, 10000));
	TOUCH(m + 9999);
	TOUCH(m + 10000);
	TOUCH(m + 12288);
	TOUCH(r + 2000000);
	SHOW(pread(ro, m + 12288, 10, 0));
	SHOW(ftruncate(fd, 100000));
	TOUCH(m + 10000);
	TOUCH(m + 99999);
	TOUCH(m + 110000);
	SHOW(pwrite(fd, "!", 1, 150000));
	TOUCH(m + 150000);
	TOUCH(r + 150000);
	TOUCH(r + 149999);
	/* in pieces */
	SHOW(munmap(m + 8192, 4096));
	TOUCH(m + 8192);
	TOUCH(m + 8191);
	STORE(m + 12288, 'z');
	SHOW(mprotect(m + 4096, 4096, PROT_NONE));
	TOUCH(m + 4096);
	SHOW(mprotect(m + 4096, 4096, PROT_READ));
	TOUCH(m + 4096);
	STORE(m + 4096, 1);
	SHOW(mmap(m + 16384, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m + 16384);
	TOUCH(m + 16384);
	SHOW(munmap(m, SIZE + 3 * 4096));
	SHOW(munmap(r, SIZE));
	SHOW(pread(ro, buf, 1, 12288));
	SHOW(buf[0]);
	close(fd), close(ro);
}

static void private(void)
{
	int fd = make("p", SIZE), ro = open(at("p"), O_RDONLY);
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0), *n, buf[64];

	SHOW(is_file(m, 0, SIZE));
	m[100] = 'a';
	m[SIZE - 1] = 'b';
	SHOW(pread(fd, buf, 64, 64));
	SHOW((unsigned char)buf[36]);
	SHOW(pread(fd, m + 1000000, 100000, 0));
	SHOW(is_file(m + 1000000, 0, 100));
	SHOW(m[1000100]);
	SHOW((unsigned char)m[1100000]);
	SHOW(madvise(m, 4096, MADV_DONTNEED));
	SHOW((unsigned char)m[100]);
	SHOW(m[SIZE - 1]);
	SHOW(madvise(m, 4096, MADV_REMOVE));
	SHOW(madvise(m, 4096, MADV_FREE));
	n = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, ro, 4096);
	SHOW(is_file(n, 4096, SIZE - 4096));
	TOUCH(n + SIZE - 1);
	STORE(n + 1, 1);
	SHOW(mprotect(n, 8192, PROT_READ | PROT_WRITE));
	STORE(n + 1, 1);
	SHOW(mmap(m + 8192, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, ro, 1 << 20) == m + 8192);
	SHOW(is_file(m + 8192, 1 << 20, 8192));
	SHOW(is_file(m + 16384, 16384, 4096));
	SHOW(mmap(m, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, ro, 0));
	SHOW(munmap(n, SIZE));
	SHOW(munmap(m, SIZE));
	close(fd), close(ro);
}

static void moved(int type)
{
	int fd = make("m", SIZE);
	char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, type, fd, 1 << 20), *place, *n;

	m[0] = 'm';
	m[(1 << 20) - 1] = 'e';
	place = mmap(NULL, 8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	n = mremap(m, 1 << 20, 1 << 20, MREMAP_MAYMOVE | MREMAP_FIXED, place + (1 << 20));
	SHOW(n == place + (1 << 20));
	SHOW(n[0]);
	SHOW(n[(1 << 20) - 1]);
	SHOW(is_file(n + 1, (1 << 20) + 1, (1 << 20) - 2));
	m = n;
	if (type == MAP_SHARED) { /* others: grow() */
		m = mremap(n, 1 << 20, 2 << 20, MREMAP_MAYMOVE);
		SHOW(m != MAP_FAILED);
		SHOW(m[0]);
		SHOW(is_file(m + (1 << 20), 2 << 20, 1 << 20));
	}
	m = mremap(m, type == MAP_SHARED ? 2 << 20 : 1 << 20, 65536, 0);
	SHOW(m[0]);
	SHOW(is_file(m + 1, (1 << 20) + 1, 65535));
	SHOW(munmap(m, 65536));
	close(fd);
}

static int calls(void)
{
	errors();
	shared();
	private();
	moved(MAP_SHARED);
	moved(MAP_PRIVATE);
	return 0;
}

/* --- forks --------------------------------------------------------------------------------- */

static int in_child(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void child_reads(char *s, char *p, int how)
{
	pid_t child = how == 0 ? fork() : how == 1 ? _Fork() : vfork();

	if (child == 0 && how == 2) {
		_exit(s[SIZE / 2] == (char)byte_at(SIZE / 2) ? 0 : 3);
	} else if (child == 0) {
		if (!is_file(s, 0, SIZE - 10) || !is_file(p + 4096, 4096, SIZE - 5000) || p[7] != 'p')
			_exit(1);
		p[8] = 'c';
		s[SIZE - 5]++;
		if (fork() == 0) /* and its own child */
			_exit(is_file(s, 0, SIZE - 10) && p[8] == 'c' ? 0 : 1);
		int status;
		wait(&status);
		_exit(status ? 2 : 0);
	}
	CHECK(in_child(child) == 0);
	CHECK(p[8] == (char)byte_at(8));
}

static int forks(void)
{
	int fd = make("f", SIZE);

	for (int how = 0; how < 3; how++) {
		char *s = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), before;

		CHECK(s != MAP_FAILED && p != MAP_FAILED);
		p[7] = 'p';
		before = s[SIZE - 5];
		child_reads(s, p, how);
		CHECK(how == 2 || s[SIZE - 5] == (char)(before + 1));
		CHECK(is_file(s, 0, SIZE - 10) && is_file(p + 4096, 4096, SIZE - 5000));
		munmap(s, SIZE);
		munmap(p, SIZE);
	}
	/* a child past fork's handlers: data or a signal, never zeros; and its parent sees data */
	char *s = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		syscall(SYS_exit_group, s[SIZE / 2] == (char)byte_at(SIZE / 2) ? 0 : 3);
	int status = in_child((pid_t)child);
	CHECK(status == 0 || WIFSIGNALED(status));
	CHECK(is_file(s, 0, SIZE - 10));
	return 0;
}

/* --- grow ---------------------------------------------------------------------------------- */

/* A private mapping of a part of the file grows, and shows what follows; or it does not, and stays. */
static int grow(void)
{
	const size_t part = 1 << 16, most = SIZE & ~4095ul;
	int fd = make("g", SIZE);
	char *m = mmap(NULL, part, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), *n;
	char *all = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(m != MAP_FAILED && all != MAP_FAILED);
	m[5] = 's';
	n = mremap(m, part, most, MREMAP_MAYMOVE);
	if (n == MAP_FAILED) {
		CHECK(errno == ENOMEM);
		CHECK(m[5] == 's' && is_file(m + 4096, 4096, part - 4096));
		CHECK(mremap(m, part, part / 2, 0) == m && m[5] == 's');
		CHECK(munmap(m, part / 2) == 0);
	} else {
		CHECK(n[5] == 's' && is_file(n + 4096, 4096, most - 4096));
		CHECK(munmap(n, most) == 0);
	}
	/* That of all of a file may reach beyond its end. */
	n = mremap(all, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	CHECK(n != MAP_FAILED && is_file(n, 0, SIZE));
	CHECK(strcmp(touch(n + 2 * SIZE - 4096, 0), "SIGBUS") == 0);
	return 0;
}

/* --- threads ------------------------------------------------------------------------------- */

static char *common;

static void *reader(void *arg)
{
	uint64_t x = (uintptr_t)arg + 1;

	for (int i = fewer(3000); i > 0; i--) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t k = (x >> 20) % SIZE;
		CHECK((unsigned char)common[k] == byte_at(k));
	}
	return NULL;
}

static int threads(void)
{
	int fd = make("t", SIZE);
	pthread_t t[16];

	for (int round = 0; round < 4; round++) {
		common = mmap(NULL, SIZE, PROT_READ, round & 1 ? MAP_PRIVATE : MAP_SHARED, fd, 0);
		for (uintptr_t i = 0; i < 16; i++)
			CHECK(pthread_create(&t[i], NULL, reader, (void *)i) == 0);
#ifndef __SANITIZE_ADDRESS__ /* whose malloc waits for ever in a child if another thread was in it */
		pid_t child = fork();
		if (child == 0)
			_exit(reader(NULL) ? 1 : 0);
#endif
		for (int i = 0; i < 16; i++)
			pthread_join(t[i], NULL);
#ifndef __SANITIZE_ADDRESS__
		CHECK(in_child(child) == 0);
#endif
		munmap(common, SIZE);
	}
	return 0;
}

/* --- talk ---------------------------------------------------------------------------------- */

struct talk {
	pthread_mutex_t mutex;
	pthread_cond_t turn;
	volatile int who, count, died;
};

static struct talk *open_talk(int fd)
{
	struct talk *t = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(t != MAP_FAILED);
	return t;
}

static int answer(void)
{
	struct talk *t = open_talk(open(at("talk"), O_RDWR));

	for (;;) {
		CHECK(pthread_mutex_lock(&t->mutex) == 0);
		while (t->who != 1)
			pthread_cond_wait(&t->turn, &t->mutex);
		t->who = 0;
		if (++t->count == 1000) {
			memcpy((char *)t + 40000, "last words", 11);
			kill(getpid(), SIGKILL); /* with the mutex */
		}
		pthread_cond_broadcast(&t->turn);
		pthread_mutex_unlock(&t->mutex);
	}
}

static int talk(const char *self)
{
	int fd = open(at("talk"), O_RDWR | O_CREAT | O_TRUNC, 0644), status;
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	struct talk *t;
	char buf[16];
	pid_t child;

	CHECK(ftruncate(fd, 65536) == 0);
	t = open_talk(fd);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	CHECK(pthread_mutex_init(&t->mutex, &ma) == 0);
	CHECK(pthread_cond_init(&t->turn, &ca) == 0);
	child = fork();
	if (child == 0) {
		execl(self, self, "answer", dir, NULL);
		_exit(127);
	}
	for (int i = 0; i < 999; i++) {
		CHECK(pthread_mutex_lock(&t->mutex) == 0);
		t->who = 1;
		pthread_cond_broadcast(&t->turn);
		while (t->who != 0)
			pthread_cond_wait(&t->turn, &t->mutex);
		pthread_mutex_unlock(&t->mutex);
	}
	CHECK(pthread_mutex_lock(&t->mutex) == 0);
	t->who = 1;
	pthread_cond_broadcast(&t->turn);
	pthread_mutex_unlock(&t->mutex);
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	CHECK(pthread_mutex_lock(&t->mutex) == EOWNERDEAD);
	CHECK(t->count == 1000);
	CHECK(strcmp((char *)t + 40000, "last words") == 0);
	CHECK(pread(fd, buf, 11, 40000) == 11 && strcmp(buf, "last words") == 0);
	return 0;
}

/* --- left ---------------------------------------------------------------------------------- */

static int left(void)
{
	int fd = make("left", SIZE);
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(m != MAP_FAILED);
	CHECK(ftruncate(fd, SIZE - 1) == 0 && ftruncate(fd, SIZE) == 0); /* the same file all the same */
	memcpy(m + 5000, "synced", 7);
	CHECK(msync(m, SIZE, MS_SYNC) == 0);
	memcpy(m + 1000000, "unsent", 7);
	kill(getpid(), SIGKILL);
	return 1;
}

static int found(void)
{
	char buf[8];
	int fd = open(at("left"), O_RDONLY);

	CHECK(pread(fd, buf, 7, 5000) == 7 && strcmp(buf, "synced") == 0);
	CHECK(pread(fd, buf, 7, 1000000) == 7 && strcmp(buf, "unsent") == 0);
	return 0;
}

/* --- A large file -------------------------------------------------------------------------- */

/* Each page that was written begins with its number; the others are zeros. */
static uint64_t begins_with(uint64_t page, uint64_t stride)
{
	return page % stride ? 0 : page + 1;
}

static int build(uint64_t mib, uint64_t stride)
{
	int fd = open(at("large"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	uint64_t *buf = calloc(1, 1 << 20), n_pages = mib << 8;

	CHECK(ftruncate(fd, (off_t)(mib << 20)) == 0);
	for (uint64_t page = 0; page < n_pages; page += stride) {
		uint64_t n = stride == 1 ? 256 : 1;

		for (uint64_t k = 0; k < n; k++)
			buf[k * 512] = page + k + 1;
		CHECK(pwrite(fd, buf, n << 12, (off_t)(page << 12)) == (ssize_t)(n << 12));
		page += n - 1;
	}
	return 0;
}

/* type: r, read-only shared; p, private; w, writable shared. */
static int large(char type, uint64_t stride)
{
	int fd = open(at("large"), type == 'w' ? O_RDWR : O_RDONLY);
	struct stat st;
	uint64_t n_pages, *m, x = 1;

	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	m = mmap(NULL, (size_t)st.st_size, type == 'r' ? PROT_READ : PROT_READ | PROT_WRITE,
		 type == 'p' ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	n_pages = (uint64_t)st.st_size >> 12;
	for (uint64_t page = 0; page < n_pages; page++) {
		CHECK(m[page * 512] == begins_with(page, stride));
		if (type == 'w')
			m[page * 512 + 7] = ~page;
		if (type == 'p' && page % 97 == 0)
			m[page * 512 + 7] = ~page;
	}
	for (int i = 0; i < 3000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t page = (x >> 20) % n_pages;
		bool stored = type == 'w' || (type == 'p' && page % 97 == 0);

		CHECK(m[page * 512] == begins_with(page, stride));
		CHECK(!stored || m[page * 512 + 7] == ~page);
		CHECK(type != 'p' || stored || m[page * 512 + 7] != ~page);
	}
	if (type != 'w')
		return 0;
	munmap(m, (size_t)st.st_size);
	for (uint64_t page = 0; page < n_pages; page += 13) {
		uint64_t pair[8];

		CHECK(pread(fd, pair, 64, (off_t)(page << 12)) == 64);
		CHECK(pair[0] == begins_with(page, stride) && pair[7] == ~page);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	dir = argv[2];
	if (!strcmp(what, "calls"))
		return calls();
	if (!strcmp(what, "forks"))
		return forks();
	if (!strcmp(what, "grow"))
		return grow();
	if (!strcmp(what, "threads"))
		return threads();
	if (!strcmp(what, "talk"))
		return talk(argv[0]);
	if (!strcmp(what, "answer"))
		return answer();
	if (!strcmp(what, "left"))
		return left();
	if (!strcmp(what, "found"))
		return found();
	if (!strcmp(what, "large"))
		return large(argv[3][0], strtoull(argv[4], NULL, 0));
	if (!strcmp(what, "build"))
		return build(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	return 2;
}
