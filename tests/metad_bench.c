/* metad_bench ADDRESS [N]: operations a second that one thread gets from ff3fs-metad, one at a time,
 * and with 32 outstanding; reads with 32 outstanding beside a ping of the same size; and how long a stat takes
 * while another thread creates with 64 outstanding. Makes and removes /bench. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "metad_client.h"

#define DEPTH 32

static struct mc *c;

static double rate(uint64_t began, uint64_t n)
{
	return (double)n * 1e9 / (double)(ff3_boottime_ns() - began);
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

	mc_must(mc_new(address, 0, 0, 0, FF3_ROLE_CHUNKD, &d), "connect");
	ff3_put_target(&e, &(struct ff3_target){ 7, 7, FF3_TARGET_SERVING, 1 << 30, 0 });
	mc_must(MC_DO(d, register_node, .tag = mc_tag(d), .node = 7, .address = FF3_STR("127.0.0.1:1"),
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
			mc_must(ff3_rpc_start(c->peer, one[k]), "start");
		}
		mc_must(ff3_rpc_wait(one, DEPTH, 0), "wait");
		for (unsigned k = 0; k < DEPTH; k++) {
			mc_must(calls[k].status, "create");
			mc_must(mc_release(c, replies[k], calls[k].reply_len), "release");
		}
	}
}

/* --- Beside a bare ping ------------------------------------------------------------------------ */

enum what { PING, STAT, OPEN };

static size_t encode(enum what what, uint8_t *body, size_t size, const char *name)
{
	struct ff3_path at = mc_at(FF3_ROOT_INO, name, 0);

	if (what == STAT)
		return ff3_encode_req_lookup(body, size, &(struct ff3_req_lookup){ at });
	if (what == OPEN)
		return ff3_encode_req_open(body, size,
					   &(struct ff3_req_open){ .tag = mc_tag(c),
								   .at = at,
								   .flags = FF3_OPEN_READ });
	return ff3_encode_req_ping(body, size, &(struct ff3_req_ping){ 1 });
}

/* Calls a second with DEPTH of them outstanding; an open is released. */
static double deep(enum what what, uint64_t n)
{
	static const uint16_t op[] = { FF3_OP_ping, FF3_OP_lookup, FF3_OP_open };
	static struct ff3_rpc_call calls[DEPTH];
	static uint8_t bodies[DEPTH][256], replies[DEPTH][1024];
	struct ff3_rpc_call *one[DEPTH];
	uint64_t began = ff3_boottime_ns();

	for (uint64_t i = 0; i < n; i += DEPTH) {
		for (unsigned k = 0; k < DEPTH; k++) {
			char name[64];

			snprintf(name, sizeof name, "bench/dir/f%u", (unsigned)((i + k) * 7919 % n));
			calls[k] = (struct ff3_rpc_call){ .op = op[what],
							  .body = bodies[k],
							  .body_len = encode(what, bodies[k],
									     sizeof bodies[k], name),
							  .reply = replies[k],
							  .reply_size = sizeof replies[k] };
			one[k] = &calls[k];
		}
		mc_must(ff3_rpc_start(c->peer, one[0]), "start");
		mc_must(ff3_rpc_start_many(c->peer, one + 1, DEPTH - 1), "start");
		mc_must(ff3_rpc_wait(one, DEPTH, 0), "wait");
		for (unsigned k = 0; k < DEPTH; k++) {
			mc_must(calls[k].status, "call");
			if (what == OPEN)
				mc_must(mc_release(c, replies[k], calls[k].reply_len), "release");
		}
	}
	return rate(began, n);
}

static void measure_beside_ping(uint64_t n)
{
	double ping = deep(PING, n), stat = deep(STAT, n), open = deep(OPEN, n);

	report("ping, 32 outstanding", ping);
	report("stat, 32 outstanding", stat);
	report("open, 32 outstanding", open);
	printf("%-28s %12.2f of a ping\n%-28s %12.2f of a ping\n", "stat", stat / ping, "open", open / ping);
}

/* --- While others create ----------------------------------------------------------------------- */

struct creating {
	const char *address;
	uint64_t n;
};

#define CREATORS 64u

static _Atomic bool ended;

static void *create_all(void *arg)
{
	struct creating *k = arg;
	static struct ff3_rpc_call calls[CREATORS];
	static uint8_t bodies[CREATORS][256], replies[CREATORS][1024];
	struct ff3_rpc_call *one[CREATORS];
	struct mc *d;

	mc_must(mc_new(k->address, 0, 0, 0, FF3_ROLE_CLIENT, &d), "connect");
	d->n_outstanding = CREATORS - 1;
	for (k->n = 0; !ended; k->n += CREATORS) {
		for (unsigned i = 0; i < CREATORS; i++) {
			char name[64];
			struct ff3_req_open q = { .tag = mc_tag(d),
						  .flags = FF3_OPEN_WRITE | FF3_OPEN_CREATE,
						  .mode = 0644 };

			snprintf(name, sizeof name, "bench/new%u", (unsigned)(k->n + i));
			q.at = mc_at(FF3_ROOT_INO, name, 0);
			calls[i] = (struct ff3_rpc_call){ .op = FF3_OP_open,
							  .body = bodies[i],
							  .body_len = ff3_encode_req_open(
								  bodies[i], sizeof bodies[i], &q),
							  .reply = replies[i],
							  .reply_size = sizeof replies[i] };
			one[i] = &calls[i];
			mc_must(ff3_rpc_start(d->peer, one[i]), "start");
		}
		mc_must(ff3_rpc_wait(one, CREATORS, 0), "wait");
	}
	mc_free(d);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void stat_latency(const char *when, uint64_t *took, uint64_t n)
{
	struct ff3_rep_lookup p;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t began = ff3_boottime_ns();

		mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, "bench/dir/f7", 0)), "lookup");
		took[i] = ff3_boottime_ns() - began;
	}
	qsort(took, n, sizeof *took, compare);
	printf("%-28s %8.1f us median, %.1f us p99, %.1f us longest\n", when, (double)took[n / 2] / 1e3,
	       (double)took[n - n / 100 - 1] / 1e3, (double)took[n - 1] / 1e3);
}

static void measure_latency(const char *address)
{
	enum { N = 5000 };
	static uint64_t took[N];
	struct creating k = { .address = address };
	uint64_t began;
	pthread_t thread;

	stat_latency("stat, nobody else there", took, N);
	mc_must(-pthread_create(&thread, NULL, create_all, &k), "thread");
	began = ff3_boottime_ns();
	stat_latency("stat, while 64 create", took, N);
	ended = true;
	pthread_join(thread, NULL);
	report("creates meanwhile", rate(began, k.n));
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

			mc_must(MC(c, readdir, &p, .ino = ino, .cookie = cookie,
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
		mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, name, 0)), "lookup");
	}
	report("stat, three components", rate(began, n));
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "bench/dir/f%u", (unsigned)(i * 7919 % n));
		mc_must(MC(c, open, &o, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0),
			.flags = FF3_OPEN_READ),
		     "open");
		mc_must(mc_release(c, c->reply, c->reply_len), "release");
	}
	report("open and release", rate(began, n));
	mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, "bench/dir", 0)), "lookup");
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
	mc_must(mc_new(argv[1], 0, 0, 0, FF3_ROLE_CLIENT, &c), "connect");
	mc_must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, "bench", 0), .mode = 0755),
	     "mkdir");
	mc_must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, "bench/dir", 0),
		   .mode = 0755),
	     "mkdir");
	n = ROUND_UP(n, DEPTH);
	c->n_outstanding = DEPTH - 1;
	began = ff3_boottime_ns();
	create_deep(n, "bench/dir/f%u");
	report("create, 32 outstanding", rate(began, n));
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "bench/x%u", (unsigned)i);
		mc_must(mc_call(c, FF3_OP_open, encode_create(c->body, sizeof c->body, name)), "create");
		mc_must(mc_release(c, c->reply, c->reply_len), "release");
	}
	report("create, one at a time", rate(began, 2000));
	measure_reads(n);
	measure_beside_ping(n);
	measure_latency(argv[1]);
	began = ff3_boottime_ns();
	for (uint64_t i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "bench/x%u", (unsigned)i);
		mc_must(MC_DO(c, unlink, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0)), "unlink");
	}
	report("unlink, one at a time", rate(began, 2000));
	mc_free(c);
	return 0;
}
