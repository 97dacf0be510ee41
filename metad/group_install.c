/* Purpose: a copy of the database that a primary sends: written to copy.part, synced, and renamed to
 * copy.db when it is complete. Then the program begins anew, and finds it (group_install_finish).
 *
 * Threads: the loop's. What is synced at a time is bounded, so that heartbeats are answered. */
#include <fcntl.h>
#include <stdio.h>

#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "group_priv.h"

#define SYNC_EVERY (32u * 1024 * 1024)

struct group_install {
	uint64_t copy, done, size, synced;
	int dirfd, fd;
	unsigned percent;
};

void group_install_view(const struct metad_group *g, uint64_t *ret_done, uint64_t *ret_size)
{
	*ret_done = g->install ? g->install->done : 0;
	*ret_size = g->install ? g->install->size : 0;
}

static int begin(struct metad_group *g, const struct ff3_req_member_copy *q)
{
	struct group_install *in = g->install;

	if (!in) {
		in = g->install = calloc(1, sizeof *in);
		if (!in)
			return -ENOMEM;
		in->fd = -1;
		in->dirfd = open(g->m->conf->metad.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (in->dirfd < 0)
			return -errno;
	}
	if (in->fd >= 0)
		close(in->fd);
	in->fd = openat(in->dirfd, "copy.part", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (in->fd < 0)
		return -errno;
	in->copy = q->copy;
	in->size = q->size;
	in->done = in->synced = 0;
	in->percent = 0;
	ff3_info("a copy of the database comes, %" PRIu64 " bytes", q->size);
	return 0;
}

static void answer(struct metad_group *g, uint64_t to, uint64_t copy, uint64_t offset)
{
	struct group_peer *p = group_peer(g, to);
	struct ff3_req_member_copied q = { copy, offset };
	uint8_t body[32];

	if (!p->out || !ff3_out_frame(p->out, FF3_OP_member_copied, body,
				      ff3_encode_req_member_copied(body, sizeof body, &q), 0))
		return;
	ff3_out_flush(p->out);
}

static int add(struct metad_group *g, const struct ff3_req_member_copy *q, const void *bytes, size_t len)
{
	struct group_install *in = g->install;
	unsigned percent;

	if (pwrite(in->fd, bytes, len, (off_t)in->done) != (ssize_t)len)
		return errno ? -errno : -EIO;
	in->done += len;
	if (in->done - in->synced >= SYNC_EVERY || in->done == in->size) {
		if (fdatasync(in->fd) < 0)
			return -errno;
		in->synced = in->done;
	}
	percent = (unsigned)(100 * in->done / in->size);
	if (percent / 10 != in->percent / 10)
		ff3_info("%u %% of the copy are here", percent);
	in->percent = percent;
	return 0;
}

static int complete(struct metad_group *g)
{
	struct group_install *in = g->install;

	if (fsync(in->fd) < 0 || renameat(in->dirfd, "copy.part", in->dirfd, "copy.db") < 0 ||
	    fsync(in->dirfd) < 0)
		return -errno;
	return 0;
}

/* A witness has no use for the database: this is what its log begins behind. */
static int install_witness(struct metad_group *g, const struct ff3_req_member_copy *q)
{
	struct metad_vote *v = &g->vote;
	int r = metad_members_decode(q->members, &v->base_config);

	if (r < 0)
		return r;
	v->cluster = q->cluster;
	v->log_key = q->log_key;
	v->base_seq = q->seq;
	v->base_epoch = q->epoch;
	v->base_hash = q->hash;
	return group_save_vote(g);
}

static int take(struct metad_group *g, uint64_t from, const struct ff3_req_member_copy *q,
		const void *bytes, size_t len, bool *ret_complete)
{
	struct group_install *in = g->install;
	int r = 0;

	if (g->witness) {
		*ret_complete = true;
		return install_witness(g, q);
	}
	if (q->offset == 0) {
		r = begin(g, q);
		in = g->install;
	} else if (!in || in->fd < 0 || in->copy != q->copy || in->done != q->offset) {
		return 0;
	}
	if (r >= 0)
		r = add(g, q, bytes, len);
	if (r >= 0 && in->done == in->size) {
		*ret_complete = true;
		r = complete(g);
	}
	return r;
}

void group_install(struct metad_group *g, uint64_t from, const struct ff3_req_member_copy *q,
		   const void *bytes, size_t len)
{
	struct replica_view view;
	bool done = false;
	int r;

	replica_view(g->core, &view);
	if (view.primary != from || g->leads || q->seq <= view.applied_seq ||
	    (g->cluster != 0 && q->cluster != g->cluster) || q->offset + len > q->size ||
	    ff3_crc32c(0, bytes, len) != q->crc || (len == 0 && !g->witness))
		return;
	r = take(g, from, q, bytes, len, &done);
	if (r < 0)
		metad_die(r, "cannot write the copy of the database");
	answer(g, from, q->copy, q->offset + len);
	if (!done)
		return;
	ff3_info("the copy is here, up to operation %" PRIu64 "; beginning anew with it", q->seq);
	group_again(g);
}

int group_install_finish(const char *dir)
{
	_cleanup_close_ int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static const char *const old[] = { "metad.db-wal", "metad.db-shm", "copy.part", "copy.out" };

	if (dirfd < 0)
		return -errno;
	if (faccessat(dirfd, "copy.db", F_OK, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	for (size_t i = 0; i < ARRAY_SIZE(old); i++)
		if (unlinkat(dirfd, old[i], 0) < 0 && errno != ENOENT)
			return -errno;
	if (renameat(dirfd, "copy.db", dirfd, "metad.db") < 0 || fsync(dirfd) < 0)
		return -errno;
	return 1;
}
