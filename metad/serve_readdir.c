/* Purpose: readdir: pages of a directory in the order of the names' hashes.
 *
 * Entries are encoded by hand where a general encoder would cost more than the database does. Names
 * of equal hash share a cookie, so a page never ends between them.
 *
 * Threads: the loop's. */
#include "metad.h"

#define HEAD_SIZE 13u /* parent, end, length of entries */
#define ENTRY_SIZE 28u /* without name and attributes */
#define ATTR_SIZE 92u
#define ROOM (FF3_BODY_MAX - 4096u)

struct page {
	struct metad *m;
	uint8_t *p;
	size_t len;
	size_t max;
	size_t whole;   /* length up to which no group of equal hashes is cut */
	uint64_t hash;  /* of the last entry */
	bool with_attr;
	int error;
};

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static int put_attr(struct page *page, uint64_t ino, uint8_t **p)
{
	struct ff3_enc e = ff3_enc_init(*p, ATTR_SIZE);
	struct metad_inode inode;
	struct ff3_attr attr;
	int r = metad_db_get_inode(page->m->db, ino, &inode);

	if (r <= 0)
		return r < 0 ? r : -EIO;
	metad_file_overlay(page->m, &inode);
	metad_inode_attr(&inode, &attr);
	ff3_put_attr(&e, &attr);
	*p += ATTR_SIZE;
	return 0;
}

static int add(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
	       uint32_t name_len)
{
	struct page *page = arg;
	size_t size = ENTRY_SIZE + name_len + (page->with_attr ? ATTR_SIZE : 0);
	uint8_t *p = page->p + page->len;

	if (hash != page->hash) {
		page->whole = page->len;
		if (page->len + size > page->max && page->len > HEAD_SIZE)
			return 1;
	}
	if (page->len + size > ROOM)
		return page->whole > HEAD_SIZE ? 1 : -EOVERFLOW;
	page->hash = hash;
	p = put64(p, hash);
	p = put64(p, ino);
	p = put32(p, type);
	p = put32(p, name_len);
	memcpy(p, name, name_len);
	p = put32(p + name_len, page->with_attr ? ATTR_SIZE : 0);
	if (page->with_attr) {
		page->error = put_attr(page, ino, &p);
		if (page->error < 0)
			return page->error;
	}
	page->len = (size_t)(p - page->p);
	return 0;
}

static int may_list(struct metad *m, const struct metad_conn *conn, uint64_t ino,
		    struct metad_inode *dir)
{
	int r = metad_db_get_inode(m->db, ino, dir);

	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (dir->nlink == 0)
		return -ENOENT;
	if (metad_session_is_granted(conn->session, ino))
		return 0;
	return metad_permission(&conn->cred, dir, METAD_MAY_READ);
}

void serve_readdir(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_readdir *q)
{
	struct page page = {
		.m = m,
		.p = m->scratch,
		.len = HEAD_SIZE,
		.whole = HEAD_SIZE,
		.max = MIN(MAX(q->max_bytes, 512u), FF3_READDIR_MAX),
		.with_attr = q->with_attr,
	};
	struct metad_inode dir;
	int more = may_list(m, conn, q->ino, &dir);

	if (more >= 0)
		more = metad_db_each_dentry(m->db, q->ino, q->cookie, add, &page);
	if (more < 0) {
		metad_reply_status(m, r, more);
		return;
	}
	if (more > 0)
		page.len = page.whole;
	put64(page.p, dir.parent);
	page.p[8] = more == 0;
	put32(page.p + 9, (uint32_t)(page.len - HEAD_SIZE));
	ff3_request_reply(r, 0, page.p, page.len);
}
