/* System calls without libc: they touch neither errno nor any interposable symbol, are no
 * cancellation points, and work before the dynamic linker has finished. Result: as the kernel
 * gives it, -errno on failure. */
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long raw_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
static inline long raw_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "the shim needs the system call instruction of this processor: see raw.h"
#endif

#define RAW_PICK(n, a, b, c, d, e, f, ...)                                                         \
	raw_syscall(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* RAW(close, fd) */
#define RAW(name, ...) RAW_PICK(SYS_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* For rt_sigprocmask: all but SIGSYS, which calls that are dispatched (dispatch.c) come by. */
#define RAW_ALL_SIGNALS (~(1ull << 30))

/* Before a lock that a handler may want. ThreadSanitizer keeps signals that came before, and would call their
 * handlers when the lock has just been taken: it gets a chance to do so first. */
static inline void raw_block_signals(uint64_t *saved)
{
	static _Atomic int nothing;
	uint64_t all = RAW_ALL_SIGNALS;

	RAW(rt_sigprocmask, SIG_BLOCK, &all, saved, 8);
	atomic_load_explicit(&nothing, memory_order_relaxed);
}

static inline int raw_open(const char *path, int flags)
{
	return (int)RAW(openat, AT_FDCWD, path, flags);
}

static inline void raw_close(int fd)
{
	RAW(close, fd);
}
