/* POSIX aio: what hook_posix_aio.c (the calls) and posix_aio.c (requests under way) share. */
#pragma once

#include <aio.h>

#include "async.h"

/* What is told when all requests of a lio_listio are done. */
struct lio_group {
	_Atomic unsigned left;
	struct sigevent sig;
};

/* Takes o over in any case. kind: ASYNC_READ, ASYNC_WRITE, ASYNC_FSYNC. group, or NULL, is told of the
 * end. 0 or -EAGAIN. */
int posix_aio_start(struct aiocb *cb, enum async_kind kind, struct ofd *o, struct lio_group *group);
/* Is cb under way on one of our files? */
bool posix_aio_knows(const struct aiocb *cb);
/* Any at all? */
bool posix_aio_any(void);
/* AIO_CANCELED, AIO_NOTCANCELED or AIO_ALLDONE for cb, or for all on fd if it is NULL. */
int posix_aio_cancel(int fd, const struct aiocb *cb);
/* One less; the last one tells and frees. */
void posix_aio_group_less(struct lio_group *group);
void posix_aio_notify(const struct sigevent *sig);

/* A number that changes when a request ends, and waiting for that: 0, -EINTR or -ETIMEDOUT. */
uint32_t posix_aio_turn(void);
int posix_aio_wait(uint32_t seen, int64_t until_ns);
/* *fd is written to when a request ends, from now on. -EAGAIN… */
struct posix_aio_bell {
	struct posix_aio_bell *prev, *next;
	int fd;
};
int posix_aio_bell_add(struct posix_aio_bell *bell);
void posix_aio_bell_remove(struct posix_aio_bell *bell);
