/* Preloaded into a daemon that is always late: between two looks at the clock a millisecond has passed. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	static _Atomic long looks;
	long ns;
	int r;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	r = real(id, t);
	if (r < 0 || id != CLOCK_BOOTTIME)
		return r;
	ns = t->tv_nsec + ++looks % 1000 * 1000000;
	t->tv_sec += looks / 1000 + ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return r;
}
