/* Purpose: a local cluster's group of metadata servers, as their HTTP endpoints tell of it.
 * Threads: one. */
#include <dirent.h>
#include <stdio.h>

#include "cli.h"
#include "dev.h"

#define ASK_MS 2000u

/* What d says of the group; NULL: it does not run, or does not answer. */
static json_t *ask(const struct dev_daemon *d)
{
	_cleanup_free_ char *body = NULL;

	if (!d->pid || dev_http_get(d->admin, "/v1/metad/members", ASK_MS, &body) != 200)
		return NULL;
	return json_loads(body, 0, NULL);
}

void dev_role(const struct dev_daemon *d, char ret[16])
{
	json_t *doc = ask(d);
	const char *role = json_string_value(json_object_get(doc, "role"));

	snprintf(ret, 16, "%s", role ? role : "");
	json_decref(doc);
}

const struct dev_daemon *dev_primary(const struct dev_cluster *c)
{
	char role[16];

	if (c->n_metad == 1)
		return &c->daemons[0];
	for (unsigned i = 0; i < c->n_metad; i++) {
		dev_role(&c->daemons[i], role);
		if (strcmp(role, "primary") == 0)
			return &c->daemons[i];
	}
	return NULL;
}

/* Whether the primary knows each member that runs as one that votes. */
static bool is_whole(const struct dev_cluster *c)
{
	const struct dev_daemon *primary = dev_primary(c);
	json_t *doc = primary ? ask(primary) : NULL, *member;
	unsigned voters = 0, running = 0;
	size_t k;

	json_array_foreach(json_object_get(doc, "items"), k, member) {
		const char *state = json_string_value(json_object_get(member, "state"));
		uint64_t id = (uint64_t)json_integer_value(json_object_get(member, "id"));

		voters += id >= 1 && id <= c->n_metad && c->daemons[id - 1].pid && state &&
			  strcmp(state, "voter") == 0;
	}
	for (unsigned i = 0; i < c->n_metad; i++)
		running += c->daemons[i].pid != 0;
	json_decref(doc);
	return primary && voters == running;
}

int dev_wait_group(const struct dev_cluster *c, unsigned timeout_ms)
{
	uint64_t deadline = ff3_boottime_ns() + timeout_ms * FF3_NSEC_PER_MSEC;
	const struct timespec pause = { 0, 20 * 1000 * 1000 };

	while (c->n_metad > 1 && !is_whole(c)) {
		if (ff3_boottime_ns() > deadline) {
			cli_message("the metadata servers have not become one group after %u s; see %s/log",
				    timeout_ms / 1000, c->dir);
			return -ETIMEDOUT;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

bool dev_is_fresh(const struct dev_cluster *c)
{
	char path[PATH_MAX + 64];
	struct dirent *e;
	bool fresh = true;
	DIR *dir;

	snprintf(path, sizeof path, "%s/metad", c->dir);
	dir = opendir(path);
	while (dir && fresh && (e = readdir(dir)))
		fresh = e->d_name[0] == '.';
	if (dir)
		closedir(dir);
	return fresh;
}
