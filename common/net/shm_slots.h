/* Who has which pages of the data area of a connection over shared memory (shm.h): the client's book.
 *
 * A place is given out with a request and comes back with its reply, also if nobody waits for it any
 * more: until then the daemon may write there. Such a place is remembered under its request's id.
 *
 * Threads: any, for they lock. */
#pragma once

#include <pthread.h>

#include "shm.h"

#define FF3_SLOT_ORPHANS 256u
#define FF3_SLOT_PAGES (FF3_SHM_DATA / FF3_SHM_PAGE)

struct ff3_slot_orphan {
	uint64_t request_id;
	uint32_t page, n;
};

struct ff3_slots {
	pthread_mutex_t lock;
	uint64_t busy[FF3_SLOT_PAGES / 64];
	uint32_t first; /* none before it is free */
	struct ff3_slot_orphan orphans[FF3_SLOT_ORPHANS];
	unsigned n_orphans;
};

void ff3_slots_init(struct ff3_slots *s);
/* n pages in a row, the lowest, those before page from only if there are no others. False: there is no such place now. */
bool ff3_slots_take(struct ff3_slots *s, uint32_t n, uint32_t from, uint32_t *ret_page);
void ff3_slots_give(struct ff3_slots *s, uint32_t page, uint32_t n);
/* The reply of request_id will give the place back. Where there are too many, it stays lost to this
 * connection. */
void ff3_slots_orphan(struct ff3_slots *s, uint64_t request_id, uint32_t page, uint32_t n);
/* The reply of a forgotten request has come. */
void ff3_slots_reclaim(struct ff3_slots *s, uint64_t request_id);
