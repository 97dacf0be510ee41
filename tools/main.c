/* Purpose: ff3fs, the dispatcher: `ff3fs X` runs a command of commands.h, or the program ff3fs-X
 * beside it or on PATH. */
#include "cli.h"
#include "commands.h"
#include "doctor.h"
#include "where.h"

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *text;
} commands[] = {
#define ROW(name, text) { #name, cmd_##name, text },
	FF3FS_COMMANDS(ROW)
};

/* Programs of their own that are part of the overview. */
static const struct {
	const char *name, *text;
} programs[] = {
	{ "put", "copy files and directories to ff3fs" },
	{ "get", "copy files and directories from ff3fs" },
	{ "admin", "show and administer the cluster" },
#ifdef WITH_MOUNT
	{ "mount", "mount ff3fs by FUSE" },
#endif
};

static int print_version(int argc, char **argv)
{
	printf("ff3fs %s\n", PACKAGE_VERSION);
	return cli_finish(CLI_OK);
}

static int print_help(int argc, char **argv)
{
	printf("Usage: ff3fs COMMAND [ARGUMENT...]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		printf("  %-8s %s\n", programs[i].name, programs[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].text);
	printf("  %-8s print the version\n\n", "version");
	printf("'ff3fs COMMAND --help' tells more; the manual page is ff3fs(1).\n");
	return cli_finish(CLI_OK);
}

/* For the shell's completion. */
static int print_commands(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		puts(programs[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		puts(commands[i].name);
	puts("version");
	return cli_finish(CLI_OK);
}

static int print_own_options(int argc, char **argv)
{
	printf("--help\n--version\n");
	return cli_finish(CLI_OK);
}

static int exec_program(char **argv)
{
	_cleanup_free_ char *path = NULL;
	char name[256];

	if (snprintf(name, sizeof name, "ff3fs-%s", argv[0]) >= (int)sizeof name ||
	    strchr(argv[0], '/')) {
		errno = ENOENT;
	} else if (where_program(name, &path) >= 0) {
		argv[0] = path;
		execv(path, argv);
	} else {
		char *given = argv[0];

		argv[0] = name;
		execvp(name, argv);
		argv[0] = given;
	}
	if (errno == ENOENT) {
		cli_message("'%s' is not a command; see 'ff3fs --help'", argv[0]);
		return CLI_USAGE;
	}
	return cli_local_error(argv[0], -errno);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} own[] = {
		{ "--help", print_help },	{ "-h", print_help },
		{ "help", print_help },		{ "--version", print_version },
		{ "-V", print_version },	{ "version", print_version },
		{ DOCTOR_SHIM_CHILD, doctor_shim_child },
		{ "--commands", print_commands }, { "--long-options", print_own_options },
	};

	if (argc < 2) {
		cli_message("a command is missing; see 'ff3fs --help'");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strcmp(argv[1], own[i].name) == 0)
			return own[i].fn(argc - 1, argv + 1);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].fn(argc - 1, argv + 1);
	if (argv[1][0] == '-') {
		cli_message("unrecognized option '%s'; see 'ff3fs --help'", argv[1]);
		return CLI_USAGE;
	}
	return exec_program(argv + 1);
}
