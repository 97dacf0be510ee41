/* Opening: flags and their combinations, modes, O_TMPFILE, O_PATH, what the descriptor then can do. */
#define _GNU_SOURCE
#include "posix_diff.h"

CASE(open_access_modes)
{
	char c = 'x';
	int left;

	put("a", "text");
	for (int mode = 0; mode < 4; mode++) {
		int fd = R(open(P("a"), mode));

		R(read(fd, &c, 1));
		R(write(fd, &c, 1));
		R(pread(fd, &c, 1, 0));
		R(pwrite(fd, &c, 1, 0));
		R(ftruncate(fd, 4));
		R(fallocate(fd, 0, 0, 4));
		E(posix_fallocate(fd, 0, 4));
		E(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
		R(readahead(fd, 0, 4));
		R(fcntl(fd, F_GETFL) & ~0100000);
		R(fsync(fd));
		R(ioctl(fd, FIONREAD, &left) < 0 ? -1 : 0);
		R(lseek(fd, 0, SEEK_CUR));
		PTR(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
		PTR(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
		PTR(mmap(NULL, 4096, PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
		R(close(fd));
	}
}

CASE(open_flags_shown)
{
	static const int flags[] = { O_APPEND, O_NONBLOCK, O_SYNC, O_DSYNC, O_NOATIME, O_ASYNC, O_CLOEXEC,
				     O_TRUNC, O_NOCTTY, 040000000, O_APPEND | O_TRUNC, O_NOFOLLOW };

	put("a", "text");
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		int fd = (open)(P("a"), O_RDWR | flags[i]);

		say("flags %o: %s %o, %o", flags[i], fd < 0 ? strerrorname_np(errno) : "opened",
		    fd < 0 ? 0 : fcntl(fd, F_GETFL) & ~0100000, fd < 0 ? 0 : fcntl(fd, F_GETFD));
		(close)(fd);
	}
	facts("a");
}

CASE(open_setfl)
{
	int fd = make("a", "0123456789");

	R(fcntl(fd, F_SETFL, O_APPEND));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(write(fd, "ab", 2));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwrite(fd, "cd", 2, 0));
	contents("a");
	R(fcntl(fd, F_SETFL, O_NONBLOCK | O_WRONLY | O_CREAT));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(fcntl(fd, F_SETFL, O_NOATIME));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(fcntl(fd, F_SETFL, -1) < 0 ? -1 : 0);
}

CASE(open_mode_bits)
{
	umask(0);
	R(close(open(P("a"), O_CREAT | O_RDWR, 07777)));
	facts("a");
	umask(027);
	R(close(open(P("b"), O_CREAT | O_RDWR, 07777)));
	facts("b");
	R(close(open(P("c"), O_CREAT | O_RDWR, 0200000 | 0644)));
	facts("c");
	R(close(open(P("a"), O_CREAT | O_RDWR, 0)));
	facts("a");
	R(mkdir(P("d"), 07777));
	facts("d");
	R(mkdir(P("e"), 0100777));
	facts("e");
	R(umask(0777));
	R(umask(022));
	R(mknod(P("n"), S_IFREG | 06755, 0));
	facts("n");
	R(close(creat(P("m"), 01777)));
	facts("m");
	R(open(P("zero"), O_CREAT | O_RDWR | O_EXCL, 0));
	R(write(3, "x", 1));
	facts("zero");
}

CASE(open_path_descriptor)
{
	char c;
	int fd, dir;
	struct stat st;

	put("a", "text");
	R(symlink("a", P("l")));
	R(mkdir(P("d"), 0755));
	put("d/in", "in");
	fd = R(open(P("a"), O_PATH | O_RDWR | O_CREAT | O_TRUNC));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(read(fd, &c, 1));
	R(write(fd, &c, 1));
	R(pread(fd, &c, 1, 0));
	R(lseek(fd, 0, SEEK_SET));
	R(fstat(fd, &st));
	facts_fd(fd);
	R(fchmod(fd, 0600));
	R(fchown(fd, 0, 0));
	R(ftruncate(fd, 0));
	R(fsync(fd));
	R(fdatasync(fd));
	R(syncfs(fd));
	R(flock_(fd, LOCK_SH));
	R(ioctl(fd, FIONREAD, &c));
	R(fgetxattr(fd, "user.x", &c, 1));
	R(fsetxattr(fd, "user.x", &c, 1, 0));
	R(flistxattr(fd, &c, 0));
	R(fremovexattr(fd, "user.x"));
	R(futimens(fd, NULL));
	R(getdents64(fd, &c, 1));
	R(fallocate(fd, 0, 0, 1));
	R(fcntl(fd, F_SETFL, O_APPEND));
	R(fcntl(fd, F_GETLK, &(struct flock){ .l_type = F_RDLCK }));
	R(fcntl(fd, F_GETFD));
	PTR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	R(fstatat(fd, "", &st, AT_EMPTY_PATH));
	R(faccessat(fd, "", R_OK, AT_EMPTY_PATH));
	R(fchownat(fd, "", -1, -1, AT_EMPTY_PATH));
	R(utimensat(fd, "", NULL, AT_EMPTY_PATH));
	R(linkat(fd, "", AT_FDCWD, P("linked"), AT_EMPTY_PATH));
	R(fchdir(fd));
	R(dup(fd));
	R(openat(fd, "x", O_RDONLY));
	fd = R(open(P("l"), O_PATH | O_NOFOLLOW));
	facts_fd(fd);
	R(readlinkat(fd, "", &c, 1));
	R(fchdir(fd));
	dir = R(open(P("d"), O_PATH | O_DIRECTORY));
	R(openat(dir, "in", O_RDONLY));
	R(fstatat(dir, "in", &st, 0));
	R(getdents64(dir, &c, 1));
	R(fchdir(dir));
	OK(open("in", O_RDONLY));
	PTR(fdopendir(dir));
}

CASE(open_tmpfile)
{
	char proc[64];
	int fd = R(open(P(""), O_TMPFILE | O_RDWR, 0640)), other;

	R(write(fd, "anonymous", 9));
	facts_fd(fd);
	listing("");
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	R(linkat(AT_FDCWD, proc, AT_FDCWD, P("named"), AT_SYMLINK_FOLLOW));
	facts_fd(fd);
	contents("named");
	R(linkat(fd, "", AT_FDCWD, P("again"), AT_EMPTY_PATH));
	facts("again");
	other = R(open(P(""), O_TMPFILE | O_RDWR | O_EXCL, 0600));
	R(linkat(other, "", AT_FDCWD, P("excl"), AT_EMPTY_PATH));
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", other);
	R(linkat(AT_FDCWD, proc, AT_FDCWD, P("excl"), AT_SYMLINK_FOLLOW));
	R(open(P("named"), O_TMPFILE | O_RDWR, 0600));
	R(open(P("none"), O_TMPFILE | O_RDWR, 0600));
	other = R(open(P(""), O_TMPFILE | O_WRONLY, 0));
	R(write(other, "x", 1));
	R(open(P(""), O_DIRECTORY | O_WRONLY));
	listing("");
}

CASE(open_deleted)
{
	char buf[512] = "", proc[64];
	int fd = make("a", "text");

	R(unlink(P("a")));
	facts_fd(fd);
	R(read(fd, buf, 8));
	R(write(fd, "more", 4));
	R(ftruncate(fd, 6));
	facts_fd(fd);
	R(fchmod(fd, 0600));
	R(linkat(fd, "", AT_FDCWD, P("b"), AT_EMPTY_PATH));
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	OK(open(proc, O_RDONLY));
	R(close(fd));
	R(mkdir(P("d"), 0755));
	fd = R(open(P("d"), O_RDONLY | O_DIRECTORY));
	R(rmdir(P("d")));
	facts_fd(fd);
	R(openat(fd, "x", O_CREAT | O_RDWR, 0600));
	R(mkdirat(fd, "x", 0700));
	R(openat(fd, ".", O_RDONLY));
	R(fstatat(fd, "x", &(struct stat){ 0 }, 0));
	R(symlinkat("x", fd, "y"));
	R(getdents64(fd, buf, sizeof buf) < 0 ? -1 : 0);
}

CASE(open_excl_and_existing)
{
	put("a", "12345");
	R(symlink("a", P("l")));
	R(symlink("none", P("dang")));
	R(open(P("a"), O_CREAT | O_EXCL | O_RDWR, 0600));
	R(open(P("l"), O_CREAT | O_EXCL | O_RDWR, 0600));
	R(open(P("dang"), O_CREAT | O_EXCL | O_RDWR, 0600));
	OK(open(P("dang"), O_CREAT | O_RDWR, 0600));
	facts("none");
	OK(open(P("a"), O_EXCL | O_RDWR));
	OK(open(P("a"), O_CREAT | O_TRUNC | O_RDONLY, 0600));
	facts("a");
	OK(open(P("a"), O_CREAT | O_APPEND | O_WRONLY, 0600));
}

CASE(open_at)
{
	int dir = R(open(P(""), O_RDONLY)), file;

	put("a", "text");
	file = R(open(P("a"), O_RDONLY));
	R(openat(dir, "a", O_RDONLY));
	R(openat(file, "a", O_RDONLY));
	R(openat(-1, "a", O_RDONLY));
	R(openat(99, "a", O_RDONLY));
	R(openat(-1, P("a"), O_RDONLY) < 0 && posix_dir[0] == '/' ? 0 : 0);
	R(openat(dir, "", O_RDONLY));
	R(openat(dir, "../open_at/a", O_RDONLY));
	R(mkdirat(file, "x", 0755));
	R(mkdirat(dir, "x", 0755));
	R(unlinkat(file, "x", 0));
	R(unlinkat(dir, "x", 0));
	R(unlinkat(dir, "x", AT_REMOVEDIR));
	R(symlinkat("a", dir, "l"));
	R(symlinkat("", dir, "l2"));
	R(linkat(dir, "a", dir, "h", 0));
	R(linkat(dir, "a", file, "h2", 0));
	R(linkat(dir, "l", dir, "hl", 0));
	R(linkat(dir, "l", dir, "hf", AT_SYMLINK_FOLLOW));
	R(linkat(dir, "l", dir, "hx", 0x10000));
	R(renameat(dir, "h", dir, "h3"));
	R(renameat2(dir, "h3", file, "h4", 0));
	R(fstatat(dir, "a", &(struct stat){ 0 }, 0x10000000));
	R(fstatat(dir, "", &(struct stat){ 0 }, 0));
	R(fstatat(file, "", &(struct stat){ 0 }, AT_EMPTY_PATH));
	R(faccessat(dir, "a", 8, 0));
	R(faccessat(dir, "a", R_OK, 0x800000));
	R(utimensat(dir, "a", NULL, 0x800000));
	R(fchownat(dir, "a", 1, 1, 0x800000));
	R(mknodat(dir, "n", S_IFREG | 0600, 0));
	R(mknodat(file, "n", S_IFREG | 0600, 0));
	R(readlinkat(dir, "l", (char[4]){ 0 }, 4));
	R(readlinkat(dir, "a", (char[4]){ 0 }, 4));
	R(readlinkat(dir, "", (char[4]){ 0 }, 4));
	R(readlinkat(dir, "l", (char[4]){ 0 }, 0));
	listing("");
}

#ifndef VIA_SYSCALL
int __open_2(const char *, int), __openat_2(int, const char *, int), __open64_2(const char *, int),
	__openat64_2(int, const char *, int);

CASE(open_other_names)
{
	int dir;

	put("a", "text");
	OK(__open_2(P("a"), O_RDONLY));
	OK(__open64_2(P("a"), O_RDWR));
	OK(__open64_2(P("none"), O_RDWR));
	dir = R(open64(P(""), O_RDONLY | O_DIRECTORY));
	OK(__openat_2(dir, "a", O_RDONLY));
	OK(__openat64_2(dir, "a", O_RDONLY));
	OK(__openat64_2(dir, "none", O_RDONLY));
	OK(openat64(dir, "b", O_CREAT | O_RDWR, 0600));
	OK(creat64(P("c"), 0600));
	listing("");
}

static char *template_of(const char *name)
{
	static char buf[4][PATH_MAX];
	static int k;

	return strcpy(buf[k++ % 4], P(name));
}

static void temporary(const char *what, int fd, char *t, int suffix)
{
	struct stat st;
	size_t n = strlen(t) - 6 - (size_t)suffix;

	say("%s: %s, changed %d, %s", what, fd < 0 ? strerrorname_np(errno) : "opened",
	    strncmp(t + n, "XXXXXX", 6) != 0, t + n + 6);
	if (fd >= 0 && fstat(fd, &st) == 0)
		say("  %o links %d flags %o, %o", st.st_mode, (int)st.st_nlink, fcntl(fd, F_GETFL) & ~0100000,
		    fcntl(fd, F_GETFD));
}

CASE(open_temporary)
{
	char *t;

	temporary("mkstemp", mkstemp(t = template_of("aXXXXXX")), t, 0);
	temporary("mkstemp64", mkstemp64(t = template_of("XXXXXX")), t, 0);
	temporary("mkostemp", mkostemp(t = template_of("bXXXXXX"), O_CLOEXEC | O_APPEND), t, 0);
	temporary("mkostemp64", mkostemp64(t = template_of("bXXXXXX"), O_SYNC), t, 0);
	temporary("mkstemps", mkstemps(t = template_of("cXXXXXX.txt"), 4), t, 4);
	temporary("mkstemps64", mkstemps64(t = template_of("cXXXXXX.txt"), 4), t, 4);
	temporary("mkostemps", mkostemps(t = template_of("dXXXXXX.c"), 2, O_CLOEXEC), t, 2);
	temporary("mkostemps64", mkostemps64(t = template_of("dXXXXXX.c"), 2, 0), t, 2);
	temporary("short", mkstemp(t = template_of("xXXXXX")), t, 0);
	temporary("wrong suffix", mkstemps(t = template_of("cXXXXXX.txt"), 3), t, 3);
	temporary("negative suffix", mkstemps(t = template_of("cXXXXXX"), -1), t, 0);
	t = template_of("dirXXXXXX");
	say("mkdtemp: %d", mkdtemp(t) == t);
	t = template_of("dirXXXXX");
	PTR(mkdtemp(t));
	t = template_of("none/dXXXXXX");
	PTR(mkdtemp(t));
}
#endif

struct how {
	uint64_t flags, mode, resolve;
	uint64_t more;
};

static long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct how h = { flags, mode, resolve, 0 };
	long fd = syscall(SYS_openat2, dir, path, &h, 24);

	if (fd >= 0)
		close((int)fd);
	return fd < 0 ? -1 : 0;
}

CASE(open_openat2)
{
	struct how h = { O_RDONLY, 0, 0, 1 };
	int dir = R(open(P(""), O_RDONLY));

	put("a", "text");
	R(mkdir(P("d"), 0755));
	R(symlink("a", P("l")));
	R(symlink("../open_openat2/a", P("up")));
	R(openat2_(AT_FDCWD, P("a"), O_RDONLY, 0, 0));
	R(openat2_(dir, "a", O_RDWR, 0, 0));
	R(openat2_(dir, "a", O_RDWR, 0600, 0));
	R(openat2_(dir, "n", O_RDWR | O_CREAT, 0600, 0));
	R(openat2_(dir, "n", O_RDWR | O_CREAT, 0200600, 0));
	R(openat2_(dir, "a", 1ull << 40, 0, 0));
	R(openat2_(dir, "a", 1 << 30, 0, 0));
	R(openat2_(dir, "a", O_RDONLY, 0, 1 << 20));
	R(openat2_(dir, "a", O_RDONLY, 0, 1));
	R(openat2_(dir, "l", O_RDONLY, 0, 4));
	R(openat2_(dir, "a", O_RDONLY, 0, 4));
	R(openat2_(dir, "a", O_RDONLY, 0, 2));
	R(openat2_(dir, "a", O_RDONLY, 0, 8));
	R(openat2_(dir, "l", O_RDONLY, 0, 8));
	R(openat2_(dir, "up", O_RDONLY, 0, 8));
	R(openat2_(dir, "d/..", O_RDONLY, 0, 8));
	R(openat2_(dir, "..", O_RDONLY, 0, 8));
	R(openat2_(dir, "d/../a", O_RDONLY, 0, 8));
	R(openat2_(dir, "d/../../open_openat2/a", O_RDONLY, 0, 8));
	R(openat2_(dir, "/a", O_RDONLY, 0, 8));
	R(openat2_(dir, "none", O_RDONLY, 0, 8));
	R(openat2_(dir, "a", O_RDONLY, 0, 16));
	R(openat2_(dir, "/a", O_RDONLY, 0, 16));
	R(openat2_(dir, "../../a", O_RDONLY, 0, 16));
	R(openat2_(dir, "a", O_RDONLY, 0, 8 | 16));
	R(openat2_(dir, "a", O_RDWR | O_TRUNC, 0, 32));
	R(openat2_(dir, "a", O_PATH | O_RDWR, 0, 0));
	R(openat2_(dir, "a", O_PATH | O_NOFOLLOW, 0, 0));
	R(syscall(SYS_openat2, dir, "a", &h, 32));
	R(syscall(SYS_openat2, dir, "a", &h, 23));
	R(syscall(SYS_openat2, dir, "a", &h, 8192));
	R(syscall(SYS_openat2, dir, "a", (void *)1, 24));
	R(syscall(SYS_openat2, dir, (void *)1, &h, 24));
	h.more = 0;
	OK(syscall(SYS_openat2, dir, "a", &h, 32));
}
