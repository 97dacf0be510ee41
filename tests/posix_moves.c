/* Who may take a name away, or put one there: each kind of file, renamed, linked and unlinked by its owner, the
 * directory's, and others, where a sticky bit is and where not; what a directory that is moved needs; and
 * that a call which fails leaves all times as they are. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <grp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#define USER 12345
#define OTHER 12347
#define GROUP 12346

static const char *const kinds[] = { "file", "directory", "fifo", "link", "socket" };
#define N_KINDS (sizeof kinds / sizeof *kinds)

static void make_kind(size_t kind, const char *name)
{
	mode_t old = (umask)(0);

	if (kind == 0)
		put(name, "x");
	else if (kind == 1)
		(mkdir)(P(name), 0777);
	else if (kind == 2)
		(mkfifo)(P(name), 0666);
	else if (kind == 3)
		(symlink)("target", P(name));
	else
		(mknod)(P(name), S_IFSOCK | 0666, 0);
	(umask)(old);
}

static size_t kind_now;
static const uid_t owners[] = { USER, OTHER, 0 };

/* Names: s<owner of the directory><owner of the file>. */
static const char *in(int dir_owner, int file_owner, const char *what)
{
	static char buf[8][40];
	static int k;
	char *p = buf[k++ % 8];

	sprintf(p, "%s-%d/%s%d", kinds[kind_now], dir_owner, what, file_owner);
	return p;
}

static void sticky_as_user(void)
{
	for (int d = 0; d < 3; d++)
		for (int f = 0; f < 3; f++) {
			say("%s of %d in a directory of %d", kinds[kind_now], f, d);
			R(rename(P(in(d, f, "a")), P(in(d, f, "new"))));
			R(rename(P(in(d, f, "b")), P(in(0, f, "moved"))));
			R(rename(P(in(d, 0, "mine")), P(in(d, f, "over"))));
			R(renameat2(AT_FDCWD, P(in(d, 0, "other")), AT_FDCWD, P(in(d, f, "c")), RENAME_EXCHANGE));
			R(unlinkat(AT_FDCWD, P(in(d, f, "d")), kind_now == 1 ? AT_REMOVEDIR : 0));
			R(link(P(in(d, f, "e")), P(in(d, f, "linked"))));
		}
}

static void sticky_kind(size_t kind)
{
	static const char *const each[] = { "a", "b", "c", "d", "e", "over" };
	char name[16];

	kind_now = kind;
	for (int d = 0; d < 3; d++) {
		sprintf(name, "%s-%d", kinds[kind], d);
		(mkdir)(P(name), 0777);
		for (int f = 0; f < 3; f++)
			for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
				make_kind(kind, in(d, f, each[i]));
				(lchown)(P(in(d, f, each[i])), owners[f], GROUP);
			}
		make_kind(kind, in(d, 0, "mine")), (lchown)(P(in(d, 0, "mine")), USER, GROUP);
		make_kind(kind, in(d, 0, "other")), (lchown)(P(in(d, 0, "other")), USER, GROUP);
		(chown)(P(name), owners[d], GROUP);
		(chmod)(P(name), 01777);
	}
	as_user(USER, GROUP, sticky_as_user);
	for (int d = 0; d < 3; d++) {
		sprintf(name, "%s-%d", kinds[kind], d);
		listing(name);
	}
}

CASE(moves_sticky)
{
	for (size_t k = 0; k < N_KINDS; k++)
		sticky_kind(k);
}

static void directory_as_user(void)
{
	R(rename(P("a/mine"), P("b/mine"))); /* its ".." changes */
	R(rename(P("a/locked"), P("b/locked")));
	R(rename(P("a/locked"), P("a/stays")));
	R(rename(P("a/others"), P("b/others")));
	R(rename(P("a/file"), P("b/file")));
	R(rename(P("a/file2"), P("closed/file2")));
	R(rename(P("closed/in"), P("a/in")));
	R(rename(P("a/file2"), P("unsearched/x")));
	R(rename(P("unsearched/in"), P("a/x")));
	R(rename(P("readonly/in"), P("readonly/in2")));
	R(rename(P("readonly/in"), P("readonly/in")));
	R(rename(P("a/file2"), P("readonly/in")));
	R(rename(P("a/none"), P("readonly/x")));
	R(rename(P("a"), P("a/mine2/x")));
	R(rename(P("a/mine2"), P("full")));
	R(rename(P("a/mine2"), P("empty")));
	R(renameat2(AT_FDCWD, P("b/mine"), AT_FDCWD, P("a/locked"), RENAME_EXCHANGE));
	R(link(P("a/file2"), P("readonly/l")));
	R(link(P("unsearched/in"), P("a/l")));
	R(link(P("readonly/in"), P("a/l")));
	R(symlink("x", P("readonly/s")));
	R(mkdir(P("readonly/d"), 0755));
	R(mkfifo(P("readonly/p"), 0644));
	R(mknod(P("a/dev"), S_IFCHR | 0600, makedev(1, 3)));
	R(open(P("readonly/new"), O_CREAT | O_RDWR, 0644));
	R(open(P("readonly/in"), O_CREAT | O_RDWR, 0644));
	R(open(P("readonly/in"), O_CREAT | O_EXCL | O_RDONLY, 0644));
	R(open(P("noread"), O_RDONLY | O_TRUNC));
	R(open(P("noread"), O_WRONLY));
	OK(open(P("noread"), O_PATH));
	R(open(P("nowrite"), O_RDONLY | O_TRUNC));
	facts("nowrite");
	R(open(P("a"), O_TMPFILE | O_RDWR, 0600) >= 0);
	R(open(P("readonly"), O_TMPFILE | O_RDWR, 0600));
	R(rmdir(P("readonly/d0")));
	R(unlink(P("readonly/in")));
	R(unlink(P("readonly/none")));
	R(rmdir(P("readonly")));
	R(rmdir(P("full")));
}

CASE(moves_directories)
{
	static const char *const dirs[] = { "a", "b", "closed", "unsearched", "readonly", "a/mine", "a/mine2",
					    "a/locked", "a/others", "full", "empty", "readonly/d0" };
	static const char *const files[] = { "a/file", "a/file2", "closed/in", "unsearched/in", "readonly/in",
					     "full/in", "noread", "nowrite" };

	(umask)(0);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		(mkdir)(P(dirs[i]), 0777);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		put(files[i], "text");
	(chown)(P("a/mine"), USER, GROUP), (chmod)(P("a/mine"), 0755);
	(chown)(P("a/mine2"), USER, GROUP);
	(chown)(P("a/locked"), USER, GROUP), (chmod)(P("a/locked"), 0555);
	(chmod)(P("a/others"), 0755);
	(chmod)(P("closed"), 0), (chmod)(P("unsearched"), 0666), (chmod)(P("readonly"), 0555);
	(chmod)(P("noread"), 0333), (chmod)(P("nowrite"), 0444);
	as_user(USER, GROUP, directory_as_user);
	listing("a"), listing("b"), listing("");
}

/* Groups that a user has besides his own; what the file loses when its group is changed. */
static void groups_as_user(void)
{
	R(chown(P("mine"), -1, GROUP + 1));
	facts("mine");
	R(chown(P("mine"), -1, GROUP + 7));
	R(chown(P("mine"), USER, GROUP));
	facts("mine");
	R(chown(P("mine"), OTHER, -1));
	R(chown(P("of-group"), -1, GROUP));
	R(chmod(P("of-group"), 0600));
	OK(open(P("of-group"), O_RDWR));
	OK(open(P("of-second"), O_RDWR));
	OK(open(P("of-third"), O_RDWR));
	R(access(P("of-second"), R_OK | W_OK));
	R(access(P("of-third"), R_OK));
	R(chmod(P("second-sgid"), 02755));
	facts("second-sgid");
	R(chmod(P("third-sgid"), 02755));
	facts("third-sgid");
	R(lchown(P("link"), -1, GROUP + 1));
	facts("link");
	R(utimensat(AT_FDCWD, P("of-second"), NULL, 0));
	R(utimensat(AT_FDCWD, P("of-third"), NULL, 0));
	R(utimensat(AT_FDCWD, P("of-second"), (struct timespec[]){ { 1, 0 }, { 1, 0 } }, 0));
	R(utimensat(AT_FDCWD, P("of-second"), (struct timespec[]){ { 0, UTIME_NOW }, { 0, UTIME_NOW } }, 0));
	R(utimensat(AT_FDCWD, P("of-second"), (struct timespec[]){ { 0, UTIME_OMIT }, { 0, UTIME_NOW } }, 0));
	R(utimensat(AT_FDCWD, P("of-third"), (struct timespec[]){ { 0, UTIME_OMIT }, { 0, UTIME_OMIT } }, 0));
	R(utimensat(AT_FDCWD, P("of-third"), (struct timespec[]){ { 0, UTIME_NOW }, { 0, UTIME_NOW } }, 0));
	put("made", "x");
	facts("made");
}

static void with_groups(void)
{
	gid_t more[] = { GROUP, GROUP + 1, GROUP + 2 };

	(umask)(022);
	if (setgroups(3, more) < 0 || setresgid(GROUP, GROUP, GROUP) < 0 || setresuid(USER, USER, USER) < 0)
		abort();
	groups_as_user();
}

static void owned(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	put(name, "text");
	(chown)(P(name), uid, gid);
	(chmod)(P(name), mode);
}

CASE(moves_groups)
{
	owned("mine", USER, GROUP, 06755);
	owned("of-group", 0, GROUP, 0060);
	owned("of-second", 0, GROUP + 1, 0060);
	owned("of-third", 0, GROUP + 7, 0060);
	owned("second-sgid", USER, GROUP + 1, 0644);
	owned("third-sgid", USER, GROUP + 7, 0644);
	(symlink)("mine", P("link"));
	(lchown)(P("link"), USER, GROUP);
	in_child(with_groups);
}

/* --- What fails changes nothing ------------------------------------------------------------ */

static struct stat before[4];
static const char *const watched[] = { "f", "d", "d/in", "" };

static void note(void)
{
	for (int i = 0; i < 4; i++)
		(lstat)(P(watched[i]), &before[i]);
}

static void unchanged(const char *what)
{
	struct stat now;

	for (int i = 0; i < 4; i++) {
		(lstat)(P(watched[i]), &now);
		if (now.st_mtim.tv_sec != before[i].st_mtim.tv_sec || now.st_mtim.tv_nsec != before[i].st_mtim.tv_nsec)
			say("  %s: mtime of %s moved", what, watched[i]);
		if (now.st_ctim.tv_sec != before[i].st_ctim.tv_sec || now.st_ctim.tv_nsec != before[i].st_ctim.tv_nsec)
			say("  %s: ctime of %s moved", what, watched[i]);
		if (now.st_mode != before[i].st_mode || now.st_nlink != before[i].st_nlink)
			say("  %s: %s changed", what, watched[i]);
	}
}

#define FAILS(call)                                                                                \
	do {                                                                                       \
		R(call);                                                                           \
		unchanged(#call);                                                                  \
	} while (0)

static void failures_as_user(void)
{
	FAILS(chmod(P("f"), 0777));
	FAILS(chown(P("f"), USER, GROUP));
	FAILS(truncate(P("f"), 1));
	FAILS(rename(P("f"), P("g")));
	FAILS(link(P("d/in"), P("d/l")));
	FAILS(unlink(P("d/in")));
	FAILS(mkdir(P("d/new"), 0755));
	FAILS(open(P("f"), O_WRONLY | O_TRUNC));
	FAILS(setxattr(P("f"), "user.x", "y", 1, 0));
	FAILS(utimensat(AT_FDCWD, P("f"), NULL, 0));
}

CASE(moves_failures)
{
	struct timespec t = { 0, 12000000 };
	int fd;

	put("f", "text");
	R(mkdir(P("d"), 0755));
	put("d/in", "x");
	fd = R(open(P("f"), O_RDONLY));
	(chmod)(P(""), 0755);
	nanosleep(&t, NULL);
	note();
	FAILS(mkdir(P("d"), 0700));
	FAILS(rmdir(P("d")));
	FAILS(rmdir(P("f")));
	FAILS(unlink(P("d")));
	FAILS(rename(P("d"), P("f")));
	FAILS(rename(P("f"), P("d")));
	FAILS(rename(P("d"), P("d/in")));
	FAILS(rename(P("f"), P("f")));
	FAILS(link(P("f"), P("d/in")));
	FAILS(link(P("d"), P("x")));
	FAILS(symlink("x", P("f")));
	FAILS(open(P("f"), O_CREAT | O_EXCL | O_RDWR, 0600));
	FAILS(ftruncate(fd, 1));
	FAILS(write(fd, "x", 1));
	FAILS(truncate(P("f"), -1));
	FAILS(removexattr(P("f"), "user.none"));
	FAILS(setxattr(P("f"), "user.none", "x", 1, XATTR_REPLACE));
	FAILS(access(P("f"), R_OK));
	FAILS(read(fd, (char[2]){ 0 }, 2));
	as_user(USER, GROUP, failures_as_user);
}

/* --- Special files ------------------------------------------------------------------------- */

static void nothing(int number)
{
	(void)number;
}

CASE(moves_special)
{
	struct sigaction a = { .sa_handler = nothing };
	int fd, wr;
	char c;

	(mkfifo)(P("fifo"), 0644);
	make_kind(4, "socket");
	R(open(P("fifo"), O_WRONLY | O_NONBLOCK));
	R(open(P("fifo"), O_WRONLY | O_NONBLOCK | O_TRUNC));
	fd = R(open(P("fifo"), O_RDONLY | O_NONBLOCK));
	R(read(fd, &c, 1));
	wr = R(open(P("fifo"), O_WRONLY | O_NONBLOCK));
	R(read(fd, &c, 1));
	R(write(wr, "p", 1));
	R(read(fd, &c, 1));
	R(lseek(fd, 0, SEEK_CUR));
	R(pread(fd, &c, 1, 0));
	R(ftruncate(wr, 0));
	R(close(fd));
	signal(SIGPIPE, SIG_IGN);
	R(write(wr, "p", 1));
	R(close(wr));
	sigaction(SIGALRM, &a, NULL);
	signals_come(true);
	R(open(P("fifo"), O_RDONLY)); /* waits for a writer; no SA_RESTART */
	signals_come(false);
	R(open(P("socket"), O_RDONLY));
	R(open(P("socket"), O_WRONLY | O_NONBLOCK));
	OK(open(P("socket"), O_PATH));
	R(truncate(P("fifo"), 0));
	R(truncate(P("socket"), 0));
	R(chmod(P("fifo"), 0600));
	R(chown(P("socket"), 7, 7));
	R(link(P("fifo"), P("fifo2")));
	R(rename(P("socket"), P("socket2")));
	R(setxattr(P("fifo"), "user.x", "y", 1, 0));
	R(getxattr(P("fifo"), "user.x", &c, 1));
	R(mkdir(P("fifo"), 0755));
	R(rmdir(P("fifo")));
	R(chdir(P("socket2")));
	R(rename(P("fifo2"), P("fifo"))); /* both are one */
	R(unlink(P("fifo2")));
	listing("");
}
