/* Purpose: touching the application's memory from user space without dying in it.
 *
 * Data normally go between the application's buffer and the socket, and the kernel answers EFAULT
 * for a bad one. Where the library itself must read or write it (checksums and copies of what is
 * written, zeros of holes, read-ahead), it asks first (probe.h).
 *
 * Threads: no state. Signals: async-signal-safe. */
#include "internal.h"

#include <limits.h>

int ff3_user_zero(void *p, size_t len)
{
	int r = ff3_user_writable(p, len);

	if (r == 0 && len > 0)
		memset(p, 0, len);
	return r;
}

ssize_t ff3_iov_len(const struct iovec *iov, int n)
{
	size_t sum = 0;

	if (n < 0 || n > IOV_MAX)
		return -EINVAL;
	if (n > 0 && ff3_user_readable(iov, (size_t)n * sizeof *iov) < 0)
		return -EFAULT;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > SSIZE_MAX || sum + iov[i].iov_len > SSIZE_MAX)
			return -EINVAL;
		sum += iov[i].iov_len;
	}
	return (ssize_t)MIN(sum, (size_t)RW_COUNT_MAX);
}

void ff3_cursor_skip(struct ff3_cursor *c, size_t len)
{
	while (c->n > 0 && len >= c->iov->iov_len - c->offset) {
		len -= c->iov->iov_len - c->offset;
		c->iov++;
		c->n--;
		c->offset = 0;
	}
	c->offset += len;
}

size_t ff3_cursor_take(struct ff3_cursor *c, size_t len, struct iovec *ret, int max, int *ret_n)
{
	size_t taken = 0;
	int n = 0;

	while (c->n > 0 && taken < len && n < max) {
		size_t part = MIN(c->iov->iov_len - c->offset, len - taken);

		if (part > 0) {
			ret[n].iov_base = (char *)c->iov->iov_base + c->offset;
			ret[n++].iov_len = part;
		}
		taken += part;
		ff3_cursor_skip(c, part);
		/* An empty iovec, or the end of one. */
		if (c->n > 0 && c->offset == c->iov->iov_len)
			ff3_cursor_skip(c, 0);
	}
	*ret_n = n;
	return taken;
}

EXPORT void ff3fs_memory_gone(const void *p, size_t len)
{
	ff3_rpc_memory_gone(p, len);
}

EXPORT const volatile int *ff3fs_memory_watched(void)
{
	atomic_store(&ff3_rpc_memory_promised, true);
	return (const volatile int *)&ff3_rpc_memory_watched;
}

enum direction { FROM_USER, TO_USER, ZERO_USER };

static int cursor_move(struct ff3_cursor *c, void *ours, size_t len, enum direction direction)
{
	uint8_t *p = ours;

	while (len > 0 && c->n > 0) {
		size_t part = MIN(c->iov->iov_len - c->offset, len);
		char *user = (char *)c->iov->iov_base + c->offset;

		if (direction == FROM_USER) {
			if (ff3_user_readable(user, part) < 0)
				return -EFAULT;
			if (part > 0)
				memcpy(p, user, part);
		} else {
			if (ff3_user_writable(user, part) < 0)
				return -EFAULT;
			if (direction == ZERO_USER && part > 0)
				memset(user, 0, part);
			else if (part > 0)
				memcpy(user, p, part);
		}
		if (p)
			p += part;
		len -= part;
		ff3_cursor_skip(c, part);
	}
	return len == 0 ? 0 : -EINVAL;
}

int ff3_cursor_read(struct ff3_cursor *c, void *to, size_t len)
{
	return cursor_move(c, to, len, FROM_USER);
}

int ff3_cursor_write(struct ff3_cursor *c, const void *from, size_t len)
{
	return cursor_move(c, (void *)from, len, TO_USER);
}

int ff3_cursor_zero(struct ff3_cursor *c, size_t len)
{
	return cursor_move(c, NULL, len, ZERO_USER);
}
