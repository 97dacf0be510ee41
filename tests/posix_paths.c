/* Every call that takes a path, with every kind of path: files, directories, links that lead somewhere,
 * nowhere and in circles, trailing slashes, dots, names that are too long. The tree is made anew
 * for each, and what is left of it is shown. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <ftw.h>

static char tree[32], long255[300], long256[300], deep[PATH_MAX + 64];

static const char *T(const char *name)
{
	static char buf[8][PATH_MAX + 128];
	static int k;
	char *p = buf[k++ % 8];

	sprintf(p, "%s/%s", tree, name);
	return P(p);
}

static const char *const names[] = {
	"f", "f/", "f/.", "f/x", "d", "d/", "d/.", "d/..", "d/in", "d/in/..", "e", "e/", "lf", "lf/",
	"ld", "ld/", "ld/.", "ld/in", "dang", "dang/", "loop", "loop/x", "none", "none/", "none/x",
	"none/..", ".", "..", "./f", "d//in", "d/../f", "d/../none", long255, long256, deep,
};
#define N_NAMES (sizeof names / sizeof *names)

static const char *label(const char *name)
{
	return name == long255 ? "<255>" : name == long256 ? "<256>" : name == deep ? "<deep>" : name;
}

static void build(void)
{
	static int n;

	if (!long255[0]) {
		memset(long255, 'x', 255);
		memset(long256, 'x', 256);
		/* (not for realpath, whose limit is its result's) */
		for (size_t i = 0; i + 2 < PATH_MAX; i += 2)
			memcpy(deep + i, "./", 3);
	}
	snprintf(tree, sizeof tree, "t%d", n++);
	if ((mkdir)(P(tree), 0777) || (mkdir)(T("d"), 0755) || (mkdir)(T("e"), 0755))
		abort();
	(close)((open)(T("f"), O_CREAT | O_WRONLY, 0644));
	(close)((open)(T("d/in"), O_CREAT | O_WRONLY, 0600));
	(symlink)("f", T("lf"));
	(symlink)("d", T("ld"));
	(symlink)("nowhere", T("dang"));
	(symlink)("loop", T("loop"));
}

static char summary[4096];

static void walk(const char *dir)
{
	struct dirent **list;
	char name[600];
	int n = scandir(T(dir), &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		struct stat st;

		if (strcmp(list[i]->d_name, ".") == 0 || strcmp(list[i]->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof name, "%s%s%s", dir, *dir ? "/" : "", list[i]->d_name);
		if ((lstat)(T(name), &st) < 0)
			st.st_mode = 0;
		sprintf(summary + strlen(summary), " %.40s:%o:%d", name, st.st_mode, (int)st.st_nlink);
		if (S_ISDIR(st.st_mode))
			walk(name);
	}
	for (int i = 0; i < n; i++)
		free(list[i]);
	if (n >= 0)
		free(list);
}

static char untouched[4096];

static void left(void)
{
	summary[0] = '\0';
	walk("");
	if (strcmp(summary, untouched) != 0)
		say("  left:%s", summary);
}

static void begin(void)
{
	build();
	summary[0] = '\0';
	walk("");
	strcpy(untouched, summary);
}

#define RESULT(text, call, ...)                                                                    \
	do {                                                                                       \
		long _r;                                                                           \
		errno = 0;                                                                         \
		_r = (long)(call);                                                                 \
		if (_r == -1)                                                                      \
			say(text " = %s", __VA_ARGS__, strerrorname_np(errno));                    \
		else                                                                               \
			say(text " = %ld", __VA_ARGS__, _r);                                       \
	} while (0)

/* A call that changes nothing, on one tree. */
#define LOOK(id, call)                                                                             \
	CASE(id)                                                                                   \
	{                                                                                          \
		struct stat st = { 0 };                                                            \
		char buf[PATH_MAX] = "";                                                           \
		(void)st, (void)buf;                                                               \
		build();                                                                           \
		for (size_t i = 0; i < N_NAMES; i++) {                                             \
			const char *p = T(names[i]);                                               \
			(void)p;                                                                   \
			RESULT(#id " %s", call, label(names[i]));                                  \
		}                                                                                  \
		say(#id " empty: %d", ({ const char *p = ""; (void)p; (long)(call); }) < 0);       \
	}
/* One that does. */
#define CHANGE(id, call)                                                                           \
	CASE(id)                                                                                   \
	{                                                                                          \
		for (size_t i = 0; i < N_NAMES; i++) {                                             \
			const char *p;                                                             \
			begin();                                                                   \
			p = T(names[i]);                                                           \
			RESULT(#id " %s", call, label(names[i]));                                  \
			left();                                                                    \
		}                                                                                  \
		/* Which of two errors comes first does not matter. */                             \
		say(#id " empty: %d", ({ const char *p = ""; (long)(call); }) < 0);                \
	}

static long closing(int fd)
{
	return fd < 0 ? -1 : ((close)(fd), 0);
}

static long closing_dir(DIR *d)
{
	return d ? closedir(d) : -1;
}

static long freeing(char *p, const char *dir)
{
	if (!p)
		return -1;
	say("  %s", strstr(p, dir) ? strstr(p, dir) : "above");
	free(p);
	return 0;
}

LOOK(path_stat, stat(p, &st) < 0 ? -1 : (long)st.st_mode)
LOOK(path_lstat, lstat(p, &st) < 0 ? -1 : (long)st.st_mode)
LOOK(path_fstatat_empty, fstatat(AT_FDCWD, p, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -1 :
											   (long)st.st_mode)
LOOK(path_statx, ({ struct statx x; statx(AT_FDCWD, p, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x) < 0 ? -1
		   : (long)x.stx_mode; }))
LOOK(path_access_f, access(p, F_OK))
LOOK(path_access_x, access(p, X_OK))
LOOK(path_faccessat, faccessat(AT_FDCWD, p, W_OK, AT_SYMLINK_NOFOLLOW))
LOOK(path_euidaccess, euidaccess(p, R_OK))
LOOK(path_eaccess, eaccess(p, R_OK))
LOOK(path_readlink, readlink(p, buf, sizeof buf))
LOOK(path_readlinkat, readlinkat(AT_FDCWD, p, buf, 2))
LOOK(path_opendir, closing_dir(opendir(p)))
LOOK(path_getxattr, getxattr(p, "user.none", buf, 10))
LOOK(path_lgetxattr, lgetxattr(p, "user.none", buf, 10))
LOOK(path_listxattr, listxattr(p, buf, 10))
LOOK(path_llistxattr, llistxattr(p, buf, 10))
LOOK(path_statfs, ({ struct statfs s; statfs(p, &s); }))
LOOK(path_statvfs, ({ struct statvfs s; statvfs(p, &s); }))
LOOK(path_pathconf, pathconf(p, _PC_NAME_MAX))
LOOK(path_realpath, strlen(p) > 3000 ? 0 : freeing(realpath(p, NULL), tree))
LOOK(path_open_read, closing(open(p, O_RDONLY)))
LOOK(path_open_path, closing(open(p, O_PATH)))
LOOK(path_open_path_nofollow, closing(open(p, O_PATH | O_NOFOLLOW)))
LOOK(path_open_write, closing(open(p, O_WRONLY)))
LOOK(path_open_nofollow, closing(open(p, O_RDONLY | O_NOFOLLOW)))
LOOK(path_open_directory, closing(open(p, O_RDONLY | O_DIRECTORY)))
LOOK(path_open_directory_nofollow, closing(open(p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)))
LOOK(path_open_directory_write, closing(open(p, O_RDWR | O_DIRECTORY)))
LOOK(path_open_tmpfile_read, closing(open(p, O_TMPFILE | O_RDONLY, 0600)))
LOOK(path_utimensat_omit, utimensat(AT_FDCWD, p, ((struct timespec[]){ { 0, UTIME_OMIT }, { 0, UTIME_OMIT } }), 0))
CHANGE(path_open_tmpfile, closing(open(p, O_TMPFILE | O_RDWR, 0600)))
CHANGE(path_open_create, closing(open(p, O_RDWR | O_CREAT, 0644)))
CHANGE(path_open_create_excl, closing(open(p, O_RDWR | O_CREAT | O_EXCL, 0644)))
CHANGE(path_open_create_nofollow, closing(open(p, O_RDONLY | O_CREAT | O_NOFOLLOW, 0600)))
CHANGE(path_open_trunc_read, closing(open(p, O_RDONLY | O_TRUNC)))
CHANGE(path_creat, closing(creat(p, 0640)))
CHANGE(path_mkdir, mkdir(p, 0750))
CHANGE(path_rmdir, rmdir(p))
CHANGE(path_unlink, unlink(p))
CHANGE(path_unlinkat_dir, unlinkat(AT_FDCWD, p, AT_REMOVEDIR))
CHANGE(path_unlinkat_bad, unlinkat(AT_FDCWD, p, 0x4000))
CHANGE(path_remove, remove(p))
CHANGE(path_truncate, truncate(p, 3))
CHANGE(path_chmod, chmod(p, 0711))
CHANGE(path_fchmodat_nofollow, fchmodat(AT_FDCWD, p, 0711, 0))
CHANGE(path_chown, chown(p, 12, 34))
CHANGE(path_lchown, lchown(p, 12, 34))
CHANGE(path_symlink_at, symlink("target", p))
CHANGE(path_mknod, mknod(p, S_IFREG | 0644, 0))
CHANGE(path_mknod_none, mknod(p, 0644, 0))
CHANGE(path_mknod_dir, mknod(p, S_IFDIR | 0644, 0))
CHANGE(path_setxattr, setxattr(p, "user.x", "y", 1, 0))
CHANGE(path_lsetxattr, lsetxattr(p, "user.x", "y", 1, 0))
CHANGE(path_removexattr, removexattr(p, "user.x"))
CHANGE(path_link_to, link(T("f"), p))
CHANGE(path_link_from, link(p, T("new")))
CHANGE(path_linkat_follow, linkat(AT_FDCWD, p, AT_FDCWD, T("new"), AT_SYMLINK_FOLLOW))
CHANGE(path_rename_bad_flags, renameat2(AT_FDCWD, p, AT_FDCWD, T("new"), 0x80))
CHANGE(path_rename_both_flags, renameat2(AT_FDCWD, p, AT_FDCWD, T("new"), RENAME_NOREPLACE | RENAME_EXCHANGE))

static long symlinks(const char *target, const char *p)
{
	struct stat st;
	long r = symlink(target, p);

	if (r == 0 && (lstat)(p, &st) == 0)
		say("  link of size %ld", (long)st.st_size);
	return r;
}
CHANGE(path_symlink_to, symlinks(p, T("new")) < 0 ? -1 : 0)

CASE(path_chdir)
{
	for (size_t i = 0; i < N_NAMES; i++) {
		build();
		RESULT("chdir %s", chdir(T(names[i])), label(names[i]));
		(chdir)(P(""));
	}
	R(chdir(""));
}

static const char *const pair_names[] = { "f",  "f/",   "d",    "d/",   "d/.",  "d/in", "d/new", "e",
					  "e/", "e/d",  "lf",   "lf/",  "ld",   "ld/",  "dang",  "loop",
					  "none", "none/", "none/x", ".", "d/..", long256, "same" };

static void pairs(const char *what, int flags)
{
	for (size_t i = 0; i < sizeof pair_names / sizeof *pair_names; i++)
		for (size_t k = 0; k < sizeof pair_names / sizeof *pair_names; k++) {
			begin();
			(link)(T("f"), T("same"));
			RESULT("%s %s %s",
			       flags ? renameat2(AT_FDCWD, T(pair_names[i]), AT_FDCWD, T(pair_names[k]), flags) :
				       rename(T(pair_names[i]), T(pair_names[k])),
			       what, label(pair_names[i]), label(pair_names[k]));
			left();
		}
}

CASE(path_rename)
{
	pairs("rename", 0);
}

/* Between two file systems: what is wrong with either name is said first. */
CASE(path_two_systems)
{
	static const char *const others[] = { "/proc/version", "/proc/none", "/proc/none/x", "/proc/version/x",
					      "/proc/.", "" };
	int closed, file, dir;

	put("f", "text");
	dir = (open)(P(""), O_RDONLY | O_DIRECTORY);
	file = (open)(P("f"), O_RDONLY);
	closed = 3999;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		RESULT("rename to %s", rename(P("f"), others[i]), others[i]);
		RESULT("rename from %s", rename(others[i], P("new")), others[i]);
		if (i != 1) /* where proc has quirks of its own */
			RESULT("link to %s", link(P("f"), others[i]), others[i]);
		RESULT("link from %s", link(others[i], P("new")), others[i]);
		RESULT("link from %s to a file", link(others[i], P("f")), others[i]);
		RESULT("link of none to %s", link(P("none"), others[i]), others[i]);
	}
	R(renameat(dir, "f", closed, "x"));
	R(renameat(closed, "x", dir, "f"));
	R(renameat(dir, "f", file, "x"));
	R(renameat(file, "x", dir, "f"));
	R(linkat(dir, "f", closed, "x", 0));
	R(linkat(closed, "x", dir, "new", 0));
	R(renameat2(dir, "f", closed, "x", RENAME_NOREPLACE));
	facts("f");
	facts("new");
}

static int n_visited, longest;

static int count_visited(const char *path, const struct stat *st, int type)
{
	n_visited += type == FTW_D;
	longest = strlen(path) > (size_t)longest ? (int)strlen(path) : longest;
	return 0;
}

/* A tree that is deeper than a path may be long. */
CASE(path_deep_walk)
{
	char component[201] = "";

	(mkdir)(P("top"), 0755);
	(chdir)(P("top"));
	memset(component, 'd', sizeof component - 1);
	for (int i = 0; i < 24; i++)
		if ((mkdir)(component, 0755) < 0 || (chdir)(component) < 0)
			say("cannot go deeper than %d", i);
	(chdir)(P(""));
	R(ftw(P("top"), count_visited, 4));
	say("%d directories, %s", n_visited, longest > PATH_MAX ? "beyond the limit" : "below it");
}

CASE(path_rename_noreplace)
{
	pairs("noreplace", RENAME_NOREPLACE);
}

CASE(path_rename_exchange)
{
	pairs("exchange", RENAME_EXCHANGE);
}
