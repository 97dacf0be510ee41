/* Purpose: which pages may stay registered, and how many of them.
 *
 * What is registered is pinned, and counts against RLIMIT_MEMLOCK of the process (Debian's default is 8
 * MiB), unless it may lock what it likes. So the cache takes at most half of that, and where the kernel refuses
 * all the same (others pin as well), the cache and the pool give back what lies unused.
 *
 * A registration outlives the mapping that it was made through. Anonymous memory of this process is then
 * nobody's, so that a transfer into it harms nobody. Pages of a file or of shared memory are still
 * those of everybody else who maps them. So they are not registered at all. Where they are is asked of
 * the kernel: it takes no notice from anybody then, also for what is unmapped unseen (shmdt).
 *
 * Threads: any; no state. Fork: none. Signals: none. */
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "verbs_priv.h"

/* Of /proc/self/pagemap: the page is there; it is of a file, or of shared memory. */
#define IS_THERE (1ull << 63)
#define IS_SHARED (1ull << 61)

static enum ff3_verbs_owner look(const uint64_t *words, size_t n)
{
	enum ff3_verbs_owner owner = FF3_VERBS_OURS;

	for (size_t i = 0; i < n; i++) {
		if (words[i] & IS_SHARED)
			return FF3_VERBS_SHARED;
		if (!(words[i] & IS_THERE))
			owner = FF3_VERBS_UNKNOWN;
	}
	return owner;
}

enum ff3_verbs_owner ff3_verbs_owner_of(uintptr_t from, uintptr_t to)
{
	/* Not kept open: a forked child would look at its parent's memory. */
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	enum ff3_verbs_owner owner = FF3_VERBS_OURS, part;
	uint64_t words[256];

	if (fd < 0)
		return FF3_VERBS_SHARED;
	while (from < to) {
		size_t n = MIN((to - from) / VERBS_PAGE, ARRAY_SIZE(words));

		if (pread(fd, words, n * 8, (off_t)(from / VERBS_PAGE * 8)) != (ssize_t)(n * 8))
			return FF3_VERBS_SHARED;
		part = look(words, n);
		if (part == FF3_VERBS_SHARED)
			return part;
		owner = MAX(owner, part);
		from += n * VERBS_PAGE;
	}
	return owner;
}

/* In a user namespace of its own it may say so and be wrong: then registering fails, and that is dealt with. */
static bool may_lock_all(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct c[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capget, &h, c) == 0 && (c[0].effective & 1u << CAP_IPC_LOCK);
}

size_t ff3_verbs_pin_budget(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_MEMLOCK, &l) < 0 || l.rlim_cur == RLIM_INFINITY || may_lock_all())
		return SIZE_MAX;
	return l.rlim_cur;
}

struct ibv_mr *ff3_verbs_pin(struct ibv_pd *pd, void *p, size_t len, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, p, len, access);

	while (!mr && errno == ENOMEM && ff3_verbs_let_go(len)) {
		errno = 0;
		mr = ibv_reg_mr(pd, p, len, access);
	}
	return mr;
}
