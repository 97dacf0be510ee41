/* A mount of ff3fs-mount, for what the shim cannot do without the kernel. See mount.c. */
#pragma once

#include <limits.h>

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

/* The native path of an inode on a mount from which programs may be executed. */
bool mount_for_exec(struct ff3fs *fs, uint64_t ino, char out[PATH_MAX]);
/* The same on a mount at the (first) prefix: there it has the name by which programs know it. */
bool mount_over_prefix(struct ff3fs *fs, uint64_t ino, char out[PATH_MAX]);
/* The inode of the kernel's working directory, if that is on a mount; 0: it is not. */
uint64_t mount_cwd(void);
