/* Permission: what an unprivileged user may do, sticky directories, and users that change on the way.
 * Needs root for the other sides. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <grp.h>
#include <sys/fsuid.h>

#define USER 12345
#define GROUP 12346

static void modes_as_user(void)
{
	char name[16];

	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "f%o", m);
		OK(open(P(name), O_RDONLY));
		OK(open(P(name), O_WRONLY));
		OK(open(P(name), O_RDWR));
		R(access(P(name), R_OK));
		R(access(P(name), W_OK));
		R(access(P(name), X_OK));
		R(truncate(P(name), 1));
		R(chmod(P(name), 0777));
		R(utimensat(AT_FDCWD, P(name), NULL, 0));
		R(utimensat(AT_FDCWD, P(name), ((struct timespec[]){ { 1, 1 }, { 1, 1 } }), 0));
		R(setxattr(P(name), "user.x", "1", 1, 0));
		R(getxattr(P(name), "user.x", name, 0) < 0 ? -1 : 0);
	}
}

CASE(perm_file_modes)
{
	char name[16];

	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "f%o", m);
		put(name, "text");
		(chmod)(P(name), m);
	}
	as_user(USER, GROUP, modes_as_user);
	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "f%o", m);
		(chown)(P(name), 1, GROUP);
		(chmod)(P(name), m << 3);
	}
	as_user(USER, GROUP, modes_as_user);
	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "f%o", m);
		(chown)(P(name), USER, 1);
		(chmod)(P(name), m << 6);
	}
	as_user(USER, GROUP, modes_as_user);
}

static void directories_as_user(void)
{
	char name[16], in[24], made[24];
	DIR *d;

	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "d%o", m);
		sprintf(in, "%s/in", name);
		sprintf(made, "%s/made", name);
		say("mode %o", m);
		d = opendir(P(name));
		PTR(d);
		if (d)
			closedir(d);
		R(access(P(in), F_OK));
		OK(open(P(in), O_RDONLY));
		OK(open(P(made), O_CREAT | O_RDWR, 0600));
		R(unlink(P(made)));
		R(mkdir(P(made), 0700));
		R(rmdir(P(made)));
		R(symlink("x", P(made)));
		R(rename(P(made), P(in)));
		R(link(P(in), P(made)));
		R(unlink(P(in)));
		R(chdir(P(name)));
		R(mknod(P(made), S_IFREG | 0600, 0));
		R(rmdir(P(name)));
	}
}

CASE(perm_directory_modes)
{
	char name[16], in[24];

	for (mode_t m = 0; m < 8; m++) {
		sprintf(name, "d%o", m);
		sprintf(in, "%s/in", name);
		(mkdir)(P(name), 0777);
		put(in, "x");
		(chmod)(P(in), 0666);
		(chmod)(P(name), m);
	}
	as_user(USER, GROUP, directories_as_user);
	listing("");
}

static void sticky_as_user(void)
{
	R(unlink(P("s/root")));
	R(unlink(P("s/mine")));
	R(rename(P("s/root"), P("s/x")));
	R(rename(P("s/mine2"), P("s/root")));
	R(rename(P("s/mine2"), P("s/x")));
	R(rmdir(P("s/rootdir")));
	R(rmdir(P("s/minedir")));
	R(link(P("s/root"), P("s/l")));
	put("s/new", "x");
	R(unlink(P("s/new")));
	R(rename(P("s/x"), P("x")));
	R(rename(P("s/rootdir"), P("rootdir")));
	R(renameat2(AT_FDCWD, P("s/mine3"), AT_FDCWD, P("s/root"), RENAME_EXCHANGE));
}

static void own_sticky(void)
{
	R(unlink(P("s/root")));
	R(rmdir(P("s/rootdir")));
}

CASE(perm_sticky)
{
	R(mkdir(P("s"), 0777));
	R(chmod(P("s"), 01777));
	put("s/root", "x");
	(chmod)(P("s/root"), 0666);
	put("s/mine", "x");
	put("s/mine2", "x");
	put("s/mine3", "x");
	(mkdir)(P("s/rootdir"), 0777);
	(mkdir)(P("s/minedir"), 0777);
	(chown)(P("s/mine"), USER, GROUP);
	(chown)(P("s/mine2"), USER, GROUP);
	(chown)(P("s/mine3"), USER, GROUP);
	(chown)(P("s/minedir"), USER, GROUP);
	as_user(USER, GROUP, sticky_as_user);
	listing("s");
	R(chown(P("s"), USER, GROUP));
	R(chmod(P("s"), 01777));
	as_user(USER, GROUP, own_sticky);
	listing("s");
}

static void owner_as_user(void)
{
	gid_t groups[2];

	R(chown(P("mine"), -1, GROUP));
	facts("mine");
	R(chown(P("mine"), USER, -1));
	facts("mine");
	R(chown(P("mine"), -1, -1));
	facts("mine");
	R(chown(P("mine"), 0, -1));
	R(chown(P("mine"), -1, 0));
	R(chown(P("root"), -1, GROUP));
	R(chown(P("root"), -1, -1));
	R(chmod(P("mine"), 06777));
	facts("mine");
	R(chmod(P("other-group"), 02777));
	facts("other-group");
	R(chmod(P("root"), 0777));
	OK(open(P("mine"), O_RDONLY | O_NOATIME));
	OK(open(P("root"), O_RDONLY | O_NOATIME));
	R(write(open(P("suid"), O_WRONLY), "x", 1));
	facts("suid");
	R(truncate(P("suid2"), 1));
	facts("suid2");
	R(close(open(P("suid3"), O_WRONLY | O_TRUNC)));
	facts("suid3");
	R(write(open(P("sgid-locked"), O_WRONLY), "x", 1));
	facts("sgid-locked");
	R(setxattr(P("mine"), "trusted.x", "1", 1, 0));
	R(getxattr(P("mine"), "trusted.x", groups, 1));
	if (kernel_since(6, 11)) /* earlier ones do not look at it where LSMs are programs of BPF */
		R(setxattr(P("mine"), "security.x", "1", 1, 0));
	R(setxattr(P("sticky"), "user.x", "1", 1, 0));
	R(mknod(P("open/dev"), S_IFCHR | 0600, makedev(1, 3)));
	R(mknod(P("open/reg"), S_IFREG | 0600, 0));
	facts("open/reg");
	R(chroot(P("open")));
	R(unlink(P("open")));



	R(link(P("mine"), P("open/hard2")));
}

CASE(perm_owner)
{
	static const char *const suid[] = { "suid", "suid2", "suid3" };

	put("mine", "x");
	(chown)(P("mine"), USER, 1);
	(chmod)(P("mine"), 06755);
	put("other-group", "x");
	(chown)(P("other-group"), USER, 1);
	put("root", "x");
	put("readable", "x");
	for (int i = 0; i < 3; i++) {
		put(suid[i], "text");
		(chmod)(P(suid[i]), 06777);
	}
	put("sgid-locked", "x");
	(chmod)(P("sgid-locked"), 02766);
	R(mkdir(P("open"), 0777));
	R(chmod(P("open"), 0777));
	R(mkdir(P("sticky"), 0777));
	R(chmod(P("sticky"), 01777));
	as_user(USER, GROUP, owner_as_user);
}

static void setgid_as_user(void)
{
	put("d/f", "x");
	facts("d/f");
	R(mkdir(P("d/s"), 0755));
	facts("d/s");
	R(close(open(P("d/x"), O_CREAT | O_RDWR, 02755)));
	facts("d/x");
	R(close(open(P("d/y"), O_CREAT | O_RDWR, 02745)));
	facts("d/y");
	R(chmod(P("d/f"), 02755));
	facts("d/f");
	R(chmod(P("d/s"), 02755));
	facts("d/s");
	R(chmod(P("d/s"), 0755));
	facts("d/s");
}

CASE(perm_setgid_directory)
{
	R(mkdir(P("d"), 0777));
	R(chown(P("d"), 0, 77));
	R(chmod(P("d"), 02777));
	as_user(USER, GROUP, setgid_as_user);
}

/* A process that changes its user while it runs, as servers and test suites do. */
IN_CHILD(perm_changing_user)
{
	gid_t group = 77;
	int fd;

	put("root", "x");
	(chmod)(P("root"), 0600);
	put("group", "x");
	(chown)(P("group"), 0, 77);
	(chmod)(P("group"), 0060);
	OK(open(P("root"), O_RDONLY));
	R(seteuid(USER));
	OK(open(P("root"), O_RDONLY));
	R(access(P("root"), R_OK)); /* by the real user */
	R(faccessat(AT_FDCWD, P("root"), R_OK, AT_EACCESS));
	R(euidaccess(P("root"), R_OK));
	put("made", "x");
	facts("made");
	R(seteuid(0));
	OK(open(P("root"), O_RDONLY));
	R(setegid(GROUP));
	put("made2", "x");
	facts("made2");
	R(setegid(0));
	R(setgroups(1, &group));
	R(seteuid(USER));
	OK(open(P("group"), O_RDWR));
	R(seteuid(0));
	R(setgroups(0, NULL));
	R(seteuid(USER));
	OK(open(P("group"), O_RDWR));
	R(seteuid(0));
	R(setreuid(USER, 0));
	R(access(P("root"), R_OK));
	OK(open(P("root"), O_RDONLY));
	R(faccessat(AT_FDCWD, P("root"), R_OK, AT_EACCESS));
	R(setresuid(0, 0, 0));
	R(setfsuid(USER) >= 0);
	OK(open(P("root"), O_RDONLY));
	R(setfsuid(0) == USER);
	OK(open(P("root"), O_RDONLY));
	R(setfsgid(GROUP) >= 0);
	put("made3", "x");
	facts("made3");
	R(setfsgid(0) == GROUP);
	fd = R(open(P("root"), O_RDWR));
	R(setregid(GROUP, GROUP));
	R(setgid(GROUP));
	R(setuid(USER));
	OK(open(P("root"), O_RDONLY));
	R(write(fd, "more", 4)); /* what is open stays open */
	R(fsync(fd));
	R(fchmod(fd, 0777));
	R(ftruncate(fd, 2));
	facts_fd(fd);
	R(mkdir(P("by-user"), 0755));
	facts("by-user");
}

static void search_as_user(void)
{
	struct stat st;

	R(stat(P("closed/in"), &st));
	R(lstat(P("closed/in"), &st));
	R(access(P("closed/in"), F_OK));
	R(chdir(P("closed")));
	R(chdir(P("closed/d")));
	R(open(P("closed/in"), O_RDONLY));
	R(open(P("closed/new"), O_CREAT | O_RDWR, 0600));
	R(truncate(P("closed/in"), 0));
	R(chmod(P("closed/in"), 0));
	R(chown(P("closed/in"), 1, 1));
	R(unlink(P("closed/in")));
	R(rmdir(P("closed/d")));
	R(mkdir(P("closed/n"), 0));
	R(rename(P("closed/in"), P("closed/x")));
	R(link(P("closed/in"), P("x")));
	R(symlink("x", P("closed/l")));
	R(readlink(P("closed/l0"), (char[4]){ 0 }, 4));
	R(statfs(P("closed/in"), &(struct statfs){ 0 }));
	R(getxattr(P("closed/in"), "user.x", NULL, 0));
	R(utimensat(AT_FDCWD, P("closed/in"), NULL, 0));
	PTR(opendir(P("closed/d")));
	PTR(realpath(P("closed/in"), NULL));
	R(pathconf(P("closed/in"), _PC_NAME_MAX));
	R(readlink(P("l"), (char[4]){ 0 }, 4));
	R(stat(P("l"), &st));
	R(mkdir(P("none/x"), 0));
	R(rmdir(P("closed/none")));
}

CASE(perm_search)
{
	R(mkdir(P("closed"), 0755));
	put("closed/in", "x");
	R(mkdir(P("closed/d"), 0777));
	R(symlink("in", P("closed/l0")));
	R(symlink("closed/in", P("l")));
	R(chmod(P("closed"), 0700));
	as_user(USER, GROUP, search_as_user);
}
