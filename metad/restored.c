/* Purpose: the first record of a start, and what follows from a directory that ff3fs-admin has made from
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

static void on_started(struct metad *m, struct metad_mutation *mutation)
{
	_cleanup_close_ int dir = -1;

	if (!is_restored(m, &dir))
		return;
	/* Another gap at the next start does no harm. */
	if (unlinkat(dir, FF3_RESTORED_NAME, 0) < 0 || fsync(dir) < 0)
		ff3_log_errno(-errno, "cannot remove %s/%s", m->conf->metad.dir, FF3_RESTORED_NAME);
}

int metad_log_start(struct metad *m)
{
	struct metad_record rec = { .op = METAD_OP_start };
	struct metad_mutation mutation = { .applied = on_started };
	_cleanup_close_ int dir = -1;

	if (is_restored(m, &dir)) {
		m->next_ino += GAP;
		rec.ino = m->next_ino - 1;
		ff3_notice("serving from a backup: inode numbers go on at %" PRIu64
			   "; ff3fs-admin fsck tells what it does not have",
			   m->next_ino);
	}
	return metad_pipeline_add(m, &rec, &mutation);
}
