/* Purpose: stat and open answered without metad, as far as leases go; resolve where they do not, which gets
 * them. What is used was true at a moment within the call: lease_table.c says how.
 *
 * A file that is opened so is not known to metad. What protects it from being collected is its directory's
 * lease: before a revocation of that is heeded, the host's keeper opens at metad what anybody on the host
 * has open below (its place in the shared memory says so), and holds it until that process has done so
 * itself, at its next call, or has closed it. What stays open for longer is made known anyway, by its
 * process's thread, which is there as long as something is open so; it is the keeper when nobody else is.
 *
 * The first calls of a process are not worth a mapping, and some more are not worth a thread.
 *
 * Threads: any. Fork: what is open is registered before it; the child starts with nothing of its own. */
#include "internal.h"

#include <sys/stat.h>

#define MAP_AFTER 4u
#define KEEP_AFTER 32u

void ff3_leases_init(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	const struct ff3_rpc_identity *who = &fs->identity;
	const char *metad = fs->conf.client.metad;
	uint32_t user[2] = { who->uid, who->gid };
	uint32_t a = ff3_crc32c(0, user, sizeof user), b = ff3_crc32c(1, user, sizeof user);

	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->keep_lock, NULL);
	l->salt = (uint64_t)ff3_crc32c(0, metad, strlen(metad)) << 32 | ff3_crc32c(1, metad, strlen(metad));
	a = ff3_crc32c(a, who->groups, who->n_groups * sizeof *who->groups);
	b = ff3_crc32c(b, who->groups, who->n_groups * sizeof *who->groups);
	/* metad serves whom it names, if it asks for one. */
	a = ff3_crc32c(a, fs->ticket, strlen(fs->ticket));
	b = ff3_crc32c(b, fs->ticket, strlen(fs->ticket));
	l->cred = (uint64_t)a << 32 | b;
	l->user = (struct ff3_rpc_user){ who->uid, who->gid, who->groups, who->n_groups };
	l->off = fs->conf.client.cache == 0 || who->uid != geteuid();
}

void ff3_leases_leave(struct ff3fs *fs)
{
	if (atomic_load(&fs->leases.mapped))
		ff3_lease_keeper_leave(fs);
}

void ff3_leases_done(struct ff3fs *fs)
{
	ff3_lease_keeper_stop(fs);
	free(fs->leases.held);
}

static struct ff3_lease_shared *map(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;

	pthread_mutex_lock(&l->lock);
	if (!l->shared && !atomic_load(&l->off)) {
		l->shared = ff3_lease_map(l->salt, fs->conf.client.cache);
		if (l->shared)
			atomic_store(&l->mapped, true);
		else
			atomic_store(&l->off, true);
	}
	pthread_mutex_unlock(&l->lock);
	return l->shared;
}

static void touch(struct ff3_leases *l, struct ff3_lease_shared *s)
{
	uint64_t now = ff3_now_ns(CLOCK_MONOTONIC_COARSE);

	if (now - atomic_load_explicit(&l->used_ns, memory_order_relaxed) <= FF3_NSEC_PER_SEC)
		return;
	atomic_store_explicit(&l->used_ns, now, memory_order_relaxed);
	ff3_lease_touch(s);
}

/* The shared memory, if this call may be answered from it. */
static struct ff3_lease_shared *shared(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;
	struct ff3_lease_shared *s;
	uint32_t n;

	if (UNLIKELY(atomic_load_explicit(&l->off, memory_order_relaxed)) || ff3_rpc_as)
		return NULL;
	n = atomic_load_explicit(&l->n_calls, memory_order_relaxed);
	if (UNLIKELY(n < KEEP_AFTER))
		atomic_store_explicit(&l->n_calls, n + 1, memory_order_relaxed);
	if (UNLIKELY(n < MAP_AFTER))
		return NULL;
	s = atomic_load_explicit(&l->mapped, memory_order_acquire) ? l->shared : map(fs);
	if (!s || !ff3_lease_is_of(s, l->salt))
		return NULL;
	touch(l, s);
	if (LIKELY(ff3_boottime_ns() < ff3_lease_expires(s)))
		return s;
	if (n >= KEEP_AFTER)
		ff3_lease_keeper_start(fs);
	return NULL;
}

/* --- Answers ----------------------------------------------------------------------------------- */

static bool question(struct ff3fs *fs, const struct ff3_path *at, struct ff3_lease_entry *e)
{
	if (at->path.len > FF3_LEASE_PATH)
		return false;
	e->salt = fs->leases.salt;
	e->cred = fs->leases.cred;
	e->dir = at->dir;
	e->flags = at->flags;
	e->path_len = (uint16_t)at->path.len;
	return true;
}

static bool holds(const struct ff3_lease_shared *s, const struct ff3_lease_entry *e)
{
	return ff3_lease_holds(s, e->life, e->deps, e->n_deps);
}

/* The answer that is kept. What processes here have gathered is told to metad first, which may revoke it. */
static bool look_up(struct ff3fs *fs, struct ff3_lease_shared *s, const struct ff3_path *at,
		    struct ff3_lease_entry *e)
{
	if (!question(fs, at, e) || !ff3_lease_get(s, e, at->path.p))
		return false;
	ff3_gather_flush_ino(fs, e->attr.ino);
	ff3_board_settle(fs, e->attr.ino);
	return holds(s, e);
}

/* Makes an entry of an answer that came after `before` revocations. */
static bool keep(struct ff3fs *fs, struct ff3_lease_shared *s, const struct ff3_path *at,
		 const struct ff3_rep_resolve *p, uint64_t before, struct ff3_lease_entry *e)
{
	struct ff3_dec dirs = ff3_dec_blob(p->dirs), stripe = ff3_dec_blob(p->layout.stripe);

	memset(e, 0, sizeof *e);
	if (!p->leased || !question(fs, at, e) || p->dirs.len / 8 > FF3_LEASE_DEPS ||
	    p->layout.stripe.len / 4 > FF3_LEASE_STRIPE)
		return false;
	while (ff3_dec_more(&dirs)) {
		struct ff3_lease_dep *dep = &e->deps[e->n_deps++];
		uint64_t dir;

		ff3_get_u64(&dirs, &dir);
		dep->slot = ff3_lease_slot(dir);
		dep->version = ff3_lease_version(s, dep->slot);
	}
	while (ff3_dec_more(&stripe))
		ff3_get_u32(&stripe, &e->stripe[e->n_stripe++]);
	e->life = p->life;
	e->chunk_size = p->layout.chunk_size;
	e->seed = p->layout.seed;
	e->pin = p->layout.pin;
	e->may_read = p->may_read;
	e->attr = p->attr;
	memcpy(e->path, at->path.p, at->path.len);
	/* Something was revoked since it was asked for: perhaps this. */
	if (e->n_deps == 0 || dirs.bad || stripe.bad || ff3_lease_revocations(s) != before)
		return false;
	ff3_lease_put(s, e);
	return true;
}

int ff3_lease_stat(struct ff3fs *fs, const struct ff3_path *at, struct ff3_attr *ret)
{
	struct ff3_lease_shared *s = shared(fs);
	struct ff3_req_resolve req = { .at = *at };
	struct ff3_rep_resolve rep;
	struct ff3_lease_entry e;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(resolve, false, &req, &rep, buf, sizeof buf);
	uint64_t before, told;
	int r;

	if (!s)
		return 0;
	if (look_up(fs, s, at, &e)) {
		*ret = e.attr;
		return 1;
	}
	before = ff3_lease_revocations(s);
	told = ff3_board_told();
	req.holder = ff3_lease_holder(s);
	r = ff3_meta_call(fs, &call);
	if (r < 0)
		return r;
	keep(fs, s, at, &rep, before, &e);
	*ret = rep.attr;
	/* What is gathered counts: who has told of it since makes the answer old. */
	return !ff3_gather_outdates(fs, rep.attr.ino, told);
}

/* --- Open files -------------------------------------------------------------------------------- */

bool ff3_lease_covers(struct ff3_inode *inode)
{
	struct ff3_attr attr;

	return ff3_lease_attr(inode, &attr);
}

bool ff3_lease_attr(struct ff3_inode *inode, struct ff3_attr *ret)
{
	struct ff3_lease_ref ref;

	if (!__atomic_load_n(&inode->lease.open, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&inode->lease_lock);
	ref = inode->lease;
	pthread_mutex_unlock(&inode->lease_lock);
	*ret = ref.attr;
	return ref.open && ff3_lease_holds(inode->fs->leases.shared, ref.life, &ref.dep, 1);
}

void ff3_lease_uncover(struct ff3_inode *inode)
{
	uint32_t place = UINT32_MAX;

	if (LIKELY(!__atomic_load_n(&inode->lease.open, __ATOMIC_ACQUIRE)))
		return;
	pthread_mutex_lock(&inode->lease_lock);
	if (inode->lease.open)
		place = inode->lease.place;
	__atomic_store_n(&inode->lease.open, false, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&inode->lease_lock);
	if (place == UINT32_MAX)
		return;
	ff3_lease_place_drop(inode->fs->leases.shared, place);
	atomic_fetch_sub(&inode->fs->leases.n_places, 1);
}

/* What it is open by is e from now on. false: there is no place for it. */
static bool cover(struct ff3_inode *inode, const struct ff3_lease_entry *e)
{
	struct ff3_leases *l = &inode->fs->leases;
	struct ff3_lease_ref ref = { .open = true,
				     .life = e->life,
				     .dep = e->deps[e->n_deps - 1],
				     .attr = e->attr };
	bool fits = true;

	pthread_mutex_lock(&inode->lease_lock);
	if (inode->lease.open && inode->lease.dep.slot == ref.dep.slot) {
		ref.place = inode->lease.place;
	} else {
		ref.place = ff3_lease_place_take(l->shared, l->salt, inode->ino, ref.dep.slot);
		fits = ref.place != UINT32_MAX;
		if (fits && inode->lease.open)
			ff3_lease_place_drop(l->shared, inode->lease.place);
		else if (fits)
			atomic_fetch_add(&l->n_places, 1);
	}
	if (fits) {
		inode->lease = ref;
		__atomic_store_n(&inode->lease.open, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&inode->lease_lock);
	return fits;
}

/* What is open so needs a thread. */
static bool is_looked_after(const struct ff3fs *fs)
{
	return atomic_load(&fs->leases.alive) == FF3_LEASE_THREAD;
}

/* Whoever revokes sees our place, or we see that it was revoked. So does the thread before it ends. */
static int open_entry(struct ff3fs *fs, struct ff3_lease_shared *s, const struct ff3_lease_entry *e,
		      struct ff3_inode **ret)
{
	struct ff3_layout layout = { .chunk_size = e->chunk_size, .seed = e->seed, .pin = e->pin };
	uint32_t stripe[FF3_LEASE_STRIPE];
	struct ff3_inode *inode;
	int r;

	for (unsigned i = 0; i < e->n_stripe; i++)
		stripe[i] = htole32(e->stripe[i]);
	layout.stripe = (struct ff3_blob){ stripe, e->n_stripe * 4u };
	r = ff3_inode_get(fs, &e->attr, &layout, FF3_OPEN_READ, false, &inode);
	if (r < 0)
		return r;
	/* Open already, in a way that metad knows of or by this lease. */
	if (cover(inode, e) && holds(s, e) && is_looked_after(fs)) {
		ff3_hot_learn(inode, true, (struct ff3_blob){ 0 }, e->pin);
		*ret = inode;
		return 1;
	}
	ff3_inode_unref(inode);
	return 0;
}

static int take_open(struct ff3fs *fs, const struct ff3_rep_resolve *p, struct ff3_inode **ret)
{
	int r = ff3_inode_get(fs, &p->attr, &p->layout, FF3_OPEN_READ, true, ret);

	if (r < 0) {
		ff3_meta_release(fs, p->attr.ino, 1);
		return r;
	}
	ff3_hot_learn(*ret, S_ISREG(p->attr.mode), p->cap, p->layout.pin);
	return 1;
}

int ff3_lease_open(struct ff3fs *fs, const struct ff3_path *at, struct ff3_inode **ret)
{
	struct ff3_lease_shared *s = shared(fs);
	struct ff3_req_resolve req = { .at = *at, .flags = FF3_OPEN_READ };
	struct ff3_rep_resolve rep;
	struct ff3_lease_entry e;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(resolve, false, &req, &rep, buf, sizeof buf);
	uint64_t before;
	int r;

	if (!s || (UNLIKELY(!is_looked_after(fs)) && !ff3_lease_keeper_start(fs)))
		return 0;
	if (look_up(fs, s, at, &e)) {
		if (!S_ISREG(e.attr.mode))
			return 0;
		return e.may_read ? open_entry(fs, s, &e, ret) : -EACCES;
	}
	before = ff3_lease_revocations(s);
	req.holder = ff3_lease_holder(s);
	r = ff3_meta_call(fs, &call);
	if (r < 0)
		return r;
	if (!rep.leased)
		return take_open(fs, &rep, ret);
	return keep(fs, s, at, &rep, before, &e) ? open_entry(fs, s, &e, ret) : 0;
}

/* --- Fork -------------------------------------------------------------------------------------- */

void ff3_leases_before_fork(struct ff3fs *fs)
{
	_cleanup_free_ struct ff3_inode **inodes = NULL;
	size_t n;

	if (!atomic_load(&fs->leases.mapped) || ff3_inodes_all(fs, &inodes, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (__atomic_load_n(&inodes[i]->lease.open, __ATOMIC_ACQUIRE))
			ff3_inode_register(inodes[i]);
		ff3_inode_unref(inodes[i]);
	}
}

void ff3_leases_after_fork(struct ff3fs *fs)
{
	struct ff3_leases *l = &fs->leases;

	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->keep_lock, NULL);
	l->running = l->keeps = false;
	atomic_store(&l->alive, FF3_LEASE_NO_THREAD);
	atomic_store(&l->stop, false);
	atomic_store(&l->n_places, 0);
	atomic_store(&l->retry_ns, 0);
	l->n_held = 0;
	for (struct ff3_inode *i = fs->inodes; i; i = i->hh.next) {
		pthread_mutex_init(&i->lease_lock, NULL);
		i->lease.open = false; /* the place is the parent's */
	}
}
