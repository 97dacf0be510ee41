/* Purpose: operations that metad logs for itself: a new epoch, and what was cleaned up.
 * Threads: the owner of the database. */
#include <endian.h>

#include "apply.h"

int apply_log_start(struct metad_apply *a)
{
	return 0;
}

void metad_members_encode(const struct replica_config *config, uint64_t ret[METAD_MEMBERS_WORDS])
{
	for (uint32_t i = 0; i < config->n; i++) {
		const struct replica_member *m = &config->member[i];

		ret[3 * i] = htole64(m->id);
		ret[3 * i + 1] = htole64(m->log_id);
		ret[3 * i + 2] = htole64(m->voter | (uint64_t)m->witness << 1);
	}
}

int metad_members_decode(struct ff3_blob payload, struct replica_config *ret)
{
	struct ff3_dec d = ff3_dec_blob(payload);

	*ret = (struct replica_config){ 0 };
	while (ff3_dec_more(&d)) {
		struct replica_member *m = &ret->member[ret->n];
		uint64_t bits;

		if (ret->n == REPLICA_MEMBERS_MAX)
			return -EBADMSG;
		ff3_get_u64(&d, &m->id);
		ff3_get_u64(&d, &m->log_id);
		ff3_get_u64(&d, &bits);
		m->voter = bits & 1;
		m->witness = bits >> 1 & 1;
		ret->n++;
	}
	return d.bad ? -EBADMSG : 0;
}

int apply_log_members(struct metad_apply *a)
{
	struct replica_config config;
	int r = metad_members_decode(a->rec->payload, &config);

	return r < 0 ? r : metad_db_put_members(a->db, &config);
}

/* Orphans that no session has open: their chunks become garbage, their rows go. */
int apply_log_collect(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		struct metad_inode inode;
		uint64_t ino, root;
		int r;

		ff3_get_u64(&d, &ino);
		r = metad_db_del_orphan(a->db, ino, &root);
		if (r > 0)
			r = metad_db_get_inode(a->db, ino, &inode);
		if (r < 0)
			return r;
		if (r == 0 || inode.nlink > 0)
			continue;
		if (S_ISREG(inode.mode))
			r = metad_db_add_garbage(a->db, ino, inode.stripe, root);
		else if (root != 0)
			r = apply_removal_ended(a, root, 1);
		if (r >= 0)
			r = metad_db_del_truncation(a->db, ino);
		if (r >= 0)
			r = metad_db_del_inode(a->db, &inode);
		if (r < 0)
			return r;
	}
	return 0;
}

/* So many of one removal, whose row is changed once for all that follow one another. */
struct ended {
	uint64_t root;
	int64_t n;
};

static int note_ended(struct metad_apply *a, struct ended *e, uint64_t root)
{
	int r = 0;

	if (e->root != root && e->n > 0)
		r = apply_removal_ended(a, e->root, e->n);
	if (e->root != root)
		*e = (struct ended){ .root = root };
	e->n += root != 0;
	return r;
}

int apply_log_garbage_done(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);
	struct ended ended = { 0 };

	while (ff3_dec_more(&d)) {
		uint64_t ino, root;
		int r;

		ff3_get_u64(&d, &ino);
		r = metad_db_del_garbage(a->db, ino, &root);
		if (r > 0)
			r = note_ended(a, &ended, root);
		if (r < 0)
			return r;
	}
	return note_ended(a, &ended, 0);
}

/* Only if the file was not cut again meanwhile. */
int apply_log_truncation_done(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		uint64_t ino, truncs;
		struct metad_inode inode;
		int r;

		ff3_get_u64(&d, &ino);
		ff3_get_u64(&d, &truncs);
		r = metad_db_get_inode(a->db, ino, &inode);
		if (r > 0 && inode.truncs == truncs)
			r = metad_db_del_truncation(a->db, ino);
		if (r < 0)
			return r;
	}
	return 0;
}
