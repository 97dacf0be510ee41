/* Purpose: directory listings. Metad answers in pages; the next page is requested as soon as one has
 * arrived and travels while that one is consumed. "." and ".." are made here.
 *
 * Cookies: metad's are hashes below 2^62; those of "." and ".." lie above.
 *
 * Threads: a listing belongs to one thread at a time. Fork: a page under way is the parent's; the
 * child asks for it again. */
#include "internal.h"

#include <dirent.h>
#include <sys/stat.h>

#define COOKIE_DOT ((1ull << 62) | 1)
#define COOKIE_DOTDOT ((1ull << 62) | 2)
#define PAGE_FIRST (32u * 1024u)
#define PAGE_NEXT (256u * 1024u)
#define PAGE_SLACK 64u /* what a reply has around its entries */

struct page {
	uint8_t *buf;
	size_t size;
	struct ff3_rep_readdir rep;
	uint64_t told; /* ff3_board_told before it was asked for */
};

enum position { AT_DOT, AT_DOTDOT, AT_ENTRIES };

struct ff3fs_dir {
	struct ff3fs *fs;
	uint64_t ino, parent;
	bool with_attr;
	struct ff3fs_attr attr;
	enum position position;
	uint64_t cookie;       /* of the last entry that was decoded */
	struct ff3_dec entries; /* of the current page */
	bool have_page, end;    /* end: the current page is the last */
	struct page current, ahead;
	bool asked; /* ahead is under way */
	uint64_t fork_epoch;
	struct ff3_rpc_call call;
	uint8_t body[64];
	struct ff3fs_dirent entry;
};

static int page_room(struct page *p, size_t size)
{
	uint8_t *buf;

	if (p->size >= size + PAGE_SLACK)
		return 0;
	buf = realloc(p->buf, size + PAGE_SLACK);
	if (!buf)
		return -ENOMEM;
	p->buf = buf;
	p->size = size + PAGE_SLACK;
	return 0;
}

/* Requests the page after cookie; a failure shows when it is wanted. */
static void ask_ahead(struct ff3fs_dir *d, uint64_t cookie)
{
	struct ff3_req_readdir req = {
		.ino = d->ino,
		.cookie = cookie,
		.max_bytes = PAGE_NEXT,
		.with_attr = d->with_attr,
	};

	if (page_room(&d->ahead, PAGE_NEXT) < 0)
		return;
	memset(&d->call, 0, sizeof d->call);
	d->call.op = FF3_OP_readdir;
	d->call.body = d->body;
	d->call.body_len = ff3_encode_req_readdir(d->body, sizeof d->body, &req);
	d->call.reply = d->ahead.buf;
	d->call.reply_size = d->ahead.size;
	d->fork_epoch = d->fs->fork_epoch;
	d->ahead.told = ff3_board_told();
	d->asked = ff3_rpc_group_start(d->fs->meta.group, &d->call) == 0;
}

static void unask(struct ff3fs_dir *d)
{
	struct ff3_rpc_call *call = &d->call;

	if (d->asked && d->fork_epoch == d->fs->fork_epoch)
		ff3_rpc_wait(&call, 1, FF3_RPC_NOW);
	d->asked = false;
}

static int ask(struct ff3fs_dir *d, uint64_t cookie, uint32_t size)
{
	struct ff3_req_readdir req = {
		.ino = d->ino,
		.cookie = cookie,
		.max_bytes = size,
		.with_attr = d->with_attr,
	};
	struct ff3_meta_call call;
	int r = page_room(&d->current, size);

	if (r < 0)
		return r;
	d->current.told = ff3_board_told();
	call = FF3_META_CALL(readdir, false, &req, &d->current.rep, d->current.buf,
			     d->current.size);
	return ff3_meta_call(d->fs, &call);
}

/* The answer to ask_ahead becomes the current page. */
static int take_ahead(struct ff3fs_dir *d)
{
	struct ff3_rpc_call *call = &d->call;
	struct page p = d->current;

	if (!d->asked || d->fork_epoch != d->fs->fork_epoch)
		return -EAGAIN;
	d->asked = false;
	ff3_rpc_group_wait(d->fs->meta.group, call, ff3_boottime_ns() + d->fs->timeout_ns);
	if (call->status < 0 ||
	    ff3_decode_rep_readdir(d->ahead.buf, call->reply_len, &d->ahead.rep) < 0)
		return -EAGAIN;
	d->current = d->ahead;
	d->ahead = p;
	return 0;
}

/* The cookie of a page's last entry, so that the page after it can be requested. */
static int last_cookie(struct ff3_blob entries, uint64_t *cookie)
{
	struct ff3_dec d = ff3_dec_blob(entries);
	struct ff3_dirent e;

	while (ff3_dec_more(&d)) {
		ff3_get_dirent(&d, &e);
		if (!d.bad)
			*cookie = e.cookie;
	}
	return d.bad ? -EBADMSG : 0;
}

static int next_page(struct ff3fs_dir *d, uint32_t size)
{
	uint64_t cookie = d->cookie;
	int r = take_ahead(d);

	if (r < 0)
		r = ask(d, cookie, size);
	if (r < 0)
		return r;
	r = last_cookie(d->current.rep.entries, &cookie);
	if (r < 0)
		return r;
	d->entries = ff3_dec_blob(d->current.rep.entries);
	d->parent = d->current.rep.parent;
	/* An empty page that is not the last would be asked for for ever. */
	d->end = d->current.rep.end || d->current.rep.entries.len == 0;
	d->have_page = true;
	if (!d->end)
		ask_ahead(d, cookie);
	return 0;
}

EXPORT int ff3fs_opendir(struct ff3fs *fs, uint64_t dir, const char *path, int with_attr,
			 struct ff3fs_dir **ret)
{
	FF3_ENTER();
	struct ff3_req_lookup req = { .at = ff3_path_of(dir, path, 0) };
	struct ff3_rep_lookup rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(lookup, false, &req, &rep, buf, sizeof buf);
	struct ff3fs_dir *d;
	int r;

	req.at.flags |= FF3_PATH_DIRECTORY;
	r = ff3_meta_call(fs, &call);
	if (r < 0)
		return ff3_public(r);
	if (!S_ISDIR(rep.attr.mode))
		return -ENOTDIR;
	d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->fs = fs;
	d->ino = rep.attr.ino;
	d->with_attr = with_attr;
	ff3_attr_to_public(&rep.attr, &d->attr);
	/* The permission to read it shows here, as opendir(3) wants it; not that it was removed. */
	r = next_page(d, PAGE_FIRST);
	if (r < 0 && r != -ENOENT) {
		free(d->current.buf);
		free(d->ahead.buf);
		free(d);
		return ff3_public(r);
	}
	*ret = d;
	return 0;
}

EXPORT uint64_t ff3fs_dir_ino(const struct ff3fs_dir *d)
{
	return d->ino;
}

/* Size and times of a file that processes here are writing, or were since the page was asked for. */
static void latest(struct ff3fs_dir *d)
{
	struct ff3_req_lookup req = { .at = { .dir = d->entry.ino } };
	struct ff3_rep_lookup rep;
	uint8_t buf[512];
	struct ff3_meta_call call = FF3_META_CALL(lookup, false, &req, &rep, buf, sizeof buf);

	if (ff3_gather_outdates(d->fs, d->entry.ino, d->current.told) && ff3_meta_call(d->fs, &call) == 0)
		ff3_attr_to_public(&rep.attr, &d->entry.attr);
}

static void fill_dot(struct ff3fs_dir *d, const char *name, uint64_t ino, uint64_t cookie)
{
	struct ff3_req_lookup req = { .at = { .dir = ino } };
	struct ff3_rep_lookup rep;
	uint8_t buf[512];
	struct ff3_meta_call call = FF3_META_CALL(lookup, false, &req, &rep, buf, sizeof buf);

	memset(&d->entry, 0, sizeof d->entry);
	d->entry.ino = ino;
	d->entry.cookie = cookie;
	d->entry.type = DT_DIR;
	strcpy(d->entry.name, name);
	if (!d->with_attr)
		return;
	if (ino == d->ino)
		d->entry.attr = d->attr;
	else if (ff3_meta_call(d->fs, &call) == 0)
		ff3_attr_to_public(&rep.attr, &d->entry.attr);
}

static int fill_entry(struct ff3fs_dir *d)
{
	struct ff3_dirent e;

	ff3_get_dirent(&d->entries, &e);
	if (d->entries.bad || e.name.len >= sizeof d->entry.name)
		return -EBADMSG;
	d->cookie = e.cookie;
	d->entry.ino = e.ino;
	d->entry.cookie = e.cookie;
	d->entry.type = e.type;
	memcpy(d->entry.name, e.name.p, e.name.len);
	d->entry.name[e.name.len] = '\0';
	if (d->with_attr) {
		ff3_attr_of_blob(d->fs, e.attr, &d->entry.attr);
		latest(d);
	}
	return 0;
}

static int next_entry(struct ff3fs_dir *d, const struct ff3fs_dirent **ret)
{
	FF3_ENTER();
	int r = 0;

	if (d->position == AT_DOT && !d->have_page)
		r = next_page(d, PAGE_NEXT);
	if (r < 0)
		return ff3_public(r);
	if (d->position == AT_DOT) {
		d->position = AT_DOTDOT;
		fill_dot(d, ".", d->ino, COOKIE_DOT);
		*ret = &d->entry;
		return 1;
	}
	if (d->position == AT_DOTDOT) {
		d->position = AT_ENTRIES;
		fill_dot(d, "..", d->parent, COOKIE_DOTDOT);
		d->entry.attr.ino = d->with_attr ? d->parent : 0;
		*ret = &d->entry;
		return 1;
	}
	while (!d->have_page || !ff3_dec_more(&d->entries)) {
		if (d->have_page && d->end)
			return 0;
		r = next_page(d, PAGE_NEXT);
		if (r < 0)
			return ff3_public(r);
	}
	r = fill_entry(d);
	if (r < 0)
		return ff3_public(r);
	*ret = &d->entry;
	return 1;
}

/* Of the page that is here; its attributes might have to be asked for again. */
static int entry_at_hand(struct ff3fs_dir *d, const struct ff3fs_dirent **ret)
{
	FF3_ENTER_BRIEFLY();
	int r = fill_entry(d);

	if (r < 0)
		return ff3_public(r);
	*ret = &d->entry;
	return 1;
}

EXPORT int ff3fs_readdir(struct ff3fs_dir *d, const struct ff3fs_dirent **ret)
{
	bool at_hand = d->position == AT_ENTRIES && d->have_page && !d->with_attr && ff3_dec_more(&d->entries);

	return LIKELY(at_hand) ? entry_at_hand(d, ret) : next_entry(d, ret);
}

EXPORT void ff3fs_seekdir(struct ff3fs_dir *d, uint64_t cookie)
{
	unask(d);
	d->have_page = false;
	d->end = false;
	d->cookie = cookie == COOKIE_DOT || cookie == COOKIE_DOTDOT ? 0 : cookie;
	d->position = cookie == 0 ? AT_DOT : cookie == COOKIE_DOT ? AT_DOTDOT : AT_ENTRIES;
}

EXPORT void ff3fs_closedir(struct ff3fs_dir *d)
{
	if (!d)
		return;
	unask(d);
	free(d->current.buf);
	free(d->ahead.buf);
	free(d);
}
