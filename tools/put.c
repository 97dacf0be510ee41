/* Purpose: ff3fs-put: walks local files and directories and has them copied to ff3fs.
 *
 * Directories are made during the walk, before the files in them are queued; their modes and
 * times are set when all files are done, innermost first.
 * Threads: this file is the main thread's. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "put.h"

static const struct argp_option options[] = {
	TRANSFER_OPTIONS,
	{ "no-verify", TRANSFER_OPT_NO_VERIFY, NULL, 0, "do not read back what was stored", 1 },
	{ 0 },
};

static const struct cli_command command = {
	.name = "ff3fs-put",
	.args = "SOURCE DEST\nSOURCE... DIRECTORY\n- DEST",
	.doc = "Copy local files and directories to ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_CLUSTER,
	.options = options,
	.option = transfer_option,
	.min_args = 2,
	.max_args = -1,
};

static void finish_dir(const char *to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r = 0;

	if (transfer_stop)
		return;
	if ((st->st_mode & 07777) != (S_IRWXU | (st->st_mode & 0777)))
		r = ff3fs_chmod(transfer.fs, FF3FS_ROOT, to, st->st_mode & 07777, 0);
	if (r >= 0)
		r = ff3fs_utimens(transfer.fs, FF3FS_ROOT, to, times, 0);
	if (r < 0)
		transfer_remote_failed(to, r);
}

static int make_dir(const char *to, const struct stat *st)
{
	struct ff3fs_attr attr;
	int r;

	transfer.directories++;
	if (cli.dry_run || !*to)
		return 0;
	r = ff3fs_mkdir(transfer.fs, FF3FS_ROOT, to, S_IRWXU | (st->st_mode & 0777));
	if (r == -EEXIST) {
		r = ff3fs_stat(transfer.fs, FF3FS_ROOT, to, 0, &attr);
		if (r >= 0 && !S_ISDIR(attr.mode))
			r = -ENOTDIR;
	}
	if (r < 0)
		transfer_remote_failed(to, r);
	else
		transfer_made_dir(to, st);
	return r;
}

static void put_symlink(const char *from, const char *to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	_cleanup_free_ char *temporary = transfer_temporary(to);
	char target[4096 + 1];
	ssize_t n = readlink(from, target, sizeof target - 1);
	int r;

	if (n < 0 || !temporary) {
		transfer_local_failed(from, n < 0 ? -errno : -ENOMEM);
		return;
	}
	target[n] = '\0';
	transfer.symlinks++;
	if (cli.dry_run) {
		cli_note("would link %s to %s", cli_shown(to), target);
		return;
	}
	r = ff3fs_symlink(transfer.fs, target, FF3FS_ROOT, temporary);
	if (r >= 0)
		r = ff3fs_utimens(transfer.fs, FF3FS_ROOT, temporary, times, FF3FS_NOFOLLOW);
	if (r >= 0)
		r = ff3fs_rename(transfer.fs, FF3FS_ROOT, temporary, FF3FS_ROOT, to, 0);
	if (r >= 0)
		return;
	transfer.symlinks--;
	transfer_remote_failed(to, r);
	ff3fs_unlink(transfer.fs, FF3FS_ROOT, temporary);
}

static void queue_file(const char *from, const char *to, const struct stat *st)
{
	if (transfer_queue(from, to, st) < 0)
		transfer_local_failed(from, -ENOMEM);
}

static void put_tree(const char *from, const char *to, const char *relative);

/* relative: from the source argument, for the patterns; "" is the argument itself. */
static void put_any(const char *from, const char *to, const char *relative, bool follow)
{
	struct stat st;

	if (transfer_stop)
		return;
	if (fstatat(AT_FDCWD, from, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
		transfer_local_failed(from, -errno);
		return;
	}
	if (*relative && !transfer_wants(relative, S_ISDIR(st.st_mode)))
		return;
	if (S_ISREG(st.st_mode)) {
		queue_file(from, to, &st);
	} else if (S_ISLNK(st.st_mode)) {
		put_symlink(from, to, &st);
	} else if (!S_ISDIR(st.st_mode)) {
		cli_message("%s: skipped: neither a file nor a directory nor a symbolic link", from);
		transfer.skipped++;
	} else if (!transfer.recursive) {
		cli_message("%s: is a directory; copy it with -r", from);
		transfer_failed(CLI_FAILURE);
	} else if (make_dir(to, &st) >= 0) {
		put_tree(from, to, relative);
	}
}

static void put_tree(const char *from, const char *to, const char *relative)
{
	DIR *d = opendir(from);
	struct dirent *e;

	if (!d) {
		transfer_local_failed(from, -errno);
		return;
	}
	while ((errno = 0, e = readdir(d)) && !transfer_stop) {
		_cleanup_free_ char *child = cli_join(from, e->d_name);
		_cleanup_free_ char *target = cli_join(to, e->d_name);
		_cleanup_free_ char *path = cli_join(relative, e->d_name);

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (child && target && path)
			put_any(child, target, path, false);
		else
			transfer_local_failed(from, -ENOMEM);
	}
	if (!e && errno)
		transfer_local_failed(from, -errno);
	closedir(d);
}

static void put_stdin(const char *to)
{
	struct stat st = { 0 };
	mode_t mask = umask(0);

	umask(mask);
	st.st_mode = S_IFREG | (0666 & ~mask);
	transfer.progress.scanning = true;
	queue_file("-", to, &st);
}

static void put_argument(const char *from, const char *to, bool into)
{
	_cleanup_free_ char *name = cli_basename(from), *target = NULL;

	if (strcmp(from, "-") == 0) {
		put_stdin(to);
		return;
	}
	/* "dir/." and ".." are copied as what they hold. */
	if (name && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
		*name = '\0';
	target = into && name ? cli_join(to, name) : strdup(to);
	if (target)
		put_any(from, target, "", true);
	else
		transfer_local_failed(from, -ENOMEM);
}

/* Whether the copies go into directory to. Exits where the arguments make no sense. */
static bool goes_into(const char *arg, const char *to, int n_sources)
{
	struct ff3fs_attr attr;
	int r = ff3fs_stat(transfer.fs, FF3FS_ROOT, to, 0, &attr);
	bool is_dir = r >= 0 && S_ISDIR(attr.mode);

	if (r < 0 && r != -ENOENT)
		exit(cli_error(arg, r));
	if (n_sources > 1 && !is_dir) {
		cli_message("%s: not a directory, and there are several sources", arg);
		exit(CLI_USAGE);
	}
	return is_dir && !transfer.no_target_directory;
}

static void check_sources(const char *const *sources, int n, bool into)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(sources[i], "-") == 0 && (into || n > 1)) {
			cli_message("-: stdin needs a file name as DEST, and no other source");
			exit(CLI_USAGE);
		}
		if (cli_is_remote(transfer.fs, sources[i])) {
			cli_message("%s: is on ff3fs already; to copy there: ff3fs run -- cp",
				    sources[i]);
			exit(CLI_USAGE);
		}
	}
}

int main(int argc, char **argv)
{
	_cleanup_free_ char *to = NULL;
	const char *last;
	bool into;

	cli_parse(&command, argc, argv);
	transfer.fs = cli_connect();
	last = cli.args[cli.n_args - 1];
	to = cli_remote(transfer.fs, last);
	into = goes_into(last, to, cli.n_args - 1);
	check_sources((const char *const *)cli.args, cli.n_args - 1, into);
	transfer_begin(put_file, cli.n_args == 2 ? cli.args[0] : "files");
	for (int i = 0; i < cli.n_args - 1 && !transfer_stop; i++)
		put_argument(cli.args[i], to, into);
	transfer_drain();
	if (!cli.dry_run)
		transfer_finish_dirs(finish_dir);
	return transfer_end();
}
