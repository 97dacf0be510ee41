/* Purpose: having chunks exposed (chunk_expose); hot_map.c keeps what is exposed to us.
 *
 * When to ask: exposing a chunk costs the daemon a copy of it and us its mapping, about as much as SMALL
 * requests and one for each UNIT bytes. So it is asked for when requests for the chunk have cost as much
 * (ski rental); at once, the first time, if the file's layout pins it. A refusal for lack of room, or by a
 * daemon that cannot, is remembered for a while. The capability that it takes comes with the open only of
 * pinned files; else metad is asked for it before the first chunk.
 *
 * A daemon of this host is asked over a local socket, since descriptors come with the answer: by a
 * connection of its own where the data come by another way. Another one is asked for windows where its
 * data come over RDMA: they are that connection's.
 *
 * Threads: any; hot_map.c's lock for capabilities. Fork: a child's capabilities are void until it has
 * registered its opens, which gives it others. */
#include "hot.h"
#include "replay.h"

#include <unistd.h>

#define SMALL 4u
#define UNIT_SHIFT 15
#define TABLE_MAX 16384u
#define ASK_NS (FF3_NSEC_PER_SEC / 2)
#define NO_ROOM_NS (FF3_NSEC_PER_SEC / 10)
#define UNABLE_NS (5 * FF3_NSEC_PER_SEC)
#define REFUSED_NS FF3_NSEC_PER_SEC

static size_t cap_of(struct ff3_inode *inode, uint8_t cap[FF3_CAP_MAX])
{
	size_t len;

	pthread_mutex_lock(&inode->fs->hot.lock);
	len = inode->hot.cap_len;
	memcpy(cap, inode->hot.cap, len);
	pthread_mutex_unlock(&inode->fs->hot.lock);
	return len;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static size_t make_request(struct ff3_inode *inode, uint32_t index, const struct ff3_route *route,
			   uint8_t body[64 + FF3_CAP_MAX])
{
	uint8_t cap[FF3_CAP_MAX];
	struct ff3_req_chunk_expose req = { .ino = inode->ino,
					    .index = index,
					    .chain = route->chain,
					    .chain_version = route->version,
					    .cap = { cap, (uint32_t)cap_of(inode, cap) } };

	return ff3_encode_req_chunk_expose(body, 64 + FF3_CAP_MAX, &req);
}

static int check_answer(struct ff3_inode *inode, const struct ff3_route *route,
			const struct ff3_rpc_call *call, uint64_t settled, struct ff3_rep_chunk_expose *rep)
{
	int r = ff3_decode_rep_chunk_expose(call->reply, call->reply_len, rep);

	if (r == 0 && UNLIKELY(settled != call->instance))
		r = ff3_recover_check(route->peer, settled, call->instance);
	if (UNLIKELY(r == -ERESTART)) /* it lacks what holders have yet to send again */
		ff3_recover(inode->fs, route->peer, settled, call->instance);
	return r;
}

static int ask_mapped(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
		      const struct ff3_route *route)
{
	uint8_t body[64 + FF3_CAP_MAX], reply[128];
	int fds[2];
	struct ff3_rep_chunk_expose rep;
	struct ff3_rpc_call call = { .op = FF3_OP_chunk_expose,
				     .body = body,
				     .body_len = make_request(inode, index, route, body),
				     .reply = reply,
				     .reply_size = sizeof reply,
				     .fds = fds,
				     .max_fds = 2 };
	uint64_t settled = ff3_recover_sample(route->peer);
	struct ff3_rpc_peer *rpc;
	int r = ff3_peer_local(inode->fs, route->peer, &rpc);

	if (r < 0)
		return r;
	r = ff3_rpc_call(rpc, &call, ff3_boottime_ns() + ASK_NS);
	r = r < 0 ? r : check_answer(inode, route, &call, settled, &rep);
	if (r == 0)
		r = rep.kind == FF3_EXPOSED_MAPPED && call.n_fds == 2 ?
			    ff3_hot_publish(inode, t, index, route->peer->target, call.instance, &rep,
					    fds) :
			    -EOPNOTSUPP;
	close_all(fds, call.n_fds);
	return r;
}

static int ask_window(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
		      const struct ff3_route *route)
{
	const size_t size = 128 + FF3_CHUNK_SIZE_MAX / FF3_BLOCK * 4;
	uint8_t body[64 + FF3_CAP_MAX];
	_cleanup_free_ uint8_t *reply = malloc(size);
	struct ff3_rep_chunk_expose rep;
	uint64_t settled = ff3_recover_sample(route->peer);
	struct ff3_rpc_window w = { .conn = NULL };
	struct ff3_rpc_call call = { .op = FF3_OP_chunk_expose,
				     .body = body,
				     .body_len = make_request(inode, index, route, body),
				     .reply = reply,
				     .reply_size = size,
				     .asks = &w };
	int r = reply ? ff3_rpc_call(route->peer->rpc, &call, ff3_boottime_ns() + ASK_NS) : -ENOMEM;

	r = r < 0 ? r : check_answer(inode, route, &call, settled, &rep);
	if (r == 0)
		r = rep.kind == FF3_EXPOSED_WINDOW && w.conn ?
			    ff3_hot_publish_window(inode, t, index, &w, &rep) :
			    -EOPNOTSUPP;
	if (r < 0)
		ff3_rpc_window_drop(&w);
	return r;
}

/* The daemon is not one of this host, or the configuration wants it so. */
static bool is_elsewhere(int r)
{
	return r == -EOPNOTSUPP || r == -ECONNREFUSED || r == -ENOENT || r == -EPERM ||
	       r == -EHOSTUNREACH;
}

static int ask_once(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
		    const struct ff3_route *route)
{
	int r = ask_mapped(inode, t, index, route);

	if (is_elsewhere(r) && ff3_rpc_peer_comes_by(route->peer->rpc, FF3_LINK_VERBS))
		r = ask_window(inode, t, index, route);
	return r;
}

/* The first one, or another. Reads do not wait again and again for a metad that is away. */
static int renew_cap(struct ff3_inode *inode)
{
	_Atomic uint64_t *retry_ns = &inode->fs->hot.cap_retry_ns;
	int r = ff3_boottime_ns() < atomic_load(retry_ns) ? -EAGAIN : ff3_inode_renew_cap(inode);

	if (r < 0 && r != -EAGAIN && ff3_retriable(r))
		atomic_store(retry_ns, ff3_boottime_ns() + UNABLE_NS);
	return r;
}

static int ask(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
	       const struct ff3_route *route)
{
	int r;

	if (inode->hot.cap_len == 0 && renew_cap(inode) < 0)
		return -EAGAIN;
	r = ask_once(inode, t, index, route);
	atomic_fetch_add(&inode->fs->hot.n_asked, 1);
	/* Over a connection to a daemon that was there before; of one that has just been restarted. */
	if (r == -ERESTART || (r < 0 && ff3_retriable(r) && r != -EAGAIN))
		r = ask_once(inode, t, index, route);
	if (r == -EDQUOT) {
		ff3_hot_sweep(inode->fs);
		r = ask_once(inode, t, index, route);
	}
	if (r == -EACCES && renew_cap(inode) == 0)
		r = ask_once(inode, t, index, route);
	return r;
}

static void ask_for(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index)
{
	uint64_t now = ff3_boottime_ns();
	struct ff3_route route;
	int r;

	if (now < atomic_load(&t->retry_ns) ||
	    ff3_route_find(inode->fs, ff3_inode_chain(inode, index), &route) < 0 ||
	    now < atomic_load(&route.peer->hot_retry_ns))
		return;
	r = ask(inode, t, index, &route);
	if (r == 0 || r == -EAGAIN || r == -ERESTART || r == -ENOENT)
		return;
	atomic_fetch_add(&inode->fs->hot.n_refused, 1);
	now = ff3_boottime_ns();
	if (r == -EACCES)
		atomic_store(&t->retry_ns, now + REFUSED_NS);
	else
		atomic_store(&route.peer->hot_retry_ns, now + (r == -EDQUOT	  ? NO_ROOM_NS :
							       ff3_retriable(r) ? REFUSED_NS :
										  UNABLE_NS));
}

/* --- Heat ------------------------------------------------------------------------------------ */

static struct ff3_hot_table *table_get(struct ff3_inode *inode)
{
	struct ff3_hot_table *t = atomic_load_explicit(&inode->hot.table, memory_order_acquire), *none = NULL;
	uint64_t n = (atomic_load(&inode->size) >> inode->chunk_shift) + 1;
	uint32_t size = 1;

	if (LIKELY(t != NULL))
		return t;
	while (size < TABLE_MAX && size < n)
		size *= 2;
	t = calloc(1, sizeof *t + size * sizeof t->entries[0]);
	if (!t)
		return NULL;
	t->mask = size - 1;
	if (!atomic_compare_exchange_strong(&inode->hot.table, &none, t)) {
		free(t);
		t = none;
	}
	return t;
}

static void heat_chunk(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index, uint32_t len)
{
	struct ff3_hot_entry *e = &t->entries[index & t->mask];
	uint64_t size = atomic_load(&inode->size), begin = (uint64_t)index << inode->chunk_shift;
	uint32_t chunk = (uint32_t)MIN(size - MIN(begin, size), (uint64_t)ff3_inode_chunk_size(inode));
	uint32_t needed = SMALL + (chunk >> UNIT_SHIFT), heat;

	if (atomic_load_explicit(&e->key, memory_order_relaxed) != index + 1 &&
	    !atomic_load_explicit(&e->slot, memory_order_relaxed)) {
		/* Its first time here. */
		atomic_store_explicit(&e->key, index + 1, memory_order_relaxed);
		atomic_store_explicit(&e->heat, atomic_load(&inode->hot.pinned) ? needed : 0,
				      memory_order_relaxed);
	}
	heat = 1 + (len >> UNIT_SHIFT);
	heat += atomic_fetch_add_explicit(&e->heat, heat, memory_order_relaxed);
	/* One of those who get here asks. */
	if (heat > needed && atomic_compare_exchange_strong(&e->heat, &heat, 0))
		ask_for(inode, t, index);
}

void ff3_hot_heat(struct ff3_inode *inode, size_t len, uint64_t offset)
{
	uint32_t chunk_size = ff3_inode_chunk_size(inode);
	struct ff3_hot_table *t;

	if (!inode->hot.may_read || !inode->fs->conf.client.hot || !(t = table_get(inode)))
		return;
	while (len > 0) {
		size_t part = MIN(len, (size_t)(chunk_size - (offset & (chunk_size - 1))));

		heat_chunk(inode, t, (uint32_t)(offset >> inode->chunk_shift), (uint32_t)part);
		offset += part;
		len -= part;
	}
}
