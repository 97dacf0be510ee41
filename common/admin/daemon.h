/* What every daemon does at its start: the options, the log, limits, configuration, signals, and telling
 * whoever started it that it serves.
 *
 * Threads: main's, before there are others; ff3_daemon_ready on any one thread. */
#pragma once

#include <argp.h>

#include "../base/conf.h"

struct ff3_daemon {
	const char *conf;
	int ready_fd;
	bool exit_with_parent, verbose;
	int signal_fd; /* SIGTERM and SIGINT, which are blocked */
};
#define FF3_DAEMON_NONE { .ready_fd = -1, .signal_fd = -1 }

/* The first of the daemon's children for argp_parse. Its input is a struct ff3_daemon. */
extern const struct argp ff3_daemon_argp;

/* After argp_parse. Fills ret; says what is wrong. Signals are taken from signal_fd: call it before a thread is
 * started. */
int ff3_daemon_begin(struct ff3_daemon *d, const char *name, struct ff3_conf *ret);
/* The cluster's key, if file is not "": to be freed. Says what is wrong. */
struct ff3_tickets;
int ff3_daemon_load_key(const char *file, struct ff3_tickets **ret);
/* Tells --ready-fd, once, and systemd. */
void ff3_daemon_ready(struct ff3_daemon *d, const char *listen, const char *admin);
