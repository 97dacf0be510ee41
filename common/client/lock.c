/* Purpose: locks between hosts, which metad grants (metad/lock.c).
 *
 * What was granted is kept here too, since metad holds it in memory: when it restarted, the next
 * registration of the file takes the locks again. One that somebody else got meanwhile is lost, and
 * the file's later calls on locks say EIO, as after the loss of an NFS lock. The flusher keeps asking
 * metad, so that a holder who does nothing notices in time.
 *
 * Threads: inode->lock, over the requests, so that the order at metad is the order of the list.
 * Fork: a child holds none. */
#include "internal.h"

static int ask(struct ff3_inode *inode, const struct ff3_lock *want, uint8_t flags,
	       struct ff3_rep_lock *ret)
{
	struct ff3_req_lock req = {
		.ino = inode->ino,
		.domain = want->domain,
		.owner = want->owner,
		.first = want->first,
		.last = want->last,
		.kind = want->kind,
		.type = want->type,
		.flags = flags,
	};
	bool reclaim = flags & FF3_LOCK_RECLAIM; /* then a registration is under way */
	uint8_t buf[64];
	struct ff3_meta_call call = FF3_META_CALL(lock, false, &req, ret, buf, sizeof buf);

	call.registering = true;
	return reclaim ? ff3_meta_call(inode->fs, &call) : ff3_inode_call(inode, &call);
}

int ff3_locks_reclaim(struct ff3_inode *inode)
{
	struct ff3_rep_lock rep;

	for (uint32_t i = 0; i < inode->locks.n;) {
		int r = ask(inode, &inode->locks.all[i], FF3_LOCK_RECLAIM, &rep);

		if (r < 0)
			return r;
		if (rep.granted) {
			i++;
			continue;
		}
		inode->lost_lock = true;
		inode->locks.all[i] = inode->locks.all[--inode->locks.n];
	}
	return 0;
}

static int set(struct ff3_inode *inode, const struct ff3_lock *want, bool test,
	       struct ff3_rep_lock *ret)
{
	int r;

	if (inode->lost_lock && want->type != FF3_LOCK_NONE)
		return -EIO;
	/* Releasing what was never taken needs nobody. */
	if (want->type == FF3_LOCK_NONE && want->kind == FF3_LOCK_RECORD &&
	    !ff3_locks_any(&inode->locks, want))
		return 0;
	r = ask(inode, want, test ? FF3_LOCK_TEST : 0, ret);
	if (r < 0 || test || !ret->granted)
		return r;
	r = ff3_locks_set(&inode->locks, want);
	if (inode->locks.n == 0)
		inode->lost_lock = false;
	return r;
}

EXPORT int ff3fs_lock(struct ff3fs_file *file, const struct ff3fs_lock *lock, int test,
		      struct ff3fs_lock *ret)
{
	FF3_ENTER();
	struct ff3_inode *inode = file->inode;
	struct ff3_lock want = {
		.domain = lock->domain,
		.owner = lock->owner,
		.first = lock->first,
		.last = lock->last,
		.kind = lock->kind,
		.type = lock->type,
	};
	struct ff3_rep_lock rep = { .granted = 1 };
	uint64_t begin_ns = ff3_boottime_ns(), lease_ns;
	struct ff3_retry retry;
	int r = 0;

	if (lock->type == FF3FS_LOCK_NONE && ff3_gathering(inode))
		r = ff3_gather_flush(inode);
	if (r < 0 || file->fs->conf.client.host_locks)
		return ff3_public(r);
	retry = ff3_retry_begin(file->fs);
	for (;;) {
		pthread_mutex_lock(&inode->lock);
		r = set(inode, &want, test, &rep);
		pthread_mutex_unlock(&inode->lock);
		if (r != -EAGAIN)
			break;
		/* Metad restarted, and waits for those who held locks: so do we, as for a daemon
		 * that is away, for a lease at most. */
		lease_ns = ff3_meta_lease_ms(file->fs) * FF3_NSEC_PER_MSEC;
		retry.deadline_ns = MAX(retry.deadline_ns, begin_ns + lease_ns + FF3_NSEC_PER_SEC);
		if (ff3_retry_pause(&retry, r) < 0)
			break;
	}
	if (r == 0 && rep.granted && want.type != FF3_LOCK_NONE && !test &&
	    !atomic_exchange(&file->fs->locked, true))
		ff3_flusher_kick(file->fs);
	if (r < 0 || rep.granted)
		return ff3_public(r);
	if (ret)
		*ret = (struct ff3fs_lock){ .owner = rep.held,
					    .first = rep.first,
					    .last = rep.last,
					    .kind = lock->kind,
					    .type = rep.type };
	return -EAGAIN;
}
