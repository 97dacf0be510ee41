/* The edges of names: links in chains as long as the kernel follows, paths and targets as long as they may
 * be, names of every byte; directories that change while they are read. */
#define _GNU_SOURCE
#include "posix_diff.h"

CASE(edges_link_chains)
{
	char name[16], target[16];
	struct stat st;

	put("end", "reached");
	(symlink)("end", P("c0"));
	for (int i = 1; i < 45; i++) {
		sprintf(name, "c%d", i), sprintf(target, "c%d", i - 1);
		(symlink)(target, P(name));
	}
	for (int i = 35; i < 45; i++) {
		sprintf(name, "c%d", i);
		R(stat(P(name), &st));
		R(access(P(name), F_OK));
		OK(open(P(name), O_RDONLY));
		R(truncate(P(name), 3));
	}
	/* through directories: each component begins with the count that is left */
	R(mkdir(P("d"), 0755));
	put("d/in", "x");
	(symlink)("d", P("s0"));
	for (int i = 1; i < 45; i++) {
		sprintf(name, "s%d", i), sprintf(target, "s%d", i - 1);
		(symlink)(target, P(name));
	}
	for (int i = 36; i < 45; i++) {
		sprintf(name, "s%d/in", i);
		R(stat(P(name), &st));
	}
	R(symlink("s30/../s30/in", P("twice")));
	R(stat(P("twice"), &st));
	R(symlink("s15/../s15/in", P("short-twice")));
	R(stat(P("short-twice"), &st));
	R(symlink("x/../y", P("self")));
	R(stat(P("self"), &st));
	R(symlink("/", P("root")));
	R(stat(P("root/proc/self/stat"), &st));
	R(symlink("", P("empty")));
	R(open(P("twice"), O_WRONLY | O_CREAT, 0644));
	R(symlink("nowhere/at/all", P("deep-dangling")));
	R(open(P("deep-dangling"), O_WRONLY | O_CREAT, 0644));
	R(symlink("made-by-link", P("dangling")));
	OK(open(P("dangling"), O_WRONLY | O_CREAT, 0644));
	facts("made-by-link");
	R(symlink("made-dir", P("dangling-dir")));
	R(mkdir(P("dangling-dir"), 0755));
	R(mkdir(P("dangling-dir/"), 0755));
}

CASE(edges_long_targets)
{
	static char target[PATH_MAX + 8], back[PATH_MAX + 8];

	for (size_t n = PATH_MAX - 3; n < PATH_MAX + 2; n++) {
		char name[16];

		memset(target, 'a', n);
		target[n] = '\0';
		sprintf(name, "l%d", (int)(n - PATH_MAX));
		say("%s", name);
		R(symlink(target, P(name)));
		R(readlink(P(name), back, sizeof back));
		facts(name);
		R(access(P(name), F_OK));
	}
	R(readlink(P("l-3"), back, 1));
	R(readlink(P("l-3"), back, 0));
	R(readlink(P("l-3"), back, (size_t)-1) < 0 ? -1 : 0);
}

/* Paths of exactly the most that is taken, and one more. */
CASE(edges_long_paths)
{
	static char path[PATH_MAX + 300];
	size_t begin = strlen(posix_dir) + strlen("/edges_long_paths/");
	struct stat st;

	put("f", "x");
	for (size_t want = PATH_MAX - 3; want <= PATH_MAX + 1; want++) {
		size_t n;

		snprintf(path, sizeof path, "%s/edges_long_paths/", posix_dir);
		n = begin;
		if ((want - n) % 2 == 0)
			path[n++] = '/';
		while (n < want - 1)
			path[n++] = '.', path[n++] = '/';
		path[n++] = 'f', path[n] = '\0';
		say("length %d: %d", (int)want, (int)(n - want));
		R(stat(path, &st));
		OK(open(path, O_RDONLY));
		R(access(path, R_OK));
		R(chmod(path, 0644));
		R(rename(path, path));
		R(truncate(path, 1));
		R(symlink("x", path));
		R(statfs(path, &(struct statfs){ 0 }));
	}
	for (size_t want = 253; want < 258; want++) {
		memset(path, 'n', want);
		path[want] = '\0';
		say("name of %d", (int)want);
		OK(open(P(path), O_RDWR | O_CREAT, 0600));
		R(mkdir(P(path), 0700));
		R(link(P("f"), P(path)));
		R(rename(P("f"), P(path)));
		R(rename(P(path), P("f")));
		R(unlink(P(path)));
		R(symlink("x", P(path)));
		R(mkfifo(P(path), 0600));
		R(access(P(path), F_OK));
		strcat(path, "/x");
		R(access(P(path), F_OK));
	}
	listing("");
}

CASE(edges_names_of_bytes)
{
	char name[8] = "b?e";
	struct dirent *e;
	unsigned long sum = 0;
	int n = 0;
	DIR *d;

	for (int c = 1; c < 256; c++) {
		if (c == '/')
			continue;
		name[1] = (char)c;
		put(name, "x");
	}
	d = opendir(P(""));
	while ((e = readdir(d)))
		if (e->d_name[0] == 'b' && strlen(e->d_name) == 3)
			n++, sum += (unsigned char)e->d_name[1];
	R(closedir(d));
	say("%d, %lu", n, sum);
	name[1] = '\n';
	R(access(P(name), F_OK));
	R(rename(P(name), P("\xff\xfe")));
	R(access(P("\xff\xfe"), F_OK));
	R(mkdir(P("..."), 0755));
	R(mkdir(P(".. "), 0755));
	R(access(P(".../../..."), F_OK));
	R(rmdir(P("...")));
	R(rmdir(P(".. ")));
	put(" ", "x"), put("-rf", "x"), put("*", "x"), put("a\\b", "x"), put("~", "x");
	facts(" "), facts("-rf"), facts("*"), facts("a\\b"), facts("~");
	R(access(P("A"), F_OK)); /* names differ by case */
	put("a", "x");
	R(access(P("A"), F_OK));
}

static void many(const char *format, int from, int to)
{
	char name[32];

	for (int i = from; i < to; i++) {
		sprintf(name, format, i);
		(close)((open)(P(name), O_WRONLY | O_CREAT, 0600));
	}
}

static int count(DIR *d, char first)
{
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)))
		n += e->d_name[0] == first;
	return n;
}

/* Two streams, positions of one used later, names that come and go: each that stays comes once. */
CASE(edges_changing_directories)
{
	char name[64];
	struct dirent *e;
	long at = 0, n = 0;
	int fd, copy, again = 0;
	DIR *d, *other;

	(mkdir)(P("d"), 0755);
	many("d/k%04d", 0, 700);
	d = opendir(P("d"));
	other = opendir(P("d"));
	for (n = 0; n < 300 && (e = readdir(d)); n++)
		;
	at = telldir(d);
	e = readdir(d);
	snprintf(name, sizeof name, "%s", e ? e->d_name : "none");
	say("two at once: %d", count(other, 'k'));
	seekdir(d, at);
	e = readdir(d);
	say("the same after seekdir: %d", e && strcmp(e->d_name, name) == 0);
	seekdir(d, at);
	many("d/x%04d", 0, 300); /* new ones may come or not */
	for (int i = 0; (e = readdir(d)); i++)
		again += e->d_name[0] == 'k' || e->d_name[0] == '.';
	say("of the old ones the rest: %d", again == 702 - 300);
	R(closedir(d));
	rewinddir(other);
	n = 0;
	while ((e = readdir(other)))
		n += e->d_name[0] == 'x';
	say("the new ones after rewinddir: %ld", n);
	R(closedir(other));
	d = opendir(P("d"));
	for (n = 0; (e = readdir(d)); )
		if (e->d_name[0] == 'x') { /* renamed within: never lost, perhaps seen twice */
			char from[64], to[64];

			snprintf(from, sizeof from, "d/%.40s", e->d_name);
			snprintf(to, sizeof to, "d/y%.40s", e->d_name + 1);
			n += (rename)(P(from), P(to)) == 0;
		}
	say("renamed: %ld", n);
	rewinddir(d);
	say("all there: %d", count(d, 'y'));
	/* one offset for copies of a descriptor */
	fd = (open)(P("d"), O_RDONLY | O_DIRECTORY);
	copy = (dup)(fd);
	n = 0;
	for (int i = 0;; i++) {
		char buf[1000];
		long r = getdents64(i % 2 ? fd : copy, buf, sizeof buf);

		if (r <= 0)
			break;
		for (long k = 0; k < r; k += *(unsigned short *)(buf + k + 16))
			n++;
	}
	say("by turns: %ld", n);
	R(lseek(copy, 0, SEEK_CUR) > 0);
	R(lseek(copy, 0, SEEK_SET));
	R(getdents64(fd, name, 64) > 0);
	R(closedir(d));
}

CASE(edges_directory_gone)
{
	struct dirent *e;
	char buf[512];
	int fd, n = 0;
	DIR *d;

	(mkdir)(P("d"), 0755);
	many("d/k%d", 0, 5);
	d = opendir(P("d"));
	fd = (open)(P("d"), O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 5; i++) {
		sprintf(buf, "d/k%d", i);
		(unlink)(P(buf));
	}
	R(rmdir(P("d")));
	errno = 0;
	while ((e = readdir(d)))
		n += e->d_name[0] == 'k';
	R(closedir(d));
	R(getdents64(fd, buf, sizeof buf) < 0 ? errno == ENOENT : 1);
	R(openat(fd, "k0", O_RDONLY));
	R(openat(fd, "..", O_RDONLY) >= 0 ? 0 : -1);
	R(fchdir(fd));
	R(access(".", F_OK));
	R(access("..", F_OK) == 0 || errno == ENOENT);
	R(mkdir("sub", 0755));
	R(fchmod(fd, 0700));
	facts_fd(fd);
	R(linkat(fd, "", AT_FDCWD, P("back"), AT_EMPTY_PATH));
	R(mkdir(P("d"), 0755)); /* the name is free */
	R(openat(fd, "k0", O_CREAT | O_RDWR, 0600));
	R(rename(P("d"), P("e")));
	(void)n;
}
