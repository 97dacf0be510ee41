/* Calls that need C, in the directory of argument 1: "calls" prints what it saw (the same lines must
 * come from a local directory), "threads", "signals" and "vforked" check themselves. It is long because
 * it is a list of calls. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "preload_show.h"

static int make(const char *name, const char *text)
{
	int fd = open(at(name), O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	return fd;
}

static void descriptors(void)
{
	int fd = make("fd", "0123456789abcdef"), copy, other;
	struct iovec iov[2];
	char a[4], b[8];
	int n = -1;

	SHOW(lseek(fd, 4, SEEK_SET));
	SHOW((copy = dup(fd)) == fd + 1);
	SHOW(read(copy, a, 4));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(dup2(fd, 60));
	SHOW(lseek(60, 2, SEEK_CUR));
	SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 70));
	SHOW(fcntl(70, F_GETFD));
	SHOW(lseek(70, 0, SEEK_CUR));
	SHOW(close(60));
	SHOW(read(60, a, 1));
	iov[0] = (struct iovec){ a, 4 };
	iov[1] = (struct iovec){ b, 8 };
	SHOW(preadv(fd, iov, 2, 2));
	printf("%.4s %.8s\n", a, b);
	SHOW(preadv2(fd, iov, 2, -1, 0));
	SHOW(preadv(fd, iov, -1, 0));
	SHOW(readv(fd, (void *)1, 1));
	SHOW(read(fd, (void *)1, 4));
	SHOW(pread(fd, (void *)1, 4, 0));
	SHOW(write(fd, (void *)1, 4));
	SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	SHOW(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
	SHOW(fcntl(copy, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(write(copy, "XY", 2));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(lseek(fd, -100, SEEK_CUR));
	SHOW(lseek(fd, -3, SEEK_END));
	SHOW(ioctl(fd, FIONREAD, &n));
	printf("FIONREAD %d\n", n);
	SHOW(isatty(fd));
	SHOW(errno);
	SHOW(ioctl(fd, TIOCGWINSZ, b));
	SHOW(lseek(fd, 0, 77));
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	SHOW(posix_fadvise(fd, 0, 0, 99));
	SHOW(ftruncate(fd, -1));
	SHOW(ftruncate(fd, 100));
	SHOW(pread(fd, b, 8, 90));
	printf("%d\n", b[0]);
	SHOW(posix_fallocate(fd, 0, 200));
	SHOW(lseek(fd, 0, SEEK_END));
	SHOW(lseek(fd, 500, SEEK_DATA));
	SHOW(fsync(fd));
	SHOW(close_range(70, 80, 0));
	SHOW(fcntl(70, F_GETFD));
	other = open(at("fd"), O_RDONLY);
	SHOW(write(other, "x", 1));
	SHOW(ftruncate(other, 1));
	SHOW(close(other));
	SHOW(close(other));
	other = open(at("fd"), O_WRONLY);
	SHOW(read(other, b, 1));
	SHOW(mmap(NULL, 10, PROT_READ, MAP_PRIVATE, other, 0));
	close(other);
	other = open(at("fd"), O_PATH);
	SHOW(read(other, b, 1));
	SHOW(fstatat(other, "", &(struct stat){ 0 }, AT_EMPTY_PATH));
	close(other);
	SHOW(open("/dev/fd/99", O_RDONLY));
	SHOW((n = open("/dev/stdin", O_RDONLY)) >= 0 || errno == ENXIO);
	close(n);
	close(copy);
	close(fd);
}

static void bad_pointers(void)
{
	char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct stat st;
	int fd = open(at("fd"), O_RDWR);

	munmap(edge + 4096, 4096);
	memset(edge, 'x', 4096);
	SHOW(open(none, O_RDONLY));
	SHOW(open(edge, O_RDONLY));
	SHOW(open((char *)-1, O_RDONLY));
	SHOW(stat(none, &st));
	SHOW(stat(at("fd"), (struct stat *)none));
	SHOW(fstat(fd, (struct stat *)none));
	SHOW(access(none, R_OK));
	SHOW(mkdir(none, 0755));
	SHOW(rename(at("fd"), none));
	SHOW(rename(none, at("fd")));
	SHOW(symlink(none, at("sl")));
	SHOW(unlink(none));
	SHOW(chdir(none));
	SHOW(read(fd, none, 10));
	SHOW(write(fd, none, 10));
	SHOW(pread(fd, edge + 4090, 100, 0) <= 6);
	SHOW(readv(fd, (struct iovec *)none, 2));
	SHOW(utimensat(AT_FDCWD, at("fd"), (struct timespec *)none, 0));
	SHOW(fcntl(fd, F_GETLK, none));
	close(fd);
	munmap(edge, 4096);
	munmap(none, 4096);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int walked[8];
static int on_entry(const char *p, const struct stat *st, int type, struct FTW *f)
{
	walked[type]++;
	walked[7] += f->level * 100 + (p[f->base] != '\0');
	return 0;
}

static void directories(void)
{
	struct dirent **list, *e;
	char buf[8192], name[64], cwd[PATH_MAX];
	long place[64], n = 0, bytes, total = 0;
	glob_t g;
	DIR *d;
	int fd, k;

	mkdir(at("d"), 0755);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "d/file-%02d", i);
		close(make(name, "x"));
	}
	mkdir(at("d/sub"), 0755);
	d = opendir(at("d"));
	while ((e = readdir(d)))
		place[n++] = telldir(d);
	SHOW(n);
	rewinddir(d);
	for (k = 0; k < 10; k++)
		e = readdir(d);
	snprintf(name, sizeof name, "%s", (e = readdir(d))->d_name);
	seekdir(d, place[9]);
	SHOW(strcmp(readdir(d)->d_name, name));
	SHOW(fstatat(dirfd(d), "file-03", &(struct stat){ 0 }, 0));
	SHOW(fchdir(dirfd(d)));
	SHOW(access("file-07", R_OK));
	SHOW(getcwd(cwd, sizeof cwd) == cwd);
	SHOW(strcmp(cwd + strlen(dir), "/d"));
	SHOW(getcwd(cwd, 3) == NULL);
	SHOW(errno == ERANGE);
	SHOW(chdir(".."));
	SHOW(access("d/file-07", R_OK));
	SHOW(chdir("nowhere"));
	SHOW(chdir("d/file-07"));
	SHOW(chdir("/"));
	SHOW(closedir(d));
	SHOW(opendir(at("d/file-01")) == NULL);
	SHOW(errno);
	fd = open(at("d"), O_RDONLY | O_DIRECTORY);
	while ((bytes = syscall(SYS_getdents64, fd, buf, 300)) > 0)
		for (char *p = buf; p < buf + bytes; p += *(unsigned short *)(p + 16))
			total++;
	SHOW(total);
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(syscall(SYS_getdents64, fd, buf, sizeof buf) > 1000);
	SHOW(read(fd, buf, 10) == -1); /* EISDIR, but EINVAL on some kernels */
	SHOW(mmap(NULL, 10, PROT_READ, MAP_PRIVATE, fd, 0));
	d = fdopendir(fd);
	rewinddir(d);
	for (n = 0; readdir(d); n++)
		;
	SHOW(n);
	closedir(d);
	n = scandir(at("d"), &list, no_dots, compare_names);
	printf("%ld %s %s\n", n, list[0]->d_name, list[n - 1]->d_name);
	SHOW(glob(at("d/file-1*"), 0, NULL, &g));
	SHOW(g.gl_pathc);
	globfree(&g);
	SHOW(glob(at("*/sub"), GLOB_ONLYDIR, NULL, &g));
	SHOW(g.gl_pathc);
	globfree(&g);
	SHOW(nftw(at("d"), on_entry, 10, FTW_PHYS | FTW_DEPTH));
	for (k = 0; k < 8; k++)
		printf("%d ", walked[k]);
	SHOW(rmdir(at("d")));
	SHOW(unlink(at("d/sub")) == -1);
	SHOW(remove(at("d/sub")));
	SHOW(remove(at("d/file-00")));
	SHOW(mkdir(at("d/file-01/x"), 0755));
	SHOW(mkdir(at("none/x"), 0755));
	SHOW(realpath(at("d/../d/./file-01"), cwd) == cwd);
	printf("%s\n", cwd + strlen(dir));
	SHOW(realpath(at("d/none"), cwd) == NULL);
}

static void streams(void)
{
	char line[256], *more = NULL;
	size_t room = 0;
	FILE *f = fopen(at("stream"), "w+"), *g;
	int fd;

	SHOW(fprintf(f, "line %d\n", 1));
	SHOW(fputs("line 2\nline 3\n", f));
	SHOW(ftell(f));
	rewind(f);
	SHOW(fgets(line, sizeof line, f) == line);
	SHOW(getline(&more, &room, f));
	SHOW(fgetc(f));
	SHOW(ungetc('L', f));
	SHOW(fgetc(f));
	SHOW(fseek(f, -3, SEEK_END));
	SHOW(fread(line, 1, 10, f));
	SHOW(feof(f) != 0);
	SHOW(lseek(fileno(f), 0, SEEK_CUR));
	SHOW(fclose(f));
	f = fopen(at("stream"), "a");
	SHOW(fputs("appended\n", f));
	SHOW(fclose(f));
	f = fopen(at("stream"), "r");
	SHOW(fputs("no", f));
	SHOW(fscanf(f, "line %d", &fd));
	fd = dup(fileno(f));
	SHOW(fclose(f));
	lseek(fd, 7, SEEK_SET);
	f = fdopen(fd, "r");
	SHOW(fgets(line, sizeof line, f) == line);
	printf("%s", line);
	SHOW(fdopen(fileno(f), "w") == NULL);
	g = freopen(at("fd"), "r", f);
	SHOW(g == f);
	SHOW(fgetc(f));
	fclose(f);
	SHOW(fopen(at("stream"), "wx") == NULL);
	SHOW(errno);
	SHOW(fopen(at("none/x"), "r") == NULL);
	f = fopen(at("big"), "w");
	for (int i = 0; i < 100000; i++)
		fprintf(f, "%d\n", i);
	SHOW(ftell(f));
	SHOW(fclose(f));
	f = fopen(at("big"), "r");
	for (int i = 0; i < 100000; i++)
		if (!fgets(line, sizeof line, f) || atoi(line) != i)
			abort();
	SHOW(fgetc(f));
	fclose(f);
	free(more);
}

static void copies(void)
{
	int in = open(at("big"), O_RDONLY), out = open(at("copy"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	int pipes[2], other = open(at("copy2"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	off_t offset = 1000;
	char a[100], b[100];

	SHOW(pipe(pipes));
	SHOW(sendfile(out, in, &offset, 5000));
	SHOW(offset);
	SHOW(lseek(in, 0, SEEK_CUR));
	SHOW(sendfile(out, in, NULL, 700));
	SHOW(lseek(in, 0, SEEK_CUR));
	SHOW(sendfile(pipes[1], in, NULL, 100));
	SHOW(read(pipes[0], a, 100));
	offset = 588880;
	SHOW(sendfile(out, in, &offset, 5000));
	offset = 10;
	SHOW(copy_file_range(in, &offset, other, NULL, 3000, 0));
	SHOW(lseek(other, 0, SEEK_CUR));
	SHOW(copy_file_range(in, NULL, pipes[1], NULL, 10, 0));
	SHOW(copy_file_range(in, NULL, other, NULL, 10, 99));
	SHOW(pread(in, a, 100, 10));
	SHOW(pread(other, b, 100, 0));
	SHOW(memcmp(a, b, 100));
	close(in);
	close(out);
	close(other);
	close(pipes[0]);
	close(pipes[1]);
}

static void mappings(void)
{
	int fd = open(at("big"), O_RDONLY), status;
	char *m, buf[64];

	m = calloc(1, 200000);
	SHOW(read(fd, m, 100000));
	m = realloc(m, 900000);
	SHOW(m[99999]);
	SHOW(m[199999]);
	free(m);
	m = mmap(NULL, 588890, PROT_READ, MAP_SHARED, fd, 0);
	SHOW(memcmp(m, "0\n1\n2\n", 6));
	SHOW(memcmp(m + 588890 - 6, "99999\n", 6));
	SHOW(mprotect(m, 4096, PROT_READ | PROT_WRITE));
	SHOW(pkey_mprotect(m, 4096, PROT_READ, -1));
	SHOW(pkey_mprotect(m, 4096, PROT_READ | PROT_WRITE, -1));
	SHOW(pkey_mprotect(m, 4096, PROT_READ, 77));
	SHOW(msync(m, 588890, MS_SYNC));
	/* given to a system call, and read by a child */
	if (write(open("/dev/null", O_WRONLY), m, 588890) != 588890)
		abort();
	if (fork() == 0)
		_exit(memcmp(m + 4096, m + 4096, 100) ? 1 : 0);
	wait(&status);
	SHOW(status);
	SHOW(munmap(m, 588890));
	m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
	m[0] = '!';
	SHOW(pread(fd, buf, 1, 4096));
	SHOW(buf[0] != '!');
	munmap(m, 8192);
	SHOW(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 100));
	SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0));
	SHOW(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	m = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SHOW(mmap(m + 8192, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == m + 8192);
	SHOW(memcmp(m + 8192, "0\n1\n", 4));
	/* beyond the end: a fault, not zeros */
	m = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fork() == 0)
		_exit(m[800000]);
	wait(&status);
	SHOW(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	close(fd);
}

static void shared_mappings(void)
{
	int fd = open(at("sm"), O_RDWR | O_CREAT | O_TRUNC, 0644), status;
	char buf[16] = "", *m, *again;

	SHOW(ftruncate(fd, 10000));
	m = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(m + 4090, "stored here", 11);
	SHOW(pread(fd, buf, 11, 4090));
	printf("%s\n", buf);
	SHOW(pwrite(fd, "written", 7, 4094));
	printf("%.15s\n", m + 4090);
	m[9999] = '!';
	SHOW(msync(m, 10000, MS_SYNC));
	SHOW(pread(open(at("sm"), O_RDONLY), buf, 1, 9999));
	printf("%c\n", buf[0]);
	/* another mapping, forks, and a file that grows */
	again = mmap(NULL, 20000, PROT_READ, MAP_SHARED, fd, 0);
	SHOW(again[9999]);
	if (fork() == 0) {
		memcpy(m + 100, "child", 6);
		_exit(0);
	}
	wait(&status);
	printf("%s\n", m + 100);
	SHOW(pread(fd, buf, 6, 100));
	printf("%s\n", buf);
	SHOW(ftruncate(fd, 20000));
	SHOW(pwrite(fd, "tail", 5, 19000));
	printf("%s\n", again + 19000);
	SHOW(munmap(again, 20000));
	m = mremap(m, 10000, 20000, MREMAP_MAYMOVE);
	printf("%s %s\n", m + 100, m + 19000);
	m[19999] = '.';
	memset(m + 12288, 'x', 100);
	SHOW(fsync(fd));
	SHOW(close(fd));
	m[0] = '0';
	SHOW(munmap(m, 20000));
	fd = open(at("sm"), O_RDONLY);
	SHOW(lseek(fd, 0, SEEK_END));
	SHOW(pread(fd, buf, 1, 0));
	SHOW(pread(fd, buf + 1, 1, 19999));
	SHOW(pread(fd, buf + 2, 2, 12386));
	printf("%c %c %d %d\n", buf[0], buf[1], buf[2], buf[3]);
	close(fd);
	/* left to the end of the process */
	if (fork() == 0) {
		fd = open(at("sm"), O_RDWR);
		m = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		memcpy(m + 5000, "at exit", 8);
		exit(0);
	}
	wait(&status);
	fd = open(at("sm"), O_RDONLY);
	SHOW(pread(fd, buf, 8, 5000));
	printf("%s\n", buf);
	close(fd);
}

static void attributes(void)
{
	struct stat st, st2;
	char buf[100];
	int fd = open(at("fd"), O_RDWR);
	struct timespec times[2] = { { 1000000000, 123456000 }, { 1100000000, 654321000 } };

	SHOW(fchmod(fd, 0600));
	SHOW(fstat(fd, &st));
	SHOW(st.st_mode);
	SHOW(stat(at("fd"), &st2) == 0 && st.st_ino == st2.st_ino && st.st_dev == st2.st_dev);
	SHOW(futimens(fd, times));
	fstat(fd, &st);
	printf("%ld %ld %ld %ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
	       st.st_mtim.tv_nsec);
	SHOW(utimensat(AT_FDCWD, at("none"), times, 0));
	times[0].tv_nsec = -5;
	SHOW(futimens(fd, times));
	SHOW(fsetxattr(fd, "user.test", "value", 5, 0));
	SHOW(getxattr(at("fd"), "user.test", buf, 100));
	printf("%.5s\n", buf);
	SHOW(getxattr(at("fd"), "user.test", buf, 2));
	SHOW(listxattr(at("fd"), buf, 100));
	SHOW(removexattr(at("fd"), "user.test"));
	SHOW(fgetxattr(fd, "user.test", buf, 100));
	SHOW(getxattr(at("fd"), "user.test", buf, 100));
	SHOW(fpathconf(fd, _PC_NAME_MAX));
	SHOW(mkfifo(at("fifo"), 0600) == 0 || errno == EPERM);
	unlink(at("fifo"));
	SHOW(access(at("fd"), R_OK | W_OK));
	SHOW(access(at("none"), F_OK));
	SHOW(euidaccess(at("fd"), R_OK));
	SHOW(open(at("fd"), O_RDONLY | O_DIRECTORY));
	SHOW(open(at("d"), O_WRONLY));
	SHOW(open(dir, O_TMPFILE | O_RDWR, 0600) >= 0 || errno == EOPNOTSUPP);
	close(fd);
}

/* --- Checks of their own ------------------------------------------------------------------- */

#define N_THREADS 1000

static void *thread_main(void *arg)
{
	static _Thread_local char p[PATH_MAX];
	long k = (long)arg;
	char buf[64], want[64];

	snprintf(p, sizeof p, "%s/thread-%ld", dir, k % 100);
	snprintf(want, sizeof want, "content of %ld", k % 100);
	for (int i = 0; i < 5; i++) {
		int fd = open(p, O_RDONLY);

		memset(buf, 0, sizeof buf);
		if (fd < 0 || read(fd, buf, sizeof buf) != (ssize_t)strlen(want) ||
		    strcmp(buf, want) != 0 || close(fd) < 0) {
			fprintf(stderr, "thread %ld: fd %d [%s] %s\n", k, fd, buf, strerror(errno));
			exit(1);
		}
	}
	return NULL;
}

static int many_threads(void)
{
	static pthread_t threads[N_THREADS];
	char name[32], text[64];
	pthread_attr_t small;

	for (long i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "thread-%ld", i);
		snprintf(text, sizeof text, "content of %ld", i);
		close(make(name, text));
	}
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	for (long i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i], &small, thread_main, (void *)i))
			return 1;
	/* and forks in the middle of it */
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			thread_main((void *)(long)i);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	for (long i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static volatile long handled, refused;
static int handler_fd;

static void on_alarm(int number)
{
	int saved = errno;
	char buf[6];
	ssize_t n = pread(handler_fd, buf, 6, 0);

	if (n == 6 && memcmp(buf, "signal", 6) == 0)
		handled++;
	else if (n == -1 && errno == EDEADLK)
		refused++;
	else
		_exit(3);
	errno = saved;
}

static int signals(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	static char data[300000], buf[300000];
	int fd;

	handler_fd = make("signal", "signal");
	memset(data, 'd', sizeof data);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 300; i++) {
		fd = open(at("data"), O_RDWR | O_CREAT | O_TRUNC, 0644);
		if (fd < 0 || write(fd, data, sizeof data) != sizeof data ||
		    pread(fd, buf, sizeof buf, 0) != sizeof buf || memcmp(data, buf, sizeof data) ||
		    close(fd) < 0) {
			fprintf(stderr, "round %d: %s\n", i, strerror(errno));
			return 1;
		}
	}
	fprintf(stderr, "%ld handled, %ld refused\n", handled, refused);
	return handled > 0 ? 0 : 1;
}

/* Descriptor 7 came over exec and nobody has looked at it yet. What a vfork child makes of its own 7 is
 * nothing to its parent. */
static int vforked(void)
{
	char buf[9] = "";
	int status, other = open("/dev/null", O_RDWR);
	pid_t child = vfork();

	if (child == 0) {
		dup2(other, 7);
		_exit(write(7, "x", 1) == 1 && fcntl(7, F_GETFD) >= 0 ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		return 1;
	return pread(7, buf, 8, 0) == 8 && strcmp(buf, "embedded") == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
	dir = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[1], "threads") == 0)
		return many_threads();
	if (strcmp(argv[1], "signals") == 0)
		return signals();
	if (strcmp(argv[1], "vforked") == 0)
		return vforked();
	descriptors();
	bad_pointers();
	directories();
	streams();
	copies();
	mappings();
	shared_mappings();
	attributes();
	return 0;
}
