/* Which of the process's descriptors are ours, and what is behind them. See fdtab.c. */
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core.h"
#include "placeholder.h"

/* An open file description, as far as this process knows: descriptors made by dup share one. */
struct ofd {
	_Atomic uint32_t refs;  /* slots and calls under way */
	_Atomic uint32_t slots; /* descriptors */
	uint64_t ino;
	uint64_t generation;
	_Atomic int flags;        /* as open(2) */
	struct ff3fs_file *file;  /* NULL: O_PATH */
	struct ff3fs_file *held;  /* O_PATH: keeps it there, and is good for nothing else; NULL: it is gone */
	pthread_mutex_t dir_lock; /* of the two below */
	struct ff3fs_dir *dir;    /* getdents64's listing, or NULL */
	uint64_t dir_cookie;      /* where dir stands */
	_Atomic int lock_fd;      /* hook_lock.c: of flock; -1: none */
	_Atomic int range_fd;     /* hook_lock.c: of F_OFD_SETLK; -1: none */
	_Atomic uint64_t share_id; /* lock_shared.c: the keeper of range_fd's locks; 0: none */
	unsigned forks;         /* how many children had been started when it was opened */
	_Atomic int flocked;      /* LOCK_SH or LOCK_EX by this process; 0: no */
	pid_t opener;             /* the process that opened it; 0: inherited */
	struct ofd *next_free;
};

/* O_ACCMODE, or (3) as Linux has it: permission for both, for ioctl only. */
static inline bool ofd_reads(const struct ofd *o)
{
	int mode = o->flags & O_ACCMODE;

	return o->file && (mode == O_RDONLY || mode == O_RDWR);
}
static inline bool ofd_writes(const struct ofd *o)
{
	int mode = o->flags & O_ACCMODE;

	return o->file && (mode == O_WRONLY || mode == O_RDWR);
}

#define SLOT_UNKNOWN ((uintptr_t)0)
#define SLOT_NATIVE ((uintptr_t)1)
#define SLOT_CLOSING ((uintptr_t)2)  /* not given back to the kernel yet: nobody takes it up */
#define SLOT_INTERNAL ((uintptr_t)3) /* the core's own */

#define FDTAB_PAGE 1024
extern _Atomic uintptr_t fdtab_first[FDTAB_PAGE];

int fdtab_get_slow(int fd, struct ofd **ret);

/* Known to be native: one load and a comparison, the whole of what such a descriptor pays. */
static inline bool fdtab_is_native(int fd)
{
	return LIKELY((unsigned)fd < FDTAB_PAGE &&
		      atomic_load_explicit(&fdtab_first[fd], memory_order_relaxed) == SLOT_NATIVE);
}

/* 1 and a reference in *ret (ofd_unref) if fd is ours; 0 if it is not, or not open; negative errno
 * if it is ours, inherited, and cannot be taken up. */
static inline int fdtab_get(int fd, struct ofd **ret)
{
	if (fdtab_is_native(fd))
		return 0;
	return fdtab_get_slow(fd, ret);
}

/* Is fd ours? Asks the kernel if need be, but takes nothing up. */
bool fdtab_is_ours(int fd);
bool fdtab_is_internal(int fd);
/* A cancellation point, if fd is known to be ours: libc's function would be one. Nothing may be held. */
void fdtab_cancel_point(int fd);
/* As fdtab_get; a cancellation point. A handler that interrupted the client is refused at once (-EDEADLK): what
 * it would wait for, its own thread may hold, or one that waits for the memory allocator that was interrupted with it. */
int fdtab_get_for_io(int fd, struct ofd **ret);

/* fd is now a native descriptor, or none: whatever the slot said is forgotten. */
void fdtab_set_native(int fd);
void fdtab_forget(int fd);
void fdtab_set_internal(int fd);
/* Puts o behind fd; takes a reference of its own. */
void fdtab_set(int fd, struct ofd *o);
/* Empties fd's slot for a close. 1 and its reference in *ret, without taking an inherited file up; then
 * fdtab_closed follows when the kernel has closed it. -EAGAIN: nobody knew whose it is, and nobody will find
 * out before fdtab_closed. 0: not ours. */
int fdtab_take(int fd, struct ofd **ret);
void fdtab_closed(int fd);
/* Calls fn for every slot that is INTERNAL in [first, last], ascending. */
int fdtab_next_internal(int first, int last);
int fdtab_next_ours(int first, int last);

/* A new description with one reference, or NULL. Takes file, opened with the flags of p, over. opener: the
 * calling process, or 0 if it was inherited. */
struct ofd *ofd_new(const struct placeholder *p, struct ff3fs_file *file, pid_t opener);
/* Another reference, by who has one. */
static inline struct ofd *ofd_ref(struct ofd *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}
void ofd_unref(struct ofd *o);
static inline void ofd_unrefp(struct ofd **o)
{
	if (*o)
		ofd_unref(*o);
}
#define _cleanup_ofd_ _cleanup_(ofd_unrefp)
/* One descriptor less: flushes, and makes durable if it was the last. Drops the reference. */
int ofd_close(struct ofd *o);
