/* Purpose: ff3fs ticket: the cluster's key, and tickets by which jobs come over a network. Asks no daemon. */
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/base/conf.h"
#include "../common/base/err.h"
#include "../common/net/ticket.h"
#include "../common/net/ticket_file.h"
#include "cli.h"
#include "commands.h"

#define LIFETIME_S (7 * 86400u)

enum { OPT_NEW_KEY = 2000, OPT_SHOW };

static struct {
	const char *key, *user, *groups;
	uint64_t lifetime_s;
	bool new_key, show;
} opts = { .lifetime_s = LIFETIME_S };

static const struct argp_option options[] = {
	{ "groups", 'g', "GID,...", 0, "its groups, the first is its own; those of the user database by default", 1 },
	{ "key", 'k', "KEYFILE", 0, "the cluster's key; metad.key by default", 1 },
	{ "lifetime", 'l', "TIME", 0, "how long it is good, such as 12h or 30d; 7d by default", 1 },
	{ "new-key", OPT_NEW_KEY, NULL, 0, "make FILE a new key", 1 },
	{ "show", OPT_SHOW, NULL, 0, "tell what the ticket in FILE says", 1 },
	{ "user", 'u', "USER", 0, "for whom, by name or number", 1 },
	{ 0 },
};

/* "90s", "30m", "12h", "7d". */
static int parse_lifetime(const char *s, uint64_t *ret)
{
	static const struct {
		char unit;
		uint64_t s;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	char *end;
	uint64_t n = strtoull(s, &end, 10);

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (end != s && *s != '-' && end[0] == units[i].unit && !end[1] && n > 0 && n <= 36500 * 86400ull / units[i].s) {
			*ret = n * units[i].s;
			return 0;
		}
	return -EINVAL;
}

static int on_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'g':
		return opts.groups = arg, 0;
	case 'k':
		return opts.key = arg, 0;
	case 'l':
		if (parse_lifetime(arg, &opts.lifetime_s) < 0)
			argp_error(state, "--lifetime: %s: expected a time such as 12h or 30d", arg);
		return 0;
	case 'u':
		return opts.user = arg, 0;
	case OPT_NEW_KEY:
		return opts.new_key = true, 0;
	case OPT_SHOW:
		return opts.show = true, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs ticket",
	.args = "FILE",
	.doc = "Make a ticket in FILE, by which a job comes to daemons that ask for one over a network.",
	.common = CLI_JSON | CLI_QUIET | CLI_CONF,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = 1,
};

/* --- Who -------------------------------------------------------------------------------------- */

struct holder {
	struct ff3_ticket ticket; /* its groups lie in the buffer */
	uint8_t groups[4 * FF3_TICKET_GROUPS];
};

static int parse_id(const char *s, char **end, uint32_t *ret)
{
	unsigned long n = strtoul(s, end, 10);

	if (*end == s || *s == '-' || *s == '+' || n >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

/* By number, those who are in no user database have tickets, too. */
static int find_user(struct holder *h, struct passwd **ret_known)
{
	struct passwd *pw = getpwnam(opts.user);
	uint32_t uid;
	char *end;

	if (!pw) {
		if (parse_id(opts.user, &end, &uid) < 0 || *end) {
			cli_message("there is no user %s", opts.user);
			return -ENOENT;
		}
		pw = getpwuid(uid);
		h->ticket.uid = h->ticket.gid = uid;
	}
	if (pw) {
		h->ticket.uid = pw->pw_uid;
		h->ticket.gid = pw->pw_gid;
	}
	*ret_known = pw;
	return 0;
}

static int given_groups(struct holder *h, struct ff3_enc *e)
{
	const char *s = opts.groups;
	char *end;

	for (bool first = true;; s = end + 1, first = false) {
		uint32_t gid;

		if (parse_id(s, &end, &gid) < 0 || (*end && *end != ',')) {
			cli_message("--groups: %s: expected numbers, separated by commas", opts.groups);
			return -EINVAL;
		}
		if (first)
			h->ticket.gid = gid;
		ff3_put_u32(e, &gid);
		if (!*end)
			return 0;
	}
}

static int set_groups(struct holder *h, const struct passwd *known)
{
	struct ff3_enc e = ff3_enc_init(h->groups, sizeof h->groups);
	gid_t list[FF3_TICKET_GROUPS];
	int n = ARRAY_SIZE(list), r = 0;

	if (opts.groups)
		r = given_groups(h, &e);
	else if (!known)
		ff3_put_u32(&e, &h->ticket.gid);
	else if (getgrouplist(known->pw_name, known->pw_gid, list, &n) < 0)
		e.len = sizeof h->groups + 1;
	else
		for (int i = 0; i < n; i++)
			ff3_put_u32(&e, &(uint32_t){ list[i] });
	if (r == 0 && e.len > sizeof h->groups) {
		cli_message("a ticket has room for %u groups: name those that are needed by --groups", FF3_TICKET_GROUPS);
		r = -E2BIG;
	}
	h->ticket.groups = (struct ff3_blob){ h->groups, (uint32_t)e.len };
	return r;
}

/* --- Saying ----------------------------------------------------------------------------------- */

static void say(const char *file, const struct ff3_ticket *t)
{
	struct timespec until = { .tv_sec = (time_t)(t->expires / 1000) };
	struct ff3_dec d = ff3_dec_blob(t->groups);
	json_t *groups = json_array();
	bool expired = t->expires <= ff3_realtime_ns() / FF3_NSEC_PER_MSEC;
	char text[12 * FF3_TICKET_GROUPS + 1] = "", date[64] = "";
	size_t at = 0;
	struct tm tm;

	while (ff3_dec_more(&d)) {
		uint32_t gid = 0;

		ff3_get_u32(&d, &gid);
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", at ? ", " : "", gid);
		json_array_append_new(groups, json_integer(gid));
	}
	if (gmtime_r(&until.tv_sec, &tm))
		strftime(date, sizeof date, "until %F %T UTC", &tm);
	if (cli.json)
		cli_print_json(json_pack("{s:s, s:I, s:I, s:o, s:o, s:b}", "ticket", file, "user", (json_int_t)t->uid, "group",
					 (json_int_t)t->gid, "groups", groups, "expires", cli_json_time(until),
					 "expired", expired));
	else
		printf("%s: user %u, group %u, groups %s, %s%s\n", file, t->uid, t->gid, *text ? text : "none", date,
		       expired ? " (expired)" : "");
	if (!cli.json)
		json_decref(groups);
}

/* --- Doing ------------------------------------------------------------------------------------ */

static int load_key(struct ff3_tickets *ret)
{
	const char *file = opts.key;
	struct ff3_conf conf;
	int r = file ? 0 : ff3_conf_load(&conf, cli.conf);

	if (r < 0) {
		cli_message("%s", conf.error);
		return CLI_USAGE;
	}
	if (!file && !*conf.metad.key) {
		cli_message("which key? Name it by --key, or in metad.key; a new one is made by --new-key");
		ff3_conf_done(&conf);
		return CLI_USAGE;
	}
	if (!file)
		file = conf.metad.key;
	r = ff3_tickets_load(file, ret);
	if (r == -EPERM)
		cli_message("%s: others can read this key: chmod 600 it, and make another one if they have", file);
	else if (r == -EBADMSG)
		cli_message("%s: this is not a key: make one by --new-key", file);
	else if (r < 0)
		cli_message("%s: %s", file, ff3_strerror(r));
	if (file != opts.key)
		ff3_conf_done(&conf);
	return r == -EBADMSG ? CLI_FAILURE : cli_exit_code(r);
}

/* In one step, so that a job that reads it meanwhile has this one or the one before; and its user's alone. */
static int write_ticket(const char *file, const char *text, const struct ff3_ticket *t)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (asprintf(&temporary, "%s.XXXXXX", file) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%s\n", text) < 0 || fsync(fd) < 0 || (geteuid() == 0 && fchown(fd, t->uid, t->gid) < 0) ||
	    rename(temporary, file) < 0) {
		r = -errno;
		unlink(temporary);
		return r;
	}
	return 0;
}

static int make_ticket(const char *file)
{
	struct holder h = { .ticket.expires = ff3_realtime_ns() / FF3_NSEC_PER_MSEC + opts.lifetime_s * 1000 };
	char text[FF3_TICKET_MAX + 1];
	struct passwd *known;
	struct ff3_tickets t;
	int r = load_key(&t);

	if (r != CLI_OK)
		return r;
	if (find_user(&h, &known) < 0 || set_groups(&h, known) < 0)
		return CLI_USAGE;
	ff3_ticket_sign(&t, &h.ticket, text);
	r = write_ticket(file, text, &h.ticket);
	if (r < 0)
		return cli_local_error(file, r);
	if (!cli.quiet || cli.json)
		say(file, &h.ticket);
	return CLI_OK;
}

static int show_ticket(const char *file)
{
	char text[FF3_TICKET_MAX + 1];
	uint8_t buf[FF3_TICKET_MAX / 2];
	struct ff3_ticket t;
	int r = ff3_ticket_read(file, text);

	if (r >= 0)
		r = ff3_ticket_decode((struct ff3_blob){ text, (uint32_t)r }, buf, &t);
	if (r == -EBADMSG) {
		cli_message("%s: this is not a ticket", file);
		return CLI_FAILURE;
	}
	if (r < 0)
		return cli_local_error(file, r);
	say(file, &t);
	return CLI_OK;
}

static int make_key(const char *file)
{
	int r = ff3_tickets_make_key(file);

	if (r < 0)
		return cli_local_error(file, r);
	cli_note("%s is a new key: name it in metad.key and chunkd.key of all daemons", file);
	if (cli.json)
		cli_print_json(json_pack("{s:s}", "key", file));
	return CLI_OK;
}

int cmd_ticket(int argc, char **argv)
{
	cli_parse(&command, argc, argv);
	if (opts.new_key + opts.show + (opts.user != NULL) != 1) {
		cli_message("expected one of --user, --show and --new-key");
		return CLI_USAGE;
	}
	return cli_finish(opts.new_key ? make_key(cli.args[0]) :
			  opts.show    ? show_ticket(cli.args[0]) :
					 make_ticket(cli.args[0]));
}
