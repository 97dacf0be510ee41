/* Purpose: the frame of ff3fs-put and ff3fs-get: options, filters, signals, outcome.
 * Threads: see transfer.h.
 * Fork/signal: the first SIGINT, SIGTERM or SIGHUP asks everything to stop and clean up, the
 * second one ends the process at once. */
#include "transfer.h"

#include <fnmatch.h>

#include "../common/base/err.h"

#define QUEUE 8192u
#define JOBS_DEFAULT 16u
#define GLOBS_MAX 256u

struct transfer transfer = { .jobs = JOBS_DEFAULT, .verify = true };
volatile sig_atomic_t transfer_stop;

static const char *includes[GLOBS_MAX], *excludes[GLOBS_MAX];
static unsigned n_includes, n_excludes;
static uint64_t began_ns;

static void keep_glob(const char **globs, unsigned *n, const char *glob, struct argp_state *state)
{
	if (*n == GLOBS_MAX)
		argp_error(state, "more than %u patterns", GLOBS_MAX);
	globs[(*n)++] = glob;
}

int transfer_option(int key, char *arg, struct argp_state *state)
{
	unsigned long n;
	char *end;

	switch (key) {
	case 'r':
		return transfer.recursive = true, 0;
	case 'T':
		return transfer.no_target_directory = true, 0;
	case 'j':
		n = strtoul(arg, &end, 10);
		if (*end || end == arg || n < 1 || n > 1024)
			argp_error(state, "--jobs: %s: expected a number from 1 to 1024", arg);
		transfer.jobs = (unsigned)n;
		return 0;
	case TRANSFER_OPT_INCLUDE:
		keep_glob(includes, &n_includes, arg, state);
		return 0;
	case TRANSFER_OPT_EXCLUDE:
		keep_glob(excludes, &n_excludes, arg, state);
		return 0;
	case TRANSFER_OPT_CONTINUE:
		return transfer.resume = true, 0;
	case TRANSFER_OPT_NO_PROGRESS:
		return transfer.no_progress = true, 0;
	case TRANSFER_OPT_NO_VERIFY:
		return transfer.verify = false, 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* A pattern with a slash is for the whole path, one without for the last name. */
static bool matches(const char *glob, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (strchr(glob, '/'))
		return fnmatch(glob, path, FNM_PATHNAME) == 0;
	return fnmatch(glob, slash ? slash + 1 : path, 0) == 0;
}

bool transfer_wants(const char *path, bool directory)
{
	for (unsigned i = 0; i < n_excludes; i++)
		if (matches(excludes[i], path))
			return false;
	for (unsigned i = 0; i < n_includes; i++)
		if (matches(includes[i], path))
			return true;
	return n_includes == 0 || directory;
}

static void on_signal(int signo)
{
	static const char text[] = "\nstopping; temporary files are being removed (again: at once)\n";

	if (transfer_stop)
		_exit(CLI_INTERRUPTED);
	transfer_stop = 1;
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		return;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigaction old;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		/* What nohup ignores stays ignored. */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void transfer_begin(void (*copy)(void *job), const char *label)
{
	int r;

	catch_signals();
	r = pool_new(transfer.jobs, QUEUE, copy, &transfer.pool);
	if (r < 0)
		exit(cli_local_error("threads", r));
	began_ns = ff3_now_ns(CLOCK_MONOTONIC);
	transfer.progress.label = label;
	transfer.progress.scanning = true;
	progress_start(&transfer.progress,
		       !transfer.no_progress && !cli.quiet && !cli.dry_run && !cli.verbose);
}

void transfer_drain(void)
{
	transfer.progress.scanning = false;
	pool_drain(transfer.pool);
}

void transfer_failed(int code)
{
	int none = 0;

	transfer.failed++;
	atomic_compare_exchange_strong(&transfer.first_failure, &none, code);
}

void transfer_remote_failed(const char *path, int r)
{
	transfer_failed(cli_error(path, r));
}

void transfer_local_failed(const char *path, int r)
{
	transfer_failed(cli_local_error(path, r));
}

bool transfer_may_retry(int r)
{
	int code = cli_exit_code(r);

	return !transfer_stop && (code == CLI_UNAVAILABLE || code == CLI_INTEGRITY || r == -EIO ||
				  r == FF3_E_INSTANCE);
}

char *transfer_temporary(const char *path)
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;
	char *name;

	if (asprintf(&name, "%.*s.%s.%016" PRIx64, dir, path, cli.name, ff3_random_u64()) < 0)
		return NULL;
	return name;
}

/* --- The outcome ------------------------------------------------------------------------------ */

static void print_json(double seconds)
{
	cli_print_json(json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:b}", "files",
		(json_int_t)transfer.files, "directories", (json_int_t)transfer.directories,
		"symlinks", (json_int_t)transfer.symlinks, "bytes", (json_int_t)transfer.bytes,
		"unchanged", (json_int_t)transfer.unchanged, "skipped",
		(json_int_t)transfer.skipped, "failed", (json_int_t)transfer.failed, "seconds",
		seconds, "bytes_per_second",
		seconds > 0 ? (double)transfer.bytes / seconds : 0.0, "verified",
		transfer.verify && !cli.dry_run, "dry_run", cli.dry_run));
}

static void print_text(double seconds)
{
	char files[32], size[32], rate[32], unchanged[64] = "";

	if (transfer.unchanged)
		snprintf(unchanged, sizeof unchanged, ", %" PRIu64 " unchanged",
			 (uint64_t)transfer.unchanged);
	cli_note("%s%s file%s, %s in %.1f s (%s/s)%s%s, %" PRIu64 " skipped, %" PRIu64 " failed",
		 cli.dry_run ? "would copy " : "", cli_count(files, transfer.files),
		 transfer.files == 1 ? "" : "s", cli_iec(size, (double)transfer.bytes), seconds,
		 cli_iec(rate, seconds > 0 ? (double)transfer.bytes / seconds : 0),
		 transfer.verify && !cli.dry_run ? ", CRC32C verified" : "", unchanged,
		 (uint64_t)transfer.skipped, (uint64_t)transfer.failed);
}

int transfer_end(void)
{
	double seconds;
	int code;

	transfer_drain();
	progress_stop();
	pool_free(transfer.pool);
	ff3fs_free(transfer.fs);
	seconds = (double)(ff3_now_ns(CLOCK_MONOTONIC) - began_ns) / 1e9;
	if (transfer_stop)
		code = CLI_INTERRUPTED;
	else if (transfer.failed == 0)
		code = transfer.skipped ? CLI_PARTIAL : CLI_OK;
	else if (transfer.files + transfer.unchanged + transfer.symlinks > 0)
		code = CLI_PARTIAL;
	else
		code = transfer.first_failure;
	if (cli.json && (code == CLI_OK || code == CLI_PARTIAL))
		print_json(seconds);
	else if (code == CLI_OK || code == CLI_PARTIAL || code == CLI_INTERRUPTED)
		print_text(seconds);
	return cli_finish(code);
}
