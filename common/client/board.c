/* Purpose: what the processes of one user on one host tell each other about files: "I gather bytes of
 * this one" and "I have changed that one". So write-behind and read-ahead are each process's own
 * affair, and none of the others can tell: before a call that could see a file's bytes or size,
 * whoever gathers for it is asked to send, and read-ahead that is older than a change is dropped.
 *
 * Format: /dev/shm/ff3fs-board-<uid>, mode 0600, shared memory: a bell, which flusher threads wait on,
 * and N_SLOTS slots, chosen by a hash of cluster and inode. Two files in one slot cost a needless
 * request. A slot counts the inodes that processes gather for, with the time of the last beginning:
 * what a killed process has left behind is void after a second, or as soon as somebody has asked
 * in vain. Where there is no such memory, nobody hears of the others, and only time helps (100 ms
 * for write-behind, 1 s for read-ahead), as it does between hosts and users.
 *
 * Threads: any; atomic words only. Fork: the child shares the board and gathers nothing (own_count).
 * Signals: nothing is held. */
#include "internal.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define N_SLOTS 4096u
#define ALL N_SLOTS /* one more, of all files */
#define COUNT_BITS 20
#define COUNT_MASK ((1u << COUNT_BITS) - 1)
#define VOID_MS 1000u
#define ASK_MS 150u
#define ASK_STEP_MS 10u

struct slot {
	_Atomic uint64_t gathering; /* milliseconds << COUNT_BITS | count */
	_Atomic uint32_t changes;
	_Atomic uint32_t asked; /* whoever gathers is to send at once */
	_Atomic uint32_t ended; /* raised when somebody stops gathering */
	uint32_t unused;
};

struct board {
	_Atomic uint32_t bell;
	uint32_t unused[15];
	struct slot slots[N_SLOTS + 1];
};

static struct board *board;
static _Atomic uint32_t own_count[N_SLOTS + 1]; /* this process's part of a slot's count */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *map_shared(void)
{
	char path[64];
	struct stat st;
	void *p = MAP_FAILED;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/ff3fs-board-%u", (unsigned)geteuid());
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return p;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    (st.st_size == sizeof *board ||
	     (st.st_size == 0 && ftruncate(fd, sizeof *board) == 0)))
		p = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p;
}

static void map_board(void)
{
	void *p = map_shared();

	if (p == MAP_FAILED)
		p = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	board = p == MAP_FAILED ? NULL : p;
}

void ff3_board_init(struct ff3fs *fs)
{
	pthread_once(&once, map_board);
	fs->board_salt = ff3_crc32c(0, fs->conf.client.metad, strlen(fs->conf.client.metad));
}

void ff3_board_after_fork(void)
{
	for (size_t i = 0; i <= N_SLOTS; i++)
		atomic_store_explicit(&own_count[i], 0, memory_order_relaxed);
}

static uint32_t slot_of(const struct ff3fs *fs, uint64_t ino)
{
	return (uint32_t)((ino * 0x9e3779b97f4a7c15ull) >> 40 ^ fs->board_salt) % N_SLOTS;
}

static uint64_t now_ms(void)
{
	return ff3_now_ns(CLOCK_MONOTONIC_COARSE) / FF3_NSEC_PER_MSEC;
}

/* The count, unless it is void. */
static uint32_t count_of(uint64_t word, uint64_t now)
{
	return now - (word >> COUNT_BITS) > VOID_MS ? 0 : (uint32_t)(word & COUNT_MASK);
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value, uint64_t timeout_ms)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ms / 1000),
			       .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };

	return syscall(SYS_futex, word, op, value, op == FUTEX_WAIT ? &ts : NULL, NULL, 0);
}

/* --- Gathering ------------------------------------------------------------------------------- */

static void begin(uint32_t i)
{
	uint64_t now = now_ms(), word = atomic_load(&board->slots[i].gathering);

	atomic_fetch_add(&own_count[i], 1);
	while (!atomic_compare_exchange_weak(&board->slots[i].gathering, &word,
					     now << COUNT_BITS | (count_of(word, now) + 1)))
		;
}

static void end(uint32_t i)
{
	struct slot *s = &board->slots[i];
	uint64_t word = atomic_load(&s->gathering);

	atomic_fetch_sub(&own_count[i], 1);
	while ((word & COUNT_MASK) > 0 &&
	       !atomic_compare_exchange_weak(&s->gathering, &word, word - 1))
		;
	if (LIKELY(!atomic_load(&s->asked)))
		return;
	atomic_fetch_add(&s->ended, 1);
	futex(&s->ended, FUTEX_WAKE, INT32_MAX, 0);
}

void ff3_board_begin(const struct ff3fs *fs, uint64_t ino)
{
	if (!board)
		return;
	begin(slot_of(fs, ino));
	begin(ALL);
}

void ff3_board_end(const struct ff3fs *fs, uint64_t ino)
{
	if (!board)
		return;
	end(slot_of(fs, ino));
	end(ALL);
}

bool ff3_board_is_asked(const struct ff3fs *fs, uint64_t ino)
{
	return board && (atomic_load(&board->slots[slot_of(fs, ino)].asked) != 0 ||
			 atomic_load(&board->slots[ALL].asked) != 0);
}

void ff3_board_ring(void)
{
	if (!board)
		return;
	atomic_fetch_add(&board->bell, 1);
	futex(&board->bell, FUTEX_WAKE, INT32_MAX, 0);
}

uint32_t ff3_board_bell(void)
{
	return board ? atomic_load(&board->bell) : 0;
}

bool ff3_board_wait(uint32_t bell, uint64_t timeout_ms)
{
	if (!board)
		return false;
	futex(&board->bell, FUTEX_WAIT, bell, timeout_ms);
	return true;
}

static uint32_t others(uint32_t i)
{
	uint64_t word = atomic_load_explicit(&board->slots[i].gathering, memory_order_acquire);
	uint32_t n, own;

	if (LIKELY((word & COUNT_MASK) == 0))
		return 0;
	n = count_of(word, now_ms());
	own = atomic_load(&own_count[i]);
	return n > own ? n - own : 0;
}

/* Waits until as many have stopped as gather now: they may begin again meanwhile. */
static void ask(uint32_t i)
{
	struct slot *s = &board->slots[i];
	uint64_t until = now_ms() + ASK_MS, word;
	uint32_t from, n, ended;

	atomic_store(&s->asked, 1);
	from = atomic_load(&s->ended);
	n = others(i);
	while (others(i) > 0 && (ended = atomic_load(&s->ended)) - from < n) {
		if (now_ms() > until) {
			/* Nobody answers: he is dead, or stopped. */
			word = atomic_load(&s->gathering);
			atomic_compare_exchange_strong(&s->gathering, &word,
						       word & ~(uint64_t)COUNT_MASK);
			break;
		}
		atomic_store(&s->asked, 1); /* another one who had asked may have taken it back */
		ff3_board_ring();
		futex(&s->ended, FUTEX_WAIT, ended, ASK_STEP_MS);
	}
	atomic_store(&s->asked, 0);
}

bool ff3_board_settle(const struct ff3fs *fs, uint64_t ino)
{
	uint32_t i = slot_of(fs, ino);

	if (!board || LIKELY(others(i) == 0))
		return false;
	ask(i);
	return true;
}

void ff3_board_settle_all(void)
{
	if (board && UNLIKELY(others(ALL) > 0))
		ask(ALL);
}

/* --- Changes --------------------------------------------------------------------------------- */

void ff3_board_changed(const struct ff3fs *fs, uint64_t ino)
{
	if (board)
		atomic_fetch_add_explicit(&board->slots[slot_of(fs, ino)].changes, 1,
					  memory_order_acq_rel);
}

uint32_t ff3_board_changes(const struct ff3fs *fs, uint64_t ino)
{
	return board ? atomic_load(&board->slots[slot_of(fs, ino)].changes) : 0;
}
