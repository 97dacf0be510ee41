/* Purpose: sizes and times of files that are being written: held here, seen by every reader at once,
 * logged by commit, by the second, and when nobody has the file open any more.
 *
 * A size noted here carries the inode's count of truncations when it is logged, so that a file which
 * was cut meanwhile does not grow again.
 *
 * Threads: the loop's. */
#include "file.h"

#include <utlist.h>

#define UPDATES_MAX 512u /* in one record */
/* A lock takes 48 bytes, and at worst as much again; an eighth of metad.memory is for them. */
#define LOCK_SHARE 768u

int metad_files_new(struct metad *m)
{
	m->files = calloc(1, sizeof *m->files);
	if (!m->files)
		return -ENOMEM;
	m->files->last_grant = m->instance;
	m->files->max_locks = MAX(m->conf->metad.memory / LOCK_SHARE, 4096u);
	return 0;
}

void metad_files_free(struct metad *m)
{
	struct metad_file *f, *next;

	if (!m->files)
		return;
	HASH_ITER (hh, m->files->all, f, next) {
		HASH_DEL(m->files->all, f);
		ff3_locks_done(&f->locks);
		free(f);
	}
	free(m->files);
	m->files = NULL;
}

struct metad_file *metad_file_find(struct metad *m, uint64_t ino)
{
	struct metad_file *f;

	HASH_FIND(hh, m->files->all, &ino, sizeof ino, f);
	return f;
}

struct metad_file *metad_file_get(struct metad *m, uint64_t ino)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (f)
		return f;
	f = ff3_zalloc(sizeof *f);
	if (!f)
		return NULL;
	f->ino = ino;
	HASH_ADD(hh, m->files->all, ino, sizeof ino, f);
	return f;
}

void metad_file_put(struct metad *m, struct metad_file *f)
{
	if (f->n_sessions > 0 || f->n_below > 0 || f->times_pending > 0 || f->dirty || f->truncating || f->parked || f->appenders ||
	    f->holder_session != 0 || f->locks.n > 0)
		return;
	HASH_DEL(m->files->all, f);
	ff3_locks_done(&f->locks);
	free(f);
}

static bool is_open(const struct metad_file *f)
{
	return f->n_sessions > 0 || f->n_below > 0;
}

bool metad_is_open(struct metad *m, uint64_t ino)
{
	const struct metad_file *f = metad_file_find(m, ino);

	return f && is_open(f);
}

int metad_file_hold_parent(struct metad *m, const struct metad_inode *inode)
{
	struct metad_file *f, *parent;

	if (!S_ISDIR(inode->mode) || inode->nlink > 0)
		return 0;
	f = metad_file_find(m, inode->ino);
	if (!f || !is_open(f) || f->holds)
		return 0;
	parent = metad_file_get(m, inode->parent);
	if (!parent)
		return -ENOMEM;
	parent->n_below++;
	f->holds = inode->parent;
	return 0;
}

void metad_file_closed(struct metad *m, struct metad_file *f)
{
	while (!is_open(f)) {
		uint64_t ino = f->ino;
		struct metad_file *parent = f->holds ? metad_file_find(m, f->holds) : NULL;

		f->holds = 0;
		metad_file_put(m, f);
		if (m->cleaner)
			metad_cleaner_orphan(m, ino);
		if (!parent)
			return;
		parent->n_below--;
		f = parent;
	}
}

void metad_file_add_open(struct metad_file *f, int n)
{
	f->n_sessions += (uint32_t)n;
}

void metad_file_overlay(struct metad *m, struct metad_inode *inode)
{
	const struct metad_file *f;

	if (!m->files->dirty || !S_ISREG(inode->mode))
		return;
	f = metad_file_find(m, inode->ino);
	if (!f || !f->dirty)
		return;
	inode->size = MAX(inode->size, f->end);
	if (f->mtime != 0) {
		inode->mtime = f->mtime;
		inode->ctime = MAX(inode->ctime, f->mtime);
	}
}

void metad_file_overlay_attr(struct metad *m, struct ff3_attr *attr)
{
	const struct metad_file *f = m->files->dirty ? metad_file_find(m, attr->ino) : NULL;

	if (!f || !f->dirty || !S_ISREG(attr->mode))
		return;
	attr->size = MAX(attr->size, f->end);
	if (f->mtime != 0)
		attr->mtime = metad_time_to_wire(f->mtime);
}

static void set_clean(struct metad *m, struct metad_file *f)
{
	if (f->dirty)
		DL_DELETE2(m->files->dirty, f, dirty_prev, dirty_next);
	f->dirty = false;
	f->kill_mode = 0;
	f->end = 0;
	f->mtime = 0;
}

bool metad_file_is_shared(struct metad *m, uint64_t ino)
{
	const struct metad_file *f = metad_file_find(m, ino);

	return f && f->n_sessions > 1;
}

void metad_file_extend(struct metad *m, struct metad_file *f, uint64_t end, uint32_t kill_mode)
{
	f->end = MAX(f->end, end);
	f->mtime = MAX((int64_t)ff3_realtime_ns(), f->mtime + 1);
	f->kill_mode |= kill_mode;
	if (f->dirty)
		return;
	f->dirty = true;
	f->dirty_ns = ff3_boottime_ns();
	DL_APPEND2(m->files->dirty, f, dirty_prev, dirty_next);
}

bool metad_file_update(struct metad *m, const struct metad_inode *inode, uint64_t end,
		       struct metad_size_update *ret)
{
	const struct metad_file *f = metad_file_find(m, inode->ino);
	bool dirty = f && f->dirty, grows = end > inode->size;

	if (!dirty && !grows)
		return false;
	*ret = (struct metad_size_update){
		.ino = inode->ino,
		.size = dirty ? MAX(f->end, end) : end,
		.mtime = !dirty ? (int64_t)ff3_realtime_ns() : f->times_pending ? 0 : f->mtime,
		.truncs = inode->truncs,
		.kill_mode = dirty ? f->kill_mode : 0,
	};
	return true;
}

void metad_file_logged(struct metad *m, const struct metad_size_update *u)
{
	struct metad_file *f = metad_file_find(m, u->ino);

	/* Written again since: then the time differs, and there is more to log. */
	if (!f || !f->dirty || f->mtime != u->mtime || f->end > u->size)
		return;
	set_clean(m, f);
	metad_file_put(m, f);
}

void metad_file_times_begin(struct metad *m, uint64_t ino)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (f)
		f->times_pending++;
}

void metad_file_times_end(struct metad *m, uint64_t ino, bool set)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (!f)
		return;
	f->times_pending--;
	if (set)
		f->mtime = 0;
	metad_file_put(m, f);
}

void metad_file_retimed(struct metad *m, uint64_t ino)
{
	struct metad_file *f = metad_file_find(m, ino);

	if (f)
		f->mtime = 0;
}

uint64_t metad_file_cut(struct metad *m, uint64_t ino)
{
	struct metad_file *f = metad_file_find(m, ino);
	uint64_t end;

	if (!f)
		return 0;
	end = f->end;
	set_clean(m, f);
	metad_file_put(m, f);
	return end;
}

bool metad_files_dirty(const struct metad *m)
{
	return m->files->dirty != NULL;
}

bool metad_file_is_dirty(struct metad *m, uint64_t ino)
{
	const struct metad_file *f = m->files->dirty ? metad_file_find(m, ino) : NULL;

	return f && f->dirty;
}

static void on_sizes_applied(struct metad *m, struct metad_mutation *mutation)
{
	const struct ff3_blob *all = &mutation->rec->payload;

	for (uint32_t at = 0; at < all->len; at += sizeof(struct metad_size_update)) {
		struct metad_size_update u;

		memcpy(&u, (const uint8_t *)all->p + at, sizeof u);
		metad_file_logged(m, &u);
	}
}

void metad_files_flush(struct metad *m, uint64_t before_ns)
{
	struct metad_size_update updates[UPDATES_MAX];
	struct metad_file *f, *next;
	uint32_t n = 0;

	DL_FOREACH_SAFE2(m->files->dirty, f, next, dirty_next)
	{
		struct metad_inode inode;
		int r;

		if (f->dirty_ns > before_ns || n == UPDATES_MAX)
			break;
		r = metad_db_get_inode(m->db, f->ino, &inode);
		if (r < 0)
			metad_die(r, "cannot read the database");
		if (r == 0) { /* collected: nobody had it open */
			set_clean(m, f);
			metad_file_put(m, f);
			continue;
		}
		if (f->held.session != 0) {
			r = metad_append_settle(m, f->ino, 0, 0);
			if (r < 0)
				break;
			continue;
		}
		if (metad_file_update(m, &inode, 0, &updates[n]))
			n++;
	}
	if (n > 0)
		metad_pipeline_add_own(m, METAD_OP_set_sizes, updates, n * sizeof *updates,
				       on_sizes_applied);
}
