/* Attributes as stat(2) gives them, the same through the shim and through a mount. */
#pragma once

#include <sys/stat.h>

#include "../base/base.h"
#include "ff3fs.h"

/* Buffered readers (Python's open) take st_blksize as the size of one read: small, so that a
 * random access does not fetch much more than was asked for. */
#define FF3_ST_BLKSIZE 32768

static inline void ff3_attr_to_stat(const struct ff3fs_attr *a, struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_size = (off_t)a->size,
		.st_blksize = FF3_ST_BLKSIZE,
		.st_blocks = (blkcnt_t)((a->size + 511) / 512),
		.st_atim = a->atime,
		.st_mtim = a->mtime,
		.st_ctim = a->ctime,
	};
}
