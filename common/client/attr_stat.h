/* Attributes as the kernel's calls give them, the same through the shim, a mount and the supervisor
 * of ff3fs run --notify. */
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "../base/base.h"
#include "ff3fs.h"

/* Buffered readers (Python's open) take st_blksize as the size of one read: small, so that a
 * random access does not fetch much more than was asked for. */
#define FF3_ST_BLKSIZE 32768
/* The device that our files are on (on a mount: the kernel's number): of its minor number's 20 bits, those of a
 * cluster. */
#define FF3_ST_MAJOR 0xff3u
#define FF3_SUPER_MAGIC 0x33334646 /* "FF33" */
/* The unit of statfs. */
#define FF3_FRAGMENT 4096u

static inline dev_t ff3_device_of(uint64_t cluster)
{
	return makedev(FF3_ST_MAJOR, (unsigned)((cluster * 0x9e3779b97f4a7c15ull) >> 44));
}

static inline void ff3_attr_to_stat(const struct ff3fs_attr *a, dev_t device, struct stat *ret)
{
	*ret = (struct stat){
		.st_dev = device,
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

static inline struct statx_timestamp ff3_statx_time(struct timespec t)
{
	return (struct statx_timestamp){ .tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec };
}

static inline void ff3_attr_to_statx(const struct ff3fs_attr *a, dev_t device, struct statx *ret)
{
	*ret = (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = FF3_ST_BLKSIZE,
		.stx_nlink = a->nlink,
		.stx_uid = a->uid,
		.stx_gid = a->gid,
		.stx_mode = (uint16_t)a->mode,
		.stx_ino = a->ino,
		.stx_size = a->size,
		.stx_blocks = (a->size + 511) / 512,
		.stx_atime = ff3_statx_time(a->atime),
		.stx_mtime = ff3_statx_time(a->mtime),
		.stx_ctime = ff3_statx_time(a->ctime),
		.stx_btime = ff3_statx_time(a->btime),
		.stx_dev_major = major(device),
		.stx_dev_minor = minor(device),
	};
}

static inline void ff3_statfs_fill(const struct ff3fs_statfs *s, struct statfs *ret)
{
	*ret = (struct statfs){
		.f_type = FF3_SUPER_MAGIC,
		.f_bsize = FF3_FRAGMENT,
		.f_blocks = s->capacity / FF3_FRAGMENT,
		.f_bfree = s->free / FF3_FRAGMENT,
		.f_bavail = s->free / FF3_FRAGMENT,
		.f_files = s->inodes + s->free / FF3_FRAGMENT,
		.f_ffree = s->free / FF3_FRAGMENT,
		.f_namelen = 255,
		.f_frsize = FF3_FRAGMENT,
	};
	memcpy(&ret->f_fsid, &s->fsid, sizeof ret->f_fsid);
}
