/* Purpose: durability of our files, and advice about them.
 *
 * Threads, fork, signals: no state; as the client. */
#include "hook.h"

#include "raw.h"
#include "shared_map.h"

int hook_posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);

	if (LIKELY(ours == 0))
		return REAL(posix_fadvise)(fd, offset, len, advice);
	if (ours < 0)
		return -ours;
	return advice < 0 || advice > POSIX_FADV_NOREUSE || len < 0 ? EINVAL : 0;
}

ssize_t hook_readahead(int fd, off64_t offset, size_t n)
{
	struct ff3fs_attr a;
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);

	if (LIKELY(ours == 0))
		return REAL(readahead)(fd, offset, n);
	if (ours > 0)
		ours = ofd_reads(o) ? stat_ofd(o, &a) : -EBADF;
	if (ours == 0 && !S_ISREG(a.mode))
		ours = -EINVAL;
	return hook_result(ours);
}

int rw_sync(struct ofd *o)
{
	int r = o->file ? shared_map_send(o->ino, 0, 0) : -EBADF;

	return r < 0 ? r : CALL(fsync, o->file);
}

int hook_fsync(int fd)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get_for_io(fd, &o);

	return LIKELY(ours == 0) ? REAL(fsync)(fd) : (int)hook_result(ours < 0 ? ours : rw_sync(o));
}

int hook_fdatasync(int fd)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get_for_io(fd, &o);

	return LIKELY(ours == 0) ? REAL(fdatasync)(fd) :
				    (int)hook_result(ours < 0 ? ours : rw_sync(o));
}

int hook_sync_file_range(int fd, off64_t offset, off64_t n, unsigned flags)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);

	if (LIKELY(ours == 0))
		return REAL(sync_file_range)(fd, offset, n, flags);
	if (ours > 0)
		ours = !o->file ? -EBADF : offset < 0 || n < 0 || n > INT64_MAX - offset || (flags & ~7u) ? -EINVAL : ours;
	return (int)hook_result(ours < 0 ? ours : CALL(flush, o->file));
}

void hook_sync(void)
{
	shared_map_send_all();
	flush_everything();
	REAL(sync)();
}

int hook_syncfs(int fd)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int ours = fdtab_get(fd, &o);

	if (LIKELY(ours == 0))
		return REAL(syncfs)(fd);
	if (ours > 0 && !o->file)
		ours = -EBADF;
	if (ours > 0) {
		shared_map_send_all();
		flush_everything();
	}
	return (int)hook_result(ours < 0 ? ours : CALL(fsync, o->file));
}

DEFINE_ALIASES(sync)
