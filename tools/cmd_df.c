/* Purpose: ff3fs df. */
#include "cli.h"
#include "commands.h"

static const struct cli_command command = {
	.name = "ff3fs df",
	.doc = "Show the capacity and use of ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_BYTES | CLI_CLUSTER,
	.max_args = 0,
};

int cmd_df(int argc, char **argv)
{
	struct ff3fs_statfs s;
	struct ff3fs *fs;
	char capacity[32], used[32], available[32], inodes[32];
	int r;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	r = ff3fs_statfs(fs, &s);
	if (r < 0) {
		r = cli_error("", r);
		ff3fs_free(fs);
		return r;
	}
	if (cli.json)
		cli_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I}", "prefix", ff3fs_prefix(fs),
					 "capacity", (json_int_t)s.capacity, "used",
					 (json_int_t)s.used, "free", (json_int_t)s.free, "inodes",
					 (json_int_t)s.inodes));
	else
		printf("%-20s %12s %12s %12s %5s %12s\n%-20s %12s %12s %12s %4.0f%% %12s\n", "Prefix",
		       "Size", "Used", "Free", "Use", "Inodes", ff3fs_prefix(fs),
		       cli_size(capacity, s.capacity), cli_size(used, s.used),
		       cli_size(available, s.free),
		       s.capacity ? 100.0 * (double)s.used / (double)s.capacity : 0,
		       cli_count(inodes, s.inodes));
	ff3fs_free(fs);
	return cli_finish(CLI_OK);
}
