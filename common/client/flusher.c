/* Purpose: the thread that sends what has gathered for 50 to 100 ms, and syncs writes
 * that have been unsynced for seconds (the daemons have written them out by then), which frees
 * their copies and notices a restarted daemon even if the application does not write any more. And it
 * asks metad four times a lease whether it is still the one that granted our locks.
 *
 * Threads: started at the first buffered write or lock, with all signals blocked; sleeps without a
 * time-out when nothing is buffered and nothing was ever locked. flusher.lock is not held while it
 * works. It may wait for a daemon as long as anybody else.
 * Fork: the child has none and starts its own when it needs one. */
#include "replay.h"

#include <signal.h>

#define TICK_MS 50u
#define GATHER_AGE_NS (40 * FF3_NSEC_PER_MSEC)
#define HOLD_AGE_NS (2 * FF3_NSEC_PER_SEC)

int ff3_flusher_init(struct ff3_flusher *f)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r != 0)
		return -r;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&f->lock, NULL);
	r = pthread_cond_init(&f->wake, &attr);
	pthread_condattr_destroy(&attr);
	return -r;
}

/* Another process waits for the end that an fsync under way will tell: it is told now. */
static void tell_asked(struct ff3_inode *inode)
{
	uint64_t token = atomic_load(&inode->gather.untold_token);

	if (ff3_board_is_asked(token) && ff3_gather_tell(inode) > 0)
		ff3_board_end(token);
}

static void work(struct ff3fs *fs)
{
	bool pressed = atomic_load(&fs->n_held) > fs->conf.client.write_hold / 2;
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	uint64_t now = ff3_boottime_ns();
	size_t n;

	if (atomic_load(&fs->locked) || atomic_exchange(&fs->meta.doubted, false))
		ff3_meta_ask(fs);
	fs->flusher.seen_bell = ff3_board_bell();
	if (ff3_inodes_all(fs, &inodes, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		struct ff3_inode *inode = inodes[i];

		/* The times are read without their locks: being wrong costs a tick. They may be later than now, also
		 * by what is sent here. */
		if (ff3_gathering(inode) &&
		    (atomic_load(&inode->gather.since_ns) + GATHER_AGE_NS <= now ||
		     ff3_board_is_asked(atomic_load(&inode->gather.token))))
			ff3_gather_flush_ino(fs, inode->ino);
		tell_asked(inode);
		if (atomic_load(&inode->hold.n_unsynced) > 0 &&
		    (pressed || atomic_load(&inode->hold.since_ns) + HOLD_AGE_NS <= now))
			ff3_sync_background(inode);
		ff3_inode_unref(inode);
	}
}

/* flusher.lock is held. */
static void sleep_a_tick(struct ff3fs *fs)
{
	struct ff3_flusher *f = &fs->flusher;
	uint64_t kicks = atomic_load(&f->n_kicks), ms = 20 * TICK_MS, until;
	struct timespec ts;

	/* As long as something was kicked lately, it will be again: then nobody needs to wake us,
	 * which would cost a writer of small files more than our looking does. */
	if (atomic_load(&f->n_gathering) > 0 || atomic_load(&f->n_untold) > 0 || kicks != f->seen_kicks)
		ms = TICK_MS;
	f->seen_kicks = kicks;
	atomic_store(&f->awake, ms == TICK_MS);
	/* Kicked before it could know that we sleep for longer. */
	if (ms != TICK_MS && atomic_load(&f->n_kicks) != kicks)
		return;
	if (ms != TICK_MS && atomic_load(&fs->n_held) == 0) {
		if (!atomic_load(&fs->locked)) {
			pthread_cond_wait(&f->wake, &f->lock);
			return;
		}
		ms = MAX(ff3_meta_lease_ms(fs) / 4, ms / 4);
	}
	if (ms == TICK_MS) { /* and sooner if another process rings */
		uint32_t bell = f->seen_bell;
		bool waited;

		pthread_mutex_unlock(&f->lock);
		waited = ff3_board_wait(bell, ms);
		pthread_mutex_lock(&f->lock);
		if (waited)
			return;
	}
	until = ff3_now_ns(CLOCK_MONOTONIC) + ms * FF3_NSEC_PER_MSEC;
	ts.tv_sec = (time_t)(until / FF3_NSEC_PER_SEC);
	ts.tv_nsec = (long)(until % FF3_NSEC_PER_SEC);
	pthread_cond_timedwait(&f->wake, &f->lock, &ts);
}

static void *flusher_main(void *arg)
{
	struct ff3fs *fs = arg;
	struct ff3_flusher *f = &fs->flusher;

	/* No handler runs here, but the depth keeps fork handlers of this thread honest. */
	ff3_enter();
	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		sleep_a_tick(fs);
		if (f->stop)
			break;
		pthread_mutex_unlock(&f->lock);
		work(fs);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int ff3_thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	pthread_attr_setstacksize(&attr, 512 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

void ff3_flusher_kick(struct ff3fs *fs)
{
	struct ff3_flusher *f = &fs->flusher;

	atomic_fetch_add(&f->n_kicks, 1);
	if (LIKELY(atomic_load(&f->awake)))
		return;
	pthread_mutex_lock(&f->lock);
	/* Without a thread, gathered bytes wait for the next call that flushes them. */
	if (!f->running)
		f->running = ff3_thread_start(&f->thread, flusher_main, fs) == 0;
	else
		pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

void ff3_flusher_done(struct ff3fs *fs)
{
	struct ff3_flusher *f = &fs->flusher;
	bool running;

	pthread_mutex_lock(&f->lock);
	running = f->running;
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	ff3_board_ring();
	if (running)
		pthread_join(f->thread, NULL);
	f->running = false;
}
