/* Purpose: POSIX aio. Requests on native descriptors are libc's; those on our files run on the engine
 * (posix_aio.c). Lists of lio_listio and aio_suspend may hold both.
 *
 * Bad aiocbs crash, as in libc; bad buffers give EFAULT. aio_error and aio_return are libc's own: they look
 * into the aiocb, which is kept as libc keeps it. */
#include "hook.h"

#include <signal.h>

#include "posix_aio.h"
#include "raw.h"

#define NSEC_PER_SEC 1000000000ll
#define PRIORITY_MAX 20 /* AIO_PRIO_DELTA_MAX */

static int under_way(const struct aiocb *cb)
{
	return __atomic_load_n(&cb->__error_code, __ATOMIC_ACQUIRE) == EINPROGRESS;
}

/* --- One request --------------------------------------------------------------------------- */

/* 1, and a reference, if it is on one of our files. */
static int is_ours(const struct aiocb *cb, struct ofd **ret)
{
	int r = fdtab_get(cb->aio_fildes, ret);

	return r > 0 && init_is_vfork_child() ? 0 : r;
}

/* Takes o over. */
static int start(struct aiocb *cb, int opcode, struct ofd *o, struct lio_group *group)
{
	enum async_kind kind = opcode == LIO_READ  ? ASYNC_READ :
			       opcode == LIO_WRITE ? ASYNC_WRITE :
						     ASYNC_FSYNC;

	if (kind != ASYNC_FSYNC && (cb->aio_reqprio < 0 || cb->aio_reqprio > PRIORITY_MAX)) {
		cb->__error_code = EINVAL;
		cb->__return_value = -1;
		ofd_unref(o);
		return -EINVAL;
	}
	return posix_aio_start(cb, kind, o, group);
}

int hook_aio_read(struct aiocb *cb)
{
	struct ofd *o;
	int ours = is_ours(cb, &o);

	if (LIKELY(ours == 0))
		return REAL(aio_read)(cb);
	return (int)hook_result(ours < 0 ? ours : start(cb, LIO_READ, o, NULL));
}

int hook_aio_write(struct aiocb *cb)
{
	struct ofd *o;
	int ours = is_ours(cb, &o);

	if (LIKELY(ours == 0))
		return REAL(aio_write)(cb);
	return (int)hook_result(ours < 0 ? ours : start(cb, LIO_WRITE, o, NULL));
}

int hook_aio_fsync(int how, struct aiocb *cb)
{
	struct ofd *o;
	int ours;

	if (how != O_SYNC && how != O_DSYNC)
		return (int)hook_result(-EINVAL);
	ours = is_ours(cb, &o);
	if (LIKELY(ours == 0))
		return REAL(aio_fsync)(how, cb);
	return (int)hook_result(ours < 0 ? ours : start(cb, how, o, NULL));
}

int hook_aio_cancel(int fd, struct aiocb *cb)
{
	if (!fdtab_is_ours(fd))
		return REAL(aio_cancel)(fd, cb);
	if (cb && cb->aio_fildes != fd)
		return (int)hook_result(-EINVAL);
	return posix_aio_cancel(fd, cb);
}

/* --- aio_suspend --------------------------------------------------------------------------- */

static int64_t until(const struct timespec *timeout)
{
	struct timespec now;

	if (!timeout || timeout->tv_sec >= INT64_MAX / NSEC_PER_SEC / 2)
		return INT64_MAX;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec + timeout->tv_sec) * NSEC_PER_SEC + now.tv_nsec + timeout->tv_nsec;
}

/* 1: one has ended; 0: all are under way or there are none; *ret: how many are ours, how many not. */
static int look(const struct aiocb *const *list, int n, int *ret_ours, int *ret_native)
{
	*ret_ours = *ret_native = 0;
	for (int i = 0; i < n; i++) {
		if (!list[i])
			continue;
		if (!under_way(list[i]))
			return 1;
		if (posix_aio_knows(list[i]))
			++*ret_ours;
		else
			++*ret_native;
	}
	return 0;
}

/* Sleeps in libc's aio_suspend, with a request of our own that ends when one on our files does. */
static int suspend_both(const struct aiocb *const *list, int n, const struct timespec *timeout)
{
	const struct aiocb **both = malloc(((size_t)n + 1) * sizeof *both);
	uint64_t value = 1;
	struct aiocb ring = { .aio_buf = &value, .aio_nbytes = sizeof value };
	const struct aiocb *only[1] = { &ring };
	struct posix_aio_bell bell;
	int r = both ? posix_aio_bell_add(&bell) : -EAGAIN, ours, native;

	if (r < 0) {
		free(both);
		return r;
	}
	memcpy(both, list, (size_t)n * sizeof *both);
	for (int i = 0; i < n; i++)
		if (both[i] && posix_aio_knows(both[i]))
			both[i] = NULL;
	both[n] = &ring;
	ring.aio_fildes = bell.fd;
	ring.aio_sigevent.sigev_notify = SIGEV_NONE;
	r = REAL(aio_read)(&ring) < 0 ? -errno : 0;
	if (r == 0) {
		/* What ended before the bell was there did not ring it. */
		if (!look(list, n, &ours, &native) && REAL(aio_suspend)(both, n + 1, timeout) < 0)
			r = -errno;
		value = 1;
		RAW(write, bell.fd, &value, sizeof value);
		while (REAL(aio_suspend)(only, 1, NULL) < 0 && under_way(&ring))
			;
	}
	posix_aio_bell_remove(&bell);
	free(both);
	return r;
}

static int suspend(const struct aiocb *const *list, int n, const struct timespec *timeout)
{
	int64_t end = until(timeout);
	int ours, native, r = 0;

	for (;;) {
		uint32_t seen = posix_aio_turn();

		if (look(list, n, &ours, &native) || ours + native == 0)
			return 0;
		if (native > 0 && ours > 0)
			return suspend_both(list, n, timeout);
		if (r < 0)
			return r == -ETIMEDOUT ? -EAGAIN : r;
		r = posix_aio_wait(seen, end);
	}
}

int hook_aio_suspend(const struct aiocb *const list[], int n, const struct timespec *timeout)
{
	int ours, native;

	if (LIKELY(!posix_aio_any()) || n < 0 || look(list, n, &ours, &native) || ours == 0)
		return REAL(aio_suspend)(list, n, timeout);
	return (int)hook_result(suspend(list, n, timeout));
}

/* --- lio_listio ---------------------------------------------------------------------------- */

static bool counts(const struct aiocb *cb)
{
	return cb && cb->aio_lio_opcode != LIO_NOP;
}

static void native_list_done(union sigval value)
{
	posix_aio_group_less(value.sival_ptr);
}

/* The native ones of list, as a list of libc's. With a group: it is told when they are done. */
static int start_native(int mode, struct aiocb *const *native, int n, struct lio_group *group)
{
	struct sigevent done = { .sigev_notify = SIGEV_THREAD,
				 .sigev_value.sival_ptr = group,
				 .sigev_notify_function = native_list_done };

	if (n == 0)
		return 0;
	if (group)
		atomic_fetch_add(&group->left, 1);
	return REAL(lio_listio)(mode, native, n, group ? &done : NULL) < 0 ? -errno : 0;
}

/* Puts the native ones into native and starts the others. How many are native; *ret_error: what could
 * not be started. */
static int start_ours(struct aiocb *const *list, int n, struct aiocb **native,
		      struct lio_group *group, int *ret_error)
{
	int n_native = 0;

	for (int i = 0; i < n; i++) {
		struct ofd *o = NULL;
		int r;

		if (!counts(list[i]))
			continue;
		r = is_ours(list[i], &o);
		if (r == 0) {
			native[n_native++] = list[i];
			continue;
		}
		if (group)
			atomic_fetch_add(&group->left, 1);
		if (r > 0 && list[i]->aio_lio_opcode != LIO_READ &&
		    list[i]->aio_lio_opcode != LIO_WRITE) {
			list[i]->__error_code = EINVAL; /* libc says so later; nobody can tell */
			list[i]->__return_value = -1;
			ofd_unref(o);
			posix_aio_group_less(group);
			continue;
		}
		r = r < 0 ? r : start(list[i], list[i]->aio_lio_opcode, o, group);
		if (r < 0) {
			*ret_error = r;
			posix_aio_group_less(group);
		}
	}
	return n_native;
}

/* Until all of list are done. -EIO if one failed. */
static int wait_for_all(struct aiocb *const *list, int n)
{
	int r = 0, failed = 0;

	for (int i = 0; i < n && r == 0; i++) {
		if (!counts(list[i]))
			continue;
		for (;;) {
			uint32_t seen = posix_aio_turn();

			if (!under_way(list[i]))
				break;
			r = posix_aio_wait(seen, INT64_MAX);
			if (r < 0)
				return r;
		}
		failed |= list[i]->__error_code;
	}
	return failed ? -EIO : 0;
}

static int list_ours(int mode, struct aiocb *const *list, int n, const struct sigevent *sig)
{
	struct aiocb **native = malloc((size_t)n * sizeof *native);
	struct lio_group *group = NULL;
	int n_native, r, error = 0;

	if (mode == LIO_NOWAIT && sig)
		group = malloc(sizeof *group);
	if (!native || (mode == LIO_NOWAIT && sig && !group)) {
		free(native);
		return -EAGAIN;
	}
	if (group)
		*group = (struct lio_group){ .left = 1, .sig = *sig };
	n_native = start_ours(list, n, native, group, &error);
	r = start_native(mode, native, n_native, group);
	posix_aio_group_less(group);
	free(native);
	if (r == 0 && mode == LIO_WAIT)
		r = wait_for_all(list, n);
	return error ? error : r;
}

int hook_lio_listio(int mode, struct aiocb *const list[], int n, struct sigevent *sig)
{
	struct ofd *o = NULL;
	int ours = 0;

	for (int i = 0; i < n && ours == 0 && init_active(); i++)
		if (counts(list[i]))
			ours = is_ours(list[i], &o);
	if (o)
		ofd_unref(o);
	if (LIKELY(ours == 0) || (mode != LIO_WAIT && mode != LIO_NOWAIT))
		return REAL(lio_listio)(mode, list, n, sig);
	return (int)hook_result(list_ours(mode, list, n, sig));
}

DEFINE_ALIASES(posix_aio)
