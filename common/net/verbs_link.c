/* Purpose: posting on a connected queue pair.
 *
 * Most work requests are not signalled: their places in the send queue are free again when a later one
 * completes. Signalled are those somebody waits for, those whose memory is a send slot, and every
 * SIGNAL_EVERYth. One place is kept for the marker that says, by being flushed, that the link was
 * broken by other means than an error of its own.
 *
 * Threads: one posts at a time; ff3_verbs_link_broken from any. Fork/signals: see verbs.h. */
#include "verbs_priv.h"

int ff3_verbs_qp_new(struct ff3_verbs_link *link, struct ff3_verbs_queue *q)
{
	struct ibv_qp_init_attr attr = {
		.qp_context = link,
		.send_cq = q->cq,
		.recv_cq = q->cq,
		.srq = q->srq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = SEND_DEPTH,
			 .max_recv_wr = q->srq ? 0 : q->n_slots,
			 .max_send_sge = 2,
			 .max_recv_sge = 1,
			 .max_inline_data = INLINE_WANTED },
	};

	link->qp = ibv_create_qp(q->mr->pd, &attr);
	if (!link->qp) {
		/* Not every device sends that much inline. */
		attr.cap.max_inline_data = 0;
		link->qp = ibv_create_qp(q->mr->pd, &attr);
	}
	if (!link->qp)
		return errno ? -errno : -EIO;
	link->max_inline = attr.cap.max_inline_data;
	link->queue = q;
	return 0;
}

unsigned ff3_verbs_room(struct ff3_verbs_link *link)
{
	uint32_t posted = atomic_load_explicit(&link->posted, memory_order_relaxed);
	uint32_t used = posted - atomic_load_explicit(&link->completed, memory_order_acquire);

	return used + 1 < SEND_DEPTH ? SEND_DEPTH - 1 - used : 0;
}

unsigned ff3_verbs_send_room(struct ff3_verbs_link *link, size_t len)
{
	unsigned room = ff3_verbs_room(link);

	return len <= link->max_inline ? room : MIN(room, ff3_verbs_send_slots(link));
}

uint32_t ff3_verbs_progress(const struct ff3_verbs_link *link, uint32_t *ret_posted)
{
	*ret_posted = atomic_load_explicit(&link->posted, memory_order_relaxed);
	return atomic_load_explicit(&link->completed, memory_order_relaxed);
}

static int post(struct ff3_verbs_link *link, struct ibv_send_wr *wr, uint64_t id, uint32_t slot)
{
	uint32_t seq = atomic_load_explicit(&link->posted, memory_order_relaxed);
	struct ibv_send_wr *bad;
	int r;

	link->sq[seq % SEND_DEPTH] = (struct posted){ id, slot };
	wr->wr_id = ff3_verbs_wr_posted(seq);
	if (id || slot != NO_SLOT || ++link->unsignalled >= SIGNAL_EVERY)
		wr->send_flags |= IBV_SEND_SIGNALED;
	atomic_store_explicit(&link->posted, seq + 1, memory_order_relaxed);
	r = -ibv_post_send(link->qp, wr, &bad);
	if (r < 0)
		atomic_store_explicit(&link->posted, seq, memory_order_relaxed);
	else if (wr->send_flags & IBV_SEND_SIGNALED)
		link->unsignalled = 0;
	/* There was room by our own count: so this is no want of room, and it is the link's end. */
	return r == -ENOMEM ? -EIO : r;
}

static int check(struct ff3_verbs_link *link)
{
	int dead = atomic_load_explicit(&link->dead, memory_order_relaxed);

	if (dead)
		return dead;
	return ff3_verbs_room(link) > 0 ? 0 : -EAGAIN;
}

/* Pieces as they are: the device takes inline data by copying it now. */
static int send_inline(struct ff3_verbs_link *link, const struct iovec *iov, int n, uint64_t id)
{
	struct ibv_sge sge[2];
	struct ibv_send_wr wr = { .sg_list = sge, .num_sge = n, .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_INLINE };

	for (int i = 0; i < n; i++)
		sge[i] = (struct ibv_sge){ (uintptr_t)iov[i].iov_base, (uint32_t)iov[i].iov_len, 0 };
	COUNT(inlined, 1);
	return post(link, &wr, id, NO_SLOT);
}

int ff3_verbs_send(struct ff3_verbs_link *link, const struct iovec *iov, int n, uint64_t id)
{
	struct ff3_verbs_queue *q = link->queue;
	size_t len = 0, at = 0;
	int r = check(link);
	uint32_t slot;
	uint8_t *p;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (len > FF3_VERBS_SLOT)
		return -E2BIG;
	if (r < 0)
		return r;
	COUNT(sends, 1);
	if (len <= link->max_inline && n <= 2)
		return send_inline(link, iov, n, id);
	slot = ff3_verbs_send_slot_get(link);
	if (slot == NO_SLOT)
		return -EAGAIN;
	p = q->send_slots + (size_t)slot * FF3_VERBS_SLOT;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > 0)
			memcpy(p + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	{
		struct ibv_sge sge = { (uintptr_t)p, (uint32_t)len, q->mr->lkey };
		struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND };

		r = post(link, &wr, id, slot);
	}
	if (r < 0)
		ff3_verbs_send_slot_put(link, slot);
	return r;
}

static int transfer(struct ff3_verbs_link *link, enum ibv_wr_opcode opcode, uint32_t lkey,
		    const void *p, const struct ff3_verbs_piece *piece, uint32_t len, uint64_t id)
{
	struct ibv_sge sge = { (uintptr_t)p, len, lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = len > 0, .opcode = opcode };
	int r = check(link);

	if (r < 0)
		return r;
	wr.wr.rdma.remote_addr = piece->addr;
	wr.wr.rdma.rkey = piece->rkey;
	return post(link, &wr, id, NO_SLOT);
}

int ff3_verbs_write(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, const void *p,
		    const struct ff3_verbs_piece *to, uint32_t len, uint64_t id)
{
	COUNT(writes, 1);
	return transfer(link, IBV_WR_RDMA_WRITE, m->lkey, p, to, len, id);
}

int ff3_verbs_read(struct ff3_verbs_link *link, const struct ff3_verbs_memory *m, void *p,
		   const struct ff3_verbs_piece *from, uint32_t len, uint64_t id)
{
	COUNT(reads, 1);
	return transfer(link, IBV_WR_RDMA_READ, m->lkey, p, from, len, id);
}

int ff3_verbs_probe(struct ff3_verbs_link *link, uint64_t id)
{
	const struct ff3_verbs_piece nowhere = { 0 };

	return transfer(link, IBV_WR_RDMA_WRITE, 0, NULL, &nowhere, 0, id);
}

/* --- Windows --------------------------------------------------------------------------------- */

int ff3_verbs_window_new(struct ff3_verbs_device *d, struct ff3_verbs_window **ret)
{
	struct ff3_verbs_window *w;

	if (!(d->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B))
		return -EOPNOTSUPP;
	w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->mw = ibv_alloc_mw(d->own_pd, IBV_MW_TYPE_2);
	if (!w->mw) {
		free(w);
		return errno ? -errno : -EIO;
	}
	*ret = w;
	return 0;
}

void ff3_verbs_window_free(struct ff3_verbs_window *w)
{
	if (!w)
		return;
	ibv_dealloc_mw(w->mw);
	free(w);
}

int ff3_verbs_bind(struct ff3_verbs_link *link, struct ff3_verbs_window *w,
		   const struct ff3_verbs_memory *m, const void *p, uint32_t len, uint64_t id,
		   struct ff3_verbs_piece *ret)
{
	/* Another key each time: who remembers an old one gets nothing. */
	uint32_t rkey = ibv_inc_rkey(w->mw->rkey);
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW };
	int r = check(link);

	if (r < 0)
		return r;
	wr.bind_mw.mw = w->mw;
	wr.bind_mw.rkey = rkey;
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = m->region->mr,
		.addr = (uintptr_t)p,
		.length = len,
		.mw_access_flags = IBV_ACCESS_REMOTE_READ,
	};
	r = post(link, &wr, id, NO_SLOT);
	if (r < 0)
		return r;
	/* The next bind is checked against it. */
	w->mw->rkey = rkey;
	*ret = (struct ff3_verbs_piece){ (uintptr_t)p, rkey, len };
	return 0;
}

int ff3_verbs_unbind(struct ff3_verbs_link *link, struct ff3_verbs_window *w, uint64_t id)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = w->mw->rkey };
	int r = check(link);

	return r < 0 ? r : post(link, &wr, id, NO_SLOT);
}

void ff3_verbs_link_broken(struct ff3_verbs_link *link, int cause)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };
	struct ibv_send_wr wr = { .wr_id = ff3_verbs_wr_marker(), .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	int alive = 0;

	if (!atomic_compare_exchange_strong(&link->dead, &alive, cause) || !link->qp)
		return;
	ibv_modify_qp(link->qp, &attr, IBV_QP_STATE);
	/* No room for it: then enough is there that gets flushed. */
	(void)ibv_post_send(link->qp, &wr, &bad);
}
