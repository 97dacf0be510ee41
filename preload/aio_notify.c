/* Purpose: eventfds of IOCB_FLAG_RESFD. A request keeps a descriptor of its own, since the
 * application may close its one, or use the number for something else, before the request ends.
 *
 * Threads: counted; `lock` guards the list of all. Fork: a child closes its copies.
 * Signals: not for handlers. */
#include <stdio.h>

#include "aio_ctx.h"
#include "hook.h"
#include "raw.h"

struct aio_notify {
	_Atomic unsigned refs;
	int fd;
	struct aio_notify *prev, *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct aio_notify *all;

static bool is_eventfd(int fd)
{
	char path[32], link[32];
	long n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = RAW(readlinkat, AT_FDCWD, path, link, sizeof link);
	/* Without /proc: a write of the wrong length is refused before it does anything. */
	if (n < 0)
		return RAW(write, fd, "", 1) == -EINVAL;
	return n == 20 && memcmp(link, "anon_inode:[eventfd]", 20) == 0;
}

int aio_notify_new(int fd, struct aio_notify **ret)
{
	int copy = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 0);
	struct aio_notify *n;

	if (copy < 0)
		return copy == -EINVAL ? -EBADF : copy;
	copy = fd_hide(copy);
	n = is_eventfd(copy) ? malloc(sizeof *n) : NULL;
	if (!n) {
		int r = is_eventfd(copy) ? -ENOMEM : -EINVAL;

		fd_unhide(copy);
		return r;
	}
	n->refs = 1;
	n->fd = copy;
	n->prev = NULL;
	pthread_mutex_lock(&lock);
	n->next = all;
	if (all)
		all->prev = n;
	all = n;
	pthread_mutex_unlock(&lock);
	*ret = n;
	return 0;
}

struct aio_notify *aio_notify_ref(struct aio_notify *n)
{
	atomic_fetch_add(&n->refs, 1);
	return n;
}

void aio_notify_unref(struct aio_notify *n)
{
	if (atomic_fetch_sub(&n->refs, 1) > 1)
		return;
	pthread_mutex_lock(&lock);
	if (n->prev)
		n->prev->next = n->next;
	else
		all = n->next;
	if (n->next)
		n->next->prev = n->prev;
	pthread_mutex_unlock(&lock);
	fd_unhide(n->fd);
	free(n);
}

void aio_notify_tell(struct aio_notify *n)
{
	static const uint64_t one = 1;

	RAW(write, n->fd, &one, sizeof one);
}

void aio_notify_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
	for (; all; all = all->next)
		fd_unhide(all->fd);
}
