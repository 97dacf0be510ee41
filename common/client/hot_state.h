/* Reads of exposed chunks, as the rest of the client sees them: what a client keeps for them, and the
 * calls. hot.h is the inside. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "../wire/wire.h"

struct ff3fs;
struct ff3_inode;
struct ff3_cursor;
struct ff3_peer;
struct ff3_rpc_peer;

/* Counters are spread, so that threads do not share them. */
#define FF3_HOT_SHARDS 16u
#define FF3_HOT_SHIFTS 26u
struct ff3_hot_shard {
	_Atomic uint64_t reads, bytes, misses[6];
} __attribute__((aligned(64)));

/* Of an inode. */
struct ff3_hot_file {
	_Atomic(struct ff3_hot_table *) table;
	_Atomic bool pinned;
	_Atomic bool may_read; /* metad has let it be opened for reading: a capability is to be had */
	_Atomic uint32_t cap_len; /* of the capability; 0: there is none yet. Both under ff3_hot.lock */
	uint8_t cap[FF3_CAP_MAX];
	uint64_t cap_ns; /* when it was asked for last; under the inode's lock */
};

struct ff3_hot_parked;

struct ff3_hot {
	pthread_mutex_t lock;
	struct ff3_hot_slot *live, *free[FF3_HOT_SHIFTS];
	struct ff3_hot_daemon *daemons;
	struct ff3_hot_parked *parked; /* files that are closed, oldest first */
	_Atomic bool some_parked;      /* for those who have not the lock */
	_Atomic uint32_t n_live;
	uint64_t n_windows; /* so far */
	_Atomic uint64_t n_asked, n_refused;
	_Atomic uint64_t cap_retry_ns; /* until then metad is not asked for capabilities: it did not answer */
	struct ff3_hot_shard shards[FF3_HOT_SHARDS];
};

void ff3_hot_init(struct ff3fs *fs);
void ff3_hot_done(struct ff3fs *fs);
void ff3_hot_inode_done(struct ff3_inode *inode);
/* From an answer to open or reopen, by which it may be read or not. */
void ff3_hot_learn(struct ff3_inode *inode, bool may_read, struct ff3_blob cap, uint8_t pin);
/* Reads what it can of the next len bytes from exposed chunks; the cursor moves behind that. 0: read
 * normally. -EFAULT. may_wait: for reads over RDMA. */
ssize_t ff3_hot_read(struct ff3_inode *inode, struct ff3_cursor *c, size_t len, uint64_t offset,
		     bool may_wait);
/* A request read this: chunks that are read often are asked for. */
void ff3_hot_heat(struct ff3_inode *inode, size_t len, uint64_t offset);

/* --- What hot_ask.c needs of others ---------------------------------------------------------- */

/* routes.c */
/* The way to a peer's daemon over a local socket, made if need be. -EOPNOTSUPP: the configuration
 * forbids it. */
int ff3_peer_local(struct ff3fs *fs, struct ff3_peer *peer, struct ff3_rpc_peer **ret);
/* inode.c */
/* Asks metad for a capability, or another one, now and then; it must answer soon. -EAGAIN: not now. */
int ff3_inode_renew_cap(struct ff3_inode *inode);
