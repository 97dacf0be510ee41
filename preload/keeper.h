/* Processes that keep a lock for others: lock_keeper.c (flock), lock_shared.c (ranges). */
#pragma once

#include "hook.h"

/* Runs fn(arg) in a child of a child, without signals, which ends with it; *ret_ready is set before: a descriptor, there,
 * to write a byte to when it is ready. 0, or -ENOLCK: it never was. */
int keeper_run(void (*fn)(void *arg), void *arg, int *ret_ready);
/* There: a second description of fd's placeholder. Negative errno. */
int keeper_own(int fd);
/* There: fds become 0, 1 … (n of them; extra, unless it is negative, the one behind), and all others are closed. */
void keeper_arrange(const int *fds, int n, int extra);
