/* Shared mappings of our files, kept in step with this process's reads and writes. See
 * shared_map.c. */
#pragma once

#include <sys/mman.h>

#include "fdtab.h"

/* How many there are, and of them writable: the only thing that other calls look at. */
extern _Atomic int shared_maps, shared_maps_writable;

/* A new shared mapping of [offset, offset + len) of o, whose first data bytes exist. The address, or
 * a negative errno. */
long shared_map_new(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		    size_t data);
/* Before data of ino in [at, at + n) are read or written by call: stores that mappings hold go out
 * first. n == 0: all. Negative errno. */
int shared_map_send_slow(uint64_t ino, off_t at, size_t n);
/* After they were written, or the file was cut or extended to size. */
void shared_map_written_slow(uint64_t ino, const struct iovec *iov, int n, off_t at, size_t done);
void shared_map_resized_slow(uint64_t ino, off_t size);
/* Every mapping that this process made: at exit and exec. */
void shared_map_send_all(void);
/* Around munmap and mremap of [addr, addr + len). */
void shared_map_unmap_slow(void *addr, size_t len, bool done);
void shared_map_moved_slow(void *from, void *to, size_t len);
/* msync(2). 0 if the range is none of ours. */
int shared_map_sync_slow(void *addr, size_t len, bool durable);

static inline int shared_map_send(uint64_t ino, off_t at, size_t n)
{
	return UNLIKELY(shared_maps_writable) ? shared_map_send_slow(ino, at, n) : 0;
}

static inline void shared_map_written(uint64_t ino, const struct iovec *iov, int n, off_t at,
				      size_t done)
{
	if (UNLIKELY(shared_maps))
		shared_map_written_slow(ino, iov, n, at, done);
}

static inline void shared_map_resized(uint64_t ino, off_t size)
{
	if (UNLIKELY(shared_maps))
		shared_map_resized_slow(ino, size);
}

void shared_map_after_fork(void);
