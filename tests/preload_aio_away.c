/* preload-aio away DIR FILES AWAY: so many of the files DIR/0, DIR/1, … lie on a daemon that goes away
 * when "ready" was said, until "others" was said; a line of input answers each. WRITES=1: the requests
 * are writes. preload-aio fill DIR FILES makes them. */
#define N 512
#include "preload_aio.h"

#include <time.h>

#define SIZE 65536
#define LIMIT_S 20 /* far from the client's time-out */

static int fds[N], n_files, n_away;
static char bufs[N][SIZE];
static bool writes;

static void pattern(char *buf, int k, int generation)
{
	for (int i = 0; i < SIZE; i++)
		buf[i] = (char)(i * 7 + i / 256 + k * 31 + generation);
}

void fill_files(int n)
{
	char name[16];

	for (int k = 0; k < n; k++) {
		snprintf(name, sizeof name, "%d", k);
		fds[0] = file(name, O_RDWR);
		pattern(bufs[0], k, 0);
		CHECK(write(fds[0], bufs[0], SIZE) == SIZE && fsync(fds[0]) == 0 && close(fds[0]) == 0);
	}
}

static void check_file(int k, int generation)
{
	static char want[SIZE];

	pattern(want, k, generation);
	if (writes)
		CHECK(pread(fds[k], bufs[k], SIZE, 0) == SIZE);
	for (int i = 0; i < SIZE; i++)
		if (bufs[k][i] != want[i])
			DIE("file %d: byte %d is %d, want %d; the last one is %d, want %d", k, i, bufs[k][i],
			    want[i], bufs[k][SIZE - 1], want[SIZE - 1]);
}

static void ask(const bool *which, aio_context_t ctx, int generation)
{
	struct iocb *some[N];
	int n = 0;

	for (int k = 0; k < n_files; k++) {
		if (!which[k])
			continue;
		if (writes)
			pattern(bufs[k], k, generation);
		else
			memset(bufs[k], 0, SIZE);
		some[n++] = request(k, writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, fds[k], bufs[k], SIZE, 0);
	}
	CHECK(submit(ctx, n, some) == n);
}

/* Exactly n of them end, and are taken out of which. */
static void hear(bool *which, aio_context_t ctx, int n)
{
	struct timespec limit = { .tv_sec = LIMIT_S };
	long r = getevents(ctx, n, N, events, &limit);

	if (r != n)
		DIE("%ld ended, want %d", r, n);
	for (int i = 0; i < n; i++) {
		CHECK(events[i].res == SIZE);
		which[events[i].data - 1] = false;
	}
}

static void say(const char *what)
{
	char line[16];

	printf("%s\n", what);
	fflush(stdout);
	CHECK(fgets(line, sizeof line, stdin));
}

void away(int files, int on_it)
{
	bool asked[N], others[N];
	aio_context_t ctx = 0;
	time_t t0;
	char name[16];

	CHECK(files <= N);
	n_files = files;
	n_away = on_it;
	writes = getenv("WRITES") != NULL;
	CHECK(setup(N, &ctx) == 0);
	for (int k = 0; k < files; k++) {
		snprintf(name, sizeof name, "%d", k);
		fds[k] = file(name, O_RDWR);
		asked[k] = true;
	}
	if (!getenv("UNCONNECTED")) {
		ask(asked, ctx, 1);
		hear(asked, ctx, files);
	}
	say("ready");
	memset(asked, 1, sizeof asked);
	t0 = time(NULL);
	ask(asked, ctx, 2);
	hear(asked, ctx, files - on_it);
	/* Which they are is known now. Once more, while the others are under way. */
	for (int k = 0; k < files; k++)
		others[k] = !asked[k];
	ask(others, ctx, 3);
	hear(others, ctx, files - on_it);
	if (time(NULL) - t0 > LIMIT_S)
		DIE("the other daemons' requests took %ld seconds", (long)(time(NULL) - t0));
	for (int k = 0; k < files; k++)
		if (!asked[k])
			check_file(k, writes ? 3 : 0);
	memcpy(others, asked, sizeof others);
	say("others");
	hear(asked, ctx, on_it);
	for (int k = 0; k < files; k++)
		if (others[k])
			check_file(k, writes ? 2 : 0);
	CHECK(destroy(ctx) == 0);
	printf("all\n");
}
