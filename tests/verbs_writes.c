/* Writes over RDMA by a program that has no shim, whose allocator unmaps and maps without a word to the library: what
 * the daemon reads by a registration that is remembered may be pages that are gone.
 *
 *   verbs_writes FILE ROUNDS
 *
 * Each round writes, saves (copies that were kept are freed) and reads back. Prints how often memory was
 * registered, and how many registrations were dropped. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>

#include "../common/client/ff3fs.h"
#include "../common/net/rpc.h"
#include "../common/net/verbs.h"

#define MOST (1u << 20)

static void fail(const char *what, long a, long b)
{
	fprintf(stderr, "verbs_writes: %s: %ld, %ld\n", what, a, b);
	exit(1);
}

static void fill(uint8_t *p, size_t len, uint64_t state)
{
	for (size_t i = 0; i < len; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(state >> 40);
	}
}

static void round_of(struct ff3fs_file *file, size_t len, int n, uint64_t seed)
{
	static uint8_t want[MOST], got[MOST];
	int r;

	for (int i = 0; i < n; i++) {
		fill(want, len, seed + (uint64_t)i);
		if (ff3fs_pwrite(file, want, len, (off_t)(len * (size_t)i)) != (ssize_t)len)
			fail("pwrite", (long)len, i);
	}
	r = ff3fs_fsync(file);
	if (r < 0)
		fail("fsync", r, 0);
	for (int i = 0; i < n; i++) {
		fill(want, len, seed + (uint64_t)i);
		if (ff3fs_pread(file, got, len, (off_t)(len * (size_t)i)) != (ssize_t)len)
			fail("pread", (long)len, i);
		if (memcmp(want, got, len) != 0)
			fail("wrong bytes", (long)len, i);
	}
}

int main(int argc, char **argv)
{
	const struct ff3_verbs_counters *c;
	struct ff3fs_file *file;
	struct ff3fs *fs;
	int r;

	if (argc < 3)
		return 2;
	mallopt(M_MMAP_THRESHOLD, 1 << 16); /* each buffer is a mapping */
	r = ff3fs_new(NULL, &fs);
	ff3fs_memory_watched();
	if (r < 0)
		fail("ff3fs_new", r, 0);
	r = ff3fs_open(fs, FF3FS_ROOT, argv[1], O_RDWR | O_CREAT, 0600, &file);
	if (r < 0)
		fail("ff3fs_open", r, 0);
	for (int i = 0; i < atoi(argv[2]); i++) {
		round_of(file, 200000, 4, 100 * (uint64_t)i);
		round_of(file, 700000, 12, 100 * (uint64_t)i + 50);
	}
	c = ff3_rpc_verbs_counters();
	if (!c)
		fail("the module is not loaded", 0, 0);
	printf("registered %lu dropped %lu\n", (unsigned long)c->registrations, (unsigned long)c->cache_drops);
	return -ff3fs_close(file);
}
