/* metad_posix ADDRESS DIRECTORY SEED N: N random operations on ff3fs-metad and on a local directory, as
 * root and as two other users: every errno and every attribute must be equal. Runs as root.
 *
 * The first difference is printed with the operation, and the exit status is 1. Paths that leave the
 * file system (".." above its root) are not done locally. */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "metad_client.h"

static const struct {
	uint32_t uid, gid;
	uint32_t group;
} users[] = { { 0, 0, 0 }, { 1001, 1001, 2000 }, { 1002, 1002, 2000 } };

static struct mc *clients[ARRAY_SIZE(users)];
static unsigned user;
static int top; /* the local directory */
static char op_text[12000];

static unsigned rnd(unsigned n)
{
	return (unsigned)random() % n;
}

static void become(unsigned i)
{
	gid_t groups[1] = { users[i].group };

	if (seteuid(0) < 0 || setgroups(i ? 1 : 0, groups) < 0 || setegid(users[i].gid) < 0 ||
	    seteuid(users[i].uid) < 0) {
		perror("become");
		exit(99);
	}
	user = i;
}

static const char *random_name(void)
{
	static char names[4][300];
	static const char *const usual[] = { "a", "b", "c", "d", "e", "f" };
	static unsigned turn;
	char *name = names[turn++ % 4];
	unsigned r = rnd(100);

	if (r < 88)
		return usual[rnd(ARRAY_SIZE(usual))];
	if (r < 92)
		return ".";
	if (r < 96)
		return "..";
	memset(name, 'x', 300);
	name[r < 99 ? 255 : 256] = 0;
	return name;
}

/* A relative path of one to three names, perhaps with slashes at its end. */
static const char *random_path(void)
{
	static char paths[4][1024];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	unsigned n = 1 + rnd(3);

	*path = 0;
	for (unsigned i = 0; i < n; i++) {
		strcat(path, random_name());
		if (i + 1 < n)
			strcat(path, rnd(20) ? "/" : "//");
	}
	if (rnd(10) == 0)
		strcat(path, "/");
	return path;
}

static int result(int r)
{
	return r < 0 ? -errno : 0;
}

static void differ(const char *what, long remote, long local)
{
	become(0);
	fprintf(stderr, "user %u: %s: %s: metad %ld (%s), local %ld (%s)\n", users[user].uid, op_text,
		what, remote, remote < 0 ? ff3_strerror((int)remote) : "", local,
		local < 0 ? strerror((int)-local) : "");
	exit(1);
}

static void same(const char *what, long remote, long local)
{
	if (remote != local) {
		fprintf(stderr, "[as uid %u] ", users[user].uid);
		differ(what, remote, local);
	}
}

static void compare_attr(const struct ff3_attr *a, const struct stat *st)
{
	same("mode", a->mode, st->st_mode);
	same("uid", a->uid, st->st_uid);
	same("gid", a->gid, st->st_gid);
	same("nlink", a->nlink, (long)st->st_nlink);
	if (!S_ISDIR(a->mode))
		same("size", (long)a->size, st->st_size);
}

static void stat_both(const char *path, bool follow)
{
	struct ff3_rep_lookup p;
	struct stat st;
	int r = MC(clients[user], lookup, &p,
		   .at = mc_at(FF3_ROOT_INO, path, follow ? 0 : FF3_PATH_NOFOLLOW));

	if (r == FF3_E_REDIRECT)
		return;
	same("stat", r, result(fstatat(top, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW)));
	if (r == 0)
		compare_attr(&p.attr, &st);
}

#define OP(...) snprintf(op_text, sizeof op_text, __VA_ARGS__)
#define TAG .tag = mc_tag(clients[user])
#define AT(path) mc_at(FF3_ROOT_INO, path, 0)
#define REMOTE(op, ...) MC_DO(clients[user], op, __VA_ARGS__)
#define LOCAL_UNLESS_REDIRECT(what, r, expression)                                                 \
	do {                                                                                       \
		if ((r) != FF3_E_REDIRECT)                                                         \
			same(what, r, result(expression));                                         \
	} while (0)

static void do_mkdir(void)
{
	const char *path = random_path();
	unsigned mode = rnd(4) ? 0777 : rnd(4) ? rnd(01000) : 02777;
	int r;

	OP("mkdir %s %o", path, mode);
	r = REMOTE(mkdir, TAG, .at = AT(path), .mode = mode);
	LOCAL_UNLESS_REDIRECT("mkdir", r, mkdirat(top, path, mode));
}

static void do_rmdir(void)
{
	const char *path = random_path();
	int r;

	OP("rmdir %s", path);
	r = REMOTE(rmdir, TAG, .at = AT(path));
	LOCAL_UNLESS_REDIRECT("rmdir", r, unlinkat(top, path, AT_REMOVEDIR));
}

static void do_unlink(void)
{
	const char *path = random_path();
	int r;

	OP("unlink %s", path);
	r = REMOTE(unlink, TAG, .at = AT(path));
	LOCAL_UNLESS_REDIRECT("unlink", r, unlinkat(top, path, 0));
}

static void do_rename(void)
{
	const char *from = random_path(), *to = random_path();
	unsigned flags = rnd(2) ? 0 : rnd(4);
	int r;

	OP("rename %s %s flags %u", from, to, flags);
	r = REMOTE(rename, TAG, .from = AT(from), .to = AT(to), .flags = flags);
	LOCAL_UNLESS_REDIRECT("rename", r, renameat2(top, from, top, to, flags));
}

static void do_link(void)
{
	const char *from = random_path(), *to = random_path();
	bool follow = rnd(2);
	int r;

	OP("link %s %s follow %d", from, to, follow);
	r = REMOTE(link, TAG, .from = mc_at(FF3_ROOT_INO, from, follow ? 0 : FF3_PATH_NOFOLLOW),
		   .to = AT(to));
	LOCAL_UNLESS_REDIRECT("link", r, linkat(top, from, top, to, follow ? AT_SYMLINK_FOLLOW : 0));
}

static void do_symlink(void)
{
	const char *target = random_path(), *path = random_path();
	int r;

	OP("symlink %s %s", target, path);
	if (strstr(target, "..")) /* would be followed beyond the local directory */
		return;
	r = REMOTE(symlink, TAG, .at = AT(path), .target = ff3_str_from(target));
	LOCAL_UNLESS_REDIRECT("symlink", r, symlinkat(target, top, path));
}

static void do_open(void)
{
	const char *path = random_path();
	unsigned flags = 0, at_flags = 0, access = rnd(3), mode = rnd(3) ? 0666 : rnd(010000);
	int local = access == 0 ? O_RDONLY : access == 1 ? O_WRONLY : O_RDWR, r, fd;
	struct ff3_rep_open p;
	struct stat st;

	flags = access == 0 ? FF3_OPEN_READ :
		access == 1 ? FF3_OPEN_WRITE :
			      FF3_OPEN_READ | FF3_OPEN_WRITE;
	if (rnd(3)) {
		flags |= FF3_OPEN_CREATE;
		local |= O_CREAT;
		if (rnd(3) == 0) {
			flags |= FF3_OPEN_EXCLUSIVE;
			local |= O_EXCL;
		}
	} else if (rnd(4) == 0) {
		at_flags |= FF3_PATH_DIRECTORY;
		local |= O_DIRECTORY;
	}
	if (rnd(4) == 0) {
		flags |= FF3_OPEN_TRUNCATE;
		local |= O_TRUNC;
	}
	if (rnd(4) == 0) {
		at_flags |= FF3_PATH_NOFOLLOW;
		local |= O_NOFOLLOW;
	}
	OP("open %s flags %o mode %o", path, local, mode);
	r = MC(clients[user], open, &p, TAG, .at = mc_at(FF3_ROOT_INO, path, at_flags), .flags = flags,
	       .mode = mode);
	if (r == FF3_E_REDIRECT)
		return;
	fd = openat(top, path, local | O_CLOEXEC, mode);
	/* Linux' rule about sticky directories meets a link that is not to be followed. */
	if (r == -ELOOP && fd < 0 && errno == EACCES && (local & O_NOFOLLOW))
		return;
	same("open", r, fd < 0 ? -errno : 0);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0)
		compare_attr(&p.attr, &st);
	close(fd);
	REMOTE(release, .ino = p.attr.ino, .n = 1);
}

static void do_chmod(void)
{
	const char *path = random_path();
	unsigned mode = rnd(3) ? 0777 : rnd(010000);
	int r;

	OP("chmod %s %o", path, mode);
	r = REMOTE(setattr, TAG, .at = AT(path), .valid = FF3_SET_MODE, .mode = mode);
	LOCAL_UNLESS_REDIRECT("chmod", r, fchmodat(top, path, mode, 0));
}

static void do_chown(void)
{
	static const uint32_t ids[] = { 0, 1001, 1002, 2000, 3000 };
	const char *path = random_path();
	uint32_t uid = rnd(2) ? (uint32_t)-1 : ids[rnd(5)], gid = rnd(2) ? (uint32_t)-1 : ids[rnd(5)];
	bool follow = rnd(2);
	int r;

	if (uid == (uint32_t)-1 && gid == (uint32_t)-1)
		return;
	OP("chown %s %d %d follow %d", path, (int)uid, (int)gid, follow);
	r = REMOTE(setattr, TAG, .at = mc_at(FF3_ROOT_INO, path, follow ? 0 : FF3_PATH_NOFOLLOW),
		   .valid = (uid != (uint32_t)-1 ? FF3_SET_UID : 0) |
			    (gid != (uint32_t)-1 ? FF3_SET_GID : 0),
		   .uid = uid, .gid = gid);
	LOCAL_UNLESS_REDIRECT("chown", r,
			      fchownat(top, path, uid, gid, follow ? 0 : AT_SYMLINK_NOFOLLOW));
}

static void do_utimens(void)
{
	static const long kinds[] = { UTIME_NOW, UTIME_OMIT, 123456789 };
	const char *path = random_path();
	struct timespec ts[2] = { { 1000000000, kinds[rnd(3)] }, { -5, kinds[rnd(3)] } };
	struct ff3_rep_lookup p;
	struct stat st;
	uint32_t valid = 0;
	int r;

	if (ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
		return;
	OP("utimens %s %ld %ld", path, ts[0].tv_nsec, ts[1].tv_nsec);
	valid |= ts[0].tv_nsec == UTIME_NOW  ? FF3_SET_ATIME_NOW :
		 ts[0].tv_nsec == UTIME_OMIT ? 0 :
					       FF3_SET_ATIME;
	valid |= ts[1].tv_nsec == UTIME_NOW  ? FF3_SET_MTIME_NOW :
		 ts[1].tv_nsec == UTIME_OMIT ? 0 :
					       FF3_SET_MTIME;
	r = REMOTE(setattr, TAG, .at = AT(path), .valid = valid,
		   .atime = { (uint64_t)ts[0].tv_sec, 123456789 },
		   .mtime = { (uint64_t)ts[1].tv_sec, 123456789 });
	LOCAL_UNLESS_REDIRECT("utimens", r, utimensat(top, path, ts, 0));
	if (r != 0 || fstatat(top, path, &st, 0) < 0 ||
	    MC(clients[user], lookup, &p, .at = AT(path)) < 0)
		return;
	if (valid & FF3_SET_ATIME)
		same("atime", (long)p.attr.atime.sec, st.st_atim.tv_sec);
	if (valid & FF3_SET_MTIME) {
		same("mtime", (long)p.attr.mtime.sec, st.st_mtim.tv_sec);
		same("mtime nsec", p.attr.mtime.nsec, st.st_mtim.tv_nsec);
	}
}

static void do_truncate(void)
{
	const char *path = random_path();
	char full[2048];
	long size = rnd(3) * 100000;
	int r;

	OP("truncate %s %ld", path, size);
	r = REMOTE(truncate, TAG, .at = AT(path), .size = (uint64_t)size);
	snprintf(full, sizeof full, "/proc/self/fd/%d/%s", top, path);
	LOCAL_UNLESS_REDIRECT("truncate", r, truncate(full, size));
}

static void do_access(void)
{
	const char *path = random_path();
	unsigned mask = rnd(8);
	int r;

	OP("access %s %o", path, mask);
	r = REMOTE(access, .at = AT(path), .mask = mask);
	LOCAL_UNLESS_REDIRECT("access", r, faccessat(top, path, (int)mask, AT_EACCESS));
}

static void do_readlink(void)
{
	const char *path = random_path();
	struct ff3_rep_readlink p;
	char target[4096];
	ssize_t n;
	int r;

	OP("readlink %s", path);
	r = MC(clients[user], readlink, &p, .at = AT(path));
	if (r == FF3_E_REDIRECT)
		return;
	n = readlinkat(top, path, target, sizeof target);
	same("readlink", r, n < 0 ? -errno : 0);
	if (r == 0)
		same("target", 0, p.target.len != n || memcmp(p.target.p, target, (size_t)n) != 0);
}

static void do_xattr(void)
{
	static const char *const names[] = { "user.a", "user.b", "trusted.c", "user.", "bad" };
	const char *path = random_path(), *name = names[rnd(5)];
	char full[2048], value[64];
	unsigned flags = rnd(3);
	struct ff3_rep_getxattr p;
	ssize_t n;
	int r;

	snprintf(full, sizeof full, "/proc/self/fd/%d/%s", top, path);
	switch (rnd(3)) {
	case 0:
		OP("setxattr %s %s flags %u", path, name, flags);
		r = REMOTE(setxattr, TAG, .at = AT(path), .name = ff3_str_from(name),
			   .value = { "value", 5 }, .flags = flags);
		LOCAL_UNLESS_REDIRECT("setxattr", r, setxattr(full, name, "value", 5, (int)flags));
		return;
	case 1:
		OP("removexattr %s %s", path, name);
		r = REMOTE(removexattr, TAG, .at = AT(path), .name = ff3_str_from(name));
		LOCAL_UNLESS_REDIRECT("removexattr", r, removexattr(full, name));
		return;
	}
	OP("getxattr %s %s", path, name);
	r = MC(clients[user], getxattr, &p, .at = AT(path), .name = ff3_str_from(name));
	if (r == FF3_E_REDIRECT)
		return;
	n = getxattr(full, name, value, sizeof value);
	same("getxattr", r, n < 0 ? -errno : 0);
	if (r == 0)
		same("length", p.value.len, n);
}

static void do_stat(void)
{
	const char *path = random_path();
	bool follow = rnd(2);

	OP("stat %s follow %d", path, follow);
	stat_both(path, follow);
}

/* --- The whole tree, at the end ------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_remote(uint64_t ino, char ***ret)
{
	struct ff3_rep_readdir p = { .end = 0 };
	uint64_t cookie = 0;
	size_t n = 0;
	char **all = NULL;

	while (!p.end) {
		struct ff3_dec d;
		struct ff3_dirent e;
		int r = MC(clients[0], readdir, &p, .ino = ino, .cookie = cookie, .max_bytes = 600,
			   .with_attr = 1);

		if (r < 0)
			differ("readdir", r, 0);
		for (d = ff3_dec_blob(p.entries); ff3_dec_more(&d);) {
			ff3_get_dirent(&d, &e);
			cookie = e.cookie;
			all = realloc(all, (n + 1) * sizeof *all);
			all[n++] = strndup(e.name.p, e.name.len);
		}
	}
	if (n > 0)
		qsort(all, n, sizeof *all, by_text);
	*ret = all;
	return n;
}

static size_t list_local(const char *path, char ***ret)
{
	int fd = openat(top, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	size_t n = 0;
	char **all = NULL;

	while (dir && (e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		all = realloc(all, (n + 1) * sizeof *all);
		all[n++] = strdup(e->d_name);
	}
	closedir(dir);
	if (n > 0)
		qsort(all, n, sizeof *all, by_text);
	*ret = all;
	return n;
}

static unsigned compare_tree(const char *path)
{
	struct ff3_rep_lookup p;
	char **remote, **local, below[8192];
	unsigned count = 1;
	size_t n;

	OP("tree at %s", path);
	stat_both(path, false);
	if (MC(clients[0], lookup, &p, .at = mc_at(FF3_ROOT_INO, path, FF3_PATH_NOFOLLOW)) < 0)
		return count;
	if (!S_ISDIR(p.attr.mode))
		return count;
	n = list_remote(p.attr.ino, &remote);
	same("entries", (long)n, (long)list_local(path, &local));
	for (size_t i = 0; i < n; i++) {
		same("name", 0, strcmp(remote[i], local[i]));
		snprintf(below, sizeof below, "%s/%s", path, remote[i]);
		count += compare_tree(below);
		free(remote[i]);
		free(local[i]);
	}
	free(remote);
	free(local);
	return count;
}

int main(int argc, char **argv)
{
	static void (*const ops[])(void) = { do_mkdir, do_mkdir,   do_mkdir,	do_rmdir,    do_unlink,
					     do_rename, do_rename, do_link,	do_symlink,  do_open,
					     do_open,	do_open,   do_chmod,	do_chown,    do_utimens,
					     do_truncate, do_access, do_readlink, do_xattr,  do_stat };
	unsigned long n = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	unsigned names;

	if (argc < 5) {
		fprintf(stderr, "usage: metad_posix ADDRESS DIRECTORY SEED N\n");
		return 2;
	}
	srandom((unsigned)strtoul(argv[3], NULL, 10));
	umask(0);
	top = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < ARRAY_SIZE(users); i++) {
		int r = mc_new(argv[1], 0, users[i].uid, users[i].gid, FF3_ROLE_CLIENT, &clients[i]);

		if (r < 0 || top < 0)
			return 99;
		/* Before anything connects: identities are sent with the first call. */
		clients[i]->groups[0] = users[i].group;
	}
	for (unsigned long i = 0; i < n; i++) {
		become(rnd(3));
		ops[rnd(ARRAY_SIZE(ops))]();
	}
	become(0);
	names = compare_tree(".");
	printf("%lu operations agree; %u names at the end\n", n, names);
	return 0;
}
