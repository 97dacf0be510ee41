/* Descriptors that travel with a frame over a local socket (SCM_RIGHTS).
 *
 * The sender gives them to the system call that sends the frame's first byte, and never with
 * another frame in front of it: so one receive brings the descriptors of one frame at most, and
 * groups arrive in the order of the frames that are marked with FF3_FRAME_FDS.
 *
 * Threads: no state but the caller's. Fork: a child clears what it inherited. */
#pragma once

#include <sys/socket.h>

#include "../base/base.h"

#define FF3_FDS_MAX 4u
/* Frames whose descriptors are here and that are not complete: more are nobody's honest work. */
#define FF3_FDS_GROUPS 4u

union ff3_fds_control {
	size_t align; /* as the first member of a struct cmsghdr, which itself has no fixed size */
	char room[CMSG_SPACE(FF3_FDS_MAX * sizeof(int))];
};

struct ff3_fds {
	int fd[FF3_FDS_MAX];
	unsigned n;
	bool cut; /* some were lost: this process may have no more */
};

struct ff3_fds_queue {
	struct ff3_fds group[FF3_FDS_GROUPS];
	unsigned n;
};

/* Lets msg bring n descriptors: control lives until it was sent. */
void ff3_fds_attach(struct msghdr *msg, union ff3_fds_control *control, const int *fds, unsigned n);
/* Makes room in msg for what comes. Receive with MSG_CMSG_CLOEXEC. */
void ff3_fds_expect(struct msghdr *msg, union ff3_fds_control *control);
/* Takes over what came with msg, moved out of the way of the program's own numbers. -EBADMSG: more
 * than can belong to anything. */
int ff3_fds_collect(struct ff3_fds_queue *q, const struct msghdr *msg);
/* The group of the next marked frame; empty if there is none. The caller's from then on. */
struct ff3_fds ff3_fds_next(struct ff3_fds_queue *q);
void ff3_fds_close(struct ff3_fds *fds);
void ff3_fds_clear(struct ff3_fds_queue *q);

