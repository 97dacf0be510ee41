/* Purpose: ff3fs mv: one atomic rename for each source. */
#include <stdio.h>

#include "cli.h"
#include "commands.h"

enum { OPT_NO_REPLACE = 0x2000 };

static struct {
	bool no_target_directory, no_replace;
} opts;

static const struct argp_option options[] = {
	{ "no-replace", OPT_NO_REPLACE, NULL, 0, "fail where the new name exists", 1 },
	{ "no-target-directory", 'T', NULL, 0, "NEW is the new name, also if it is a directory", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_NO_REPLACE:
		return opts.no_replace = true, 0;
	case 'T':
		return opts.no_target_directory = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs mv",
	.args = "OLD NEW\nOLD... DIRECTORY",
	.doc = "Rename files and directories of ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 2,
	.max_args = -1,
};

static int move(struct ff3fs *fs, const char *arg, const char *to, bool into)
{
	_cleanup_free_ char *from = cli_remote(fs, arg), *name = cli_basename(from), *target = NULL;
	struct ff3fs_attr attr;
	int r;

	target = into && name ? cli_join(to, name) : strdup(to);
	if (!target)
		return cli_local_error(arg, -ENOMEM);
	if (cli.dry_run) {
		r = ff3fs_stat(fs, FF3FS_ROOT, from, FF3FS_NOFOLLOW, &attr);
		if (r >= 0)
			cli_note("would rename %s to %s", cli_shown(from), cli_shown(target));
	} else {
		r = ff3fs_rename(fs, FF3FS_ROOT, from, FF3FS_ROOT, target,
				 opts.no_replace ? RENAME_NOREPLACE : 0);
		if (r >= 0)
			cli_verbose("renamed %s to %s", cli_shown(from), cli_shown(target));
	}
	return r < 0 ? cli_error(r == -ENOENT ? arg : target, r) : CLI_OK;
}

int cmd_mv(int argc, char **argv)
{
	struct cli_outcome outcome = { 0 };
	struct ff3fs_attr attr;
	struct ff3fs *fs;
	const char *last;
	bool into;
	int r;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	last = cli.args[cli.n_args - 1];
	{
		_cleanup_free_ char *to = cli_remote(fs, last);

		into = !opts.no_target_directory &&
		       ff3fs_stat(fs, FF3FS_ROOT, to, 0, &attr) >= 0 && S_ISDIR(attr.mode);
		if (!into && cli.n_args > 2) {
			cli_message("%s: not a directory, and there are several sources", last);
			ff3fs_free(fs);
			return CLI_USAGE;
		}
		for (int i = 0; i < cli.n_args - 1; i++)
			cli_outcome_add(&outcome, move(fs, cli.args[i], to, into));
	}
	ff3fs_free(fs);
	r = cli_outcome_exit(&outcome);
	if (cli.json && (r == CLI_OK || r == CLI_PARTIAL))
		cli_print_json(json_pack("{s:I, s:I, s:b}", "renamed", (json_int_t)outcome.done,
					 "failed", (json_int_t)outcome.failed, "dry_run",
					 cli.dry_run));
	return cli_finish(r);
}
