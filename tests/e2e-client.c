/* The calls of ff3fs.h against real daemons. Run by e2e-client.sh, which starts them:
 *   e2e-client            every test, each in a directory of its own
 *   e2e-client NAME…      these
 *   e2e-client load …     see e2e-client-load.c; cuts …: e2e-client-cuts.c */
#include "e2e-client.h"

struct ff3fs *fs;
char dir[64];

void fail_at(const char *file, int line, const char *what, long long got, long long want)
{
	fprintf(stderr, "%s:%d: %s: got %lld (%s), want %lld; %s\n", file, line, what, got,
		got < 0 && got > -5000 ? ff3fs_strerror((int)got) : "", want, ff3fs_last_error());
	abort();
}

const char *in_dir(const char *name)
{
	static __thread char paths[8][512];
	static __thread unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, 512, "%s/%s", dir, name);
	return p;
}

struct ff3fs *client(void)
{
	struct ff3fs *c;

	OK(ff3fs_new(NULL, &c));
	return c;
}

struct ff3fs_file *open_file(struct ff3fs *c, const char *path, int flags)
{
	struct ff3fs_file *f = NULL;

	OK(ff3fs_open(c, FF3FS_ROOT, path, flags, 0644, &f));
	return f;
}

uint64_t random_u64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint8_t byte_at(uint64_t offset, uint64_t who)
{
	uint64_t word = (offset >> 3) * 0x9e3779b97f4a7c15ull + who * 0xbf58476d1ce4e5b9ull;

	word ^= word >> 29;
	return (uint8_t)(word >> (8 * (offset & 7))) | 1; /* never zero, as holes are */
}

void fill(void *buf, size_t len, uint64_t offset, uint64_t who)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = byte_at(offset + i, who);
}

long long differs(const void *buf, size_t len, uint64_t offset, uint64_t who)
{
	for (size_t i = 0; i < len; i++)
		if (((const uint8_t *)buf)[i] != byte_at(offset + i, who))
			return (long long)(offset + i);
	return -1;
}

void forked(void (*fn)(uint64_t arg), int n)
{
	pid_t pids[64];

	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (pids[i] == 0) {
			fn((uint64_t)i);
			fflush(NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < n; i++) {
		int status;

		EQ(waitpid(pids[i], &status, 0), pids[i]);
		EQ(status, 0);
	}
}

/* --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "names", test_names },	 { "attrs", test_attrs },	  { "directory", test_directory },
	{ "listing", test_listing },	 { "calls", test_calls },	  { "fault", test_fault },
	{ "sizes", test_sizes },
	{ "holes", test_holes },	 { "model", test_model },
#if CHILDREN
	{ "append", test_append },	 { "fork", test_fork },		  { "forkbusy", test_fork_busy },
	{ "cut", test_cut },
#endif
	{ "unlinked", test_unlinked },
	{ "coherence", test_coherence }, { "readahead", test_read_ahead }, { "batch", test_batch },
	{ "pair", test_batch_pair },
	{ "threads", test_threads },	 { "signals", test_signals },
};

static void run(size_t i)
{
	struct timespec begin, end;

	snprintf(dir, sizeof dir, "e2e.%d.%s", (int)getpid(), tests[i].name);
	OK(ff3fs_mkdir(fs, FF3FS_ROOT, dir, 0755));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	tests[i].fn();
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("ok: %s, %.0f ms\n", tests[i].name,
	       (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "load") == 0)
		return load_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "compare") == 0)
		return compare_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "linger") == 0)
		return linger_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "cuts") == 0)
		return cuts_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "asks") == 0)
		return asks_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "speed") == 0)
		return speed_main(argc - 1, argv + 1);
	fs = client();
	EQ(ff3fs_api_version(), FF3FS_API_VERSION);
	CHECK(strlen(ff3fs_prefix(fs)) > 0);
	for (size_t i = 0; i < N_OF(tests); i++) {
		bool wanted = argc == 1;

		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], tests[i].name) == 0;
		if (wanted)
			run(i);
	}
	ff3fs_free(fs);
	return 0;
}
