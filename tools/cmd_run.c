/* Purpose: ff3fs run: sets the environment that makes the shim serve the prefixes, and execs. */
#include "cli.h"
#include "commands.h"
#include "notify.h"
#include "program.h"
#include "where.h"

enum { OPT_PREFIX = 0x2000, OPT_NOTIFY };

static const char *prefix;
static bool with_notify;

static const struct argp_option options[] = {
	{ "notify", OPT_NOTIFY, NULL, 0,
	  "serve static, Go and set-user-ID programs too, for reading", 1 },
	{ "prefix", OPT_PREFIX, "PATH", 0, "path prefixes to serve, separated by colons", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	if (key == OPT_NOTIFY)
		return with_notify = true, 0;
	if (key != OPT_PREFIX)
		return ARGP_ERR_UNKNOWN;
	if (arg[0] != '/')
		argp_error(state, "--prefix: %s: expected an absolute path", arg);
	prefix = arg;
	return 0;
}

static const struct cli_command command = {
	.name = "ff3fs run",
	.args = "[--] COMMAND [ARGUMENT...]",
	.doc = "Run a program with the shim, so that its calls on the prefixes go to ff3fs.",
	.common = CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = -1,
	.passes_rest = true,
};

/* Our shim goes first: it must see a call before what else interposes it, and it is only itself
 * that it can hand a path of ours to. */
static int set_preload(const char *shim)
{
	const char *old = getenv("LD_PRELOAD");
	_cleanup_free_ char *value = NULL;

	if (!old || !*old)
		return setenv("LD_PRELOAD", shim, 1) < 0 ? -errno : 0;
	if (strstr(old, SHIM_NAME))
		return 0;
	if (asprintf(&value, "%s:%s", shim, old) < 0)
		return -ENOMEM;
	return setenv("LD_PRELOAD", value, 1) < 0 ? -errno : 0;
}

/* The build tree's libff3fs.so lies where only LD_LIBRARY_PATH finds it. */
static int set_library_path(const char *shim)
{
	const char *old = getenv("LD_LIBRARY_PATH");
	_cleanup_free_ char *value = NULL;
	int n = (int)(strrchr(shim, '/') - shim);

	if (asprintf(&value, "%.*s%s%s", n, shim, old && *old ? ":" : "", old ? old : "") < 0)
		return -ENOMEM;
	return setenv("LD_LIBRARY_PATH", value, 1) < 0 ? -errno : 0;
}

static int set_environment(void)
{
	_cleanup_free_ char *shim = NULL, *conf = NULL;
	int r = where_library(SHIM_NAME, &shim);

	if (r < 0)
		return cli_message("cannot find " SHIM_NAME " beside this program"), CLI_FAILURE;
	if (cli.conf) {
		conf = realpath(cli.conf, NULL);
		if (!conf)
			return cli_local_error(cli.conf, -errno);
	}
	r = set_preload(shim);
	if (r >= 0 && strstr(shim, "/.libs/"))
		r = set_library_path(shim);
	if (r >= 0 && prefix && setenv("FF3FS_PREFIX", prefix, 1) < 0)
		r = -errno;
	if (r >= 0 && conf && setenv("FF3FS_CONF", conf, 1) < 0)
		r = -errno;
	return r < 0 ? cli_local_error("environment", r) : CLI_OK;
}

/* A program that the shim cannot serve would only say that there is no such file. */
static void warn_about(const char *name)
{
	char path[PATH_MAX];
	struct program p;

	if (program_find(name, path) == 0 && program_look(path, NULL, NULL, &p) == 0 &&
	    (p.facts & PROGRAM_NOT_SERVED))
		cli_message("%s %s: the shim cannot serve it; --notify (for reading) or ff3fs-mount can",
			    p.path, program_why(p.facts));
}

int cmd_run(int argc, char **argv)
{
	int r;

	cli_parse(&command, argc, argv);
	r = set_environment();
	if (r)
		return r;
	if (with_notify)
		return notify_run(cli.args);
	warn_about(cli.args[0]);
	execvp(cli.args[0], cli.args);
	r = errno;
	cli_message("%s: %s", cli.args[0], strerror(r));
	/* As env(1) and the shell do. */
	return r == ENOENT ? 127 : 126;
}
