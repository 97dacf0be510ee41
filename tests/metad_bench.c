/* metad_bench ADDRESS [N]: operations a second that one thread gets from ff3fs-metad, one at a time,
 * and with 32 outstanding. Makes and removes /bench. */
#include <stdio.h>

#include "metad_client.h"

#define DEPTH 32

static struct mc *c;

static double rate(uint64_t began, uint64_t n)
{
	return (double)n * 1e9 / (double)(ff3_boottime_ns() - began);
}

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "metad_bench: %s: %s\n", what, ff3_strerror(r));
	exit(1);
}

static void report(const char *what, double v)
{
	printf("%-28s %12.0f /s\n", what, v);
	fflush(stdout);
}

static void register_chunkd(const char *address)
{
	struct mc *d;
	uint8_t buf[64];
	struct ff3_enc e = ff3_enc_init(buf, sizeof buf);

	must(mc_new(address, 0, 0, 0, FF3_ROLE_CHUNKD, &d), "connect");
	ff3_put_target(&e, &(struct ff3_target){ 7, 7, FF3_TARGET_SERVING, 1 << 30, 0 });
	must(MC_DO(d, register_node, .tag = mc_tag(d), .node = 7, .address = FF3_STR("127.0.0.1:1"),
		   .targets = { buf, (uint32_t)e.len }),
	     "register_node");
	mc_free(d);
}

static size_t encode_create(uint8_t *body, size_t size, const char *name)
{
	struct ff3_req_open q = {
		.tag = mc_tag(c),
		.at = mc_at(FF3_ROOT_INO, name, 0),
		.flags = FF3_OPEN_WRITE | FF3_OPEN_CREATE,
		.mode = 0644,
	};

	return ff3_encode_req_open(body, size, &q);
}

/* One-way: costs no round trip. */
static void release(const uint8_t *reply, size_t len)
{
	struct ff3_rpc_call call = { .op = FF3_OP_release, .one_way = true, .body = c->body };
	struct ff3_rep_open p;

	must(ff3_decode_rep_open(reply, len, &p), "reply");
	call.body_len = ff3_encode_req_release(c->body, sizeof c->body,
					       &(struct ff3_req_release){ p.attr.ino, 1 });
	must(ff3_rpc_start(c->peer, &call), "release");
}

/* n creates with DEPTH of them outstanding. */
static void create_deep(uint64_t n, const char *pattern)
{
	static struct ff3_rpc_call calls[DEPTH];
	static uint8_t bodies[DEPTH][256], replies[DEPTH][1024];
	struct ff3_rpc_call *one[DEPTH];

	for (uint64_t i = 0; i < n; i += DEPTH) {
		for (unsigned k = 0; k < DEPTH; k++) {
			char name[64];

			snprintf(name, sizeof name, pattern, (unsigned)(i + k));
			calls[k] = (struct ff3_rpc_call){
				.op = FF3_OP_open,
				.body = bodies[k],
				.body_len = encode_create(bodies[k], sizeof bodies[k], name),
				.reply = replies[k],
				.reply_size = sizeof replies[k],
			};
			one[k] = &calls[k];
			must(ff3_rpc_start(c->peer, one[k]), "start");
		}
		must(ff3_rpc_wait(one, DEPTH, 0), "wait");
		for (unsigned k = 0; k < DEPTH; k++) {
			must(calls[k].status, "create");
			release(replies[k], calls[k].reply_len);
		}
	}
}

static void list(uint64_t ino, bool with_attr)
{
	uint64_t began = ff3_boottime_ns(), n = 0, rounds = 0;

	while (ff3_boottime_ns() - began < FF3_NSEC_PER_SEC) {
		struct ff3_rep_readdir p = { .end = 0 };
		uint64_t cookie = 0;

		while (!p.end) {
			struct ff3_dec d;
			struct ff3_dirent e;

			must(MC(c, readdir, &p, .ino = ino, .cookie = cookie,
				.max_bytes = FF3_READDIR_MAX, .with_attr = with_attr),
			     "readdir");
			d = ff3_dec_blob(p.entries);
			while (ff3_dec_more(&d)) {
				ff3_get_dirent(&d, &e);
				cookie = e.cookie;
				n++;
			}
		}
		rounds++;
	}
	report(with_attr ? "readdir entries with attr" : "readdir entries", rate(began, n));
}

static void measure_reads(uint64_t n)
{
	struct ff3_rep_lookup p;
	struct ff3_rep_open o;
	uint64_t began = ff3_boottime_ns();
	char name[64];

	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "bench/dir/f%u", (unsigned)(i * 7919 % n));
		must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, name, 0)), "lookup");
	}
	report("stat, three components", rate(began, n));
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "bench/dir/f%u", (unsigned)(i * 7919 % n));
		must(MC(c, open, &o, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0),
			.flags = FF3_OPEN_READ),
		     "open");
		release(c->reply, c->reply_len);
	}
	report("open and release", rate(began, n));
	must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, "bench/dir", 0)), "lookup");
	list(p.attr.ino, false);
	list(p.attr.ino, true);
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000, began;
	char name[64];

	if (argc < 2)
		return 2;
	register_chunkd(argv[1]);
	must(mc_new(argv[1], 0, 0, 0, FF3_ROLE_CLIENT, &c), "connect");
	must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, "bench", 0), .mode = 0755),
	     "mkdir");
	must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, "bench/dir", 0),
		   .mode = 0755),
	     "mkdir");
	n = ROUND_UP(n, DEPTH);
	began = ff3_boottime_ns();
	create_deep(n, "bench/dir/f%u");
	report("create, 32 outstanding", rate(began, n));
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "bench/x%u", (unsigned)i);
		must(mc_call(c, FF3_OP_open, encode_create(c->body, sizeof c->body, name)), "create");
		release(c->reply, c->reply_len);
	}
	report("create, one at a time", rate(began, 2000));
	measure_reads(n);
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "bench/x%u", (unsigned)i);
		must(MC_DO(c, unlink, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0)), "unlink");
	}
	report("unlink, one at a time", rate(began, 2000));
	mc_free(c);
	return 0;
}
