/* A bounded cache of inodes and names in front of the database. */
#pragma once

#include "cache_set.h"
#include "inode.h"

struct metad_cache;

/* What one inode and its name take of it, most of them: names of 16 bytes, and inodes that nobody has changed
 * but by writing. */
#define METAD_CACHE_BYTES 128u

/* bytes: all the memory it may take. */
int metad_cache_new(uint64_t bytes, struct metad_cache **ret);
void metad_cache_free(struct metad_cache *cache);
/* So many inodes are going to be in it. */
void metad_cache_expect(struct metad_cache *cache, uint64_t n);

bool metad_cache_get_inode(struct metad_cache *cache, uint64_t ino, struct metad_inode *ret);
void metad_cache_put_inode(struct metad_cache *cache, const struct metad_inode *inode);
void metad_cache_del_inode(struct metad_cache *cache, uint64_t ino);

/* Where it is, if it is there; a name of this hash. */
struct cache_near metad_cache_near_inode(struct metad_cache *cache, uint64_t ino);
struct cache_near metad_cache_near_name(struct metad_cache *cache, uint64_t hash);
/* true: known. *ret_ino 0: known not to exist. */
bool metad_cache_get_name(struct metad_cache *cache, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t *ret_ino, uint32_t *ret_type);
/* ino 0: it does not exist. */
void metad_cache_put_name(struct metad_cache *cache, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t ino, uint32_t type);
void metad_cache_del_name(struct metad_cache *cache, uint64_t parent, uint64_t hash, struct ff3_str name);
/* No name of this hash has had to go, or found no room, or was lost: all that were put or offered are there. */
bool metad_cache_keeps_name(struct metad_cache *cache, uint64_t hash);
void metad_cache_lose_name(struct metad_cache *cache, uint64_t hash);

/* The same, if nothing has to go for it. false: there is no room. */
bool metad_cache_offer_inode(struct metad_cache *cache, const struct metad_inode *inode);
bool metad_cache_offer_name(struct metad_cache *cache, uint64_t parent, uint64_t hash,
			    struct ff3_str name, uint64_t ino, uint32_t type);
