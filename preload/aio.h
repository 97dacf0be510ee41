/* Linux AIO's system calls, with our files in them. Results are the kernel's: negative errno. */
#pragma once

#include <linux/aio_abi.h>

#include "aio_ctx.h"

long aio_setup(unsigned n, aio_context_t *ret);
long aio_destroy(aio_context_t id);
long aio_submit(aio_context_t id, long n, struct iocb *const *iocbs);
long aio_getevents(aio_context_t id, long min, long max, struct io_event *events,
		   const struct timespec *timeout);
long aio_pgetevents(aio_context_t id, long min, long max, struct io_event *events,
		    const struct timespec *timeout, const struct aio_sigset *sigset);
