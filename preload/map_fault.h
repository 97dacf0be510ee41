/* Between map_fault.c, map_evict.c and map_refuse.c. */
#pragma once

#include "map.h"

/* Can stores into loaded pages be noticed? */
bool map_fault_protects(void);
void map_fault_protect(uintptr_t addr, size_t len, bool protect);
/* Can the kernel make pages that nobody can touch? */
bool map_fault_has_poison(void);
/* Maps all of r where it was, with nothing of it loaded. Else none of it may be touched. */
bool map_fault_map_anew(const struct map_region *r);
static inline uint64_t map_region_id(const struct map_region *r)
{
	return r->object ? r->object->id : r->private->id;
}

/* The page, of a region of this id, cannot be had: who waits for it (thread tid) is to be woken, and is told. */
void map_refuse(int uffd, uintptr_t page, uint64_t id, int tid);
/* Takes away what was refused a while ago. In how many milliseconds again; -1: there is no more. */
int map_refuse_clear(void);
/* Meanwhile pages of private mappings may be put in. */
void map_refuse_hold(void);
void map_refuse_let_go(void);
/* After userfaultfd is open. */
void map_refuse_start(void);
/* In a child, that has one of its own. */
void map_refuse_after_fork(void);

/* Pages of a private mapping that were stored to. Under map_lock. */
bool map_private_is_dirty(const struct map_private *p, off_t at);
void map_private_set_dirty(struct map_private *p, off_t at, size_t n, bool dirty);
/* The first store: children inherit the mapping from now on. */
void map_private_inherit(struct map_private *p);

/* n bytes will be loaded: others go if that makes too many. */
void map_evict_make_room(size_t n);
/* n bytes of the file at offset have been loaded, where there was made room for. */
void map_evict_loaded(uint64_t id, off_t offset, size_t n, size_t room);
void map_evict_forget(void);
bool map_evict_is_under_way(uint64_t id, off_t at);
