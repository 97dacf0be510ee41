/* A static program's view of a tree: prints what each call on it gives, so that a local directory and
 * ff3fs can be compared. Usage: static_calls DIR, where DIR has "numbers", "random", "sub/" and
 * "link" -> "numbers". */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *top;

static const char *at(const char *name)
{
	static _Thread_local char path[4096];

	snprintf(path, sizeof path, "%s/%s", top, name);
	return path;
}

static void result(const char *what, long r)
{
	printf("%s: %ld %s\n", what, r, r < 0 ? strerror(errno) : "");
}

static unsigned long sum(const unsigned char *p, size_t n)
{
	unsigned long s = 0;

	while (n--)
		s = s * 31 + *p++;
	return s;
}

static void files(void)
{
	static unsigned char buf[1 << 20];
	int fd = open(at("random"), O_RDONLY), copy;
	struct stat st, named;
	void *m;
	ssize_t n;

	n = read(fd, buf, 1000);
	printf("read %zd %lx\n", n, sum(buf, (size_t)n));
	result("lseek", lseek(fd, -100, SEEK_END));
	result("short read", read(fd, buf, 1000));
	n = pread(fd, buf, sizeof buf, 123457);
	printf("pread %zd %lx\n", n, sum(buf, (size_t)n));
	copy = dup(fd);
	lseek(copy, 7, SEEK_SET);
	printf("shared offset %ld\n", (long)lseek(fd, 0, SEEK_CUR));
	m = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 65536);
	printf("mmap %lx\n", m == MAP_FAILED ? 0 : sum(m, 65536));
	result("write", write(fd, "x", 1));
	result("fstat", fstat(fd, &st));
	stat(at("random"), &named);
	printf("%ld %o %d %d\n", (long)st.st_size, st.st_mode, st.st_ino == named.st_ino,
	       st.st_mtime == named.st_mtime);
	result("O_DIRECTORY", open(at("random"), O_RDONLY | O_DIRECTORY));
	result("O_NOFOLLOW", open(at("link"), O_RDONLY | O_NOFOLLOW));
	result("missing", open(at("missing"), O_RDONLY));
	result("below a file", open(at("numbers/x"), O_RDONLY));
	result("exclusive", open(at("numbers"), O_RDONLY | O_CREAT | O_EXCL, 0600));
	result("a bad pointer", open((char *)8, O_RDONLY));
	printf("cloexec %d\n", fcntl(open(at("numbers"), O_RDONLY | O_CLOEXEC), F_GETFD));
	n = readlink(at("link"), (char *)buf, sizeof buf);
	printf("readlink %zd %.*s\n", n, (int)n, buf);
	result("readlink of a file", readlink(at("numbers"), (char *)buf, 10));
	result("lstat", lstat(at("link"), &st));
	printf("%o %ld\n", st.st_mode & S_IFMT, (long)st.st_size);
	result("access", access(at("numbers"), R_OK));
	result("access of nothing", access(at("missing"), F_OK));
	result("faccessat", faccessat(AT_FDCWD, at("sub"), X_OK, 0));
	close(fd);
	close(copy);
}

static void directories(void)
{
	int fd = open(top, O_RDONLY | O_DIRECTORY), sub, n = 0;
	DIR *d = fdopendir(fd);
	struct dirent *e;
	struct stat st;
	long where;
	char buf[4096];

	while ((e = readdir(d)))
		n++;
	rewinddir(d);
	while (readdir(d))
		n++;
	printf("entries twice %d\n", n);
	rewinddir(d);
	readdir(d);
	where = telldir(d);
	e = readdir(d);
	snprintf(buf, sizeof buf, "%s", e->d_name);
	readdir(d);
	seekdir(d, where);
	printf("seekdir %d\n", strcmp(buf, readdir(d)->d_name) == 0);
	result("openat", sub = openat(fd, "sub", O_RDONLY | O_DIRECTORY) < 0 ? -1 : 0);
	sub = openat(fd, "sub", O_PATH | O_DIRECTORY);
	result("fstatat below it", fstatat(sub, "deep", &st, 0));
	result("fstatat ..", fstatat(sub, "../numbers", &st, 0));
	printf("size %ld\n", (long)st.st_size);
	result("fstat of a directory", fstat(fd, &st));
	printf("%o\n", st.st_mode & S_IFMT);
	result("fchdir", fchdir(sub));
	result("relative", access("deep", F_OK));
	printf("getcwd %s\n", strstr(getcwd(buf, sizeof buf), "/sub") ? "/sub" : buf);
	result("back", chdir("/"));
	printf("getcwd %s\n", getcwd(buf, sizeof buf));
	result("chdir", chdir(top));
	result("relative", access("numbers", F_OK));
	result("deeper", chdir("sub"));
	result("relative", access("../numbers", F_OK));
	if (fork() == 0)
		_exit(access("deep", F_OK) == 0 ? 7 : 8);
	wait(&n);
	printf("child %d\n", WEXITSTATUS(n));
	result("chdir to a file", chdir("../numbers"));
	result("back", chdir("/"));
	closedir(d);
}

static void *thread(void *arg)
{
	char buf[1000];
	long n = 0;

	for (int i = 0; i < 50; i++) {
		int fd = open(at(i % 2 ? "numbers" : "random"), O_RDONLY);

		n += read(fd, buf, sizeof buf);
		close(fd);
	}
	return (void *)n;
}

static void on_alarm(int signal)
{
}

/* Calls are neither lost nor repeated when signals arrive all the time. */
static void threads_and_signals(void)
{
	timer_t timer;
	struct itimerspec often = { { 0, 200000 }, { 0, 200000 } }, off = { 0 };
	pthread_t t[8];
	void *n;
	long all = 0;

	signal(SIGALRM, on_alarm);
	timer_create(CLOCK_MONOTONIC, NULL, &timer);
	timer_settime(timer, 0, &often, NULL);
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, thread, NULL);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &n);
		all += (long)n;
	}
	timer_settime(timer, 0, &off, NULL);
	printf("threads read %ld\n", all);
}

int main(int argc, char **argv)
{
	top = argv[1];
	files();
	directories();
	threads_and_signals();
	return 0;
}
