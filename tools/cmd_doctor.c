/* Purpose: ff3fs doctor: what a job on this host would get, and what to do where that is not enough. The
 * findings come from doctor_*.c; here they are said, as text or as one JSON document. */
#include <stdarg.h>
#include <sys/ioctl.h>

#include "../common/base/conf.h"
#include "commands.h"
#include "doctor.h"

static const struct cli_command command = {
	.name = "ff3fs doctor",
	.args = "[PATH]",
	.doc = "Look at what a job on this host would get: configuration, shim, kernel, daemons, transports.",
	.common = CLI_JSON | CLI_QUIET | CLI_CLUSTER,
	.min_args = 0,
	.max_args = 1,
};

#define WHAT_WIDTH 22
#define TEXT_COLUMN (2 + 8 + WHAT_WIDTH + 1)

static const char *const levels[] = { "ok", "note", "problem" };
static unsigned counts[ARRAY_SIZE(levels)];
static const char *section = "", *said_section = "";
static json_t *findings;
static bool coloured;
static size_t columns; /* of the terminal; 0: it is none, and lines are not broken */

/* --- Saying ----------------------------------------------------------------------------------- */

static const char *colour(enum doctor_level level)
{
	static const char *const codes[] = { "\033[32m", "\033[33m", "\033[1;31m" };

	return coloured ? codes[level] : "";
}

static const char *plain(void)
{
	return coloured ? "\033[0m" : "";
}

/* Characters, not bytes. */
static size_t width(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

/* From column TEXT_COLUMN on, broken between words before the terminal's edge. */
static void print_text(const char *text)
{
	size_t at = TEXT_COLUMN;

	while (*text) {
		size_t len = strcspn(text, " "), n = width(text, len);

		if (columns > TEXT_COLUMN + 20 && at > TEXT_COLUMN && at + n > columns) {
			printf("\n%*s", TEXT_COLUMN, "");
			at = TEXT_COLUMN;
		}
		printf("%.*s", (int)len, text);
		at += n + 1;
		text += len;
		if (*text == ' ') {
			text++;
			if (columns <= TEXT_COLUMN + 20 ||
			    at + width(text, strcspn(text, " ")) <= columns)
				putchar(' ');
		}
	}
	putchar('\n');
}

static void print_finding(enum doctor_level level, const char *what, const char *fix, const char *text)
{
	if (cli.quiet && level == DOCTOR_OK)
		return;
	if (said_section != section)
		printf("%s%s\n", *said_section ? "\n" : "", section);
	said_section = section;
	printf("  %s%-8s%s%-*s ", colour(level), levels[level], plain(), WHAT_WIDTH, what);
	/* A long name has a line of its own. */
	if (width(what, strlen(what)) > WHAT_WIDTH)
		printf("\n%*s", TEXT_COLUMN, "");
	print_text(text);
	if (fix) {
		printf("%*s", TEXT_COLUMN, "");
		print_text(fix);
	}
	fflush(stdout);
}

void doctor_section(const char *name)
{
	section = name;
}

json_t *doctor_say(enum doctor_level level, const char *what, const char *fix, const char *format, ...)
{
	_cleanup_free_ char *text = NULL, *to_do = NULL;
	json_t *j = NULL;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n < 0 || (fix && asprintf(&to_do, "-> %s", fix) < 0))
		return NULL;
	counts[level]++;
	if (!cli.json) {
		print_finding(level, what, to_do, text);
		return NULL;
	}
	j = json_pack("{s:s, s:s, s:o, s:o, s:s?}", "section", section, "level", levels[level], "what",
		      cli_json_name(what), "text", cli_json_name(text), "fix", fix);
	json_array_append_new(findings, j);
	return j;
}

char *doctor_time(char buf[32], uint64_t ns)
{
	if (ns < 1000000)
		snprintf(buf, 32, "%.1f us", (double)ns / 1e3);
	else
		snprintf(buf, 32, "%.1f ms", (double)ns / 1e6);
	return buf;
}

/* --- Configuration ---------------------------------------------------------------------------- */

static void say_value(const struct ff3_conf_value *v, void *arg)
{
	char what[96];
	json_t *j;

	/* The daemons' sections are theirs. */
	if (strcmp(v->section, "client") != 0)
		return;
	snprintf(what, sizeof what, "%s.%s", v->section, v->key);
	j = doctor_say(DOCTOR_OK, what, NULL, "%s (%s)", *v->text ? v->text : "none",
		       v->origin ? v->origin : "default");
	if (j) {
		json_object_set_new(j, "value", cli_json_name(v->text));
		json_object_set_new(j, "origin", cli_json_name(v->origin ? v->origin : "default"));
	}
}

static bool doctor_conf(struct ff3_conf *conf)
{
	const char *prefix;
	int r = ff3_conf_load(conf, cli.conf);

	doctor_section("configuration");
	if (r < 0) {
		doctor_say(DOCTOR_PROBLEM, "ff3fs.conf", "correct it; ff3fs.conf(5) has every key", "%s",
			   conf->error);
		return false;
	}
	ff3_conf_each(conf, say_value, NULL);
	for (prefix = conf->client.prefix; *prefix; prefix += *prefix == ':') {
		size_t n = strcspn(prefix, ":");
		_cleanup_free_ char *one = strndup(prefix, n);

		prefix += n;
		if (one && access(one, F_OK) == 0 && !conf->client.mount[0] && !getenv("LD_PRELOAD"))
			doctor_say(DOCTOR_NOTE, "client.prefix",
				   "fine if it is a mount of ff3fs; else choose a name that is not there",
				   "%s exists on this machine: preloaded programs do not see it", one);
	}
	return true;
}

/* --- The command ------------------------------------------------------------------------------ */

static void look_at_terminal(void)
{
	const char *term = getenv("TERM");
	struct winsize size;

	if (!isatty(STDOUT_FILENO))
		return;
	columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
	coloured = !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

static int finish(void)
{
	char host[256] = "";
	int code = counts[DOCTOR_PROBLEM] ? CLI_FAILURE : CLI_OK;

	gethostname(host, sizeof host - 1);
	if (cli.json) {
		cli_print_json(json_pack("{s:o, s:s, s:i, s:i, s:i, s:o}", "host", cli_json_name(host),
					 "version", PACKAGE_VERSION, "ok", (int)counts[DOCTOR_OK],
					 "notes", (int)counts[DOCTOR_NOTE], "problems",
					 (int)counts[DOCTOR_PROBLEM], "findings", findings));
		return cli_finish(code);
	}
	if (counts[DOCTOR_PROBLEM])
		printf("%s%s%u problem%s%s, %u note%s\n", *said_section ? "\n" : "", colour(DOCTOR_PROBLEM),
		       counts[DOCTOR_PROBLEM], counts[DOCTOR_PROBLEM] == 1 ? "" : "s", plain(),
		       counts[DOCTOR_NOTE], counts[DOCTOR_NOTE] == 1 ? "" : "s");
	else
		printf("%s%sno problem%s, %u note%s: a job on this host gets ff3fs\n",
		       *said_section ? "\n" : "", colour(DOCTOR_OK), plain(), counts[DOCTOR_NOTE],
		       counts[DOCTOR_NOTE] == 1 ? "" : "s");
	return cli_finish(code);
}

static void look(struct ff3_conf *conf)
{
	struct doctor_host host = { 0 };
	struct ff3fs *fs = NULL;
	bool configured = doctor_conf(conf);
	int r;

	doctor_host(&host);
	doctor_shim(&host);
	if (!configured)
		return;
	doctor_section("cluster");
	r = ff3fs_new(cli.conf, &fs);
	if (r < 0) {
		doctor_say(DOCTOR_PROBLEM, "client", "correct the configuration", "%s",
			   *ff3fs_conf_error() ? ff3fs_conf_error() : ff3fs_strerror(r));
		return;
	}
	if (doctor_cluster(fs, conf)) {
		doctor_rdma(fs);
		doctor_path(fs, conf, cli.n_args > 0 ? cli.args[0] : NULL);
	}
	ff3fs_free(fs);
}

int cmd_doctor(int argc, char **argv)
{
	struct ff3_conf conf;

	cli_parse(&command, argc, argv);
	findings = json_array();
	look_at_terminal();
	look(&conf);
	ff3_conf_done(&conf);
	return finish();
}
