/* Purpose: ff3fs rm. A directory goes with all that is in it by one call; where that is refused, what
 * is in it goes one by one and directory by directory, so that whatever may be removed is, and the
 * rest is named. Then files are removed by several threads, because each removal waits for metad's
 * log; a directory itself goes when it is empty.
 * Threads: workers touch the atomics and their own job; the main thread walks. */
#include <stdatomic.h>

#include "cli.h"
#include "commands.h"
#include "pool.h"

#define JOBS_DEFAULT 16u
#define QUEUE 1024u

enum { OPT_ONE_BY_ONE = 0x2000, OPT_WAIT };

static struct {
	bool recursive, force, one_by_one, wait;
	unsigned jobs;
} opts = { .jobs = JOBS_DEFAULT };

static const struct argp_option options[] = {
	{ "force", 'f', NULL, 0, "what does not exist is no error", 1 },
	{ "jobs", 'j', "N", 0, "remove up to N files at once (default: 16)", 1 },
	{ "one-by-one", OPT_ONE_BY_ONE, NULL, 0, "remove each file of a directory by a call of its own", 1 },
	{ "recursive", 'r', NULL, 0, "directories and what is in them", 1 },
	{ "wait", OPT_WAIT, NULL, 0, "return when the space of removed directories is free", 1 },
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
	case OPT_ONE_BY_ONE:
		return opts.one_by_one = true, 0;
	case OPT_WAIT:
		return opts.wait = true, 0;
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
static uint64_t n_trees;
static struct removals {
	uint64_t *ids;
	size_t n, room;
} removals;
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

/* To be waited for. */
static int keep_removal(uint64_t id)
{
	if (removals.n == removals.room) {
		size_t room = removals.room ? removals.room * 2 : 16;
		uint64_t *ids = reallocarray(removals.ids, room, sizeof *ids);

		if (!ids)
			return -ENOMEM;
		removals.ids = ids;
		removals.room = room;
	}
	removals.ids[removals.n++] = id;
	return 0;
}

/* By one call. false: that is refused, or not wanted. */
static bool remove_whole(const char *path)
{
	uint64_t removal;
	int r;

	if (opts.one_by_one || cli.dry_run)
		return false;
	r = ff3fs_remove_tree(fs, FF3FS_ROOT, path, &removal);
	if (r == -EACCES || r == -E2BIG)
		return false;
	if (r >= 0) {
		n_trees++;
		cli_verbose("removed %s/ with all that was in it", cli_shown(path));
		r = opts.wait ? keep_removal(removal) : 0;
	}
	if (r < 0)
		failed(path, r);
	return true;
}

static void remove_tree(const char *path)
{
	struct names dirs = { 0 };
	uint64_t failed_before = n_failed;
	int r;

	if (remove_whole(path))
		return;
	r = remove_entries(path, &dirs);

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

/* Returns when it is over; files that somebody has open are not waited for. */
static int wait_removal(uint64_t id)
{
	struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
	struct ff3fs_removal now = { .running = 1 };
	int r;

	for (;;) {
		r = ff3fs_removal(fs, id, &now);
		if (r < 0 || !now.running || (now.open > 0 && now.open == now.waiting))
			break;
		if (!cli.quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r\33[K%" PRIu64 " files and %" PRIu64 " directories removed, "
					"space of %" PRIu64 " to come ",
				now.names, now.dirs, now.waiting);
		nanosleep(&pause, NULL);
		pause.tv_nsec = MIN(pause.tv_nsec * 2, 200 * 1000 * 1000L);
	}
	if (!cli.quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\33[K");
	if (r >= 0 && now.running)
		cli_note("%" PRIu64 " removed files are still open somewhere: their space comes back "
			 "when they are closed", now.open);
	n_files += now.names;
	n_dirs += now.dirs;
	return r;
}

static void wait_removals(void)
{
	for (size_t i = 0; i < removals.n; i++) {
		int r = wait_removal(removals.ids[i]);

		if (r < 0)
			failed("waiting for the space", r);
	}
	free(removals.ids);
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
	wait_removals();
	ff3fs_free(fs);
	outcome = (struct cli_outcome){ n_files + n_dirs + n_trees, n_failed, first_failure };
	r = cli_outcome_exit(&outcome);
	if (cli.json && (r == CLI_OK || r == CLI_PARTIAL))
		cli_print_json(json_pack("{s:I, s:I, s:I, s:I, s:b}", "files", (json_int_t)n_files,
					 "directories", (json_int_t)n_dirs, "trees",
					 (json_int_t)n_trees, "failed",
					 (json_int_t)n_failed, "dry_run", cli.dry_run));
	return cli_finish(r);
}
