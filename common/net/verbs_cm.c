/* Purpose: connections from a client's side, and what both sides share: the queue pair's states, events,
 * the end. verbs_listen.c has the daemon's side.
 *
 * Nothing here waits inside librdmacm: event channels do not block, and between calls the
 * connecting thread sleeps in poll until its deadline.
 *
 *   client   resolve address -> resolve route -> queue, queue pair (INIT), slots -> connect ->
 *            response -> RTR, RTS -> established
 *   daemon   request -> (on the serving thread) queue pair (INIT, RTR, RTS) -> accept
 *
 * Events of a daemon's links come on the listener's channel, and are passed on by breaking the link.
 *
 * Threads: librdmacm is called under ff3_verbs_control. An event is acknowledged before that is
 * released: destroying an id waits for its events. Fork/signals: see verbs.h. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "verbs_priv.h"

/* Of the queue pair: 4.096 us * 2^16, a quarter of a second; repeated six times, because Soft-RoCE takes 7 for
 * "for ever". */
#define ACK_TIMEOUT 16
#define RETRIES 6
/* Receivers that have no slot free are waited for: who does not receive is found out above. */
#define RNR_FOREVER 7
#define RESOLVE_MS 2000

int ff3_verbs_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
}

/* --- States of the queue pair ------------------------------------------------------------------- */

int ff3_verbs_move_to(struct ff3_verbs_link *link, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };
	int mask = 0;

	if (rdma_init_qp_attr(link->cm, &attr, &mask) < 0)
		return -errno;
	/* On both sides: a probe is a write of nothing. Of a daemon's memory nothing is registered for that. */
	if (state == IBV_QPS_INIT)
		attr.qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
					IBV_ACCESS_MW_BIND;
	if (state == IBV_QPS_RTR) {
		attr.max_dest_rd_atomic =
			(uint8_t)MIN(link->device->attr.max_qp_rd_atom, 16);
		attr.min_rnr_timer = 12; /* 0.64 ms */
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	}
	if (state == IBV_QPS_RTS) {
		attr.max_rd_atomic = (uint8_t)MIN(link->device->attr.max_qp_init_rd_atom, 16);
		attr.timeout = ACK_TIMEOUT;
		attr.retry_cnt = RETRIES;
		attr.rnr_retry = RNR_FOREVER;
		mask |= IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			IBV_QP_RNR_RETRY;
	}
	return -ibv_modify_qp(link->qp, &attr, mask);
}

struct rdma_conn_param ff3_verbs_conn_param(const struct ff3_verbs_link *link, const void *terms,
					    size_t n)
{
	return (struct rdma_conn_param){
		.private_data = n > 0 ? terms : NULL,
		.private_data_len = (uint8_t)n,
		.responder_resources = (uint8_t)MIN(link->device->attr.max_qp_rd_atom, 16),
		.initiator_depth = (uint8_t)MIN(link->device->attr.max_qp_init_rd_atom, 16),
		.flow_control = 1,
		.retry_count = RETRIES,
		.rnr_retry_count = RNR_FOREVER,
		.srq = link->qp->srq != NULL,
		.qp_num = link->qp->qp_num,
	};
}

/* --- Events ---------------------------------------------------------------------------------------- */

static int rejected(const struct rdma_cm_event *e, char *why)
{
	/* 8: nobody listens; 28: the listener does not want it. */
	bool nobody = e->status == 8;

	snprintf(why, FF3_VERBS_WHY, nobody ? "nobody listens for RDMA there" :
					      "the daemon refused the connection (reason %d)",
		 e->status);
	return -ECONNREFUSED;
}

/* What an event that is not the expected one means for whoever is connecting. */
static int failed(const struct rdma_cm_event *e, char *why)
{
	switch (e->event) {
	case RDMA_CM_EVENT_REJECTED:
		return rejected(e, why);
	case RDMA_CM_EVENT_ADDR_ERROR:
		snprintf(why, FF3_VERBS_WHY, "no RDMA device reaches the address");
		return -ENODEV;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		snprintf(why, FF3_VERBS_WHY, "the RDMA device was removed");
		return -ENODEV;
	case RDMA_CM_EVENT_DISCONNECTED:
		snprintf(why, FF3_VERBS_WHY, "the daemon hung up");
		return -ECONNRESET;
	default:
		snprintf(why, FF3_VERBS_WHY, "%s", rdma_event_str(e->event));
		return -EHOSTUNREACH;
	}
}

static void mark_gone(struct ff3_verbs_link *link)
{
	if (link->device)
		ff3_verbs_device_mark_gone(link->device);
}

/* The lock is held. An event of an established link, a client's or a daemon's. */
void ff3_verbs_established_event(struct ff3_verbs_link *link, const struct rdma_cm_event *e)
{
	switch (e->event) {
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_REJECTED:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_CONNECT_ERROR:
		ff3_verbs_link_broken(link, -ECONNRESET);
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		mark_gone(link);
		ff3_verbs_link_broken(link, -ENODEV);
		break;
	default:
		break;
	}
}

/* Until the event comes, or another, or the deadline. */
static int await(struct ff3_verbs_link *link, enum rdma_cm_event_type expected,
		 uint64_t deadline_ns, char *why)
{
	struct pollfd p = { .fd = link->channel->fd, .events = POLLIN };

	for (;;) {
		struct rdma_cm_event *e;
		uint64_t now;
		int r;

		ff3_verbs_lock();
		if (rdma_get_cm_event(link->channel, &e) == 0) {
			r = e->event == expected ? 0 : failed(e, why);
			rdma_ack_cm_event(e);
			ff3_verbs_unlock();
			return r;
		}
		r = -errno;
		ff3_verbs_unlock();
		if (r != -EAGAIN && r != -EINTR)
			return r;
		now = ff3_boottime_ns();
		if (now >= deadline_ns) {
			snprintf(why, FF3_VERBS_WHY, "no answer in time");
			return -ETIMEDOUT;
		}
		if (poll(&p, 1, (int)((deadline_ns - now) / FF3_NSEC_PER_MSEC) + 1) < 0 &&
		    errno != EINTR)
			return -errno;
	}
}

void ff3_verbs_cm_events(struct ff3_verbs_link *link)
{
	struct pollfd p = { .fd = link->channel->fd, .events = POLLIN };
	struct rdma_cm_event *e;

	/* librdmacm allocates before it looks, and who is about to sleep may have interrupted malloc. */
	if (poll(&p, 1, 0) <= 0)
		return;
	ff3_verbs_lock();
	while (rdma_get_cm_event(link->channel, &e) == 0) {
		ff3_verbs_established_event(link, e);
		rdma_ack_cm_event(e);
	}
	ff3_verbs_unlock();
}

/* --- Connecting ---------------------------------------------------------------------------------------- */

static int resolve(struct ff3_verbs_link *link, const struct sockaddr *to, uint64_t deadline_ns,
		   char *why)
{
	int r = 0;

	ff3_verbs_lock();
	link->channel = rdma_create_event_channel();
	if (!link->channel) {
		r = errno ? -errno : -ENODEV;
		snprintf(why, FF3_VERBS_WHY, r == -ENODEV ? "this machine has no RDMA device" :
							    "librdmacm: %s", strerror(-r));
		ff3_verbs_unlock();
		return r;
	}
	ff3_fd_move_high(&link->channel->fd);
	r = ff3_verbs_nonblocking(link->channel->fd);
	if (r == 0 && rdma_create_id(link->channel, &link->cm, link, RDMA_PS_TCP) < 0)
		r = -errno;
	if (r == 0 && rdma_resolve_addr(link->cm, NULL, (struct sockaddr *)to, RESOLVE_MS) < 0) {
		r = -errno;
		snprintf(why, FF3_VERBS_WHY, "no RDMA device reaches the address: %s", strerror(-r));
	}
	ff3_verbs_unlock();
	if (r == 0)
		r = await(link, RDMA_CM_EVENT_ADDR_RESOLVED, deadline_ns, why);
	if (r < 0)
		return r;
	ff3_verbs_lock();
	r = ff3_verbs_device_of(link->cm, &link->device);
	if (r == 0 && rdma_resolve_route(link->cm, RESOLVE_MS) < 0)
		r = -errno;
	ff3_verbs_unlock();
	return r < 0 ? r : await(link, RDMA_CM_EVENT_ROUTE_RESOLVED, deadline_ns, why);
}

static int make_pair(struct ff3_verbs_link *link)
{
	int r = ff3_verbs_queue_make(link->device, CLIENT_SLOTS, false, &link->queue);

	if (r < 0)
		return r;
	link->own_queue = true;
	r = ff3_verbs_qp_new(link, link->queue);
	if (r < 0)
		return r;
	ff3_verbs_lock();
	r = ff3_verbs_move_to(link, IBV_QPS_INIT);
	ff3_verbs_unlock();
	if (r == 0)
		r = ff3_verbs_fill_slots(link);
	if (r == 0)
		r = ff3_verbs_link_add(link->queue, link);
	return r;
}

static int shake_hands(struct ff3_verbs_link *link, const void *terms, size_t n,
		       uint64_t deadline_ns, char *why)
{
	struct rdma_conn_param param = ff3_verbs_conn_param(link, terms, n);
	int r = 0;

	ff3_verbs_lock();
	if (rdma_connect(link->cm, &param) < 0)
		r = -errno;
	ff3_verbs_unlock();
	if (r == 0)
		r = await(link, RDMA_CM_EVENT_CONNECT_RESPONSE, deadline_ns, why);
	if (r < 0)
		return r;
	ff3_verbs_lock();
	r = ff3_verbs_move_to(link, IBV_QPS_RTR);
	if (r == 0)
		r = ff3_verbs_move_to(link, IBV_QPS_RTS);
	if (r == 0 && rdma_establish(link->cm) < 0)
		r = -errno;
	ff3_verbs_unlock();
	return r;
}

static int make_pollable(struct ff3_verbs_link *link)
{
	struct epoll_event e = { .events = EPOLLIN };

	link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (link->epoll_fd < 0)
		return -errno;
	ff3_fd_move_high(&link->epoll_fd);
	if (epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->channel->fd, &e) < 0 ||
	    epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->queue->channel->fd, &e) < 0)
		return -errno;
	link->queue->one = link;
	return 0;
}

struct ff3_verbs_link *ff3_verbs_link_new(void)
{
	struct ff3_verbs_link *link = calloc(1, sizeof *link);

	if (!link)
		return NULL;
	link->epoll_fd = -1;
	for (unsigned i = 0; i < SEND_DEPTH; i++)
		link->sq[i].send_slot = NO_SLOT;
	return link;
}

void ff3_verbs_quiet(struct ff3_verbs_link *link)
{
	struct ff3_verbs_queue *q = link->queue;
	struct ibv_qp *qp;

	if (!link->qp)
		return;
	if (q)
		ff3_verbs_link_remove(q, link);
	/* Its number must not be looked for any more when it is free. */
	ff3_verbs_lock();
	qp = TAKE_PTR(link->qp);
	ff3_verbs_unlock();
	ibv_destroy_qp(qp);
	for (unsigned i = 0; q && i < SEND_DEPTH; i++) {
		ff3_verbs_send_slot_put(link, link->sq[i].send_slot);
		link->sq[i].send_slot = NO_SLOT;
	}
}

void ff3_verbs_close(struct ff3_verbs_link *link)
{
	struct ff3_verbs_queue *q = link->queue;

	ff3_verbs_quiet(link);
	ff3_verbs_lock();
	if (link->cm)
		rdma_destroy_id(link->cm);
	if (link->channel)
		rdma_destroy_event_channel(link->channel);
	if (link->listener)
		ff3_verbs_listener_unref(link->listener);
	ff3_verbs_unlock();
	if (link->epoll_fd >= 0)
		close(link->epoll_fd);
	if (link->own_queue)
		ff3_verbs_queue_free(q);
	ff3_verbs_lock();
	if (link->device)
		ff3_verbs_device_unref(link->device);
	ff3_verbs_unlock();
	free(link);
}

int ff3_verbs_connect(const struct sockaddr *to, const void *terms, size_t n_terms,
		      uint64_t deadline_ns, struct ff3_verbs_link **ret, char *why)
{
	struct ff3_verbs_link *link = ff3_verbs_link_new();
	int r = link ? 0 : -ENOMEM;

	*why = '\0';
	/* Before anything else: librdmacm might be waited for without end. */
	if (r == 0 && !ff3_verbs_may_connect()) {
		snprintf(why, FF3_VERBS_WHY, "%s", FF3_VERBS_FORKED);
		r = -ENODEV;
	}
	if (r == 0)
		r = resolve(link, to, deadline_ns, why);
	if (r == 0)
		r = make_pair(link);
	if (r == 0)
		r = shake_hands(link, terms, n_terms, deadline_ns, why);
	if (r == 0)
		r = make_pollable(link);
	if (r < 0) {
		if (*why == '\0')
			snprintf(why, FF3_VERBS_WHY, "%s", strerror(-r));
		if (link)
			ff3_verbs_close(link);
		return r;
	}
	*ret = link;
	return 0;
}

/* The other side hears of it; the rest by what gets flushed. */
void ff3_verbs_cut(struct ff3_verbs_link *link)
{
	ff3_verbs_lock();
	if (link->cm)
		rdma_disconnect(link->cm);
	ff3_verbs_unlock();
	ff3_verbs_link_broken(link, -ECONNRESET);
}

/* In a child: only what is the child's own, the descriptors. */
void ff3_verbs_forget(struct ff3_verbs_link *link)
{
	if (link->epoll_fd >= 0)
		close(TAKE_FD(link->epoll_fd));
	if (link->channel)
		close(TAKE_FD(link->channel->fd));
	if (link->queue && link->queue->channel)
		close(TAKE_FD(link->queue->channel->fd));
}

