/* Purpose: which pages may stay registered.
 *
 * A registration outlives the mapping that it was made through. Anonymous memory of this process is then
 * nobody's, so that a transfer into it harms nobody. Pages of a file or of shared memory are still
 * those of everybody else who maps them. So they are not registered at all. Where they are is asked of
 * the kernel: it takes no notice from anybody then, also for what is unmapped unseen (shmdt).
 *
 * Threads: any; no state. Fork: none. Signals: none. */
#include <fcntl.h>

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
