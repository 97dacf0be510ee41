/* What ff3fs doctor finds: a list of findings in sections, said as they are found or gathered as JSON.
 * Threads: one. */
#pragma once

#include "cli.h"

struct ff3_conf;

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_NOTE,	/* works, but not as well as it could */
	DOCTOR_PROBLEM, /* a job would fail */
};

/* --- cmd_doctor.c ------------------------------------------------------------------------------ */

/* The findings that follow belong to it. */
void doctor_section(const char *name);
/* One finding: what it is about, what is found (and its cause), and what to do about it (NULL: nothing).
 * Returns its JSON object for more fields, or NULL; borrowed. */
json_t *doctor_say(enum doctor_level level, const char *what, const char *fix, const char *format, ...)
	PRINTF_LIKE(4, 5);
/* "12.3 us", "1.2 ms". */
char *doctor_time(char buf[32], uint64_t ns);

/* --- doctor_host.c ----------------------------------------------------------------------------- */

/* What this machine and its kernel allow. notify, fuse: whether a program that is not preloaded can be
 * served by seccomp and by a mount. */
struct doctor_host {
	bool notify, fuse;
};
void doctor_host(struct doctor_host *ret);

/* --- doctor_shim.c ----------------------------------------------------------------------------- */

/* The library, and whether it can be preloaded. */
void doctor_shim(const struct doctor_host *host);
/* Does a preloaded program see path? */
void doctor_shim_sees(const char *path);
/* What that program is: ff3fs itself, started anew with the shim; main.c's. Prints for its parent. */
int doctor_shim_child(int argc, char **argv);
#define DOCTOR_SHIM_CHILD "--doctor-shim"

/* --- doctor_cluster.c -------------------------------------------------------------------------- */

/* The daemons and the ways to them. false: metad does not answer. */
bool doctor_cluster(struct ff3fs *fs, const struct ff3_conf *conf);
void doctor_rdma(struct ff3fs *fs);
/* A path on the file system (NULL: its root): what reading it is like. */
void doctor_path(struct ff3fs *fs, const struct ff3_conf *conf, const char *arg);
