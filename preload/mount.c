/* Purpose: what the kernel can do with our files where ff3fs-mount shows them: execute programs and
 * scripts, load libraries, be in directories. The shim uses such a mount if the machine has one, at
 * the prefix itself or at client.mount.
 *
 * A mount is recognized by what its nodes say of themselves (FF3_MOUNT_XATTR): a path is used only
 * if it is the very inode of the very file system that is meant, so nothing that lies at the same
 * path by chance is taken for it.
 *
 * Threads: no state but the file system's id, which is written once. Fork: inherited. */
#include "mount.h"

#include <stdio.h>
#include <sys/statfs.h>

#include "../common/client/mount_mark.h"
#include "hook.h"
#include "raw.h"

#ifndef ST_NOEXEC
#define ST_NOEXEC 8
#endif

/* What a native path is on a mount of ours. */
static bool read_mark(const char *path, uint64_t *ret_fsid, uint64_t *ret_ino)
{
	char text[64], *end;
	long n = RAW(getxattr, path, FF3_MOUNT_XATTR, text, sizeof text - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	*ret_fsid = strtoull(text, &end, 16);
	if (*end != '.')
		return false;
	*ret_ino = strtoull(end + 1, &end, 16);
	return !*end;
}

static uint64_t fsid_of(struct ff3fs *fs)
{
	static _Atomic uint64_t known;
	struct ff3fs_statfs s;

	if (!known && CALL(statfs, fs, &s) == 0)
		known = s.fsid;
	return known;
}

/* dir, a mount of the whole file system, has this inode at path. */
static bool has_inode(struct ff3fs *fs, const char *dir, uint64_t ino, bool exec, char out[PATH_MAX])
{
	uint64_t fsid, found;
	char path[PATH_MAX];
	struct statfs st;

	if (!read_mark(dir, &fsid, &found) || fsid != fsid_of(fs) || found != FF3FS_ROOT)
		return false;
	if (exec && (RAW(statfs, dir, &st) < 0 || (st.f_flags & ST_NOEXEC)))
		return false;
	if (CALL(get_path, fs, ino, path, sizeof path) < 0 ||
	    (size_t)snprintf(out, PATH_MAX, "%s%s", dir, strcmp(path, "/") == 0 ? "" : path) >= PATH_MAX)
		return false;
	return read_mark(out, &fsid, &found) && found == ino;
}

bool mount_over_prefix(struct ff3fs *fs, uint64_t ino, char out[PATH_MAX])
{
	return has_inode(fs, prefix_text(0), ino, false, out);
}

bool mount_for_exec(struct ff3fs *fs, uint64_t ino, char out[PATH_MAX])
{
	const char *dir = CALL(mount_dir, fs);

	for (int i = 0; i < prefix_count(); i++)
		if (has_inode(fs, prefix_text(i), ino, true, out))
			return true;
	return *dir == '/' && has_inode(fs, dir, ino, true, out);
}

uint64_t mount_cwd(void)
{
	uint64_t fsid, ino;

	return read_mark(".", &fsid, &ino) ? ino : 0;
}
