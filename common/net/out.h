/* The calling end of a connection on a loop: one-way frames to a daemon that is called again and again.
 * For daemons that speak to each other and must never wait; who wants answers uses rpc.h.
 *
 * Nothing is promised of a frame: it is lost where the connection breaks, or is not there, or has not
 * taken what came before.
 *
 * Threads: the loop's. Failure: the connection is made anew after a pause of 10 ms, doubling up to
 * 200 ms. */
#pragma once

#include "../wire/wire.h"
#include "loop.h"

struct ff3_out;

struct ff3_out_ops {
	/* The body of hello, at each connection: at most size bytes; returns its length. */
	size_t (*hello)(void *user, void *body, size_t size);
	/* It was answered. Negative: the connection is not wanted, and tried again later. */
	int (*up)(void *user, const struct ff3_rep_hello *reply);
	/* A connection, or an attempt, ended with error. */
	void (*down)(void *user, int error);
};

/* address: "host:port", resolved now; connects once the loop runs. */
int ff3_out_new(struct ff3_loop *loop, const char *address, const struct ff3_out_ops *ops, void *user,
		struct ff3_out **ret);
/* While the loop does not run. Accepts NULL. */
void ff3_out_free(struct ff3_out *out);
bool ff3_out_is_up(const struct ff3_out *out);
/* Begins a frame; returns where payload_len bytes of its payload go, which must be filled before
 * anything else is called. NULL: it cannot be sent. */
uint8_t *ff3_out_frame(struct ff3_out *out, uint16_t op, const void *body, size_t body_len,
		       size_t payload_len);
/* Sends what was begun. */
void ff3_out_flush(struct ff3_out *out);
