/* Drives a real ff3fs-chunkd over rpc.h, for the shell tests and for measuring:
 *
 *   chunkd_drive ADDRESS TARGET check               every operation, compared byte for byte
 *   chunkd_drive ADDRESS TARGET load JOURNAL SEED   synced writes until killed or failed; each is
 *                                                   noted in JOURNAL when it was acknowledged
 *   chunkd_drive ADDRESS TARGET verify JOURNAL      all that the journal has is there
 *   chunkd_drive ADDRESS TARGET write SIZE COUNT DEPTH INO      MiB/s, chunk_sync included
 *   chunkd_drive ADDRESS TARGET read SIZE CHUNK_SIZE COUNT DEPTH INO SECONDS   random, in COUNT
 *                                                   chunks made by write; IOPS
 *   chunkd_drive ADDRESS TARGET synced SIZE COUNT DEPTH INO     small synced chunks; per second
 *   chunkd_drive ADDRESS TARGET remove INO COUNT                inodes INO and on
 *   chunkd_drive ADDRESS TARGET deaf SIZE COUNT DEPTH INO       asks for chunks, says so and takes none
 *                                                   of them until its input ends
 *   chunkd_drive ADDRESS TARGET former              a metad that is not the primary any more is refused
 *   chunkd_drive ADDRESS TARGET slowest SIZE COUNT INO          reads COUNT chunks one by one; the
 *                                                   milliseconds of the slowest
 *
 * TARGET is 16 hex digits. The content of a chunk follows from (ino, index, version of the load). */
#include <err.h>
#include <stdio.h>

#include "../common/base/conf.h"
#include "../common/base/crc32c.h"
#include "../common/net/rpc.h"
#include "test_links.h"

#define MAX_DEPTH 256
#define LOAD_CHUNKS 400

static struct ff3_rpc_peer *peer;
static uint64_t session, seq;

static void pattern(uint8_t *p, size_t len, uint64_t ino, uint32_t index, uint32_t offset,
		    uint32_t generation)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t x = (ino * 0x9e3779b97f4a7c15u) ^ ((uint64_t)index << 40) ^
			     ((offset + i) >> 3) * 0xbf58476d1ce4e5b9u ^ generation * 0x94d049bb133111ebu;

		x ^= x >> 29;
		p[i] = (uint8_t)(x >> (8 * ((offset + i) & 7)));
	}
}

/* --- Calls ------------------------------------------------------------------------------------- */

struct slot {
	struct ff3_rpc_call call;
	uint8_t *data, *body, *reply;
	struct iovec iov;
	uint64_t ino;
	uint32_t index, offset, length;
	bool busy;
};

static void slot_init(struct slot *s)
{
	s->data = aligned_alloc(FF3_BLOCK, FF3_PAYLOAD_MAX);
	s->body = malloc(8192);
	s->reply = malloc(8192);
}

static void slot_done(struct slot *s)
{
	free(s->data);
	free(s->body);
	free(s->reply);
}

static uint32_t piece_crcs(uint32_t *crcs, const uint8_t *data, uint32_t offset, uint32_t len)
{
	uint32_t n = 0;

	for (uint32_t pos = offset; pos < offset + len;) {
		uint32_t to = MIN(offset + len, ROUND_DOWN(pos, FF3_BLOCK) + FF3_BLOCK);

		crcs[n++] = ff3_crc32c(0, data + (pos - offset), to - pos);
		pos = to;
	}
	return n;
}

static int start(struct slot *s, uint16_t op, size_t body_len)
{
	s->call.op = op;
	s->call.body = s->body;
	s->call.body_len = body_len;
	s->call.reply = s->reply;
	s->call.reply_size = 8192;
	s->busy = true;
	return ff3_rpc_start(peer, &s->call);
}

static int finish(struct slot *s)
{
	struct ff3_rpc_call *c = &s->call;

	s->busy = false;
	ff3_rpc_wait(&c, 1, ff3_boottime_ns() + 60 * FF3_NSEC_PER_SEC);
	return s->call.status;
}

static int start_write(struct slot *s, uint64_t ino, uint32_t index, uint32_t offset, uint32_t len,
		       uint32_t flags)
{
	uint32_t crcs[1026];
	struct ff3_req_chunk_write req = { .ino = ino, .index = index, .offset = offset,
					   .flags = flags, .session = session, .seq = ++seq };

	req.crcs = (struct ff3_blob){ crcs, 4 * piece_crcs(crcs, s->data, offset, len) };
	s->ino = ino;
	s->index = index;
	s->offset = offset;
	s->length = len;
	s->iov = (struct iovec){ s->data, len };
	s->call = (struct ff3_rpc_call){ .payload = &s->iov, .n_payload = len ? 1 : 0 };
	return start(s, FF3_OP_chunk_write, ff3_encode_req_chunk_write(s->body, 8192, &req));
}

static int start_read(struct slot *s, uint64_t ino, uint32_t index, uint32_t offset, uint32_t len)
{
	struct ff3_req_chunk_read req = { .ino = ino, .index = index, .offset = offset,
					  .length = len };

	s->ino = ino;
	s->index = index;
	s->offset = offset;
	s->length = len;
	s->iov = (struct iovec){ s->data, len };
	s->call = (struct ff3_rpc_call){ .into = &s->iov, .n_into = 1,
					 .reply_expected = 16 + 4 * ((len + FF3_BLOCK - 1) / FF3_BLOCK) };
	return start(s, FF3_OP_chunk_read, ff3_encode_req_chunk_read(s->body, 8192, &req));
}

/* The reply's checksums are checked here. */
static int finish_read(struct slot *s, struct ff3_rep_chunk_read *rep)
{
	uint32_t crcs[1026], n;
	int r = finish(s);

	if (r < 0)
		return r;
	if (ff3_decode_rep_chunk_read(s->reply, s->call.reply_len, rep) < 0)
		errx(1, "a reply that cannot be decoded");
	n = piece_crcs(crcs, s->data, s->offset, (uint32_t)s->call.payload_len);
	if (rep->crcs.len != 4 * n || memcmp(rep->crcs.p, crcs, 4 * n) != 0)
		errx(1, "%" PRIu64 ".%u at %u: wrong checksums", s->ino, s->index, s->offset);
	return 0;
}

static int do_write(struct slot *s, uint64_t ino, uint32_t index, uint32_t offset, uint32_t len,
		    uint32_t flags)
{
	int r = start_write(s, ino, index, offset, len, flags);

	return r < 0 ? r : finish(s);
}

static int do_read(struct slot *s, uint64_t ino, uint32_t index, uint32_t offset, uint32_t len,
		   struct ff3_rep_chunk_read *rep)
{
	int r = start_read(s, ino, index, offset, len);

	return r < 0 ? r : finish_read(s, rep);
}

static int do_sync(struct slot *s, uint64_t ino, uint64_t instance)
{
	struct ff3_req_chunk_sync req = { .ino = ino, .instance = instance };
	int r;

	s->call = (struct ff3_rpc_call){ 0 };
	r = start(s, FF3_OP_chunk_sync, ff3_encode_req_chunk_sync(s->body, 8192, &req));
	return r < 0 ? r : finish(s);
}

static int do_truncate(struct slot *s, uint64_t ino, uint32_t last, uint32_t last_size)
{
	struct ff3_req_chunk_truncate req = { .ino = ino, .last = last, .last_size = last_size };
	int r;

	s->call = (struct ff3_rpc_call){ 0 };
	r = start(s, FF3_OP_chunk_truncate, ff3_encode_req_chunk_truncate(s->body, 8192, &req));
	return r < 0 ? r : finish(s);
}

static int do_remove(struct slot *s, const uint64_t *inos, size_t n, uint64_t *ret_removed)
{
	struct ff3_req_chunk_remove req = { .inos = { inos, (uint32_t)(n * 8) } };
	struct ff3_rep_chunk_remove rep;
	int r;

	s->call = (struct ff3_rpc_call){ 0 };
	r = start(s, FF3_OP_chunk_remove, ff3_encode_req_chunk_remove(s->body, 8192, &req));
	r = r < 0 ? r : finish(s);
	if (r == 0 && ff3_decode_rep_chunk_remove(s->reply, s->call.reply_len, &rep) < 0)
		errx(1, "a reply that cannot be decoded");
	if (r == 0)
		*ret_removed = rep.n_removed;
	return r;
}

/* --- check ---------------------------------------------------------------------------------------- */

static void expect(const char *what, int want, int got)
{
	if (want != got)
		errx(1, "%s: want %d, got %d (%s)", what, want, got, ff3_strerror(got));
	printf("ok: %s\n", what);
}

static void expect_bytes(struct slot *s, const char *what, uint32_t index, uint32_t offset,
			 uint32_t len, const uint8_t *want, uint32_t want_len, uint32_t chunk_size)
{
	struct ff3_rep_chunk_read rep;

	expect(what, 0, do_read(s, 1, index, offset, len, &rep));
	if (s->call.payload_len != want_len || rep.chunk_size != chunk_size)
		errx(1, "%s: %zu bytes of %u, want %u of %u", what, s->call.payload_len,
		     rep.chunk_size, want_len, chunk_size);
	if (want_len && memcmp(s->data, want, want_len) != 0)
		errx(1, "%s: other bytes", what);
}

static int check(void)
{
	static uint8_t model[FF3_CHUNK_SIZE_DEFAULT];
	const uint64_t inos[] = { 1, 2, 3 };
	struct ff3_rep_chunk_write rep;
	struct slot s = { 0 };
	uint64_t n = 0;
	uint32_t crc = 0;

	slot_init(&s);
	expect_bytes(&s, "a chunk that is not there", 0, 0, 4096, NULL, 0, 0);
	pattern(model, 100000, 1, 0, 0, 1);
	memcpy(s.data, model, 100000);
	expect("write", 0, do_write(&s, 1, 0, 0, 100000, 0));
	if (ff3_decode_rep_chunk_write(s.reply, s.call.reply_len, &rep) < 0 ||
	    rep.instance != s.call.instance || rep.chunk_size != 100000)
		errx(1, "the reply of a write");
	expect_bytes(&s, "all of it", 0, 0, FF3_PAYLOAD_MAX, model, 100000, 100000);
	expect_bytes(&s, "an unaligned piece", 0, 4097, 9001, model + 4097, 9001, 100000);
	expect_bytes(&s, "beyond the end", 0, 100000, 10, NULL, 0, 100000);
	pattern(model + 50001, 777, 1, 0, 0, 2);
	memcpy(s.data, model + 50001, 777);
	expect("overwrite", 0, do_write(&s, 1, 0, 50001, 777, 0));
	pattern(model + 150000, 5000, 1, 0, 0, 3);
	memcpy(s.data, model + 150000, 5000);
	expect("a gap and an append, synced", 0, do_write(&s, 1, 0, 150000, 5000, FF3_WRITE_SYNC));
	expect_bytes(&s, "zeros in the gap", 0, 99990, 60000, model + 99990, 55010, 155000);
	expect("sync", 0, do_sync(&s, 1, s.call.instance));
	expect("sync of another instance", FF3_E_INSTANCE, do_sync(&s, 1, 12345));
	memcpy(s.data, model, 4096);
	expect("write of chunk 1", 0, do_write(&s, 1, 1, 0, 4096, 0));
	expect("write of inode 2", 0, do_write(&s, 2, 7, 0, 4096, 0));
	expect("truncate", 0, do_truncate(&s, 1, 0, 70001));
	expect_bytes(&s, "the rest", 0, 0, FF3_PAYLOAD_MAX, model, 70001, 70001);
	expect_bytes(&s, "chunk 1 is gone", 1, 0, 4096, NULL, 0, 0);
	expect("remove", 0, do_remove(&s, inos, ARRAY_SIZE(inos), &n));
	expect("chunks removed", 2, (int)n);
	expect_bytes(&s, "chunk 0 is gone", 0, 0, 4096, NULL, 0, 0);
	/* What is refused. */
	struct ff3_req_chunk_write bad = { .ino = 1, .crcs = { &crc, 4 } };
	s.iov = (struct iovec){ s.data, 100 };
	s.call = (struct ff3_rpc_call){ .payload = &s.iov, .n_payload = 1 };
	start(&s, FF3_OP_chunk_write, ff3_encode_req_chunk_write(s.body, 8192, &bad));
	expect("a payload with a wrong checksum", -EBADMSG, finish(&s));
	bad.crcs.len = 0;
	s.call = (struct ff3_rpc_call){ .payload = &s.iov, .n_payload = 1 };
	start(&s, FF3_OP_chunk_write, ff3_encode_req_chunk_write(s.body, 8192, &bad));
	expect("a payload without checksums", -EINVAL, finish(&s));
	expect("a write beyond the largest chunk", -EFBIG,
	       do_write(&s, 1, 0, FF3_CHUNK_SIZE_MAX - 10, 100, 0));
	s.call = (struct ff3_rpc_call){ 0 };
	start(&s, FF3_OP_mkdir, 0);
	expect("an operation of metad", -EOPNOTSUPP, finish(&s));
	slot_done(&s);
	return 0;
}

/* --- former ------------------------------------------------------------------------------------------ */

static struct ff3_rpc_peer *metad_of(const char *address, uint64_t target, uint64_t epoch)
{
	struct ff3_rpc_identity id = { .session = ff3_random_u64(), .role = FF3_ROLE_METAD, .epoch = epoch };

	return test_peer(address, &id, target, 1);
}

static int revoke_by(struct ff3_rpc_peer *by)
{
	struct ff3_req_chunk_revoke req = { .ino = 1, .generation = 1 };
	uint8_t body[32], reply[32];
	struct ff3_rpc_call c = { .op = FF3_OP_chunk_revoke, .body = body, .reply = reply, .reply_size = 32 };

	c.body_len = ff3_encode_req_chunk_revoke(body, sizeof body, &req);
	return ff3_rpc_call(by, &c, ff3_boottime_ns() + 10 * FF3_NSEC_PER_SEC);
}

static int former(const char *address, uint64_t target)
{
	struct ff3_rpc_peer *early = metad_of(address, target, 1000), *later = metad_of(address, target, 1001),
			    *late = metad_of(address, target, 1000);

	expect("a primary", 0, revoke_by(early));
	expect("the next one", 0, revoke_by(later));
	expect("the former one, on its connection", FF3_E_NOT_PRIMARY, revoke_by(early));
	expect("the former one, connecting", FF3_E_NOT_PRIMARY, revoke_by(late));
	expect("the primary still", 0, revoke_by(later));
	ff3_rpc_peer_free(early);
	ff3_rpc_peer_free(later);
	ff3_rpc_peer_free(late);
	return 0;
}

/* --- load and verify ---------------------------------------------------------------------------------- */

static int load(const char *path, unsigned seed)
{
	FILE *journal = fopen(path, "a");
	struct slot s = { 0 };

	if (!journal)
		err(1, "%s", path);
	slot_init(&s);
	for (uint32_t g = 1;; g++) {
		uint32_t k = (uint32_t)rand_r(&seed) % LOAD_CHUNKS;
		uint32_t len = 16384 + (uint32_t)rand_r(&seed) % 60000;

		fprintf(journal, "try %u %u %u\n", k, g, len);
		fflush(journal);
		pattern(s.data, len, 100 + k, k, 0, g);
		if (do_write(&s, 100 + k, k, 0, len, FF3_WRITE_SYNC) < 0)
			break;
		fprintf(journal, "done %u %u %u\n", k, g, len);
		fflush(journal);
	}
	fclose(journal);
	slot_done(&s);
	return 0;
}

struct promise {
	uint32_t done, done_len, tried, tried_len;
};

static bool matches(struct slot *s, const struct ff3_rep_chunk_read *rep, uint32_t k, uint32_t g,
		    uint32_t len)
{
	static uint8_t want[FF3_CHUNK_SIZE_DEFAULT];

	pattern(want, len, 100 + k, k, 0, g);
	/* A shorter generation lies over the rest of a longer one. */
	return rep->chunk_size >= len && memcmp(s->data, want, len) == 0;
}

static int verify(const char *path)
{
	static struct promise p[LOAD_CHUNKS];
	FILE *journal = fopen(path, "r");
	struct ff3_rep_chunk_read rep;
	struct slot s = { 0 };
	unsigned k, g, len, n = 0, lost = 0;
	char word[8];

	if (!journal)
		err(1, "%s", path);
	while (fscanf(journal, "%7s %u %u %u", word, &k, &g, &len) == 4) {
		p[k].tried = g;
		p[k].tried_len = len;
		if (strcmp(word, "done") == 0) {
			p[k].done = g;
			p[k].done_len = len;
		}
	}
	fclose(journal);
	slot_init(&s);
	for (k = 0; k < LOAD_CHUNKS; k++) {
		if (!p[k].done)
			continue;
		n++;
		int r = do_read(&s, 100 + k, k, 0, FF3_CHUNK_SIZE_DEFAULT, &rep);
		if (r < 0 || (!matches(&s, &rep, k, p[k].done, p[k].done_len) &&
			      !matches(&s, &rep, k, p[k].tried, p[k].tried_len))) {
			lost++;
			warnx("chunk %u: generation %u is lost: %s", k, p[k].done,
			      r < 0 ? ff3_strerror(r) : "other bytes");
		}
	}
	printf("%u acknowledged chunks, %u lost\n", n, lost);
	slot_done(&s);
	return lost ? 1 : 0;
}

/* --- Measuring ---------------------------------------------------------------------------------------- */

static struct slot slots[MAX_DEPTH];

/* A slot whose call is over; its status has been checked. */
static struct slot *free_slot(unsigned depth)
{
	struct ff3_rpc_call *calls[MAX_DEPTH];

	for (;;) {
		for (unsigned i = 0; i < depth; i++) {
			if (slots[i].busy && ff3_rpc_is_done(&slots[i].call)) {
				slots[i].busy = false;
				if (slots[i].call.status < 0)
					errx(1, "%s", ff3_strerror(slots[i].call.status));
			}
			if (!slots[i].busy)
				return &slots[i];
			calls[i] = &slots[i].call;
		}
		ff3_rpc_wait_any(calls, depth, 0);
	}
}

static void all_done(unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		if (slots[i].busy && finish(&slots[i]) < 0)
			errx(1, "%s", ff3_strerror(slots[i].call.status));
}

static double seconds_since(uint64_t t0)
{
	return (double)(ff3_boottime_ns() - t0) / 1e9;
}

static int bench_write(uint32_t size, uint32_t count, unsigned depth, uint64_t ino, bool synced)
{
	uint64_t t0, instance;
	double s;

	for (unsigned i = 0; i < depth; i++)
		pattern(slots[i].data, size, ino, i, 0, 0);
	t0 = ff3_boottime_ns();
	for (uint32_t k = 0; k < count; k++) {
		struct slot *slot = free_slot(depth);

		if (start_write(slot, synced ? ino + k : ino, synced ? 0 : k, 0, size,
				synced ? FF3_WRITE_SYNC : 0) < 0)
			errx(1, "write");
	}
	all_done(depth);
	instance = slots[0].call.instance;
	if (!synced && do_sync(&slots[0], ino, instance) < 0)
		errx(1, "sync");
	s = seconds_since(t0);
	if (synced)
		printf("%.0f synced chunks/s of %u bytes, depth %u\n", count / s, size, depth);
	else
		printf("%.0f MiB/s, %u x %u bytes, depth %u, synced at the end\n",
		       (double)size * count / s / 1048576, count, size, depth);
	return 0;
}

static int bench_read(uint32_t size, uint32_t chunk, uint32_t count, unsigned depth, uint64_t ino,
		      double seconds)
{
	uint64_t t0 = ff3_boottime_ns(), n = 0;
	unsigned seed = (unsigned)t0;
	double s;

	do {
		for (int i = 0; i < 64; i++, n++) {
			struct slot *slot = free_slot(depth);
			uint32_t k = (uint32_t)rand_r(&seed) % count;
			uint32_t o = (uint32_t)rand_r(&seed) % (chunk / size) * size;

			if (start_read(slot, ino, k, o, size) < 0)
				errx(1, "read");
		}
		s = seconds_since(t0);
	} while (s < seconds);
	all_done(depth);
	s = seconds_since(t0);
	printf("%.0f reads/s of %u bytes, %.0f MiB/s, depth %u\n", (double)n / s, size,
	       (double)n * size / s / 1048576, depth);
	return 0;
}

static int remove_range(uint64_t first, uint32_t count)
{
	uint64_t inos[512], removed = 0, n = 0;

	slot_init(&slots[0]);
	for (uint32_t done = 0; done < count;) {
		uint32_t some = MIN(count - done, (uint32_t)ARRAY_SIZE(inos));

		for (uint32_t i = 0; i < some; i++)
			inos[i] = first + done + i;
		if (do_remove(&slots[0], inos, some, &n) < 0)
			errx(1, "remove");
		removed += n;
		done += some;
	}
	printf("%" PRIu64 " chunks removed\n", removed);
	return 0;
}

static int deaf(uint32_t size, uint32_t count, unsigned depth, uint64_t ino)
{
	char c;

	for (uint32_t i = 0; i < depth; i++)
		if (start_read(&slots[i], ino, i % count, 0, size) < 0)
			errx(1, "read");
	printf("asked\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	/* The process ends with its calls. */
	_exit(0);
}

static int slowest(uint32_t size, uint32_t count, uint64_t ino)
{
	struct ff3_rep_chunk_read rep;
	double most = 0;

	slot_init(&slots[0]);
	for (uint32_t k = 0; k < count; k++) {
		uint64_t t0 = ff3_boottime_ns();

		if (do_read(&slots[0], ino, k, 0, size, &rep) < 0)
			errx(1, "%s", ff3_strerror(slots[0].call.status));
		most = MAX(most, seconds_since(t0));
	}
	printf("%.0f\n", most * 1e3);
	return 0;
}

static uint32_t number(char **argv, int i)
{
	uint64_t v;

	if (!argv[i] || ff3_parse_size(argv[i], &v) < 0)
		errx(2, "argument %d: expected a number", i);
	return (uint32_t)v;
}

static int run(char **argv)
{
	const char *what = argv[3];
	unsigned depth = 1;

	if (strcmp(what, "check") == 0)
		return check();
	if (strcmp(what, "load") == 0)
		return load(argv[4], number(argv, 5));
	if (strcmp(what, "verify") == 0)
		return verify(argv[4]);
	if (strcmp(what, "remove") == 0)
		return remove_range(number(argv, 4), number(argv, 5));
	if (strcmp(what, "former") == 0)
		return former(argv[1], strtoull(argv[2], NULL, 16));
	if (strcmp(what, "slowest") == 0)
		return slowest(number(argv, 4), number(argv, 5), number(argv, 6));
	depth = strcmp(what, "read") == 0 ? number(argv, 7) : number(argv, 6);
	if (depth < 1 || depth > MAX_DEPTH)
		errx(2, "depth: 1 to %d", MAX_DEPTH);
	for (unsigned i = 0; i < depth; i++)
		slot_init(&slots[i]);
	if (strcmp(what, "write") == 0)
		return bench_write(number(argv, 4), number(argv, 5), depth, number(argv, 7), false);
	if (strcmp(what, "synced") == 0)
		return bench_write(number(argv, 4), number(argv, 5), depth, number(argv, 7), true);
	if (strcmp(what, "read") == 0)
		return bench_read(number(argv, 4), number(argv, 5), number(argv, 6), depth,
				  number(argv, 8), number(argv, 9));
	if (strcmp(what, "deaf") == 0)
		return deaf(number(argv, 4), number(argv, 5), depth, number(argv, 7));
	errx(2, "%s: unknown", what);
}

int main(int argc, char **argv)
{
	struct ff3_rpc_identity identity = { .role = FF3_ROLE_CLIENT };
	const char *connections = getenv("CONNECTIONS");
	int r;

	if (argc < 4)
		errx(2, "usage: see the source");
	session = identity.session = ff3_random_u64();
	peer = test_peer(argv[1], &identity, strtoull(argv[2], NULL, 16), connections ? (unsigned)atoi(connections) : 1);
	r = run(argv);
	ff3_rpc_peer_free(peer);
	return r;
}
