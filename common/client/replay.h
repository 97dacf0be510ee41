/* The calls of recover.c and replay.c, and what they need of board.c. */
#pragma once

#include "internal.h"

struct ff3_recovery *ff3_board_recovery(void); /* or NULL */
bool ff3_board_is_alive(int32_t pid, uint64_t start_time);
uint64_t ff3_board_start_time(void);

/* --- recover.c, replay.c: daemons that were killed -------------------------------------------- */

uint64_t ff3_recover_key(const struct ff3fs *fs, uint64_t ino, uint64_t target);
struct ff3_now *ff3_recover_find(struct ff3_peer *peer);
/* Which instance is settled; 0: not known. To be noted before a request is sent. */
static inline uint64_t ff3_recover_sample(struct ff3_peer *peer)
{
	struct ff3_now *now = atomic_load_explicit(&peer->now, memory_order_relaxed);

	if (UNLIKELY(!now || atomic_load_explicit(&now->key, memory_order_relaxed) != peer->now_key))
		now = ff3_recover_find(peer);
	return now ? atomic_load_explicit(&now->settled, memory_order_acquire) : 0;
}
/* instance, which is not the sample, has answered. -ERESTART: to be sent again after ff3_recover. */
int ff3_recover_check(struct ff3_peer *peer, uint64_t sample, uint64_t instance);
/* Waits until an instance is settled that came after the sample. */
void ff3_recover(struct ff3fs *fs, struct ff3_peer *peer, uint64_t sample, uint64_t instance);
/* The instance that copies are sent to, or that is settled; 0: there is no board. */
uint64_t ff3_recover_next(const struct ff3fs *fs, uint64_t target);
/* The threads of holders sleep until the alarm has another value. */
uint32_t ff3_recover_alarm(void);
void ff3_recover_sleep(const struct ff3fs *fs, uint32_t alarm);
void ff3_recover_wake(const struct ff3fs *fs);
/* Between waiters. */
struct ff3_patience {
	uint64_t look, limit; /* when to look whether somebody has died, and when to evict */
};
struct ff3_patience ff3_recover_patience(const struct ff3fs *fs);
bool ff3_recover_waits(const struct ff3fs *fs, struct ff3_holder *h, uint64_t epoch, uint64_t stamp,
		       const struct ff3_patience *p);
void ff3_recover_progress(void);
void ff3_recover_await(uint32_t progress);

void ff3_replay_init(struct ff3fs *fs);
/* Of a process that goes on; ends the thread. */
void ff3_replay_done(struct ff3fs *fs);
/* Before something is held, under no lock. */
void ff3_replay_ready(struct ff3fs *fs);
/* For a copy that is held from now on, and one that is not any more. */
uint64_t ff3_replay_stamp(struct ff3fs *fs);
void ff3_replay_unstamp(struct ff3fs *fs, uint64_t stamp);
/* Sends again what is to be, unless that was done for this epoch. Not under a hold.lock. */
void ff3_replay_own(struct ff3fs *fs, uint64_t epoch);
/* A sync that began at this clock has succeeded. */
uint64_t ff3_replay_clock(void);
void ff3_replay_synced(const struct ff3fs *fs, uint64_t ino, uint64_t target, uint64_t instance,
		       uint64_t stamp);
