/* Purpose: inodes and directory entries read before, so that a walk down a hot path touches no
 * B-tree. Exact: db_inode.c and db_dentry.c write every change through it, and a transaction
 * that fails ends the daemon, so that nothing here was never committed.
 *
 * Format: two tables of sets of four entries; a full set replaces its entries in turn. Names
 * longer than an entry holds are not cached. The memory is taken from the kernel as it is touched.
 *
 * Threads: the owner of the database only. */
#include "cache.h"

#include <sys/mman.h>

#define WAYS 4u
#define NAME_ROOM 38u

struct name_entry {
	uint64_t parent; /* 0: free */
	uint64_t hash;
	uint64_t ino;
	uint8_t type;
	uint8_t len;
	char name[NAME_ROOM];
};
_Static_assert(sizeof(struct name_entry) == 64, "one cache line");

struct inode_set {
	struct metad_inode way[WAYS]; /* ino 0: free */
	uint64_t turn;
};

struct name_set {
	struct name_entry way[WAYS];
};

struct metad_cache {
	struct inode_set *inodes;
	struct name_set *names;
	uint64_t n_inodes, n_names; /* sets */
	uint64_t turn;
};

static void *map_zeros(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int metad_cache_new(uint64_t bytes, struct metad_cache **ret)
{
	struct metad_cache *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->n_inodes = MAX(bytes * 2 / 3 / sizeof *c->inodes, 16u);
	c->n_names = MAX(bytes / 3 / sizeof *c->names, 16u);
	c->inodes = map_zeros(c->n_inodes * sizeof *c->inodes);
	c->names = map_zeros(c->n_names * sizeof *c->names);
	if (!c->inodes || !c->names) {
		metad_cache_free(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

void metad_cache_free(struct metad_cache *c)
{
	if (!c)
		return;
	if (c->inodes)
		munmap(c->inodes, c->n_inodes * sizeof *c->inodes);
	if (c->names)
		munmap(c->names, c->n_names * sizeof *c->names);
	free(c);
}

static struct inode_set *inode_set(struct metad_cache *c, uint64_t ino)
{
	return &c->inodes[ino % c->n_inodes]; /* ids count up: neighbours share pages */
}

const struct metad_inode *metad_cache_get_inode(struct metad_cache *c, uint64_t ino)
{
	struct inode_set *set = inode_set(c, ino);

	for (unsigned i = 0; i < WAYS; i++)
		if (set->way[i].ino == ino)
			return &set->way[i];
	return NULL;
}

void metad_cache_put_inode(struct metad_cache *c, const struct metad_inode *inode)
{
	struct inode_set *set = inode_set(c, inode->ino);
	struct metad_inode *slot = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		if (set->way[i].ino == inode->ino) {
			set->way[i] = *inode;
			return;
		}
		if (set->way[i].ino == 0)
			slot = &set->way[i];
	}
	if (!slot)
		slot = &set->way[set->turn++ % WAYS];
	*slot = *inode;
}

void metad_cache_del_inode(struct metad_cache *c, uint64_t ino)
{
	struct inode_set *set = inode_set(c, ino);

	for (unsigned i = 0; i < WAYS; i++)
		if (set->way[i].ino == ino)
			set->way[i].ino = 0;
}

static struct name_set *name_set(struct metad_cache *c, uint64_t hash)
{
	return &c->names[(hash >> 3) % c->n_names];
}

static struct name_entry *find_name(struct name_set *set, uint64_t parent, uint64_t hash,
				    struct ff3_str name)
{
	for (unsigned i = 0; i < WAYS; i++) {
		struct name_entry *e = &set->way[i];

		if (e->parent == parent && e->hash == hash && e->len == name.len &&
		    memcmp(e->name, name.p, name.len) == 0)
			return e;
	}
	return NULL;
}

bool metad_cache_get_name(struct metad_cache *c, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t *ret_ino, uint32_t *ret_type)
{
	const struct name_entry *e;

	if (name.len > NAME_ROOM)
		return false;
	e = find_name(name_set(c, hash), parent, hash, name);
	if (!e)
		return false;
	*ret_ino = e->ino;
	*ret_type = e->type;
	return true;
}

void metad_cache_put_name(struct metad_cache *c, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t ino, uint32_t type)
{
	struct name_set *set = name_set(c, hash);
	struct name_entry *e;

	if (name.len > NAME_ROOM)
		return;
	e = find_name(set, parent, hash, name);
	for (unsigned i = 0; i < WAYS && !e; i++)
		if (set->way[i].parent == 0)
			e = &set->way[i];
	if (!e)
		e = &set->way[c->turn++ % WAYS];
	*e = (struct name_entry){
		.parent = parent,
		.hash = hash,
		.ino = ino,
		.type = (uint8_t)type,
		.len = (uint8_t)name.len,
	};
	memcpy(e->name, name.p, name.len);
}
