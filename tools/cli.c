/* Purpose: the shared part of the commands: options and messages.
 * Threads: cli is written by cli_parse before any other thread exists; a message is one write.
 * Fork/signal: none here. */
#include "cli.h"

#include <stdarg.h>

#include "../common/base/err.h"

struct cli cli = { .name = "ff3fs" };
const char *cli_line_clear = "";

/* The C library looks for this name. */
EXPORT const char *argp_program_version = "ff3fs " PACKAGE_VERSION;
static const struct cli_command *current;
static struct argp_option all_options[48];

enum {
	OPT_LONG_OPTIONS = 0x1000,
	OPT_CONF,
	OPT_METAD,
	OPT_TIMEOUT,
	OPT_BYTES,
	OPT_JSON,
};

static const struct {
	unsigned bits;
	struct argp_option option;
} common_options[] = {
	{ CLI_JSON, { "json", OPT_JSON, NULL, 0, "print JSON on stdout", 50 } },
	{ CLI_BYTES, { "bytes", OPT_BYTES, NULL, 0, "print sizes as numbers of bytes", 50 } },
	{ CLI_DRY_RUN, { "dry-run", 'n', NULL, 0, "say what would be done, change nothing", 50 } },
	{ CLI_QUIET, { "quiet", 'q', NULL, 0, "print errors only", 50 } },
	{ CLI_QUIET, { "verbose", 'v', NULL, 0, "say what is being done", 50 } },
	{ CLI_CLUSTER | CLI_CONF,
	  { "conf", OPT_CONF, "FILE", 0, "read this configuration file", 51 } },
	{ CLI_CLUSTER, { "metad", OPT_METAD, "HOST:PORT,…", 0, "metadata servers to use", 51 } },
	{ CLI_CLUSTER,
	  { "timeout", OPT_TIMEOUT, "TIME", 0, "how long to retry while a daemon is away", 51 } },
};

static void print_option(const struct argp_option *o)
{
	if (o->name && !(o->flags & OPTION_HIDDEN))
		printf("--%s%s\n", o->name, o->arg ? "=" : "");
}

/* For the shell's completion and for the test that compares options with their page. */
static void print_long_options(void)
{
	for (const struct argp_option *o = all_options; o->name || o->key; o++)
		print_option(o);
	printf("--help\n--usage\n--version\n");
	exit(cli_finish(CLI_OK));
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_LONG_OPTIONS:
		print_long_options();
		return 0;
	case OPT_JSON:
		return cli.json = true, 0;
	case OPT_BYTES:
		return cli.bytes = true, 0;
	case OPT_CONF:
		return cli.conf = arg, 0;
	case OPT_METAD:
		return setenv("FF3FS_CLIENT_METAD", arg, 1) < 0 ? errno : 0;
	case OPT_TIMEOUT:
		return setenv("FF3FS_CLIENT_TIMEOUT", arg, 1) < 0 ? errno : 0;
	}
	if (key == 'n' && current->common & CLI_DRY_RUN)
		return cli.dry_run = true, 0;
	if (key == 'q' && current->common & CLI_QUIET)
		return cli.quiet = true, 0;
	if (key == 'v' && current->common & CLI_QUIET)
		return cli.verbose = true, 0;
	return current->option ? current->option(key, arg, state) : ARGP_ERR_UNKNOWN;
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_ARG:
		if (current->passes_rest)
			return ARGP_ERR_UNKNOWN; /* asks for all of them by ARGP_KEY_ARGS */
		cli.args[cli.n_args++] = arg;
		return 0;
	case ARGP_KEY_ARGS:
		while (state->next < state->argc)
			cli.args[cli.n_args++] = state->argv[state->next++];
		return 0;
	case ARGP_KEY_NO_ARGS:
		return 0;
	case ARGP_KEY_SUCCESS:
		if (cli.n_args < current->min_args)
			argp_error(state, "an argument is missing: %s", current->args);
		if (current->max_args >= 0 && cli.n_args > current->max_args)
			argp_error(state, "unexpected argument '%s'", cli.args[current->max_args]);
		return 0;
	case ARGP_KEY_INIT:
	case ARGP_KEY_FINI:
	case ARGP_KEY_END:
	case ARGP_KEY_ERROR:
		return ARGP_ERR_UNKNOWN;
	}
	return parse_option(key, arg, state);
}

void cli_parse(const struct cli_command *command, int argc, char **argv)
{
	static char name[64];
	struct argp argp = { .options = all_options, .parser = parse_key, .args_doc = command->args,
			     .doc = command->doc };
	size_t n = 0;
	int r;

	current = command;
	cli = (struct cli){ .name = command->name };
	cli.args = calloc((size_t)argc + 1, sizeof *cli.args);
	if (!cli.args)
		exit(CLI_FAILURE);
	for (const struct argp_option *o = command->options; o && (o->name || o->key); o++)
		all_options[n++] = *o;
	for (size_t i = 0; i < ARRAY_SIZE(common_options); i++)
		if (common_options[i].bits & command->common)
			all_options[n++] = common_options[i].option;
	all_options[n++] = (struct argp_option){ "long-options", OPT_LONG_OPTIONS, NULL,
						 OPTION_HIDDEN, NULL, 60 };
	snprintf(name, sizeof name, "%s", command->name);
	argv[0] = name;
	argp_err_exit_status = CLI_USAGE;
	r = argp_parse(&argp, argc, argv, command->passes_rest ? ARGP_IN_ORDER : 0, NULL, NULL);
	if (r) {
		cli_message("%s", strerror(r));
		exit(CLI_USAGE);
	}
}

/* --- Messages ------------------------------------------------------------------------------- */

static void put_message(const char *format, va_list ap)
{
	char text[4096 + 512];
	int n = snprintf(text, sizeof text, "%s%s: ", cli_line_clear, cli.name);
	int r = vsnprintf(text + n, sizeof text - (size_t)n - 1, format, ap);

	n = MIN(n + MAX(r, 0), (int)sizeof text - 2);
	text[n++] = '\n';
	fflush(stdout);
	fwrite(text, 1, (size_t)n, stderr);
}

void cli_message(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	put_message(format, ap);
	va_end(ap);
}

void cli_note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (!cli.quiet)
		put_message(format, ap);
	va_end(ap);
}

void cli_verbose(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (cli.verbose)
		put_message(format, ap);
	va_end(ap);
}

int cli_exit_code(int r)
{
	if (r >= 0)
		return CLI_OK;
	if (r == FF3_E_CHECKSUM || r == -EBADMSG)
		return CLI_INTEGRITY;
	if (r == FF3_E_OFFLINE || r == FF3_E_NO_TARGET || r == FF3_E_CHAIN_VERSION)
		return CLI_UNAVAILABLE;
	switch (ff3_err_errno(r)) {
	case ENOENT:
	case ESTALE:
		return CLI_NOT_FOUND;
	case EAGAIN:
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENOTCONN:
	case EPIPE:
	case ETIMEDOUT:
		return CLI_UNAVAILABLE;
	case EACCES:
	case EPERM:
		return CLI_AUTH;
	case ENOSPC:
	case EDQUOT:
		return CLI_NO_SPACE;
	case EINTR:
	case ECANCELED:
		return CLI_INTERRUPTED;
	default:
		return CLI_FAILURE;
	}
}

int cli_local_error(const char *path, int r)
{
	cli_message("%s: %s", path, ff3_strerror(r));
	return cli_exit_code(r);
}

void cli_outcome_add(struct cli_outcome *o, int code)
{
	if (code == CLI_OK) {
		o->done++;
		return;
	}
	if (o->failed++ == 0)
		o->first = code;
}

int cli_outcome_exit(const struct cli_outcome *o)
{
	if (o->failed == 0)
		return CLI_OK;
	return o->done > 0 && o->first != CLI_INTERRUPTED ? CLI_PARTIAL : o->first;
}

int cli_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	if (errno != EPIPE)
		cli_message("cannot write to stdout: %s", strerror(errno));
	return code ? code : CLI_FAILURE;
}
