/* Purpose: a state of the database that is held, and copies of it. By SQLite's backup interface from a
 * connection that stays in one read transaction: what others commit does not make it begin anew, and
 * they do not wait for it.
 *
 * Threads: one at a time; any. */
#include "db_snapshot.h"

#include <fcntl.h>

#include "../common/base/log.h"
#include "db_private.h"

#define STEP_PAGES 256

static int fail(struct metad_db_snapshot *s, const char *what)
{
	int code = sqlite3_errcode(s->sql);
	int r = (code & 0xff) == SQLITE_FULL ? -ENOSPC : (code & 0xff) == SQLITE_CORRUPT ? -EBADMSG : -EIO;

	return ff3_log_errno(r, "%s: %s", what, sqlite3_errmsg(s->sql));
}

static int get_meta(struct metad_db_snapshot *s)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(s->sql, METAD_GET_META, -1, &stmt, NULL) != SQLITE_OK)
		return fail(s, "cannot read the database");
	if (sqlite3_step(stmt) != SQLITE_ROW) {
		sqlite3_finalize(stmt);
		return fail(s, "cannot read the database");
	}
	db_read_meta(stmt, &s->meta);
	sqlite3_finalize(stmt);
	return 0;
}

int metad_db_snapshot_open(const char *path, struct metad_db_snapshot **ret)
{
	struct metad_db_snapshot *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	if (sqlite3_open_v2(path, &s->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	    sqlite3_exec(s->sql, "PRAGMA wal_autocheckpoint = 0; "
				 "PRAGMA cache_size = -2048; PRAGMA temp_store = FILE; BEGIN",
			 NULL, NULL, NULL) != SQLITE_OK)
		r = fail(s, path);
	else
		r = get_meta(s);
	if (r < 0) {
		metad_db_snapshot_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void metad_db_snapshot_close(struct metad_db_snapshot *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->add);
	sqlite3_close(s->sql);
	free(s);
}

const struct metad_meta *metad_db_snapshot_meta(const struct metad_db_snapshot *s)
{
	return &s->meta;
}

static int copy_pages(struct metad_db_snapshot *s, sqlite3 *to,
		      int (*step)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", s->sql, "main");
	int code, r = 0;

	if (!b)
		return ff3_log_errno(-EIO, "backup: %s", sqlite3_errmsg(to));
	do {
		uint64_t total, left;

		code = sqlite3_backup_step(b, STEP_PAGES);
		total = (uint64_t)sqlite3_backup_pagecount(b);
		left = (uint64_t)sqlite3_backup_remaining(b);
		r = step(arg, (total - left) * 4096, total * 4096);
	} while (code == SQLITE_OK && r == 0);
	sqlite3_backup_finish(b);
	if (r != 0 || code == SQLITE_DONE)
		return r;
	return ff3_log_errno((code & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO, "backup: %s",
			     sqlite3_errstr(code));
}

int metad_db_snapshot_copy(struct metad_db_snapshot *s, const char *path,
			   int (*step)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	_cleanup_close_ int fd = -1;
	sqlite3 *to = NULL;
	int r;

	if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK ||
	    sqlite3_exec(to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
			     "PRAGMA cache_size = -2048",
			 NULL, NULL, NULL) != SQLITE_OK)
		r = ff3_log_errno(-EIO, "%s: %s", path, sqlite3_errmsg(to));
	else
		r = copy_pages(s, to, step, arg);
	sqlite3_close(to);
	if (r != 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}
