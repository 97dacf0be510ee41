/* Purpose: the process's RDMA devices, what there is to say about them, and forks.
 *
 * A device is opened once and kept; what was removed goes with its last user. For each, librdmacm keeps
 * a context and a protection domain of its own as long as an id is bound to the device. One id, the
 * anchor, stays bound for good: a forked child, where that context is dead, is never made to open a
 * protection domain on it.
 *
 * Threads: the list is under ff3_verbs_control. Fork: see above, and verbs.h. Signals: none. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#include "verbs_priv.h"

pthread_mutex_t ff3_verbs_control = PTHREAD_MUTEX_INITIALIZER;
struct ff3_verbs_counters ff3_verbs_counted;
struct ff3_verbs_device *ff3_verbs_devices;
pthread_mutex_t ff3_verbs_list = PTHREAD_MUTEX_INITIALIZER;
static struct rdma_event_channel *anchors;
static bool poisoned; /* a child whose librdmacm may be locked for ever */

static void context_fds_high(struct ibv_context *c)
{
	ff3_fd_move_high(&c->cmd_fd);
	ff3_fd_move_high(&c->async_fd);
}

/* Without a word to the device. */
static void context_fds_close(struct ibv_context *c)
{
	if (c->cmd_fd >= 0)
		close(TAKE_FD(c->cmd_fd));
	if (c->async_fd >= 0)
		close(TAKE_FD(c->async_fd));
}

/* --- Devices ------------------------------------------------------------------------------- */

static bool has_odp(struct ibv_context *c)
{
	const uint32_t need = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
	struct ibv_device_attr_ex x;

	return ibv_query_device_ex(c, NULL, &x) == 0 &&
	       (x.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
	       (x.odp_caps.per_transport_caps.rc_odp_caps & need) == need;
}

static struct rdma_cm_id *make_anchor(struct rdma_cm_id *like)
{
	struct sockaddr_storage at = { 0 };
	const struct sockaddr *from = rdma_get_local_addr(like);
	struct rdma_cm_id *id;

	if (!anchors) {
		anchors = rdma_create_event_channel();
		if (!anchors)
			return NULL;
		ff3_fd_move_high(&anchors->fd);
		if (ff3_verbs_nonblocking(anchors->fd) < 0)
			return NULL;
	}
	if (from->sa_family == AF_INET6) {
		memcpy(&at, from, sizeof(struct sockaddr_in6));
		((struct sockaddr_in6 *)&at)->sin6_port = 0;
	} else {
		memcpy(&at, from, sizeof(struct sockaddr_in));
		((struct sockaddr_in *)&at)->sin_port = 0;
	}
	if (rdma_create_id(anchors, &id, NULL, RDMA_PS_TCP) < 0)
		return NULL;
	if (rdma_bind_addr(id, (struct sockaddr *)&at) < 0 || id->verbs != like->verbs) {
		rdma_destroy_id(id);
		return NULL;
	}
	return id;
}

static void device_free(struct ff3_verbs_device *d)
{
	ff3_verbs_memory_done(d);
	if (d->pd)
		ibv_dealloc_pd(d->pd);
	if (d->own_pd)
		ibv_dealloc_pd(d->own_pd);
	if (d->anchor)
		rdma_destroy_id(d->anchor);
	if (d->context)
		ibv_close_device(d->context);
	/* A removed device waits for everybody to let go, and librdmacm does not by itself. */
	if (d->gone && d->cm_context)
		context_fds_close(d->cm_context);
	pthread_mutex_destroy(&d->lock);
	free(d->cache);
	free(d);
}

static int device_open(struct rdma_cm_id *id, struct ff3_verbs_device **ret)
{
	struct ff3_verbs_device *d = calloc(1, sizeof *d);
	int r = -ENOMEM;

	if (!d)
		return r;
	pthread_mutex_init(&d->lock, NULL);
	snprintf(d->name, sizeof d->name, "%s", ibv_get_device_name(id->verbs->device));
	d->cm_context = id->verbs;
	d->cache = calloc(CACHE_REGIONS, sizeof *d->cache);
	d->context = d->cache ? ibv_open_device(id->verbs->device) : NULL;
	d->pd = d->context ? ibv_alloc_pd(d->context) : NULL;
	d->own_pd = d->pd ? ibv_alloc_pd(d->context) : NULL;
	if (!d->own_pd || ibv_query_device(d->context, &d->attr) != 0) {
		r = errno ? -errno : -ENODEV;
		device_free(d);
		return r;
	}
	context_fds_high(d->context);
	context_fds_high(d->cm_context);
	d->anchor = make_anchor(id);
	d->odp = has_odp(d->context);
	d->cached_max = MIN(CACHE_BYTES, ff3_verbs_pin_budget() / 2);
	d->pool_max = MIN(POOL_KEEP, d->cached_max / 4);
	d->user_ok = ibv_is_fork_initialized() == IBV_FORK_UNNEEDED;
	*ret = d;
	return 0;
}

int ff3_verbs_device_of(struct rdma_cm_id *id, struct ff3_verbs_device **ret)
{
	struct ff3_verbs_device *d = ff3_verbs_devices;
	int r;

	while (d && (d->gone || d->cm_context != id->verbs))
		d = d->next;
	if (!d) {
		r = device_open(id, &d);
		if (r < 0)
			return r;
		pthread_mutex_lock(&ff3_verbs_list);
		d->next = ff3_verbs_devices;
		ff3_verbs_devices = d;
		pthread_mutex_unlock(&ff3_verbs_list);
	}
	d->refs++;
	*ret = d;
	return 0;
}

static void unlink_device(struct ff3_verbs_device *d)
{
	struct ff3_verbs_device **at = &ff3_verbs_devices;

	pthread_mutex_lock(&ff3_verbs_list);
	while (*at && *at != d)
		at = &(*at)->next;
	if (*at)
		*at = d->next;
	pthread_mutex_unlock(&ff3_verbs_list);
}

void ff3_verbs_device_unref(struct ff3_verbs_device *d)
{
	if (--d->refs > 0 || !d->gone)
		return;
	unlink_device(d);
	device_free(d);
}

void ff3_verbs_device_mark_gone(struct ff3_verbs_device *d)
{
	d->gone = true;
}

void ff3_verbs_context_gone(const struct ibv_context *cm_context)
{
	for (struct ff3_verbs_device *d = ff3_verbs_devices; d; d = d->next)
		if (d->cm_context == cm_context)
			d->gone = true;
}

/* The anchor hears of it also while there is no link. */
bool ff3_verbs_device_gone(struct ff3_verbs_device *d)
{
	struct rdma_cm_event *e;
	bool gone;

	ff3_verbs_lock();
	while (anchors && rdma_get_cm_event(anchors, &e) == 0) {
		if (e->event == RDMA_CM_EVENT_DEVICE_REMOVAL)
			ff3_verbs_context_gone(e->id->verbs);
		rdma_ack_cm_event(e);
	}
	gone = d->gone;
	ff3_verbs_unlock();
	return gone;
}

/* --- Forks --------------------------------------------------------------------------------- */

void ff3_verbs_before_fork(void)
{
	ff3_verbs_lock();
}

void ff3_verbs_after_fork_parent(void)
{
	ff3_verbs_unlock();
}

void ff3_verbs_after_fork_child(bool prepared)
{
	pthread_mutex_init(&ff3_verbs_control, NULL);
	pthread_mutex_init(&ff3_verbs_list, NULL);
	poisoned |= !prepared;
	for (struct ff3_verbs_device *d = ff3_verbs_devices; d; d = d->next) {
		context_fds_close(d->context);
		context_fds_close(d->cm_context);
	}
	if (anchors)
		close(TAKE_FD(anchors->fd));
	/* What they name is the parent's; the memory stays, a few pages. */
	ff3_verbs_devices = NULL;
	anchors = NULL;
}

bool ff3_verbs_may_connect(void)
{
	return !poisoned;
}

/* --- What there is to say -------------------------------------------------------------------- */

struct text {
	char *p;
	size_t size, len;
};

PRINTF_LIKE(2, 3) static void say(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->p + MIN(t->len, t->size), t->size - MIN(t->len, t->size), format, args);
	va_end(args);
	t->len += n > 0 ? (size_t)n : 0;
}

/* The address that a GID of RoCE stands for. */
static void say_gid(struct text *t, const struct ibv_gid_entry *g)
{
	static const char *const types[] = { "IB", "RoCE v1", "RoCE v2" };
	char ip[INET6_ADDRSTRLEN];
	const uint8_t *raw = g->gid.raw;

	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)raw))
		inet_ntop(AF_INET, raw + 12, ip, sizeof ip);
	else
		inet_ntop(AF_INET6, raw, ip, sizeof ip);
	say(t, " %s (GID %u, %s)", ip, g->gid_index,
	    g->gid_type < ARRAY_SIZE(types) ? types[g->gid_type] : "unknown");
}

/* Whether connections can go out of the port, and if not, why. */
static bool say_port(struct text *t, struct ibv_context *c, unsigned port)
{
	struct ibv_gid_entry gids[32];
	struct ibv_port_attr attr;
	unsigned n_addresses = 0;
	ssize_t n;

	say(t, "%s port %u: ", ibv_get_device_name(c->device), port);
	if (ibv_query_port(c, (uint8_t)port, &attr) != 0) {
		say(t, "cannot be asked: %s\n", strerror(errno));
		return false;
	}
	say(t, "%s, %s,", attr.link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "InfiniBand",
	    attr.state == IBV_PORT_ACTIVE ? "active" : ibv_port_state_str(attr.state));
	n = ibv_query_gid_table(c, gids, ARRAY_SIZE(gids), 0);
	for (ssize_t i = 0; i < n; i++)
		if (gids[i].port_num == port) {
			say_gid(t, &gids[i]);
			/* Link-local ones are nobody's route. */
			n_addresses += gids[i].gid.raw[0] != 0xfe || gids[i].gid.raw[1] != 0x80;
		}
	if (attr.state != IBV_PORT_ACTIVE)
		say(t, " - not used: the port is not active");
	else if (attr.link_layer == IBV_LINK_LAYER_ETHERNET && n_addresses == 0)
		say(t, " - not used: its network device has no address");
	else
		attr.phys_state = 0;
	say(t, "\n");
	return attr.phys_state == 0;
}

static unsigned say_device(struct text *t, struct ibv_device *device)
{
	struct ibv_context *c = ibv_open_device(device);
	struct ibv_device_attr attr;
	unsigned n = 0;

	if (!c) {
		say(t, "%s: cannot be opened: %s\n", ibv_get_device_name(device), strerror(errno));
		return 0;
	}
	if (ibv_query_device(c, &attr) == 0) {
		for (unsigned port = 1; port <= attr.phys_port_cnt; port++)
			n += say_port(t, c, port);
		say(t, "%s: memory windows of type 2: %s; on-demand paging: %s\n",
		    ibv_get_device_name(device),
		    attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B ? "yes" : "no",
		    has_odp(c) ? "yes" : "no");
	}
	ibv_close_device(c);
	return n;
}

int ff3_verbs_describe(char *text, size_t size)
{
	struct text t = { text, size, 0 };
	struct ibv_device **list;
	int n_devices = 0, usable = 0;

	if (size > 0)
		*text = '\0';
	ff3_verbs_lock();
	list = ibv_get_device_list(&n_devices);
	for (int i = 0; list && i < n_devices; i++)
		usable += (int)say_device(&t, list[i]);
	if (list)
		ibv_free_device_list(list);
	ff3_verbs_unlock();
	if (n_devices > 0 && ibv_is_fork_initialized() != IBV_FORK_UNNEEDED)
		say(&t, "buffers of programs are not registered: this kernel does not copy "
			"registered pages at a fork (Linux 5.12 does)\n");
	return n_devices > 0 ? usable : -ENODEV;
}
