/* Purpose: many pieces of a file under way at once, and their results in the file's order. */
#include "pieces.h"

int pieces_init(struct pieces *p, struct ff3fs *fs, uint64_t size)
{
	int r;

	*p = (struct pieces){ 0 };
	/* One byte more than the file has, so that its end shows without another piece. */
	p->room = (size_t)MIN(size + 1, (uint64_t)PIECE_SIZE);
	p->depth = (unsigned)MIN(size / PIECE_SIZE + 1, (uint64_t)PIECES_MAX);
	r = ff3fs_batch_new(fs, p->depth, &p->batch);
	for (unsigned i = 0; r >= 0 && i < p->depth; i++) {
		p->ring[i].buf = aligned_alloc(FF3_BLOCK, ROUND_UP(p->room, (size_t)FF3_BLOCK));
		if (!p->ring[i].buf)
			r = -ENOMEM;
	}
	if (r < 0)
		pieces_done(p);
	return r;
}

void pieces_done(struct pieces *p)
{
	ff3fs_batch_free(p->batch);
	for (unsigned i = 0; i < PIECES_MAX; i++)
		free(p->ring[i].buf);
	*p = (struct pieces){ 0 };
}

struct piece *pieces_next(struct pieces *p)
{
	return &p->ring[(p->first + p->n) % p->depth];
}

static int queued(struct pieces *p, struct piece *piece, int r)
{
	if (r < 0)
		return r;
	piece->done = false;
	p->n++;
	r = ff3fs_batch_submit(p->batch);
	return MIN(r, 0);
}

int pieces_read(struct pieces *p, struct ff3fs_file *file)
{
	struct piece *piece = pieces_next(p);

	return queued(p, piece,
		      ff3fs_batch_read(p->batch, file, piece->buf, piece->len,
				       (off_t)piece->offset, piece));
}

int pieces_write(struct pieces *p, struct ff3fs_file *file)
{
	struct piece *piece = pieces_next(p);

	return queued(p, piece,
		      ff3fs_batch_write(p->batch, file, piece->buf, piece->len,
					(off_t)piece->offset, piece));
}

int pieces_take(struct pieces *p, struct piece **ret)
{
	struct piece *oldest = &p->ring[p->first];

	while (!oldest->done) {
		struct ff3fs_completion done[PIECES_MAX];
		int n = ff3fs_batch_reap(p->batch, done, 1, PIECES_MAX, NULL);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			struct piece *piece = done[i].user;

			piece->result = done[i].result;
			piece->done = true;
		}
	}
	p->first = (p->first + 1) % p->depth;
	p->n--;
	*ret = oldest;
	return 0;
}
