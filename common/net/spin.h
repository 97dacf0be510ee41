/* Waiting by looking again and again, before going to sleep.
 *
 * Going to sleep and being woken on another core costs both sides much (an interrupt between
 * processors; in a virtual machine 50 us and more), and nothing is cheaper than to look, as long as
 * the one that is waited for runs at the same time. So one looks as long as both sides' sleep and waking
 * may take, which is also about what a disk takes for a few reads at once: with less, each of these would be
 * looked for in vain, and then slept for. Where looking was in vain,
 * some of the next waits go without, after each further failure twice as many; what shares its core
 * with the other side does not look at all.
 *
 * Of a process, only as many threads look at a time as leave a core to the other side.
 *
 * Threads: a spinner is its owner's; how many look is shared. */
#pragma once

#include "../base/base.h"

#define FF3_SPIN_LOOKS 32

struct ff3_spinner {
	uint32_t skip;	 /* so many waits to go without */
	uint32_t penalty; /* for the next failure */
};

/* Whether to look this time, if there is a core for it; asked once for each wait. */
static inline bool ff3_spin_worth(struct ff3_spinner *s)
{
	if (s->skip == 0)
		return true;
	s->skip--;
	return false;
}

/* True: ff3_spin_end is due. */
bool ff3_spin_begin(void);
void ff3_spin_end(struct ff3_spinner *s, bool came);

/* For how long at most. */
#define FF3_SPIN_NS 200000u

static inline void ff3_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}
