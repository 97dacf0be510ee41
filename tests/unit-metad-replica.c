/* Histories that a seeded world seldom finds, told message by message to metad/replica*.c. */
#include <check.h>

#include "../metad/replica.h"

#define MSEC FF3_NSEC_PER_MSEC
#define N 3

static struct node {
	struct replica *core;
	struct replica_actions actions;
	struct replica_entry log[64];
	uint64_t written, generation;
	uint64_t saved_epoch, saved_vote;
	unsigned offers;
} nodes[N + 1];

static struct replica_message net[1024];
static struct replica_entry carried[1024][REPLICA_ENTRIES_MAX];
static unsigned n_net;
static uint64_t now;

static int step(unsigned id, struct replica_event e)
{
	struct node *n = &nodes[id];
	int r;

	e.now = now;
	r = replica_step(n->core, &e, &n->actions);
	for (uint32_t i = 0; i < n->actions.n; i++) {
		const struct replica_action *a = &n->actions.v[i];

		switch (a->kind) {
		case REPLICA_SAVE:
			n->saved_epoch = a->epoch;
			n->saved_vote = a->vote;
			break;
		case REPLICA_WRITE:
			for (uint32_t k = 0; k < a->n; k++)
				n->log[a->seq + k] = a->epoch ?
					(struct replica_entry){ .epoch = a->epoch } :
					e.message->entries[a->index + k];
			n->written = a->seq + a->n - 1;
			n->generation = a->generation;
			break;
		case REPLICA_SEND:
			net[n_net] = a->message;
			for (uint32_t k = 0; k < a->message.n_entries; k++)
				carried[n_net][k] = n->log[a->message.prev_seq + 1 + k];
			n_net++;
			break;
		case REPLICA_OFFER:
			n->offers++;
			break;
		case REPLICA_HALT:
			ck_abort_msg("member %u halts: %s", id, a->reason);
			break;
		default:
			break;
		}
	}
	return r;
}

static void setup(void)
{
	struct replica_disk disk = { .base_config = { .n = N } };
	struct replica_options options = REPLICA_OPTIONS;

	memset(nodes, 0, sizeof nodes);
	n_net = 0;
	now = 1000 * FF3_NSEC_PER_SEC;
	options.message_entries = 1;
	for (unsigned i = 0; i < N; i++)
		disk.base_config.member[i] = (struct replica_member){ i + 1, i + 101, true, false };
	for (unsigned i = 1; i <= N; i++)
		ck_assert_int_eq(replica_new(i, i + 100, &disk, &options, now, i, &nodes[i].core),
				 0);
}

static void teardown(void)
{
	for (unsigned i = 1; i <= N; i++) {
		replica_free(nodes[i].core);
		replica_actions_done(&nodes[i].actions);
	}
}

static void flush(unsigned id)
{
	struct node *n = &nodes[id];

	step(id, (struct replica_event){ .kind = REPLICA_DURABLE, .seq = n->written,
					 .generation = n->generation });
}

/* Delivers what goes from a to b now, at most that many, in order; the rest stays. */
static unsigned deliver(unsigned a, unsigned b, unsigned most)
{
	unsigned have = n_net, done = 0;

	for (unsigned i = 0; i < have && done < most; i++) {
		struct replica_message m = net[i];

		if (m.from != a || m.to != b)
			continue;
		m.entries = carried[i];
		net[i].to = 0;
		done++;
		step(b, (struct replica_event){ .kind = REPLICA_MESSAGE, .message = &m });
	}
	return done;
}

static void talk(unsigned a, unsigned b)
{
	while (deliver(a, b, 1) + deliver(b, a, 1) > 0) {
		flush(a);
		flush(b);
	}
}

static void lose_all(void)
{
	n_net = 0;
}

static void tick(unsigned id)
{
	step(id, (struct replica_event){ .kind = REPLICA_TICK });
}

static struct replica_view look(unsigned id)
{
	struct replica_view v;

	replica_view(nodes[id].core, &v);
	return v;
}

/* a becomes the primary by b's vote, and nothing is delivered afterwards. */
static void elect(unsigned a, unsigned b)
{
	for (int i = 0; i < 10 && look(a).role != REPLICA_PRIMARY; i++) {
		now += 1100 * MSEC;
		lose_all();
		tick(a);
		while (look(a).role != REPLICA_PRIMARY && deliver(a, b, 1) + deliver(b, a, 1) > 0)
			;
	}
	ck_assert_int_eq(look(a).role, REPLICA_PRIMARY);
}

/* An entry of a former epoch is on a majority, and may yet be replaced: it is not committed by being
 * counted (figure 8 of the Raft paper). */
START_TEST(old_epoch_is_not_committed_by_count)
{
	uint64_t x;

	elect(1, 2);
	flush(1);
	talk(1, 2);
	talk(1, 3);
	ck_assert_uint_eq(look(1).commit_seq, 1);
	step(1, (struct replica_event){ .kind = REPLICA_APPLIED, .seq = 1, .hash = 1 });
	lose_all();
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_PROPOSE, .n = 1 }), 0);
	x = look(1).last_seq;
	flush(1);
	lose_all();
	/* Member 3 is the primary for a moment, with an entry in the same place. */
	elect(3, 2);
	flush(3);
	lose_all();
	ck_assert_uint_eq(replica_epoch_at(nodes[3].core, x), 2);
	/* Without answers member 1 is the primary no more. Then it is again; member 2 gets x, and not yet what comes behind it. */
	tick(1);
	ck_assert_int_eq(look(1).role, REPLICA_FOLLOWER);
	elect(1, 2);
	flush(1);
	while (look(2).last_seq < x) {
		ck_assert_uint_gt(deliver(1, 2, 1), 0);
		flush(2);
		if (look(2).last_seq < x)
			deliver(2, 1, 100);
	}
	deliver(2, 1, 100);
	ck_assert_uint_eq(look(2).durable_seq, x);
	ck_assert_uint_lt(look(1).commit_seq, x);
	/* With an entry of its own epoch behind it, both are. */
	talk(1, 2);
	ck_assert_uint_gt(look(1).commit_seq, x);
}
END_TEST

/* What is told to others about epoch and vote was told to the disk first. */
START_TEST(votes_are_saved_first)
{
	now += 1100 * MSEC;
	tick(1);
	deliver(1, 2, 1);
	deliver(2, 1, 1);
	ck_assert_int_eq(look(1).role, REPLICA_CANDIDATE);
	ck_assert_uint_eq(nodes[1].saved_epoch, 1);
	ck_assert_uint_eq(nodes[1].saved_vote, 1);
	deliver(1, 2, 1);
	ck_assert_uint_eq(nodes[2].saved_epoch, 1);
	ck_assert_uint_eq(nodes[2].saved_vote, 1);
}
END_TEST

/* The role is given away without waiting for an election, and no read is answered from then on. */
START_TEST(hand_over)
{
	elect(1, 2);
	flush(1);
	talk(1, 2);
	step(1, (struct replica_event){ .kind = REPLICA_APPLIED, .seq = 1, .hash = 1 });
	now += 60 * MSEC;
	tick(1);
	talk(1, 2);
	ck_assert(replica_may_answer(nodes[1].core, replica_read_begin(nodes[1].core), now));
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_HAND_OVER, .id = 2 }), 0);
	ck_assert(!replica_read_begin(nodes[1].core));
	deliver(1, 2, 100);
	talk(2, 3);
	ck_assert_int_eq(look(2).role, REPLICA_PRIMARY);
}
END_TEST

/* The one that shall take over reaches nobody at first: it asks again, in the same epoch. */
START_TEST(votes_are_asked_for_again)
{
	elect(1, 2);
	flush(1);
	talk(1, 2);
	step(1, (struct replica_event){ .kind = REPLICA_APPLIED, .seq = 1, .hash = 1 });
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_HAND_OVER, .id = 2 }), 0);
	deliver(1, 2, 100);
	ck_assert_int_eq(look(2).role, REPLICA_CANDIDATE);
	lose_all();
	ck_assert_uint_le(replica_deadline(nodes[2].core), now + 50 * MSEC);
	now += 50 * MSEC;
	tick(2);
	talk(2, 3);
	ck_assert_int_eq(look(2).role, REPLICA_PRIMARY);
	ck_assert_uint_eq(look(2).epoch, 2);
}
END_TEST

static struct replica_config with_member(struct replica_config c, unsigned i, uint64_t log_id,
					 bool voter)
{
	c.member[i].log_id = log_id;
	c.member[i].voter = voter;
	return c;
}

/* One member at a time; a new disk first only receives. */
START_TEST(membership)
{
	struct replica_config c;

	elect(1, 2);
	flush(1);
	talk(1, 2);
	c = with_member(look(1).config, 2, 999, true);
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 -EINVAL);
	c = with_member(with_member(look(1).config, 2, 103, false), 1, 102, false);
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 -EINVAL);
	c = with_member(look(1).config, 2, 999, false);
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 0);
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 -EBUSY);
	flush(1);
	talk(1, 2);
	c = with_member(look(1).config, 2, 999, true);
	ck_assert_int_eq(step(1, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 0);
	ck_assert_int_eq(step(2, (struct replica_event){ .kind = REPLICA_CONFIGURE, .config = &c }),
			 -EPERM);
}
END_TEST

/* Damage ends the epoch of whoever may count on what it took, once: a member that starts anew before its
 * log is whole, because it got a copy of the database, follows the primary that it has by now. */
START_TEST(damage_begins_one_epoch)
{
	struct replica_config config = look(2).config;
	struct replica_disk disk = { .epoch = 4, .vote = 1, .base_seq = 9, .base_epoch = 4,
				     .base_config = config, .last_seq = 9, .applied_seq = 9,
				     .damaged = 5 };
	struct replica_options options = REPLICA_OPTIONS;
	struct node *n = &nodes[2];

	for (int i = 0; i < 3; i++) {
		replica_free(n->core);
		ck_assert_int_eq(replica_new(2, 102, &disk, &options, now, 2, &n->core), 0);
		ck_assert(look(2).damaged);
		ck_assert_uint_eq(look(2).epoch, 5);
		n->saved_epoch = 0;
		tick(2);
		/* Saved before anything else, when it is news. */
		ck_assert_uint_eq(n->saved_epoch, i == 0 ? 5 : 0);
		disk.epoch = 5;
		disk.vote = 0;
	}
}
END_TEST

/* Who says nothing to a new primary may have everything: it is offered no copy, however long that lasts. */
START_TEST(silence_is_no_lack)
{
	elect(1, 2);
	flush(1);
	talk(1, 2);
	talk(1, 3);
	step(1, (struct replica_event){ .kind = REPLICA_APPLIED, .seq = 1, .hash = 1 });
	step(1, (struct replica_event){ .kind = REPLICA_COMPACTED, .seq = 1 });
	now += 1100 * MSEC;
	lose_all();
	tick(1);
	ck_assert_int_eq(look(1).role, REPLICA_FOLLOWER);
	elect(1, 2);
	flush(1);
	for (int i = 0; i < 40; i++) {
		now += 60 * MSEC;
		tick(1);
		talk(1, 2);
	}
	ck_assert_int_eq(look(1).role, REPLICA_PRIMARY);
	ck_assert_uint_eq(nodes[1].offers, 0);
	lose_all();
	now += 60 * MSEC;
	tick(1);
	talk(1, 3);
	ck_assert_uint_eq(look(3).commit_seq, look(1).commit_seq);
	ck_assert_uint_eq(nodes[1].offers, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("metad-replica");
	TCase *c = tcase_create("histories");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, old_epoch_is_not_committed_by_count);
	tcase_add_test(c, votes_are_saved_first);
	tcase_add_test(c, hand_over);
	tcase_add_test(c, votes_are_asked_for_again);
	tcase_add_test(c, membership);
	tcase_add_test(c, damage_begins_one_epoch);
	tcase_add_test(c, silence_is_no_lack);
	suite_add_tcase(s, c);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
