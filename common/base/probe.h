/* Whether memory of the application's can be touched, asked before it is. Memory that is unmapped by
 * another thread between question and use is not protected against.
 *
 * Threads: no state. Signals: async-signal-safe. */
#pragma once

#include "base.h"

/* 0 or -EFAULT. */
int ff3_user_readable(const void *p, size_t len);
int ff3_user_writable(void *p, size_t len);
