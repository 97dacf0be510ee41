/* Purpose: which chunk daemons there are, how full, how lately heard of; which chains a new file gets.
 *
 * Nodes, targets and chains are rows of the database, changed by log records and read again after
 * each; space and the time of the last heartbeat are only here.
 *
 * Choice of chains: those whose head serves, was heard of lately and is not 95 % full, in turn; if
 * there are none, all. A file takes as many as its layout is wide, so files begin everywhere.
 *
 * Threads: the loop's. */
#include "../common/base/log.h"
#include "metad.h"

#define LATELY_NS (15 * FF3_NSEC_PER_SEC)

struct node {
	uint64_t id;
	char *address;
	char *admin;
	uint64_t seen_ns; /* CLOCK_BOOTTIME; 0: never */
};

struct target {
	uint64_t id;
	uint64_t node;
	uint32_t state;
	uint64_t capacity;
	uint64_t used;
	uint64_t seen_ns;
};

struct chain {
	uint32_t id;
	uint64_t version;
	uint64_t *members;
	uint32_t n_members;
};

struct metad_routes {
	struct node *nodes;
	struct target *targets;
	struct chain *chains;
	size_t n_nodes, n_targets, n_chains;
	uint32_t turn;
};

static void clear(struct metad_routes *t)
{
	for (size_t i = 0; i < t->n_nodes; i++) {
		free(t->nodes[i].address);
		free(t->nodes[i].admin);
	}
	for (size_t i = 0; i < t->n_chains; i++)
		free(t->chains[i].members);
	free(t->nodes);
	free(t->targets);
	free(t->chains);
}

int metad_routes_new(struct metad *m)
{
	m->routes = calloc(1, sizeof *m->routes);
	if (!m->routes)
		return -ENOMEM;
	return metad_routes_reload(m);
}

void metad_routes_free(struct metad *m)
{
	if (!m->routes)
		return;
	clear(m->routes);
	free(m->routes);
	m->routes = NULL;
}

/* Sorted by id, as the tables are. */
static struct target *find_target(const struct metad_routes *t, uint64_t id)
{
	size_t low = 0, high = t->n_targets;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->targets[mid].id == id)
			return &t->targets[mid];
		if ((int64_t)t->targets[mid].id < (int64_t)id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static struct node *find_node(const struct metad_routes *t, uint64_t id)
{
	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].id == id)
			return &t->nodes[i];
	return NULL;
}

static void *grow(void *list, size_t n, size_t size)
{
	return (n & (n - 1)) == 0 ? realloc(list, MAX(n * 2, (size_t)1) * size) : list;
}

static int add_node(void *arg, uint64_t id, struct ff3_str address, struct ff3_str admin)
{
	struct metad_routes *t = arg;
	struct node *grown = grow(t->nodes, t->n_nodes, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	t->nodes = grown;
	t->nodes[t->n_nodes++] = (struct node){
		.id = id,
		.address = strndup(address.p ? address.p : "", address.len),
		.admin = strndup(admin.p ? admin.p : "", admin.len),
	};
	return 0;
}

static int add_target(void *arg, uint64_t id, uint64_t node, uint32_t state)
{
	struct metad_routes *t = arg;
	struct target *grown = grow(t->targets, t->n_targets, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	t->targets = grown;
	t->targets[t->n_targets++] = (struct target){ .id = id, .node = node, .state = state };
	return 0;
}

static int add_chain(void *arg, uint32_t id, uint64_t version, struct ff3_blob members)
{
	struct metad_routes *t = arg;
	struct chain *grown = grow(t->chains, t->n_chains, sizeof *grown);
	uint64_t *copy = malloc(MAX(members.len, 8u));

	if (!grown || !copy)
		return -ENOMEM;
	if (members.len > 0)
		memcpy(copy, members.p, members.len);
	t->chains = grown;
	t->chains[t->n_chains++] = (struct chain){ id, version, copy, members.len / 8 };
	return 0;
}

int metad_routes_reload(struct metad *m)
{
	struct metad_routes fresh = { .turn = m->routes->turn };
	int r = metad_db_each_node(m->db, add_node, &fresh);

	if (r >= 0)
		r = metad_db_each_target(m->db, add_target, &fresh);
	if (r >= 0)
		r = metad_db_each_chain(m->db, add_chain, &fresh);
	if (r < 0) {
		clear(&fresh);
		return r;
	}
	for (size_t i = 0; i < fresh.n_nodes; i++) {
		const struct node *old = find_node(m->routes, fresh.nodes[i].id);

		fresh.nodes[i].seen_ns = old ? old->seen_ns : 0;
	}
	for (size_t i = 0; i < fresh.n_targets; i++) {
		const struct target *old = find_target(m->routes, fresh.targets[i].id);

		if (!old)
			continue;
		fresh.targets[i].capacity = old->capacity;
		fresh.targets[i].used = old->used;
		fresh.targets[i].seen_ns = old->seen_ns;
	}
	clear(m->routes);
	*m->routes = fresh;
	return 0;
}

static bool is_good(const struct metad_routes *t, const struct chain *c, uint64_t now)
{
	const struct target *head = c->n_members > 0 ? find_target(t, c->members[0]) : NULL;

	return head && head->state == FF3_TARGET_SERVING && head->seen_ns != 0 &&
	       now - head->seen_ns < LATELY_NS &&
	       (head->capacity == 0 || head->used < head->capacity / 100 * 95);
}

uint32_t metad_routes_pick(struct metad *m, uint32_t *ids, uint32_t n)
{
	struct metad_routes *t = m->routes;
	uint64_t now = ff3_boottime_ns();
	uint32_t found = 0, first = t->turn++;

	for (unsigned all = 0; all < 2 && found == 0; all++)
		for (size_t i = 0; i < t->n_chains && found < n; i++) {
			const struct chain *c = &t->chains[(first + i) % t->n_chains];

			if (all || is_good(t, c, now))
				ids[found++] = c->id;
		}
	return found;
}

int metad_routes_find(const struct metad *m, uint32_t chain, uint64_t *ret_target,
		      const char **ret_address)
{
	const struct metad_routes *t = m->routes;

	for (size_t i = 0; i < t->n_chains; i++) {
		const struct target *target;
		const struct node *node;

		if (t->chains[i].id != chain || t->chains[i].n_members == 0)
			continue;
		target = find_target(t, t->chains[i].members[0]);
		node = target ? find_node(t, target->node) : NULL;
		if (!node)
			return -ENOENT;
		*ret_target = target->id;
		*ret_address = node->address;
		return 0;
	}
	return -ENOENT;
}

void metad_routes_heartbeat(struct metad *m, const struct ff3_req_heartbeat *q)
{
	struct ff3_dec d = ff3_dec_blob(q->targets);
	struct node *node = find_node(m->routes, q->node);
	uint64_t now = ff3_boottime_ns(), changed[64];
	size_t n = 0;

	if (node)
		node->seen_ns = now;
	while (ff3_dec_more(&d)) {
		struct ff3_target in;
		struct target *t;

		ff3_get_target(&d, &in);
		t = d.bad ? NULL : find_target(m->routes, in.target);
		if (!t || t->node != q->node)
			continue;
		t->capacity = in.capacity;
		t->used = in.used;
		t->seen_ns = now;
		if (in.state != t->state && n + 2 <= ARRAY_SIZE(changed) &&
		    (in.state == FF3_TARGET_SERVING || in.state == FF3_TARGET_OFFLINE)) {
			t->state = in.state;
			changed[n++] = in.target;
			changed[n++] = in.state;
		}
	}
	if (n > 0)
		metad_pipeline_add_own(m, METAD_OP_target_state, changed, n * 8, NULL);
}

void metad_routes_space(const struct metad *m, uint64_t *ret_capacity, uint64_t *ret_used)
{
	*ret_capacity = *ret_used = 0;
	for (size_t i = 0; i < m->routes->n_targets; i++) {
		*ret_capacity += m->routes->targets[i].capacity;
		*ret_used += m->routes->targets[i].used;
	}
}

bool metad_routes_degraded(const struct metad *m)
{
	uint64_t now = ff3_boottime_ns();

	for (size_t i = 0; i < m->routes->n_targets; i++) {
		const struct target *t = &m->routes->targets[i];

		if (t->state != FF3_TARGET_SERVING || t->seen_ns == 0 || now - t->seen_ns >= LATELY_NS)
			return true;
	}
	return false;
}

size_t metad_routes_count(const struct metad *m, size_t *ret_targets, size_t *ret_chains)
{
	*ret_targets = m->routes->n_targets;
	*ret_chains = m->routes->n_chains;
	return m->routes->n_nodes;
}

void metad_routes_encode(struct metad *m, struct ff3_rep_routes *p, uint8_t *buf, size_t size)
{
	const struct metad_routes *t = m->routes;
	struct ff3_enc e = ff3_enc_init(buf, size);
	uint64_t now = ff3_boottime_ns();
	size_t targets_at, chains_at;

	for (size_t i = 0; i < t->n_nodes; i++) {
		const struct node *n = &t->nodes[i];

		ff3_put_node(&e, &(struct ff3_node){
					 n->id, ff3_str_from(n->address), ff3_str_from(n->admin),
					 n->seen_ns ? (now - n->seen_ns) / FF3_NSEC_PER_MSEC : UINT64_MAX });
	}
	targets_at = e.len;
	for (size_t i = 0; i < t->n_targets; i++)
		ff3_put_target(&e, &(struct ff3_target){ t->targets[i].id, t->targets[i].node,
							 t->targets[i].state, t->targets[i].capacity,
							 t->targets[i].used });
	chains_at = e.len;
	for (size_t i = 0; i < t->n_chains; i++)
		ff3_put_chain(&e, &(struct ff3_chain){ t->chains[i].id, t->chains[i].version,
						       { t->chains[i].members,
							 8 * t->chains[i].n_members } });
	*p = (struct ff3_rep_routes){
		.version = metad_db_meta(m->db)->routing_version,
		.nodes = { buf, (uint32_t)targets_at },
		.targets = { buf + targets_at, (uint32_t)(chains_at - targets_at) },
		.chains = { buf + chains_at, (uint32_t)(e.len - chains_at) },
	};
}
