/* Purpose: what the processes of one user on one host tell each other about files: "I gather bytes of
 * this one" and "I have changed that one". So write-behind and read-ahead are each process's own
 * affair, and none of the others can tell: before a call that could see a file's bytes or size,
 * whoever gathers for it is asked to send, and read-ahead that is older than a change is dropped.
 *
 * Format: /dev/shm/ff3fs-board.4-<uid>, mode 0600, shared memory: a bell, which flusher threads wait on,
 * and N_SLOTS slots, chosen by a hash of cluster and inode. Two files in one slot cost a needless
 * request. In a slot, each process that gathers has a place with a word of its own, new each time; who
 * must see the bytes writes the word's lower half beside it, rings, and waits until the word is gone. Who
 * finds no place does not gather. A word goes when metad knows of the bytes; that of a killed or stopped
 * process is taken away when it has been asked in vain for ASK_MS. Words that go are counted, and a slot has the
 * count of its last one: so an answer of metad's that is older than that is known for old. Where there is no such memory, nobody
 * hears of the others, and only time helps (100 ms for write-behind, 1 s for read-ahead), as it does
 * between hosts and users.
 *
 * Threads: any; atomic words only. Fork: the child shares the board and gathers nothing; it has words of
 * its own. Signals: nothing is held. */
#include "replay.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define N_SLOTS 4096u
#define N_GROUPS 64u
#define N_PLACES 7u
#define ASK_MS 150u
#define ASK_STEP_MS 10u

struct slot {
	_Atomic uint64_t words[N_PLACES]; /* process << 32 | serial number; 0: free */
	_Atomic uint32_t changes;
	_Atomic uint32_t ended; /* raised when a word goes that was asked for */
	_Atomic uint32_t asked[N_PLACES];
	_Atomic int32_t pids[N_PLACES];
	_Atomic uint64_t told; /* the board's count when the last word went */
};

struct board {
	_Atomic uint32_t bell;
	uint32_t unused[1];
	_Atomic uint64_t told; /* counts words that metad knows the bytes of */
	uint32_t unused2[12];
	_Atomic uint32_t groups[N_GROUPS]; /* words in so many slots; too high where one was killed */
	struct slot slots[N_SLOTS];
	struct ff3_recovery recovery;
};

static struct board *board;
static _Atomic uint32_t self, serial;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *map_shared(void)
{
	char path[64];
	struct stat st;
	void *p = MAP_FAILED;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/ff3fs-board.4-%u", (unsigned)geteuid());
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
	ff3_board_after_fork();
}

void ff3_board_init(struct ff3fs *fs)
{
	pthread_once(&once, map_board);
	fs->board_salt = ff3_crc32c(0, fs->conf.client.metad, strlen(fs->conf.client.metad));
}

/* A process of its own. */
void ff3_board_after_fork(void)
{
	atomic_store(&self, (uint32_t)(ff3_random_u64() >> 32) | 1);
}

static uint32_t slot_of(const struct ff3fs *fs, uint64_t ino)
{
	return (uint32_t)((ino * 0x9e3779b97f4a7c15ull) >> 40 ^ fs->board_salt) % N_SLOTS;
}

static uint64_t now_ms(void)
{
	return ff3_now_ns(CLOCK_MONOTONIC_COARSE) / FF3_NSEC_PER_MSEC;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value, uint64_t timeout_ms)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ms / 1000),
			       .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };

	return syscall(SYS_futex, word, op, value, op == FUTEX_WAIT ? &ts : NULL, NULL, 0);
}

/* --- Gathering ------------------------------------------------------------------------------- */

/* Tokens are (slot * N_PLACES + place + 1) << 32 | serial number. */
uint64_t ff3_board_begin(const struct ff3fs *fs, uint64_t ino)
{
	uint32_t number = atomic_fetch_add(&serial, 1) | 1u << 31;
	uint64_t word = (uint64_t)atomic_load(&self) << 32 | number, none;
	struct slot *s;
	uint32_t i;

	if (!board)
		return FF3_BOARD_ALONE;
	i = slot_of(fs, ino);
	s = &board->slots[i];
	atomic_fetch_add(&board->groups[i % N_GROUPS], 1); /* first: it may be too high */
	for (uint32_t k = 0; k < N_PLACES; k++) {
		none = 0;
		if (!atomic_compare_exchange_strong(&s->words[k], &none, word))
			continue;
		atomic_store(&s->pids[k], (int32_t)getpid());
		return (uint64_t)(i * N_PLACES + k + 1) << 32 | number;
	}
	atomic_fetch_sub(&board->groups[i % N_GROUPS], 1);
	return 0;
}

static struct slot *place_of(uint64_t token, uint32_t *ret_slot, uint32_t *ret_place)
{
	uint32_t n = (uint32_t)(token >> 32) - 1;

	*ret_slot = n / N_PLACES;
	*ret_place = n % N_PLACES;
	return &board->slots[*ret_slot];
}

/* Before the word goes: who does not find it any more finds this. */
static void count_told(struct slot *s)
{
	uint64_t now = atomic_fetch_add(&board->told, 1) + 1, last = atomic_load(&s->told);

	while (last < now && !atomic_compare_exchange_weak(&s->told, &last, now))
		;
}

static bool clear(uint32_t i, uint32_t k, uint64_t word)
{
	if (!atomic_compare_exchange_strong(&board->slots[i].words[k], &word, 0))
		return false;
	atomic_fetch_sub(&board->groups[i % N_GROUPS], 1);
	return true;
}

void ff3_board_end(uint64_t token)
{
	uint32_t i, k;
	struct slot *s;

	if (!board || token == 0 || token == FF3_BOARD_ALONE)
		return;
	s = place_of(token, &i, &k);
	count_told(s);
	if (!clear(i, k, (uint64_t)atomic_load(&self) << 32 | (uint32_t)token) ||
	    LIKELY(atomic_load(&s->asked[k]) != (uint32_t)token))
		return;
	atomic_fetch_add(&s->ended, 1);
	futex(&s->ended, FUTEX_WAKE, INT32_MAX, 0);
}

bool ff3_board_is_asked(uint64_t token)
{
	uint32_t i, k;

	return board && token != 0 && token != FF3_BOARD_ALONE &&
	       atomic_load(&place_of(token, &i, &k)->asked[k]) == (uint32_t)token;
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

/* --- Asking ---------------------------------------------------------------------------------- */

/* The state and what follows it in a process's stat; "": it does not exist. */
static const char *state_of(int32_t pid, char *text, size_t size)
{
	char path[32], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return "";
	n = read(fd, text, size - 1);
	close(fd);
	text[MAX(n, 0)] = '\0';
	p = strrchr(text, ')');
	return p && p[1] ? p + 2 : "";
}

/* It will answer: it lives, and is not stopped. */
static bool is_running(int32_t pid)
{
	char text[512];
	const char *state = state_of(pid, text, sizeof text);

	return *state && !strchr("TtZXx", *state);
}

/* When the process was started, which is the 20th field from its state. */
static uint64_t start_time(const char *state)
{
	for (int i = 0; i < 19 && state; i++) {
		state = strchr(state, ' ');
		state = state ? state + 1 : NULL;
	}
	return state ? strtoull(state, NULL, 10) : 0;
}

uint64_t ff3_board_start_time(void)
{
	char text[512];

	return start_time(state_of(getpid(), text, sizeof text));
}

bool ff3_board_is_alive(int32_t pid, uint64_t started)
{
	char text[512];
	const char *state = state_of(pid, text, sizeof text);

	return *state && !strchr("ZXx", *state) && start_time(state) == started;
}

struct ff3_recovery *ff3_board_recovery(void)
{
	return board ? &board->recovery : NULL;
}

static bool is_others(uint64_t word)
{
	return word != 0 && (uint32_t)(word >> 32) != atomic_load(&self);
}

/* Who answers late, because the machine is busy or a daemon is away, is waited for. */
static void wait_until_gone(uint32_t i, uint32_t k, uint64_t word, uint64_t limit)
{
	struct slot *s = &board->slots[i];
	uint64_t look = now_ms() + ASK_MS, now;

	for (;;) {
		uint32_t ended = atomic_load(&s->ended);

		if (atomic_load(&s->words[k]) != word)
			return;
		now = now_ms();
		if (now > look && (now > limit || !is_running(atomic_load(&s->pids[k])))) {
			clear(i, k, word);
			return;
		}
		look = now > look ? now + ASK_MS : look;
		futex(&s->ended, FUTEX_WAIT, ended, ASK_STEP_MS);
		ff3_board_ring();
	}
}

static bool settle(const struct ff3fs *fs, uint32_t i)
{
	uint64_t words[N_PLACES], limit;
	struct slot *s = &board->slots[i];
	bool any = false;

	if (LIKELY(atomic_load(&board->groups[i % N_GROUPS]) == 0))
		return false;
	for (uint32_t k = 0; k < N_PLACES; k++) {
		words[k] = atomic_load(&s->words[k]);
		if (LIKELY(!is_others(words[k])))
			continue;
		atomic_store(&s->asked[k], (uint32_t)words[k]);
		any = true;
	}
	if (LIKELY(!any))
		return false;
	ff3_board_ring();
	limit = now_ms() + fs->timeout_ns / FF3_NSEC_PER_MSEC;
	for (uint32_t k = 0; k < N_PLACES; k++)
		if (is_others(words[k]))
			wait_until_gone(i, k, words[k], limit);
	return true;
}

bool ff3_board_settle(const struct ff3fs *fs, uint64_t ino)
{
	return board && settle(fs, slot_of(fs, ino));
}

uint64_t ff3_board_told(void)
{
	return board ? atomic_load(&board->told) : 0;
}

bool ff3_board_outdates(const struct ff3fs *fs, uint64_t ino, uint64_t told)
{
	uint32_t i = slot_of(fs, ino);

	/* Words first, as they go last. */
	return !board || settle(fs, i) || atomic_load(&board->slots[i].told) > told;
}

void ff3_board_settle_all(const struct ff3fs *fs)
{
	for (uint32_t g = 0; board && g < N_GROUPS; g++)
		for (uint32_t i = g; UNLIKELY(atomic_load(&board->groups[g]) > 0) && i < N_SLOTS;
		     i += N_GROUPS)
			settle(fs, i);
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
