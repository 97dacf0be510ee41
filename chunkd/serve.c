/* One target's serving: its loop and thread, its connections, and the requests of wire_ops.h
 * turned into operations of the store.
 *
 * Threads: everything here runs on the target's thread, except new, start, stop and free, which
 * are main's while the thread does not run, and view, which reads counters from anywhere. The
 * listening socket is main.c's; connections come over by move_to. Fork/signal: the thread blocks
 * every signal. */
#include <pthread.h>
#include <stdio.h>

#include "../common/base/log.h"
#include "daemon.h"
#include "expose.h"

/* Who waits for memory shall not wait for somebody that holds it and stands still: after the wait of
 * one LOOK_NS, connections are looked at every LOOK_NS; those that stood still for STALL_NS go. */
#define LOOK_NS (20 * FF3_NSEC_PER_MSEC)
#define STALL_NS (50 * FF3_NSEC_PER_MSEC)
/* How often the gauges are brought up to date. */
#define MEASURE_NS FF3_NSEC_PER_SEC

const char *const chunkd_served_names[CHUNKD_N_SERVED] = {
	"chunk_read", "chunk_write", "chunk_sync", "chunk_truncate", "chunk_remove",
};

/* A request at work in the store. */
struct served {
	struct served *next; /* free ones */
	struct chunkd_target *target;
	struct ff3_request *r;
	enum chunkd_served what;
	struct chunkd_op op;
};

struct served_read {
	struct served_read *next;
	struct chunkd_target *target;
	struct ff3_request *r;
	struct chunkd_read read;
};

struct chunkd_target {
	struct chunkd_daemon *daemon;
	struct chunkd_store *store;
	struct ff3_loop *loop;
	struct chunkd_io *io;
	struct ff3_server *server;
	pthread_t thread;
	bool running;
	bool starved; /* a connection waits for memory for its payload */
	bool stopping;
	uint64_t looked_ns; /* when connections were last looked at for standing still */
	size_t n_conns;
	struct ff3_timer pump_timer, measure_timer;
	struct ff3_work stop_work;
	struct served *free_ops;
	struct served_read *free_reads;
	struct ff3_histogram latency[CHUNKD_N_SERVED];
};

static struct chunkd_target *target_of(struct ff3_server *server)
{
	return ff3_server_user(server);
}

static void observe(struct chunkd_target *t, enum chunkd_served what, const struct ff3_request *r)
{
	ff3_histogram_observe_own(&t->latency[what], ff3_boottime_ns() - r->received_ns);
}

/* --- Requests in hand ---------------------------------------------------------------------------- */

static struct served *served_new(struct chunkd_target *t, struct ff3_request *r,
				 enum chunkd_served what, void (*done)(struct chunkd_op *op))
{
	struct served *s = t->free_ops;

	if (s)
		t->free_ops = s->next;
	else if (!(s = malloc(sizeof *s)))
		return NULL;
	*s = (struct served){ .target = t, .r = r, .what = what, .op.done = done };
	return s;
}

static void served_free(struct served *s)
{
	observe(s->target, s->what, s->r);
	s->next = s->target->free_ops;
	s->target->free_ops = s;
}

/* Answers with the outcome alone. */
static void answer_status(struct chunkd_op *op)
{
	struct served *s = CONTAINER_OF(op, struct served, op);
	struct ff3_request *r = s->r;
	int status = op->status;

	served_free(s);
	ff3_request_reply(r, status, NULL, 0);
}

/* --- chunk_read ------------------------------------------------------------------------------------- */

static void read_done(struct chunkd_read *rd)
{
	struct served_read *s = CONTAINER_OF(rd, struct served_read, read);
	struct chunkd_target *t = s->target;
	struct ff3_request *r = s->r;
	uint8_t body[16 + sizeof rd->crcs];
	const struct ff3_rep_chunk_read reply = {
		.chunk_size = rd->chunk_size,
		.version = rd->version,
		.crcs = { rd->crcs, rd->n_crcs * (uint32_t)sizeof *rd->crcs },
	};

	observe(t, CHUNKD_READ, r);
	if (rd->status < 0) {
		ff3_request_fail(r, rd->status);
	} else {
		size_t len = ff3_encode_rep_chunk_read(body, sizeof body, &reply);

		if (rd->length)
			ff3_request_reply_payload(r, body, len, rd->data, rd->length,
						  rd->block ? chunkd_block_unref : NULL, rd->block);
		else
			ff3_request_reply(r, 0, body, len);
	}
	s->next = t->free_reads;
	t->free_reads = s;
}

static void handle_chunk_read(struct chunkd_target *t, struct ff3_request *r)
{
	struct ff3_req_chunk_read req;
	struct served_read *s = t->free_reads;
	int e = ff3_decode_req_chunk_read(r->body, r->header.body_len, &req);

	if (e == 0 && req.length > CHUNKD_READ_MAX)
		e = -EINVAL;
	if (e == 0 && !s && !(s = malloc(sizeof *s)))
		e = -ENOMEM;
	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	if (s == t->free_reads)
		t->free_reads = s->next;
	ff3_request_hold(r, req.length);
	s->target = t;
	s->r = r;
	s->read.done = read_done;
	s->read.ino = req.ino;
	s->read.index = req.index;
	s->read.offset = req.offset;
	s->read.length = req.length;
	s->read.dest = r->place;
	s->read.dest_len = r->place_len;
	s->read.compares = req.flags & FF3_READ_COMPARES;
	chunkd_store_read(t->store, &s->read);
}

/* --- chunk_write ------------------------------------------------------------------------------------ */

static void write_done(struct chunkd_op *op)
{
	struct served *s = CONTAINER_OF(op, struct served, op);
	struct ff3_request *r = s->r;
	const struct ff3_rep_chunk_write reply = {
		.chunk_size = op->chunk_size,
		.version = op->version,
		.instance = s->target->daemon->instance,
	};
	int status = op->status;

	served_free(s);
	if (status < 0)
		ff3_request_fail(r, status);
	else
		FF3_REQUEST_REPLY(r, chunk_write, &reply);
}

static int check_write(const struct ff3_request *r, struct ff3_req_chunk_write *req)
{
	uint32_t len = r->header.payload_len, pieces = 0;
	int e = ff3_decode_req_chunk_write(r->body, r->header.body_len, req);

	if (e < 0)
		return e;
	if (req->offset > FF3_CHUNK_SIZE_MAX || len > FF3_CHUNK_SIZE_MAX - req->offset)
		return -EFBIG;
	if (len)
		pieces = (req->offset + len - 1) / FF3_BLOCK - req->offset / FF3_BLOCK + 1;
	return req->crcs.len == pieces * 4 ? 0 : -EINVAL;
}

static void handle_chunk_write(struct chunkd_target *t, struct ff3_request *r)
{
	struct ff3_req_chunk_write req;
	struct chunkd_block *payload = r->payload_context;
	struct served *s = NULL;
	int e = ff3_request_keep_body(r); /* its checksums are needed until the end */

	if (e == 0)
		e = check_write(r, &req);
	if (e == 0 && !(s = served_new(t, r, CHUNKD_WRITE, write_done)))
		e = -ENOMEM;
	if (e < 0) {
		if (payload)
			chunkd_block_unref(payload);
		ff3_request_fail(r, e);
		return;
	}
	s->op.ino = req.ino;
	s->op.index = req.index;
	s->op.offset = req.offset;
	s->op.length = r->header.payload_len;
	s->op.sync = req.flags & FF3_WRITE_SYNC;
	s->op.chain_version = req.chain_version;
	s->op.session = req.session;
	s->op.seq = req.seq;
	s->op.payload = payload;
	s->op.crcs = req.crcs.p;
	chunkd_store_write(t->store, &s->op);
}

/* --- chunk_sync, chunk_truncate, chunk_remove --------------------------------------------------------- */

static void handle_chunk_sync(struct chunkd_target *t, struct ff3_request *r)
{
	struct ff3_req_chunk_sync req;
	struct served *s = NULL;
	int e = ff3_decode_req_chunk_sync(r->body, r->header.body_len, &req);

	if (e == 0 && req.instance != 0 && req.instance != t->daemon->instance)
		e = FF3_E_INSTANCE;
	if (e == 0 && !(s = served_new(t, r, CHUNKD_SYNC, answer_status)))
		e = -ENOMEM;
	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	s->op.ino = req.ino;
	chunkd_store_sync(t->store, &s->op);
}

static void handle_chunk_truncate(struct chunkd_target *t, struct ff3_request *r)
{
	struct ff3_req_chunk_truncate req;
	struct served *s = NULL;
	int e = ff3_decode_req_chunk_truncate(r->body, r->header.body_len, &req);

	if (e == 0 && !(s = served_new(t, r, CHUNKD_TRUNCATE, answer_status)))
		e = -ENOMEM;
	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	s->op.ino = req.ino;
	s->op.index = req.last;
	s->op.length = req.last_size;
	chunkd_store_cut(t->store, &s->op);
}

struct removal {
	struct ff3_request *r;
	struct chunkd_target *target;
	uint64_t n_removed;
	size_t n_pending;
	int status;
	struct chunkd_op ops[];
};

/* All inodes of a request are removed at once, so that they share a batch. */
static void removal_part_done(struct chunkd_op *op)
{
	struct removal *m = op->user;
	const struct ff3_rep_chunk_remove reply = { .n_removed = m->n_removed + op->n_removed };

	m->n_removed = reply.n_removed;
	if (op->status < 0)
		m->status = op->status;
	if (--m->n_pending)
		return;
	observe(m->target, CHUNKD_REMOVE, m->r);
	if (m->status < 0)
		ff3_request_fail(m->r, m->status);
	else
		FF3_REQUEST_REPLY(m->r, chunk_remove, &reply);
	free(m);
}

static void handle_chunk_remove(struct chunkd_target *t, struct ff3_request *r)
{
	struct ff3_req_chunk_remove req;
	struct removal *m = NULL;
	int e = ff3_decode_req_chunk_remove(r->body, r->header.body_len, &req);
	struct ff3_dec d;
	size_t n;

	if (e == 0 && (req.inos.len % 8 || req.inos.len == 0))
		e = -EINVAL;
	n = e == 0 ? req.inos.len / 8 : 0;
	if (e == 0 && !(m = calloc(1, sizeof *m + n * sizeof m->ops[0])))
		e = -ENOMEM;
	if (e < 0) {
		ff3_request_fail(r, e);
		return;
	}
	m->r = r;
	m->target = t;
	m->n_pending = n;
	d = ff3_dec_blob(req.inos);
	for (size_t i = 0; i < n; i++) {
		m->ops[i].done = removal_part_done;
		m->ops[i].user = m;
		ff3_get_u64(&d, &m->ops[i].ino);
	}
	/* The last one's end frees m. */
	for (size_t i = 0; i < n; i++)
		chunkd_store_remove(t->store, &m->ops[i]);
}

/* --- Dispatch ------------------------------------------------------------------------------------------ */

static void handle_ping(struct chunkd_target *t, struct ff3_request *r)
{
	ff3_request_reply(r, 0, r->body, r->header.body_len);
}

/* The first hello, and attach, are the server's. */
static void handle_hello(struct chunkd_target *t, struct ff3_request *r)
{
	ff3_request_fail(r, -EPROTO);
}
#define handle_attach handle_hello
typedef void handler(struct chunkd_target *t, struct ff3_request *r);

#define HANDLER_both(op) [FF3_OP_##op] = handle_##op,
#define HANDLER_chunkd(op) [FF3_OP_##op] = handle_##op,
#define HANDLER_metad(op)
#define HANDLER(number, op, daemon, traits) HANDLER_##daemon(op)
static handler *const handlers[FF3_OP_MAX] = { FF3_OPS(HANDLER) };

static void on_request(struct ff3_server *server, struct ff3_request *r)
{
	handler *h = r->header.op < FF3_OP_MAX ? handlers[r->header.op] : NULL;

	if (!h)
		ff3_request_fail(r, -EOPNOTSUPP);
	else if (UNLIKELY(chunkd_is_former(ff3_conn_user(r->conn))))
		ff3_request_fail(r, FF3_E_NOT_PRIMARY);
	else
		h(target_of(server), r);
}

static int on_payload(struct ff3_server *server, struct ff3_request *r)
{
	struct chunkd_target *t = target_of(server);
	struct chunkd_block *b;

	if (r->header.op != FF3_OP_chunk_write)
		return -EINVAL;
	if (chunkd_store_stats(t->store)->offline)
		return FF3_E_OFFLINE;
	b = chunkd_store_payload(t->store, r->header.payload_len);
	if (!b) {
		t->starved = true;
		return 0;
	}
	r->payload = b->p;
	r->payload_context = b;
	return 0;
}

static void on_payload_abort(struct ff3_server *server, struct ff3_request *r)
{
	chunkd_block_unref(r->payload_context);
}

static void on_closed(struct ff3_server *server, struct ff3_conn *conn, void *conn_user)
{
	struct chunkd_conn *c = conn_user;

	chunkd_store_unexpose_conn(c->target->store, conn);
	c->target->n_conns--;
	free(c);
}

static int on_hello(struct ff3_server *server, const struct ff3_req_hello *hello,
		    struct ff3_rep_hello *reply, void **conn_user, struct ff3_server **move_to)
{
	struct chunkd_target *t = target_of(server);
	int r = chunkd_greet(t, t->daemon, hello, reply, conn_user);

	t->n_conns += r == 0;
	return r;
}

static const struct ff3_server_ops server_ops = {
	.hello = on_hello,
	.payload = on_payload,
	.payload_abort = on_payload_abort,
	.request = on_request,
	.closed = on_closed,
};

/* --- The loop ------------------------------------------------------------------------------------------ */

/* Returns when to look again; UINT64_MAX: nobody waits for memory. */
static uint64_t relieve(struct chunkd_target *t, uint64_t now)
{
	uint64_t since = chunkd_store_waits_since(t->store);
	unsigned n;

	if (t->server && t->starved)
		since = MIN(since, ff3_server_no_room_since(t->server));
	if (since == UINT64_MAX)
		return UINT64_MAX;
	if (t->server && now >= MAX(since, t->looked_ns) + LOOK_NS) {
		t->looked_ns = now;
		n = ff3_server_reset_stalled(t->server, STALL_NS);
		chunkd_store_note_resets(t->store, n);
		if (n > 0)
			ff3_notice("%s: %u connections reset, which held memory that others waited for",
				   chunkd_store_dir(t->store), n);
	}
	return LOOK_NS;
}

static void on_idle(void *arg)
{
	struct chunkd_target *t = arg;
	uint64_t now = ff3_boottime_ns(), due = chunkd_store_pump(t->store, now);

	due = MIN(due, relieve(t, now));

	if (t->starved && chunkd_store_has_room(t->store)) {
		t->starved = false;
		ff3_server_resume(t->server);
	}
	if (t->stopping && t->n_conns == 0 && chunkd_store_idle(t->store))
		ff3_loop_stop(t->loop);
	else if (due != UINT64_MAX)
		ff3_loop_timer_arm(t->loop, &t->pump_timer, due);
}

static void pump_due(struct ff3_timer *timer)
{
	/* The turn's idle hook does the work. */
}

static void measure_due(struct ff3_timer *timer)
{
	struct chunkd_target *t = CONTAINER_OF(timer, struct chunkd_target, measure_timer);

	chunkd_store_measure(t->store);
	if (!t->stopping)
		ff3_loop_timer_arm(t->loop, &t->measure_timer, MEASURE_NS);
}

static void stop_now(struct ff3_work *w)
{
	struct chunkd_target *t = CONTAINER_OF(w, struct chunkd_target, stop_work);

	t->stopping = true;
	chunkd_store_unexpose_all(t->store);
	ff3_server_free(TAKE_PTR(t->server));
	chunkd_store_drain(t->store);
}

static void *target_main(void *arg)
{
	struct chunkd_target *t = arg;
	int r = ff3_loop_run(t->loop);

	if (r < 0)
		ff3_log_errno(r, "the loop of %s failed", chunkd_store_dir(t->store));
	return NULL;
}

/* --- Life ---------------------------------------------------------------------------------------------- */

int chunkd_target_new(struct chunkd_daemon *daemon, const char *dir, uint64_t memory, uint64_t hot,
		      struct chunkd_target **ret)
{
	struct chunkd_target *t = calloc(1, sizeof *t);
	const struct chunkd_store_options options = {
		.dir = dir,
		.node = daemon->node,
		.capacity = daemon->conf->chunkd.capacity,
		.memory = memory - hot,
		.flush_ns = daemon->conf->chunkd.flush * FF3_NSEC_PER_MSEC,
		.prewrite = true,
	};
	int r;

	if (!t)
		return -ENOMEM;
	t->daemon = daemon;
	t->pump_timer.fn = pump_due;
	t->measure_timer.fn = measure_due;
	t->stop_work.fn = stop_now;
	r = chunkd_store_new(&options, &t->store);
	if (r < 0)
		goto fail;
	r = ff3_loop_new(1024, &t->loop);
	if (r == 0)
		r = ff3_server_new(t->loop, &server_ops, t, &t->server);
	if (r == 0)
		r = chunkd_io_uring_new(t->loop, &t->io);
	if (r < 0) {
		ff3_log_errno(r, "cannot make a loop for %s", dir);
		goto fail;
	}
	r = chunkd_store_start(t->store, t->io);
	if (r < 0)
		goto fail;
	if (hot > 0)
		chunkd_serve_exposures(daemon, t->store, hot);
	ff3_loop_set_idle(t->loop, on_idle, t);
	(void)ff3_loop_register_memory(t->loop, chunkd_arena_base(chunkd_store_arena(t->store)),
				       chunkd_arena_size(chunkd_store_arena(t->store)));
	ff3_server_register_memory(t->server, chunkd_arena_base(chunkd_store_arena(t->store)),
				   chunkd_arena_size(chunkd_store_arena(t->store)));
	ff3_loop_timer_arm(t->loop, &t->measure_timer, MEASURE_NS);
	*ret = t;
	return 0;
fail:
	chunkd_target_free(t);
	return r;
}

int chunkd_target_start(struct chunkd_target *t)
{
	int r;

	r = ff3_thread_new(&t->thread, target_main, t);
	t->running = r == 0;
	return r;
}

int chunkd_target_stop(struct chunkd_target *t)
{
	if (!t->running)
		return 0;
	ff3_loop_post(t->loop, &t->stop_work);
	pthread_join(t->thread, NULL);
	t->running = false;
	return chunkd_store_stats(t->store)->offline ? FF3_E_OFFLINE : 0;
}

void chunkd_target_free(struct chunkd_target *t)
{
	if (!t)
		return;
	ff3_server_free(t->server);
	chunkd_store_free(t->store); /* closes its files through t->io */
	chunkd_io_uring_free(t->io);
	ff3_loop_free(t->loop);
	for (struct served *s = t->free_ops, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	for (struct served_read *s = t->free_reads, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	free(t);
}

struct chunkd_store *chunkd_target_store(struct chunkd_target *t)
{
	return t->store;
}

struct ff3_server *chunkd_target_server(struct chunkd_target *t)
{
	return t->server;
}

void chunkd_target_view(const struct chunkd_target *t, struct chunkd_target_view *ret)
{
	*ret = (struct chunkd_target_view){ .id = chunkd_store_super(t->store)->target,
					    .dir = chunkd_store_dir(t->store),
					    .stats = chunkd_store_stats(t->store),
					    .latency = t->latency };
}
