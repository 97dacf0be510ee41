/* The serving side of the frame protocol (wire.h) over TCP, on a loop: listening, the hello,
 * requests in, replies out, backpressure.
 *
 * Threads: a server and its connections belong to one loop. ops->hello may hand a connection over
 * to a server on another loop, which must outlive the hand-over. Fork: daemons do not fork.
 *
 * Life of a request: header and body arrive in the connection's receive buffer; if there is a
 * payload, ops->payload says where it goes and the rest is received straight into it; then
 * ops->request runs with a struct ff3_request that stays valid until exactly one of
 * ff3_request_reply* was called with it, at once or later. Body and fields decoded from it are
 * valid only until ops->request returns, unless ff3_request_keep_body was called. */
#pragma once

#include "counters.h"
#include "loop.h"
#include "../wire/wire.h"

struct ff3_server;
struct ff3_conn;

struct ff3_request {
	struct ff3_conn *conn;
	struct ff3_header header;
	const void *body;      /* header.body_len bytes, CRC already checked */
	void *payload;         /* header.payload_len bytes, where ops->payload said; or NULL */
	void *payload_context; /* what ops->payload set */
	uint8_t *place;        /* where the reply's payload may be put by whoever has it not yet, so
				* that it need not travel: aligned to 4 KiB, shared with the client,
				* valid until the reply. NULL: nowhere */
	uint32_t place_len;
	uint64_t received_ns;  /* CLOCK_BOOTTIME; for latency metrics */
	void *user;            /* the handler's */
};

struct ff3_server_ops {
	/* The peer's hello arrived on server. Return 0 with *reply filled (its strings stay valid
	 * until the next turn) and optionally *conn_user; or a negative code, sent to the peer
	 * before the connection is closed. To serve the connection on another loop, set *move_to:
	 * the hello is then answered from there, by that server's hello callback. */
	int (*hello)(struct ff3_server *server, const struct ff3_req_hello *hello,
		     struct ff3_rep_hello *reply, void **conn_user, struct ff3_server **move_to);
	/* The body of the answer to a hello that was refused with this status, at most size bytes; returns
	 * its length. Optional: none. */
	size_t (*refusal)(struct ff3_server *server, int status, void *body, size_t size);
	/* Which server a connection for this target belongs to, for links whose memory is that
	 * server's; its hello is shown to hello of both. NULL: no such. Optional: this one. */
	struct ff3_server *(*route)(struct ff3_server *server, uint64_t target);
	/* Where the payload of r goes: r->header and r->body are valid. Set r->payload to
	 * header.payload_len bytes, and r->payload_context. NULL in r->payload with return 0:
	 * no room now; the connection stops receiving until ff3_conn_resume. A negative code
	 * discards the payload and answers with it. */
	int (*payload)(struct ff3_server *server, struct ff3_request *r);
	/* A payload that was begun will never be complete: the connection died. */
	void (*payload_abort)(struct ff3_server *server, struct ff3_request *r);
	void (*request)(struct ff3_server *server, struct ff3_request *r);
	/* Right before replies leave: whether they may. Else they stay until ff3_server_reply_withheld.
	 * Optional: always. */
	bool (*may_reply)(struct ff3_server *server);
	/* The connection is gone; its unanswered requests must still be replied to (into nothing)
	 * so that they are freed. Called once per connection whose hello was accepted. */
	void (*closed)(struct ff3_server *server, struct ff3_conn *conn, void *conn_user);
};

/* user: returned by ff3_server_user. */
int ff3_server_new(struct ff3_loop *loop, const struct ff3_server_ops *ops, void *user,
		   struct ff3_server **ret);
/* Closes the listener and every connection, calling ops->closed for each; payloads under way are
 * aborted. While the loop runs, that happens in its next turns and ops must stay valid until then;
 * otherwise it is over on return. Requests not yet replied to stay valid until they are. Accepts
 * NULL. */
void ff3_server_free(struct ff3_server *server);
void *ff3_server_user(const struct ff3_server *server);
/* From any thread, as long as the server is there. */
const struct ff3_server_counters *ff3_server_counters(const struct ff3_server *server);
struct ff3_loop *ff3_server_loop(const struct ff3_server *server);

/* address: "host:port", port 0 for a free one; "[::1]:0" for IPv6. ret_port: the real port. An
 * address in use is tried for two seconds: its last user may have been killed just now. */
int ff3_server_listen(struct ff3_server *server, const char *address, uint16_t *ret_port);

/* Besides: the local socket that a client on this host finds under the same address, in dir.
 * -ENAMETOOLONG. */
int ff3_server_listen_local(struct ff3_server *server, const char *dir, const char *address);

/* Besides, after ff3_server_listen: the abstract local socket that clients on this host find without
 * any configuration. -EADDRINUSE: somebody has its name. */
int ff3_server_listen_abstract(struct ff3_server *server);
/* What of links clients may use besides TCP, on sockets that listen here: listens as
 * ff3_server_listen_abstract if something comes by it. That it cannot is logged, and no more. */
void ff3_server_offer(struct ff3_server *server, const struct ff3_links *links);

/* Before any connection: who comes over a network by this server's listeners needs one of these tickets, which are kept. */
struct ff3_tickets;
void ff3_server_ask_tickets(struct ff3_server *server, const struct ff3_tickets *tickets);

/* Before any connection: payloads mostly lie in [base, base + size), so that devices may move them
 * there directly. At most twice. */
void ff3_server_register_memory(struct ff3_server *server, void *base, size_t size);

void *ff3_conn_user(const struct ff3_conn *conn);
/* Call when memory for payloads is free again: connections that waited ask ops->payload again. */
void ff3_server_resume(struct ff3_server *server);
/* Call when replies may leave that ops->may_reply kept back. */
void ff3_server_reply_withheld(struct ff3_server *server);
/* Since when the longest of them has waited (CLOCK_BOOTTIME); UINT64_MAX: none waits. */
uint64_t ff3_server_no_room_since(const struct ff3_server *server);
/* For a daemon that has somebody waiting for memory, to be called every now and then as long as that
 * lasts: resets the connections that hold memory (payloads of replies that are not taken, payloads that
 * do not arrive) and stood still over the calls of the last stall_ns. Returns how many. */
unsigned ff3_server_reset_stalled(struct ff3_server *server, uint64_t stall_ns);
/* Closes after what was queued is sent. */
void ff3_conn_close(struct ff3_conn *conn);
/* The name of the peer, "127.0.0.1:4711", for logs. */
const char *ff3_conn_peer(const struct ff3_conn *conn);
/* What carries it: "tcp", "unix", "shm" or "verbs". */
const char *ff3_conn_link(const struct ff3_conn *conn);
/* The process at the other end of a local socket, as the kernel knows it; NULL for others. */
struct ucred;
const struct ucred *ff3_conn_cred(const struct ff3_conn *conn);

/* Copies the body so that it lives as long as the request. -ENOMEM. */
int ff3_request_keep_body(struct ff3_request *r);

/* The reply will hold so many bytes of the daemon's memory until it has left. What a connection may
 * hold is bounded: it is not received from while it holds more. */
void ff3_request_hold(struct ff3_request *r, uint32_t bytes);

/* Every reply consumes r. One-way requests are replied to as well; nothing is sent then.
 * body may be a stack buffer: it is copied. status: 0 or a negative code. */
void ff3_request_reply(struct ff3_request *r, int status, const void *body, size_t body_len);
/* Also sends payload, without copying it; release(arg) is called once when its memory may change
 * again (possibly before this call returns). */
void ff3_request_reply_payload(struct ff3_request *r, const void *body, size_t body_len,
			       const void *payload, size_t payload_len,
			       void (*release)(void *arg), void *arg);
/* Also sends n (at most FF3_FDS_MAX of pass.h) descriptors, which stay the caller's. Where the
 * connection cannot carry them, the answer is -EOPNOTSUPP. */
void ff3_request_reply_fds(struct ff3_request *r, int status, const void *body, size_t body_len,
			   const int *fds, unsigned n);
static inline void ff3_request_fail(struct ff3_request *r, int status)
{
	ff3_request_reply(r, status, NULL, 0);
}
/* Encodes struct ff3_rep_<op> *m, which must fit FF3_BODY_MAX, and replies. */
#define FF3_REQUEST_REPLY(r, op, m)                                                                \
	ff3_request_reply_encoded((r),                                                             \
				  (size_t(*)(void *, size_t, const void *))ff3_encode_rep_##op, (m))
void ff3_request_reply_encoded(struct ff3_request *r,
			       size_t (*encode)(void *buf, size_t size, const void *m),
			       const void *m);
