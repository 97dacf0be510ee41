/* A backup of metad: its database as it was at one moment, and behind it one block of text that says
 * which cluster and which moment, and has checksums over both. ff3fs-metad writes it, ff3fs-admin reads
 * it. */
#pragma once

#include "../base/base.h"

#define FF3_BACKUP_TRAILER 4096u

/* In a directory that was restored, until metad has served from it: the block. */
#define FF3_RESTORED_NAME "restored"

struct ff3_backup {
	uint64_t cluster;
	uint64_t epoch;
	uint64_t seq;  /* of the last operation in it */
	uint64_t time; /* of that, ns since 1970 */
	uint64_t inodes;
	uint64_t size; /* of the database, bytes */
	uint32_t crc;  /* CRC32C of the database */
};

void ff3_backup_encode(const struct ff3_backup *b, char buf[FF3_BACKUP_TRAILER]);
/* -EBADMSG: it is none, or damaged. */
int ff3_backup_decode(const char buf[FF3_BACKUP_TRAILER], struct ff3_backup *ret);
