/* What lease*.c share: lease.c says what leases are, lease_set.c which directories an operation
 * changes. */
#pragma once

#include "../common/base/hash.h"
#include "metad.h"

#define METAD_LEASE_CHANGED 4096u
/* None is longer, however it is configured: so the next start knows how long to wait. */
#define METAD_LEASE_MAX_NS (300 * FF3_NSEC_PER_MSEC)

/* Directories whose entries, whose own attributes, or whose files' attributes change. */
struct metad_lease_set {
	uint64_t dirs[METAD_LEASE_SET];
	uint32_t n;
	bool all; /* nobody knows which */
};

struct lease_grant {
	struct lease_holder *h;
	uint64_t seq; /* under which it was revoked; 0: it was not */
};

struct lease_dir {
	uint64_t ino;
	struct lease_grant *grants;
	uint32_t n, room;
	UT_hash_handle hh;
};

struct lease_revocation {
	struct lease_revocation *next;
	uint64_t seq;
	uint64_t dir;
};

struct lease_holder {
	uint64_t id, life, term;
	uint32_t uid;
	bool left;
	bool clean; /* nothing is open without our knowing */
	uint64_t heard_ns, parked_ns;
	uint64_t seq, acked;
	struct lease_revocation *queue; /* not acknowledged, oldest first */
	struct lease_revocation **last;
	struct ff3_request *parked;
	struct metad_conn *conn; /* parked's */
	UT_hash_handle hh;
};

struct lease_waiter {
	struct lease_waiter *next;
	struct ff3_request *r;
	struct metad_conn *conn;
	struct metad_lease_set set;
	struct metad_lease_pins pins; /* nobody gets what it waits for */
};

struct metad_leases {
	struct metad *m;
	uint64_t lease_ns;
	uint64_t wait_until_ns; /* nothing is changed before; 0: that is over */
	struct lease_holder *holders;
	struct lease_dir *dirs;
	struct lease_waiter *waiters;
	struct metad_lease_set apply_set; /* which the pipeline waits for */
	bool apply_waits;
	uint32_t n_pinned_all; /* changes under way of which nobody knows what they touch */
	bool marking; /* the mark is on its way into the log, or out of it */
	struct ff3_timer timer;
	bool armed;
	uint64_t max_grants;
	uint64_t idle_ns; /* since when there is no holder */
	struct {
		uint64_t changed_ns;
		uint32_t pins; /* changes under way */
	} slots[METAD_LEASE_CHANGED]; /* of directories, by hash */
	struct metad_lease_set last_set; /* of metad_lease_before */
	struct metad_walk walk;
	struct metad_lease_stats stats;
};

/* --- lease_set.c --- */

/* The set of an operation, as the names are now. walk is overwritten. */
void metad_lease_set_of(struct metad *m, struct metad_walk *walk, uint16_t op,
			const struct metad_cred *cred, struct ff3_blob payload,
			struct metad_lease_set *ret);
/* The one of a change of inode's attributes. */
void metad_lease_set_of_inode(const struct metad_inode *inode, struct metad_lease_set *ret);

/* --- lease.c --- */

bool lease_has_lapsed(const struct metad_leases *l, const struct lease_holder *h, uint64_t now);
struct lease_holder *lease_find_holder(struct metad_leases *l, uint64_t id);
struct lease_holder *lease_new_holder(struct metad_leases *l, uint64_t id, uint32_t uid);
/* 1: it has it now; 0: it may not. */
int lease_add_grant(struct metad_leases *l, struct lease_holder *h, uint64_t ino);
/* Somebody waits for it to be free. */
bool lease_is_revoked(struct metad_leases *l, uint64_t ino);
/* Everything up to acked was heeded. */
void lease_heed(struct metad_leases *l, struct lease_holder *h, uint64_t acked);
/* It uses nothing any more, until it asks again. */
void lease_leave(struct metad_leases *l, struct lease_holder *h, bool clean);
/* Tells it what is queued. h->parked is consumed. */
void lease_answer(struct metad_leases *l, struct lease_holder *h);
/* Nobody holds any of them. */
bool lease_is_free(struct metad_leases *l, const struct metad_lease_set *set);
void lease_revoke(struct metad_leases *l, const struct metad_lease_set *set);
/* The log says that leases may be granted; if not, it soon will. */
bool lease_is_marked(struct metad_leases *l);
/* The timer runs as long as there is a reason. */
void lease_arm(struct metad_leases *l);

/* --- lease_wait.c --- */

/* It, or one of its hash, is being changed, or was a moment ago. */
bool lease_is_changing(const struct metad_leases *l, uint64_t dir, uint64_t now);
/* What waited for leases that are over goes on. */
void lease_wake(struct metad_leases *l);
void lease_wait_done(struct metad_leases *l);
