/* madvise(MADV_POPULATE_*) walks the page table (0.2 us for 4 KiB, 8 us for 1 MiB, measured) and fails
 * for what cannot be touched. It also fails where touching would work (a stack that has not grown
 * yet, device memory, kernels before 5.14); then one cheap system call per page that copies from or
 * to the page decides. */
#include "probe.h"

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
