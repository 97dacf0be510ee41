/* A bounded cache of inodes and names in front of the database. */
#pragma once

#include "inode.h"

struct metad_cache;

/* bytes: all the memory it may take. */
int metad_cache_new(uint64_t bytes, struct metad_cache **ret);
void metad_cache_free(struct metad_cache *cache);

const struct metad_inode *metad_cache_get_inode(struct metad_cache *cache, uint64_t ino);
void metad_cache_put_inode(struct metad_cache *cache, const struct metad_inode *inode);
void metad_cache_del_inode(struct metad_cache *cache, uint64_t ino);

/* true: known. *ret_ino 0: known not to exist. */
bool metad_cache_get_name(struct metad_cache *cache, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t *ret_ino, uint32_t *ret_type);
/* ino 0: it does not exist. */
void metad_cache_put_name(struct metad_cache *cache, uint64_t parent, uint64_t hash,
			  struct ff3_str name, uint64_t ino, uint32_t type);
