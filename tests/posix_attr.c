/* Attributes: stat in all its forms, modes, owners, times and when they move, extended attributes. */
#define _GNU_SOURCE
#include "posix_diff.h"

static struct stat at(const char *name)
{
	struct stat st = { 0 };

	(lstat)(P(name), &st);
	return st;
}

static int64_t ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Long enough for a clock of 4 ms. */
static void tick(void)
{
	struct timespec t = { 0, 12000000 };

	nanosleep(&t, NULL);
}

/* Which of the three times a call moves. */
static void moved(const char *what, const char *name, struct stat before)
{
	struct stat now = at(name);

	say("  %s moves %s:%s%s%s", what, name, ns(now.st_atim) != ns(before.st_atim) ? " atime" : "",
	    ns(now.st_mtim) != ns(before.st_mtim) ? " mtime" : "",
	    ns(now.st_ctim) != ns(before.st_ctim) ? " ctime" : "");
}

#define MOVES(call, name)                                                                          \
	do {                                                                                       \
		struct stat _before = at(name);                                                    \
		tick();                                                                            \
		OK(call);                                                                          \
		moved(#call, name, _before);                                                       \
	} while (0)
#define MOVES_TOO(call, name, other)                                                               \
	do {                                                                                       \
		struct stat _before = at(name), _other = at(other);                                \
		tick();                                                                            \
		OK(call);                                                                          \
		moved(#call, name, _before);                                                       \
		moved(#call, other, _other);                                                       \
	} while (0)

CASE(attr_times_that_move)
{
	int fd;

	put("a", "text");
	R(mkdir(P("d"), 0755));
	fd = R(open(P("a"), O_RDWR));
	MOVES(chmod(P("a"), 0600), "a");
	MOVES(chmod(P("a"), 0600), "a");
	MOVES(chown(P("a"), 1, 1), "a");
	MOVES(chown(P("a"), -1, -1), "a");
	MOVES(write(fd, "x", 1), "a");
	MOVES(write(fd, "x", 0), "a");
	MOVES(ftruncate(fd, 4), "a");
	MOVES(ftruncate(fd, 2), "a");
	MOVES(truncate(P("a"), 2), "a");
	MOVES(truncate(P("a"), 1), "a");
	MOVES(open(P("a"), O_RDWR | O_TRUNC), "a");
	MOVES(open(P("a"), O_RDWR | O_CREAT, 0600), "a");
	MOVES_TOO(link(P("a"), P("b")), "a", "");
	MOVES_TOO(rename(P("b"), P("c")), "a", "");
	MOVES_TOO(unlink(P("c")), "a", "");
	MOVES_TOO(mkdir(P("d/e"), 0755), "d", "");
	MOVES_TOO(rename(P("d/e"), P("e")), "d", "");
	MOVES_TOO(rename(P("e"), P("d/e")), "d", "");
	MOVES_TOO(rmdir(P("d/e")), "d", "");
	MOVES_TOO(symlink("x", P("d/s")), "d", "");
	MOVES_TOO(open(P("d/new"), O_CREAT | O_RDWR, 0600), "d", "");
	MOVES(unlink(P("d/new")), "d");
	MOVES(setxattr(P("a"), "user.x", "y", 1, 0), "a");
	MOVES(removexattr(P("a"), "user.x"), "a");
	MOVES(utimensat(AT_FDCWD, P("a"), NULL, 0), "a");
	MOVES(utimensat(AT_FDCWD, P("a"), ((struct timespec[]){ { 5, 6 }, { 0, UTIME_OMIT } }), 0), "a");
	MOVES(utimensat(AT_FDCWD, P("a"), ((struct timespec[]){ { 0, UTIME_OMIT }, { 7, 8 } }), 0), "a");
	MOVES(utimensat(AT_FDCWD, P("a"), ((struct timespec[]){ { 0, UTIME_OMIT }, { 0, UTIME_OMIT } }), 0),
	      "a");
	MOVES(fchmod(fd, 0644), "a");
	MOVES(fchown(fd, 2, 2), "a");
	MOVES(fsync(fd), "a");
	MOVES(fallocate(fd, 0, 0, 100), "a");
	MOVES(pwrite(fd, "y", 1, 50), "a");
}

CASE(attr_times_set)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 2000000000, 987654321 } };
	struct timeval v[2] = { { 1100000000, 123456 }, { 1200000000, 654321 } };
	struct utimbuf u = { 1300000000, 1400000000 };
	struct stat st;
	int fd = make("a", "text");

#define TIMES()                                                                                    \
	(st = at("a"), say("  %ld.%09ld %ld.%09ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,     \
			   (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec))
	R(utimensat(AT_FDCWD, P("a"), t, 0));
	TIMES();
	R(utimes(P("a"), v));
	TIMES();
	R(utime(P("a"), &u));
	TIMES();
	R(futimens(fd, t));
	TIMES();
	R(futimes(fd, v));
	TIMES();
	R(futimesat(AT_FDCWD, P("a"), v));
	TIMES();
	R(symlink("a", P("l")));
	R(lutimes(P("l"), v));
	TIMES();
	st = at("l");
	say("  link %ld", (long)st.st_mtim.tv_sec);
	R(utimensat(AT_FDCWD, P("l"), t, AT_SYMLINK_NOFOLLOW));
	st = at("l");
	say("  link %ld", (long)st.st_mtim.tv_sec);
	t[0].tv_nsec = 1000000000;
	R(utimensat(AT_FDCWD, P("a"), t, 0));
	t[0].tv_nsec = -1;
	R(futimens(fd, t));
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = 5;
	R(futimens(fd, t));
	TIMES();
	v[0].tv_usec = 1000000;
	R(utimes(P("a"), v));
	v[0].tv_usec = -1;
	R(futimes(fd, v));
	t[0] = (struct timespec){ -5, 7 };
	t[1] = (struct timespec){ 1l << 33, 7 };
	R(utimensat(AT_FDCWD, P("a"), t, 0));
	TIMES();
	R(utimensat(fd, NULL, t, 0));
	R(utimensat(99, NULL, t, 0));
	R(utimensat(AT_FDCWD, NULL, t, 0));
	R(utimensat(fd, "", t, AT_EMPTY_PATH));
	R(utimensat(AT_FDCWD, P("a"), (void *)1, 0));
	R(futimens(99, t));
	R(futimens(fd, NULL));
	R(utime(P("none"), NULL));
	R(utimes(P("none"), NULL));
	R(utimes(P("a"), NULL));
	R(utime(P("a"), NULL));
	R(lutimes(P("l"), NULL));
}

CASE(attr_statx)
{
	struct statx x;
	int fd = make("a", "text"), dir = R(open(P(""), O_RDONLY));

	memset(&x, 0xee, sizeof x);
	R(statx(AT_FDCWD, P("a"), 0, STATX_BASIC_STATS, &x));
	say("%x %o %d %d", x.stx_mask & STATX_BASIC_STATS, x.stx_mode, (int)x.stx_size, (int)x.stx_nlink);
	R(statx(dir, "a", AT_STATX_FORCE_SYNC, 0, &x));
	R(statx(dir, "a", AT_STATX_DONT_SYNC, 0, &x));
	R(statx(dir, "a", AT_STATX_DONT_SYNC | AT_STATX_FORCE_SYNC, 0, &x));
	R(statx(dir, "a", AT_NO_AUTOMOUNT, 0, &x));
	R(statx(dir, "a", 0x10000, 0, &x));
	R(statx(dir, "a", 0, 0x80000000u, &x));
	R(statx(dir, "a", 0, 0xffffffffu, &x));
	R(statx(dir, "a", 0, 0x7fffffffu, &x));
	R(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	R(statx(fd, "", 0, STATX_SIZE, &x));
	R(statx(99, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	R(statx(AT_FDCWD, P("a"), 0, STATX_SIZE, NULL));
	R(statx(AT_FDCWD, NULL, 0, STATX_SIZE, &x));
	R(statx(99, "a", 0, STATX_SIZE, &x));
	R(statx(fd, "a", 0, STATX_SIZE, &x));
	R(statx(AT_FDCWD, P("none"), 0, 0, &x));
}

CASE(attr_modes)
{
	int fd = make("a", "text");

	R(mkdir(P("d"), 0755));
	for (mode_t m = 0; m < 010000; m += 0421)
		R(chmod(P("a"), m)), facts("a");
	R(chmod(P("a"), 0100000 | 07777));
	facts("a");
	R(fchmod(fd, 0204644));
	facts("a");
	R(fchmod(99, 0));
	R(chmod(P("d"), 03777));
	facts("d");
	R(mkdir(P("d/e"), 0755));
	facts("d/e");
	R(symlink("a", P("l")));
	R(chmod(P("l"), 0700));
	facts("a");
	facts("l");
	R(fchmodat(AT_FDCWD, P("a"), 0600, 0x800));
	R(fchmodat(AT_FDCWD, P("l"), 0600, AT_SYMLINK_NOFOLLOW));
	R(fchmodat(AT_FDCWD, P("a"), 0604, AT_SYMLINK_NOFOLLOW));
	R(lchmod(P("l"), 0600));
	R(lchmod(P("a"), 0640));
	facts("a");
	R(chmod(P("a"), -1));
	facts("a");
}

/* As root: what chown takes away, which the last column tells. */
CASE(attr_owners)
{
	static const mode_t modes[] = { 06755, 04711, 02750, 02745, 07777, 0644 };
	int fd = make("a", "text");

	R(symlink("a", P("l")));
	R(mkdir(P("d"), 0755));
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		R(chmod(P("a"), modes[i]));
		R(chown(P("a"), 10, 20));
		facts("a");
		R(chmod(P("a"), modes[i]));
		R(fchown(fd, -1, 30));
		facts("a");
		R(chmod(P("a"), modes[i]));
		R(chown(P("a"), -1, -1));
		facts("a");
		R(chmod(P("a"), modes[i]));
		R(write(fd, "w", 1));
		facts("a");
		R(ftruncate(fd, 2));
		facts("a");
		R(chmod(P("d"), modes[i]));
		R(chown(P("d"), 10, 20));
		facts("d");
	}
	R(lchown(P("l"), 7, 8));
	facts("l");
	facts("a");
	R(chown(P("l"), 9, 9));
	facts("l");
	facts("a");
	R(fchownat(AT_FDCWD, P("l"), 1, 1, AT_SYMLINK_NOFOLLOW));
	facts("l");
	R(fchownat(fd, "", 5, 6, AT_EMPTY_PATH));
	facts("a");
	R(fchown(99, 1, 1));
	R(chown(P("none"), 1, 1));
	R(chown(P("a"), 0x7fffffff, 0x7ffffffe));
	facts("a");
}

CASE(attr_setgid_directory)
{
	R(mkdir(P("d"), 0755));
	R(chown(P("d"), 0, 77));
	R(chmod(P("d"), 02755));
	put("d/f", "x");
	facts("d/f");
	R(mkdir(P("d/s"), 0755));
	facts("d/s");
	R(mkdir(P("d/s/t"), 0700));
	facts("d/s/t");
	R(symlink("x", P("d/l")));
	facts("d/l");
	R(mknod(P("d/n"), S_IFREG | 02755, 0));
	facts("d/n");
	R(close(open(P("d/g"), O_CREAT | O_RDWR, 02770)));
	facts("d/g");
}

CASE(attr_links)
{
	struct stat st;

	R(mkdir(P("d"), 0755));
	for (int i = 0; i < 3; i++) {
		char name[16];

		sprintf(name, "d/s%d", i);
		R(mkdir(P(name), 0755));
		facts("d");
	}
	R(mkdir(P("e"), 0755));
	R(rename(P("d/s0"), P("e/s0")));
	facts("d");
	facts("e");
	R(rmdir(P("d/s1")));
	facts("d");
	R(rename(P("d/s2"), P("e/s0")));
	facts("d");
	facts("e");
	put("a", "x");
	R(link(P("a"), P("b")));
	R(link(P("a"), P("e/c")));
	facts("a");
	R(unlink(P("a")));
	facts("b");
	R(rename(P("b"), P("e/c")));
	facts("b");
	facts("e/c");
	R(unlink(P("e/c")));
	R(stat(P("b"), &st));
	R(link(P("d"), P("dl")));
}

static void names_of(const char *what, ssize_t n, const char *list)
{
	const char *sorted[64];
	int count = 0;

	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(list + i) + 1)
		if (strncmp(list + i, "security.", 9) != 0)
			sorted[count++] = list + i;
	say("  %s: %d", what, count);
	for (int i = 0; i < count; i++)
		for (int k = i + 1; k < count; k++)
			if (strcmp(sorted[i], sorted[k]) > 0) {
				const char *t = sorted[i];

				sorted[i] = sorted[k];
				sorted[k] = t;
			}
	for (int i = 0; i < count; i++)
		say("    %s", sorted[i]);
}

CASE(attr_extended)
{
	char value[70000], list[1024] = "", long_name[300] = "user.";
	int fd = make("a", "text");

	R(symlink("a", P("l")));
	R(mkdir(P("d"), 0755));
	R(setxattr(P("a"), "user.one", "1", 1, 0));
	R(setxattr(P("a"), "user.one", "22", 2, XATTR_CREATE));
	R(setxattr(P("a"), "user.two", "22", 2, XATTR_REPLACE));
	R(setxattr(P("a"), "user.two", "22", 2, XATTR_CREATE));
	R(setxattr(P("a"), "user.three", NULL, 0, 0));
	R(setxattr(P("a"), "user.x", "v", 1, 4));
	R(setxattr(P("a"), "user.x", "v", 1, XATTR_CREATE | XATTR_REPLACE));
	R(getxattr(P("a"), "user.one", value, 10));
	R(getxattr(P("a"), "user.two", value, 1));
	R(getxattr(P("a"), "user.two", value, 0));
	R(getxattr(P("a"), "user.two", NULL, 0));
	R(getxattr(P("a"), "user.three", value, 5));
	R(getxattr(P("a"), "user.none", value, 5));
	R(fgetxattr(fd, "user.two", value, 5));
	R(fsetxattr(fd, "user.four", "4", 1, 0));
	R(listxattr(P("a"), list, 0));
	R(listxattr(P("a"), list, 3));
	names_of("all", listxattr(P("a"), list, sizeof list), list);
	names_of("fd", flistxattr(fd, list, sizeof list), list);
	names_of("link", llistxattr(P("l"), list, sizeof list), list);
	R(lsetxattr(P("l"), "user.link", "x", 1, 0));
	R(lsetxattr(P("l"), "trusted.link", "x", 1, 0));
	R(lgetxattr(P("l"), "trusted.link", value, 5));
	R(lremovexattr(P("l"), "trusted.link"));
	R(setxattr(P("d"), "user.dir", "x", 1, 0));
	R(getxattr(P("d"), "user.dir", value, 5));
	R(removexattr(P("a"), "user.one"));
	R(removexattr(P("a"), "user.one"));
	R(fremovexattr(fd, "user.four"));
	R(setxattr(P("a"), "", "x", 1, 0));
	R(setxattr(P("a"), "plain", "x", 1, 0));
	R(setxattr(P("a"), "nosuch.name", "x", 1, 0));
	R(getxattr(P("a"), "plain", value, 1));
	R(getxattr(P("a"), "", value, 1));
	R(removexattr(P("a"), "plain"));
	R(setxattr(P("a"), "user.", "x", 1, 0));
	R(setxattr(P("a"), "user", "x", 1, 0));
	R(setxattr(P("a"), "trusted.t", "x", 1, 0));
	R(getxattr(P("a"), "trusted.t", value, 5));
	R(getxattr(P("a"), "security.nothing", value, 5));
	R(setxattr(P("a"), "system.nothing", "x", 1, 0));
	R(getxattr(P("a"), "system.nothing", value, 5));
	memset(long_name + 5, 'n', 251);
	R(setxattr(P("a"), long_name, "x", 1, 0));
	R(getxattr(P("a"), long_name, value, 1));
	R(setxattr(P("a"), "user.big", value, 65537, 0));
	R(setxattr(P("a"), "user.big", value, (size_t)-1, 0));
	R(getxattr(P("a"), "user.two", value, 70000));
	R(setxattr(P("none"), "user.x", "v", 1, 0));
	R(fsetxattr(99, "user.x", "v", 1, 0));
	names_of("all", listxattr(P("a"), list, sizeof list), list);
	R(unlink(P("a")));
	R(fgetxattr(fd, "user.two", value, 5));
	R(fsetxattr(fd, "user.two", "new", 3, 0));
	R(fgetxattr(fd, "user.two", value, 5));
}

CASE(attr_file_system)
{
	struct statfs a, b;
	struct statvfs v, w;
	int fd = make("a", "text");

	R(statfs(P("a"), &a));
	R(fstatfs(fd, &b));
	R(a.f_type == b.f_type && a.f_bsize == b.f_bsize && a.f_namelen == b.f_namelen);
	R(a.f_namelen);
	R(a.f_bsize > 0 && a.f_blocks >= a.f_bfree && a.f_bfree >= a.f_bavail);
	R(memcmp(&a.f_fsid, &b.f_fsid, sizeof a.f_fsid));
	R(statvfs(P("a"), &v));
	R(fstatvfs(fd, &w));
	R(v.f_frsize > 0 && v.f_namemax == 255 && v.f_fsid == w.f_fsid);
	R(v.f_flag & (ST_RDONLY | ST_NOSUID));
	R(fstatfs(99, &a));
	R(fstatvfs(99, &v));
	R(statfs(P("none"), &a));
	R(statfs(P("a"), NULL));
	R(fstatfs(fd, NULL));
	for (int name = 0; name < 22; name++) {
		long p = pathconf(P("a"), name), q = fpathconf(fd, name);

		say("pathconf %d: %d %d", name, p == q, p == -1 ? 0 : 1);
	}
	R(pathconf(P("a"), _PC_NAME_MAX));
	R(pathconf(P("a"), _PC_PATH_MAX));
	R(pathconf(P("a"), _PC_PIPE_BUF));
	R(pathconf(P("a"), 999));
	R(fpathconf(fd, 999));
	R(fpathconf(99, _PC_NAME_MAX));
	R(pathconf(P("none"), _PC_NAME_MAX));
}

#ifndef VIA_SYSCALL
int __xstat(int, const char *, struct stat *), __lxstat(int, const char *, struct stat *),
	__fxstat(int, int, struct stat *), __fxstatat(int, int, const char *, struct stat *, int),
	__xstat64(int, const char *, struct stat64 *), __lxstat64(int, const char *, struct stat64 *),
	__fxstat64(int, int, struct stat64 *),
	__fxstatat64(int, int, const char *, struct stat64 *, int),
	__xmknod(int, const char *, mode_t, dev_t *), __xmknodat(int, int, const char *, mode_t, dev_t *);

CASE(attr_old_names)
{
	struct stat st;
	struct stat64 s;
	dev_t dev = 0;
	int fd = make("a", "text");

	R(__xstat(1, P("a"), &st));
	R(st.st_size);
	R(__lxstat(1, P("a"), &st));
	R(__fxstat(1, fd, &st));
	R(__fxstatat(1, AT_FDCWD, P("a"), &st, 0));
	R(__xstat64(1, P("a"), &s));
	R(__lxstat64(1, P("none"), &s));
	R(__fxstat64(1, fd, &s));
	R(__fxstatat64(1, AT_FDCWD, P("a"), &s, 0));
	R(s.st_size);
	R(__xstat(77, P("a"), &st));
	R(__fxstat(77, fd, &st));
	R(stat64(P("a"), &s));
	R(lstat64(P("a"), &s));
	R(fstat64(fd, &s));
	R(fstatat64(AT_FDCWD, P("a"), &s, 0));
	R(__xmknod(0, P("n"), S_IFREG | 0600, &dev));
	R(__xmknod(9, P("m"), S_IFREG | 0600, &dev));
	R(__xmknodat(0, AT_FDCWD, P("m"), S_IFREG | 0600, &dev));
	R(statfs64(P("a"), &(struct statfs64){ 0 }));
	R(fstatfs64(fd, &(struct statfs64){ 0 }));
	R(statvfs64(P("a"), &(struct statvfs64){ 0 }));
	R(fstatvfs64(fd, &(struct statvfs64){ 0 }));
	R(truncate64(P("a"), 3));
	R(ftruncate64(fd, 2));
	R(lseek64(fd, 0, SEEK_END));
	R(fallocate64(fd, 0, 0, 10));
	E(posix_fallocate64(fd, 0, 20));
	E(posix_fadvise64(fd, 0, 20, 0));
	facts("a");
}
#endif
