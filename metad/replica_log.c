/* Purpose: what the state machine knows of the log: the epochs of its entries as runs, and which
 * entries changed the membership. A change counts from the moment it is in the log, committed or
 * not, and no longer once it was cut off again.
 *
 * Threads, fork, signals: see replica.h. */
#include "replica_internal.h"

static int grow(void **v, uint32_t *room, uint32_t n, size_t size)
{
	uint32_t want = MAX(2 * *room, 8u);
	void *grown;

	if (n < *room)
		return 0;
	grown = realloc(*v, want * size);
	if (!grown)
		return -ENOMEM;
	*v = grown;
	*room = want;
	return 0;
}

static int add_run(struct replica *r, uint64_t seq, uint64_t epoch)
{
	if (r->n_runs > 0 && r->runs[r->n_runs - 1].epoch == epoch)
		return 0;
	if (grow((void **)&r->runs, &r->room_runs, r->n_runs, sizeof *r->runs) < 0)
		return -ENOMEM;
	r->runs[r->n_runs++] = (struct replica_run){ seq, epoch };
	return 0;
}

static int add_change(struct replica *r, uint64_t seq, const struct replica_config *config)
{
	if (grow((void **)&r->changes, &r->room_changes, r->n_changes, sizeof *r->changes) < 0)
		return -ENOMEM;
	r->changes[r->n_changes++] = (struct replica_change){ seq, *config };
	return 0;
}

int replica_log_init(struct replica *r, const struct replica_disk *disk)
{
	int e = add_change(r, disk->base_seq, &disk->base_config);

	r->base_seq = disk->base_seq;
	r->base_epoch = disk->base_epoch;
	r->last_seq = disk->last_seq;
	if (disk->last_seq < disk->base_seq || disk->applied_seq > disk->last_seq ||
	    (disk->n_runs > 0) != (disk->last_seq > disk->base_seq) ||
	    (disk->n_runs > 0 && disk->runs[0].first_seq != disk->base_seq + 1))
		return -EINVAL;
	for (uint32_t i = 0; i < disk->n_runs && e == 0; i++) {
		const struct replica_run *run = &disk->runs[i];

		if (run->epoch > disk->epoch || run->epoch < disk->base_epoch ||
		    (i > 0 && (run->epoch <= run[-1].epoch || run->first_seq <= run[-1].first_seq)))
			return -EINVAL;
		e = add_run(r, run->first_seq, run->epoch);
	}
	for (uint32_t i = 0; i < disk->n_changes && e == 0; i++)
		e = add_change(r, disk->changes[i].seq, &disk->changes[i].config);
	return e;
}

uint64_t replica_epoch_at(const struct replica *r, uint64_t seq)
{
	uint32_t i = r->n_runs;

	if (seq == r->base_seq)
		return r->base_epoch;
	if (seq < r->base_seq || seq > r->last_seq)
		return 0;
	while (i > 0 && r->runs[i - 1].first_seq > seq)
		i--;
	return i > 0 ? r->runs[i - 1].epoch : 0;
}

uint64_t replica_log_run_start(const struct replica *r, uint64_t seq)
{
	uint32_t i = r->n_runs;

	while (i > 0 && r->runs[i - 1].first_seq > seq)
		i--;
	return i > 0 ? r->runs[i - 1].first_seq : r->base_seq;
}

int replica_log_add(struct replica *r, uint64_t seq, uint64_t epoch,
		    const struct replica_config *config)
{
	if (add_run(r, seq, epoch) < 0 || (config && add_change(r, seq, config) < 0))
		return -ENOMEM;
	r->last_seq = seq;
	if (config)
		replica_peers_update(r);
	return 0;
}

void replica_log_cut(struct replica *r, uint64_t last_seq)
{
	uint32_t n = r->n_changes;

	while (r->n_runs > 0 && r->runs[r->n_runs - 1].first_seq > last_seq)
		r->n_runs--;
	while (r->n_changes > 1 && r->changes[r->n_changes - 1].seq > last_seq)
		r->n_changes--;
	r->last_seq = last_seq;
	r->durable_seq = MIN(r->durable_seq, last_seq);
	r->generation++;
	if (r->n_changes < n)
		replica_peers_update(r);
}

void replica_log_reset(struct replica *r, uint64_t seq, uint64_t epoch,
		       const struct replica_config *config)
{
	r->n_runs = 0;
	r->n_changes = 1;
	r->changes[0] = (struct replica_change){ seq, *config };
	r->base_seq = r->last_seq = r->durable_seq = seq;
	r->base_epoch = epoch;
	r->generation++;
	replica_peers_update(r);
}

void replica_log_compact(struct replica *r, uint64_t seq)
{
	uint64_t epoch = replica_epoch_at(r, seq);
	uint32_t drop = 0;

	if (seq <= r->base_seq || seq > r->applied_seq)
		return;
	while (drop < r->n_runs && (drop + 1 < r->n_runs ? r->runs[drop + 1].first_seq - 1 :
							   r->last_seq) <= seq)
		drop++;
	r->n_runs -= drop;
	memmove(r->runs, r->runs + drop, r->n_runs * sizeof *r->runs);
	if (r->n_runs > 0)
		r->runs[0].first_seq = MAX(r->runs[0].first_seq, seq + 1);
	drop = 0;
	while (drop + 1 < r->n_changes && r->changes[drop + 1].seq <= seq)
		drop++;
	r->n_changes -= drop;
	memmove(r->changes, r->changes + drop, r->n_changes * sizeof *r->changes);
	r->base_seq = seq;
	r->base_epoch = epoch;
}

const struct replica_config *replica_config_now(const struct replica *r)
{
	return &r->changes[r->n_changes - 1].config;
}

uint64_t replica_config_seq(const struct replica *r)
{
	return r->changes[r->n_changes - 1].seq;
}

const struct replica_member *replica_member_find(const struct replica_config *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->member[i].id == id)
			return &c->member[i];
	return NULL;
}

uint32_t replica_n_voters(const struct replica_config *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += c->member[i].voter;
	return n;
}

const struct replica_member *replica_self(const struct replica *r)
{
	const struct replica_member *m = replica_member_find(replica_config_now(r), r->id);

	return m && m->log_id == r->log_id ? m : NULL;
}

static bool is_voter_of(const struct replica *r, const struct replica_config *config)
{
	const struct replica_member *m = replica_member_find(config, r->id);

	return m && m->log_id == r->log_id && m->voter;
}

bool replica_may_campaign(const struct replica *r)
{
	if (r->damaged)
		return false;
	return is_voter_of(r, replica_config_now(r)) ||
	       (r->n_changes > 1 && r->commit_seq < replica_config_seq(r) &&
		is_voter_of(r, &r->changes[r->n_changes - 2].config));
}
