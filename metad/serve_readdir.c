/* Purpose: readdir: pages of a directory in the order of the names' hashes.
 *
 * Entries are encoded by hand where a general encoder would cost more than the database does. Names
 * of equal hash share a cookie, so a page never ends between them.
 *
 * A page that a reader has made is of a state that is a little older. No name of the directory was changed
 * since by who was answered before the request came (readers.c); attributes that were are looked up anew.
 *
 * Threads: the loop's; metad_page_fill with m NULL is for any. */
#include "readdir.h"
#include "readers.h"

#define HEAD_SIZE 13u /* parent, end, length of entries */
#define ENTRY_SIZE 28u /* without name and attributes */
#define ATTR_SIZE 92u

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

static int put_attr(struct metad_page *page, uint64_t ino, uint8_t **p)
{
	struct ff3_enc e = ff3_enc_init(*p, ATTR_SIZE);
	struct metad_inode inode;
	struct ff3_attr attr;
	int r = metad_db_get_inode(page->db, ino, &inode);

	if (r <= 0)
		return r < 0 ? r : -EIO;
	if (page->m)
		metad_file_overlay(page->m, &inode);
	metad_inode_attr(&inode, &attr);
	ff3_put_attr(&e, &attr);
	*p += ATTR_SIZE;
	return 0;
}

static int add(void *arg, uint64_t hash, uint64_t ino, uint32_t type, const void *name,
	       uint32_t name_len)
{
	struct metad_page *page = arg;
	size_t size = ENTRY_SIZE + name_len + (page->with_attr ? ATTR_SIZE : 0);
	uint8_t *p = page->p + page->len;

	if (hash != page->hash) {
		page->whole = page->len;
		if (page->len + size > page->max && page->len > HEAD_SIZE)
			return 1;
	}
	if (page->len + size > page->room)
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

struct metad_page metad_page(const struct ff3_req_readdir *q, uint8_t *p, size_t room)
{
	return (struct metad_page){
		.p = p,
		.room = room,
		.len = HEAD_SIZE,
		.whole = HEAD_SIZE,
		.max = MIN(MAX(q->max_bytes, 512u), FF3_READDIR_MAX),
		.with_attr = q->with_attr,
	};
}

int metad_page_fill(struct metad_page *page, const struct ff3_req_readdir *q)
{
	int r = metad_db_each_dentry(page->db, q->ino, q->cookie, add, page);

	if (r < 0)
		return r;
	page->more = r > 0;
	if (page->more)
		page->len = page->whole;
	return 0;
}

int metad_page_refresh(struct metad *m, struct metad_page *page, uint64_t seq)
{
	struct metad_page now = { .m = m, .db = m->db };
	int n = 0;

	for (uint8_t *p = page->p + HEAD_SIZE, *next; page->with_attr && p < page->p + page->len; p = next) {
		uint32_t name_len;
		uint64_t ino;
		int r;

		memcpy(&ino, p + 8, 8);
		memcpy(&name_len, p + 20, 4);
		ino = le64toh(ino);
		p += ENTRY_SIZE + le32toh(name_len);
		next = p + ATTR_SIZE;
		if (metad_db_inode_changed(m->db, ino) <= seq && !metad_file_is_dirty(m, ino))
			continue;
		n++;
		r = put_attr(&now, ino, &p);
		if (r < 0 && r != -EIO) /* gone meanwhile: it is shown as it was */
			return r;
	}
	return n;
}

void metad_page_reply(struct ff3_request *r, struct metad_page *page, uint64_t parent)
{
	put64(page->p, parent);
	page->p[8] = !page->more;
	put32(page->p + 9, (uint32_t)(page->len - HEAD_SIZE));
	ff3_request_reply(r, 0, page->p, page->len);
}

static int may_list(struct metad *m, struct metad_conn *conn, struct ff3_request *r, uint64_t ino,
		    struct metad_inode *dir)
{
	struct metad_reader reader;
	int e = metad_serve_walk(m, conn, r, &(struct ff3_path){ .dir = ino }, 0);

	if (e < 0)
		return e;
	*dir = m->walk.inode;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (dir->nlink == 0)
		return -ENOENT;
	if (metad_session_is_granted(conn->session, ino, &reader))
		return 0;
	return metad_permission(&conn->cred, dir, METAD_MAY_READ);
}

void serve_readdir(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		   const struct ff3_req_readdir *q)
{
	struct metad_page page = metad_page(q, m->scratch, FF3_BODY_MAX - METAD_PAGE_MORE);
	struct metad_inode dir;
	int e = may_list(m, conn, r, q->ino, &dir);

	if (e >= 0 && metad_readers_list(m, conn, r, q, dir.parent))
		return;
	page.m = m;
	page.db = m->db;
	if (e >= 0)
		e = metad_page_fill(&page, q);
	if (e < 0)
		metad_reply_status(m, r, e);
	else
		metad_page_reply(r, &page, dir.parent);
}
