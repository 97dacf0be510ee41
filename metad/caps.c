/* Purpose: the capabilities for what clients ask of chunk daemons directly; and telling those daemons when
 * older ones are void. They go out with opens of files that are pinned to memory; clients get them for others,
 * when they want them, by opening again. They name the user that was let read, and the group if that was why: metad
 * takes a hello's word for it over networks, and a chunk daemon knows better of a process of its host.
 *
 * Keys are made at each start and every FF3_CAP_LIFETIME_MS, and live in memory only: who holds a cap of
 * another key is refused, and opens the file again. Chunk daemons get them with their heartbeats.
 *
 * A change of mode or owner is told to the daemons of the file's stripe by a worker, again and again for
 * TELL_NS; a daemon that is away for longer has restarted, or hears of nobody's caps for as long.
 *
 * Threads: the loop's, and run() on the worker. */
#include <utlist.h>

#include "../common/base/log.h"
#include "../common/net/cap.h"
#include "chunk_calls.h"
#include "metad.h"

#define CALL_TIMEOUT_MS 2000u
#define RETRY_NS FF3_NSEC_PER_SEC
#define TELL_NS (60 * FF3_NSEC_PER_SEC)
#define PENDING_MAX 65536u
#define VOID_NS (2 * FF3_NSEC_PER_SEC)
#define JOB_MAX 1024u

/* One daemon to be told of one inode. */
struct telling {
	uint64_t target;
	char address[256];
	uint64_t until_ns;
	size_t body_len;
	uint8_t body[16];
	struct telling *prev, *next;
};

struct metad_caps {
	struct metad *m;
	struct ff3_cap_keys keys;
	uint64_t rotated_ns;
	struct metad_worker *worker;
	struct metad_chunk_calls *chunk_calls;
	struct metad_job job;
	bool running;
	uint64_t not_before_ns;
	struct telling *pending; /* the job's are its first n */
	size_t n_pending, n;
	struct metad_chunk_call calls[JOB_MAX];
	uint8_t keys_wire[FF3_CAP_KEYS_MAX];
};

static void run(struct metad_job *j)
{
	struct metad_caps *c = CONTAINER_OF(j, struct metad_caps, job);

	metad_chunk_calls_run(c->chunk_calls, c->calls, c->n, CALL_TIMEOUT_MS);
}

static void drop(struct metad_caps *c, struct telling *t)
{
	DL_DELETE(c->pending, t);
	c->n_pending--;
	free(t);
}

static void start_job(struct metad_caps *c)
{
	struct telling *t;

	if (c->running || !c->pending || ff3_boottime_ns() < c->not_before_ns)
		return;
	c->n = 0;
	DL_FOREACH(c->pending, t)
	{
		if (c->n == JOB_MAX)
			break;
		c->calls[c->n++] = (struct metad_chunk_call){ .target = t->target,
							      .address = t->address,
							      .op = FF3_OP_chunk_revoke,
							      .body = t->body,
							      .body_len = t->body_len };
	}
	c->running = true;
	metad_worker_submit(c->worker, &c->job);
}

static void done(struct metad_job *j)
{
	struct metad_caps *c = CONTAINER_OF(j, struct metad_caps, job);
	uint64_t now = ff3_boottime_ns();
	struct telling *t = c->pending, *next;

	c->running = false;
	c->not_before_ns = 0;
	for (size_t i = 0; i < c->n; i++, t = next) {
		next = t->next;
		if (c->calls[i].result >= 0 || now >= t->until_ns) {
			drop(c, t);
			continue;
		}
		c->not_before_ns = now + RETRY_NS;
	}
	start_job(c);
}

int metad_caps_new(struct metad *m)
{
	struct metad_caps *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	m->caps = c;
	c->m = m;
	c->job = (struct metad_job){ .run = run, .done = done };
	c->rotated_ns = ff3_boottime_ns();
	r = ff3_cap_keys_rotate(&c->keys);
	if (r >= 0)
		r = metad_chunk_calls_new(m, &c->chunk_calls);
	if (r >= 0)
		r = metad_worker_new(m->loop, "revoke", &c->worker);
	if (r < 0)
		metad_caps_free(m);
	return r;
}

void metad_caps_free(struct metad *m)
{
	struct metad_caps *c = m->caps;

	if (!c)
		return;
	metad_worker_free(c->worker);
	metad_chunk_calls_free(c->chunk_calls);
	while (c->pending)
		drop(c, c->pending);
	free(c);
	m->caps = NULL;
}

void metad_caps_tick(struct metad *m)
{
	struct metad_caps *c = m->caps;
	uint64_t now = ff3_boottime_ns();

	if (now - c->rotated_ns >= FF3_CAP_LIFETIME_MS * FF3_NSEC_PER_MSEC) {
		int r = ff3_cap_keys_rotate(&c->keys);

		if (r < 0)
			ff3_log_errno(r, "cannot make a key");
		c->rotated_ns = now;
	}
	start_job(c);
}

struct ff3_blob metad_caps_keys(struct metad *m)
{
	struct metad_caps *c = m->caps;

	return (struct ff3_blob){ c->keys_wire, (uint32_t)ff3_cap_keys_encode(&c->keys, c->keys_wire,
									      sizeof c->keys_wire) };
}

struct ff3_blob metad_caps_make(struct metad *m, const struct metad_inode *inode, uint64_t session,
				struct metad_reader reader, uint32_t open_flags, uint8_t buf[FF3_CAP_MAX])
{
	struct ff3_cap cap = { .ino = inode->ino,
			       .generation = inode->generation,
			       .session = session,
			       .expires = ff3_realtime_ns() / FF3_NSEC_PER_MSEC + FF3_CAP_LIFETIME_MS,
			       .rights = FF3_CAP_READ,
			       .user = reader.user,
			       .group = reader.group };

	if (!S_ISREG(inode->mode) || !(open_flags & FF3_OPEN_READ))
		return (struct ff3_blob){ buf, 0 };
	if (inode->pin == FF3_PIN_MEMORY)
		cap.rights |= FF3_CAP_PIN;
	return (struct ff3_blob){ buf, (uint32_t)ff3_cap_sign(&m->caps->keys.current, &cap, buf) };
}

/* Most files are read once, and signing costs as much as finding the name. */
struct ff3_blob metad_caps_at_open(struct metad *m, const struct metad_inode *inode, uint64_t session,
				   struct metad_reader reader, uint32_t open_flags, uint8_t buf[FF3_CAP_MAX])
{
	return inode->pin == FF3_PIN_MEMORY ? metad_caps_make(m, inode, session, reader, open_flags, buf) :
					      (struct ff3_blob){ buf, 0 };
}

/* Too much to be told: every cap is void when the daemons hear of the next keys. */
static void void_all(struct metad_caps *c)
{
	uint64_t now = ff3_boottime_ns();

	if (now - c->rotated_ns < VOID_NS)
		return;
	if (ff3_cap_keys_rotate(&c->keys) == 0 && ff3_cap_keys_rotate(&c->keys) == 0)
		c->rotated_ns = now;
}

static void tell(struct metad_caps *c, const struct ff3_req_chunk_revoke *q, uint64_t target,
		 const char *address)
{
	struct telling *t = c->n_pending < PENDING_MAX ? calloc(1, sizeof *t) : NULL;

	if (!t) {
		void_all(c);
		return;
	}
	t->target = target;
	t->until_ns = ff3_boottime_ns() + TELL_NS;
	t->body_len = ff3_encode_req_chunk_revoke(t->body, sizeof t->body, q);
	snprintf(t->address, sizeof t->address, "%s", address);
	DL_APPEND(c->pending, t);
	c->n_pending++;
}

void metad_caps_revoke(struct metad *m, uint64_t ino)
{
	struct ff3_req_chunk_revoke q = { .ino = ino };
	struct metad_inode inode;
	struct ff3_layout layout;

	if (metad_db_get_inode(m->db, ino, &inode) <= 0 || !S_ISREG(inode.mode) ||
	    metad_file_layout(m->db, &inode, &layout) < 0)
		return;
	metad_file_overlay(m, &inode);
	q.generation = inode.generation;
	/* Small files have chunks on few chains. */
	for (uint64_t i = 0; i < ff3_layout_n_stripe(&layout) && i * layout.chunk_size <= inode.size; i++) {
		const char *address;
		uint64_t target;

		if (metad_routes_find(m, ff3_layout_chain(&layout, (uint32_t)i), &target, &address) >= 0)
			tell(m->caps, &q, target, address);
	}
	start_job(m->caps);
}
