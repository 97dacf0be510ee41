/* The inside of links over shared memory: rpc_shm.c (connecting, sending), rpc_shm_recv.c. */
#pragma once

#include "rpc_priv.h"
#include "shm.h"
#include "shm_slots.h"

/* The frame that is being received. */
struct ff3_shm_frame {
	bool begun; /* its header was taken */
	bool checked; /* its body was taken, and is good */
	struct ff3_header h;
	uint32_t body_have, crc;
	uint8_t prefix[FF3_SHM_PLACE];
};

struct ff3_rpc_shm {
	uint8_t *map, *data;
	struct ff3_shm_page *page;
	struct ff3_shm_end up; /* conn->send_lock */
	struct ff3_spinner room_spinner; /* the same */
	struct ff3_slots slots;
	_Atomic uint32_t n_large; /* pages that large places have had, until they are enough */
	atomic_bool huge_tried[FF3_SHM_N_HUGE];

	/* The reader's. */
	struct ff3_shm_end down;
	struct ff3_shm_frame frame;
	bool asked;	     /* to be woken */
	uint32_t n_vain;     /* times that there was nothing, without a look at the socket */
	uint64_t looked_ns;  /* when there was one (CLOCK_MONOTONIC_COARSE) */
	atomic_bool is_told; /* the socket may have bytes; the sender's, too */
};

/* What was done to a call before it was shown to the daemon happened before its reply is taken: by way of the
 * daemon, which ThreadSanitizer does not see. */
#ifdef __SANITIZE_THREAD__
void AnnotateHappensBefore(const char *file, int line, const volatile void *mem);
void AnnotateHappensAfter(const char *file, int line, const volatile void *mem);
#else
#define AnnotateHappensBefore(file, line, mem) ((void)0)
#define AnnotateHappensAfter(file, line, mem) ((void)0)
#endif

int ff3_rpc_receive_shm(struct ff3_rpc_conn *conn, bool wait, struct ff3_rpc_call **done);
bool ff3_rpc_shm_about_to_sleep(struct ff3_rpc_conn *conn);
/* Takes what the socket has: 1 if there was something. Without conn->lock, or at once. */
int ff3_rpc_shm_take_bytes(struct ff3_rpc_conn *conn, int flags);
int ff3_rpc_shm_look(struct ff3_rpc_conn *conn);
bool ff3_rpc_shm_is_apart(const struct ff3_rpc_shm *s);
/* Wakes the daemon. */
void ff3_rpc_shm_bell(struct ff3_rpc_conn *conn);
