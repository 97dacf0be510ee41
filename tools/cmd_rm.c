/* Purpose: ff3fs rm. The files of a directory are removed by several threads, because each removal
 * waits for metad's log; a directory itself goes when it is empty.
 * Threads: workers touch the atomics and their own job; the main thread walks. */
#include <stdatomic.h>

#include "cli.h"
#include "commands.h"
#include "pool.h"

#define JOBS_DEFAULT 16u
#define QUEUE 1024u

static struct {
	bool recursive, force;
	unsigned jobs;
} opts = { .jobs = JOBS_DEFAULT };

static const struct argp_option options[] = {
	{ "force", 'f', NULL, 0, "what does not exist is no error", 1 },
	{ "jobs", 'j', "N", 0, "remove up to N files at once (default: 16)", 1 },
	{ "recursive", 'r', NULL, 0, "directories and what is in them", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'f':
		return opts.force = true, 0;
	case 'j':
		opts.jobs = (unsigned)atoi(arg);
		if (opts.jobs < 1 || opts.jobs > 1024)
			argp_error(state, "--jobs: %s: expected a number from 1 to 1024", arg);
		return 0;
	case 'r':
		return opts.recursive = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs rm",
	.args = "PATH...",
	.doc = "Remove files, and with -r directories, of ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = -1,
};

static struct ff3fs *fs;
static struct pool *pool;
static _Atomic uint64_t n_files, n_dirs, n_failed;
static _Atomic int first_failure;

static void failed(const char *path, int r)
{
	int none = 0, code;

	if (r == -ENOENT && opts.force)
		return;
	code = cli_error(path, r);
	n_failed++;
	atomic_compare_exchange_strong(&first_failure, &none, code);
}

static void remove_file(void *job)
{
	char *path = job;
	int r = cli.dry_run ? 0 : ff3fs_unlink(fs, FF3FS_ROOT, path);

	if (r < 0)
		failed(path, r);
	else
		n_files++;
	if (r >= 0 && cli.dry_run && !cli.json)
		cli_note("would remove %s", cli_shown(path));
	else if (r >= 0)
		cli_verbose("removed %s", cli_shown(path));
	free(path);
}

struct names {
	char **names;
	size_t n, room;
};

static int keep_name(struct names *l, const char *name)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 16;
		char **names = reallocarray(l->names, room, sizeof *names);

		if (!names)
			return -ENOMEM;
		l->names = names;
		l->room = room;
	}
	l->names[l->n] = strdup(name);
	return l->names[l->n++] ? 0 : -ENOMEM;
}

/* Queues the removal of path's files, and gathers its directories. */
static int remove_entries(const char *path, struct names *dirs)
{
	const struct ff3fs_dirent *e;
	struct ff3fs_dir *d;
	int r = ff3fs_opendir(fs, FF3FS_ROOT, path, 1, &d);

	if (r < 0)
		return r;
	while ((r = ff3fs_readdir(d, &e)) > 0) {
		char *child;

		if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		child = cli_join(path, e->name);
		if (!child) {
			r = -ENOMEM;
			break;
		}
		if (!S_ISDIR(e->attr.mode)) {
			pool_add(pool, child);
			continue;
		}
		r = keep_name(dirs, child);
		free(child);
		if (r < 0)
			break;
	}
	ff3fs_closedir(d);
	return r;
}

static void remove_tree(const char *path)
{
	struct names dirs = { 0 };
	uint64_t failed_before = n_failed;
	int r = remove_entries(path, &dirs);

	for (size_t i = 0; i < dirs.n; i++) {
		if (r >= 0)
			remove_tree(dirs.names[i]);
		free(dirs.names[i]);
	}
	free(dirs.names);
	pool_drain(pool);
	if (r < 0) {
		failed(path, r);
		return;
	}
	if (n_failed != failed_before)
		return; /* it is not empty, and the reason has been told */
	r = cli.dry_run ? 0 : ff3fs_rmdir(fs, FF3FS_ROOT, path);
	if (r < 0)
		failed(path, r);
	else
		n_dirs++;
	if (r >= 0 && cli.dry_run && !cli.json)
		cli_note("would remove %s/", cli_shown(path));
	else if (r >= 0)
		cli_verbose("removed %s/", cli_shown(path));
}

static void remove_argument(const char *arg)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	struct ff3fs_attr attr;
	int r = ff3fs_stat(fs, FF3FS_ROOT, path, FF3FS_NOFOLLOW, &attr);

	if (r < 0) {
		failed(arg, r);
	} else if (S_ISDIR(attr.mode) && !opts.recursive) {
		cli_message("%s: is a directory; remove it with -r", arg);
		n_failed++;
		first_failure = first_failure ? first_failure : CLI_FAILURE;
	} else if (attr.ino == FF3FS_ROOT) {
		cli_message("%s: refusing to remove the root directory", arg);
		n_failed++;
		first_failure = first_failure ? first_failure : CLI_FAILURE;
	} else if (S_ISDIR(attr.mode)) {
		remove_tree(path);
	} else {
		pool_add(pool, TAKE_PTR(path));
	}
}

int cmd_rm(int argc, char **argv)
{
	struct cli_outcome outcome;
	int r;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	r = pool_new(opts.jobs, QUEUE, remove_file, &pool);
	if (r < 0)
		return cli_local_error("threads", r);
	for (int i = 0; i < cli.n_args; i++)
		remove_argument(cli.args[i]);
	pool_drain(pool);
	pool_free(pool);
	ff3fs_free(fs);
	outcome = (struct cli_outcome){ n_files + n_dirs, n_failed, first_failure };
	r = cli_outcome_exit(&outcome);
	if (cli.json && (r == CLI_OK || r == CLI_PARTIAL))
		cli_print_json(json_pack("{s:I, s:I, s:I, s:b}", "files", (json_int_t)n_files,
					 "directories", (json_int_t)n_dirs, "failed",
					 (json_int_t)n_failed, "dry_run", cli.dry_run));
	return cli_finish(r);
}
