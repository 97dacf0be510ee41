/* Purpose: named pipes below a prefix. Metad has the name, the mode and the owner; the bytes go through
 * a pipe of the kernel, /dev/shm/ff3fs-fifos-<uid>/<fsid>.<inode> (the directory 0700), so that
 * opening waits and tells, and data flows, as in any pipe: between the processes of one user on one
 * host. What is opened is the kernel's descriptor; only its inode is another one.
 *
 * Threads: none of its own state but fsid, which never changes. Fork: nothing. */
#include <stdio.h>

#include "hook.h"
#include "raw.h"

int special_fsid(struct ff3fs *fs, uint64_t *ret)
{
	static _Atomic uint64_t fsid;
	struct ff3fs_statfs s;
	int r;

	if (fsid == 0) {
		r = CALL(statfs, fs, &s);
		if (r < 0)
			return r;
		fsid = s.fsid;
	}
	*ret = fsid;
	return 0;
}

int fifo_open(struct ff3fs *fs, uint64_t ino, int flags)
{
	char path[80];
	uint64_t fsid;
	int n, fd, r = special_fsid(fs, &fsid);

	if (r < 0)
		return r;
	n = snprintf(path, sizeof path, "/dev/shm/ff3fs-fifos-%u", (unsigned)RAW(geteuid));
	r = (int)RAW(mkdirat, AT_FDCWD, path, 0700);
	if (r < 0 && r != -EEXIST)
		return r;
	snprintf(path + n, sizeof path - (size_t)n, "/%" PRIx64 ".%" PRIx64, fsid, ino);
	r = (int)RAW(mknodat, AT_FDCWD, path, S_IFIFO | 0600, 0);
	if (r < 0 && r != -EEXIST)
		return r;
	/* through libc: waiting for the other end is a cancellation point */
	fd = REAL(open)(path, flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW));
	if (fd < 0)
		return -errno;
	fdtab_set_native(fd);
	return fd;
}
