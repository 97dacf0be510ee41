/* What a server counts of what comes to it, by what carries it. Its thread changes them, any reads. */
#pragma once

#include <stdatomic.h>

#include "../base/links.h"

#define FF3_SERVER_ROLES 5u /* enum ff3_role; 0: none that is known */

struct ff3_server_counters {
	_Atomic uint64_t requests[FF3_SERVER_ROLES][FF3_LINK_N];
	_Atomic uint64_t accepted[FF3_LINK_N];
	_Atomic uint64_t closed[FF3_LINK_N];
	/* Connections that came by the second link because the first, which they prefer, did not work. */
	_Atomic uint64_t fallbacks[FF3_LINK_N][FF3_LINK_N][FF3_REASON_N];
	_Atomic uint64_t versions; /* connections refused for their protocol version */
	_Atomic uint64_t tickets;  /* ... for want of a ticket that is good */
};

static inline void ff3_server_count(_Atomic uint64_t *c)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}
