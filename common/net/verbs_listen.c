/* Purpose: connections from a daemon's side, and the table of what the module gives.
 *
 * Requests, and everything that happens to accepted links, come on the listener's channel, in the
 * thread that listens. A link may be served by another thread, which accepts it onto its own queue:
 * what happens to it later is passed on by breaking it, which its queue then shows.
 *
 * Threads: as verbs_cm.c. Fork: daemons do not. */
#include <arpa/inet.h>
#include <stdio.h>

#include "verbs_priv.h"

#define BACKLOG 1024

/* --- Listening --------------------------------------------------------------------------------------- */

void ff3_verbs_listener_unref(struct ff3_verbs_listener *l)
{
	if (--l->refs > 0)
		return;
	if (l->channel)
		rdma_destroy_event_channel(l->channel);
	free(l);
}

/* The lock is held. */
static void drop_id(struct ff3_verbs_listener *l)
{
	if (l->cm)
		rdma_destroy_id(TAKE_PTR(l->cm));
}

static void shut(struct ff3_verbs_listener *l)
{
	ff3_verbs_lock();
	drop_id(l);
	ff3_verbs_unlock();
}

static void unlisten(struct ff3_verbs_listener *l)
{
	if (!l)
		return;
	ff3_verbs_lock();
	drop_id(l);
	ff3_verbs_listener_unref(l);
	ff3_verbs_unlock();
}

static int listen_again(struct ff3_verbs_listener *l, const struct sockaddr *at, char *why)
{
	int r = 0;

	ff3_verbs_lock();
	drop_id(l);
	if (rdma_create_id(l->channel, &l->cm, NULL, RDMA_PS_TCP) < 0 ||
	    rdma_bind_addr(l->cm, (struct sockaddr *)at) < 0 || rdma_listen(l->cm, BACKLOG) < 0) {
		r = errno ? -errno : -EIO;
		drop_id(l);
	}
	ff3_verbs_unlock();
	if (r < 0)
		snprintf(why, FF3_VERBS_WHY, "%s", r == -ENODEV ? "no RDMA device has the address" :
								  strerror(-r));
	return r;
}

static int listen_at(const struct sockaddr *at, struct ff3_verbs_listener **ret, char *why)
{
	struct ff3_verbs_listener *l = calloc(1, sizeof *l);
	int r = l ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	l->refs = 1;
	ff3_verbs_lock();
	l->channel = rdma_create_event_channel();
	if (!l->channel)
		r = errno ? -errno : -ENODEV;
	else
		r = ff3_verbs_nonblocking(l->channel->fd);
	ff3_verbs_unlock();
	if (r < 0)
		snprintf(why, FF3_VERBS_WHY, "%s", strerror(-r));
	else
		r = listen_again(l, at, why);
	if (r < 0) {
		unlisten(l);
		return r;
	}
	*ret = l;
	return 0;
}

/* The lock is held. */
static int take_request(struct ff3_verbs_listener *l, struct rdma_cm_event *e,
			struct ff3_verbs_link **ret, void *terms, size_t *n_terms)
{
	struct ff3_verbs_link *link = ff3_verbs_link_new();

	if (!link || ff3_verbs_device_of(e->id, &link->device) < 0) {
		rdma_reject(e->id, NULL, 0);
		free(link);
		return -ENOMEM;
	}
	link->cm = e->id;
	link->listener = l;
	l->refs++;
	e->id->context = link;
	*n_terms = MIN((size_t)e->param.conn.private_data_len, (size_t)FF3_VERBS_TERMS_MAX);
	if (*n_terms > 0)
		memcpy(terms, e->param.conn.private_data, *n_terms);
	*ret = link;
	return 1;
}

static int take_event(struct ff3_verbs_listener *l, struct ff3_verbs_link **ret, void *terms,
		      size_t *n_terms)
{
	struct rdma_cm_event *e;
	struct rdma_cm_id *drop = NULL;
	bool gone = false;
	int r = 0;

	if (rdma_get_cm_event(l->channel, &e) < 0)
		return 0;
	if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		r = take_request(l, e, ret, terms, n_terms);
		drop = r < 0 ? e->id : NULL;
	} else if (e->id == l->cm) {
		gone = e->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
		if (gone)
			ff3_verbs_context_gone(e->id->verbs);
	} else if (e->id->context) {
		ff3_verbs_established_event(e->id->context, e);
	}
	rdma_ack_cm_event(e);
	if (drop)
		rdma_destroy_id(drop);
	if (gone)
		return -ENODEV;
	return r > 0 ? r : 2;
}

static int next_request(struct ff3_verbs_listener *l, struct ff3_verbs_link **ret, void *terms,
			size_t *n_terms)
{
	int r;

	ff3_verbs_lock();
	do {
		r = take_event(l, ret, terms, n_terms);
	} while (r == 2);
	ff3_verbs_unlock();
	return r;
}

static int accept_on(struct ff3_verbs_link *link, struct ff3_verbs_queue *q)
{
	struct rdma_conn_param param;
	int r;

	if (link->device != q->device)
		return -EINVAL;
	r = ff3_verbs_qp_new(link, q);
	if (r < 0)
		return r;
	ff3_verbs_lock();
	r = atomic_load(&link->dead);
	if (r == 0)
		r = ff3_verbs_move_to(link, IBV_QPS_INIT);
	if (r == 0)
		r = ff3_verbs_move_to(link, IBV_QPS_RTR);
	if (r == 0)
		r = ff3_verbs_move_to(link, IBV_QPS_RTS);
	if (r == 0)
		r = ff3_verbs_link_add(q, link);
	param = ff3_verbs_conn_param(link, NULL, 0);
	if (r == 0 && rdma_accept(link->cm, &param) < 0)
		r = -errno;
	if (r < 0)
		rdma_reject(link->cm, NULL, 0);
	ff3_verbs_unlock();
	return r;
}

/* --- Small things ------------------------------------------------------------------------------------ */

static int link_fd(const struct ff3_verbs_link *link)
{
	return link->epoll_fd;
}

static struct ff3_verbs_queue *link_queue(const struct ff3_verbs_link *link)
{
	return link->queue;
}

static struct ff3_verbs_device *link_device(const struct ff3_verbs_link *link)
{
	return link->device;
}

static void *link_user(const struct ff3_verbs_link *link)
{
	return link->user;
}

static void link_set_user(struct ff3_verbs_link *link, void *user)
{
	link->user = user;
}

static int queue_fd(const struct ff3_verbs_queue *q)
{
	return q->channel->fd;
}

static int listener_fd(const struct ff3_verbs_listener *l)
{
	return l->channel->fd;
}

static void peer_name(const struct ff3_verbs_link *link, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr *a = rdma_get_peer_addr(link->cm);

	if (a->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, host, sizeof host);
	else
		inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, host, sizeof host);
	snprintf(text, size, a->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
		 ntohs(rdma_get_dst_port(link->cm)));
}

extern const struct ff3_verbs_api ff3_verbs_api;
EXPORT const struct ff3_verbs_api ff3_verbs_api = {
	.abi = FF3_VERBS_ABI,
	.counters = &ff3_verbs_counted,
	.describe = ff3_verbs_describe,
	.device_gone = ff3_verbs_device_gone,
	.before_fork = ff3_verbs_before_fork,
	.after_fork_parent = ff3_verbs_after_fork_parent,
	.after_fork_child = ff3_verbs_after_fork_child,
	.may_connect = ff3_verbs_may_connect,
	.connect = ff3_verbs_connect,
	.link_fd = link_fd,
	.link_queue = link_queue,
	.link_device = link_device,
	.link_user = link_user,
	.link_set_user = link_set_user,
	.link_room = ff3_verbs_room,
	.send_room = ff3_verbs_send_room,
	.progress = ff3_verbs_progress,
	.send = ff3_verbs_send,
	.write = ff3_verbs_write,
	.read = ff3_verbs_read,
	.probe = ff3_verbs_probe,
	.cut = ff3_verbs_cut,
	.quiet = ff3_verbs_quiet,
	.close = ff3_verbs_close,
	.forget = ff3_verbs_forget,
	.queue_new = ff3_verbs_queue_new,
	.queue_free = ff3_verbs_queue_free,
	.queue_fd = queue_fd,
	.poll = ff3_verbs_poll,
	.give_back = ff3_verbs_give_back,
	.arm = ff3_verbs_arm,
	.pool_get = ff3_verbs_pool_get,
	.own_get = ff3_verbs_own_get,
	.hold = ff3_verbs_hold,
	.release = ff3_verbs_release,
	.memory_gone = ff3_verbs_memory_gone,
	.region_new = ff3_verbs_region_new,
	.region_free = ff3_verbs_region_free,
	.window_new = ff3_verbs_window_new,
	.window_free = ff3_verbs_window_free,
	.bind = ff3_verbs_bind,
	.unbind = ff3_verbs_unbind,
	.listen = listen_at,
	.shut = shut,
	.listen_again = listen_again,
	.unlisten = unlisten,
	.listener_fd = listener_fd,
	.request = next_request,
	.accept = accept_on,
	.peer_name = peer_name,
};
