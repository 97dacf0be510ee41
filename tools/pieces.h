/* The pieces of one file under way: a ring of buffers, first in, first out, over a batch.
 * Threads: one. Buffers stay valid until pieces_next takes them again. */
#pragma once

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

/* A file is moved in pieces of this size, this many at once. */
#define PIECE_SIZE ((size_t)FF3_MIB(1))
#define PIECES_MAX 8u

struct piece {
	void *buf;
	size_t len;
	uint64_t offset;
	ssize_t result; /* of reading or writing it */
	bool done;
};

struct pieces {
	struct ff3fs_batch *batch;
	struct piece ring[PIECES_MAX];
	unsigned depth;    /* pieces that have a buffer */
	unsigned first, n; /* those under way, or done and not yet taken */
	size_t room;       /* of each buffer */
};

/* size: the file's, or how much there may be: small files take little memory. */
int pieces_init(struct pieces *p, struct ff3fs *fs, uint64_t size);
/* Waits for what is under way. Accepts zeros. */
void pieces_done(struct pieces *p);
static inline bool pieces_full(const struct pieces *p)
{
	return p->n == p->depth;
}
/* The next free one, with room bytes for its user to fill. Not when full. */
struct piece *pieces_next(struct pieces *p);
/* Reads or writes piece->len bytes at piece->offset: the one that pieces_next gave. */
int pieces_read(struct pieces *p, struct ff3fs_file *file);
int pieces_write(struct pieces *p, struct ff3fs_file *file);
/* Waits for the oldest and takes it out of the ring. Not when n is 0. */
int pieces_take(struct pieces *p, struct piece **ret);
