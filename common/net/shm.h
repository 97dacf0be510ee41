/* Memory that a client and a daemon on one host share for one connection: how it is laid out, and the
 * rings in it. Used by both sides (rpc_shm.c, server_shm.c).
 *
 *   page 0         struct ff3_shm_page: the counters of both rings
 *   ring up        requests, client to daemon
 *   ring down      replies, daemon to client
 *   at 2 MiB:
 *   data           4 KiB pages given out by the client: where payloads of requests lie, and where the daemon
 *                  may put those of replies
 *
 * A ring carries the byte stream that a socket would carry (wire.h), so frames may be of any length,
 * and payloads that got no place go by it. Its producer alone writes head and the bytes before it,
 * its consumer alone writes tail. Each side keeps its own position in its own memory and believes
 * of the other's only what is possible; what the daemon reads here it copies before it looks.
 *
 * Sleeping: who finds nothing sets consumer_sleeps (or, finding no room, producer_waits), looks once
 * more and then waits on the socket. Who has made a change and finds the flag set clears it and
 * sends one byte. Between writing the one and reading the other there is a full fence on both
 * sides, so that one of them always sees the other.
 *
 * Threads: an end of a ring belongs to whoever holds its side's lock, or its loop. */
#pragma once

#include <stdatomic.h>

#include "../base/base.h"

#define FF3_SHM_RING (256u * 1024u)
#define FF3_SHM_DATA (32u * 1024u * 1024u)
#define FF3_SHM_PAGE 4096u
/* The kernel's large pages on x86-64 and arm64. The data area begins with one. */
#define FF3_SHM_HUGE (2u * 1024u * 1024u)
#define FF3_SHM_N_HUGE (FF3_SHM_DATA / FF3_SHM_HUGE)
#define FF3_SHM_SIZE (FF3_SHM_HUGE + FF3_SHM_DATA)
/* What is written at a time: the other side can begin with it. */
#define FF3_SHM_PIECE (64u * 1024u)
/* In front of a body in these rings: of a request, where its answer may be put (page, pages), and where its
 * payload lies if it is also marked by FF3_FRAME_PLACED; of a reply, where in there it was put (offset,
 * 0). Marked by FF3_FRAME_PLACE. */
#define FF3_SHM_PLACE 8u
/* Payloads of requests from this size on are given a place, so that frames are small: a client that does not
 * wait sends a frame only if there is room for all of it. */
#define FF3_SHM_BY_PLACE 8192u

struct ff3_shm_ctl {
	_Alignas(64) _Atomic uint64_t head; /* bytes produced */
	_Alignas(64) _Atomic uint64_t tail; /* bytes consumed */
	_Alignas(64) _Atomic uint32_t consumer_sleeps;
	_Alignas(64) _Atomic uint32_t producer_waits;
};

struct ff3_shm_page {
	struct ff3_shm_ctl up, down;
	/* Where each last ran, plus 1: who shares a core with the other does not wait awake. */
	_Alignas(64) _Atomic uint32_t daemon_cpu;
	_Alignas(64) _Atomic uint32_t client_cpu;
};

/* One side's end of a ring. */
struct ff3_shm_end {
	struct ff3_shm_ctl *ctl;
	uint8_t *bytes;
	uint64_t pos;	 /* ours: head of a producer, tail of a consumer */
};

/* Bytes to be consumed; -EBADMSG: the other side writes nonsense. */
static inline ssize_t ff3_shm_filled(const struct ff3_shm_end *e)
{
	uint64_t n = atomic_load_explicit(&e->ctl->head, memory_order_acquire) - e->pos;

	return n <= FF3_SHM_RING ? (ssize_t)n : -EBADMSG;
}

/* Bytes that may be produced. -EBADMSG. */
static inline ssize_t ff3_shm_room(const struct ff3_shm_end *e)
{
	uint64_t n = e->pos - atomic_load_explicit(&e->ctl->tail, memory_order_acquire);

	return n <= FF3_SHM_RING ? (ssize_t)(FF3_SHM_RING - n) : -EBADMSG;
}

/* Copies len bytes in, for which there is room. */
static inline void ff3_shm_put(struct ff3_shm_end *e, const void *from, size_t len)
{
	size_t at = (size_t)(e->pos % FF3_SHM_RING), part = MIN(len, FF3_SHM_RING - at);

	memcpy(e->bytes + at, from, part);
	if (part < len)
		memcpy(e->bytes, (const char *)from + part, len - part);
	e->pos += len;
}

/* Copies len bytes out, which are there. */
static inline void ff3_shm_get(struct ff3_shm_end *e, void *to, size_t len)
{
	size_t at = (size_t)(e->pos % FF3_SHM_RING), part = MIN(len, FF3_SHM_RING - at);

	memcpy(to, e->bytes + at, part);
	if (part < len)
		memcpy((char *)to + part, e->bytes, len - part);
	e->pos += len;
}

/* The other side sees what was put. True: it sleeps and must be told. */
static inline bool ff3_shm_produced(struct ff3_shm_end *e)
{
	atomic_store_explicit(&e->ctl->head, e->pos, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&e->ctl->consumer_sleeps, memory_order_relaxed) &&
	       atomic_exchange_explicit(&e->ctl->consumer_sleeps, 0, memory_order_relaxed);
}

/* The other side may use the room of what was got. True: it waits and must be told. */
static inline bool ff3_shm_consumed(struct ff3_shm_end *e)
{
	atomic_store_explicit(&e->ctl->tail, e->pos, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&e->ctl->producer_waits, memory_order_relaxed) &&
	       atomic_exchange_explicit(&e->ctl->producer_waits, 0, memory_order_relaxed);
}

/* Asks to be told; look once more afterwards. */
static inline void ff3_shm_ask(_Atomic uint32_t *flag)
{
	atomic_store_explicit(flag, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

static inline void ff3_shm_unask(_Atomic uint32_t *flag)
{
	if (atomic_load_explicit(flag, memory_order_relaxed))
		atomic_store_explicit(flag, 0, memory_order_relaxed);
}

static inline uint8_t *ff3_shm_ring_up(void *map)
{
	return (uint8_t *)map + FF3_SHM_PAGE;
}

static inline uint8_t *ff3_shm_ring_down(void *map)
{
	return (uint8_t *)map + FF3_SHM_PAGE + FF3_SHM_RING;
}

static inline uint8_t *ff3_shm_data(void *map)
{
	return (uint8_t *)map + FF3_SHM_HUGE;
}

/* Maps such memory, of FF3_SHM_SIZE bytes, so that it may have large pages. Unmapped with munmap. -errno. */
int ff3_shm_map(int fd, void **ret);
/* Makes the data area's pages [page, page + n) parts of large ones, each of which is tried once. Any threads. */
void ff3_shm_make_huge(void *map, atomic_bool tried[FF3_SHM_N_HUGE], uint32_t page, uint32_t n);
