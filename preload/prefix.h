/* Which paths are ours. Lexical: nothing here makes a system call, allocates or locks, except
 * where a relative path that could lead into a prefix is completed from the kernel's cwd.
 *
 * Threads: the table is written once, in the constructor, and read-only after that. */
#pragma once

#include "../common/base/base.h"

#include <limits.h>

#define PREFIX_MAX 16

enum prefix_kind {
	PREFIX_OUTSIDE,  /* not ours */
	PREFIX_INSIDE,   /* ours; rest is the path below the prefix */
	PREFIX_RELATIVE, /* relative, and could lead into a prefix from some directories */
	PREFIX_SPECIAL,  /* below /dev or /proc: may name a descriptor */
	PREFIX_FAULT,    /* unreadable memory, or too long: the kernel says so */
};

/* Takes a colon-separated list; entries that are not absolute, or are "/", are left out.
 * Returns how many prefixes there are. */
int prefix_set(const char *list);
int prefix_count(void);
/* The text of a prefix, without a trailing slash. */
const char *prefix_text(int index);

/* ret_rest points into path, or is "". ret_index: which prefix. */
enum prefix_kind prefix_classify(const char *path, const char **ret_rest, int *ret_index);
/* Joins base and path, resolves "." and ".." by text alone and writes the result to out.
 * -ENAMETOOLONG. */
int prefix_normalize(const char *base, const char *path, char out[PATH_MAX]);
/* prefix_classify for an already normalized absolute path: PREFIX_INSIDE or PREFIX_OUTSIDE. */
enum prefix_kind prefix_classify_normal(const char *path, const char **ret_rest, int *ret_index);

/* Can the byte at p be read? Faults never. */
bool memory_readable(const void *p);
/* Forget which pages were readable: after munmap and mprotect. */
void memory_forget(void);
/* The string at s can be read to its end (or PATH_MAX bytes of it). */
bool string_readable(const char *s);
/* Copies that return false where a plain memcpy would fault. */
bool memory_copy_out(void *to_user, const void *from, size_t n);
bool memory_copy_in(void *to, const void *from_user, size_t n);
