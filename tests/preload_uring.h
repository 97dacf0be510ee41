/* What the programs tests/preload_uring*.c share: a ring made and driven through liburing or by system
 * calls, and lines of results that are the same on any file system. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern int raw; /* by syscall(2) instead of liburing */

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno));                \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

void ring_open(struct io_uring *ring, unsigned entries, struct io_uring_params *p);
/* Why none can be made, or 0. */
int ring_errno(void);
void ring_flags(struct io_uring *ring, unsigned entries, unsigned flags);
void ring_close(struct io_uring *ring);
/* Submits all; waits for n. The result of the submission. */
int ring_submit(struct io_uring *ring, unsigned n);

/* The next entry, with this user_data (which it keeps through io_uring_prep_*: set it after). */
struct io_uring_sqe *sqe_get(struct io_uring *ring);
#define SQE(ring, id, more_flags, prep, ...)                                                       \
	({                                                                                         \
		struct io_uring_sqe *_s = sqe_get(ring);                                           \
		io_uring_prep_##prep(_s, ##__VA_ARGS__);                                           \
		_s->user_data = (id);                                                              \
		_s->flags |= (more_flags);                                                         \
		_s;                                                                                \
	})

/* Waits for n completions and prints them, by user_data: "what: 1=5 2=-EBADF". */
void results(struct io_uring *ring, const char *what, unsigned n);
/* The same for one, which it returns instead. */
int result(struct io_uring *ring);
const char *errno_name(int r);

void by_name(void);
void fields(void);
void links(void);
void many(void);
void polled(void);
