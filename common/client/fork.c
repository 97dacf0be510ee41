/* Purpose: fork. Before it, buffered writes are sent and all locks taken, so that the child finds
 * everything whole. The child then drops the connections (they are its parent's), takes a session of
 * its own, and registers at metad what it goes on using. Unsynced writes stay the parent's duty.
 *
 * Files that are open at a fork are released by neither side: metad drops them with the sessions.
 *
 * A child that no handler saw being made (the shim tells of it by ff3fs_forked, late) finds everything as it was
 * at that moment. RDMA is not for it, since librdmacm may be locked for ever in it. If TCP is not allowed instead, it is
 * cut off: what it asks a daemon of another host for fails (ENODEV). So nothing gathers in it, where nobody would be told.
 *
 * Threads: the forking one. A fork out of a signal handler that interrupted a call of the library
 * takes no lock; the child then starts with fresh ones.
 * Fork: these are the handlers. After vfork nothing runs. */
#include "replay.h"

static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ff3fs *clients;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* This thread has taken the locks. Until they are free again it counts as inside the library: a
 * signal handler that runs meanwhile is refused rather than hung. */
static THREAD_LOCAL bool forking;

typedef int (*lock_fn)(pthread_mutex_t *);

static void for_gathers(struct ff3fs *fs, lock_fn fn)
{
	for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next)
		fn(&i->gather.lock);
}

static void for_holds(struct ff3fs *fs, lock_fn fn)
{
	for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next)
		fn(&i->hold.lock);
}

static void for_registrations(struct ff3fs *fs, lock_fn fn)
{
	for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next)
		fn(&i->lock);
}

/* Others may open and close files until inodes_lock is ours, which comes late in the order: so the
 * table is locked first to look at it, and what cannot be locked at once is tried again. */
static bool try_all(struct ff3fs *fs)
{
	struct ff3_inode *i, *failed = NULL;

	for (i = fs->inodes; i && !failed; i = i->hh.next) {
		if (pthread_mutex_trylock(&i->gather.lock) != 0) {
			failed = i;
		} else if (pthread_mutex_trylock(&i->hold.lock) != 0) {
			pthread_mutex_unlock(&i->gather.lock);
			failed = i;
		} else if (pthread_mutex_trylock(&i->lock) != 0) {
			pthread_mutex_unlock(&i->hold.lock);
			pthread_mutex_unlock(&i->gather.lock);
			failed = i;
		}
	}
	for (i = fs->inodes; failed && i != failed; i = i->hh.next) {
		pthread_mutex_unlock(&i->lock);
		pthread_mutex_unlock(&i->hold.lock);
		pthread_mutex_unlock(&i->gather.lock);
	}
	return !failed;
}

static void lock_client(struct ff3fs *fs)
{
	struct timespec pause = { .tv_nsec = 50000 };

	/* Writers that gather stand back, or they would hold their locks nearly always. */
	atomic_store(&fs->forking, true);
	pthread_mutex_lock(&fs->routes.lock);
	for (;;) {
		pthread_mutex_lock(&fs->inodes_lock);
		if (try_all(fs))
			break;
		pthread_mutex_unlock(&fs->inodes_lock);
		/* Somebody is sending under one of them: as long as a request takes. He may need
		 * the routes for it. */
		pthread_mutex_unlock(&fs->routes.lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&fs->routes.lock);
	}
	pthread_mutex_lock(&fs->flusher.lock);
	pthread_mutex_lock(&fs->peers_lock);
	pthread_mutex_lock(&fs->meta.lock);
	pthread_mutex_lock(&fs->pool.lock);
	pthread_mutex_lock(&fs->hot.lock);
}

static void unlock_client(struct ff3fs *fs)
{
	pthread_mutex_unlock(&fs->hot.lock);
	pthread_mutex_unlock(&fs->pool.lock);
	pthread_mutex_unlock(&fs->meta.lock);
	pthread_mutex_unlock(&fs->peers_lock);
	pthread_mutex_unlock(&fs->flusher.lock);
	for_registrations(fs, pthread_mutex_unlock);
	for_holds(fs, pthread_mutex_unlock);
	for_gathers(fs, pthread_mutex_unlock);
	pthread_mutex_unlock(&fs->inodes_lock);
	pthread_mutex_unlock(&fs->routes.lock);
	atomic_store(&fs->forking, false);
}

static void on_prepare(void)
{
	int entered = ff3_enter();

	if (entered < 0)
		return;
	pthread_mutex_lock(&clients_lock);
	for (struct ff3fs *fs = clients; fs; fs = fs->next) {
		ff3_flush_all(fs);
		ff3_leases_before_fork(fs);
		lock_client(fs);
	}
	ff3_rpc_before_fork();
	forking = true;
}

static void leave_fork(void)
{
	const int entered = 0;

	forking = false;
	ff3_leave(&entered);
}

static void on_parent(void)
{
	if (!forking)
		return;
	ff3_rpc_fork_parent();
	for (struct ff3fs *fs = clients; fs; fs = fs->next) {
		for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next)
			i->shared_by_fork = true;
		unlock_client(fs);
	}
	pthread_mutex_unlock(&clients_lock);
	leave_fork();
}

static int fresh_lock(pthread_mutex_t *lock)
{
	return pthread_mutex_init(lock, NULL);
}

static void inode_in_child(struct ff3_inode *inode)
{
	inode->shared_by_fork = true;
	atomic_store(&inode->uncommitted, false);
	inode->told_end = (struct ff3_told){ .end = 0 };
	atomic_store(&inode->gather.len, 0);
	inode->gather.error = 0;
	fresh_lock(&inode->gather.tell_lock);
	ff3_locks_done(&inode->locks);
	atomic_store(&inode->gather.untold_end, 0);
	atomic_store(&inode->gather.untold_token, 0);
	atomic_store(&inode->gather.token, 0);
	ff3_hold_done(inode);
}

static void client_in_child(struct ff3fs *fs)
{
	uint64_t session = ff3_random_u64();

	if (forking) {
		unlock_client(fs);
	} else {
		fresh_lock(&fs->routes.lock);
		fresh_lock(&fs->inodes_lock);
		fresh_lock(&fs->flusher.lock);
		fresh_lock(&fs->peers_lock);
		fresh_lock(&fs->meta.lock);
		fresh_lock(&fs->pool.lock);
		fresh_lock(&fs->hot.lock);
		for_gathers(fs, fresh_lock);
		for_holds(fs, fresh_lock);
		for_registrations(fs, fresh_lock);
	}
	fs->fork_epoch++;
	atomic_store(&fs->session, session);
	fs->identity.session = session;
	ff3_meta_after_fork(&fs->meta);
	ff3_meta_forked(fs);
	atomic_store(&fs->write_seq, 0);
	atomic_store(&fs->locked, false);
	fs->flusher.running = false;
	atomic_store(&fs->flusher.awake, false);
	ff3_flusher_init(&fs->flusher);
	ff3_leases_after_fork(fs);
	ff3_replay_init(fs); /* its place is the parent's */
	for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next)
		inode_in_child(i);
	atomic_store(&fs->flusher.n_gathering, 0);
	ff3_board_after_fork();
	atomic_store(&fs->flusher.n_untold, 0);
	fs->cut_off = ff3_rpc_lost_reach(&fs->conf.client.transports);
	ff3_rpc_group_after_fork(fs->meta.group, session);
	for (struct ff3_peer *p = fs->peers; p; p = p->next) {
		ff3_rpc_after_fork(p->rpc, session);
		ff3_slow_init(&p->slow);
		if (atomic_load(&p->local))
			ff3_rpc_after_fork(atomic_load(&p->local), session);
	}
}

static void on_child(void)
{
	ff3_users_after_fork();
	ff3_rpc_fork_child(forking);
	for (struct ff3fs *fs = clients; fs; fs = fs->next)
		client_in_child(fs);
	if (forking) {
		pthread_mutex_unlock(&clients_lock);
		leave_fork();
	} else {
		fresh_lock(&clients_lock);
	}
}

EXPORT int ff3fs_forked(void)
{
	on_child();
	return 0;
}

static void register_handlers(void)
{
	pthread_atfork(on_prepare, on_parent, on_child);
}

void ff3_clients_add(struct ff3fs *fs)
{
	pthread_once(&once, register_handlers);
	pthread_mutex_lock(&clients_lock);
	fs->next = clients;
	clients = fs;
	pthread_mutex_unlock(&clients_lock);
}

void ff3_clients_remove(struct ff3fs *fs)
{
	pthread_mutex_lock(&clients_lock);
	for (struct ff3fs **at = &clients; *at; at = &(*at)->next)
		if (*at == fs) {
			*at = fs->next;
			break;
		}
	pthread_mutex_unlock(&clients_lock);
}
