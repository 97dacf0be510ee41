/* Purpose: ff3fs-get: walks directories of ff3fs and has their files copied to local ones.
 *
 * Directories are made during the walk, before the files in them are queued; their modes and
 * times are set when all files are done, innermost first. Threads: this file is the main
 * thread's. */
#include <fcntl.h>
#include <sys/stat.h>

#include "../common/client/attr_stat.h"
#include "get.h"

static const struct argp_option options[] = {
	TRANSFER_OPTIONS,
	{ 0 },
};

static const struct cli_command command = {
	.name = "ff3fs-get",
	.args = "SOURCE DEST\nSOURCE... DIRECTORY\nSOURCE -",
	.doc = "Copy files and directories of ff3fs to local ones.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_CLUSTER,
	.options = options,
	.option = transfer_option,
	.min_args = 2,
	.max_args = -1,
};

static void finish_dir(const char *to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (chmod(to, st->st_mode & 07777) < 0 || utimensat(AT_FDCWD, to, times, 0) < 0)
		transfer_local_failed(to, -errno);
}

static int make_dir(const char *to, const struct stat *from)
{
	struct stat st;
	int r = 0;

	transfer.directories++;
	if (cli.dry_run)
		return 0;
	if (mkdir(to, S_IRWXU) < 0) {
		r = -errno;
		if (r == -EEXIST && stat(to, &st) == 0)
			r = S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	}
	if (r < 0)
		transfer_local_failed(to, r);
	else
		transfer_made_dir(to, from);
	return r;
}

static void get_symlink(const char *from, const char *to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	_cleanup_free_ char *temporary = transfer_temporary(to);
	char target[4096 + 1];
	ssize_t n = ff3fs_readlink(transfer.fs, FF3FS_ROOT, from, target, sizeof target - 1);

	if (n < 0) {
		transfer_remote_failed(from, (int)n);
		return;
	}
	target[n] = '\0';
	if (cli.dry_run)
		cli_note("would link %s to %s", to, target);
	else if (!temporary || symlink(target, temporary) < 0 ||
		 utimensat(AT_FDCWD, temporary, times, AT_SYMLINK_NOFOLLOW) < 0 ||
		 rename(temporary, to) < 0) {
		transfer_local_failed(to, temporary ? -errno : -ENOMEM);
		if (temporary)
			unlink(temporary);
		return;
	}
	transfer.symlinks++;
}

static void get_tree(const char *from, const char *to, const char *relative);

/* relative: from the source argument, for the patterns; "" is the argument itself. */
static void get_any(const char *from, const char *to, const char *relative,
		    const struct ff3fs_attr *attr)
{
	struct stat st;

	if (transfer_stop || (*relative && !transfer_wants(relative, S_ISDIR(attr->mode))))
		return;
	ff3_attr_to_stat(attr, 0, &st);
	if (S_ISREG(attr->mode)) {
		if (transfer_queue(from, to, &st) < 0)
			transfer_local_failed(to, -ENOMEM);
	} else if (S_ISLNK(attr->mode)) {
		get_symlink(from, to, &st);
	} else if (!S_ISDIR(attr->mode)) {
		cli_message("%s: skipped: neither a file nor a directory nor a symbolic link",
			    cli_shown(from));
		transfer.skipped++;
	} else if (!transfer.recursive) {
		cli_message("%s: is a directory; copy it with -r", cli_shown(from));
		transfer_failed(CLI_FAILURE);
	} else if (make_dir(to, &st) >= 0) {
		get_tree(from, to, relative);
	}
}

static void get_tree(const char *from, const char *to, const char *relative)
{
	const struct ff3fs_dirent *e;
	struct ff3fs_dir *d;
	int r = ff3fs_opendir(transfer.fs, FF3FS_ROOT, from, 1, &d);

	if (r < 0) {
		transfer_remote_failed(from, r);
		return;
	}
	while (!transfer_stop && (r = ff3fs_readdir(d, &e)) > 0) {
		_cleanup_free_ char *child = cli_join(from, e->name);
		_cleanup_free_ char *target = cli_join(to, e->name);
		_cleanup_free_ char *path = cli_join(relative, e->name);
		struct ff3fs_attr attr = e->attr;

		if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		/* No name can lead out of the directory it is in. */
		if (!*e->name || strchr(e->name, '/') || !child || !target || !path)
			transfer_local_failed(to, -EINVAL);
		else
			get_any(child, target, path, &attr);
	}
	if (r < 0)
		transfer_remote_failed(from, r);
	ff3fs_closedir(d);
}

static void get_argument(const char *arg, const char *to, bool into)
{
	_cleanup_free_ char *from = cli_remote(transfer.fs, arg);
	_cleanup_free_ char *name = cli_basename(from), *target = NULL;
	struct ff3fs_attr attr;
	int r = ff3fs_stat(transfer.fs, FF3FS_ROOT, from, 0, &attr);

	if (r < 0) {
		transfer_remote_failed(arg, r);
		return;
	}
	target = into && name ? cli_join(to, name) : strdup(to);
	if (!target)
		transfer_local_failed(arg, -ENOMEM);
	else if (strcmp(to, "-") == 0 && !S_ISREG(attr.mode)) {
		cli_message("%s: is no file; only a file can go to stdout", arg);
		transfer_failed(CLI_FAILURE);
	} else
		get_any(from, target, "", &attr);
}

/* Whether the copies go into directory to. Exits where the arguments make no sense. */
static bool goes_into(const char *to, int n_sources)
{
	struct stat st;
	bool is_dir = strcmp(to, "-") != 0 && stat(to, &st) == 0 && S_ISDIR(st.st_mode);

	if (cli_is_remote(transfer.fs, to)) {
		cli_message("%s: is on ff3fs; to copy there: ff3fs run -- cp", to);
		exit(CLI_USAGE);
	}
	if (n_sources > 1 && !is_dir) {
		cli_message("%s: not a directory, and there are several sources", to);
		exit(CLI_USAGE);
	}
	if (strcmp(to, "-") == 0 && cli.json) {
		cli_message("--json: stdout has the file's data");
		exit(CLI_USAGE);
	}
	return is_dir && !transfer.no_target_directory;
}

int main(int argc, char **argv)
{
	const char *to;
	bool into;

	cli_parse(&command, argc, argv);
	transfer.fs = cli_connect();
	to = cli.args[cli.n_args - 1];
	into = goes_into(to, cli.n_args - 1);
	transfer_begin(get_file, cli.n_args == 2 ? cli.args[0] : "files");
	for (int i = 0; i < cli.n_args - 1 && !transfer_stop; i++)
		get_argument(cli.args[i], to, into);
	transfer_drain();
	if (!cli.dry_run)
		transfer_finish_dirs(finish_dir);
	return transfer_end();
}
