/* Purpose: what is in an object (map_node.c): loading pages, finding and sending those that were
 * stored to, and keeping them in step with what calls do to the file.
 *
 * A page that is there is what the file holds, on this node. Stores into it reach the cluster at msync,
 * munmap, fsync, when the last process leaves, and before a call of any process of the node reads
 * the range. Which pages have been stored to is found by a sum of each: the side file has the one
 * that it had when last in step. Sums are kept as soon as anybody may store.
 *
 * A write by call goes to the cluster first, then into the pages that are there. Two things could meet it:
 * - Loading. Data read before the write must not become a page after it: the write counts a sequence
 *   number up when it has changed what is there, and a load whose number has changed begins anew.
 * - Sending. A page with stores, taken before the write and sent after it, would undo it in the
 *   cluster. So the call holds SEND from before its write to when the pages have it; and because one
 *   that found no object yet cannot, what was written into pages is sent again with them.
 * The last user, too, sends and removes an object within SEND: who holds it has the one that counts.
 *
 * Locks: record locks of the pages' file exclude other processes, at offsets that no file has: SEND for
 * sending, for writes by call and for changes of size, over the network; STATE for changing which pages are there, for a
 * few system calls. Inside a process: map_enter, and object->state with signals blocked, because a
 * handler may touch a page that a fault thread has to load. */
#include <signal.h>

#include "hook.h"
#include "map.h"
#include "raw.h"
#include "shared_map.h"

#define RUN (16ul << 20)		/* loaded at once */
#define SEND_RUN (1ul << 20)		/* looked through and sent at once */
#define SEND_LOCK (1ll << 62)
#define STATE_LOCK ((1ll << 62) + 1)

/* --- Locks --------------------------------------------------------------------------------- */

static void lock_byte(struct map_object *o, off_t byte, int type)
{
	struct flock l = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	while (RAW(fcntl, o->data, F_OFD_SETLKW, &l) == -EINTR)
		;
}

void map_object_lock(struct map_object *o, uint64_t *saved)
{
	raw_block_signals(saved);
	pthread_mutex_lock(&o->state);
	lock_byte(o, STATE_LOCK, F_WRLCK);
}

void map_object_unlock(struct map_object *o, const uint64_t *saved)
{
	lock_byte(o, STATE_LOCK, F_UNLCK);
	pthread_mutex_unlock(&o->state);
	RAW(rt_sigprocmask, SIG_SETMASK, saved, 0, 8);
}

/* --- Sums ---------------------------------------------------------------------------------- */

static uint64_t mix_page(const char *page)
{
	uint64_t h[4] = { 1, 2, 3, 4 }, w[4];

	for (size_t i = 0; i < MAP_PAGE; i += sizeof w) {
		memcpy(w, page + i, sizeof w);
		for (int k = 0; k < 4; k++) {
			h[k] = (h[k] ^ w[k]) * 0x9e3779b97f4a7c15ull;
			h[k] ^= h[k] >> 29;
		}
	}
	return ((h[0] * 31 + h[1]) * 31 + h[2]) * 31 + h[3];
}

/* 0 for zeros, and never MAP_UNSENT. */
uint64_t map_sum_page(const char *page)
{
	static const char zeros[MAP_PAGE];
	static _Atomic uint64_t of_zeros;
	uint64_t h;

	if (!of_zeros)
		of_zeros = mix_page(zeros);
	h = mix_page(page) ^ of_zeros;
	return h == MAP_UNSENT ? 1 : h;
}

static off_t sum_at(off_t offset)
{
	return (off_t)(MAP_PAGE + (uint64_t)offset / MAP_PAGE * 8);
}

/* The sums of n pages from offset on. What was never noted is 0. */
bool map_object_get_sums(struct map_object *o, uint64_t *sums, off_t offset, size_t n)
{
	long got = RAW(pread64, o->side, sums, n * 8, sum_at(offset));

	if (got < 0)
		return false;
	memset((char *)sums + got, 0, n * 8 - (size_t)got);
	return true;
}

bool map_object_put_sums(struct map_object *o, const uint64_t *sums, off_t offset, size_t n)
{
	return space_pwrite(o->side, sums, n * 8, sum_at(offset)) == (long)(n * 8);
}

void map_object_cut_sums(struct map_object *o, off_t size)
{
	off_t end = sum_at((off_t)ROUND_UP((uint64_t)size, MAP_PAGE));

	if (o->header->writable && RAW(lseek, o->side, 0, SEEK_END) > end)
		space_ftruncate(o->side, end);
}

void map_object_settle(struct map_object *o, const char *buf, off_t offset, size_t n)
{
	uint64_t sums[256];
	char last[MAP_PAGE];

	if (!o->header->writable)
		return;
	for (size_t p = 0, k = 0; p < n; p += MAP_PAGE) {
		if (n - p < MAP_PAGE) {
			memset(last, 0, sizeof last);
			memcpy(last, buf + p, n - p);
			sums[k++] = map_sum_page(last);
		} else {
			sums[k++] = map_sum_page(buf + p);
		}
		if (k == ARRAY_SIZE(sums) || p + MAP_PAGE >= n) {
			map_object_put_sums(o, sums, offset + (off_t)p - (off_t)((k - 1) * MAP_PAGE), k);
			k = 0;
		}
	}
}

/* --- Pages --------------------------------------------------------------------------------- */

off_t map_object_size(const struct map_object *o)
{
	struct stat st;

	return RAW(newfstatat, o->data, "", &st, AT_EMPTY_PATH) < 0 ? 0 : st.st_size;
}

/* The first stretch of pages in [at, to) that is there (or, holes: that is not). */
bool map_object_stretch(const struct map_object *o, off_t at, off_t to, bool holes, off_t *ret_from,
			 off_t *ret_to)
{
	off_t from = (off_t)RAW(lseek, o->data, at, holes ? SEEK_HOLE : SEEK_DATA), end;

	if (from < 0 || from >= to)
		return false;
	from = MAX(at, (off_t)ROUND_DOWN((uint64_t)from, MAP_PAGE));
	end = (off_t)RAW(lseek, o->data, from, holes ? SEEK_DATA : SEEK_HOLE);
	if (end < 0)
		end = to;
	*ret_from = from;
	*ret_to = MIN((off_t)ROUND_UP((uint64_t)end, MAP_PAGE), to);
	return *ret_from < *ret_to;
}

/* Reads n bytes of pages; behind the end are zeros. */
bool map_object_peek(const struct map_object *o, char *buf, off_t at, size_t n)
{
	long got = RAW(pread64, o->data, buf, n, at);

	if (got < 0)
		return false;
	memset(buf + got, 0, n - (size_t)got);
	return true;
}

int map_object_read_file(struct map_object *o, char *buf, size_t n, off_t at, size_t *ret)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = CALL(pread, o->file, buf + done, n - done, at + (off_t)done);

		if (r < 0)
			return (int)r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	*ret = done;
	return 0;
}

/* Takes file over. Fault threads use it, under map_lock. */
void map_object_set_file(struct map_object *o, struct ff3fs_file *file, bool writes)
{
	struct ff3fs_file *old;

	map_lock();
	old = o->file;
	o->file = file;
	o->file_writes = writes;
	map_unlock();
	if (old)
		CALL(close, old);
}

static int open_to_write(struct map_object *o)
{
	struct ff3fs_file *file;
	struct ff3fs *fs;
	int r;

	if (o->file && o->file_writes)
		return 0;
	r = core_fs(&fs);
	if (r == 0) /* no other file gets its number */
		r = CALL(open_inode, fs, o->ino, O_RDWR, &file);
	if (r == 0)
		map_object_set_file(o, file, true);
	return r;
}

/* Makes pages of buf where there are none, except of zeros. Within the lock. */
static int place(struct map_object *o, const char *buf, off_t at, size_t n)
{
	static const char zeros[MAP_PAGE];
	off_t from, to, p = at;

	map_object_settle(o, buf, at, n);
	while (map_object_stretch(o, p, at + (off_t)n, true, &from, &to)) {
		for (p = from; p < to; p += (off_t)MAP_PAGE) {
			size_t len = MIN(MAP_PAGE, (size_t)(at + (off_t)n - p));

			if (memcmp(buf + (p - at), zeros, len) != 0 &&
			    space_pwrite(o->data, buf + (p - at), len, p) != (long)len)
				return -ENOMEM;
		}
	}
	return 0;
}

static int load_run(struct map_object *o, char *buf, off_t at, size_t n)
{
	uint64_t before, saved;
	size_t got;
	int r;

	for (int tries = 0;; tries++) {
		bool last = tries == 3; /* while somebody keeps writing: keep him out */

		if (last)
			map_object_lock(o, &saved);
		before = map_object_sequence(o, at, n);
		r = map_object_read_file(o, buf, n, at, &got);
		if (!last)
			map_object_lock(o, &saved);
		/* That the file has become shorter is believed only while nobody here can make it longer. */
		if (r == 0 && (last || (got == n && map_object_sequence(o, at, n) == before))) {
			off_t end = MAX(at + (off_t)got, (off_t)o->header->ahead);

			if (got < n && map_object_size(o) > end)
				space_ftruncate(o->data, end); /* it shrank: a fault, not zeros */
			r = place(o, buf, at, got);
			map_object_unlock(o, &saved);
			return r;
		}
		map_object_unlock(o, &saved);
		if (r < 0)
			return r;
	}
}

/* Straight into the pages: nobody else can have them yet, but for a call that writes. */
static int load_alone(struct map_object *o, off_t from, off_t to)
{
	long m = RAW(mmap, 0, to - from, PROT_READ | PROT_WRITE, MAP_SHARED, o->data, from);
	size_t got = 0;
	int r;

	if (m < 0 && m > -4096)
		return -ENOMEM;
	map_object_hold(o);
	r = map_object_read_file(o, (char *)m, (size_t)(to - from), from, &got);
	map_object_let_go(o);
	RAW(munmap, m, to - from);
	if (r == 0 && got < (size_t)(to - from))
		space_ftruncate(o->data, from + (off_t)got);
	return r;
}

int map_object_pin(struct map_object *o, off_t from, off_t to)
{
	struct map_header *h = o->header;
	uint64_t saved;

	map_object_lock(o, &saved); /* nobody is dropping pages now, and will not from here on */
	h->pinned_from = h->pinned ? MIN(h->pinned_from, from) : from;
	h->pinned_to = h->pinned ? MAX(h->pinned_to, to) : to;
	h->pinned = 1;
	map_object_unlock(o, &saved);
	return map_object_load(o, from, to);
}

int map_object_load(struct map_object *o, off_t from, off_t to)
{
	_cleanup_free_ char *buf = NULL;
	off_t at, end;
	int r = 0;

	to = MIN(to, map_object_size(o));
	if (from >= to)
		return 0;
	if (!o->file && (r = open_to_write(o)) < 0)
		return r;
	if (o->alone && !o->header->writable)
		return load_alone(o, from, to);
	buf = malloc(MIN(RUN, ROUND_UP((size_t)(to - from), MAP_PAGE)));
	if (!buf)
		return -ENOMEM;
	while (r == 0 && map_object_stretch(o, from, to, true, &at, &end)) {
		end = MIN(end, at + (off_t)RUN);
		r = load_run(o, buf, at, (size_t)(end - at));
		from = end;
	}
	return r;
}

/* --- Sending stores ------------------------------------------------------------------------ */

/* Sends those of the n bytes of pages at `at` that were stored to. 1 if there were any. */
static int send_run(struct map_object *o, const char *buf, off_t at, size_t n, off_t size)
{
	uint64_t sums[SEND_RUN / MAP_PAGE], now[SEND_RUN / MAP_PAGE];
	size_t n_pages = n / MAP_PAGE, k = 0;
	int any = 0;

	if (!map_object_get_sums(o, sums, at, n_pages))
		return -EIO;
	for (size_t i = 0; i < n_pages; i++)
		now[i] = map_sum_page(buf + i * MAP_PAGE);
	while (k < n_pages) {
		size_t begin = k, len;
		off_t offset;
		ssize_t r;

		for (; k < n_pages && now[k] != sums[k]; k++)
			;
		if (k++ == begin)
			continue;
		k--;
		offset = at + (off_t)(begin * MAP_PAGE);
		if (offset >= size)
			break;
		len = MIN((k - begin) * MAP_PAGE, (size_t)(size - offset));
		r = CALL(pwrite, o->file, buf + begin * MAP_PAGE, len, offset);
		if (r < 0)
			return (int)r;
		if (!map_object_put_sums(o, now + begin, offset, k - begin))
			return -ENOMEM;
		any = 1;
	}
	return any;
}

static int send_range(struct map_object *o, off_t from, off_t to)
{
	off_t size = map_object_size(o), at, end;
	_cleanup_free_ char *buf = NULL;
	int r = 0, any = 0;

	to = MIN(to, size);
	from = (off_t)ROUND_DOWN((uint64_t)from, MAP_PAGE);
	while (r >= 0 && map_object_stretch(o, from, to, false, &at, &end)) {
		size_t n = MIN(SEND_RUN, ROUND_UP((size_t)(end - at), MAP_PAGE));

		if (!buf) {
			buf = malloc(SEND_RUN);
			r = buf ? open_to_write(o) : -ENOMEM;
		}
		if (r >= 0)
			r = map_object_peek(o, buf, at, n) ? send_run(o, buf, at, n, size) : -EIO;
		any |= r;
		from = at + (off_t)n;
	}
	return r < 0 ? r : any;
}

void map_object_hold(struct map_object *o)
{
	lock_byte(o, SEND_LOCK, F_WRLCK);
	o->header->ahead = 0; /* whoever meant to was killed */
}

void map_object_let_go(struct map_object *o)
{
	lock_byte(o, SEND_LOCK, F_UNLCK);
}

int map_object_send_unsynced(struct map_object *o, off_t from, off_t to)
{
	int r;

	if (!o->header->writable)
		return 0;
	map_object_hold(o);
	r = send_range(o, from, to);
	map_object_let_go(o);
	return r;
}

/* Others will not send it again, so it must be durable when they say that it is. */
static int make_durable(struct map_object *o, int sent)
{
	return sent > 0 ? CALL(fsync, o->file) : sent;
}

int map_object_send(struct map_object *o, off_t from, off_t to)
{
	return make_durable(o, map_object_send_unsynced(o, from, to));
}

int map_object_send_held(struct map_object *o, off_t from, off_t to)
{
	return o->header->writable ? make_durable(o, send_range(o, from, to)) : 0;
}

/* From now on there can be stores: what is there now is in step. */
int map_object_make_writable(struct map_object *o)
{
	_cleanup_free_ char *buf = NULL;
	off_t at = 0, from, to;
	uint64_t saved;
	int r = 0;

	if (o->header->writable)
		return 0;
	buf = malloc(SEND_RUN);
	if (!buf)
		return -ENOMEM;
	map_object_lock(o, &saved);
	if (!o->header->writable) {
		map_node_note_writable(o); /* first, so that nothing is missed; sums follow */
		while (r == 0 && map_object_stretch(o, at, map_object_size(o), false, &from, &to)) {
			size_t n = MIN(SEND_RUN, (size_t)(to - from));

			if (map_object_peek(o, buf, from, ROUND_UP(n, MAP_PAGE)))
				map_object_settle(o, buf, from, ROUND_UP(n, MAP_PAGE));
			else
				r = -EIO;
			at = from + (off_t)n;
		}
	}
	map_object_unlock(o, &saved);
	return r;
}

int shared_map_send_slow(uint64_t ino, off_t at, size_t n)
{
	struct map_object *o;
	int r = 0;

	if (!map_enter())
		return 0;
	o = map_object_look(ino);
	if (o) {
		r = map_object_send(o, at, n ? at + (off_t)n : INT64_MAX);
		map_object_looked(o);
	}
	map_leave();
	return r < 0 ? r : 0;
}
