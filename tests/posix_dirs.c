/* Directories: streams and their positions, getdents64, changes while reading, walks (ftw, nftw, fts),
 * scandir, glob, wordexp, realpath, the working directory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "posix_diff.h"

#include <fts.h>
#include <ftw.h>
#include <glob.h>

static void fill(int n)
{
	char name[32];

	for (int i = 0; i < n; i++) {
		sprintf(name, "n%03d", i);
		(close)((open)(P(name), O_CREAT | O_WRONLY, 0600));
	}
}

CASE(dir_streams)
{
	struct dirent *e, *third = NULL;
	long where[32];
	char seen[32][20];
	int n = 0, bad = 0;
	DIR *d;

	fill(20);
	R(mkdir(P("sub"), 0755));
	R(symlink("n001", P("link")));
	d = opendir(P(""));
	PTR(d);
	where[0] = telldir(d);
	while (n < 31 && (e = readdir(d))) {
		snprintf(seen[n++], 20, "%s", e->d_name);
		where[n] = telldir(d);
		bad += e->d_off != where[n];
		bad += e->d_reclen < sizeof e->d_ino || e->d_ino == 0;
	}
	say("%d entries, %d bad", n, bad);
	R(errno = 0);
	PTR(readdir(d));
	for (int i = n - 1; i >= 0; i--) {
		seekdir(d, where[i]);
		e = readdir(d);
		bad += !e || strcmp(e->d_name, seen[i]) != 0;
	}
	say("seekdir: %d bad", bad);
	rewinddir(d);
	e = readdir(d);
	say("rewinddir: %d", e && strcmp(e->d_name, seen[0]) == 0);
	put("late", "x");
	rewinddir(d);
	for (n = 0; (e = readdir(d));)
		n += strcmp(e->d_name, "late") == 0;
	say("late %d", n);
	R(dirfd(d) >= 3);
	R(fcntl(dirfd(d), F_GETFD));
	R(fcntl(dirfd(d), F_GETFL) & ~0100000);
	R(closedir(d));
	PTR(third);
	listing("");
}

/* Everything that was there at the beginning comes once, whatever is removed meanwhile. */
CASE(dir_remove_while_reading)
{
	struct dirent *e;
	int n = 0;
	DIR *d;

	fill(300);
	d = opendir(P(""));
	while ((e = readdir(d)))
		if (e->d_name[0] == 'n') {
			char name[300];

			snprintf(name, sizeof name, "%s", e->d_name);
			n += unlink(P(name)) == 0;
		}
	say("%d removed", n);
	R(closedir(d));
	listing("");
	fill(200);
	d = opendir(P(""));
	for (n = 0; n < 20 && readdir(d); n++)
		;
	for (int i = 0; i < 200; i += 2) {
		char name[32];

		sprintf(name, "n%03d", i);
		unlink(P(name));
	}
	for (n = 0; (e = readdir(d));)
		n += e->d_name[0] == 'n' && (e->d_name[3] - '0') % 2 == 0 && access(P(e->d_name), F_OK) == 0;
	say("%d ghosts", n);
	R(closedir(d));
}

CASE(dir_descriptor_streams)
{
	char c;
	int fd = R(open(P(""), O_RDONLY)), copy, file;
	DIR *d = fdopendir(fd);

	PTR(d);
	R(dirfd(d) == fd);
	R(fcntl(fd, F_GETFD));
	copy = R(dup(fd));
	for (int i = 0; i < 2; i++)
		PTR(readdir(d));
	R(closedir(d));
	R(fcntl(fd, F_GETFD));
	R(fcntl(copy, F_GETFD));
	file = make("a", "x");
	PTR(fdopendir(file));
	PTR(fdopendir(99));
	PTR(fdopendir(open(P("a"), O_PATH)));
	R(read(file, &c, 1));
	PTR(opendir(P("a")));
	PTR(opendir(P("none")));
}

CASE(dir_readdir_r)
{
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct dirent e, *got;
	struct dirent64 e64, *got64;
	DIR *d;
	int n = 0;

	fill(3);
	d = opendir(P(""));
	while (readdir_r(d, &e, &got) == 0 && got)
		n++;
	say("%d, %d", n, got == NULL);
	rewinddir(d);
	for (n = 0; readdir64_r(d, &e64, &got64) == 0 && got64; n++)
		;
	rewinddir(d);
	say("%d", n);
	for (n = 0; readdir64(d); n++)
		;
	say("%d", n);
	closedir(d);
}

CASE(dir_getdents)
{
	char buf[2048];
	int fd, n = 0;
	long r;

	fill(100);
	fd = R(open(P(""), O_RDONLY | O_DIRECTORY));
	R(getdents64(fd, buf, 1));
	R(getdents64(fd, buf, 0));
	while ((r = getdents64(fd, buf, sizeof buf)) > 0)
		for (long i = 0; i < r; n++)
			i += *(unsigned short *)(buf + i + 16);
	say("%d entries, %ld", n, r);
	R(getdents64(fd, buf, sizeof buf));
	R(lseek(fd, 0, SEEK_SET));
	R(getdents64(fd, buf, sizeof buf) > 0);
	R(getdents64(fd, (void *)1, 2000));
#ifdef SYS_getdents
	R(lseek(fd, 0, SEEK_SET));
	for (n = 0; (r = syscall(SYS_getdents, fd, buf, sizeof buf)) > 0;)
		for (long i = 0; i < r; n++)
			i += *(unsigned short *)(buf + i + 16);
	say("getdents: %d entries, %ld", n, r);
	R(syscall(SYS_getdents, 99, buf, sizeof buf));
#endif
	R(rmdir(P("none")));
}

static void small_tree(void)
{
	(mkdir)(P("t"), 0755);
	(mkdir)(P("t/a"), 0755);
	(mkdir)(P("t/b"), 0755);
	(mkdir)(P("t/b/c"), 0755);
	put("t/f", "1");
	put("t/a/g", "22");
	put("t/b/c/h", "333");
	(symlink)("f", P("t/l"));
	(symlink)("b", P("t/ld"));
	(symlink)("nowhere", P("t/dang"));
}

/* --- ftw, nftw: the order of a directory is not given, so lines are sorted ------------------- */

static char lines[100][200];
static int n_lines, stop_at, base_of_root;

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void print_lines(const char *what, int r, int error)
{
	qsort(lines, (size_t)n_lines, sizeof *lines, by_text);
	for (int i = 0; i < n_lines; i++)
		say("  %s", lines[i]);
	say("%s = %d %s", what, r, r == -1 ? strerrorname_np(error) : "");
	n_lines = 0;
}

static int on_nftw(const char *path, const struct stat *st, int type, struct FTW *f)
{
	const char *name = path + base_of_root;

	if (n_lines < 100)
		sprintf(lines[n_lines++], "%s %s type %d level %d%s", name, path + f->base, type, f->level,
			type == FTW_F ? st->st_size == 1 ? " 1" : " more" : "");
	return stop_at && strstr(path, "/f") ? stop_at : 0;
}

static int on_ftw(const char *path, const struct stat *st, int type)
{
	(void)st;
	if (n_lines < 100)
		sprintf(lines[n_lines++], "%s type %d", path + base_of_root, type);
	return 0;
}

static int on_chdir(const char *path, const struct stat *st, int type, struct FTW *f)
{
	struct stat here;
	int r = (lstat)(type == FTW_D && f->level == 0 ? "." : path + f->base, &here);

	sprintf(lines[n_lines++], "%s type %d level %d: %d", path + base_of_root, type, f->level,
		f->level == 0 ? 0 : r == 0 && here.st_ino == st->st_ino);
	return 0;
}

static int on_action(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	sprintf(lines[n_lines++], "%s type %d level %d", path + base_of_root, type, f->level);
	if (strcmp(path + f->base, "b") == 0)
		return FTW_SKIP_SUBTREE;
	if (strcmp(path + f->base, "g") == 0)
		return FTW_SKIP_SIBLINGS;
	return FTW_CONTINUE;
}

static int on_stop(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)path, (void)st, (void)type, (void)f;
	return FTW_STOP;
}

CASE(dir_nftw)
{
	static const int flags[] = { 0, FTW_PHYS, FTW_DEPTH, FTW_DEPTH | FTW_PHYS, FTW_MOUNT };
	char cwd[2][PATH_MAX];
	int r;

	small_tree();
	base_of_root = (int)strlen(P("t")) - 1;
	(unlink)(P("t/ld")); /* by which of two ways a directory is reached is chance */
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		r = nftw(P("t"), on_nftw, 10, flags[i]);
		print_lines("nftw", r, errno);
	}
	r = nftw64(P("t"), (void *)on_nftw, 1, FTW_PHYS);
	print_lines("nftw64, one descriptor", r, errno);
	r = nftw(P("none"), on_nftw, 10, 0);
	print_lines("nftw none", r, errno);
	r = nftw(P("t/f"), on_nftw, 10, 0);
	print_lines("nftw file", r, errno);
	r = nftw(P("t/l"), on_nftw, 10, FTW_PHYS);
	print_lines("nftw link", r, errno);
	r = nftw(P("t/dang"), on_nftw, 10, 0);
	print_lines("nftw dangling", r, errno);
	r = nftw(P("t/f/x"), on_nftw, 10, 0);
	print_lines("nftw through a file", r, errno);
	r = nftw(P("t/"), on_nftw, 10, FTW_PHYS);
	n_lines = 0;
	print_lines("nftw slash", r, errno);
	getcwd(cwd[0], PATH_MAX);
	r = nftw(P("t"), on_chdir, 10, FTW_PHYS | FTW_CHDIR);
	print_lines("nftw chdir", r, errno);
	r = nftw(P("t"), on_chdir, 10, FTW_PHYS | FTW_CHDIR | FTW_DEPTH);
	print_lines("nftw chdir depth", r, errno);
	getcwd(cwd[1], PATH_MAX);
	say("back: %d", strcmp(cwd[0], cwd[1]) == 0);
	r = nftw(P("t/b"), on_action, 10, FTW_ACTIONRETVAL | FTW_PHYS);
	print_lines("skip all", r, errno);
	r = nftw(P("t"), on_action, 10, FTW_ACTIONRETVAL | FTW_PHYS);
	print_lines("skip", r, errno);
	r = nftw(P("t"), on_stop, 10, FTW_ACTIONRETVAL);
	print_lines("stop", r, errno);
	r = nftw(P("t"), on_nftw, 10, 0x400);
	print_lines("flags", r, errno);
	stop_at = 7;
	r = nftw(P("t"), on_nftw, 10, FTW_PHYS);
	n_lines = 0;
	print_lines("returned", r, errno);
	stop_at = 0;
	r = ftw(P("t"), on_ftw, 10);
	print_lines("ftw", r, errno);
	r = ftw64(P("none"), (void *)on_ftw, 10);
	print_lines("ftw64", r, errno);
}

/* --- fts ------------------------------------------------------------------------------------ */

static int fts_by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void fts(const char *what, int options, const char *skip)
{
	char *paths[] = { (char *)P("t"), NULL };
	FTS *f = fts_open(paths, options, fts_by_name);
	FTSENT *e;
	int n = 0;

	if (!f) {
		say("%s: %s", what, strerrorname_np(errno));
		return;
	}
	errno = 0;
	while ((e = fts_read(f)) && n++ < 60) {
		struct stat st;

		say("  %s: %s info %d level %d namelen %d path %d%s%s", what, e->fts_name, e->fts_info,
		    e->fts_level, e->fts_namelen,
		    (int)strlen(e->fts_path) - (int)strlen(P("t")),
		    e->fts_info == FTS_F && !(options & FTS_NOSTAT) ?
			    e->fts_statp->st_size == 1 ? " 1" : " more" :
			    "",
		    (lstat)(e->fts_accpath, &st) == 0 ? "" : " (not there)");
		if (skip && strcmp(e->fts_name, skip) == 0 && e->fts_info == FTS_D)
			R(fts_set(f, e, FTS_SKIP));
		if (e->fts_info == FTS_D && strcmp(e->fts_name, "a") == 0) {
			FTSENT *c = fts_children(f, 0);

			say("  children: %s", c ? c->fts_name : "none");
		}
		if (e->fts_info == FTS_SL && e->fts_level == 1)
			fts_set(f, e, FTS_FOLLOW);
	}
	say("%s: %s", what, errno ? strerrorname_np(errno) : "done");
	R(fts_close(f));
}

CASE(dir_fts)
{
	char *two[] = { strdup(P("t/none")), strdup(P("t/f")), NULL };
	FTSENT *e;
	FTS *f;
	char cwd[2][PATH_MAX];

	small_tree();
	getcwd(cwd[0], PATH_MAX);
	fts("physical", FTS_PHYSICAL, NULL);
	fts("physical nochdir", FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	fts("logical", FTS_LOGICAL, NULL);
	fts("seedot", FTS_PHYSICAL | FTS_SEEDOT, NULL);
	fts("nostat", FTS_PHYSICAL | FTS_NOSTAT, NULL);
	fts("xdev", FTS_PHYSICAL | FTS_XDEV, "b");
	fts("comfollow", FTS_PHYSICAL | FTS_COMFOLLOW, "a");
	fts("neither", FTS_NOCHDIR, NULL);
	fts("unknown", FTS_PHYSICAL | 0x8000, NULL);
	getcwd(cwd[1], PATH_MAX);
	say("back: %d", strcmp(cwd[0], cwd[1]) == 0);
	f = fts_open(two, FTS_PHYSICAL, NULL);
	while (f && (e = fts_read(f)))
		say("  %s info %d errno %s", e->fts_name, e->fts_info,
		    e->fts_errno ? strerrorname_np(e->fts_errno) : "0");
	if (f)
		R(fts_close(f));
	f = (FTS *)fts64_open(two, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	PTR(f);
	if (f) {
		PTR(fts64_read((FTS64 *)f));
		PTR(fts64_children((FTS64 *)f, 0));
		R(fts64_set((FTS64 *)f, fts64_read((FTS64 *)f), FTS_AGAIN));
		R(fts64_close((FTS64 *)f));
	}
}

/* --- scandir, glob, realpath ------------------------------------------------------------------ */

static int not_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int not_dots64(const struct dirent64 *e)
{
	return e->d_name[0] != '.';
}

static void free_list(struct dirent **list, int n)
{
	for (int i = 0; i < n; i++) {
		say("  %s", list[i]->d_name);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

CASE(dir_scandir)
{
	struct dirent **list;
	int n, dir;

	small_tree();
	n = (int)R(scandir(P("t"), &list, not_dots, alphasort));
	free_list(list, n);
	n = (int)R(scandir64(P("t"), (struct dirent64 ***)&list, not_dots64, alphasort64));
	free_list(list, n);
	dir = R(open(P("t"), O_RDONLY));
	n = (int)R(scandirat(dir, "b", &list, not_dots, versionsort));
	free_list(list, n);
	n = (int)R(scandirat64(dir, ".", (struct dirent64 ***)&list, not_dots64, versionsort64));
	free_list(list, n);
	R(scandir(P("t/f"), &list, NULL, NULL));
	R(scandir(P("none"), &list, NULL, NULL));
	R(scandirat(dir, "none", &list, NULL, NULL));
	R(scandirat(99, "b", &list, NULL, NULL));
	R(scandir(P("t/dang"), &list, NULL, NULL));
}

static int on_glob_error(const char *path, int error)
{
	(void)path;
	say("  glob error: %s", strerrorname_np(error));
	return 0;
}

static void globs(const char *pattern, int flags)
{
	glob_t g = { 0 };
	int r = glob(P(pattern), flags, on_glob_error, &g);
	size_t skip = strlen(P(""));

	say("glob %s %#x = %d", pattern, flags, r);
	for (size_t i = 0; r == 0 && i < g.gl_pathc; i++)
		say("  %s", strlen(g.gl_pathv[i]) > skip && g.gl_pathv[i][0] == '/' ? g.gl_pathv[i] + skip :
										     g.gl_pathv[i]);
	globfree(&g);
}

static void *alt_opendir(const char *p)
{
	return opendir(p);
}

CASE(dir_glob)
{
	glob_t g = { 0 };
	int r;

	small_tree();
	put("t/.hidden", "x");
	globs("t/*", 0);
	globs("t/*", GLOB_MARK);
	globs("t/*", GLOB_PERIOD);
	globs("t/*", GLOB_ONLYDIR);
	globs("t/*/*", 0);
	globs("t/{f,l,none}", GLOB_BRACE);
	globs("t/[fl]", 0);
	globs("t/f", 0);
	globs("t/none", 0);
	globs("t/none", GLOB_NOCHECK);
	globs("t/none*", GLOB_NOMAGIC);
	globs("t/none*", 0);
	globs("t/f/*", GLOB_ERR);
	globs("none/*", GLOB_ERR);
	globs("t/dang", 0);
	globs("t/*/", 0);
	g.gl_opendir = alt_opendir;
	g.gl_readdir = (void *)readdir;
	g.gl_closedir = (void *)closedir;
	g.gl_lstat = lstat;
	g.gl_stat = stat;
	r = glob(P("t/*"), GLOB_ALTDIRFUNC, NULL, &g);
	say("altdirfunc = %d, %d", r, (int)g.gl_pathc);
	globfree(&g);
	r = glob64(P("t/*"), 0, NULL, (glob64_t *)&g);
	say("glob64 = %d, %d", r, (int)g.gl_pathc);
	globfree64((glob64_t *)&g);
}

char *__realpath_chk(const char *, char *, size_t);

static void real(const char *name, char *p)
{
	size_t n = strlen(posix_dir);

	say("realpath %s: %s", name, !p ? strerrorname_np(errno) : strncmp(p, posix_dir, n) == 0 ? p + n : "?");
}

CASE(dir_realpath)
{
	static const char *const names[] = { "t", "t/l", "t/ld", "t/ld/c", "t/dang", "t/none", "t/f/", "t/f/x",
					     "t/./b/../f", "t/ld/..", "t//b///c/", "", "t/.." };
	char buf[PATH_MAX];

	small_tree();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		real(names[i], realpath(P(names[i]), buf));
		real(names[i], __realpath_chk(P(names[i]), buf, sizeof buf));
		real(names[i], canonicalize_file_name(P(names[i])));
	}
	PTR(realpath(NULL, buf));
	PTR(realpath("", buf));
}

/* The linker warns of the plain call. */
static char *getwd_by_name(char *buf)
{
	char *(*f)(char *);

	*(void **)&f = dlsym(RTLD_DEFAULT, "getwd");
	return f(buf);
}

static void where(void)
{
	char buf[PATH_MAX], *p = getcwd(buf, sizeof buf);

	say("  cwd %s", !p ? strerrorname_np(errno) : strncmp(p, posix_dir, strlen(posix_dir)) == 0 ?
			p + strlen(posix_dir) : "elsewhere");
}

char *__getcwd_chk(char *, size_t, size_t);

CASE(dir_cwd)
{
	char buf[PATH_MAX];
	int fd, file;

	small_tree();
	fd = R(open(P("t"), O_RDONLY));
	file = R(open(P("t/f"), O_RDONLY));
	put("x", "outer");
	R(chdir(P("t/b")));
	where();
	R(access("c/h", R_OK));
	R(chdir("c"));
	where();
	R(chdir("../.."));
	where();
	R(chdir("ld"));
	where();
	R(chdir("/"));
	R(fchdir(fd));
	where();
	R(fchdir(file));
	R(fchdir(99));
	R(chdir("f"));
	R(chdir("none"));
	R(chdir("f/x"));
	R(chdir("dang"));
	PTR(getcwd(buf, 0));
	PTR(getcwd(buf, 3));
	PTR(getcwd(NULL, 3));
	PTR(getcwd(NULL, 0));
	PTR(getcwd(NULL, PATH_MAX));
	PTR(__getcwd_chk(buf, sizeof buf, sizeof buf));
	PTR(getwd_by_name(buf));
	PTR(get_current_dir_name());
	R(syscall(SYS_getcwd, buf, sizeof buf) > 5);
	R(syscall(SYS_getcwd, buf, 3));
	R(syscall(SYS_getcwd, (void *)1, 300));
	R(mkdir("gone", 0755));
	R(chdir("gone"));
	R(rmdir(P("t/gone")));
	PTR(getcwd(buf, sizeof buf));
	R(open("x", O_CREAT | O_RDWR, 0600));
	R(open(".", O_RDONLY) >= 0 ? 0 : -1);
	R(mkdir("x", 0700));
	R(chdir(".."));
	R(chdir(P("t")));
	R(rename(P("t"), P("moved")));
	where();
	R(access("f", R_OK));
	R(mkdirat(AT_FDCWD, "made", 0755));
	facts("moved/made");
	R(chroot(P("none")));
	R(chroot(P("x")));
}
