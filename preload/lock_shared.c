/* Purpose: F_OFD locks of a description that several processes have. They are the description's: each of them may take
 * them, change them and give them back, and they last as long as any has it.
 *
 * So all must use one description of the lock file, and one session at metad. The first that locks ranges of a
 * description that others may have starts a keeper, which has both; the others get a descriptor of the same
 * description from it, and ask it for what is done at metad. It listens at an abstract socket that is named after the
 * placeholder's inode, which the description has to itself, for processes of the same user.
 *
 * That the description is gone is seen as in lock_keeper.c: who starts the keeper locks a byte of the placeholder
 * through it, and a child of the keeper waits for that lock by a description of its own. It sees it a moment late: who
 * would be refused while there is a keeper gives it that moment.
 *
 * Threads: under the mutex of hook_lock.c, but for lock_shared_ask. Fork: what is noted holds for a child too. */
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "hook.h"
#include "keeper.h"
#include "raw.h"

#define GONE_BYTE 2
#define MARK_BYTE 1 /* of the lock file for flock: there is a keeper */

struct request {
	bool descriptor; /* is asked for; else lock is to be set, or tested */
	bool test;
	struct ff3fs_lock lock;
};

struct reply {
	int r;
	struct ff3fs_lock other;
};

union one_fd {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* --- The socket ---------------------------------------------------------------------------- */

static socklen_t address(uint64_t id, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "ff3fs-locks-%u-%" PRIx64,
					    (unsigned)RAW(geteuid), id));
}

static bool same_user(int s)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return RAW(getsockopt, s, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       peer.uid == (uid_t)RAW(geteuid);
}

/* A connection to the keeper. Negative errno; -ECONNREFUSED: there is none. */
static int call_keeper(uint64_t id)
{
	struct sockaddr_un a;
	socklen_t len = address(id, &a);
	int s = (int)RAW(socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	if (s < 0)
		return s;
	do
		r = (int)RAW(connect, s, &a, len);
	while (r == -EINTR);
	if (r == 0 && !same_user(s))
		r = -EPERM;
	if (r < 0)
		raw_close(s);
	return r < 0 ? r : s;
}

/* ret_fd: a descriptor that came with the reply, or -1. */
static int ask_keeper(uint64_t id, const struct request *q, struct reply *ret, int *ret_fd)
{
	struct iovec iov = { ret, sizeof *ret };
	union one_fd control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof control };
	struct cmsghdr *c;
	int s = call_keeper(id);
	long n;

	*ret_fd = -1;
	if (s < 0)
		return s;
	n = RAW(sendto, s, q, sizeof *q, MSG_NOSIGNAL, NULL, 0);
	if (n >= 0)
		while ((n = RAW(recvmsg, s, &m, MSG_CMSG_CLOEXEC)) == -EINTR)
			;
	raw_close(s);
	if (n != sizeof *ret)
		return -ECONNREFUSED; /* it has just ended */
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
	return 0;
}

/* --- The keeper ---------------------------------------------------------------------------- */

enum { KEPT_LOCKS, KEPT_OWN, KEPT_READY, KEPT_SOCKET, KEPT_END, KEPT_MARK, N_KEPT };

struct keeping {
	struct ofd *o;
	int fds[N_KEPT];
};

static void answer(int s, struct ofd *o)
{
	struct request q;
	struct reply p = { 0 };
	struct iovec iov = { &p, sizeof p };
	union one_fd control = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fd = KEPT_LOCKS;

	if (!same_user(s) || RAW(recvfrom, s, &q, sizeof q, 0, NULL, NULL) != sizeof q)
		return;
	if (q.descriptor) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
						       .cmsg_len = CMSG_LEN(sizeof fd) };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof fd);
	} else {
		q.lock.owner = (uintptr_t)o; /* whoever asks */
		p.r = CALL(lock, o->file, &q.lock, q.test, &p.other);
	}
	RAW(sendmsg, s, &m, MSG_NOSIGNAL);
}

/* Ends, and with it the last writer of the pipe, when nobody has the description any more. */
static void await_end(void)
{
	struct flock gone = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = GONE_BYTE, .l_len = 1 };

	RAW(close, KEPT_LOCKS);
	while (RAW(fcntl, KEPT_OWN, F_OFD_SETLKW, &gone) == -EINTR)
		;
	RAW(exit_group, 0);
}

static void serve(struct ofd *o)
{
	struct ff3fs_lock all = { .owner = (uintptr_t)o, .last = UINT64_MAX, .kind = FF3FS_LOCK_RECORD,
				  .type = FF3FS_LOCK_NONE };
	struct pollfd p[] = { { KEPT_SOCKET, POLLIN, 0 }, { KEPT_END, POLLIN, 0 } };
	uint8_t held;

	while (RAW(ppoll, p, 2, NULL, NULL, 8) >= 0 && !p[1].revents) {
		int s = (int)RAW(accept4, KEPT_SOCKET, NULL, NULL, SOCK_CLOEXEC);

		if (s >= 0) {
			answer(s, o);
			raw_close(s);
		}
	}
	RAW(close, KEPT_LOCKS); /* here first, then at metad */
	lock_cluster_set(o, &all, false, &held);
}

static void keep(void *arg)
{
	struct keeping *k = arg;
	struct flock mark = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = MARK_BYTE, .l_len = 1 };
	int end[2];

	k->fds[KEPT_OWN] = keeper_own(k->fds[KEPT_OWN]);
	k->fds[KEPT_MARK] = lock_file_open(k->o->ino, FLOCK_SUFFIX);
	if (k->fds[KEPT_OWN] >= 0 && RAW(fcntl, k->fds[KEPT_MARK], F_OFD_SETLK, &mark) == 0 &&
	    RAW(pipe2, end, O_CLOEXEC) == 0) {
		k->fds[KEPT_END] = end[0];
		if (RAW(clone, 0, 0, 0, 0, 0) == 0) {
			keeper_arrange(k->fds, KEPT_OWN + 1, end[1]);
			await_end();
		}
		keeper_arrange(k->fds, N_KEPT, -1);
		fork_in_child();
		RAW(write, KEPT_READY, "", 1);
		RAW(close, KEPT_READY);
		k->o->share_id = 0; /* it asks nobody */
		serve(k->o);
	}
}

/* --- Those who lock ------------------------------------------------------------------------ */

static uint64_t id_of(int fd)
{
	struct stat st;

	return RAW(fstat, fd, &st) < 0 ? 0 : st.st_ino;
}

int lock_shared_join(int fd, struct ofd *o)
{
	struct request q = { .descriptor = true };
	uint64_t id = id_of(fd);
	struct reply p;
	int locks, r = ask_keeper(id, &q, &p, &locks);

	if (r < 0 || locks < 0)
		return r < 0 ? r : -ECONNREFUSED;
	o->share_id = id;
	return locks;
}

int lock_shared_bind(int fd)
{
	struct sockaddr_un a;
	socklen_t len = address(id_of(fd), &a);
	int s = (int)RAW(socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	if (s < 0)
		return s;
	r = (int)RAW(bind, s, &a, len);
	if (r < 0)
		raw_close(s);
	return r < 0 ? r : s;
}

int lock_shared_start(int fd, struct ofd *o, int lock_fd, int s)
{
	struct flock mine = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = GONE_BYTE, .l_len = 1 };
	struct keeping k = { .o = o, .fds = { lock_fd, fd, -1, s, -1, -1 } };
	int r = (int)RAW(listen, s, 64);

	if (r == 0)
		r = (int)RAW(fcntl, fd, F_OFD_SETLK, &mine);
	if (r == 0)
		r = keeper_run(keep, &k, &k.fds[KEPT_READY]);
	raw_close(s);
	if (r == 0)
		o->share_id = id_of(fd);
	return r;
}

bool lock_shared_passing(struct ofd *o)
{
	struct flock mark = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = MARK_BYTE, .l_len = 1 };
	int fd = lock_file_open(o->ino, FLOCK_SUFFIX);
	bool is;

	if (fd < 0)
		return false;
	is = RAW(fcntl, fd, F_OFD_GETLK, &mark) == 0 && mark.l_type != F_UNLCK;
	lock_file_close(fd);
	return is;
}

int lock_shared_ask(struct ofd *o, const struct ff3fs_lock *lock, bool test, struct ff3fs_lock *ret)
{
	struct request q = { .test = test, .lock = *lock };
	struct reply p;
	int fd, r = ask_keeper(o->share_id, &q, &p, &fd);

	if (fd >= 0)
		raw_close(fd);
	if (r < 0)
		return -ENOLCK;
	if (ret)
		*ret = p.other;
	return p.r;
}
