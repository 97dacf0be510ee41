/* Calls in an order that chance has made, on a few names and descriptors: the same sequence of them everywhere. What
 * each gave is a line, so that the first that differs shows what was done before it. Seeds: SEEDS names others. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <inttypes.h>

#define SLOTS 8
#define STEPS 700

static const char *const names[] = { "a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "e/d", "d/d", "d/d/x", "a/x", "l",
				     "l/a", "d/l", "..", "../t", "d/..", "d/../a", "e/", "a/", "l/", "none/x", ".",
				     "d/.", "d//a", "", "d/d/l" };
static const char *const targets[] = { "a", "d", "none", "../a", "l", "d/d", "b/x", ".", ".." };
static int fds[SLOTS];
static bool dirs[SLOTS];
static uint64_t state;
static char buf[70000];

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(state >> 33) % n;
}

static const char *name(void)
{
	return names[below(sizeof names / sizeof *names)];
}

static off_t place(void)
{
	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return below(20);
	case 2:
		return below(9000);
	case 3:
		return 4096 * below(5);
	case 4:
		return 65535 + below(3);
	}
	return below(70000);
}

static size_t length(void)
{
	switch (below(5)) {
	case 0:
		return 0;
	case 1:
		return below(10);
	case 2:
		return below(5000);
	case 3:
		return 4096 * (1 + below(3));
	}
	return below(66000);
}

static size_t fresh(void)
{
	size_t n = length();

	for (size_t i = 0, salt = below(1000); i < n; i++)
		buf[i] = (char)(salt + i * 7 + i / 256);
	return n;
}

static void got(long n)
{
	unsigned hash = 7;

	for (long i = 0; i < n; i++)
		hash = hash * 31 + (unsigned char)buf[i];
	if (n > 0)
		say("  %08x", hash);
}

/* Keeps a descriptor, in the place of another if need be. */
static void keep(const char *what, int fd, int error)
{
	struct stat st;
	int slot = 0;

	if (fd < 0) {
		show(what, -1, error);
		return;
	}
	while (slot < SLOTS && fds[slot] >= 0)
		slot++;
	if (slot == SLOTS)
		(close)(fds[slot = (int)below(SLOTS)]);
	fds[slot] = fd;
	dirs[slot] = (fstat)(fd, &st) == 0 && S_ISDIR(st.st_mode);
	show(what, slot, 0);
}

#define PATH(call, ...)                                                                            \
	do {                                                                                       \
		char text[200];                                                                    \
		long gave = (errno = 0, call);                                                        \
		int why = errno;                                                                     \
		snprintf(text, sizeof text, __VA_ARGS__);                                          \
		show(text, gave, why);                                                                  \
	} while (0)

static void open_some(int dirfd)
{
	static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int flags = access[below(3)];
	const char *p = name();
	char what[80];
	int fd;

	flags |= below(2) ? O_CREAT : 0;
	flags |= below(5) ? 0 : O_EXCL;
	flags |= below(5) ? 0 : O_TRUNC;
	flags |= below(5) ? 0 : O_APPEND;
	flags |= below(6) ? 0 : O_NOFOLLOW;
	flags |= below(8) ? 0 : O_DIRECTORY;
	flags |= below(10) ? 0 : O_PATH;
	if (below(15) == 0)
		flags = (flags & O_ACCMODE) | O_TMPFILE;
	dirfd = below(6) ? AT_FDCWD : dirfd;
	errno = 0;
	fd = openat(dirfd, p, flags, 0600 + below(0100));
	snprintf(what, sizeof what, "open %s %x%s", p, flags, dirfd == AT_FDCWD ? "" : " at");
	keep(what, fd, errno);
}

static void describe(const char *p, long r, const struct stat *st)
{
	int e = errno;

	if (r < 0)
		PATH((errno = e, -1), "stat %s", p);
	else
		say("stat %s: %o links %d size %ld", p, st->st_mode, (int)st->st_nlink,
		    S_ISDIR(st->st_mode) ? 0 : (long)st->st_size);
}

static void map_some(int fd)
{
	struct stat st;
	bool writable = below(2), shared = below(2);
	char *m;

	if (fd < 0 || (fstat)(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > (long)sizeof buf)
		return;
	m = mmap(NULL, (size_t)st.st_size, PROT_READ | (writable ? PROT_WRITE : 0), shared ? MAP_SHARED : MAP_PRIVATE,
		 fd, 0);
	PATH(m == MAP_FAILED ? -1 : 0, "mmap");
	if (m == MAP_FAILED)
		return;
	if (writable)
		m[below((unsigned)st.st_size)] = (char)below(256);
	memcpy(buf, m, (size_t)st.st_size);
	got(st.st_size);
	munmap(m, (size_t)st.st_size);
}

static void list(const char *p)
{
	struct dirent **all;
	int n = scandir(p, &all, NULL, alphasort);

	PATH(n, "scandir %s", p);
	for (int i = 0; i < n; free(all[i++]))
		say("  %s %d", all[i]->d_name, all[i]->d_type);
	if (n >= 0)
		free(all);
}

static bool same_file(int fd, int other)
{
	struct stat a, b;

	return (fstat)(fd, &a) == 0 && (fstat)(other, &b) == 0 && a.st_ino == b.st_ino;
}

static void by_descriptor(int fd, int to)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	loff_t from_at = place(), to_at = place();
	struct iovec v[3] = { { buf, length() / 3 }, { buf + 30000, length() / 3 }, { buf + 60000, below(5) } };
	int mode = modes[below(5)], kind = (int)below(4), e;
	struct stat st;
	size_t n;
	long r;

	switch (below(17)) {
	case 0:
		PATH(close(fd), "close");
		break;
	case 1:
	case 2:
		n = fresh();
		PATH(write(fd, buf, n), "write %zu", n);
		break;
	case 3:
	case 4:
		n = fresh();
		PATH(pwrite(fd, buf, n, from_at), "pwrite %zu at %ld", n, (long)from_at);
		break;
	case 5:
		n = length();
		r = R(read(fd, buf, n));
		got(r);
		break;
	case 6:
		n = length();
		r = R(pread(fd, buf, n, from_at));
		got(r);
		break;
	case 7: /* of a directory it is a position in some order */
		if ((fstat)(fd, &st) < 0 || !S_ISDIR(st.st_mode))
			PATH(lseek(fd, from_at, kind % 3), "lseek %ld %d", (long)from_at, kind % 3);
		break;
	case 8:
		PATH(ftruncate(fd, from_at), "ftruncate %ld", (long)from_at);
		break;
	case 9:
		n = length();
		PATH(fallocate(fd, mode, from_at, (off_t)n), "fallocate %d %ld %zu", mode, (long)from_at, n);
		break;
	case 10:
		n = length();
		errno = 0;
		r = copy_file_range(fd, kind & 1 ? &from_at : NULL, to, kind & 2 ? &to_at : NULL, n, 0);
		e = errno;
		PATH((errno = e, r), "copy_file_range %zu: %ld %ld", n, (long)from_at, (long)to_at);
		break;
	case 11: /* from a file to itself, as far as it goes, is what it gets to be meanwhile */
		n = length();
		if (same_file(fd, to))
			break;
		errno = 0;
		r = sendfile(to, fd, kind & 1 ? &from_at : NULL, n);
		e = errno;
		PATH((errno = e, r), "sendfile %zu: %ld", n, (long)from_at);
		break;
	case 12:
		PATH(kind & 1 ? readv(fd, v, 3) : writev(fd, v, 3), "vector %d", kind & 1);
		break;
	case 13:
		PATH(fcntl(fd, F_SETFL, kind & 1 ? O_APPEND : 0), "F_SETFL %d", kind & 1);
		PATH(fcntl(fd, F_GETFL), "F_GETFL");
		break;
	case 14:
		errno = 0;
		r = fstat(fd, &st);
		describe("descriptor", r, &st);
		break;
	case 15:
		map_some(fd);
		break;
	case 16:
		errno = 0;
		to = dup(fd);
		keep("dup", to, errno);
		break;
	}
	for (int i = 0; i < SLOTS; i++) /* the one that was closed */
		if (fds[i] >= 0 && (fcntl)(fds[i], F_GETFD) < 0)
			fds[i] = -1;
}

static void by_name(int fd, int other)
{
	const char *p = name(), *q = name(), *target = targets[below(9)];
	unsigned flags = below(4), mode = below(0200);
	off_t size = place();
	struct stat st;
	long r;
	int e;

	switch (below(19)) {
	case 0:
	case 1:
		PATH(rename(p, q), "rename %s %s", p, q);
		break;
	case 2:
		PATH(renameat2(below(4) ? AT_FDCWD : fd, p, below(4) ? AT_FDCWD : other, q, flags), "renameat2 %s %s %u", p,
		     q, flags);
		break;
	case 3:
		PATH(link(p, q), "link %s %s", p, q);
		break;
	case 4:
		PATH(linkat(fd, "", AT_FDCWD, p, AT_EMPTY_PATH), "linkat %s", p);
		break;
	case 5:
		PATH(symlink(target, p), "symlink %s %s", target, p);
		break;
	case 6:
		PATH(unlink(p), "unlink %s", p);
		break;
	case 7:
		PATH(unlinkat(below(3) ? AT_FDCWD : fd, p, flags ? 0 : AT_REMOVEDIR), "unlinkat %s %d", p, !flags);
		break;
	case 8:
	case 9:
	case 10:
		PATH(mkdir(p, 0700 + mode / 2), "mkdir %s", p);
		break;
	case 11:
		PATH(rmdir(p), "rmdir %s", p);
		break;
	case 12:
		errno = 0;
		r = flags & 1 ? stat(p, &st) : lstat(p, &st);
		describe(p, r, &st);
		break;
	case 13:
		PATH(chmod(p, 0600 | mode), "chmod %s", p);
		break;
	case 14:
		list(p);
		break;
	case 15:
		errno = 0;
		r = readlink(p, buf, flags ? 100 : mode % 3);
		e = errno;
		PATH((errno = e, r), "readlink %s", p);
		got(r);
		break;
	case 16:
		PATH(access(p, (int)mode % 8), "access %s %d", p, mode % 8);
		break;
	case 17:
		PATH(flags & 1 ? setxattr(p, "user.x", "val", mode % 4, (int)flags / 2) : getxattr(p, "user.x", buf, mode % 6),
		     "xattr %s %u %u", p, flags, mode);
		break;
	case 18:
		PATH(truncate(p, size), "truncate %s %ld", p, (long)size);
		break;
	}
}

/* Where each descriptor of a file stands, when that has changed. */
static void positions(void)
{
	static char before[200];
	char now[200] = "";

	for (int i = 0, n = 0; i < SLOTS; i++)
		if (fds[i] < 0 || dirs[i])
			n += sprintf(now + n, " -");
		else
			n += sprintf(now + n, " %ld", (long)(lseek)(fds[i], 0, SEEK_CUR));
	if (strcmp(before, now) != 0)
		say("  at%s", strcpy(before, now));
}

/* Each link that is followed leads up by one, 40 may be, and a name does so twice: none gets out of the test's
 * directory, where it would change others' things. */
#define DEPTH 48

static uint64_t seed;

static void sequence(void)
{
	char path[40];

	state = seed * 77777 + 1;
	snprintf(path, sizeof path, "t%" PRIu64, seed);
	if ((mkdir)(path, 0755) < 0 || (chdir)(path) < 0)
		abort();
	for (int i = 0; i < SLOTS; i++)
		fds[i] = -1;
	for (int i = 0; i < STEPS; i++) {
		int fd = fds[below(SLOTS)], other = fds[below(SLOTS)];

		if (below(8) == 0)
			open_some(fd);
		else if (below(2))
			by_descriptor(fd, other);
		else
			by_name(fd, other);
		positions();
	}
}

CASE(random_sequences)
{
	const char *seeds = getenv("SEEDS");
	char all[] = "1 2 3 4 5 6 7 8", *rest = strdup(seeds ? seeds : all), *one;

	if ((chdir)(P(".")) < 0)
		abort();
	for (int i = 0; i < DEPTH; i++)
		if ((mkdir)("r", 0755) < 0 || (chdir)("r") < 0)
			abort();
	while ((one = strsep(&rest, " "))) {
		seed = strtoull(one, NULL, 10);
		say("seed %s", one);
		in_child(sequence);
	}
}
