/* Reads of a file that must be what a local copy is, by a link that must be verbs, and what they cost.
 *
 *   verbs_reads FILE COPY READS [SEED [one|large]]
 *
 * What is fetched are RDMA READs by windows, of chunks that are exposed.
 *
 * FF3FS_TEST_FALLBACK: other links will do as well, after verbs was used. SIGUSR1: that is enough of the first kind.
 *
 * FILE is in the file system (its path, without the prefix), COPY the same bytes on this machine. Prints
 * one line of counters for each kind of buffer:
 *
 *   silent   before anything was promised: no buffer is registered, so that one whose pages move away
 *            unseen keeps its bytes, and one that is read-only gives EFAULT
 *   large    (if asked for) all of the file at once, into one buffer and then others
 *   one      the same buffer all the time: no copy once it is registered, one send and one
 *            receive slot for each read
 *   moved    pages that are mapped anew at the same address before each read, without a word to the
 *            library: a registration that is remembered names pages that are gone
 *   heap     malloc'ed and freed, of any size
 *   pieces   preadv into several
 *   bad      no memory at all: EFAULT, and the next read works
 *   forked   children, each with connections of its own, while the parent reads on */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../common/client/ff3fs.h"
#include "../common/net/rpc.h"
#include "../common/net/verbs.h"

#define WARM_UP 50

static struct ff3fs_file *file;
static const uint8_t *copy;
static size_t size;
static uint64_t state;
static unsigned long n_reads;
static bool may_fall_back;
static volatile sig_atomic_t enough;

static void fail(const char *what, long a, long b)
{
	fprintf(stderr, "verbs_reads: %s: %ld, %ld\n", what, a, b);
	exit(1);
}

static uint64_t random_number(uint64_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 20) % below;
}

static const struct ff3_verbs_counters *counters(void)
{
	const struct ff3_verbs_counters *c = ff3_rpc_verbs_counters();

	if (!c)
		fail("the module is not loaded", 0, 0);
	return c;
}

static size_t random_len(void)
{
	/* Mostly small, as samples are. */
	return 1 + random_number(random_number(8) ? 9000 : 300000);
}

static void check_read(void *buf, size_t len, uint64_t offset)
{
	ssize_t r = ff3fs_pread(file, buf, len, (off_t)offset);
	size_t want = MIN(len, size - offset);

	if (r != (ssize_t)want)
		fail("pread returned", (long)r, (long)want);
	if (memcmp(buf, copy + offset, want) != 0)
		fail("wrong bytes at", (long)offset, (long)want);
}

static uint8_t *pages(void *at, size_t len)
{
	uint8_t *p = mmap(at, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	if (p == MAP_FAILED)
		fail("mmap", errno, 0);
	return p;
}

static void report(const char *name, unsigned long n, const struct ff3_verbs_counters *before)
{
	const struct ff3_verbs_counters *c = counters();

	printf("%s: reads %lu sends %lu fetched %lu recvs %lu copies %lu registered %lu hits %lu dropped %lu\n",
	       name, n, (unsigned long)(c->sends - before->sends),
	       (unsigned long)(c->reads - before->reads),
	       (unsigned long)(c->recvs - before->recvs),
	       (unsigned long)(c->bounces - before->bounces),
	       (unsigned long)(c->registrations - before->registrations),
	       (unsigned long)(c->cache_hits - before->cache_hits),
	       (unsigned long)(c->cache_drops - before->cache_drops));
	fflush(stdout);
}

static struct ff3_verbs_counters now(void)
{
	return *counters();
}

/* So that what is to be exposed is. */
static void all_of_it(void)
{
	uint8_t *p = pages(NULL, 1 << 20);

	for (int i = 0; i < 2; i++)
		for (size_t at = 0; at < size; at += 1 << 20)
			check_read(p, MIN(size - at, (size_t)1 << 20), at);
	munmap(p, 1 << 20);
}

static void silent(void)
{
	const size_t len = 100000, room = 1 << 17;
	uint8_t *p = pages(NULL, room), *q = pages(NULL, room);
	struct ff3_verbs_counters before = now();

	check_read(p, len, 0);
	check_read(p, len, 0);
	if (mremap(p, room, room, MREMAP_MAYMOVE | MREMAP_FIXED, q) != q || pages(p, room) != p)
		fail("mremap", errno, 0);
	memset(q, 0x55, room);
	check_read(p, len, 0);
	for (size_t i = 0; i < room; i++)
		if (q[i] != 0x55)
			fail("memory was changed that is no buffer, at", (long)i, q[i]);
	mprotect(p, room, PROT_READ);
	if (ff3fs_pread(file, p, len, 4096) != -EFAULT || memcmp(p, copy, len) != 0)
		fail("read-only memory was read into", 0, 0);
	report("silent", 4, &before);
	if (now().registrations - before.registrations > now().bounces - before.bounces)
		fail("a buffer was registered", 0, 0);
	munmap(p, room);
	munmap(q, room);
}

static void large(void)
{
	uint8_t *p = pages(NULL, size), *q;
	struct ff3_verbs_counters before = now();

	for (int i = 0; i < 3; i++) {
		memset(p, 0, size);
		check_read(p, size, 0);
		q = pages(NULL, size);
		check_read(q, size, 0);
		munmap(q, size);
	}
	report("large", 6, &before);
	munmap(p, size);
}

static void on_enough(int sig)
{
	enough = 1;
}

/* Called when WARM_UP of the reads are done, for who counts from here: rdma-cost.sh. */
static __attribute__((noinline)) void settled(void)
{
	__asm__ volatile("" ::: "memory");
}

static void one(void)
{
	uint8_t *p = pages(NULL, 1 << 16);
	struct ff3_verbs_counters before;
	unsigned long n = 0;

	/* The second time it is worth it. */
	check_read(p, 4096, 0);
	check_read(p, 4096, 4096);
	before = now();
	for (; n < n_reads && !enough; n++) {
		if (n == WARM_UP)
			settled();
		check_read(p, 4096, 4096 * random_number(size / 4096 - 1));
	}
	report("one", n, &before);
	if (enough)
		n_reads = 100;
	munmap(p, 1 << 16);
}

static void moved(void)
{
	uint8_t *p = pages(NULL, 1 << 20);
	struct ff3_verbs_counters before = now();
	unsigned long n = n_reads / 20 + 1;

	for (unsigned long i = 0; i < n; i++) {
		pages(p, 1 << 20);
		check_read(p, 100000, random_number(size - 100000));
	}
	report("moved", n, &before);
	munmap(p, 1 << 20);
}

static void heap(void)
{
	struct ff3_verbs_counters before = now();
	void *kept[16] = { NULL };

	for (unsigned long i = 0; i < n_reads; i++) {
		size_t len = random_len();
		void **p = &kept[random_number(ARRAY_SIZE(kept))];

		free(*p);
		*p = malloc(len);
		check_read(*p, len, random_number(size));
	}
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		free(kept[i]);
	report("heap", n_reads, &before);
}

static void pieces(void)
{
	struct ff3_verbs_counters before = now();
	unsigned long n = n_reads / 10 + 1;
	uint8_t *p = pages(NULL, 1 << 20);

	for (unsigned long i = 0; i < n; i++) {
		struct iovec iov[7];
		int k = 1 + (int)random_number(ARRAY_SIZE(iov));
		uint64_t offset = random_number(size - 700000), at = offset;
		size_t total = 0;

		for (int j = 0; j < k; j++) {
			iov[j] = (struct iovec){ p + (size_t)j * 100000 + random_number(9),
						 1 + random_number(90000) };
			total += iov[j].iov_len;
		}
		if (ff3fs_preadv(file, iov, k, (off_t)offset) != (ssize_t)total)
			fail("preadv", (long)total, errno);
		for (int j = 0; j < k; at += iov[j++].iov_len)
			if (memcmp(iov[j].iov_base, copy + at, iov[j].iov_len) != 0)
				fail("wrong bytes of preadv at", (long)at, j);
	}
	report("pieces", n, &before);
	munmap(p, 1 << 20);
}

static void bad(void)
{
	uint8_t *p = pages(NULL, 1 << 20);
	struct ff3_verbs_counters before = now();

	check_read(p, 100000, 0);
	check_read(p, 100000, 0);
	ff3fs_memory_gone(p, 1 << 18);
	mprotect(p, 1 << 18, PROT_READ);
	for (int i = 0; i < 4; i++) {
		size_t len = i % 2 ? 100000 : 100;
		ssize_t r = ff3fs_pread(file, i < 2 ? (void *)p : (void *)4096, len, 0);

		if (r != -EFAULT)
			fail("a bad buffer gives", (long)r, i);
		check_read(p + (1 << 19), len, 0);
	}
	report("bad", 10, &before);
	munmap(p, 1 << 20);
}

static void forked(void)
{
	struct ff3_verbs_counters before = now();
	uint8_t *p = pages(NULL, 1 << 18);
	int status;

	check_read(p, 1 << 17, 0);
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (int k = 0; k < 10; k++)
				check_read(p, 100000, random_number(size));
			_exit(may_fall_back || counters()->sends > before.sends ? 0 : 2); /* its own link */
		}
		for (int k = 0; k < 10; k++)
			check_read(p, 100000, random_number(size));
		if (waitpid(pid, &status, 0) != pid || status != 0)
			fail("child", status, i);
	}
	report("forked", 30, &before);
	munmap(p, 1 << 18);
}

int main(int argc, char **argv)
{
	struct ff3fs_hot_stats hot;
	struct ff3fs *fs;
	struct stat st;
	int fd, r;

	if (argc < 4)
		return 2;
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = on_enough, .sa_flags = SA_RESTART }, NULL);
	may_fall_back = getenv("FF3FS_TEST_FALLBACK");
	n_reads = strtoul(argv[3], NULL, 10);
	state = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		fail("the copy", errno, 0);
	size = (size_t)st.st_size;
	copy = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	r = ff3fs_new(NULL, &fs);
	if (r < 0)
		fail("ff3fs_new", r, 0);
	r = ff3fs_open(fs, FF3FS_ROOT, argv[1], O_RDONLY, 0, &file);
	if (r < 0)
		fail("ff3fs_open", r, 0);
	check_read(malloc(4096), 4096, 0);
	silent();
	ff3fs_memory_watched();
	all_of_it();
	if (argc > 5 && strcmp(argv[5], "large") == 0)
		large();
	one();
	if (argc > 5)
		return 0;
	moved();
	heap();
	pieces();
	bad();
	forked();
	ff3fs_hot_stats(fs, &hot);
	printf("hot: reads %lu asked %lu refused %lu absent %lu gone %lu dead %lu beyond %lu checksum %lu\n",
	       (unsigned long)hot.reads, (unsigned long)hot.asked, (unsigned long)hot.refused,
	       (unsigned long)hot.absent, (unsigned long)hot.gone, (unsigned long)hot.dead,
	       (unsigned long)hot.beyond, (unsigned long)hot.checksum);
	ff3fs_close(file);
	return 0;
}
