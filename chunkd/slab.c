/* Slab files. "slab-CC-N" holds slots of 1 << CC bytes (CC from 12 to 24), slot i at i << CC; slots
 * of a class are numbered on through its files, 1 GiB of them in each. There is no slot header:
 * with one, a chunk of a power-of-two size would need the next class, and reads of its blocks
 * would not be aligned. What a slot holds, and its checksums, is in the index alone.
 *
 * Files grow by fallocate, on the helper thread, ahead of need: by as much as the class has, at
 * least 1/256 and at most 1/32 of the capacity (and within 1-256 MiB), so that a small disk is
 * not eaten up by classes that hold one chunk each. When nothing can grow any more, other classes
 * give back the free slots at the end of their last file.
 *
 * In idle times, free slots that the file system has marked as unwritten get zeros, once (measured:
 * a synced 16 KiB write is 1.1-2 times as fast into a written slot). They count as taken while
 * that goes on.
 *
 * Which slots are free is known only in RAM: every slot without a row in the index is.
 *
 * Threads: the store's thread; jobs touch only their own structs. */
#include "slab.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "../common/base/log.h"

#define FILE_BYTES FF3_GIB(1)
#define N_CLASSES (CHUNKD_CLASS_MAX + 1)

struct grow {
	struct chunkd_job job;
	struct chunkd_slabs *slabs;
	struct class *class;
	int fd; /* of the file to grow, or -1: make it */
	uint32_t file;
	uint64_t from, to; /* its size in bytes */
	int status;
};

struct prewrite {
	struct chunkd_job job;
	struct chunkd_slabs *slabs;
	struct class *class;
	int fd;
	uint32_t first, n; /* slots */
	uint64_t from, to; /* the same in bytes of the file */
	bool busy;
};

struct class {
	uint8_t shift;
	uint64_t *bits; /* 1: taken */
	uint32_t n_slots, n_used, n_reserved, room, cursor;
	int *fds;
	uint32_t n_files;
	bool growing;
	bool full; /* the last growth failed, and nothing was freed since */
	uint32_t prewritten; /* slots below were looked at */
	struct grow grow;
};

struct chunkd_slabs {
	struct chunkd_slabs_options o;
	uint64_t allocated;	    /* bytes of all files, and of growth under way */
	uint64_t used_bytes, reserved_bytes;
	struct class class[N_CLASSES];
	struct prewrite prewrite;
};

static uint32_t slots_per_file(const struct class *c)
{
	return (uint32_t)(FILE_BYTES >> c->shift);
}

static uint64_t class_bytes(const struct class *c)
{
	return (uint64_t)c->n_slots << c->shift;
}

static bool bit_get(const struct class *c, uint32_t slot)
{
	return c->bits[slot / 64] >> (slot % 64) & 1;
}

static void bit_flip(struct class *c, uint32_t slot)
{
	c->bits[slot / 64] ^= (uint64_t)1 << (slot % 64);
}

static void slab_name(char name[32], uint8_t shift, uint32_t file)
{
	snprintf(name, 32, "slab-%u-%u", shift, file);
}

static int slab_open(int dir_fd, uint8_t shift, uint32_t file, int flags)
{
	char name[32];
	int fd;

	slab_name(name, shift, file);
	fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_DIRECT | flags, 0600);
	if (fd < 0 && errno == EINVAL) /* a file system without direct I/O */
		fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | flags, 0600);
	return fd < 0 ? -errno : fd;
}

static int class_add_file(struct chunkd_slabs *s, struct class *c, int fd)
{
	int *fds = realloc(c->fds, (c->n_files + 1) * sizeof *fds);

	if (!fds)
		return -ENOMEM;
	c->fds = fds;
	c->fds[c->n_files++] = fd;
	s->o.io->ops->opened(s->o.io, fd);
	return 0;
}

static int class_set_slots(struct class *c, uint32_t n)
{
	uint32_t words = ROUND_UP(n, 64u) / 64;

	if (words > c->room) {
		uint64_t *bits = realloc(c->bits, words * 2 * sizeof *bits);

		if (!bits)
			return -ENOMEM;
		memset(bits + c->room, 0, (words * 2 - c->room) * sizeof *bits);
		c->bits = bits;
		c->room = words * 2;
	}
	c->n_slots = n;
	return 0;
}

static int class_open(struct chunkd_slabs *s, struct class *c)
{
	for (;;) {
		_cleanup_close_ int fd = slab_open(s->o.dir_fd, c->shift, c->n_files, 0);
		uint32_t n;
		struct stat st;
		int r;

		if (fd == -ENOENT)
			return 0;
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) < 0)
			return -errno;
		if (c->n_slots % slots_per_file(c))
			return -EUCLEAN; /* a file follows one that is not full */
		n = (uint32_t)((uint64_t)st.st_size >> c->shift);
		r = class_set_slots(c, c->n_slots + MIN(n, slots_per_file(c)));
		if (r == 0)
			r = class_add_file(s, c, fd);
		if (r < 0)
			return r;
		TAKE_FD(fd);
		s->allocated += (uint64_t)n << c->shift;
	}
}

int chunkd_slabs_open(const struct chunkd_slabs_options *options, struct chunkd_slabs **ret)
{
	struct chunkd_slabs *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->o = *options;
	for (uint8_t i = CHUNKD_CLASS_MIN; i <= CHUNKD_CLASS_MAX; i++) {
		int r;

		s->class[i].shift = i;
		r = class_open(s, &s->class[i]);
		if (r < 0) {
			chunkd_slabs_free(s);
			return r;
		}
	}
	*ret = s;
	return 0;
}

void chunkd_slabs_free(struct chunkd_slabs *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < N_CLASSES; i++) {
		struct class *c = &s->class[i];

		for (uint32_t f = 0; f < c->n_files; f++) {
			s->o.io->ops->closing(s->o.io, c->fds[f]);
			close(c->fds[f]);
		}
		free(c->fds);
		free(c->bits);
	}
	free(s);
}

int chunkd_slabs_fd(const struct chunkd_slabs *s, uint64_t place)
{
	const struct class *c = &s->class[chunkd_place_class(place)];

	return c->fds[chunkd_place_slot(place) / slots_per_file(c)];
}

uint64_t chunkd_slabs_offset(uint64_t place)
{
	return ((uint64_t)chunkd_place_slot(place) << chunkd_place_class(place)) % FILE_BYTES;
}

int chunkd_slabs_mark(struct chunkd_slabs *s, uint64_t place)
{
	unsigned class = chunkd_place_class(place);
	struct class *c;

	if (place >> 48 || class < CHUNKD_CLASS_MIN || class > CHUNKD_CLASS_MAX)
		return -ERANGE;
	c = &s->class[class];
	if ((place & 0xffffffffffull) >= c->n_slots)
		return -ERANGE;
	if (bit_get(c, chunkd_place_slot(place)))
		return -EEXIST;
	bit_flip(c, chunkd_place_slot(place));
	c->n_used++;
	s->used_bytes += (uint64_t)1 << class;
	return 0;
}

/* Bytes of the file system that slabs may still take. */
static uint64_t fs_room(const struct chunkd_slabs *s)
{
	struct statvfs v;
	uint64_t avail;

	if (fstatvfs(s->o.dir_fd, &v) < 0)
		return 0;
	avail = (uint64_t)v.f_bavail * v.f_frsize;
	return avail > s->o.margin ? avail - s->o.margin : 0;
}

uint64_t chunkd_slabs_capacity(const struct chunkd_slabs *s)
{
	uint64_t all = s->allocated + fs_room(s);

	return s->o.capacity ? MIN(s->o.capacity, all) : all;
}

uint64_t chunkd_slabs_used(const struct chunkd_slabs *s)
{
	return s->used_bytes + s->reserved_bytes;
}

bool chunkd_slabs_quiet(const struct chunkd_slabs *s)
{
	for (unsigned i = 0; i < N_CLASSES; i++)
		if (s->class[i].growing)
			return false;
	return !s->prewrite.busy;
}

void chunkd_slabs_usage(const struct chunkd_slabs *s, uint8_t class, struct chunkd_class_usage *ret)
{
	const struct class *c = &s->class[class];

	*ret = (struct chunkd_class_usage){ c->n_slots, c->n_used, c->n_reserved };
}

static uint32_t n_free(const struct class *c)
{
	return c->n_slots - c->n_used - c->n_reserved;
}

/* --- Growing -------------------------------------------------------------------------------- */

static void grow_run(struct chunkd_job *job)
{
	struct grow *g = CONTAINER_OF(job, struct grow, job);
	_cleanup_close_ int made = -1;
	int fd = g->fd, r;

	if (fd < 0) {
		fd = made = slab_open(g->slabs->o.dir_fd, g->class->shift, g->file, O_CREAT);
		if (fd < 0) {
			g->status = fd;
			return;
		}
	}
	r = fallocate(fd, 0, (off_t)g->from, (off_t)(g->to - g->from)) < 0 ? errno : 0;
	if (r == EOPNOTSUPP)
		r = posix_fallocate(fd, (off_t)g->from, (off_t)(g->to - g->from));
	if (r == 0 && fsync(fd) < 0)
		r = errno;
	if (r == 0 && made >= 0 && fsync(g->slabs->o.dir_fd) < 0)
		r = errno;
	if (r && r != EIO && ftruncate(fd, (off_t)g->from) < 0)
		r = errno;
	g->status = -r;
	if (r == 0 && made >= 0)
		g->fd = TAKE_FD(made);
}

static void grow_done(struct chunkd_job *job)
{
	struct grow *g = CONTAINER_OF(job, struct grow, job);
	struct chunkd_slabs *s = g->slabs;
	struct class *c = g->class;
	int r = g->status;

	c->growing = false;
	if (r == 0 && g->file == c->n_files) {
		r = class_add_file(s, c, g->fd);
		if (r < 0)
			close(g->fd);
	}
	if (r == 0)
		r = class_set_slots(c, c->n_slots + (uint32_t)((g->to - g->from) >> c->shift));
	if (r < 0) {
		s->allocated -= g->to - g->from;
		c->full = true;
		if (r != -ENOSPC && r != -EFBIG)
			ff3_log_errno(r, "cannot grow slab-%u-%u of %s", c->shift, g->file,
				      s->o.dir);
	}
	s->o.grown(s->o.arg);
}

/* Gives back free slots at the end of the class's last file. */
static uint64_t class_shrink(struct chunkd_slabs *s, struct class *c)
{
	uint32_t in_file, n = 0, per_file = slots_per_file(c);
	uint64_t bytes;

	if (c->growing || c->n_files == 0)
		return 0;
	in_file = c->n_slots - (c->n_files - 1) * per_file;
	while (n < in_file && n < n_free(c) && !bit_get(c, c->n_slots - 1 - n))
		n++;
	if (n == 0)
		return 0;
	bytes = (uint64_t)n << c->shift;
	if (n == in_file) {
		char name[32];

		slab_name(name, c->shift, c->n_files - 1);
		if (unlinkat(s->o.dir_fd, name, 0) < 0)
			return 0;
		s->o.io->ops->closing(s->o.io, c->fds[c->n_files - 1]);
		close(c->fds[--c->n_files]);
	} else if (ftruncate(c->fds[c->n_files - 1], (off_t)(in_file - n) << c->shift) < 0) {
		return 0;
	}
	c->n_slots -= n;
	c->prewritten = MIN(c->prewritten, c->n_slots);
	s->allocated -= bytes;
	return bytes;
}

static uint64_t growth_room(const struct chunkd_slabs *s)
{
	uint64_t room = fs_room(s);

	if (s->o.capacity)
		room = MIN(room, s->o.capacity - MIN(s->o.capacity, s->allocated));
	return room;
}

/* Starts growing c; false if there is no room, also after asking other classes (if force). */
static bool class_grow(struct chunkd_slabs *s, struct class *c, bool force)
{
	uint64_t slot = (uint64_t)1 << c->shift, capacity = chunkd_slabs_capacity(s), room, step, end;
	struct grow *g = &c->grow;

	if (c->growing)
		return true;
	room = growth_room(s);
	for (unsigned i = 0; force && room < slot && i < N_CLASSES; i++)
		if (&s->class[i] != c && class_shrink(s, &s->class[i]))
			room = growth_room(s);
	if (room < slot || (c->full && !force))
		return false;
	step = MAX(class_bytes(c), MAX(FF3_MIB(1), capacity / 256));
	step = MIN(step, MIN(FF3_MIB(256), MAX(FF3_MIB(1), capacity / 32)));
	step = MAX(MIN(step, room), slot);
	g->file = c->n_slots / slots_per_file(c);
	g->from = class_bytes(c) % FILE_BYTES;
	end = MIN(g->from + ROUND_DOWN(step, slot), FILE_BYTES);
	g->to = end;
	g->fd = g->file < c->n_files ? c->fds[g->file] : -1;
	g->slabs = s;
	g->class = c;
	g->job = (struct chunkd_job){ .run = grow_run, .done = grow_done };
	s->allocated += g->to - g->from;
	c->growing = true;
	c->full = false;
	s->o.io->ops->job(s->o.io, &g->job);
	return true;
}

/* --- Prewriting ------------------------------------------------------------------------------- */

#define PREWRITE_BYTES FF3_MIB(1)

/* Whether a part of [from, to) was allocated and never written. */
static bool is_unwritten(int fd, uint64_t from, uint64_t to)
{
	enum { N_EXTENTS = 32 };
	_Alignas(struct fiemap) uint8_t room[sizeof(struct fiemap) +
					     N_EXTENTS * sizeof(struct fiemap_extent)] = { 0 };
	struct fiemap *map = (struct fiemap *)room;

	map->fm_start = from;
	map->fm_length = to - from;
	map->fm_extent_count = N_EXTENTS;
	if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
		return false;
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++)
		if (map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN)
			return true;
	return false;
}

static void prewrite_run(struct chunkd_job *job)
{
	static const uint8_t zeros[FF3_MIB(1)] __attribute__((aligned(FF3_BLOCK)));
	struct prewrite *p = CONTAINER_OF(job, struct prewrite, job);

	if (!is_unwritten(p->fd, p->from, p->to))
		return;
	/* An error here harms nobody; the slot's real write will meet it. */
	for (uint64_t o = p->from; o < p->to; o += sizeof zeros)
		if (pwrite(p->fd, zeros, MIN(sizeof zeros, p->to - o), (off_t)o) < 0)
			return;
	(void)fdatasync(p->fd);
}

static void prewrite_done(struct chunkd_job *job)
{
	struct prewrite *p = CONTAINER_OF(job, struct prewrite, job);

	for (uint32_t i = 0; i < p->n; i++)
		chunkd_slabs_release(p->slabs, chunkd_place(p->class->shift, p->first + i));
	p->busy = false;
	p->slabs->o.grown(p->slabs->o.arg);
}

/* Takes the next free slots of c that nobody looked at. */
static bool prewrite_take(struct chunkd_slabs *s, struct class *c)
{
	struct prewrite *p = &s->prewrite;
	uint32_t max = MAX((uint32_t)(PREWRITE_BYTES >> c->shift), 1u), n = 0, first;
	uint32_t file_end;

	while (c->prewritten < c->n_slots && bit_get(c, c->prewritten))
		c->prewritten++;
	first = c->prewritten;
	file_end = (first / slots_per_file(c) + 1) * slots_per_file(c);
	max = MIN(max, n_free(c) / 2);
	while (n < max && first + n < MIN(c->n_slots, file_end) && !bit_get(c, first + n))
		n++;
	for (uint32_t i = 0; i < n; i++)
		(void)chunkd_slabs_mark(s, chunkd_place(c->shift, first + i));
	c->prewritten = first + n;
	*p = (struct prewrite){ .job = { .run = prewrite_run, .done = prewrite_done },
				.slabs = s,
				.class = c,
				.first = first,
				.n = n };
	return n > 0;
}

bool chunkd_slabs_prewrite(struct chunkd_slabs *s)
{
	struct prewrite *p = &s->prewrite;

	if (p->busy)
		return true;
	for (unsigned i = CHUNKD_CLASS_MIN; i <= CHUNKD_CLASS_MAX; i++) {
		struct class *c = &s->class[i];

		if (c->prewritten >= c->n_slots || !prewrite_take(s, c))
			continue;
		p->fd = chunkd_slabs_fd(s, chunkd_place(c->shift, p->first));
		p->from = chunkd_slabs_offset(chunkd_place(c->shift, p->first));
		p->to = p->from + ((uint64_t)p->n << c->shift);
		p->busy = true;
		s->o.io->ops->job(s->o.io, &p->job);
		return true;
	}
	return false;
}

/* --- Promises and slots ------------------------------------------------------------------------ */

int chunkd_slabs_reserve(struct chunkd_slabs *s, uint8_t class, bool may_fill)
{
	struct class *c = &s->class[class];
	uint64_t slot = (uint64_t)1 << class, capacity = may_fill ? 0 : chunkd_slabs_capacity(s);

	if (!may_fill && chunkd_slabs_used(s) + slot > capacity - capacity / 20)
		return -ENOSPC;
	if (n_free(c) == 0)
		return class_grow(s, c, true) ? -EAGAIN : -ENOSPC;
	c->n_reserved++;
	s->reserved_bytes += slot;
	if (n_free(c) < c->n_slots / 4)
		class_grow(s, c, false);
	return 0;
}

void chunkd_slabs_unreserve(struct chunkd_slabs *s, uint8_t class)
{
	s->class[class].n_reserved--;
	s->class[class].full = false;
	s->reserved_bytes -= (uint64_t)1 << class;
}

uint64_t chunkd_slabs_take(struct chunkd_slabs *s, uint8_t class)
{
	struct class *c = &s->class[class];
	uint32_t words = ROUND_UP(c->n_slots, 64u) / 64, w = c->cursor % words;

	for (uint32_t i = 0; i <= words; i++, w = (w + 1) % words) {
		uint64_t free_bits = ~c->bits[w];
		uint32_t slot;

		if (free_bits == 0)
			continue;
		slot = w * 64 + (uint32_t)__builtin_ctzll(free_bits);
		if (slot >= c->n_slots)
			continue;
		bit_flip(c, slot);
		c->cursor = w;
		c->n_used++;
		s->used_bytes += (uint64_t)1 << class;
		chunkd_slabs_unreserve(s, class);
		return chunkd_place(class, slot);
	}
	abort(); /* a promise always has a slot */
}

void chunkd_slabs_release(struct chunkd_slabs *s, uint64_t place)
{
	struct class *c = &s->class[chunkd_place_class(place)];

	bit_flip(c, chunkd_place_slot(place));
	c->n_used--;
	c->full = false;
	s->used_bytes -= (uint64_t)1 << c->shift;
}
