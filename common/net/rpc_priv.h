/* The inside of rpc.h, shared by rpc.c (peers, calls), the links, rpc_connect.c, rpc_recv.c, rpc_wait.c.
 *
 * Connections are slots in their peer, reused and never freed before the peer, so that a pointer
 * to one is always valid. A slot's epoch is raised when its socket dies; calls remember theirs.
 *
 *   EMPTY -> CONNECTING -> UP -> BROKEN -> EMPTY (when its last user left)
 *
 * Locks, in this order: peer->lock (choice of slots), conn->send_lock (one frame at a time on the
 * socket), conn->lock (state, calls, the reader's role), waiters (rpc_wait.c).
 *
 * The reader's role: conn->reader is set by the one thread that receives. It alone touches conn->rx
 * and, without a lock, the memory of calls that are `exposed`: those whose buffers it gave to the
 * kernel. Completed calls leave the list under conn->lock; they are marked done, and their
 * waiters woken, after it was released. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "pass.h"
#include "rpc.h"
#include "spin.h"

#define FF3_RPC_CONNECTIONS_MAX 64u
#define FF3_RPC_STAGING (64u * 1024u)
#define FF3_RPC_SEND_STALL_NS (30 * FF3_NSEC_PER_SEC)
/* Buffers and calls of one receive. */
#define FF3_RPC_IOV 64
#define FF3_RPC_AHEAD 8

enum { FF3_CALL_NEW, FF3_CALL_PENDING, FF3_CALL_ENDING, FF3_CALL_DONE };

/* Under the connection's lock PENDING stays PENDING; the later states come without it. */
static inline bool ff3_rpc_is_pending(const struct ff3_rpc_call *call)
{
	return __atomic_load_n(&call->state, __ATOMIC_RELAXED) == FF3_CALL_PENDING;
}

enum ff3_rpc_conn_state { FF3_CONN_EMPTY, FF3_CONN_CONNECTING, FF3_CONN_UP, FF3_CONN_BROKEN };

/* Where a thread sleeps that does not read itself. Never freed: a late wake-up is harmless. */
struct ff3_rpc_waiter {
	_Atomic uint32_t word;
	_Atomic int event_fd; /* for sleeping in poll; -1: never was needed */
	atomic_bool used;
	struct ff3_rpc_waiter *next; /* of all that exist */
};

/* In ff3_rpc_call.waiter of a call that is as good as done. */
#define FF3_WAITER_GONE ((struct ff3_rpc_waiter *)-1)

/* Received bytes that were not consumed, and the payload that is arriving. */
struct ff3_rpc_rx {
	uint8_t *buf;
	size_t size, start, end;
	uint8_t *spare; /* the buffer before; NULL: none yet */
	size_t spare_size;
	struct ff3_rpc_call *call; /* its payload arrives; NULL: it is thrown away */
	size_t payload_len, payload_have; /* have < len: a payload is arriving */
	int status;       /* of call, once its payload has passed; not 0: the payload is thrown away */
	bool exposed;     /* some of [start, end) lay in buffers that the application can change */
	unsigned plain;   /* receives to go without guessing, after a wrong guess */
	struct ff3_fds_queue fds; /* of frames that are not complete */
};

/* What connect() makes. */
struct ff3_rpc_up {
	int fd; /* closed by the caller if connect fails */
	const struct ff3_link_ops *link; /* set by the caller of connect */
	void *state;
	uint64_t instance;
	uint32_t transports; /* what the daemon's hello says it has */
	bool near;	     /* a TCP socket with both ends on this host */
	bool reached;	     /* the daemon was spoken to: no other link would do better */
	const char *why;     /* it failed; a constant, for people */
	struct ff3_rpc_greeting greeting;
	char primary[FF3_RPC_ADDRESS_MAX]; /* connect's result is NOT_PRIMARY: the one that was named */
};

/* One make of connection. */
struct ff3_link_ops {
	const char *name;
	enum ff3_link_kind kind;
	bool local; /* fd is a local socket: descriptors may come */
	/* So many calls may be under way on a connection; 0: there is no such limit. */
	unsigned max_calls;
	/* Blocks, at most as ff3_rpc_connect_until says; greets (ff3_rpc_greet). Fills up: fd is
	 * pollable, readable or hung up when receive() may have something. */
	int (*connect)(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		       uint64_t deadline_ns, struct ff3_rpc_up *up);
	/* conn->send_lock and conn->lock held, before calls are sent that do not wait: -EAGAIN if
	 * sending them all might wait for the peer now; what was set aside for them is theirs
	 * otherwise. May be NULL. */
	int (*set_aside)(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n);
	/* conn->send_lock held. Sends call, waiting until its deadline at most. *ret_begun: the
	 * peer may have a part of it, so that a failure breaks the connection. */
	int (*send)(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, bool *ret_begun);
	/* The same for several that ff3_rpc_start_many takes, at once; a failure breaks the connection.
	 * NULL: they are sent one after the other. */
	int (*send_many)(struct ff3_rpc_conn *conn, struct ff3_rpc_call **calls, size_t n);
	/* By the reader, conn->lock held before and after: takes in what came, and leaves calls that
	 * ended in *done. 1: some came; 0: nothing (wait: for FF3_RPC_RECV_TICK_NS); negative: the
	 * connection broke (ff3_rpc_break was called). */
	int (*receive)(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done);
	/* By the reader: 1: receive() would have something; 0: not yet; negative: not yet, and it makes no
	 * sense to look again and again, since the peer does not run at the same time as this thread.
	 * NULL: only fd tells. */
	int (*look)(struct ff3_rpc_conn *conn);
	/* Where it takes a system call to find out that the peer does not run at the same time: asked once, before
	 * it is looked again and again. May be NULL. */
	bool (*is_apart)(struct ff3_rpc_conn *conn);
	/* By the reader, before it polls fd: asks to be woken. True: something is there already.
	 * NULL: fd tells by itself. */
	bool (*about_to_sleep)(struct ff3_rpc_conn *conn);
	/* conn->lock held: a blocked receive and send come back. */
	void (*cut)(struct ff3_rpc_conn *conn);
	/* Nobody uses conn: closes fd and frees state. forked: in a child, without speaking on it. */
	void (*drop)(struct ff3_rpc_conn *conn, bool forked);
	/* conn->lock held: call ends without its reply, which may still come. May be NULL. */
	void (*forget)(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call);
};
extern const struct ff3_link_ops ff3_link_shm, ff3_link_tcp, ff3_link_unix, ff3_link_verbs;

/* The first request has the next one; hello has 1. */
#define FF3_RPC_FIRST_ID 1u

/* What a peer knows about one make of link. */
struct ff3_rpc_link {
	_Atomic uint64_t requests, reads; /* of connections that are gone */
	_Atomic uint64_t connects, failures;
	_Atomic int error;	   /* the last attempt's; 0: it worked, or there was none */
	const char *_Atomic why;
	_Atomic uint64_t retry_ns; /* not tried before (CLOCK_BOOTTIME), while others work */
};

struct ff3_rpc_conn {
	struct ff3_rpc_peer *peer;
	const struct ff3_link_ops *link;
	void *link_state;
	pthread_mutex_t send_lock;
	pthread_mutex_t lock;
	_Atomic enum ff3_rpc_conn_state state; /* changes under lock */
	int fd;
	bool near; /* as in up */
	pid_t pid; /* of this process */
	uint32_t epoch;
	int cause; /* BROKEN: why */
	bool reader;
	struct ff3_spinner spinner; /* the reader's */
	const struct ff3_rpc_interrupt *_Atomic receiver; /* of a reader that can be interrupted; or NULL */
	unsigned n_users; /* threads that use fd outside of lock */
	_Atomic unsigned n_calls; /* outstanding or about to be sent */
	struct ff3_rpc_call *first, *last; /* in order of sending */
	struct ff3_rpc_waiter *sender; /* waits for the socket to take more, while another reads */
	atomic_bool sender_waits;      /* who has send_lock waits for that, reading or not */
	uint64_t next_id;
	uint64_t n_reads; /* of them, reads by windows */
	uint64_t instance;
	const struct ff3_rpc_user *user; /* UP: whose it is; NULL: the identity's */
	_Atomic uint64_t used_ns; /* CLOCK_MONOTONIC_COARSE */
	struct ff3_rpc_rx rx;
};

struct ff3_rpc_peer {
	char *address;
	struct addrinfo *numeric; /* of address, if it needs no resolver; else NULL */
	struct ff3_rpc_identity identity;
	struct ff3_rpc_options options;
	const struct ff3_rpc_user *_Atomic user;
	_Atomic uint64_t instance, cluster;
	_Atomic uint32_t lease_ms;
	_Atomic uint32_t version; /* of the protocol, if it is not ours */
	_Atomic uint32_t transports; /* FF3_TRANSPORT_*, as the last hello said */
	const struct ff3_link_ops *order[FF3_LINK_N]; /* preferred first; NULL: no more */
	struct ff3_rpc_link links[FF3_LINK_N];
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a slot stopped CONNECTING */
	struct ff3_rpc_greeting greeting;	   /* under lock, and what follows */
	char primary[FF3_RPC_ADDRESS_MAX];
	uint64_t primary_epoch;
	struct ff3_rpc_conn conns[];
};

/* rpc.c */
/* conn->lock held. Fails every call: they are moved to *done, except exposed ones, which the reader
 * ends as soon as it is back from the kernel. The socket is shut down, and closed when nobody uses
 * it any more. */
void ff3_rpc_break(struct ff3_rpc_conn *conn, int cause, struct ff3_rpc_call **done);
/* conn->lock held. Takes call off the list and puts it into *done with status. */
void ff3_rpc_end_call(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call, int status,
		      struct ff3_rpc_call **done);
/* No lock held: runs callbacks, marks done, wakes. */
void ff3_rpc_finish_calls(struct ff3_rpc_call *done);
/* Ends a use of conn->fd (n_users was raised under conn->lock, which is held), and unlocks. */
void ff3_rpc_leave_unlock(struct ff3_rpc_conn *conn);

/* The connection is over and nobody uses it. */
void ff3_rpc_drop(struct ff3_rpc_conn *conn, bool forked);
/* conn->lock held. call, which is not exposed, will end without its reply. */
void ff3_rpc_forget(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call);

/* rpc_link.c */
/* Sets peer->order from the options. */
void ff3_rpc_order_links(struct ff3_rpc_peer *peer);
/* Connects by the first link of the order that works, and greets. */
int ff3_rpc_connect(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t deadline_ns,
		    struct ff3_rpc_up *up);
/* What became of an attempt; or of a link that was up and is of no use. If that is an error, the link is left
 * alone for a while. why: a constant, for people. */
void ff3_rpc_note_link(struct ff3_rpc_peer *peer, enum ff3_link_kind kind, int r, const char *why);
/* rpc_local.c */
/* link->connect of the daemon's local socket. */
int ff3_rpc_connect_local(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
			  uint64_t deadline_ns, struct ff3_rpc_up *up);

/* rpc_connect.c */
/* Until when an attempt to connect, or to greet, may take. */
uint64_t ff3_rpc_connect_until(const struct ff3_rpc_peer *peer, uint64_t deadline_ns);
/* Exchanges hellos on the stream socket up->fd. */
int ff3_rpc_greet(struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user, uint64_t deadline_ns,
		  struct ff3_rpc_up *up);
/* The hello's frame, to be freed; and what its reply says, a whole frame of at most FF3_RPC_HELLO_MAX
 * bytes behind the header. */
#define FF3_RPC_HELLO_MAX 4096u
int ff3_rpc_hello(const struct ff3_rpc_peer *peer, const struct ff3_rpc_user *user,
		  enum ff3_link_kind link, uint8_t **ret, size_t *ret_len);
int ff3_rpc_hello_reply(struct ff3_rpc_peer *peer, const uint8_t *frame, size_t len,
			struct ff3_rpc_up *up);
/* link->cut of what has a stream socket. */
void ff3_rpc_cut_socket(struct ff3_rpc_conn *conn);
/* Waits for events on fd. -ETIMEDOUT. */
int ff3_rpc_wait_fd(int fd, short events, uint64_t deadline_ns);

/* A peer that is gone is one cause, whether it shows when one sends or when one receives. */
static inline int ff3_rpc_send_error(int error)
{
	return error == EPIPE ? -ECONNRESET : -error;
}

/* rpc_send.c */
/* peer->lock held, conn is up. Whether n calls of a batch go by conn, and not rather by one that has less to do. */
bool ff3_rpc_takes_more(const struct ff3_rpc_conn *conn, size_t n);
/* Who sends, and has to wait because the peer takes no more at present. Zero-initialise. */
struct ff3_rpc_stuck {
	struct ff3_rpc_waiter *w;
	uint64_t until_ns; /* 0: the peer has taken something since */
};
/* conn->send_lock held. Waits for the peer to take more, until deadline_ns (0: none of its own) or so long
 * that it must be dead, and reads meanwhile if nobody else does. sleep: until the peer has taken some,
 * x->w is woken, or, if mine, there is something to read; or for no reason, timeout_ns at most. */
int ff3_rpc_wait_to_send(struct ff3_rpc_conn *conn, struct ff3_rpc_stuck *x, uint64_t deadline_ns,
			 void (*sleep)(struct ff3_rpc_conn *conn, struct ff3_rpc_waiter *w, bool mine,
				       uint64_t timeout_ns));
void ff3_rpc_stuck_done(struct ff3_rpc_stuck *x);
/* Takes conn->send_lock. False: its owner waits for the peer, and no_wait. */
bool ff3_rpc_lock_to_send(struct ff3_rpc_conn *conn, bool no_wait);

/* rpc_spin.c */
/* By the reader of all n: looks at them for a while, as far as that is worth it. True: one of them has something,
 * or stop (NULL: never) said so. */
bool ff3_rpc_spin(struct ff3_rpc_conn **conns, unsigned n, bool (*stop)(const void *arg), const void *arg);

/* rpc_recv.c */
#define FF3_RPC_RECV_TICK_NS (20 * FF3_NSEC_PER_MSEC)
/* Until a local socket has something, for so long at most. In recvmsg the kernel would wake us in vain, too, each
 * time the daemon takes in what we have sent: for a sleeper there it is all the same whether there is something to
 * read, or room to write. */
bool ff3_rpc_sleep_local(const struct ff3_rpc_conn *conn);
/* The caller is conn's reader. Receives once, as link->receive, without conn->lock held. */
int ff3_rpc_receive(struct ff3_rpc_conn *conn, bool wait);
/* link->receive of stream sockets. */
/* conn->lock held: the outstanding call with this id, or NULL. */
struct ff3_rpc_call *ff3_rpc_find_call(struct ff3_rpc_conn *conn, uint64_t id);
/* Gives call (NULL: nobody waits any more) the descriptors that came with its reply. */
int ff3_rpc_give_fds(struct ff3_rpc_rx *rx, struct ff3_rpc_call *call);
int ff3_rpc_receive_stream(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done);
void ff3_rpc_rx_reset(struct ff3_rpc_rx *rx);
void ff3_rpc_rx_done(struct ff3_rpc_rx *rx);

/* rpc_wait.c */
struct ff3_rpc_waiter *ff3_rpc_waiter_get(void);
void ff3_rpc_waiter_put(struct ff3_rpc_waiter *w);
void ff3_rpc_wake(struct ff3_rpc_waiter *w);
/* conn->lock held. The reader stops; somebody who waits goes on. */
void ff3_rpc_reader_leave(struct ff3_rpc_conn *conn);
/* Makes w wakeable while it polls. -errno. */
int ff3_rpc_waiter_pollable(struct ff3_rpc_waiter *w);
void ff3_rpc_waiters_after_fork(void);
