/* Whether it makes sense to wait by looking again and again.
 *
 * Spinning spares two system calls and a wake-up, but only while the one that is waited for runs on
 * another core: with more runnable threads than cores it takes the time from somebody. How many
 * there are is asked of the kernel now and then (/proc/loadavg), while somebody wants to spin.
 *
 * Threads: any. */
#pragma once

#include "../base/base.h"

/* now_ns: CLOCK_MONOTONIC. */
bool ff3_spin_allowed(uint64_t now_ns);

static inline void ff3_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}
