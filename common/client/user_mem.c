/* Purpose: touching the application's memory from user space without dying in it.
 *
 * Data normally go between the application's buffer and the socket, and the kernel answers EFAULT
 * for a bad one. Where the library itself must read or write it (checksums and copies of what is
 * written, zeros of holes, read-ahead), it asks first: madvise(MADV_POPULATE_*) walks the page
 * table (0.2 us for 4 KiB, 8 us for 1 MiB, measured) and fails for what cannot be touched. It also
 * fails where touching would work (a stack that has not grown yet, device memory, kernels before
 * 5.14); then one cheap system call per page that copies from or to the page decides.
 *
 * Memory that is unmapped by another thread between question and use is not protected against.
 *
 * Threads: no state. Signals: async-signal-safe. */
#include "internal.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE 4096u

/* rt_sigprocmask copies the set in before it looks at an impossible `how`. */
static bool page_readable(const void *p)
{
	uintptr_t word = (uintptr_t)p & ~(uintptr_t)7;
	int saved = errno;
	/* No set at all would be fine with it. */
	bool bad = word == 0 ||
		   (syscall(SYS_rt_sigprocmask, ~0, word, NULL, 8) < 0 && errno == EFAULT);

	errno = saved;
	return !bad;
}

static bool page_writable(void *p)
{
	int saved = errno;
	bool bad = getrandom(p, 1, 0) < 0 && errno == EFAULT;

	errno = saved;
	return !bad;
}

static bool populate(const void *p, size_t len, int advice)
{
	uintptr_t from = (uintptr_t)p & ~(uintptr_t)(PAGE - 1);
	uintptr_t to = (uintptr_t)p + len;
	int saved = errno;
	bool ok;

	if (to < (uintptr_t)p || to > UINTPTR_MAX - PAGE)
		return false;
	to = ROUND_UP(to, (uintptr_t)PAGE);
	ok = madvise((void *)from, to - from, advice) == 0;
	errno = saved;
	return ok;
}

int ff3_user_readable(const void *p, size_t len)
{
	uintptr_t at = (uintptr_t)p, end = at + len;

	if (len == 0)
		return 0;
	if (end < at)
		return -EFAULT;
	if (populate(p, len, MADV_POPULATE_READ))
		return 0;
	for (; at < end; at = (at | (PAGE - 1)) + 1)
		if (!page_readable((const void *)at))
			return -EFAULT;
	return 0;
}

/* The cheapest call that writes to a page: a word with the number of the processor. 0; -EFAULT; or
 * another error, where it is forbidden. */
static int touch(void *p)
{
	int saved = errno, r = syscall(SYS_getcpu, p, NULL, NULL) < 0 ? -errno : 0;

	errno = saved;
	return r;
}

/* At most two pages, with room for a word of [p, p + len) in both. Otherwise -EINVAL. */
static int touch_few(uint8_t *p, size_t len)
{
	uint8_t *last = (uint8_t *)(((uintptr_t)p + len - 1) & ~(uintptr_t)(PAGE - 1));
	int r;

	/* Nothing at all would be fine with it. */
	if (!p || len < 4 || len > PAGE || (uintptr_t)p % PAGE > PAGE - 4 || (last > p && p + len - last < 4))
		return -EINVAL;
	r = touch(p);
	return r < 0 || last <= p ? r : touch(last);
}

int ff3_user_writable(void *p, size_t len)
{
	uintptr_t at = (uintptr_t)p, end = at + len;

	if (len == 0)
		return 0;
	if (end < at)
		return -EFAULT;
	if (touch_few(p, len) == 0)
		return 0;
	if (populate(p, len, MADV_POPULATE_WRITE))
		return 0;
	for (; at < end; at = (at | (PAGE - 1)) + 1)
		if (!page_writable((void *)at))
			return -EFAULT;
	return 0;
}

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
