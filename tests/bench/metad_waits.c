/* How long the reads of one client wait for what others do, for waits.sh:
 *
 *   metad_waits ADDRESS [SECONDS [FILES]]
 *
 * A stat by inode, a lookup of a path, both of files at random, and a page of a directory with attributes,
 * one after the other: while nobody else is there; while 64 clients create; while a tree of FILES (100,000)
 * names is removed; and while 64 clients change the modes of that many files at random, which makes
 * checkpoints. Each line: what, when, median, p99 and longest in us, and median and p99 beside nobody there.
 *
 * Threads: one makes the load, with 64 calls outstanding on a connection of its own; main measures. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../metad_client.h"

#define DEPTH 64u
#define LISTED 19968u
#define PAGE_BYTES 65536u
#define SAMPLES 200000u

enum what { STAT, LOOKUP, LIST, N_WHAT };
static const char *const names[] = { "stat", "lookup", "readdir" };

static const char *address;
static double seconds = 3;
static uint64_t n_tree = 100000;
static uint64_t quiet_ino, ino_of[LISTED], cookies[LISTED];
static uint32_t n_cookies;
static uint64_t idle[N_WHAT][2];
static uint64_t *took[N_WHAT];
static struct mc *c;

static atomic_bool stop, removing;
static uint64_t n_done;

/* --- The load -------------------------------------------------------------------------------- */

/* Encodes the i-th call and returns its op. */
typedef uint16_t load_fn(struct mc *k, uint64_t i, uint8_t *body, size_t size, size_t *ret_len);

static uint16_t create(struct mc *k, const char *name, uint8_t *body, size_t size, size_t *ret_len)
{
	struct ff3_req_open q = { .tag = mc_tag(k), .at = mc_at(FF3_ROOT_INO, name, 0),
				  .flags = FF3_OPEN_WRITE | FF3_OPEN_CREATE, .mode = 0644 };

	*ret_len = ff3_encode_req_open(body, size, &q);
	return FF3_OP_open;
}

static uint16_t create_listed(struct mc *k, uint64_t i, uint8_t *body, size_t size, size_t *ret_len)
{
	char name[64];

	snprintf(name, sizeof name, "waits/quiet/f%" PRIu64, i);
	return create(k, name, body, size, ret_len);
}

static uint16_t create_tree(struct mc *k, uint64_t i, uint8_t *body, size_t size, size_t *ret_len)
{
	char name[64];

	snprintf(name, sizeof name, "waits/tree/d%" PRIu64 "/f%" PRIu64, i / 1000, i % 1000);
	return create(k, name, body, size, ret_len);
}

static uint16_t create_new(struct mc *k, uint64_t i, uint8_t *body, size_t size, size_t *ret_len)
{
	char name[64];

	snprintf(name, sizeof name, "waits/live/f%" PRIu64, i);
	return create(k, name, body, size, ret_len);
}

static uint16_t change_mode(struct mc *k, uint64_t i, uint8_t *body, size_t size, size_t *ret_len)
{
	static uint64_t seed = 424242;
	uint64_t file = mc_random(&seed) % n_tree;
	struct ff3_req_setattr q = { .tag = mc_tag(k), .valid = FF3_SET_MODE, .mode = 0600 + i % 8 };
	char name[64];

	snprintf(name, sizeof name, "waits/tree/d%" PRIu64 "/f%" PRIu64, file / 1000, file % 1000);
	q.at = mc_at(FF3_ROOT_INO, name, 0);
	*ret_len = ff3_encode_req_setattr(body, size, &q);
	return FF3_OP_setattr;
}

/* n calls, or until stop. */
static uint64_t load(load_fn *fn, uint64_t n)
{
	static struct ff3_rpc_call calls[DEPTH];
	static uint8_t bodies[DEPTH][256], replies[DEPTH][1024];
	struct ff3_rpc_call *one[DEPTH];
	struct mc *k = mc_connect(address);
	uint64_t i = 0;

	k->n_outstanding = DEPTH - 1;

	while (i < n && !stop) {
		for (unsigned j = 0; j < DEPTH; j++, i++) {
			calls[j] = (struct ff3_rpc_call){ .body = bodies[j], .reply = replies[j],
							  .reply_size = sizeof replies[j] };
			calls[j].op = fn(k, i % n, bodies[j], sizeof bodies[j], &calls[j].body_len);
			one[j] = &calls[j];
			mc_must(ff3_rpc_start(k->peer, one[j]), "start");
		}
		mc_must(ff3_rpc_wait(one, DEPTH, 0), "wait");
		for (unsigned j = 0; j < DEPTH; j++) {
			mc_must(calls[j].status, "load");
			if (calls[j].op == FF3_OP_open)
				mc_must(mc_release(k, replies[j], calls[j].reply_len), "release");
		}
	}
	mc_free(k);
	return i;
}

static void *create_main(void *arg)
{
	n_done = load(create_new, UINT64_MAX / 2);
	return NULL;
}

static void *change_main(void *arg)
{
	n_done = load(change_mode, UINT64_MAX / 2);
	return NULL;
}

/* Until what was in the tree is gone but for what waits for chunk daemons. */
static void *remove_main(void *arg)
{
	struct timespec pause = { 0, 5 * 1000 * 1000 };
	struct ff3_rep_remove_tree p;
	struct ff3_rep_removal q;
	struct mc *k = mc_connect(address);

	mc_must(MC(k, remove_tree, &p, .tag = mc_tag(k), .at = mc_at(FF3_ROOT_INO, "waits/tree", 0)), "remove_tree");
	do {
		nanosleep(&pause, NULL);
		mc_must(MC(k, removal, &q, .removal = p.removal), "removal");
		n_done = q.names;
	} while (q.names < n_tree);
	removing = false;
	mc_free(k);
	return NULL;
}

/* --- Looking --------------------------------------------------------------------------------- */

static void look_once(enum what what, uint64_t i)
{
	struct ff3_rep_readdir d;
	struct ff3_rep_lookup p;
	char name[64];

	snprintf(name, sizeof name, "waits/quiet/f%" PRIu64, i % LISTED);
	if (what == STAT)
		mc_must(MC(c, lookup, &p, .at = mc_at(ino_of[i % LISTED], "", 0)), "stat");
	else if (what == LOOKUP)
		mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, name, 0)), "lookup");
	else
		mc_must(MC(c, readdir, &d, .ino = quiet_ino, .cookie = cookies[i % n_cookies],
			.max_bytes = PAGE_BYTES, .with_attr = true),
		     "readdir");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *when, uint64_t n)
{
	for (unsigned w = 0; w < N_WHAT; w++) {
		uint64_t p50, p99;

		qsort(took[w], n, sizeof **took, compare);
		p50 = took[w][n / 2];
		p99 = took[w][n - 1 - n / 100];
		if (idle[w][0] == 0) {
			idle[w][0] = p50;
			idle[w][1] = p99;
		}
		printf("%-8s %-24s %8.1f %9.1f %9.1f   %6.1f x p50, %6.1f x p99 (%" PRIu64 ")\n", names[w], when,
		       (double)p50 / 1e3, (double)p99 / 1e3, (double)took[w][n - 1] / 1e3,
		       (double)p50 / (double)idle[w][0], (double)p99 / (double)idle[w][1], n);
	}
	fflush(stdout);
}

/* For so long, or as long as the tree is being removed. */
static void look(const char *when, bool while_removing)
{
	static uint64_t seed = 88172645463325252ull;
	uint64_t began = ff3_boottime_ns(), n;

	for (n = 0; n < SAMPLES && (while_removing ? removing :
				    ff3_boottime_ns() - began < (uint64_t)(seconds * 1e9)); n++)
		for (unsigned w = 0; w < N_WHAT; w++) {
			uint64_t i = mc_random(&seed), at = ff3_boottime_ns();

			look_once(w, i);
			took[w][n] = ff3_boottime_ns() - at;
		}
	if (n > 0)
		report(when, n);
}

static void look_while(const char *when, void *(*fn)(void *arg), bool while_removing)
{
	struct timespec pause = { 0, 200 * 1000 * 1000 };
	uint64_t began = ff3_boottime_ns();
	pthread_t thread;

	stop = false;
	removing = while_removing;
	mc_must(-pthread_create(&thread, NULL, fn, NULL), "thread");
	if (!while_removing)
		nanosleep(&pause, NULL);
	look(when, while_removing);
	stop = true;
	pthread_join(thread, NULL);
	printf("%s: %" PRIu64 " in %.1f s\n", when, n_done, (double)(ff3_boottime_ns() - began) / 1e9);
}

/* --- What there is to look at ---------------------------------------------------------------- */

static void make_dir(const char *name)
{
	mc_must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0), .mode = 0755), name);
}

static void list_once(void)
{
	struct ff3_rep_readdir p = { .end = 0 };
	uint64_t cookie = 0, n = 0;

	while (!p.end) {
		struct ff3_dirent e;
		struct ff3_dec d;

		cookies[n_cookies++] = cookie;
		mc_must(MC(c, readdir, &p, .ino = quiet_ino, .cookie = cookie, .max_bytes = PAGE_BYTES,
			.with_attr = true),
		     "readdir");
		d = ff3_dec_blob(p.entries);
		while (ff3_dec_more(&d)) {
			ff3_get_dirent(&d, &e);
			cookie = e.cookie;
			ino_of[n++] = e.ino;
		}
	}
	n_cookies -= n_cookies > 1; /* the last page is short */
	mc_must(n == LISTED ? 0 : -EIO, "names are missing");
}

int main(int argc, char **argv)
{
	struct ff3_rep_lookup p;
	char name[64];

	if (argc < 2)
		return 2;
	address = argv[1];
	seconds = argc > 2 ? atof(argv[2]) : seconds;
	n_tree = argc > 3 ? strtoull(argv[3], NULL, 10) / DEPTH * DEPTH : n_tree / DEPTH * DEPTH;
	for (unsigned w = 0; w < N_WHAT; w++)
		took[w] = malloc(SAMPLES * sizeof **took);
	c = mc_connect(address);
	make_dir("waits");
	make_dir("waits/quiet");
	make_dir("waits/live");
	make_dir("waits/tree");
	for (uint64_t i = 0; i <= n_tree / 1000; i++) {
		snprintf(name, sizeof name, "waits/tree/d%" PRIu64, i);
		make_dir(name);
	}
	load(create_listed, LISTED);
	load(create_tree, n_tree);
	mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, "waits/quiet", 0)), "lookup");
	quiet_ino = p.attr.ino;
	list_once();
	printf("%-8s %-24s %8s %9s %9s us\n", "", "", "median", "p99", "longest");
	look("nobody else there", false);
	look_while("64 clients create", create_main, false);
	look_while("64 clients change modes", change_main, false);
	look_while("a tree is removed", remove_main, true);
	look("nobody else there again", false);
	mc_free(c);
	return 0;
}
