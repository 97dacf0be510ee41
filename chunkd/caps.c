/* Purpose: see caps.h.
 *
 * What was revoked is kept as long as a cap of before may live (FF3_CAP_LIFETIME_MS), in a table with
 * a place for each of N_SLOTS inodes. Where two want one place, the later one takes it, and from then
 * on every cap that was made before that is refused: its holder gets another one from metad.
 *
 * In a user namespace, everybody who has no number there looks like one user, UNKNOWN. That one is nobody, whom nothing
 * is for.
 *
 * Threads: any, under the lock. */
#include "caps.h"

#include <pthread.h>
#include <stdio.h>

#define N_SLOTS 4096u
#define UNKNOWN 65534u

struct revoked {
	uint64_t ino; /* 0: free */
	uint64_t generation;
	uint64_t until_ms;
};

struct chunkd_caps {
	pthread_mutex_t lock;
	struct ff3_cap_keys keys;
	uint64_t refused_until_ms; /* caps that expire until then are refused */
	bool knows_users, knows_groups; /* all of them: UNKNOWN is one like others */
	struct revoked revoked[N_SLOTS];
};

static bool knows_all(const char *map)
{
	FILE *f = fopen(map, "re");
	unsigned long long n, all = 0;

	while (f && fscanf(f, "%*u %*u %llu", &n) == 1)
		all += n;
	if (f)
		fclose(f);
	return all == UINT32_MAX;
}

int chunkd_caps_new(uint64_t now_ms, struct chunkd_caps **ret)
{
	struct chunkd_caps *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	/* What was revoked before is not known. */
	c->refused_until_ms = now_ms + FF3_CAP_LIFETIME_MS;
	c->knows_users = knows_all("/proc/self/uid_map");
	c->knows_groups = knows_all("/proc/self/gid_map");
	*ret = c;
	return 0;
}

void chunkd_caps_free(struct chunkd_caps *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void chunkd_caps_set_keys(struct chunkd_caps *c, const struct ff3_cap_keys *keys)
{
	pthread_mutex_lock(&c->lock);
	c->keys = *keys;
	pthread_mutex_unlock(&c->lock);
}

static struct revoked *slot_of(struct chunkd_caps *c, uint64_t ino)
{
	return &c->revoked[(ino * 0x9e3779b97f4a7c15ull) >> 40 & (N_SLOTS - 1)];
}

void chunkd_caps_revoke(struct chunkd_caps *c, uint64_t ino, uint64_t generation, uint64_t now_ms)
{
	struct revoked *s = slot_of(c, ino);

	pthread_mutex_lock(&c->lock);
	if (s->ino != ino) {
		/* A cap of the other inode may live as long as what is forgotten says. */
		if (s->ino != 0 && s->until_ms > now_ms)
			c->refused_until_ms = MAX(c->refused_until_ms, s->until_ms);
		*s = (struct revoked){ .ino = ino };
	}
	s->generation = MAX(s->generation, generation);
	s->until_ms = now_ms + FF3_CAP_LIFETIME_MS;
	pthread_mutex_unlock(&c->lock);
}

/* Over a network, metad may have been told of another user. Root may read everything, and a program that was root when it
 * connected goes on with what it opens as somebody else. */
static bool is_bearers(const struct chunkd_caps *c, const struct ff3_cap *cap, const struct chunkd_bearer *b)
{
	bool is_user = cap->user == b->user && (cap->user != UNKNOWN || c->knows_users);
	bool is_in = cap->group == FF3_NO_GROUP;

	if (cap->group != UNKNOWN || c->knows_groups)
		for (uint32_t i = 0; i < b->n_groups && !is_in; i++)
			is_in = b->groups[i] == cap->group;
	return cap->session == b->session && (!b->local || b->user == 0 || (is_user && is_in));
}

int chunkd_caps_check(struct chunkd_caps *c, struct ff3_blob blob, uint64_t ino,
		      const struct chunkd_bearer *bearer, uint32_t rights, uint64_t now_ms, uint32_t *ret_rights)
{
	const struct revoked *s = slot_of(c, ino);
	struct ff3_cap cap;
	int r;

	pthread_mutex_lock(&c->lock);
	r = ff3_cap_verify(&c->keys, blob, now_ms, &cap);
	if (r == 0 && (cap.ino != ino || !is_bearers(c, &cap, bearer) ||
		       (cap.rights & rights) != rights || cap.expires <= c->refused_until_ms ||
		       (s->ino == ino && cap.generation < s->generation)))
		r = -EACCES;
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		*ret_rights = cap.rights;
	return r;
}
