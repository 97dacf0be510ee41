/* What server.c needs of the loop beyond loop.h. Only common/net includes this; only files that
 * include it (and loop.c) know that the loop is liburing. */
#pragma once

#include <liburing.h>
#include <sys/queue.h>

#include "loop.h"

/* A submission entry whose completion calls io->fn. Never NULL: where the queue is full, the entry
 * waits in the loop's own backlog. Fill it with io_uring_prep_* and then call ff3_loop_sqe_done. */
struct io_uring_sqe *ff3_loop_sqe(struct ff3_loop *loop);
static inline void ff3_loop_sqe_done(struct io_uring_sqe *sqe, struct ff3_io *io)
{
	io_uring_sqe_set_data(sqe, io);
}

struct io_uring *ff3_loop_ring(struct ff3_loop *loop);
/* What was prepared so far reaches the kernel now. Nothing while the loop is only being prepared. */
void ff3_loop_submit(struct ff3_loop *loop);

/* Memory that files are read to, which is there until it is taken back (loop_lent.c). */
#define FF3_LENT_PIECE ((size_t)2 << 20)
struct ff3_lent {
	struct ff3_loop *loop; /* NULL: not lent */
	char *base;
	size_t size;
	uint32_t used[16]; /* of each piece: bytes read there since it was found to have no slot */
	int slot[16];
	LIST_ENTRY(ff3_lent) link;
};
/* Of what is larger than 16 pieces, those. */
void ff3_loop_lend(struct ff3_loop *loop, struct ff3_lent *l, void *base, size_t size);
/* When nothing is read to it any more. Nothing, if it is not lent or the loop has gone. */
void ff3_loop_take_back(struct ff3_lent *l);
/* The loop goes. */
void ff3_loop_lent_forget(struct ff3_loop *loop);
/* The registered buffer that holds [buf, buf + len), or -1. */
int ff3_loop_lent_index(struct ff3_loop *loop, const void *buf, size_t len);

#define FF3_LOOP_FILES 1024u
#define FF3_LENT_SLOTS 256u
/* What the ring was told of memory and files (loop_files.c). */
struct ff3_loop_files {
	char *memory;
	size_t memory_size;
	bool registered;
	int *slot_of_fd; /* -1: none */
	size_t n_slot_of_fd;
	int fd_of_slot[FF3_LOOP_FILES];
	LIST_HEAD(, ff3_lent) lent;
	unsigned first_lent, n_lent_slots; /* 0: the kernel has none to give */
	bool lent_slots[FF3_LENT_SLOTS];   /* taken */
};
struct ff3_loop_files *ff3_loop_files(struct ff3_loop *loop);

/* Calls w->fn on this thread, in this turn before the idle hook if that has not run yet, else in
 * the next turn, which then does not sleep. */
void ff3_loop_defer(struct ff3_loop *loop, struct ff3_work *w);
/* Calls w->fn at the very end of this turn, after the idle hook. */
void ff3_loop_defer_end(struct ff3_loop *loop, struct ff3_work *w);
/* Something that is looked at without system calls. */
struct ff3_poller {
	/* In every turn: takes what is there. Whether there was something. */
	bool (*poll)(struct ff3_poller *p);
	/* Whether there is something. */
	bool (*ready)(struct ff3_poller *p);
	/* Whether it is worth to look again and again for a while instead of sleeping. */
	bool (*worth)(struct ff3_poller *p);
	/* Does so. Whether there is something, or something completed. */
	bool (*spin)(struct ff3_poller *p);
	/* Before sleeping: asks to be woken. Whether there is something already. */
	bool (*arm)(struct ff3_poller *p);
	/* With the loop. */
	void (*free)(struct ff3_poller *p);
	bool active; /* there is something to look at; else nothing of the above is called but free */
};
/* One for each loop, which owns it from then on. */
void ff3_loop_set_poller(struct ff3_loop *loop, struct ff3_poller *p);
struct ff3_poller *ff3_loop_poller(const struct ff3_loop *loop);
/* Whether completions, or the kernel's work for some, wait to be seen to; or somebody posted. */
bool ff3_loop_has_completions(const struct ff3_loop *loop);
/* A process of this host has sent on fd, a TCP socket, or was answered: if it runs on another core, more comes sooner
 * than this thread could fall asleep and be woken, so the next wait begins awake (spin.h). */
void ff3_loop_near(struct ff3_loop *loop, int fd);
/* Wakes who waits for fd, a socket, by a byte that does not wait itself: when this turn ends, in one system call
 * with all others, as each that is woken in a call of its own may take this thread's place. false: it has to be
 * sent now. Before fd is closed: ff3_loop_bells_out. */
bool ff3_loop_ring_bell(struct ff3_loop *loop, int fd);
void ff3_loop_bells_out(struct ff3_loop *loop);
/* Whether ff3_loop_run is on the stack. */
bool ff3_loop_is_running(const struct ff3_loop *loop);
/* One turn without the idle hook, for tearing down while the loop does not run. wait: sleep until
 * something completes. -errno: this thread may not run the loop, or it is broken. */
int ff3_loop_step(struct ff3_loop *loop, bool wait);
