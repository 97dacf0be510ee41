/* Purpose: ff3fs ls. Output is one line an entry, or one JSON document an entry (NDJSON). */
#include <dirent.h>
#include <grp.h>
#include <pwd.h>

#include "cli.h"
#include "commands.h"

static struct {
	bool all, long_form, recursive, directory, unsorted;
} opts;

static const struct argp_option options[] = {
	{ "all", 'a', NULL, 0, "names that begin with a dot too", 1 },
	{ "directory", 'd', NULL, 0, "directories themselves, not what is in them", 1 },
	{ "long", 'l', NULL, 0, "mode, owner, size and time of change", 1 },
	{ "recursive", 'R', NULL, 0, "directories in directories too", 1 },
	{ "unsorted", 'U', NULL, 0, "in the order of storage, without gathering", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'a':
		return opts.all = true, 0;
	case 'd':
		return opts.directory = true, 0;
	case 'l':
		return opts.long_form = true, 0;
	case 'R':
		return opts.recursive = true, 0;
	case 'U':
		return opts.unsorted = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs ls",
	.args = "[PATH...]",
	.doc = "List directories of ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_BYTES | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.max_args = -1,
};

struct entry {
	char *name;
	struct ff3fs_attr attr;
};

struct listing {
	struct entry *entries;
	size_t n, room;
};

static void free_listing(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->entries[i].name);
	free(l->entries);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* --- Printing --------------------------------------------------------------------------------- */

static void mode_text(uint32_t mode, char buf[11])
{
	static const char types[] = "?pc?d?b?-?l?s???";
	static const char bits[] = "rwxrwxrwx";

	buf[0] = types[mode >> 12 & 15];
	for (int i = 0; i < 9; i++)
		buf[1 + i] = mode >> (8 - i) & 1 ? bits[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
}

/* Names of the ids, the last one of each remembered. */
static const char *user_name(uint32_t uid)
{
	static char name[64];
	static uint32_t last;

	if (!*name || last != uid) {
		struct passwd *p = getpwuid(uid);

		if (p)
			snprintf(name, sizeof name, "%s", p->pw_name);
		else
			snprintf(name, sizeof name, "%u", uid);
		last = uid;
	}
	return name;
}

static const char *group_name(uint32_t gid)
{
	static char name[64];
	static uint32_t last;

	if (!*name || last != gid) {
		struct group *g = getgrgid(gid);

		if (g)
			snprintf(name, sizeof name, "%s", g->gr_name);
		else
			snprintf(name, sizeof name, "%u", gid);
		last = gid;
	}
	return name;
}

/* A terminal gets no control characters that a file's name may hold. */
static void put_name(const char *name)
{
	static int terminal = -1;

	if (terminal < 0)
		terminal = isatty(STDOUT_FILENO);
	for (; *name; name++)
		putchar(terminal && ((unsigned char)*name < ' ' || *name == 127) ? '?' : *name);
}

static void print_text(const char *name, const struct ff3fs_attr *attr, const char *target)
{
	char mode[11], size[32], date[32] = "?";
	struct tm tm;

	if (opts.long_form) {
		mode_text(attr->mode, mode);
		if (localtime_r(&attr->mtime.tv_sec, &tm))
			strftime(date, sizeof date, "%Y-%m-%d %H:%M", &tm);
		printf("%s %3u %-8s %-8s %10s %s ", mode, attr->nlink, user_name(attr->uid),
		       group_name(attr->gid), cli_size(size, attr->size), date);
	}
	put_name(name);
	if (opts.long_form && *target) {
		fputs(" -> ", stdout);
		put_name(target);
	}
	putchar('\n');
}

static void print_entry_json(const char *path, const struct ff3fs_attr *attr, const char *target)
{
	json_t *doc = json_pack("{s:o, s:s, s:I, s:I, s:o, s:i, s:i, s:i, s:I}", "path",
				cli_json_name(path), "type", cli_type_name(attr->mode), "mode",
				(json_int_t)(attr->mode & 07777), "size", (json_int_t)attr->size,
				"mtime", cli_json_time(attr->mtime), "uid", (int)attr->uid, "gid",
				(int)attr->gid, "nlink", (int)attr->nlink, "ino",
				(json_int_t)attr->ino);

	if (doc && *target)
		json_object_set_new(doc, "target", cli_json_name(target));
	cli_print_json(doc);
}

/* path: from the root; shown: as the listing names it. */
static void print_entry(struct ff3fs *fs, const char *path, const char *shown,
			const struct ff3fs_attr *attr)
{
	char target[4096] = "";

	if (S_ISLNK(attr->mode) && (opts.long_form || cli.json)) {
		ssize_t n = ff3fs_readlink(fs, FF3FS_ROOT, path, target, sizeof target - 1);

		target[MAX(n, (ssize_t)0)] = '\0';
	}
	if (cli.json)
		print_entry_json(path, attr, target);
	else
		print_text(shown, attr, target);
}

/* --- Listing ---------------------------------------------------------------------------------- */

static bool is_hidden(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (name[0] == '.' && !opts.all);
}

static int gather(struct listing *l, const struct ff3fs_dirent *e)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct entry *entries = reallocarray(l->entries, room, sizeof *entries);

		if (!entries)
			return -ENOMEM;
		l->entries = entries;
		l->room = room;
	}
	l->entries[l->n].name = strdup(e->name);
	if (!l->entries[l->n].name)
		return -ENOMEM;
	l->entries[l->n++].attr = e->attr;
	return 0;
}

static int read_listing(struct ff3fs *fs, const char *path, struct listing *l)
{
	const struct ff3fs_dirent *e;
	struct ff3fs_dir *d;
	int r = ff3fs_opendir(fs, FF3FS_ROOT, path, 1, &d);

	if (r < 0)
		return r;
	while ((r = ff3fs_readdir(d, &e)) > 0) {
		if (is_hidden(e->name))
			continue;
		/* With -R the subdirectories are wanted again, after this one. */
		if (opts.unsorted && (!opts.recursive || !S_ISDIR(e->attr.mode))) {
			_cleanup_free_ char *child = cli_join(path, e->name);

			print_entry(fs, child ? child : e->name, e->name, &e->attr);
		} else {
			r = gather(l, e);
			if (r < 0)
				break;
		}
	}
	ff3fs_closedir(d);
	return r;
}

/* Lists one directory. With titles, its name comes before, as when several are listed. */
static int list_dir(struct ff3fs *fs, const char *path, bool titles)
{
	struct listing l = { 0 };
	struct cli_outcome outcome = { .done = 1 };
	static bool printed;
	int r;

	if (titles && !cli.json && opts.unsorted)
		printf("%s%s:\n", printed ? "\n" : "", cli_shown(path));
	r = read_listing(fs, path, &l);
	if (r < 0) {
		free_listing(&l);
		return cli_error(path, r);
	}
	if (titles && !cli.json && !opts.unsorted)
		printf("%s%s:\n", printed ? "\n" : "", cli_shown(path));
	printed = true;
	if (l.n)
		qsort(l.entries, l.n, sizeof *l.entries, by_name);
	for (size_t i = 0; i < l.n; i++) {
		_cleanup_free_ char *child = cli_join(path, l.entries[i].name);

		print_entry(fs, child ? child : "", l.entries[i].name, &l.entries[i].attr);
	}
	for (size_t i = 0; opts.recursive && i < l.n; i++) {
		_cleanup_free_ char *child = cli_join(path, l.entries[i].name);

		if (child && S_ISDIR(l.entries[i].attr.mode))
			cli_outcome_add(&outcome, list_dir(fs, child, true));
	}
	free_listing(&l);
	return cli_outcome_exit(&outcome);
}

static int list(struct ff3fs *fs, const char *arg, bool titles)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	struct ff3fs_attr attr;
	/* As ls: a symbolic link to a directory is followed, but not by -l or -d. */
	bool nofollow = opts.long_form || opts.directory;
	int r = ff3fs_stat(fs, FF3FS_ROOT, path, nofollow ? FF3FS_NOFOLLOW : 0, &attr);

	if (r < 0)
		return cli_error(arg, r);
	if (S_ISDIR(attr.mode) && !opts.directory)
		return list_dir(fs, path, titles || opts.recursive);
	print_entry(fs, path, arg, &attr);
	return CLI_OK;
}

int cmd_ls(int argc, char **argv)
{
	struct cli_outcome outcome = { 0 };
	struct ff3fs *fs;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	if (cli.n_args == 0)
		cli.args[cli.n_args++] = (char *)""; /* there is room for one more than argc */
	for (int i = 0; i < cli.n_args; i++)
		cli_outcome_add(&outcome, list(fs, cli.args[i], cli.n_args > 1));
	ff3fs_free(fs);
	return cli_finish(cli_outcome_exit(&outcome));
}
