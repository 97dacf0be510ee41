/* What every command shares: options, exit codes, messages, sizes, JSON, remote paths.
 *
 * Threads: options are read-only once parsed; messages may come from any thread.
 * Data go to stdout, messages to stderr as "ff3fs-put: PATH: cause". */
#pragma once

#include <argp.h>
#include <jansson.h>
#include <stdio.h>

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	CLI_PARTIAL = 3, /* some of it was done */
	CLI_NOT_FOUND = 4,
	CLI_UNAVAILABLE = 5, /* a daemon does not answer; trying again may help */
	CLI_INTEGRITY = 6,
	CLI_AUTH = 7,
	CLI_NO_SPACE = 8,
	CLI_INTERRUPTED = 130,
};

/* The options that several commands have; a command names those it takes. */
enum {
	CLI_JSON = 1,
	CLI_QUIET = 2,   /* -q, -v */
	CLI_DRY_RUN = 4,
	CLI_BYTES = 8,
	CLI_CLUSTER = 16, /* --conf, --metad, --timeout */
	CLI_CONF = 32,    /* --conf alone */
};

struct cli_command {
	const char *name; /* "ff3fs ls" */
	const char *args; /* "[PATH...]" */
	const char *doc;
	unsigned common;
	const struct argp_option *options; /* its own; ends with an empty one; may be NULL */
	/* One of its own options: 0, or ARGP_ERR_UNKNOWN. Bad values end in argp_error. */
	int (*option)(int key, char *arg, struct argp_state *state);
	int min_args, max_args; /* max -1: any number */
	bool passes_rest;       /* the first argument ends the options: "run CMD --its-option" */
};

struct cli {
	const char *name;
	const char *conf;
	bool json, verbose, dry_run, bytes;
	bool quiet;
	char **args;
	int n_args;
};
extern struct cli cli;

/* Parses argv into cli. Exits with 2 on a usage error, with 0 after --help and --version. */
void cli_parse(const struct cli_command *command, int argc, char **argv);

/* Written before each message: what clears a progress bar's line, or "". */
extern const char *cli_line_clear;

/* "ff3fs ls: TEXT" on stderr. */
void cli_message(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same, unless --quiet was given. */
void cli_note(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same, if --verbose was given. */
void cli_verbose(const char *format, ...) PRINTF_LIKE(1, 2);
/* Says why something remote failed: "PATH: cause" (cli_shown of path), with what the library knows
 * about it and, once per process, what to do. Returns the exit code for r. */
int cli_error(const char *path, int r);
/* The same with a cause that was kept from then: ff3fs_last_error() is the last call's. */
int cli_error_why(const char *path, int r, const char *why);
/* Says why something local failed (a negative errno). Returns the exit code for r. */
int cli_local_error(const char *path, int r);
int cli_exit_code(int r);

/* Counts what went well and what did not over several arguments. */
struct cli_outcome {
	uint64_t done, failed;
	int first; /* exit code of the first failure */
};
/* code: an exit code. */
void cli_outcome_add(struct cli_outcome *o, int code);
/* 0; CLI_PARTIAL if some were done and some failed; the first failure's code if none was done. */
int cli_outcome_exit(const struct cli_outcome *o);

/* Flushes stdout; an error there is the command's. Returns code otherwise. */
int cli_finish(int code);

/* Opens the cluster as the options say, or exits with a message. */
struct ff3fs *cli_connect(void);
/* The path from the file system's root that arg names: under a prefix, or already relative to the
 * root. Never NULL; "" is the root. To be freed. */
char *cli_remote(const struct ff3fs *fs, const char *arg);
/* How a person names a path from the file system's root: under the first prefix. Absolute paths
 * stay. In a buffer of the thread's own, good until the call after next. */
const char *cli_shown(const char *path);
/* Whether arg is an absolute path under one of the prefixes. */
bool cli_is_remote(const struct ff3fs *fs, const char *arg);
/* The last component of a path, "" for "/": trailing slashes do not count. To be freed. */
char *cli_basename(const char *path);
/* "a/b", or "b" if a is empty. To be freed; NULL without memory. */
char *cli_join(const char *a, const char *b);

/* "1.4 GiB", or "1503238553" with --bytes. Returns buf. */
char *cli_size(char buf[32], uint64_t bytes);
/* "1.4 GiB", whatever the options say. */
char *cli_iec(char buf[32], double bytes);
/* "13,394". */
char *cli_count(char buf[32], uint64_t n);
/* "12s", "3m05s", "2h10m". */
char *cli_duration(char buf[32], uint64_t seconds);

/* "file", "directory", "symlink" or "other", of st_mode. */
const char *cli_type_name(uint32_t mode);
/* A JSON string of a file name; what is not UTF-8 becomes U+FFFD. */
json_t *cli_json_name(const char *name);
/* Seconds since 1970 with nanoseconds as "2026-11-21T21:09:23.123456789Z". */
json_t *cli_json_time(struct timespec t);
/* One document on one line of stdout. Takes doc. */
void cli_print_json(json_t *doc);
