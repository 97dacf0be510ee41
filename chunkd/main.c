/* ff3fs-chunkd: start, the listening socket, signals, end.
 *
 * Threads: main runs the loop that listens and answers each hello by handing the connection over to
 * its target's thread (serve.c); besides there are a thread and a helper for each target, the
 * one that talks to metad (register.c), and the HTTP server's. Signals: SIGTERM and SIGINT come
 * by a signalfd on main's loop; SIGPIPE is ignored. */
#include <argp.h>
#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "../common/admin/daemon.h"
#include "../common/admin/httpd.h"
#include "../common/base/log.h"
#include "daemon.h"

/* The C library looks for this name. */
EXPORT const char *argp_program_version = "ff3fs-chunkd " PACKAGE_VERSION;
static const char doc[] = "Stores chunks of the files of an ff3fs cluster and serves them.\v"
			  "Everything else is configured in ff3fs.conf, section [chunkd], or by "
			  "environment variables FF3FS_CHUNKD_*. See ff3fs-chunkd(8).";

struct main_state {
	struct chunkd_daemon daemon;
	struct ff3_daemon start;
	struct ff3_loop *loop;
	struct ff3_httpd *httpd;
	struct ff3_io signal_io;
	struct ff3_work registered_work, fatal_work;
	int status;
};

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

	ff3_notice("node %016" PRIx64 " serves %zu targets on %s, admin on %s", m->daemon.node,
		   m->daemon.n_targets, m->daemon.address, m->daemon.admin);
	ff3_daemon_ready(&m->start, m->daemon.address, m->daemon.admin);
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

/* Starts everything; what was started is ended by finish(). */
static int start(struct main_state *m)
{
	struct chunkd_daemon *d = &m->daemon;
	uint16_t port;
	int r;

	r = ff3_daemon_load_key(d->conf->chunkd.key, &d->tickets);
	if (r >= 0)
		r = make_targets(d);
	if (r < 0)
		return r;
	r = ff3_loop_new(0, &m->loop);
	if (r == 0)
		r = ff3_server_new(m->loop, &listener_ops, d, &d->listener);
	if (r < 0)
		return ff3_log_errno(r, "cannot make a loop");
	ff3_server_ask_tickets(d->listener, d->tickets);
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
	m->signal_io.fn = on_signal;
	ff3_loop_poll(m->loop, m->start.signal_fd, &m->signal_io);
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
	free(d->tickets);
	ff3_loop_free(m->loop);
	return r;
}

int main(int argc, char **argv)
{
	static struct main_state m = { .start = FF3_DAEMON_NONE };
	static const struct argp_child children[] = { { &ff3_daemon_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { NULL, NULL, NULL, doc, children, NULL, NULL };
	struct ff3_conf conf;
	int r;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &m.start);
	if (ff3_daemon_begin(&m.start, "ff3fs-chunkd", &conf) < 0)
		return EXIT_FAILURE;
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
