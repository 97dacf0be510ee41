/* Purpose: what of exposed chunks this process has mapped, or may read over RDMA: slots. hot_ask.c has chunks
 * exposed, hot.c and hot_window.c read them.
 *
 * Slots: at most SLOTS_MAX are live; the clock's hand takes one that was not read since it passed.
 * Memory of chunks that are exposed no more is given back when somebody reads them, and before asking
 * again where there was no room: the daemon counts it as long as we map it.
 *
 * Threads: fs->hot.lock, held for moments, protects slots and capabilities. Nothing waits for readers.
 * Fork: taken before it. The child keeps the mappings. */
#include "hot.h"

#include "../net/verbs.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS_MAX 4096u
#define PARKED_MAX 1024u

#ifndef F_SEAL_SHRINK
#define F_SEAL_SHRINK 0x0002
#endif

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

/* A daemon's page that tells whether it lives. Never unmapped: slots point there. */
struct ff3_hot_daemon {
	struct ff3_hot_daemon *next;
	uint64_t target, instance;
	const struct ff3_hot_life *life;
};

void ff3_hot_init(struct ff3fs *fs)
{
	pthread_mutex_init(&fs->hot.lock, NULL);
}

struct ff3_hot_shard *ff3_hot_shard(struct ff3fs *fs)
{
	static _Atomic unsigned n;
	static THREAD_LOCAL unsigned mine;

	if (UNLIKELY(mine == 0))
		mine = 1 + atomic_fetch_add_explicit(&n, 1, memory_order_relaxed) % FF3_HOT_SHARDS;
	return &fs->hot.shards[mine - 1];
}

EXPORT void ff3fs_hot_stats(const struct ff3fs *fs, struct ff3fs_hot_stats *ret)
{
	uint64_t misses[FF3_HOT_N_MISSES] = { 0 };

	memset(ret, 0, sizeof *ret);
	for (unsigned i = 0; i < FF3_HOT_SHARDS; i++) {
		const struct ff3_hot_shard *s = &fs->hot.shards[i];

		ret->reads += atomic_load(&s->reads);
		ret->bytes += atomic_load(&s->bytes);
		for (unsigned k = 0; k < FF3_HOT_N_MISSES; k++)
			misses[k] += atomic_load(&s->misses[k]);
	}
	ret->mapped = atomic_load(&fs->hot.n_live);
	ret->asked = atomic_load(&fs->hot.n_asked);
	ret->refused = atomic_load(&fs->hot.n_refused);
	ret->absent = misses[FF3_HOT_ABSENT];
	ret->gone = misses[FF3_HOT_GONE];
	ret->dead = misses[FF3_HOT_DEAD];
	ret->beyond = misses[FF3_HOT_SHORT];
	ret->unsynced = misses[FF3_HOT_UNSYNCED];
	ret->checksum = misses[FF3_HOT_CHECKSUM];
}

EXPORT int ff3fs_rdma_stats(struct ff3fs_rdma_stats *ret)
{
	const struct ff3_verbs_counters *c = ff3_rpc_verbs_counters();

	if (!c)
		return -ENODEV;
	*ret = (struct ff3fs_rdma_stats){ .sends = c->sends,
					  .recvs = c->recvs,
					  .fetched = c->reads,
					  .copies = c->bounces,
					  .copied = c->bounced_bytes,
					  .registered = c->registrations,
					  .known = c->cache_hits,
					  .dropped = c->cache_drops };
	return 0;
}

/* --- Slots; the lock is held ----------------------------------------------------------------- */

/* Readers may be at it (hot.h). To them it is as if another process had changed the memory: whole pages, of
 * which none that was replaced is seen after one that replaced it. ThreadSanitizer takes a mapping for stores of
 * this thread, and is told that there are none. */
static bool replace(struct ff3_hot_slot *s, size_t size, int flags, int fd)
{
	void *p;

#ifdef __SANITIZE_THREAD__
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
	p = mmap(s->base, size, PROT_READ, flags | MAP_FIXED, fd, 0);
#ifdef __SANITIZE_THREAD__
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
	return p != MAP_FAILED;
}

static void unmap_slot(struct ff3_hot_slot *s)
{
	(void)replace(s, (size_t)1 << s->shift, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static void list_remove(struct ff3_hot_slot **list, struct ff3_hot_slot *s)
{
	while (*list != s)
		list = &(*list)->next;
	*list = s->next;
}

static struct ff3_hot_window *window_at(const struct ff3_hot_slot *s)
{
	return (void *)s->base;
}

/* Readers may be at it: they find that the word has gone. */
static void retire(struct ff3fs *fs, struct ff3_hot_slot *s)
{
	atomic_store(&s->word, 0);
	atomic_store(&s->entry->slot, NULL);
	s->entry = NULL;
	if (atomic_load(&s->window))
		ff3_rpc_window_drop(&window_at(s)->rpc);
	unmap_slot(s);
	list_remove(&fs->hot.live, s);
	s->next = fs->hot.free[s->shift];
	fs->hot.free[s->shift] = s;
	atomic_fetch_sub(&fs->hot.n_live, 1);
}

static struct ff3_hot_slot *slot_new(uint8_t shift)
{
	struct ff3_hot_slot *s = calloc(1, sizeof *s);
	void *p;

	if (!s)
		return NULL;
	p = mmap(NULL, (size_t)1 << shift, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		free(s);
		return NULL;
	}
	s->base = p;
	s->shift = shift;
	return s;
}

static bool is_over(const struct ff3_hot_slot *s)
{
	const struct ff3_hot_header *h = (const void *)s->base;

	if (atomic_load(&s->window))
		return ff3_rpc_window_is_over(&window_at(s)->rpc);
	return atomic_load(&h->word) != atomic_load(&s->word) ||
	       atomic_load(atomic_load(&s->life)) != atomic_load(&s->owner);
}

static void sweep(struct ff3fs *fs)
{
	struct ff3_hot_slot *s, *next;

	for (s = fs->hot.live; s; s = next) {
		next = s->next;
		if (is_over(s))
			retire(fs, s);
	}
}

void ff3_hot_sweep(struct ff3fs *fs)
{
	pthread_mutex_lock(&fs->hot.lock);
	sweep(fs);
	pthread_mutex_unlock(&fs->hot.lock);
}

/* The live list is the clock: new ones at its head, the hand takes from the end. */
static void make_room(struct ff3fs *fs)
{
	struct ff3_hot_slot *victim = NULL, *last = NULL;

	if (atomic_load(&fs->hot.n_live) < SLOTS_MAX)
		return;
	sweep(fs);
	if (atomic_load(&fs->hot.n_live) < SLOTS_MAX)
		return;
	for (struct ff3_hot_slot *s = fs->hot.live; s; s = s->next) {
		last = s;
		if (!atomic_exchange(&s->used, false))
			victim = s;
	}
	retire(fs, victim ? victim : last);
}

static struct ff3_hot_slot *slot_get(struct ff3fs *fs, uint64_t size)
{
	struct ff3_hot_slot *s;
	uint8_t shift = 12;

	while (((uint64_t)1 << shift) < size)
		shift++;
	if (shift >= FF3_HOT_SHIFTS)
		return NULL;
	make_room(fs);
	s = fs->hot.free[shift];
	if (s)
		fs->hot.free[shift] = s->next;
	return s ? s : slot_new(shift);
}

void ff3_hot_drop(struct ff3fs *fs, struct ff3_hot_slot *slot, uint64_t word)
{
	pthread_mutex_lock(&fs->hot.lock);
	if (slot->entry && atomic_load(&slot->word) == word)
		retire(fs, slot);
	pthread_mutex_unlock(&fs->hot.lock);
}

/* --- Mapping --------------------------------------------------------------------------------- */

/* The lock is held. */
static const struct ff3_hot_life *life_of(struct ff3fs *fs, uint64_t target, uint64_t instance, int fd)
{
	struct ff3_hot_daemon *d;
	const struct ff3_hot_life *life;

	for (d = fs->hot.daemons; d; d = d->next)
		if (d->target == target && d->instance == instance)
			return d->life;
	if ((fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0)
		return NULL;
	d = malloc(sizeof *d);
	life = d ? mmap(NULL, FF3_HOT_LIFE_SIZE, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (life == MAP_FAILED || life->magic != FF3_HOT_MAGIC || life->instance != instance ||
	    life->target != target || life->offset > FF3_HOT_LIFE_SIZE - 4) {
		if (life != MAP_FAILED)
			munmap((void *)life, FF3_HOT_LIFE_SIZE);
		free(d);
		return NULL;
	}
	*d = (struct ff3_hot_daemon){ fs->hot.daemons, target, instance, life };
	fs->hot.daemons = d;
	return life;
}

/* Nothing in the memory could make reading it fail, or read beyond it. */
static bool is_sound(const struct ff3_hot_header *h, const struct ff3_rep_chunk_expose *rep,
		     uint64_t ino, uint32_t index)
{
	uint32_t n = h->len / FF3_BLOCK + (h->len % FF3_BLOCK != 0);

	return h->magic == FF3_HOT_MAGIC && h->ino == ino && h->index == index && h->len > 0 &&
	       h->len <= FF3_CHUNK_SIZE_MAX && h->n_crcs == n && h->data == ff3_hot_data_offset(h->len) &&
	       rep->size == ff3_hot_size(h->len);
}

static bool map_into(struct ff3_hot_slot *s, const struct ff3_rep_chunk_expose *rep, int fd)
{
	struct stat st;

	/* Its size is what it says, and stays so: no read of it can be a bus error. */
	return (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) && fstat(fd, &st) == 0 &&
	       (uint64_t)st.st_size == rep->size && replace(s, rep->size, MAP_SHARED | MAP_POPULATE, fd);
}

/* From now on it is read: a slot that is filled, for chunk index; its word is unlike any other's. */
static void go_live(struct ff3fs *fs, struct ff3_hot_slot *s, struct ff3_hot_entry *e, uint32_t index,
		    uint64_t word, bool window)
{
	atomic_store(&s->used, true);
	atomic_store(&s->window, window);
	s->entry = e;
	s->next = fs->hot.live;
	fs->hot.live = s;
	atomic_fetch_add(&fs->hot.n_live, 1);
	atomic_store(&s->word, word);
	atomic_store(&e->key, index + 1);
	atomic_store(&e->slot, s);
}

static void give_slot_back(struct ff3fs *fs, struct ff3_hot_slot *s)
{
	unmap_slot(s);
	s->next = fs->hot.free[s->shift];
	fs->hot.free[s->shift] = s;
}

static void retire_entry(struct ff3fs *fs, struct ff3_hot_entry *e)
{
	struct ff3_hot_slot *old = atomic_load(&e->slot);

	if (old)
		retire(fs, old);
}

int ff3_hot_publish(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index, uint64_t target,
		    uint64_t instance, const struct ff3_rep_chunk_expose *rep, const int fds[2])
{
	struct ff3_hot_entry *e = &t->entries[index & t->mask];
	struct ff3fs *fs = inode->fs;
	const struct ff3_hot_header *h;
	const struct ff3_hot_life *life;
	struct ff3_hot_slot *s;
	int r = -ENOMEM;

	pthread_mutex_lock(&fs->hot.lock);
	retire_entry(fs, e);
	life = life_of(fs, target, instance, fds[1]);
	s = life ? slot_get(fs, rep->size) : NULL;
	if (s) {
		h = (const void *)s->base;
		r = map_into(s, rep, fds[0]) && is_sound(h, rep, inode->ino, index) ? 0 : -EBADMSG;
		if (r < 0)
			give_slot_back(fs, s);
	}
	if (r == 0) {
		atomic_store(&s->life, (const void *)((const uint8_t *)life + life->offset));
		atomic_store(&s->owner, life->owner);
		atomic_store(&s->len, h->len);
		atomic_store(&s->data, h->data);
		go_live(fs, s, e, index, rep->word, false);
	}
	pthread_mutex_unlock(&fs->hot.lock);
	return r;
}

int ff3_hot_publish_window(struct ff3_inode *inode, struct ff3_hot_table *t, uint32_t index,
			   const struct ff3_rpc_window *w, const struct ff3_rep_chunk_expose *rep)
{
	struct ff3_hot_entry *e = &t->entries[index & t->mask];
	size_t size = ff3_hot_window_size(rep);
	struct ff3fs *fs = inode->fs;
	struct ff3_hot_slot *s;
	int r = ff3_hot_window_check(rep);

	if (r < 0)
		return r;
	pthread_mutex_lock(&fs->hot.lock);
	retire_entry(fs, e);
	s = slot_get(fs, size);
	r = s ? 0 : -ENOMEM;
	if (s && mmap(s->base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		      0) == MAP_FAILED) {
		r = -errno;
		give_slot_back(fs, s);
	}
	if (r == 0) {
		ff3_hot_window_fill(window_at(s), w, inode->ino, index, rep);
		/* Daemons' words begin at random. */
		go_live(fs, s, e, index, ++fs->hot.n_windows, true);
	}
	pthread_mutex_unlock(&fs->hot.lock);
	return r;
}

/* --- Closed files ---------------------------------------------------------------------------- */

/* What was mapped of a file when it was closed: programs that open a file for each read find it there when
 * they are granted reading it again. The lock is held. */
struct ff3_hot_parked {
	uint64_t ino;
	struct ff3_hot_table *table;
	UT_hash_handle hh;
};

static void adopt(struct ff3_inode *inode)
{
	struct ff3_hot_table *none = NULL;
	struct ff3_hot_parked *p;

	HASH_FIND(hh, inode->fs->hot.parked, &inode->ino, sizeof inode->ino, p);
	if (!p || !atomic_compare_exchange_strong(&inode->hot.table, &none, p->table))
		return;
	HASH_DEL(inode->fs->hot.parked, p);
	atomic_store(&inode->fs->hot.some_parked, inode->fs->hot.parked != NULL);
	free(p);
}

/* Returns whether one of its chunks is mapped. */
static bool has_slots(const struct ff3_hot_table *t)
{
	for (uint32_t i = 0; i <= t->mask; i++)
		if (atomic_load(&t->entries[i].slot))
			return true;
	return false;
}

static void table_free(struct ff3fs *fs, struct ff3_hot_table *t)
{
	for (uint32_t i = 0; i <= t->mask; i++) {
		struct ff3_hot_slot *s = atomic_load(&t->entries[i].slot);

		if (s)
			retire(fs, s);
	}
	free(t);
}

static void forget_parked(struct ff3fs *fs, struct ff3_hot_parked *p)
{
	HASH_DEL(fs->hot.parked, p);
	atomic_store(&fs->hot.some_parked, fs->hot.parked != NULL);
	table_free(fs, p->table);
	free(p);
}

static void park(struct ff3fs *fs, uint64_t ino, struct ff3_hot_table *t)
{
	struct ff3_hot_parked *p;

	HASH_FIND(hh, fs->hot.parked, &ino, sizeof ino, p);
	if (p)
		forget_parked(fs, p);
	p = has_slots(t) ? malloc(sizeof *p) : NULL;
	if (!p) {
		table_free(fs, t);
		return;
	}
	*p = (struct ff3_hot_parked){ .ino = ino, .table = t };
	HASH_ADD(hh, fs->hot.parked, ino, sizeof p->ino, p);
	atomic_store(&fs->hot.some_parked, true);
	/* The first is the oldest. */
	if (HASH_COUNT(fs->hot.parked) > PARKED_MAX)
		forget_parked(fs, fs->hot.parked);
}

void ff3_hot_inode_done(struct ff3_inode *inode)
{
	struct ff3_hot_table *t = atomic_load(&inode->hot.table);

	if (!t)
		return;
	pthread_mutex_lock(&inode->fs->hot.lock);
	park(inode->fs, inode->ino, t);
	pthread_mutex_unlock(&inode->fs->hot.lock);
}

void ff3_hot_learn(struct ff3_inode *inode, bool may_read, struct ff3_blob cap, uint8_t pin)
{
	struct ff3fs *fs = inode->fs;

	atomic_store_explicit(&inode->hot.pinned, pin == FF3_PIN_MEMORY, memory_order_relaxed);
	if (!may_read || cap.len > FF3_CAP_MAX)
		return;
	atomic_store_explicit(&inode->hot.may_read, true, memory_order_relaxed);
	/* Without a capability: it is asked for when it is needed. */
	if (cap.len == 0 && LIKELY(!atomic_load_explicit(&fs->hot.some_parked, memory_order_relaxed)))
		return;
	pthread_mutex_lock(&fs->hot.lock);
	if (cap.len > 0) {
		memcpy(inode->hot.cap, cap.p, cap.len);
		inode->hot.cap_len = cap.len;
	}
	if (fs->hot.parked)
		adopt(inode);
	pthread_mutex_unlock(&fs->hot.lock);
}

/* --- Ends ------------------------------------------------------------------------------------ */

void ff3_hot_done(struct ff3fs *fs)
{
	struct ff3_hot_slot *s;
	struct ff3_hot_daemon *d;

	while (fs->hot.parked)
		forget_parked(fs, fs->hot.parked);
	for (unsigned i = 0; i < FF3_HOT_SHIFTS; i++)
		while ((s = fs->hot.free[i])) {
			fs->hot.free[i] = s->next;
			munmap(s->base, (size_t)1 << s->shift);
			free(s);
		}
	while ((d = fs->hot.daemons)) {
		fs->hot.daemons = d->next;
		munmap((void *)d->life, FF3_HOT_LIFE_SIZE);
		free(d);
	}
}
