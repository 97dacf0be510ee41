/* Purpose: what follows from a directory that ff3fs-admin has made from
 * a backup. The chunk daemons hold chunks of inodes that were made after the backup: their numbers must
 * not be given away again. So numbers go on far above, which that record makes durable.
 *
 * Threads: the loop's. */
#include <fcntl.h>

#include "../common/admin/backup_file.h"
#include "../common/base/log.h"
#include "metad.h"

/* More inodes than any cluster makes between two backups. */
#define GAP ((uint64_t)1 << 40)

static bool is_restored(const struct metad *m, int *ret_dir)
{
	*ret_dir = open(m->conf->metad.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_dir >= 0 && faccessat(*ret_dir, FF3_RESTORED_NAME, F_OK, 0) == 0;
}

bool metad_is_restored(const struct metad *m)
{
	_cleanup_close_ int dir = -1;

	return is_restored(m, &dir);
}

uint64_t metad_restored_ino(struct metad *m)
{
	uint64_t next_ino;

	if (!m->db || !metad_is_restored(m))
		return 0;
	next_ino = metad_db_meta(m->db)->next_ino + GAP;
	ff3_notice("serving from a backup: inode numbers go on at %" PRIu64
		   "; ff3fs-admin fsck tells what it does not have",
		   next_ino);
	return next_ino - 1;
}

void metad_restored_done(const struct metad *m)
{
	_cleanup_close_ int dir = -1;

	if (!is_restored(m, &dir))
		return;
	/* Another gap at the next start does no harm. */
	if (unlinkat(dir, FF3_RESTORED_NAME, 0) < 0 || fsync(dir) < 0)
		ff3_log_errno(-errno, "cannot remove %s/%s", m->conf->metad.dir, FF3_RESTORED_NAME);
}
