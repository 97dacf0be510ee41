/* Purpose: as whom the process at the other end of a local socket is served.
 *
 * Over a network a hello is believed; of a process of this host the kernel knows better. Root and the daemon's own user
 * may act for others (ff3fs-mount does, and daemons are of other roles). Anybody else is who the kernel says it is:
 * who is root in a user namespace of its own is its user outside.
 *
 * Threads: the connection's loop. Nothing is kept. */
#include "server_priv.h"

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

int ff3_conn_identify(const struct ff3_conn *conn, struct ff3_req_hello *hello, uint8_t groups[FF3_CONN_GROUPS])
{
	const struct ucred *cred = ff3_conn_cred(conn);
	struct ff3_blob list;
	int r;

	if (!cred || cred->uid == 0 || cred->uid == geteuid())
		return 0;
	if (hello->role != FF3_ROLE_CLIENT)
		return -EACCES;
	r = groups_of(conn->fd, groups, &list);
	if (r < 0)
		return r;
	hello->uid = cred->uid;
	hello->gid = cred->gid;
	hello->groups = list;
	return 0;
}
