/* io_uring for programs whose rings are their own: what the files uring_*.c share. The whole is
 * explained in uring_ring.c.
 *
 * Locks, outermost first: a ring's `lock`; the poster's; the side ring's. Nothing of the engine and no
 * hook is called with one held. */
#pragma once

#include <linux/io_uring.h>
#include <stdatomic.h>

#include "async.h"

/* What the headers of old kernels lack. */
#define URING_FEAT_LINKED_FILE (1u << 12) /* came after MSG_RING and CQE_SKIP_SUCCESS */
#define URING_SETUP_NO_MMAP (1u << 14)
#define URING_SETUP_REGISTERED_FD_ONLY (1u << 15)
#define URING_SETUP_NO_SQARRAY (1u << 16)
#define URING_SETUP_KNOWN ((1u << 19) - 1)
enum { /* operations */
	URING_OP_READ_MULTISHOT = 49,
	URING_OP_FTRUNCATE = 55,
	URING_OP_READV_FIXED = 60,
	URING_OP_WRITEV_FIXED = 61,
};
#define URING_SPLICE_IN_FIXED (1u << 31) /* splice_fd_in is a registered file */
#define URING_LINKS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

/* A file that the application registered, if it is ours. */
struct uring_file {
	struct ofd *ofd;
	int fd; /* a descriptor of ours for it: the application may close its own */
};

/* A ring of the application. */
struct uring {
	pthread_mutex_t lock; /* of all below */
	int fd;               /* -1: closed */
	int post_fd;          /* our own descriptor of it, or -1 */
	uint32_t refs;        /* the table's, and one for each uop in use */
	uint32_t setup;       /* IORING_SETUP_* as the kernel has them */
	bool sqpoll;          /* asked for, and not given */
	uint32_t sq_entries;
	size_t sqe_size;
	_Atomic uint32_t *sq_head, *sq_tail, *sq_flags, *cq_tail;
	uint32_t *array; /* NULL: entry i is i */
	char *sqes;
	struct {
		void *addr;
		size_t len;
	} maps[2];          /* ours, of a ring that was not made by liburing */
	uint32_t seen;      /* entries of the submission queue before this one were looked at */
	bool used;          /* one of our files has been met */
	uint32_t n_native;  /* entries passed to the kernel, */
	uint32_t n_posted;  /* completions that are not theirs, */
	uint32_t cq_base;   /* and cq_tail at the beginning: so many of them are under way, */
	bool uncountable;   /* unless some give no completion, or several */
	bool native_drain;  /* one was passed with IO_DRAIN: the last one when n_native was, */
	uint32_t drain_mark;
	struct uop *flying; /* of ours, started or in a chain that is */
	uint32_t n_units;   /* chains and single ones started */
	bool barrier;       /* one with IO_DRAIN is among them: nothing else starts */
	struct uop *held, **held_end; /* units that wait for IO_DRAIN */
	bool watched;
	struct uring *watch_next;
	struct uop *free;
	struct uring_file *files;
	uint32_t n_files;
	struct iovec *buffers;
	uint32_t n_buffers;
	struct uring *next; /* of the free ones, or of those with a high descriptor */
};

/* An entry of a submission queue that we serve. */
struct uop {
	struct async_op async;
	struct io_uring_sqe sqe; /* pointers lead to copies */
	struct uring *ring;
	struct uop *next, **back; /* ring->flying; ring->free */
	struct uop *link;         /* the next in its chain */
	struct uop *unit;         /* ring->held: the next chain */
	struct uop *work;         /* to be started next */
	struct uop *post_next, *side_next, *remove_next;
	struct uop *timeout;      /* the LINK_TIMEOUT that watches it */
	struct uop *watches;      /* of a LINK_TIMEOUT: the reverse */
	uint32_t natives_max;     /* starts when so many native ones are under way at most */
	int32_t res;
	uint32_t cqe_flags;
	int bad;    /* its arguments are wrong: the errno */
	int own_fd; /* made for it, or -1 */
	uint8_t pins;
	bool drain;  /* of a chain's first: one of it has IO_DRAIN */
	bool head;   /* the first of its chain */
	bool quiet;  /* what is cancelled after it is not told */
	bool side;   /* the kernel executes it, for us */
	bool marked; /* … and a NOP after it will say whether it failed */
	void *memory[3];
	struct iovec few[4];
	uint64_t how[3];
};

/* --- uring_ring.c -------------------------------------------------------------------------- */

/* io_uring_setup(2), io_uring_enter(2) and io_uring_register(2), as the kernel's: -errno. For
 * hooks and for whatever catches the instruction itself. */
long uring_setup(unsigned entries, struct io_uring_params *user);
long uring_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
		 const void *arg, size_t size);
long uring_register(unsigned fd, unsigned opcode, void *arg, unsigned n);

/* FF3FS_URING=off. */
bool uring_is_off(void);
/* What of IORING_SETUP_* the kernel gets, or -EINVAL. */
long uring_setup_flags(uint32_t asked);

extern _Atomic unsigned uring_n_rings;
void uring_forget(int fd);
/* fd is about to be closed, or has become something else. */
static inline void uring_fd_closed(int fd)
{
	if (UNLIKELY(atomic_load_explicit(&uring_n_rings, memory_order_relaxed) > 0))
		uring_forget(fd);
}

/* The ring with this descriptor, locked; or NULL. */
struct uring *uring_find(int fd);
/* A new one, locked, in the place of whatever had this descriptor. */
struct uring *uring_new(int fd, uint32_t setup);
void uring_unlock(struct uring *r);
void uring_unref_locked(struct uring *r); /* unlocks it, too */

struct uop *uop_new(struct uring *r);
/* A chain that was not taken after all: the ring is locked. */
void uop_discard(struct uop *first);
/* The last of pins ends it. */
void uop_unpin(struct uop *op);
void uop_fly(struct uop *op);
void uop_land(struct uop *op);

/* --- uring_files.c: with the ring locked ---------------------------------------------------- */

/* Registers what the kernel has accepted. fds may be -1 (none) or -2 (as it was). */
int uring_files_set(struct uring *r, unsigned offset, const int *fds, unsigned n);
int uring_files_table(struct uring *r, unsigned n);
void uring_file_put(struct uring *r, unsigned index, int fd, struct ofd *o); /* takes both over */
void uring_file_drop(struct uring *r, unsigned index);
/* The kernel has done this for a ring. */
void uring_registered(int fd, unsigned opcode, const void *arg, unsigned n, long result);
int uring_buffers_set(struct uring *r, unsigned offset, const struct iovec *iov, unsigned n);
int uring_buffers_table(struct uring *r, unsigned n);
void uring_tables_free(struct uring *r);
void uring_ring_fds_set(unsigned index, int fd);
/* A registered ring: its descriptor, or -1. */
int uring_ring_fd(unsigned index);

/* --- uring_sqe.c --------------------------------------------------------------------------- */

/* Looks at the entries before `end`, takes and starts those that are ours; unlocks the ring. Returns
 * what must start only when the kernel has its entries. */
struct uop *uring_prepare(struct uring *r, uint32_t end);
/* Does it read or write a file's bytes? */
bool uring_transfers(uint8_t opcode);
/* A system call that does the same, with path and numbers from the entry; -1: none. */
long uring_as_syscall(const struct io_uring_sqe *sqe, int fd, long a[6]);
bool uring_is_ours(struct uring *r, const struct io_uring_sqe *sqe);

/* --- uring_import.c ------------------------------------------------------------------------ */

/* Copies what the entry points to; op->bad says what is wrong with it. */
void uring_import(struct uop *op);

/* --- uring_run.c --------------------------------------------------------------------------- */

/* Starts what is in this list (`work`), and what results immediately follow from it. */
void uring_run(struct uop *work);
/* Units that may start now: the ring is locked. */
struct uop *uring_advance(struct uring *r);
/* op is over; failed: what is linked to it is cancelled. The list of those to start next. */
struct uop *uring_ended(struct uop *op, long result, bool failed);
/* A LINK_TIMEOUT has run out. */
void uring_timed_out(struct uop *timeout);

/* --- uring_cancel.c ------------------------------------------------------------------------ */

/* Does this entry cancel one of ours? Then its result, and in *ret_post what it has ended (by
 * post_next). */
bool uring_cancel(struct uring *r, struct uop *op, long *ret, struct uop **ret_post);
bool uring_cancels(struct uring *r, const struct io_uring_sqe *sqe);

/* --- uring_post.c -------------------------------------------------------------------------- */

/* Can completions be posted into it? Called with the ring locked. 0 or -errno. */
int uring_post_ready(struct uring *r);
/* Puts {user_data, res, cqe_flags} of op into its ring, and unpins it. */
void uring_post(struct uop *op);
void uring_post_all(struct uop *list); /* by post_next */
/* Puts a file into the ring's table as its entry wants it. The index or 0; -errno. */
long uring_send_file(struct uop *op, int fd);
void uring_post_after_fork(void);

/* --- uring_side.c -------------------------------------------------------------------------- */

/* Lets the kernel execute a native entry of a chain. 0 or -errno. */
int uring_side_run(struct uop *op);
/* Starts the timer of a LINK_TIMEOUT, which pins it. */
int uring_side_timer(struct uop *timeout);
/* Ends a timer, or cancels an entry, once: the ring is locked. */
void uring_side_remove(struct uop *op);
/* Looks at the ring every moment, until nothing is held. */
void uring_side_watch(struct uring *r);
void uring_side_after_fork(void);
