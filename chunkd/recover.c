/* From the index to the chunk table. Slots are not looked at: what a row says is right, since it
 * became durable after its slot, and each read verifies its bytes. Two rows for one chunk, or a
 * row for a slot that its slab does not have, mean that the index is not this directory's or is
 * damaged: the target does not start.
 *
 * Threads: the store's, before serving. */
#include "store_impl.h"

static int recover_row(void *arg, const struct chunkd_row *row)
{
	struct chunkd_store *s = arg;
	struct chunkd_chunk *c;
	uint32_t n = chunkd_n_blocks(row->len);
	int r;

	if (row->len == 0 || row->len > FF3_CHUNK_SIZE_MAX)
		return ff3_log_errno(-EUCLEAN, "%s: chunk %" PRIu64 ".%u has a length of %u", s->dir,
				     row->ino, row->index, row->len);
	if (chunkd_chunk_find(s, row->ino, row->index))
		return ff3_log_errno(-EUCLEAN, "%s: chunk %" PRIu64 ".%u is there twice", s->dir,
				     row->ino, row->index);
	r = chunkd_slabs_mark(s->slabs, row->place);
	if (r < 0 || chunkd_place_class(row->place) < chunkd_shift_for(row->len))
		return ff3_log_errno(-EUCLEAN, "%s: chunk %" PRIu64 ".%u lies in no slot", s->dir,
				     row->ino, row->index);
	r = chunkd_chunk_add(s, row->ino, row->index, &c);
	if (r == 0)
		r = chunkd_chunk_set_crcs(s, c, n);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++)
		c->crcs[i] = row->crcs[i];
	c->place = row->place;
	c->len = row->len;
	c->version = row->version;
	c->chain_version = row->chain_version;
	c->session = row->session;
	c->seq = row->seq;
	return 0;
}

int chunkd_store_recover(struct chunkd_store *s)
{
	int r = chunkd_index_load(s->index, recover_row, s);

	return r < 0 ? ff3_log_errno(r, "cannot read the index of %s", s->dir) : 0;
}
