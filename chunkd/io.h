/* How a store reaches its disk: asynchronous file operations and jobs that may block. The daemon's
 * make is io_uring.c; tests bring one that runs everything in order and injects faults.
 *
 * Threads: all calls come from the store's thread, all callbacks run there, never inside the call
 * that armed them. Only chunkd_job.run runs elsewhere, one job at a time, in order. */
#pragma once

#include "../common/net/loop.h"

struct chunkd_io;

struct chunkd_job {
	void (*run)(struct chunkd_job *job);  /* may block; not on the store's thread */
	void (*done)(struct chunkd_job *job); /* on the store's thread, afterwards */
	struct chunkd_job *next;
	struct chunkd_io *io;
	struct ff3_work work;
};

struct chunkd_io_ops {
	/* io->fn gets the bytes moved, which may be short, or -errno. */
	void (*read)(struct chunkd_io *io, int fd, void *buf, size_t len, uint64_t offset,
		     struct ff3_io *op);
	void (*write)(struct chunkd_io *io, int fd, const void *buf, size_t len, uint64_t offset,
		      struct ff3_io *op);
	void (*fdatasync)(struct chunkd_io *io, int fd, struct ff3_io *op);
	void (*job)(struct chunkd_io *io, struct chunkd_job *job);
	/* Told of descriptors that will be used from now on, or no more. */
	void (*opened)(struct chunkd_io *io, int fd);
	void (*closing)(struct chunkd_io *io, int fd);
};

struct chunkd_io {
	const struct chunkd_io_ops *ops;
};

/* On a loop, with one helper thread for the jobs. */
int chunkd_io_uring_new(struct ff3_loop *loop, struct chunkd_io **ret);
/* Nothing may be under way. Accepts NULL. */
void chunkd_io_uring_free(struct chunkd_io *io);
