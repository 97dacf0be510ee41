/* Purpose: durability. chunk_sync on every target that holds unsynced bytes of a file, and commit at
 * metad, all at the same time: whoever reads already sees the bytes and the size, so the order in
 * which they become durable matters to nobody before fsync has returned.
 *
 * fsync is about the file, not about who wrote it (a database's processes sync each other's log): so
 * it also asks the targets that this process has not written to, and commits what others have told
 * metad. What close and the flusher sync is this process's own.
 *
 * Threads: any; no lock is held while a target syncs, so writers of the same file go on; what
 * they add meanwhile stays unsynced. */
#include "replay.h"

struct target_sync {
	struct ff3_unsynced u; /* as it was when the sync began */
	struct ff3_route route;
	uint64_t routes_version;
	uint64_t settled, clock; /* recover.c's and replay.c's, before it was sent */
	struct ff3_rpc_call call;
	uint8_t body[32], reply[64];
	int start_error;
};

/* What is to be synced; *ret_n 0: nothing. */
static int snapshot(struct ff3_hold *hold, struct target_sync **ret, uint32_t *ret_n)
{
	struct target_sync *all = NULL;
	uint32_t n;

	pthread_mutex_lock(&hold->lock);
	n = atomic_load(&hold->n_unsynced);
	if (n > 0)
		all = calloc(n, sizeof *all);
	for (uint32_t i = 0; all && i < n; i++)
		all[i].u = hold->unsynced[i];
	pthread_mutex_unlock(&hold->lock);
	if (n > 0 && !all)
		return -ENOMEM;
	*ret = all;
	*ret_n = n;
	return 0;
}

static void start(struct ff3_inode *inode, struct target_sync *t)
{
	struct ff3_req_chunk_sync req = { .ino = inode->ino, .instance = t->u.instance };

	t->routes_version = ff3_routes_version(inode->fs);
	t->start_error = ff3_route_find(inode->fs, t->u.chain, &t->route);
	if (t->start_error < 0)
		return;
	t->settled = ff3_recover_sample(t->route.peer);
	t->clock = ff3_replay_clock();
	t->call.op = FF3_OP_chunk_sync;
	t->call.body = t->body;
	t->call.body_len = ff3_encode_req_chunk_sync(t->body, sizeof t->body, &req);
	t->call.reply = t->reply;
	t->call.reply_size = sizeof t->reply;
	t->start_error = ff3_rpc_start(t->route.peer->rpc, &t->call);
}

/* The daemon restarted: sends our bytes again. */
static int repeat_lost(struct ff3_inode *inode, const struct target_sync *t)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *u;
	int r = 0;

	if (t->settled != t->call.instance)
		ff3_recover(inode->fs, t->route.peer, t->settled, t->call.instance);
	ff3_replay_own(inode->fs, UINT64_MAX);
	pthread_mutex_lock(&hold->lock);
	u = ff3_hold_find(hold, t->u.target);
	if (u && u->instance == t->u.instance && !u->lost)
		r = ff3_hold_resend(inode, u);
	pthread_mutex_unlock(&hold->lock);
	return r;
}

/* 0: durable; 1: to be tried again; negative: final. */
static int finish(struct ff3_inode *inode, struct target_sync *t, struct ff3_retry *retry)
{
	struct ff3_rpc_call *call = &t->call;
	int r = t->start_error;

	if (r == 0) {
		ff3_rpc_wait(&call, 1, retry->deadline_ns);
		r = call->status;
	}
	if (r == 0 && t->settled != t->call.instance &&
	    ff3_recover_check(t->route.peer, t->settled, t->call.instance) < 0) {
		/* Without what other processes have yet to send again. */
		ff3_recover(inode->fs, t->route.peer, t->settled, t->call.instance);
		*retry = ff3_retry_begin(inode->fs);
		return 1;
	}
	if (r == 0) {
		ff3_replay_synced(inode->fs, inode->ino, t->route.peer->target, t->call.instance, t->clock);
		ff3_hold_drop(inode, t->u.target, t->u.instance, t->u.last);
		return 0;
	}
	if (r == FF3_E_INSTANCE) {
		r = repeat_lost(inode, t);
		*retry = ff3_retry_begin(inode->fs);
		return r < 0 ? r : 1;
	}
	if (ff3_chunk_retriable(r)) {
		int cause = r;

		r = ff3_retry_pause(retry, cause);
		if (r == 0) {
			if (cause != -ECONNRESET)
				ff3_routes_refresh(inode->fs, t->routes_version, true);
			return 1;
		}
	}
	ff3_explain("cannot sync inode %" PRIu64 " at %s: %s%s", inode->ino,
		    t->route.peer ? t->route.peer->address : "no daemon", ff3_strerror(r),
		    ff3_retry_tried(inode->fs, retry).text);
	return r;
}

/* Bytes that nobody can send again: told once. */
static int report_lost(struct ff3_inode *inode, const struct ff3_unsynced *u)
{
	struct ff3_hold *hold = &inode->hold;
	struct ff3_unsynced *now;

	pthread_mutex_lock(&hold->lock);
	now = ff3_hold_find(hold, u->target);
	if (now)
		now->lost = false;
	pthread_mutex_unlock(&hold->lock);
	ff3_hold_drop(inode, u->target, u->instance, u->last);
	atomic_store(&inode->sparse, true);
	ff3_explain("a chunk daemon restarted and unsynced bytes of inode %" PRIu64 " are lost",
		    inode->ino);
	return -EIO;
}

/* whole: also if nothing of it is ours. */
static int commit(struct ff3_inode *inode, uint64_t end, bool whole)
{
	struct ff3_told told = ff3_told_get(&inode->told_end);
	struct ff3_req_commit req = { .ino = inode->ino,
				      .end = end,
				      .sparse = atomic_load(&inode->sparse),
				      .again = end > 0,
				      .cuts = inode->gather.untold_cuts };
	struct ff3_rep_commit rep;
	uint8_t buf[512];
	struct ff3_meta_call call = FF3_META_CALL(commit, true, &req, &rep, buf, sizeof buf);
	int r;

	if (!atomic_exchange(&inode->uncommitted, false) && end == 0 && told.end == 0 && !whole)
		return 0;
	atomic_store(&inode->told, false);
	r = ff3_inode_call(inode, &call);
	if (r < 0) {
		atomic_store(&inode->uncommitted, true);
		return r;
	}
	ff3_told_committed(&inode->told_end, &told);
	ff3_inode_learn(inode, &rep.attr);
	if (LIKELY(end == 0 || rep.attr.cuts == req.cuts))
		return 0;
	/* The file was cut: before we wrote, or by somebody who had the end told first. */
	r = ff3_gather_tell(inode);
	return r < 0 ? r : commit(inode, 0, whole);
}

int ff3_sync_meta(struct ff3_inode *inode, uint64_t end)
{
	return commit(inode, end, false);
}

static bool is_ours(const struct target_sync *all, uint32_t n, uint64_t target)
{
	for (uint32_t i = 0; i < n; i++)
		if (all[i].u.target == target)
			return true;
	return false;
}

/* Has the other targets sync what they hold of the file. 0, 1: to be tried again, or negative. */
static int sync_others(struct ff3_inode *inode, const struct target_sync *all, uint32_t n,
		       struct ff3_retry *retry)
{
	uint64_t chunks = (atomic_load(&inode->size) + ff3_inode_chunk_size(inode) - 1) >>
			  inode->chunk_shift;
	uint32_t n_others = (uint32_t)MIN(chunks, (uint64_t)inode->n_stripe);
	_cleanup_free_ struct target_sync *others = calloc(n_others + 1, sizeof *others);
	int result = 0;

	if (!others)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_others; i++) {
		struct target_sync *t = &others[i];

		t->u.chain = inode->stripe[(i + inode->seed) % inode->n_stripe];
		t->start_error = ff3_route_find(inode->fs, t->u.chain, &t->route);
		if (t->start_error == 0 && t->route.peer && is_ours(all, n, t->route.peer->target))
			t->u.lost = true; /* not to be asked */
		else
			start(inode, t);
	}
	for (uint32_t i = 0; i < n_others; i++) {
		int r = others[i].u.lost ? 0 : finish(inode, &others[i], retry);

		if (r < 0 && result >= 0)
			result = r;
		else if (r > 0 && result == 0)
			result = r;
	}
	return result;
}

/* commit_end: not NULL if metad is to commit, too. whole: see the head. */
static int sync_all(struct ff3_inode *inode, bool background, const uint64_t *commit_end, bool whole)
{
	struct ff3_retry retry = ff3_retry_begin(inode->fs);
	struct ff3_hold *hold = &inode->hold;
	bool again;
	int result = 0, committed = 0;

	do {
		_cleanup_free_ struct target_sync *all = NULL;
		uint32_t n = 0;
		int r = 0;

		if (atomic_load_explicit(&hold->n_unsynced, memory_order_acquire) > 0)
			r = snapshot(hold, &all, &n);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < n; i++)
			if (!all[i].u.lost)
				start(inode, &all[i]);
		if (commit_end)
			committed = commit(inode, *commit_end, whole);
		commit_end = NULL;
		again = false;
		/* The commit has told how long the file is by now. */
		if (whole) {
			r = sync_others(inode, all, n, &retry);
			if (r > 0)
				again = true;
			else if (r < 0)
				result = r;
		}
		for (uint32_t i = 0; i < n; i++) {
			if (!all[i].u.lost)
				r = finish(inode, &all[i], &retry);
			else
				r = background ? -EIO : report_lost(inode, &all[i].u);
			if (r > 0)
				again = true;
			else if (r < 0 && result == 0)
				result = r;
		}
	} while (again && result == 0);
	return result < 0 ? result : committed;
}

int ff3_sync_background(struct ff3_inode *inode)
{
	return sync_all(inode, true, NULL, false);
}

int ff3_sync(struct ff3_inode *inode, uint64_t end, bool whole)
{
	return sync_all(inode, false, &end, whole);
}

int ff3_hold_room(struct ff3fs *fs, size_t len)
{
	uint64_t bound = fs->conf.client.write_hold, held = atomic_load(&fs->n_held);
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	size_t n;
	int r;

	if (LIKELY(held + len <= bound / 2) || bound == 0)
		return 0;
	ff3_flusher_kick(fs);
	if (held + len <= bound)
		return 0;
	r = ff3_inodes_all(fs, &inodes, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		/* An error belongs to the file it happened to: its fsync tells it. */
		if (atomic_load(&inodes[i]->hold.n_unsynced) > 0)
			ff3_sync_background(inodes[i]);
		ff3_inode_unref(inodes[i]);
	}
	return 0;
}
