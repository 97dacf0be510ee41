/* Purpose: the group's list of members as the configuration has it: ID@HOST:PORT, and :witness behind
 * those that only vote; and its times.
 * Threads: before serving begins. */
#include <stdio.h>

#include "../common/base/log.h"
#include "group_priv.h"

static int parse_member(struct metad_group *g, char *text)
{
	static const char witness[] = ":witness";
	struct group_peer *p = &g->peers[g->n_peers];
	size_t len;
	char *at;

	if (g->n_peers == REPLICA_MEMBERS_MAX)
		return -E2BIG;
	p->id = strtoull(text, &at, 10);
	if (at == text || *at != '@' || p->id == 0)
		return -EINVAL;
	text = at + 1;
	len = strlen(text);
	if (len > sizeof witness - 1 && strcmp(text + len - (sizeof witness - 1), witness) == 0) {
		p->witness = true;
		text[len - (sizeof witness - 1)] = '\0';
	}
	if (!strrchr(text, ':') || group_peer(g, p->id))
		return -EINVAL;
	p->g = g;
	p->address = strdup(text);
	if (!p->address)
		return -ENOMEM;
	g->n_peers++;
	return 0;
}

struct group_peer *group_peer(struct metad_group *g, uint64_t id)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		if (g->peers[i].id == id)
			return &g->peers[i];
	return NULL;
}

int group_conf(struct metad_group *g)
{
	const struct ff3_conf *conf = g->m->conf;
	_cleanup_free_ char *list = strdup(conf->metad.group);
	char *rest = list, *word;
	int r;

	if (!list)
		return -ENOMEM;
	g->vote.id = conf->metad.member;
	g->alone = *conf->metad.group == '\0';
	while ((word = strsep(&rest, ", "))) {
		if (*word == '\0')
			continue;
		r = parse_member(g, word);
		if (r < 0) {
			ff3_error("[metad] group: not a list of at most %u members ID@HOST:PORT, each with "
				  "another ID, perhaps with :witness",
				  REPLICA_MEMBERS_MAX);
			return r;
		}
	}
	if (g->alone)
		return 0;
	g->self = group_peer(g, g->vote.id);
	if (!g->self) {
		ff3_error("[metad] member = %" PRIu64 " is not in [metad] group", g->vote.id);
		return -EINVAL;
	}
	g->witness = g->self->witness;
	if (conf->metad.election < 100 || conf->metad.election > 60000) {
		ff3_error("[metad] election: from 100ms to 60s");
		return -EINVAL;
	}
	return 0;
}

struct replica_options group_options(const struct metad_group *g)
{
	uint64_t election_ns = g->m->conf->metad.election * FF3_NSEC_PER_MSEC;

	return (struct replica_options){ .heartbeat_ns = election_ns / 10,
					 .election_ns = election_ns,
					 .lease_ns = election_ns / 10 * 8,
					 .message_entries = REPLICA_ENTRIES_MAX };
}

const char *metad_group_listen(const struct metad *m)
{
	static const char usual[] = "127.0.0.1:9734";
	const char *listen = m->conf->metad.listen;

	return !m->group->alone && strcmp(listen, usual) == 0 ? m->group->self->address : listen;
}
