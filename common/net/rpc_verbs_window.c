/* Purpose: windows of a client's verbs link: asking for them, and reading by them.
 *
 * A read is one work request, an RDMA READ into the caller's memory where that can be registered, else into a
 * buffer of the pool. It is a call as others are, with a slot and a place in the list, but its end is the
 * completion and not a reply.
 *
 * Each window has a word in memory that the daemon may write. When that is 0 the window is over, and
 * to read by it would be the end of the link. It is looked at before each read, which may be too early: then
 * the link ends, and the caller asks in another way.
 *
 * Threads, locks: rpc_verbs.h; words are given and taken under conn->lock. Fork: a child's links are others,
 * which windows notice by the epoch. Signals: none. */
#include "rpc_verbs.h"

/* --- Words ----------------------------------------------------------------------------------- */

static _Atomic uint64_t *word_of(const struct ff3_verbs_state *s, uint32_t word)
{
	return (_Atomic uint64_t *)(void *)s->words.p + word;
}

/* conn->lock held. */
static int word_get(struct ff3_verbs_state *s, uint32_t *ret)
{
	int r = s->words.p ? 0 :
			     s->v->pool_get(s->device, FF3_VERBS_WORDS * FF3_VERBS_WORD, &s->words);

	for (uint32_t i = 0; r == 0 && i < ARRAY_SIZE(s->words_used); i++) {
		uint64_t free = ~s->words_used[i];

		if (!free)
			continue;
		*ret = i * 64 + (uint32_t)__builtin_ctzll(free);
		s->words_used[i] |= free & -free;
		atomic_store(word_of(s, *ret), 1);
		return 0;
	}
	return r < 0 ? r : -ENOMEM;
}

/* conn->lock held. The link's state, if w is one of it. */
static struct ff3_verbs_state *state_of(const struct ff3_rpc_window *w)
{
	return w->conn->state == FF3_CONN_UP && w->conn->epoch == w->epoch ? w->conn->link_state : NULL;
}

void ff3_rpc_window_drop(const struct ff3_rpc_window *w)
{
	struct ff3_verbs_state *s;

	if (!w->conn)
		return;
	pthread_mutex_lock(&w->conn->lock);
	s = state_of(w);
	if (s)
		s->words_used[w->word / 64] &= ~(1ull << w->word % 64);
	pthread_mutex_unlock(&w->conn->lock);
}

bool ff3_rpc_window_is_over(const struct ff3_rpc_window *w)
{
	struct ff3_verbs_state *s;
	bool over;

	pthread_mutex_lock(&w->conn->lock);
	s = state_of(w);
	over = !s || atomic_load(word_of(s, w->word)) == 0;
	pthread_mutex_unlock(&w->conn->lock);
	return over;
}

int ff3_verbs_name_word(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call,
			struct ff3_verbs_piece *ret)
{
	struct ff3_verbs_state *s = conn->link_state;
	int r;

	pthread_mutex_lock(&conn->lock);
	r = word_get(s, &call->asks->word);
	pthread_mutex_unlock(&conn->lock);
	if (r < 0)
		return r;
	call->asks->conn = conn;
	call->asks->epoch = call->epoch;
	*ret = (struct ff3_verbs_piece){ (uintptr_t)word_of(s, call->asks->word), s->words.rkey,
					 FF3_VERBS_WORD };
	return 0;
}

/* --- Reading --------------------------------------------------------------------------------- */

int ff3_verbs_read_window(struct ff3_rpc_conn *conn, struct ff3_rpc_call *call,
			  struct ff3_verbs_slot *slot, uint64_t until)
{
	struct ff3_verbs_state *s = conn->link_state;
	const struct ff3_rpc_window *w = call->window;
	const struct ff3_verbs_piece from = { w->addr + call->window_at, w->rkey, call->window_len };
	uint64_t id = FF3_VERBS_READ_ID + (uint64_t)(slot - s->slots);
	int r = 0;

	if (atomic_load_explicit(word_of(s, w->word), memory_order_acquire) == 0)
		return -ESTALE;
	slot->n_memory = 1;
	if (call->careful || !call->own ||
	    ff3_verbs_hold_own(s, call->own, call->window_len, &slot->memory[0]) < 0) {
		slot->n_memory = 0;
		r = ff3_verbs_bounce(s, slot, call->window_len);
	}
	while (r == 0) {
		r = s->v->read(s->link, &slot->memory[0], slot->bounce ? slot->bounce : call->own, &from,
			       call->window_len, id);
		if (r != -EAGAIN)
			break;
		r = ff3_verbs_wait_room(conn, until);
	}
	return r;
}

void ff3_verbs_landed(struct ff3_rpc_conn *conn, uint64_t id, struct ff3_rpc_call **done)
{
	struct ff3_verbs_state *s = conn->link_state;
	struct ff3_verbs_slot *slot = &s->slots[id - FF3_VERBS_READ_ID];
	struct ff3_rpc_call *call = slot->call;

	if (call) {
		call->payload_len = call->window_len;
		ff3_rpc_end_call(conn, call,
				 slot->bounce ? call->landed(call, slot->bounce, call->window_len) : 0, done);
	}
	ff3_verbs_slot_free(s, slot);
	if (conn->sender)
		ff3_rpc_wake(conn->sender);
}
