#include "base.h"

#include <signal.h>
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

int ff3_thread_new(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
	sigset_t blocked, old;
	int r;

	sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	r = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}
