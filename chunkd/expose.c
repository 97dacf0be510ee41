/* Purpose: see expose.h.
 *
 * A chunk has one exposure, with a grant for each way in which clients read it (grant.h). It ends
 * when the chunk is to change or goes, when metad says so, or to make room. A change is not begun, and a
 * removal not answered, before the grants are over: nobody sees the new bytes by one way while others see
 * the old ones by another. Until then the exposure is `ending`, keeps the chunk's struct, and no other is
 * made.
 *
 * Room: exposures take at most `limit` bytes. Who asks for more puts out the one that was asked for
 * longest ago, unless that is pinned (by the file's layout) or younger than MIN_AGE_NS: clients ask for a
 * chunk after having read about as many bytes of it as exposing it costs, so chunks that are really read
 * come back. Reads of exposed chunks are seen by nobody here. What clients still map of exposures that are
 * over (segment.c) may come to an eighth on top; beyond that nothing is exposed.
 *
 * Threads: the store's. */
#include "expose.h"

#include "store_impl.h"

#define MIN_AGE_NS (100 * FF3_NSEC_PER_MSEC)
#define MAKERS_MAX 4u
#define TRIES_MAX 3u

TAILQ_HEAD(expose_list, chunkd_expose);

struct chunkd_exposure {
	struct chunkd_store *store;
	struct chunkd_chunk *chunk; /* referenced */
	struct chunkd_block *block; /* referenced, if a grant needs it */
	uint32_t len;
	uint64_t version, word;
	uint64_t size; /* counted */
	uint64_t asked_ns;
	bool pinned, ending;
	bool busy; /* its list is being walked: it does not end in there */
	TAILQ_HEAD(, chunkd_grant) grants;
	struct making *making;
	struct chunkd_op **waiting; /* changes of the chunk, until it has ended */
	size_t n_waiting;
	TAILQ_ENTRY(chunkd_exposure) link; /* by asked_ns, newest first */
};

/* A grant on its way; outlives an exposure that ends meanwhile. */
struct making {
	struct chunkd_making m;
	struct chunkd_exposure *exposure; /* NULL: it has ended */
	struct chunkd_store *store;
	struct chunkd_block *block; /* referenced */
	uint32_t *crcs;
	uint64_t size;
	struct expose_list requests;
};

struct chunkd_exposer {
	uint64_t limit, used;
	uint64_t ending; /* of used, what is about to be free */
	uint64_t word;
	struct chunkd_grant_maker *makers[MAKERS_MAX];
	size_t n_makers;
	bool per_conn; /* one of the makers is */
	TAILQ_HEAD(chunkd_exposure_list, chunkd_exposure) all;
};

int chunkd_exposer_new(struct chunkd_store *s, uint64_t limit)
{
	struct chunkd_exposer *x = calloc(1, sizeof *x);

	if (!x)
		return -ENOMEM;
	x->limit = limit;
	x->word = ff3_random_u64();
	TAILQ_INIT(&x->all);
	s->exposer = x;
	CHUNKD_SET(s, hot_size, limit);
	return 0;
}

void chunkd_exposer_add(struct chunkd_store *s, struct chunkd_grant_maker *maker)
{
	struct chunkd_exposer *x = s->exposer;

	if (x->n_makers == MAKERS_MAX) {
		maker->ops->free(maker);
		return;
	}
	x->makers[x->n_makers++] = maker;
	x->per_conn |= maker->ops->per_conn;
}

static uint64_t lingering(struct chunkd_exposer *x)
{
	uint64_t n = 0;

	for (size_t i = 0; i < x->n_makers; i++)
		if (x->makers[i]->ops->lingering)
			n += x->makers[i]->ops->lingering(x->makers[i]);
	return n;
}

void chunkd_exposer_measure(struct chunkd_store *s)
{
	if (!s->exposer)
		return;
	CHUNKD_SET(s, exposed_bytes, s->exposer->used);
	CHUNKD_SET(s, lingering_bytes, lingering(s->exposer));
}

/* --- The end ----------------------------------------------------------------------------------- */

static void count(struct chunkd_store *s, struct chunkd_exposure *e, uint64_t size)
{
	e->size += size;
	s->exposer->used += size;
	if (e->ending)
		s->exposer->ending += size;
}

/* Its last grant is over. */
static void ended(struct chunkd_exposure *e)
{
	struct chunkd_store *s = e->store;
	struct chunkd_chunk *c = e->chunk;

	c->exposure = NULL;
	TAILQ_REMOVE(&s->exposer->all, e, link);
	s->exposer->used -= e->size;
	if (e->ending)
		s->exposer->ending -= e->size;
	CHUNKD_SET(s, exposed, s->stats.exposed - 1);
	if (e->block)
		chunkd_block_unref(e->block);
	for (size_t i = 0; i < e->n_waiting; i++)
		chunkd_op_finish(e->waiting[i], 0);
	free(e->waiting);
	free(e);
	/* A change that waited for it. */
	if (c->active && c->active->waiting)
		chunkd_chunk_run(s, c);
	chunkd_chunk_unref(s, c);
}

/* If nothing of it is let, and nothing will be. */
static void settle(struct chunkd_exposure *e)
{
	if (!e->busy && TAILQ_EMPTY(&e->grants) && !e->making)
		ended(e);
}

static void revoked(struct chunkd_grant *g)
{
	struct chunkd_exposure *e = g->exposure;

	TAILQ_REMOVE(&e->grants, g, link);
	count(e->store, e, -g->size);
	settle(e);
}

static void revoke_grant(struct chunkd_grant *g)
{
	if (g->revoking)
		return;
	g->revoking = true;
	g->maker->ops->revoke(g, revoked);
}

/* What is being made comes to nothing. */
static void abandon(struct chunkd_exposure *e)
{
	if (!e->making)
		return;
	count(e->store, e, -e->making->size);
	e->making->exposure = NULL;
	e->making = NULL;
}

/* e may be gone afterwards. */
static void end(struct chunkd_exposure *e)
{
	struct chunkd_grant *g, *next;

	if (e->ending)
		return;
	e->ending = true;
	e->store->exposer->ending += e->size;
	e->busy = true;
	CHUNKD_COUNT(e->store, revocations, 1);
	abandon(e);
	for (g = TAILQ_FIRST(&e->grants); g; g = next) {
		next = TAILQ_NEXT(g, link);
		revoke_grant(g);
	}
	e->busy = false;
	settle(e);
}

void chunkd_chunk_unexpose(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_op *op)
{
	struct chunkd_exposure *e = c->exposure;
	struct chunkd_op **waiting;

	if (LIKELY(!e))
		return;
	/* Without memory to note it, op does not wait: it matters only where revoking takes time. */
	waiting = realloc(e->waiting, (e->n_waiting + 1) * sizeof *e->waiting);
	if (waiting) {
		e->waiting = waiting;
		e->waiting[e->n_waiting++] = op;
		op->remaining++;
	}
	end(e);
}

bool chunkd_chunk_end_exposure(struct chunkd_chunk *c)
{
	if (UNLIKELY(c->exposure != NULL))
		end(c->exposure);
	return !c->exposure;
}

void chunkd_store_unexpose(struct chunkd_store *s, uint64_t ino)
{
	struct chunkd_inode *inode = chunkd_inode_find(s, ino);
	struct chunkd_chunk *c, *next;

	if (!inode)
		return;
	for (c = LIST_FIRST(&inode->chunks); c; c = next) {
		next = LIST_NEXT(c, sibling);
		if (c->exposure)
			end(c->exposure);
	}
}

void chunkd_store_unexpose_all(struct chunkd_store *s)
{
	struct chunkd_exposure *e, *next;

	if (!s->exposer)
		return;
	for (e = TAILQ_FIRST(&s->exposer->all); e; e = next) {
		next = TAILQ_NEXT(e, link);
		end(e);
	}
}

static void end_for(struct chunkd_exposure *e, const struct ff3_conn *conn)
{
	struct chunkd_grant *g, *next;

	e->busy = true;
	if (e->making && e->making->m.conn == conn)
		abandon(e);
	for (g = TAILQ_FIRST(&e->grants); g; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->conn == conn)
			revoke_grant(g);
	}
	e->busy = false;
	settle(e);
}

void chunkd_store_unexpose_conn(struct chunkd_store *s, struct ff3_conn *conn)
{
	struct chunkd_exposure *e, *next;

	if (!s->exposer || !s->exposer->per_conn)
		return;
	for (e = TAILQ_FIRST(&s->exposer->all); e; e = next) {
		next = TAILQ_NEXT(e, link);
		end_for(e, conn);
	}
}

void chunkd_exposer_free(struct chunkd_store *s)
{
	struct chunkd_exposer *x = s->exposer;

	if (!x)
		return;
	chunkd_store_unexpose_all(s);
	for (size_t i = 0; i < x->n_makers; i++)
		x->makers[i]->ops->free(x->makers[i]);
	free(x);
	s->exposer = NULL;
}

/* --- Room -------------------------------------------------------------------------------------- */

static struct chunkd_exposure *coldest(struct chunkd_store *s, bool pin)
{
	struct chunkd_exposure *e;

	TAILQ_FOREACH_REVERSE(e, &s->exposer->all, chunkd_exposure_list, link)
		if (!e->pinned && !e->ending && !e->making &&
		    (pin || s->now_ns - e->asked_ns >= MIN_AGE_NS))
			return e;
	return NULL;
}

static bool make_room(struct chunkd_store *s, uint64_t need, bool pin)
{
	struct chunkd_exposer *x = s->exposer;
	struct chunkd_exposure *e;

	if (need > x->limit)
		return false;
	while (x->used - x->ending + need > x->limit) {
		e = coldest(s, pin);
		if (!e)
			return false;
		CHUNKD_COUNT(s, expose_evictions, 1);
		end(e);
	}
	return x->used - x->ending + need + lingering(x) <= x->limit + MAX(x->limit / 8, need);
}

/* --- Exposing ---------------------------------------------------------------------------------- */

static void finish(struct chunkd_expose *r, int status)
{
	struct chunkd_store *s = r->store;

	if (status == -EDQUOT)
		CHUNKD_COUNT(s, expose_refused, 1);
	r->status = status;
	r->done(r);
}

static void finish_with(struct chunkd_expose *r, struct chunkd_exposure *e, struct chunkd_grant *g)
{
	e->pinned |= r->pin;
	e->asked_ns = r->store->now_ns;
	TAILQ_REMOVE(&r->store->exposer->all, e, link);
	TAILQ_INSERT_HEAD(&r->store->exposer->all, e, link);
	r->grant = g;
	r->chunk_size = e->len;
	r->version = e->version;
	finish(r, 0);
}

static struct chunkd_grant *grant_for(struct chunkd_exposure *e,
				      const struct chunkd_grant_maker *maker,
				      const struct ff3_conn *conn)
{
	struct chunkd_grant *g;

	TAILQ_FOREACH(g, &e->grants, link)
		if (g->maker == maker && g->conn == conn && !g->revoking)
			return g;
	return NULL;
}

static void nobody(struct chunkd_grant *g)
{
}

static void making_free(struct making *k)
{
	chunkd_block_unref(k->block);
	free(k->crcs);
	free(k);
}

static void answer_requests(struct making *k, struct chunkd_grant *g, int status)
{
	struct chunkd_expose *r;

	while ((r = TAILQ_FIRST(&k->requests))) {
		TAILQ_REMOVE(&k->requests, r, link);
		if (g && k->m.conn && r->conn != k->m.conn)
			chunkd_expose_start(k->store, r); /* it needs one of its own */
		else if (g)
			finish_with(r, g->exposure, g);
		else
			finish(r, status);
	}
}

static void made(struct chunkd_making *m, int status, struct chunkd_grant *g)
{
	struct making *k = CONTAINER_OF(m, struct making, m);
	struct chunkd_exposure *e = k->exposure;

	k->store->n_io--;
	if (e) {
		e->making = NULL;
		e->busy = true;
	}
	if (g && !e) {
		/* The chunk has changed, and no client knows of the grant: nobody waits for its end. */
		g->maker->ops->revoke(g, nobody);
		g = NULL;
		status = -EAGAIN;
	} else if (g) {
		g->exposure = e;
		g->conn = m->conn;
		g->size = k->size;
		g->revoking = false;
		TAILQ_INSERT_TAIL(&e->grants, g, link);
		if (g->maker->ops->keeps_block && !e->block)
			e->block = chunkd_block_ref(k->block);
		CHUNKD_COUNT(k->store, exposures, 1);
	} else if (e) {
		count(k->store, e, -k->size);
	}
	answer_requests(k, g, status);
	making_free(k);
	if (e) {
		e->busy = false;
		settle(e);
	}
}

static struct chunkd_exposure *exposure_new(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct chunkd_exposure *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->store = s;
	e->chunk = c;
	e->len = c->len;
	e->version = c->version;
	e->asked_ns = s->now_ns;
	TAILQ_INIT(&e->grants);
	do {
		e->word = ++s->exposer->word;
	} while (e->word == 0);
	c->refs++;
	c->exposure = e;
	TAILQ_INSERT_HEAD(&s->exposer->all, e, link);
	CHUNKD_SET(s, exposed, s->stats.exposed + 1);
	return e;
}

static struct making *making_new(struct chunkd_store *s, struct chunkd_chunk *c)
{
	struct making *k = calloc(1, sizeof *k);
	uint32_t n = chunkd_n_blocks(c->len);

	if (k)
		k->crcs = malloc(n * sizeof *k->crcs);
	if (!k || !k->crcs) {
		free(k);
		return NULL;
	}
	memcpy(k->crcs, c->crcs, n * sizeof *k->crcs);
	k->store = s;
	k->block = chunkd_block_ref(c->mem);
	TAILQ_INIT(&k->requests);
	k->m.done = made;
	k->m.view = (struct chunkd_view){ .ino = c->inode->ino,
					  .index = c->index,
					  .len = c->len,
					  .version = c->version,
					  .block = k->block,
					  .crcs = k->crcs,
					  .n_crcs = n,
					  .io = s->io };
	return k;
}

static void start_making(struct chunkd_store *s, struct chunkd_chunk *c, struct chunkd_expose *r,
			 struct chunkd_grant_maker *maker)
{
	struct chunkd_exposure *e = c->exposure;
	struct making *k = making_new(s, c);

	if (k && !e)
		e = exposure_new(s, c);
	if (!k || !e) {
		if (k)
			making_free(k);
		finish(r, -ENOMEM);
		return;
	}
	k->exposure = e;
	k->m.view.word = e->word;
	k->m.conn = maker->ops->per_conn ? r->conn : NULL;
	k->size = maker->ops->size_of(maker, c->len);
	TAILQ_INSERT_TAIL(&k->requests, r, link);
	e->making = k;
	count(s, e, k->size);
	s->n_io++;
	maker->ops->make(maker, &k->m);
}

static struct chunkd_grant_maker *maker_for(struct chunkd_store *s, struct ff3_conn *conn)
{
	struct chunkd_exposer *x = s->exposer;

	for (size_t i = 0; x && i < x->n_makers; i++)
		if (x->makers[i]->ops->possible(x->makers[i], conn))
			return x->makers[i];
	return NULL;
}

/* Also after a wait, in which anything may have happened. */
void chunkd_expose_start(struct chunkd_store *s, struct chunkd_expose *r)
{
	struct chunkd_grant_maker *maker = maker_for(s, r->conn);
	struct chunkd_chunk *c = chunkd_chunk_find(s, r->ino, r->index);
	struct chunkd_exposure *e = c ? c->exposure : NULL;
	struct chunkd_grant *g;
	int status;

	if (s->offline || !maker || !c || c->len == 0) {
		finish(r, s->offline ? s->offline : !maker ? -EOPNOTSUPP : -ENOENT);
		return;
	}
	g = e ? grant_for(e, maker, maker->ops->per_conn ? r->conn : NULL) : NULL;
	if (g && !e->ending) {
		finish_with(r, e, g);
	} else if (e && (e->ending || r->tries++ >= TRIES_MAX)) {
		finish(r, -EAGAIN);
	} else if (e && e->making) {
		/* Another connection's, if it is for one: by then it is this one's turn. */
		TAILQ_INSERT_TAIL(&e->making->requests, r, link);
	} else if (!make_room(s, maker->ops->size_of(maker, c->len), r->pin)) {
		finish(r, -EDQUOT);
	} else if (c->mem) {
		start_making(s, c, r, maker);
	} else {
		status = r->tries++ < TRIES_MAX ? chunkd_load_start(s, c) : -EAGAIN;
		if (status == 0)
			chunkd_load_then_expose(c, r);
		else
			finish(r, status == -EAGAIN ? -EDQUOT : status);
	}
}

void chunkd_store_expose_denied(struct chunkd_store *s)
{
	CHUNKD_COUNT(s, expose_denied, 1);
}

void chunkd_expose_fail(struct chunkd_expose *r, int status)
{
	finish(r, status);
}

void chunkd_store_expose(struct chunkd_store *s, struct chunkd_expose *r)
{
	r->store = s;
	r->tries = 0;
	r->grant = NULL;
	chunkd_expose_start(s, r);
}
