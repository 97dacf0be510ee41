/* A local cluster in one directory, without root:
 *
 *   DIR/ff3fs.conf       [client] and [metad]; made once, later only its addresses are changed
 *   DIR/metadN.conf      [metad] of the Nth member of its group, from 2
 *   DIR/chunkdN.conf     [chunkd] of the Nth chunk daemon
 *   DIR/metad, DIR/metadN, DIR/chunkdN   their data
 *   DIR/log/NAME.log     their messages, appended
 *   DIR/run/NAME.pid     process id, and the time it started, so that a reused id is noticed
 *   DIR/run/lock         held while up, down or kill work
 *
 * Used by one thread. */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "../common/base/base.h"

#define DEV_CHUNKD_MAX 64u
#define DEV_METAD_MAX 7u

struct dev_daemon {
	const char *program; /* "ff3fs-metad" */
	const char *section; /* of its configuration file */
	unsigned index;      /* from 1: of a chunk daemon, or of a member of metad's group */
	bool is_metad;
	bool form;	     /* starts as the first member of a new group */
	char name[24];       /* "metad", "metad2", "chunkd2" */
	char conf[PATH_MAX + 64];
	char log[PATH_MAX + 64];
	char pid_file[PATH_MAX + 64];
	char listen[80]; /* from its configuration */
	char admin[80];
	pid_t pid;      /* 0: does not run */
	int ready_fd;   /* while it starts, else -1 */
};

struct dev_cluster {
	char dir[PATH_MAX];
	char conf[PATH_MAX + 64];
	char *prefix;
	unsigned n_metad, n; /* daemons: members of metad's group, then chunk daemons; together n */
	struct dev_daemon daemons[DEV_METAD_MAX + DEV_CHUNKD_MAX];
};

/* --- dev_conf.c: configuration files ------------------------------------------------------- */

/* Fills in what lies in dir: an absolute path. -ENOENT if there is no cluster; others with a
 * message printed. */
int dev_load(struct dev_cluster *c, const char *dir);
void dev_done(struct dev_cluster *c);
/* What a cluster is to be. NULL: the default, or an existing cluster's is left. */
struct dev_wish {
	unsigned n_metad, n_chunkd;
	const char *host; /* an IPv4 address: where clients come; it stays as it was made */
	const char *memory;
	const char *prefix;
};
/* Makes what is missing. Prints its errors. */
int dev_make(struct dev_cluster *c, const char *dir, const struct dev_wish *wish);
/* Gives d addresses that are free now: those it has, if they are, else others. Prints its errors. */
int dev_assign_addresses(struct dev_daemon *d);
/* Writes metad's addresses to the files that name them. Prints its errors. */
int dev_tell_metad(const struct dev_cluster *c);

/* --- dev_group.c: metad's group -------------------------------------------------------------- */

/* Whether it runs and which role it has: "primary", "follower", "" if it does not answer. */
void dev_role(const struct dev_daemon *d, char ret[16]);
/* The one that serves, or NULL. */
const struct dev_daemon *dev_primary(const struct dev_cluster *c);
/* Waits until one serves and all that run vote. Prints its errors. */
int dev_wait_group(const struct dev_cluster *c, unsigned timeout_ms);
/* The first of the group has never run. */
bool dev_is_fresh(const struct dev_cluster *c);

/* --- dev_process.c: processes --------------------------------------------------------------- */

/* Looks at its pid file whether d runs, and sets d->pid. */
void dev_find(struct dev_daemon *d);
/* Starts d in the background; ready_fd then tells when it serves. Prints its errors. */
int dev_spawn(struct dev_daemon *d);
/* Waits until every daemon that dev_spawn started says READY, or prints why one does not. */
int dev_wait_ready(struct dev_cluster *c, unsigned timeout_ms);
/* Sends signo to d through a pidfd: never to another process. -ESRCH if it does not run. */
int dev_signal(const struct dev_daemon *d, int signo);
/* Whether d, which dev_find found, was sent SIGKILL and will end without having noticed. */
bool dev_is_killed(const struct dev_daemon *d);
/* Waits until d has ended; -ETIMEDOUT. */
int dev_wait_end(struct dev_daemon *d, unsigned timeout_ms);

/* --- dev_http.c: asking a daemon ------------------------------------------------------------ */

/* GET http://address/path; the status and, if ret_body is not NULL, the body (to be freed).
 * Negative errno if there is no answer within timeout_ms. */
int dev_http_get(const char *address, const char *path, unsigned timeout_ms, char **ret_body);
