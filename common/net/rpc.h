/* The calling side of the frame protocol: blocking, thread-safe, without threads of its own.
 *
 * A peer is one daemon address (and, for chunkd, one target of it) with up to max_connections
 * connections, opened when needed. A call is sent by the calling thread; whoever waits first on a
 * connection reads replies for everybody, straight into each caller's buffer, and hands the
 * reading on when its own have come. So a single request costs one send and one receive, and
 * many can be outstanding on one connection.
 *
 * Threads: everything may be called from any thread; a call belongs to the thread that waits.
 * Fork: ff3_rpc_after_fork in the child closes the inherited sockets' descriptors without
 * speaking on them; calls under way in other threads of the parent do not exist in the child.
 * Signals: not async-signal-safe; EINTR is handled inside.
 *
 * Failure: a lost connection fails its outstanding calls with -ECONNRESET (or the cause);
 * retrying is the caller's decision, since it knows what the request does. */
#pragma once

#include <stdatomic.h>
#include <sys/uio.h>

#include "../base/links.h"
#include "../wire/wire.h"

struct ff3_rpc_peer;
struct ff3_rpc_conn;

struct ff3_rpc_identity {
	uint64_t cluster; /* 0 until known */
	uint64_t session;
	uint32_t role;
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups;
	uint32_t n_groups;
	/* For hellos over networks: the length of the ticket that is in text now, or not more than 0; then
	 * credential is what is sent. May be NULL, and runs in any thread. */
	int (*ticket)(const void *arg, char text[FF3_TICKET_MAX + 1]);
	const void *ticket_arg;
	struct ff3_blob credential; /* a ticket, or empty */
	uint64_t epoch; /* of a metad, to whom it calls */
	uint64_t member, log_id; /* of a member of metad's group */
};

/* Whom the daemon takes the caller for. */
struct ff3_rpc_user {
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups;
	uint32_t n_groups;
};

/* What is known of a group of daemons of which one serves. */
struct ff3_rpc_known {
	/* The highest: a daemon that greets with a lower one was the primary before, and is taken for
	 * NOT_PRIMARY. */
	_Atomic uint64_t epoch;
	_Atomic uint64_t cluster; /* 0: not yet */
	_Atomic uint32_t lease_ms;
};

struct ff3_rpc_options {
	unsigned max_connections;    /* 0: 4 */
	uint32_t connect_timeout_ms; /* for the connection and the hello each; 0: 2000 */
	uint64_t target;             /* for chunkd */
	const char *sockets;         /* directory of local sockets, for want of TCP; NULL or "": none.
				      * It is kept. */
	struct ff3_links links;      /* by which the daemon is reached, preferred first; n is 0: the
				      * default */
	struct ff3_rpc_known *known; /* what the peers of a group share, rpc_group.h; kept. NULL: it is alone */
};

/* address: "host:port". identity is copied, its pointers are kept. Does not connect. */
int ff3_rpc_peer_new(const char *address, const struct ff3_rpc_identity *identity,
		     const struct ff3_rpc_options *options, struct ff3_rpc_peer **ret);
/* No call may be outstanding. Accepts NULL. */
void ff3_rpc_peer_free(struct ff3_rpc_peer *peer);
/* Instance id of the daemon last connected to; 0 before the first connection. */
uint64_t ff3_rpc_peer_instance(const struct ff3_rpc_peer *peer);
/* Lease and cluster from its last hello. */
uint32_t ff3_rpc_peer_lease_ms(const struct ff3_rpc_peer *peer);
uint64_t ff3_rpc_peer_cluster(const struct ff3_rpc_peer *peer);
/* What else its last hello said. */
struct ff3_rpc_greeting {
	uint64_t epoch, member, log_id;
};
struct ff3_rpc_greeting ff3_rpc_peer_greeting(struct ff3_rpc_peer *peer);
/* Whom the daemon named when it last refused a connection with NOT_PRIMARY: host:port, or "" if it
 * knew nobody or has not refused any. *ret_epoch: the highest epoch it knew. */
#define FF3_RPC_ADDRESS_MAX 300u
void ff3_rpc_peer_primary(struct ff3_rpc_peer *peer, char ret[FF3_RPC_ADDRESS_MAX], uint64_t *ret_epoch);
/* After FF3_E_VERSION: what its last answer was. May be ours: then the two are of different builds. 0:
 * nothing is known. */
unsigned ff3_rpc_peer_version(const struct ff3_rpc_peer *peer);
/* How a peer is reached. */
struct ff3_rpc_transport {
	const char *name;
	unsigned connections; /* at present */
	uint64_t requests;    /* since the peer was made */
	uint64_t connects, failures; /* attempts that worked, and that did not */
	uint64_t reads;	      /* and reads by windows, which the daemon has nothing to do with */
	int error;	      /* of the last attempt to connect; 0: none, or it worked */
	const char *why;      /* error's reason for people; a constant, or NULL */
};
struct ff3_rpc_description {
	const char *address;
	struct ff3_rpc_transport transport[FF3_LINK_N]; /* in the order in which they are tried */
	unsigned n;
};
void ff3_rpc_peer_describe(struct ff3_rpc_peer *peer, struct ff3_rpc_description *ret);

/* Around a fork, in the forking thread, for what the whole process shares; the child's one before
 * ff3_rpc_after_fork. prepared: ff3_rpc_before_fork was called. */
void ff3_rpc_before_fork(void);
void ff3_rpc_fork_parent(void);
void ff3_rpc_fork_child(bool prepared);
/* RDMA is not for this process, a child that was not prepared or one that such a child made, and links allow no TCP
 * instead: daemons of other hosts are out of its reach for good. */
bool ff3_rpc_lost_reach(const struct ff3_links *links);
/* [p, p + len) is about to be, or is, other memory than it was: unmapped, moved, or not to be written any
 * more. Async-signal-safe. */
void ff3_rpc_memory_gone(const void *p, size_t len);
/* Not 0 once memory of callers may be known to a device, so that the above is of use. */
extern _Atomic int ff3_rpc_memory_watched;
/* Callers have promised to call the above. Otherwise no memory of theirs is made known to a device. */
extern _Atomic bool ff3_rpc_memory_promised;
/* The RDMA devices of this machine, a line for each port; how many are usable, or -errno. */
int ff3_rpc_verbs_describe(char *text, size_t size);
struct ff3_verbs_counters;
/* Of this process's RDMA (verbs.h); NULL: it uses none. */
const struct ff3_verbs_counters *ff3_rpc_verbs_counters(void);

/* In a forked child, before anything else is done with the peer: drops connections and takes the
 * child's new session. */
void ff3_rpc_after_fork(struct ff3_rpc_peer *peer, uint64_t session);
/* Calls that start from now on are this user's, and not the identity's; user lives as long as the
 * peer, and one user is one pointer: a connection belongs to one. */
void ff3_rpc_peer_set_user(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user);
/* If not NULL: whose the calling thread's calls are. */
extern THREAD_LOCAL const struct ff3_rpc_user *ff3_rpc_as;
/* Ends every connection, so that the calls under way fail with -ECONNRESET. */
void ff3_rpc_cut(struct ff3_rpc_peer *peer);
/* Closes connections that have been idle for idle_ns. */
void ff3_rpc_close_idle(struct ff3_rpc_peer *peer, uint64_t idle_ns);

/* Memory of a daemon's that this process may read by itself, until the daemon takes that back, or the
 * connection ends over which it was granted. */
struct ff3_rpc_window {
	struct ff3_rpc_conn *conn; /* NULL: there is none */
	uint32_t epoch;
	uint32_t word;
	/* As the daemon's answer says. */
	uint32_t rkey;
	uint64_t addr;
};

/* One request and its reply. Zero-initialise, fill the upper part, start, wait. Memory that it
 * names must live until it is done. */
struct ff3_rpc_call {
	uint16_t op;
	bool one_way;
	/* Not for the peer: -ENOTCONN if no connection is there (it may be one with calls under way),
	 * -EAGAIN if it takes no more at present. */
	bool no_wait;
	const void *body;
	size_t body_len;
	const struct iovec *payload; /* to send; may be NULL */
	int n_payload;
	const struct iovec *into; /* where the reply's payload goes; may be NULL */
	int n_into;
	void *reply; /* where the reply's body goes */
	size_t reply_size;
	/* The reply body's length if the payload fills into (0: unknown). A right guess lets the
	 * payload arrive in into by the system call that brings its header; a wrong one costs a
	 * copy. */
	size_t reply_expected;
	/* Where descriptors go that the daemon may send with the reply, over a local socket: at most
	 * max_fds (FF3_FDS_MAX of pass.h). What is not asked for is closed. -EMFILE: they came, but
	 * this process may have no more. */
	int *fds;
	unsigned max_fds;
	/* So much room the daemon may want for the reply's payload, whose bytes it may read from a disk
	 * in whole blocks, in memory that both share; 0: none. What is put there is copied into into
	 * as if it had come otherwise. */
	uint32_t place_len;
	/* A transport that copies the reply's payload itself may sum it on the way, if it goes to one buffer
	 * (ff3_crc32c_copy, whose offset is sums_offset). NULL: not wanted. */
	uint32_t *sums;
	uint32_t sums_max, sums_offset;
	uint64_t deadline_ns; /* for sending and connecting (CLOCK_BOOTTIME; 0: none of its own) */

	/* The memory it names went wrong before (a checksum): it is copied from or to a buffer of the
	 * transport's own, where others would have the device reach it. */
	bool careful;
	/* -ENOMEM was the answer before, as too little memory can be registered: if it is again, the link is
	 * left, and another one taken. */
	bool insists;

	/* The request is one for a window: filled but for the answer's part. It remains to be dropped, whatever
	 * the answer. conn stays NULL where the connection is none that has windows. */
	struct ff3_rpc_window *asks;
	/* Not a request, but a read by this window (ff3_rpc_start_read): of window_len bytes, window_at
	 * behind its beginning, which go into own; or to landed where that is NULL or cannot be reached by
	 * the device, with the connection locked. */
	const struct ff3_rpc_window *window;
	uint32_t window_at, window_len;
	void *own;
	int (*landed)(struct ff3_rpc_call *call, const uint8_t *data, size_t len);

	/* Results, valid after waiting. */
	int status; /* 0, the peer's code, or -errno of the transport; -E2BIG: reply_size too small */
	size_t reply_len;
	size_t payload_len; /* of the reply; never more than into holds, else -E2BIG */
	uint64_t instance;  /* of the daemon that answered */
	uint32_t n_sums;    /* in sums; 0: it did not */
	unsigned n_fds; /* in fds, the caller's to close; also with a status below 0 */

	/* Called by whichever thread read the reply, before the waiter is woken. May be NULL;
	 * must not call into rpc. */
	void (*done)(struct ff3_rpc_call *call);
	void *user;

	/* The transport's own. */
	uint32_t state;
	uint32_t epoch;
	uint64_t request_id;
	struct ff3_rpc_conn *conn;
	struct ff3_rpc_call *next, *prev;
	struct ff3_rpc_waiter *waiter;
	bool exposed;
	uint32_t place_page, place_pages; /* over shared memory: the place given; 0 pages: none */
};

/* Begins a read by a window, to be waited for as a call. -ESTALE: the window is over. Other errors may be
 * that as well, or the end of the connection. */
int ff3_rpc_start_read(struct ff3_rpc_call *call);
/* It is not to be used any more. */
void ff3_rpc_window_drop(const struct ff3_rpc_window *w);
bool ff3_rpc_window_is_over(const struct ff3_rpc_window *w);
/* Whether a connection of this kind is up. */
bool ff3_rpc_peer_comes_by(struct ff3_rpc_peer *peer, enum ff3_link_kind kind);
/* Sends call (connecting if need be) and returns 0, or -errno with nothing outstanding (call->status
 * is the same then). A one-way call is done when this returns. -EFAULT: body or payload cannot be
 * read. -ETIMEDOUT: call->deadline_ns passed, or a daemon took nothing for 30 s. */
int ff3_rpc_start(struct ff3_rpc_peer *peer, struct ff3_rpc_call *call);
/* Starts up to FF3_RPC_MANY calls without payload, whose bodies are at most FF3_RPC_SMALL_BODY, by one
 * system call on one connection, with no_wait. 0: each of them is outstanding or done; else none is
 * and all have the status that is returned. */
int ff3_rpc_start_many(struct ff3_rpc_peer *peer, struct ff3_rpc_call **calls, size_t n);
#define FF3_RPC_MANY 32u
#define FF3_RPC_SMALL_BODY 256u
/* Waits for every call of calls[0..n) to be done, or until deadline_ns (CLOCK_BOOTTIME; 0: no
 * deadline): then -ETIMEDOUT, and those not done are abandoned with status -ETIMEDOUT; nothing is
 * written to their memory any more. The calls may be on different peers. */
int ff3_rpc_wait(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns);
/* As deadline: abandons what is not done. */
#define FF3_RPC_NOW 1u
/* The same for one call, which is not abandoned. */
int ff3_rpc_wait_patiently(struct ff3_rpc_call *call, uint64_t deadline_ns);
/* Waits until at least one of the calls is done, or deadline. For callers who learn from `done`
 * callbacks which: no call is missed that another thread completes just now. */
int ff3_rpc_wait_one(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns);
/* The same, until another thread interrupts it, and with n = 0, too. Zero-initialise; one waits at a time. */
struct ff3_rpc_interrupt {
	_Atomic bool raised; /* stays so until the waiting thread clears it */
	_Atomic bool asleep;
	struct ff3_rpc_waiter *_Atomic w; /* where, while asleep; one of another wait is woken for nothing */
};
int ff3_rpc_wait_interruptible(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns,
			       struct ff3_rpc_interrupt *interrupt);
/* Whether the thread that waits with interrupt receives on the connection of a call that was started: its
 * reply comes without more ado. If the call is in the list for the thread's next wait, it may be
 * left asleep. */
bool ff3_rpc_is_received(const struct ff3_rpc_conn *conn, const struct ff3_rpc_interrupt *interrupt);
/* From any thread, and from call.done. */
void ff3_rpc_interrupt(struct ff3_rpc_interrupt *interrupt);
/* Receives what has arrived on the connections of calls, without waiting. */
void ff3_rpc_poll(struct ff3_rpc_call **calls, size_t n);
/* Waits until at least one more of the calls is done than when it began, or deadline. */
int ff3_rpc_wait_any(struct ff3_rpc_call **calls, size_t n, uint64_t deadline_ns);
bool ff3_rpc_is_done(const struct ff3_rpc_call *call);
/* Of a call that is under way. */
struct ff3_rpc_peer *ff3_rpc_call_peer(const struct ff3_rpc_call *call);

/* start + wait of one call. Returns its status; deadline_ns is for both. */
int ff3_rpc_call(struct ff3_rpc_peer *peer, struct ff3_rpc_call *call, uint64_t deadline_ns);
