/* Leases: what metad lets this host keep of names and attributes (metad/lease.c has the rules), in memory
 * that all processes of a user on the host share, so that workers that live for an epoch find what others
 * have learnt. lease_table.c is that memory; lease_keeper.c the thread that holds the leases; lease.c the
 * calls that are answered from it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "../net/rpc.h"
#include "../wire/wire.h"

struct ff3fs;
struct ff3_inode;

#define FF3_LEASE_DEPS 10u	/* directories on the way to an object */
#define FF3_LEASE_STRIPE 16u	/* chains of a file */
#define FF3_LEASE_PATH 160u	/* bytes of a path */
#define FF3_LEASE_SLOTS 8192u	/* of directories' versions, by hash */
#define FF3_LEASE_PLACES 4096u	/* files open without metad's knowing */

/* A directory's lease, as an entry remembers it: void when the slot's version is another one. */
struct ff3_lease_dep {
	uint32_t slot;
	uint32_t version;
};

/* An answer that was kept. */
struct ff3_lease_entry {
	/* The question. */
	uint64_t salt; /* of the cluster */
	uint64_t cred; /* of the user and its ticket */
	uint64_t dir;
	uint32_t flags;
	uint16_t path_len;
	uint8_t n_deps;
	uint8_t n_stripe;
	/* The answer. */
	uint64_t life;
	uint32_t chunk_size;
	uint32_t seed;
	uint8_t pin;
	uint8_t may_read;
	struct ff3_attr attr;
	struct ff3_lease_dep deps[FF3_LEASE_DEPS]; /* the last one is the object's own */
	uint32_t stripe[FF3_LEASE_STRIPE];
	char path[FF3_LEASE_PATH];
};

/* What holds for a file that was opened under a lease. */
struct ff3_lease_ref {
	bool open;     /* metad does not know; place is ours */
	uint32_t place;
	uint64_t life;
	struct ff3_lease_dep dep;
	struct ff3_attr attr;
};

/* Of a client. */
struct ff3_leases {
	struct ff3_lease_shared *shared;
	pthread_mutex_t lock; /* of starting and ending */
	_Atomic bool mapped;
	_Atomic bool off; /* not for this process */
	_Atomic uint32_t n_calls;
	_Atomic uint32_t n_places; /* files that are open without metad's knowing */
	_Atomic uint64_t used_ns;  /* by this process */
	_Atomic uint64_t retry_ns; /* nobody is started or called before */
	uint64_t salt, cred;
	pthread_t thread;
	bool running; /* to be joined */
	_Atomic enum ff3_lease_thread { FF3_LEASE_NO_THREAD, FF3_LEASE_THREAD, FF3_LEASE_ENDING } alive;
	_Atomic bool stop;
	pthread_mutex_t keep_lock; /* of keeps and term, for moments */
	bool keeps;		   /* speaks for the host, as the term-th */
	uint64_t term;
	struct ff3_rpc_user user; /* the thread's connection is of its own */
	/* The thread's: inodes that it has opened at the metad of held_epoch. */
	uint64_t *held;
	uint32_t n_held, room_held;
	uint64_t held_epoch;
};

/* --- lease.c ----------------------------------------------------------------------------------- */

void ff3_leases_init(struct ff3fs *fs);
void ff3_leases_done(struct ff3fs *fs);
/* Before the process ends or becomes another one: it speaks for nobody any more, and nobody waits for it. */
void ff3_leases_leave(struct ff3fs *fs);
/* Before fork: what is open without metad's knowing is made known. In the child: nothing is. */
void ff3_leases_before_fork(struct ff3fs *fs);
void ff3_leases_after_fork(struct ff3fs *fs);
/* Answers a stat. 1: done; 0: ask metad. Negative: as metad says. */
int ff3_lease_stat(struct ff3fs *fs, const struct ff3_path *at, struct ff3_attr *ret);
/* Opens for reading. 1: *ret is referenced; 0: ask metad. Negative: as metad says. */
int ff3_lease_open(struct ff3fs *fs, const struct ff3_path *at, struct ff3_inode **ret);
/* It is open under a lease that still holds. */
bool ff3_lease_covers(struct ff3_inode *inode);
/* Its attributes as they are now, if a lease says so. */
bool ff3_lease_attr(struct ff3_inode *inode, struct ff3_attr *ret);
/* Metad knows of the open, or it is over. */
void ff3_lease_uncover(struct ff3_inode *inode);

/* --- lease_keeper.c ---------------------------------------------------------------------------- */

/* Nobody keeps the leases, or this process has no thread yet. false: it has none now. */
bool ff3_lease_keeper_start(struct ff3fs *fs);
/* It uses nothing any more, and metad knows: at once. */
void ff3_lease_keeper_leave(struct ff3fs *fs);
void ff3_lease_keeper_stop(struct ff3fs *fs);

/* --- lease_table.c ----------------------------------------------------------------------------- */

/* NULL: there is no such memory, and never will be. */
struct ff3_lease_shared *ff3_lease_map(uint64_t salt, uint64_t size);
/* The memory may have gone to another cluster. */
bool ff3_lease_is_of(const struct ff3_lease_shared *s, uint64_t salt);
uint64_t ff3_lease_holder(const struct ff3_lease_shared *s);
/* Until when what is kept may be used (CLOCK_BOOTTIME), to be read before anything else is. */
uint64_t ff3_lease_expires(const struct ff3_lease_shared *s);
uint64_t ff3_lease_life(const struct ff3_lease_shared *s);
uint64_t ff3_lease_acked(const struct ff3_lease_shared *s);
/* Raised before anything is revoked. */
uint64_t ff3_lease_revocations(const struct ff3_lease_shared *s);
/* Somebody uses it. */
void ff3_lease_touch(struct ff3_lease_shared *s);
uint64_t ff3_lease_used_ns(const struct ff3_lease_shared *s);
uint32_t ff3_lease_slot(uint64_t dir);
uint32_t ff3_lease_version(const struct ff3_lease_shared *s, uint32_t slot);

/* Whether what was kept under life and deps is true: at a moment of this call. */
bool ff3_lease_holds(const struct ff3_lease_shared *s, uint64_t life, const struct ff3_lease_dep *deps,
		     unsigned n);
bool ff3_lease_get(const struct ff3_lease_shared *s, struct ff3_lease_entry *e, const char *path);
void ff3_lease_put(struct ff3_lease_shared *s, const struct ff3_lease_entry *e);

/* A file that this process has open and metad does not know of. UINT32_MAX: no room. */
uint32_t ff3_lease_place_take(struct ff3_lease_shared *s, uint64_t salt, uint64_t ino, uint32_t slot);
void ff3_lease_place_drop(struct ff3_lease_shared *s, uint32_t place);
/* Which of such files: under slot only, unless it is UINT32_MAX; of pid only, or of all but pid, unless it
 * is 0; open for so long at least. */
struct ff3_lease_which {
	uint64_t salt;
	uint32_t slot;
	int32_t pid;
	bool others;
	uint64_t age_ns;
};
/* fn for each of them of processes that live. */
void ff3_lease_place_each(struct ff3_lease_shared *s, const struct ff3_lease_which *which,
			  void (*fn)(void *arg, uint64_t ino), void *arg);

/* Sleeps until somebody has called after `calls` was read, or ms have passed. */
uint32_t ff3_lease_calls(const struct ff3_lease_shared *s);
void ff3_lease_sleep(struct ff3_lease_shared *s, uint32_t calls, uint64_t ms);
void ff3_lease_call(struct ff3_lease_shared *s);

/* The keeper's. One thread on the host: not 0: this one, until it ends, as the so manieth. */
uint64_t ff3_lease_own(struct ff3_lease_shared *s, uint64_t salt);
void ff3_lease_disown(struct ff3_lease_shared *s);
void ff3_lease_revoke(struct ff3_lease_shared *s, uint64_t dir);
void ff3_lease_begin_life(struct ff3_lease_shared *s, uint64_t life);
void ff3_lease_extend(struct ff3_lease_shared *s, uint64_t acked, uint64_t expires);
