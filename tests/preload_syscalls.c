/* System calls by number on the directory of argument 2, and what each gave: the same lines must
 * come from a local directory. Argument 1 is how they are made: "libc", by syscall(3), or "inline",
 * by the instruction. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

#include "../preload/new_calls.h"

static int by_instruction;

static long inline_call(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
#ifdef __x86_64__
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
#else
	r = -ENOSYS;
#endif
	return r;
}

static long call(long n, long a, long b, long c, long d, long e, long f)
{
	long r;

	if (!by_instruction)
		return syscall(n, a, b, c, d, e, f);
	r = inline_call(n, a, b, c, d, e, f);
	if (r < 0 && r > -4096)
		return errno = (int)-r, -1;
	return r;
}
#define CALL_(n, a, b, c, d, e, f, ...)                                                            \
	call(SYS_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(n, ...) CALL_(n, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* What a call gave: its value, or its error. */
#define SHOW(what)                                                                                 \
	do {                                                                                       \
		errno = 4000;                                                                      \
		long _r = (what);                                                                  \
		printf("%s = %ld %s\n", #what, _r,                                                 \
		       _r == -1 ? strerrorname_np(errno) : errno != 4000 ? "errno changed" : "");  \
	} while (0)

static const char *dir;
static char names[16][PATH_MAX];
static const char *at(const char *name)
{
	static int k;
	char *p = names[k++ % 16];

	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}
static char buf[65536];
static struct stat st;

static void reading_and_writing(void)
{
	int fd = (int)CALL(open, at("f"), O_RDWR | O_CREAT | O_TRUNC, 0640), copy, pipes[2];
	struct iovec iov[2] = { { buf, 3 }, { buf + 100, 5 } };
	off_t offset = 2;

	SHOW(CALL(write, fd, "0123456789", 10));
	SHOW(CALL(lseek, fd, 2, SEEK_SET));
	SHOW(CALL(read, fd, buf, 4));
	printf("%.4s\n", buf);
	SHOW(CALL(pread64, fd, buf, 4, 8));
	SHOW(CALL(pwrite64, fd, "AB", 2, 4));
	SHOW(CALL(readv, fd, iov, 2));
	SHOW(CALL(preadv, fd, iov, 2, 1, 0));
	printf("%.3s %.5s\n", buf, buf + 100);
	SHOW(CALL(preadv2, fd, iov, 2, 1, 0, 0));
	SHOW(CALL(preadv2, fd, iov, 2, -1, -1, 0));
	SHOW(CALL(writev, fd, iov, 2));
	SHOW(CALL(pwritev, fd, iov, 2, 3, 0));
	SHOW(CALL(pwritev2, fd, iov, 2, 7, 0, 0));
	SHOW(CALL(ftruncate, fd, 9));
	SHOW(CALL(truncate, at("f"), 8));
	SHOW(CALL(truncate, at("none"), 8));
	SHOW(CALL(fsync, fd));
	SHOW(CALL(fdatasync, fd));
	SHOW(CALL(sync_file_range, fd, 0, 0, 0));
	SHOW(CALL(syncfs, fd));
	SHOW(CALL(fadvise64, fd, 0, 0, POSIX_FADV_WILLNEED));
	SHOW(CALL(fadvise64, fd, 0, 0, 99));
	SHOW(CALL(readahead, fd, 0, 8));
	SHOW(CALL(flock, fd, LOCK_EX | LOCK_NB));
	SHOW(CALL(flock, fd, LOCK_UN));
	SHOW(CALL(fstat, fd, &st));
	printf("%ld %o\n", (long)st.st_size, st.st_mode);
	SHOW(CALL(fchmod, fd, 0600));
	SHOW(CALL(fchown, fd, -1, -1));
	SHOW(CALL(fcntl, fd, F_GETFL) & (O_ACCMODE | O_APPEND));
	SHOW((copy = (int)CALL(dup, fd)) == fd + 1);
	SHOW(CALL(dup3, fd, 50, O_CLOEXEC));
	SHOW(CALL(fcntl, 50, F_GETFD));
	SHOW(CALL(dup3, fd, fd, 0));
	SHOW(CALL(fcntl, fd, F_DUPFD, 60));
	SHOW(CALL(lseek, 60, 5, SEEK_SET));
	SHOW(CALL(read, copy, buf, 100));
	SHOW(CALL(ioctl, copy, 0x541b /* FIONREAD */, buf));
	SHOW(CALL(close, copy));
	SHOW(CALL(close, copy));
	SHOW(CALL(read, copy, buf, 1));
	SHOW(CALL(close_range, 50, 70, 0));
	SHOW(CALL(read, 60, buf, 1));
	if (pipe2(pipes, O_NONBLOCK) == 0) {
		SHOW(CALL(sendfile, pipes[1], fd, &offset, 4));
		SHOW(CALL(splice, fd, &offset, pipes[1], 0, 2, 0));
		SHOW(CALL(read, pipes[0], buf, 100));
		printf("%.6s %ld\n", buf, (long)offset);
		close(pipes[0]);
		close(pipes[1]);
	}
	copy = (int)CALL(openat, AT_FDCWD, at("copy"), O_RDWR | O_CREAT, 0644);
	SHOW(CALL(copy_file_range, fd, &offset, copy, 0, 3, 0));
	SHOW(CALL(lseek, copy, 0, SEEK_END));
	SHOW(CALL(read, fd, 1, 1));
	SHOW(CALL(write, fd, 1, 1));
	SHOW(CALL(pread64, fd, buf, 1, -1));
	SHOW(CALL(lseek, fd, -1, SEEK_SET));
	close(copy);
	close(fd);
}

static void mapping(void)
{
	int fd = (int)CALL(open, at("map"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *p;

	SHOW(CALL(write, fd, "mapped bytes", 12));
	p = (char *)CALL(mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	printf("%s\n", p == MAP_FAILED ? "no mapping" : p);
	SHOW(CALL(mprotect, p, 4096, PROT_READ | PROT_WRITE));
	SHOW(CALL(pkey_mprotect, p, 4096, PROT_READ | PROT_WRITE, -1));
	SHOW(CALL(munmap, p, 4096));
	p = (char *)CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		memcpy(p, "stored", 6);
	SHOW(CALL(msync, p, 4096, MS_SYNC));
	SHOW(CALL(pread64, fd, buf, 12, 0));
	printf("%.12s\n", buf);
	if (p != MAP_FAILED)
		memcpy(p, "STORED", 6);
	SHOW(CALL(munmap, p, 4096));
	SHOW(CALL(pread64, fd, buf, 12, 0));
	printf("%.12s\n", buf);
	SHOW(CALL(mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 1));
	close(fd);
}

static void paths(void)
{
	struct timespec times[2] = { { 1000, 0 }, { 2000, 0 } };
	struct timeval tv[2] = { { 3000, 0 }, { 4000, 0 } };
	struct utimbuf ut = { 5000, 6000 };
	struct statfs fs;
	struct statx sx;
	int d, fd;

	SHOW(CALL(mkdir, at("d"), 0755));
	SHOW(CALL(mkdir, at("d"), 0755));
	SHOW(CALL(mkdirat, AT_FDCWD, at("d/e"), 0755));
	d = (int)CALL(open, at("d"), O_RDONLY | O_DIRECTORY);
	SHOW(CALL(mkdirat, d, "x", 0700));
	SHOW(CALL(unlinkat, d, "x", AT_REMOVEDIR));
	fd = (int)CALL(openat, d, "file", O_WRONLY | O_CREAT | O_EXCL, 0644);
	SHOW(fd >= 0);
	SHOW(CALL(openat, d, "file", O_WRONLY | O_CREAT | O_EXCL, 0644));
	SHOW(CALL(open, at("d/none"), O_RDONLY));
	SHOW(CALL(creat, at("created"), 0600) >= 0);
	SHOW(CALL(open, 1, O_RDONLY));
	SHOW(CALL(openat, 999, "x", O_RDONLY));
	SHOW(CALL(rename, at("created"), at("renamed")));
	SHOW(CALL(renameat, AT_FDCWD, at("renamed"), d, "moved"));
	SHOW(CALL(renameat2, d, "moved", d, "file", 1 /* NOREPLACE */));
	SHOW(CALL(renameat2, d, "moved", d, "again", 0));
	SHOW(CALL(link, at("f"), at("l")));
	SHOW(CALL(linkat, AT_FDCWD, at("f"), d, "l", 0));
	SHOW(CALL(symlink, "f", at("s")));
	SHOW(CALL(symlinkat, "file", d, "s"));
	SHOW(CALL(readlink, at("s"), buf, 100));
	SHOW(CALL(readlink, at("s"), buf, 0));
	SHOW(CALL(readlink, at("f"), buf, 100));
	SHOW(CALL(readlinkat, d, "s", buf, 2));
	SHOW(CALL(stat, at("s"), &st));
	printf("%o %ld\n", st.st_mode, (long)st.st_nlink);
	SHOW(CALL(lstat, at("s"), &st));
	printf("%o %ld\n", st.st_mode & S_IFMT, (long)st.st_size);
	SHOW(CALL(stat, at("none"), &st));
	SHOW(CALL(newfstatat, d, "file", &st, 0));
	SHOW(CALL(newfstatat, d, "", &st, AT_EMPTY_PATH));
	SHOW(CALL(newfstatat, d, "", &st, 0));
	SHOW(CALL(statx, d, "file", 0, STATX_BASIC_STATS, &sx));
	printf("%o %lu\n", sx.stx_mode, (long)sx.stx_size);
	SHOW(CALL(statx, d, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx));
	printf("%o\n", sx.stx_mode);
	SHOW(CALL(access, at("f"), R_OK | W_OK));
	SHOW(CALL(access, at("none"), F_OK));
	SHOW(CALL(faccessat, d, "file", R_OK));
	SHOW(CALL(faccessat2, d, "file", R_OK, 0));
	SHOW(CALL(chmod, at("f"), 0604));
	SHOW(CALL(fchmodat, d, "file", 0606));
	SHOW(CALL(newfstatat, d, "file", &st, 0));
	printf("%o\n", st.st_mode);
	SHOW(CALL(chown, at("f"), -1, -1));
	SHOW(CALL(lchown, at("s"), -1, -1));
	SHOW(CALL(fchownat, d, "file", -1, -1, 0));
	SHOW(CALL(utimensat, d, "file", times, 0));
	SHOW(CALL(utimensat, fd, 0, times, 0));
	SHOW(CALL(fstat, fd, &st));
	printf("%ld %ld\n", (long)st.st_atime, (long)st.st_mtime);
	SHOW(CALL(utimes, at("f"), tv));
	SHOW(CALL(futimesat, d, "file", tv));
	SHOW(CALL(utime, at("f"), &ut));
	SHOW(CALL(stat, at("f"), &st));
	printf("%ld %ld\n", (long)st.st_atime, (long)st.st_mtime);
	SHOW(CALL(statfs, at("f"), &fs));
	SHOW(CALL(fstatfs, fd, &fs));
	SHOW(CALL(statfs, at("none"), &fs));
	SHOW(CALL(setxattr, at("f"), "user.a", "value", 5, 0));
	SHOW(CALL(getxattr, at("f"), "user.a", buf, 100));
	SHOW(CALL(lgetxattr, at("f"), "user.b", buf, 100));
	SHOW(CALL(fsetxattr, fd, "user.c", "v", 1, 0));
	SHOW(CALL(fgetxattr, fd, "user.c", buf, 0));
	SHOW(CALL(flistxattr, fd, buf, 100));
	SHOW(CALL(listxattr, at("f"), buf, 100));
	SHOW(CALL(llistxattr, at("f"), buf, 100));
	SHOW(CALL(removexattr, at("f"), "user.a"));
	SHOW(CALL(lremovexattr, at("f"), "user.a"));
	SHOW(CALL(fremovexattr, fd, "user.c"));
	SHOW(CALL(unlink, at("l")));
	SHOW(CALL(unlink, at("l")));
	SHOW(CALL(unlinkat, d, "l", 0));
	SHOW(CALL(unlinkat, d, "again", 0));
	SHOW(CALL(rmdir, at("d")));
	SHOW(CALL(rmdir, at("d/e")));
	SHOW(CALL(umask, 022) >= 0);
	close(d);
	close(fd);
}

static void directories(void)
{
	static char again[65536];
	char here[PATH_MAX];
	long n, k = 0, old = 0;
	int file = 0, link = 0;
	int d = (int)CALL(open, at("d"), O_RDONLY | O_DIRECTORY);

	while ((n = CALL(getdents64, d, again, sizeof again)) > 0)
		for (long i = 0; i < n; k++)
			i += ((struct dirent64 *)(again + i))->d_reclen;
	printf("%ld entries\n", k);
	CALL(lseek, d, 0, SEEK_SET);
	while ((n = CALL(getdents, d, again, sizeof again)) > 0)
		for (long i = 0; i < n; old++) {
			unsigned short len = *(unsigned short *)(again + i + 16);

			if (strcmp(again + i + 18, "file") == 0)
				file = again[i + len - 1];
			if (strcmp(again + i + 18, "s") == 0)
				link = again[i + len - 1];
			i += len;
		}
	printf("%ld old entries, types %d %d\n", old, file, link);
	SHOW(CALL(chdir, at("d")));
	n = CALL(getcwd, here, sizeof here);
	SHOW(n == (long)strlen(here) + 1 && strcmp(here + strlen(dir), "/d") == 0);
	SHOW(CALL(getcwd, here, 3));
	SHOW(CALL(getcwd, 0, 100));
	SHOW(CALL(stat, "file", &st));
	SHOW(CALL(open, "../f", O_RDONLY) >= 0);
	SHOW(CALL(chdir, "file"));
	SHOW(CALL(chdir, "/"));
	SHOW(CALL(fchdir, d));
	SHOW(CALL(access, "s", F_OK));
	SHOW(CALL(chdir, "/"));
	SHOW(CALL(getcwd, here, sizeof here));
	close(d);
}

/* What a local directory of the day may do otherwise is looked at by its error. */
static void refused(void)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_RDONLY, 0, 0 };
	int fd = (int)CALL(open, at("f"), O_RDONLY);

	SHOW(CALL(openat2, AT_FDCWD, at("f"), &how, sizeof how) >= 0);
	SHOW(CALL(openat2, AT_FDCWD, at("f"), &how, 4));
	SHOW(CALL(openat2, AT_FDCWD, at("f"), 1, sizeof how));
	SHOW(CALL(mknod, at("fifo"), S_IFREG | 0600, 0));
	SHOW(CALL(mknodat, AT_FDCWD, at("fifo"), S_IFREG | 0600, 0));
	SHOW(CALL(unlink, at("fifo")));
	SHOW(CALL(execve, at("f"), 0, 0));
	SHOW(CALL(execveat, fd, "", 0, 0, AT_EMPTY_PATH));
	SHOW(CALL(execveat, AT_FDCWD, at("none"), 0, 0, 0));
	SHOW(CALL(fcntl, fd, 9999));
	SHOW(CALL(ioctl, fd, 0x5401 /* TCGETS */, buf));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	by_instruction = strcmp(argv[1], "inline") == 0;
	dir = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	reading_and_writing();
	mapping();
	paths();
	directories();
	refused();
	fflush(stdout);
	CALL(exit_group, 7);
	return 1;
}
