/* The chunk table: chunks by {inode, index}, and inodes with their chunks, in two chained hash
 * tables that double when full. About 260 bytes for an inode with
 * one chunk, 160 for each further chunk, and 4 for each of its 4 KiB blocks beyond the first.
 *
 * Threads: the store's. */
#include "store_impl.h"

#define TABLE_MIN 1024u

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

static uint64_t chunk_hash(uint64_t ino, uint32_t index)
{
	return mix(ino * 0x9e3779b97f4a7c15ull + index);
}

int chunkd_table_init(struct chunkd_store *s)
{
	s->chunks = calloc(TABLE_MIN, sizeof(struct chunkd_chunk *));
	s->inodes = calloc(TABLE_MIN, sizeof(struct chunkd_inode *));
	if (!s->chunks || !s->inodes)
		return -ENOMEM;
	s->chunks_mask = s->inodes_mask = TABLE_MIN - 1;
	return 0;
}

static void chunk_free(struct chunkd_store *s, struct chunkd_chunk *c)
{
	CHUNKD_SET(s, index_bytes, s->stats.index_bytes - sizeof *c);
	if (c->crcs != &c->crc) {
		CHUNKD_SET(s, index_bytes, s->stats.index_bytes - c->n_crcs * sizeof *c->crcs);
		free(c->crcs);
	}
	free(c);
}

void chunkd_table_done(struct chunkd_store *s)
{
	for (uint64_t i = 0; s->chunks && i <= s->chunks_mask; i++)
		for (struct chunkd_chunk *c = s->chunks[i], *next; c; c = next) {
			next = c->hash_next;
			free(c->active);
			chunk_free(s, c);
		}
	for (uint64_t i = 0; s->inodes && i <= s->inodes_mask; i++)
		for (struct chunkd_inode *inode = s->inodes[i], *next; inode; inode = next) {
			next = inode->hash_next;
			free(inode);
		}
	free(s->chunks);
	free(s->inodes);
}

/* Doubling may fail: the table is then only slower. */
static void chunks_double(struct chunkd_store *s)
{
	uint64_t mask = s->chunks_mask * 2 + 1;
	struct chunkd_chunk **to = calloc(mask + 1, sizeof(struct chunkd_chunk *));

	if (!to)
		return;
	for (uint64_t i = 0; i <= s->chunks_mask; i++)
		for (struct chunkd_chunk *c = s->chunks[i], *next; c; c = next) {
			uint64_t h = chunk_hash(c->inode->ino, c->index) & mask;

			next = c->hash_next;
			c->hash_next = to[h];
			to[h] = c;
		}
	free(s->chunks);
	s->chunks = to;
	s->chunks_mask = mask;
}

static void inodes_double(struct chunkd_store *s)
{
	uint64_t mask = s->inodes_mask * 2 + 1;
	struct chunkd_inode **to = calloc(mask + 1, sizeof(struct chunkd_inode *));

	if (!to)
		return;
	for (uint64_t i = 0; i <= s->inodes_mask; i++)
		for (struct chunkd_inode *inode = s->inodes[i], *next; inode; inode = next) {
			uint64_t h = mix(inode->ino) & mask;

			next = inode->hash_next;
			inode->hash_next = to[h];
			to[h] = inode;
		}
	free(s->inodes);
	s->inodes = to;
	s->inodes_mask = mask;
}

struct chunkd_chunk *chunkd_chunk_find(const struct chunkd_store *s, uint64_t ino, uint32_t index)
{
	struct chunkd_chunk *c = s->chunks[chunk_hash(ino, index) & s->chunks_mask];

	while (c && (c->index != index || c->inode->ino != ino))
		c = c->hash_next;
	return c;
}

struct chunkd_inode *chunkd_inode_find(const struct chunkd_store *s, uint64_t ino)
{
	struct chunkd_inode *inode = s->inodes[mix(ino) & s->inodes_mask];

	while (inode && inode->ino != ino)
		inode = inode->hash_next;
	return inode;
}

static struct chunkd_inode *inode_add(struct chunkd_store *s, uint64_t ino)
{
	struct chunkd_inode *inode = chunkd_inode_find(s, ino);
	uint64_t h;

	if (inode)
		return inode;
	inode = calloc(1, sizeof *inode);
	if (!inode)
		return NULL;
	inode->ino = ino;
	LIST_INIT(&inode->chunks);
	TAILQ_INIT(&inode->dirty);
	STAILQ_INIT(&inode->waiting);
	if (s->n_inodes > s->inodes_mask)
		inodes_double(s);
	h = mix(ino) & s->inodes_mask;
	inode->hash_next = s->inodes[h];
	s->inodes[h] = inode;
	s->n_inodes++;
	CHUNKD_SET(s, inodes, s->n_inodes);
	return inode;
}

void chunkd_inode_settle(struct chunkd_store *s, struct chunkd_inode *inode)
{
	struct chunkd_inode **p;

	if (!LIST_EMPTY(&inode->chunks) || !STAILQ_EMPTY(&inode->waiting) || inode->marked)
		return;
	for (p = &s->inodes[mix(inode->ino) & s->inodes_mask]; *p != inode; p = &(*p)->hash_next)
		;
	*p = inode->hash_next;
	free(inode);
	s->n_inodes--;
	CHUNKD_SET(s, inodes, s->n_inodes);
}

int chunkd_chunk_add(struct chunkd_store *s, uint64_t ino, uint32_t index,
		     struct chunkd_chunk **ret)
{
	struct chunkd_chunk *c = calloc(1, sizeof *c);
	struct chunkd_inode *inode = inode_add(s, ino);
	uint64_t h;

	if (!c || !inode) {
		if (inode)
			chunkd_inode_settle(s, inode);
		free(c);
		return -ENOMEM;
	}
	c->inode = inode;
	c->index = index;
	c->crcs = &c->crc;
	c->n_crcs = 1;
	LIST_INSERT_HEAD(&inode->chunks, c, sibling);
	if (s->n_chunks > s->chunks_mask)
		chunks_double(s);
	h = chunk_hash(ino, index) & s->chunks_mask;
	c->hash_next = s->chunks[h];
	s->chunks[h] = c;
	s->n_chunks++;
	CHUNKD_SET(s, chunks, s->n_chunks);
	CHUNKD_COUNT(s, index_bytes, sizeof *c);
	*ret = c;
	return 0;
}

/* Makes room for the checksums of n blocks. */
int chunkd_chunk_set_crcs(struct chunkd_store *s, struct chunkd_chunk *c, uint32_t n)
{
	uint32_t *crcs;

	if (n <= c->n_crcs)
		return 0;
	crcs = realloc(c->crcs == &c->crc ? NULL : c->crcs, n * sizeof *crcs);
	if (!crcs)
		return -ENOMEM;
	if (c->crcs == &c->crc) {
		crcs[0] = c->crc;
		c->n_crcs = 0;
	}
	CHUNKD_COUNT(s, index_bytes, (n - c->n_crcs) * sizeof *crcs);
	c->crcs = crcs;
	c->n_crcs = n;
	return 0;
}

void chunkd_chunk_detach(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_chunk **p = &s->chunks[chunk_hash(c->inode->ino, c->index) & s->chunks_mask];

	while (*p != c)
		p = &(*p)->hash_next;
	*p = c->hash_next;
	LIST_REMOVE(c, sibling);
	c->inode = NULL;
	s->n_chunks--;
	CHUNKD_SET(s, chunks, s->n_chunks);
}

int chunkd_chunk_activate(struct chunkd_chunk *c)
{
	struct chunkd_active *a;

	if (c->active)
		return 0;
	a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->chunk = c;
	STAILQ_INIT(&a->queue);
	a->dirty_lo = CHUNKD_NOT_DIRTY;
	a->disk_len = c->len;
	c->active = a;
	return 0;
}

void chunkd_chunk_settle(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_active *a = c->active;
	struct chunkd_inode *inode = c->inode;

	if (a) {
		if (a->running || !STAILQ_EMPTY(&a->queue) || a->load || a->dirty || a->item)
			return;
		if (a->reserved)
			chunkd_slabs_unreserve(s->slabs, a->reserved);
		free(a);
		c->active = NULL;
	}
	if (c->refs)
		return;
	/* A chunk that never came to be, because its first write failed. */
	if (inode && c->len == 0 && c->place == 0) {
		chunkd_chunk_detach(s, c);
		chunkd_inode_settle(s, inode);
	}
	if (!c->inode) {
		chunkd_block_disown(c->mem);
		chunk_free(s, c);
	}
}

void chunkd_chunk_unref(struct chunkd_store *s, struct chunkd_chunk *c)
{
	c->refs--;
	chunkd_chunk_settle(s, c);
}

static uint64_t reverse_bits(uint64_t v)
{
	uint64_t r = 0;

	for (int i = 0; i < 64; i++, v >>= 1)
		r = r << 1 | (v & 1);
	return r;
}

/* Buckets are visited in the order of their reversed numbers: when the table doubles, a bucket's
 * chunks go to two whose reversed numbers are neighbours, both before the cursor or both behind. */
uint64_t chunkd_store_list(const struct chunkd_store *s, uint64_t cursor, struct chunkd_listed *list,
			   size_t room, size_t *ret_n)
{
	size_t n = 0;

	do {
		size_t here = 0;

		for (struct chunkd_chunk *c = s->chunks[cursor & s->chunks_mask]; c; c = c->hash_next) {
			if (c->len == 0 && c->place == 0)
				continue; /* it never came to be */
			if (n + here < room)
				list[n + here] = (struct chunkd_listed){ c->inode->ino, c->version, c->index,
									  c->len };
			here++;
		}
		if (n + here > room && n > 0)
			break; /* another page */
		n += MIN(here, room);
		cursor |= ~s->chunks_mask;
		cursor = reverse_bits(reverse_bits(cursor) + 1);
	} while (cursor != 0 && n < room);
	*ret_n = n;
	return cursor;
}
