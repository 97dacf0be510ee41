/* Operations on files through io_uring, each result in a line: preload-uring liburing|raw PART DIR.
 * tests/e2e-preload-uring.sh compares the lines of a local directory with those of the prefix. */
#include "preload_uring.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

static char buf[1 << 16], text[] = "the quick brown fox jumps over the lazy dog";
#define LEN ((unsigned)sizeof text - 1)

static void transfers(struct io_uring *ring)
{
	int fd = open("t", O_RDWR | O_CREAT | O_TRUNC, 0644), rd = open("t", O_RDONLY);
	int wr = open("t", O_WRONLY), dir = open(".", O_RDONLY | O_DIRECTORY);
	struct iovec out[2] = { { text, 10 }, { text + 10, LEN - 10 } };
	struct iovec in[3] = { { buf, 5 }, { buf + 5, 0 }, { buf + 5, 100 } };
	char other[8];

	CHECK(fd >= 0 && rd >= 0 && wr >= 0 && dir >= 0);
	SQE(ring, 1, 0, write, fd, text, LEN, 0);
	CHECK(ring_submit(ring, 0) == 1);
	results(ring, "write", 1);
	SQE(ring, 1, 0, read, fd, buf, 100, 0);
	SQE(ring, 2, 0, read, fd, other, 4, 4);
	SQE(ring, 3, 0, read, rd, buf + 200, 100, LEN);
	SQE(ring, 4, 0, read, rd, buf + 200, 0, 0);
	SQE(ring, 5, 0, read, wr, buf + 200, 1, 0);
	SQE(ring, 6, 0, write, rd, text, 1, 0);
	SQE(ring, 7, 0, read, dir, buf + 200, 1, 0);
	SQE(ring, 8, 0, read, 999, buf + 200, 1, 0);
	SQE(ring, 9, 0, read, fd, NULL, 10, 0);
	SQE(ring, 10, 0, write, fd, (void *)1, 10, 0);
	SQE(ring, 11, 0, read, fd, buf + 200, 10, -2);
	SQE(ring, 12, 0, readv, fd, NULL, 2, 0);
	SQE(ring, 13, 0, read, rd, buf + 300, 100, 1 << 20);
	CHECK(ring_submit(ring, 13) == 13);
	results(ring, "reads", 13);
	CHECK(memcmp(buf, text, LEN) == 0 && memcmp(other, text + 4, 4) == 0);
	SQE(ring, 1, 0, writev, fd, out, 2, 100);
	ring_submit(ring, 1);
	memset(buf, 0, sizeof buf);
	SQE(ring, 2, 0, readv, fd, in, 3, 100);
	in[0].iov_len = 5;
	ring_submit(ring, 2);
	results(ring, "vectors", 2);
	CHECK(memcmp(buf, text, LEN) == 0);
	SQE(ring, 1, 0, readv, fd, in, 0, 0);
	SQE(ring, 2, 0, readv2, fd, in, 3, 100, 0x40);
	SQE(ring, 3, 0, writev2, fd, out, 2, 0, RWF_DSYNC);
	SQE(ring, 4, 0, fsync, fd, 0);
	SQE(ring, 5, 0, fsync, fd, IORING_FSYNC_DATASYNC);
	SQE(ring, 6, 0, fsync, fd, 6);
	SQE(ring, 7, 0, fsync, 999, 0);
	SQE(ring, 8, 0, fsync, rd, 0);
	ring_submit(ring, 8);
	results(ring, "flags, fsync", 8);
	close(fd), close(rd), close(wr), close(dir);
}

static void positions(struct io_uring *ring)
{
	int fd = open("p", O_RDWR | O_CREAT | O_TRUNC, 0644), app, copy = dup(fd);

	SQE(ring, 1, 0, write, fd, text, 10, -1);
	ring_submit(ring, 1);
	SQE(ring, 2, 0, write, copy, text, 5, -1);
	ring_submit(ring, 2);
	results(ring, "at the position", 2);
	printf("position %ld\n", (long)lseek(fd, 0, SEEK_CUR));
	lseek(fd, 12, SEEK_SET);
	SQE(ring, 1, 0, read, fd, buf, 100, -1);
	ring_submit(ring, 1);
	results(ring, "to the end", 1);
	printf("position %ld\n", (long)lseek(copy, 0, SEEK_CUR));
	app = open("p", O_WRONLY | O_APPEND);
	SQE(ring, 1, 0, write, app, text, 3, 0);
	SQE(ring, 2, 0, write, app, text, 3, -1);
	ring_submit(ring, 2);
	results(ring, "append", 2);
	printf("size %ld\n", (long)lseek(fd, 0, SEEK_END));
	SQE(ring, 1, 0, read, fd, buf, 4, 0);
	ring_submit(ring, 0);
	close(fd); /* the operation has it */
	close(copy);
	results(ring, "closed", 1);
	close(app);
}

static void names(struct io_uring *ring)
{
	struct { uint64_t flags, mode, resolve; } how = { O_RDWR | O_CREAT, 0600, 0 };
	struct statx sx;
	int fd, dir;
	char path[64];

	mkdir("d", 0755);
	dir = open("d", O_RDONLY | O_DIRECTORY);
	strcpy(path, "f");
	SQE(ring, 1, 0, openat, dir, path, O_RDWR | O_CREAT | O_EXCL, 0640);
	ring_submit(ring, 0);
	strcpy(path, "changed since");
	fd = result(ring);
	CHECK(fd >= 0);
	CHECK(write(fd, text, LEN) == (int)LEN);
	SQE(ring, 1, 0, openat, dir, "f", O_RDWR | O_CREAT | O_EXCL, 0640);
	SQE(ring, 2, 0, openat, AT_FDCWD, "d/none", O_RDONLY, 0);
	SQE(ring, 3, 0, openat, AT_FDCWD, NULL, O_RDONLY, 0);
	SQE(ring, 4, 0, openat, AT_FDCWD, "d/f/x", O_RDONLY, 0);
	SQE(ring, 5, 0, statx, dir, "f", 0, STATX_BASIC_STATS, &sx);
	SQE(ring, 6, 0, statx, dir, "none", 0, STATX_BASIC_STATS, &sx);
	SQE(ring, 7, 0, statx, dir, "f", 0, STATX_BASIC_STATS, (struct statx *)8);
	ring_submit(ring, 7);
	results(ring, "open, statx", 7);
	printf("size %llu mode %o\n", (unsigned long long)sx.stx_size, sx.stx_mode);
	SQE(ring, 1, 0, statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx);
	ring_submit(ring, 1);
	results(ring, "statx of a descriptor", 1);
	printf("size %llu\n", (unsigned long long)sx.stx_size);
	SQE(ring, 1, 0, openat2, dir, "g", (struct open_how *)&how);
	ring_submit(ring, 0);
	CHECK(close(result(ring)) == 0);
	SQE(ring, 1, 0, close, fd);
	ring_submit(ring, 1);
	SQE(ring, 2, 0, close, fd);
	ring_submit(ring, 1);
	results(ring, "close", 2);
	printf("closed: %d\n", fcntl(fd, F_GETFD) < 0 ? errno == EBADF : -1);
	SQE(ring, 1, IOSQE_IO_LINK, mkdirat, dir, "sub", 0750);
	SQE(ring, 2, IOSQE_IO_LINK, symlinkat, "f", dir, "link");
	SQE(ring, 3, IOSQE_IO_LINK, linkat, dir, "f", dir, "hard", 0);
	SQE(ring, 4, IOSQE_IO_LINK, renameat, dir, "g", dir, "sub/h", 0);
	SQE(ring, 5, IOSQE_IO_LINK, unlinkat, dir, "link", 0);
	SQE(ring, 6, 0, unlinkat, dir, "sub", AT_REMOVEDIR);
	ring_submit(ring, 6);
	results(ring, "names", 6);
	SQE(ring, 1, 0, mkdirat, dir, "sub", 0750);
	SQE(ring, 2, 0, unlinkat, dir, "none", 0);
	SQE(ring, 3, 0, renameat, dir, "none", dir, "x", 0);
	SQE(ring, 4, 0, renameat, dir, "f", dir, "hard", RENAME_NOREPLACE);
	SQE(ring, 5, 0, symlinkat, "f", dir, "f");
	SQE(ring, 6, 0, linkat, dir, "none", dir, "y", 0);
	SQE(ring, 7, 0, unlinkat, dir, NULL, 0);
	ring_submit(ring, 7);
	results(ring, "names refused", 7);
	SQE(ring, 1, 0, unlinkat, AT_FDCWD, "d/sub/h", 0);
	ring_submit(ring, 1);
	results(ring, "removed", 1);
	close(dir);
}

static void others(struct io_uring *ring)
{
	int fd = open("o", O_RDWR | O_CREAT | O_TRUNC, 0644), p[2];
	char value[16] = "";

	CHECK(write(fd, text, LEN) == (int)LEN && pipe(p) == 0);
	SQE(ring, 1, 0, fadvise, fd, 0, 10, POSIX_FADV_WILLNEED);
	SQE(ring, 2, 0, fadvise, fd, 0, 10, 99);
	SQE(ring, 3, 0, sync_file_range, fd, 10, 0, 0);
	SQE(ring, 4, 0, fsetxattr, fd, "user.a", "value", 0, 5);
	SQE(ring, 5, 0, setxattr, "user.b", "other", "o", 0, 5);
	SQE(ring, 6, 0, poll_add, fd, 1);
	SQE(ring, 7, 0, recv, fd, buf, 1, 0);
	SQE(ring, 8, 0, splice, fd, 4, p[1], -1, 5, 0);
	SQE(ring, 9, 0, tee, fd, p[1], 5, 0);
	SQE(ring, 10, 0, epoll_ctl, p[0], fd, EPOLL_CTL_ADD, (struct epoll_event *)buf);
	ring_submit(ring, 10);
	results(ring, "others", 10);
	CHECK(read(p[0], buf, 5) == 5 && memcmp(buf, text + 4, 5) == 0);
	SQE(ring, 1, 0, fgetxattr, fd, "user.b", value, sizeof value);
	SQE(ring, 2, 0, fgetxattr, fd, "user.none", value + 8, 1);
	ring_submit(ring, 2);
	results(ring, "xattr", 2);
	printf("value %s\n", value);
	CHECK(write(p[1], "pipe", 4) == 4);
	SQE(ring, 1, 0, splice, p[0], -1, fd, 0, 4, 0);
	ring_submit(ring, 1);
	results(ring, "splice", 1);
	CHECK(pread(fd, buf, 4, 0) == 4 && memcmp(buf, "pipe", 4) == 0);
	{
		struct io_uring_sqe *s = SQE(ring, 1, 0, nop);

		s->opcode = 55; /* FTRUNCATE */
		s->fd = fd;
		s->off = 7;
	}
	ring_submit(ring, 1);
	results(ring, "ftruncate", 1);
	printf("size %ld\n", (long)lseek(fd, 0, SEEK_END));
	close(fd), close(p[0]), close(p[1]);
}

static int reg(struct io_uring *ring, unsigned opcode, const void *arg, unsigned n)
{
	int r = (int)syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg, n);

	return r < 0 ? -errno : r;
}

static void registered(struct io_uring *ring)
{
	int fds[4], more[2], n;
	struct iovec iov[2] = { { buf, 4096 }, { buf + 8192, 100 } };
	struct io_uring_files_update up = { .offset = 1, .fds = (uintptr_t)more };

	fds[0] = open("r", O_RDWR | O_CREAT | O_TRUNC, 0644);
	fds[1] = -1;
	fds[2] = open("/dev/zero", O_RDONLY);
	fds[3] = open("r", O_RDONLY);
	n = raw ? reg(ring, IORING_REGISTER_FILES, fds, 4) : io_uring_register_files(ring, fds, 4);
	n |= raw ? reg(ring, IORING_REGISTER_BUFFERS, iov, 2) : io_uring_register_buffers(ring, iov, 2);
	CHECK(n == 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]); /* registered is enough */
	memcpy(buf, text, LEN);
	SQE(ring, 1, IOSQE_FIXED_FILE | IOSQE_IO_LINK, write_fixed, 0, buf, LEN, 0, 0);
	SQE(ring, 2, IOSQE_FIXED_FILE | IOSQE_IO_LINK, fsync, 0, 0);
	SQE(ring, 3, IOSQE_FIXED_FILE, read_fixed, 3, buf + 8192, LEN, 0, 1);
	SQE(ring, 4, IOSQE_FIXED_FILE, read, 1, buf + 8192, 1, 0);
	SQE(ring, 5, IOSQE_FIXED_FILE, read, 2, buf + 9000, 8, 0);
	SQE(ring, 6, IOSQE_FIXED_FILE, read, 4, buf + 9000, 8, 0);
	SQE(ring, 7, IOSQE_FIXED_FILE, write, 3, buf, 8, 0);
	ring_submit(ring, 7);
	results(ring, "registered", 7);
	CHECK(memcmp(buf + 8192, text, LEN) == 0);
	SQE(ring, 1, IOSQE_FIXED_FILE, read_fixed, 3, buf + 8192, 101, 0, 1);
	SQE(ring, 2, IOSQE_FIXED_FILE, read_fixed, 3, buf + 8191, 10, 0, 1);
	SQE(ring, 3, IOSQE_FIXED_FILE, read_fixed, 3, buf, 10, 0, 2);
	SQE(ring, 4, IOSQE_FIXED_FILE, read_fixed, 3, buf + 8292, 0, 0, 1);
	SQE(ring, 5, IOSQE_FIXED_FILE, write, 0, text, 4, -1);
	ring_submit(ring, 5);
	results(ring, "outside of buffers", 5);
	more[0] = open("r", O_RDONLY);
	more[1] = -1;
	n = raw ? reg(ring, IORING_REGISTER_FILES_UPDATE, &up, 2) :
		  io_uring_register_files_update(ring, 1, more, 2);
	printf("update %d\n", n);
	SQE(ring, 1, IOSQE_FIXED_FILE, read, 1, buf, 100, 0);
	SQE(ring, 2, IOSQE_FIXED_FILE, read, 2, buf, 100, 0);
	ring_submit(ring, 2);
	results(ring, "updated", 2);
	CHECK(memcmp(buf, text, LEN) == 0);
	SQE(ring, 1, IOSQE_IO_LINK, openat_direct, AT_FDCWD, "r", O_RDWR, 0, 2);
	SQE(ring, 2, IOSQE_FIXED_FILE, read, 2, buf, 7, 4);
	ring_submit(ring, 2);
	results(ring, "open direct and read", 2);
	SQE(ring, 1, 0, openat_direct, AT_FDCWD, "none", O_RDWR, 0, 2);
	SQE(ring, 2, 0, openat_direct, AT_FDCWD, "r", O_RDWR, 0, 4);
	SQE(ring, 3, 0, close_direct, 1);
	ring_submit(ring, 3);
	results(ring, "open direct, close direct", 3);
	SQE(ring, 1, IOSQE_FIXED_FILE, read, 1, buf, 100, 0);
	SQE(ring, 2, 0, openat_direct, AT_FDCWD, "r", O_RDWR, 0, (unsigned)IORING_FILE_INDEX_ALLOC - 1);
	SQE(ring, 3, 0, close_direct, 7);
	ring_submit(ring, 3);
	results(ring, "closed, any", 3);
	SQE(ring, 1, IOSQE_FIXED_FILE, read, 1, buf, 9, 0);
	more[0] = open("r", O_RDONLY);
	SQE(ring, 2, 0, files_update, more, 1, 0);
	ring_submit(ring, 2);
	results(ring, "in the new one, update", 2);
	SQE(ring, 1, IOSQE_FIXED_FILE, write, 0, text, 1, 0);
	SQE(ring, 2, IOSQE_FIXED_FILE, read, 0, buf, 3, 0);
	ring_submit(ring, 2);
	results(ring, "read-only now", 2);
	n = raw ? reg(ring, IORING_UNREGISTER_FILES, NULL, 0) : io_uring_unregister_files(ring);
	n |= raw ? reg(ring, IORING_UNREGISTER_BUFFERS, NULL, 0) : io_uring_unregister_buffers(ring);
	SQE(ring, 1, IOSQE_FIXED_FILE, read, 0, buf, 3, 0);
	SQE(ring, 2, 0, read_fixed, more[0], buf, 3, 0, 0);
	ring_submit(ring, 2);
	results(ring, "unregistered", 2);
	close(more[0]);
}

static void operations(void)
{
	struct io_uring ring;

	ring_flags(&ring, 16, IORING_SETUP_SUBMIT_ALL);
	transfers(&ring);
	positions(&ring);
	names(&ring);
	others(&ring);
	registered(&ring);
	ring_close(&ring);
}

int main(int argc, char **argv)
{
	CHECK(argc == 4);
	raw = strcmp(argv[1], "raw") == 0;
	CHECK(chdir(argv[3]) == 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[2], "operations") == 0)
		operations();
	else if (strcmp(argv[2], "links") == 0)
		links();
	else if (strcmp(argv[2], "names") == 0)
		by_name();
	else if (strcmp(argv[2], "fields") == 0)
		fields();
	else if (strcmp(argv[2], "polled") == 0)
		polled();
	else if (strcmp(argv[2], "errno") == 0)
		printf("%d\n", ring_errno());
	else
		many();
	return 0;
}
