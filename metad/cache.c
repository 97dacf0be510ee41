/* Purpose: inodes and directory entries in memory, so that a walk down a path touches no B-tree. Exact:
 * db_inode.c and db_dentry.c write every change through it, and a transaction that fails ends the daemon, so
 * that nothing here was never committed.
 *
 * Format: two tables of sets (cache_set.h): five eighths are for inodes, by number, as numbers count up and
 * neighbours share pages; the rest for names, by their hash. An inode has two cells if it is like most, three if
 * its times are all its own, and else four. A name has as many as it needs. The directories of the last walks are
 * there once more, as they are.
 *
 * Threads: the owner of the database only. */
#include "cache.h"

#include <stddef.h>
#include <sys/stat.h>

#define LIMIT_48 (UINT64_C(1) << 48)

struct name_entry {
	uint64_t parent : 48, type : 16;
	uint64_t ino : 48, len : 16;
	char name[];
};
#define NAME_CELLS_MAX ((sizeof(struct name_entry) + FF3_NAME_MAX + CACHE_CELL - 1) / CACHE_CELL)
_Static_assert(sizeof(struct name_entry) == 16 && NAME_CELLS_MAX <= CACHE_CELLS, "an entry of one set");

/* Two cells of an inode, and with times three. */
struct narrow_inode {
	uint64_t ino : 48, mode : 16;
	uint64_t size : 48, nlink : 8, generation : 8;
	uint64_t parent : 48, truncs : 8, pin : 3, sparse : 1, untouched : 1; /* atime is btime, else it is mtime */
	uint64_t age : 56, chunk_shift : 6; /* mtime - btime; log2 + 1 of the chunk size, 0: it has none */
	uint64_t mtime;			    /* and ctime */
	uint64_t name_hash;
	uint32_t uid, gid, seed, stripe;
	int64_t times[3]; /* atime, ctime, btime */
	uint64_t unused;
};
#define NARROW_CELLS 2u
#define TIMES_CELLS 3u
#define WIDE_CELLS ((sizeof(struct metad_inode) + CACHE_CELL - 1) / CACHE_CELL)
_Static_assert(sizeof(struct narrow_inode) == TIMES_CELLS * CACHE_CELL &&
		       offsetof(struct narrow_inode, times) == NARROW_CELLS * CACHE_CELL && WIDE_CELLS == 4,
	       "whole cells");

union entry {
	struct narrow_inode narrow;
	struct metad_inode wide;
	uint8_t cells[WIDE_CELLS * CACHE_CELL];
};

/* Directories that walks came through lately, as they are asked for: the first steps of most paths are the same. */
#define N_RECENT 16u

struct metad_cache {
	struct cache_table inodes, names;
	struct metad_inode recent[N_RECENT]; /* by number; ino 0: none */
};

int metad_cache_new(uint64_t bytes, struct metad_cache **ret)
{
	struct metad_cache *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	r = cache_table_init(&c->inodes, bytes / 8 * 5);
	if (r >= 0)
		r = cache_table_init(&c->names, bytes / 8 * 3);
	if (r < 0) {
		metad_cache_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void metad_cache_free(struct metad_cache *c)
{
	if (!c)
		return;
	cache_table_done(&c->inodes);
	cache_table_done(&c->names);
	free(c);
}

void metad_cache_expect(struct metad_cache *c, uint64_t n)
{
	if (n < c->inodes.n)
		return;
	cache_table_expect(&c->inodes);
	cache_table_expect(&c->names);
}

/* --- Inodes ---------------------------------------------------------------------------------- */

static struct cache_set *inode_set(struct metad_cache *c, uint64_t ino, uint16_t *ret_tag)
{
	*ret_tag = cache_tag((ino * 0x9e3779b97f4a7c15ull) >> 48);
	return &c->inodes.sets[ino % c->inodes.n];
}

/* Where most of them are: in one cache line. */
static unsigned inode_home(const struct metad_cache *c, uint64_t ino)
{
	return (unsigned)(ino / c->inodes.n % (CACHE_CELLS / NARROW_CELLS)) * NARROW_CELLS + 1;
}

/* Most of an inode; what has other times needs them, and the rest is only in the wide form. */
static struct narrow_inode pack(const struct metad_inode *n)
{
	return (struct narrow_inode){
		.ino = n->ino % LIMIT_48,
		.mode = (uint16_t)n->mode,
		.size = n->size % LIMIT_48,
		.nlink = (uint8_t)n->nlink,
		.generation = (uint8_t)n->generation,
		.parent = n->parent % LIMIT_48,
		.truncs = (uint8_t)n->truncs,
		.pin = n->pin & 7u,
		.sparse = n->sparse,
		.untouched = n->atime == n->btime,
		.age = ((uint64_t)n->mtime - (uint64_t)n->btime) & (UINT64_MAX >> 8),
		.chunk_shift = (unsigned)__builtin_ffs((int)n->chunk_size) & 63u,
		.mtime = (uint64_t)n->mtime,
		.name_hash = n->name_hash,
		.uid = n->uid,
		.gid = n->gid,
		.seed = n->seed,
		.stripe = n->stripe,
		.times = { n->atime, n->ctime, n->btime },
	};
}

static void unpack(const struct narrow_inode *e, bool with_times, struct metad_inode *ret)
{
	int64_t mtime = (int64_t)e->mtime, btime = (int64_t)(e->mtime - e->age);

	*ret = (struct metad_inode){
		.ino = e->ino,
		.generation = e->generation,
		.size = e->size,
		.atime = with_times ? e->times[0] : e->untouched ? btime : mtime,
		.mtime = mtime,
		.ctime = with_times ? e->times[1] : mtime,
		.btime = with_times ? e->times[2] : btime,
		.parent = e->parent,
		.name_hash = e->name_hash,
		.mode = (uint32_t)e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.nlink = (uint32_t)e->nlink,
		.chunk_size = e->chunk_shift ? UINT32_C(1) << (e->chunk_shift - 1) : 0,
		.stripe = e->stripe,
		.seed = e->seed,
		.truncs = (uint32_t)e->truncs,
		.pin = (uint8_t)e->pin,
		.sparse = e->sparse,
	};
}

static bool is_same(const struct metad_inode *a, const struct metad_inode *b)
{
	const size_t size = offsetof(struct metad_inode, sparse) + sizeof a->sparse;

	_Static_assert(offsetof(struct metad_inode, sparse) == 9 * 8 + 8 * 4 + 1, "nothing between the fields");
	return memcmp(a, b, size) == 0;
}

struct cache_near metad_cache_near_inode(struct metad_cache *c, uint64_t ino)
{
	uint16_t tag;
	const struct cache_set *set = inode_set(c, ino, &tag);

	return (struct cache_near){ set->tag, set->cell[inode_home(c, ino)] };
}

/* In the fewest cells that give it back. Returns how many these are. */
static unsigned encode(const struct metad_inode *inode, union entry *ret)
{
	struct metad_inode back;

	ret->narrow = pack(inode);
	unpack(&ret->narrow, false, &back);
	if (is_same(&back, inode))
		return NARROW_CELLS;
	unpack(&ret->narrow, true, &back);
	if (is_same(&back, inode))
		return TIMES_CELLS;
	ret->wide = *inode;
	return WIDE_CELLS;
}

static uint64_t ino_at(const struct cache_set *set, unsigned at)
{
	const union entry *e = (const void *)set->cell[at];

	return cache_set_size(set, at) == WIDE_CELLS ? e->wide.ino : e->narrow.ino;
}

static unsigned find_inode(const struct cache_set *set, uint16_t tag, uint64_t ino, unsigned home)
{
	if (LIKELY(set->tag[home] == tag && ino_at(set, home) == ino))
		return home;
	for (unsigned i = 0; i < CACHE_CELLS; i++)
		if (set->tag[i] == tag && ino_at(set, i) == ino)
			return i;
	return CACHE_CELLS;
}

static struct metad_inode *recent_of(struct metad_cache *c, uint64_t ino)
{
	return &c->recent[ino % N_RECENT];
}

/* It is going to be another one. */
static void forget_recent(struct metad_cache *c, uint64_t ino)
{
	struct metad_inode *recent = recent_of(c, ino);

	if (recent->ino == ino)
		recent->ino = 0;
}

static bool find_and_unpack(struct metad_cache *c, uint64_t ino, struct metad_inode *ret)
{
	uint16_t tag;
	const struct cache_set *set = inode_set(c, ino, &tag);
	unsigned home = inode_home(c, ino), at, n_cells;
	const union entry *e;

	__builtin_prefetch(set->cell[home]);
	at = find_inode(set, tag, ino, home);
	if (at == CACHE_CELLS)
		return false;
	n_cells = cache_set_size(set, at);
	e = (const void *)set->cell[at];
	if (n_cells == WIDE_CELLS)
		*ret = e->wide;
	else
		unpack(&e->narrow, n_cells == TIMES_CELLS, ret);
	return true;
}

bool metad_cache_get_inode(struct metad_cache *c, uint64_t ino, struct metad_inode *ret)
{
	struct metad_inode *recent = recent_of(c, ino);

	if (recent->ino == ino && ino != 0) {
		*ret = *recent;
		return true;
	}
	if (!find_and_unpack(c, ino, ret))
		return false;
	if (S_ISDIR(ret->mode))
		*recent = *ret;
	return true;
}

static bool add_inode(struct metad_cache *c, const struct metad_inode *inode, bool may_evict)
{
	uint16_t tag;
	struct cache_set *set = inode_set(c, inode->ino, &tag);
	unsigned home = inode_home(c, inode->ino), at = find_inode(set, tag, inode->ino, home), n_cells;
	union entry e = { 0 };

	if (at < CACHE_CELLS && !may_evict)
		return true;
	forget_recent(c, inode->ino);
	n_cells = encode(inode, &e);
	if (at < CACHE_CELLS && cache_set_size(set, at) != n_cells) {
		cache_set_clear(set, at);
		at = CACHE_CELLS;
	}
	if (at == CACHE_CELLS)
		at = cache_set_find_room(set, n_cells, home);
	if (at == CACHE_CELLS && !may_evict)
		return false;
	if (at == CACHE_CELLS)
		at = cache_set_evict(set, n_cells);
	cache_set_fill(set, at, tag, &e, n_cells);
	return true;
}

void metad_cache_put_inode(struct metad_cache *c, const struct metad_inode *inode)
{
	add_inode(c, inode, true);
}

bool metad_cache_offer_inode(struct metad_cache *c, const struct metad_inode *inode)
{
	return add_inode(c, inode, false);
}

void metad_cache_del_inode(struct metad_cache *c, uint64_t ino)
{
	uint16_t tag;
	struct cache_set *set = inode_set(c, ino, &tag);
	unsigned at = find_inode(set, tag, ino, inode_home(c, ino));

	forget_recent(c, ino);
	if (at < CACHE_CELLS)
		cache_set_clear(set, at);
}

/* --- Names ----------------------------------------------------------------------------------- */

static struct cache_set *name_set(struct metad_cache *c, uint64_t hash, uint16_t *ret_tag)
{
	*ret_tag = cache_tag(hash);
	return &c->names.sets[(uint64_t)(((__uint128_t)(hash << 2) * c->names.n) >> 64)];
}

static unsigned name_home(uint64_t hash)
{
	return (unsigned)(hash >> 16) % CACHE_CELLS;
}

static bool is_name(const struct cache_set *set, unsigned at, uint16_t tag, uint64_t parent, struct ff3_str name)
{
	const struct name_entry *e = (const void *)set->cell[at];

	return set->tag[at] == tag && e->parent == parent && e->len == name.len &&
	       memcmp(e->name, name.p, name.len) == 0;
}

static unsigned find_name(const struct cache_set *set, uint16_t tag, uint64_t parent, struct ff3_str name,
			  unsigned home)
{
	if (LIKELY(is_name(set, home, tag, parent, name)))
		return home;
	for (unsigned i = 0; i < CACHE_CELLS; i++)
		if (is_name(set, i, tag, parent, name))
			return i;
	return CACHE_CELLS;
}

struct cache_near metad_cache_near_name(struct metad_cache *c, uint64_t hash)
{
	uint16_t tag;
	const struct cache_set *set = name_set(c, hash, &tag);

	return (struct cache_near){ set->tag, set->cell[name_home(hash)] };
}

bool metad_cache_get_name(struct metad_cache *c, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t *ret_ino, uint32_t *ret_type)
{
	uint16_t tag;
	struct cache_set *set = name_set(c, hash, &tag);
	unsigned home = name_home(hash), at;
	const struct name_entry *e;

	__builtin_prefetch(set->cell[home]);
	at = find_name(set, tag, parent, name, home);
	if (at == CACHE_CELLS)
		return false;
	e = (const void *)set->cell[at];
	*ret_ino = e->ino;
	*ret_type = (uint32_t)e->type;
	return true;
}

static bool add_name(struct metad_cache *c, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
		     uint32_t type, bool may_evict)
{
	uint16_t tag;
	struct cache_set *set = name_set(c, hash, &tag);
	unsigned at = find_name(set, tag, parent, name, name_home(hash)), n_cells;
	union {
		struct name_entry e;
		uint8_t cells[NAME_CELLS_MAX * CACHE_CELL];
	} u;

	if (at < CACHE_CELLS && !may_evict)
		return true;
	if (name.len > FF3_NAME_MAX || parent >= LIMIT_48 || ino >= LIMIT_48) {
		if (at < CACHE_CELLS)
			cache_set_clear(set, at);
		set->lost = true;
		return false;
	}
	n_cells = (unsigned)((sizeof u.e + name.len + CACHE_CELL - 1) / CACHE_CELL);
	if (at == CACHE_CELLS)
		at = cache_set_find_room(set, n_cells, name_home(hash));
	set->lost |= at == CACHE_CELLS;
	if (at == CACHE_CELLS && !may_evict)
		return false;
	if (at == CACHE_CELLS)
		at = cache_set_evict(set, n_cells);
	memset(u.cells, 0, (size_t)n_cells * CACHE_CELL);
	u.e = (struct name_entry){ .parent = parent, .type = (uint16_t)type, .ino = ino, .len = (uint16_t)name.len };
	memcpy(u.e.name, name.p, name.len);
	cache_set_fill(set, at, tag, &u, n_cells);
	return true;
}

void metad_cache_put_name(struct metad_cache *c, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
			  uint32_t type)
{
	add_name(c, parent, hash, name, ino, type, true);
}

void metad_cache_del_name(struct metad_cache *c, uint64_t parent, uint64_t hash, struct ff3_str name)
{
	uint16_t tag;
	struct cache_set *set = name_set(c, hash, &tag);
	unsigned at = find_name(set, tag, parent, name, name_home(hash));

	if (at < CACHE_CELLS)
		cache_set_clear(set, at);
}

void metad_cache_lose_name(struct metad_cache *c, uint64_t hash)
{
	uint16_t tag;

	name_set(c, hash, &tag)->lost = true;
}

bool metad_cache_keeps_name(struct metad_cache *c, uint64_t hash)
{
	uint16_t tag;

	return !name_set(c, hash, &tag)->lost;
}

bool metad_cache_offer_name(struct metad_cache *c, uint64_t parent, uint64_t hash, struct ff3_str name, uint64_t ino,
			    uint32_t type)
{
	return add_name(c, parent, hash, name, ino, type, false);
}
