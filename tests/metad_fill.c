/* Very many inodes in metad's database, and what that costs.
 *
 *   metad_fill fill DIR N         makes N files, a thousand to a directory, in the database of an empty DIR,
 *                                 by applying the records that opens of clients would log; ff3fs-metad
 *                                 starts on it as on a restored backup
 *   metad_fill look ADDRESS N     stats each of them once
 *   metad_fill make ADDRESS N     makes so many more in the root directory, unless they are there
 *   metad_fill rates ADDRESS N PID
 *                                 stats, opens and creates a second among them, 64 outstanding: files at
 *                                 random of all, and of a thousand; and what one costs the server PID, which
 *                                 says more where others work, too */
#include <fcntl.h>
#include <stdio.h>

#include "metad_client.h"

#include "../common/admin/backup_file.h"
#include "../metad/apply.h"

#define IN_DIR 1000u
#define IN_TX 20000u
#define PARTS 8u /* so the server has something to do while a part is looked at */
#define IN_PART 8u

static double seconds(uint64_t began)
{
	return (double)(ff3_boottime_ns() - began) / 1e9;
}

/* --- Filling ------------------------------------------------------------------------------------ */

static struct metad_db *db;
static struct metad_apply *apply;
static struct metad_record rec;
static uint8_t body[4096];
static uint64_t n_in_tx;

static void run(uint16_t op, size_t len)
{
	static const uint32_t chains[] = { 1 };
	static uint8_t buf[8192];
	struct metad_record decoded;
	size_t size;

	if (n_in_tx++ == 0)
		mc_must(metad_db_begin(db), "begin");
	rec.seq++;
	rec.ino++;
	rec.epoch = 1;
	rec.time++;
	rec.op = op;
	rec.assigned = (struct ff3_blob){ chains, sizeof chains };
	rec.payload = (struct ff3_blob){ body, (uint32_t)len };
	metad_record_encode(buf, &rec);
	mc_must(metad_record_decode(buf, sizeof buf, &decoded, &size), "record");
	rec.prev_hash = metad_record_hash(buf, size);
	mc_must(metad_apply(apply, &decoded, rec.prev_hash), "apply");
	mc_must(apply->status, metad_op_name(op));
	if (n_in_tx == IN_TX) {
		mc_must(metad_db_commit(db), "commit");
		n_in_tx = 0;
	}
}

static void register_target(void)
{
	uint8_t targets[64];
	struct ff3_enc e = ff3_enc_init(targets, sizeof targets);
	struct ff3_req_register_node q = { .node = 7, .address = FF3_STR("127.0.0.1:1"),
					   .admin = FF3_STR("") };

	ff3_put_target(&e, &(struct ff3_target){ 7, 7, FF3_TARGET_SERVING, 1 << 30, 0 });
	q.targets = (struct ff3_blob){ targets, (uint32_t)e.len };
	run(FF3_OP_register_node, ff3_encode_req_register_node(body, sizeof body, &q));
}

static void fill(const char *dir, uint64_t n)
{
	char name[64], path[4096], mark[4096];
	uint64_t dir_ino = 0, began = ff3_boottime_ns();
	int fd;

	mc_must(metad_db_open(dir, FF3_MIB(512), 1 << 20, 1, &db), "open");
	mc_must(metad_apply_new(db, &apply), "apply");
	rec.ino = metad_db_meta(db)->next_ino - 1;
	rec.time = (int64_t)ff3_realtime_ns();
	register_target();
	for (uint64_t i = 0; i < n; i++) {
		if (i % IN_DIR == 0) {
			struct ff3_req_mkdir q = { .mode = 0755 };

			snprintf(name, sizeof name, "d%" PRIu64, i / IN_DIR);
			q.at = (struct ff3_path){ FF3_ROOT_INO, 0, ff3_str_from(name) };
			run(FF3_OP_mkdir, ff3_encode_req_mkdir(body, sizeof body, &q));
			dir_ino = rec.ino;
		}
		struct ff3_req_open q = { .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE, .mode = 0644 };

		snprintf(name, sizeof name, "f%" PRIu64, i % IN_DIR);
		q.at = (struct ff3_path){ dir_ino, 0, ff3_str_from(name) };
		run(FF3_OP_open, ff3_encode_req_open(body, sizeof body, &q));
		if (i % 1000000 == 999999)
			fprintf(stderr, "%" PRIu64 " in %.1f s\n", i + 1, seconds(began));
	}
	if (n_in_tx > 0)
		mc_must(metad_db_commit(db), "commit");
	metad_apply_free(apply);
	metad_db_close(db);
	snprintf(path, sizeof path, "%s/" FF3_RESTORED_NAME, dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || snprintf(mark, sizeof mark, "filled\n") < 0 || close(fd) < 0)
		mc_must(-errno, path);
	printf("filled with %" PRIu64 " files in %.1f s: %.0f/s\n", n, seconds(began),
	       (double)n / seconds(began));
}

/* --- Rates ----------------------------------------------------------------------------------------- */

static struct mc *c;
static const char *server;
static uint64_t seed = 88172645463325252ull;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static size_t encode(unsigned what, uint8_t *buf, size_t size, uint64_t file)
{
	char name[64];
	struct ff3_path at = { FF3_ROOT_INO, 0, { NULL, 0 } };

	snprintf(name, sizeof name, what == 2 ? "new/n%" PRIu64 : "d%" PRIu64 "/f%" PRIu64,
		 what == 2 ? file : file / IN_DIR, file % IN_DIR);
	at.path = ff3_str_from(name);
	if (what == 0)
		return ff3_encode_req_lookup(buf, size, &(struct ff3_req_lookup){ .at = at });
	return ff3_encode_req_open(buf, size,
				   &(struct ff3_req_open){ .tag = mc_tag(c), .at = at, .mode = 0644,
							   .flags = what == 2 ? FF3_OPEN_WRITE | FF3_OPEN_CREATE :
										FF3_OPEN_READ });
}

/* Nanoseconds that the server has worked. */
static uint64_t worked(void)
{
	char path[64];
	uint64_t ns;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%s/schedstat", server);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%" SCNu64, &ns) != 1)
		mc_must(-ENOENT, path);
	fclose(f);
	return ns;
}

struct part {
	struct ff3_rpc_call calls[IN_PART], *one[IN_PART];
	uint8_t bodies[IN_PART][256], replies[IN_PART][1024];
	bool started;
};

static void start(struct part *p, unsigned what, uint64_t among)
{
	static uint64_t made;

	for (unsigned k = 0; k < IN_PART; k++) {
		p->calls[k] = (struct ff3_rpc_call){
			.op = what == 0 ? FF3_OP_lookup : FF3_OP_open,
			.body = p->bodies[k],
			.body_len = encode(what, p->bodies[k], sizeof p->bodies[k],
					   what == 2 ? made++ : next_random() % among),
			.reply = p->replies[k],
			.reply_size = sizeof p->replies[k],
		};
		p->one[k] = &p->calls[k];
		mc_must(ff3_rpc_start(c->peer, p->one[k]), "start");
	}
	p->started = true;
}

static void finish(struct part *p, unsigned what, const char *name)
{
	if (!p->started)
		return;
	mc_must(ff3_rpc_wait(p->one, IN_PART, 0), "wait");
	for (unsigned k = 0; k < IN_PART; k++) {
		mc_must(p->calls[k].status, name);
		if (what > 0)
			mc_must(mc_release(c, p->replies[k], p->calls[k].reply_len), "release");
	}
	p->started = false;
}

/* For two seconds. */
static void measure(unsigned what, const char *name, uint64_t among)
{
	static struct part parts[PARTS];
	uint64_t began = ff3_boottime_ns(), before = worked(), n = 0;

	while (ff3_boottime_ns() - began < 2 * FF3_NSEC_PER_SEC) {
		finish(&parts[n / IN_PART % PARTS], what, name);
		start(&parts[n / IN_PART % PARTS], what, among);
		n += IN_PART;
	}
	for (unsigned k = 0; k < PARTS; k++)
		finish(&parts[k], what, name);
	printf("%-8s among %-9" PRIu64 " %9.0f/s, %6.2f us\n", name, among, (double)n / seconds(began),
	       (double)(worked() - before) / 1e3 / (double)n);
	fflush(stdout);
}

static void look(const char *address, uint64_t n)
{
	struct ff3_rep_lookup p;
	char name[64];

	mc_must(mc_new(address, 0, 0, 0, FF3_ROLE_CLIENT, &c), "connect");
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "d%" PRIu64 "/f%" PRIu64, i / IN_DIR, i % IN_DIR);
		mc_must(MC(c, lookup, &p, .at = mc_at(FF3_ROOT_INO, name, 0)), name);
	}
	mc_free(c);
}

static void make(const char *address, uint64_t n)
{
	struct ff3_rep_open p;
	char name[64];

	mc_must(mc_new(address, 0, 0, 0, FF3_ROLE_CLIENT, &c), "connect");
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "more%" PRIu64, i);
		mc_must(MC(c, open, &p, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0), .mode = 0644,
			   .flags = FF3_OPEN_WRITE | FF3_OPEN_CREATE),
			name);
		mc_must(mc_release(c, c->reply, c->reply_len), "release");
	}
	mc_free(c);
}

int main(int argc, char **argv)
{
	uint64_t n;

	if (argc < 4)
		return 2;
	n = strtoull(argv[3], NULL, 10);
	if (strcmp(argv[1], "fill") == 0) {
		fill(argv[2], n);
		return 0;
	}
	if (strcmp(argv[1], "make") == 0) {
		make(argv[2], n);
		return 0;
	}
	if (strcmp(argv[1], "look") == 0) {
		look(argv[2], n);
		return 0;
	}
	if (argc != 5)
		return 2;
	server = argv[4];
	mc_must(mc_new(argv[2], 0, 0, 0, FF3_ROLE_CLIENT, &c), "connect");
	c->n_outstanding = PARTS * IN_PART - 1;
	mc_must(MC_DO(c, mkdir, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, "new", 0), .mode = 0755), "mkdir");
	for (unsigned round = 0; round < 2; round++) {
		uint64_t among = round == 0 ? MIN(n, (uint64_t)1000) : n;

		measure(0, "stat", among);
		measure(1, "open", among);
	}
	measure(2, "create", n);
	mc_free(c);
	return 0;
}
