/* Purpose: where completions come out: completion queues, receive slots, sleeping.
 *
 * A work request's id says what it is: SLOT and the slot's number, or POSTED and its number in the
 * link's sequence. Everything posted on a link completes in order, so one signalled completion stands
 * for all before it; after an error each one comes, flushed.
 *
 * A link is found by its queue pair's number: it may be gone when a late completion comes, which then
 * only gives its receive slot back.
 *
 * Threads: one polls. Send slots are taken by the posting and given back by the polling thread, in
 * a bitmap. Fork: the memory does not exist in a child. Signals: none. */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include "verbs_priv.h"

#define SLOT_MARK 1u
#define POSTED_MARK 2u
#define BROKEN_MARK 3u
#define POLL_BATCH 32
/* Links of one queue; each can fill SEND_DEPTH entries. */
#define CQE_MAX (1 << 18)

uint64_t ff3_verbs_wr_posted(uint32_t sequence)
{
	return (uint64_t)sequence << 8 | POSTED_MARK;
}

uint64_t ff3_verbs_wr_marker(void)
{
	return BROKEN_MARK;
}

/* --- Birth and death --------------------------------------------------------------------------- */

static int post_slot(struct ff3_verbs_queue *q, struct ibv_qp *qp, unsigned slot)
{
	struct ibv_sge sge = { (uintptr_t)q->slots + (size_t)slot * FF3_VERBS_SLOT, FF3_VERBS_SLOT,
			       q->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = (uint64_t)slot << 8 | SLOT_MARK,
				  .sg_list = &sge,
				  .num_sge = 1 },
			   *bad;

	COUNT(recvs, 1);
	return -(q->srq ? ibv_post_srq_recv(q->srq, &wr, &bad) : ibv_post_recv(qp, &wr, &bad));
}

int ff3_verbs_fill_slots(struct ff3_verbs_link *link)
{
	int r = 0;

	for (unsigned i = 0; i < link->queue->n_slots && r == 0; i++)
		r = post_slot(link->queue, link->qp, i);
	return r;
}

static int make_memory(struct ff3_verbs_queue *q, struct ibv_pd *pd)
{
	size_t slots = (size_t)q->n_slots * FF3_VERBS_SLOT;

	q->memory_size = slots + (size_t)q->n_send_slots * FF3_VERBS_SLOT;
	q->memory = ff3_verbs_pages(q->memory_size);
	if (!q->memory)
		return -ENOMEM;
	q->slots = q->memory;
	q->send_slots = q->memory + slots;
	for (unsigned i = 0; i < q->n_send_slots; i++)
		q->send_free[i / 64] |= 1ull << i % 64;
	q->mr = ff3_verbs_pin(pd, q->memory, q->memory_size, IBV_ACCESS_LOCAL_WRITE);
	return q->mr ? 0 : errno ? -errno : -EIO;
}

static int make_queue(struct ff3_verbs_queue *q)
{
	struct ff3_verbs_device *d = q->device;

	q->channel = ibv_create_comp_channel(d->context);
	if (!q->channel)
		return errno ? -errno : -EIO;
	ff3_fd_move_high(&q->channel->fd);
	if (fcntl(q->channel->fd, F_SETFL, fcntl(q->channel->fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	q->n_cqe = (int)(q->n_slots + SEND_DEPTH);
	q->cq = ibv_create_cq(d->context, q->n_cqe, q, q->channel, 0);
	return q->cq ? 0 : errno ? -errno : -EIO;
}

static int make_shared_slots(struct ff3_verbs_queue *q)
{
	struct ibv_srq_init_attr attr = { .attr = { .max_wr = q->n_slots, .max_sge = 1 } };
	int r = 0;

	q->srq = ibv_create_srq(q->mr->pd, &attr);
	if (!q->srq)
		return errno ? -errno : -EIO;
	for (unsigned i = 0; i < q->n_slots && r == 0; i++)
		r = post_slot(q, NULL, i);
	return r;
}

int ff3_verbs_queue_make(struct ff3_verbs_device *d, unsigned n_slots, bool shared,
			 struct ff3_verbs_queue **ret)
{
	struct ff3_verbs_queue *q = calloc(1, sizeof *q);
	int r;

	if (!q)
		return -ENOMEM;
	q->device = d;
	q->n_slots = n_slots;
	q->n_send_slots = shared ? DAEMON_SEND_SLOTS : CLIENT_SEND_SLOTS;
	r = make_memory(q, shared ? d->own_pd : d->pd);
	if (r == 0)
		r = make_queue(q);
	if (r == 0 && shared)
		r = make_shared_slots(q);
	if (r < 0) {
		ff3_verbs_queue_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

int ff3_verbs_queue_new(struct ff3_verbs_device *d, unsigned n_slots, struct ff3_verbs_queue **ret)
{
	int r = ff3_verbs_queue_make(d, n_slots, true, ret);

	if (r == 0) {
		ff3_verbs_lock();
		d->refs++;
		(*ret)->counted = true;
		ff3_verbs_unlock();
	}
	return r;
}

void ff3_verbs_queue_free(struct ff3_verbs_queue *q)
{
	if (!q)
		return;
	if (q->srq)
		ibv_destroy_srq(q->srq);
	if (q->cq && q->unacked > 0)
		ibv_ack_cq_events(q->cq, q->unacked);
	if (q->cq)
		ibv_destroy_cq(q->cq);
	if (q->channel)
		ibv_destroy_comp_channel(q->channel);
	if (q->mr)
		ibv_dereg_mr(q->mr);
	if (q->memory)
		munmap(q->memory, q->memory_size);
	if (q->counted) {
		ff3_verbs_lock();
		ff3_verbs_device_unref(q->device);
		ff3_verbs_unlock();
	}
	free(q);
}

/* --- Links by number -------------------------------------------------------------------------------- */

static struct ff3_verbs_link **bucket(struct ff3_verbs_queue *q, uint32_t number)
{
	return &q->links[number % ARRAY_SIZE(q->links)];
}

/* Room for the completions of one more link. */
static int make_room(struct ff3_verbs_queue *q)
{
	int want = (int)(q->n_slots + (q->n_links + 1) * SEND_DEPTH);

	if (want <= q->n_cqe)
		return 0;
	want = MIN(MAX(want, 2 * q->n_cqe), MIN(CQE_MAX, q->device->attr.max_cqe));
	if (want <= q->n_cqe || ibv_resize_cq(q->cq, want) != 0)
		return -EUSERS;
	q->n_cqe = want;
	return 0;
}

int ff3_verbs_link_add(struct ff3_verbs_queue *q, struct ff3_verbs_link *link)
{
	struct ff3_verbs_link **at = bucket(q, link->qp->qp_num);
	int r = make_room(q);

	if (r < 0)
		return r;
	link->hash_next = *at;
	*at = link;
	q->n_links++;
	return 0;
}

void ff3_verbs_link_remove(struct ff3_verbs_queue *q, struct ff3_verbs_link *link)
{
	for (struct ff3_verbs_link **at = bucket(q, link->qp->qp_num); *at; at = &(*at)->hash_next)
		if (*at == link) {
			*at = link->hash_next;
			q->n_links--;
			return;
		}
}

static struct ff3_verbs_link *find_link(struct ff3_verbs_queue *q, uint32_t number)
{
	struct ff3_verbs_link *link = *bucket(q, number);

	while (link && link->qp->qp_num != number)
		link = link->hash_next;
	return link;
}

/* --- Send slots --------------------------------------------------------------------------------------- */

unsigned ff3_verbs_send_slots(const struct ff3_verbs_link *link)
{
	const struct ff3_verbs_queue *q = link->queue;
	uint32_t used = atomic_load_explicit(&q->send_used, memory_order_relaxed);
	uint32_t mine = atomic_load_explicit(&link->send_used, memory_order_relaxed);
	uint32_t share = used < q->n_send_slots / 2 ? SEND_SHARE : SEND_SHARE_SHORT;

	if (!q->srq)
		return q->n_send_slots - used;
	return mine < share ? MIN(share - mine, q->n_send_slots - used) : 0;
}

uint32_t ff3_verbs_send_slot_get(struct ff3_verbs_link *link)
{
	struct ff3_verbs_queue *q = link->queue;

	if (ff3_verbs_send_slots(link) == 0)
		return NO_SLOT;
	for (unsigned i = 0; i * 64 < q->n_send_slots; i++) {
		uint64_t free = atomic_load(&q->send_free[i]);

		while (free) {
			uint64_t bit = free & -free;

			if (!atomic_compare_exchange_weak(&q->send_free[i], &free, free & ~bit))
				continue;
			atomic_fetch_add_explicit(&q->send_used, 1, memory_order_relaxed);
			atomic_fetch_add_explicit(&link->send_used, 1, memory_order_relaxed);
			return i * 64 + (uint32_t)__builtin_ctzll(bit);
		}
	}
	return NO_SLOT;
}

void ff3_verbs_send_slot_put(struct ff3_verbs_link *link, uint32_t slot)
{
	struct ff3_verbs_queue *q = link->queue;

	if (slot == NO_SLOT)
		return;
	atomic_fetch_sub_explicit(&q->send_used, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&link->send_used, 1, memory_order_relaxed);
	atomic_fetch_or(&q->send_free[slot / 64], 1ull << slot % 64);
}

/* --- Completions ---------------------------------------------------------------------------------------- */

static int status_of(enum ibv_wc_status s)
{
	switch (s) {
	case IBV_WC_SUCCESS:
		return 0;
	case IBV_WC_RETRY_EXC_ERR:
	case IBV_WC_RNR_RETRY_EXC_ERR:
	case IBV_WC_RESP_TIMEOUT_ERR:
		return -ETIMEDOUT;
	case IBV_WC_REM_ACCESS_ERR:
		return -EACCES;
	case IBV_WC_WR_FLUSH_ERR:
		return -ECONNRESET;
	default:
		return -EIO;
	}
}

/* Everything up to and with sequence number seq is done. The one with an id is at most the last:
 * such are signalled. */
static uint64_t posted_done(struct ff3_verbs_link *link, uint32_t seq)
{
	uint32_t at = atomic_load_explicit(&link->completed, memory_order_relaxed);
	struct posted *p = &link->sq[seq % SEND_DEPTH];

	/* Flushed ones may come for what a later success has said already; never, but cheap. */
	if ((int32_t)(seq + 1 - at) <= 0)
		return 0;
	ff3_verbs_send_slot_put(link, p->send_slot);
	p->send_slot = NO_SLOT;
	at = seq + 1;
	atomic_store_explicit(&link->completed, at, memory_order_release);
	return p->id;
}

/* Turns a completion into up to two events. */
static int translate(struct ff3_verbs_queue *q, const struct ibv_wc *wc,
		     struct ff3_verbs_event *e)
{
	struct ff3_verbs_link *link = find_link(q, wc->qp_num);
	uint32_t number = (uint32_t)(wc->wr_id >> 8);
	int status = status_of(wc->status), n = 0;

	if ((wc->wr_id & 0xff) == SLOT_MARK) {
		if (link && status == 0 && !link->reported) {
			e[n++] = (struct ff3_verbs_event){
				.kind = FF3_VERBS_RECV,
				.link = link,
				.data = q->slots + (size_t)number * FF3_VERBS_SLOT,
				.len = wc->byte_len,
				.slot = number,
			};
			return n;
		}
		if (q->srq)
			(void)post_slot(q, NULL, number);
	} else if (link && (wc->wr_id & 0xff) == POSTED_MARK) {
		uint64_t id = posted_done(link, number);

		e[n++] = (struct ff3_verbs_event){ .kind = id ? FF3_VERBS_SENT : FF3_VERBS_NONE,
						   .link = link, .id = id, .status = status };
	}
	if (link && status < 0 && !link->reported) {
		int alive = 0;

		link->reported = true;
		/* What broke it, if that is known already, and not that all was flushed then. */
		atomic_compare_exchange_strong(&link->dead, &alive, status);
		e[n++] = (struct ff3_verbs_event){ .kind = FF3_VERBS_DEAD, .link = link,
						   .status = atomic_load(&link->dead) };
	}
	return n;
}

int ff3_verbs_poll(struct ff3_verbs_queue *q, struct ff3_verbs_event *events, int max)
{
	struct ibv_wc wc[POLL_BATCH];
	int n = ibv_poll_cq(q->cq, MIN(max / 2, POLL_BATCH), wc), n_events = 0;

	COUNT(polls, 1);
	if (n < 0)
		return -EIO;
	for (int i = 0; i < n; i++)
		n_events += translate(q, &wc[i], events + n_events);
	/* Completions that say nothing to the caller are still something. */
	if (n > 0 && n_events == 0)
		events[n_events++] = (struct ff3_verbs_event){ .kind = FF3_VERBS_NONE };
	return n_events;
}

void ff3_verbs_give_back(struct ff3_verbs_queue *q, const struct ff3_verbs_event *e)
{
	/* A broken queue pair needs none. */
	(void)post_slot(q, e->link ? e->link->qp : NULL, e->slot);
}

int ff3_verbs_arm(struct ff3_verbs_queue *q)
{
	struct ibv_cq *cq;
	void *context;

	while (ibv_get_cq_event(q->channel, &cq, &context) == 0) {
		COUNT(wakeups, 1);
		/* Acknowledging takes a lock: many at once. */
		if (++q->unacked >= 64) {
			ibv_ack_cq_events(q->cq, q->unacked);
			q->unacked = 0;
		}
	}
	if (q->one)
		ff3_verbs_cm_events(q->one);
	return -ibv_req_notify_cq(q->cq, 0);
}
