/* Purpose: one request to one chunk: encoding, checksums, waiting, repeating.
 *
 * A read's data arrive in the application's buffer and are checked there; a write's are sent from
 * a copy, so that an application that changes its buffer meanwhile does not spoil the checksums.
 *
 * Repeating: lost connections until the client's timeout, with the same tag so that a write
 * applies once; a wrong checksum once, into memory of ours, because several reads may share the
 * application's buffer, and then the daemon compares as well, which tells a spoilt disk from a spoilt
 * transfer; an old route after asking metad; what found no memory that a device knows, when those before it
 * have given back theirs, and then by another link.
 *
 * Threads: a piece belongs to the thread that waits for it. Fork: pieces under way do not exist
 * in the child. */
#include "replay.h"

#include <endian.h>

#define SMALL 64u
/* More than a peer usually has connections, each of which may have to be left for another link. */
#define MEMORY_TRIES 16u

size_t ff3_block_crcs(uint32_t offset, const void *data, size_t len, uint32_t *ret)
{
	const uint8_t *p = data;
	size_t n = 0;

	while (len > 0) {
		size_t part = MIN(len, (size_t)(FF3_BLOCK - offset % FF3_BLOCK));

		ret[n++] = htole32(ff3_crc32c(0, p, part));
		p += part;
		len -= part;
		offset += (uint32_t)part;
	}
	return n;
}

int ff3_piece_take(struct ff3_piece *p, struct ff3_cursor *c)
{
	const uint8_t *from;

	if (c->n == 0 || c->iov->iov_len - c->offset < p->length)
		return ff3_cursor_read(c, p->data, p->length);
	from = (const uint8_t *)c->iov->iov_base + c->offset;
	if (ff3_user_readable(from, p->length) < 0)
		return -EFAULT;
	p->n_crcs = (uint32_t)ff3_crc32c_copy(p->data, from, p->length, p->offset, p->crcs);
	for (uint32_t i = 0; i < p->n_crcs; i++)
		p->crcs[i] = htole32(p->crcs[i]);
	ff3_cursor_skip(c, p->length);
	return 0;
}

/* One block that lies in more than one iovec. */
static uint32_t scattered_crc(struct ff3_cursor *c, size_t len)
{
	uint32_t crc = 0;

	while (len > 0 && c->n > 0) {
		size_t part = MIN(c->iov->iov_len - c->offset, len);

		crc = ff3_crc32c(crc, (char *)c->iov->iov_base + c->offset, part);
		len -= part;
		ff3_cursor_skip(c, part);
	}
	return crc;
}

bool ff3_block_crcs_match(uint32_t offset, const struct iovec *iov, int n, size_t len,
			  struct ff3_blob crcs)
{
	struct ff3_cursor c = { iov, n, 0 };
	const uint8_t *expected = crcs.p;
	size_t n_blocks = len ? (offset % FF3_BLOCK + len + FF3_BLOCK - 1) / FF3_BLOCK : 0;

	if (crcs.len != n_blocks * 4)
		return false;
	for (size_t i = 0; i < n_blocks; i++) {
		size_t part = MIN(len, (size_t)(FF3_BLOCK - offset % FF3_BLOCK));
		uint32_t crc;

		memcpy(&crc, expected + 4 * i, 4);
		if (scattered_crc(&c, part) != le32toh(crc))
			return false;
		len -= part;
		offset += (uint32_t)part;
	}
	return true;
}

/* A write behind all that is known to have been written leaves a gap, which metad is told of. */
static void note_gap(struct ff3_inode *inode, uint64_t offset, uint64_t end)
{
	uint64_t dense = atomic_load_explicit(&inode->dense_end, memory_order_relaxed);

	if (atomic_load_explicit(&inode->sparse, memory_order_relaxed))
		return;
	if (offset > dense && offset > atomic_load_explicit(&inode->size, memory_order_relaxed))
		atomic_store(&inode->sparse, true);
	while (dense < end && !atomic_compare_exchange_weak(&inode->dense_end, &dense, end))
		;
}

void ff3_piece_init(struct ff3_piece *p, struct ff3_inode *inode, uint16_t op, uint64_t offset,
		    uint32_t length)
{
	/* Not wire: it is large, and written before it is read. */
	memset(p, 0, offsetof(struct ff3_piece, wire));
	p->inode = inode;
	p->op = op;
	p->index = (uint32_t)(offset >> inode->chunk_shift);
	p->offset = (uint32_t)(offset & (ff3_inode_chunk_size(inode) - 1));
	p->length = length;
	p->repeats = atomic_load_explicit(&inode->hold.repeats, memory_order_acquire);
	p->iov = &p->one;
	p->n_iov = 1;
	if (op == FF3_OP_chunk_write)
		note_gap(inode, offset, offset + length);
}

static void fill_read(struct ff3_piece *p)
{
	struct ff3_req_chunk_read req = {
		.ino = p->inode->ino,
		.index = p->index,
		.chain = p->route.chain,
		.chain_version = p->route.version,
		.offset = p->offset,
		.length = p->length,
		/* If it was wrong, the daemon shall find out whether its disk is. */
		.flags = p->n_checksum == 0 ? FF3_READ_COMPARES : 0,
	};

	p->call.body = p->wire;
	p->call.body_len = ff3_encode_req_chunk_read(p->wire, SMALL, &req);
	p->call.reply = p->wire + SMALL;
	p->call.reply_size = sizeof p->wire - SMALL;
	p->call.reply_expected =
		16 + 4 * ((p->offset % FF3_BLOCK + p->length + FF3_BLOCK - 1) / FF3_BLOCK);
	if (p->n_checksum > 0 && !p->own.iov_base) {
		p->own.iov_base = malloc(p->length);
		p->own.iov_len = p->length;
	}
	p->call.into = p->own.iov_base ? &p->own : p->iov;
	p->call.n_into = p->own.iov_base ? 1 : p->n_iov;
	p->call.sums = p->crcs;
	p->call.sums_offset = p->offset % FF3_BLOCK;
	p->call.sums_max = PIECE_CRCS;
	/* Whole blocks, as they are on the disk. */
	p->call.place_len = (p->offset % FF3_BLOCK + p->length + FF3_BLOCK - 1) / FF3_BLOCK * FF3_BLOCK;
}

static void free_own(struct ff3_piece *p)
{
	free(TAKE_PTR(p->own.iov_base));
}

static void fill_write(struct ff3_piece *p)
{
	struct ff3_req_chunk_write req = {
		.ino = p->inode->ino,
		.index = p->index,
		.chain = p->route.chain,
		.chain_version = p->route.version,
		.offset = p->offset,
		.flags = p->flags,
		.session = atomic_load_explicit(&p->inode->fs->session, memory_order_relaxed),
		.seq = p->seq,
	};

	if (p->n_crcs == 0)
		p->n_crcs = (uint32_t)ff3_block_crcs(p->offset, p->data, p->length, p->crcs);
	req.crcs = (struct ff3_blob){ p->crcs, 4 * p->n_crcs };

	p->one = (struct iovec){ p->data, p->length };
	p->call.body = p->wire + SMALL;
	p->call.body_len = ff3_encode_req_chunk_write(p->wire + SMALL, sizeof p->wire - SMALL, &req);
	p->call.reply = p->wire;
	p->call.reply_size = SMALL;
	p->call.payload = p->iov;
	p->call.n_payload = p->n_iov;
}

int ff3_piece_prepare(struct ff3_piece *p)
{
	struct ff3fs *fs = p->inode->fs;
	void (*done)(struct ff3_rpc_call *) = p->call.done;

	p->started = false;
	p->routes_version = ff3_routes_version(fs);
	p->start_error = ff3_route_find(fs, ff3_inode_chain(p->inode, p->index), &p->route);
	if (p->start_error < 0)
		return p->start_error;
	p->settled = ff3_recover_sample(p->route.peer);
	memset(&p->call, 0, sizeof p->call);
	p->call.op = p->op;
	p->call.no_wait = p->no_wait;
	p->call.careful = p->n_checksum > 0;
	p->call.insists = p->n_memory > 0;
	p->call.done = done;
	p->call.user = p;
	if (p->op == FF3_OP_chunk_read) {
		fill_read(p);
	} else {
		if (p->seq == 0)
			p->seq = atomic_fetch_add(&fs->write_seq, 1) + 1;
		fill_write(p);
	}
	return 0;
}

void ff3_piece_start(struct ff3_piece *p)
{
	if (UNLIKELY(ff3_piece_prepare(p) < 0))
		return;
	p->start_error = ff3_rpc_start(p->route.peer->rpc, &p->call);
	p->started = p->start_error == 0;
}

static bool is_intact(const struct ff3_piece *p, struct ff3_blob crcs)
{
	const struct ff3_rpc_call *call = &p->call;
	const uint8_t *expected = crcs.p;
	bool same = crcs.len == 4 * (size_t)call->n_sums;

	if (call->n_sums == 0)
		return ff3_block_crcs_match(p->offset, call->into, call->n_into, call->payload_len, crcs);
	for (uint32_t i = 0; i < call->n_sums && same; i++) {
		uint32_t crc;

		memcpy(&crc, expected + 4 * (size_t)i, 4);
		same = le32toh(crc) == call->sums[i];
	}
	return same;
}

static int check_read(struct ff3_piece *p)
{
	struct ff3_rep_chunk_read rep;
	int r = ff3_decode_rep_chunk_read(p->call.reply, p->call.reply_len, &rep);

	if (r < 0)
		return r;
	if (p->call.payload_len > p->length)
		return -EBADMSG;
	if (!is_intact(p, rep.crcs))
		return FF3_E_CHECKSUM;
	if (UNLIKELY(p->own.iov_base != NULL)) {
		struct ff3_cursor to = { p->iov, p->n_iov, 0 };

		r = ff3_cursor_write(&to, p->own.iov_base, p->call.payload_len);
		free_own(p);
		if (r < 0)
			return r;
	}
	p->got = (uint32_t)p->call.payload_len;
	p->chunk_size = rep.chunk_size;
	p->instance = p->call.instance;
	return 0;
}

static int check_write(struct ff3_piece *p)
{
	struct ff3_rep_chunk_write rep;
	int r = ff3_decode_rep_chunk_write(p->call.reply, p->call.reply_len, &rep);

	if (r < 0)
		return r;
	p->chunk_size = rep.chunk_size;
	p->instance = rep.instance;
	return 0;
}

int ff3_piece_check(struct ff3_piece *p)
{
	int r;

	if (UNLIKELY(p->start_error < 0))
		return p->start_error;
	p->started = false;
	if (UNLIKELY(p->call.status < 0))
		return p->call.status;
	r = p->op == FF3_OP_chunk_read ? check_read(p) : check_write(p);
	if (UNLIKELY(p->settled != p->instance) && r == 0 && !p->replay)
		r = ff3_recover_check(p->route.peer, p->settled, p->instance);
	return r;
}

static bool route_may_be_old(int cause)
{
	return ff3_err_class(cause) == FF3_CLASS_REFRESH_ROUTE || cause == -ECONNREFUSED ||
	       cause == -EHOSTUNREACH || cause == -ENETUNREACH || cause == -ETIMEDOUT ||
	       cause == FF3_E_CLUSTER;
}

void ff3_piece_explain(const struct ff3_piece *p, const struct ff3_retry *retry, int cause)
{
	if (cause == -EFAULT || cause == -ENOSPC)
		return;
	if ((cause == FF3_E_VERSION || cause == FF3_E_CREDENTIAL) && p->route.peer) {
		ff3_explain_daemon(p->inode->fs, p->route.peer->rpc, "chunkd", p->route.peer->address, cause);
		return;
	}
	ff3_explain("chunk %u of inode %" PRIu64 " at %s: %s%s", p->index, p->inode->ino,
		    p->route.peer ? p->route.peer->address : "no daemon", ff3_strerror(cause),
		    ff3_retry_tried(p->inode->fs, retry).text);
}

int ff3_piece_again(struct ff3_piece *p, struct ff3_retry *retry, int cause)
{
	int r = cause;

	if (cause == -ERESTART) {
		ff3_recover(p->inode->fs, p->route.peer, p->settled, p->instance);
		if (p->once)
			return -ERESTART;
		p->seq = 0; /* what the old daemon, or the new one before the others' copies, was sent */
		p->repeats = atomic_load_explicit(&p->inode->hold.repeats, memory_order_acquire);
		*retry = (struct ff3_retry){ 0 };
		ff3_piece_start(p);
		return 0;
	}
	/* The other side has met other pages than these: those that were here when they were registered. */
	if ((cause == FF3_E_CHECKSUM || (cause == -EBADMSG && p->op == FF3_OP_chunk_write)) &&
	    p->n_checksum++ == 0) {
		for (int i = 0; i < p->n_iov; i++)
			ff3_rpc_memory_gone(p->iov[i].iov_base, p->iov[i].iov_len);
		ff3_piece_start(p);
		return 0;
	}
	/* A device can be told of no more memory. What pieces before this one had is free by now; and if that does not
	 * help, the next time is by another connection. */
	if (cause == -ENOMEM && p->n_memory < MEMORY_TRIES) {
		p->n_memory++;
		ff3_piece_start(p);
		return 0;
	}
	if (p->once && ff3_chunk_retriable(cause)) {
		if (route_may_be_old(cause))
			ff3_routes_refresh(p->inode->fs, p->routes_version, true);
	} else if (ff3_chunk_retriable(cause)) {
		if (retry->deadline_ns == 0)
			*retry = ff3_retry_begin(p->inode->fs);
		r = ff3_retry_pause(retry, cause);
	}
	if (r < 0) {
		free_own(p);
		ff3_piece_explain(p, retry, cause);
		return r;
	}
	if (route_may_be_old(cause))
		ff3_routes_refresh(p->inode->fs, p->routes_version, true);
	ff3_piece_start(p);
	return 0;
}

int ff3_piece_wait(struct ff3_piece *p, struct ff3_retry *retry)
{
	struct ff3_rpc_call *call = &p->call;
	int r;

	for (;;) {
		if (p->started && !ff3_rpc_is_done(call)) {
			if (retry->deadline_ns == 0)
				*retry = ff3_retry_begin(p->inode->fs);
			ff3_rpc_wait(&call, 1, retry->deadline_ns);
		}
		r = ff3_piece_check(p);
		if (LIKELY(r == 0))
			return 0;
		r = ff3_piece_again(p, retry, r);
		if (r < 0)
			return r;
	}
}

void ff3_piece_abandon(struct ff3_piece *p)
{
	struct ff3_rpc_call *call = &p->call;

	if (p->started && p->start_error == 0)
		ff3_rpc_wait(&call, 1, FF3_RPC_NOW);
	p->started = false;
	free_own(p);
}
