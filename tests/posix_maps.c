/* Mappings: what mmap and its relatives say to wrong arguments, and what right ones do to the file. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>

#define PAGE 4096ul

/* An address is its own: only whether there is one counts. */
static char *shown(const char *what, void *p)
{
	say("%s: %s", what, p == MAP_FAILED ? strerrorname_np(errno) : "mapped");
	return p;
}
#define MAP(...) (errno = 0, shown("mmap(" #__VA_ARGS__ ")", (mmap)(__VA_ARGS__)))
#define REMAP(...) (errno = 0, shown("mremap(" #__VA_ARGS__ ")", (mremap)(__VA_ARGS__)))

static sigjmp_buf back;

static void on_fault(int number)
{
	siglongjmp(back, number);
}

/* What a touch comes to. */
static void touch(const char *what, char *p, bool store)
{
	int fault;

	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	fault = sigsetjmp(back, 1);
	if (fault == 0) {
		if (store)
			*(volatile char *)p = 'T';
		else
			(void)*(volatile char *)p;
	}
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	say("  %s %s: %s", store ? "store to" : "load of", what, fault ? sigabbrev_np(fault) : "fine");
}

static int pages(const char *name, int n)
{
	int fd = make(name, "");
	char page[PAGE];

	for (int i = 0; i < n; i++) {
		memset(page, 'a' + i, sizeof page);
		if ((pwrite)(fd, page, sizeof page, i * (off_t)sizeof page) != (ssize_t)sizeof page)
			abort();
	}
	return fd;
}

CASE(maps_arguments)
{
	static const int types[] = { 0, MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, 4, 0xf };
	static const int more[] = { 0, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE,
				    MAP_NONBLOCK, MAP_STACK, MAP_SYNC, MAP_32BIT, 1 << 26, MAP_GROWSDOWN };
	int fd = pages("f", 3), rd = (open)(P("f"), O_RDONLY), wr = (open)(P("f"), O_WRONLY);
	int path = (open)(P("f"), O_PATH), dir = (open)(P(""), O_RDONLY | O_DIRECTORY);

	for (size_t t = 0; t < sizeof types / sizeof *types; t++)
		for (size_t m = 0; m < sizeof more / sizeof *more; m++) {
			void *p = (mmap)(NULL, PAGE, PROT_READ, types[t] | more[m], fd, 0);

			say("type %d and %#x: %s", types[t], more[m],
			    p == MAP_FAILED ? strerrorname_np(errno) : "mapped");
			if (p != MAP_FAILED)
				(munmap)(p, PAGE);
		}
	for (int prot = 0; prot < 8; prot++) {
		say("protection %d", prot);
		MAP(NULL, PAGE, prot, MAP_SHARED, fd, 0);
		MAP(NULL, PAGE, prot, MAP_SHARED, rd, 0);
		MAP(NULL, PAGE, prot, MAP_SHARED, wr, 0);
		MAP(NULL, PAGE, prot, MAP_PRIVATE, rd, 0);
		MAP(NULL, PAGE, prot, MAP_PRIVATE, wr, 0);
		MAP(NULL, PAGE, prot, MAP_PRIVATE, path, 0);
		MAP(NULL, PAGE, prot, MAP_PRIVATE, dir, 0);
	}
	MAP(NULL, 0, PROT_READ, MAP_SHARED, fd, 0);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 1);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, -(off_t)PAGE);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, INT64_MAX & ~(off_t)(PAGE - 1));
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 1l << 40);
	MAP(NULL, (size_t)-1, PROT_READ, MAP_SHARED, fd, 0);
	MAP(NULL, 1ul << 47, PROT_READ, MAP_SHARED, fd, 0);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, 99, 0);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, -1, 0);
	MAP((void *)1, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	MAP((void *)0xffff800000000000ul, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	MAP((void *)1, PAGE, PROT_READ, MAP_SHARED, fd, 0); /* a hint */
	MAP(NULL, 0, PROT_READ, MAP_SHARED, 99, 1);
	MAP(NULL, 0, PROT_READ, 0, wr, 1);
	MAP(NULL, PAGE, 0x40, MAP_SHARED, fd, 0);
}

CASE(maps_fixed)
{
	int fd = pages("f", 4);
	char *base = (mmap)(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	p = MAP(base + PAGE, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, PAGE);
	say("there %d, %c %c", p == base + PAGE, p[0], p[PAGE]);
	p = MAP(base + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	R((munmap)(base + 6 * PAGE, PAGE));
	p = MAP(base + 6 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 3 * PAGE);
	say("there %d, %c", p == base + 6 * PAGE, p[0]);
	p = MAP(base + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0); /* over the second */
	say("%c %c", base[PAGE], base[2 * PAGE]);
	p = MAP(base + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
	say("%d", p[0]);
	R((munmap)(base, 8 * PAGE));
	R((munmap)(base, 8 * PAGE));
	R((munmap)(base + 1, PAGE));
	R((munmap)(base, 0));
	contents("f");
}

CASE(maps_protection)
{
	int fd = pages("f", 3), rd = (open)(P("f"), O_RDONLY);
	char *shared = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *ro = (mmap)(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, rd, 0);
	char *own = (mmap)(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE, rd, 0);

	R(mprotect(ro, PAGE, PROT_READ | PROT_WRITE));
	R(mprotect(ro + PAGE, PAGE, PROT_WRITE));
	R(mprotect(ro, PAGE, PROT_NONE));
	touch("none", ro, false);
	R(mprotect(ro, PAGE, PROT_READ));
	touch("read again", ro, false);
	touch("read only", ro, true);
	R(mprotect(own, PAGE, PROT_READ | PROT_WRITE));
	touch("own", own, true);
	touch("own, the second", own + PAGE, true);
	R(mprotect(shared + PAGE, PAGE, PROT_READ));
	touch("first", shared, true);
	touch("second", shared + PAGE, true);
	touch("third", shared + 2 * PAGE, true);
	R(mprotect(shared + 1, PAGE, PROT_READ));
	R(mprotect(shared, 0, PROT_READ));
	R(mprotect(shared, PAGE, 0x1000));
	R(mprotect(shared, PAGE, PROT_GROWSDOWN | PROT_READ));
	R(mprotect(shared, PAGE, PROT_GROWSDOWN | PROT_GROWSUP | PROT_READ));
	R((munmap)(ro + PAGE, PAGE));
	R(mprotect(ro, 3 * PAGE, PROT_READ));
	R(mprotect(ro, (size_t)-1, PROT_READ));
	R(msync(shared, 3 * PAGE, MS_SYNC));
	contents("f");
}

CASE(maps_sync)
{
	int fd = pages("f", 3);
	char *p = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c = 0;
	char *own = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	p[5] = 'X';
	R(pread(fd, &c, 1, 5));
	say("%c", c);
	R(msync(p, PAGE, MS_ASYNC));
	R(msync(p, PAGE, MS_SYNC));
	R(msync(p, PAGE, 0));
	R(msync(p, PAGE, MS_INVALIDATE));
	R(msync(p, PAGE, MS_SYNC | MS_INVALIDATE));
	R(msync(p, PAGE, MS_SYNC | MS_ASYNC));
	R(msync(p, PAGE, 0x100));
	R(msync(p + 1, PAGE, MS_SYNC));
	R(msync(p, 0, MS_SYNC));
	R(msync(p, (size_t)-1, MS_SYNC));
	R(msync(p, 3 * PAGE, MS_SYNC));
	R((munmap)(p + PAGE, PAGE));
	p[2 * PAGE] = 'Y';
	R(msync(p, 3 * PAGE, MS_SYNC));
	R(msync(p + PAGE, PAGE, MS_SYNC));
	own[7] = 'P';
	R(msync(own, 3 * PAGE, MS_SYNC));
	contents("f");
	R(mlock(p, PAGE));
	R(msync(p, PAGE, MS_INVALIDATE));
	R(munlock(p, PAGE));
	R(msync(p, PAGE, MS_INVALIDATE));
}

CASE(maps_memory)
{
	int fd = pages("f", 3);
	char *p = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *own = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	unsigned char core_map[4];

	touch("all", p, false), touch("all", p + PAGE, false), touch("all", p + 2 * PAGE, false);
	R(mincore(p, 3 * PAGE, core_map));
	say("%d %d %d", core_map[0] & 1, core_map[1] & 1, core_map[2] & 1);
	R(mincore(p + 1, PAGE, core_map));
	R(mincore(p, PAGE, (void *)1));
	R(mincore(p, 1ul << 46, core_map));
	R(mlock(p, 3 * PAGE));
	R(munlock(p, 3 * PAGE));
	R(mlock2(own, PAGE, MLOCK_ONFAULT));
	R(mlock2(own, PAGE, 77));
	R(madvise(p, 3 * PAGE, MADV_NORMAL));
	R(madvise(p, 3 * PAGE, MADV_RANDOM));
	R(madvise(p, 3 * PAGE, MADV_SEQUENTIAL));
	R(madvise(p, 3 * PAGE, MADV_WILLNEED));
	R(madvise(p, 3 * PAGE, MADV_DONTFORK));
	R(madvise(p, 3 * PAGE, MADV_DOFORK));
	R(madvise(p, 3 * PAGE, MADV_DONTDUMP));
	R(madvise(p, 3 * PAGE, MADV_DODUMP));
	R(madvise(p, 3 * PAGE, MADV_COLD));
	R(madvise(p, PAGE, MADV_POPULATE_READ));
	R(madvise(p, PAGE, MADV_POPULATE_WRITE));
	R(madvise(own, PAGE, MADV_FREE));
	R(madvise(p, PAGE, MADV_WIPEONFORK));
	R(madvise(p, 3 * PAGE, 4711));
	R(madvise(p, 0, MADV_DONTNEED));
	R(madvise(p, (size_t)-1, MADV_DONTNEED));
	p[0] = 'S', own[PAGE] = 'P';
	R(madvise(p, 3 * PAGE, MADV_DONTNEED));
	R(munlock(own, PAGE));
	R(madvise(own, 3 * PAGE, MADV_DONTNEED));
	say("shared %c, private %c", p[0], own[PAGE]);
	R((munmap)(p + PAGE, PAGE));
	R(madvise(p, 3 * PAGE, MADV_WILLNEED));
	R(madvise(p, 3 * PAGE, MADV_DONTNEED));
	R(mincore(p, 3 * PAGE, core_map));
	R(mlock(p, 3 * PAGE));
	contents("f");
}

CASE(maps_grow_and_move)
{
	int fd = pages("f", 6);
	char *p = (mmap)(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE), *q, *to;
	char *fixed = (mmap)(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	q = REMAP(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	say("%c %c", q[0], q[3 * PAGE]);
	to = REMAP(q, 4 * PAGE, 2 * PAGE, 0);
	say("%d %c", to == q, q[PAGE]);
	to = REMAP(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed);
	say("%d %c %c", to == fixed, to[0], to[PAGE]);
	to[5] = 'M';
	R(msync(to, 2 * PAGE, MS_SYNC));
	REMAP(to, 2 * PAGE, PAGE, MREMAP_FIXED, fixed + 3 * PAGE);
	REMAP(to, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed + PAGE); /* they overlap */
	REMAP(to, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed + 2 * PAGE + 1);
	REMAP(to + 1, PAGE, PAGE, 0);
	REMAP(to, 2 * PAGE, 0, 0);
	REMAP(to, 2 * PAGE, 2 * PAGE, 0x40);
	REMAP(to, 20 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
	q = REMAP(to, 0, 2 * PAGE, MREMAP_MAYMOVE); /* once more */
	if (q != MAP_FAILED) {
		q[6] = 'N';
		say("%c", to[6]);
	}
	q = (mmap)(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	R((munmap)(q, PAGE));
	REMAP(q, PAGE, PAGE, MREMAP_MAYMOVE);
	contents("f");
}

/* Behind the end, and when the end moves. */
CASE(maps_end)
{
	int fd = make("f", "0123456789");
	char *p = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *own = (mmap)(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *beyond = (mmap)(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 64 * PAGE), buf[16] = "";
	int empty = make("e", "");
	char *none = (mmap)(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);

	say("%d %d", p[10], p[4095]);
	touch("the last page's rest", p + 20, true);
	touch("behind it", p + PAGE, false);
	touch("behind it, private", own + PAGE, false);
	touch("far behind", beyond, false);
	touch("an empty file", none, false);
	touch("an empty file", none, true);
	R(write(fd, p + PAGE, 4));
	R(pread(fd, p + PAGE, 4, 0));
	facts("f");
	R((ftruncate)(fd, 2 * PAGE));
	touch("grown", p + PAGE, true);
	R(pread(fd, buf, 8, 16));
	if (kernel_since(6, 13)) /* earlier ones have what was stored there */
		say("behind the old end: %d %d", buf[4], buf[5]);
	R((ftruncate)(empty, 5));
	touch("no longer empty", none, true);
	contents("e");
	R((ftruncate)(fd, 5));
	touch("cut", p + PAGE, false);
	touch("kept", p, false);
	R((ftruncate)(fd, 2 * PAGE));
	say("%d %d", p[4], p[5]);
	touch("grown again", p + PAGE, false);
	contents("f");
	R((unlink)(P("f")));
	touch("unlinked", p, true);
	R((close)(fd));
	touch("closed", p, false);
	R(msync(p, 2 * PAGE, MS_SYNC));
	say("%c", p[0]);
}

/* A mapping is the file: whoever writes, all see it; a private one sees until it is stored to. */
CASE(maps_views)
{
	int fd = pages("f", 2), status;
	char *a = (mmap)(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *b = (mmap)(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, (open)(P("f"), O_RDONLY), 0);
	char *own = (mmap)(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), c[4] = "";
	pid_t pid;

	a[1] = '1';
	R(pread(fd, c, 2, 0));
	say("%s %c", c, b[1]);
	R(pwrite(fd, "2", 1, 2));
	say("%c %c", a[2], b[2]);
	own[3] = '3';
	R(pwrite(fd, "4", 1, 3));
	say("%c %c", own[3], a[3]);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		a[4] = '5';
		own[4] = '6';
		_exit(0);
	}
	(waitpid)(pid, &status, 0);
	say("%c %c %c", a[4], b[4], own[4] == '6' ? '!' : '-');
	R((close)(fd));
	a[5] = '7';
	R(write(1, "", 0));
	fd = (open)(P("f"), O_RDONLY);
	R(pread(fd, c, 1, 5));
	say("%s", c);
	R((long)(write)((open)(P("g"), O_WRONLY | O_CREAT, 0644), a, 2 * PAGE));
	R((rename)(P("f"), P("h")));
	a[6] = '8';
	R((munmap)(a, 2 * PAGE));
	contents("g");
	contents("h");
}

IN_CHILD(maps_file_size_limit)
{
	struct rlimit limit = { PAGE, RLIM_INFINITY };
	int fd = pages("f", 4);
	char *p = (mmap)(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q;

	R(setrlimit(RLIMIT_FSIZE, &limit));
	p[PAGE + 1] = 'L'; /* no limit of stores */
	R(msync(p, 4 * PAGE, MS_SYNC));
	contents("f");
	q = MAP(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	say("%c %c", q[0], q[3 * PAGE]);
	fd = pages("g", 1);
	(close)(pages("h", 1));
	q = MAP(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q[5] = 'G';
	R((munmap)(q, PAGE));
	contents("g");
	R(getrlimit(RLIMIT_FSIZE, &limit));
	say("%ld", (long)limit.rlim_cur);
}

IN_CHILD(maps_address_limit)
{
	struct rlimit limit = { 1ul << 32, 1ul << 32 };
	int fd = make("f", "");

	R((ftruncate)(fd, 1l << 36));
	R(setrlimit(RLIMIT_AS, &limit));
	MAP(NULL, 1ul << 35, PROT_READ, MAP_SHARED, fd, 0);
	MAP(NULL, 1ul << 35, PROT_READ, MAP_PRIVATE, fd, 0);
	MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
}
