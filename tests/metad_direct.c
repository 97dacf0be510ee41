#include "metad_direct.h"

#include <dirent.h>
#include <stdio.h>

static void open_db(struct md *d)
{
	if (metad_db_open(d->dir, 4 << 20, FF3_CHUNK_SIZE_DEFAULT, 4, &d->db) < 0 ||
	    metad_apply_new(d->db, &d->apply) < 0)
		abort();
	d->seq = metad_db_meta(d->db)->applied_seq;
	d->hash = metad_db_meta(d->db)->applied_hash;
	d->next_ino = metad_db_meta(d->db)->next_ino;
}

struct md *md_new(void)
{
	struct md *d = calloc(1, sizeof *d);
	uint8_t targets[64];
	struct ff3_enc e = ff3_enc_init(targets, sizeof targets);

	snprintf(d->dir, sizeof d->dir, "/tmp/ff3fs-unit-metad.XXXXXX");
	if (!mkdtemp(d->dir))
		abort();
	d->session = 77;
	open_db(d);
	ff3_put_target(&e, &(struct ff3_target){ 5, 6, FF3_TARGET_SERVING, 1 << 30, 0 });
	if (MD_NEXT(d, register_node, .node = 6, .address = FF3_STR("h:1"),
		    .targets = { targets, (uint32_t)e.len }) < 0)
		abort();
	return d;
}

static void close_db(struct md *d)
{
	metad_apply_free(d->apply);
	metad_db_close(d->db);
}

void md_reopen(struct md *d)
{
	close_db(d);
	open_db(d);
}

void md_free(struct md *d)
{
	DIR *dir = opendir(d->dir);
	struct dirent *e;

	close_db(d);
	while (dir && (e = readdir(dir)))
		unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(d->dir);
	free(d);
}

void md_hold(struct md *d)
{
	d->held = true;
	if (metad_db_begin(d->db) < 0)
		abort();
}

void md_let_go(struct md *d)
{
	d->held = false;
	if (metad_db_commit(d->db) < 0)
		abort();
}

struct ff3_tag md_tag(struct md *d)
{
	d->client_seq++;
	return (struct ff3_tag){ d->client_seq, d->client_seq };
}

int md_apply(struct md *d, uint16_t op, size_t body_len)
{
	static uint8_t buf[FF3_BODY_MAX + 8192];
	static const uint32_t chains[] = { 1 };
	struct metad_record rec = {
		.seq = d->seq + 1,
		.epoch = 1,
		.prev_hash = d->hash,
		.time = (int64_t)(1000000000 * (d->seq + 1)),
		.session = op < FF3_OP_MAX ? d->session : 0,
		.ino = d->next_ino++,
		.seed = 3,
		.op = op,
		.cred = d->cred,
		.assigned = { chains, sizeof chains },
		.payload = { d->body, (uint32_t)body_len },
	}, decoded;
	size_t size;

	metad_record_encode(buf, &rec);
	if (metad_record_decode(buf, sizeof buf, &decoded, &size) < 0)
		abort();
	d->seq++;
	d->hash = metad_record_hash(buf, size);
	if ((!d->held && metad_db_begin(d->db) < 0) || metad_apply(d->apply, &decoded, d->hash) < 0 ||
	    (!d->held && metad_db_commit(d->db) < 0))
		abort();
	return d->apply->status;
}

static const char *name_of(unsigned v)
{
	static const char *const names[] = { "a", "b", "c", "a/x", "a/y", "b/x", "b/x/z", "c/q" };

	return names[v % ARRAY_SIZE(names)];
}

#define ENCODE(name, ...)                                                                          \
	ff3_encode_req_##name(buf, size,                                                           \
			      &(struct ff3_req_##name){ .tag = { i + 1, i > 8 ? i - 8 : 0 },       \
							__VA_ARGS__ })

static size_t encode_random(unsigned i, unsigned v, uint16_t *ret_op, uint8_t *buf, size_t size)
{
	unsigned a = v / 16, b = v / 1024;

	switch (v % 16) {
	case 0:
	case 1:
	case 2:
		return *ret_op = FF3_OP_mkdir, ENCODE(mkdir, .at = md_at(name_of(a)), .mode = 0755);
	case 3:
	case 4:
	case 5:
		return *ret_op = FF3_OP_open,
		       ENCODE(open, .at = md_at(name_of(a)), .mode = 0644,
			      .flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE | (b % 2 ? FF3_OPEN_TRUNCATE : 0));
	case 6:
		return *ret_op = FF3_OP_rmdir, ENCODE(rmdir, .at = md_at(name_of(a)));
	case 7:
		return *ret_op = FF3_OP_unlink, ENCODE(unlink, .at = md_at(name_of(a)));
	case 8:
	case 9:
		return *ret_op = FF3_OP_rename, ENCODE(rename, .from = md_at(name_of(a)),
						       .to = md_at(name_of(b)), .flags = b % 3);
	case 10:
		return *ret_op = FF3_OP_link,
		       ENCODE(link, .from = md_at(name_of(a)), .to = md_at(name_of(b)));
	case 11:
		return *ret_op = FF3_OP_symlink,
		       ENCODE(symlink, .at = md_at(name_of(a)), .target = FF3_STR("b/x"));
	case 12:
		return *ret_op = FF3_OP_setattr, ENCODE(setattr, .at = md_at(name_of(a)),
							.valid = FF3_SET_MODE, .mode = b % 01000);
	case 13:
		return *ret_op = FF3_OP_truncate,
		       ENCODE(truncate, .at = md_at(name_of(a)), .size = b % 9999);
	case 14:
		return *ret_op = FF3_OP_setxattr,
		       ENCODE(setxattr, .at = md_at(name_of(a)), .name = FF3_STR("user.k"),
			      .value = { name_of(b), 1 });
	}
	return *ret_op = FF3_OP_set_layout,
	       ENCODE(set_layout, .at = md_at(name_of(a)), .chunk_size = 65536u << (b % 3), .stripe = 2);
}

void md_random_record(unsigned i, struct metad_record *rec, uint8_t *buf, size_t size)
{
	static const uint32_t chains[] = { 1, 2, 3 };
	uint64_t seed = i;
	unsigned v = (unsigned)(metad_hash(1, &seed, sizeof seed) >> 8);

	*rec = (struct metad_record){
		.time = 1000 + i,
		.session = 9 + i % 3,
		.ino = 1000 + i,
		.seed = v,
		.assigned = { chains, sizeof chains },
	};
	rec->payload = (struct ff3_blob){ buf, (uint32_t)encode_random(i, v, &rec->op, buf, size) };
}
