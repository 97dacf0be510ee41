/* Purpose: IORING_OP_ASYNC_CANCEL and its relatives for what is not in the kernel's hands. What has not
 * started is taken back. What has is a file's I/O, which the kernel would not interrupt either:
 * EALREADY. An entry that names nothing of ours goes to the kernel.
 *
 * Threads: with the ring locked. */
#include "hook.h"
#include "uring.h"

#define CANCEL_ALL 1u
#define CANCEL_BY_OTHER (2u | 4u | 8u | 32u) /* FD, ANY, FD_FIXED, OP */

static bool by_user_data(const struct io_uring_sqe *s)
{
	if (s->opcode == IORING_OP_ASYNC_CANCEL)
		return !(s->cancel_flags & CANCEL_BY_OTHER);
	return true;
}

static struct uop *find_flying(struct uring *r, uint64_t user_data)
{
	for (struct uop *op = r->flying; op; op = op->next)
		if (op->sqe.user_data == user_data)
			return op;
	return NULL;
}

/* A chain that waits for IO_DRAIN: where its first entry hangs. */
static struct uop **find_held(struct uring *r, uint64_t user_data)
{
	for (struct uop **unit = &r->held; *unit; unit = &(*unit)->unit)
		for (struct uop *op = *unit; op; op = op->link)
			if (op->sqe.user_data == user_data)
				return unit;
	return NULL;
}

bool uring_cancels(struct uring *r, const struct io_uring_sqe *s)
{
	return by_user_data(s) && (find_flying(r, s->addr) || find_held(r, s->addr));
}

/* All of a chain that has not started. */
static void take_back(struct uop *op, struct uop **post)
{
	for (; op; op = op->link) {
		uop_land(op);
		op->res = -ECANCELED;
		op->ring->n_posted++;
		op->post_next = *post;
		*post = op;
	}
}

static void take_unit_back(struct uring *r, struct uop **unit, struct uop **post)
{
	struct uop *op = *unit;

	*unit = op->unit;
	if (!*unit)
		r->held_end = unit;
	take_back(op, post);
}

bool uring_cancel(struct uring *r, struct uop *op, long *ret, struct uop **ret_post)
{
	const struct io_uring_sqe *s = &op->sqe;
	bool all = s->opcode == IORING_OP_ASYNC_CANCEL && (s->cancel_flags & CANCEL_ALL);
	struct uop **unit, *found;
	long n = 0;

	*ret_post = NULL;
	if (!by_user_data(s))
		return false;
	while ((unit = find_held(r, s->addr))) {
		take_unit_back(r, unit, ret_post);
		n++;
		if (!all)
			break;
	}
	found = n == 0 || all ? find_flying(r, s->addr) : NULL;
	if (!found && n == 0)
		return false;
	if (found && found->side) { /* the kernel has it after all, under another name */
		op->sqe.addr = (uintptr_t)found;
		return false;
	}
	*ret = all ? n + (found != NULL) : found ? -EALREADY : 0;
	return true;
}
