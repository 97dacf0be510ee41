/* What a metadata service gives many clients, and the limits that it has, for failover.sh:
 *
 *   metad_rates group ADDRESSES CLIENTS SECONDS   each client a thread with a session and one call at a time:
 *                                                 create, stat, open+release, and ping, the bare call
 *   metad_rates create ADDRESSES CLIENTS SECONDS  create alone, and how many were made
 *   metad_rates names FEW PID MANY PID CLIENTS SECONDS N
 *                                                 stat, open and create with two servers in turn, one of which has a
 *                                                 thousand of the files that metad_fill makes (names.sh), and the other
 *                                                 N: rates, microseconds of the server's and of the clients' for each,
 *                                                 and what the second is of the first; medians of all rounds
 *   metad_rates sqlite DIR BATCH SECONDS          the rows of a create, BATCH of them in a transaction that
 *                                                 is durable when it is over
 *   metad_rates fdatasync DIR SECONDS             4 KiB written over in place, and made durable
 *
 * Each line: what, per second. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>

#include "../../common/net/rpc_group.h"
#include "metad/schema_sql.h"

#define FILES 1000u /* that are looked at */
#define IN_DIR 1000u /* of metad_fill's files */

static unsigned n_clients;
static uint64_t n_among; /* metad_fill's files; 0: our own */
#define NAME_SIZE 96u
static char run_name[32]; /* of the files that are made: another one each time */
static double seconds;

static void report(const char *what, uint64_t n, uint64_t began)
{
	printf("%-10s %.0f\n", what, (double)n * 1e9 / (double)(ff3_boottime_ns() - began));
	fflush(stdout);
}

/* --- Clients --------------------------------------------------------------------------------- */

enum what { CREATE, STAT, OPEN, PING };

struct client {
	struct ff3_rpc_group *group;
	pthread_t thread;
	enum what what;
	unsigned index;
	uint64_t seq, n, until, seed;
};

static int call(struct client *c, uint16_t op, const uint8_t *body, size_t len, uint8_t *reply, size_t *ret_len)
{
	struct ff3_rpc_call call = { .op = op, .body = body, .body_len = len, .reply = reply, .reply_size = 4096 };
	int r = ff3_rpc_group_call(c->group, &call, ff3_boottime_ns() + 30 * FF3_NSEC_PER_SEC);

	*ret_len = call.reply_len;
	return r;
}

/* One-way, so that the server does not keep it. */
static void release(struct client *c, const uint8_t *reply, size_t len)
{
	struct ff3_rep_open p;
	uint8_t body[64];
	struct ff3_rpc_call call = { .op = FF3_OP_release, .one_way = true, .body = body };

	if (ff3_decode_rep_open(reply, len, &p) < 0)
		errx(1, "an open's reply that cannot be decoded");
	call.body_len = ff3_encode_req_release(body, sizeof body, &(struct ff3_req_release){ p.attr.ino, 1 });
	ff3_rpc_group_start(c->group, &call);
}

/* The i-th of those that are looked at. */
static void name_of(char name[NAME_SIZE], uint64_t i)
{
	if (n_among > 0)
		snprintf(name, NAME_SIZE, "d%" PRIu64 "/f%" PRIu64, i / IN_DIR, i % IN_DIR);
	else
		snprintf(name, NAME_SIZE, "seen-0-%" PRIu64, i);
}

static int open_name(struct client *c, uint32_t flags, const char *name)
{
	uint8_t body[512], reply[4096];
	size_t len;
	int r;

	c->seq++;
	len = ff3_encode_req_open(body, sizeof body,
				  &(struct ff3_req_open){ .tag = { c->seq, c->seq },
							  .at = { FF3_ROOT_INO, 0, ff3_str_from(name) },
							  .flags = flags,
							  .mode = 0644 });
	r = call(c, FF3_OP_open, body, len, reply, &len);
	if (r == 0)
		release(c, reply, len);
	return r;
}

static int create_file(struct client *c)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof name, "%s-%u-%" PRIu64, run_name, c->index, c->seq);
	return open_name(c, FF3_OPEN_CREATE | FF3_OPEN_EXCLUSIVE | FF3_OPEN_WRITE, name);
}

static int open_file(struct client *c, uint32_t flags, uint64_t i)
{
	char name[NAME_SIZE];

	name_of(name, i);
	return open_name(c, flags, name);
}

static int stat_file(struct client *c, uint64_t i)
{
	uint8_t body[512], reply[4096];
	char name[NAME_SIZE];
	size_t len;

	name_of(name, i);
	len = ff3_encode_req_lookup(body, sizeof body,
				    &(struct ff3_req_lookup){ { FF3_ROOT_INO, 0, ff3_str_from(name) } });
	return call(c, FF3_OP_lookup, body, len, reply, &len);
}

static int ping(struct client *c, uint64_t i)
{
	uint8_t body[64], reply[4096];
	size_t len = ff3_encode_req_ping(body, sizeof body, &(struct ff3_req_ping){ i });

	return call(c, FF3_OP_ping, body, len, reply, &len);
}

static int once(struct client *c)
{
	uint64_t i = (c->index * 7919u + c->n) % FILES;

	if (n_among > 0) {
		c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
		i = (c->seed >> 20) % n_among;
	}

	switch (c->what) {
	case CREATE:
		return create_file(c);
	case STAT:
		return stat_file(c, i);
	case OPEN:
		return open_file(c, FF3_OPEN_READ, i);
	default:
		return ping(c, i);
	}
}

static void *client_main(void *arg)
{
	struct client *c = arg;

	for (c->n = 0; ff3_boottime_ns() < c->until; c->n++) {
		int r = once(c);

		if (r < 0)
			errx(1, "a call failed: %s", ff3_strerror(r));
	}
	return NULL;
}

/* Returns how many calls. */
static uint64_t run_all(struct client *clients, enum what what)
{
	uint64_t began = ff3_boottime_ns(), n = 0;

	for (unsigned i = 0; i < n_clients; i++) {
		clients[i].what = what;
		clients[i].until = began + (uint64_t)(seconds * 1e9);
		if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
			errx(1, "no threads");
	}
	for (unsigned i = 0; i < n_clients; i++) {
		pthread_join(clients[i].thread, NULL);
		n += clients[i].n;
	}
	return n;
}

static void measure(struct client *clients, enum what what, const char *name)
{
	uint64_t began = ff3_boottime_ns();

	report(name, run_all(clients, what), began);
}

static struct client *connect_all(const char *list)
{
	struct client *clients = calloc(n_clients, sizeof *clients);

	if (!clients)
		errx(1, "memory");
	snprintf(run_name, sizeof run_name, "made-%08x", (unsigned)ff3_random_u64());
	for (unsigned i = 0; i < n_clients; i++) {
		struct ff3_rpc_identity id = { .session = ff3_random_u64(), .role = FF3_ROLE_CLIENT };
		struct ff3_rpc_options options = { .max_connections = 1 };

		clients[i].index = i;
		clients[i].seed = i;
		if (ff3_rpc_group_new(list, &id, &options, &clients[i].group) < 0)
			errx(1, "%s: not a list of addresses", list);
	}
	return clients;
}

static void free_all(struct client *clients)
{
	for (unsigned i = 0; i < n_clients; i++)
		ff3_rpc_group_free(clients[i].group);
	free(clients);
}

static int create(const char *list)
{
	struct rusage used;
	struct client *clients = connect_all(list);
	uint64_t began = ff3_boottime_ns(), n = run_all(clients, CREATE);

	report("create", n, began);
	getrusage(RUSAGE_SELF, &used);
	printf("made %" PRIu64 "\n%.2f waits, %.2f preemptions of clients for each\n", n,
	       (double)used.ru_nvcsw / (double)n, (double)used.ru_nivcsw / (double)n);
	free_all(clients);
	return 0;
}

static int group(const char *list)
{
	struct client *clients = connect_all(list);
	int r;

	for (unsigned i = 0; i < FILES; i++) {
		r = open_file(&clients[0], FF3_OPEN_CREATE | FF3_OPEN_WRITE, i);
		if (r < 0)
			errx(1, "cannot make a file: %s", ff3_strerror(r));
	}
	measure(clients, CREATE, "create");
	measure(clients, PING, "ping");
	measure(clients, STAT, "stat");
	measure(clients, OPEN, "open");
	measure(clients, PING, "ping");
	free_all(clients);
	return 0;
}

/* --- Among few and among many ---------------------------------------------------------------- */

#define ROUNDS 5u

struct server {
	struct client *clients;
	clockid_t clock; /* what it has worked */
	uint64_t n_files;
	double rate[ROUNDS], server_us[ROUNDS], client_us[ROUNDS]; /* of each call */
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) < 0)
		err(1, "what a process has worked");
	return (uint64_t)t.tv_sec * FF3_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void connect_server(struct server *s, const char *address, const char *pid, uint64_t n_files)
{
	s->clients = connect_all(address);
	s->n_files = n_files;
	if (clock_getcpuclockid(atoi(pid), &s->clock) != 0)
		errx(1, "%s: no such process", pid);
}

static void measure_server(struct server *s, enum what what, unsigned round)
{
	uint64_t began = ff3_boottime_ns(), server = read_clock(s->clock), own = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	double n;

	n_among = s->n_files;
	n = (double)run_all(s->clients, what);
	s->rate[round] = n * 1e9 / (double)(ff3_boottime_ns() - began);
	s->server_us[round] = (double)(read_clock(s->clock) - server) / 1e3 / n;
	s->client_us[round] = (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - own) / 1e3 / n;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double v[ROUNDS])
{
	double sorted[ROUNDS];

	memcpy(sorted, v, sizeof sorted);
	qsort(sorted, ROUNDS, sizeof *sorted, compare);
	return sorted[ROUNDS / 2];
}

static void compare_servers(struct server s[2], enum what what, const char *name)
{
	double ratio[ROUNDS];

	for (unsigned round = 0; round < ROUNDS; round++) {
		measure_server(&s[0], what, round);
		measure_server(&s[1], what, round);
		ratio[round] = s[1].rate[round] / s[0].rate[round];
	}
	for (unsigned i = 0; i < 2; i++)
		printf("%-7s among %-9" PRIu64 " %7.0f/s, %5.2f us of the server, %5.2f of clients\n", name,
		       s[i].n_files, median(s[i].rate), median(s[i].server_us), median(s[i].client_us));
	printf("%-7s many/few %.2f\n", name, median(ratio));
	fflush(stdout);
}

static int names(char **args)
{
	struct server s[2];

	connect_server(&s[0], args[0], args[1], FILES);
	connect_server(&s[1], args[2], args[3], strtoull(args[6], NULL, 10));
	compare_servers(s, STAT, "stat");
	compare_servers(s, OPEN, "open");
	compare_servers(s, CREATE, "create");
	free_all(s[0].clients);
	free_all(s[1].clients);
	return 0;
}

/* --- Limits ---------------------------------------------------------------------------------- */

static sqlite3 *db;

static void run(const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		errx(1, "%s: %s", sql, why);
}

static sqlite3_stmt *prepare(const char *sql)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		errx(1, "%s: %s", sql, sqlite3_errmsg(db));
	return s;
}

/* The statement with numbers for all parameters but blob's, whose number is at. */
static void step(sqlite3_stmt *s, uint64_t a, uint64_t b, int at, const void *blob, int len)
{
	int n = sqlite3_bind_parameter_count(s), r;

	for (int i = 1; i <= n; i++)
		if (i == at)
			sqlite3_bind_blob(s, i, blob, len, SQLITE_STATIC);
		else
			sqlite3_bind_int64(s, i, (int64_t)(i == 1 ? a : b));
	r = sqlite3_step(s);
	if (r != SQLITE_DONE && r != SQLITE_ROW)
		errx(1, "%s", sqlite3_errmsg(db));
	sqlite3_reset(s);
}

static int limit_sqlite(const char *dir, unsigned batch)
{
	uint64_t began, until, n = 0;
	static const char reply[160] = { 0 };
	sqlite3_stmt *look, *dentry, *inode, *result, *prune, *meta;
	char path[4096], name[64];

	snprintf(path, sizeof path, "%s/limit.db", dir);
	if (sqlite3_open(path, &db) != SQLITE_OK)
		errx(1, "%s: %s", path, sqlite3_errmsg(db));
	run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536");
	run(metad_schema_sql);
	run("INSERT INTO meta VALUES (1,1,1,1,1,1,1,1,1,1,1,1)");
	look = prepare("SELECT ino, type FROM dentries WHERE parent = ? AND hash = ? AND name = ?");
	dentry = prepare("INSERT INTO dentries VALUES (?,?,?,?,?)");
	inode = prepare("INSERT OR REPLACE INTO inodes VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
	result = prepare("INSERT INTO results VALUES (?,?,?,?,?)");
	prune = prepare("DELETE FROM results WHERE session = ? AND seq < ?");
	meta = prepare("UPDATE meta SET epoch = ?, applied_seq = ?, applied_hash = ?, time = ?, next_ino = ?, "
		       "n_inodes = ?, next_chain = ?, routing_version = ?");
	began = ff3_boottime_ns();
	until = began + (uint64_t)(seconds * 1e9);
	while (ff3_boottime_ns() < until) {
		run("BEGIN IMMEDIATE");
		for (unsigned i = 0; i < batch; i++, n++) {
			uint64_t hash = (n + 1) * 0x9e3779b97f4a7c15ull;
			int len = snprintf(name, sizeof name, "made-%u-%" PRIu64, i, n);

			step(look, 1, hash, 3, name, len);
			step(dentry, 1, hash, 3, name, len);
			step(inode, n + 2, n, 0, NULL, 0);
			step(result, i, n, 5, reply, sizeof reply);
			step(prune, i, n, 0, NULL, 0);
		}
		step(inode, 1, n, 0, NULL, 0);
		step(meta, 1, n, 0, NULL, 0);
		run("COMMIT");
	}
	report("sqlite", n, began);
	return 0;
}

static int limit_fdatasync(const char *dir)
{
	static char block[4096] = { 1 };
	uint64_t began, until, n = 0;
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/limit.log", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		err(1, "%s", path);
	for (unsigned i = 0; i < 4096; i++)
		if (write(fd, block, sizeof block) != sizeof block)
			err(1, "%s", path);
	fsync(fd);
	began = ff3_boottime_ns();
	until = began + (uint64_t)(seconds * 1e9);
	for (; ff3_boottime_ns() < until; n++)
		if (pwrite(fd, block, sizeof block, (off_t)(n % 4096 * sizeof block)) != sizeof block ||
		    fdatasync(fd) < 0)
			err(1, "%s", path);
	report("fdatasync", n, began);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "group") == 0) {
		n_clients = (unsigned)atoi(argv[3]);
		seconds = atof(argv[4]);
		return group(argv[2]);
	}
	if (argc == 5 && strcmp(argv[1], "create") == 0) {
		n_clients = (unsigned)atoi(argv[3]);
		seconds = atof(argv[4]);
		return create(argv[2]);
	}
	if (argc == 9 && strcmp(argv[1], "names") == 0) {
		n_clients = (unsigned)atoi(argv[6]);
		seconds = atof(argv[7]);
		return names(argv + 2);
	}
	if (argc == 5 && strcmp(argv[1], "sqlite") == 0) {
		seconds = atof(argv[4]);
		return limit_sqlite(argv[2], (unsigned)atoi(argv[3]));
	}
	if (argc == 4 && strcmp(argv[1], "fdatasync") == 0) {
		seconds = atof(argv[3]);
		return limit_fdatasync(argv[2]);
	}
	errx(2, "usage: see the source");
}
