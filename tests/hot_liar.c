/* Asks for a file's memory as no client of ours would, against real daemons: e2e-users.sh starts those.
 *
 *   hot_liar itself FILE      as who this process is: gets it
 *   hot_liar for:UID FILE     as somebody else, by speaking for it: gets it
 *   hot_liar lies FILE        by being root to metad, over a network: is refused
 *   hot_liar as:UID FILE      by being that user to metad: is refused
 *   hot_liar in:GID FILE      by being in that group to metad: is refused
 *
 * The chunk daemon is always asked over its local socket. */
#include "hot-client.h"

#define SECONDS(n) (ff3_boottime_ns() + (n) * FF3_NSEC_PER_SEC)

static struct ff3_rpc_peer *chunkd_of(struct ff3fs *c, struct ff3fs_file *f)
{
	struct ff3_route route;

	OK(ff3_route_find(c, ff3_inode_chain(f->inode, 0), &route));
	return peer_as(c, &route, c->session);
}

/* The daemon learns the keys with its heartbeats. */
static void gets(struct ff3fs *c, const char *name)
{
	struct ff3fs_file *f = must_open(c, name, O_RDONLY);
	struct ff3_rpc_peer *rpc = chunkd_of(c, f);
	struct exposed x;
	int r;

	OK(ff3_inode_renew_cap(f->inode));
	while ((r = expose(rpc, f->inode->ino, f->inode->hot.cap, f->inode->hot.cap_len, &x)) == -EACCES ||
	       r == -EAGAIN)
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	OK(r);
	EQ(x.n, 2);
	ff3_rpc_peer_free(rpc);
	OK(ff3fs_close(f));
}

/* --- Lies -------------------------------------------------------------------------------------- */

static struct ff3_rpc_peer *metad_as(struct ff3fs *c, uint32_t uid, enum ff3_link_kind link)
{
	struct ff3_rpc_identity identity = { .session = c->session, .role = FF3_ROLE_CLIENT, .uid = uid, .gid = uid };
	struct ff3_rpc_options options = { .sockets = c->conf.client.sockets, .links = { 1, { link } } };
	struct ff3_rpc_peer *rpc;

	OK(ff3_rpc_peer_new(c->conf.client.metad, &identity, &options, &rpc));
	return rpc;
}

/* Returns the reply's length. */
static size_t ask(struct ff3_rpc_peer *rpc, uint16_t op, const uint8_t *body, size_t len, uint8_t reply[1024])
{
	struct ff3_rpc_call call = { .op = op, .body = body, .body_len = len, .reply = reply, .reply_size = 1024 };

	OK(ff3_rpc_call(rpc, &call, SECONDS(20)));
	return call.reply_len;
}

/* A capability that says nothing is not asked with. */
static void is_worth_nothing(struct ff3_rpc_peer *chunkd, uint64_t ino, struct ff3_blob cap)
{
	if (cap.len > 0)
		refused(chunkd, ino, cap.p, cap.len);
}

/* By a connection of whom the kernel vouches for, to the session that was let read the file as root. */
static void reopen(struct ff3_rpc_peer *metad, struct ff3_rpc_peer *chunkd, uint64_t ino)
{
	struct ff3_rep_reopen rep;
	uint8_t body[64], reply[1024];
	size_t len = ff3_encode_req_reopen(body, sizeof body, &(struct ff3_req_reopen){ ino, FF3_OPEN_READ });

	len = ask(metad, FF3_OP_reopen, body, len, reply);
	OK(ff3_decode_rep_reopen(reply, len, &rep));
	is_worth_nothing(chunkd, ino, rep.cap);
}

/* An open that was logged, as those are whose number may have been answered before. */
static void open_by_number(struct ff3_rpc_peer *metad, struct ff3_rpc_peer *chunkd, const char *name, uint64_t seq)
{
	struct ff3_req_open req = { .tag = { seq, 0 },
				    .at = { FF3_ROOT_INO, 0, ff3_str_from(name) },
				    .flags = FF3_OPEN_READ | FF3_OPEN_CREATE };
	struct ff3_rep_open rep;
	uint8_t body[512], reply[1024];
	size_t len = ask(metad, FF3_OP_open, body, ff3_encode_req_open(body, sizeof body, &req), reply);

	OK(ff3_decode_rep_open(reply, len, &rep));
	is_worth_nothing(chunkd, rep.attr.ino, rep.cap);
}

static void make_dir(struct ff3_rpc_peer *metad, uint64_t seq)
{
	struct ff3_req_mkdir req = { .tag = { seq, 0 }, .at = { .dir = FF3_ROOT_INO }, .mode = 0700 };
	uint8_t body[512], reply[1024];
	char name[32];

	snprintf(name, sizeof name, "liar-%d", getpid());
	req.at.path = ff3_str_from(name);
	ask(metad, FF3_OP_mkdir, body, ff3_encode_req_mkdir(body, sizeof body, &req), reply);
}

/* To metad it may read the file, and to the chunk daemon not. */
static struct ff3_rpc_peer *is_refused(struct ff3fs *c, struct ff3fs_file *f)
{
	struct ff3_rpc_peer *chunkd = chunkd_of(c, f);

	OK(ff3_inode_renew_cap(f->inode));
	CHECK(f->inode->hot.cap_len > 0);
	refused(chunkd, f->inode->ino, f->inode->hot.cap, f->inode->hot.cap_len);
	return chunkd;
}

static void mode_as(uid_t user, gid_t group, const char *name)
{
	struct ff3fs_file *f;
	struct ff3fs *c;

	OK(ff3fs_new_as(NULL, user, getegid(), &group, 1, &c));
	f = must_open(c, name, O_RDONLY);
	ff3_rpc_peer_free(is_refused(c, f));
	OK(ff3fs_close(f));
	ff3fs_free(c);
}

static void mode_lies(const char *name)
{
	struct ff3_rpc_peer *as_root, *as_oneself, *chunkd;
	struct ff3fs_file *f;
	struct ff3fs *c;

	OK(ff3fs_new_as(NULL, 0, 0, NULL, 0, &c));
	f = must_open(c, name, O_RDONLY);
	chunkd = is_refused(c, f);

	as_root = metad_as(c, 0, FF3_LINK_TCP);
	as_oneself = metad_as(c, geteuid(), FF3_LINK_UNIX);
	reopen(as_oneself, chunkd, f->inode->ino);
	make_dir(as_root, 1000);
	open_by_number(as_root, chunkd, name, 999);
	/* Its answer is given again to whoever has the number. */
	open_by_number(as_oneself, chunkd, "no-such-file", 999);
	reopen(as_oneself, chunkd, f->inode->ino);
	ff3_rpc_peer_free(as_oneself);
	ff3_rpc_peer_free(as_root);
	ff3_rpc_peer_free(chunkd);
	OK(ff3fs_close(f));
	ff3fs_free(c);
}

int main(int argc, char **argv)
{
	const char *mode = argc == 3 ? argv[1] : "";
	struct ff3fs *c = NULL;

	if (strcmp(mode, "lies") == 0) {
		mode_lies(argv[2]);
		return 0;
	}
	if (strncmp(mode, "as:", 3) == 0 || strncmp(mode, "in:", 3) == 0) {
		bool user = mode[0] == 'a';

		mode_as(user ? (uid_t)atoi(mode + 3) : geteuid(), user ? getegid() : (gid_t)atoi(mode + 3), argv[2]);
		return 0;
	}
	if (strcmp(mode, "itself") == 0)
		c = new_client();
	else if (strncmp(mode, "for:", 4) == 0)
		OK(ff3fs_new_as(NULL, (uid_t)atoi(mode + 4), (gid_t)atoi(mode + 4), NULL, 0, &c));
	else
		return 2;
	gets(c, argv[2]);
	ff3fs_free(c);
	return 0;
}
