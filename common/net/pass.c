#include "pass.h"

void ff3_fds_attach(struct msghdr *msg, union ff3_fds_control *control, const int *fds, unsigned n)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof *control);
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(n * sizeof *fds);
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof *fds);
	memcpy(CMSG_DATA(c), fds, n * sizeof *fds);
}

void ff3_fds_expect(struct msghdr *msg, union ff3_fds_control *control)
{
	msg->msg_control = control;
	msg->msg_controllen = sizeof *control;
}

int ff3_fds_collect(struct ff3_fds_queue *q, const struct msghdr *msg)
{
	struct ff3_fds fds = { .cut = msg->msg_flags & MSG_CTRUNC };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n && fds.n < FF3_FDS_MAX; i++) {
			memcpy(&fds.fd[fds.n], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			ff3_fd_move_high(&fds.fd[fds.n++]);
		}
	}
	if (fds.n == 0 && !fds.cut)
		return 0;
	if (q->n == FF3_FDS_GROUPS) {
		ff3_fds_close(&fds);
		return -EBADMSG;
	}
	q->group[q->n++] = fds;
	return 0;
}

struct ff3_fds ff3_fds_next(struct ff3_fds_queue *q)
{
	struct ff3_fds first = { .n = 0 };

	if (q->n == 0)
		return first;
	first = q->group[0];
	q->n--;
	memmove(&q->group[0], &q->group[1], q->n * sizeof q->group[0]);
	return first;
}

void ff3_fds_close(struct ff3_fds *fds)
{
	while (fds->n > 0)
		close(fds->fd[--fds->n]);
}

void ff3_fds_clear(struct ff3_fds_queue *q)
{
	while (q->n > 0)
		ff3_fds_close(&q->group[--q->n]);
}
