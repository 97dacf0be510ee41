/* A member's disk: empty, written to, found again after a crash.
 *
 * What was under way is there, or not, or in part. The database is synced now and then: after a crash it
 * is at some state since.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

/* --- Life ------------------------------------------------------------------------------------ */

/* An empty disk. config: of a group that begins; NULL: of a member that comes later. */
void sim_member_format(struct sim *s, struct sim_member *m, const struct replica_config *config)
{
	struct sim_disk *d = &m->disk;
	struct sim_entry *log = d->log ? d->log : calloc(SIM_LOG, sizeof *log);
	uint64_t log_id = d->log_id;

	if (!m->log)
		m->log = calloc(SIM_LOG, sizeof *m->log);
	if (!log || !m->log)
		abort();
	*d = (struct sim_disk){ .log = log, .log_id = log_id };
	if (config)
		d->base_config = d->db.config = *config;
}

static void free_writes(struct sim_member *m)
{
	struct sim_write *next;

	for (struct sim_write *w = m->writes; w; w = next) {
		next = w->next;
		free(w->entries);
		free(w);
	}
	m->writes = NULL;
	m->writes_end = &m->writes;
}

void sim_disk_write(struct sim_disk *d, const struct sim_write *w, uint64_t n)
{
	if (w->reset) {
		d->base_seq = d->last_seq = w->seq;
		d->base_epoch = w->epoch;
		d->base_config = w->config;
		d->safe_seq = w->seq;
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		d->log[w->seq + i] = w->entries[i];
	d->safe_seq = MIN(d->last_seq, w->seq - 1);
	d->last_seq = w->seq + n - 1;
	if (d->flipped >= w->seq)
		d->flipped = 0;
}

/* The write that was under way is there, not, or in part; the database is at some state since it
 * was synced. */
void sim_member_crash(struct sim *s, struct sim_member *m)
{
	struct sim_write *w = m->writes;

	sim_say(s, "member %u crashes", (unsigned)m->id);
	if (w) {
		uint64_t n = w->reset ? sim_random(s, 2) : sim_random(s, w->n + 1);

		if (n > 0)
			sim_disk_write(&m->disk, w, n);
	}
	free_writes(m);
	if (m->n_history > 0) {
		uint64_t i = sim_random(s, m->n_history + 1);

		if (i > 0)
			m->disk.db = m->history[i - 1];
	}
	m->n_history = 0;
	m->n_pending = 0;
	replica_free(m->core);
	m->core = NULL;
	m->up = false;
	m->life++;
}

/* The database came as a checkpoint whose log is not here, or the log is damaged where nobody needs it
 * any more. */
static void forget_what_checkpoint_covers(struct sim_disk *d)
{
	bool other = d->db.seq > d->last_seq ||
		     (d->db.seq > d->base_seq && d->log[d->db.seq].epoch != d->db.epoch);

	if (!other && (d->flipped == 0 || d->flipped > d->db.seq))
		return;
	if (other)
		d->last_seq = d->db.seq;
	if (d->flipped <= d->db.seq)
		d->flipped = 0;
	d->base_seq = d->db.seq;
	d->base_epoch = d->db.epoch;
	d->base_config = d->db.config;
	d->safe_seq = MAX(d->safe_seq, d->db.seq);
}

/* What the log's recovery finds. */
static void read_disk(struct sim_member *m, struct replica_disk *d, struct replica_run *runs,
		      struct replica_change *changes)
{
	struct sim_disk *disk = &m->disk;

	forget_what_checkpoint_covers(disk);
	if (disk->flipped > 0) {
		disk->damaged = disk->epoch + 1;
		disk->last_seq = disk->flipped - 1;
		disk->flipped = 0;
	}
	*d = (struct replica_disk){ .epoch = disk->epoch, .vote = disk->vote,
				    .base_seq = disk->base_seq, .base_epoch = disk->base_epoch,
				    .base_config = disk->base_config, .last_seq = disk->last_seq,
				    .applied_seq = disk->db.seq, .runs = runs,
				    .changes = changes, .damaged = disk->damaged };
	for (uint64_t seq = disk->base_seq + 1; seq <= disk->last_seq; seq++) {
		const struct sim_entry *e = &disk->log[seq];

		if (d->n_runs == 0 || runs[d->n_runs - 1].epoch != e->epoch)
			runs[d->n_runs++] = (struct replica_run){ seq, e->epoch };
		if (e->kind == SIM_CONFIG)
			changes[d->n_changes++] = (struct replica_change){ seq, e->config };
	}
}

void sim_member_start(struct sim *s, struct sim_member *m)
{
	static struct replica_run runs[SIM_LOG];
	static struct replica_change changes[SIM_LOG];
	struct replica_options options = REPLICA_OPTIONS;
	struct replica_disk d;
	int r;

	read_disk(m, &d, runs, changes);
	memcpy(m->log, m->disk.log, (m->disk.last_seq + 1) * sizeof *m->log);
	m->last_seq = m->disk.last_seq;
	m->db = m->disk.db;
	m->writes_end = &m->writes;
	m->failing = false;
	if (s->o.message_entries > 0)
		options.message_entries = s->o.message_entries;
	r = replica_new(m->id, m->disk.log_id, &d, &options, sim_member_clock(s, m),
			sim_random(s, 0), &m->core);
	if (r < 0) {
		sim_fail(s, "member %u cannot start: %d", (unsigned)m->id, r);
		return;
	}
	m->up = true;
	m->timer_at = 0;
	sim_say(s, "member %u starts: log %u-%u, applied %u%s", (unsigned)m->id,
		(unsigned)d.base_seq, (unsigned)d.last_seq, (unsigned)d.applied_seq,
		d.damaged ? ", damaged" : "");
	sim_member_arm(s, m);
}
