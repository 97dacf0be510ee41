/* Purpose: takes over what an entry of a submission queue points to, because the application may
 * reuse it as soon as its call returns (IORING_FEAT_SUBMIT_STABLE), and finds the errors that the kernel
 * finds before it starts an entry. The pointers of the copied entry then lead to the copies. Data are
 * not copied.
 *
 * Threads, fork, signals: no state. */
#include "hook.h"
#include "uring.h"

/* --- Copies -------------------------------------------------------------------------------- */

static int keep(struct uop *op, void *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(op->memory); i++)
		if (!op->memory[i]) {
			op->memory[i] = p;
			return 0;
		}
	free(p);
	return -ENOMEM;
}

static bool readable(const char *p, size_t n)
{
	for (size_t at = 0; at < n; at += 4096)
		if (!memory_readable(p + at))
			return false;
	return n == 0 || memory_readable(p + n - 1);
}

static int copy_bytes(struct uop *op, void *to, __u64 *from, size_t n)
{
	const char *p = (const char *)(uintptr_t)*from;
	void *own = to ? to : malloc(n ? n : 1);
	int r = 0;

	if (!own)
		return -ENOMEM;
	if (!to)
		r = keep(op, own);
	if (r < 0)
		return r;
	if (!readable(p, n))
		return -EFAULT;
	memcpy(own, p, n);
	*from = (uintptr_t)own;
	return 0;
}

static int copy_string(struct uop *op, __u64 *from)
{
	const char *s = (const char *)(uintptr_t)*from;
	size_t len;

	if (!string_readable(s))
		return -EFAULT;
	len = strnlen(s, PATH_MAX);
	return len == PATH_MAX ? -ENAMETOOLONG : copy_bytes(op, NULL, from, len + 1);
}

static int copy_vector(struct uop *op, __u64 *from, uint32_t n)
{
	struct iovec *iov = n <= ARRAY_SIZE(op->few) ? op->few : NULL;
	size_t sum = 0;
	int r;

	if (n > IOV_MAX)
		return -EINVAL;
	r = copy_bytes(op, iov, from, n * sizeof *iov);
	iov = (struct iovec *)(uintptr_t)*from;
	for (uint32_t i = 0; i < n && r == 0; i++) {
		if ((ssize_t)iov[i].iov_len < 0 || iov[i].iov_len > SSIZE_MAX - sum)
			return -EINVAL;
		sum += iov[i].iov_len;
	}
	return r;
}

/* --- Errors that are seen first ------------------------------------------------------------ */

#define NO_ADDR 1u
#define NO_LEN 2u
#define NO_OFF 4u
#define NO_FLAGS 8u
#define NO_BUF 16u
#define NO_SPLICE 32u
#define NO_FIXED 64u
#define NO_ADDR3 128u

/* Which fields of an operation must be zero. */
static unsigned must_be_zero(uint8_t opcode)
{
	switch (opcode) {
	case IORING_OP_FSYNC:
	case IORING_OP_SYNC_FILE_RANGE:
		return NO_ADDR | NO_BUF | NO_SPLICE;
	case IORING_OP_FALLOCATE:
		return NO_FLAGS | NO_BUF | NO_SPLICE;
	case IORING_OP_FADVISE:
		return NO_BUF | NO_SPLICE;
	case URING_OP_FTRUNCATE:
		return NO_FLAGS | NO_ADDR | NO_LEN | NO_BUF | NO_SPLICE | NO_ADDR3;
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		return NO_BUF | NO_FIXED;
	case IORING_OP_CLOSE:
		return NO_OFF | NO_ADDR | NO_LEN | NO_FLAGS | NO_BUF | NO_FIXED;
	case IORING_OP_STATX:
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
		return NO_BUF | NO_SPLICE | NO_FIXED;
	case IORING_OP_UNLINKAT:
		return NO_OFF | NO_LEN | NO_BUF | NO_SPLICE | NO_FIXED;
	case IORING_OP_MKDIRAT:
		return NO_OFF | NO_FLAGS | NO_BUF | NO_SPLICE | NO_FIXED;
	case IORING_OP_SYMLINKAT:
		return NO_LEN | NO_FLAGS | NO_BUF | NO_SPLICE | NO_FIXED;
	case IORING_OP_SETXATTR:
	case IORING_OP_GETXATTR:
		return NO_FIXED;
	}
	return 0;
}

/* Calls that have no priority. */
static bool is_file_call(const struct io_uring_sqe *s)
{
	long a[6];

	return s->opcode == IORING_OP_FSYNC || s->opcode == IORING_OP_SPLICE || s->opcode == IORING_OP_TEE ||
	       s->opcode == IORING_OP_CLOSE || uring_as_syscall(s, s->fd, a) >= 0;
}

/* What only a transfer has. */
static int check_transfer(const struct io_uring_sqe *s)
{
	uint64_t attributes = s->__pad2[0]; /* of protection information, which a file does not have */

	if (s->ioprio >> 13 > 3)
		return -EINVAL;
	if (attributes)
		return attributes == 1 && !memory_readable((const void *)(uintptr_t)s->addr3) ? -EFAULT : -EINVAL;
	return 0;
}

static int check_fields(const struct io_uring_sqe *s)
{
	unsigned zero = must_be_zero(s->opcode);

	if (s->flags & ~0x7fu)
		return -EINVAL;
	if (uring_transfers(s->opcode))
		return check_transfer(s);
	if (s->ioprio && is_file_call(s))
		return -EINVAL;
	if ((zero & NO_FIXED) && (s->flags & IOSQE_FIXED_FILE))
		return -EBADF;
	if (((zero & NO_ADDR) && s->addr) || ((zero & NO_LEN) && s->len) ||
	    ((zero & NO_OFF) && s->off) || ((zero & NO_FLAGS) && s->rw_flags) ||
	    ((zero & NO_BUF) && s->buf_index) || ((zero & NO_SPLICE) && s->splice_fd_in) ||
	    ((zero & NO_ADDR3) && s->addr3))
		return -EINVAL;
	switch (s->opcode) {
	case IORING_OP_FSYNC:
		return (s->fsync_flags & ~(unsigned)IORING_FSYNC_DATASYNC) || (int64_t)s->off < 0 ? -EINVAL : 0;
	case IORING_OP_UNLINKAT:
		return s->unlink_flags & ~(unsigned)AT_REMOVEDIR ? -EINVAL : 0;
	case IORING_OP_CLOSE:
		return s->file_index && s->fd ? -EINVAL : 0;
	case IORING_OP_GETXATTR:
	case IORING_OP_FGETXATTR:
		return s->xattr_flags ? -EINVAL : 0;
	}
	return 0;
}

/* --- By operation -------------------------------------------------------------------------- */

static int import_value(struct uop *op)
{
	struct io_uring_sqe *s = &op->sqe;
	int r = copy_string(op, &s->addr);

	if (r < 0 || s->len == 0)
		return r;
	return s->len > 65536 ? -E2BIG : copy_bytes(op, NULL, &s->addr2, s->len);
}

/* What a program knows of openat2 that we do not must be zero. */
static int import_how(struct uop *op)
{
	struct io_uring_sqe *s = &op->sqe;
	const char *p = (const char *)(uintptr_t)s->addr2;
	size_t n = s->len;
	int r;

	if (n < sizeof op->how)
		return -EINVAL;
	if (n > 4096)
		return -E2BIG;
	if (!readable(p, n))
		return -EFAULT;
	for (size_t i = sizeof op->how; i < n; i++)
		if (p[i])
			return -E2BIG;
	r = copy_bytes(op, op->how, &s->addr2, sizeof op->how);
	s->len = sizeof op->how;
	return r;
}

static int import(struct uop *op)
{
	struct io_uring_sqe *s = &op->sqe;
	int r = 0;

	switch (s->opcode) {
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case URING_OP_READV_FIXED:
	case URING_OP_WRITEV_FIXED:
		return s->flags & IOSQE_BUFFER_SELECT ? 0 : copy_vector(op, &s->addr, s->len);
	case IORING_OP_OPENAT2:
		r = import_how(op);
		return r < 0 ? r : copy_string(op, &s->addr);
	case IORING_OP_STATX:
		return s->addr || !(s->statx_flags & AT_EMPTY_PATH) ? copy_string(op, &s->addr) : 0;
	case IORING_OP_OPENAT:
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_FGETXATTR:
		return copy_string(op, &s->addr);
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT:
		r = copy_string(op, &s->addr);
		return r < 0 ? r : copy_string(op, &s->addr2);
	case IORING_OP_FSETXATTR:
		return import_value(op);
	case IORING_OP_SETXATTR:
		r = import_value(op);
		return r < 0 ? r : copy_string(op, &s->addr3);
	case IORING_OP_GETXATTR:
		r = copy_string(op, &s->addr);
		return r < 0 ? r : copy_string(op, &s->addr3);
	case IORING_OP_TIMEOUT:
	case IORING_OP_LINK_TIMEOUT:
		return copy_bytes(op, NULL, &s->addr, sizeof(struct __kernel_timespec));
	}
	return 0;
}

void uring_import(struct uop *op)
{
	op->bad = check_fields(&op->sqe);
	if (op->bad == 0)
		op->bad = import(op);
}
