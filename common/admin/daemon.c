/* Purpose: see daemon.h.
 *
 * --ready-fd gets one line: "READY listen=HOST:PORT admin=HOST:PORT". */
#include "daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "../base/log.h"
#include "../net/ticket.h"

enum { OPT_CONF = 256, OPT_READY_FD, OPT_EXIT_WITH_PARENT };

static const struct argp_option options[] = {
	{ "conf", OPT_CONF, "FILE", 0, "read this configuration file", 0 },
	{ "ready-fd", OPT_READY_FD, "N", 0, "write a line to descriptor N when serving", 0 },
	{ "exit-with-parent", OPT_EXIT_WITH_PARENT, NULL, 0, "end when the parent process ends", 0 },
	{ "verbose", 'v', NULL, 0, "log more", 0 },
	{ 0 },
};

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct ff3_daemon *d = state->input;
	char *end;

	switch (key) {
	case OPT_CONF:
		d->conf = arg;
		return 0;
	case OPT_READY_FD:
		d->ready_fd = (int)strtol(arg, &end, 10);
		if (*end || end == arg || d->ready_fd < 0 || fcntl(d->ready_fd, F_GETFD) < 0)
			argp_error(state, "--ready-fd: %s is no open descriptor", arg);
		return 0;
	case OPT_EXIT_WITH_PARENT:
		d->exit_with_parent = true;
		return 0;
	case 'v':
		d->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp ff3_daemon_argp = { options, parse_opt, NULL, NULL, NULL, NULL, NULL };

static int catch_signals(struct ff3_daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return -errno;
	if (d->exit_with_parent) {
		pid_t parent = getppid();

		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent) /* it ended just now */
			raise(SIGTERM);
	}
	return 0;
}

/* Connections and slabs take descriptors. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

int ff3_daemon_begin(struct ff3_daemon *d, const char *name, struct ff3_conf *ret)
{
	int r;

	ff3_log_open(name, d->verbose ? FF3_LOG_DEBUG : FF3_LOG_INFO);
	r = ff3_conf_load(ret, d->conf);
	if (r < 0) {
		ff3_error("%s", ret->error);
		return r;
	}
	raise_limits();
	r = catch_signals(d);
	return r < 0 ? ff3_log_errno(r, "cannot catch signals") : 0;
}

int ff3_daemon_load_key(const char *file, struct ff3_tickets **ret)
{
	_cleanup_free_ struct ff3_tickets *t = NULL;
	int r;

	if (!*file)
		return 0;
	t = calloc(1, sizeof *t);
	r = t ? ff3_tickets_load(file, t) : -ENOMEM;
	if (r == -EPERM)
		ff3_error("the key %s is not its owner's alone: chmod 600 it, and make another one if others have seen it", file);
	else if (r == -EBADMSG)
		ff3_error("%s is not a key: make one by 'ff3fs ticket --new-key'", file);
	else if (r < 0)
		ff3_log_errno(r, "cannot read the key %s", file);
	if (r == 0)
		*ret = TAKE_PTR(t);
	return r;
}

void ff3_daemon_ready(struct ff3_daemon *d, const char *listen, const char *admin)
{
	if (d->ready_fd >= 0) {
		dprintf(d->ready_fd, "READY listen=%s admin=%s\n", listen, admin);
		close(TAKE_FD(d->ready_fd));
	}
	sd_notifyf(0, "READY=1\nSTATUS=serving on %s, HTTP on %s", listen, admin);
}
