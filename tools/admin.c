/* Purpose: ff3fs-admin: the cluster's state, as metad's admin endpoint tells it, and what an
 * administrator does with metad (admin_metad.c). It uses nothing else, so whatever it shows is there for
 * other programs too. */
#include "admin.h"

#include "../common/base/conf.h"
#include "cli.h"

enum { OPT_ADMIN = 0x2000, OPT_REPAIR };

static const char *address;
static bool wants_repair;

static const struct argp_option options[] = {
	{ "admin", OPT_ADMIN, "HOST:PORT", 0, "address of metad's admin endpoint", 1 },
	{ "repair", OPT_REPAIR, NULL, 0, "fsck: repair what can be", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_ADMIN:
		return address = arg, 0;
	case OPT_REPAIR:
		return wants_repair = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs-admin",
	.args = "status\nnodes\nlayout PATH\nmetad backup FILE\nmetad restore FILE DIR\n"
		"metad members\nmetad admit ID\nmetad remove ID\nmetad hand-over [ID]\nmetad promote\nfsck",
	.doc = "Show and administer an ff3fs cluster.",
	.common = CLI_JSON | CLI_QUIET | CLI_BYTES | CLI_CONF,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = 4,
};

/* --- Fields ----------------------------------------------------------------------------------- */

static const char *text(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s ? s : "-";
}

static uint64_t number(const json_t *doc, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(doc, key));
}

static char *size(char buf[32], const json_t *doc, const char *key)
{
	return cli_size(buf, number(doc, key));
}

static const char *seen(char buf[32], const json_t *node)
{
	const json_t *ms = json_object_get(node, "seen_ms");

	if (!json_is_integer(ms))
		return "never";
	if (json_integer_value(ms) < 1000)
		return "now";
	return cli_duration(buf, (uint64_t)json_integer_value(ms) / 1000);
}

/* Whether a document of a list goes with node. */
static bool is_of_node(const json_t *target, const json_t *node)
{
	return json_equal(json_object_get(target, "node"), json_object_get(node, "node"));
}

/* --- Commands --------------------------------------------------------------------------------- */

static char *counted(char buf[32], const json_t *s, const char *key, const char *one)
{
	snprintf(buf, 32, "%" PRIu64 " %s%s", number(s, key), one, number(s, key) == 1 ? "" : "s");
	return buf;
}

/* "tcp 3 connections, 120 requests (instead of shm: nobody 2); …" */
static void print_links(const json_t *links)
{
	const char *name, *why, *between = "";
	json_t *link, *n;
	char buf[32];

	printf("  links     %s", json_object_size(links) ? "" : "none yet");
	json_object_foreach((json_t *)links, name, link) {
		printf("%s%s %s, ", between, name, counted(buf, link, "connections", "connection"));
		printf("%s", counted(buf, link, "requests", "request"));
		json_object_foreach(json_object_get(link, "instead_of"), why, n)
			printf(", %s times instead of %s", cli_count(buf, (uint64_t)json_integer_value(n)), why);
		between = "; ";
	}
	putchar('\n');
}

static void print_status(const json_t *s)
{
	char buf[3][32];

	printf("%s  cluster %s, ff3fs %s, up %s\n",
	       strcmp(text(s, "state"), "healthy") == 0 ? "✓ HEALTHY" : "! DEGRADED",
	       text(s, "cluster"), text(s, "version"), cli_duration(buf[0], number(s, "uptime_seconds")));
	printf("  metad     %s, admin %s\n", text(s, "listen"), address);
	printf("  chunkd    %s, %s, %s\n", counted(buf[0], s, "nodes", "node"),
	       counted(buf[1], s, "targets", "target"), counted(buf[2], s, "chains", "chain"));
	printf("  capacity  %s, %s used, %s free\n", size(buf[0], s, "capacity"),
	       size(buf[1], s, "used"), size(buf[2], s, "free"));
	printf("  files     %s inodes, %s\n", cli_count(buf[0], number(s, "inodes")),
	       counted(buf[1], s, "sessions", "session"));
	print_links(json_object_get(s, "links"));
}

static int status(void)
{
	json_t *doc;
	int r = admin_get(address, "/v1/status", &doc);

	if (r)
		return r;
	/* Degraded is a state to look at, not a failure of this command. */
	if (cli.json)
		cli_print_json(json_incref(doc));
	else
		print_status(doc);
	json_decref(doc);
	return CLI_OK;
}

static void print_targets(const json_t *node, const json_t *targets)
{
	char buf[2][32];
	const json_t *t;
	size_t i;

	json_array_foreach(json_object_get(targets, "items"), i, t)
		if (is_of_node(t, node))
			printf("    target %-16s %-8s %10s of %10s\n", text(t, "target"),
			       text(t, "state"), size(buf[0], t, "used"),
			       size(buf[1], t, "capacity"));
}

static int nodes(void)
{
	json_t *list, *targets = NULL, *node;
	char buf[32];
	size_t i;
	int r = admin_get(address, "/v1/nodes", &list);

	if (r == 0 && !cli.json)
		r = admin_get(address, "/v1/targets", &targets);
	if (r) {
		if (targets)
			json_decref(list);
		return r;
	}
	if (cli.json)
		cli_print_json(json_incref(list));
	else
		json_array_foreach(json_object_get(list, "items"), i, node) {
			printf("%s %-16s %-5s %-21s admin %-21s seen %s\n",
			       strcmp(text(node, "state"), "up") == 0 ? "✓" : "✗",
			       text(node, "node"), text(node, "state"), text(node, "address"),
			       text(node, "admin"), seen(buf, node));
			print_targets(node, targets);
		}
	json_decref(list);
	json_decref(targets);
	return CLI_OK;
}

/* path as the rest of a URL; slashes stay. */
static char *quoted(const char *path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~/";
	char *out = malloc(strlen(path) * 3 + 1), *p = out;

	if (!out)
		return NULL;
	for (; *path; path++) {
		if (strchr(plain, *path))
			*p++ = *path;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*path);
	}
	*p = '\0';
	return out;
}

/* Without the prefix, as the namespace knows it. */
static const char *without_prefix(const char *prefixes, const char *path)
{
	for (const char *p = prefixes; *p;) {
		size_t n = strcspn(p, ":"), len = n;

		while (len > 0 && p[len - 1] == '/')
			len--;
		if (len && strncmp(path, p, len) == 0 && (path[len] == '/' || !path[len]))
			return path + len + strspn(path + len, "/");
		p += n + (p[n] == ':');
	}
	return path + strspn(path, "/");
}

static int layout(const char *prefixes, const char *arg)
{
	_cleanup_free_ char *name = quoted(without_prefix(prefixes, arg)), *path = NULL;
	json_t *doc, *chain;
	char buf[32];
	size_t i;
	int r;

	if (!name || asprintf(&path, "/v1/layouts/%s", name) < 0)
		return cli_local_error(arg, -ENOMEM);
	r = admin_get(address, path, &doc);
	if (r)
		return r;
	if (cli.json) {
		cli_print_json(doc);
		return CLI_OK;
	}
	printf("%s  chunk size %s, stripe %zu%s, chains", arg, size(buf, doc, "chunk_size"),
	       json_array_size(json_object_get(doc, "chains")),
	       json_is_true(json_object_get(doc, "own")) ? " (set here)" : "");
	json_array_foreach(json_object_get(doc, "chains"), i, chain)
		printf(" %" JSON_INTEGER_FORMAT, json_integer_value(chain));
	putchar('\n');
	json_decref(doc);
	return CLI_OK;
}

static int show_layout(const struct ff3_conf *conf, char **args)
{
	return layout(conf->client.prefix, args[0]);
}

static int show_status(const struct ff3_conf *conf, char **args)
{
	return status();
}

static int show_nodes(const struct ff3_conf *conf, char **args)
{
	return nodes();
}

static int metad_backup(const struct ff3_conf *conf, char **args)
{
	return admin_backup(address, args[0]);
}

static int metad_restore(const struct ff3_conf *conf, char **args)
{
	return admin_restore(args[0], args[1]);
}

static int metad_members(const struct ff3_conf *conf, char **args)
{
	return admin_members(address);
}

static int metad_admit(const struct ff3_conf *conf, char **args)
{
	return admin_admit(address, args[0]);
}

static int metad_remove(const struct ff3_conf *conf, char **args)
{
	return admin_remove(address, args[0]);
}

static int metad_hand_over(const struct ff3_conf *conf, char **args)
{
	return admin_hand_over(address, cli.n_args > 2 ? args[0] : NULL);
}

static int metad_promote(const struct ff3_conf *conf, char **args)
{
	return admin_promote(address);
}

static int fsck(const struct ff3_conf *conf, char **args)
{
	return admin_fsck(address, wants_repair);
}

/* What the first words are, and what comes after them; [what need not be there]. */
static const struct {
	const char *word, *word2;
	const char *const *args;
	int (*fn)(const struct ff3_conf *conf, char **args);
} actions[] = {
	{ "status", NULL, (const char *const[]){ NULL }, show_status },
	{ "nodes", NULL, (const char *const[]){ NULL }, show_nodes },
	{ "layout", NULL, (const char *const[]){ "a path", NULL }, show_layout },
	{ "metad", "backup", (const char *const[]){ "a file", NULL }, metad_backup },
	{ "metad", "restore", (const char *const[]){ "a file", "a directory", NULL }, metad_restore },
	{ "metad", "members", (const char *const[]){ NULL }, metad_members },
	{ "metad", "admit", (const char *const[]){ "an ID", NULL }, metad_admit },
	{ "metad", "remove", (const char *const[]){ "an ID", NULL }, metad_remove },
	{ "metad", "hand-over", (const char *const[]){ "[an ID]", NULL }, metad_hand_over },
	{ "metad", "promote", (const char *const[]){ NULL }, metad_promote },
	{ "fsck", NULL, (const char *const[]){ NULL }, fsck },
};

static int run_action(size_t i, const struct ff3_conf *conf)
{
	int skip = actions[i].word2 ? 2 : 1, n = 0;

	for (; actions[i].args[n]; n++)
		if (skip + n >= cli.n_args && actions[i].args[n][0] != '[') {
			cli_message("%s: %s is missing", cli.args[skip - 1], actions[i].args[n]);
			return CLI_USAGE;
		}
	if (cli.n_args > skip + n) {
		cli_message("%s: unexpected argument '%s'", cli.args[skip - 1], cli.args[skip + n]);
		return CLI_USAGE;
	}
	return actions[i].fn(conf, cli.args + skip);
}

/* The words that word may be, or that may follow it. */
static void tell_words(const char *after, const char *word)
{
	char list[256] = "";
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		const char *w = after ? actions[i].word2 : actions[i].word;

		if (after && strcmp(actions[i].word, after) != 0)
			continue;
		if (!after && i > 0 && strcmp(actions[i - 1].word, w) == 0)
			continue;
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", w);
	}
	if (after)
		cli_message("%s %s: unknown; it is one of %s", after, word, list);
	else
		cli_message("%s: unknown; it is one of %s", word, list);
}

static int run(const struct ff3_conf *conf)
{
	const char *word = cli.args[0], *word2 = cli.n_args > 1 ? cli.args[1] : "";
	bool known = false;

	if (wants_repair && strcmp(word, "fsck") != 0) {
		cli_message("--repair goes with fsck only");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].word, word) != 0)
			continue;
		known = true;
		if (!actions[i].word2 || strcmp(actions[i].word2, word2) == 0)
			return run_action(i, conf);
	}
	tell_words(known ? word : NULL, known ? word2 : word);
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	struct ff3_conf conf;
	int r;

	cli_parse(&command, argc, argv);
	r = ff3_conf_load(&conf, cli.conf);
	if (r < 0) {
		cli_message("%s", conf.error);
		return cli_exit_code(r);
	}
	if (!address)
		address = getenv("FF3FS_ADMIN");
	if (!address || !*address)
		address = conf.metad.admin;
	r = run(&conf);
	ff3_conf_done(&conf);
	return cli_finish(r);
}
