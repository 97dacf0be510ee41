/* The worlds in which a group is tried: each row of the table of failures by itself, and mixtures.
 *
 * Threads, fork, signals: none. */
#include "sim.h"

/* --- What else must hold in the end ---------------------------------------------------------- */

/* Nothing that happened was a reason for an election after the first. */
static void one_epoch(struct sim *s)
{
	if (s->max_epoch > 1)
		sim_fail(s, "%u epochs, though no primary was ever away", (unsigned)s->max_epoch);
}

/* Cuts may cost an election each, and one for healing, not a storm of them. */
static void few_epochs(struct sim *s)
{
	if (s->max_epoch > 2 + 3 * s->n_cuts)
		sim_fail(s, "%u epochs by %u cuts", (unsigned)s->max_epoch, (unsigned)s->n_cuts);
}

static void one_halted(struct sim *s)
{
	if (s->n_diverged > 0 && s->n_halted == 0)
		sim_fail(s, "a database went wrong and nobody noticed");
}

/* The majority's speed: a quarter of what six clients do with 20 ms between requests. (When the slow
 * one is the primary, they wait for its database.) */
static void not_slow(struct sim *s)
{
	if (s->n_committed < 12 * 6 * 25 / 4)
		sim_fail(s, "only %u operations: the slow member holds the others up",
			 (unsigned)s->n_committed);
}

static const struct world {
	const char *name, *text;
	struct sim_options o;
} worlds[] = {
	{ "calm", "nothing happens", { .at_end = one_epoch } },
	{ "primary-killed", "before the append, after it, after the majority, before the answer",
	  { .hunt = 0.8, .crash = 0.3, .message_entries = 1 } },
	{ "isolated", "members are cut off and come back", { .cut = 2 } },
	{ "one-way", "messages pass in one direction only",
	  { .one_way = 1, .at_end = few_epochs } },
	{ "late", "hardly anything is written, and one member hears everything later than the others",
	  { .one_way = 0.6, .slow = true, .rest_ns = 8 * SIM_SEC } },
	{ "stopped", "processes stop for up to ten seconds and go on", { .pause = 1.5 } },
	{ "slow-replica", "one member is slower than the others by far",
	  { .slow = true, .checkpoint = 2, .at_end = not_slow } },
	{ "new-disk", "disks are replaced by empty ones",
	  { .replace = 0.8, .admin = 3, .crash = 0.2, .checkpoint = 2 } },
	{ "torn-tail", "members crash in the middle of writes", { .crash = 4, .checkpoint = 2 } },
	{ "bad-record", "bits flip in the middle of logs",
	  { .flip = 1.5, .crash = 1, .checkpoint = 0.5 } },
	{ "anew", "the same, and whoever loses the role or gets a checkpoint starts anew, as the daemon does",
	  { .flip = 1.5, .crash = 0.5, .checkpoint = 3, .again = true } },
	{ "io-error", "writes to the log fail", { .fail = 1.5 } },
	{ "wall-clock", "wall clocks jump by up to an hour", { .at_end = one_epoch } },
	{ "power-cut", "all members lose power at once", { .power = 0.4, .checkpoint = 1 } },
	{ "diverged", "applying an operation has another result on one member",
	  { .diverge = true, .at_end = one_halted } },
};

void sim_worlds(void (*fn)(const char *name, const char *text))
{
	for (size_t i = 0; i < ARRAY_SIZE(worlds); i++)
		fn(worlds[i].name, worlds[i].text);
}

static struct sim_options mixture(uint64_t seed)
{
	struct sim_options o = { .members = seed % 3 == 2 ? 5 : 3,
				 .duration_ns = 12 * SIM_SEC,
				 .delay_ns = 4 * SIM_MSEC,
				 .heal_at_end = true };
	uint64_t kind = seed / 3 % 10;

	o.checkpoint = 1;
	if (kind != 0)
		o.drop = 0.03, o.twice = 0.03;
	if (kind == 1 || kind >= 5)
		o.crash = 0.8;
	if (kind == 2 || kind >= 5)
		o.cut = 1.2;
	if (kind == 3 || kind >= 5)
		o.pause = 0.6;
	if (kind == 4 || kind >= 6)
		o.crash = 1.5, o.flip = 0.3, o.fail = 0.3, o.replace = 0.2;
	if (kind >= 8)
		o.hunt = 0.7, o.message_entries = 1 + (uint32_t)(seed / 30 % 2), o.crash = o.pause = o.flip = o.fail = o.replace = 0;
	o.again = seed / 30 % 5 == 3;
	if (kind == 7)
		o.admin = 1, o.delay_ns = 40 * SIM_MSEC;
	else if (kind >= 4 && kind < 8)
		o.admin = 0.5;
	return o;
}

bool sim_world(const char *name, uint64_t seed, struct sim_options *ret)
{
	const struct sim_options usual = mixture(0);

	if (!name) {
		*ret = mixture(seed);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(worlds); i++) {
		if (strcmp(worlds[i].name, name) != 0)
			continue;
		*ret = worlds[i].o;
		ret->members = seed % 2 ? 3 : 5;
		ret->duration_ns = usual.duration_ns;
		ret->delay_ns = usual.delay_ns;
		ret->heal_at_end = !ret->diverge;
		return true;
	}
	return false;
}
