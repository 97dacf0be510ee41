/* ff3fs run --notify: what its files share. */
#pragma once

#include <linux/seccomp.h>
#include <limits.h>
#include <sys/stat.h>

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

/* A system call that waits for our answer. */
struct notify_call {
	const struct seccomp_notif *n;
	int dirfd; /* of the path; AT_FDCWD */
	/* Where it leads: path from directory dir, or, if a symbolic link led out, native. */
	uint64_t dir;
	const char *path;
	const char *native;
	int hops;
	char buf[PATH_MAX];
	/* The answer: a descriptor to give, or the result. */
	int fd;
	bool fd_cloexec;
};

/* "Not for us": the kernel goes on with the call. */
#define NOTIFY_CONTINUE LONG_MIN

struct notify {
	int listener;
	struct ff3fs *fs;
	const char *prefix; /* the list */
	char first[PATH_MAX]; /* the first of them */
	uint64_t max_file;
};
extern struct notify notify;

/* --- notify_filter.c: which calls ---------------------------------------------------------- */

enum notify_kind {
	NOTIFY_OPEN,
	NOTIFY_STAT,
	NOTIFY_FSTAT,
	NOTIFY_STATX,
	NOTIFY_ACCESS,
	NOTIFY_READLINK,
	NOTIFY_GETDENTS,
	NOTIFY_CHDIR,
	NOTIFY_FCHDIR,
	NOTIFY_GETCWD,
	NOTIFY_STATFS,
	NOTIFY_REFUSE, /* with row->error, if the path is ours */
};

struct notify_row {
	int nr;
	enum notify_kind kind;
	int dirfd;  /* index of the argument; -1: AT_FDCWD */
	int path;   /* index of the argument */
	int dirfd2; /* of a second path; path2 -1: there is none */
	int path2;
	int flags; /* index of the argument with AT_* or O_* flags; -1: none */
	int error; /* of NOTIFY_REFUSE */
};

const struct notify_row *notify_row(int nr);
/* Installs the filter for this process and its children. The listener, or a negative errno. */
int notify_filter_install(void);

/* --- notify_path.c ------------------------------------------------------------------------- */

/* The call is still waiting: what was read of its process was its own. */
bool notify_valid(const struct seccomp_notif *n);
int notify_get_string(const struct seccomp_notif *n, uint64_t address, char out[PATH_MAX]);
int notify_get(const struct seccomp_notif *n, uint64_t address, void *out, size_t size);
int notify_put(const struct seccomp_notif *n, uint64_t address, const void *data, size_t size);
/* Which of our directories a descriptor (or AT_FDCWD) is; file: a file counts too. 0: none. */
uint64_t notify_fd_ino(const struct seccomp_notif *n, int fd, bool file);
/* 1: the path is ours, and c says where; 0: it is not; negative errno. */
int notify_resolve(struct notify_call *c, int dirfd, uint64_t address, bool empty);
/* Looks at the result of a call on c's path. True: the path goes on elsewhere, call again. If c->native is
 * set afterwards, it has led out. */
bool notify_again(struct notify_call *c, long r);

/* --- notify_cwd.c -------------------------------------------------------------------------- */

/* The working directory of ours that a process believes to be in, or 0. */
uint64_t notify_cwd_get(const struct seccomp_notif *n);
/* ino 0: it is in one of the machine's again. */
int notify_cwd_set(const struct seccomp_notif *n, uint64_t ino);

/* --- notify_file.c ------------------------------------------------------------------------- */

/* A descriptor of ours to give for an inode: the whole file in memory, or a stand-in for a
 * directory. Negative errno. */
int notify_open_file(const struct ff3fs_attr *a, int flags);
int notify_open_dir(uint64_t ino, int flags);
#define NOTIFY_FILE_NAME "ff3fs-file:"
/* getdents64 on a directory's stand-in. */
long notify_getdents(const struct seccomp_notif *n, uint64_t ino);

/* --- notify_calls.c ------------------------------------------------------------------------ */

/* The answer: a result, a negative errno, or NOTIFY_CONTINUE; or c->fd is set. */
long notify_answer(struct notify_call *c, const struct notify_row *row);

/* --- notify.c ------------------------------------------------------------------------------ */

/* Runs argv with its calls on the prefixes served. Returns its exit status, or CLI_*. */
int notify_run(char **argv);
