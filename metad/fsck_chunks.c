/* Purpose: fsck's second part: a state of the names, then the lists of all targets, what does not go
 * together, and whether it still does not when it is looked at again.
 *
 * A finding counts if the file is open nowhere and is as it was, the chunk daemon says the same of the
 * chunk, and then the file is still so. A number of an inode that is gone never comes again, so its chunks
 * need no such care.
 *
 * Threads: fsck's; take_* and check_* on the loop. */
#include "../common/admin/loop_call.h"
#include "../common/base/log.h"
#include "fsck.h"

#define LOOP_MS 5000u
#define CALL_MS 10000u
#define TRIES 3

/* --- Targets ------------------------------------------------------------------------------------- */

static int add_target(void *arg, uint64_t target)
{
	struct metad_fsck *f = arg;
	struct fsck_target *grown = reallocarray(f->targets, f->n_targets + 1, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	f->targets = grown;
	grown[f->n_targets++] = (struct fsck_target){ .id = target };
	return 0;
}

static void take_addresses(void *arg)
{
	struct metad_fsck *f = arg;
	struct ff3_rep_routes p = { 0 };
	struct ff3_dec d;

	metad_routes_encode(f->m, &p, f->reply, FF3_BODY_MAX);
	d = ff3_dec_blob(p.targets);
	while (ff3_dec_more(&d)) {
		struct ff3_dec nodes = ff3_dec_blob(p.nodes);
		struct ff3_target t;

		ff3_get_target(&d, &t);
		while (ff3_dec_more(&nodes)) {
			struct ff3_node n;

			ff3_get_node(&nodes, &n);
			for (size_t i = 0; n.node == t.node && i < f->n_targets; i++)
				if (f->targets[i].id == t.target)
					snprintf(f->targets[i].address, sizeof f->targets[i].address,
						 "%.*s", (int)n.address.len, n.address.p);
		}
	}
}

static const char *address_of(const struct metad_fsck *f, uint64_t target)
{
	for (size_t i = 0; i < f->n_targets; i++)
		if (f->targets[i].id == target)
			return f->targets[i].address;
	return "";
}

static int call(struct metad_fsck *f, uint64_t target, uint16_t op, const void *body, size_t len,
		size_t *ret_len)
{
	struct metad_chunk_call c = {
		.target = target,
		.address = address_of(f, target),
		.op = op,
		.body = body,
		.body_len = len,
		.reply = f->reply,
		.reply_size = FF3_BODY_MAX,
	};

	if (!*c.address)
		return -EHOSTUNREACH;
	for (int i = 0; i < TRIES; i++) {
		metad_chunk_calls_run(f->calls, &c, 1, CALL_MS);
		if (c.result >= 0 || ff3_err_class(c.result) != FF3_CLASS_RETRY_SAME || f->cancel)
			break;
	}
	*ret_len = c.reply_len;
	return c.result;
}

/* CALL(f, target, chunk_list, &q, &p): the reply in *p, which is valid until the next one. */
#define CALL(f, target, name, q, p)                                                                \
	({                                                                                         \
		uint8_t _body[64];                                                                 \
		size_t _len = ff3_encode_req_##name(_body, sizeof _body, (q));                     \
		int _r = call((f), (target), FF3_OP_##name, _body, _len, &_len);                   \
                                                                                                   \
		_r < 0 ? _r : ff3_decode_rep_##name((f)->reply, _len, (p));                        \
	})

/* Returns the cursor of the next page in *cursor. */
static int list_page(struct metad_fsck *f, uint64_t target, uint64_t *cursor, uint64_t *n)
{
	struct ff3_req_chunk_list q = { .cursor = *cursor };
	struct ff3_rep_chunk_list p;
	struct ff3_dec d;
	int r = CALL(f, target, chunk_list, &q, &p);

	if (r < 0)
		return r;
	d = ff3_dec_blob(p.chunks);
	while (ff3_dec_more(&d)) {
		struct ff3_chunk c;

		ff3_get_chunk(&d, &c);
		r = metad_db_fsck_chunks_add(f->snap, target, &c);
		if (r < 0)
			return r;
		++*n;
	}
	*cursor = p.cursor;
	return 0;
}

/* A target that does not answer is left out, and told. */
static int list_targets(struct metad_fsck *f)
{
	uint64_t n = 0;
	int r = 0;

	for (size_t i = 0; i < f->n_targets && r == 0; i++) {
		uint64_t cursor = 0;
		int e;

		do {
			e = list_page(f, f->targets[i].id, &cursor, &n);
			r = fsck_step(f, n, 0);
		} while (e == 0 && r == 0 && cursor != 0);
		pthread_mutex_lock(&f->lock);
		f->targets[i].error = e;
		f->targets[i].complete = e == 0;
		pthread_mutex_unlock(&f->lock);
		if (e < 0)
			ff3_log_errno(e, "fsck: target %016" PRIx64 " at %s is left out",
				      f->targets[i].id, f->targets[i].address);
	}
	return r;
}

static bool is_complete(void *arg, uint64_t target)
{
	const struct metad_fsck *f = arg;

	for (size_t i = 0; i < f->n_targets; i++)
		if (f->targets[i].id == target)
			return f->targets[i].complete;
	return false;
}

/* --- Looking again --------------------------------------------------------------------------------- */

/* On the loop: nobody is at work on what the candidates are about. */
static void check_quiet(void *arg)
{
	struct metad_fsck *f = arg;
	struct metad *m = f->m;

	for (size_t i = 0; i < f->n_candidates; i++) {
		const struct metad_finding *c = &f->candidates[i];
		const struct metad_file *file = metad_file_find(m, c->ino);
		struct metad_inode inode, now;
		int r = metad_db_get_inode(m->db, c->ino, &inode);

		if (!f->sure[i])
			continue;
		if (c->kind == METAD_F_ORPHAN_CHUNKS) {
			f->sure[i] = r == 0;
			continue;
		}
		now = inode;
		if (r > 0)
			metad_file_overlay(m, &now);
		f->sure[i] = r > 0 && inode.nlink > 0 && inode.size == c->size && now.size == c->size &&
			     inode.truncs == c->truncs && !metad_is_open(m, c->ino) &&
			     !(file && metad_file_is_truncating(m, c->ino)) &&
			     !(c->kind == METAD_F_MISSING && inode.sparse);
	}
}

/* The length of a chunk as its target says, now. */
static int chunk_length(struct metad_fsck *f, uint64_t target, uint64_t ino, uint32_t index,
			uint32_t *ret)
{
	struct ff3_req_chunk_read q = { .ino = ino, .index = index };
	struct ff3_rep_chunk_read p;
	int r = CALL(f, target, chunk_read, &q, &p);

	if (r < 0)
		return r;
	*ret = p.chunk_size;
	return 0;
}

/* Of a missing chunk all but the last of a file must be whole; so a short one counts as missing. */
static bool is_still_so(struct metad_fsck *f, const struct metad_finding *c)
{
	uint32_t len;

	if (c->kind == METAD_F_STRIPE)
		return true;
	if (chunk_length(f, c->target, c->ino, c->first, &len) < 0)
		return false;
	return c->kind == METAD_F_MISSING ? len == c->have : len == c->have && len > 0;
}

static int remove_orphans(struct metad_fsck *f, const struct metad_finding *c)
{
	struct ff3_req_chunk_remove q = { .inos = { &c->ino, 8 } };
	struct ff3_rep_chunk_remove p;

	return CALL(f, c->target, chunk_remove, &q, &p);
}

static int repair(struct metad_fsck *f, const struct metad_finding *c, bool *ret)
{
	struct metad_finding cut = *c;
	uint64_t mask;
	int r;

	*ret = false;
	if (!f->repair)
		return 0;
	if (c->kind == METAD_F_ORPHAN_CHUNKS) {
		*ret = remove_orphans(f, c) >= 0;
		return 0;
	}
	if (c->kind != METAD_F_BEYOND_END)
		return 0;
	cut.have = c->size;
	cut.want = c->truncs;
	r = fsck_submit(f, &cut, 1, &mask);
	*ret = r == 0 && (mask & 1);
	return r;
}

static int confirm(struct metad_fsck *f)
{
	int r;

	for (size_t i = 0; i < f->n_candidates; i++)
		f->sure[i] = true;
	r = ff3_loop_call(f->m->loop, check_quiet, f, LOOP_MS);
	for (size_t i = 0; r == 0 && i < f->n_candidates; i++)
		f->sure[i] = f->sure[i] && is_still_so(f, &f->candidates[i]);
	if (r == 0)
		r = ff3_loop_call(f->m->loop, check_quiet, f, LOOP_MS);
	for (size_t i = 0; r == 0 && i < f->n_candidates; i++) {
		bool repaired;

		if (!f->sure[i])
			continue;
		r = repair(f, &f->candidates[i], &repaired);
		if (r == 0)
			r = fsck_record(f, &f->candidates[i], repaired);
	}
	f->n_candidates = 0;
	return r;
}

static int on_candidate(void *arg, const struct metad_finding *finding)
{
	struct metad_fsck *f = arg;

	f->candidates[f->n_candidates++] = *finding;
	return f->n_candidates == FSCK_CANDIDATES ? confirm(f) : 0;
}

int fsck_chunks(struct metad_fsck *f)
{
	int r;

	/* In the epoch of now: chunk daemons refuse those before. */
	metad_chunk_calls_free(TAKE_PTR(f->calls));
	r = metad_chunk_calls_new(f->m, &f->calls);
	if (r < 0)
		return r;
	fsck_phase(f, "lists");
	f->n_candidates = 0;
	free(TAKE_PTR(f->targets));
	f->n_targets = 0;
	r = fsck_open_snapshot(f);
	if (r == 0)
		r = metad_db_fsck_targets(f->snap, add_target, f);
	if (r >= 0)
		r = ff3_loop_call(f->m->loop, take_addresses, f, LOOP_MS);
	if (r >= 0)
		r = metad_db_fsck_chunks_begin(f->snap);
	if (r >= 0)
		r = list_targets(f);
	if (r < 0)
		return r;
	fsck_phase(f, "chunks");
	r = metad_db_fsck_chunks(f->snap, fsck_step, on_candidate, is_complete, f);
	return r < 0 ? r : confirm(f);
}
