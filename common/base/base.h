/* The vocabulary every file shares: fixed-width types, small helpers, scope-bound cleanup.
 *
 * Internal functions return 0 or a positive value on success and a negative errno (or a domain
 * code of err.h, also negative) on failure; they leave their outputs untouched when they fail. */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FF3_KIB(n) ((uint64_t)(n) << 10)
#define FF3_MIB(n) ((uint64_t)(n) << 20)
#define FF3_GIB(n) ((uint64_t)(n) << 30)

#define FF3_NSEC_PER_SEC 1000000000ull
#define FF3_NSEC_PER_MSEC 1000000ull

/* Data are checksummed, aligned and stored in blocks of this many bytes. */
#define FF3_BLOCK 4096u

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _min_a = (a);                                                        \
		__typeof__(b) _min_b = (b);                                                        \
		_min_a < _min_b ? _min_a : _min_b;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _max_a = (a);                                                        \
		__typeof__(b) _max_b = (b);                                                        \
		_max_a > _max_b ? _max_a : _max_b;                                                 \
	})
#define ROUND_UP(x, unit) ((((x) + (unit)-1) / (unit)) * (unit))
#define ROUND_DOWN(x, unit) (((x) / (unit)) * (unit))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#define UNUSED __attribute__((unused))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define EXPORT __attribute__((visibility("default")))
/* Thread-local, and there without a call. Libraries that are loaded late have room for a few words of it;
 * otherwise malloc is called for it when a thread touches it first, which may be in a signal handler. */
#define THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))

/* Scope-bound resources. A cleanup function takes a pointer to the variable and accepts "empty". */
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) _taken = (p);                                                        \
		(p) = NULL;                                                                        \
		_taken;                                                                            \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int _taken_fd = (fd);                                                              \
		(fd) = -1;                                                                         \
		_taken_fd;                                                                         \
	})

static inline void ff3_freep(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(ff3_freep)

static inline void ff3_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}
#define _cleanup_close_ _cleanup_(ff3_closep)

static inline uint64_t ff3_now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * FF3_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Monotonic time for deadlines; it counts suspended time, as leases must. */
static inline uint64_t ff3_boottime_ns(void)
{
	return ff3_now_ns(CLOCK_BOOTTIME);
}

static inline uint64_t ff3_realtime_ns(void)
{
	return ff3_now_ns(CLOCK_REALTIME);
}

/* Moves *fd out of the way of the program's own numbers, where the limit allows it: programs expect
 * that low numbers stay theirs. */
void ff3_fd_move_high(int *fd);
/* pthread_create for threads of daemons and tools: signals for the process are for others. Those for a fault of its own are
 * let through, as the kernel ends a process without a word if they are blocked. -errno. */
int ff3_thread_new(pthread_t *ret, void *(*fn)(void *arg), void *arg);
/* A random 64-bit number, never 0. Thread-safe. */
uint64_t ff3_random_u64(void);

/* Takes the exclusive flock of fd. A holder that was killed may need a moment to be gone, more on a busy
 * machine (the kernel lets go of its io_uring in the background), so this tries for up to six seconds. 0, -EBUSY,
 * -errno. */
int ff3_lock_file(int fd);
