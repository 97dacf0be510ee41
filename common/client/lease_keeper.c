/* Purpose: the thread that holds a host's leases at metad: it asks for them again all the time, and heeds what
 * is revoked. One process of the host has it; when that ends, the next one that misses it begins, and goes
 * on where it was.
 *
 * Before a revocation is heeded, files that were opened under it are opened at metad (lease.c). They are
 * held until nobody has them open in that way any more.
 *
 * Threads: this one, with all signals blocked, on a connection of its own, so that it waits for nobody; it
 * takes no lock of the client's, as others may wait for metad under one, and metad for us.
 * Fork: the child has none. */
#include "internal.h"

#include <signal.h>

#define IDLE_NS (60 * FF3_NSEC_PER_SEC)
#define RETRY_NS (200 * FF3_NSEC_PER_MSEC)
#define PAUSE_NS (20 * FF3_NSEC_PER_MSEC)
#define LIMIT_NS (2 * FF3_NSEC_PER_SEC)
#define REPLY_SIZE (600u * 1024u)

static bool is_held(const struct ff3_leases *l, uint64_t ino)
{
	for (uint32_t i = 0; i < l->n_held; i++)
		if (l->held[i] == ino)
			return true;
	return false;
}

struct opening {
	struct ff3fs *fs;
	int error;
};

static void open_one(void *arg, uint64_t ino)
{
	struct opening *o = arg;
	struct ff3fs *fs = o->fs;
	struct ff3_leases *l = &fs->leases;
	struct ff3_req_reopen req = { .ino = ino, .flags = FF3_OPEN_READ };
	struct ff3_rep_reopen rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(reopen, false, &req, &rep, buf, sizeof buf);
	int r;

	if (is_held(l, ino))
		return;
	if (l->n_held == l->room_held) {
		uint32_t room = MAX(l->room_held * 2, 64u);
		uint64_t *grown = realloc(l->held, room * sizeof *grown);

		if (!grown) {
			o->error = -ENOMEM;
			return;
		}
		l->held = grown;
		l->room_held = room;
	}
	call.once = true;
	call.registering = true;
	call.limit_ns = LIMIT_NS;
	r = ff3_meta_call(fs, &call);
	if (r == 0)
		l->held[l->n_held++] = ino;
	else if (r != -ESTALE && r != -ENOENT)
		o->error = r;
}

/* Opens at metad what is open under slot (UINT32_MAX: under any). */
static int hold_open(struct ff3fs *fs, uint32_t slot)
{
	struct opening o = { fs, 0 };

	ff3_lease_place_each(fs->leases.shared, fs->leases.salt, slot, open_one, &o);
	return o.error;
}

struct looking {
	struct ff3_leases *l;
	uint32_t n; /* the first so many are open still */
};

static void look(void *arg, uint64_t ino)
{
	struct looking *k = arg;
	uint64_t *held = k->l->held;

	for (uint32_t i = k->n; i < k->l->n_held; i++)
		if (held[i] == ino) {
			held[i] = held[k->n];
			held[k->n++] = ino;
			return;
		}
}

static void release_closed(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	struct looking k = { l, 0 };

	if (l->n_held == 0)
		return;
	ff3_lease_place_each(l->shared, l->salt, UINT32_MAX, look, &k);
	while (l->n_held > k.n)
		ff3_meta_release(fs, l->held[--l->n_held], 1);
}

/* Everything that was told holds no more, and what it protected is open at metad. */
static int heed(struct ff3fs *fs, const struct ff3_rep_lease *p)
{
	struct ff3_lease_shared *s = fs->leases.shared;
	struct ff3_dec d = ff3_dec_blob(p->dirs);
	uint64_t dir;
	int r = 0;

	if (p->life != ff3_lease_life(s)) {
		ff3_lease_begin_life(s, p->life);
		r = hold_open(fs, UINT32_MAX);
	}
	while (ff3_dec_more(&d)) {
		ff3_get_u64(&d, &dir);
		ff3_lease_revoke(s, dir);
	}
	d = ff3_dec_blob(p->dirs);
	while (r == 0 && ff3_dec_more(&d)) {
		ff3_get_u64(&d, &dir);
		r = hold_open(fs, ff3_lease_slot(dir));
	}
	return r;
}

static int hold(struct ff3fs *fs, uint8_t *buf, bool leave)
{
	struct ff3_lease_shared *s = fs->leases.shared;
	struct ff3_req_lease req = { .holder = ff3_lease_holder(s),
				     .life = ff3_lease_life(s),
				     .acked = ff3_lease_acked(s),
				     .leave = leave };
	struct ff3_rep_lease rep;
	struct ff3_meta_call call = FF3_META_CALL(lease, false, &req, &rep, buf, REPLY_SIZE);
	uint64_t asked = ff3_boottime_ns(), until = ff3_lease_expires(s);
	int r;

	call.once = true;
	call.registering = true;
	call.limit_ns = LIMIT_NS;
	r = ff3_meta_call(fs, &call);
	if (r == 0)
		r = heed(fs, &rep);
	if (r < 0)
		return r;
	/* A tenth is for clocks that do not go alike. */
	if (!rep.more)
		until = asked + rep.lease_ms * FF3_NSEC_PER_MSEC / 10 * 9;
	ff3_lease_extend(s, rep.seq, leave ? 0 : until);
	return 0;
}

static void pause_for(uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };

	nanosleep(&ts, NULL);
}

static void keep(struct ff3fs *fs, uint8_t *buf)
{
	struct ff3_leases *l = &fs->leases;
	bool idle = false;
	int r;

	hold_open(fs, UINT32_MAX); /* what the one before held is lost with it */
	while (!atomic_load(&l->stop) && !idle) {
		r = hold(fs, buf, false);
		if (r == -EOPNOTSUPP || r == -EPERM || r == -ENOSYS || r == -EBADMSG) {
			atomic_store(&l->off, true);
			return;
		}
		if (r < 0)
			pause_for(PAUSE_NS);
		release_closed(fs);
		idle = l->n_held == 0 &&
		       ff3_now_ns(CLOCK_MONOTONIC_COARSE) - ff3_lease_used_ns(l->shared) > IDLE_NS;
	}
	/* Nobody is to wait for us. */
	ff3_lease_extend(l->shared, ff3_lease_acked(l->shared), 0);
	hold(fs, buf, true);
}

static void *keeper_main(void *arg)
{
	struct ff3fs *fs = arg;
	struct ff3_leases *l = &fs->leases;
	uint8_t *buf = malloc(REPLY_SIZE);

	ff3_enter();
	ff3_rpc_as = &l->user;
	if (buf && ff3_lease_own(l->shared, l->salt)) {
		keep(fs, buf);
		ff3_lease_disown(l->shared);
	}
	free(buf);
	atomic_store(&l->alive, false);
	return NULL;
}

static int start_thread(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	sigset_t all, before;
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	pthread_attr_setstacksize(&attr, 512 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_store(&l->alive, true);
	r = pthread_create(&l->thread, &attr, keeper_main, fs);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	l->running = r == 0;
	if (r != 0)
		atomic_store(&l->alive, false);
	return -r;
}

void ff3_lease_keeper_start(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	uint64_t now = ff3_boottime_ns();

	if (atomic_load(&l->alive) || now < atomic_load_explicit(&l->retry_ns, memory_order_relaxed) ||
	    pthread_mutex_trylock(&l->lock) != 0)
		return;
	if (!atomic_load(&l->alive) && !atomic_load(&l->stop)) {
		atomic_store(&l->retry_ns, now + RETRY_NS);
		if (l->running)
			pthread_join(l->thread, NULL);
		start_thread(fs);
	}
	pthread_mutex_unlock(&l->lock);
}

void ff3_lease_keeper_stop(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;

	pthread_mutex_lock(&l->lock);
	atomic_store(&l->stop, true);
	if (l->running)
		pthread_join(l->thread, NULL);
	l->running = false;
	pthread_mutex_unlock(&l->lock);
}
