/* Purpose: ff3fs-mount: a directory of the cluster as a directory of this machine, by FUSE, for
 * programs that the shim does not reach.
 *
 * In the background: a child serves, the command returns when the kernel has spoken to it. It ends
 * when the directory is unmounted, or by SIGTERM, SIGINT or SIGHUP: then what mappings hold is
 * written, the directory is unmounted even if it is in use, and open files are made durable.
 *
 * Threads: libfuse's workers, and one that waits for the signals. Fork: before any thread exists. */
#include "mount.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "cli.h"

#define DEVICE "/dev/fuse"
#define SHIM "libff3fs_preload"

#ifdef FUSE_CAP_OVER_IO_URING
#define URING_TEXT "Requests travel through io_uring where the kernel offers it."
#else
#define URING_TEXT "This libfuse has no io_uring transport: requests are read from " DEVICE "."
#endif

struct mount mount_state;

static struct {
	bool foreground;
	char *options; /* "a,b", as given */
	char *own_conf;
	char *attr_timeout, *entry_timeout, *max_threads;
	char *dir; /* absolute */
	int ready_fd;
	bool told; /* libfuse has said something */
	pthread_t watcher;
	struct fuse_session *session;
} mnt = { .ready_fd = -1 };

/* --- Options ------------------------------------------------------------------------------- */

static const struct argp_option options[] = {
	{ "foreground", 'f', NULL, 0, "stay in the foreground", 1 },
	{ "options", 'o', "OPTION,...", 0, "mount options; see ff3fs-mount(8)", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	char *joined;

	if (key == 'f')
		return mnt.foreground = true, 0;
	if (key != 'o')
		return ARGP_ERR_UNKNOWN;
	if (asprintf(&joined, "%s%s%s", mnt.options ? mnt.options : "", mnt.options ? "," : "", arg) <
	    0)
		return ENOMEM;
	free(mnt.options);
	mnt.options = joined;
	return 0;
}

static const struct cli_command command = {
	.name = "ff3fs-mount",
	.args = "[SOURCE] DIR",
	.doc = "Mount a directory of ff3fs (the root, unless SOURCE names another) at DIR.\v" URING_TEXT,
	.common = CLI_JSON | CLI_QUIET | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = 2,
};

#define OWN(text, field) { text, offsetof(__typeof__(mnt), field), 0 }
static const struct fuse_opt own_options[] = {
	OWN("conf=%s", own_conf),
	OWN("attr_timeout=%s", attr_timeout),
	OWN("entry_timeout=%s", entry_timeout),
	OWN("max_threads=%s", max_threads),
	/* mount(8)'s own business */
	FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("x-", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_END,
};

/* A number from 0 to max, or usage. */
static double number(const char *name, const char *text, double unset, double max)
{
	char *end;
	double v;

	if (!text)
		return unset;
	v = strtod(text, &end);
	if (end == text || *end || !(v >= 0 && v <= max)) {
		cli_message("-o %s=%s: expected a number up to %.0f", name, text, max);
		exit(CLI_USAGE);
	}
	return v;
}

/* What the session is made with: ours, then what was given. */
static void fuse_arguments(struct fuse_args *args)
{
	fuse_opt_add_arg(args, "ff3fs-mount");
	fuse_opt_add_arg(args, "-o");
	fuse_opt_add_arg(args, "default_permissions,fsname=ff3fs,subtype=ff3fs,max_read=" STRINGIFY(
				       1048576));
	if (geteuid() == 0)
		fuse_opt_add_arg(args, "-oallow_other");
	if (mnt.options) {
		fuse_opt_add_arg(args, "-o");
		fuse_opt_add_arg(args, mnt.options);
	}
	if (fuse_opt_parse(args, &mnt, own_options, NULL) < 0)
		exit(CLI_USAGE);
	mount_state.attr_timeout = number("attr_timeout", mnt.attr_timeout, 0, 86400);
	mount_state.entry_timeout = number("entry_timeout", mnt.entry_timeout, 0, 86400);
	if (mnt.own_conf && !cli.conf)
		cli.conf = mnt.own_conf;
}

/* --- Before anything is done --------------------------------------------------------------- */

/* Under the shim the mount point itself may be a path of the cluster's. */
static void without_shim(char **argv)
{
	const char *preload = getenv("LD_PRELOAD"), *disabled = getenv("FF3FS_DISABLE");

	if (!preload || !strstr(preload, SHIM) || (disabled && *disabled))
		return;
	if (setenv("FF3FS_DISABLE", "1", 1) == 0)
		execv("/proc/self/exe", argv);
}

static int check_directory(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) < 0) {
		int r = -errno;

		if (r != -ENOTCONN)
			return cli_local_error(dir, r);
		cli_message("%s: a mount whose server is gone; unmount it first (fusermount3 -u %s)",
			    dir, dir);
		return CLI_FAILURE;
	}
	if (!S_ISDIR(st.st_mode))
		return cli_local_error(dir, -ENOTDIR);
	mnt.dir = realpath(dir, NULL);
	return mnt.dir ? CLI_OK : cli_local_error(dir, -errno);
}

static int check_device(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return CLI_OK;
	}
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		cli_message("no " DEVICE ": this kernel or container has no FUSE; ff3fs run works without");
		return CLI_FAILURE;
	default:
		return cli_local_error(DEVICE, -errno);
	}
}

/* libfuse may say a line in pieces. The first line of why is enough. */
static void fuse_says(enum fuse_log_level level, const char *format, va_list ap)
{
	static char line[512];
	static size_t n;
	const char *text = strncmp(line, "fuse: ", 6) == 0 ? line + 6 : line;

	if (level > FUSE_LOG_ERR || mnt.told)
		return;
	n += (size_t)MAX(vsnprintf(line + n, sizeof line - n, format, ap), 0);
	n = MIN(n, sizeof line - 1);
	if (n == 0 || line[n - 1] != '\n')
		return;
	line[n - 1] = '\0';
	cli_message("%s", text);
	n = 0;
	mnt.told = true;
}

/* --- Readiness and the end ----------------------------------------------------------------- */

/* The mount answers: whoever started it may go. */
static void on_ready(void)
{
	int null;

	if (cli.json)
		cli_print_json(json_pack("{s:s, s:o, s:i}", "mounted", mnt.dir, "fsid",
					 json_sprintf("%016" PRIx64, mount_state.fsid), "pid",
					 (int)getpid()));
	fflush(stdout);
	if (mnt.ready_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	setsid();
	if (chdir("/") < 0 || null < 0)
		cli_message("/dev/null: %s", strerror(errno));
	if (write(mnt.ready_fd, "", 1) < 0)
		cli_message("the command that started this is gone");
	close(TAKE_FD(mnt.ready_fd));
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

/* Waits for a signal that ends the mount. What mappings hold in the kernel is written while there is
 * somebody to write it to; then a worker has to notice, which the last question achieves. */
static void *watch_signals(void *arg)
{
	const sigset_t *signals = arg;
	struct statvfs st;
	int number;

	sigwait(signals, &number);
	mount_sync_mappings(mnt.dir);
	fuse_session_exit(mnt.session);
	if (statvfs(mnt.dir, &st) < 0)
		return NULL; /* unmounted meanwhile, which ends it as well */
	return NULL;
}

static int start_watching(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	return -pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* --- Serving ------------------------------------------------------------------------------- */

/* The client, and the directory that is to be shown. */
static int find_source(const char *source)
{
	struct ff3fs_statfs s;
	struct ff3fs_attr a;
	char *path;
	int r;

	mount_state.fs = cli_connect();
	mount_state.conf = cli.conf;
	ff3fs_memory_watched(); /* no buffer is moved, or made read-only */
	mount_state.uid = geteuid();
	mount_state.gid = getegid();
	mount_state.ready = on_ready;
	path = cli_remote(mount_state.fs, source);
	r = ff3fs_stat(mount_state.fs, FF3FS_ROOT, path, 0, &a);
	if (r == 0 && !S_ISDIR(a.mode))
		r = -ENOTDIR;
	if (r == 0)
		r = ff3fs_statfs(mount_state.fs, &s);
	if (r < 0) {
		r = cli_error(path, r);
		free(path);
		return r;
	}
	free(path);
	mount_state.root = a.ino;
	mount_state.fsid = s.fsid;
	return CLI_OK;
}

static int run_session(struct fuse_session *se)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	static sigset_t signals;
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, (unsigned)number("max_threads", mnt.max_threads, 64,
							       10000));
	fuse_loop_cfg_set_idle_threads(config, 16);
	r = start_watching(&signals);
	if (r == 0)
		r = -pthread_create(&mnt.watcher, NULL, watch_signals, &signals);
	if (r == 0)
		r = fuse_session_loop_mt(se, config);
	fuse_loop_cfg_destroy(config);
	return r > 0 ? 0 : r;
}

static int serve(struct fuse_args *args, const char *source)
{
	struct fuse_session *se;
	int r = find_source(source), closed;

	if (r)
		return r;
	se = fuse_session_new(args, &mount_ops, sizeof mount_ops, NULL);
	if (!se)
		return CLI_USAGE; /* libfuse has said why */
	mnt.session = se;
	if (fuse_session_mount(se, mnt.dir) < 0) {
		if (!mnt.told && geteuid() == 0)
			cli_message("%s: cannot mount", mnt.dir);
		fuse_session_destroy(se);
		return CLI_FAILURE;
	}
	mnt.told = false;
	r = mount_wire_init(se);
	if (r == 0)
		r = run_session(se);
	fuse_session_unmount(se);
	closed = mount_close_all();
	mount_users_done();
	ff3fs_free(mount_state.fs);
	fuse_session_destroy(se);
	if (r < 0 || closed < 0)
		return cli_local_error(mnt.dir, r < 0 ? r : closed);
	return CLI_OK;
}

/* In a child; returns when the mount answers, or with the child's exit code. */
static int serve_behind(struct fuse_args *args, const char *source)
{
	int fds[2], status;
	pid_t child;
	char byte;

	if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0)
		return cli_local_error("fork", -errno);
	if (child == 0) {
		close(fds[0]);
		mnt.ready_fd = fds[1];
		exit(serve(args, source));
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) == 1)
		return CLI_OK;
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return CLI_FAILURE;
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const char *source, *dir;
	int r;

	without_shim(argv);
	cli_parse(&command, argc, argv);
	source = cli.n_args > 1 ? cli.args[0] : "";
	dir = cli.args[cli.n_args - 1];
	fuse_set_log_func(fuse_says);
	fuse_arguments(&args);
	r = check_directory(dir);
	if (r == 0)
		r = check_device();
	if (r)
		return r;
	return mnt.foreground ? serve(&args, source) : serve_behind(&args, source);
}
