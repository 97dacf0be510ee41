/* Reading, writing, offsets, sizes: the edges. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <signal.h>
#include <sys/resource.h>

CASE(rw_offsets)
{
	char buf[16] = "";
	int fd = make("a", "0123456789");

	R(lseek(fd, -1, SEEK_SET));
	R(lseek(fd, -1, SEEK_CUR));
	R(lseek(fd, -11, SEEK_END));
	R(lseek(fd, -10, SEEK_END));
	R(lseek(fd, 5, SEEK_END));
	R(read(fd, buf, 4));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, INT64_MAX, SEEK_CUR));
	R(lseek(fd, INT64_MAX, SEEK_END));
	R(lseek(fd, INT64_MIN, SEEK_SET));
	R(lseek(fd, 0, 77));
	R(lseek(fd, 0, -1));
	R(lseek(fd, 3, SEEK_SET));
	R(read(fd, buf, 4));
	say("%.4s", buf);
	R(pread(fd, buf, 4, -1));
	R(pwrite(fd, buf, 4, -1));
	R(pread(fd, buf, 4, 10));
	R(pread(fd, buf, 4, 1l << 40));
	R(pread(fd, buf, 4, 8));
	R(pread(fd, buf, 0, -1));
	R(pread(fd, buf, 0, 100));
	R(read(fd, buf, 0));
	R(write(fd, buf, 0));
	R(pwrite(fd, buf, 0, 1l << 40));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(99, 0, SEEK_CUR));
	R(read(-1, buf, 1));
	R(write(-1, buf, 1));
	R(pread(99, buf, 1, -1));
	R(lseek(fd, 1l << 32, SEEK_SET));
	R(lseek(fd, 1l << 31, SEEK_CUR));
	R(read(fd, buf, 4));
	R(lseek(fd, (1l << 31) - 3, SEEK_SET));
	R(write(fd, "abcdef", 6));
	R(pread(fd, buf, 10, (1l << 31) - 5));
	facts("a");
	R(pwrite(fd, "z", 1, INT64_MAX));
	R(pread(fd, buf, 1, INT64_MAX));
	R(pread(fd, buf, 8, INT64_MAX - 3));
	R(pwrite(fd, buf, 8, INT64_MAX - 3) < 0 ? -1 : 0);
	facts("a");
}

CASE(rw_vectors)
{
	char a[4] = "", b[8] = "";
	struct iovec iov[3] = { { a, 4 }, { b, 8 }, { NULL, 0 } }, many[1025];
	char bytes[1025] = "";
	int fd = make("a", "0123456789abcdef"), wr;

	R(readv(fd, iov, 2));
	say("%.4s %.8s", a, b);
	R(readv(fd, iov, 3));
	R(readv(fd, iov, 3));
	R(readv(fd, iov, 0));
	R(readv(fd, iov, -1));
	R(readv(fd, NULL, 0));
	R(readv(fd, NULL, 1));
	R(writev(fd, iov, 0));
	R(writev(fd, iov, -1));
	R(writev(fd, NULL, 0));
	R(writev(fd, NULL, 1));
	R(preadv(fd, iov, 3, 2));
	say("%.4s %.8s", a, b);
	R(preadv(fd, iov, 3, -1));
	R(preadv(fd, iov, 1025, 0));
	R(pwritev(fd, iov, 2, 20));
	R(pwritev(fd, iov, 2, -1));
	R(pwritev(fd, iov, 1025, 0));
	for (int i = 0; i < 1025; i++)
		many[i] = (struct iovec){ bytes + i, 1 };
	R(writev(fd, many, 1024));
	R(writev(fd, many, 1025));
	R(readv(fd, many, 1025));
	R(lseek(fd, 0, SEEK_SET));
	R(readv(fd, many, 1024));
	iov[1].iov_len = (size_t)-1;
	R(readv(fd, iov, 2));
	R(writev(fd, iov, 2));
	R(preadv(fd, iov, 2, 0));
	R(lseek(fd, 0, SEEK_CUR));
	iov[1] = (struct iovec){ (void *)1, 4 };
	R(lseek(fd, 0, SEEK_SET));
	R(writev(fd, iov, 2) > 0 ? 0 : -1); /* tmpfs writes the first four */
	iov[0] = (struct iovec){ (void *)1, 4 };
	R(readv(fd, iov, 1));
	R(writev(fd, iov, 1));
	iov[0] = (struct iovec){ (void *)1, 0 };
	R(readv(fd, iov, 1));
	R(writev(fd, iov, 1));
	wr = R(open(P("a"), O_WRONLY));
	R(readv(wr, iov, 1));
	R(readv(wr, iov, 0));
	R(writev(wr, iov, 0));
	if (kernel_since(6, 8)) /* earlier ones look at the vectors first */
		R(readv(wr, NULL, 1));
	R(readv(99, NULL, 1));
	R(preadv(wr, iov, -1, -1));
	contents("a");
}

CASE(rw_flags)
{
	char a[4] = "";
	struct iovec iov = { a, 4 };
	int fd = make("a", "0123456789");

	R(preadv2(fd, &iov, 1, 2, 0));
	R(preadv2(fd, &iov, 1, -1, 0));
	R(lseek(fd, 0, SEEK_CUR));
	R(preadv2(fd, &iov, 1, -2, 0));
	R(preadv2(fd, &iov, 1, 0, RWF_HIPRI) > 0 ? 0 : 0);
	R(preadv2(fd, &iov, 1, 0, RWF_DSYNC));
	R(preadv2(fd, &iov, 1, 0, RWF_SYNC));
	R(preadv2(fd, &iov, 1, 0, 0x4000));
	R(preadv2(fd, &iov, 1, 0, RWF_APPEND));
	R(pwritev2(fd, &iov, 1, 0, 0));
	R(pwritev2(fd, &iov, 1, -1, 0));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwritev2(fd, &iov, 1, 0, RWF_DSYNC));
	R(pwritev2(fd, &iov, 1, 0, RWF_SYNC));
	R(pwritev2(fd, &iov, 1, 0, RWF_APPEND));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwritev2(fd, &iov, 1, -1, RWF_APPEND));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwritev2(fd, &iov, 1, -2, 0));
	R(pwritev2(fd, &iov, 1, 0, 0x4000));
	R(pwritev2(fd, &iov, -1, 0, 0));
	contents("a");
	/* RWF_NOAPPEND, of Linux 6.9 */
	R(pwritev2(fd, &iov, 1, 2, 0x20) == 4 || errno == EOPNOTSUPP);
	R(pwritev2(fd, &iov, 1, 2, 0x20 | RWF_APPEND) < 0 && (errno == EINVAL || errno == EOPNOTSUPP));
	R(fcntl(fd, F_SETFL, O_APPEND));
}

CASE(rw_append)
{
	char buf[4];
	int fd, two;

	put("a", "start");
	fd = R(open(P("a"), O_RDWR | O_APPEND));
	R(lseek(fd, 0, SEEK_CUR));
	R(write(fd, "abc", 3));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, 1, SEEK_SET));
	R(read(fd, buf, 2));
	R(write(fd, "def", 3));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwrite(fd, "ghi", 3, 0));
	R(lseek(fd, 0, SEEK_CUR));
	two = R(open(P("a"), O_WRONLY | O_APPEND));
	R(write(two, "jk", 2));
	R(write(fd, "l", 1));
	R(write(two, "m", 1));
	R(lseek(two, 0, SEEK_CUR));
	R(ftruncate(fd, 2));
	R(write(two, "n", 1));
	contents("a");
}

CASE(rw_truncate)
{
	int fd = make("a", "0123456789"), rd;
	char buf[32];

	R(ftruncate(fd, 4));
	contents("a");
	R(ftruncate(fd, 20));
	contents("a");
	R(ftruncate(fd, -1));
	R(truncate(P("a"), -1));
	R(truncate(P("none"), -1));
	R(ftruncate(99, -1));
	R(truncate(P("a"), 5000000));
	facts("a");
	R(pread(fd, buf, 32, 4999990));
	R(truncate(P("a"), 0));
	facts("a");
	R(write(fd, "x", 1));
	facts("a");
	rd = R(open(P("a"), O_RDONLY));
	R(ftruncate(rd, 1));
	R(ftruncate(rd, -1));
	R(mkdir(P("d"), 0755));
	R(truncate(P("d"), 1));
	rd = R(open(P("d"), O_RDONLY));
	R(ftruncate(rd, 1));
	R(truncate(P("a"), 1l << 33));
	facts("a");
	R(pread(fd, buf, 4, 1l << 32));
	R(truncate(P("a"), INT64_MAX));
	R(lseek(fd, 100, SEEK_SET));
	R(truncate(P("a"), 10));
	R(lseek(fd, 0, SEEK_CUR));
	R(read(fd, buf, 1));
}

static void sparse(int fd)
{
	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 0, SEEK_HOLE) >= 4096 ? 0 : -1);
	R(lseek(fd, 99, SEEK_DATA));
	R(lseek(fd, 1 << 20, SEEK_HOLE) >= 1 << 20 ? 0 : -1);
	R(lseek(fd, 1 << 22, SEEK_DATA));
	R(lseek(fd, 1 << 22, SEEK_HOLE));
	R(lseek(fd, 1l << 40, SEEK_DATA));
	R(lseek(fd, -1, SEEK_DATA));
	R(lseek(fd, -1, SEEK_HOLE));
}

CASE(rw_sparse)
{
	int fd = make("a", ""), full;

	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 0, SEEK_HOLE));
	full = make("b", "0123456789");
	R(lseek(full, 3, SEEK_DATA));
	R(lseek(full, 3, SEEK_HOLE));
	R(lseek(full, 10, SEEK_DATA));
	R(lseek(full, 10, SEEK_HOLE));
	R(pwrite(fd, "data", 4, (1 << 22) - 4));
	R(pwrite(fd, "data", 4, 0));
	sparse(fd);
}

/* What appends does so by writing only. */
CASE(rw_append_only_by_writing)
{
	int fd = make("f", "0123456789"), both;
	char *m;

	R((close)(fd));
	fd = R(open(P("f"), O_RDWR | O_APPEND));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3));
	contents("f");
	R(ftruncate(fd, 5000));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	contents("f");
	m = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	m[7] = 'm';
	m[4990] = 'n';
	R(msync(m, 5000, MS_SYNC));
	contents("f");
	R(munmap(m, 5000));
	facts("f");
	both = R(open(P("f"), O_RDWR));
	m = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, both, 0);
	m[1] = 'k';
	R(fcntl(both, F_SETFL, O_APPEND));
	m[4500] = 'l';
	R(munmap(m, 5000));
	contents("f");
	R(readv(open(P(""), O_RDONLY), &(struct iovec){ (void *)contents, 0 }, 1));
}

CASE(rw_fallocate)
{
	int fd = make("a", "0123456789"), rd, dir, p[2];

	R(fallocate(fd, 0, 0, 100));
	facts("a");
	contents("a");
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 10000));
	facts("a");
	R(fallocate(fd, 0, -1, 100));
	R(fallocate(fd, 0, 0, 0));
	R(fallocate(fd, 0, 0, -1));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 5));
	contents("a");
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 2, 5));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 90, 1000));
	facts("a");
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 1000));
	facts("a");
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 0));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, -1, 5));
	R(fallocate(fd, 0x1000, 0, 5));
	contents("a");
	R(fallocate(fd, 0, INT64_MAX, 1));
	R(fallocate(fd, 0, INT64_MAX - 10, 100));
	rd = R(open(P("a"), O_RDONLY));
	R(fallocate(rd, 0, 0, 5));
	R(fallocate(rd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5));
	R(fallocate(99, 0, 0, 5));
	R(fallocate(99, 0, -1, 5));
	R(mkdir(P("d"), 0755));
	dir = R(open(P("d"), O_RDONLY));
	R(fallocate(dir, 0, 0, 5));
	R(pipe(p));
	R(fallocate(p[1], 0, 0, 5));
	E(posix_fallocate(fd, 0, 200));
	facts("a");
	E(posix_fallocate(fd, 0, 20));
	facts("a");
	E(posix_fallocate(fd, 0, 0));
	E(posix_fallocate(fd, -1, 10));
	E(posix_fallocate(fd, 0, -10));
	E(posix_fallocate(rd, 0, 10));
	E(posix_fallocate(99, 0, 10));
	E(posix_fallocate(fd, INT64_MAX, 1));
	E(posix_fallocate(p[1], 0, 10));
	E(posix_fadvise(fd, 0, 0, 99));
	E(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL));
	E(posix_fadvise(fd, 0, 10, POSIX_FADV_DONTNEED));
	E(posix_fadvise(99, 0, 10, POSIX_FADV_DONTNEED));
	E(posix_fadvise(p[0], 0, 10, POSIX_FADV_DONTNEED));
}

/* Either both or neither of ext4 and tmpfs have them; the range must be whole blocks. */
CASE(rw_fallocate_modes)
{
	char buf[10000];
	int fd = make("a", ""), n = 0;

	memset(buf, 'x', sizeof buf);
	R(write(fd, buf, sizeof buf));
	R(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 5));
	contents("a");
	R(fallocate(fd, FALLOC_FL_ZERO_RANGE, 9990, 100));
	contents("a");
	R(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 10000, 1000));
	contents("a");
	R(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 5));
	R(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_PUNCH_HOLE, 0, 4096));
	R(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	contents("a");
	(void)n;
}

IN_CHILD(rw_file_size_limit)
{
	struct rlimit limit = { 100, 100 };
	int fd = make("a", "0123456789");
	char buf[200] = "";

	signal(SIGXFSZ, SIG_IGN);
	R(setrlimit(RLIMIT_FSIZE, &limit));
	R(pwrite(fd, buf, 100, 0));
	R(pwrite(fd, buf, 100, 50));
	facts("a");
	R(pwrite(fd, buf, 1, 100));
	R(pwrite(fd, buf, 1, 1000));
	R(pwrite(fd, buf, 0, 1000));
	R(lseek(fd, 0, SEEK_END));
	R(write(fd, buf, 10));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, 95, SEEK_SET));
	R(write(fd, buf, 10));
	R(lseek(fd, 0, SEEK_CUR));
	R(writev(fd, &(struct iovec){ buf, 10 }, 1));
	R(ftruncate(fd, 101));
	R(ftruncate(fd, 100));
	R(ftruncate(fd, 50));
	R(truncate(P("a"), 101));
	R(fallocate(fd, 0, 0, 101));
	E(posix_fallocate(fd, 0, 101));
	R(fcntl(fd, F_SETFL, O_APPEND));
	R(write(fd, buf, 200));
	R(write(fd, buf, 1));
	facts("a");
}

IN_CHILD(rw_file_size_signal)
{
	struct rlimit limit = { 100, 100 };
	int fd = make("a", "0123456789");

	R(setrlimit(RLIMIT_FSIZE, &limit));
	R(pwrite(fd, "x", 1, 99));
	R(pwrite(fd, "x", 1, 100));
}

IN_CHILD(rw_file_size_signal_truncate)
{
	struct rlimit limit = { 100, 100 };
	int fd = make("a", "0123456789");

	R(setrlimit(RLIMIT_FSIZE, &limit));
	R(ftruncate(fd, 101));
}

static void *edge(int prot)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 'e', 4096);
	mprotect(p + 4096, 4096, PROT_NONE); /* a hole could become anybody's */
	mprotect(p, 4096, prot);
	return p + 4096;
}

/* The kernel moves what it can reach, page by page; how much of it a call that meets a bad page
 * half-way reports is the file system's choice, but it is never more than there is. */
CASE(rw_half_bad_buffers)
{
	char *end = edge(PROT_READ | PROT_WRITE), *ro = edge(PROT_READ);
	struct iovec iov[2] = { { end - 4, 4 }, { end, 4 } }, wild[2] = { { (char *)-1, 8 }, { end - 4, 4 } };
	int fd = make("a", "0123456789");
	long n;

	R(write(fd, end, 1));
	R(write(fd, end - 4, 4));
	R(read(fd, end - 4, 4));
	R(read(fd, ro - 4, 4));
	R(lseek(fd, 0, SEEK_CUR));
	n = pwrite(fd, end - 4, 8, 0);
	say("half a write: %d", n == -1 ? errno == EFAULT : n > 0 && n <= 4);
	n = pread(fd, end - 4, 8, 0);
	say("half a read: %d", n == -1 ? errno == EFAULT : n > 0 && n <= 4);
	n = preadv(fd, iov, 2, 0);
	say("half a vector: %d", n == -1 ? errno == EFAULT : n > 0 && n <= 4);
	n = pwritev(fd, iov, 2, 0);
	say("half a vector: %d", n == -1 ? errno == EFAULT : n > 0 && n <= 4);
	R(pwritev(fd, wild, 2, 0));
	R(read(fd, NULL, 4));
	R(write(fd, NULL, 4));
	R(read(fd, NULL, 0));
	R(write(fd, NULL, 0));
	R(pread(fd, (void *)1, 4, 100));
	R(pread(fd, (void *)1, 4, 0));
	R(read(fd, (void *)-4096, 4));
	R(write(fd, (void *)-4096, 4));
	R(pread(fd, (void *)0x7fffffff0000, 1l << 40, 0));
	R(ftruncate(fd, 0));
	R(pread(fd, (void *)1, 4, 0));
}

CASE(rw_directories)
{
	char buf[8] = "";
	struct iovec iov = { buf, 8 };
	int fd, file = make("a", "text");

	R(mkdir(P("d"), 0755));
	fd = R(open(P("d"), O_RDONLY));
	R(read(fd, buf, 8));
	R(pread(fd, buf, 8, 0));
	R(readv(fd, &iov, 1));
	R(preadv(fd, &iov, 1, 0));
	R(preadv2(fd, &iov, 1, 0, 0));
	R(write(fd, buf, 8));
	R(pwrite(fd, buf, 8, 0));
	R(writev(fd, &iov, 1));
	R(ftruncate(fd, 0));
	R(fsync(fd));
	R(fdatasync(fd));
	R(syncfs(fd));
	R(sync_file_range(fd, 0, 0, 0));
	R(readahead(fd, 0, 10));
	E(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
	E(posix_fallocate(fd, 0, 10));
	PTR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	R(sendfile(1, fd, NULL, 10));
	R(copy_file_range(fd, NULL, file, NULL, 10, 0));
	R(copy_file_range(file, NULL, fd, NULL, 10, 0));
	R(lseek(fd, 0, SEEK_SET));
	R(lseek(fd, -1, SEEK_SET));
	R(flock_(fd, LOCK_EX));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_RDLCK }));
	R(ioctl(fd, FIONREAD, buf) < 0 ? -1 : 0);
	R(getdents64(file, buf, 8));
	R(getdents64(fd, buf, 8));
	R(getdents64(99, buf, 8));
	R(getdents64(fd, (void *)1, 800));
}

CASE(rw_sync)
{
	int fd = make("a", "text"), rd = R(open(P("a"), O_RDONLY)), p[2];

	R(pipe(p));
	R(fsync(fd));
	R(fsync(rd));
	R(fdatasync(rd));
	R(fsync(99));
	R(fdatasync(-1));
	R(syncfs(rd));
	R(syncfs(99));
	R(sync_file_range(fd, 0, 0, 7));
	R(sync_file_range(rd, 0, 4, 2));
	R(sync_file_range(fd, -1, 4, 2));
	R(sync_file_range(fd, 0, -4, 2));
	R(sync_file_range(fd, 0, 4, 8));
	R(sync_file_range(99, 0, 4, 2));
	R(sync_file_range(p[0], 0, 4, 2));
	R(readahead(rd, 0, 4));
	R(readahead(99, 0, 4));
	R(readahead(p[0], 0, 4));
	R(readahead(fd, -1, 4) < 0 ? 0 : 0);
	R((sync(), 0));
}

CASE(rw_copies)
{
	int a = make("a", "0123456789"), b = make("b", ""), p[2], wr, rd, app;
	off_t at = 2, to = 0;
	loff_t from_at = 2, to_at = 1;
	char buf[32] = "";

	R(pipe(p));
	wr = R(open(P("a"), O_WRONLY));
	rd = R(open(P("b"), O_RDONLY));
	app = R(open(P("b"), O_WRONLY | O_APPEND));
	R(sendfile(b, a, &at, 4));
	R((long)at);
	R(lseek(a, 0, SEEK_CUR));
	R(sendfile(b, a, NULL, 3));
	R(lseek(a, 0, SEEK_CUR));
	R(lseek(b, 0, SEEK_CUR));
	at = 100;
	R(sendfile(b, a, &at, 4));
	at = -1;
	R(sendfile(b, a, &at, 4));
	R(sendfile(b, wr, NULL, 4));
	R(sendfile(rd, a, NULL, 4));
	R(sendfile(app, a, NULL, 4));
	R(sendfile(99, a, NULL, 4));
	R(sendfile(b, 99, NULL, 4));
	R(sendfile(b, a, (void *)1, 4));
	R(sendfile(p[1], a, NULL, 2));
	R(sendfile(b, p[0], NULL, 2));
	R(sendfile(b, a, NULL, 0));
	contents("b");
	R(copy_file_range(a, &from_at, b, &to_at, 4, 0));
	R((long)from_at * 100 + (long)to_at);
	R(copy_file_range(a, NULL, b, NULL, 100, 0));
	R(copy_file_range(a, NULL, b, NULL, 100, 0));
	R(copy_file_range(a, NULL, b, NULL, 100, 1));
	R(copy_file_range(wr, NULL, b, NULL, 100, 0));
	R(copy_file_range(a, NULL, rd, NULL, 100, 0));
	R(copy_file_range(a, NULL, app, NULL, 100, 0));
	R(copy_file_range(a, NULL, p[1], NULL, 100, 0));
	R(copy_file_range(p[0], NULL, b, NULL, 100, 0));
	R(copy_file_range(99, NULL, b, NULL, 100, 0));
	R(copy_file_range(a, NULL, 99, NULL, 100, 0));
	from_at = 0, to_at = 5;
	R(copy_file_range(a, &from_at, a, &to_at, 5, 0));
	from_at = 0, to_at = 2;
	R(copy_file_range(a, &from_at, a, &to_at, 5, 0));
	from_at = -1;
	R(copy_file_range(a, &from_at, b, &to_at, 5, 0));
	from_at = 0, to_at = -5;
	R(copy_file_range(a, &from_at, b, &to_at, 5, 0));
	from_at = INT64_MAX, to_at = 0;
	R(copy_file_range(a, &from_at, b, &to_at, 5, 0));
	R(copy_file_range(a, (void *)1, b, &to_at, 5, 0));
	contents("a");
	contents("b");
	(lseek)(a, 0, SEEK_SET);
	R(splice(a, NULL, p[1], NULL, 4, 0));
	from_at = 6;
	R(splice(a, &from_at, p[1], NULL, 400, 0));
	R(read(p[0], buf, 32));
	say("%s", buf);
	R(splice(a, NULL, b, NULL, 4, 0));
	R(splice(wr, NULL, p[1], NULL, 4, 0));
	R(splice(99, NULL, p[1], NULL, 4, 0));
	R(splice(a, NULL, p[1], &from_at, 4, 0));
	R(write(p[1], "piped", 5));
	to_at = 3;
	R(splice(p[0], NULL, b, &to_at, 5, 0));
	R((long)to_at);
	R(write(p[1], "piped", 5));
	R(splice(p[0], NULL, app, NULL, 5, 0));
	R(splice(p[0], NULL, rd, NULL, 5, 0));
	R(splice(a, NULL, p[1], NULL, 0, 0));
	R(splice(a, NULL, p[1], NULL, 4, 0xff0));
	contents("b");
	(void)to;
}

CASE(rw_blocks)
{
	struct stat st;
	int fd = make("a", "");

	R(ftruncate(fd, 1 << 20));
	R(fstat(fd, &st));
	R(pwrite(fd, "x", 1, 0));
	R(fsync(fd));
	R(fstat(fd, &st));
	R(st.st_blocks > 0 ? 0 : -1);
	R(st.st_blksize >= 512 ? 0 : -1);
}
