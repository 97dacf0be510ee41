/* Purpose: memory of the connections over shared memory, to which the daemon reads from the disk: what is read to again
 * and again is registered with the loop's ring, so that the kernel need not look up and pin its pages each time, which
 * is a third of what it does for a read of 1 MiB.
 *
 * In pieces, when LENT_WORTH bytes have been read to one: so what is pinned has been used, and a client that reads
 * little costs nothing. There are LENT_SLOTS pieces for a loop; who finds none free reads as before, and so does
 * everybody where the kernel has no sparse tables or RLIMIT_MEMLOCK is reached.
 *
 * The regions are a list, the last used in front, of which LENT_STEPS are looked at.
 *
 * Threads: the loop's, or the one that has its memory when that is gone. Fork/signal: as loop.c. */
#include "loop_priv.h"

/* Smaller reads have one page, or a few. */
#define LENT_READ_MIN (16u * 1024u)
/* So many bytes, of large reads. */
#define LENT_WORTH ((uint32_t)(2 * FF3_LENT_PIECE))
#define LENT_STEPS 16u

enum { NO_SLOT = -1, REFUSED = -2 };

void ff3_loop_lend(struct ff3_loop *loop, struct ff3_lent *l, void *base, size_t size)
{
	*l = (struct ff3_lent){ .loop = loop, .base = base, .size = MIN(size, FF3_LENT_PIECE * ARRAY_SIZE(l->slot)) };
	for (size_t i = 0; i < ARRAY_SIZE(l->slot); i++)
		l->slot[i] = NO_SLOT;
	LIST_INSERT_HEAD(&ff3_loop_files(loop)->lent, l, link);
}

/* Nothing of the ring refers to it. Whether the slot is emptied does not matter to who takes it next. */
static void give_slot(struct ff3_loop *loop, int slot)
{
	struct iovec none = { NULL, 0 };

	(void)io_uring_register_buffers_update_tag(ff3_loop_ring(loop), ff3_loop_files(loop)->first_lent + (unsigned)slot,
						   &none, &(__u64){ 0 }, 1);
	ff3_loop_files(loop)->lent_slots[slot] = false;
}

void ff3_loop_take_back(struct ff3_lent *l)
{
	if (!l->loop)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(l->slot); i++)
		if (l->slot[i] >= 0)
			give_slot(l->loop, l->slot[i]);
	LIST_REMOVE(l, link);
	l->loop = NULL;
}

void ff3_loop_lent_forget(struct ff3_loop *loop)
{
	struct ff3_lent *l;

	while ((l = LIST_FIRST(&ff3_loop_files(loop)->lent))) {
		LIST_REMOVE(l, link);
		l->loop = NULL;
	}
}

static int find_slot(const struct ff3_loop_files *files)
{
	for (unsigned i = 0; i < files->n_lent_slots; i++)
		if (!files->lent_slots[i])
			return (int)i;
	return NO_SLOT;
}

static int register_piece(struct ff3_lent *l, size_t piece)
{
	struct ff3_loop_files *files = ff3_loop_files(l->loop);
	size_t at = piece * FF3_LENT_PIECE;
	struct iovec iov = { l->base + at, MIN(FF3_LENT_PIECE, l->size - at) };
	int slot = find_slot(files);

	/* Perhaps there will be one. */
	if (slot < 0)
		return NO_SLOT;
	if (io_uring_register_buffers_update_tag(ff3_loop_ring(l->loop), files->first_lent + (unsigned)slot, &iov,
						 &(__u64){ 0 }, 1) != 1)
		return REFUSED;
	files->lent_slots[slot] = true;
	return slot;
}

static int slot_for(struct ff3_lent *l, size_t offset, size_t len)
{
	size_t piece = offset / FF3_LENT_PIECE;

	if (len > l->size - offset || piece != (offset + len - 1) / FF3_LENT_PIECE)
		return NO_SLOT;
	if (l->slot[piece] == NO_SLOT && (l->used[piece] += (uint32_t)len) >= LENT_WORTH) {
		l->used[piece] = 0;
		l->slot[piece] = register_piece(l, piece);
	}
	return l->slot[piece];
}

int ff3_loop_lent_index(struct ff3_loop *loop, const void *buf, size_t len)
{
	struct ff3_loop_files *files = ff3_loop_files(loop);
	struct ff3_lent *l = LIST_FIRST(&files->lent);
	int slot;

	if (len < LENT_READ_MIN || files->n_lent_slots == 0)
		return -1;
	for (unsigned i = 0; l && i < LENT_STEPS; i++, l = LIST_NEXT(l, link)) {
		size_t offset = (size_t)((const char *)buf - l->base);

		if ((const char *)buf < l->base || offset >= l->size)
			continue;
		if (i > 0) {
			LIST_REMOVE(l, link);
			LIST_INSERT_HEAD(&files->lent, l, link);
		}
		slot = slot_for(l, offset, len);
		return slot >= 0 ? (int)files->first_lent + slot : -1;
	}
	return -1;
}
