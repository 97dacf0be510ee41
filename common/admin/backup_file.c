/* Purpose: the block at the end of a backup of metad, by backup_file.h: lines of text, zeros up to the
 * end. The last line has the CRC32C of everything before it.
 * Threads: any; no state. */
#include "backup_file.h"

#include <stdio.h>

#include "../base/crc32c.h"

#define HEAD "ff3fs-metad-backup 1\n"

void ff3_backup_encode(const struct ff3_backup *b, char buf[FF3_BACKUP_TRAILER])
{
	int n;

	memset(buf, 0, FF3_BACKUP_TRAILER);
	n = snprintf(buf, FF3_BACKUP_TRAILER,
		     HEAD "cluster %016" PRIx64 "\nepoch %" PRIu64 "\nseq %" PRIu64 "\ntime %" PRIu64
			  "\ninodes %" PRIu64 "\nsize %" PRIu64 "\ncrc32c %08" PRIx32 "\n",
		     b->cluster, b->epoch, b->seq, b->time, b->inodes, b->size, b->crc);
	snprintf(buf + n, FF3_BACKUP_TRAILER - (size_t)n, "end %08" PRIx32 "\n",
		 ff3_crc32c(0, buf, (size_t)n));
}

int ff3_backup_decode(const char buf[FF3_BACKUP_TRAILER], struct ff3_backup *ret)
{
	char again[FF3_BACKUP_TRAILER], text[FF3_BACKUP_TRAILER];
	struct ff3_backup b;

	memcpy(text, buf, sizeof text);
	text[sizeof text - 1] = '\0';
	if (sscanf(text,
		   HEAD "cluster %" SCNx64 " epoch %" SCNu64 " seq %" SCNu64 " time %" SCNu64
			" inodes %" SCNu64 " size %" SCNu64 " crc32c %" SCNx32,
		   &b.cluster, &b.epoch, &b.seq, &b.time, &b.inodes, &b.size, &b.crc) != 7)
		return -EBADMSG;
	/* There is one way to write it. */
	ff3_backup_encode(&b, again);
	if (memcmp(again, buf, sizeof again) != 0)
		return -EBADMSG;
	*ret = b;
	return 0;
}
