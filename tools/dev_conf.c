/* Purpose: the configuration files of a local cluster. They are written once; after that only the
 * lines that hold addresses are replaced, so that what a person edits stays.
 *
 * Ports are chosen below the range from which the kernel takes the ports of outgoing connections:
 * a client that keeps trying to reach a daemon which is down could otherwise be given the
 * daemon's own port. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../common/base/conf.h"
#include "cli.h"
#include "dev.h"

#define PORT_MIN 10000u
#define PORT_WAIT_MS 2000u
#define DEFAULT_MEMORY "256M"
#define DEFAULT_HOST "127.0.0.1"

/* The files of the first metad are called as those of the only one are, so that others can be added. */
static void name_daemon(const struct dev_cluster *c, struct dev_daemon *d, bool metad, unsigned index)
{
	char dir[PATH_MAX], name[sizeof d->name];

	strcpy(dir, c->dir);
	*d = (struct dev_daemon){ .index = index, .is_metad = metad, .ready_fd = -1 };
	d->program = metad ? "ff3fs-metad" : "ff3fs-chunkd";
	d->section = metad ? "metad" : "chunkd";
	if (metad && index == 1)
		strcpy(name, "metad");
	else
		snprintf(name, sizeof name, "%s%u", d->section, index);
	strcpy(d->name, name);
	snprintf(d->conf, sizeof d->conf, "%s/%s.conf", dir, metad && index == 1 ? "ff3fs" : name);
	snprintf(d->log, sizeof d->log, "%s/log/%s.log", dir, name);
	snprintf(d->pid_file, sizeof d->pid_file, "%s/run/%s.pid", dir, name);
}

/* --- Reading and changing -------------------------------------------------------------------- */

/* Whether line is "key = …" with any spacing; a comment is not. */
static bool line_has_key(const char *line, const char *key)
{
	size_t n = strlen(key);

	line += strspn(line, " \t");
	if (strncmp(line, key, n) != 0)
		return false;
	line += n;
	return line[strspn(line, " \t")] == '=';
}

/* Copies in to out with [section] key set to value. */
static int rewrite(FILE *in, FILE *out, const char *section, const char *key, const char *value)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0, n = strlen(section);
	bool inside = false, done = false;

	while (getline(&line, &size, in) >= 0) {
		if (line[0] == '[') {
			if (inside && !done)
				fprintf(out, "%s = %s\n", key, value);
			done |= inside;
			inside = strncmp(line + 1, section, n) == 0 && line[1 + n] == ']';
		}
		if (inside && !done && line_has_key(line, key)) {
			fprintf(out, "%s = %s\n", key, value);
			done = true;
			continue;
		}
		fputs(line, out);
	}
	if (!done)
		fprintf(out, "%s%s%s%s = %s\n", inside ? "" : "\n[", inside ? "" : section,
			inside ? "" : "]\n", key, value);
	return ferror(in) || ferror(out) ? -EIO : 0;
}

static int set_value(const char *file, const char *section, const char *key, const char *value)
{
	char temporary[PATH_MAX + 80];
	FILE *in = fopen(file, "re"), *out;
	int r;

	if (!in)
		return -errno;
	snprintf(temporary, sizeof temporary, "%s.new", file);
	out = fopen(temporary, "we");
	if (!out) {
		r = -errno;
		fclose(in);
		return r;
	}
	r = rewrite(in, out, section, key, value);
	fclose(in);
	if (fclose(out) != 0 && r >= 0)
		r = -errno;
	if (r >= 0 && rename(temporary, file) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	return r;
}

/* A file's own value of [section] key, without the environment's say. */
static int get_value(const char *file, const char *section, const char *key, char *buf, size_t size)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0, n = strlen(section);
	FILE *in = fopen(file, "re");
	bool inside = false;
	int r = -ENODATA;

	if (!in)
		return -errno;
	while (getline(&line, &room, in) >= 0) {
		const char *value;

		if (line[0] == '[')
			inside = strncmp(line + 1, section, n) == 0 && line[1 + n] == ']';
		if (!inside || !line_has_key(line, key))
			continue;
		value = strchr(line, '=') + 1;
		value += strspn(value, " \t");
		snprintf(buf, size, "%.*s", (int)strcspn(value, "\r\n"), value);
		r = 0;
	}
	fclose(in);
	return r;
}

static void load_daemon(struct dev_daemon *d)
{
	get_value(d->conf, d->section, "listen", d->listen, sizeof d->listen);
	get_value(d->conf, d->section, "admin", d->admin, sizeof d->admin);
}

/* Those that have a configuration file. */
static void load_all(struct dev_cluster *c, bool metad, unsigned max)
{
	for (unsigned index = 1; index <= max; index++) {
		struct dev_daemon *d = &c->daemons[c->n];

		name_daemon(c, d, metad, index);
		if (access(d->conf, R_OK) < 0)
			break;
		load_daemon(d);
		c->n++;
	}
}

int dev_load(struct dev_cluster *c, const char *dir)
{
	char prefix[4096] = "/ff3fs";

	*c = (struct dev_cluster){ 0 };
	if (strlen(dir) >= sizeof c->dir)
		return -ENAMETOOLONG;
	strcpy(c->dir, dir);
	snprintf(c->conf, sizeof c->conf, "%s/ff3fs.conf", dir);
	if (access(c->conf, R_OK) < 0)
		return -errno;
	get_value(c->conf, "client", "prefix", prefix, sizeof prefix);
	c->prefix = strdup(prefix);
	if (!c->prefix)
		return -ENOMEM;
	load_all(c, true, DEV_METAD_MAX);
	c->n_metad = c->n;
	if (c->n_metad > 1)
		strcpy(c->daemons[0].name, "metad1");
	load_all(c, false, DEV_CHUNKD_MAX);
	return 0;
}

void dev_done(struct dev_cluster *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->daemons[i].ready_fd >= 0)
			close(c->daemons[i].ready_fd);
	free(c->prefix);
	*c = (struct dev_cluster){ 0 };
}

/* --- Making ----------------------------------------------------------------------------------- */

static int make_dir(const char *path)
{
	if (mkdir(path, 0777) == 0 || errno == EEXIST)
		return 0;
	return cli_local_error(path, -errno), -errno;
}

/* Makes dir and its missing parents. */
static int make_dirs(const char *dir)
{
	char path[PATH_MAX + 64];
	int r = 0;

	snprintf(path, sizeof path, "%s", dir);
	for (char *p = path + 1; r >= 0 && (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		r = make_dir(path);
	}
	return r < 0 ? r : make_dir(path);
}

static int write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	int r;

	if (!f)
		return cli_local_error(path, -errno), -errno;
	fputs(text, f);
	r = ferror(f) ? -EIO : 0;
	if (fclose(f) != 0)
		r = -errno;
	return r < 0 ? (cli_local_error(path, r), r) : 0;
}

static int make_main_conf(const struct dev_cluster *c, const char *host, const char *prefix)
{
	char text[4 * PATH_MAX];

	snprintf(text, sizeof text,
		 "# A local cluster made by ff3fs dev; its addresses are rewritten when their ports are\n"
		 "# taken, everything else is left alone.\n"
		 "[client]\nprefix = %s\nmetad = %s:0\nsockets = %s/run\n\n"
		 "[metad]\ndir = %s/metad\nlisten = %s:0\nadmin = 127.0.0.1:0\nsockets = %s/run\n",
		 prefix ? prefix : "/ff3fs", host, c->dir, c->dir, host, c->dir);
	return write_file(c->conf, text);
}

static int make_metad(const struct dev_cluster *c, unsigned index, const char *host)
{
	char path[PATH_MAX + 64], text[3 * PATH_MAX];
	int r;

	snprintf(path, sizeof path, "%s/metad%u", c->dir, index);
	r = make_dir(path);
	if (r < 0)
		return r;
	snprintf(path, sizeof path, "%s/metad%u.conf", c->dir, index);
	snprintf(text, sizeof text,
		 "[metad]\ndir = %s/metad%u\nmember = %u\nlisten = %s:0\nadmin = 127.0.0.1:0\n"
		 "sockets = %s/run\n",
		 c->dir, index, index, host, c->dir);
	return write_file(path, text);
}

static int make_chunkd(const struct dev_cluster *c, unsigned index, const char *host, const char *memory)
{
	char path[PATH_MAX + 64], text[3 * PATH_MAX], metad[DEV_METAD_MAX * 80] = "127.0.0.1:0";
	int r;

	snprintf(path, sizeof path, "%s/chunkd%u", c->dir, index);
	r = make_dir(path);
	if (r < 0)
		return r;
	get_value(c->conf, "client", "metad", metad, sizeof metad);
	snprintf(path, sizeof path, "%s/chunkd%u.conf", c->dir, index);
	snprintf(text, sizeof text,
		 "[chunkd]\ntargets = %s/chunkd%u\nlisten = %s:0\nadmin = 127.0.0.1:0\n"
		 "metad = %s\nmemory = %s\nsockets = %s/run\n",
		 c->dir, index, host, metad, memory ? memory : DEFAULT_MEMORY, c->dir);
	return write_file(path, text);
}

static int check_options(const char *dir, const struct dev_wish *wish)
{
	struct in_addr address;
	uint64_t size;

	if (strlen(dir) > PATH_MAX - 64 || strpbrk(dir, "\n:;#")) {
		cli_message("%s: a path that is too long or holds one of : ; #", dir);
		return -EINVAL;
	}
	if (wish->host && (inet_pton(AF_INET, wish->host, &address) != 1 || address.s_addr == INADDR_ANY)) {
		cli_message("--host: %s: expected an IPv4 address of this host", wish->host);
		return -EINVAL;
	}
	if (wish->memory && ff3_parse_size(wish->memory, &size) < 0) {
		cli_message("--memory: %s: expected a size such as 512M", wish->memory);
		return -EINVAL;
	}
	if (wish->prefix && (wish->prefix[0] != '/' || strpbrk(wish->prefix, "\n;#"))) {
		cli_message("--prefix: %s: expected an absolute path", wish->prefix);
		return -EINVAL;
	}
	return 0;
}

/* The host that daemons listen at: that of the metad that is there, else what is wished for. An existing cluster
 * does not move, its daemons may run. */
static int find_host(const struct dev_cluster *c, const struct dev_wish *wish, char *host, size_t size)
{
	const char *there = c->n > 0 ? c->daemons[0].listen : "", *colon = strrchr(there, ':');

	if (colon)
		snprintf(host, size, "%.*s", (int)(colon - there), there);
	else
		snprintf(host, size, "%s", wish->host ? wish->host : DEFAULT_HOST);
	if (!wish->host || strcmp(host, wish->host) == 0)
		return 0;
	cli_message("--host: %s: the cluster in %s is at %s", wish->host, c->dir, host);
	return -EINVAL;
}

/* Brings the options of an existing cluster's files up to date. */
static int change_options(struct dev_cluster *c, const struct dev_wish *wish)
{
	int r = 0;

	if (wish->prefix)
		r = set_value(c->conf, "client", "prefix", wish->prefix);
	for (unsigned i = c->n_metad; wish->memory && r >= 0 && i < c->n; i++)
		r = set_value(c->daemons[i].conf, "chunkd", "memory", wish->memory);
	if (r < 0)
		cli_local_error(c->conf, r);
	return r;
}

int dev_make(struct dev_cluster *c, const char *dir, const struct dev_wish *wish)
{
	static const char *const parts[] = { "", "/metad", "/log", "/run" };
	char path[PATH_MAX + 64], host[80];
	int r = check_options(dir, wish);

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof path, "%s%s", dir, parts[i]);
		r = make_dirs(path);
	}
	if (r < 0)
		return r;
	r = dev_load(c, dir);
	if ((r >= 0 || r == -ENOENT) && find_host(c, wish, host, sizeof host) < 0)
		return -EINVAL;
	if (r == -ENOENT)
		r = make_main_conf(c, host, wish->prefix);
	else if (r >= 0)
		r = change_options(c, wish);
	else
		cli_local_error(c->conf, r);
	for (unsigned i = MAX(c->n_metad, 1u) + 1; r >= 0 && i <= wish->n_metad; i++)
		r = make_metad(c, i, host);
	for (unsigned i = c->n - c->n_metad + 1; r >= 0 && i <= wish->n_chunkd; i++)
		r = make_chunkd(c, i, host, wish->memory);
	if (r < 0)
		return r;
	free(c->prefix);
	return dev_load(c, dir);
}

/* --- Addresses -------------------------------------------------------------------------------- */

static bool port_is_free(const char *host, unsigned port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (inet_pton(AF_INET, host, &sin.sin_addr) != 1)
		sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* a name, or IPv6: its own */
	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	return bind(fd, (struct sockaddr *)&sin, sizeof sin) == 0 && listen(fd, 1) == 0;
}

static unsigned pick_port(const char *host)
{
	unsigned first = 32768, port;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (f && (fscanf(f, "%u", &first) != 1 || first < PORT_MIN + 1000))
		first = 32768;
	if (f)
		fclose(f);
	for (int tries = 0; tries < 1000; tries++) {
		port = PORT_MIN + (unsigned)(ff3_random_u64() % (first - PORT_MIN));
		if (port_is_free(host, port))
			return port;
	}
	return 0;
}

/* The kernel takes a killed daemon's io_uring apart, and with it its sockets, a little after the
 * process has gone; nothing tells when. */
static bool port_gets_free(const char *host, unsigned port)
{
	const struct timespec pause = { 0, 10 * 1000 * 1000 };
	uint64_t deadline = ff3_boottime_ns() + PORT_WAIT_MS * FF3_NSEC_PER_MSEC;

	while (!port_is_free(host, port)) {
		if (ff3_boottime_ns() > deadline)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* Leaves address alone if its port can be had, and otherwise writes one with another port to file. */
static int assign(const char *file, const char *section, const char *key, char *address,
		  size_t size)
{
	const char *colon = strrchr(address, ':');
	unsigned port = colon ? (unsigned)atoi(colon + 1) : 0;
	char host[64];

	snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - address) : 0, address);
	if (port && port_gets_free(host, port))
		return 0;
	port = pick_port(host);
	if (port == 0)
		return -EADDRNOTAVAIL;
	snprintf(address, size, "%s:%u", host, port);
	return set_value(file, section, key, address);
}

int dev_assign_addresses(struct dev_daemon *d)
{
	int r = assign(d->conf, d->section, "listen", d->listen, sizeof d->listen);

	if (r >= 0)
		r = assign(d->conf, d->section, "admin", d->admin, sizeof d->admin);
	if (r < 0)
		cli_local_error(d->conf, r);
	return r;
}

int dev_tell_metad(const struct dev_cluster *c)
{
	char list[DEV_METAD_MAX * 82] = "", group[DEV_METAD_MAX * 86] = "";
	size_t n_list = 0, n_group = 0;
	const char *file = c->conf;
	int r;

	for (unsigned i = 0; i < c->n_metad; i++) {
		const char *separator = i ? ", " : "", *address = c->daemons[i].listen;

		n_list += (size_t)snprintf(list + n_list, sizeof list - n_list, "%s%s", separator, address);
		n_group += (size_t)snprintf(group + n_group, sizeof group - n_group, "%s%u@%s", separator, i + 1,
					    address);
	}
	r = set_value(file, "client", "metad", list);
	for (unsigned i = 0; r >= 0 && i < c->n; i++) {
		file = c->daemons[i].conf;
		if (!c->daemons[i].is_metad)
			r = set_value(file, "chunkd", "metad", list);
		else if (c->n_metad > 1)
			r = set_value(file, "metad", "group", group);
	}
	if (r < 0)
		cli_local_error(file, r);
	return r;
}
