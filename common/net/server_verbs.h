/* The inside of a daemon's verbs connections, shared by server_verbs.c (ports, life), server_verbs_io.c
 * (requests, replies), server_verbs_window.c (windows) and server_verbs_listen.c (connection requests). */
#pragma once

#include "server_priv.h"

struct ff3_verbs_message {
	struct ff3_verbs_message *next;
	size_t len;
	uint8_t data[];
};

/* Of one server and device. */
struct ff3_verbs_port {
	struct ff3_verbs_port *next;
	struct ff3_server *server;
	const struct ff3_verbs_api *v;
	struct ff3_verbs_device *device;
	struct ff3_verbs_queue *queue;
	struct ff3_verbs_memory memory[FF3_SERVER_MEMORY]; /* of the server's, in its order */
	unsigned n_memory;
	struct ff3_verbs_memory zeros; /* FF3_VERBS_WORD of them; p is NULL: none */
	struct ff3_io io;
	bool closed; /* goes with its last event */
	struct ff3_timer timer;
	struct ff3_verbs_carried *carried;
	bool starved; /* somebody waits for room to post */
	bool busy; /* with events that may name connections */
	struct ff3_verbs_carried *dead; /* to be buried */
	struct ff3_work bury_work;
	bool bury_queued;
};

struct ff3_verbs_carried {
	struct ff3_verbs_carried *next, *next_dead;
	struct ff3_conn *conn;
	struct ff3_verbs_port *port;
	struct ff3_verbs_link *link;
	struct ff3_verbs_prefix prefix; /* of the frame that comes */
	struct ff3_verbs_assembly in;
	struct ff3_verbs_message *backlog, **backlog_last;
	size_t backlog_bytes;
	struct ff3_frame *reads, **reads_last; /* requests whose payload is transferred, */
	struct ff3_frame *read_next;	       /* from here on not posted */
	struct ff3_frame *under_way, **under_way_last; /* replies that are not known to be there */
	struct ff3_window *windows;
	unsigned n_waiting_windows; /* for room in the send queue */
	uint32_t seen_done; /* of what was posted, at the last look, */
	unsigned n_still;   /* and at so many before, while more was not known to be done */
	bool probing;
	uint64_t heard_ns;
};

static inline struct ff3_verbs_carried *ff3_verbs_carried(struct ff3_conn *conn)
{
	return conn->carried;
}

/* server_verbs_io.c */
/* In the id of a transfer towards us: the rest is the request's frame. */
#define FF3_VERBS_READ_MARK 1u
void ff3_verbs_on_message(struct ff3_conn *conn, const uint8_t *data, size_t len);
/* Takes messages that had to wait. */
void ff3_verbs_receive(struct ff3_conn *conn);
/* The first request of reads has its payload. */
void ff3_verbs_read_done(struct ff3_conn *conn, struct ff3_frame *f);
/* Posts transfers that wait for room in the send queue. */
void ff3_verbs_continue_reads(struct ff3_conn *conn);
void ff3_verbs_send_queue(struct ff3_conn *conn);
/* The first reply under way is there. */
void ff3_verbs_sent(struct ff3_conn *conn, struct ff3_frame *f);
void ff3_verbs_release_bounce(struct ff3_verbs_carried *c, struct ff3_frame *f);

/* server_verbs_window.c */
/* In the id of what is posted for a window: the rest is that. */
#define FF3_VERBS_WINDOW_MARK 4u
struct ff3_window;
/* What was posted for it is done. */
void ff3_verbs_window_done(struct ff3_window *w);
/* Goes on with those that wait for room in the send queue. */
void ff3_verbs_continue_windows(struct ff3_conn *conn);
/* The client keeps one from its end. */
bool ff3_verbs_windows_stuck(const struct ff3_verbs_carried *c, uint64_t now);
/* The connection ends: before its queue pair goes, and after that. */
void ff3_verbs_free_windows(struct ff3_verbs_carried *c);
void ff3_verbs_end_windows(struct ff3_verbs_carried *c);

/* server_verbs.c */
extern const struct ff3_carrier ff3_verbs_carrier;
/* On server's loop: link, which by's listener was asked for, becomes a connection of it. */
void ff3_server_verbs_adopt(struct ff3_server *server, struct ff3_server *by,
			    const struct ff3_verbs_api *v, struct ff3_verbs_link *link);
void ff3_server_verbs_free_ports(struct ff3_server *server);
