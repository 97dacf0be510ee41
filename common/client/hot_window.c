/* Purpose: reads of chunks that a daemon exposes over RDMA: an RDMA READ of ours from its memory, which costs
 * it nothing, checked here against the checksums that came with the answer.
 *
 * Fresh: the daemon voids the key before it answers a change of the chunk, so what could be read is not
 * older than the read. Whole: the bytes do not change under a window, and every 4 KiB block is compared.
 *
 * Whole blocks that go to one place go there directly. Others, and those that turned out wrong there
 * (memory that is not what was registered), go through a buffer of the transport's, and are copied.
 *
 * Threads: any, without a lock; what a slot says is taken along before its word is looked at once more.
 * Fork: a child's connections are others, so that its parent's windows are gone for it. */
#include "hot.h"

/* One transfer moves at most this much. */
#define PART_MAX PIECE_MAX
#define LIMIT_NS (2 * FF3_NSEC_PER_SEC)

/* Blocks [begin, end) of the chunk hold what is wanted: len bytes from `from` on. */
struct transfer {
	struct ff3_rpc_call call;
	const struct ff3_hot_window *h;
	struct ff3_cursor to;
	uint32_t begin, end, from;
	size_t len;
};

static bool is_sound(const struct transfer *t, const uint8_t *data)
{
	for (uint32_t at = t->begin; at < t->end; at += FF3_BLOCK)
		if (ff3_crc32c(0, data + (at - t->begin), MIN(FF3_BLOCK, t->end - at)) !=
		    t->h->crcs[at / FF3_BLOCK])
			return false;
	return true;
}

static int landed(struct ff3_rpc_call *call, const uint8_t *data, size_t len)
{
	struct transfer *t = CONTAINER_OF(call, struct transfer, call);

	call->own = NULL; /* it was not that */
	if (!is_sound(t, data))
		return FF3_E_CHECKSUM;
	return ff3_cursor_write(&t->to, data + (t->from - t->begin), t->len);
}

static int read_once(struct transfer *t, const struct ff3_rpc_window *w)
{
	struct ff3_rpc_call *call = &t->call;
	int r;

	call->window = w;
	call->window_at = t->begin;
	call->window_len = t->end - t->begin;
	call->landed = landed;
	r = ff3_rpc_start_read(call);
	if (r < 0)
		return r;
	ff3_rpc_wait(&call, 1, ff3_boottime_ns() + LIMIT_NS);
	r = call->status;
	if (r == 0 && call->own && !is_sound(t, call->own))
		r = FF3_E_CHECKSUM;
	return r;
}

/* The next len bytes of the cursor, from `from` on; chunk_len: of the chunk. */
static int read_part(const struct ff3_hot_window *h, const struct ff3_rpc_window *w, uint32_t chunk_len,
		     uint32_t from, size_t len, struct ff3_cursor *c)
{
	struct transfer t = { .h = h,
			      .to = *c,
			      .begin = ROUND_DOWN(from, FF3_BLOCK),
			      .end = MIN(ROUND_UP(from + (uint32_t)len, FF3_BLOCK), chunk_len),
			      .from = from,
			      .len = len };
	struct ff3_cursor next = *c;
	struct iovec one;
	int r, n;

	if (t.begin == from && t.end == from + len && ff3_cursor_take(&next, len, &one, 1, &n) == len)
		t.call.own = one.iov_base;
	r = read_once(&t, w);
	if (r == FF3_E_CHECKSUM && t.call.own) {
		ff3_rpc_memory_gone(t.call.own, len);
		t.call = (struct ff3_rpc_call){ .careful = true };
		r = read_once(&t, w);
	}
	if (r == 0)
		ff3_cursor_skip(c, len);
	return r;
}

int ff3_hot_window_read(struct ff3_hot_slot *slot, uint64_t word, uint64_t ino, uint32_t index,
			uint32_t from, size_t len, struct ff3_cursor *c, enum ff3_hot_miss *why)
{
	const struct ff3_hot_window *h = (const void *)slot->base;
	struct ff3_rpc_window w = h->rpc;
	uint32_t chunk_len = h->len;
	struct ff3_cursor at = *c;
	bool ours = h->ino == ino && h->index == index;
	int r = 0;

	*why = FF3_HOT_GONE;
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->word, memory_order_relaxed) != word || !ours)
		return 0;
	if ((uint64_t)from + len > chunk_len) {
		*why = FF3_HOT_SHORT;
		return 0;
	}
	while (len > 0 && r == 0) {
		/* Up to the end of a block, so that the next one begins with one. */
		size_t part = MIN(len, (size_t)(PART_MAX - from % FF3_BLOCK));

		r = read_part(h, &w, chunk_len, from, part, &at);
		from += (uint32_t)part;
		len -= part;
	}
	if (r == -EFAULT)
		return r;
	atomic_thread_fence(memory_order_acquire);
	/* The checksums may have been another chunk's by then. */
	if (r == FF3_E_CHECKSUM && atomic_load_explicit(&slot->word, memory_order_relaxed) == word)
		*why = FF3_HOT_CHECKSUM;
	else if (r < 0 && r != -ESTALE)
		*why = FF3_HOT_DEAD;
	if (r < 0 || atomic_load_explicit(&slot->word, memory_order_relaxed) != word)
		return 0;
	*c = at;
	return 1;
}

int ff3_hot_window_check(const struct ff3_rep_chunk_expose *rep)
{
	uint32_t n = rep->chunk_size / FF3_BLOCK + (rep->chunk_size % FF3_BLOCK != 0);

	return rep->chunk_size > 0 && rep->chunk_size <= FF3_CHUNK_SIZE_MAX && rep->crcs.len == n * 4 ?
		       0 :
		       -EBADMSG;
}

size_t ff3_hot_window_size(const struct ff3_rep_chunk_expose *rep)
{
	return sizeof(struct ff3_hot_window) + rep->crcs.len;
}

void ff3_hot_window_fill(struct ff3_hot_window *h, const struct ff3_rpc_window *w, uint64_t ino,
			 uint32_t index, const struct ff3_rep_chunk_expose *rep)
{
	h->rpc = *w;
	h->rpc.addr = rep->addr;
	h->rpc.rkey = rep->rkey;
	h->ino = ino;
	h->index = index;
	h->len = rep->chunk_size;
	for (uint32_t i = 0; i < rep->crcs.len / 4; i++) {
		uint32_t crc;

		memcpy(&crc, (const uint8_t *)rep->crcs.p + 4 * i, 4);
		h->crcs[i] = le32toh(crc);
	}
}
