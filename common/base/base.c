#include "base.h"

#include <sys/file.h>
#include <sys/random.h>

uint64_t ff3_random_u64(void)
{
	uint64_t v = 0;

	while (v == 0)
		if (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v)
			v = 0;
	return v;
}

int ff3_lock_file(int fd)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	uint64_t until = ff3_boottime_ns() + 6 * FF3_NSEC_PER_SEC;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (ff3_boottime_ns() > until)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}
