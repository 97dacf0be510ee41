/* Where chunk bytes lie on disk: slots of power-of-two sizes in slab files (slab.c). A place names
 * a slot for good: class << 40 | number, 0 for none; class is the slot size's power of two.
 *
 * Threads: the store's thread. */
#pragma once

#include "io.h"

#define CHUNKD_CLASS_MIN 12u
#define CHUNKD_CLASS_MAX 24u

struct chunkd_slabs;

static inline uint64_t chunkd_place(uint8_t class, uint32_t slot)
{
	return (uint64_t)class << 40 | slot;
}

static inline uint8_t chunkd_place_class(uint64_t place)
{
	return (uint8_t)(place >> 40);
}

static inline uint32_t chunkd_place_slot(uint64_t place)
{
	return (uint32_t)place;
}

struct chunkd_slabs_options {
	const char *dir;
	int dir_fd;
	struct chunkd_io *io;
	uint64_t capacity; /* 0: what the file system has */
	uint64_t margin;   /* bytes of the file system that slabs never take: index, ballast */
	/* Slots came or growing failed: those that got -EAGAIN try again. */
	void (*grown)(void *arg);
	void *arg;
};

/* Opens the slabs of a directory, all slots free. */
int chunkd_slabs_open(const struct chunkd_slabs_options *options, struct chunkd_slabs **ret);
/* Nothing may be under way. Accepts NULL. */
void chunkd_slabs_free(struct chunkd_slabs *s);

/* Recovery: place holds a chunk. -ERANGE: there is no such slot; -EEXIST: somebody has it. */
int chunkd_slabs_mark(struct chunkd_slabs *s, uint64_t place);

/* Promises a slot of class for a later take. may_fill: also from the last 5 % of the capacity,
 * which only chunks that exist already may use. -EAGAIN: space is being made, try again when
 * told; -ENOSPC. */
int chunkd_slabs_reserve(struct chunkd_slabs *s, uint8_t class, bool may_fill);
void chunkd_slabs_unreserve(struct chunkd_slabs *s, uint8_t class);
/* Turns a promise into a slot. */
uint64_t chunkd_slabs_take(struct chunkd_slabs *s, uint8_t class);
void chunkd_slabs_release(struct chunkd_slabs *s, uint64_t place);

int chunkd_slabs_fd(const struct chunkd_slabs *s, uint64_t place);
uint64_t chunkd_slabs_offset(uint64_t place);

/* Writes zeros to some free slots that were never written (at most 1 MiB, or one slot), so that
 * writing them later needs no conversion of unwritten extents, which an fdatasync would have to
 * wait for. False: there is nothing to do. For idle times; one at a time. */
bool chunkd_slabs_prewrite(struct chunkd_slabs *s);

/* Nothing is growing or being prewritten. */
bool chunkd_slabs_quiet(const struct chunkd_slabs *s);
/* Bytes that may be used, and that are (promised ones included). Capacity 0 in the options: asks
 * the file system each time. */
uint64_t chunkd_slabs_capacity(const struct chunkd_slabs *s);
uint64_t chunkd_slabs_used(const struct chunkd_slabs *s);
struct chunkd_class_usage {
	uint64_t total, used, reserved; /* slots */
};
void chunkd_slabs_usage(const struct chunkd_slabs *s, uint8_t class, struct chunkd_class_usage *ret);
