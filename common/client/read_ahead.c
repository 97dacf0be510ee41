/* Purpose: read-ahead for a descriptor that is read from front to back in small pieces. After two
 * reads in a row the next segments are requested; the replies wait in the connection until they
 * are needed, so no thread is involved. The window doubles with every segment that was used, up to
 * client.read_ahead. A read elsewhere drops it.
 *
 * Not stale: writes and truncations of the file, through any descriptor of this process or of
 * another one of this user on this host (board.c), drop everything; nothing is requested beyond the known end; segments older than a second are
 * requested again, so that another client's writes are seen at most that much late.
 *
 * Threads: a second thread that reads meanwhile through the same descriptor reads without.
 * Fork: what was under way is the parent's; the child begins anew. */
#include "internal.h"

#define SEGMENT (256u * 1024u)
#define SLOTS_MAX 64u
#define SMALL_READ (256u * 1024u)
#define MAX_AGE_NS FF3_NSEC_PER_SEC

struct segment {
	struct ff3_piece piece;
	uint64_t offset;
	uint64_t started_ns;
	bool ready;
	uint8_t data[SEGMENT];
};

struct ff3_read_ahead {
	pthread_mutex_t lock;
	uint64_t fork_epoch;
	uint64_t write_epoch;
	uint32_t changes; /* by all processes of this host */
	uint64_t next; /* offset behind the last segment */
	unsigned first, n, depth, max;
	struct segment *ring[SLOTS_MAX];
};

static struct segment *segment_at(struct ff3_read_ahead *a, unsigned i)
{
	return a->ring[(a->first + i) % SLOTS_MAX];
}

static void drop(struct ff3_read_ahead *a)
{
	for (unsigned i = 0; i < a->n; i++)
		ff3_piece_abandon(&segment_at(a, i)->piece);
	a->first = (a->first + a->n) % SLOTS_MAX;
	a->n = 0;
	a->depth = 2;
}

static struct ff3_read_ahead *ahead_get(struct ff3fs_file *file)
{
	struct ff3_read_ahead *a = atomic_load(&file->ahead), *none = NULL;

	if (a)
		return a;
	a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	pthread_mutex_init(&a->lock, NULL);
	a->fork_epoch = file->fs->fork_epoch;
	a->max = (unsigned)MIN((uint64_t)SLOTS_MAX, file->fs->conf.client.read_ahead / SEGMENT);
	a->depth = 2;
	if (!atomic_compare_exchange_strong(&file->ahead, &none, a)) {
		free(a);
		a = none;
	}
	return a;
}

void ff3_ahead_free(struct ff3fs_file *file)
{
	struct ff3_read_ahead *a = atomic_load(&file->ahead);

	if (!a)
		return;
	if (a->fork_epoch == file->fs->fork_epoch)
		drop(a);
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		free(a->ring[i]);
	free(a);
}

static bool start_segment(struct ff3_read_ahead *a, struct ff3_inode *inode, uint64_t size)
{
	unsigned slot = (a->first + a->n) % SLOTS_MAX;
	/* To the next border of segments, which is one of chunks or inside one. */
	uint64_t room = MIN(SEGMENT - a->next % SEGMENT, size - a->next);
	struct segment *s = a->ring[slot];

	if (!s) {
		s = malloc(sizeof *s);
		if (!s)
			return false;
		a->ring[slot] = s;
	}
	s->offset = a->next;
	s->ready = false;
	s->started_ns = ff3_now_ns(CLOCK_MONOTONIC_COARSE);
	ff3_piece_init(&s->piece, inode, FF3_OP_chunk_read, a->next,
		       ff3_piece_span(inode, a->next, room));
	s->piece.one = (struct iovec){ s->data, s->piece.length };
	ff3_piece_start(&s->piece);
	a->next += s->piece.length;
	a->n++;
	return true;
}

static void top_up(struct ff3_read_ahead *a, struct ff3_inode *inode, uint64_t size)
{
	while (a->n < MIN(a->depth, a->max) && a->next < size && start_segment(a, inode, size))
		;
}

/* The first segment holds offset and its bytes are here. */
static bool first_ready(struct ff3_read_ahead *a, struct ff3_inode *inode, uint64_t offset)
{
	struct segment *s = segment_at(a, 0);
	struct ff3_retry retry = { 0 };

	if (offset < s->offset || offset >= s->offset + s->piece.length)
		return false;
	if (!s->ready) {
		if (ff3_piece_wait(&s->piece, &retry) < 0)
			return false;
		s->ready = true;
	}
	/* A short one is a hole or a cut file: not for us to judge. */
	return s->piece.got == s->piece.length && !ff3_hold_check_read(inode, &s->piece) &&
	       ff3_now_ns(CLOCK_MONOTONIC_COARSE) - s->started_ns <= MAX_AGE_NS;
}

static ssize_t serve(struct ff3_read_ahead *a, struct ff3_inode *inode, struct ff3_cursor *c,
		     size_t len, uint64_t offset, uint64_t size)
{
	size_t done = 0;
	int r;

	if (a->n == 0)
		a->next = offset;
	while (done < len && offset + done < size) {
		struct segment *s;
		size_t at, part;

		top_up(a, inode, size);
		if (a->n == 0 || !first_ready(a, inode, offset + done)) {
			drop(a);
			break;
		}
		s = segment_at(a, 0);
		at = (size_t)(offset + done - s->offset);
		part = MIN(len - done, s->piece.length - at);
		r = ff3_cursor_write(c, s->data + at, part);
		if (r < 0)
			return r;
		done += part;
		if (at + part == s->piece.length) {
			a->first = (a->first + 1) % SLOTS_MAX;
			a->n--;
			a->depth = MIN(a->depth * 2, a->max);
		}
	}
	return (ssize_t)done;
}

/* Whether this read goes on where the last ended, for at least the third time. */
static bool in_sequence(struct ff3fs_file *file, size_t len, uint64_t offset)
{
	uint64_t expected = atomic_load_explicit(&file->next_read, memory_order_relaxed);

	atomic_store_explicit(&file->next_read, offset + len, memory_order_relaxed);
	if (LIKELY(offset != expected || len > SMALL_READ)) {
		atomic_store_explicit(&file->sequential, 0, memory_order_relaxed);
		return false;
	}
	if (atomic_load_explicit(&file->sequential, memory_order_relaxed) >= 2)
		return true;
	atomic_fetch_add_explicit(&file->sequential, 1, memory_order_relaxed);
	return false;
}

static void drop_unused(struct ff3fs_file *file)
{
	struct ff3_read_ahead *a = atomic_load_explicit(&file->ahead, memory_order_acquire);

	if (LIKELY(!a) || pthread_mutex_trylock(&a->lock) != 0)
		return;
	if (a->fork_epoch == file->fs->fork_epoch)
		drop(a);
	pthread_mutex_unlock(&a->lock);
}

ssize_t ff3_ahead_read(struct ff3fs_file *file, struct ff3_cursor c, size_t len, uint64_t offset)
{
	struct ff3_inode *inode = file->inode;
	uint64_t size = atomic_load(&inode->size);
	struct ff3_read_ahead *a;
	ssize_t done, rest;

	if (!in_sequence(file, len, offset)) {
		drop_unused(file);
		return -EAGAIN;
	}
	a = ahead_get(file);
	if (!a || a->max < 2 || pthread_mutex_trylock(&a->lock) != 0)
		return -EAGAIN;
	if (a->fork_epoch != file->fs->fork_epoch) {
		a->n = 0;
		a->fork_epoch = file->fs->fork_epoch;
	} else if (a->write_epoch != atomic_load(&inode->write_epoch) ||
		   a->changes != ff3_board_changes(inode->fs, inode->ino)) {
		drop(a);
	}
	/* Before anything is requested: a write from now on is noticed by the next read. */
	a->write_epoch = atomic_load(&inode->write_epoch);
	a->changes = ff3_board_changes(inode->fs, inode->ino);
	done = serve(a, inode, &c, len, offset, size);
	pthread_mutex_unlock(&a->lock);
	if (done < 0 || (size_t)done == len)
		return done;
	rest = ff3_read(inode, c, len - (size_t)done, offset + (uint64_t)done);
	return rest < 0 ? rest : done + rest;
}
