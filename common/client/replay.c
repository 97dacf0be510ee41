/* Purpose: sends again what a restarted daemon has lost, together with the other processes of this host
 * (recover.c): in the order in which the writes were acknowledged, whoever made them. Each copy has a
 * stamp of a clock that all share. A holder says which stamp is its next, and sends it when nobody has a
 * smaller one. Two writes to the same bytes that were under way at the same time may change their order.
 *
 * What one process has synced is durable for all: the board remembers up to which stamp a target has a
 * file on disk, as well as it can (a file may push another one out). Older copies are dropped then, not sent
 * over what others have written since.
 *
 * Threads: any, and one of its own from the first place on, which is never kept from it by another file's or
 * daemon's absence; replay.lock, then hold.lock of all files that hold something. Fork: the child has neither
 * and takes its own. */
#include "replay.h"

struct copy {
	struct ff3_inode *inode;
	struct ff3_held *h;
	bool failed;
};

struct replay {
	struct ff3_inode **inodes;
	size_t n_inodes;
	struct copy *copies;
	size_t n, room;
	bool evicted;
	int error;
};

/* --- The place on the board ------------------------------------------------------------------- */

void ff3_replay_init(struct ff3fs *fs)
{
	pthread_mutex_init(&fs->replay.lock, NULL);
	atomic_store(&fs->replay.me, NULL);
	atomic_store(&fs->replay.word, 0);
	atomic_store(&fs->replay.full, false);
	fs->replay.thrown = false;
	fs->replay.running = false;
	atomic_store(&fs->replay.stop, false);
}

static void leave_place(struct ff3fs *fs)
{
	struct ff3_holder *me = atomic_exchange(&fs->replay.me, NULL);
	uint64_t word = atomic_load(&fs->replay.word);

	if (me && !atomic_compare_exchange_strong(&me->word, &word, 0) && word & FF3_EVICTED)
		atomic_compare_exchange_strong(&me->word, &word, 0);
}

/* Sends again whenever there is alarm. */
static void *thread_main(void *arg)
{
	struct ff3fs *fs = arg;

	/* As in flusher.c. */
	ff3_enter();
	while (!atomic_load(&fs->replay.stop)) {
		uint32_t alarm = ff3_recover_alarm();

		ff3_replay_own(fs, UINT64_MAX);
		if (!atomic_load(&fs->replay.stop))
			ff3_recover_sleep(fs, alarm);
	}
	return NULL;
}

/* replay.lock is held. */
static bool start_thread(struct ff3fs *fs)
{
	if (!fs->replay.running)
		fs->replay.running = ff3_thread_start(&fs->replay.thread, thread_main, fs) == 0;
	return fs->replay.running;
}

void ff3_replay_done(struct ff3fs *fs)
{
	atomic_store(&fs->replay.stop, true);
	if (fs->replay.running) {
		ff3_recover_wake(fs);
		pthread_join(fs->replay.thread, NULL);
	}
	fs->replay.running = false;
	leave_place(fs);
}

static bool take_place(struct ff3fs *fs, struct ff3_recovery *r, uint32_t i, uint64_t expected)
{
	struct ff3_holder *h = &r->holders[i];
	uint64_t word = atomic_load(&fs->replay.word);
	uint32_t n = atomic_load(&r->n_holders);

	if (!atomic_compare_exchange_strong(&h->word, &expected, word | FF3_EVICTED))
		return false;
	/* Copies from before it was thrown out will be taken off the count. */
	atomic_store(&h->n, fs->replay.thrown ? 1ull << 32 : 0);
	atomic_store(&h->head, 0);
	atomic_store(&h->done, atomic_load(&r->epoch));
	atomic_store(&h->cluster, fs->board_salt);
	atomic_store(&h->pid, (int32_t)getpid());
	atomic_store(&h->start, ff3_board_start_time());
	while (n < i + 1 && !atomic_compare_exchange_weak(&r->n_holders, &n, i + 1))
		;
	atomic_store(&h->word, word);
	atomic_store(&fs->replay.me, h);
	return true;
}

/* Takes a place. Where there is none, nobody waits for this process. */
static void join(struct ff3fs *fs)
{
	struct ff3_recovery *r = ff3_board_recovery();

	if (!r || atomic_load(&fs->replay.full))
		return;
	pthread_mutex_lock(&fs->replay.lock);
	if (!atomic_load(&fs->replay.me))
		atomic_store(&fs->replay.word, ff3_random_u64() >> 1 | 1);
	for (uint32_t i = 0; i < FF3_N_HOLDERS && !atomic_load(&fs->replay.me); i++)
		take_place(fs, r, i, 0);
	for (uint32_t i = 0; i < FF3_N_HOLDERS && !atomic_load(&fs->replay.me); i++) {
		uint64_t word = atomic_load(&r->holders[i].word);

		if (!ff3_board_is_alive(atomic_load(&r->holders[i].pid), atomic_load(&r->holders[i].start)))
			take_place(fs, r, i, word);
	}
	if (atomic_load(&fs->replay.me) && !start_thread(fs))
		leave_place(fs);
	atomic_store(&fs->replay.full, !atomic_load(&fs->replay.me));
	pthread_mutex_unlock(&fs->replay.lock);
	ff3_flusher_kick(fs);
}

/* Others have gone on without us; our copies are older than what they wrote. */
static bool was_evicted(struct ff3fs *fs)
{
	return atomic_load(&atomic_load(&fs->replay.me)->word) != atomic_load(&fs->replay.word);
}

/* Takes part again, in another place if that one is another's by now. */
static void come_back(struct ff3fs *fs)
{
	uint64_t word = atomic_load(&fs->replay.word), evicted = word | FF3_EVICTED;

	if (atomic_compare_exchange_strong(&atomic_load(&fs->replay.me)->word, &evicted, word) ||
	    evicted == word)
		return;
	fs->replay.thrown = true;
	atomic_store(&fs->replay.me, NULL);
}

uint64_t ff3_replay_stamp(struct ff3fs *fs)
{
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_holder *me = atomic_load(&fs->replay.me);

	if (me)
		atomic_fetch_add(&me->n, 1);
	return r ? atomic_fetch_add(&r->clock, 1) + 1 : 0;
}

void ff3_replay_unstamp(struct ff3fs *fs, uint64_t stamp)
{
	struct ff3_holder *me = atomic_load(&fs->replay.me);

	if (me && stamp != 0)
		atomic_fetch_sub(&me->n, 1);
}

void ff3_replay_ready(struct ff3fs *fs)
{
	if (UNLIKELY(!atomic_load_explicit(&fs->replay.me, memory_order_relaxed)))
		join(fs);
}

/* --- What is on disk ------------------------------------------------------------------------- */

uint64_t ff3_replay_clock(void)
{
	struct ff3_recovery *r = ff3_board_recovery();

	return r ? atomic_load(&r->clock) : 0;
}

void ff3_replay_synced(const struct ff3fs *fs, uint64_t ino, uint64_t target, uint64_t instance, uint64_t stamp)
{
	uint64_t key = ff3_recover_key(fs, ino, target), version;
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_synced *s;

	if (!r || instance == 0)
		return;
	s = &r->synced[key / 2 % FF3_N_SYNCED];
	version = atomic_load(&s->version);
	/* Who was killed in the middle leaves it odd: it is not believed, and the next one mends it. */
	if (!atomic_compare_exchange_strong(&s->version, &version, (version | 1) + 2))
		return;
	if (atomic_load(&s->key) != key || atomic_load(&s->instance) != instance ||
	    atomic_load(&s->stamp) < stamp)
		atomic_store(&s->stamp, stamp);
	atomic_store(&s->key, key);
	atomic_store(&s->instance, instance);
	version = (version | 1) + 2;
	atomic_compare_exchange_strong(&s->version, &version, version + 1);
}

static bool is_durable(const struct ff3_inode *inode, const struct ff3_held *h)
{
	uint64_t key = ff3_recover_key(inode->fs, inode->ino, h->target), version;
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_synced *s = &r->synced[key / 2 % FF3_N_SYNCED];
	bool durable;

	version = atomic_load(&s->version);
	durable = version % 2 == 0 && atomic_load(&s->key) == key &&
		  atomic_load(&s->instance) == h->instance && atomic_load(&s->stamp) >= h->stamp;
	return durable && atomic_load(&s->version) == version;
}

/* --- Sending --------------------------------------------------------------------------------- */

static int add(struct replay *re, struct ff3_inode *inode, struct ff3_held *h)
{
	if (re->n == re->room) {
		size_t room = re->room * 2 + 64;
		struct copy *p = realloc(re->copies, room * sizeof *p);

		if (!p)
			return -ENOMEM;
		re->copies = p;
		re->room = room;
	}
	re->copies[re->n++] = (struct copy){ .inode = inode, .h = h };
	return 0;
}

static void collect(struct replay *re, struct ff3_inode *inode, struct ff3_unsynced *u)
{
	struct ff3_hold *hold = &inode->hold;

	for (struct ff3_held **at = &hold->first, *h; (h = *at);) {
		if (h->target != u->target) {
			at = &h->next;
		} else if (is_durable(inode, h)) {
			ff3_hold_remove(inode, at);
		} else if (re->evicted || !h->data || add(re, inode, h) < 0) {
			u->lost = true;
			ff3_hold_remove(inode, at);
		} else {
			at = &h->next;
		}
	}
}

/* Locks it if it goes on. */
static void begin_inode(struct replay *re, struct ff3_inode *inode)
{
	struct ff3_hold *hold = &inode->hold;

	pthread_mutex_lock(&hold->lock);
	atomic_fetch_add(&hold->repeats, 1);
	for (uint32_t i = 0; i < atomic_load(&hold->n_unsynced); i++) {
		struct ff3_unsynced *u = &hold->unsynced[i];
		uint64_t next = ff3_recover_next(inode->fs, u->target);

		if (next == 0 || u->settled == next)
			continue;
		u->settled = next;
		collect(re, inode, u);
	}
}

static void end_inode(struct ff3_inode *inode)
{
	struct ff3_hold *hold = &inode->hold;

	atomic_fetch_add(&hold->repeats, 1);
	pthread_mutex_unlock(&hold->lock);
	ff3_inode_touch(inode);
}

static int by_stamp(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	return x->h->stamp < y->h->stamp ? -1 : x->h->stamp > y->h->stamp;
}

/* Nobody has an older one. */
static void wait_turn(struct ff3fs *fs, uint64_t epoch, uint64_t stamp)
{
	struct ff3_patience patience = ff3_recover_patience(fs);
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_holder *me = atomic_load(&fs->replay.me);
	bool wait;

	atomic_store(&me->head, stamp);
	ff3_recover_progress();
	do {
		uint32_t progress = atomic_load(&r->progress);

		wait = false;
		for (uint32_t i = 0; i < MIN(atomic_load(&r->n_holders), FF3_N_HOLDERS); i++)
			wait |= ff3_recover_waits(fs, &r->holders[i], epoch, stamp, &patience);
		if (wait)
			ff3_recover_await(progress);
	} while (wait);
}

static void send_copy(struct copy *c)
{
	struct ff3_hold *hold = &c->inode->hold;
	struct ff3_unsynced *u = ff3_hold_find(hold, c->h->target);

	if (ff3_hold_send_again(c->inode, c->h) == 0) {
		if (u)
			u->instance = c->h->instance;
		return;
	}
	if (u)
		u->lost = true;
}

static void replay(struct ff3fs *fs, struct replay *re, uint64_t epoch)
{
	for (size_t i = 0; i < re->n_inodes; i++)
		begin_inode(re, re->inodes[i]);
	if (re->n > 0)
		qsort(re->copies, re->n, sizeof *re->copies, by_stamp);
	for (size_t i = 0; i < re->n; i++) {
		wait_turn(fs, epoch, re->copies[i].h->stamp);
		send_copy(&re->copies[i]);
	}
	for (size_t i = 0; i < re->n_inodes; i++)
		end_inode(re->inodes[i]);
	free(re->copies);
}

void ff3_replay_own(struct ff3fs *fs, uint64_t epoch)
{
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_holder *me = atomic_load(&fs->replay.me);
	struct replay re = { 0 };

	if (!r || !me || atomic_load(&me->done) >= MIN(epoch, atomic_load(&r->epoch)))
		return;
	pthread_mutex_lock(&fs->replay.lock);
	epoch = atomic_load(&r->epoch);
	if (atomic_load(&fs->replay.me) == me && atomic_load(&me->done) < epoch && ff3_inodes_all(fs, &re.inodes, &re.n_inodes) == 0) {
		re.evicted = was_evicted(fs);
		replay(fs, &re, epoch);
		if ((atomic_load(&me->word) & ~FF3_EVICTED) == atomic_load(&fs->replay.word)) {
			atomic_store(&me->head, 0);
			atomic_store(&me->done, epoch);
		}
		come_back(fs);
	}
	pthread_mutex_unlock(&fs->replay.lock);
	for (size_t i = 0; i < re.n_inodes; i++)
		ff3_inode_unref(re.inodes[i]);
	free(re.inodes);
	ff3_recover_progress();
}
