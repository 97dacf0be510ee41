/* The locks that are held on one file, by whom, and what they exclude: flock(2) and fcntl(2) locks
 * between hosts. Metad has such a list for every locked file; a client keeps its own part, to take
 * its locks again when metad restarted.
 *
 * A domain is a set of processes that exclude each other by other means: those that share a
 * directory of lock files and so the kernel's own locks (preload/hook_lock.c). Locks of one domain
 * never conflict here.
 *
 * Threads: the caller's lock. */
#pragma once

#include "base.h"

enum ff3_lock_kind {
	/* flock(2): the domain's processes share it. Who sets a level holds the domain's own lock of that
	 * level at that moment, so what is noted of others in the domain is corrected by it. */
	FF3_LOCK_FLOCK,
	/* fcntl(2): ranges of an owner; a new one replaces what it covers of the old ones. */
	FF3_LOCK_RECORD,
	FF3_LOCK_KINDS,
};

enum ff3_lock_type { FF3_LOCK_NONE, FF3_LOCK_SHARED, FF3_LOCK_EXCLUSIVE, FF3_LOCK_TYPES };

struct ff3_lock {
	uint64_t domain;
	uint64_t session; /* a client process */
	uint64_t owner;   /* within the session; of no meaning for flock */
	uint64_t first, last; /* bytes; flock: 0 and UINT64_MAX */
	uint8_t kind;     /* enum ff3_lock_kind */
	uint8_t type;     /* enum ff3_lock_type */
};

struct ff3_locks {
	struct ff3_lock *all;
	uint32_t n, room;
};

/* A lock of another domain that want would conflict with, or NULL. */
const struct ff3_lock *ff3_locks_conflict(const struct ff3_locks *l, const struct ff3_lock *want);
/* What want's owner (flock: session) holds where want begins. */
enum ff3_lock_type ff3_locks_held(const struct ff3_locks *l, const struct ff3_lock *want);
/* Whether want's owner holds any of its kind. */
bool ff3_locks_any(const struct ff3_locks *l, const struct ff3_lock *want);
/* Sets what want's owner holds of [first, last] to its type. It conflicts with nothing. -ENOMEM: the
 * list is as it was. */
int ff3_locks_set(struct ff3_locks *l, const struct ff3_lock *want);
/* The session's locks go. Returns how many. */
uint32_t ff3_locks_drop_session(struct ff3_locks *l, uint64_t session);
void ff3_locks_done(struct ff3_locks *l);
