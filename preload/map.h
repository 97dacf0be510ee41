/* What the map_*.c files share: the objects that mappings are of, and the list of mappings.
 *
 *	hook_map.c      the hooks
 *	map_region.c    which addresses are mappings of ours
 *	map_object.c    node-wide objects: loading, sending stores
 *	map_step.c      and keeping them in step with calls
 *	map_node.c      the files behind them, and who lives
 *	map_fault.c     userfaultfd: pages loaded when they are touched
 *	map_refuse.c    those that cannot be had
 *	map_evict.c     and dropped when there are too many
 *	map_private.c   private mappings
 *	map_shared.c    shared ones
 *	map_limits.c    how much memory
 *
 * Locks, in this order: map_enter (one slow operation at a time; held over the network);
 * map_lock (the list of regions; a few instructions); object->state (a few system calls). A thread
 * that serves faults takes the last two only, so nobody touches the application's memory while
 * holding them. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core.h"
#include "fdtab.h"
#include "shared_map.h"

#define MAP_PAGE 4096ul

/* --- Objects ------------------------------------------------------------------------------- */

#define MAP_SEQUENCES 64

/* Shared by all processes of the node: the first page of an object's side file. */
struct map_header {
	_Atomic uint64_t magic;
	_Atomic int64_t ahead;       /* how long a call under way makes the file; else 0 */
	_Atomic int64_t mtime_ns;    /* when it was last compared with the cluster */
	_Atomic uint32_t writable;   /* somebody could store: the sums are kept */
	_Atomic uint32_t pinned;     /* somebody maps it without fault handling: no page may go */
	_Atomic int64_t pinned_from, pinned_to; /* there a hole is zeros, not what was not loaded */
	_Atomic uint32_t dead;	     /* its files are removed */
	_Atomic uint32_t writers;    /* processes that map it writable, perhaps dead ones among them */
	_Atomic uint64_t sequence[MAP_SEQUENCES]; /* changed by writes by call, by MiB of the offset */
};

/* A file's pages on this node, in a tmpfs file of the same size, at the same offsets. */
struct map_object {
	struct map_object *next;
	uint64_t ino, id;
	int data, side;		  /* descriptors; who only looks at it has the first while he does */
	int for_child;		  /* during a fork: the child's description of data; else -1 */
	struct map_header *header;
	struct ff3fs_file *file;  /* to read, and to write if file_writes */
	bool file_writes;
	bool named;		  /* has names in the node's directory; else nobody else sees it */
	bool alone;		  /* just made: no other process can have it */
	bool writer;		  /* counted in header->writers */
	bool borrowed;		  /* the description of data is an ancestor's: its lock says nothing */
	unsigned n_regions;	  /* 0: only looked at */
	_Atomic unsigned refs;
	pthread_mutex_t state;
};

/* A private mapping that is loaded when touched. */
struct map_private {
	_Atomic unsigned refs;
	uint64_t ino, id;
	struct ff3fs_file *file;
	int memfd;	  /* all hole, as large as the data */
	off_t base;	  /* file offset of the memfd's first byte */
	size_t size;	  /* of the data */
	uint8_t *dirty;	  /* one bit a page: stored to */
	size_t n_pages;
	bool stored;	  /* a bit is set */
};

/* --- Regions ------------------------------------------------------------------------------- */

struct map_region {
	struct map_region *next;
	uintptr_t addr;
	size_t len;
	off_t offset; /* in the file, of addr */
	struct map_object *object;   /* one of the two */
	struct map_private *private;
	int prot;
	bool may_write; /* shared, of a descriptor open for writing */
	bool lazy;
	off_t next_fault; /* where a sequential reader would go on, and how much it got last time */
	size_t window;
};

extern struct map_region *map_regions; /* under map_lock */

void map_lock(void);
void map_unlock(void);
/* One slow operation; false if this thread is inside one already, or is a vfork child. */
bool map_enter(void);
bool map_enter_soon(void); /* waits two seconds at most */
void map_leave(void);

struct map_region *map_region_at(uintptr_t addr);
/* Adds a copy of r; it counts in its object or private part. */
int map_region_add(const struct map_region *r);
/* Splits regions so that they begin and end at addr and addr + len. -ENOMEM. */
int map_region_split(uintptr_t addr, size_t len);
/* Under map_lock: one lies there now. */
void map_region_reach(uintptr_t addr, size_t len);
/* Does any lie there? */
bool map_region_meets(uintptr_t addr, size_t len);
/* Takes the regions in [addr, addr + len) out of the list, which must be split there: before they are
 * unmapped, so that what is mapped there next is not taken for them. They still count. */
struct map_region *map_region_take(uintptr_t addr, size_t len);
/* Back into the list; or gone for good, when they are unmapped. */
void map_region_put_back(struct map_region *taken);
void map_region_drop(struct map_region *taken);

/* --- map_object.c -------------------------------------------------------------------------- */

/* All of these inside map_enter. */
int map_object_load(struct map_object *o, off_t from, off_t to);
int map_object_make_writable(struct map_object *o);
int map_object_send(struct map_object *o, off_t from, off_t to);
/* 1 if there was anything, which must be made durable. */
int map_object_send_unsynced(struct map_object *o, off_t from, off_t to);
/* The same within map_object_hold. */
int map_object_send_held(struct map_object *o, off_t from, off_t to);
/* After a call has written these to the cluster, all of it within map_object_hold. */
void map_object_written(struct map_object *o, const struct iovec *iov, int n, off_t at, size_t done);
/* The same before it is done, for what is behind the end. iov NULL: the file only becomes longer. Held. */
void map_object_ahead(struct map_object *o, const struct iovec *iov, int n, off_t at, size_t sum);
/* It is done, and the file as long as end at least; negative: nothing was changed. */
void map_object_arrived(struct map_object *o, off_t end);
/* What the cluster says about the file: size, and changes made elsewhere. */
int map_object_refresh(struct map_object *o, const struct ff3fs_attr *a);
void map_object_resize(struct map_object *o, off_t size);
/* [from, to) is about to be mapped without fault handling. */
int map_object_pin(struct map_object *o, off_t from, off_t to);
/* Nobody sends stores meanwhile, nor removes it. */
void map_object_hold(struct map_object *o);
void map_object_let_go(struct map_object *o);
off_t map_object_size(const struct map_object *o);

/* Under o->state and the node's lock of it: everything that must not meet others' page changes. */
void map_object_lock(struct map_object *o, uint64_t *saved);
void map_object_unlock(struct map_object *o, const uint64_t *saved);
/* The first stretch of pages in [at, to) that is there (or, holes: that is not). */
bool map_object_stretch(const struct map_object *o, off_t at, off_t to, bool holes, off_t *ret_from,
			off_t *ret_to);
/* n bytes of pages as they are here; behind the end are zeros. */
bool map_object_peek(const struct map_object *o, char *buf, off_t at, size_t n);
/* n bytes as the cluster has them; fewer at the end. */
int map_object_read_file(struct map_object *o, char *buf, size_t n, off_t at, size_t *ret);

#define MAP_UNSENT (~0ull) /* no page's sum: it is certainly not in step */
uint64_t map_sum_page(const char *page);
/* The noted sums of n pages from offset on; what was never noted is 0, that of zeros. */
bool map_object_get_sums(struct map_object *o, uint64_t *sums, off_t offset, size_t n);
bool map_object_put_sums(struct map_object *o, const uint64_t *sums, off_t offset, size_t n);
/* The file ends there now. */
void map_object_cut_sums(struct map_object *o, off_t size);
/* The sums of n bytes of pages at offset are those of buf. Within the lock. */
void map_object_settle(struct map_object *o, const char *buf, off_t offset, size_t n);
/* Changes when a call writes there, or pages go that were stored to: what was read before is old. */
uint64_t map_object_sequence(struct map_object *o, off_t from, size_t n);
void map_object_next_sequence(struct map_object *o, off_t from, off_t to);
void map_object_set_file(struct map_object *o, struct ff3fs_file *file, bool writes);

/* --- map_node.c ---------------------------------------------------------------------------- */

/* The object of an open file, to be mapped; joins or makes it. room: bytes that may be needed. */
int map_object_join(struct ofd *o, const struct ff3fs_attr *a, size_t room, bool writable,
		    struct map_object **ret);
/* The object of an inode, if there is one on this node; a reference, to be given back by the second.
 * Who does not map it keeps its side file only, so that the pages' memory goes with their last user. */
struct map_object *map_object_look(uint64_t ino);
void map_object_looked(struct map_object *o);
void map_object_close_data(struct map_object *o);
void map_object_unref(struct map_object *o);
/* This process has no region of it any more, or exits: the last process sends what is unsent and removes
 * it. Its pages stay as they are for who still touches them. */
void map_object_leave(struct map_object *o);
/* Others may join from now on. */
void map_object_share(struct map_object *o);
/* It is writable now: readers by call must look. */
void map_node_note_writable(struct map_object *o);
struct map_object *map_objects(void);
/* Objects of killed processes are sent and removed. */
void map_node_sweep(void);
int map_hide(int fd);

/* --- map_fault.c --------------------------------------------------------------------------- */

/* Can pages be loaded when touched? 0, or -ENODEV. */
int map_fault_start(void);
/* Registers [addr, addr + len) of r's kind. */
int map_fault_register(const struct map_region *r);
void map_fault_after_fork(void);
/* A thread to serve what was registered after a fork. */
void map_fault_resume(void);
/* Stores are allowed now: where they are not noticed, children inherit the mapping from now on. Under map_lock. */
void map_private_may_store(struct map_private *p, int prot);
/* Its pages were given back: stores in them are gone. Under map_lock. */
void map_private_forget(struct map_private *p, off_t at, size_t n);

/* --- map_refuse.c -------------------------------------------------------------------------- */

/* Nothing in [addr, addr + len) is refused any more, until it is touched again. */
void map_refuse_clear_in(uintptr_t addr, size_t len);

/* --- map_private.c ------------------------------------------------------------------------- */

/* Was what is mapped at addr read here at once, without all that follows in the file? */
bool map_private_is_part(uintptr_t addr);
int map_fill_memfd(struct ff3fs_file *file, off_t offset, size_t data);
long map_private_new(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		     size_t data);
/* mmap of fd at offset as a lazily loaded region: registered before anything can be touched. */
long map_lazily(struct map_region *r, void *addr, int flags, int fd, off_t offset);
void map_private_unref(struct map_private *p);
int map_private_grow(struct map_private *p, off_t end);

/* --- map_shared.c -------------------------------------------------------------------------- */

/* What mmap(2) of a shared mapping comes to. The address, or a negative errno. */
long map_shared_new(struct ofd *o, void *addr, size_t len, int prot, int flags, off_t offset,
		    const struct ff3fs_attr *a);
/* Before they are unmapped, what was stored into these regions is sent. */
void map_shared_send_regions(const struct map_region *taken);
/* A process may store from now on. */
int map_shared_allow_stores(struct map_object *o);

/* --- map_limits.c -------------------------------------------------------------------------- */

size_t map_eager_max(void); /* larger ranges are loaded when touched */
size_t map_eager_most(void); /* where they cannot be */
size_t map_memory(void);    /* what loaded pages may take, of those that can be dropped */
