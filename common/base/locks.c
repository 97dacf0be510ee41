/* Purpose: locks.h. Lists are short: what many processes of a job lock at once is a few ranges of
 * few files. */
#include "locks.h"

#include <stdlib.h>
#include <string.h>

static bool overlaps(const struct ff3_lock *a, const struct ff3_lock *b)
{
	return a->kind == b->kind && a->first <= b->last && b->first <= a->last;
}

static bool same_owner(const struct ff3_lock *a, const struct ff3_lock *b)
{
	return a->kind == b->kind && a->domain == b->domain && a->session == b->session &&
	       (a->kind == FF3_LOCK_FLOCK || a->owner == b->owner);
}

const struct ff3_lock *ff3_locks_conflict(const struct ff3_locks *l, const struct ff3_lock *want)
{
	for (uint32_t i = 0; i < l->n; i++) {
		const struct ff3_lock *e = &l->all[i];

		if (e->domain != want->domain && overlaps(e, want) &&
		    (e->type == FF3_LOCK_EXCLUSIVE || want->type == FF3_LOCK_EXCLUSIVE))
			return e;
	}
	return NULL;
}

enum ff3_lock_type ff3_locks_held(const struct ff3_locks *l, const struct ff3_lock *want)
{
	for (uint32_t i = 0; i < l->n; i++) {
		const struct ff3_lock *e = &l->all[i];

		if (same_owner(e, want) && e->first <= want->first && want->first <= e->last)
			return e->type;
	}
	return FF3_LOCK_NONE;
}

bool ff3_locks_any(const struct ff3_locks *l, const struct ff3_lock *want)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (same_owner(&l->all[i], want))
			return true;
	return false;
}

/* Room for n more, so that nothing after it can fail. */
static int reserve(struct ff3_locks *l, uint32_t n)
{
	uint32_t room = MAX(l->room * 2, l->n + n);
	struct ff3_lock *grown;

	if (l->n + n <= l->room)
		return 0;
	grown = realloc(l->all, room * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	l->all = grown;
	l->room = room;
	return 0;
}

static void add(struct ff3_locks *l, const struct ff3_lock *e)
{
	if (e->type != FF3_LOCK_NONE)
		l->all[l->n++] = *e;
}

static void drop(struct ff3_locks *l, uint32_t i)
{
	l->all[i] = l->all[--l->n];
}

static void set_flock(struct ff3_locks *l, const struct ff3_lock *want)
{
	for (uint32_t i = 0; i < l->n;) {
		struct ff3_lock *e = &l->all[i];

		if (e->kind != FF3_LOCK_FLOCK || e->domain != want->domain) {
			i++;
		} else if (want->type != FF3_LOCK_SHARED || e->session == want->session) {
			drop(l, i);
		} else {
			e->type = FF3_LOCK_SHARED;
			i++;
		}
	}
	add(l, want);
}

/* Cuts want's range out of the owner's other ranges. */
static void set_record(struct ff3_locks *l, const struct ff3_lock *want)
{
	for (uint32_t i = 0; i < l->n;) {
		struct ff3_lock old = l->all[i];

		if (!same_owner(&old, want) || !overlaps(&old, want)) {
			i++;
			continue;
		}
		drop(l, i);
		if (old.first < want->first) {
			struct ff3_lock left = old;

			left.last = want->first - 1;
			add(l, &left);
		}
		if (old.last > want->last) {
			struct ff3_lock right = old;

			right.first = want->last + 1;
			add(l, &right);
		}
	}
	add(l, want);
}

int ff3_locks_set(struct ff3_locks *l, const struct ff3_lock *want)
{
	/* A range in the middle of another makes three of it. */
	int r = reserve(l, 3);

	if (r < 0)
		return r;
	if (want->kind == FF3_LOCK_FLOCK)
		set_flock(l, want);
	else
		set_record(l, want);
	return 0;
}

uint32_t ff3_locks_drop_session(struct ff3_locks *l, uint64_t session)
{
	uint32_t before = l->n;

	for (uint32_t i = 0; i < l->n;) {
		if (l->all[i].session == session)
			drop(l, i);
		else
			i++;
	}
	return before - l->n;
}

void ff3_locks_done(struct ff3_locks *l)
{
	free(l->all);
	*l = (struct ff3_locks){ 0 };
}
