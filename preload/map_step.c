/* Purpose: objects (map_object.c) in step with what calls do to the file, on this node, and with what was
 * done elsewhere when it is mapped again.
 *
 * Threads: inside map_enter; pages change within map_object_lock. */
#include "hook.h"
#include "map.h"
#include "raw.h"

#define PIECE (1ul << 20)

/* --- Calls that change the file ------------------------------------------------------------ */

/* Bytes of one page that a call has written. Within the lock. False if the page must be loaded now. */
static bool page_written(struct map_object *o, const char *data, off_t at, size_t n)
{
	uint64_t unsent = MAP_UNSENT;
	off_t from, to, page = (off_t)ROUND_DOWN((uint64_t)at, MAP_PAGE);

	if (!map_object_stretch(o, page, page + 1, false, &from, &to)) {
		if (page < o->header->pinned_from || page >= o->header->pinned_to)
			return true; /* it will be loaded when it is touched */
		if (n < MAP_PAGE)
			return false;
	}
	if (space_pwrite(o->data, data, n, at) != (long)n)
		space_ftruncate(o->data, page); /* no room: a fault, not what was there before */
	if (o->header->writable)
		map_object_put_sums(o, &unsent, page, 1);
	return true;
}

static bool bytes_written(struct map_object *o, const char *data, off_t at, size_t n)
{
	bool whole = true;

	for (size_t done = 0; done < n;) {
		size_t len = MIN(n - done, MAP_PAGE - (size_t)(at + (off_t)done) % MAP_PAGE);

		whole &= page_written(o, data + done, at + (off_t)done, len);
		done += len;
	}
	return whole;
}

/* Where the file has grown, bytes behind its old end that stores left in the last page are not its. */
static void grow(struct map_object *o, off_t from, off_t to)
{
	static const char zeros[MAP_PAGE];
	size_t tail = (MAP_PAGE - (size_t)from % MAP_PAGE) % MAP_PAGE;

	space_ftruncate(o->data, to);
	if (tail > 0 && to > from)
		bytes_written(o, zeros, from, MIN(tail, (size_t)(to - from)));
}

/* The sum of the page that a cut has gone through. */
static void resettle(struct map_object *o, off_t at)
{
	off_t page = (off_t)ROUND_DOWN((uint64_t)at, MAP_PAGE), from, to;
	uint64_t unsent = MAP_UNSENT;

	if (at > page && o->header->writable &&
	    map_object_stretch(o, page, page + 1, false, &from, &to))
		map_object_put_sums(o, &unsent, page, 1);
}

uint64_t map_object_sequence(struct map_object *o, off_t from, size_t n)
{
	uint64_t sum = 0;
	off_t to = from + (off_t)MIN(n, (size_t)MAP_SEQUENCES << 20);

	for (off_t at = (off_t)ROUND_DOWN((uint64_t)from, 1ul << 20); at < to; at += 1 << 20)
		sum += o->header->sequence[((uint64_t)at >> 20) % MAP_SEQUENCES];
	return sum;
}

void map_object_next_sequence(struct map_object *o, off_t from, off_t to)
{
	if (to - from >= (off_t)MAP_SEQUENCES << 20)
		to = from + ((off_t)MAP_SEQUENCES << 20) - 1;
	for (off_t at = (off_t)ROUND_DOWN((uint64_t)from, 1ul << 20); at < to; at += 1 << 20)
		atomic_fetch_add(&o->header->sequence[((uint64_t)at >> 20) % MAP_SEQUENCES], 1);
}

/* Within the lock. */
static void resize(struct map_object *o, off_t size)
{
	off_t now = map_object_size(o);

	if (size > now) {
		grow(o, now, size);
	} else if (size < now) {
		space_ftruncate(o->data, size);
		resettle(o, size);
		map_object_cut_sums(o, size);
	}
	map_object_next_sequence(o, MIN(now, size), MAX(now, size));
}

void map_object_resize(struct map_object *o, off_t size)
{
	uint64_t saved;

	map_object_lock(o, &saved);
	resize(o, size);
	map_object_unlock(o, &saved);
}

/* One piece, out of memory of ours: the caller's may have to be loaded itself. */
static void piece_written(struct map_object *o, const char *data, off_t at, size_t n)
{
	uint64_t saved;
	bool whole;
	off_t now;

	map_object_lock(o, &saved);
	now = map_object_size(o);
	if (at + (off_t)n > now)
		grow(o, now, at + (off_t)n);
	whole = bytes_written(o, data, at, n);
	map_object_next_sequence(o, at, at + (off_t)n);
	map_object_unlock(o, &saved);
	if (!whole) /* whole pages: what is behind the written bytes, too */
		map_object_load(o, (off_t)ROUND_DOWN((uint64_t)at, MAP_PAGE),
				(off_t)ROUND_UP((uint64_t)at + n, MAP_PAGE));
}

/* Of those in [at, at + done), the ones from `from` on. */
static void written_from(struct map_object *o, const struct iovec *iov, int n, off_t at, size_t done, off_t from)
{
	_cleanup_free_ char *large = malloc(MIN(PIECE, done));
	char small[MAP_PAGE], *buf = large ? large : small;

	for (int i = 0; i < n && done > 0; i++) {
		size_t len = MIN(iov[i].iov_len, done), skip = at < from ? MIN(len, (size_t)(from - at)) : 0;

		done -= len;
		at += (off_t)skip;
		for (size_t k = skip, piece; k < len; k += piece, at += (off_t)piece) {
			piece = MIN(len - k, large ? PIECE : sizeof small);
			if (memory_copy_in(buf, (char *)iov[i].iov_base + k, piece))
				piece_written(o, buf, at, piece);
		}
	}
}

void map_object_written(struct map_object *o, const struct iovec *iov, int n, off_t at, size_t done)
{
	written_from(o, iov, n, at, done, at);
}

/* Attributes say that the file is shorter. Calls on this node may have made it longer since they were asked for:
 * so once more, while none can. Or one is just about to. */
static int shrink(struct map_object *o)
{
	struct ff3fs_attr now;
	struct ff3fs *fs;
	uint64_t saved;
	int r = core_fs(&fs);

	if (r < 0)
		return r;
	map_object_lock(o, &saved);
	r = CALL(stat, fs, o->ino, "", 0, &now);
	if (r == 0 && !o->header->ahead && (off_t)now.size < map_object_size(o))
		resize(o, (off_t)now.size);
	map_object_unlock(o, &saved);
	return r;
}

/* Others are told of the new length by the call itself, and may look at once. So what is behind the end is in the
 * mapping before; what is not goes the other way, because who loads a page must find in it what it shows. */
void map_object_ahead(struct map_object *o, const struct iovec *iov, int n, off_t at, size_t sum)
{
	off_t now = map_object_size(o), end = at + (off_t)sum;

	if (end <= now)
		return;
	o->header->ahead = end;
	if (iov)
		written_from(o, iov, n, at, sum, now);
	else
		map_object_resize(o, end);
}

void map_object_arrived(struct map_object *o, off_t end)
{
	bool less = o->header->ahead > end;

	o->header->ahead = 0;
	if (less)
		shrink(o);
}

static int write_again(uint64_t ino, const struct iovec *iov, int n, off_t at, size_t done)
{
	struct ff3fs_file *file;
	struct ff3fs *fs;
	int r = core_fs(&fs);

	if (r == 0) /* the caller's may append */
		r = CALL(open_inode, fs, ino, O_RDWR, &file);
	if (r < 0)
		return r;
	for (int i = 0; i < n && done > 0 && r >= 0; i++) {
		size_t len = MIN(iov[i].iov_len, done);

		r = (int)MIN(CALL(pwrite, file, iov[i].iov_base, len, at), 0);
		at += (off_t)len;
		done -= len;
	}
	if (r == 0)
		r = CALL(flush, file);
	CALL(close, file);
	return r;
}

int shared_map_written_slow(uint64_t ino, uint32_t mark, const struct iovec *iov, int n, off_t at,
			    size_t done)
{
	for (;;) {
		uint32_t now = shared_map_mark(ino);
		int r;

		if (shared_map_hold(ino)) {
			shared_map_release_written(iov, n, at, done);
			return 0;
		}
		if (now >> MAP_ENDED == mark >> MAP_ENDED &&
		    shared_map_mark(ino) >> MAP_ENDED == mark >> MAP_ENDED)
			return 0;
		mark = shared_map_mark(ino);
		r = write_again(ino, iov, n, at, done);
		if (r < 0)
			return r;
	}
}

/* --- Changes made elsewhere ---------------------------------------------------------------- */

/* Pages without stores get what the cluster has now. 1: a call has written meanwhile, once more. */
static int refresh_run(struct map_object *o, char *buf, char *fresh, off_t at, size_t n)
{
	uint64_t sums[PIECE / MAP_PAGE], saved, before = map_object_sequence(o, at, n);
	size_t got;
	int r = map_object_read_file(o, fresh, n, at, &got);

	if (r < 0)
		return r;
	memset(fresh + got, 0, n - got);
	map_object_lock(o, &saved);
	if (map_object_sequence(o, at, n) != before) {
		map_object_unlock(o, &saved);
		return 1;
	}
	if (!map_object_peek(o, buf, at, n) || !map_object_get_sums(o, sums, at, n / MAP_PAGE))
		r = -EIO;
	for (size_t p = 0; r == 0 && p < n; p += MAP_PAGE) {
		size_t len = MIN(MAP_PAGE, got > p ? got - p : 0);

		if (memcmp(buf + p, fresh + p, MAP_PAGE) == 0 || len == 0)
			continue;
		if (o->header->writable && map_sum_page(buf + p) != sums[p / MAP_PAGE])
			continue; /* its stores will be sent */
		space_pwrite(o->data, fresh + p, len, at + (off_t)p);
		map_object_settle(o, fresh + p, at + (off_t)p, MAP_PAGE);
	}
	map_object_unlock(o, &saved);
	return r;
}

/* The file has become longer elsewhere, and what it grew by is mapped as memory: it grows here as its
 * data come, so that there is nothing but data to be seen. */
static int grow_with_data(struct map_object *o, off_t from, off_t to)
{
	_cleanup_free_ char *buf = malloc(PIECE);
	uint64_t unsent = MAP_UNSENT, saved;
	size_t got;
	int r = buf ? 0 : -ENOMEM;

	for (off_t at = from; r == 0 && at < to; at += (off_t)got) {
		size_t n = MIN(PIECE - (size_t)at % PIECE, (size_t)(to - at));

		r = map_object_read_file(o, buf, n, at, &got);
		if (r < 0 || got == 0)
			break;
		map_object_lock(o, &saved);
		if (map_object_size(o) == at) {
			space_pwrite(o->data, buf, got, at);
			if ((uint64_t)at % MAP_PAGE == 0)
				map_object_settle(o, buf, at, got);
			else
				for (off_t p = at; o->header->writable && p < at + (off_t)got;
				     p += (off_t)MAP_PAGE)
					map_object_put_sums(o, &unsent, p, 1);
		}
		map_object_unlock(o, &saved);
	}
	return r;
}

int map_object_refresh(struct map_object *o, const struct ff3fs_attr *a)
{
	int64_t mtime = a->mtime.tv_sec * 1000000000ll + a->mtime.tv_nsec;
	_cleanup_free_ char *buf = NULL;
	off_t at = 0, from, to, size = (off_t)a->size;
	int r = 0;

	if (map_object_size(o) < MIN(size, o->header->pinned_to))
		r = grow_with_data(o, map_object_size(o), MIN(size, o->header->pinned_to));
	if (r == 0 && map_object_size(o) < size)
		map_object_resize(o, size);
	else if (r == 0 && map_object_size(o) > size)
		r = shrink(o);
	if (o->alone || o->header->mtime_ns == mtime)
		return 0;
	buf = malloc(2 * PIECE);
	if (!buf)
		return -ENOMEM;
	map_object_hold(o); /* what others sent meanwhile would be undone */
	while (r == 0 && map_object_stretch(o, at, size, false, &from, &to)) {
		size_t n = MIN(PIECE, ROUND_UP((size_t)(to - from), MAP_PAGE));

		while ((r = refresh_run(o, buf, buf + PIECE, from, n)) > 0)
			;
		at = from + (off_t)n;
	}
	map_object_let_go(o);
	if (r == 0)
		o->header->mtime_ns = mtime;
	return r;
}
