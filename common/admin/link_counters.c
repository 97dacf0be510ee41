/* Purpose: the counters of connections and requests of a daemon's servers as text. No state.
 * Threads: counters are relaxed atomics that the servers' threads change. */
#include "link_counters.h"

#include "metrics.h"

static const char *const roles[FF3_SERVER_ROLES] = { "other", "client", "metad", "chunkd", "member" };

static uint64_t load(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static void add(_Atomic uint64_t *into, const _Atomic uint64_t *from)
{
	atomic_store_explicit(into, load(into) + load(from), memory_order_relaxed);
}

void ff3_link_counters_add(struct ff3_server_counters *into, const struct ff3_server_counters *from)
{
	for (unsigned l = 0; l < FF3_LINK_N; l++) {
		for (unsigned role = 0; role < FF3_SERVER_ROLES; role++)
			add(&into->requests[role][l], &from->requests[role][l]);
		add(&into->accepted[l], &from->accepted[l]);
		add(&into->closed[l], &from->closed[l]);
		for (unsigned to = 0; to < FF3_LINK_N; to++)
			for (unsigned why = 0; why < FF3_REASON_N; why++)
				add(&into->fallbacks[l][to][why], &from->fallbacks[l][to][why]);
	}
	add(&into->versions, &from->versions);
	add(&into->tickets, &from->tickets);
}

/* "ff3fs_chunkd_requests_total" */
static const char *family(FILE *out, char name[64], const char *daemon, const char *what,
			  const char *type, const char *help)
{
	snprintf(name, 64, "ff3fs_%s_%s", daemon, what);
	ff3_metrics_family(out, name, type, help);
	return name;
}

static void print_fallbacks(FILE *out, const char *name, const struct ff3_server_counters *c)
{
	char labels[96];

	for (unsigned from = 0; from < FF3_LINK_N; from++)
		for (unsigned to = 0; to < FF3_LINK_N; to++)
			for (unsigned why = 0; why < FF3_REASON_N; why++) {
				if (load(&c->fallbacks[from][to][why]) == 0)
					continue;
				snprintf(labels, sizeof labels, "link=\"%s\",instead=\"%s\",reason=\"%s\"",
					 ff3_link_names[from], ff3_link_names[to], ff3_link_reasons[why]);
				ff3_metrics_sample(out, name, labels, load(&c->fallbacks[from][to][why]));
			}
}

void ff3_link_counters_print(FILE *out, const char *daemon, const struct ff3_server_counters *c)
{
	char name[64], labels[64];

	family(out, name, daemon, "requests_total", "counter", "requests, by what carried them and from whom");
	for (unsigned l = 0; l < FF3_LINK_N; l++)
		for (unsigned role = 0; role < FF3_SERVER_ROLES; role++) {
			if (load(&c->requests[role][l]) == 0)
				continue;
			snprintf(labels, sizeof labels, "link=\"%s\",role=\"%s\"", ff3_link_names[l],
				 roles[role]);
			ff3_metrics_sample(out, name, labels, load(&c->requests[role][l]));
		}
	family(out, name, daemon, "accepted_total", "counter", "connections that were greeted");
	for (unsigned l = 0; l < FF3_LINK_N; l++) {
		snprintf(labels, sizeof labels, "link=\"%s\"", ff3_link_names[l]);
		ff3_metrics_sample(out, name, labels, load(&c->accepted[l]));
	}
	family(out, name, daemon, "connections", "gauge", "connections now");
	for (unsigned l = 0; l < FF3_LINK_N; l++) {
		snprintf(labels, sizeof labels, "link=\"%s\"", ff3_link_names[l]);
		ff3_metrics_sample(out, name, labels, load(&c->accepted[l]) - load(&c->closed[l]));
	}
	family(out, name, daemon, "fallbacks_total", "counter",
	       "connections whose preferred link did not work, what came instead, and why");
	print_fallbacks(out, name, c);
	family(out, name, daemon, "versions_refused_total", "counter",
	       "connections refused because they speak another protocol version");
	ff3_metrics_sample(out, name, NULL, load(&c->versions));
	family(out, name, daemon, "tickets_refused_total", "counter",
	       "connections refused because they came without a ticket that is good");
	ff3_metrics_sample(out, name, NULL, load(&c->tickets));
}

/* What came by link `to` instead of others. */
static json_t *instead_json(const struct ff3_server_counters *c, unsigned to)
{
	json_t *j = json_object();
	char key[64];

	for (unsigned from = 0; from < FF3_LINK_N; from++)
		for (unsigned why = 0; why < FF3_REASON_N; why++) {
			uint64_t n = load(&c->fallbacks[from][to][why]);

			snprintf(key, sizeof key, "%s: %s", ff3_link_names[from], ff3_link_reasons[why]);
			if (n > 0)
				json_object_set_new(j, key, json_integer((json_int_t)n));
		}
	return j;
}

json_t *ff3_link_counters_json(const struct ff3_server_counters *c)
{
	json_t *j = json_object();

	for (unsigned l = 0; l < FF3_LINK_N; l++) {
		uint64_t requests = 0;

		for (unsigned role = 0; role < FF3_SERVER_ROLES; role++)
			requests += load(&c->requests[role][l]);
		if (load(&c->accepted[l]) == 0)
			continue;
		json_object_set_new(j, ff3_link_names[l],
				    json_pack("{s:I, s:I, s:o}", "connections",
					      (json_int_t)(load(&c->accepted[l]) - load(&c->closed[l])),
					      "requests", (json_int_t)requests, "instead_of",
					      instead_json(c, l)));
	}
	return j;
}
