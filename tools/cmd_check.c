/* Purpose: ff3fs check: can the shim serve a program? */
#include "cli.h"
#include "commands.h"
#include "program.h"
#include "where.h"

static const struct cli_command command = {
	.name = "ff3fs check",
	.args = "PROGRAM...",
	.doc = "Tell whether the shim can serve programs, and what serves them if it cannot.",
	.common = CLI_JSON | CLI_QUIET | CLI_CLUSTER,
	.min_args = 1,
	.max_args = -1,
};

static void print_text(const char *name, const struct program *p)
{
	const char *why = program_why(p->facts);

	if (why)
		printf("%s: not served by the shim: %s%s; ff3fs run --notify or ff3fs-mount serves it\n",
		       name, p->script ? "its interpreter " : "it ", why);
	else
		printf("%s: served by the shim\n", name);
	if (p->facts & PROGRAM_RUNPATH)
		printf("%s: looks for libraries in %s, which the dynamic linker sees on a mount only\n",
		       name, p->runpath);
	if (p->facts & PROGRAM_UNCOVERED)
		printf("%s: calls that the shim does not take: %s\n", name, p->imports);
}

static void print_json(const char *name, const struct program *p)
{
	const char *why = program_why(p->facts);

	cli_print_json(json_pack(
		"{s:o, s:o, s:b, s:s?, s:b, s:b, s:b, s:s?, s:s?}", "program", cli_json_name(name), "file",
		cli_json_name(p->path), "served", !why, "why", why, "static",
		(p->facts & PROGRAM_STATIC) != 0, "go", (p->facts & PROGRAM_GO) != 0, "setid",
		(p->facts & PROGRAM_SETID) != 0, "runpath",
		p->facts & PROGRAM_RUNPATH ? p->runpath : NULL, "imports",
		p->facts & PROGRAM_UNCOVERED ? p->imports : NULL));
}

static int check(const char *name, const char *prefixes, const char *shim)
{
	char path[PATH_MAX];
	struct program p;
	int r = program_find(name, path);

	if (r >= 0)
		r = program_look(path, prefixes, shim, &p);
	if (r < 0)
		return cli_local_error(name, r);
	if (cli.json)
		print_json(name, &p);
	else
		print_text(name, &p);
	return p.facts & (PROGRAM_NOT_SERVED | PROGRAM_RUNPATH) ? CLI_FAILURE : CLI_OK;
}

int cmd_check(int argc, char **argv)
{
	_cleanup_free_ char *shim = NULL;
	struct ff3fs *fs;
	int first = CLI_OK;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	if (where_library(SHIM_NAME, &shim) < 0)
		cli_message("cannot find " SHIM_NAME " beside this program");
	for (int i = 0; i < cli.n_args; i++) {
		int r = check(cli.args[i], ff3fs_prefix(fs), shim);

		if (first == CLI_OK)
			first = r;
	}
	ff3fs_free(fs);
	return cli_finish(first);
}
