/* Purpose: rows of stripes, nodes, targets and chains. All stripes are held in memory: there are
 * about as many as chains, since files take rotations of one order.
 * Threads: the owner of the database. */
#include "db_private.h"

static uint64_t stripe_hash(struct ff3_blob chains)
{
	return metad_hash(0x5717, chains.p, chains.len);
}

static uint32_t *stripe_slot(struct metad_db *db, struct ff3_blob chains)
{
	uint32_t i = (uint32_t)stripe_hash(chains) & (db->stripe_slots - 1);

	for (;; i = (i + 1) & (db->stripe_slots - 1)) {
		uint32_t id = db->stripe_index[i];

		if (id == 0 || (db->stripes[id - 1].len == chains.len &&
				memcmp(db->stripes[id - 1].p, chains.p, chains.len) == 0))
			return &db->stripe_index[i];
	}
}

static int grow_stripes(struct metad_db *db)
{
	uint32_t room = MAX(db->room_stripes * 2, 64u);
	struct ff3_blob *stripes = realloc(db->stripes, room * sizeof *stripes);
	uint32_t *index;

	if (!stripes)
		return db_fail(db, SQLITE_NOMEM, "no memory");
	db->stripes = stripes;
	index = calloc(room * 2, sizeof *index);
	if (!index)
		return db_fail(db, SQLITE_NOMEM, "no memory");
	free(db->stripe_index);
	db->stripe_index = index;
	db->stripe_slots = room * 2;
	db->room_stripes = room;
	for (uint32_t id = 0; id < db->n_stripes; id++)
		*stripe_slot(db, db->stripes[id]) = id + 1;
	return 0;
}

/* Ids count from 0 without gaps. */
static int remember_stripe(struct metad_db *db, struct ff3_blob chains)
{
	void *copy;

	if (db->n_stripes == db->room_stripes && grow_stripes(db) < 0)
		return db->error;
	copy = malloc(MAX(chains.len, 1u));
	if (!copy)
		return db_fail(db, SQLITE_NOMEM, "no memory");
	if (chains.len > 0)
		memcpy(copy, chains.p, chains.len);
	db->stripes[db->n_stripes] = (struct ff3_blob){ copy, chains.len };
	*stripe_slot(db, db->stripes[db->n_stripes]) = db->n_stripes + 1;
	db->n_stripes++;
	return 0;
}

int db_load_stripes(struct metad_db *db)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_stripe);
	int r;

	while ((r = db_step(db, s)) > 0) {
		if (column_u64(s, 0) != db->n_stripes)
			return db_fail(db, SQLITE_CORRUPT, "stripes are not numbered in order");
		r = remember_stripe(db, column_blob(s, 1));
		if (r < 0)
			return r;
	}
	return r;
}

int metad_db_get_stripe(struct metad_db *db, uint32_t id, struct ff3_blob *ret_chains)
{
	if (id >= db->n_stripes)
		return 0;
	*ret_chains = db->stripes[id];
	return 1;
}

int metad_db_intern_stripe(struct metad_db *db, struct ff3_blob chains, uint32_t *ret_id)
{
	sqlite3_stmt *s;
	uint32_t found;
	int r;

	if (db->n_stripes > 0) {
		found = *stripe_slot(db, chains);
		if (found > 0) {
			*ret_id = found - 1;
			return 0;
		}
	}
	s = db_stmt(db, STMT_add_stripe);
	if (!s)
		return db->error;
	bind_u64(s, 1, db->n_stripes);
	bind_bytes(s, 2, chains.p, chains.len);
	r = db_run(db, s);
	if (r >= 0)
		r = remember_stripe(db, chains);
	if (r < 0)
		return r;
	*ret_id = db->n_stripes - 1;
	return 0;
}

static void bind_str(sqlite3_stmt *s, int i, struct ff3_str v)
{
	sqlite3_bind_text(s, i, v.len > 0 ? v.p : "", (int)v.len, SQLITE_STATIC);
}

static struct ff3_str column_str(sqlite3_stmt *s, int i)
{
	struct ff3_blob b = column_blob(s, i);

	return (struct ff3_str){ b.p, b.len };
}

int metad_db_put_node(struct metad_db *db, uint64_t node, struct ff3_str address,
		      struct ff3_str admin)
{
	sqlite3_stmt *s = db_stmt(db, STMT_put_node);

	if (!s)
		return db->error;
	bind_u64(s, 1, node);
	bind_str(s, 2, address);
	bind_str(s, 3, admin);
	return db_run(db, s);
}

int metad_db_get_node(struct metad_db *db, uint64_t node, struct ff3_str *ret_address,
		      struct ff3_str *ret_admin)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_node);
	struct ff3_str address, admin;
	struct ff3_blob kept;
	char both[2 * 1024];
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, node);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	address = column_str(s, 0);
	admin = column_str(s, 1);
	if (address.len > 1024 || admin.len > 1024)
		return db_fail(db, SQLITE_CORRUPT, "address is too long");
	memcpy(both, address.p ? address.p : "", address.len);
	memcpy(both + address.len, admin.p ? admin.p : "", admin.len);
	r = db_keep(db, both, address.len + admin.len, &kept);
	*ret_address = (struct ff3_str){ kept.p, address.len };
	*ret_admin = (struct ff3_str){ (const char *)kept.p + address.len, admin.len };
	sqlite3_reset(s);
	return r < 0 ? r : 1;
}

int metad_db_each_node(struct metad_db *db,
		       int (*fn)(void *arg, uint64_t node, struct ff3_str address,
				 struct ff3_str admin),
		       void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_node);
	int r;

	while ((r = db_step(db, s)) > 0) {
		r = fn(arg, column_u64(s, 0), column_str(s, 1), column_str(s, 2));
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}

int metad_db_put_target(struct metad_db *db, uint64_t target, uint64_t node, uint32_t state)
{
	sqlite3_stmt *s = db_stmt(db, STMT_put_target);

	if (!s)
		return db->error;
	bind_u64(s, 1, target);
	bind_u64(s, 2, node);
	bind_u64(s, 3, state);
	return db_run(db, s);
}

int metad_db_get_target(struct metad_db *db, uint64_t target, uint64_t *ret_node,
			uint32_t *ret_state)
{
	sqlite3_stmt *s = db_stmt(db, STMT_get_target);
	int r;

	if (!s)
		return db->error;
	bind_u64(s, 1, target);
	r = db_step(db, s);
	if (r <= 0)
		return r;
	*ret_node = column_u64(s, 0);
	*ret_state = (uint32_t)column_u64(s, 1);
	sqlite3_reset(s);
	return 1;
}

int metad_db_each_target(struct metad_db *db,
			 int (*fn)(void *arg, uint64_t target, uint64_t node, uint32_t state),
			 void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_target);
	int r;

	while ((r = db_step(db, s)) > 0) {
		r = fn(arg, column_u64(s, 0), column_u64(s, 1), (uint32_t)column_u64(s, 2));
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}

int metad_db_add_chain(struct metad_db *db, uint32_t chain, uint64_t version,
		       struct ff3_blob members)
{
	sqlite3_stmt *s = db_stmt(db, STMT_add_chain);

	if (!s)
		return db->error;
	bind_u64(s, 1, chain);
	bind_u64(s, 2, version);
	bind_bytes(s, 3, members.p, members.len);
	return db_run(db, s);
}

int metad_db_each_chain(struct metad_db *db,
			int (*fn)(void *arg, uint32_t chain, uint64_t version,
				  struct ff3_blob members),
			void *arg)
{
	sqlite3_stmt *s = db_stmt(db, STMT_each_chain);
	int r;

	while ((r = db_step(db, s)) > 0) {
		r = fn(arg, (uint32_t)column_u64(s, 0), column_u64(s, 1), column_blob(s, 2));
		if (r != 0) {
			sqlite3_reset(s);
			return r;
		}
	}
	return r;
}
