/* Purpose: ff3fs layout get|set. A file's layout is fixed when it is made; a directory's is what
 * files made in it get. */
#include "../common/base/conf.h"
#include "cli.h"
#include "commands.h"

enum { OPT_CHUNK_SIZE = 0x2000, OPT_STRIPE, OPT_INHERIT, OPT_PIN };

static struct {
	uint32_t chunk_size, stripe;
	bool inherit;
	bool sets_pin, pinned;
} opts;

static const struct argp_option options[] = {
	{ "chunk-size", OPT_CHUNK_SIZE, "SIZE", 0, "set: a power of two from 64K to 16M", 1 },
	{ "inherit", OPT_INHERIT, NULL, 0, "set: what the directory above has", 1 },
	{ "pin", OPT_PIN, "WHERE", 0, "set: memory, or none", 1 },
	{ "stripe", OPT_STRIPE, "N", 0, "set: how many chains a file is spread over", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	uint64_t v;

	switch (key) {
	case OPT_CHUNK_SIZE:
		if (ff3_parse_size(arg, &v) < 0 || v < FF3_KIB(64) || v > FF3_MIB(16) ||
		    (v & (v - 1)) != 0)
			argp_error(state, "--chunk-size: %s: expected a power of two from 64K to 16M",
				   arg);
		opts.chunk_size = (uint32_t)v;
		return 0;
	case OPT_STRIPE:
		v = strtoul(arg, NULL, 10);
		if (v < 1 || v > 1024)
			argp_error(state, "--stripe: %s: expected a number from 1 to 1024", arg);
		opts.stripe = (uint32_t)v;
		return 0;
	case OPT_PIN:
		opts.pinned = strcmp(arg, "memory") == 0;
		if (!opts.pinned && strcmp(arg, "none") != 0)
			argp_error(state, "--pin: %s: expected memory or none", arg);
		return opts.sets_pin = true, 0;
	case OPT_INHERIT:
		return opts.inherit = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs layout",
	.args = "get PATH...\nset PATH...",
	.doc = "Show or set into which chunks, on which chains, files are cut.",
	.common = CLI_JSON | CLI_QUIET | CLI_DRY_RUN | CLI_BYTES | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 2,
	.max_args = -1,
};

static struct ff3fs_layout layout;

static void print_json(const char *path)
{
	json_t *chains = json_array();

	for (uint32_t i = 0; i < layout.n_stripe; i++)
		json_array_append_new(chains, json_integer(layout.chains[i]));
	cli_print_json(json_pack("{s:o, s:I, s:I, s:I, s:b, s:b, s:o}", "path", cli_json_name(path),
				 "chunk_size", (json_int_t)layout.chunk_size, "stripe",
				 (json_int_t)layout.n_stripe, "seed", (json_int_t)layout.seed,
				 "own", layout.own, "pinned", layout.pinned, "chains", chains));
}

static int get(struct ff3fs *fs, const char *arg)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	char size[32];
	int r = ff3fs_get_layout(fs, FF3FS_ROOT, path, &layout);

	if (r < 0)
		return cli_error(arg, r);
	if (cli.json) {
		print_json(path);
		return CLI_OK;
	}
	printf("%s  chunk size %s, stripe %u%s%s, chains", arg, cli_size(size, layout.chunk_size),
	       layout.n_stripe, layout.pinned ? ", pinned in memory" : "",
	       layout.own ? " (set here)" : "");
	for (uint32_t i = 0; i < layout.n_stripe; i++)
		printf(" %u", layout.chains[i]);
	putchar('\n');
	return CLI_OK;
}

static int set(struct ff3fs *fs, const char *arg)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	uint32_t chunk_size = opts.chunk_size, stripe = opts.stripe;
	bool cuts = chunk_size || stripe;
	char size[32];
	int r = ff3fs_get_layout(fs, FF3FS_ROOT, path, &layout);

	/* What is not named stays as it is. */
	if (r >= 0 && cuts && !chunk_size)
		chunk_size = layout.chunk_size;
	if (r >= 0 && cuts && !stripe)
		stripe = layout.n_stripe;
	if (r >= 0 && !cli.dry_run && (cuts || opts.inherit))
		r = ff3fs_set_layout(fs, FF3FS_ROOT, path, chunk_size, stripe);
	if (r >= 0 && !cli.dry_run && opts.sets_pin)
		r = ff3fs_set_pin(fs, FF3FS_ROOT, path, opts.pinned);
	if (r < 0)
		return cli_error(arg, r);
	if (opts.inherit)
		cli_note("%s: %sinherit%s its layout", arg, cli.dry_run ? "would " : "",
			 cli.dry_run ? "" : "s");
	else if (cli.dry_run && cuts)
		cli_note("%s: would set chunk size %s, stripe %u", arg, cli_size(size, chunk_size),
			 stripe);
	if (cli.dry_run && opts.sets_pin)
		cli_note("%s: would %s", arg, opts.pinned ? "pin it in memory" : "not pin it");
	if (cli.json && !cli.dry_run) {
		r = ff3fs_get_layout(fs, FF3FS_ROOT, path, &layout);
		if (r < 0)
			return cli_error(arg, r);
		print_json(path);
	}
	return CLI_OK;
}

int cmd_layout(int argc, char **argv)
{
	struct cli_outcome outcome = { 0 };
	struct ff3fs *fs;
	bool sets;

	cli_parse(&command, argc, argv);
	sets = strcmp(cli.args[0], "set") == 0;
	if (!sets && strcmp(cli.args[0], "get") != 0) {
		cli_message("%s: expected get or set", cli.args[0]);
		return CLI_USAGE;
	}
	if (sets && (opts.inherit ? opts.chunk_size || opts.stripe || opts.sets_pin :
				    !opts.chunk_size && !opts.stripe && !opts.sets_pin)) {
		cli_message("set takes --chunk-size, --stripe and --pin, or --inherit");
		return CLI_USAGE;
	}
	fs = cli_connect();
	for (int i = 1; i < cli.n_args; i++)
		cli_outcome_add(&outcome, (sets ? set : get)(fs, cli.args[i]));
	ff3fs_free(fs);
	return cli_finish(cli_outcome_exit(&outcome));
}
