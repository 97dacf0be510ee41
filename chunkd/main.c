/* ff3fs-chunkd: start, the listening socket, signals, end.
 *
 * Threads: main runs the loop that listens and answers each hello by handing the connection over to
 * its target's thread (serve.c); besides there are a thread and a helper for each target, the
 * one that talks to metad (register.c), and the HTTP server's. Signals: SIGTERM and SIGINT come
 * by a signalfd on main's loop; SIGPIPE is ignored. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "../common/admin/httpd.h"
#include "../common/base/log.h"
#include "daemon.h"

/* The C library looks for this name. */
EXPORT const char *argp_program_version = "ff3fs-chunkd " PACKAGE_VERSION;
static const char doc[] = "Stores chunks of the files of an ff3fs cluster and serves them.\v"
			  "Everything else is configured in ff3fs.conf, section [chunkd], or by "
			  "environment variables FF3FS_CHUNKD_*. See ff3fs-chunkd(8).";

enum { OPT_CONF = 256, OPT_READY_FD, OPT_EXIT_WITH_PARENT };

static const struct argp_option options[] = {
	{ "conf", OPT_CONF, "FILE", 0, "read this configuration file", 0 },
	{ "ready-fd", OPT_READY_FD, "N", 0, "write a line to descriptor N when serving", 0 },
	{ "exit-with-parent", OPT_EXIT_WITH_PARENT, NULL, 0, "end when the parent process ends", 0 },
	{ "verbose", 'v', NULL, 0, "log more", 0 },
	{ 0 },
};

struct arguments {
	const char *conf;
	int ready_fd;
	bool exit_with_parent, verbose;
};

struct main_state {
	struct chunkd_daemon daemon;
	struct arguments args;
	struct ff3_loop *loop;
	struct ff3_httpd *httpd;
	struct ff3_io signal_io;
	int signal_fd;
	struct ff3_work registered_work, fatal_work;
	int status;
};

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	char *end;

	switch (key) {
	case OPT_CONF:
		a->conf = arg;
		return 0;
	case OPT_READY_FD:
		a->ready_fd = (int)strtol(arg, &end, 10);
		if (*end || end == arg || a->ready_fd < 0 || fcntl(a->ready_fd, F_GETFD) < 0)
			argp_error(state, "--ready-fd: %s is no open descriptor", arg);
		return 0;
	case OPT_EXIT_WITH_PARENT:
		a->exit_with_parent = true;
		return 0;
	case 'v':
		a->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- Connections that arrive -------------------------------------------------------------------- */

static int on_hello(struct ff3_server *server, const struct ff3_req_hello *hello,
		    struct ff3_rep_hello *reply, void **conn_user, struct ff3_server **move_to)
{
	struct chunkd_daemon *d = ff3_server_user(server);

	if (!atomic_load(&d->registered))
		return -EAGAIN;
	if (hello->cluster && hello->cluster != d->cluster)
		return FF3_E_CLUSTER;
	for (size_t i = 0; i < d->n_targets; i++)
		if (chunkd_store_super(chunkd_target_store(d->targets[i]))->target ==
		    hello->target) {
			*move_to = chunkd_target_server(d->targets[i]);
			return 0;
		}
	return FF3_E_NO_TARGET;
}

static struct ff3_server *on_route(struct ff3_server *server, uint64_t target)
{
	struct chunkd_daemon *d = ff3_server_user(server);

	for (size_t i = 0; i < d->n_targets && atomic_load(&d->registered); i++)
		if (chunkd_store_super(chunkd_target_store(d->targets[i]))->target == target)
			return chunkd_target_server(d->targets[i]);
	return NULL;
}

/* No connection stays here, so nothing is ever asked of these. */
static int on_payload(struct ff3_server *server, struct ff3_request *r)
{
	return FF3_E_NO_TARGET;
}

static void on_payload_abort(struct ff3_server *server, struct ff3_request *r)
{
}

static void on_request(struct ff3_server *server, struct ff3_request *r)
{
	ff3_request_fail(r, FF3_E_NO_TARGET);
}

static void on_closed(struct ff3_server *server, struct ff3_conn *conn, void *conn_user)
{
}

static const struct ff3_server_ops listener_ops = {
	.hello = on_hello,
	.route = on_route,
	.payload = on_payload,
	.payload_abort = on_payload_abort,
	.request = on_request,
	.closed = on_closed,
};

/* --- Targets ------------------------------------------------------------------------------------- */

static int split_targets(const char *list, char ***ret, size_t *ret_n)
{
	_cleanup_free_ char *copy = strdup(list);
	char *save = NULL, **dirs = NULL;
	size_t n = 0;

	if (!copy)
		return -ENOMEM;
	for (char *p = strtok_r(copy, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
		char **more = realloc(dirs, (n + 1) * sizeof *more);

		if (!more || !(more[n] = strdup(p))) {
			free(more ? more : dirs);
			return -ENOMEM;
		}
		dirs = more;
		n++;
	}
	*ret = dirs;
	*ret_n = n;
	return 0;
}

/* The node id that existing targets carry, or a new one. */
static int find_node(char **dirs, size_t n, uint64_t *ret)
{
	uint64_t node = 0;

	for (size_t i = 0; i < n; i++) {
		_cleanup_close_ int fd = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct chunkd_super super;

		if (fd < 0 || chunkd_super_read(fd, &super) < 0)
			continue; /* new; or what is wrong is said when it is opened */
		if (node && super.node != node) {
			ff3_error("%s belongs to another daemon than the targets before it",
				  dirs[i]);
			return -EINVAL;
		}
		node = super.node;
	}
	*ret = node ? node : ff3_random_u64();
	return 0;
}

/* What the process has beside its targets: code, stacks, SQLite's pages, connections' buffers. */
#define OWN_MEMORY FF3_MIB(32)

static int make_targets(struct chunkd_daemon *d)
{
	uint64_t memory = MAX(d->conf->chunkd.memory, 2 * OWN_MEMORY) - OWN_MEMORY;
	uint64_t hot = MIN(d->conf->chunkd.hot, memory / 4);
	char **dirs = NULL;
	size_t n = 0;
	int r = split_targets(d->conf->chunkd.targets, &dirs, &n);

	if (r == 0 && n == 0) {
		ff3_error("no targets: set [chunkd] targets");
		r = -EINVAL;
	}
	if (r == 0)
		r = find_node(dirs, n, &d->node);
	if (r == 0 && !(d->targets = calloc(n, sizeof(struct chunkd_target *))))
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = chunkd_target_new(d, dirs[i], memory / n, hot / n, &d->targets[d->n_targets]);
		if (r == 0)
			d->n_targets++;
	}
	for (size_t i = 0; i < n; i++)
		free(dirs[i]);
	free(dirs);
	return r;
}

/* --- Addresses ----------------------------------------------------------------------------------- */

static bool is_wildcard(const char *host)
{
	return strncmp(host, "0.0.0.0:", 8) == 0 || strncmp(host, "[::]:", 5) == 0 || *host == ':';
}

/* What clients are told: [chunkd] advertise, or listen, with the real port. */
static int set_address(struct chunkd_daemon *d, uint16_t port)
{
	const char *from = *d->conf->chunkd.advertise ? d->conf->chunkd.advertise :
							d->conf->chunkd.listen;
	const char *colon = strrchr(from, ':'), *bracket = strrchr(from, ']');
	int host = colon && (!bracket || colon > bracket) ? (int)(colon - from) : (int)strlen(from);
	unsigned long own = from[host] ? strtoul(from + host + 1, NULL, 10) : 0;

	if (is_wildcard(from)) {
		ff3_error("[chunkd] listen is %s: set advertise to the address for clients", from);
		return -EINVAL;
	}
	snprintf(d->address, sizeof d->address, "%.*s:%lu", host, from,
		 own && from != d->conf->chunkd.listen ? own : port);
	return 0;
}

/* --- Ready, and the end -------------------------------------------------------------------------- */

static void now_ready(struct ff3_work *w)
{
	struct main_state *m = CONTAINER_OF(w, struct main_state, registered_work);

	sd_notifyf(0, "READY=1\nSTATUS=serving %zu targets on %s", m->daemon.n_targets,
		   m->daemon.address);
	ff3_notice("node %016" PRIx64 " serves %zu targets on %s, admin on %s", m->daemon.node,
		   m->daemon.n_targets, m->daemon.address, m->daemon.admin);
	if (m->args.ready_fd >= 0) {
		dprintf(m->args.ready_fd, "READY listen=%s admin=%s\n", m->daemon.address,
			m->daemon.admin);
		close(TAKE_FD(m->args.ready_fd));
	}
}

static void now_fatal(struct ff3_work *w)
{
	struct main_state *m = CONTAINER_OF(w, struct main_state, fatal_work);

	m->status = FF3_E_CLUSTER;
	ff3_loop_stop(m->loop);
}

static void post_registered(void *arg)
{
	struct main_state *m = arg;

	ff3_loop_post(m->loop, &m->registered_work);
}

static void post_fatal(void *arg)
{
	struct main_state *m = arg;

	ff3_loop_post(m->loop, &m->fatal_work);
}

static void on_signal(struct ff3_io *io, int res)
{
	struct main_state *m = CONTAINER_OF(io, struct main_state, signal_io);

	ff3_loop_stop(m->loop);
}

static int catch_signals(struct main_state *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		return -errno;
	if (m->args.exit_with_parent) {
		pid_t parent = getppid();

		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent) /* it ended just now */
			raise(SIGTERM);
	}
	m->signal_io.fn = on_signal;
	return 0;
}

/* Starts everything; what was started is ended by finish(). */
static int start(struct main_state *m)
{
	struct chunkd_daemon *d = &m->daemon;
	uint16_t port;
	int r;

	r = catch_signals(m);
	if (r < 0)
		return ff3_log_errno(r, "cannot catch signals");
	r = make_targets(d);
	if (r < 0)
		return r;
	r = ff3_loop_new(0, &m->loop);
	if (r == 0)
		r = ff3_server_new(m->loop, &listener_ops, d, &d->listener);
	if (r < 0)
		return ff3_log_errno(r, "cannot make a loop");
	r = ff3_server_listen(d->listener, d->conf->chunkd.listen, &port);
	if (r < 0)
		return ff3_log_errno(r, "cannot listen on %s", d->conf->chunkd.listen);
	r = set_address(d, port);
	if (r < 0)
		return r;
	if (*d->conf->chunkd.sockets) {
		r = ff3_server_listen_local(d->listener, d->conf->chunkd.sockets, d->address);
		if (r < 0)
			return ff3_log_errno(r, "cannot listen in %s", d->conf->chunkd.sockets);
	}
	ff3_server_offer(d->listener, &d->conf->chunkd.transports);
	r = chunkd_admin_start(d, &m->httpd);
	if (r < 0)
		return ff3_log_errno(r, "cannot listen for HTTP on %s", d->conf->chunkd.admin);
	snprintf(d->admin, sizeof d->admin, "%s", ff3_httpd_address(m->httpd));
	for (size_t i = 0; i < d->n_targets; i++) {
		r = chunkd_target_start(d->targets[i]);
		if (r < 0)
			return ff3_log_errno(r, "cannot start a thread");
	}
	ff3_loop_poll(m->loop, m->signal_fd, &m->signal_io);
	r = chunkd_register_start(d, post_registered, post_fatal, m);
	return r < 0 ? ff3_log_errno(r, "cannot speak to metad at %s", d->conf->chunkd.metad) : 0;
}

static int finish(struct main_state *m)
{
	struct chunkd_daemon *d = &m->daemon;
	int r = 0, e;

	sd_notify(0, "STOPPING=1");
	ff3_httpd_free(m->httpd);
	for (size_t i = 0; i < d->n_targets; i++) {
		e = chunkd_target_stop(d->targets[i]);
		r = r ? r : e;
	}
	ff3_server_free(d->listener); /* whose connections ask it, wherever they are served */
	chunkd_register_stop(d);
	for (size_t i = 0; i < d->n_targets; i++)
		chunkd_target_free(d->targets[i]);
	free(d->targets);
	ff3_loop_free(m->loop);
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	return r;
}

int main(int argc, char **argv)
{
	static struct main_state m = { .args.ready_fd = -1, .signal_fd = -1 };
	static const struct argp argp = { options, parse_opt, NULL, doc, NULL, NULL, NULL };
	struct rlimit limit;
	struct ff3_conf conf;
	int r;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &m.args);
	ff3_log_open("ff3fs-chunkd", m.args.verbose ? FF3_LOG_DEBUG : FF3_LOG_INFO);
	r = ff3_conf_load(&conf, m.args.conf);
	if (r < 0) {
		ff3_error("%s", conf.error);
		return EXIT_FAILURE;
	}
	/* Connections and slabs take descriptors, registered memory is locked. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	m.daemon.conf = &conf;
	m.daemon.instance = ff3_random_u64();
	m.daemon.started_ns = ff3_boottime_ns();
	m.registered_work.fn = now_ready;
	m.fatal_work.fn = now_fatal;
	r = chunkd_caps_new(ff3_realtime_ns() / FF3_NSEC_PER_MSEC, &m.daemon.caps);
	if (r == 0)
		r = start(&m);
	if (r == 0) {
		r = ff3_loop_run(m.loop);
		r = r ? r : m.status;
	}
	if (finish(&m) < 0 || r < 0)
		r = -EIO;
	chunkd_caps_free(m.daemon.caps);
	ff3_conf_done(&conf);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
