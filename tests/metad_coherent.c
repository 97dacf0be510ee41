/* What was acknowledged is seen by others at once, also where readers have it from an older state.
 *
 *   metad_coherent ADDRESS SECONDS
 *
 * Writers change files of their own: modification times, which count up; names that go and come back; names that
 * move to a twin directory. Around each change they tell what is so, and that it is being changed. Lookers ask
 * for files, some that were changed a moment ago and some at random, 24 at a time; listers read whole
 * directories with attributes. What was told before one has asked, and still is when the answer is there, must be what
 * was answered.
 *
 * Threads: each with a connection of its own. A file's state is a word, written by its writer only. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "metad_client.h"

#define DIRS 24u
#define IN_DIR 250u
#define FILES (DIRS * IN_DIR)
#define WRITERS 4u
#define LOOKERS 2u
#define LISTERS 2u
#define DEPTH 24u
#define PREPARED 60u /* at a time */

/* A file's word: its version, where it is, and whether it is being changed. */
#define BUSY 1u
#define GONE 2u
#define MOVED 4u
#define STEP 8u

static const char *address;
static _Atomic uint64_t states[FILES];
static _Atomic uint32_t recent[64], n_recent;
static atomic_bool stop;
static _Atomic uint64_t n_changes, n_looks, n_lists, n_compared;
static uint64_t dir_ino[2][DIRS];

static void name_of(uint32_t file, char name[32])
{
	snprintf(name, 32, "f%u", file % IN_DIR);
}

/* --- Writers --------------------------------------------------------------------------------- */

static void set_time(struct mc *c, uint32_t file, uint64_t state)
{
	char name[32];

	name_of(file, name);
	mc_must(MC_DO(c, setattr, .tag = mc_tag(c), .at = mc_at(dir_ino[!!(state & MOVED)][file / IN_DIR], name, 0),
		   .valid = FF3_SET_MTIME, .mtime = { state / STEP, 0 }),
	     "setattr");
}

static void make(struct mc *c, uint32_t file, uint64_t state)
{
	struct ff3_rep_open p;
	char name[32];

	name_of(file, name);
	mc_must(MC(c, open, &p, .tag = mc_tag(c), .at = mc_at(dir_ino[!!(state & MOVED)][file / IN_DIR], name, 0),
		.flags = FF3_OPEN_CREATE | FF3_OPEN_EXCLUSIVE | FF3_OPEN_WRITE, .mode = 0644),
	     "create");
	mc_must(mc_release(c, c->reply, c->reply_len), "release");
	set_time(c, file, state);
}

/* Names change in few directories at a time, so that listings of the others are readers'. */
static uint64_t change(struct mc *c, uint32_t file, uint64_t state, bool names, uint64_t random)
{
	uint32_t dir = file / IN_DIR;
	char name[32];

	state = (state & (GONE | MOVED)) + (state / STEP + 1) * STEP;
	name_of(file, name);
	if (state & GONE) {
		state &= ~(uint64_t)GONE;
		make(c, file, state);
	} else if (!names || random % 4 == 0) {
		set_time(c, file, state);
	} else if (random % 2) {
		mc_must(MC_DO(c, unlink, .tag = mc_tag(c), .at = mc_at(dir_ino[!!(state & MOVED)][dir], name, 0)),
		     "unlink");
		state |= GONE;
	} else {
		mc_must(MC_DO(c, rename, .tag = mc_tag(c), .from = mc_at(dir_ino[!!(state & MOVED)][dir], name, 0),
			   .to = mc_at(dir_ino[!(state & MOVED)][dir], name, 0)),
		     "rename");
		state ^= MOVED;
		set_time(c, file, state);
	}
	return state;
}

static void *write_main(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	uint64_t seed = 99 + me * 7919;
	struct mc *c = mc_connect(address);

	while (!stop) {
		uint64_t random = mc_random(&seed);
		uint32_t dir = me + WRITERS * (uint32_t)((random >> 8 & 0xff) % (DIRS / WRITERS));
		bool names = random >> 16 & 1;

		for (unsigned i = 0; i < 30 && !stop; i++) {
			uint32_t file = dir * IN_DIR + (uint32_t)(mc_random(&seed) % IN_DIR);
			uint64_t state = atomic_load(&states[file]);

			atomic_store(&states[file], state | BUSY);
			state = change(c, file, state, names, mc_random(&seed));
			atomic_store(&states[file], state);
			atomic_store(&recent[atomic_fetch_add(&n_recent, 1) % ARRAY_SIZE(recent)], file);
			n_changes++;
		}
	}
	mc_free(c);
	return NULL;
}

/* --- Lookers --------------------------------------------------------------------------------- */

static void wrong(const char *what, uint32_t file, uint64_t state, uint64_t version)
{
	fprintf(stderr, "metad_coherent: %s: file %u: told version %" PRIu64 "%s%s, answered %" PRIu64 "\n", what,
		file, state / STEP, state & GONE ? ", gone" : "", state & MOVED ? ", moved" : "", version);
	exit(1);
}

/* status and mtime of a name that is in its own directory, or in the twin's. */
static void compare(const char *what, uint32_t file, uint64_t state, bool twin, bool found, uint64_t mtime)
{
	bool want = !(state & GONE) && !!(state & MOVED) == twin;

	if ((state & BUSY) || atomic_load(&states[file]) != state)
		return;
	n_compared++;
	if (found != want || (found && mtime != state / STEP))
		wrong(what, file, state, found ? mtime : 0);
}

static void *look_main(void *arg)
{
	static _Thread_local struct ff3_rpc_call calls[DEPTH];
	static _Thread_local uint8_t bodies[DEPTH][256], replies[DEPTH][1024];
	struct ff3_rpc_call *one[DEPTH];
	struct mc *c = mc_connect(address);
	uint64_t seed = 4711 + (uintptr_t)arg, state[DEPTH];
	uint32_t file[DEPTH];
	bool twin[DEPTH];

	while (!stop) {
		for (unsigned k = 0; k < DEPTH; k++) {
			uint64_t random = mc_random(&seed);
			char name[64];

			file[k] = random % 3 ? (uint32_t)(random >> 8) % FILES :
					       recent[(random >> 8) % ARRAY_SIZE(recent)];
			twin[k] = random >> 63;
			state[k] = atomic_load(&states[file[k]]);
			snprintf(name, sizeof name, "%s%u/f%u", twin[k] ? "t" : "d", file[k] / IN_DIR, file[k] % IN_DIR);
			calls[k] = (struct ff3_rpc_call){ .op = FF3_OP_lookup, .body = bodies[k], .reply = replies[k],
							  .reply_size = sizeof replies[k] };
			calls[k].body_len = ff3_encode_req_lookup(
				bodies[k], sizeof bodies[k],
				&(struct ff3_req_lookup){ mc_at(FF3_ROOT_INO, name, 0) });
			one[k] = &calls[k];
		}
		mc_must(ff3_rpc_start(c->peer, one[0]), "start");
		mc_must(ff3_rpc_start_many(c->peer, one + 1, DEPTH - 1), "start");
		mc_must(ff3_rpc_wait(one, DEPTH, 0), "wait");
		for (unsigned k = 0; k < DEPTH; k++) {
			struct ff3_rep_lookup p = { 0 };
			int r = calls[k].status;

			if (r == 0)
				r = ff3_decode_rep_lookup(replies[k], calls[k].reply_len, &p);
			mc_must(r == -ENOENT ? 0 : r, "lookup");
			compare("lookup", file[k], state[k], twin[k], r == 0, p.attr.mtime.sec);
			n_looks++;
		}
	}
	mc_free(c);
	return NULL;
}

/* --- Listers --------------------------------------------------------------------------------- */

static void list(struct mc *c, uint32_t dir, bool twin, bool in_dir[IN_DIR], uint64_t mtime[IN_DIR])
{
	struct ff3_rep_readdir p = { .end = 0 };
	uint64_t cookie = 0;

	memset(in_dir, 0, IN_DIR * sizeof *in_dir);
	while (!p.end) {
		struct ff3_dirent e;
		struct ff3_dec d;

		mc_must(MC(c, readdir, &p, .ino = dir_ino[twin][dir], .cookie = cookie, .max_bytes = 16384,
			.with_attr = true),
		     "readdir");
		d = ff3_dec_blob(p.entries);
		while (ff3_dec_more(&d)) {
			struct ff3_dec a;
			struct ff3_attr attr;
			uint32_t i;

			ff3_get_dirent(&d, &e);
			cookie = e.cookie;
			a = ff3_dec_blob(e.attr);
			ff3_get_attr(&a, &attr);
			i = (uint32_t)strtoul(e.name.p + 1, NULL, 10);
			if (i >= IN_DIR || in_dir[i])
				wrong("a name that is listed twice", dir * IN_DIR + i, 0, 0);
			in_dir[i] = true;
			mtime[i] = attr.mtime.sec;
		}
	}
}

static void *list_main(void *arg)
{
	struct mc *c = mc_connect(address);
	uint64_t seed = 31 + (uintptr_t)arg, state[IN_DIR], mtime[IN_DIR];
	bool in_dir[IN_DIR];

	while (!stop) {
		uint64_t random = mc_random(&seed);
		uint32_t dir = (uint32_t)(random >> 8) % DIRS;
		bool twin = random >> 63;

		for (uint32_t i = 0; i < IN_DIR; i++)
			state[i] = atomic_load(&states[dir * IN_DIR + i]);
		list(c, dir, twin, in_dir, mtime);
		for (uint32_t i = 0; i < IN_DIR; i++)
			compare("readdir", dir * IN_DIR + i, state[i], twin, in_dir[i], mtime[i]);
		n_lists++;
	}
	mc_free(c);
	return NULL;
}

/* --------------------------------------------------------------------------------------------- */

static void prepare(struct mc *c)
{
	static struct ff3_rpc_call calls[PREPARED];
	static uint8_t bodies[PREPARED][256], replies[PREPARED][1024];
	struct ff3_rpc_call *one[PREPARED];
	struct ff3_rep_mkdir p;
	char name[32];

	for (uint32_t twin = 0; twin < 2; twin++)
		for (uint32_t i = 0; i < DIRS; i++) {
			snprintf(name, sizeof name, "%s%u", twin ? "t" : "d", i);
			mc_must(MC(c, mkdir, &p, .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0), .mode = 0755),
			     "mkdir");
			dir_ino[twin][i] = p.attr.ino;
		}
	c->n_outstanding = PREPARED - 1;
	for (uint32_t i = 0; i < FILES; i += PREPARED) {
		for (uint32_t k = 0; k < PREPARED; k++) {
			states[i + k] = BUSY; /* its time is not known yet */
			snprintf(name, sizeof name, "d%u/f%u", (i + k) / IN_DIR, (i + k) % IN_DIR);
			calls[k] = (struct ff3_rpc_call){ .op = FF3_OP_open, .body = bodies[k], .reply = replies[k],
							  .reply_size = sizeof replies[k] };
			calls[k].body_len = ff3_encode_req_open(
				bodies[k], sizeof bodies[k],
				&(struct ff3_req_open){ .tag = mc_tag(c), .at = mc_at(FF3_ROOT_INO, name, 0),
							.flags = FF3_OPEN_CREATE | FF3_OPEN_WRITE, .mode = 0644 });
			one[k] = &calls[k];
			mc_must(ff3_rpc_start(c->peer, one[k]), "start");
		}
		mc_must(ff3_rpc_wait(one, PREPARED, 0), "wait");
		for (uint32_t k = 0; k < PREPARED; k++) {
			mc_must(calls[k].status, "create");
			mc_must(mc_release(c, replies[k], calls[k].reply_len), "release");
		}
	}
	c->n_outstanding = 0;
}

int main(int argc, char **argv)
{
	static void *(*const mains[])(void *) = { write_main, look_main, list_main };
	static const unsigned many[] = { WRITERS, LOOKERS, LISTERS };
	pthread_t threads[WRITERS + LOOKERS + LISTERS];
	struct timespec pause;
	unsigned n = 0;
	struct mc *c;

	if (argc != 3)
		return 2;
	address = argv[1];
	c = mc_connect(address);
	prepare(c);
	for (unsigned k = 0; k < ARRAY_SIZE(mains); k++)
		for (unsigned i = 0; i < many[k]; i++)
			mc_must(-pthread_create(&threads[n++], NULL, mains[k], (void *)(uintptr_t)i), "thread");
	pause = (struct timespec){ atoi(argv[2]), 0 };
	nanosleep(&pause, NULL);
	stop = true;
	while (n > 0)
		pthread_join(threads[--n], NULL);
	mc_free(c);
	printf("%" PRIu64 " changes, %" PRIu64 " lookups, %" PRIu64 " listings, %" PRIu64 " compared\n", n_changes,
	       n_looks, n_lists, n_compared);
	return 0;
}
