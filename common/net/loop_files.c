/* Purpose: reading, writing and syncing files by the loop (loop.h), and what its ring was told beforehand for that:
 * memory, whose pages need no pinning each time, and files, which it then knows by a slot.
 *
 * Threads: the loop's. Fork/signal: as loop.c. */
#include "loop_priv.h"

/* The kernel's limit for one registered buffer. */
#define PIECE_SHIFT 30
#define IO_MAX 0x7ffff000u
/* Of reads: so many reach the disk together, and it is at work on them while the next ones are prepared. */
#define SUBMIT_AT 8u

/* With room for more behind it, where the kernel can. */
static int register_all(struct ff3_loop *loop, const struct iovec *iov, unsigned n)
{
	struct ff3_loop_files *files = ff3_loop_files(loop);
	struct io_uring *ring = ff3_loop_ring(loop);
	_cleanup_free_ __u64 *tags = calloc(n, sizeof *tags);
	int r;

	if (!tags || io_uring_register_buffers_sparse(ring, n + FF3_LENT_SLOTS) < 0)
		return io_uring_register_buffers(ring, iov, n);
	r = io_uring_register_buffers_update_tag(ring, 0, iov, tags, n);
	if (r != (int)n) {
		io_uring_unregister_buffers(ring);
		return r < 0 ? r : -ENOMEM;
	}
	files->first_lent = n;
	files->n_lent_slots = FF3_LENT_SLOTS;
	return 0;
}

int ff3_loop_register_memory(struct ff3_loop *loop, void *base, size_t size)
{
	struct ff3_loop_files *files = ff3_loop_files(loop);
	size_t n = (size + ((size_t)1 << PIECE_SHIFT) - 1) >> PIECE_SHIFT;
	_cleanup_free_ struct iovec *iov = calloc(n, sizeof *iov);
	int r;

	if (!iov)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		size_t start = i << PIECE_SHIFT;

		iov[i].iov_base = (char *)base + start;
		iov[i].iov_len = MIN(size - start, (size_t)1 << PIECE_SHIFT);
	}
	r = register_all(loop, iov, (unsigned)n);
	if (r == -EFAULT || r == -EINVAL)
		return r;
	if (r == 0) {
		files->memory = base;
		files->memory_size = size;
	}
	return 0;
}

/* The registered buffer that holds [buf, buf + len), or -1. */
static int buffer_index(const struct ff3_loop_files *files, const void *buf, size_t len)
{
	size_t offset = (size_t)((const char *)buf - files->memory);

	if (!files->memory || (const char *)buf < files->memory || offset >= files->memory_size ||
	    len > files->memory_size - offset || len == 0 ||
	    offset >> PIECE_SHIFT != (offset + len - 1) >> PIECE_SHIFT)
		return -1;
	return (int)(offset >> PIECE_SHIFT);
}

static int grow_slots(struct ff3_loop_files *files, int fd)
{
	size_t n = MAX((size_t)fd + 1, files->n_slot_of_fd * 2);
	int *p;

	if ((size_t)fd < files->n_slot_of_fd)
		return 0;
	p = realloc(files->slot_of_fd, n * sizeof *p);
	if (!p)
		return -ENOMEM;
	for (size_t i = files->n_slot_of_fd; i < n; i++)
		p[i] = -1;
	files->slot_of_fd = p;
	files->n_slot_of_fd = n;
	return 0;
}

int ff3_loop_register_file(struct ff3_loop *loop, int fd)
{
	struct ff3_loop_files *files = ff3_loop_files(loop);
	struct io_uring *ring = ff3_loop_ring(loop);
	int r;

	if (!files->registered) {
		r = io_uring_register_files_sparse(ring, FF3_LOOP_FILES);
		if (r < 0)
			return r;
		files->registered = true;
		for (size_t i = 0; i < FF3_LOOP_FILES; i++)
			files->fd_of_slot[i] = -1;
	}
	r = grow_slots(files, fd);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < FF3_LOOP_FILES; i++) {
		if (files->fd_of_slot[i] >= 0)
			continue;
		r = io_uring_register_files_update(ring, i, &fd, 1);
		if (r < 0)
			return r;
		files->fd_of_slot[i] = fd;
		files->slot_of_fd[fd] = (int)i;
		return 0;
	}
	return -EMFILE;
}

void ff3_loop_unregister_file(struct ff3_loop *loop, int fd)
{
	struct ff3_loop_files *files = ff3_loop_files(loop);
	int none = -1, slot;

	if (fd < 0 || (size_t)fd >= files->n_slot_of_fd || files->slot_of_fd[fd] < 0)
		return;
	slot = files->slot_of_fd[fd];
	files->slot_of_fd[fd] = -1;
	/* Entries that name the slot must reach the kernel while it is still this file. */
	ff3_loop_submit(loop);
	if (io_uring_register_files_update(ff3_loop_ring(loop), (unsigned)slot, &none, 1) >= 0)
		files->fd_of_slot[slot] = -1;
}

static void use_slot(const struct ff3_loop_files *files, struct io_uring_sqe *sqe, int fd)
{
	if ((size_t)fd < files->n_slot_of_fd && files->slot_of_fd[fd] >= 0) {
		sqe->fd = files->slot_of_fd[fd];
		sqe->flags |= IOSQE_FIXED_FILE;
	}
}

void ff3_loop_read(struct ff3_loop *loop, int fd, void *buf, size_t len, uint64_t offset,
		   struct ff3_io *io)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(loop);
	unsigned n = (unsigned)MIN(len, (size_t)IO_MAX);
	int index = buffer_index(ff3_loop_files(loop), buf, n);

	if (index < 0)
		index = ff3_loop_lent_index(loop, buf, n);
	if (index >= 0)
		io_uring_prep_read_fixed(sqe, fd, buf, n, offset, index);
	else
		io_uring_prep_read(sqe, fd, buf, n, offset);
	use_slot(ff3_loop_files(loop), sqe, fd);
	ff3_loop_sqe_done(sqe, io);
	if (io_uring_sq_ready(ff3_loop_ring(loop)) >= SUBMIT_AT)
		ff3_loop_submit(loop);
}

void ff3_loop_write(struct ff3_loop *loop, int fd, const void *buf, size_t len, uint64_t offset,
		    struct ff3_io *io)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(loop);
	unsigned n = (unsigned)MIN(len, (size_t)IO_MAX);
	int index = buffer_index(ff3_loop_files(loop), buf, n);

	if (index >= 0)
		io_uring_prep_write_fixed(sqe, fd, buf, n, offset, index);
	else
		io_uring_prep_write(sqe, fd, buf, n, offset);
	use_slot(ff3_loop_files(loop), sqe, fd);
	ff3_loop_sqe_done(sqe, io);
}

void ff3_loop_fdatasync(struct ff3_loop *loop, int fd, struct ff3_io *io)
{
	struct io_uring_sqe *sqe = ff3_loop_sqe(loop);

	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	use_slot(ff3_loop_files(loop), sqe, fd);
	ff3_loop_sqe_done(sqe, io);
}
