/* Purpose: calls to metad. One helper encodes a request, numbers it if it is a mutation, sends it,
 * and sends it again with the same number over lost connections until the client's timeout.
 *
 * A mutation's number (seq) makes it apply once; `acked` tells metad which of its stored results
 * nobody will ask for again: the oldest number under way here.
 *
 * Every answer names the instance of metad that gave it. When that changes, metad has restarted and
 * knows none of our opens: meta_epoch is raised and the thread that noticed registers them again.
 *
 * A process that only reads chunks would not notice, and its unlinked files would be collected a
 * lease after the restart. So reads send a ping four times a lease, and look for the answer later.
 *
 * Threads: any. Fork: a child starts with new numbers in a new session. Files are registered again when they are
 * used; what is held only for being there, as directories are, by the child's first call. */
#include "attr_stat.h"
#include "internal.h"

#include <sys/stat.h>

enum { SWEEP_NONE, SWEEP_HELD, SWEEP_ALL };

#define PING_TICK_NS (100 * FF3_NSEC_PER_MSEC)

/* Where requests are encoded that fit. Threads have small stacks: longer paths are allocated. */
#define REQUEST_SIZE 1024

struct ff3_path ff3_path_of(uint64_t dir, const char *path, unsigned flags)
{
	while (*path == '/')
		path++;
	return (struct ff3_path){
		.dir = dir,
		.flags = flags & FF3FS_NOFOLLOW ? FF3_PATH_NOFOLLOW : 0,
		.path = ff3_str_from(path),
	};
}

static struct timespec time_to_public(const struct ff3_time *t)
{
	return (struct timespec){ .tv_sec = (time_t)t->sec, .tv_nsec = (long)t->nsec };
}

EXPORT dev_t ff3fs_device(struct ff3fs *fs)
{
	uint64_t device = atomic_load_explicit(&fs->device, memory_order_relaxed), cluster;

	if (UNLIKELY(device == 0)) {
		cluster = ff3_meta_cluster(fs);
		device = ff3_device_of(cluster);
		if (cluster != 0)
			atomic_store_explicit(&fs->device, device, memory_order_relaxed);
	}
	return device;
}

void ff3_attr_to_public(const struct ff3_attr *a, struct ff3fs_attr *ret)
{
	*ret = (struct ff3fs_attr){
		.ino = a->ino,
		.generation = a->generation,
		.size = a->size,
		.mode = a->mode,
		.uid = a->uid,
		.gid = a->gid,
		.nlink = a->nlink,
		.atime = time_to_public(&a->atime),
		.mtime = time_to_public(&a->mtime),
		.ctime = time_to_public(&a->ctime),
		.btime = time_to_public(&a->btime),
	};
}

void ff3_attr_of_blob(struct ff3fs *fs, struct ff3_blob b, struct ff3fs_attr *ret)
{
	struct ff3_dec d = ff3_dec_blob(b);
	struct ff3_attr a;

	memset(ret, 0, sizeof *ret);
	if (b.len == 0)
		return;
	ff3_get_attr(&d, &a);
	if (d.bad)
		return;
	ff3_attr_complete(fs, &a);
	ff3_attr_to_public(&a, ret);
}

int ff3_meta_init(struct ff3fs *fs)
{
	struct ff3_rpc_options options = {
		/* One is for who keeps leases. */
		.max_connections = (unsigned)fs->conf.client.connections + (fs->conf.client.cache > 0),
		.sockets = fs->conf.client.sockets,
		.links = fs->conf.client.transports,
	};

	pthread_mutex_init(&fs->meta.lock, NULL);
	pthread_mutex_init(&fs->meta.ping.lock, NULL);
	fs->meta.mutations.prev = fs->meta.mutations.next = &fs->meta.mutations;
	return ff3_rpc_group_new(fs->conf.client.metad, &fs->identity, &options, &fs->meta.group);
}

void ff3_meta_done(struct ff3fs *fs)
{
	struct ff3_rpc_call *call = &fs->meta.ping.call;

	if (fs->meta.ping.asked)
		ff3_rpc_wait(&call, 1, FF3_RPC_NOW);
	ff3_rpc_group_free(fs->meta.group);
	fs->meta.group = NULL;
}

static void mutation_begin(struct ff3_meta *meta, struct ff3_mutation *m, struct ff3_tag *tag)
{
	pthread_mutex_lock(&meta->lock);
	m->seq = ++meta->seq;
	m->prev = meta->mutations.prev;
	m->next = &meta->mutations;
	m->prev->next = m;
	m->next->prev = m;
	tag->seq = m->seq;
	tag->acked = meta->mutations.next->seq;
	pthread_mutex_unlock(&meta->lock);
}

static void mutation_end(struct ff3_meta *meta, struct ff3_mutation *m)
{
	pthread_mutex_lock(&meta->lock);
	m->prev->next = m->next;
	m->next->prev = m->prev;
	pthread_mutex_unlock(&meta->lock);
}

static void saw_instance(struct ff3fs *fs, uint64_t instance)
{
	uint64_t known = atomic_load(&fs->meta.instance);

	/* The last answer of the former one may be told after the first of the new one. */
	if (instance == 0 || instance == known || instance == atomic_load(&fs->meta.former))
		return;
	if (!atomic_compare_exchange_strong(&fs->meta.instance, &known, instance) || known == 0)
		return;
	atomic_store(&fs->meta.former, known);
	atomic_fetch_add(&fs->meta_epoch, 1);
	atomic_store(&fs->sweep_due, SWEEP_ALL);
}

void ff3_meta_forked(struct ff3fs *fs)
{
	atomic_fetch_add(&fs->meta_epoch, 1);
	atomic_store(&fs->sweep_due, SWEEP_HELD);
}

/* Others wait until all are back that hold something. */
static void say_returned(struct ff3fs *fs)
{
	struct ff3_req_returned req;
	struct ff3_rep_returned rep;
	uint8_t buf[16];
	struct ff3_meta_call call = FF3_META_CALL(returned, false, &req, &rep, buf, sizeof buf);

	call.once = true;
	call.registering = true;
	ff3_meta_call(fs, &call);
}

void ff3_meta_sweep(struct ff3fs *fs)
{
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	size_t n, failed = 0;
	uint64_t epoch;
	int what;

	if (LIKELY(!atomic_load_explicit(&fs->sweep_due, memory_order_relaxed)))
		return;
	what = atomic_exchange(&fs->sweep_due, SWEEP_NONE);
	if (what == SWEEP_NONE)
		return;
	epoch = atomic_load(&fs->meta_epoch);
	if (ff3_inodes_all(fs, &inodes, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		/* One that fails now is tried again when it is used. */
		if (what == SWEEP_ALL || !S_ISREG(inodes[i]->mode) || inodes[i]->open_flags == 0) {
			int r = ff3_inode_register(inodes[i]);

			failed += r < 0 && r != -ESTALE;
		}
		ff3_inode_unref(inodes[i]);
	}
	if (what == SWEEP_ALL && failed == 0 && epoch == atomic_load(&fs->meta_epoch))
		say_returned(fs);
}

static void heard(struct ff3fs *fs, uint64_t instance)
{
	atomic_store_explicit(&fs->meta.heard_ns, ff3_now_ns(CLOCK_MONOTONIC_COARSE),
			      memory_order_relaxed);
	saw_instance(fs, instance);
}

/* ping.lock is held. Returns when to look again, from now. */
static uint64_t ping(struct ff3fs *fs)
{
	struct ff3_req_ping req = { .cookie = 1 };
	struct ff3_rpc_call *call = &fs->meta.ping.call;

	if (fs->meta.ping.asked) {
		ff3_rpc_poll(&call, 1);
		if (!ff3_rpc_is_done(call)) {
			if (ff3_rpc_group_is_many(fs->meta.group) &&
			    ff3_boottime_ns() - fs->meta.ping.asked_ns > FF3_RPC_PATIENCE_NS &&
			    !atomic_exchange(&fs->meta.doubted, true))
				ff3_flusher_kick(fs);
			return PING_TICK_NS;
		}
		fs->meta.ping.asked = false;
		if (call->status == 0) {
			heard(fs, call->instance);
			return 0;
		}
	}
	memset(call, 0, sizeof *call);
	call->op = FF3_OP_ping;
	call->body = fs->meta.ping.body;
	call->body_len = ff3_encode_req_ping(fs->meta.ping.body, sizeof fs->meta.ping.body, &req);
	call->reply = fs->meta.ping.reply;
	call->reply_size = sizeof fs->meta.ping.reply;
	fs->meta.ping.asked_ns = ff3_boottime_ns();
	call->deadline_ns = fs->meta.ping.asked_ns + PING_TICK_NS;
	fs->meta.ping.asked = ff3_rpc_group_start(fs->meta.group, call) == 0;
	return PING_TICK_NS;
}

void ff3_meta_keep(struct ff3fs *fs)
{
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE), wait;
	uint64_t last = atomic_load_explicit(&fs->meta.heard_ns, memory_order_relaxed), period;

	/* A lease is never so short. */
	if (LIKELY(now - last < PING_TICK_NS))
		return;
	period = ff3_meta_lease_ms(fs) * FF3_NSEC_PER_MSEC / 4;
	if (LIKELY(now - last < period) || pthread_mutex_trylock(&fs->meta.ping.lock) != 0)
		return;
	wait = ping(fs);
	if (wait > 0)
		atomic_store_explicit(&fs->meta.heard_ns, now - period + MIN(wait, period),
				      memory_order_relaxed);
	pthread_mutex_unlock(&fs->meta.ping.lock);
	ff3_meta_sweep(fs);
}

void ff3_meta_ask(struct ff3fs *fs)
{
	struct ff3_req_ping req = { .cookie = 1 };
	struct ff3_rep_ping rep;
	uint8_t buf[16];
	struct ff3_meta_call call = FF3_META_CALL(ping, false, &req, &rep, buf, sizeof buf);

	call.once = true;
	ff3_meta_call(fs, &call);
}

void ff3_meta_after_fork(struct ff3_meta *meta)
{
	meta->seq = 0;
	meta->mutations.prev = meta->mutations.next = &meta->mutations;
	meta->ping.asked = false;
	pthread_mutex_init(&meta->ping.lock, NULL);
}

/* One attempt. */
static int call_once(struct ff3fs *fs, struct ff3_meta_call *call, const void *body, size_t len,
		     uint64_t deadline_ns)
{
	struct ff3_rpc_call rpc = {
		.op = call->op,
		.body = body,
		.body_len = len,
		.reply = call->buf,
		.reply_size = call->size,
	};
	int r = ff3_rpc_group_call(fs->meta.group, &rpc, deadline_ns);
	struct ff3_redirect redirect;

	call->instance = rpc.instance;
	if (r == FF3_E_REDIRECT) {
		struct ff3_dec d = ff3_dec_init(call->buf, rpc.reply_len);

		ff3_get_redirect(&d, &redirect);
		if (d.bad)
			return -EBADMSG;
		if (ff3_set_redirect(redirect.path) < 0)
			return -ENOMEM;
	}
	if (r < 0)
		return r;
	/* Its checksum was right: so it is another message to the one that sent it. */
	return call->decode(call->buf, rpc.reply_len, call->rep) < 0 ? FF3_E_VERSION : 0;
}

static void explain(struct ff3fs *fs, const char *what, const struct ff3_retry *retry, int cause)
{
	char each[400];

	if (!ff3_rpc_group_is_many(fs->meta.group))
		snprintf(each, sizeof each, "%s: %s", fs->conf.client.metad, ff3_strerror(cause));
	else
		ff3_rpc_group_explain(fs->meta.group, each, sizeof each);
	ff3_explain("%s at %s%s", what, *each ? each : fs->conf.client.metad, ff3_retry_tried(fs, retry).text);
}

static void explain_refusal(struct ff3fs *fs, const struct ff3_retry *retry, int cause)
{
	if (ff3_rpc_group_is_many(fs->meta.group))
		explain(fs, "metad refused the connection", retry, cause);
	else
		ff3_explain_daemon(fs, ff3_rpc_group_peer(fs->meta.group), "metad", fs->conf.client.metad, cause);
}

static int call_until_timeout(struct ff3fs *fs, struct ff3_meta_call *call, const void *body,
			      size_t len)
{
	struct ff3_retry retry = ff3_retry_begin(fs);
	int r, cause;

	if (call->limit_ns)
		retry.deadline_ns = MIN(retry.deadline_ns, ff3_boottime_ns() + call->limit_ns);
	for (;;) {
		cause = call_once(fs, call, body, len, retry.deadline_ns);
		if (!ff3_retriable(cause) || call->once)
			break;
		r = ff3_retry_pause(&retry, cause);
		if (r < 0)
			break;
	}
	if (ff3_retriable(cause) || ff3_err_class(cause) == FF3_CLASS_REFRESH_ROUTE)
		explain(fs, "cannot reach metad", &retry, cause);
	else if (cause == FF3_E_VERSION || cause == FF3_E_CLUSTER || cause == FF3_E_CREDENTIAL)
		explain_refusal(fs, &retry, cause);
	if (call->instance != 0 && !ff3_retriable(cause))
		heard(fs, call->instance);
	return cause;
}

int ff3_meta_call(struct ff3fs *fs, struct ff3_meta_call *call)
{
	uint8_t small[REQUEST_SIZE];
	_cleanup_free_ uint8_t *large = NULL;
	struct ff3_mutation mutation;
	uint8_t *body = small;
	size_t len;
	int r;

	if (call->mutates)
		mutation_begin(&fs->meta, &mutation, call->req);
	len = call->encode(small, sizeof small, call->req);
	if (len > FF3_BODY_MAX) {
		r = -E2BIG;
	} else if (len > sizeof small && !(large = malloc(len))) {
		r = -ENOMEM;
	} else {
		if (large) {
			body = large;
			call->encode(body, len, call->req);
		}
		r = call_until_timeout(fs, call, body, len);
	}
	if (call->mutates)
		mutation_end(&fs->meta, &mutation);
	if (!call->registering)
		ff3_meta_sweep(fs);
	return r;
}

void ff3_meta_release(struct ff3fs *fs, uint64_t ino, uint32_t n)
{
	struct ff3_req_release req = { .ino = ino, .n = n };
	uint8_t body[16];
	struct ff3_rpc_call call = {
		.op = FF3_OP_release,
		.one_way = true,
		.body = body,
		.body_len = ff3_encode_req_release(body, sizeof body, &req),
	};

	/* If metad is away, it forgets the open with our connection. */
	ff3_rpc_group_start(fs->meta.group, &call);
}
