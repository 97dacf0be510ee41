/* Purpose: a chunk daemon was killed, and what it had in memory only is sent again by the processes
 * that hold copies (hold.c) before anybody on this host goes on with the new one. What a local file
 * system never does, show old bytes after newer ones, would happen otherwise: a reader does not know
 * what another process had written, nor its own write that the other's copies will overwrite it.
 *
 * On the board (board.c) stands for each target which instance is settled: has all that processes of
 * this host wrote. A request notes it before it is sent. If another instance answers, the answer
 * counts for nothing: the instance becomes the next one, an alarm wakes all holders, who send their copies
 * (replay.c); when all have done so the instance is settled, and the request is sent once more.
 * An instance is newer than what was settled when its request was sent; therefore only the
 * settled one that was noted may be replaced, and one that died meanwhile is never returned to.
 *
 * A holder has a thread for nothing but this: its other threads may be waiting for something that in the end waits
 * for the holder. Whoever waits sends its own copies meanwhile, too. A holder that has died is
 * not waited for: what only it had is gone. A stopped one is, for the client's time-out; then it is
 * evicted, and its fsync fails with EIO. Other hosts, users and clusters are not waited for.
 *
 * Threads: any, under no hold.lock; atomic words only. Fork: the child holds nothing. */
#include "replay.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define WAYS 8u
#define STEP_MS 10u
#define LOOK_MS 100u

static uint64_t mixed(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t ff3_recover_key(const struct ff3fs *fs, uint64_t ino, uint64_t target)
{
	return mixed(mixed(target + ((uint64_t)fs->board_salt << 32)) + ino) | 1;
}

/* The entry of key, which takes an old one's place if it must. */
static struct ff3_now *find(uint64_t key)
{
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_now *now = NULL;

	for (uint32_t i = 0; r && i < WAYS; i++) {
		uint64_t have = 0;

		now = &r->now[(key / 2 + i) % FF3_N_NOW];
		if (atomic_compare_exchange_strong(&now->key, &have, key) || have == key)
			return now;
	}
	if (!r)
		return NULL;
	now = &r->now[(key / 2 + atomic_load(&r->clock) % WAYS) % FF3_N_NOW];
	atomic_store(&now->key, 2); /* nobody's: keys are odd */
	atomic_store(&now->settled, 0);
	atomic_store(&now->next, 0);
	atomic_store(&now->n_changes, 0);
	atomic_store(&now->key, key);
	return now;
}

struct ff3_now *ff3_recover_find(struct ff3_peer *peer)
{
	struct ff3_now *now = find(peer->now_key);

	atomic_store(&peer->now, now);
	return now;
}

uint64_t ff3_recover_next(const struct ff3fs *fs, uint64_t target)
{
	struct ff3_now *now = find(ff3_recover_key(fs, 0, target));
	uint64_t next = now ? atomic_load(&now->next) : 0;

	return now && next == 0 ? atomic_load(&now->settled) : next;
}

int ff3_recover_check(struct ff3_peer *peer, uint64_t sample, uint64_t instance)
{
	struct ff3_now *now = ff3_recover_find(peer);
	uint64_t none = 0;

	if (!now || instance == 0)
		return 0;
	if (sample != 0)
		return -ERESTART;
	atomic_compare_exchange_strong(&now->settled, &none, instance);
	return atomic_load(&now->settled) == instance && atomic_load(&now->n_changes) == 0 ? 0 : -ERESTART;
}

/* --- Sleeping -------------------------------------------------------------------------------- */

static long futex(_Atomic uint32_t *word, int op, uint32_t value, uint64_t until_ms, uint32_t bits)
{
	struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000),
			       .tv_nsec = (long)(until_ms % 1000) * 1000000 };

	return syscall(SYS_futex, word, op, value, until_ms ? &ts : NULL, NULL, bits);
}

static uint64_t now_ms(void)
{
	return ff3_now_ns(CLOCK_MONOTONIC) / FF3_NSEC_PER_MSEC;
}

void ff3_recover_progress(void)
{
	struct ff3_recovery *r = ff3_board_recovery();

	atomic_fetch_add(&r->progress, 1);
	futex(&r->progress, FUTEX_WAKE_BITSET, INT32_MAX, 0, FUTEX_BITSET_MATCH_ANY);
}

void ff3_recover_await(uint32_t progress)
{
	futex(&ff3_board_recovery()->progress, FUTEX_WAIT_BITSET, progress, now_ms() + STEP_MS,
	      FUTEX_BITSET_MATCH_ANY);
}

static uint32_t bits_of(const struct ff3fs *fs)
{
	return 1u << atomic_load(&fs->replay.word) % 32;
}

uint32_t ff3_recover_alarm(void)
{
	struct ff3_recovery *r = ff3_board_recovery();

	return r ? atomic_load(&r->alarm) : 0;
}

void ff3_recover_sleep(const struct ff3fs *fs, uint32_t alarm)
{
	futex(&ff3_board_recovery()->alarm, FUTEX_WAIT_BITSET, alarm, 0, bits_of(fs));
}

void ff3_recover_wake(const struct ff3fs *fs)
{
	struct ff3_recovery *r = ff3_board_recovery();

	if (!r)
		return;
	atomic_fetch_add(&r->alarm, 1);
	futex(&r->alarm, FUTEX_WAKE_BITSET, INT32_MAX, 0, bits_of(fs));
}

static void ring_alarm(struct ff3_recovery *r)
{
	atomic_fetch_add(&r->alarm, 1);
	futex(&r->alarm, FUTEX_WAKE_BITSET, INT32_MAX, 0, FUTEX_BITSET_MATCH_ANY);
}

/* --- Waiting for the holders ----------------------------------------------------------------- */

struct ff3_patience ff3_recover_patience(const struct ff3fs *fs)
{
	uint64_t now = now_ms();

	return (struct ff3_patience){ .look = now + LOOK_MS,
				      .limit = now + fs->timeout_ns / FF3_NSEC_PER_MSEC };
}

bool ff3_recover_waits(const struct ff3fs *fs, struct ff3_holder *h, uint64_t epoch, uint64_t stamp,
		       const struct ff3_patience *p)
{
	uint64_t word = atomic_load(&h->word), now = now_ms();

	if (h == atomic_load(&fs->replay.me) || word == 0 || word & FF3_EVICTED || atomic_load(&h->n) == 0 ||
	    atomic_load(&h->cluster) != fs->board_salt || atomic_load(&h->done) >= epoch ||
	    atomic_load(&h->head) > stamp)
		return false;
	if (now < p->look)
		return true;
	if (!ff3_board_is_alive(atomic_load(&h->pid), atomic_load(&h->start)))
		atomic_compare_exchange_strong(&h->word, &word, 0);
	else if (now > p->limit)
		atomic_compare_exchange_strong(&h->word, &word, word | FF3_EVICTED);
	return true;
}

static bool any_behind(const struct ff3fs *fs, uint64_t epoch, struct ff3_patience *p)
{
	struct ff3_recovery *r = ff3_board_recovery();
	uint32_t n = MIN(atomic_load(&r->n_holders), FF3_N_HOLDERS);
	bool any = false;

	for (uint32_t i = 0; i < n; i++)
		any |= ff3_recover_waits(fs, &r->holders[i], epoch, UINT64_MAX - 1, p);
	if (now_ms() >= p->look)
		p->look = now_ms() + LOOK_MS;
	return any;
}

static void start(struct ff3_now *now, uint64_t sample, uint64_t instance)
{
	uint64_t none = 0;

	if (instance == sample)
		return;
	if (!atomic_compare_exchange_strong(&now->next, &none, instance))
		atomic_compare_exchange_strong(&now->next, &sample, instance);
}

void ff3_recover(struct ff3fs *fs, struct ff3_peer *peer, uint64_t sample, uint64_t instance)
{
	struct ff3_patience patience = ff3_recover_patience(fs);
	struct ff3_recovery *r = ff3_board_recovery();
	struct ff3_now *now = ff3_recover_find(peer);
	uint64_t epoch;

	/* Else others have done it, and the request is sent again for that reason. */
	if (!now || sample == 0 || atomic_load(&now->settled) != sample)
		return;
	start(now, sample, instance);
	epoch = atomic_fetch_add(&r->epoch, 1) + 1;
	ring_alarm(r);
	for (;;) {
		uint32_t progress = atomic_load(&r->progress);

		/* Also for those who have begun to wait since. */
		ff3_replay_own(fs, UINT64_MAX);
		if (atomic_load(&now->settled) != sample)
			return;
		if (!any_behind(fs, epoch, &patience))
			break;
		ff3_recover_await(progress);
	}
	atomic_fetch_add(&now->n_changes, 1);
	atomic_compare_exchange_strong(&now->settled, &sample, atomic_load(&now->next));
	ff3_recover_progress();
}
