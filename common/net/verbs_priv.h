/* The inside of libff3fs_verbs.so, shared by verbs_device.c (devices, fork), verbs_memory.c (pool and
 * registrations), verbs_pin.c (pages), verbs_queue.c (completions), verbs_link.c (posting), verbs_cm.c and verbs_listen.c
 * (connections). What it gives to others
 * is in verbs.h.
 *
 * Queue pairs belong to device contexts of our own and not to those that librdmacm opens: it keeps
 * its contexts for the process, and a forked child could not have others. So librdmacm only finds the
 * way and carries the handshake, and the queue pair is moved through its states here.
 *
 * Locks, in this order: ff3_verbs_control (devices, anything that calls librdmacm), ff3_verbs_list, a
 * device's memory lock. None is held while waiting for an event; under the last two nothing is allocated or
 * freed. */
#pragma once

#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>

#include "verbs.h"

/* Work requests of one link's send queue, and how often one of them is signalled at least. */
#define SEND_DEPTH 128u
#define SIGNAL_EVERY 32u
/* A client's link; a daemon's says in queue_new. */
#define CLIENT_SLOTS 64u
#define CLIENT_SEND_SLOTS 32u
#define DAEMON_SEND_SLOTS 512u
/* Of which one link may have so many, and when more than half of them are in use: a peer that takes nothing
 * holds what it has. */
#define SEND_SHARE 32u
#define SEND_SHARE_SHORT 4u
#define INLINE_WANTED 256u
#define NO_SLOT UINT32_MAX

/* Registered memory: somebody's in the cache, a buffer of the pool, or a caller's own. */
struct ff3_verbs_region {
	struct ibv_mr *mr;
	uintptr_t from, to;
	bool cached; /* in the table: it can be found */
	unsigned refs;
	uint64_t used; /* when, in uses of the cache */
	uint8_t size_class; /* of a pool buffer */
	bool pooled;
	bool own; /* of the daemons' pool */
	struct ff3_verbs_region *next; /* in the pool, or among the dead */
};

#define POOL_CLASSES 11u /* 4 KiB … 4 MiB */
#define POOL_KEEP FF3_MIB(32)
#define CACHE_REGIONS 2048u
#define CACHE_BYTES FF3_MIB(512)
#define SEEN 256u

struct ff3_verbs_device {
	struct ff3_verbs_device *next;
	char name[64];
	struct ibv_context *context;
	struct ibv_pd *pd;	 /* of clients' links: what is registered there, the other side reaches */
	struct ibv_pd *own_pd; /* of daemons': nothing but windows is */
	struct ibv_device_attr attr;
	bool odp;       /* what is registered need not be pinned */
	bool user_ok;   /* memory of the application's may be registered: forks are no danger */
	bool gone;      /* was removed */
	unsigned refs;
	struct rdma_cm_id *anchor; /* keeps librdmacm's idea of the device */
	struct ibv_context *cm_context;
	pthread_mutex_t lock; /* all that follows */
	struct ff3_verbs_region **cache; /* by address; CACHE_REGIONS at most */
	unsigned n_cached;
	size_t cached_bytes, cached_max;
	size_t longest; /* no region in the cache is longer */
	uint64_t uses;
	uintptr_t seen[SEEN]; /* pages of small buffers; and of shared memory, with how often that need
			       * not be asked */
	struct ff3_verbs_region *pool[POOL_CLASSES], *own_pool[POOL_CLASSES];
	size_t pool_bytes, pool_max; /* that lie unused */
	struct ff3_verbs_region *dead; /* out of the table, to be dropped when that may allocate */
	_Atomic bool all_gone; /* nothing in the table is known to be right */
};

struct ff3_verbs_queue {
	struct ff3_verbs_device *device;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_srq *srq; /* NULL: the slots are of its one link */
	int n_cqe;
	unsigned n_links; /* that can fill the queue */
	struct ff3_verbs_link *links[256]; /* by queue pair number */
	struct ff3_verbs_link *one; /* a client's */
	uint8_t *memory;
	size_t memory_size;
	struct ibv_mr *mr;
	uint8_t *slots, *send_slots;
	unsigned n_slots, n_send_slots;
	_Atomic uint64_t send_free[DAEMON_SEND_SLOTS / 64]; /* a bit for each free one */
	_Atomic uint32_t send_used;
	unsigned unacked; /* events of the channel */
	bool counted; /* holds a reference to the device */
};

/* What was posted: sequence number modulo SEND_DEPTH. */
struct posted {
	uint64_t id;
	uint32_t send_slot;
};

struct ff3_verbs_link {
	struct ff3_verbs_queue *queue;
	struct ff3_verbs_device *device;
	struct ibv_qp *qp;
	uint32_t max_inline;
	struct rdma_cm_id *cm;
	struct rdma_event_channel *channel; /* a client's own */
	struct ff3_verbs_listener *listener;
	int epoll_fd;
	bool own_queue;
	bool reported; /* DEAD was given */
	_Atomic int dead; /* 0, or -errno */
	struct ff3_verbs_link *hash_next;
	void *user;
	_Atomic uint32_t posted, completed;
	_Atomic uint32_t send_used; /* send slots */
	uint32_t unsignalled;
	struct posted sq[SEND_DEPTH];
};

struct ff3_verbs_window {
	struct ibv_mw *mw; /* its key is that of the last bind */
};

struct ff3_verbs_listener {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *cm;
	unsigned refs; /* its own and its links'; the channel carries their events as well */
};

extern pthread_mutex_t ff3_verbs_control;
extern struct ff3_verbs_counters ff3_verbs_counted;

static inline void ff3_verbs_lock(void)
{
	pthread_mutex_lock(&ff3_verbs_control);
}

static inline void ff3_verbs_unlock(void)
{
	pthread_mutex_unlock(&ff3_verbs_control);
}

#define COUNT(what, n) atomic_fetch_add_explicit(&ff3_verbs_counted.what, n, memory_order_relaxed)

/* verbs_device.c */
/* ff3_verbs_control held. The device that id was resolved to, referenced. */
int ff3_verbs_device_of(struct rdma_cm_id *id, struct ff3_verbs_device **ret);
void ff3_verbs_device_unref(struct ff3_verbs_device *d);
/* The device was removed: nobody finds it any more. */
void ff3_verbs_device_mark_gone(struct ff3_verbs_device *d);
/* The same for the device whose context of librdmacm's this is. */
void ff3_verbs_context_gone(const struct ibv_context *cm_context);
bool ff3_verbs_device_gone(struct ff3_verbs_device *d);
int ff3_verbs_describe(char *text, size_t size);
void ff3_verbs_before_fork(void);
void ff3_verbs_after_fork_parent(void);
void ff3_verbs_after_fork_child(bool prepared);
bool ff3_verbs_may_connect(void);
extern struct ff3_verbs_device *ff3_verbs_devices; /* under ff3_verbs_control, and changed under: */
extern pthread_mutex_t ff3_verbs_list; /* nothing is called under it */

/* verbs_memory.c */
void ff3_verbs_memory_done(struct ff3_verbs_device *d);
/* Lets go of len bytes that are registered and unused, or as many as there are. False: there are none. */
bool ff3_verbs_let_go(size_t len);
/* Pages that a forked child does not have; NULL: no memory. */
void *ff3_verbs_pages(size_t size);
int ff3_verbs_pool_get(struct ff3_verbs_device *d, size_t len, struct ff3_verbs_memory *ret);
int ff3_verbs_own_get(struct ff3_verbs_device *d, size_t len, struct ff3_verbs_memory *ret);
int ff3_verbs_hold(struct ff3_verbs_device *d, const void *p, size_t len,
		   struct ff3_verbs_memory *ret);
void ff3_verbs_release(struct ff3_verbs_device *d, struct ff3_verbs_memory *m);
void ff3_verbs_memory_gone(const void *p, size_t len);
int ff3_verbs_region_new(struct ff3_verbs_device *d, void *p, size_t len,
			 struct ff3_verbs_memory *ret);
void ff3_verbs_region_free(struct ff3_verbs_memory *m);

/* verbs_pin.c */
#define VERBS_PAGE ((uintptr_t)4096)
enum ff3_verbs_owner {
	FF3_VERBS_OURS,	   /* anonymous memory of this process */
	FF3_VERBS_UNKNOWN, /* not all of the pages are there yet */
	FF3_VERBS_SHARED,  /* others may have some of the pages as well, or nobody can say */
};
/* Of the pages of [from, to). */
enum ff3_verbs_owner ff3_verbs_owner_of(uintptr_t from, uintptr_t to);

/* How much memory may be pinned; SIZE_MAX: any. */
size_t ff3_verbs_pin_budget(void);
/* ibv_reg_mr, for which unused memory is let go of if need be. */
struct ibv_mr *ff3_verbs_pin(struct ibv_pd *pd, void *p, size_t len, int access);

/* verbs_queue.c */
int ff3_verbs_queue_make(struct ff3_verbs_device *d, unsigned n_slots, bool shared,
			 struct ff3_verbs_queue **ret);
int ff3_verbs_queue_new(struct ff3_verbs_device *d, unsigned n_slots, struct ff3_verbs_queue **ret);
void ff3_verbs_queue_free(struct ff3_verbs_queue *q);
int ff3_verbs_poll(struct ff3_verbs_queue *q, struct ff3_verbs_event *events, int max);
void ff3_verbs_give_back(struct ff3_verbs_queue *q, const struct ff3_verbs_event *event);
int ff3_verbs_arm(struct ff3_verbs_queue *q);
/* Puts all slots of a client's link into its queue pair. */
int ff3_verbs_fill_slots(struct ff3_verbs_link *link);
int ff3_verbs_link_add(struct ff3_verbs_queue *q, struct ff3_verbs_link *link);
void ff3_verbs_link_remove(struct ff3_verbs_queue *q, struct ff3_verbs_link *link);
/* So many send slots may link take now. */
unsigned ff3_verbs_send_slots(const struct ff3_verbs_link *link);
uint32_t ff3_verbs_send_slot_get(struct ff3_verbs_link *link);
void ff3_verbs_send_slot_put(struct ff3_verbs_link *link, uint32_t slot);
/* Ids of work requests. */
uint64_t ff3_verbs_wr_posted(uint32_t sequence);
uint64_t ff3_verbs_wr_marker(void);

/* verbs_link.c */
/* A queue pair on q; not connected. */
int ff3_verbs_qp_new(struct ff3_verbs_link *link, struct ff3_verbs_queue *q);
unsigned ff3_verbs_room(struct ff3_verbs_link *link);
unsigned ff3_verbs_send_room(struct ff3_verbs_link *link, size_t len);
uint32_t ff3_verbs_progress(const struct ff3_verbs_link *link, uint32_t *ret_posted);
int ff3_verbs_send(struct ff3_verbs_link *link, const struct iovec *iov, int n, uint64_t id);
int ff3_verbs_write(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, const void *p,
		    const struct ff3_verbs_piece *to, uint32_t len, uint64_t id);
int ff3_verbs_read(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, void *p,
		   const struct ff3_verbs_piece *from, uint32_t len, uint64_t id);
int ff3_verbs_probe(struct ff3_verbs_link *link, uint64_t id);
int ff3_verbs_window_new(struct ff3_verbs_device *d, struct ff3_verbs_window **ret);
void ff3_verbs_window_free(struct ff3_verbs_window *w);
int ff3_verbs_bind(struct ff3_verbs_link *link, struct ff3_verbs_window *w,
		   const struct ff3_verbs_memory *m, const void *p, uint32_t len, uint64_t id,
		   struct ff3_verbs_piece *ret);
int ff3_verbs_unbind(struct ff3_verbs_link *link, struct ff3_verbs_window *w, uint64_t id);
/* From any thread: the link is broken, its queue will say so. */
void ff3_verbs_link_broken(struct ff3_verbs_link *link, int cause);

/* verbs_cm.c */
/* Takes in what happened to a client's connection. */
void ff3_verbs_cm_events(struct ff3_verbs_link *link);
/* ff3_verbs_control held. An event of an established link, a client's or a daemon's. */
void ff3_verbs_established_event(struct ff3_verbs_link *link, const struct rdma_cm_event *e);
/* The same. The queue pair's next state. */
int ff3_verbs_move_to(struct ff3_verbs_link *link, enum ibv_qp_state state);
struct rdma_conn_param ff3_verbs_conn_param(const struct ff3_verbs_link *link, const void *terms,
					    size_t n);
int ff3_verbs_nonblocking(int fd);
struct ff3_verbs_link *ff3_verbs_link_new(void);
int ff3_verbs_connect(const struct sockaddr *to, const void *terms, size_t n_terms,
		      uint64_t deadline_ns, struct ff3_verbs_link **ret, char *why);
void ff3_verbs_cut(struct ff3_verbs_link *link);
void ff3_verbs_quiet(struct ff3_verbs_link *link);
void ff3_verbs_close(struct ff3_verbs_link *link);
void ff3_verbs_forget(struct ff3_verbs_link *link);

/* verbs_listen.c */
/* ff3_verbs_control held. */
void ff3_verbs_listener_unref(struct ff3_verbs_listener *l);
