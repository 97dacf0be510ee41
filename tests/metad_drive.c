/* metad_drive ADDRESS check          what metad holds in memory and does once, step by step
 * metad_drive ADDRESS load NAME N    N directories of operations, each retried until it is answered; a
 *                                    line to standard output after every 20
 * metad_drive ADDRESS verify NAME N  everything that load was told to be done is there
 * metad_drive ADDRESS hold NAME      opens two files and removes their names; after each line from
 *                                    standard input: opens the first again (metad was restarted), then
 *                                    waits until the second is collected and the first is not
 * metad_drive ADDRESS truncate PATH SIZE   until it is answered
 * metad_drive ADDRESS node            a chunk daemon that is only heard of, so that files can be made
 * metad_drive ADDRESS fill NAME N    a file with N large changes, one after the other
 * metad_drive ADDRESS stale LIST     reads a value from the member ADDRESS as long as that answers, while
 *                                    it is changed by whichever of LIST is the primary: no answer may
 *                                    have an older value than was acknowledged when it was asked for
 *
 * ADDRESS may be a list with commas, of a group's members. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "metad_client.h"

static const char *address;

#define EXPECT(expected, expression)                                                               \
	do {                                                                                       \
		long _want = (long)(expected), _got = (long)(expression);                          \
		if (_want != _got) {                                                               \
			fprintf(stderr, "%s:%d: %s is %ld, not %ld\n", __FILE__, __LINE__,         \
				#expression, _got, _want);                                         \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define ROOT(path) mc_at(FF3_ROOT_INO, path, 0)

static struct mc *client(uint64_t session, uint32_t uid)
{
	struct mc *c;

	EXPECT(0, mc_new(address, session, uid, uid, FF3_ROLE_CLIENT, &c));
	return c;
}

static uint64_t open_file(struct mc *c, const char *path, uint32_t flags)
{
	struct ff3_rep_open p;

	EXPECT(0, MC(c, open, &p, .tag = mc_tag(c), .at = ROOT(path), .flags = flags, .mode = 0644));
	return p.attr.ino;
}

static long size_of(struct mc *c, uint64_t ino)
{
	struct ff3_rep_lookup p;
	int r = MC(c, lookup, &p, .at = { .dir = ino });

	return r < 0 ? r : (long)p.attr.size;
}

/* A request that is sent again with the same tag, also over another connection, is done once. */
static void check_retries(void)
{
	struct mc *a = client(0, 0), *b = client(a->session, 0);
	struct ff3_tag tag = mc_tag(a);
	struct ff3_rep_mkdir first, second;
	struct ff3_rep_lookup l;

	EXPECT(0, MC(a, mkdir, &first, .tag = tag, .at = ROOT("once"), .mode = 0755));
	EXPECT(0, MC(b, mkdir, &second, .tag = tag, .at = ROOT("once"), .mode = 0755));
	EXPECT(first.attr.ino, second.attr.ino);
	tag = mc_tag(a);
	EXPECT(0, MC_DO(a, rmdir, .tag = tag, .at = ROOT("once")));
	EXPECT(0, MC_DO(b, rmdir, .tag = tag, .at = ROOT("once")));
	EXPECT(-ENOENT, MC_DO(a, rmdir, .tag = mc_tag(a), .at = ROOT("once")));
	tag = mc_tag(a);
	EXPECT(0, MC_DO(a, open, .tag = tag, .at = ROOT("excl"),
			.flags = FF3_OPEN_CREATE | FF3_OPEN_EXCLUSIVE | FF3_OPEN_WRITE, .mode = 0400));
	EXPECT(0, MC_DO(b, open, .tag = tag, .at = ROOT("excl"),
			.flags = FF3_OPEN_CREATE | FF3_OPEN_EXCLUSIVE | FF3_OPEN_WRITE, .mode = 0400));
	/* A duplicate that arrives after its answer was acknowledged does nothing. */
	EXPECT(0, MC_DO(a, unlink, .tag = mc_tag(a), .at = ROOT("excl")));
	for (unsigned i = 0; i < 70; i++)
		EXPECT(0, MC_DO(a, setattr, .tag = mc_tag(a), .at = ROOT(""), .valid = FF3_SET_MODE,
				.mode = 01777));
	EXPECT(-ECANCELED, MC_DO(b, open, .tag = tag, .at = ROOT("excl"),
				 .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE, .mode = 0400));
	EXPECT(-ENOENT, MC(a, lookup, &l, .at = ROOT("excl")));
	mc_free(a);
	mc_free(b);
}

static void check_sizes(void)
{
	struct mc *a = client(0, 0), *b = client(0, 0);
	uint64_t ino = open_file(a, "sizes", FF3_OPEN_CREATE | FF3_OPEN_WRITE);
	struct ff3_rep_extend e;
	struct ff3_rep_commit c;

	EXPECT(0, size_of(b, ino));
	EXPECT(-EBADF, MC(b, extend, &e, .ino = ino, .end = 5));
	EXPECT(0, MC(a, extend, &e, .ino = ino, .end = 1000));
	EXPECT(1000, e.size);
	EXPECT(1000, size_of(b, ino));
	EXPECT(0, MC(a, commit, &c, .tag = mc_tag(a), .ino = ino));
	EXPECT(1000, c.attr.size);
	/* Cut while an end is held in memory. */
	EXPECT(0, MC(a, extend, &e, .ino = ino, .end = 3000000));
	EXPECT(0, MC_DO(a, truncate, .tag = mc_tag(a), .at = { .dir = ino }, .size = 10, .by_open = 1));
	EXPECT(10, size_of(b, ino));
	EXPECT(0, MC(a, commit, &c, .tag = mc_tag(a), .ino = ino));
	EXPECT(10, c.attr.size);
	EXPECT(0, MC(a, extend, &e, .ino = ino, .end = 20));
	EXPECT(20, size_of(b, ino));
	EXPECT(1, e.cuts);
	/* An end from before the cut, told again. */
	EXPECT(0, MC(a, extend, &e, .ino = ino, .end = 3000000, .again = 1, .cuts = 0));
	EXPECT(20, e.size);
	EXPECT(1, e.cuts);
	EXPECT(0, MC(a, commit, &c, .tag = mc_tag(a), .ino = ino, .end = 3000000, .again = 1, .cuts = 0));
	EXPECT(20, c.attr.size);
	EXPECT(1, c.attr.cuts);
	EXPECT(0, MC(a, extend, &e, .ino = ino, .end = 25, .again = 1, .cuts = 1));
	EXPECT(25, e.size);
	EXPECT(0, MC(a, commit, &c, .tag = mc_tag(a), .ino = ino, .end = 30, .again = 1, .cuts = 1));
	EXPECT(30, c.attr.size);
	/* A time that was set stays. */
	EXPECT(0, MC_DO(a, setattr, .tag = mc_tag(a), .at = { .dir = ino }, .valid = FF3_SET_MTIME,
			.mtime = { 12345, 0 }));
	EXPECT(0, MC(a, commit, &c, .tag = mc_tag(a), .ino = ino));
	EXPECT(12345, c.attr.mtime.sec);
	EXPECT(30, c.attr.size);
	open_file(b, "sizes", FF3_OPEN_WRITE | FF3_OPEN_TRUNCATE);
	EXPECT(0, size_of(a, ino));
	mc_free(a);
	mc_free(b);
}

/* Two appenders in turn; a holder that goes away loses its turn. */
static void check_append(void)
{
	struct mc *a = client(0, 0), *b = client(0, 0);
	uint64_t ino = open_file(a, "log", FF3_OPEN_CREATE | FF3_OPEN_WRITE | FF3_OPEN_APPEND);
	struct ff3_req_append_lock q = { .ino = ino };
	uint8_t reply[64], body[16];
	struct ff3_rpc_call wait = { .op = FF3_OP_append_lock, .body = body, .reply = reply,
				     .reply_size = sizeof reply }, *one = &wait;
	struct ff3_rep_append_lock p;
	struct ff3_rep_append e;
	struct ff3_tag first, tag;

	open_file(b, "log", FF3_OPEN_WRITE | FF3_OPEN_APPEND);
	EXPECT(0, MC(a, append_lock, &p, .ino = ino));
	EXPECT(0, p.size);
	wait.body_len = ff3_encode_req_append_lock(body, sizeof body, &q);
	EXPECT(0, ff3_rpc_start(b->peer, &wait));
	first = mc_tag(a);
	EXPECT(0, MC(a, append, &e, .tag = first, .ino = ino, .end = 100, .grant = p.grant));
	EXPECT(100, e.size);
	/* Asked again, it is answered again; one that never had the right never counts. */
	EXPECT(0, MC(a, append, &e, .tag = first, .ino = ino, .end = 100, .grant = p.grant));
	EXPECT(100, e.size);
	tag = mc_tag(a);
	tag.acked = first.seq;
	EXPECT(-ECANCELED, MC(a, append, &e, .tag = tag, .ino = ino, .end = 200, .grant = p.grant));
	EXPECT(-ECANCELED, MC(a, append, &e, .tag = tag, .ino = ino, .end = 200, .grant = p.grant));
	EXPECT(100, size_of(a, ino));
	EXPECT(0, ff3_rpc_wait(&one, 1, 0));
	EXPECT(0, ff3_decode_rep_append_lock(reply, wait.reply_len, &p));
	EXPECT(100, p.size);
	/* b holds it now, and dies. */
	memset(&wait, 0, sizeof wait);
	wait = (struct ff3_rpc_call){ .op = FF3_OP_append_lock, .body = body, .body_len = sizeof ino,
				      .reply = reply, .reply_size = sizeof reply };
	EXPECT(0, ff3_rpc_start(a->peer, &wait));
	mc_free(b);
	EXPECT(0, ff3_rpc_wait(&one, 1, 0));
	EXPECT(0, wait.status);
	mc_free(a);
}

/* An open file without a name stays until it is released. */
static void check_orphans(void)
{
	struct mc *a = client(0, 0), *b = client(0, 0);
	uint64_t ino = open_file(a, "orphan", FF3_OPEN_CREATE | FF3_OPEN_WRITE), until;
	struct ff3_rep_open p;
	struct ff3_rep_link l;

	EXPECT(0, MC_DO(b, unlink, .tag = mc_tag(b), .at = ROOT("orphan")));
	for (unsigned i = 0; i < 200; i++) /* longer than collecting takes */
		EXPECT(0, size_of(b, ino));
	EXPECT(-ENOENT, MC(b, link, &l, .tag = mc_tag(b), .from = { .dir = ino }, .to = ROOT("no")));
	EXPECT(0, MC_DO(a, release, .ino = ino, .n = 1));
	until = ff3_boottime_ns() + 10 * FF3_NSEC_PER_SEC;
	while (size_of(b, ino) != -ESTALE && ff3_boottime_ns() < until)
		continue;
	EXPECT(-ESTALE, size_of(b, ino));
	EXPECT(-ESTALE, MC_DO(b, reopen, .ino = ino, .flags = FF3_OPEN_READ));
	/* Without a name from the beginning, then with one. */
	EXPECT(0, MC(a, open, &p, .tag = mc_tag(a), .at = ROOT(""), .mode = 0600,
		     .flags = FF3_OPEN_TMPFILE | FF3_OPEN_WRITE));
	EXPECT(0, p.attr.nlink);
	EXPECT(0, MC(a, link, &l, .tag = mc_tag(a), .from = { .dir = p.attr.ino }, .to = ROOT("named")));
	EXPECT(1, l.attr.nlink);
	mc_free(a);
	mc_free(b);
}

static void check_layouts(void)
{
	struct mc *a = client(0, 0), *u = client(0, 1001);
	struct ff3_rep_get_layout g;
	struct ff3_rep_open p;
	struct ff3_rep_get_path path;

	EXPECT(0, MC_DO(a, mkdir, .tag = mc_tag(a), .at = ROOT("wide"), .mode = 0777));
	EXPECT(0, MC_DO(a, set_layout, .tag = mc_tag(a), .at = ROOT("wide"), .chunk_size = 65536,
			.stripe = 1));
	EXPECT(-EPERM, MC_DO(u, set_layout, .tag = mc_tag(u), .at = ROOT("wide")));
	EXPECT(-EINVAL, MC_DO(a, set_layout, .tag = mc_tag(a), .at = ROOT("wide"), .chunk_size = 70000));
	EXPECT(0, MC_DO(a, mkdir, .tag = mc_tag(a), .at = ROOT("wide/below"), .mode = 0777));
	EXPECT(0, MC(a, open, &p, .tag = mc_tag(a), .at = ROOT("wide/below/f"), .mode = 0600,
		     .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE));
	EXPECT(65536, p.layout.chunk_size);
	EXPECT(1, ff3_layout_n_stripe(&p.layout));
	EXPECT(0, MC(a, get_layout, &g, .at = ROOT("wide/below")));
	EXPECT(0, g.own);
	EXPECT(65536, g.layout.chunk_size);
	EXPECT(0, MC_DO(a, set_layout, .tag = mc_tag(a), .at = ROOT("wide")));
	EXPECT(0, MC(a, get_layout, &g, .at = ROOT("wide/below/f")));
	EXPECT(65536, g.layout.chunk_size);
	EXPECT(0, MC(a, get_layout, &g, .at = ROOT("wide/below")));
	EXPECT(FF3_CHUNK_SIZE_DEFAULT, g.layout.chunk_size);
	EXPECT(0, MC(a, get_path, &path, .ino = p.attr.ino));
	EXPECT(0, path.path.len != 13 || memcmp(path.path.p, "/wide/below/f", 13) != 0);
	mc_free(a);
	mc_free(u);
}

/* --- Under load -------------------------------------------------------------------------------- */

/* Again and again, as long as nobody answered. */
static int call_until_answered(struct mc *c, uint16_t op, size_t body_len)
{
	const struct timespec pause = { 0, 2 * 1000 * 1000 };
	const char *slower = getenv("FF3FS_TEST_SLOWER");
	uint64_t until = ff3_boottime_ns() + 60 * FF3_NSEC_PER_SEC * (slower ? strtoul(slower, NULL, 10) : 1);
	int r;

	while ((r = mc_call(c, op, body_len)) < 0 &&
	       (ff3_err_class(r) == FF3_CLASS_RETRY_SAME || r == FF3_E_NOT_PRIMARY) && ff3_boottime_ns() < until)
		nanosleep(&pause, NULL);
	return r;
}

#define SURELY(client, name, ...)                                                                  \
	do {                                                                                       \
		struct mc *_c = (client);                                                          \
		struct ff3_req_##name _q = { .tag = mc_tag(_c), __VA_ARGS__ };                     \
		size_t _len = ff3_encode_req_##name(_c->body, sizeof _c->body, &_q);               \
		EXPECT(0, call_until_answered(_c, FF3_OP_##name, _len));                           \
	} while (0)

static void load(const char *name, unsigned n)
{
	struct mc *c = client(0, 0);
	char d[64], f[80], g[80], h[80];

	for (unsigned i = 0; i < n; i++) {
		snprintf(d, sizeof d, "%s.%u", name, i);
		snprintf(f, sizeof f, "%s/f", d);
		snprintf(g, sizeof g, "%s/g", d);
		snprintf(h, sizeof h, "%s/h", d);
		SURELY(c, mkdir, .at = ROOT(d), .mode = 0755);
		SURELY(c, open, .at = ROOT(f), .mode = 0644,
		       .flags = FF3_OPEN_CREATE | FF3_OPEN_EXCLUSIVE | FF3_OPEN_WRITE);
		SURELY(c, rename, .from = ROOT(f), .to = ROOT(g), .flags = 1);
		SURELY(c, link, .from = ROOT(g), .to = ROOT(h));
		SURELY(c, unlink, .at = ROOT(g));
		SURELY(c, setxattr, .at = ROOT(h), .name = FF3_STR("user.n"), .value = { &i, 4 },
		       .flags = 1);
		if (i % 20 == 19) {
			printf("%u\n", i);
			fflush(stdout);
		}
	}
	mc_free(c);
}

static void verify(const char *name, unsigned n)
{
	struct mc *c = client(0, 0);
	char d[64], f[80];

	for (unsigned i = 0; i < n; i++) {
		struct ff3_rep_lookup p;
		struct ff3_rep_getxattr x;

		snprintf(d, sizeof d, "%s.%u", name, i);
		EXPECT(0, MC(c, lookup, &p, .at = ROOT(d)));
		EXPECT(2, p.attr.nlink);
		snprintf(f, sizeof f, "%s/f", d);
		EXPECT(-ENOENT, MC(c, lookup, &p, .at = ROOT(f)));
		snprintf(f, sizeof f, "%s/g", d);
		EXPECT(-ENOENT, MC(c, lookup, &p, .at = ROOT(f)));
		snprintf(f, sizeof f, "%s/h", d);
		EXPECT(0, MC(c, lookup, &p, .at = ROOT(f)));
		EXPECT(1, p.attr.nlink);
		EXPECT(0, MC(c, getxattr, &x, .at = ROOT(f), .name = FF3_STR("user.n")));
		EXPECT(0, x.value.len != 4 || memcmp(x.value.p, &i, 4) != 0);
	}
	mc_free(c);
}

/* Waits until ino is gone, for at most 30 s. */
static void until_collected(struct mc *c, uint64_t ino)
{
	const struct timespec pause = { 0, 20 * 1000 * 1000 };

	for (unsigned i = 0; i < 1500 && size_of(c, ino) != -ESTALE; i++)
		nanosleep(&pause, NULL);
	EXPECT(-ESTALE, size_of(c, ino));
}

static void hold(const char *name)
{
	struct mc *c = client(0, 0);
	uint64_t inos[2];
	char path[2][80], line[16];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path[i], sizeof path[i], "%s.%u", name, i);
		inos[i] = open_file(c, path[i], FF3_OPEN_CREATE | FF3_OPEN_WRITE);
		EXPECT(0, MC_DO(c, unlink, .tag = mc_tag(c), .at = ROOT(path[i])));
	}
	printf("held\n");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		exit(1);
	mc_free(c);
	c = client(0, 0);
	EXPECT(0, MC_DO(c, reopen, .ino = inos[0], .flags = FF3_OPEN_WRITE));
	until_collected(c, inos[1]);
	EXPECT(0, size_of(c, inos[0]));
	EXPECT(0, MC_DO(c, release, .ino = inos[0], .n = 1));
	until_collected(c, inos[0]);
	mc_free(c);
}

static void truncate_file(const char *path, uint64_t size)
{
	struct mc *c = client(0, 0);

	SURELY(c, truncate, .at = ROOT(path), .size = size);
	mc_free(c);
}

static void be_node(void)
{
	const struct timespec pause = { 0, 500 * 1000 * 1000 };
	struct mc *c;
	uint8_t targets[128];
	struct ff3_enc e = ff3_enc_init(targets, sizeof targets);

	EXPECT(0, mc_new(address, 0, 0, 0, FF3_ROLE_CHUNKD, &c));
	ff3_put_target(&e, &(struct ff3_target){ 5, 6, FF3_TARGET_SERVING, 1 << 30, 0 });
	for (;;) {
		struct ff3_rep_heartbeat p;

		SURELY(c, register_node, .node = 6, .address = FF3_STR("127.0.0.1:1"),
		       .admin = FF3_STR(""), .targets = { targets, (uint32_t)e.len });
		do
			nanosleep(&pause, NULL);
		while (MC(c, heartbeat, &p, .node = 6, .targets = { targets, (uint32_t)e.len }) == 0);
	}
}

/* Much log, little database. */
static void fill(const char *name, unsigned n)
{
	static uint8_t value[60000];
	struct mc *c = client(0, 0);

	SURELY(c, mkdir, .at = ROOT(name), .mode = 0755);
	for (unsigned i = 0; i < n; i++) {
		memset(value, (int)i, sizeof value);
		SURELY(c, setxattr, .at = ROOT(name), .name = FF3_STR("user.n"),
		       .value = { value, sizeof value });
	}
	mc_free(c);
}

/* --- Stale answers ----------------------------------------------------------------------------- */

static _Atomic uint64_t acknowledged;
static _Atomic bool reader_is_done;

static void *write_values(void *arg)
{
	struct mc *c = arg;
	uint64_t value = 0, began, slowest = 0;

	while (!atomic_load(&reader_is_done)) {
		value++;
		began = ff3_boottime_ns();
		SURELY(c, setattr, .at = ROOT(""), .valid = FF3_SET_MTIME, .mtime = { value, 0 });
		atomic_store(&acknowledged, value);
		/* Another one serves now. */
		if (ff3_boottime_ns() - began > 300 * FF3_NSEC_PER_MSEC && slowest == 0) {
			slowest = ff3_boottime_ns() - began;
			puts("written");
			fflush(stdout);
		}
	}
	return NULL;
}

static void find_stale(const char *list)
{
	struct mc *reader = client(0, 0), *writer;
	uint64_t n = 0, floor = 0;
	pthread_t thread;

	address = list;
	writer = client(0, 0);
	EXPECT(0, pthread_create(&thread, NULL, write_values, writer));
	while (atomic_load(&acknowledged) == 0)
		sched_yield();
	for (;;) {
		struct ff3_rep_lookup p;
		int r;

		floor = atomic_load(&acknowledged);
		r = MC(reader, lookup, &p, .at = { .dir = FF3_ROOT_INO });
		if (r < 0)
			break;
		EXPECT(1, p.attr.mtime.sec >= floor);
		if (++n == 100) {
			puts("reading");
			fflush(stdout);
		}
	}
	atomic_store(&reader_is_done, true);
	EXPECT(0, pthread_join(thread, NULL));
	EXPECT(1, n >= 100);
	mc_free(reader);
	mc_free(writer);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

	if (argc < 3)
		return 2;
	address = argv[1];
	if (strcmp(argv[2], "check") == 0) {
		check_retries();
		check_sizes();
		check_append();
		check_orphans();
		check_layouts();
	} else if (strcmp(argv[2], "load") == 0 && n > 0) {
		load(argv[3], n);
	} else if (strcmp(argv[2], "verify") == 0 && n > 0) {
		verify(argv[3], n);
	} else if (strcmp(argv[2], "hold") == 0 && argc > 3) {
		hold(argv[3]);
	} else if (strcmp(argv[2], "node") == 0) {
		be_node();
	} else if (strcmp(argv[2], "fill") == 0 && n > 0) {
		fill(argv[3], n);
	} else if (strcmp(argv[2], "stale") == 0 && argc > 3) {
		find_stale(argv[3]);
	} else if (strcmp(argv[2], "truncate") == 0 && argc > 4) {
		truncate_file(argv[3], n);
	} else {
		return 2;
	}
	return 0;
}
