/* Purpose: what this process knows of a file, once for all its descriptors: layout, size, and
 * whether metad counts our opens. So two descriptors of a file see each other's buffered writes.
 *
 * Size: `size` with `generation` is what metad told last. A size that is too small costs a question;
 * one that is too large (somebody else cut the file) shows as a short chunk. As long as the
 * generation is the same, the file has not been cut.
 *
 * An end that was told to metad is in its memory only until it is committed. If metad restarts, it is told again, with
 * the number of cuts that it had been told after: somebody may have cut the file since, perhaps we ourselves, and then
 * it is over. An end of a write that has not returned yet is told without that, and again until the metad that has
 * heard of it is still the one that serves; from then on whoever registers the file tells it again.
 *
 * Registration: metad counts opens per session in memory, so that an unlinked file lives while it
 * is open. They are void when metad restarts, and in a forked child (fs->meta_epoch is raised);
 * then one `reopen` stands for all our opens of the file.
 *
 * Threads: any. inode->lock is held over the requests of a registration. */
#include "internal.h"

#include <sched.h>
#include <sys/stat.h>

static int set_layout(struct ff3_inode *inode, const struct ff3_layout *layout)
{
	struct ff3_dec d = ff3_dec_blob(layout->stripe);
	uint32_t n = ff3_layout_n_stripe(layout), size = layout->chunk_size;

	if (!S_ISREG(inode->mode))
		return 0;
	if (n == 0 || size < FF3_BLOCK || size > FF3_CHUNK_SIZE_MAX || (size & (size - 1)) != 0)
		return -EBADMSG;
	inode->stripe = malloc(n * sizeof *inode->stripe);
	if (!inode->stripe)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		ff3_get_u32(&d, &inode->stripe[i]);
	inode->n_stripe = n;
	inode->seed = layout->seed;
	inode->chunk_shift = (uint32_t)__builtin_ctz(size);
	return 0;
}

static void inode_free(struct ff3_inode *inode)
{
	if (!inode)
		return;
	ff3_hot_inode_done(inode);
	ff3_hold_done(inode);
	ff3_locks_done(&inode->locks);
	ff3_pool_put(inode->fs, inode->gather.buf, inode->gather.size);
	free(inode->stripe);
	free(inode);
}

static int inode_new(struct ff3fs *fs, const struct ff3_attr *attr, const struct ff3_layout *layout,
		     struct ff3_inode **ret)
{
	struct ff3_inode *inode = ff3_zalloc(sizeof *inode);
	int r;

	if (!inode)
		return -ENOMEM;
	inode->fs = fs;
	inode->ino = attr->ino;
	inode->mode = attr->mode;
	inode->meta_epoch = atomic_load(&fs->meta_epoch);
	pthread_mutex_init(&inode->lock, NULL);
	pthread_mutex_init(&inode->lease_lock, NULL);
	ff3_gather_init(&inode->gather);
	ff3_hold_init(&inode->hold);
	r = set_layout(inode, layout);
	if (r < 0) {
		inode_free(inode);
		return r;
	}
	*ret = inode;
	return 0;
}

/* Opens of an older epoch count no more. inode->lock is held. */
static void count_open(struct ff3_inode *inode)
{
	uint64_t epoch = atomic_load(&inode->fs->meta_epoch);

	if (inode->count_epoch != epoch) {
		inode->count_epoch = epoch;
		inode->registered = 0;
	}
	inode->registered++;
}

int ff3_inode_get(struct ff3fs *fs, const struct ff3_attr *attr, const struct ff3_layout *layout,
		  uint32_t open_flags, bool registered, struct ff3_inode **ret)
{
	struct ff3_inode *inode, *fresh = NULL;
	int r = inode_new(fs, attr, layout, &fresh);

	if (r < 0)
		return r;
	if (!registered)
		fresh->meta_epoch = 0;
	pthread_mutex_lock(&fs->inodes_lock);
	HASH_FIND(hh, fs->inodes, &attr->ino, sizeof attr->ino, inode);
	if (!inode) {
		inode = TAKE_PTR(fresh);
		HASH_ADD(hh, fs->inodes, ino, sizeof inode->ino, inode);
	}
	inode->refs++;
	pthread_mutex_unlock(&fs->inodes_lock);
	inode_free(fresh);

	pthread_mutex_lock(&inode->lock);
	if (registered)
		count_open(inode);
	inode->open_flags |= open_flags & (FF3_OPEN_READ | FF3_OPEN_WRITE);
	pthread_mutex_unlock(&inode->lock);
	ff3_inode_learn(inode, attr);
	*ret = inode;
	return 0;
}

struct ff3_inode *ff3_inode_find(struct ff3fs *fs, uint64_t ino)
{
	struct ff3_inode *inode;

	pthread_mutex_lock(&fs->inodes_lock);
	HASH_FIND(hh, fs->inodes, &ino, sizeof ino, inode);
	if (inode)
		inode->refs++;
	pthread_mutex_unlock(&fs->inodes_lock);
	return inode;
}

void ff3_inode_ref(struct ff3_inode *inode)
{
	pthread_mutex_lock(&inode->fs->inodes_lock);
	inode->refs++;
	pthread_mutex_unlock(&inode->fs->inodes_lock);
}

void ff3_inode_unref(struct ff3_inode *inode)
{
	struct ff3fs *fs = inode->fs;
	bool last;

	pthread_mutex_lock(&fs->inodes_lock);
	last = --inode->refs == 0;
	if (last)
		HASH_DEL(fs->inodes, inode);
	pthread_mutex_unlock(&fs->inodes_lock);
	if (!last)
		return;
	ff3_lease_uncover(inode);
	if (inode->registered > 0 && !inode->shared_by_fork &&
	    inode->count_epoch == atomic_load(&fs->meta_epoch))
		ff3_meta_release(fs, inode->ino, inode->registered);
	inode_free(inode);
}

int ff3_inodes_all(struct ff3fs *fs, struct ff3_inode ***ret, size_t *ret_n)
{
	struct ff3_inode **all, *inode, *tmp;
	size_t n = 0;

	pthread_mutex_lock(&fs->inodes_lock);
	all = malloc((HASH_COUNT(fs->inodes) + 1) * sizeof *all);
	if (all)
		HASH_ITER(hh, fs->inodes, inode, tmp) {
			inode->refs++;
			all[n++] = inode;
		}
	pthread_mutex_unlock(&fs->inodes_lock);
	if (!all)
		return -ENOMEM;
	*ret = all;
	*ret_n = n;
	return 0;
}

/* --- Size ------------------------------------------------------------------------------------ */

/* What the attributes of the file lack, if they are those of a metad that was not told its end again yet. */
static void complete(struct ff3_inode *inode, struct ff3_attr *attr)
{
	struct ff3_told told = ff3_told_get(&inode->told_end);

	if (told.end > attr->size && told.cuts == attr->cuts)
		attr->size = told.end;
}

void ff3_attr_complete(struct ff3fs *fs, struct ff3_attr *attr)
{
	/* As long as it has been the same metad it knows all. */
	struct ff3_inode *inode = atomic_load(&fs->meta.former) ? ff3_inode_find(fs, attr->ino) : NULL;

	if (LIKELY(!inode))
		return;
	complete(inode, attr);
	ff3_inode_unref(inode);
}

void ff3_inode_learn(struct ff3_inode *inode, const struct ff3_attr *told)
{
	struct ff3_attr known = *told, *attr = &known;

	complete(inode, attr);
	atomic_store_explicit(&inode->cuts, attr->cuts, memory_order_relaxed);
	atomic_store_explicit(&inode->size, attr->size, memory_order_release);
	atomic_store_explicit(&inode->generation, attr->generation, memory_order_release);
}

void ff3_inode_grow(struct ff3_inode *inode, uint64_t size)
{
	uint64_t known = atomic_load(&inode->size);

	while (known < size && !atomic_compare_exchange_weak(&inode->size, &known, size))
		;
}

void ff3_inode_cut(struct ff3_inode *inode, const struct ff3_attr *attr)
{
	ff3_inode_touch(inode);
	ff3_hold_truncate(inode, attr->size);
	ff3_inode_learn(inode, attr);
}

int ff3_inode_refresh(struct ff3_inode *inode, struct ff3_attr *ret)
{
	struct ff3_req_lookup req = { .at = { .dir = inode->ino } };
	struct ff3_rep_lookup rep;
	uint8_t buf[512];
	struct ff3_meta_call call = FF3_META_CALL(lookup, false, &req, &rep, buf, sizeof buf);
	int r = ff3_lease_attr(inode, &rep.attr) ? 0 : ff3_meta_call(inode->fs, &call);

	if (r < 0)
		return r;
	ff3_inode_learn(inode, &rep.attr);
	if (ret) {
		complete(inode, &rep.attr);
		*ret = rep.attr;
	}
	return 0;
}

/* --- Ends that were told --------------------------------------------------------------------- */

static void told_lock(struct ff3_told *t)
{
	while (atomic_exchange_explicit(&t->busy, true, memory_order_acquire))
		sched_yield();
}

static void told_unlock(struct ff3_told *t)
{
	atomic_store_explicit(&t->busy, false, memory_order_release);
}

struct ff3_told ff3_told_get(struct ff3_told *t)
{
	struct ff3_told now = { .end = 0 };

	told_lock(t);
	now.end = t->end;
	now.cuts = t->cuts;
	told_unlock(t);
	return now;
}

void ff3_told_committed(struct ff3_told *t, const struct ff3_told *seen)
{
	told_lock(t);
	if (t->end == seen->end && t->cuts == seen->cuts)
		t->end = 0;
	told_unlock(t);
}

static void told_note(struct ff3_told *t, uint64_t end, uint32_t cuts)
{
	told_lock(t);
	if (t->end == 0 || cuts > t->cuts) {
		t->end = end;
		t->cuts = cuts;
	} else if (cuts == t->cuts) {
		t->end = MAX(t->end, end);
	}
	told_unlock(t);
}

bool ff3_inode_told(struct ff3_inode *inode, uint64_t end, const struct ff3_rep_extend *rep, uint64_t instance)
{
	told_note(&inode->told_end, end, rep->cuts);
	ff3_inode_grow(inode, MAX(rep->size, end));
	atomic_store(&inode->told, true);
	/* Else whoever registers the file with the new one may have been too early to know of it. */
	return instance == atomic_load(&inode->fs->meta.instance);
}

/* cuts: as of ff3_inode_tell; NULL: in any case. registering: inode->lock is held. */
static int extend_once(struct ff3_inode *inode, uint64_t end, const uint32_t *cuts, bool registering,
		       bool *ret_current)
{
	struct ff3_req_extend req = { .ino = inode->ino,
				      .end = end,
				      .sparse = atomic_load(&inode->sparse),
				      .again = cuts != NULL,
				      .cuts = cuts ? *cuts : 0 };
	struct ff3_rep_extend rep;
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(extend, false, &req, &rep, buf, sizeof buf);
	int r;

	call.registering = registering;
	r = registering ? ff3_meta_call(inode->fs, &call) : ff3_inode_call(inode, &call);
	if (r < 0)
		return r;
	if (cuts && rep.cuts != *cuts) {
		atomic_store_explicit(&inode->cuts, rep.cuts, memory_order_relaxed);
		return 1;
	}
	*ret_current = ff3_inode_told(inode, end, &rep, call.instance);
	return 0;
}

int ff3_inode_extend(struct ff3_inode *inode, uint64_t end)
{
	bool current = false;
	int r = 0;

	while (r == 0 && !current)
		r = extend_once(inode, end, NULL, false, &current);
	return r;
}

int ff3_inode_tell(struct ff3_inode *inode, uint64_t end, uint32_t cuts)
{
	bool current = false;
	int r = 0;

	while (r == 0 && !current)
		r = extend_once(inode, end, &cuts, false, &current);
	return r;
}

/* --- Registration ---------------------------------------------------------------------------- */

static bool is_registered(const struct ff3_inode *inode)
{
	return atomic_load_explicit(&inode->meta_epoch, memory_order_acquire) ==
	       atomic_load_explicit(&inode->fs->meta_epoch, memory_order_acquire);
}

static void set_registered(struct ff3_inode *inode, uint64_t epoch)
{
	atomic_store(&inode->meta_epoch, epoch);
	ff3_lease_uncover(inode);
}

/* One reopen for all our opens. inode->lock is held. The file is registered when metad knows all again that it had from
 * us, not before: else a commit would find that there is nothing to be committed. */
static int reopen(struct ff3_inode *inode, bool once, uint64_t limit_ns)
{
	struct ff3_req_reopen req = { .ino = inode->ino, .flags = inode->open_flags };
	struct ff3_rep_reopen rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(reopen, false, &req, &rep, buf, sizeof buf);
	struct ff3_told told;
	uint64_t epoch;
	bool current;
	int r;

	call.registering = true;
	call.once = once;
	call.limit_ns = limit_ns;
	do {
		r = ff3_meta_call(inode->fs, &call);
		epoch = atomic_load(&inode->fs->meta_epoch);
		/* Who answered may have been replaced since. */
	} while (r == 0 && call.instance != atomic_load(&inode->fs->meta.instance));
	if (r == -ESTALE || r == -ENOENT) {
		/* Gone, and asking again will not bring it back; who needs it is told by his call. */
		set_registered(inode, epoch);
		return -ESTALE;
	}
	if (r < 0)
		return r;
	count_open(inode);
	ff3_hot_learn(inode, rep.cap.len > 0, rep.cap, rep.layout.pin);
	ff3_inode_learn(inode, &rep.attr);
	/* An end that a restarted metad had in memory only. */
	told = ff3_told_get(&inode->told_end);
	if (told.end > rep.attr.size && told.cuts == rep.attr.cuts)
		r = extend_once(inode, told.end, &told.cuts, true, &current);
	if (r >= 0)
		r = ff3_locks_reclaim(inode);
	if (r >= 0)
		set_registered(inode, epoch);
	return r;
}

static int register_locked(struct ff3_inode *inode)
{
	return is_registered(inode) ? 0 : reopen(inode, false, 0);
}

int ff3_inode_register(struct ff3_inode *inode)
{
	int r;

	if (LIKELY(is_registered(inode)))
		return 0;
	pthread_mutex_lock(&inode->lock);
	r = register_locked(inode);
	pthread_mutex_unlock(&inode->lock);
	return r;
}

void ff3_inode_register_soon(struct ff3_inode *inode)
{
	uint64_t now;

	ff3_meta_keep(inode->fs);
	if (LIKELY(is_registered(inode)) || ff3_lease_covers(inode) ||
	    pthread_mutex_trylock(&inode->lock) != 0)
		return;
	now = ff3_boottime_ns();
	if (!is_registered(inode) && now >= inode->retry_ns) {
		inode->retry_ns = now + FF3_NSEC_PER_SEC;
		reopen(inode, true, 0);
	}
	pthread_mutex_unlock(&inode->lock);
}

void ff3_inode_unregister(struct ff3_inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	atomic_store(&inode->meta_epoch, 0);
	pthread_mutex_unlock(&inode->lock);
}

int ff3_inode_call(struct ff3_inode *inode, struct ff3_meta_call *call)
{
	uint64_t epoch;
	int r, tries = 0;

	do {
		epoch = atomic_load(&inode->fs->meta_epoch);
		r = call->registering ? register_locked(inode) : ff3_inode_register(inode);
		if (r < 0)
			return r;
		r = ff3_meta_call(inode->fs, call);
		if (r != -EBADF && r != -ESTALE)
			return r;
		/* Metad lost our open: it restarted, or our session was away for too long. */
		if (call->registering)
			atomic_store(&inode->meta_epoch, 0);
		else
			ff3_inode_unregister(inode);
		/* Which is nobody's fault as often as it restarts. */
	} while (epoch != atomic_load(&inode->fs->meta_epoch) || ++tries < 3);
	return r;
}

/* Whoever asks is reading, and can do without. */
#define CAP_NS (FF3_NSEC_PER_SEC / 5)

int ff3_inode_renew_cap(struct ff3_inode *inode)
{
	uint64_t now = ff3_boottime_ns();
	int r = -EAGAIN;

	if (pthread_mutex_trylock(&inode->lock) != 0)
		return -EAGAIN;
	if (now - inode->hot.cap_ns >= FF3_NSEC_PER_SEC) {
		inode->hot.cap_ns = now;
		r = reopen(inode, true, CAP_NS);
	}
	pthread_mutex_unlock(&inode->lock);
	return r;
}
