/* What a window over RDMA is worth when it is over: nothing, also to a client that does not look at its word.
 *
 *   verbs_stale
 *
 * Asks for windows as the client does, and reads by them as no client would: after a write, a truncation, an
 * unlink, a change of mode; by somebody else's key; and beside the chunk, which Soft-RoCE of Linux 6.1
 * allows within the daemon's memory for chunks (its bounds are printed). Its links break, and the next read
 * comes by another one. Against real daemons: tests/vm/rdma-hot.sh starts them. */
#include "../common/net/rpc_verbs.h"
#include "hot-client.h"

#define SIZE KIB(128)

struct granted {
	struct ff3_rpc_window w;
	struct ff3_rep_chunk_expose rep;
	uint8_t reply[4096];
};

static void write_all(struct ff3fs *c, const char *name, int byte)
{
	struct ff3fs_file *f = must_open(c, name, O_WRONLY | O_CREAT);
	static char buf[SIZE];

	memset(buf, byte, SIZE);
	EQ(ff3fs_pwrite(f, buf, SIZE, 0), SIZE);
	OK(ff3fs_close(f));
}

static int ask_once(struct ff3fs *c, struct ff3fs_file *f, struct granted *g)
{
	struct ff3_inode *inode = f->inode;
	struct ff3_req_chunk_expose req = { .ino = inode->ino,
					    .cap = { inode->hot.cap, inode->hot.cap_len } };
	struct ff3_rpc_call call = { .op = FF3_OP_chunk_expose,
				     .reply = g->reply,
				     .reply_size = sizeof g->reply,
				     .asks = &g->w };
	struct ff3_route route;
	uint8_t body[256];
	int r;

	OK(ff3_route_find(c, ff3_inode_chain(inode, 0), &route));
	req.chain = route.chain;
	req.chain_version = route.version;
	call.body = body;
	call.body_len = ff3_encode_req_chunk_expose(body, sizeof body, &req);
	r = ff3_rpc_call(route.peer->rpc, &call, ff3_boottime_ns() + 20 * FF3_NSEC_PER_SEC);
	if (r == 0)
		OK(ff3_decode_rep_chunk_expose(g->reply, call.reply_len, &g->rep));
	return r;
}

/* The daemon learns the keys with its heartbeats. */
static void ask(struct ff3fs *c, struct ff3fs_file *f, struct granted *g)
{
	int r;

	if (f->inode->hot.cap_len == 0)
		OK(ff3_inode_renew_cap(f->inode));
	while ((r = ask_once(c, f, g)) == -EACCES || r == -EAGAIN || ff3_retriable(r))
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	OK(r);
	EQ(g->rep.kind, FF3_EXPOSED_WINDOW);
	EQ(g->rep.chunk_size, SIZE);
	CHECK(g->w.conn);
	g->w.addr = g->rep.addr;
	g->w.rkey = g->rep.rkey;
}

static int copy_out(struct ff3_rpc_call *call, const uint8_t *data, size_t len)
{
	memcpy(call->user, data, len);
	return 0;
}

static int fetch(const struct ff3_rpc_window *w, uint32_t at, char *buf, uint32_t len)
{
	struct ff3_rpc_call call = { .window = w, .window_at = at, .window_len = len, .landed = copy_out,
				     .user = buf };
	struct ff3_rpc_call *calls = &call;
	int r = ff3_rpc_start_read(&call);

	if (r == 0) {
		ff3_rpc_wait(&calls, 1, ff3_boottime_ns() + 20 * FF3_NSEC_PER_SEC);
		r = call.status;
	}
	return r;
}

static bool all_bytes(const char *buf, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte)
			return false;
	return true;
}

/* A client that knows better than its word. */
static void insist(const struct ff3_rpc_window *w)
{
	struct ff3_rpc_conn *conn = w->conn;

	pthread_mutex_lock(&conn->lock);
	if (conn->state == FF3_CONN_UP && conn->epoch == w->epoch) {
		const struct ff3_verbs_state *s = conn->link_state;

		*(volatile uint64_t *)(void *)(s->words.p + w->word * FF3_VERBS_WORD) = 1;
	}
	pthread_mutex_unlock(&conn->lock);
}

/* answered: who changed the chunk was told that it is done. If not, the client is told a moment before its
 * key is void, and how long that moment is is up to the machine. */
static void over(struct granted *g, const char *after, bool answered)
{
	uint64_t limit = ff3_boottime_ns() + (answered ? 0 : 60 * FF3_NSEC_PER_SEC);
	static char buf[4096];
	int n = -1, r;

	printf("after %s: ", after);
	while (!ff3_rpc_window_is_over(&g->w)) {
		CHECK(ff3_boottime_ns() < limit);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	EQ(fetch(&g->w, 0, buf, sizeof buf), -ESTALE);
	do {
		insist(&g->w);
		memset(buf, 7, sizeof buf);
		r = fetch(&g->w, 0, buf, sizeof buf);
		n++;
	} while (r == 0 && ff3_boottime_ns() < limit);
	EQ(r, -ECONNRESET); /* not by anybody's patience */
	EQ(all_bytes(buf, 7, sizeof buf), 1);
	printf("no data, %d reads in that moment\n", n);
}

static void reads(struct granted *g, int byte)
{
	static char buf[SIZE];

	OK(fetch(&g->w, 0, buf, SIZE));
	EQ(all_bytes(buf, byte, SIZE), 1);
}

static void changes(struct ff3fs *c, struct ff3fs *d)
{
	struct ff3fs_file *f;
	struct granted g;
	char buf[4096];

	write_all(c, "stale", 1);
	f = must_open(c, "stale", O_RDONLY);
	ask(c, f, &g);
	reads(&g, 1);
	write_all(d, "stale", 2);
	over(&g, "a write", true);
	EQ(ff3fs_pread(f, buf, sizeof buf, 0), (long long)sizeof buf);
	EQ(all_bytes(buf, 2, sizeof buf), 1);
	ask(c, f, &g);
	reads(&g, 2);
	OK(ff3fs_truncate(d, FF3FS_ROOT, "stale", 0));
	over(&g, "a truncation", false);
	write_all(d, "stale", 3);
	EQ(ff3fs_pread(f, buf, sizeof buf, 0), (long long)sizeof buf);
	EQ(all_bytes(buf, 3, sizeof buf), 1);
	ask(c, f, &g);
	reads(&g, 3);
	OK(ff3fs_chmod(d, FF3FS_ROOT, "stale", 0640, 0));
	over(&g, "a change of mode", false);
	OK(ff3fs_close(f));

	f = must_open(c, "stale", O_RDONLY);
	ask(c, f, &g);
	reads(&g, 3);
	OK(ff3fs_unlink(d, FF3FS_ROOT, "stale"));
	OK(ff3fs_close(f));
	over(&g, "an unlink", false);
}

/* The key is its connection's. */
static void strangers(struct ff3fs *c, struct ff3fs *d)
{
	struct ff3fs_file *f, *g;
	struct granted ours, theirs;
	struct ff3_rpc_window stolen;
	char buf[4096];

	write_all(c, "ours", 4);
	write_all(c, "theirs", 5);
	f = must_open(c, "ours", O_RDONLY);
	g = must_open(d, "theirs", O_RDONLY);
	ask(c, f, &ours);
	ask(d, g, &theirs);
	stolen = theirs.w;
	stolen.addr = ours.w.addr;
	stolen.rkey = ours.w.rkey;
	EQ(fetch(&stolen, 0, buf, sizeof buf) < 0, 1);
	reads(&ours, 4);
	printf("somebody else's key: refused\n");
	/* A key that never was. */
	stolen = ours.w;
	stolen.rkey ^= 0x55;
	EQ(fetch(&stolen, 0, buf, sizeof buf) < 0, 1);
	EQ(ff3_rpc_window_is_over(&ours.w), 1); /* with its link */
	OK(ff3fs_close(f));
	OK(ff3fs_close(g));
}

static void beside(struct ff3fs *c)
{
	struct ff3fs_file *f;
	struct granted g;
	char buf[4096];

	write_all(c, "beside", 6);
	f = must_open(c, "beside", O_RDONLY);
	ask(c, f, &g);
	reads(&g, 6);
	/* Whether this is refused is the device's affair; what is certain is the end of its memory. */
	printf("a block beside the chunk: %s\n", fetch(&g.w, SIZE, buf, sizeof buf) < 0 ? "refused" :
											  "read");
	ask(c, f, &g);
	g.w.addr -= (uint64_t)1 << 40;
	EQ(fetch(&g.w, 0, buf, sizeof buf) < 0, 1);
	OK(ff3fs_close(f));
}

int main(void)
{
	struct ff3fs *c = new_client(), *d = new_client();

	changes(c, d);
	strangers(c, d);
	beside(c);
	ff3fs_free(c);
	ff3fs_free(d);
	return 0;
}
