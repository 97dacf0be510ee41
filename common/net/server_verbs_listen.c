/* Purpose: a daemon's listener for RDMA: it is where the TCP one is, on every device that has the address.
 *
 * A request says which target it is for, so that the queue pair is made in the loop that serves it:
 * the memory it is to move is that loop's. Where there is no device at the start, or the one there was
 * is removed, the listener tries again now and then.
 *
 * Threads: the listening server's loop. Fork/signal: none. */
#include <netinet/in.h>

#include "../base/log.h"
#include "server_verbs.h"

#define AGAIN_NS (10 * FF3_NSEC_PER_SEC)

struct ff3_verbs_door {
	struct ff3_server *server;
	const struct ff3_verbs_api *v;
	struct ff3_verbs_listener *listener;
	struct sockaddr_storage at;
	struct ff3_io io;
	struct ff3_timer timer;
	bool told; /* that it does not listen */
};

/* A link on its way to another loop. */
struct hand_over {
	struct ff3_work work;
	struct ff3_server *to, *by;
	const struct ff3_verbs_api *v;
	struct ff3_verbs_link *link;
};

static void on_handed(struct ff3_work *w)
{
	struct hand_over *h = CONTAINER_OF(w, struct hand_over, work);

	ff3_server_verbs_adopt(h->to, h->by, h->v, h->link);
	free(h);
}

static void route(struct ff3_verbs_door *door, struct ff3_verbs_link *link, const uint8_t *terms,
		  size_t n)
{
	struct ff3_server *by = door->server, *to = by;
	struct hand_over *h = NULL;
	uint32_t magic = 0;
	uint64_t target;

	if (n >= FF3_VERBS_TERMS_SIZE) {
		memcpy(&magic, terms, 4);
		memcpy(&target, terms + 8, 8);
		if (by->ops->route)
			to = by->ops->route(by, le64toh(target));
	}
	if (le32toh(magic) != FF3_VERBS_TERMS_MAGIC || !to) {
		door->v->close(link);
		return;
	}
	if (to->loop == by->loop) {
		ff3_server_verbs_adopt(to, by, door->v, link);
		return;
	}
	h = malloc(sizeof *h);
	if (!h) {
		door->v->close(link);
		return;
	}
	*h = (struct hand_over){ .work.fn = on_handed, .to = to, .by = by, .v = door->v, .link = link };
	ff3_loop_post(to->loop, &h->work);
}

static void watch(struct ff3_verbs_door *door)
{
	ff3_loop_poll(door->server->loop, door->v->listener_fd(door->listener), &door->io);
}

static void open_door(struct ff3_verbs_door *door)
{
	char why[FF3_VERBS_WHY] = "";
	const struct sockaddr *at = (struct sockaddr *)&door->at;
	bool again = door->listener;
	int r = again ? door->v->listen_again(door->listener, at, why) :
			door->v->listen(at, &door->listener, why);

	if (r == 0) {
		door->server->transports |= FF3_TRANSPORT_VERBS;
		door->told = false;
		if (!again)
			watch(door);
		return;
	}
	if (!door->told)
		ff3_warning("clients do not come by RDMA: %s", why);
	door->told = true;
	ff3_loop_timer_arm(door->server->loop, &door->timer, AGAIN_NS);
}

static void on_again(struct ff3_timer *t)
{
	open_door(CONTAINER_OF(t, struct ff3_verbs_door, timer));
}

static void on_door(struct ff3_io *io, int res)
{
	struct ff3_verbs_door *door = CONTAINER_OF(io, struct ff3_verbs_door, io);
	struct ff3_verbs_link *link;
	uint8_t terms[FF3_VERBS_TERMS_MAX];
	size_t n;
	int r;

	if (!door->listener)
		return;
	while ((r = door->v->request(door->listener, &link, terms, &n)) > 0)
		route(door, link, terms, n);
	watch(door);
	if (r != -ENODEV)
		return;
	/* The device is gone; its connections hear of it by the same listener. */
	door->server->transports &= ~(uint32_t)FF3_TRANSPORT_VERBS;
	door->v->shut(door->listener);
	if (door->v->request(door->listener, &link, terms, &n) > 0)
		door->v->close(link);
	ff3_loop_timer_arm(door->server->loop, &door->timer, AGAIN_NS);
}

void ff3_server_offer_verbs(struct ff3_server *server)
{
	const char *why = "";
	const struct ff3_verbs_api *v = ff3_verbs(&why);
	struct ff3_verbs_door *door;
	socklen_t len = sizeof door->at;

	/* Most machines have none, and need not be told. */
	if (!v && ff3_verbs_device())
		ff3_warning("clients do not come by RDMA: %s", why);
	if (!v || server->door)
		return;
	door = calloc(1, sizeof *door);
	if (!door)
		return;
	door->server = server;
	door->v = v;
	door->io.fn = on_door;
	door->timer.fn = on_again;
	if (getsockname(server->listeners[0].fd, (struct sockaddr *)&door->at, &len) < 0) {
		free(door);
		return;
	}
	server->door = door;
	open_door(door);
}

void ff3_server_verbs_shut(struct ff3_server *server)
{
	struct ff3_verbs_door *door = server->door;

	if (!door)
		return;
	ff3_loop_timer_cancel(server->loop, &door->timer);
	if (door->listener)
		door->v->unlisten(TAKE_PTR(door->listener));
}
