/* Purpose: reads of chunks that a daemon of this host exposes: copies from its memory, without a request
 * and without a lock.
 *
 * Fresh: the word in the chunk's memory is there until the chunk changes, and goes before the change
 * is answered; so what is read after a look at the word is not older than the read. Who has bytes of his
 * own that a daemon may lose (hold.c) reads by request, which notices that. Whole: each 4 KiB block is
 * compared with its checksum, where it has arrived.
 *
 * Only bytes below the file's known size are read here; whether there are more, metad says.
 *
 * Threads: any; no lock is taken but when a slot is found to be of no use. Fork: the child has its parent's
 * mappings, which are for reading, and may go on using them as it may its parent's descriptors. */
#include "hot.h"

/* Of a window, by who must not wait: by request. */
#define HOT_LATER 2

struct ff3_hot_view {
	const struct ff3_hot_header *header;
	const uint8_t *data;
	uint32_t len;
};

static void count_miss(struct ff3fs *fs, enum ff3_hot_miss why)
{
	struct ff3_hot_shard *s = ff3_hot_shard(fs);

	atomic_fetch_add_explicit(&s->misses[why], 1, memory_order_relaxed);
}

/* Whether slot shows chunk {ino, index} now, with word. Fills ret. */
static bool look(struct ff3_hot_slot *slot, uint64_t word, uint64_t ino, uint32_t index,
		 struct ff3_hot_view *ret, enum ff3_hot_miss *why)
{
	const struct ff3_hot_header *h = (const void *)slot->base;
	const _Atomic uint32_t *life = atomic_load_explicit(&slot->life, memory_order_relaxed);

	*why = FF3_HOT_GONE;
	if (UNLIKELY(atomic_load_explicit(&h->word, memory_order_acquire) != word) ||
	    h->ino != ino || h->index != index)
		return false;
	*why = FF3_HOT_DEAD;
	if (UNLIKELY(atomic_load_explicit(life, memory_order_acquire) !=
		     atomic_load_explicit(&slot->owner, memory_order_relaxed)))
		return false;
	ret->header = h;
	ret->data = slot->base + atomic_load_explicit(&slot->data, memory_order_relaxed);
	ret->len = atomic_load_explicit(&slot->len, memory_order_relaxed);
	return true;
}

#define LINE 64u
#define STEP 1024u

/* The CRC32C of [p, p + len), while [next, next + next_len) comes from memory: the one waits for the core, the other
 * for memory. In steps, because a core has room for a few lines under way only. */
static uint32_t crc_and_fetch(const uint8_t *p, size_t len, const uint8_t *next, size_t next_len)
{
	uint32_t crc = 0;

	for (size_t at = 0; at < len; at += STEP) {
		for (size_t i = at; i < MIN(at + STEP, next_len); i += LINE)
			__builtin_prefetch(next + i);
		crc = ff3_crc32c(crc, p + at, MIN(len - at, (size_t)STEP));
	}
	return crc;
}

/* Copies [from, from + len) of the chunk to p and compares. */
static bool copy_blocks(const struct ff3_hot_view *v, uint32_t from, uint8_t *p, size_t len)
{
	while (len > 0) {
		uint32_t block = from / FF3_BLOCK, begin = block * FF3_BLOCK;
		uint32_t size = MIN(FF3_BLOCK, v->len - begin);
		size_t part = MIN(len, (size_t)(begin + size - from));

		memcpy(p, v->data + from, part);
		if (crc_and_fetch(part == size ? p : v->data + begin, size, v->data + from + part,
				  len - part) != v->header->crcs[block])
			return false;
		p += part;
		from += (uint32_t)part;
		len -= part;
	}
	return true;
}

/* 1: copied; 0: not, and why; -EFAULT. The cursor moves if it is 1. */
static int copy_chunk(struct ff3_hot_slot *slot, uint64_t word, uint64_t ino, uint32_t index,
		      uint32_t from, size_t len, struct ff3_cursor *c, enum ff3_hot_miss *why)
{
	struct ff3_cursor at = *c;
	struct ff3_hot_view v;

	if (!look(slot, word, ino, index, &v, why))
		return 0;
	if (UNLIKELY((uint64_t)from + len > v.len)) {
		*why = FF3_HOT_SHORT;
		return 0;
	}
	while (len > 0) {
		struct iovec one;
		int n;
		size_t part = ff3_cursor_take(&at, len, &one, 1, &n);

		if (UNLIKELY(part == 0 || ff3_user_writable(one.iov_base, part) < 0))
			return -EFAULT;
		if (UNLIKELY(!copy_blocks(&v, from, one.iov_base, part))) {
			*why = FF3_HOT_CHECKSUM;
			break;
		}
		from += (uint32_t)part;
		len -= part;
	}
	/* What was read before this was there: or else another mapping has come in between. */
	atomic_thread_fence(memory_order_acquire);
	if (UNLIKELY(atomic_load_explicit(&v.header->word, memory_order_relaxed) != word)) {
		*why = FF3_HOT_GONE;
		return 0;
	}
	if (UNLIKELY(len > 0))
		return 0;
	*c = at;
	return 1;
}

/* As copy_chunk, of whichever slot shows the chunk. */
static int read_chunk(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index, uint32_t from,
		      size_t len, struct ff3_cursor *c, bool may_wait)
{
	struct ff3_hot_entry *e = &t->entries[index & t->mask];
	struct ff3_hot_slot *slot = atomic_load_explicit(&e->slot, memory_order_acquire);
	enum ff3_hot_miss why = FF3_HOT_ABSENT;
	uint64_t word;
	int r;

	if (!slot || atomic_load_explicit(&e->key, memory_order_relaxed) != index + 1) {
		count_miss(inode->fs, why);
		return 0;
	}
	word = atomic_load_explicit(&slot->word, memory_order_acquire);
	if (word && UNLIKELY(atomic_load_explicit(&slot->window, memory_order_relaxed)))
		r = may_wait ? ff3_hot_window_read(slot, word, inode->ino, index, from, len, c, &why) :
			       HOT_LATER;
	else
		r = word ? copy_chunk(slot, word, inode->ino, index, from, len, c, &why) : 0;
	if (r == HOT_LATER)
		return 0;
	if (LIKELY(r > 0)) {
		if (!atomic_load_explicit(&slot->used, memory_order_relaxed))
			atomic_store_explicit(&slot->used, true, memory_order_relaxed);
		return r;
	}
	if (r == 0) {
		count_miss(inode->fs, why);
		if (word && why != FF3_HOT_SHORT)
			ff3_hot_drop(inode->fs, slot, word);
	}
	return r;
}

ssize_t ff3_hot_read(struct ff3_inode *inode, struct ff3_cursor *c, size_t len, uint64_t offset,
		     bool may_wait)
{
	struct ff3_hot_table *t = atomic_load_explicit(&inode->hot.table, memory_order_acquire);
	uint64_t size = atomic_load_explicit(&inode->size, memory_order_acquire);
	uint32_t chunk_size = ff3_inode_chunk_size(inode);
	struct ff3_hot_shard *s;
	size_t done = 0;
	int r = 1;

	if (!t || offset >= size)
		return 0;
	if (UNLIKELY(atomic_load_explicit(&inode->hold.n_unsynced, memory_order_relaxed) > 0)) {
		count_miss(inode->fs, FF3_HOT_UNSYNCED);
		return 0;
	}
	len = (size_t)MIN((uint64_t)len, size - offset);
	while (done < len) {
		uint64_t at = offset + done;
		uint32_t from = (uint32_t)(at & (chunk_size - 1));
		size_t part = MIN(len - done, (size_t)(chunk_size - from));

		r = read_chunk(inode, t, (uint32_t)(at >> inode->chunk_shift), from, part, c, may_wait);
		if (r <= 0)
			break;
		done += part;
	}
	if (done == 0)
		return r < 0 ? r : 0;
	s = ff3_hot_shard(inode->fs);
	atomic_fetch_add_explicit(&s->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->bytes, done, memory_order_relaxed);
	return (ssize_t)done;
}
