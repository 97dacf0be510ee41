/* Purpose: the lists of the HTTP endpoint, and layouts.
 * Threads: as metad_admin.c. */
#include "../common/admin/loop_call.h"
#include "admin.h"

/* A node that has not been heard of for so long is down. */
#define DOWN_MS 15000u

struct routes {
	struct metad *m;
	struct ff3_rep_routes p;
	uint8_t *buf;
	int result;
};

static void take_routes(void *arg)
{
	struct routes *t = arg;

	t->result = metad_group_serves(t->m) ? 0 : FF3_E_NOT_PRIMARY;
	if (t->result < 0)
		return;
	metad_routes_encode(t->m, &t->p, t->buf, FF3_BODY_MAX);
}

static int get_routes(struct metad_admin *admin, struct routes *t, json_t **ret)
{
	int r;

	*t = (struct routes){ .m = admin->m, .buf = malloc(FF3_BODY_MAX) };
	r = t->buf ? ff3_loop_call(admin->m->loop, take_routes, t, ADMIN_TIMEOUT_MS) : -ENOMEM;
	if (r >= 0 && t->result < 0)
		return metad_admin_not_primary(admin, ret);
	return r < 0 ? ff3_http_problem_errno(ret, r, "routes") : 0;
}

static json_t *text(struct ff3_str s)
{
	return json_stringn_nocheck(s.p ? s.p : "", s.len);
}

static int count_targets(const struct routes *t, uint64_t node)
{
	struct ff3_dec d = ff3_dec_blob(t->p.targets);
	int n = 0;

	while (ff3_dec_more(&d)) {
		struct ff3_target v;

		ff3_get_target(&d, &v);
		n += v.node == node;
	}
	return n;
}

int metad_admin_nodes(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct routes t;
	int r = get_routes(ctx, &t, ret);
	struct ff3_dec d = ff3_dec_blob(t.p.nodes);
	json_t *list = json_array();

	while (r == 0 && ff3_dec_more(&d)) {
		struct ff3_node n;
		json_t *o;

		ff3_get_node(&d, &n);
		o = json_pack("{s:o, s:o, s:o}", "node", metad_admin_hex(n.node), "address", text(n.address),
			      "admin", text(n.admin));
		json_object_set_new(o, "state", json_string(n.seen_ms < DOWN_MS ? "up" : "down"));
		json_object_set_new(o, "targets", json_integer(count_targets(&t, n.node)));
		json_object_set_new(o, "seen_ms",
				    n.seen_ms == UINT64_MAX ? json_null() :
							      json_integer((json_int_t)n.seen_ms));
		json_array_append_new(list, o);
	}
	free(t.buf);
	if (r != 0) {
		json_decref(list);
		return r;
	}
	*ret = json_pack("{s:o, s:n}", "items", list, "next");
	return 200;
}

int metad_admin_targets(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct routes t;
	int r = get_routes(ctx, &t, ret);
	struct ff3_dec d = ff3_dec_blob(t.p.targets);
	json_t *list = json_array();

	while (r == 0 && ff3_dec_more(&d)) {
		struct ff3_target v;

		ff3_get_target(&d, &v);
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:s, s:I, s:I}", "target", metad_admin_hex(v.target), "node",
					metad_admin_hex(v.node), "state",
					v.state == FF3_TARGET_SERVING ? "serving" : "offline",
					"capacity", (json_int_t)v.capacity, "used",
					(json_int_t)v.used));
	}
	free(t.buf);
	if (r != 0) {
		json_decref(list);
		return r;
	}
	*ret = json_pack("{s:o, s:n}", "items", list, "next");
	return 200;
}

int metad_admin_chains(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct routes t;
	int r = get_routes(ctx, &t, ret);
	struct ff3_dec d = ff3_dec_blob(t.p.chains);
	json_t *list = json_array();

	while (r == 0 && ff3_dec_more(&d)) {
		struct ff3_chain c;
		json_t *members = json_array();

		ff3_get_chain(&d, &c);
		for (uint32_t i = 0; i + 8 <= c.members.len; i += 8) {
			uint64_t id;

			memcpy(&id, (const uint8_t *)c.members.p + i, 8);
			json_array_append_new(members, metad_admin_hex(id));
		}
		json_array_append_new(list, json_pack("{s:i, s:I, s:o}", "chain", (int)c.chain,
						      "version", (json_int_t)c.version, "members",
						      members));
	}
	free(t.buf);
	if (r != 0) {
		json_decref(list);
		return r;
	}
	*ret = json_pack("{s:o, s:n}", "items", list, "next");
	return 200;
}

struct removals {
	struct metad *m;
	struct metad_removal *list;
	size_t n, room;
};

static int keep_removal(void *arg, const struct metad_removal *removal)
{
	struct removals *t = arg;

	if (t->n == t->room) {
		size_t room = MAX(2 * t->room, (size_t)64);
		struct metad_removal *list = realloc(t->list, room * sizeof *list);

		if (!list)
			return -ENOMEM;
		t->list = list;
		t->room = room;
	}
	t->list[t->n++] = *removal;
	return 0;
}

static void take_removals(void *arg)
{
	struct removals *t = arg;

	(void)metad_db_each_removal(t->m->db, 0, keep_removal, t);
}

static json_t *seconds(int64_t ns)
{
	return ns ? json_integer(ns / (int64_t)FF3_NSEC_PER_SEC) : json_null();
}

int metad_admin_removals(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_admin *admin = ctx;
	struct removals t = { .m = admin->m };
	int r = ff3_loop_call(admin->m->loop, take_removals, &t, ADMIN_TIMEOUT_MS);
	json_t *list = json_array();

	for (size_t i = 0; i < t.n; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:I}", "removal",
					metad_admin_hex(t.list[i].root), "uid",
					(json_int_t)t.list[i].uid, "began", seconds(t.list[i].began),
					"ended", seconds(t.list[i].ended), "names",
					(json_int_t)t.list[i].names, "directories",
					(json_int_t)t.list[i].dirs, "pending",
					(json_int_t)t.list[i].pending, "waiting",
					(json_int_t)t.list[i].waiting));
	free(t.list);
	if (r < 0) {
		json_decref(list);
		return ff3_http_problem_errno(ret, r, "removals");
	}
	*ret = json_pack("{s:o, s:n}", "items", list, "next");
	return 200;
}

struct layout_query {
	struct metad *m;
	const char *path;
	int result;
	struct metad_inode inode;
	uint32_t chunk_size, width, n_chains;
	uint8_t pin;
	uint32_t chains[1024];
};

static void take_layout(void *arg)
{
	static const struct metad_cred root = { 0 };
	struct layout_query *l = arg;
	struct ff3_path at = { .dir = FF3_ROOT_INO, .path = ff3_str_from(l->path) };
	struct metad *m = l->m;
	struct ff3_layout layout;

	l->result = metad_group_serves(m) ? metad_walk_object(m->db, &root, &at, &m->walk) :
					    FF3_E_NOT_PRIMARY;
	if (l->result < 0)
		return;
	l->inode = m->walk.inode;
	metad_file_overlay(m, &l->inode);
	if (S_ISDIR(l->inode.mode)) {
		l->result = apply_effective_layout(m->db, &l->inode, &l->chunk_size, &l->width,
						   &l->pin);
		l->width = MIN(l->width, (uint32_t)ARRAY_SIZE(l->chains));
		l->n_chains = metad_routes_pick(m, l->chains, l->width);
		return;
	}
	l->result = S_ISREG(l->inode.mode) ? metad_file_layout(m->db, &l->inode, &layout) : -EINVAL;
	if (l->result < 0)
		return;
	l->chunk_size = layout.chunk_size;
	l->pin = layout.pin;
	l->width = l->n_chains = MIN(ff3_layout_n_stripe(&layout), (uint32_t)ARRAY_SIZE(l->chains));
	memcpy(l->chains, layout.stripe.p, 4 * l->n_chains);
}

int metad_admin_layout(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_admin *admin = ctx;
	struct layout_query l = { .m = admin->m, .path = request->rest };
	int r = ff3_loop_call(admin->m->loop, take_layout, &l, ADMIN_TIMEOUT_MS);
	json_t *chains;

	if (r >= 0 && l.result == FF3_E_NOT_PRIMARY)
		return metad_admin_not_primary(admin, ret);
	if (r < 0 || l.result < 0)
		return ff3_http_problem_errno(ret, r < 0 ? r : l.result, request->rest);
	chains = json_array();
	for (uint32_t i = 0; i < l.n_chains; i++)
		json_array_append_new(chains, json_integer(l.chains[i]));
	*ret = json_pack("{s:s, s:o, s:s, s:I, s:i, s:i, s:i, s:b, s:b, s:o}", "path", request->rest, "ino",
			 metad_admin_hex(l.inode.ino), "type", S_ISDIR(l.inode.mode) ? "directory" : "file", "size",
			 (json_int_t)l.inode.size, "chunk_size", (int)l.chunk_size, "stripe",
			 (int)l.width, "seed", (int)l.inode.seed, "own",
			 !S_ISDIR(l.inode.mode) || l.inode.chunk_size != 0, "pinned",
			 l.pin == FF3_PIN_MEMORY, "chains", chains);
	if (!*ret)
		return ff3_http_problem_errno(ret, -EINVAL, "the path is not UTF-8");
	return 200;
}
