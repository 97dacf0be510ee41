/* Directories that are removed while somebody is in them: as the working directory, by a descriptor, in a forked
 * child, in a program that was executed; and the directories above them, removed too. */
#define _GNU_SOURCE
#include "posix_diff.h"

/* What nobody holds is collected some 50 ms after its removal, and nothing tells when: later, on purpose. */
static void collected(void)
{
	(usleep)(200000);
}

static bool same(const char *a, const char *b)
{
	struct stat one, two;

	return (stat)(a, &one) == 0 && (stat)(b, &two) == 0 && one.st_ino == two.st_ino;
}

static void links(const char *what)
{
	struct stat st;

	if ((stat)(what, &st) < 0)
		say("  %s: %s", what, strerrorname_np(errno));
	else
		say("  %s: mode %o links %d", what, st.st_mode, (int)st.st_nlink);
}

static void list_here(void)
{
	char buf[512];
	int fd = R(open(".", O_RDONLY | O_DIRECTORY));
	DIR *d = opendir(".");

	R(syscall(SYS_getdents64, fd, buf, sizeof buf));
	PTR(d);
	errno = 0;
	if (d)
		PTR(readdir(d));
	if (d)
		R(closedir(d));
	R((close)(fd));
}

static void nothing_can_be_made(void)
{
	R(open("x", O_CREAT | O_RDWR, 0600));
	R(open("x", O_RDONLY));
	R(mkdir("x", 0700));
	R(mknod("x", S_IFIFO | 0600, 0));
	R(symlink("target", "x"));
	R(link("../f", "x"));
	R(rename("../f", "x"));
	R(rename("x", "../g"));
	R(rename("x", "y"));
	R(unlink("x"));
	R(rmdir("x"));
	R(access("x", F_OK));
	R(truncate("x", 0));
	R(chmod("x", 0600));
	R(rmdir("."));
	R(rename(".", "../e"));
	R(chdir("x"));
}

IN_CHILD(gone_working_directory)
{
	char buf[PATH_MAX];

	put("f", "text");
	R(mkdir(P("d"), 0755));
	R(chdir(P("d")));
	R(rmdir("../d"));
	collected();
	PTR(getcwd(buf, sizeof buf));
	links(".");
	links("..");
	links("../f");
	list_here();
	nothing_can_be_made();
	R(chmod(".", 0700));
	R(chown(".", 1, 1));
	R(utimensat(AT_FDCWD, ".", NULL, 0));
	R(setxattr(".", "user.a", "x", 1, 0));
	R(getxattr(".", "user.a", buf, 10));
	R(access(".", R_OK | W_OK | X_OK));
	links(".");
	R(chdir("."));
	R(chdir("./."));
	links("../f");
	R(chdir(".."));
	links(".");
	links("d");
	links("f");
	PTR(getcwd(buf, sizeof buf));
}

IN_CHILD(gone_with_those_above)
{
	char buf[PATH_MAX];

	put("f", "text");
	R(mkdir(P("a"), 0751));
	R(mkdir(P("a/b"), 0752));
	R(mkdir(P("a/b/c"), 0754));
	R(chdir(P("a/b/c")));
	R(rmdir("../c"));
	R(rmdir("../../b"));
	R(rmdir("../../../a"));
	collected();
	links(".");
	links("..");
	links("../..");
	links("../../..");
	links("../../../f");
	R(open("../x", O_CREAT | O_RDWR, 0600));
	R(mkdir("../../x", 0700));
	R(chdir(".."));
	links(".");
	collected();
	PTR(getcwd(buf, sizeof buf));
	list_here();
	links("c");
	links("../../f");
	R(chdir(".."));
	collected();
	links(".");
	links("b");
	links("../f");
	R(chdir(".."));
	links(".");
	links("f");
	links("a");
}

IN_CHILD(gone_and_made_again)
{
	char buf[PATH_MAX];

	R(mkdir(P("d"), 0755));
	R(mkdir(P("e"), 0711));
	R(chdir(P("d")));
	R(rmdir("../d"));
	R(mkdir("../d", 0700));
	put("../d/new", "x");
	collected();
	PTR(getcwd(buf, sizeof buf));
	links(".");
	links("../d");
	say("same: %d", same(".", "../d"));
	list_here();
	R(chdir("../e"));
	R(mkdir("../g", 0750));
	R(rename("../g", "../e"));
	collected();
	links(".");
	links("../e");
	PTR(getcwd(buf, sizeof buf));
	R(chdir("../e"));
	links(".");
	PTR(getcwd(buf, sizeof buf));
}

static void by_descriptor(int fd)
{
	struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	struct stat st, up;
	char buf[64];
	int other;

	facts_fd(fd);
	R(fstatat(fd, ".", &st, 0));
	R(fstatat(fd, "", &st, AT_EMPTY_PATH));
	say("links %d", (int)st.st_nlink);
	R(fstatat(fd, "..", &up, 0));
	say("above: %d", up.st_nlink > 1 && up.st_ino != st.st_ino);
	R(openat(fd, "x", O_CREAT | O_RDWR, 0600));
	R(mkdirat(fd, "x", 0700));
	R(symlinkat("x", fd, "y"));
	R(linkat(fd, "../f", fd, "f", 0));
	R(renameat(fd, "../f", fd, "f"));
	R(unlinkat(fd, "x", 0));
	R(faccessat(fd, "x", F_OK, 0));
	R(faccessat(fd, ".", R_OK, 0));
	R(fchmod(fd, 0755));
	R(fchown(fd, 2, 2));
	R(futimens(fd, now));
	R(fsetxattr(fd, "user.b", "y", 1, 0));
	R(fgetxattr(fd, "user.b", buf, 5));
	R(fsync(fd));
	OK(other = openat(fd, ".", O_RDONLY | O_DIRECTORY));
	R(syscall(SYS_getdents64, other, buf, sizeof buf));
	R(syscall(SYS_getdents64, fd, buf, sizeof buf));
	R((close)(other));
	OK(other = openat(fd, "../f", O_RDONLY));
	R((close)(other));
	R(fchdir(fd));
	links(".");
	links("../f");
	R(chdir(".."));
	links("f");
	R((close)(fd));
}

/* Somebody else does it. */
static void remove_elsewhere(const char *name)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit((rmdir)(name) < 0);
	(waitpid)(pid, &status, 0);
	say("removed: %d", status);
}

IN_CHILD(gone_by_descriptor)
{
	int fd;

	put("f", "text");
	R(mkdir(P("d"), 0755));
	OK(fd = open(P("d"), O_RDONLY | O_DIRECTORY));
	remove_elsewhere(P("d"));
	collected();
	by_descriptor(fd);
}

IN_CHILD(gone_by_path_descriptor)
{
	int fd;

	put("f", "text");
	R(mkdir(P("d"), 0755));
	OK(fd = open(P("d"), O_PATH | O_DIRECTORY));
	remove_elsewhere(P("d"));
	collected();
	by_descriptor(fd);
}

/* What only a name was opened of is there as long as the descriptor, and can still be opened by it. */
IN_CHILD(gone_file_by_path_descriptor)
{
	char path[40], buf[10] = "";
	struct stat st;
	int fd, copy, other;

	put("f", "text");
	OK(fd = open(P("f"), O_PATH));
	OK(copy = dup(fd));
	R((close)(fd));
	R(unlink(P("f")));
	collected();
	facts_fd(copy);
	sprintf(path, "/proc/self/fd/%d", copy);
	R(stat(path, &st));
	OK(other = open(path, O_RDWR));
	R(read(other, buf, sizeof buf));
	say("%s", buf);
	R((close)(copy));
	collected();
	facts_fd(other);
	R(write(other, "more", 4));
	R(pread(other, buf, sizeof buf, 2));
	R((close)(other));
}

IN_CHILD(gone_under_a_stream)
{
	DIR *d;

	R(mkdir(P("d"), 0755));
	d = opendir(P("d"));
	PTR(d);
	R(rmdir(P("d")));
	collected();
	rewinddir(d);
	errno = 0;
	PTR(readdir(d));
	R(fchdir(dirfd(d)));
	links(".");
	R(closedir(d));
	links(".");
	R(chdir(".."));
	links("d");
}

/* The child's is its own, also when the one that it has it from has ended. */
CASE(gone_in_a_child)
{
	int tell[2], gone[2], done[2], status;
	char c;
	pid_t pid;

	put("f", "text");
	R(mkdir(P("d"), 0755));
	if (pipe(tell) < 0 || pipe(gone) < 0 || pipe(done) < 0)
		abort();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		R(chdir(P("d")));
		if (fork() > 0)
			_exit(0);
		(close)(tell[0]);
		(close)(gone[1]);
		links("../f");
		(close)(tell[1]);
		(read)(gone[0], &c, 1);
		collected();
		links(".");
		links("../f");
		R(chdir(".."));
		links("f");
		fflush(stdout);
		_exit(0);
	}
	(waitpid)(pid, &status, 0);
	(close)(tell[1]);
	(close)(gone[0]);
	(read)(tell[0], &c, 1);
	R(rmdir(P("d")));
	(write)(gone[1], "x", 1);
	(close)(gone[1]);
	(close)(done[1]);
	(read)(done[0], &c, 1); /* nobody writes: it ends with the child */
}

#ifndef VIA_SYSCALL
/* A program that is executed there, and what it executes. */
IN_CHILD(gone_and_executed)
{
	put("f", "text");
	R(mkdir(P("d"), 0755));
	R(chdir(P("d")));
	R(rmdir("../d"));
	fflush(stdout);
	R(system("exec 2>&1; sleep 0.2; ls; ls ../f; : >x; stat -c %h .; cd -P ..; ls") == 0);
	R(mkdir("../e", 0755));
	R(chdir("../e"));
	fflush(stdout);
	R(system("exec 2>&1; rmdir ../e; sleep 0.2; stat -c %h .; mkdir x; cd -P ..; ls") == 0);
	links(".");
	collected();
	links("../f");
}
#endif
