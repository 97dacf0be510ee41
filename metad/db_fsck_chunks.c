/* Purpose: inodes against the chunks that targets hold. The lists of the targets go into a temporary
 * table, are sorted, and walked beside the inodes.
 *
 * A chunk that does not exist reads as zeros, so one is missed only in a file that has none by right:
 * that was never truncated, and that the inode's layout says was written without gaps.
 *
 * Inode numbers at or above the state's next one were made after it was taken, and are left out.
 *
 * Threads: the one that has the snapshot. */
#include "../common/base/log.h"
#include "db_fsck.h"
#include "db_private.h"

#define STEP 4096u
#define STRIPE_MAX 1024u
#define ORPHAN_TARGETS 32u

/* The members of a chain, its head first. */
struct chain_targets {
	uint32_t chain;
	uint64_t head;
};

struct chunk {
	uint64_t ino, index, target, len;
	bool valid;
};

struct walk {
	struct metad_db_snapshot *snap;
	sqlite3_stmt *inodes, *chunks, *garbage, *truncations, *stripe;
	struct chain_targets *chains;
	size_t n_chains;
	struct chunk c; /* the next */
	uint64_t garbage_ino, truncation_ino;
	uint64_t stripe_id; /* of heads */
	uint32_t n_heads;
	uint64_t heads[STRIPE_MAX];
	bool (*is_complete)(void *arg, uint64_t target);
	metad_finding_fn *found;
	void *arg;
	uint64_t n;
};

struct file {
	uint64_t ino, size, chunk_size, stripe, seed, truncs;
	bool sparse;
};

int metad_db_fsck_chunks_begin(struct metad_db_snapshot *s)
{
	if (sqlite3_exec(s->sql, "CREATE TEMP TABLE listed (ino INTEGER, idx INTEGER, target INTEGER, "
				 "len INTEGER)",
			 NULL, NULL, NULL) != SQLITE_OK)
		return ff3_log_errno(-EIO, "fsck: %s", sqlite3_errmsg(s->sql));
	return db_fsck_prepare(s, "INSERT INTO listed VALUES (?,?,?,?)", &s->add);
}

int metad_db_fsck_chunks_add(struct metad_db_snapshot *s, uint64_t target, const struct ff3_chunk *chunk)
{
	int r;

	bind_u64(s->add, 1, chunk->ino);
	bind_u64(s->add, 2, chunk->index);
	bind_u64(s->add, 3, target);
	bind_u64(s->add, 4, chunk->length);
	r = db_fsck_step(s, s->add);
	sqlite3_reset(s->add);
	return r;
}

int metad_db_fsck_targets(struct metad_db_snapshot *s, int (*fn)(void *arg, uint64_t target), void *arg)
{
	sqlite3_stmt *stmt = NULL;
	int r = db_fsck_prepare(s, "SELECT target FROM targets ORDER BY target", &stmt);

	while (r == 0 && (r = db_fsck_step(s, stmt)) > 0)
		r = fn(arg, column_u64(stmt, 0));
	sqlite3_finalize(stmt);
	return r;
}

/* --- Cursors ------------------------------------------------------------------------------------- */

static int next_chunk(struct walk *w)
{
	int r = db_fsck_step(w->snap, w->chunks);

	w->c = (struct chunk){ 0 };
	if (r > 0)
		w->c = (struct chunk){ column_u64(w->chunks, 0), column_u64(w->chunks, 1),
				       column_u64(w->chunks, 2), column_u64(w->chunks, 3), true };
	return r < 0 ? r : 0;
}

/* Whether ino is in a queue, whose next row is *at. */
static int is_in(struct walk *w, sqlite3_stmt *queue, uint64_t *at, uint64_t ino)
{
	while (*at < ino) {
		int r = db_fsck_step(w->snap, queue);

		if (r < 0)
			return r;
		*at = r > 0 ? column_u64(queue, 0) : UINT64_MAX;
	}
	return *at == ino;
}

static uint64_t head_of(const struct walk *w, uint32_t chain)
{
	for (size_t i = 0; i < w->n_chains; i++)
		if (w->chains[i].chain == chain)
			return w->chains[i].head;
	return 0;
}

/* Where the chunks of files with this stripe are: w->heads. 0: there is no such stripe. */
static int load_stripe(struct walk *w, uint64_t id)
{
	struct ff3_blob chains;
	int r;

	if (w->stripe_id == id && w->n_heads > 0)
		return 1;
	w->n_heads = 0;
	bind_u64(w->stripe, 1, id);
	r = db_fsck_step(w->snap, w->stripe);
	if (r > 0) {
		chains = column_blob(w->stripe, 0);
		for (uint32_t i = 0; i + 4 <= chains.len && w->n_heads < STRIPE_MAX; i += 4) {
			uint32_t chain;

			memcpy(&chain, (const uint8_t *)chains.p + i, 4);
			w->heads[w->n_heads++] = head_of(w, le32toh(chain));
		}
	}
	sqlite3_reset(w->stripe);
	w->stripe_id = id;
	return r < 0 ? r : w->n_heads > 0;
}

/* --- Chunks of no inode ---------------------------------------------------------------------------- */

/* All chunks of the inode that comes next: a finding for each target (or more, on very many). */
static int no_inode(struct walk *w)
{
	struct metad_finding list[ORPHAN_TARGETS];
	uint64_t ino = w->c.ino;
	size_t n = 0;
	int known = is_in(w, w->garbage, &w->garbage_ino, ino), r = known < 0 ? known : 0;
	bool told = known > 0 || ino >= w->snap->meta.next_ino;

	while (r == 0 && w->c.valid && w->c.ino == ino) {
		size_t i = 0;

		while (i < n && list[i].target != w->c.target)
			i++;
		if (i == ORPHAN_TARGETS) {
			i = 0;
			r = told ? 0 : w->found(w->arg, &list[0]);
			list[0].target = 0;
		}
		if (i == n || list[i].target == 0)
			list[i] = (struct metad_finding){ .kind = METAD_F_ORPHAN_CHUNKS, .ino = ino,
							  .target = w->c.target, .have = w->c.len,
							  .first = (uint32_t)w->c.index };
		n = MAX(n, i + 1);
		list[i].last = (uint32_t)w->c.index;
		list[i].n++;
		r = r == 0 ? next_chunk(w) : r;
	}
	for (size_t i = 0; r == 0 && !told && i < n; i++)
		r = w->found(w->arg, &list[i]);
	return r;
}

/* --- Chunks of a file -------------------------------------------------------------------------------- */

static int tell(struct walk *w, enum metad_finding_kind kind, const struct file *file, uint64_t first,
		uint64_t last, uint64_t target, uint64_t len)
{
	struct metad_finding f = { .kind = kind, .ino = file->ino, .target = target, .n = last - first + 1,
				   .first = (uint32_t)first, .last = (uint32_t)last,
				   .have = len, .size = file->size, .truncs = file->truncs };

	return w->found(w->arg, &f);
}

/* Chunks from first up to before end are not there; of the first there are len bytes. */
static int missed(struct walk *w, const struct file *file, uint64_t first, uint64_t end, uint64_t len)
{
	uint64_t target = w->heads[(first + file->seed) % w->n_heads];

	if (first >= end || file->sparse || file->truncs > 0 || !w->is_complete(w->arg, target))
		return 0;
	return tell(w, METAD_F_MISSING, file, first, end - 1, target, len);
}

static int one_chunk(struct walk *w, const struct file *file, bool *beyond)
{
	const struct chunk *c = &w->c;
	uint64_t begin = c->index * file->chunk_size, target = c->target;
	bool was_beyond = *beyond;

	if (target != w->heads[(c->index + file->seed) % w->n_heads])
		return tell(w, METAD_F_MISPLACED, file, c->index, c->index, target, c->len);
	if (c->len > file->chunk_size)
		return tell(w, METAD_F_BAD_LENGTH, file, c->index, c->index, target, c->len);
	*beyond = begin + c->len > file->size;
	/* One finding for all: the first tells where. */
	return *beyond && !was_beyond ? tell(w, METAD_F_BEYOND_END, file, c->index, c->index, target, c->len) : 0;
}

static int check_file(struct walk *w, const struct file *file)
{
	uint64_t n_chunks = (file->size + file->chunk_size - 1) / file->chunk_size, next = 0;
	uint64_t tail = file->size - (n_chunks ? (n_chunks - 1) * file->chunk_size : 0);
	uint64_t tail_len = 0;
	bool beyond = false;
	int cutting = is_in(w, w->truncations, &w->truncation_ino, file->ino);
	int r = cutting < 0 ? cutting : load_stripe(w, file->stripe);

	if (r < 0)
		return r;
	if (r == 0) {
		r = tell(w, METAD_F_STRIPE, file, 0, 0, 0, 0);
		while (r == 0 && w->c.valid && w->c.ino == file->ino)
			r = next_chunk(w);
		return r;
	}
	for (r = 0; r == 0 && w->c.valid && w->c.ino == file->ino; r = r == 0 ? next_chunk(w) : r) {
		bool short_tail = w->c.index + 1 == n_chunks && w->c.len < tail;

		if (cutting > 0)
			continue; /* it is known to be otherwise, and taken care of */
		if (w->c.index < n_chunks)
			r = missed(w, file, next, w->c.index, 0);
		if (r == 0)
			r = one_chunk(w, file, &beyond);
		tail_len = short_tail ? w->c.len : 0;
		next = MAX(next, w->c.index + !short_tail);
	}
	return r == 0 && cutting == 0 ? missed(w, file, next, n_chunks, next + 1 == n_chunks ? tail_len : 0) :
				       r;
}

/* --- The walk ---------------------------------------------------------------------------------------- */

static int walk_inodes(struct walk *w, metad_fsck_step_fn *step)
{
	int r = next_chunk(w);

	while (r == 0 && (r = db_fsck_step(w->snap, w->inodes)) > 0) {
		struct file file = {
			.ino = column_u64(w->inodes, 0),
			.size = column_u64(w->inodes, 1),
			.chunk_size = column_u64(w->inodes, 2) & ~(uint64_t)0xff,
			.sparse = column_u64(w->inodes, 2) & METAD_LAYOUT_SPARSE,
			.stripe = column_u64(w->inodes, 3),
			.seed = column_u64(w->inodes, 4),
			.truncs = column_u64(w->inodes, 5),
		};

		r = 0;
		while (r == 0 && w->c.valid && w->c.ino < file.ino)
			r = no_inode(w);
		if (r == 0 && file.chunk_size > 0)
			r = check_file(w, &file);
		if (r == 0 && ++w->n % STEP == 0)
			r = step(w->arg, w->n, w->snap->meta.n_inodes);
	}
	while (r == 0 && w->c.valid)
		r = no_inode(w);
	return r;
}

static int load_chains(struct walk *w)
{
	sqlite3_stmt *s = NULL;
	int r = db_fsck_prepare(w->snap, "SELECT chain, members FROM chains", &s);

	while (r == 0 && (r = db_fsck_step(w->snap, s)) > 0) {
		struct ff3_blob members = column_blob(s, 1);
		struct chain_targets *grown =
			reallocarray(w->chains, w->n_chains + 1, sizeof *grown);

		if (!grown) {
			r = -ENOMEM;
			break;
		}
		w->chains = grown;
		grown[w->n_chains] = (struct chain_targets){ .chain = (uint32_t)column_u64(s, 0) };
		if (members.len >= 8)
			memcpy(&grown[w->n_chains].head, members.p, 8);
		grown[w->n_chains].head = le64toh(grown[w->n_chains].head);
		w->n_chains++;
		r = 0;
	}
	sqlite3_finalize(s);
	return r;
}

static int prepare(struct walk *w)
{
	/* Regular files; S_IFREG is 8 << 12. Others have no chunks. */
	int r = db_fsck_prepare(w->snap,
				"SELECT ino, size, chunk_size, stripe, seed, truncs FROM inodes "
				"WHERE mode >> 12 = 8 ORDER BY ino",
				&w->inodes);

	if (r == 0)
		r = db_fsck_prepare(w->snap, "SELECT ino, idx, target, len FROM listed "
					     "ORDER BY ino, idx, target", &w->chunks);
	if (r == 0)
		r = db_fsck_prepare(w->snap, "SELECT ino FROM garbage ORDER BY ino", &w->garbage);
	if (r == 0)
		r = db_fsck_prepare(w->snap, "SELECT ino FROM truncations ORDER BY ino", &w->truncations);
	if (r == 0)
		r = db_fsck_prepare(w->snap, "SELECT chains FROM stripes WHERE id = ?", &w->stripe);
	return r == 0 ? load_chains(w) : r;
}

int metad_db_fsck_chunks(struct metad_db_snapshot *snap, metad_fsck_step_fn *step,
			 metad_finding_fn *found, bool (*is_complete)(void *arg, uint64_t target),
			 void *arg)
{
	struct walk w = { .snap = snap, .found = found, .is_complete = is_complete, .arg = arg };
	int r = prepare(&w);

	if (r == 0)
		r = walk_inodes(&w, step);
	sqlite3_finalize(w.inodes);
	sqlite3_finalize(w.chunks);
	sqlite3_finalize(w.garbage);
	sqlite3_finalize(w.truncations);
	sqlite3_finalize(w.stripe);
	free(w.chains);
	return r;
}
