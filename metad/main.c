/* ff3fs-metad: start, signals, end.
 *
 * Start: lock the directory; see what is there (group_disk.c); begin, and alone: serve, else follow
 * (group.h). End: log the sizes that are held in memory, wait
 * for the log, checkpoint.
 *
 * Threads: main's loop serves; workers checkpoint and call chunk daemons; the HTTP server has its own.
 * Signals: SIGTERM and SIGINT come by a signalfd on main's loop; SIGPIPE is ignored; SIGBUS ends the process. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "../common/admin/daemon.h"
#include "../common/base/log.h"
#include "group.h"
#include "metad.h"
#include "ahead.h"
#include "filler.h"
#include "readers.h"

/* The C library looks for this name. */
EXPORT const char *argp_program_version = "ff3fs-metad " PACKAGE_VERSION;
static const char doc[] = "Keeps the names and the layouts of an ff3fs cluster.\v"
			  "Everything else is configured in ff3fs.conf, section [metad], or by "
			  "environment variables FF3FS_METAD_*. See ff3fs-metad(8).";

enum { OPT_FORM = 512 };

static const struct argp_option options[] = {
	{ "form", OPT_FORM, NULL, 0, "make a new cluster, of this first member of a group", 0 },
	{ 0 },
};

struct main_state {
	struct metad m;
	struct ff3_conf conf;
	struct ff3_daemon start;
	bool form;
	char **argv;
	struct metad_admin *admin;
	struct ff3_io signal_io;
	struct ff3_timer stop_timer;
	int lock_fd;
};

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct main_state *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->start;
		return 0;
	case OPT_FORM:
		s->form = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- Start --------------------------------------------------------------------------------------- */

/* A directory that is made here is there after a power cut, too. */
static int make_directory(const char *dir)
{
	_cleanup_close_ int fd = -1, above = -1;

	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	above = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return above < 0 || fsync(above) < 0 ? -errno : 0;
}

static int lock_directory(struct main_state *s)
{
	const char *dir = s->conf.metad.dir;
	char path[4096];
	int r = make_directory(dir);

	if (r < 0)
		return ff3_log_errno(r, "cannot make %s", dir);
	if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
		return ff3_log_errno(-ENAMETOOLONG, "%s", dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return ff3_log_errno(-errno, "cannot open %s", path);
	r = ff3_lock_file(s->lock_fd);
	if (r == -EBUSY)
		ff3_error("%s is in use by another ff3fs-metad", dir);
	else if (r < 0)
		ff3_log_errno(r, "cannot lock %s", path);
	return r;
}

static int check_conf(const struct ff3_conf *conf)
{
	uint64_t chunk_size = conf->metad.chunk_size;

	if (chunk_size < FF3_CHUNK_SIZE_MIN || chunk_size > FF3_CHUNK_SIZE_MAX ||
	    (chunk_size & (chunk_size - 1)) != 0) {
		ff3_error("[metad] chunk_size must be a power of two from 64K to 16M");
		return -EINVAL;
	}
	if (conf->metad.stripe < 1 || conf->metad.stripe > 1024) {
		ff3_error("[metad] stripe must be from 1 to 1024");
		return -EINVAL;
	}
	return 0;
}

static void no_locks_path(const struct metad *m, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/no-locks", m->conf->metad.dir);
}

static int sync_dir(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* It holds for one start, and for good: a power cut must not bring it back. */
static int take_no_locks(struct metad *m)
{
	char path[PATH_MAX];
	int r;

	no_locks_path(m, path);
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : ff3_log_errno(-errno, "cannot remove %s", path);
	r = sync_dir(m->conf->metad.dir);
	if (r < 0)
		return ff3_log_errno(r, "cannot sync %s", m->conf->metad.dir);
	m->no_locks = true;
	return 0;
}

/* Without it the next start takes longer to grant the first lock, so nobody hears of a failure. */
static void leave_no_locks(struct metad *m)
{
	char path[PATH_MAX];
	int fd;

	no_locks_path(m, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

static int open_state(struct main_state *s)
{
	struct metad *m = &s->m;
	int r = metad_group_open(m, s->argv, s->form);

	/* Of locks that another one granted, nothing is known here. */
	return r < 0 || !metad_group_is_alone(m) ? r : take_no_locks(m);
}

static int start_serving(struct main_state *s)
{
	struct metad *m = &s->m;
	const char *listen = metad_group_listen(m), *colon = strrchr(listen, ':');
	uint16_t port;
	int r = metad_serve_start(m, &port);

	if (r < 0)
		return r;
	snprintf(m->listen, sizeof m->listen, "%.*s:%u",
		 (int)(colon ? colon - listen : (ptrdiff_t)strlen(listen)), listen, port);
	if (*s->conf.metad.sockets) {
		r = ff3_server_listen_local(m->server, s->conf.metad.sockets, m->listen);
		if (r < 0)
			return ff3_log_errno(r, "cannot listen in %s", s->conf.metad.sockets);
	}
	ff3_server_offer(m->server, &s->conf.metad.transports);
	r = metad_admin_new(m, &s->admin);
	return r < 0 ? ff3_log_errno(r, "cannot serve HTTP on %s", s->conf.metad.admin) : 0;
}

static void tell_ready(struct main_state *s)
{
	const char *admin = metad_admin_address(s->admin);

	if (s->m.db)
		ff3_info("%s on %s, HTTP on %s, cluster %016" PRIx64,
			 metad_group_serves(&s->m) ? "serving" : "following", s->m.listen, admin,
			 metad_db_meta(s->m.db)->cluster);
	else
		ff3_info("following on %s, HTTP on %s", s->m.listen, admin);
	ff3_daemon_ready(&s->start, s->m.listen, admin);
}

/* --- End ----------------------------------------------------------------------------------------- */

/* What was begun for clients. */
static bool is_done(struct metad *m)
{
	if (!metad_group_serves(m))
		return true;
	if (metad_pipeline_idle(m) && metad_files_dirty(m))
		metad_files_flush(m, UINT64_MAX);
	metad_pipeline_kick(m);
	return metad_pipeline_idle(m) && !metad_files_dirty(m);
}

static void on_stop_timer(struct ff3_timer *t)
{
	struct main_state *s = CONTAINER_OF(t, struct main_state, stop_timer);
	struct metad *m = &s->m;

	if (!is_done(m) || metad_group_leave(m)) {
		ff3_loop_timer_arm(m->loop, &s->stop_timer, FF3_NSEC_PER_MSEC);
		return;
	}
	if (m->pipeline && m->db)
		metad_pipeline_commit(m);
	ff3_loop_stop(m->loop);
}

static void on_signal(struct ff3_io *io, int res)
{
	struct main_state *s = CONTAINER_OF(io, struct main_state, signal_io);
	struct signalfd_siginfo info;

	if (read(s->start.signal_fd, &info, sizeof info) != (ssize_t)sizeof info) {
		ff3_loop_poll(s->m.loop, s->start.signal_fd, &s->signal_io);
		return;
	}
	ff3_info("ending on signal %u", info.ssi_signo);
	sd_notify(0, "STOPPING=1");
	s->m.stopping = true;
	s->stop_timer.fn = on_stop_timer;
	ff3_loop_timer_arm(s->m.loop, &s->stop_timer, 1);
}

static int finish(struct main_state *s)
{
	struct metad *m = &s->m;
	bool no_locks = m->files && m->sessions && metad_group_is_alone(m) && metad_locks_none(m);
	int r = m->checkpointer && m->pipeline && metad_db_error(m->db) == 0 ?
			metad_checkpointer_run_now(m) :
			0;

	metad_admin_free(s->admin);
	metad_filler_free(m);
	metad_readers_stop(m);
	if (m->server)
		metad_serve_stop(m);
	metad_ahead_free(m);
	metad_leases_free(m);
	metad_caps_free(m);
	metad_cleaner_free(m);
	metad_routes_free(m);
	metad_pipeline_free(m);
	if (m->files && m->sessions)
		metad_sessions_free(m);
	metad_files_free(m);
	if (m->group)
		metad_group_free(m);
	metad_readers_free(m);
	metad_checkpointer_free(m);
	metad_log_close(m->log);
	metad_apply_free(m->apply);
	metad_db_close(m->db);
	if (r == 0 && m->stopping && no_locks)
		leave_no_locks(m);
	ff3_loop_free(m->loop);
	free(m->scratch);
	free(m->tickets);
	ff3_conf_done(&s->conf);
	return r;
}

static int serve(struct main_state *s)
{
	struct metad *m = &s->m;
	int r = ff3_loop_new(0, &m->loop);

	if (r < 0)
		return ff3_log_errno(r, "cannot make an io_uring");
	m->conf = &s->conf;
	m->instance = ff3_random_u64();
	m->started_ns = ff3_boottime_ns();
	m->scratch = malloc(FF3_BODY_MAX);
	if (!m->scratch)
		return ff3_log_errno(-ENOMEM, "cannot start");
	r = check_conf(&s->conf);
	if (r >= 0)
		r = ff3_daemon_load_key(s->conf.metad.key, &m->tickets);
	if (r >= 0)
		r = lock_directory(s);
	/* The ring keeps the lock as long as it works: a write that is under way when this process is
	 * killed ends before the next one reads the log. */
	if (r >= 0 && ff3_loop_register_file(m->loop, s->lock_fd) < 0)
		ff3_warning("cannot tie the lock of %s to the ring", s->conf.metad.dir);
	if (r >= 0)
		r = open_state(s);
	if (r >= 0)
		r = start_serving(s);
	if (r >= 0)
		r = metad_group_start(m);
	if (r < 0)
		return r;
	s->signal_io.fn = on_signal;
	ff3_loop_poll(m->loop, s->start.signal_fd, &s->signal_io);
	tell_ready(s);
	r = ff3_loop_run(m->loop);
	return r < 0 ? ff3_log_errno(r, "the event loop failed") : 0;
}

/* The database's file is mapped (db.c): this is a page that cannot be read. */
static void on_bus(int signo)
{
	static const char text[] = "ff3fs-metad: a page of the database cannot be read; ending\n";

	(void)!write(STDERR_FILENO, text, sizeof text - 1);
	_exit(1);
}

int main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &ff3_daemon_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { options, parse_opt, NULL, doc, children, NULL, NULL };
	static struct main_state s = { .start = FF3_DAEMON_NONE, .lock_fd = -1 };
	int r;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &s);
	s.argv = argv;
	signal(SIGBUS, on_bus);
	if (ff3_daemon_begin(&s.start, "ff3fs-metad", &s.conf) < 0)
		return 1;
	r = serve(&s);
	if (finish(&s) < 0)
		r = -EIO;
	return r < 0 ? 1 : 0;
}
