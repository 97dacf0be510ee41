/* What the processes of one user on one host share about restarted chunk daemons: recover.c, replay.c. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FF3_N_NOW 4096u
#define FF3_N_HOLDERS 1024u
#define FF3_N_SYNCED 4096u

/* A target. */
struct ff3_now {
	_Atomic uint64_t key;     /* of cluster and target; 0: free */
	_Atomic uint64_t settled; /* the instance that has all that was acknowledged; 0: not known */
	_Atomic uint64_t next;    /* the one that is being settled; settled or 0: none */
	_Atomic uint64_t n_changes;
	uint64_t unused[4];
};

/* A client that holds copies of unsynced bytes. */
struct ff3_holder {
	_Atomic uint64_t word; /* new for each client; 0: free */
	_Atomic uint64_t n;    /* copies */
	_Atomic uint64_t done; /* epoch up to which it has sent them again */
	_Atomic uint64_t head; /* stamp of the one that is its next, meanwhile; 0: not known yet */
	_Atomic uint64_t start;
	_Atomic int32_t pid;
	_Atomic uint32_t cluster; /* board_salt of its cluster */
	uint32_t unused[4];
};

/* What a target is known to have on disk of a file. */
struct ff3_synced {
	_Atomic uint64_t version; /* odd: being changed */
	_Atomic uint64_t key, instance, stamp;
};

struct ff3_recovery {
	_Atomic uint64_t epoch;
	uint64_t unused0[7];
	_Atomic uint64_t clock; /* stamps */
	uint64_t unused1[7];
	_Atomic uint32_t alarm;    /* holders' threads sleep on it */
	_Atomic uint32_t progress; /* and those who wait for them on this one */
	_Atomic uint32_t n_holders; /* places that were ever used */
	uint32_t unused2[13];
	struct ff3_now now[FF3_N_NOW];
	struct ff3_holder holders[FF3_N_HOLDERS];
	struct ff3_synced synced[FF3_N_SYNCED];
};

#define FF3_EVICTED (1ull << 63)

/* A client's own part. */
struct ff3_replay {
	pthread_mutex_t lock;
	struct ff3_holder *_Atomic me; /* our place on the board, or NULL */
	_Atomic uint64_t word;
	_Atomic bool full; /* there was no place */
	bool thrown;       /* out of the place we had: somebody took us for dead */
	pthread_t thread;  /* once there was a place */
	bool running;
	_Atomic bool stop;
};
