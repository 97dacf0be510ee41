/* The inside of a client's verbs link, shared by rpc_verbs.c (connecting), rpc_verbs_send.c,
 * rpc_verbs_recv.c (receiving, sleeping) and rpc_verbs_window.c (reads by windows).
 *
 * For every request under way there is a slot that remembers what memory the daemon was told of: it
 * stays registered, and bounce buffers stay in use, until the reply is here or the queue pair is
 * dead. A call that gives up earlier takes the link with it, because the daemon might still write.
 *
 * Locks: slots are taken under conn->send_lock and conn->lock, and given back under conn->lock. */
#pragma once

#include "rpc_priv.h"
#include "verbs_frame.h"

/* Requests of one connection; and receive slots that their replies may take. */
#define FF3_VERBS_CALLS 48u
#define FF3_VERBS_REPLY_SLOTS 56u

struct ff3_verbs_slot {
	uint64_t request_id; /* 0: free */
	struct ff3_rpc_call *call; /* NULL: it gave up */
	struct ff3_verbs_memory memory[2 * FF3_VERBS_PIECES];
	unsigned n_memory;
	uint8_t *bounce; /* the reply's payload lands here; NULL: in the caller's memory */
	unsigned n_replies; /* messages that the reply may have */
	uint32_t body_len;
};

/* Windows of one connection. */
#define FF3_VERBS_WORDS 4096u

struct ff3_verbs_state {
	const struct ff3_verbs_api *v;
	struct ff3_verbs_link *link;
	struct ff3_verbs_queue *queue;
	struct ff3_verbs_device *device;
	struct ff3_verbs_slot slots[FF3_VERBS_CALLS];
	unsigned n_slots, n_replies; /* in use; conn->lock */
	size_t bodies;		     /* theirs; the same */
	struct ff3_verbs_memory words; /* which the daemon may write; p is NULL: none yet */
	uint64_t words_used[FF3_VERBS_WORDS / 64];
	/* The reader's. */
	struct ff3_verbs_event events[16];
	int n_events, next_event;
	struct ff3_verbs_assembly in;
	uint64_t heard_ns; /* CLOCK_BOOTTIME; 0: just now */
	bool probing;
	uint32_t spin_ns;
};

/* Why there is no link, or none any more. */
#define FF3_VERBS_NO_MEMORY "memory cannot be registered (RLIMIT_MEMLOCK?)"
#define FF3_VERBS_CHANGED "the process has changed its user"

/* rpc_verbs_send.c */
int ff3_rpc_verbs_set_aside(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n);
int ff3_rpc_verbs_send(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun);
void ff3_verbs_slot_free(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot);
/* As v->hold, if the caller's memory may be registered at all. */
int ff3_verbs_hold_own(struct ff3_verbs_state *s, const void *p, size_t len, struct ff3_verbs_memory *ret);
/* A buffer of the pool for what comes. */
int ff3_verbs_bounce(struct ff3_verbs_state *s, struct ff3_verbs_slot *slot, size_t len);
/* conn->send_lock held. Waits until replies or completions have made room; reads them itself if nobody
 * else does. */
int ff3_verbs_wait_room(struct ff3_rpc_conn *conn, uint64_t until_ns);

/* rpc_verbs_window.c */
/* In the id of a transfer by a window: its slot's number is added. */
#define FF3_VERBS_READ_ID 2u
/* The word of the window that call asks for. */
int ff3_verbs_name_word(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call,
			struct ff3_verbs_piece *ret);
int ff3_verbs_read_window(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call,
			  struct ff3_verbs_slot *slot, uint64_t until);
/* conn->lock held. The transfer with id is done. */
void ff3_verbs_landed(struct ff3_rpc_conn *conn, uint64_t id, struct ff3_rpc_call **done);

/* rpc_verbs_recv.c */
int ff3_rpc_verbs_receive(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done);
bool ff3_rpc_verbs_about_to_sleep(struct ff3_rpc_conn *conn);
/* The next whole frame, for the hello. deadline_ns: -ETIMEDOUT. */
int ff3_rpc_verbs_first_frame(struct ff3_verbs_state *s, uint64_t deadline_ns, uint8_t *frame,
			      size_t size, size_t *ret_len);
