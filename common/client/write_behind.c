/* Purpose: write-behind. Small sequential writes of a file gather in a buffer, at most to the end of
 * a chunk, and leave as one request: when the buffer is full, at close and fsync, before any other
 * call of this process that could see the file, before one of another process of this user on this
 * host (board.c), before a fork, and after 100 ms by the flusher.
 *
 * Threads: any; gather.lock is held while the buffer is sent, so that nobody reads around it.
 * gather.len is positive until then and may be read without the lock.
 * An error of a flush that nobody waited for is kept and told by the next write, fsync or close. In a child that may
 * have no way to a daemon for good (cut_off, fork.c) nothing gathers: the write itself has the error. */
#include "internal.h"

void ff3_gather_init(struct ff3_gather *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->tell_lock, NULL);
}

/* How much fits into one request that begins at offset. */
static uint32_t capacity(const struct ff3_inode *inode, uint64_t offset)
{
	return ff3_piece_span(inode, offset, PIECE_MAX);
}

static void set_len(struct ff3_inode *inode, uint32_t len)
{
	struct ff3_gather *g = &inode->gather;
	uint32_t before = atomic_load_explicit(&g->len, memory_order_relaxed);

	if (before == 0 && len > 0) {
		atomic_fetch_add(&inode->fs->flusher.n_gathering, 1);
		atomic_store(&g->token, ff3_board_begin(inode->fs, inode->ino));
	}
	/* First: another thread finds that it is gathered, or that it is told. */
	if (before > 0 && len == 0)
		ff3_board_end(atomic_exchange(&g->token, 0));
	atomic_store_explicit(&g->len, len, memory_order_release);
	if (before > 0 && len == 0)
		atomic_fetch_sub(&inode->fs->flusher.n_gathering, 1);
}

/* The piece's buffer: the gathering one itself, or a copy if that would waste its room. */
static uint8_t *take_data(struct ff3_inode *inode, uint32_t len)
{
	struct ff3_gather *g = &inode->gather;
	uint8_t *data;

	if (len > g->size / 2)
		return TAKE_PTR(g->buf);
	data = ff3_pool_get(inode->fs, len);
	if (data)
		memcpy(data, g->buf, len);
	return data;
}

/* ret_end: not NULL if the caller tells metad the end. */
static int send_gathered(struct ff3_inode *inode, uint64_t *ret_end)
{
	struct ff3_gather *g = &inode->gather;
	uint32_t len = atomic_load_explicit(&g->len, memory_order_relaxed);
	uint32_t cuts = atomic_load(&inode->cuts);
	uint64_t end = g->offset + len, tell = 0;
	struct ff3_retry retry = { 0 };
	struct ff3_piece p;
	int r;

	r = ff3_hold_room(inode->fs, len);
	if (r < 0)
		return r;
	ff3_inode_touch(inode);
	ff3_piece_init(&p, inode, FF3_OP_chunk_write, g->offset, len);
	p.data = take_data(inode, len);
	if (!p.data)
		return -ENOMEM;
	ff3_piece_start(&p);
	r = ff3_write_wait(&p, &retry, &tell);
	if (r < 0) {
		atomic_store(&inode->sparse, true);
		ff3_piece_abandon(&p);
		ff3_pool_put(inode->fs, p.data, len);
		return r;
	}
	ff3_inode_touch(inode);
	if (end > atomic_load(&inode->size) || !atomic_load(&inode->told))
		tell = end;
	if (r < 0 || tell == 0)
		return r;
	if (ret_end && atomic_load(&g->untold_token) == 0) {
		*ret_end = end;
		atomic_fetch_add(&inode->fs->flusher.n_untold, 1);
		atomic_fetch_add(&g->untold_number, 1);
		g->untold_cuts = cuts;
		atomic_store(&g->untold_end, end);
		atomic_fetch_add(&g->untold_number, 1);
		/* Other processes see no bytes behind the end that metad knows: they wait until it is told. */
		atomic_store(&g->untold_token, atomic_exchange(&g->token, 0));
		return 0;
	}
	return ff3_inode_extend(inode, tell);
}

/* gather.lock is held. What could not be sent is gone, and the caller says so. */
static int flush_locked(struct ff3_inode *inode, uint64_t *ret_end)
{
	int r = 0;

	if (atomic_load_explicit(&inode->gather.len, memory_order_relaxed) > 0) {
		r = send_gathered(inode, ret_end);
		set_len(inode, 0);
	}
	return r;
}

static int take_error(struct ff3_gather *g)
{
	int r = g->error;

	g->error = 0;
	return r;
}

/* gather.lock is held, nothing is gathered yet. */
static int begin(struct ff3_inode *inode, uint64_t offset)
{
	struct ff3_gather *g = &inode->gather;

	if (!g->buf) {
		g->size = MIN(PIECE_MAX, ff3_inode_chunk_size(inode));
		g->buf = ff3_pool_get(inode->fs, g->size);
		if (!g->buf)
			return -ENOMEM;
	}
	g->offset = offset;
	g->since_ns = ff3_boottime_ns();
	return 0;
}

static int gather(struct ff3_inode *inode, struct ff3_cursor *c, size_t len)
{
	struct ff3_gather *g = &inode->gather;

	while (len > 0) {
		uint32_t have = atomic_load_explicit(&g->len, memory_order_relaxed);
		uint64_t offset = g->offset + have;
		uint32_t room = capacity(inode, g->offset) - have;
		uint32_t part = (uint32_t)MIN((size_t)room, len);
		int r = ff3_cursor_read(c, g->buf + have, part);

		if (r < 0)
			return r;
		set_len(inode, have + part);
		len -= part;
		if (part == room) {
			r = flush_locked(inode, NULL);
			if (r == 0 && len > 0)
				r = begin(inode, offset + part);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static bool is_sequential(const struct ff3_inode *inode, uint64_t offset)
{
	return offset == atomic_load_explicit(&inode->next_write, memory_order_relaxed) ||
	       offset == atomic_load_explicit(&inode->size, memory_order_relaxed);
}

int ff3_gather_write(struct ff3_inode *inode, struct ff3_cursor c, size_t len, uint64_t offset)
{
	struct ff3_gather *g = &inode->gather;
	uint32_t have;
	bool small = len <= MIN(PIECE_MAX, ff3_inode_chunk_size(inode)) / 2;
	bool fresh = false;
	int r;

	if (UNLIKELY(inode->fs->cut_off))
		return 0;
	while (UNLIKELY(atomic_load_explicit(&inode->fs->forking, memory_order_relaxed)))
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	pthread_mutex_lock(&g->lock);
	r = take_error(g);
	have = atomic_load_explicit(&g->len, memory_order_relaxed);
	if (r == 0 && have > 0 && (!small || offset != g->offset + have))
		r = flush_locked(inode, NULL);
	have = atomic_load_explicit(&g->len, memory_order_relaxed);
	if (r == 0 && have == 0) {
		if (!small || !is_sequential(inode, offset)) {
			pthread_mutex_unlock(&g->lock);
			return 0;
		}
		r = begin(inode, offset);
		fresh = true;
	}
	if (r == 0) {
		atomic_store_explicit(&inode->uncommitted, true, memory_order_release);
		r = gather(inode, &c, len);
	}
	if (r == 0 && UNLIKELY(atomic_load(&g->token) == 0)) /* others would not hear of it */
		r = flush_locked(inode, NULL);
	pthread_mutex_unlock(&g->lock);
	if (fresh && r == 0)
		ff3_flusher_kick(inode->fs);
	return r < 0 ? r : 1;
}

int ff3_gather_flush(struct ff3_inode *inode)
{
	struct ff3_gather *g = &inode->gather;
	int r, error;

	pthread_mutex_lock(&g->lock);
	r = flush_locked(inode, NULL);
	error = take_error(g);
	pthread_mutex_unlock(&g->lock);
	return error < 0 ? error : r;
}

int ff3_gather_flush_end(struct ff3_inode *inode, uint64_t *ret_end)
{
	struct ff3_gather *g = &inode->gather;
	int r, error;

	*ret_end = 0;
	pthread_mutex_lock(&g->lock);
	r = flush_locked(inode, ret_end);
	error = take_error(g);
	pthread_mutex_unlock(&g->lock);
	return error < 0 ? error : r;
}

void ff3_gather_told(struct ff3_inode *inode)
{
	struct ff3_gather *g = &inode->gather;

	atomic_store(&g->untold_end, 0);
	ff3_board_end(atomic_exchange(&g->untold_token, 0));
	atomic_fetch_sub(&inode->fs->flusher.n_untold, 1);
}

int ff3_gather_tell(struct ff3_inode *inode)
{
	struct ff3_gather *g = &inode->gather;
	int r = 1, some = 0;

	if (LIKELY(atomic_load(&g->untold_end) == 0))
		return 0;
	pthread_mutex_lock(&g->tell_lock);
	while (r == 1) {
		/* If the file was cut, that was before the end came about: who cuts it has this told first. */
		uint32_t cuts = atomic_load(&inode->cuts), number = atomic_load(&g->untold_number);
		uint64_t end = atomic_load(&g->untold_end);

		if (number % 2 != 0 || number != atomic_load(&g->untold_number))
			continue;
		some = end > 0;
		if (end == 0 || atomic_load(&g->told_number) == number)
			break;
		r = ff3_inode_tell(inode, end, cuts);
		if (r == 0)
			atomic_store(&g->told_number, number);
	}
	pthread_mutex_unlock(&g->tell_lock);
	return r < 0 ? r : some;
}

int ff3_gather_flush_ino(struct ff3fs *fs, uint64_t ino)
{
	struct ff3_inode *inode;
	int r = 0;

	if (LIKELY(atomic_load_explicit(&fs->flusher.n_gathering, memory_order_acquire) == 0 &&
		   atomic_load_explicit(&fs->flusher.n_untold, memory_order_acquire) == 0))
		return 0;
	inode = ff3_inode_find(fs, ino);
	if (!inode)
		return 0;
	if (ff3_gathering(inode)) {
		r = ff3_gather_flush(inode);
		/* The writer will want to know it too. */
		if (r < 0) {
			pthread_mutex_lock(&inode->gather.lock);
			inode->gather.error = r;
			pthread_mutex_unlock(&inode->gather.lock);
		}
		r = 1;
	}
	if (ff3_gather_tell(inode) != 0) /* whose failure is the fsync's too */
		r = 1;
	ff3_inode_unref(inode);
	return r;
}

bool ff3_gather_outdates(struct ff3fs *fs, uint64_t ino, uint64_t told)
{
	/* Both are always done. */
	bool ours = ff3_gather_flush_ino(fs, ino) > 0;
	bool theirs = ff3_board_outdates(fs, ino, told);

	return ours || theirs;
}

void ff3_flush_to_cut(struct ff3fs *fs)
{
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	size_t n;

	ff3_flush_all(fs);
	if (LIKELY(atomic_load(&fs->flusher.n_untold) == 0) || ff3_inodes_all(fs, &inodes, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		(void)ff3_gather_tell(inodes[i]);
		ff3_inode_unref(inodes[i]);
	}
}

int ff3_flush_all(struct ff3fs *fs)
{
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	int r, result = 0;
	size_t n;

	if (atomic_load_explicit(&fs->flusher.n_gathering, memory_order_acquire) == 0)
		return 0;
	r = ff3_inodes_all(fs, &inodes, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = ff3_gathering(inodes[i]) ? ff3_gather_flush(inodes[i]) : 0;
		if (r < 0) {
			pthread_mutex_lock(&inodes[i]->gather.lock);
			inodes[i]->gather.error = r;
			pthread_mutex_unlock(&inodes[i]->gather.lock);
			result = r;
		}
		ff3_inode_unref(inodes[i]);
	}
	return result;
}
