/* Purpose: ff3fs dev, the one-command local cluster: up, down, env, status, kill, pid.
 *
 * up, down and kill hold DIR/run/lock. up starts what does not run, so that it also repairs a
 * cluster some of whose daemons were killed. Threads: one. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

#include "cli.h"
#include "commands.h"
#include "dev.h"
#include "where.h"

#define START_MS 30000u
#define STOP_MS 30000u
#define CHUNKD_DEFAULT 3u

enum { OPT_DIR = 0x2000, OPT_METAD, OPT_CHUNKD, OPT_HOST, OPT_MEMORY, OPT_PREFIX };

static struct {
	const char *dir;
	struct dev_wish wish;
} opts;

static const struct argp_option options[] = {
	{ "dir", OPT_DIR, "DIR", 0, "where the cluster lives (default: $FF3FS_DEV_DIR, ~/.ff3fs-dev)", 1 },
	{ "metad", OPT_METAD, "N", 0, "up: how many metadata servers, a group if more than one (default: 1)", 1 },
	{ "chunkd", OPT_CHUNKD, "N", 0, "up: how many chunk daemons (default: 3)", 1 },
	{ "host", OPT_HOST, "ADDRESS", 0, "up: where daemons listen (default: 127.0.0.1)", 1 },
	{ "memory", OPT_MEMORY, "SIZE", 0, "up: memory tier of one chunk daemon (default: 256M)", 1 },
	{ "prefix", OPT_PREFIX, "PATH", 0, "up: path prefix that is served (default: /ff3fs)", 1 },
	{ 0 },
};

static unsigned number(struct argp_state *state, const char *option, const char *arg, unsigned max)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end || end == arg || n < 1 || n > max)
		argp_error(state, "%s: %s: expected a number from 1 to %u", option, arg, max);
	return (unsigned)n;
}

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_DIR:
		opts.dir = arg;
		return 0;
	case OPT_METAD:
		opts.wish.n_metad = number(state, "--metad", arg, DEV_METAD_MAX);
		return 0;
	case OPT_CHUNKD:
		opts.wish.n_chunkd = number(state, "--chunkd", arg, DEV_CHUNKD_MAX);
		return 0;
	case OPT_HOST:
		opts.wish.host = arg;
		return 0;
	case OPT_MEMORY:
		opts.wish.memory = arg;
		return 0;
	case OPT_PREFIX:
		opts.wish.prefix = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* --- The directory ---------------------------------------------------------------------------- */

/* Absolute, whether it exists or not. */
static int find_dir(char dir[PATH_MAX])
{
	const char *given = opts.dir ? opts.dir : getenv("FF3FS_DEV_DIR");
	const char *home = getenv("HOME");
	_cleanup_free_ char *real = NULL;
	char cwd[PATH_MAX];
	int n;

	if (given && *given == '/')
		n = snprintf(dir, PATH_MAX, "%s", given);
	else if (given && *given)
		n = snprintf(dir, PATH_MAX, "%s/%s", getcwd(cwd, sizeof cwd) ? cwd : ".", given);
	else if (home)
		n = snprintf(dir, PATH_MAX, "%s/.ff3fs-dev", home);
	else
		return cli_message("--dir is missing, and there is no $HOME"), CLI_USAGE;
	if (n >= PATH_MAX)
		return cli_local_error("--dir", -ENAMETOOLONG);
	real = realpath(dir, NULL);
	if (real)
		strcpy(dir, real);
	while (strlen(dir) > 1 && dir[strlen(dir) - 1] == '/')
		dir[strlen(dir) - 1] = '\0';
	return CLI_OK;
}

static int load(struct dev_cluster *c)
{
	char dir[PATH_MAX];
	int r = find_dir(dir);

	if (r)
		return r;
	r = dev_load(c, dir);
	if (r == -ENOENT || r == -ENOTDIR)
		cli_message("%s: there is no cluster; make one: ff3fs dev up --dir %s", dir, dir);
	else if (r < 0)
		return cli_local_error(c->conf, r);
	for (unsigned i = 0; r >= 0 && i < c->n; i++)
		dev_find(&c->daemons[i]);
	return cli_exit_code(r);
}

static int lock(const char *dir, int *ret_fd)
{
	char path[PATH_MAX + 64];
	int fd;

	snprintf(path, sizeof path, "%s/run/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return cli_local_error(path, -errno);
	if (flock(fd, LOCK_EX) < 0) {
		close(fd);
		return cli_local_error(path, -errno);
	}
	*ret_fd = fd;
	return CLI_OK;
}

/* --- up --------------------------------------------------------------------------------------- */

/* The items of a list that metad's endpoint gives; NULL if it does not answer. */
static json_t *get_items(const struct dev_cluster *c, const char *path)
{
	const struct dev_daemon *metad = dev_primary(c);
	_cleanup_free_ char *body = NULL;
	json_t *doc, *items;

	if (!metad || dev_http_get(metad->admin, path, 5000, &body) != 200)
		return NULL;
	doc = json_loads(body, 0, NULL);
	items = json_incref(json_object_get(doc, "items"));
	json_decref(doc);
	return items;
}

/* Whether metad knows every chunk daemon at its present address, and a chain for each. */
static bool is_complete(const struct dev_cluster *c)
{
	json_t *nodes = get_items(c, "/v1/nodes"), *chains = get_items(c, "/v1/chains"), *node;
	bool complete = json_array_size(chains) >= c->n - c->n_metad;
	size_t k;

	for (unsigned i = c->n_metad; complete && i < c->n; i++) {
		bool found = false;

		json_array_foreach(nodes, k, node) {
			const char *address = json_string_value(json_object_get(node, "address"));

			found |= address && strcmp(address, c->daemons[i].listen) == 0;
		}
		complete = found;
	}
	json_decref(nodes);
	json_decref(chains);
	return complete;
}

/* Daemons tell when they serve, but registering with metad happens between the two of them: the
 * only way to learn of it from outside is to ask. */
static int wait_complete(const struct dev_cluster *c)
{
	uint64_t deadline = ff3_boottime_ns() + START_MS * FF3_NSEC_PER_MSEC;
	const struct timespec pause = { 0, 10 * 1000 * 1000 };

	while (!is_complete(c)) {
		if (ff3_boottime_ns() > deadline) {
			cli_message("the chunk daemons did not register with metad; see %s/log", c->dir);
			return CLI_UNAVAILABLE;
		}
		nanosleep(&pause, NULL);
	}
	return CLI_OK;
}

/* Starts those of the daemons [first, end) that do not run. */
static int start(struct dev_cluster *c, unsigned first, unsigned end)
{
	int r = 0;

	/* A member of a group knows the addresses of all. */
	for (unsigned i = first; r >= 0 && i < end; i++)
		if (!c->daemons[i].pid)
			r = dev_assign_addresses(&c->daemons[i]);
	if (r >= 0 && first == 0)
		r = dev_tell_metad(c);
	for (unsigned i = first; r >= 0 && i < end; i++)
		if (!c->daemons[i].pid)
			r = dev_spawn(&c->daemons[i]);
	if (r >= 0)
		r = dev_wait_ready(c, START_MS);
	if (r >= 0 && first == 0)
		r = dev_wait_group(c, START_MS);
	return r >= 0 ? CLI_OK : r == -ETIMEDOUT ? CLI_UNAVAILABLE : CLI_FAILURE;
}

static const char *state_of(const struct dev_daemon *d)
{
	int r = d->pid ? dev_http_get(d->admin, "/readyz", 2000, NULL) : 0;

	return !d->pid ? "down" : r == 200 ? "up" : "not answering";
}

static json_t *describe(const struct dev_cluster *c)
{
	json_t *daemons = json_array();

	for (unsigned i = 0; i < c->n; i++) {
		const struct dev_daemon *d = &c->daemons[i];
		json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s}", "name", d->name, "pid", d->pid,
				      "state", state_of(d), "listen", d->listen, "admin", d->admin, "log",
				      d->log);
		char role[16];

		if (d->is_metad) {
			dev_role(d, role);
			json_object_set_new(o, "role", json_string(role));
		}
		json_array_append_new(daemons, o);
	}
	return json_pack("{s:s, s:s, s:s, s:o}", "dir", c->dir, "conf", c->conf, "prefix", c->prefix,
			 "daemons", daemons);
}

/* For the shell: 'it'\''s'. */
static void print_quoted(const char *s)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789/._-+@%:,";

	if (*s && s[strspn(s, plain)] == '\0') {
		fputs(s, stdout);
		return;
	}
	putchar('\'');
	for (; *s; s++)
		if (*s == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*s);
	putchar('\'');
}

static void tell_up(const struct dev_cluster *c)
{
	char memory[64] = "";

	if (cli.json) {
		cli_print_json(describe(c));
		return;
	}
	if (cli.quiet)
		return;
	if (opts.wish.memory)
		snprintf(memory, sizeof memory, ", %s memory each", opts.wish.memory);
	for (unsigned i = 0; i < c->n_metad; i++)
		printf("✓ %-9s %s\n", c->daemons[i].name, c->daemons[i].listen);
	printf("✓ chunkd   ");
	for (unsigned i = c->n_metad; i < c->n; i++)
		printf(" %u", c->daemons[i].index);
	printf("   (%s%s)\n✓ admin     http://%s/v1/status\n", c->dir, memory, c->daemons[0].admin);
	printf("Next:  eval \"$(ff3fs dev env --dir ");
	print_quoted(c->dir);
	printf(")\"; ff3fs-put FILE %s/NAME\n", c->prefix);
}

static int stop(struct dev_daemon *d, int signo)
{
	int r = dev_signal(d, signo);

	if (r == -ESRCH)
		return CLI_OK;
	return r < 0 ? cli_local_error(d->name, r) : CLI_OK;
}

static int await_end(struct dev_daemon *d)
{
	int r = dev_wait_end(d, STOP_MS);

	if (r >= 0) {
		cli_verbose("%s: ended", d->name);
		return CLI_OK;
	}
	cli_message("%s: process %d does not end after %u s; killing it", d->name, d->pid,
		    STOP_MS / 1000);
	dev_signal(d, SIGKILL);
	dev_wait_end(d, STOP_MS);
	return CLI_FAILURE;
}

/* Runs without the others that there are to be now. */
static bool is_alone(const struct dev_cluster *c)
{
	char role[16] = "";

	if (c->n_metad > 1 && c->daemons[0].pid)
		dev_role(&c->daemons[0], role);
	return strcmp(role, "alone") == 0;
}

static int up(struct dev_cluster *c)
{
	_cleanup_close_ int lock_fd = -1;
	char dir[PATH_MAX];
	bool exists;
	int r = find_dir(dir);

	if (r)
		return r;
	exists = dev_load(c, dir) >= 0;
	dev_done(c);
	if (opts.wish.n_chunkd == 0)
		opts.wish.n_chunkd = exists ? 1 : CHUNKD_DEFAULT;
	if (dev_make(c, dir, &opts.wish) < 0)
		return CLI_FAILURE;
	r = lock(dir, &lock_fd);
	if (r)
		return r;
	for (unsigned i = 0; i < c->n; i++) {
		struct dev_daemon *d = &c->daemons[i];

		dev_find(d);
		if (d->pid && dev_is_killed(d))
			dev_wait_end(d, STOP_MS);
	}
	if (is_alone(c)) {
		r = stop(&c->daemons[0], SIGTERM);
		if (r == CLI_OK)
			r = await_end(&c->daemons[0]);
		if (r)
			return r;
	}
	c->daemons[0].form = c->n_metad > 1 && dev_is_fresh(c);
	r = start(c, 0, c->n_metad);
	if (r == CLI_OK)
		r = start(c, c->n_metad, c->n);
	if (r == CLI_OK)
		r = wait_complete(c);
	if (r == CLI_OK)
		tell_up(c);
	return r;
}

/* --- down, kill, pid, status ------------------------------------------------------------------ */

/* Whether arguments [1..] of the command name d: nothing names all, "chunkd" all chunk daemons,
 * "chunkd 2" and "chunkd2" one; the same for metad, whose first is "metad 1". */
static bool is_named(const struct dev_daemon *d)
{
	const char *which = cli.n_args > 1 ? cli.args[1] : NULL;

	if (!which)
		return true;
	if (strcmp(which, d->name) == 0 && cli.n_args == 2)
		return true;
	return strcmp(which, d->section) == 0 &&
	       (cli.n_args == 2 || strtoul(cli.args[2], NULL, 10) == d->index);
}

static int end_all(struct dev_daemon *first, struct dev_daemon *end)
{
	int code = CLI_OK;

	for (struct dev_daemon *d = first; d < end; d++)
		code = MAX(code, stop(d, SIGTERM));
	for (struct dev_daemon *d = first; d < end; d++)
		code = MAX(code, await_end(d));
	return code;
}

/* Chunk daemons first: what they still flush may want metad. Of a group the primary first: what it still
 * logs wants the others. */
static int down(struct dev_cluster *c)
{
	struct dev_daemon *metad_end = c->daemons + c->n_metad;
	int code = end_all(metad_end, c->daemons + c->n);
	const struct dev_daemon *primary = dev_primary(c);
	struct dev_daemon *first = primary ? &c->daemons[primary - c->daemons] : c->daemons;

	if (primary)
		code = MAX(code, end_all(first, first + 1));
	return MAX(code, end_all(c->daemons, metad_end));
}

static int kill_named(struct dev_cluster *c)
{
	unsigned n = 0;
	int code = CLI_OK;

	for (unsigned i = 0; i < c->n; i++) {
		struct dev_daemon *d = &c->daemons[i];

		if (!is_named(d) || !d->pid)
			continue;
		n++;
		code = MAX(code, stop(d, SIGKILL));
	}
	for (unsigned i = 0; i < c->n; i++)
		if (is_named(&c->daemons[i]))
			dev_wait_end(&c->daemons[i], STOP_MS);
	if (n > 0)
		return code;
	cli_message("no such daemon runs");
	return CLI_NOT_FOUND;
}

static int print_pids(struct dev_cluster *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++)
		if (is_named(&c->daemons[i]) && c->daemons[i].pid) {
			printf("%d\n", c->daemons[i].pid);
			n++;
		}
	if (n > 0)
		return CLI_OK;
	cli_message("no such daemon runs");
	return CLI_NOT_FOUND;
}

static int status(struct dev_cluster *c)
{
	int code = CLI_OK;

	if (cli.json)
		cli_print_json(describe(c));
	for (unsigned i = 0; i < c->n; i++) {
		const struct dev_daemon *d = &c->daemons[i];
		const char *state = state_of(d);

		if (strcmp(state, "up") != 0)
			code = CLI_UNAVAILABLE;
		if (cli.json || cli.quiet)
			continue;
		printf("%s %-9s %-13s", strcmp(state, "up") == 0 ? "✓" : "✗", d->name, state);
		if (d->pid)
			printf(" pid %-7d %-21s http://%s", d->pid, d->listen, d->admin);
		if (d->is_metad && c->n_metad > 1) {
			char role[16];

			dev_role(d, role);
			printf("  %s", role);
		}
		putchar('\n');
	}
	return code;
}

/* --- env -------------------------------------------------------------------------------------- */

static void print_export(const char *name, const char *value)
{
	printf("export %s=", name);
	print_quoted(value);
	putchar('\n');
}

/* export NAME=dir:"$NAME", unless it has dir already. The shell looks, because libtool's wrapper of
 * this program in the build tree changes what the program itself would see. */
static void print_prepend(const char *name, const char *dir)
{
	printf("case \":${%s-}:\" in *:", name);
	print_quoted(dir);
	printf(":*) ;; *) export %s=", name);
	print_quoted(dir);
	printf("\"${%s:+:$%s}\" ;; esac\n", name, name);
}

static int env(struct dev_cluster *c)
{
	_cleanup_free_ char *commands = NULL, *shim = NULL;
	int r = where_commands(&commands);

	if (r < 0)
		return cli_local_error("ff3fs", r);
	r = where_library("libff3fs_preload.so", &shim);
	if (r < 0)
		return cli_local_error("libff3fs_preload.so", r);
	*strrchr(shim, '/') = '\0';
	print_export("FF3FS_CONF", c->conf);
	print_export("FF3FS_PREFIX", c->prefix);
	print_export("FF3FS_DEV_DIR", c->dir);
	print_prepend("PATH", commands);
	print_prepend("LD_LIBRARY_PATH", shim);
	return CLI_OK;
}

/* ---------------------------------------------------------------------------------------------- */

static const struct action {
	const char *name;
	int (*fn)(struct dev_cluster *c);
	bool locks;
	int max_args;
} actions[] = {
	{ "down", down, true, 1 },	  { "env", env, false, 1 },
	{ "status", status, false, 1 },	  { "kill", kill_named, true, 3 },
	{ "pid", print_pids, false, 3 },
};

static int run_action(const struct action *a, struct dev_cluster *c)
{
	_cleanup_close_ int lock_fd = -1;
	int r = load(c);

	if (r == CLI_OK && a->locks)
		r = lock(c->dir, &lock_fd);
	/* Another up may have finished while the lock was waited for. */
	for (unsigned i = 0; r == CLI_OK && a->locks && i < c->n; i++)
		dev_find(&c->daemons[i]);
	return r == CLI_OK ? a->fn(c) : r;
}

static const struct cli_command command = {
	.name = "ff3fs dev",
	.args = "up|down|env|status\nkill|pid [metad|chunkd [N]]",
	.doc = "Run a local cluster for development, without root.",
	.common = CLI_JSON | CLI_QUIET,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = 3,
};

int cmd_dev(int argc, char **argv)
{
	static struct dev_cluster c;
	int r = CLI_USAGE, max = 0;
	bool known = false;

	cli_parse(&command, argc, argv);
	if (strcmp(cli.args[0], "up") == 0) {
		known = true;
		max = 1;
		if (cli.n_args <= max)
			r = up(&c);
	}
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(cli.args[0], actions[i].name) != 0)
			continue;
		known = true;
		max = actions[i].max_args;
		if (cli.n_args <= max)
			r = run_action(&actions[i], &c);
	}
	if (!known)
		cli_message("%s: unknown; it is one of up, down, env, status, kill, pid", cli.args[0]);
	else if (cli.n_args > max)
		cli_message("%s: unexpected argument '%s'", cli.args[0], cli.args[max]);
	dev_done(&c);
	return cli_finish(r);
}
