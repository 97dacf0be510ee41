/* Purpose: what the chunk daemons hold for us in memory only, and copies of it. A daemon writes out
 * unsynced bytes within a second or so; if it dies before, they are gone. Its answers carry its
 * instance, so the loss is noticed: by a later write or read of the file, by fsync, by close, or by
 * the flusher thread, which syncs what is a few seconds old. Then the copies are sent again, in
 * their old order and with new tags, and fsync goes on. What cannot be sent again is an I/O error
 * of fsync or close, never silence. A write that was under way meanwhile may have been overwritten
 * by the repetition of an older one; it is sent once more when it is acknowledged (hold.repeats).
 *
 * The copies of all files together are bounded by client.write_hold. Whoever needs room first
 * syncs what is there. A bound of 0 holds nothing.
 *
 * Other processes of the host wait until everybody has sent its copies, which is recover.c's and replay.c's.
 * A write to the same bytes on another host, made after the daemon's restart and before we noticed it, is overwritten by the repetition: as with NFS, two clients that write the same bytes without
 * syncing must expect that.
 *
 * Threads: any; inode->hold.lock, held over the requests of a repetition so that new writes to the
 * file are acknowledged behind it. Fork: the child forgets its parent's unsynced writes. */
#include "replay.h"

void ff3_hold_init(struct ff3_hold *hold)
{
	pthread_mutex_init(&hold->lock, NULL);
	hold->last = &hold->first;
}

/* What it counts for the bound. */
static uint64_t cost(const struct ff3_held *h)
{
	return sizeof *h + 32 + (h->data ? h->len : 0);
}

static void held_free(struct ff3_inode *inode, struct ff3_held *h)
{
	atomic_fetch_sub(&inode->fs->n_held, cost(h));
	ff3_replay_unstamp(inode->fs, h->stamp);
	ff3_pool_put(inode->fs, h->data, h->len);
	free(h);
}

void ff3_hold_remove(struct ff3_inode *inode, struct ff3_held **at)
{
	struct ff3_held *h = *at;

	*at = h->next;
	if (!*at)
		inode->hold.last = at;
	held_free(inode, h);
}

void ff3_hold_done(struct ff3_inode *inode)
{
	struct ff3_hold *hold = &inode->hold;

	while (hold->first) {
		struct ff3_held *h = hold->first;

		hold->first = h->next;
		held_free(inode, h);
	}
	hold->last = &hold->first;
	free(hold->unsynced);
	hold->unsynced = NULL;
	atomic_store(&hold->n_unsynced, 0);
}

struct ff3_unsynced *ff3_hold_find(struct ff3_hold *hold, uint64_t target)
{
	for (uint32_t i = 0; i < atomic_load(&hold->n_unsynced); i++)
		if (hold->unsynced[i].target == target)
			return &hold->unsynced[i];
	return NULL;
}

static void unsynced_drop(struct ff3_hold *hold, struct ff3_unsynced *u)
{
	uint32_t n = atomic_load(&hold->n_unsynced);

	*u = hold->unsynced[n - 1];
	atomic_store(&hold->n_unsynced, n - 1);
}

/* The entry of the piece's target, made if need be. hold.lock is held. */
static struct ff3_unsynced *unsynced_get(struct ff3_hold *hold, const struct ff3_piece *p)
{
	struct ff3_unsynced *u = ff3_hold_find(hold, p->route.peer->target);
	uint32_t n = atomic_load(&hold->n_unsynced);

	if (u)
		return u;
	u = realloc(hold->unsynced, (n + 1) * sizeof *u);
	if (!u)
		return NULL;
	hold->unsynced = u;
	if (n == 0)
		hold->since_ns = ff3_boottime_ns();
	u[n] = (struct ff3_unsynced){
		.target = p->route.peer->target,
		.chain = p->route.chain,
		.instance = p->instance,
		.settled = p->instance,
	};
	atomic_store(&hold->n_unsynced, n + 1);
	return &u[n];
}

int ff3_hold_send_again(struct ff3_inode *inode, struct ff3_held *h)
{
	uint64_t offset = ((uint64_t)h->index << inode->chunk_shift) + h->offset;
	struct ff3_retry retry = { 0 };
	struct ff3_piece p;
	int r;

	ff3_piece_init(&p, inode, FF3_OP_chunk_write, offset, h->len);
	p.data = h->data;
	p.replay = true;
	ff3_piece_start(&p);
	r = ff3_piece_wait(&p, &retry);
	if (r < 0) {
		ff3_piece_abandon(&p);
		return r;
	}
	h->instance = p.instance;
	return 0;
}

/* Its daemon was restarted since: other processes may have gone on already. */
static bool is_outdated(const struct ff3_inode *inode, const struct ff3_piece *p)
{
	uint64_t next = ff3_recover_next(inode->fs, p->route.peer->target);

	return UNLIKELY(next != 0 && next != p->instance);
}

/* Without copies: only noted. */
static int note(struct ff3_inode *inode, const struct ff3_piece *p)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *u;

	pthread_mutex_lock(&hold->lock);
	if (is_outdated(inode, p)) {
		pthread_mutex_unlock(&hold->lock);
		return -ERESTART;
	}
	u = unsynced_get(hold, p);
	if (u) {
		u->last = ++hold->number;
		u->lost |= u->instance != p->instance;
		u->instance = p->instance;
	}
	pthread_mutex_unlock(&hold->lock);
	return u ? 0 : -ENOMEM;
}

int ff3_hold_add(struct ff3_inode *inode, const struct ff3_piece *p, uint8_t *data)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *u;
	struct ff3_held *h;
	int r = 0;

	if (inode->fs->conf.client.write_hold == 0) {
		r = note(inode, p);
		if (r != -ERESTART)
			ff3_pool_put(inode->fs, data, p->length);
		return r;
	}
	ff3_replay_ready(inode->fs);
	ff3_replay_own(inode->fs, UINT64_MAX);
	h = calloc(1, sizeof *h);
	pthread_mutex_lock(&hold->lock);
	if (is_outdated(inode, p)) {
		pthread_mutex_unlock(&hold->lock);
		free(h);
		return -ERESTART;
	}
	u = unsynced_get(hold, p);
	if (!h || !u) {
		pthread_mutex_unlock(&hold->lock);
		ff3_pool_put(inode->fs, data, p->length);
		free(h);
		return -ENOMEM;
	}
	*h = (struct ff3_held){
		.number = ++hold->number,
		.target = u->target,
		.instance = p->instance,
		.stamp = ff3_replay_stamp(inode->fs),
		.index = p->index,
		.offset = p->offset,
		.len = p->length,
		.data = data,
	};
	atomic_fetch_add(&inode->fs->n_held, cost(h));
	*hold->last = h;
	hold->last = &h->next;
	u->last = h->number;
	/* Sent again by replay.c, in an order that all processes agree on. */
	if (h->stamp != 0)
		u->instance = p->instance;
	if (UNLIKELY(u->instance != p->instance))
		r = ff3_hold_resend(inode, u);
	else if (UNLIKELY(p->repeats != atomic_load(&hold->repeats)))
		r = ff3_hold_send_again(inode, h);
	pthread_mutex_unlock(&hold->lock);
	return r;
}

/* --- Repeating ------------------------------------------------------------------------------- */

static bool all_of(const struct ff3_hold *hold, uint64_t target, uint64_t instance)
{
	for (const struct ff3_held *h = hold->first; h; h = h->next)
		if (h->target == target && h->instance != instance)
			return false;
	return true;
}

/* One round. Returns the instance that took all of it; 0: there was nothing. */
static int resend_round(struct ff3_inode *inode, struct ff3_unsynced *u, uint64_t *ret_instance)
{
	uint64_t instance = 0;
	int r;

	for (struct ff3_held *h = inode->hold.first; h; h = h->next) {
		/* Later ones too: they may lie over those that were lost. */
		if (h->target != u->target)
			continue;
		if (!h->data) {
			u->lost = true;
			continue;
		}
		r = ff3_hold_send_again(inode, h);
		if (r < 0)
			return r;
		instance = h->instance;
	}
	*ret_instance = instance;
	return 0;
}

int ff3_hold_resend(struct ff3_inode *inode, struct ff3_unsynced *u)
{
	struct ff3_hold *hold = &inode->hold;
	uint64_t instance = 0;
	int r;

	atomic_fetch_add(&hold->repeats, 1);
	/* Again if the daemon restarts meanwhile. */
	do {
		r = resend_round(inode, u, &instance);
	} while (r == 0 && instance != 0 && !u->lost && !all_of(hold, u->target, instance));
	atomic_fetch_add(&hold->repeats, 1);
	ff3_inode_touch(inode);
	if (r < 0)
		return r;
	if (inode->fs->conf.client.write_hold == 0)
		u->lost = true;
	if (instance == 0 && !u->lost)
		unsynced_drop(hold, u); /* cut off meanwhile: nothing is missing */
	else if (instance != 0)
		u->instance = instance;
	return 0;
}

bool ff3_hold_check_read(struct ff3_inode *inode, struct ff3_piece *p)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *u;
	bool again;

	if (LIKELY(atomic_load_explicit(&hold->n_unsynced, memory_order_acquire) == 0 &&
		   atomic_load_explicit(&hold->repeats, memory_order_relaxed) == p->repeats &&
		   p->repeats % 2 == 0))
		return false;
	ff3_replay_own(inode->fs, UINT64_MAX);
	pthread_mutex_lock(&hold->lock);
	again = p->repeats != atomic_load(&hold->repeats);
	u = ff3_hold_find(hold, p->route.peer->target);
	if (!again && u && u->instance != p->instance && !u->lost)
		again = ff3_hold_resend(inode, u) == 0;
	p->repeats = atomic_load(&hold->repeats);
	pthread_mutex_unlock(&hold->lock);
	return again;
}

/* --- Forgetting ------------------------------------------------------------------------------ */

void ff3_hold_drop(struct ff3_inode *inode, uint64_t target, uint64_t instance, uint64_t number)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *u;
	struct ff3_held **at;

	pthread_mutex_lock(&hold->lock);
	for (at = &hold->first; *at;) {
		struct ff3_held *h = *at;

		if (h->target == target && h->instance == instance && h->number <= number) {
			*at = h->next;
			held_free(inode, h);
		} else {
			at = &h->next;
		}
	}
	hold->last = at;
	u = ff3_hold_find(hold, target);
	if (u && u->last <= number && u->instance == instance)
		unsynced_drop(hold, u);
	if (hold->first)
		hold->since_ns = ff3_boottime_ns();
	pthread_mutex_unlock(&hold->lock);
}

/* Cuts h to keep bytes. */
static void held_shorten(struct ff3_inode *inode, struct ff3_held *h, uint32_t keep)
{
	/* A buffer's size follows from its length, so that a shorter one moves. */
	uint8_t *data = h->data ? ff3_pool_get(inode->fs, keep) : NULL;

	if (data)
		memcpy(data, h->data, keep);
	atomic_fetch_sub(&inode->fs->n_held, cost(h));
	ff3_pool_put(inode->fs, h->data, h->len);
	h->data = data;
	h->len = keep;
	atomic_fetch_add(&inode->fs->n_held, cost(h));
}

void ff3_hold_truncate(struct ff3_inode *inode, uint64_t size)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_held **at;

	pthread_mutex_lock(&hold->lock);
	for (at = &hold->first; *at;) {
		struct ff3_held *h = *at;
		uint64_t from = ((uint64_t)h->index << inode->chunk_shift) + h->offset;

		if (from >= size) {
			*at = h->next;
			held_free(inode, h);
			continue;
		}
		if (from + h->len > size)
			held_shorten(inode, h, (uint32_t)(size - from));
		at = &h->next;
	}
	hold->last = at;
	pthread_mutex_unlock(&hold->lock);
}

void ff3_hold_forget(struct ff3_inode *inode, uint64_t offset, uint64_t len)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_held **at;

	pthread_mutex_lock(&hold->lock);
	for (at = &hold->first; *at;) {
		struct ff3_held *h = *at;
		uint64_t from = ((uint64_t)h->index << inode->chunk_shift) + h->offset;

		if (from >= offset && from + h->len <= offset + len) {
			*at = h->next;
			held_free(inode, h);
		} else {
			at = &h->next;
		}
	}
	hold->last = at;
	pthread_mutex_unlock(&hold->lock);
}
