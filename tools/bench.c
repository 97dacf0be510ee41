/* Purpose: ff3fs bench: how fast this cluster is for one client. Options, the list of measurements,
 * and the table or JSON. Every read is checked against a pattern that follows from its position.
 *
 * A directory bench.XXXXXX is made in DIR and removed again, also after a failure.
 * Threads: bench_measure.c makes them; this file is the main thread's. */
#include <fcntl.h>
#include <sys/stat.h>

#include "../common/base/conf.h"
#include "bench.h"
#include "cli.h"
#include "commands.h"

enum { OPT_TIME = 0x3000, OPT_SIZE, OPT_FILES, OPT_BLOCK, OPT_DEPTH, OPT_THREADS, OPT_ONLY,
       OPT_ONCE, OPT_DAEMON_PID };

static struct bench_options opts;

static const struct argp_option options[] = {
	{ "time", OPT_TIME, "SECONDS", 0, "length of one measurement (default: 1)", 1 },
	{ "size", OPT_SIZE, "SIZE", 0, "of the data file (default: 128M)", 1 },
	{ "files", OPT_FILES, "N", 0, "how many small files (default: 2000)", 1 },
	{ "block", OPT_BLOCK, "SIZE,…", 0, "block sizes (default: 4K,64K,1M)", 1 },
	{ "depth", OPT_DEPTH, "N,…", 0, "how many at once from one thread (default: 1,16)", 1 },
	{ "threads", OPT_THREADS, "N,…", 0, "how many threads (default: 1,8)", 1 },
	{ "only", OPT_ONLY, "NAME,…", 0, "these measurements (default: all)", 1 },
	{ "once", OPT_ONCE, NULL, 0, "read each block at most once in a measurement", 1 },
	{ "daemon-pid", OPT_DAEMON_PID, "PID,…", 0, "count the CPU time of these processes too", 1 },
	{ 0 },
};

static const struct measurement {
	const char *name;
	bench_fn *fn;
	bool by_block; /* once for each block size, depth and number of threads */
	bool by_depth;
	uint64_t block;
} measurements[] = {
	{ "write-seq", bench_write_sequential, false, false, FF3_MIB(1) },
	{ "read-seq", bench_read_sequential, true, false, 0 },
	{ "read-rand", bench_read_random, true, true, 0 },
	{ "write-rand", bench_write_random, true, true, 0 },
	{ "create", bench_create, false, false, 0 },
	{ "stat", bench_stat, false, false, 0 },
	{ "open-read-close", bench_open_read_close, false, false, 0 },
	{ "readdir", bench_readdir, false, false, 0 },
	{ "unlink", bench_unlink, false, false, 0 },
};

/* --- Options -------------------------------------------------------------------------------- */

/* Calls add for each part of a list between commas. */
static void each_part(char *list, struct argp_state *state, void (*add)(char *, struct argp_state *))
{
	char *save = NULL;

	for (char *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save))
		add(p, state);
}

static unsigned parse_number(const char *s, unsigned max, struct argp_state *state)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	if (*end || end == s || n < 1 || n > max)
		argp_error(state, "%s: expected a number from 1 to %u", s, max);
	return (unsigned)n;
}

static void add_block(char *s, struct argp_state *state)
{
	uint64_t n;

	if (ff3_parse_size(s, &n) < 0 || n < 8 || n % 8 != 0 || n > FF3_MIB(64) ||
	    opts.n_blocks == ARRAY_SIZE(opts.blocks))
		argp_error(state, "--block: %s: expected up to 8 multiples of 8 bytes", s);
	opts.blocks[opts.n_blocks++] = n;
}

static void add_depth(char *s, struct argp_state *state)
{
	if (opts.n_depths == ARRAY_SIZE(opts.depths))
		argp_error(state, "--depth: too many");
	opts.depths[opts.n_depths++] = parse_number(s, BENCH_DEPTH_MAX, state);
}

static void add_threads(char *s, struct argp_state *state)
{
	if (opts.n_threads == ARRAY_SIZE(opts.threads))
		argp_error(state, "--threads: too many");
	opts.threads[opts.n_threads++] = parse_number(s, BENCH_THREADS_MAX, state);
}

static void add_pid(char *s, struct argp_state *state)
{
	if (opts.n_pids == BENCH_PIDS_MAX)
		argp_error(state, "--daemon-pid: too many");
	opts.pids[opts.n_pids++] = (pid_t)parse_number(s, INT32_MAX, state);
}

static void check_name(char *s, struct argp_state *state)
{
	for (size_t i = 0; i < ARRAY_SIZE(measurements); i++)
		if (strcmp(s, measurements[i].name) == 0)
			return;
	argp_error(state, "--only: '%s' is no measurement", s);
}

static int on_option(int key, char *arg, struct argp_state *state)
{
	_cleanup_free_ char *copy = NULL;
	char *end;
	double seconds;

	switch (key) {
	case OPT_TIME:
		seconds = strtod(arg, &end);
		if (*end || !(seconds > 0 && seconds < 86400))
			argp_error(state, "--time: %s: expected seconds", arg);
		opts.time_ns = (uint64_t)(seconds * 1e9);
		return 0;
	case OPT_SIZE:
		if (ff3_parse_size(arg, &opts.size) < 0 || opts.size < FF3_MIB(1))
			argp_error(state, "--size: %s: expected a size of 1M at least", arg);
		opts.size = ROUND_UP(opts.size, FF3_MIB(1));
		return 0;
	case OPT_FILES:
		opts.n_files = parse_number(arg, 1000000, state);
		return 0;
	case OPT_BLOCK:
		each_part(arg, state, add_block);
		return 0;
	case OPT_DEPTH:
		each_part(arg, state, add_depth);
		return 0;
	case OPT_THREADS:
		each_part(arg, state, add_threads);
		return 0;
	case OPT_DAEMON_PID:
		each_part(arg, state, add_pid);
		return 0;
	case OPT_ONCE:
		opts.once = true;
		return 0;
	case OPT_ONLY:
		opts.only = arg;
		copy = strdup(arg);
		if (copy)
			each_part(copy, state, check_name);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static bool is_wanted(const char *name)
{
	size_t len = strlen(name);

	for (const char *p = opts.only; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, name, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return !opts.only;
}

static void set_defaults(void)
{
	static const uint64_t blocks[] = { FF3_KIB(4), FF3_KIB(64), FF3_MIB(1) };

	opts.time_ns = opts.time_ns ? opts.time_ns : FF3_NSEC_PER_SEC;
	opts.size = opts.size ? opts.size : FF3_MIB(128);
	opts.n_files = opts.n_files ? opts.n_files : 2000;
	if (opts.n_blocks == 0) {
		memcpy(opts.blocks, blocks, sizeof blocks);
		opts.n_blocks = ARRAY_SIZE(blocks);
	}
	if (opts.n_depths == 0) {
		opts.depths[opts.n_depths++] = 1;
		opts.depths[opts.n_depths++] = 16;
	}
	if (opts.n_threads == 0) {
		opts.threads[opts.n_threads++] = 1;
		opts.threads[opts.n_threads++] = 8;
	}
}

/* --- Output --------------------------------------------------------------------------------- */

static json_t *rows;

static void print_row(const struct bench_row *row)
{
	double rate = (double)row->n_ops / row->seconds;
	double n = (double)MAX(row->n_ops, (uint64_t)1);
	double mib = rate * (double)row->block / (double)FF3_MIB(1);
	char block[32] = "";

	if (cli.json) {
		json_array_append_new(
			rows, json_pack("{s:s, s:I, s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "name",
					row->name, "block", (json_int_t)row->block, "depth",
					(int)row->depth, "threads", (int)row->threads, "ops",
					(json_int_t)row->n_ops, "ops_per_s", rate, "mib_per_s", mib,
					"cpu_us_per_op", (row->client_cpu_us + row->daemon_cpu_us) / n,
					"client_cpu_us_per_op", row->client_cpu_us / n, "p50_us",
					row->p50_us, "p99_us", row->p99_us));
		return;
	}
	if (row->block)
		cli_iec(block, (double)row->block);
	printf("%-16s %10s %5u %7u %12.0f %10.1f %9.2f %9.2f %9.1f %9.1f\n", row->name, block,
	       row->depth, row->threads, rate, mib, row->client_cpu_us / n,
	       (row->client_cpu_us + row->daemon_cpu_us) / n, row->p50_us, row->p99_us);
	fflush(stdout);
}

static void print_head(void)
{
	if (!cli.json)
		printf("%-16s %10s %5s %7s %12s %10s %9s %9s %9s %9s\n", "", "block", "depth",
		       "threads", "ops/s", "MiB/s", "client", "all", "p50", "p99");
	if (!cli.json)
		printf("%-16s %10s %5s %7s %12s %10s %9s %9s %9s %9s\n", "", "", "", "", "", "",
		       "CPU us/op", "CPU us/op", "us", "us");
}

/* --- Running -------------------------------------------------------------------------------- */

static int measure(struct bench_run *run, const struct measurement *m, unsigned threads)
{
	struct bench_row row = { .name = m->name, .block = run->block, .depth = run->depth,
				 .threads = threads };
	int r = bench_measure(run, m->fn, threads, &row);

	if (r < 0)
		return cli_error(m->name, r);
	print_row(&row);
	return CLI_OK;
}

static int measure_all_blocks(struct bench_run *run, const struct measurement *m)
{
	int code = CLI_OK;

	for (unsigned b = 0; b < opts.n_blocks; b++)
		for (unsigned d = 0; d < (m->by_depth ? opts.n_depths : 1); d++)
			for (unsigned t = 0; t < opts.n_threads && code == CLI_OK; t++) {
				run->block = opts.blocks[b];
				run->depth = m->by_depth ? opts.depths[d] : 1;
				code = measure(run, m, opts.threads[t]);
			}
	return code;
}

static int measure_all(struct bench_run *run)
{
	int code = CLI_OK;

	for (size_t i = 0; i < ARRAY_SIZE(measurements) && code == CLI_OK; i++) {
		const struct measurement *m = &measurements[i];

		if (!is_wanted(m->name))
			continue;
		if (m->by_block) {
			code = measure_all_blocks(run, m);
			continue;
		}
		run->block = m->block;
		run->depth = 1;
		code = measure(run, m, 1);
	}
	return code;
}

/* Small files are made by "create" and needed by those after it. */
static int prepare_files(struct bench_run *run)
{
	static const char *const users[] = { "stat", "open-read-close", "readdir", "unlink" };
	struct bench_row row = { 0 };
	bool needed = false;

	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		needed |= is_wanted(users[i]);
	return needed && !is_wanted("create") ? bench_measure(run, bench_create, 1, &row) : 0;
}

/* The file that reads and writes go to; written unless that is a measurement itself. */
static int prepare_file(struct bench_run *run, const char *path)
{
	struct bench_row row = { 0 };
	int r = ff3fs_open(run->fs, FF3FS_ROOT, path, O_RDWR | O_CREAT, 0644, &run->file);

	if (r < 0 || is_wanted("write-seq") ||
	    !(is_wanted("read-seq") || is_wanted("read-rand") || is_wanted("write-rand")))
		return r;
	run->block = FF3_MIB(1);
	return bench_measure(run, bench_write_sequential, 1, &row);
}

static void remove_all(struct bench_run *run, const char *data, bool files)
{
	struct bench_row row = { 0 };

	if (run->file)
		ff3fs_close(run->file);
	if (files)
		(void)bench_measure(run, bench_unlink, 1, &row);
	ff3fs_unlink(run->fs, FF3FS_ROOT, data);
	ff3fs_rmdir(run->fs, FF3FS_ROOT, run->dir);
}

static int bench(struct ff3fs *fs, const char *parent)
{
	struct bench_run run = { .fs = fs, .options = &opts, .depth = 1 };
	_cleanup_free_ char *dir = NULL, *data = NULL;
	int r, code = CLI_OK;

	if (asprintf(&dir, "%s%sbench.%08" PRIx32, parent, *parent ? "/" : "",
		     (uint32_t)ff3_random_u64()) < 0 ||
	    asprintf(&data, "%s/data", dir) < 0)
		return cli_error(parent, -ENOMEM);
	run.dir = dir;
	r = ff3fs_mkdir(fs, FF3FS_ROOT, dir, 0755);
	if (r < 0)
		return cli_error(dir, r);
	r = prepare_file(&run, data);
	if (r == 0)
		r = prepare_files(&run);
	if (r < 0)
		code = cli_error(data, r);
	else
		code = measure_all(&run);
	remove_all(&run, data, code != CLI_OK || !is_wanted("unlink"));
	return code;
}

static const struct cli_command command = {
	.name = "ff3fs bench",
	.args = "[DIR]",
	.doc = "Measure how fast the cluster is for one client. Works in a directory of its own in DIR "
	       "(default: the root), and removes it again.",
	.common = CLI_JSON | CLI_QUIET | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.max_args = 1,
};

int cmd_bench(int argc, char **argv)
{
	_cleanup_free_ char *parent = NULL;
	struct ff3fs *fs;
	int code;

	cli_parse(&command, argc, argv);
	set_defaults();
	fs = cli_connect();
	parent = cli_remote(fs, cli.n_args ? cli.args[0] : "/");
	if (cli.json)
		rows = json_array();
	print_head();
	code = bench(fs, parent);
	ff3fs_free(fs);
	if (cli.json && code == CLI_OK)
		cli_print_json(rows);
	else
		json_decref(rows);
	return cli_finish(code);
}
