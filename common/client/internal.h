/* What the files of libff3fs share: structs, and the calls between them.
 *
 * Levels, each using only those above it:
 *   user_mem.c              the application's memory, touched without crashing in it
 *   client.c                the client object, entering and leaving, texts of errors
 *   meta.c  routes.c        calls to metad; where a chain's bytes are
 *   inode.c                 what this process knows of a file, shared by all its descriptors
 *   piece.c                 one request to one chunk, with its retries
 *   hold.c  sync.c          unsynced writes and their copies; fsync
 *   chunk_read.c chunk_write.c append.c    striped reads and writes
 *   board.c                 what processes of this host tell each other
 *   hot*.c                  reads of chunks that daemons of this host expose (hot.h)
 *   lease*.c                what metad lets this host keep of names and attributes (lease.h)
 *   write_behind.c  read_ahead.c  flusher.c
 *   lock.c                  locks between hosts
 *   daemons.c               what is told of the daemons
 *   file.c names.c attrs.c dir.c batch.c fork.c    the calls of ff3fs.h
 *
 * It is long because all files of the folder share it.
 *
 * Locks, in the order in which they may be taken; those marked * are held over requests:
 *   the list of clients (fork.c) > fs->flusher.lock > fs->inodes_lock > inode->gather.lock * > fs->replay.lock * >
 *   inode->hold.lock * > inode->lock * (registration) > fs->routes.lock * > fs->peers_lock >
 *   fs->meta.lock, fs->pool.lock, fs->hot.lock
 * A read-ahead's lock and a batch are taken before gather.lock; a directory has none. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "../base/probe.h"
#include "recover.h"
#include "../base/conf.h"
#include "../base/crc32c.h"
#include "../base/hash.h"
#include "../base/locks.h"
#include "../net/rpc_group.h"
#include "ff3fs.h"
#include "hot_state.h"
#include "lease.h"
#include "slow.h"

/* One request moves at most this much: the checksums of a piece are then computed while its data
 * are in the cache, and several pieces share the way. */
#define PIECE_MAX (1024u * 1024u)
#define PIECE_CRCS (PIECE_MAX / FF3_BLOCK + 1)
/* A piece's iovecs; the transport takes at most 64 into one receive. */
#define PIECE_IOV_MAX 32
/* Requests of one read or write that are under way at once. */
#define WINDOW 16u
/* What read(2) and write(2) move at most. */
#define RW_COUNT_MAX 0x7ffff000u

/* --- user_mem.c: memory of the application --------------------------------------------------- */

int ff3_user_zero(void *p, size_t len);

/* A position in an array of iovecs. */
struct ff3_cursor {
	const struct iovec *iov;
	int n;
	size_t offset; /* in iov[0] */
};

/* Sum of lengths; -EINVAL for too many or too much in one. */
ssize_t ff3_iov_len(const struct iovec *iov, int n);
void ff3_cursor_skip(struct ff3_cursor *c, size_t len);
/* Up to max iovecs of the next at most len bytes; returns the bytes they cover. The cursor moves
 * behind them. */
size_t ff3_cursor_take(struct ff3_cursor *c, size_t len, struct iovec *ret, int max, int *ret_n);
/* Copies the next len bytes to or from the application. */
int ff3_cursor_read(struct ff3_cursor *c, void *to, size_t len);
int ff3_cursor_write(struct ff3_cursor *c, const void *from, size_t len);
int ff3_cursor_zero(struct ff3_cursor *c, size_t len);

/* --- user.c ----------------------------------------------------------------------------------- */

/* The calling thread's calls are those of the real user until ff3_as_oneself(). */
int ff3_as_real_user(void);
void ff3_as_oneself(void);
void ff3_users_after_fork(void);

/* --- routes.c -------------------------------------------------------------------------------- */

/* One target at one address. Never freed before the client, so that pointers need no count. */
struct ff3_peer {
	struct ff3_peer *next;
	uint64_t target;
	struct ff3_slow slow;
	struct ff3_rpc_peer *rpc;
	_Atomic(struct ff3_rpc_peer *) local; /* over a local socket, for what comes with descriptors */
	_Atomic uint64_t hot_retry_ns;	      /* not asked to expose anything before */
	struct ff3_now *_Atomic now; /* its target's entry on the board, if its key is now_key */
	uint64_t now_key;
	char address[];
};

struct ff3_route {
	uint32_t chain;
	uint64_t version;
	struct ff3_peer *peer; /* NULL: its node is not known */
};

/* A version of the routing table. Old versions live until the client is freed, too. */
struct ff3_routes {
	struct ff3_routes *older;
	uint64_t version;
	uint32_t n;
	struct ff3_route route[]; /* ordered by chain */
};

/* --- hold.c ---------------------------------------------------------------------------------- */

/* A write that a daemon has in memory only, with its bytes. */
struct ff3_held {
	struct ff3_held *next;
	uint64_t number; /* grows in the order of acknowledgement */
	uint64_t target;
	uint64_t instance;
	uint64_t stamp;  /* the same among all processes of the host; 0: there is no board */
	uint32_t index, offset, len;
	uint8_t *data; /* from the pool */
};

/* What is unsynced on one target. */
struct ff3_unsynced {
	uint64_t target;
	uint32_t chain;
	uint64_t instance;
	uint64_t settled; /* as recover.c has it: what it lost was sent again up to this instance */
	uint64_t last; /* number of the newest write */
	bool lost;     /* bytes went with a daemon and no copy was held */
};

struct ff3_hold {
	pthread_mutex_t lock;
	struct ff3_held *first, **last;
	struct ff3_unsynced *unsynced;
	_Atomic uint32_t n_unsynced;
	uint64_t number;
	_Atomic uint64_t repeats; /* raised when bytes begin and end to be sent again: odd meanwhile */
	_Atomic uint64_t since_ns; /* of the oldest unsynced write, for the flusher */
};

/* --- write_behind.c -------------------------------------------------------------------------- */

struct ff3_gather {
	pthread_mutex_t lock;
	uint8_t *buf; /* a pool buffer of size bytes, or NULL */
	uint32_t size;
	uint64_t offset;
	_Atomic uint32_t len;
	_Atomic uint64_t since_ns;
	int error; /* of a flush that nobody waited for: told once */
	_Atomic uint64_t token; /* on the board */
	_Atomic uint64_t untold_token; /* the same of the fsync that untold_end is of; or 0 */
	_Atomic uint64_t untold_end; /* sent, and metad learns of it by an fsync that is under way; or 0 */
	uint32_t untold_cuts; /* how often the file was cut when that was sent */
	_Atomic uint32_t untold_number; /* of it; odd until it can be read */
	_Atomic uint32_t told_number;   /* of the last one that metad knows of already */
	pthread_mutex_t tell_lock; /* over a request; a child has one of its own */
};

/* --- inode.c --------------------------------------------------------------------------------- */

/* An end that metad may have in memory only. It counts as long as the file was cut so often and no more. */
struct ff3_told {
	_Atomic bool busy; /* the others are being changed, for a moment */
	uint64_t end;      /* 0: none */
	uint32_t cuts;
};

/* A file of which this process has at least one descriptor. */
struct ff3_inode {
	struct ff3fs *fs;
	uint64_t ino;
	uint32_t refs; /* under fs->inodes_lock */
	UT_hash_handle hh;

	/* The layout never changes. */
	uint32_t mode; /* type bits are valid */
	uint32_t chunk_shift;
	uint32_t n_stripe;
	uint32_t seed;
	uint32_t *stripe;

	/* What is known of it. Size and generation as metad last told, or more by own writes; too
	 * small a size costs a question, too large a one is noticed by short chunks. */
	_Atomic uint64_t size;
	_Atomic uint64_t generation;
	_Atomic uint32_t cuts; /* how often it was cut, as metad last told */
	_Atomic uint64_t write_epoch; /* raised by every own change of its bytes, for read-ahead */

	/* Registration at metad, under lock; meta_epoch is read without it. */
	pthread_mutex_t lock;
	_Atomic uint64_t meta_epoch; /* fs->meta_epoch under which its opens are registered */
	uint64_t count_epoch;        /* the epoch that registered counts in */
	uint32_t registered;         /* opens that metad counts for us */
	uint32_t open_flags;         /* FF3_OPEN_READ | FF3_OPEN_WRITE of all of them */
	bool shared_by_fork;         /* so nobody releases it */
	uint64_t retry_ns;           /* no attempt at registering for a read before */

	struct ff3_told told_end;         /* told by extend, not yet logged by commit */
	_Atomic uint64_t dense_end;       /* written by us up to here without a gap, if size is less */
	_Atomic bool sparse;              /* with a gap, or perhaps not at all; stays so */
	_Atomic bool uncommitted;         /* something was written since the last commit */
	_Atomic bool told;                /* and metad has heard of it, so that the times are right */
	_Atomic uint64_t next_write;      /* where a sequential writer would go on */

	struct ff3_locks locks; /* held by us; under lock */
	bool lost_lock;         /* one of them went to somebody else */

	struct ff3_hot_file hot;
	pthread_mutex_t lease_lock; /* of lease, for moments */
	struct ff3_lease_ref lease;
	struct ff3_gather gather;
	struct ff3_hold hold;
};

struct ff3_read_ahead;

struct ff3fs_file {
	struct ff3fs *fs;
	struct ff3_inode *inode;
	_Atomic uint32_t refs;
	_Atomic int flags;
	_Atomic bool wrote;          /* since its last fsync */
	_Atomic bool kills;          /* the first write takes set-user-ID bits away */
	_Atomic uint64_t next_read;  /* where a sequential reader would go on */
	_Atomic uint32_t sequential; /* reads in a row that did */
	_Atomic(struct ff3_read_ahead *) ahead;
};

/* A mutation under way, for struct tag's acked. */
struct ff3_mutation {
	struct ff3_mutation *prev, *next;
	uint64_t seq;
};

struct ff3_meta {
	struct ff3_rpc_group *group;
	pthread_mutex_t lock;
	uint64_t seq;
	struct ff3_mutation mutations; /* list head; ordered by seq */
	_Atomic uint64_t instance;     /* of the metad that last answered; 0: none yet */
	_Atomic uint64_t former;       /* the instance before */
	_Atomic uint64_t heard_ns;     /* when (CLOCK_MONOTONIC_COARSE); see ff3_meta_keep */
	struct {
		pthread_mutex_t lock; /* only tried */
		struct ff3_rpc_call call;
		uint8_t body[16], reply[16];
		bool asked;
		uint64_t asked_ns;
	} ping;
	_Atomic bool doubted; /* a ping is not answered: the flusher is to ask who serves */
};

struct ff3_flusher {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool running, stop;
	_Atomic bool awake; /* looks by itself soon */
	_Atomic uint64_t n_kicks;
	uint64_t seen_kicks;
	uint32_t seen_bell; /* of the board; the thread's own */
	_Atomic uint32_t n_gathering; /* inodes with bytes in gather */
	_Atomic uint32_t n_untold; /* fsyncs under way that will tell an end */
};

struct ff3_pool {
	pthread_mutex_t lock;
	void *free[64]; /* of PIECE_MAX bytes each; as many as the default write_hold has */
	unsigned n_free;
};

struct ff3fs {
	struct ff3fs *next; /* in fork.c's list */
	struct ff3_conf conf;
	struct ff3_rpc_identity identity;
	char ticket[FF3_TICKET_MAX + 1];
	uint32_t groups[FF3_GROUPS_MAX];
	uint64_t timeout_ns;
	_Atomic uint64_t session;

	struct ff3_meta meta;
	_Atomic uint64_t device; /* 0: not known yet */
	/* Raised when metad restarted and in a forked child: registrations of older epochs are void. */
	_Atomic uint64_t meta_epoch;
	_Atomic int sweep_due; /* meta.c */

	struct {
		pthread_mutex_t lock;
		_Atomic(struct ff3_routes *) current;
	} routes;
	pthread_mutex_t peers_lock;
	struct ff3_peer *peers;

	pthread_mutex_t inodes_lock;
	struct ff3_inode *inodes;

	_Atomic uint64_t write_seq; /* tags of chunk writes */
	_Atomic bool locked; /* this process has taken a lock at metad */
	_Atomic uint64_t n_held;    /* bytes */
	struct ff3_flusher flusher;
	struct ff3_replay replay;
	struct ff3_pool pool;
	struct ff3_hot hot;
	struct ff3_leases leases;
	/* How many forks this process is away from the one that made fs: what was under way then
	 * does not exist here. */
	uint64_t fork_epoch;
	_Atomic bool forking;
	/* A child that no handler saw being made, where neither RDMA nor TCP is left: nothing gathers in it. */
	bool cut_off;
	uint32_t board_salt;
};

/* --- client.c -------------------------------------------------------------------------------- */

/* Every public call begins with FF3_ENTER(): -EDEADLK if the thread is inside another one, which
 * only a signal handler can achieve. */
int ff3_enter(void);
void ff3_leave(const int *entered);
bool ff3_inside(void);
/* The same for what has no cancellation point on its way: it takes a part of that. */
int ff3_enter_briefly(void);
void ff3_leave_briefly(const int *entered);

#define FF3_ENTER_BRIEFLY()                                                                        \
	_cleanup_(ff3_leave_briefly) const int _entered = ff3_enter_briefly();                     \
	if (UNLIKELY(_entered < 0))                                                                \
	return _entered

#define FF3_ENTER()                                                                                \
	_cleanup_(ff3_leave) const int _entered = ff3_enter();                                     \
	if (UNLIKELY(_entered < 0))                                                                \
	return _entered

/* The text of ff3fs_last_error, of a daemon that cannot be spoken with. */
void ff3_explain_daemon(const struct ff3fs *fs, const struct ff3_rpc_peer *rpc, const char *daemon, const char *address,
			int cause);
/* A code for the application: negative errno, or -FF3FS_REDIRECT. Explains domain codes. */
int ff3_public(int r);

/* --- texts.c --------------------------------------------------------------------------------- */

/* There is a text of ff3fs_last_error, of this call. */
extern THREAD_LOCAL bool ff3_explained;
void ff3_explain(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same, and what is wrong with a configuration; "": nothing is. */
void ff3_explain_conf(const char *error);
/* Or -ENOMEM. */
int ff3_set_redirect(struct ff3_str path);

/* Retrying, without a clock until something failed. */
struct ff3_retry {
	uint64_t deadline_ns;
	uint32_t pause_us;
	uint32_t n; /* attempts that failed */
};
struct ff3_retry ff3_retry_begin(const struct ff3fs *fs);
/* Whether the request may succeed if it is sent again: transport errors and RETRY_SAME. */
bool ff3_retriable(int r);
/* The same for requests to chunk daemons. */
bool ff3_chunk_retriable(int r);
/* Sleeps, longer each time; cause when the deadline has passed. */
int ff3_retry_pause(struct ff3_retry *retry, int cause);
/* What was tried until now, for people: ", attempt 7 after 1.2 s". Empty for the first one. */
struct ff3_tried {
	char text[64];
};
struct ff3_tried ff3_retry_tried(const struct ff3fs *fs, const struct ff3_retry *retry);

/* Buffers of up to PIECE_MAX bytes whose pages are reused. */
void *ff3_pool_get(struct ff3fs *fs, size_t len);
void ff3_pool_put(struct ff3fs *fs, void *p, size_t len);

/* --- meta.c ---------------------------------------------------------------------------------- */

typedef size_t (*ff3_encode_fn)(void *buf, size_t size, const void *m);
typedef int (*ff3_decode_fn)(const void *buf, size_t len, void *m);

struct ff3_meta_call {
	uint16_t op;
	bool mutates; /* the request begins with a tag */
	bool once;    /* not repeated after a transport error */
	uint64_t limit_ns; /* not longer than this; 0: the client's timeout */
	bool registering; /* made under inode->lock: other inodes wait for ff3_meta_sweep */
	ff3_encode_fn encode;
	ff3_decode_fn decode;
	void *req;
	void *rep;     /* its strings point into buf */
	void *buf;     /* for the reply's body */
	size_t size;
	uint64_t instance; /* result: of the metad that answered */
};

/* 0 or a negative code. Repeats until the client's timeout. */
int ff3_meta_call(struct ff3fs *fs, struct ff3_meta_call *call);
/* Size of a reply whose strings are a path or a layout at most. */
#define META_REPLY_SIZE 8192

#define FF3_META_CALL(operation, is_mutation, request, reply, buffer, buffer_size)                 \
	((struct ff3_meta_call){ .op = FF3_OP_##operation,                                         \
				 .mutates = (is_mutation),                                         \
				 .encode = (ff3_encode_fn)ff3_encode_req_##operation,              \
				 .decode = (ff3_decode_fn)ff3_decode_rep_##operation,              \
				 .req = (request),                                                 \
				 .rep = (reply),                                                   \
				 .buf = (buffer),                                                  \
				 .size = (buffer_size) })

struct ff3_path ff3_path_of(uint64_t dir, const char *path, unsigned flags);
void ff3_attr_to_public(const struct ff3_attr *a, struct ff3fs_attr *ret);
void ff3_attr_of_blob(struct ff3fs *fs, struct ff3_blob b, struct ff3fs_attr *ret);
static inline uint32_t ff3_meta_lease_ms(const struct ff3fs *fs)
{
	return atomic_load_explicit(&ff3_rpc_group_known(fs->meta.group)->lease_ms, memory_order_relaxed);
}
static inline uint64_t ff3_meta_cluster(const struct ff3fs *fs)
{
	return atomic_load(&ff3_rpc_group_known(fs->meta.group)->cluster);
}
int ff3_meta_init(struct ff3fs *fs);
void ff3_meta_done(struct ff3fs *fs);
/* From calls that need no metad: asks it now and then, without waiting, whether it is still the one
 * that counts our opens. */
void ff3_meta_keep(struct ff3fs *fs);
/* The same from a thread that may wait for the answer. */
void ff3_meta_ask(struct ff3fs *fs);
void ff3_meta_after_fork(struct ff3_meta *meta);
/* Metad restarted since the last sweep: registers every open file again. Not under a lock. */
void ff3_meta_sweep(struct ff3fs *fs);
/* In a child: nothing is registered. */
void ff3_meta_forked(struct ff3fs *fs);
/* Opens of an inode, one-way. */
void ff3_meta_release(struct ff3fs *fs, uint64_t ino, uint32_t n);

/* --- routes.c -------------------------------------------------------------------------------- */

/* The way to chain, from the table or, if it is not there, from metad. Negative: none. */
int ff3_route_find(struct ff3fs *fs, uint32_t chain, struct ff3_route *ret);
/* Asks metad, unless the table is newer than the version seen. once: not over lost connections. */
int ff3_routes_refresh(struct ff3fs *fs, uint64_t seen, bool once);
uint64_t ff3_routes_version(struct ff3fs *fs);
void ff3_routes_done(struct ff3fs *fs);

/* --- board.c: between processes -------------------------------------------------------------- */

void ff3_board_init(struct ff3fs *fs);
void ff3_board_after_fork(void);
/* This process gathers bytes of ino: a token to end with, any number of times. 0: the board is full. */
#define FF3_BOARD_ALONE UINT64_MAX /* there is no board */
uint64_t ff3_board_begin(const struct ff3fs *fs, uint64_t ino);
void ff3_board_end(uint64_t token);
/* Before a call that could see bytes or size, under no lock: other processes that gather for ino send
 * first. true: some did. */
bool ff3_board_settle(const struct ff3fs *fs, uint64_t ino);
/* The same after metad was asked for the attributes of ino, and what ended meanwhile counts as well, this process's
 * own too. told: ff3_board_told before. */
uint64_t ff3_board_told(void);
bool ff3_board_outdates(const struct ff3fs *fs, uint64_t ino, uint64_t told);
/* The same for a call that cuts a file of which only the name is known. */
void ff3_board_settle_all(const struct ff3fs *fs);
/* For flushers: the bell was rung since, and somebody waits for this one's end. */
uint32_t ff3_board_bell(void);
bool ff3_board_wait(uint32_t bell, uint64_t timeout_ms);
void ff3_board_ring(void);
bool ff3_board_is_asked(uint64_t token);
/* Its bytes have changed; how often they have. */
void ff3_board_changed(const struct ff3fs *fs, uint64_t ino);
uint32_t ff3_board_changes(const struct ff3fs *fs, uint64_t ino);

/* --- inode.c --------------------------------------------------------------------------------- */

/* registered: metad has registered an open, which the inode takes over. */
int ff3_inode_get(struct ff3fs *fs, const struct ff3_attr *attr, const struct ff3_layout *layout,
		  uint32_t open_flags, bool registered, struct ff3_inode **ret);
struct ff3_inode *ff3_inode_find(struct ff3fs *fs, uint64_t ino);
void ff3_inode_ref(struct ff3_inode *inode);
/* The last one releases the opens. */
void ff3_inode_unref(struct ff3_inode *inode);
/* Every inode of fs, referenced; to be unreferenced and the array freed. */
int ff3_inodes_all(struct ff3fs *fs, struct ff3_inode ***ret, size_t *ret_n);
void ff3_inode_learn(struct ff3_inode *inode, const struct ff3_attr *attr);
/* Attributes of any file as an answer has them: a metad that restarted may not know yet how long we have made it. */
void ff3_attr_complete(struct ff3fs *fs, struct ff3_attr *attr);
void ff3_inode_grow(struct ff3_inode *inode, uint64_t size);
/* We cut it, and attr is what is left. */
void ff3_inode_cut(struct ff3_inode *inode, const struct ff3_attr *attr);
/* Asks metad for size and generation. attr may be NULL. */
int ff3_inode_refresh(struct ff3_inode *inode, struct ff3_attr *ret);
/* Makes sure that metad counts our opens of it. */
int ff3_inode_register(struct ff3_inode *inode);
/* The same for a read, which works without: tries once, quickly. */
void ff3_inode_register_soon(struct ff3_inode *inode);
/* The registration of older calls is void: do it again before the next. */
void ff3_inode_unregister(struct ff3_inode *inode);
/* A call that needs the file open at metad: registers before it, and again if it must. With
 * inode->lock held if the call says `registering`. */
int ff3_inode_call(struct ff3_inode *inode, struct ff3_meta_call *call);
int ff3_inode_extend(struct ff3_inode *inode, uint64_t end);
/* Tells an end again that metad hears of otherwise, too, unless the file was cut more often than cuts: then 1. */
int ff3_inode_tell(struct ff3_inode *inode, uint64_t end, uint32_t cuts);
/* A reply has said that metad holds end. false: it was a former metad's. */
bool ff3_inode_told(struct ff3_inode *inode, uint64_t end, const struct ff3_rep_extend *rep, uint64_t instance);
/* The end that is to be committed; and it is, unless another one was told meanwhile. */
struct ff3_told ff3_told_get(struct ff3_told *t);
void ff3_told_committed(struct ff3_told *t, const struct ff3_told *seen);
/* Own bytes changed: read-ahead is old. */
static inline void ff3_inode_touch(struct ff3_inode *inode)
{
	atomic_fetch_add_explicit(&inode->write_epoch, 1, memory_order_acq_rel);
	ff3_board_changed(inode->fs, inode->ino);
}

static inline uint32_t ff3_inode_chunk_size(const struct ff3_inode *inode)
{
	return (uint32_t)1 << inode->chunk_shift;
}

static inline uint32_t ff3_inode_chain(const struct ff3_inode *inode, uint32_t index)
{
	return inode->stripe[((uint64_t)index + inode->seed) % inode->n_stripe];
}

/* --- piece.c --------------------------------------------------------------------------------- */

/* A request to one chunk: data of at most PIECE_MAX bytes. */
struct ff3_piece {
	struct ff3_rpc_call call; /* call.user: the piece */
	struct ff3_inode *inode;
	uint16_t op;
	uint8_t n_checksum; /* mismatches so far */
	uint8_t n_memory;   /* times that it was not sent for want of memory */
	bool once;          /* a lost connection is an error */
	bool started;
	uint32_t flags;
	uint32_t index, offset, length;
	uint64_t seq;
	uint64_t repeats; /* hold.repeats before it was sent for the first time */
	int n_iov;
	struct iovec one;
	struct iovec *iov; /* &one or an array of n_iov */
	struct iovec own;  /* of a read that is repeated because of its checksum: where it goes first */
	struct ff3_route route;
	uint64_t routes_version;
	int start_error;
	bool no_wait; /* -ENOTCONN instead */
	bool replay;     /* of a copy: nothing is waited for */
	uint64_t settled; /* the target's settled instance when it was sent */
	/* Results. */
	uint32_t got; /* bytes read */
	uint32_t chunk_size;
	uint64_t instance;
	uint8_t *data; /* of a write: the pool buffer of length bytes that is sent */
	void *owner;   /* batch.c's */
	uint32_t n_crcs; /* of data, in crcs, little-endian; 0: not computed yet */
	uint8_t wire[128 + 4 * PIECE_CRCS]; /* body and reply, the small one in the first 64 */
	uint32_t crcs[PIECE_CRCS]; /* of a write; or a read's, as the transport found them */
};

/* The part [offset, offset + len) of a file that one piece can carry, given max bytes. */
static inline uint32_t ff3_piece_span(const struct ff3_inode *inode, uint64_t offset, uint64_t len)
{
	uint32_t chunk_size = ff3_inode_chunk_size(inode);
	uint64_t room = chunk_size - (offset & (chunk_size - 1));

	return (uint32_t)MIN(MIN(room, len), (uint64_t)PIECE_MAX);
}

void ff3_piece_init(struct ff3_piece *p, struct ff3_inode *inode, uint16_t op, uint64_t offset,
		    uint32_t length);
/* Takes what p writes into p->data, with its checksums. -EFAULT. */
int ff3_piece_take(struct ff3_piece *p, struct ff3_cursor *c);
/* Makes its call ready to be started at p->route's peer. 0, or the error that is kept in start_error. */
int ff3_piece_prepare(struct ff3_piece *p);
/* Prepares and sends it; an error is kept for ff3_piece_wait. */
void ff3_piece_start(struct ff3_piece *p);
/* Looks at a call that is done. 0, or a negative code; ff3_piece_again tells whether sending it
 * again can help. */
int ff3_piece_check(struct ff3_piece *p);
/* After a failed check: pauses and sends again. Negative: it is final; -ERESTART: not that, but it is one that is
 * not repeated (once), and others have sent again meanwhile what the daemon had lost. */
int ff3_piece_again(struct ff3_piece *p, struct ff3_retry *retry, int cause);
/* Its failure as the text of ff3fs_last_error. */
void ff3_piece_explain(const struct ff3_piece *p, const struct ff3_retry *retry, int cause);
/* Waits, repeats what must be repeated. 0 or a negative code. */
int ff3_piece_wait(struct ff3_piece *p, struct ff3_retry *retry);
/* Forgets what is under way; its memory is free then. */
void ff3_piece_abandon(struct ff3_piece *p);
/* CRCs of the pieces that the block grid cuts data into. Returns how many. */
size_t ff3_block_crcs(uint32_t offset, const void *data, size_t len, uint32_t *ret);
/* Whether crcs (little-endian, as on the wire) are those of the data. */
bool ff3_block_crcs_match(uint32_t offset, const struct iovec *iov, int n, size_t len,
			  struct ff3_blob crcs);

/* --- chunk_read.c, chunk_write.c, append.c --------------------------------------------------- */

/* Reads [offset, offset + len) into c; see ff3fs_pread. */
ssize_t ff3_read(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset);
/* Writes len bytes of c and tells metad the new end. sync: the data are durable then. */
int ff3_write(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset, bool sync);
/* Only the data; a lost connection is an error, and -ERESTART as of ff3_piece_again. */
int ff3_write_once(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset,
		   bool sync);
/* The piece was acknowledged: keeps its bytes until they are synced. -ERESTART: as ff3_piece_check. */
int ff3_write_done(struct ff3_piece *p, uint64_t *end);
/* Waits for a write, and that. */
int ff3_write_wait(struct ff3_piece *p, struct ff3_retry *retry, uint64_t *end);
ssize_t ff3_append(struct ff3fs_file *file, struct ff3_cursor c, size_t len, uint64_t *ret_offset);

/* --- lock.c ---------------------------------------------------------------------------------- */

/* Takes the inode's locks again from a metad that restarted. inode->lock is held. */
int ff3_locks_reclaim(struct ff3_inode *inode);

/* --- hold.c, sync.c -------------------------------------------------------------------------- */

void ff3_hold_init(struct ff3_hold *hold);
void ff3_hold_done(struct ff3_inode *inode);
/* Before len more bytes are written: syncs other bytes if the bound is reached. */
int ff3_hold_room(struct ff3fs *fs, size_t len);
/* Takes data over (len bytes from the pool; NULL: not held), but for -ERESTART: its daemon is gone. */
int ff3_hold_add(struct ff3_inode *inode, const struct ff3_piece *p, uint8_t *data);
/* True if a read must be repeated: it came from an instance that had lost our writes, and they were
 * sent again, or they were being sent again meanwhile. */
bool ff3_hold_check_read(struct ff3_inode *inode, struct ff3_piece *p);
/* The application cut the file to size: nothing beyond must come back. */
void ff3_hold_truncate(struct ff3_inode *inode, uint64_t size);
/* What was written there is not ours any more. */
void ff3_hold_forget(struct ff3_inode *inode, uint64_t offset, uint64_t len);
/* One of them, *at, is needed no more; one is sent again. lock is held. */
void ff3_hold_remove(struct ff3_inode *inode, struct ff3_held **at);
int ff3_hold_send_again(struct ff3_inode *inode, struct ff3_held *h);
/* The daemon of u is another one than u->instance: sends again what it lost. u may be dropped, if
 * nothing was left to send. lock is held. */
int ff3_hold_resend(struct ff3_inode *inode, struct ff3_unsynced *u);
void ff3_hold_drop(struct ff3_inode *inode, uint64_t target, uint64_t instance, uint64_t number);
struct ff3_unsynced *ff3_hold_find(struct ff3_hold *hold, uint64_t target);

/* Everything this process sent of inode so far is durable in the chunk daemons. An error stays to
 * be told to somebody who asks. */
int ff3_sync_background(struct ff3_inode *inode);
/* The same, and size and times at metad, for somebody who asks. end: an end of the file that metad was
 * not told yet, or 0. whole: what
 * other processes wrote, too. */
int ff3_sync(struct ff3_inode *inode, uint64_t end, bool whole);
/* Size and times alone. */
int ff3_sync_meta(struct ff3_inode *inode, uint64_t end);

/* --- write_behind.c, flusher.c --------------------------------------------------------------- */

void ff3_gather_init(struct ff3_gather *g);
/* Takes a small sequential write. 1: taken; 0: the caller writes it; negative errno. */
int ff3_gather_write(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset);
int ff3_gather_flush(struct ff3_inode *inode);
/* For close and fsync, which commit: *ret_end is the end that metad was not told; 0: none. */
int ff3_gather_flush_end(struct ff3_inode *inode, uint64_t *ret_end);
/* Before a call that could see it: what is gathered of ino, if anything at all is. */
static inline bool ff3_gathering(const struct ff3_inode *inode)
{
	return atomic_load_explicit(&inode->gather.len, memory_order_acquire) > 0;
}
/* After ff3_gather_flush_end with *ret_end > 0: metad knows of it, or never will. */
void ff3_gather_told(struct ff3_inode *inode);
/* Tells the end that an fsync under way is about to commit, for whoever cannot wait for that: to let others see it, or
 * to cut the file, for the fsync's own counts for nothing after a cut. 1: metad knows of it; 0: there is none. */
int ff3_gather_tell(struct ff3_inode *inode);
/* Before a cut, of any file: what is gathered is sent, and what is sent is told. */
void ff3_flush_to_cut(struct ff3fs *fs);
/* Makes metad know of what this process has gathered for ino: 1 if there was something. */
int ff3_gather_flush_ino(struct ff3fs *fs, uint64_t ino);
/* After metad was asked for the attributes of ino: what this process and others on this host have gathered is sent.
 * true: metad has to be asked again. told: ff3_board_told before it was asked. */
bool ff3_gather_outdates(struct ff3fs *fs, uint64_t ino, uint64_t told);
int ff3_flush_all(struct ff3fs *fs);

/* A thread of the library: all signals are blocked, and its stack is small. -errno. */
int ff3_thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg);
int ff3_flusher_init(struct ff3_flusher *f);
void ff3_flusher_done(struct ff3fs *fs);
/* Starts the thread if there is none, and makes it look again soon. */
void ff3_flusher_kick(struct ff3fs *fs);

/* --- read_ahead.c ---------------------------------------------------------------------------- */

/* Serves a read from read-ahead. -EAGAIN: not possible, read normally. */
ssize_t ff3_ahead_read(struct ff3fs_file *file, struct ff3_cursor c, size_t len, uint64_t offset);
void ff3_ahead_free(struct ff3fs_file *file);

/* --- file.c, fork.c -------------------------------------------------------------------------- */

bool ff3_file_writable(const struct ff3fs_file *file);
bool ff3_file_readable(const struct ff3fs_file *file);
void ff3_clients_add(struct ff3fs *fs);
void ff3_clients_remove(struct ff3fs *fs);
