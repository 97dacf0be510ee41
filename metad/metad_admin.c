/* Purpose: the HTTP endpoint: /healthz /readyz /metrics /v1/status /v1/nodes /v1/targets /v1/chains
 * /v1/removals /v1/layouts/PATH (the lists are in admin_lists.c) /v1/metad/backup
 * (backup_admin.c) /v1/fsck (fsck_admin.c); httpd.h has the documents.
 *
 * Threads: handlers run on the HTTP server's thread; each takes its snapshot by a call into the
 * loop, which copies what it needs, and formats it afterwards. */
#include "admin.h"
#include "fsck.h"

#include "../common/admin/link_counters.h"
#include "../common/admin/loop_call.h"
#include "../common/admin/metrics.h"
#include "filler.h"
#include "readers.h"

struct status {
	struct metad *m;
	struct metad_meta meta;
	struct metad_pipeline_stats pipeline;
	struct metad_cleaner_stats cleaner;
	struct metad_lease_stats leases;
	struct metad_readers_stats readers;
	struct metad_filler_stats filler;
	uint64_t asked;
	bool has_all_names;
	uint64_t uptime_ns, sessions, opens, capacity, used, log_used, wal_pages, checkpoints;
	size_t nodes, targets, chains;
	uint64_t removals, removals_waiting;
	unsigned segments;
	bool degraded;
	struct metad_group_view group;
};

static int count_removal(void *arg, const struct metad_removal *removal)
{
	struct status *s = arg;

	s->removals += removal->ended == 0;
	s->removals_waiting += removal->waiting;
	return 0;
}

static void take_status(void *arg)
{
	struct status *s = arg;
	struct metad *m = s->m;

	s->uptime_ns = ff3_boottime_ns() - m->started_ns;
	if (m->log) {
		s->pipeline = *metad_pipeline_stats(m);
		s->log_used = metad_log_used(m->log, &s->segments);
	}
	if (m->db) {
		s->meta = *metad_db_meta(m->db);
		s->wal_pages = metad_db_wal_pages(m->db);
		s->checkpoints = metad_checkpointer_count(m);
		s->asked = metad_db_n_asked(m->db);
		s->filler = *metad_filler_stats(m);
		s->has_all_names = metad_db_has_all_names(m->db);
	}
	metad_group_view(m, &s->group);
	s->degraded = s->group.replica.primary == 0;
	if (!metad_group_serves(m))
		return;
	s->cleaner = *metad_cleaner_stats(m);
	s->leases = *metad_lease_stats(m);
	s->readers = *metad_readers_stats(m);
	metad_sessions_count(m, &s->sessions, &s->opens);
	metad_routes_space(m, &s->capacity, &s->used);
	s->nodes = metad_routes_count(m, &s->targets, &s->chains);
	s->degraded = metad_routes_degraded(m);
	(void)metad_db_each_removal(m->db, 0, count_removal, s);
}

static int get_status(struct metad_admin *admin, struct status *s)
{
	*s = (struct status){ .m = admin->m };
	return ff3_loop_call(admin->m->loop, take_status, s, ADMIN_TIMEOUT_MS);
}

static int on_healthz(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	*ret = json_pack("{s:s}", "status", "ok");
	return 200;
}

static int on_readyz(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct status s;
	int r = get_status(ctx, &s);

	if (r < 0)
		return ff3_http_problem(ret, 503, "ETIMEDOUT", "look at the daemon's log",
					"the daemon does not answer");
	if (!s.group.serving && s.group.replica.primary == 0)
		return ff3_http_problem(ret, 503, "NOT_PRIMARY", "wait for an election",
					"this member serves nobody, and knows no primary");
	*ret = json_pack("{s:s}", "status", "ready");
	return 200;
}

json_t *metad_admin_hex(uint64_t v)
{
	return json_sprintf("%016" PRIx64, v);
}

static void set(json_t *doc, const char *key, uint64_t v)
{
	json_object_set_new(doc, key, json_integer((json_int_t)v));
}

/* Degraded: a target is offline or has not been heard of lately. */
static int on_status(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_admin *admin = ctx;
	struct status s;
	int r = get_status(admin, &s);
	json_t *doc;

	if (r < 0)
		return ff3_http_problem_errno(ret, r, "status");
	doc = json_pack("{s:s, s:s, s:o, s:o, s:s, s:s}", "daemon", "metad", "version",
			PACKAGE_VERSION, "cluster", metad_admin_hex(s.meta.cluster), "instance",
			metad_admin_hex(admin->m->instance), "listen", admin->m->listen, "state",
			s.degraded ? "degraded" : "healthy");
	if (!doc)
		return ff3_http_problem_errno(ret, -ENOMEM, "status");
	set(doc, "uptime_seconds", s.uptime_ns / FF3_NSEC_PER_SEC);
	set(doc, "nodes", s.nodes);
	set(doc, "targets", s.targets);
	set(doc, "chains", s.chains);
	set(doc, "inodes", s.meta.n_inodes);
	set(doc, "removals", s.removals);
	set(doc, "sessions", s.sessions);
	set(doc, "opens", s.opens);
	set(doc, "capacity", s.capacity);
	set(doc, "used", s.used);
	set(doc, "free", s.capacity - MIN(s.capacity, s.used));
	set(doc, "routing_version", s.meta.routing_version);
	set(doc, "epoch", s.meta.epoch);
	set(doc, "applied_seq", s.meta.applied_seq);
	set(doc, "log_bytes", s.log_used);
	json_object_set_new(doc, "role", json_string(metad_admin_role(&s.group)));
	json_object_set_new(doc, "primary", json_string(s.group.primary));
	json_object_set_new(doc, "serving", json_boolean(s.group.serving));
	if (s.group.copy_size > 0) {
		set(doc, "copied", s.group.copied);
		set(doc, "copy_size", s.group.copy_size);
	}
	json_object_set_new(doc, "links", ff3_link_counters_json(ff3_server_counters(admin->m->server)));
	*ret = doc;
	return 200;
}

static void print(FILE *out, const char *name, const char *type, const char *help, uint64_t v)
{
	fprintf(out, "# HELP ff3fs_metad_%s %s\n# TYPE ff3fs_metad_%s %s\nff3fs_metad_%s %" PRIu64 "\n",
		name, help, name, type, name, v);
}

static int on_metrics(void *ctx, const struct ff3_http_request *request, FILE *out)
{
	const struct metad *m = ((struct metad_admin *)ctx)->m;
	struct status s;
	int r = get_status(ctx, &s);

	if (r < 0)
		return 503;
	ff3_metrics_process(out, "metad");
	ff3_metrics_family(out, "ff3fs_metad_request_duration_seconds", "histogram",
			   "from a request's arrival to its answer");
	for (unsigned op = 0; op < FF3_OP_MAX; op++) {
		char labels[64];

		snprintf(labels, sizeof labels, "op=\"%s\"", ff3_op_name(op));
		if (ff3_histogram_count(&m->latency[op]) > 0)
			ff3_metrics_histogram(out, "ff3fs_metad_request_duration_seconds", labels,
					      &m->latency[op]);
	}
	ff3_link_counters_print(out, "metad", ff3_server_counters(m->server));
	print(out, "failed_total", "counter", "requests answered with an error",
	      ff3_counter_get(&m->n_failed));
	print(out, "log_batches_total", "counter", "batches written", s.pipeline.n_batches);
	print(out, "log_records_total", "counter", "records written", s.pipeline.n_records);
	print(out, "log_written_bytes_total", "counter", "bytes written", s.pipeline.n_bytes);
	fprintf(out, "# HELP ff3fs_metad_log_write_seconds_total time in durable writes\n"
		     "# TYPE ff3fs_metad_log_write_seconds_total counter\n"
		     "ff3fs_metad_log_write_seconds_total %.9f\n",
		(double)s.pipeline.fsync_ns / 1e9);
	print(out, "log_used_bytes", "gauge", "bytes of the log not yet in a checkpoint", s.log_used);
	print(out, "wal_pages", "gauge", "pages in SQLite's write-ahead log", s.wal_pages);
	print(out, "checkpoints_total", "counter", "checkpoints of the database", s.checkpoints);
	print(out, "inodes", "gauge", "files and directories", s.meta.n_inodes);
	print(out, "sessions", "gauge", "client processes", s.sessions);
	print(out, "opens", "gauge", "files open, per session", s.opens);
	print(out, "lease_holders", "gauge", "hosts and users that keep names", s.leases.n_holders);
	print(out, "leases", "gauge", "directories leased, per holder", s.leases.n_grants);
	print(out, "leases_granted_total", "counter", "leases granted", s.leases.n_granted);
	print(out, "leases_revoked_total", "counter", "leases revoked", s.leases.n_revoked);
	print(out, "leases_lapsed_total", "counter", "revoked leases whose holder did not answer in time",
	      s.leases.n_lapsed);
	print(out, "lease_waits_total", "counter", "changes that waited for holders", s.leases.n_waited);
	print(out, "readers", "gauge", "threads that read the database", s.readers.n_threads);
	print(out, "reader_lookups_total", "counter", "paths looked up by them", s.readers.n_lookups);
	print(out, "reader_listings_total", "counter", "pages of directories made by them", s.readers.n_listings);
	print(out, "reader_batches_total", "counter", "states of the database they read from",
	      s.readers.n_batches);
	print(out, "reader_changed_total", "counter", "rows that had changed since, and were looked up again",
	      s.readers.n_changed);
	print(out, "asked_total", "counter", "names and inodes that were not in memory", s.asked);
	print(out, "filling", "gauge", "names and attributes are being read into memory",
	      s.filler.is_filling);
	print(out, "has_all_names", "gauge", "all names were read into memory", s.has_all_names);
	print(out, "filled_total", "counter", "names and attributes that were, before they were asked for",
	      s.filler.n_taken);
	print(out, "commit_waits_total", "counter", "requests that waited for a commit of the database",
	      s.readers.n_waited);
	print(out, "truncations_total", "counter", "files cut on the chunk daemons",
	      s.cleaner.n_truncations);
	print(out, "garbage_removed_total", "counter", "inodes whose chunks were removed",
	      s.cleaner.n_removed);
	print(out, "removals", "gauge", "trees being removed", s.removals);
	print(out, "removals_waiting", "gauge",
	      "inodes of theirs that are open or whose chunks are still there", s.removals_waiting);
	print(out, "taken_down_total", "counter", "inodes that lost their name with a removed tree",
	      s.cleaner.n_taken_down);
	print(out, "chunkd_calls_failed_total", "counter", "calls of chunk daemons that failed",
	      s.cleaner.n_failed_calls);
	print(out, "capacity_bytes", "gauge", "of all targets", s.capacity);
	print(out, "used_bytes", "gauge", "of all targets", s.used);
	return 200;
}

static const struct ff3_http_route routes[] = {
	{ "GET", "/healthz", on_healthz, NULL, NULL },
	{ "GET", "/readyz", on_readyz, NULL, NULL },
	{ "GET", "/metrics", NULL, on_metrics, NULL },
	{ "GET", "/v1/status", on_status, NULL, NULL },
	{ "GET", "/v1/nodes", metad_admin_nodes, NULL, NULL },
	{ "GET", "/v1/targets", metad_admin_targets, NULL, NULL },
	{ "GET", "/v1/chains", metad_admin_chains, NULL, NULL },
	{ "GET", "/v1/removals", metad_admin_removals, NULL, NULL },
	{ "GET", "/v1/fsck", metad_admin_fsck_status, NULL, NULL },
	{ "POST", "/v1/fsck", metad_admin_fsck_begin, NULL, NULL },
	{ "DELETE", "/v1/fsck", metad_admin_fsck_cancel, NULL, NULL },
	{ "GET", "/v1/metad/backup", metad_admin_backup_status, NULL, NULL },
	{ "POST", "/v1/metad/backup", metad_admin_backup_begin, NULL, NULL },
	{ "DELETE", "/v1/metad/backup", metad_admin_backup_drop, NULL, NULL },
	{ "GET", "/v1/metad/backup/data", .file = metad_admin_backup_data },
	{ "GET", "/v1/layouts/{path}", metad_admin_layout, NULL, NULL },
	{ "GET", "/v1/metad/members", metad_admin_members, NULL, NULL },
	{ "POST", "/v1/metad/members/{path}", metad_admin_member, NULL, NULL },
	{ "POST", "/v1/metad/hand-over{path}", metad_admin_hand_over, NULL, NULL },
	{ "POST", "/v1/metad/promote", metad_admin_promote, NULL, NULL },
};

int metad_admin_new(struct metad *m, struct metad_admin **ret)
{
	struct metad_admin *admin = calloc(1, sizeof *admin);
	int r;

	if (!admin)
		return -ENOMEM;
	admin->m = m;
	r = metad_backup_new(m, &admin->backup);
	if (r >= 0)
		r = metad_fsck_new(m, &admin->fsck);
	if (r >= 0)
		r = ff3_httpd_new(m->conf->metad.admin, routes, ARRAY_SIZE(routes), admin,
				  &admin->httpd);
	if (r < 0) {
		metad_admin_free(admin);
		return r;
	}
	*ret = admin;
	return 0;
}

void metad_admin_free(struct metad_admin *admin)
{
	if (!admin)
		return;
	ff3_httpd_free(admin->httpd);
	metad_backup_free(admin->backup);
	metad_fsck_free(admin->fsck);
	free(admin);
}

const char *metad_admin_address(const struct metad_admin *admin)
{
	return ff3_httpd_address(admin->httpd);
}
