/* Purpose: checkpoints.
 *
 * The two files are also synced through descriptors of our own, which are held open as long as the
 * connection: closing a descriptor of a file drops the process's POSIX locks on it, SQLite's too.
 *
 * Threads: one at a time; another one than the serving loop's. */
#include "db_checkpoint.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>

#include "../common/base/log.h"

struct metad_db_checkpoint {
	sqlite3 *sql;
	int db_fd;
	int wal_fd;
};

static int open_files(struct metad_db_checkpoint *c, const char *path)
{
	char wal[4096];

	if (snprintf(wal, sizeof wal, "%s-wal", path) >= (int)sizeof wal)
		return -ENAMETOOLONG;
	c->db_fd = open(path, O_RDWR | O_CLOEXEC);
	if (c->db_fd < 0)
		return -errno;
	c->wal_fd = open(wal, O_RDWR | O_CLOEXEC);
	return c->wal_fd < 0 ? -errno : 0;
}

int metad_db_checkpoint_open(const char *path, struct metad_db_checkpoint **ret)
{
	struct metad_db_checkpoint *c = calloc(1, sizeof *c);
	int r, code;

	if (!c)
		return -ENOMEM;
	c->db_fd = c->wal_fd = -1;
	code = sqlite3_open_v2(path, &c->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	r = code == SQLITE_OK ? 0 : -EIO;
	if (r >= 0 && sqlite3_exec(c->sql, "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256; "
					   "SELECT 1 FROM meta",
				   NULL, NULL, NULL) != SQLITE_OK)
		r = -EIO;
	if (r >= 0)
		r = open_files(c, path);
	if (r < 0) {
		ff3_log_errno(r, "cannot open %s for checkpoints: %s", path,
			      c->sql ? sqlite3_errmsg(c->sql) : "");
		metad_db_checkpoint_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

void metad_db_checkpoint_close(struct metad_db_checkpoint *c)
{
	if (!c)
		return;
	sqlite3_close(c->sql);
	ff3_closep(&c->db_fd);
	ff3_closep(&c->wal_fd);
	free(c);
}

int metad_db_checkpoint_run(struct metad_db_checkpoint *c, uint64_t *ret_left)
{
	int n_log = 0, n_done = 0;
	int code = sqlite3_wal_checkpoint_v2(c->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, &n_log, &n_done);

	if (code == SQLITE_BUSY)
		n_done = 0;
	else if (code != SQLITE_OK)
		return ff3_log_errno((code & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO,
				     "checkpoint: %s", sqlite3_errmsg(c->sql));
	if (fdatasync(c->wal_fd) < 0 || fdatasync(c->db_fd) < 0)
		return -errno;
	*ret_left = (uint64_t)MAX(n_log - n_done, 0);
	return 0;
}
