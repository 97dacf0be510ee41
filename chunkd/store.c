/* A target's store: life, and what moves it.
 *
 * The directory:
 *   super       what target this is (super.c)
 *   lock        held by the daemon that serves it
 *   slab-CC-N   chunk bytes (slab.c)
 *   index.db    which chunk lies where, with checksums (index.c); index.db-wal beside it
 *   ballast     space for the index on a full disk (index.c)
 *
 * Threads: as in store.h. Fork/signal: the daemon does not fork. */
#include "expose.h"
#include "store_impl.h"

#include <sys/statvfs.h>

/* How long the store must have been idle before idle time is used, and between two such uses. */
#define IDLE_NS (FF3_NSEC_PER_SEC / 2)
#define IDLE_STEP_NS (10 * FF3_NSEC_PER_MSEC)

static void evicted(void *owner, struct chunkd_block *b)
{
	struct chunkd_chunk *c = owner;

	c->mem = NULL;
}

static void space_grown(void *arg)
{
	struct chunkd_store *s = arg;

	s->space_changed = true;
}

/* Reads the superblock, or makes one for a directory that has no slabs yet. */
static int super_init(struct chunkd_store *s)
{
	int r = chunkd_super_read(s->dir_fd, &s->super);

	if (r != -ENOENT)
		return r < 0 ? ff3_log_errno(r, "cannot use %s/super", s->dir) : 0;
	if (faccessat(s->dir_fd, "index.db", F_OK, 0) == 0)
		return ff3_log_errno(-EUCLEAN, "%s has chunks but no superblock", s->dir);
	s->super = (struct chunkd_super){ .target = ff3_random_u64(),
					  .node = s->o.node,
					  .made_ns = ff3_realtime_ns() };
	r = chunkd_super_write(s->dir_fd, &s->super);
	return r < 0 ? ff3_log_errno(r, "cannot write %s/super", s->dir) : 0;
}

int chunkd_store_new(const struct chunkd_store_options *o, struct chunkd_store **ret)
{
	struct chunkd_store *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->o = *o;
	s->dir_fd = s->lock_fd = -1;
	TAILQ_INIT(&s->urgent);
	TAILQ_INIT(&s->dirty);
	STAILQ_INIT(&s->removed);
	STAILQ_INIT(&s->marked);
	STAILQ_INIT(&s->batches);
	TAILQ_INIT(&s->memory_waiters);
	TAILQ_INIT(&s->space_waiters);
	TAILQ_INIT(&s->read_waiters);
	s->dir = strdup(o->dir);
	s->o.dir = s->dir;
	if (!s->dir) {
		r = -ENOMEM;
	} else {
		r = chunkd_super_lock(s->dir, &s->dir_fd, &s->lock_fd);
		if (r == -EBUSY)
			ff3_error("%s is served by another daemon", s->dir);
		else if (r < 0)
			ff3_log_errno(r, "cannot use %s", s->dir);
	}
	if (r == 0)
		r = super_init(s);
	if (r == 0)
		r = chunkd_arena_new(o->memory - o->memory / 16, evicted, &s->arena);
	if (r == 0)
		r = chunkd_table_init(s);
	if (r < 0) {
		chunkd_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* The ballast: enough for the transactions that delete, little against the capacity. */
static uint64_t ballast_size(const struct chunkd_store *s, uint64_t fs_size)
{
	uint64_t size = s->o.capacity ? MIN(s->o.capacity, fs_size) : fs_size;

	return MIN(FF3_MIB(64), MAX(FF3_MIB(1), size / 256));
}

int chunkd_store_start(struct chunkd_store *s, struct chunkd_io *io)
{
	struct statvfs v;
	uint64_t fs_size, ballast;
	int r;

	if (fstatvfs(s->dir_fd, &v) < 0)
		return ff3_log_errno(-errno, "cannot use %s", s->dir);
	fs_size = (uint64_t)v.f_blocks * v.f_frsize;
	ballast = ballast_size(s, fs_size);
	s->io = io;
	/* The ring keeps the lock until the last write of a killed daemon has ended: it could land in a
	 * slot that the next one has given away again. */
	io->ops->opened(io, s->lock_fd);
	r = chunkd_index_open(s->dir, ballast, &s->index);
	if (r < 0)
		return ff3_log_errno(r, "cannot open %s/index.db", s->dir);
	r = chunkd_slabs_open(&(struct chunkd_slabs_options){ .dir = s->dir,
							      .dir_fd = s->dir_fd,
							      .io = io,
							      .capacity = s->o.capacity,
							      .margin = ballast + fs_size / 128,
							      .grown = space_grown,
							      .arg = s },
			      &s->slabs);
	if (r < 0)
		return ff3_log_errno(r, "cannot open the slabs of %s", s->dir);
	r = chunkd_store_recover(s);
	if (r < 0)
		return r;
	/* The names of what was made just now. */
	if (fsync(s->dir_fd) < 0)
		return ff3_log_errno(-errno, "cannot sync %s", s->dir);
	chunkd_store_measure(s);
	return 0;
}

void chunkd_store_free(struct chunkd_store *s)
{
	if (!s)
		return;
	chunkd_exposer_free(s);
	chunkd_table_done(s);
	chunkd_arena_free(s->arena);
	chunkd_slabs_free(s->slabs);
	chunkd_index_close(s->index);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->dir);
	free(s);
}

const struct chunkd_super *chunkd_store_super(const struct chunkd_store *s)
{
	return &s->super;
}

const char *chunkd_store_dir(const struct chunkd_store *s)
{
	return s->dir;
}

struct chunkd_arena *chunkd_store_arena(const struct chunkd_store *s)
{
	return s->arena;
}

struct chunkd_slabs *chunkd_store_slabs(const struct chunkd_store *s)
{
	return s->slabs;
}

int chunkd_store_set_cluster(struct chunkd_store *s, uint64_t cluster)
{
	struct chunkd_super super = s->super;
	int r;

	if (super.cluster == cluster)
		return 0;
	if (super.cluster)
		return FF3_E_CLUSTER;
	super.cluster = cluster;
	r = chunkd_super_write(s->dir_fd, &super);
	if (r == 0)
		s->super.cluster = cluster;
	return r;
}

void chunkd_store_fail(struct chunkd_store *s, int r, const char *what)
{
	if (s->offline)
		return;
	s->offline = FF3_E_OFFLINE;
	s->failing = true;
	CHUNKD_SET(s, offline, 1);
	ff3_log_errno(r, "target %016" PRIx64 " at %s goes offline, %s", s->super.target, s->dir,
		      what);
}

/* Tells everyone who waits that the target is offline. What is under way in io ends by itself. */
static void fail_all(struct chunkd_store *s)
{
	struct chunkd_chunk *c;

	s->failing = false;
	s->space_changed = true;
	chunkd_store_unexpose_all(s);
	for (uint64_t i = 0; i <= s->inodes_mask; i++)
		for (struct chunkd_inode *inode = s->inodes[i]; inode; inode = inode->hash_next)
			if (!STAILQ_EMPTY(&inode->waiting))
				chunkd_inode_mark(s, inode);
	while ((c = STAILQ_FIRST(&s->removed))) {
		STAILQ_REMOVE_HEAD(&s->removed, removed);
		chunkd_op_finish(c->remove_op, s->offline);
		chunkd_chunk_unref(s, c);
	}
}

struct chunkd_block *chunkd_store_payload(struct chunkd_store *s, uint32_t size)
{
	uint64_t unclean = chunkd_arena_used(s->arena) - chunkd_arena_clean(s->arena);

	if (unclean + size > chunkd_arena_size(s->arena) / 2)
		return NULL;
	return chunkd_arena_alloc(s->arena, size);
}

bool chunkd_store_has_room(const struct chunkd_store *s)
{
	uint64_t unclean = chunkd_arena_used(s->arena) - chunkd_arena_clean(s->arena);

	return s->offline || unclean <= chunkd_arena_size(s->arena) / 8 * 3;
}

/* After a while without work, prepares slots, a little at a time. Returns when to come again. */
static uint64_t use_idle_time(struct chunkd_store *s)
{
	if (!s->o.prewrite || s->offline || s->drain)
		return UINT64_MAX;
	if (s->n_dirty || s->n_batches || s->n_io)
		s->idle_ns = s->now_ns;
	if (s->now_ns - s->idle_ns < IDLE_NS)
		return IDLE_NS - (s->now_ns - s->idle_ns);
	s->idle_ns = s->now_ns - IDLE_NS + IDLE_STEP_NS;
	return chunkd_slabs_prewrite(s->slabs) ? IDLE_STEP_NS : UINT64_MAX;
}

static struct chunkd_op *first_memory_waiter(const struct chunkd_store *s)
{
	struct chunkd_active *a = TAILQ_FIRST(&s->memory_waiters);

	return a ? STAILQ_FIRST(&a->queue) : NULL;
}

/* Waiters keep their order, so who is first has waited for longest. */
static void note_waiters(struct chunkd_store *s)
{
	struct chunkd_read *rd = TAILQ_FIRST(&s->read_waiters);
	struct chunkd_op *op = first_memory_waiter(s);

	if (rd && rd->waits_ns == 0)
		rd->waits_ns = s->now_ns;
	if (op && op->waits_ns == 0)
		op->waits_ns = s->now_ns;
}

uint64_t chunkd_store_waits_since(const struct chunkd_store *s)
{
	const struct chunkd_read *rd = TAILQ_FIRST(&s->read_waiters);
	const struct chunkd_op *op = first_memory_waiter(s);
	uint64_t since = UINT64_MAX;

	if (rd && rd->waits_ns)
		since = rd->waits_ns;
	if (op && op->waits_ns)
		since = MIN(since, op->waits_ns);
	return since;
}

void chunkd_store_note_resets(struct chunkd_store *s, unsigned n)
{
	CHUNKD_COUNT(s, resets, n);
}

uint64_t chunkd_store_pump(struct chunkd_store *s, uint64_t now_ns)
{
	struct chunkd_active *a;
	uint64_t idle;

	s->now_ns = now_ns;
	if (s->failing)
		fail_all(s);
	chunkd_answer_durable(s);
	chunkd_retry_waiters(s);
	chunkd_read_retry(s);
	chunkd_flush_pump(s);
	chunkd_answer_durable(s);
	note_waiters(s);
	idle = use_idle_time(s);
	if (first_memory_waiter(s)) /* it is not to wait for ever: chunkd_retry_waiters */
		idle = MIN(idle, FF3_NSEC_PER_SEC / 10);
	a = TAILQ_FIRST(&s->dirty);
	if (s->offline || !a || s->n_batches == CHUNKD_MAX_BATCHES)
		return idle;
	return a->dirtied_ns + s->o.flush_ns - MIN(now_ns, a->dirtied_ns + s->o.flush_ns);
}

void chunkd_store_drain(struct chunkd_store *s)
{
	s->drain = true;
}

bool chunkd_store_idle(const struct chunkd_store *s)
{
	return (s->offline || (s->n_dirty == 0 && STAILQ_EMPTY(&s->removed))) &&
	       s->n_batches == 0 && s->n_io == 0 && (!s->slabs || chunkd_slabs_quiet(s->slabs));
}

const struct chunkd_store_stats *chunkd_store_stats(const struct chunkd_store *s)
{
	return &s->stats;
}

void chunkd_store_measure(struct chunkd_store *s)
{
	CHUNKD_SET(s, memory_size, chunkd_arena_size(s->arena));
	CHUNKD_SET(s, memory_bytes, chunkd_arena_used(s->arena));
	CHUNKD_SET(s, dirty_bytes, chunkd_arena_used(s->arena) - chunkd_arena_clean(s->arena));
	CHUNKD_SET(s, capacity, chunkd_slabs_capacity(s->slabs));
	CHUNKD_SET(s, used, chunkd_slabs_used(s->slabs));
	chunkd_exposer_measure(s);
}
