/* A connection as server.c (listening, life), conn.c (receiving) and reply.c (sending) share it.
 *
 *   accepted -> [hello -> moved to another loop]* -> serving -> closing -> dead -> freed
 *
 * closing: nothing is received any more, what is queued is still sent. dead: the socket is shut
 * down; when the ring holds none of the connection's operations any more (n_pinned is 0) it is
 * closed and ops->closed is called; the memory goes when the last request was replied to. */
#pragma once

#include <stdatomic.h>
#include <sys/socket.h>

#include "addr.h"
#include "loop_priv.h"
#include "pass.h"
#include "server.h"
#include "verbs_frame.h"

#define FF3_SERVER_MEMORY 2u
/* Frames are parsed in this buffer, which grows for a larger body. */
#define FF3_CONN_BUFFER (64u * 1024u)
/* Unsent reply bytes of one connection above which it is no longer received from. */
#define FF3_CONN_UNSENT_MAX (8u * 1024u * 1024u)
/* Unanswered requests of one connection above which it is no longer received from. */
#define FF3_CONN_REQUESTS_MAX 16384u
/* Memory that replies of one connection hold (ff3_request_hold) above which it is no longer received
 * from. */
#define FF3_CONN_HELD_MAX (8u * 1024u * 1024u)
/* Queued reply bytes that are sent at once instead of at the end of the turn. */
#define FF3_CONN_GATHER (64u * 1024u) /* by a system call */
#define FF3_SEND_IOV 64
/* Header and body of a reply that fit into the request's own memory. */
#define FF3_REPLY_INLINE 320u
/* And a request's body that is kept: most paths. */
#define FF3_KEPT_INLINE 192u

/* A request, and then its reply: the same memory. */
struct ff3_frame {
	struct ff3_request request;
	struct ff3_frame *next; /* in the send queue or the free list */
	void *kept_body; /* inline_body, or allocated; NULL: it was not kept */
	uint8_t *head; /* reply's header and body: inline_head, or allocated */
	uint32_t head_len;
	uint32_t payload_len;
	uint32_t held; /* by ff3_request_hold */
	const void *payload;
	void (*release)(void *arg);
	void *release_arg;
	struct ff3_fds *fds; /* duplicates that go with it; NULL: none */
	uint8_t n_pieces; /* verbs: of the client's memory, the reply's payload's or the request's */
	bool pushed;	  /* verbs: the payload's transfer is posted */
	bool bounced;	  /* verbs: memory is a buffer of the pool */
	bool placed; /* the payload lies in the client's place already, at this offset */
	uint32_t place_offset;
	uint8_t inline_head[FF3_REPLY_INLINE];
	/* Not cleared. */
	uint8_t inline_body[FF3_KEPT_INLINE];
	struct ff3_verbs_piece pieces[FF3_VERBS_PIECES];
	struct ff3_verbs_memory memory; /* while the payload is transferred */
};

/* What carries a connection that is no stream socket. All on its loop. */
struct ff3_carrier {
	const char *name;
	/* Takes what came and had to wait: there is room again. */
	void (*receive)(struct ff3_conn *conn);
	/* Sends the queue out_first, as far as possible now; kills a closing connection when all of
	 * it has arrived. */
	void (*send)(struct ff3_conn *conn);
	/* conn->dead was just set. */
	void (*cut)(struct ff3_conn *conn);
	/* conn is not pinned any more: frees what carries it, and the frames that it holds. */
	void (*close)(struct ff3_conn *conn);
};

/* What carries a connection that has no carrier. Frames are a byte stream to conn.c and reply.c: receive lets bytes come
 * to where ff3_conn_receive has made room (conn->buf, or the payload of conn->incoming) and reports
 * them by ff3_conn_arrived; send takes them from the queue and reports them by ff3_conn_sent. */
struct ff3_conn_ops {
	const char *name;
	/* So many bytes of replies leave at once, instead of with all others of the turn. */
	size_t gather;
	/* Begins; conn->receiving is set until the next ff3_conn_arrived. */
	void (*receive)(struct ff3_conn *conn);
	/* The queue is not empty, and conn->sending is not set. */
	void (*send)(struct ff3_conn *conn);
	/* A number that changes with every byte that passes, and by how much it must to count. */
	uint64_t (*moved)(const struct ff3_conn *conn, uint64_t *ret_enough);
	/* The connection is dead and nothing of it is under way. May be NULL. */
	void (*finish)(struct ff3_conn *conn);
	/* Its last request was replied to. May be NULL. */
	void (*free)(struct ff3_conn *conn);
};

struct ff3_conn {
	struct ff3_server *server; /* NULL once closed */
	const struct ff3_conn_ops *ops;
	struct ff3_loop *loop;
	struct ff3_conn *prev, *next;
	const struct ff3_carrier *carrier; /* NULL: the stream socket fd */
	void *carried;
	struct ff3_server *by; /* whose listener it came by */
	int fd;
	bool local; /* fd is a local socket */
	bool near;  /* fd is a TCP socket with both ends on this host */
	struct ucred cred; /* of the process at its other end, when it connected */
	struct ff3_conn_claim *claim; /* fd is local, until greeted: conn_user.c's */
	uint8_t role; /* enum ff3_role, once greeted; 0: another */
	bool may_shm; /* the peer may attach to shared memory */
	struct ff3_conn_shm *shm; /* once attached; server_shm.c's */
	void *user;
	bool greeted; /* hello accepted: ops->closed is due */
	bool closing;
	bool dead;
	bool receiving;  /* recv_io is in the ring */
	bool sending;	 /* send_io is in the ring */
	bool parsing;	 /* inside conn_parse */
	bool no_room;	 /* ops->payload had no room; waits for ff3_server_resume */
	bool full;	 /* over UNSENT_MAX, HELD_MAX or REQUESTS_MAX; waits for replies to leave */
	bool end_queued; /* end_work is in the loop's list */
	bool parse_queued;
	bool drained; /* the last receive emptied the socket */
	unsigned n_pinned;
	unsigned n_requests;
	uint64_t held;	     /* by its requests and replies */
	uint64_t no_room_ns; /* since when ops->payload has had no room; 0: it has */
	uint64_t seen_at, seen_ns; /* stall.c: how far it had moved, and when */

	struct ff3_io recv_io;
	uint8_t *buf;
	size_t buf_size, buf_start, buf_end;
	struct ff3_frame *incoming; /* its payload is being received */
	size_t payload_have;
	uint64_t skip; /* payload bytes to throw away */

	struct ff3_io send_io;
	struct ff3_frame *out_first, **out_last;
	size_t out_bytes;
	size_t out_sent; /* bytes of out_first that left already */
	struct msghdr msg;
	struct iovec iov[FF3_SEND_IOV];
	union ff3_fds_control control; /* of msg, while descriptors go with it */

	struct ff3_timer hello_timer;
	uint64_t received_ns;
	struct ff3_work end_work;   /* sends what gathered, moves */
	struct ff3_work parse_work; /* parses what is in buf */
	struct ff3_work move_work;
	struct ff3_server *move_to;
	struct ff3_frame *free_frames;
	unsigned n_free_frames;
	char peer[64];
};

struct ff3_listener {
	struct ff3_server *server;
	int fd; /* -1: none */
	struct ff3_io io;
	struct ff3_timer timer;
	bool listening; /* io is in the ring */
};

struct ff3_server {
	struct ff3_loop *loop;
	const struct ff3_server_ops *ops;
	void *user;
	struct ff3_listener listeners[3]; /* TCP, a local socket, and the abstract one */
	_Atomic uint32_t transports; /* FF3_TRANSPORT_*: for the hello; targets' threads ask */
	struct ff3_server_memory {
		uint8_t *base;
		size_t size;
	} memory[FF3_SERVER_MEMORY];
	unsigned n_memory;
	struct ff3_server_counters counters;
	uint64_t version_said_ns; /* when the log last told of a peer of another version */
	uint64_t ticket_said_ns;  /* ... without a ticket that is good */
	const struct ff3_tickets *tickets; /* NULL: whoever comes over a network is believed */
	struct ff3_verbs_port *ports;
	struct ff3_verbs_door *door;
	bool freed;
	struct ff3_conn *conns;
};

/* server.c */
/* A connection that by's listener brought. NULL: no memory. */
struct ff3_conn *ff3_conn_new_carried(struct ff3_server *server, struct ff3_server *by,
				      const struct ff3_carrier *carrier, void *carried,
				      const char *peer);
int ff3_conn_new(struct ff3_server *server, int fd, const struct sockaddr *addr, socklen_t len);
void ff3_conn_move(struct ff3_conn *conn, struct ff3_server *to);
/* Shuts down now; the rest follows as operations end. */
void ff3_conn_kill(struct ff3_conn *conn);
/* May free conn, or its server. */
void ff3_conn_unpin(struct ff3_conn *conn);
/* Frees a closed connection with its last request. */
enum ff3_link_kind ff3_conn_kind(const struct ff3_conn *conn);
void ff3_conn_free_if_unused(struct ff3_conn *conn);

/* server_verbs_listen.c */
void ff3_server_offer_verbs(struct ff3_server *server);
void ff3_server_verbs_shut(struct ff3_server *server);
/* server_verbs.c */
void ff3_server_verbs_free_ports(struct ff3_server *server);

/* conn.c */
/* A request's frame, checked; body lives until it is delivered. NULL: conn was killed. */
struct ff3_frame *ff3_conn_begin(struct ff3_conn *conn, const struct ff3_header *h,
				 const uint8_t *body);
/* To the daemon. */
void ff3_conn_deliver(struct ff3_conn *conn, struct ff3_frame *f);
/* version: what the peer's header names. */
void ff3_conn_answer_version(struct ff3_conn *conn, unsigned version);
bool ff3_conn_is_full(const struct ff3_conn *conn);
void ff3_conn_parse(struct ff3_conn *conn);
/* Parses in a while, from the loop. */
void ff3_conn_queue_parse(struct ff3_conn *conn);
/* Puts a receive into the ring if the connection may receive. */
void ff3_conn_receive(struct ff3_conn *conn);
/* n bytes came to where they were to go. */
void ff3_conn_arrived(struct ff3_conn *conn, size_t n);
extern const struct ff3_conn_ops ff3_conn_stream;
void ff3_conn_on_recv(struct ff3_io *io, int res);
void ff3_conn_hello_late(struct ff3_timer *t);

/* conn_user.c */
enum { FF3_CONN_GROUPS = 4 * FF3_GROUPS_MAX };
/* A local socket from now on says as whom its bytes are sent. */
int ff3_conn_claim_new(struct ff3_conn *conn);
/* The hello was accepted, or will not be. */
void ff3_conn_claim_free(struct ff3_conn *conn);
/* Until then, receives by this what is there: the number of bytes, 0 at the end, or a negative errno. */
int ff3_conn_claim_receive(struct ff3_conn *conn, void *p, size_t len);
/* Makes the hello's user and groups (which then are in the buffer) those that the kernel knows, of a local socket's peer,
 * or that its ticket says, if the server asks for one over networks; unless it may act for others. -EACCES: it claims to be
 * a daemon, and may not; FF3_E_CREDENTIAL: it has no ticket that is good. */
int ff3_conn_identify(struct ff3_conn *conn, struct ff3_req_hello *hello, uint8_t groups[FF3_CONN_GROUPS]);

/* reply.c */
void ff3_conn_send(struct ff3_conn *conn);
/* n bytes of the queue have left. */
void ff3_conn_sent(struct ff3_conn *conn, size_t n);
/* Sends by the socket: what conn->ops->send of a stream is. */
void ff3_conn_send_stream(struct ff3_conn *conn);
void ff3_conn_on_send(struct ff3_io *io, int res);
void ff3_conn_queue_end(struct ff3_conn *conn);
void ff3_conn_end(struct ff3_work *w);
/* NULL: no memory. */
struct ff3_frame *ff3_frame_new(struct ff3_conn *conn);
/* The request is over; may free a closed connection. */
void ff3_frame_free(struct ff3_conn *conn, struct ff3_frame *f);
/* Frees the replies that will never leave. */
void ff3_conn_drop_replies(struct ff3_conn *conn);

/* server_shm.c */
/* The peer asks for shared memory: answers r, and the connection goes on there. */
void ff3_conn_attach(struct ff3_conn *conn, struct ff3_request *r);
/* Where the client wants an answer's payload; NULL: nowhere that exists. */
uint8_t *ff3_conn_place(const struct ff3_conn *conn, uint32_t page, uint32_t n_pages);
/* Whether r's payload of len bytes, which is elsewhere, is better put into its place than sent by the ring. */
bool ff3_conn_prefers_place(const struct ff3_request *r, size_t len);

/* stall.c */
uint64_t ff3_conn_moved_stream(const struct ff3_conn *conn, uint64_t *ret_enough);
