/* Purpose: as whom the process at the other end of a connection is served.
 *
 * Over a network that is who the hello's ticket says, if the server asks for one, and else the hello is believed. A ticket
 * for root may act for others: those of daemons are. Of a process of this host, at a local socket, the kernel knows
 * better. Root and the daemon's own user may act for others (ff3fs-mount does, and daemons are of other roles). Anybody else is served as
 *
 * - who it says it is with the hello's bytes (SCM_CREDENTIALS), which the kernel allows for the real, the effective and
 *   the saved user of who sends them, and translates between user namespaces: access(2) goes by the real one;
 * - who connected (SO_PEERCRED), if it says nothing, or not the process that connected does: somebody with more rights
 *   may have been made to write what it does not understand;
 *
 * with the groups that the process was in when it connected. So who is root in a user namespace of its own is its user
 * outside. What /proc tells of a process is not used: after its hello it may execute a program with more rights.
 *
 * Threads: the connection's loop. What came with the bytes is kept until the hello is accepted. */
#include "../base/log.h"
#include "server_priv.h"
#include "ticket.h"

#define SAY_NS (60 * FF3_NSEC_PER_SEC)

/* In a user namespace, everybody who is unknown there looks like this one. */
#define UID_UNKNOWN 65534u

struct ff3_conn_claim {
	struct ucred cred; /* with all bytes so far */
	bool came;	   /* bytes did */
	bool mixed;	   /* with others' */
};

int ff3_conn_claim_new(struct ff3_conn *conn)
{
	if (setsockopt(conn->fd, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) < 0)
		return -errno;
	conn->claim = calloc(1, sizeof *conn->claim);
	return conn->claim ? 0 : -ENOMEM;
}

void ff3_conn_claim_free(struct ff3_conn *conn)
{
	if (!conn->claim)
		return;
	/* From now on this would only cost. */
	if (conn->fd >= 0)
		(void)setsockopt(conn->fd, SOL_SOCKET, SO_PASSCRED, &(int){ 0 }, sizeof(int));
	free(TAKE_PTR(conn->claim));
}

static struct ucred cred_of(struct msghdr *msg)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	struct ucred cred = { .pid = 0 };

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS &&
	    c->cmsg_len == CMSG_LEN(sizeof cred))
		memcpy(&cred, CMSG_DATA(c), sizeof cred);
	return cred;
}

int ff3_conn_claim_receive(struct ff3_conn *conn, void *p, size_t len)
{
	struct ff3_conn_claim *claim = conn->claim;
	union {
		size_t align; /* as the first member of a struct cmsghdr */
		/* The kernel puts these first, so no descriptors fit: those are dropped. */
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { p, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	ssize_t n = recvmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct ucred cred;

	if (n <= 0)
		return n < 0 ? -errno : 0;
	cred = cred_of(&msg);
	claim->mixed |= claim->came && memcmp(&cred, &claim->cred, sizeof cred) != 0;
	claim->came = true;
	claim->cred = cred;
	return (int)n;
}

/* Processes of other process namespaces all have the number 0. */
static const struct ucred *who_it_is(const struct ff3_conn *conn)
{
	const struct ff3_conn_claim *claim = conn->claim;

	return claim && !claim->mixed && claim->cred.pid != 0 && claim->cred.pid == conn->cred.pid ?
		       &claim->cred :
		       &conn->cred;
}

static bool may_speak_for_others(const struct ucred *cred)
{
	return cred->uid == 0 || (cred->uid == geteuid() && cred->uid != UID_UNKNOWN);
}

/* As the kernel has them, behind each other in u32. */
static int groups_of(int fd, uint8_t groups[FF3_CONN_GROUPS], struct ff3_blob *ret)
{
	struct ff3_enc e = ff3_enc_init(groups, FF3_CONN_GROUPS);
	_cleanup_free_ gid_t *list = NULL;
	socklen_t len = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 && errno != ERANGE)
		return -errno;
	list = malloc(MAX(len, (socklen_t)sizeof *list));
	if (!list)
		return -ENOMEM;
	if (len > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0)
		return -errno;
	for (size_t i = 0; i < MIN(len / sizeof *list, (size_t)FF3_GROUPS_MAX); i++)
		ff3_put_u32(&e, &(uint32_t){ list[i] });
	*ret = (struct ff3_blob){ groups, (uint32_t)e.len };
	return 0;
}

static bool has(struct ff3_blob groups, uint32_t group)
{
	struct ff3_dec d = ff3_dec_blob(groups);
	uint32_t g = ~group;

	while (ff3_dec_more(&d) && g != group)
		ff3_get_u32(&d, &g);
	return !d.bad && g == group;
}

/* The hello says nothing but what is so; it may leave groups out. */
static bool is_true(const struct ff3_req_hello *hello, const struct ucred *who, struct ff3_blob groups)
{
	struct ff3_dec d = ff3_dec_blob(hello->groups);
	uint32_t group;

	if (hello->uid != who->uid || hello->gid != who->gid || hello->groups.len > groups.len)
		return false;
	while (ff3_dec_more(&d)) {
		ff3_get_u32(&d, &group);
		if (d.bad || !has(groups, group))
			return false;
	}
	return true;
}

/* Whoever leaves groups out means to be served without them. */
static void serve_as(struct ff3_req_hello *hello, const struct ucred *who, struct ff3_blob groups)
{
	if (is_true(hello, who, groups))
		return;
	hello->uid = who->uid;
	hello->gid = who->gid;
	hello->groups = groups;
}

/* Says once in a while who is refused. */
static void say_refused(struct ff3_conn *conn, int r)
{
	struct ff3_server *server = conn->server;
	uint64_t now = ff3_boottime_ns();

	ff3_server_count(&server->counters.tickets);
	if (server->ticket_said_ns && now - server->ticket_said_ns < SAY_NS)
		return;
	server->ticket_said_ns = now;
	ff3_warning("%s is refused: %s", conn->peer,
		    r == -ENOKEY      ? "it came without a ticket" :
		    r == -EKEYEXPIRED ? "its ticket has expired" :
					"its ticket is none of this cluster's key");
}

static int identify_by_ticket(struct ff3_conn *conn, struct ff3_req_hello *hello, uint8_t groups[FF3_CONN_GROUPS])
{
	struct ff3_ticket t;
	int r;

	if (!conn->by->tickets)
		return 0;
	r = ff3_ticket_verify(conn->by->tickets, hello->credential, ff3_realtime_ns() / FF3_NSEC_PER_MSEC, groups, &t);
	if (r < 0) {
		say_refused(conn, r);
		return FF3_E_CREDENTIAL;
	}
	if (t.uid == 0)
		return 0;
	if (hello->role != FF3_ROLE_CLIENT)
		return -EACCES;
	serve_as(hello, &(struct ucred){ .uid = t.uid, .gid = t.gid }, t.groups);
	return 0;
}

int ff3_conn_identify(struct ff3_conn *conn, struct ff3_req_hello *hello, uint8_t groups[FF3_CONN_GROUPS])
{
	struct ff3_blob list = { NULL, 0 };
	int r;

	if (!conn->local)
		return identify_by_ticket(conn, hello, groups);
	if (may_speak_for_others(&conn->cred))
		return 0;
	if (hello->role != FF3_ROLE_CLIENT)
		return -EACCES;
	r = groups_of(conn->fd, groups, &list);
	if (r < 0)
		return r;
	serve_as(hello, who_it_is(conn), list);
	return 0;
}
