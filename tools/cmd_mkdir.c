/* Purpose: ff3fs mkdir. */
#include <sys/stat.h>

#include "cli.h"
#include "commands.h"

static struct {
	bool parents;
	bool has_mode;
	mode_t mode;
} opts;

static const struct argp_option options[] = {
	{ "mode", 'm', "MODE", 0, "permission bits, in octal", 1 },
	{ "parents", 'p', NULL, 0, "missing parents too; what exists is no error", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	unsigned long mode;
	char *end;

	switch (key) {
	case 'm':
		mode = strtoul(arg, &end, 8);
		if (*end || end == arg || mode > 07777)
			argp_error(state, "--mode: %s: expected permission bits such as 750", arg);
		opts.mode = (mode_t)mode;
		opts.has_mode = true;
		return 0;
	case 'p':
		return opts.parents = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs mkdir",
	.args = "PATH...",
	.doc = "Make directories on ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = -1,
};

static uint64_t n_made;

/* Existing directories are no error with -p, also when someone else made one just now. */
static int make_one(struct ff3fs *fs, const char *path, mode_t mode, bool may_exist)
{
	struct ff3fs_attr attr;
	int r;

	if (cli.dry_run) {
		r = ff3fs_stat(fs, FF3FS_ROOT, path, 0, &attr);
		if (r == -ENOENT) {
			n_made++;
			cli_note("would make %s", cli_shown(path));
			return 0;
		}
		r = r < 0 ? r : -EEXIST;
	} else {
		r = ff3fs_mkdir(fs, FF3FS_ROOT, path, mode);
	}
	if (r >= 0) {
		n_made++;
		cli_verbose("made %s", cli_shown(path));
	}
	if (r != -EEXIST || !may_exist)
		return r;
	r = ff3fs_stat(fs, FF3FS_ROOT, path, 0, &attr);
	return r < 0 ? r : S_ISDIR(attr.mode) ? 0 : -EEXIST;
}

static int make(struct ff3fs *fs, const char *arg, mode_t mask)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	mode_t mode = opts.has_mode ? opts.mode : 0777 & ~mask;
	int r = 0;

	for (char *p = path; opts.parents && r >= 0 && (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		/* As mkdir(1): the parents can be passed by their owner, whatever the umask. */
		r = make_one(fs, path, (0777 & ~mask) | S_IWUSR | S_IXUSR, true);
	}
	if (r >= 0)
		r = make_one(fs, path, mode, opts.parents);
	return r < 0 ? cli_error(arg, r) : CLI_OK;
}

int cmd_mkdir(int argc, char **argv)
{
	struct cli_outcome outcome = { 0 };
	struct ff3fs *fs;
	mode_t mask = umask(0);
	int r;

	umask(mask);
	cli_parse(&command, argc, argv);
	fs = cli_connect();
	for (int i = 0; i < cli.n_args; i++)
		cli_outcome_add(&outcome, make(fs, cli.args[i], mask));
	ff3fs_free(fs);
	r = cli_outcome_exit(&outcome);
	if (cli.json && (r == CLI_OK || r == CLI_PARTIAL))
		cli_print_json(json_pack("{s:I, s:I, s:b}", "made", (json_int_t)n_made, "failed",
					 (json_int_t)outcome.failed, "dry_run", cli.dry_run));
	return cli_finish(r);
}
