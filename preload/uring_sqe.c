/* Purpose: which entries of a submission queue are ours, and what becomes of the queue before the
 * kernel gets it.
 *
 * A unit is a single entry or a chain of linked ones. A unit with an entry of ours is taken as a whole, and
 * while units are held back for IO_DRAIN, every unit is. What is taken is copied, and its entry
 * becomes a NOP without a completion.
 *
 * Threads: with the ring locked, by who submits. */
#include "hook.h"
#include "syscalls.h"
#include "uring.h"

/* --- Whose is it? -------------------------------------------------------------------------- */

long uring_as_syscall(const struct io_uring_sqe *s, int fd, long a[6])
{
#define CALL_IS(number, a0, a1, a2, a3, a4)                                                        \
	(a[0] = (long)(a0), a[1] = (long)(a1), a[2] = (long)(a2), a[3] = (long)(a3),               \
	 a[4] = (long)(a4), a[5] = 0, (number))
	switch (s->opcode) {
	case IORING_OP_SYNC_FILE_RANGE:
		return CALL_IS(SYS_sync_file_range, fd, s->off, s->len, s->sync_range_flags, 0);
	case IORING_OP_FALLOCATE:
		return CALL_IS(SYS_fallocate, fd, (int)s->len, s->off, s->addr, 0);
	case IORING_OP_FADVISE:
		return CALL_IS(SYS_fadvise64, fd, s->off, s->addr ? s->addr : s->len,
			       (int)s->fadvise_advice, 0);
	case URING_OP_FTRUNCATE:
		return CALL_IS(SYS_ftruncate, fd, s->off, 0, 0, 0);
	case IORING_OP_OPENAT:
		return CALL_IS(SYS_openat, fd, s->addr, (int)s->open_flags, s->len, 0);
	case IORING_OP_OPENAT2:
		return CALL_IS(SYS_openat2, fd, s->addr, s->addr2, s->len, 0);
	case IORING_OP_STATX:
		return CALL_IS(SYS_statx, fd, s->addr, (int)s->statx_flags, s->len, s->addr2);
	case IORING_OP_UNLINKAT:
		return CALL_IS(SYS_unlinkat, fd, s->addr, (int)s->unlink_flags, 0, 0);
	case IORING_OP_MKDIRAT:
		return CALL_IS(SYS_mkdirat, fd, s->addr, s->len, 0, 0);
	case IORING_OP_SYMLINKAT:
		return CALL_IS(SYS_symlinkat, s->addr, fd, s->addr2, 0, 0);
	case IORING_OP_RENAMEAT:
		return CALL_IS(SYS_renameat2, fd, s->addr, (int)s->len, s->addr2, s->rename_flags);
	case IORING_OP_LINKAT:
		return CALL_IS(SYS_linkat, fd, s->addr, (int)s->len, s->addr2, (int)s->hardlink_flags);
	case IORING_OP_FSETXATTR:
		return CALL_IS(SYS_fsetxattr, fd, s->addr, s->addr2, s->len, (int)s->xattr_flags);
	case IORING_OP_SETXATTR:
		return CALL_IS(SYS_setxattr, s->addr3, s->addr, s->addr2, s->len, (int)s->xattr_flags);
	case IORING_OP_FGETXATTR:
		return CALL_IS(SYS_fgetxattr, fd, s->addr, s->addr2, s->len, 0);
	case IORING_OP_GETXATTR:
		return CALL_IS(SYS_getxattr, s->addr3, s->addr, s->addr2, s->len, 0);
	}
	return -1;
#undef CALL_IS
}

static bool file_is_ours(struct uring *r, int fd, bool fixed)
{
	struct ofd *o;
	int is;

	if (fixed)
		return (unsigned)fd < r->n_files && r->files[fd].ofd;
	is = fdtab_get(fd, &o);
	if (is > 0)
		ofd_unref(o);
	return is != 0;
}

static bool readable_paths(const struct io_uring_sqe *s)
{
	switch (s->opcode) {
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT:
		return string_readable((const char *)(uintptr_t)s->addr) &&
		       string_readable((const char *)(uintptr_t)s->addr2);
	case IORING_OP_SETXATTR:
	case IORING_OP_GETXATTR:
		return string_readable((const char *)(uintptr_t)s->addr3);
	}
	return string_readable((const char *)(uintptr_t)s->addr);
}

/* By what the path says, or where a link leads. */
static bool path_is_ours(struct uring *r, const struct io_uring_sqe *s)
{
	long a[6], number = uring_as_syscall(s, s->fd, a);
	const char *path = (const char *)(uintptr_t)s->addr;
	struct where w;
	int saved = errno, linked;

	if (s->opcode == IORING_OP_STATX && (s->statx_flags & AT_EMPTY_PATH) &&
	    file_is_ours(r, s->fd, false))
		return true;
	if (!readable_paths(s))
		return false;
	if (s->opcode == IORING_OP_OPENAT || s->opcode == IORING_OP_OPENAT2) {
		if (where_is_ours(s->fd, path))
			return true;
		errno = ENOENT;
		linked = where_through_links(&w, s->fd, path, 0);
		errno = saved;
		return linked != 0;
	}
	return syscall_is_ours(number, a) || syscall_is_linked(number, a);
}

static bool closes_ours(struct uring *r, const struct io_uring_sqe *s)
{
	if (s->file_index)
		return file_is_ours(r, (int)s->file_index - 1, true);
	return file_is_ours(r, s->fd, false) || fdtab_is_internal(s->fd);
}

/* Whose argument fd is; the kernel says EINVAL to the others in a ring with IOPOLL. */
bool uring_transfers(uint8_t opcode)
{
	switch (opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
	case URING_OP_READV_FIXED:
	case URING_OP_WRITEV_FIXED:
		return true;
	}
	return false;
}

bool uring_is_ours(struct uring *r, const struct io_uring_sqe *s)
{
	bool fixed = s->flags & IOSQE_FIXED_FILE;

	if (uring_transfers(s->opcode))
		return file_is_ours(r, s->fd, fixed);
	if (r->setup & IORING_SETUP_IOPOLL)
		return false;
	switch (s->opcode) {
	case IORING_OP_FSYNC:
	case IORING_OP_SYNC_FILE_RANGE:
	case IORING_OP_FALLOCATE:
	case IORING_OP_FADVISE:
	case URING_OP_FTRUNCATE:
	case IORING_OP_FSETXATTR:
	case IORING_OP_FGETXATTR:
		return file_is_ours(r, s->fd, fixed);
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
		return file_is_ours(r, s->fd, fixed) ||
		       file_is_ours(r, s->splice_fd_in, s->splice_flags & URING_SPLICE_IN_FIXED);
	case IORING_OP_CLOSE:
		return closes_ours(r, s);
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_STATX:
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_SYMLINKAT:
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
	case IORING_OP_SETXATTR:
	case IORING_OP_GETXATTR:
		return path_is_ours(r, s);
	case IORING_OP_ASYNC_CANCEL:
	case IORING_OP_POLL_REMOVE:
	case IORING_OP_TIMEOUT_REMOVE:
		return r->used && uring_cancels(r, s);
	}
	return false;
}

/* --- What passes --------------------------------------------------------------------------- */

/* Has it exactly one completion? */
static bool countable(const struct io_uring_sqe *s)
{
	if (s->flags & IOSQE_CQE_SKIP_SUCCESS)
		return false;
	switch (s->opcode) {
	case IORING_OP_POLL_ADD:
		return s->len == 0; /* IORING_POLL_ADD_MULTI and updates */
	case IORING_OP_ACCEPT:
	case IORING_OP_SEND:
	case IORING_OP_RECV:
	case IORING_OP_SENDMSG:
	case IORING_OP_RECVMSG:
		return s->ioprio == 0; /* multishot, bundles */
	case IORING_OP_TIMEOUT:
		return !(s->timeout_flags & 1u << 6);
	}
	return s->opcode <= IORING_OP_SOCKET;
}

/* The kernel serves these too; their effect on what is registered is noted. */
static void files_update(struct uring *r, const struct io_uring_sqe *s)
{
	_cleanup_free_ int *fds = s->len <= r->n_files ? calloc(s->len + 1, sizeof *fds) : NULL;

	if (fds && memory_copy_in(fds, (const void *)(uintptr_t)s->addr, s->len * sizeof *fds))
		uring_files_set(r, (unsigned)s->off, fds, s->len);
}

static void pass(struct uring *r, const struct io_uring_sqe *s)
{
	r->n_native++;
	if (!countable(s))
		r->uncountable = true;
	if (s->flags & IOSQE_IO_DRAIN) {
		r->native_drain = true;
		r->drain_mark = r->n_native;
	}
	if (s->opcode == IORING_OP_FILES_UPDATE && r->n_files > 0)
		files_update(r, s);
}

/* --- Taking -------------------------------------------------------------------------------- */

static struct io_uring_sqe *entry(struct uring *r, uint32_t at)
{
	uint32_t i = at & (r->sq_entries - 1);

	if (r->array)
		i = __atomic_load_n(&r->array[i], __ATOMIC_RELAXED);
	return i < r->sq_entries ? (struct io_uring_sqe *)(r->sqes + i * r->sqe_size) : NULL;
}

static void blank(struct io_uring_sqe *s, bool single)
{
	uint8_t close = s->opcode;
	uint32_t index = s->file_index;

	memset(s, 0, sizeof *s);
	s->flags = IOSQE_CQE_SKIP_SUCCESS;
	s->opcode = IORING_OP_NOP;
	/* The kernel's table loses the file, too. */
	if (close == IORING_OP_CLOSE && index && single)
		s->opcode = IORING_OP_CLOSE, s->file_index = index;
}

/* The first of them; NULL if there is no memory, and the queue is as it was. */
static struct uop *take(struct uring *r, uint32_t from, uint32_t end)
{
	struct uop *first = NULL, **next = &first, *op;
	bool drain = false;

	for (uint32_t at = from; at != end; at++) {
		op = uop_new(r);
		if (!op) {
			uop_discard(first);
			return NULL;
		}
		memcpy(&op->sqe, entry(r, at), sizeof op->sqe);
		uring_import(op);
		drain = drain || (op->sqe.flags & IOSQE_IO_DRAIN);
		*next = op;
		next = &op->link;
	}
	for (uint32_t at = from; at != end; at++)
		blank(entry(r, at), !first->link);
	first->drain = drain;
	return first;
}

static struct uop *take_unit(struct uring *r, uint32_t from, uint32_t end)
{
	struct uop *unit;

	if (uring_post_ready(r) < 0)
		return NULL;
	unit = take(r, from, end);
	if (!unit)
		return NULL;
	r->used = true;
	if (unit->drain && r->uncountable && unit->bad == 0) {
		unit->bad = -EOPNOTSUPP; /* the kernel's answer after CQE_SKIP_SUCCESS, too */
		unit->drain = false;
	}
	if (unit->drain)
		unit->natives_max = 0;
	else if (r->native_drain && !r->uncountable)
		unit->natives_max = r->n_native - r->drain_mark;
	r->native_drain = false;
	*r->held_end = unit;
	r->held_end = &unit->unit;
	return unit;
}

/* The end of the unit that begins here; NULL in *ret_ours if the kernel will drop an entry. */
static uint32_t unit_end(struct uring *r, uint32_t from, uint32_t end, bool *ret_ours, bool *ret_drain)
{
	uint32_t at = from;
	bool more = true;

	*ret_ours = *ret_drain = false;
	for (; at != end && more; at++) {
		struct io_uring_sqe *s = entry(r, at);

		if (!s) {
			*ret_ours = *ret_drain = false;
			return at + 1;
		}
		more = s->flags & URING_LINKS;
		*ret_drain = *ret_drain || (s->flags & IOSQE_IO_DRAIN);
		*ret_ours = *ret_ours || uring_is_ours(r, s);
	}
	return at;
}

/* It counts completions from when the kernel starts it: ours must not be there before. */
static bool counts(const struct io_uring_sqe *s)
{
	return s->opcode == IORING_OP_TIMEOUT && s->off != 0;
}

struct uop *uring_prepare(struct uring *r, uint32_t end)
{
	struct uop *work = NULL, **last = &work;
	bool ours, drain, after = false;

	while (r->seen != end) {
		uint32_t from = r->seen, next = unit_end(r, from, end, &ours, &drain);

		r->seen = next;
		if ((ours || r->held || r->barrier || (drain && r->used)) &&
		    take_unit(r, from, next)) {
			for (*last = uring_advance(r); *last; last = &(*last)->work)
				;
			continue;
		}
		for (uint32_t at = from; at != next; at++)
			if (entry(r, at)) {
				after = after || counts(entry(r, at));
				pass(r, entry(r, at));
			}
	}
	uring_unlock(r);
	if (after)
		return work;
	uring_run(work);
	return NULL;
}
