/* Purpose: the thread that holds a host's leases at metad: it asks for them again all the time, and heeds what
 * is revoked. One process of the host does; the threads of the others stand by, and when that one leaves, is
 * killed or is missed, one of them goes on where it was.
 *
 * Before a revocation is heeded, files that were opened under it are opened at metad (lease.c). They are
 * held until nobody has them open in that way any more. Whether it keeps leases or not, the thread does
 * the same with what its own process has had open for AGE_NS: what is open for long has to outlive every other
 * process, and a stop of this one.
 *
 * A process that ends says so, and tells metad whether something is open on the host.
 *
 * Threads: this one, with all signals blocked, on a connection of its own, so that it waits for nobody; it
 * takes no lock of the client's, as others may wait for metad under one, and metad for us. keep_lock orders
 * it and who leaves: nothing is extended after that.
 * Fork: the child has none. */
#include "internal.h"

#include <signal.h>

#define IDLE_NS (60 * FF3_NSEC_PER_SEC)
#define RETRY_NS (200 * FF3_NSEC_PER_MSEC)
#define PAUSE_NS (20 * FF3_NSEC_PER_MSEC)
#define LIMIT_NS (2 * FF3_NSEC_PER_SEC)
#define LEAVE_NS (300 * FF3_NSEC_PER_MSEC) /* then the lease is over by itself, or nearly */
#define AGE_NS (2 * FF3_NSEC_PER_SEC)
#define STAND_BY_MS 5000u
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

static int hold_these(struct ff3fs *fs, struct ff3_lease_which which)
{
	struct ff3_leases *l = &fs->leases;
	uint64_t epoch = atomic_load(&fs->meta_epoch);
	struct opening o = { fs, 0 };

	if (l->held_epoch != epoch) /* another metad, which knows of none */
		l->n_held = 0;
	l->held_epoch = epoch;
	which.salt = l->salt;
	ff3_lease_place_each(l->shared, &which, open_one, &o);
	return o.error;
}

/* Opens at metad what is open under slot (UINT32_MAX: under any). */
static int hold_open(struct ff3fs *fs, uint32_t slot)
{
	return hold_these(fs, (struct ff3_lease_which){ .slot = slot });
}

/* And what this process has had open for long. */
static void hold_aged(struct ff3fs *fs)
{
	if (atomic_load(&fs->leases.n_places) > 0)
		hold_these(fs, (struct ff3_lease_which){ .slot = UINT32_MAX,
							 .pid = getpid(),
							 .age_ns = AGE_NS });
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
	ff3_lease_place_each(l->shared, &(struct ff3_lease_which){ .salt = l->salt, .slot = UINT32_MAX },
			     look, &k);
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

static int ask(struct ff3fs *fs, uint64_t term, uint8_t leave, uint64_t limit_ns, struct ff3_rep_lease *rep,
	       uint8_t *buf, size_t size)
{
	struct ff3_lease_shared *s = fs->leases.shared;
	struct ff3_req_lease req = { .holder = ff3_lease_holder(s),
				     .term = term,
				     .life = ff3_lease_life(s),
				     .acked = ff3_lease_acked(s),
				     .leave = leave };
	struct ff3_meta_call call = FF3_META_CALL(lease, false, &req, rep, buf, size);

	call.once = true;
	call.registering = true;
	call.limit_ns = limit_ns;
	return ff3_meta_call(fs, &call);
}

static int hold(struct ff3fs *fs, uint8_t *buf)
{
	struct ff3_leases *l = &fs->leases;
	uint64_t asked = ff3_boottime_ns(), until = ff3_lease_expires(l->shared);
	struct ff3_rep_lease rep;
	int r = ask(fs, l->term, 0, LIMIT_NS, &rep, buf, REPLY_SIZE);

	if (r == 0)
		r = heed(fs, &rep);
	if (r < 0)
		return r;
	/* A tenth is for clocks that do not go alike. */
	if (!rep.more)
		until = asked + rep.lease_ms * FF3_NSEC_PER_MSEC / 10 * 9;
	pthread_mutex_lock(&l->keep_lock);
	if (l->keeps)
		ff3_lease_extend(l->shared, rep.seq, until);
	pthread_mutex_unlock(&l->keep_lock);
	return 0;
}

static void note_open(void *arg, uint64_t ino)
{
	*(bool *)arg = true;
}

/* Nothing is used any more from here on; then it is known what is open. */
static void leave(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	struct ff3_lease_which all = { .salt = l->salt, .slot = UINT32_MAX };
	struct ff3_rep_lease rep;
	uint8_t buf[META_REPLY_SIZE];
	bool open = false, keeps;

	pthread_mutex_lock(&l->keep_lock);
	keeps = l->keeps;
	l->keeps = false;
	if (keeps)
		ff3_lease_extend(l->shared, ff3_lease_acked(l->shared), 0);
	pthread_mutex_unlock(&l->keep_lock);
	if (!keeps)
		return;
	ff3_lease_place_each(l->shared, &all, note_open, &open);
	ask(fs, l->term, open ? FF3_LEAVE_OPEN : FF3_LEAVE_CLEAN, LEAVE_NS, &rep, buf, sizeof buf);
}

static void pause_for(uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };

	nanosleep(&ts, NULL);
}

static bool is_idle(const struct ff3_leases *l, uint64_t used_ns)
{
	return l->n_held == 0 && atomic_load(&l->n_places) == 0 &&
	       ff3_now_ns(CLOCK_MONOTONIC_COARSE) - used_ns > IDLE_NS;
}

static void keep(struct ff3fs *fs, uint8_t *buf)
{
	struct ff3_leases *l = &fs->leases;
	int r;

	hold_open(fs, UINT32_MAX); /* what the one before held is lost with it */
	while (!atomic_load(&l->stop) && !is_idle(l, ff3_lease_used_ns(l->shared))) {
		r = hold(fs, buf);
		if (r == -EOPNOTSUPP || r == -EPERM || r == -ENOSYS || r == -EBADMSG) {
			atomic_store(&l->off, true);
			break;
		}
		if (r < 0)
			pause_for(PAUSE_NS);
		hold_aged(fs);
		release_closed(fs);
	}
	leave(fs);
}

static bool become_keeper(struct ff3_leases *l)
{
	uint64_t term = ff3_lease_own(l->shared, l->salt);

	if (term == 0)
		return false;
	pthread_mutex_lock(&l->keep_lock);
	l->keeps = true;
	l->term = term;
	pthread_mutex_unlock(&l->keep_lock);
	return true;
}

static bool is_over(const struct ff3_leases *l)
{
	return atomic_load(&l->stop) || atomic_load(&l->off);
}

static void serve(struct ff3fs *fs, uint8_t *buf)
{
	struct ff3_leases *l = &fs->leases;

	while (!is_over(l) && !is_idle(l, atomic_load(&l->used_ns))) {
		uint32_t calls = ff3_lease_calls(l->shared);

		if (become_keeper(l)) {
			keep(fs, buf);
			ff3_lease_disown(l->shared);
			ff3_lease_call(l->shared);
			continue;
		}
		hold_aged(fs);
		release_closed(fs);
		if (!atomic_load(&l->stop))
			ff3_lease_sleep(l->shared, calls,
					atomic_load(&l->n_places) > 0 ? AGE_NS / FF3_NSEC_PER_MSEC / 2 :
									STAND_BY_MS);
	}
}

static void *keeper_main(void *arg)
{
	struct ff3fs *fs = arg;
	struct ff3_leases *l = &fs->leases;
	uint8_t *buf = malloc(REPLY_SIZE);

	ff3_enter();
	ff3_rpc_as = &l->user;
	do {
		atomic_store(&l->alive, FF3_LEASE_THREAD);
		if (buf)
			serve(fs, buf);
		atomic_store(&l->alive, FF3_LEASE_ENDING);
	} while (buf && !is_over(l) && atomic_load(&l->n_places) > 0);
	free(buf);
	atomic_store(&l->alive, FF3_LEASE_NO_THREAD);
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
	atomic_store(&l->alive, FF3_LEASE_THREAD);
	r = pthread_create(&l->thread, &attr, keeper_main, fs);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	l->running = r == 0;
	if (r != 0)
		atomic_store(&l->alive, FF3_LEASE_NO_THREAD);
	return -r;
}

static void start(struct ff3fs *fs, uint64_t now)
{
	struct ff3_leases *l = &fs->leases;

	if (l->running)
		pthread_join(l->thread, NULL);
	l->running = false;
	atomic_store(&l->retry_ns, now + RETRY_NS);
	start_thread(fs);
}

bool ff3_lease_keeper_start(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	uint64_t now = ff3_boottime_ns();

	if (atomic_load(&l->stop) || now < atomic_load_explicit(&l->retry_ns, memory_order_relaxed) ||
	    pthread_mutex_trylock(&l->lock) != 0)
		return atomic_load(&l->alive) == FF3_LEASE_THREAD;
	if (atomic_load(&l->alive) == FF3_LEASE_NO_THREAD) {
		start(fs, now);
	} else { /* is the one who kept them gone? */
		atomic_store(&l->retry_ns, now + RETRY_NS);
		ff3_lease_call(l->shared);
	}
	pthread_mutex_unlock(&l->lock);
	return atomic_load(&l->alive) == FF3_LEASE_THREAD;
}

void ff3_lease_keeper_leave(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;

	atomic_store(&l->stop, true);
	leave(fs);
	ff3_lease_call(l->shared);
}

void ff3_lease_keeper_stop(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;

	pthread_mutex_lock(&l->lock);
	if (l->shared)
		ff3_lease_keeper_leave(fs);
	if (l->running)
		pthread_join(l->thread, NULL);
	l->running = false;
	pthread_mutex_unlock(&l->lock);
}
