/* Small objects that come and go all the time, and hash tables of them (uthash), which come with their first entry
 * and go with the last one. */
#pragma once

#include "base.h"

/* malloc, and not what the compiler makes of it where zeros are written behind it: glibc's calloc passes by what the
 * thread has freed lately, and takes five times as long. */
static inline void *ff3_malloc(size_t size)
{
	void *p = malloc(size);

	__asm__("" : "+r"(p));
	return p;
}

/* All zero. */
static inline void *ff3_zalloc(size_t size)
{
	void *p = ff3_malloc(size);

	return p ? memset(p, 0, size) : NULL;
}

#define uthash_malloc(size) ff3_malloc(size)
#include <uthash.h>
