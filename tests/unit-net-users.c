/* common/net: as whom a process is served over a local socket. Only root can be others. */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/base/crc32c.h"
#include "../common/net/addr.h"
#include "../common/net/ticket.h"
#include "net_daemon.h"
#include "sure.h"

#define USER 4321u
#define GROUP 4322u
#define NOBODY UINT32_MAX

static const struct ff3_links only_unix = { 1, { FF3_LINK_UNIX } };
static const struct ff3_links unix_first = { 2, { FF3_LINK_UNIX, FF3_LINK_TCP } };

struct who {
	uint32_t uid, gid;
	uint32_t groups[3]; /* up to the first 0 */
};

/* Who says hello, as whom, and as whom it is served. */
struct hello_case {
	const char *name;
	uint32_t real, effective, saved;
	struct who says, is;
};

static uint32_t n_groups(const struct who *w)
{
	uint32_t n = 0;

	while (n < ARRAY_SIZE(w->groups) && w->groups[n] != 0)
		n++;
	return n;
}

static void become(uint32_t real, uint32_t effective, uint32_t saved)
{
	const gid_t groups[] = { 77, 78 };

	SURE(setgroups(ARRAY_SIZE(groups), groups) == 0);
	SURE(setresgid(real == 0 ? 0 : GROUP, GROUP, GROUP) == 0);
	SURE(setresuid(real, effective, saved) == 0);
}

/* In a child. */
static int say_hello(const struct daemon *d, const struct who *w, uint32_t role)
{
	struct ff3_rpc_identity id = { .session = 9,
				       .role = role,
				       .uid = w->uid,
				       .gid = w->gid,
				       .groups = w->groups,
				       .n_groups = n_groups(w) };
	struct ff3_rpc_options o = { .max_connections = 1, .links = d->links };
	struct ff3_rpc_peer *peer;
	int r = ff3_rpc_peer_new(d->address, &id, &o, &peer);

	if (r == 0) {
		r = ping(peer, 1);
		ff3_rpc_peer_free(peer);
	}
	return r;
}

static void child_succeeds(pid_t pid, const char *what)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s: status %d", what, status);
}

static void served_as(const struct daemon *d, const struct who *w, const char *what)
{
	ck_assert_msg(d->hello.uid == w->uid && d->hello.gid == w->gid, "%s: served as %u:%u, not %u:%u", what,
		      d->hello.uid, d->hello.gid, w->uid, w->gid);
	ck_assert_msg(d->n_groups == n_groups(w), "%s: in %u groups, not %u", what, d->n_groups, n_groups(w));
	for (uint32_t i = 0; i < d->n_groups; i++)
		ck_assert_msg(d->groups[i] == w->groups[i], "%s: group %u", what, d->groups[i]);
}

static bool may_be_others(void)
{
	if (geteuid() == 0)
		return true;
	printf("only root can be others\n");
	return false;
}

#define KERNELS { USER, GROUP, { 77, 78 } }

START_TEST(hellos)
{
	static const struct hello_case cases[] = {
		{ "a user", USER, USER, USER, KERNELS, KERNELS },
		{ "with fewer groups", USER, USER, USER, { USER, GROUP, { 78 } }, { USER, GROUP, { 78 } } },
		{ "with a group more", USER, USER, USER, { USER, GROUP, { 77, 79 } }, KERNELS },
		{ "who says root", USER, USER, USER, { 0, 0, { 0 } }, KERNELS },
		{ "who says root's group", USER, USER, USER, { USER, 0, { 0 } }, KERNELS },
		{ "who says another one", USER, USER, USER, { 5, GROUP, { 0 } }, KERNELS },
		{ "of root's, who goes by the real user", 0, USER, USER, { 0, 0, { 77 } }, { 0, 0, { 77 } } },
		{ "the effective one", 0, USER, 0, KERNELS, KERNELS },
		{ "the real one", 5, USER, 6, { 5, GROUP, { 77 } }, { 5, GROUP, { 77 } } },
		{ "the saved one", 5, USER, 6, { 6, GROUP, { 77 } }, { 6, GROUP, { 77 } } },
		{ "none of the three", 5, USER, 6, { 7, GROUP, { 77 } }, KERNELS },
		{ "root for somebody", 0, 0, 0, { 7, 8, { 9, 10 } }, { 7, 8, { 9, 10 } } },
		{ "root by set-user-ID", USER, 0, USER, { 7, 8, { 9 } }, { 7, 8, { 9 } } },
	};
	/* The second time, they are handed to another loop. */
	struct daemon d = { .abstract = true, .links = only_unix, .move = _i % 2 };

	if (!may_be_others())
		return;
	daemon_start(&d);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct hello_case *c = &cases[i];
		pid_t pid = fork();

		if (pid == 0) {
			become(c->real, c->effective, c->saved);
			_exit(say_hello(&d, &c->says, FF3_ROLE_CLIENT) < 0);
		}
		child_succeeds(pid, c->name);
		served_as(&d, &c->is, c->name);
	}
	daemon_stop(&d);
}
END_TEST

START_TEST(daemons)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	struct who w = KERNELS;

	if (!may_be_others())
		return;
	daemon_start(&d);
	for (uint32_t role = FF3_ROLE_METAD; role <= FF3_ROLE_MEMBER + 1; role++)
		for (int root = 0; root < 2; root++) {
			pid_t pid = fork();

			if (pid == 0) {
				if (!root)
					become(USER, USER, USER);
				if (say_hello(&d, &w, role) != (root ? 0 : -EACCES))
					_exit(1);
				/* It may come by TCP, where everybody is believed. */
				d.links = unix_first;
				_exit(say_hello(&d, &w, role) == 0 ? 0 : 2);
			}
			child_succeeds(pid, root ? "root's daemon" : "a user's daemon");
		}
	daemon_stop(&d);
}
END_TEST

static int sign(const void *tickets, char text[FF3_TICKET_MAX + 1])
{
	uint8_t groups[4];
	struct ff3_enc e = ff3_enc_init(groups, sizeof groups);
	struct ff3_ticket user = { .uid = USER, .gid = GROUP, .expires = UINT64_MAX, .groups = { groups, sizeof groups } };

	ff3_put_u32(&e, &(uint32_t){ 77 });
	ff3_ticket_sign(tickets, &user, text);
	return (int)strlen(text);
}

/* Where the connection came in a ticket was asked for: it is whose it is wherever the connection is served. */
START_TEST(by_ticket)
{
	const struct ff3_tickets key = { { 1 } }, other = { { 2 } };
	struct daemon d = { .links = { 1, { FF3_LINK_TCP } }, .tickets = &key, .move = _i % 2 };
	const struct who is = { USER, GROUP, { 77 } };
	struct ff3_rpc_options o = { .links = d.links };
	struct ff3_rpc_identity id = { .session = 9, .role = FF3_ROLE_CLIENT, .ticket = sign, .ticket_arg = &key };
	struct ff3_rpc_peer *peer;

	daemon_start(&d);
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, &o, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), 0);
	served_as(&d, &is, "root, with a user's ticket");
	ff3_rpc_peer_free(peer);
	id.ticket_arg = &other;
	ck_assert_int_eq(ff3_rpc_peer_new(d.address, &id, &o, &peer), 0);
	ck_assert_int_eq(ping(peer, 1), FF3_E_CREDENTIAL);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* In a child, after whose end everything is gone. */
static void ask_a_daemon_apart(struct daemon *d)
{
	const struct who root = { 0, 0, { 77 } };
	struct ff3_rpc_peer *peer;
	pid_t pid = daemon_apart(d, &peer);

	become(0, USER, 0);
	SURE(say_hello(d, &root, FF3_ROLE_CLIENT) == 0);
	SURE(seteuid(0) == 0);
	daemon_end_apart(pid, peer);
}

/* A daemon in a process namespace of its own does not know our number, and so nothing but who connected. */
START_TEST(apart)
{
	const struct who is = KERNELS;
	struct daemon *d = mmap(NULL, sizeof *d, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ck_assert_ptr_ne(d, MAP_FAILED);
	if (!may_be_others())
		return;
	*d = (struct daemon){ .abstract = true, .links = only_unix };
	pid = fork();
	if (pid == 0) {
		SURE(unshare(CLONE_NEWPID) == 0);
		ask_a_daemon_apart(d);
		_exit(0);
	}
	child_succeeds(pid, "a process that is not seen");
	served_as(d, &is, "a process that is not seen");
	munmap(d, sizeof *d);
}
END_TEST

/* --- By hand ----------------------------------------------------------------------------------- */

static int dial(const struct daemon *d)
{
	struct sockaddr_un un;
	struct addrinfo *list;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len;

	SURE(fd >= 0 && ff3_addr_resolve(d->address, 0, &list) == 0);
	len = ff3_addr_abstract(list->ai_addr, list->ai_addrlen, &un);
	SURE(connect(fd, (struct sockaddr *)&un, len) == 0);
	freeaddrinfo(list);
	return fd;
}

/* A hello of root's. */
static size_t frame(uint8_t *buf, size_t size)
{
	struct ff3_req_hello hello = { .session = 9, .role = FF3_ROLE_CLIENT };
	struct ff3_header h = { .op = FF3_OP_hello, .request_id = 1 };

	h.body_len = (uint32_t)ff3_encode_req_hello(buf + FF3_HEADER_SIZE, size - FF3_HEADER_SIZE, &hello);
	h.body_crc = ff3_crc32c(0, buf + FF3_HEADER_SIZE, h.body_len);
	ff3_header_encode(buf, &h);
	return FF3_HEADER_SIZE + h.body_len;
}

/* As uid, unless that is NOBODY, with the descriptor passed, unless that is -1. */
static void send_as(int fd, const uint8_t *p, size_t len, uint32_t uid, int passed)
{
	struct ucred cred = { getpid(), uid, getegid() };
	struct iovec iov = { (void *)p, len };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof cred) + CMSG_SPACE(sizeof passed)];
	} control = { .room = { 0 } };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	size_t used = 0;

	if (uid != NOBODY) {
		*c = (struct cmsghdr){ CMSG_LEN(sizeof cred), SOL_SOCKET, SCM_CREDENTIALS };
		memcpy(CMSG_DATA(c), &cred, sizeof cred);
		used = CMSG_SPACE(sizeof cred);
	}
	if (passed >= 0) {
		c = (struct cmsghdr *)(control.room + used);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof passed), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &passed, sizeof passed);
		used += CMSG_SPACE(sizeof passed);
	}
	msg.msg_controllen = used;
	SURE(sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)len);
}

static void greeted(int fd)
{
	uint8_t buf[FF3_HEADER_SIZE];
	struct ff3_header h;

	SURE(recv(fd, buf, sizeof buf, MSG_WAITALL) == sizeof buf);
	SURE(ff3_header_decode(buf, &h) == 0 && h.status == 0);
}

/* What a process of more rights writes to somebody's socket says nothing of whose it is. */
static void by_another_process(const struct daemon *d)
{
	uint8_t buf[512];
	size_t len = frame(buf, sizeof buf);
	pid_t pid;
	int fd;

	become(0, USER, 0);
	fd = dial(d);
	SURE(seteuid(0) == 0);
	pid = fork();
	if (pid == 0) {
		send_as(fd, buf, len, 0, -1);
		_exit(0);
	}
	SURE(waitpid(pid, NULL, 0) == pid);
	greeted(fd);
}

static void in_two_parts(const struct daemon *d, uint32_t first, uint32_t second)
{
	uint8_t buf[512];
	size_t len = frame(buf, sizeof buf);
	int fd;

	become(0, USER, 0);
	fd = dial(d);
	send_as(fd, buf, 10, first, -1);
	send_as(fd, buf + 10, len - 10, second, -1);
	greeted(fd);
}

START_TEST(others_bytes)
{
	static const struct {
		const char *name;
		uint32_t first, second;
		struct who is;
	} cases[] = {
		{ "another process", NOBODY, NOBODY, KERNELS },
		{ "root twice", 0, 0, { 0, GROUP, { 77, 78 } } },
		{ "root, then the user", 0, USER, KERNELS },
		{ "the user, then root", USER, 0, KERNELS },
		{ "the user twice", USER, USER, KERNELS },
	};
	struct daemon d = { .abstract = true, .links = only_unix };

	if (!may_be_others())
		return;
	daemon_start(&d);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (cases[i].first == NOBODY)
				by_another_process(&d);
			else
				in_two_parts(&d, cases[i].first, cases[i].second);
			_exit(0);
		}
		child_succeeds(pid, cases[i].name);
		served_as(&d, &cases[i].is, cases[i].name);
	}
	daemon_stop(&d);
}
END_TEST

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* The daemon, which is of this process, does not take them. */
START_TEST(descriptors_with_a_hello)
{
	struct daemon d = { .abstract = true, .links = only_unix };
	uint8_t buf[512];
	size_t len = frame(buf, sizeof buf);
	unsigned before;

	daemon_start(&d);
	before = open_fds();
	for (int i = 0; i < 2; i++) {
		int fd = dial(&d);

		send_as(fd, buf, len, i ? geteuid() : NOBODY, STDOUT_FILENO);
		greeted(fd);
		/* Its end, the daemon's, and what came. */
		ck_assert_uint_eq(open_fds(), before + 2);
		close(fd);
		while (d.n_closed < (unsigned)i + 1)
			sched_yield();
	}
	daemon_stop(&d);
}
END_TEST

TCase *net_users_case(void)
{
	TCase *tc = tcase_create("users");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, hellos, 0, 2);
	tcase_add_test(tc, daemons);
	tcase_add_loop_test(tc, by_ticket, 0, 2);
	tcase_add_test(tc, apart);
	tcase_add_test(tc, others_bytes);
	tcase_add_test(tc, descriptors_with_a_hello);
	return tc;
}
