/* Purpose: what fsck repairs. Each repair says what it was found to be; it is done only if it still is
 * so, in the log's order, whatever came between.
 *
 * Threads: the owner of the database. */
#include "apply.h"
#include "db_fsck.h"

#include <stdio.h>

#define LOST_FOUND FF3_STR("lost+found")

static int find_dentry(struct metad_apply *a, const struct metad_repair *q, uint64_t *ret_ino,
		       uint32_t *ret_type)
{
	return metad_db_get_dentry(a->db, q->parent, (struct ff3_str){ q->name, q->name_len }, ret_ino,
				   ret_type);
}

static int repair_name(struct metad_apply *a, const struct metad_repair *q)
{
	struct ff3_str name = { q->name, q->name_len };
	struct metad_inode inode;
	uint32_t type;
	uint64_t ino;
	int r = find_dentry(a, q, &ino, &type);

	if (r <= 0 || ino != q->ino)
		return r < 0 ? r : 0;
	r = metad_db_get_inode(a->db, q->ino, &inode);
	if (r < 0)
		return r;
	if (r == 0)
		r = metad_db_del_dentry(a->db, q->parent, name);
	else if (q->kind != METAD_F_TYPE)
		return 0;
	else
		r = metad_db_set_dentry(a->db, q->parent, name, ino, metad_dirent_type(inode.mode));
	return r < 0 ? r : 1;
}

static int repair_inode(struct metad_apply *a, const struct metad_repair *q)
{
	char name[FF3_NAME_MAX];
	struct metad_inode inode;
	uint32_t len;
	int r = metad_db_get_inode(a->db, q->ino, &inode);

	if (r <= 0)
		return r;
	if (q->kind == METAD_F_LINKS) {
		if (inode.nlink != q->have)
			return 0;
		inode.nlink = (uint32_t)q->want;
	} else {
		r = metad_db_find_name(a->db, q->parent, q->want, q->ino, name, &len);
		if (r <= 0)
			return r;
		inode.parent = q->parent;
		inode.name_hash = q->want;
	}
	r = metad_db_put_inode(a->db, &inode);
	return r < 0 ? r : 1;
}

/* /lost+found, made if it is not there. 0: the name is taken by something else. */
static int lost_found(struct metad_apply *a, struct metad_inode *ret)
{
	struct metad_inode root;
	uint32_t type;
	uint64_t ino;
	int r = metad_db_get_dentry(a->db, FF3_ROOT_INO, LOST_FOUND, &ino, &type);

	if (r < 0)
		return r;
	if (r > 0) {
		r = metad_db_get_inode(a->db, ino, ret);
		return r > 0 ? S_ISDIR(ret->mode) : r;
	}
	r = metad_db_get_inode(a->db, FF3_ROOT_INO, &root);
	if (r <= 0)
		return r;
	*ret = apply_new_inode(a, &root, S_IFDIR | 0700);
	ret->uid = ret->gid = 0;
	r = apply_add_name(a, &root, LOST_FOUND, ret);
	if (r >= 0)
		r = metad_db_add_inode(a->db, ret);
	return r < 0 ? r : 1;
}

static int rescue(struct metad_apply *a, const struct metad_repair *q)
{
	struct metad_inode inode, dir;
	char text[32], old[FF3_NAME_MAX];
	uint32_t len, type;
	uint64_t ino;
	struct ff3_str name;
	int r = metad_db_get_inode(a->db, q->ino, &inode);

	if (r > 0 && inode.ino == FF3_ROOT_INO)
		return 0;
	/* It has been given one meanwhile. */
	if (r > 0 && metad_db_find_name(a->db, inode.parent, inode.name_hash, inode.ino, old, &len) != 0)
		return metad_db_error(a->db);
	if (r > 0)
		r = lost_found(a, &dir);
	if (r <= 0)
		return r;
	snprintf(text, sizeof text, "#%" PRIu64, inode.ino);
	name = ff3_str_from(text);
	r = metad_db_get_dentry(a->db, dir.ino, name, &ino, &type);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!S_ISDIR(inode.mode))
		inode.nlink = 1;
	else if (inode.nlink == 0)
		inode.nlink = 2;
	r = apply_add_name(a, &dir, name, &inode);
	if (r >= 0)
		r = metad_db_put_inode(a->db, &inode);
	return r < 0 ? r : 1;
}

static int repair_row(struct metad_apply *a, const struct metad_repair *q)
{
	struct metad_inode inode = { .ino = q->ino, .mode = S_IFLNK };
	uint64_t root;
	int r = metad_db_get_inode(a->db, q->ino, &inode);

	if (r < 0 || (r > 0) != (q->kind == METAD_F_GARBAGE_ROW))
		return r < 0 ? r : 0;
	switch (q->kind) {
	case METAD_F_ORPHAN_ROW:
		return metad_db_del_orphan(a->db, q->ino, &root);
	case METAD_F_GARBAGE_ROW:
		return metad_db_del_garbage(a->db, q->ino, &root);
	case METAD_F_TREE_ROW:
		r = metad_db_del_tree(a->db, q->ino);
		break;
	case METAD_F_TRUNCATION_ROW:
		r = metad_db_del_truncation(a->db, q->ino);
		break;
	default:
		r = metad_db_del_rows(a->db, q->ino);
	}
	return r < 0 ? r : 1;
}

struct names {
	struct metad_repair *list;
	uint32_t n;
};

static int gather(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
		  uint32_t name_len)
{
	struct names *names = arg;
	struct metad_repair *e = &names->list[names->n];

	e->have = hash;
	e->name_len = MIN(name_len, FF3_NAME_MAX);
	memcpy(e->name, name, e->name_len);
	return ++names->n == METAD_REPAIRS_MAX;
}

/* Some of the names in a directory that does not exist. */
static int empty_nothing(struct metad_apply *a, const struct metad_repair *q)
{
	static const uint32_t size = METAD_REPAIRS_MAX * sizeof(struct metad_repair);
	struct names names = { .list = malloc(size) };
	struct metad_inode inode;
	int r = names.list ? metad_db_get_inode(a->db, q->ino, &inode) : -ENOMEM;

	if (r < 0 || (r > 0 && S_ISDIR(inode.mode))) {
		free(names.list);
		return r < 0 ? r : 0;
	}
	r = metad_db_each_dentry(a->db, q->ino, 0, gather, &names);
	for (uint32_t i = 0; r >= 0 && i < names.n; i++)
		r = metad_db_del_dentry_at(
			a->db, q->ino, names.list[i].have,
			(struct ff3_str){ names.list[i].name, names.list[i].name_len });
	free(names.list);
	return r < 0 ? r : names.n > 0;
}

/* A file whose chunks reach beyond its end is cut to the size that it has, as by truncate. */
static int cut_chunks(struct metad_apply *a, const struct metad_repair *q)
{
	struct metad_inode inode;
	uint64_t size, old_size;
	int r = metad_db_get_inode(a->db, q->ino, &inode);

	if (r <= 0 || !S_ISREG(inode.mode) || inode.size != q->have || inode.truncs != q->want)
		return MIN(r, 0);
	r = metad_db_get_truncation(a->db, q->ino, &size, &old_size);
	if (r != 0)
		return MIN(r, 0);
	inode.truncs++;
	inode.generation++;
	r = metad_db_put_inode(a->db, &inode);
	if (r >= 0)
		r = metad_db_put_truncation(a->db, inode.ino, inode.size, FF3_FILE_SIZE_MAX);
	a->effects.ino = inode.ino;
	a->effects.truncated = true;
	return r < 0 ? r : 1;
}

static int repair(struct metad_apply *a, const struct metad_repair *q)
{
	struct metad_meta *meta = metad_db_meta(a->db);

	switch (q->kind) {
	case METAD_F_DANGLING:
	case METAD_F_TYPE:
		return repair_name(a, q);
	case METAD_F_LINKS:
	case METAD_F_PARENT:
		return repair_inode(a, q);
	case METAD_F_NO_NAME:
		return rescue(a, q);
	case METAD_F_NO_DIRECTORY:
		return empty_nothing(a, q);
	case METAD_F_BEYOND_END:
		return cut_chunks(a, q);
	case METAD_F_INODES:
		meta->n_inodes += q->want - q->have;
		return 1;
	case METAD_F_NEXT_INO:
		meta->next_ino = MAX(meta->next_ino, q->want);
		return 1;
	case METAD_F_ORPHAN_ROW:
	case METAD_F_GARBAGE_ROW:
	case METAD_F_TREE_ROW:
	case METAD_F_TRUNCATION_ROW:
	case METAD_F_STRAY:
		return repair_row(a, q);
	}
	return 0;
}

int apply_log_repair(struct metad_apply *a)
{
	const struct ff3_blob *all = &a->rec->payload;
	uint32_t i = 0;

	for (uint32_t at = 0; at + sizeof(struct metad_repair) <= all->len && i < METAD_REPAIRS_MAX;
	     at += sizeof(struct metad_repair), i++) {
		struct metad_repair q;
		int r;

		memcpy(&q, (const uint8_t *)all->p + at, sizeof q);
		q.name_len = MIN(q.name_len, FF3_NAME_MAX);
		r = repair(a, &q);
		if (r < 0)
			return r;
		if (r > 0)
			a->effects.repaired |= 1ull << i;
	}
	return 0;
}
