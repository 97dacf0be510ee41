/* Purpose: descriptor → open file description, for every descriptor of the process.
 *
 * A slot is one word: UNKNOWN (nobody looked yet, or closed), NATIVE, CLOSING (between its close here and
 * the kernel's), INTERNAL (a descriptor of the client core), or a struct ofd, with a tag while who takes
 * the file up is not sure of it. Hooks that make descriptors set it, close empties it, and an
 * UNKNOWN one is looked at once (placeholder.c), which is how files inherited over exec and fork are
 * taken up. A descriptor made by a call we do not see is UNKNOWN, because its number was closed
 * before; one that replaced ours unseen stays a placeholder's and fails closed.
 *
 * Threads: no lock on any path to a native descriptor. Descriptions live in memory that is never
 * given back, so that a reader may look at one whose last reference is just going: it takes a
 * reference unless there are none left, and then looks whether the slot still names it.
 * `free_lock` guards the free list; nothing is called with it held. The last ones that were let go are kept
 * beside it, a word each, for who opens the next file: he needs no lock, and no signal is blocked.
 * Who takes a file up may be late: the number may be another file's by then, or closed. So its slot changes
 * only from UNKNOWN, to the description with the tag, for which others wait; the number is looked at once
 * more; and only the same word becomes the description itself. A close in between takes the word away.
 * Fork: a child inherits table and references. Descriptions that other threads of the parent were
 * using keep those references for ever. Between vfork and exec the table belongs to the parent:
 * the hooks that change it look whether they are in such a child (init.h).
 * Signals: lookups are safe; a handler that opens or closes may meet free_lock: it spins, and the
 * holder never runs user code with signals... blocked, which free_lock's users arrange. */
#include "fdtab.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "hook.h"
#include "init.h"
#include "raw.h"
#include "uring.h"

#define N_PAGES 1024

_Atomic uintptr_t fdtab_first[FDTAB_PAGE];
static _Atomic uintptr_t *_Atomic pages[N_PAGES] = { fdtab_first };

/* --- Descriptions -------------------------------------------------------------------------- */

#define SLAB 64

/* What F_GETFL shows of the flags of open. */
#define OFD_FLAGS                                                                                  \
	(O_ACCMODE | O_APPEND | O_ASYNC | O_DIRECT | O_DIRECTORY | O_LARGEFILE | O_NOATIME |       \
	 O_NOFOLLOW | O_NONBLOCK | O_PATH | O_SYNC | O_TMPFILE)

#define TAG ((uintptr_t)1)

static bool is_ofd(uintptr_t word)
{
	return word > SLOT_INTERNAL && !(word & TAG);
}

static bool is_tagged(uintptr_t word)
{
	return word > SLOT_INTERNAL && (word & TAG);
}

#define SPARES 4
static _Atomic(struct ofd *) spares[SPARES];
static struct ofd *free_ofds;
static _Atomic int free_lock;

static void lock_free_list(uint64_t *saved)
{
	raw_block_signals(saved);
	while (atomic_exchange_explicit(&free_lock, 1, memory_order_acquire))
		RAW(sched_yield);
}

static void unlock_free_list(uint64_t *saved)
{
	atomic_store_explicit(&free_lock, 0, memory_order_release);
	RAW(rt_sigprocmask, SIG_SETMASK, saved, 0, 8);
}

void fdtab_after_fork(void)
{
	free_lock = 0; /* its holder, if another thread, does not exist here; the list is whole:
			* it changes by single stores */
	for (int i = 0; i < N_PAGES; i++) /* nor do those who were closing something, or taking it up */
		for (int k = 0; pages[i] && k < FDTAB_PAGE; k++)
			if (pages[i][k] == SLOT_CLOSING || is_tagged(pages[i][k]))
				pages[i][k] = SLOT_UNKNOWN;
}

static struct ofd *new_slab(void)
{
	long p = RAW(mmap, 0, SLAB * sizeof(struct ofd), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ofd *slab = (struct ofd *)p;

	if (p < 0 && p > -4096)
		return NULL;
	for (int i = 0; i < SLAB - 1; i++)
		slab[i].next_free = &slab[i + 1];
	return slab;
}

static struct ofd *take_free(void)
{
	struct ofd *o;
	uint64_t saved;

	for (int i = 0; i < SPARES; i++)
		if (atomic_load_explicit(&spares[i], memory_order_relaxed) &&
		    (o = atomic_exchange_explicit(&spares[i], NULL, memory_order_acquire)))
			return o;
	lock_free_list(&saved);
	if (!free_ofds)
		free_ofds = new_slab();
	o = free_ofds;
	if (o)
		free_ofds = o->next_free;
	unlock_free_list(&saved);
	return o;
}

static void give_free(struct ofd *o)
{
	uint64_t saved;

	for (int i = 0; i < SPARES; i++) {
		struct ofd *none = NULL;

		if (!atomic_load_explicit(&spares[i], memory_order_relaxed) &&
		    atomic_compare_exchange_strong_explicit(&spares[i], &none, o, memory_order_release,
							    memory_order_relaxed))
			return;
	}
	lock_free_list(&saved);
	o->next_free = free_ofds;
	free_ofds = o;
	unlock_free_list(&saved);
}

struct ofd *ofd_new(const struct placeholder *p, struct ff3fs_file *file, pid_t opener)
{
	struct ofd *o = take_free();

	if (!o)
		return NULL;
	o->slots = 0;
	o->ino = p->ino;
	o->generation = p->generation;
	o->flags = p->flags & OFD_FLAGS;
	if (o->flags & O_PATH)
		o->flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	o->file = o->flags & O_PATH ? NULL : file;
	o->held = o->flags & O_PATH ? file : NULL;
	o->dir = NULL;
	o->dir_cookie = 0;
	o->lock_fd = -1;
	o->range_fd = -1;
	o->share_id = 0;
	o->forks = fd_children();
	o->flocked = 0;
	o->opener = opener;
	pthread_mutex_init(&o->dir_lock, NULL);
	atomic_store_explicit(&o->refs, 1, memory_order_release);
	return o;
}

static int ofd_free(struct ofd *o)
{
	int r = 0;

	if (o->dir)
		CALL_VOID(closedir, o->dir);
	lock_release(o);
	if (o->file || o->held)
		r = CALL(close, o->file ? o->file : o->held);
	give_free(o);
	return r;
}

static bool ofd_ref_unless_gone(struct ofd *o)
{
	uint32_t n = atomic_load_explicit(&o->refs, memory_order_relaxed);

	while (n > 0)
		if (atomic_compare_exchange_weak_explicit(&o->refs, &n, n + 1, memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

void ofd_unref(struct ofd *o)
{
	if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
		ofd_free(o);
}

int ofd_close(struct ofd *o)
{
	bool last = atomic_fetch_sub_explicit(&o->slots, 1, memory_order_acq_rel) == 1;
	bool writes = (o->flags & O_ACCMODE) != O_RDONLY;
	int r = 0;

	/* Other calls still use it: what close promises must hold when it returns. */
	if (writes && o->file && (!last || atomic_load_explicit(&o->refs, memory_order_relaxed) > 1))
		r = last ? CALL(fsync, o->file) : CALL(flush, o->file);
	if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
		r = ofd_free(o);
	return r;
}

/* --- Slots --------------------------------------------------------------------------------- */

static _Atomic uintptr_t *slot_of(int fd, bool make)
{
	unsigned page = (unsigned)fd / FDTAB_PAGE;
	_Atomic uintptr_t *p, *none = NULL;
	long m;

	if (UNLIKELY(page >= N_PAGES))
		return NULL;
	p = atomic_load_explicit(&pages[page], memory_order_acquire);
	if (UNLIKELY(!p)) {
		if (!make)
			return NULL;
		m = RAW(mmap, 0, FDTAB_PAGE * sizeof(uintptr_t), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m < 0 && m > -4096)
			return NULL;
		if (atomic_compare_exchange_strong_explicit(&pages[page], &none,
							    (_Atomic uintptr_t *)m,
							    memory_order_acq_rel,
							    memory_order_acquire)) {
			p = (_Atomic uintptr_t *)m;
		} else {
			RAW(munmap, m, FDTAB_PAGE * sizeof(uintptr_t));
			p = none;
		}
	}
	return p + (unsigned)fd % FDTAB_PAGE;
}

/* Replaces a slot's word. A description that it named loses a descriptor; its last close is then
 * one nobody can be told the result of. */
static void replace(int fd, uintptr_t word)
{
	_Atomic uintptr_t *slot = slot_of(fd, word > SLOT_NATIVE);
	uintptr_t old;

	if (!slot)
		return;
	old = atomic_load_explicit(slot, memory_order_relaxed);
	if (old == word && word <= SLOT_INTERNAL)
		return;
	if (old > SLOT_NATIVE && init_is_vfork_child())
		return;
	old = atomic_exchange_explicit(slot, word, memory_order_acq_rel);
	if (is_ofd(old))
		ofd_close((struct ofd *)old);
}

void fdtab_set_native(int fd)
{
	if (fd < 0 || !init_active() || init_is_vfork_child())
		return;
	uring_fd_closed(fd);
	replace(fd, SLOT_NATIVE);
	if ((unsigned)fd <= 2)
		stdio_refresh(fd);
}

void fdtab_forget(int fd)
{
	if (fd >= 0 && init_active())
		replace(fd, SLOT_UNKNOWN);
}

void fdtab_set_internal(int fd)
{
	replace(fd, SLOT_INTERNAL);
}

void fdtab_set(int fd, struct ofd *o)
{
	_Atomic uintptr_t *slot = slot_of(fd, true);

	if (!slot || init_is_vfork_child())
		return; /* looked at again at every use */
	uring_fd_closed(fd);
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&o->slots, 1, memory_order_relaxed);
	replace(fd, (uintptr_t)o);
	if ((unsigned)fd <= 2)
		stdio_refresh(fd);
}

int fdtab_take(int fd, struct ofd **ret)
{
	_Atomic uintptr_t *slot = fd < 0 ? NULL : slot_of(fd, false);
	uintptr_t old;

	uring_fd_closed(fd);
	if (!slot)
		return 0;
	old = atomic_load_explicit(slot, memory_order_relaxed);
	do {
		if (old == SLOT_CLOSING || (old != SLOT_NATIVE && init_is_vfork_child()))
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(
		slot, &old, old == SLOT_NATIVE || old == SLOT_INTERNAL ? SLOT_UNKNOWN : SLOT_CLOSING,
		memory_order_acq_rel, memory_order_relaxed));
	if (old == SLOT_NATIVE || old == SLOT_INTERNAL)
		return 0;
	if (!is_ofd(old))
		return -EAGAIN;
	*ret = (struct ofd *)old;
	return 1;
}

void fdtab_closed(int fd)
{
	_Atomic uintptr_t *slot = slot_of(fd, false);
	uintptr_t closing = SLOT_CLOSING;

	if (slot)
		atomic_compare_exchange_strong_explicit(slot, &closing, SLOT_UNKNOWN, memory_order_release,
							memory_order_relaxed);
}

static bool is_still(int fd, const struct placeholder *p)
{
	struct placeholder now;

	return placeholder_probe(fd, &now) > 0 && now.ino == p->ino && now.generation == p->generation &&
	       now.flags == p->flags;
}

/* Puts what was taken up into its slot, unless another thread did, or closed it, or has given the number to
 * another file since we looked at it: false. No handler may run on top of this: it would wait for us. */
static bool install(int fd, _Atomic uintptr_t *slot, struct ofd *o, const struct placeholder *p)
{
	uintptr_t word = SLOT_UNKNOWN, tagged = (uintptr_t)o | TAG;
	bool done = false;
	uint64_t saved;

	uring_fd_closed(fd);
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&o->slots, 1, memory_order_relaxed);
	raw_block_signals(&saved);
	if (atomic_compare_exchange_strong_explicit(slot, &word, tagged, memory_order_acq_rel,
						    memory_order_relaxed)) {
		bool still = is_still(fd, p);

		word = tagged;
		done = atomic_compare_exchange_strong_explicit(slot, &word,
							       still ? (uintptr_t)o : SLOT_UNKNOWN,
							       memory_order_acq_rel,
							       memory_order_relaxed) && still;
	}
	RAW(rt_sigprocmask, SIG_SETMASK, &saved, 0, 8);
	if (!done)
		ofd_close(o);
	return done;
}

/* Takes an inherited file up. 2: look again. */
static int adopt(int fd, _Atomic uintptr_t *slot, const struct placeholder *p, struct ofd **ret)
{
	struct placeholder now = *p;
	struct ff3fs_file *file = NULL;
	struct ff3fs *fs;
	struct ofd *o;
	long kernel_flags;
	int r;

	r = core_fs(&fs);
	if (r < 0)
		return r;
	kernel_flags = RAW(fcntl, fd, F_GETFL);
	if (kernel_flags >= 0)
		now.flags = (p->flags & ~(O_APPEND | O_NONBLOCK)) |
			    (int)(kernel_flags & (O_APPEND | O_NONBLOCK));
	r = CALL(open_inode, fs, p->ino, now.flags, &file);
	if (r < 0 && !(p->flags & O_PATH))
		return r;
	o = ofd_new(&now, file, 0);
	if (!o) {
		if (file)
			CALL(close, file);
		return -ENOMEM;
	}
	if (slot && !install(fd, slot, o, p)) {
		ofd_unref(o);
		return 2;
	}
	if ((unsigned)fd <= 2)
		stdio_refresh(fd);
	*ret = o;
	return 1;
}

static int probe(int fd, _Atomic uintptr_t *slot, struct ofd **ret)
{
	struct placeholder p;
	uintptr_t unknown = SLOT_UNKNOWN;
	int r = placeholder_probe(fd, &p);

	if (r < 0)
		return 0; /* not open: the real call says so */
	if (r > 0 && init_is_vfork_child())
		return 0; /* it can be copied, moved and closed; reading fails */
	if (r > 0)
		return adopt(fd, slot, &p, ret);
	/* A vfork child's number is its own, the table is its parent's. */
	if (slot && !init_is_vfork_child())
		atomic_compare_exchange_strong_explicit(slot, &unknown, SLOT_NATIVE,
							memory_order_relaxed,
							memory_order_relaxed);
	return 0;
}

int fdtab_get_slow(int fd, struct ofd **ret)
{
	_Atomic uintptr_t *slot;
	uintptr_t word;
	int r;

	if (fd < 0 || !init_active())
		return 0;
	fork_notice();
	slot = slot_of(fd, true);
	for (;;) {
		word = slot ? atomic_load_explicit(slot, memory_order_acquire) : SLOT_UNKNOWN;
		if (word == SLOT_NATIVE || word == SLOT_INTERNAL)
			return 0;
		if (word == SLOT_CLOSING)
			return -EBADF;
		if (word == SLOT_UNKNOWN) {
			r = probe(fd, slot, ret);
			if (r == 2)
				continue;
			return r;
		}
		if (is_tagged(word)) {
			RAW(sched_yield);
			continue;
		}
		if (!ofd_ref_unless_gone((struct ofd *)word))
			continue;
		if (atomic_load_explicit(slot, memory_order_acquire) == word) {
			*ret = (struct ofd *)word;
			return 1;
		}
		ofd_unref((struct ofd *)word);
	}
}

bool fdtab_is_ours(int fd)
{
	_Atomic uintptr_t *slot = fd < 0 || !init_active() ? NULL : slot_of(fd, false);
	uintptr_t word = slot ? atomic_load_explicit(slot, memory_order_relaxed) : SLOT_UNKNOWN;
	struct placeholder p;

	if (fd < 0 || !init_active() || word == SLOT_NATIVE || word == SLOT_CLOSING ||
	    word == SLOT_INTERNAL)
		return false;
	return is_ofd(word) || placeholder_probe(fd, &p) > 0;
}

bool fdtab_is_internal(int fd)
{
	_Atomic uintptr_t *slot = fd < 0 ? NULL : slot_of(fd, false);

	return slot && atomic_load_explicit(slot, memory_order_relaxed) == SLOT_INTERNAL;
}

void fdtab_cancel_point(int fd)
{
	_Atomic uintptr_t *slot = fd < 0 ? NULL : slot_of(fd, false);

	if (slot && atomic_load_explicit(slot, memory_order_relaxed) > SLOT_INTERNAL)
		pthread_testcancel();
}

int fdtab_get_for_io(int fd, struct ofd **ret)
{
	int r;

	fdtab_cancel_point(fd);
	r = fdtab_get(fd, ret);
	return UNLIKELY(r > 0) && core.inside() ? -EDEADLK : r;
}

static int next_slot(int first, int last, bool ours)
{
	first = MAX(first, 0); /* close(-5000) comes here, too */
	for (int page = first / FDTAB_PAGE; page < N_PAGES && page <= last / FDTAB_PAGE; page++) {
		_Atomic uintptr_t *p = atomic_load_explicit(&pages[page], memory_order_acquire);
		int fd = MAX(first, page * FDTAB_PAGE);

		for (; p && fd < (page + 1) * FDTAB_PAGE && fd <= last; fd++) {
			uintptr_t w = atomic_load_explicit(&p[fd % FDTAB_PAGE], memory_order_relaxed);

			if (ours ? w > SLOT_INTERNAL : w == SLOT_INTERNAL)
				return fd;
		}
	}
	return -1;
}

int fdtab_next_internal(int first, int last)
{
	return next_slot(first, last, false);
}

int fdtab_next_ours(int first, int last)
{
	return next_slot(first, last, true);
}
