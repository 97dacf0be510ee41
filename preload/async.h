/* The engine behind Linux AIO, POSIX aio and io_uring: operations on our files that the application
 * does not wait for. See async.c. */
#pragma once

#include <sys/uio.h>

#include "fdtab.h"

enum async_kind { ASYNC_READ, ASYNC_WRITE, ASYNC_FSYNC, ASYNC_FDATASYNC, ASYNC_CALL };

/* The caller's memory until done is called. Zero-initialise, then fill the upper part. */
struct async_op {
	enum async_kind kind;
	struct ofd *ofd; /* a reference that the op owns, dropped just before done; NULL for a CALL */
	int fd;          /* the descriptor that it came by: for offset -1 */
	int n_iov;
	const struct iovec *iov; /* lives until done */
	struct iovec one;        /* room for a single one */
	off_t offset;            /* -1: at the descriptor's, which moves */
	int rwf;                 /* RWF_* */
	/* A CALL: made by a worker thread, may block; returns the result. */
	long (*call)(struct async_op *op);
	/* Called exactly once, by a thread of the engine with all signals blocked, and never by the
	 * submitting call. result: a count or 0, or a negative errno as the application sees it. Must
	 * not block; may free the op and submit others. */
	void (*done)(struct async_op *op, long result);

	/* The engine's own. */
	struct async_op *next;
	long result;
	bool plain;
};

/* Starts all of ops, or none: 0; -EAGAIN or -ENOMEM (no thread, no memory; inside a handler that
 * interrupted the engine). Errors of an operation itself are its result. The calling thread sends
 * what it can. */
int async_submit(struct async_op *const *ops, unsigned n);
/* A detached thread with all signals blocked. 0 or -EAGAIN. */
int async_thread(void *(*fn)(void *));
