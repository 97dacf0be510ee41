/* Purpose: the exchange of hellos on a socket that is connected to a daemon, and what is known from it.
 *
 * Threads: any; peer->lock guards what is no atomic. Signals: EINTR is handled. */
#include <poll.h>

#include "../base/crc32c.h"
#include "rpc_priv.h"

int ff3_rpc_wait_fd(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = ff3_boottime_ns();
		int r;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)((deadline_ns - now) / FF3_NSEC_PER_MSEC) + 1);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

/* cred: goes with the bytes of a local socket; may be NULL. */
static ssize_t send_some(int fd, const uint8_t *p, size_t len, const struct ucred *cred)
{
	struct iovec iov = { (void *)p, len };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof *cred)];
	} control = { .room = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (cred) {
		control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof *cred),
						 .cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_CREDENTIALS };
		memcpy(CMSG_DATA(&control.head), cred, sizeof *cred);
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int send_all(int fd, const uint8_t *p, size_t len, const struct ucred *cred, uint64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = send_some(fd, p, len, cred);
		int r = 0;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			r = ff3_rpc_wait_fd(fd, POLLOUT, deadline_ns);
		} else if (errno != EINTR) {
			r = ff3_rpc_send_error(errno);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int recv_all(int fd, uint8_t *p, size_t len, uint64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = recv(fd, p, len, MSG_DONTWAIT);
		int r = 0;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n == 0) {
			r = -ECONNRESET;
		} else if (errno == EAGAIN) {
			r = ff3_rpc_wait_fd(fd, POLLIN, deadline_ns);
		} else if (errno != EINTR) {
			r = -errno;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Whoever has the address next must be of the cluster that had it first. */
static uint64_t cluster_of(const struct ff3_rpc_peer *peer)
{
	if (peer->identity.cluster)
		return peer->identity.cluster;
	return peer->options.known ? atomic_load(&peer->options.known->cluster) :
				     atomic_load(&peer->cluster);
}

/* The links that would be preferred to the one that is made, and do not work. What this machine has no device
 * for was not to be expected. */
static struct ff3_blob tried(const struct ff3_rpc_peer *peer, enum ff3_link_kind link,
			     uint8_t buf[2 * FF3_LINK_N])
{
	struct ff3_enc e = ff3_enc_init(buf, 2 * FF3_LINK_N);

	for (unsigned i = 0; i < FF3_LINK_N && peer->order[i] && peer->order[i]->kind != link; i++) {
		uint8_t kind = peer->order[i]->kind;
		int r = atomic_load(&peer->links[kind].error);
		uint8_t why = ff3_link_reason(r);

		if (r == 0 || r == -ENODEV)
			continue;
		ff3_put_u8(&e, &kind);
		ff3_put_u8(&e, &why);
	}
	return (struct ff3_blob){ buf, (uint32_t)e.len };
}

/* None over local links: there the kernel says who it is. */
static struct ff3_blob credential(const struct ff3_rpc_identity *id, enum ff3_link_kind link,
				  char text[FF3_TICKET_MAX + 1])
{
	int len = 0;

	if (link == FF3_LINK_SHM || link == FF3_LINK_UNIX)
		return (struct ff3_blob){ NULL, 0 };
	if (id->ticket)
		len = id->ticket(id->ticket_arg, text);
	return len > 0 ? (struct ff3_blob){ text, (uint32_t)len } : id->credential;
}

int ff3_rpc_hello(const struct ff3_rpc_peer *peer, const struct ff3_rpc_user *other,
		  enum ff3_link_kind link, uint8_t **ret, size_t *ret_len)
{
	const struct ff3_rpc_identity *id = &peer->identity;
	const struct ff3_rpc_user own = { id->uid, id->gid, id->groups, id->n_groups };
	const struct ff3_rpc_user *user = other ? other : &own;
	uint32_t n_groups = MIN(user->n_groups, FF3_GROUPS_MAX);
	uint8_t groups[4 * FF3_GROUPS_MAX], links[2 * FF3_LINK_N];
	char ticket[FF3_TICKET_MAX + 1];
	struct ff3_enc e = ff3_enc_init(groups, sizeof groups);
	uint8_t *frame;
	char host[256] = "";
	struct ff3_req_hello hello = {
		.cluster = cluster_of(peer),
		.session = id->session,
		.role = id->role,
		.uid = user->uid,
		.gid = user->gid,
		.target = peer->options.target,
		.pid = (uint32_t)getpid(),
		.link = (uint8_t)link,
		.tried = tried(peer, link, links),
		.credential = credential(id, link, ticket),
		.epoch = id->epoch,
		.member = id->member,
		.log_id = id->log_id,
	};
	struct ff3_header h = { .op = FF3_OP_hello, .request_id = 1 };
	size_t len;

	for (uint32_t i = 0; i < n_groups; i++)
		ff3_put_u32(&e, &user->groups[i]);
	hello.groups = (struct ff3_blob){ groups, (uint32_t)e.len };
	if (gethostname(host, sizeof host - 1) < 0)
		host[0] = '\0';
	hello.host = ff3_str_from(host);
	len = ff3_encode_req_hello(NULL, 0, &hello);
	if (len > FF3_BODY_MAX)
		return -E2BIG;
	frame = malloc(FF3_HEADER_SIZE + len);
	if (!frame)
		return -ENOMEM;
	ff3_encode_req_hello(frame + FF3_HEADER_SIZE, len, &hello);
	h.body_len = (uint32_t)len;
	h.body_crc = ff3_crc32c(0, frame + FF3_HEADER_SIZE, len);
	ff3_header_encode(frame, &h);
	*ret = frame;
	*ret_len = FF3_HEADER_SIZE + len;
	return 0;
}

/* A daemon takes the kernel's word for who we are. It lets us name our real, effective or saved user; where we mean
 * another one (whom we may not be), or were this one before, the daemon hears of the effective one. */
static int send_hello(const struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		      const struct ff3_rpc_up *up, uint64_t deadline_ns)
{
	struct ucred cred = { getpid(), user ? user->uid : peer->identity.uid,
			      user ? user->gid : peer->identity.gid };
	_cleanup_free_ uint8_t *frame = NULL;
	size_t len;
	int r = ff3_rpc_hello(peer, user, up->link->kind, &frame, &len);

	if (r < 0)
		return r;
	if (!up->link->local)
		return send_all(up->fd, frame, len, NULL, deadline_ns);
	r = send_all(up->fd, frame, len, &cred, deadline_ns);
	if (r == -EPERM || r == -EINVAL) {
		cred.uid = geteuid();
		cred.gid = getegid();
		r = send_all(up->fd, frame, len, &cred, deadline_ns);
	}
	/* One that its user namespace has no number for. */
	return r == -EPERM || r == -EINVAL ? send_all(up->fd, frame, len, NULL, deadline_ns) : r;
}

/* The daemon does not serve, and says who does. */
static void note_primary(struct ff3_rpc_up *up, const void *body, size_t len)
{
	struct ff3_dec d = ff3_dec_init(body, len);
	struct ff3_not_primary n;

	ff3_get_not_primary(&d, &n);
	if (d.bad || n.primary.len >= sizeof up->primary)
		return;
	memcpy(up->primary, n.primary.p, n.primary.len);
	up->primary[n.primary.len] = '\0';
	up->greeting.epoch = n.epoch;
}

/* For all peers of a group. FF3_E_NOT_PRIMARY: a later primary has said hello before; FF3_E_CLUSTER: one
 * of another cluster has, meanwhile. */
static int know(struct ff3_rpc_known *known, const struct ff3_rep_hello *reply)
{
	uint64_t epoch = atomic_load(&known->epoch), cluster = 0;

	if (!atomic_compare_exchange_strong(&known->cluster, &cluster, reply->cluster) &&
	    cluster != reply->cluster)
		return FF3_E_CLUSTER;
	while (epoch < reply->epoch && !atomic_compare_exchange_weak(&known->epoch, &epoch, reply->epoch))
		;
	if (epoch > reply->epoch)
		return FF3_E_NOT_PRIMARY;
	atomic_store(&known->lease_ms, reply->lease_ms);
	return 0;
}

/* A member that has no log yet is of no cluster. */
static bool is_of(const struct ff3_rpc_peer *peer, uint64_t cluster)
{
	uint64_t ours = cluster_of(peer);

	return ours == 0 || cluster == ours || (cluster == 0 && peer->identity.role == FF3_ROLE_MEMBER);
}

int ff3_rpc_hello_reply(struct ff3_rpc_peer *peer, const uint8_t *frame, size_t len,
			struct ff3_rpc_up *up)
{
	const uint8_t *body = frame + FF3_HEADER_SIZE;
	struct ff3_header h;
	struct ff3_rep_hello reply;
	int r = len >= FF3_HEADER_SIZE ? ff3_header_decode(frame, &h) : -EBADMSG;

	if (r == FF3_E_VERSION)
		atomic_store(&peer->version, ff3_header_version(frame));
	if (r < 0)
		return r;
	if (!(h.flags & FF3_FRAME_REPLY) || len != FF3_HEADER_SIZE + (size_t)h.body_len)
		return -EBADMSG;
	if (h.op != FF3_OP_hello || ff3_crc32c(0, body, h.body_len) != h.body_crc)
		return h.status ? ff3_err_from_wire(h.status) : -EBADMSG;
	r = ff3_err_from_wire(h.status);
	if (r == FF3_E_NOT_PRIMARY)
		note_primary(up, body, h.body_len);
	/* With the right checksum it is what the daemon meant, and means something else to it. */
	if (r == 0 && ff3_decode_rep_hello(body, h.body_len, &reply) < 0)
		r = FF3_E_VERSION;
	if (r == FF3_E_VERSION)
		atomic_store(&peer->version, FF3_PROTOCOL_VERSION);
	if (r < 0)
		return r;
	if (!is_of(peer, reply.cluster))
		return FF3_E_CLUSTER;
	r = peer->options.known ? know(peer->options.known, &reply) : 0;
	if (r < 0)
		return r;
	up->greeting = (struct ff3_rpc_greeting){ reply.epoch, reply.member, reply.log_id };
	atomic_store(&peer->instance, reply.instance);
	atomic_store(&peer->cluster, reply.cluster);
	atomic_store(&peer->lease_ms, reply.lease_ms);
	up->instance = reply.instance;
	up->transports = reply.transports;
	atomic_store(&peer->transports, reply.transports);
	return 0;
}

static int recv_hello(struct ff3_rpc_peer *peer, int fd, uint64_t deadline_ns,
		      struct ff3_rpc_up *up)
{
	uint8_t frame[FF3_HEADER_SIZE + FF3_RPC_HELLO_MAX];
	struct ff3_header h;
	int r = recv_all(fd, frame, FF3_HEADER_SIZE, deadline_ns);

	if (r < 0)
		return r;
	r = ff3_header_decode(frame, &h);
	if (r == FF3_E_VERSION)
		atomic_store(&peer->version, ff3_header_version(frame));
	if (r < 0)
		return r;
	if (h.payload_len > 0 || h.body_len > FF3_RPC_HELLO_MAX)
		return -EBADMSG;
	r = recv_all(fd, frame + FF3_HEADER_SIZE, h.body_len, deadline_ns);
	return r < 0 ? r : ff3_rpc_hello_reply(peer, frame, FF3_HEADER_SIZE + h.body_len, up);
}

uint64_t ff3_rpc_connect_until(const struct ff3_rpc_peer *peer, uint64_t deadline_ns)
{
	uint64_t until = ff3_boottime_ns() + peer->options.connect_timeout_ms * FF3_NSEC_PER_MSEC;

	return deadline_ns ? MIN(until, deadline_ns) : until;
}

int ff3_rpc_greet(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t deadline_ns,
		  struct ff3_rpc_up *up)
{
	uint64_t until = ff3_rpc_connect_until(peer, deadline_ns);
	int r = send_hello(peer, user, up, until);

	up->reached = true;
	if (r == 0)
		r = recv_hello(peer, up->fd, until, up);
	if (r < 0)
		up->why = r == FF3_E_VERSION ? "it speaks another protocol version" :
			  r == FF3_E_CLUSTER ? "it is of another cluster" :
					       "the daemon does not greet";
	return r;
}

void ff3_rpc_cut_socket(struct ff3_rpc_conn *conn)
{
	shutdown(conn->fd, SHUT_RDWR);
}

/* --- What hellos said ---------------------------------------------------------------------- */

uint64_t ff3_rpc_peer_instance(const struct ff3_rpc_peer *peer)
{
	return atomic_load(&peer->instance);
}

uint32_t ff3_rpc_peer_lease_ms(const struct ff3_rpc_peer *peer)
{
	return atomic_load(&peer->lease_ms);
}

unsigned ff3_rpc_peer_version(const struct ff3_rpc_peer *peer)
{
	return atomic_load(&peer->version);
}

uint64_t ff3_rpc_peer_cluster(const struct ff3_rpc_peer *peer)
{
	return atomic_load(&peer->cluster);
}

struct ff3_rpc_greeting ff3_rpc_peer_greeting(struct ff3_rpc_peer *peer)
{
	struct ff3_rpc_greeting g;

	pthread_mutex_lock(&peer->lock);
	g = peer->greeting;
	pthread_mutex_unlock(&peer->lock);
	return g;
}

void ff3_rpc_peer_primary(struct ff3_rpc_peer *peer, char ret[FF3_RPC_ADDRESS_MAX], uint64_t *ret_epoch)
{
	pthread_mutex_lock(&peer->lock);
	memcpy(ret, peer->primary, FF3_RPC_ADDRESS_MAX);
	*ret_epoch = peer->primary_epoch;
	pthread_mutex_unlock(&peer->lock);
}
