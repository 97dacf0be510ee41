/* Between map_fault.c and map_evict.c. */
#pragma once

#include "map.h"

/* Can stores into loaded pages be noticed? */
bool map_fault_protects(void);
void map_fault_protect(uintptr_t addr, size_t len, bool protect);

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
