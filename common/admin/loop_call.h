/* Running a function on a loop's thread from another one, and waiting for it: how an HTTP handler
 * takes a snapshot of what a loop owns. */
#pragma once

#include "../net/loop.h"

/* Calls fn(arg) on the loop's thread. 0 after it returned; -ETIMEDOUT if the loop did not come to
 * it within timeout_ms, and then fn will never be called; -ENOMEM. Not from the loop's own thread.
 * The loop must exist until this returns. */
int ff3_loop_call(struct ff3_loop *loop, void (*fn)(void *arg), void *arg, unsigned timeout_ms);
