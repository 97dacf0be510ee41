/* Purpose: what a member finds in its directory when it starts, and what that means.
 *
 *   nothing               alone: a new cluster. In a group: a member that waits, without a vote, until a
 *                         primary sends it a copy of the database; with --form, a new cluster
 *   database, log, vote   it goes on. A database without members was alone until now: it begins a group
 *   vote, no database     a witness, or one that waits
 *   copy.db               came from a primary and was complete: takes the database's place
 *
 * Alone, everything in the log is committed: it is applied now, and the log begins empty. In a group
 * only the primary knows how much of it is.
 *
 * Threads: before the loop runs. */
#include <stdio.h>
#include <unistd.h>

#include "../common/base/log.h"
#include "filler.h"
#include "group_priv.h"

#define REPLAY_BATCH 1000u /* records in one transaction */

int group_save_vote(struct metad_group *g)
{
	return metad_vote_save(g->m->conf->metad.dir, &g->vote);
}

static bool has(const struct metad_group *g, const char *name)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", g->m->conf->metad.dir, name);
	return access(path, F_OK) == 0;
}

/* --- The vote -------------------------------------------------------------------------------- */

/* 1: it was there. */
static int load_vote(struct metad_group *g)
{
	const char *dir = g->m->conf->metad.dir;
	uint64_t id = g->vote.id;
	int r = metad_vote_load(dir, &g->vote);

	if (r == -ENOENT) {
		g->vote = (struct metad_vote){ .id = id, .log_id = ff3_random_u64() >> 1 };
		return 0;
	}
	if (r < 0)
		return ff3_log_errno(r, "cannot read %s/vote", dir);
	if (g->vote.id != id) {
		ff3_error("%s is of member %" PRIu64 ", but [metad] member is %" PRIu64, dir, g->vote.id,
			  id);
		return -EINVAL;
	}
	return 1;
}

/* --- The log --------------------------------------------------------------------------------- */

struct replay {
	struct metad_group *g;
	uint64_t last_seq;
	uint32_t n; /* applied */
	uint64_t applied;
};

static bool grow(void **v, uint32_t *room, uint32_t n, size_t size)
{
	uint32_t want = MAX(2 * *room, 16u);
	void *grown;

	if (n < *room)
		return true;
	grown = realloc(*v, want * size);
	if (!grown)
		return false;
	*v = grown;
	*room = want;
	return true;
}

/* Records from seq on are others than was noted. */
static void forget_from(struct metad_group *g, uint64_t seq)
{
	struct replica_disk *d = &g->disk;

	while (d->n_runs > 0 && g->runs[d->n_runs - 1].first_seq >= seq)
		d->n_runs--;
	while (d->n_changes > 0 && g->changes[d->n_changes - 1].seq >= seq)
		d->n_changes--;
}

static int note(struct replay *rp, const struct metad_record *rec)
{
	struct metad_group *g = rp->g;
	struct replica_disk *d = &g->disk;

	if (rec->seq != rp->last_seq + 1)
		forget_from(g, rec->seq);
	rp->last_seq = rec->seq;
	if (d->n_runs == 0 || g->runs[d->n_runs - 1].epoch != rec->epoch) {
		if (!grow((void **)&g->runs, &g->room_runs, d->n_runs, sizeof *g->runs))
			return -ENOMEM;
		g->runs[d->n_runs++] = (struct replica_run){ rec->seq, rec->epoch };
	}
	if (rec->op == METAD_OP_members && rec->seq > rp->applied) {
		if (!grow((void **)&g->changes, &g->room_changes, d->n_changes, sizeof *g->changes))
			return -ENOMEM;
		g->changes[d->n_changes].seq = rec->seq;
		return metad_members_decode(rec->payload, &g->changes[d->n_changes++].config);
	}
	return 0;
}

static int replay_one(struct replay *rp, const struct metad_record *rec, uint64_t hash)
{
	struct metad *m = rp->g->m;
	int r = 0;

	if (rec->seq != metad_db_meta(m->db)->applied_seq + 1)
		return 0;
	if (rp->n % REPLAY_BATCH == 0) {
		r = rp->n > 0 ? metad_db_commit(m->db) : 0;
		if (r >= 0)
			r = metad_db_begin(m->db);
	}
	rp->n++;
	return r < 0 ? r : metad_apply(m->apply, rec, hash);
}

static int on_record(void *arg, const struct metad_record *rec, uint64_t hash)
{
	struct replay *rp = arg;

	return rp->g->alone ? replay_one(rp, rec, hash) : note(rp, rec);
}

static int explain(const struct metad_group *g, const struct metad_log_found *found, uint64_t applied)
{
	const char *dir = g->m->conf->metad.dir;

	if (found->foreign) {
		ff3_error("%s: log record %" PRIu64 " is not the one that the database applied: the log and "
			  "the database do not belong together",
			  dir, applied);
		return -ESTALE;
	}
	if (found->absent && applied > 0 && !metad_is_restored(g->m)) {
		ff3_error("%s: the database has applied %" PRIu64 " operations, but there is no log", dir,
			  applied);
		return -ENODATA;
	}
	if (found->lost_seq == 0)
		return 0;
	ff3_error("%s: log record %" PRIu64 " is unreadable, but records up to %" PRIu64
		  " were acknowledged: the log is damaged; not starting",
		  dir, found->last_seq + 1, found->lost_seq);
	return -EBADMSG;
}

/* All that the log has is applied and synced; the log is not needed any more. */
static int recover_alone(struct metad_group *g)
{
	struct metad *m = g->m;
	struct metad_meta *meta = metad_db_meta(m->db);
	struct replay rp = { .g = g };
	struct metad_log_found found;
	uint64_t began = ff3_boottime_ns(), applied = meta->applied_seq;
	int r = metad_log_recover(m->log, applied, meta->applied_hash, on_record, &rp, &found);

	if (rp.n > 0 && metad_db_error(m->db) == 0 && metad_db_commit(m->db) < 0)
		r = metad_db_error(m->db);
	if (r >= 0)
		r = explain(g, &found, applied);
	if (r < 0)
		return ff3_log_errno(r, "cannot recover from the log in %s", m->conf->metad.dir);
	if (rp.n > 0)
		ff3_info("replayed %u operations in %" PRIu64 " ms", rp.n,
			 (uint64_t)((ff3_boottime_ns() - began) / FF3_NSEC_PER_MSEC));
	m->fresh = applied == 0 && rp.n == 0;
	r = metad_checkpointer_run_now(m);
	if (r < 0)
		return ff3_log_errno(r, "cannot checkpoint the database");
	metad_log_release(m->log, UINT64_MAX, 0);
	g->disk = (struct replica_disk){
		.epoch = MAX(g->vote.epoch, meta->epoch) +
			 (metad_is_restored(m) ? METAD_RESTORED_EPOCHS : 0),
		.base_seq = meta->applied_seq,
		.base_epoch = meta->epoch,
		.last_seq = meta->applied_seq,
		.applied_seq = meta->applied_seq,
		.base_config = { 1, { { g->vote.id, g->vote.log_id, true, false } } },
	};
	return metad_log_begin(m->log, meta->applied_seq, meta->applied_hash);
}

/* What the log has from base on; what is before it is for others to read. */
static void set_base(struct metad_group *g, const struct metad_log_found *found, uint64_t seq,
		     uint64_t epoch)
{
	struct replica_disk *d = &g->disk;
	uint32_t drop = 0;

	d->last_seq = found->last_seq;
	d->base_seq = seq;
	d->base_epoch = epoch;
	if (found->first_seq <= seq && d->n_runs > 0) {
		forget_from(g, found->last_seq + 1);
		while (drop + 1 < d->n_runs && g->runs[drop + 1].first_seq <= found->first_seq)
			drop++;
		d->base_seq = found->first_seq;
		d->base_epoch = g->runs[drop].epoch;
	}
	while (drop + 1 < d->n_runs && g->runs[drop + 1].first_seq <= d->base_seq + 1)
		drop++;
	d->n_runs = d->last_seq > d->base_seq ? d->n_runs - drop : 0;
	if (d->n_runs > 0) {
		memmove(g->runs, g->runs + drop, d->n_runs * sizeof *g->runs);
		g->runs[0].first_seq = d->base_seq + 1;
	}
	for (uint32_t i = 0; i < d->n_runs; i++)
		d->epoch = MAX(d->epoch, g->runs[i].epoch);
	d->runs = g->runs;
	d->changes = g->changes;
}

/* Damage that was found is noted: a segment that begins behind what is left makes the rest void, so that
 * the next start does not take it for new damage. */
static int begin_log(struct metad_group *g, const struct metad_log_found *found)
{
	struct metad_log *log = g->m->log;
	struct metad_log_write write;
	int r = metad_log_begin(log, found->last_seq, found->last_hash);

	if (r < 0 || found->lost_seq == 0)
		return r;
	r = metad_log_cut(log, &write);
	if (r < 0)
		return r;
	if (pwrite(write.fd, write.buf, write.len, (off_t)write.offset) != (ssize_t)write.len)
		return errno ? -errno : -EIO;
	metad_log_written(log);
	return 0;
}

/* Everything up to seq is in the database, or with a witness nowhere but counted on. */
static int recover_log(struct metad_group *g, uint64_t seq, uint64_t epoch, uint64_t hash, bool may_lack)
{
	struct metad *m = g->m;
	struct replay rp = { .g = g, .last_seq = UINT64_MAX - 1, .applied = seq };
	struct metad_log_found found;
	bool new_damage = false;
	int r = metad_log_recover(m->log, seq, hash, on_record, &rp, &found);

	if (r < 0)
		return ff3_log_errno(r, "cannot recover from the log in %s", m->conf->metad.dir);
	if (found.first_seq > found.last_seq)
		g->disk.n_runs = g->disk.n_changes = 0;
	if (found.foreign)
		ff3_info("%s: the log is older than the database that came; it begins behind %" PRIu64,
			 m->conf->metad.dir, seq);
	if (found.lost_seq > 0 || (found.absent && !may_lack)) {
		ff3_error("%s: log record %" PRIu64 " is unreadable: what follows is taken from the other "
			  "members, and until then this one has no vote",
			  m->conf->metad.dir, found.last_seq + 1);
		new_damage = true;
	}
	g->disk.epoch = MAX(g->vote.epoch, epoch);
	g->disk.applied_seq = seq;
	set_base(g, &found, seq, epoch);
	if (new_damage)
		g->vote.damaged = g->disk.epoch + 1;
	g->disk.vote = g->vote.epoch == g->disk.epoch ? g->vote.vote : 0;
	g->disk.damaged = g->vote.damaged;
	g->vote.epoch = g->disk.epoch;
	g->vote.vote = g->disk.vote;
	ff3_info("log %" PRIu64 "-%" PRIu64 ", applied %" PRIu64 ", epoch %" PRIu64,
		 g->disk.base_seq + 1, g->disk.last_seq, seq, g->disk.epoch);
	r = group_save_vote(g);
	if (r >= 0)
		r = begin_log(g, &found);
	return r < 0 ? ff3_log_errno(r, "cannot write to %s", m->conf->metad.dir) : 0;
}

/* --- The database ---------------------------------------------------------------------------- */

/* Until now it was alone: it is the first member of its group. The formation is operation 1, which
 * nobody can have from a log. */
static int begin_group(struct metad_group *g, struct replica_config *config)
{
	struct metad *m = g->m;
	struct metad_meta *meta = metad_db_meta(m->db);
	int r;

	*config = (struct replica_config){ 1, { { g->vote.id, g->vote.log_id, true, false } } };
	r = metad_db_begin(m->db);
	if (r >= 0)
		r = metad_db_put_members(m->db, config);
	if (r >= 0 && meta->applied_seq == 0)
		meta->applied_seq = 1;
	meta->epoch = MAX(meta->epoch, 1u) + (metad_is_restored(m) ? METAD_RESTORED_EPOCHS : 0);
	if (r >= 0)
		r = metad_db_commit(m->db);
	if (r >= 0)
		r = metad_checkpointer_run_now(m);
	if (r >= 0)
		ff3_info("a new group, of member %" PRIu64, g->vote.id);
	return r;
}

static int check_alone(struct metad_group *g)
{
	struct replica_config config;
	uint32_t former;
	int r = metad_db_get_members(g->m->db, &config, &former);

	/* What was a group when the backup was made is begun anew. */
	if (r < 0 || config.n <= 1 || metad_is_restored(g->m))
		return r;
	ff3_error("%s belongs to a group of %u members, but there is no [metad] group in the configuration",
		  g->m->conf->metad.dir, config.n);
	return -EINVAL;
}

static int recover_member(struct metad_group *g, bool form, bool had_vote, bool installed)
{
	struct metad *m = g->m;
	struct metad_meta *meta = metad_db_meta(m->db);
	uint32_t former;
	int r = metad_db_get_members(m->db, &g->disk.base_config, &former);

	if (r >= 0 && (g->disk.base_config.n == 0 || (metad_is_restored(m) && !had_vote))) {
		m->fresh = meta->applied_seq == 0;
		r = begin_group(g, &g->disk.base_config);
	}
	metad_db_read_end(m->db);
	g->cluster = meta->cluster;
	return r < 0 ? r : recover_log(g, meta->applied_seq, meta->epoch, meta->applied_hash,
				       form || !had_vote || installed || metad_is_restored(m));
}

static int open_db(struct metad_group *g)
{
	struct metad *m = g->m;
	const struct ff3_conf *conf = m->conf;
	int r = metad_db_open(conf->metad.dir, conf->metad.memory, (uint32_t)conf->metad.chunk_size,
			      (uint32_t)conf->metad.stripe, &m->db);

	if (r < 0)
		return ff3_log_errno(r, "cannot open the database in %s", conf->metad.dir);
	r = metad_apply_new(m->db, &m->apply);
	if (r >= 0)
		r = metad_checkpointer_new(m);
	if (r >= 0)
		r = metad_log_open(conf->metad.dir, metad_db_meta(m->db)->log_key, METAD_SEGMENT_SIZE,
				   &m->log);
	return r < 0 ? ff3_log_errno(r, "cannot open the log in %s", conf->metad.dir) : 0;
}

static int open_witness(struct metad_group *g)
{
	int r;

	g->cluster = g->vote.cluster;
	g->disk.base_config = g->vote.base_config;
	r = metad_log_open(g->m->conf->metad.dir, g->vote.log_key, METAD_SEGMENT_SIZE, &g->m->log);
	if (r < 0)
		return ff3_log_errno(r, "cannot open the log in %s", g->m->conf->metad.dir);
	return recover_log(g, g->vote.base_seq, g->vote.base_epoch, g->vote.base_hash, true);
}

/* Nothing here yet, or no longer. */
static int wait_for_copy(struct metad_group *g)
{
	if (has(g, "log-000") && !g->vote.damaged) {
		ff3_error("%s: there is a log but no database; a copy is taken from the other members",
			  g->m->conf->metad.dir);
		g->vote.damaged = g->vote.epoch + 1;
	}
	g->disk = (struct replica_disk){ .epoch = g->vote.epoch, .vote = g->vote.vote,
					 .damaged = g->vote.damaged };
	ff3_info("waiting for a primary's copy of the database");
	return group_save_vote(g);
}

static int may_form(const struct metad_group *g, bool had_vote, bool has_db)
{
	const char *dir = g->m->conf->metad.dir;

	if (g->alone || g->witness) {
		ff3_error("--form: needs a [metad] group in which member %" PRIu64 " is no witness",
			  g->vote.id);
		return -EINVAL;
	}
	if (had_vote || has_db || has(g, "log-000")) {
		ff3_error("--form: %s is not empty: it has belonged to a cluster, or waits to", dir);
		return -ENOTEMPTY;
	}
	return 0;
}

int group_disk_open(struct metad_group *g, bool form)
{
	struct metad *m = g->m;
	bool had_vote, installed, has_db;
	int r = g->alone ? 0 : group_install_finish(m->conf->metad.dir);

	if (r < 0)
		return ff3_log_errno(r, "cannot install the copy that came to %s", m->conf->metad.dir);
	installed = r > 0;
	r = load_vote(g);
	if (r < 0)
		return r;
	had_vote = r > 0;
	has_db = has(g, "metad.db");
	r = form ? may_form(g, had_vote, has_db) : 0;
	if (r < 0)
		return r;
	if (g->alone || form || (has_db && !g->witness)) {
		r = open_db(g);
		if (r >= 0)
			r = g->alone ? check_alone(g) : recover_member(g, form, had_vote, installed);
		if (r >= 0 && g->alone)
			r = recover_alone(g);
	} else if (g->witness && g->vote.base_seq > 0) {
		r = open_witness(g);
	} else {
		r = wait_for_copy(g);
	}
	if (r >= 0 && m->log)
		r = metad_pipeline_new(m);
	return r >= 0 && m->db ? metad_filler_new(m) : r;
}
