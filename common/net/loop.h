/* One thread's event loop over one io_uring: files, timers, sockets (server.h), and work posted
 * by other threads. A daemon runs one loop per serving thread and shares nothing between them.
 *
 * Threads: everything here belongs to the loop's own thread, except ff3_loop_post and
 * ff3_loop_stop. Callbacks run on the loop's thread and never inside the call that armed them. */
#pragma once

#include <sys/uio.h>

#include "../base/base.h"

struct ff3_loop;

/* An operation under way: embedded by its user, alive until fn was called. res: bytes or 0, or
 * a negative errno. */
struct ff3_io {
	void (*fn)(struct ff3_io *io, int res);
	uint32_t cqe_flags; /* IORING_CQE_F_*, valid in fn */
};

struct ff3_timer {
	void (*fn)(struct ff3_timer *t);
	uint64_t due_ns; /* CLOCK_BOOTTIME; 0: not armed. The loop's own */
	struct ff3_timer *prev, *next;
};

/* Work from another thread, or for later in this one: embedded, alive until fn was called. */
struct ff3_work {
	void (*fn)(struct ff3_work *w);
	struct ff3_work *next;
};

/* entries: submission queue size, 0 for a default. -errno as io_uring_queue_init. */
int ff3_loop_new(unsigned entries, struct ff3_loop **ret);
/* After ff3_loop_run has returned, or before it was called. Operations still under way are
 * dropped: their fn is not called. Accepts NULL. */
void ff3_loop_free(struct ff3_loop *loop);
/* Runs until ff3_loop_stop. 0, or -errno when the ring itself fails. The first thread that runs a
 * loop owns it from then on; until then any one thread may prepare it (listen, register, arm). */
int ff3_loop_run(struct ff3_loop *loop);
/* Thread-safe and async-signal-safe. */
void ff3_loop_stop(struct ff3_loop *loop);
/* Thread-safe: fn(w) runs on the loop's thread, in the order of posting. */
void ff3_loop_post(struct ff3_loop *loop, struct ff3_work *w);
/* Of the loop's thread, or of the one that has its memory when that is gone: w, if it was posted, is not run any
 * more. Nobody posts it again. */
void ff3_loop_unpost(struct ff3_loop *loop, struct ff3_work *w);

/* (Re)arms t to call fn once, delay_ns from now. */
void ff3_loop_timer_arm(struct ff3_loop *loop, struct ff3_timer *t, uint64_t delay_ns);
void ff3_loop_timer_cancel(struct ff3_loop *loop, struct ff3_timer *t);

/* Calls hook(arg) once in every turn, after all completions of the turn were handled and before
 * the loop sleeps: where batches are cut. One hook per loop. */
void ff3_loop_set_idle(struct ff3_loop *loop, void (*hook)(void *arg), void *arg);

/* Registers memory whose reads and writes then need no page pinning each time. May be called
 * once, before running. Returns 0 also where the system refuses (RLIMIT_MEMLOCK): registration
 * is an optimisation. Memory outside works everywhere. */
int ff3_loop_register_memory(struct ff3_loop *loop, void *base, size_t size);
/* Registers fd with the ring (up to 1024); file calls below then use the registered slot by
 * themselves. unregister before closing. */
int ff3_loop_register_file(struct ff3_loop *loop, int fd);
void ff3_loop_unregister_file(struct ff3_loop *loop, int fd);

/* File operations; io->fn gets bytes moved, which may be short, or -errno. */
void ff3_loop_read(struct ff3_loop *loop, int fd, void *buf, size_t len, uint64_t offset,
		   struct ff3_io *io);
void ff3_loop_write(struct ff3_loop *loop, int fd, const void *buf, size_t len, uint64_t offset,
		    struct ff3_io *io);
void ff3_loop_fdatasync(struct ff3_loop *loop, int fd, struct ff3_io *io);

/* Waits once until fd is readable (POLLIN), for pipes, signalfd and the like. */
void ff3_loop_poll(struct ff3_loop *loop, int fd, struct ff3_io *io);

/* CLOCK_BOOTTIME when this turn began: for what need not be exact. */
uint64_t ff3_loop_now_ns(const struct ff3_loop *loop);
/* System calls made by the loop's turns so far, for the metrics. */
uint64_t ff3_loop_turns(const struct ff3_loop *loop);
