/* Under the shim, over RDMA: buffers that a device knows, and what becomes of that when they are unmapped,
 * moved, emptied or mapped over. Each time the registration is gone before the call does anything; so no
 * read ever meets pages that are not the buffer's, and none has to be repeated.
 *
 *   verbs_hooks FILE COPY LIBRARY
 *
 * FILE is under the prefix, COPY the same bytes, LIBRARY libff3fs.so as the shim has loaded it, whose
 * counters are looked at. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../common/client/ff3fs.h"

#define SIZE (256u * 1024)

static int fd;
static unsigned char want[SIZE];
static int (*rdma_stats)(struct ff3fs_rdma_stats *);

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);  \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static struct ff3fs_rdma_stats stats(void)
{
	struct ff3fs_rdma_stats s;

	CHECK(rdma_stats(&s) == 0);
	return s;
}

static void *map_at(void *at, size_t len)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0),
		       -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void read_into(void *p)
{
	memset(p, 0xee, SIZE);
	CHECK(pread(fd, p, SIZE, 0) == (ssize_t)SIZE);
	CHECK(memcmp(p, want, SIZE) == 0);
}

/* A buffer that was read into, then what is done to it; then other pages are there. */
static void *unmapped(void *p)
{
	CHECK(munmap(p, SIZE) == 0);
	return map_at(p, SIZE);
}

static void *mapped_over(void *p)
{
	return map_at(p, SIZE);
}

static void *moved(void *p)
{
	void *q = map_at(NULL, SIZE);

	CHECK(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	/* Where it was is another one. */
	read_into(map_at(p, SIZE));
	return q;
}

static void *emptied(void *p)
{
	CHECK(madvise(p, SIZE, MADV_DONTNEED) == 0);
	return p;
}

static void *in_part(void *p)
{
	CHECK(munmap((char *)p + SIZE / 2, SIZE / 2) == 0);
	map_at((char *)p + SIZE / 2, SIZE / 2);
	return p;
}

static const struct {
	const char *name;
	void *(*change)(void *p);
} changes[] = {
	{ "munmap", unmapped },	     { "mmap over it", mapped_over }, { "mremap", moved },
	{ "MADV_DONTNEED", emptied }, { "munmap of a part", in_part },
};

int main(int argc, char **argv)
{
	void *library;
	int copy;

	CHECK(argc == 4);
	fd = open(argv[1], O_RDONLY);
	copy = open(argv[2], O_RDONLY);
	CHECK(fd >= 0 && copy >= 0 && read(copy, want, SIZE) == (ssize_t)SIZE);
	library = dlopen(argv[3], RTLD_NOW | RTLD_NOLOAD);
	CHECK(library);
	*(void **)&rdma_stats = dlsym(library, "ff3fs_rdma_stats");
	CHECK(rdma_stats);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		void *p = map_at(NULL, SIZE);
		struct ff3fs_rdma_stats before, after;

		read_into(p);
		read_into(p);
		before = stats();
		p = changes[i].change(p);
		CHECK(stats().dropped > before.dropped);
		for (int k = 0; k < 3; k++)
			read_into(p);
		after = stats();
		/* A read that went wrong would have been repeated through a buffer. */
		CHECK(after.copies == before.copies);
		CHECK(after.known > before.known);
		printf("%s: dropped %d\n", changes[i].name, (int)(after.dropped - before.dropped));
		munmap(p, SIZE);
	}
	return 0;
}
