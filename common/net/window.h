/* Memory of a server's that the client of one connection reads by itself, without a request: windows over
 * RDMA. A window is bound to the queue pair of its connection, so that its key is of use to nobody else.
 *
 * When it is taken back, the client is told first: by 8 zero bytes in memory that its request named, so
 * that it reads there no more. It may not look. So what counts is that the key is void (LOCAL_INV
 * completed), and nothing else: whoever reads by it after that loses the connection.
 *
 * Threads: the connection's loop. */
#pragma once

#include "server.h"

struct ff3_verbs_window;

/* Embedded; lives from ff3_window_bind until done said that it is over. */
struct ff3_window {
	/* Once after bind, with what became of it: if negative, it is over. Once after unbind, with 0.
	 * Possibly before those return. */
	void (*done)(struct ff3_window *w, int status);
	/* Once it is bound: for the client. */
	uint64_t addr;
	uint32_t rkey;

	/* The server's own. */
	struct ff3_conn *conn; /* NULL: gone, and with it the window */
	struct ff3_verbs_window *window;
	const void *p;
	uint32_t len;
	uint8_t step;
	bool waits; /* for room to post */
	uint64_t told_addr; /* where the client looks */
	uint32_t told_rkey; /* 0: nowhere */
	uint64_t since_ns;  /* the step began */
	struct ff3_timer timer;
	struct ff3_window *next, *prev;
};

/* Whether conn is one over which windows can be had. */
bool ff3_conn_has_windows(const struct ff3_conn *conn);
/* [p, p + len) lies in memory of ff3_server_register_memory. */
void ff3_window_bind(struct ff3_window *w, struct ff3_conn *conn, const void *p, uint32_t len);
/* The client of r, which w is the answer to, looks in the memory that r names. */
void ff3_window_tell(struct ff3_window *w, const struct ff3_request *r);
/* Bound ones only. */
void ff3_window_unbind(struct ff3_window *w);
