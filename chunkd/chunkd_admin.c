/* The HTTP endpoint: health, metrics, status.
 *
 * Threads: handlers run on the HTTP server's thread; they read counters, which the targets' threads
 * change with relaxed stores, and nothing else of theirs. */
#include "../common/admin/httpd.h"
#include "../common/admin/link_counters.h"
#include "../common/base/err.h"
#include "daemon.h"

static uint64_t load(const uint64_t *v)
{
	return __atomic_load_n(v, __ATOMIC_RELAXED);
}

static size_t n_offline(const struct chunkd_daemon *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_targets; i++) {
		struct chunkd_target_view v;

		chunkd_target_view(d->targets[i], &v);
		n += load(&v.stats->offline) != 0;
	}
	return n;
}

/* Of all targets, and of the socket that listens for them. */
static void count_links(const struct chunkd_daemon *d, struct ff3_server_counters *ret)
{
	*ret = (struct ff3_server_counters){ 0 };
	ff3_link_counters_add(ret, ff3_server_counters(d->listener));
	for (size_t i = 0; i < d->n_targets; i++)
		ff3_link_counters_add(ret, ff3_server_counters(chunkd_target_server(d->targets[i])));
}

static int get_health(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	*ret = json_pack("{s:s}", "status", "ok");
	return 200;
}

static int get_ready(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct chunkd_daemon *d = ctx;
	size_t offline = n_offline(d);

	if (!atomic_load(&d->registered))
		return ff3_http_problem(ret, 503, "ENOTCONN", "is metad running?",
					"not registered with metad at %s yet", d->conf->chunkd.metad);
	if (offline)
		return ff3_http_problem(ret, 503, "OFFLINE", "replace the disk, then restart",
					"%zu of %zu targets are offline after a disk error", offline,
					d->n_targets);
	*ret = json_pack("{s:s}", "status", "ready");
	return 200;
}

static json_t *target_json(const struct chunkd_daemon *d, struct chunkd_target *target)
{
	struct chunkd_target_view v;
	json_t *j = json_object();
	char id[24], node[24];

	chunkd_target_view(target, &v);
	snprintf(id, sizeof id, "%016" PRIx64, v.id);
	snprintf(node, sizeof node, "%016" PRIx64, d->node);
	json_object_set_new(j, "target", json_string(id));
	json_object_set_new(j, "node", json_string(node));
	json_object_set_new(j, "path", ff3_json_bytes(v.dir, strlen(v.dir)));
	json_object_set_new(j, "state",
			    json_string(load(&v.stats->offline) ? "offline" : "serving"));
#define PUT(name, help) json_object_set_new(j, #name, json_integer((json_int_t)load(&v.stats->name)));
	CHUNKD_GAUGES(PUT)
	CHUNKD_STATS(PUT)
#undef PUT
	return j;
}

static int get_targets(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct chunkd_daemon *d = ctx;
	json_t *items = json_array();

	for (size_t i = 0; i < d->n_targets; i++)
		json_array_append_new(items, target_json(d, d->targets[i]));
	*ret = json_pack("{s:o, s:n}", "items", items, "next");
	return 200;
}

static int get_status(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct chunkd_daemon *d = ctx;
	struct ff3_server_counters links;
	char node[24], cluster[24], instance[24];
	uint64_t capacity = 0, used = 0, memory = 0, memory_used = 0, age;
	int metad = chunkd_register_status(d, &age);
	bool registered = atomic_load(&d->registered);

	for (size_t i = 0; i < d->n_targets; i++) {
		struct chunkd_target_view v;

		chunkd_target_view(d->targets[i], &v);
		capacity += load(&v.stats->capacity);
		used += load(&v.stats->used);
		memory += load(&v.stats->memory_size);
		memory_used += load(&v.stats->memory_bytes);
	}
	snprintf(node, sizeof node, "%016" PRIx64, d->node);
	snprintf(cluster, sizeof cluster, "%016" PRIx64, registered ? d->cluster : 0);
	snprintf(instance, sizeof instance, "%016" PRIx64, d->instance);
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s,"
			 " s:I}",
			 "daemon", "chunkd", "version", PACKAGE_VERSION, "node", node, "cluster",
			 cluster, "instance", instance, "listen", d->address, "state",
			 !registered	 ? "waiting" :
			 n_offline(d) ? "degraded" :
					"healthy",
			 "uptime_seconds",
			 (json_int_t)((ff3_boottime_ns() - d->started_ns) / FF3_NSEC_PER_SEC),
			 "targets", (json_int_t)d->n_targets, "targets_offline",
			 (json_int_t)n_offline(d), "capacity", (json_int_t)capacity, "used",
			 (json_int_t)used, "memory", (json_int_t)memory, "memory_used",
			 (json_int_t)memory_used, "metad", metad ? ff3_strerror(metad) : "ok",
			 "metad_reached_ms_ago", (json_int_t)age);
	count_links(d, &links);
	json_object_set_new(*ret, "links", ff3_link_counters_json(&links));
	return 200;
}

struct family {
	const char *name, *help;
	size_t offset;
	bool counter;
};

static int get_metrics(void *ctx, const struct ff3_http_request *request, FILE *out)
{
#define ROW_COUNTER(name, help)                                                                    \
	{ "ff3fs_chunkd_" #name "_total", help, offsetof(struct chunkd_store_stats, name), true },
#define ROW_GAUGE(name, help)                                                                      \
	{ "ff3fs_chunkd_" #name, help, offsetof(struct chunkd_store_stats, name), false },
	static const struct family families[] = { CHUNKD_STATS(ROW_COUNTER)
							  CHUNKD_GAUGES(ROW_GAUGE) };
	struct chunkd_daemon *d = ctx;
	struct ff3_server_counters links;
	struct chunkd_target_view v;
	char labels[96];

	ff3_metrics_process(out, "chunkd");
	count_links(d, &links);
	ff3_link_counters_print(out, "chunkd", &links);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		ff3_metrics_family(out, families[f].name, families[f].counter ? "counter" : "gauge",
				   families[f].help);
		for (size_t i = 0; i < d->n_targets; i++) {
			chunkd_target_view(d->targets[i], &v);
			snprintf(labels, sizeof labels, "target=\"%016" PRIx64 "\"", v.id);
			ff3_metrics_sample(out, families[f].name, labels,
					   load((const uint64_t *)((const char *)v.stats +
								   families[f].offset)));
		}
	}
	ff3_metrics_family(out, "ff3fs_chunkd_request_duration_seconds", "histogram",
			   "time from a request's arrival to its reply");
	for (size_t i = 0; i < d->n_targets; i++) {
		chunkd_target_view(d->targets[i], &v);
		for (int op = 0; op < CHUNKD_N_SERVED; op++) {
			snprintf(labels, sizeof labels, "target=\"%016" PRIx64 "\",op=\"%s\"", v.id,
				 chunkd_served_names[op]);
			ff3_metrics_histogram(out, "ff3fs_chunkd_request_duration_seconds", labels,
					      &v.latency[op]);
		}
	}
	return 200;
}

static const struct ff3_http_route routes[] = {
	{ "GET", "/healthz", get_health, NULL, NULL },    { "GET", "/readyz", get_ready, NULL, NULL },
	{ "GET", "/metrics", NULL, get_metrics, NULL },   { "GET", "/v1/status", get_status, NULL, NULL },
	{ "GET", "/v1/targets", get_targets, NULL, NULL },
};

int chunkd_admin_start(struct chunkd_daemon *d, struct ff3_httpd **ret)
{
	return ff3_httpd_new(d->conf->chunkd.admin, routes, ARRAY_SIZE(routes), d, ret);
}
