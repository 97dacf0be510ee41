/* Purpose: who stores chunks: nodes, targets, chains; and directories' layouts.
 *
 * Every target that is new gets a chain of its own. Whatever changes what clients route by raises the
 * routing version.
 *
 * Threads: the owner of the database. */
#include "apply.h"

#define ADDRESS_MAX 255u
#define WIDTH_MAX 1024u

static int give_chain(struct metad_apply *a, uint64_t target)
{
	struct metad_meta *meta = metad_db_meta(a->db);
	uint64_t member = target;

	return metad_db_add_chain(a->db, (uint32_t)meta->next_chain++, 1,
				  (struct ff3_blob){ &member, sizeof member });
}

/* 1: something changed. */
static int register_target(struct metad_apply *a, uint64_t node, const struct ff3_target *t)
{
	uint32_t state = t->state == FF3_TARGET_OFFLINE ? FF3_TARGET_OFFLINE : FF3_TARGET_SERVING;
	uint32_t old_state;
	uint64_t old_node;
	int r = metad_db_get_target(a->db, t->target, &old_node, &old_state);

	if (r < 0)
		return r;
	if (r > 0 && old_node == node && old_state == state)
		return 0;
	if (r == 0)
		r = give_chain(a, t->target);
	if (r >= 0)
		r = metad_db_put_target(a->db, t->target, node, state);
	return r < 0 ? r : 1;
}

/* 1: something changed. */
static int register_address(struct metad_apply *a, const struct ff3_req_register_node *q)
{
	struct ff3_str address, admin;
	int r = metad_db_get_node(a->db, q->node, &address, &admin);

	if (r < 0)
		return r;
	if (r > 0 && address.len == q->address.len && admin.len == q->admin.len &&
	    memcmp(address.p, q->address.p, address.len) == 0 &&
	    (admin.len == 0 || memcmp(admin.p, q->admin.p, admin.len) == 0))
		return 0;
	r = metad_db_put_node(a->db, q->node, q->address, q->admin);
	return r < 0 ? r : 1;
}

static bool targets_decode(struct ff3_blob targets)
{
	struct ff3_dec d = ff3_dec_blob(targets);
	struct ff3_target t;

	while (ff3_dec_more(&d)) {
		ff3_get_target(&d, &t);
		if (t.target == 0)
			return false;
	}
	return !d.bad;
}

int apply_register_node(struct metad_apply *a, const struct ff3_req_register_node *q,
			struct ff3_rep_register_node *p)
{
	struct metad_meta *meta = metad_db_meta(a->db);
	struct ff3_dec d = ff3_dec_blob(q->targets);
	int r, changed;

	if (q->node == 0 || q->address.len == 0 || q->address.len > ADDRESS_MAX ||
	    q->admin.len > ADDRESS_MAX || !targets_decode(q->targets))
		return -EINVAL;
	changed = r = register_address(a, q);
	while (r >= 0 && ff3_dec_more(&d)) {
		struct ff3_target t;

		ff3_get_target(&d, &t);
		r = register_target(a, q->node, &t);
		changed |= r;
	}
	if (r < 0)
		return r;
	if (changed) {
		meta->routing_version++;
		a->effects.routing = true;
	}
	p->cluster = meta->cluster;
	p->version = meta->routing_version;
	return 0;
}

int apply_log_target_state(struct metad_apply *a)
{
	struct ff3_dec d = ff3_dec_blob(a->rec->payload);

	while (ff3_dec_more(&d)) {
		uint64_t target, state, node;
		uint32_t old;
		int r;

		ff3_get_u64(&d, &target);
		ff3_get_u64(&d, &state);
		r = metad_db_get_target(a->db, target, &node, &old);
		if (r > 0 && old != state)
			r = metad_db_put_target(a->db, target, node, (uint32_t)state);
		else
			r = MIN(r, 0);
		if (r < 0)
			return r;
	}
	metad_db_meta(a->db)->routing_version++;
	a->effects.routing = true;
	return 0;
}

/* All that can change of a file's layout: where its chunks are does not. */
static int pin_file(struct metad_apply *a, struct metad_inode *inode,
		    const struct ff3_req_set_layout *q)
{
	if (q->chunk_size || q->stripe || q->pin == 0)
		return -ENOTDIR;
	if (!metad_is_owner(&a->rec->cred, inode))
		return -EPERM;
	inode->pin = q->pin;
	inode->ctime = a->now;
	return metad_db_put_inode(a->db, inode);
}

int apply_set_layout(struct metad_apply *a, const struct ff3_req_set_layout *q,
		     struct ff3_rep_set_layout *p)
{
	struct metad_inode *dir = &a->walk[0].inode;
	bool inherit = q->chunk_size == 0 && q->stripe == 0 && q->pin == 0;
	uint32_t chunk_size, width;
	int r = apply_walk_object(a, 0, &q->at);
	uint8_t pin;

	if (r < 0)
		return r;
	if (q->pin > FF3_PIN_MEMORY)
		return -EINVAL;
	if (S_ISREG(dir->mode))
		return pin_file(a, dir, q);
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (!metad_is_owner(&a->rec->cred, dir))
		return -EPERM;
	if (inherit && dir->ino == FF3_ROOT_INO)
		return -EINVAL;
	if (q->chunk_size != 0 &&
	    (q->chunk_size < FF3_CHUNK_SIZE_MIN || q->chunk_size > FF3_CHUNK_SIZE_MAX ||
	     (q->chunk_size & (q->chunk_size - 1)) != 0))
		return -EINVAL;
	if (q->stripe > WIDTH_MAX)
		return -EINVAL;
	r = apply_effective_layout(a->db, dir, &chunk_size, &width, &pin);
	if (r < 0)
		return r;
	/* What is not given stays what it is in effect. */
	dir->chunk_size = inherit ? 0 : q->chunk_size ? q->chunk_size : chunk_size;
	dir->stripe = inherit ? 0 : q->stripe ? q->stripe : width;
	dir->pin = inherit ? 0 : q->pin ? q->pin : pin;
	dir->ctime = a->now;
	return metad_db_put_inode(a->db, dir);
}
