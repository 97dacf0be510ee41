/* The kernel descriptor that stands for one of our open files. See placeholder.c. */
#pragma once

#include "../common/base/base.h"

/* What a placeholder's name carries, so that another process can take the file up. */
struct placeholder {
	uint64_t ino;
	uint64_t generation;
	int flags; /* as open(2), without O_CREAT, O_EXCL and O_TRUNC */
};

/* A new descriptor, the lowest free one; O_CLOEXEC, O_APPEND and O_NONBLOCK of p->flags are set
 * on it. Negative errno. */
int placeholder_new(const struct placeholder *p);
/* 1 and *ret if fd is one; 0 if not; -EBADF. */
int placeholder_probe(int fd, struct placeholder *ret);

/* The same for a directory that is the virtual working directory (hook_cwd.c): its name. */
void placeholder_cwd_name(uint64_t ino, unsigned unique, char out[64]);
bool placeholder_cwd_parse(const char *link, uint64_t *ret_ino);
