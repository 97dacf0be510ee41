/* Purpose: what the HTTP endpoint shows of the group.
 * Threads: the loop's. */
#include "group_priv.h"

static struct metad_group_member *add(struct metad_group_view *v, uint64_t id)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (v->member[i].id == id)
			return &v->member[i];
	v->member[v->n] = (struct metad_group_member){ .id = id, .address = "", .heard_ms = UINT64_MAX };
	return &v->member[v->n++];
}

static void add_member(struct metad_group_view *v, uint32_t i)
{
	const struct replica_member *from = &v->replica.config.member[i];
	struct metad_group_member *to = add(v, from->id);
	bool self = from->id == v->replica.id;

	to->log_id = from->log_id;
	to->voter = from->voter;
	to->witness = from->witness;
	to->match_seq = self ? v->replica.durable_seq : v->replica.match_seq[i];
	if (v->replica.heard_ns[i] > 0 && v->replica.role == REPLICA_PRIMARY)
		to->heard_ms = (ff3_boottime_ns() - v->replica.heard_ns[i]) / FF3_NSEC_PER_MSEC;
}

static void add_peer(struct metad_group_view *v, const struct metad_group *g, const struct group_peer *p)
{
	struct metad_group_member *to = add(v, p->id);

	to->address = p->address;
	to->connected = p == g->self || ff3_out_is_up(p->out);
	to->here_log_id = p == g->self ? g->vote.log_id : p->log_id;
	if (to->log_id == 0)
		to->witness = p->witness;
}

void metad_group_view(const struct metad *m, struct metad_group_view *ret)
{
	struct metad_group *g = m->group;
	uint64_t id, done, size;
	struct group_peer *p;

	*ret = (struct metad_group_view){ .serving = g->serves, .alone = g->alone, .witness = g->witness,
					  .primary = "" };
	replica_view(g->core, &ret->replica);
	for (uint32_t i = 0; i < ret->replica.config.n; i++)
		add_member(ret, i);
	for (uint32_t i = 0; i < g->n_peers; i++)
		add_peer(ret, g, &g->peers[i]);
	p = group_peer(g, ret->replica.primary);
	if (p)
		ret->primary = p->address;
	group_copy_seq(g, &id, &done, &size);
	for (uint32_t i = 0; i < ret->n && id != 0; i++)
		if (ret->member[i].id == id) {
			ret->member[i].copied = done;
			ret->member[i].copy_size = size;
		}
	group_install_view(g, &ret->copied, &ret->copy_size);
}
