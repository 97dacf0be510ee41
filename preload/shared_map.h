/* Mappings, as other calls see them: what reads, writes, forks and ends must do to keep step. */
#pragma once

#include <sys/mman.h>
#include <sys/uio.h>

#include "fdtab.h"

/* How many shared mappings may exist on this node, by inode: shared by all processes of the user.
 * A count may be too high, never too low. */
#define MAP_SLOTS 4096
#define MAP_ENDED 16
struct map_registry {
	_Atomic uint32_t objects; /* all of them */
	_Atomic uint32_t mapped[MAP_SLOTS]; /* how many have ended << MAP_ENDED | how many there are */
	_Atomic uint32_t writable[MAP_SLOTS];
};
extern struct map_registry *map_registry; /* NULL: the client is not loaded */
extern _Atomic int map_n_regions, map_n_lazy; /* of this process */
extern _Atomic int map_n_writers; /* objects that it may store into */

static inline unsigned map_slot(uint64_t ino)
{
	return (unsigned)((ino * 0x9e3779b97f4a7c15ull) >> 52);
}
static inline bool shared_map_any(void)
{
	struct map_registry *r = __atomic_load_n(&map_registry, __ATOMIC_RELAXED);

	return UNLIKELY(r != NULL) && UNLIKELY(r->objects != 0);
}
/* Changes when one is made or ends. */
static inline uint32_t shared_map_mark(uint64_t ino)
{
	struct map_registry *r = __atomic_load_n(&map_registry, __ATOMIC_RELAXED);

	return UNLIKELY(r != NULL) ? atomic_load_explicit(&r->mapped[map_slot(ino)], memory_order_acquire) :
				     0;
}
static inline bool shared_map_is_mapped(uint64_t ino)
{
	return UNLIKELY((shared_map_mark(ino) & ((1u << MAP_ENDED) - 1)) != 0);
}
static inline bool shared_map_is_writable(uint64_t ino)
{
	struct map_registry *r = __atomic_load_n(&map_registry, __ATOMIC_RELAXED);

	return UNLIKELY(r != NULL) &&
	       UNLIKELY(atomic_load_explicit(&r->writable[map_slot(ino)], memory_order_relaxed));
}

/* A file has been opened, perhaps cut: what a killed process stored into it goes out. */
void shared_map_opened_slow(uint64_t ino, int flags);
/* Before data of ino in [at, at + n) are read by call: stores that mappings on this node
 * hold go out first. n == 0: all. Negative errno. */
int shared_map_send_slow(uint64_t ino, off_t at, size_t n);
/* Around a change by call: no stores are sent meanwhile but by shared_map_send_held, and the last user of
 * the mappings does not go. False: nothing is held. Each ends with one of the others. */
bool shared_map_hold_slow(uint64_t ino);
/* Before a write: stores in [at, at + n) go out first. */
int shared_map_send_held(off_t at, size_t n);
/* Before a call that writes so much, or, iov being NULL, makes the file at + sum long if it is shorter. */
void shared_map_ahead(const struct iovec *iov, int n, off_t at, size_t sum);
/* size: what it is now, or negative if it was not changed. */
void shared_map_release(off_t size);
/* So much of it was written, perhaps nothing. */
void shared_map_release_written(const struct iovec *iov, int n, off_t at, size_t done);
/* So much was written while nothing was held; mark: as it was before. What was mapped meanwhile gets it; if
 * that has ended, and may have sent what was there before, it is written again. 0, or negative errno. */
int shared_map_written_slow(uint64_t ino, uint32_t mark, const struct iovec *iov, int n, off_t at,
			    size_t done);
/* Makes the pages of these buffers present, so that the client needs not wait for them with its
 * locks held. */
void shared_map_touch_slow(const struct iovec *iov, int n, bool write);

static inline void shared_map_opened(uint64_t ino, int flags)
{
	if (shared_map_any())
		shared_map_opened_slow(ino, flags);
}

static inline int shared_map_send(uint64_t ino, off_t at, size_t n)
{
	return shared_map_is_writable(ino) ? shared_map_send_slow(ino, at, n) : 0;
}

static inline bool shared_map_hold(uint64_t ino)
{
	return shared_map_is_mapped(ino) && shared_map_hold_slow(ino);
}

static inline void shared_map_touch(const struct iovec *iov, int n, bool write)
{
	if (UNLIKELY(map_n_lazy))
		shared_map_touch_slow(iov, n, write);
}

/* The client is loaded: the node's registry is opened, and what killed processes left is sent. */
void shared_map_start(void);
/* Before exec: stores go out. At exit: mappings are given up. */
void shared_map_send_all(void);
void shared_map_exit(void);
/* This process loads pages when they are touched, or has. */
bool shared_map_has_faults(void);
/* After fork, when all handlers have run. */
void shared_map_resume(void);
void shared_map_before_fork(void);
void shared_map_after_fork_in_parent(void);
void shared_map_after_fork(bool locked);
