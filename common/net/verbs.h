/* RDMA as the transports see it: devices, registered memory, connected queue pairs. No header of
 * rdma-core is needed to use this; what is behind it is the module libff3fs_verbs.so, which is
 * loaded late (verbs_load.c), so that nothing else depends on rdma-core.
 *
 * A link is a reliable connected queue pair, made by librdmacm, that carries messages in order:
 * every receive slot holds one. Bulk data do not travel in messages: who is told a piece of the
 * other's memory reads or writes it. A window is such a piece for one link, that can be taken back. A queue is what completions come out of: a client has one for
 * each link, a daemon's loop one for all links of a device, with one shared stock of receive slots.
 *
 * Threads: calls on devices and memory from any thread. On one link, one thread at a time posts
 * (send, write, read, bind) and one at a time polls its queue; the two may differ.
 * Fork: a child owns nothing of its parent's. after_fork_child closes the descriptors it inherited, so
 * that the parent's end is the end of its queue pairs; nothing may be called on the parent's links
 * but forget. Signals: not async-signal-safe. */
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include "../base/base.h"

#define FF3_VERBS_ABI 3u
#define FF3_VERBS_SLOT 2048u
/* What connecting sides tell each other in the connection request. */
#define FF3_VERBS_TERMS_MAX 48u
#define FF3_VERBS_WHY 160u
#define FF3_VERBS_FORKED "the process was forked past the library's handlers"

struct ff3_verbs_device;
struct ff3_verbs_queue;
struct ff3_verbs_link;
struct ff3_verbs_region;
struct ff3_verbs_listener;
struct ff3_verbs_window;

/* Memory of the other side. */
struct ff3_verbs_piece {
	uint64_t addr;
	uint32_t rkey;
	uint32_t len;
};

/* Registered memory of ours. */
struct ff3_verbs_memory {
	struct ff3_verbs_region *region;
	uint8_t *p; /* pool_get: the buffer */
	uint32_t lkey, rkey;
};

enum ff3_verbs_kind {
	FF3_VERBS_NONE, /* something posted is done; there may be room again */
	FF3_VERBS_RECV,
	FF3_VERBS_SENT, /* what was posted with this id, and all before it, is done with its memory */
	FF3_VERBS_DEAD, /* the link is broken: status says why */
};

struct ff3_verbs_event {
	enum ff3_verbs_kind kind;
	int status; /* of SENT and DEAD: 0 or -errno */
	struct ff3_verbs_link *link;
	uint64_t id;
	/* RECV: until given back */
	uint8_t *data;
	uint32_t len;
	uint32_t slot;
};

/* For the process. */
struct ff3_verbs_counters {
	_Atomic uint64_t sends, recvs, reads, writes, inlined; /* work requests posted */
	_Atomic uint64_t registrations, cache_hits, cache_drops, bounces, bounced_bytes;
	_Atomic uint64_t polls, wakeups;
};

struct ff3_verbs_api {
	uint32_t abi;
	struct ff3_verbs_counters *counters;

	/* One line for each port of each device: name, state, addresses, what is wrong with it.
	 * Returns how many are usable; -errno if there is no device at all. */
	int (*describe)(char *text, size_t size);
	/* The device was removed: it waits for everybody to let go of it. */
	bool (*device_gone)(struct ff3_verbs_device *device);
	/* Around a fork, by the forking thread: nobody is inside librdmacm meanwhile. In the child,
	 * before any other call; prepared: before_fork was called, else there are no links in it. */
	void (*before_fork)(void);
	void (*after_fork_parent)(void);
	void (*after_fork_child)(bool prepared);
	/* False: no link will ever be had in this process, a child that was not prepared, or that one of those made;
	 * connect gives -ENODEV and FF3_VERBS_FORKED. */
	bool (*may_connect)(void);

	/* --- Links ------------------------------------------------------------------------------ */

	/* Connects; *ret is up, with its own queue. why[FF3_VERBS_WHY]: the reason in words. user
	 * goes with the link. */
	int (*connect)(const struct sockaddr *to, const void *terms, size_t n_terms,
		       uint64_t deadline_ns, struct ff3_verbs_link **ret, char *why);
	/* Pollable: readable when the link or its queue has something after arm. */
	int (*link_fd)(const struct ff3_verbs_link *link);
	struct ff3_verbs_queue *(*link_queue)(const struct ff3_verbs_link *link);
	struct ff3_verbs_device *(*link_device)(const struct ff3_verbs_link *link);
	void *(*link_user)(const struct ff3_verbs_link *link);
	void (*link_set_user)(struct ff3_verbs_link *link, void *user);
	/* So many may be posted now (messages or transfers). */
	unsigned (*link_room)(struct ff3_verbs_link *link);
	/* So many messages of up to len bytes may be sent now. */
	unsigned (*send_room)(struct ff3_verbs_link *link, size_t len);
	/* So many were posted, and so many are known to be done, modulo 2^32. The last ones without an id
	 * are known to be when something with an id, a probe, is done after them. By the polling thread. */
	uint32_t (*progress)(const struct ff3_verbs_link *link, uint32_t *ret_posted);

	/* Sends the n pieces of iov as one message of at most FF3_VERBS_SLOT bytes; they are copied.
	 * id 0: no SENT event. -EAGAIN: no room now, SENT events make some. Other errors break. */
	int (*send)(struct ff3_verbs_link *link, const struct iovec *iov, int n, uint64_t id);
	/* Moves len bytes between local memory at p and the other side's piece. -EAGAIN: link_room is 0. */
	int (*write)(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, const void *p,
		     const struct ff3_verbs_piece *to, uint32_t len, uint64_t id);
	int (*read)(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, void *p,
		    const struct ff3_verbs_piece *from, uint32_t len, uint64_t id);
	/* An empty transfer: its SENT says that the other side lives. */
	int (*probe)(struct ff3_verbs_link *link, uint64_t id);

	/* The link comes to its end: everything posted completes with an error, then DEAD. From any
	 * thread. */
	void (*cut)(struct ff3_verbs_link *link);
	/* Nothing is transferred any more, and nothing comes from it; before close, if memory that was
	 * named to the other side is to be released first. */
	void (*quiet)(struct ff3_verbs_link *link);
	/* Frees it; nobody may use it. After a fork in the child: use forget. */
	void (*close)(struct ff3_verbs_link *link);
	/* The child lets go of a link of its parent's. */
	void (*forget)(struct ff3_verbs_link *link);

	/* --- Queues ----------------------------------------------------------------------------- */

	/* n_slots receive slots shared by all links. */
	int (*queue_new)(struct ff3_verbs_device *device, unsigned n_slots,
			 struct ff3_verbs_queue **ret);
	void (*queue_free)(struct ff3_verbs_queue *queue);
	int (*queue_fd)(const struct ff3_verbs_queue *queue);
	/* Up to max events; 0: none now. Negative: the queue itself failed. */
	int (*poll)(struct ff3_verbs_queue *queue, struct ff3_verbs_event *events, int max);
	/* Gives a RECV's slot back. */
	void (*give_back)(struct ff3_verbs_queue *queue, const struct ff3_verbs_event *event);
	/* Asks for the descriptor to become readable at the next completion, and takes in what made it
	 * readable before. Poll once more afterwards, before sleeping. */
	int (*arm)(struct ff3_verbs_queue *queue);

	/* --- Memory ----------------------------------------------------------------------------- */

	/* A buffer of at least len bytes (up to 4 MiB) from the device's pool, for the other side of links that
	 * were connected to read and write. */
	int (*pool_get)(struct ff3_verbs_device *device, size_t len, struct ff3_verbs_memory *ret);
	/* The same for transfers by this side of links that were accepted, whose other sides reach neither
	 * this nor anything else but windows. */
	int (*own_get)(struct ff3_verbs_device *device, size_t len, struct ff3_verbs_memory *ret);
	/* Memory of somebody else's for the other side to read and write: from the cache of
	 * registrations, or into it. -EAGAIN: small, and not seen before: not worth it. -EOPNOTSUPP: it
	 * is shared with others. -EFAULT and others: it cannot be registered. */
	int (*hold)(struct ff3_verbs_device *device, const void *p, size_t len,
		    struct ff3_verbs_memory *ret);
	/* For both. */
	void (*release)(struct ff3_verbs_device *device, struct ff3_verbs_memory *m);
	/* Registrations that touch [p, p + len) are not used any more: it is about to be unmapped, moved
	 * or made read-only, or turned out to be other memory than it was. On all devices. Waits for
	 * nothing and frees nothing: may be called amid an allocator, and from a handler. */
	void (*memory_gone)(const void *p, size_t len);
	/* Memory of the caller's that stays: the arena. For links that were accepted. */
	int (*region_new)(struct ff3_verbs_device *device, void *p, size_t len,
			  struct ff3_verbs_memory *ret);
	void (*region_free)(struct ff3_verbs_memory *m);

	/* --- Windows: memory that the other side of one link reads by itself --------------------------- */

	/* Of a device with memory windows of type 2; -EOPNOTSUPP: it has none. */
	int (*window_new)(struct ff3_verbs_device *device, struct ff3_verbs_window **ret);
	/* Before its link is quiet or closed. If it is bound, nobody reads by it any more: whoever tries
	 * loses the link. Accepts NULL. */
	void (*window_free)(struct ff3_verbs_window *w);
	/* Lets the other side, and nobody else, read [p, p + len) of m's region as *ret says; from
	 * the SENT with id on. Soft-RoCE of Linux 6.1 keeps to the bounds of the region only, not to
	 * these (measured): there, what must not be read may not be in one region with what may. */
	int (*bind)(struct ff3_verbs_link *link, struct ff3_verbs_window *w,
		    const struct ff3_verbs_memory *m, const void *p, uint32_t len, uint64_t id,
		    struct ff3_verbs_piece *ret);
	/* After the SENT with id nobody reads by it any more: whoever tries loses the link. */
	int (*unbind)(struct ff3_verbs_link *link, struct ff3_verbs_window *w, uint64_t id);

	/* --- Daemons ---------------------------------------------------------------------------- */

	/* Listens on every device that the address reaches. Its descriptor is readable when accept
	 * may have something. */
	int (*listen)(const struct sockaddr *at, struct ff3_verbs_listener **ret, char *why);
	/* The links that came by it live on, and listen_again may follow. */
	void (*shut)(struct ff3_verbs_listener *l);
	int (*listen_again)(struct ff3_verbs_listener *l, const struct sockaddr *at, char *why);
	void (*unlisten)(struct ff3_verbs_listener *l);
	int (*listener_fd)(const struct ff3_verbs_listener *l);
	/* 1: a connection request, to be accepted or closed; 0: nothing now; -ENODEV: the device was
	 * removed, and the listener hears nothing any more: shut. Other things that
	 * happened to links of this listener (they ended) come as DEAD from their queue. */
	int (*request)(struct ff3_verbs_listener *l, struct ff3_verbs_link **ret, void *terms,
		       size_t *n_terms);
	/* Its completions come from queue from now on. Any thread, but one at a time per queue. */
	int (*accept)(struct ff3_verbs_link *link, struct ff3_verbs_queue *queue);
	void (*peer_name)(const struct ff3_verbs_link *link, char *text, size_t size);
};

/* What the module exports, under this name. */
#define FF3_VERBS_SYMBOL "ff3_verbs_api"

/* verbs_load.c: the module; NULL with the reason in *ret_why. Loaded once and kept. */
const struct ff3_verbs_api *ff3_verbs(const char **ret_why);
/* Whether this machine has a device at all. */
bool ff3_verbs_device(void);
