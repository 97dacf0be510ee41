/* sim [--world NAME] [--from SEED] [--count N] [--trace] [--quiet]: runs N schedules, from SEED on, in
 * one of the worlds of sim_worlds.c or in mixtures of them. The first that
 * violates an invariant is told with its seed, and ends the run with status 1; `--from SEED --count 1
 * --trace` shows it again, step by step. */
#include "sim.h"

#include <argp.h>
#include <stdio.h>

struct arguments {
	const char *world;
	uint64_t from, count;
	bool trace, quiet;
};

static const struct argp_option options[] = {
	{ "world", 'w', "NAME", 0, "one kind of failure; list: tells which there are", 0 },
	{ "from", 'f', "SEED", 0, "first seed (1)", 0 },
	{ "count", 'n', "N", 0, "how many schedules (100)", 0 },
	{ "trace", 't', NULL, 0, "say what happens", 0 },
	{ "quiet", 'q', NULL, 0, "say nothing but the result", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'w':
		a->world = arg;
		break;
	case 'f':
		a->from = strtoull(arg, NULL, 0);
		break;
	case 'n':
		a->count = strtoull(arg, NULL, 0);
		break;
	case 't':
		a->trace = true;
		break;
	case 'q':
		a->quiet = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void print_world(const char *name, const char *text)
{
	printf("%-16s %s\n", name, text);
}

int main(int argc, char **argv)
{
	static struct sim s;
	struct arguments a = { .from = 1, .count = 100 };
	uint64_t events = 0, committed = 0, epochs = 0, seen = 0;

	if (argp_parse(&(struct argp){ options, parse, NULL, NULL, NULL, NULL, NULL }, argc, argv, 0,
		       NULL, &a) != 0)
		return 2;
	if (a.world && strcmp(a.world, "list") == 0) {
		sim_worlds(print_world);
		return 0;
	}
	for (uint64_t seed = a.from; seed < a.from + a.count; seed++) {
		struct sim_options o;
		bool ok;

		if (!sim_world(a.world, seed, &o)) {
			fprintf(stderr, "sim: no world %s; --world list\n", a.world);
			return 2;
		}
		s.trace = a.trace;
		ok = sim_run(&s, seed, &o);
		if (!ok) {
			printf("seed %llu: %s\n", (unsigned long long)seed, s.failure);
			return 1;
		}
		events += s.n_events;
		committed += s.n_committed;
		epochs += s.max_epoch;
		seen += s.n_seen;
		sim_done(&s);
		if (!a.quiet && (seed - a.from + 1) % 1000 == 0) {
			fprintf(stderr, "\r%llu schedules", (unsigned long long)(seed - a.from + 1));
			fflush(stderr);
		}
	}
	printf("%llu schedules without a violation: %llu events, %llu operations, %llu committed "
	       "entries, %llu epochs\n", (unsigned long long)a.count, (unsigned long long)events,
	       (unsigned long long)seen, (unsigned long long)committed,
	       (unsigned long long)epochs);
	return 0;
}
