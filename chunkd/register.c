/* Registration with metad and heartbeats, from a thread of its own: the calls block.
 *
 * The thread registers until metad has answered once; from then on a heartbeat goes out every
 * HEARTBEAT_NS with each target's state and fill. Where metad is away it goes on trying, and the
 * daemon on serving. A metad that restarted (another instance) or does not know the node is told
 * everything again.
 *
 * Threads: its own; stop and status come from others, under the mutex. Signals: all blocked. */
#include <pthread.h>
#include <signal.h>

#include "../common/base/log.h"
#include "../common/net/ticket.h"
#include "daemon.h"

#define HEARTBEAT_NS (2 * FF3_NSEC_PER_SEC)
#define RETRY_NS (FF3_NSEC_PER_SEC / 5)
#define CALL_NS (5 * FF3_NSEC_PER_SEC)
/* Encoded size of a target, more than enough. */
#define TARGET_BYTES 64u

struct chunkd_register {
	struct chunkd_daemon *daemon;
	void (*on_registered)(void *arg);
	void (*on_fatal)(void *arg);
	void *arg;
	struct ff3_rpc_group *metad;
	uint64_t instance; /* of metad, when we registered */
	uint64_t seq;
	bool complained;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool stop;
	int status;
	uint64_t reached_ns;
};

static size_t encode_targets(struct chunkd_daemon *d, uint8_t *buf, size_t size)
{
	struct ff3_enc e = ff3_enc_init(buf, size);

	for (size_t i = 0; i < d->n_targets; i++) {
		struct chunkd_target_view v;
		struct ff3_target t;

		chunkd_target_view(d->targets[i], &v);
		t = (struct ff3_target){
			.target = v.id,
			.node = d->node,
			.state = __atomic_load_n(&v.stats->offline, __ATOMIC_RELAXED) ?
					 FF3_TARGET_OFFLINE :
					 FF3_TARGET_SERVING,
			.capacity = __atomic_load_n(&v.stats->capacity, __ATOMIC_RELAXED),
			.used = __atomic_load_n(&v.stats->used, __ATOMIC_RELAXED),
		};
		ff3_put_target(&e, &t);
	}
	return e.len;
}

static int call(struct chunkd_register *g, uint16_t op, const void *body, size_t len, void *reply,
		size_t reply_size, size_t *ret_len)
{
	struct ff3_rpc_call c = { .op = op,
				  .body = body,
				  .body_len = len,
				  .reply = reply,
				  .reply_size = reply_size };
	int r = ff3_rpc_group_call(g->metad, &c, ff3_boottime_ns() + CALL_NS);
	struct ff3_rpc_peer *peer = ff3_rpc_group_peer(g->metad);

	*ret_len = c.reply_len;
	if (r == 0 && ff3_rpc_peer_greeting(peer).epoch < atomic_load(&g->daemon->known.epoch)) {
		/* A later one has called us meanwhile. */
		ff3_rpc_cut(peer);
		r = FF3_E_NOT_PRIMARY;
	}
	if (r == 0)
		g->instance = c.instance;
	return r;
}

static int take_keys(struct chunkd_daemon *d, struct ff3_blob blob)
{
	struct ff3_cap_keys keys;
	int r = ff3_cap_keys_decode(blob, &keys);

	if (r == 0)
		chunkd_caps_set_keys(d->caps, &keys);
	return r;
}

static int send_register(struct chunkd_register *g)
{
	struct chunkd_daemon *d = g->daemon;
	size_t size = d->n_targets * TARGET_BYTES + 1024, len;
	_cleanup_free_ uint8_t *targets = malloc(size), *body = malloc(size);
	struct ff3_req_register_node req = { .tag = { .seq = ++g->seq, .acked = g->seq },
					     .node = d->node,
					     .address = ff3_str_from(d->address),
					     .admin = ff3_str_from(d->admin) };
	struct ff3_rep_register_node rep;
	uint8_t reply[64 + FF3_CAP_KEYS_MAX];
	int r;

	if (!targets || !body)
		return -ENOMEM;
	req.targets = (struct ff3_blob){ targets, (uint32_t)encode_targets(d, targets, size) };
	len = ff3_encode_req_register_node(body, size, &req);
	r = call(g, FF3_OP_register_node, body, len, reply, sizeof reply, &len);
	if (r == 0)
		r = ff3_decode_rep_register_node(reply, len, &rep);
	for (size_t i = 0; r == 0 && !d->cluster && i < d->n_targets; i++)
		r = chunkd_store_set_cluster(chunkd_target_store(d->targets[i]), rep.cluster);
	if (r == 0 && d->cluster && d->cluster != rep.cluster)
		r = FF3_E_CLUSTER;
	if (r == 0)
		d->cluster = rep.cluster;
	return r == 0 ? take_keys(d, rep.keys) : r;
}

static int send_heartbeat(struct chunkd_register *g)
{
	struct chunkd_daemon *d = g->daemon;
	size_t size = d->n_targets * TARGET_BYTES + 64, len;
	_cleanup_free_ uint8_t *targets = malloc(size), *body = malloc(size);
	struct ff3_req_heartbeat req = { .node = d->node };
	struct ff3_rep_heartbeat rep;
	uint64_t before = g->instance;
	uint8_t reply[64 + FF3_CAP_KEYS_MAX];
	int r;

	if (!targets || !body)
		return -ENOMEM;
	req.targets = (struct ff3_blob){ targets, (uint32_t)encode_targets(d, targets, size) };
	len = ff3_encode_req_heartbeat(body, size, &req);
	r = call(g, FF3_OP_heartbeat, body, len, reply, sizeof reply, &len);
	if (r == 0)
		r = ff3_decode_rep_heartbeat(reply, len, &rep);
	if (r == 0)
		r = take_keys(d, rep.keys);
	return r == 0 && g->instance != before ? -ESTALE : r;
}

/* Waits, unless the daemon stops meanwhile: false. */
static bool pause_for(struct chunkd_register *g, uint64_t ns)
{
	uint64_t until = ff3_now_ns(CLOCK_MONOTONIC) + ns;
	struct timespec ts = { (time_t)(until / FF3_NSEC_PER_SEC), (long)(until % FF3_NSEC_PER_SEC) };
	bool stop;
	int r = 0;

	pthread_mutex_lock(&g->mutex);
	while (!g->stop && r == 0)
		r = pthread_cond_timedwait(&g->wake, &g->mutex, &ts);
	stop = g->stop;
	pthread_mutex_unlock(&g->mutex);
	return !stop;
}

static void complain(struct chunkd_register *g, int r)
{
	char each[400];

	ff3_rpc_group_explain(g->metad, each, sizeof each);
	if (r == FF3_E_CREDENTIAL)
		ff3_warning("metad at %s has another key than [chunkd] key, or its clock is 10 minutes off; "
			    "going on trying", g->daemon->conf->chunkd.metad);
	else if (*each && ff3_rpc_group_is_many(g->metad))
		ff3_warning("metad at %s; going on trying", each);
	else
		ff3_warning("metad at %s: %s; going on trying", g->daemon->conf->chunkd.metad, ff3_strerror(r));
}

static void note(struct chunkd_register *g, int r)
{
	pthread_mutex_lock(&g->mutex);
	g->status = r;
	if (r == 0)
		g->reached_ns = ff3_boottime_ns();
	pthread_mutex_unlock(&g->mutex);
	if (r < 0 && !g->complained)
		complain(g, r);
	else if (r == 0 && g->complained)
		ff3_notice("metad at %s is back", g->daemon->conf->chunkd.metad);
	g->complained = r < 0;
}

static void *register_main(void *arg)
{
	struct chunkd_register *g = arg;
	bool known = false;
	int r;

	do {
		r = known ? send_heartbeat(g) : send_register(g);
		/* Only heartbeats tell the space: metad has it before anybody hears that we serve. */
		if (!known && r == 0)
			r = send_heartbeat(g);
		if (known && r < 0 && (ff3_err_class(r) == FF3_CLASS_FINAL || g->instance == 0)) {
			known = false; /* it has forgotten us, or is another one */
		} else if (!known && r == 0) {
			/* Before anybody is told that we serve: how much room there is. */
			known = true;
			send_heartbeat(g);
		}
		if (r == FF3_E_CLUSTER) {
			ff3_log_errno(r, "metad at %s", g->daemon->conf->chunkd.metad);
			g->on_fatal(g->arg);
			break;
		}
		if (r != -ESTALE)
			note(g, r);
		if (known && !atomic_exchange(&g->daemon->registered, true))
			g->on_registered(g->arg);
	} while (pause_for(g, known && r == 0 ? HEARTBEAT_NS : RETRY_NS));
	return NULL;
}

int chunkd_register_start(struct chunkd_daemon *d, void (*on_registered)(void *arg),
			  void (*on_fatal)(void *arg), void *arg)
{
	struct chunkd_register *g = calloc(1, sizeof *g);
	uint64_t cluster = 0;
	const struct ff3_rpc_options options = { .max_connections = 1, .known = &d->known };
	pthread_condattr_t attr;
	int r;

	if (!g)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_targets; i++)
		if (chunkd_store_super(chunkd_target_store(d->targets[i]))->cluster)
			cluster = chunkd_store_super(chunkd_target_store(d->targets[i]))->cluster;
	g->daemon = d;
	g->on_registered = on_registered;
	g->on_fatal = on_fatal;
	g->arg = arg;
	g->status = -ENOTCONN;
	g->reached_ns = ff3_boottime_ns();
	r = ff3_rpc_group_new(d->conf->chunkd.metad,
			      &(struct ff3_rpc_identity){ .cluster = cluster,
							  .session = ff3_random_u64(),
							  .role = FF3_ROLE_CHUNKD,
							  .ticket = ff3_tickets_own,
							  .ticket_arg = d->tickets },
			      &options, &g->metad);
	if (r < 0) {
		free(g);
		return r;
	}
	pthread_mutex_init(&g->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->wake, &attr);
	pthread_condattr_destroy(&attr);
	d->registration = g;
	r = ff3_thread_new(&g->thread, register_main, g);
	if (r) {
		d->registration = NULL;
		ff3_rpc_group_free(g->metad);
		free(g);
	}
	return r;
}

void chunkd_register_stop(struct chunkd_daemon *d)
{
	struct chunkd_register *g = d->registration;

	if (!g)
		return;
	pthread_mutex_lock(&g->mutex);
	g->stop = true;
	pthread_cond_signal(&g->wake);
	pthread_mutex_unlock(&g->mutex);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->wake);
	pthread_mutex_destroy(&g->mutex);
	ff3_rpc_group_free(g->metad);
	free(g);
	d->registration = NULL;
}

int chunkd_register_status(struct chunkd_daemon *d, uint64_t *ret_age_ms)
{
	struct chunkd_register *g = d->registration;
	int r;

	pthread_mutex_lock(&g->mutex);
	r = g->status;
	*ret_age_ms = (ff3_boottime_ns() - g->reached_ns) / FF3_NSEC_PER_MSEC;
	pthread_mutex_unlock(&g->mutex);
	return r;
}
