#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>

#include "spin.h"

#define ASK_NS (5 * FF3_NSEC_PER_MSEC)

static _Atomic uint64_t asked_ns;
static atomic_bool allowed;

/* "0.20 0.18 0.12 1/80 11206": the fourth begins with the runnable threads. */
static bool cores_are_free(void)
{
	char text[128], *p = text;
	_cleanup_close_ int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	for (int i = 0; i < 3 && p; i++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return p && strtol(p, NULL, 10) <= sysconf(_SC_NPROCESSORS_ONLN);
}

bool ff3_spin_allowed(uint64_t now_ns)
{
	uint64_t asked = atomic_load_explicit(&asked_ns, memory_order_relaxed);

	if (now_ns - asked >= ASK_NS && atomic_compare_exchange_strong(&asked_ns, &asked, now_ns)) {
		int saved = errno;

		atomic_store_explicit(&allowed, cores_are_free(), memory_order_relaxed);
		errno = saved;
	}
	return atomic_load_explicit(&allowed, memory_order_relaxed);
}
