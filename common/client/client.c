/* Purpose: the client object: configuration, identity, entering and leaving the library, codes of
 * errors, pauses between attempts, reused buffers.
 *
 * Threads: everything is thread-safe; a client is freed when nobody uses it. A thread is not cancelled while it is
 * inside: locks and connections would stay taken.
 * Fork: see fork.c. Signals: ff3_enter refuses calls from a handler that interrupted one. */
#include "../net/ticket_file.h"
#include "replay.h"

#include <stdio.h>

static THREAD_LOCAL int depth;
static THREAD_LOCAL int cancel_state; /* the application's, while the thread is inside */

int ff3_enter_briefly(void)
{
	if (UNLIKELY(depth > 0))
		return -EDEADLK;
	depth = 1;
	ff3_explained = false;
	return 0;
}

void ff3_leave_briefly(const int *entered)
{
	if (*entered == 0)
		depth = 0;
}

int ff3_enter(void)
{
	int r = ff3_enter_briefly();

	if (LIKELY(r == 0))
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	return r;
}

void ff3_leave(const int *entered)
{
	if (*entered != 0)
		return;
	pthread_setcancelstate(cancel_state, NULL);
	depth = 0;
}

bool ff3_inside(void)
{
	return depth > 0;
}

/* Why a ticket is refused that was never looked at on this side: as far as that can be told. */
static void explain_ticket(const struct ff3fs *fs, const char *daemon, const char *address)
{
	const char *file = fs->conf.client.ticket;
	char text[FF3_TICKET_MAX + 1];
	int r = *file ? ff3_ticket_read(file, text) : 0;

	if (!*file)
		ff3_explain("%s at %s asks for a ticket: have one made ('ff3fs ticket'), and name its file in client.ticket "
			    "(FF3FS_CLIENT_TICKET)",
			    daemon, address);
	else if (r < 0)
		ff3_explain("%s at %s asks for a ticket, and %s cannot be read: %s", daemon, address, file,
			    ff3_strerror(r));
	else
		ff3_explain("%s at %s refused the ticket %s: it has expired, or is another cluster's ('ff3fs ticket --show' "
			    "tells); have a new one made",
			    daemon, address, file);
}

void ff3_explain_daemon(const struct ff3fs *fs, const struct ff3_rpc_peer *rpc, const char *daemon, const char *address,
			int cause)
{
	unsigned version = ff3_rpc_peer_version(rpc);

	if (cause == FF3_E_VERSION && version != FF3_PROTOCOL_VERSION && version != 0)
		ff3_explain("%s at %s speaks protocol version %u, this is %u (ff3fs " PACKAGE_VERSION
			    "): install the same version on both",
			    daemon, address, version, FF3_PROTOCOL_VERSION);
	else if (cause == FF3_E_VERSION)
		ff3_explain("%s at %s is of another build than this ff3fs " PACKAGE_VERSION
			    ": install the same version on both",
			    daemon, address);
	else if (cause == FF3_E_CREDENTIAL)
		explain_ticket(fs, daemon, address);
	else
		ff3_explain("%s at %s refused the connection: %s", daemon, address, ff3_strerror(cause));
}

int ff3_public(int r)
{
	if (r > -4096 || r == FF3_E_REDIRECT)
		return r;
	if (!ff3_explained)
		ff3_explain("%s", ff3_strerror(r));
	return -ff3_err_errno(r);
}

EXPORT const char *ff3fs_strerror(int r)
{
	return ff3_strerror(r < 0 ? r : -r);
}

EXPORT int ff3fs_inside(void)
{
	return depth > 0;
}

EXPORT int ff3fs_api_version(void)
{
	return FF3FS_API_VERSION;
}

/* --- Retrying -------------------------------------------------------------------------------- */

struct ff3_retry ff3_retry_begin(const struct ff3fs *fs)
{
	return (struct ff3_retry){ .deadline_ns = ff3_boottime_ns() + fs->timeout_ns,
				   .pause_us = 1000 };
}

bool ff3_retriable(int r)
{
	if (LIKELY(r >= 0))
		return false;
	switch (r) {
	case -ECONNRESET:
	case -ECONNREFUSED:
	case -ECONNABORTED:
	case -EPIPE:
	case -ENOTCONN:
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ENETDOWN:
		return true;
	case -ENOMEM: /* ours as well as the daemon's, and not a matter of waiting */
		return false;
	default:
		return ff3_err_class(r) == FF3_CLASS_RETRY_SAME ||
		       ff3_err_class(r) == FF3_CLASS_REFRESH_ROUTE;
	}
}

bool ff3_chunk_retriable(int r)
{
	/* Another cluster's daemon: ours has left that address, and metad will tell where to. */
	return r == FF3_E_CLUSTER || ff3_retriable(r);
}

int ff3_retry_pause(struct ff3_retry *retry, int cause)
{
	uint64_t now = ff3_boottime_ns(), pause = retry->pause_us * 1000ull;
	struct timespec ts;

	retry->n++;
	if (now >= retry->deadline_ns)
		return cause;
	/* Between a half and all of it, so that those who failed together do not come back together. */
	pause = pause / 2 + pause * (now * 0x9e3779b97f4a7c15ull >> 54) / 2048;
	pause = MIN(pause, retry->deadline_ns - now);
	ts.tv_sec = 0;
	ts.tv_nsec = (long)pause;
	nanosleep(&ts, NULL);
	retry->pause_us = MIN(retry->pause_us * 2, 200000u);
	/* The cause says more than the time-out of an attempt that has no time left. */
	return ff3_boottime_ns() >= retry->deadline_ns ? cause : 0;
}

struct ff3_tried ff3_retry_tried(const struct ff3fs *fs, const struct ff3_retry *retry)
{
	uint64_t ms = (ff3_boottime_ns() + fs->timeout_ns - retry->deadline_ns) / FF3_NSEC_PER_MSEC;
	struct ff3_tried t = { "" };

	if (retry->n > 0)
		snprintf(t.text, sizeof t.text, ", attempt %u after %u.%u s", retry->n, (unsigned)(ms / 1000),
			 (unsigned)(ms % 1000 / 100));
	return t;
}

/* --- Buffers --------------------------------------------------------------------------------- */

/* Small ones are malloc's business; the pages of large ones are worth keeping. No buffer has more
 * than twice the room that was asked for. */
#define POOL_FROM (PIECE_MAX / 2)

void *ff3_pool_get(struct ff3fs *fs, size_t len)
{
	void *p = NULL;

	if (len < POOL_FROM)
		return malloc(len);
	pthread_mutex_lock(&fs->pool.lock);
	if (fs->pool.n_free > 0)
		p = fs->pool.free[--fs->pool.n_free];
	pthread_mutex_unlock(&fs->pool.lock);
	return p ? p : malloc(PIECE_MAX);
}

void ff3_pool_put(struct ff3fs *fs, void *p, size_t len)
{
	if (!p)
		return;
	if (len >= POOL_FROM) {
		pthread_mutex_lock(&fs->pool.lock);
		if (fs->pool.n_free < ARRAY_SIZE(fs->pool.free))
			fs->pool.free[fs->pool.n_free++] = TAKE_PTR(p);
		pthread_mutex_unlock(&fs->pool.lock);
		/* Unmapped by free, which the shim does not see. Smaller ones are seldom: checksums tell. */
		if (p)
			ff3_rpc_memory_gone(p, PIECE_MAX);
	}
	free(p);
}

/* --- Birth and death ------------------------------------------------------------------------- */

/* Whom the daemons check permissions for. */
struct who {
	uid_t uid;
	gid_t gid;
	int n_groups;
	gid_t groups[FF3_GROUPS_MAX];
};

static int who_this_process_is(struct who *ret)
{
	uid_t ruid, suid;
	gid_t rgid, sgid;

	if (getresuid(&ruid, &ret->uid, &suid) < 0 || getresgid(&rgid, &ret->gid, &sgid) < 0)
		return -errno;
	ret->n_groups = getgroups(ARRAY_SIZE(ret->groups), ret->groups);
	return ret->n_groups < 0 ? -errno : 0;
}

static int read_ticket(const void *file, char text[FF3_TICKET_MAX + 1])
{
	return ff3_ticket_read(file, text);
}

/* Kept as it is now for when its file cannot be read any more: by another user, in another root. That it cannot be read
 * now is told when a daemon asks for one. */
static void set_ticket(struct ff3fs *fs)
{
	const char *file = fs->conf.client.ticket;
	int len = *file ? ff3_ticket_read(file, fs->ticket) : 0;

	if (!*file)
		return;
	fs->identity.ticket = read_ticket;
	fs->identity.ticket_arg = file;
	if (len > 0)
		fs->identity.credential = (struct ff3_blob){ fs->ticket, (uint32_t)len };
}

static void set_identity(struct ff3fs *fs, const struct who *who)
{
	for (int i = 0; i < who->n_groups; i++)
		fs->groups[i] = who->groups[i];
	fs->session = ff3_random_u64();
	fs->identity = (struct ff3_rpc_identity){
		.session = fs->session,
		.role = FF3_ROLE_CLIENT,
		.uid = who->uid,
		.gid = who->gid,
		.groups = fs->groups,
		.n_groups = (uint32_t)who->n_groups,
	};
	set_ticket(fs);
}

static int client_init(struct ff3fs *fs, const struct who *who)
{
	int r;

	set_identity(fs, who);
	fs->timeout_ns = fs->conf.client.timeout * FF3_NSEC_PER_MSEC;
	fs->meta_epoch = 1;
	ff3_board_init(fs);
	ff3_replay_init(fs);
	pthread_mutex_init(&fs->routes.lock, NULL);
	pthread_mutex_init(&fs->peers_lock, NULL);
	pthread_mutex_init(&fs->inodes_lock, NULL);
	pthread_mutex_init(&fs->pool.lock, NULL);
	ff3_hot_init(fs);
	ff3_leases_init(fs);
	r = ff3_flusher_init(&fs->flusher);
	if (r < 0)
		return r;
	return ff3_meta_init(fs);
}

static int new_client(const char *conf, const struct who *who, struct ff3fs **ret)
{
	struct ff3fs *fs = calloc(1, sizeof *fs);
	int r;

	ff3_explain_conf("");
	if (!fs)
		return -ENOMEM;
	r = ff3_conf_load(&fs->conf, conf);
	if (r < 0) {
		ff3_explain_conf(fs->conf.error);
	} else {
		r = client_init(fs, who);
		if (r == -EINVAL) {
			char error[512];

			snprintf(error, sizeof error, "[client] metad = %s: expected host:port, or several",
				 fs->conf.client.metad);
			ff3_explain_conf(error);
		}
	}
	if (r < 0) {
		ff3_conf_done(&fs->conf);
		free(fs);
		return ff3_public(r);
	}
	ff3_clients_add(fs);
	*ret = fs;
	return 0;
}

EXPORT int ff3fs_new(const char *conf, struct ff3fs **ret)
{
	FF3_ENTER();
	struct who who;
	int r = who_this_process_is(&who);

	return r < 0 ? r : new_client(conf, &who, ret);
}

EXPORT int ff3fs_new_as(const char *conf, uid_t uid, gid_t gid, const gid_t *groups, int n_groups,
			struct ff3fs **ret)
{
	FF3_ENTER();
	struct who who = { .uid = uid, .gid = gid, .n_groups = n_groups };

	if (n_groups < 0 || n_groups > (int)ARRAY_SIZE(who.groups))
		return -EINVAL;
	if (n_groups > 0)
		memcpy(who.groups, groups, (size_t)n_groups * sizeof *groups);
	return new_client(conf, &who, ret);
}

EXPORT void ff3fs_free(struct ff3fs *fs)
{
	if (!fs)
		return;
	ff3_clients_remove(fs);
	ff3_leases_done(fs);
	ff3_flusher_done(fs);
	ff3_replay_done(fs);
	ff3_routes_done(fs);
	ff3_meta_done(fs);
	for (unsigned i = 0; i < fs->pool.n_free; i++)
		free(fs->pool.free[i]);
	ff3_hot_done(fs);
	ff3_conf_done(&fs->conf);
	free(fs);
}

EXPORT const char *ff3fs_mount_dir(const struct ff3fs *fs)
{
	return fs->conf.client.mount;
}

EXPORT const char *ff3fs_prefix(const struct ff3fs *fs)
{
	return fs->conf.client.prefix;
}
