/* Purpose: the daemons: do they answer, how fast, and by which link; for each other link why not. Each link is
 * tried by itself, so that what is not preferred is known, too. Then what reading a path is like. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "../common/base/conf.h"
#include "../common/base/err.h"
#include "doctor.h"

#define PINGS 16
/* What a daemon may take to answer at most; or client.timeout, if that is less. */
#define TIMEOUT_MS 10000u
/* Chunk daemons whose links are tried one by one. Of the others only whether they answer. */
#define LINKS_OF 16
#define DAEMONS_MAX 4096
#define READS 64

static unsigned timeout_ms;

/* --- One daemon ------------------------------------------------------------------------------- */

static const char *fix_for(const char *kind, int r)
{
	bool metad = strcmp(kind, "metad") == 0;

	switch (r) {
	case -ECONNREFUSED:
		return metad ? "start ff3fs-metad there (a local cluster: ff3fs dev up), or set client.metad "
			       "(FF3FS_CLIENT_METAD)" :
			       "start ff3fs-chunkd there; until then what it stores cannot be read";
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return "see that the network reaches that address: ping, firewall, and what the daemon listens on";
	case -EPROTO:
		return metad ? "see that client.metad is the cluster's metadata server" :
			       "another cluster's daemon has that address: see its [chunkd] metad";
	default:
		return metad ? "look at the log of ff3fs-metad (journalctl -u ff3fs-metad)" :
			       "look at the log of ff3fs-chunkd (journalctl -u ff3fs-chunkd)";
	}
}

/* The link that has the connections. */
static const struct ff3fs_link *taken(const struct ff3fs_daemon *d)
{
	for (unsigned i = 0; i < d->n_links; i++)
		if (d->links[i].connections > 0)
			return &d->links[i];
	return NULL;
}

static const struct ff3fs_link *find_link(const struct ff3fs_daemon *d, const char *name)
{
	for (unsigned i = 0; i < d->n_links; i++)
		if (strcmp(d->links[i].name, name) == 0)
			return &d->links[i];
	return NULL;
}

static const char *cause(int r)
{
	return *ff3fs_last_error() ? ff3fs_last_error() : ff3fs_strerror(r);
}

static json_t *say_link(const struct ff3fs_daemon *d, const char *name, int r, uint64_t ns, const char *why)
{
	const struct ff3fs_link *in_use = taken(d), *l = find_link(d, name);
	char time[32], requests[32], what[48];

	snprintf(what, sizeof what, "  %s", name);
	if (l && l == in_use)
		return doctor_say(DOCTOR_OK, what, NULL, "taken: %s there and back, %s requests so far",
				  doctor_time(time, ns), cli_count(requests, l->requests));
	if (r == 0 && !l)
		return doctor_say(DOCTOR_OK, what, NULL, "would work (%s), and is not in client.transports",
				  doctor_time(time, ns));
	if (r == 0)
		return doctor_say(DOCTOR_OK, what, NULL, "would work (%s), and comes after %s in client.transports",
				  doctor_time(time, ns), in_use ? in_use->name : "others");
	/* It comes before the one that is in use, and this machine has what it needs. */
	if (l && in_use && l < in_use && r != -ENODEV)
		return doctor_say(DOCTOR_NOTE, what, "or leave it out of client.transports", "not taken, though preferred: %s", why);
	return doctor_say(DOCTOR_OK, what, NULL, "not taken: %s", why);
}

static void look_at_links(struct ff3fs *fs, size_t i, const struct ff3fs_daemon *d)
{
	static const char *const names[] = { "shm", "verbs", "tcp", "unix" };

	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		uint64_t ns = 0;
		int r = ff3fs_ping(fs, i, names[k], PINGS, timeout_ms, &ns);
		json_t *j = say_link(d, names[k], r, ns, cause(r));

		if (!j)
			continue;
		json_object_set_new(j, "daemon", cli_json_name(d->address));
		json_object_set_new(j, "link", json_string(names[k]));
		json_object_set_new(j, "taken", json_boolean(taken(d) && taken(d) == find_link(d, names[k])));
		json_object_set_new(j, "works", json_boolean(r == 0));
		if (r == 0)
			json_object_set_new(j, "ping_ns", json_integer((json_int_t)ns));
	}
}

static void name_daemon(char what[80], const struct ff3fs_daemon *d)
{
	snprintf(what, 80, "%s %.70s", d->kind, d->address);
}

/* Daemon number i. */
static bool look_at_daemon(struct ff3fs *fs, size_t i, struct ff3fs_daemon *d, bool links)
{
	char what[80], time[32];
	uint64_t ns;
	int r = ff3fs_ping(fs, i, NULL, PINGS, timeout_ms, &ns);
	json_t *j;

	name_daemon(what, d);
	if (r < 0) {
		j = doctor_say(DOCTOR_PROBLEM, what, fix_for(d->kind, r), "does not serve us: %s", cause(r));
	} else {
		struct ff3fs_daemon *all = calloc(i + 1, sizeof *all);

		/* As it is now that it is connected. */
		if (all && ff3fs_daemons(fs, all, i + 1) > i)
			*d = all[i];
		free(all);
		j = doctor_say(DOCTOR_OK, what, NULL, "answers in %s by %s", doctor_time(time, ns),
			       taken(d) ? taken(d)->name : "nothing");
	}
	if (j) {
		json_object_set_new(j, "daemon", cli_json_name(d->address));
		json_object_set_new(j, "kind", json_string(d->kind));
		json_object_set_new(j, "target", json_sprintf("%016" PRIx64, d->target));
		json_object_set_new(j, "answers", json_boolean(r == 0));
	}
	if (r == 0 && links)
		look_at_links(fs, i, d);
	return r == 0;
}

/* Each member of metad's group, if a list was given; whichever serves is daemon 0 from then on, and is told of as such. */
static void look_at_members(struct ff3fs *fs, const char *list)
{
	const char *address;
	char what[80];

	for (unsigned i = 0; strpbrk(list, ", \t"); i++) {
		int r;
		json_t *j;

		address = NULL;
		r = ff3fs_ask_metad(fs, i, timeout_ms, &address);
		if (!address)
			break;
		snprintf(what, sizeof what, "member %.70s", address);
		if (r >= 0)
			j = doctor_say(DOCTOR_OK, what, NULL, r == FF3FS_FOLLOWS ? "follows" : "is the primary");
		else
			j = doctor_say(DOCTOR_NOTE, what,
				       r == -ECONNREFUSED ? "start ff3fs-metad there: until then the group can bear one failure less" :
							    fix_for("metad", r),
				       "is away: %s", cause(r));
		if (!j)
			continue;
		json_object_set_new(j, "member", cli_json_name(address));
		json_object_set_new(j, "role", json_string(r == 0 ? "primary" : r > 0 ? "follower" : "away"));
	}
}

static bool said_before(const struct ff3fs_daemon *all, size_t i)
{
	for (size_t k = 1; k < i; k++)
		if (strcmp(all[k].address, all[i].address) == 0)
			return true;
	return false;
}

bool doctor_cluster(struct ff3fs *fs, const struct ff3_conf *conf)
{
	_cleanup_free_ struct ff3fs_daemon *all = calloc(DAEMONS_MAX, sizeof *all);
	size_t n, n_down = 0;
	int r;

	timeout_ms = (unsigned)MIN(conf->client.timeout, (uint64_t)TIMEOUT_MS);
	doctor_section("cluster");
	look_at_members(fs, conf->client.metad);
	if (!all || ff3fs_daemons(fs, all, 1) < 1 || !look_at_daemon(fs, 0, &all[0], true))
		return false;
	r = ff3fs_find_daemons(fs);
	if (r < 0) {
		doctor_say(DOCTOR_PROBLEM, "chunk daemons", fix_for("metad", r), "metad does not tell of them: %s",
			   cause(r));
		return false;
	}
	n = MIN(ff3fs_daemons(fs, all, DAEMONS_MAX), (size_t)DAEMONS_MAX);
	if (n == 1)
		doctor_say(DOCTOR_PROBLEM, "chunk daemons", "start ff3fs-chunkd somewhere, with this metad as its [chunkd] metad",
			   "none has registered with metad");
	for (size_t i = 1; i < n; i++)
		n_down += !look_at_daemon(fs, i, &all[i], i <= LINKS_OF && !said_before(all, i));
	if (n_down > 0 && n > 2)
		doctor_say(DOCTOR_NOTE, "chunk daemons", NULL, "%zu of %zu serve us", n - 1 - n_down, n - 1);
	return true;
}

/* --- RDMA ------------------------------------------------------------------------------------- */

/* From which of our addresses the route to "host:port" goes. */
static bool source_of(const char *address, char ret[INET6_ADDRSTRLEN])
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *list = NULL;
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	char host[256];
	const char *colon = strrchr(address, ':');
	size_t n = colon ? (size_t)(colon - address) : 0;
	bool found = false;
	int fd;

	if (n == 0 || n >= sizeof host)
		return false;
	memcpy(host, address, n);
	host[n] = '\0';
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		memmove(host, host + 1, n - 1);
	}
	if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
		return false;
	fd = socket(list->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) == 0 &&
	    getsockname(fd, (struct sockaddr *)&at, &len) == 0)
		found = getnameinfo((struct sockaddr *)&at, len, ret, INET6_ADDRSTRLEN, NULL, 0,
				    NI_NUMERICHOST) == 0;
	if (fd >= 0)
		close(fd);
	freeaddrinfo(list);
	return found;
}

/* Which port carries it: that which has the address from which the route goes. */
static void say_choice(const struct ff3fs_daemon *d, const char *ports)
{
	char source[INET6_ADDRSTRLEN], needle[INET6_ADDRSTRLEN + 8], what[80];
	const char *at, *line;

	name_daemon(what, d);
	if (!source_of(d->address, source))
		return;
	snprintf(needle, sizeof needle, " %s (GID", source);
	at = strstr(ports, needle);
	for (line = at; line && line > ports && line[-1] != '\n'; line--)
		;
	if (at)
		doctor_say(DOCTOR_OK, what, NULL, "by %.*s: the route goes from its address %s",
			   (int)strcspn(line, ":"), line, source);
	else
		doctor_say(DOCTOR_NOTE, what, "advertise an address on the RDMA network: [chunkd] advertise",
			   "no device: the route to it goes from %s, which is no device's address", source);
}

void doctor_rdma(struct ff3fs *fs)
{
	struct ff3fs_daemon all[LINKS_OF];
	char text[8192], *save = NULL, *copy;
	int usable = ff3fs_describe_rdma(text, sizeof text);
	size_t n;

	doctor_section("rdma");
	copy = strdup(text);
	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strstr(line, ": ");
		bool bad = strstr(line, "not used") || strstr(line, "cannot be");

		if (colon && usable != -ENODEV) {
			*colon = '\0';
			doctor_say(bad ? DOCTOR_NOTE : DOCTOR_OK, line,
				   bad ? "bring its network device up and give it an address (ip link, ip addr)" : NULL,
				   "%s", colon + 2);
		} else {
			doctor_say(DOCTOR_OK, "devices", NULL, "%s", line);
		}
	}
	free(copy);
	if (usable <= 0)
		return;
	n = MIN(ff3fs_daemons(fs, all, ARRAY_SIZE(all)), ARRAY_SIZE(all));
	for (size_t i = 0; i < n; i++)
		say_choice(&all[i], text);
}

/* --- A path ----------------------------------------------------------------------------------- */

static void say_hot(struct ff3fs *fs, const struct ff3_conf *conf, uint64_t request_ns, uint64_t hot_ns)
{
	struct ff3fs_hot_stats h;
	char a[32], b[32];
	json_t *j;

	ff3fs_hot_stats(fs, &h);
	if (!conf->client.hot)
		j = doctor_say(DOCTOR_NOTE, "hot memory", "client.hot = yes", "client.hot is no: all reads are requests");
	else if (h.reads > 0)
		j = doctor_say(DOCTOR_OK, "hot memory", NULL,
			       "%" PRIu64 " of %d reads without a request: %s instead of %s", h.reads, READS,
			       doctor_time(a, hot_ns), doctor_time(b, request_ns));
	else if (h.asked == 0)
		j = doctor_say(DOCTOR_OK, "hot memory", NULL,
			       "not used: no daemon of this host has this chunk, or it is not read often enough");
	else
		j = doctor_say(DOCTOR_OK, "hot memory", NULL, "asked %" PRIu64 " times, refused %" PRIu64, h.asked,
			       h.refused);
	if (!j)
		return;
#define PUT(name) json_object_set_new(j, #name, json_integer((json_int_t)h.name));
	PUT(reads) PUT(bytes) PUT(mapped) PUT(asked) PUT(refused) PUT(absent) PUT(gone) PUT(dead)
	PUT(beyond) PUT(unsynced) PUT(checksum)
#undef PUT
}

/* Reads its first block many times: the quickest by request, and without. */
static void try_reads(struct ff3fs *fs, const struct ff3_conf *conf, const char *shown, const char *path)
{
	uint64_t request_ns = UINT64_MAX, hot_ns = UINT64_MAX;
	struct ff3fs_hot_stats before, after;
	struct ff3fs_file *file;
	char buf[4096], time[32];
	ssize_t n = 0;
	int r = ff3fs_open(fs, FF3FS_ROOT, path, O_RDONLY, 0, &file);

	for (int i = 0; r == 0 && n >= 0 && i < READS; i++) {
		uint64_t began;

		ff3fs_hot_stats(fs, &before);
		began = ff3_boottime_ns();
		n = ff3fs_pread(file, buf, sizeof buf, 0);
		began = ff3_boottime_ns() - began;
		ff3fs_hot_stats(fs, &after);
		if (after.reads > before.reads)
			hot_ns = MIN(hot_ns, began);
		else
			request_ns = MIN(request_ns, began);
	}
	if (r < 0 || n < 0) {
		doctor_say(DOCTOR_PROBLEM, "reading", "see the chunk daemons above, and the file's permissions",
			   "%s: %s", shown, cause(r < 0 ? r : (int)n));
	} else {
		doctor_say(DOCTOR_OK, "reading", NULL, "4 KiB of %s in %s", shown, doctor_time(time, MIN(request_ns, hot_ns)));
		say_hot(fs, conf, request_ns, hot_ns);
	}
	if (r == 0)
		ff3fs_close(file);
}

static void say_layout(struct ff3fs *fs, const char *path)
{
	static struct ff3fs_layout l;
	char size[32];

	if (ff3fs_get_layout(fs, FF3FS_ROOT, path, &l) == 0)
		doctor_say(DOCTOR_OK, "layout", NULL, "chunks of %s over %u chain%s%s", cli_size(size, l.chunk_size),
			   l.n_stripe, l.n_stripe == 1 ? "" : "s", l.pinned ? ", pinned in memory" : "");
}

void doctor_path(struct ff3fs *fs, const struct ff3_conf *conf, const char *arg)
{
	_cleanup_free_ char *prefix = strndup(conf->client.prefix, strcspn(conf->client.prefix, ":"));
	_cleanup_free_ char *path = arg ? cli_remote(fs, arg) : strdup("");
	_cleanup_free_ char *shown = NULL;
	struct ff3fs_attr attr;
	char size[32];
	int r;

	doctor_section("files");
	if (!prefix || !path || asprintf(&shown, "%s%s%s", prefix, *path ? "/" : "", path) < 0)
		return;
	r = ff3fs_stat(fs, FF3FS_ROOT, path, 0, &attr);
	if (r < 0) {
		doctor_say(DOCTOR_PROBLEM, shown, r == -ENOENT ? "ff3fs ls shows what is there" :
					    r == -EACCES ? "ask its owner, or be another user" : NULL,
			   "%s", cause(r));
		return;
	}
	doctor_say(DOCTOR_OK, shown, NULL, "%s%s", S_ISDIR(attr.mode) ? "a directory" : "a file of ",
		   S_ISDIR(attr.mode) ? "" : cli_size(size, attr.size));
	say_layout(fs, path);
	if (S_ISREG(attr.mode))
		try_reads(fs, conf, shown, path);
	else if (conf->client.hot)
		doctor_say(DOCTOR_OK, "hot memory", NULL, "name a file to see how it is read: ff3fs doctor FILE");
	doctor_shim_sees(shown);
}
