/* What the programs preload-aio consists of share: both ways to call Linux AIO, and requests. */
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char *dir;
extern void *libaio; /* or NULL: by syscall() */

#define DIE(...) (fprintf(stderr, __VA_ARGS__), fprintf(stderr, " (line %d)\n", __LINE__), exit(1))
#define CHECK(c) ((c) ? (void)0 : DIE("failed: %s: %s", #c, strerror(errno)))

void calls(void);
void many(void);
void threads(void);
void ends(void);
void fill_files(int n);
void away(int files, int on_it);

/* --- Both ways to call; results are negative errors ---------------------------------------- */

struct sigset_arg {
	const sigset_t *mask;
	size_t size;
};

#define VIA(name, type, ...)                                                                       \
	(libaio ? (long)((int(*) type)dlsym(RTLD_DEFAULT, #name))(__VA_ARGS__) :                   \
		  negative(syscall(SYS_##name, __VA_ARGS__)))

static inline long negative(long r)
{
	return r < 0 ? -errno : r;
}

static inline long setup(long n, aio_context_t *ctx)
{
	return VIA(io_setup, (int, aio_context_t *), (int)n, ctx);
}

static inline long destroy(aio_context_t ctx)
{
	return VIA(io_destroy, (aio_context_t), ctx);
}

static inline long submit(aio_context_t ctx, long n, struct iocb **list)
{
	return VIA(io_submit, (aio_context_t, long, struct iocb **), ctx, n, list);
}

static inline long cancel(aio_context_t ctx, struct iocb *i, struct io_event *e)
{
	return VIA(io_cancel, (aio_context_t, struct iocb *, struct io_event *), ctx, i, e);
}

static inline long getevents(aio_context_t ctx, long min, long max, struct io_event *e,
		      struct timespec *timeout)
{
	return VIA(io_getevents,
		   (aio_context_t, long, long, struct io_event *, struct timespec *), ctx, min, max, e,
		   timeout);
}

static inline long pgetevents(aio_context_t ctx, long min, long max, struct io_event *e,
		       struct timespec *timeout, const sigset_t *mask)
{
	struct sigset_arg arg = { mask, 8 };

	if (libaio)
		return ((int (*)(aio_context_t, long, long, struct io_event *, struct timespec *,
				 const sigset_t *))dlsym(RTLD_DEFAULT, "io_pgetevents"))(
			ctx, min, max, e, timeout, mask);
	return negative(syscall(SYS_io_pgetevents, ctx, min, max, e, timeout, &arg));
}

/* --- Requests ------------------------------------------------------------------------------ */

#ifndef N
#define N 64
#endif
static struct iocb iocbs[N], *list[N];
static struct io_event events[N];

static inline struct iocb *request(int k, int op, int fd, void *buf, size_t n, off_t offset)
{
	iocbs[k] = (struct iocb){ .aio_data = (uint64_t)k + 1,
				  .aio_lio_opcode = (uint16_t)op,
				  .aio_fildes = (uint32_t)fd,
				  .aio_buf = (uint64_t)(uintptr_t)buf,
				  .aio_nbytes = n,
				  .aio_offset = offset };
	list[k] = &iocbs[k];
	return &iocbs[k];
}

static inline const char *path_of(const char *name)
{
	static char buf[8][PATH_MAX];
	static int k;
	char *p = buf[k++ % 8];

	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}

static inline int file(const char *name, int flags)
{
	int fd = open(path_of(name), flags | O_CREAT, 0644);

	CHECK(fd >= 0);
	return fd;
}

